//! What a consumer of several topics receives.
//!
//! The end of a partition, as rdkafka reports it, doesn't say of which topic: its number is that of others too. So this
//! file takes the events out of librdkafka's queue itself, and handles what rdkafka does for a consumer of one topic.
//!
//! There are two ways on purpose. A consumer of one topic needs no name, so it stays with rdkafka's `poll`, which is
//! safe code that follows librdkafka's events. The other way depends on the event interface of librdkafka, and is for
//! those who need it. Once rdkafka's error for the end of a partition says its topic, this file is no longer needed.

#![allow(unsafe_code)]

use std::ffi::CStr;
use std::slice;
use std::time::{Duration, Instant};

use rdkafka::bindings as sys;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Message as _, TopicPartitionList};

use super::broker::MessageHeader;
use super::context::Group;
use super::describe::{Owned, text};
use super::headers::Read;
use crate::format::Messages;

/// What came.
pub(super) enum Came<'a> {
    /// A message.
    Message(Message<'a>),
    /// The end of a partition, by topic, if there may be several, and number.
    End(Option<String>, i32),
    /// An error of the consumer.
    Error(KafkaError),
}

/// A message, of a consumer of one topic or of several.
pub(super) enum Message<'a> {
    /// As rdkafka gives it.
    One(BorrowedMessage<'a>),
    /// Taken out of the queue.
    Several(Taken),
}

/// Waits for what comes next: with rdkafka, or from the queue where there may be several topics. `None`: nothing.
pub(super) fn next<'a>(consumer: &'a BaseConsumer<Group>, queue: Option<&Queue>, wait: Duration) -> Option<Came<'a>> {
    if let Some(queue) = queue {
        return queue.next(consumer, wait);
    }
    Some(match consumer.poll(wait)? {
        Ok(message) => Came::Message(Message::One(message)),
        Err(KafkaError::PartitionEOF(number)) => Came::End(None, number),
        Err(error) => Came::Error(error),
    })
}

impl Message<'_> {
    /// Topic, where there may be several, number of the partition, offset.
    pub fn place(&self) -> (&str, i32, i64) {
        match self {
            // Nobody asks for the topic, which costs a little each time.
            Message::One(message) => ("", message.partition(), message.offset()),
            Message::Several(taken) => (taken.topic(), taken.it().partition, taken.it().offset),
        }
    }

    /// Bytes of key and payload.
    pub fn bytes(&self) -> usize {
        match self {
            Message::One(message) => message.payload_len() + message.key_len(),
            Message::Several(taken) => taken.it().key_len + taken.it().len,
        }
    }

    /// Adds it, with its headers if they are wanted.
    pub fn push(&self, into: &mut Messages, headers: Read) {
        match self {
            Message::One(message) => push(into, message, headers),
            Message::Several(taken) => taken.push(into, headers),
        }
    }
}

fn push(into: &mut Messages, message: &BorrowedMessage<'_>, headers: Read) {
    into.push(message.offset(), message.timestamp().to_millis().unwrap_or(-1), message.key(), message.payload());
    into.headers.extend(headers.of(message));
}

/// A message that was taken out of the queue.
pub(super) struct Taken {
    event: Owned<sys::rd_kafka_event_t>,
    message: *const sys::rd_kafka_message_t,
}

/// The queue of a consumer.
pub(super) struct Queue(Owned<sys::rd_kafka_queue_t>);

// SAFETY: a queue of librdkafka may be used by any thread.
unsafe impl Send for Queue {}

impl Queue {
    /// That of a consumer, which must outlive it.
    pub fn of(consumer: &BaseConsumer<Group>) -> Queue {
        // SAFETY: the consumer is alive; the reference is given back by `Owned`.
        let queue = unsafe { sys::rd_kafka_queue_get_consumer(consumer.client().native_ptr()) };
        Queue(Owned(queue, sys::rd_kafka_queue_destroy))
    }

    /// Waits for what comes next; `None`: nothing within the time, or something that the consumer's context has noted.
    pub fn next(&self, consumer: &BaseConsumer<Group>, timeout: Duration) -> Option<Came<'static>> {
        let until = Instant::now() + timeout;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let millis = i32::try_from(left.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
            // SAFETY: the queue is alive; the event is destroyed by `Owned`.
            let event = unsafe { Owned(sys::rd_kafka_queue_poll(self.0.0, millis), sys::rd_kafka_event_destroy) };
            if event.0.is_null() {
                return None;
            }
            // SAFETY: the event is alive.
            match unsafe { sys::rd_kafka_event_type(event.0) } {
                sys::RD_KAFKA_EVENT_FETCH => match message(event) {
                    Some(Ok(message)) => return Some(Came::Message(Message::Several(message))),
                    Some(Err(error)) => return Some(Came::Error(error)),
                    None => continue,
                },
                sys::RD_KAFKA_EVENT_ERROR => match error(consumer.context(), &event) {
                    Some(came) => return Some(came),
                    None => continue,
                },
                sys::RD_KAFKA_EVENT_REBALANCE => {
                    rebalance(consumer, &event);
                    return None;
                }
                sys::RD_KAFKA_EVENT_LOG => log(consumer.context(), &event),
                // Commits that are not waited for, statistics: nobody looks at them.
                _ => {}
            }
            if Instant::now() >= until {
                return None;
            }
        }
    }
}

