//! Rows of state per key, checkpoints, and where they are kept.
//!
//! Lives here: the key table ([`Keys`]: key to slot), the arena ([`Arena`]: slot to row), the checkpoint's bytes and the
//! store with its commit protocol. Must not live here: what a row means (that is each stage's) and when to commit
//! (`runtime`).

mod arena;
mod keys;

pub use arena::{Arena, Rows};
pub use keys::{Keys, murmur2, partition_of};
