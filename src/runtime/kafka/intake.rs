//! How a worker reads, the same into Kafka and into files: it polls, decodes, and looks after partitions that wait,
//! that are idle, or that nothing comes of.
//!
//! Lives here: everything between the broker and what takes the records of a partition. Must not live here: state,
//! commits, and where rows go ([`super::worker`], [`super::to_files`]).

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::Expected;
use super::bounded::Bounds;
use super::pieces::{self, Piece, StallReason};
use super::reading::{Reading, Reads};
use super::refusals::{explained, out_of_range, recreated};
use super::settings::{ANSWER, Settings};
use super::stall::Stall;
use super::waits::{Wait, Waits};
use super::watchdog::{Remedy, Watchdog};
use crate::config::OnTombstone;
use crate::format::{Decided, DecodeError, Decoded, Decoder, Messages};
use crate::kafka::{Broker, Event};
use crate::metrics::{Metrics, Position};
use crate::record::{Clock, PartitionId};
use crate::{Error, Result};

/// Milliseconds between two settings of the gauges.
const SHOWN: i64 = 500;

/// How the messages of a topic become records.
pub struct Incoming {
    /// Name of the topic.
    pub topic: String,
    /// Messages to records.
    pub decoder: Box<dyn Decoder>,
    /// Messages without a payload.
    pub tombstone: OnTombstone,
    /// The clock of the records' times.
    pub clock: Clock,
}

/// One worker's reading.
pub(super) struct Intake<B> {
    /// The worker's side of Kafka.
    pub broker: B,
    /// What the worker waits for.
    pub waits: Waits,
    /// Whether a broker answers.
    pub reachable: bool,
    /// Whether all partitions are paused because too much waits to be sent.
    pub paused: bool,
    incoming: Incoming,
    inbox: Arc<Messages>,
    watchdog: Watchdog,
    metrics: Arc<Metrics>,
    /// Messages of a poll at most.
    batch: usize,
    /// The topics and partitions that are expected.
    topics: Arc<Expected>,
    /// Where a bounded run ends.
    bounds: Option<Arc<Bounds>>,
    /// Milliseconds without a message after which a partition's time is moved on by the clock.
    idle: Option<i64>,
    shown_at: i64,
    #[cfg(test)]
    faults: super::faults::Faults,
}

/// What takes the messages of a partition, in order.
pub(super) trait Takes {
    /// How far the partition's reading is.
    fn reading(&mut self) -> &mut Reading;
    /// Offset of the next message; those before it were taken.
    fn offset(&self) -> i64;
    /// Does what must be done before the message at `at` is processed. Returns the index of the first message that
    /// can't be taken together with it.
    ///
    /// # Errors
    /// What isn't the records' fault.
    fn begin(&mut self, messages: &Messages, at: usize) -> Result<usize>;
    /// What was decided before.
    fn decided(&self) -> Decided;
    /// Whether there is room for what would be decided.
    fn has_room(&self, decided: &Decided) -> bool;
    /// Takes the messages `range`.
    ///
    /// # Errors
    /// As [`Takes::begin`].
    fn take(&mut self, messages: &Arc<Messages>, range: Range<usize>, decoded: Decoded, decided: Decided)
    -> Result<()>;
    /// Takes a message without a payload.
    ///
    /// # Errors
    /// As [`Takes::begin`].
    fn tombstone(&mut self, messages: &Arc<Messages>, at: usize, tombstone: Tombstone, decided: Decided) -> Result<()>;
}

/// What is done about a message without a payload, or one that says that its row is no more.
pub(super) enum Tombstone {
    /// The state of this key is forgotten.
    Reset(Vec<u8>),
    Skip,
    DeadLetter,
}

impl Tombstone {
    /// By what the pipeline says, of a record with this key, if it is known.
    fn of(on: OnTombstone, key: Option<Vec<u8>>) -> Tombstone {
        match on {
            OnTombstone::Skip => Tombstone::Skip,
            OnTombstone::DeadLetter => Tombstone::DeadLetter,
            OnTombstone::Reset => key.map_or(Tombstone::DeadLetter, Tombstone::Reset),
        }
    }
}

