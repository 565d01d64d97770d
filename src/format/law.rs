//! The law of every decoder, for tests and fuzzing (`fuzz/`): whatever the messages are, there is a record for each,
//! and each is the same as if it were decoded alone.
//!
//! Only in tests and under fuzzing.

#![allow(clippy::expect_used)]

use std::sync::Arc;

use arrow::util::display::array_value_to_string;

use super::frame::put_frame;
use super::framed::Framed;
use super::json::JsonDecoder;
use super::registry::Registry;
use super::schema::{Language, Schema};
use super::schemas::Schemas;
use super::{Decided, Decoded, Decoder, Messages, avro, columns, protobuf, reading};
use crate::config::{self, At, Format, Pipeline};
use crate::error::Problems;
use crate::record::Layout;

/// The id of every schema here.
pub(super) const ID: u32 = 7;

pub(super) const JSON: &str = "
name: p
source: { kafka: { brokers: b, topic: t, partitioned_by: key, columns: { n: int64, on: boolean } } }
record: { key: k, time: { column: ts, unit: ms }, values: [a, b] }
";

pub(super) const AVRO: &str = r#"{"type":"record","name":"Sale","namespace":"shop","fields":[
    {"name":"k","type":"string"},{"name":"ts","type":"long"},{"name":"v","type":["null","double"]}]}"#;

pub(super) const PROTO: &str = "syntax = \"proto3\"; package shop; import \"google/protobuf/wrappers.proto\";
    message Other { int32 x = 1; message Inner { string k = 1; int64 ts = 2; optional double v = 3; } }
    message Sale { string k = 1; int64 ts = 2; google.protobuf.DoubleValue v = 3; Kind kind = 4; }
    enum Kind { NONE = 0; WEB = 1; }";

/// Fields beyond those of AVRO, of all kinds that there are, for fuzzing.
const WIDE: &str = r#"{"type":"record","name":"Sale","namespace":"shop","fields":[
    {"name":"k","type":"string"},{"name":"ts","type":"long"},{"name":"v","type":["null","double"]},
    {"name":"e","type":{"type":"enum","name":"Kind","symbols":["A","B"]}},{"name":"m","type":{"type":"map","values":"int"}},
    {"name":"l","type":{"type":"array","items":["null","string"]}},{"name":"x","type":{"type":"fixed","name":"Four","size":4}},
    {"name":"r","type":{"type":"record","name":"Inner","fields":[{"name":"b","type":"bytes"},{"name":"f","type":"float"}]}},
    {"name":"o","type":"boolean"},{"name":"d","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}}]}"#;

/// Any messages: a record for each, in order, and each as if it had come alone.
///
/// # Errors
/// What is otherwise.
pub fn alone_as_together(decoder: &mut dyn Decoder, payloads: &[Vec<u8>]) -> Result<(), String> {
    let together = decode(decoder, payloads);
    let rows = together.records.len();
    if rows != payloads.len() {
        return Err(format!("{rows} records of {} messages", payloads.len()));
    }
    for (index, payload) in payloads.iter().enumerate() {
        let alone = decode(decoder, std::slice::from_ref(payload));
        let (found, expected) = (shown(&together, index), shown(&alone, 0));
        if found != expected {
            return Err(format!("message {index}: {found} among others, {expected} alone"));
        }
    }
    Ok(())
}

/// Decodes messages with the offsets 0, 2, 4, …
pub(super) fn decode(decoder: &mut dyn Decoder, payloads: &[Vec<u8>]) -> Decoded {
    let mut messages = Messages::default();
    for (index, payload) in (0..).zip(payloads) {
        messages.push(index * 2, 1000 + index, Some(b"key"), Some(payload));
    }
    match decoder.decode(&messages, 0..messages.len(), &mut Decided::default()) {
        Ok(decoded) => decoded,
        Err(error) => panic!("{error}"),
    }
}

/// Why a record can't be taken, if it can't.
pub(super) fn bad(decoded: &Decoded, index: usize) -> Option<&'static str> {
    decoded.records.bad.iter().find(|(at, _)| *at == index).map(|(_, reason)| *reason)
}

/// Everything about a record but where it is from; values by their bits.
fn shown(decoded: &Decoded, index: usize) -> String {
    let records = &decoded.records;
    let values: Vec<u64> = records.values.iter().map(|column| column[index].to_bits()).collect();
    let passthrough: Vec<_> = records
        .vectors
        .iter()
        .chain(&records.passthrough)
        .map(|array| array_value_to_string(array, index).ok())
        .collect();
    let detail = decoded.details.iter().find(|(at, _)| *at == index);
    let (key, time, bad) = (records.key(index), records.times[index], bad(decoded, index));
    format!("{bad:?} {key:?} {time} {values:?} {passthrough:?} {:?}", detail.map(|(_, detail)| detail))
}

