//! JSON: one object per message.
//!
//! serde_json reads each message separately, directly into the columns. (arrow-json is not used for reading: a bad
//! record shows only when the batch is flushed, without its number, and poisons the decoder; and it takes 373 ns for an
//! event where serde_json takes 225.)
//!
//! The types: **values** are JSON numbers; null and missing are null; text, even `"1.5"`, truth values and numbers
//! beyond f64 make the record bad. **Keys** are text or integers (as their decimal digits). **Times** are text as RFC
//! 3339, or with a unit integers. **Further columns** are text unless `columns` says another type; other values are the
//! text that they are written as, to the byte. A field that is read must not come twice. Nothing may follow the object.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use arrow::json::WriterBuilder;
use arrow::json::writer::LineDelimited;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use super::columns::{Cell, Columns, Fault, KeyFrom, PassthroughFrom, Row, Target, TimeFrom, micros};
use super::table::Table;
use super::{Decided, DecodeError, Decoded, Decoder, Encoder, Messages, Payloads, key, raw};
use crate::error::Context;
use crate::record::in_utc;

/// Messages to records.
pub(super) struct JsonDecoder {
    columns: Arc<Columns>,
    row: Row,
    seen: Seen,
}

impl JsonDecoder {
    /// Reads these columns.
    pub fn new(columns: Arc<Columns>) -> JsonDecoder {
        JsonDecoder { columns, row: Row::default(), seen: Seen::default() }
    }

    fn read(&mut self, payload: &[u8]) -> Result<(), Fault> {
        self.row.clear(&self.columns);
        self.seen.0.fill(0);
        let text = std::str::from_utf8(payload).map_err(|e| ("bad_json", e.to_string()))?;
        let mut json = serde_json::Deserializer::from_str(text);
        let object = Object { columns: &self.columns, row: &mut self.row, seen: &mut self.seen, text };
        object.deserialize(&mut json).and_then(|()| json.end()).map_err(|error| match error.is_data() {
            true => ("bad_value", format!("{}{error}", self.columns.field(self.row.at))),
            false => ("bad_json", error.to_string()),
        })
    }
}

impl Decoder for JsonDecoder {
    fn decode(&mut self, messages: &Messages, range: Range<usize>, _: &mut Decided) -> Result<Decoded, DecodeError> {
        let mut table = Table::new(self.columns.clone());
        for index in range {
            let read = self.read(messages.payload(index).unwrap_or_default());
            table.push(messages, index, read.map(|()| &self.row));
        }
        Ok(table.finish())
    }

    fn key_of(&mut self, messages: &Messages, index: usize, _: &mut Decided) -> Result<Option<Vec<u8>>, DecodeError> {
        Ok(key_of(&self.columns, messages, index))
    }
}

/// The record's key as the message's key gives it.
pub(super) fn key_of(columns: &Columns, messages: &Messages, index: usize) -> Option<Vec<u8>> {
    match columns.key {
        KeyFrom::Message(format) => {
            let key = messages.key(index)?;
            // A key that isn't one is no record's key either.
            Some(key::text_of(format, key).map_or_else(|_| key.to_vec(), |text| text.into_owned().into_bytes()))
        }
        _ => None,
    }
}

/// The object of one message.
struct Object<'a> {
    columns: &'a Columns,
    row: &'a mut Row,
    seen: &'a mut Seen,
    /// The message.
    text: &'a str,
}

/// Fields of a message that were met, a bit each.
#[derive(Default)]
struct Seen(Vec<u64>);

impl Seen {
    /// Whether it is the first time.
    fn is_first(&mut self, columns: &Columns, target: Target) -> bool {
        let field = match target {
            Target::Key => 0,
            Target::Time => 1,
            Target::Value(index) => 2 + index,
            Target::Passthrough(index) => 2 + columns.values + index,
        };
        if self.0.len() <= field / 64 {
            self.0.resize(field / 64 + 1, 0);
        }
        let (word, bit) = (&mut self.0[field / 64], 1 << (field % 64));
        let is_first = *word & bit == 0;
        *word |= bit;
        is_first
    }
}

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut fields = 0..;
        while let Some((target, end)) = map.next_key_seed(Name(self.columns, self.text))? {
            let number = fields.next().unwrap_or_default();
            // Where a field comes twice, its name is in the message.
            self.row.at = None;
            if let Some(twice) = target.filter(|target| !self.seen.is_first(self.columns, *target)) {
                let name = self.columns.fields.iter().find(|(_, target)| **target == twice);
                return Err(A::Error::custom(format!("field \"{}\" comes twice", name.map_or("?", |(name, _)| name))));
            }
            self.row.at = target;
            match target {
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
                Some(Target::Key) => self.row.key = map.next_value_seed(KeyText)?,
                Some(Target::Value(index)) => self.row.values[index] = map.next_value_seed(Number)?.unwrap_or(f64::NAN),
                Some(Target::Time) => {
                    (self.row.time, self.row.beyond) = match map.next_value_seed(Time(self.columns.time))? {
                        Ticks::Null => (None, None),
                        Ticks::Of(ticks) => (Some(ticks), None),
                        Ticks::Beyond(text) => (None, Some(text)),
                    };
                }
                Some(Target::Passthrough(index)) => {
                    let PassthroughFrom::Field(data_type) = &self.columns.passthrough[index].1 else { continue };
                    // A name with escapes isn't found by where it is.
                    let at =
                        end.map_or_else(|| raw::of_field(self.text, number), |end| raw::after_name(self.text, end));
                    let is_text = self.text.as_bytes().get(at) == Some(&b'"');
                    self.row.passthrough[index] = if is_text && *data_type == DataType::Utf8 {
                        map.next_value().map(Cell::Text)?
                    } else {
                        map.next_value::<IgnoredAny>()?;
                        let written = self.text.get(at..raw::end(self.text, at)).unwrap_or_default();
                        cell(written, data_type).map_err(A::Error::custom)?
                    };
                }
            }
        }
        Ok(())
    }
}

