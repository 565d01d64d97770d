//! Values that a column can't hold as they are: times beyond the calendar, and types that change between versions of a
//! schema. They come out right or their message is refused.

use arrow::util::display::array_value_to_string;
use prost::Message;
use prost_reflect::{DynamicMessage, Value};

use super::*;
use crate::format::frame::put_frame;
use crate::format::law::{bad, decode, json_of, planned};
use crate::format::{Decoder, protobuf};

const OLD: u32 = 7;
const NEW: u32 = 8;

fn schema(id: u32, text: &str) -> Schema {
    Schema { id, text: text.into(), references: Vec::new() }
}

/// Time, carried value and why the message is refused, with its detail.
#[derive(Debug, PartialEq)]
struct Found {
    time: i64,
    carried: String,
    bad: Option<&'static str>,
}

fn found(decoder: &mut dyn Decoder, payload: &[u8]) -> (Found, String) {
    let decoded = decode(decoder, &[payload.to_vec()]);
    let carried = array_value_to_string(&decoded.records.passthrough[0], 0).unwrap();
    let detail = decoded.details.first().map(|(_, detail)| detail.clone()).unwrap_or_default();
    (Found { time: decoded.records.times[0], carried, bad: bad(&decoded, 0) }, detail)
}

fn number(number: i64, bytes: &mut Vec<u8>) {
    let mut rest = ((number << 1) ^ (number >> 63)) as u64;
    while rest >= 0x80 {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
}

/// A schema whose time and further field have these types.
fn avro_schema(id: u32, ts: &str, x: &str) -> Schema {
    let logical = |name: &str| match name.split_once(' ') {
        Some(("bytes", logical)) => {
            format!(r#"{{"type":"bytes","logicalType":"decimal","precision":9,"scale":{logical}}}"#)
        }
        Some((of, logical)) => format!(r#"{{"type":"{of}","logicalType":"{logical}"}}"#),
        None => format!("\"{name}\""),
    };
    schema(
        id,
        &format!(
            r#"{{"type":"record","name":"S","fields":[{{"name":"k","type":"string"}},{{"name":"ts","type":{}}},{{"name":"v","type":"double"}},{{"name":"x","type":{}}}]}}"#,
            logical(ts),
            logical(x)
        ),
    )
}

/// What a reader's schema makes of a message of a writer's schema. `x`: the further field as it is encoded.
fn avro(reader: (&str, &str), writer: (&str, &str), ts: i64, x: &[u8]) -> (Found, String) {
    let (mut framed, _) = planned("avro", &avro_schema(OLD, reader.0, reader.1), &["x"]);
    framed.learn(&avro_schema(NEW, writer.0, writer.1));
    let mut bytes = Vec::new();
    put_frame(NEW, &mut bytes);
    bytes.extend([2, b'a']);
    number(ts, &mut bytes);
    bytes.extend(1.5_f64.to_le_bytes());
    bytes.extend(x);
    found(&mut framed, &bytes)
}

fn encoded(value: i64) -> Vec<u8> {
    let mut bytes = Vec::new();
    number(value, &mut bytes);
    bytes
}

fn taken(time: i64, carried: &str) -> Found {
    Found { time, carried: carried.into(), bad: None }
}

fn refused(reason: &'static str) -> Found {
    Found { time: 0, carried: String::new(), bad: Some(reason) }
}

const MS: &str = "long timestamp-millis";
const US: &str = "long timestamp-micros";
const NS: &str = "long timestamp-nanos";
const LOCAL: &str = "long local-timestamp-micros";
const DATE: &str = "int date";

#[test]
fn avro_times_change_their_unit_and_stay_the_same_time() {
    let at = 1_700_000_000_123;
    let shown = "2023-11-14T22:13:20.123Z";
    for (reader, own) in [(MS, 1), (US, 1_000), (NS, 1_000_000)] {
        for (writer, theirs) in [(MS, 1), (US, 1_000), (NS, 1_000_000)] {
            let (found, _) = avro((reader, reader), (writer, writer), at * theirs, &encoded(at * theirs));
            assert_eq!(found, taken(at * own, shown), "{reader} of {writer}");
        }
        // An integer that doesn't say what it is, is what the schema of the start says.
        let (found, _) = avro((reader, reader), ("long", "long"), at * own, &encoded(at * own));
        assert_eq!(found, taken(at * own, shown), "{reader} of long");
    }
    let (found, _) = avro((LOCAL, LOCAL), (DATE, DATE), 19_675, &encoded(19_675));
    assert_eq!(found, taken(19_675 * 86_400_000_000, "2023-11-14T00:00:00"));
    let (found, _) = avro((DATE, DATE), ("int", "int"), 19_675, &encoded(19_675));
    assert_eq!(found, taken(19_675, "2023-11-14T00:00:00"));
}

#[test]
fn avro_values_that_their_column_can_not_hold_are_refused() {
    let why = |reader, writer, x: i64| avro((MS, reader), (MS, writer), 5, &encoded(x));
    let (found, detail) = why(MS, US, 1_700_000_000_123_456);
    assert_eq!(found, refused("bad_schema"), "a part would be lost");
    assert!(detail.contains("1700000000123456 is finer than the schema of the start"), "{detail}");
    for (reader, writer) in [(MS, LOCAL), (MS, DATE), (LOCAL, MS), (DATE, US), (MS, "int time-millis")] {
        assert_eq!(why(reader, writer, 5).0, refused("bad_schema"), "{reader} of {writer}");
        assert_eq!(avro((reader, MS), (writer, MS), 5, &encoded(5)).0, refused("bad_schema"), "{reader} of {writer}");
    }
}

#[test]
fn avro_decimals_and_bytes_are_carried_exactly() {
    let decimal = |reader, writer, unscaled: i32| {
        let mut x = encoded(4);
        x.extend(unscaled.to_be_bytes());
        avro((MS, reader), (MS, writer), 5, &x).0
    };
    assert_eq!(decimal("bytes 2", "bytes 2", 12_345), taken(5, "123.45"));
    assert_eq!(decimal("bytes 4", "bytes 2", 12_345), taken(5, "123.4500"));
    assert_eq!(decimal("bytes 2", "bytes 4", 1_234_500), taken(5, "123.45"));
    assert_eq!(decimal("bytes 2", "bytes 4", -1_234_500), taken(5, "-123.45"));
    assert_eq!(decimal("bytes 2", "bytes 4", 1_234_567), refused("bad_schema"));
    assert_eq!(decimal("bytes 4", "bytes 2", 123_456_789), refused("bad_schema"), "more digits than it has");
    assert_eq!(avro((MS, "bytes 2"), (MS, "long"), 5, &encoded(-7)).0, taken(5, "-7.00"));
    assert_eq!(avro((MS, "bytes"), (MS, "bytes"), 5, &[6, 0, 255, 7]).0, taken(5, "00ff07"));
    assert_eq!(avro((MS, "double"), (MS, "long"), 5, &encoded(1 << 60)).0, taken(5, "1.152921504606847e18"));
    assert_eq!(avro((MS, "double"), (MS, "long"), 5, &encoded((1 << 60) + 1)).0, refused("bad_value"));
}

#[test]
fn avro_times_beyond_the_calendar_are_refused_in_one_way() {
    let far = 1_700_000_000_000_000_000;
    let (found, detail) = avro((MS, "string"), (MS, "string"), far, &[2, b'b']);
    assert_eq!(found, refused("time_out_of_range"));
    assert_eq!(detail, format!("column \"ts\": {far} ms is beyond the years 1 to 9999; it looks like ns"));
    let out = |reader: &str, writer: &str, value: i64| {
        assert_eq!(avro((MS, reader), (MS, writer), 5, &encoded(value)).0, refused("time_out_of_range"), "{reader}");
        if reader != "int date" {
            let of_time = avro((reader, "string"), (writer, "string"), value, &[2, b'b']).0;
            assert_eq!(of_time, refused("time_out_of_range"), "{reader}");
        }
    };
    out(MS, MS, far);
    out(US, US, far * 5);
    out(US, MS, far);
    out(NS, MS, 253_402_300_799_999);
    out(LOCAL, LOCAL, i64::MIN);
    out(DATE, DATE, 2_932_897);
    out(MS, "long", far);
}

#[test]
fn json_times_beyond_the_calendar_are_refused_in_one_way() {
    let stamps = |ts: &str, unit: &str| {
        let yaml = format!(
            "name: p\nsource: {{ kafka: {{ brokers: b, topic: t, partitioned_by: key }} }}\n\
             record: {{ key: k, time: {{ column: ts{unit} }}, values: [a] }}"
        );
        let (mut decoder, _) = json_of(&yaml);
        found(&mut decoder, format!(r#"{{"k":"a","a":1,"ts":{ts}}}"#).as_bytes()).0.bad
    };
    for (ts, unit) in [
        ("1700000000000000000", ", unit: ms"),
        ("-62135596800001", ", unit: ms"),
        ("253402300800", ", unit: s"),
        ("9223372036854775808", ", unit: ns"),
        ("-9223372036854775808", ", unit: ns"),
        ("327267367867168100001", ", unit: ms"),
        ("\"+10000-01-01\"", ""),
        ("18446744073709551615", ", unit: step"),
    ] {
        assert_eq!(stamps(ts, unit), Some("time_out_of_range"), "{ts}{unit}");
    }
    for (ts, unit) in
        [("-62135596800000", ", unit: ms"), ("253402300799", ", unit: s"), ("9223372036854775807", ", unit: step")]
    {
        assert_eq!(stamps(ts, unit), None, "{ts}{unit}");
    }
    assert_eq!(stamps("\"9999-12-31T23:59:59Z\"", ""), None);
    assert_eq!(stamps("1.5", ", unit: ms"), Some("bad_value"));
}

const PROTO: &str = "syntax = \"proto3\"; package shop; import \"google/protobuf/timestamp.proto\";
    message Sale { string k = 1; TS ts = 2; double v = 3; X x = 4; }";
const TIMESTAMP: &str = "google.protobuf.Timestamp";

/// What a reader's types of `ts` and `x` make of a message with a writer's.
fn proto(reader: (&str, &str), writer: (&str, &str), ts: Value, x: Value) -> Found {
    let of = |id, (ts, x): (&str, &str)| schema(id, &PROTO.replace("TS", ts).replace("X x", &format!("{x} x")));
    let (mut framed, _) = planned("protobuf", &of(OLD, reader), &["x"]);
    framed.learn(&of(NEW, writer));
    let descriptor = protobuf::messages(&of(NEW, writer)).unwrap()[0].clone();
    let mut message = DynamicMessage::new(descriptor.clone());
    message.set_field_by_name("k", Value::String("a".into()));
    for (name, value) in [("ts", ts), ("x", x)] {
        let field = descriptor.get_field_by_name(name).unwrap();
        let value = match (field.kind().as_message(), value) {
            (Some(kind), Value::I64(seconds)) => {
                let mut timestamp = DynamicMessage::new(kind.clone());
                timestamp.set_field_by_name("seconds", Value::I64(seconds));
                timestamp.set_field_by_name("nanos", Value::I32(5_000));
                Value::Message(timestamp)
            }
            (_, value) => value,
        };
        message.set_field(&field, value);
    }
    let mut bytes = Vec::new();
    put_frame(NEW, &mut bytes);
    bytes.push(0);
    message.encode(&mut bytes).unwrap();
    found(&mut framed, &bytes).0
}

#[test]
fn protobuf_times_beyond_the_calendar_are_refused_in_one_way() {
    let same = (TIMESTAMP, TIMESTAMP);
    let of = |ts: i64, x: i64| proto(same, same, Value::I64(ts), Value::I64(x));
    assert_eq!(of(1_700_000_000, 0), taken(1_700_000_000_000_005, "1970-01-01T00:00:00.000005Z"));
    for far in [9_000_000_000_000, 253_402_300_800, -62_135_596_801, i64::MAX, i64::MIN] {
        assert_eq!(of(far, 0), refused("time_out_of_range"), "{far}");
        assert_eq!(of(0, far), refused("time_out_of_range"), "{far}");
    }
}

#[test]
fn protobuf_types_may_change_where_the_value_stays() {
    let of = |reader: &str, writer: &str, x| proto(("int64", reader), ("int64", writer), Value::I64(5), x);
    assert_eq!(of("int64", "uint64", Value::U64(7)), taken(5, "7"));
    assert_eq!(of("uint64", "uint64", Value::U64(u64::MAX)), refused("bad_value"));
    assert_eq!(of("string", "uint64", Value::U64(u64::MAX)), taken(5, "18446744073709551615"));
    assert_eq!(of("string", "bytes", Value::Bytes("é".into())), taken(5, "é"));
    assert_eq!(of("string", "bytes", Value::Bytes(vec![255].into())), refused("bad_value"));
    assert_eq!(of("bytes", "bytes", Value::Bytes(vec![0, 255].into())), taken(5, "00ff"));
    assert_eq!(of("double", "int64", Value::I64((1 << 60) + 1)), refused("bad_value"));
    assert_eq!(of("int64", "double", Value::F64(1.5)), refused("bad_schema"));
    // A number would be taken for microseconds, or microseconds for a number.
    assert_eq!(of(TIMESTAMP, "int64", Value::I64(1_700_000_000)), refused("bad_schema"));
    assert_eq!(of("int64", TIMESTAMP, Value::I64(1_700_000_000)), refused("bad_schema"));
    assert_eq!(of("string", TIMESTAMP, Value::I64(1_700_000_000)), refused("bad_schema"));
    let time = |reader, writer| proto((reader, "int64"), (writer, "int64"), Value::I64(5), Value::I64(1));
    assert_eq!(time(TIMESTAMP, "int64"), refused("bad_schema"));
    assert_eq!(time("int64", TIMESTAMP), refused("bad_schema"));
}
