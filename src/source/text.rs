//! Text that isn't UTF-8.
//!
//! Parquet's text should be UTF-8, and the reader refuses a whole row group where one value is not. Then the rows are
//! read again with all text as bytes, and only those whose text is wrong are refused.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use ::parquet::basic::{ConvertedType, LogicalType, Type as Physical};
use ::parquet::errors::Result;
use ::parquet::file::metadata::{ParquetMetaData, ParquetMetaDataOptions, ParquetMetaDataReader};
use ::parquet::schema::types::{SchemaDescriptor, Type, TypePtr};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, new_null_array};
use arrow::compute::{CastOptions, cast, cast_with_options, concat};
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use arrow::error::ArrowError;

use super::flaws::Flaw;

/// Bytes of a value that are shown, at most.
const SHOWN: usize = 64;

/// The same metadata, but text is bytes. `footer` are the bytes that `metadata` was read from.
pub(super) fn as_bytes(footer: &[u8], metadata: &ParquetMetaData) -> Result<ParquetMetaData> {
    let root = untyped(&metadata.file_metadata().schema_descr().root_schema_ptr())?;
    let options = ParquetMetaDataOptions::new().with_schema(Arc::new(SchemaDescriptor::new(root)));
    ParquetMetaDataReader::decode_metadata_with_options(footer, Some(&options))
}

fn untyped(of: &TypePtr) -> Result<TypePtr> {
    let info = of.get_basic_info();
    let id = info.has_id().then(|| info.id());
    match of.as_ref() {
        Type::PrimitiveType { physical_type, .. } => {
            let is_text = matches!(info.logical_type_ref(), Some(LogicalType::String | LogicalType::Json))
                || matches!(info.converted_type(), ConvertedType::UTF8 | ConvertedType::JSON);
            if !is_text {
                return Ok(of.clone());
            }
            let bytes = Type::primitive_type_builder(info.name(), *physical_type);
            bytes.with_repetition(info.repetition()).with_id(id).build().map(Arc::new)
        }
        Type::GroupType { fields, .. } => {
            let fields = fields.iter().map(untyped).collect::<Result<Vec<_>>>()?;
            let group = Type::group_type_builder(info.name()).with_fields(fields).with_id(id);
            let group = group.with_logical_type(info.logical_type_ref().cloned());
            let group = group.with_converted_type(info.converted_type());
            // The root has none.
            let group = if info.has_repetition() { group.with_repetition(info.repetition()) } else { group };
            group.build().map(Arc::new)
        }
    }
}

/// The same columns with bytes in the place of text.
pub(super) fn schema_as_bytes(schema: &Schema) -> Schema {
    Schema::new(schema.fields().iter().map(bytes_field).collect::<Vec<_>>())
}

fn bytes_field(field: &FieldRef) -> FieldRef {
    let bytes = bytes_type(field.data_type());
    let mut metadata: HashMap<String, String> =
        field.metadata().iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    if bytes != *field.data_type() {
        // Bytes are no JSON.
        metadata.retain(|name, _| !name.starts_with("ARROW:extension:"));
    }
    Arc::new(Field::clone(field).with_data_type(bytes).with_metadata(metadata))
}

/// Whether any of these columns is text that the reader of Parquet doesn't check: it does so only where the file says
/// that it is UTF-8, and not for JSON, for enums, and for bytes that Arrow's types in the footer call text.
pub(super) fn is_unchecked(file: &SchemaDescriptor, schema: &Schema, names: &HashSet<&str>) -> bool {
    let is_text = |name: &str| schema.field_with_name(name).is_ok_and(|field| has_text(field.data_type()));
    // The column itself, or a field within it.
    let is_of = |wanted: &str, name: &str| {
        wanted.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    (0..file.num_columns()).any(|leaf| {
        let name = file.get_column_root(leaf).name();
        let column = file.column(leaf);
        column.physical_type() == Physical::BYTE_ARRAY
            && column.converted_type() != ConvertedType::UTF8
            && names.iter().any(|wanted| is_of(wanted, name))
            && is_text(name)
    })
}

/// Whether a column of a file is an enum: text, which the reader of Parquet takes for bytes.
pub(super) fn is_enum(file: &SchemaDescriptor, name: &str) -> bool {
    let mut columns = file.columns().iter().filter(|column| column.path().parts() == [name]);
    columns.any(|column| column.converted_type() == ConvertedType::ENUM)
}

fn bytes_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8 | DataType::Utf8View => DataType::Binary,
        DataType::LargeUtf8 => DataType::LargeBinary,
        DataType::Dictionary(_, values) if has_text(values) => bytes_type(values),
        DataType::List(item) => DataType::List(bytes_field(item)),
        DataType::LargeList(item) => DataType::LargeList(bytes_field(item)),
        DataType::FixedSizeList(item, width) => DataType::FixedSizeList(bytes_field(item), *width),
        DataType::Map(entries, sorted) => DataType::Map(bytes_field(entries), *sorted),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(bytes_field).collect()),
        other => other.clone(),
    }
}

/// Whether text is anywhere in it.
pub(super) fn has_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => has_text(values),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            has_text(item.data_type())
        }
        DataType::Map(entries, _) => has_text(entries.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_text(field.data_type())),
        _ => false,
    }
}

/// Rows that were read as bytes, as text again: `types` of the columns by name. What isn't UTF-8 is null and a flaw.
pub(super) fn checked(
    batch: RecordBatch,
    types: &Schema,
    flaws: &mut Vec<Flaw>,
) -> std::result::Result<RecordBatch, ArrowError> {
    let mut columns: Vec<(String, ArrayRef, bool)> = Vec::with_capacity(batch.num_columns());
    for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
        let name = field.name();
        let to = super::merge::plain(types.field_with_name(name)?.data_type());
        let array = if has_text(&to) { text(array, &to, name, flaws)? } else { array.clone() };
        columns.push((name.clone(), array, true));
    }
    RecordBatch::try_from_iter_with_nullable(columns)
}

fn text(
    array: &ArrayRef,
    to: &DataType,
    name: &str,
    flaws: &mut Vec<Flaw>,
) -> std::result::Result<ArrayRef, ArrowError> {
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    if let Ok(all) = cast_with_options(array, to, &strict) {
        return Ok(all);
    }
    let mut parts = Vec::with_capacity(array.len());
    for row in 0..array.len() {
        let one = array.slice(row, 1);
        parts.push(match cast_with_options(&one, to, &strict) {
            Ok(text) => text,
            Err(_) => {
                let detail = format!("column \"{name}\" is not UTF-8{}", shown(&one));
                flaws.push(Flaw { column: name.to_string(), row, reason: "not_utf8", detail });
                new_null_array(to, 1)
            }
        });
    }
    concat(&parts.iter().map(AsRef::as_ref).collect::<Vec<_>>())
}

/// A value with its bytes beyond ASCII escaped, where it is one value.
fn shown(one: &ArrayRef) -> String {
    let Ok(bytes) = cast(one, &DataType::LargeBinary) else { return String::new() };
    let bytes = bytes.as_binary::<i64>().value(0);
    let more = if bytes.len() > SHOWN { "…" } else { "" };
    format!(": \"{}{more}\"", bytes[..bytes.len().min(SHOWN)].escape_ascii())
}
