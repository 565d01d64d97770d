//! Warm start: the history of a topic makes the state that a partition begins with.

use std::collections::BTreeMap;

use super::partition_task::Lane;
use super::processing::Processing;
use crate::kafka::Partition;
use crate::runtime::route::{Router, Work};
use crate::source::History;
use crate::{Error, Result};

/// Lets lanes that have seen nothing take their keys' records, in silence.
fn feed(history: &History, lanes: &mut BTreeMap<Partition, &mut Lane>, processing: &mut Processing) -> Result<()> {
    let at = vec![(0, None); history.partitions() as usize];
    let mut router = Router::new(processing.batch, u64::MAX, at);
    let mut records = 0;
    let mut take = |work: Work| -> Result<()> {
        let Some(lane) = lanes.get_mut(&work.partition) else { return Ok(()) };
        records += work.records.len() as u64;
        let chain = processing.chains.run(&lane.now.era)?;
        lane.state.process(chain, &processing.layout, &work.records).map(|_| ())
    };
    history.read(&mut |block| router.route(block, &mut take))?;
    router.finish(&mut take)?;
    tracing::info!(records, partitions = lanes.len(), "the state begins with the history");
    for lane in lanes.values_mut() {
        // Positions count the stream's records.
        lane.state.position = 0;
    }
    Ok(())
}

impl Processing {
    /// Whether there is a history, and the lanes' state made of it.
    ///
    /// # Errors
    /// Files that can't be read.
    pub(super) fn begin_with_history(&mut self, lanes: &mut BTreeMap<Partition, &mut Lane>) -> Result<()> {
        match self.history.clone() {
            Some(history) if !lanes.is_empty() => feed(&history, lanes, self).map_err(|error| match error {
                Error::Failed(message) => Error::Failed(format!("history: {message}")),
                other => other,
            }),
            _ => Ok(()),
        }
    }
}
