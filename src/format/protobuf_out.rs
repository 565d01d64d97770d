//! Rows to Protobuf messages in Confluent's wire format.

use std::fmt::Write as _;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type, Schema as ArrowSchema, TimeUnit};
use prost::Message;
use prost_reflect::{DynamicMessage, Kind, MessageDescriptor, Value};

use super::frame::put_frame;
use super::protobuf::messages;
use super::schema::Schema;
use super::{Encoder, Payloads};
use crate::{Error, Result};

/// The schema of an output as text: one message, named after the topic, fields numbered in the order of the columns.
///
/// # Errors
/// A column whose name or type Protobuf doesn't have.
pub(super) fn schema_of(output: &ArrowSchema, topic: &str) -> std::result::Result<String, String> {
    let mut name: String = topic.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
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
            DataType::FixedSizeList(..) => "float",
            t if t.is_integer() => "int64",
            DataType::Date32 => "int64",
            other => return Err(format!("column \"{}\" is {other}, which can't be written as Protobuf", field.name())),
        };
        let label = match field.data_type() {
            DataType::FixedSizeList(..) => "repeated ",
            _ if field.is_nullable() => "optional ",
            _ => "",
        };
        let _ = writeln!(fields, "  {label}{kind} {column} = {};", index + 1);
    }
    let import =
        if fields.contains("google.protobuf.Timestamp") { "import \"google/protobuf/timestamp.proto\";\n" } else { "" };
    Ok(format!("syntax = \"proto3\";\n{import}message {name} {{\n{fields}}}\n"))
}

/// See the module.
pub(super) struct ProtobufEncoder {
    message: MessageDescriptor,
    id: u32,
}

impl ProtobufEncoder {
    /// For rows of the first message of a schema, framed with its id.
    ///
    /// # Errors
    /// A schema that does not compile, or has no message.
    pub fn new(schema: String, id: u32) -> Result<ProtobufEncoder> {
        let schema = Schema { id, text: schema, references: Vec::new() };
        let found =
            messages(&schema).map_err(|e| Error::failed(format!("the output's schema can't be compiled: {e}")))?;
        let message = found.into_iter().next().ok_or_else(|| Error::failed("the output's schema is empty"))?;
        Ok(ProtobufEncoder { message, id })
    }
}

impl Encoder for ProtobufEncoder {
    fn encode(&mut self, rows: &RecordBatch, to: &mut Payloads) -> Result<()> {
        let failed = |what: String| Error::failed(format!("cannot write the output as Protobuf: {what}"));
        let columns = rows.columns().iter().map(plain).collect::<std::result::Result<Vec<_>, _>>().map_err(failed)?;
        for row in 0..rows.num_rows() {
            let mut message = DynamicMessage::new(self.message.clone());
            for (index, column) in columns.iter().enumerate().filter(|(_, column)| !column.is_null(row)) {
                let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
                let field = self.message.get_field(number).ok_or_else(|| failed(format!("no field {number}")))?;
                message.set_field(
                    &field,
                    value(column, row, &field.kind()).ok_or_else(|| failed(format!("column {}", field.name())))?,
                );
            }
            put_frame(self.id, &mut to.bytes);
            // The index of the first message, in short.
            to.bytes.push(0);
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
        DataType::FixedSizeList(..) => {
            let items = array.as_fixed_size_list().value(row);
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
