//! What the brokers know of a pipeline that doesn't run, and committing for it: for `kolk state adopt`.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};

use super::broker::{Committed, LogRange};
use super::context::Door;
use super::describe::{self, Asked, Silence};
use super::properties;
use super::reset::{commit_for, running, topics_of};
use crate::config::{At, Delivery, KafkaSource};
use crate::error::Context;
use crate::record::PartitionId;
use crate::{Error, Result};

const PATIENCE: Duration = Duration::from_secs(10);
/// A process that was killed leaves a transaction open, and the offsets unstable, for as long as its
/// `transaction.timeout.ms`.
const STABLE: Duration = Duration::from_secs(20);

/// A topic and what a group has committed of it.
#[derive(Debug)]
pub struct Seen {
    /// The topic's id.
    pub topic_id: String,
    /// Per partition, its log as a reader of committed messages sees it, and the group's offset.
    pub partitions: Vec<(LogRange, Option<Committed>)>,
}

fn consumer(source: &KafkaSource) -> Result<BaseConsumer<Door>> {
    let config = properties::consumer(source, Delivery::ExactlyOnce, 0);
    config.create_with_context(Door::default()).map_err(properties::refused)
}

/// Looks at the topics and the group, which must have no members. Gives each topic as a source of its own.
///
/// # Errors
/// A group that is running, a topic that isn't there, no broker.
pub fn look(source: &KafkaSource) -> Result<Vec<(KafkaSource, Seen)>> {
    let group = source.group.as_str();
    let consumer = consumer(source)?;
    let silent = |silence: Silence| Error::failed(format!("cannot look at group {group}: {}", silence.text));
    if describe::group(consumer.client(), group, PATIENCE).map_err(silent)?.count > 0 {
        return Err(running(group));
    }
    let one = |value| source.of_topic(At { value, place: source.topic.place });
    topics_of(source, &consumer)?
        .into_iter()
        .map(|topic| {
            let one = one(topic);
            let seen = look_at(&one, &consumer)?;
            Ok((one, seen))
        })
        .collect()
}

fn look_at(source: &KafkaSource, consumer: &BaseConsumer<Door>) -> Result<Seen> {
    let (topic, group) = (source.topic.as_str(), source.group.as_str());
    let failed = || format!("cannot look at group {group} on topic {topic}");
    let silent = |silence: Silence| Error::failed(format!("{}: {}", failed(), silence.text));
    let topic_id = describe::topic(consumer.client(), topic, Asked::with_rights(PATIENCE)).map_err(silent)?.id;
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).or_failed(failed)?;
    let count = metadata.topics().iter().find(|found| found.name() == topic).map_or(0, |it| it.partitions().len());
    let mut asked = TopicPartitionList::new();
    (0..i32::try_from(count).unwrap_or(i32::MAX)).for_each(|partition| {
        asked.add_partition(topic, partition);
    });
    let found = consumer.committed_offsets(asked, STABLE).or_failed(failed)?;
    let mut partitions = Vec::with_capacity(count);
    for element in found.elements() {
        element.error().or_failed(failed)?;
        let committed = match element.offset() {
            Offset::Offset(offset) => Some(Committed { offset, metadata: element.metadata().to_string() }),
            _ => None,
        };
        let (start, end) = consumer.fetch_watermarks(topic, element.partition(), PATIENCE).or_failed(failed)?;
        partitions.push((LogRange { start, end }, committed));
    }
    Ok(Seen { topic_id, partitions })
}

/// Commits offsets with their metadata for a group without members.
///
/// # Errors
/// A group that is running, no broker.
pub fn commit(source: &KafkaSource, offsets: &[(PartitionId, i64, String)]) -> Result<()> {
    let offsets = offsets.iter().map(|(partition, offset, metadata)| (*partition, *offset, metadata.as_str()));
    commit_for(&consumer(source)?, source, offsets)
}
