//! Keys of every type: read, told apart, written in their type, and in JSON as the text that everybody uses.

use std::path::Path;
use std::sync::Arc;

use arrow::array::*;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::LogicalType;

use super::common::*;
use super::parquet_differ::{lines, pipeline_of};

/// Rows with these keys, an hour apart; `uuid`: the bytes are UUIDs.
fn write_keys(path: &Path, keys: &ArrayRef, uuid: bool) {
    let mut key = Field::new("key", keys.data_type().clone(), true);
    if uuid {
        key = key.with_metadata([("ARROW:extension:name".to_string(), "arrow.uuid".to_string())]);
    }
    let hours = (0..keys.len() as i64).map(|hour| 1_704_067_200_000_000 + 3_600_000_000 * hour);
    let columns: Vec<ArrayRef> = vec![
        keys.clone(),
        Arc::new(TimestampMicrosecondArray::from_iter_values(hours)),
        Arc::new(Float64Array::from_iter_values((0..keys.len()).map(|row| row as f64))),
    ];
    let time = Field::new("ts", columns[1].data_type().clone(), false);
    let schema = Arc::new(Schema::new(vec![key, time, Field::new("value", DataType::Float64, true)]));
    let batch = RecordBatch::try_new(schema.clone(), columns).unwrap();
    let mut writer = ArrowWriter::try_new(std::fs::File::create(path).unwrap(), schema, None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// Keys A, B, A, B, …, null of each type, and the JSON of A and B.
fn types() -> Vec<(ArrayRef, bool, [&'static str; 2])> {
    let bytes = [&b"\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff"[..], &[255; 16]];
    let pick = [Some(0), Some(1), Some(0), Some(1), None].map(|at: Option<usize>| at.map(|at| bytes[at]));
    let fixed = || FixedSizeBinaryArray::try_from_sparse_iter_with_size(pick.iter().copied(), 16).unwrap();
    let fixed: ArrayRef = Arc::new(fixed());
    let days: ArrayRef = Arc::new(Date32Array::from(vec![Some(19_753), Some(-1), Some(19_753), Some(-1), None]));
    let number = [Some(1250), Some(-5), Some(1250), Some(-5), None];
    let decimals: ArrayRef = Arc::new(Decimal128Array::from(number.to_vec()).with_precision_and_scale(20, 2).unwrap());
    let flags = vec![Some(true), Some(false), Some(true), Some(false), None];
    let hex = ["\"00112233445566778899aabbccddeeff\"", "\"ffffffffffffffffffffffffffffffff\""];
    let uuids = ["\"00112233-4455-6677-8899-aabbccddeeff\"", "\"ffffffff-ffff-ffff-ffff-ffffffffffff\""];
    let binary: ArrayRef = Arc::new(BinaryArray::from_iter(pick));
    let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Binary));
    vec![
        (fixed.clone(), true, uuids),
        (fixed, false, hex),
        (binary.clone(), false, hex),
        (cast(&binary, &DataType::LargeBinary).unwrap(), false, hex),
        (cast(&binary, &dictionary).unwrap(), false, hex),
        (Arc::new(BooleanArray::from(flags)), false, ["true", "false"]),
        (cast(&decimals, &DataType::Decimal256(50, 2)).unwrap(), false, ["12.50", "-0.05"]),
        (cast(&decimals, &DataType::Decimal32(9, 2)).unwrap(), false, ["12.50", "-0.05"]),
        (decimals, false, ["12.50", "-0.05"]),
        (cast(&days, &DataType::Date64).unwrap(), false, ["\"2024-01-31\"", "\"1969-12-31\""]),
        (days, false, ["\"2024-01-31\"", "\"1969-12-31\""]),
    ]
}

#[test]
fn keys_of_any_type_are_read_and_written_back() {
    for (keys, uuid, [a, b]) in types() {
        let what = format!("{} {uuid}", keys.data_type());
        let folder = tempfile::tempdir().unwrap();
        let file = pipeline_of(folder.path(), "", "stdout: { fields: [value_lag_1] }", "");
        write_keys(&folder.path().join("data/a.parquet"), &keys, uuid);
        kolk_exits(0, &["check", &file]);
        let (out, err) = kolk_exits(0, &["run", &file]);
        assert!(err.contains("1 record to the dead letters: null_key"), "{what}: {err}");
        for (key, lag) in [(a, "null"), (b, "null"), (a, "0.0"), (b, "1.0")] {
            let line = format!("{{\"key\":{key},\"ts\"");
            let found = out.lines().filter(|found| found.starts_with(&line) && found.contains(&format!(":{lag}")));
            assert_eq!(found.count(), 1, "{what}: no {line} … {lag} in {out}");
        }
        // In Parquet, in the type of the source, and over a checkpoint.
        let file =
            pipeline_of(folder.path(), "", "parquet: { path: out/, fields: [value] }", "state: { partitions: 1 }");
        kolk_exits(0, &["run", &file]);
        let part = files(&folder.path().join("out")).into_iter().next().unwrap().0;
        let part = std::fs::File::open(folder.path().join("out").join(part)).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(part).unwrap();
        let logical = reader.parquet_schema().column(0).logical_type_ref().cloned();
        assert_eq!(logical == Some(LogicalType::Uuid), uuid, "{what}: {logical:?}");
        let found = reader.build().unwrap().next().unwrap().unwrap();
        let to = match keys.data_type() {
            DataType::Date64 => DataType::Date32,
            DataType::LargeBinary | DataType::Dictionary(..) => DataType::Binary,
            other => other.clone(),
        };
        assert_eq!(found.column(0), &cast(&keys.slice(0, 4), &to).unwrap(), "{what}");
    }
}

#[test]
fn keys_of_files_that_differ_are_one() {
    let folder = tempfile::tempdir().unwrap();
    let decimal = |numbers: Vec<i128>, precision, scale| -> ArrayRef {
        Arc::new(Decimal128Array::from(numbers).with_precision_and_scale(precision, scale).unwrap())
    };
    let days: ArrayRef = Arc::new(Date32Array::from(vec![19_753]));
    let bytes: ArrayRef = Arc::new(BinaryArray::from(vec![&b"ab"[..]]));
    let pairs = [
        (decimal(vec![125], 10, 1), decimal(vec![12500], 12, 3), "12.500"),
        (days.clone(), cast(&days, &DataType::Date64).unwrap(), "\"2024-01-31\""),
        (bytes.clone(), cast(&bytes, &DataType::LargeBinary).unwrap(), "\"6162\""),
    ];
    for (one, other, text) in pairs {
        let file = pipeline_of(folder.path(), "", "stdout: { fields: [value_lag_1] }", "");
        write_keys(&folder.path().join("data/1.parquet"), &one, false);
        write_keys(&folder.path().join("data/2.parquet"), &other, false);
        let (_, said) = kolk_exits(0, &["check", &file]);
        assert_eq!(said.matches("note: column \"key\" is").count(), 1, "{said}");
        let (out, _) = kolk_exits(0, &["run", &file]);
        assert_eq!(out.matches(&format!("\"key\":{text},")).count(), 2, "{out}");
        assert_eq!(lines(&out).iter().filter(|line| line["value_lag_1"].is_null()).count(), 1, "{out}");
    }
    // Flags and numbers are two kinds of keys.
    write_keys(&folder.path().join("data/1.parquet"), &(Arc::new(BooleanArray::from(vec![true])) as ArrayRef), false);
    let file = pipeline_of(folder.path(), "", "stdout:", "");
    let (_, err) = kolk_exits(2, &["check", &file]);
    for part in ["2.parquet: column \"key\" is ", "Boolean in", "1.parquet"] {
        assert!(err.contains(part), "no {part} in {err}");
    }
}
