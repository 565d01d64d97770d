//! Where a group begins next time: for `kolk state reset`.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use super::broker::BEGINNING;
use super::context::Door;
use super::properties;
use super::subscription::{Subscription, number};
use crate::config::{Delivery, KafkaSource, Moment, Start, Topics};
use crate::error::Context;
use crate::record::{PartitionId, SourceTopic};
use crate::storage::block_on;
use crate::{Error, Result};

const PATIENCE: Duration = Duration::from_secs(10);
/// How long members may take to be gone. One that just left may be known for a moment. One that ended while it joined
/// is a member until its session is over, and 6 s are usual for that.
const LEAVING: Duration = Duration::from_secs(10);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(150);

/// Deletes the group's offsets, so that its next start begins where `start` says.
///
/// # Errors
/// A group that is running, no broker.
pub fn forget(source: &KafkaSource) -> Result<()> {
    let config = properties::asking(&source.brokers, &source.properties);
    let client: AdminClient<Door> = config.create_with_context(Door::default()).map_err(properties::refused)?;
    let options = AdminOptions::new().request_timeout(Some(PATIENCE));
    let group = source.group.as_str();
    let until = Instant::now() + LEAVING;
    loop {
        let results =
            block_on(client.delete_groups(&[group], &options))?.or_failed(|| format!("cannot delete group {group}"))?;
        match results.into_iter().next() {
            None | Some(Ok(_) | Err((_, RDKafkaErrorCode::GroupIdNotFound))) => return Ok(()),
            Some(Err((_, RDKafkaErrorCode::NonEmptyGroup))) if Instant::now() > until => return Err(running(group)),
            Some(Err((_, RDKafkaErrorCode::NonEmptyGroup))) => std::thread::sleep(PAUSE),
            Some(Err((_, code))) => return Err(Error::failed(format!("cannot delete group {group}: {code}"))),
        }
    }
}

/// Commits for every partition, of one topic if it is named, the offset that `to` says, marked as a [`BEGINNING`]: the
/// next start begins there with no state. Returns partition and offset. A topic that is gone has none.
///
/// # Errors
/// A group that is running, a topic that isn't there, no broker.
pub fn begin_at(source: &KafkaSource, only: Option<&str>, to: Start) -> Result<Vec<(PartitionId, i64)>> {
    let group = source.group.as_str();
    let config = properties::consumer(source, Delivery::ExactlyOnce, 0);
    let consumer: BaseConsumer<Door> = config.create_with_context(Door::default()).map_err(properties::refused)?;
    let mut offsets = Vec::new();
    for topic in topics_of(source, &consumer)?.iter().filter(|topic| only.is_none_or(|only| only == *topic)) {
        let failed = || format!("cannot move group {group} on topic {topic}");
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).or_failed(failed)?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        let partitions = found.map_or(0, |found| found.partitions().len());
        if partitions == 0 {
            if only.is_some() {
                continue;
            }
            return Err(Error::refused(format!("there is no topic \"{topic}\"")));
        }
        // Its id doesn't matter here.
        let of = if source.topics.is_some() { SourceTopic::new(topic, "") } else { SourceTopic::ONLY };
        for number in 0..u32::try_from(partitions).unwrap_or(u32::MAX) {
            let partition = PartitionId::of(of, number);
            offsets.push((partition, beginning(&consumer, (topic, partition), to, failed)?));
        }
    }
    if !offsets.is_empty() {
        commit_for(&consumer, source, offsets.iter().map(|(partition, offset)| (*partition, *offset, BEGINNING)))?;
    }
    Ok(offsets)
}

