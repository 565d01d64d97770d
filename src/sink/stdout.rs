//! JSON lines on standard output.

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::json::WriterBuilder;
use arrow::json::writer::LineDelimited;

use crate::error::Context;
use crate::record::in_utc;

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
