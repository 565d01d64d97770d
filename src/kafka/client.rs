//! One worker's consumer and producer.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::acl::{JOIN, On, Right, missing};
use super::broker::{Broken, Broker, Committed, Event, LogRange, NO_BROKER, Outgoing, Unsendable};
use super::context::Group;
use super::dismiss::dismiss;
use super::gathered::Gathered;
use super::headers;
use super::joining::{join, subscribe, without};
use super::membership::Waiting;
use super::messages::{self, Came, Queue};
use super::native::Member;
use super::position;
use super::producer::{Output, Sender};
use super::properties;
use super::questions::Questions;
use super::subscription::{Received, Subscription, number, unknown};
use super::topic_watch::TopicWatch;
use crate::config::{Delivery, KafkaSource};
use crate::error::Context;
use crate::format::Messages;
use crate::record::{PartitionId, SourceTopic};
use crate::{Error, Result};

mod judge;

/// How long leaving the group or seeking may take.
const LONG: Duration = Duration::from_secs(5);
/// Bytes of keys and payloads that are gathered at once, about.
const GATHERED: usize = 16 << 20;
/// How long a broker may take to answer when it is looked whether one is back.
const GLANCE: Duration = Duration::from_millis(250);

/// See the module.
pub struct Client {
    /// The consumer's queue, where there may be several topics.
    queue: Option<Queue>,
    consumer: Option<BaseConsumer<Group>>,
    /// None where nothing is sent.
    sender: Option<Sender>,
    brokers: String,
    questions: Questions,
    headers: headers::Read,
    /// How long messages may be gathered so that there are more of them at once.
    linger: Duration,
    gathered: Gathered,
    topics: Arc<Subscription>,
    /// The version of the topics that the consumer subscribes to.
    subscribed: u64,
    received: Received,
    /// Topics that were deleted, which the worker knows.
    given_up: Vec<SourceTopic>,
    /// What the consumer reads.
    assigned: BTreeSet<PartitionId>,
    watch: Arc<TopicWatch>,
    /// Number of the question for the topic that was asked last.
    asked: u64,
    /// Makes the consumer again.
    config: ClientConfig,
    /// Why it has no partitions, where it has none.
    waiting: Waiting,
    /// Without transactions: what the next commit commits.
    offsets: Option<TopicPartitionList>,
}

impl Client {
    /// A consumer that joins the group, and a producer that isn't there yet.
    ///
    /// # Errors
    /// Refused: properties that librdkafka doesn't take.
    pub fn new(
        source: &KafkaSource,
        output: Option<Output>,
        worker: usize,
        headers: bool,
        linger: Duration,
        (topics, watch): (Arc<Subscription>, Arc<TopicWatch>),
    ) -> Result<Client> {
        let delivery = output.as_ref().map_or(Delivery::ExactlyOnce, |output| output.delivery);
        let config = properties::consumer(source, delivery, worker);
        let consumer = join(&config, &topics)?;
        Ok(Client {
            subscribed: topics.version(),
            queue: topics.is_several().then(|| Queue::of(&consumer)),
            consumer: Some(consumer),
            sender: output.map(|output| Sender::new(output, worker)),
            brokers: source.brokers.value.clone(),
            questions: Questions::new(topics.clone(), source.group.value.clone()),
            headers: headers::Read::new(headers, source.encoding.has_schemas()),
            linger,
            gathered: Gathered::default(),
            topics,
            received: Received::default(),
            given_up: Vec::new(),
            assigned: BTreeSet::new(),
            watch,
            asked: 0,
            config,
            waiting: Waiting::new(source.protocol()),
            offsets: None,
        })
    }

    /// The consumer; none once it has left the group.
    fn consumer(&self) -> Result<&BaseConsumer<Group>> {
        self.consumer
            .as_ref()
            .ok_or_else(|| Error::failed("the consumer has left the group: internal error, please report"))
    }

