//! Models as others have them, written by Python with their cards, records for them, and what a loop in Python over one
//! key at a time makes of those.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeListArray, Float32Array, Float64Array, Int64Array, StringArray};
use arrow::array::{RecordBatch, TimestampMillisecondArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type, Int64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};

use super::common::*;
use super::official::python;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/foreign_models.py");
/// Ids of the table that the models look up.
const BELOW: i64 = 6;

/// What the models take: a value, an id, and now and then a vector of the key.
#[derive(Debug, Clone)]
pub struct Record {
    pub key: String,
    pub ts: i64,
    pub value: Option<f64>,
    pub token: i64,
    pub voice: Option<[f64; 2]>,
}

/// An output: its time, the version that made it, whether it is of the warm-up, and `level` beside `code` as bits;
/// `None`: the record took no step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    pub ts: i64,
    pub version: i64,
    pub warm_up: bool,
    pub numbers: Option<Vec<u64>>,
}

/// Outputs of each key, in their order.
pub type Outputs = BTreeMap<String, Vec<Made>>;
/// The states of each key, by name.
pub type States = BTreeMap<String, BTreeMap<String, Vec<f64>>>;

/// Writes the models into a folder; false without Python.
pub fn write_models(folder: &Path) -> bool {
    let Some(python) = python() else { return false };
    let out = finished(Command::new(python).arg(SCRIPT).arg("write").arg(folder));
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    true
}

/// `kolk models import` of a card in the folder; it becomes the champion. Same bits in every run are what all else
/// relies on.
pub fn import(folder: &Path, card: &str) {
    let (card, models) = (folder.join(format!("{card}.yaml")), folder.join("models"));
    let (_, said) = kolk_exits(0, &["models", "import", card.to_str().unwrap(), "--models", models.to_str().unwrap()]);
    assert!(said.contains("bitwise: yes:"), "{said}");
}

/// Records of which some have no value, some an id beyond the table, and a few a vector.
pub fn records(keys: usize, rows: usize) -> Vec<Record> {
    let one = |(n, (key, ts, value)): (usize, Row)| {
        let row = n / keys;
        Record {
            key,
            ts,
            value: (n % 53 != 7).then_some(value),
            token: if n % 97 == 5 { BELOW } else { (n * 7 % 6) as i64 },
            voice: (row % 60 == 3).then(|| [row as f64 * 0.125, (n % keys) as f64]),
        }
    };
    series(keys, rows).into_iter().enumerate().map(one).collect()
}

/// How many ids are beyond the table.
pub fn bad(records: &[Record]) -> usize {
    records.iter().filter(|record| record.token >= BELOW).count()
}

/// What a record is as a message.
pub fn payload(record: &Record) -> String {
    let Record { ts, value, token, voice, .. } = record;
    let mut payload = json!({ "ts": ts, "value": value, "token": token });
    if let Some(voice) = voice {
        payload["voice"] = json!(voice);
    }
    payload.to_string()
}

/// The records as a Parquet file.
pub fn write_records(path: &Path, records: &[Record]) {
    let item = Arc::new(Field::new_list_field(DataType::Float32, true));
    let voices = records.iter().flat_map(|record| record.voice.unwrap_or_default()).map(|number| number as f32);
    let there = NullBuffer::from_iter(records.iter().map(|record| record.voice.is_some()));
    let voices = FixedSizeListArray::new(item, 2, Arc::new(voices.collect::<Float32Array>()), Some(there));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("key", Arc::new(StringArray::from_iter_values(records.iter().map(|record| &record.key)))),
        ("ts", Arc::new(TimestampMillisecondArray::from_iter_values(records.iter().map(|record| record.ts)))),
        ("value", Arc::new(records.iter().map(|record| record.value).collect::<Float64Array>())),
        ("token", Arc::new(Int64Array::from_iter_values(records.iter().map(|record| record.token)))),
        ("voice", Arc::new(voices)),
    ];
    write_columns(path, columns, 400);
}

/// The sections of a pipeline that reads the records, between its source and its sink.
pub fn sections(infer: &str) -> String {
    format!(
        "record: {{ key: key, time: {{ column: ts, unit: ms }}, values: [value, token], vectors: {{ voice: 2 }} }}\n\
         on: {{ null: skip }}\nstages:\n  - filter: {{ where: token < 100 }}\n  - infer: {{ {infer} }}\n"
    )
}

/// The rows of the Parquet files in a folder.
pub fn written(folder: &Path) -> Outputs {
    let mut outputs = Outputs::new();
    for batch in parts(folder) {
        let column = |name: &str| batch.column_by_name(name).unwrap_or_else(|| panic!("no {name}"));
        let integer = |name: &str| arrow::compute::cast(column(name), &DataType::Int64).unwrap();
        let (ts, versions) = (integer("ts"), integer("model_version"));
        let (level, code) = (column("level").as_primitive::<Float64Type>(), column("code").as_fixed_size_list());
        assert!(batch.column_by_name("prediction_time").is_none(), "no forecast has no time");
        for row in 0..batch.num_rows() {
            assert_eq!(level.is_valid(row), code.is_valid(row));
            let numbers = level.is_valid(row).then(|| {
                let code = code.value(row);
                let code = code.as_primitive::<Float32Type>().values().iter().map(|number| f64::from(*number));
                std::iter::once(level.value(row)).chain(code).map(f64::to_bits).collect()
            });
            let key = column("key").as_string::<i32>().value(row).to_string();
            outputs.entry(key).or_default().push(Made {
                ts: ts.as_primitive::<Int64Type>().value(row),
                version: versions.as_primitive::<Int64Type>().value(row),
                warm_up: column("warm_up").as_boolean().value(row),
                numbers,
            });
        }
    }
    outputs
}

