//! Types of columns, and what becomes of single records.

use ::parquet::file::properties::WriterProperties;
use arrow::array::*;
use arrow::datatypes::{DataType, Int8Type, Int32Type, TimeUnit};
use tempfile::tempdir;

use crate::config::{EpochUnit, Key, Moment};
use crate::record::{KeyType, Kind, NO_TIME, Origin};
use crate::source::testing::*;

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
        assert_eq!(planned.layout.key_type, KeyType::Integer(crate::source::merge::plain(keys.data_type())));
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
        let expected =
            [(None, "a", 1), (Some("null_key"), "", 2), (null, "", NO_TIME), (out, "", NO_TIME), (null, "", NO_TIME)];
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
    assert_eq!(records.passthrough[0].as_string::<i32>().iter().flatten().collect::<String>(), "xyyzz");
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
    assert_eq!(kinds[..2], [("value", &Kind::Number), ("kind", &Kind::Passthrough(DataType::Utf8))]);
    assert_eq!(kinds.len(), 3);
    let records = planned.open(None).unwrap().next().unwrap().unwrap();
    assert_eq!(records.passthrough[0].as_string::<i32>().iter().collect::<Vec<_>>(), [Some("x"), None, Some("x")]);
    assert_eq!(records.passthrough[1].as_list::<i32>().value(2).as_primitive::<Int32Type>().values(), &[0, 1]);
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
fn times_beyond_the_calendar_are_refused_in_every_column() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let keys = array(StringArray::from(vec![Some("a"), Some("b"), None, Some("d"), Some("e")]));
    let far = 1_700_000_000_000_000_000;
    let times = array(TimestampMillisecondArray::from(vec![Some(5), Some(far), Some(far), None, Some(6)]));
    let until = array(Date32Array::from(vec![Some(2_932_896), Some(0), Some(0), Some(2_932_897), Some(i32::MIN)]));
    let mut columns = three(keys, times);
    columns.push(("until", until));
    write(&path, columns, 2);
    let reasons = |fields: &[&str]| -> Vec<_> {
        read(&planned(&pipeline(path.display()), fields), None).unwrap().iter().map(|one| (one.time, one.bad)).collect()
    };
    let out = Some("time_out_of_range");
    let first = [(5, None), (far, out), (far, out)];
    assert_eq!(reasons(&[]), [&first[..], &[(NO_TIME, Some("null_time")), (6, None)]].concat());
    assert_eq!(reasons(&["until"]), [&first[..], &[(NO_TIME, out), (6, out)]].concat());
}
