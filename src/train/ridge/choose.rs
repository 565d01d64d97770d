//! Which ridge regressions are used: lags, level, penalty, pooled or per key, judged on the validation part.
//!
//! All candidates are judged from summed products alone, without another pass over the data. The best ones are
//! averaged: a mean of linear maps is a linear map, so it costs nothing when it is served. Must not live here: solving
//! one (`solve`), what the maps become (`mod`).

use super::gram::{Gram, Space, dot};
use super::solve::{Candidate, Level, solve};

/// Penalties that are tried, for standardised features.
const PENALTIES: [f64; 5] = [3.0, 30.0, 300.0, 3_000.0, 30_000.0];
/// A shorter history is preferred up to this multiple of the least loss: every key keeps it.
const NEARLY: f64 = 1.001;
/// Weights for every key have to lower the loss to this share of the pooled ones': they make the graph larger.
const PER_KEY_GAINS: f64 = 0.99;
/// What is used where there is no validation part to choose on.
const BLIND: f64 = 300.0;

/// Sums of the products of each part; of every key apart where there are few enough.
#[derive(Debug)]
pub(super) struct Sums {
    /// Per group, the train part.
    pub train: Vec<Gram>,
    /// Per group, the validation part.
    pub validation: Vec<Gram>,
}

/// Regressions that are averaged, all with the same weight.
pub(super) type Members = Vec<Candidate>;

impl Sums {
    fn pooled(grams: &[Gram], space: &Space) -> Gram {
        let mut pooled = Gram::zeros(space.width(), space.outputs.len());
        grams.iter().for_each(|gram| pooled.merge(gram));
        pooled
    }
}

/// The lags that are tried where up to `most` can be used: multiples of the season, or a geometric series.
pub(super) fn lags(most: usize, season: Option<usize>) -> Vec<usize> {
    let season = season.filter(|season| (2..=most).contains(season));
    let mut tried: Vec<usize> = match season {
        Some(season) => [1, 2, 4, 7, 14, 21].iter().map(|n| n * season).collect(),
        None => vec![1, 4, 12, 24, 48, 96, 168, 336, 504],
    };
    tried.retain(|lags| *lags <= most);
    // Half as much again is worth another candidate.
    if tried.last().is_none_or(|last| most * 2 >= last * 3) {
        tried.push(most);
    }
    tried
}

/// A candidate with its maps: one for all groups, or one each.
struct Solved {
    candidate: Candidate,
    maps: Vec<Vec<f64>>,
    loss: f64,
}

impl Solved {
    fn map(&self, group: usize) -> &[f64] {
        self.maps.get(group).unwrap_or(&self.maps[0])
    }
}

/// Chooses on the validation part. `tried` are numbers of lags, `season` one more level to subtract.
pub(super) fn choose(sums: &Sums, space: &Space, tried: &[usize], season: Option<usize>) -> Members {
    let pooled = Sums::pooled(&sums.train, space);
    let judged = Sums::pooled(&sums.validation, space);
    let most = tried.last().copied().unwrap_or(1);
    if judged.count < 1.0 {
        return vec![Candidate { lags: most, level: Level::Last, penalty: BLIND, per_key: false }];
    }
    let mut found = Vec::new();
    for lags in tried {
        let mut levels = vec![Level::Zero, Level::Last, Level::Mean(*lags)];
        levels.extend(season.filter(|season| season < lags).map(Level::Mean));
        if *lags == 1 {
            levels.truncate(2);
        }
        for level in levels {
            found.extend(PENALTIES.iter().filter_map(|penalty| {
                let candidate = Candidate { lags: *lags, level, penalty: *penalty, per_key: false };
                let map = solve(&pooled, space, &candidate)?;
                let loss = loss(&judged, &map);
                Some(Solved { candidate, maps: vec![map], loss })
            }));
        }
    }
    let mut shared: Vec<Solved> = best_of_each(found);
    let mut own = Vec::new();
    if sums.train.len() > 1 {
        for solved in &shared {
            // A key has fewer examples than all together: its best penalty is another one.
            let of_penalty = |penalty: &f64| {
                let candidate = Candidate { penalty: *penalty, per_key: true, ..solved.candidate };
                let of_key = |gram| solve(gram, space, &candidate).unwrap_or_else(|| solved.maps[0].clone());
                let maps: Vec<Vec<f64>> = sums.train.iter().map(of_key).collect();
                let loss = sums.validation.iter().zip(&maps).map(|(gram, map)| loss(gram, map)).sum();
                Solved { candidate, maps, loss }
            };
            let penalties = PENALTIES.iter().filter(|penalty| **penalty <= solved.candidate.penalty * 10.0);
            own.extend(penalties.map(of_penalty).reduce(|best, next| if next.loss < best.loss { next } else { best }));
        }
    }
    shared.iter().chain(&own).for_each(|solved| tracing::debug!(?solved.candidate, loss = solved.loss, "ridge"));
    let (members, shared_loss) = mean_of_best(&mut shared, &sums.validation);
    if own.is_empty() {
        return members;
    }
    own.extend(shared);
    let (mixed, mixed_loss) = mean_of_best(&mut own, &sums.validation);
    if mixed_loss < PER_KEY_GAINS * shared_loss { mixed } else { members }
}

