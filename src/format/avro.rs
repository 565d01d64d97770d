//! Avro in Confluent's wire format, by arrow-avro.
//!
//! Which columns there are, and of which types, is said by the newest schema of the subject at the start: the reader's schema. Each
//! message is resolved from its writer's schema to it, by Avro's rules. arrow-avro decodes one body at a time here: a body that is cut off is
//! only seen by the length that was taken, and a decoder that failed once stays broken and is made anew.
//!
//! Only fields at the top of the record become columns.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, Schema as ArrowSchema, SchemaRef, TimeUnit};
use arrow_avro::reader::{Decoder as AvroReader, ReaderBuilder};
use arrow_avro::schema::{AvroSchema, Fingerprint, FingerprintAlgorithm, SchemaStore};
use arrow_avro::writer::format::AvroBinaryFormat;
use arrow_avro::writer::{Encoder as AvroWriter, WriterBuilder};
use serde_json::Value;

use super::columns::{CarriedFrom, Cell, Columns, Fault, Row, Target, TimeFrom, Use};
use super::framed::{Body, MakeBody};
use super::registry::{Schema, put_frame};
use super::{Encoder, Payloads};
use crate::error::Context;
use crate::{Error, Result};

/// A reader's schema.
#[derive(Debug, Clone)]
pub(super) struct Reader {
    json: String,
    /// As Arrow types.
    pub arrow: SchemaRef,
}

impl Reader {
    /// Of a registered schema; or what is wrong with it.
    pub fn new(schema: &Schema) -> std::result::Result<Reader, String> {
        let json = inlined(schema)?;
        let decoder = decoder(&json, &json, 0)?;
        Ok(Reader { arrow: decoder.schema(), json })
    }

    /// The type that a column is delivered in; or what is wrong with it.
    pub fn type_of(&self, name: &str, purpose: Use) -> std::result::Result<DataType, String> {
        let Some((_, field)) = self.arrow.column_with_name(name) else {
            let names: Vec<&str> = self.arrow.fields().iter().map(|field| field.name().as_str()).collect();
            return Err(format!("there is no field \"{name}\" in the schema (there are: {})", names.join(", ")));
        };
        let found = field.data_type();
        let fits = match purpose {
            Use::Key => matches!(found, DataType::Utf8 | DataType::Dictionary(..)) || found.is_integer(),
            Use::Value => found.is_numeric() || matches!(found, DataType::Boolean),
            Use::Time => found.is_integer() || matches!(found, DataType::Timestamp(..) | DataType::Date32),
            Use::Carried => carried(found).is_some(),
        };
        match (fits, purpose) {
            (false, _) => Err(format!("field \"{name}\" is {found}, which can't be used as {purpose:?}")),
            (true, Use::Carried) => Ok(carried(found).unwrap_or(DataType::Utf8)),
            (true, Use::Time) if found.is_integer() => Ok(DataType::Int64),
            (true, _) => Ok(found.clone()),
        }
    }

    /// The schema with only those fields that become columns: what else changes in newer schemas changes nothing.
    pub fn only(&self, columns: &Columns) -> String {
        let Ok(mut json) = serde_json::from_str::<Value>(&self.json) else { return self.json.clone() };
        if let Some(fields) = json.get_mut("fields").and_then(Value::as_array_mut) {
            let is_column = |name: &str| columns.fields.contains_key(name);
            fields.retain(|field| field.get("name").and_then(Value::as_str).is_some_and(is_column));
        }
        let only = json.to_string();
        // A field that is left out may define a type that another one names.
        if decoder(&only, &only, 0).is_ok() { only } else { self.json.clone() }
    }

    /// Makes readers of bodies.
    pub fn bodies(&self, columns: Arc<Columns>) -> MakeBody {
        let reader = self.only(&columns);
        Arc::new(move |writer: &Schema| {
            let body = AvroBody {
                reader: reader.clone(),
                writer: inlined(writer)?,
                id: writer.id,
                columns: columns.clone(),
                decoder: None,
                frame: Vec::new(),
            };
            // What is wrong with a schema is said once, not with each message.
            decoder(&body.writer, &body.reader, body.id)?;
            Ok(Box::new(body) as Box<dyn Body>)
        })
    }
}

