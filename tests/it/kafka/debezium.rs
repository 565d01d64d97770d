//! A table's changes as Debezium writes them with a schema registry: schemas of keys and of envelopes, decimals and
//! times as Connect names them, deletes and tombstones.

use std::process::Command;

use serde_json::{Value, json};

use super::broker::Broker;
use super::front;
use super::process::Setup;
use crate::common::{finished, kolk_exits};

fn write(setup: &Setup, broker: &Broker, source: &str, record: &str) {
    let text = format!(
        "name: test\n\
         source: {{ kafka: {{ brokers: \"{}\", topic: {}, group: {}, format: {{ avro: {{ registry: \"{}\" }} }}, envelope: debezium, {source} }} }}\n\
         record: {{ {record} }}\n\
         stages: [ lags: {{ sold: [1] }} ]\n\
         sink: {{ stdout: {{ fields: [sold, sold_lag_1, price, weight, seen, day, kind, uid, source.lsn, envelope.op] }} }}\n\
         dead_letters: {{ parquet: {{ path: dead/ }} }}\n",
        broker.address,
        setup.input,
        setup.group,
        front::url()
    );
    std::fs::write(setup.file(), text).unwrap();
}

#[test]
fn a_table_s_changes_with_a_schema_registry() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "debezium-avro", "");
    let python = std::env::var("KOLK_PYTHON").expect("KOLK_PYTHON is not set: `make test` sets it");
    let written = finished(
        Command::new(python)
            .args(["-W", "ignore", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/debezium.py")])
            .args([&broker.address, &front::url(), &setup.input]),
    );
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    let file = setup.file();
    let file = file.to_str().unwrap();
    let row = |second: i64, id: &str, sold: Value, lag: Value, price: Value, weight: Value, op: &str| {
        json!({
            "id": id, "at": format!("2023-11-14T22:13:{}Z", 20 + second), "sold": sold, "sold_lag_1": lag,
            "price": price, "weight": weight, "seen": format!("2023-11-14T23:13:{}.5+01:00", 20 + second),
            "day": "2023-11-14T00:00:00", "kind": "web", "uid": "00112233-4455-6677-8899-aabbccddeeff",
            "source.lsn": 34_000_000 + second, "envelope.op": op,
        })
    };
    let null = Value::Null;
    // The delete resets the key; its tombstone says the same.
    let expected = vec![
        row(0, "1", json!(12.5), null.clone(), json!(1.234_567_890_123_456_8e13), json!("0.125"), "r"),
        row(2, "1", json!(-3.25), json!(12.5), null.clone(), json!("-1000"), "u"),
        row(4, "1", json!(7.0), null.clone(), null.clone(), null.clone(), "c"),
        row(1, "2", null.clone(), null.clone(), null.clone(), null, "c"),
    ];
    // The key is in the row, or it is the message's; the time is an integer with a name, or text.
    for (source, time) in [("partitioned_by: key", "at"), ("key: { column: id, format: avro }", "seen")] {
        write(&setup, &broker, source, &format!("key: id, time: {time}, values: [sold]"));
        let (out, said) = kolk_exits(0, &["run", file, "--until", "end"]);
        let mut rows: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        rows.sort_by_key(|row| row["id"].as_str().unwrap().to_string());
        let mut expected = expected.clone();
        if time == "seen" {
            for row in &mut expected {
                // What names the time's column is the time, not a field of the row.
                row["seen"] = row["at"].as_str().unwrap().replace('Z', ".500Z").into();
                row.as_object_mut().unwrap().remove("at");
            }
        }
        assert_eq!(rows, expected, "{said}");
        for refused in ["1 record to the dead letters: bad_envelope", "1 record to the dead letters: bad_schema"] {
            assert!(said.contains(refused), "{said}");
        }
        assert!(!said.contains("records to the dead letters"), "{said}");
    }
    // As numbers, the decimals that a carried column has as digits.
    write(&setup, &broker, "partitioned_by: key", "key: id, time: at, values: [sold, weight, price]");
    let (out, _) = kolk_exits(0, &["run", file, "--until", "end"]);
    assert!(out.contains(r#""price":1.2345678901234568e13,"weight":0.125"#), "{out}");
}
