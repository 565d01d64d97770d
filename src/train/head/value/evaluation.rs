//! How well numbers of sequences are told, beside who always says the same: the mean, the median or the quantiles of
//! the train part. Must not live here: how it is shown (`report`), how the network runs (`pass`).

use std::any::Any;
use std::collections::BTreeMap;

use super::{Value, report};
use crate::error::counted;
use crate::network::quantiles;
use crate::record::Clock;
use crate::train::calibration::quantile;
use crate::train::dataset::Dataset;
use crate::train::head::forecast::spread::{Spread, intervals, percent};
use crate::train::head::{Evaluation, Head};
use crate::train::pass::Model;
use crate::train::report::figure;
use crate::train::split::Subset;
use crate::{Error, Result};

/// Sums over the sequences of a part that have a number.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sums {
    /// Sequences.
    pub count: u64,
    /// Of the model: absolute errors and their squares.
    model: (f64, f64),
    /// Absolute errors of the train part's median, squares of those of its mean.
    constant: (f64, f64),
    /// Of the model's quantiles.
    pub spread: Spread,
    /// Of the train part's quantiles.
    pub constant_spread: Spread,
}

impl Sums {
    /// Mean absolute error of the model, and of the median. NaN of nothing, as all here.
    pub fn mae(&self) -> (f64, f64) {
        (self.model.0 / self.count as f64, self.constant.0 / self.count as f64)
    }

    /// Root mean squared error of the model, and of the mean.
    pub fn rmse(&self) -> (f64, f64) {
        ((self.model.1 / self.count as f64).sqrt(), (self.constant.1 / self.count as f64).sqrt())
    }

    /// Mean pinball loss of the model's quantiles, and of constant ones.
    pub fn pinball(&self) -> (f64, f64) {
        (self.spread.mean_pinball(false), self.constant_spread.mean_pinball(false))
    }
}

/// Errors of numbers of sequences.
#[derive(Debug, Clone)]
pub struct ValueEvaluation {
    /// What was told.
    pub head: Value,
    /// Per target, of the test part.
    pub test: Vec<Sums>,
    /// Per target, of the validation part; without sequences where there is none.
    pub validation: Vec<Sums>,
}

/// What the train part has of a target.
struct Known {
    mean: f64,
    sd: f64,
    sorted: Vec<f64>,
}

/// Judges the network on the test part, and on the validation part.
pub(super) fn evaluate(head: &Value, data: &Dataset, model: &Model) -> Result<ValueEvaluation> {
    let known: Vec<Known> = (0..head.targets.len()).map(|target| known(head, data, target)).collect();
    let mut is_finite = true;
    let mut sums = |part: Subset| {
        let mut sums = vec![Sums::default(); head.targets.len()];
        model.forecasts(data, part, &mut |series, step, y| {
            is_finite &= y.iter().all(|y| y.is_finite());
            for (target, (sums, known)) in sums.iter_mut().zip(&known).enumerate() {
                let Some(truth) = head.truth(data, series, step, target) else { continue };
                sums.add(head, known, truth, &|output| f64::from(y[output]), target);
            }
        });
        sums
    };
    let (test, validation) = (sums(Subset::Test), sums(Subset::Validation));
    if !is_finite {
        return Err(Error::failed("the trained network gives values that are not finite: lower the learning rate"));
    }
    Ok(ValueEvaluation { head: head.clone(), test, validation })
}

