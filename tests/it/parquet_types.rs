//! Types of Parquet files as others write them: what is read of them, and what others read of the output.

use std::path::Path;
use std::sync::Arc;

use arrow::array::*;
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::LogicalType;
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int96, Int96Type};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use super::common::*;
use super::parquet_differ::{lines, pipeline_of};

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
    let times = ["0001-01-01T00:00:00", "2024-01-01T00:00:00", "9999-12-31T23:59:59"];
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
    assert!(err.contains("source.int96_times: ") && err.contains(" -> microseconds"), "{err}");
}

/// Rows of a daily series: four weeks from 2024-01-01 on, so that the days of the week are known.
const ROWS: i32 = 29;

/// These days in every clock.
fn clocks() -> Vec<ArrayRef> {
    let days: ArrayRef = Arc::new(Date32Array::from_iter_values(19_723..19_723 + ROWS));
    let seconds = cast(&days, &DataType::Timestamp(TimeUnit::Second, None)).unwrap();
    let zoned = DataType::Timestamp(TimeUnit::Second, Some("Asia/Tokyo".into()));
    let in_zone = TimestampSecondArray::from_iter_values((0..i64::from(ROWS)).map(|day| 1_704_034_800 + 86_400 * day));
    let mut all = vec![cast(&days, &DataType::Date64).unwrap(), seconds, Arc::new(in_zone.with_data_type(zoned)), days];
    for unit in [TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond] {
        all.push(cast(&all[0], &DataType::Timestamp(unit, None)).unwrap());
    }
    all
}

#[test]
fn times_of_the_output_have_a_type_that_others_know() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    publish(folder, "m", kolk::kernel::CellKind::Gru, kolk::model::ModelKind::Carry, None);
    for clock in clocks() {
        for name in ["out", "state", "data"] {
            let _ = std::fs::remove_dir_all(folder.join(name));
        }
        let file = folder.join("p.yaml");
        let text = "name: p\nsource: { parquet: { path: data/ } }\nrecord: { key: key, time: ts, values: [value] }\n\
                    stages:\n  - infer: { model: m, mode: carry }\n\
                    sink: { parquet: { path: out/, fields: [seen, hour] } }\nstate: { partitions: 1 }\n";
        std::fs::create_dir_all(folder.join("data")).unwrap();
        std::fs::write(&file, text).unwrap();
        let hours: ArrayRef = Arc::new(Time32SecondArray::from_iter_values((0..ROWS).map(|row| row * 3_000)));
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("key", Arc::new(StringArray::from(vec!["a"; ROWS as usize]))),
            ("ts", clock.clone()),
            ("value", Arc::new(Float64Array::from_iter_values((0..ROWS).map(f64::from)))),
            ("seen", clock.clone()),
            ("hour", hours),
        ];
        write_columns(&folder.join("data/a.parquet"), columns, 10);
        kolk_exits(0, &["run", file.to_str().unwrap()]);
        let part = files(&folder.join("out")).into_iter().next().unwrap().0;
        let part = || std::fs::File::open(folder.join("out").join(&part)).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(part()).unwrap();
        for column in reader.parquet_schema().columns() {
            let name = column.name();
            let logical = column.logical_type_ref();
            match name {
                "hour" => assert!(matches!(logical, Some(LogicalType::Time { .. })), "{name} {}", clock.data_type()),
                "ts" | "prediction_time" | "seen" => {
                    let is_a_time = matches!(logical, Some(LogicalType::Date | LogicalType::Timestamp { .. }));
                    assert!(is_a_time, "{name} {} {logical:?}", clock.data_type());
                }
                _ => {}
            }
        }
        // As a reader that knows nothing of Arrow finds them.
        let options = parquet::arrow::arrow_reader::ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(part(), options).unwrap();
        let rows = reader.build().unwrap().next().unwrap().unwrap();
        let seconds = |name: &str| {
            let seconds =
                cast(rows.column_by_name(name).unwrap(), &DataType::Timestamp(TimeUnit::Second, None)).unwrap();
            cast(&seconds, &DataType::Int64).unwrap()
        };
        let expected = cast(&clock, &DataType::Timestamp(TimeUnit::Second, None)).unwrap();
        let expected = cast(&expected, &DataType::Int64).unwrap();
        for name in ["ts", "seen"] {
            assert_eq!(&seconds(name), &expected, "{name} {}", clock.data_type());
        }
        // The horizon is two steps: 2024-01-31, in Tokyo nine hours earlier.
        let zone = if clock.data_type().to_string().contains("Tokyo") { 9 * 3_600 } else { 0 };
        let next = seconds("prediction_time");
        let last = next.as_primitive::<arrow::datatypes::Int64Type>().value(ROWS as usize - 1);
        assert_eq!(last, 1_706_659_200 - zone, "{}", clock.data_type());
    }
}

#[test]
fn state_whose_output_had_bare_integers_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = pipeline_of(folder.path(), "", "parquet: { path: out/ }", "");
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("key", Arc::new(StringArray::from(vec!["a"; ROWS as usize]))),
        ("ts", clocks().remove(0)),
        ("value", Arc::new(Float64Array::from_iter_values((0..ROWS).map(f64::from)))),
    ];
    write_columns(&folder.path().join("data/a.parquet"), columns, 10);
    kolk_exits(0, &["run", &file]);
    kolk_exits(0, &["check", &file]);
    let made_by = folder.path().join("state/p/pipeline.json");
    let mut before: serde_json::Value = serde_json::from_slice(&std::fs::read(&made_by).unwrap()).unwrap();
    assert!(before["sections"]["sink"].as_object_mut().unwrap().remove("times").is_some(), "{before}");
    std::fs::write(&made_by, before.to_string()).unwrap();
    let (_, err) = kolk_exits(2, &["check", &file]);
    assert!(err.contains("sink.times"), "{err}");
}
