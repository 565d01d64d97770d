//! What the mistakes of [`super::faults`] do to a worker.

use super::worker::Worker;
use crate::Result;
use crate::kafka::{Broker, Partition};
use crate::state::Checkpoints;

impl<B: Broker, C: Checkpoints> Worker<B, C> {
    /// `metadata_late`
    pub(super) fn spoil(&self, offsets: &mut [(Partition, i64, String)]) {
        if !self.settings.faults.metadata_late {
            return;
        }
        for (partition, _, metadata) in offsets {
            if let Some(lane) = self.lanes.get(partition) {
                let mut late = lane.next_commit();
                late.mark = lane.committed;
                *metadata = late.metadata().unwrap_or_default();
            }
        }
    }

    /// `checkpoint_uncommitted`
    pub(super) fn cut_uncommitted(&mut self) -> Result<()> {
        for lane in self.lanes.values_mut().filter(|lane| !lane.writing) {
            if let Some(mark) = lane.attempt.as_ref().map(|(attempt, _)| attempt.mark) {
                let mut checkpoint = lane.checkpoint(&self.processing)?;
                checkpoint.mark = Some(mark);
                lane.writing = true;
                self.checkpoints.write(lane.id, checkpoint)?;
            }
        }
        Ok(())
    }
}
