//! From what the group gives to tasks that run: the first start of a partition, and its restore.
//!
//! A restore reads the *stable* committed offset C, loads the newest checkpoint S at or before it, and lets the task read from S:
//! up to C it repeats in silence what was done before ([`PartitionTask::replay`]). Until then the partition isn't part of any
//! transaction, so nothing below C is ever committed. Other partitions go on meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::commit::Commit;
use super::partition_task::PartitionTask;
use super::restore_partition::{Loading, Restored};
use super::transaction::Failed;
use super::waits::Wait;
use super::worker::{Producer, SHORT, Worker};
use crate::Result;
use crate::kafka::Broker;
use crate::record::PartitionId;
use crate::state::{Checkpoint, CommitPosition, ModelEpoch};
use crate::state::{Checkpoints, Loaded, shown};

/// Milliseconds between two questions for offsets that had no answer.
const ASKED: i64 = 500;

/// Partitions on their way to become tasks.
pub(super) struct Opening {
    /// Whether the group waits for an answer; else they are read again from another offset.
    assigned: bool,
    waiting: BTreeSet<PartitionId>,
    ready: BTreeMap<PartitionId, PartitionTask>,
    /// Tasks whose first checkpoint is being written.
    writing: BTreeSet<PartitionId>,
    /// What is being read, and what was.
    loading: BTreeMap<PartitionId, Loading>,
    loaded: BTreeMap<PartitionId, (Loading, Result<Checkpoint>)>,
}

impl Opening {
    pub(super) fn assigned(partitions: Vec<PartitionId>) -> Opening {
        Opening { assigned: true, ..Opening::of(partitions) }
    }

    pub(super) fn again(partition: PartitionId) -> Opening {
        Opening::of(vec![partition])
    }

    fn of(partitions: Vec<PartitionId>) -> Opening {
        Opening {
            assigned: false,
            waiting: partitions.into_iter().collect(),
            ready: BTreeMap::new(),
            writing: BTreeSet::new(),
            loading: BTreeMap::new(),
            loaded: BTreeMap::new(),
        }
    }

    pub(super) fn drop_all(&mut self, partitions: &[PartitionId]) {
        for partition in partitions {
            self.waiting.remove(partition);
            self.ready.remove(partition);
            self.writing.remove(partition);
            self.loading.remove(partition);
            self.loaded.remove(partition);
        }
    }

    /// A checkpoint was read.
    fn take_loaded(&mut self, read: Loaded) {
        let is_wanted = |loading: &mut Loading| loading.is(read.at);
        if let Some(loading) = self.loading.extract_if(read.partition..=read.partition, |_, it| is_wanted(it)).next() {
            self.loaded.insert(read.partition, (loading.1, read.checkpoint));
        }
    }

    /// Tasks that wait for the others.
    pub(super) fn ready(&self) -> impl Iterator<Item = &PartitionTask> {
        self.ready.values()
    }

    pub(super) fn written(&mut self, partition: PartitionId) {
        self.writing.remove(&partition);
    }

    /// What its partitions wait for.
    pub(super) fn waits_for(&self) -> Wait {
        match self.writing.iter().chain(self.loading.keys()).copied().collect::<Vec<_>>() {
            store if !store.is_empty() => Wait::Store(store),
            _ => Wait::Offsets(self.waiting.iter().copied().collect()),
        }
    }
}

impl<B: Broker, C: Checkpoints> Worker<B, C> {
    /// Goes on with what the group gave; as far as it goes without waiting.
    pub(super) fn open(&mut self) -> Result<()> {
        // What an own transaction may have done to an offset must be settled before the offset is asked for.
        let now = self.broker.now();
        if self.openings.is_empty() || now < self.ask_at || !matches!(self.producer, Producer::Idle | Producer::Open(_))
        {
            return Ok(());
        }
        let mut opening = self.openings.remove(0);
        self.checkpoints.loaded(Duration::ZERO)?.into_iter().for_each(|read| opening.take_loaded(read));
        self.restore_all(&mut opening)?;
        if !opening.waiting.is_empty() || !opening.writing.is_empty() {
            self.openings.insert(0, opening);
            return Ok(());
        }
        let at: Vec<(PartitionId, i64)> = opening.ready.iter().map(|(id, task)| (*id, task.now.at.offset)).collect();
        if opening.assigned {
            self.broker.assign(&at)?;
        } else {
            at.iter().try_for_each(|(partition, offset)| self.broker.seek(*partition, *offset))?;
        }
        // Its reading may have been paused when this worker dropped it.
        let all: Vec<PartitionId> = at.iter().map(|(partition, _)| *partition).collect();
        if !all.is_empty() {
            self.broker.pause(&all, self.paused)?;
        }
        let now = self.broker.now();
        for (id, mut task) in opening.ready {
            task.heard = now;
            self.metrics.model_in_force(shown(&task.now.epoch.model));
            if task.now.epoch.model != self.processing.versions.wanted() {
                // Whoever had it before may have seen a newer version than this worker has: no going back and forth.
                self.looked_at = 0;
            }
            tracing::info!(
                partition = id,
                from = task.now.at.offset,
                committed = task.committed.offset,
                keys = task.state.keys.len(),
                model = shown(&task.now.epoch.model),
                "partition opened"
            );
            self.tasks.insert(id, task);
        }
        Ok(())
    }

