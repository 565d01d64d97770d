//! Columns of vectors in whole runs over files: what is read, written, put in order, refused, and read again.

use std::path::Path;
use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};

use super::common::*;
use super::parquet_differ::lines;

fn pipeline(folder: &Path, name: &str, source: &str, rest: &str) -> String {
    let file = folder.join(format!("{name}.yaml"));
    let text = format!(
        "name: {name}\nsource: {{ {source} }}\nrecord:\n  key: key\n  time: ts\n  \
         vectors: {{ frame: 3, samples: {{ width: any, type: int16 }} }}\n{rest}\n"
    );
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_string()
}

/// Rows a minute apart of one key; `frame` and `samples` as given.
fn write_vectors(path: &Path, minutes: &[i64], frame: ArrayRef, samples: ArrayRef) {
    let keys: ArrayRef = Arc::new(StringArray::from_iter_values(minutes.iter().map(|_| "a")));
    let times: ArrayRef = Arc::new(TimestampMillisecondArray::from_iter_values(minutes.iter().map(|m| m * 60_000)));
    write_columns(path, vec![("key", keys), ("ts", times), ("frame", frame), ("samples", samples)], 100);
}

fn int16(rows: &[&[i16]]) -> ArrayRef {
    let bytes = rows.iter().map(|row| row.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>());
    Arc::new(BinaryArray::from_iter_values(bytes.collect::<Vec<_>>()))
}

const PARQUET: &str = "parquet: { path: data/ }";

#[test]
fn vectors_of_all_files_are_written_and_others_refused_and_read_again() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    std::fs::create_dir(folder.join("data")).unwrap();
    let rest =
        "sink: { parquet: { path: out/, fields: [samples, frame] } }\non: { null: skip }\nstate: { partitions: 1 }";
    let file = pipeline(folder, "first", PARQUET, rest);
    let wide = |rows: Vec<Option<Vec<Option<f64>>>>| ListArray::from_iter_primitive::<Float64Type, _, _>(rows);
    let frames = wide(vec![
        Some(vec![Some(1.0), Some(0.1), None]),
        Some(vec![Some(1.0), Some(2.0)]),
        None,
        Some(vec![Some(7.0), Some(8.0), Some(9.0)]),
    ]);
    write_vectors(
        &folder.join("data/a.parquet"),
        &[1, 2, 3, 4],
        Arc::new(frames),
        int16(&[&[-32_768, 16_384], &[8_192], &[], &[1]]),
    );
    // Another file has other types, a third one no frames.
    let fixed =
        FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>([Some(vec![Some(4.0), Some(5.0), Some(6.0)])], 3);
    let list = ListArray::from_iter_primitive::<arrow::datatypes::Int16Type, _, _>([Some(vec![Some(-16_384), None])]);
    write_vectors(&folder.join("data/b.parquet"), &[5], Arc::new(fixed), Arc::new(list));
    let (_, err) = kolk_exits(0, &["run", &file]);
    assert!(err.contains("bad_vector"), "{err}");
    let part = files(&folder.join("out")).into_keys().next().unwrap();
    let reader = std::fs::File::open(folder.join("out").join(part)).unwrap();
    let rows = ParquetRecordBatchReaderBuilder::try_new(reader).unwrap().build().unwrap().next().unwrap().unwrap();
    let (samples, frame) = (rows.column(2).as_list::<i32>(), rows.column(3).as_fixed_size_list());
    assert_eq!((rows.num_rows(), samples.value_type(), frame.value_type()), (4, DataType::Float32, DataType::Float32));
    let number = |array: ArrayRef, at: usize| {
        let items = array.as_primitive::<Float32Type>();
        items.is_valid(at).then(|| items.value(at))
    };
    assert_eq!((0..3).map(|at| number(frame.value(0), at)).collect::<Vec<_>>(), [Some(1.0), Some(0.1), None]);
    assert!(frame.is_null(1) && samples.value(1).is_empty(), "a null frame, and no samples");
    assert_eq!((number(samples.value(0), 0), number(samples.value(0), 1)), (Some(-1.0), Some(0.5)));
    assert_eq!((number(samples.value(3), 0), number(samples.value(3), 1)), (Some(-0.5), None));
    assert_eq!(number(frame.value(3), 2), Some(6.0));

    // What was refused for its frame is read again with what it had: the frame was none.
    let source = "dead_letters: { path: dead_letters/, columns: {} }";
    let again = "sink: { stdout: { fields: [frame, samples] } }\ndead_letters: { parquet: { path: again/ } }";
    let text = std::fs::read_to_string(pipeline(folder, "again", source, again)).unwrap();
    std::fs::write(folder.join("again.yaml"), text.replace("time: ts", "time: { column: ts }")).unwrap();
    let (out, _) = kolk_exits(0, &["run", folder.join("again.yaml").to_str().unwrap()]);
    let line = &lines(&out)[0];
    assert_eq!((&line["frame"], &line["samples"]), (&Value::Null, &json!([0.25])), "{out}");
}

