//! One partition of a stream: its state, how far it is, and what it has to send.

use std::collections::BTreeMap;
use std::ops::Range;

use super::commit::{Advance, Commit, hashed};
use super::outbox::Outbox;
use super::pieces::{self, Piece, StallReason};
use super::processing::Processing;
use super::refusals::adoptable;
use super::stall::Stall;
use super::swap::{Swap, Swapped};
use crate::format::{Decided, Decoded, Messages};
use crate::kafka::{MessageHeader, Topic};
use crate::metrics::Metrics;
use crate::record::Batch;
use crate::record::PartitionId;
use crate::runtime::engine;
use crate::sink::DeadLetter;
use crate::state::{Checkpoint, CommitPosition};
use crate::{Error, Result};

/// A partition that this worker owns.
pub struct PartitionTask {
    /// Its number.
    pub id: PartitionId,
    /// Keys, state, position.
    pub state: engine::Partition,
    /// How far it is: `at.sequence` is that of the last commit, the rest is as of now.
    pub now: Commit,
    /// What is committed.
    pub committed: CommitPosition,
    /// Up to where it only repeats what was done before; `None`: everything it does is new.
    pub replay: Option<Commit>,
    /// What a replay would have begun with, had the log still begun there.
    pub(super) removed: Option<Range<i64>>,
    /// What it has to send.
    pub outbox: Outbox,
    /// A commit whose outcome is unknown, and how many messages of the outbox it had.
    pub attempt: Option<(Commit, usize)>,
    /// The version of the model that is about to take over; nothing is read meanwhile.
    pub(super) swap: Option<Swap>,
    /// One that has, and isn't told yet.
    pub(super) swapped: Option<Swapped>,
    /// Dead letters for a folder since the newest checkpoint, and the position of that.
    pub dead_letters: Vec<DeadLetter>,
    pub(super) dead_letters_from: u64,
    /// Counts over the whole life of the pipeline, by name; kept in checkpoints.
    pub counters: BTreeMap<String, u64>,
    /// Records since the newest checkpoint.
    pub since: u64,
    /// The commit that the newest checkpoint is of, be it durable or being written.
    pub cut: u64,
    /// When the newest checkpoint was begun, by the broker's clock.
    pub checkpointed: i64,
    /// Whether a checkpoint is being written.
    pub writing: bool,
    /// Timestamp of the newest message.
    pub newest: i64,
    /// Keys and bytes as the gauges show them.
    pub shown: (i64, i64),
    /// When it was given to this worker, until it has caught up.
    pub opened: Option<i64>,
    /// Whether nothing is left to be read at present.
    pub at_end: bool,
    /// When the last message came, by the broker's clock.
    pub heard: i64,
    /// Up to where the clock moved the partition's time on since then.
    pub advanced: Option<i64>,
    /// What keeps it from taking the next message, if anything does.
    pub(super) stalled: Option<Stall>,
}

/// How far [`PartitionTask::take`] came.
#[derive(Debug)]
pub enum Taken {
    /// All messages were taken.
    All,
    /// The messages from this offset on can't be taken at present.
    Until(i64, StallReason),
}