impl<B: Broker> Intake<B> {
    /// Nothing is read yet.
    pub fn new(broker: B, mut incoming: Incoming, metrics: Arc<Metrics>, settings: &Settings) -> Self {
        incoming.decoder.stop_at_deletes();
        Intake {
            broker,
            waits: Waits::new(metrics.clone()),
            reachable: true,
            paused: false,
            incoming,
            inbox: Arc::default(),
            watchdog: Watchdog::new(settings.silence),
            metrics,
            batch: settings.batch,
            topics: settings.topics.clone(),
            bounds: settings.until.clone(),
            idle: settings.idle.map(|idle| i64::try_from(idle.as_millis()).unwrap_or(i64::MAX)),
            shown_at: 0,
            #[cfg(test)]
            faults: settings.faults,
        }
    }

    /// Milliseconds by the broker's clock.
    pub fn now(&self) -> i64 {
        self.broker.now()
    }

    /// Waits for the next event. Whether brokers answer is noted; messages are kept for [`Intake::take`].
    ///
    /// # Errors
    /// Those of the broker; a topic that was created again or has more partitions than at the start.
    pub fn poll(&mut self, timeout: Duration) -> Result<Event> {
        let event = self.receive(timeout, self.batch)?;
        match &event {
            Event::Messages(partition) | Event::End(partition, _) => {
                self.watchdog.heard(*partition, self.broker.now());
            }
            Event::Assigned(partitions) => self.topics.check(partitions)?,
            Event::Reachable(reachable) => {
                self.reachable = *reachable;
                self.metrics.stream.reachable(*reachable);
            }
            Event::Recreated => return Err(self.recreated()),
            Event::Nothing | Event::Revoked(_) | Event::Lost(_) | Event::OutOfRange(_) | Event::Deleted(_) => {}
        }
        Ok(event)
    }

    /// Waits for the next event and does nothing about it.
    ///
    /// # Errors
    /// Those of the broker.
    pub fn receive(&mut self, timeout: Duration, most: usize) -> Result<Event> {
        if Arc::strong_count(&self.inbox) > 1 {
            self.inbox = Arc::default();
        }
        // Nobody else has it, so nothing is copied.
        let inbox = Arc::make_mut(&mut self.inbox);
        inbox.clear();
        let event = self.broker.poll(timeout, most, inbox)?;
        if let Event::Messages(partition) = event {
            inbox.topic.clear();
            inbox.topic.push_str(partition.topic.name().unwrap_or(&self.incoming.topic));
            inbox.partition = partition.number;
        }
        Ok(event)
    }

    /// Takes the messages that were polled, in pieces that can be decoded at present. A partition whose next message
    /// can't be taken is paused and read from there later. Gives the offset at which a bounded run ends, if there is
    /// nothing left before it.
    ///
    /// # Errors
    /// Those of the partition; a decoder that fails.
    pub fn take(&mut self, partition: PartitionId, takes: &mut impl Takes) -> Result<Option<i64>> {
        let now = self.broker.now();
        let reading = takes.reading();
        (reading.heard, reading.at_end) = (now, false);
        let until = reading.until;
        let stalled = self.take_pieces(takes, until.unwrap_or(i64::MAX))?;
        let behind = self.inbox.offsets.last().map_or(0, |offset| offset + 1);
        let reading = takes.reading();
        let before = reading.stalled.take();
        match stalled {
            None => {
                if let Some(stall) = before {
                    stall.over(partition);
                }
                Ok(until.filter(|until| behind >= *until))
            }
            Some((offset, reason)) => {
                reading.stalled = Some(Stall::on(before, partition, offset, reason, now));
                self.broker.pause(&[partition], true)?;
                self.broker.seek(partition, offset)?;
                Ok(None)
            }
        }
    }

