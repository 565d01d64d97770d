//! What somebody may do to a pipeline's topic, group or state while it doesn't run, after which it must refuse to go on: no output
//! would be right.

use super::log::{Entry, Input, Kind};
use super::world::{Act, Phase, World};
use crate::runtime::stream::Committed;
use crate::state::Mark;

/// One such thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meddling {
    /// Records between the newest checkpoint and the committed offset are compacted away.
    Compacted,
    /// Retention removes records that a replay needs.
    Retention,
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
    /// Kills all and does it, once there is something to be destroyed: a partition that is committed beyond its newest checkpoint.
    pub fn meddle(&mut self, meddling: Meddling) {
        if self.phase == Phase::Leaving {
            return;
        }
        if meddling == Meddling::Recreated {
            return self.recreate();
        }
        let Some((partition, checkpoint, committed)) = self.victim() else {
            self.later(50, Act::Meddle(meddling));
            return;
        };
        for process in &mut self.processes {
            process.killed = true;
            // What it was writing is never durable: that would make the checkpoint newer than it was.
            process.writing.clear();
        }
        self.expects_refusal = true;
        self.note(None, || {
            format!("{meddling:?} in partition {partition}, between {} and {committed}", checkpoint.offset)
        });
        let index = partition as usize;
        let input = &mut self.inputs[index];
        match meddling {
            Meddling::Compacted => {
                let between = checkpoint.offset as usize..committed as usize;
                input.entries[between].iter_mut().for_each(|entry| entry.gone = true);
            }
            Meddling::Retention => input.start = checkpoint.offset + 1,
            Meddling::Truncated => input.entries.truncate(committed as usize - 1),
            Meddling::Expired => self.offsets.stable[index] = None,
            Meddling::Reset => {
                let by_hand = Committed { offset: checkpoint.offset, metadata: String::new() };
                self.offsets.stable[index] = Some((u64::MAX, by_hand));
            }
            Meddling::Rewound => {
                let newest = self.shelf.newest(partition);
                self.shelf.retain(partition, |mark| Some(mark) == newest);
                self.rewind(index, checkpoint);
            }
            Meddling::StateDeleted => self.shelf.retain(partition, |_| false),
            Meddling::Recreated => {}
        }
    }

    /// The new topic has more records than the old one, so that its readers find some at their old offsets. What is in an open
    /// transaction of the old one is gone with it.
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

    /// A partition with records between its newest checkpoint and what is committed, all transactions being decided.
    fn victim(&self) -> Option<(u32, Mark, i64)> {
        if !self.offsets.pending.is_empty() {
            return None;
        }
        (0..self.plan.partitions).find_map(|partition| {
            let (_, committed) = self.offsets.stable[partition as usize].as_ref()?;
            let checkpoint = self.shelf.newest(partition).filter(|mark| mark.sequence > 0)?;
            let between = checkpoint.offset.max(0) as usize..committed.offset.max(0) as usize;
            let entries = self.inputs[partition as usize].entries.get(between)?;
            let fates = &self.fates;
            let is_there = |entry: &Entry| {
                matches!(entry.kind, Kind::Record { .. })
                    && entry.txn.is_none_or(|txn| fates[txn] == super::log::Fate::Committed)
            };
            entries.iter().any(is_there).then_some((partition, checkpoint, committed.offset))
        })
    }

    /// Sets the offset to that of the commit before a checkpoint's, with that commit's own metadata.
    fn rewind(&mut self, index: usize, checkpoint: Mark) {
        let Some((_, committed)) = &self.offsets.stable[index] else { return };
        let Ok(mut metadata) = serde_json::from_str::<serde_json::Value>(&committed.metadata) else { return };
        metadata["seq"] = (checkpoint.sequence - 1).into();
        let offset = (checkpoint.offset - 1).max(0);
        self.offsets.stable[index] = Some((u64::MAX, Committed { offset, metadata: metadata.to_string() }));
    }
}
