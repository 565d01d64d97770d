//! One network for each group of keys: what is trained is what is served, whatever has no network of its own included.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, StringArray, TimestampMillisecondArray};

use super::common::*;
use super::serve_as_trained::{ROWS, error_of_output};

const HOUR: i64 = 3_600_000;

/// Keys with their groups. In group `up` a value follows the one before, in `down` it turns around; others are noise.
const KEYS: [(&str, Option<&str>); 6] =
    [("a", Some("up")), ("b", Some("down")), ("c", Some("up")), ("d", Some("down")), ("e", None), ("f", Some("rare"))];

/// Writes `rows` rows of each key; those of `f` with fewer than a network needs.
fn write_groups(path: &Path, keys: &[(&str, Option<&str>)], rows: usize) {
    let mut noise = 0x2545_f491_4f6c_dd1d_u64;
    let (mut key, mut ts, mut value, mut region) = (vec![], vec![], vec![], vec![]);
    let mut now = vec![0.0; keys.len()];
    for row in 0..rows {
        for (k, (name, of)) in keys.iter().enumerate() {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            key.push(*name);
            ts.push(row as i64 * HOUR);
            value.push(now[k]);
            region.push(*of);
            let follows = match *of {
                Some("up") => 0.95,
                Some("down") => -0.95,
                _ => 0.0,
            };
            now[k] = follows * now[k] + (noise % 1000) as f64 / 500.0 - 1.0;
        }
    }
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("key", Arc::new(StringArray::from(key))),
        ("ts", Arc::new(TimestampMillisecondArray::from(ts))),
        ("value", Arc::new(Float64Array::from(value))),
        ("region", Arc::new(StringArray::from(region))),
    ];
    write_columns(path, columns, 500);
}

fn pipeline_of(folder: &Path, data: &str, infer: &str, train: &str, extra: &str) -> String {
    let file = folder.join("pipeline.yaml");
    let text = format!(
        "name: whole\nsource: {{ parquet: {{ path: {data} }} }}\nrecord: {{ key: key, time: ts, values: [value] }}\n\
         stages: [ infer: {{ model: m, {infer} }} ]\nsink: {{ parquet: {{ path: out/, fields: [value] }} }}\n{extra}\n\
         train:\n  target: value\n  horizon: 2\n  layers: [ gru: 6 ]\n  updates: 200\n  batch_size: 16\n\
         \x20 optimizer: {{ adam: {{ learning_rate: 0.02 }} }}\n{train}\n"
    );
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_string()
}

fn manifest(folder: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(folder.join("models/m/1/manifest.json")).unwrap()).unwrap()
}

/// The error that training reports, after `run` wrote outputs of the same one.
fn error_of(infer: &str, train: &str) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    write_groups(&folder.path().join("data.parquet"), &KEYS[..5], ROWS);
    let file = pipeline_of(folder.path(), "data.parquet", infer, train, "");
    kolk_exits(0, &["train", &file]);
    kolk_exits(0, &["check", &file]);
    kolk_exits(0, &["run", &file]);
    let reported = manifest(folder.path())["metrics"]["value.mae"].as_f64().unwrap();
    let served = error_of_output(folder.path());
    assert!((reported - served).abs() < 1e-5 * reported, "{infer} {train}: reported {reported}, served {served}");
    reported
}

/// A network that sees one row can't know which of two opposite rules it is of; two networks can.
#[test]
fn what_is_trained_by_group_is_served() {
    let infer = "mode: window, window: 1";
    let all = error_of(infer, "");
    let own = error_of(infer, "  per: region\n");
    assert!(own < 0.7 * all, "{own} by group, {all} together");
    let by_key = error_of(infer, "  per: key\n");
    assert!(by_key < 0.7 * all, "{by_key} by key, {all} together");
    error_of("mode: carry", "  per: region\n  skip: none\n");
    // Each has a linear path with lags of its own choice, over keys of its own.
    error_of("mode: carry", "  per: region\n");
    error_of(
        "mode: carry",
        "  per: key\n  seeds: 2\n  quantiles: [0.1, 0.9]\n  embeddings: [ { key: true, size: 2 } ]\n",
    );
    error_of("mode: window, window: 6", "  per: region\n  patch: 2\n  skip: linear\n  residual: last\n");
}
