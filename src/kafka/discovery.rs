//! Finds the topics that a pattern matches.
//!
//! librdkafka can subscribe to a pattern itself. kolk doesn't let it: the syntax of its patterns is another one than
//! that of groups of the consumer protocol (KIP-848), and a topic has to be known before anything of it is read.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};

use super::context::Door;
use super::describe::{self, Asked};
use super::properties;
use crate::Result;
use crate::config::{KafkaSource, Pattern};
use crate::record::SourceTopic;

/// How long the brokers may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A client that asks.
pub struct Discovery<'a> {
    consumer: BaseConsumer<Door>,
    pattern: &'a Pattern,
}

impl<'a> Discovery<'a> {
    /// # Errors
    /// Properties that librdkafka doesn't take.
    pub fn new(source: &KafkaSource, pattern: &'a Pattern) -> Result<Discovery<'a>> {
        let config = properties::asking(&source.brokers, &source.properties);
        let consumer = config.create_with_context(Door::default()).map_err(properties::refused)?;
        Ok(Discovery { consumer, pattern })
    }

    /// The topics that match beside those that are read already, with the number of their partitions. None if the
    /// brokers don't answer: they are asked again.
    pub fn look(&self, known: &[SourceTopic]) -> Vec<(SourceTopic, u32)> {
        // Errors and log lines are reported in the polls.
        while self.consumer.poll(Duration::ZERO).is_some() {}
        let metadata = match self.consumer.fetch_metadata(None, PATIENCE) {
            Ok(metadata) => metadata,
            Err(error) => {
                tracing::debug!(%error, "no answer with the names of topics: asking again");
                return Vec::new();
            }
        };
        let is_new = |name: &str| self.pattern.matches(name) && known.iter().all(|it| it.name() != Some(name));
        let new: Vec<(&str, u32)> = metadata
            .topics()
            .iter()
            .filter(|topic| topic.error().is_none() && !topic.partitions().is_empty() && is_new(topic.name()))
            .map(|topic| (topic.name(), u32::try_from(topic.partitions().len()).unwrap_or(0)))
            .collect();
        if new.is_empty() {
            return Vec::new();
        }
        let names: Vec<&str> = new.iter().map(|(name, _)| *name).collect();
        let asked = Asked { timeout: PATIENCE, with_rights: false, broker: None };
        let described = describe::topics(self.consumer.client(), &names, asked).unwrap_or_default();
        // One that is being created or deleted has no id.
        let found = new.into_iter().zip(described);
        found
            .filter_map(|((name, count), described)| Some((SourceTopic::new(name, &described.ok()?.id), count)))
            .collect()
    }
}
