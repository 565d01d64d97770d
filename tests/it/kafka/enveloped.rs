//! Payloads as Debezium and Kafka Connect write them: nested, in envelopes, with deletes.

use rdkafka::Message;
use rdkafka::message::Headers;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::{Value, json};

use super::broker::{Broker, eventually};
use super::features::{all, wait_for};
use super::process::Setup;
use crate::common::kolk_exits;

/// A pipeline without a model, whose outputs and dead letters go to topics.
fn write(broker: &Broker, setup: &Setup, [source, record, stages, fields]: [&str; 4]) {
    let Setup { input, output, dead, group, .. } = setup;
    let text = format!(
        "name: test\n\
         source: {{ kafka: {{ brokers: \"{}\", topic: {input}, group: {group}, partitioned_by: key, {source} }} }}\n\
         record: {{ {record} }}\n\
         stages: [ {stages} ]\n\
         sink: {{ kafka: {{ topic: {output}, fields: [{fields}] }} }}\n\
         dead_letters: {{ kafka: {{ topic: {dead} }} }}\n",
        broker.address,
    );
    std::fs::write(setup.file(), text).unwrap();
}

/// Sends messages with the keys that Debezium writes.
fn send(broker: &Broker, topic: &str, messages: &[(&str, Option<String>)]) {
    let producer: BaseProducer = broker.client().set("partitioner", "murmur2_random").create().unwrap();
    for (id, payload) in messages {
        let key = json!({ "schema": { "type": "struct" }, "payload": { "id": id } }).to_string();
        let record = BaseRecord::<String, String>::to(topic).key(&key);
        let record = match payload {
            Some(payload) => record.payload(payload),
            None => record,
        };
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(std::time::Duration::from_secs(40)).unwrap();
}

/// Reasons and details of the dead letters, sorted.
fn dead(broker: &Broker, setup: &Setup, count: usize) -> Vec<String> {
    let mut found = eventually("the dead letters", || {
        let found = all(broker, &setup.dead, |message| {
            let headers = message.headers().expect("headers");
            let text = |key: &str| {
                let header = headers.iter().find(|header| header.key == key);
                header.and_then(|header| header.value).map(|value| String::from_utf8_lossy(value).into_owned())
            };
            format!("{}: {}", text("kolk.reason").unwrap_or_default(), text("kolk.detail").unwrap_or_default())
        });
        Some(found).filter(|found| found.len() >= count)
    });
    found.sort();
    found
}

fn change(op: &str, before: &Value, after: &Value, ms: i64) -> Value {
    json!({ "before": before, "after": after, "source": { "connector": "postgresql", "ts_ms": ms }, "op": op, "ts_ms": 9, "transaction": null })
}

#[test]
fn debezium_s_changes_become_rows_and_deletes_reset_a_key() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "debezium", "");
    let record = "key: id, time: { column: source.ts_ms, unit: ms }, values: [v]";
    write(&broker, &setup, ["envelope: debezium", record, "lags: { v: [1] }", "v, v_lag_1, envelope.op"]);
    let row = |id: &str, v: Value| json!({ "id": id, "v": v });
    let wrapped =
        |change: Value| Some(json!({ "schema": { "type": "struct", "fields": [] }, "payload": change }).to_string());
    let bare = |change: Value| Some(change.to_string());
    send(
        &broker,
        &setup.input,
        &[
            ("a", wrapped(change("r", &Value::Null, &row("a", json!(1.0)), 1000))),
            ("b", bare(change("c", &Value::Null, &row("b", json!(5.0)), 1000))),
            ("a", bare(change("u", &row("a", json!(1.0)), &row("a", json!(2.0)), 2000))),
            ("a", wrapped(change("d", &row("a", json!(2.0)), &Value::Null, 3000))),
            ("a", None),
            ("a", wrapped(change("c", &Value::Null, &row("a", json!(3.0)), 4000))),
            ("b", bare(change("u", &Value::Null, &row("b", json!(6.0)), 5000))),
            // A message without a payload alone resets its key too.
            ("b", None),
            ("b", bare(change("c", &Value::Null, &row("b", json!(7.0)), 6000))),
            ("a", bare(json!({ "ts_ms": 5 }))),
            ("a", bare(change("t", &Value::Null, &Value::Null, 7000))),
            ("a", bare(change("u", &Value::Null, &row("a", json!("4.0")), 7000))),
            ("a", bare(change("c", &Value::Null, &row("a", json!(8.0)), 8000))),
        ],
    );
    let kolk = setup.start("a");
    let outputs = wait_for(&broker, &setup.output, 7);
    let dead = dead(&broker, &setup, 3);
    kolk.stop();
    let mut found: Vec<(&str, i64, f64, Option<f64>, &str)> = outputs
        .iter()
        .map(|row| {
            let (id, ms) = (row["id"].as_str().unwrap(), row["source.ts_ms"].as_i64().unwrap());
            (id, ms, row["v"].as_f64().unwrap(), row["v_lag_1"].as_f64(), row["envelope.op"].as_str().unwrap())
        })
        .collect();
    found.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
    let expected = [
        ("a", 1000, 1.0, None, "r"),
        ("a", 2000, 2.0, Some(1.0), "u"),
        ("a", 4000, 3.0, None, "c"),
        ("a", 8000, 8.0, Some(3.0), "c"),
        ("b", 1000, 5.0, None, "c"),
        ("b", 5000, 6.0, Some(5.0), "u"),
        ("b", 6000, 7.0, None, "c"),
    ];
    assert_eq!(found, expected);
    assert!(dead[0].starts_with("bad_envelope: \"op\" is \"t\""), "{dead:?}");
    assert!(dead[1].starts_with("bad_envelope: there is no \"op\""), "{dead:?}");
    assert!(dead[2].starts_with("bad_value: \"v\": invalid type: string \"4.0\", expected a number"), "{dead:?}");
    // What check says of a name that isn't there.
    let text = std::fs::read_to_string(setup.file()).unwrap();
    std::fs::write(setup.file(), text.replace("envelope: debezium", "timestamp: at").replace("envelope.op", "at"))
        .unwrap();
    let file = setup.file();
    let (out, err) = kolk_exits(2, &["check", file.to_str().unwrap()]);
    let said = out + &err;
    assert!(said.contains("after.v\" is: write `envelope: debezium`, or the whole name"), "{said}");
    std::fs::write(setup.file(), text.replace("values: [v]", "values: [v, after.v]")).unwrap();
    let (out, err) = kolk_exits(2, &["check", file.to_str().unwrap()]);
    let said = out + &err;
    assert!(said.contains("read twice"), "{said}");
}

