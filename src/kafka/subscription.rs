//! What a process reads: one topic, or the topics that its workers subscribe to at present.
//!
//! Must not live here: which topics those are (`runtime::kafka`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rdkafka::{Offset, TopicPartitionList};

use crate::error::Context;
use crate::record::{PartitionId, SourceTopic};
use crate::{Error, Result};

/// See the module.
#[derive(Debug)]
pub struct Subscription {
    /// The only topic.
    only: Option<String>,
    several: Mutex<Several>,
    /// Changes with the topics.
    version: AtomicU64,
}

#[derive(Debug, Default)]
struct Several {
    /// Every topic that ever was read, by its name.
    known: BTreeMap<String, SourceTopic>,
    /// Those that are read.
    now: BTreeSet<SourceTopic>,
}

impl Subscription {
    /// To one topic.
    pub fn to_one(topic: &str) -> Subscription {
        Subscription { only: Some(topic.into()), several: Mutex::default(), version: AtomicU64::new(0) }
    }

    /// To several.
    pub fn to_several(topics: impl IntoIterator<Item = SourceTopic>) -> Subscription {
        let it = Subscription { only: None, several: Mutex::default(), version: AtomicU64::new(0) };
        it.change(topics);
        it
    }

    fn several(&self) -> MutexGuard<'_, Several> {
        // Sets are sound whatever a thread was doing when it panicked.
        self.several.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there may be several topics.
    pub fn is_several(&self) -> bool {
        self.only.is_none()
    }

    /// From now on these topics are read.
    pub fn change(&self, topics: impl IntoIterator<Item = SourceTopic>) {
        let mut several = self.several();
        several.now = topics.into_iter().collect();
        let now: Vec<SourceTopic> = several.now.iter().copied().collect();
        several.known.extend(now.into_iter().filter_map(|topic| Some((topic.name()?.to_string(), topic))));
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Another number means other topics.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The topics that are read, where there may be several.
    pub fn topics(&self) -> Vec<SourceTopic> {
        self.several().now.iter().copied().collect()
    }

    /// Their names.
    pub fn names(&self) -> Vec<String> {
        match &self.only {
            Some(only) => vec![only.clone()],
            None => self.several().now.iter().filter_map(|topic| topic.name()).map(str::to_string).collect(),
        }
    }

    /// One of them, to be asked about.
    pub fn any(&self) -> Option<String> {
        self.names().into_iter().next()
    }

    /// For people.
    pub fn shown(&self) -> String {
        let names = self.names();
        match names.as_slice() {
            [first, second, third, _, ..] => format!("{first}, {second}, {third} and {} more", names.len() - 3),
            _ => names.join(", "),
        }
    }

    /// The topic of a partition, by name.
    pub fn topic_of(&self, partition: PartitionId) -> &str {
        partition.topic.name().or(self.only.as_deref()).unwrap_or_default()
    }

    /// A partition that a client names; `None` if nothing is known of its topic.
    pub fn partition(&self, topic: &str, number: i32) -> Option<PartitionId> {
        let number = u32::try_from(number).ok()?;
        match &self.only {
            Some(_) => Some(number.into()),
            None => Some(PartitionId::of(*self.several().known.get(topic)?, number)),
        }
    }

    /// Partitions with offsets, as a client names them.
    ///
    /// # Errors
    /// An offset that can't be one.
    pub(super) fn list(
        &self,
        partitions: impl IntoIterator<Item = (PartitionId, Offset)>,
    ) -> Result<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in partitions {
            list.add_partition_offset(self.topic_of(partition), number(partition), offset)
                .or_failed(|| "a partition's offset".into())?;
        }
        Ok(list)
    }

    /// Partitions with offsets and metadata, as a client names them.
    ///
    /// # Errors
    /// An offset that can't be one.
    pub(super) fn with_metadata<'a>(
        &self,
        offsets: impl IntoIterator<Item = (PartitionId, i64, &'a str)>,
    ) -> Result<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        for (partition, offset, metadata) in offsets {
            let (topic, number) = (self.topic_of(partition), number(partition));
            list.add_partition(topic, number).set_metadata(metadata);
            list.set_partition_offset(topic, number, Offset::Offset(offset))
                .or_failed(|| "a partition's offset".into())?;
        }
        Ok(list)
    }
}

/// The topics of a client that receives messages: it looks for the topic of each.
#[derive(Debug, Default)]
pub(super) struct Received {
    version: u64,
    known: BTreeMap<String, SourceTopic>,
    last: Option<(String, SourceTopic)>,
}

impl Received {
    /// The partition of a message. Most messages are of the topic of the one before.
    pub fn partition(&mut self, of: &Subscription, topic: &str, number: i32) -> Option<PartitionId> {
        let number = u32::try_from(number).ok()?;
        if !of.is_several() {
            return Some(number.into());
        }
        if self.version != of.version() {
            (self.version, self.last) = (of.version(), None);
            self.known = of.several().known.clone();
        }
        match &self.last {
            Some((name, last)) if name == topic => Some(PartitionId::of(*last, number)),
            _ => {
                let found = *self.known.get(topic)?;
                self.last = Some((topic.to_string(), found));
                Some(PartitionId::of(found, number))
            }
        }
    }
}

/// A partition as librdkafka counts it.
pub(super) fn number(partition: PartitionId) -> i32 {
    i32::try_from(partition.number).unwrap_or(i32::MAX)
}

/// A topic that a partition names and nobody reads: nothing of it should come.
pub(super) fn unknown(topic: &str) -> Error {
    Error::failed(format!("kafka: topic {topic} isn't one of the source: internal error, please report"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_named_both_ways() {
        let one = Subscription::to_one("t");
        assert_eq!((one.names(), one.topic_of(3.into())), (vec!["t".to_string()], "t"));
        assert_eq!(Received::default().partition(&one, "t", 3), Some(3.into()));
        let (a, b) = (SourceTopic::new("sub-a", "1"), SourceTopic::new("sub-b", "2"));
        let several = Subscription::to_several([b]);
        let mut received = Received::default();
        assert_eq!(received.partition(&several, "sub-a", 0), None);
        several.change([a]);
        assert_eq!(received.partition(&several, "sub-a", 0), Some(PartitionId::of(a, 0)));
        assert_eq!(received.partition(&several, "sub-b", 1), Some(PartitionId::of(b, 1)), "what was read is known");
        assert_eq!((several.shown(), several.topic_of(PartitionId::of(b, 1))), ("sub-a".to_string(), "sub-b"));
    }
}
