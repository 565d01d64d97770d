//! Whether a pipeline may have transactions, found out without touching those of a process that runs.

use std::time::{Duration, Instant};

use super::acl::{no_transactions, transactional_ids};
use super::listeners::Unreachable;
use super::native::NativeProducer;
use super::properties;
use crate::config::{Delivery, KafkaSource, Pipeline, Sink};
use crate::error::Problems;
use crate::storage::unique_name;

/// How long one request may take; brokers that don't answer are reported elsewhere.
const REQUEST: Duration = Duration::from_secs(3);
/// How long a coordinator may take to be ready.
const PATIENCE: Duration = Duration::from_secs(10);

/// Adds a problem if the pipeline writes in transactions and may not have them. Brokers have no question for that, so
/// an id is used: one of the pipeline's own would end the transactions of the process that has it, so it is one that no
/// process has, with the same beginning. The brokers forget it after their `transactional.id.expiration.ms`.
pub fn check_transactions(pipeline: &Pipeline, source: &KafkaSource, problems: &mut Problems) {
    let Some(Sink::Kafka(sink)) = pipeline.sink.as_ref().map(|sink| &sink.value) else { return };
    if pipeline.runtime.delivery.value != Delivery::ExactlyOnce {
        return;
    }
    let ids = transactional_ids(pipeline, source);
    // With a name for the process, a right on ids with that name is enough.
    let instance = pipeline.runtime.instance.as_ref().map_or(String::new(), |instance| format!("{}-", instance.value));
    let id = format!("{ids}{instance}check-{}", unique_name());
    let config = properties::producer(sink, Delivery::ExactlyOnce, &id, 0);
    let producer = match NativeProducer::new(&config) {
        Ok(producer) => producer,
        Err(error) => return problems.add(sink.brokers.place, properties::refused(error)),
    };
    // What can't be reached is reported where the topics are planned.
    let metadata = producer.client().fetch_metadata(Some(&sink.topic), REQUEST);
    if metadata.is_ok_and(|metadata| Unreachable::of(&metadata).all(&metadata, &sink.brokers).is_some()) {
        return;
    }
    let until = Instant::now() + PATIENCE;
    while let Err(error) = producer.init_transactions(REQUEST) {
        if let Some(why) = no_transactions(error.code, &ids) {
            return problems.add(sink.topic.place, why);
        }
        // Access is refused, which planning the topics reports; or the coordinator isn't ready yet.
        let answers = producer.client().fetch_metadata(Some(&sink.topic), REQUEST / 3).is_ok();
        if !answers {
            return;
        }
        if Instant::now() > until {
            let seconds = PATIENCE.as_secs();
            return problems.add(sink.topic.place, format!("no transaction can be begun within {seconds} s: {error}"));
        }
    }
}
