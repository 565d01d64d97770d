//! One ridge regression (Hoerl and Kennard 1970) from summed products, in closed form.
//! Must not live here: which one is the best (`choose`), what a regression reads of the seasons (`seasons`).

use super::gram::{Gram, Space};
use super::seasons::Seasons;
use super::{ROWS_PER_LAG, cholesky};

/// What is subtracted from every lag and added to the prediction, so that a level that moves does no harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// Nothing.
    Zero,
    /// The last value.
    Last,
    /// The mean of the last season.
    Season(usize),
    /// The mean of all lags that are read.
    All,
}

/// What a regression reads of the target's past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reads {
    /// Every lag.
    Lags,
    /// Of each season, with that many rows, the row at the phase of the one that is forecast.
    Phases(usize),
    /// These, the mean of each season, and the last value.
    Seasons(usize),
}

/// A ridge regression to solve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    pub reads: Reads,
    /// Lags of the target that it uses.
    pub lags: usize,
    /// What it subtracts.
    pub level: Level,
    /// Penalty of each squared weight, of standardised features.
    pub penalty: f64,
    /// Whether every key has weights of its own.
    pub per_key: bool,
    /// Whether it has a constant, which is a drift from the level.
    pub constant: bool,
}

impl Candidate {
    /// Whether the examples of a key alone are enough for its weights; else it has those of all keys.
    pub fn is_own(&self, of_key: &Gram) -> bool {
        let weights = match self.reads {
            Reads::Lags => self.lags,
            Reads::Phases(season) => self.lags / season,
            Reads::Seasons(season) => 2 * self.lags / season + 1,
        };
        self.per_key && of_key.count >= (ROWS_PER_LAG * weights) as f64
    }
}

impl Level {
    fn weights(self, lags: usize) -> Vec<f64> {
        let mean_of = match self {
            Level::Zero => 0,
            Level::Last => 1,
            Level::Season(season) => season.clamp(1, lags),
            Level::All => lags,
        };
        (0..lags).map(|lag| if lag < mean_of { 1.0 / mean_of as f64 } else { 0.0 }).collect()
    }
}

/// The normal equations of a regression: its first columns are lags or sums of them, with the level subtracted; then
/// come the other features, then 1.
#[derive(Debug, Clone)]
pub(super) struct Equations {
    /// Columns of the past.
    pub past: usize,
    /// Columns.
    pub width: usize,
    /// Sums of the products of the columns, [width, width].
    pub a: Vec<f64>,
    /// The same with the targets, less the level, [width, outputs].
    pub b: Vec<f64>,
    /// Examples.
    pub count: f64,
}

impl Equations {
    /// Of the first lags, all of them apart.
    fn of(gram: &Gram, space: &Space, lags: usize, level: &[f64]) -> Equations {
        let (all, outputs) = (space.width(), space.outputs.len());
        let used: Vec<usize> = (0..lags).chain(space.lags..all).collect();
        let width = used.len();
        let of_level = |column: &dyn Fn(usize) -> f64| -> f64 {
            level.iter().enumerate().filter(|(_, weight)| **weight != 0.0).map(|(j, weight)| weight * column(j)).sum()
        };
        // Products of each feature, and of each target, with the level.
        let xl: Vec<f64> = used.iter().map(|i| of_level(&|j| gram.xx[i * all + j])).collect();
        let ly: Vec<f64> = (0..outputs).map(|h| of_level(&|j| gram.xy[j * outputs + h])).collect();
        let ll = of_level(&|j| xl[j]);
        let mut a = vec![0.0; width * width];
        let mut b = vec![0.0; width * outputs];
        for (row, i) in used.iter().enumerate() {
            let is_lag = row < lags;
            for (column, j) in used.iter().enumerate() {
                let mut value = gram.xx[i * all + j];
                value -= if is_lag { xl[column] } else { 0.0 } + if column < lags { xl[row] } else { 0.0 };
                a[row * width + column] = value + if is_lag && column < lags { ll } else { 0.0 };
            }
            for h in 0..outputs {
                let value = gram.xy[i * outputs + h] - xl[row];
                b[row * outputs + h] = value - if is_lag { ly[h] - ll } else { 0.0 };
            }
        }
        Equations { past: lags, width, a, b, count: gram.count }
    }

    /// The weights, [width, outputs]; that of the constant is 0 without one. `None` where no number solves them.
    pub fn solve(mut self, penalty: f64, constant: bool) -> Option<Vec<f64>> {
        let (n, past) = (self.width, self.past);
        let size = (0..past).map(|i| self.a[i * n + i]).sum::<f64>() / (past as f64 * self.count);
        let tiny = 1e-9 * self.count.max(1.0);
        for row in 0..n {
            self.a[row * n + row] += match row {
                row if row + 1 == n => tiny,
                row if row < past => penalty * size + tiny,
                _ => penalty + tiny,
            };
        }
        if !constant {
            let outputs = self.b.len() / n;
            (0..n - 1).for_each(|i| (self.a[i * n + n - 1], self.a[(n - 1) * n + i]) = (0.0, 0.0));
            self.b[(n - 1) * outputs..].fill(0.0);
        }
        cholesky::solve(&mut self.a, &mut self.b, n).then_some(self.b)
    }
}

/// A regression whose equations stand: what is left to choose is how its weights are penalised.
pub(super) struct Regression<'a> {
    space: &'a Space,
    level: Vec<f64>,
    columns: Columns,
}

