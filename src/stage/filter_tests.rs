//! Tests of `filter`: what it keeps, and what it refuses before the start.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, DictionaryArray, Int64Array, TimestampMillisecondArray,
    TimestampNanosecondArray, UInt64Array,
};
use arrow::datatypes::Int32Type;

use super::*;
use crate::record::{Clock, Role, Values, murmur2};
use crate::stage::testing::{self, Table};
use crate::state::{Arena, Keys};

fn config(predicate: &str) -> config::Filter {
    config::Filter { predicate: At::default_value(predicate.to_owned()) }
}

/// Columns: value 0..6 with a NaN at 3 and infinity at 4; kind a, b, null, a, b, c; flag; count 10.. with a null at 1.
fn input() -> (Layout, Batch) {
    let mut table = Table::new(&["value"]);
    for (row, value) in [0.0, 1.0, 2.0, f64::NAN, f64::INFINITY, 5.0].into_iter().enumerate() {
        table.push(0, row as i64, &[value]);
    }
    let (mut layout, mut batch) = (table.layout(), table.batch());
    let kinds: DictionaryArray<Int32Type> =
        [Some("a"), Some("b"), None, Some("a"), Some("b"), Some("c")].into_iter().collect();
    let counts = Int64Array::from(vec![Some(10), None, Some(12), Some(13), Some(14), Some(15)]);
    let open = BooleanArray::from(vec![Some(true), None, Some(false), Some(true), Some(true), Some(true)]);
    for (name, array) in [("kind", Arc::new(kinds) as ArrayRef), ("count", Arc::new(counts)), ("open", Arc::new(open))]
    {
        layout.add(name, Kind::Passthrough(array.data_type().clone()), Role::Field);
        batch.columns.push(Values::Passthrough(array).into());
    }
    layout.add("flag", Kind::Flag, Role::Output);
    batch.columns.push(Values::Flag(vec![true, false, true, false, true, false]).into());
    (layout, batch)
}

fn kept(predicate: &str) -> Vec<i64> {
    let (mut layout, batch) = input();
    let mut problems = Problems::new("p.yaml");
    let stage = testing::plan(&config(predicate), &mut layout, &mut problems);
    problems.finish(()).unwrap();
    testing::run(&mut [stage.unwrap()], &batch, &[1, 4]).times
}

#[test]
fn keeps_the_rows_that_are_true() {
    for (predicate, expected) in [
        ("value >= 1", &[1, 2, 5][..]),
        ("not value >= 1", &[0]),
        ("value is null", &[3, 4]),
        ("value is not null and value * 2 - 1 < 3", &[0, 1]),
        ("value > 0 and (kind = 'b' or not flag)", &[1, 5]),
        ("kind <> 'a'", &[1, 4, 5]),
        ("kind is null or kind > 'b'", &[2, 5]),
        ("count > 12", &[3, 4, 5]),
        ("not count > 12", &[0, 2]),
        ("1 / value > 0", &[1, 2, 5]),
        ("1 / value is null", &[0, 3, 4]),
        ("open", &[0, 3, 4, 5]),
        ("open is null or open = false", &[1, 2]),
        ("open <> flag", &[2, 3, 5]),
        ("value > 100 or true", &[0, 1, 2, 3, 4, 5]),
        ("value > 100 or value is not null and value = -(-2)", &[2]),
        // null or true, null and false
        ("value > 0 or kind = 'a'", &[0, 1, 2, 3, 5]),
        ("not (value > 0 and kind = 'b')", &[0, 3, 5]),
    ] {
        assert_eq!(kept(predicate), expected, "{predicate}");
    }
}

#[test]
fn types_and_names_are_checked_before_the_start() {
    for (predicate, part) in [
        ("value > 'a'", "character 9: a number can't be compared with text"),
        ("value + 1", "character 1: expected true or false, found a number"),
        ("-kind = 'a'", "character 2: expected a number, found text"),
        ("valeu > 1", "did you mean \"value\"?"),
        ("value > 1 and kind", "character 15: expected true or false, found text"),
    ] {
        let (mut layout, _) = input();
        let mut problems = Problems::new("p.yaml");
        assert!(testing::plan(&config(predicate), &mut layout, &mut problems).is_none());
        let text = problems.finish(()).unwrap_err().to_string();
        assert!(text.contains(part), "{predicate}: {text}");
    }
}

#[test]
fn bits_do_not_depend_on_batches_or_interleaving() {
    testing::laws(&["value", "other"], 64, |layout, problems| {
        testing::plan(&config("value > other or value = 0"), layout, problems).into_iter().collect()
    });
}

