//! Files that ask for more memory than they have bytes.

use std::sync::Arc;

use ::parquet::basic::{Compression, Encoding};
use ::parquet::file::properties::{WriterProperties, WriterVersion};
use arrow::array::{ArrayRef, BinaryArray, Float64Array, Int64Array, ListArray, StringArray};
use arrow::datatypes::{DataType, Field};

use super::super::deltas;
use super::super::pages::Pages;
use super::super::plan::{footer_of, plan};
use super::super::testing::{at, pipeline, write_with};
use crate::error::Problems;
use crate::hostile::most_memory;
use crate::storage::DATA_BLOCK;

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
    write_with(&path, columns.clone(), properties.clone());
    drop(long);
    let (read, most) = first(&path);
    let error = read.unwrap_err();
    assert!(error.contains("column \"s\": a page has 3000000") && error.contains("smaller pages"), "{error}");
    assert!(error.contains("a.parquet: row group 0"), "{error}");
    assert!(most < 64 << 20, "{most} bytes");
    // One that says that it is small: its room isn't left.
    let bytes = std::fs::read(&path).unwrap();
    let number = |bytes: u32| -> Vec<u8> {
        let zigzag = bytes << 1;
        (0..5).map(|n| (zigzag >> (7 * n)) as u8 & 0x7f | if n < 4 { 0x80 } else { 0 }).collect()
    };
    // Of its header: the type, then the size, which has as many bytes as this one.
    let is_header = |bytes: &[u8]| bytes[..3] == [0x15, 0, 0x15] && bytes[3..7].iter().all(|byte| byte & 0x80 != 0);
    let at = bytes.windows(8).rposition(is_header).unwrap() + 3;
    let mut small = bytes.clone();
    small[at..at + 5].copy_from_slice(&number(1000));
    std::fs::write(&path, small).unwrap();
    let (read, most) = first(&path);
    assert!(read.unwrap_err().contains("a.parquet: row group 0"));
    assert!(most < 64 << 20, "{most} bytes");
    // As large in the file, it may be as large in memory.
    let properties = properties.into_builder().set_compression(Compression::UNCOMPRESSED).build();
    write_with(&path, columns, properties);
    assert_eq!(first(&path).0, Ok(1));
}

/// The number of the first records of a file, and the most memory that they took.
fn first(path: &std::path::Path) -> (Result<usize, String>, usize) {
    let mut problems = Problems::new("p.yaml");
    let planned = plan(&pipeline(path.display()), &[at("s".to_string())], &mut problems);
    let planned = problems.finish(planned).unwrap().unwrap();
    most_memory(|| match planned.open(None).unwrap().next() {
        Ok(records) => Ok(records.unwrap().len()),
        Err(error) => Err(error.to_string()),
    })
}

#[test]
fn a_header_with_long_statistics_and_a_page_of_lists_without_values_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let write = |rows: usize, s: ArrayRef| {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("key", Arc::new((0..rows).map(|_| Some("k")).collect::<StringArray>())),
            ("ts", Arc::new((0..rows as i64).collect::<Int64Array>())),
            ("value", Arc::new((0..rows).map(|n| n as f64).collect::<Float64Array>())),
            ("s", s),
        ];
        let properties = WriterProperties::builder()
            .set_statistics_enabled(::parquet::file::properties::EnabledStatistics::Page)
            .set_write_page_header_statistics(true)
            .set_statistics_truncate_length(None)
            .set_column_index_truncate_length(None)
            .set_data_page_row_count_limit(usize::MAX)
            .set_max_row_group_row_count(Some(usize::MAX))
            .build();
        write_with(&path, columns, properties);
    };
    let long = ["x".repeat(3 << 20), "y".repeat(100)];
    write(2, Arc::new(StringArray::from(long.to_vec())));
    assert_eq!(first(&path).0, Ok(2));
    let rows = 1_300_000;
    write(rows, Arc::new(ListArray::new_null(Arc::new(Field::new("item", DataType::Float64, true)), rows)));
    assert!(first(&path).0.unwrap() > 0);
}

#[test]
fn the_longest_value_of_a_row_group_is_found_in_dictionaries_and_in_differences() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let rows = 3000;
    let text = |n: usize| (!n.is_multiple_of(5)).then(|| format!("{}{n}", "shared".repeat(n * n * 7 % 800)));
    let longest = (0..rows).filter_map(text).map(|text| text.len()).max().unwrap() as u64;
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("key", Arc::new((0..rows).map(|_| Some("k")).collect::<StringArray>())),
        ("ts", Arc::new((0..rows as i64).collect::<Int64Array>())),
        ("value", Arc::new((0..rows).map(|n| n as f64).collect::<Float64Array>())),
        ("s", Arc::new((0..rows).map(text).collect::<StringArray>())),
    ];
    for encoding in [None, Some(Encoding::DELTA_LENGTH_BYTE_ARRAY), Some(Encoding::DELTA_BYTE_ARRAY)] {
        for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
            let properties = WriterProperties::builder()
                .set_compression(Compression::SNAPPY)
                .set_writer_version(version)
                .set_dictionary_page_size_limit(64 << 20);
            let properties = match encoding {
                None => properties,
                Some(encoding) => properties.set_dictionary_enabled(false).set_column_encoding("s".into(), encoding),
            };
            write_with(&path, columns.clone(), properties.build());
            let mut problems = Problems::new("p.yaml");
            let planned = plan(&pipeline(path.display()), &[at("s".to_string())], &mut problems);
            let planned = problems.finish(planned).unwrap().unwrap();
            let mut records = planned.open(None).unwrap();
            let mut all = 0;
            while let Some(more) = records.next().unwrap() {
                all += more.len();
            }
            assert_eq!(all, rows);
            let input = planned.shape.files[0].file.open((4, DATA_BLOCK)).unwrap();
            let (metadata, _) = footer_of(&input).unwrap();
            let (pages, group) = (Pages::new(input, &metadata), metadata.row_group(0));
            assert_eq!(deltas::longest(&pages, group, group.column(3)).unwrap(), longest, "{encoding:?}");
            assert!(deltas::longest_at_most(&pages, group.column(3)).unwrap() >= longest, "{encoding:?}");
            // Of numbers, and of short texts, nothing is unpacked.
            assert_eq!(deltas::longest_at_most(&pages, group.column(1)).unwrap(), 0);
            if encoding.is_none() {
                assert!(deltas::longest_at_most(&pages, group.column(0)).unwrap() < 100);
            }
        }
    }
}
