//! How a partition takes messages: the stages run, rows go to the outbox, what was done before is only repeated.

use std::ops::Range;
use std::sync::Arc;

use super::commit::{Commit, hashed};
use super::intake::{Takes, Tombstone};
use super::partition_task::PartitionTask;
use super::processing::Processing;
use super::reading::Reading;
use crate::config::Headers;
use crate::format::{Decided, Decoded, Messages, key};
use crate::kafka::{MessageHeader, Topic};
use crate::record::Batch;
use crate::{Error, Result};

/// A partition that takes messages. Those before the end of a replay change the state and nothing else.
pub(super) struct Taking<'a> {
    /// The partition.
    pub task: &'a mut PartitionTask,
    /// What is done to its messages.
    pub processing: &'a mut Processing,
}

impl Takes for Taking<'_> {
    fn reading(&mut self) -> &mut Reading {
        &mut self.task.reading
    }

    fn offset(&self) -> i64 {
        self.task.now.at.offset
    }

    /// Messages can be taken up to the end of the replay, or to the clock's next decision in it.
    fn begin(&mut self, messages: &Messages, at: usize) -> Result<usize> {
        let offset = messages.offsets[at];
        let Some(to) = self.task.replay.as_ref().map(|replay| replay.at.offset) else { return Ok(messages.len()) };
        if offset >= to {
            self.task.finish_replay(self.processing)?;
            return Ok(messages.len());
        }
        self.task.obey_clock(offset, self.processing)?;
        let mut advances = self.task.replay.iter().flat_map(|replay| &replay.advances).map(|advance| advance.offset);
        let limit = advances.find(|next| *next > offset).map_or(to, |next| next.min(to));
        Ok(messages.offsets.partition_point(|offset| *offset < limit))
    }

    fn decided(&self) -> Decided {
        match &self.task.replay {
            Some(replay) => Decided { replay: true, unknown: replay.unknown.clone() },
            None => Decided { replay: false, unknown: self.task.now.unknown.clone() },
        }
    }

    /// Whether a commit can hold the new decisions with the existing ones: if not, a checkpoint must come first.
    fn has_room(&self, decided: &Decided) -> bool {
        let now = &self.task.now;
        if self.processing.overfills() || decided.replay || decided.unknown.len() <= now.unknown.len() {
            return true;
        }
        !now.is_full() && Commit { unknown: decided.unknown.clone(), ..self.task.next_commit() }.has_room()
    }

    fn take(
        &mut self,
        messages: &Arc<Messages>,
        range: Range<usize>,
        mut decoded: Decoded,
        decided: Decided,
    ) -> Result<()> {
        if !decided.replay {
            self.task.now.unknown = decided.unknown;
        }
        self.task.process(messages, range.clone(), &mut decoded, self.processing)?;
        self.task.passed(messages, range);
        Ok(())
    }

    fn tombstone(&mut self, messages: &Arc<Messages>, at: usize, tombstone: Tombstone, decided: Decided) -> Result<()> {
        let task = &mut *self.task;
        if !decided.replay {
            task.now.unknown = decided.unknown;
        }
        task.state.position += 1;
        match tombstone {
            Tombstone::Reset(key) => task.state.reset(&key),
            Tombstone::Skip => {}
            Tombstone::DeadLetter => {
                *task.counters.entry("dead_letters.tombstone".into()).or_default() += 1;
                task.dead_letter(messages, at, task.state.position - 1, ("tombstone", None), self.processing)?;
            }
        }
        task.passed(messages, at..at + 1);
        Ok(())
    }
}

impl PartitionTask {
    /// Counts messages into hash and offset.
    fn passed(&mut self, messages: &Messages, range: Range<usize>) {
        let at = &mut self.now.at;
        for index in range.clone() {
            at.hash = hashed(at.hash, messages.offsets[index], messages.key(index), messages.payload(index));
        }
        at.offset = messages.offsets[range.end - 1] + 1;
        self.now.position = self.state.position;
        self.since += range.len() as u64;
        self.advanced = None;
    }

    fn process(
        &mut self,
        messages: &Messages,
        range: Range<usize>,
        decoded: &mut Decoded,
        p: &mut Processing,
    ) -> Result<()> {
        let first = self.state.position;
        let batch = self.state.process_taking(p.versions.run(&self.now.epoch)?, &p.layout, &mut decoded.records)?;
        self.refuse(messages, &batch, first, decoded, p)?;
        if self.replay.is_some() {
            p.metrics.stream.replayed.inc_by(range.len() as u64);
            if !p.emits_in_replay() {
                self.count_rows(&batch, p);
                return Ok(());
            }
        }
        p.metrics.records_in.inc_by(decoded.records.len() as u64);
        p.metrics.late_records.inc_by(self.state.late().len() as u64);
        p.metrics.refusals.came(decoded.records.len() as u64);
        let source = |position: u64| {
            let origin = decoded.records.origins.get(usize::try_from(position.checked_sub(first)?).ok()?)?;
            messages.offsets.binary_search(&(origin.row as i64)).ok()
        };
        self.emit(batch, p, &|position| messages.headers.get(source(position)?).map(Vec::as_slice))
    }

    /// Rows and dead letters count alike when they are written and when they are only repeated.
    pub(super) fn count_rows(&mut self, batch: &Batch, p: &Processing) {
        let rows = batch.times.iter().filter(|time| p.emit_from.is_none_or(|from| **time >= from)).count() as u64;
        *self.counters.entry("rows".into()).or_default() += rows;
        for reject in &batch.rejects {
            *self.counters.entry(format!("dead_letters.{}", reject.reason)).or_default() += 1;
        }
    }

    /// Encodes rows into the outbox, from `emit_from` on; `headers` gives those of the record at a position.
    pub(super) fn emit<'a>(
        &mut self,
        mut batch: Batch,
        p: &mut Processing,
        headers: &dyn Fn(u64) -> Option<&'a [MessageHeader]>,
    ) -> Result<()> {
        self.count_rows(&batch, p);
        if batch.is_empty() {
            return Ok(());
        }
        if let Some(from) = p.emit_from {
            let mask: Vec<bool> = batch.times.iter().map(|time| *time >= from).collect();
            batch.keep(&mask);
            if batch.is_empty() {
                return Ok(());
            }
        }
        let rows = p.sink.rows(&batch, &self.state.keys, self.id, None)?;
        p.payloads.bytes.clear();
        p.payloads.ends.clear();
        p.encoder.encode(&rows, &mut p.payloads)?;
        if p.payloads.len() != batch.rows() {
            return Err(Error::failed(
                "the encoder gave another number of payloads than rows: internal error, please report",
            ));
        }
        for (row, slot) in batch.slots.iter().enumerate() {
            let headers = match p.headers {
                Headers::None => Vec::new(),
                _ => headers(batch.positions[row]).map(|headers| p.copied(headers)).unwrap_or_default(),
            };
            let key = key::bytes_of(p.key_format, self.state.keys.get(*slot));
            self.outbox.push(Topic::Output, Some(&key), Some(p.payloads.get(row)), headers);
            if let Some(millis) = p.stamps.as_ref().and_then(|clock| clock.millis(batch.times[row])) {
                self.outbox.stamp(millis);
            }
        }
        p.metrics.records_out.inc_by(batch.rows() as u64);
        Ok(())
    }
}
