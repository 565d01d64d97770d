//! One partition of a stream: its state, its position, and its outbox.

use std::collections::BTreeMap;
use std::ops::Range;

use super::commit::{Advance, Commit};
use super::outbox::Outbox;
use super::processing::Processing;
use super::reading::{Reading, Reads};
use super::swap::{Swap, Swapped};
use crate::metrics::Metrics;
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
    /// Up to where it only replays without emitting; `None`: everything it does is new.
    pub replay: Option<Commit>,
    /// The offsets with which a replay would have begun if the log still had them.
    pub(super) removed: Option<Range<i64>>,
    /// Output that isn't committed yet.
    pub outbox: Outbox,
    /// A commit whose outcome is unknown, and how many messages of the outbox it had.
    pub attempt: Option<(Commit, usize)>,
    /// The version of the model that is about to take over; nothing is read meanwhile.
    pub(super) swap: Option<Swap>,
    /// One that has, and isn't reported yet.
    pub(super) swapped: Option<Swapped>,
    /// Dead letters for a folder since the newest checkpoint, and the position of that.
    pub dead_letters: Vec<DeadLetter>,
    /// Position of the newest checkpoint.
    pub(super) dead_letters_from: u64,
    /// Counts over the whole life of the pipeline, by name; kept in checkpoints.
    pub counters: BTreeMap<String, u64>,
    /// Records since the newest checkpoint.
    pub since: u64,
    /// The commit of the newest checkpoint, durable or being written.
    pub saved: u64,
    /// When the newest checkpoint began, by the broker's clock.
    pub checkpointed: i64,
    /// Whether a checkpoint is being written.
    pub writing: bool,
    /// Keys and bytes as the gauges show them.
    pub shown: (i64, i64),
    /// When it was given to this worker; `None`: it isn't open yet, or it has caught up.
    pub opened: Option<i64>,
    /// Up to where the clock moved the partition's time on since then.
    pub advanced: Option<i64>,
    /// How far its reading is.
    pub(super) reading: Reading,
}

impl PartitionTask {
    /// A partition as a checkpoint left it (a fresh one: an empty checkpoint), with what is committed of it. The stages
    /// with the active version of the model must be loaded.
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
            saved: at.sequence,
            checkpointed: now,
            writing: false,
            shown: (0, 0),
            opened: None,
            advanced: None,
            reading: Reading::new(now),
        };
        if at.sequence < committed.complete_from {
            return Err(Error::failed(format!(
                "partition {id}: the newest checkpoint that can be read is of commit {}, but decisions of the clock \
                 or the registry are \
                 known only from commit {} on\n\
                 restore the newer checkpoint, or continue from this one (it says first what that repeats): kolk \
                 state adopt, or start \
                 again: kolk state reset",
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
            && (self.now.at != self.committed || self.advanced_since_commit() || self.is_ready_to_swap())
    }

    /// Whether the state is that of the last commit, which is no longer in doubt, and nothing is being done with it.
    pub fn is_clean(&self) -> bool {
        let busy = self.replay.is_some() || self.attempt.is_some() || self.writing || self.swap.is_some();
        !busy && !self.is_dirty() && self.outbox.is_empty()
    }

    /// Whether there is state that the newest checkpoint, also one that is being written, doesn't have.
    pub fn is_unsaved(&self) -> bool {
        self.since > 0 || self.saved != self.committed.sequence
    }

    /// Whether a swap's checkpoint is durable, so that it can be committed.
    pub fn is_ready_to_swap(&self) -> bool {
        self.swap.as_ref().is_some_and(Swap::is_ready)
    }

    /// Whether it is as of this commit.
    pub fn is_as_of(&self, commit: &Commit) -> bool {
        self.committed == commit.at && self.now.epoch == commit.epoch
    }

    fn advanced_since_commit(&self) -> bool {
        self.now.advances.last().is_some_and(|advance| advance.sequence > self.committed.sequence)
    }

    /// What the next transaction stores about this partition.
    pub fn next_commit(&self) -> Commit {
        let mut next = self.now.clone();
        next.at.sequence = self.committed.sequence + 1;
        if let Some(swap) = &self.swap {
            swap.decide(&mut next);
        }
        next
    }

    /// The attempted commit took effect.
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
        self.saved = self.committed.sequence;
        let (keys, rows) = self.state.freeze();
        Ok(Checkpoint {
            position: self.state.position,
            watermark: self.state.watermark,
            keys,
            rows,
            extra: self.counters.clone(),
            at: Some(self.committed),
            epoch: self.now.epoch.clone(),
            spans: processing.versions.get(&self.now.epoch)?.layout().spans().to_vec(),
            ..Checkpoint::default()
        })
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
}

impl Reads for PartitionTask {
    fn id(&self) -> PartitionId {
        self.id
    }

    fn offset(&self) -> i64 {
        self.now.at.offset
    }

    fn committed(&self) -> i64 {
        self.committed.offset
    }

    fn reading(&self) -> &Reading {
        &self.reading
    }

    fn reading_mut(&mut self) -> &mut Reading {
        &mut self.reading
    }

    fn is_held(&self) -> bool {
        self.reading.is_stalled() || self.reading.ended || self.swap.is_some()
    }

    fn is_full(&self) -> bool {
        self.now.is_full()
    }

    fn may_advance(&self) -> bool {
        let busy = self.replay.is_some() || self.attempt.is_some() || self.swap.is_some();
        !busy && !self.now.is_full()
    }
}
