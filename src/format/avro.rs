//! Avro in Confluent's wire format, by arrow-avro.
//!
//! The reader's schema decides which columns there are and of which types: the newest of the subject at the start, or a
//! pinned one. Each message is read with its writer's schema, field by field by name; the result is then converted into
//! the column's type. arrow-avro's own resolution is not used: it refuses records and enums that were renamed, symbols
//! that a reader doesn't have yet, and nulls and wider numbers where the reader has none, which all are changes that
//! registries call compatible in one of the two directions. Fields that a writer lacks have the reader's default.
//!
//! arrow-avro decodes one body at a time here: a truncated body is detected only by the length that was consumed, and a
//! decoder that failed once stays broken and is replaced. A column may be a field of a record within the record. It is
//! given the fields that are read and no others ([`super::avro_cut`]).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, RecordBatch};
use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType};
use arrow_avro::reader::{Decoder as AvroReader, ReaderBuilder};
use arrow_avro::schema::{AvroSchema, Fingerprint, FingerprintAlgorithm, SchemaStore};

use super::avro_cut::Cut;
use super::avro_schema::{self, Record, annotated};
use super::avro_types::{is_key, is_time, is_value, passthrough, takes, united};
use super::avro_value::{converted, decimal, integer, number, present, text, type_within, within};
use super::avro_vector;
use super::columns::{Cell, Columns, Fault, PassthroughFrom, Row, Target, Use};
use super::envelope::{Found, Met, place};
use super::frame::put_frame;
use super::framed::{Body, MakeBody};
use super::schema::Schema;
use super::times::{Ticks, TimeFrom, in_ticks, nanos_of};
use crate::config::Envelope;
use crate::error::contained;
use crate::record::{hexadecimal, uuid_text};

/// A reader's schema.
#[derive(Debug, Clone)]
pub(super) struct AvroReaderSchema {
    record: Record,
    envelope: Option<Envelope>,
}

impl AvroReaderSchema {
    /// From a registered schema, or the error in it.
    pub fn new(schema: &Schema) -> Result<AvroReaderSchema, String> {
        AvroReaderSchema::within(schema, None)
    }

    /// The same, of records in an envelope.
    pub fn within(schema: &Schema, envelope: Option<Envelope>) -> Result<AvroReaderSchema, String> {
        Ok(AvroReaderSchema { record: Record::new(&annotated(schema, envelope))?, envelope })
    }

    /// The names of its fields.
    pub fn names(&self) -> Vec<String> {
        self.record.fields.iter().map(|field| field.name.clone()).collect()
    }

    /// The type of a field by its path, or the error in it; `None`: there is no such field.
    fn arrow(&self, path: &Path) -> Result<Option<DataType>, String> {
        if self.record.field(&path.first).is_none() {
            return Ok(None);
        }
        let text = Cut::new(&self.record, &[&path.whole()])?.text(&[]);
        let schema = decoder(&text, &text, ID)?.schema();
        let found = schema.column_with_name(&path.first).map(|(_, field)| field.data_type());
        Ok(found.and_then(|found| type_within(found, &path.rest)).map(united))
    }

    /// The type in which a column is delivered, or the error in it.
    pub fn type_of(&self, name: &str, purpose: Use) -> Result<DataType, String> {
        let path = Path::of(self.envelope, name);
        let Some(found) = self.arrow(&path)? else {
            let names: Vec<&str> = self.record.fields.iter().map(|field| field.name.as_str()).collect();
            let (whole, names) = (path.whole(), names.join(", "));
            return Err(format!("there is no field \"{whole}\" in the schema (there are: {names})"));
        };
        let fits = match purpose {
            Use::Key => is_key(&found),
            Use::Value => is_value(&found),
            // It depends on the column: `takes`.
            Use::Vector => true,
            Use::Time => is_time(&found),
            Use::Passthrough => passthrough(&found).is_some(),
        };
        match (fits, purpose) {
            (false, _) => Err(format!("field \"{name}\" is {found}, which can't be used as {purpose:?}")),
            (true, Use::Passthrough) => Ok(passthrough(&found).unwrap_or(DataType::Utf8)),
            (true, Use::Time) if found.is_integer() => Ok(DataType::Int64),
            (true, Use::Time) if found.is_floating() => Ok(DataType::Float64),
            (true, _) => Ok(found),
        }
    }