    fn restore_all(&mut self, opening: &mut Opening) -> Result<()> {
        let loads = |partition: &PartitionId| opening.loading.contains_key(partition);
        let partitions: Vec<PartitionId> = opening.waiting.iter().copied().filter(|it| !loads(it)).collect();
        if partitions.is_empty() {
            return Ok(());
        }
        let Some(committed) = self.broker.committed(&partitions, SHORT)? else {
            // Somebody's transaction is open, for seconds perhaps: the other partitions must go on meanwhile.
            self.ask_at = if self.tasks.is_empty() { 0 } else { self.broker.now() + ASKED };
            return Ok(());
        };
        let mut starts = Vec::new();
        let mut fresh = Vec::new();
        for (partition, committed) in partitions.into_iter().zip(committed) {
            let loaded = opening.loaded.remove(&partition);
            let restored = match self.restore(partition, committed.clone(), loaded) {
                Err(_) if self.is_outdated(partition, committed.as_ref())? => Restored::Later,
                restored => restored?,
            };
            match restored {
                Restored::Later => {}
                Restored::Start(offset) => starts.push((partition, offset)),
                Restored::Loading(loading) => {
                    opening.loading.insert(partition, *loading);
                }
                Restored::PartitionTask(task, new) => {
                    if new {
                        fresh.push(partition);
                    }
                    opening.waiting.remove(&partition);
                    opening.ready.insert(partition, *task);
                }
            }
        }
        let mut begin: BTreeMap<PartitionId, &mut PartitionTask> =
            opening.ready.iter_mut().filter(|(id, _)| fresh.contains(id)).map(|(id, task)| (*id, task)).collect();
        self.processing.begin_with_history(&mut begin)?;
        for (partition, task) in begin {
            self.checkpoints.write(partition, task.checkpoint(&self.processing)?)?;
            opening.writing.insert(partition);
        }
        if starts.is_empty() || self.commit_starts(&starts)? {
            return Ok(());
        }
        // Others are asked again, where the broker had no answer for them.
        if opening.assigned && starts.len() == opening.waiting.len() {
            self.answer_early(opening, starts)
        } else {
            Ok(())
        }
    }

    /// The start could not be committed. It may be that the group has put this worker out, which it will be told only once
    /// it has answered: so it takes the partitions without reading them, and tries again.
    fn answer_early(&mut self, opening: &mut Opening, starts: Vec<(PartitionId, i64)>) -> Result<()> {
        let ready = opening.ready.iter().map(|(id, task)| (*id, task.now.at.offset));
        let at: Vec<(PartitionId, i64)> = ready.chain(starts).collect();
        self.broker.assign(&at)?;
        opening.assigned = false;
        let all: Vec<PartitionId> = at.into_iter().map(|(partition, _)| partition).collect();
        self.broker.pause(&all, true)
    }

    /// Commits where partitions begin, before anything of them is read: from then on there is always a C. Whether it went well
    /// is seen when the offsets are asked for again; false: it did not.
    fn commit_starts(&mut self, starts: &[(PartitionId, i64)]) -> Result<bool> {
        self.commit()?;
        if self.producer != Producer::Idle {
            return Ok(false);
        }
        let mut offsets = Vec::new();
        for (partition, offset) in starts {
            let at = CommitPosition { sequence: 0, offset: *offset, hash: 0 };
            let epoch = ModelEpoch { model: self.processing.versions.wanted().to_string(), from: 0 };
            let commit = Commit { at, epoch, ..Commit::default() };
            offsets.push((*partition, *offset, commit.metadata().unwrap_or_default()));
        }
        let mut transaction = || -> std::result::Result<bool, Failed> {
            self.broker.ask_topic();
            if !self.begin()? {
                return Ok(false);
            }
            self.broker.send_offsets(&offsets)?;
            self.confirm_topic()?;
            self.broker.commit()?;
            self.producer = Producer::Idle;
            Ok(true)
        };
        match transaction() {
            Ok(done) => Ok(done),
            Err(Failed::Broken(broken)) => self.broken(broken).map(|()| false),
            Err(Failed::Error(error)) => Err(error),
        }
    }

    /// Tells tasks and openings which checkpoints are durable.
    pub(super) fn take_written(&mut self, timeout: Duration) -> Result<()> {
        for durable in self.checkpoints.written(timeout)? {
            self.metrics.checkpoint(durable.took, durable.bytes);
            self.openings.iter_mut().for_each(|opening| opening.written(durable.partition));
            if let Some(task) = self.tasks.get_mut(&durable.partition) {
                task.written(&durable);
            }
        }
        Ok(())
    }
}
