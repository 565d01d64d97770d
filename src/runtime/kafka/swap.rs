//! Another version of the model takes over in a partition.
//!
//! In this order, so that a restore never needs two versions: the partition is clean at commit n and its reading pauses; its
//! rows are made those of the new version; a checkpoint of them, of commit n + 1 at the same offset, is written and waited for; only
//! then n + 1 is committed, with the new version and itself as the commit with which that came into force. A commit can be gone on from
//! by checkpoints of its own epoch alone, so one that was written for a swap that never was committed is found by nobody.
//! One partition of a worker at a time: its rows are there twice meanwhile.

use super::commit::Commit;
use super::partition_task::PartitionTask;
use super::processing::Processing;
use super::worker::Worker;
use crate::Result;
use crate::kafka::Broker;
use crate::record::PartitionId;
use crate::state::shown;
use crate::state::{Checkpoint, CommitPosition, Memory, ModelEpoch};
use crate::state::{Checkpoints, Durable};

/// A swap on its way.
pub struct Swap {
    /// The version that takes over, and the commit that it comes with.
    epoch: ModelEpoch,
    /// What is remembered as it begins with it.
    memory: Memory,
    /// Whether its checkpoint is durable.
    ready: bool,
    /// Whether messages came that had been on their way when the reading paused: they have to come again.
    missed: bool,
    /// When it began, by the broker's clock.
    began: i64,
}

/// A swap that is committed.
pub struct Swapped {
    from: ModelEpoch,
    missed: bool,
    began: i64,
}

impl Swap {
    /// Whether it can be committed.
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// Whether it is to this epoch.
    pub fn is(&self, epoch: &ModelEpoch) -> bool {
        self.epoch == *epoch
    }

    /// Makes a commit that of the swap. What is in its checkpoint needs no decisions any more.
    pub fn decide(&self, commit: &mut Commit) {
        commit.epoch = self.epoch.clone();
        commit.prune(commit.at);
    }
}

impl PartitionTask {
    /// The task, if it can take messages at present. During a swap the state must stay as it is.
    pub(super) fn listening(&mut self) -> Option<&mut PartitionTask> {
        if let Some(swap) = &mut self.swap {
            swap.missed = true;
        }
        if self.is_held() { None } else { Some(self) }
    }

    /// Begins a swap: gives the checkpoint that has to be durable before it is committed.
    fn begin_swap(&mut self, to: &str, processing: &Processing, now: i64) -> Result<Checkpoint> {
        self.write_dead_letters(processing)?;
        let epoch = ModelEpoch { model: to.to_string(), from: self.committed.sequence + 1 };
        let chain = processing.versions.get(&epoch)?;
        let mut memory = self.state.converted(processing.versions.get(&self.now.epoch)?, chain);
        let checkpoint = Checkpoint {
            at: Some(CommitPosition { sequence: epoch.from, ..self.committed }),
            epoch: epoch.clone(),
            spans: memory.spans().to_vec(),
            rows: memory.freeze(),
            ..self.checkpoint(processing)?
        };
        self.cut = epoch.from;
        self.swap = Some(Swap { epoch, memory, ready: processing.swaps_early(), missed: false, began: now });
        self.writing = true;
        Ok(checkpoint)
    }

    /// A swap's commit is in force.
    pub(super) fn take_over(&mut self, swap: Swap) {
        let Swap { epoch, memory, missed, began, .. } = swap;
        self.state.memory = memory;
        let from = std::mem::replace(&mut self.now.epoch, epoch);
        self.now.prune(self.committed);
        self.swapped = Some(Swapped { from, missed, began });
    }

    /// A checkpoint became durable.
    pub(super) fn written(&mut self, durable: &Durable) {
        // It may be one that was begun before the partition was away for a while.
        self.writing &= self.cut != durable.at.sequence;
        match &mut self.swap {
            Some(swap) if swap.epoch == durable.epoch => swap.ready = true,
            // One of a swap that was given up is no state of this partition.
            _ if durable.epoch == self.now.epoch => self.now.prune(durable.at),
            _ => {}
        }
    }
}

impl<B: Broker, C: Checkpoints> Worker<B, C> {
    /// Goes on with swaps: tells those that are done, begins the next where a partition has another version than is wanted.
    pub(super) fn swap(&mut self) -> Result<()> {
        self.look_at_models();
        self.finish_swaps()?;
        if self.tasks.values().any(|task| task.swap.is_some()) {
            return Ok(());
        }
        let wanted = self.processing.versions.wanted();
        let next = |task: &&mut PartitionTask| task.now.epoch.model != wanted && task.is_clean() && !task.is_stalled();
        let Some(task) = self.tasks.values_mut().find(next) else { return Ok(()) };
        let (id, wanted) = (task.id, wanted.to_string());
        self.broker.pause(&[id], true)?;
        task.checkpointed = self.broker.now();
        let checkpoint = task.begin_swap(&wanted, &self.processing, self.broker.now())?;
        self.checkpoints.write(id, checkpoint)
    }

    fn look_at_models(&mut self) {
        let now = self.broker.now();
        let Some(every) = self.settings.model_every.map(|every| every.as_millis() as i64) else { return };
        if now - self.looked_at >= every {
            self.looked_at = now;
            self.processing.versions.look();
        }
    }

    fn finish_swaps(&mut self) -> Result<()> {
        let now = self.broker.now();
        let mut done: Vec<PartitionId> = Vec::new();
        for task in self.tasks.values_mut() {
            let Some(Swapped { from, missed, began }) = task.swapped.take() else { continue };
            let to = &task.now.epoch.model;
            tracing::info!(
                partition = task.id,
                from = shown(&from.model),
                to = shown(to),
                commit = task.committed.sequence,
                keys = task.state.keys.len(),
                milliseconds = now - began,
                "the partition goes on with another version of the model"
            );
            self.metrics.stream.model_swaps.inc();
            self.metrics.stream.model_swap_seconds.observe((now - began) as f64 / 1000.0);
            self.metrics.model_in_force(shown(to));
            task.heard = now;
            if missed {
                self.broker.seek(task.id, task.now.at.offset)?;
            }
            done.push(task.id);
        }
        if done.is_empty() {
            return Ok(());
        }
        if !self.paused {
            self.broker.pause(&done, false)?;
        }
        self.drop_versions();
        Ok(())
    }

    /// Drops the stages with versions that no partition has any more.
    pub(super) fn drop_versions(&mut self) {
        let tasks = self
            .tasks
            .values()
            .chain(self.kept.values())
            .chain(self.openings.iter().flat_map(|opening| opening.ready()));
        let mut needed: Vec<&str> = Vec::new();
        for task in tasks {
            needed.push(&task.now.epoch.model);
            needed.extend(task.swap.as_ref().map(|swap| swap.epoch.model.as_str()));
        }
        self.processing.versions.keep(&needed);
    }

    /// Gives up swaps that can't be committed yet: at a drain there is no time to wait for their checkpoints.
    pub(super) fn abandon_swaps(&mut self) {
        for task in self.tasks.values_mut() {
            task.swap.take_if(|swap| !swap.ready);
        }
    }
}