impl PartitionTask {
    /// A partition as a checkpoint left it (a fresh one: an empty checkpoint), with what is committed of it. The stages with the
    /// version of the model that is in force must be loaded.
    ///
    /// # Errors
    /// A checkpoint whose rows are of another width than the stages'.
    pub fn new(
        id: PartitionId,
        checkpoint: Checkpoint,
        committed: Commit,
        processing: &Processing,
        now: i64,
    ) -> Result<PartitionTask> {
        let at = checkpoint.at.unwrap_or_default();
        let epoch = committed.epoch.clone();
        let mut state = engine::Partition::new(id, processing.versions.get(&epoch)?);
        state.restore(checkpoint.keys, &checkpoint.rows, checkpoint.position, checkpoint.watermark)?;
        let whole = committed.at;
        let replay = (at.sequence != whole.sequence).then(|| committed.clone());
        let done = replay.is_none();
        let mut task = PartitionTask {
            id,
            state,
            now: Commit { at, position: checkpoint.position, epoch, ..Commit::default() },
            committed: whole,
            replay,
            removed: None,
            outbox: Outbox::default(),
            attempt: None,
            swap: None,
            swapped: None,
            dead_letters: Vec::new(),
            dead_letters_from: checkpoint.position,
            counters: checkpoint.extra,
            since: 0,
            cut: at.sequence,
            checkpointed: now,
            writing: false,
            newest: 0,
            shown: (0, 0),
            opened: Some(now),
            at_end: false,
            heard: now,
            advanced: None,
            stalled: None,
        };
        if at.sequence < committed.complete_from {
            return Err(Error::failed(format!(
                "partition {id}: the newest checkpoint that can be read is of commit {}, but decisions of the clock or the registry are \
                 known only from commit {} on\n\
                 bring the newer checkpoint back, or go on from this one, after being told what that repeats: kolk state adopt, or begin \
                 anew: kolk state reset",
                at.sequence, committed.complete_from
            )));
        }
        if let Some(replay) = &mut task.replay {
            replay.prune(at);
        }
        if done {
            task.now.complete_from = committed.complete_from;
            task.now.advances = committed.advances.clone();
            task.now.unknown = committed.unknown.clone();
            task.now.prune(at);
            task.agree(&committed)?;
        }
        Ok(task)
    }

    /// Adds what changed since the last time to the gauges, which are those of all partitions.
    pub fn show(&mut self, metrics: &Metrics, now: (i64, i64)) {
        metrics.state_keys.add(now.0 - self.shown.0);
        metrics.state_bytes.add(now.1 - self.shown.1);
        self.shown = now;
    }

    /// Whether anything happened since the last commit, or is ready to happen with the next.
    pub fn is_dirty(&self) -> bool {
        self.replay.is_none()
            && (self.now.at != self.committed
                || self.advanced_since_commit()
                || self.swap.as_ref().is_some_and(Swap::is_ready))
    }

    /// Whether the state is that of the last commit, which is no longer in doubt, and nothing is being done with it.
    pub fn is_clean(&self) -> bool {
        let busy = self.replay.is_some() || self.attempt.is_some() || self.writing || self.swap.is_some();
        !busy && !self.is_dirty() && self.outbox.is_empty()
    }

    /// Whether its reading is paused for a reason of its own.
    pub fn is_held(&self) -> bool {
        self.is_stalled() || self.swap.is_some()
    }

    fn advanced_since_commit(&self) -> bool {
        self.now.advances.last().is_some_and(|advance| advance.sequence > self.committed.sequence)
    }

    /// What the next transaction says of this partition.
    pub fn next_commit(&self) -> Commit {
        let mut next = self.now.clone();
        next.at.sequence = self.committed.sequence + 1;
        if let Some(swap) = &self.swap {
            swap.decide(&mut next);
        }
        next
    }

    /// The attempted commit is in force.
    pub fn confirm(&mut self, commit: &Commit, messages: usize) {
        self.committed = commit.at;
        self.now.at.sequence = commit.at.sequence;
        self.outbox.committed(messages);
        self.attempt = None;
        if let Some(swap) = self.swap.take_if(|swap| swap.is(&commit.epoch)) {
            self.take_over(swap);
        }
    }

    /// All state as of the last commit; to be called only when nothing happened since.
    ///
    /// # Errors
    /// Stages that are not there.
    pub fn checkpoint(&mut self, processing: &Processing) -> Result<Checkpoint> {
        self.since = 0;
        self.cut = self.committed.sequence;
        let (keys, rows) = self.state.freeze();
        Ok(Checkpoint {
            position: self.state.position,
            watermark: self.state.watermark,
            keys,
            rows,
            extra: self.counters.clone(),
            at: Some(self.committed),
            epoch: self.now.epoch.clone(),
            spans: processing.versions.get(&self.now.epoch)?.rows(),
            ..Checkpoint::default()
        })
    }

