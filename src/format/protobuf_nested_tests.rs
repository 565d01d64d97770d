//! Fields within messages, and Debezium's envelope, in Protobuf.

use prost::Message;

use super::*;
use crate::format::framed::Framed;
use crate::format::law::{decoder_of, in_frame, read_one, schema};

const ENVELOPE: &str = "syntax = \"proto3\"; package db;
    message Envelope { Row before = 1; Row after = 2; Source source = 3; string op = 4; optional int64 ts_ms = 5; }
    message Row { int64 id = 1; optional double v = 2; Deep deep = 3; }
    message Deep { string note = 1; }
    message Source { int64 ts_ms = 1; repeated int64 lsn = 2; }";

fn decoder(source: &str, record: &str, fields: &[&str]) -> Result<Framed, String> {
    decoder_of("protobuf", source, record, fields, ENVELOPE)
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
    read_one(decoder, b"key", payload)
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
    assert_eq!(shown(&mut nested, &payload(&[("after", without), source()])), r#"8 12 [NaN] ["null", ""]"#);
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

#[test]
fn times_keys_and_decimals_of_every_type() {
    let of = |ts: &str, key: &str| {
        format!("syntax = \"proto3\"; message S {{ {key} id = 1; {ts} ts = 2; double v = 3; Own own = 4; message Own {{ int32 scale = 1; bytes value = 2; }} }}")
            .replace("Own ", "VariableScaleDecimal ")
    };
    let read = |unit: &str, schema: &str, body: &[u8]| {
        let record = format!("key: id, time: {{ column: ts{unit} }}, values: [v]");
        decoder_of("protobuf", "", &record, &["own"], schema)
            .map(|mut decoder| shown(&mut decoder, &in_frame(&[&[0][..], body].concat())))
    };
    let v = [&[25][..], &1.5_f64.to_le_bytes(), &[34, 6, 8, 2, 18, 2, 0x04, 0xe2]].concat();
    let double = |time: f64| [&[17][..], &time.to_le_bytes()].concat();
    let text = |text: &str| [&[18, text.len() as u8][..], text.as_bytes()].concat();
    let row = |key: &[u8], ts: Vec<u8>| [key, &ts, &v].concat();
    let tail = r#"[1.5] ["12.50"]"#;
    for (unit, ts, key, body, expected) in [
        (", unit: float_s", "double", "bool", row(&[8, 1], double(0.5)), format!("true 500000 {tail}")),
        (
            ", unit: float_ms",
            "float",
            "bytes",
            row(&[10, 2, 0, 255], [&[21][..], &0.5_f32.to_le_bytes()].concat()),
            format!("00ff 500 {tail}"),
        ),
        ("", "string", "string", row(&[10, 1, b'a'], text("1970-01-01T00:00:01Z")), format!("a 1000000 {tail}")),
    ] {
        assert_eq!(read(unit, &of(ts, key), &body), Ok(expected), "{ts} {key}");
    }
    let record = "key: id, time: ts, values: [own]";
    let mut number = decoder_of("protobuf", "", record, &[], &of("string", "string")).unwrap();
    let body = [&[0][..], &row(&[10, 1, b'a'], text("1970-01-01"))].concat();
    assert_eq!(shown(&mut number, &in_frame(&body)), "a 0 [12.5] []");
    let none = read("", &of("string", "string"), &row(&[10, 1, b'a'], vec![])).unwrap();
    assert!(none.starts_with("null_time"), "{none}");
    let wrong = read("", &of("string", "string"), &row(&[10, 1, b'a'], text("soon"))).unwrap();
    assert!(wrong.starts_with("bad_value: field \"ts\": expected a time such as"), "{wrong}");
    let why = read(", unit: s", &of("double", "string"), &[]).unwrap_err();
    assert!(why.contains("the time is Float64: `unit: float_s`"), "{why}");
}
