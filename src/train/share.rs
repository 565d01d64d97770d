//! How much of what the network adds to the linear path is published.
//!
//! Lives here: the factor, and when a gain on the validation part is one. Must not live here: the passes over it
//! (`pass`).

use super::dataset::Dataset;
use super::pass::{Blocks, Model};

/// The network has to lower the validation loss of the linear path to this share. It was stopped where that loss was
/// least, so a smaller gain is often none on other data.
const NETWORK_GAINS: f64 = 0.99;
/// One key's loss counts for this many times as much, or as little, at most.
const FAR: f64 = 10.0;
/// Factors that are tried for what the network adds to the linear path.
const SHARES: [f64; 6] = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0];

/// Scales what the network adds to the linear path by the factor that is best on validation, 0 if none is clearly
/// better than the path alone; returns it, and the loss of the path alone and of the whole. `None` without a validation
/// part.
///
/// Clearly: by a share of the loss, by the standard error of the difference (Breiman et al. 1984, "Classification and
/// Regression Trees", 3.4.3), and so that the keys gain in the mean.
pub(super) fn share(data: &Dataset, model: &mut Model) -> Option<(f64, [f64; 2])> {
    let (mut path, mut alone, mut best) = (Blocks::default(), f64::INFINITY, (f64::INFINITY, 0.0));
    for factor in SHARES {
        let blocks = model.scaled(factor).validation_blocks(data, 1, data.plan.head.reach().max(1));
        let (sum, weight) = total(blocks.of_steps.iter().copied());
        if weight == 0.0 {
            return None;
        }
        let loss = sum / weight;
        if factor == 0.0 {
            (path, alone, best) = (blocks, loss, (loss, factor));
        } else if loss < best.0
            && loss < NETWORK_GAINS * alone
            && loss + standard_error(&path, &blocks) < alone
            && of_keys(&path, &blocks) < 1.0
        {
            best = (loss, factor);
        }
    }
    model.net.scale_output(best.1 as f32);
    Some((best.1, [alone, best.0]))
}

/// The sums of losses and weights.
fn total(blocks: impl Iterator<Item = (f64, f64)>) -> (f64, f64) {
    blocks.fold((0.0, 0.0), |total, block| (total.0 + block.0, total.1 + block.1))
}

/// What a second loss is of a first one, key by key: the geometric mean over the keys by their entries. So a key of
/// great numbers, whose errors are most of the loss, doesn't decide alone.
fn of_keys(a: &Blocks, b: &Blocks) -> f64 {
    let keys = || a.of_keys.iter().zip(&b.of_keys).filter(|(a, _)| a.1 > 0.0);
    let ratio = |a: f64, b: f64| if b <= a { (b / a).max(1.0 / FAR) } else { (b / a).min(FAR) };
    // Both 0: neither is better.
    let of_key = |(a, b): (&(f64, f64), &(f64, f64))| if a.0 == b.0 { 0.0 } else { a.1 * ratio(a.0, b.0).ln() };
    (keys().map(of_key).sum::<f64>() / keys().map(|(a, _)| a.1).sum::<f64>()).exp()
}

/// The standard error of the difference of two mean losses. Errors of forecasts that overlap hang together, so it is
/// that of blocks of a horizon; where there is one block it is that of the keys. One key over one horizon can't tell:
/// infinite.
fn standard_error(a: &Blocks, b: &Blocks) -> f64 {
    let of_steps = of_difference(&a.of_steps, &b.of_steps);
    of_steps.or_else(|| of_difference(&a.of_keys, &b.of_keys)).unwrap_or(f64::INFINITY)
}

/// From the sums of two losses over the same blocks, that of a ratio of sums (Cochran 1977, "Sampling Techniques",
/// 6.4); for few blocks as much greater as Student's distribution is wider than the normal one.
fn of_difference(a: &[(f64, f64)], b: &[(f64, f64)]) -> Option<f64> {
    let apart = || a.iter().zip(b).map(|(a, b)| (b.0 - a.0, a.1)).filter(|(_, weight)| *weight > 0.0);
    let blocks = apart().count() as f64;
    if blocks < 2.0 {
        return None;
    }
    let (sum, weight) = total(apart());
    let squares: f64 = apart().map(|(difference, of)| (difference - of * sum / weight).powi(2)).sum();
    // The quantile of Student's distribution at that of one standard deviation, to 1 %: 1.84 for two blocks.
    let freedom = blocks - 1.0;
    let student = 1.0 + 0.5 / freedom + 0.34 / (freedom * freedom);
    Some(student * (squares * blocks / freedom).sqrt() / weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_has_the_standard_error_of_its_blocks() {
        let a = [(10.0, 10.0), (20.0, 10.0), (0.0, 0.0), (30.0, 10.0)];
        let b = [(9.0, 10.0), (18.0, 10.0), (0.0, 0.0), (30.0, 10.0)];
        // -1, -2 and 0 of 10 each, about their mean of -1; Student's distribution for three blocks.
        let student = 1.0 + 0.25 + 0.085;
        assert!((of_difference(&a, &b).unwrap() - student * 3.0_f64.sqrt() / 30.0).abs() < 1e-12);
        // The same share of each block, whatever it weighs.
        assert_eq!(of_difference(&[(4.0, 2.0), (20.0, 10.0)], &[(3.0, 2.0), (15.0, 10.0)]), Some(0.0));
    }

    #[test]
    fn a_key_of_great_numbers_does_not_decide_alone() {
        let blocks = |of_keys: [(f64, f64); 3]| Blocks { of_steps: Vec::new(), of_keys: of_keys.to_vec() };
        let path = blocks([(100.0, 10.0), (1.0, 10.0), (0.0, 0.0)]);
        assert!((of_keys(&path, &blocks([(25.0, 10.0), (4.0, 10.0), (0.0, 0.0)])) - 1.0).abs() < 1e-12);
        assert!((of_keys(&path, &blocks([(25.0, 10.0), (1.0, 10.0), (0.0, 0.0)])) - 0.5).abs() < 1e-12);
        // A key without an error can't become worse beyond measure.
        assert_eq!(of_keys(&blocks([(0.0, 10.0); 3]), &blocks([(1.0, 10.0); 3])).round(), FAR);
        assert_eq!(of_keys(&blocks([(0.0, 10.0); 3]), &blocks([(0.0, 10.0); 3])), 1.0);
    }

    #[test]
    fn of_one_block_the_keys_tell_and_one_key_cannot() {
        let blocks = |of_keys: &[(f64, f64)]| Blocks {
            of_steps: vec![of_keys.iter().fold((0.0, 0.0), |sum, key| (sum.0 + key.0, sum.1 + key.1))],
            of_keys: of_keys.to_vec(),
        };
        let (a, b) = (blocks(&[(10.0, 10.0), (20.0, 10.0)]), blocks(&[(9.0, 10.0), (17.0, 10.0)]));
        // -1 and -3 about their mean of -2, and 1.84 of Student's distribution for two.
        assert!((standard_error(&a, &b) - 1.84 * 2.0 / 20.0).abs() < 1e-12);
        assert_eq!(standard_error(&blocks(&[(10.0, 10.0)]), &blocks(&[(1.0, 10.0)])), f64::INFINITY);
        // Where there are blocks of steps, they tell.
        let of_steps = |last: f64| Blocks { of_steps: vec![(10.0, 10.0), (last, 10.0)], ..a.clone() };
        assert_eq!(standard_error(&of_steps(10.0), &Blocks { of_keys: b.of_keys, ..of_steps(10.0) }), 0.0);
    }
}
