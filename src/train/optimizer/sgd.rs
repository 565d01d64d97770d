//! Gradient descent, as Keras has it: p = p - step size · g; with momentum m = μ m - step size · g and p = p + m; by
//! Nesterov p = p + μ m - step size · g with that same m. PyTorch's is the same as long as the step size stays: it
//! multiplies m by it last.

use super::Kept;
use crate::config;
use crate::kernel::float::Float;
use crate::train::keep::{Number, Record};

/// Momentum of every parameter.
#[derive(Debug, Clone)]
pub struct Sgd<F> {
    settings: config::Sgd,
    /// Empty without momentum.
    velocity: Vec<F>,
}

impl<F: Float> Sgd<F> {
    /// For that many parameters.
    pub fn new(settings: config::Sgd, parameters: usize) -> Self {
        let moving = if settings.momentum > 0.0 { parameters } else { 0 };
        Sgd { settings, velocity: vec![F::ZERO; moving] }
    }

    /// Changes the step size.
    pub fn set_learning_rate(&mut self, learning_rate: f64) {
        self.settings.learning_rate = learning_rate;
    }

    /// One update.
    pub fn update(&mut self, parameters: &mut [F], gradients: &[F]) {
        let config::Sgd { learning_rate, momentum, nesterov } = self.settings;
        let (rate, momentum) = (F::from_f64(learning_rate), F::from_f64(momentum));
        if self.velocity.is_empty() {
            parameters.iter_mut().zip(gradients).for_each(|(p, g)| *p += -(rate * *g));
            return;
        }
        for ((p, g), m) in parameters.iter_mut().zip(gradients).zip(&mut self.velocity) {
            let step = -(rate * *g);
            *m = momentum * *m + step;
            *p += if nesterov { momentum * *m + step } else { *m };
        }
    }
}

impl<F: Number> Kept for Sgd<F> {
    fn put(&self, record: &mut Record) {
        record.put("optimizer/velocity", &self.velocity);
    }

    fn take(&mut self, record: &Record) -> Result<(), String> {
        record.take_into("optimizer/velocity", &mut self.velocity)
    }
}
