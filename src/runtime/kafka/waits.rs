//! What a worker waits for: logged once, and reported by readiness while it lasts.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::kafka::Broker;
use crate::metrics::{LONG, Metrics};
use crate::record::PartitionId;

/// Milliseconds between two questions why there are no partitions.
const ASKED: i64 = 5_000;

/// What a worker can wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wait {
    /// A producer for transactions.
    Producer,
    /// What a transaction of unknown outcome did.
    Outcome,
    /// What is committed of these partitions.
    Offsets(Vec<PartitionId>),
    /// Where these partitions begin and end.
    Ends(Vec<PartitionId>),
    /// The state of these partitions, to be read or written.
    Store(Vec<PartitionId>),
}

impl Wait {
    fn kind(&self) -> &'static str {
        match self {
            Wait::Producer => "producer",
            Wait::Outcome => "outcome",
            // One after the other, and from the beginning where one of them has no answer: together they are one wait.
            Wait::Offsets(_) | Wait::Ends(_) | Wait::Store(_) => "opening",
        }
    }

    fn text(&self) -> String {
        match self {
            Wait::Producer => "no transaction can be begun: the brokers don't provide a producer".into(),
            Wait::Outcome => {
                "the outcome of a transaction is unknown, and the brokers don't report the committed offsets".into()
            }
            Wait::Offsets(partitions) => format!(
                "partitions {partitions:?} can't be opened: a transaction with their offsets is open, or the brokers \
                 don't say what is \
                 committed"
            ),
            Wait::Ends(partitions) => format!(
                "partitions {partitions:?} can't be opened: the brokers that lead them don't say where they begin and \
                 end"
            ),
            Wait::Store(partitions) => {
                format!("partitions {partitions:?} wait for the store of the state, which is slow or doesn't answer")
            }
        }
    }
}

/// What one worker waits for.
pub(super) struct Waits {
    metrics: Arc<Metrics>,
    worker: u64,
    now: Option<Wait>,
    /// Whether it has begun to process what the group gave it, once.
    has_begun: bool,
    /// Since when it has no partitions, and when it was asked why, by the broker's clock.
    idle: Option<i64>,
    asked: i64,
}

impl Waits {
    /// It waits for nothing yet.
    pub fn new(metrics: Arc<Metrics>) -> Waits {
        let worker = metrics.stream.waits.worker();
        Waits { metrics, worker, now: None, has_begun: false, idle: None, asked: 0 }
    }

    /// It waits for this, or for nothing.
    pub fn set(&mut self, wait: Option<Wait>) {
        if self.now == wait && self.idle.is_none() {
            return;
        }
        self.idle = None;
        match &wait {
            Some(wait) => self.metrics.stream.waits.begin(self.worker, wait.kind(), wait.text(), Duration::ZERO),
            None => self.metrics.stream.waits.end(self.worker),
        }
        self.now = wait;
    }

    /// It has partitions, and all of them are restored; or it rightly has none.
    pub fn begun(&mut self) {
        if !std::mem::replace(&mut self.has_begun, true) {
            self.metrics.stream.waits.begun();
        }
    }

    /// It has no partitions. After a while the broker is asked whether that is as it should be.
    pub fn no_partitions(&mut self, broker: &mut impl Broker) {
        if self.now.is_some() {
            self.set(None);
        }
        let now = broker.now();
        let since = *self.idle.get_or_insert(now);
        if now - since < LONG.as_millis() as i64 || now - self.asked < ASKED {
            return;
        }
        self.asked = now;
        match broker.waiting_for() {
            Some(why) => self.metrics.stream.waits.begin(self.worker, "partitions", why, LONG),
            None => {
                self.metrics.stream.waits.end(self.worker);
                self.begun();
            }
        }
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.metrics.stream.waits.end(self.worker);
    }
}

/// Says in the log what takes too long, each reason once while it lasts.
#[derive(Default)]
pub(super) struct Reported {
    waits: BTreeSet<String>,
    refuses_most: bool,
}

impl Reported {
    /// Logs a reason that isn't logged yet, or that there is none left.
    pub fn report(&mut self, overdue: Option<String>) {
        match overdue {
            Some(why) if self.waits.contains(&why) => {}
            Some(why) => {
                tracing::warn!("not ready: {why}");
                self.waits.insert(why);
            }
            None if self.waits.is_empty() => {}
            None => {
                tracing::info!("ready again: the wait is over");
                self.waits.clear();
            }
        }
    }

    /// Logs that most of what comes is refused, when that begins and when it is over.
    pub fn refusals(&mut self, mostly: Option<String>) {
        match (&mostly, self.refuses_most) {
            (Some(said), false) => tracing::warn!("{said}"),
            (None, true) => tracing::info!("most of what comes is taken again"),
            _ => {}
        }
        self.refuses_most = mostly.is_some();
    }
}
