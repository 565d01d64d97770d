//! What a worker asks brokers about its partitions: what is committed, where they begin and end.
//!
//! Each question has a time; one that has no answer in time is asked again, and given longer.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use super::acl::{JOIN, On, Right, TAKE, missing};
use super::broker::{Committed, LogRange};
use super::context::Group;
use super::hearing::Hearing;
use super::subscription::{Subscription, number};
use crate::record::PartitionId;
use crate::{Error, Result};

/// How often the time of a question is doubled at most.
const LONGER: u32 = 4;
/// The questions of one consumer.
pub(super) struct Questions {
    /// The topics asked about.
    pub topics: Arc<Subscription>,
    /// The group asked about.
    pub group: String,
    /// Whether there are answers.
    pub hearing: Hearing,
    /// Questions in a row that had no answer in time.
    unanswered: Cell<u32>,
}

impl Questions {
    /// Of the topics of a source, and a group.
    pub fn new(topics: Arc<Subscription>, group: String) -> Questions {
        Questions { topics, group, hearing: Hearing::default(), unanswered: Cell::new(0) }
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
        let list = self.named(partitions)?;
        let found = match consumer.committed_offsets(list, self.within(timeout)) {
            Ok(found) => found,
            Err(error) => return self.later(&error, "asking for committed offsets").map(|()| None),
        };
        let mut all = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let Some(element) = found.find_partition(self.topics.topic_of(*partition), number(*partition)) else {
                return Ok(None);
            };
            if let Err(error) = element.error() {
                return self.later(&error, "asking for committed offsets").map(|()| None);
            }
            all.push(match element.offset() {
                Offset::Offset(offset) => Some(Committed { offset, metadata: element.metadata().to_string() }),
                _ => None,
            });
        }
        self.answered();
        Ok(Some(all))
    }

    /// See [`super::Broker::range`].
    pub fn range(
        &self,
        consumer: &BaseConsumer<Group>,
        partition: PartitionId,
        timeout: Duration,
    ) -> Result<Option<LogRange>> {
        match consumer.fetch_watermarks(self.topics.topic_of(partition), number(partition), self.within(timeout)) {
            Ok((start, end)) => {
                self.answered();
                Ok(Some(LogRange { start, end }))
            }
            Err(error) => self.later(&error, "asking for the ends of a partition").map(|()| None),
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
        let found = match consumer.offsets_for_times(list, self.within(timeout)) {
            Ok(found) => found,
            Err(error) => return self.later(&error, "asking for the ends of partitions").map(|()| None),
        };
        let end = |partition: &PartitionId| match found
            .find_partition(self.topics.topic_of(*partition), number(*partition))?
            .offset()
        {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        };
        self.answered();
        Ok(partitions.iter().map(end).collect())
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
        let found = match consumer.offsets_for_times(list, self.within(timeout)) {
            Ok(found) => found,
            Err(error) => return self.later(&error, "asking for the offset of a time").map(|()| None),
        };
        match found.find_partition(self.topics.topic_of(partition), number(partition)).map(|element| element.offset()) {
            Some(Offset::Offset(offset)) => Ok(Some(offset)),
            Some(Offset::End) => Ok(self.range(consumer, partition, timeout)?.map(|range| range.end)),
            _ => Ok(None),
        }
    }

    fn answered(&self) {
        self.unanswered.set(0);
        self.hearing.heard();
    }

    /// How long a question may take, longer with each that had no answer: each is asked from the beginning, so that of
    /// a broker that takes its time none would ever be answered.
    fn within(&self, timeout: Duration) -> Duration {
        timeout * (1 << self.unanswered.get().min(LONGER))
    }

    /// An answer that can't be had at present; an error where waiting won't help.
    fn later(&self, error: &KafkaError, what: &str) -> Result<()> {
        match error.rdkafka_error_code() {
            Some(code @ (RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::GroupAuthorizationFailed)) => {
                Err(self.denied(code, what))
            }
            _ => {
                tracing::debug!(%error, what, "asking again");
                self.unanswered.set(self.unanswered.get().saturating_add(1));
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
