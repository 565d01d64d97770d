//! Columns in the names of folders: as key, time, value, field and in filters.

use std::path::Path;
use std::sync::Arc;

use arrow::array::*;

use super::common::*;
use super::parquet_differ::lines;

/// Three rows of one folder, an hour apart from `first` on; `more` columns besides.
fn part(folder: &Path, name: &str, first: i64, more: Vec<(&str, ArrayRef)>) {
    let path = folder.join("data").join(name).join("part-0.parquet");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let hours = (first..first + 3).map(|hour| 1_704_067_200_000_000 + 3_600_000_000 * hour);
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        ("ts", Arc::new(TimestampMicrosecondArray::from_iter_values(hours))),
        ("value", Arc::new(Float64Array::from_iter_values((first..first + 3).map(|hour| hour as f64)))),
    ];
    columns.extend(more);
    write_columns(&path, columns, 10);
}

/// A pipeline over `data/` with this `record` and these `stages` and `fields`.
fn pipeline_with(folder: &Path, record: &str, stages: &str, fields: &str) -> String {
    let file = folder.join("p.yaml");
    let text = format!(
        "name: p\nsource: {{ parquet: {{ path: data/ }} }}\nrecord: {{ {record}, values: [value] }}\n\
         stages: [ {stages} ]\nsink: {{ stdout: {{ fields: [{fields}] }} }}\n"
    );
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_string()
}

#[test]
fn the_key_is_in_the_path() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["key=A%20%2F", "key=B", "key=__HIVE_DEFAULT_PARTITION__"];
    names.iter().for_each(|name| part(folder.path(), name, 0, Vec::new()));
    let file = pipeline_with(folder.path(), "key: key, time: ts", "lags: { value: [1] }", "value, value_lag_1");
    let (_, said) = kolk_exits(0, &["check", &file]);
    assert!(said.contains("column \"key\" is read from the names of folders"), "{said}");
    let (out, err) = kolk_exits(0, &["run", &file]);
    let found: Vec<_> = lines(&out).iter().map(|line| format!("{} {}", line["key"], line["value_lag_1"])).collect();
    assert_eq!(found, ["\"A /\" null", "\"A /\" 0.0", "\"A /\" 1.0", "\"B\" null", "\"B\" 0.0", "\"B\" 1.0"]);
    assert!(err.contains("3 records to the dead letters: null_key"), "{err}");
}

#[test]
fn fields_and_filters_of_any_type_are_in_the_path() {
    let folder = tempfile::tempdir().unwrap();
    let keys = |key: &str| vec![("key", Arc::new(StringArray::from(vec![key; 3])) as ArrayRef)];
    part(folder.path(), "day=2024-01-01/hour=01/place=x", 0, keys("A"));
    part(folder.path(), "day=2024-01-02/hour=12/place=y%3D", 24, keys("A"));
    let fields = "day, hour, place, value";
    let file = pipeline_with(folder.path(), "key: key, time: ts", "lags: { value: [1] }", fields);
    let (out, _) = kolk_exits(0, &["run", &file]);
    let found = lines(&out);
    assert_eq!(found.len(), 6);
    let of = |row: usize| format!("{} {} {}", found[row]["day"], found[row]["hour"], found[row]["place"]);
    assert_eq!((of(0), of(5)), ("\"2024-01-01\" 1 \"x\"".into(), "\"2024-01-02\" 12 \"y=\"".into()));
    for (condition, rows) in [("hour > 1", 3), ("place = 'x'", 3), ("hour >= 1 and place != 'z'", 6)] {
        let stages = format!("filter: {{ where: \"{condition}\" }}");
        let file = pipeline_with(folder.path(), "key: key, time: ts", &stages, "value");
        assert_eq!(lines(&kolk_exits(0, &["run", &file]).0).len(), rows, "{condition}");
    }
    // As time, and as an integer key.
    let file = pipeline_with(folder.path(), "key: hour, time: day", "lags: { value: [1] }", "value");
    let found = lines(&kolk_exits(0, &["run", &file]).0);
    let last = found.iter().find(|line| line["value"] == 26.0).unwrap();
    assert_eq!((&last["hour"], &last["day"]), (&12.into(), &"2024-01-02".into()));
}

#[test]
fn times_with_a_fraction_are_not_read_from_files() {
    let folder = tempfile::tempdir().unwrap();
    let more = || vec![("seconds", Arc::new(Float64Array::from(vec![1.7e9, 1.7e9 + 0.25, 1.7e9 + 0.5])) as ArrayRef)];
    part(folder.path(), "key=A", 0, more());
    for unit in ["", ", unit: s", ", unit: float_s"] {
        let record = format!("key: key, time: {{ column: seconds{unit} }}");
        let file = pipeline_with(folder.path(), &record, "lags: { value: [1] }", "value");
        let (_, err) = kolk_exits(2, &["check", &file]);
        for part in ["column \"seconds\" in ", "times in Float64 are not read from files", "as a timestamp, or as an"] {
            assert!(err.contains(part), "{unit}: no {part} in {err}");
        }
    }
}

#[test]
fn a_column_of_the_file_must_agree_with_the_path() {
    let folder = tempfile::tempdir().unwrap();
    let keys = |keys: [&str; 3]| vec![("key", Arc::new(StringArray::from(keys.to_vec())) as ArrayRef)];
    part(folder.path(), "key=A", 0, keys(["A"; 3]));
    let file = pipeline_with(folder.path(), "key: key, time: ts", "lags: { value: [1] }", "value");
    assert_eq!(lines(&kolk_exits(0, &["run", &file]).0).len(), 3);
    part(folder.path(), "key=B", 0, keys(["B", "B", "C"]));
    let (_, err) = kolk_exits(1, &["run", &file]);
    assert!(err.contains("key=B/part-0.parquet") && err.contains("row 2: column \"key\" is not B"), "{err}");
}