fn known(head: &Value, data: &Dataset, target: usize) -> Known {
    let of_series =
        |series| data.origins(series, Subset::Train).filter_map(move |step| head.truth(data, series, step, target));
    let mut sorted: Vec<f64> = (0..data.series.len()).flat_map(of_series).collect();
    sorted.sort_by(f64::total_cmp);
    let count = sorted.len().max(1) as f64;
    let mean = sorted.iter().sum::<f64>() / count;
    let sd = (sorted.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt();
    Known { mean, sd: if sd > 0.0 { sd } else { 1.0 }, sorted }
}

impl Sums {
    /// Counts a sequence: what came, and the outputs.
    fn add(&mut self, head: &Value, known: &Known, truth: f64, y: &dyn Fn(usize) -> f64, target: usize) {
        self.count += 1;
        let plus = |sum: &mut (f64, f64), absolute: f64, squared: f64| {
            *sum = (sum.0 + absolute.abs(), sum.1 + squared * squared);
        };
        let error = y(head.point(target)) - truth;
        plus(&mut self.model, error, error);
        plus(&mut self.constant, quantile(&known.sorted, 0.5) - truth, known.mean - truth);
        if !head.quantiles.is_empty() {
            let levels = &head.quantiles;
            let width = head.targets.len();
            self.spread.add(levels, truth, |level| y(level * width + target), known.sd);
            self.constant_spread.add(levels, truth, |level| quantile(&known.sorted, levels[level]), known.sd);
        }
    }
}

impl Evaluation for ValueEvaluation {
    fn metrics(&self) -> BTreeMap<String, f64> {
        let mut metrics = BTreeMap::new();
        for ((name, test), validation) in self.head.targets.iter().zip(&self.test).zip(&self.validation) {
            let mut put = |word: &str, value: f64| metrics.insert(format!("{name}.{word}"), value);
            let ((mae, median), (rmse, mean)) = (test.mae(), test.rmse());
            put("mae", mae);
            put("rmse", rmse);
            put("mae_median", median);
            put("rmse_mean", mean);
            put("mae_validation", validation.mae().0);
            put("rmse_validation", validation.rmse().0);
            let levels = self.head.levels();
            if levels.is_empty() {
                continue;
            }
            put("pinball", test.pinball().0);
            put("pinball_constant", test.pinball().1);
            for (at, level) in levels.iter().enumerate() {
                let level = quantiles::name(*level);
                put(&format!("pinball_{level}"), test.spread.pinball(at, false));
                put(&format!("below_{level}"), test.spread.below(at));
            }
            for (at, interval) in intervals(levels).into_iter().enumerate() {
                let percent = percent(levels, interval);
                put(&format!("coverage_{percent}"), test.spread.coverage(at));
                put(&format!("width_{percent}"), test.spread.width(at, false));
            }
        }
        // JSON has no NaN: what could not be measured is left out.
        metrics.retain(|_, value: &mut f64| value.is_finite());
        metrics
    }

    fn figures(&self) -> Vec<String> {
        let words: &[&str] =
            if self.head.quantiles.is_empty() { &["mae", "rmse"] } else { &["mae", "rmse", "pinball"] };
        self.head.targets.iter().flat_map(|name| words.iter().map(move |word| format!("{name}.{word}"))).collect()
    }

    fn warnings(&self) -> Vec<String> {
        let beaten = |(name, sums): (&String, &Sums)| {
            let (model, constant) = sums.rmse();
            (model >= constant).then(|| {
                format!(
                    "{name}: the network's RMSE on the test part is {}, and that of always saying the mean of the train \
                     part {}",
                    figure(model),
                    figure(constant)
                )
            })
        };
        self.head.targets.iter().zip(&self.test).filter_map(beaten).collect()
    }

    fn validation(&self) -> Vec<String> {
        let known = self.head.targets.iter().zip(&self.validation).filter(|(_, sums)| sums.count > 0);
        known
            .map(|(name, sums)| {
                format!(
                    "validation part, {name}: MAE {} (always the median {}), RMSE {} (always the mean {}), {}",
                    figure(sums.mae().0),
                    figure(sums.mae().1),
                    figure(sums.rmse().0),
                    figure(sums.rmse().1),
                    counted(sums.count as usize, "sequence")
                )
            })
            .collect()
    }

    fn table(&self) -> String {
        report::table(self)
    }

    fn cards(&self, out: &mut String) {
        report::cards(self, out);
    }

    fn sections(&self, out: &mut String, _: &Clock, refit: bool) -> Result<()> {
        report::sections(self, out, refit);
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
