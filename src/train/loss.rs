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
    let norm = gradients.iter().map(|g| g.to_f64() * g.to_f64()).sum::<f64>().sqrt();
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
    fn what_does_not_count_may_be_nan() {
        let (y, wanted, weight) = ([1.0, f64::NAN, 0.5], [0.5, 1.0, f64::NAN], [1.0, 0.0, 0.0]);
        let mut gradient = Vec::new();
        assert_eq!(loss(Loss::Mse, &y, &wanted, &weight, &mut gradient), 0.25);
        assert_eq!(gradient, [1.0, 0.0, 0.0]);
    }
}
