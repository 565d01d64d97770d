//! What holds for any file: any start gives the suffix, bounds are a filter, damage never panics.

use std::path::Path;

use ::parquet::file::properties::{EnabledStatistics, WriterProperties};
use arrow::array::*;
use proptest::prelude::*;
use tempfile::tempdir;

use crate::config::Moment;
use crate::record::{NO_TIME, Origin};
use crate::source::testing::*;

#[test]
fn corrupt_data_fails_with_file_and_row_group() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let rows = 400;
    let keys = array(StringArray::from_iter_values((0..rows).map(|n| format!("key-{}", n % 7))));
    write(&path, three(keys, steps(rows)), 100);
    let whole = std::fs::read(&path).unwrap();
    let footer = u32::from_le_bytes(whole[whole.len() - 8..whole.len() - 4].try_into().unwrap()) as usize;
    let planned = planned(&pipeline(path.display()), &[]);
    let mut failed = 0;
    for at in (4..whole.len() - 8 - footer).step_by(7) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        std::fs::write(&path, &bytes).unwrap();
        // Without checksums a changed number is a number: but nothing may panic or hang.
        if let Err(e) = read(&planned, None) {
            failed += 1;
            let message = e.to_string();
            assert!(message.contains("a.parquet: row group "), "{message}");
            assert_eq!(e.exit_code(), 1);
        }
    }
    assert!(failed > 40, "{failed}");
    // Another file in its place is noticed.
    sample(&path, "a");
    assert!(read(&planned, None).unwrap_err().to_string().contains("changed after the start"));
}

/// Row groups before the start, or outside of the bounds by their statistics, are not even opened: here they are junk.
#[test]
fn what_is_not_wanted_is_not_read() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let keys = array(StringArray::from_iter_values((0..400).map(|n| format!("key-{}", n % 7))));
    write(&path, three(keys, steps(400)), 100);
    let mut bytes = std::fs::read(&path).unwrap();
    let file = std::fs::File::open(&path).unwrap();
    let metadata = ::parquet::file::metadata::ParquetMetaDataReader::new().parse_and_finish(&file).unwrap();
    let last_group = metadata.row_group(3).column(0).byte_range().0 as usize;
    bytes[4..last_group].fill(0xff);
    std::fs::write(&path, &bytes).unwrap();
    let whole = planned(&pipeline(path.display()), &[]);
    assert!(read(&whole, None).is_err());
    assert_eq!(read(&whole, Some(Origin { file: 0, row: 300 })).unwrap().len(), 100);
    let bounded = between(pipeline(path.display()), Some(Moment::Step(350)), Some(Moment::Step(390)));
    let found = read(&planned(&bounded, &[]), None).unwrap();
    assert_eq!((found.len(), found[0].time, found[0].origin.row), (40, 350, 350));
}

/// A file: keys and times, both with nulls, and how they are stored.
#[derive(Debug)]
struct Stored {
    rows: Vec<(Option<u8>, Option<i16>)>,
    group: usize,
    page: usize,
    dictionary: bool,
}

/// Some files.
fn table() -> impl Strategy<Value = Vec<Stored>> {
    let row = (proptest::option::weighted(0.9, 0..20_u8), proptest::option::weighted(0.95, -50..50_i16));
    let file = (proptest::collection::vec(row, 0..120), 1..50_usize, 1..40_usize, any::<bool>());
    let file = file.prop_map(|(rows, group, page, dictionary)| Stored { rows, group, page, dictionary });
    proptest::collection::vec(file, 1..4)
}

fn write_table(folder: &Path, files: &[Stored], sorted: bool) {
    for (index, Stored { rows, group, page, dictionary }) in files.iter().enumerate() {
        let mut rows = rows.clone();
        if sorted {
            rows.sort_by_key(|row| row.1);
        }
        let keys = StringArray::from_iter(rows.iter().map(|row| row.0.map(|key| format!("key {key}"))));
        let times = TimestampMillisecondArray::from_iter(rows.iter().map(|row| row.1.map(i64::from)));
        let properties = WriterProperties::builder()
            .set_max_row_group_row_count(Some(*group))
            .set_data_page_row_count_limit(*page)
            .set_write_batch_size(4)
            .set_dictionary_enabled(*dictionary)
            .set_statistics_enabled(if *dictionary { EnabledStatistics::Chunk } else { EnabledStatistics::Page })
            .build();
        write_with(&folder.join(format!("{index}.parquet")), three(array(keys), array(times)), properties);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// What is read doesn't depend on row groups, pages, or where reading began.
    #[test]
    fn any_start_gives_the_suffix(files in table(), remote in any::<bool>(), starts in proptest::collection::vec(any::<proptest::sample::Index>(), 6)) {
        let folder = tempdir().unwrap();
        write_table(folder.path(), &files, false);
        let scheme = if remote { "file://" } else { "" };
        let planned = planned(&pipeline(format!("{scheme}{}", folder.path().display())), &[]);
        let all = read(&planned, None).unwrap();
        let expected: Vec<_> = files.iter().enumerate().flat_map(|(file, stored)| {
            stored.rows.iter().enumerate().map(move |(row, (key, time))| {
                let valid = key.is_some() && time.is_some();
                let key = key.filter(|_| valid).map_or(String::new(), |key| format!("key {key}"));
                (Origin { file: file as u32, row: row as u64 }, key, time.map_or(NO_TIME, i64::from))
            })
        }).collect();
        let found: Vec<_> = all.iter().map(|one| (one.origin, one.key.clone(), one.time)).collect();
        prop_assert_eq!(found, expected);
        for start in starts {
            if !all.is_empty() {
                let at = start.index(all.len());
                prop_assert_eq!(&read(&planned, Some(all[at].origin)).unwrap(), &all[at..]);
            }
        }
        let last = Origin { file: files.len() as u32 - 1, row: files[files.len() - 1].rows.len() as u64 };
        prop_assert!(read(&planned, Some(last)).unwrap().is_empty());
    }

    /// Leaving out row groups by their statistics gives what filtering all rows gives.
    #[test]
    fn from_and_until_are_a_filter(files in table(), sorted in any::<bool>(), from in proptest::option::of(-60..60_i64), until in proptest::option::of(-60..60_i64)) {
        let folder = tempdir().unwrap();
        write_table(folder.path(), &files, sorted);
        let all = read(&planned(&pipeline(folder.path().display()), &[]), None).unwrap();
        let instant = |ms| Moment::Instant(chrono::DateTime::from_timestamp_millis(ms).unwrap());
        let bounded = between(pipeline(folder.path().display()), from.map(instant), until.map(instant));
        let planned = planned(&bounded, &[]);
        let inside: Vec<_> = all.into_iter().filter(|one| {
            one.bad == Some("null_time") || (from.is_none_or(|from| one.time >= from) && until.is_none_or(|until| one.time < until))
        }).collect();
        prop_assert_eq!(&read(&planned, None).unwrap(), &inside);
        if let Some(middle) = inside.get(inside.len() / 2) {
            prop_assert_eq!(&read(&planned, Some(middle.origin)).unwrap(), &inside[inside.len() / 2..]);
        }
    }
}
