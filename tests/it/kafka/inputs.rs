//! Everything that a network may read and say, on Kafka: texts, keys, what is known ahead, quantiles, several seeds. What
//! is trained on a topic answers each of its records once, through a kill, as it answers the same records in a file.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Float64Builder, ListBuilder, StringArray, TimestampMillisecondArray};
use rdkafka::Message;
use serde_json::Value;

use super::broker::{Broker, eventually};
use super::process::Setup;
use super::records::{Sender, all};
use crate::common::{kolk_exits, series, write_columns};

const EXTRA: &str = "state: { path: state/, checkpoint_every: 300ms }\nruntime: { instance: \"${KOLK_INSTANCE:-a}\" }";
const RECORD: &str = "values: [value], vectors: { ahead: 2 }";
const TRAIN: &str = "train: { target: value, horizon: 2, layers: [ gru: 4 ], chunk: 8, updates: 12, seeds: 2, \
                     known_ahead: [ahead], embeddings: [ { column: word, size: 2 }, { key: true, size: 2 } ], \
                     quantiles: [0.1, 0.9] }";
const FIELDS: [&str; 5] = ["ts", "prediction", "prediction_q10", "prediction_q90", "warm_up"];
const WORDS: [Option<&str>; 4] = [Some("calm"), Some("storm"), None, Some("sun")];

struct Record {
    key: String,
    ts: i64,
    value: f64,
    word: Option<&'static str>,
    ahead: [f64; 2],
}

fn records() -> Vec<Record> {
    let record = |(at, (key, ts, value)): (usize, (String, i64, f64))| Record {
        key,
        ts,
        value,
        word: WORDS[at * 7 % 11 % 4],
        ahead: [(at % 5) as f64, (at % 3) as f64 / 4.0],
    };
    series(5, 80).into_iter().enumerate().map(record).collect()
}

fn message(record: &Record) -> (String, String) {
    let Record { key, ts, value, word, ahead } = record;
    (key.clone(), serde_json::json!({ "ts": ts, "value": value, "word": word, "ahead": ahead }).to_string())
}

fn write(path: &Path, records: &[Record]) {
    let mut ahead = ListBuilder::new(Float64Builder::new());
    records.iter().for_each(|record| ahead.append_value(record.ahead.map(Some)));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("key", Arc::new(records.iter().map(|record| Some(record.key.as_str())).collect::<StringArray>())),
        ("ts", Arc::new(records.iter().map(|record| Some(record.ts)).collect::<TimestampMillisecondArray>())),
        ("value", Arc::new(records.iter().map(|record| Some(record.value)).collect::<Float64Array>())),
        ("word", Arc::new(records.iter().map(|record| record.word).collect::<StringArray>())),
        ("ahead", Arc::new(ahead.finish())),
    ];
    write_columns(path, columns, 100);
}

/// Of each key its outputs, in order.
fn outputs<'a>(rows: impl Iterator<Item = &'a [u8]>) -> BTreeMap<String, Vec<Value>> {
    let mut outputs: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for row in rows {
        let row: Value = serde_json::from_slice(row).unwrap();
        let key = row["key"].as_str().unwrap().to_string();
        outputs.entry(key).or_default().push(FIELDS.iter().map(|field| row[*field].clone()).collect());
    }
    outputs
}

#[test]
fn what_is_trained_on_a_topic_answers_as_on_a_file() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "inputs", &format!("{EXTRA}\n{TRAIN}"));
    let text = std::fs::read_to_string(setup.file()).unwrap();
    let changed = text
        .replace("values: [value] }", &format!("{RECORD} }}"))
        .replace("infer: { model: m,", "infer: { model: trained,")
        .replace("key: key, properties", "key: key, columns: { word: string }, properties");
    assert!(changed.contains("word: string") && changed.contains(RECORD) && changed.contains("model: trained"));
    std::fs::write(setup.file(), changed).unwrap();
    let records = records();
    let sender = Sender::new(&broker);
    let send = |records: &[Record]| {
        sender.send_text(&setup.input, &records.iter().map(message).collect::<Vec<_>>());
        sender.flush();
    };
    send(&records[..300]);
    let file = setup.file();
    kolk_exits(0, &["train", file.to_str().unwrap()]);

    let kolk = setup.start("a");
    let answered = |count: usize| {
        eventually(&format!("{count} outputs"), || {
            Some(all(&broker, &setup.output)).filter(|messages| messages.len() >= count)
        })
    };
    answered(200);
    kolk.kill();
    send(&records[300..]);
    let kolk = setup.start("a");
    answered(records.len());
    kolk.stop();
    broker.settled(&setup.output);
    let messages = all(&broker, &setup.output);
    let found = outputs(messages.iter().map(|message| message.payload().unwrap()));

    // The same records and the same version, in a file.
    write(&setup.path().join("data.parquet"), &records);
    let file = setup.path().join("file.yaml");
    let text = format!(
        "name: file\nsource: {{ parquet: {{ path: data.parquet }} }}\nrecord: {{ key: key, time: ts, {RECORD} }}\n\
         stages: [ infer: {{ model: trained, mode: carry }} ]\nsink: {{ stdout: {{ fields: [value] }} }}\n\
         state: {{ path: state-of-file/ }}\n"
    );
    std::fs::write(&file, text).unwrap();
    let (out, _) = kolk_exits(0, &["run", file.to_str().unwrap()]);
    let expected = outputs(out.lines().map(str::as_bytes));
    assert_eq!(expected.values().map(Vec::len).sum::<usize>(), records.len());
    assert!(expected.values().flatten().all(|output| output[2].is_array() && output[3].is_array()), "{out}");
    let times = |outputs: &BTreeMap<String, Vec<Value>>| -> Vec<usize> { outputs.values().map(Vec::len).collect() };
    assert_eq!(times(&found), times(&expected), "each record once");
    for (key, expected) in &expected {
        for (found, expected) in found[key].iter().zip(expected) {
            // Times are written in the way of each source.
            assert_eq!(found.as_array().unwrap()[1..], expected.as_array().unwrap()[1..], "{key}");
        }
    }
}