enum Columns {
    Lags(Equations),
    Seasons(Seasons),
}

impl<'a> Regression<'a> {
    /// Of the first lags; `None` where there is no example.
    pub fn of(gram: &Gram, space: &'a Space, (reads, level): (Reads, Level), lags: usize) -> Option<Regression<'a>> {
        if gram.count < 1.0 {
            return None;
        }
        let level = level.weights(lags);
        let of_lags = Equations::of(gram, space, lags, &level);
        let columns = match reads {
            Reads::Lags => Columns::Lags(of_lags),
            Reads::Phases(season) => Columns::Seasons(Seasons::of(&of_lags, space, season, false)),
            Reads::Seasons(season) => Columns::Seasons(Seasons::of(&of_lags, space, season, true)),
        };
        Some(Regression { space, level, columns })
    }

    /// The weights as a map of the features of the space, [width, outputs], nothing subtracted any longer; see
    /// [`Equations::solve`].
    pub fn solve(&self, penalty: f64, constant: bool) -> Option<Vec<f64>> {
        let weights = match &self.columns {
            Columns::Lags(equations) => equations.clone().solve(penalty, constant)?,
            Columns::Seasons(seasons) => seasons.solve(penalty, constant)?,
        };
        let (width, outputs, lags) = (self.space.width(), self.space.outputs.len(), self.level.len());
        let mut map = vec![0.0; width * outputs];
        for (row, i) in (0..lags).chain(self.space.lags..width).enumerate() {
            map[i * outputs..(i + 1) * outputs].copy_from_slice(&weights[row * outputs..(row + 1) * outputs]);
        }
        for h in 0..outputs {
            let sum: f64 = (0..lags).map(|row| weights[row * outputs + h]).sum();
            for (j, weight) in self.level.iter().enumerate() {
                map[j * outputs + h] += weight * (1.0 - sum);
            }
        }
        Some(map)
    }
}

/// The map of a candidate; see [`Regression::solve`].
pub(super) fn solve(gram: &Gram, space: &Space, candidate: &Candidate) -> Option<Vec<f64>> {
    let regression = Regression::of(gram, space, (candidate.reads, candidate.level), candidate.lags)?;
    regression.solve(candidate.penalty, candidate.constant)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::ridge::gram::dot;

    fn space(lags: usize) -> Space {
        Space {
            target: 0,
            lags,
            others: vec![],
            unit: (0.0, 1.0),
            own: vec![],
            in_own_units: false,
            other_units: vec![],
            outputs: vec![0],
            ahead: vec![1],
        }
    }

    fn gram(rows: &[(Vec<f64>, f64)]) -> Gram {
        let width = rows[0].0.len() + 1;
        let mut gram = Gram::zeros(width, 1);
        for (x, y) in rows {
            let x: Vec<f64> = x.iter().copied().chain([1.0]).collect();
            for i in 0..width {
                (0..width).for_each(|j| gram.xx[i * width + j] += x[i] * x[j]);
                gram.xy[i] += x[i] * y;
            }
            gram.yy[0] += y * y;
            gram.count += 1.0;
        }
        gram
    }

    fn candidate(level: Level, penalty: f64) -> Candidate {
        Candidate { reads: Reads::Lags, lags: 3, level, penalty, per_key: false, constant: true }
    }

    /// y = 0.5 x0 + 0.6 x1 - 0.1 x2 + 3: what a level is subtracted from has weights that add up to 1.
    fn rows() -> Vec<(Vec<f64>, f64)> {
        let x = |i: usize| (i as f64 * 1.7).sin() + (i as f64 * 0.31).cos() * 2.0;
        (3..60)
            .map(|i| {
                let lags = vec![x(i), x(i - 1), x(i - 2)];
                let y = 0.5 * lags[0] + 0.6 * lags[1] - 0.1 * lags[2] + 3.0;
                (lags, y)
            })
            .collect()
    }

    #[test]
    fn a_linear_relation_is_found_whatever_is_subtracted() {
        let gram = gram(&rows());
        for level in [Level::Zero, Level::Last, Level::Season(2), Level::All] {
            let map = solve(&gram, &space(3), &candidate(level, 1e-9)).unwrap();
            for (found, wanted) in map.iter().zip([0.5, 0.6, -0.1, 3.0]) {
                assert!((found - wanted).abs() < 1e-5, "{level:?}: {map:?}");
            }
            let loss = dot(&map, &gram.image(&map)) - 2.0 * gram.with_targets(&map) + gram.targets();
            assert!(loss.abs() < 1e-6, "{level:?}: {loss}");
        }
    }

    #[test]
    fn a_heavy_penalty_leaves_the_level() {
        let gram = gram(&rows());
        let mean = rows().iter().map(|(x, y)| y - x[0]).sum::<f64>() / gram.count;
        let map = solve(&gram, &space(3), &candidate(Level::Last, 1e12)).unwrap();
        for (found, wanted) in map.iter().zip([1.0, 0.0, 0.0, mean]) {
            assert!((found - wanted).abs() < 1e-6, "{map:?}");
        }
        let map = solve(&gram, &space(3), &candidate(Level::Season(2), 1e12)).unwrap();
        assert!((map[0] - 0.5).abs() < 1e-6 && (map[1] - 0.5).abs() < 1e-6, "{map:?}");
    }
}