    /// Makes readers of bodies.
    pub fn bodies(&self, columns: Arc<Columns>) -> MakeBody {
        let reader = self.clone();
        Arc::new(move |writer: &Schema| {
            let body = AvroBody::new(writer, &reader, columns.clone())?;
            Ok(Box::new(body) as Box<dyn Body>)
        })
    }
}

/// The id of a schema of kept fields; there is one per decoder.
const ID: u32 = 0;

fn decoder(writer: &str, reader: &str, id: u32) -> Result<AvroReader, String> {
    let mut store = SchemaStore::new_with_type(FingerprintAlgorithm::Id);
    let fingerprint = Fingerprint::Id(id);
    store.set(fingerprint, AvroSchema::new(writer.to_string())).map_err(|e| e.to_string())?;
    let builder = ReaderBuilder::new()
        .with_reader_schema(AvroSchema::new(reader.to_string()))
        .with_writer_schema_store(store)
        .with_active_fingerprint(fingerprint)
        .with_batch_size(1);
    contained(|| builder.build_decoder())?.map_err(|e| e.to_string())
}

/// Bodies of one writer's schema.
struct AvroBody {
    /// The fields of the writer's schema that are read; as a schema, and that with the defaults of those that it lacks.
    cut: Cut,
    writer: String,
    wanted: String,
    columns: Arc<Columns>,
    /// Fields of `wanted` and what becomes of them.
    targets: Vec<Field>,
    /// What is read of an envelope.
    marks: Marks,
    decoder: Option<AvroReader>,
    frame: Vec<u8>,
}

/// A field that is read.
struct Field {
    /// Its name in the writer's schema, with those of the records that it is in.
    name: String,
    path: Path,
    target: Target,
    /// Its type in the reader's schema.
    own: Option<DataType>,
    /// Nanoseconds of a tick, if the reader's schema says that it is a time: those of an integer that says nothing.
    nanos: Option<i64>,
    /// Whether 16 bytes of it are a UUID.
    is_uuid: bool,
}

impl AvroBody {
    fn new(schema: &Schema, reader: &AvroReaderSchema, columns: Arc<Columns>) -> Result<AvroBody, String> {
        let writer = Record::new(&annotated(schema, reader.envelope))?;
        let (mut targets, mut defaults) = (Vec::new(), Vec::new());
        let mut fields: Vec<(&String, &Target)> = columns.fields.iter().collect();
        // If a message has several faults, always report the first.
        fields.sort_by_key(|(name, _)| *name);
        for (name, target) in fields {
            let path = Path::of(reader.envelope, name);
            let Some(field) = reader.record.field(&path.first) else { continue };
            let own = reader.arrow(&path)?;
            let nanos = own.as_ref().and_then(nanos_of);
            let mut read = |first: &str, found: &avro_schema::Field| {
                let path = Path { first: first.to_string(), rest: path.rest.clone() };
                let (name, is_uuid) = (path.whole(), found.is_uuid_within(&path.rest));
                targets.push(Field { name, path, target: *target, own: own.clone(), nanos, is_uuid });
            };
            match writer.source(field) {
                Some(source) => read(&source.name, source),
                // What is missing on the way is null.
                None if !path.rest.is_empty() => {}
                None if field.may_be_missing() => {}
                None if field.default.is_some() => {
                    defaults.push(reader.record.defaulted(field));
                    read(name, field);
                }
                None => {
                    return Err(format!("there is no field \"{name}\", and the reader's schema has no default for it"));
                }
            }
        }
        let key = targets.iter().find(|field| field.target == Target::Key);
        let marks = Marks::new(reader.envelope, key);
        let paths: Vec<&str> = targets.iter().map(|field| field.name.as_str()).chain(marks.paths()).collect();
        let cut = Cut::new(&writer, &paths)?;
        let (text, wanted) = (cut.text(&[]), cut.text(&defaults));
        let made = decoder(&text, &wanted, ID)?;
        for Field { name, path, target, own, .. } in &targets {
            let found = made.schema();
            let (_, found) =
                found.column_with_name(&path.first).ok_or_else(|| format!("there is no field \"{name}\""))?;
            let Some(found) = type_within(found.data_type(), &path.rest) else { continue };
            if !takes(&columns, *target, own.as_ref(), found) {
                return Err(format!("field \"{name}\" is {found}, which its column can't be made of"));
            }
        }
        Ok(AvroBody { cut, writer: text, wanted, columns, targets, marks, decoder: Some(made), frame: Vec::new() })
    }

