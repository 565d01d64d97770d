//! A bounded run (`until`): where each partition ends, and which of them are there.
//!
//! Where they end is decided once, when the process starts, for all partitions of the source: so it doesn't matter who
//! has a partition, and when. Must not live here: the question where they end (`kafka`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::record::{PartitionId, SourceTopic};

/// Milliseconds between two questions how far the partitions of other processes are.
const ASKED: i64 = 500;

/// Where the partitions of a bounded run end; shared by all workers of the process.
#[derive(Debug, Default)]
pub struct Bounds {
    /// Per partition, the offset before which it is read.
    ends: BTreeMap<PartitionId, i64>,
    there: Mutex<BTreeSet<PartitionId>>,
}

impl Bounds {
    /// With the offset of each partition before which it is read.
    pub fn new(ends: BTreeMap<PartitionId, i64>) -> Bounds {
        Bounds { ends, there: Mutex::default() }
    }

    /// The offset before which a partition is read. One that came after the start isn't read.
    pub fn end(&self, partition: PartitionId) -> i64 {
        self.ends.get(&partition).copied().unwrap_or(0)
    }

    /// A partition is there: everything before its end is committed.
    pub fn arrived(&self, partition: PartitionId) {
        self.locked().insert(partition);
    }

    /// A topic was deleted: nothing more of it is waited for.
    pub fn drop_topic(&self, topic: SourceTopic) {
        self.locked().extend(self.ends.keys().filter(|partition| partition.topic == topic));
    }

    /// Whether a partition is there, as far as this process knows.
    pub fn is_there(&self, partition: PartitionId) -> bool {
        self.locked().contains(&partition)
    }

    /// The partitions that are not there, as far as this process knows.
    pub fn missing(&self) -> Vec<PartitionId> {
        let there = self.locked();
        self.ends.keys().copied().filter(|partition| !there.contains(partition)).collect()
    }

    fn locked(&self) -> MutexGuard<'_, BTreeSet<PartitionId>> {
        self.there.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When a worker whose own partitions are there asks for those of others.
#[derive(Debug, Default)]
pub(super) struct Asking {
    next: i64,
    told: bool,
}

impl Asking {
    /// Whether it is time to ask; `now` by the broker's clock.
    pub fn is_due(&mut self, now: i64, bounds: &Bounds, has_partitions: bool) -> bool {
        if now < self.next {
            return false;
        }
        self.next = now + ASKED;
        if has_partitions && !std::mem::replace(&mut self.told, true) {
            let partitions = bounds.missing();
            tracing::info!(?partitions, "the partitions of this worker are there: waiting for those of others");
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_becomes_less() {
        let bounds = Bounds::new([(0.into(), 7), (1.into(), 0), (2.into(), 9)].into());
        assert_eq!((bounds.end(0.into()), bounds.end(1.into()), bounds.end(5.into())), (7, 0, 0));
        assert_eq!(bounds.missing(), [0, 1, 2].map(PartitionId::from));
        bounds.arrived(1.into());
        bounds.arrived(0.into());
        assert_eq!(bounds.missing(), [PartitionId::from(2)]);
        assert!(bounds.is_there(1.into()) && !bounds.is_there(2.into()));
        let mut asking = Asking::default();
        assert!(asking.is_due(1_000, &bounds, true) && !asking.is_due(1_499, &bounds, true));
        assert!(asking.is_due(1_500, &bounds, true));
    }
}
