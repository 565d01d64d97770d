//! A small harness for the tests of stages: rows in, rows out, with batches cut wherever a test wants.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::{Operator, Stage};
use crate::config::{At, VectorColumn};
use crate::error::Problems;
use crate::problem::Place;
use crate::record::{Batch, Clock, Column, KeyType, Kind, Layout, Role, Values, VectorBuilder};
use crate::state::{Arena, State, StateSpec, Type};
use arrow::datatypes::{DataType, TimeUnit};

/// Rows of numeric values to feed a stage with. Times are in seconds.
#[derive(Debug, Clone)]
pub struct Table {
    names: Vec<String>,
    /// A column of vectors, or of samples of which there are at most so many, and its width.
    vector: Option<(String, Kind, usize)>,
    /// Type of the time column.
    pub time: DataType,
    batch: Batch,
}

impl Table {
    pub fn new(names: &[&str]) -> Self {
        let columns = names.iter().map(|_| Values::Number(Vec::new()).into()).collect();
        Table {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            vector: None,
            time: DataType::Timestamp(TimeUnit::Second, None),
            batch: Batch { columns, ..Batch::default() },
        }
    }

    /// With a column of vectors after the others, whose numbers follow theirs.
    pub fn vectors(mut self, name: &str, width: usize) -> Self {
        self.vector = Some((name.to_owned(), Kind::Vector(width), width));
        self.batch.columns.push(Values::Vector(Vec::new(), width).into());
        self
    }

    /// With a column of samples after the others: how many there are, then at most `most` of them.
    pub fn samples(mut self, name: &str, most: usize) -> Self {
        self.vector = Some((name.to_owned(), Kind::Samples, most + 1));
        self.batch.columns.push(Values::Passthrough(Kind::Samples.no_vectors(0).unwrap()).into());
        self
    }

    /// How many numbers a row has.
    fn width(&self) -> usize {
        self.names.len() + self.vector.as_ref().map_or(0, |(.., width)| *width)
    }

    pub fn push(&mut self, key: u32, time: i64, values: &[f64]) {
        self.batch.positions.push(self.batch.rows() as u64);
        self.batch.slots.push(key);
        self.batch.times.push(time);
        for (column, value) in self.batch.columns.iter_mut().zip(values) {
            if let Values::Number(numbers) = &mut column.values {
                numbers.push(*value);
            }
        }
        let numbers: Vec<f32> = values[self.names.len()..].iter().map(|number| *number as f32).collect();
        match self.batch.columns.last_mut().map(|column| &mut column.values) {
            Some(Values::Vector(all, _)) => all.extend(numbers),
            Some(Values::Passthrough(array)) => {
                let name = At::default_value(String::new());
                let mut row = VectorBuilder::new(VectorColumn { name, width: None, number: None });
                let count = if numbers[0].is_finite() { numbers[0].abs() as usize } else { 0 };
                row.push(&numbers[1..][..count % numbers.len()]);
                *array = arrow::compute::concat(&[array.as_ref(), row.finish().unwrap().as_ref()]).unwrap();
            }
            _ => {}
        }
    }

    pub fn batch(&self) -> Batch {
        self.batch.clone()
    }

    pub fn layout(&self) -> Layout {
        let mut layout = Layout::new("key", KeyType::Utf8, "time", Clock::of(&self.time, None).unwrap());
        for name in &self.names {
            layout.add(name, Kind::Number, Role::Value);
        }
        if let Some((name, kind, _)) = &self.vector {
            layout.add(name, kind.clone(), Role::Value);
        }
        layout
    }
}

/// The stage that an operator makes, if it can be planned.
pub fn plan(operator: &dyn Operator, layout: &mut Layout, problems: &mut Problems) -> Option<Box<dyn Stage>> {
    operator.plan(Place::default(), layout, problems).map(|build| build.build().unwrap())
}

