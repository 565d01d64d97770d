//! Dead letters of a folder, read again by a run.

use std::path::Path;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimestampMillisecondType};
use kolk::config::{At, Location};
use kolk::sink::{DeadLetter, DeadLetters};
use kolk::storage::Folder;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::common::*;

/// Letters of a topic: key, payload, timestamp.
type Message<'a> = (Option<&'a str>, Option<&'a str>, Option<i64>);

fn write_letters(folder: &Path, messages: &[Message<'_>]) {
    let at: At<Location> = At::default_value(Location(folder.to_str().unwrap().into()));
    let parts = DeadLetters::parts(Folder::open(&at).unwrap(), "before");
    let mut letters = DeadLetters::begin(&parts, 3.into(), 0);
    for (position, (key, payload, timestamp)) in messages.iter().enumerate() {
        let bytes = |text: &Option<&str>| text.map(|text| text.as_bytes().to_vec());
        letters
            .push(DeadLetter {
                key: key.map(str::to_owned),
                record: payload.unwrap_or_default().into(),
                file: Some("topic".into()),
                row: Some(position as u64),
                position: position as u64,
                reason: "bad_value",
                message_key: bytes(key),
                payload: bytes(payload),
                timestamp: *timestamp,
                detail: None,
            })
            .unwrap();
    }
    parts.publish(&letters.finish().unwrap().unwrap()).unwrap();
}

fn letters(folder: &Path) -> Vec<RecordBatch> {
    let open = |name: &String| std::fs::File::open(folder.join(name)).unwrap();
    let read = |file| ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap().map(Result::unwrap);
    files(folder).keys().flat_map(|name| read(open(name))).collect()
}

fn run(folder: &Path, source: &str, rest: &str) {
    let file = folder.join("again.yaml");
    let text = format!(
        "name: again\nsource: {{ dead_letters: {{ path: refused/, {source} }} }}\n{rest}\n\
         dead_letters: {{ parquet: {{ path: refused-again/ }} }}\nsink: {{ parquet: {{ path: out/, fields: [value] }} }}\n"
    );
    std::fs::write(&file, text).unwrap();
    kolk_exits(0, &["check", file.to_str().unwrap()]);
    kolk_exits(0, &["run", file.to_str().unwrap()]);
}

/// Earlier versions wrote timestamps as integers.
fn as_before(folder: &Path) {
    for name in files(folder).keys() {
        let path = folder.join(name);
        let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(&path).unwrap()).unwrap();
        let batches: Vec<RecordBatch> = reader.build().unwrap().map(Result::unwrap).collect();
        let before = |batch: &RecordBatch| {
            let fields = batch.schema_ref().fields().iter().zip(batch.columns());
            RecordBatch::try_from_iter_with_nullable(fields.map(|(field, column)| match field.name().as_str() {
                "timestamp" => ("timestamp", cast(column, &DataType::Int64).unwrap(), true),
                name => (name, column.clone(), true),
            }))
        };
        let batches: Vec<RecordBatch> = batches.iter().map(|batch| before(batch).unwrap()).collect();
        let file = std::fs::File::create(&path).unwrap();
        let mut writer = ArrowWriter::try_new(file, batches[0].schema(), None).unwrap();
        batches.iter().for_each(|batch| writer.write(batch).unwrap());
        writer.close().unwrap();
    }
}

#[test]
fn messages_are_decoded_again_and_keep_their_bytes() {
    decoded_again(|_| {});
    decoded_again(as_before);
}

