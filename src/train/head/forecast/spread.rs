//! How good quantiles are: pinball loss, the share of values below each, and how often and how closely an interval of
//! two of them holds what came.
//!
//! Lives here: the sums, and their names as metrics. Must not live here: which entries are counted (`evaluation`), how
//! they are shown (`intervals`).

use std::collections::BTreeMap;

use crate::network::quantiles;
use crate::train::loss::pinball;

/// Sums over entries of forecasts of some quantiles by one way. Those of a point are the same for each level.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Spread {
    /// Number of entries.
    pub count: u64,
    /// Per level, values that came and were not above it.
    below: Vec<u64>,
    /// Per level, pinball losses in own units and in standard deviations of the key.
    losses: Vec<(f64, f64)>,
    /// Per interval, values within it; its widths in own units and in standard deviations of the key.
    intervals: Vec<(u64, f64, f64)>,
}

/// Two levels as far from the median: places among the levels.
pub fn intervals(levels: &[f64]) -> Vec<(usize, usize)> {
    let of = |(low, level): (usize, &f64)| {
        let high = levels.iter().position(|other| *level < 0.5 && (level + other - 1.0).abs() < 1e-9)?;
        Some((low, high))
    };
    levels.iter().enumerate().filter_map(of).collect()
}

/// What part of all values an interval is to hold, in percent, for names and headings: `80`, `95`.
pub fn percent(levels: &[f64], (low, high): (usize, usize)) -> String {
    let share = (levels[high] - levels[low]) * 1e8;
    let text = (share.round() / 1e6).to_string();
    text.replace('.', "_")
}

impl Spread {
    /// Counts an entry: what came, the forecasts of each level, ascending, and the key's standard deviation.
    pub fn add(&mut self, levels: &[f64], truth: f64, forecasts: impl Fn(usize) -> f64, sd: f64) {
        self.count += 1;
        self.below.resize(levels.len(), 0);
        self.losses.resize(levels.len(), (0.0, 0.0));
        for (at, level) in levels.iter().enumerate() {
            let forecast = forecasts(at);
            self.below[at] += u64::from(truth <= forecast);
            let loss = pinball(*level, forecast - truth).0;
            self.losses[at].0 += loss;
            self.losses[at].1 += loss / sd;
        }
        let intervals = intervals(levels);
        self.intervals.resize(intervals.len(), (0, 0.0, 0.0));
        for (sum, (low, high)) in self.intervals.iter_mut().zip(intervals) {
            let (low, high) = (forecasts(low), forecasts(high));
            sum.0 += u64::from((low..=high).contains(&truth));
            sum.1 += high - low;
            sum.2 += (high - low) / sd;
        }
    }

    /// Adds other entries.
    pub fn merge(&mut self, other: &Spread) {
        self.count += other.count;
        self.below.resize(self.below.len().max(other.below.len()), 0);
        self.losses.resize(self.losses.len().max(other.losses.len()), (0.0, 0.0));
        self.intervals.resize(self.intervals.len().max(other.intervals.len()), (0, 0.0, 0.0));
        self.below.iter_mut().zip(&other.below).for_each(|(to, from)| *to += from);
        for (to, from) in self.losses.iter_mut().zip(&other.losses) {
            *to = (to.0 + from.0, to.1 + from.1);
        }
        for (to, from) in self.intervals.iter_mut().zip(&other.intervals) {
            *to = (to.0 + from.0, to.1 + from.1, to.2 + from.2);
        }
    }

    fn mean(&self, sum: Option<f64>) -> f64 {
        sum.map_or(f64::NAN, |sum| sum / self.count as f64)
    }

    /// Mean pinball loss of a level; `standard`: in standard deviations of each key. NaN without entries, as all here.
    pub fn pinball(&self, level: usize, standard: bool) -> f64 {
        self.mean(self.losses.get(level).map(|loss| if standard { loss.1 } else { loss.0 }))
    }

    /// The mean over all levels.
    pub fn mean_pinball(&self, standard: bool) -> f64 {
        let levels = self.losses.len();
        (0..levels).map(|level| self.pinball(level, standard)).sum::<f64>() / levels as f64
    }

