//! Avro in Confluent's wire format, by arrow-avro.
//!
//! The reader's schema decides which columns there are and of which types: the newest of the subject at the start, or a
//! pinned one. Each message is read with its writer's schema, field by field by name; the result is then converted into
//! the column's type. arrow-avro's own resolution is not used: it refuses records and enums that were renamed, symbols
//! that a reader doesn't have yet, and nulls and wider numbers where the reader has none, which all are changes that
//! registries call compatible in one of the two directions. Fields that a writer lacks have the reader's default.
//!
//! arrow-avro decodes one body at a time here: a truncated body is detected only by the length that was consumed, and a
//! decoder that failed once stays broken and is replaced. Only top-level fields of the record become columns.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, SchemaRef, TimeUnit};
use arrow_avro::reader::{Decoder as AvroReader, ReaderBuilder};
use arrow_avro::schema::{AvroSchema, Fingerprint, FingerprintAlgorithm, SchemaStore};

use super::avro_schema::Record;
use super::columns::{Cell, Columns, Fault, PassthroughFrom, Row, Target, Use, nanos_of};
use super::frame::put_frame;
use super::framed::{Body, MakeBody};
use super::schema::Schema;

/// A reader's schema.
#[derive(Debug, Clone)]
pub(super) struct AvroReaderSchema {
    record: Record,
    /// As Arrow types.
    pub arrow: SchemaRef,
}

impl AvroReaderSchema {
    /// From a registered schema, or the error in it.
    pub fn new(schema: &Schema) -> Result<AvroReaderSchema, String> {
        let record = Record::new(schema)?;
        let text = record.text(|_| true, std::iter::empty());
        Ok(AvroReaderSchema { arrow: decoder(&text, &text, 0)?.schema(), record })
    }

    /// The type in which a column is delivered, or the error in it.
    pub fn type_of(&self, name: &str, purpose: Use) -> Result<DataType, String> {
        let Some((_, field)) = self.arrow.column_with_name(name) else {
            let names: Vec<&str> = self.arrow.fields().iter().map(|field| field.name().as_str()).collect();
            return Err(format!("there is no field \"{name}\" in the schema (there are: {})", names.join(", ")));
        };
        let found = field.data_type();
        let fits = match purpose {
            Use::Key => matches!(found, DataType::Utf8 | DataType::Dictionary(..)) || found.is_integer(),
            Use::Value => found.is_numeric() || matches!(found, DataType::Boolean),
            Use::Time => found.is_integer() || matches!(found, DataType::Timestamp(..) | DataType::Date32),
            Use::Passthrough => passthrough(found).is_some(),
        };
        match (fits, purpose) {
            (false, _) => Err(format!("field \"{name}\" is {found}, which can't be used as {purpose:?}")),
            (true, Use::Passthrough) => Ok(passthrough(found).unwrap_or(DataType::Utf8)),
            (true, Use::Time) if found.is_integer() => Ok(DataType::Int64),
            (true, _) => Ok(found.clone()),
        }
    }

    /// Makes readers of bodies.
    pub fn bodies(&self, columns: Arc<Columns>) -> MakeBody {
        let reader = self.record.clone();
        Arc::new(move |writer: &Schema| {
            let body = AvroBody::new(writer, &reader, columns.clone())?;
            Ok(Box::new(body) as Box<dyn Body>)
        })
    }
}

