//! What Avro and Protobuf have in common: each message names its schema, which a registry (or a file) must have.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::answers::Verdict;
use super::columns::{Columns, Fault, KeyFrom, Row};
use super::frame::{self, Frame, VALUE_SCHEMA};
use super::json::key_of;
use super::schema::{Language, Schema, SchemaName};
use super::schema_key::SchemaKeys;
use super::schemas::Schemas;
use super::table::Table;
use super::{DELETED, Decided, DecodeError, Decoded, Decoder, Deleted, Messages};
use crate::config::Envelope;
use crate::error::contained;

/// Reads the bodies that were written with one schema.
pub(super) trait Body: Send {
    /// Reads one body into a cleared row.
    fn read(&mut self, body: &[u8], row: &mut Row) -> Result<(), Fault>;
}

/// Makes a [`Body`] for a writer's schema, or returns the error in the schema.
pub(super) type MakeBody = Arc<dyn Fn(&Schema) -> Result<Box<dyn Body>, String> + Send + Sync>;

/// Messages in Confluent's wire format to records.
pub(super) struct Framed {
    pub(super) columns: Arc<Columns>,
    schemas: Arc<Schemas>,
    language: Language,
    make: MakeBody,
    /// Per schema, how to read its bodies, or why they can't be read.
    bodies: HashMap<SchemaName, Result<Box<dyn Body>, String>>,
    row: Row,
    /// Where the messages' keys have schemas too.
    keys: Option<SchemaKeys>,
    /// Memory of a body whose indexes are in a header.
    joined: Vec<u8>,
    stops: bool,
}

/// What reads the bodies of a schema, or the error in the schema.
fn made(make: &MakeBody, schema: &Schema) -> Result<Box<dyn Body>, String> {
    contained(|| make(schema)).and_then(|made| made)
}

/// The frame of a message's payload.
fn frame_of(messages: &Messages, index: usize, language: Language) -> Result<Frame<'_>, Fault> {
    frame::frame(messages.payload(index).unwrap_or_default(), messages.header(index, VALUE_SCHEMA), language)
}

impl Framed {
    /// For messages whose schemas the registry knows, in one language.
    pub fn new(columns: Arc<Columns>, schemas: Arc<Schemas>, language: Language, make: MakeBody) -> Framed {
        Framed {
            columns,
            schemas,
            language,
            make,
            bodies: HashMap::new(),
            row: Row::default(),
            keys: None,
            joined: Vec::new(),
            stops: false,
        }
    }

    /// Reads the messages' keys with their schemas.
    pub fn with_keys(mut self, keys: Option<SchemaKeys>) -> Framed {
        self.keys = keys;
        self
    }

    /// Knows a schema without asking.
    #[cfg(any(test, fuzzing))]
    pub fn learn(&mut self, schema: &Schema) {
        self.bodies.insert(schema.id.into(), made(&self.make, schema));
    }

    /// Reads the bodies of a schema so.
    #[cfg(test)]
    pub fn read_by(&mut self, id: u32, body: Box<dyn Body>) {
        self.bodies.insert(id.into(), Ok(body));
    }

    /// Looks up the schema of a message, if not done before. `Ok(false)`: it is unknown.
    fn know(&mut self, id: SchemaName) -> Result<bool, DecodeError> {
        if self.bodies.contains_key(&id) {
            return Ok(true);
        }
        match self.schemas.of(id, self.language) {
            Verdict::Schema(schema) => self.bodies.insert(id, made(&self.make, &schema)),
            // A schema of another kind stays of another kind: that depends on the id alone.
            Verdict::Refused(why) => self.bodies.insert(id, Err(why)),
            Verdict::Unknown => return Ok(false),
            Verdict::Pending(why) => return Err(DecodeError::Unavailable(why)),
        };
        Ok(true)
    }

    /// The messages whose schema is unknown, by index. Requests all schemas that are needed, even if some answers are
    /// still missing. It records no decision before everything is known, since the messages are decoded again.
    fn unknown(
        &mut self,
        messages: &Messages,
        range: Range<usize>,
        decided: &Decided,
    ) -> Result<Vec<usize>, DecodeError> {
        let (mut unknown, mut missing) = (Vec::new(), None);
        for index in range {
            let Ok(Frame { schema: id, .. }) = frame_of(messages, index, self.language) else { continue };
            let offset = messages.offsets[index];
            if decided.replay && decided.is_unknown(offset) {
                unknown.push(index);
                continue;
            }
            // Both are asked for, whatever is known of the other.
            let (value, key) = (self.know(id).map(|known| (!known).then_some(id)), self.unknown_key(messages, index));
            match value.and_then(|value| Ok(value.or(key?))) {
                Ok(None) => {}
                Ok(Some(id)) if decided.replay => {
                    missing.get_or_insert(forgotten(id, offset));
                }
                Ok(Some(_)) => unknown.push(index),
                Err(error) => {
                    missing.get_or_insert(error);
                }
            }
        }
        missing.map_or(Ok(unknown), Err)
    }

    /// The id of a message's key's schema, if it is unknown.
    fn unknown_key(&mut self, messages: &Messages, index: usize) -> Result<Option<SchemaName>, DecodeError> {
        match &mut self.keys {
            Some(keys) => keys.unknown(messages, index),
            _ => Ok(None),
        }
    }

