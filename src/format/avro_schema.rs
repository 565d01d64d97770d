//! Avro schemas as JSON: what of them decides how bytes are read, and nothing else.
//!
//! Lives here: references written out, annotations left out (doc, aliases of types, what Kafka Connect notes, logical
//! types that their type can't have), fields found by name or alias. Must not live here: bytes.

use std::collections::HashMap;

use arrow_avro::schema::{AvroSchema, Fingerprint, FingerprintAlgorithm};
use serde_json::{Map, Value, json};

use super::schema::Schema;
use crate::config::Envelope;
use crate::error::contained;

/// A record at the top of a schema.
#[derive(Debug, Clone)]
pub(super) struct Record {
    namespace: String,
    pub fields: Vec<Field>,
    /// Definitions of types, by full name and by name alone.
    named: HashMap<String, Value>,
}

/// A field of it.
#[derive(Debug, Clone)]
pub(super) struct Field {
    pub name: String,
    pub aliases: Vec<String>,
    pub default: Option<Value>,
    /// Its type, without annotations.
    pub data_type: Value,
}

/// How deep a schema may be with those that it refers to.
const DEEPEST: usize = 400;

/// Words of a type that decide how it is read.
const KEPT: [&str; 8] = ["type", "name", "namespace", "symbols", "size", "logicalType", "precision", "scale"];

impl Record {
    /// From a registered schema, or the error in it.
    pub fn new(schema: &Schema) -> Result<Record, String> {
        let root = inlined(schema)?;
        let mut root = &root;
        while let Some(inner) = root.get("type").filter(|inner| inner.is_object()) {
            root = inner;
        }
        let fields = root.get("fields").and_then(Value::as_array);
        let Some(fields) = fields.filter(|_| is_record(root)) else {
            return Err("expected a record at the top of the schema".into());
        };
        let namespace = namespace_of(root, "");
        let fields: Vec<Field> = fields.iter().map(Field::new).collect();
        let own: Vec<Value> = fields.iter().map(|f| json!({ "name": f.name, "type": f.data_type })).collect();
        let mut own = json!({ "type": "record", "fields": own });
        own["name"] = root.get("name").cloned().unwrap_or(Value::Null);
        let mut named = HashMap::new();
        define(&own, &namespace, &mut named);
        Ok(Record { namespace, fields, named })
    }

    /// The namespace that its fields are in.
    pub fn full_namespace(&self) -> String {
        self.namespace.clone()
    }

    /// A type that is defined somewhere in this schema, by a name within a namespace; and its full name.
    pub fn definition(&self, name: &str, namespace: &str) -> Option<(String, &Value)> {
        let full = if name.contains('.') { name.to_string() } else { format!("{namespace}.{name}") };
        let found = self.named.get(&full).or_else(|| self.named.get(name))?;
        let short = name.rsplit('.').next().unwrap_or_default();
        Some((format!("{}.{short}", namespace_of(found, "")), found))
    }

    /// A field by its name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// The field that a reader's field is read of: that of its name, of one of its aliases, or that has its name for an
    /// alias.
    pub fn source(&self, reader: &Field) -> Option<&Field> {
        let named = self.field(&reader.name);
        let aliased = || reader.aliases.iter().find_map(|alias| self.field(alias));
        let alias = || self.fields.iter().find(|field| field.aliases.contains(&reader.name));
        named.or_else(aliased).or_else(alias)
    }

    /// A type of this schema for another one: with no name that the other schema might use otherwise. Symbols are text.
    pub fn detached(&self, data_type: &Value) -> Value {
        match data_type {
            Value::Array(branches) => branches.iter().map(|branch| self.detached(branch)).collect(),
            Value::String(name) => match self.definition(name, &self.namespace) {
                Some((_, definition)) => self.detached(definition),
                None => data_type.clone(),
            },
            Value::Object(object) if object.get("type").is_some_and(|word| word == "enum") => "string".into(),
            _ => data_type.clone(),
        }
    }

