//! The JSON Schema and the reader agree: every file that a test reads is shown to both.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

use regex::Regex;
use serde_json::{Map, Value, json};

use super::super::schema::{as_json, default_of, schema};
use super::super::table::{self, Around, Step};
use super::super::words::Words;
use super::super::yaml::Node;
use super::*;

/// What the schema finds wrong with a document. It knows the keywords that the schema has and no others; the whole runs
/// show the schema to a validator that knows all of them.
fn faults(document: &Value) -> std::result::Result<(), String> {
    static SCHEMA: LazyLock<Value> = LazyLock::new(|| schema(false));
    fits(&SCHEMA, document, &SCHEMA)
}

fn fits(schema: &Value, value: &Value, root: &Value) -> std::result::Result<(), String> {
    for (keyword, rule) in schema.as_object().unwrap() {
        let fits_one = |rule: &Value| fits(rule, value, root).is_ok();
        let rules = || rule.as_array().unwrap().iter();
        let (number, text, list) = (value.as_f64(), value.as_str(), value.as_array());
        let compared = |holds: fn(f64, f64) -> bool| number.is_none_or(|n| holds(n, rule.as_f64().unwrap()));
        let holds = match keyword.as_str() {
            "$schema" | "$id" | "$defs" | "title" | "description" | "default" => true,
            "$ref" => fits_one(root.pointer(rule.as_str().unwrap().strip_prefix('#').unwrap()).unwrap()),
            "type" if rule.is_array() => rules().any(|kind| is_a(kind, value)),
            "type" => is_a(rule, value),
            "enum" => rules().any(|one| one == value),
            "anyOf" => rules().any(fits_one),
            "oneOf" => rules().filter(|rule| fits_one(rule)).count() == 1,
            "allOf" => rules().all(fits_one),
            "not" => !fits_one(rule),
            "minimum" => compared(|n, bound| n >= bound),
            "maximum" => compared(|n, bound| n <= bound),
            "exclusiveMinimum" => compared(|n, bound| n > bound),
            "exclusiveMaximum" => compared(|n, bound| n < bound),
            "minLength" => text.is_none_or(|text| text.chars().count() as u64 >= rule.as_u64().unwrap()),
            "pattern" => text.is_none_or(|text| is_match(rule.as_str().unwrap(), text)),
            "maxProperties" => value.as_object().is_none_or(|fields| fields.len() as u64 <= rule.as_u64().unwrap()),
            "if" => !fits_one(rule) || fits_one(&schema["then"]),
            "then" | "patternProperties" => true,
            "minItems" => list.is_none_or(|list| list.len() as u64 >= rule.as_u64().unwrap()),
            "maxItems" => list.is_none_or(|list| list.len() as u64 <= rule.as_u64().unwrap()),
            "uniqueItems" => list.is_none_or(|list| (1..list.len()).all(|i| !list[..i].contains(&list[i]))),
            "items" => {
                list.into_iter().flatten().try_for_each(|item| fits(rule, item, root))?;
                true
            }
            "required" => {
                value.as_object().is_none_or(|fields| rules().all(|n| fields.contains_key(n.as_str().unwrap())))
            }
            "properties" => {
                for (name, value) in value.as_object().into_iter().flatten() {
                    rule.get(name)
                        .map_or(Ok(()), |rule| fits(rule, value, root))
                        .map_err(|e| format!("{name}: {e}"))?;
                }
                true
            }
            "additionalProperties" => {
                let has = |part: &str, is: &dyn Fn(&String) -> bool| {
                    schema.get(part).is_some_and(|known| known.as_object().unwrap().keys().any(is))
                };
                let known = |name: &String| {
                    has("properties", &|other| other == name)
                        || has("patternProperties", &|other| is_match(other, name))
                };
                let others = value.as_object().into_iter().flatten().filter(|(name, _)| !known(name));
                for (name, value) in others {
                    match rule {
                        Value::Bool(false) => return Err(format!("no field {name}")),
                        rule => fits(rule, value, root).map_err(|error| format!("{name}: {error}"))?,
                    }
                }
                true
            }
            other => panic!("a keyword that isn't known here: {other}"),
        };
        if !holds {
            return Err(format!("{value} is against {keyword}: {rule}"));
        }
    }
    Ok(())
}

fn is_match(pattern: &str, text: &str) -> bool {
    static KNOWN: LazyLock<Mutex<HashMap<String, Regex>>> = LazyLock::new(Mutex::default);
    let mut known = KNOWN.lock().unwrap();
    known.entry(pattern.into()).or_insert_with(|| Regex::new(pattern).unwrap()).is_match(text)
}

fn is_a(kind: &Value, value: &Value) -> bool {
    match kind.as_str().unwrap() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("{other}"),
    }
}