/// The name of a field, as where it goes, and where in the message (the second) it ends, if that is known.
struct Name<'a>(&'a Columns, &'a str);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = (Option<Target>, Option<usize>);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name<'_> {
    type Value = (Option<Target>, Option<usize>);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok((self.0.fields.get(name).copied(), None))
    }

    /// Without escapes it is a part of the message itself.
    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        let begin = (name.as_ptr() as usize).checked_sub(self.1.as_ptr() as usize);
        let end = begin.map(|begin| begin + name.len() + 1).filter(|end| *end <= self.1.len());
        Ok((self.0.fields.get(name).copied(), end))
    }
}

/// Turns a visitor into a seed for any value.
macro_rules! seed {
    ($name:ident $(<$life:lifetime>)?) => {
        impl<'de> DeserializeSeed<'de> for $name $(<$life>)? {
            type Value = <Self as Visitor<'de>>::Value;

            fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
                deserializer.deserialize_any(self)
            }
        }
    };
}

struct KeyText;

seed!(KeyText);

impl Visitor<'_> for KeyText {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text or an integer as the key")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(text.to_string()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Some(number.to_string()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Some(number.to_string()))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

struct Number;

seed!(Number);

impl Visitor<'_> for Number {
    type Value = Option<f64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Some(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Some(number as f64))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Some(number as f64))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

struct Time(TimeFrom);

seed!(Time);

/// A time as it is written.
enum Ticks {
    Null,
    Of(i64),
    /// Beyond 64 bits.
    Beyond(String),
}

impl Visitor<'_> for Time {
    type Value = Ticks;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0 == TimeFrom::Text { "a time as text (RFC 3339)" } else { "a time as an integer" })
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        match self.0 {
            TimeFrom::Text => micros(text).map(Ticks::Of).map_err(E::custom),
            _ => Err(E::invalid_type(serde::de::Unexpected::Str(text), &self)),
        }
    }

    fn visit_u64<E: serde::de::Error>(self, ticks: u64) -> Result<Self::Value, E> {
        match i64::try_from(ticks) {
            Ok(ticks) => self.visit_i64(ticks),
            Err(_) if self.0 == TimeFrom::Text => Err(E::invalid_type(serde::de::Unexpected::Unsigned(ticks), &self)),
            Err(_) => Ok(Ticks::Beyond(ticks.to_string())),
        }
    }

    fn visit_i64<E: serde::de::Error>(self, ticks: i64) -> Result<Self::Value, E> {
        match self.0 {
            TimeFrom::Text => Err(E::invalid_type(serde::de::Unexpected::Signed(ticks), &self)),
            _ => Ok(Ticks::Of(ticks)),
        }
    }

    fn visit_f64<E: serde::de::Error>(self, ticks: f64) -> Result<Self::Value, E> {
        // An integer of more digits than 64 bits hold comes as a float.
        if self.0 == TimeFrom::Text || ticks.abs() < 9.2e18 {
            return Err(E::invalid_type(serde::de::Unexpected::Float(ticks), &self));
        }
        Ok(Ticks::Beyond(ticks.to_string()))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Ticks::Null)
    }
}

/// The value of a passthrough column as it is written; text only where the column isn't.
fn cell(written: &str, to: &DataType) -> Result<Cell, String> {
    let wrong = |expected: &str| Err(format!("expected {expected}, found {written}"));
    let is_number = written.starts_with(|c: char| c == '-' || c.is_ascii_digit());
    Ok(match (to, written) {
        (_, "null") => Cell::Null,
        (DataType::Float64, _) => match written.parse() {
            Ok(number) if is_number && f64::is_finite(number) => Cell::Float(number),
            _ => return wrong("a number"),
        },
        (DataType::Int64, _) => match written.parse() {
            Ok(number) if is_number => Cell::Integer(number),
            _ => return wrong("an integer"),
        },
        (DataType::Boolean, "true") => Cell::Flag(true),
        (DataType::Boolean, "false") => Cell::Flag(false),
        (DataType::Boolean, _) => return wrong("true or false"),
        _ => Cell::Text(written.to_string()),
    })
}

/// Rows to one object each: nulls written out, times that have a zone in UTC; the same text as on stdout.
pub(super) struct JsonEncoder;

impl Encoder for JsonEncoder {
    fn encode(&mut self, rows: &RecordBatch, to: &mut Payloads) -> crate::Result<()> {
        let failed = || "cannot write the output as JSON".to_string();
        let mut lines = Vec::with_capacity(rows.num_rows() * 96);
        let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(&mut lines);
        in_utc(rows).and_then(|rows| writer.write(&rows)).and_then(|()| writer.finish()).or_failed(failed)?;
        drop(writer);
        // A line break within a text is written as \n, so each one ends a row.
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            to.bytes.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
            to.ends.push(to.bytes.len());
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
