//! Which columns of a source a stage can name: also those that a later stage will make again, and key and time.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int32Array, Int64Array, StringArray, TimestampMillisecondArray};

use super::common::*;

/// Twelve records, one a minute, of keys 1 and 2 in turn; columns named as stages name theirs.
fn source(folder: &Path) {
    let times = TimestampMillisecondArray::from_iter_values((0..12).map(|row| row * 60_000));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("key", Arc::new(Int32Array::from_iter_values((0..12).map(|row| 1 + row % 2)))),
        ("ts", Arc::new(times)),
        ("value", Arc::new(Float64Array::from_iter_values((0..12).map(f64::from)))),
        ("age", Arc::new(Int64Array::from_iter_values(0..12))),
        ("alert", Arc::new(StringArray::from_iter_values((0..12).map(|row| if row < 6 { "no" } else { "yes" })))),
        ("tail", Arc::new(Float64Array::from_iter_values((0..12).map(f64::from)))),
    ];
    write_columns(&folder.join("data.parquet"), columns, 5);
}

fn run(folder: &Path, stages: &str) -> Vec<String> {
    for name in ["out", "state"] {
        let _ = std::fs::remove_dir_all(folder.join(name));
    }
    let text = format!(
        "name: p\nsource: {{ parquet: {{ path: data.parquet }} }}\n\
         record: {{ key: key, time: ts, values: [value] }}\nstages: [ {stages} ]\n\
         sink: {{ parquet: {{ path: out/ }} }}\n"
    );
    let file = folder.join("p.yaml");
    std::fs::write(&file, text).unwrap();
    let pipeline = kolk::config::load(&file).unwrap();
    kolk::runtime::run(kolk::runtime::plan(pipeline, kolk::runtime::Purpose::Run).unwrap(), None).unwrap();
    rows(&folder.join("out")).into_values().flatten().collect()
}

#[test]
fn a_filter_reads_a_column_that_a_later_stage_makes_again() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    source(folder);
    // Of the source before `resample`, of `resample` after it.
    let before = run(folder, "filter: { where: \"age < 4\" }, resample: { every: 1m }");
    let all = run(folder, "resample: { every: 1m }");
    assert!(!before.is_empty() && before.len() < all.len(), "{before:?}");
    let fresh = run(folder, "resample: { every: 1m, max_gap: 1m }, filter: { where: \"age = 0\" }");
    assert!(!fresh.is_empty() && fresh.len() < all.len());
    assert_eq!(run(folder, "filter: { where: \"alert = 'yes' and tail > 8\" }").len(), 3);
}

#[test]
fn a_filter_reads_key_and_time() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    source(folder);
    assert_eq!(run(folder, "filter: { where: \"key != 2\" }").len(), 6);
    assert_eq!(run(folder, "filter: { where: \"ts >= '1970-01-01T00:10:00Z'\" }").len(), 2);
    assert_eq!(run(folder, "filter: { where: \"key = 1 and ts < '1970-01-01 00:03'\" }").len(), 2);
}
