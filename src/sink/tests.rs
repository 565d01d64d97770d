//! Output as a reader sees it.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{Array, AsArray, DictionaryArray, RecordBatch};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int32Type, TimeUnit, TimestampMicrosecondType};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use proptest::prelude::*;

use super::*;
use crate::config::{At, Location, Sink};
use crate::error::Problems;
use crate::problem::Place;
use crate::record::murmur2;
use crate::record::{Batch, Clock, Constant, KeyType, Kind, Layout, NO_TIME, PartitionId, Role, SourceTopic, Values};
use crate::state::{Keys, Target};
use crate::storage::Folder;

fn layout() -> Layout {
    let micros = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let mut layout = Layout::new("airport", KeyType::Utf8, "at", Clock::of(&micros, None).unwrap());
    layout.add("temp", Kind::Number, Role::Value);
    layout.add("temp_mean", Kind::Number, Role::Internal);
    let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    layout.add("note", Kind::Passthrough(dictionary), Role::Field);
    layout.add("prediction", Kind::Vector(2), Role::Output);
    layout.add("prediction_time", Kind::Time, Role::Output);
    layout.add("model_version", Kind::Integer, Role::Output);
    layout.add("observed", Kind::Flag, Role::Output);
    layout.add("score", Kind::Vector(1), Role::Output);
    layout
}

fn keys() -> Keys {
    let mut keys = Keys::default();
    for key in ["EWR", "JFK", "LGA"] {
        keys.slot(murmur2(key.as_bytes()), key.as_bytes());
    }
    keys
}

/// Rows `first..first + count` of an endless table; every value follows from the row's number.
fn batch(first: usize, count: usize) -> Batch {
    let rows = first..first + count;
    let number = |n: usize| if n % 7 == 3 { f64::NAN } else { n as f64 / 3.0 };
    let note: DictionaryArray<Int32Type> = rows.clone().map(|n| (n % 5 > 0).then(|| ["a", "b", "c"][n % 3])).collect();
    let vector = |n: usize| match n % 11 {
        0 => [f32::NAN; 2],
        1 => [n as f32, f32::NAN],
        _ => [n as f32, 0.5 * n as f32],
    };
    let columns = [
        Values::Number(rows.clone().map(number).collect()),
        Values::Number(vec![0.0; count]),
        Values::Passthrough(Arc::new(note)),
        Values::Vector(rows.clone().flat_map(vector).collect(), 2),
        Values::Time(rows.clone().map(|n| if n % 2 == 0 { NO_TIME } else { n as i64 * 1_000_000 }).collect()),
        Values::Integer(rows.clone().map(|n| n as i64 % 4).collect()),
        Values::Flag(rows.clone().map(|n| n % 3 == 0).collect()),
        Values::Vector(rows.clone().map(|n| number(n) as f32).collect(), 1),
    ];
    Batch {
        slots: rows.clone().map(|n| (n % 3) as u32).collect(),
        times: rows.clone().map(|n| n as i64 * 60_000_000).collect(),
        positions: rows.map(|n| n as u64).collect(),
        columns: columns.into_iter().map(Into::into).collect(),
        rejects: Vec::new(),
    }
}

fn sink(fields: &[&str]) -> Sink {
    let place = Place::new(9, 5);
    Sink::Stdout { fields: fields.iter().map(|name| At { value: name.to_string(), place }).collect() }
}

fn planned() -> PlannedSink {
    plan(&sink(&["note", "temp", "airport", "note", "score"]), &layout(), &mut Problems::new("p.yaml")).unwrap()
}

fn file(bytes: Vec<u8>) -> Vec<RecordBatch> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&bytes).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    reader.map(|rows| rows.unwrap()).collect()
}

