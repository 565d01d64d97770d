//! Adam (Kingma and Ba 2015) in the two forms there are.

use super::float::Float;
use crate::config::{self, EpsilonForm};

/// Moments of every parameter.
#[derive(Debug, Clone)]
pub struct Adam<F> {
    settings: config::Adam,
    steps: i32,
    first: Vec<F>,
    second: Vec<F>,
}

impl<F: Float> Adam<F> {
    /// For that many parameters.
    pub fn new(settings: config::Adam, parameters: usize) -> Self {
        Adam { settings, steps: 0, first: vec![F::ZERO; parameters], second: vec![F::ZERO; parameters] }
    }

    /// Changes the step size.
    #[cfg(test)]
    pub fn set_learning_rate(&mut self, learning_rate: f64) {
        self.settings.learning_rate = learning_rate;
    }

    /// One update. Keras folds the bias correction into the step size, so its epsilon stands before the correction;
    /// PyTorch corrects the second moment first and adds epsilon after.
    pub fn update(&mut self, parameters: &mut [F], gradients: &[F]) {
        self.steps += 1;
        let config::Adam { learning_rate, beta_1, beta_2, epsilon, epsilon_form } = self.settings;
        let first_correction = 1.0 - beta_1.powi(self.steps);
        let second_correction = 1.0 - beta_2.powi(self.steps);
        let (keep_first, keep_second) = (F::from_f64(beta_1), F::from_f64(beta_2));
        let (take_first, take_second) = (F::from_f64(1.0 - beta_1), F::from_f64(1.0 - beta_2));
        for (((p, g), m), v) in parameters.iter_mut().zip(gradients).zip(&mut self.first).zip(&mut self.second) {
            *m = keep_first * *m + take_first * *g;
            *v = keep_second * *v + take_second * *g * *g;
            let (m, v) = (m.to_f64(), v.to_f64());
            let step = match epsilon_form {
                EpsilonForm::Keras => {
                    learning_rate * second_correction.sqrt() / first_correction * m / (v.sqrt() + epsilon)
                }
                EpsilonForm::Torch => learning_rate / first_correction * m / ((v / second_correction).sqrt() + epsilon),
            };
            *p += -F::from_f64(step);
        }
    }
}
