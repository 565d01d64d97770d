//! How unusual a row is among the last ones of its key, as a probability: ranks, without an assumption on how residuals
//! are distributed.
//!
//! Three numbers of a row are looked at: its absolute residual, the absolute mean of the newest `short` residuals, and
//! the distance of its value from the running median. Each has a p-value: the share of the last `long` rows of its key
//! whose number is at least as large, the row itself included. That is a conformal p-value: where rows come in random
//! order, it is below p in the share p of all rows (Vovk, Gammerman and Shafer 2005, "Algorithmic Learning in a Random
//! World", chapter 2). Rows that are equal share a rank by lot. The lot depends on the key and on the number of the row
//! alone, so it falls the same in each run.
//!
//! The smallest of the three is no p-value, as it has three chances, and they depend on each other. So its own rank
//! among the smallest ones of the rows before is taken: the minP method (Westfall and Young 1993, "Resampling-Based
//! Multiple Testing"), which is exact for any dependence where Bonferroni's factor of three is a bound. They are
//! counted by bins of 1/16 octave, and halved when there are twice as many as `long`. Nothing is extrapolated: of n
//! rows, none is rarer than one in n + 1.
//!
//! The anomaly score asks for more than a rank: how unusual the largest of all rows is, and whether the numbers agree.
//! It is the mean of two: -log10 of the smallest p-value, the evidence of one number alone; and the mean of -log10 of
//! all of them, as Fisher combines p-values (1932, "Statistical Methods for Research Workers").
//!
//! State per key: for each number one float32 per row of `long`, and the bins.

use super::score_season::{Profile, Season};
use crate::state::StateSpec;

/// Bins per octave, as bits of a float's mantissa.
const BITS: u32 = 4;
/// Bins, for 32 octaves from 1 down.
const BINS: usize = 32 << BITS;
/// Rows between two medians, where the ring is full: this share of it.
const MEDIANS: usize = 64;
/// Rows that a p-value needs.
const FEWEST: usize = 10;

/// How unusual a row is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rank {
    /// The share of rows that are at least as unusual.
    pub(super) tail: f64,
    /// The anomaly score.
    pub(super) score: f64,
    /// The smallest of the p-values, for comparing rows with each other: the more unusual, the smaller.
    pub(super) smallest: f64,
    /// The share of rows that are equal to this one in what it is unusual by.
    pub(super) equal: f64,
}

/// A ring of numbers and how many were ever put into it.
struct Ring<'a> {
    count: &'a mut u64,
    ring: &'a mut [f32],
}

/// A p-value by rank, and the share of equal numbers.
#[derive(Clone, Copy)]
pub(super) struct Share {
    p: f64,
    equal: f64,
}

impl Ring<'_> {
    fn filled(&self) -> &[f32] {
        &self.ring[..self.ring.len().min(*self.count as usize)]
    }

    fn push(&mut self, value: f32) {
        let length = self.ring.len() as u64;
        self.ring[(*self.count % length) as usize] = value;
        *self.count += 1;
    }
}

/// The p-value of a number among those of rows before. `of` makes such a number of what the ring holds.
///
/// A number that is larger than all before has a place below 1 / (n + 1), by how many times theirs it is. That is by
/// the mean of roots, in which earlier outliers count little.
fn share(ring: &[f32], x: f32, lot: f64, of: impl Fn(f32) -> f32) -> Option<Share> {
    if ring.len() < FEWEST || x.is_nan() {
        return None;
    }
    let (mut above, mut same) = (0_u32, 0_u32);
    for value in ring {
        let value = of(*value);
        above += u32::from(value > x);
        same += u32::from(value == x);
    }
    let all = ring.len() as f64 + 1.0;
    let rank = if above == 0 && same == 0 {
        let roots = ring.iter().map(|value| f64::from(of(*value) / x).sqrt()).sum::<f64>() / ring.len() as f64;
        roots * roots
    } else {
        f64::from(above) + lot * f64::from(same + 1)
    };
    Some(Share { p: rank / all, equal: f64::from(same) / all })
}

/// A number in [0, 1) that looks random: splitmix64 (Steele, Lea and Flood 2014).
fn lot(seed: u64) -> f64 {
    let mut z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ z >> 31) >> 11) as f64 / (1_u64 << 53) as f64
}

/// A key's rows so far.
pub(super) struct Ranks<'a> {
    /// Of the key: what its lots depend on.
    seed: u64,
    values: Ring<'a>,
    median: &'a mut f64,
    means: Ring<'a>,
    /// Rows in the bins.
    ranked: &'a mut f64,
    bins: &'a mut [f32],
}

/// A mean of one residual says what the residual says.
fn means(long: usize, short: usize) -> usize {
    if short > 1 { long } else { 0 }
}

/// Words of what a [`Ranks`] lies over.
pub(super) fn words(long: usize, short: usize) -> usize {
    4 + long.div_ceil(2) + means(long, short).div_ceil(2) + BINS / 2
}