    fn sender(&mut self) -> std::result::Result<&mut Sender, Broken> {
        self.sender
            .as_mut()
            .ok_or_else(|| Broken::Renew("nothing is sent from here: internal error, please report".into()))
    }

    /// Looks whether a broker answers again: where no messages come, nothing else would show it. Fails if the brokers
    /// refused the credentials and still do: waiting does not change that.
    fn look(&self, consumer: &BaseConsumer<Group>) -> Result<()> {
        let group = consumer.context();
        let answered = consumer.fetch_metadata(self.topics.any().as_deref(), GLANCE).is_ok();
        group.looked();
        if answered {
            group.heard();
            self.questions.hearing.heard();
            return Ok(());
        }
        self.questions.hearing.missed();
        match group.refused() {
            Some(refused) => Err(Error::failed(format!("kafka: {}", refused.text(&self.brokers)))),
            None => Ok(()),
        }
    }

    /// Waits for a message and gathers more, until one partition has `most` of them, the time to linger is over, or
    /// something else happened: that is reported at once if it can't wait.
    fn gather(&mut self, timeout: Duration, most: usize) -> Result<Option<Event>> {
        let Some(consumer) = &self.consumer else { return Ok(None) };
        let (mut wait, mut until, mut bytes) = (timeout, None, 0);
        while !consumer.context().has_event() {
            match messages::next(consumer, self.queue.as_ref(), wait) {
                None => break,
                Some(Came::Message(message)) => {
                    consumer.context().heard();
                    let (topic, number, offset) = message.place();
                    let of = self.received.partition(&self.topics, topic, number);
                    let of = of.ok_or_else(|| unknown(topic))?;
                    if let Some(messages) = self.gathered.messages(of, offset) {
                        bytes += message.bytes();
                        message.push(messages, self.headers);
                        if messages.len() >= most || bytes >= GATHERED {
                            break;
                        }
                    }
                }
                Some(Came::End(topic, end)) => {
                    consumer.context().heard();
                    let topic = topic.unwrap_or_default();
                    let end = self.received.partition(&self.topics, &topic, end).ok_or_else(|| unknown(&topic))?;
                    // At once: after the next message it would belong to another end.
                    let position = position::position(consumer.client(), self.topics.topic_of(end), number(end));
                    self.gathered.end(end, position);
                }
                Some(Came::Error(error)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) => {
                    consumer.context().lost();
                }
                Some(Came::Error(error)) => {
                    if let Some(event) = self.judge(&error)? {
                        return Ok(Some(event));
                    }
                }
            }
            let now = Instant::now();
            wait = until.get_or_insert(now + self.linger).saturating_duration_since(now);
        }
        Ok(None)
    }
}

impl Broker for Client {
    fn poll(&mut self, timeout: Duration, most: usize, into: &mut Messages) -> Result<Event> {
        if let Some(sender) = &self.sender {
            sender.poll();
        }
        if self.watch.is_other() {
            return Ok(Event::Recreated);
        }
        if let Some(topic) = self.watch.gone() {
            return Err(Error::failed(format!("kafka: topic {topic} was deleted while kolk ran")));
        }
        if let Some(topic) = self.watch.given_up(self.given_up.len()).first() {
            self.given_up.push(*topic);
            return Ok(Event::Deleted(*topic));
        }
        let Some(consumer) = &self.consumer else { return Ok(Event::Nothing) };
        if self.subscribed != self.topics.version() {
            self.subscribed = self.topics.version();
            subscribe(consumer, &self.topics)?;
        }
        if consumer.context().is_in_doubt() {
            self.look(consumer)?;
        }
        if let Some(event) = consumer.context().event() {
            return Ok(without(event, &self.given_up));
        }
        if self.gathered.is_empty()
            && let Some(event) = self.gather(timeout, most)?
        {
            return Ok(event);
        }
        if let Some(event) = self.gathered.next(into) {
            return Ok(event);
        }
        Ok(self.consumer()?.context().event().map_or(Event::Nothing, |event| without(event, &self.given_up)))
    }

