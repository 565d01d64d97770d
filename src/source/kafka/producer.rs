//! One worker's producer: transactions, or (`delivery: at_least_once`) plain sending.

use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header as KafkaHeader, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::context::{Deliveries, Undelivered};
use super::properties;
use super::rights::{On, Right, SEND, missing, no_transactions};
use crate::config::{Delivery, KafkaSink};
use crate::runtime::stream::{Broken, Outgoing, Topic, Unsendable};
use crate::{Error, Result};

/// How long a request of a transaction may take: what the broker gives the whole transaction.
const REQUEST: Duration = Duration::from_secs(10);
/// How long an abort waits before delivery reports are served; it is resumed after that.
const SLICE: Duration = Duration::from_millis(20);
/// How long the first request of a producer may take before the group is looked at again.
const FIRST: Duration = Duration::from_secs(3);
/// First requests that fail while the brokers refuse the credentials, until that is believed.
const REFUSALS: u32 = 2;

/// Where a pipeline sends.
#[derive(Debug, Clone)]
pub struct Output {
    /// The sink: brokers, topic, properties.
    pub sink: KafkaSink,
    /// The topic of the dead letters, if they go to one.
    pub dead_letters: Option<String>,
    /// What a crash may do.
    pub delivery: Delivery,
    /// What the transactional ids of the pipeline begin with, in every process ([`super::transactional_ids`]).
    pub ids: String,
    /// This process among them.
    pub instance: String,
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
    /// A right that was found to be missing: trying again is of no use, and is not done.
    denied: Option<String>,
    /// First requests in a row that failed while the brokers refused the credentials.
    refusals: u32,
}

impl Sender {
    pub fn new(output: Output, worker: usize) -> Sender {
        let id = format!("{}{}-{worker}", output.ids, output.instance);
        Sender { output, id, producer: None, member: None, denied: None, refusals: 0 }
    }

    pub fn transactional(&self) -> bool {
        self.output.delivery == Delivery::ExactlyOnce
    }

    fn there(&self) -> std::result::Result<&BaseProducer<Deliveries>, Broken> {
        self.producer.as_ref().ok_or_else(|| Broken::Renew("there is no producer".into()))
    }

    pub fn renew(&mut self) -> Result<bool> {
        if let Some(denied) = &self.denied {
            return Err(Error::failed(format!("kafka: {denied}")));
        }
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
            if let Some(why) = error.rdkafka_error_code().and_then(|code| no_transactions(code, &output.ids)) {
                return Err(Error::failed(format!("kafka: {why}")));
            }
            producer.poll(Duration::ZERO);
            let refused = producer.context().refused();
            self.refusals = if refused.is_some() { self.refusals + 1 } else { 0 };
            // Once may be a connection that was cut in the middle of it.
            if let Some(refused) = refused.filter(|_| self.refusals >= REFUSALS) {
                return Err(Error::failed(format!("kafka: {}", refused.text(&output.sink.brokers))));
            }
            tracing::warn!(%error, "no transactions at present: trying again");
            return Ok(false);
        }
        self.refusals = 0;
        self.producer = Some(producer);
        Ok(true)
    }

    pub fn begin(&mut self, member: Option<ConsumerGroupMetadata>) -> std::result::Result<(), Broken> {
        let producer = self.there()?;
        producer.context().failed();
        if self.transactional()
            && let Err(error) = producer.begin_transaction()
        {
            return Err(self.broken(error));
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
        let mut until = None;
        loop {
            match producer.send(record) {
                Ok(()) => return Ok(()),
                Err((error, back)) => match error.rdkafka_error_code() {
                    Some(RDKafkaErrorCode::QueueFull)
                        if Instant::now() < *until.get_or_insert_with(|| Instant::now() + REQUEST) =>
                    {
                        producer.poll(Duration::from_millis(1));
                        record = back;
                    }
                    Some(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidRecord) => {
                        return Err(Unsendable::Never(format!("topic {topic}: {error}")));
                    }
                    _ => return Err(Unsendable::Transaction(self.broken(error))),
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
        let sent = producer.send_offsets_to_transaction(offsets, member, REQUEST);
        sent.map_err(|error| self.broken(error))
    }

    pub fn commit(&mut self) -> std::result::Result<(), Broken> {
        let producer = self.there()?;
        // rdkafka's own flush, which a commit calls, polls in slices of 100 ms.
        let until = Instant::now() + REQUEST;
        while producer.in_flight_count() > 0 {
            if Instant::now() > until {
                let why = "messages did not arrive in time".to_string();
                // Without a transaction there is nothing to abort that would take them out of the producer.
                return Err(if self.transactional() { Broken::Abort(why) } else { Broken::Renew(why) });
            }
            producer.poll(Duration::from_millis(1));
        }
        producer.poll(Duration::ZERO);
        match producer.context().failed() {
            Some(Undelivered { topic, code: Some(RDKafkaErrorCode::TopicAuthorizationFailed), .. }) => {
                return Err(self.deny(missing(Right::Write, On::Topic(&topic), SEND)));
            }
            Some(failed) => return Err(Broken::Abort(format!("topic {}: {}", failed.topic, failed.why))),
            None => {}
        }
        if self.transactional()
            && let Err(error) = producer.commit_transaction(REQUEST)
        {
            return Err(self.broken(error));
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
        producer.context().failed();
        Ok(())
    }

    /// Ends what is open and makes [`Sender::renew`] fail: no other producer may do what this one may not.
    pub fn deny(&mut self, why: String) -> Broken {
        if let Err(error) = self.abort() {
            tracing::debug!(?error, "the transaction ends by its timeout");
        }
        self.denied = Some(why.clone());
        Broken::Renew(why)
    }

    /// What an error means for the transaction. Only what librdkafka says must be aborted can be; after everything else, timeouts
    /// above all, the outcome is unknown and the producer is not to be used again: a late request could land in the next
    /// transaction of the same epoch.
    fn broken(&mut self, error: KafkaError) -> Broken {
        if let Some(why) = denial(&error, &self.output.ids) {
            return self.deny(why);
        }
        match &error {
            KafkaError::Transaction(inner) if inner.txn_requires_abort() && !inner.is_fatal() => {
                Broken::Abort(format!("{} ({})", inner.string(), inner.name()))
            }
            _ if is_fenced(&error) => Broken::Fenced(format!(
                "{error}: this producer of {} is no longer the one: another process has the same runtime.instance, or its \
                 transaction was not ended within transaction.timeout.ms",
                self.id
            )),
            _ => Broken::Renew(error.to_string()),
        }
    }

    /// Serves delivery reports.
    pub fn poll(&self) {
        if let Some(producer) = &self.producer {
            producer.poll(Duration::ZERO);
        }
    }
}

/// Whether the broker takes another producer of the same transactional id for the present one: it came later, or the broker itself
/// ended the transaction of this one, which counts as such.
fn is_fenced(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{Fenced, InvalidProducerEpoch, ProducerFenced};
    matches!(error.rdkafka_error_code(), Some(Fenced | InvalidProducerEpoch | ProducerFenced))
}

/// The right that an error of a transaction says is missing, if it is of that kind. librdkafka doesn't say which topic it is about.
fn denial(error: &KafkaError, ids: &str) -> Option<String> {
    let code = error.rdkafka_error_code()?;
    match code {
        RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::GroupAuthorizationFailed => {
            let said = match error {
                KafkaError::Transaction(inner) => inner.string(),
                other => other.to_string(),
            };
            Some(format!(
                "a right that was there is missing now: {said}\nkolk check names it, and the ACL that gives it"
            ))
        }
        _ => no_transactions(code, ids),
    }
}