fn beginning(
    consumer: &BaseConsumer<Door>,
    (topic, partition): (&str, PartitionId),
    to: Start,
    failed: impl Fn() -> String,
) -> Result<i64> {
    let (start, end) = consumer.fetch_watermarks(topic, number(partition), PATIENCE).or_failed(&failed)?;
    Ok(match to {
        Start::Earliest => start,
        Start::Latest => end,
        Start::At(Moment::Step(offset)) => offset.clamp(start, end),
        Start::At(Moment::Instant(at)) => {
            let mut asked = TopicPartitionList::new();
            asked
                .add_partition_offset(topic, number(partition), Offset::Offset(at.timestamp_millis()))
                .or_failed(&failed)?;
            let found = consumer.offsets_for_times(asked, PATIENCE).or_failed(&failed)?;
            match found.find_partition(topic, number(partition)).map(|element| element.offset()) {
                Some(Offset::Offset(offset)) => offset.clamp(start, end),
                _ => end,
            }
        }
    })
}

/// The names of a source's topics: those that a pattern matches now.
pub(super) fn topics_of(source: &KafkaSource, consumer: &BaseConsumer<Door>) -> Result<Vec<String>> {
    Ok(match source.topics.as_ref().map(|topics| &topics.value) {
        None => vec![source.topic.value.clone()],
        Some(Topics::List(topics)) => topics.iter().map(|topic| topic.value.clone()).collect(),
        Some(Topics::Matching(pattern)) => {
            let failed = || format!("no broker says which topics match {}", pattern.text());
            let metadata = consumer.fetch_metadata(None, PATIENCE).or_failed(failed)?;
            let names = metadata.topics().iter().map(|topic| topic.name()).filter(|name| pattern.matches(name));
            names.map(str::to_string).collect()
        }
    })
}

/// Commits offsets with their metadata for a group without members.
///
/// # Errors
/// A group that is running, no broker.
pub(super) fn commit_for<'a>(
    consumer: &BaseConsumer<Door>,
    source: &KafkaSource,
    offsets: impl Iterator<Item = (PartitionId, i64, &'a str)>,
) -> Result<()> {
    let (topic, group) = (source.topic.as_str(), source.group.as_str());
    let offsets: Vec<_> = offsets.collect();
    let topics = named(topic, offsets.iter().map(|(partition, ..)| *partition));
    let failed = || format!("cannot move group {group} on {topics}");
    let list = Subscription::to_one(topic).with_metadata(offsets)?;
    let until = Instant::now() + LEAVING;
    loop {
        let error = match consumer.commit(&list, CommitMode::Sync) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let has_members = matches!(
            error.rdkafka_error_code(),
            Some(
                RDKafkaErrorCode::UnknownMemberId
                    | RDKafkaErrorCode::IllegalGeneration
                    | RDKafkaErrorCode::RebalanceInProgress
            )
        );
        match has_members {
            false => return Err(error).or_failed(failed),
            true if Instant::now() > until => return Err(running(group)),
            true => std::thread::sleep(PAUSE),
        }
    }
}

/// The topics of partitions, for people; `only`: the source's, where it is the only one.
fn named(only: &str, partitions: impl Iterator<Item = PartitionId>) -> String {
    let names: BTreeSet<&str> = partitions.map(|partition| partition.topic.name().unwrap_or(only)).collect();
    let names: Vec<&str> = names.into_iter().collect();
    format!("{} {}", if names.len() > 1 { "topics" } else { "topic" }, names.join(", "))
}

/// The group has members, so its offsets can't be set.
pub(super) fn running(group: &str) -> Error {
    Error::refused(format!(
        "group {group} has members: stop the pipeline everywhere first (a killed process stays a member until its \
         session times out)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topics_of_partitions_are_named() {
        let of = |name: &str, number| PartitionId::of(SourceTopic::new(name, "reset"), number);
        let several = [of("returns", 0), of("sales", 0), of("returns", 1)];
        assert_eq!(named("sales, returns", several.into_iter()), "topics returns, sales");
        assert_eq!(named("sales, returns", several[1..2].iter().copied()), "topic sales");
        assert_eq!(named("sales", [PartitionId::from(0), PartitionId::from(1)].into_iter()), "topic sales");
    }
}