#[test]
fn connect_s_records_are_read_by_their_schema() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "connect", "");
    let stages = "{ filter: { where: m.v > 0 } }, { lags: { m.v: [1] } }";
    let record = "key: id, time: ts, values: [m.v, price]";
    write(&broker, &setup, ["envelope: connect, numbers: text", record, stages, "m.v, m.v_lag_1, m.note"]);
    let schema = json!({ "type": "struct", "fields": [
        { "field": "id", "type": "int64" },
        { "field": "ts", "type": "int64", "name": "org.apache.kafka.connect.data.Timestamp" },
        { "field": "price", "type": "bytes", "name": "org.apache.kafka.connect.data.Decimal", "parameters": { "scale": "2" } },
        { "field": "m", "type": "struct", "fields": [{ "field": "v", "type": "string" }, { "field": "note", "type": "string" }] },
    ] });
    let wrapped = |payload: &str| Some(format!("{{\"schema\":{schema},\"payload\":{payload}}}"));
    let framed = |payload: &str| Some(format!("\0\0\0\0\u{7}\u{feff}{{\"schema\":null,\"payload\":{payload}}}"));
    send(
        &broker,
        &setup.input,
        &[
            ("1", wrapped(r#"{"id":1,"ts":1700000000000,"price":"AQA=","m":{"v":"1.5","note":"x","other":NaN}}"#)),
            ("1", framed(r#"{"id":1,"ts":"2023-11-14T22:15Z","price":3,"m":{"v":2.5}}"#)),
            ("1", wrapped("null")),
            ("1", framed(r#"{"id":1,"ts":"2023-11-14 22:16+0000","price":NaN,"m":{"v":3.5,"note":null}}"#)),
            ("1", framed(r#"{"id":1,"ts":"2023-11-14 22:17+00","price":"NaN","m":null}"#)),
            ("1", Some(r#"{"id":1,"ts":"2023-11-14T22:18:00Z"}"#.into())),
            ("1", framed(r#"{"id":1,"ts":"2023-11-14T22:19:00Z","m":[1]}"#)),
            ("1", framed(r#"{"id":1,"m":{"v":3.5}}"#)),
        ],
    );
    let kolk = setup.start("a");
    let outputs = wait_for(&broker, &setup.output, 4);
    let dead = dead(&broker, &setup, 3);
    kolk.stop();
    let row = |ts: &str, v: f64, lag: Option<f64>, note: Option<&str>| json!({ "id": "1", "ts": format!("{ts}Z"), "m.v": v, "m.v_lag_1": lag, "m.note": note });
    let expected = [
        row("2023-11-14T22:13:20", 1.5, None, Some("x")),
        row("2023-11-14T22:15:00", 2.5, Some(1.5), None),
        row("2023-11-14T22:16:00", 3.5, None, None),
        // Null is the last value, as `on.null` says.
        row("2023-11-14T22:17:00", 3.5, Some(3.5), None),
    ];
    assert_eq!(outputs, expected);
    assert!(dead[0].starts_with("bad_envelope: there is no \"payload\""), "{dead:?}");
    assert!(dead[1].starts_with("bad_value: invalid type: sequence, expected an object as \"payload.m\""), "{dead:?}");
    assert_eq!(dead[2], "null_time: field \"ts\" is missing or null");
}