    /// A reader's field that a writer lacks and that has a default: as a field of another schema, for the bytes of
    /// none. A union begins with the branch of its default.
    pub fn defaulted(&self, field: &Field) -> Value {
        let mut data_type = self.detached(&field.data_type);
        if let (Value::Array(branches), Some(default)) = (&mut data_type, &field.default)
            && let Some(at) = branches.iter().position(|branch| is_default_of(default, branch))
        {
            branches.swap(0, at);
        }
        json!({ "name": field.name, "type": data_type, "default": field.default })
    }
}

/// Whether a default can be one of a type.
fn is_default_of(default: &Value, data_type: &Value) -> bool {
    let word = data_type.as_str().or_else(|| data_type.get("type").and_then(Value::as_str)).unwrap_or_default();
    match default {
        Value::Null => word == "null",
        Value::Bool(_) => word == "boolean",
        Value::Number(number) if number.is_f64() => matches!(word, "float" | "double"),
        Value::Number(_) => matches!(word, "int" | "long" | "float" | "double"),
        Value::String(_) => matches!(word, "string" | "bytes" | "fixed" | "enum"),
        Value::Array(_) => word == "array",
        Value::Object(_) => matches!(word, "map" | "record" | "error"),
    }
}

impl Field {
    /// One without a name or a type can't be read, which matters only where it is.
    fn new(value: &Value) -> Field {
        let aliases = value.get("aliases").and_then(Value::as_array);
        Field {
            name: value.get("name").and_then(Value::as_str).unwrap_or_default().to_string(),
            aliases: aliases.into_iter().flatten().filter_map(Value::as_str).map(str::to_string).collect(),
            default: value.get("default").cloned(),
            data_type: plain(value.get("type").unwrap_or(&Value::Null)),
        }
    }

    /// Whether 16 bytes of it are a UUID.
    pub fn is_uuid(&self) -> bool {
        let is = |data_type: &Value| data_type.get("logicalType").is_some_and(|word| word == "uuid");
        is(&self.data_type) || self.data_type.as_array().is_some_and(|branches| branches.iter().any(is))
    }

    /// The same of a field within records in it.
    pub fn is_uuid_within(&self, path: &[String]) -> bool {
        path.is_empty() && self.is_uuid()
    }

    /// Whether it is null where nothing is written: a union with null that has no other default.
    pub fn may_be_missing(&self) -> bool {
        let has_null = self.data_type.as_array().is_some_and(|branches| branches.iter().any(|branch| branch == "null"));
        has_null && self.default.as_ref().is_none_or(Value::is_null)
    }
}

pub(super) fn is_record(value: &Value) -> bool {
    matches!(value.get("type").and_then(Value::as_str), Some("record" | "error"))
}

/// A type without annotations. Text is text, whatever it says (`uuid`): arrow-avro would make other bytes of it.
fn plain(value: &Value) -> Value {
    match value {
        Value::Array(branches) => branches.iter().map(plain).collect(),
        Value::Object(object) => match object.get("type") {
            Some(inner @ (Value::Object(_) | Value::Array(_))) => plain(inner),
            Some(Value::String(word)) if word == "string" => "string".into(),
            _ => {
                let mut kept: Map<String, Value> = object
                    .iter()
                    .filter(|(word, _)| KEPT.contains(&word.as_str()))
                    .map(|(w, v)| (w.clone(), v.clone()))
                    .collect();
                if !has_logical_type(object) {
                    kept.retain(|word, _| !["logicalType", "precision", "scale"].contains(&word.as_str()));
                }
                for word in ["items", "values"] {
                    if let Some(inner) = object.get(word) {
                        kept.insert(word.into(), plain(inner));
                    }
                }
                if let Some(Value::Array(fields)) = object.get("fields") {
                    let field = |field: &Value| json!({ "name": field["name"], "type": plain(&field["type"]) });
                    kept.insert("fields".into(), fields.iter().map(field).collect());
                }
                Value::Object(kept)
            }
        },
        _ => value.clone(),
    }
}

