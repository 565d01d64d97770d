//! Changes of a pipeline's topic, group or state while it doesn't run. Mostly it must refuse to continue then: no
//! output would be right. If retention has removed only markers and aborted records, it must continue.

use super::log::{Entry, Input, Kind};
use super::topics::{id, place};
use super::world::{Act, Phase, World};
use crate::kafka::Committed;
use crate::record::PartitionId;
use crate::state::CommitPosition;

/// One such thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meddling {
    /// Records between the newest checkpoint and the committed offset are compacted away.
    Compacted,
    /// Retention removes records that a replay needs.
    Retention,
    /// Retention removes records that were never read.
    Unread,
    /// Retention removes markers and aborted records, which a replay doesn't miss.
    Gap,
    /// Retention removes everything up to the stable end, of which the last were markers or aborted records.
    Markers,
    /// The topic ends before the committed offset.
    Truncated,
    /// The group's offsets are gone.
    Expired,
    /// The group's offset was set by hand.
    Reset,
    /// The group's offset is that of a commit before every checkpoint.
    Rewound,
    /// The checkpoints are gone.
    StateDeleted,
    /// The topic is deleted and created again while processes run, with other records.
    Recreated,
}

impl World {
    /// Kills all and does it, once there is something to be destroyed.
    pub fn meddle(&mut self, meddling: Meddling) {
        if self.phase == Phase::Leaving {
            return;
        }
        if meddling == Meddling::Recreated {
            return self.recreate();
        }
        let Some((partition, checkpoint, committed)) = self.victim(meddling) else {
            self.later(50, Act::Meddle(meddling));
            return;
        };
        for process in &mut self.processes {
            process.killed = true;
            // What it was writing is never durable: that would make the checkpoint newer than it was.
            process.writing.clear();
        }
        self.expects_refusal = !matches!(meddling, Meddling::Gap | Meddling::Markers);
        self.meddled = true;
        self.note(None, || {
            format!("{meddling:?} in partition {partition}, between {} and {committed}", checkpoint.offset)
        });
        let index = place(partition);
        let input = &mut self.inputs[index];
        let stable = input.stable(&self.fates);
        let next = |from: i64| input.next(from, stable, &self.fates).unwrap_or(stable);
        let (replayed, unread) = (next(checkpoint.offset), next(committed));
        match meddling {
            Meddling::Compacted => {
                let between = checkpoint.offset as usize..committed as usize;
                input.entries[between].iter_mut().for_each(|entry| entry.gone = true);
            }
            Meddling::Retention => input.start = replayed + 1,
            Meddling::Unread => input.start = unread + 1,
            Meddling::Gap => input.start = replayed.min(committed),
            Meddling::Markers => input.start = stable,
            Meddling::Truncated => input.entries.truncate(committed as usize - 1),
            Meddling::Expired => self.offsets.stable[index] = None,
            Meddling::Reset => {
                let by_hand = Committed { offset: checkpoint.offset, metadata: String::new() };
                self.offsets.stable[index] = Some((u64::MAX, by_hand));
            }
            Meddling::Rewound => {
                let newest = self.shelf.newest(partition);
                self.shelf.retain(partition, |at| Some(at) == newest);
                self.rewind(index, checkpoint);
            }
            Meddling::StateDeleted => self.shelf.retain(partition, |_| false),
            Meddling::Recreated => {}
        }
    }

    /// The new topic has more records than the old one, so that its readers find some at their old offsets. What is in
    /// an open transaction of the old one is gone with it.
    fn recreate(&mut self) {
        self.expects_refusal = true;
        let now = self.now;
        let mut recreated = Vec::new();
        for partition in 0..self.inputs.len() {
            let mut input = Input::default();
            for _ in 0..self.inputs[partition].end() + 20 {
                let key = self.dice.below(self.plan.keys as usize) as u8;
                let kind = Kind::Record { key, value: Some(self.dice.word() >> 12) };
                input.entries.push(Entry { kind, txn: None, timestamp: now, gone: false });
            }
            recreated.push(input);
        }
        self.recreated = Some(recreated);
        for process in self.processes.iter_mut().filter(|process| !process.ended) {
            process.fetch.iter_mut().flatten().for_each(|fetch| fetch.told = None);
        }
    }

    /// A partition that shows it, with its newest checkpoint and what is committed, all transactions of offsets being
    /// decided.
    fn victim(&self, meddling: Meddling) -> Option<(PartitionId, CommitPosition, i64)> {
        if !self.offsets.pending.is_empty() {
            return None;
        }
        (0..self.plan.partitions as usize).map(id).find_map(|partition| {
            let (_, committed) = self.offsets.stable[place(partition)].as_ref()?;
            let checkpoint = self.shelf.newest(partition).filter(|at| at.sequence > 0)?;
            self.shows(meddling, partition, checkpoint, committed.offset).then_some((
                partition,
                checkpoint,
                committed.offset,
            ))
        })
    }

    fn shows(&self, meddling: Meddling, partition: PartitionId, checkpoint: CommitPosition, committed: i64) -> bool {
        let input = &self.inputs[place(partition)];
        let stable = input.stable(&self.fates);
        let is_there = |from: i64, to: i64| input.next(from, to, &self.fates).is_some();
        match meddling {
            Meddling::Unread => is_there(committed, stable),
            // The next record that a replay would read, or the end of the replay, is after offsets without one.
            Meddling::Gap => checkpoint.offset < committed && !is_there(checkpoint.offset, checkpoint.offset + 1),
            Meddling::Markers => {
                let no_record = !is_there(checkpoint.offset, committed) && !is_there(stable - 1, stable);
                committed == stable && stable > 0 && no_record
            }
            _ => is_there(checkpoint.offset, committed),
        }
    }

    /// Sets the offset to that of the commit before a checkpoint's, with that commit's own metadata.
    fn rewind(&mut self, index: usize, checkpoint: CommitPosition) {
        let Some((_, committed)) = &self.offsets.stable[index] else { return };
        let Ok(mut metadata) = serde_json::from_str::<serde_json::Value>(&committed.metadata) else { return };
        metadata["seq"] = (checkpoint.sequence - 1).into();
        let offset = (checkpoint.offset - 1).max(0);
        self.offsets.stable[index] = Some((u64::MAX, Committed { offset, metadata: metadata.to_string() }));
    }
}
