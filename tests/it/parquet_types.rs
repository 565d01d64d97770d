//! Types of Parquet files as others write them: what is read of them, and what others read of the output.

use std::path::Path;
use std::sync::Arc;

use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int96, Int96Type};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use super::common::*;

/// A pipeline over `data/` with lags of one row.
fn pipeline_of(folder: &Path, source: &str, sink: &str, extra: &str) -> String {
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

/// Lines of stdout as JSON.
fn lines(text: &str) -> Vec<serde_json::Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Days since 1970 and nanoseconds of the day as INT96.
fn int96(days: i32, nanos: u64) -> Int96 {
    Int96::from(vec![nanos as u32, (nanos >> 32) as u32, (days + 2_440_588) as u32])
}

/// As Spark writes: INT96 columns `ts` and `seen`, and nothing of Arrow in the footer.
fn write_int96(path: &Path, rows: &[(&str, Int96, Int96)]) {
    let schema = "message spark_schema { optional binary key (STRING); optional int96 ts; optional double value; \
                  optional int96 seen; }";
    let file = std::fs::File::create(path).unwrap();
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut writer = SerializedFileWriter::new(file, schema, Arc::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let there = vec![1; rows.len()];
    let keys: Vec<ByteArray> = rows.iter().map(|row| ByteArray::from(row.0)).collect();
    let values: Vec<f64> = (1..=rows.len()).map(|row| row as f64).collect();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<ByteArrayType>().write_batch(&keys, Some(&there), None).unwrap();
    column.close().unwrap();
    for pick in [0, 1, 2] {
        let mut column = group.next_column().unwrap().unwrap();
        if pick == 1 {
            column.typed::<DoubleType>().write_batch(&values, Some(&there), None).unwrap();
        } else {
            let times: Vec<Int96> = rows.iter().map(|row| if pick == 0 { row.1 } else { row.2 }).collect();
            column.typed::<Int96Type>().write_batch(&times, Some(&there), None).unwrap();
        }
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
}

/// 2024-01-01, 9999-12-31T23:59:59, 0001-01-01.
const DAYS: [(i32, u64); 3] = [(19_723, 0), (2_932_896, 86_399_000_000_000), (-719_162, 0)];

#[test]
fn int96_is_read_in_microseconds() {
    let folder = tempfile::tempdir().unwrap();
    let file = pipeline_of(folder.path(), "", "stdout: { fields: [value, seen] }", "");
    let rows: Vec<_> = DAYS.iter().map(|(day, nanos)| ("A", int96(*day, *nanos), int96(*day, *nanos))).collect();
    write_int96(&folder.path().join("data/a.parquet"), &rows);
    let (out, _) = kolk_exits(0, &["run", &file]);
    let times = ["2024-01-01T00:00:00", "9999-12-31T23:59:59", "0001-01-01T00:00:00"];
    for (line, expected) in lines(&out).iter().zip(times) {
        assert_eq!((&line["ts"], &line["seen"]), (&expected.into(), &expected.into()), "{out}");
    }
    assert_eq!(lines(&out).len(), 3);
    // A bound is compared with the time that is there.
    let file = pipeline_of(folder.path(), ", from: 2024-01-01, until: 2025-01-01", "stdout:", "");
    assert_eq!(lines(&kolk_exits(0, &["run", &file]).0).len(), 1);
}

#[test]
fn int96_beyond_microseconds_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = pipeline_of(folder.path(), "", "stdout: { fields: [value, seen] }", "");
    let good = int96(19_723, 0);
    // Year 300,000 and some: wrapped around it would be a year between 1 and 9999.
    let beyond = int96(213_503_982 + 19_723, 0);
    let rows = [("A", good, good), ("B", beyond, good), ("C", good, beyond), ("D", good, good)];
    write_int96(&folder.path().join("data/a.parquet"), &rows);
    let (out, err) = kolk_exits(0, &["run", &file]);
    assert_eq!(lines(&out).iter().map(|line| line["key"].as_str().unwrap()).collect::<Vec<_>>(), ["A", "D"]);
    assert!(err.contains("2 records to the dead letters: time_out_of_range"), "{err}");
    let letters = format!("{:?}", self::rows(&folder.path().join("dead_letters")));
    assert!(letters.contains("column \\\"seen\\\": the INT96 timestamp is"), "{letters}");
    let refuse = pipeline_of(folder.path(), "", "stdout: { fields: [seen] }", "on: { error: refuse }");
    let (_, err) = kolk_exits(1, &["run", &refuse]);
    assert!(err.contains("row 1 (from 0): column \"ts\": the INT96") || err.contains("row 2 (from 0)"), "{err}");
}

#[test]
fn state_of_int96_in_nanoseconds_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = pipeline_of(folder.path(), "", "parquet: { path: out/ }", "");
    write_int96(&folder.path().join("data/a.parquet"), &[("A", int96(19_723, 0), int96(19_723, 0))]);
    kolk_exits(0, &["run", &file]);
    kolk_exits(0, &["check", &file]);
    let made_by = folder.path().join("state/p/pipeline.json");
    let mut before: serde_json::Value = serde_json::from_slice(&std::fs::read(&made_by).unwrap()).unwrap();
    // As the version before wrote it.
    assert!(before["sections"]["source"].as_object_mut().unwrap().remove("int96_times").is_some(), "{before}");
    std::fs::write(&made_by, before.to_string()).unwrap();
    let (_, err) = kolk_exits(2, &["check", &file]);
    assert!(err.contains("source.int96_times: (not there) -> microseconds"), "{err}");
}