/// The type in which a further column goes on; `None`: it can't.
fn carried(found: &DataType) -> Option<DataType> {
    Some(match found {
        DataType::Utf8 | DataType::Dictionary(..) => DataType::Utf8,
        DataType::Boolean => DataType::Boolean,
        t if t.is_integer() => DataType::Int64,
        DataType::Float32 | DataType::Float64 => DataType::Float64,
        DataType::Timestamp(..) => found.clone(),
        DataType::Date32 => DataType::Timestamp(TimeUnit::Millisecond, None),
        _ => return None,
    })
}

fn decoder(writer: &str, reader: &str, id: u32) -> std::result::Result<AvroReader, String> {
    let mut store = SchemaStore::new_with_type(FingerprintAlgorithm::Id);
    let fingerprint = Fingerprint::Id(id);
    store.set(fingerprint, AvroSchema::new(writer.to_string())).map_err(|e| e.to_string())?;
    ReaderBuilder::new()
        .with_reader_schema(AvroSchema::new(reader.to_string()))
        .with_writer_schema_store(store)
        .with_active_fingerprint(fingerprint)
        .with_batch_size(1)
        .build_decoder()
        .map_err(|e| e.to_string())
}

struct AvroBody {
    reader: String,
    writer: String,
    id: u32,
    columns: Arc<Columns>,
    decoder: Option<AvroReader>,
    frame: Vec<u8>,
}

impl AvroBody {
    fn batch(&mut self, body: &[u8]) -> std::result::Result<RecordBatch, Fault> {
        let bad = |what: String| ("bad_avro", what);
        let mut reader = match self.decoder.take() {
            Some(reader) => reader,
            None => decoder(&self.writer, &self.reader, self.id).map_err(|e| ("bad_schema", e))?,
        };
        self.frame.clear();
        put_frame(self.id, &mut self.frame);
        self.frame.extend_from_slice(body);
        let taken = reader.decode(&self.frame).map_err(|e| bad(e.to_string()))?;
        if taken != self.frame.len() {
            return Err(bad(format!(
                "the body has {} bytes, the schema takes {}",
                body.len(),
                taken.saturating_sub(5)
            )));
        }
        let batch = reader.flush().map_err(|e| bad(e.to_string()))?;
        let batch = batch.filter(|batch| batch.num_rows() == 1).ok_or_else(|| bad("the body is cut off".into()))?;
        // Only one that came through is used again.
        self.decoder = Some(reader);
        Ok(batch)
    }
}