/// Whatever the reader takes, the schema takes too; a field that the reader doesn't know, the schema doesn't either.
/// Every file that a unit test of this crate reads comes by here.
pub(in crate::config) fn agrees(root: &Node, problems: &Problems) {
    agrees_by(&faults, root, problems);
}

/// As [`agrees`], of cards.
pub(in crate::config) fn card_agrees(root: &Node, problems: &Problems) {
    static SCHEMA: LazyLock<Value> = LazyLock::new(card_schema);
    agrees_by(&|document| fits(&SCHEMA, document, &SCHEMA), root, problems);
}

fn agrees_by(faults: &dyn Fn(&Value) -> std::result::Result<(), String>, root: &Node, problems: &Problems) {
    let Some(document) = as_json(root) else { return };
    // Of a field that is there twice, JSON has one only, and the reader sees both.
    if problems.iter().any(|problem| problem.message.contains("` is written twice, first in line ")) {
        return;
    }
    let faults = faults(&document);
    if problems.is_empty() {
        assert!(
            faults.is_ok(),
            "the reader takes what the table doesn't: mend the field's Shape, see CONTRIBUTING.md\n{document}\n{}",
            faults.unwrap_err()
        );
    } else if problems.iter().any(|problem| problem.message.starts_with("unknown field `")) {
        assert!(faults.is_err(), "the schema takes a field that the reader refuses: {document}\n{problems:?}");
    }
}

/// A document that has this value in a section.
fn document(way: &[Step], value: Value) -> Value {
    way.iter().rev().fold(value, |inner, step| {
        let inner = match step.around {
            Around::Field => inner,
            Around::List => json!([inner]),
            Around::Names => json!({ "any": inner }),
        };
        json!({ step.name: inner })
    })
}

fn sections() -> Vec<(Vec<Step>, &'static Words)> {
    let mut sections = Vec::new();
    table::walk(&mut |way, words| sections.push((way.to_vec(), words)));
    sections
}

/// For every section: whether the reader finds a field of this name unknown.
fn is_unknown(way: &[Step], field: &str) -> bool {
    let text = document(way, json!({ field: null })).to_string();
    problems(&text).iter().any(|problem| {
        [format!("unknown field `{field}`"), format!("unknown stage `{field}`"), format!("unknown layer `{field}`")]
            .iter()
            .any(|unknown| problem.contains(unknown))
    })
}

#[test]
fn the_reader_knows_the_fields_of_the_table_and_no_others() {
    let sections = sections();
    assert!(sections.len() > 40, "{}", sections.len());
    for (way, words) in sections {
        let named: Vec<&str> = way.iter().map(|step| step.name).collect();
        for field in words.names() {
            assert!(!is_unknown(&way, field), "{named:?}: the reader doesn't know {field}");
        }
        assert!(is_unknown(&way, "zzzz"), "{named:?}: the reader takes any field");
        for field in words.fields {
            assert!(field.about.len() > 5 && !field.about.ends_with('.'), "{named:?}: {}", field.name);
        }
    }
}

/// The part of the schema for a section.
fn part(way: &[Step], words: &Words) -> Value {
    let mut schema = schema(false);
    for step in way {
        schema = schema["properties"][step.name].clone();
        // The alternatives of a value, the items of a list, the values of a mapping: whatever has the fields.
        let mut parts = vec![schema];
        schema = loop {
            let part = parts.pop().unwrap_or_else(|| panic!("{}", step.name));
            let fields = part["properties"].as_object();
            if fields.is_some_and(|fields| words_of(way, step, words, fields)) {
                break part;
            }
            parts
                .extend([&part["items"], &part["additionalProperties"]].into_iter().filter(|p| p.is_object()).cloned());
            parts.extend(part["anyOf"].as_array().into_iter().flatten().cloned());
        };
    }
    schema
}

/// Whether these are the fields that the way goes on to.
fn words_of(way: &[Step], step: &Step, words: &Words, fields: &Map<String, Value>) -> bool {
    let at = way.iter().position(|other| std::ptr::eq(other, step)).unwrap();
    match way.get(at + 1) {
        Some(next) => fields.contains_key(next.name),
        None => words.names().all(|name| fields.contains_key(name)),
    }
}

#[test]
fn the_schema_has_the_fields_of_the_table_and_no_others() {
    for (way, words) in sections() {
        let part = part(&way, words);
        let fields: Vec<&String> = part["properties"].as_object().unwrap().keys().collect();
        let mut names: Vec<&str> = words.names().collect();
        names.sort_unstable();
        assert_eq!(fields, names, "{}", words.section);
        assert_eq!(part["additionalProperties"], json!(false), "{}", words.section);
        assert!(part["properties"].as_object().unwrap().values().all(|field| field["description"].is_string()));
    }
}

