//! Filters that leave row groups and folders unread: the results are those of reading all.

use std::path::Path;
use std::sync::Arc;

use arrow::array::*;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use super::common::*;
use super::parquet_differ::lines;

const DAY: i64 = 86_400_000_000;

/// Days of 24 rows in folders, in row groups of 6: `key` is A, then B, …; `n` and `note` grow, `seen` is a day earlier,
/// one row of day 2 has no key and one no time; day 1 has floats where the others have integers.
fn write_days(folder: &Path, statistics: EnabledStatistics) {
    for day in 0..4_i64 {
        let path = folder.join(format!("data/day=2024-01-0{}/part-0.parquet", day + 1));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let rows = || day * 24..(day + 1) * 24;
        let times = || rows().map(|row| 1_704_067_200_000_000 + DAY / 24 * row);
        let missing = |row: i64, at: i64| day == 2 && row == day * 24 + at;
        let keys = rows().map(|row| (!missing(row, 7)).then(|| ["A", "B", "C", "D"][(row % 24 / 6) as usize]));
        let stamps = rows().zip(times()).map(|(row, time)| (!missing(row, 14)).then_some(time));
        // The first values of keys on the last day are null too.
        let is_null = |row: i64| row % 11 == 5 || row >= 72 && row % 6 == 0;
        let values = rows().map(|row| if is_null(row) { f64::NAN } else { row as f64 });
        let n: ArrayRef = Arc::new(Int64Array::from_iter(rows().map(|row| (row % 7 > 0).then_some(row))));
        let seen = TimestampMicrosecondArray::from_iter_values(times().map(|time| time - DAY));
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("key", Arc::new(keys.collect::<StringArray>())),
            ("ts", Arc::new(stamps.collect::<TimestampMicrosecondArray>())),
            ("value", Arc::new(Float64Array::from_iter_values(values))),
            ("n", if day == 1 { cast(&n, &DataType::Float64).unwrap() } else { n }),
            ("note", Arc::new(StringArray::from_iter_values(rows().map(|row| format!("n{row:03}"))))),
            ("seen", cast(&seen, &DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))).unwrap()),
        ];
        let columns = columns.into_iter().map(|(name, array)| (name, array, true));
        let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
        let properties =
            WriterProperties::builder().set_max_row_group_row_count(Some(6)).set_statistics_enabled(statistics).build();
        let mut writer =
            ArrowWriter::try_new(std::fs::File::create(path).unwrap(), batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    }
}

fn pipeline_with(folder: &Path, on: &str, stages: &str) -> String {
    let file = folder.join("p.yaml");
    // Only values go through a `resample`.
    let fields = if stages.contains("resample") { "value" } else { "n, note, seen, day, value, value_lag_1" };
    let text = format!(
        "name: p\nsource: {{ parquet: {{ path: data/ }} }}\nrecord: {{ key: key, time: ts, values: [value] }}\n\
         on: {{ {on} }}\nstages: [ {stages} ]\nsink: {{ stdout: {{ fields: [{fields}] }} }}\n"
    );
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_string()
}

/// How many rows are said to be left unread.
fn unread_rows(text: &str) -> u64 {
    let Some((_, rest)) = text.split_once("they are not read (") else { return 0 };
    rest.split(' ').next().unwrap().parse().unwrap()
}

/// Lines, dead letters, and how many rows the filter left unread.
fn run(folder: &Path, on: &str, stages: &str) -> (Vec<serde_json::Value>, Vec<String>, u64) {
    let file = pipeline_with(folder, on, stages);
    let _ = std::fs::remove_dir_all(folder.join("dead_letters"));
    let (out, err) = kolk_exits(0, &["run", &file]);
    let (_, said) = kolk_exits(0, &["check", &file]);
    assert_eq!(unread_rows(&err), unread_rows(&said), "{err} {said}");
    let mut letters: Vec<String> = Vec::new();
    if folder.join("dead_letters").exists() {
        // All of them but their position, which counts what is read.
        for name in files(&folder.join("dead_letters")).keys() {
            let file = std::fs::File::open(folder.join("dead_letters").join(name)).unwrap();
            for batch in ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap() {
                let batch = batch.unwrap();
                let text = |name: &str| cast(batch.column_by_name(name).unwrap(), &DataType::Utf8).unwrap();
                let columns = ["file", "row", "reason", "record", "detail"].map(text);
                letters.extend((0..batch.num_rows()).map(|row| {
                    let cells = columns.iter().map(|column| column.as_string::<i32>().value(row));
                    cells.collect::<Vec<_>>().join(" ")
                }));
            }
        }
    }
    letters.sort();
    (lines(&out), letters, unread_rows(&err))
}