    /// Takes the messages before the offset `until`. Gives the offset of the first one that can't be taken at present,
    /// and why.
    fn take_pieces(&mut self, takes: &mut impl Takes, until: i64) -> Result<Option<(i64, StallReason)>> {
        let Incoming { decoder, tombstone, .. } = &mut self.incoming;
        let tombstone = *tombstone;
        let messages = &self.inbox;
        let first = takes.offset();
        let mut at = messages.offsets.partition_point(|offset| *offset < first);
        let last = messages.offsets.partition_point(|offset| *offset < until);
        while at < last {
            let limit = takes.begin(messages, at)?.min(last);
            let mut end = at + 1;
            if messages.payload(at).is_none() {
                let mut decided = takes.decided();
                let what = match tombstone {
                    OnTombstone::Reset => match decoder.key_of(messages, at, &mut decided) {
                        Ok(_) if !takes.has_room(&decided) => {
                            return Ok(Some((messages.offsets[at], StallReason::Checkpoint)));
                        }
                        Ok(None) if decoder.repeats_deletes() => Tombstone::Skip,
                        Ok(key) => Tombstone::of(tombstone, key),
                        Err(DecodeError::Unavailable(why)) => {
                            return Ok(Some((messages.offsets[at], StallReason::Answer(why))));
                        }
                        Err(DecodeError::Failed(error)) => return Err(error),
                    },
                    other => Tombstone::of(other, None),
                };
                takes.tombstone(messages, at, what, decided)?;
            } else {
                while end < limit && messages.payload(end).is_some() {
                    end += 1;
                }
                let piece = pieces::decode(
                    &mut **decoder,
                    messages,
                    at..end,
                    || takes.decided(),
                    |decided| takes.has_room(decided),
                )?;
                match piece {
                    // It is the first one: those before it were taken.
                    Ok(Piece { decoded: Decoded { deleted: Some(deleted), .. }, decided, .. })
                        if deleted.index == at =>
                    {
                        takes.tombstone(messages, at, Tombstone::of(tombstone, deleted.key), decided)?;
                        end = at + 1;
                    }
                    Ok(Piece { end: until, decoded, decided }) => {
                        takes.take(messages, at..until, decoded, decided)?;
                        end = until;
                    }
                    Err(reason) => return Ok(Some((messages.offsets[at], reason))),
                }
            }
            // Without a timestamp it is as old as it looks: new.
            let timestamp = messages.timestamps[end - 1];
            takes.reading().newest = if timestamp >= 0 { timestamp } else { self.broker.now() };
            at = end;
        }
        Ok(None)
    }

    /// The shortest time until a partition that waits is tried again, if any does.
    pub fn wakes_in<'a, T: Reads + 'a>(&self, tasks: impl Iterator<Item = &'a T>) -> Option<i64> {
        let again = tasks.filter_map(|task| task.reading().stalled.as_ref()?.until()).min();
        again.map(|again| again - self.broker.now())
    }

    /// Reads partitions again that waited for long enough.
    ///
    /// # Errors
    /// Those of the broker.
    pub fn wake<'a, T: Reads + 'a>(&mut self, tasks: impl Iterator<Item = &'a mut T>) -> Result<()> {
        let now = self.broker.now();
        for task in tasks {
            let full = task.is_full();
            let stalled = task.reading_mut().stalled.as_mut();
            if stalled.is_some_and(|stall| stall.wake(now, full)) && !self.paused {
                self.broker.pause(&[task.id()], false)?;
            }
        }
        Ok(())
    }

    /// The offset before which a bounded run ends in a partition that is committed up to `committed`.
    pub fn end_of(&self, partition: PartitionId, committed: i64) -> Option<i64> {
        let end = self.bounds.as_ref().map(|bounds| bounds.end(partition).max(committed));
        #[cfg(test)]
        let end = end.map(|end| end + i64::from(self.faults.reads_beyond));
        end
    }

    /// No longer reads partitions that are where a bounded run ends.
    ///
    /// # Errors
    /// Those of the broker.
    pub fn end<'a, T: Reads + 'a>(&mut self, tasks: impl Iterator<Item = &'a mut T>) -> Result<()> {
        if self.bounds.is_none() {
            return Ok(());
        }
        for task in tasks {
            let (partition, offset) = (task.id(), task.offset());
            let reading = task.reading_mut();
            if let Some(until) = reading.until.filter(|until| offset >= *until && !reading.ended) {
                reading.ended = true;
                self.broker.pause(&[partition], true)?;
                tracing::info!(
                    partition = partition.number,
                    topic = partition.topic.name(),
                    until,
                    "the partition is where the run ends"
                );
            }
        }
        Ok(())
    }

