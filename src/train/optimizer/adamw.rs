//! AdamW (Loshchilov and Hutter 2019): p = p - step size · weight decay · p, then as Adam. Keras and PyTorch have the
//! same formula. Only kernels decay: a bias or a gain near zero is no simpler network.

use std::ops::Range;

use super::{Adam, Kept};
use crate::config;
use crate::kernel::float::Float;
use crate::kernel::threads::Threads;
use crate::train::keep::{Number, Record};

/// Adam's moments, and what decays.
#[derive(Debug, Clone)]
pub struct AdamW<F> {
    adam: Adam<F>,
    learning_rate: f64,
    weight_decay: f64,
    kernels: Vec<Range<usize>>,
}

impl<F: Float> AdamW<F> {
    /// For that many parameters, of which these decay.
    pub fn new(settings: config::AdamW, parameters: usize, kernels: Vec<Range<usize>>) -> Self {
        let config::AdamW { adam, weight_decay } = settings;
        AdamW { adam: Adam::new(adam, parameters), learning_rate: adam.learning_rate, weight_decay, kernels }
    }

    /// Changes the step size.
    pub fn set_learning_rate(&mut self, learning_rate: f64) {
        self.learning_rate = learning_rate;
        self.adam.set_learning_rate(learning_rate);
    }

    /// One update.
    pub fn update(&mut self, threads: &Threads, parameters: &mut [F], gradients: &[F]) {
        let kept = F::from_f64(1.0 - self.learning_rate * self.weight_decay);
        let kernels = &self.kernels;
        self.adam.update_after(threads, parameters, gradients, &|range, parameters| {
            for kernel in kernels {
                let (first, last) = (kernel.start.max(range.start), kernel.end.min(range.end));
                if first < last {
                    parameters[first - range.start..last - range.start].iter_mut().for_each(|p| *p *= kept);
                }
            }
        });
    }
}

impl<F: Number> Kept for AdamW<F> {
    fn put(&self, record: &mut Record) {
        self.adam.put(record);
    }

    fn take(&mut self, record: &Record) -> Result<(), String> {
        self.adam.take(record)
    }
}
