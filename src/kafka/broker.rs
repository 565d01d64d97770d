//! What one worker needs from Kafka, free of any type of a client: a member of the consumer group and a transactional
//! producer. [`super::Client`] implements it with librdkafka.
//!
//! Nothing here decides anything; the protocol is that of `runtime::kafka`.

use std::time::Duration;

use crate::Result;
use crate::format::Messages;
use crate::record::{PartitionId, SourceTopic};

/// The reason for waiting if no broker answers.
pub const NO_BROKER: &str = "no broker answers: waiting for one";

/// What a poll found. The group's events are not answered by the poll: the worker answers with [`Broker::assign`] or
/// [`Broker::unassign`] when it is ready, and until then the group waits for it.
#[derive(Debug)]
pub enum Event {
    /// Nothing within the time given.
    Nothing,
    /// Messages of one partition were appended to what [`Broker::poll`] was given.
    Messages(PartitionId),
    /// The end of a partition was reached: the next message will have this offset, or a higher one.
    End(PartitionId, i64),
    /// The group gives these partitions to the worker. To be answered with [`Broker::assign`].
    Assigned(Vec<PartitionId>),
    /// The group takes these partitions away; they are the worker's until it answers with [`Broker::unassign`].
    Revoked(Vec<PartitionId>),
    /// These partitions are another's already. To be answered with [`Broker::unassign`].
    Lost(Vec<PartitionId>),
    /// The broker can't be reached, or is back.
    Reachable(bool),
    /// A position is no longer in the log, or not yet: retention, or a truncated log.
    OutOfRange(PartitionId),
    /// A topic is no longer the one that was taken up: it was deleted, and another one has its name.
    Recreated,
    /// A topic that a pattern matched was deleted: nothing of its partitions can be committed, and a commit with their
    /// offsets fails as a whole. They are the worker's until the group takes them away.
    Deleted(SourceTopic),
}

/// What a group has committed for a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Offset of the next message to be read.
    pub offset: i64,
    /// The metadata of the offset, at most 4,096 bytes.
    pub metadata: String,
}

/// Metadata of an offset that `kolk state reset --to` has set: a pipeline without state begins there.
pub const BEGINNING: &str = "kolk state reset";

/// First offset that is still there, and that of the next message to arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogRange {
    /// The first offset that can be read.
    pub start: i64,
    /// After the last message.
    pub end: i64,
}

/// Where a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// The sink's topic.
    Output,
    /// The topic of the dead letters.
    DeadLetters,
}

/// A message on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outgoing<'a> {
    /// Where to.
    pub topic: Topic,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its payload; `None` is a tombstone.
    pub payload: Option<&'a [u8]>,
    /// Its headers, in order.
    pub headers: &'a [MessageHeader],
    /// Its timestamp in milliseconds, from 1 on; `None`: when it is sent.
    pub timestamp: Option<i64>,
}

/// Name and value of a header.
pub type MessageHeader = (String, Option<Vec<u8>>);

/// Why a message was not accepted for sending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unsendable {
    /// The broker will never take it: too large.
    Never(String),
    /// The transaction it belongs to is over.
    Transaction(Broken),
}

/// How a transaction failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broken {
    /// It must be aborted; then everything may be sent again in a new one.
    Abort(String),
    /// Its outcome is unknown, or the producer is broken: never to be used again. [`Broker::renew`], then compare with
    /// what is committed.
    Renew(String),
    /// The same; another producer has taken the transactional id.
    Fenced(String),
}

/// One worker's side of Kafka.
pub trait Broker {
    /// Waits for the next event. Messages of one partition, at most `most` of them, are appended to `into`, which is
    /// empty.
    ///
    /// # Errors
    /// An error that retrying won't solve: authorisation, a topic that is gone, a fatal error of the client.
    fn poll(&mut self, timeout: Duration, most: usize, into: &mut Messages) -> Result<Event>;

    /// Answers [`Event::Assigned`]: reading begins at these offsets.
    ///
    /// # Errors
    /// As [`Broker::poll`].
    fn assign(&mut self, at: &[(PartitionId, i64)]) -> Result<()>;

    /// Answers [`Event::Revoked`] or [`Event::Lost`].
    ///
    /// # Errors
    /// As [`Broker::poll`].
    fn unassign(&mut self, partitions: &[PartitionId]) -> Result<()>;

    /// Reads a partition of this worker from another offset on.
    ///
    /// # Errors
    /// As [`Broker::poll`].
    fn seek(&mut self, partition: PartitionId, offset: i64) -> Result<()>;

    /// Takes partitions of this worker out of its client and puts them in again, to be read from these offsets on. The
    /// group isn't informed.
    ///
    /// # Errors
    /// As [`Broker::poll`].
    fn reassign(&mut self, at: &[(PartitionId, i64)]) -> Result<()>;

