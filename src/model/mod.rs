//! The ONNX artefact: contract, sessions, registry.
//!
//! Lives here: what a version is ([`Manifest`]), writing ([`export`]) and reading ([`import`]) `model.onnx`, running it
//! through ONNX Runtime ([`runtime`]), and the registry on disk ([`registry`]). Must not live here: training (`train`),
//! and how state is kept (`state`, `stage::infer`).

mod binding;
mod contract;
pub mod export;
pub mod foreign;
mod graph;
pub mod import;
pub mod layers;
mod layout;
pub mod library;
pub mod proto;
pub mod registry;
pub mod runtime;
mod signature;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use contract::*;
pub use registry::Version;
pub use runtime::Session;
pub use signature::Signature;
