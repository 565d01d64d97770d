//! What librdkafka reports from its own side: events of the group, failed deliveries, brokers gone and back.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};
use rdkafka::util::Timeout;

use super::broker::Event;
use super::subscription::Subscription;
use crate::record::PartitionId;

/// How long refused credentials may come from a connection that was cut in the middle, before the next check.
const DOUBT: Duration = Duration::from_secs(5);

/// How long an error of the group is news: where it lasts, librdkafka reports it again each second.
const NEWS: Duration = Duration::from_secs(15);

/// Between two looks at brokers that are gone: they hold up the worker, which has nothing to do then.
const LOOK: Duration = Duration::from_secs(1);

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The consumer's side.
pub(super) struct Group {
    topics: Arc<Subscription>,
    events: Mutex<VecDeque<Event>>,
    /// Set when the consumer leaves: then events are answered here.
    leaving: AtomicBool,
    unreachable: AtomicBool,
    /// Whether the group has said which partitions are this member's.
    member: AtomicBool,
    /// Whether brokers were lost or refused the credentials since the last sign of them.
    troubled: AtomicBool,
    /// Since when the brokers refuse the credentials, as far as is known, and why.
    refused: Mutex<Option<(Instant, Away)>>,
    /// When it was last looked whether a broker answers.
    looked: Mutex<Option<Instant>>,
    /// The last error that librdkafka tries again after, and when it came.
    complaint: Mutex<Option<(Instant, String)>>,
}

impl Group {
    /// Of a consumer of these topics.
    pub fn new(topics: Arc<Subscription>) -> Group {
        Group {
            topics,
            events: Mutex::default(),
            leaving: AtomicBool::default(),
            unreachable: AtomicBool::default(),
            member: AtomicBool::default(),
            troubled: AtomicBool::default(),
            refused: Mutex::default(),
            looked: Mutex::default(),
            complaint: Mutex::default(),
        }
    }

    fn push(&self, event: Event) {
        locked(&self.events).push_back(event);
    }

    /// The next event, in order.
    pub fn event(&self) -> Option<Event> {
        locked(&self.events).pop_front()
    }

    /// Whether an event of the group waits for an answer.
    pub fn has_event(&self) -> bool {
        !locked(&self.events).is_empty()
    }

    /// The consumer leaves the group: nothing more is noted.
    pub fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// Whether the group has said which partitions are this member's.
    pub fn is_member(&self) -> bool {
        self.member.load(Ordering::Relaxed)
    }

    /// No broker answers.
    pub fn lost(&self) {
        self.troubled.store(true, Ordering::Relaxed);
        if !self.unreachable.swap(true, Ordering::Relaxed) {
            tracing::warn!("no broker answers: waiting for one");
            self.push(Event::Reachable(false));
        }
    }

    /// Whether it is time to look if a broker answers.
    pub fn is_in_doubt(&self) -> bool {
        self.troubled.load(Ordering::Relaxed)
            && (self.unreachable.load(Ordering::Relaxed) || self.refused().is_some())
            && locked(&self.looked).is_none_or(|at| at.elapsed() >= LOOK)
    }

    /// It was looked.
    pub fn looked(&self) {
        *locked(&self.looked) = Some(Instant::now());
    }

    /// Why the brokers refuse the credentials, if they have done so for long enough.
    pub fn refused(&self) -> Option<Away> {
        locked(&self.refused).as_ref().filter(|(since, _)| since.elapsed() >= DOUBT).map(|(_, away)| away.clone())
    }

    /// An error that librdkafka tries again after.
    pub fn complain(&self, error: String) {
        *locked(&self.complaint) = Some((Instant::now(), error));
    }

    /// The last such error, if it is news.
    pub fn complaint(&self) -> Option<String> {
        locked(&self.complaint).as_ref().filter(|(at, _)| at.elapsed() < NEWS).map(|(_, error)| error.clone())
    }

    /// Something arrived: brokers are reachable.
    pub fn heard(&self) {
        // This is called for every message.
        if !self.troubled.load(Ordering::Relaxed) {
            return;
        }
        self.troubled.store(false, Ordering::Relaxed);
        *locked(&self.refused) = None;
        if self.unreachable.swap(false, Ordering::Relaxed) {
            tracing::info!("a broker answers again");
            self.push(Event::Reachable(true));
        }
    }
}

