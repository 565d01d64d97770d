//! Keys of messages that have a schema of their own, in Avro or Protobuf.
//!
//! Lives here: which schemas are those of keys, and a key's text. A key is one value; the id of its schema isn't part
//! of it. Must not live here: the bytes of a language ([`super::avro_key`], [`super::protobuf_key`]), other formats of
//! keys ([`super::key`]), the columns of payloads.

use std::collections::HashMap;
use std::sync::Arc;

use super::answers::Verdict;
use super::avro_key::AvroKey;
use super::columns::Fault;
use super::frame::{Frame, KEY_SCHEMA, frame};
use super::protobuf_key::ProtobufKey;
use super::schema::{Language, Schema, SchemaName};
use super::schemas::Schemas;
use super::{DecodeError, Messages};
use crate::error::contained;

/// What a key may be, for messages.
pub(super) const WANTED: &str = "a key is one value: text, an integer, a boolean, bytes or an enum, or a record with \
                                 one such field, or the one that `key: { field }` names; else take it from a field of \
                                 the payload (`record.key`, with `partitioned_by: key`)";

/// Keys whose schemas a registry knows.
pub(super) struct SchemaKeys {
    schemas: Arc<Schemas>,
    language: Language,
    /// The field of a record that is the key; `None`: its only one.
    field: Option<String>,
    /// Per schema, what a key of it is, or why it can't be one.
    types: HashMap<SchemaName, Result<KeyReader, String>>,
}

/// Keys of one schema.
enum KeyReader {
    Avro(AvroKey),
    Protobuf(ProtobufKey),
}

impl SchemaKeys {
    /// With schemas of their own: what is asked for as a value's schema may be in another language.
    pub fn new(schemas: Arc<Schemas>, language: Language, field: Option<String>) -> SchemaKeys {
        SchemaKeys { schemas, language, field, types: HashMap::new() }
    }

    fn reader(&self, schema: &Schema) -> Result<KeyReader, String> {
        let field = self.field.as_deref();
        let reader = contained(|| match self.language {
            Language::Avro => AvroKey::new(schema, field).map(KeyReader::Avro),
            Language::Protobuf => ProtobufKey::new(schema, field).map(KeyReader::Protobuf),
        });
        reader.and_then(|reader| reader)
    }

    /// Knows a schema without asking.
    #[cfg(test)]
    pub fn learn(&mut self, schema: &Schema) {
        self.types.insert(schema.id.into(), self.reader(schema));
    }

    /// The frame of a message's key; `None`: it has no key.
    fn frame<'m>(&self, messages: &'m Messages, index: usize) -> Option<Result<Frame<'m>, Fault>> {
        Some(frame(messages.key(index)?, messages.header(index, KEY_SCHEMA), self.language))
    }

    /// The schema that a message's key names, if it does.
    pub fn named_by(&self, messages: &Messages, index: usize) -> Option<SchemaName> {
        Some(self.frame(messages, index)?.ok()?.schema)
    }

    /// Looks up the schema of a message's key, if not done before; gives its name if it is unknown. What isn't framed
    /// needs none.
    pub fn unknown(&mut self, messages: &Messages, index: usize) -> Result<Option<SchemaName>, DecodeError> {
        let Some(name) = self.named_by(messages, index).filter(|name| !self.types.contains_key(name)) else {
            return Ok(None);
        };
        let key_type = match self.schemas.of(name, self.language) {
            Verdict::Schema(schema) => self.reader(&schema),
            Verdict::Refused(why) => Err(why),
            Verdict::Unknown => return Ok(Some(name)),
            Verdict::Pending(why) => return Err(DecodeError::Unavailable(why)),
        };
        self.types.insert(name, key_type);
        Ok(None)
    }

    /// The text of a message's key, whose schema was looked up; `None`: it has no key.
    pub fn text(&self, messages: &Messages, index: usize) -> Option<Result<String, Fault>> {
        let bad = |what: String| ("bad_key", format!("the message's key: {what}"));
        let Frame { schema, indexes, body } = match self.frame(messages, index)? {
            Ok(frame) => frame,
            Err((_, what)) => return Some(Err(bad(what))),
        };
        let text = match self.types.get(&schema) {
            Some(Ok(KeyReader::Avro(key))) => key.text(body),
            Some(Ok(KeyReader::Protobuf(key))) => key.text(indexes, body),
            Some(Err(why)) => Err(why.clone()),
            None => {
                let why = format!("{} schema {schema}, that of the message's key", self.schemas.whose());
                return Some(Err(("unknown_schema", why)));
            }
        };
        Some(match text {
            Ok(text) => text.ok_or(("null_key", String::new())),
            Err(what) => Err(bad(format!("schema {schema}: {what}"))),
        })
    }
}
