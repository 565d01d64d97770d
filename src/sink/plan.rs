//! Which columns are written, and how a batch becomes them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, FixedSizeListArray, Float32Array, Float64Array, Int32Array, Int64Array, RecordBatch,
    StringArray,
};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use crate::config;
use crate::error::Context;
use crate::error::Problems;
use crate::record::{Batch, Clock, Constant, KeyType, Kind, Layout, NO_TIME, PartitionId, Role, Values};
use crate::state::Keys;
use crate::{Error, Result};

/// The columns of an output: the key, the time, the fields asked for, then all that stages made for the reader.
#[derive(Debug, Clone)]
pub struct PlannedSink {
    schema: SchemaRef,
    key: KeyType,
    clock: Clock,
    columns: Vec<From>,
    retyped: BTreeMap<String, String>,
    shown: String,
}

/// Where a column of the output comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum From {
    /// A column of the batch.
    Batch(usize),
    /// The partition that the batch is of.
    Partition(String, Constant),
}

/// Plans the output of a pipeline whose last stage gives `layout`; `None` if there are problems.
pub fn plan(sink: &config::Sink, layout: &Layout, problems: &mut Problems) -> Option<PlannedSink> {
    let mut fields = vec![
        layout.key_type.field(&layout.key_name),
        Field::new(&layout.time_name, written(&layout.clock.data_type), false),
    ];
    let mut columns = Vec::new();
    let mut untyped = vec![(&layout.time_name, &layout.clock.data_type)];
    let mut fine = true;
    if layout.key_name == layout.time_name {
        let name = &layout.key_name;
        problems
            .add(config::NOWHERE, format!("key and time would both be column \"{name}\" of the output: rename one"));
        fine = false;
    }
    for name in sink.fields() {
        if **name == layout.key_name || **name == layout.time_name {
            continue;
        }
        let from = match (layout.constant(name), layout.find(name)) {
            (Some(constant), _) => From::Partition(name.value.clone(), constant.clone()),
            (None, Some(index)) => From::Batch(index),
            (None, None) => {
                problems.add(name.place, layout.unknown(name));
                fine = false;
                continue;
            }
        };
        // What stages make for the reader comes with the others.
        let is_output = matches!(from, From::Batch(index) if layout.columns[index].role == Role::Output);
        if !is_output && !columns.contains(&from) {
            columns.push(from);
        }
    }
    let made = (0..layout.columns.len()).filter(|index| layout.columns[*index].role == Role::Output);
    columns.extend(made.map(From::Batch));
    for from in &columns {
        let index = match from {
            From::Batch(index) => index,
            From::Partition(name, constant) => {
                fields.push(Field::new(name, constant.data_type(), false));
                continue;
            }
        };
        let column = &layout.columns[*index];
        if fields.iter().any(|field| *field.name() == column.name) {
            let place = sink.fields().iter().find(|name| ***name == column.name).map_or(config::NOWHERE, |at| at.place);
            problems.add(
                place,
                format!("two columns of the output would be named \"{}\": rename the one of the source", column.name),
            );
            fine = false;
        }
        match &column.kind {
            Kind::Time => untyped.push((&column.name, &layout.clock.data_type)),
            Kind::Passthrough(data_type) => untyped.push((&column.name, data_type)),
            _ => {}
        }
        fields.push(Field::new(&column.name, data_type(&column.kind, &layout.clock), nullable(&column.kind)));
    }
    untyped.retain(|(_, data_type)| is_untyped(data_type));
    let retyped = untyped.iter().map(|(name, data_type)| (name.to_string(), written(data_type).to_string()));
    fine.then(|| PlannedSink {
        schema: Arc::new(Schema::new(fields)),
        key: layout.key_type.clone(),
        clock: layout.clock.clone(),
        columns,
        retyped: retyped.collect(),
        shown: match sink {
            config::Sink::Parquet { path, .. } => path.0.clone(),
            config::Sink::Stdout { .. } => "stdout".into(),
            config::Sink::Kafka(kafka) => format!("topic {}", kafka.topic.value),
        },
    })
}

