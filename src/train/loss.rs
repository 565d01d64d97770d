//! Losses over standardised outputs, with their gradients.

use std::cmp::Ordering;

use crate::config::Loss;
use crate::kernel::float::Float;
use crate::kernel::softmax::{self, Rows};
use crate::record::logarithm;

/// Classes from which on an evaluation takes the exponentials of f32.
const MANY: usize = 256;

/// The mean loss over the entries that count, and its gradient by `y` into `gradient`. Nothing counts: 0, and zeros.
///
/// `weight` is 1 where an entry counts and 0 where not; outputs of one standard deviation weigh the same whatever their
/// unit, since `y` and `wanted` are standardised. Where an entry doesn't count, both may be NaN.
pub fn loss<F: Float>(loss: Loss, y: &[F], wanted: &[F], weight: &[F], gradient: &mut Vec<F>) -> f64 {
    entries(y, wanted, weight, gradient, |_, y, wanted| entry(loss, (y - wanted).to_f64()))
}

/// The same of any loss of an entry: its index, `y` and what is wanted give the loss, and its slope by `y`.
pub fn entries<F: Float>(
    y: &[F],
    wanted: &[F],
    weight: &[F],
    gradient: &mut Vec<F>,
    entry: impl Fn(usize, F, F) -> (f64, f64),
) -> f64 {
    let count: f64 = weight.iter().map(|weight| weight.to_f64()).sum();
    gradient.clear();
    if count == 0.0 {
        gradient.resize(y.len(), F::ZERO);
        return 0.0;
    }
    let mut sum = 0.0;
    for (at, ((y, wanted), weight)) in y.iter().zip(wanted).zip(weight).enumerate() {
        let weight = weight.to_f64();
        if weight == 0.0 {
            gradient.push(F::ZERO);
            continue;
        }
        let (value, slope) = entry(at, *y, *wanted);
        sum += weight * value;
        gradient.push(F::from_f64(weight * slope / count));
    }
    sum / count
}

/// The largest number of a row, and ln of the sum of all e^(y - that).
pub fn sums(y: &[f32]) -> (f64, f64) {
    let most = f64::from(y.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = y.iter().map(|y| (f64::from(*y) - most).exp()).sum();
    (most, sum.ln())
}

/// ln of the softmax's probability of each class; `y`: what is before the softmax.
pub fn log_softmax(y: &[f32]) -> impl Fn(usize) -> f64 {
    let (most, of_all) = sums(y);
    move |class| f64::from(y[class]) - most - of_all
}

/// That of one class. Of many classes by the kernel of training, to 1e-6: for each number the exponential of f64 would
/// take longer than the network.
pub fn log_softmax_of(y: &[f32], class: usize) -> f64 {
    if y.len() < MANY { log_softmax(y)(class) } else { softmax::ln_of(y, class) }
}

/// The mean cross-entropy of a softmax over each row of `y` [rows, classes], by the weights of the rows, and its
/// gradient by `y` into `gradient`. `wanted`: the class of each row. Rows of weight 0 don't count; if none counts: 0,
/// and zeros.
pub fn cross_entropy<F: Float>(y: &[F], classes: usize, wanted: &[F], weight: &[F], gradient: &mut Vec<F>) -> f64 {
    let total: f64 = weight.iter().map(|weight| weight.to_f64()).sum();
    // Every row is written below.
    gradient.resize(y.len(), F::ZERO);
    if total == 0.0 || classes == 0 {
        gradient.fill(F::ZERO);
        return 0.0;
    }
    softmax::cross_entropy(Rows { y, classes, wanted, weight }, total, gradient) / total
}

/// In words; with quantiles it is theirs.
pub fn text(loss: Loss, quantiles: &[f64]) -> String {
    match loss {
        _ if !quantiles.is_empty() => {
            let levels: Vec<String> = quantiles.iter().map(f64::to_string).collect();
            format!("pinball of the quantiles {}", levels.join(", "))
        }
        Loss::Smape => "sMAPE, in the target's own units".into(),
        Loss::Msle => "MSLE, in the target's own units".into(),
        Loss::Mse => "MSE".into(),
        Loss::Mae => "MAE".into(),
        Loss::Huber { delta } => format!("Huber, delta {delta}"),
    }
}

/// Loss and slope of one error. Huber 1964 for `Huber`.
pub fn entry(loss: Loss, error: f64) -> (f64, f64) {
    match loss {
        Loss::Mse => (error * error, 2.0 * error),
        Loss::Mae if error == 0.0 => (0.0, 0.0),
        Loss::Mae => (error.abs(), error.signum()),
        Loss::Huber { delta } if error.abs() <= delta => (0.5 * error * error, error),
        Loss::Huber { delta } => (delta * (error.abs() - 0.5 * delta), delta * error.signum()),
        // They need more than the error: see `OwnUnits::entry`.
        Loss::Smape | Loss::Msle => (f64::NAN, f64::NAN),
    }
}

/// Pinball loss of a quantile's error, what was forecast less what came, and its slope (Koenker and Bassett 1978).
pub fn pinball(level: f64, error: f64) -> (f64, f64) {
    match error.partial_cmp(&0.0) {
        Some(Ordering::Less) => (-level * error, -level),
        Some(Ordering::Greater) => ((1.0 - level) * error, 1.0 - level),
        _ => (0.0 * error, 0.0),
    }
}

/// How an output of the network becomes what the user sees: `factor * y + shift`, and of a target that is scaled by its
/// logarithm the inverse of that.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OwnUnits {
    /// Own units, or logarithms, of one unit of the network.
    pub factor: f64,
    /// What is added.
    pub shift: f64,
    /// Whether that is a logarithm.
    pub log: bool,
}

