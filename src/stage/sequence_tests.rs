use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int32Array, StringArray};

use super::*;
use crate::config::Span;
use crate::stage::testing::{self, Table};
use crate::state::Arena;

fn at<T>(value: T) -> At<T> {
    At::default_value(value)
}

fn seconds(n: i64) -> config::Sequence {
    config::Sequence::Gap(at(Span::Nanos(n * 1_000_000_000)))
}

fn planned(rule: config::Sequence, to_the_end: bool, most: Option<usize>, layout: &mut Layout) -> Box<dyn Stage> {
    let mut problems = Problems::new("p.yaml");
    let rule = at(rule);
    let stage = testing::plan(&Sequences { rule: &rule, to_the_end, most, metrics: None }, layout, &mut problems);
    problems.finish(()).unwrap();
    stage.unwrap()
}

/// Per row its time, whether it begins a sequence and whether it ends one, and its position.
fn flags(batch: &Batch) -> Vec<(i64, bool, bool, u64)> {
    let flag = |from_last: usize| match &batch.columns[batch.columns.len() - from_last].values {
        Values::Flag(flags) => flags.clone(),
        other => panic!("{other:?}"),
    };
    let (begins, ends) = (flag(2), flag(1));
    (0..batch.rows()).map(|row| (batch.times[row], begins[row], ends[row], batch.positions[row])).collect()
}

fn table(rows: &[(u32, i64, f64)]) -> Table {
    let mut table = Table::new(&["v"]);
    rows.iter().for_each(|(key, time, value)| table.push(*key, *time, &[*value]));
    table
}

#[test]
fn a_row_ends_a_sequence_where_its_column_says_so() {
    let table =
        table(&[(0, 1, 0.0), (1, 1, 0.0), (0, 2, 1.0), (0, 3, f64::NAN), (1, 4, 1.0), (0, 5, 0.5), (0, 6, 1.0)]);
    let mut layout = table.layout();
    let stage = planned(config::Sequence::End(at("v".into())), true, None, &mut layout);
    let out = testing::run(&mut [stage], &table.batch(), &[3]);
    let expected = [
        (1, true, false, 0),
        (1, true, false, 1),
        (2, false, true, 2),
        (3, true, false, 3),
        (4, false, true, 4),
        (6, false, true, 6),
    ];
    assert_eq!(flags(&out), expected);
    assert_eq!(out.rejects, [Reject { position: 5, reason: "bad_value" }]);
    assert_eq!(layout.columns[layout.restart.unwrap()].name, "begins");
    assert_eq!(layout.columns[layout.ends.unwrap()].name, "ends");
}

#[test]
fn the_end_is_a_boolean_or_an_integer_of_the_source() {
    let booleans: ArrayRef = Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]));
    let integers: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None, Some(2)]));
    let read = |array: ArrayRef| said(&Values::Passthrough(array).into()).unwrap();
    assert_eq!(read(booleans), [Some(true), Some(false), Some(false)]);
    assert_eq!(read(integers), [Some(true), Some(false), None]);
    // What was filled in is no word of the record.
    let carried = Column { values: Values::Number(vec![1.0, 1.0]), observed: Some(vec![true, false]) };
    assert_eq!(said(&carried).unwrap(), [Some(true), Some(false)]);

    let mut layout = Table::new(&["v"]).layout();
    layout.add("text", Kind::Passthrough(DataType::Utf8), Role::Field);
    for (name, expected) in [("text", "is Utf8, expected a boolean"), ("vv", "did you mean \"v\"?")] {
        let mut problems = Problems::new("p.yaml");
        let rule = at(config::Sequence::End(at(name.into())));
        let sequences = Sequences { rule: &rule, to_the_end: true, most: None, metrics: None };
        assert!(testing::plan(&sequences, &mut layout, &mut problems).is_none());
        let found = problems.finish(()).unwrap_err().to_string();
        assert!(found.contains(expected), "{found}");
    }
}

#[test]
fn every_nth_row_of_a_key_ends_a_sequence() {
    let rows: Vec<_> = (0..7).map(|n| (n as u32 % 2, n, 0.0)).collect();
    let table = table(&rows);
    let out =
        testing::run(&mut [planned(config::Sequence::Length(2), true, None, &mut table.layout())], &table.batch(), &[]);
    let begins_and_ends: Vec<_> = flags(&out).into_iter().map(|(_, begins, ends, _)| (begins, ends)).collect();
    let (begins, ends) = ((true, false), (false, true));
    assert_eq!(begins_and_ends, [begins, begins, ends, ends, begins, begins, ends]);
}

/// A row comes out with the next one of its key, which shows whether it was the last one; in mode carry at once.
#[test]
fn a_pause_ends_a_sequence() {
    let table = table(&[(0, 0, 0.0), (1, 2, 0.0), (0, 5, 0.0), (0, 11, 0.0), (1, 3, 0.0), (0, 12, 0.0)]);
    let held = planned(seconds(5), true, None, &mut table.layout());
    let out = testing::run(&mut [held], &table.batch(), &[]);
    assert_eq!(flags(&out), [(0, true, false, 2), (5, false, true, 3), (2, true, false, 4), (11, true, false, 5)]);
    let at_once = planned(seconds(5), false, None, &mut table.layout());
    let out = testing::run(&mut [at_once], &table.batch(), &[]);
    let begins: Vec<bool> = flags(&out).into_iter().map(|(_, begins, ..)| begins).collect();
    assert_eq!(begins, [true, true, false, true, false, false]);
    assert!(flags(&out).iter().all(|(.., ends, _)| !ends));
}

