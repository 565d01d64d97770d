//! The position of a consumer in a partition, including markers and aborted records, and which position left the log.

#![allow(unsafe_code)]

use std::time::Duration;

use rdkafka::bindings as sys;
use rdkafka::client::{Client, ClientContext};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::{Offset, TopicPartitionList};

use super::subscription::Subscription;
use crate::record::PartitionId;

/// How long the brokers may take to report where a partition begins and ends.
const PATIENCE: Duration = Duration::from_secs(2);

/// The offset after everything that was delivered from a partition, and after what is never delivered: markers, and
/// aborted records. It sends no request. rdkafka's own call asks librdkafka's main thread for the whole assignment
/// first.
pub(super) fn position<C: ClientContext>(client: &Client<C>, topic: &str, partition: i32) -> Option<i64> {
    let mut list = TopicPartitionList::new();
    list.add_partition(topic, partition);
    // SAFETY: the client and the list are alive during the call, which fills in the list's offset and keeps nothing.
    unsafe { sys::rd_kafka_position(client.native_ptr(), list.ptr()) };
    match list.find_partition(topic, partition)?.offset() {
        Offset::Offset(offset) => Some(offset),
        _ => None,
    }
}

/// The partition whose position isn't in its log: librdkafka says that one isn't, and rdkafka drops which. `behind` is
/// where a partition is read that the client says nothing of.
pub(super) fn out_of_range<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topics: &Subscription,
    behind: impl Fn(PartitionId) -> Option<i64>,
) -> Option<PartitionId> {
    let assigned = consumer.assignment().ok()?;
    assigned.elements().iter().find_map(|element| {
        let (topic, number) = (element.topic(), element.partition());
        let partition = topics.partition(topic, number)?;
        let at = position(consumer.client(), topic, number).or_else(|| behind(partition))?;
        let (start, end) = consumer.fetch_watermarks(topic, number, PATIENCE).ok()?;
        (at < start || at > end).then_some(partition)
    })
}
