//! Errors of forecasts, summed up.
//!
//! Lives here: MAE, RMSE, MSE, in a key's own units, in its standard deviations and as MASE. Must not live here: which
//! forecasts are compared (`evaluate`).

use super::dataset::Dataset;
use super::split::Subset;

/// Sums over the entries (origin, step, target) of one forecast.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Errors {
    /// Number of entries.
    pub count: u64,
    absolute: f64,
    squares: f64,
    /// In standard deviations of the key's target over its train part.
    standard_absolute: f64,
    standard_squares: f64,
    /// Of the error over the mean of both magnitudes.
    symmetric: f64,
}

impl Errors {
    /// Counts an entry in own units; `sd` is the standard deviation of the target over the train part.
    pub fn add(&mut self, predicted: f64, truth: f64, sd: f64) {
        let error = predicted - truth;
        self.count += 1;
        let size = (predicted.abs() + truth.abs()) / 2.0;
        self.symmetric += if size > 0.0 { error.abs() / size } else { 0.0 };
        self.absolute += error.abs();
        self.squares += error * error;
        let standard = error / sd;
        self.standard_absolute += standard.abs();
        self.standard_squares += standard * standard;
    }

    /// Adds other entries.
    pub fn merge(&mut self, other: &Errors) {
        self.count += other.count;
        self.absolute += other.absolute;
        self.squares += other.squares;
        self.standard_absolute += other.standard_absolute;
        self.standard_squares += other.standard_squares;
        self.symmetric += other.symmetric;
    }

    /// Symmetric mean absolute percentage error as M4 has it (Makridakis et al. 2020), 0 to 200.
    pub fn smape(&self) -> f64 {
        100.0 * self.symmetric / self.count as f64
    }

    /// Mean absolute error; NaN without entries, as all of them.
    pub fn mae(&self) -> f64 {
        self.absolute / self.count as f64
    }

    /// Mean squared error.
    pub fn mse(&self) -> f64 {
        self.squares / self.count as f64
    }

    /// Root of the mean squared error.
    pub fn rmse(&self) -> f64 {
        self.mse().sqrt()
    }

    /// Mean absolute error of z-scores.
    pub fn standard_mae(&self) -> f64 {
        self.standard_absolute / self.count as f64
    }

    /// Mean squared error of z-scores: what the literature reports for ETT.
    pub fn standard_mse(&self) -> f64 {
        self.standard_squares / self.count as f64
    }
}

/// What errors over several keys are counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// The target's own unit.
    Own,
    /// Standard deviations of each key's target.
    Standard,
}

impl Unit {
    /// Mean absolute error.
    pub fn mae(self, errors: &Errors) -> f64 {
        match self {
            Unit::Own => errors.mae(),
            Unit::Standard => errors.standard_mae(),
        }
    }

    /// Root of the mean squared error.
    pub fn rmse(self, errors: &Errors) -> f64 {
        match self {
            Unit::Own => errors.rmse(),
            Unit::Standard => errors.standard_mse().sqrt(),
        }
    }
}

/// The same entries forecast in each way.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Compared {
    /// By the model.
    pub model: Errors,
    /// By the last value.
    pub last: Errors,
    /// By the value a season ago; empty without a season.
    pub seasonal: Errors,
    /// By the line through the first and the last value.
    pub drift: Errors,
    /// By the linear path alone; empty without `skip: ridge`.
    pub ridge: Errors,
}

impl Compared {
    /// Adds other entries.
    pub fn merge(&mut self, other: &Compared) {
        self.model.merge(&other.model);
        self.last.merge(&other.last);
        self.seasonal.merge(&other.seasonal);
        self.drift.merge(&other.drift);
        self.ridge.merge(&other.ridge);
    }

    /// The other forecasts that are better than the model, in words.
    pub fn beaten_by(&self, unit: Unit) -> Option<String> {
        let model = unit.mae(&self.model);
        let better: Vec<&str> = [
            ("the last value", &self.last),
            ("the season ago", &self.seasonal),
            ("the drift", &self.drift),
            ("ridge alone", &self.ridge),
        ]
        .into_iter()
        .filter(|(_, errors)| errors.count > 0 && unit.mae(errors) < model)
        .map(|(name, _)| name)
        .collect();
        (!better.is_empty()).then(|| better.join(", "))
    }

    /// The mean absolute error of the better of last value and season ago.
    pub fn best_naive(&self, unit: Unit) -> f64 {
        let seasonal = if self.seasonal.count > 0 { unit.mae(&self.seasonal) } else { f64::INFINITY };
        unit.mae(&self.last).min(seasonal)
    }
}

/// Errors of one key.
#[derive(Debug, Clone)]
pub struct KeyErrors {
    /// Index of its series.
    pub series: usize,
    /// The key.
    pub key: String,
    /// Per target.
    pub targets: Vec<Compared>,
    /// Per target, the scale of MASE.
    pub mase_scale: Vec<Option<f64>>,
}

/// Standard deviation of a target over the observed rows of the train part; `None` where there is none.
pub(super) fn train_sd(data: &Dataset, series: std::ops::Range<usize>, target: usize) -> Option<f64> {
    let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
    for index in series {
        let s = &data.series[index];
        for (row, value) in s.targets[target].iter().enumerate() {
            if data.rows[index][row] == Some(Subset::Train) && s.observed[target][row] && value.is_finite() {
                count += 1.0;
                let away = value - mean;
                mean += away / count;
                squares += away * (value - mean);
            }
        }
    }
    let sd = f64::sqrt(squares / count);
    (sd > 1e-9 * mean.abs()).then_some(sd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_by_hand() {
        let mut errors = Errors::default();
        errors.add(4.0, 1.0, 2.0);
        let mut other = Errors::default();
        other.add(2.0, 3.0, 2.0);
        errors.merge(&other);
        assert_eq!((errors.count, errors.mae(), errors.mse(), errors.rmse()), (2, 2.0, 5.0, 5.0_f64.sqrt()));
        assert_eq!((errors.standard_mae(), errors.standard_mse()), (1.0, 1.25));
        assert!((errors.smape() - 100.0 * (3.0 / 2.5 + 1.0 / 2.5) / 2.0).abs() < 1e-12);
    }
}
