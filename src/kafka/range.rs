//! A range of topics, read once from its first to its last message by a client that is a member of no group.
//!
//! Lives here: which offsets the range has in each partition, and its messages. Nothing is committed. Must not live
//! here: what the messages mean (`format`), and what is done with their records (`runtime`).

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Message as _, Offset, TopicPartitionList};

use super::bounds::{Bound, bound};
use super::context::Door;
use super::position::{out_of_range, position};
use super::subscription::{Received, Subscription, number};
use super::{headers, properties};
use crate::config::{Delivery, KafkaSource, Moment, Start, TopicRange};
use crate::error::Context;
use crate::format::Messages;
use crate::record::PartitionId;
use crate::{Error, Result};

/// How long nothing may come.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long one poll waits.
const POLL: Duration = Duration::from_millis(100);
/// Messages of a partition that are handed over at once, and bytes that wait in all partitions, at most.
const MOST: (usize, usize) = (4096, 32 << 20);

/// The offsets of a range in each partition, as they are now. What isn't written ends where a reader of committed
/// messages finds the end at present.
///
/// # Errors
/// Refused: offsets that the topic doesn't have. Failed: no broker that answers in time.
pub fn offsets(
    source: &KafkaSource,
    topics: &Subscription,
    range: &TopicRange,
) -> Result<BTreeMap<PartitionId, Range<i64>>> {
    let ends = bound(source, topics, Delivery::ExactlyOnce, Bound::from(range.until)?)?;
    let lowest = bound(source, topics, Delivery::ExactlyOnce, Bound(Offset::Beginning))?;
    let starts = match range.start {
        Start::At(Moment::Instant(at)) => {
            bound(source, topics, Delivery::ExactlyOnce, Bound(Offset::Offset(at.timestamp_millis())))?
        }
        _ => lowest.clone(),
    };
    let refused = |message: String| Err(Error::refused(format!("train.data: topic {}: {message}", topics.shown())));
    if let Some(other) = range.first.keys().chain(range.ends.keys()).find(|it| !ends.contains_key(&(**it).into())) {
        return refused(format!("there is no partition {other}: it has {} partitions", ends.len()));
    }
    let mut offsets = BTreeMap::new();
    for (partition, last) in ends {
        let low = lowest.get(&partition).copied().unwrap_or(0);
        let found = starts.get(&partition).copied().unwrap_or(low);
        let (first, end) = (range.first.get(&partition.number), range.ends.get(&partition.number));
        if let Some(first) = first.filter(|first| **first < low) {
            return refused(format!(
                "partition {partition}: offsets {first} to {} are no longer there: retention or compaction has \
                 removed them, and the partition begins at {low}",
                low - 1
            ));
        }
        if let Some(end) = end.filter(|end| **end > last) {
            return refused(format!(
                "partition {partition}: `until` is offset {end}, and its committed messages end before {last}"
            ));
        }
        let first = first.copied().unwrap_or(found);
        let end = end.copied().unwrap_or(last);
        offsets.insert(partition, first..end.max(first));
    }
    Ok(offsets)
}

/// Reads a range.
pub struct RangeReader {
    consumer: BaseConsumer<Door>,
    brokers: String,
    topics: Arc<Subscription>,
    received: Received,
    headers: headers::Read,
    /// The partitions that are read, and the offset before which each ends.
    open: BTreeMap<PartitionId, i64>,
    /// Messages that were not handed over.
    waiting: BTreeMap<PartitionId, Messages>,
    bytes: usize,
    heard: Instant,
}

impl RangeReader {
    /// Begins to read.
    ///
    /// # Errors
    /// Properties that librdkafka doesn't take.
    pub fn new(
        source: &KafkaSource,
        topics: &Arc<Subscription>,
        offsets: &BTreeMap<PartitionId, Range<i64>>,
    ) -> Result<RangeReader> {
        let mut config = properties::looking(source, Delivery::ExactlyOnce);
        // librdkafka wants a name; without a commit or a subscription nobody is told of it.
        config.set("group.id", source.group.as_str()).set("enable.auto.commit", "false");
        config.set("enable.partition.eof", "true").set("auto.offset.reset", "error");
        config.set("fetch.queue.backoff.ms", "10");
        let consumer: BaseConsumer<Door> = config.create_with_context(Door::default()).map_err(properties::refused)?;
        let wanted = || offsets.iter().filter(|(_, range)| !range.is_empty());
        let list = topics.list(wanted().map(|(partition, range)| (*partition, Offset::Offset(range.start))))?;
        consumer.assign(&list).or_failed(|| "kafka: reading the partitions of a range".into())?;
        Ok(RangeReader {
            consumer,
            brokers: source.brokers.value.clone(),
            topics: topics.clone(),
            received: Received::default(),
            headers: headers::Read::new(false, source.encoding.has_schemas()),
            open: wanted().map(|(partition, range)| (*partition, range.end)).collect(),
            waiting: BTreeMap::new(),
            bytes: 0,
            heard: Instant::now(),
        })
    }

