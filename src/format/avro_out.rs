//! Rows to Avro in Confluent's wire format, by arrow-avro: with a schema of their own, or with one that a registry has.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, new_null_array};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, Schema as ArrowSchema, SchemaRef};
use arrow_avro::reader::ReaderBuilder;
use arrow_avro::schema::{AvroSchema, Fingerprint, FingerprintAlgorithm, SCHEMA_METADATA_KEY, SchemaStore};
use arrow_avro::writer::format::AvroBinaryFormat;
use arrow_avro::writer::{Encoder as AvroWriter, WriterBuilder};
use serde_json::Value;

use super::avro_cut::Cut;
use super::avro_schema::{Field, Record};
use super::frame::put_frame;
use super::schema::Schema;
use super::{Encoder, Payloads};
use crate::error::Context;
use crate::{Error, Result};

/// Rows to Avro.
pub(super) struct AvroEncoder {
    writer: AvroWriter,
    id: u32,
    /// Where each column of the schema comes from: a column of the rows, or one value for all; `None`: the rows are as
    /// they are to be written.
    columns: Option<Vec<From>>,
}

/// What a column of a registered schema is made of.
enum From {
    Column(usize),
    Default(ArrayRef),
}

/// The Avro schema of an output; its record is named after the topic, or has a full name.
pub(super) fn schema_of(output: &ArrowSchema, name: &str, is_full: bool) -> Result<String> {
    let schema = AvroSchema::try_from(&plain(output)).or_failed(|| "the output has no Avro schema".into())?;
    let mut json: Value =
        serde_json::from_str(&schema.json_string).or_failed(|| "the output has no Avro schema".into())?;
    let (namespace, name) = name.rsplit_once('.').filter(|_| is_full).unwrap_or(("", name));
    let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    json["name"] = if name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name }.into();
    if !namespace.is_empty() {
        json["namespace"] = namespace.into();
    }
    Ok(json.to_string())
}

/// The output without metadata that Avro would interpret as its own.
fn plain(output: &ArrowSchema) -> ArrowSchema {
    ArrowSchema::new(output.fields().clone())
}

impl AvroEncoder {
    /// For rows of these columns, framed with the id of their schema.
    ///
    /// # Errors
    /// Columns that have no Avro type.
    pub fn new(output: &ArrowSchema, id: u32) -> Result<AvroEncoder> {
        let writer = WriterBuilder::new(plain(output))
            .build_encoder::<AvroBinaryFormat>()
            .map_err(|e| Error::failed(format!("cannot write the output as Avro: {e}")))?;
        Ok(AvroEncoder { writer, id, columns: None })
    }

    /// For rows of these columns, in a schema that a registry has.
    ///
    /// # Errors
    /// Refused: a column that the schema lacks or can't hold, a field without a default that the output lacks.
    pub fn of_schema(output: &ArrowSchema, schema: &Schema) -> Result<AvroEncoder> {
        let refused = |what: String| Error::refused(format!("the output doesn't fit schema {}: {what}", schema.id));
        let record = Record::new(schema).map_err(refused)?;
        if let Some(lacking) = output.fields().iter().find(|column| record.field(column.name()).is_none()) {
            return Err(refused(format!("it has no field \"{}\"", lacking.name())));
        }
        let (target, text) = written(&record).map_err(refused)?;
        let mut columns = Vec::new();
        for (field, to) in record.fields.iter().zip(target.fields()) {
            columns.push(match output.column_with_name(&field.name) {
                Some((at, from)) => {
                    if !holds(from.data_type(), to.data_type()) {
                        let (name, from, to) = (&field.name, from.data_type(), to.data_type());
                        return Err(refused(format!("column \"{name}\" is {from}, the field {to}")));
                    }
                    if from.is_nullable() && !to.is_nullable() {
                        return Err(refused(format!("column \"{}\" may be null, the field may not", field.name)));
                    }
                    From::Column(at)
                }
                None => From::Default(default_of(field, to.data_type(), to.is_nullable()).ok_or_else(|| {
                    refused(format!("the output has no column \"{}\", and the field no default", field.name))
                })?),
            });
        }
        let metadata: HashMap<String, String> = std::iter::once((SCHEMA_METADATA_KEY.to_string(), text)).collect();
        let writer = WriterBuilder::new(ArrowSchema::clone(&target).with_metadata(metadata))
            .build_encoder::<AvroBinaryFormat>()
            .map_err(|e| refused(e.to_string()))?;
        Ok(AvroEncoder { writer, id: schema.id, columns: Some(columns) })
    }

