//! The checkpoints of a stream from which `kolk state adopt` can continue.

use super::chain::{Entry, Place, Unread, partition_folder, places};
use super::{CommitPosition, ModelEpoch, Store};
use crate::record::PartitionId;
use crate::storage::Folder;
use crate::{Error, Result};

/// A checkpoint that can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// The commit that it is the state of.
    pub at: CommitPosition,
    /// The active model version.
    pub epoch: ModelEpoch,
    /// Records of the partition before it.
    pub position: u64,
    /// Keys it has.
    pub keys: u64,
}

/// The checkpoints of one topic.
pub struct Kept {
    folder: Folder,
    fingerprint: String,
}

/// Those of a partition.
#[derive(Debug)]
pub struct Chosen {
    /// Newest first, without those that are known to be damaged.
    pub saved: Vec<Saved>,
    /// The highest number of any, readable or not.
    pub highest: u64,
}

impl Kept {
    /// Those of a store on a topic; refused if its state is of another topic.
    ///
    /// # Errors
    /// That, no state, and an unreadable store.
    pub fn open(store: &Store, topic_id: &str) -> Result<Kept> {
        let Some(fingerprint) = store.fingerprint()? else {
            return Err(Error::refused(format!("pipeline {} has no state in {}", store.pipeline(), store.folder())));
        };
        Ok(Kept { folder: super::Log::of_topic(store, topic_id)?, fingerprint: fingerprint.hash()? })
    }

    /// The checkpoints of a partition. Unreadable ones are logged and left out.
    ///
    /// # Errors
    /// A store that can't be read.
    pub fn of(&self, partition: PartitionId) -> Result<Chosen> {
        let folder = partition_folder(&self.folder, partition);
        let places = places(&folder.files()?);
        let highest = places.last().map_or(0, |place| place.sequence);
        let mut saved = Vec::new();
        for place in places.into_iter().rev() {
            match Entry::read(&folder, place).and_then(|entry| entry.of(&self.fingerprint, &folder)) {
                Ok(Entry { at, epoch, position, keys, .. }) => saved.push(Saved { at, epoch, position, keys }),
                Err(Unread::Store(error)) => return Err(error),
                Err(Unread::Damaged(error)) => {
                    tracing::warn!(partition = partition.number, topic = partition.topic.name(), %error, "a checkpoint can't be read")
                }
            }
        }
        Ok(Chosen { saved, highest })
    }

    /// Whether all of a checkpoint can be read.
    ///
    /// # Errors
    /// A store that can't be read.
    pub fn is_whole(&self, partition: PartitionId, saved: &Saved) -> Result<bool> {
        let folder = partition_folder(&self.folder, partition);
        match Entry::read(&folder, Place::of(saved.at, &saved.epoch)).and_then(|entry| entry.load(&folder)) {
            Ok(_) => Ok(true),
            Err(Unread::Store(error)) => Err(error),
            Err(Unread::Damaged(error)) => {
                tracing::warn!(partition = partition.number, topic = partition.topic.name(), %error, "a checkpoint can't be read: taking an older one");
                Ok(false)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::log_tests::{at, files, first, written_to};
    use super::super::log_writer::GRACE;
    use super::*;
    use crate::config::Location;

    fn open(root: &Path, topic_id: &str) -> Result<Kept> {
        let folder = Folder::open(&Location(root.display().to_string())).unwrap();
        Kept::open(&Store::at(folder, "p"), topic_id)
    }

    #[test]
    fn the_newest_that_is_whole_can_be_chosen() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        assert!(open(root, "id").is_err(), "there is no state");
        drop(written_to(root, GRACE, 4));
        assert!(open(root, "other").is_err(), "the topic was created again");
        let kept = open(root, "id").unwrap();
        let Chosen { saved, highest } = kept.of(3.into()).unwrap();
        let newest = Saved { at: at(4), epoch: first(), position: 4, keys: saved[0].keys };
        assert_eq!((&saved[0], saved.len(), highest), (&newest, 4, 4));
        assert!(kept.is_whole(3.into(), &saved[0]).unwrap());
        let (manifest, data): (Vec<_>, Vec<_>) = files(root, "")
            .into_iter()
            .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(&format!("{:020}-", 4)))
            .partition(|path| path.extension().is_some_and(|ending| ending == "json"));
        std::fs::write(&data[0], b"not what it was").unwrap();
        assert!(!kept.is_whole(3.into(), &saved[0]).unwrap() && kept.is_whole(3.into(), &saved[1]).unwrap());
        std::fs::write(&manifest[0], b"{").unwrap();
        let Chosen { saved, highest } = kept.of(3.into()).unwrap();
        assert_eq!((saved[0].at, saved.len(), highest), (at(3), 3, 4));
        let none = kept.of(5.into()).unwrap();
        assert_eq!((none.saved.len(), none.highest), (0, 0));
    }
}
