//! The arithmetic of networks, forward and backward: one file per cell, the matrix product, vectorised activations.
//!
//! Lives here: what is computed from numbers alone. Must not live here: which layers a network has (`network`), how
//! numbers are learned (`train`), files (`model`).

pub mod float;
mod gates;
pub mod gemm;
mod gru;
pub mod layer;
mod lstm;
mod simple_rnn;
