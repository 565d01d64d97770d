//! Regression: every target column, each of 1..=horizon rows after the origin.
//!
//! Lives here: what the outputs are taught and what is added to them. Must not live here: how they are judged
//! (`forecast/`).

mod evaluation;
mod intervals;
mod naive;
mod pictures;
mod report;
mod samples;
pub(super) mod spread;
mod table;
mod warm_up;

use std::sync::Arc;

use super::Head;
use crate::Result;
use crate::config::{self, Loss, Residual, Skip};
use crate::error::counted;
use crate::model::{Input, Manifest};
use crate::network::quantiles;
use crate::train::dataset::Dataset;
use crate::train::loss::{self, OwnUnits};
use crate::train::pass::Model;
use crate::train::scaling::Scaling;
use crate::train::series::Unit;
use crate::train::windows::Examples;

pub use evaluation::ForecastEvaluation;
pub use pictures::sample_svg;
pub use samples::Sample;
pub use warm_up::WarmUp;

/// Standard deviations of its own key beyond which a scaled target teaches no more.
const FAR: f64 = 10.0;

/// Forecasts of columns. Outputs are [quantiles, horizon, targets], flattened; without quantiles [horizon, targets].
#[derive(Debug, Clone)]
pub struct Forecast {
    /// Columns that are forecast.
    pub targets: Vec<String>,
    /// Steps ahead.
    pub horizon: usize,
    /// What the network's output is added to.
    pub residual: Residual,
    /// Loss of an entry, in standard deviations of the output.
    pub loss: Loss,
    /// Levels of the quantiles, ascending, the median among them; empty: points.
    pub quantiles: Vec<f64>,
    /// Rows of a season, for the seasonal naive forecast.
    pub seasonality: Option<usize>,
    /// Whether values before a key's first row are filled, as the linear path's are.
    pub filled: bool,
}

impl Forecast {
    /// The head of a `train` section.
    pub fn new(train: &config::Train) -> Self {
        Forecast {
            targets: train.targets.iter().map(|name| name.value.clone()).collect(),
            horizon: train.horizon,
            residual: train.residual,
            loss: train.loss,
            quantiles: train.quantiles.clone(),
            seasonality: train.seasonality,
            filled: train.skip == Skip::Ridge,
        }
    }

    /// Step (from 1) and target of an output.
    pub fn step_and_target(&self, output: usize) -> (usize, usize) {
        (output % self.points() / self.targets.len() + 1, output % self.targets.len())
    }

    /// Numbers that are forecast: outputs of a quantile.
    pub fn points(&self) -> usize {
        self.horizon * self.targets.len()
    }

    /// Of the outputs of an origin those of the point forecast, the median where there are quantiles: [horizon,
    /// targets].
    pub fn point<'y, T>(&self, y: &'y [T]) -> &'y [T] {
        let median = self.quantiles.iter().position(|level| *level == 0.5).unwrap_or(0);
        &y[median * self.points()..(median + 1) * self.points()]
    }

    /// Rows of the naive forecasts' season.
    pub fn season(&self) -> Option<usize> {
        self.seasonality.filter(|season| *season > 0)
    }

    /// The target of an output for an origin row, in the key's own units: `None` where there is no such row, where it
    /// was not observed, or where it lies beyond a hole.
    pub fn truth(&self, data: &Dataset, series: usize, row: usize, output: usize) -> Option<f64> {
        let (step, target) = self.step_and_target(output);
        Ahead::of(data, series, row, target).truth(step)
    }

    /// Calls `known` with each output, ascending, whose target is known, and that target. [`Head::target`] of each
    /// output would divide for its step and look its column up, which takes longer than the rest.
    fn each_target(&self, data: &Dataset, (series, row): (usize, usize), mut known: impl FnMut(usize, f64)) {
        let first = Ahead::of(data, series, row, 0);
        let mut output = 0;
        for _ in 0..self.quantiles.len().max(1) {
            for step in 1..=self.horizon {
                for target in 0..self.targets.len() {
                    let ahead = if target == 0 { first } else { Ahead::of(data, series, row, target) };
                    if let Some(wanted) = ahead.target(step, output) {
                        known(output, wanted);
                    }
                    output += 1;
                }
            }
        }
    }

    /// An output of the network in the key's own units.
    pub fn to_own(&self, data: &Dataset, series: usize, row: usize, output: usize, value: f32) -> f64 {
        let (_, target) = self.step_and_target(output);
        data.series[series].to_own(target, row, f64::from(value))
    }

    /// How an output, with what is added to it, becomes what the user sees.
    fn own_units(&self, data: &Dataset, series: usize, row: usize, output: usize) -> OwnUnits {
        let (_, target) = self.step_and_target(output);
        let pair = data.series[series].scale[target].as_ref().map(|pairs| pairs[row]);
        let (shift, factor) = pair.unwrap_or((0.0, 1.0));
        OwnUnits { factor, shift, log: data.series[series].is_log(target) }
    }
}