/// librdkafka's own log lines: kolk logs what they mean.
fn report(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(target: "librdkafka", facility, "{message}");
        }
        _ => tracing::debug!(target: "librdkafka", facility, "{message}"),
    }
}

impl ClientContext for Group {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        report(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            return self.lost();
        }
        match Away::new(&error, reason) {
            Some(away @ Away::Credentials(_)) => {
                self.troubled.store(true, Ordering::Relaxed);
                let mut refused = locked(&self.refused);
                refused.get_or_insert_with(|| (Instant::now(), away));
            }
            Some(Away::Tls(_)) => tracing::warn!(reason, "no TLS connection at present: trying again"),
            None => tracing::debug!(%error, reason, "librdkafka"),
        }
    }
}

impl ConsumerContext for Group {
    /// Only stores the group's request: the worker answers when it is ready, and librdkafka waits for that.
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
        *locked(&self.complaint) = None;
        self.member.store(true, Ordering::Relaxed);
        let list: Vec<PartitionId> = partitions
            .elements()
            .iter()
            .filter_map(|element| self.topics.partition(element.topic(), element.partition()))
            .collect();
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

/// What the admin client receives: why access is refused.
#[derive(Default)]
pub(super) struct Door {
    heard: Mutex<Heard>,
}

#[derive(Default)]
struct Heard {
    /// The last error of a connection.
    last: Option<String>,
    /// What no waiting changes.
    away: Option<Away>,
}

/// Why access is refused, in librdkafka's words.
#[derive(Debug, Clone)]
pub(super) enum Away {
    Credentials(String),
    Tls(String),
}

impl Away {
    fn new(error: &KafkaError, reason: &str) -> Option<Away> {
        match error.rdkafka_error_code()? {
            RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed => {
                Some(Away::Credentials(reason.to_string()))
            }
            RDKafkaErrorCode::SSL => Some(Away::Tls(reason.to_string())),
            _ => None,
        }
    }

    /// For people, with what to do.
    pub fn text(&self, brokers: &str) -> String {
        match self {
            Away::Credentials(reason) => format!(
                "the brokers at {brokers} refuse the user or the password: {reason}\n\
                 check sasl.mechanism, sasl.username and sasl.password in `properties`"
            ),
            Away::Tls(reason) => format!(
                "no TLS connection with {brokers}: {reason}\n\
                 check in `properties` that ssl.ca.location is the file of the CA that signed the brokers' \
                 certificates, and that \
                 `brokers` names them as their certificates do"
            ),
        }
    }
}

impl Door {
    /// Why access is refused, for people.
    pub fn turned_away(&self, brokers: &str) -> Option<String> {
        let heard = locked(&self.heard);
        heard.away.as_ref().map(|away| away.text(brokers))
    }

    /// The last error of a connection.
    pub fn last(&self) -> Option<String> {
        locked(&self.heard).last.clone()
    }
}

impl ClientContext for Door {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        report(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            return;
        }
        let mut heard = locked(&self.heard);
        heard.last = Some(reason.to_string());
        heard.away = heard.away.take().or_else(|| Away::new(&error, reason));
    }
}

impl ConsumerContext for Door {}

/// The producer's side.
#[derive(Default)]
pub(super) struct Deliveries {
    /// The first delivery that failed since it was asked for.
    failed: Mutex<Option<Undelivered>>,
    refused: Mutex<Option<Away>>,
}

/// A message that did not arrive.
pub(super) struct Undelivered {
    /// Where it was to go.
    pub topic: String,
    /// What librdkafka says.
    pub code: RDKafkaErrorCode,
    /// The same in words.
    pub why: String,
}

impl Deliveries {
    /// The first message that was not delivered, if any.
    pub fn failed(&self) -> Option<Undelivered> {
        locked(&self.failed).take()
    }

    /// Notes that a message did not arrive.
    pub fn undelivered(&self, topic: String, code: RDKafkaErrorCode, why: String) {
        // Messages purged with an aborted transaction need no line.
        if !matches!(code, RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight) {
            locked(&self.failed).get_or_insert(Undelivered { topic, code, why });
        }
    }

    /// Why the brokers refused the credentials, if they ever did.
    pub fn refused(&self) -> Option<Away> {
        locked(&self.refused).clone()
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        report(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if let Some(away @ Away::Credentials(_)) = Away::new(&error, reason) {
            *locked(&self.refused) = Some(away);
        }
        tracing::debug!(%error, reason, "librdkafka");
    }
}
