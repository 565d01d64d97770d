//! Time zones of columns that go out as text.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, make_array};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;

/// Times with a zone are instants: the same ones, shown in UTC.
///
/// # Errors
/// Columns that Arrow can't build; no column of a pipeline is one.
pub fn in_utc(rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let mut fields = Vec::with_capacity(rows.num_columns());
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(rows.num_columns());
    for (field, column) in rows.schema().fields().iter().zip(rows.columns()) {
        let DataType::Timestamp(unit, Some(_)) = field.data_type() else {
            fields.push(field.clone());
            columns.push(column.clone());
            continue;
        };
        let utc = DataType::Timestamp(*unit, Some("+00:00".into()));
        columns.push(make_array(column.to_data().into_builder().data_type(utc.clone()).build()?));
        fields.push(Arc::new(Field::new(field.name(), utc, field.is_nullable())));
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}
