//! The source on real files.

use std::path::Path;

use ::parquet::file::properties::{EnabledStatistics, WriterProperties};
use arrow::array::*;
use arrow::datatypes::{DataType, Int8Type, Int32Type, TimeUnit};
use proptest::prelude::*;
use tempfile::tempdir;

use super::Origin;
use super::testing::*;
use crate::config::{EpochUnit, Key, Moment};
use crate::record::{KeyType, Kind};

fn three(keys: ArrayRef, times: ArrayRef) -> Vec<(&'static str, ArrayRef)> {
    let values = Float64Array::from((0..keys.len()).map(|row| row as f64 / 4.0).collect::<Vec<_>>());
    vec![("key", keys), ("ts", times), ("value", array(values))]
}

fn steps(rows: i64) -> ArrayRef {
    array(Int64Array::from_iter_values(0..rows))
}

#[test]
fn every_type_of_key() {
    let words = ["jfk", "lga", "jfk", "", "ümlaut", "ewr"];
    let ints: Vec<i64> = vec![1, 2, 2, -7, i64::MAX, i64::MIN];
    let text_keys: Vec<ArrayRef> = vec![
        array(StringArray::from_iter_values(words)),
        array(LargeStringArray::from_iter_values(words)),
        array(StringViewArray::from_iter_values(words)),
        array(words.into_iter().collect::<DictionaryArray<Int32Type>>()),
        array(words.into_iter().collect::<DictionaryArray<Int8Type>>()),
        arrow::compute::cast(
            &array(StringArray::from_iter_values(words)),
            &DataType::Dictionary(Box::new(DataType::UInt16), Box::new(DataType::LargeUtf8)),
        )
        .unwrap(),
    ];
    let wide = array(Int64Array::from(ints.clone()));
    let unsigned: Vec<u64> = vec![0, 1, 1, u64::MAX, 7, 1 << 63];
    let small: Vec<i8> = vec![0, 1, 1, -128, 127, 7];
    let mut int_keys: Vec<(ArrayRef, Vec<String>)> = vec![
        (wide.clone(), ints.iter().map(i64::to_string).collect()),
        (array(UInt64Array::from(unsigned.clone())), unsigned.iter().map(u64::to_string).collect()),
        (array(Int8Array::from(small.clone())), small.iter().map(i8::to_string).collect()),
        (array(UInt32Array::from(vec![u32::MAX; 6])), vec![u32::MAX.to_string(); 6]),
    ];
    let by_dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Int64));
    int_keys.push((arrow::compute::cast(&wide, &by_dictionary).unwrap(), int_keys[0].1.clone()));

    let folder = tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    for (dictionary, keys) in [true, false].into_iter().flat_map(|on| text_keys.iter().map(move |keys| (on, keys))) {
        let properties = WriterProperties::builder().set_dictionary_enabled(dictionary).build();
        write_with(&path, three(keys.clone(), steps(6)), properties);
        let planned = planned(&pipeline(path.display()), &[]);
        assert_eq!(planned.layout.key_type, KeyType::Utf8);
        let found: Vec<String> = read(&planned, None).unwrap().into_iter().map(|one| one.key).collect();
        assert_eq!(found, words, "{} dictionary {dictionary}", keys.data_type());
    }
    for (keys, expected) in int_keys {
        write(&path, three(keys.clone(), steps(6)), 4);
        let planned = planned(&pipeline(path.display()), &[]);
        assert_eq!(planned.layout.key_type, KeyType::Integer(super::plan::plain(keys.data_type())));
        let found: Vec<String> = read(&planned, None).unwrap().into_iter().map(|one| one.key).collect();
        assert_eq!(found, expected, "{}", keys.data_type());
    }
}

