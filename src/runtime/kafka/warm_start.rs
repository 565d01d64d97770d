//! Warm start: the history of a topic makes the state that its partitions begin with.

use std::collections::BTreeSet;

use super::Expected;
use crate::record::{PartitionId, Shard};
use crate::runtime::engine::{Router, Work};
use crate::source::History;
use crate::{Error, Result};

/// Deals the history out to partitions that have seen nothing; `take` processes it and emits nothing.
///
/// # Errors
/// Files that can't be read; those of `take`.
pub(super) fn feed(
    history: &History,
    batch: usize,
    fresh: &BTreeSet<PartitionId>,
    expected: &Expected,
    mut take: impl FnMut(Work) -> Result<()>,
) -> Result<()> {
    // It was dealt out when the topic was first read.
    let fresh: BTreeSet<PartitionId> = fresh.iter().copied().filter(|it| !expected.is_later(*it)).collect();
    if fresh.is_empty() {
        return Ok(());
    }
    let count = expected.first_count().unwrap_or_else(|| history.partitions());
    let at = vec![(0, None); count as usize];
    let mut router = Router::new(batch, u64::MAX, (Shard::default(), count), at);
    let mut records = 0;
    let mut take = |work: Work| -> Result<()> {
        if !fresh.contains(&work.partition) {
            return Ok(());
        }
        records += work.records.len() as u64;
        take(work)
    };
    let fed = history.read(&mut |block| router.route(block, &mut take)).and_then(|()| router.finish(&mut take));
    fed.map_err(|error| match error {
        Error::Failed(message) => Error::Failed(format!("history: {message}")),
        other => other,
    })?;
    tracing::info!(records, partitions = fresh.len(), "the state begins with the history");
    Ok(())
}
