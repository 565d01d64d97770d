//! Rows to Avro in Confluent's wire format, by arrow-avro.

use arrow::array::RecordBatch;
use arrow::datatypes::Schema as ArrowSchema;
use arrow_avro::schema::AvroSchema;
use arrow_avro::writer::format::AvroBinaryFormat;
use arrow_avro::writer::{Encoder as AvroWriter, WriterBuilder};
use serde_json::Value;

use super::frame::put_frame;
use super::{Encoder, Payloads};
use crate::error::Context;
use crate::{Error, Result};

/// Rows to Avro.
pub(super) struct AvroEncoder {
    writer: AvroWriter,
    id: u32,
}

/// The Avro schema of an output; its record is named after the topic.
pub(super) fn schema_of(output: &ArrowSchema, topic: &str) -> Result<String> {
    let schema = AvroSchema::try_from(&plain(output)).or_failed(|| "the output has no Avro schema".into())?;
    let mut json: Value =
        serde_json::from_str(&schema.json_string).or_failed(|| "the output has no Avro schema".into())?;
    let name: String = topic.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    json["name"] = if name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name }.into();
    Ok(json.to_string())
}

/// The output without metadata that Avro would interpret as its own.
fn plain(output: &ArrowSchema) -> ArrowSchema {
    ArrowSchema::new(output.fields().clone())
}

impl AvroEncoder {
    /// For rows of these columns, framed with the id of their schema.
    ///
    /// # Errors
    /// Columns that have no Avro type.
    pub fn new(output: &ArrowSchema, id: u32) -> Result<AvroEncoder> {
        let writer = WriterBuilder::new(plain(output))
            .build_encoder::<AvroBinaryFormat>()
            .map_err(|e| Error::failed(format!("cannot write the output as Avro: {e}")))?;
        Ok(AvroEncoder { writer, id })
    }
}

impl Encoder for AvroEncoder {
    fn encode(&mut self, rows: &RecordBatch, to: &mut Payloads) -> Result<()> {
        let failed = |e: &dyn std::fmt::Display| Error::failed(format!("cannot write the output as Avro: {e}"));
        let rows = RecordBatch::try_new(self.writer.schema(), rows.columns().to_vec()).map_err(|e| failed(&e))?;
        self.writer.encode(&rows).map_err(|e| failed(&e))?;
        for row in self.writer.flush().iter() {
            put_frame(self.id, &mut to.bytes);
            to.bytes.extend_from_slice(&row);
            to.ends.push(to.bytes.len());
        }
        Ok(())
    }
}
