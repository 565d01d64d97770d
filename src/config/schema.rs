//! The JSON Schema of the pipeline file (draft 2020-12), made from the table of fields.
//!
//! Lives here: how a row of the table is written as a schema. Must not live here: any field. Variables are expanded
//! after the file is read, so every scalar may also be a text with `${…}`.

use serde_json::{Map, Value, json};

use super::document::PIPELINE;
use super::table::{Bound, Shape, Word};
use super::words::{Plain, Words, plain};
use super::yaml::{self, Kind, Node, Scalar};

/// Where a value has a variable, what it is isn't known yet.
const VARIABLE: &str = r"\$\{";
const NAME: &str = "^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$";

/// The schema of a pipeline file.
pub fn schema() -> Value {
    let mut schema = section(&PIPELINE);
    let head = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "kolk pipeline",
        "description": "A pipeline of kolk: streams of events through recurrent neural networks",
        "$defs": { "variable": { "type": "string", "pattern": VARIABLE, "description": "A value with ${NAME}" } },
    });
    if let (Value::Object(schema), Value::Object(head)) = (&mut schema, head) {
        schema.extend(head);
    }
    schema
}

fn section(words: &Words) -> Value {
    let mut needed: Vec<&str> = words.fields.iter().filter(|field| field.needed).map(|field| field.name).collect();
    needed.sort_unstable();
    let choices = words.choices.iter().map(|choice| choice.needed);
    let is_complete = needed.is_empty() && !choices.clone().any(|needed| needed);
    let properties: Map<String, Value> =
        words.fields.iter().map(|field| (field.name.into(), property(field))).collect();
    let mut schema = Map::new();
    // A section without a value has all its defaults.
    schema.insert("type".into(), if is_complete { json!(["object", "null"]) } else { json!("object") });
    schema.insert("properties".into(), properties.into());
    schema.insert("additionalProperties".into(), false.into());
    if !needed.is_empty() {
        schema.insert("required".into(), needed.into());
    }
    let mut all = Vec::new();
    for choice in words.choices {
        let each: Vec<Value> = choice.of.iter().map(|name| json!({ "required": [name] })).collect();
        if choice.needed {
            all.push(json!({ "oneOf": each }));
        } else {
            all.push(json!({ "not": { "required": choice.of } }));
        }
    }
    if !all.is_empty() {
        schema.insert("allOf".into(), all.into());
    }
    schema.into()
}

fn property(field: &Word) -> Value {
    let mut schema = shape(field.shape);
    if let Value::Object(schema) = &mut schema {
        schema.insert("description".into(), field.about.into());
        if let Some(default) = default_of(field) {
            schema.insert("default".into(), default);
        }
    }
    schema
}

/// What a field is where it isn't written.
pub(super) fn default_of(field: &Word) -> Option<Value> {
    let (root, _) = yaml::read(field.default?, &mut |_, _| {}).ok()?;
    root.as_ref().and_then(as_json)
}

/// A value of the file as editors see it: before variables are expanded. `None`: JSON doesn't have it.
pub(super) fn as_json(node: &Node) -> Option<Value> {
    Some(match &node.kind {
        Kind::Scalar(Scalar { written: Some(written), .. }) => json!(written),
        Kind::Scalar(scalar) if scalar.plain => plainly(&scalar.text),
        Kind::Scalar(scalar) => json!(scalar.text),
        Kind::List(items) => items.iter().map(as_json).collect::<Option<Vec<Value>>>()?.into(),
        Kind::Map(pairs) => {
            let pair = |(name, value): &(Node, Node)| Some((name.text()?.to_string(), as_json(value)?));
            pairs.iter().map(pair).collect::<Option<Map<String, Value>>>()?.into()
        }
    })
}

fn plainly(text: &str) -> Value {
    match plain(text) {
        Plain::Nothing => Value::Null,
        Plain::Truth => json!(text.eq_ignore_ascii_case("true")),
        Plain::Integer(number) => json!(number),
        Plain::Float(number) => json!(number),
        Plain::Text => json!(text),
    }
}

fn pattern(pattern: &str) -> Value {
    json!({ "type": "string", "pattern": format!("({pattern})|{VARIABLE}") })
}

fn shape(shape: Shape) -> Value {
    let texts = |least: usize| json!({ "type": "array", "items": { "type": "string", "minLength": 1 }, "uniqueItems": true, "minItems": least });
    match shape {
        Shape::Text | Shape::Path | Shape::Zone => json!({ "type": "string", "minLength": 1 }),
        Shape::Pattern(text) => pattern(text),
        Shape::Name => pattern(NAME),
        Shape::Integer(least, most) => {
            let mut schema = json!({ "type": ["integer", "string"], "minimum": least, "pattern": VARIABLE });
            if most < i64::MAX {
                schema["maximum"] = most.into();
            }
            schema
        }
        Shape::Number(least, most) => {
            let mut schema = json!({ "type": ["number", "string"], "pattern": VARIABLE });
            match least {
                Bound::None => {}
                Bound::Closed(bound) => schema["minimum"] = bound.into(),
                Bound::Open(bound) => schema["exclusiveMinimum"] = bound.into(),
            }
            match most {
                Bound::None => {}
                Bound::Closed(bound) => schema["maximum"] = bound.into(),
                Bound::Open(bound) => schema["exclusiveMaximum"] = bound.into(),
            }
            schema
        }
        Shape::Span { zero } => {
            let written = format!(r"^\s*[0-9]+\s*(ms|s|m|h|d|w|mo|y)?\s*$|{VARIABLE}");
            json!({ "type": ["string", "integer"], "pattern": written, "minimum": i64::from(!zero) })
        }
        Shape::Duration => pattern(r"^\s*[0-9]+\s*(ms|s|m|h|d|w)\s*$"),
        Shape::Moment => json!({ "type": ["string", "integer"], "pattern": format!(r"^\s*[-+0-9]|{VARIABLE}") }),
        Shape::Word(words) => {
            // A word may be one of YAML's own, such as null.
            let mut values: Vec<Value> = words.iter().map(|word| json!(word)).collect();
            values.extend(words.iter().map(|word| plainly(word)).filter(|value| !value.is_string()));
            json!({ "anyOf": [{ "enum": values }, { "$ref": "#/$defs/variable" }] })
        }
        Shape::Secret(file) => json!({ "anyOf": [{ "type": ["string", "number", "boolean", "null"] }, section(file)] }),
        Shape::Section(words) => section(words),
        Shape::Made(words) => section(words()),
        Shape::List(item) => json!({ "type": "array", "items": self::shape(*item) }),
        Shape::Some(item) => json!({ "type": "array", "items": self::shape(*item), "minItems": 1 }),
        Shape::Texts => texts(0),
        Shape::SomeTexts => texts(1),
        Shape::Exactly(count, item) => {
            json!({ "type": "array", "items": self::shape(*item), "minItems": count, "maxItems": count })
        }
        Shape::Names(value) => json!({ "type": "object", "additionalProperties": self::shape(*value) }),
        Shape::Any(shapes) => json!({ "anyOf": shapes.iter().map(|each| self::shape(*each)).collect::<Vec<_>>() }),
    }
}
