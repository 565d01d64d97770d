//! A key's last residuals, as float32: mean and standard deviation over all of them, mean over the newest.
//!
//! Sums are kept around a shift near the mean and follow each residual that enters and leaves. They are recomputed from
//! the ring whenever it has gone round, and whenever more than half of the sum of squares leaves at once: so rounding
//! can't pile up, one wild value leaves no trace, and all of it depends on the order of the residuals only.

use bytemuck::{Pod, Zeroable};

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

/// Words of what a [`Window`] lies over.
pub(super) fn words(long: usize) -> usize {
    SUMS_WORDS + long.div_ceil(2)
}

/// Adds what a [`Window`] of `long` residuals lies over.
pub(super) fn add(spec: StateSpec, long: usize) -> StateSpec {
    spec.u64("residuals.next", 0)
        .u64("residuals.count", 0)
        .f64("residuals.shift", 0.0)
        .f64("residuals.sum", 0.0)
        .f64("residuals.squares", 0.0)
        .f32s("residuals", long)
}

/// A view of one key's residuals, over [`words`]; all of them are 0 for a new key.
pub(super) struct Window<'a> {
    sums: &'a mut Sums,
    ring: &'a mut [f32],
}

impl<'a> Window<'a> {
    pub(super) fn of(words: &'a mut [u64], long: usize) -> Self {
        let (sums, ring) = words.split_at_mut(SUMS_WORDS);
        let ring = &mut bytemuck::cast_slice_mut::<u64, f32>(ring)[..long];
        Window { sums: bytemuck::from_bytes_mut(bytemuck::cast_slice_mut(sums)), ring }
    }

    /// A residual as the window has it.
    pub(super) fn rounded(residual: f64) -> f32 {
        residual.clamp(f32::MIN.into(), f32::MAX.into()) as f32
    }

    /// The residuals, in no order that means anything.
    pub(super) fn residuals(&self) -> &[f32] {
        &self.ring[..self.sums.count as usize]
    }

    /// Residuals there are.
    pub(super) fn count(&self) -> usize {
        self.sums.count as usize
    }

    /// Takes a residual in, the oldest out where the window is full.
    pub(super) fn push(&mut self, residual: f32) {
        let Window { sums, ring } = self;
        let next = sums.next as usize;
        let mut again = sums.count == 0;
        if sums.count as usize == ring.len() {
            let leaving = f64::from(ring[next]) - sums.shift;
            again |= leaving * leaving * 2.0 > sums.squares || !sums.squares.is_finite();
            sums.sum -= leaving;
            sums.squares -= leaving * leaving;
        } else {
            sums.count += 1;
        }
        ring[next] = residual;
        let coming = f64::from(residual) - sums.shift;
        sums.sum += coming;
        sums.squares += coming * coming;
        sums.next = if next + 1 == ring.len() { 0 } else { sums.next + 1 };
        if again || sums.next == 0 {
            self.sum_again();
        }
    }

    fn sum_again(&mut self) {
        let Window { sums, ring } = self;
        let residuals = ring[..sums.count as usize].iter().map(|residual| f64::from(*residual));
        sums.shift = residuals.clone().sum::<f64>() / sums.count as f64;
        if !sums.shift.is_finite() {
            sums.shift = 0.0;
        }
        sums.sum = residuals.clone().map(|r| r - sums.shift).sum();
        sums.squares = residuals.map(|r| (r - sums.shift) * (r - sums.shift)).sum();
    }

    /// Mean and standard deviation (of the population) of all residuals.
    pub(super) fn mean_sd(&self) -> (f64, f64) {
        let count = self.sums.count as f64;
        let from_shift = self.sums.sum / count;
        let variance = self.sums.squares / count - from_shift * from_shift;
        (self.sums.shift + from_shift, variance.max(0.0).sqrt())
    }

    /// Mean of the newest `count`, which is at most as many as there are.
    pub(super) fn newest_mean(&self, count: usize) -> f64 {
        let next = self.sums.next as usize;
        let mut sum = 0.0;
        for back in 1..=count {
            sum += f64::from(self.ring[if back <= next { next - back } else { next + self.ring.len() - back }]);
        }
        sum / count as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wild_value_leaves_nothing_behind() {
        for wild in [1e12, 1e300, f64::MAX] {
            let mut words = vec![0; words(50)];
            let mut window = Window::of(&mut words, 50);
            for n in 0..180_i32 {
                window.push(Window::rounded(if n == 73 { wild } else { f64::from(n % 7) }));
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
