//! Schemas that change in compatible ways: old messages with the new reader, new messages with the old one that is
//! pinned, and state that continues.

use arrow::array::AsArray;
use prost::Message;
use prost_reflect::{DynamicMessage, Value};

use super::*;
use crate::format::Decoded;
use crate::format::frame::put_frame;
use crate::format::law::{bad, decode, planned};
use crate::format::protobuf;
use crate::format::reading::was;

const OLD: u32 = 7;
const NEW: u32 = 8;

fn schema(id: u32, text: &str) -> Schema {
    Schema { id, text: text.into(), references: Vec::new() }
}

/// What is read of a message.
#[derive(Debug, PartialEq)]
struct Read {
    key: String,
    time: i64,
    value: f64,
    kind: Option<String>,
    bad: Option<&'static str>,
}

fn read(decoded: &Decoded) -> Read {
    let records = &decoded.records;
    let kinds = records.passthrough[0].as_string::<i32>();
    let read = Read {
        key: String::from_utf8(records.key(0).to_vec()).unwrap(),
        time: records.times[0],
        value: records.values[0][0],
        kind: kinds.iter().next().flatten().map(str::to_string),
        bad: bad(decoded, 0),
    };
    assert!(read.bad.is_none(), "{read:?} {:?}", decoded.details);
    read
}

/// Reads one message, of the writer's schema, with the reader's.
fn through(format: &str, reader: &Schema, writer: &Schema, payload: &[u8]) -> Read {
    let (mut framed, _) = planned(format, reader, &["kind"]);
    framed.learn(writer);
    read(&decode(&mut framed, &[payload.to_vec()]))
}

/// Both directions, and that the same is read as far as state is concerned.
fn holds(what: &str, format: &str, (old, old_payload): (&str, &[u8]), (new, new_payload): (&str, &[u8]), kind: &str) {
    let (old, new) = (schema(OLD, old), schema(NEW, new));
    let expected = |kind: &str| Read { key: "a".into(), time: 5, value: 3.0, kind: Some(kind.into()), bad: None };
    assert_eq!(through(format, &new, &old, old_payload), expected("B"), "{format}: {what}: an old message");
    assert_eq!(through(format, &old, &new, new_payload), expected(kind), "{format}: {what}: a new message");
    assert_eq!(planned(format, &old, &["kind"]).1, planned(format, &new, &["kind"]).1, "{format}: {what}");
}

/// A part of an Avro body.
enum Part {
    Number(i64),
    Double(f64),
    Text(&'static str),
}

use Part::{Double, Number, Text};

fn avro(id: u32, parts: &[Part]) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_frame(id, &mut bytes);
    let number = |number: i64, bytes: &mut Vec<u8>| {
        let mut rest = ((number << 1) ^ (number >> 63)) as u64;
        while rest >= 0x80 {
            bytes.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        bytes.push(rest as u8);
    };
    for part in parts {
        match part {
            Number(n) => number(*n, &mut bytes),
            Double(value) => bytes.extend(value.to_le_bytes()),
            Text(text) => {
                number(text.len() as i64, &mut bytes);
                bytes.extend(text.as_bytes());
            }
        }
    }
    bytes
}

const AVRO: &str = r#"{"type":"record","name":"Sale","namespace":"shop","fields":[
    {"name":"k","type":"string"},{"name":"ts","type":"long"},{"name":"v","type":"int"},
    {"name":"kind","type":{"type":"enum","name":"Kind","symbols":["A","B"]}}]}"#;

