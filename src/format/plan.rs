//! From the pipeline file to decoders and encoders, with every problem at its place.

use arrow::datatypes::SchemaRef;

use super::{Decoder, Encoder};
use crate::config::{At, KafkaSink, Pipeline, Problems};
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
    let _ = (pipeline, fields, problems);
    None
}

/// Plans the format of a Kafka sink for rows of `schema`. Adds what is wrong to `problems`, and returns `None` if that is anything.
pub fn plan_encoder(sink: &KafkaSink, schema: SchemaRef, problems: &mut Problems) -> Option<PlannedEncoder> {
    let _ = (sink, schema, problems);
    None
}
