//! JSON: one object per message.
//!
//! serde_json reads each message separately, directly into the columns. (arrow-json is not used for reading: a bad
//! record shows only when the batch is flushed, without its number, and poisons the decoder; and it takes 373 ns for an
//! event where serde_json takes 225.)
//!
//! The types: **values** are JSON numbers; null, missing, NaN and Infinity (bare or quoted) are null; other text
//! (unless `numbers: text` says that it may be a number), truth values and numbers beyond f64 make the record bad.
//! **Keys** are text or integers (as their decimal digits). **Times** are text as RFC 3339, or with a unit integers, or
//! with a unit that says so floats. **Further columns** are text unless `columns` says another type; other values are
//! the text that they are written as, to the byte. A field that is read must not come twice. Nothing may follow the
//! object. What may come before it: a byte-order mark, the frame of a registry's JSON Schema.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::DataType;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use super::columns::{Cell, Columns, Fault, KeyFrom, PassthroughFrom, Row, Target};
use super::envelope::{self, Found, Met};
use super::json_value::{KeyText, Number, Time, cell, without_nan};
use super::json_vector::Numbers;
use super::logical::{Logical, Logicals};
use super::path::{Inner, Leaf, Mark, Node, Tree};
use super::table::Table;
use super::{Decided, DecodeError, Decoded, Decoder, Deleted, Messages, frame, raw};
use crate::config::{Envelope, Numbers as Written};

/// Messages to records.
pub(super) struct JsonDecoder {
    columns: Arc<Columns>,
    tree: Tree,
    row: Row,
    found: Fields,
    stops: bool,
}

impl JsonDecoder {
    /// Reads these columns.
    ///
    /// # Errors
    /// The name of a column that is the same field as another one.
    pub fn new(columns: Arc<Columns>) -> Result<JsonDecoder, String> {
        let tree = envelope::tree(&columns)?;
        Ok(JsonDecoder { columns, tree, row: Row::default(), found: Fields::default(), stops: false })
    }

    /// Reads a message. True: it says that its row is no more.
    fn read(&mut self, payload: &[u8]) -> Result<bool, Fault> {
        let text = std::str::from_utf8(frame::json(payload)).map_err(|e| ("bad_json", e.to_string()))?;
        match self.parse(text) {
            Err(("bad_json", why)) => match without_nan(text) {
                Some(fixed) => self.parse(&fixed)?,
                None => return Err(("bad_json", why)),
            },
            read => read?,
        }
        match self.columns.envelope {
            Some(envelope) => self.found.met.is_delete(envelope),
            None => Ok(false),
        }
    }

    fn parse(&mut self, text: &str) -> Result<(), Fault> {
        let read = self.parse_with(text, None);
        // The payload was read without its schema, which came after it.
        if self.found.is_late() {
            return self.parse_with(text, self.found.logicals.clone());
        }
        match read {
            Err(("bad_value", _)) if self.columns.envelope.is_some() && self.found.logicals.is_none() => {
                let message: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
                let schema = message.get("schema").map(serde_json::Value::to_string).unwrap_or_default();
                let logicals = Logicals::new(&schema, &self.columns);
                if logicals.is_empty() { read } else { self.parse_with(text, Some(Arc::new(logicals))) }
            }
            read => read,
        }
    }

    fn parse_with(&mut self, text: &str, logicals: Option<Arc<Logicals>>) -> Result<(), Fault> {
        self.row.clear(&self.columns);
        self.found.clear(logicals, self.columns.envelope.is_some());
        let mut json = serde_json::Deserializer::from_str(text);
        let (row, found) = (&mut self.row, &mut self.found);
        let object = Object { columns: &self.columns, row, found, text, tree: &self.tree, start: 0 };
        json.deserialize_map(object).and_then(|()| json.end()).map_err(|error| match error.is_data() {
            true => ("bad_value", format!("{}{error}", self.columns.field(self.row.at))),
            false => ("bad_json", error.to_string()),
        })
    }

    /// The key of a row that is no more: as the message's key gives it, or as the row before does.
    fn deleted(&mut self, messages: &Messages, index: usize) -> Option<Vec<u8>> {
        let before = self.found.met.key.take().map(String::into_bytes);
        key_of(&self.columns, messages, index, before)
    }
}

impl Decoder for JsonDecoder {
    fn decode(&mut self, messages: &Messages, range: Range<usize>, _: &mut Decided) -> Result<Decoded, DecodeError> {
        let mut table = Table::new(self.columns.clone());
        let mut deleted = None;
        for index in range {
            match self.read(messages.payload(index).unwrap_or_default()) {
                Ok(false) => table.push(messages, index, Ok(&self.row)),
                Ok(true) if self.stops => {
                    deleted = Some(Deleted { index, key: self.deleted(messages, index) });
                    break;
                }
                Ok(true) => table.push(messages, index, Err((envelope::DELETED, String::new()))),
                Err(fault) => table.push(messages, index, Err(fault)),
            }
        }
        Ok(Decoded { deleted, ..table.finish()? })
    }

