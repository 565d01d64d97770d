//! Avro schemas as JSON: what of them decides how bytes are read, and nothing else.
//!
//! Lives here: references written out, annotations left out (doc, aliases of types, what Kafka Connect notes), fields
//! found by name or alias. Must not live here: bytes, Arrow.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::schema::Schema;

/// A record at the top of a schema.
#[derive(Debug, Clone)]
pub(super) struct Record {
    name: Value,
    namespace: Value,
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
        let part = |name: &str| root.get(name).cloned().unwrap_or(Value::Null);
        let (name, namespace) = (part("name"), part("namespace"));
        let mut named = HashMap::new();
        let enclosing = namespace_of(root, "");
        let fields: Option<Vec<Field>> = fields.iter().map(Field::new).collect();
        let fields = fields.ok_or("a field of the schema has no name or no type")?;
        fields.iter().for_each(|field| define(&field.data_type, &enclosing, &mut named));
        Ok(Record { name, namespace, fields, named })
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

    /// The schema with these fields only, and with further ones that have defaults.
    pub fn text<'f>(&self, keep: impl Fn(&str) -> bool, more: impl Iterator<Item = (&'f Field, Value)>) -> String {
        let own = self.fields.iter().filter(|field| keep(&field.name));
        let own = own.map(|field| json!({ "name": field.name, "type": field.data_type }));
        let more =
            more.map(|(field, data_type)| json!({ "name": field.name, "type": data_type, "default": field.default }));
        let mut record = json!({ "type": "record", "name": self.name, "fields": own.chain(more).collect::<Vec<_>>() });
        if !self.namespace.is_null() {
            record["namespace"] = self.namespace.clone();
        }
        record.to_string()
    }

    /// A type of this schema for another one: with no name that the other schema might use otherwise. Symbols are text.
    pub fn detached(&self, data_type: &Value) -> Value {
        match data_type {
            Value::Array(branches) => branches.iter().map(|branch| self.detached(branch)).collect(),
            Value::String(name) => match self.named.get(name) {
                Some(definition) => self.detached(definition),
                None => data_type.clone(),
            },
            Value::Object(object) if object.get("type").is_some_and(|word| word == "enum") => "string".into(),
            _ => data_type.clone(),
        }
    }
}

impl Field {
    fn new(value: &Value) -> Option<Field> {
        let aliases = value.get("aliases").and_then(Value::as_array);
        Some(Field {
            name: value.get("name")?.as_str()?.to_string(),
            aliases: aliases.into_iter().flatten().filter_map(Value::as_str).map(str::to_string).collect(),
            default: value.get("default").cloned(),
            data_type: plain(value.get("type")?),
        })
    }

    /// Whether it is null where nothing is written, though it has no default: a union whose first branch is null.
    pub fn may_be_missing(&self) -> bool {
        self.data_type.as_array().and_then(|branches| branches.first()).is_some_and(|first| first == "null")
    }
}

fn is_record(value: &Value) -> bool {
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

fn namespace_of(value: &Value, enclosing: &str) -> String {
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
                named.insert(format!("{namespace}.{short}"), value.clone());
                named.insert(short.to_string(), value.clone());
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
    inline(&mut root, &namespace, &mut named);
    Ok(root)
}

/// Puts a definition in place of the first use of its name; a second use finds it by name.
fn inline(value: &mut Value, namespace: &str, named: &mut HashMap<String, Value>) {
    match value {
        Value::String(name) => {
            let full = if name.contains('.') { name.clone() } else { format!("{namespace}.{name}") };
            let Some(mut definition) = named.remove(&full).or_else(|| named.remove(name.as_str())) else { return };
            let inner = definition.get("namespace").and_then(Value::as_str).unwrap_or(namespace).to_string();
            inline(&mut definition, &inner, named);
            *value = definition;
        }
        Value::Array(union) => union.iter_mut().for_each(|branch| inline(branch, namespace, named)),
        Value::Object(object) => {
            for name in ["type", "items", "values"] {
                if let Some(inner) = object.get_mut(name) {
                    inline(inner, namespace, named);
                }
            }
            if let Some(Value::Array(fields)) = object.get_mut("fields") {
                fields.iter_mut().for_each(|field| {
                    if let Some(data_type) = field.get_mut("type") {
                        inline(data_type, namespace, named);
                    }
                });
            }
        }
        _ => {}
    }
}
