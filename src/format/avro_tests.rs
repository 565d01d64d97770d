//! What schemas of Avro may have: unions, UUIDs, types that hold themselves, logical types that don't fit.

use super::*;
use crate::format::avro::AvroReaderSchema;
use crate::format::columns::Use;
use crate::format::law::{ID, bad, decode, in_frame, planned, schema};
use arrow::util::display::array_value_to_string;

/// A record with these further fields before those that are read.
fn sale(more: &str, k: &str, ts: &str, v: &str) -> String {
    format!(
        r#"{{"type":"record","name":"Sale","namespace":"shop","fields":[{more}{{"name":"k","type":{k}}},{{"name":"ts","type":{ts}}},{{"name":"v","type":{v}}}]}}"#
    )
}

const TEXT: &str = r#""string""#;
const LONG: &str = r#""long""#;
const DOUBLE: &str = r#""double""#;

/// Key, time and value of a message, or why it is refused.
fn read(text: &str, parts: &[&[u8]]) -> Result<(String, i64, f64), String> {
    let (mut framed, _) = planned("avro", &schema(text), &[]);
    let decoded = decode(&mut framed, &[in_frame(&parts.concat())]);
    match bad(&decoded, 0) {
        Some(reason) => Err(format!("{reason} {:?}", decoded.details)),
        None => {
            let key = String::from_utf8(decoded.records.key(0).to_vec()).unwrap();
            Ok((key, decoded.records.times[0], decoded.records.values[0][0]))
        }
    }
}

const A: &[u8] = b"\x02a";
const TEN: &[u8] = &[20];

fn double(value: f64) -> Vec<u8> {
    value.to_le_bytes().to_vec()
}

