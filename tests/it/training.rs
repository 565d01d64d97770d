//! Whole trainings: how long they take, and what they say about data and result.

use std::path::Path;

use kolk::model::registry;

use super::common::*;

const MINUTE: i64 = 60_000;

/// A pipeline over `rows` with these stages before a small GRU and this `train` section.
fn pipeline(folder: &Path, rows: &[Row], stages: &str, train: &str) -> String {
    write(&folder.join("data.parquet"), rows, 5000);
    let file = folder.join("pipeline.yaml");
    let text = format!(
        "name: whole\nsource: {{ parquet: {{ path: data.parquet }} }}\nrecord: {{ key: key, time: ts, values: [value] }}\n\
         stages: [ {stages} infer: {{ model: m }} ]\nsink: {{ stdout: {{}} }}\n\
         train: {{ target: value, layers: [ gru: 4 ], chunk: 16, {train} }}\n"
    );
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_string()
}

/// Keys of these levels and sizes, each a sine.
fn sines(keys: &[(&str, f64, f64)], rows: usize) -> Vec<Row> {
    (0..rows)
        .flat_map(|row| {
            keys.iter().map(move |(key, level, size)| {
                let value = level + size * (row as f64 * std::f64::consts::TAU / 24.0).sin();
                (key.to_string(), row as i64 * MINUTE, value)
            })
        })
        .collect()
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn a_calendar_that_the_network_does_not_read_is_told() {
    let folder = folder();
    let said = |inputs: &str| {
        let rows = sines(&[("a", 10.0, 1.0)], 100);
        let file = pipeline(folder.path(), &rows, "calendar: { features: [hour] },", &format!("{inputs}updates: 2"));
        kolk_exits(0, &["train", &file]).1
    };
    let words = "`calendar` makes hour_sin, hour_cos, but the network reads none of it: list it in train.inputs";
    assert!(said("").contains(words));
    assert!(!said("inputs: [value, hour_cos], ").contains("reads none of it"));
}

#[test]
fn a_training_without_a_length_learns_and_says_how_long_it_takes_and_how_it_compares() {
    let folder = folder();
    let rows = sines(&[("a", 10.0, 1.0), ("b", 12.0, 1.5)], 300);
    let file = pipeline(folder.path(), &rows, "", "residual: last, seasonality: 24");
    let (_, said) = kolk_exits(0, &["train", &file]);
    for words in [
        "trains until the validation loss, measured every 50 updates",
        "at most 10000 updates",
        "kept the weights of epoch",
        "validation part, value: MAE ",
        "validation part\n",
        "test part\n",
        "worse than the season ago",
        "the model of \"value\" is worse than the season ago",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let metrics = registry::read_manifest(&folder.path().join("models/m/1")).unwrap().metrics;
    assert!(metrics["value.mae"] < 0.3 * metrics["value.mae_last_value"], "{metrics:?}");
    assert!(metrics["value.mae_validation"] < 0.3 * metrics["value.mae_validation_last_value"], "{metrics:?}");
    let report = std::fs::read_to_string(folder.path().join("models/m/1/report.html")).unwrap();
    assert!(report.contains("worse than the season ago") && report.contains("validation part, value: MAE"));
}

#[test]
fn what_is_wrong_with_data_and_length_is_said_in_the_log_and_the_report() {
    let folder = folder();
    let rows = sines(&[("small", 1e-2, 5e-3), ("middle", 10.0, 5.0), ("large", 1e9, 5.0)], 200);
    let train = "updates: 40, seasonality: 24, split: { rows: [150, 0, 50] }";
    let file = pipeline(folder.path(), &rows, "", train);
    let (_, said) = kolk_exits(0, &["train", &file]);
    let report = std::fs::read_to_string(folder.path().join("models/m/1/report.html")).unwrap();
    let report = report.replace("&quot;", "\"");
    for words in [
        "no key has an example in the validation part",
        "keys differ in scale: \"value\"",
        "scale it per key (stage `scale: { values: [value]",
        "too far from zero for float32 in 1 of 3 keys (large)",
        "is worse than the last value, the season ago",
    ] {
        assert!(said.contains(words), "{words}: {said}");
        assert!(report.contains(words), "{words} is not in the report");
    }
    for words in ["validation part: none", "all, standardised", "worse than the last value, the season ago"] {
        assert!(said.contains(words), "{words}: {said}");
    }

    // With the stage there is nothing to say about scales.
    let scale = "scale: { values: [value], half_life: 1h, min_count: 2 },";
    let rows = sines(&[("small", 1e-2, 5e-3), ("middle", 10.0, 5.0), ("large", 1e9, 5e5)], 200);
    let file = pipeline(folder.path(), &rows, scale, train);
    let (_, said) = kolk_exits(0, &["train", &file]);
    assert!(!said.contains("differ in scale") && !said.contains("float32"), "{said}");
}

#[test]
fn no_usable_row_says_why() {
    let folder = folder();
    let mut rows = sines(&[("a", 10.0, 1.0)], 100);
    let refused = |rows: &[Row], stages: &str, train: &str, words: &[&str]| {
        let file = pipeline(folder.path(), rows, stages, train);
        let (_, said) = kolk_exits(2, &["train", &file]);
        let error = said.split("error").last().unwrap();
        assert!(words.iter().all(|word| error.contains(word)), "{words:?}: {said}");
    };
    refused(&rows, "filter: { where: value > 1000 },", "epochs: 1", &["No row is left", "100 were filtered out"]);
    refused(
        &rows,
        "lags: { value: 200..201 },",
        "skip: linear, epochs: 1",
        &["0 usable rows", "\"value_lag_200\" has no value"],
    );
    rows.iter_mut().for_each(|row| row.2 = 1e39);
    refused(&rows, "", "epochs: 1", &["0 usable rows", "\"value\" is beyond float32 in 69", "scale"]);
    rows.iter_mut().for_each(|row| row.2 = f64::NAN);
    refused(&rows, "", "epochs: 1", &["0 usable rows", "\"value\" has no value in 69", "null: carry"]);
}

#[test]
fn a_range_of_a_topic_needs_a_topic() {
    let folder = folder();
    let rows = sines(&[("a", 10.0, 1.0)], 10);
    let file = pipeline(folder.path(), &rows, "", "epochs: 1, data: { start: 2024-01-01 }");
    let (_, said) = kolk_exits(2, &["train", &file]);
    assert!(said.contains("`data` is a range of a topic") && said.contains("within `source`"), "{said}");
}

#[test]
fn a_range_of_lags_trains_the_model_of_the_list_and_serves_it() {
    let folder = folder();
    let rows = sines(&[("a", 10.0, 1.0)], 120);
    let file = pipeline(folder.path(), &rows, "lags: { value: [1..3, 24] },", "skip: linear, updates: 20");
    kolk_exits(0, &["train", &file]);
    let written = pipeline(folder.path(), &rows, "lags: { value: [1, 2, 3, 24] },", "skip: linear, updates: 20");
    let (out, _) = kolk_exits(0, &["run", &written]);
    assert!(out.lines().count() >= 120);
    kolk_exits(0, &["train", &written]);
    let model = |version: usize| std::fs::read(folder.path().join(format!("models/m/{version}/model.onnx"))).unwrap();
    assert_eq!(model(1), model(2));
}
