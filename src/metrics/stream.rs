//! What a run on Kafka can say about itself.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus::{GaugeVec, Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::table::Builder;
use super::unsaved::Unsaved;
use super::waits::Waits;
use crate::record::PartitionId;

/// One commit of a transaction: from a local broker to one that is far or overloaded.
const COMMIT_BUCKETS: [f64; 10] = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 60.0];
/// One restore: from an empty partition to millions of keys and a long replay.
const RESTORE_BUCKETS: [f64; 9] = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 60.0, 600.0];

/// The metrics of a stream.
#[derive(Debug)]
pub struct Stream {
    /// Messages that were replayed without emitting after a restore.
    pub replayed: IntCounter,
    /// Restores whose messages did not match the commit.
    pub mismatches: IntCounter,
    /// Partitions whose restore ended, by how long it took.
    restore_seconds: Histogram,
    restoring: IntGauge,
    /// Partitions that changed to another model version.
    pub model_swaps: IntCounter,
    /// How long each of them stood still for it, in seconds.
    pub model_swap_seconds: Histogram,
    model_refused: IntGaugeVec,
    partitions: IntGauge,
    /// Age of the oldest open transaction, in seconds.
    pub open_transaction: prometheus::Gauge,
    transactions: IntCounterVec,
    commit_seconds: Histogram,
    fenced: IntCounter,
    /// Producers that were replaced since a request of a transaction had no answer.
    pub producers_renewed: IntCounter,
    reader_restarts: IntCounterVec,
    reachable: IntGauge,
    lag: IntGaugeVec,
    lag_stable: IntGaugeVec,
    lag_seconds: GaugeVec,
    positions: Mutex<BTreeMap<PartitionId, Position>>,
    /// State that no checkpoint has yet.
    pub unsaved: Unsaved,
    /// What its workers wait for.
    pub waits: Waits,
}

/// How far a partition is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The committed offset.
    pub committed: i64,
    /// Timestamp of the newest message that was taken, milliseconds, or when reading began, if none was; `None`:
    /// nothing is left to be taken.
    pub newest: Option<i64>,
}

impl Stream {
    pub(super) fn build(b: &mut Builder) -> prometheus::Result<Stream> {
        let partition: &[&str] = if b.several { &["topic", "partition"] } else { &["partition"] };
        Ok(Stream {
            lag: b.gauges(
                "kolk_lag_messages",
                "Offsets between the committed offset and the end of the log.",
                partition,
            )?,
            lag_stable: b.gauges(
                "kolk_lag_stable_messages",
                "Offsets between the committed offset and the last stable offset: the messages that can be read at \
                 present.",
                partition,
            )?,
            lag_seconds: b.float_gauges(
                "kolk_lag_seconds",
                "Age of the newest processed message, by its timestamp; before the first one, since the partition was \
                 opened; 0 at the end of the log.",
                partition,
            )?,
            partitions: b.gauge("kolk_partitions", "Partitions of the source that this process owns.")?,
            transactions: b.counters_of(
                "kolk_transactions_total",
                "Transactions by outcome: committed, aborted (and sent again), unknown (resolved by what is \
                 committed).",
                ("outcome", &["committed", "aborted", "unknown"]),
            )?,
            commit_seconds: b.histogram(
                "kolk_commit_seconds",
                "Seconds from the end of a transaction's last message to its confirmation.",
                &COMMIT_BUCKETS,
            )?,
            open_transaction: b.float_gauge(
                "kolk_open_transaction_age_seconds",
                "Age of the open transaction of the worker that reported last; 0 if none is open.",
            )?,
            fenced: b.counter(
                "kolk_fenced_total",
                "Times that another process took over partitions or the transactional id of this one before it gave \
                 them back.",
            )?,
            producers_renewed: b.counter(
                "kolk_producers_renewed_total",
                "Producers that were replaced because a request of a transaction had no answer and might arrive in a \
                 later one.",
            )?,
            reader_restarts: b.counters_of(
                "kolk_reader_restarts_total",
                "Restarts of reading because a partition with messages delivered nothing, by step: seek, assign, \
                 client (for a whole worker).",
                ("step", &["seek", "assign", "client"]),
            )?,
            reachable: b.gauge("kolk_broker_reachable", "1 while a broker answers, else 0.")?,
            replayed: b.counter(
                "kolk_replayed_messages_total",
                "Messages that were replayed without emitting after a restore.",
            )?,
            mismatches: b
                .counter("kolk_replay_mismatches_total", "Restores whose messages did not match the commit.")?,
            restore_seconds: b.histogram(
                "kolk_restore_seconds",
                "Seconds from a partition's assignment until it is ready for new messages.",
                &RESTORE_BUCKETS,
            )?,
            restoring: b.gauge(
                "kolk_restoring_partitions",
                "Partitions that this process was given and restores: they are not at their first new message yet.",
            )?,
            model_swaps: b.counter("kolk_model_swaps_total", "Partitions that changed to another model version.")?,
            model_swap_seconds: b.histogram(
                "kolk_model_swap_seconds",
                "Seconds that a partition paused to change to another model version.",
                &RESTORE_BUCKETS,
            )?,
            model_refused: b.gauges(
                "kolk_model_refused_version",
                "Champion that doesn't fit the pipeline, so that the version before stays active; 0: none.",
                &["model"],
            )?,
            positions: Mutex::default(),
            unsaved: Unsaved::default(),
            waits: Waits::default(),
        })
    }

