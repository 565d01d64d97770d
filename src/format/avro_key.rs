//! Keys of messages in Avro, each with the id of its schema in Confluent's frame.
//!
//! Lives here: which schemas are those of a key, and a key's text. A key is one value, so its bytes are read directly;
//! the id isn't part of it. Must not live here: other formats of keys ([`super::key`]), the columns of payloads.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::DecodeError;
use super::answers::Verdict;
use super::avro_bytes::{chosen, hexadecimal, sized, taken, uuid_text, zigzag};
use super::avro_schema::Record;
use super::columns::Fault;
use super::frame::frame;
use super::registry::Registry;
use super::schema::{Language, Schema};

/// Keys whose schemas a registry knows.
pub(super) struct AvroKeys {
    registry: Arc<Registry>,
    /// Per schema, what a key of it is, or why it can't be one.
    types: HashMap<u32, Result<KeyType, String>>,
}

impl AvroKeys {
    /// With a registry of their own: what is asked for as a value's schema may be in another language.
    pub fn new(registry: Arc<Registry>) -> AvroKeys {
        AvroKeys { registry, types: HashMap::new() }
    }

    /// Knows a schema without asking.
    #[cfg(test)]
    pub fn learn(&mut self, schema: &Schema) {
        self.types.insert(schema.id, KeyType::of(schema));
    }

    /// Looks up the schema of a key, if not done before; gives its id if it is unknown. What isn't framed needs none.
    pub fn unknown(&mut self, key: &[u8]) -> Result<Option<u32>, DecodeError> {
        let Ok((id, _)) = frame(key) else { return Ok(None) };
        if self.types.contains_key(&id) {
            return Ok(None);
        }
        let key_type = match self.registry.by_id(id, Language::Avro) {
            Verdict::Schema(schema) => KeyType::of(&schema),
            Verdict::Refused(why) => Err(why),
            Verdict::Unknown => return Ok(Some(id)),
            Verdict::Pending(why) => return Err(DecodeError::Unavailable(why)),
        };
        self.types.insert(id, key_type);
        Ok(None)
    }

    /// The text of a key whose schema was looked up.
    pub fn text(&self, key: &[u8]) -> Result<String, Fault> {
        let bad = |what: String| ("bad_key", format!("the message's key: {what}"));
        let (id, mut body) = frame(key).map_err(|(_, what)| bad(what))?;
        match self.types.get(&id) {
            Some(Ok(key_type)) => {
                let text = key_type.text(&mut body).map_err(bad)?.ok_or(("null_key", String::new()))?;
                if !body.is_empty() {
                    return Err(bad(format!("{} bytes follow the value of schema {id}", body.len())));
                }
                Ok(text)
            }
            Some(Err(why)) => Err(bad(format!("schema {id}: {why}"))),
            None => {
                Err(("unknown_schema", format!("the registry doesn't know schema {id}, that of the message's key")))
            }
        }
    }
}

/// What a key is.
#[derive(Debug, PartialEq)]
enum KeyType {
    Text,
    Int,
    Long,
    Boolean,
    Bytes,
    Fixed(usize),
    Uuid,
    Enum(Vec<String>),
    /// Branches, of which null is `None`.
    Union(Vec<Option<KeyType>>),
}

const WANTED: &str = "a key is one value: text, an integer, a boolean, bytes or an enum, or a record with one such \
                      field; else take it from a field of the payload (`record.key`, with `partitioned_by: key`)";

impl KeyType {
    /// Of a registered schema, or why it can't be that of a key.
    fn of(schema: &Schema) -> Result<KeyType, String> {
        let root: Value = serde_json::from_str(&schema.text).map_err(|e| format!("the schema is no JSON: {e}"))?;
        let mut inner = &root;
        while let Some(within) = inner.get("type").filter(|within| within.is_object()) {
            inner = within;
        }
        let is_record = inner.get("type").is_some_and(|word| word == "record");
        // A record is written as its fields one after another, so one field and a record around it are the same bytes.
        let around = json!({ "type": "record", "name": "Key", "fields": [{ "name": "key", "type": inner }] });
        let text = if is_record { schema.text.clone() } else { around.to_string() };
        let record = Record::new(&Schema { id: schema.id, text, references: schema.references.clone() })?;
        match &record.fields[..] {
            [field] => KeyType::of_type(&field.data_type),
            fields => Err(format!("a record of {} fields: {WANTED}", fields.len())),
        }
    }

    fn of_type(found: &Value) -> Result<KeyType, String> {
        if let Value::Array(branches) = found {
            let branch = |branch: &Value| match branch == "null" {
                true => Ok(None),
                false => KeyType::of_type(branch).map(Some),
            };
            return Ok(KeyType::Union(branches.iter().map(branch).collect::<Result<_, _>>()?));
        }
        let word = found.as_str().or_else(|| found.get("type").and_then(Value::as_str)).unwrap_or_default();
        let logical = found.get("logicalType").and_then(Value::as_str);
        let size = || found.get("size").and_then(Value::as_u64).and_then(|size| usize::try_from(size).ok());
        Ok(match (word, logical, size()) {
            ("string", _, _) => KeyType::Text,
            ("fixed", Some("uuid"), Some(16)) => KeyType::Uuid,
            (_, Some(logical), _) => return Err(format!("{logical}: {WANTED}")),
            ("int", ..) => KeyType::Int,
            ("long", ..) => KeyType::Long,
            ("boolean", ..) => KeyType::Boolean,
            ("bytes", ..) => KeyType::Bytes,
            ("fixed", _, Some(size)) => KeyType::Fixed(size),
            ("enum", ..) => {
                let symbols = found.get("symbols").and_then(Value::as_array).into_iter().flatten();
                KeyType::Enum(symbols.filter_map(Value::as_str).map(str::to_string).collect())
            }
            _ => return Err(format!("{}: {WANTED}", if word.is_empty() { "no type" } else { word })),
        })
    }

    /// Takes a value; `None`: null.
    fn text(&self, from: &mut &[u8]) -> Result<Option<String>, String> {
        let utf8 = |bytes: &[u8]| std::str::from_utf8(bytes).map(str::to_string).map_err(|e| e.to_string());
        Ok(Some(match self {
            KeyType::Text => utf8(sized(from)?)?,
            KeyType::Bytes => hexadecimal(sized(from)?),
            KeyType::Fixed(size) => hexadecimal(taken(from, *size)?),
            KeyType::Uuid => uuid_text(taken(from, 16)?),
            KeyType::Int => i32::try_from(zigzag(from)?).map_err(|_| "an int beyond 32 bits".to_string())?.to_string(),
            KeyType::Long => zigzag(from)?.to_string(),
            KeyType::Boolean => match taken(from, 1)? {
                [0] => "false".into(),
                [1] => "true".into(),
                other => return Err(format!("a boolean is 0 or 1, found {other:?}")),
            },
            KeyType::Enum(symbols) => chosen(symbols, from)?.clone(),
            KeyType::Union(branches) => match chosen(branches, from)? {
                Some(branch) => return branch.text(from),
                None => return Ok(None),
            },
        }))
    }
}

#[cfg(test)]
#[path = "avro_key_tests.rs"]
mod tests;