#[test]
fn every_type_of_time() {
    // Before 1970, the epoch itself, and after.
    let ticks = [-62_135_596_800_i64, -1, 0, 1_388_534_400];
    let folder = tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let keys = || array(StringArray::from_iter_values(["a"; 4]));
    let mut cases: Vec<(ArrayRef, Option<EpochUnit>, [i64; 4])> = Vec::new();
    for zone in [None, Some("UTC"), Some("America/New_York")] {
        for unit in [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond] {
            let data_type = DataType::Timestamp(unit, zone.map(Into::into));
            let array = arrow::compute::cast(&array(Int64Array::from(ticks.to_vec())), &data_type).unwrap();
            cases.push((array, None, ticks));
        }
    }
    cases.push((array(Date32Array::from(vec![-719_162, -1, 0, 16_071])), None, [-719_162, -1, 0, 16_071]));
    let days = [-719_162 * 86_400_000, -86_400_000, 0, 16_071 * 86_400_000];
    cases.push((array(Date64Array::from(days.to_vec())), None, days));
    cases.push((array(Int64Array::from(ticks.to_vec())), Some(EpochUnit::Second), ticks));
    cases.push((array(Int32Array::from(vec![-5, -1, 0, 7])), Some(EpochUnit::Millisecond), [-5, -1, 0, 7]));
    cases.push((array(UInt64Array::from(vec![3, 1, 0, 7])), None, [3, 1, 0, 7]));
    cases.push((array(UInt32Array::from(vec![3, 1, 0, u32::MAX])), None, [3, 1, 0, i64::from(u32::MAX)]));
    cases.push((array(Int16Array::from(vec![3, -1, 0, 7])), None, [3, -1, 0, 7]));
    for (times, unit, expected) in cases {
        write(&path, three(keys(), times.clone()), 3);
        let mut pipeline = pipeline(path.display());
        pipeline.record.time.value.unit = unit;
        let planned = planned(&pipeline, &[]);
        assert_eq!(planned.layout.clock.data_type, *times.data_type());
        let found: Vec<i64> = read(&planned, None).unwrap().into_iter().map(|one| one.time).collect();
        assert_eq!(found, expected, "{}", times.data_type());
    }
}

#[test]
fn every_type_of_value() {
    let decimal = |text: &str| text.parse::<f64>().unwrap();
    let big = i64::MAX - 512;
    let digits = 12_345_678_901_234_567_890_123_456_789_i128;
    let cases: Vec<(ArrayRef, Vec<f64>)> = vec![
        (array(Float32Array::from(vec![0.1_f32, f32::INFINITY])), vec![f64::from(0.1_f32), f64::INFINITY]),
        (array(Float64Array::from(vec![f64::NEG_INFINITY, -0.0])), vec![f64::NEG_INFINITY, -0.0]),
        (array(Int64Array::from(vec![big, -3])), vec![big as f64, -3.0]),
        (array(UInt64Array::from(vec![u64::MAX, 3])), vec![u64::MAX as f64, 3.0]),
        (array(Int8Array::from(vec![-128, 3])), vec![-128.0, 3.0]),
        (array(BooleanArray::from(vec![true, false])), vec![1.0, 0.0]),
        (
            array(Decimal128Array::from(vec![digits, -1]).with_precision_and_scale(38, 10).unwrap()),
            vec![decimal("1234567890123456789.0123456789"), decimal("-1e-10")],
        ),
        (
            array(Decimal128Array::from(vec![1234, 3]).with_precision_and_scale(9, 2).unwrap()),
            vec![decimal("12.34"), decimal("0.03")],
        ),
        (
            array(
                Decimal256Array::from_iter_values([arrow::datatypes::i256::from_i128(digits); 2])
                    .with_precision_and_scale(60, 3)
                    .unwrap(),
            ),
            vec![decimal("12345678901234567890123456.789"); 2],
        ),
        (array(Float32Array::from(vec![None, Some(f32::NAN)])), vec![f64::NAN, f64::NAN]),
        (array(Int32Array::from(vec![None, Some(1)])), vec![f64::NAN, 1.0]),
    ];
    let folder = tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    for (values, expected) in cases {
        let keys = array(StringArray::from_iter_values(["a", "b"]));
        write(&path, vec![("value", values.clone()), ("ts", steps(2)), ("key", keys)], 10);
        let found = read(&planned(&pipeline(path.display()), &[]), None).unwrap();
        for (one, expected) in found.iter().zip(expected) {
            let found = f64::from_bits(one.values[0]);
            assert!(found == expected || (found.is_nan() && expected.is_nan()), "{found} {}", values.data_type());
        }
    }
}

#[test]
fn bad_rows_are_named_and_stay() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let keys = array(StringArray::from(vec![Some("a"), None, Some("c"), Some("d"), None]));
    let times = array(UInt64Array::from(vec![Some(1), Some(2), None, Some(u64::MAX), None]));
    for group in [1, 2, 5] {
        write(&path, three(keys.clone(), times.clone()), group);
        let found = read(&planned(&pipeline(path.display()), &[]), None).unwrap();
        let reasons: Vec<_> = found.iter().map(|one| (one.bad, one.key.as_str(), one.time)).collect();
        let out = Some("time_out_of_range");
        let null = Some("null_time");
        let expected = [(None, "a", 1), (Some("null_key"), "", 2), (null, "", 0), (out, "", 0), (null, "", 0)];
        assert_eq!(reasons, expected);
        // Neither a bound nor statistics take away what has no time.
        let late = between(pipeline(path.display()), Some(Moment::Step(100)), None);
        let found = read(&planned(&late, &[]), None).unwrap();
        assert_eq!(found.iter().map(|one| one.origin.row).collect::<Vec<_>>(), [2, 3, 4]);
    }
}