/// A pipeline, from its file.
pub(super) fn pipeline(yaml: &str) -> Pipeline {
    config::parse(yaml, std::path::Path::new("/p/p.yaml")).unwrap_or_else(|error| panic!("{error}"))
}

/// A decoder of JSON by a pipeline file, with further columns.
pub(super) fn json_of(yaml: &str) -> (JsonDecoder, Layout) {
    let pipeline = pipeline(yaml);
    let encoding = pipeline.source.encoding().expect("messages");
    let fields = ["shop", "n", "on"].map(|name| At::default_value(name.to_string()));
    let types = columns::declared(encoding, pipeline.record.time.unit);
    let mut problems = Problems::new("p.yaml");
    let planned = columns::plan(&pipeline, encoding, &fields, &types, &mut problems);
    let (columns, layout) = problems.finish(planned).expect("no problems").expect("columns");
    (JsonDecoder::new(Arc::new(columns)).expect("columns"), layout)
}

/// A decoder of JSON.
pub fn json() -> Box<dyn Decoder> {
    Box::new(json_of(JSON).0)
}

/// A schema without references.
pub(super) fn schema(text: &str) -> Schema {
    Schema { id: ID, text: text.into(), references: Vec::new() }
}

/// A decoder that knows one schema, with a registry that never answers.
pub(super) fn framed(format: &str, newest: &Schema) -> Framed {
    planned(format, newest, &[]).0
}

/// The same with passthrough columns; and the result as text.
pub(super) fn planned(format: &str, newest: &Schema, fields: &[&str]) -> (Framed, String) {
    planned_with(format, newest, fields, "values: [v]")
}

/// The same with other values.
pub(super) fn planned_with(format: &str, newest: &Schema, fields: &[&str], values: &str) -> (Framed, String) {
    let pipeline = pipeline(&format!(
        "name: p\nsource: {{ kafka: {{ brokers: b, topic: t, partitioned_by: key, format: {{ {format}: {{ registry: \"http://127.0.0.1:9\" }} }} }} }}\n\
         record: {{ key: k, time: ts, {values} }}"
    ));
    let encoding = pipeline.source.encoding().expect("messages");
    let fields: Vec<At<String>> = fields.iter().map(|field| At::default_value((*field).to_string())).collect();
    let mut problems = Problems::new("p.yaml");
    let mut plan = |types: columns::TypeOf<'_>| {
        Arc::new(columns::plan(&pipeline, encoding, &fields, types, &mut problems).expect("columns").0)
    };
    // One schema here has another message before the one that is read.
    let message = newest.text.contains("message Other").then_some("shop.Sale");
    let (language, make, columns, described) = if format == "avro" {
        let reader = avro::AvroReaderSchema::new(newest).expect("a schema");
        let types = |name: &str, purpose| reader.type_of(name, purpose).ok();
        let columns = plan(&types);
        let described = reading::described(&columns, Language::Avro, &types);
        (Language::Avro, reader.bodies(columns.clone()), columns, described)
    } else {
        let reader = protobuf::ProtobufReaderSchema::new(newest, message).expect("a schema");
        let types = |name: &str, purpose| reader.type_of(name, purpose).ok();
        let columns = plan(&types);
        let described = reading::described(&columns, Language::Protobuf, &types);
        (Language::Protobuf, reader.bodies(columns.clone()), columns, described)
    };
    let (Format::Avro(source) | Format::Protobuf(source)) = &encoding.format.value else { panic!("no registry") };
    let registry = Arc::new(Registry::new(source).expect("a client"));
    let schemas = Arc::new(Schemas::new(Some(registry), &[]));
    let mut framed = Framed::new(columns, schemas, language, make);
    framed.learn(newest);
    (framed, described)
}

