//! One worker's producer: transactions, or (`delivery: at_least_once`) plain sending.

use std::ffi::CString;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::error::RDKafkaErrorCode;

use super::acl::{On, Right, SEND, missing, no_transactions};
use super::broker::{Broken, Outgoing, Topic, Unsendable};
use super::context::Undelivered;
use super::dismiss::{dismiss, within};
use super::native::{Failure, Member, NativeProducer, topic_name};
use super::properties::{self, TRANSACTION_REQUEST as REQUEST};
use crate::config::{Delivery, KafkaSink};
use crate::{Error, Result};

/// How long the first request of a producer may take before the group is looked at again.
const FIRST: Duration = Duration::from_secs(3);
/// How much longer than its own limit a call of librdkafka may take.
const LATE: Duration = Duration::from_secs(5);
/// First requests that fail while the brokers refuse the credentials, until that is believed.
const REFUSALS: u32 = 2;

/// What is to be done about outputs whose timestamps a topic refuses.
const STAMPS: &str = "with `timestamp: record` outputs have the times of their rows: let the topic have them \
    (message.timestamp.after.max.ms, message.timestamp.before.max.ms), let `on.ahead` refuse records that are too far \
    ahead, or write `timestamp: now`";

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
    /// The topics, as librdkafka needs their names.
    names: (CString, CString),
    producer: Option<Arc<NativeProducer>>,
    /// The membership that the open transaction belongs to.
    member: Option<Arc<Member>>,
    /// A right that was found to be missing: trying again is of no use, and is not done.
    denied: Option<String>,
    /// First requests in a row that failed while the brokers refused the credentials.
    refusals: u32,
}

impl Sender {
    /// A sender without a producer yet.
    pub fn new(output: Output, worker: usize) -> Sender {
        let id = format!("{}{}-{worker}", output.ids, output.instance);
        let names = (topic_name(&output.sink.topic), topic_name(output.dead_letters.as_deref().unwrap_or_default()));
        Sender { output, id, names, producer: None, member: None, denied: None, refusals: 0 }
    }

    /// Whether it sends in transactions.
    pub fn transactional(&self) -> bool {
        self.output.delivery == Delivery::ExactlyOnce
    }

    fn there(&self) -> std::result::Result<&NativeProducer, Broken> {
        self.producer.as_deref().ok_or_else(|| Broken::Renew("there is no producer".into()))
    }

