//! Warm start: the history of a topic makes the state that a partition begins with.

use std::collections::BTreeMap;

use super::partition_task::PartitionTask;
use super::processing::Processing;
use crate::record::PartitionId;
use crate::runtime::engine::{Router, Work};
use crate::source::History;
use crate::{Error, Result};

/// Lets tasks that have seen nothing take their keys' records, in silence.
fn feed(
    history: &History,
    tasks: &mut BTreeMap<PartitionId, &mut PartitionTask>,
    processing: &mut Processing,
) -> Result<()> {
    let at = vec![(0, None); history.partitions() as usize];
    let mut router = Router::new(processing.batch, u64::MAX, at);
    let mut records = 0;
    let mut take = |work: Work| -> Result<()> {
        let Some(task) = tasks.get_mut(&work.partition) else { return Ok(()) };
        records += work.records.len() as u64;
        let chain = processing.versions.run(&task.now.epoch)?;
        task.state.process(chain, &processing.layout, &work.records).map(|_| ())
    };
    history.read(&mut |block| router.route(block, &mut take))?;
    router.finish(&mut take)?;
    tracing::info!(records, partitions = tasks.len(), "the state begins with the history");
    for task in tasks.values_mut() {
        // Positions count the stream's records.
        task.state.position = 0;
    }
    Ok(())
}

impl Processing {
    /// Whether there is a history, and the tasks' state made of it.
    ///
    /// # Errors
    /// Files that can't be read.
    pub(super) fn begin_with_history(&mut self, tasks: &mut BTreeMap<PartitionId, &mut PartitionTask>) -> Result<()> {
        match self.history.clone() {
            Some(history) if !tasks.is_empty() => feed(&history, tasks, self).map_err(|error| match error {
                Error::Failed(message) => Error::Failed(format!("history: {message}")),
                other => other,
            }),
            _ => Ok(()),
        }
    }
}
