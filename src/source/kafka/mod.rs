//! Kafka by way of librdkafka.
//!
//! Lives here: everything that knows a type of rdkafka. [`Client`] is one worker's consumer and producer behind
//! [`crate::runtime::stream::Broker`]; [`Planned`] is what can be known of the topics before anything starts. Must not live here: when to
//! commit, what to do after a failure, what state a partition has (`runtime::stream`), and what the bytes of a message mean (`format`).

mod adopt;
mod asker;
mod client;
mod context;
mod describe;
mod gathered;
mod membership;
mod monitor;
mod native;
mod plan;
mod position;
mod probe;
mod producer;
mod properties;
mod reset;
mod rights;
mod sample;
mod topic_watch;

pub use adopt::{Seen, commit, look};
pub use client::Client;
pub use monitor::watch;
pub use plan::{Planned, plan};
pub use probe::check_transactions;
pub use producer::Output;
pub use reset::{begin_at, forget};
pub use rights::transactional_ids;
pub use topic_watch::TopicWatch;
