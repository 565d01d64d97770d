//! A refused record as a dead letter: the source's record, with its origin and the reason.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde_json::{Map, Value};

use crate::config::NumberType;
use crate::record::{Kind, Layout, NO_TIME, Reject, vector_of};
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
    let origin = records.origins[index];
    let message = work.messages.as_ref().and_then(|messages| {
        let at = messages.offsets.binary_search(&i64::try_from(origin.row).ok()?).ok()?;
        let bytes = |part: Option<&[u8]>| part.map(<[u8]>::to_vec);
        Some((bytes(messages.key(at)), bytes(messages.payload(at)), Some(messages.timestamps[at])))
    });
    let raw: Vec<&ArrayRef> = records.passthrough.iter().skip(passthrough_columns(layout)).collect();
    let message = message.or_else(|| message_of(&raw, index));
    // Nothing is known of a message that can't be decoded; of a row of a file it is what its reason doesn't name.
    let has_time = match bad {
        None => true,
        Some(reason) => message.is_none() && reason != "null_time" && records.times[index] != NO_TIME,
    };
    let time = if has_time { Value::from(layout.clock.text(records.times[index])) } else { Value::Null };
    record.insert(layout.time_name.clone(), time);
    let (mut values, mut vectors) = (records.values.iter(), records.vectors.iter());
    let mut passthrough = records.passthrough.iter();
    for column in &layout.columns {
        let value = match column.kind {
            Kind::Passthrough(_) => passthrough.next().map(|array| text(array, index)),
            Kind::Vector(_) | Kind::Samples => vectors.next().map(|array| numbers(array, index, column.number)),
            _ => values.next().map(|values| number(values[index])),
        };
        record.insert(column.name.clone(), value.unwrap_or(Value::Null));
    }
    let (message_key, payload, timestamp) = message.unwrap_or_default();
    DeadLetter {
        message_key,
        payload,
        key,
        record: Value::Object(record).to_string(),
        file: work.partition.topic.name().map(str::to_string).or_else(|| files.get(origin.file as usize).cloned()),
        row: Some(origin.row),
        position: reject.position,
        reason: reject.reason,
        timestamp: timestamp.filter(|timestamp| *timestamp >= 0),
        detail: work.details.iter().find(|(at, _)| *at == index).map(|(_, detail)| detail.clone()),
    }
}

fn passthrough_columns(layout: &Layout) -> usize {
    layout.columns.iter().filter(|column| matches!(column.kind, Kind::Passthrough(_))).count()
}

/// Where a dead letter came from, and what exactly is wrong with it where that is known, for the log.
pub fn origin(letter: &DeadLetter, work: &Work, layout: &Layout) -> (String, Option<String>) {
    let (file, row) = (letter.file.as_deref().unwrap_or("?"), letter.row.unwrap_or(0));
    let at = match work.messages {
        Some(_) => format!("topic {file}, partition {}, offset {row}", work.partition),
        None => format!("{file}, row {row} (from 0)"),
    };
    let column = match letter.reason {
        "null_key" | "bad_key" => Some(&layout.key_name),
        "null_time" | "bad_time" | "time_out_of_range" | "too_far_ahead" | "late" => Some(&layout.time_name),
        _ => None,
    };
    (at, letter.detail.clone().or_else(|| column.map(|column| format!("column \"{column}\""))))
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

/// The numbers of a vector as the source has them; null if there is none.
fn numbers(array: &ArrayRef, index: usize, of: Option<NumberType>) -> Value {
    let scale = if of == Some(NumberType::Int16) { 32_768.0 } else { 1.0 };
    match vector_of(array, index) {
        Some(numbers) if numbers.is_empty() || numbers.iter().any(|number| !number.is_nan()) => {
            numbers.iter().map(|n| number(shortest(*n) * scale)).collect()
        }
        _ => Value::Null,
    }
}

/// A float of 32 bits as the float of 64 bits that has the same shortest text.
fn shortest(number: f32) -> f64 {
    number.to_string().parse().unwrap_or(f64::from(number))
}

/// A value as text. What has none (a time beyond the calendar) is the number it is stored as.
fn text(array: &ArrayRef, index: usize) -> Value {
    if array.is_null(index) {
        return Value::Null;
    }
    let one = array.slice(index, 1);
    let options = FormatOptions::default().with_display_error(false);
    let text = ArrayFormatter::try_new(one.as_ref(), &options).and_then(|text| text.value(0).try_to_string());
    let stored = || match one.data_type() {
        DataType::Date32 => cast(&one, &DataType::Int32).and_then(|days| cast(&days, &DataType::Int64)),
        _ => cast(&one, &DataType::Int64),
    };
    let number = || Some(stored().ok()?.as_primitive_opt::<Int64Type>().filter(|stored| stored.is_valid(0))?.value(0));
    text.ok().map(Value::from).or_else(|| number().map(|number| Value::from(number.to_string()))).unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Date32Array, StringArray, TimestampMillisecondArray};
    use std::sync::Arc;

    #[test]
    fn no_text_of_an_error_is_a_value() {
        let far: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![Some(0), Some(i64::MAX), None]));
        let texts: Vec<Value> = (0..3).map(|row| text(&far, row)).collect();
        assert_eq!(texts, [Value::from("1970-01-01T00:00:00"), Value::from(i64::MAX.to_string()), Value::Null]);
        let days: ArrayRef = Arc::new(Date32Array::from(vec![i32::MAX]));
        assert_eq!(text(&days, 0), Value::from(i32::MAX.to_string()));
        let zoned: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![5]).with_timezone("No/Where"));
        assert_eq!(text(&zoned, 0), Value::from("5"));
        let words: ArrayRef = Arc::new(StringArray::from(vec!["ERROR: mine"]));
        assert_eq!(text(&words, 0), Value::from("ERROR: mine"));
    }
}
