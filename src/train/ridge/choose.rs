//! Which ridge regressions are used: what they read, lags, level, penalty, pooled or per key, judged on the validation
//! part.
//!
//! There is one of each family, which is what a regression reads and what it subtracts; lags and penalty of each are
//! those that do best. They are averaged, each with its likelihood on the validation part as weight (Buckland, Burnham
//! and Augustin 1997, "Model selection: an integral part of inference"): loss^(-n / 2) for n observations. Over a long
//! validation part the best ones count. Over a few horizons all of them count, since the next months are never quite
//! like so few. A mean of linear maps is a linear map, so it costs nothing when it is served. All candidates are judged
//! from summed products alone, without another pass over the data.
//! Must not live here: solving one (`solve`), what the maps become (`mod`).

use super::gram::{Gram, Space, dot};
use super::solve::{Candidate, Level, Reads, Regression};

/// Penalties that are tried, for standardised features.
const PENALTIES: [f64; 5] = [3.0, 30.0, 300.0, 3_000.0, 30_000.0];
/// A shorter history is preferred up to this multiple of the least loss: every key keeps it.
const NEARLY: f64 = 1.001;
/// A regression with less than this share of the greatest weight is left out.
const COUNTS: f64 = 0.05;
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

/// Regressions that are averaged, with their weights, which add up to 1.
pub(super) type Members = Vec<(Candidate, f64)>;

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

/// What is read, and what is subtracted.
type Family = (Reads, Level);

fn families(season: Option<usize>) -> Vec<Family> {
    let mut levels = vec![Level::Last, Level::All];
    let mut reads = vec![Reads::Lags];
    if let Some(season) = season.filter(|season| *season > 1) {
        levels.push(Level::Season(season));
        reads.extend([Reads::Phases(season), Reads::Seasons(season)]);
    }
    let of = |reads: Reads| levels.iter().map(move |level| (reads, *level));
    std::iter::once((Reads::Lags, Level::Zero)).chain(reads.into_iter().flat_map(of)).collect()
}

