//! How fast Parquet becomes records: key by dictionary and as plain text, time, one value.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kolk::config::{At, Key, Location, Pipeline, Policies, Problems, Record, Runtime, Source, State, TimeColumn};
use kolk::source::parquet::plan;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;

const ROWS: usize = 2_000_000;
const KEYS: usize = 10_000;

fn at<T>(value: T) -> At<T> {
    At::default_value(value)
}

fn pipeline(path: &Path) -> Pipeline {
    Pipeline {
        file: PathBuf::new(),
        name: at("bench".into()),
        source: Source { path: at(Location(path.display().to_string())), from: None, until: None, emit_from: None },
        record: Record {
            key: Key::Column(at("key".into())),
            time: at(TimeColumn { column: "ts".into(), unit: None }),
            values: vec![at("value".into())],
        },
        on: Policies::default(),
        dead_letters: at(Location::default()),
        stages: Vec::new(),
        sink: None,
        state: State {
            path: at(Location::default()),
            checkpoint_every: Duration::from_secs(30),
            or_records: 1_000_000,
            partitions: 16,
        },
        runtime: Runtime { workers: 1, batch: 4096, http: None },
        models: at(PathBuf::new()),
        train: None,
    }
}

fn write(path: &Path, dictionary: bool) -> Result<(), Box<dyn std::error::Error>> {
    let keys = StringArray::from_iter_values((0..ROWS).map(|row| format!("key-{:05}", row * 7919 % KEYS)));
    let times = TimestampMillisecondArray::from_iter_values((0..ROWS).map(|row| (row / KEYS) as i64 * 60_000));
    let values = Float64Array::from_iter_values((0..ROWS).map(|row| (row as f64 * 0.01).sin()));
    let columns: [(&str, ArrayRef); 3] =
        [("key", Arc::new(keys)), ("ts", Arc::new(times)), ("value", Arc::new(values))];
    let batch = RecordBatch::try_from_iter(columns)?;
    let properties = WriterProperties::builder().set_column_dictionary_enabled("key".into(), dictionary).build();
    let mut writer = ArrowWriter::try_new(std::fs::File::create(path)?, batch.schema(), Some(properties))?;
    writer.write(&batch)?;
    writer.close()?;
    Ok(())
}

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(ROWS as u64)).sample_size(10);
    for (name, dictionary) in [("key by dictionary", true), ("key as text", false)] {
        let path = std::env::temp_dir().join(format!("kolk-bench-{}-{dictionary}.parquet", std::process::id()));
        if let Err(e) = write(&path, dictionary) {
            eprintln!("{}: {e}", path.display());
            continue;
        }
        let planned = plan(&pipeline(&path), &[], &mut Problems::new("bench"));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut rows = 0;
                let mut source = planned.as_ref().and_then(|planned| planned.open(None).ok());
                while let Some(Ok(Some(records))) = source.as_mut().map(|source| source.next()) {
                    rows += records.len();
                }
                assert_eq!(rows, ROWS);
            });
        });
        let _ = std::fs::remove_file(&path);
    }
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