    /// Leaves the group and joins it again with a new client. No transaction may be open; no partition is the worker's
    /// until the group gives it one.
    ///
    /// # Errors
    /// As [`Broker::poll`].
    fn reconnect(&mut self) -> Result<()>;

    /// Whether the consumer has lost its brokers for good, though they answer others: only [`Broker::reconnect`] helps.
    fn is_deaf(&mut self) -> bool;

    /// Pauses and resumes delivery of a partition (backpressure). Messages not yet delivered come later, from where the
    /// last delivered one was.
    ///
    /// # Errors
    /// As [`Broker::poll`].
    fn pause(&mut self, partitions: &[PartitionId], paused: bool) -> Result<()>;

    /// The group's *stable* committed offsets: those of transactions that are decided. `Ok(None)`: not to be had within
    /// the time (a transaction is open, the coordinator is busy), ask again. The inner `None`: the group never
    /// committed this partition.
    ///
    /// # Errors
    /// As [`Broker::poll`].
    #[allow(clippy::type_complexity)]
    fn committed(&mut self, partitions: &[PartitionId], timeout: Duration) -> Result<Option<Vec<Option<Committed>>>>;

    /// First offset and end of a partition's log as a reader of committed messages sees it (end: last stable offset).
    /// `Ok(None)`: not to be had within the time.
    ///
    /// # Errors
    /// As [`Broker::poll`].
    fn range(&mut self, partition: PartitionId, timeout: Duration) -> Result<Option<LogRange>>;

    /// The ends of partitions, as [`Broker::range`] has them. `Ok(None)`: not to be had within the time.
    ///
    /// # Errors
    /// As [`Broker::poll`].
    fn ends(&mut self, partitions: &[PartitionId], timeout: Duration) -> Result<Option<Vec<i64>>>;

    /// The topic that was created again, if one was and there may be several.
    fn recreated(&self) -> Option<String> {
        None
    }

    /// Whether a topic that a pattern matched was deleted and given up.
    fn is_deleted(&self, _topic: SourceTopic) -> bool {
        false
    }

    /// Begins to ask whether the topic is the one of the start, and returns at once.
    fn ask_topic(&mut self);

    /// Whether it is, by an answer to a question that began at or after the last [`Broker::ask_topic`]: if so,
    /// everything that was polled before that is of the topic of the start, since an id never comes back. `Ok(None)`:
    /// no answer within the time.
    ///
    /// # Errors
    /// As [`Broker::poll`].
    fn is_same_topic(&mut self, timeout: Duration) -> Result<Option<bool>>;

    /// The first offset whose message has this timestamp (milliseconds) or a later one, the end if there is none;
    /// `Ok(None)`: not to be had within the time.
    ///
    /// # Errors
    /// As [`Broker::poll`].
    fn offset_at(&mut self, partition: PartitionId, timestamp: i64, timeout: Duration) -> Result<Option<i64>>;

    /// A request of a transaction that was sent by the present producer and lost without an answer, also where the call
    /// that sent it was successful, since the client repeats requests itself. It may still arrive, and take effect on
    /// whatever transaction the producer has open then: [`Broker::renew`] comes before the next [`Broker::begin`].
    fn unanswered(&self) -> Option<&'static str>;

    /// Begins a transaction, for the member of the group that the worker is now: what it will send belongs to this
    /// membership, and a later one's offsets are never sent with it.
    fn begin(&mut self) -> std::result::Result<(), Broken>;

    /// Sends a message in the open transaction; returns before it arrived.
    fn send(&mut self, message: Outgoing<'_>) -> std::result::Result<(), Unsendable>;

    /// Adds what is consumed to the open transaction: partition, offset of the next message, metadata.
    fn send_offsets(&mut self, offsets: &[(PartitionId, i64, String)]) -> std::result::Result<(), Broken>;

    /// Waits until everything that was sent has arrived and commits the transaction.
    fn commit(&mut self) -> std::result::Result<(), Broken>;

    /// Writes how far the group is, for those who watch it from outside; for sinks that commit elsewhere. Nothing rests
    /// on it.
    fn note(&mut self, _offsets: &[(PartitionId, i64)]) {}

    /// Aborts the open transaction.
    fn abort(&mut self) -> std::result::Result<(), Broken>;

    /// A new producer with the same transactional id: fences the old one and ends its open transaction. Also called
    /// once at the start. `Ok(false)`: not to be had at present (no broker, a transaction being ended), ask again.
    ///
    /// # Errors
    /// As [`Broker::poll`].
    fn renew(&mut self) -> Result<bool>;

    /// Why there are no partitions, in words for people; `None`: there need not be any. Asked where a worker has had
    /// none for long.
    fn waiting_for(&mut self) -> Option<String> {
        None
    }

    /// Milliseconds by the clock on the wall, since 1970.
    fn now(&self) -> i64;

    /// Leaves the group, so that others get its partitions at once. All partitions were unassigned before.
    fn leave(&mut self);
}
