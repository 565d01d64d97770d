//! Where predictions go.
//!
//! Lives here: which columns are written and how a batch becomes them ([`PlannedSink`]), part files ([`Parts`]), JSON
//! lines ([`JsonLines`]), dead letters ([`DeadLetters`]). Must not live here: when a part is cut and when it becomes
//! visible (`runtime` and `state`).

mod dead_letters;
mod part;
mod plan;
mod stdout;
#[cfg(test)]
mod tests;

pub use dead_letters::{DeadLetter, DeadLetters};
pub use part::{PartWriter, Parts};
pub use plan::{PlannedSink, plan};
pub use stdout::JsonLines;