    fn key_of(&mut self, messages: &Messages, index: usize, _: &mut Decided) -> Result<Option<Vec<u8>>, DecodeError> {
        Ok(key_of(&self.columns, messages, index, None))
    }

    fn stop_at_deletes(&mut self) {
        self.stops = true;
    }

    fn repeats_deletes(&self) -> bool {
        self.columns.envelope == Some(Envelope::Debezium)
    }
}

/// The record's key as the message's key gives it, or its row before it was deleted.
pub(super) fn key_of(columns: &Columns, messages: &Messages, index: usize, before: Option<Vec<u8>>) -> Option<Vec<u8>> {
    match columns.key {
        KeyFrom::Message(format) => {
            let key = messages.key(index)?;
            // A key that isn't one is no record's key either.
            Some(columns.key_text(format, key).map_or_else(|_| key.to_vec(), |text| text.into_owned().into_bytes()))
        }
        _ => before.or_else(|| envelope::key_within(columns, messages.key(index))),
    }
}

/// What was met in one message.
#[derive(Default)]
struct Fields {
    /// Nodes of the tree, a bit each.
    seen: Vec<u64>,
    met: Met,
    /// What the message's schema says.
    logicals: Option<Arc<Logicals>>,
    /// Whether that was known before the message was read.
    is_known: bool,
    /// Whether the schema came after what it is about.
    is_after: bool,
    /// The schema of the last message that had one, and what it says.
    cached: (String, Arc<Logicals>),
}

impl Fields {
    fn clear(&mut self, logicals: Option<Arc<Logicals>>, has_envelope: bool) {
        self.seen.fill(0);
        if !has_envelope {
            return;
        }
        self.met.clear();
        (self.is_known, self.is_after) = (logicals.is_some(), false);
        self.logicals = logicals;
    }

    /// Whether it is the first time.
    fn is_first(&mut self, bit: usize) -> bool {
        if self.seen.len() <= bit / 64 {
            self.seen.resize(bit / 64 + 1, 0);
        }
        let (word, bit) = (&mut self.seen[bit / 64], 1 << (bit % 64));
        let is_first = *word & bit == 0;
        *word |= bit;
        is_first
    }

    /// Whether one of these was met.
    fn has_any(&self, mut bits: Range<usize>) -> bool {
        bits.any(|bit| self.seen.get(bit / 64).is_some_and(|word| word & (1 << (bit % 64)) != 0))
    }

    /// The message's schema.
    fn schema(&mut self, written: &str, columns: &Columns) {
        if self.is_known {
            return;
        }
        if self.cached.0 != written {
            self.cached = (written.to_string(), Arc::new(Logicals::new(written, columns)));
        }
        self.logicals = Some(self.cached.1.clone()).filter(|logicals| !logicals.is_empty());
        self.is_after = self.met.payload != Found::Missing;
    }

    /// Whether the payload came before the schema, which says something about it.
    fn is_late(&self) -> bool {
        self.is_after && self.logicals.is_some()
    }
}

/// An object of a message.
struct Object<'a> {
    columns: &'a Columns,
    row: &'a mut Row,
    found: &'a mut Fields,
    /// The message, or a part of it that has this object.
    text: &'a str,
    /// What is read of the object.
    tree: &'a Tree,
    /// Where it begins.
    start: usize,
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Object { columns, row, found, text, tree, start } = self;
        let mut fields = 0..;
        while let Some((node, end)) = map.next_key_seed(Name(tree, text))? {
            let number = fields.next().unwrap_or_default();
            row.at = None;
            let Some(node) = node else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            // A name with escapes isn't found by where it is.
            let at =
                || end.map_or_else(|| start + raw::of_field(&text[start..], number), |end| raw::after_name(text, end));
            match node {
                Node { leaf: Some(leaf), inner: None } => {
                    let value = Value { columns, row, found, text, leaf, at };
                    map.next_value_seed(value)?;
                }
                Node { leaf: None, inner: Some(inner) } => {
                    let at = at();
                    map.next_value_seed(Within { columns, row, found, text, inner, at })?;
                }
                Node { leaf: Some(leaf), inner: Some(inner) } => {
                    // It is read twice: as a value, and as an object.
                    map.next_value::<IgnoredAny>()?;
                    let at = at();
                    let written = text.get(at..raw::end(text, at)).unwrap_or_default();
                    if written.starts_with('{') {
                        let mut json = serde_json::Deserializer::from_str(written);
                        let within =
                            Within { columns, row: &mut *row, found: &mut *found, text: written, inner, at: 0 };
                        within.deserialize(&mut json).map_err(A::Error::custom)?;
                    }
                    let mut json = serde_json::Deserializer::from_str(written);
                    let value = Value { columns, row, found, text: written, leaf, at: || 0 };
                    value.deserialize(&mut json).map_err(A::Error::custom)?;
                }
                Node { leaf: None, inner: None } => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// An object within another one.
struct Within<'a> {
    columns: &'a Columns,
    row: &'a mut Row,
    found: &'a mut Fields,
    text: &'a str,
    inner: &'a Inner,
    /// Where it begins.
    at: usize,
}

impl<'de> DeserializeSeed<'de> for Within<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if !self.found.is_first(self.inner.bit) {
            return Err(D::Error::custom(format!("field \"{}\" comes twice", self.inner.name)));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Within<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object as \"{}\", of which fields are read", self.inner.name)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let Within { columns, row, found, text, inner, at } = self;
        found.met.note(inner.part, Found::Object);
        Object { columns, row, found, text, tree: &inner.tree, start: at }.visit_map(map)
    }

    /// What is within null is null.
    fn visit_unit<E>(self) -> Result<(), E> {
        self.found.met.note(self.inner.part, Found::Null);
        Ok(())
    }
}