#[test]
fn melting_goes_row_by_row() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let a = array(Float64Array::from(vec![1.0, 2.0, 3.0]));
    let b = array(Int32Array::from(vec![Some(10), None, Some(30)]));
    let note = array(StringArray::from_iter_values(["x", "y", "z"]));
    let times = array(Int64Array::from(vec![Some(5), Some(6), None]));
    write(&path, vec![("a", a), ("note", note), ("b", b), ("ts", times)], 2);
    let mut pipeline = pipeline(path.display());
    pipeline.record.key = Key::Melted(vec![at("b".into()), at("a".into())]);
    pipeline.record.values.clear();
    let planned = planned(&pipeline, &["note"]);
    assert_eq!(planned.records(), 6);
    assert_eq!(planned.layout.names().collect::<Vec<_>>(), ["value", "note"]);
    let all = read(&planned, None).unwrap();
    let found: Vec<_> = all
        .iter()
        .map(|one| (one.origin.row, one.key.as_str(), one.time, f64::from_bits(one.values[0]).to_string()))
        .collect();
    let expected = [(0, "b", 5, "10"), (1, "a", 5, "1"), (2, "b", 6, "NaN"), (3, "a", 6, "2")];
    assert_eq!(found[..4], expected.map(|(row, key, time, value)| (row, key, time, value.to_string())));
    assert_eq!(all[4..].iter().map(|one| one.bad).collect::<Vec<_>>(), [Some("null_time"); 2]);
    let mut source = planned.open(Some(Origin { file: 0, row: 1 })).unwrap();
    let records = source.next().unwrap().unwrap();
    assert_eq!(records.carried[0].as_string::<i32>().iter().flatten().collect::<String>(), "xyyzz");
    for start in 0..=6 {
        assert_eq!(read(&planned, Some(Origin { file: 0, row: start })).unwrap(), all[start as usize..]);
    }
}

#[test]
fn without_a_key_all_is_one_series() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    write(&path, three(steps(3), steps(3)), 10);
    let mut pipeline = pipeline(path.display());
    pipeline.record.key = Key::Single;
    let all = read(&planned(&pipeline, &[]), None).unwrap();
    assert_eq!(all.iter().map(|one| one.key.as_str()).collect::<Vec<_>>(), [""; 3]);
}

#[test]
fn fields_are_carried_once_and_plainly() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let kind = array(vec![Some("x"), None, Some("x")].into_iter().collect::<DictionaryArray<Int32Type>>());
    let mut list = ListBuilder::new(Int32Builder::new());
    for n in 0..3 {
        list.append_value((0..n).map(Some));
    }
    let mut columns = three(steps(3), steps(3));
    columns.extend([("kind", kind), ("list", array(list.finish())), ("unused", steps(3))]);
    write(&path, columns, 2);
    let planned = planned(&pipeline(path.display()), &["kind", "value", "list", "ts", "key", "kind"]);
    let kinds: Vec<_> = planned.layout.columns.iter().map(|column| (column.name.as_str(), &column.kind)).collect();
    assert_eq!(kinds[..2], [("value", &Kind::Number), ("kind", &Kind::Carried(DataType::Utf8))]);
    assert_eq!(kinds.len(), 3);
    let records = planned.open(None).unwrap().next().unwrap().unwrap();
    assert_eq!(records.carried[0].as_string::<i32>().iter().collect::<Vec<_>>(), [Some("x"), None, Some("x")]);
    assert_eq!(records.carried[1].as_list::<i32>().value(2).as_primitive::<Int32Type>().values(), &[0, 1]);
}

#[test]
fn keys_of_a_megabyte() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let long = |n: usize| format!("{n}{}", "k".repeat(1 << 20));
    for distinct in [1, 40] {
        let keys = array(StringArray::from_iter_values((0..40).map(|n| long(n % distinct))));
        write(&path, three(keys, steps(40)), 100);
        let planned = planned(&pipeline(path.display()), &[]);
        let found = read(&planned, None).unwrap();
        assert!(found.iter().enumerate().all(|(n, one)| one.key == long(n % distinct)));
        assert_eq!(found.len(), 40);
        // They come in small parts.
        assert!(planned.open(None).unwrap().next().unwrap().unwrap().len() <= 5);
    }
}

