//! Errors of a key whose state begins at zero, like that of a new key.
//!
//! Lives here: the error of a cold start, and how many steps it takes until it is over. Must not live here: errors of
//! a warm state (`evaluate`).

use super::Forecast;
use crate::train::dataset::Dataset;
use crate::train::errors::{Errors, train_sd};
use crate::train::pass::{Model, Run};
use crate::train::split::Subset;

/// A state is warm when the error is within this share of a warm one's.
const WITHIN: f64 = 0.01;
/// Steps that are watched after a cold start at most.
const LONGEST: usize = 256;
/// Cold starts over which is averaged, at most.
const STARTS: usize = 256;

/// A cold start compared with a warm state, on the same rows.
#[derive(Debug, Clone, Default)]
pub struct WarmUp {
    /// Per target, errors over the whole test part when each key's state is zero at its begin.
    pub targets: Vec<Errors>,
    /// By steps since the start (0: the first): mean absolute error of (cold, warm) in standardised outputs, over many
    /// starts in the test part.
    pub by_step: Vec<(f64, f64)>,
    /// Steps after which the cold error stays within 1 % of the warm one, at most the length of `by_step`.
    pub steps: usize,
}

/// Steps of the test part of a series: index, first, end.
type TestSteps = (usize, usize, usize);

/// Errors of a warm state, step by step.
pub(super) struct Warm {
    tests: Vec<TestSteps>,
    /// Per series, its place in `tests`.
    place: Vec<Option<usize>>,
    /// Per test, per step of it: sum of standardised absolute errors, and their number.
    errors: Vec<Vec<(f64, u32)>>,
}

impl Warm {
    /// No errors yet.
    pub(super) fn new(data: &Dataset) -> Warm {
        let mut tests = Vec::new();
        let mut place = vec![None; data.series.len()];
        for (series, place) in place.iter_mut().enumerate() {
            let mut origins = data.origins(series, Subset::Test);
            if let Some(first) = origins.next() {
                *place = Some(tests.len());
                tests.push((series, first, origins.last().unwrap_or(first) + 1));
            }
        }
        let errors = tests.iter().map(|(_, from, to)| vec![(0.0, 0); to - from]).collect();
        Warm { tests, place, errors }
    }

    /// Takes a forecast of the test part.
    pub(super) fn add(&mut self, data: &Dataset, model: &Model, series: usize, step: usize, y: &[f32]) {
        let Some(place) = self.place[series] else { return };
        let (_, from, to) = self.tests[place];
        if (from..to).contains(&step) {
            self.errors[place][step - from] = error(data, model, series, step, y);
        }
    }
}

/// Measures cold starts in the test part, and the errors of a warm state there.
pub(super) fn measure(head: &Forecast, data: &Dataset, model: &Model, warm: &Warm) -> WarmUp {
    let longest = warm.tests.iter().map(|(_, from, to)| to - from).max().unwrap_or(0).min(LONGEST);
    let by_step = by_step(data, model, warm, longest);
    WarmUp { targets: whole_test(head, data, model, &warm.tests), steps: steps_until_warm(&by_step), by_step }
}

/// Steps until the error stays within a hundredth of the warm one.
fn steps_until_warm(by_step: &[(f64, f64)]) -> usize {
    by_step.iter().rposition(|(cold, warm)| *cold > warm * (1.0 + WITHIN)).map_or(0, |step| step + 1)
}

fn whole_test(head: &Forecast, data: &Dataset, model: &Model, tests: &[TestSteps]) -> Vec<Errors> {
    let targets = head.targets.len();
    let sds: Vec<Vec<f64>> = tests
        .iter()
        .map(|(s, ..)| (0..targets).map(|target| train_sd(data, *s..s + 1, target).unwrap_or(1.0)).collect())
        .collect();
    let runs: Vec<Run> = tests.iter().map(|(series, from, to)| Run { series: *series, from: *from, to: *to }).collect();
    let mut errors = vec![Errors::default(); targets];
    model.runs(data, &runs, &mut |run, step, y| {
        let series = runs[run].series;
        let row = data.steps[series].rows[step] as usize;
        if data.examples[series][row] != Some(Subset::Test) {
            return;
        }
        for (output, value) in head.point(y).iter().enumerate() {
            let (_, target) = head.step_and_target(output);
            if let Some(truth) = head.truth(data, series, row, output) {
                errors[target].add(head.to_own(data, series, row, output, *value), truth, sds[run][target]);
            }
        }
    });
    errors
}

/// Sum of standardised absolute errors of a step's outputs and their number.
fn error(data: &Dataset, model: &Model, series: usize, step: usize, y: &[f32]) -> (f64, u32) {
    let row = data.steps[series].rows[step] as usize;
    if data.examples[series][row] != Some(Subset::Test) {
        return (0.0, 0);
    }
    let mut sum = (0.0, 0);
    for (output, value) in y.iter().enumerate() {
        if let Some(wanted) = data.wanted(series, row, output) {
            let made = f64::from(*value) - f64::from(data.base(series, row, output));
            sum.0 += (made - wanted).abs() / model.scaling_of(series).out_sd[output];
            sum.1 += 1;
        }
    }
    sum
}

fn by_step(data: &Dataset, model: &Model, warm: &Warm, longest: usize) -> Vec<(f64, f64)> {
    let tests = &warm.tests;
    // The same number of starts in each key, evenly over its test part; with more keys than starts, in every n-th key.
    let stride = tests.len().div_ceil(STARTS).max(1);
    let per_key = (STARTS / tests.len().max(1)).max(1);
    let mut starts = Vec::new();
    for (test, (series, from, to)) in tests.iter().enumerate().step_by(stride) {
        let places = per_key.min(to - from);
        for place in 0..places {
            let from = from + place * (to - from) / places;
            starts.push((test, Run { series: *series, from, to: *to.min(&(from + longest)) }));
        }
    }
    let runs: Vec<Run> = starts.iter().map(|(_, run)| *run).collect();
    let mut sums = vec![(0.0, 0.0, 0_u32); longest];
    model.runs(data, &runs, &mut |run, step, y| {
        let (test, Run { series, from, .. }) = starts[run];
        let (cold, count) = error(data, model, series, step, y);
        let sum = &mut sums[step - from];
        sum.0 += cold;
        sum.1 += warm.errors[test][step - tests[test].1].0;
        sum.2 += count;
    });
    // Late steps are reached by few starts only: where it is less than a quarter of the first step's, the means are
    // noise.
    let enough = sums.first().map_or(0, |first| first.2 / 4);
    let kept = sums.iter().position(|sum| sum.2 == 0 || sum.2 < enough).unwrap_or(sums.len());
    sums[..kept].iter().map(|(cold, warm, n)| (cold / f64::from(*n), warm / f64::from(*n))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warm_up_ends_where_the_error_stays_near() {
        assert_eq!(steps_until_warm(&[(2.0, 1.0), (1.005, 1.0), (1.02, 1.0), (1.009, 1.0), (0.9, 1.0)]), 3);
        assert_eq!(steps_until_warm(&[(1.0, 1.0), (1.0, 1.0)]), 0);
        assert_eq!(steps_until_warm(&[(3.0, 1.0), (2.0, 1.0)]), 2);
        assert_eq!(steps_until_warm(&[]), 0);
    }
}