/// A decoder of one schema that stops at deletes: with these words of the source and of the record, and passthrough
/// columns; or the error in the schema.
pub(super) fn decoder_of(
    format: &str,
    source: &str,
    record: &str,
    fields: &[&str],
    text: &str,
) -> Result<Framed, String> {
    let yaml = format!(
        "name: p\nsource: {{ kafka: {{ brokers: b, topic: t, partitioned_by: key, format: {{ {format}: {{ registry: \
         \"http://127.0.0.1:9\" }} }}{source} }} }}\nrecord: {{ {record} }}"
    );
    let pipeline = pipeline(&yaml);
    let encoding = pipeline.source.encoding().expect("messages");
    let fields: Vec<At<String>> = fields.iter().map(|name| At::default_value((*name).to_string())).collect();
    let envelope = encoding.envelope.as_ref().map(|envelope| envelope.value);
    let (wrong, mut problems) = (std::cell::RefCell::new(String::new()), Problems::new("p.yaml"));
    let mut plan = |types: &dyn Fn(&str, columns::Use) -> Result<arrow::datatypes::DataType, String>| {
        let types = |name: &str, purpose| types(name, purpose).map_err(|why| *wrong.borrow_mut() = why).ok();
        let planned = columns::plan(&pipeline, encoding, &fields, &types, &mut problems);
        planned.map(|(columns, _)| Arc::new(columns)).ok_or_else(|| wrong.borrow().clone())
    };
    let planned = if format == "avro" {
        let reader = avro::AvroReaderSchema::within(&schema(text), envelope)?;
        plan(&|name, purpose| reader.type_of(name, purpose))
            .map(|columns| (Language::Avro, columns.clone(), reader.bodies(columns)))
    } else {
        let reader = protobuf::ProtobufReaderSchema::within(&schema(text), None, envelope)?;
        plan(&|name, purpose| reader.type_of(name, purpose))
            .map(|columns| (Language::Protobuf, columns.clone(), reader.bodies(columns)))
    };
    problems.finish(()).map_err(|error| error.to_string())?;
    let (language, columns, bodies) = planned?;
    let (Format::Avro(source) | Format::Protobuf(source)) = &encoding.format.value else { panic!("no registry") };
    let schemas = Schemas::new(Some(Arc::new(Registry::new(source).expect("a client"))), &[]);
    let mut framed = Framed::new(columns, Arc::new(schemas), language, bodies);
    framed.learn(&schema(text));
    framed.stop_at_deletes();
    Ok(framed)
}

/// One message as `key time values passthrough`, or why it is none.
#[cfg(test)]
pub(super) fn read_one(decoder: &mut dyn Decoder, key: &[u8], payload: &[u8]) -> String {
    let mut messages = Messages::default();
    messages.push(0, 1000, Some(key), Some(payload));
    let decoded = decoder.decode(&messages, 0..1, &mut Decided::default()).expect("decoded");
    if let Some(deleted) = decoded.deleted {
        return format!("deleted {:?}", deleted.key.map(|key| String::from_utf8_lossy(&key).into_owned()));
    }
    if let Some((_, reason)) = decoded.records.bad.first() {
        return format!("{reason}: {}", decoded.details.first().map_or("", |(_, detail)| detail));
    }
    let records = &decoded.records;
    let cell = |array: &arrow::array::ArrayRef| match array.is_null(0) {
        true => "null".to_string(),
        false => array_value_to_string(array, 0).expect("a value"),
    };
    let passthrough: Vec<String> = records.passthrough.iter().map(cell).collect();
    let values: Vec<f64> = records.values.iter().map(|all| all[0]).collect();
    format!("{} {} {values:?} {passthrough:?}", String::from_utf8_lossy(records.key(0)), records.times[0])
}

/// A decoder by a pipeline file, of Avro with keys in Avro.
#[cfg(test)]
pub(super) fn framed_with_keys(yaml: &str, newest: &Schema, keys: super::schema_key::SchemaKeys) -> Framed {
    let pipeline = pipeline(yaml);
    let encoding = pipeline.source.encoding().expect("messages");
    let Format::Avro(source) = &encoding.format.value else { panic!("no registry") };
    let reader = avro::AvroReaderSchema::new(newest).expect("a schema");
    let types = |name: &str, purpose| reader.type_of(name, purpose).ok();
    let mut problems = Problems::new("p.yaml");
    let columns = columns::plan(&pipeline, encoding, &[], &types, &mut problems).expect("columns").0;
    let columns = Arc::new(columns);
    let registry = Arc::new(Registry::new(source).expect("a client"));
    let schemas = Arc::new(Schemas::new(Some(registry), &[]));
    let mut framed =
        Framed::new(columns.clone(), schemas, Language::Avro, reader.bodies(columns)).with_keys(Some(keys));
    framed.learn(newest);
    framed
}

/// A decoder of Avro; `wide`: of a schema with types of all kinds.
pub fn avro(wide: bool) -> Box<dyn Decoder> {
    let mut framed = framed("avro", &schema(AVRO));
    framed.learn(&schema(if wide { WIDE } else { AVRO }));
    Box::new(framed)
}

/// A decoder of Protobuf.
pub fn protobuf() -> Box<dyn Decoder> {
    Box::new(framed("protobuf", &schema(PROTO)))
}

/// Reads a body by a schema of others, in `avro` or `protobuf`; what is refused is as good as what is read.
pub fn by_schema(format: &str, text: &str, body: &[u8]) {
    let message = [in_frame(body)];
    for (record, fields) in
        [("key: k, time: ts, values: [v]", &["s", "d.e"][..]), ("key: k, time: ts, values: [d.v]", &[])]
    {
        if let Ok(mut decoder) = decoder_of(format, "", record, fields, text) {
            decode(&mut decoder, &message);
        }
    }
}

/// A body in Confluent's frame, of the one schema there is.
pub fn in_frame(body: &[u8]) -> Vec<u8> {
    let mut framed = Vec::with_capacity(body.len() + 5);
    put_frame(ID, &mut framed);
    framed.extend_from_slice(body);
    framed
}
