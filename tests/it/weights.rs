//! Weights of Keras in a pipeline: the same summary and the same outputs, and training that goes on with them.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, StringArray, TimestampMillisecondArray};
use kolk::model::registry;
use kolk::model::signing::PublicKeys;
use serde_json::Value;

use super::common::*;

const LAYERS: &str = "[ { lstm: 5 }, { gru: 4 }, { lstm: 5 } ], head: [ { dense: 6, activation: relu } ]";

fn fixture(name: &str) -> String {
    format!("{}/tests/fixtures/keras/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// A pipeline of two inputs whose network has these layers.
fn pipeline(folder: &Path, infer: &str, layers: &str, more: &str) -> String {
    let file = folder.join("pipeline.yaml");
    let text = format!(
        "name: whole\nsource: {{ parquet: {{ path: data.parquet }} }}\n\
         record: {{ key: key, time: ts, values: [a, b] }}\n\
         stages: [ infer: {{ model: taxi, {infer} }} ]\nsink: {{ stdout: {{}} }}\n\
         train: {{ target: a, inputs: [a, b], horizon: 3, layers: {layers}, updates: 20, batch_size: 4, skip: none{more} }}\n"
    );
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_string()
}

/// Keys of the windows `x`, a row a minute.
fn write_windows(folder: &Path, x: &[Vec<[f64; 2]>]) {
    let rows: Vec<(String, i64, [f64; 2])> = (0..x[0].len())
        .flat_map(|t| x.iter().enumerate().map(move |(key, window)| (format!("k{key}"), t as i64 * 60_000, window[t])))
        .collect();
    let keys: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.0)));
    let times: ArrayRef = Arc::new(TimestampMillisecondArray::from_iter_values(rows.iter().map(|row| row.1)));
    let value = |at: usize| -> ArrayRef { Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.2[at]))) };
    let columns = vec![("key", keys), ("ts", times), ("a", value(0)), ("b", value(1))];
    write_columns(&folder.join("data.parquet"), columns, 50);
}

#[test]
fn a_model_of_keras_is_imported_run_and_trained_further() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, models) = (folder.path(), folder.path().join("models"));
    let json: Value = serde_json::from_str(&std::fs::read_to_string(fixture("stack.json")).unwrap()).unwrap();
    let x: Vec<Vec<[f64; 2]>> = serde_json::from_value(json["x"].clone()).unwrap();
    let y: Vec<Vec<f64>> = serde_json::from_value(json["y"].clone()).unwrap();
    write_windows(folder, &x);
    let keras = fixture("stack.keras");
    let import = |file: &str, code: i32| kolk_exits(code, &["models", "import", &keras, "--pipeline", file]);

    // What doesn't fit is refused, and nothing is published.
    let wrong = pipeline(folder, "mode: window, window: 7", "[ { lstm: 5 }, { gru: 4 }, { lstm: 6 } ]", "");
    let (_, said) = import(&wrong, 2);
    for words in [
        "layer 3: the pipeline has LSTM(6) on 4 inputs: kernel [4, 24]",
        "\"a\", LSTM(5) on 4 inputs: kernel [4, 20]",
        "layer 4: the pipeline has Dense(3)",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(!models.exists());

    let file = pipeline(folder, "mode: window, window: 7", LAYERS, "");
    let (out, said) = import(&file, 0);
    assert_eq!(out, "taxi/1\n", "{said}");
    assert!(!said.contains("warn"), "{said}");
    let (summary, _) = kolk_exits(0, &["summary", "taxi/1", "--models", models.to_str().unwrap()]);
    for line in ["lstm (LSTM)                     │ (None, 7, 5)", "gru (GRU)                       │ (None, 7, 4)"]
    {
        assert!(summary.contains(line), "{line}: {summary}");
    }
    // What `count_params()` of Keras gives.
    assert!(summary.contains(" Total params: 549 ("), "{summary}");
    let manifest = registry::read_manifest(&models.join("taxi/1")).unwrap();
    assert_eq!((manifest.from.as_deref(), manifest.horizon), (Some("stack.keras"), 3));

    let (out, _) = kolk_exits(0, &["run", &file]);
    let mut seen = 0;
    for line in out.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        if row["prediction"].is_null() {
            // The window isn't full yet.
            continue;
        }
        let key: usize = row["key"].as_str().unwrap()[1..].parse().unwrap();
        for (found, wanted) in row["prediction"].as_array().unwrap().iter().zip(&y[key]) {
            assert!((found.as_f64().unwrap() - wanted).abs() < 1e-5, "{row} {wanted}");
            seen += 1;
        }
    }
    assert_eq!(seen, x.len() * 3);

    // In another mode the outputs are others, which is said.
    let carry = pipeline(folder, "mode: carry", LAYERS, "");
    let (_, said) = import(&carry, 0);
    assert!(said.contains("takes windows of 7 rows") && said.contains("mode: window, window: 7"), "{said}");

    // Enough rows to train on: the weights go on from where they are, with their scaling of none.
    let long: Vec<Vec<[f64; 2]>> = (0..2)
        .map(|key| (0..120).map(|t| [f64::from(t + key * 7) * 0.2, 1.0].map(|angle: f64| angle.sin())).collect())
        .collect();
    write_windows(folder, &long);
    // Without a validation part the last weights are kept.
    let slow = ", optimizer: { adam: { learning_rate: 1e-9 } }, split: { per_key: [0.8, 0, 0.2] }";
    let file = pipeline(folder, "mode: window, window: 7", LAYERS, slow);
    kolk_exits(0, &["train", &file, "--from", "taxi/1"]);
    let version = |number: usize| registry::open(&models, &format!("taxi/{number}"), &PublicKeys::none()).unwrap();
    let (before, after) = (version(1), version(3));
    assert_eq!(after.manifest.from.as_deref(), Some("taxi/1"));
    assert_eq!(before.manifest.architecture, after.manifest.architecture);
    let numbers = |version: &registry::Version| kolk::model::onnx::import::network(&version.onnx).unwrap().1;
    let (before, after) = (numbers(&before), numbers(&after));
    let all = |tensors: &[kolk::network::Tensor]| -> Vec<f32> { tensors.iter().flat_map(|t| t.data.clone()).collect() };
    let (before, after) = (all(&before), all(&after));
    assert!(before != after && before.iter().zip(&after).all(|(a, b)| (a - b).abs() < 1e-6));

    let other = pipeline(folder, "mode: window, window: 7", "[ { gru: 5 } ]", ", residual: last");
    let (_, said) = kolk_exits(2, &["train", &other, "--from", "taxi/1"]);
    for words in [
        "layers: taxi/1 has LSTM(5), GRU(4), LSTM(5), Dense(6, relu), Dense(3), the pipeline GRU(5), Dense(3)",
        "residual: taxi/1 has none, the pipeline a, a, a",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let (_, said) = kolk_exits(2, &["train", &other, "--from", "taxi/9"]);
    assert!(said.contains("has no version 9"), "{said}");
}

