//! Numbers of each sequence (`task: value`): what a target column says of a sequence that has ended.
//!
//! Lives here: where the number of an example is, and what the outputs are taught. Must not live here: how they are
//! judged and shown (`value/`), how quantiles are calibrated (`train::calibration`).
//!
//! A sequence has the newest number that any of its records has, in the column's own units. Where there is none,
//! nothing is learned. Outputs are [quantiles, targets], flattened; without quantiles [targets].

mod evaluation;
mod report;

use std::sync::Arc;

pub use evaluation::ValueEvaluation;

use super::Head;
use crate::Result;
use crate::config::{self, Loss};
use crate::model::{Input, Manifest};
use crate::network::quantiles;
use crate::train::dataset::Dataset;
use crate::train::loss::{self, OwnUnits};
use crate::train::pass::Model;
use crate::train::scaling::Scaling;
use crate::train::windows::Examples;

/// Numbers of sequences as the outputs.
#[derive(Debug, Clone)]
pub struct Value {
    /// Columns that hold them.
    pub targets: Vec<String>,
    /// Loss of an entry, in standard deviations of the output.
    pub loss: Loss,
    /// Levels of the quantiles, ascending, the median among them; empty: points.
    pub quantiles: Vec<f64>,
}

impl Value {
    /// The head of a `train` section.
    pub fn new(train: &config::Train) -> Self {
        Value {
            targets: train.targets.iter().map(|name| name.value.clone()).collect(),
            loss: train.loss,
            quantiles: train.quantiles.clone(),
        }
    }

    /// The number of the sequence that ends with a step, if it has one.
    pub fn truth(&self, data: &Dataset, series: usize, step: usize, target: usize) -> Option<f64> {
        let rows = data.rows_of_sequence(series, step)?;
        let s = &data.series[series];
        let known = |row: &usize| s.observed[target][*row] && s.targets[target][*row].is_finite();
        rows.rev().find(known).map(|row| s.targets[target][row])
    }

    /// The output of a target's point, the median where there are quantiles.
    fn point(&self, target: usize) -> usize {
        let median = self.quantiles.iter().position(|level| *level == 0.5).unwrap_or(0);
        median * self.targets.len() + target
    }

    /// Whether the loss counts in the target's own units.
    fn is_own(&self) -> bool {
        self.quantiles.is_empty() && matches!(self.loss, Loss::Smape | Loss::Msle)
    }

    /// Loss and slope of an output and what is wanted, both standardised; `units`: how the output becomes its own.
    fn entry(&self, output: usize, y: f64, wanted: f64, units: impl Fn() -> OwnUnits) -> (f64, f64) {
        match self.level(output) {
            Some(level) => loss::pinball(level, y - wanted),
            None if self.is_own() => units().entry(self.loss, y, wanted),
            None => loss::entry(self.loss, y - wanted),
        }
    }

    fn own_units(scaling: &Scaling, output: usize) -> OwnUnits {
        OwnUnits { factor: scaling.out_sd[output], shift: scaling.out_mean[output], log: false }
    }
}

impl Head for Value {
    fn columns(&self) -> &[String] {
        &self.targets
    }

    fn is_beside_values(&self) -> bool {
        true
    }

    fn outputs(&self) -> usize {
        self.targets.len() * self.quantiles.len().max(1)
    }

    fn reach(&self) -> usize {
        0
    }

    fn residual(&self) -> Vec<Input> {
        Vec::new()
    }

    fn quantiles(&self) -> Vec<String> {
        quantiles::outputs(&self.quantiles)
    }

    fn levels(&self) -> &[f64] {
        &self.quantiles
    }

    fn level(&self, output: usize) -> Option<f64> {
        self.quantiles.get(output / self.targets.len()).copied()
    }

    fn target(&self, data: &Dataset, series: usize, row: usize, output: usize) -> Option<f64> {
        let step = data.steps[series].rows.binary_search(&u32::try_from(row).ok()?).ok()?;
        self.truth(data, series, step, output % self.targets.len())
    }

    fn counts_own_units(&self) -> bool {
        self.is_own()
    }

    fn put_own(&self, _: &Dataset, scaling: &Scaling, _: (usize, usize), own: &mut [f32]) {
        for (output, own) in own.chunks_exact_mut(3).enumerate() {
            own.copy_from_slice(&Value::own_units(scaling, output).numbers());
        }
    }

    /// Of quantiles each one's own output counts, whether it crosses another one or not.
    fn loss(&self, y: &[f32], batch: &Examples, gradient: &mut Vec<f32>) -> f64 {
        let all = self.outputs();
        let entry = |at: usize, y: f32, wanted: f32| {
            let units = || OwnUnits::of(&batch.own[3 * at..3 * at + 3]);
            self.entry(at % all, f64::from(y), f64::from(wanted), units)
        };
        loss::entries(y, &batch.wanted, &batch.weight, gradient, entry)
    }

    fn add_loss(&self, data: &Dataset, scaling: &Scaling, origin: (usize, usize), y: &[f32], total: &mut (f64, f64)) {
        for (output, y) in y.iter().enumerate() {
            if let Some(truth) = self.truth(data, origin.0, origin.1, output % self.targets.len()) {
                let standard = |value: f64| (value - scaling.out_mean[output]) / scaling.out_sd[output];
                let units = || Value::own_units(scaling, output);
                total.0 += self.entry(output, standard(f64::from(*y)), standard(truth), units).0;
                total.1 += 1.0;
            }
        }
    }

    fn evaluate(&self, data: &Dataset, model: &Model) -> Result<Arc<dyn super::Evaluation>> {
        Ok(Arc::new(evaluation::evaluate(self, data, model)?))
    }

    fn describe(&self, manifest: &mut Manifest) {
        // No rows ahead: it is about the sequence itself.
        manifest.horizon = 0;
        manifest.targets.clone_from(&self.targets);
        manifest.quantiles.clone_from(&self.quantiles);
    }

    fn headline(&self) -> String {
        format!("tells {} of each sequence", self.targets.join(", "))
    }

    fn words(&self) -> Vec<(&'static str, String)> {
        vec![("loss", loss::text(self.loss, &self.quantiles))]
    }

    fn needs(&self) -> (String, &'static str) {
        (format!("a number in column \"{}\" in one of its rows", self.targets.join("\" or \"")), "the filters")
    }
}

#[cfg(test)]
mod tests;
