//! JSON lines on standard output.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use arrow::json::WriterBuilder;
use arrow::json::writer::LineDelimited;

use crate::error::Context;
use crate::record::{KeyType, in_utc, is_uuid};

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
            .and_then(with_uuids)
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

/// Rows whose UUIDs are in the text that everybody writes them in, instead of bare digits.
fn with_uuids(rows: RecordBatch) -> Result<RecordBatch, ArrowError> {
    if !rows.schema_ref().fields().iter().any(|field| is_uuid(field)) {
        return Ok(rows);
    }
    let (mut fields, mut columns): (Vec<Arc<Field>>, Vec<ArrayRef>) = (Vec::new(), Vec::new());
    for (field, column) in rows.schema_ref().fields().iter().zip(rows.columns()) {
        if is_uuid(field) {
            fields.push(Arc::new(Field::new(field.name(), DataType::LargeUtf8, field.is_nullable())));
            columns.push(Arc::new(KeyType::Uuid.texts(column)?));
        } else {
            fields.push(field.clone());
            columns.push(column.clone());
        }
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}
