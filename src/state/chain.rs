//! The content of a partition's folder of the log: manifests, and the files that they name: a base and the deltas on
//! it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

use super::sections::checksum;
use super::{Checkpoint, CommitPosition, ModelEpoch, RowSpan, delta};
use crate::Error;
use crate::error::Context;
use crate::record::PartitionId;
use crate::storage::Folder;

/// Version of the manifest's format.
const FORMAT: u32 = 1;

/// Everything about a checkpoint without its data: `<sequence>-<offset>-<epoch>.json`.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub(super) struct Entry {
    pub format: u32,
    #[serde(rename = "mark")]
    pub at: CommitPosition,
    /// The active model version.
    #[serde(rename = "era")]
    pub epoch: ModelEpoch,
    /// Layout of a row: the words of each stage.
    pub spans: Vec<RowSpan>,
    pub position: u64,
    pub keys: u64,
    /// A base and the deltas on it, in order.
    pub files: Vec<File>,
    /// Hash of the fingerprint of the pipeline that made it.
    pub fingerprint: String,
    /// What it was computed with: ONNX Runtime, CPU features.
    pub environment: BTreeMap<String, String>,
}

/// A file next to the manifest.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub(super) struct File {
    pub name: String,
    pub bytes: u64,
    pub crc32: u32,
}

/// Position of a checkpoint among those of its partition, as in its manifest's name. A model swap writes its checkpoint
/// before it is committed, so that of one number and offset there may be several, of different epochs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub sequence: u64,
    pub offset: i64,
    /// Stands for an [`ModelEpoch`]: [`Place::tag`].
    pub epoch: u32,
}

impl Place {
    /// The place of a position in a model epoch.
    pub fn of(at: CommitPosition, epoch: &ModelEpoch) -> Place {
        Place { sequence: at.sequence, offset: at.offset, epoch: Place::tag(epoch) }
    }

    /// The short id of an epoch.
    pub fn tag(epoch: &ModelEpoch) -> u32 {
        XxHash3_64::oneshot_with_seed(epoch.from, epoch.model.as_bytes()) as u32
    }

    /// From the name of a manifest.
    pub fn of_manifest(name: &str) -> Option<Place> {
        Place::of_stem(name.strip_suffix(".json")?)
    }

    /// From the name of a manifest or of a file that a process wrote for it.
    pub fn of_file(name: &str) -> Option<Place> {
        Place::of_stem(name.split('.').next()?)
    }

    fn of_stem(stem: &str) -> Option<Place> {
        let mut parts = stem.split('-');
        let (sequence, offset) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        Some(Place { sequence, offset, epoch: u32::from_str_radix(parts.next()?, 16).ok()? })
    }

    /// What the names of its files begin with; names sort as places do.
    pub fn stem(self) -> String {
        format!("{:020}-{:020}-{:08x}", self.sequence, self.offset, self.epoch)
    }

    /// Name of its manifest.
    pub fn manifest(self) -> String {
        format!("{}.json", self.stem())
    }
}

/// How reading failed.
#[derive(Debug)]
pub(super) enum Unread {
    /// The store can't be read at present; the checkpoint may be sound.
    Store(Error),
    /// It is damaged or missing.
    Damaged(Error),
}

impl From<Unread> for Error {
    fn from(unread: Unread) -> Error {
        match unread {
            Unread::Store(error) | Unread::Damaged(error) => error,
        }
    }
}

impl Entry {
    /// The entry of a checkpoint at a position, with the files that it is made of.
    pub fn new(at: CommitPosition, checkpoint: &Checkpoint, files: Vec<File>) -> Entry {
        Entry {
            format: FORMAT,
            at,
            epoch: checkpoint.epoch.clone(),
            spans: checkpoint.spans.clone(),
            position: checkpoint.position,
            keys: checkpoint.keys.len() as u64,
            files,
            fingerprint: String::new(),
            environment: BTreeMap::new(),
        }
    }

    /// Its position in the chain.
    pub fn place(&self) -> Place {
        Place::of(self.at, &self.epoch)
    }

    /// Bytes of all its files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// It, if the pipeline of this fingerprint made it.
    pub fn of(self, fingerprint: &str, folder: &Folder) -> std::result::Result<Entry, Unread> {
        if self.fingerprint == fingerprint {
            return Ok(self);
        }
        let name = self.place().manifest();
        Err(Unread::Damaged(Error::failed(format!("{folder}: {name} was made by another pipeline"))))
    }

    /// The manifest at a place.
    pub fn read(folder: &Folder, place: Place) -> std::result::Result<Entry, Unread> {
        let name = place.manifest();
        let bytes = get(folder, &name)?;
        let entry: Entry = serde_json::from_slice(&bytes)
            .or_failed(|| format!("{folder}/{name} is damaged"))
            .map_err(Unread::Damaged)?;
        if entry.format != FORMAT || entry.place() != place || entry.files.is_empty() {
            return Err(Unread::Damaged(Error::failed(format!("{folder}/{name} isn't what this kolk writes"))));
        }
        Ok(entry)
    }

    /// The checkpoint itself.
    pub fn load(&self, folder: &Folder) -> std::result::Result<Checkpoint, Unread> {
        let mut checkpoint: Option<Checkpoint> = None;
        for file in &self.files {
            let shown = || format!("{folder}/{}", file.name);
            let bytes = get(folder, &file.name)?;
            if bytes.len() as u64 != file.bytes || checksum(&bytes) != file.crc32 {
                return Err(Unread::Damaged(Error::failed(format!("{} is not what its manifest says", shown()))));
            }
            let next = match checkpoint.take() {
                None => Checkpoint::decode(&bytes),
                Some(base) => delta::apply(&bytes, base),
            };
            checkpoint = Some(next.or_failed(shown).map_err(Unread::Damaged)?);
        }
        let checkpoint = checkpoint.filter(|checkpoint| checkpoint.at == Some(self.at)).ok_or_else(|| {
            let name = self.place().manifest();
            Unread::Damaged(Error::failed(format!("{folder}/{name}: its files are of another commit")))
        })?;
        Ok(Checkpoint { epoch: self.epoch.clone(), spans: self.spans.clone(), ..checkpoint })
    }
}

fn get(folder: &Folder, name: &str) -> std::result::Result<Vec<u8>, Unread> {
    match folder.get(name).map_err(Unread::Store)? {
        Some(bytes) => Ok(bytes),
        None => Err(Unread::Damaged(Error::failed(format!("{folder}/{name} is missing")))),
    }
}

/// The places of all manifests of a folder, oldest first.
pub(super) fn places(files: &[String]) -> Vec<Place> {
    let mut places: Vec<Place> = files.iter().filter_map(|name| Place::of_manifest(name)).collect();
    places.sort();
    places
}

/// The folder of a partition: that of its number, in a folder of its topic where there are several.
pub(super) fn partition_folder(folder: &Folder, partition: PartitionId) -> Folder {
    let number = format!("{:05}", partition.number);
    match partition.topic.name() {
        None => folder.folder(&number),
        Some(_) => folder.folder(&topic_folder(partition.topic.id())).folder(&number),
    }
}

/// What the folder of a topic begins with.
pub(super) const TOPIC: &str = "topic-";

/// The folder of a topic. An id is base64, and not all of its characters may be in a name.
pub(super) fn topic_folder(topic_id: &str) -> String {
    format!("{TOPIC}{}", topic_id.replace('/', "_").replace('+', "-"))
}
