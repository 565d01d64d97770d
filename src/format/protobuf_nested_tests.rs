//! Fields within messages, and Debezium's envelope, in Protobuf.

use prost::Message;

use super::*;
use crate::config::At;
use crate::error::Problems;
use crate::format::framed::Framed;
use crate::format::law::{in_frame, pipeline, schema};
use crate::format::registry::Registry;
use crate::format::schema::Language;
use crate::format::schemas::Schemas;
use crate::format::{Decided, Decoder, Messages, columns};

const ENVELOPE: &str = "syntax = \"proto3\"; package db;
    message Envelope { Row before = 1; Row after = 2; Source source = 3; string op = 4; optional int64 ts_ms = 5; }
    message Row { int64 id = 1; optional double v = 2; Deep deep = 3; }
    message Deep { string note = 1; }
    message Source { int64 ts_ms = 1; repeated int64 lsn = 2; }";

fn decoder(source: &str, record: &str, fields: &[&str]) -> Result<Framed, String> {
    let yaml = format!(
        "name: p\nsource: {{ kafka: {{ brokers: b, topic: t, partitioned_by: key, format: {{ protobuf: {{ registry: \
         \"http://127.0.0.1:9\" }} }}{source} }} }}\nrecord: {{ {record} }}"
    );
    let pipeline = pipeline(&yaml);
    let encoding = pipeline.source.encoding().unwrap();
    let fields: Vec<At<String>> = fields.iter().map(|name| At::default_value((*name).to_string())).collect();
    let envelope = encoding.envelope.as_ref().map(|envelope| envelope.value);
    let reader = ProtobufReaderSchema::within(&schema(ENVELOPE), None, envelope)?;
    let wrong = std::cell::RefCell::new(String::new());
    let types = |name: &str, purpose| reader.type_of(name, purpose).map_err(|why| *wrong.borrow_mut() = why).ok();
    let mut problems = Problems::new("p.yaml");
    let planned = columns::plan(&pipeline, encoding, &fields, &types, &mut problems);
    let columns = Arc::new(planned.ok_or_else(|| wrong.borrow().clone())?.0);
    let crate::config::Format::Protobuf(source) = &encoding.format.value else { panic!("no registry") };
    let schemas = Arc::new(Schemas::new(Some(Arc::new(Registry::new(source).unwrap())), &[]));
    let mut framed = Framed::new(columns.clone(), schemas, Language::Protobuf, reader.bodies(columns));
    framed.learn(&schema(ENVELOPE));
    framed.stop_at_deletes();
    Ok(framed)
}

fn message(name: &str, fields: &[(&str, Value)]) -> Value {
    let all = messages(&schema(ENVELOPE)).unwrap();
    let descriptor = all.iter().find(|message| message.name() == name).unwrap();
    let mut message = DynamicMessage::new(descriptor.clone());
    fields.iter().for_each(|(name, value)| message.set_field_by_name(name, value.clone()));
    Value::Message(message)
}

fn payload(fields: &[(&str, Value)]) -> Vec<u8> {
    let Value::Message(envelope) = message("Envelope", fields) else { panic!("no message") };
    in_frame(&[&[0][..], &envelope.encode_to_vec()].concat())
}

fn shown(decoder: &mut Framed, payload: &[u8]) -> String {
    let mut messages = Messages::default();
    messages.push(0, 1000, Some(b"key"), Some(payload));
    let decoded = decoder.decode(&messages, 0..1, &mut Decided::default()).unwrap();
    if let Some(deleted) = decoded.deleted {
        return format!("deleted {:?}", deleted.key.map(|key| String::from_utf8(key).unwrap()));
    }
    if let Some((_, reason)) = decoded.records.bad.first() {
        return format!("{reason}: {}", decoded.details.first().map_or("", |(_, detail)| detail));
    }
    let (records, shown) = (&decoded.records, arrow::util::display::array_value_to_string);
    let passthrough: Vec<String> = records.passthrough.iter().map(|array| shown(array, 0).unwrap()).collect();
    let (key, values) = (String::from_utf8_lossy(records.key(0)).into_owned(), &records.values);
    format!("{key} {} {:?} {passthrough:?}", records.times[0], values.iter().map(|all| all[0]).collect::<Vec<_>>())
}

#[test]
fn a_field_within_a_message_is_a_column() {
    let record = "time: { column: source.ts_ms, unit: ms }, values: ";
    let text = |text: &str| Value::String(text.into());
    let row = |v: f64| {
        message(
            "Row",
            &[("id", Value::I64(7)), ("v", Value::F64(v)), ("deep", message("Deep", &[("note", text("x"))]))],
        )
    };
    let source = || ("source", message("Source", &[("ts_ms", Value::I64(12))]));
    let mut nested = decoder("", &format!("key: after.id, {record} [after.v]"), &["after.deep.note", "op"]).unwrap();
    let found = shown(&mut nested, &payload(&[("after", row(1.5)), source(), ("op", text("c"))]));
    assert_eq!(found, r#"7 12 [1.5] ["x", "c"]"#);
    let without = message("Row", &[("id", Value::I64(8))]);
    assert_eq!(shown(&mut nested, &payload(&[("after", without), source()])), r#"8 12 [NaN] ["", ""]"#);
    let found = shown(&mut nested, &payload(&[source()]));
    assert!(found.starts_with("null_key: field \"after.id\" is missing or null"), "{found}");

    let mut changes =
        decoder(", envelope: debezium", &format!("key: id, {record} [v]"), &["deep.note", "envelope.op"]).unwrap();
    let found = shown(&mut changes, &payload(&[("after", row(1.5)), source(), ("op", text("u"))]));
    assert_eq!(found, r#"7 12 [1.5] ["x", "u"]"#);
    assert_eq!(
        shown(&mut changes, &payload(&[("before", row(1.5)), source(), ("op", text("d"))])),
        "deleted Some(\"7\")"
    );
    let found = shown(&mut changes, &payload(&[source(), ("op", text("c"))]));
    assert!(found.starts_with("bad_envelope: \"op\" is \"c\""), "{found}");

    for (name, why) in [
        ("after.w", "there is no field \"w\" in db.Row (there are: id, v, deep)"),
        ("op.w", "field \"op\" in db.Envelope is no message, and has no fields"),
        ("after.deep", "field \"after.deep\" is message db.Deep, which can't be used as Value"),
    ] {
        let found = decoder("", &format!("key: after.id, {record} [{name}]"), &[]).err().unwrap();
        assert!(found.starts_with(why.split(" is message").next().unwrap()), "{found}");
    }
}
