//! Weights of Keras and PyTorch that tell classes of sequences, in both directions: the pipeline gives what ONNX Runtime
//! gives of the file, and training goes on with them.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, StringArray, TimestampMillisecondArray};
use serde_json::Value;

use super::common::*;
use super::official::python;

const KEYS: usize = 40;

fn export(name: &str) -> String {
    format!("{}/tests/fixtures/exports/{name}.onnx", env!("CARGO_MANIFEST_DIR"))
}

/// A sequence per key, of 5 to 12 rows of three values, and a class that follows from them.
fn sequences() -> Vec<(Vec<[f64; 3]>, &'static str)> {
    let mut state = 7u64;
    let mut number = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from((state >> 40) as u32) / f64::from(1 << 23) - 1.0
    };
    let one = |key: usize| {
        let shift = key as f64 % 3.0 - 1.0;
        let rows = (0..5 + key % 8).map(|_| [number() + shift, number(), number()]).collect();
        (rows, ["low", "mid", "high"][key % 3])
    };
    (0..KEYS).map(one).collect()
}

fn write(folder: &Path, sequences: &[(Vec<[f64; 3]>, &str)]) {
    let rows: Vec<(usize, usize)> = (0..12)
        .flat_map(|t| (0..KEYS).map(move |key| (key, t)))
        .filter(|(key, t)| *t < sequences[*key].0.len())
        .collect();
    let keys: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|(key, _)| format!("k{key:02}"))));
    let times: ArrayRef =
        Arc::new(TimestampMillisecondArray::from_iter_values(rows.iter().map(|(_, t)| *t as i64 * 60_000)));
    let value = |at: usize| -> ArrayRef {
        Arc::new(Float64Array::from_iter_values(rows.iter().map(|(key, t)| sequences[*key].0[*t][at])))
    };
    let labels: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|(key, _)| sequences[*key].1)));
    let columns =
        vec![("key", keys), ("ts", times), ("a", value(0)), ("b", value(1)), ("c", value(2)), ("label", labels)];
    write_columns(&folder.join("data.parquet"), columns, 50);
}

