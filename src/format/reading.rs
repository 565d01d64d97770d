//! What is read of each message, as a canonical text: the part of a source that state belongs to.
//!
//! A schema may change in many ways that do not change what is read: documentation, defaults, aliases, the order of
//! fields, names of records, symbols, which fields may be null, how wide a number is. So the text holds the columns and
//! their types, and nothing of the schema. Earlier versions wrote the schema's text, which is still understood
//! ([`was`]).

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, TimeUnit};
use serde::Serialize;

use super::avro;
use super::columns::{Columns, KeyFrom, PassthroughFrom, Target, Use};
use super::schema::{Language, Schema};
use super::times::TimeFrom;

/// The columns of a source. The values are not among the types: whatever they are written as, they are read as 64-bit
/// floats.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Reading {
    format: &'static str,
    /// The field that is the key, and whether it is text or an integer; `None`: the key is the message's, or there is
    /// none.
    key: Option<(String, String)>,
    /// The field that is the time, and what its ticks are; `None`: the message's timestamp.
    time: Option<(String, String)>,
    values: Vec<String>,
    /// Passthrough columns with their types.
    passthrough: BTreeMap<String, String>,
}

/// Gives the type that a field is delivered in, for its use.
type TypeOf<'a> = &'a dyn Fn(&str, Use) -> Option<DataType>;

/// What is read, as text.
pub(super) fn described(columns: &Columns, language: Language, type_of: TypeOf<'_>) -> String {
    // All of it is text, so it is never an error.
    reading(columns, language, type_of).and_then(|read| serde_json::to_string(&read).ok()).unwrap_or_default()
}

/// Whether the text of an earlier version, which names the language and then a schema, says that the same was read.
pub(super) fn was(before: &str, now: &str, columns: &Columns, language: Language) -> bool {
    let before = match (language, before.split_once(' ')) {
        (Language::Avro, Some(("Avro", schema))) => {
            let schema = Schema { id: 0, text: schema.to_string(), references: Vec::new() };
            let Ok(reader) = avro::AvroReaderSchema::new(&schema) else { return false };
            described(columns, language, &|name, purpose| reader.type_of(name, purpose).ok())
        }
        (Language::Protobuf, Some(("Protobuf", fields))) => {
            let fields = protobuf_fields(fields);
            described(columns, language, &|name, _| fields.get(name).cloned())
        }
        _ => return false,
    };
    before == now
}

/// `None` where a field isn't there.
fn reading(columns: &Columns, language: Language, type_of: TypeOf<'_>) -> Option<Reading> {
    let names = |wanted: fn(Target) -> bool| {
        let mut found: Vec<(&String, Target)> =
            columns.fields.iter().map(|(name, target)| (name, *target)).filter(|(_, target)| wanted(*target)).collect();
        found.sort_by_key(|(name, target)| match target {
            Target::Value(index) | Target::Passthrough(index) => (*index, *name),
            _ => (0, *name),
        });
        found.into_iter().map(|(name, _)| name.clone())
    };
    let of = |name: String, purpose: Use| Some((word(&type_of(&name, purpose)?, purpose), name));
    let key = match columns.key {
        KeyFrom::Field => names(|target| target == Target::Key).next(),
        KeyFrom::Message(_) | KeyFrom::Melted(_) | KeyFrom::Single => None,
    };
    let time = match columns.time {
        TimeFrom::Message => None,
        TimeFrom::Text | TimeFrom::Ticks | TimeFrom::Fraction(_) => names(|target| target == Target::Time).next(),
    };
    let one = |name: Option<String>, purpose| match name {
        Some(name) => of(name, purpose).map(|(word, name)| Some((name, word))),
        None => Some(None),
    };
    let mut values = Vec::new();
    for name in names(|target| matches!(target, Target::Value(_))) {
        type_of(&name, Use::Value)?;
        values.push(name);
    }
    let mut passthrough = BTreeMap::new();
    for (name, from) in &columns.passthrough {
        if let PassthroughFrom::Field(_) = from {
            let (word, name) = of(name.clone(), Use::Passthrough)?;
            passthrough.insert(name, word);
        }
    }
    let format = match language {
        Language::Avro => "avro",
        Language::Protobuf => "protobuf",
    };
    Some(Reading { format, key: one(key, Use::Key)?, time: one(time, Use::Time)?, values, passthrough })
}

/// A type as a word of this text, which no library may change.
fn word(data_type: &DataType, purpose: Use) -> String {
    let unit = |unit: &TimeUnit| match unit {
        TimeUnit::Second => "s",
        TimeUnit::Millisecond => "ms",
        TimeUnit::Microsecond => "us",
        TimeUnit::Nanosecond => "ns",
    };
    match data_type {
        t if t.is_integer() => "integer".into(),
        DataType::Utf8 | DataType::Dictionary(..) => "text".into(),
        _ if purpose == Use::Key => "text".into(),
        DataType::Float64 => "number".into(),
        DataType::Boolean => "boolean".into(),
        DataType::Timestamp(of, Some(_)) => format!("timestamp in {}", unit(of)),
        DataType::Timestamp(of, None) => format!("local timestamp in {}", unit(of)),
        DataType::Date32 => "date".into(),
        DataType::Decimal128(precision, scale) => format!("decimal({precision}, {scale})"),
        DataType::Binary => "bytes".into(),
        other => other.to_string(),
    }
}

/// The fields of an earlier version's text: the message's full name, then each field with its type as `Debug` shows it.
fn protobuf_fields(text: &str) -> BTreeMap<&str, DataType> {
    let candidates = [
        DataType::Utf8,
        DataType::Int64,
        DataType::Float64,
        DataType::Boolean,
        DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
    ];
    let shown: Vec<String> = candidates.iter().map(|data_type| format!("Some({data_type:?})")).collect();
    let (_, mut rest) = text.split_once(' ').unwrap_or_default();
    let mut fields = BTreeMap::new();
    while let Some((name, types)) = rest.split_once(' ') {
        let Some(at) = shown.iter().position(|shown| types.starts_with(shown.as_str())) else { break };
        fields.insert(name, candidates[at].clone());
        rest = types[shown[at].len()..].trim_start_matches(", ");
    }
    fields
}