/// They come from the partition, whatever the batch has.
#[test]
fn topic_and_partition_are_those_of_the_batch() {
    let mut layout = layout();
    layout.constants = vec![("shop".into(), Constant::Topic("only".into())), ("part".into(), Constant::Partition)];
    let planned = plan(&sink(&["part", "shop", "part"]), &layout, &mut Problems::new("p.yaml")).unwrap();
    let of = |partition: PartitionId| {
        let rows = planned.rows(&batch(0, 3), &keys(), partition, Some(60_000_000)).unwrap();
        assert_eq!((rows.num_rows(), rows.schema().field(2).is_nullable()), (2, false));
        let text = |column: usize| arrow::util::display::array_value_to_string(rows.column(column), 1).unwrap();
        (text(2), text(3))
    };
    assert_eq!(of(PartitionId::from(7)), ("7".to_string(), "only".to_string()));
    assert_eq!(of(PartitionId::of(SourceTopic::new("sales", "1"), 2)), ("2".to_string(), "sales".to_string()));
}

#[test]
fn columns_are_those_asked_for_then_those_of_stages() {
    let schema = planned().schema();
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let expected =
        ["airport", "at", "note", "temp", "prediction", "prediction_time", "model_version", "observed", "score"];
    assert_eq!(names, expected);
    assert_eq!(schema.field(2).data_type(), &DataType::Utf8);
    assert_eq!(schema.field(8).data_type(), &DataType::Float32);
}

#[test]
fn unknown_and_doubled_columns_are_problems_at_their_place() {
    let mut problems = Problems::new("p.yaml");
    let mut layout = layout();
    layout.add("temp", Kind::Number, Role::Output);
    assert!(plan(&sink(&["tmep", "temp", "temp_mean"]), &layout, &mut problems).is_none());
    let text = problems.finish(()).unwrap_err().to_string();
    assert!(text.contains("p.yaml:9:5") && text.contains("did you mean \"temp\"?"), "{text}");
    assert!(text.contains("two columns of the output would be named \"temp\""), "{text}");
    assert!(text.contains("no column \"temp_mean\""), "{text}");
}

#[test]
fn values_and_nulls_are_those_of_the_batch() {
    let rows = planned().rows(&batch(0, 12), &keys(), PartitionId::from(0), None).unwrap();
    assert_eq!(rows.column(0).as_string::<i32>().value(4), "JFK");
    let times = rows.column(1).as_primitive::<TimestampMicrosecondType>();
    assert_eq!((times.value(2), times.timezone()), (120_000_000, Some("UTC")));
    let notes = rows.column(2).as_string::<i32>();
    assert!(notes.is_null(5));
    assert_eq!(notes.value(4), "b");
    let temps = rows.column(3).as_primitive::<Float64Type>();
    assert!(temps.is_null(3));
    assert_eq!(temps.value(6), 2.0);
    let predictions = rows.column(4).as_fixed_size_list();
    assert!(predictions.is_null(0) && predictions.is_null(11) && predictions.is_valid(1));
    let second = predictions.value(1);
    assert!(second.is_valid(0) && second.is_null(1));
    assert_eq!(predictions.value(2).as_primitive::<Float32Type>().values(), &[2.0, 1.0]);
    assert!(rows.column(5).is_null(4) && rows.column(5).is_valid(5));
    assert!(rows.column(7).as_boolean().value(9));
    let late = planned().rows(&batch(0, 12), &keys(), PartitionId::from(0), Some(60_000_000 * 5 + 1)).unwrap();
    assert_eq!(late.num_rows(), 6);
    assert_eq!(late.column(4), &rows.column(4).slice(6, 6));
    assert_eq!(planned().rows(&batch(0, 12), &keys(), PartitionId::from(0), Some(i64::MAX)).unwrap().num_rows(), 0);
}

