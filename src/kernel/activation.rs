//! Activations over many numbers, forward and backward.
//! Must not live here: their formulas for one number (`float`).

use serde::{Deserialize, Serialize};

use super::float::Float;

/// Activation of a SimpleRNN or a dense layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// None.
    #[default]
    Linear,
    /// max(0, x)
    Relu,
    /// tanh
    Tanh,
}

impl Activation {
    /// Its word in the pipeline file.
    pub fn word(self) -> &'static str {
        match self {
            Activation::Linear => "linear",
            Activation::Relu => "relu",
            Activation::Tanh => "tanh",
        }
    }

    /// Applies it.
    pub fn forward<F: Float>(self, values: &mut [F]) {
        match self {
            Activation::Linear => {}
            Activation::Tanh => tanh_all(values),
            Activation::Relu => values.iter_mut().for_each(|v| *v = v.relu()),
        }
    }

    /// Gradients before it from those after it; `y` is what it gave.
    pub fn backward<F: Float>(self, y: &[F], d: &mut [F]) {
        match self {
            Activation::Linear => {}
            Activation::Tanh => d.iter_mut().zip(y).for_each(|(d, y)| *d *= F::ONE - *y * *y),
            Activation::Relu => d.iter_mut().zip(y).filter(|(_, y)| **y <= F::ZERO).for_each(|(d, _)| *d = F::ZERO),
        }
    }
}

/// tanh of each number.
#[inline]
pub(super) fn tanh_all<F: Float>(values: &mut [F]) {
    values.iter_mut().for_each(|v| *v = v.tanh());
}

/// The logistic function of each number.
#[inline]
pub(super) fn sigmoid_all<F: Float>(values: &mut [F]) {
    values.iter_mut().for_each(|v| *v = v.sigmoid());
}
