//! The rolling-origin backtest (Tashman 2000): the test part in successive pieces, each forecast by a network that
//! knows what lies before it.
//!
//! Lives here: which rows a fold learns from and is judged on, and what the folds found. Must not live here: training
//! and evaluation, which are those of any other training.
//!
//! The test part of the split is cut into as many pieces as there are folds: by rows of each key, or with
//! `split: { at }` at instants. A fold trains on everything before its piece (an expanding window); the rows right
//! before the piece are its validation part, as many as the split has. So all folds together are judged on the test
//! part, and no fold learns from a row that comes after one that it is judged on. Without `retrain` the one network of
//! the training is judged on each piece.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::Backtest as Section;
use crate::{Error, Result};

use super::dataset::Dataset;
use super::fit::{Event, Progress};
use super::head::Figures;
use super::keep::Keep;
use super::pass::Model;
use super::split::{Cuts, Subset};
use super::{Column, Plan, Series, train_kept};

/// One fold.
#[derive(Debug, Clone, PartialEq)]
pub struct Fold {
    /// Ticks of the first and the last row that it is judged on.
    pub span: (i64, i64),
    /// Its examples in train, validation and test.
    pub examples: [usize; 3],
    /// What is shown of it.
    pub figures: Vec<Figures>,
    /// Every number by name.
    pub metrics: BTreeMap<String, f64>,
}

/// What a backtest found.
#[derive(Debug, Clone, PartialEq)]
pub struct Backtest {
    /// In the order of time.
    pub folds: Vec<Fold>,
    /// Whether each fold trained a network of its own.
    pub retrain: bool,
    /// The metrics by which it is summed up.
    names: Vec<String>,
}

impl Backtest {
    /// The mean of each figure over the folds that have it.
    pub fn means(&self) -> Vec<Figures> {
        let Some(first) = self.folds.first() else { return Vec::new() };
        let mean = |row: usize, at: usize| {
            let values = self.folds.iter().filter_map(|fold| Some(fold.figures.get(row)?.values.get(at)?.1));
            mean(values.filter(|value| value.is_finite()))
        };
        let row = |(row, figures): (usize, &Figures)| Figures {
            of: figures.of.clone(),
            values: figures.values.iter().enumerate().map(|(at, (name, _))| (name.clone(), mean(row, at))).collect(),
        };
        first.figures.iter().enumerate().map(row).collect()
    }

    /// Means of the main metrics by name, `backtest.` before each.
    pub fn metrics(&self) -> BTreeMap<String, f64> {
        let of = |name: &String| mean(self.folds.iter().filter_map(|fold| fold.metrics.get(name).copied()));
        let all = self.names.iter().map(|name| (format!("backtest.{name}"), of(name)));
        all.filter(|(_, value)| value.is_finite()).collect()
    }
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0), |(sum, count), value| (sum + value, count + 1));
    sum / f64::from(count)
}

/// Refuses what has no order in time, and a start from what may know the future.
pub fn check(plan: &Plan) -> Result<()> {
    if plan.backtest.is_some() && plan.start.is_some() {
        return Err(Error::refused(
            "a backtest can't go on from a version, which may have learned from the rows that its folds are judged on: \
             leave `backtest` or --from out",
        ));
    }
    Ok(())
}

/// What folds that don't train are judged by.
pub struct Learned<'a> {
    /// The plan with what its training found.
    pub plan: &'a Plan,
    /// The model of the training.
    pub model: &'a Model,
    /// Says of the rows of a fold what the model wants to know of them.
    pub prepare: &'a dyn Fn(&mut Dataset),
}

