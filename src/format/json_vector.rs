//! Vectors in JSON: arrays of numbers, or bytes in base64, as Kafka Connect writes them.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Unexpected, Visitor};

use super::json_value::{Number, is_nan};
use super::logical::Logical;
use super::vector::Vector;
use crate::config::VectorColumn;

/// A vector; null is none.
pub(super) struct Numbers<'a> {
    pub column: &'a VectorColumn,
    pub to: &'a mut Vector,
    /// Whether text may be a number.
    pub in_text: bool,
}

impl<'de> DeserializeSeed<'de> for Numbers<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Numbers<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.column.number {
            None => f.write_str("an array of numbers"),
            Some(number) => write!(f, "an array of numbers, or bytes that are {} in base64", number.word()),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        self.to.is_there = true;
        // A field that comes again, after its schema, is read again.
        self.to.numbers.clear();
        while let Some(number) = items.next_element_seed(Number { in_text: self.in_text, logical: Logical::Plain })? {
            self.to.numbers.push(self.column.number(number));
        }
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.to.is_there = false;
        Ok(())
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        if self.column.number.is_none() {
            return match is_nan(text) {
                true => self.visit_unit(),
                false => Err(E::invalid_type(Unexpected::Str(text), &self)),
            };
        }
        let Ok(bytes) = STANDARD.decode(text) else { return Err(E::invalid_value(Unexpected::Str(text), &self)) };
        self.to.set_bytes(self.column, &bytes);
        Ok(())
    }
}