    fn batch(&mut self, body: &[u8]) -> Result<RecordBatch, Fault> {
        let bad = |what: String| ("bad_avro", what);
        self.frame.clear();
        put_frame(ID, &mut self.frame);
        self.cut.copy(body, &mut self.frame).map_err(bad)?;
        let mut reader = match self.decoder.take() {
            Some(reader) => reader,
            None => decoder(&self.writer, &self.wanted, ID).map_err(|e| ("bad_schema", e))?,
        };
        let taken = reader.decode(&self.frame).map_err(|e| bad(e.to_string()))?;
        if taken != self.frame.len() {
            return Err(bad(format!("{} bytes are left of the fields that are read", self.frame.len() - taken)));
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
        self.marks.read(&batch, &mut row.met);
        for field in &self.targets {
            let name = field.name.as_str();
            let Some(array) = field.path.value(&batch) else { continue };
            let bad = |what: String| ("bad_value", format!("field \"{name}\": {what}"));
            // Another branch of a union may fit where this one doesn't.
            if !takes(&self.columns, field.target, field.own.as_ref(), array.data_type()) {
                return Err(bad(format!("is {}, which its column can't be made of", array.data_type())));
            }
            match field.target {
                Target::Key => row.key = field.key(&array).map_err(bad)?,
                Target::Time => row.set_time(&self.columns, field.time(&array, self.columns.time).map_err(bad)?),
                Target::Value(index) => row.values[index] = number(&array).map_err(bad)?,
                Target::Vector(index) => {
                    avro_vector::read(&self.columns.vectors[index], &array, &mut row.vectors[index]).map_err(bad)?;
                }
                Target::Passthrough(index) => {
                    if let PassthroughFrom::Field(data_type) = &self.columns.passthrough[index].1 {
                        row.passthrough[index] = field.cell(&array, data_type)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Where a field is: a field of the record, or within records in it.
#[derive(Debug, Clone)]
struct Path {
    first: String,
    rest: Vec<String>,
}

impl Path {
    /// Of a column.
    fn of(envelope: Option<Envelope>, name: &str) -> Path {
        let (base, name) = place(envelope, name);
        let mut segments =
            [base].into_iter().filter(|base| !base.is_empty()).chain(name.split('.')).map(str::to_string);
        Path { first: segments.next().unwrap_or_default(), rest: segments.collect() }
    }

    /// As one name, with dots.
    fn whole(&self) -> String {
        std::iter::once(&self.first).chain(&self.rest).map(String::as_str).collect::<Vec<_>>().join(".")
    }

    fn value(&self, batch: &RecordBatch) -> Option<ArrayRef> {
        within(batch.column_by_name(&self.first)?.clone(), &self.rest)
    }
}

/// What is read of Debezium's envelope, besides the columns.
struct Marks {
    envelope: Option<Envelope>,
    /// The key of a row that is no more.
    key: Option<Field>,
}

impl Marks {
    fn new(envelope: Option<Envelope>, key: Option<&Field>) -> Marks {
        let before = |key: &Field| {
            let path = Path { first: "before".into(), ..key.path.clone() };
            Field { name: path.whole(), path, own: key.own.clone(), ..*key }
        };
        Marks { envelope, key: key.filter(|key| envelope.is_some() && key.path.first == "after").map(before) }
    }

    fn paths(&self) -> impl Iterator<Item = &str> {
        let op = self.envelope.is_some().then_some("op");
        op.into_iter().chain(self.key.as_ref().map(|key| key.name.as_str()))
    }

    fn read(&self, batch: &RecordBatch, met: &mut Met) {
        if self.envelope.is_none() {
            return;
        }
        met.op = batch.column_by_name("op").cloned().and_then(present).and_then(|op| text(&op).ok().flatten());
        met.after = match batch.column_by_name("after") {
            Some(after) if present(after.clone()).is_none() => Found::Null,
            // Where no column is in it, it doesn't matter.
            _ => Found::Object,
        };
        met.key = self.key.as_ref().and_then(|key| key.key(&key.path.value(batch)?).ok().flatten());
    }
}

impl Field {
    /// The text of a key; bytes are hexadecimal, as in keys of messages.
    fn key(&self, array: &ArrayRef) -> Result<Option<String>, String> {
        match (&self.own, array.data_type()) {
            (Some(DataType::Binary | DataType::FixedSizeBinary(_)), _) => {
                let bytes = converted(array, &DataType::Binary)?;
                let bytes = bytes.as_binary::<i32>().value(0);
                Ok(Some(if self.is_uuid { uuid_text(bytes) } else { hexadecimal(bytes) }))
            }
            (Some(DataType::Decimal128(precision, scale)), _) => self.digits(array, *precision, *scale),
            (Some(DataType::Decimal256(_, scale)), _) => self.digits(array, DECIMAL128_MAX_PRECISION, *scale),
            _ => text(array),
        }
    }

    fn digits(&self, array: &ArrayRef, precision: u8, scale: i8) -> Result<Option<String>, String> {
        let value = decimal(array, precision, scale).map_err(|what| format!("{what} the type of the key"))?;
        let value = Decimal128Array::from(vec![value]).with_precision_and_scale(precision, scale);
        value.map(|value| Some(value.value_as_string(0))).map_err(|e| e.to_string())
    }

    /// The value of the record's time.
    fn time(&self, array: &ArrayRef, from: TimeFrom) -> Result<Ticks, String> {
        match (from, array.data_type()) {
            (TimeFrom::Text, DataType::Utf8) => Ticks::of_text(&text(array)?.unwrap_or_default()),
            (TimeFrom::Fraction(micros), found) if found.is_floating() => {
                Ok(Ticks::of_fraction(number(array)?, micros))
            }
            (TimeFrom::Fraction(micros), found) if found.is_integer() => Ok(Ticks::of_whole(integer(array)?, micros)),
            (_, found) => Ok(Ticks::Of(integer(array)?, nanos_of(found).or(self.nanos))),
        }
    }

    /// The value of a passthrough column.
    fn cell(&self, array: &ArrayRef, to: &DataType) -> Result<Cell, Fault> {
        let bad = |what: String| ("bad_value", format!("field \"{}\": {what}", self.name));
        Ok(match to {
            DataType::Boolean => Cell::Flag(converted(array, to).map_err(bad)?.as_boolean().value(0)),
            DataType::Int64 => Cell::Integer(integer(array).map_err(bad)?),
            DataType::Timestamp(..) => {
                let (value, nanos) = (integer(array).map_err(bad)?, nanos_of(array.data_type()).or(self.nanos));
                let (Some(from), Some(into)) = (nanos, nanos_of(to)) else { return Ok(Cell::Integer(value)) };
                Cell::Integer(in_ticks(value, from, into).map_err(|unfit| unfit.of_time(&self.name, value, nanos))?)
            }
            DataType::Float64 => {
                let float = number(array).map_err(bad)?;
                if array.data_type().is_integer() && float as i128 != i128::from(integer(array).map_err(bad)?) {
                    return Err(bad("has more digits than a 64-bit float holds".into()));
                }
                Cell::Float(float)
            }
            DataType::Decimal128(precision, scale) => {
                Cell::Decimal(decimal(array, *precision, *scale).map_err(|what| {
                    ("bad_schema", format!("field \"{}\": {what} {to}, which the schema of the start has", self.name))
                })?)
            }
            DataType::Binary => {
                Cell::Bytes(converted(array, &DataType::Binary).map_err(bad)?.as_binary::<i32>().value(0).to_vec())
            }
            _ => text(array).map_err(bad)?.map_or(Cell::Null, Cell::Text),
        })
    }
}

#[cfg(test)]
#[path = "avro_nested_tests.rs"]
mod nested_tests;