    /// Takes messages in order. Those before the end of a replay change the state and nothing else.
    ///
    /// # Errors
    /// A replay that doesn't end where the commit says; what isn't the records' fault.
    pub fn take(&mut self, messages: &Messages, processing: &mut Processing) -> Result<Taken> {
        let mut at = messages.offsets.partition_point(|offset| *offset < self.now.at.offset);
        while at < messages.len() {
            let offset = messages.offsets[at];
            if let Some(to) = self.replay.as_ref().map(|replay| replay.at.offset) {
                if offset >= to {
                    self.finish_replay(processing)?;
                    continue;
                }
                self.obey_clock(offset, processing)?;
            }
            let end = self.run_end(messages, at);
            if messages.payload(at).is_none() {
                self.tombstone(messages, at, processing)?;
                self.passed(messages, at..at + 1);
                at += 1;
                continue;
            }
            let overfills = processing.overfills();
            let has_room = |decided: &Decided| overfills || self.has_room(decided);
            match pieces::decode(&mut *processing.decoder, messages, at..end, || self.decided(), has_room)? {
                Ok(Piece { end, mut decoded, decided }) => {
                    if !decided.replay {
                        self.now.unknown = decided.unknown;
                    }
                    self.process(messages, at..end, &mut decoded, processing)?;
                    self.passed(messages, at..end);
                    at = end;
                }
                Err(wait) => return Ok(Taken::Until(offset, wait)),
            }
        }
        Ok(Taken::All)
    }

    /// How far messages can be taken at once: up to the next tombstone, the end of the replay, the clock's next decision.
    fn run_end(&self, messages: &Messages, at: usize) -> usize {
        let mut limit = i64::MAX;
        if let Some(replay) = &self.replay {
            limit = replay.at.offset;
            let next = replay.advances.iter().map(|a| a.offset).find(|offset| *offset > messages.offsets[at]);
            limit = limit.min(next.unwrap_or(limit));
        }
        let mut end = at + 1;
        while end < messages.len() && messages.payload(end).is_some() && messages.offsets[end] < limit {
            end += 1;
        }
        end
    }

    fn decided(&self) -> Decided {
        match &self.replay {
            Some(replay) => Decided { replay: true, unknown: replay.unknown.clone() },
            None => Decided { replay: false, unknown: self.now.unknown.clone() },
        }
    }

    /// Whether a commit can hold what would be decided with what is: if not, a checkpoint has to come first.
    fn has_room(&self, decided: &Decided) -> bool {
        if decided.replay || decided.unknown.len() <= self.now.unknown.len() {
            return true;
        }
        !self.now.is_full() && Commit { unknown: decided.unknown.clone(), ..self.next_commit() }.has_room()
    }

    /// Counts messages into hash and offset.
    fn passed(&mut self, messages: &Messages, range: Range<usize>) {
        let at = &mut self.now.at;
        for index in range.clone() {
            at.hash = hashed(at.hash, messages.offsets[index], messages.key(index), messages.payload(index));
        }
        at.offset = messages.offsets[range.end - 1] + 1;
        self.newest = messages.timestamps[range.end - 1];
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
        let source = |position: u64| {
            let origin = decoded.records.origins.get(usize::try_from(position.checked_sub(first)?).ok()?)?;
            messages.offsets.binary_search(&(origin.row as i64)).ok()
        };
        self.emit(batch, p, &|position| {
            source(position).map(|index| messages.headers.get(index).cloned().unwrap_or_default())
        })
    }

    /// Rows and letters count alike when they are written and when they are only repeated.
    fn count_rows(&mut self, batch: &Batch, p: &Processing) {
        let rows = batch.times.iter().filter(|time| p.emit_from.is_none_or(|from| **time >= from)).count() as u64;
        *self.counters.entry("rows".into()).or_default() += rows;
        for reject in &batch.rejects {
            *self.counters.entry(format!("dead_letters.{}", reject.reason)).or_default() += 1;
        }
    }

