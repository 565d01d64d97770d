//! A refused record as its dead letter: what the source gave, with its origin and the reason.

use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde_json::{Map, Value};

use super::route::Work;
use crate::record::{Kind, Layout, Reject};
use crate::sink::DeadLetter;

/// The dead letter of a record of a piece of work.
pub fn dead_letter(reject: &Reject, work: &Work, layout: &Layout, files: &[String]) -> DeadLetter {
    let records = &work.records;
    let index = (reject.position - work.position) as usize;
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
    let message = work.messages.as_ref().and_then(|messages| {
        let at = messages.offsets.binary_search(&i64::try_from(origin.row).ok()?).ok()?;
        Some((messages.key(at).map(<[u8]>::to_vec), messages.payload(at).map(<[u8]>::to_vec)))
    });
    let (message_key, payload) = message.unwrap_or_default();
    DeadLetter {
        message_key,
        payload,
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
