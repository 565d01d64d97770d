//! Training reads files as a run does: keys of any type, columns in the names of folders, what a filter leaves out.

use std::path::Path;
use std::sync::Arc;

use arrow::array::*;

use super::common::*;

const MINUTE: i64 = 60_000;
const ROWS: i64 = 200;

/// A sine of one key, with the dates of the key, or without a key where it is in the name of the folder.
fn write_key(path: &Path, size: f64, keys: Option<&[i32]>) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let keys = keys.unwrap_or(&[0]);
    let rows = || keys.iter().enumerate().flat_map(|(nth, key)| (0..ROWS).map(move |row| (nth, *key, row)));
    let value = |(nth, _, row): (usize, i32, i64)| size * (nth + 1) as f64 * (row as f64 / 24.0).sin();
    let times = rows().map(|(_, _, row)| row * MINUTE);
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        ("ts", Arc::new(TimestampMillisecondArray::from_iter_values(times))),
        ("value", Arc::new(Float64Array::from_iter_values(rows().map(value)))),
    ];
    if keys != [0] {
        columns.push(("key", Arc::new(Date32Array::from_iter_values(rows().map(|(_, key, _)| key)))));
    }
    write_columns(path, columns, 64);
}

/// Trains and runs over a source; gives the model's bytes and the outputs.
fn trained(folder: &Path, source: &str) -> (Vec<u8>, Vec<String>) {
    let file = folder.join(format!("{source}.yaml"));
    let text = format!(
        "name: whole\nsource: {{ parquet: {{ path: {source}/ }} }}\nmodels: models-{source}/\n\
         record: {{ key: key, time: ts, values: [value] }}\n\
         stages: [ {{ filter: {{ where: \"key != 2024-03-01\" }} }}, {{ infer: {{ model: m }} }} ]\n\
         sink: {{ stdout: {{ fields: [value] }} }}\n\
         train: {{ target: value, layers: [ gru: 4 ], chunk: 16, updates: 20 }}\n"
    );
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    kolk_exits(0, &["train", file]);
    let model = std::fs::read(folder.join(format!("models-{source}/m/1/model.onnx"))).unwrap();
    let (out, _) = kolk_exits(0, &["run", file]);
    let mut rows: Vec<String> = out.lines().map(String::from).collect();
    rows.sort();
    (model, rows)
}

#[test]
fn dates_as_keys_in_the_path_train_the_model_of_a_column() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    // 2024-01-31 and 2024-02-29.
    write_key(&at("column/a.parquet"), 1.0, Some(&[19_753, 19_782]));
    write_key(&at("path/key=2024-01-31/a.parquet"), 1.0, None);
    write_key(&at("path/key=2024-02-29/a.parquet"), 2.0, None);
    write_key(&at("path/key=2024-03-01/a.parquet"), 1e6, None);
    let (column, path) = (trained(folder.path(), "column"), trained(folder.path(), "path"));
    assert!(column.0 == path.0, "the weights differ");
    assert_eq!(column.1.len(), 2 * ROWS as usize);
    assert_eq!(column.1, path.1);
    assert!(column.1[0].starts_with("{\"key\":\"2024-01-31\""), "{}", column.1[0]);
}
