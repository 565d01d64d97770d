//! Kafka by way of librdkafka.
//!
//! Lives here: the port [`Broker`], which says what one worker needs from Kafka, and everything that knows a type of
//! rdkafka. [`Client`] implements the port with one worker's consumer and producer; [`Admin`] asks for topics, groups
//! and rights before anything starts. Must not live here: when to commit, what to do after a failure, what state a
//! partition has (`runtime::kafka`), what a source needs of its topic (`source::topic`), and what the bytes of a
//! message mean (`format`).

mod acl;
mod admin;
mod adopt;
mod bounds;
mod broker;
mod client;
mod context;
mod cost;
mod describe;
mod discovery;
mod dismiss;
mod gathered;
mod headers;
mod hearing;
mod joining;
mod leaders;
mod listeners;
mod membership;
mod messages;
mod monitor;
mod native;
mod position;
mod probe;
mod producer;
mod properties;
mod questions;
mod range;
mod reset;
pub mod sample;
mod subscription;
mod topic_watch;

pub use acl::{Right, SEND, TAKE, transactional_ids};
pub use admin::{Admin, FoundTopic, identity};
pub use adopt::{Seen, commit, look};
pub use bounds::ends;
pub use broker::*;
pub use client::Client;
pub use cost::{ClientCost, reading, sending};
pub use discovery::Discovery;
pub use monitor::watch;
pub use probe::check_transactions;
pub use producer::Output;
pub use properties::REFRESH;
pub use range::{RangeReader, offsets};
pub use reset::{begin_at, forget};
pub use subscription::Subscription;
pub use topic_watch::TopicWatch;
