//! Fields within records, and Debezium's envelope, in Avro.

use super::*;
use crate::format::framed::Framed;
use crate::format::law::{ID, decoder_of, in_frame, read_one, schema};

const ENVELOPE: &str = r#"{"type":"record","name":"Envelope","namespace":"db.t","fields":[
    {"name":"before","type":["null",{"type":"record","name":"Value","fields":[
        {"name":"id","type":"long"},{"name":"v","type":["null","double"],"default":null},
        {"name":"at","type":{"type":"long","connect.version":1,"connect.name":"io.debezium.time.MicroTimestamp"}},
        {"name":"on","type":{"type":"int","connect.version":1,"connect.name":"io.debezium.time.Date"}}]}],"default":null},
    {"name":"after","type":["null","Value"],"default":null},
    {"name":"source","type":{"type":"record","name":"Source","namespace":"io.debezium","fields":[
        {"name":"version","type":"string"},{"name":"ts_ms","type":"long"}]}},
    {"name":"op","type":"string"},{"name":"ts_ms","type":["null","long"],"default":null}]}"#;

fn decoder(source: &str, record: &str, fields: &[&str], text: &str) -> Result<Framed, String> {
    decoder_of("avro", source, record, fields, text)
}

fn long(number: i64) -> Vec<u8> {
    let (mut rest, mut bytes) = (((number << 1) ^ (number >> 63)) as u64, Vec::new());
    while rest >= 0x80 {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes
}

fn text(text: &str) -> Vec<u8> {
    [long(text.len() as i64), text.as_bytes().to_vec()].concat()
}

/// A row in the second branch of a union with null.
fn row(id: i64, v: Option<f64>, at: i64) -> Vec<u8> {
    let v = v.map_or(long(0), |v| [long(1), v.to_le_bytes().to_vec()].concat());
    [long(1), long(id), v, long(at), long(19_000)].concat()
}

fn change(before: &[u8], after: &[u8], op: &str) -> Vec<u8> {
    let source = [text("2.7"), long(1_700_000_000_123)].concat();
    in_frame(&[before, after, &source, &text(op), &long(1), &long(5)].concat())
}

fn shown(decoder: &mut Framed, payload: &[u8]) -> String {
    read_one(decoder, br#"{"id":9}"#, payload)
}

#[test]
fn debezium_s_envelope_in_avro_is_the_row_after_the_change() {
    let fields = ["source.version", "envelope.ts_ms", "envelope.op", "on", "before.v"];
    let mut decoder = decoder(", envelope: debezium", "key: id, time: at, values: [v]", &fields, ENVELOPE).unwrap();
    let (none, micros) = (long(0), 1_700_000_000_000_001);
    let tail = r#""2.7", "5""#;
    let created = shown(&mut decoder, &change(&none, &row(7, Some(1.5), micros), "c"));
    assert_eq!(created, format!(r#"7 {micros} [1.5] [{tail}, "c", "2022-01-08T00:00:00", "null"]"#));
    let updated = shown(&mut decoder, &change(&row(7, Some(1.5), 1), &row(7, None, micros), "u"));
    assert_eq!(updated, format!(r#"7 {micros} [NaN] [{tail}, "u", "2022-01-08T00:00:00", "1.5"]"#));
    assert_eq!(shown(&mut decoder, &change(&row(8, None, 1), &none, "d")), "deleted Some(\"8\")");
    assert_eq!(shown(&mut decoder, &change(&none, &none, "d")), "deleted Some(\"9\")");
    assert!(
        shown(&mut decoder, &change(&none, &none, "r")).starts_with("bad_envelope: \"op\" is \"r\", but \"after\"")
    );
    assert!(shown(&mut decoder, &change(&none, &none, "t")).starts_with("bad_envelope: \"op\" is \"t\""));
}

#[test]
fn a_field_within_a_record_is_a_column() {
    let record = "key: after.id, time: { column: source.ts_ms, unit: ms }, values: [after.v]";
    let mut nested = decoder("", record, &["source.version", "after.at"], ENVELOPE).unwrap();
    let found = shown(&mut nested, &change(&long(0), &row(7, Some(1.5), 3), "c"));
    assert_eq!(found, r#"7 1700000000123 [1.5] ["2.7", "3"]"#, "without the word an integer stays one");
    let found = shown(&mut nested, &change(&row(7, Some(1.5), 3), &long(0), "d"));
    assert!(found.starts_with("null_key: field \"after.id\" is missing or null"), "{found}");
    let plain = decoder("", "key: after.key, time: ts_ms, values: [after.v]", &[], ENVELOPE).err();
    assert_eq!(
        plain.unwrap(),
        "there is no field \"after.key\" in the schema (there are: before, after, source, op, ts_ms)"
    );
    // A writer that lacks it, and one that has it in another place.
    let (first, last) = ENVELOPE.split_once(r#"{"name":"source""#).unwrap();
    let (source, last) = last.split_once("]}},").unwrap();
    let other = format!(
        r#"{first}{}{{"name":"source"{source}]}}}}]}}"#,
        last.trim_end().trim_end_matches("]}").to_owned() + ","
    );
    let record = "key: after.id, time: source.ts_ms, values: [after.v]";
    let mut moved = decoder("", record, &["source.version"], ENVELOPE).unwrap();
    moved.learn(&Schema { id: ID + 1, ..schema(&other.replace(r#"{"name":"version","type":"string"},"#, "")) });
    let mut body = vec![0];
    body.extend((ID + 1).to_be_bytes());
    body.extend([long(0), row(7, Some(2.5), 3), text("c"), long(0), long(12)].concat());
    assert_eq!(shown(&mut moved, &body), r#"7 12 [2.5] ["null"]"#);
}

#[test]
fn a_time_is_text_or_a_number_with_a_fraction_too() {
    let of = |ts: &str| {
        format!(
            r#"{{"type":"record","name":"S","fields":[{{"name":"id","type":"string"}},{{"name":"ts","type":{ts}}},{{"name":"v","type":"double"}}]}}"#
        )
    };
    let body = |ts: Vec<u8>| in_frame(&[text("a"), ts, 1.5_f64.to_le_bytes().to_vec()].concat());
    let record = |time: &str| format!("key: id, time: {time}, values: [v]");
    let mut words = decoder("", &record("ts"), &[], &of(r#"["string","null"]"#)).unwrap();
    for (ts, found) in [
        ([long(0), text("2023-11-14T22:13:20.5+01")].concat(), "a 1699996400500000 [1.5] []"),
        ([long(0), text("2023-11-14 22:13+0000")].concat(), "a 1699999980000000 [1.5] []"),
        (long(1), "null_time: field \"ts\" is missing or null"),
        ([long(0), text("soon")].concat(), "bad_value: field \"ts\": expected a time such as"),
    ] {
        assert!(shown(&mut words, &body(ts)).starts_with(found), "{found}");
    }
    let double = |time: f64| time.to_le_bytes().to_vec();
    for (unit, factor) in [("float_s", 1.0), ("float_ms", 1000.0)] {
        let record = record(&format!("{{ column: ts, unit: {unit} }}"));
        let mut seconds = decoder("", &record, &[], &of("\"double\"")).unwrap();
        for (time, found) in [
            (1_700_000_000.5, "a 1700000000500000 [1.5] []"),
            (-0.25, "a -250000 [1.5] []"),
            (f64::NAN, "null_time: field \"ts\" is missing or null"),
            (f64::INFINITY, "null_time: field \"ts\" is missing or null"),
            (1e30, "time_out_of_range: field \"ts\": 1000"),
        ] {
            assert!(shown(&mut seconds, &body(double(time * factor))).starts_with(found), "{unit} {found}");
        }
        // A writer that has whole ones.
        seconds.learn(&Schema { id: ID, ..schema(&of("\"long\"")) });
        assert_eq!(shown(&mut seconds, &body(long(5 * factor as i64))), "a 5000000 [1.5] []");
    }
    for (time, ts, why) in [
        ("ts", "\"double\"", "the time is Float64: `unit: float_s` and `float_ms` read times with a fraction"),
        ("{ column: ts, unit: s }", "\"float\"", "the time is Float64: `unit: float_s`"),
        ("{ column: ts, unit: s }", "\"string\"", "the time is text, which has no unit: leave `unit` out"),
        ("{ column: ts, unit: float_s }", "\"long\"", "are for times with a fraction, this column is Int64"),
        (
            "{ column: ts, unit: float_s }",
            r#"{"type":"long","logicalType":"timestamp-micros"}"#,
            "a unit is only for integer columns",
        ),
    ] {
        let planned = decoder("", &record(time), &[], &of(ts)).err().unwrap();
        assert!(planned.contains(why), "{time} {ts}: {planned}");
    }
}

#[test]
fn a_decimal_may_be_wider_than_arrow_s_or_have_a_scale_of_its_own() {
    let schema = r#"{"type":"record","name":"S","fields":[{"name":"ts","type":"long"},
        {"name":"wide","type":{"type":"bytes","logicalType":"decimal","precision":64,"scale":3}},
        {"name":"own","type":["null",{"type":"record","name":"VariableScaleDecimal","namespace":"io.debezium.data",
            "fields":[{"name":"scale","type":"int"},{"name":"value","type":"bytes"}]}]},
        {"name":"v","type":"int"}]}"#;
    let bytes = |bytes: &[u8]| [long(bytes.len() as i64), bytes.to_vec()].concat();
    let body = |wide: &[u8], own: Option<(i64, &[u8])>| {
        let own = own.map_or(long(0), |(scale, value)| [long(1), long(scale), bytes(value)].concat());
        in_frame(&[long(5), bytes(wide), own, long(7)].concat())
    };
    for (key, values) in [("wide", "own"), ("own", "wide")] {
        let record = format!("key: {key}, time: {{ column: ts, unit: step }}, values: [{values}]");
        let mut all = decoder("", &record, &[], schema).unwrap();
        let expected = if key == "wide" { "-0.250 5 [12.5] []" } else { "12.50 5 [-0.25] []" };
        assert_eq!(shown(&mut all, &body(&[0xff, 0x06], Some((2, &[0x04, 0xe2])))), expected);
    }
    let record = "key: wide, time: { column: ts, unit: step }, values: [v]";
    let mut carried = decoder("", record, &["own"], schema).unwrap();
    assert_eq!(shown(&mut carried, &body(&[1], Some((-2, &[5])))), r#"0.001 5 [7.0] ["500"]"#);
    assert_eq!(shown(&mut carried, &body(&[1], None)), r#"0.001 5 [7.0] ["null"]"#);
    let found = shown(&mut carried, &body(&[1; 17], None));
    assert!(found.starts_with("bad_value: field \"wide\": ") && found.contains("doesn't fit into"), "{found}");
}