/// The type of a passthrough column; `None`: there is none.
fn passthrough(found: &DataType) -> Option<DataType> {
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

/// Whether a column can hold a writer's values without loss.
fn takes(columns: &Columns, target: Target, found: &DataType) -> bool {
    if let DataType::Union(branches, _) = found {
        return branches.iter().any(|(_, branch)| takes(columns, target, branch.data_type()));
    }
    let is_text = matches!(found, DataType::Utf8 | DataType::Dictionary(..) | DataType::Binary);
    let is_time = matches!(found, DataType::Timestamp(..) | DataType::Date32);
    let to = match target {
        Target::Key => return is_text || found.is_integer(),
        Target::Value(_) => return found.is_numeric() || *found == DataType::Boolean,
        Target::Time => return is_time || found.is_integer(),
        Target::Passthrough(index) => match &columns.passthrough[index].1 {
            PassthroughFrom::Field(data_type) => data_type,
            PassthroughFrom::MessageKey | PassthroughFrom::MessageTimestamp => return true,
        },
    };
    match to {
        DataType::Utf8 => is_text,
        DataType::Boolean => *found == DataType::Boolean,
        DataType::Float64 => found.is_integer() || found.is_floating(),
        _ => found.is_integer() || is_time,
    }
}

fn decoder(writer: &str, reader: &str, id: u32) -> Result<AvroReader, String> {
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

/// Bodies of one writer's schema.
struct AvroBody {
    /// The writer's schema, and that with only those fields that are read, and the defaults of those that it lacks.
    writer: String,
    wanted: String,
    id: u32,
    columns: Arc<Columns>,
    /// Fields of `wanted` and what becomes of them.
    targets: Vec<(String, Target)>,
    decoder: Option<AvroReader>,
    frame: Vec<u8>,
}

impl AvroBody {
    fn new(schema: &Schema, reader: &Record, columns: Arc<Columns>) -> Result<AvroBody, String> {
        let writer = Record::new(schema)?;
        let (mut targets, mut defaults) = (Vec::new(), Vec::new());
        let mut fields: Vec<(&String, &Target)> = columns.fields.iter().collect();
        // If a message has several faults, always report the first.
        fields.sort_by_key(|(name, _)| *name);
        for (name, target) in fields {
            let Some(field) = reader.field(name) else { continue };
            match writer.source(field) {
                Some(source) => targets.push((source.name.clone(), *target)),
                None if field.default.is_some() => {
                    defaults.push(field);
                    targets.push((name.clone(), *target));
                }
                None if field.may_be_missing() => {}
                None => {
                    return Err(format!("there is no field \"{name}\", and the reader's schema has no default for it"));
                }
            }
        }
        let defaults = || defaults.iter().map(|field| (*field, reader.detached(&field.data_type)));
        let is_read = |name: &str| targets.iter().any(|(read, _)| read == name);
        let (text, mut wanted) = (writer.text(|_| true, std::iter::empty()), writer.text(is_read, defaults()));
        let id = schema.id;
        let made = decoder(&text, &wanted, id).or_else(|_| {
            // A field that is left out may define a type that another one names.
            wanted = writer.text(|_| true, defaults());
            decoder(&text, &wanted, id)
        })?;
        for (name, target) in &targets {
            let found = made.schema();
            let (_, found) = found.column_with_name(name).ok_or_else(|| format!("there is no field \"{name}\""))?;
            if !takes(&columns, *target, found.data_type()) {
                return Err(format!("field \"{name}\" is {}, which its column can't be made of", found.data_type()));
            }
        }
        Ok(AvroBody { writer: text, wanted, id, columns, targets, decoder: Some(made), frame: Vec::new() })
    }

    fn batch(&mut self, body: &[u8]) -> Result<RecordBatch, Fault> {
        let bad = |what: String| ("bad_avro", what);
        let mut reader = match self.decoder.take() {
            Some(reader) => reader,
            None => decoder(&self.writer, &self.wanted, self.id).map_err(|e| ("bad_schema", e))?,
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
        let batch = batch.filter(|batch| batch.num_rows() == 1).ok_or_else(|| bad("the body is truncated".into()))?;
        // Only a decoder that succeeded is used again.
        self.decoder = Some(reader);
        Ok(batch)
    }
}

impl Body for AvroBody {
    fn read(&mut self, body: &[u8], row: &mut Row) -> Result<(), Fault> {
        let batch = self.batch(body)?;
        for (name, target) in &self.targets {
            let Some(array) = batch.column_by_name(name).cloned().and_then(present) else { continue };
            let bad = |what: String| ("bad_value", format!("field \"{name}\": {what}"));
            match target {
                Target::Key => row.key = text(&array).map_err(bad)?,
                Target::Time => row.time = ticks(&array, &self.columns).map_err(bad)?,
                Target::Value(index) => row.values[*index] = number(&array).map_err(bad)?,
                Target::Passthrough(index) => {
                    if let PassthroughFrom::Field(data_type) = &self.columns.passthrough[*index].1 {
                        row.passthrough[*index] = cell(&array, data_type).map_err(bad)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// The value of a field, out of its union; `None`: null.
fn present(array: ArrayRef) -> Option<ArrayRef> {
    match array.data_type() {
        DataType::Null => None,
        DataType::Union(..) => present(array.as_union().value(0)),
        _ => (!array.is_null(0)).then_some(array),
    }
}

fn converted(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, String> {
    let array = cast(array, to).map_err(|e| e.to_string())?;
    if array.is_null(0) { Err(format!("is out of the range of {to}")) } else { Ok(array) }
}

fn text(array: &ArrayRef) -> Result<Option<String>, String> {
    Ok(Some(converted(array, &DataType::Utf8)?.as_string::<i32>().value(0).to_string()))
}

fn integer(array: &ArrayRef) -> Result<i64, String> {
    let array = match array.data_type() {
        DataType::Date32 => converted(array, &DataType::Int32)?,
        _ => array.clone(),
    };
    Ok(converted(&array, &DataType::Int64)?.as_primitive::<Int64Type>().value(0))
}

fn ticks(array: &ArrayRef, columns: &Columns) -> Result<Option<i64>, String> {
    columns.ticks(integer(array)?, nanos_of(array.data_type())).map(Some).ok_or_else(|| "is out of range".into())
}

fn number(array: &ArrayRef) -> Result<f64, String> {
    Ok(converted(array, &DataType::Float64)?.as_primitive::<Float64Type>().value(0))
}

fn cell(array: &ArrayRef, to: &DataType) -> Result<Cell, String> {
    if *to == DataType::Int64 {
        return Ok(Cell::Integer(integer(array)?));
    }
    let array = converted(array, to)?;
    Ok(match to {
        DataType::Boolean => Cell::Flag(array.as_boolean().value(0)),
        DataType::Float64 => Cell::Float(array.as_primitive::<Float64Type>().value(0)),
        DataType::Timestamp(..) => Cell::Integer(integer(&array)?),
        _ => Cell::Text(array.as_string::<i32>().value(0).to_string()),
    })
}
