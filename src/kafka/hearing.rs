//! Whether a consumer still reaches its brokers.
//!
//! A broker that is starting or stopping may answer a Metadata request with no broker at all. librdkafka (since 2.10)
//! then gives up each broker that it knows, those of `bootstrap.servers` too, and never connects again, without an
//! error (confluentinc/librdkafka#5301). Heartbeats may go on, since the group's coordinator is kept. Such a consumer
//! can't be healed: another one has to take its place.
//!
//! The watchdog of the runtime can't see this. It looks at single partitions, and asks for their ends by the same
//! consumer to know whether anything is missing. Here no question has an answer, perhaps also because no broker runs.
//! What tells the two apart is another client of the process, which the watchdog doesn't have.

use std::cell::Cell;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};

use super::context::Group;
use super::topic_watch::TopicWatch;

/// How long questions are without an answer before it is looked why.
const PATIENCE: Duration = Duration::from_secs(10);
/// How old an answer to another client may be. An idle process asks every 5 s.
const RECENT: Duration = Duration::from_secs(15);
/// How long a consumer has to find a broker that answers others.
const SURE: Duration = Duration::from_secs(5);
/// How long a broker may take to answer that look.
const LOOK: Duration = Duration::from_secs(1);

/// What one consumer gets answers to.
#[derive(Debug, Default)]
pub(super) struct Hearing {
    /// Since when nothing that was asked has had an answer.
    unanswered: Cell<Option<Instant>>,
    /// Since when others have had answers meanwhile.
    alone: Cell<Option<Instant>>,
}

impl Hearing {
    /// An answer came.
    pub fn heard(&self) {
        self.unanswered.set(None);
        self.alone.set(None);
    }

    /// A question had no answer in its time.
    pub fn missed(&self) {
        if self.unanswered.get().is_none() {
            self.unanswered.set(Some(Instant::now()));
        }
    }

    /// Whether the consumer knows no broker, while another client of the process gets answers.
    pub fn is_deaf(&self, consumer: &BaseConsumer<Group>, topic: Option<&str>, watch: &TopicWatch) -> bool {
        if self.unanswered.get().is_none_or(|since| since.elapsed() < PATIENCE) {
            return false;
        }
        if consumer.fetch_metadata(topic, LOOK).is_ok() {
            self.heard();
            return false;
        }
        if !watch.has_heard(RECENT) {
            self.alone.set(None);
            return false;
        }
        let now = Instant::now();
        let alone = self.alone.get().unwrap_or(now);
        self.alone.set(Some(alone));
        alone.elapsed() >= SURE
    }
}
