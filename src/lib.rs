//! kolk runs recurrent neural networks on streams: one hidden state per key, one step per event.
//!
//! The folders carry the words of the pipeline file; `ARCHITECTURE.md` follows one record through them.
//! The library exists for the binary, its tests and its benches; its interface may change at any version.

pub mod cli;
pub mod config;
pub mod error;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod format;
#[cfg(any(test, fuzzing))]
pub mod hostile;
pub mod http;
pub mod kafka;
pub mod kernel;
pub mod metrics;
pub mod model;
pub mod network;
pub mod problem;
pub mod record;
pub mod runtime;
pub mod sink;
pub mod source;
pub mod stage;
pub mod state;
pub mod storage;
pub mod train;
pub mod zone;

pub use error::{Error, Result};
