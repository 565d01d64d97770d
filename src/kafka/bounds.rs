//! Where a bounded run, or what is trained on, begins and ends in each partition.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chrono::Utc;
use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::context::Door;
use super::properties;
use super::subscription::Subscription;
use crate::config::{Delivery, KafkaSource, Moment, Until};
use crate::record::PartitionId;
use crate::{Error, Result};

/// How long a question may take, and all of them together.
const QUESTION: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(250);

/// The offset before which each partition is read. With `end` it is what a reader of the run's isolation could read
/// now; with a time it is the first message with that timestamp or a later one, or the same end if there is none.
///
/// # Errors
/// No broker that answers in time.
pub fn ends(
    source: &KafkaSource,
    topics: &Subscription,
    delivery: Delivery,
    until: Until,
) -> Result<BTreeMap<PartitionId, i64>> {
    bound(source, topics, delivery, Bound::from(until)?)
}

/// What is asked of each partition: its end, its beginning, or the first offset that isn't before a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bound(pub Offset);

impl Bound {
    /// That of the end of a run.
    pub fn from(until: Until) -> Result<Bound> {
        match until {
            Until::End => Ok(Bound(Offset::End)),
            Until::Now => Ok(Bound(Offset::Offset(Utc::now().timestamp_millis()))),
            Until::At(Moment::Instant(at)) => Ok(Bound(Offset::Offset(at.timestamp_millis()))),
            Until::At(Moment::Step(_)) => Err(Error::refused("`until` is `end`, `now` or a time")),
        }
    }
}

/// One offset of each partition; with a time that no message has, the end.
///
/// # Errors
/// No broker that answers in time.
pub(super) fn bound(
    source: &KafkaSource,
    topics: &Subscription,
    delivery: Delivery,
    Bound(at): Bound,
) -> Result<BTreeMap<PartitionId, i64>> {
    let config = properties::looking(source, delivery);
    let consumer: BaseConsumer<Door> = config.create_with_context(Door::default()).map_err(properties::refused)?;
    let give_up = Instant::now() + PATIENCE;
    loop {
        match look(&consumer, topics, at) {
            Ok(ends) => return Ok(ends),
            Err(why) if Instant::now() > give_up => {
                let why = consumer.context().turned_away(&source.brokers).unwrap_or(why);
                let topic = topics.shown();
                return Err(Error::failed(format!(
                    "kafka: where topic {topic} begins and ends could not be found out: {why}"
                )));
            }
            Err(why) => {
                tracing::debug!(why, "asking again where the topic ends");
                std::thread::sleep(PAUSE);
            }
        }
    }
}

fn look(
    consumer: &BaseConsumer<Door>,
    topics: &Subscription,
    at: Offset,
) -> std::result::Result<BTreeMap<PartitionId, i64>, String> {
    let mut partitions = Vec::new();
    for topic in topics.names() {
        let metadata = consumer.fetch_metadata(Some(&topic), QUESTION).map_err(|error| error.to_string())?;
        let found = metadata.topics().iter().find(|found| found.name() == topic).map(|found| found.partitions());
        let found = found.filter(|found| !found.is_empty()).ok_or_else(|| format!("topic {topic} is not there"))?;
        partitions.extend(found.iter().filter_map(|partition| topics.partition(&topic, partition.id())));
    }
    let asked = ask(consumer, topics, partitions.into_iter().map(|partition| (partition, at)))?;
    let none = asked.iter().filter(|(_, end)| end.is_none()).map(|(partition, _)| (*partition, Offset::End));
    let ends = ask(consumer, topics, none)?;
    let end = |(partition, end): (&PartitionId, &Option<i64>)| {
        let end = end.or_else(|| ends.get(partition).copied().flatten());
        end.map(|end| (*partition, end)).ok_or_else(|| format!("partition {partition} has no answer"))
    };
    asked.iter().map(end).collect()
}

/// The offsets for times, or for the end; `None`: no message is that late.
fn ask(
    consumer: &BaseConsumer<Door>,
    topics: &Subscription,
    at: impl Iterator<Item = (PartitionId, Offset)>,
) -> std::result::Result<BTreeMap<PartitionId, Option<i64>>, String> {
    let list = topics.list(at).map_err(|error| error.to_string())?;
    if list.count() == 0 {
        return Ok(BTreeMap::new());
    }
    let found = consumer.offsets_for_times(list, QUESTION).map_err(|error| error.to_string())?;
    let mut all = BTreeMap::new();
    for element in found.elements() {
        element.error().map_err(|error| error.to_string())?;
        let offset = match element.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        };
        all.extend(topics.partition(element.topic(), element.partition()).map(|partition| (partition, offset)));
    }
    Ok(all)
}
