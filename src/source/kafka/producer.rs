//! One worker's producer: transactions, or (`delivery: at_least_once`) plain sending.

use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header as KafkaHeader, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::context::Deliveries;
use super::properties;
use crate::config::{Delivery, KafkaSink};
use crate::runtime::stream::{Broken, Outgoing, Topic, Unsendable};
use crate::{Error, Result};

/// How long a request of a transaction may take: what the broker gives the whole transaction.
const REQUEST: Duration = Duration::from_secs(10);
/// How long an abort waits before delivery reports are served; it is resumed after that.
const SLICE: Duration = Duration::from_millis(20);
/// How long the first request of a producer may take before the group is looked at again.
const FIRST: Duration = Duration::from_secs(3);

/// Where a pipeline sends.
#[derive(Debug, Clone)]
pub struct Output {
    /// The sink: brokers, topic, properties.
    pub sink: KafkaSink,
    /// The topic of the dead letters, if they go to one.
    pub dead_letters: Option<String>,
    /// What a crash may do.
    pub delivery: Delivery,
    /// The transactional id, without the worker's number.
    pub id: String,
    /// Bytes that the topics take of a message at most.
    pub longest: usize,
}

/// A producer, once there is one.
pub(super) struct Sender {
    output: Output,
    id: String,
    producer: Option<BaseProducer<Deliveries>>,
    /// The membership that the open transaction belongs to.
    member: Option<ConsumerGroupMetadata>,
}

impl Sender {
    pub fn new(output: Output, worker: usize) -> Sender {
        let id = format!("{}-{worker}", output.id);
        Sender { output, id, producer: None, member: None }
    }

    pub fn transactional(&self) -> bool {
        self.output.delivery == Delivery::ExactlyOnce
    }

    fn there(&self) -> std::result::Result<&BaseProducer<Deliveries>, Broken> {
        self.producer.as_ref().ok_or_else(|| Broken::Renew("there is no producer".into()))
    }

    pub fn renew(&mut self) -> Result<bool> {
        // The old one first: two of one id in one process would fence each other in an order that nobody knows.
        self.producer = None;
        self.member = None;
        let output = &self.output;
        let config = properties::producer(&output.sink, output.delivery, &self.id, output.longest);
        let producer: BaseProducer<Deliveries> =
            config.create_with_context(Deliveries::default()).map_err(properties::refused)?;
        if self.transactional()
            && let Err(error) = producer.init_transactions(FIRST)
        {
            return match error.rdkafka_error_code() {
                Some(
                    code @ (RDKafkaErrorCode::TransactionalIdAuthorizationFailed
                    | RDKafkaErrorCode::ClusterAuthorizationFailed
                    | RDKafkaErrorCode::InvalidTransactionTimeout
                    | RDKafkaErrorCode::Authentication
                    | RDKafkaErrorCode::SaslAuthenticationFailed
                    | RDKafkaErrorCode::UnsupportedFeature),
                ) => Err(Error::failed(format!(
                    "kafka: transactional id {}: {code}; give its principal Write and Describe on it, or check transaction.timeout.ms",
                    self.id
                ))),
                _ => {
                    tracing::warn!(%error, "no transactions at present: trying again");
                    Ok(false)
                }
            };
        }
        self.producer = Some(producer);
        Ok(true)
    }

    pub fn begin(&mut self, member: Option<ConsumerGroupMetadata>) -> std::result::Result<(), Broken> {
        let producer = self.there()?;
        producer.context_failed();
        if self.transactional() {
            producer.begin_transaction().map_err(broken)?;
        }
        self.member = member;
        Ok(())
    }

    pub fn send(&mut self, message: Outgoing<'_>) -> std::result::Result<(), Unsendable> {
        let topic = match (message.topic, &self.output.dead_letters) {
            (Topic::Output, _) => self.output.sink.topic.as_str(),
            (Topic::DeadLetters, Some(topic)) => topic.as_str(),
            (Topic::DeadLetters, None) => return Err(Unsendable::Never("there is no topic for dead letters".into())),
        };
        let producer = self.there().map_err(Unsendable::Transaction)?;
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic);
        record.key = message.key;
        record.payload = message.payload;
        if !message.headers.is_empty() {
            let headers = message.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
                headers.insert(KafkaHeader { key, value: value.as_ref() })
            });
            record = record.headers(headers);
        }
        let until = Instant::now() + REQUEST;
        loop {
            match producer.send(record) {
                Ok(()) => return Ok(()),
                Err((error, back)) => match error.rdkafka_error_code() {
                    Some(RDKafkaErrorCode::QueueFull) if Instant::now() < until => {
                        producer.poll(Duration::from_millis(1));
                        record = back;
                    }
                    Some(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidRecord) => {
                        return Err(Unsendable::Never(format!("topic {topic}: {error}")));
                    }
                    _ => return Err(Unsendable::Transaction(broken(error))),
                },
            }
        }
    }

    pub fn send_offsets(&mut self, offsets: &TopicPartitionList) -> std::result::Result<(), Broken> {
        let producer = self.there()?;
        if !self.transactional() {
            return Ok(());
        }
        let Some(member) = &self.member else { return Err(Broken::Abort("not a member of the group".into())) };
        producer.send_offsets_to_transaction(offsets, member, REQUEST).map_err(broken)
    }

    pub fn commit(&mut self) -> std::result::Result<(), Broken> {
        let producer = self.there()?;
        // rdkafka's own flush, which a commit calls, polls in slices of 100 ms.
        let until = Instant::now() + REQUEST;
        while producer.in_flight_count() > 0 {
            if Instant::now() > until {
                return Err(Broken::Abort("messages did not arrive in time".into()));
            }
            producer.poll(Duration::from_millis(1));
        }
        producer.poll(Duration::ZERO);
        if let Some(why) = producer.context_failed() {
            return Err(Broken::Abort(why));
        }
        if self.transactional() {
            producer.commit_transaction(REQUEST).map_err(broken)?;
        }
        Ok(())
    }

    pub fn abort(&mut self) -> std::result::Result<(), Broken> {
        let producer = self.there()?;
        if self.transactional() {
            // The messages taken back are reported as failed, and it waits until those reports are served: which is here.
            let until = Instant::now() + REQUEST;
            while let Err(error) = producer.abort_transaction(SLICE) {
                let resumes = matches!(&error, KafkaError::Transaction(inner) if inner.is_retriable());
                if !resumes || Instant::now() > until {
                    return Err(Broken::Renew(error.to_string()));
                }
                producer.poll(Duration::ZERO);
            }
        }
        producer.context_failed();
        Ok(())
    }

    /// Serves delivery reports.
    pub fn poll(&self) {
        if let Some(producer) = &self.producer {
            producer.poll(Duration::ZERO);
        }
    }
}

trait Failed {
    fn context_failed(&self) -> Option<String>;
}

impl Failed for BaseProducer<Deliveries> {
    fn context_failed(&self) -> Option<String> {
        self.context().failed()
    }
}

/// What an error means for the transaction. Only what librdkafka says must be aborted can be; after everything else, timeouts
/// above all, the outcome is unknown and the producer is not to be used again: a late request could land in the next
/// transaction of the same epoch.
fn broken(error: KafkaError) -> Broken {
    match &error {
        KafkaError::Transaction(inner) if inner.txn_requires_abort() && !inner.is_fatal() => {
            Broken::Abort(format!("{} ({})", inner.string(), inner.name()))
        }
        _ => Broken::Renew(error.to_string()),
    }
}
