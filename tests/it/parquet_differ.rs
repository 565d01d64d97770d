//! Parquet files of one folder that differ, and columns that can't be told apart or can't be read.

use std::path::Path;
use std::sync::Arc;

use arrow::array::*;
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit};
use parquet::arrow::ArrowWriter;
use parquet::encryption::encrypt::FileEncryptionProperties;
use parquet::file::properties::WriterProperties;

use super::common::*;

/// A pipeline over `data/` with lags of one row.
pub fn pipeline_of(folder: &Path, source: &str, sink: &str, extra: &str) -> String {
    let file = folder.join("p.yaml");
    let text = format!(
        "name: p\nsource: {{ parquet: {{ path: data/ }}{source} }}\n\
         record: {{ key: key, time: ts, values: [value] }}\nstages:\n  - lags: {{ value: [1] }}\n\
         sink: {{ {sink} }}\n{extra}\n"
    );
    std::fs::write(&file, text).unwrap();
    std::fs::create_dir_all(folder.join("data")).unwrap();
    file.to_str().unwrap().to_string()
}

/// Lines of stdout as JSON, by key and time: those of different partitions come in any order.
pub fn lines(text: &str) -> Vec<serde_json::Value> {
    let mut lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    lines.sort_by_key(|line| (line["key"].to_string(), line["ts"].to_string()));
    lines
}

