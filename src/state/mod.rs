//! Rows of state per key, checkpoints, and where they are kept.
//!
//! Lives here: the key table ([`Keys`]: key to slot), the arena ([`Arena`]: slot to row), the checkpoint's bytes, the
//! store of a finite source with its commit protocol ([`Store`]), and the checkpoints of a stream, whole or as what
//! changed ([`Log`]). Must not live here: what a row means (that is each stage's) and when to commit (`runtime`).

mod adoption;
mod arena;
mod bank;
mod chain;
mod checkpoint;
mod checkpoints;
mod delta;
#[cfg(test)]
mod delta_tests;
pub mod difference;
mod frozen;
#[cfg(any(test, fuzzing))]
pub mod hostile;
mod keys;
mod log;
#[cfg(test)]
mod log_swap_tests;
#[cfg(test)]
mod log_tests;
mod log_writer;
mod manifest;
mod memory;
#[cfg(test)]
mod memory_tests;
mod pages;
mod rust_text;
mod sections;
mod source_files;
mod spec;
mod store;
#[cfg(test)]
mod store_tests;
mod stored;
mod topics;

pub use adoption::{Chosen, Kept, Saved};
pub use arena::{Arena, Rows};
pub use bank::{Bank, HostBank, Numbers};
pub(crate) use checkpoint::shown;
pub use checkpoint::{Checkpoint, CommitPosition, FORMAT, ModelEpoch};
pub use checkpoints::{Checkpoints, Durable, Found, Loaded};
pub use difference::{Change, Written};
pub use frozen::{Frozen, Snapshot};
pub use keys::{KeyList, Keys};
pub use log::Log;
pub use log_writer::{GRACE, checkpoint_share};
pub use manifest::{End, Fingerprint, Manifest, OfTopic, Part, RowSpan, STAGED, TZ_DATABASE, Target};
pub use memory::{Memory, State};
pub use pages::{Page, Pages};
pub use source_files::{SourceFile, SourceFiles, hashed};
pub use spec::{BankPlace, FieldSpec, FieldValue, RowLayout, RowPart, StateSpec, Type, bank_words};
pub use store::{Begun, Store};
pub use stored::Stored;
pub use topics::{GROWTH, KnownTopic};
