//! The JSON Schema of the pipeline file (draft 2020-12), made from the table of fields.
//!
//! Lives here: how a row of the table is written as a schema. Must not live here: any field. Variables are expanded
//! after the file is read, so every scalar may also be a text with `${…}`.

use serde_json::{Map, Value, json};

use super::card_words::CARD;
use super::document::PIPELINE;
use super::include::{EXTENSION, INCLUDE};
use super::table::{Bound, Shape, Word};
use super::words::{Plain, Words, plain};
use super::yaml::{self, Kind, Node, Scalar};

/// Where a value has a variable, what it is isn't known yet.
const VARIABLE: &str = r"\$\{";
const NAME: &str = "^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$";

/// The schema of a pipeline file, or of one that pipelines include (`shared`), in which nothing is needed.
pub fn schema(shared: bool) -> Value {
    let mut schema = section(&PIPELINE);
    let head = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": if shared { "what kolk pipelines share" } else { "kolk pipeline" },
        "description": "A pipeline of kolk: streams of events through recurrent neural networks",
        "patternProperties": { format!("^{EXTENSION}"): { "description": "Holds anchors; kolk ignores it" } },
        "$defs": { "variable": { "type": "string", "pattern": VARIABLE, "description": "A value with ${NAME}" } },
    });
    if let (Value::Object(schema), Value::Object(head)) = (&mut schema, head) {
        schema.extend(head);
    }
    if let Some(needs) = needs(&PIPELINE).filter(|_| !shared) {
        // What a file lacks may be in one that it includes.
        schema["if"] = json!({ "not": { "required": [INCLUDE] } });
        schema["then"] = needs;
    }
    schema
}

/// The schema of a card.
pub fn card_schema() -> Value {
    let mut schema = section(&CARD);
    let head = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "kolk card",
        "description": "What the tensors of an ONNX file are, for `kolk models import`",
        "$defs": { "variable": { "type": "string", "pattern": VARIABLE, "description": "A value with ${NAME}" } },
    });
    if let (Value::Object(schema), Value::Object(head)) = (&mut schema, head) {
        schema.extend(head);
        schema.extend(needs(&CARD).and_then(|needs| needs.as_object().cloned()).into_iter().flatten().filter(
            |(word, _)| {
                // What sections within it need would replace what they have.
                word == "required"
            },
        ));
    }
    schema
}

/// What a section may have.
fn section(words: &Words) -> Value {
    let properties: Map<String, Value> =
        words.fields.iter().map(|field| (field.name.into(), property(field))).collect();
    let mut schema = Map::new();
    // A section without a value has all its defaults.
    schema.insert("type".into(), json!(["object", "null"]));
    schema.insert("properties".into(), properties.into());
    schema.insert("additionalProperties".into(), false.into());
    let mut excluded = Vec::new();
    for choice in words.choices {
        if choice.of.len() == words.fields.len() {
            schema.insert("maxProperties".into(), 1.into());
            continue;
        }
        for (i, one) in choice.of.iter().enumerate() {
            excluded.extend(choice.of[..i].iter().map(|other| json!({ "not": { "required": [other, one] } })));
        }
    }
    if !excluded.is_empty() {
        schema.insert("allOf".into(), excluded.into());
    }
    schema.into()
}

/// What a section must have.
fn needs(words: &Words) -> Option<Value> {
    let mut schema = Map::new();
    let needed: Vec<&str> = words.fields.iter().filter(|field| field.needed).map(|field| field.name).collect();
    if !needed.is_empty() {
        schema.insert("required".into(), needed.into());
    }
    let of = |of: &[&str]| of.iter().map(|name| json!({ "required": [name] })).collect::<Vec<_>>();
    let choices: Vec<&[&str]> = words.choices.iter().filter(|choice| choice.needed).map(|choice| choice.of).collect();
    match choices[..] {
        [] => {}
        [one] => drop(schema.insert("anyOf".into(), of(one).into())),
        _ => {
            let all: Vec<Value> = choices.iter().map(|one| json!({ "anyOf": of(one) })).collect();
            schema.insert("allOf".into(), all.into());
        }
    }
    if !schema.is_empty() {
        schema.insert("type".into(), "object".into());
    }
    let inner = words.fields.iter().filter_map(|field| Some((field.name.to_string(), needs_of(field.shape)?)));
    let inner: Map<String, Value> = inner.collect();
    if !inner.is_empty() {
        schema.insert("properties".into(), inner.into());
    }
    (!schema.is_empty()).then(|| schema.into())
}

/// What the sections that a value may be must have.
fn needs_of(shape: Shape) -> Option<Value> {
    match shape {
        Shape::Section(words) => needs(words),
        Shape::Made(words) => needs(words()),
        Shape::List(item) | Shape::Some(item) => needs_of(*item).map(|needs| json!({ "items": needs })),
        Shape::Names(item) => needs_of(*item).map(|needs| json!({ "additionalProperties": needs })),
        Shape::Secret(words) => as_object(needs(words)?),
        Shape::Any(shapes) => {
            let mut each: Vec<Value> = shapes.iter().filter_map(|shape| as_object(needs_of(*shape)?)).collect();
            if each.len() > 1 { Some(json!({ "anyOf": each })) } else { each.pop() }
        }
        _ => None,
    }
}

/// For a value that need not be a section.
fn as_object(mut needs: Value) -> Option<Value> {
    if let Value::Object(needs) = &mut needs {
        needs.remove("type");
        // Whatever isn't a mapping has no fields.
        if let Some(one_of) = needs.remove("anyOf") {
            needs.insert("if".into(), json!({ "type": "object" }));
            needs.insert("then".into(), json!({ "anyOf": one_of }));
        }
    }
    Some(needs)
}

fn property(field: &Word) -> Value {
    let mut schema = shape(field.shape);
    if let Value::Object(schema) = &mut schema {
        schema.insert("description".into(), field.about.into());
        if let Some(default) = default_of(field) {
            // As of a section: without a value it has its default.
            match (field.shape, &default) {
                (Shape::List(_), Value::Array(_)) => drop(schema.insert("type".into(), json!(["array", "null"]))),
                (Shape::Names(_), Value::Object(_)) => drop(schema.insert("type".into(), json!(["object", "null"]))),
                _ => {}
            }
            schema.insert("default".into(), default);
        }
    }
    schema
}

/// What a field is where it isn't written.
pub(super) fn default_of(field: &Word) -> Option<Value> {
    let (root, _) = yaml::read(field.default?, None).ok()?;
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
        Shape::Anything => json!({}),
        Shape::Any(shapes) => json!({ "anyOf": shapes.iter().map(|each| self::shape(*each)).collect::<Vec<_>>() }),
    }
}
