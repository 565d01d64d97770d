//! A run on Kafka: one worker is one thread, one member of the consumer group and one transactional producer.
//!
//! Lives here: the protocol of exactly-once. Which partition's state is loaded and replayed, when a transaction begins and
//! ends, what is done when it fails, what a rebalance takes away, when a checkpoint is cut, how another version of the model
//! takes over. Must not live here: any type of
//! a Kafka client ([`Broker`] is implemented by `source::kafka`), bytes of messages (`format`), bytes of
//! checkpoints (`state`).

mod adopt;
mod broker;
mod chains;
mod checkpoints;
mod commit;
#[cfg(test)]
mod faults;
mod filing;
mod history;
mod lane;
mod letters;
mod loading;
mod outbox;
mod pieces;
mod processing;
mod refusals;
mod replay;
mod restore;
mod run;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod spoil;
mod stall;
mod swap;
mod transaction;
mod waits;
mod watchdog;
mod worker;

pub use adopt::{Adoption, Saved, Situation, Step, step};
pub use broker::*;
pub(crate) use chains::shown;
pub use chains::{Chains, Models};
pub use checkpoints::*;
#[cfg(test)]
pub(crate) use faults::Faults;
pub use history::History;
pub use processing::Processing;
pub use run::{Stop, run};
pub use waits::NO_BROKER;
pub use worker::{Settings, Worker};