impl PlannedSink {
    /// Columns of the output.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// Whether rows of the same stages come out in the same columns.
    pub fn has_columns_of(&self, other: &PlannedSink) -> bool {
        self.schema == other.schema && self.columns == other.columns
    }

    /// The columns whose times have a type that earlier versions left out, with that type.
    pub fn retyped(&self) -> &BTreeMap<String, String> {
        &self.retyped
    }

    /// Where the output goes, for messages.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// The columns as text, for a fingerprint.
    pub fn describe(&self) -> String {
        let columns: Vec<String> =
            self.schema.fields().iter().map(|field| format!("{}: {}", field.name(), field.data_type())).collect();
        columns.join(", ")
    }

    /// The rows of a batch of a partition as they are written; those before `emit_from` (in ticks) are left out.
    pub fn rows(
        &self,
        batch: &Batch,
        keys: &Keys,
        partition: PartitionId,
        emit_from: Option<i64>,
    ) -> Result<RecordBatch> {
        let mut arrays = Vec::with_capacity(self.columns.len() + 2);
        arrays.push(key_column(&self.key, &batch.slots, keys)?);
        arrays.push(time_column(&batch.times, &self.clock, false)?);
        for from in &self.columns {
            arrays.push(match from {
                From::Batch(index) => column(&batch.columns[*index].values, &self.clock)?,
                From::Partition(_, constant) => repeated(constant, partition, batch.rows()),
            });
        }
        let rows = RecordBatch::try_new(self.schema.clone(), arrays).or_failed(|| "cannot form the output".into())?;
        match emit_from {
            Some(from) if batch.times.iter().any(|time| *time < from) => {
                let mask: BooleanArray = batch.times.iter().map(|time| Some(*time >= from)).collect();
                filter_record_batch(&rows, &mask).or_failed(|| "cannot form the output".into())
            }
            _ => Ok(rows),
        }
    }
}

/// What a partition is, once for each row.
fn repeated(constant: &Constant, partition: PartitionId, rows: usize) -> ArrayRef {
    match constant {
        Constant::Topic(only) => {
            let name = partition.topic.name().unwrap_or(only);
            Arc::new(StringArray::from_iter_values(std::iter::repeat_n(name, rows)))
        }
        Constant::Partition => {
            Arc::new(Int32Array::from_value(i32::try_from(partition.number).unwrap_or(i32::MAX), rows))
        }
    }
}

/// Arrow type of a column. A passthrough column loses its dictionary or view, which depend on how the source was read.
fn data_type(kind: &Kind, clock: &Clock) -> DataType {
    match kind {
        Kind::Number => DataType::Float64,
        Kind::Vector(1) => DataType::Float32,
        // Never written, but every kind has a type.
        Kind::Doubles(width) => DataType::FixedSizeList(
            Arc::new(Field::new_list_field(DataType::Float64, true)),
            i32::try_from(*width).unwrap_or(i32::MAX),
        ),
        Kind::Vector(width) => DataType::FixedSizeList(item(), i32::try_from(*width).unwrap_or(i32::MAX)),
        Kind::Flag => DataType::Boolean,
        Kind::Time => written(&clock.data_type),
        Kind::Integer => DataType::Int64,
        Kind::Passthrough(data_type) => written(data_type),
        Kind::Samples => kind.vectors().unwrap_or(DataType::Null),
    }
}

/// The type that a column of this type is written as. Parquet has no type for dates in milliseconds, nor for times in
/// seconds: without one, other readers take them for bare integers.
fn written(data_type: &DataType) -> DataType {
    let item = |field: &Arc<Field>| Arc::new(Field::clone(field).with_data_type(written(field.data_type())));
    match data_type {
        DataType::Dictionary(_, values) => written(values),
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::Date64 => DataType::Timestamp(TimeUnit::Millisecond, None),
        DataType::Timestamp(TimeUnit::Second, zone) => DataType::Timestamp(TimeUnit::Millisecond, zone.clone()),
        DataType::Time32(TimeUnit::Second) => DataType::Time32(TimeUnit::Millisecond),
        DataType::List(field) => DataType::List(item(field)),
        DataType::LargeList(field) => DataType::LargeList(item(field)),
        DataType::FixedSizeList(field, width) => DataType::FixedSizeList(item(field), *width),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(item).collect()),
        other => other.clone(),
    }
}

