//! Files that ask for more memory than they have bytes.

use std::sync::Arc;

use ::parquet::basic::{Compression, Encoding};
use ::parquet::file::properties::WriterProperties;
use arrow::array::{ArrayRef, BinaryArray, Float64Array, Int64Array, StringArray};

use super::super::plan::plan;
use super::super::testing::{at, pipeline, write_with};
use crate::error::Problems;
use crate::hostile::most_memory;

/// A file of a long text that few bytes stand for, read: the rows, and the most memory that it took.
fn long(rows: usize, bytes: usize, key: bool, properties: WriterProperties) -> (Result<usize, String>, usize) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let long = "x".repeat(bytes);
    let text =
        |is_long: bool| (0..rows).map(|_| Some(if is_long { long.as_str() } else { "k" })).collect::<StringArray>();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("key", Arc::new(text(key))),
        ("ts", Arc::new((0..rows as i64).collect::<Int64Array>())),
        ("value", Arc::new((0..rows).map(|n| n as f64).collect::<Float64Array>())),
        ("s", Arc::new(text(!key))),
    ];
    write_with(&path, columns, properties);
    assert!(std::fs::metadata(&path).unwrap().len() < 1 << 20);
    let mut problems = Problems::new("p.yaml");
    let planned = plan(&pipeline(path.display()), &[at("s".to_string())], &mut problems);
    let planned = problems.finish(planned).unwrap().unwrap();
    most_memory(|| {
        let mut reader = planned.open(None).unwrap();
        let mut all = 0;
        loop {
            match reader.next() {
                Ok(Some(records)) => all += records.len(),
                Ok(None) => return Ok(all),
                Err(error) => return Err(error.to_string()),
            }
        }
    })
}

#[test]
fn a_long_value_of_a_dictionary_takes_little_memory_in_a_thousand_rows() {
    for key in [false, true] {
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(Default::default()))
            .set_dictionary_page_size_limit(64 << 20)
            .set_statistics_enabled(::parquet::file::properties::EnabledStatistics::None)
            .build();
        let (read, most) = long(2000, 1 << 20, key, properties);
        assert_eq!(read, Ok(2000));
        assert!(most < 1200 << 20, "{most} bytes");
    }
}

#[test]
fn a_long_value_that_is_written_as_no_difference_takes_little_memory_in_a_thousand_rows() {
    let properties = WriterProperties::builder()
        .set_compression(Compression::UNCOMPRESSED)
        .set_dictionary_enabled(false)
        .set_encoding(Encoding::PLAIN)
        .set_column_encoding("s".into(), Encoding::DELTA_BYTE_ARRAY)
        .set_statistics_enabled(::parquet::file::properties::EnabledStatistics::None)
        .build();
    let (read, most) = long(2000, 512 << 10, false, properties);
    assert_eq!(read, Ok(2000));
    assert!(most < 1200 << 20, "{most} bytes");
}

#[test]
fn a_page_that_would_grow_without_end_is_refused_before_it_is_unpacked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    // A value of 300 MB in a few kilobytes.
    let long = vec![0_u8; 300_000_000];
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("key", Arc::new(StringArray::from(vec!["k"]))),
        ("ts", Arc::new(Int64Array::from(vec![1]))),
        ("value", Arc::new(Float64Array::from(vec![1.0]))),
        ("s", Arc::new(BinaryArray::from(vec![long.as_slice()]))),
    ];
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(Default::default()))
        .set_dictionary_enabled(false)
        .set_statistics_enabled(::parquet::file::properties::EnabledStatistics::None)
        .build();
    write_with(&path, columns, properties);
    drop(long);
    let mut problems = Problems::new("p.yaml");
    let planned = plan(&pipeline(path.display()), &[at("s".to_string())], &mut problems);
    let planned = problems.finish(planned).unwrap().unwrap();
    let (error, most) = most_memory(|| planned.open(None).unwrap().next().unwrap_err().to_string());
    assert!(error.contains("column \"s\": a page has 3000000") && error.contains("smaller pages"), "{error}");
    assert!(error.contains("a.parquet: row group 0"), "{error}");
    assert!(most < 64 << 20, "{most} bytes");
}
