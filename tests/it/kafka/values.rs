//! Values that a schema changes, or that no column can hold: outputs have the right value, or the message is a dead
//! letter. Avro and Protobuf, with the real registry.

use std::time::Duration;

use rdkafka::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::{Value, json};

use super::broker::{Broker, eventually};
use super::features::{all, payloads, reason, wait_for};
use super::front;
use super::process::Setup;
use super::wire::{frame, varint, zigzag};
use crate::common::kolk_exits;

const SOON: Duration = Duration::from_secs(40);

/// Registers a schema under the subject of a topic's values; gives its id.
fn register(topic: &str, schema_type: &str, schema: &str) -> u32 {
    front::register(&format!("{topic}-value"), schema_type, schema)
}

/// A pipeline without a model, whose outputs and dead letters go to topics.
fn write(broker: &Broker, setup: &Setup, format: &str) {
    let Setup { input, output, dead, group, .. } = setup;
    let text = format!(
        "name: test\n\
         source: {{ kafka: {{ brokers: \"{}\", topic: {input}, group: {group}, partitioned_by: key, format: {{ {format}: {{ registry: \"{}\" }} }}, properties: {{ session.timeout.ms: 6000 }} }} }}\n\
         record: {{ key: shop, time: ts, values: [v] }}\n\
         sink: {{ kafka: {{ topic: {output}, fields: [v, x] }} }}\n\
         dead_letters: {{ kafka: {{ topic: {dead} }} }}\n",
        broker.address,
        front::url()
    );
    std::fs::write(setup.file(), text).unwrap();
}

fn send(broker: &Broker, topic: &str, payloads: &[Vec<u8>]) {
    let producer: BaseProducer = broker.client().set("partitioner", "murmur2_random").create().unwrap();
    for payload in payloads {
        producer.send(BaseRecord::to(topic).key("a").payload(payload)).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(SOON).unwrap();
}

/// Every output, and every dead letter's reason; all outputs are JSON without the text of an error.
fn outcome(broker: &Broker, setup: &Setup, outputs: usize, dead: usize) -> (Vec<Value>, Vec<String>) {
    let found = wait_for(broker, &setup.output, outputs);
    let reasons =
        eventually("the dead letters", || Some(all(broker, &setup.dead, reason)).filter(|found| found.len() >= dead));
    let texts = all(broker, &setup.output, |message| String::from_utf8(message.payload().unwrap().to_vec()).unwrap());
    assert!(texts.iter().all(|text| !text.contains("ERROR") && !text.contains("Cast")), "{texts:?}");
    (found, reasons)
}

fn sale(unit: &str, scale: u32) -> String {
    let time = json!({ "type": "long", "logicalType": unit });
    let price = json!({ "type": "bytes", "logicalType": "decimal", "precision": 18, "scale": scale });
    let fields = json!([
        { "name": "shop", "type": "string" }, { "name": "ts", "type": time }, { "name": "v", "type": price },
        { "name": "until", "type": time }, { "name": "x", "type": price },
    ]);
    json!({ "type": "record", "name": "Sale", "fields": fields }).to_string()
}

fn avro(id: u32, ts: i64, until: i64, price: i64) -> Vec<u8> {
    let mut bytes = frame(id);
    zigzag(1, &mut bytes);
    bytes.push(b'a');
    zigzag(ts, &mut bytes);
    let price = [&[16_u8][..], &price.to_be_bytes()].concat();
    bytes.extend(&price);
    zigzag(until, &mut bytes);
    bytes.extend(&price);
    bytes
}

#[test]
fn avro_logical_types_change_and_values_stay() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "logical", "");
    let old = register(&setup.input, "AVRO", &sale("timestamp-millis", 2));
    write(&broker, &setup, "avro");
    let text = std::fs::read_to_string(setup.file()).unwrap().replace("[v, x]", "[v, x, until]");
    std::fs::write(setup.file(), text).unwrap();
    let kolk = setup.start("a");
    let at = 1_700_000_000_123;
    send(&broker, &setup.input, &[avro(old, at, at, 110), avro(old, at * 1_000_000, at, 1)]);
    wait_for(&broker, &setup.output, 1);
    // The schema changes while it runs.
    let new = register(&setup.input, "AVRO", &sale("timestamp-micros", 4));
    send(
        &broker,
        &setup.input,
        &[
            avro(new, (at + 1) * 1000, (at + 2) * 1000, 12_300),
            avro(new, (at + 2) * 1000, (at + 2) * 1000, 12_345),
            avro(new, (at + 3) * 1000, (at + 2) * 1000 + 1, 12_300),
            avro(old, at + 4, i64::MAX, 1),
            avro(old, at + 5, at, 500),
        ],
    );
    let (outputs, mut dead) = outcome(&broker, &setup, 3, 4);
    kolk.stop();
    let row = |ts: &str, price: &str, until: &str| {
        let text = format!(r#"{{"shop":"a","ts":"{ts}Z","v":{price},"x":{price},"until":"{until}Z"}}"#);
        serde_json::from_str::<Value>(&text).unwrap()
    };
    let expected = [
        row("2023-11-14T22:13:20.123", "1.1", "2023-11-14T22:13:20.123"),
        row("2023-11-14T22:13:20.124", "1.23", "2023-11-14T22:13:20.125"),
        row("2023-11-14T22:13:20.128", "5.0", "2023-11-14T22:13:20.123"),
    ];
    assert_eq!(outputs, expected);
    dead.sort();
    assert_eq!(dead, ["bad_schema", "bad_schema", "time_out_of_range", "time_out_of_range"]);
}