fn decoded_again(changed: impl Fn(&Path)) {
    let folder = tempfile::tempdir().unwrap();
    let bad = r#"{"value":"x"}"#;
    let messages = [
        (Some("a"), Some(r#"{"value":1.5}"#), Some(1000)),
        (Some("a"), Some(bad), Some(2000)),
        (Some("a"), None, Some(3000)),
        (None, Some(r#"{"value":2}"#), Some(4000)),
        (Some("b"), Some(r#"{"value":2.5}"#), Some(5000)),
        (Some("a"), Some(r#"{"value":3.5}"#), Some(6000)),
    ];
    write_letters(&folder.path().join("refused"), &messages);
    changed(&folder.path().join("refused"));
    run(folder.path(), "key: key, timestamp: ts", "record: { key: key, time: ts, values: [value] }");
    let rows = rows(&folder.path().join("out"));
    let values =
        |key: &str| rows[key].iter().map(|row| row.rsplit(' ').next().unwrap().to_string()).collect::<Vec<_>>();
    assert_eq!((values("a"), values("b")), (vec!["1.5".to_string(), "3.5".into()], vec!["2.5".to_string()]));
    let mut again: Vec<(String, Option<String>, Option<String>, i64)> = Vec::new();
    for batch in letters(&folder.path().join("refused-again")) {
        let text = |name: &str, row: usize| {
            let column = batch.column_by_name(name).unwrap().as_binary::<i32>();
            column.is_valid(row).then(|| String::from_utf8(column.value(row).to_vec()).unwrap())
        };
        for row in 0..batch.num_rows() {
            let reason = batch.column_by_name("reason").unwrap().as_string::<i32>().value(row).to_string();
            if reason == "bad_value" {
                let detail = batch.column_by_name("detail").unwrap().as_string::<i32>().value(row);
                assert!(detail.contains("\"value\""), "the field is named: {detail}");
            }
            let timestamp = batch.column_by_name("timestamp").unwrap();
            let timestamp = timestamp.as_primitive::<TimestampMillisecondType>().value(row);
            again.push((reason, text("message_key", row), text("payload", row), timestamp));
        }
    }
    again.sort();
    let a = || Some("a".to_string());
    assert_eq!(
        again,
        [
            ("bad_value".to_string(), a(), Some(bad.to_string()), 2000),
            ("null_key".to_string(), None, Some(r#"{"value":2}"#.to_string()), 4000),
            ("tombstone".to_string(), a(), None, 3000),
        ]
    );
}

#[test]
fn a_wide_message_is_a_record_for_each_key_again() {
    let folder = tempfile::tempdir().unwrap();
    let messages = [
        (None, Some(r#"{"ts":1,"x":5,"y":6}"#), None),
        (None, Some(r#"{"ts":"no"}"#), None),
        (None, Some(r#"{"ts":2,"y":7}"#), None),
    ];
    write_letters(&folder.path().join("refused"), &messages);
    let record = "record: { columns_as_keys: [x, y], time: { column: ts, unit: step } }\non: { null: skip }";
    run(folder.path(), "format: json", record);
    let rows = rows(&folder.path().join("out"));
    assert_eq!((rows["x"].len(), rows["y"].len()), (2, 2));
    assert_eq!(letters(&folder.path().join("refused-again")).iter().map(RecordBatch::num_rows).sum::<usize>(), 1);
}

#[test]
fn records_of_files_are_read_by_their_json() {
    let folder = tempfile::tempdir().unwrap();
    let rows_before: Vec<Row> = (0..6).map(|n| ("a".to_string(), [5, 6, 3, 7, 4, 8][n] * 1000, n as f64)).collect();
    write(&folder.path().join("data.parquet"), &rows_before, 100);
    let file = folder.path().join("before.yaml");
    let text = "name: before\nsource: { parquet: { path: data.parquet } }\n\
                record: { key: key, time: ts, values: [value] }\non: { late: dead_letter }\n\
                dead_letters: { parquet: { path: refused/ } }\nsink: { parquet: { path: before/ } }\n";
    std::fs::write(&file, text).unwrap();
    kolk_exits(0, &["run", file.to_str().unwrap()]);
    run(folder.path(), "format: json", "record: { key: key, time: ts, values: [value] }");
    let rows = rows(&folder.path().join("out"));
    assert_eq!(rows["a"].len(), 2, "{rows:?}");
    assert!(rows["a"][0].ends_with(" 2.0") && rows["a"][1].ends_with(" 4.0"), "{rows:?}");
}

#[test]
fn what_does_not_fit_is_named() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("data.parquet"), &series(1, 3), 10);
    let file = folder.path().join("p.yaml");
    let text = "name: p\nsource: { dead_letters: { path: data.parquet }, until: 2020-01-01 }\n\
                record: { key: key, time: ts, values: [value] }\ndead_letters: { parquet: { path: data.parquet } }\n\
                sink: { kafka: { topic: t } }\n";
    std::fs::write(&file, text).unwrap();
    let (_, err) = kolk_exits(2, &["check", file.to_str().unwrap()]);
    for words in [
        "`until` is for files of records",
        "records that are refused again would go to the folder that is read",
        "not to Kafka",
    ] {
        assert!(err.contains(words), "no {words:?} in {err}");
    }
    let text = text.replace(", until: 2020-01-01", "").replace("path: data.parquet } }\nsink", "path: dead/ } }\nsink");
    std::fs::write(&file, text.replace("kafka: { topic: t }", "stdout: {}")).unwrap();
    let (_, err) = kolk_exits(2, &["check", file.to_str().unwrap()]);
    assert!(err.contains("there is no column \"payload\""), "{err}");
}