fn message(event: Owned<sys::rd_kafka_event_t>) -> Option<Result<Taken, KafkaError>> {
    // SAFETY: the event is alive, and its message belongs to it.
    let message = unsafe { sys::rd_kafka_event_message_next(event.0) };
    if message.is_null() {
        return None;
    }
    let taken = Taken { event, message };
    let code = taken.it().err;
    let is_message = code == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;
    Some(if is_message { Ok(taken) } else { Err(KafkaError::MessageConsumption(code.into())) })
}

fn error(context: &Group, event: &Owned<sys::rd_kafka_event_t>) -> Option<Came<'static>> {
    // SAFETY: the event is alive; what belongs to it is copied, and the partition is destroyed by its own function.
    unsafe {
        let code = sys::rd_kafka_event_error(event.0);
        if code == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return None;
        }
        if code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__PARTITION_EOF {
            let of = Owned(sys::rd_kafka_event_topic_partition(event.0), sys::rd_kafka_topic_partition_destroy);
            if of.0.is_null() {
                return None;
            }
            return Some(Came::End(Some(text((*of.0).topic)?), (*of.0).partition));
        }
        let said = text(sys::rd_kafka_event_error_string(event.0)).unwrap_or_default();
        let code: RDKafkaErrorCode = code.into();
        context.error(KafkaError::Global(code), said.trim());
        Some(Came::Error(match sys::rd_kafka_event_error_is_fatal(event.0) {
            0 => KafkaError::MessageConsumption(code),
            _ => KafkaError::MessageConsumptionFatal(code),
        }))
    }
}

fn rebalance(consumer: &BaseConsumer<Group>, event: &Owned<sys::rd_kafka_event_t>) {
    // SAFETY: the event is alive, and the list of its partitions belongs to it. A copy of the list is what
    // `TopicPartitionList` owns and destroys.
    let (code, list) = unsafe {
        let list = sys::rd_kafka_event_topic_partition_list(event.0);
        if list.is_null() {
            return;
        }
        (sys::rd_kafka_event_error(event.0), copied(list))
    };
    let mut list = list;
    consumer.context().rebalance(consumer, code, &mut list);
}

/// A copy of a list of partitions, without offsets.
///
/// # Safety
/// The list is alive.
unsafe fn copied(list: *const sys::rd_kafka_topic_partition_list_t) -> TopicPartitionList {
    let mut copy = TopicPartitionList::new();
    // SAFETY: as asked of the caller; the names are copied.
    unsafe {
        let count = usize::try_from((*list).cnt).unwrap_or(0);
        for element in (0..count).map(|index| (*list).elems.add(index)) {
            if let Some(topic) = text((*element).topic) {
                copy.add_partition(&topic, (*element).partition);
            }
        }
    }
    copy
}

fn log(context: &Group, event: &Owned<sys::rd_kafka_event_t>) {
    let (mut facility, mut said, mut level) = (std::ptr::null(), std::ptr::null(), 0);
    // SAFETY: the event is alive, and what it says belongs to it and is copied.
    let (facility, said) = unsafe {
        if sys::rd_kafka_event_log(event.0, &raw mut facility, &raw mut said, &raw mut level) != 0 {
            return;
        }
        (text(facility).unwrap_or_default(), text(said).unwrap_or_default())
    };
    let level = match level {
        0 => RDKafkaLogLevel::Emerg,
        1 => RDKafkaLogLevel::Alert,
        2 => RDKafkaLogLevel::Critical,
        _ => RDKafkaLogLevel::Debug,
    };
    context.log(level, facility.trim(), said.trim());
}

impl Taken {
    /// The message; it belongs to the event, which this holds.
    fn it(&self) -> &sys::rd_kafka_message_t {
        debug_assert!(!self.event.0.is_null());
        // SAFETY: the message belongs to the event, which lives as long as this.
        unsafe { &*self.message }
    }

    fn topic(&self) -> &str {
        // SAFETY: the topic's name lives as long as the message.
        let name = unsafe { CStr::from_ptr(sys::rd_kafka_topic_name(self.it().rkt)) };
        name.to_str().unwrap_or_default()
    }

    fn push(&self, into: &mut Messages, headers: Read) {
        let message = self.it();
        let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: key and payload are null, or as long as the message says; the message is alive.
        let (key, payload, timestamp) = unsafe {
            (
                part(message.key, message.key_len),
                part(message.payload, message.len),
                sys::rd_kafka_message_timestamp(self.message, &raw mut kind),
            )
        };
        into.push(message.offset, timestamp, key, payload);
        if headers != Read::None {
            into.headers.push(self.headers(headers));
        }
    }

    fn headers(&self, read: Read) -> Vec<MessageHeader> {
        let (mut headers, mut all, mut next) = (std::ptr::null_mut(), Vec::new(), 0);
        // SAFETY: the message is alive, and its headers belong to it and are copied.
        unsafe {
            if sys::rd_kafka_message_headers(self.message, &raw mut headers)
                != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR
            {
                return all;
            }
            let (mut name, mut value, mut length) = (std::ptr::null(), std::ptr::null(), 0);
            while sys::rd_kafka_header_get_all(headers, next, &raw mut name, &raw mut value, &raw mut length)
                == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR
            {
                next += 1;
                let name = text(name).unwrap_or_default();
                if read.has(&name) {
                    all.push((name, part(value, length).map(<[u8]>::to_vec)));
                }
            }
        }
        all
    }
}

/// Bytes of a message; `None` where there are none.
///
/// # Safety
/// The pointer is null, or points to that many bytes, which live as long as is said.
unsafe fn part<'a>(pointer: *const std::ffi::c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: as asked of the caller.
    (!pointer.is_null()).then(|| unsafe { slice::from_raw_parts(pointer.cast(), length) })
}
