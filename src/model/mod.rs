//! The ONNX artefact: manifest, registry, files, sessions.
//!
//! Lives here: what a version is ([`Manifest`]), writing ([`onnx::export`]) and reading ([`onnx::import`])
//! `model.onnx`, running it ([`executor`]), the registry on disk ([`registry`]), signatures ([`signing`]), and weights
//! of others ([`weights`]).
//! Must not live here: training (`train`), and how state is kept (`state`, `stage::infer`).

pub mod card;
pub mod executor;
mod groups;
pub mod import;
mod manifest;
pub mod onnx;
pub mod registry;
pub mod signing;
mod version_files;
pub mod weights;

#[cfg(test)]
mod foreign_tests;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use executor::Session;
pub use groups::{GroupNetwork, Groups};
pub use manifest::*;
pub use registry::Version;