#[test]
fn unions_of_several_numbers_and_null_anywhere() {
    let two = [&[4][..], &double(2.5)].concat();
    for (v, bytes, value) in [
        (r#"["int","long","double"]"#, &[0, 6][..], 3.0),
        (r#"["int","long","double"]"#, &[2, 6], 3.0),
        (r#"["int","long","double"]"#, &two, 2.5),
        (r#"["null","int","long"]"#, &[4, 6], 3.0),
        (r#"["null","int","long"]"#, &[0], f64::NAN),
        (r#"["int","null","double"]"#, &[2], f64::NAN),
        (r#"["int","null","double"]"#, &two, 2.5),
        (r#"["int","double","null"]"#, &[4], f64::NAN),
        (r#"["long","null"]"#, &[0, 7], -4.0),
        (r#"["long","null"]"#, &[2], f64::NAN),
        (r#"["boolean","float"]"#, &[2, 0, 0, 0x20, 0x40], 2.5),
        (r#"["long"]"#, &[0, 7], -4.0),
    ] {
        let (_, time, found) = read(&sale("", TEXT, LONG, v), &[A, TEN, bytes]).unwrap_or_else(|e| panic!("{v}: {e}"));
        assert!(time == 10 && (found == value || found.is_nan() && value.is_nan()), "{v}: {found}");
    }
    let time = |ts, bytes: &[u8]| read(&sale("", TEXT, ts, DOUBLE), &[A, bytes, &double(1.0)]).map(|read| read.1);
    assert_eq!(time(r#"["int","null","long"]"#, &[4, 20]), Ok(10));
    assert_eq!(time(r#"["int","long"]"#, &[0, 20]), Ok(10));
    assert!(time(r#"["int","null","long"]"#, &[2]).unwrap_err().starts_with("null_time"));
    let key = |k, bytes: &[u8]| read(&sale("", k, LONG, DOUBLE), &[bytes, TEN, &double(1.0)]).map(|read| read.0);
    assert_eq!(key(r#"["string","null","long"]"#, &[4, 20]).as_deref(), Ok("10"));
    assert_eq!(key(r#"["string","null","long"]"#, b"\0\x02a").as_deref(), Ok("a"));
    assert!(key(r#"["string","null"]"#, &[2]).unwrap_err().starts_with("null_key"));
    // Carried, they are of the type that holds them all.
    let (mut framed, described) = planned("avro", &schema(&carried(r#"["null","int","long","double"]"#)), &["x"]);
    assert!(described.contains(r#""x":"number""#), "{described}");
    let rows = [&[0][..], &[2, 6], &[4, 6], &[&[6][..], &double(0.5)].concat()].map(message);
    let decoded = decode(&mut framed, &rows);
    let shown = |row| array_value_to_string(&decoded.records.passthrough[0], row).unwrap();
    assert_eq!([0, 1, 2, 3].map(shown), ["", "3.0", "3.0", "0.5"]);
}

/// A schema with a carried field.
fn carried(x: &str) -> String {
    sale(&format!(r#"{{"name":"x","type":{x}}},"#), TEXT, LONG, DOUBLE)
}

fn message(x: &[u8]) -> Vec<u8> {
    in_frame(&[x, A, TEN, &double(1.0)].concat())
}

#[test]
fn keys_of_every_type_that_has_a_text() {
    let uuid = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255];
    let text = "00010203-0405-0607-0809-0a0b0c0d0eff";
    let written = [&[72][..], text.as_bytes()].concat();
    for (k, bytes, expected) in [
        (r#"{"type":"string","logicalType":"uuid"}"#, &written[..], text),
        (r#"{"type":"fixed","name":"U","size":16,"logicalType":"uuid"}"#, &uuid, text),
        (r#"["null",{"type":"fixed","name":"U","size":16,"logicalType":"uuid"}]"#, &[&[2][..], &uuid].concat(), text),
        (r#"{"type":"fixed","name":"U","size":16}"#, &uuid, "000102030405060708090a0b0c0d0eff"),
        (r#""bytes""#, &[4, 0, 171], "00ab"),
        (r#""boolean""#, &[1], "true"),
        (r#"{"type":"int","logicalType":"date"}"#, &[2], "1970-01-02"),
        (r#"{"type":"bytes","logicalType":"decimal","precision":5,"scale":2}"#, &[4, 0, 150], "1.50"),
        (r#"{"type":"enum","name":"E","symbols":["A","B"]}"#, &[2], "B"),
    ] {
        let found = read(&sale("", k, LONG, DOUBLE), &[bytes, TEN, &double(1.0)]);
        assert_eq!(found, Ok((expected.to_string(), 10, 1.0)), "{k}");
    }
}

#[test]
fn what_is_not_read_may_hold_itself_or_be_wrong() {
    let list = r#"{"type":"record","name":"Node","fields":[{"name":"x","type":"int"},{"name":"next","type":["null","Node"]}]}"#;
    let tree = r#"{"type":"record","name":"Tree","fields":[{"name":"all","type":{"type":"array","items":"Tree"}},{"name":"m","type":{"type":"map","values":["null","shop.Tree"]}}]}"#;
    for (what, data_type, bytes) in [
        ("a list", list, &[2, 2, 4, 0][..]),
        ("a tree", tree, &[2, 0, 0, 0, 2, 2, b'a', 2, 0, 0, 0]),
        ("a block with its size", r#"{"type":"array","items":"string"}"#, &[3, 6, 4, b'a', b'b', 0]),
        ("the record itself", r#"["null","Sale"]"#, &[0]),
        (
            "nothing, any number of times",
            r#"{"type":"array","items":"null"}"#,
            &[254, 255, 255, 255, 255, 255, 255, 255, 127, 0],
        ),
        ("a decimal of no digits", r#"{"type":"bytes","logicalType":"decimal","precision":-1}"#, &[2, 7]),
        ("a decimal of text", r#"{"type":"string","logicalType":"decimal","precision":4}"#, &[2, b'7']),
        ("a logical type that isn't one", r#"{"type":"int","logicalType":7}"#, &[2]),
        ("an enum without symbols", r#"{"type":"enum","name":"E"}"#, &[2]),
        ("a default of another type", r#""int","default":"no""#, &[2]),
        ("null by default, not first", r#"["int","null"],"default":null"#, &[2]),
    ] {
        let text = sale(&format!(r#"{{"name":"more","type":{data_type}}},"#), TEXT, LONG, DOUBLE);
        let found = read(&text, &[bytes, A, TEN, &double(1.0)]);
        assert_eq!(found, Ok(("a".to_string(), 10, 1.0)), "{what}");
        let long = read(&text, &[bytes, A, TEN, &double(1.0), &[0]]).unwrap_err();
        assert!(long.contains("bytes, the schema takes"), "{long}");
        let short = read(&text, &[bytes, A, TEN]).unwrap_err();
        assert!(short.contains("truncated"), "{short}");
    }
    // One whose length nobody knows is passed over where nothing that is read comes after it.
    let unknown = r#"{"name":"more","type":"Missing"}"#;
    let after = sale("", TEXT, LONG, DOUBLE).replace("]}", &format!(",{unknown}]}}"));
    assert_eq!(read(&after, &[A, TEN, &double(1.0), b"whatever"]), Ok(("a".to_string(), 10, 1.0)));
    let before = read(&sale(&format!("{unknown},"), TEXT, LONG, DOUBLE), &[A, TEN, &double(1.0)]).unwrap_err();
    assert!(before.contains("the schema has no type \\\"Missing\\\""), "{before}");
    // A list of a million isn't followed to its end.
    let deep = [&[2, 2].repeat(100_000)[..], &[2, 0], A, TEN, &double(1.0)].concat();
    let found = read(&sale(&format!(r#"{{"name":"more","type":{list}}},"#), TEXT, LONG, DOUBLE), &[&deep]);
    assert!(found.unwrap_err().contains("more than 400 deep"));
    // What is read, is not.
    let reader = AvroReaderSchema::new(&schema(&carried(list))).unwrap();
    let why = reader.type_of("x", Use::Passthrough).unwrap_err();
    assert_eq!(why, r#"field "x": is a type that holds itself ("Node")"#);
}

#[test]
fn a_logical_type_that_its_type_can_not_have_is_ignored() {
    for (x, word) in [
        (r#"{"type":"bytes","logicalType":"decimal"}"#, "bytes"),
        (r#"{"type":"bytes","logicalType":"decimal","precision":0}"#, "bytes"),
        (r#"{"type":"bytes","logicalType":"decimal","precision":"9"}"#, "bytes"),
        (r#"{"type":"bytes","logicalType":"decimal","precision":4,"scale":5}"#, "bytes"),
        (r#"{"type":"bytes","logicalType":"decimal","precision":4,"scale":-1}"#, "bytes"),
        (r#"{"type":"bytes","logicalType":"decimal","precision":4,"scale":2}"#, "decimal(4, 2)"),
        (r#"{"type":"fixed","name":"F","size":2,"logicalType":"decimal","precision":5}"#, "bytes"),
        (r#"{"type":"fixed","name":"F","size":2,"logicalType":"decimal","precision":4}"#, "decimal(4, 0)"),
        (r#"{"type":"int","logicalType":"timestamp-millis"}"#, "integer"),
        (r#"{"type":"long","logicalType":"date"}"#, "integer"),
        (r#"{"type":"long","logicalType":"timestamp-fortnights"}"#, "integer"),
        (r#"{"type":"long","logicalType":"timestamp-millis"}"#, "timestamp in ms"),
        (r#"{"type":"string","logicalType":"decimal","precision":4}"#, "text"),
    ] {
        let (_, described) = planned("avro", &schema(&carried(x)), &["x"]);
        assert!(described.contains(&format!(r#""x":"{word}""#)), "{x}: {described}");
    }
    let schema = schema(&sale("", TEXT, LONG, r#"{"type":"bytes","logicalType":"decimal","precision":-4}"#));
    let why = AvroReaderSchema::new(&schema).unwrap().type_of("v", Use::Value).unwrap_err();
    assert!(why.contains("is Binary, which can't be used as Value"), "{why}");
}

#[test]
fn a_field_that_a_writer_lacks_has_any_default() {
    let old = Schema { id: ID + 1, ..schema(&sale("", TEXT, LONG, DOUBLE)) };
    for (x, expected) in [
        (r#"["long","null"],"default":null"#, ""),
        (r#"["null","long"],"default":5"#, "5"),
        (r#"["null","string"],"default":"s""#, "s"),
        (r#"["null","int","double"],"default":0.5"#, "0.5"),
        (r#"["double","null"]"#, ""),
    ] {
        let (mut framed, _) = planned("avro", &schema(&carried(x)), &["x"]);
        framed.learn(&old);
        let mut payload = in_frame(&[A, TEN, &double(1.0)].concat());
        payload[4] += 1;
        let decoded = decode(&mut framed, &[payload]);
        assert_eq!(bad(&decoded, 0), None, "{x}: {:?}", decoded.details);
        assert_eq!(array_value_to_string(&decoded.records.passthrough[0], 0).unwrap(), expected, "{x}");
    }
}