/// What lies ahead of an origin row, of one target.
#[derive(Clone, Copy)]
struct Ahead<'a> {
    data: &'a Dataset<'a>,
    series: usize,
    row: usize,
    values: &'a [f64],
    observed: &'a [bool],
    unit: Unit,
}

impl<'a> Ahead<'a> {
    #[inline]
    fn of(data: &'a Dataset, series: usize, row: usize, target: usize) -> Self {
        let s = &data.series[series];
        let (values, observed, unit) = (&s.targets[target][..], &s.observed[target][..], s.unit(target, row));
        Ahead { data, series, row, values, observed, unit }
    }

    /// The value so many steps later, in the key's own units; see [`Forecast::truth`].
    #[inline]
    fn truth(&self, step: usize) -> Option<f64> {
        let at = self.row + step;
        let value = *self.values.get(at)?;
        let reached = self.data.is_without_hole(self.series, self.row, at);
        (reached && self.observed[at] && value.is_finite()).then_some(value)
    }

    /// [`Head::target`] of the output of that step.
    #[inline]
    fn target(&self, step: usize, output: usize) -> Option<f64> {
        let truth = self.truth(step)?;
        // The `scale` stage may know none yet.
        if self.unit.pair.is_some_and(|(mean, sd)| !(mean.is_finite() && sd.is_finite() && sd > 0.0)) {
            return None;
        }
        let wanted = self.unit.to_network(truth) - f64::from(self.data.base(self.series, self.row, output));
        // A key that was constant and jumps is any number of its (tiny) standard deviations away: one such row would
        // outweigh all others.
        let wanted = if self.unit.pair.is_some() { wanted.clamp(-FAR, FAR) } else { wanted };
        wanted.is_finite().then_some(wanted)
    }
}

impl Head for Forecast {
    fn columns(&self) -> &[String] {
        &self.targets
    }

    fn outputs(&self) -> usize {
        self.points() * self.quantiles.len().max(1)
    }

    fn quantiles(&self) -> Vec<String> {
        quantiles::outputs(&self.quantiles)
    }

    fn levels(&self) -> &[f64] {
        &self.quantiles
    }

    fn level(&self, output: usize) -> Option<f64> {
        if self.quantiles.is_empty() { None } else { self.quantiles.get(output / self.points()).copied() }
    }

    fn reach(&self) -> usize {
        self.horizon
    }

    /// `last` adds the target at the origin, `seasonal(m)` for step h the target `m * ceil(h / m) - h` rows back: the
    /// youngest one a whole number of seasons before that is known at the origin.
    fn residual(&self) -> Vec<Input> {
        let mut residual = Vec::new();
        for step in 1..=self.horizon {
            for target in &self.targets {
                let lag = match self.residual {
                    Residual::None => continue,
                    Residual::Last => 0,
                    Residual::Seasonal(season) => season.max(1) * step.div_ceil(season.max(1)) - step,
                };
                let lag = u32::try_from(lag).unwrap_or(u32::MAX);
                residual.push(if self.filled { Input::filled(target, lag) } else { Input::back(target, lag) });
            }
        }
        vec![residual; self.quantiles.len().max(1)].concat()
    }

    fn target(&self, data: &Dataset, series: usize, row: usize, output: usize) -> Option<f64> {
        let (step, target) = self.step_and_target(output);
        Ahead::of(data, series, row, target).target(step, output)
    }

    fn put(
        &self,
        data: &Dataset,
        scaling: &Scaling,
        (series, step): (usize, usize),
        wanted: &mut [f32],
        weight: &mut [f32],
    ) {
        let row = data.steps[series].rows[step] as usize;
        self.each_target(data, (series, row), |output, target| {
            (wanted[output], weight[output]) = (scaling.standardise(output, target), 1.0);
        });
    }

    fn counts_own_units(&self) -> bool {
        self.quantiles.is_empty() && matches!(self.loss, Loss::Smape | Loss::Msle)
    }

    fn put_own(&self, data: &Dataset, scaling: &Scaling, (series, step): (usize, usize), own: &mut [f32]) {
        let row = data.steps[series].rows[step] as usize;
        for (output, own) in own.chunks_exact_mut(3).enumerate() {
            let units = self.own_units(data, series, row, output);
            let shift = scaling.out_mean[output] + f64::from(data.base(series, row, output));
            let (factor, shift) = (units.factor * scaling.out_sd[output], units.factor * shift + units.shift);
            own.copy_from_slice(&OwnUnits { factor, shift, ..units }.numbers());
        }
    }

