//! What comes out in order, when, and however batches are cut.

use super::*;
use crate::stage::testing::{self, Table};
use crate::state::Arena;
use proptest::prelude::*;

fn stage(seconds: i64, late: OnLate) -> Box<dyn Stage> {
    let span = At { value: Span::Nanos(seconds * 1_000_000_000), place: Place::default() };
    let mut problems = Problems::default();
    let reordering = Reordering { span: &span, late };
    let stage = testing::plan(&reordering, &mut Table::new(&["v"]).layout(), &mut problems).unwrap();
    problems.finish(stage).unwrap()
}

/// Key, time and value of the output, with batches cut at `cuts`; and the number of rejects.
fn run(stage: &mut dyn Stage, rows: &[(u32, i64, f64)], batch: usize) -> (Vec<(u32, i64, f64)>, usize) {
    let mut arena = Arena::new(stage.state().initial().to_vec());
    arena.grow_to(8);
    let (mut seen, mut refused) = (Vec::new(), 0);
    let mut collect = |batch: &Batch| {
        for row in 0..batch.rows() {
            seen.push((batch.slots[row], batch.times[row], batch.columns[0].numbers()[row]));
        }
    };
    for rows in rows.chunks(batch) {
        let mut table = Table::new(&["v"]);
        rows.iter().for_each(|(key, time, value)| table.push(*key, *time, &[*value]));
        let mut batch = table.batch();
        let width = arena.width();
        stage.process(&mut batch, &mut State { rows: arena.rows(0, width), bank: None, keys: None }).unwrap();
        refused += batch.rejects.len();
        collect(&batch);
    }
    let width = arena.width();
    let rest =
        stage.advance(None, &mut State { rows: arena.rows(0, width), bank: None, keys: None }, 8, 0).unwrap().unwrap();
    collect(&rest);
    (seen, refused)
}

#[test]
fn order_is_restored_within_the_span() {
    let rows = [(0, 10, 1.0), (0, 12, 2.0), (0, 11, 3.0), (1, 5, 4.0), (0, 20, 5.0), (0, 9, 6.0)];
    let (seen, refused) = run(stage(5, OnLate::DeadLetter).as_mut(), &rows, 10);
    assert_eq!(seen, [(0, 10, 1.0), (0, 11, 3.0), (0, 12, 2.0), (0, 20, 5.0), (1, 5, 4.0)]);
    assert_eq!(refused, 1);
    let (seen, _) = run(stage(5, OnLate::Process).as_mut(), &rows, 10);
    assert_eq!(seen[3], (0, 9, 6.0), "a late one is emitted at once");
}

#[test]
fn vectors_go_with_their_records() {
    let span = At { value: Span::Nanos(5_000_000_000), place: Place::default() };
    let reordering = Reordering { span: &span, late: OnLate::Process };
    let table = || Table::new(&["v"]).vectors("x", 3);
    testing::laws_on(&table(), 64, |layout, problems| {
        testing::plan(&reordering, layout, problems).into_iter().collect()
    });
    let mut rows = table();
    [(10, 1.0), (12, 2.0), (11, 3.0), (30, 4.0), (9, 5.0)]
        .iter()
        .for_each(|(time, value)| rows.push(0, *time, &[*value, *value, 10.0 * value, 100.0 * value]));
    let stage = testing::plan(&reordering, &mut rows.layout(), &mut Problems::default()).unwrap();
    let out = testing::run(&mut [stage], &rows.batch(), &[2]);
    assert_eq!((&out.times[..], out.columns[0].numbers()), (&[10, 11, 12, 9][..], &[1.0, 3.0, 2.0, 5.0][..]));
    let Values::Vector(numbers, 3) = &out.columns[1].values else { panic!("a vector stays one") };
    assert_eq!(numbers, &[1.0, 10.0, 100.0, 3.0, 30.0, 300.0, 2.0, 20.0, 200.0, 5.0, 50.0, 500.0]);
    // What may be of any width is no row of state.
    let mut problems = Problems::new("p.yaml");
    let mut samples = Table::new(&[]).samples("s", 2).layout();
    assert!(testing::plan(&reordering, &mut samples, &mut problems).is_none());
    let text = problems.finish(()).unwrap_err().to_string();
    assert!(text.contains("column \"s\" has any, write its width"), "{text}");
}

#[test]
fn the_clock_lets_go_what_is_old_enough() {
    let mut stage = stage(5, OnLate::Process);
    let mut arena = Arena::new(stage.state().initial().to_vec());
    arena.grow_to(1);
    let mut table = Table::new(&["v"]);
    [(10, 1.0), (12, 2.0)].iter().for_each(|(time, value)| table.push(0, *time, &[*value]));
    let mut batch = table.batch();
    let width = arena.width();
    stage.process(&mut batch, &mut State { rows: arena.rows(0, width), bank: None, keys: None }).unwrap();
    assert!(batch.is_empty());
    let out = stage
        .advance(Some(16), &mut State { rows: arena.rows(0, width), bank: None, keys: None }, 1, 7)
        .unwrap()
        .unwrap();
    assert_eq!((out.times, out.positions), (vec![10], vec![7]));
}

proptest! {
    /// However they arrive within the span and however they are batched: the order of their times.
    #[test]
    fn any_order_within_the_span_is_the_same(
        gaps in proptest::collection::vec((0..8_u32, 0..3_i64), 1..120), shifts in proptest::collection::vec(0..10_i64, 120),
        batch in 1..40_usize,
    ) {
        let mut time = 0;
        let sorted: Vec<(u32, i64, f64)> = gaps.iter().enumerate().map(|(i, (key, gap))| {
            time += gap + 1;
            (*key, time, i as f64)
        }).collect();
        // Sorted by times that are off by less than the span, nothing is later than the span allows.
        let mut arrived = sorted.clone();
        arrived.sort_by_key(|(_, time, value)| time + shifts[*value as usize]);
        let (seen, refused) = run(stage(10, OnLate::DeadLetter).as_mut(), &arrived, batch);
        prop_assert_eq!(refused, 0);
        for key in 0..8 {
            let of = |rows: &[(u32, i64, f64)]| rows.iter().filter(|row| row.0 == key).copied().collect::<Vec<_>>();
            prop_assert_eq!(of(&seen), of(&sorted));
        }
        prop_assert_eq!(run(stage(10, OnLate::DeadLetter).as_mut(), &arrived, 1000).0, run(stage(10, OnLate::DeadLetter).as_mut(), &arrived, batch).0);
    }
}
