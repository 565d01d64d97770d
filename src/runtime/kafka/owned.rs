//! What a worker owns and all its parts work on: the reading, the store of checkpoints, the partitions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::intake::Intake;
use super::partition_task::PartitionTask;
use super::processing::Processing;
use super::settings::Settings;
use crate::Result;
use crate::kafka::Broker;
use crate::metrics::Metrics;
use crate::record::PartitionId;
use crate::state::{Checkpoints, Durable};

/// See the module.
pub(super) struct Owned<B, C> {
    /// The broker, and how it is read.
    pub intake: Intake<B>,
    /// The store of checkpoints.
    pub checkpoints: C,
    /// Everything between the records of the source and the bytes of the sink.
    pub processing: Processing,
    /// What the worker goes by.
    pub settings: Settings,
    /// The partitions that it owns.
    pub tasks: BTreeMap<PartitionId, PartitionTask>,
    /// Every metric.
    pub metrics: Arc<Metrics>,
}

impl<B: Broker, C: Checkpoints> Owned<B, C> {
    /// Milliseconds by the broker's clock.
    pub fn now(&self) -> i64 {
        self.intake.now()
    }

    /// Takes a partition out: it may be another's from now on.
    pub fn remove(&mut self, partition: PartitionId) -> Option<PartitionTask> {
        let mut task = self.tasks.remove(&partition);
        if let Some(task) = &mut task {
            task.show(&self.metrics, (0, 0));
        }
        self.metrics.stream.gone(partition);
        self.checkpoints.release(partition);
        task
    }

    /// Reports to the partitions which checkpoints became durable, and gives those.
    ///
    /// # Errors
    /// A store that can't be written.
    pub fn take_written(&mut self, timeout: Duration) -> Result<Vec<Durable>> {
        let written = self.checkpoints.written(timeout)?;
        for durable in &written {
            self.metrics.checkpoint(durable.took, durable.bytes);
            self.metrics.stream.unsaved.saved(durable.partition);
            if let Some(task) = self.tasks.get_mut(&durable.partition) {
                task.written(durable);
            }
        }
        Ok(written)
    }

    /// Begins checkpoints where they are due; of all partitions if `all`.
    ///
    /// # Errors
    /// A store that can't be written.
    pub fn take_checkpoints(&mut self, all: bool) -> Result<()> {
        let now = self.now();
        let every = self.settings.checkpoint_every.as_millis() as i64;
        for task in self.tasks.values_mut() {
            if !task.is_clean() || task.saved == task.committed.sequence {
                continue;
            }
            // Partitions of one age are saved one after the other, not all at once.
            let stagger = every / 8 * i64::from(task.id.number % 8) / 8;
            let due = now - task.checkpointed >= every + stagger || task.since >= self.settings.or_records;
            if all || due || task.now.is_full() {
                task.write_dead_letters(&self.processing)?;
                task.checkpointed = now;
                task.writing = true;
                self.metrics.stream.unsaved.saving(task.id);
                self.checkpoints.write(task.id, task.checkpoint(&self.processing)?)?;
            }
        }
        Ok(())
    }
}
