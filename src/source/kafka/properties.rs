//! What librdkafka is told: the user's properties, and over them those that the promises rest on.

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;

use super::membership::ASSIGNOR;
use crate::Error;
use crate::config::{Delivery, KafkaSink, KafkaSource, Properties};

fn base(brokers: &str, properties: &Properties) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("client.id", "kolk");
    for (name, value) in &properties.0 {
        config.set(name.value.as_str(), value.value.0.as_str());
    }
    config.set("bootstrap.servers", brokers);
    config.set_log_level(RDKafkaLogLevel::Warning);
    config
}

/// The consumer of one worker.
pub(super) fn consumer(source: &KafkaSource, delivery: Delivery, worker: usize) -> ClientConfig {
    let mut config = base(&source.brokers, &source.properties);
    // The default waits a second before it fetches again behind a full queue.
    default(&mut config, "fetch.queue.backoff.ms", "10");
    // With the default, a broker that is there and doesn't answer is missed only after a minute.
    default(&mut config, "socket.timeout.ms", "10000");
    if let Some(id) = config.get("group.instance.id").map(|id| format!("{id}-{worker}")) {
        config.set("group.instance.id", id);
    }
    config
        .set("group.id", source.group.as_str())
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("enable.partition.eof", "true")
        .set("partition.assignment.strategy", ASSIGNOR);
    match delivery {
        Delivery::ExactlyOnce => config.set("isolation.level", "read_committed"),
        Delivery::AtLeastOnce => default(&mut config, "isolation.level", "read_committed"),
    };
    config
}

/// A client that only asks about topics.
pub(super) fn asking(brokers: &str, properties: &Properties) -> ClientConfig {
    let mut config = base(brokers, properties);
    // Of the consumer's and the producer's own properties the other kind of client would complain.
    config.remove("group.instance.id");
    config
}

/// The producer of one worker.
pub(super) fn producer(sink: &KafkaSink, delivery: Delivery, id: &str, longest: usize) -> ClientConfig {
    let mut config = base(&sink.brokers, &sink.properties);
    default(&mut config, "linger.ms", "5");
    default(&mut config, "queue.buffering.max.messages", "1000000");
    // The partitioner of Kafka's Java client: a key's output is where Java's clients look for it.
    default(&mut config, "partitioner", "murmur2_random");
    // What the topic takes; librdkafka's own limit would refuse more, or let pass what the broker refuses.
    default(&mut config, "message.max.bytes", &longest.clamp(1000, 1_000_000_000).to_string());
    config.set("delivery.report.only.error", "true");
    match delivery {
        Delivery::ExactlyOnce => {
            default(&mut config, "transaction.timeout.ms", "10000");
            config.set("transactional.id", id).set("enable.idempotence", "true").set("acks", "all")
        }
        // Without idempotence a retry could turn the order of a key around.
        Delivery::AtLeastOnce => config.set("enable.idempotence", "true"),
    };
    config
}

fn default<'a>(config: &'a mut ClientConfig, name: &str, value: &str) -> &'a mut ClientConfig {
    if config.get(name).is_none() {
        config.set(name, value);
    }
    config
}

/// What librdkafka says of a configuration, without the value: it may be a secret.
pub(super) fn refused(error: KafkaError) -> Error {
    match error {
        KafkaError::ClientConfig(_, what, name, _) => Error::refused(format!("kafka: property {name}: {what}")),
        KafkaError::ClientCreation(what) if what.starts_with("ssl.") => Error::refused(format!(
            "kafka: property {what}: check that the file it names is there, can be read and holds PEM"
        )),
        other => Error::refused(format!("kafka: {other}")),
    }
}