/// Adds what a [`Ranks`] lies over.
pub(super) fn add(spec: StateSpec, long: usize, short: usize) -> StateSpec {
    spec.u64("values.count", 0)
        .f64("values.median", 0.0)
        .u64("means.count", 0)
        .f64("ranks.count", 0.0)
        .f32s("values", long)
        .f32s("means", means(long, short))
        .f32s("ranks", BINS)
}

impl<'a> Ranks<'a> {
    /// A view of a key's part of the row.
    pub(super) fn of(words: &'a mut [u64], long: usize, short: usize, seed: u64) -> Option<Self> {
        let [values, median, count, ranked, rest @ ..] = words else { return None };
        let (ring, rest) = rest.split_at_mut_checked(long.div_ceil(2))?;
        let (of_means, bins) = rest.split_at_mut_checked(means(long, short).div_ceil(2))?;
        Some(Ranks {
            seed: lot(seed).to_bits(),
            values: Ring { count: values, ring: floats(ring, long) },
            median: bytemuck::cast_mut(median),
            means: Ring { count, ring: floats(of_means, means(long, short)) },
            ranked: bytemuck::cast_mut(ranked),
            bins: floats(bins, BINS),
        })
    }

    /// The random number of the next row, which orders equal values. `of` numbers what it is used for, from 0 to 3.
    fn lot(&self, of: u64) -> f64 {
        lot(self.seed ^ (*self.values.count << 2 | of))
    }

    /// The p-value of a residual among those before it.
    pub(super) fn residual(&self, before: &[f32], residual: f32) -> Option<Share> {
        share(before, residual.abs(), self.lot(0), f32::abs)
    }

    /// The p-value of the mean of the newest residuals, the row's included. It is taken in.
    pub(super) fn mean(&mut self, mean: f64) -> Option<Share> {
        if self.means.ring.is_empty() {
            return None;
        }
        let mean = mean.abs() as f32;
        let found = share(self.means.filled(), mean, self.lot(1), |mean| mean);
        self.means.push(mean);
        found
    }

    /// The p-value of a value's distance from the median of those before. It is taken in, so it comes last of a row.
    pub(super) fn value(&mut self, value: f64, scratch: &mut Vec<f32>) -> Option<Share> {
        let value = value as f32;
        if !value.is_finite() {
            return None;
        }
        let (count, lot) = (*self.values.count, self.lot(2));
        let every = (self.values.ring.len() / MEDIANS).max(1) as u64;
        let filled = self.values.filled();
        if !filled.is_empty() && (count < 2 * FEWEST as u64 || count.is_multiple_of(every)) {
            scratch.clear();
            scratch.extend_from_slice(filled);
            let middle = scratch.len() / 2;
            *self.median = f64::from(*scratch.select_nth_unstable_by(middle, f32::total_cmp).1);
        }
        let median = *self.median as f32;
        let of = |value: f32| (value - median).abs();
        let found = share(filled, of(value), lot, of);
        self.values.push(value);
        found
    }

    /// The p-value of a value's distance from the mean at this time of the season. It is taken in.
    pub(super) fn seasonal(&self, profile: &mut Profile<'_>, season: &Season, ticks: i64, value: f64) -> Option<Share> {
        let value = value as f32;
        let distance = value.is_finite().then(|| profile.distance(season, ticks, value))??;
        let mut ring = Ring { count: profile.count, ring: profile.distances };
        // One of its own, drawn from another.
        let lot = lot(self.lot(2).to_bits());
        let found = share(ring.filled(), distance, lot, |distance| distance);
        ring.push(distance);
        found
    }

    /// How unusual a row is whose numbers have these p-values; `None` if none of them is known.
    pub(super) fn rank(&mut self, shares: [Option<Share>; 4]) -> Option<Rank> {
        let Share { p, equal } = shares.into_iter().flatten().min_by(|a, b| a.p.total_cmp(&b.p))?;
        let nines = |p: f64| -p.max(f64::MIN_POSITIVE).log10();
        let known = shares.iter().flatten();
        let mean = known.clone().map(|share| nines(share.p)).sum::<f64>() / known.count() as f64;
        let score = (nines(p) + mean) / 2.0;
        let lot = self.lot(3);
        let of = |p: f32| (p.to_bits() >> (f32::MANTISSA_DIGITS - 1 - BITS)) as usize;
        let bin = (of(1.0) - of((p as f32).min(1.0))).min(BINS - 1);
        let below: f32 = self.bins[bin + 1..].iter().sum();
        let rank = f64::from(below) + 1.0 + (lot * (f64::from(self.bins[bin]) + 1.0)).floor();
        let tail = (rank / (*self.ranked + 1.0)).min(1.0);
        self.bins[bin] += 1.0;
        *self.ranked += 1.0;
        if *self.ranked >= 2.0 * self.values.ring.len() as f64 {
            self.bins.iter_mut().for_each(|count| *count /= 2.0);
            *self.ranked /= 2.0;
        }
        Some(Rank { tail, score, smallest: p, equal })
    }
}

