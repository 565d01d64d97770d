//! A consumer that joins a group, and what it subscribes to.

use std::sync::Arc;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::broker::Event;
use super::context::Group;
use super::properties;
use super::subscription::Subscription;
use crate::Result;
use crate::record::SourceTopic;

/// An event without partitions of topics that were deleted, which can no longer be taken.
pub(super) fn without(event: Event, deleted: &[SourceTopic]) -> Event {
    match event {
        Event::Assigned(mut partitions) if !deleted.is_empty() => {
            partitions.retain(|partition| !deleted.contains(&partition.topic));
            Event::Assigned(partitions)
        }
        event => event,
    }
}

/// A consumer that joins the group.
pub(super) fn join(config: &ClientConfig, topics: &Arc<Subscription>) -> Result<BaseConsumer<Group>> {
    let group = Group::new(topics.clone());
    let consumer: BaseConsumer<Group> = config.create_with_context(group).map_err(properties::refused)?;
    subscribe(&consumer, topics)?;
    Ok(consumer)
}

/// Subscribes to the topics that are read now. Only what changed moves.
pub(super) fn subscribe(consumer: &BaseConsumer<Group>, topics: &Subscription) -> Result<()> {
    let names = topics.names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    consumer.subscribe(&names).map_err(properties::refused)
}