#[test]
fn keys_and_times_have_the_type_of_the_source() {
    let mut keys = Keys::default();
    for key in ["-5", "200", "7"] {
        keys.slot(murmur2(key.as_bytes()), key.as_bytes());
    }
    let mut all = layout();
    all.columns.clear();
    let types = [
        (DataType::Int16, DataType::Date32),
        (DataType::Int64, DataType::Date64),
        (DataType::Int32, DataType::Int64),
        (DataType::Int16, DataType::UInt32),
        (DataType::Int64, DataType::Timestamp(TimeUnit::Nanosecond, None)),
    ];
    for (key, time) in types {
        all.key_type = KeyType::Integer(key.clone());
        all.clock = Clock::of(&time, None).unwrap();
        let planned = plan(&sink(&[]), &all, &mut Problems::new("p")).unwrap();
        let batch = Batch { slots: vec![1, 0, 2], times: vec![3, 4, 5], positions: vec![0, 1, 2], ..Batch::default() };
        let rows = planned.rows(&batch, &keys, PartitionId::from(0), None).unwrap();
        // What Parquet has no type for is written as one that it has.
        let time = if time == DataType::Date64 { DataType::Timestamp(TimeUnit::Millisecond, None) } else { time };
        assert_eq!((rows.column(0).data_type(), rows.column(1).data_type()), (&key, &time));
        let numbers = arrow::compute::cast(rows.column(0), &DataType::Int64).unwrap();
        assert_eq!(numbers.as_primitive::<arrow::datatypes::Int64Type>().values(), &[200, -5, 7]);
    }
    let mut big = Keys::default();
    big.slot(murmur2(b"18446744073709551615"), b"18446744073709551615");
    all.key_type = KeyType::Integer(DataType::UInt64);
    let planned = plan(&sink(&[]), &all, &mut Problems::new("p")).unwrap();
    let batch = Batch { slots: vec![0], times: vec![3], positions: vec![0], ..Batch::default() };
    let rows = planned.rows(&batch, &big, PartitionId::from(0), None).unwrap();
    assert_eq!(rows.column(0).as_primitive::<arrow::datatypes::UInt64Type>().value(0), u64::MAX);
}

#[test]
fn lines_of_json_are_whole_and_name_nulls() {
    let lines = JsonLines::new(Vec::new());
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let lines = &lines;
            scope.spawn(move || {
                for n in 0..20 {
                    lines
                        .write(
                            &planned()
                                .rows(&batch(worker * 1000 + n * 10, 10), &keys(), PartitionId::from(0), None)
                                .unwrap(),
                        )
                        .unwrap();
                }
            });
        }
    });
    let text = String::from_utf8(lines.into_inner()).unwrap();
    assert_eq!(text.lines().count(), 800);
    for line in text.lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(row.as_object().unwrap().len(), 9, "{line}");
    }
    let eighth = text.lines().find(|line| line.contains("\"1970-01-01T00:08:00Z\"")).unwrap();
    assert_eq!(
        eighth,
        r#"{"airport":"LGA","at":"1970-01-01T00:08:00Z","note":"c","temp":2.6666666666666665,"prediction":[8.0,4.0],"prediction_time":null,"model_version":0,"observed":false,"score":2.6666667}"#
    );
}

#[test]
fn a_part_without_rows_is_no_file_and_a_part_reads_back() {
    let root = tempfile::tempdir().unwrap();
    let folder = Folder::open(&Location(root.path().display().to_string())).unwrap();
    let parts = Parts::new(Target::Output, folder.clone(), "p", planned().schema());
    assert!(parts.begin(0.into(), 0).finish(None).unwrap().is_none());
    assert!(std::fs::read_dir(root.path()).unwrap().next().is_none());
    let rows = planned().rows(&batch(0, 300_000), &keys(), PartitionId::from(0), None).unwrap();
    let mut writer = parts.begin(3.into(), 42);
    writer.write(rows.clone()).unwrap();
    let part = writer.finish(None).unwrap().unwrap();
    assert_eq!((part.name.as_str(), part.rows), ("part-00003-000000000042.parquet", 300_000));
    assert!(!parts.has_output().unwrap(), "a staged part is not visible");
    assert!(folder.rename(&part.staged, &part.name).unwrap());
    assert!(parts.has_output().unwrap());
    let back = file(folder.get(&part.name).unwrap().unwrap());
    assert_eq!(arrow::compute::concat_batches(&rows.schema(), &back).unwrap(), rows);
}