/// Debezium's times, which Kafka Connect's converter only names, with the logical types that mean the same.
const DEBEZIUM: [(&str, &str, &str); 4] = [
    ("io.debezium.time.Timestamp", "long", "timestamp-millis"),
    ("io.debezium.time.MicroTimestamp", "long", "timestamp-micros"),
    ("io.debezium.time.NanoTimestamp", "long", "timestamp-nanos"),
    ("io.debezium.time.Date", "int", "date"),
];

/// A schema as it is within an envelope: Debezium's times are times.
pub(super) fn annotated(schema: &Schema, envelope: Option<Envelope>) -> Schema {
    let mut schema = schema.clone();
    if envelope == Some(Envelope::Debezium) {
        let texts = std::iter::once(&mut schema.text).chain(schema.references.iter_mut().map(|(_, text)| text));
        for text in texts {
            if let Ok(mut value) = serde_json::from_str(text) {
                annotate(&mut value);
                *text = value.to_string();
            }
        }
    }
    schema
}

fn annotate(value: &mut Value) {
    match value {
        Value::Array(all) => all.iter_mut().for_each(annotate),
        Value::Object(object) => {
            let text = |word: &str| object.get(word).and_then(Value::as_str).unwrap_or_default();
            let known = DEBEZIUM.iter().find(|(name, word, _)| text("connect.name") == *name && text("type") == *word);
            if let Some((_, _, logical)) = known.filter(|_| !object.contains_key("logicalType")) {
                object.insert("logicalType".into(), (*logical).into());
            }
            object.values_mut().for_each(annotate);
        }
        _ => {}
    }
}

/// Whether a type has a logical type that Avro knows for it; any other is to be ignored.
fn has_logical_type(object: &Map<String, Value>) -> bool {
    let text = |word: &str| object.get(word).and_then(Value::as_str).unwrap_or_default();
    let number = |word: &str| object.get(word).map(Value::as_u64);
    let size = number("size").flatten();
    match (text("logicalType"), text("type")) {
        ("decimal", word @ ("bytes" | "fixed")) => {
            let (Some(Some(precision)), Some(scale)) = (number("precision"), number("scale").unwrap_or(Some(0))) else {
                return false;
            };
            // What so many bytes hold as decimal digits.
            let most = size.map_or(f64::INFINITY, |size| ((8.0 * size as f64 - 1.0) * 2_f64.log10()).floor());
            precision > 0 && scale <= precision && (word == "bytes" || precision as f64 <= most)
        }
        ("date" | "time-millis", "int") => true,
        ("uuid", "fixed") => size == Some(16),
        ("duration", "fixed") => size == Some(12),
        ("time-micros", "long") => true,
        (logical, "long") => {
            let unit = logical.strip_prefix("local-").unwrap_or(logical).strip_prefix("timestamp-");
            unit.is_some_and(|unit| matches!(unit, "millis" | "micros" | "nanos"))
        }
        _ => false,
    }
}

pub(super) fn namespace_of(value: &Value, enclosing: &str) -> String {
    let own = value.get("namespace").and_then(Value::as_str);
    let of_name =
        value.get("name").and_then(Value::as_str).and_then(|name| name.rsplit_once('.')).map(|(space, _)| space);
    of_name.or(own).unwrap_or(enclosing).to_string()
}

/// Notes the types that are defined within a type.
fn define(value: &Value, enclosing: &str, named: &mut HashMap<String, Value>) {
    match value {
        Value::Array(branches) => branches.iter().for_each(|branch| define(branch, enclosing, named)),
        Value::Object(object) => {
            let namespace = namespace_of(value, enclosing);
            if let Some(name) = object.get("name").and_then(Value::as_str) {
                let short = name.rsplit_once('.').map_or(name, |(_, short)| short);
                let mut value = value.clone();
                value["namespace"] = namespace.as_str().into();
                named.insert(format!("{namespace}.{short}"), value.clone());
                named.insert(short.to_string(), value);
            }
            for word in ["items", "values"] {
                object.get(word).into_iter().for_each(|inner| define(inner, &namespace, named));
            }
            for field in object.get("fields").and_then(Value::as_array).into_iter().flatten() {
                define(&field["type"], &namespace, named);
            }
        }
        _ => {}
    }
}