/// Columns of a file, by name.
type Columns = Vec<(&'static str, ArrayRef)>;

/// Rows of keys A and B in turn, an hour apart.
fn columns(rows: std::ops::Range<i64>) -> Columns {
    let hours = rows.clone().map(|row| 1_704_067_200_000_000 + 3_600_000_000 * row);
    let keys = rows.clone().map(|row| if row % 2 == 0 { "A" } else { "B" });
    vec![
        ("key", Arc::new(StringArray::from_iter_values(keys)) as ArrayRef),
        ("ts", Arc::new(TimestampMicrosecondArray::from_iter_values(hours))),
        ("value", Arc::new(Float64Array::from_iter_values(rows.clone().map(|row| row as f64)))),
        ("note", Arc::new(StringArray::from_iter_values(rows.map(|row| format!("n{row}"))))),
    ]
}

/// The same with another type of a column, without it, or with another one in its place.
fn recast(mut columns: Columns, name: &str, to: &DataType) -> Columns {
    let column = columns.iter_mut().find(|column| column.0 == name).unwrap();
    column.1 = match to {
        DataType::Null => new_null_array(to, column.1.len()),
        to => cast(&column.1, to).unwrap(),
    };
    columns
}

fn without(mut columns: Columns, name: &str) -> Columns {
    columns.retain(|column| column.0 != name);
    columns
}

fn write_nullable(path: &Path, columns: Vec<(&str, ArrayRef)>) {
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)));
    let batch = batch.unwrap();
    let mut writer = ArrowWriter::try_new(std::fs::File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// Runs two files; gives the lines and what was said.
fn run_two(a: Vec<(&str, ArrayRef)>, b: Vec<(&str, ArrayRef)>) -> (Vec<serde_json::Value>, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = pipeline_of(folder.path(), "", "stdout: { fields: [value_lag_1, note] }", "");
    write_nullable(&folder.path().join("data/1.parquet"), a);
    write_nullable(&folder.path().join("data/2.parquet"), b);
    let (_, said) = kolk_exits(0, &["check", &file]);
    let (out, err) = kolk_exits(0, &["run", &file]);
    assert!(!err.contains("dead letters"), "{err}");
    (lines(&out), said)
}

#[test]
fn files_that_differ_compatibly_give_the_rows_of_files_that_dont() {
    let (first, second) = (|| columns(0..24), || columns(24..48));
    let (all, said) = run_two(first(), second());
    assert_eq!((all.len(), said.contains("note:")), (48, false), "{said}");
    let nanos = DataType::Timestamp(TimeUnit::Nanosecond, None);
    let millis = DataType::Timestamp(TimeUnit::Millisecond, None);
    let integer = |columns: Columns, to: &DataType| {
        let numbers: ArrayRef = Arc::new(Int32Array::from_iter_values((0..24).map(|row| row % 2)));
        let mut columns = columns;
        columns[0].1 = cast(&numbers, to).unwrap();
        columns
    };
    let types = [("ts", &nanos), ("ts", &millis), ("note", &DataType::LargeUtf8), ("note", &DataType::Utf8View)];
    for (name, to) in types.into_iter().chain([("value", &DataType::Float32), ("value", &DataType::Int16)]) {
        for (a, b) in [(recast(first(), name, to), second()), (first(), recast(second(), name, to))] {
            let (found, said) = run_two(a, b);
            assert_eq!(found, all, "{name} {to}");
            // Once, and with both files; a view is only another way to hold the same text.
            assert_eq!(said.matches("1.parquet and").count(), usize::from(*to != DataType::Utf8View), "{said}");
        }
    }
    // Integer keys of any width.
    let (a, b) = (integer(first(), &DataType::Int32), integer(second(), &DataType::Int64));
    let (found, _) = run_two(a, b);
    assert_eq!(found[47]["value_lag_1"], 45.0, "{found:?}");
    assert_eq!(found[47]["key"], 1);
    // A column without any value, or none at all.
    for b in [recast(second(), "note", &DataType::Null), without(second(), "note")] {
        let (found, said) = run_two(first(), b.clone());
        let nulls = |found: &[serde_json::Value]| found.iter().filter(|line| line["note"].is_null()).count();
        assert_eq!((nulls(&found), &found[47]["value_lag_1"]), (24, &45.0.into()), "{found:?}");
        assert!(said.contains("note: column \"note\" is") && said.contains("2.parquet"), "{said}");
        let (found, _) = run_two(b, first());
        assert_eq!((found.len(), nulls(&found)), (48, 24));
    }
    // A file without rows, whose columns have no type, is passed over.
    let nothing = first().into_iter().map(|(name, _)| (name, new_null_array(&DataType::Null, 0))).collect();
    let (found, said) = run_two(nothing, first());
    assert_eq!((found.len(), found[0].clone(), said.contains("note:")), (24, all[0].clone(), false));
}

#[test]
fn numbers_are_widened_exactly_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = pipeline_of(folder.path(), "", "stdout: { fields: [n] }", "");
    let with = |rows: std::ops::Range<i64>, n: ArrayRef| {
        let mut columns = columns(rows);
        columns.push(("n", n));
        columns
    };
    let whole: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some((1 << 53) + 1), None, Some(i64::MAX)]));
    let broken: ArrayRef = Arc::new(Float64Array::from(vec![0.5, 2.0]));
    write_columns(&folder.path().join("data/1.parquet"), with(0..4, whole), 5);
    write_columns(&folder.path().join("data/2.parquet"), with(4..6, broken), 5);
    let (out, err) = kolk_exits(0, &["run", &file]);
    let found: Vec<String> = lines(&out).iter().map(|line| line["n"].to_string()).collect();
    assert_eq!(found, ["1.0", "null", "0.5", "2.0"], "{out}");
    assert!(err.contains("2 records to the dead letters: bad_value"), "{err}");
    let letters = format!("{:?}", rows(&folder.path().join("dead_letters")));
    assert!(letters.contains("9007199254740993 can't be Float64"), "{letters}");
}

#[test]
fn what_does_not_fit_is_named_with_both_files_and_types() {
    let folder = tempfile::tempdir().unwrap();
    let file = pipeline_of(folder.path(), "", "stdout: { fields: [note] }", "");
    let second = || columns(24..48);
    write_columns(&folder.path().join("data/1.parquet"), columns(0..24), 5);
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let binary = recast(second(), "note", &DataType::Binary);
    let cases: Vec<(Columns, &[&str])> = vec![
        (recast(second(), "ts", &utc), &["2.parquet: column \"ts\" is Timestamp", "UTC", "1.parquet"]),
        (binary, &["2.parquet: column \"note\" is Binary, but Utf8 in", "1.parquet"]),
        (without(second(), "key"), &["2.parquet: there is no column \"key\", unlike", "1.parquet"]),
        (recast(second(), "value", &DataType::Utf8), &["column \"value\" is Utf8, but numbers in"]),
        (
            without(second(), "value").into_iter().chain([("Value", columns(24..48)[2].1.clone())]).collect(),
            &["\"Value\""],
        ),
    ];
    for (columns, words) in cases {
        write_columns(&folder.path().join("data/2.parquet"), columns, 5);
        for command in ["check", "run"] {
            let (_, err) = kolk_exits(2, &[command, &file]);
            words.iter().for_each(|word| assert!(err.contains(word), "no {word:?} in {err}"));
        }
    }
}

