//! What the client itself costs per message, measured with librdkafka's own broker in this process: its threads don't
//! count.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::mocking::MockCluster;
use rdkafka::{Offset, TopicPartitionList, consumer::BaseConsumer, consumer::Consumer};

use super::broker::{Outgoing, Topic};
use super::context::Group;
use super::messages::{self, Came};
use super::producer::{Output, Sender};
use super::subscription::Subscription;
use super::{headers, properties};
use crate::config::{At, Delivery, KafkaSink, KafkaSource, Properties};
use crate::error::Context;
use crate::format::{Messages, Payloads};
use crate::metrics::{Spent, Used};
use crate::{Error, Result};

/// Messages that are sent in a transaction at most, and bytes.
const IN_TRANSACTION: (usize, usize) = (20_000, 32 << 20);
/// Bytes that are sent at most to be measured.
const SENT: usize = 256 << 20;
/// Bytes that are sent at most to be read: librdkafka's own broker keeps no more of a partition.
const READ: usize = 5 << 20;
/// Room for what is in a message besides its payload.
const OVERHEAD: usize = 1 << 20;
/// How long reading them again may take.
const PATIENCE: Duration = Duration::from_secs(20);
const TOPIC: &str = "size";

/// CPU time per message, nanoseconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct ClientCost {
    /// In the worker's thread.
    pub worker: f64,
    /// In the client's own threads.
    pub client: f64,
}

impl ClientCost {
    fn of(spent: Spent, messages: usize) -> ClientCost {
        let each = |time: Duration| time.as_nanos() as f64 / messages.max(1) as f64;
        ClientCost { worker: each(spent.own), client: each(spent.others) }
    }
}

/// Properties that say how to connect, which is not measured.
const CONNECTION: [&str; 4] = ["sasl.", "security.", "ssl.", "group."];

fn unsecured(properties: &Properties) -> Properties {
    let is_kept = |name: &str| !CONNECTION.iter().any(|prefix| name.starts_with(prefix));
    Properties(properties.0.iter().filter(|(name, _)| is_kept(&name.value)).cloned().collect())
}

/// Sends `count` messages in transactions, fewer if they are large, again and again those of `payloads` with their
/// keys.
///
/// # Errors
/// A client that doesn't work here.
pub fn sending(
    sink: &KafkaSink,
    delivery: Delivery,
    payloads: &Payloads,
    keys: &[Vec<u8>],
    count: usize,
) -> Result<ClientCost> {
    let cluster = cluster()?;
    let count = count.min(fitting(SENT, payloads, keys));
    send(&cluster, sink, delivery, payloads, keys, count)
}

/// Reads `count` messages, fewer if they are large, again and again those of `messages`.
///
/// # Errors
/// As [`sending`].
pub fn reading(source: &KafkaSource, messages: &Messages, count: usize) -> Result<ClientCost> {
    let cluster = cluster()?;
    let mut payloads = Payloads::default();
    let mut keys = Vec::new();
    for index in 0..messages.len() {
        payloads.bytes.extend_from_slice(messages.payload(index).unwrap_or_default());
        payloads.ends.push(payloads.bytes.len());
        keys.extend(messages.key(index).map(<[u8]>::to_vec));
    }
    let sink = KafkaSink {
        brokers: source.brokers.clone(),
        topic: At::default_value(TOPIC.into()),
        format: source.encoding.format.clone(),
        fields: Vec::new(),
        headers: crate::config::Headers::None,
        timestamp: At::default(),
        properties: Properties::default(),
    };
    let count = count.min(fitting(READ, &payloads, &keys));
    send(&cluster, &sink, Delivery::AtLeastOnce, &payloads, &keys, count)?;
    receive(&cluster, source, count)
}

/// How many messages there are in so many bytes, one at least.
fn fitting(bytes: usize, payloads: &Payloads, keys: &[Vec<u8>]) -> usize {
    let of_keys: usize = keys.iter().map(Vec::len).sum();
    let each = payloads.bytes.len() / payloads.len().max(1) + of_keys / keys.len().max(1);
    (bytes / each.max(1)).max(1)
}