#[test]
fn vectors_are_put_in_order_and_what_can_not_be_is_refused_at_the_start() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    std::fs::create_dir(folder.join("data")).unwrap();
    let frame = |n: f32| Some(vec![Some(n), Some(n + 0.5), Some(-n)]);
    let frames = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>([1.0, 3.0, 2.0, 9.0].map(frame), 3);
    write_vectors(&folder.join("data/a.parquet"), &[1, 3, 2, 9], Arc::new(frames), int16(&[&[1], &[1], &[1], &[1]]));
    let rest = "on: { reorder: 5m }\nsink: { stdout: { fields: [frame] } }";
    let file = pipeline(folder, "order", PARQUET, rest);
    let (_, err) = kolk_exits(2, &["check", &file]);
    assert!(err.contains("column \"samples\" has any, write its width"), "{err}");
    let ordered = |text: String| text.replace("width: any", "width: 1");
    std::fs::write(&file, ordered(std::fs::read_to_string(&file).unwrap())).unwrap();
    let (out, _) = kolk_exits(0, &["run", &file]);
    let frames: Vec<Value> =
        out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["frame"].clone()).collect();
    let expected = [1.0, 2.0, 3.0, 9.0].map(|n| json!([n, n + 0.5, -n]));
    assert_eq!(frames, expected);
    let text = std::fs::read_to_string(&file).unwrap();
    for (from, to, expected) in [
        ("frame: 3", "frame: { width: 4 }", "whose lists have 3 numbers, not 4"),
        ("frame: 3", "key: 3", "column \"key\" is already the key"),
        ("frame: 3", "frame: 0", "a whole number from 1 to 1048576"),
        ("frame: 3", "frmae: 3", "did you mean \"frame\"?"),
        (", type: int16", "", "write what the bytes are, `type: float32` or `type: int16`"),
        ("type: int16", "type: int8", "expected one of: float32, int16"),
        ("  key: key", "  columns_as_keys: [v]", "every column is a series of single numbers"),
    ] {
        std::fs::write(&file, text.replace(from, to)).unwrap();
        let (_, err) = kolk_exits(2, &["check", &file]);
        assert!(err.contains(expected), "{to}: {err}");
    }
}

/// One record of very many samples among small ones: the same rows, whatever the batches, the workers, and where a run
/// was ended and went on.
#[test]
fn frames_do_not_depend_on_batches_or_workers() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    std::fs::create_dir(folder.join("data")).unwrap();
    let counts = [7, 320, 0, 90_000, 1, 320];
    let mut at = 0_i16;
    let sounds: Vec<Vec<i16>> = counts
        .iter()
        .map(|count| {
            (0..*count)
                .map(|_| {
                    at = at.wrapping_add(1);
                    at
                })
                .collect()
        })
        .collect();
    let samples = int16(&sounds.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let frames =
        FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>((0..6).map(|_| None::<Vec<Option<f32>>>), 3);
    write_vectors(&folder.join("data/a.parquet"), &[1, 2, 3, 4, 5, 6], Arc::new(frames), samples);
    let stages = "stages:\n  - frame: { column: samples, size: 16, hop: 8, pad: 4, rate: 8000 }\n  - filter: { where: \"ts > '1970-01-01'\" }\n";
    let mut outputs = Vec::new();
    for (name, runtime) in [("many", "{ batch: 4096, workers: 1 }"), ("one", "{ batch: 1, workers: 2 }")] {
        let rest = format!(
            "{stages}sink: {{ parquet: {{ path: {name}/, fields: [samples] }} }}\nstate: {{ or_records: 2 }}\nruntime: {runtime}"
        );
        let file = pipeline(folder, name, PARQUET, &rest);
        kolk_exits(0, &["run", &file]);
        outputs.push(rows(&folder.join(name)));
    }
    assert_eq!(outputs[0], outputs[1]);
    let all: usize = outputs[0].values().map(Vec::len).sum();
    let given: usize = counts.iter().sum();
    assert_eq!(all, (4 + given - 16) / 8 + 1);
}
