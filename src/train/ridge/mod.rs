//! The linear path of a forecast, fitted in closed form: ridge regressions on the target's lags and the inputs.
//!
//! Lives here: what a linear map of the past can do, and that map as the network's skip path; the network is then
//! trained on what it leaves. Must not live here: the training of the network (`fit`).

mod cholesky;
mod choose;
mod gram;
mod seasons;
mod solve;
mod spread;
#[cfg(test)]
mod tests;

use choose::{Members, Sums};
use gram::{Gram, Space};

use super::dataset::Dataset;
use super::scaling::{Moments, Scaling};
use super::split::Subset;
use super::{Plan, head::forecast::Forecast};
use crate::error::counted;
use crate::model::Input;
use crate::network::Architecture;

/// Lags at most, unless the pipeline asks for more.
const MOST_LAGS: usize = 504;
/// Rows of the train part that a key should have for each lag.
const ROWS_PER_LAG: usize = 4;
/// Outputs of a target that are judged at most where regressions are chosen.
const MOST_JUDGED: usize = 32;
/// Keys at most for each of which weights of its own are tried.
const MOST_KEYS: usize = 64;

/// What was chosen for a target; the same data gives the same choice.
#[derive(Debug, Clone)]
pub struct Choice {
    space: Space,
    members: Members,
}

/// The linear path of all outputs, in the network's units: `y = x[inputs] kernel + constant`.
#[derive(Debug, Clone, PartialEq)]
pub struct Linear {
    /// Per group of keys, [inputs, outputs]; one of them: the same for all keys.
    pub kernels: Vec<Vec<f64>>,
    /// Per group, [outputs].
    pub constants: Vec<Vec<f64>>,
}

impl Choice {
    /// In words: how much of the past it reads, and whether each key has its own.
    pub fn text(&self) -> String {
        let per_key = if self.is_per_key() { ", some per key" } else { "" };
        let (regressions, rows) = (counted(self.members.len(), "ridge regression"), counted(self.space.lags, "row"));
        format!("the mean of {regressions} over up to {rows}{per_key}")
    }

    fn is_per_key(&self) -> bool {
        self.members.iter().any(|(candidate, _)| candidate.per_key)
    }
}

/// The lags and regressions of each target, chosen on the validation part.
pub fn choose(data: &Dataset, head: &Forecast) -> Vec<Choice> {
    let most = data.plan.lags.unwrap_or_else(|| most_lags(data));
    let tried = choose::lags(most, head.season());
    (0..head.targets.len())
        .map(|target| {
            let space = space(data, head, target, most);
            let all = space.outputs.len();
            let judged = MOST_JUDGED.min(all);
            let outputs: Vec<usize> = (1..=judged).map(|i| space.outputs[i * all / judged - 1]).collect();
            let ahead = outputs.iter().map(|output| head.step_and_target(*output).0).collect();
            let thinned = Space { outputs, ahead, ..space.clone() };
            let members = choose::choose(&sums(data, &thinned), &thinned, (&tried, head.season()), observations(data));
            let lags = members.iter().map(|(candidate, _)| candidate.lags).max().unwrap_or(1);
            // Without weights per key there is one map for all, in the network's units.
            let in_own_units = members.iter().any(|(candidate, _)| candidate.per_key);
            Choice { space: Space { lags, in_own_units, ..space }, members }
        })
        .collect()
}

/// Observations of the validation part that say something of their own. Errors of forecasts that overlap hang together:
/// a horizon of a key is one. Keys hang together too, none knows how much: their number counts between once and fully.
fn observations(data: &Dataset) -> f64 {
    let rows = rows_of_keys(data, Subset::Validation);
    median(&rows) as f64 / data.plan.head.reach().max(1) as f64 * (rows.len() as f64).sqrt()
}

/// Examples of a part, of each key that has any, ascending.
fn rows_of_keys(data: &Dataset, part: Subset) -> Vec<usize> {
    let mut rows: Vec<usize> =
        (0..data.series.len()).map(|series| data.origins(series, part).count()).filter(|n| *n > 0).collect();
    rows.sort_unstable();
    rows
}

fn median(sorted: &[usize]) -> usize {
    sorted.get(sorted.len() / 2).copied().unwrap_or(0)
}

/// Lags that the train part has the rows for: of the key with the median number of them.
fn most_lags(data: &Dataset) -> usize {
    (median(&rows_of_keys(data, Subset::Train)) / ROWS_PER_LAG).clamp(1, MOST_LAGS)
}

