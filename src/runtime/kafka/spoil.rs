//! What the mistakes of [`super::faults`] do to a worker.

use super::worker::Worker;
use crate::Result;
use crate::kafka::Broker;
use crate::record::PartitionId;
use crate::state::Checkpoints;

impl<B: Broker, C: Checkpoints> Worker<B, C> {
    /// `metadata_late`
    pub(super) fn spoil(&self, offsets: &mut [(PartitionId, i64, String)]) {
        if !self.settings.faults.metadata_late {
            return;
        }
        for (partition, _, metadata) in offsets {
            if let Some(task) = self.tasks.get(partition) {
                let mut late = task.next_commit();
                late.at = task.committed;
                *metadata = late.metadata().unwrap_or_default();
            }
        }
    }

    /// `checkpoint_uncommitted`
    pub(super) fn cut_uncommitted(&mut self) -> Result<()> {
        for task in self.tasks.values_mut().filter(|task| !task.writing) {
            if let Some(at) = task.attempt.as_ref().map(|(attempt, _)| attempt.at) {
                let mut checkpoint = task.checkpoint(&self.processing)?;
                checkpoint.at = Some(at);
                task.writing = true;
                self.checkpoints.write(task.id, checkpoint)?;
            }
        }
        Ok(())
    }
}