/// Whether Parquet has no type for it, or for a part of it.
fn is_untyped(data_type: &DataType) -> bool {
    match data_type {
        DataType::Date64 | DataType::Timestamp(TimeUnit::Second, _) | DataType::Time32(TimeUnit::Second) => true,
        DataType::Dictionary(_, values) => is_untyped(values),
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
            is_untyped(field.data_type())
        }
        DataType::Struct(fields) => fields.iter().any(|field| is_untyped(field.data_type())),
        _ => false,
    }
}

fn nullable(kind: &Kind) -> bool {
    !matches!(kind, Kind::Flag | Kind::Integer)
}

fn item() -> Arc<Field> {
    Arc::new(Field::new_list_field(DataType::Float32, true))
}

fn column(values: &Values, clock: &Clock) -> Result<ArrayRef> {
    Ok(match values {
        Values::Number(values) => {
            Arc::new(Float64Array::new(values.clone().into(), not_null(values, |value| !value.is_nan())))
        }
        Values::Vector(values, 1) => {
            Arc::new(Float32Array::new(values.clone().into(), not_null(values, |value| !value.is_nan())))
        }
        Values::Vector(values, width) => vectors(values, *width)?,
        Values::Doubles(..) => {
            return Err(Error::failed("a column between stages is to be written: internal error, please report"));
        }
        Values::Flag(values) => Arc::new(BooleanArray::from(values.clone())),
        Values::Time(values) => time_column(values, clock, true)?,
        Values::Integer(values) => Arc::new(Int64Array::from(values.clone())),
        Values::Passthrough(array) => {
            let written = written(array.data_type());
            if written == *array.data_type() {
                array.clone()
            } else {
                cast(array, &written).or_failed(|| "cannot carry a column".into())?
            }
        }
    })
}

/// `None` where nothing is null, so that equal values are equal arrays.
fn not_null<T>(values: &[T], there: impl Fn(&T) -> bool) -> Option<NullBuffer> {
    let nulls = NullBuffer::new(values.iter().map(there).collect::<BooleanBuffer>());
    (nulls.null_count() > 0).then_some(nulls)
}

/// A row that is all NaN is null; otherwise NaN is a null within the row.
fn vectors(values: &[f32], width: usize) -> Result<ArrayRef> {
    let rows: Vec<&[f32]> = values.chunks_exact(width.max(1)).collect();
    let whole = not_null(&rows, |row| row.iter().any(|value| !value.is_nan()));
    let items = Float32Array::new(values.to_vec().into(), not_null(values, |value| !value.is_nan()));
    let width = i32::try_from(width).or_failed(|| "an output is too wide".into())?;
    let list = FixedSizeListArray::try_new(item(), width, Arc::new(items), whole);
    Ok(Arc::new(list.or_failed(|| "cannot form the output".into())?))
}

/// Ticks in the type that the clock's own is written as. What is outside its range is null, as [`NO_TIME`] is, where a
/// column may be null.
fn time_column(ticks: &[i64], clock: &Clock, nullable: bool) -> Result<ArrayRef> {
    let nulls = if nullable { not_null(ticks, |tick| *tick != NO_TIME) } else { None };
    let array = Int64Array::new(ticks.to_vec().into(), nulls);
    match &clock.data_type {
        // Via the type of the same width: there is no cast from 64 bits.
        DataType::Date32 => cast(&array, &DataType::Int32).and_then(|days| cast(&days, &DataType::Date32)),
        own => cast(&array, own).and_then(|times| match written(own) {
            written if written == *own => Ok(times),
            written => cast(&times, &written),
        }),
    }
    .or_failed(|| "cannot form the times of the output".into())
}

fn key_column(key: &KeyType, slots: &[u32], keys: &Keys) -> Result<ArrayRef> {
    key.values(slots, |slot| std::str::from_utf8(keys.get(slot)).ok()).map_err(Error::failed)
}
