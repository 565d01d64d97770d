//! Regressions that read a few numbers of each season instead of every lag: rows at the phase of the row that is
//! forecast, and means (after Lin et al. 2024, arXiv 2405.00946, in closed form and with weights of its own for every
//! step). So few weights need little data, and look far back without learning noise.
//!
//! Lives here: the normal equations of these features, from those of the lags. Must not live here: solving them, and
//! what is subtracted (`solve`).
//!
//! A row h ahead has the phase of lag l where h + l is a multiple of the season: all outputs whose h leaves the same
//! remainder read the same lags.

use super::gram::Space;
use super::solve::Equations;

/// The equations of a regression that reads of each of the last seasons the row at the phase and, with means, its mean
/// and the last value of all: apart for each phase.
#[derive(Debug, Clone)]
pub(super) struct Seasons {
    season: usize,
    /// Lags, and columns of the equations of the lags.
    lags: (usize, usize),
    /// Columns of means that follow the lags.
    means: usize,
    outputs: usize,
    phases: Vec<Phase>,
}

#[derive(Debug, Clone)]
struct Phase {
    /// Columns that are read, among the lags, the means and the rest.
    used: Vec<usize>,
    outputs: Vec<usize>,
    equations: Equations,
}

impl Seasons {
    /// From the equations of the lags.
    pub fn of(lags: &Equations, space: &Space, season: usize, means: bool) -> Seasons {
        let outputs = space.outputs.len();
        let extended = with_means(lags, season, outputs);
        let mut phases = Vec::new();
        for phase in 0..season {
            let of_phase: Vec<usize> =
                (0..outputs).filter(|h| (space.ahead[*h] + phase).is_multiple_of(season)).collect();
            if of_phase.is_empty() {
                continue;
            }
            let mut past: Vec<usize> = (phase..lags.past).step_by(season).collect();
            if means {
                past.extend((phase > 0).then_some(0));
                past.extend(lags.past..extended.past);
            }
            let used: Vec<usize> = past.iter().copied().chain(extended.past..extended.width).collect();
            let equations = part(&extended, &used, past.len(), &of_phase, outputs);
            phases.push(Phase { used, outputs: of_phase, equations });
        }
        let means = extended.past - lags.past;
        Seasons { season, lags: (lags.past, lags.width), means, outputs, phases }
    }

    /// The weights, spread over the lags: [lags + others + 1, outputs]; see [`Equations::solve`].
    pub fn solve(&self, penalty: f64, constant: bool) -> Option<Vec<f64>> {
        let (lags, width) = self.lags;
        let means_at = lags..lags + self.means;
        let mut weights = vec![0.0; width * self.outputs];
        for Phase { used, outputs, equations } in &self.phases {
            let solved = equations.clone().solve(penalty, constant)?;
            for (row, i) in used.iter().enumerate() {
                for (column, h) in outputs.iter().enumerate() {
                    let value = solved[row * outputs.len() + column];
                    let mut put = |at: usize, value: f64| weights[at * self.outputs + h] += value;
                    if means_at.contains(i) {
                        let first = (i - lags) * self.season;
                        (first..first + self.season).for_each(|lag| put(lag, value / self.season as f64));
                    } else {
                        put(if *i < lags { *i } else { i - self.means }, value);
                    }
                }
            }
        }
        Some(weights)
    }
}

/// The equations with the mean of each whole season as columns after the lags.
fn with_means(lags: &Equations, season: usize, outputs: usize) -> Equations {
    let seasons = lags.past / season;
    let width = lags.width + seasons;
    let column = |of: usize| if of < lags.past { of } else { of + seasons };
    let mut extended = Equations {
        past: lags.past + seasons,
        width,
        a: vec![0.0; width * width],
        b: vec![0.0; width * outputs],
        count: lags.count,
    };
    let share = 1.0 / season as f64;
    let mean_of = |lag: usize| (lag < seasons * season).then(|| lags.past + lag / season);
    for i in 0..lags.width {
        for j in 0..lags.width {
            let value = lags.a[i * lags.width + j];
            let mut add = |i: usize, j: usize, value: f64| extended.a[i * width + j] += value;
            add(column(i), column(j), value);
            let (i_mean, j_mean) = (mean_of(i), mean_of(j));
            i_mean.into_iter().for_each(|i| add(i, column(j), share * value));
            j_mean.into_iter().for_each(|j| add(column(i), j, share * value));
            i_mean.zip(j_mean).into_iter().for_each(|(i, j)| add(i, j, share * share * value));
        }
        for h in 0..outputs {
            let value = lags.b[i * outputs + h];
            extended.b[column(i) * outputs + h] += value;
            mean_of(i).into_iter().for_each(|i| extended.b[i * outputs + h] += share * value);
        }
    }
    extended
}

