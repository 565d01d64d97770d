//! What a worker asks brokers about its partitions: what is committed, where they begin and end.
//!
//! Each question has a time; one that has no answer in time is asked again, and given longer. The group's coordinator
//! answers what is committed, the leaders of the partitions answer the rest: an answer of one says nothing about the
//! other, so each kind has its own count.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use super::acl::{JOIN, On, Right, TAKE, missing};
use super::broker::{Committed, LogRange};
use super::context::Group;
use super::hearing::Hearing;
use super::leaders;
use super::subscription::{Subscription, number};
use crate::record::PartitionId;
use crate::{Error, Result};

/// How often the time of a question is doubled at most.
const LONGER: u32 = 4;

/// Questions of one kind in a row that had no answer in time.
#[derive(Debug, Default)]
struct Missed(Cell<u32>);

impl Missed {
    /// How long a question may take, longer with each that had no answer: each is asked from the beginning, so that of
    /// a broker that takes its time none would ever be answered.
    fn within(&self, timeout: Duration) -> Duration {
        timeout * (1 << self.0.get().min(LONGER))
    }

    fn another(&self) {
        self.0.set(self.0.get().saturating_add(1));
    }

    fn none(&self) {
        self.0.set(0);
    }
}

/// The questions of one consumer.
pub(super) struct Questions {
    /// The topics asked about.
    pub topics: Arc<Subscription>,
    /// The group asked about.
    pub group: String,
    /// Whether there are answers.
    pub hearing: Hearing,
    by_coordinator: Missed,
    by_leaders: Missed,
}

impl Questions {
    /// Of the topics of a source, and a group.
    pub fn new(topics: Arc<Subscription>, group: String) -> Questions {
        let hearing = Hearing::default();
        Questions { topics, group, hearing, by_coordinator: Missed::default(), by_leaders: Missed::default() }
    }

    /// Partitions with offsets.
    pub fn list(&self, partitions: impl IntoIterator<Item = (PartitionId, Offset)>) -> Result<TopicPartitionList> {
        self.topics.list(partitions)
    }

    /// Partitions without offsets.
    pub fn named(&self, partitions: &[PartitionId]) -> Result<TopicPartitionList> {
        self.list(partitions.iter().map(|partition| (*partition, Offset::Invalid)))
    }

