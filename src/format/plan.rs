//! From the pipeline file to decoders and encoders, with every problem at its place.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use super::columns;
use super::json::{JsonDecoder, JsonEncoder};
use super::{Decoder, Encoder};
use crate::config::{At, Format, KafkaSink, Pipeline, Problems};
use crate::record::Layout;

/// A source's format, ready to decode.
pub struct PlannedDecoder {
    /// Columns of the records.
    pub layout: Layout,
    /// What results depend on, as text, for the fingerprint of the state.
    pub described: String,
    make: Box<dyn Fn() -> crate::Result<Box<dyn Decoder>> + Send + Sync>,
}

impl PlannedDecoder {
    /// A decoder for one worker.
    ///
    /// # Errors
    /// What could fail since planning: the registry's client.
    pub fn decoder(&self) -> crate::Result<Box<dyn Decoder>> {
        (self.make)()
    }
}

/// A sink's format, ready to encode.
pub struct PlannedEncoder {
    make: Box<dyn Fn() -> crate::Result<Box<dyn Encoder>> + Send + Sync>,
}

impl PlannedEncoder {
    /// An encoder for one worker.
    ///
    /// # Errors
    /// What could fail since planning: the registry's client.
    pub fn encoder(&self) -> crate::Result<Box<dyn Encoder>> {
        (self.make)()
    }
}

/// Plans the format of a Kafka source: columns of `record:`, and `fields` (of the sink, a filter, the split), which are carried
/// along unless they are key, time or a value anyway. Adds what is wrong to `problems`, and returns `None` if that is anything.
pub fn plan_decoder(pipeline: &Pipeline, fields: &[At<String>], problems: &mut Problems) -> Option<PlannedDecoder> {
    let kafka = pipeline.source.kafka()?;
    match &kafka.format.value {
        Format::Json => {
            let types = columns::declared(kafka, pipeline.record.time.unit);
            let (columns, layout) = columns::plan(pipeline, kafka, fields, &types, problems)?;
            let columns = Arc::new(columns);
            Some(PlannedDecoder {
                layout,
                described: format!("json {:?}", kafka.columns),
                make: Box::new(move || Ok(Box::new(JsonDecoder::new(columns.clone())))),
            })
        }
        Format::Avro(_) | Format::Protobuf(_) => {
            problems.add(kafka.format.place, "not in this version of kolk, only json is");
            None
        }
    }
}

/// Plans the format of a Kafka sink for rows of `schema`. Adds what is wrong to `problems`, and returns `None` if that is anything.
pub fn plan_encoder(sink: &KafkaSink, _schema: SchemaRef, problems: &mut Problems) -> Option<PlannedEncoder> {
    match &sink.format.value {
        Format::Json => Some(PlannedEncoder { make: Box::new(|| Ok(Box::new(JsonEncoder))) }),
        Format::Avro(_) | Format::Protobuf(_) => {
            problems.add(sink.format.place, "not in this version of kolk, only json is");
            None
        }
    }
}