#[test]
fn empty_files_and_single_rows() {
    let folder = tempdir().unwrap();
    for (name, rows) in [("a", 0), ("b", 1), ("c", 0), ("d", 2)] {
        let keys = array(StringArray::from_iter_values((0..rows).map(|n| format!("{name}{n}"))));
        write(&folder.path().join(format!("{name}.parquet")), three(keys, steps(rows)), 100);
    }
    let one = |name: &str| read(&planned(&pipeline(folder.path().join(name).display()), &[]), None).unwrap().len();
    assert_eq!((one("a.parquet"), one("b.parquet")), (0, 1));
    let all = read(&planned(&pipeline(folder.path().display()), &[]), None).unwrap();
    let found: Vec<_> = all.iter().map(|one| (one.key.as_str(), one.origin.file)).collect();
    assert_eq!(found, [("b0", 1), ("d0", 3), ("d1", 3)]);
}

fn sample(path: &Path, key: &str) {
    let keys = array(StringArray::from_iter_values([key; 2]));
    write(path, three(keys, steps(2)), 100);
}

#[test]
fn folders_and_globs_are_read_in_path_order() {
    let folder = tempdir().unwrap();
    let names =
        ["b/1.parquet", "a.parquet", "b.parquet", "b/_old/1.parquet", "_x.parquet", ".y.parquet", "b/0.PARQUET"];
    for name in names {
        sample(&folder.path().join(name), name);
    }
    std::fs::write(folder.path().join("_SUCCESS"), "").unwrap();
    std::fs::write(folder.path().join("notes.txt"), "not data").unwrap();
    let root = folder.path().display().to_string();
    let files = |location: &str| {
        let planned = planned(&pipeline(location), &[]);
        let all = read(&planned, None).unwrap();
        assert_eq!(all.len(), planned.files().count() * 2);
        (planned.files().map(str::to_string).collect::<Vec<_>>(), planned.fingerprint())
    };
    for root in [root.clone(), format!("file://{root}")] {
        let (names, whole) = files(&root);
        assert_eq!(names, ["a.parquet", "b/0.PARQUET", "b/1.parquet", "b.parquet"], "{root}");
        assert_eq!(files(&format!("{root}/")).1, whole);
        assert_eq!(files(&format!("{root}/**/*.[pP]*")).0, names, "{root}");
        assert_eq!(files(&format!("{root}/*.parquet")).0, ["a.parquet", "b.parquet"]);
        assert_eq!(files(&format!("{root}/b/?.parquet")).0, ["1.parquet"]);
        assert_eq!(files(&format!("{root}/b/_old/*.parquet")).0, ["1.parquet"]);
        assert_eq!(files(&format!("{root}/_x.parquet")).0, ["_x.parquet"]);
    }
    // Where it lies doesn't matter, what it holds does.
    let (_, before) = files(&root);
    let moved = tempdir().unwrap();
    for name in ["a.parquet", "b/0.PARQUET", "b/1.parquet", "b.parquet"] {
        std::fs::create_dir_all(moved.path().join("b")).unwrap();
        std::fs::copy(folder.path().join(name), moved.path().join(name)).unwrap();
    }
    let other = moved.path().display().to_string();
    assert_eq!(files(&other).1, before);
    sample(&moved.path().join("b/1.parquet"), "changed key");
    assert_ne!(files(&other).1, before);
}

#[test]
fn what_is_not_there_is_refused() {
    let folder = tempdir().unwrap();
    let root = folder.path().display().to_string();
    let refused = |location: &str| {
        let message = problems(&pipeline(location), &[]).unwrap_err();
        assert!(message.starts_with("pipeline.yaml:7:3: "), "{message}");
        message
    };
    assert!(refused(&format!("{root}/none.parquet")).contains("there is no file or folder"));
    assert!(refused(&format!("{root}/none*.parquet")).contains("no file matches"));
    assert!(refused(&root).contains("holds no *.parquet file"));
    assert!(refused(&format!("file://{root}/none.parquet")).contains("neither an object nor"));
    assert!(refused("nowhere://x/y").contains("can't use nowhere://x/y"));
}