    fn emit(
        &mut self,
        mut batch: Batch,
        p: &mut Processing,
        headers: &dyn Fn(u64) -> Option<Vec<MessageHeader>>,
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
        let rows = p.sink.rows(&batch, &self.state.keys, None)?;
        p.payloads.bytes.clear();
        p.payloads.ends.clear();
        p.encoder.encode(&rows, &mut p.payloads)?;
        if p.payloads.len() != batch.rows() {
            return Err(Error::failed("the encoder gave another number of payloads than rows: a bug of kolk"));
        }
        for (row, slot) in batch.slots.iter().enumerate() {
            let headers = if p.headers { headers(batch.positions[row]).unwrap_or_default() } else { Vec::new() };
            self.outbox.push(Topic::Output, Some(self.state.keys.get(*slot)), Some(p.payloads.get(row)), headers);
        }
        p.metrics.records_out.inc_by(batch.rows() as u64);
        Ok(())
    }

    /// Moves the partition's time on by the clock.
    pub fn advance(&mut self, until: i64, processing: &mut Processing) -> Result<()> {
        let batch = self.state.advance(processing.versions.run(&self.now.epoch)?, Some(until))?;
        self.advanced = Some(until);
        if self.replay.is_some() {
            self.count_rows(&batch, processing);
            return Ok(());
        }
        let sequence = self.committed.sequence + 1;
        self.now.advance(Advance { sequence, offset: self.now.at.offset, until });
        self.emit(batch, processing, &|_| None)
    }

    /// In replay, does what the clock decided before the message with this offset.
    fn obey_clock(&mut self, before: i64, processing: &mut Processing) -> Result<()> {
        loop {
            let Some(replay) = &mut self.replay else { return Ok(()) };
            match replay.advances.first().copied() {
                Some(advance) if advance.offset <= before => {
                    replay.advances.remove(0);
                    self.now.advance(advance);
                    self.advance(advance.until, processing)?;
                }
                _ => return Ok(()),
            }
        }
    }

    /// The end of the log, or of what is delivered at present, was reached.
    ///
    /// # Errors
    /// A replay that doesn't end where the commit says.
    pub fn end(&mut self, offset: i64, processing: &mut Processing) -> Result<()> {
        // What was committed could be read then, so the end is behind it: also where the last records before it are gone since.
        self.finish_replay(processing)?;
        // Behind the last message there may be offsets without any: what was aborted, the markers of transactions. Retention may remove
        // them, so that the log begins there: it must not be behind what is committed.
        if self.replay.is_none() && offset > self.now.at.offset && !processing.ignores_markers() {
            self.now.at.offset = offset;
        }
        Ok(())
    }

    /// Nothing is left to be repeated.
    pub(super) fn finish_replay(&mut self, processing: &mut Processing) -> Result<()> {
        self.obey_clock(i64::MAX, processing)?;
        let Some(committed) = self.replay.take() else { return Ok(()) };
        self.now.at.offset = committed.at.offset;
        self.now.at.sequence = committed.at.sequence;
        self.now.unknown = committed.unknown.clone();
        self.now.complete_from = committed.complete_from;
        self.agree(&committed).inspect_err(|_| processing.metrics.stream.mismatches.inc())
    }

    /// Compares what was read again with what was committed.
    fn agree(&mut self, committed: &Commit) -> Result<()> {
        if self.now.at == committed.at && self.now.position == committed.position {
            return Ok(());
        }
        let found = format!("({} records then, {} now)", committed.position, self.now.position);
        if let Some(Range { start, end }) = self.removed.clone() {
            let what = format!(
                "the records from offset {start} on are needed to replay what was done up to {}, and the topic begins at {end}: retention \
                 has removed them {found}",
                committed.at.offset
            );
            return Err(adoptable(self.id, what));
        }
        Err(Error::failed(format!(
            "partition {}: the records before offset {} are not those that were read when it was committed {found}: \
             the topic was compacted or changed since\n\
             to begin anew from what there is: kolk state reset, or another name; to keep the state: a topic without compaction",
            self.id, committed.at.offset
        )))
    }
}
