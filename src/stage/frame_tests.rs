//! Frames by hand, and the laws.

use super::*;
use crate::config::{OnNull, Span};
use crate::stage::testing::{self, Table};

fn options(size: usize, hop: usize, pad: usize) -> config::Frame {
    let column = At::default_value("s".to_string());
    config::Frame { column, size, hop, pad, rate: None, gap: None }
}

fn samples(rows: &[(i64, &[f64])]) -> Table {
    let mut table = Table::new(&["v"]).samples("s", 8);
    for (at, (time, samples)) in rows.iter().enumerate() {
        let mut row = vec![at as f64, samples.len() as f64];
        row.extend(samples.iter().chain(&[0.0; 8]).take(8));
        table.push(0, *time, &row);
    }
    table
}

/// Per row: its time, the record's own value, whether a sequence begins, and its frame.
fn run(options: &config::Frame, table: &Table, cuts: &[usize]) -> Vec<(i64, f64, bool, Vec<f32>)> {
    let mut layout = table.layout();
    let mut problems = Problems::new("p.yaml");
    let stage = testing::plan(options, &mut layout, &mut problems);
    let stage = problems.finish(stage).unwrap().unwrap();
    let out = testing::run(&mut [stage], &table.batch(), cuts);
    assert_eq!(layout.columns[1].kind, Kind::Vector(options.size));
    if out.is_empty() {
        return Vec::new();
    }
    let Values::Vector(frames, width) = &out.columns[1].values else { panic!("frames are vectors") };
    let Values::Flag(restart) = &out.columns[layout.restart.unwrap()].values else { panic!("a flag") };
    let row = |row: usize| {
        (out.times[row], out.columns[0].numbers()[row], restart[row], frames[row * width..(row + 1) * width].to_vec())
    };
    (0..out.rows()).map(row).collect()
}

#[test]
fn frames_overlap_and_begin_with_zeros() {
    let table = samples(&[(10, &[1.0, 2.0]), (20, &[]), (30, &[3.0]), (40, &[4.0, 5.0, 6.0, 7.0, 8.0])]);
    let expected = [(30, 2.0, true, vec![0.0, 1.0, 2.0, 3.0]), (40, 3.0, false, vec![3.0, 4.0, 5.0, 6.0][..].to_vec())];
    // By 3 and with a zero: 0 1 2 3, then 3 4 5 6; 6 7 8 waits.
    assert_eq!(run(&options(4, 3, 1), &table, &[]), expected);
    assert_eq!(run(&options(4, 3, 1), &table, &[1, 2, 3]), expected);
    // Without overlap, and with samples between frames.
    let frames = |size, hop| run(&options(size, hop, 0), &table, &[3]).into_iter().map(|row| row.3).collect::<Vec<_>>();
    assert_eq!(frames(4, 4), [vec![1.0, 2.0, 3.0, 4.0], vec![5.0, 6.0, 7.0, 8.0]]);
    assert_eq!(frames(2, 5), [vec![1.0, 2.0], vec![6.0, 7.0]]);
    assert_eq!(frames(1, 1).len(), 8);
}

#[test]
fn a_row_has_the_time_of_its_last_sample() {
    let table = samples(&[(10, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), (13, &[7.0])]);
    let mut two = options(2, 2, 0);
    two.rate = Some(At::default_value(2.0));
    // The record ends at 10, two samples a second: 2, 4 and 6 end at 8, 9 and 10.
    assert_eq!(run(&two, &table, &[]).into_iter().map(|row| row.0).collect::<Vec<_>>(), [8, 9, 10]);
    two.rate = None;
    assert_eq!(run(&two, &table, &[]).into_iter().map(|row| row.0).collect::<Vec<_>>(), [10, 10, 10]);
}

