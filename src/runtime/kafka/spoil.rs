//! What the mistakes of [`super::faults`] do to a worker.

use super::owned::Owned;
use crate::Result;
use crate::kafka::Broker;
use crate::record::PartitionId;
use crate::state::Checkpoints;

/// `metadata_late`
pub(super) fn spoil<B, C>(owned: &Owned<B, C>, offsets: &mut [(PartitionId, i64, String)]) {
    if !owned.settings.faults.metadata_late {
        return;
    }
    for (partition, _, metadata) in offsets {
        if let Some(task) = owned.tasks.get(partition) {
            let mut late = task.next_commit();
            late.at = task.committed;
            *metadata = late.metadata().unwrap_or_default();
        }
    }
}

/// `checkpoint_uncommitted`
pub(super) fn save_uncommitted<B: Broker, C: Checkpoints>(owned: &mut Owned<B, C>) -> Result<()> {
    for task in owned.tasks.values_mut().filter(|task| !task.writing) {
        if let Some(at) = task.attempt.as_ref().map(|(attempt, _)| attempt.at) {
            let mut checkpoint = task.checkpoint(&owned.processing)?;
            checkpoint.at = Some(at);
            task.writing = true;
            owned.checkpoints.write(task.id, checkpoint)?;
        }
    }
    Ok(())
}