/// A schema with those it refers to written out where they are named first, since arrow-avro takes one text.
fn inlined(schema: &Schema) -> Result<Value, String> {
    let parse = |text: &str| serde_json::from_str::<Value>(text).map_err(|e| format!("the schema is no JSON: {e}"));
    let mut root = parse(&schema.text)?;
    if schema.references.is_empty() {
        return Ok(root);
    }
    let mut named = HashMap::new();
    for (name, text) in &schema.references {
        named.insert(name.clone(), parse(text)?);
    }
    let namespace = root.get("namespace").and_then(Value::as_str).unwrap_or_default().to_string();
    inline(&mut root, &namespace, &mut named, 0)?;
    Ok(root)
}

/// Puts a definition in place of the first use of its name; a second use finds it by name.
fn inline(value: &mut Value, namespace: &str, named: &mut HashMap<String, Value>, depth: usize) -> Result<(), String> {
    if depth > DEEPEST {
        return Err(format!("the schemas that it refers to are nested more than {DEEPEST} deep"));
    }
    let depth = depth + 1;
    match value {
        Value::String(name) => {
            let full = if name.contains('.') { name.clone() } else { format!("{namespace}.{name}") };
            let Some(mut definition) = named.remove(&full).or_else(|| named.remove(name.as_str())) else {
                return Ok(());
            };
            let inner = definition.get("namespace").and_then(Value::as_str).unwrap_or(namespace).to_string();
            inline(&mut definition, &inner, named, depth)?;
            *value = definition;
        }
        Value::Array(union) => union.iter_mut().try_for_each(|branch| inline(branch, namespace, named, depth))?,
        Value::Object(object) => {
            for name in ["type", "items", "values"] {
                if let Some(inner) = object.get_mut(name) {
                    inline(inner, namespace, named, depth)?;
                }
            }
            if let Some(Value::Array(fields)) = object.get_mut("fields") {
                for data_type in fields.iter_mut().filter_map(|field| field.get_mut("type")) {
                    inline(data_type, namespace, named, depth)?;
                }
            }
        }
        _ => {}
    }
    Ok(())
}

/// The fingerprint (CRC-64-AVRO) of a schema, as Avro's single-object encoding has it; `None`: it has none.
pub(super) fn fingerprint(schema: &Schema) -> Option<[u8; 8]> {
    let text = bare(&inlined(schema).ok()?).to_string();
    match contained(|| AvroSchema::new(text).fingerprint(FingerprintAlgorithm::Rabin)).ok()?.ok()? {
        Fingerprint::Rabin(found) => Some(found.to_le_bytes()),
        _ => None,
    }
}

/// A schema with nothing but what fingerprints are made of: arrow-avro refuses some of the rest.
fn bare(value: &Value) -> Value {
    match value {
        Value::Array(all) => all.iter().map(bare).collect(),
        Value::Object(object) => {
            const WORDS: [&str; 8] = ["type", "name", "namespace", "fields", "symbols", "items", "values", "size"];
            let kept = object.iter().filter(|(word, _)| WORDS.contains(&word.as_str()));
            Value::Object(kept.map(|(word, inner)| (word.clone(), bare(inner))).collect())
        }
        _ => value.clone(),
    }
}

/// The full name of the record at the top of a schema; `None`: there is none.
pub(super) fn full_name(schema: &Schema) -> Option<String> {
    let root: Value = serde_json::from_str(&schema.text).ok()?;
    let mut root = &root;
    while let Some(inner) = root.get("type").filter(|inner| inner.is_object()) {
        root = inner;
    }
    let name = root.get("name")?.as_str()?;
    let namespace = namespace_of(root, "");
    let short = name.rsplit('.').next().unwrap_or_default();
    Some(if namespace.is_empty() { short.to_string() } else { format!("{namespace}.{short}") })
}
