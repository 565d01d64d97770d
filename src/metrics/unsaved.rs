//! How old the oldest state is that no checkpoint has: what a restart would have to replay, or read again.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::record::PartitionId;

/// Partitions whose state is newer than their newest checkpoint.
#[derive(Debug, Default)]
pub struct Unsaved(Mutex<BTreeMap<PartitionId, Since>>);

/// Since when a partition has state that no checkpoint has.
#[derive(Debug, Default)]
struct Since {
    /// State that a checkpoint has which is being written.
    saving: Option<Instant>,
    /// State that came after it.
    changed: Option<Instant>,
}

impl Unsaved {
    /// A partition has state that its newest checkpoint, also one that is being written, doesn't have.
    pub fn changed(&self, partition: PartitionId) {
        self.all().entry(partition).or_default().changed.get_or_insert_with(Instant::now);
    }

    /// A checkpoint of all that a partition has begins to be written.
    pub fn saving(&self, partition: PartitionId) {
        if let Some(since) = self.all().get_mut(&partition) {
            let changed = since.changed.take();
            since.saving = since.saving.or(changed);
        }
    }

    /// It was written.
    pub fn saved(&self, partition: PartitionId) {
        if let Some(since) = self.all().get_mut(&partition) {
            since.saving = None;
        }
    }

    /// The partition is no longer this process'.
    pub fn gone(&self, partition: PartitionId) {
        self.all().remove(&partition);
    }

    /// The age of the oldest; zero where all is saved.
    pub fn oldest(&self) -> Duration {
        let all = self.all();
        let oldest = all.values().filter_map(|since| since.saving.or(since.changed)).min();
        oldest.map_or(Duration::ZERO, |since| since.elapsed())
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<PartitionId, Since>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_counts_until_it_is_written() {
        let (unsaved, wait) = (Unsaved::default(), || std::thread::sleep(Duration::from_millis(20)));
        let (one, two): (PartitionId, PartitionId) = (1.into(), 2.into());
        unsaved.saving(one);
        unsaved.saved(one);
        assert_eq!(unsaved.oldest(), Duration::ZERO, "nothing changed");
        unsaved.changed(one);
        wait();
        unsaved.changed(two);
        unsaved.changed(one);
        unsaved.saving(two);
        unsaved.saved(two);
        let of_one = unsaved.oldest();
        assert!(of_one >= Duration::from_millis(20), "another partition's checkpoint changes nothing");
        unsaved.saving(one);
        wait();
        unsaved.changed(one);
        assert!(unsaved.oldest() >= of_one, "one that is being written is not there yet");
        let later = unsaved.oldest();
        unsaved.saved(one);
        assert!(unsaved.oldest() < later, "what came after it is younger");
        assert!(!unsaved.oldest().is_zero());
        unsaved.gone(one);
        assert_eq!(unsaved.oldest(), Duration::ZERO);
    }
}
