//! What a network is, as data: its layers, its tensors by name, its summary.
//!
//! Lives here: shapes and names ([`Architecture`], [`Tensor`]), and the layers as rows of a table ([`summary`]). Must not
//! live here: arithmetic (`kernel`, `train`), files (`model`).

mod architecture;
pub mod summary;
mod tensors;
#[cfg(test)]
pub(crate) mod testing;

pub use architecture::*;
pub use tensors::Tensor;
pub(crate) use tensors::{ByName, bias_to_keras, bias_to_onnx, kernel_to_keras, kernel_to_onnx};