/// Runs stages over rows, a batch ending at each of `cuts` (ascending, others are ignored).
pub fn run(stages: &mut [Box<dyn Stage>], input: &Batch, cuts: &[usize]) -> Batch {
    let specs: Vec<StateSpec> = stages.iter().map(|stage| stage.state()).collect();
    // A word before the first part, as the engine has one: offsets must not be confused with 0.
    specs.iter().for_each(check_fields);
    let initial: Vec<u64> = specs.iter().flat_map(|spec| spec.initial()).copied().collect();
    let mut arena = Arena::new([vec![u64::MAX], initial].concat());
    arena.grow_to(input.slots.iter().max().map_or(0, |slot| *slot as usize + 1));
    let mut out: Option<Batch> = None;
    let mut rejects = Vec::new();
    let mut from = 0;
    for to in cuts.iter().copied().chain([input.rows()]) {
        if to <= from || to > input.rows() {
            continue;
        }
        let mut batch = slice(input, from, to);
        from = to;
        let mut start = 1;
        for (stage, spec) in stages.iter_mut().zip(&specs) {
            if !batch.is_empty() {
                let mut state = State { rows: arena.rows(start, spec.width()), bank: None, keys: None };
                stage.process(&mut batch, &mut state).unwrap();
                check(&batch);
            }
            start += spec.width();
        }
        rejects.append(&mut batch.rejects);
        if batch.is_empty() {
            continue;
        }
        match &mut out {
            None => out = Some(batch),
            Some(out) => append(out, &batch),
        }
    }
    let mut out = out.unwrap_or_default();
    out.rejects = rejects;
    out
}

/// The fields of a stage have names that differ, and hold every word of its row.
fn check_fields(spec: &StateSpec) {
    let names: BTreeSet<&String> = spec.fields().iter().map(|field| &field.name).collect();
    assert_eq!(names.len(), spec.fields().len(), "{:?}", spec.fields());
    let words = spec.fields().iter().map(|field| {
        let values = field.values(spec.initial()).unwrap().len();
        if matches!(field.of, Type::F32 | Type::I32) { values.div_ceil(2) } else { values }
    });
    assert_eq!(words.sum::<usize>(), spec.width(), "{:?}", spec.fields());
}

fn check(batch: &Batch) {
    assert_eq!(batch.slots.len(), batch.rows());
    assert_eq!(batch.positions.len(), batch.rows());
    for column in &batch.columns {
        assert_eq!(column.values.rows(), batch.rows());
        assert!(column.observed.as_ref().is_none_or(|observed| observed.len() == batch.rows()));
    }
}

fn slice(batch: &Batch, from: usize, to: usize) -> Batch {
    let column = |column: &Column| Column {
        values: match &column.values {
            Values::Number(v) => Values::Number(v[from..to].to_vec()),
            Values::Vector(v, width) => Values::Vector(v[from * width..to * width].to_vec(), *width),
            Values::Doubles(v, width) => Values::Doubles(v[from * width..to * width].to_vec(), *width),
            Values::Flag(v) => Values::Flag(v[from..to].to_vec()),
            Values::Time(v) => Values::Time(v[from..to].to_vec()),
            Values::Integer(v) => Values::Integer(v[from..to].to_vec()),
            Values::Passthrough(v) => Values::Passthrough(v.slice(from, to - from)),
        },
        observed: column.observed.as_ref().map(|observed| observed[from..to].to_vec()),
    };
    Batch {
        slots: batch.slots[from..to].to_vec(),
        times: batch.times[from..to].to_vec(),
        positions: batch.positions[from..to].to_vec(),
        columns: batch.columns.iter().map(column).collect(),
        rejects: Vec::new(),
    }
}

fn append(to: &mut Batch, from: &Batch) {
    let before = to.rows();
    to.slots.extend(&from.slots);
    to.times.extend(&from.times);
    to.positions.extend(&from.positions);
    assert_eq!(to.columns.len(), from.columns.len());
    for (to, from) in to.columns.iter_mut().zip(&from.columns) {
        let observed: Vec<bool> = (0..before)
            .map(|row| to.is_observed(row))
            .chain((0..from.values.rows()).map(|row| from.is_observed(row)))
            .collect();
        to.observed = Some(observed);
        match (&mut to.values, &from.values) {
            (Values::Number(a), Values::Number(b)) => a.extend(b),
            (Values::Vector(a, _), Values::Vector(b, _)) => a.extend(b),
            (Values::Flag(a), Values::Flag(b)) => a.extend(b),
            (Values::Time(a), Values::Time(b)) | (Values::Integer(a), Values::Integer(b)) => a.extend(b),
            (Values::Passthrough(a), Values::Passthrough(b)) => {
                *a = arrow::compute::concat(&[a.as_ref(), b.as_ref()]).unwrap();
            }
            _ => panic!("a column changed its kind between batches"),
        }
    }
}