const PROTO: &str = "syntax = \"proto3\"; import \"google/protobuf/timestamp.proto\";
message Sale { string shop = 1; google.protobuf.Timestamp ts = 2; double v = 3; X x = 4; }";

/// `x` as its field is encoded, tag and all.
fn protobuf(id: u32, seconds: i64, x: &[u8]) -> Vec<u8> {
    let mut time = vec![8];
    varint(seconds as u64, &mut time);
    let mut bytes = frame(id);
    bytes.extend([0, 10, 1, b'a', 18, time.len() as u8]);
    bytes.extend(&time);
    bytes.push(25);
    bytes.extend(1.5_f64.to_le_bytes());
    bytes.extend(x);
    bytes
}

#[test]
fn protobuf_times_and_types_that_do_not_fit_are_dead_letters() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "logical-proto", "");
    let old = register(&setup.input, "PROTOBUF", &PROTO.replace("X x", "google.protobuf.Timestamp x"));
    write(&broker, &setup, "protobuf");
    let kolk = setup.start("a");
    let stamp = |seconds: u64| {
        let mut time = vec![8];
        varint(seconds, &mut time);
        [&[34, time.len() as u8][..], &time].concat()
    };
    send(
        &broker,
        &setup.input,
        &[
            protobuf(old, 1_700_000_000, &stamp(5)),
            protobuf(old, 9_000_000_000_000, &stamp(5)),
            protobuf(old, 1, &stamp(9_000_000_000_000)),
        ],
    );
    wait_for(&broker, &setup.output, 1);
    // Under another subject: the registry calls it no compatible change, and producers do it all the same.
    let new = register(&format!("{}-other", setup.input), "PROTOBUF", &PROTO.replace("X x", "int64 x"));
    let mut number = vec![32];
    varint(1_700_000_000, &mut number);
    send(&broker, &setup.input, &[protobuf(new, 1_700_000_001, &number), protobuf(old, 1_700_000_002, &stamp(7))]);
    let (outputs, mut dead) = outcome(&broker, &setup, 2, 3);
    kolk.stop();
    let times: Vec<_> = outputs.iter().map(|row| (row["ts"].as_str().unwrap(), row["x"].as_str().unwrap())).collect();
    let expected = [("2023-11-14T22:13:20Z", "1970-01-01T00:00:05Z"), ("2023-11-14T22:13:22Z", "1970-01-01T00:00:07Z")];
    assert_eq!(times, expected);
    dead.sort();
    assert_eq!(dead, ["bad_schema", "time_out_of_range", "time_out_of_range"]);
    assert_eq!(payloads(&broker, &setup.output).len(), 2);
}

