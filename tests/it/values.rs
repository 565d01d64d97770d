//! Numbers of sequences with quantiles: what is served of the test part has the errors and the coverage that the
//! training reported.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, StringArray, TimestampMillisecondArray};
use kolk::model::registry;
use serde_json::Value;

use super::common::*;

const KEYS: usize = 240;

/// Of each key its part, its values of `a`, and its number, which is in one row.
fn sequences() -> Vec<(&'static str, Vec<f64>, f64)> {
    let mut state = 3u64;
    let mut number = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from((state >> 40) as u32) / f64::from(1 << 23) - 1.0
    };
    let one = |key: usize| {
        let values: Vec<f64> = (0..4 + key % 5).map(|_| number()).collect();
        let truth = 30.0 + 5.0 * values[0] + 5.0 * values[values.len() - 1] + 2.0 * number();
        (["train", "validation", "test", "train"][key % 4], values, truth)
    };
    (0..KEYS).map(one).collect()
}

fn write(folder: &Path, sequences: &[(&str, Vec<f64>, f64)]) {
    let all = || (0..8).flat_map(|t| (0..KEYS).map(move |key| (key, t)));
    let rows: Vec<(usize, usize)> = all().filter(|(key, t)| *t < sequences[*key].1.len()).collect();
    let keys: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|(key, _)| format!("k{key:03}"))));
    let times: ArrayRef =
        Arc::new(TimestampMillisecondArray::from_iter_values(rows.iter().map(|(_, t)| *t as i64 * 60_000)));
    let values: ArrayRef = Arc::new(Float64Array::from_iter_values(rows.iter().map(|(key, t)| sequences[*key].1[*t])));
    let truth = |(key, t): &(usize, usize)| (*t == key % 3).then_some(sequences[*key].2);
    let truths: ArrayRef = Arc::new(rows.iter().map(truth).collect::<Float64Array>());
    let parts: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|(key, _)| sequences[*key].0)));
    let columns = vec![("key", keys), ("ts", times), ("a", values), ("y", truths), ("part", parts)];
    write_columns(&folder.join("data.parquet"), columns, 64);
}

fn pipeline(folder: &Path, target: &str, layer: &str, runtime: &str) -> String {
    let file = folder.join("p.yaml");
    let text = format!(
        "name: p\nsource: {{ parquet: {{ path: data.parquet }} }}\n\
         record: {{ key: key, time: ts, values: [a], sequence: key }}\n\
         stages: [ infer: {{ model: m, mode: sequence }} ]\nsink: {{ stdout: {{}} }}\nruntime: {{ {runtime} }}\n\
         train: {{ task: value, target: {target}, quantiles: [0.1, 0.9], layers: [ {layer} ], epochs: 12, batch_size: 8, \
         split: {{ column: part }} }}\n"
    );
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_string()
}

/// The quantiles of each key.
fn served(file: &str) -> BTreeMap<String, [f64; 3]> {
    let (out, _) = kolk_exits(0, &["run", file]);
    let row = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap();
        let of = |name: &str| row[name].as_f64().or(row[name][0].as_f64()).unwrap_or_else(|| panic!("{name}: {row}"));
        (row["key"].as_str().unwrap().to_string(), ["prediction_q10", "prediction", "prediction_q90"].map(of))
    };
    out.lines().map(row).collect()
}

#[test]
fn what_is_served_has_the_errors_and_the_coverage_that_were_reported() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let sequences = sequences();
    write(folder, &sequences);
    let (_, said) = kolk_exits(2, &["train", &pipeline(folder, "part", "{ gru: 6 }", "workers: 1")]);
    assert!(said.contains("column \"part\" is not numeric here"), "{said}");
    let (_, said) = kolk_exits(2, &["train", &pipeline(folder, "a", "{ gru: 6 }", "workers: 1")]);
    assert!(said.contains("by itself no input: name the `inputs`"), "{said}");
    for (version, layer) in ["{ gru: 6 }", "{ gru: 4, bidirectional: true }"].into_iter().enumerate() {
        let file = pipeline(folder, "y", layer, "workers: 1");
        let (_, said) = kolk_exits(0, &["train", &file]);
        assert!(said.contains("within 80 %"), "{said}");
        let manifest = registry::read_manifest(&folder.join(format!("models/m/{}", version + 1))).unwrap();
        let (shown, _) = kolk_exits(0, &["models", "show", "m", "--models", folder.join("models").to_str().unwrap()]);
        assert!(shown.contains("targets") && !shown.contains("steps ahead"), "{shown}");
        let metric = |name: &str| manifest.metrics[&format!("y.{name}")];
        let made = served(&file);
        assert_eq!(made.len(), KEYS);
        assert!(made.values().all(|[low, mid, high]| low <= mid && mid <= high));
        let of_test = sequences.iter().zip(made.values()).filter(|((part, ..), _)| *part == "test");
        let errors: Vec<(f64, bool)> = of_test
            .map(|((.., truth), [low, mid, high])| ((mid - truth).abs(), (*low..=*high).contains(truth)))
            .collect();
        let count = errors.len() as f64;
        let mae = errors.iter().map(|(error, _)| error).sum::<f64>() / count;
        let within = errors.iter().filter(|(_, within)| *within).count() as f64 / count;
        assert!((mae - metric("mae")).abs() < 1e-4 * mae, "{mae} {}", metric("mae"));
        assert!((within - metric("coverage_80")).abs() < 1.5 / count, "{within} {}", metric("coverage_80"));
        assert!((within - 0.8).abs() < 0.2 && mae < metric("mae_median"), "{within} {mae}");
        // The same bits however the records are put together.
        assert_eq!(made, served(&pipeline(folder, "y", layer, "workers: 2, batch: 7")));
    }
}