#[test]
fn what_is_wrong_is_wrong_for_both() {
    let base = "name: a\nsource: { parquet: { path: i } }\nrecord: { time: t, values: [x] }\n";
    for (text, is_right) in [
        ("", true),
        ("sink:\n  stdout:\n", true),
        ("on: { null: refuse }\nstages: [ resample: { every: 1d, fill: null } ]", true),
        ("state: { partitions: '${N:-4}' }\nruntime: { workers: '${N:-4}', http: \"localhost:${P:-1}\" }", true),
        ("stages: [ lags: { x: [1..24, 168], y: 1..3 } ]", true),
        ("stages: [ scale: { values: [x], half_life: 3 } ]", true),
        ("stages:", true),
        ("stages: NULL", true),
        ("on:\nstate: Null", true),
        ("metrics: { labels: }", true),
        ("stages: ''", false),
        ("stages: [ infer: { model: m } ]\ntrain: { target: x, layers: [ lstm: 4 ], head: }", true),
        ("stages: [ infer: { model: m } ]\ntrain: { target: x, layers: }", false),
        ("nam: a", false),
        ("on: { lat: process }", false),
        ("on: { late: proces }", false),
        ("on: { reorder: 3 parsecs }", false),
        ("state: { partitions: 5000 }", false),
        ("state: { partitions: '16' }", false),
        ("state: { checkpoint_every: 1mo }", false),
        ("stages: [ infer: { mode: carry } ]", false),
        ("stages: [ scale: { values: [x, x], half_life: 3 } ]", false),
        ("stages: [ { lags: { x: [1] }, calendar: { features: [hour] } } ]", false),
        ("stages: [ infer: { model: m } ]\ntrain: { target: x, targets: [x], layers: [ lstm: 4 ] }", false),
        ("stages: [ infer: { model: m } ]\ntrain: { target: x, layers: [] }", false),
        ("stages: [ infer: { model: m } ]\ntrain: { target: x, layers: [ { lstm: 4, gru: 4 } ] }", false),
        ("stages: [ infer: { model: m } ]\ntrain: { target: x, layers: [ lstm: 4 ], epochs: 1, updates: 2 }", false),
        ("sink: { parquet: { path: out }, stdout: }", false),
        ("sink: {}", false),
    ] {
        let text = format!("{base}{text}");
        let (root, _) = yaml::read(&text, None).unwrap();
        let found = faults(&as_json(&root.unwrap()).unwrap());
        assert_eq!(found.is_ok(), is_right, "the schema: {text}: {found:?}");
        assert_eq!(problems(&text).is_empty(), is_right, "the reader: {text}");
    }
}

/// Defaults are in the schema for editors to show; the reader has the same ones.
#[test]
fn a_default_that_is_written_changes_nothing() {
    let bases = [
        WHOLE.to_string(),
        "name: a\nsource: { kafka: { brokers: h, topic: t, key: k } }\nrecord: { key: k, time: { column: t, unit: ms }, \
         values: [x] }\nsink: { kafka: { topic: o } }\ntrain: { target: x, layers: [ lstm: 4 ] }\n\
         stages: [ { resample: { every: 1h } }, { calendar: { features: [hour] } }, { infer: { model: m } }, { score: } ]"
            .into(),
    ];
    for base in bases {
        let (root, _) = yaml::read(&base, None).unwrap();
        let document = as_json(&root.unwrap()).unwrap();
        let shown = |text: &str| format!("{:?}", Pipeline { written: Default::default(), ..parse(text).unwrap() });
        let plain = shown(&base);
        let mut written = 0;
        for (way, words) in sections() {
            for field in words.fields {
                let Some(default) = default_of(field) else { continue };
                let mut changed = document.clone();
                if put(&mut changed, &way, field.name, default) {
                    written += 1;
                    assert_eq!(shown(&changed.to_string()), plain, "{}", field.name);
                }
            }
        }
        assert!(written > 20, "{written}");
    }
}

/// Writes a field where its section is and the field isn't.
fn put(document: &mut Value, way: &[Step], name: &str, value: Value) -> bool {
    let Some((step, rest)) = way.split_first() else {
        let Value::Object(fields) = document else { return false };
        return fields.insert(name.into(), value.clone()).is_none_or(|before| before == value);
    };
    match document.get_mut(step.name) {
        Some(Value::Array(items)) if step.around == Around::List => {
            let put: Vec<bool> = items.iter_mut().map(|item| put(item, rest, name, value.clone())).collect();
            put.contains(&true)
        }
        Some(inner) if step.around == Around::Field => put(inner, rest, name, value),
        _ => false,
    }
}
