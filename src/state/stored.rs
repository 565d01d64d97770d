//! The newest checkpoints of a pipeline, whichever way its partitions are committed, for those who look at them from
//! outside.

use super::chain::{Entry, Place, TOPIC, partition_folder, places, topic_folder};
use super::{Checkpoint, Manifest, RowSpan, Store};
use crate::record::{PartitionId, SourceTopic};
use crate::state::shown;
use crate::storage::Folder;
use crate::{Error, Result};

/// The newest checkpoint of a partition.
#[derive(Debug)]
pub struct Stored {
    /// The partition.
    pub partition: PartitionId,
    /// Number of the commit.
    pub sequence: u64,
    /// Records of the partition that are done.
    pub position: u64,
    /// From Kafka to Kafka: offset of the next message.
    pub offset: Option<i64>,
    /// Keys the partition has.
    pub keys: u64,
    /// Bytes of its files.
    pub bytes: u64,
    /// Whether the source was at its end.
    pub finished: bool,
    lies: Lies,
}

#[derive(Debug)]
enum Lies {
    Commit(Box<Manifest>),
    Log(Folder, Box<Entry>),
}

impl Stored {
    /// The checkpoint itself.
    ///
    /// # Errors
    /// A store that can't be read, a checkpoint that is damaged.
    pub fn load(&self, store: &Store) -> Result<Checkpoint> {
        match &self.lies {
            Lies::Commit(manifest) => store.load(manifest),
            Lies::Log(folder, entry) => entry.load(folder).map_err(Error::from),
        }
    }

    /// Whose words are where in a row; `None` where only the pipeline's fingerprint says it. On Kafka, partitions may
    /// be of different versions of the model.
    pub fn spans(&self) -> Option<&[RowSpan]> {
        match &self.lies {
            Lies::Commit(manifest) => Some(manifest.rows.as_slice()).filter(|rows| !rows.is_empty()),
            Lies::Log(_, entry) => Some(&entry.spans),
        }
    }

    /// The active model version, empty without one.
    pub fn model(&self) -> Option<&str> {
        match &self.lies {
            Lies::Commit(manifest) => Some(shown(&manifest.model)).filter(|model| !model.is_empty()),
            Lies::Log(_, entry) => Some(shown(&entry.epoch.model)),
        }
    }

    fn of_commit(manifest: Manifest) -> Stored {
        Stored {
            partition: manifest.id(),
            sequence: manifest.sequence,
            position: manifest.position,
            offset: None,
            keys: manifest.keys,
            bytes: manifest.checkpoint_bytes,
            finished: manifest.finished,
            lies: Lies::Commit(Box::new(manifest)),
        }
    }

    fn of_log(partition: PartitionId, folder: Folder, entry: Entry) -> Stored {
        Stored {
            partition,
            sequence: entry.at.sequence,
            position: entry.position,
            offset: Some(entry.at.offset),
            keys: entry.keys,
            bytes: entry.bytes(),
            finished: false,
            lies: Lies::Log(folder, Box::new(entry)),
        }
    }
}

impl Store {
    /// The newest checkpoint of every partition that has one.
    ///
    /// # Errors
    /// A store that can't be read, a manifest that is damaged.
    pub fn stored(&self) -> Result<Vec<Stored>> {
        let mut all: Vec<Stored> = self.status()?.into_iter().map(Stored::of_commit).collect();
        let known = self.topics()?;
        for name in self.folder().folders()?.into_iter().filter(|name| name.starts_with(TOPIC)) {
            let of = known.iter().map(|known| known.of).find(|of| topic_folder(of.id()) == name);
            let topic = self.folder().folder(&name);
            for number in topic.folders()?.into_iter().filter_map(|name| name.parse::<u32>().ok()) {
                let partition = PartitionId::of(of.unwrap_or(SourceTopic::ONLY), number);
                let folder = partition_folder(&topic, number.into());
                let newest: Option<Place> = places(&folder.files()?).last().copied();
                if let Some(newest) = newest {
                    let entry = Entry::read(&folder, newest)?;
                    all.push(Stored::of_log(partition, folder, entry));
                }
            }
        }
        Ok(all)
    }
}
