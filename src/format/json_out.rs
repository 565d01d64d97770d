//! Rows to JSON, one object each.

use arrow::array::RecordBatch;
use arrow::json::WriterBuilder;
use arrow::json::writer::LineDelimited;

use super::{Encoder, Payloads};
use crate::error::Context;
use crate::record::in_utc;

/// Rows to one object each: nulls written out, times that have a zone in UTC; the same text as on stdout.
pub(super) struct JsonEncoder;

impl Encoder for JsonEncoder {
    fn encode(&mut self, rows: &RecordBatch, to: &mut Payloads) -> crate::Result<()> {
        let failed = || "cannot write the output as JSON".to_string();
        let mut lines = Vec::with_capacity(rows.num_rows() * 96);
        let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(&mut lines);
        in_utc(rows).and_then(|rows| writer.write(&rows)).and_then(|()| writer.finish()).or_failed(failed)?;
        drop(writer);
        // A line break within a text is written as \n, so each one ends a row.
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            to.bytes.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
            to.ends.push(to.bytes.len());
        }
        Ok(())
    }
}
