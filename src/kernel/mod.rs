//! The arithmetic of networks, forward and backward: one file per cell, layers over time, the matrix product,
//! activations, the decoding of transcripts.
//!
//! Lives here: what is computed from numbers alone, and what each cell is ([`cell::Form`]). Must not live here: which
//! layers a network has (`network`), how numbers are learned (`train`), files (`model`).

pub mod activation;
mod blocks;
pub mod cell;
pub mod ctc;
pub mod dense;
pub mod float;
pub mod gemm;
mod gru;
mod kind;
pub mod lanes;
pub mod layer_norm;
mod layer_norm_lstm;
mod lstm;
mod min_gru;
pub mod recurrent;
mod simple_rnn;
pub mod softmax;
pub mod threads;

pub use activation::Activation;
pub use kind::{CellKind, words};