    /// Of quantiles each one's own output counts, whether it crosses another one or not: one that is on the wrong side
    /// still learns.
    fn loss(&self, y: &[f32], batch: &Examples, gradient: &mut Vec<f32>) -> f64 {
        let (all, points) = (self.outputs(), self.points());
        let (wanted, weight) = (&batch.wanted, &batch.weight);
        if !self.quantiles.is_empty() {
            let pinball = |at: usize, y: f32, wanted: f32| {
                loss::pinball(self.quantiles[at % all / points], f64::from(y) - f64::from(wanted))
            };
            return loss::entries(y, wanted, weight, gradient, pinball);
        }
        if self.counts_own_units() {
            let own = |at: usize, y: f32, wanted: f32| {
                let units = OwnUnits::of(&batch.own[3 * at..3 * at + 3]);
                units.entry(self.loss, f64::from(y), f64::from(wanted))
            };
            return loss::entries(y, wanted, weight, gradient, own);
        }
        loss::loss(self.loss, y, wanted, weight, gradient)
    }

    fn add_loss(&self, data: &Dataset, scaling: &Scaling, origin: (usize, usize), y: &[f32], total: &mut (f64, f64)) {
        let (series, row) = (origin.0, data.steps[origin.0].rows[origin.1] as usize);
        self.each_target(data, (series, row), |output, wanted| {
            let (value, base) = (f64::from(y[output]), f64::from(data.base(series, row, output)));
            let error = (value - base - wanted) / scaling.out_sd[output];
            total.0 += match self.level(output) {
                Some(level) => loss::pinball(level, error).0,
                None if self.counts_own_units() => {
                    self.own_units(data, series, row, output).entry(self.loss, value, wanted + base).0
                }
                None => loss::entry(self.loss, error).0,
            };
            total.1 += 1.0;
        });
    }

    fn evaluate(&self, data: &Dataset, model: &Model) -> Result<Arc<dyn super::Evaluation>> {
        Ok(Arc::new(evaluation::evaluate(self, data, model)?))
    }

    fn describe(&self, manifest: &mut Manifest) {
        manifest.horizon = self.horizon;
        manifest.targets.clone_from(&self.targets);
        manifest.quantiles.clone_from(&self.quantiles);
    }

    fn forecast(&self) -> Option<&Forecast> {
        Some(self)
    }

    fn headline(&self) -> String {
        let rows = if self.horizon == 1 { "one row ahead".into() } else { format!("1 to {} rows ahead", self.horizon) };
        format!("forecasts {} {rows}", self.targets.join(", "))
    }

    fn words(&self) -> Vec<(&'static str, String)> {
        let added = match self.residual {
            Residual::None => "nothing".into(),
            Residual::Last => "the last value".into(),
            Residual::Seasonal(season) => format!("the value a season ({}) before", counted(season, "row")),
        };
        vec![("output is added to", added), ("loss", loss::text(self.loss, &self.quantiles))]
    }

    fn needs(&self) -> (String, &'static str) {
        (format!("{} of that part with an observed target", counted(self.horizon, "row")), "horizon")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Split;
    use crate::record::Every;
    use crate::train::dataset::tests::plain;
    use crate::train::plan::tests::{plan_of, section};

    #[test]
    fn truth_is_the_row_h_later_where_observed_and_on_this_side_of_a_hole() {
        let mut train = section(2, &["v"]);
        train.residual = Residual::Last;
        train.split.value = Split::Rows([5, 0, 0]);
        let mut plan = plan_of(&train, None);
        plan.interval = Some(Every::Ticks(1));
        let mut s = plain("a", &[10.0, 20.0, 40.0, 80.0, 160.0]);
        s.times = vec![0, 1, 2, 5, 6].into();
        s.observed[0][1] = false;
        let series = [s];
        let (data, head) = (Dataset::new(&series, &plan).unwrap(), Forecast::new(&train));
        let truths: Vec<[Option<f64>; 2]> =
            (0..5).map(|row| [head.truth(&data, 0, row, 0), head.truth(&data, 0, row, 1)]).collect();
        assert_eq!(truths, [[None, Some(40.0)], [Some(40.0), None], [None, None], [Some(160.0), None], [None, None]]);
        assert_eq!(data.wanted(0, 0, 1), Some(30.0));
        assert_eq!(data.wanted(0, 3, 0), Some(80.0));
    }

    #[test]
    fn a_scaled_target_is_scaled_with_the_pair_of_the_origin_and_back() {
        let mut train = section(1, &["v"]);
        train.residual = Residual::Last;
        let plan = plan_of(&train, None);
        let mut s = plain("a", &[10.0, 20.0]);
        s.x = vec![0.5, 0.25].into();
        s.scale = vec![Some(vec![(8.0, 4.0), (9.0, 5.0)].into())];
        let series = [s];
        let (data, head) = (Dataset::new(&series, &plan).unwrap(), Forecast::new(&train));
        assert_eq!(data.wanted(0, 0, 0), Some((20.0 - 8.0) / 4.0 - 0.5));
        assert_eq!(head.to_own(&data, 0, 0, 0, 3.0), 20.0);
    }
}