/// Runs the folds of a plan.
pub fn backtest(
    series: &[Series],
    plan: &Plan,
    section: Section,
    learned: &Learned<'_>,
    keep: &mut Keep,
    watch: &mut dyn FnMut(Event),
) -> Result<Backtest> {
    let end = series.iter().filter_map(|series| series.times.last().copied()).max().unwrap_or_default();
    let Section { folds: of, retrain } = section;
    let mut found = Backtest { folds: Vec::new(), retrain, names: Vec::new() };
    let mut said = BTreeSet::new();
    for at in 0..of {
        let fold = format!("fold {} of {of}", at + 1);
        let cuts = Cuts::Fold { of: Box::new(plan.split.clone()), at, folds: of, end, retrain };
        let own = |plan: &Plan| Plan { split: cuts.clone(), backtest: None, refit: false, ..plan.clone() };
        let named = |error| match error {
            Error::Refused(message) => Error::refused(format!("backtest, {fold}: {message}")),
            Error::Failed(message) => Error::failed(format!("backtest, {fold}: {message}")),
            other => other,
        };
        let plan = if retrain { own(plan) } else { own(learned.plan) };
        let mut data = Dataset::new(series, &plan)?;
        let (evaluation, examples) = if retrain {
            keep.fold(Some(at));
            let mut watch = |event: Event| match event {
                Event::Progress(now) => watch(Event::Progress(Progress { fold: Some((at, of)), ..now })),
                // Those of the data are the same in each fold.
                Event::Warning(warning) if !said.insert(warning.to_string()) => {}
                Event::Warning(warning) => watch(Event::Warning(&format!("{fold}: {warning}"))),
                other => other.tell_of(&fold, watch),
            };
            let trained = train_kept(series, &plan, keep, &mut watch).map_err(named)?;
            let mut examples = [0; 3];
            trained.keys.iter().for_each(|key| (0..3).for_each(|part| examples[part] += key.examples[part]));
            (trained.evaluation, examples)
        } else {
            let mut examples = [0; 3];
            data.sizes().iter().for_each(|parts| (0..3).for_each(|part| examples[part] += parts[part]));
            if examples[2] == 0 {
                return Err(named(Error::refused("no key has an example in the test part: ask for fewer folds")));
            }
            (learned.prepare)(&mut data);
            (plan.head.evaluate(&data, learned.model).map_err(named)?, examples)
        };
        found.names = evaluation.figures();
        let span = span(series, &data.rows);
        found.folds.push(Fold { span, examples, figures: evaluation.compared(), metrics: evaluation.metrics() });
    }
    keep.fold(None);
    Ok(found)
}

/// Ticks of the first and the last row of the test part.
fn span(series: &[Series], rows: &[Column<Option<Subset>>]) -> (i64, i64) {
    let times = series.iter().zip(rows).flat_map(|(series, rows)| {
        series.times.iter().zip(rows).filter(|(_, part)| **part == Some(Subset::Test)).map(|(time, _)| *time)
    });
    times.fold((i64::MAX, i64::MIN), |(first, last), time| (first.min(time), last.max(time)))
}

/// The parts of a key's rows in the fold `at` of `folds`. `end`: the last tick of any key.
pub(super) fn rows(
    series: &Series,
    of: &Cuts,
    (at, folds): (usize, usize),
    end: i64,
    retrain: bool,
) -> Result<Column<Option<Subset>>> {
    let base = of.rows(series)?;
    // Where the parts begin and the test part ends, as rows or as ticks.
    let (validation, test, end) = match of {
        Cuts::At([validation, test]) => (i128::from(*validation), i128::from(*test), i128::from(end) + 1),
        _ => {
            let first = |part| base.iter().position(|own| *own == Some(part));
            let Some(test) = first(Subset::Test) else { return Ok(base) };
            let after = base.iter().rposition(|own| own.is_some()).map_or(0, |last| last + 1);
            let validation = first(Subset::Validation).unwrap_or(test);
            (validation as i128, test as i128, after as i128)
        }
    };
    let piece = |at: usize| test + (end - test).max(0) * at as i128 / folds as i128;
    let (from, to) = (piece(at), piece(at + 1));
    let part = |(row, before): (usize, &Option<Subset>)| {
        let place = if matches!(of, Cuts::At(_)) { i128::from(series.times[row]) } else { row as i128 };
        match before {
            None => None,
            Some(_) if place >= to => None,
            Some(_) if place >= from => Some(Subset::Test),
            Some(part) if !retrain => (*part != Subset::Test).then_some(*part),
            Some(_) if place >= from - (test - validation) => Some(Subset::Validation),
            Some(_) => Some(Subset::Train),
        }
    };
    Column::collect(series.space(), base.iter().enumerate().map(part))
}