/// What ONNX Runtime gives of each sequence alone.
fn alone(python: &str, onnx: &str, sequences: &[(Vec<[f64; 3]>, &str)]) -> Vec<Vec<f64>> {
    const PROGRAM: &str = r#"
import json, sys
import numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
takes = {i.name: i for i in session.get_inputs()}
x = next(name for name, i in takes.items() if "float" in i.type)
for rows in json.load(sys.stdin):
    feeds = {x: numpy.array([rows], dtype=numpy.float32)}
    if "lengths" in takes:
        feeds["lengths"] = numpy.array([len(rows)], dtype=numpy.int64)
    print(json.dumps(session.run(None, feeds)[0].flatten().tolist()))
"#;
    let mut child =
        Command::new(python).args(["-c", PROGRAM, onnx]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let rows: Vec<&Vec<[f64; 3]>> = sequences.iter().map(|(rows, _)| rows).collect();
    child.stdin.take().unwrap().write_all(serde_json::to_string(&rows).unwrap().as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success());
    String::from_utf8_lossy(&done.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn pipeline(folder: &Path, name: &str, layers: &str, more: &str) -> String {
    let file = folder.join("p.yaml");
    let text = format!(
        "name: p\nsource: {{ parquet: {{ path: data.parquet }} }}\n\
         record: {{ key: key, time: ts, values: [a, b, c], sequence: key }}\n\
         stages: [ infer: {{ model: {name}, mode: sequence }} ]\n\
         sink: {{ stdout: {{ fields: [prediction_low, prediction_mid, prediction_high] }} }}\n\
         train: {{ target: label, layers: {layers}, batch_size: 8, split: {{ by_key: [0.5, 0.25, 0.25] }}{more} }}\n"
    );
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_string()
}

/// The probabilities of each key's sequence.
fn served(file: &str) -> BTreeMap<String, Vec<f64>> {
    let (out, _) = kolk_exits(0, &["run", file]);
    let row = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap();
        let of = |class: &str| row[format!("prediction_{class}")].as_f64().unwrap();
        (row["key"].as_str().unwrap().to_string(), ["low", "mid", "high"].map(of).to_vec())
    };
    out.lines().map(row).collect()
}

/// The validation loss of the weights that a training kept.
fn kept(said: &str) -> f64 {
    let after = said.split("validation loss ").nth(1).unwrap_or_else(|| panic!("{said}"));
    after.split(|c: char| !c.is_ascii_digit() && c != '.').next().unwrap().parse().unwrap()
}

const CLASSES: &str = ", classes: [low, mid, high]";

#[test]
fn classes_of_sequences_are_imported_served_and_trained_further() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let sequences = sequences();
    write(folder, &sequences);
    for (name, layers, pool) in [
        ("keras_bigru2", "[ { gru: 4, bidirectional: true }, { gru: 5, bidirectional: true } ]", ""),
        (
            "torch_bilstm_lengths_script",
            "[ { lstm: 4, bidirectional: true }, { lstm: 4, bidirectional: true } ]",
            ", pool: last",
        ),
        ("keras_lstm_mean", "[ { lstm: 4 } ]", ", pool: mean"),
    ] {
        let onnx = export(name);
        let import = |code: i32, file: &str| kolk_exits(code, &["models", "import", &onnx, "--pipeline", file]);
        let (_, said) = import(2, &pipeline(folder, name, layers, &format!(", updates: 1{pool}")));
        assert!(said.contains("names of the 3 classes into `train.classes`"), "{said}");
        let file = pipeline(folder, name, layers, &format!(", updates: 1{pool}{CLASSES}"));
        let (_, said) = import(0, &file);
        assert!(!said.contains("warn"), "{said}");
        let served = served(&file);
        assert_eq!(served.len(), KEYS);
        for (own, theirs) in served.values().zip(alone(&python, &onnx, &sequences)) {
            assert!(own.iter().zip(&theirs).all(|(a, b)| (a - b).abs() < 2e-6), "{name}: {own:?} {theirs:?}");
        }

        // Training goes on with them, and keeps nothing that is worse on the validation part.
        let wild = ", updates: 2, optimizer: { adam: { learning_rate: 30 } }";
        let file = pipeline(folder, name, layers, &format!("{wild}{pool}{CLASSES}"));
        let (_, said) = kolk_exits(0, &["train", &file, "--from", &format!("{name}/1")]);
        assert!(said.contains("kept the weights that it began with"), "{said}");
        let began = kept(&said);
        let careful = ", epochs: 40, optimizer: { adam: { learning_rate: 0.02 } }";
        let file = pipeline(folder, name, layers, &format!("{careful}{pool}{CLASSES}"));
        let (_, said) = kolk_exits(0, &["train", &file, "--from", &format!("{name}/1")]);
        assert!(kept(&said) < 0.9 * began, "{name}: {began} {said}");
        let other = ", updates: 1, classes: [high, mid, low]";
        let file = pipeline(folder, name, layers, &format!("{other}{pool}"));
        let (_, said) = kolk_exits(2, &["train", &file, "--from", &format!("{name}/1")]);
        let words = format!("classes: {name}/1 has low, mid, high, the pipeline high, mid, low");
        assert!(said.contains(&words), "{said}");
    }
    // A graph that runs as it is, by its card, is read the same way.
    let card = folder.join("card.yaml");
    let text = format!(
        "onnx: {}\nname: card\nlayout: window\nwindow: 6\ninputs: {{ keras_tensor_3: {{ columns: [a, b, c] }} }}\n\
         outputs: {{ \"Identity:0\": {{ column: scores }} }}\n",
        export("keras_bigru2")
    );
    std::fs::write(&card, text).unwrap();
    let models = folder.join("models");
    kolk_exits(0, &["models", "import", card.to_str().unwrap(), "--models", models.to_str().unwrap()]);
    let layers = "[ { gru: 4, bidirectional: true }, { gru: 5, bidirectional: true } ]";
    let file = pipeline(folder, "card", layers, ", updates: 5");
    let (_, said) = kolk_exits(2, &["train", &file, "--from", "card/1"]);
    assert!(said.contains("can't go on with card/1") && said.contains("`train.classes`"), "{said}");
    let file = pipeline(folder, "card", layers, &format!(", updates: 5{CLASSES}"));
    let (_, said) = kolk_exits(0, &["train", &file, "--from", "card/1"]);
    assert!(kept(&said) > 0.0, "{said}");
    assert_eq!(served(&file).len(), KEYS);
}
