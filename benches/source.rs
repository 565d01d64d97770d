//! How fast Parquet becomes records: key by dictionary and as plain text, time, one value.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kolk::config::{Pipeline, parse};
use kolk::error::Problems;
use kolk::source::parquet::plan;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;

const ROWS: usize = 2_000_000;
const KEYS: usize = 10_000;

fn pipeline(path: &Path) -> Pipeline {
    let text = format!(
        "name: bench\nsource: {{ parquet: {{ path: {} }} }}\nrecord: {{ key: key, time: ts, values: [value] }}\n\
         sink: {{ stdout: {{}} }}\n",
        path.display()
    );
    parse(&text, Path::new("bench.yaml")).unwrap_or_else(|error| panic!("{error}"))
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
