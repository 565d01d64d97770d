//! JSON lines on standard output.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, ArrayRef, RecordBatch, make_array};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use arrow::json::WriterBuilder;
use arrow::json::writer::LineDelimited;

use crate::error::Context;

/// One writer of JSON lines for all workers. What is written at once stays together, so lines are never mixed.
#[derive(Debug)]
pub struct JsonLines<W = std::io::Stdout> {
    to: Mutex<W>,
}

impl JsonLines {
    /// To standard output.
    pub fn stdout() -> JsonLines {
        JsonLines::new(std::io::stdout())
    }
}

impl<W: Write> JsonLines<W> {
    /// To any writer.
    pub fn new(to: W) -> JsonLines<W> {
        JsonLines { to: Mutex::new(to) }
    }

    /// Writes rows, a line each, nulls written out; times that have a zone in UTC.
    pub fn write(&self, rows: &RecordBatch) -> crate::Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let mut lines = Vec::with_capacity(rows.num_rows() * 64);
        let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(&mut lines);
        in_utc(rows)
            .and_then(|rows| writer.write(&rows))
            .and_then(|()| writer.finish())
            .or_failed(|| "cannot write the output as JSON".into())?;
        drop(writer);
        let mut to = self.to.lock().unwrap_or_else(PoisonError::into_inner);
        to.write_all(&lines).and_then(|()| to.flush()).or_failed(|| "cannot write to standard output".into())
    }

    /// The writer back.
    pub fn into_inner(self) -> W {
        self.to.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Times with a zone are instants: the same ones, shown in UTC.
pub(crate) fn in_utc(rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
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
