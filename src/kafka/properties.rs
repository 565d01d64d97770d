//! The settings of librdkafka: the user's properties, overridden by those on which the guarantees depend.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;

use super::membership::ASSIGNOR;
use crate::Error;
use crate::config::{Delivery, GroupProtocol, KafkaSink, KafkaSource, Properties};

/// How long a message of a transaction, or a request about it, may take.
pub(super) const TRANSACTION_REQUEST: Duration = Duration::from_secs(15);

/// The property that says how often metadata is asked for again, and so when a new partition is seen.
pub const REFRESH: &str = "topic.metadata.refresh.interval.ms";

fn base(brokers: &str, properties: &Properties) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("client.id", "kolk");
    for (name, value) in &properties.0 {
        config.set(name.value.as_str(), value.reveal());
    }
    // With the defaults, a broker that doesn't answer is detected only after a minute, one that comes back may not be
    // looked for during ten seconds, and a connection that it takes without a word lasts ten as well.
    default(&mut config, "socket.timeout.ms", "10000");
    default(&mut config, "reconnect.backoff.max.ms", "1000");
    default(&mut config, "api.version.request.timeout.ms", "3000");
    config.set("bootstrap.servers", brokers);
    config.set_log_level(RDKafkaLogLevel::Warning);
    config
}

/// The consumer of one worker.
pub(super) fn consumer(source: &KafkaSource, delivery: Delivery, worker: usize) -> ClientConfig {
    let mut config = base(&source.brokers, &source.properties);
    if source.topics.is_some() {
        // As often as a pattern's topics are looked for; the default is five minutes.
        default(&mut config, REFRESH, "30000");
    }
    // The default waits a second before it fetches again after a full queue.
    default(&mut config, "fetch.queue.backoff.ms", "10");
    if let Some(id) = config.get("group.instance.id").map(|id| format!("{id}-{worker}")) {
        config.set("group.instance.id", id);
    }
    config
        .set("group.id", source.group.as_str())
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("enable.partition.eof", "true");
    if source.protocol() == GroupProtocol::Classic {
        config.set("partition.assignment.strategy", ASSIGNOR);
    }
    isolate(&mut config, delivery);
    config
}

/// A client that asks what a reader of the source could read.
pub(super) fn looking(source: &KafkaSource, delivery: Delivery) -> ClientConfig {
    let mut config = asking(&source.brokers, &source.properties);
    isolate(&mut config, delivery);
    config
}

/// Which messages are read, and so where a partition ends.
fn isolate(config: &mut ClientConfig, delivery: Delivery) {
    match delivery {
        Delivery::ExactlyOnce => config.set("isolation.level", "read_committed"),
        Delivery::AtLeastOnce => default(config, "isolation.level", "read_committed"),
    };
}

/// A client that only asks about topics.
pub(super) fn asking(brokers: &str, properties: &Properties) -> ClientConfig {
    let mut config = base(brokers, properties);
    // Of the consumer's and the producer's own properties the other kind of client would complain.
    config.remove("group.instance.id");
    config.remove("group.protocol");
    config.remove("group.remote.assignor");
    config
}

/// The producer of one worker.
pub(super) fn producer(sink: &KafkaSink, delivery: Delivery, id: &str, longest: usize) -> ClientConfig {
    let mut config = base(&sink.brokers, &sink.properties);
    default(&mut config, "linger.ms", "5");
    default(&mut config, "queue.buffering.max.messages", "1000000");
    // The partitioner of Kafka's Java client: a key's output is where Java's clients look for it.
    default(&mut config, "partitioner", "murmur2_random");
    // The topic's limit; librdkafka's own limit would refuse other messages than the broker.
    default(&mut config, "message.max.bytes", &longest.clamp(1000, 1_000_000_000).to_string());
    config.set("delivery.report.only.error", "true");
    match delivery {
        Delivery::ExactlyOnce => {
            // A cluster with the default settings takes 11 s to give another broker what one that died or froze was
            // leader of. Until then messages wait, then they arrive or the transaction is aborted
            // (`TRANSACTION_REQUEST`), and only then would the coordinator end it by itself, which would cost the
            // producer.
            default(&mut config, "transaction.timeout.ms", "20000");
            let most = config.get("transaction.timeout.ms").and_then(|ms| ms.parse().ok()).unwrap_or(u64::MAX);
            // The properties may be the consumer's as well; librdkafka refuses a request that outlasts the transaction.
            if config.get("socket.timeout.ms").and_then(|ms| ms.parse().ok()).is_some_and(|ms: u64| ms > most) {
                config.set("socket.timeout.ms", most.to_string());
            }
            let wait = u64::try_from(TRANSACTION_REQUEST.as_millis()).unwrap_or(u64::MAX).min(most);
            default(&mut config, "message.timeout.ms", &wait.to_string());
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

/// librdkafka's error about a configuration, without the value, which may be a secret.
pub(super) fn refused(error: KafkaError) -> Error {
    match error {
        KafkaError::ClientConfig(_, what, name, _) => Error::refused(format!("kafka: property {name}: {what}")),
        KafkaError::ClientCreation(what) if what.starts_with("ssl.") => {
            Error::refused(format!("kafka: property {what}: check that the file exists, is readable and holds PEM"))
        }
        other => Error::refused(format!("kafka: {other}")),
    }
}