/// Keys and times that are kept of keys a, B, 7 at seconds 0, 1, 2, … in turn.
fn kept_of(layout: &mut Layout, predicate: &str) -> Vec<i64> {
    let mut table = Table::new(&["value"]);
    (0..6).for_each(|row| table.push((row % 3) as u32, row, &[row as f64]));
    let mut keys = Keys::default();
    for key in ["a", "B", "7"] {
        keys.slot(murmur2(key.as_bytes()), key.as_bytes());
    }
    let mut problems = Problems::new("p.yaml");
    let mut stage = testing::plan(&config(predicate), layout, &mut problems).unwrap();
    problems.finish(()).unwrap();
    let (mut arena, mut batch) = (Arena::new(Vec::new()), table.batch());
    arena.grow_to(3);
    let mut state = State { rows: arena.rows(0, 0), bank: None, keys: Some(&keys) };
    stage.process(&mut batch, &mut state).unwrap();
    batch.times
}

#[test]
fn the_key_is_its_text_or_its_number() {
    let layout = || Table::new(&["value"]).layout();
    for (predicate, expected) in [
        ("key != 'B'", &[0, 2, 3, 5][..]),
        ("key = 'a' or key = '7' and value > 2", &[0, 3, 5]),
        ("key < 'a'", &[1, 2, 4, 5]),
        ("key is null", &[]),
    ] {
        assert_eq!(kept_of(&mut layout(), predicate), expected, "{predicate}");
    }
    // As its column holds integers; what is no number is null.
    let mut numbers = Layout { key_type: KeyType::Integer(DataType::Int32), ..layout() };
    assert_eq!(kept_of(&mut numbers, "key >= 7"), [2, 5]);
    // As its column holds something else.
    for (key_type, predicate, expected) in [
        (KeyType::Decimal(DataType::Decimal128(10, 2)), "key > 6.9", &[2, 5][..]),
        (KeyType::Boolean, "not key", &[0, 1, 2, 3, 4, 5]),
        (KeyType::Uuid, "key = 'A'", &[0, 3]),
        (KeyType::Integer(DataType::Int64), "key < 9007199254740993", &[2, 5]),
        (KeyType::Date, "key is null or key > 2024-01-01", &[0, 1, 2, 3, 4, 5]),
    ] {
        assert_eq!(kept_of(&mut Layout { key_type, ..layout() }, predicate), expected, "{predicate}");
    }
    // Without a key there is no such column.
    let mut one = Layout { is_one_series: true, ..layout() };
    let mut problems = Problems::new("p.yaml");
    assert!(testing::plan(&config("key = 'a'"), &mut one, &mut problems).is_none());
    assert!(problems.finish(()).unwrap_err().to_string().contains("there is no column \"key\""));
}

#[test]
fn the_time_is_compared_by_the_clock() {
    let layout = || Table::new(&["value"]).layout();
    for (predicate, expected) in [
        ("time >= '1970-01-01T00:00:03Z'", &[3, 4, 5][..]),
        ("'1970-01-01 00:00:03' > time", &[0, 1, 2]),
        ("time = '1970-01-01T01:00:02+01:00'", &[2]),
        ("time <> '1970-01-01' and time < '1970-01-01 00:00:03'", &[1, 2]),
        // Between two ticks.
        ("time > '1970-01-01T00:00:02.5Z'", &[3, 4, 5]),
        ("time <= '1970-01-01T00:00:02.5Z'", &[0, 1, 2]),
        ("time = '1970-01-01T00:00:02.5Z'", &[]),
        ("time != '1970-01-01T00:00:02.5Z'", &[0, 1, 2, 3, 4, 5]),
        ("time is not null", &[0, 1, 2, 3, 4, 5]),
        // Without quotes.
        ("time > 1970-01-01T00:00:02.5Z", &[3, 4, 5]),
        ("time between 1970-01-01T01:00:02+01:00 and 1970-01-01T00:00:03", &[2, 3]),
        ("1970-01-01 < time", &[1, 2, 3, 4, 5]),
        ("time not in (1970-01-01, '1970-01-01T00:00:01')", &[2, 3, 4, 5]),
    ] {
        assert_eq!(kept_of(&mut layout(), predicate), expected, "{predicate}");
    }
    // A time that only counts is a number.
    let clock = Clock::of(&DataType::Int64, None).unwrap();
    assert_eq!(kept_of(&mut Layout { clock, ..layout() }, "time > 3 and time * 2 < 10"), [4]);
    for (predicate, part) in [
        ("time > 3", "a time can't be compared with a number: write a date or a time, such as 2014-01-31"),
        ("time > 'soon'", "character 8: expected a date"),
        ("time + 1 > 3", "expected a number, found a time"),
        ("time > value", "a time can't be compared with a number"),
        ("time > 1970-13-01", "character 8: expected a date"),
        ("value > 1970-01-01", "a number can't be compared with a date: differences are written with spaces"),
        ("key = 1970-01-01", "text can't be compared with a date: as text it is in single quotes"),
        ("1970-01-01", "expected true or false, found a date"),
    ] {
        let mut problems = Problems::new("p.yaml");
        assert!(testing::plan(&config(predicate), &mut layout(), &mut problems).is_none());
        let text = problems.finish(()).unwrap_err().to_string();
        assert!(text.contains(part), "{predicate}: {text}");
    }
}

