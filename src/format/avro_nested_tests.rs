//! Fields within records, and Debezium's envelope, in Avro.

use super::*;
use crate::config::At;
use crate::error::Problems;
use crate::format::framed::Framed;
use crate::format::law::{ID, in_frame, pipeline, schema};
use crate::format::registry::Registry;
use crate::format::schema::Language;
use crate::format::schemas::Schemas;
use crate::format::{Decided, Decoder, Messages, columns};

const ENVELOPE: &str = r#"{"type":"record","name":"Envelope","namespace":"db.t","fields":[
    {"name":"before","type":["null",{"type":"record","name":"Value","fields":[
        {"name":"id","type":"long"},{"name":"v","type":["null","double"],"default":null},
        {"name":"at","type":{"type":"long","connect.version":1,"connect.name":"io.debezium.time.MicroTimestamp"}},
        {"name":"on","type":{"type":"int","connect.version":1,"connect.name":"io.debezium.time.Date"}}]}],"default":null},
    {"name":"after","type":["null","Value"],"default":null},
    {"name":"source","type":{"type":"record","name":"Source","namespace":"io.debezium","fields":[
        {"name":"version","type":"string"},{"name":"ts_ms","type":"long"}]}},
    {"name":"op","type":"string"},{"name":"ts_ms","type":["null","long"],"default":null}]}"#;

/// A decoder of one schema, with these fields of the source and of the record, and passthrough columns.
fn decoder(source: &str, record: &str, fields: &[&str], text: &str) -> Result<Framed, String> {
    let yaml = format!(
        "name: p\nsource: {{ kafka: {{ brokers: b, topic: t, partitioned_by: key, format: {{ avro: {{ registry: \
         \"http://127.0.0.1:9\" }} }}{source} }} }}\nrecord: {{ {record} }}"
    );
    let pipeline = pipeline(&yaml);
    let encoding = pipeline.source.encoding().unwrap();
    let fields: Vec<At<String>> = fields.iter().map(|name| At::default_value((*name).to_string())).collect();
    let envelope = encoding.envelope.as_ref().map(|envelope| envelope.value);
    let reader = AvroReaderSchema::within(&schema(text), envelope)?;
    let wrong = std::cell::RefCell::new(String::new());
    let types = |name: &str, purpose| reader.type_of(name, purpose).map_err(|why| *wrong.borrow_mut() = why).ok();
    let mut problems = Problems::new("p.yaml");
    let planned = columns::plan(&pipeline, encoding, &fields, &types, &mut problems);
    let columns = Arc::new(planned.ok_or_else(|| wrong.borrow().clone())?.0);
    let crate::config::Format::Avro(source) = &encoding.format.value else { panic!("no registry") };
    let registry = Arc::new(Registry::new(source).unwrap());
    let schemas = Arc::new(Schemas::new(Some(registry), &[]));
    let mut framed = Framed::new(columns.clone(), schemas, Language::Avro, reader.bodies(columns));
    framed.learn(&schema(text));
    framed.stop_at_deletes();
    Ok(framed)
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
    let mut messages = Messages::default();
    messages.push(0, 1000, Some(br#"{"id":9}"#), Some(payload));
    let decoded = decoder.decode(&messages, 0..1, &mut Decided::default()).unwrap();
    if let Some(deleted) = decoded.deleted {
        return format!("deleted {:?}", deleted.key.map(|key| String::from_utf8(key).unwrap()));
    }
    if let Some((_, reason)) = decoded.records.bad.first() {
        return format!("{reason}: {}", decoded.details.first().map_or("", |(_, detail)| detail));
    }
    let records = &decoded.records;
    let passthrough = records.passthrough.iter();
    let passthrough: Vec<String> =
        passthrough.map(|array| arrow::util::display::array_value_to_string(array, 0).unwrap()).collect();
    let (key, values) = (String::from_utf8_lossy(records.key(0)).into_owned(), &records.values);
    format!("{key} {} {:?} {passthrough:?}", records.times[0], values.iter().map(|all| all[0]).collect::<Vec<_>>())
}

#[test]
fn debezium_s_envelope_in_avro_is_the_row_after_the_change() {
    let fields = ["source.version", "envelope.ts_ms", "envelope.op", "on", "before.v"];
    let mut decoder = decoder(", envelope: debezium", "key: id, time: at, values: [v]", &fields, ENVELOPE).unwrap();
    let (none, micros) = (long(0), 1_700_000_000_000_001);
    let tail = r#""2.7", "5""#;
    let created = shown(&mut decoder, &change(&none, &row(7, Some(1.5), micros), "c"));
    assert_eq!(created, format!(r#"7 {micros} [1.5] [{tail}, "c", "2022-01-08T00:00:00", ""]"#));
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
    assert_eq!(shown(&mut moved, &body), r#"7 12 [2.5] [""]"#);
}
