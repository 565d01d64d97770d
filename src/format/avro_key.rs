//! Keys of messages in Avro. A key is one value, so its bytes are read directly.

use serde_json::{Value, json};

use super::avro_bytes::{chosen, sized, taken, zigzag};
use super::avro_cut::Cut;
use super::avro_schema::{Record, is_record};
use super::schema::Schema;
use super::schema_key::WANTED;
use crate::error::counted;
use crate::record::{hexadecimal, uuid_text};

/// Keys of one schema.
pub(super) struct AvroKey {
    key_type: KeyType,
    /// Where it is one field of several.
    cut: Option<Cut>,
}

impl AvroKey {
    /// Of a registered schema, or why it can't be that of a key. `field`: that of a record that is the key.
    pub fn new(schema: &Schema, field: Option<&str>) -> Result<AvroKey, String> {
        let root: Value = serde_json::from_str(&schema.text).map_err(|e| format!("the schema is no JSON: {e}"))?;
        let mut inner = &root;
        while let Some(within) = inner.get("type").filter(|within| within.is_object()) {
            inner = within;
        }
        // A record is written as its fields one after another, so one field and a record around it are the same bytes.
        let around = json!({ "type": "record", "name": "Key", "fields": [{ "name": "key", "type": inner }] });
        let text = if is_record(inner) { schema.text.clone() } else { around.to_string() };
        let record = Record::new(&Schema { id: schema.id, text, references: schema.references.clone() })?;
        let (found, cut) = match (&record.fields[..], field.filter(|_| is_record(inner))) {
            ([only], None) => (only, None),
            (fields, None) => return Err(format!("a record of {} fields: {WANTED}", fields.len())),
            (_, Some(name)) => {
                let found = record.field(name).ok_or_else(|| format!("there is no field \"{name}\" in the schema"))?;
                (found, Some(Cut::new(&record, &[name])?))
            }
        };
        Ok(AvroKey { key_type: KeyType::of_type(&found.data_type)?, cut })
    }

    /// The text of a key; `None`: null.
    pub fn text(&self, body: &[u8]) -> Result<Option<String>, String> {
        let mut kept = Vec::new();
        let mut rest = match &self.cut {
            Some(cut) => {
                cut.copy(body, &mut kept)?;
                &kept[..]
            }
            None => body,
        };
        let text = self.key_type.text(&mut rest)?;
        if rest.is_empty() {
            Ok(text)
        } else {
            Err(format!("the value is followed by {}", counted(rest.len(), "byte")))
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

impl KeyType {
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