    /// The share of values that were not above a level.
    pub fn below(&self, level: usize) -> f64 {
        self.mean(self.below.get(level).map(|below| *below as f64))
    }

    /// The share of values within an interval.
    pub fn coverage(&self, interval: usize) -> f64 {
        self.mean(self.intervals.get(interval).map(|sums| sums.0 as f64))
    }

    /// The mean width of an interval.
    pub fn width(&self, interval: usize, standard: bool) -> f64 {
        self.mean(self.intervals.get(interval).map(|sums| if standard { sums.2 } else { sums.1 }))
    }
}

/// The same entries forecast in each way.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Spreads {
    /// By the model.
    pub model: Spread,
    /// By the last value, as if it were each quantile.
    pub last: Spread,
    /// By the value a season ago; empty without a season.
    pub seasonal: Spread,
    /// By the linear path alone, with the model's calibration; empty without `skip: ridge`.
    pub ridge: Spread,
}

impl Spreads {
    /// Adds other entries.
    pub fn merge(&mut self, other: &Spreads) {
        self.model.merge(&other.model);
        self.last.merge(&other.last);
        self.seasonal.merge(&other.seasonal);
        self.ridge.merge(&other.ridge);
    }

    /// Every number of a target by name.
    pub fn metrics(&self, target: &str, levels: &[f64], metrics: &mut BTreeMap<String, f64>) {
        let mut put = |name: String, value: f64| metrics.insert(format!("{target}.{name}"), value);
        for (way, spread) in
            [("", &self.model), ("_last_value", &self.last), ("_seasonal", &self.seasonal), ("_ridge", &self.ridge)]
        {
            put(format!("pinball{way}"), spread.mean_pinball(false));
        }
        for (at, level) in levels.iter().enumerate() {
            let name = quantiles::name(*level);
            put(format!("pinball_{name}"), self.model.pinball(at, false));
            put(format!("below_{name}"), self.model.below(at));
        }
        for (at, interval) in intervals(levels).into_iter().enumerate() {
            let percent = percent(levels, interval);
            put(format!("coverage_{percent}"), self.model.coverage(at));
            put(format!("width_{percent}"), self.model.width(at, false));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_by_hand() {
        let levels = [0.1, 0.5, 0.9];
        assert_eq!((intervals(&levels), percent(&levels, (0, 2))), (vec![(0, 2)], "80".to_string()));
        let odd = [0.025, 0.3, 0.5, 0.975];
        assert_eq!((intervals(&odd), percent(&odd, (0, 3))), (vec![(0, 3)], "95".to_string()));
        let mut spread = Spread::default();
        // 4 lies within 2..6, 7 above it.
        spread.add(&levels, 4.0, |at| [2.0, 5.0, 6.0][at], 2.0);
        let mut other = Spread::default();
        other.add(&levels, 7.0, |at| [2.0, 5.0, 6.0][at], 2.0);
        spread.merge(&other);
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        near(spread.pinball(0, false), (0.1 * 2.0 + 0.1 * 5.0) / 2.0);
        near(spread.pinball(1, false), (0.5 + 0.5 * 2.0) / 2.0);
        near(spread.pinball(2, true), (0.1 * 2.0 + 0.9 * 1.0) / 2.0 / 2.0);
        near(spread.mean_pinball(false), (0.35 + 0.75 + 0.55) / 3.0);
        assert_eq!([0, 1, 2].map(|at| spread.below(at)), [0.0, 0.5, 0.5]);
        assert_eq!((spread.coverage(0), spread.width(0, false), spread.width(0, true)), (0.5, 4.0, 2.0));
        let spreads = Spreads { model: spread, ..Spreads::default() };
        let mut metrics = BTreeMap::new();
        spreads.metrics("v", &levels, &mut metrics);
        assert_eq!((metrics["v.coverage_80"], metrics["v.below_q90"], metrics["v.width_80"]), (0.5, 0.5, 4.0));
        assert!(metrics["v.pinball_ridge"].is_nan());
    }
}