    /// Why a message's schema is unknown: that of its payload, or of its key. Which one isn't recorded, and a replay
    /// has to say the same.
    fn explain_unknown(&self, id: SchemaName, messages: &Messages, index: usize) -> String {
        let whose = self.schemas.whose();
        match self.keys.as_ref().and_then(|keys| keys.named_by(messages, index)) {
            Some(key) => format!("{whose} schema {id} (of the payload) or {key} (of the key)"),
            None => format!("{whose} schema {id}"),
        }
    }

    /// Reads a body. True: it says that its row is no more.
    fn read(&mut self, frame: Frame<'_>) -> Result<bool, Fault> {
        self.row.clear(&self.columns);
        let Frame { schema: id, indexes, mut body } = frame;
        if let (Some(indexes), Language::Protobuf) = (indexes, self.language) {
            self.joined.clear();
            // Without any it is the first message.
            self.joined.extend_from_slice(if indexes.is_empty() { &[0] } else { indexes });
            self.joined.extend_from_slice(body);
            body = &self.joined;
        }
        match self.bodies.get_mut(&id) {
            // A library may panic on what others wrote: this message is bad, and the next is read as usual.
            Some(Ok(reader)) => match contained(|| reader.read(body, &mut self.row)) {
                Ok(read) => read?,
                Err(what) => return Err((self.language.bad(), format!("it can't be decoded: {what}"))),
            },
            Some(Err(why)) => return Err(("bad_schema", why.clone())),
            None => return Err(("unknown_schema", format!("{} schema {id}", self.schemas.whose()))),
        }
        self.columns.envelope.map_or(Ok(false), |envelope| self.row.met.is_delete(envelope))
    }
}

impl Framed {
    /// The key of a row that is no more: as the message's key gives it, or as the row before does.
    fn deleted(&mut self, messages: &Messages, index: usize) -> Option<Vec<u8>> {
        match &self.keys {
            Some(keys) if matches!(self.columns.key, KeyFrom::Message(_)) => {
                keys.text(messages, index)?.ok().map(String::into_bytes)
            }
            _ => key_of(&self.columns, messages, index, self.row.met.key.take().map(String::into_bytes)),
        }
    }
}

impl Decoder for Framed {
    fn decode(
        &mut self,
        messages: &Messages,
        range: Range<usize>,
        decided: &mut Decided,
    ) -> Result<Decoded, DecodeError> {
        let mut table = Table::new(self.columns.clone());
        let unknown = self.unknown(messages, range.clone(), decided)?;
        for index in range {
            match frame_of(messages, index, self.language) {
                Err(fault) => table.push(messages, index, Err(fault)),
                Ok(Frame { schema: id, .. }) if unknown.binary_search(&index).is_ok() => {
                    note(decided, messages, index);
                    let why = self.explain_unknown(id, messages, index);
                    table.push(messages, index, Err(("unknown_schema", why)));
                }
                Ok(frame) => {
                    table.key = self.keys.as_ref().and_then(|keys| keys.text(messages, index));
                    match self.read(frame) {
                        Ok(false) => table.push(messages, index, Ok(&self.row)),
                        Ok(true) if self.stops => {
                            let key = self.deleted(messages, index);
                            return Ok(Decoded { deleted: Some(Deleted { index, key }), ..table.finish()? });
                        }
                        Ok(true) => table.push(messages, index, Err((DELETED, String::new()))),
                        Err(fault) => table.push(messages, index, Err(fault)),
                    }
                }
            }
        }
        Ok(table.finish()?)
    }

    fn key_of(
        &mut self,
        messages: &Messages,
        index: usize,
        decided: &mut Decided,
    ) -> Result<Option<Vec<u8>>, DecodeError> {
        let reads_key = matches!(self.columns.key, KeyFrom::Message(_));
        if self.keys.is_none() || !reads_key || messages.key(index).is_none() {
            return Ok(key_of(&self.columns, messages, index, None));
        }
        let offset = messages.offsets[index];
        if decided.replay && decided.is_unknown(offset) {
            return Ok(None);
        }
        match self.unknown_key(messages, index)? {
            Some(id) if decided.replay => Err(forgotten(id, offset)),
            Some(_) => {
                note(decided, messages, index);
                Ok(None)
            }
            None => {
                let text = self.keys.as_ref().and_then(|keys| keys.text(messages, index));
                Ok(text.and_then(Result::ok).map(String::into_bytes))
            }
        }
    }

    fn stop_at_deletes(&mut self) {
        self.stops = true;
    }

    fn repeats_deletes(&self) -> bool {
        self.columns.envelope == Some(Envelope::Debezium)
    }
}

/// Notes that a message's schema is unknown.
fn note(decided: &mut Decided, messages: &Messages, index: usize) {
    if !decided.replay {
        let before = index.checked_sub(1).map(|before| messages.offsets[before]);
        decided.note(messages.offsets[index], before);
    }
}

fn forgotten(id: SchemaName, offset: i64) -> DecodeError {
    DecodeError::Unavailable(format!(
        "the schema registry no longer knows schema {id}, which it did when offset {offset} was read first"
    ))
}

#[cfg(test)]
#[path = "framed_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "change_tests.rs"]
mod change_tests;

#[cfg(test)]
#[path = "value_tests.rs"]
mod value_tests;

#[cfg(test)]
#[path = "avro_tests.rs"]
mod avro_tests;

#[cfg(test)]
#[path = "frame_tests.rs"]
mod frame_tests;

#[cfg(test)]
#[path = "protobuf_tests.rs"]
mod protobuf_tests;

#[cfg(test)]
#[path = "vector_tests.rs"]
mod vector_tests;