/// The mean of as many of the best candidates as does best, among those of the shortest history that is nearly as good
/// as any; and its loss. Equal weights, since weights that are fitted to the validation part do worse after it.
fn mean_of_best(candidates: &mut [Solved], validation: &[Gram]) -> (Members, f64) {
    candidates.sort_by(|a, b| a.loss.total_cmp(&b.loss));
    let products = Products::new(candidates, validation);
    let mut histories: Vec<usize> = candidates.iter().map(|solved| solved.candidate.lags).collect();
    histories.sort_unstable();
    histories.dedup();
    let best: Vec<(f64, Vec<usize>)> = histories
        .iter()
        .map(|most| {
            let within: Vec<usize> = (0..candidates.len()).filter(|i| candidates[*i].candidate.lags <= *most).collect();
            products.best_mean(&within)
        })
        .collect();
    let least = best.iter().map(|(loss, _)| *loss).fold(f64::INFINITY, f64::min);
    let Some((loss, chosen)) = best.into_iter().find(|(loss, _)| *loss <= least * NEARLY) else {
        return (Vec::new(), f64::INFINITY);
    };
    (chosen.into_iter().map(|i| candidates[i].candidate).collect(), loss)
}

/// What the loss of any mean of candidates is made of.
struct Products {
    /// Sums over the validation part of the products of two candidates' predictions, [candidates, candidates].
    pairs: Vec<Vec<f64>>,
    /// The same with the targets.
    with_targets: Vec<f64>,
    targets: f64,
}

impl Products {
    fn new(candidates: &[Solved], validation: &[Gram]) -> Products {
        let n = candidates.len();
        let (mut pairs, mut with_targets) = (vec![vec![0.0; n]; n], vec![0.0; n]);
        for (group, gram) in validation.iter().enumerate() {
            for (i, candidate) in candidates.iter().enumerate() {
                let map = candidate.map(group);
                let image = gram.image(map);
                with_targets[i] += gram.with_targets(map);
                for (pair, other) in pairs[i].iter_mut().zip(candidates) {
                    *pair += dot(other.map(group), &image);
                }
            }
        }
        Products { pairs, with_targets, targets: validation.iter().map(Gram::targets).sum() }
    }

    /// The least loss of a mean of the first few of some candidates, and which those are.
    fn best_mean(&self, of: &[usize]) -> (f64, Vec<usize>) {
        let (mut square, mut linear) = (0.0, 0.0);
        let mut best = (f64::INFINITY, 0);
        for (n, next) in of.iter().enumerate() {
            square += self.pairs[*next][*next] + 2.0 * of[..n].iter().map(|i| self.pairs[*next][*i]).sum::<f64>();
            linear += self.with_targets[*next];
            let n = (n + 1) as f64;
            let loss = square / (n * n) - 2.0 * linear / n + self.targets;
            if loss < best.0 {
                best = (loss, n as usize);
            }
        }
        (best.0, of[..best.1].to_vec())
    }
}

/// The squared errors of a map, summed over the examples of a part.
pub(super) fn loss(gram: &Gram, map: &[f64]) -> f64 {
    dot(map, &gram.image(map)) - 2.0 * gram.with_targets(map) + gram.targets()
}

/// Of each number of lags and level, the best penalty.
fn best_of_each(found: Vec<Solved>) -> Vec<Solved> {
    let mut best: Vec<Solved> = Vec::new();
    for solved in found {
        let Candidate { lags, level, .. } = solved.candidate;
        match best.iter_mut().find(|other| other.candidate.lags == lags && other.candidate.level == level) {
            Some(other) if solved.loss < other.loss => *other = solved,
            Some(_) => {}
            None => best.push(solved),
        }
    }
    best
}
