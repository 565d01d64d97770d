//! An imported model on Kafka: killed, replayed, changed to other versions while it runs. Each record has its output
//! once, with the numbers of a loop in Python, and those that are replayed with the same bits.

use arrow::array::AsArray;
use arrow::datatypes::Float32Type;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;

use super::broker::{Broker, eventually};
use super::features::{all, reason, wait_for};
use super::process::{Kolk, Setup};
use crate::common::*;
use crate::foreign_models::*;
use crate::http::{free_address, get, value};

const KEYS: usize = 12;
const ROWS: usize = 150;

fn send(broker: &Broker, setup: &Setup, records: &[Record]) {
    let producer: BaseProducer = broker.client().set("partitioner", "murmur2_random").create().unwrap();
    for record in records {
        let payload = payload(record);
        producer.send(BaseRecord::to(&setup.input).key(&record.key).payload(&payload)).map_err(|e| e.0).unwrap();
    }
    producer.flush(std::time::Duration::from_secs(60)).unwrap();
}

/// Waits until all partitions have another version.
fn swapped(kolk: &Kolk) {
    eventually("all partitions", || {
        (kolk.log().matches("continues with another model version").count() == 4).then_some(())
    });
}

#[test]
fn an_imported_model_has_what_our_own_have() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "foreign", "");
    let folder = setup.path();
    if !write_models(folder) {
        return;
    }
    // The model that the setup brings.
    std::fs::remove_dir_all(folder.join("models")).unwrap();
    import(folder, "m1");
    let address = free_address();
    let kafka = |group: &str| {
        format!(
            "source: {{ kafka: {{ brokers: \"{}\", topic: {}, group: {group}, key: key, properties: {{ session.timeout.ms: 6000 }} }} }}\n",
            broker.address, setup.input
        )
    };
    // Only a change of the version takes a checkpoint: after a kill all else is replayed.
    let text = format!(
        "name: test\n{}{}sink: {{ kafka: {{ topic: {}, fields: [value] }} }}\ndead_letters: {{ kafka: {{ topic: {} }} }}\n\
         state: {{ path: state/, checkpoint_every: 1h }}\n\
         runtime: {{ workers: 2, instance: one, model_every: 100ms, http: \"{address}\" }}\n",
        kafka(&setup.group),
        sections("model: m"),
        setup.output,
        setup.dead
    );
    std::fs::write(setup.file(), text).unwrap();
    let records = records(KEYS, ROWS);
    // Where versions take over, and where kolk is killed in the middle of one.
    let (second, third, refused) = (600, 1_000, 1_400);
    let mut sent = 0;
    let mut more = |to: usize| {
        send(&broker, &setup, &records[sent..to]);
        sent = to;
        wait_for(&broker, &setup.output, to - bad(&records[..to]))
    };
    let kolk = setup.start("a");
    more(300);
    kolk.kill();
    let kolk = setup.start("a");
    more(second);
    import(folder, "m2");
    swapped(&kolk);
    more(800);
    kolk.kill();
    let kolk = setup.start("a");
    more(third);
    // Another cell with another state: it begins from its own initial state.
    import(folder, "m3");
    swapped(&kolk);
    more(refused);
    // Another output: it isn't used.
    import(folder, "m4");
    eventually("the refusal", || kolk.log().contains("new model version can't be used").then_some(()));
    let payloads = more(records.len());
    let metrics = get(&address, "/metrics").unwrap();
    let log = kolk.stop();
    assert!(log.contains("m/4 makes another output"), "{log}");
    for (name, least) in [
        ("kolk_model_version{model=\"m\"}", 3.0),
        ("kolk_model_refused_version{model=\"m\"}", 4.0),
        ("kolk_model_swaps_total", 4.0),
        ("kolk_replayed_messages_total", 150.0),
        ("kolk_inference_rows_count", 1.0),
        ("kolk_dead_letters_total{reason=\"bad_id\"}", 1.0),
        ("kolk_state_keys", KEYS as f64),
    ] {
        assert!(value(&metrics, name).is_some_and(|value| value >= least), "{name} in {metrics}");
    }

    let eras = [("m1", 1, 0), ("m2", 2, second), ("m3", 3, third)];
    let eras = eras.map(|(model, version, from)| Era { model, version, from });
    let found = received(&payloads);
    let (expected, states) = expected(folder, &records, &eras, false);
    assert_close(&found, &expected);
    let letters = all(&broker, &setup.dead, reason);
    assert_eq!((letters.len(), letters.iter().all(|reason| reason == "bad_id")), (bad(&records), true));

    // Bit by bit what a run over files gives.
    write_records(&folder.join("data.parquet"), &records[..second]);
    let files = |name: &str, source: &str, infer: &str| {
        let file = folder.join(format!("{name}.yaml"));
        let text = format!(
            "name: {name}\n{source}{}sink: {{ parquet: {{ path: {name}/ }} }}\n\
             dead_letters: {{ parquet: {{ path: {name}-refused/ }} }}\n",
            sections(infer)
        );
        std::fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_string()
    };
    let file = files("files", "source: { parquet: { path: data.parquet } }\n", "model: m/1");
    let text = std::fs::read_to_string(&file).unwrap().replace("{ column: ts, unit: ms }", "ts");
    std::fs::write(&file, text).unwrap();
    kolk_exits(0, &["run", &file]);
    for (key, rows) in written(&folder.join("files")) {
        assert_eq!(found[&key][..rows.len()], rows[..], "{key}");
    }

    shows_states(&setup, &states);

    // A window over the same topic.
    import(folder, "w1");
    let file = files("window", &kafka(&format!("{}-window", setup.group)), "model: w, mode: window, window: 5");
    kolk_exits(0, &["run", "--until", "end", &file]);
    let (expected, _) =
        crate::foreign_models::expected(folder, &records, &[Era { model: "w1", version: 1, from: 0 }], true);
    assert_close(&written(&folder.join("window")), &expected);
}

