//! Avro and Protobuf under any bytes: one record for each message, and each as if it had come alone.

use std::sync::Arc;

use arrow::array::{Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema as ArrowSchema};
use proptest::prelude::*;
use prost::Message;
use prost_reflect::{DynamicMessage, Value};

use super::*;
use crate::format::columns::Use;
use crate::format::frame::put_frame;
use crate::format::law::{AVRO, ID, PROTO, alone_as_together, bad, decode, framed, in_frame, schema};
use crate::format::{Encoder, Payloads, avro, avro_out, protobuf};

fn avro_payload(key: &str, ts: i64, value: Option<f64>) -> Vec<u8> {
    let fields = [("k", DataType::Utf8, false), ("ts", DataType::Int64, false), ("v", DataType::Float64, true)];
    let fields: Vec<Field> = fields.into_iter().map(|(name, t, null)| Field::new(name, t, null)).collect();
    let arrow = ArrowSchema::new(fields);
    let rows = RecordBatch::try_new(
        Arc::new(arrow.clone()),
        vec![
            Arc::new(StringArray::from(vec![key])),
            Arc::new(Int64Array::from(vec![ts])),
            Arc::new(Float64Array::from(vec![value])),
        ],
    )
    .unwrap();
    let mut payloads = Payloads::default();
    avro_out::AvroEncoder::new(&arrow, ID).unwrap().encode(&rows, &mut payloads).unwrap();
    payloads.bytes
}

fn proto_payload(key: &str, ts: i64, value: Option<f64>) -> Vec<u8> {
    let all = protobuf::messages(&schema(PROTO)).unwrap();
    let mut message = DynamicMessage::new(all[1].clone());
    message.set_field_by_name("k", Value::String(key.into()));
    message.set_field_by_name("ts", Value::I64(ts));
    if let Some(value) = value {
        let field = all[1].get_field_by_name("v").unwrap();
        let mut wrapper = DynamicMessage::new(field.kind().as_message().unwrap().clone());
        wrapper.set_field_by_name("value", Value::F64(value));
        message.set_field(&field, Value::Message(wrapper));
    }
    let mut bytes = Vec::new();
    put_frame(ID, &mut bytes);
    // The second message of the file: one index, 1, both zigzag.
    bytes.extend([2, 2]);
    message.encode(&mut bytes).unwrap();
    bytes
}

#[test]
fn what_is_written_is_read() {
    for (format, text, payload) in
        [("avro", AVRO, avro_payload as fn(&str, i64, Option<f64>) -> Vec<u8>), ("protobuf", PROTO, proto_payload)]
    {
        let mut framed = framed(format, &schema(text));
        let decoded = decode(&mut framed, &[payload("a", 5, Some(1.5)), payload("b", -6, None)]);
        let records = &decoded.records;
        assert_eq!((records.key(0), records.key(1), &records.times[..]), (&b"a"[..], &b"b"[..], &[5, -6][..]));
        assert!(records.values[0][0] == 1.5 && records.values[0][1].is_nan() && records.bad.is_empty(), "{format}");
    }
}

#[test]
fn a_reader_takes_what_an_older_writer_wrote() {
    let newer =
        AVRO.replace(r#"["null","double"]}"#, r#"["null","double"]},{"name":"more","type":"long","default":3}"#);
    let mut framed = framed("avro", &schema(&newer));
    framed.learn(&schema(AVRO));
    let decoded = decode(&mut framed, &[avro_payload("a", 5, Some(2.0))]);
    assert_eq!((decoded.records.values[0][0], decoded.records.bad.len()), (2.0, 0));
}

#[test]
fn references_are_resolved() {
    let main = r#"{"type":"record","name":"Sale","namespace":"shop","fields":[
        {"name":"k","type":"Key"},{"name":"ts","type":"long"},{"name":"v","type":["null","double"]},{"name":"k2","type":"shop.Key"}]}"#;
    let key = r#"{"type":"enum","name":"Key","namespace":"shop","symbols":["A","B"]}"#;
    let avro = Schema { references: vec![("shop.Key".into(), key.into())], ..schema(main) };
    assert!(avro::AvroReaderSchema::new(&avro).unwrap().type_of("k2", Use::Passthrough).is_ok());
    let proto = "syntax = \"proto3\"; package shop; import \"common.proto\"; message Sale { common.Key k = 1; }";
    let common = "syntax = \"proto3\"; package common; enum Key { A = 0; }";
    let proto = Schema { references: vec![("common.proto".into(), common.into())], ..schema(proto) };
    assert_eq!(protobuf::messages(&proto).unwrap()[0].full_name(), "shop.Sale");
}

