//! A refused record as a dead letter: the source's record, with its origin and the reason.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::Int64Type;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde_json::{Map, Value};

use crate::record::{Kind, Layout, Reject};
use crate::runtime::engine::Work;
use crate::sink::DeadLetter;

/// The dead letter of a record of a piece of work.
pub fn dead_letter(reject: &Reject, work: &Work, layout: &Layout, files: &[String]) -> DeadLetter {
    let records = &work.records;
    let index = (reject.position - work.position) as usize;
    let bad = records.bad.binary_search_by_key(&index, |(index, _)| *index).ok().map(|at| records.bad[at].1);
    let has_key = match bad {
        Some("null_key") => false,
        Some("not_utf8") => !records.key(index).is_empty(),
        _ => true,
    };
    let key = has_key.then(|| String::from_utf8_lossy(records.key(index)).into_owned());
    let mut record = Map::new();
    record.insert(layout.key_name.clone(), key.clone().map_or(Value::Null, Value::from));
    let time = match bad {
        Some("null_time" | "time_out_of_range") => Value::Null,
        _ => Value::from(layout.clock.text(records.times[index])),
    };
    record.insert(layout.time_name.clone(), time);
    let (mut values, mut passthrough) = (records.values.iter(), records.passthrough.iter());
    for column in &layout.columns {
        let value = match column.kind {
            Kind::Passthrough(_) => passthrough.next().map(|array| text(array, index)),
            _ => values.next().map(|values| number(values[index])),
        };
        record.insert(column.name.clone(), value.unwrap_or(Value::Null));
    }
    let origin = records.origins[index];
    let message = work.messages.as_ref().and_then(|messages| {
        let at = messages.offsets.binary_search(&i64::try_from(origin.row).ok()?).ok()?;
        let bytes = |part: Option<&[u8]>| part.map(<[u8]>::to_vec);
        Some((bytes(messages.key(at)), bytes(messages.payload(at)), Some(messages.timestamps[at])))
    });
    let raw: Vec<&ArrayRef> = passthrough.collect();
    let (message_key, payload, timestamp) = message.or_else(|| message_of(&raw, index)).unwrap_or_default();
    DeadLetter {
        message_key,
        payload,
        key,
        record: Value::Object(record).to_string(),
        file: files.get(origin.file as usize).cloned(),
        row: Some(origin.row),
        position: reject.position,
        reason: reject.reason,
        timestamp: timestamp.filter(|timestamp| *timestamp >= 0),
        detail: work.details.iter().find(|(at, _)| *at == index).map(|(_, detail)| detail.clone()),
    }
}

/// Key, payload and timestamp of a message.
type Message = (Option<Vec<u8>>, Option<Vec<u8>>, Option<i64>);

/// The message of a record that comes from dead letters.
fn message_of(raw: &[&ArrayRef], index: usize) -> Option<Message> {
    let [key, payload, timestamp] = raw else { return None };
    let bytes = |array: &ArrayRef| {
        let array = array.as_binary_opt::<i32>()?;
        array.is_valid(index).then(|| array.value(index).to_vec())
    };
    let timestamp = timestamp.as_primitive_opt::<Int64Type>()?;
    Some((bytes(key), bytes(payload), timestamp.is_valid(index).then(|| timestamp.value(index))))
}

/// JSON knows no infinity: it is written as text, so that it is not lost.
fn number(value: f64) -> Value {
    if value.is_infinite() { Value::from(value.to_string()) } else { Value::from(value) }
}

fn text(array: &ArrayRef, index: usize) -> Value {
    let options = FormatOptions::default();
    match ArrayFormatter::try_new(array.as_ref(), &options) {
        Ok(_) if array.is_null(index) => Value::Null,
        Ok(formatter) => Value::from(formatter.value(index).to_string()),
        Err(_) => Value::Null,
    }
}
