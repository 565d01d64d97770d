//! The ONNX artefact: contract, sessions, registry.
//!
//! Lives here: what a version is ([`Manifest`]), writing and reading `model.onnx`, running it through ONNX Runtime, and
//! the registry on disk. Must not live here: training (`train`), and how state is kept (`state`, `stage::infer`).

mod contract;

pub use contract::*;
