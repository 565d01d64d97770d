//! What librdkafka tells from its own side: events of the group, failed deliveries, brokers gone and back.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{NoCustomPartitioner, ProducerContext};
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};
use rdkafka::util::Timeout;
use rdkafka::{Message, TopicPartitionList};

use crate::runtime::stream::{Event, Partition};

/// The consumer's side.
#[derive(Default)]
pub(super) struct Group {
    events: Mutex<VecDeque<Event>>,
    /// Set when the consumer leaves: then events are answered here.
    leaving: AtomicBool,
    unreachable: AtomicBool,
}

impl Group {
    fn push(&self, event: Event) {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push_back(event);
    }

    /// The next event, in order.
    pub fn event(&self) -> Option<Event> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    pub fn has_event(&self) -> bool {
        !self.events.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    pub fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// No broker answers.
    pub fn lost(&self) {
        if !self.unreachable.swap(true, Ordering::Relaxed) {
            tracing::warn!("no broker answers: waiting for one");
            self.push(Event::Reachable(false));
        }
    }

    /// Something arrived: brokers are there.
    pub fn heard(&self) {
        if self.unreachable.swap(false, Ordering::Relaxed) {
            tracing::info!("a broker answers again");
            self.push(Event::Reachable(true));
        }
    }
}

/// librdkafka's own lines: kolk says itself what it makes of them.
fn tell(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(target: "librdkafka", facility, "{message}");
        }
        _ => tracing::debug!(target: "librdkafka", facility, "{message}"),
    }
}

impl ClientContext for Group {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tell(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            return self.lost();
        }
        tracing::debug!(%error, reason, "librdkafka");
    }
}

impl ConsumerContext for Group {
    /// Only notes what the group wants: the worker answers when it is ready, and librdkafka waits for that.
    fn rebalance(&self, consumer: &BaseConsumer<Self>, what: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        let assigned = what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.leaving.load(Ordering::Relaxed) {
            let answered = if assigned {
                consumer.incremental_assign(&TopicPartitionList::new())
            } else {
                consumer.incremental_unassign(partitions)
            };
            if let Err(error) = answered {
                tracing::warn!(%error, "leaving the group");
            }
            return;
        }
        let list: Vec<Partition> =
            partitions.elements().iter().filter_map(|element| Partition::try_from(element.partition()).ok()).collect();
        tracing::info!(assigned, lost = !assigned && consumer.assignment_lost(), partitions = ?list, "the group moves partitions");
        self.push(match assigned {
            true => Event::Assigned(list),
            false if consumer.assignment_lost() => Event::Lost(list),
            false => Event::Revoked(list),
        });
    }

    fn main_queue_min_poll_interval(&self) -> Timeout {
        Timeout::After(std::time::Duration::from_millis(100))
    }
}

/// The producer's side.
#[derive(Default)]
pub(super) struct Deliveries {
    /// The first delivery that failed since it was asked for.
    failed: Mutex<Option<String>>,
}

impl Deliveries {
    pub fn failed(&self) -> Option<String> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tell(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka");
    }
}

impl ProducerContext<NoCustomPartitioner> for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, message)) = result {
            // What was purged with an aborted transaction is no news.
            if matches!(
                error.rdkafka_error_code(),
                Some(RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight)
            ) {
                return;
            }
            let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
            failed.get_or_insert_with(|| format!("topic {}: {error}", message.topic()));
        }
    }
}
