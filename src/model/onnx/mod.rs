//! `model.onnx`: writing our own networks, reading them back, looking into those of others.
//! Must not live here: running a graph (`executor`), where files are kept (`registry`).

pub mod declared;
mod batch_axes;
pub mod export;
pub mod file;
pub(super) mod graph;
pub mod import;
pub mod inspect;
mod operands;
pub mod operators;
pub mod proto;
pub mod wiring;
#[cfg(test)]
mod testing;
pub mod values;
pub mod view;
