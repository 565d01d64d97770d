//! Losses over standardised outputs, with their gradients.

use crate::config::Loss;
use crate::kernel::float::Float;

/// The mean loss over the entries that count, and its gradient by `y` into `gradient`. Nothing counts: 0, and zeros.
///
/// `weight` is 1 where an entry counts and 0 where not; outputs of one standard deviation weigh the same whatever their
/// unit, since `y` and `wanted` are standardised. Where an entry doesn't count, both may be NaN.
pub fn loss<F: Float>(loss: Loss, y: &[F], wanted: &[F], weight: &[F], gradient: &mut Vec<F>) -> f64 {
    let count: f64 = weight.iter().map(|weight| weight.to_f64()).sum();
    gradient.clear();
    if count == 0.0 {
        gradient.resize(y.len(), F::ZERO);
        return 0.0;
    }
    let mut sum = 0.0;
    for ((y, wanted), weight) in y.iter().zip(wanted).zip(weight) {
        let weight = weight.to_f64();
        if weight == 0.0 {
            gradient.push(F::ZERO);
            continue;
        }
        let (value, slope) = entry(loss, (*y - *wanted).to_f64());
        sum += weight * value;
        gradient.push(F::from_f64(weight * slope / count));
    }
    sum / count
}

/// ln of the softmax's probability of each class; `y`: what is before the softmax.
pub fn log_softmax(y: &[f32]) -> impl Fn(usize) -> f64 {
    let most = f64::from(y.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = y.iter().map(|y| (f64::from(*y) - most).exp()).sum();
    let of_all = sum.ln();
    move |class| f64::from(y[class]) - most - of_all
}

/// The mean cross-entropy of a softmax over each row of `y` [rows, classes], by the weights of the rows, and its
/// gradient by `y` into `gradient`. `wanted`: the class of each row. Rows of weight 0 don't count; if none counts: 0,
/// and zeros.
pub fn cross_entropy<F: Float>(y: &[F], classes: usize, wanted: &[F], weight: &[F], gradient: &mut Vec<F>) -> f64 {
    let total: f64 = weight.iter().map(|weight| weight.to_f64()).sum();
    gradient.clear();
    gradient.resize(y.len(), F::ZERO);
    if total == 0.0 || classes == 0 {
        return 0.0;
    }
    let mut sum = 0.0;
    let rows = y.chunks_exact(classes).zip(gradient.chunks_exact_mut(classes));
    for ((y, gradient), (wanted, weight)) in rows.zip(wanted.iter().zip(weight)) {
        let weight = weight.to_f64();
        if weight == 0.0 {
            continue;
        }
        let most = y.iter().copied().fold(y[0], |most, y| if y > most { y } else { most });
        gradient.iter_mut().zip(y).for_each(|(gradient, y)| *gradient = (*y - most).exp());
        let of_all = added(gradient);
        let class = wanted.to_f64() as usize;
        sum += weight * (of_all.ln() - (y[class] - most).to_f64());
        let share = F::from_f64(weight / total);
        let scale = F::from_f64(weight / total / of_all);
        gradient.iter_mut().for_each(|gradient| *gradient *= scale);
        gradient[class] = gradient[class] - share;
    }
    sum / total
}

/// The sum of many numbers, in eight lanes that the compiler adds side by side.
fn added<F: Float>(values: &[F]) -> f64 {
    let mut lanes = [F::ZERO; 8];
    let (blocks, rest) = values.as_chunks::<8>();
    for block in blocks {
        lanes.iter_mut().zip(block).for_each(|(lane, value)| *lane += *value);
    }
    lanes.iter().chain(rest).map(|value| value.to_f64()).sum()
}

/// Loss and slope of one error. Huber 1964 for `Huber`.
pub fn entry(loss: Loss, error: f64) -> (f64, f64) {
    match loss {
        Loss::Mse => (error * error, 2.0 * error),
        Loss::Mae if error == 0.0 => (0.0, 0.0),
        Loss::Mae => (error.abs(), error.signum()),
        Loss::Huber { delta } if error.abs() <= delta => (0.5 * error * error, error),
        Loss::Huber { delta } => (delta * (error.abs() - 0.5 * delta), delta * error.signum()),
    }
}

/// Scales gradients down to a global norm (Pascanu et al. 2013); returns the norm before.
pub fn clip<F: Float>(gradients: &mut [F], limit: Option<f64>) -> f64 {
    // Eight sums side by side, which the processor adds at once.
    let mut sums = [0.0; 8];
    for some in gradients.chunks(8) {
        sums.iter_mut().zip(some).for_each(|(sum, g)| *sum += g.to_f64() * g.to_f64());
    }
    let norm = sums.into_iter().sum::<f64>().sqrt();
    if let Some(limit) = limit.filter(|limit| norm > *limit) {
        let factor = F::from_f64(limit / norm);
        gradients.iter_mut().for_each(|g| *g *= factor);
    }
    norm
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cross_entropy_by_hand_and_by_finite_differences() {
        let (y, wanted, weight) = ([0.0, 3.0_f64.ln(), 1.0, -2.0, 7.0, 7.0], [1.0, 0.0, 9.0], [1.0, 3.0, 0.0]);
        let mut gradient = Vec::new();
        let found = cross_entropy(&y, 2, &wanted, &weight, &mut gradient);
        // Probabilities 1/4 and 3/4 of the first row; of the second, 1 / (1 + e^-3) of the wanted one.
        let second = 1.0 / (1.0 + (-3.0_f64).exp());
        assert!((found - (-(0.75_f64.ln()) - 3.0 * second.ln()) / 4.0).abs() < 1e-12);
        let wished = [0.25 / 4.0, (0.75 - 1.0) / 4.0, 3.0 * (second - 1.0) / 4.0, 3.0 * (1.0 - second) / 4.0, 0.0, 0.0];
        assert!(gradient.iter().zip(wished).all(|(a, b): (&f64, f64)| (a - b).abs() < 1e-12), "{gradient:?}");
        for at in 0..6 {
            let mut moved = y;
            moved[at] += 1e-6;
            let slope = (cross_entropy(&moved, 2, &wanted, &weight, &mut Vec::new()) - found) / 1e-6;
            assert!((slope - gradient[at]).abs() < 1e-5, "{at}: {slope}");
        }
        assert!((log_softmax(&[0.0, 3.0_f32.ln()])(1) - 0.75_f64.ln()).abs() < 1e-7);
    }

    #[test]
    fn a_softmax_of_many_classes_in_f32_is_that_of_f64() {
        let numbers: Vec<f32> = crate::network::testing::Numbers(3).take(3 * 1000).map(|n| 20.0 * n).collect();
        let doubles: Vec<f64> = numbers.iter().map(|n| f64::from(*n)).collect();
        let (mut single, mut double) = (Vec::new(), Vec::new());
        let found = cross_entropy(&numbers, 1000, &[7.0, 0.0, 999.0], &[1.0, 2.0, 0.5], &mut single);
        let wished = cross_entropy(&doubles, 1000, &[7.0, 0.0, 999.0], &[1.0, 2.0, 0.5], &mut double);
        assert!((found - wished).abs() < 1e-5, "{found} {wished}");
        assert!(single.iter().zip(&double).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-7));
    }

    #[test]
    fn what_does_not_count_may_be_nan() {
        let (y, wanted, weight) = ([1.0, f64::NAN, 0.5], [0.5, 1.0, f64::NAN], [1.0, 0.0, 0.0]);
        let mut gradient = Vec::new();
        assert_eq!(loss(Loss::Mse, &y, &wanted, &weight, &mut gradient), 0.25);
        assert_eq!(gradient, [1.0, 0.0, 0.0]);
    }
}
