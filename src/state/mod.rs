//! Rows of state per key, checkpoints, and where they are kept.
//!
//! Lives here: the key table ([`Keys`]: key to slot), the arena ([`Arena`]: slot to row), the checkpoint's bytes and the
//! store with its commit protocol. Must not live here: what a row means (that is each stage's) and when to commit
//! (`runtime`).

mod arena;
mod checkpoint;
mod folder;
mod keys;
mod log;
mod manifest;
mod store;
#[cfg(test)]
mod store_tests;

pub use arena::{Arena, Rows};
pub use checkpoint::{Checkpoint, FORMAT, Mark, Snapshot};
pub use folder::{Folder, block_on};
pub use keys::{Keys, murmur2, partition_of};
pub use log::Log;
pub use manifest::{Change, Fingerprint, Manifest, Part, RowSpan, STAGED, Target};
pub use store::{Store, unique_name};