/// Whether a family says something of its own with so many lags.
fn fits((reads, level): Family, lags: usize) -> bool {
    let enough = match reads {
        Reads::Lags => true,
        Reads::Phases(season) | Reads::Seasons(season) => lags >= 2 * season,
    };
    enough
        && match level {
            Level::Zero | Level::Last => true,
            Level::Season(season) => lags > season,
            Level::All => lags > 1,
        }
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

/// Chooses on the validation part, which holds so many observations. `tried` are numbers of lags.
pub(super) fn choose(
    sums: &Sums,
    space: &Space,
    (tried, season): (&[usize], Option<usize>),
    observations: f64,
) -> Members {
    let pooled = Sums::pooled(&sums.train, space);
    let judged = Sums::pooled(&sums.validation, space);
    let families = families(season);
    if judged.count < 1.0 {
        let lags = tried.last().copied().unwrap_or(1);
        let blind = |(reads, level)| Candidate { reads, lags, level, penalty: BLIND, per_key: false, constant: false };
        let fitting: Vec<Candidate> = families.into_iter().filter(|family| fits(*family, lags)).map(blind).collect();
        let weight = 1.0 / fitting.len() as f64;
        return fitting.into_iter().map(|candidate| (candidate, weight)).collect();
    }
    // A drift that was learned goes on for ever: each family is there without one too.
    let (mut level, mut drifting) = (Vec::new(), Vec::new());
    for family in families {
        let [without, with] = best_shared((&pooled, &judged), space, tried, family);
        level.extend(without);
        drifting.extend(with);
    }
    let shared = || level.iter().chain(&drifting);
    let own: Vec<Solved> = match sums.train.len() {
        1 => Vec::new(),
        _ => level.iter().filter_map(|shared| best_own(sums, space, tried, shared)).collect(),
    };
    shared().chain(&own).for_each(|solved| tracing::debug!(?solved.candidate, loss = solved.loss, "ridge"));
    let mean_of = |of: &[Weighted]| mean_loss(of, &sums.validation);
    let (mut members, mixed) = (weighted(shared(), observations), weighted(shared().chain(&own), observations));
    if mean_of(&mixed) < PER_KEY_GAINS * mean_of(&members) {
        members = mixed;
    }
    members.into_iter().map(|(solved, weight)| (solved.candidate, weight)).collect()
}

/// The best of a family for all keys together, among those of the shortest history that is nearly as good as any:
/// without a constant, and with one.
fn best_shared(
    (train, validation): (&Gram, &Gram),
    space: &Space,
    tried: &[usize],
    (reads, level): Family,
) -> [Option<Solved>; 2] {
    let mut of_lags = [Vec::new(), Vec::new()];
    for lags in tried.iter().copied().filter(|lags| fits((reads, level), *lags)) {
        let Some(regression) = Regression::of(train, space, (reads, level), lags) else { continue };
        for (constant, of_lags) in [false, true].into_iter().zip(&mut of_lags) {
            let of_penalty = |penalty: &f64| {
                let candidate = Candidate { reads, lags, level, penalty: *penalty, per_key: false, constant };
                let map = regression.solve(*penalty, constant)?;
                let loss = loss(validation, &map);
                Some(Solved { candidate, maps: vec![map], loss })
            };
            of_lags.extend(PENALTIES.iter().filter_map(of_penalty).reduce(better));
        }
    }
    of_lags.map(shortest)
}

/// The same family with weights for every key. A key has fewer examples than all together: its best penalty is another
/// one, and a longer history is of no use.
fn best_own(sums: &Sums, space: &Space, tried: &[usize], shared: &Solved) -> Option<Solved> {
    let Candidate { reads, level, constant, .. } = shared.candidate;
    let penalties = || PENALTIES.iter().copied().filter(|penalty| *penalty <= shared.candidate.penalty * 10.0);
    let of_lags = |lags: &usize| {
        let mut maps: Vec<Vec<Vec<f64>>> = penalties().map(|_| Vec::new()).collect();
        let of = |penalty: f64| Candidate { lags: *lags, penalty, per_key: true, ..shared.candidate };
        for gram in &sums.train {
            let own = of(0.0).is_own(gram).then(|| Regression::of(gram, space, (reads, level), *lags)).flatten();
            for (penalty, maps) in penalties().zip(&mut maps) {
                let map = own.as_ref().and_then(|own| own.solve(penalty, constant));
                maps.push(map.unwrap_or_else(|| shared.maps[0].clone()));
            }
        }
        let of_penalty = |(penalty, maps): (f64, Vec<Vec<f64>>)| {
            let candidate = of(penalty);
            let loss = sums.validation.iter().zip(&maps).map(|(gram, map)| loss(gram, map)).sum();
            Solved { candidate, maps, loss }
        };
        penalties().zip(maps).map(of_penalty).reduce(better)
    };
    let lags = tried.iter().filter(|lags| **lags <= shared.candidate.lags && fits((reads, level), **lags));
    shortest(lags.filter_map(of_lags).collect())
}

fn better(best: Solved, next: Solved) -> Solved {
    if next.loss < best.loss { next } else { best }
}

/// Of one for each number of lags, the first that is nearly as good as any.
fn shortest(of_lags: Vec<Solved>) -> Option<Solved> {
    let least = least(of_lags.iter());
    of_lags.into_iter().find(|solved| solved.loss <= NEARLY * least)
}

fn least<'a>(of: impl Iterator<Item = &'a Solved>) -> f64 {
    of.map(|solved| solved.loss).fold(f64::INFINITY, f64::min)
}

/// A candidate and its weight in the mean.
type Weighted<'a> = (&'a Solved, f64);

/// The weights of candidates that count: likelihoods, as if each family had been there from the start.
fn weighted<'a>(of: impl Iterator<Item = &'a Solved> + Clone, observations: f64) -> Vec<Weighted<'a>> {
    let least = least(of.clone());
    let likelihood = |loss: f64| if loss > least { (least / loss).powf(observations / 2.0) } else { 1.0 };
    let mut weighted: Vec<Weighted> = of.map(|solved| (solved, likelihood(solved.loss))).collect();
    weighted.retain(|(_, weight)| *weight >= COUNTS);
    let sum: f64 = weighted.iter().map(|(_, weight)| weight).sum();
    weighted.iter_mut().for_each(|(_, weight)| *weight /= sum);
    weighted
}

/// The loss of the mean of some candidates; infinite without one.
fn mean_loss(of: &[Weighted], validation: &[Gram]) -> f64 {
    let Some((first, _)) = of.first() else { return f64::INFINITY };
    let of_group = |(group, gram): (usize, &Gram)| {
        let mut mean = vec![0.0; first.map(group).len()];
        for (solved, share) in of {
            mean.iter_mut().zip(solved.map(group)).for_each(|(mean, weight)| *mean += share * weight);
        }
        loss(gram, &mean)
    };
    validation.iter().enumerate().map(of_group).sum()
}

/// The squared errors of a map, summed over the examples of a part. Where there are none the sums cancel: never below
/// 0, since nothing would be nearly as good as that.
fn loss(gram: &Gram, map: &[f64]) -> f64 {
    (dot(map, &gram.image(map)) - 2.0 * gram.with_targets(map) + gram.targets()).max(0.0)
}