#[test]
fn a_filter_leaves_unread_what_it_drops_and_changes_no_result() {
    let (with, without) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write_days(with.path(), EnabledStatistics::Chunk);
    write_days(without.path(), EnabledStatistics::None);
    let (skip, resample) = ("lags: { value: [1] }", "resample: { every: 6h }");
    // The two row groups with a row for the dead letters are read, unless their folder is left out by its name.
    for (on, condition, stages, unread) in [
        ("null: skip", "key != 'B'", skip, 18),
        ("null: skip", "key in ('A', 'B')", skip, 42),
        ("null: skip", "ts >= 2024-01-03", skip, 48),
        ("null: skip", "ts < 2024-01-02 01:00 or key = 'D' and ts > '2024-01-04T18:00:00Z'", skip, 48),
        ("null: skip", "seen between 2024-01-03 and 2024-01-03T03:00", skip, 78),
        ("null: skip", "seen > ts", skip, 84),
        ("null: skip", "note >= 'n090' and note is not null", skip, 78),
        ("null: skip", "n > 88", skip, 72),
        ("null: skip", "n is null", skip, 6),
        ("null: skip", "value <= 4", skip, 78),
        ("null: skip", "value is null", skip, 0),
        ("null: skip", "not (n <= 88 or value < 0)", skip, 72),
        ("null: skip", "n + 1 > 1000", skip, 0),
        // `carry` takes values from rows that are dropped, so only whole keys are left out, and what comes before.
        ("null: carry", "key != 'B'", skip, 18),
        ("null: carry", "key != 'B' and ts >= 2024-01-04", skip, 66),
        ("null: carry", "ts >= 2024-01-04", skip, 60),
        ("null: carry", "ts < 2024-01-02", skip, 0),
        ("null: carry", "ts not between 2024-01-02 and 2024-01-02T23:30", skip, 0),
        ("null: carry", "value <= 4", skip, 0),
        // After a `resample` nothing is carried from row to row before.
        ("null: carry", "ts >= 2024-01-04", resample, 60),
        // These compare with the times of all rows.
        ("null: skip, late: dead_letter", "ts >= 2024-01-04", skip, 0),
        ("null: refuse", "ts >= 2024-01-04", skip, 0),
        ("null: skip, watermark: partition", "ts >= 2024-01-04", resample, 0),
    ] {
        let stages = format!("filter: {{ where: \"{condition}\" }}, {stages}");
        let what = format!("{on}: {stages}");
        let (lines, letters, rows) = run(with.path(), on, &stages);
        let (expected, refused, none) = run(without.path(), on, &stages);
        assert_eq!((&lines, &letters), (&expected, &refused), "{what}");
        assert_eq!((rows, none), (unread, 0), "{what}");
    }
}

#[test]
fn a_folder_is_left_out_by_its_name_whatever_is_in_it() {
    let folder = tempfile::tempdir().unwrap();
    write_days(folder.path(), EnabledStatistics::None);
    let stages = "filter: { where: \"day = 2024-01-04\" }, lags: { value: [1] }";
    for on in ["null: skip", "null: carry"] {
        let (lines, letters, unread) = run(folder.path(), on, stages);
        assert_eq!((lines.len(), letters.len(), unread), (24, 0, 72), "{on}");
        // Carried from what is left unread.
        let first = lines.iter().find(|line| line["n"] == 73.0).map(|line| line["value_lag_1"].clone());
        assert_eq!(first == Some(53.0.into()), on == "null: carry", "{on}: {lines:?}");
    }
    let other = "filter: { where: \"day < 2024-01-03\" }, lags: { value: [1] }";
    assert_eq!((run(folder.path(), "null: skip", other).2, run(folder.path(), "null: carry", other).2), (48, 0));
}