    /// The champion that doesn't fit; 0: it fits.
    pub fn model_refused(&self, name: &str, version: u64) {
        self.model_refused.with_label_values(&[name]).set(i64::try_from(version).unwrap_or(i64::MAX));
    }

    /// A partition was given and is ready for new messages after so many milliseconds.
    pub fn restored(&self, millis: i64) {
        self.restore_seconds.observe(Duration::from_millis(millis.max(0).unsigned_abs()).as_secs_f64());
    }

    /// A transaction was committed in this many milliseconds.
    pub fn committed(&self, millis: i64) {
        self.transactions.with_label_values(&["committed"]).inc();
        self.commit_seconds.observe(Duration::from_millis(millis.max(0).unsigned_abs()).as_secs_f64());
    }

    /// A transaction was aborted.
    pub fn aborted(&self) {
        self.transactions.with_label_values(&["aborted"]).inc();
    }

    /// The outcome of a transaction is unknown.
    pub fn unknown(&self) {
        self.transactions.with_label_values(&["unknown"]).inc();
    }

    /// Another had partitions or the transactional id.
    pub fn fenced(&self) {
        self.fenced.inc();
    }

    /// Reading of a partition that delivered nothing was restarted, by step.
    pub fn reader_restarted(&self, step: &str) {
        self.reader_restarts.with_label_values(&[step]).inc();
    }

    /// Whether a broker answers.
    pub fn reachable(&self, reachable: bool) {
        self.reachable.set(i64::from(reachable));
    }

    /// Whether a broker answers, as far as is known.
    pub fn is_reachable(&self) -> bool {
        self.reachable.get() == 1
    }

    /// How far a partition is behind: committed offset, last stable offset, end of the log, milliseconds since the
    /// newest message taken (`None`: nothing is left).
    pub fn lag(&self, partition: PartitionId, committed: i64, stable: i64, end: i64, age: Option<i64>) {
        let partition = labels(partition);
        self.lag.with_label_values(&partition).set((end - committed).max(0));
        self.lag_stable.with_label_values(&partition).set((stable - committed).max(0));
        self.lag_seconds.with_label_values(&partition).set(age.map_or(0.0, |age| age.max(0) as f64 / 1000.0));
    }

    /// A partition is this process', and how far it is.
    pub fn position(&self, partition: PartitionId, position: Position) {
        let mut positions = self.positions.lock().unwrap_or_else(PoisonError::into_inner);
        positions.insert(partition, position);
        self.partitions.set(positions.len() as i64);
    }

    /// All partitions of this process.
    pub fn positions(&self) -> BTreeMap<PartitionId, Position> {
        self.positions.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A partition is no longer this process'.
    pub fn gone(&self, partition: PartitionId) {
        let mut positions = self.positions.lock().unwrap_or_else(PoisonError::into_inner);
        positions.remove(&partition);
        self.unsaved.gone(partition);
        self.partitions.set(positions.len() as i64);
        let partition = labels(partition);
        // A partition that was never reported has none.
        let _ = self.lag.remove_label_values(&partition);
        let _ = self.lag_stable.remove_label_values(&partition);
        let _ = self.lag_seconds.remove_label_values(&partition);
    }
}

/// The share of one worker in the gauge of partitions that are restored.
#[derive(Debug, Default)]
pub struct Restoring(usize);

impl Restoring {
    /// This worker restores so many now.
    pub fn show(&mut self, metrics: &Stream, now: usize) {
        metrics.restoring.add(now as i64 - self.0 as i64);
        self.0 = now;
    }
}

/// The labels of a partition: its topic, where there are several, and its number.
fn labels(partition: PartitionId) -> Vec<String> {
    let topic = partition.topic.name().map(str::to_string);
    topic.into_iter().chain([partition.number.to_string()]).collect()
}

#[cfg(test)]
mod tests {
    use crate::metrics::{Metrics, Position, Restoring};
    use crate::record::{PartitionId, SourceTopic};

    #[test]
    fn what_workers_restore_adds_up() {
        let metrics = Metrics::new().unwrap();
        let (mut one, mut other) = (Restoring::default(), Restoring::default());
        one.show(&metrics.stream, 3);
        other.show(&metrics.stream, 2);
        one.show(&metrics.stream, 1);
        metrics.stream.restored(1500);
        let text = metrics.text(true).unwrap();
        assert!(text.contains("\nkolk_restoring_partitions 3\n"));
        assert!(text.contains("\nkolk_restore_seconds_sum 1.5\n"));
    }

    #[test]
    fn partitions_of_several_topics_have_their_topic() {
        let metrics = Metrics::of_topics([("topic", "all")]).unwrap();
        let of = |name: &str| PartitionId::of(SourceTopic::new(name, "metrics"), 3);
        for (partition, end) in [(of("a"), 17), (of("b"), 12)] {
            metrics.stream.position(partition, Position { committed: 10, newest: None });
            metrics.stream.lag(partition, 10, end, end, None);
        }
        let text = metrics.text(true).unwrap();
        assert!(text.contains("kolk_lag_messages{partition=\"3\",topic=\"a\"} 7"), "{text}");
        assert!(
            text.contains("kolk_lag_messages{partition=\"3\",topic=\"b\"} 2")
                && text.contains("kolk_partitions{topic=\"all\"} 2")
        );
        metrics.stream.gone(of("a"));
        let text = metrics.text(true).unwrap();
        assert!(!text.contains("topic=\"a\"") && text.contains("topic=\"b\""), "{text}");
    }
}
