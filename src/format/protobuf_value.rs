//! Values of Protobuf, and which types are which columns.
//!
//! Lives here: one value of one field. Must not live here: messages, and which field is which column
//! ([`super::protobuf`]).

use std::borrow::Cow;

use arrow::datatypes::{DataType, TimeUnit};
use prost_reflect::{Cardinality, FieldDescriptor, Kind, ReflectMessage, Value};

use super::columns::Cell;
use super::protobuf_decimal;
use super::times::{Ticks, TimeFrom, utc};
use crate::record::hexadecimal;

/// The Arrow type of a field; `None`: it can't be a column.
pub(super) fn data_type(field: &FieldDescriptor) -> Option<DataType> {
    if field.cardinality() == Cardinality::Repeated {
        return None;
    }
    Some(match field.kind() {
        Kind::Double | Kind::Float => DataType::Float64,
        Kind::Bool => DataType::Boolean,
        Kind::String | Kind::Enum(_) => DataType::Utf8,
        Kind::Bytes => DataType::Binary,
        Kind::Message(message) => match message.full_name() {
            _ if protobuf_decimal::is_decimal(field) => DataType::Utf8,
            "google.protobuf.Timestamp" => utc(TimeUnit::Microsecond),
            name if name.starts_with("google.protobuf.") && name.ends_with("Value") => {
                return message.get_field_by_name("value").and_then(|field| data_type(&field));
            }
            _ => return None,
        },
        _ => DataType::Int64,
    })
}

/// Whether the values of a field are times.
pub(super) fn is_time(field: &FieldDescriptor) -> bool {
    matches!(field.kind(), Kind::String)
        || matches!(data_type(field), Some(DataType::Int64 | DataType::Float64 | DataType::Timestamp(..)))
}

/// Whether the values of a field have a text that can be a key.
pub(super) fn is_key(field: &FieldDescriptor) -> bool {
    matches!(data_type(field), Some(DataType::Utf8 | DataType::Int64 | DataType::Boolean | DataType::Binary))
}

/// The text of a key; bytes are hexadecimal, as in keys of messages. `None`: it can't be one.
pub(super) fn key(cell: Cell) -> Option<String> {
    Some(match cell {
        Cell::Text(text) => text,
        Cell::Integer(number) => number.to_string(),
        Cell::Decimal(number) => number.to_string(),
        Cell::Flag(flag) => flag.to_string(),
        Cell::Bytes(bytes) => hexadecimal(&bytes),
        Cell::Null | Cell::Float(_) => return None,
    })
}

/// A value as the record's time, or why it is none. `nanos`: of a tick, where the value is a time by its type.
pub(super) fn time(
    cell: Cell,
    from: TimeFrom,
    nanos: Option<i64>,
    to: &DataType,
) -> Result<Ticks, (&'static str, Cow<'static, str>)> {
    let is_timestamp = matches!(to, DataType::Timestamp(..));
    Ok(match (from, cell) {
        // What isn't there is empty.
        (TimeFrom::Text, Cell::Text(text)) if text.is_empty() => Ticks::Null,
        (TimeFrom::Text, Cell::Text(text)) => Ticks::of_text(&text).map_err(|what| ("bad_value", what.into()))?,
        (TimeFrom::Fraction(micros), Cell::Float(time)) => Ticks::of_fraction(time, micros),
        (TimeFrom::Fraction(micros), Cell::Integer(time)) if nanos.is_none() => Ticks::of_whole(time, micros),
        (_, Cell::Integer(ticks)) if nanos.is_some() == is_timestamp => Ticks::Of(ticks, nanos),
        (_, Cell::Integer(_)) => return Err(("bad_schema", "isn't a time of the column's kind".into())),
        (_, Cell::Decimal(ticks)) => Ticks::Beyond(ticks.to_string()),
        _ => return Err(("bad_schema", "isn't a time".into())),
    })
}