fn space(data: &Dataset, head: &Forecast, target: usize, lags: usize) -> Space {
    let own = Input::now(&head.targets[target]);
    let others = &data.plan.architecture.skip;
    let others: Vec<usize> = others.iter().copied().filter(|i| data.plan.inputs[*i] != own).collect();
    let (mut unit, mut own_units) = (Moments::default(), Vec::new());
    let mut units = vec![Moments::default(); others.len()];
    for series in 0..data.series.len() {
        let mut of_key = Moments::default();
        for row in &data.steps[series].rows {
            let row = *row as usize;
            if data.rows[series][row] == Some(Subset::Train) {
                of_key.add(data.lagged(series, row, target, 0));
                let own = data.captured(series, row);
                units.iter_mut().zip(&others).for_each(|(unit, i)| unit.add(f64::from(own[*i])));
            }
        }
        unit.merge(of_key);
        own_units.push(of_key);
    }
    let unit = unit.finish();
    // A key that hardly moves, or has no row to learn from, must not outweigh all others.
    let own = own_units.into_iter().map(|own| match own.raw() {
        (mean, sd) if own.count > 1.0 && sd > 0.01 * unit.1 => (mean, sd),
        (mean, _) => (if own.count > 0.0 { mean } else { unit.0 }, unit.1),
    });
    // Quantiles have the same path.
    let outputs: Vec<usize> = (0..head.points()).filter(|output| head.step_and_target(*output).1 == target).collect();
    Space {
        target,
        lags,
        others,
        unit,
        own: own.collect(),
        in_own_units: data.series.len() <= MOST_KEYS,
        other_units: units.into_iter().map(Moments::finish).collect(),
        ahead: outputs.iter().map(|output| head.step_and_target(*output).0).collect(),
        outputs,
    }
}

fn sums(data: &Dataset, space: &Space) -> Sums {
    let keys = data.series.len();
    let of = |part| -> Vec<Gram> {
        if keys <= MOST_KEYS {
            return (0..keys).map(|series| Gram::of(data, space, series, part)).collect();
        }
        let mut pooled = Gram::zeros(space.width(), space.outputs.len());
        (0..keys).for_each(|series| pooled.merge(&Gram::of(data, space, series, part)));
        vec![pooled]
    };
    Sums { train: of(Subset::Train), validation: of(Subset::Validation) }
}

/// The plan with the linear path's inputs: every lag that a choice uses; with regressions of every key, its keys.
pub fn plan(data: &Dataset, head: &Forecast, choices: &[Choice]) -> Plan {
    let mut plan = data.plan.clone();
    let mut skip = Vec::new();
    for choice in choices {
        for lag in 0..choice.space.lags {
            let input = Input::filled(&head.targets[choice.space.target], lag as u32);
            skip.push(plan.feature(input));
        }
        for other in &choice.space.others {
            if !skip.contains(other) {
                skip.push(*other);
            }
        }
    }
    plan.architecture.skip = skip;
    plan.architecture.features = plan.inputs.len();
    if choices.iter().any(Choice::is_per_key) {
        plan.keys = data.series.iter().map(|series| series.key.clone()).collect();
        plan.architecture.groups = plan.keys.len() + 1;
    }
    plan
}

/// The chosen regressions fitted to the train part, for a plan of [`plan`].
pub fn fit(data: &Dataset, choices: &[Choice]) -> Linear {
    let (shape, outputs) = (&data.plan.architecture, data.plan.head.outputs());
    let groups = shape.groups.max(1);
    let mut linear = Linear {
        kernels: vec![vec![0.0; shape.skip.len() * outputs]; groups],
        constants: vec![vec![0.0; outputs]; groups],
    };
    for Choice { space, members } in choices {
        let mut pooled = Gram::zeros(space.width(), space.outputs.len());
        let mut grams = Vec::new();
        for series in 0..data.series.len() {
            let gram = Gram::of(data, space, series, Subset::Train);
            pooled.merge(&gram);
            // Only where they are needed apart: one has lags² numbers.
            grams.extend((shape.groups > 0).then_some(gram));
        }
        let [shared, own @ ..] = &averaged(&pooled, &grams, space, members)[..] else { continue };
        add(&mut linear, (0, space.unit), data, space, shared);
        for (series, own) in own.iter().enumerate() {
            let place = (data.groups[series] as usize, space.unit_of(series).0);
            add(&mut linear, place, data, space, own);
        }
    }
    if let Some(head) = data.plan.head.forecast().filter(|head| !head.quantiles.is_empty()) {
        spread::spread(data, head, &mut linear);
    }
    linear
}