/// Every row as bits: slot, time, then value and observed of each column (passthrough columns apart).
pub fn bits(batch: &Batch) -> Vec<Vec<u64>> {
    let mut rows = Vec::new();
    for row in 0..batch.rows() {
        let mut bits = vec![u64::from(batch.slots[row]), batch.times[row] as u64];
        for column in &batch.columns {
            match &column.values {
                Values::Number(v) => bits.push(v[row].to_bits()),
                Values::Vector(v, width) => {
                    bits.extend(v[row * width..(row + 1) * width].iter().map(|x| u64::from(x.to_bits())));
                }
                Values::Doubles(v, width) => {
                    bits.extend(v[row * width..(row + 1) * width].iter().map(|x| x.to_bits()));
                }
                Values::Flag(v) => bits.push(u64::from(v[row])),
                Values::Time(v) | Values::Integer(v) => bits.push(v[row] as u64),
                Values::Passthrough(_) => {}
            }
            bits.push(u64::from(column.is_observed(row)));
        }
        rows.push(bits);
    }
    rows
}

/// Rows of a few keys with gaps, nulls, infinities, equal and late times.
pub fn rows(columns: usize, most: usize) -> impl Strategy<Value = Vec<(u32, i64, Vec<f64>)>> {
    let value = prop_oneof![
        8 => (-50..50_i32).prop_map(|n| f64::from(n) * 0.37),
        1 => Just(f64::NAN),
        1 => Just(f64::INFINITY),
        1 => Just(0.0),
    ];
    let step = prop_oneof![6 => Just(1_i64), 3 => 0..5_i64, 1 => 5..40_i64, 1 => -6..0_i64];
    let row = (0..3_u32, step, prop::collection::vec(value, columns));
    prop::collection::vec(row, 1..most).prop_map(|rows| {
        let mut times = [-20_i64; 3];
        let mut timed = Vec::new();
        for (key, step, values) in rows {
            let time = &mut times[key as usize];
            *time += step;
            timed.push((key, *time, values));
        }
        timed
    })
}

/// The laws of every stage: any cuts give the same bits and rejects, and any interleaving of keys the same rows per
/// key.
pub fn laws(columns: &[&str], most: usize, plan: impl Fn(&mut Layout, &mut Problems) -> Vec<Box<dyn Stage>>) {
    laws_on(&Table::new(columns), most, plan);
}

/// [`laws`] for tables like `empty`, which has columns and a clock but no rows.
pub fn laws_on(empty: &Table, most: usize, plan: impl Fn(&mut Layout, &mut Problems) -> Vec<Box<dyn Stage>>) {
    let stages = || {
        let mut problems = Problems::new("p.yaml");
        let stages = plan(&mut empty.layout(), &mut problems);
        problems.finish(()).unwrap();
        assert!(!stages.is_empty());
        stages
    };
    let cuts = prop::collection::btree_set(0..most, 0..most / 2);
    let inputs = (rows(empty.width(), most), cuts);
    let config = Config { cases: 200, failure_persistence: None, ..Config::default() };
    let result = TestRunner::new(config).run(&inputs, |(rows, cuts)| {
        let mut table = empty.clone();
        rows.iter().for_each(|(key, time, values)| table.push(*key, *time, values));
        let input = table.batch();
        let whole = run(&mut stages(), &input, &[]);
        let cut = run(&mut stages(), &input, &cuts.into_iter().collect::<Vec<_>>());
        prop_assert_eq!(bits(&whole), bits(&cut));
        prop_assert_eq!(&whole.positions, &cut.positions);
        prop_assert_eq!(&whole.rejects, &cut.rejects);
        // Sorted by key instead of as they came: positions differ, nothing else may.
        let mut sorted = rows.clone();
        sorted.sort_by_key(|(key, ..)| *key);
        let mut table = empty.clone();
        sorted.iter().for_each(|(key, time, values)| table.push(*key, *time, values));
        let by_key = run(&mut stages(), &table.batch(), &[]);
        let mut expected = bits(&whole);
        expected.sort_by_key(|bits| bits[0]);
        prop_assert_eq!(expected, bits(&by_key));
        prop_assert_eq!(whole.rejects.len(), by_key.rejects.len());
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}