/// A cell in the type of its column, or why it is none; a writer's schema may say another type than the reader's.
/// `nanos`: of a tick, where the cell is a time.
pub(super) fn fitted(cell: Cell, nanos: Option<i64>, to: &DataType) -> Result<Cell, (&'static str, Cow<'static, str>)> {
    let is_time = matches!(to, DataType::Timestamp(..));
    if nanos.is_some() != is_time {
        return Err(("bad_schema", "is a time in one schema and none in the other".into()));
    }
    Ok(match (cell, to) {
        (cell @ Cell::Text(_), DataType::Utf8)
        | (cell @ Cell::Float(_), DataType::Float64)
        | (cell @ Cell::Integer(_), DataType::Int64 | DataType::Timestamp(..))
        | (cell @ Cell::Bytes(_), DataType::Binary)
        | (cell @ Cell::Flag(_), DataType::Boolean) => cell,
        (Cell::Integer(number), DataType::Float64) if number as f64 as i128 == i128::from(number) => {
            Cell::Float(number as f64)
        }
        (Cell::Integer(_) | Cell::Decimal(_), DataType::Float64) => {
            return Err(("bad_value", "has more digits than a 64-bit float holds".into()));
        }
        (Cell::Decimal(number), DataType::Int64) => {
            return Err(("bad_value", format!("{number} is beyond the range of 64-bit integers with a sign").into()));
        }
        (Cell::Integer(number), DataType::Utf8) => Cell::Text(number.to_string()),
        (Cell::Decimal(number), DataType::Utf8) => Cell::Text(number.to_string()),
        (Cell::Text(text), DataType::Binary) => Cell::Bytes(text.into_bytes()),
        (Cell::Bytes(bytes), DataType::Utf8) => {
            Cell::Text(String::from_utf8(bytes).map_err(|_| ("bad_value", "isn't text in UTF-8".into()))?)
        }
        _ => return Err(("bad_schema", "is of another type than in the schema of the start".into())),
    })
}

/// A value; an integer beyond 64 bits with a sign is a decimal. `None`: it can't be a column.
pub(super) fn cell(value: &Value, field: &FieldDescriptor) -> Option<Cell> {
    Some(match value {
        Value::Bool(value) => Cell::Flag(*value),
        Value::I32(value) => Cell::Integer(i64::from(*value)),
        Value::U32(value) => Cell::Integer(i64::from(*value)),
        Value::I64(value) => Cell::Integer(*value),
        Value::U64(value) => match i64::try_from(*value) {
            Ok(value) => Cell::Integer(value),
            Err(_) => Cell::Decimal(i128::from(*value)),
        },
        Value::F32(value) => Cell::Float(f64::from(*value)),
        Value::F64(value) => Cell::Float(*value),
        Value::String(value) => Cell::Text(value.clone()),
        Value::EnumNumber(number) => {
            let kind = field.kind();
            let name = kind.as_enum()?.get_value(*number).map(|value| value.name().to_string());
            Cell::Text(name.unwrap_or_else(|| number.to_string()))
        }
        Value::Message(message) if message.descriptor().full_name() == "google.protobuf.Timestamp" => {
            let part = |name: &str| {
                message.get_field_by_name(name).and_then(|part| part.as_i64().or(part.as_i32().map(i64::from)))
            };
            // What 64 bits don't hold is beyond the calendar as well.
            Cell::Integer(part("seconds")?.saturating_mul(1_000_000).saturating_add(part("nanos")? / 1000))
        }
        Value::Message(message) if protobuf_decimal::is_decimal(field) => {
            Cell::Text(protobuf_decimal::text(message)?.ok()?)
        }
        Value::Message(message) => {
            let inner = message.descriptor().get_field_by_name("value")?;
            cell(&message.get_field(&inner), &inner)?
        }
        Value::Bytes(bytes) => Cell::Bytes(bytes.to_vec()),
        Value::List(_) | Value::Map(_) => return None,
    })
}