    /// The next messages of a partition, in the order of their offsets; `None`: the range is read.
    ///
    /// # Errors
    /// Messages that were removed before they were read; no right to read; nothing that comes.
    pub fn next_messages(&mut self) -> Result<Option<(PartitionId, Messages)>> {
        loop {
            if let Some(next) = self.take() {
                return Ok(Some(next));
            }
            if self.open.is_empty() {
                return Ok(None);
            }
            let RangeReader { consumer, topics, received, headers, open, waiting, bytes, heard, .. } = self;
            let ended = match consumer.poll(POLL) {
                Some(Ok(message)) => {
                    *heard = Instant::now();
                    let Some(of) = received.partition(topics, message.topic(), message.partition()) else { continue };
                    let Some(end) = open.get(&of).copied() else { continue };
                    if message.offset() < end {
                        let messages = waiting.entry(of).or_insert_with(|| Messages::of(message.topic(), of.number));
                        let before = messages.bytes();
                        let timestamp = message.timestamp().to_millis().unwrap_or(-1);
                        messages.push(message.offset(), timestamp, message.key(), message.payload());
                        messages.headers.extend(headers.of(&message));
                        *bytes += messages.bytes() - before;
                    }
                    (message.offset() + 1 >= end).then_some(of.number)
                }
                // Its last messages may be aborted ones, which never come.
                Some(Err(KafkaError::PartitionEOF(ended))) => {
                    *heard = Instant::now();
                    u32::try_from(ended).ok()
                }
                Some(Err(error)) => {
                    self.judge(&error)?;
                    None
                }
                None => None,
            };
            if let Some(number) = ended {
                self.end(number)?;
            }
            self.be_patient()?;
        }
    }

    /// Messages to hand over: a partition that has many or has ended, or the fullest if there are many in all.
    fn take(&mut self) -> Option<(PartitionId, Messages)> {
        let is_due = |(of, messages): (&PartitionId, &Messages)| {
            (messages.len() >= MOST.0 || !self.open.contains_key(of)).then_some(*of)
        };
        let due = self.waiting.iter().find_map(is_due);
        let fullest = || self.waiting.iter().max_by_key(|(_, messages)| messages.bytes()).map(|(of, _)| *of);
        let due = due.or_else(|| if self.bytes >= MOST.1 { fullest() } else { None })?;
        let messages = self.waiting.remove(&due)?;
        self.bytes -= messages.bytes();
        Some((due, messages))
    }

    /// Looks which partitions with a number are where they end.
    fn end(&mut self, of_number: u32) -> Result<()> {
        let mut ended = Vec::new();
        for (partition, end) in self.open.iter().filter(|(partition, _)| partition.number == of_number) {
            let at = position(self.consumer.client(), self.topics.topic_of(*partition), number(*partition));
            if at.is_some_and(|at| at >= *end) {
                ended.push(*partition);
            }
        }
        let mut list = TopicPartitionList::new();
        for partition in ended {
            self.open.remove(&partition);
            list.add_partition(self.topics.topic_of(partition), number(partition));
        }
        if list.count() == 0 {
            return Ok(());
        }
        self.consumer.pause(&list).or_failed(|| "kafka: pausing".into())
    }

    /// What an error means: that nothing more will come, or nothing, as librdkafka tries again.
    fn judge(&self, error: &KafkaError) -> Result<()> {
        let topics = self.topics.shown();
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::OffsetOutOfRange | RDKafkaErrorCode::AutoOffsetReset) => {
                let of = out_of_range(&self.consumer, &self.topics, |_| None);
                let of = of.map(|of| format!("partition {of}: ")).unwrap_or_default();
                Err(Error::failed(format!(
                    "kafka: topic {topics}: {of}messages of the range were removed (by retention, or the topic was \
                     created again) before they were read: let `train.data` begin later"
                )))
            }
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                Err(Error::failed(format!("kafka: topic {topics}: no right to read it: {error}")))
            }
            _ if matches!(error, KafkaError::MessageConsumptionFatal(_)) => {
                Err(Error::failed(format!("kafka: topic {topics}: {error}")))
            }
            _ => {
                tracing::debug!(%error, "librdkafka tries again");
                Ok(())
            }
        }
    }

    fn be_patient(&self) -> Result<()> {
        if self.heard.elapsed() < PATIENCE {
            return Ok(());
        }
        let door = self.consumer.context();
        let why = door.turned_away(&self.brokers).or_else(|| door.last());
        let why = why.unwrap_or_else(|| "a transaction that is still open, or a partition without a leader".into());
        let missing: Vec<String> = self.open.iter().map(|(of, end)| format!("{of} before offset {end}")).collect();
        Err(Error::failed(format!(
            "kafka: topic {}: nothing came for {} s of the range in partition {}: {why}",
            self.topics.shown(),
            PATIENCE.as_secs(),
            missing.join(", ")
        )))
    }
}