    /// A request of a transaction that had no answer and may still arrive.
    pub fn unanswered(&self) -> Option<&'static str> {
        self.producer.as_deref().and_then(NativeProducer::unanswered)
    }

    /// See [`super::Broker::renew`].
    pub fn renew(&mut self) -> Result<bool> {
        if let Some(denied) = &self.denied {
            return Err(Error::failed(format!("kafka: {denied}")));
        }
        // The old one first: two with the same id in one process would fence each other in an unknown order.
        if let Some(old) = self.producer.take() {
            dismiss(old, "producer");
        }
        self.member = None;
        let output = &self.output;
        let config = properties::producer(&output.sink, output.delivery, &self.id, output.longest);
        let producer = NativeProducer::new(&config).map_err(properties::refused)?;
        if self.transactional()
            && let Err(error) = producer.init_transactions(FIRST)
        {
            if let Some(why) = no_transactions(error.code, &output.ids) {
                return Err(Error::failed(format!("kafka: {why}")));
            }
            producer.poll(Duration::ZERO);
            let refused = producer.context().refused();
            self.refusals = if refused.is_some() { self.refusals + 1 } else { 0 };
            // A single time may be a connection that was cut in the middle.
            if let Some(refused) = refused.filter(|_| self.refusals >= REFUSALS) {
                return Err(Error::failed(format!("kafka: {}", refused.text(&output.sink.brokers))));
            }
            tracing::warn!(%error, "no transactions at present: trying again");
            dismiss(producer, "producer");
            return Ok(false);
        }
        self.refusals = 0;
        self.producer = Some(Arc::new(producer));
        Ok(true)
    }

    /// See [`super::Broker::begin`].
    pub fn begin(&mut self, member: Option<Member>) -> std::result::Result<(), Broken> {
        let producer = self.there()?;
        producer.context().failed();
        if self.transactional()
            && let Err(error) = producer.begin_transaction()
        {
            return Err(self.broken(error));
        }
        self.member = member.map(Arc::new);
        Ok(())
    }

    /// See [`super::Broker::send`].
    pub fn send(&mut self, message: Outgoing<'_>) -> std::result::Result<(), Unsendable> {
        let name = match message.topic {
            Topic::Output => &self.names.0,
            Topic::DeadLetters if self.output.dead_letters.is_some() => &self.names.1,
            Topic::DeadLetters => return Err(Unsendable::Never("there is no topic for dead letters".into())),
        };
        let producer = self.there().map_err(Unsendable::Transaction)?;
        let mut until = None;
        loop {
            let code = match producer.send(name, &message) {
                Ok(()) => return Ok(()),
                Err(code) => code,
            };
            match code {
                RDKafkaErrorCode::QueueFull
                    if Instant::now() < *until.get_or_insert_with(|| Instant::now() + REQUEST) =>
                {
                    producer.poll(Duration::from_millis(1));
                }
                RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidRecord => {
                    return Err(Unsendable::Never(format!("topic {}: {code}", name.to_string_lossy())));
                }
                _ => {
                    let text = format!("topic {}: {code}", name.to_string_lossy());
                    let (is_fatal, is_retriable, requires_abort) = (code == RDKafkaErrorCode::Fatal, false, false);
                    let failure = Failure { code, text, is_fatal, is_retriable, requires_abort };
                    return Err(Unsendable::Transaction(self.broken(failure)));
                }
            }
        }
    }

    /// See [`super::Broker::send_offsets`].
    pub fn send_offsets(&mut self, offsets: &TopicPartitionList) -> std::result::Result<(), Broken> {
        self.there()?;
        if !self.transactional() {
            return Ok(());
        }
        let (Some(producer), Some(member)) = (self.producer.clone(), self.member.clone()) else {
            return Err(Broken::Abort("not a member of the group".into()));
        };
        // librdkafka waits for ever where the producer has lost its brokers, whatever time it is given.
        let offsets = offsets.clone();
        match within(REQUEST + LATE, move || producer.send_offsets(&offsets, &member, REQUEST)) {
            Some(sent) => sent.map_err(|error| self.broken(error)),
            None => Err(Broken::Renew("the producer has no answer about the offsets".into())),
        }
    }

    /// See [`super::Broker::commit`].
    pub fn commit(&mut self) -> std::result::Result<(), Broken> {
        let producer = self.there()?;
        // librdkafka's own flush, which a commit calls, polls in slices of 10 ms.
        let until = Instant::now() + REQUEST;
        while producer.in_flight() > 0 {
            if Instant::now() > until {
                let why = "messages did not arrive in time".to_string();
                // Without a transaction there is nothing to abort that would take them out of the producer.
                return Err(if self.transactional() { Broken::Abort(why) } else { Broken::Renew(why) });
            }
            producer.poll(Duration::from_millis(1));
        }
        producer.poll(Duration::ZERO);
        match producer.context().failed() {
            Some(Undelivered { topic, code: RDKafkaErrorCode::TopicAuthorizationFailed, .. }) => {
                return Err(self.deny(missing(Right::Write, On::Topic(&topic), SEND)));
            }
            // Sent again, it would be refused again.
            Some(Undelivered { topic, code: RDKafkaErrorCode::InvalidTimestamp, why }) => {
                return Err(self.deny(format!("topic {topic} refuses the timestamp of an output: {why}\n{STAMPS}")));
            }
            Some(failed) => return Err(Broken::Abort(format!("topic {}: {}", failed.topic, failed.why))),
            None => {}
        }
        if self.transactional()
            && let Err(error) = producer.commit(REQUEST)
        {
            return Err(self.broken(error));
        }
        Ok(())
    }

    /// See [`super::Broker::abort`].
    pub fn abort(&mut self) -> std::result::Result<(), Broken> {
        let producer = self.there()?;
        if self.transactional() {
            // An abort that does not finish in time does no harm: the producer continues.
            let until = Instant::now() + REQUEST;
            while let Err(error) = producer.abort(until.saturating_duration_since(Instant::now())) {
                if !error.is_retriable || Instant::now() > until {
                    return Err(Broken::Renew(error.to_string()));
                }
            }
        }
        producer.context().failed();
        Ok(())
    }

    /// Ends the open transaction and makes [`Sender::renew`] fail: another producer would not have the right either.
    pub fn deny(&mut self, why: String) -> Broken {
        if let Err(error) = self.abort() {
            tracing::debug!(?error, "the transaction ends by its timeout");
        }
        self.denied = Some(why.clone());
        Broken::Renew(why)
    }

    /// What an error means for the transaction. Only what librdkafka says must be aborted can be; after everything
    /// else, timeouts above all, the outcome is unknown and the producer is not to be used again: a late request could
    /// land in the next transaction of the same epoch.
    fn broken(&mut self, error: Failure) -> Broken {
        if let Some(why) = denial(&error, &self.output.ids) {
            return self.deny(why);
        }
        if error.requires_abort && !error.is_fatal {
            return Broken::Abort(error.to_string());
        }
        if is_fenced(error.code) {
            return Broken::Fenced(format!(
                "{error}: this producer of {} has been replaced: another process has the same runtime.instance, or its \
                 transaction was not ended within transaction.timeout.ms",
                self.id
            ));
        }
        Broken::Renew(error.to_string())
    }

    /// Serves delivery reports.
    pub fn poll(&self) {
        if let Some(producer) = &self.producer {
            producer.poll(Duration::ZERO);
        }
    }
}

/// Whether the broker takes another producer of the same transactional id for the present one: it came later, or the
/// broker itself ended the transaction of this one, which counts as such.
fn is_fenced(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode::{Fenced, InvalidProducerEpoch, ProducerFenced};
    matches!(code, Fenced | InvalidProducerEpoch | ProducerFenced)
}

/// The right that is missing according to an error of a transaction, if it is of that kind. librdkafka doesn't name the
/// topic.
fn denial(error: &Failure, ids: &str) -> Option<String> {
    match error.code {
        RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::GroupAuthorizationFailed => Some(format!(
            "a right that was there is missing now: {}\nkolk check names it, and the ACL that gives it",
            error.text
        )),
        code => no_transactions(code, ids),
    }
}