#[test]
fn what_the_registry_does_not_say_is_not_decided() {
    let mut framed = framed("avro", &schema(AVRO));
    let mut messages = Messages::default();
    messages.push(3, 0, None, Some(&avro_payload("a", 5, None)));
    messages.push(4, 0, None, Some(&[0, 0, 0, 0, 9, 1]));
    // Nobody listens there: nothing may come of it but to wait.
    let mut decided = Decided::default();
    let answer = framed.decode(&messages, 0..2, &mut decided);
    assert!(matches!(answer, Err(DecodeError::Unavailable(_))) && decided.unknown.is_empty());
    // In replay what was unknown stays so, without anybody being asked.
    let mut decided = Decided { replay: true, ..Decided::default() };
    decided.note(4, None);
    let decoded = framed.decode(&messages, 0..2, &mut decided).unwrap();
    assert_eq!(decoded.records.bad, [(1, "unknown_schema")]);
}

fn payloads(good: fn(&str, i64, Option<f64>) -> Vec<u8>) -> impl Strategy<Value = Vec<(bool, Vec<u8>)>> {
    let fine = ("[a-z]{1,6}", any::<i64>(), any::<Option<f64>>()).prop_map(move |(k, ts, v)| good(&k, ts, v));
    let cut =
        (fine.clone(), any::<prop::sample::Index>()).prop_map(|(bytes, at)| bytes[..at.index(bytes.len())].to_vec());
    let flipped = (fine.clone(), any::<prop::sample::Index>(), 1..=255_u8).prop_map(|(mut bytes, at, flip)| {
        // Not in the id: that would ask the registry.
        let at = 5 + at.index(bytes.len() - 5);
        bytes[at] ^= flip;
        bytes
    });
    let noise = proptest::collection::vec(any::<u8>(), 0..40).prop_map(|noise| in_frame(&noise));
    let one = prop_oneof![
        fine.prop_map(|bytes| (true, bytes)),
        cut.prop_map(|bytes| (false, bytes)),
        flipped.prop_map(|bytes| (false, bytes)),
        noise.prop_map(|bytes| (false, bytes)),
    ];
    proptest::collection::vec(one, 1..20)
}

/// The law, and that nothing is wrong with those that are fine.
fn holds(mut framed: Framed, payloads: Vec<(bool, Vec<u8>)>) -> std::result::Result<(), TestCaseError> {
    let (good, bytes): (Vec<bool>, Vec<Vec<u8>>) = payloads.into_iter().unzip();
    alone_as_together(&mut framed, &bytes).map_err(TestCaseError::fail)?;
    let decoded = decode(&mut framed, &bytes);
    for (index, good) in good.into_iter().enumerate() {
        prop_assert!(!good || bad(&decoded, index).is_none());
    }
    Ok(())
}

proptest! {
    #[test]
    fn no_avro_message_harms_another(payloads in payloads(avro_payload)) {
        holds(framed("avro", &schema(AVRO)), payloads)?;
    }

    #[test]
    fn no_protobuf_message_harms_another(payloads in payloads(proto_payload)) {
        holds(framed("protobuf", &schema(PROTO)), payloads)?;
    }
}
