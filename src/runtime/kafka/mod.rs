//! A run on Kafka: one worker is one thread, one member of the consumer group and one transactional producer.
//!
//! Lives here: the protocol of exactly-once. Which partition's state is loaded and replayed, when a transaction begins
//! and ends, what happens when it fails, what a rebalance revokes, when a checkpoint is taken, how another version of
//! the model takes over. Must not live here: any type of a Kafka client (the worker knows the port
//! [`crate::kafka::Broker`]), bytes of messages (`format`), bytes of checkpoints (`state`).
//!
//! ```text
//! run ─┬─ worker ───┬─ intake ──────── reading, pieces, stall, watchdog   reading, the same for both
//!      │            ├─ restores ────── restore_partition, warm_start
//!      │            ├─ transactions ── outbox, commit
//!      │            ├─ swaps ───────── swap, versions, registered
//!      │            └─ owned ───────── partition_task: taking, replay, dead_letters
//!      └─ to_files ─┬─ intake
//!                   └─ file_task                                         parts and manifests instead of transactions
//! ```

mod adopt;
mod bounded;
mod commit;
mod dead_letters;
#[cfg(test)]
mod faults;
mod file_task;
mod intake;
mod outbox;
mod owned;
mod partition_task;
mod pieces;
mod processing;
mod range;
mod reading;
mod refusals;
mod registered;
mod replay;
mod restore_partition;
mod restores;
mod run;
mod settings;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod spoil;
mod stall;
mod swap;
mod swaps;
mod taking;
mod to_files;
mod topics;
mod transactions;
mod versions;
mod waits;
mod warm_start;
mod watchdog;
mod worker;

pub use adopt::{Adoption, AdoptionStep, Situation, adoption_step};
#[cfg(test)]
pub(crate) use faults::Faults;
pub use intake::Incoming;
pub use processing::Processing;
pub(super) use range::{Takes, read as read_range};
pub use run::{Stop, run};
pub use settings::Settings;
pub use topics::Expected;
pub use versions::{Models, Versions};
