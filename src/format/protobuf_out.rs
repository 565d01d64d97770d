//! Rows to Protobuf messages in Confluent's wire format.

use std::fmt::Write as _;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type, Schema as ArrowSchema, TimeUnit};
use prost::Message;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};

use super::frame::put_frame;
use super::protobuf::{message, path_of};
use super::schema::Schema;
use super::{Encoder, Payloads};
use crate::{Error, Result};

/// The schema of an output as text: one message, named after the topic or by its full name, fields numbered in the
/// order of the columns.
///
/// # Errors
/// A column whose name or type Protobuf doesn't have.
pub(super) fn schema_of(output: &ArrowSchema, name: &str, is_full: bool) -> std::result::Result<String, String> {
    let (package, name) = name.rsplit_once('.').filter(|_| is_full).unwrap_or(("", name));
    let package = if package.is_empty() { String::new() } else { format!("package {package};\n") };
    let mut name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        name.insert(0, 'T');
    }
    let mut fields = String::new();
    for (index, field) in output.fields().iter().enumerate() {
        let is_name = |name: &str| {
            name.starts_with(|c: char| c.is_ascii_alphabetic())
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        // The dots of a field within a field.
        let column = field.name().replace('.', "_");
        if output.fields().iter().filter(|other| other.name().replace('.', "_") == column).count() > 1 {
            return Err(format!(
                "column \"{}\" is \"{column}\" in Protobuf, as another one is: leave one out",
                field.name()
            ));
        }
        if !is_name(&column) {
            return Err(format!("column \"{}\" can't be the name of a Protobuf field: rename it", field.name()));
        }
        let kind = match field.data_type() {
            DataType::Utf8 => "string",
            DataType::Binary => "bytes",
            DataType::Boolean => "bool",
            DataType::Float32 => "float",
            DataType::Float64 => "double",
            DataType::Timestamp(..) => "google.protobuf.Timestamp",
            DataType::FixedSizeList(..) | DataType::List(_) => "float",
            t if t.is_integer() => "int64",
            DataType::Date32 => "int64",
            other => return Err(format!("column \"{}\" is {other}, which can't be written as Protobuf", field.name())),
        };
        let label = match field.data_type() {
            DataType::FixedSizeList(..) | DataType::List(_) => "repeated ",
            _ if field.is_nullable() => "optional ",
            _ => "",
        };
        let _ = writeln!(fields, "  {label}{kind} {column} = {};", index + 1);
    }
    let import =
        if fields.contains("google.protobuf.Timestamp") { "import \"google/protobuf/timestamp.proto\";\n" } else { "" };
    Ok(format!("syntax = \"proto3\";\n{package}{import}message {name} {{\n{fields}}}\n"))
}

/// See the module.
pub(super) struct ProtobufEncoder {
    message: MessageDescriptor,
    id: u32,
    /// Where the message is in its file, as it is written before a body.
    indexes: Vec<u8>,
    /// The field of each column.
    fields: Vec<FieldDescriptor>,
}

impl ProtobufEncoder {
    /// For rows of these columns as a message of a schema, by its full name or the first, framed with the schema's id.
    ///
    /// # Errors
    /// A schema that does not compile or has no such message; refused: a column that it lacks or can't hold.
    pub fn new(output: &ArrowSchema, schema: &Schema, name: Option<&str>) -> Result<ProtobufEncoder> {
        let refused = |what: String| Error::refused(format!("the output doesn't fit schema {}: {what}", schema.id));
        let message = message(schema, name).map_err(refused)?;
        let mut fields = Vec::new();
        for column in output.fields() {
            let field = message.get_field_by_name(column.name());
            let field = field.ok_or_else(|| refused(format!("it has no field \"{}\"", column.name())))?;
            if !holds(column.data_type(), &field) {
                let (name, kind) = (column.name(), field.kind());
                return Err(refused(format!("column \"{name}\" is {}, the field {kind:?}", column.data_type())));
            }
            if column.is_nullable() && !field.supports_presence() && !field.is_list() {
                return Err(refused(format!(
                    "column \"{}\" may be null, the field may not: it is not `optional`",
                    column.name()
                )));
            }
            fields.push(field);
        }
        let mut indexes = Vec::new();
        match &path_of(&message)[..] {
            // The first message, in short.
            [0] => indexes.push(0),
            path => std::iter::once(&path.len()).chain(path).for_each(|number| varint(number * 2, &mut indexes)),
        }
        Ok(ProtobufEncoder { message, id: schema.id, indexes, fields })
    }
}

/// An unsigned integer.
fn varint(mut number: usize, to: &mut Vec<u8>) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

