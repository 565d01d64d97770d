//! How numbers change by their gradients: one file for each optimizer.
//!
//! Lives here: the formulas, with what each keeps of the updates before. Must not live here: the step size of each
//! update (`rate`), gradients (`learner`).

mod adam;
mod adamw;
mod rmsprop;
mod sgd;
#[cfg(test)]
mod tests;

pub use adam::Adam;
pub use adamw::AdamW;
pub use rmsprop::RmsProp;
pub use sgd::Sgd;

use std::ops::Range;

use crate::config;
use crate::kernel::float::Float;

/// The optimizer of a training.
#[derive(Debug, Clone)]
pub enum Optimizer<F> {
    /// Adam.
    Adam(Adam<F>),
    /// Adam with decay of the kernels.
    AdamW(AdamW<F>),
    /// RMSprop.
    RmsProp(RmsProp<F>),
    /// Gradient descent.
    Sgd(Sgd<F>),
}

impl<F: Float> Optimizer<F> {
    /// For that many parameters; `kernels` are those of them that decay.
    pub fn new(settings: config::Optimizer, parameters: usize, kernels: Vec<Range<usize>>) -> Self {
        match settings {
            config::Optimizer::Adam(adam) => Optimizer::Adam(Adam::new(adam, parameters)),
            config::Optimizer::AdamW(adamw) => Optimizer::AdamW(AdamW::new(adamw, parameters, kernels)),
            config::Optimizer::RmsProp(rmsprop) => Optimizer::RmsProp(RmsProp::new(rmsprop, parameters)),
            config::Optimizer::Sgd(sgd) => Optimizer::Sgd(Sgd::new(sgd, parameters)),
        }
    }

    /// Changes the step size.
    pub fn set_learning_rate(&mut self, learning_rate: f64) {
        match self {
            Optimizer::Adam(adam) => adam.set_learning_rate(learning_rate),
            Optimizer::AdamW(adamw) => adamw.set_learning_rate(learning_rate),
            Optimizer::RmsProp(rmsprop) => rmsprop.set_learning_rate(learning_rate),
            Optimizer::Sgd(sgd) => sgd.set_learning_rate(learning_rate),
        }
    }

    /// One update.
    pub fn update(&mut self, parameters: &mut [F], gradients: &[F]) {
        match self {
            Optimizer::Adam(adam) => adam.update(parameters, gradients),
            Optimizer::AdamW(adamw) => adamw.update(parameters, gradients),
            Optimizer::RmsProp(rmsprop) => rmsprop.update(parameters, gradients),
            Optimizer::Sgd(sgd) => sgd.update(parameters, gradients),
        }
    }
}