    /// See [`super::Broker::committed`].
    pub fn committed(
        &self,
        consumer: &BaseConsumer<Group>,
        partitions: &[PartitionId],
        timeout: Duration,
    ) -> Result<Option<Vec<Option<Committed>>>> {
        let later = |error: &KafkaError| {
            self.by_coordinator.another();
            self.later(error, "asking for committed offsets").map(|()| None)
        };
        let list = self.named(partitions)?;
        let found = match consumer.committed_offsets(list, self.by_coordinator.within(timeout)) {
            Ok(found) => found,
            Err(error) => return later(&error),
        };
        let mut all = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let Some(element) = found.find_partition(self.topics.topic_of(*partition), number(*partition)) else {
                return Ok(None);
            };
            if let Err(error) = element.error() {
                return later(&error);
            }
            all.push(match element.offset() {
                Offset::Offset(offset) => Some(Committed { offset, metadata: element.metadata().to_string() }),
                _ => None,
            });
        }
        self.by_coordinator.none();
        // A consumer keeps its coordinator where it has lost all other brokers: while leaders are silent, that is no
        // sign of them.
        if self.by_leaders.0.get() == 0 {
            self.hearing.heard();
        }
        Ok(Some(all))
    }

    /// See [`super::Broker::range`].
    pub fn range(
        &self,
        consumer: &BaseConsumer<Group>,
        partition: PartitionId,
        timeout: Duration,
    ) -> Result<Option<LogRange>> {
        let within = self.by_leaders.within(timeout);
        match consumer.fetch_watermarks(self.topics.topic_of(partition), number(partition), within) {
            Ok((start, end)) => {
                self.answered();
                Ok(Some(LogRange { start, end }))
            }
            Err(error) => {
                let what = "asking for the ends of a partition";
                self.without_leader(consumer, &[partition], timeout, Some(&error), what).map(|()| None)
            }
        }
    }

    /// See [`super::Broker::ends`].
    pub fn ends(
        &self,
        consumer: &BaseConsumer<Group>,
        partitions: &[PartitionId],
        timeout: Duration,
    ) -> Result<Option<Vec<i64>>> {
        // A question for the offset of a time, whose answer for this "time" is the end, takes one request for all
        // partitions of a broker.
        let list = self.list(partitions.iter().map(|partition| (*partition, Offset::End)))?;
        let found = match consumer.offsets_for_times(list, self.by_leaders.within(timeout)) {
            Ok(found) => Ok(partitions.iter().map(|partition| self.offset_of(&found, *partition)).collect()),
            Err(error) => Err(error),
        };
        if let Ok(Some(ends)) = found {
            self.answered();
            return Ok(Some(ends));
        }
        self.without_leader(consumer, partitions, timeout, found.err().as_ref(), "asking for the ends of partitions")
            .map(|()| None)
    }

    /// See [`super::Broker::offset_at`].
    pub fn offset_at(
        &self,
        consumer: &BaseConsumer<Group>,
        partition: PartitionId,
        timestamp: i64,
        timeout: Duration,
    ) -> Result<Option<i64>> {
        let list = self.list([(partition, Offset::Offset(timestamp))])?;
        let found = consumer.offsets_for_times(list, self.by_leaders.within(timeout));
        match found.as_ref().ok().and_then(|found| self.element(found, partition)) {
            Some(Offset::Offset(offset)) => {
                self.answered();
                Ok(Some(offset))
            }
            Some(Offset::End) => Ok(self.range(consumer, partition, timeout)?.map(|range| range.end)),
            _ => {
                let what = "asking for the offset of a time";
                self.without_leader(consumer, &[partition], timeout, found.err().as_ref(), what).map(|()| None)
            }
        }
    }

    fn element(&self, found: &TopicPartitionList, partition: PartitionId) -> Option<Offset> {
        let element = found.find_partition(self.topics.topic_of(partition), number(partition))?;
        element.error().is_ok().then(|| element.offset())
    }

    fn offset_of(&self, found: &TopicPartitionList, partition: PartitionId) -> Option<i64> {
        match self.element(found, partition) {
            Some(Offset::Offset(offset)) => Some(offset),
            _ => None,
        }
    }

    /// The leaders of partitions answered.
    fn answered(&self) {
        self.by_leaders.none();
        self.hearing.heard();
    }

    /// They did not: perhaps others lead the partitions by now.
    fn without_leader(
        &self,
        consumer: &BaseConsumer<Group>,
        partitions: &[PartitionId],
        timeout: Duration,
        error: Option<&KafkaError>,
        what: &str,
    ) -> Result<()> {
        self.by_leaders.another();
        match error {
            Some(error) => self.later(error, what)?,
            None => {
                tracing::debug!(what, "asking again: a partition has no answer");
                self.hearing.missed();
            }
        }
        let topics: BTreeSet<&str> = partitions.iter().map(|partition| self.topics.topic_of(*partition)).collect();
        // Where no broker answers, one question shows it.
        topics.into_iter().all(|topic| leaders::look_again(consumer, topic, timeout));
        Ok(())
    }

    /// An answer that can't be had at present; an error where waiting won't help.
    fn later(&self, error: &KafkaError, what: &str) -> Result<()> {
        match error.rdkafka_error_code() {
            Some(code @ (RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::GroupAuthorizationFailed)) => {
                Err(self.denied(code, what))
            }
            _ => {
                tracing::debug!(%error, what, "asking again");
                self.hearing.missed();
                Ok(())
            }
        }
    }

    /// A right is missing.
    pub fn denied(&self, code: RDKafkaErrorCode, what: &str) -> Error {
        let missing = match code {
            RDKafkaErrorCode::GroupAuthorizationFailed => missing(Right::Read, On::Group(&self.group), JOIN),
            _ => missing(Right::Read, On::Topic(&self.topics.shown()), TAKE),
        };
        Error::failed(format!("kafka: {what}: {missing}"))
    }
}