/// Whether a field holds all values of a column.
fn holds(column: &DataType, field: &FieldDescriptor) -> bool {
    let (column, is_list) = match column {
        DataType::FixedSizeList(item, _) | DataType::List(item) => (item.data_type(), true),
        column => (column, false),
    };
    if field.is_map() || field.is_list() != is_list {
        return false;
    }
    match field.kind() {
        Kind::Double => matches!(column, DataType::Float32 | DataType::Float64),
        Kind::Float => *column == DataType::Float32,
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
            column.is_integer() && *column != DataType::UInt64 || *column == DataType::Date32
        }
        Kind::Bool => *column == DataType::Boolean,
        Kind::String => *column == DataType::Utf8,
        Kind::Bytes => *column == DataType::Binary,
        Kind::Message(message) => {
            message.full_name() == "google.protobuf.Timestamp" && matches!(column, DataType::Timestamp(..))
        }
        _ => false,
    }
}

/// A value of a field that may be wider than its column.
fn widened(value: Value, kind: &Kind) -> Value {
    match (value, kind) {
        (Value::F32(value), Kind::Double) => Value::F64(f64::from(value)),
        (Value::List(all), kind) => Value::List(all.into_iter().map(|value| widened(value, kind)).collect()),
        (value, _) => value,
    }
}

impl Encoder for ProtobufEncoder {
    fn encode(&mut self, rows: &RecordBatch, to: &mut Payloads) -> Result<()> {
        let failed = |what: String| Error::failed(format!("cannot write the output as Protobuf: {what}"));
        let columns = rows.columns().iter().map(plain).collect::<std::result::Result<Vec<_>, _>>().map_err(failed)?;
        if columns.len() != self.fields.len() {
            return Err(failed("the rows have other columns than planned".into()));
        }
        for row in 0..rows.num_rows() {
            let mut message = DynamicMessage::new(self.message.clone());
            for (column, field) in columns.iter().zip(&self.fields).filter(|(column, _)| !column.is_null(row)) {
                let kind = field.kind();
                let value = value(column, row, &kind).ok_or_else(|| failed(format!("column {}", field.name())))?;
                message.set_field(field, widened(value, &kind));
            }
            put_frame(self.id, &mut to.bytes);
            to.bytes.extend_from_slice(&self.indexes);
            message.encode(&mut to.bytes).map_err(|e| failed(e.to_string()))?;
            to.ends.push(to.bytes.len());
        }
        Ok(())
    }
}

/// Integers as 64 bits, times as microseconds.
fn plain(array: &ArrayRef) -> std::result::Result<ArrayRef, String> {
    let to = match array.data_type() {
        DataType::Timestamp(TimeUnit::Nanosecond, zone) => DataType::Timestamp(TimeUnit::Nanosecond, zone.clone()),
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        DataType::Date32 => {
            return cast(array, &DataType::Int32)
                .and_then(|days| cast(&days, &DataType::Int64))
                .map_err(|e| e.to_string());
        }
        t if t.is_integer() => DataType::Int64,
        other => other.clone(),
    };
    cast(array, &to).map_err(|e| e.to_string())
}

fn value(array: &ArrayRef, row: usize, kind: &Kind) -> Option<Value> {
    Some(match array.data_type() {
        DataType::Utf8 => Value::String(array.as_string::<i32>().value(row).to_string()),
        DataType::Binary => Value::Bytes(array.as_binary::<i32>().value(row).to_vec().into()),
        DataType::Boolean => Value::Bool(array.as_boolean().value(row)),
        DataType::Float32 => Value::F32(array.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => Value::F64(array.as_primitive::<Float64Type>().value(row)),
        DataType::Int64 => Value::I64(array.as_primitive::<Int64Type>().value(row)),
        DataType::FixedSizeList(..) | DataType::List(_) => {
            let items = match array.as_list_opt::<i32>() {
                Some(lists) => lists.value(row),
                None => array.as_fixed_size_list().value(row),
            };
            let items = items.as_primitive_opt::<Float32Type>()?;
            Value::List(
                (0..items.len())
                    .map(|i| Value::F32(if items.is_null(i) { f32::NAN } else { items.value(i) }))
                    .collect(),
            )
        }
        DataType::Timestamp(unit, _) => {
            let ticks = cast(array, &DataType::Int64).ok()?.as_primitive::<Int64Type>().value(row);
            let per_second = if *unit == TimeUnit::Nanosecond { 1_000_000_000 } else { 1_000_000 };
            let mut message = DynamicMessage::new(kind.as_message()?.clone());
            message.set_field_by_name("seconds", Value::I64(ticks.div_euclid(per_second)));
            let nanos = ticks.rem_euclid(per_second) * (1_000_000_000 / per_second);
            message.set_field_by_name("nanos", Value::I32(i32::try_from(nanos).ok()?));
            Value::Message(message)
        }
        _ => return None,
    })
}