/// The average of the members' maps: of all keys together, then of each of `grams`. Those per key are of the key itself
/// where it has examples enough.
fn averaged(pooled: &Gram, grams: &[Gram], space: &Space, members: &Members) -> Vec<Vec<f64>> {
    let mut maps = vec![vec![0.0; space.width() * space.outputs.len()]; 1 + grams.len()];
    for (candidate, weight) in members {
        let shared = solve::solve(pooled, space, candidate).unwrap_or_else(|| vec![0.0; maps[0].len()]);
        for (map, gram) in maps.iter_mut().zip(std::iter::once(None).chain(grams.iter().map(Some))) {
            let own = gram.filter(|gram| candidate.is_own(gram));
            let own = own.and_then(|gram| solve::solve(gram, space, candidate));
            let of = own.as_ref().unwrap_or(&shared);
            map.iter_mut().zip(of).for_each(|(sum, value)| *sum += weight * value);
        }
    }
    maps
}

/// Writes a map of standardised features as the kernel of a group, in the network's units.
fn add(linear: &mut Linear, (group, (mean, sd)): (usize, (f64, f64)), data: &Dataset, space: &Space, map: &[f64]) {
    let (shape, outputs) = (&data.plan.architecture, data.plan.head.outputs());
    let column = &data.plan.head.columns()[space.target];
    let place = |feature: usize| shape.skip.iter().position(|index| *index == feature);
    let of_lag = |lag: usize| {
        let input = Input::filled(column, lag as u32);
        data.plan.inputs.iter().position(|known| *known == input).and_then(place)
    };
    let lags: Vec<Option<usize>> = (0..space.lags).map(of_lag).collect();
    let width = space.width();
    let points = outputs / shape.quantiles.len().max(1);
    for (h, output) in space.outputs.iter().enumerate() {
        let weight = |i: usize| map[i * space.outputs.len() + h];
        let of_quantiles = || (*output..outputs).step_by(points);
        let mut constant = mean + weight(width - 1) * sd;
        let mut put = |at: Option<usize>, value: f64| {
            if let Some(at) = at {
                of_quantiles().for_each(|output| linear.kernels[group][at * outputs + output] += value);
            }
        };
        for (lag, at) in lags.iter().enumerate() {
            put(*at, weight(lag));
            constant -= weight(lag) * mean;
        }
        for (i, (other, (other_mean, other_sd))) in space.others.iter().zip(&space.other_units).enumerate() {
            let value = weight(space.lags + i) * sd / other_sd;
            put(place(*other), value);
            constant -= value * other_mean;
        }
        // What is added to the output unscaled is one of the lags: the path makes the rest.
        if let Some(added) = shape.residual.get(*output) {
            put(place(*added), -1.0);
        }
        of_quantiles().for_each(|output| linear.constants[group][output] += constant);
    }
}

impl Linear {
    /// Kernel and bias of the skip path between standardised inputs and outputs, and the outputs' mean that it needs.
    /// Their standard deviation stays that of the targets: losses mean the same whatever the path is.
    pub fn standardised(&self, scaling: &mut Scaling, shape: &Architecture) -> (Vec<f32>, Vec<f32>) {
        let outputs = shape.outputs;
        let f32s = |values: &[f64]| values.iter().map(|value| f64::from(*value as f32)).collect::<Vec<f64>>();
        let (mut kernel, mut constants) = (Vec::new(), Vec::new());
        for (weights, constant) in self.kernels.iter().zip(&self.constants) {
            let mut constant = constant.clone();
            for (feature, row) in shape.skip.iter().zip(weights.chunks_exact(outputs)) {
                for (output, weight) in row.iter().enumerate() {
                    kernel.push((weight * scaling.sd[*feature] / scaling.out_sd[output]) as f32);
                    constant[output] += weight * scaling.mean[*feature];
                }
            }
            constants.push(constant);
        }
        scaling.out_mean = f32s(&constants[0]);
        let of_group = |constant: &Vec<f64>| -> Vec<f32> {
            let left = constant.iter().zip(&scaling.out_mean).zip(&scaling.out_sd);
            left.map(|((constant, mean), sd)| ((constant - mean) / sd) as f32).collect()
        };
        (kernel, constants.iter().flat_map(of_group).collect())
    }
}
