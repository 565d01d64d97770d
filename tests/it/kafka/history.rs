//! A topic with a history in Parquet files: the state begins with it, also where the outputs go to files.

use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;

use super::broker::Broker;
use super::process::Setup;
use super::records::{Sender, assert_equal, expected, written_until};
use crate::common::{self, Row, kolk_exits, series};

/// Checkpoints often, so that the second process has something to resume.
const EXTRA: &str = "state: { path: state/, checkpoint_every: 200ms }";

#[test]
fn into_files_the_state_begins_with_the_history() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "history-files", "");
    let rows = series(6, 40);
    let (old, new) = rows.split_at(120);
    common::write(&setup.path().join("old.parquet"), old, 50);
    setup.write(&broker, "parquet: { path: out/, fields: [value] }", EXTRA);
    let text = std::fs::read_to_string(setup.file()).unwrap();
    std::fs::write(setup.file(), text.replace("key: key, prop", "key: key, history: { path: old.parquet }, prop"))
        .unwrap();
    // What a run over the files alone would have made of the newer rows.
    let mut expected = expected(setup.path(), &rows);
    for (key, outputs) in &mut expected {
        outputs.drain(..old.iter().filter(|row| row.0 == *key).count());
    }
    expected.retain(|_, outputs| !outputs.is_empty());
    let sender = Sender::new(&broker);
    let out = setup.path().join("out");

    let kolk = setup.start("a");
    sender.send(&setup.input, &new[..60]);
    written_until(&out, 60);
    let log = kolk.stop();
    assert!(log.contains("the state begins with the history"), "{log}");
    // It is read once: the first commit has it.
    std::fs::remove_file(setup.path().join("old.parquet")).unwrap();
    common::write(&setup.path().join("old.parquet"), &old[..1], 50);
    let kolk = setup.start("a");
    sender.send(&setup.input, &new[60..]);
    let found = written_until(&out, new.len());
    let log = kolk.stop();
    assert!(!log.contains("the state begins with the history"), "{log}");
    assert_equal(&found, &expected);
}

/// Writes two rows, of the values 1 and 2 and these keys, if they are a column; `uuid`: their bytes are UUIDs.
fn write_two(path: &std::path::Path, keys: Option<(ArrayRef, bool)>) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut fields = vec![
        Field::new("ts", DataType::Timestamp(arrow::datatypes::TimeUnit::Millisecond, None), false),
        Field::new("value", DataType::Float64, false),
    ];
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMillisecondArray::from(vec![1_704_067_200_000, 1_704_067_200_000])),
        Arc::new(Float64Array::from(vec![1.0, 2.0])),
    ];
    if let Some((keys, uuid)) = keys {
        let metadata = uuid.then(|| ("ARROW:extension:name".to_string(), "arrow.uuid".to_string()));
        let field = Field::new("key", keys.data_type().clone(), false);
        fields.push(field.with_metadata(metadata.into_iter().collect::<std::collections::HashMap<_, _>>()));
        columns.push(keys);
    }
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(schema.clone(), columns).unwrap();
    let mut writer = ArrowWriter::try_new(std::fs::File::create(path).unwrap(), schema, None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[test]
fn keys_of_files_are_the_text_of_messages() {
    let broker = Broker::shared();
    let sender = Sender::new(&broker);
    let bytes = [*b"\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff", [255; 16]];
    let uuids = || FixedSizeBinaryArray::try_from_iter(bytes.iter()).unwrap();
    let decimals = Decimal128Array::from(vec![1250, -5]).with_precision_and_scale(20, 2).unwrap();
    // What is said of them, the column (without one they are in the names of folders, where `007` is `007`), and texts.
    let kinds: Vec<(&str, Option<ArrayRef>, [&str; 2])> = vec![
        (
            "in lower case and with hyphens",
            Some(Arc::new(uuids())),
            ["00112233-4455-6677-8899-aabbccddeeff", "ffffffff-ffff-ffff-ffff-ffffffffffff"],
        ),
        ("with all digits after the point", Some(Arc::new(decimals)), ["12.50", "-0.05"]),
        ("such as 2024-01-31", Some(Arc::new(Date32Array::from(vec![19_753, -1]))), ["2024-01-31", "1969-12-31"]),
        ("true and false", Some(Arc::new(BooleanArray::from(vec![true, false]))), ["true", "false"]),
        ("hexadecimal digits", Some(Arc::new(BinaryArray::from(vec![&b"\x00\xff"[..], b"ab"]))), ["00ff", "6162"]),
        ("", Some(Arc::new(UInt64Array::from(vec![7, u64::MAX]))), ["7", "18446744073709551615"]),
        ("", None, ["007", "042"]),
    ];
    for (note, keys, texts) in kinds {
        let (is_uuid, lags) = (note.contains("hyphens"), if keys.is_none() { ["2.0", "2.0"] } else { ["1.0", "2.0"] });
        let setup = Setup::new(&broker, "history-keys", "");
        match keys {
            Some(keys) => write_two(&setup.path().join("old/day=2024-01-01/a.parquet"), Some((keys, is_uuid))),
            None => {
                for text in texts {
                    write_two(&setup.path().join(format!("old/key={text}/a.parquet")), None);
                }
            }
        }
        setup.write(&broker, "stdout: { fields: [value_lag_1] }", "");
        let text = std::fs::read_to_string(setup.file()).unwrap();
        let text = text
            .replace("key: key, prop", "key: key, history: { path: old/ }, prop")
            .replace("infer: { model: m, mode: carry }", "lags: { value: [1] }");
        std::fs::write(setup.file(), text).unwrap();
        let rows: Vec<Row> = texts.iter().map(|key| (key.to_string(), 1_704_067_260_000, 3.0)).collect();
        sender.send(&setup.input, &rows);
        sender.flush();
        let (out, err) = kolk_exits(0, &["run", setup.file().to_str().unwrap(), "--until", "end"]);
        assert!(err.contains(note) && err.contains("history: keys") != note.is_empty(), "{note}: {err}");
        for (text, lag) in texts.iter().zip(lags) {
            let line = out.lines().find(|line| line.contains(&format!("\"{text}\"")));
            let line = line.unwrap_or_else(|| panic!("no {text} in {out}"));
            assert!(line.contains(&format!("\"value_lag_1\":{lag}")), "{text}: {line}");
        }
    }
}