impl Body for AvroBody {
    fn read(&mut self, body: &[u8], row: &mut Row) -> std::result::Result<(), Fault> {
        let batch = self.batch(body)?;
        for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
            let Some(target) = self.columns.fields.get(field.name()) else { continue };
            if array.is_null(0) {
                continue;
            }
            let bad = |what: String| ("bad_value", format!("field \"{}\": {what}", field.name()));
            match target {
                Target::Key => row.key = text(array).map_err(bad)?,
                Target::Time => row.time = ticks(array, self.columns.time).map_err(bad)?,
                Target::Value(index) => row.values[*index] = number(array).map_err(bad)?,
                Target::Carried(index) => {
                    if let CarriedFrom::Field(data_type) = &self.columns.carried[*index].1 {
                        row.carried[*index] = cell(array, data_type).map_err(bad)?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn converted(array: &ArrayRef, to: &DataType) -> std::result::Result<ArrayRef, String> {
    let array = cast(array, to).map_err(|e| e.to_string())?;
    if array.is_null(0) { Err(format!("is out of the range of {to}")) } else { Ok(array) }
}

fn text(array: &ArrayRef) -> std::result::Result<Option<String>, String> {
    Ok(Some(converted(array, &DataType::Utf8)?.as_string::<i32>().value(0).to_string()))
}

fn ticks(array: &ArrayRef, _: TimeFrom) -> std::result::Result<Option<i64>, String> {
    let array = match array.data_type() {
        DataType::Date32 => converted(array, &DataType::Int32)?,
        _ => array.clone(),
    };
    Ok(Some(converted(&array, &DataType::Int64)?.as_primitive::<Int64Type>().value(0)))
}

fn number(array: &ArrayRef) -> std::result::Result<f64, String> {
    Ok(converted(array, &DataType::Float64)?.as_primitive::<Float64Type>().value(0))
}

fn cell(array: &ArrayRef, to: &DataType) -> std::result::Result<Cell, String> {
    let array = converted(array, to)?;
    Ok(match to {
        DataType::Boolean => Cell::Flag(array.as_boolean().value(0)),
        DataType::Float64 => Cell::Float(array.as_primitive::<Float64Type>().value(0)),
        DataType::Int64 | DataType::Timestamp(..) => {
            Cell::Integer(converted(&array, &DataType::Int64)?.as_primitive::<Int64Type>().value(0))
        }
        _ => Cell::Text(array.as_string::<i32>().value(0).to_string()),
    })
}

/// A schema with those it refers to written out where they are named first, since arrow-avro takes one text.
fn inlined(schema: &Schema) -> std::result::Result<String, String> {
    if schema.references.is_empty() {
        return Ok(schema.text.clone());
    }
    let parse = |text: &str| serde_json::from_str::<Value>(text).map_err(|e| format!("the schema is no JSON: {e}"));
    let mut named = HashMap::new();
    for (name, text) in &schema.references {
        named.insert(name.clone(), parse(text)?);
    }
    let mut root = parse(&schema.text)?;
    let namespace = root.get("namespace").and_then(Value::as_str).unwrap_or_default().to_string();
    inline(&mut root, &namespace, &mut named);
    Ok(root.to_string())
}

/// Puts a definition in place of the first use of its name; a second use finds it by name.
fn inline(value: &mut Value, namespace: &str, named: &mut HashMap<String, Value>) {
    match value {
        Value::String(name) => {
            let full = if name.contains('.') { name.clone() } else { format!("{namespace}.{name}") };
            let Some(mut definition) = named.remove(&full).or_else(|| named.remove(name.as_str())) else { return };
            let inner = definition.get("namespace").and_then(Value::as_str).unwrap_or(namespace).to_string();
            inline(&mut definition, &inner, named);
            *value = definition;
        }
        Value::Array(union) => union.iter_mut().for_each(|branch| inline(branch, namespace, named)),
        Value::Object(object) => {
            for name in ["type", "items", "values"] {
                if let Some(inner) = object.get_mut(name) {
                    inline(inner, namespace, named);
                }
            }
            if let Some(Value::Array(fields)) = object.get_mut("fields") {
                fields.iter_mut().for_each(|field| {
                    if let Some(data_type) = field.get_mut("type") {
                        inline(data_type, namespace, named);
                    }
                });
            }
        }
        _ => {}
    }
}

/// Rows to Avro.
pub(super) struct AvroEncoder {
    writer: AvroWriter,
    id: u32,
}

/// The Avro schema of an output; its record is named after the topic.
pub(super) fn schema_of(output: &ArrowSchema, topic: &str) -> Result<String> {
    let schema = AvroSchema::try_from(&plain(output)).or_failed(|| "the output has no Avro schema".into())?;
    let mut json: Value =
        serde_json::from_str(&schema.json_string).or_failed(|| "the output has no Avro schema".into())?;
    let name: String = topic.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    json["name"] = if name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name }.into();
    Ok(json.to_string())
}

/// The output without metadata that Avro would take for its own.
fn plain(output: &ArrowSchema) -> ArrowSchema {
    ArrowSchema::new(output.fields().clone())
}

impl AvroEncoder {
    pub fn new(output: &ArrowSchema, id: u32) -> Result<AvroEncoder> {
        let writer = WriterBuilder::new(plain(output))
            .build_encoder::<AvroBinaryFormat>()
            .map_err(|e| Error::failed(format!("cannot write the output as Avro: {e}")))?;
        Ok(AvroEncoder { writer, id })
    }
}

impl Encoder for AvroEncoder {
    fn encode(&mut self, rows: &RecordBatch, to: &mut Payloads) -> Result<()> {
        let failed = |e: &dyn std::fmt::Display| Error::failed(format!("cannot write the output as Avro: {e}"));
        let rows = RecordBatch::try_new(self.writer.schema(), rows.columns().to_vec()).map_err(|e| failed(&e))?;
        self.writer.encode(&rows).map_err(|e| failed(&e))?;
        for row in self.writer.flush().iter() {
            put_frame(self.id, &mut to.bytes);
            to.bytes.extend_from_slice(&row);
            to.ends.push(to.bytes.len());
        }
        Ok(())
    }
}
