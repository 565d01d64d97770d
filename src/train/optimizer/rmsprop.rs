//! RMSprop (Tieleman and Hinton 2012): v = ρ v + (1 - ρ) g², and a step along g over the root of v.
//!
//! Keras: s = step size · g / sqrt(v + epsilon); with momentum m = μ m + s and p = p - m.
//! PyTorch: s = g / (sqrt(v) + epsilon); with momentum m = μ m + s and p = p - step size · m.
//! Beside the place of epsilon they differ only where the step size changes: PyTorch's scales the steps before, too.

use super::Kept;
use crate::config::{self, EpsilonForm};
use crate::kernel::float::Float;
use crate::train::keep::{Number, Record};

/// Means of squares and momentum of every parameter.
#[derive(Debug, Clone)]
pub struct RmsProp<F> {
    settings: config::RmsProp,
    squares: Vec<F>,
    /// Empty without momentum.
    velocity: Vec<F>,
}

impl<F: Float> RmsProp<F> {
    /// For that many parameters.
    pub fn new(settings: config::RmsProp, parameters: usize) -> Self {
        let moving = if settings.momentum > 0.0 { parameters } else { 0 };
        RmsProp { settings, squares: vec![F::ZERO; parameters], velocity: vec![F::ZERO; moving] }
    }

    /// Changes the step size.
    pub fn set_learning_rate(&mut self, learning_rate: f64) {
        self.settings.learning_rate = learning_rate;
    }

    /// One update.
    pub fn update(&mut self, parameters: &mut [F], gradients: &[F]) {
        let config::RmsProp { learning_rate, rho, momentum, epsilon, epsilon_form } = self.settings;
        let take = F::from_f64(1.0 - rho);
        let (momentum, rate) = (F::from_f64(momentum), F::from_f64(learning_rate));
        // The step size comes into the step, or onto it, and so does epsilon.
        let ((under, beside), (inner, outer)) = match epsilon_form {
            EpsilonForm::Keras => ((F::from_f64(epsilon), F::ZERO), (rate, F::ONE)),
            EpsilonForm::Torch => ((F::ZERO, F::from_f64(epsilon)), (F::ONE, rate)),
        };
        let mut velocity = self.velocity.iter_mut();
        for ((p, g), v) in parameters.iter_mut().zip(gradients).zip(&mut self.squares) {
            *v += (*g * *g - *v) * take;
            let step = inner * *g / ((*v + under).sqrt() + beside);
            let step = match velocity.next() {
                Some(m) => {
                    *m = momentum * *m + step;
                    *m
                }
                None => step,
            };
            *p += -(outer * step);
        }
    }
}

impl<F: Number> Kept for RmsProp<F> {
    fn put(&self, record: &mut Record) {
        record.put("optimizer/squares", &self.squares);
        record.put("optimizer/velocity", &self.velocity);
    }

    fn take(&mut self, record: &Record) -> Result<(), String> {
        record.take_into("optimizer/squares", &mut self.squares)?;
        record.take_into("optimizer/velocity", &mut self.velocity)
    }
}
