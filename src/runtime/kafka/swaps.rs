//! Another version of the model takes over in a partition.
//!
//! In this order, so that a restore never needs two versions: the partition is clean at commit n and its reading
//! pauses; its rows are made those of the new version; a checkpoint of them, of commit n + 1 at the same offset, is
//! written and waited for; only then n + 1 is committed, with the new version and itself as the commit with which that
//! became active. A commit can be resumed only from checkpoints of its own epoch, so a checkpoint of a swap that was
//! never committed is never found. One partition of a worker at a time: its rows exist twice meanwhile.

use super::owned::Owned;
use super::partition_task::PartitionTask;
use super::processing::Processing;
use super::reading::Reads;
use super::swap::{Swap, Swapped};
use crate::Result;
use crate::kafka::Broker;
use crate::record::PartitionId;
use crate::state::{Checkpoint, Checkpoints, CommitPosition, Durable, ModelEpoch, shown};

/// The swaps of one worker.
#[derive(Default)]
pub(super) struct Swaps {
    /// When the version of the model was asked for.
    looked_at: i64,
}

impl Swaps {
    /// Has the version of the model asked for at once.
    pub fn look_soon(&mut self) {
        self.looked_at = 0;
    }

    /// Goes on with swaps: reports those that are done, begins the next where a partition has another version than is
    /// wanted. True: there may be versions that no partition needs.
    pub fn step<B: Broker, C: Checkpoints>(&mut self, owned: &mut Owned<B, C>) -> Result<bool> {
        self.look_at_models(owned);
        let finished = finish_swaps(owned)?;
        if owned.tasks.values().any(|task| task.swap.is_some()) {
            return Ok(finished);
        }
        let wanted = owned.processing.versions.wanted();
        let next = |task: &&mut PartitionTask| {
            let reads = !task.reading.is_stalled() && !task.reading.ended;
            reads && task.now.epoch.model != wanted && task.is_clean()
        };
        let Some(task) = owned.tasks.values_mut().find(next) else { return Ok(finished) };
        let (id, wanted) = (task.id, wanted.to_string());
        owned.intake.broker.pause(&[id], true)?;
        let now = owned.intake.now();
        task.checkpointed = now;
        let checkpoint = task.begin_swap(&wanted, &owned.processing, now)?;
        owned.checkpoints.write(id, checkpoint)?;
        Ok(finished)
    }

    fn look_at_models<B: Broker, C: Checkpoints>(&mut self, owned: &mut Owned<B, C>) {
        let now = owned.now();
        let Some(every) = owned.settings.model_every.map(|every| every.as_millis() as i64) else { return };
        if now - self.looked_at >= every {
            self.looked_at = now;
            owned.processing.versions.look();
        }
    }
}

/// Reports swaps that are committed, and reads their partitions again. False: there are none.
fn finish_swaps<B: Broker, C: Checkpoints>(owned: &mut Owned<B, C>) -> Result<bool> {
    let now = owned.now();
    let mut done: Vec<PartitionId> = Vec::new();
    for task in owned.tasks.values_mut() {
        let Some(Swapped { from, missed, began }) = task.swapped.take() else { continue };
        let to = &task.now.epoch.model;
        tracing::info!(
            partition = task.id.number,
            topic = task.id.topic.name(),
            from = shown(&from.model),
            to = shown(to),
            commit = task.committed.sequence,
            keys = task.state.keys.len(),
            milliseconds = now - began,
            "the partition continues with another model version"
        );
        owned.metrics.stream.model_swaps.inc();
        owned.metrics.stream.model_swap_seconds.observe((now - began) as f64 / 1000.0);
        owned.metrics.model_in_force(shown(to));
        task.reading.heard = now;
        if missed {
            owned.intake.broker.seek(task.id, task.now.at.offset)?;
        }
        done.push(task.id);
    }
    if done.is_empty() {
        return Ok(false);
    }
    if !owned.intake.paused {
        owned.intake.broker.pause(&done, false)?;
    }
    Ok(true)
}

impl PartitionTask {
    /// The task, if it can take messages at present. During a swap the state must stay as it is.
    pub(super) fn listening(&mut self) -> Option<&mut PartitionTask> {
        if let Some(swap) = &mut self.swap {
            swap.missed = true;
        }
        if self.is_held() { None } else { Some(self) }
    }

    /// Begins a swap: returns the checkpoint that must be durable before the swap is committed.
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
        self.saved = epoch.from;
        self.swap = Some(Swap { epoch, memory, ready: processing.swaps_early(), missed: false, began: now });
        self.writing = true;
        Ok(checkpoint)
    }

    /// A swap's commit took effect.
    pub(super) fn take_over(&mut self, swap: Swap) {
        let Swap { epoch, memory, missed, began, .. } = swap;
        self.state.memory = memory;
        let from = std::mem::replace(&mut self.now.epoch, epoch);
        self.now.prune(self.committed);
        self.swapped = Some(Swapped { from, missed, began });
    }

    /// A checkpoint became durable.
    pub(super) fn written(&mut self, durable: &Durable) {
        // It may be one that began before the partition was away for a while.
        self.writing &= self.saved != durable.at.sequence;
        match &mut self.swap {
            Some(swap) if swap.epoch == durable.epoch => swap.ready = true,
            // One of an abandoned swap is not a state of this partition.
            _ if durable.epoch == self.now.epoch => self.now.prune(durable.at),
            _ => {}
        }
    }
}