/// The fields of AVRO, for the record of a name.
fn record(name: &str, fields: &str) -> String {
    format!(r#"{{"type":"record",{name},"fields":[{fields}]}}"#)
}

#[test]
fn avro_schemas_may_change() {
    let same = || vec![Text("a"), Number(5), Number(3), Number(1)];
    let sale = r#""name":"Sale","namespace":"shop""#;
    let kind = r#"{"type":"enum","name":"Kind","symbols":["A","B"]}"#;
    let fields = |v: &str, kind: &str| {
        format!(
            r#"{{"name":"k","type":"string"}},{{"name":"ts","type":"long"}},{{"name":"v","type":{v}}},{{"name":"kind","type":{kind}}}"#
        )
    };
    let noted = r#"{"name":"k","type":{"type":"string","avro.java.string":"String","logicalType":"uuid"},"doc":"of a shop"},
        {"name":"ts","type":{"type":"long","connect.version":1,"connect.name":"x"},"default":0,"aliases":["at"]},
        {"name":"v","type":"int","default":7},
        {"name":"kind","type":{"type":"enum","name":"Kind","symbols":["A","B"],"doc":"d","default":"A"},"default":"A"}"#;
    let turned = format!(
        r#"{{"name":"kind","type":{kind}}},{{"name":"v","type":"int"}},{{"name":"k","type":"string"}},{{"name":"ts","type":"long"}}"#
    );
    let nullable = format!(
        r#"{{"name":"k","type":["null","string"],"default":null}},{{"name":"ts","type":["long","null"]}},
        {{"name":"v","type":["null","int"]}},{{"name":"kind","type":["null",{kind}]}}"#
    );
    let wider = r#"{"type":"enum","name":"Kind","symbols":["C","A","B"]}"#;
    let renamed = r#"{"type":"enum","name":"Sort","namespace":"other","symbols":["A","B"]}"#;
    let more = format!(r#"{},{{"name":"note","type":"string","default":"-"}}"#, fields("\"int\"", kind));
    for (what, text, parts, kind) in [
        (
            "annotations",
            record(&format!(r#"{sale},"doc":"d","aliases":["Old"],"connect.version":2"#), noted),
            same(),
            "B",
        ),
        ("the order of fields", record(sale, &turned), vec![Number(1), Number(3), Text("a"), Number(5)], "B"),
        (
            "nullable",
            record(sale, &nullable),
            vec![Number(1), Text("a"), Number(0), Number(5), Number(1), Number(3), Number(1), Number(1)],
            "B",
        ),
        ("double", record(sale, &fields("\"double\"", kind)), vec![Text("a"), Number(5), Double(3.0), Number(1)], "B"),
        ("long", record(sale, &fields("\"long\"", kind)), same(), "B"),
        (
            "a union of numbers",
            record(sale, &fields(r#"["null","double"]"#, kind)),
            vec![Text("a"), Number(5), Number(1), Double(3.0), Number(1)],
            "B",
        ),
        (
            "a new symbol",
            record(sale, &fields("\"int\"", wider)),
            vec![Text("a"), Number(5), Number(3), Number(0)],
            "C",
        ),
        ("another enum", record(sale, &fields("\"int\"", renamed)), same(), "B"),
        ("another record", record(r#""name":"Sale2","namespace":"shop""#, &fields("\"int\"", kind)), same(), "B"),
        ("another namespace", record(r#""name":"market.Sale""#, &fields("\"int\"", kind)), same(), "B"),
        ("a new field", record(sale, &more), vec![Text("a"), Number(5), Number(3), Number(1), Text("x")], "B"),
    ] {
        holds(what, "avro", (AVRO, &avro(OLD, &same())), (&text, &avro(NEW, &parts)), kind);
    }
}

/// A type that is defined where nothing is read of it, and named where something is; and one that only the reader's
/// schema has.
#[test]
fn avro_types_are_found_by_their_names() {
    let named = |more: &str| {
        record(
            r#""name":"Sale","namespace":"shop""#,
            &format!(
                r#"{{"name":"old","type":{{"type":"enum","name":"Key","symbols":["a","B"]}}}},{{"name":"k","type":"Key"}},
                {{"name":"ts","type":"long"}},{{"name":"v","type":"int"}}{more}"#
            ),
        )
    };
    let writer = schema(OLD, &named(""));
    let reader = schema(NEW, &named(r#",{"name":"kind","type":["shop.Key","null"],"default":"B"}"#));
    let payload = avro(OLD, &[Number(1), Number(0), Number(5), Number(3)]);
    let expected = Read { key: "a".into(), time: 5, value: 3.0, kind: Some("B".into()), bad: None };
    assert_eq!(through("avro", &reader, &writer, &payload), expected);
}

/// A time that was an int, and one that is null.
#[test]
fn avro_times_may_change() {
    let of = |data_type: &str| AVRO.replace("\"long\"", data_type);
    let payload = |id| avro(id, &[Text("a"), Number(5), Number(3), Number(1)]);
    let (int, long) = (of("\"int\""), of("\"long\""));
    holds("an int", "avro", (&int, &payload(OLD)), (&long, &payload(NEW)), "B");
    // Ticks of another length are another time, which state can't be held against; a message is read all the same.
    let timestamp = |unit: &str| of(&format!(r#"{{"type":"long","logicalType":"timestamp-{unit}"}}"#));
    let (millis, micros) = (schema(OLD, &timestamp("millis")), schema(NEW, &timestamp("micros")));
    assert_ne!(planned("avro", &millis, &[]).1, planned("avro", &micros, &[]).1);
    let payload = avro(NEW, &[Text("a"), Number(5_999), Number(3), Number(1)]);
    assert_eq!(through("avro", &millis, &micros, &payload).time, 5);
}

#[test]
fn what_an_avro_writer_lacks_has_the_readers_default() {
    let writer = schema(OLD, &record(r#""name":"S""#, r#"{"name":"key","type":"string"},{"name":"ts","type":"long"}"#));
    let payload = avro(OLD, &[Text("a"), Number(5)]);
    let with = |v: &str, kind: &str| {
        let fields =
            format!(r#"{{"name":"k","type":"string","aliases":["key"]}},{{"name":"ts","type":"long"}},{v},{kind}"#);
        schema(NEW, &record(r#""name":"Sale""#, &fields))
    };
    let kind = r#"{"name":"kind","type":{"type":"enum","name":"Kind","symbols":["A","B"]},"default":"B"}"#;
    let reader = with(r#"{"name":"v","type":"int","default":3}"#, kind);
    let expected = Read { key: "a".into(), time: 5, value: 3.0, kind: Some("B".into()), bad: None };
    assert_eq!(through("avro", &reader, &writer, &payload), expected);
    // Null, if a missing value means null; and no record if it doesn't.
    let reader = with(r#"{"name":"v","type":["null","int"]}"#, kind);
    assert!(through("avro", &reader, &writer, &payload).value.is_nan());
    let (mut framed, _) = planned("avro", &with(r#"{"name":"v","type":"int"}"#, kind), &["kind"]);
    framed.learn(&writer);
    assert_eq!(bad(&decode(&mut framed, &[payload]), 0), Some("bad_schema"));
}

#[test]
fn what_can_not_be_read_without_loss_is_a_bad_schema() {
    let reader = schema(OLD, &AVRO.replace(r#"{"type":"enum","name":"Kind","symbols":["A","B"]}"#, "\"int\""));
    let writer = schema(NEW, &AVRO.replace(r#"{"type":"enum","name":"Kind","symbols":["A","B"]}"#, "\"double\""));
    let (mut framed, _) = planned("avro", &reader, &["kind"]);
    framed.learn(&writer);
    let payload = avro(NEW, &[Text("a"), Number(5), Number(3), Double(1.5)]);
    assert_eq!(bad(&decode(&mut framed, &[payload]), 0), Some("bad_schema"));
}

const PROTO: &str = "syntax = \"proto3\"; package shop;
    enum Kind { NONE = 0; A = 1; B = 2; }
    message Sale { string k = 1; int64 ts = 2; int32 v = 3; Kind kind = 4; }";

/// A message of the first type of a schema.
fn proto(id: u32, text: &str, value: Value, kind: i32) -> Vec<u8> {
    let descriptor = protobuf::messages(&schema(id, text)).unwrap()[0].clone();
    let mut message = DynamicMessage::new(descriptor.clone());
    message.set_field_by_name("k", Value::String("a".into()));
    message.set_field_by_name("ts", Value::I64(5));
    let field = descriptor.get_field_by_name("v").unwrap();
    match field.kind().as_message() {
        Some(wrapper) => {
            let mut wrapped = DynamicMessage::new(wrapper.clone());
            wrapped.set_field_by_name("value", value);
            message.set_field(&field, Value::Message(wrapped));
        }
        None => message.set_field(&field, value),
    }
    message.set_field_by_name("kind", Value::EnumNumber(kind));
    let mut bytes = Vec::new();
    put_frame(id, &mut bytes);
    bytes.push(0);
    message.encode(&mut bytes).unwrap();
    bytes
}

#[test]
fn protobuf_schemas_may_change() {
    let with = |from: &str, to: &str| PROTO.replace(from, to);
    let wrapped = PROTO.replace("package shop;", "package shop; import \"google/protobuf/wrappers.proto\";");
    for (what, text, value, number, kind) in [
        ("annotations", with("int64 ts = 2;", "/* when */ int64 ts = 2 [deprecated = true];"), Value::I32(3), 2, "B"),
        (
            "the order of fields",
            with("string k = 1; int64 ts = 2; int32 v = 3;", "int32 v = 3; int64 ts = 2; string k = 1;"),
            Value::I32(3),
            2,
            "B",
        ),
        ("nullable", with("int32 v", "optional int32 v"), Value::I32(3), 2, "B"),
        ("a wrapper", wrapped.replace("int32 v", "google.protobuf.Int32Value v"), Value::I32(3), 2, "B"),
        ("double", with("int32 v", "double v"), Value::F64(3.0), 2, "B"),
        ("long", with("int32 v", "int64 v"), Value::I64(3), 2, "B"),
        ("a new symbol", with("B = 2;", "B = 2; C = 3;"), Value::I32(3), 3, "C"),
        ("another enum", PROTO.replace("Kind", "Sort"), Value::I32(3), 2, "B"),
        ("another message", with("message Sale", "message Sale2"), Value::I32(3), 2, "B"),
        ("another package", with("package shop", "package market"), Value::I32(3), 2, "B"),
        ("a new field", with("Kind kind = 4;", "Kind kind = 4; string note = 5;"), Value::I32(3), 2, "B"),
    ] {
        let old = proto(OLD, PROTO, Value::I32(3), 2);
        holds(what, "protobuf", (PROTO, &old), (&text, &proto(NEW, &text, value, number)), kind);
    }
}

#[test]
fn another_message_of_a_protobuf_schema_is_still_another() {
    // The wanted message is there, under its name: what is in its old place is not it.
    let moved = PROTO.replace(
        "message Sale",
        "message Other { string k = 1; int64 ts = 2; int32 v = 3; Kind kind = 4; } message Sale",
    );
    let (mut framed, _) = planned("protobuf", &schema(OLD, PROTO), &["kind"]);
    framed.learn(&schema(NEW, &moved));
    let decoded = decode(&mut framed, &[proto(NEW, &moved, Value::I32(3), 2)]);
    assert_eq!(bad(&decoded, 0), Some("bad_protobuf"));
}

/// The texts are those that the version before wrote.
#[test]
fn what_an_earlier_version_wrote_is_understood() {
    let avro = r#"Avro {"fields":[{"name":"k","type":"string"},{"name":"ts","type":"long"},{"name":"v","type":["null","double"]},{"name":"kind","type":{"name":"Kind","symbols":["A","B"],"type":"enum"}}],"name":"Sale","namespace":"shop","type":"record"}"#;
    let protobuf = "Protobuf shop.Sale k Some(Utf8), kind Some(Utf8), ts Some(Int64), v Some(Float64)";
    for (format, language, now, before, others) in [
        (
            "avro",
            Language::Avro,
            AVRO,
            avro,
            [
                avro.replace(r#"{"name":"k","type":"string"}"#, r#"{"name":"k","type":"long"}"#),
                avro.replace(r#""name":"v""#, r#""name":"w""#),
                avro.replace(r#""type":"long"}"#, r#""type":{"type":"long","logicalType":"timestamp-millis"}}"#),
                avro.replace("Avro", "Protobuf"),
            ],
        ),
        (
            "protobuf",
            Language::Protobuf,
            PROTO,
            protobuf,
            [
                protobuf.replace("k Some(Utf8)", "k Some(Int64)"),
                protobuf.replace("v Some", "w Some"),
                protobuf.replace("ts Some(Int64)", "ts Some(Timestamp(Microsecond, Some(\"UTC\")))"),
                protobuf.replace("Protobuf", "Avro"),
            ],
        ),
    ] {
        let (framed, described) = planned(format, &schema(NEW, now), &["kind"]);
        let is = |before: &str| was(before, &described, &framed.columns, language);
        assert!(is(before), "{before} is not {described}");
        for other in others {
            assert!(!is(&other), "{other} is {described}");
        }
    }
}
