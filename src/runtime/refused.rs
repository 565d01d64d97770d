//! A refused record as its dead letter: what the source gave, with its origin and the reason.

use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde_json::{Map, Value};

use crate::record::{Kind, Layout, Reject};
use crate::sink::DeadLetter;
use crate::source::Records;

/// The dead letter of a record of `records`, whose first stands at position `first`.
pub fn dead_letter(reject: &Reject, records: &Records, first: u64, layout: &Layout, files: &[String]) -> DeadLetter {
    let index = (reject.position - first) as usize;
    let bad = records.bad.binary_search_by_key(&index, |(index, _)| *index).ok().map(|at| records.bad[at].1);
    let key = (bad != Some("null_key")).then(|| String::from_utf8_lossy(records.key(index)).into_owned());
    let mut record = Map::new();
    record.insert(layout.key_name.clone(), key.clone().map_or(Value::Null, Value::from));
    let time =
        if bad == Some("null_time") { Value::Null } else { Value::from(layout.clock.text(records.times[index])) };
    record.insert(layout.time_name.clone(), time);
    let (mut values, mut carried) = (records.values.iter(), records.carried.iter());
    for column in &layout.columns {
        let value = match column.kind {
            Kind::Carried(_) => carried.next().map(|array| text(array, index)),
            _ => values.next().map(|values| number(values[index])),
        };
        record.insert(column.name.clone(), value.unwrap_or(Value::Null));
    }
    let origin = records.origins[index];
    DeadLetter {
        key,
        record: Value::Object(record).to_string(),
        file: files.get(origin.file as usize).cloned(),
        row: Some(origin.row),
        position: reject.position,
        reason: reject.reason,
    }
}

/// JSON knows no infinity: it is written as text, so that it is not lost.
fn number(value: f64) -> Value {
    if value.is_infinite() { Value::from(value.to_string()) } else { Value::from(value) }
}

fn text(array: &arrow::array::ArrayRef, index: usize) -> Value {
    let options = FormatOptions::default();
    match ArrayFormatter::try_new(array.as_ref(), &options) {
        Ok(_) if array.is_null(index) => Value::Null,
        Ok(formatter) => Value::from(formatter.value(index).to_string()),
        Err(_) => Value::Null,
    }
}