/// One file of 24 rows in row groups of 6, with a key of its own each.
fn write_keys(folder: &Path, keys: &ArrayRef, is_uuid: bool, statistics: EnabledStatistics) {
    std::fs::create_dir_all(folder.join("data")).unwrap();
    let rows = || 0..24_i64;
    let each = UInt32Array::from_iter_values(rows().map(|row| (row / 6) as u32));
    let seen = TimestampMicrosecondArray::from_iter_values(rows().map(|row| 1_704_067_200_000_000 + DAY / 24 * row));
    let price = rows().map(|row| Some(i128::from(row) * 25)).collect::<Decimal128Array>();
    let inner: Vec<(Arc<Field>, ArrayRef)> = vec![
        (
            Arc::new(Field::new("n", DataType::Int64, true)),
            Arc::new(Int64Array::from_iter(rows().map(|row| (row % 7 > 0).then_some(row)))),
        ),
        (Arc::new(Field::new("seen", seen.data_type().clone(), true)), Arc::new(seen.clone())),
    ];
    let mut key = Field::new("key", keys.data_type().clone(), false);
    if is_uuid {
        key = key.with_metadata([("ARROW:extension:name".to_string(), "arrow.uuid".to_string())]);
    }
    let m = StructArray::from(inner);
    let fields = vec![
        key,
        Field::new("ts", seen.data_type().clone(), false),
        Field::new("value", DataType::Float64, true),
        Field::new("m", m.data_type().clone(), true),
        Field::new("price", DataType::Decimal128(20, 2), true),
    ];
    let columns: Vec<ArrayRef> = vec![
        arrow::compute::take(keys, &each, None).unwrap(),
        Arc::new(seen),
        Arc::new(Float64Array::from_iter_values(rows().map(|row| row as f64))),
        Arc::new(m),
        Arc::new(price.with_precision_and_scale(20, 2).unwrap()),
    ];
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    let properties =
        WriterProperties::builder().set_max_row_group_row_count(Some(6)).set_statistics_enabled(statistics).build();
    let file = std::fs::File::create(folder.join("data/a.parquet")).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[test]
fn keys_of_every_type_decimals_and_fields_of_structs_have_statistics() {
    let (with, without) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let decimals = |numbers: [i128; 4], precision| -> ArrayRef {
        let array = Decimal128Array::from(numbers.to_vec());
        Arc::new(array.with_precision_and_scale(precision, 2).unwrap())
    };
    let bytes = [[0; 16], [0x7f; 16], [0x80; 16], [255; 16]];
    let fixed: ArrayRef = Arc::new(FixedSizeBinaryArray::try_from_iter(bytes.iter()).unwrap());
    let binary: ArrayRef = Arc::new(BinaryArray::from_vec(vec![b"", b"\x00", b"\x7f\xff", b"\x80"]));
    // Every second one is kept, or the last one.
    let numbers = [-1250, -5, 5, 1250];
    for (keys, is_uuid, conditions) in [
        (decimals(numbers, 20), false, ["key != -12.50 and key != 0.05", "key > 12.4"]),
        (decimals(numbers, 9), false, ["key in (-0.05, 12.5)", "key >= 12.50"]),
        (
            cast(&decimals(numbers, 20), &DataType::Decimal256(50, 2)).unwrap(),
            false,
            ["key in (-0.05, 12.5)", "key >= 12.50"],
        ),
        (
            fixed.clone(),
            true,
            [
                "key in ('7F7f7f7f-7f7f-7f7f-7f7f-7f7f7f7f7f7f', 'ffffffff-ffff-ffff-ffff-ffffffffffff')",
                "key > '90000000-0000-0000-0000-000000000000'",
            ],
        ),
        (
            fixed,
            false,
            ["key in ('7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f', 'ffffffffffffffffffffffffffffffff')", "key > '90'"],
        ),
        (binary, false, ["key = '00' or key = '80'", "key > '7fff'"]),
    ] {
        write_keys(with.path(), &keys, is_uuid, EnabledStatistics::Chunk);
        write_keys(without.path(), &keys, is_uuid, EnabledStatistics::None);
        let fields = ["m.n >= 18", "m.n is null and value < 1", "m.seen < 2024-01-01T06:00", "price > 4.25"];
        let conditions = conditions.iter().zip([12, 18]).chain(fields.iter().zip([18, 18, 18, 18]));
        for (condition, unread) in conditions {
            let stages = format!("filter: {{ where: \"{condition}\" }}, lags: {{ value: [1] }}");
            let of = |folder: &Path| {
                let file = pipeline_with(folder, "null: skip", &stages);
                let text = std::fs::read_to_string(&file).unwrap();
                let text = text.replace("n, note, seen, day, value,", "m.n, m.seen, price, value,");
                std::fs::write(&file, text).unwrap();
                let (out, said) = kolk_exits(0, &["run", &file]);
                (lines(&out), unread_rows(&said))
            };
            let ((found, rows), (expected, none)) = (of(with.path()), of(without.path()));
            assert_eq!(found, expected, "{} {condition}", keys.data_type());
            assert_eq!((rows, none), (unread, 0), "{} {condition}", keys.data_type());
            assert!(!found.is_empty());
        }
    }
}
