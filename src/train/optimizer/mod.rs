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

use super::keep::{Number, Record};
use crate::config;
use crate::kernel::float::Float;
use crate::kernel::threads::Threads;

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

/// What an optimizer keeps from one update to the next, in training checkpoints. Settings are not part of it.
trait Kept {
    /// Puts all of it.
    fn put(&self, record: &mut Record);

    /// Takes all of it.
    fn take(&mut self, record: &Record) -> Result<(), String>;
}

impl<F: Number> Optimizer<F> {
    /// Puts what it keeps into a training checkpoint.
    pub fn put(&self, record: &mut Record) {
        match self {
            Optimizer::Adam(adam) => adam.put(record),
            Optimizer::AdamW(adamw) => adamw.put(record),
            Optimizer::RmsProp(rmsprop) => rmsprop.put(record),
            Optimizer::Sgd(sgd) => sgd.put(record),
        }
    }

    /// Takes it.
    ///
    /// # Errors
    /// What is missing, or of another size.
    pub fn take(&mut self, record: &Record) -> Result<(), String> {
        match self {
            Optimizer::Adam(adam) => adam.take(record),
            Optimizer::AdamW(adamw) => adamw.take(record),
            Optimizer::RmsProp(rmsprop) => rmsprop.take(record),
            Optimizer::Sgd(sgd) => sgd.take(record),
        }
    }
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
    pub fn update(&mut self, threads: &Threads, parameters: &mut [F], gradients: &[F]) {
        match self {
            Optimizer::Adam(adam) => adam.update(threads, parameters, gradients),
            Optimizer::AdamW(adamw) => adamw.update(threads, parameters, gradients),
            Optimizer::RmsProp(rmsprop) => rmsprop.update(parameters, gradients),
            Optimizer::Sgd(sgd) => sgd.update(parameters, gradients),
        }
    }
}