    /// Rows as they are to be written.
    fn shaped(&self, rows: &RecordBatch) -> std::result::Result<Vec<ArrayRef>, String> {
        let Some(columns) = &self.columns else { return Ok(rows.columns().to_vec()) };
        let (schema, strict) = (self.writer.schema(), CastOptions { safe: false, ..CastOptions::default() });
        let shape = |(from, to): (&From, &Arc<arrow::datatypes::Field>)| match from {
            From::Column(at) => cast_with_options(rows.column(*at), to.data_type(), &strict).map_err(|e| e.to_string()),
            From::Default(value) => {
                let all = arrow::array::UInt32Array::from(vec![0; rows.num_rows()]);
                arrow::compute::take(value, &all, None).map_err(|e| e.to_string())
            }
        };
        columns.iter().zip(schema.fields()).map(shape).collect()
    }
}

/// The types in which a schema is written, and the schema with its named types written out.
fn written(record: &Record) -> std::result::Result<(SchemaRef, String), String> {
    let names: Vec<&str> = record.fields.iter().map(|field| field.name.as_str()).collect();
    let text = Cut::new(record, &names)?.text(&[]);
    let mut store = SchemaStore::new_with_type(FingerprintAlgorithm::Id);
    store.set(Fingerprint::Id(0), AvroSchema::new(text.clone())).map_err(|e| e.to_string())?;
    let reader = ReaderBuilder::new().with_writer_schema_store(store).with_active_fingerprint(Fingerprint::Id(0));
    let reader = reader.with_reader_schema(AvroSchema::new(text.clone())).build_decoder().map_err(|e| e.to_string())?;
    Ok((Arc::new(plain(&reader.schema())), text))
}

/// Whether a type holds all values of another one.
fn holds(from: &DataType, to: &DataType) -> bool {
    let width = |t: &DataType| t.primitive_width().unwrap_or_default();
    match (from, to) {
        (from, to) if from == to => true,
        (DataType::FixedSizeList(from, _) | DataType::List(from), DataType::List(to)) => {
            holds(from.data_type(), to.data_type())
        }
        (DataType::Timestamp(from, a), DataType::Timestamp(to, b)) => a.is_some() == b.is_some() && to >= from,
        (DataType::Float32, DataType::Float64) => true,
        (from, DataType::Float64) if from.is_integer() => width(from) <= 4,
        (from, to) if from.is_signed_integer() && to.is_signed_integer() => width(from) <= width(to),
        (from, to) if from.is_unsigned_integer() && to.is_signed_integer() => width(from) < width(to),
        _ => false,
    }
}

/// The value of a field that the output lacks.
fn default_of(field: &Field, to: &DataType, is_nullable: bool) -> Option<ArrayRef> {
    match &field.default {
        None | Some(Value::Null) => is_nullable.then(|| new_null_array(to, 1)),
        Some(Value::String(text)) if *to == DataType::Utf8 => Some(Arc::new(StringArray::from(vec![text.as_str()]))),
        Some(value @ (Value::Bool(_) | Value::Number(_))) => {
            let value = cast(&StringArray::from(vec![value.to_string()]), to).ok()?;
            (value.null_count() == 0).then_some(value)
        }
        _ => None,
    }
}

impl Encoder for AvroEncoder {
    fn encode(&mut self, rows: &RecordBatch, to: &mut Payloads) -> Result<()> {
        let failed = |e: &dyn std::fmt::Display| Error::failed(format!("cannot write the output as Avro: {e}"));
        let columns = self.shaped(rows).map_err(|e| failed(&e))?;
        let rows = RecordBatch::try_new(self.writer.schema(), columns).map_err(|e| failed(&e))?;
        self.writer.encode(&rows).map_err(|e| failed(&e))?;
        for row in self.writer.flush().iter() {
            put_frame(self.id, &mut to.bytes);
            to.bytes.extend_from_slice(&row);
            to.ends.push(to.bytes.len());
        }
        Ok(())
    }
}