#[test]
fn dead_letters_tell_where_from_and_why() {
    let root = tempfile::tempdir().unwrap();
    let folder = Folder::open(&Location(root.path().display().to_string())).unwrap();
    let parts = DeadLetters::parts(folder.clone(), "p");
    let mut letters = DeadLetters::begin(&parts, 1.into(), 100);
    for position in 100..3000 {
        let key = (position % 2 == 0).then(|| format!("k{position}"));
        let (record, file) = (format!("{{\"v\":{position}}}"), Some("a.parquet".to_string()));
        letters
            .push(DeadLetter {
                key,
                record,
                file,
                row: Some(position),
                position,
                reason: "late",
                message_key: None,
                payload: None,
                timestamp: None,
                detail: None,
            })
            .unwrap();
    }
    let part = letters.finish().unwrap().unwrap();
    assert_eq!((part.name.as_str(), part.rows), ("dead-p-00001-000000000100.parquet", 2900));
    let back = file(folder.get(&part.staged).unwrap().unwrap());
    let back = arrow::compute::concat_batches(&back[0].schema(), &back).unwrap();
    let names: Vec<String> = back.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(
        names,
        [
            "key",
            "record",
            "file",
            "row",
            "partition",
            "position",
            "reason",
            "message_key",
            "payload",
            "timestamp",
            "detail"
        ]
    );
    assert!(back.column(0).is_null(1));
    assert_eq!(back.column(0).as_string::<i32>().value(0), "k100");
    assert_eq!(back.column(6).as_string::<i32>().value(2899), "late");
}

/// Bytes of a part written in batches of the given sizes.
fn bytes_of(sizes: &[usize]) -> Vec<u8> {
    let root = tempfile::tempdir().unwrap();
    let folder = Folder::open(&Location(root.path().display().to_string())).unwrap();
    let mut writer = Parts::new(Target::Output, folder.clone(), "p", planned().schema()).begin(0.into(), 0);
    let mut first = 0;
    for size in sizes {
        writer.write(planned().rows(&batch(first, *size), &keys(), PartitionId::from(0), None).unwrap()).unwrap();
        first += size;
    }
    let part = writer.finish(None).unwrap().unwrap();
    folder.get(&part.staged).unwrap().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Row groups end at 131,072 rows, so some cases must be longer.
    #[test]
    fn bytes_do_not_depend_on_batches(total in 1..150_000_usize, cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..40)) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(total)).chain([0, total]).collect();
        cuts.sort();
        let sizes: Vec<usize> = cuts.windows(2).map(|pair| pair[1] - pair[0]).collect();
        prop_assert!(bytes_of(&sizes) == bytes_of(&[total]));
    }
}

#[test]
fn bytes_do_not_depend_on_the_smallest_batches() {
    assert!(bytes_of(&[1; 20_000]) == bytes_of(&[20_000]));
}

/// A stage may come to a time beyond the calendar (`prediction_time`), which Arrow writes as the text of an error.
#[test]
fn a_time_without_a_text_is_null_in_json() {
    let mut layout = Layout::new("k", KeyType::Utf8, "at", Clock::of(&DataType::Date32, None).unwrap());
    layout.add("prediction_time", Kind::Time, Role::Output);
    let mut problems = Problems::new("p.yaml");
    let planned = plan(&Sink::Stdout { fields: Vec::new() }, &layout, &mut problems).unwrap();
    let batch = Batch {
        slots: vec![0, 0],
        times: vec![0, 1],
        positions: vec![0, 1],
        columns: vec![Values::Time(vec![2_932_896, 2_932_897]).into()],
        rejects: Vec::new(),
    };
    let lines = JsonLines::new(Vec::new());
    lines.write(&planned.rows(&batch, &keys(), PartitionId::from(0), None).unwrap()).unwrap();
    let text = String::from_utf8(lines.into_inner()).unwrap();
    let expected = "{\"k\":\"EWR\",\"at\":\"1970-01-01\",\"prediction_time\":\"9999-12-31\"}\n\
                    {\"k\":\"EWR\",\"at\":\"1970-01-02\",\"prediction_time\":null}\n";
    assert_eq!(text, expected);
}
