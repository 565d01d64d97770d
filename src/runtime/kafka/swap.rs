//! Another version of the model takes over in a partition.
//!
//! In this order, so that a restore never needs two versions: the partition is clean at commit n and its reading pauses; its
//! rows are made those of the new version; a checkpoint of them, of commit n + 1 at the same offset, is written and waited for; only
//! then n + 1 is committed, with the new version and itself as the commit with which that came into force. A commit can be gone on from
//! by checkpoints of its own era alone, so one that was written for a swap that never was committed is found by nobody.
//! One partition of a worker at a time: its rows are there twice meanwhile.

use super::commit::Commit;
use super::partition_task::Lane;
use super::processing::Processing;
use super::worker::Worker;
use crate::Result;
use crate::kafka::{Broker, Partition};
use crate::state::shown;
use crate::state::{Arena, Checkpoint, Era, Mark};
use crate::state::{Checkpoints, Durable};

/// A swap on its way.
pub struct Swap {
    /// The version that takes over, and the commit that it comes with.
    era: Era,
    /// All rows as it begins with them.
    rows: Arena,
    /// Whether its checkpoint is durable.
    ready: bool,
    /// Whether messages came that had been on their way when the reading paused: they have to come again.
    missed: bool,
    /// When it began, by the broker's clock.
    began: i64,
}

/// A swap that is committed.
pub struct Swapped {
    from: Era,
    missed: bool,
    began: i64,
}

impl Swap {
    /// Whether it can be committed.
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// Whether it is to this era.
    pub fn is(&self, era: &Era) -> bool {
        self.era == *era
    }

    /// Makes a commit that of the swap. What is in its checkpoint needs no decisions any more.
    pub fn decide(&self, commit: &mut Commit) {
        commit.era = self.era.clone();
        commit.prune(commit.mark);
    }
}

impl Lane {
    /// The lane, if it can take messages at present. During a swap the state must stay as it is.
    pub(super) fn listening(&mut self) -> Option<&mut Lane> {
        if let Some(swap) = &mut self.swap {
            swap.missed = true;
        }
        if self.is_held() { None } else { Some(self) }
    }

    /// Begins a swap: gives the checkpoint that has to be durable before it is committed.
    fn begin_swap(&mut self, to: &str, processing: &Processing, now: i64) -> Result<Checkpoint> {
        self.file_letters(processing)?;
        let era = Era { model: to.to_string(), from: self.committed.sequence + 1 };
        let chain = processing.chains.get(&era)?;
        let mut rows = self.state.converted(processing.chains.get(&self.now.era)?, chain);
        let checkpoint = Checkpoint {
            mark: Some(Mark { sequence: era.from, ..self.committed }),
            era: era.clone(),
            spans: chain.rows(),
            rows: rows.freeze(),
            ..self.checkpoint(processing)?
        };
        self.cut = era.from;
        self.swap = Some(Swap { era, rows, ready: processing.swaps_early(), missed: false, began: now });
        self.writing = true;
        Ok(checkpoint)
    }

    /// A swap's commit is in force.
    pub(super) fn take_over(&mut self, swap: Swap) {
        let Swap { era, rows, missed, began, .. } = swap;
        self.state.arena = rows;
        let from = std::mem::replace(&mut self.now.era, era);
        self.now.prune(self.committed);
        self.swapped = Some(Swapped { from, missed, began });
    }

    /// A checkpoint became durable.
    pub(super) fn written(&mut self, durable: &Durable) {
        // It may be one that was begun before the partition was away for a while.
        self.writing &= self.cut != durable.mark.sequence;
        match &mut self.swap {
            Some(swap) if swap.era == durable.era => swap.ready = true,
            // One of a swap that was given up is no state of this partition.
            _ if durable.era == self.now.era => self.now.prune(durable.mark),
            _ => {}
        }
    }
}

impl<B: Broker, C: Checkpoints> Worker<B, C> {
    /// Goes on with swaps: tells those that are done, begins the next where a partition has another version than is wanted.
    pub(super) fn swap(&mut self) -> Result<()> {
        self.look_at_models();
        self.finish_swaps()?;
        if self.lanes.values().any(|lane| lane.swap.is_some()) {
            return Ok(());
        }
        let wanted = self.processing.chains.wanted();
        let next = |lane: &&mut Lane| lane.now.era.model != wanted && lane.is_clean() && !lane.is_stalled();
        let Some(lane) = self.lanes.values_mut().find(next) else { return Ok(()) };
        let (id, wanted) = (lane.id, wanted.to_string());
        self.broker.pause(&[id], true)?;
        lane.checkpointed = self.broker.now();
        let checkpoint = lane.begin_swap(&wanted, &self.processing, self.broker.now())?;
        self.checkpoints.write(id, checkpoint)
    }

    fn look_at_models(&mut self) {
        let now = self.broker.now();
        let Some(every) = self.settings.model_every.map(|every| every.as_millis() as i64) else { return };
        if now - self.looked_at >= every {
            self.looked_at = now;
            self.processing.chains.look();
        }
    }

    fn finish_swaps(&mut self) -> Result<()> {
        let now = self.broker.now();
        let mut done: Vec<Partition> = Vec::new();
        for lane in self.lanes.values_mut() {
            let Some(Swapped { from, missed, began }) = lane.swapped.take() else { continue };
            let to = &lane.now.era.model;
            tracing::info!(
                partition = lane.id,
                from = shown(&from.model),
                to = shown(to),
                commit = lane.committed.sequence,
                keys = lane.state.keys.len(),
                milliseconds = now - began,
                "the partition goes on with another version of the model"
            );
            self.metrics.stream.model_swaps.inc();
            self.metrics.stream.model_swap_seconds.observe((now - began) as f64 / 1000.0);
            self.metrics.model_in_force(shown(to));
            lane.heard = now;
            if missed {
                self.broker.seek(lane.id, lane.now.mark.offset)?;
            }
            done.push(lane.id);
        }
        if done.is_empty() {
            return Ok(());
        }
        if !self.paused {
            self.broker.pause(&done, false)?;
        }
        self.drop_chains();
        Ok(())
    }

    /// Drops the stages with versions that no partition has any more.
    pub(super) fn drop_chains(&mut self) {
        let lanes = self
            .lanes
            .values()
            .chain(self.kept.values())
            .chain(self.openings.iter().flat_map(|opening| opening.ready()));
        let mut needed: Vec<&str> = Vec::new();
        for lane in lanes {
            needed.push(&lane.now.era.model);
            needed.extend(lane.swap.as_ref().map(|swap| swap.era.model.as_str()));
        }
        self.processing.chains.keep(&needed);
    }

    /// Gives up swaps that can't be committed yet: at a drain there is no time to wait for their checkpoints.
    pub(super) fn abandon_swaps(&mut self) {
        for lane in self.lanes.values_mut() {
            lane.swap.take_if(|swap| !swap.ready);
        }
    }
}
