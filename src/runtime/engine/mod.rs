//! What happens between a source and a sink, wherever they are: routing, a partition's state, the stages.
//!
//! Lives here: the stages as they run ([`Chain`]), one partition ([`Partition`]), and records dealt out to partitions
//! ([`Router`]), and what is said of a record that is refused. Must not live here: threads, when to commit, and
//! anything of files or Kafka.

mod chain;
mod partition;
mod refused;
mod route;

pub use chain::{Chain, Order};
pub use partition::Partition;
pub use refused::refused;
pub use route::{Router, Work};