/// The numbers that lie in some words.
fn floats(words: &mut [u64], length: usize) -> &mut [f32] {
    &mut bytemuck::cast_slice_mut::<u64, f32>(words)[..length]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ranks of rows with these residuals, whose values they are too.
    fn ranks(residuals: &[f64], long: usize, short: usize, seed: u64) -> Vec<Option<Rank>> {
        let spec = add(StateSpec::default(), long, short);
        let mut words = spec.initial().to_vec();
        assert_eq!(words.len(), super::words(long, short));
        let (mut before, mut scratch) = (Vec::new(), Vec::new());
        let rank = |residual: &f64| {
            let mut ranks = Ranks::of(&mut words, long, short, seed).unwrap();
            let of_residual = ranks.residual(&before[before.len().saturating_sub(long)..], *residual as f32);
            before.push(*residual as f32);
            let newest = before.len().checked_sub(short).map(|from| &before[from..]);
            let mean =
                newest.and_then(|newest| ranks.mean(newest.iter().map(|r| f64::from(*r)).sum::<f64>() / short as f64));
            let value = ranks.value(*residual, &mut scratch);
            ranks.rank([of_residual, mean, value, None])
        };
        residuals.iter().map(rank).collect()
    }

    fn uniform(n: u64) -> f64 {
        lot(n ^ 0x5eed << 40)
    }

    #[test]
    fn the_share_below_p_is_p() {
        const ROWS: u64 = 12_000;
        type Law = (&'static str, fn(u64) -> f64);
        let laws: [Law; 5] = [
            ("uniform", |n| uniform(n) - 0.5),
            ("Cauchy", |n| (std::f64::consts::PI * (uniform(n) - 0.5)).tan()),
            ("one of four", |n| (uniform(n) * 4.0).floor()),
            ("mostly 0", |n| if uniform(n) < 0.98 { 0.0 } else { uniform(n + ROWS) }),
            ("constant", |_| 7.0),
        ];
        for (name, law) in laws {
            for short in [1, 5] {
                let residuals: Vec<f64> = (0..ROWS).map(law).collect();
                let tails: Vec<f64> =
                    ranks(&residuals, 500, short, 1).into_iter().skip(500).map(|rank| rank.unwrap().tail).collect();
                for p in [0.005, 0.02, 0.1, 0.3, 0.5, 0.8] {
                    let share = tails.iter().filter(|tail| **tail <= p).count() as f64 / tails.len() as f64;
                    // Means of `short` residuals hang together, so there are fewer rows that are independent.
                    let error = (p * (1.0 - p) * short as f64 / tails.len() as f64).sqrt();
                    // The window forgets: ranks have steps of 1 / 500.
                    assert!((share - p).abs() < 4.5 * error + 0.002, "{name}, short {short}: {share} below {p}");
                }
            }
        }
    }

    #[test]
    fn what_never_was_is_as_rare_as_there_are_rows() {
        let mut residuals: Vec<f64> = (0..999).map(|n| uniform(n) - 0.5).collect();
        residuals.extend([40.0, 0.1, 50.0]);
        let ranks = ranks(&residuals, 4000, 1, 1);
        let [first, _, second] = [999, 1000, 1001].map(|row: usize| ranks[row].unwrap());
        // The first ten rows had no p-value.
        assert_eq!(first.tail, 1.0 / 990.0);
        assert_eq!(first.equal, 0.0);
        assert!(second.tail <= 2.0 / 992.0 && second.smallest < first.smallest);
    }

    #[test]
    fn the_anomaly_score_is_the_mean_of_the_rarest_and_of_all() {
        let mut words = add(StateSpec::default(), 20, 2).initial().to_vec();
        let mut ranks = Ranks::of(&mut words, 20, 2, 1).unwrap();
        let share = |p| Some(Share { p, equal: 0.0 });
        let score = ranks.rank([share(0.01), None, share(0.1), None]).unwrap().score;
        assert!((score - (2.0 + 1.5) / 2.0).abs() < 1e-12, "{score}");
        let score = ranks.rank([share(0.1), share(1e-4), share(0.1), share(1.0)]).unwrap().score;
        assert!((score - (4.0 + 1.5) / 2.0).abs() < 1e-12, "{score}");
    }

    #[test]
    fn lots_are_of_the_key_and_the_same_each_time() {
        let tails = |seed: u64| -> Vec<f64> {
            ranks(&[3.0; 60], 20, 2, seed).into_iter().flatten().map(|rank| rank.tail).collect()
        };
        assert_eq!(tails(1), tails(1));
        assert_ne!(tails(1), tails(2));
        assert!(ranks(&[3.0; 60], 20, 2, 1)[30].unwrap().equal > 0.9);
    }
}