#[test]
fn a_graph_of_others_is_trained_further_as_a_file_and_as_a_version() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, models) = (folder.path(), folder.path().join("models"));
    let onnx = |name: &str| format!("{}/tests/fixtures/{name}.onnx", env!("CARGO_MANIFEST_DIR"));
    let rows: Vec<Vec<[f64; 2]>> =
        (0..2).map(|key| (0..120).map(|t| [(f64::from(t + key * 7) * 0.6).sin(), 0.5]).collect()).collect();
    write_windows(folder, &rows);
    let file = |name: &str, mode: &str, layers: &str, more: &str| {
        let file = folder.join("one.yaml");
        let text = format!(
            "name: {name}\nsource: {{ parquet: {{ path: data.parquet }} }}\n\
             record: {{ key: key, time: ts, values: [a, b] }}\nstages: [ infer: {{ model: {name}, {mode} }} ]\n\
             sink: {{ stdout: {{}} }}\ntrain: {{ target: a, inputs: [a], horizon: 1, layers: {layers}, updates: 5, \
             batch_size: 4, skip: none, optimizer: {{ adam: {{ learning_rate: 1e-9 }} }}, \
             split: {{ per_key: [0.8, 0, 0.2] }}{more} }}\n"
        );
        std::fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_string()
    };
    let numbers = |label: &str| {
        let version = registry::open(&models, label, &PublicKeys::none()).unwrap();
        let (architecture, tensors) = kolk::model::onnx::import::network(&version.onnx).unwrap();
        (version.manifest.from, architecture, tensors)
    };
    let outputs = |file: &str| -> Vec<f64> {
        let (out, _) = kolk_exits(0, &["run", file]);
        let rows = out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        rows.filter_map(|row| row["prediction"].as_f64().or(row["prediction"][0].as_f64())).collect()
    };
    let window = "mode: window, window: 10";
    for (name, layers, input) in [
        ("keras_gru", "[ { gru: 50 } ]", "keras_tensor_6"),
        ("torch_lstm2_window_script", "[ { lstm: 50 }, { lstm: 50 } ]", "x"),
        ("keras_rnn", "[ { rnn: 50 } ]", "keras_tensor"),
    ] {
        // As a graph, and as weights: the same outputs.
        let output = if name.starts_with("keras") { "\"Identity:0\"" } else { "y" };
        let card = folder.join("card.yaml");
        let text = format!(
            "onnx: {}\nname: {name}\nlayout: window\nwindow: 10\ninputs: {{ {input}: {{ columns: [a] }} }}\n\
             outputs: {{ {output}: {{ column: prediction, targets: [a], horizon: 1 }} }}\n",
            onnx(name)
        );
        std::fs::write(&card, text).unwrap();
        kolk_exits(0, &["models", "import", card.to_str().unwrap(), "--models", models.to_str().unwrap()]);
        let plain = file(name, window, layers, "");
        let as_graph = outputs(&plain);
        let (out, said) = kolk_exits(0, &["models", "import", &onnx(name), "--pipeline", &plain]);
        assert_eq!(out, format!("{name}/2\n"), "{said}");
        assert!(!said.contains("warn"), "{said}");
        let as_weights = outputs(&plain);
        assert_eq!((as_graph.len(), as_weights.len()), (2 * 111, 2 * 111));
        let apart = as_graph.iter().zip(&as_weights).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(apart < 1e-5, "{name}: {apart}");

        // Training goes on from either to the same weights, which have hardly moved.
        kolk_exits(0, &["train", &plain, "--from", &format!("{name}/1")]);
        kolk_exits(0, &["train", &plain, "--from", &format!("{name}/2")]);
        let [imported, of_graph, of_weights] = [2, 3, 4].map(|number| numbers(&format!("{name}/{number}")));
        assert_eq!(of_graph.0.as_deref(), Some(format!("{name}/1").as_str()));
        assert_eq!((&of_graph.1, &of_graph.2), (&of_weights.1, &of_weights.2), "{name}");
        assert!(of_graph.2 != imported.2);
        for (before, after) in imported.2.iter().zip(&of_graph.2) {
            assert!(before.data.iter().zip(&after.data).all(|(a, b)| (a - b).abs() < 1e-6), "{name}: {}", before.name);
        }
    }
    // With its state carried on, too; what the graph isn't is refused.
    kolk_exits(0, &["train", &file("keras_gru", "mode: carry", "[ { gru: 50 } ]", ""), "--from", "keras_gru/1"]);
    let wrong = file("keras_gru", window, "[ { gru: 49 } ]", "");
    let (_, said) = kolk_exits(2, &["train", &wrong, "--from", "keras_gru/1"]);
    for words in ["can't go on with keras_gru/1", "layer 1: the pipeline has GRU(49) on 1 input", "GRU(50) on 1 input"]
    {
        assert!(said.contains(words), "{words}: {said}");
    }
    let wrong = file("keras_gru", window, "[ { gru: 50 } ]", ", residual: last");
    let (_, said) = kolk_exits(2, &["train", &wrong, "--from", "keras_gru/1"]);
    assert!(said.contains("residual: keras_gru/1 has none, the pipeline a"), "{said}");
    // States that are inputs and outputs are those of the cells.
    let card = folder.join("card.yaml");
    let text = format!(
        "onnx: {}\nname: steps\nlayout: batch_first\ninputs: {{ x: {{ columns: [a] }} }}\n\
         states: {{ h: {{ out: hn, shape: [1, batch, 50] }} }}\noutputs: {{ y: {{ column: prediction }} }}\n",
        onnx("torch_gru_step_script")
    );
    let import = |text: &str| {
        std::fs::write(&card, text).unwrap();
        kolk_exits(0, &["models", "import", card.to_str().unwrap(), "--models", models.to_str().unwrap()]);
    };
    import(&text);
    let steps = file("steps", "mode: carry", "[ { gru: 50 } ]", "");
    let as_graph = outputs(&steps);
    kolk_exits(0, &["train", &steps, "--from", "steps/1"]);
    let as_weights = outputs(&steps);
    assert_eq!((as_graph.len(), as_weights.len()), (240, 240));
    assert!(as_graph.iter().zip(&as_weights).all(|(a, b)| (a - b).abs() < 1e-4));
    import(&text.replace("shape: [1, batch, 50]", "shape: [1, batch, 50], init: 0.5"));
    let (_, said) = kolk_exits(2, &["train", &steps, "--from", "steps/3"]);
    assert!(said.contains("its state \"h\" begins with 0.5, a state of ours with zeros"), "{said}");
    // A graph alone says which of the two ways there are.
    let (_, said) = kolk_exits(2, &["models", "import", &onnx("keras_gru")]);
    assert!(said.contains("kolk models inspect") && said.contains("--pipeline PIPELINE"), "{said}");
}
