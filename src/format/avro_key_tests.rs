//! Keys in Avro: their text, whatever the id of their schema, and what is none.

use super::*;
use crate::config::Format;
use std::sync::Arc;

use crate::format::frame::put_frame;
use crate::format::law::{AVRO, ID, in_frame, pipeline, schema};
use crate::format::registry::Registry;
use crate::format::schema::Language;
use crate::format::schema_key::SchemaKeys;
use crate::format::schemas::Schemas;
use crate::format::{Decided, DecodeError, Decoder, Messages, law};

const PIPELINE: &str = "
name: p
source: { kafka: { brokers: b, topic: t, key: { column: k, format: avro }, format: { avro: { registry: \"http://127.0.0.1:9\" } } } }
record: { key: k, time: ts, values: [v] }";

/// Keys that know these schemas, of a registry that never answers.
fn keys(schemas: &[(u32, &str)]) -> SchemaKeys {
    keys_of(schemas, None)
}

fn keys_of(schemas: &[(u32, &str)], field: Option<&str>) -> SchemaKeys {
    let pipeline = pipeline(PIPELINE);
    let Format::Avro(source) = &pipeline.source.encoding().unwrap().format.value else { panic!("no registry") };
    let registry = Arc::new(Registry::new(source).unwrap());
    let field = field.map(str::to_string);
    let mut keys = SchemaKeys::new(Arc::new(Schemas::new(Some(registry), &[])), Language::Avro, field);
    for (id, text) in schemas {
        keys.learn(&Schema { id: *id, ..schema(text) });
    }
    keys
}

fn framed(id: u32, body: &[u8]) -> Vec<u8> {
    let mut key = Vec::new();
    put_frame(id, &mut key);
    key.extend_from_slice(body);
    key
}

/// The text of a key, or why it is none.
fn text(keys: &SchemaKeys, key: &[u8]) -> Result<String, (&'static str, String)> {
    let mut messages = Messages::default();
    messages.push(0, 0, Some(key), None);
    keys.text(&messages, 0).unwrap()
}

#[test]
fn a_key_is_its_value() {
    let record = r#"{"type":"record","name":"K","doc":"d","fields":[{"name":"shop","type":TYPE}]}"#;
    for (schema, body, expected) in [
        (r#""string""#, &b"\x0cshop-1"[..], Ok("shop-1")),
        (r#"{"type":"string","avro.java.string":"String"}"#, b"\x02a", Ok("a")),
        (r#"{"type":"string","logicalType":"uuid"}"#, b"\x02a", Ok("a")),
        (r#""int""#, &[3], Ok("-2")),
        (r#"{"type":"int"}"#, &[0xfe, 0xff, 0xff, 0xff, 0x0f], Ok("2147483647")),
        (r#""long""#, &[255, 255, 255, 255, 255, 255, 255, 255, 255, 1], Ok("-9223372036854775808")),
        (r#""boolean""#, &[1], Ok("true")),
        (r#""bytes""#, &[4, 0, 171], Ok("00ab")),
        (r#"{"type":"fixed","name":"F","size":2}"#, &[1, 255], Ok("01ff")),
        (
            r#"{"type":"fixed","name":"U","size":16,"logicalType":"uuid"}"#,
            &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255],
            Ok("00010203-0405-0607-0809-0a0b0c0d0eff"),
        ),
        (r#"{"type":"enum","name":"E","symbols":["A","B"]}"#, &[2], Ok("B")),
        (r#"["null","string"]"#, b"\x02\x02a", Ok("a")),
        (r#"["null","string"]"#, &[0], Err("null_key")),
        (r#""string""#, b"\x0csho", Err("bad_key")),
        (r#""string""#, b"\x02ab", Err("bad_key")),
        (r#""string""#, &[1], Err("bad_key")),
        (r#""string""#, &[2, 255], Err("bad_key")),
        (r#""int""#, &[0x80, 0x80, 0x80, 0x80, 0x10], Err("bad_key")),
        (r#""long""#, &[255; 12], Err("bad_key")),
        (r#""boolean""#, &[2], Err("bad_key")),
        (r#"{"type":"enum","name":"E","symbols":["A","B"]}"#, &[4], Err("bad_key")),
        (r#""double""#, &[0; 8], Err("bad_key")),
        (r#"{"type":"int","logicalType":"date"}"#, &[2], Err("bad_key")),
        (r#"{"type":"array","items":"string"}"#, &[0], Err("bad_key")),
    ] {
        for schema in [schema.to_string(), record.replace("TYPE", schema)] {
            let found = text(&keys(&[(ID, &schema)]), &framed(ID, body));
            let found = found.as_deref().map_err(|(reason, _)| *reason);
            assert_eq!(found, expected, "{schema} {body:?}");
        }
    }
    let two = r#"{"type":"record","name":"K","fields":[{"name":"a","type":"int"},{"name":"b","type":"int"}]}"#;
    let (reason, detail) = text(&keys(&[(ID, two)]), &framed(ID, &[0, 2])).unwrap_err();
    assert!(reason == "bad_key" && detail.contains("a record of 2 fields: a key is one value"), "{detail}");
    assert_eq!(text(&keys_of(&[(ID, two)], Some("b")), &framed(ID, &[0, 2])).as_deref(), Ok("1"));
    assert_eq!(text(&keys_of(&[(ID, two)], Some("a")), &framed(ID, &[0, 2])).as_deref(), Ok("0"));
    let (_, detail) = text(&keys_of(&[(ID, two)], Some("c")), &framed(ID, &[0, 2])).unwrap_err();
    assert!(detail.contains("there is no field \"c\" in the schema"), "{detail}");
    let (reason, detail) = text(&keys(&[]), b"shop-1").unwrap_err();
    assert!(reason == "bad_key" && detail.contains("expected Confluent's frame"), "{detail}");
}

#[test]
fn the_id_is_no_part_of_the_key_and_an_unknown_one_is_decided_once() {
    let mut decoder = law::framed_with_keys(PIPELINE, &schema(AVRO), keys(&[(3, r#""string""#), (300, r#""string""#)]));
    let value = in_frame(b"\x02x\x02\x02\0\0\0\0\0\0\xf8\x3f");
    let mut messages = Messages::default();
    for (offset, key) in [(0, framed(3, b"\x02a")), (1, framed(300, b"\x02a")), (2, b"a".to_vec())] {
        messages.push(offset, 0, Some(&key), Some(&value));
    }
    messages.push(3, 0, Some(&framed(300, b"\x02a")), None);
    messages.push(4, 0, Some(&framed(9, b"\x02a")), Some(&value));
    messages.push(5, 0, Some(&framed(9, b"\x02a")), None);
    let mut decided = Decided::default();
    let decoded = decoder.decode(&messages, 0..3, &mut decided).unwrap();
    assert_eq!([0, 1].map(|index| decoded.records.key(index)), [b"a", b"a"]);
    assert_eq!(decoded.records.bad, [(2, "bad_key")]);
    assert_eq!(decoder.key_of(&messages, 3, &mut decided).unwrap().as_deref(), Some(&b"a"[..]));
    assert_eq!(decided, Decided::default());
    // Without an answer nothing is decided, neither for a message nor for a tombstone.
    assert!(matches!(decoder.decode(&messages, 4..5, &mut decided), Err(DecodeError::Unavailable(_))));
    assert!(matches!(decoder.key_of(&messages, 5, &mut decided), Err(DecodeError::Unavailable(_))));
    assert_eq!(decided, Decided::default());
    let mut decided = Decided { replay: true, unknown: std::iter::once(4..6).collect() };
    let decoded = decoder.decode(&messages, 4..5, &mut decided).unwrap();
    assert_eq!(decoded.records.bad, [(0, "unknown_schema")]);
    assert_eq!(decoder.key_of(&messages, 5, &mut decided).unwrap(), None);
}
