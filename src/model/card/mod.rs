//! The card of an ONNX file: proposing one, and comparing one with the file.
//!
//! Lives here: what can be found out without a run, by wires, names and shapes. Must not live here: how a card is
//! written down by a user (`config::card`), and whether what it says is true (`model::import`).

mod names;
mod propose;
mod resolve;
mod shape;
mod text;

#[cfg(test)]
mod tests;

pub use propose::{Found, Proposal, propose};
pub use resolve::{Constant, Resolved, ResolvedOutput, Width, resolve};
pub use text::{key, value};
