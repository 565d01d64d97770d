//! Messages that are made up, as a pipeline reads them: JSON.

use std::collections::BTreeMap;

use arrow::datatypes::DataType;
use serde_json::{Map, Value, json};

use crate::config::{Envelope, EpochUnit, KafkaSource, Key, KeyFormat, Pipeline};
use crate::format::Messages;
use crate::model::Groups;
use crate::record::{Kind, Layout, Role};

/// How many are made up.
const MESSAGES: usize = 4096;
/// Bytes of all of them, about.
const BYTES: usize = 64 << 20;
/// Milliseconds since 1970 of the first.
pub const TIME: i64 = 1_700_000_000_000;
/// Numbers of a vector of any width.
const SAMPLES: usize = 160;
/// The text of a column that isn't a number.
const TEXT: &str = "some text";

/// Messages of different keys, fewer if they are large; with `bytes`, their payloads are filled up to that many. They
/// are of all groups that have a network, and of none.
pub fn messages(
    pipeline: &Pipeline,
    kafka: &KafkaSource,
    layout: &Layout,
    groups: Option<&Groups>,
    bytes: Option<usize>,
) -> Messages {
    let mut messages = Messages::of(&kafka.topic, 0);
    for index in 0..MESSAGES {
        if messages.bytes() >= BYTES {
            break;
        }
        let payload = payload((pipeline, kafka, layout), groups, index, bytes);
        messages.push(index as i64, TIME + index as i64, key(pipeline, kafka, index).as_deref(), Some(&payload));
    }
    messages
}

/// The key of a message, if the pipeline reads it.
pub fn key(pipeline: &Pipeline, kafka: &KafkaSource, index: usize) -> Option<Vec<u8>> {
    kafka.encoding.key.as_ref()?;
    Some(match pipeline.key_format() {
        KeyFormat::Int => (index as i32).to_be_bytes().to_vec(),
        KeyFormat::Long => (index as i64).to_be_bytes().to_vec(),
        KeyFormat::Json => format!("\"{}\"", name(index)).into_bytes(),
        _ => name(index).into_bytes(),
    })
}

fn name(index: usize) -> String {
    format!("key-{index:06}")
}

/// The value of a group that has a network, by which the column tells it; in turn with none.
fn group<'a>(groups: Option<&'a Groups>, column: &str, index: usize) -> Option<&'a str> {
    let groups = groups.filter(|groups| groups.column.as_deref() == Some(column))?;
    groups.networks.get(index % (groups.networks.len() + 1)).map(|network| network.value.as_str())
}

fn payload(
    (pipeline, kafka, layout): (&Pipeline, &KafkaSource, &Layout),
    groups: Option<&Groups>,
    index: usize,
    bytes: Option<usize>,
) -> Vec<u8> {
    let encoding = &kafka.encoding;
    let of_message = |name: &str| {
        let is = |column: &Option<crate::config::At<String>>| column.as_ref().is_some_and(|it| it.value == name);
        is(&encoding.key) || is(&encoding.timestamp) || encoding.metadata.find(name).is_some()
    };
    let number = ((index * 7919 % 10_007) as f64 / 100.0).round() / 10.0 - 40.0;
    let mut fields: BTreeMap<&str, Value> = BTreeMap::new();
    match &pipeline.record.key {
        Key::Column(column) => _ = fields.insert(column, name(index).into()),
        Key::Melted(columns) => fields.extend(columns.iter().map(|column| (column.as_str(), json!(number)))),
        Key::Single => {}
    }
    fields.insert(&pipeline.record.time.column, time(pipeline.record.time.unit, index));
    let melted = matches!(pipeline.record.key, Key::Melted(_));
    for column in layout.columns.iter().filter(|column| matches!(column.role, Role::Value | Role::Field)) {
        let group = group(groups, &column.name, index);
        let value = match &column.kind {
            Kind::Passthrough(DataType::Utf8) if group.is_some() => json!(group),
            // Numbers and flags are written as they are read.
            _ if group.is_some() => serde_json::from_str(group.unwrap_or_default()).unwrap_or_else(|_| json!(group)),
            Kind::Number if melted => continue,
            Kind::Vector(width) => json!(vec![number; *width]),
            Kind::Samples => json!(vec![number; SAMPLES]),
            Kind::Passthrough(DataType::Int64) | Kind::Integer => json!(index),
            Kind::Passthrough(DataType::Boolean) | Kind::Flag => json!(index.is_multiple_of(2)),
            Kind::Passthrough(DataType::Float64) | Kind::Number | Kind::Doubles(_) => json!(number),
            Kind::Passthrough(_) => TEXT.into(),
            Kind::Time => time(pipeline.record.time.unit, index),
        };
        fields.insert(&column.name, value);
    }
    fields.retain(|name, _| !of_message(name));
    let mut object = Value::Object(Map::new());
    for (name, value) in fields {
        put(&mut object, name, value);
    }
    let mut text = object.to_string();
    if let Some(missing) = bytes.and_then(|bytes| bytes.checked_sub(text.len() + 9)).filter(|_| text.len() > 2) {
        text.truncate(text.len() - 1);
        text += &format!(",\"fill\":\"{}\"}}", "x".repeat(missing));
    }
    match encoding.envelope.as_ref().map(|envelope| envelope.value) {
        Some(Envelope::Debezium) => format!("{{\"before\":null,\"after\":{text},\"op\":\"c\"}}").into_bytes(),
        Some(Envelope::Connect) => format!("{{\"schema\":null,\"payload\":{text}}}").into_bytes(),
        None => text.into_bytes(),
    }
}

/// Puts a field where its name with dots says.
fn put(object: &mut Value, name: &str, value: Value) {
    match name.split_once('.') {
        Some((outer, inner)) if !outer.is_empty() && !inner.is_empty() => {
            let there = object.as_object_mut().map(|fields| fields.entry(outer).or_insert_with(|| json!({})));
            if let Some(there) = there.filter(|there| there.is_object()) {
                put(there, inner, value);
            }
        }
        _ => object[name] = value,
    }
}

fn time(unit: Option<EpochUnit>, index: usize) -> Value {
    let millis = TIME + index as i64;
    match unit {
        Some(EpochUnit::Second) => json!(millis / 1000),
        Some(EpochUnit::Millisecond) => json!(millis),
        Some(EpochUnit::Microsecond) => json!(millis * 1000),
        Some(EpochUnit::Nanosecond) => json!(millis * 1_000_000),
        Some(EpochUnit::FloatSecond) => json!(millis as f64 / 1000.0),
        Some(EpochUnit::FloatMillisecond) => json!(millis as f64),
        Some(EpochUnit::Step) => json!(index),
        None => chrono::DateTime::from_timestamp_millis(millis)
            .map_or(Value::Null, |at| at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::GroupNetwork;

    #[test]
    fn messages_are_of_each_group_in_turn_and_of_none() {
        let network = |value: &str| GroupNetwork {
            value: value.into(),
            file: String::new(),
            architecture: None,
            keys: Vec::new(),
        };
        let groups = Groups { column: Some("region".into()), networks: vec![network("north"), network("south")] };
        let of = |column: &str| [0, 1, 2, 3].map(|index| group(Some(&groups), column, index));
        assert_eq!(of("region"), [Some("north"), Some("south"), None, Some("north")]);
        assert_eq!(of("shop"), [None; 4]);
    }
}