/// The equations of some columns, the first `past` of them of the past, and some outputs.
fn part(of: &Equations, used: &[usize], past: usize, outputs: &[usize], all_outputs: usize) -> Equations {
    Equations {
        past,
        width: used.len(),
        a: used.iter().flat_map(|i| used.iter().map(move |j| of.a[i * of.width + j])).collect(),
        b: used.iter().flat_map(|i| outputs.iter().map(move |h| of.b[i * all_outputs + h])).collect(),
        count: of.count,
    }
}

#[cfg(test)]
mod tests {
    use super::super::cholesky;
    use super::super::gram::Gram;
    use super::super::solve::{Candidate, Level, Reads, solve as solved};
    use super::*;
    use crate::network::testing::Numbers;

    const LAGS: usize = 10;
    const SEASON: usize = 3;
    const AHEAD: [usize; 3] = [1, 2, 6];

    /// Rows of lags, the youngest first, and their targets.
    fn rows() -> Vec<(Vec<f64>, Vec<f64>)> {
        let noise: Vec<f64> = Numbers(5).take(120).map(f64::from).collect();
        let values: Vec<f64> = noise.iter().enumerate().map(|(t, noise)| (t % SEASON) as f64 + noise).collect();
        let row = |t: usize| {
            let lags = (0..LAGS).map(|lag| values[t - lag]).collect();
            (lags, AHEAD.iter().map(|ahead| values[t + ahead]).collect())
        };
        (LAGS..110).map(row).collect()
    }

    /// What a row is forecast by, read from its values one by one.
    fn features(lags: &[f64], ahead: usize, means: bool) -> (f64, Vec<f64>) {
        let level = lags[..SEASON].iter().sum::<f64>() / SEASON as f64;
        let phase = (SEASON - ahead % SEASON) % SEASON;
        let mut features: Vec<f64> = lags.iter().skip(phase).step_by(SEASON).copied().collect();
        if means {
            features.extend((phase > 0).then_some(lags[0]));
            features.extend(lags.chunks_exact(SEASON).map(|season| season.iter().sum::<f64>() / SEASON as f64));
        }
        features.iter_mut().for_each(|feature| *feature -= level);
        features.push(1.0);
        (level, features)
    }

    #[test]
    fn the_equations_of_sums_are_those_of_rows() {
        let (rows, penalty) = (rows(), 7.0);
        let mut gram = Gram::zeros(LAGS + 1, AHEAD.len());
        for (lags, targets) in &rows {
            let x: Vec<f64> = lags.iter().copied().chain([1.0]).collect();
            for i in 0..=LAGS {
                (0..=LAGS).for_each(|j| gram.xx[i * (LAGS + 1) + j] += x[i] * x[j]);
                (0..AHEAD.len()).for_each(|h| gram.xy[i * AHEAD.len() + h] += x[i] * targets[h]);
            }
            gram.count += 1.0;
        }
        let space = Space {
            target: 0,
            lags: LAGS,
            others: vec![],
            unit: (0.0, 1.0),
            own: vec![],
            in_own_units: false,
            other_units: vec![],
            outputs: (0..AHEAD.len()).collect(),
            ahead: AHEAD.to_vec(),
        };
        for means in [false, true] {
            let reads = if means { Reads::Seasons(SEASON) } else { Reads::Phases(SEASON) };
            let level = Level::Season(SEASON);
            let candidate = Candidate { reads, lags: LAGS, level, penalty, per_key: false, constant: true };
            let map = solved(&gram, &space, &candidate).unwrap();
            for (h, ahead) in AHEAD.iter().enumerate() {
                let n = features(&rows[0].0, *ahead, means).1.len();
                let (mut a, mut b) = (vec![0.0; n * n], vec![0.0; n]);
                for (lags, targets) in &rows {
                    let (level, x) = features(lags, *ahead, means);
                    for i in 0..n {
                        (0..n).for_each(|j| a[i * n + j] += x[i] * x[j]);
                        b[i] += x[i] * (targets[h] - level);
                    }
                }
                let size = (0..n - 1).map(|i| a[i * n + i]).sum::<f64>() / ((n - 1) as f64 * rows.len() as f64);
                (0..n - 1).for_each(|i| a[i * n + i] += penalty * size);
                assert!(cholesky::solve(&mut a, &mut b, n));
                for (lags, _) in rows.iter().step_by(9) {
                    let (level, x) = features(lags, *ahead, means);
                    let wanted = level + x.iter().zip(&b).map(|(x, weight)| x * weight).sum::<f64>();
                    let found: f64 =
                        lags.iter().chain(&[1.0]).enumerate().map(|(i, x)| x * map[i * AHEAD.len() + h]).sum();
                    assert!((found - wanted).abs() < 1e-6, "{means} {ahead}: {found} {wanted}");
                }
            }
        }
    }
}
