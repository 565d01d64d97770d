//! What a worker goes by, and how long its calls may take.

use std::sync::Arc;
use std::time::Duration;

use super::Expected;
use super::bounded::Bounds;
use crate::config::Start;

/// How long a call that can be repeated may take.
pub(super) const SHORT: Duration = Duration::from_millis(250);
/// How long a commit waits for the answer whether the topic is the same.
pub(super) const ANSWER: Duration = Duration::from_secs(10);

/// What a worker goes by.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Messages of a micro-batch at most.
    pub batch: usize,
    /// A transaction is committed after that time …
    pub commit_every: Duration,
    /// … or with that many bytes of output.
    pub commit_bytes: usize,
    /// A checkpoint is due after that time …
    pub checkpoint_every: Duration,
    /// … or that many messages of a partition.
    pub or_records: u64,
    /// Where a group without offsets begins.
    pub start: Start,
    /// The topics and partitions that are expected.
    pub topics: Arc<Expected>,
    /// Where a bounded run ends; `None`: it has no end.
    pub until: Option<Arc<Bounds>>,
    /// How often a new version of the model is asked for; `None`: never.
    pub model_every: Option<Duration>,
    /// A partition without messages for that long has its time moved on by the clock.
    pub idle: Option<Duration>,
    /// A partition of which nothing is received for that long, although there is something, is read again.
    pub silence: Duration,
    /// How long leaving may take.
    pub grace: Duration,
    /// What a test breaks on purpose.
    #[cfg(test)]
    pub faults: super::faults::Faults,
}
