//! What runs a network: ONNX Runtime.
//!
//! Lives here: its library ([`library`]), a loaded graph ([`Session`]), and comparing what the graph takes and gives with
//! what is expected of it ([`Signature`]). Must not live here: which rows go into a batch, state per key (`stage::infer`).

mod binding;
pub mod library;
mod ort;
mod signature;

pub use self::ort::Session;
pub use signature::Signature;