#[test]
fn broken_files_are_refused_by_name() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    sample(&path, "a");
    let whole = std::fs::read(&path).unwrap();
    for length in [0, 3, 7, 8, 50, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..length]).unwrap();
        let message = problems(&pipeline(folder.path().display()), &[]).unwrap_err();
        assert!(message.contains("a.parquet: can't be read as Parquet"), "{length}: {message}");
    }
    // The end is whole, the data before it isn't there.
    std::fs::write(&path, &whole[whole.len() / 2..]).unwrap();
    let message = problems(&pipeline(path.display()), &[]).unwrap_err();
    assert!(message.contains("truncated"), "{message}");
}

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
    for at in (4..whole.len() - 8 - footer).step_by(3) {
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
    assert!(failed > 100, "{failed}");
    // Another file in its place is noticed.
    sample(&path, "a");
    assert!(read(&planned, None).unwrap_err().to_string().contains("changed after the start"));
}

#[test]
fn wrong_columns_are_refused_at_their_place() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let mut columns = three(steps(2), steps(2));
    columns.push(("text", array(StringArray::from_iter_values(["x", "y"]))));
    columns.push(("flag", array(BooleanArray::from(vec![true, false]))));
    write(&path, columns, 10);
    let mut p = pipeline(path.display());
    p.record.key = Key::Column(at("flag".into()));
    p.record.time.value.column = "text".into();
    p.record.values = vec![at("text".into()), at("valeu".into())];
    let message = problems(&p, &["txet"]).unwrap_err();
    for part in [
        "expected text or integers as keys in column \"flag\"",
        "expected a timestamp, a date or an integer",
        "expected numbers in column \"text\"",
        "there is no column \"valeu\"",
        "did you mean \"value\"?",
        "did you mean \"text\"?",
    ] {
        assert!(message.contains(part), "{part} not in\n{message}");
    }
    let dated = between(pipeline(path.display()), Some(Moment::Instant(chrono::Utc::now())), None);
    assert!(problems(&dated, &[]).unwrap_err().contains("integer step without a clock"));
}

#[test]
fn files_of_another_schema_are_refused() {
    let folder = tempdir().unwrap();
    let text = || array(StringArray::from_iter_values(["a", "b"]));
    write(&folder.path().join("a.parquet"), three(text(), steps(2)), 10);
    let second = folder.path().join("b.parquet");
    // Another order, another width of numbers, another way to store text: the same to kolk.
    let by_dictionary = array(vec!["a", "b"].into_iter().collect::<DictionaryArray<Int32Type>>());
    write(&second, vec![("value", array(Int32Array::from(vec![1, 2]))), ("ts", steps(2)), ("key", by_dictionary)], 10);
    assert_eq!(read(&planned(&pipeline(folder.path().display()), &[]), None).unwrap().len(), 4);
    let cases: Vec<(Vec<(&str, ArrayRef)>, &str)> = vec![
        (three(steps(2), steps(2)), "column \"key\" is Int64, but text in"),
        (three(text(), array(Int32Array::from(vec![1, 2]))), "column \"ts\" is Int32, but Int64 in"),
        (vec![("key", text()), ("ts", steps(2)), ("value", text())], "column \"value\" is Utf8, but numbers in"),
        (vec![("key", text()), ("ts", steps(2))], "there is no column \"value\""),
    ];
    for (columns, part) in cases {
        write(&second, columns, 10);
        let message = problems(&pipeline(folder.path().display()), &[]).unwrap_err();
        assert!(message.contains("b.parquet") && message.contains(part), "{message}");
    }
}

/// Files of random rows, row groups and pages; (keys, times) with nulls.
fn table() -> impl Strategy<Value = Vec<(Vec<(Option<u8>, Option<i16>)>, usize, usize, bool)>> {
    let row = (proptest::option::weighted(0.9, 0..20_u8), proptest::option::weighted(0.95, -50..50_i16));
    let file = (proptest::collection::vec(row, 0..120), 1..50_usize, 1..40_usize, any::<bool>());
    proptest::collection::vec(file, 1..4)
}

fn write_table(folder: &Path, files: &[(Vec<(Option<u8>, Option<i16>)>, usize, usize, bool)], sorted: bool) {
    for (index, (rows, group, page, dictionary)) in files.iter().enumerate() {
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
        let expected: Vec<_> = files.iter().enumerate().flat_map(|(file, rows)| {
            rows.0.iter().enumerate().map(move |(row, (key, time))| {
                let valid = key.is_some() && time.is_some();
                let key = key.filter(|_| valid).map_or(String::new(), |key| format!("key {key}"));
                (Origin { file: file as u32, row: row as u64 }, key, time.map_or(0, i64::from))
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
        let last = Origin { file: files.len() as u32 - 1, row: files[files.len() - 1].0.len() as u64 };
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