/// The rows that `advance` emits after these.
fn advanced(stage: &mut dyn Stage, table: &Table, until: Option<i64>) -> Vec<(i64, bool, bool, u64)> {
    let width = stage.state().width();
    let mut arena = Arena::new(stage.state().initial().to_vec());
    arena.grow_to(4);
    let mut batch = table.batch();
    stage.process(&mut batch, &mut State { rows: arena.rows(0, width), bank: None, keys: None }).unwrap();
    let mut state = State { rows: arena.rows(0, width), bank: None, keys: None };
    let out = stage.advance(until, &mut state, 4, 99).unwrap().unwrap();
    // Once is enough.
    assert!(stage.advance(until, &mut state, 4, 99).unwrap().unwrap().is_empty());
    flags(&out)
}

#[test]
fn the_end_of_the_source_ends_the_sequences_of_keys_and_time_those_before_a_pause() {
    let table = table(&[(0, 0, 0.0), (2, 9, 0.0), (0, 1, 0.0)]);
    let mut keys = planned(config::Sequence::Key, true, None, &mut table.layout());
    assert_eq!(advanced(&mut *keys, &table, None), [(1, false, true, 99), (9, true, true, 99)]);
    let mut gaps = planned(seconds(5), true, None, &mut table.layout());
    assert_eq!(advanced(&mut *gaps, &table, Some(7)), [(1, false, true, 99)]);
    assert_eq!(advanced(&mut *gaps, &table, Some(6)), []);
    assert_eq!(advanced(&mut *gaps, &table, None), []);
    assert_eq!(gaps.due(10), Some(15));
}

/// Rows beyond the longest sequence are refused, and the sequence ends without an answer; the next one is as any.
#[test]
fn sequences_that_are_too_long_are_dropped() {
    let table = table(&[(0, 1, 0.0), (0, 2, 0.0), (0, 3, 0.0), (0, 4, 1.0), (0, 5, 0.0), (0, 6, 1.0)]);
    let metrics = Arc::new(Metrics::new().unwrap());
    let rule = at(config::Sequence::End(at("v".into())));
    let sequences = Sequences { rule: &rule, to_the_end: true, most: Some(2), metrics: Some(metrics.clone()) };
    let stage = testing::plan(&sequences, &mut table.layout(), &mut Problems::new("p.yaml")).unwrap();
    let out = testing::run(&mut [stage], &table.batch(), &[1, 3]);
    assert_eq!(flags(&out), [(1, true, false, 0), (2, false, false, 1), (5, true, false, 4), (6, false, true, 5)]);
    let refused: Vec<_> = out.rejects.iter().map(|reject| (reject.position, reject.reason)).collect();
    assert_eq!(refused, [(2, "sequence_too_long"), (3, "sequence_too_long")]);
    assert_eq!((metrics.sequences.get(), metrics.sequences_dropped.get()), (1, 1));

    // Held rows as well: the second one isn't the last of its sequence, whatever comes.
    let table = self::table(&[(0, 1, 0.0), (0, 2, 0.0), (0, 3, 0.0), (0, 20, 0.0), (0, 40, 0.0)]);
    let held = planned(seconds(5), true, Some(2), &mut table.layout());
    let out = testing::run(&mut [held], &table.batch(), &[]);
    assert_eq!(flags(&out), [(1, true, false, 1), (2, false, false, 2), (20, true, true, 4)]);
}

#[test]
fn a_restart_that_was_asked_for_stays() {
    let mut table = table(&[(0, 1, 0.0), (0, 2, 0.0)]).batch();
    let mut layout = Table::new(&["v"]).layout();
    layout.restart = Some(layout.add("restart", Kind::Flag, Role::Internal));
    table.columns.push(Values::Flag(vec![false, true]).into());
    let stage = planned(config::Sequence::Length(9), true, None, &mut layout);
    let out = testing::run(&mut [stage], &table, &[]);
    assert_eq!(flags(&out), [(1, true, false, 0), (2, true, false, 1)]);
}

#[test]
fn a_text_that_is_too_long_to_be_held_is_refused() {
    let mut table = table(&[(0, 1, 0.0), (0, 2, 0.0)]).batch();
    let mut layout = Table::new(&["v"]).layout();
    layout.add("text", Kind::Passthrough(DataType::Utf8), Role::Field);
    let text: ArrayRef = Arc::new(StringArray::from(vec!["short".to_string(), "x".repeat(300)]));
    table.columns.push(Values::Passthrough(text).into());
    let out = testing::run(&mut [planned(config::Sequence::Key, true, None, &mut layout)], &table, &[]);
    assert_eq!((out.rows(), &out.rejects[..]), (0, &[Reject { position: 1, reason: "text_too_long" }][..]));
}

#[test]
fn bits_do_not_depend_on_batches_or_interleaving() {
    let rules = [config::Sequence::Key, config::Sequence::End(at("v".into())), seconds(4), config::Sequence::Length(3)];
    for (rule, most) in rules.iter().flat_map(|rule| [(rule, None), (rule, Some(3))]) {
        testing::laws(&["v", "w"], 64, |layout, problems| {
            let rule = at(rule.clone());
            let sequences = Sequences { rule: &rule, to_the_end: true, most, metrics: None };
            testing::plan(&sequences, layout, problems).into_iter().collect()
        });
    }
}