    fn assign(&mut self, at: &[(PartitionId, i64)]) -> Result<()> {
        let list = self.questions.list(at.iter().map(|(partition, offset)| (*partition, Offset::Offset(*offset))))?;
        at.iter().for_each(|(partition, offset)| self.gathered.begin(*partition, *offset));
        self.assigned.extend(at.iter().map(|(partition, _)| *partition));
        self.consumer()?.incremental_assign(&list).or_failed(|| "kafka: taking partitions".into())
    }

    fn unassign(&mut self, partitions: &[PartitionId]) -> Result<()> {
        partitions.iter().for_each(|partition| self.gathered.forget(*partition));
        // Of a topic that was deleted, partitions may have been given and never taken.
        let taken: Vec<PartitionId> = partitions.iter().copied().filter(|it| self.assigned.remove(it)).collect();
        let list = self.questions.named(if self.given_up.is_empty() { partitions } else { &taken })?;
        self.consumer()?.incremental_unassign(&list).or_failed(|| "kafka: giving partitions back".into())
    }

    fn seek(&mut self, partition: PartitionId, offset: i64) -> Result<()> {
        self.gathered.begin(partition, offset);
        let until = Instant::now() + LONG;
        loop {
            match self.consumer()?.seek(
                self.topics.topic_of(partition),
                number(partition),
                Offset::Offset(offset),
                LONG,
            ) {
                // Taken a moment ago, and not yet being read.
                Err(error) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::State) && Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                done => {
                    return done.or_failed(|| format!("kafka: reading partition {partition} from offset {offset}"));
                }
            }
        }
    }

    fn reassign(&mut self, at: &[(PartitionId, i64)]) -> Result<()> {
        let partitions: Vec<PartitionId> = at.iter().map(|(partition, _)| *partition).collect();
        self.unassign(&partitions)?;
        self.assign(at)
    }

    fn reconnect(&mut self) -> Result<()> {
        self.leave();
        self.gathered = Gathered::default();
        self.assigned.clear();
        self.questions.hearing.heard();
        self.subscribed = self.topics.version();
        let consumer = join(&self.config, &self.topics)?;
        self.queue = self.topics.is_several().then(|| Queue::of(&consumer));
        self.consumer = Some(consumer);
        Ok(())
    }

    fn is_deaf(&mut self) -> bool {
        let Some(consumer) = &self.consumer else { return false };
        self.questions.hearing.is_deaf(consumer, self.topics.any().as_deref(), &self.watch)
    }

    fn pause(&mut self, partitions: &[PartitionId], paused: bool) -> Result<()> {
        let list = self.questions.named(partitions)?;
        let consumer = self.consumer()?;
        if paused { consumer.pause(&list) } else { consumer.resume(&list) }.or_failed(|| "kafka: pausing".into())
    }

    fn committed(&mut self, partitions: &[PartitionId], timeout: Duration) -> Result<Option<Vec<Option<Committed>>>> {
        self.questions.committed(self.consumer()?, partitions, timeout)
    }

    fn range(&mut self, partition: PartitionId, timeout: Duration) -> Result<Option<LogRange>> {
        self.questions.range(self.consumer()?, partition, timeout)
    }

    fn ends(&mut self, partitions: &[PartitionId], timeout: Duration) -> Result<Option<Vec<i64>>> {
        self.questions.ends(self.consumer()?, partitions, timeout)
    }

    fn offset_at(&mut self, partition: PartitionId, timestamp: i64, timeout: Duration) -> Result<Option<i64>> {
        self.questions.offset_at(self.consumer()?, partition, timestamp, timeout)
    }

    fn recreated(&self) -> Option<String> {
        self.watch.other()
    }

    fn is_deleted(&self, topic: SourceTopic) -> bool {
        self.watch.given_up(0).contains(&topic)
    }

    fn ask_topic(&mut self) {
        self.asked = self.watch.ask();
    }

    fn is_same_topic(&mut self, timeout: Duration) -> Result<Option<bool>> {
        Ok(self.watch.is_same(self.asked, timeout))
    }

    fn unanswered(&self) -> Option<&'static str> {
        self.sender.as_ref().and_then(Sender::unanswered)
    }

    fn begin(&mut self) -> std::result::Result<(), Broken> {
        let member = self.consumer.as_ref().and_then(|consumer| Member::of(consumer.client()));
        self.sender()?.begin(member)
    }

    fn send(&mut self, message: Outgoing<'_>) -> std::result::Result<(), Unsendable> {
        self.sender().map_err(Unsendable::Transaction)?.send(message)
    }

    fn send_offsets(&mut self, offsets: &[(PartitionId, i64, String)]) -> std::result::Result<(), Broken> {
        let offsets = offsets.iter().map(|(partition, offset, metadata)| (*partition, *offset, metadata.as_str()));
        let list = self.topics.with_metadata(offsets).map_err(|error| Broken::Abort(error.to_string()))?;
        let sender = self.sender()?;
        sender.send_offsets(&list)?;
        self.offsets = (!sender.transactional()).then_some(list);
        Ok(())
    }

    fn commit(&mut self) -> std::result::Result<(), Broken> {
        self.sender()?.commit()?;
        if let (Some(offsets), Some(consumer)) = (self.offsets.take(), &self.consumer)
            && let Err(error) = consumer.commit(&offsets, CommitMode::Sync)
        {
            let denied = error.rdkafka_error_code() == Some(RDKafkaErrorCode::GroupAuthorizationFailed);
            let why = denied.then(|| missing(Right::Read, On::Group(&self.questions.group), JOIN));
            return Err(match why {
                Some(why) => self.sender()?.deny(why),
                None => Broken::Abort(error.to_string()),
            });
        }
        Ok(())
    }

    fn note(&mut self, offsets: &[(PartitionId, i64)]) {
        let list = self.questions.list(offsets.iter().map(|(partition, offset)| (*partition, Offset::Offset(*offset))));
        let noted = list.and_then(|list| {
            self.consumer()?.commit(&list, CommitMode::Async).or_failed(|| "kafka: noting offsets".into())
        });
        if let Err(error) = noted {
            tracing::debug!(%error, "the group's offsets stay where they are");
        }
    }

    fn abort(&mut self) -> std::result::Result<(), Broken> {
        self.offsets = None;
        self.sender()?.abort()
    }

    fn renew(&mut self) -> Result<bool> {
        self.offsets = None;
        self.sender.as_mut().map_or(Ok(true), Sender::renew)
    }

    fn waiting_for(&mut self) -> Option<String> {
        let consumer = self.consumer.as_ref()?;
        let reason = self.waiting.reason(consumer, &self.questions.group, &self.topics);
        if reason.as_deref() == Some(NO_BROKER) {
            self.questions.hearing.missed();
        }
        reason
    }

    fn now(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    fn leave(&mut self) {
        // A queue must not outlive its client.
        self.queue = None;
        if let Some(consumer) = self.consumer.take() {
            consumer.context().leave();
            // An unanswered event would keep the group waiting.
            while let Some(event) = consumer.context().event() {
                let answered = match event {
                    Event::Assigned(_) => consumer.incremental_assign(&TopicPartitionList::new()),
                    Event::Revoked(partitions) | Event::Lost(partitions) => match self.questions.named(&partitions) {
                        Ok(list) => consumer.incremental_unassign(&list),
                        Err(_) => Ok(()),
                    },
                    _ => Ok(()),
                };
                if let Err(error) = answered {
                    tracing::debug!(%error, "leaving the group");
                }
            }
            // That closes it, and the group learns of it at once.
            dismiss(consumer, "consumer");
        }
    }
}