/// Sends messages with keys of any bytes; gives the outputs' keys, payloads and partitions.
fn keyed(format: &str, keys: &[&[u8]], outputs: usize) -> Vec<(Vec<u8>, String, i32)> {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, &format!("keys-{format}"), "");
    let Setup { input, output, dead, group, .. } = &setup;
    let text = format!(
        "name: test\n\
         source: {{ kafka: {{ brokers: \"{}\", topic: {input}, group: {group}, key: {{ column: shop, format: {format} }}, properties: {{ session.timeout.ms: 6000 }} }} }}\n\
         record: {{ key: shop, time: {{ column: ts, unit: step }}, values: [v] }}\n\
         stages: [ lags: {{ v: [1] }} ]\n\
         sink: {{ kafka: {{ topic: {output}, fields: [v, v_lag_1] }} }}\n\
         dead_letters: {{ kafka: {{ topic: {dead} }} }}\n",
        broker.address
    );
    std::fs::write(setup.file(), text).unwrap();
    let producer: BaseProducer = broker.client().set("partitioner", "murmur2_random").create().unwrap();
    for (ts, key) in keys.iter().enumerate() {
        let payload = format!(r#"{{"ts":{ts},"v":{ts}}}"#);
        producer.send(BaseRecord::to(input).key(*key).payload(&payload)).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(SOON).unwrap();
    let kolk = setup.start("a");
    wait_for(&broker, output, outputs);
    let mut found = all(&broker, output, |message| {
        let text = String::from_utf8(message.payload().unwrap().to_vec()).unwrap();
        (message.key().unwrap().to_vec(), text, message.partition())
    });
    let mut inputs = all(&broker, input, |message| (message.key().unwrap().to_vec(), message.partition()));
    eventually("the dead letters", || {
        Some(all(&broker, dead, reason)).filter(|found| found.len() == keys.len() - outputs)
    });
    kolk.stop();
    inputs.dedup();
    for (key, _, partition) in &found {
        assert!(inputs.contains(&(key.clone(), *partition)), "{key:?} is in partition {partition}, {inputs:?}");
    }
    found.sort_by_key(|(key, text, _)| (key.clone(), text.clone()));
    found
}

#[test]
fn keys_that_are_no_text_have_a_state_each_and_come_out_as_they_came() {
    let ints: [&[u8]; 4] = [&[0, 0, 0, 1], &[255, 255, 255, 254], &[0, 0, 0, 1], b"text!"];
    let found = keyed("int", &ints, 3);
    let rows: Vec<_> = found.iter().map(|(key, text, _)| (&key[..], text.as_str())).collect();
    let expected: [(&[u8], &str); 3] = [
        (&[0, 0, 0, 1], r#"{"shop":"1","ts":0,"v":0.0,"v_lag_1":null}"#),
        (&[0, 0, 0, 1], r#"{"shop":"1","ts":2,"v":2.0,"v_lag_1":0.0}"#),
        (&[255, 255, 255, 254], r#"{"shop":"-2","ts":1,"v":1.0,"v_lag_1":null}"#),
    ];
    assert_eq!(rows, expected);
    let found = keyed("json", &[br#""shop-1""#, b"7", br#""shop-1""#], 3);
    let rows: Vec<_> = found.iter().map(|(key, text, _)| (&key[..], text.as_str())).collect();
    let expected: [(&[u8], &str); 3] = [
        (br#""shop-1""#, r#"{"shop":"shop-1","ts":0,"v":0.0,"v_lag_1":null}"#),
        (br#""shop-1""#, r#"{"shop":"shop-1","ts":2,"v":2.0,"v_lag_1":0.0}"#),
        (b"7", r#"{"shop":"7","ts":1,"v":1.0,"v_lag_1":null}"#),
    ];
    assert_eq!(rows, expected);
}

#[test]
fn avro_keys_of_two_schemas_are_one_key_whose_state_goes_on() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "keys-avro", "");
    let Setup { input, output, dead, group, .. } = &setup;
    let fields = json!([
        { "name": "ts", "type": { "type": "long", "logicalType": "timestamp-millis" } }, { "name": "v", "type": "double" },
    ]);
    let sale = register(input, "AVRO", &json!({ "type": "record", "name": "Sale", "fields": fields }).to_string());
    let text = register(&format!("{input}-key"), "AVRO", r#""string""#);
    let record = json!({ "type": "record", "name": "Key", "fields": [{ "name": "shop", "type": "string" }] });
    let record = register(&format!("{input}-other-key"), "AVRO", &record.to_string());
    assert_ne!(text, record);
    let config = format!(
        "name: test\n\
         source: {{ kafka: {{ brokers: \"{}\", topic: {input}, group: {group}, key: {{ column: shop, format: avro }}, format: {{ avro: {{ registry: \"{}\" }} }}, properties: {{ session.timeout.ms: 6000 }} }} }}\n\
         record: {{ key: shop, time: ts, values: [v] }}\n\
         stages: [ lags: {{ v: [1] }} ]\n\
         sink: {{ kafka: {{ topic: {output}, fields: [v, v_lag_1] }} }}\n\
         dead_letters: {{ kafka: {{ topic: {dead} }} }}\n",
        broker.address,
        front::url()
    );
    std::fs::write(setup.file(), config).unwrap();
    let key = |id: u32| [&frame(id)[..], &[12], b"shop-1"].concat();
    let value = |number: i64| {
        let mut bytes = frame(sale);
        zigzag(1_700_000_000_000 + number, &mut bytes);
        bytes.extend((number as f64).to_le_bytes());
        bytes
    };
    let producer: BaseProducer = broker.client().create().unwrap();
    // In one partition, wherever a producer's partitioner would put the keys.
    let put_in = |partition: i32, key: &[u8], payload: Option<Vec<u8>>| {
        let mut message = BaseRecord::<[u8], Vec<u8>>::to(input).key(key).partition(partition);
        if let Some(payload) = &payload {
            message = message.payload(payload);
        }
        producer.send(message).map_err(|(error, _)| error).unwrap();
        producer.flush(SOON).unwrap();
    };
    let put = |key: &[u8], payload| put_in(0, key, payload);
    put(&key(text), Some(value(1)));
    put(&key(record), Some(value(2)));
    put(b"shop-1", Some(value(3)));
    let kolk = setup.start("a");
    wait_for(&broker, output, 2);
    // The state goes on in another process, and a tombstone of either schema is the key's.
    kolk.stop();
    put(&key(text), Some(value(4)));
    put(&key(record), None);
    put(&key(u32::MAX - 7), Some(value(5)));
    put(&key(u32::MAX - 7), None);
    put(&key(text), Some(value(6)));
    let kolk = setup.start("b");
    wait_for(&broker, output, 4);
    let found = all(&broker, output, |message| {
        let row: Value = serde_json::from_slice(message.payload().unwrap()).unwrap();
        (message.key().unwrap().to_vec(), row["shop"].clone(), row["v"].as_f64(), row["v_lag_1"].as_f64())
    });
    let row = |v: f64, lag: Option<f64>| (b"shop-1".to_vec(), json!("shop-1"), Some(v), lag);
    assert_eq!(found, [row(1.0, None), row(2.0, Some(1.0)), row(4.0, Some(2.0)), row(6.0, None)]);
    let mut reasons =
        eventually("the dead letters", || Some(all(&broker, dead, reason)).filter(|found| found.len() >= 3));
    kolk.stop();
    // Their keys begin with ids of the registry, which decide about their partitions.
    reasons.sort();
    assert_eq!(reasons, ["bad_key", "tombstone", "unknown_schema"]);
    // A producer that places the key elsewhere under its new schema is found before a start.
    put_in(1, &key(record), Some(value(7)));
    let (_, said) = kolk_exits(2, &["check", setup.file().to_str().unwrap()]);
    assert!(said.contains("\"shop-1\" is in partitions 0, 1") && said.contains("the id of its schema"), "{said}");
}

/// Sound as bytes and a vector of three: frames come out, across messages and a restart, and what has another width is a
/// dead letter.
#[test]
fn samples_become_frames_across_a_restart() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "vectors", "");
    let fields = json!([
        { "name": "shop", "type": "string" }, { "name": "ts", "type": { "type": "long", "logicalType": "timestamp-millis" } },
        { "name": "v", "type": { "type": "array", "items": "float" } }, { "name": "x", "type": "bytes" },
    ]);
    let schema = json!({ "type": "record", "name": "Sound", "fields": fields }).to_string();
    let id = register(&setup.input, "AVRO", &schema);
    write(&broker, &setup, "avro");
    let text = std::fs::read_to_string(setup.file()).unwrap();
    let vectors = "vectors: { v: 3, x: { width: any, type: int16 } }";
    let stages = "stages: [ { frame: { column: x, size: 4, hop: 2, pad: 1, rate: 1000 } } ]\nsink:";
    std::fs::write(setup.file(), text.replace("values: [v]", vectors).replace("sink:", stages)).unwrap();
    let sound = |ts: i64, v: &[f32], x: &[i16]| {
        let mut bytes = frame(id);
        bytes.extend([2, b'a']);
        zigzag(ts, &mut bytes);
        zigzag(v.len() as i64, &mut bytes);
        v.iter().for_each(|number| bytes.extend(number.to_le_bytes()));
        bytes.push(0);
        zigzag(x.len() as i64 * 2, &mut bytes);
        x.iter().for_each(|number| bytes.extend((number * 8192).to_le_bytes()));
        bytes
    };
    let kolk = setup.start("a");
    send(&broker, &setup.input, &[sound(10, &[1.0, 2.0, 3.0], &[1, 2]), sound(20, &[4.0, 5.0], &[3])]);
    send(&broker, &setup.input, &[sound(30, &[6.0, 7.0, 8.0], &[-1, -2])]);
    wait_for(&broker, &setup.output, 1);
    kolk.kill();
    let kolk = setup.start("a");
    send(&broker, &setup.input, &[sound(40, &[9.0, 0.5, 0.0], &[0, 1, 2])]);
    let (outputs, dead) = outcome(&broker, &setup, 3, 1);
    kolk.stop();
    let row = |ms: i64, v: [f64; 3], x: [f64; 4]| json!({ "shop": "a", "ts": format!("1970-01-01T00:00:00.{ms:03}Z"), "v": v, "x": x });
    let expected = [
        row(29, [6.0, 7.0, 8.0], [0.0, 0.25, 0.5, -0.25]),
        row(38, [9.0, 0.5, 0.0], [0.5, -0.25, -0.5, 0.0]),
        row(40, [9.0, 0.5, 0.0], [-0.5, 0.0, 0.25, 0.5]),
    ];
    assert_eq!((outputs, dead), (expected.to_vec(), vec!["bad_vector".to_string()]));
}