    /// Looks for partitions that stopped delivering, and restarts them. True: a new client is needed.
    ///
    /// # Errors
    /// Those of the broker.
    pub fn watch<'a, T: Reads + 'a>(&mut self, tasks: impl Iterator<Item = &'a T>) -> Result<bool> {
        #[cfg(test)]
        if self.faults.unwatched {
            return Ok(false);
        }
        if !self.watchdog.is_due(self.broker.now()) {
            return Ok(false);
        }
        if self.broker.is_deaf() {
            tracing::warn!("the client no longer reaches a broker, though other clients do: a new client takes over");
            self.metrics.stream.reader_restarted(Remedy::Client.name());
            return Ok(true);
        }
        let listening: Vec<(PartitionId, i64)> =
            tasks.filter(|task| !self.paused && !task.is_held()).map(|task| (task.id(), task.offset())).collect();
        self.watchdog.heal(&mut self.broker, &listening, &self.metrics)
    }

    /// Leaves the group and joins it with another client.
    ///
    /// # Errors
    /// Those of the broker.
    pub fn reconnect(&mut self) -> Result<()> {
        self.paused = false;
        // The new client says so if it reaches none either.
        self.reachable = true;
        self.metrics.stream.reachable(true);
        self.broker.reconnect()
    }

    /// Advances the time of silent partitions: `advance` receives the tick.
    ///
    /// # Errors
    /// Those of `advance`.
    pub fn advance_idle<'a, T: Reads + 'a>(
        &mut self,
        tasks: impl Iterator<Item = &'a mut T>,
        mut advance: impl FnMut(&mut T, i64) -> Result<()>,
    ) -> Result<()> {
        let (Some(idle), true) = (self.idle, self.reachable) else { return Ok(()) };
        let now = self.broker.now();
        let Some(ticks) = self.incoming.clock.ticks_of_millis(now - idle) else { return Ok(()) };
        for task in tasks {
            let may = task.may_advance();
            let reading = task.reading_mut();
            if may && reading.at_end && !reading.ended && now - reading.heard >= idle {
                reading.heard = now;
                advance(task, ticks)?;
            }
        }
        Ok(())
    }

    /// Sets the gauges, now and then: false where it isn't time.
    pub fn show<'a, T: Reads + 'a>(&mut self, tasks: impl Iterator<Item = &'a T>) -> bool {
        let now = self.broker.now();
        if now - self.shown_at < SHOWN {
            return false;
        }
        self.shown_at = now;
        for task in tasks {
            let reading = task.reading();
            let newest = (!reading.at_end).then_some(reading.newest);
            self.metrics.stream.position(task.id(), Position { committed: task.committed(), newest });
        }
        true
    }

    /// Reports what this worker waits for, if anything, and whether it has restored all it was given. Without brokers
    /// everything waits for them, and that is said elsewhere.
    pub fn report_waits(&mut self, wait: Option<Wait>, has_partitions: bool, restored: bool) {
        if wait.is_none() && has_partitions && restored {
            self.waits.begun();
        }
        let wait = wait.filter(|_| self.reachable);
        if wait.is_none() && self.reachable && !has_partitions {
            self.waits.no_partitions(&mut self.broker);
        } else {
            self.waits.set(wait);
        }
    }

    /// Whether everything polled before the last [`Broker::ask_topic`] is of the topic of the start. False: no broker
    /// answers in time.
    ///
    /// # Errors
    /// Those of the broker; it is another topic.
    pub fn is_same_topic(&mut self) -> Result<bool> {
        match self.broker.is_same_topic(ANSWER)? {
            Some(true) => Ok(true),
            Some(false) => Err(self.recreated()),
            None => Ok(false),
        }
    }

    /// A topic was created again.
    fn recreated(&self) -> Error {
        recreated(&self.broker.recreated().unwrap_or_else(|| self.incoming.topic.clone()))
    }

    /// The position of a partition isn't in the topic.
    pub fn out_of_range(&mut self, partition: PartitionId, offset: i64) -> Error {
        out_of_range(&mut self.broker, partition, offset)
    }

    /// Why a run ends.
    pub fn explained(&mut self, error: Error) -> Error {
        explained(&mut self.broker, &self.incoming.topic, error)
    }
}