fn cluster() -> Result<MockCluster<'static, rdkafka::producer::DefaultProducerContext>> {
    let failed = || "librdkafka's own broker does not start".to_string();
    let cluster = MockCluster::new(1).or_failed(failed)?;
    cluster.create_topic(TOPIC, 1, 1).or_failed(failed)?;
    Ok(cluster)
}

fn send(
    cluster: &MockCluster<'_, rdkafka::producer::DefaultProducerContext>,
    sink: &KafkaSink,
    delivery: Delivery,
    payloads: &Payloads,
    keys: &[Vec<u8>],
    count: usize,
) -> Result<ClientCost> {
    let broken = |error: super::Broken| Error::failed(format!("messages can't be sent for a measurement: {error:?}"));
    let sink = KafkaSink {
        brokers: At::default_value(cluster.bootstrap_servers()),
        topic: At::default_value(TOPIC.into()),
        properties: unsecured(&sink.properties),
        ..sink.clone()
    };
    let (ids, instance) = ("kolk-size".to_string(), crate::storage::unique_name());
    let longest = (0..payloads.len()).map(|index| payloads.get(index).len()).max().unwrap_or(0) + OVERHEAD;
    let output = Output { sink, dead_letters: None, delivery, ids, instance, longest };
    let mut sender = Sender::new(output, 0);
    if !sender.renew()? {
        return Err(Error::failed("librdkafka's own broker takes no transactions"));
    }
    let at_once = IN_TRANSACTION.0.min(fitting(IN_TRANSACTION.1, payloads, keys));
    let (mut sent, began) = (0, Used::all());
    while sent < count {
        let until = (sent + at_once).min(count);
        sender.begin(None).map_err(broken)?;
        for index in sent..until {
            let key = keys.get(index % keys.len().max(1)).map(Vec::as_slice);
            let payload = (!payloads.is_empty()).then(|| payloads.get(index % payloads.len()));
            let message = Outgoing { topic: Topic::Output, key, payload, headers: &[], timestamp: None };
            sender
                .send(message)
                .map_err(|error| Error::failed(format!("a message can't be sent for a measurement: {error:?}")))?;
        }
        sent = until;
        sender.poll();
        sender.commit().map_err(broken)?;
    }
    Ok(ClientCost::of(began.all_since(), sent))
}

fn receive(
    cluster: &MockCluster<'_, rdkafka::producer::DefaultProducerContext>,
    source: &KafkaSource,
    count: usize,
) -> Result<ClientCost> {
    let source = KafkaSource {
        brokers: At::default_value(cluster.bootstrap_servers()),
        properties: unsecured(&source.properties),
        topics: None,
        ..source.clone()
    };
    let config = properties::consumer(&source, Delivery::ExactlyOnce, 0);
    let group = Group::new(Arc::new(Subscription::to_one(TOPIC)));
    let consumer: BaseConsumer<Group> = config.create_with_context(group).map_err(properties::refused)?;
    let mut list = TopicPartitionList::new();
    let failed = || "reading for a measurement".to_string();
    list.add_partition_offset(TOPIC, 0, Offset::Beginning).or_failed(failed)?;
    let read = headers::Read::new(false, source.encoding.has_schemas());
    let until = Instant::now() + PATIENCE;
    // Connecting is not measured. What comes first is, since the client fetches much more at once.
    consumer.fetch_watermarks(TOPIC, 0, PATIENCE).or_failed(failed)?;
    let (began, mut seen, mut into) = (Used::all(), 0, Messages::default());
    consumer.assign(&list).or_failed(failed)?;
    while seen < count && Instant::now() < until {
        match messages::next(&consumer, None, Duration::from_millis(100)) {
            Some(Came::Message(message)) => {
                message.push(&mut into, read);
                seen += 1;
                if into.len() >= 4096 {
                    into.clear();
                }
            }
            Some(Came::End(..)) if seen > 0 => break,
            _ => {}
        }
    }
    let spent = began.all_since();
    if seen == 0 {
        return Err(Error::failed("nothing could be read for a measurement"));
    }
    Ok(ClientCost::of(spent, seen))
}
