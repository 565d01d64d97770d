//! INT96 timestamps, which Spark, Hive and Impala write: a day and the nanoseconds of it, 12 bytes.
//!
//! Lives here: as what they are read, and finding those that the type they are read as can't hold. The reader of
//! Parquet reads them as nanoseconds in 64 bits unless it is asked for another unit, and wraps around silently where
//! they don't fit: 9999-12-31, Spark's "no end", became 1816.

use std::sync::Arc;

use ::parquet::arrow::{ARROW_SCHEMA_META_KEY, parquet_to_arrow_schema};
use ::parquet::basic::Type as Physical;
use ::parquet::errors::Result;
use ::parquet::file::metadata::FileMetaData;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Field, FieldRef, Fields, Schema, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType,
};

use super::flaws::Flaw;
use super::text;

/// The columns of a file with the types that they are read in. INT96 is microseconds, as its writers have it, unless
/// the writer was Arrow and left its own unit in the footer.
pub(super) fn schema_of(file: &FileMetaData) -> Result<Schema> {
    let schema = parquet_to_arrow_schema(file.schema_descr(), file.key_value_metadata())?;
    let as_text = |field: &FieldRef| match field.data_type() {
        DataType::Binary if text::is_enum(file.schema_descr(), field.name()) => {
            Arc::new(Field::clone(field).with_data_type(DataType::Utf8))
        }
        _ => field.clone(),
    };
    let fields: Fields = schema.fields().iter().map(as_text).collect();
    let schema = Schema::new_with_metadata(fields, schema.metadata().clone());
    if is_typed(file) || !has_any(file) {
        return Ok(schema);
    }
    let mut leaves = file.schema_descr().columns().iter().map(|leaf| leaf.physical_type());
    let fields: Fields = schema.fields().iter().map(|field| in_micros(field, &mut leaves)).collect();
    Ok(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

/// Whether a column of the file is read as microseconds where earlier versions of kolk read nanoseconds.
pub(super) fn is_in_micros(file: &FileMetaData, schema: &Schema, name: &str) -> bool {
    let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
    !is_typed(file)
        && is_int96(file, name)
        && schema.field_with_name(name).is_ok_and(|field| *field.data_type() == micros)
}

/// Whether Arrow wrote the file, with its own types in the footer.
fn is_typed(file: &FileMetaData) -> bool {
    file.key_value_metadata().into_iter().flatten().any(|entry| entry.key == ARROW_SCHEMA_META_KEY)
}

/// Whether any column of the file is INT96, or has a part that is.
pub(super) fn has_any(file: &FileMetaData) -> bool {
    file.schema_descr().columns().iter().any(|leaf| leaf.physical_type() == Physical::INT96)
}

/// Whether a column of the file, not within another one, is INT96.
pub(super) fn is_int96(file: &FileMetaData, name: &str) -> bool {
    let mut leaves = file.schema_descr().columns().iter();
    leaves.any(|leaf| leaf.physical_type() == Physical::INT96 && leaf.path().parts() == [name])
}

/// The leaves of Arrow's types and of Parquet's schema come in the same order.
fn in_micros(field: &FieldRef, leaves: &mut impl Iterator<Item = Physical>) -> FieldRef {
    let data_type = match field.data_type() {
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(|field| in_micros(field, leaves)).collect()),
        DataType::List(item) => DataType::List(in_micros(item, leaves)),
        DataType::LargeList(item) => DataType::LargeList(in_micros(item, leaves)),
        DataType::FixedSizeList(item, width) => DataType::FixedSizeList(in_micros(item, leaves), *width),
        DataType::Map(entries, sorted) => DataType::Map(in_micros(entries, leaves), *sorted),
        other => match leaves.next() {
            Some(Physical::INT96) => DataType::Timestamp(TimeUnit::Microsecond, None),
            _ => other.clone(),
        },
    };
    Arc::new(Field::clone(field).with_data_type(data_type))
}

/// The type that holds every INT96: it says what a coarser reading of the same rows must be.
pub(super) fn every_one() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, None)
}

/// Values of `read` that are not those of `millis`, the same rows and columns as milliseconds: they wrapped around.
pub(super) fn wrapped(read: &RecordBatch, millis: &RecordBatch) -> Vec<Flaw> {
    let mut flaws = Vec::new();
    for (index, field) in millis.schema_ref().fields().iter().enumerate() {
        let Some(array) = read.column_by_name(field.name()) else { continue };
        let Some(millis) = millis.column(index).as_primitive_opt::<TimestampMillisecondType>() else { continue };
        let (ticks, per_milli) = match array.data_type() {
            DataType::Timestamp(TimeUnit::Nanosecond, _) => {
                (array.as_primitive::<TimestampNanosecondType>().values(), 1_000_000)
            }
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                (array.as_primitive::<TimestampMicrosecondType>().values(), 1_000)
            }
            // Coarser ones can't wrap.
            _ => continue,
        };
        let differ = |(row, (tick, milli)): (usize, (&i64, &i64))| {
            (tick.div_euclid(per_milli) != *milli && array.is_valid(row)).then_some((row, *milli))
        };
        flaws.extend(ticks.iter().zip(millis.values()).enumerate().filter_map(differ).map(|(row, milli)| Flaw {
            column: field.name().clone(),
            row,
            reason: "time_out_of_range",
            detail: format!(
                "column \"{}\": the INT96 timestamp is {milli} ms from 1970, which {} can't hold",
                field.name(),
                array.data_type()
            ),
        }));
    }
    flaws
}