#[test]
fn a_gap_begins_a_sequence() {
    let table = samples(&[(0, &[1.0, 2.0, 3.0]), (5, &[4.0]), (11, &[5.0, 6.0]), (12, &[7.0])]);
    let mut gap = options(2, 2, 1);
    gap.gap = Some(At::default_value(Span::Nanos(5_000_000_000)));
    let expected = [
        (0, 0.0, true, vec![0.0, 1.0]),
        (0, 0.0, false, vec![2.0, 3.0]),
        (11, 2.0, true, vec![0.0, 5.0]),
        (12, 3.0, false, vec![6.0, 7.0]),
    ];
    assert_eq!(run(&gap, &table, &[2]), expected);
}

#[test]
fn a_null_ends_a_sequence_where_it_resets() {
    let table = samples(&[(0, &[1.0]), (1, &[2.0, f64::NAN]), (2, &[3.0, 4.0, 5.0])]);
    let frames = |policy: OnNull| {
        let (mut layout, mut problems) = (table.layout(), Problems::default());
        let nulls = testing::plan(&policy, &mut layout, &mut problems).unwrap();
        let frame = testing::plan(&options(2, 2, 1), &mut layout, &mut problems).unwrap();
        let out = testing::run(&mut [nulls, frame], &table.batch(), &[1]);
        let Values::Vector(frames, _) = &out.columns[1].values else { panic!("frames are vectors") };
        let Values::Flag(restart) = &out.columns[layout.restart.unwrap()].values else { panic!("a flag") };
        let known = |n: &f32| if n.is_nan() { -1.0 } else { *n };
        (frames.iter().map(known).collect::<Vec<_>>(), restart.clone())
    };
    let reset = (vec![0.0, 1.0, 0.0, 3.0, 4.0, 5.0], vec![true, true, false]);
    assert_eq!(frames(OnNull::Reset), reset);
    let skip = (vec![0.0, 1.0, 2.0, -1.0, 3.0, 4.0], vec![true, false, false]);
    assert_eq!(frames(OnNull::Skip), skip);
}

#[test]
fn bits_do_not_depend_on_batches_or_interleaving() {
    for (size, hop, pad) in [(4, 2, 1), (3, 3, 0), (2, 5, 1), (7, 1, 6), (1, 1, 0)] {
        let mut options = options(size, hop, pad);
        options.gap = Some(At::default_value(Span::Nanos(8_000_000_000)));
        options.rate = Some(At::default_value(3.0));
        testing::laws_on(&Table::new(&["v"]).samples("s", 6), 64, |layout, problems| {
            let policy = [OnNull::Reset, OnNull::Skip][size % 2];
            let nulls = testing::plan(&policy, layout, problems);
            nulls.into_iter().chain(testing::plan(&options, layout, problems)).collect()
        });
    }
    // Vectors of a width, and single values, are samples too.
    testing::laws_on(&Table::new(&["v"]).vectors("s", 3), 64, |layout, problems| {
        testing::plan(&options(5, 2, 0), layout, problems).into_iter().collect()
    });
    testing::laws(&["s"], 64, |layout, problems| {
        testing::plan(&options(5, 2, 3), layout, problems).into_iter().collect()
    });
}

#[test]
fn what_has_no_samples_is_refused() {
    let mut layout = samples(&[]).layout();
    layout.add("note", Kind::Passthrough(arrow::datatypes::DataType::Utf8), Role::Field);
    layout.clock = Clock::of(&arrow::datatypes::DataType::Int64, None).unwrap();
    let mut problems = Problems::new("p.yaml");
    for (column, rate) in [("note", None), ("nothing", None), ("s", Some(At::default_value(8.0)))] {
        let options = config::Frame { column: At::default_value(column.into()), rate, ..options(4, 2, 0) };
        assert!(testing::plan(&options, &mut layout, &mut problems).is_none());
    }
    let text = problems.finish(()).unwrap_err().to_string();
    for expected in ["write it under `record.vectors`", "no column \"nothing\"", "`rate` is per second"] {
        assert!(text.contains(expected), "{text}");
    }
}
