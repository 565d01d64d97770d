//! `model.onnx`: writing our own networks, reading them back, looking into those of others and changing these where
//! that is needed to run them: passes on the file's messages that say what they changed.
//! Must not live here: running a graph (`executor`), where files are kept (`registry`).

pub mod backport;
mod batch_axes;
pub mod bounds;
pub mod constants;
pub mod copies;
pub mod declared;
mod decoder;
pub mod export;
pub mod file;
pub mod fold;
pub(super) mod graph;
pub mod import;
pub mod inline;
pub mod inspect;
pub mod lengths;
pub mod open_batch;
pub(super) mod operands;
pub mod operators;
mod patches;
mod pool;
pub mod proto;
pub mod prove;
pub mod recognise;
mod step;
#[cfg(test)]
pub(super) mod testing;
pub mod values;
pub mod view;
pub mod wiring;
