//! Times of columns that go out as text: their zones, and none that has no text.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, make_array};
use arrow::compute::nullif;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;

use super::rows_beyond;

/// Times with a zone are instants: the same ones, shown in UTC. A time beyond the calendar is null: Arrow would write
/// the text of an error in its place. No record brings one, but a stage may come to one (`prediction_time`).
///
/// # Errors
/// Columns that Arrow can't build; no column of a pipeline is one.
pub fn in_utc(rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let mut fields = Vec::with_capacity(rows.num_columns());
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(rows.num_columns());
    for (field, column) in rows.schema().fields().iter().zip(rows.columns()) {
        let beyond = rows_beyond(column);
        let (mut field, mut column) = (field.clone(), column.clone());
        if !beyond.is_empty() {
            let there: BooleanArray = (0..column.len()).map(|row| Some(beyond.binary_search(&row).is_ok())).collect();
            column = nullif(&column, &there)?;
            field = Arc::new(field.as_ref().clone().with_nullable(true));
        }
        let DataType::Timestamp(unit, Some(_)) = field.data_type() else {
            fields.push(field);
            columns.push(column);
            continue;
        };
        let utc = DataType::Timestamp(*unit, Some("+00:00".into()));
        columns.push(make_array(column.to_data().into_builder().data_type(utc.clone()).build()?));
        fields.push(Arc::new(Field::new(field.name(), utc, field.is_nullable())));
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}
