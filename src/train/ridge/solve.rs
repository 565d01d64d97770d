//! One ridge regression (Hoerl and Kennard 1970) from summed products, in closed form.
//! Must not live here: which one is the best (`choose`).

use super::cholesky;
use super::gram::{Gram, Space};

/// What is subtracted from every lag and added to the prediction, so that a level that moves does no harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// Nothing.
    Zero,
    /// The last value.
    Last,
    /// The mean of this many last values.
    Mean(usize),
}

/// A ridge regression to solve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    /// Lags of the target that it uses.
    pub lags: usize,
    /// What it subtracts.
    pub level: Level,
    /// Penalty of each squared weight, of standardised features.
    pub penalty: f64,
    /// Whether every key has weights of its own.
    pub per_key: bool,
}

impl Level {
    fn weights(self, lags: usize) -> Vec<f64> {
        let mut weights = vec![0.0; lags];
        match self {
            Level::Zero => {}
            Level::Last => weights[..1].fill(1.0),
            Level::Mean(n) => {
                let n = n.clamp(1, lags);
                weights[..n].fill(1.0 / n as f64);
            }
        }
        weights
    }
}

/// The weights of a candidate as a map of the features of `space`, [width, outputs], nothing subtracted any longer;
/// `None` where there is no example.
pub(super) fn solve(gram: &Gram, space: &Space, candidate: &Candidate) -> Option<Vec<f64>> {
    let (width, outputs, lags) = (space.width(), space.outputs.len(), candidate.lags);
    if gram.count < 1.0 {
        return None;
    }
    // The features that are used: the first lags, the others, 1.
    let used: Vec<usize> = (0..lags).chain(space.lags..width).collect();
    let n = used.len();
    let level = candidate.level.weights(lags);
    let of_level = |column: &dyn Fn(usize) -> f64| -> f64 {
        level.iter().enumerate().filter(|(_, weight)| **weight != 0.0).map(|(j, weight)| weight * column(j)).sum()
    };
    // Products of each feature, and of each target, with the level.
    let xl: Vec<f64> = used.iter().map(|i| of_level(&|j| gram.xx[i * width + j])).collect();
    let ly: Vec<f64> = (0..outputs).map(|h| of_level(&|j| gram.xy[j * outputs + h])).collect();
    let ll = of_level(&|j| xl[j]);
    let mut a = vec![0.0; n * n];
    let mut b = vec![0.0; n * outputs];
    for (row, i) in used.iter().enumerate() {
        let is_lag = row < lags;
        for (column, j) in used.iter().enumerate() {
            let mut value = gram.xx[i * width + j];
            value -= if is_lag { xl[column] } else { 0.0 } + if column < lags { xl[row] } else { 0.0 };
            a[row * n + column] = value + if is_lag && column < lags { ll } else { 0.0 };
        }
        for h in 0..outputs {
            let value = gram.xy[i * outputs + h] - xl[row];
            b[row * outputs + h] = value - if is_lag { ly[h] - ll } else { 0.0 };
        }
    }
    let size = (0..lags).map(|i| a[i * n + i]).sum::<f64>() / (lags as f64 * gram.count);
    let tiny = 1e-9 * gram.count.max(1.0);
    for row in 0..n {
        a[row * n + row] += match row {
            row if row + 1 == n => tiny,
            row if row < lags => candidate.penalty * size + tiny,
            _ => candidate.penalty + tiny,
        };
    }
    if !cholesky::solve(&mut a, &mut b, n) {
        return None;
    }
    let mut map = vec![0.0; width * outputs];
    for (row, i) in used.iter().enumerate() {
        map[i * outputs..(i + 1) * outputs].copy_from_slice(&b[row * outputs..(row + 1) * outputs]);
    }
    for h in 0..outputs {
        let sum: f64 = (0..lags).map(|row| b[row * outputs + h]).sum();
        for (j, weight) in level.iter().enumerate() {
            map[j * outputs + h] += weight * (1.0 - sum);
        }
    }
    Some(map)
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
        for level in [Level::Zero, Level::Last, Level::Mean(2), Level::Mean(9)] {
            let candidate = Candidate { lags: 3, level, penalty: 1e-9, per_key: false };
            let map = solve(&gram, &space(3), &candidate).unwrap();
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
        let candidate = |level| Candidate { lags: 3, level, penalty: 1e12, per_key: false };
        let mean = rows().iter().map(|(x, y)| y - x[0]).sum::<f64>() / gram.count;
        let map = solve(&gram, &space(3), &candidate(Level::Last)).unwrap();
        for (found, wanted) in map.iter().zip([1.0, 0.0, 0.0, mean]) {
            assert!((found - wanted).abs() < 1e-6, "{map:?}");
        }
        let map = solve(&gram, &space(3), &candidate(Level::Mean(2))).unwrap();
        assert!((map[0] - 0.5).abs() < 1e-6 && (map[1] - 0.5).abs() < 1e-6, "{map:?}");
    }
}
