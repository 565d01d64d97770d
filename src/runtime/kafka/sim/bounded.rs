//! Bounded runs (`until`): where each process decides that the partitions end, and what must be when one ends there by
//! itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::log::Input;
use super::topics::{id, place};
use super::world::{Phase, World};
use crate::kafka::Committed;
use crate::record::PartitionId;
use crate::runtime::kafka::bounded::Bounds;

/// Where the runs of a schedule end.
#[derive(Debug, Clone, Copy)]
pub enum Until {
    /// At what can be read when a process starts.
    End,
    /// At the first record of that many milliseconds after the beginning, or a later one.
    At(i64),
}

/// How far bounded runs are.
#[derive(Debug, Default)]
pub struct Ends {
    /// Per process, the ends that it decided.
    of: BTreeMap<usize, Vec<Option<i64>>>,
    /// Slots whose process ended by itself: nobody starts it again.
    finished: Vec<usize>,
}

impl World {
    /// What a process that starts now decides; `None`: its run has no end.
    pub fn decide_ends(&mut self, me: usize) -> Option<Arc<Bounds>> {
        let until = self.plan.until?;
        let end = |partition: usize| {
            let input: &Input = &self.inputs[partition];
            let found = match until {
                Until::End => None,
                Until::At(after) => input.entries.iter().position(|entry| entry.timestamp >= self.began + after),
            };
            (!self.is_deleted(id(partition))).then(|| found.map_or(input.stable(&self.fates), |at| at as i64))
        };
        let ends: Vec<Option<i64>> = (0..self.inputs.len()).map(end).collect();
        self.note(Some(me), || format!("its run ends at {ends:?}"));
        let known = ends.iter().enumerate().filter_map(|(partition, end)| Some((id(partition), (*end)?)));
        let bounds = Bounds::new(known.collect());
        self.ends.of.insert(me, ends);
        Some(Arc::new(bounds))
    }

    /// A process ended by itself: everything before its ends must be committed. Whether it may.
    pub fn is_at_its_ends(&mut self, me: usize) -> bool {
        let Some(ends) = self.ends.of.get(&me) else { return false };
        let left = ends.iter().enumerate().find(|(partition, end)| {
            let done = self.oracle.until(id(*partition)).unwrap_or(0);
            !self.is_deleted(id(*partition)) && end.is_some_and(|end| done < end)
        });
        let is_there = left.is_none();
        self.ends.finished.push(self.processes[me].slot);
        is_there
    }

    /// Whether the process of a slot is where it should be, and needn't start again.
    pub fn is_finished(&self, slot: usize) -> bool {
        self.ends.finished.contains(&slot)
    }

    /// What is committed must be before the ends that some process decided, but for what isn't a record.
    pub fn within_ends(&self, offsets: &[(PartitionId, Committed)]) -> Result<(), String> {
        if self.plan.until.is_none() {
            return Ok(());
        }
        for (partition, committed) in offsets {
            let at = place(*partition);
            let last = self.ends.of.values().filter_map(|ends| ends[at]).max().unwrap_or(0);
            if let Some(beyond) = self.inputs[at].next(last, committed.offset, &self.fates) {
                return Err(format!("partition {partition}: a run that ends at {last} took the record at {beyond}"));
            }
        }
        Ok(())
    }

    /// Whether every worker that there should be has ended by itself.
    pub fn have_all_ended(&self) -> bool {
        (0..self.wanted).all(|slot| self.is_finished(slot)) && self.processes.iter().all(|process| process.ended)
    }

    /// The workers of a bounded run end by themselves: then it is over.
    pub fn leave_if_ended(&mut self) {
        if self.phase == Phase::Calm && self.have_all_ended() && self.is_settled() {
            self.note(None, || "every worker has ended".into());
            // Who ended needs no checkpoint of what another one has committed.
            self.disturbed = true;
            self.phase = Phase::Leaving;
        }
    }
}