/// The value of a field.
struct Value<'a, At> {
    columns: &'a Columns,
    row: &'a mut Row,
    found: &'a mut Fields,
    text: &'a str,
    leaf: &'a Leaf,
    /// Finds where it begins.
    at: At,
}

impl<'de, At: Fn() -> usize> DeserializeSeed<'de> for Value<'_, At> {
    type Value = ();

    // It is called for each field that is read.
    #[inline(always)]
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let Value { columns, row, found, text, leaf, at } = self;
        if !found.is_first(leaf.bit) {
            // Where a field comes twice, its name is in the message.
            let name = columns.fields.iter().find(|(_, target)| Some(**target) == leaf.target);
            return Err(D::Error::custom(format!("field \"{}\" comes twice", name.map_or("?", |(name, _)| name))));
        }
        let written = || {
            let at = at();
            text.get(at..raw::end(text, at)).unwrap_or_default()
        };
        if let Some(mark) = leaf.mark {
            read_mark(mark, written(), columns, found).map_err(D::Error::custom)?;
        }
        // A longer name that is there wins.
        let Some(target) = leaf.target.filter(|_| leaf.bit == leaf.first || !found.has_any(leaf.first..leaf.bit))
        else {
            return IgnoredAny::deserialize(deserializer).map(|_| ());
        };
        row.at = Some(target);
        let logical = found.logicals.as_ref().map_or(Logical::Plain, |logicals| logicals.of(target));
        let in_text = columns.numbers == Written::Text;
        match target {
            Target::Key => row.key = KeyText(logical).deserialize(deserializer)?,
            Target::Value(index) => row.values[index] = Number { in_text, logical }.deserialize(deserializer)?,
            Target::Vector(index) => {
                let (column, to) = (&columns.vectors[index], &mut row.vectors[index]);
                Numbers { column, to, in_text }.deserialize(deserializer)?;
            }
            Target::Time => {
                let time = Time { from: columns.time, in_text, logical };
                row.set_time(columns, time.deserialize(deserializer)?);
            }
            Target::Passthrough(index) => {
                let PassthroughFrom::Field(data_type) = &columns.passthrough[index].1 else {
                    return IgnoredAny::deserialize(deserializer).map(|_| ());
                };
                let at = at();
                let is_text = text.as_bytes().get(at) == Some(&b'"') && !matches!(logical, Logical::Decimal(_));
                row.passthrough[index] = if is_text && *data_type == DataType::Utf8 {
                    Cell::Text(String::deserialize(deserializer)?)
                } else {
                    IgnoredAny::deserialize(deserializer)?;
                    let written = text.get(at..raw::end(text, at)).unwrap_or_default();
                    cell(written, data_type, in_text, logical).map_err(D::Error::custom)?
                };
            }
        }
        Ok(())
    }
}

/// Reads what a field of an envelope says about the message.
fn read_mark(mark: Mark, written: &str, columns: &Columns, found: &mut Fields) -> Result<(), String> {
    match mark {
        Mark::Op => found.met.op = serde_json::from_str(written).map_err(|e| format!("\"op\": {e}"))?,
        Mark::Schema => found.schema(written, columns),
        Mark::KeyBefore => {
            let logical = found.logicals.as_ref().map_or(Logical::Plain, |logicals| logicals.of(Target::Key));
            // What is no key shows where the row is there, in \"after\".
            let mut json = serde_json::Deserializer::from_str(written);
            found.met.key = KeyText(logical).deserialize(&mut json).unwrap_or_default();
        }
    }
    Ok(())
}

/// The name of a field, as what is read of it, and where in the message (the second) it ends, if that is known.
struct Name<'a>(&'a Tree, &'a str);

impl<'a, 'de> DeserializeSeed<'de> for Name<'a> {
    type Value = (Option<&'a Node>, Option<usize>);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'a, 'de> Visitor<'de> for Name<'a> {
    type Value = (Option<&'a Node>, Option<usize>);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok((self.0.fields.get(name), None))
    }

    /// Without escapes it is a part of the message itself.
    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        let begin = (name.as_ptr() as usize).checked_sub(self.1.as_ptr() as usize);
        let end = begin.map(|begin| begin + name.len() + 1).filter(|end| *end <= self.1.len());
        Ok((self.0.fields.get(name), end))
    }
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "json_nested_tests.rs"]
mod nested_tests;
