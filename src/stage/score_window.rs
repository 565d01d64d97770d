//! A key's last residuals: mean and standard deviation over all of them, mean over the newest, and the Gaussian tail.
//!
//! Sums are kept around a shift near the mean and follow each residual that enters and leaves. They are recomputed from
//! the ring whenever it has gone round, and whenever more than half of the sum of squares leaves at once: so rounding
//! can't pile up, one wild value leaves no trace, and all of it depends on the order of the residuals only.

use bytemuck::{Pod, Zeroable};

use super::scale::floor_sd;
use crate::state::StateSpec;

/// The state besides the ring itself.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Sums {
    /// Place of the next residual in the ring.
    next: u64,
    count: u64,
    shift: f64,
    /// Of the differences from the shift.
    sum: f64,
    squares: f64,
}

/// Words of the state besides the ring.
const SUMS_WORDS: usize = size_of::<Sums>() / size_of::<u64>();

/// Adds what a [`Window`] of `long` residuals lies over.
pub(super) fn add(spec: StateSpec, long: usize) -> StateSpec {
    spec.u64("residuals.next", 0)
        .u64("residuals.count", 0)
        .f64("residuals.shift", 0.0)
        .f64("residuals.sum", 0.0)
        .f64("residuals.squares", 0.0)
        .f64s("residuals", long, 0.0)
}

/// A view of one key's residuals, over [`SUMS_WORDS`] words and one for each residual of the long window; all of them
/// are 0 for a new key.
pub(super) struct Window<'a> {
    sums: &'a mut Sums,
    ring: &'a mut [f64],
}

impl<'a> Window<'a> {
    pub(super) fn of(words: &'a mut [u64]) -> Self {
        let (sums, ring) = words.split_at_mut(SUMS_WORDS);
        Window { sums: bytemuck::from_bytes_mut(bytemuck::cast_slice_mut(sums)), ring: bytemuck::cast_slice_mut(ring) }
    }

    /// Residuals there are.
    pub(super) fn count(&self) -> usize {
        self.sums.count as usize
    }

    /// Takes a residual in, the oldest out where the window is full.
    pub(super) fn push(&mut self, residual: f64) {
        let Window { sums, ring } = self;
        let next = sums.next as usize;
        let mut again = sums.count == 0;
        if sums.count as usize == ring.len() {
            let leaving = ring[next] - sums.shift;
            again |= leaving * leaving * 2.0 > sums.squares || !sums.squares.is_finite();
            sums.sum -= leaving;
            sums.squares -= leaving * leaving;
        } else {
            sums.count += 1;
        }
        ring[next] = residual;
        let coming = residual - sums.shift;
        sums.sum += coming;
        sums.squares += coming * coming;
        sums.next = if next + 1 == ring.len() { 0 } else { sums.next + 1 };
        if again || sums.next == 0 {
            self.sum_again();
        }
    }

    fn sum_again(&mut self) {
        let Window { sums, ring } = self;
        let residuals = &ring[..sums.count as usize];
        sums.shift = residuals.iter().sum::<f64>() / residuals.len() as f64;
        if !sums.shift.is_finite() {
            sums.shift = 0.0;
        }
        sums.sum = residuals.iter().map(|r| r - sums.shift).sum();
        sums.squares = residuals.iter().map(|r| (r - sums.shift) * (r - sums.shift)).sum();
    }

    /// Mean and standard deviation (of the population) of all residuals.
    pub(super) fn mean_sd(&self) -> (f64, f64) {
        let count = self.sums.count as f64;
        let from_shift = self.sums.sum / count;
        let variance = self.sums.squares / count - from_shift * from_shift;
        (self.sums.shift + from_shift, variance.max(0.0).sqrt())
    }

    /// Mean of the newest `count`, which is at most as many as there are.
    fn newest_mean(&self, count: usize) -> f64 {
        let next = self.sums.next as usize;
        let mut sum = 0.0;
        for back in 1..=count {
            sum += self.ring[if back <= next { next - back } else { next + self.ring.len() - back }];
        }
        sum / count as f64
    }

    /// Probability that a Gaussian with the mean and sd of all residuals exceeds the mean of the newest `short`
    /// (Lavin and Ahmad 2015, "Evaluating Real-Time Anomaly Detection Algorithms", section III, with the residual
    /// itself as the raw score).
    pub(super) fn tail(&self, short: usize) -> f64 {
        let (mean, sd) = self.mean_sd();
        gaussian_tail((self.newest_mean(short) - mean) / floor_sd(mean, sd))
    }
}

/// Q(z): probability that a standard normal variable exceeds z.
fn gaussian_tail(z: f64) -> f64 {
    0.5 * erfc(z / std::f64::consts::SQRT_2)
}

/// The complementary error function, to about 1e-14 of its value: 1 - erf by the series of erf (Abramowitz and Stegun
/// 7.1.6) below 2, the continued fraction (7.1.14) from there on.
fn erfc(x: f64) -> f64 {
    if x < 0.0 {
        return 2.0 - erfc(-x);
    }
    let sqrt_pi = std::f64::consts::PI.sqrt();
    if x < 2.0 {
        let (mut term, mut sum, mut n) = (x, x, 1.0);
        while term > sum * 1e-17 {
            term *= 2.0 * x * x / (2.0 * n + 1.0);
            sum += term;
            n += 1.0;
        }
        return 1.0 - 2.0 / sqrt_pi * (-x * x).exp() * sum;
    }
    let fraction = (1..=80).rev().fold(x, |below, n| x + f64::from(n) / 2.0 / below);
    (-x * x).exp() / sqrt_pi / fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn erfc_is_that_of_the_tables() {
        // By Python's math.erfc.
        for (x, expected) in [
            (0.0, 1.0),
            (0.5, 0.479_500_122_186_953_5),
            (1.0, 0.157_299_207_050_285_13),
            (1.999_999, 0.004_677_755_648_073_953),
            (2.0, 0.004_677_734_981_047_266),
            (3.0, 2.209_049_699_858_544e-5),
            (10.0, 2.088_487_583_762_545e-45),
            (-1.0, 1.842_700_792_949_715),
            (40.0, 0.0),
        ] {
            let found = erfc(x);
            assert!((found - expected).abs() <= 1e-12 * expected, "erfc({x}) = {found:e}, expected {expected:e}");
        }
        assert_eq!(gaussian_tail(f64::INFINITY), 0.0);
        assert!(gaussian_tail(f64::NAN).is_nan());
    }

    #[test]
    fn a_wild_value_leaves_nothing_behind() {
        for wild in [1e12, 1e300, f64::MAX] {
            let mut words = vec![0; SUMS_WORDS + 50];
            let mut window = Window::of(&mut words);
            for n in 0..180_i32 {
                window.push(if n == 73 { wild } else { f64::from(n % 7) });
                if n >= 73 + 50 {
                    let newest: Vec<f64> = (n - 49..=n).map(|n| f64::from(n % 7)).collect();
                    let mean = newest.iter().sum::<f64>() / 50.0;
                    let sd = (newest.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / 50.0).sqrt();
                    let found = window.mean_sd();
                    assert!((found.0 - mean).abs() < 1e-12 && (found.1 - sd).abs() < 1e-12, "{n}: {found:?}");
                }
            }
        }
    }
}
