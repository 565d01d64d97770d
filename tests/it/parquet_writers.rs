//! Files and folders as pyarrow, pandas, polars, DuckDB and Spark write them: the same rows, whoever wrote them.

use std::process::Command;

use super::common::*;
use super::official::python;

#[test]
fn the_rows_are_the_same_whoever_wrote_them() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let written = finished(
        Command::new(python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/write_parquet.py"))
            .arg(folder.path().join("data")),
    );
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    let keys = std::fs::read(folder.path().join("data/keys.json")).unwrap();
    let keys: serde_json::Value = serde_json::from_slice(&keys).unwrap();
    let mut names: Vec<String> = std::fs::read_dir(folder.path().join("data"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "keys.json")
        .collect();
    names.sort();
    assert!(names.len() > 30, "{names:?}");
    for name in names {
        let file = folder.path().join("p.yaml");
        let text = format!(
            "name: p\nsource: {{ parquet: {{ path: data/{name} }} }}\nrecord: {{ key: key, time: ts, values: [value] }}\n\
             stages: [ lags: {{ value: [1] }} ]\nsink: {{ stdout: {{ fields: [value_lag_1] }} }}\n"
        );
        std::fs::write(&file, text).unwrap();
        let (out, err) = kolk_exits(0, &["run", file.to_str().unwrap()]);
        assert!(!err.contains("dead letters"), "{name}: {err}");
        let mut found: Vec<(String, String, String)> = out
            .lines()
            .map(|line| {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                let time = line["ts"].as_str().unwrap().trim_end_matches('Z').to_string();
                (time, line["key"].to_string(), line["value_lag_1"].to_string())
            })
            .collect();
        found.sort();
        // `typed-pyarrow-uuid`: the last word says which keys there are.
        let typed = name.strip_prefix("typed-").map(|name| &keys[name.rsplit('-').next().unwrap()]);
        let key = |row: usize| match typed {
            Some(keys) => keys[row % 2].to_string(),
            None => format!("\"{}\"", ["A", "B"][row % 2]),
        };
        // The value of row 20 is null, so the one before is carried.
        let lag = |row: usize| match row {
            0 | 1 => "null".to_string(),
            22 => "18.0".to_string(),
            row => format!("{:?}", (row - 2) as f64),
        };
        let expected = (0..24).map(|row| (format!("2024-01-01T{row:02}:00:00"), key(row), lag(row)));
        assert_eq!(found, expected.collect::<Vec<_>>(), "{name}");
    }
}
