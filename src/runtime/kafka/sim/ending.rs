//! When a schedule is over, and what must be then.

use super::processes::Process;
use super::topics::{id, place};
use super::transactions::State;
use super::world::{Act, World};
use crate::record::PartitionId;
use crate::state::CommitPosition;

impl World {
    /// Whether nothing more comes, and no transaction is open.
    pub fn is_settled(&self) -> bool {
        self.acts.values().all(|act| !matches!(act, Act::EndInput { .. } | Act::Produce { .. }))
            && self.ids.iter().all(|id| id.state == State::Empty)
    }

    /// Whether everything up to the stable end is committed, markers and aborted records included, nothing is open, and
    /// every partition has an owner who knows it.
    pub fn is_done(&self) -> bool {
        self.is_settled()
            && self.processes.iter().all(|process| process.ended || !process.killed && !process.member.is_busy())
            && self.deleted.is_none_or(|(_, is_given_up)| is_given_up)
            && self.inputs.iter().enumerate().all(|(partition, input)| {
                if self.is_deleted(id(partition)) {
                    let has = |process: &Process| !process.ended && process.fetch[partition].is_some();
                    return !self.processes.iter().any(has);
                }
                let stable = input.stable(&self.fates);
                let is_told = |process: &Process| {
                    !process.ended && process.fetch[partition].is_some_and(|fetch| fetch.is_at(stable))
                };
                self.oracle.until(id(partition)) == Some(stable) && self.processes.iter().any(is_told)
            })
    }

    /// Whether a worker was told that a partition is read to its end.
    pub fn is_told(&self, partition: PartitionId) -> bool {
        let stable = self.inputs[place(partition)].stable(&self.fates);
        let fetch = |process: &Process| process.fetch[place(partition)].and_then(|fetch| fetch.told);
        self.processes.iter().any(|process| !process.ended && fetch(process) == Some(stable))
    }

    /// A clean stop leaves a checkpoint of the commit, so that nothing is replayed next time.
    pub fn checkpoints_at_end(&self) -> Result<(), String> {
        if self.disturbed {
            return Ok(());
        }
        let all = (0..self.plan.partitions as usize).map(id);
        for partition in all.filter(|it| !self.is_deleted(*it) && !self.untold.contains(it)) {
            let committed = self.oracle.at(partition);
            let everything = CommitPosition { sequence: u64::MAX, offset: i64::MAX, hash: 0 };
            let usable = self.oracle.epoch(partition).and_then(|epoch| self.shelf.usable(partition, everything, epoch));
            let newest = usable.map(|at| (at.sequence, at.offset));
            if committed != newest {
                return Err(format!(
                    "partition {partition}: {committed:?} is committed and the newest checkpoint after an orderly \
                     stop is of {newest:?}"
                ));
            }
        }
        Ok(())
    }
}