/// Slopes of a loss in own units at most, so that a target near zero doesn't outweigh all others.
const STEEPEST: f64 = 8.0;

impl OwnUnits {
    /// As it is held in a batch.
    pub fn numbers(self) -> [f32; 3] {
        [self.factor as f32, self.shift as f32, f32::from(u8::from(self.log))]
    }

    /// From what [`OwnUnits::numbers`] gives.
    pub fn of(numbers: &[f32]) -> OwnUnits {
        OwnUnits { factor: f64::from(numbers[0]), shift: f64::from(numbers[1]), log: numbers[2] != 0.0 }
    }

    /// What the user sees of an output, and its slope.
    fn seen(self, y: f64) -> (f64, f64) {
        let value = self.factor * y + self.shift;
        match self.log {
            false => (value, self.factor),
            true => (logarithm::back(value), self.factor * value.abs().exp()),
        }
    }

    /// Loss of an output, and its slope by the output.
    ///
    /// `smape`: `2 |p - t| / (|p| + |t|)`, 0 where both are 0, and 2 where they differ in sign. There its slope would
    /// be 0, so that of a denominator that doesn't move is taken instead. `msle`: squared difference of `ln(1 + |p|)`
    /// with the sign of p; for positive numbers it is Keras'.
    pub fn entry(self, loss: Loss, y: f64, wanted: f64) -> (f64, f64) {
        let ((p, slope), (t, _)) = (self.seen(y), self.seen(wanted));
        let (value, by_p) = match loss {
            Loss::Smape => {
                let sum = p.abs() + t.abs();
                let sign = (p - t).partial_cmp(&0.0).map_or(f64::NAN, |order| f64::from(order as i8));
                match sum == 0.0 {
                    true => (0.0, 0.0),
                    false if p * t > 0.0 => (2.0 * (p - t).abs() / sum, 4.0 * sign * t.abs() / (sum * sum)),
                    false => (2.0 * (p - t).abs() / sum, 2.0 * sign / sum),
                }
            }
            Loss::Msle => {
                let apart = logarithm::of(p) - logarithm::of(t);
                (apart * apart, 2.0 * apart / (1.0 + p.abs()))
            }
            Loss::Mse | Loss::Mae | Loss::Huber { .. } => return entry(loss, y - wanted),
        };
        let slope = by_p * slope;
        (value, if loss == Loss::Smape { slope.clamp(-STEEPEST, STEEPEST) } else { slope })
    }
}

