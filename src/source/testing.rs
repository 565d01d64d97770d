//! Parquet files and pipelines for the tests of this folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use ::parquet::file::properties::WriterProperties;
use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};

use super::parquet::{PlannedParquet, plan};
use crate::config::{
    At, DeadLetters, Input, Key, Location, Moment, Pipeline, Policies, Record, Runtime, Source, State, TimeColumn,
};
use crate::error::Problems;
use crate::problem::Place;
use crate::record::{Origin, Records};

pub fn at<T>(value: T) -> At<T> {
    At { value, place: Place::new(7, 3) }
}

/// A pipeline that reads `path` with key `key`, time `ts` and value `value`.
pub fn pipeline(path: impl ToString) -> Pipeline {
    Pipeline {
        written: Default::default(),
        file: PathBuf::from("pipeline.yaml"),
        name: at("test".into()),
        source: Source {
            input: Input::Parquet(at(Location(path.to_string())).into()),
            from: None,
            until: None,
            emit_from: None,
        },
        record: Record {
            key: Key::Column(at("key".into())),
            time: at(TimeColumn { column: "ts".into(), unit: None, timezone: None }),
            values: vec![at("value".into())],
            vectors: Vec::new(),
            sequence: None,
        },
        on: Policies::default(),
        dead_letters: at(DeadLetters::default()),
        stages: Vec::new(),
        sink: None,
        state: State {
            path: at(Location::default()),
            checkpoint_every: std::time::Duration::from_secs(30),
            or_records: 1_000_000,
            partitions: 16,
        },
        metric_labels: Vec::new(),
        runtime: Runtime::default(),
        models: at(PathBuf::new()),
        public_keys: Vec::new(),
        train: None,
        search: None,
    }
}

/// The same with `from` and `until`.
pub fn between(mut pipeline: Pipeline, from: Option<Moment>, until: Option<Moment>) -> Pipeline {
    pipeline.source.from = from.map(at);
    pipeline.source.until = until.map(at);
    pipeline
}

/// Writes columns as a file with row groups of this many rows.
pub fn write(path: &Path, columns: Vec<(&str, ArrayRef)>, group: usize) {
    write_with(path, columns, WriterProperties::builder().set_max_row_group_row_count(Some(group)).build());
}

pub fn write_with(path: &Path, columns: Vec<(&str, ArrayRef)>, properties: WriterProperties) {
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true))).unwrap();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = std::fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

pub fn array<A: arrow::array::Array + 'static>(array: A) -> ArrayRef {
    Arc::new(array)
}

pub fn planned(pipeline: &Pipeline, fields: &[&str]) -> PlannedParquet {
    problems(pipeline, fields).unwrap_or_else(|problems| panic!("{problems}"))
}

/// The plan, or the problems as text.
pub fn problems(pipeline: &Pipeline, fields: &[&str]) -> Result<PlannedParquet, String> {
    let mut problems = Problems::new("pipeline.yaml");
    let fields: Vec<At<String>> = fields.iter().map(|field| at(field.to_string())).collect();
    let planned = plan(pipeline, &fields, &mut problems);
    assert_eq!(planned.is_some(), problems.is_empty());
    problems.finish(()).map_err(|e| e.to_string())?;
    Ok(planned.unwrap())
}

/// Columns `key`, `ts` and `value`, the values 0, 1/4, 2/4…
pub fn three(keys: ArrayRef, times: ArrayRef) -> Vec<(&'static str, ArrayRef)> {
    let values = Float64Array::from((0..keys.len()).map(|row| row as f64 / 4.0).collect::<Vec<_>>());
    vec![("key", keys), ("ts", times), ("value", array(values))]
}

pub fn steps(rows: i64) -> ArrayRef {
    array(Int64Array::from_iter_values(0..rows))
}

/// Two records of a key.
pub fn sample(path: &Path, key: &str) {
    let keys = array(StringArray::from_iter_values([key; 2]));
    write(path, three(keys, steps(2)), 100);
}

/// One record, comparable: NaN by its bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct One {
    pub origin: Origin,
    pub key: String,
    pub hash: u32,
    pub time: i64,
    pub values: Vec<u64>,
    pub bad: Option<&'static str>,
}

/// All records from a place on, checked for wholeness.
pub fn read(planned: &PlannedParquet, start: Option<Origin>) -> crate::Result<Vec<One>> {
    let mut source = planned.open(start)?;
    let mut all = Vec::new();
    while let Some(records) = source.next()? {
        assert!(!records.is_empty());
        append(&records, planned.layout.columns.len(), &mut all);
    }
    assert!(source.next()?.is_none());
    assert_eq!(source.records_passed(), source.records_total());
    assert!(all.windows(2).all(|two| two[0].origin < two[1].origin));
    Ok(all)
}

fn append(records: &Records, columns: usize, all: &mut Vec<One>) {
    let rows = records.len();
    assert_eq!((records.hashes.len(), records.key_ends.len(), records.origins.len()), (rows, rows, rows));
    assert_eq!(records.key_ends.last(), Some(&records.key_text.len()));
    assert_eq!(records.values.len() + records.passthrough.len(), columns);
    assert!(records.values.iter().all(|values| values.len() == rows));
    assert!(records.passthrough.iter().all(|array| array.len() == rows));
    let mut bad = records.bad.iter().peekable();
    for row in 0..rows {
        let key = std::str::from_utf8(records.key(row)).unwrap().to_string();
        assert_eq!(records.hashes[row], crate::record::murmur2(key.as_bytes()));
        all.push(One {
            origin: records.origins[row],
            key,
            hash: records.hashes[row],
            time: records.times[row],
            values: records.values.iter().map(|values| values[row].to_bits()).collect(),
            bad: bad.next_if(|(at, _)| *at == row).map(|(_, reason)| *reason),
        });
    }
    assert!(bad.next().is_none());
}