#[test]
fn two_columns_of_one_name_are_refused_and_other_cases_of_it_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = pipeline_of(folder.path(), "", "stdout: { fields: [note] }", "");
    let twice = |name: &'static str| {
        let mut all = columns(0..4);
        let again = all.iter().find(|column| column.0 == name).unwrap().1.clone();
        all.push((name, again));
        all
    };
    for name in ["key", "ts", "value", "note"] {
        write_columns(&folder.path().join("data/1.parquet"), twice(name), 5);
        for command in ["check", "run"] {
            let (_, err) = kolk_exits(2, &[command, &file]);
            assert!(err.contains(&format!("there are 2 columns \"{name}\"")), "{err}");
        }
    }
    // What isn't read may come twice.
    let mut unused = columns(0..4);
    unused.extend([("x", columns(0..4)[2].1.clone()), ("x", columns(0..4)[3].1.clone())]);
    unused.push(("Value", columns(4..8)[2].1.clone()));
    write_columns(&folder.path().join("data/1.parquet"), unused, 5);
    let (_, err) = kolk_exits(0, &["check", &file]);
    assert_eq!(err.matches("column \"value\" is read, not \"Value\"").count(), 1, "{err}");
    let (out, err) = kolk_exits(0, &["run", &file]);
    assert!(err.contains("column \"value\" is read, not \"Value\""), "{err}");
    assert_eq!(lines(&out).len(), 4);
}

#[test]
fn a_column_that_has_the_name_of_the_series_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = pipeline_of(folder.path(), "", "stdout: { fields: [key] }", "");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("key: key, ", "")).unwrap();
    write_columns(&folder.path().join("data/1.parquet"), columns(0..4), 5);
    let (_, err) = kolk_exits(0, &["check", &file]);
    assert!(err.contains("\"key\" is the key of the series here"), "{err}");
    // Two columns of the output of one name.
    let columns = recast(columns(0..4), "ts", &DataType::Int64);
    write_columns(&folder.path().join("data/1.parquet"), columns, 5);
    std::fs::write(&file, text.replace("key: key, ", "key: ts, ").replace("[key]", "[value]")).unwrap();
    let (_, err) = kolk_exits(2, &["check", &file]);
    assert!(err.contains("key and time would both be column \"ts\" of the output"), "{err}");
}

#[test]
fn encrypted_columns_are_refused_where_they_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = pipeline_of(folder.path(), "", "stdout: { fields: [value] }", "");
    let write_encrypted = |name: &str| {
        let batch = RecordBatch::try_from_iter(columns(0..4)).unwrap();
        let keys = FileEncryptionProperties::builder(b"0123456789012345".to_vec()).with_plaintext_footer(true);
        let keys = keys.with_column_key(name, b"1234567890123450".to_vec()).build().unwrap();
        let properties = WriterProperties::builder().with_file_encryption_properties(keys).build();
        let to = std::fs::File::create(folder.path().join("data/a.parquet")).unwrap();
        let mut writer = ArrowWriter::try_new(to, batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    };
    for name in ["value", "key", "ts"] {
        write_encrypted(name);
        for command in ["check", "run"] {
            let (_, err) = kolk_exits(2, &[command, &file]);
            assert!(err.contains(&format!("column \"{name}\" of ")) && err.contains("a.parquet is encrypted"), "{err}");
        }
    }
    write_encrypted("note");
    kolk_exits(0, &["check", &file]);
    assert_eq!(lines(&kolk_exits(0, &["run", &file]).0).len(), 4);
}