/// `kolk state get` and `export` give the states of the model by name and type, as Python has them.
fn shows_states(setup: &Setup, states: &States) {
    let file = setup.file();
    let file = file.to_str().unwrap();
    let close = |found: &[f64], expected: &[f64]| {
        assert_eq!(found.len(), expected.len());
        let apart = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(apart <= 1e-6, "{found:?} {expected:?}");
    };
    let (state, _) = kolk_exits(0, &["state", "get", file, "key-001"]);
    let state: Value = serde_json::from_str(&state).unwrap();
    let stages = state["stages"].as_array().unwrap();
    let infer = stages.iter().find(|stage| stage["stage"] == "infer").unwrap();
    for (name, expected) in &states["key-001"] {
        let field = infer["fields"].as_array().unwrap().iter().find(|field| field["name"] == *name).unwrap();
        assert_eq!(field["type"], "f32");
        close(&serde_json::from_value::<Vec<f64>>(field["value"].clone()).unwrap(), expected);
    }
    let to = setup.path().join("exported");
    std::fs::create_dir(&to).unwrap();
    kolk_exits(0, &["state", "export", file, "--to", to.join("state.parquet").to_str().unwrap()]);
    let mut keys = 0;
    for part in parts(&to) {
        for row in 0..part.num_rows() {
            let key = part.column_by_name("key").unwrap().as_string::<i32>().value(row);
            for (name, expected) in &states[key] {
                let values = part.column_by_name(&format!("infer.{name}")).unwrap().as_fixed_size_list().value(row);
                let values: Vec<f64> =
                    values.as_primitive::<Float32Type>().values().iter().map(|value| f64::from(*value)).collect();
                close(&values, expected);
            }
            keys += 1;
        }
    }
    assert_eq!(keys, KEYS);
}