/// Scales gradients down to a global norm (Pascanu et al. 2013); returns the norm before.
pub fn clip<F: Float>(gradients: &mut [F], limit: f64) -> f64 {
    // Eight sums side by side, which the processor adds at once.
    let mut sums = [0.0; 8];
    for some in gradients.chunks(8) {
        sums.iter_mut().zip(some).for_each(|(sum, g)| *sum += g.to_f64() * g.to_f64());
    }
    let norm = sums.into_iter().sum::<f64>().sqrt();
    if norm > limit {
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
        let y: Vec<f32> = crate::network::testing::Numbers(5).take(MANY + 3).map(|n| 9.0 * n).collect();
        for (y, class) in [(&y[..], 7), (&y[..MANY - 1], 200), (&y[..MANY], 0)] {
            assert!((log_softmax_of(y, class) - log_softmax(y)(class)).abs() < 1e-6);
        }
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
    fn pinball_by_hand() {
        // Too low by 2 at 0.9 costs 1.8, too high by 2 costs 0.2.
        assert_eq!(pinball(0.9, -2.0), (1.8, -0.9));
        let (value, slope) = pinball(0.9, 2.0);
        assert!((value - 0.2).abs() < 1e-12 && (slope - 0.1).abs() < 1e-12);
        assert_eq!((pinball(0.5, -3.0), pinball(0.3, 0.0)), ((1.5, -0.5), (0.0, 0.0)));
    }

    #[test]
    fn losses_in_own_units_by_hand() {
        // y = 2 is 2 * 2 + 5 = 9, wanted 3 is 11: |9 - 11| / 10.
        let own = OwnUnits { factor: 2.0, shift: 5.0, log: false };
        let (value, slope) = own.entry(Loss::Smape, 2.0, 3.0);
        assert!((value - 0.2).abs() < 1e-12 && (slope + 2.0 * 44.0 / 400.0).abs() < 1e-12, "{value} {slope}");
        let (value, _) = own.entry(Loss::Msle, 2.0, 3.0);
        assert!((value - (10.0_f64 / 12.0).ln().powi(2)).abs() < 1e-12, "{value}");
        // Both zero; zero beside something; of another sign.
        let plain = OwnUnits { factor: 1.0, shift: 0.0, log: false };
        assert_eq!(plain.entry(Loss::Smape, 0.0, 0.0), (0.0, 0.0));
        assert_eq!(plain.entry(Loss::Smape, 2.0, 0.0), (2.0, 1.0));
        assert_eq!(plain.entry(Loss::Smape, -1.0, 3.0), (2.0, -0.5));
        // Logarithms: ln 10 is 9, ln 12 is 11.
        let log = OwnUnits { factor: 1.0, shift: 0.0, log: true };
        let (value, _) = log.entry(Loss::Smape, 10.0_f64.ln(), 12.0_f64.ln());
        assert!((value - 0.2).abs() < 1e-12, "{value}");
    }

    #[test]
    fn slopes_in_own_units_are_finite_differences_and_bounded() {
        for loss in [Loss::Smape, Loss::Msle, Loss::Huber { delta: 0.5 }] {
            for (factor, shift, log) in [(2.0, 5.0, false), (0.5, 3.0, true), (3.0, -40.0, false)] {
                let own = OwnUnits { factor, shift, log };
                for (y, wanted) in [(0.3, 0.7), (1.4, 0.2), (-0.5, 0.4)] {
                    let at = |y| own.entry(loss, y, wanted).0;
                    let slope = (at(y + 1e-6) - at(y - 1e-6)) / 2e-6;
                    assert!((slope - own.entry(loss, y, wanted).1).abs() < 1e-5, "{loss:?} {own:?} {y}: {slope}");
                }
            }
        }
        let steep = OwnUnits { factor: 1e6, shift: 0.0, log: false };
        assert_eq!(steep.entry(Loss::Smape, 1e-12, 2e-12).1, -8.0);
        let again = OwnUnits::of(&OwnUnits { factor: 0.5, shift: -2.0, log: true }.numbers());
        assert_eq!(again, OwnUnits { factor: 0.5, shift: -2.0, log: true });
    }

    #[test]
    fn what_does_not_count_may_be_nan() {
        let (y, wanted, weight) = ([1.0, f64::NAN, 0.5], [0.5, 1.0, f64::NAN], [1.0, 0.0, 0.0]);
        let mut gradient = Vec::new();
        assert_eq!(loss(Loss::Mse, &y, &wanted, &weight, &mut gradient), 0.25);
        assert_eq!(gradient, [1.0, 0.0, 0.0]);
    }
}