#[test]
fn whole_numbers_are_compared_as_they_are() {
    let (mut layout, mut batch) = input();
    let most = 1_i64 << 53;
    let ids = Int64Array::from(vec![Some(most), Some(most + 1), Some(most + 2), None, Some(-most - 1), Some(7)]);
    let other = UInt64Array::from(vec![most as u64 + 1, most as u64 + 1, u64::MAX, 7, 7, 7]);
    for (name, array) in [("id", Arc::new(ids) as ArrayRef), ("other", Arc::new(other))] {
        layout.add(name, Kind::Passthrough(array.data_type().clone()), Role::Field);
        batch.columns.push(Values::Passthrough(array).into());
    }
    for (predicate, expected) in [
        ("id = 9007199254740993", &[1][..]),
        ("id != 9007199254740993", &[0, 2, 4, 5]),
        ("id > 9007199254740992", &[1, 2]),
        ("id <= -9007199254740993", &[4]),
        ("9007199254740993 in (id, 5)", &[1]),
        ("id = other", &[1, 5]),
        ("id < other", &[0, 2, 4]),
        ("other = 18446744073709551615", &[2]),
        ("id * 1 > 8", &[0, 1, 2]),
    ] {
        let mut problems = Problems::new("p.yaml");
        let stage = testing::plan(&config(predicate), &mut layout, &mut problems);
        problems.finish(()).unwrap();
        assert_eq!(testing::run(&mut [stage.unwrap()], &batch, &[1, 4]).times, expected, "{predicate}");
    }
}

#[test]
fn times_of_passthrough_columns_are_compared_whatever_their_clock() {
    let (mut layout, mut batch) = input();
    let millis = TimestampMillisecondArray::from(vec![
        Some(0),
        Some(86_400_000),
        None,
        Some(86_400_001),
        Some(2_000),
        Some(5_000),
    ]);
    let days = Date32Array::from(vec![Some(0), Some(1), Some(2), None, Some(0), Some(-1)]);
    let zoned =
        TimestampNanosecondArray::from_iter_values((0..6).map(|n| n * 1_000_000_000)).with_timezone("Asia/Tokyo");
    for (name, array) in
        [("at", Arc::new(millis) as ArrayRef), ("day", Arc::new(days)), ("zoned", Arc::new(zoned) as ArrayRef)]
    {
        layout.add(name, Kind::Passthrough(array.data_type().clone()), Role::Field);
        batch.columns.push(Values::Passthrough(array).into());
    }
    for (predicate, expected) in [
        ("at >= 1970-01-02", &[1, 3][..]),
        ("at = '1970-01-02'", &[1]),
        ("not at < 1970-01-02", &[1, 3]),
        ("day >= 1970-01-02", &[1, 2]),
        // Midnight is before noon.
        ("day > 1970-01-01T12:00", &[1, 2]),
        ("day <= 1970-01-01T12:00", &[0, 4, 5]),
        ("day is null", &[3]),
        ("at = day", &[0, 1]),
        ("day < at", &[4, 5]),
        ("zoned = time", &[0, 1, 2, 3, 4, 5]),
        ("zoned > 1970-01-01T09:00:03+09:00", &[4, 5]),
    ] {
        let mut problems = Problems::new("p.yaml");
        let stage = testing::plan(&config(predicate), &mut layout, &mut problems);
        problems.finish(()).unwrap();
        assert_eq!(testing::run(&mut [stage.unwrap()], &batch, &[1, 4]).times, expected, "{predicate}");
    }
}
