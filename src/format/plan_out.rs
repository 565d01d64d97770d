//! From the pipeline file to encoders: an output's schema is registered, or is one that the registry has.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use super::avro_out::{self, AvroEncoder};
use super::json_out::JsonEncoder;
use super::plan::language;
use super::protobuf_out::{self, ProtobufEncoder};
use super::registry::Registry;
use super::schema::{Language, Schema, Silence};
use super::{Encoder, schemas};
use crate::config::{Format, KafkaSink, Pin, SchemaSource};
use crate::error::Problems;

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

/// Plans the format of a Kafka sink for rows of `schema`, and registers it where there is a registry and the pipeline
/// names no schema. Adds every problem to `problems`, and returns `None` if there is one.
pub fn plan_encoder(sink: &KafkaSink, schema: SchemaRef, problems: &mut Problems) -> Option<PlannedEncoder> {
    let (Format::Avro(source) | Format::Protobuf(source)) = &sink.format.value else {
        return Some(PlannedEncoder { make: Box::new(|| Ok(Box::new(JsonEncoder))) });
    };
    let language = language(&sink.format.value);
    let found = match &source.output {
        Some(pin) => registered(source, pin.value, language).map_err(|message| (pin.place, message)),
        None => register(sink, source, &schema, language).map_err(|message| (sink.format.place, message)),
    };
    let is_own = source.output.is_none();
    let name = source.message.as_ref().map(|name| name.value.clone());
    let make = move |found: &Schema| -> crate::Result<Box<dyn Encoder>> {
        Ok(match language {
            Language::Avro if is_own => Box::new(AvroEncoder::new(&schema, found.id)?),
            Language::Avro => Box::new(AvroEncoder::of_schema(&schema, found)?),
            Language::Protobuf => Box::new(ProtobufEncoder::new(&schema, found, name.as_deref().filter(|_| !is_own))?),
        })
    };
    // What doesn't fit a schema is a problem of the start.
    let fits = found.and_then(|found| match make(&found) {
        Ok(_) => Ok(found),
        Err(error) => Err((source.output.as_ref().map_or(sink.format.place, |pin| pin.place), error.to_string())),
    });
    match fits {
        Ok(found) => Some(PlannedEncoder { make: Box::new(move || make(&found)) }),
        Err((place, message)) => {
            problems.add(place, message);
            None
        }
    }
}

/// Whether rows of `schema` can have the format of a Kafka sink, without registering anything.
pub fn check_encoder(sink: &KafkaSink, schema: SchemaRef, problems: &mut Problems) {
    let (Format::Avro(source) | Format::Protobuf(source)) = &sink.format.value else { return };
    if source.output.is_some() {
        plan_encoder(sink, schema, problems);
    } else if let Err(message) = text_of(sink, source, &schema, language(&sink.format.value)) {
        problems.add(sink.format.place, message);
    }
}

/// An encoder for measurements: nothing is registered, so that its payloads name no schema that there is. Without a
/// Kafka sink rows are JSON.
///
/// # Errors
/// Rows that can't have the format; a registry that doesn't have the schema that is named.
pub fn unregistered_encoder(sink: Option<&KafkaSink>, schema: &SchemaRef) -> crate::Result<Box<dyn Encoder>> {
    let Some((sink, Format::Avro(source) | Format::Protobuf(source))) = sink.map(|sink| (sink, &sink.format.value))
    else {
        return Ok(Box::new(JsonEncoder));
    };
    let language = language(&sink.format.value);
    if source.output.is_some() {
        let mut problems = Problems::default();
        let planned = plan_encoder(sink, schema.clone(), &mut problems);
        let planned = problems.finish(planned)?;
        return planned.ok_or_else(|| crate::Error::refused("the format of the sink can't be planned"))?.encoder();
    }
    let text = text_of(sink, source, schema, language).map_err(crate::Error::refused)?;
    let found = Schema { id: 1, text, references: Vec::new() };
    Ok(match language {
        Language::Avro => Box::new(AvroEncoder::new(schema, found.id)?),
        Language::Protobuf => Box::new(ProtobufEncoder::new(schema, &found, None)?),
    })
}

/// The schema of an output, as text.
fn text_of(sink: &KafkaSink, source: &SchemaSource, output: &SchemaRef, language: Language) -> Result<String, String> {
    let name = source.message.as_ref().map_or(sink.topic.as_str(), |name| name.value.as_str());
    let is_full = source.message.is_some();
    match language {
        Language::Avro => avro_out::schema_of(output, name, is_full).map_err(|e| e.to_string()),
        Language::Protobuf => protobuf_out::schema_of(output, name, is_full),
    }
}

/// Registers the schema of an output.
fn register(
    sink: &KafkaSink,
    source: &SchemaSource,
    output: &SchemaRef,
    language: Language,
) -> Result<Arc<Schema>, String> {
    let text = text_of(sink, source, output, language)?;
    let registry = Registry::new(source).map_err(|e| e.to_string())?;
    let id = registry.register(&source.subject, &text, language).map_err(|silence| {
        format!("the output's schema can't be registered as \"{}\": {}", source.subject.value, silence.text())
    })?;
    Ok(Arc::new(Schema { id, text, references: Vec::new() }))
}

/// The schema that an output is to have.
fn registered(source: &SchemaSource, pin: Pin, language: Language) -> Result<Arc<Schema>, String> {
    let registry = Registry::new(source).map_err(|e| e.to_string())?;
    let found = registry.reader(&source.subject, Some(pin), language).map_err(Silence::text)?;
    found.ok_or_else(|| schemas::missing(source, Some(pin)))
}
