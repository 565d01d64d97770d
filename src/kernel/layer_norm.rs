//! Layer normalisation (Ba et al. 2016) of each row, forward and backward: y = γ (x - mean) / sqrt(variance + epsilon)
//! + β over the row's numbers. Must not live here: normalisation inside a cell (its own file).

use super::float::Float;

/// Against division by zero, as in Keras.
pub const EPSILON: f64 = 1e-3;

/// A layer and its numbers; its width is that of its input.
#[derive(Debug, Clone, Copy)]
pub struct LayerNorm<'a, F> {
    /// γ
    pub gamma: &'a [F],
    /// β
    pub beta: &'a [F],
}

/// Mean of a row, and one over the root of its variance.
pub(super) fn moments<F: Float>(row: &[F]) -> (F, F) {
    let share = F::from_f64(1.0 / row.len() as f64);
    let mean = row.iter().fold(F::ZERO, |sum, x| sum + *x) * share;
    let squares = row.iter().fold(F::ZERO, |sum, x| sum + (*x - mean) * (*x - mean));
    (mean, F::ONE / (squares * share + F::from_f64(EPSILON)).sqrt())
}

/// Turns gradients `d` of a row's normalised numbers (before γ and β) into those of the row.
pub(super) fn through<F: Float>(row: &[F], (mean, scale): (F, F), d: &mut [F]) {
    let share = F::from_f64(1.0 / row.len() as f64);
    let along = |x: F| (x - mean) * scale;
    let sum = d.iter().fold(F::ZERO, |sum, d| sum + *d) * share;
    let product = d.iter().zip(row).fold(F::ZERO, |sum, (d, x)| sum + *d * along(*x)) * share;
    for (d, x) in d.iter_mut().zip(row) {
        *d = scale * (*d - sum - along(*x) * product);
    }
}

impl<F: Float> LayerNorm<'_, F> {
    /// `out` becomes [rows, units] for `x` of the same shape.
    pub fn forward(&self, x: &[F], out: &mut Vec<F>) {
        out.clear();
        for row in x.chunks_exact(self.gamma.len()) {
            let (mean, scale) = moments(row);
            let numbers = row.iter().zip(self.gamma).zip(self.beta);
            out.extend(numbers.map(|((x, gamma), beta)| (*x - mean) * scale * *gamma + *beta));
        }
    }

    /// Adds the gradients of γ and β, and writes those of `x` to `dx` (empty: they aren't wanted); `d` are those of the
    /// output.
    pub fn backward(&self, x: &[F], d: &[F], gradients: [&mut [F]; 2], dx: &mut [F]) {
        let units = self.gamma.len();
        let [d_gamma, d_beta] = gradients;
        for (at, (row, d)) in x.chunks_exact(units).zip(d.chunks_exact(units)).enumerate() {
            let (mean, scale) = moments(row);
            for (i, (x, d)) in row.iter().zip(d).enumerate() {
                d_gamma[i] += *d * (*x - mean) * scale;
                d_beta[i] += *d;
            }
            if let Some(dx) = dx.get_mut(at * units..(at + 1) * units) {
                dx.iter_mut().zip(d).zip(self.gamma).for_each(|((dx, d), gamma)| *dx = *d * *gamma);
                through(row, (mean, scale), dx);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mean 2, variance 4 (and epsilon), by hand.
    #[test]
    fn a_row_has_mean_zero_and_deviation_one_before_gamma_and_beta() {
        let layer = LayerNorm { gamma: &[1.0, 2.0], beta: &[0.0, 10.0] };
        let mut out = Vec::new();
        layer.forward(&[0.0, 4.0, 7.0, 7.0], &mut out);
        let one = 2.0 / 4.001_f64.sqrt();
        for (found, wanted) in out.iter().zip([-one, 10.0 + 2.0 * one, 0.0, 10.0]) {
            assert!((found - wanted).abs() < 1e-15, "{out:?}");
        }
    }
}