/// The batches of the Parquet files in a folder.
pub fn parts(folder: &Path) -> Vec<RecordBatch> {
    let open = |name: &String| std::fs::File::open(folder.join(name)).unwrap();
    let read = |file| ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap().map(Result::unwrap);
    files(folder).keys().flat_map(|name| read(open(name))).collect()
}

/// The same of messages.
pub fn received(payloads: &[Value]) -> Outputs {
    let mut outputs = Outputs::new();
    for payload in payloads {
        let numbers = payload["level"].as_f64().map(|level| {
            let code = payload["code"].as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32);
            std::iter::once(level).chain(code.map(f64::from)).map(f64::to_bits).collect()
        });
        assert_eq!(numbers.is_none(), payload["code"].is_null(), "{payload}");
        outputs.entry(payload["key"].as_str().unwrap().into()).or_default().push(Made {
            ts: payload["ts"].as_i64().unwrap(),
            version: payload["model_version"].as_i64().unwrap(),
            warm_up: payload["warm_up"].as_bool().unwrap(),
            numbers,
        });
    }
    outputs
}

/// A version of a model that took over at a record.
pub struct Era {
    /// Name of its file.
    pub model: &'static str,
    pub version: i64,
    /// Index of its first record.
    pub from: usize,
}

/// What a loop in Python makes of the records, one version after the other, and each key's states after the last
/// record. With `window`, the rows of a window outlive a version; states begin again.
pub fn expected(folder: &Path, records: &[Record], eras: &[Era], window: bool) -> (Outputs, States) {
    // Per key its rows, each with the era that makes its output.
    type Rows = Vec<(usize, i64, Value)>;
    let mut rows: BTreeMap<String, Rows> = BTreeMap::new();
    let mut voices: BTreeMap<String, [f64; 2]> = BTreeMap::new();
    for (n, record) in records.iter().enumerate().filter(|(_, record)| record.token < BELOW) {
        if let Some(voice) = record.voice {
            voices.insert(record.key.clone(), voice);
        }
        let row = match (record.value, voices.get(&record.key)) {
            (Some(value), Some(voice)) => json!({ "value": value, "token": record.token, "voice": voice }),
            _ => Value::Null,
        };
        let era = eras.iter().rposition(|era| era.from <= n).unwrap();
        rows.entry(record.key.clone()).or_default().push((era, record.ts, row));
    }
    let mut outputs: Outputs = rows.keys().map(|key| (key.clone(), Vec::new())).collect();
    let mut states = States::new();
    for (n, era) in eras.iter().enumerate() {
        // Of a window, an era needs the rows before it too.
        let of_era = |at: usize| if window { at <= n } else { at == n };
        let sequences: Vec<Vec<&Value>> =
            rows.values().map(|rows| rows.iter().filter(|row| of_era(row.0)).map(|row| &row.2).collect()).collect();
        let model = folder.join(format!("{}.onnx", era.model));
        let answers = ask(&json!({ "model": model, "window": window, "sequences": sequences }));
        for ((key, rows), answer) in rows.iter().zip(answers.as_array().unwrap()) {
            let mut steps = 0;
            for ((at, ts, row), numbers) in
                rows.iter().filter(|row| of_era(row.0)).zip(answer["rows"].as_array().unwrap())
            {
                let numbers: Option<Vec<f64>> = serde_json::from_value(numbers.clone()).unwrap();
                let warm_up = numbers.is_none() || !window && steps < 2;
                steps += usize::from(!row.is_null());
                if *at == n {
                    let numbers = numbers.map(|numbers| numbers.into_iter().map(f64::to_bits).collect());
                    outputs.get_mut(key).unwrap().push(Made { ts: *ts, version: era.version, warm_up, numbers });
                }
            }
            states.insert(key.clone(), serde_json::from_value(answer["states"].clone()).unwrap());
        }
    }
    (outputs, states)
}

/// Runs sequences in Python.
fn ask(request: &Value) -> Value {
    let mut python = Command::new(python().unwrap());
    python.args([SCRIPT, "run"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut python = python.spawn().unwrap();
    python.stdin.take().unwrap().write_all(request.to_string().as_bytes()).unwrap();
    let answer = python.wait_with_output().unwrap();
    assert!(answer.status.success());
    serde_json::from_slice(&answer.stdout).unwrap()
}

/// Asserts that each record has its output once, in order, with the numbers of Python's loop to 1e-6.
pub fn assert_close(found: &Outputs, expected: &Outputs) {
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (key, expected) in expected {
        let found = &found[key];
        assert_eq!(found.len(), expected.len(), "{key}: outputs of as many records");
        for (n, (found, expected)) in found.iter().zip(expected).enumerate() {
            let plain = |made: &Made| (made.ts, made.version, made.warm_up, made.numbers.as_ref().map(Vec::len));
            assert_eq!(plain(found), plain(expected), "{key}, output {n}");
            let pairs = found.numbers.iter().flatten().zip(expected.numbers.iter().flatten());
            for (found, expected) in pairs.map(|(a, b)| (f64::from_bits(*a), f64::from_bits(*b))) {
                let apart = (found - expected).abs() / expected.abs().max(1.0);
                assert!(apart <= 1e-6, "{key}, output {n}: {found}, not {expected}");
            }
        }
    }
}
