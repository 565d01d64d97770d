//! Vectors in Protobuf: repeated numbers, packed or not, and bytes. A repeated field has no presence: without items it
//! is null, and so are bytes without presence that are empty.

use arrow::datatypes::DataType;
use prost_reflect::{FieldDescriptor, Kind, Value};

use super::columns::Cell;
use super::protobuf_value::cell;
use super::vector::Vector;
use crate::config::VectorColumn;

/// The type of a field as a vector; `None`: it is none.
pub(super) fn vector_type(field: &FieldDescriptor) -> Option<DataType> {
    let kind = match field.kind() {
        Kind::Message(message) if message.full_name().starts_with("google.protobuf.") => {
            message.get_field_by_name("value")?.kind()
        }
        kind => kind,
    };
    let is_number = !matches!(kind, Kind::String | Kind::Bytes | Kind::Message(_) | Kind::Enum(_));
    match (field.is_list(), kind) {
        (true, _) if is_number => Some(DataType::new_list(DataType::Float32, true)),
        (false, Kind::Bytes) => Some(DataType::Binary),
        _ => None,
    }
}

/// Reads a vector; `None`: the value is none.
pub(super) fn read(column: &VectorColumn, value: &Value, field: &FieldDescriptor, to: &mut Vector) -> Option<()> {
    if let Value::List(items) = value {
        to.is_there = !items.is_empty();
        for item in items {
            to.numbers.push(match item {
                Value::F32(number) => column.number(f64::from(*number)),
                Value::F64(number) => column.number(*number),
                item => match cell(item, field)? {
                    Cell::Float(number) => column.number(number),
                    Cell::Integer(number) => column.number(number as f64),
                    Cell::Decimal(number) => column.number(number as f64),
                    Cell::Flag(flag) => column.number(f64::from(u8::from(flag))),
                    _ => return None,
                },
            });
        }
        return Some(());
    }
    match cell(value, field)? {
        Cell::Bytes(bytes) if bytes.is_empty() && !field.supports_presence() => {}
        Cell::Bytes(bytes) => to.set_bytes(column, &bytes),
        _ => return None,
    }
    Some(())
}
