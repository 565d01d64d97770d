//! The thread that writes the checkpoints of a [`super::Log`] and deletes those that are no longer needed.
//!
//! Only the owner of a partition deletes files, and only those that were superseded for longer than any restore takes
//! and that no kept manifest names.

use std::collections::btree_map::Entry::{Occupied, Vacant};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use super::Checkpoint;
use super::chain::{Entry, File, Place, partition_folder, places};
use super::delta::{self, Outline};
use super::sections::checksum;
use crate::error::Context;
use crate::record::PartitionId;
use crate::state::Durable;
use crate::storage::{Folder, unique_name};
use crate::{Error, Result};

/// Checkpoints that are kept of a partition.
const KEPT: usize = 3;
/// How long a file stays after it was superseded: longer than a restore that reads it may take.
pub const GRACE: Duration = Duration::from_secs(600);
/// Maximum number of deltas on a base.
const DELTAS: usize = 8;

/// Jobs of the thread, in this order.
pub(super) enum Job {
    /// Write a checkpoint and report it.
    Write(PartitionId, Box<Checkpoint>),
    /// This checkpoint is stored, in these files: the next may be a delta on it.
    Known(PartitionId, Outline, Vec<File>),
    /// The partition may get another owner.
    Forget(PartitionId),
}

/// The partitions of which files may be deleted.
#[derive(Debug, Clone, Default)]
pub(super) struct Owned(Arc<Mutex<BTreeSet<PartitionId>>>);

impl Owned {
    /// From now on the partition is this process's.
    pub fn take(&self, partition: PartitionId) {
        self.lock().insert(partition);
    }

    /// Once it returns, nothing more of the partition is deleted.
    pub fn release(&self, partition: PartitionId) {
        self.lock().remove(&partition);
    }

    /// Deletes a file if its partition is owned, and holds up [`Owned::release`] meanwhile.
    fn remove(&self, partition: PartitionId, folder: &Folder, name: &str) -> Result<()> {
        let owned = self.lock();
        if owned.contains(&partition) { folder.remove(name) } else { Ok(()) }
    }

    // A set of numbers is sound whatever a thread was doing when it panicked.
    fn lock(&self) -> MutexGuard<'_, BTreeSet<PartitionId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread's side.
pub(super) struct Writer {
    folder: Folder,
    owned: Owned,
    /// Part of the names of files, so that no two processes write the same.
    process: String,
    fingerprint: String,
    environment: BTreeMap<String, String>,
    grace: Duration,
    partitions: BTreeMap<PartitionId, Written>,
}

/// What is known of a partition.
#[derive(Default)]
struct Written {
    /// The newest checkpoint that is known to be stored.
    known: Option<(Outline, Vec<File>)>,
    /// Since when each file is superseded.
    superseded: BTreeMap<String, Instant>,
    /// Files that manifests name; those never change.
    named: BTreeMap<Place, Vec<String>>,
}

impl Writer {
    /// A writer into a folder; files that no manifest names are deleted after `grace`.
    pub fn new(
        folder: Folder,
        owned: Owned,
        fingerprint: String,
        environment: BTreeMap<String, String>,
        grace: Duration,
    ) -> Writer {
        Writer { folder, owned, process: unique_name(), fingerprint, environment, grace, partitions: BTreeMap::new() }
    }

    /// Does jobs until all senders are gone; reports each result.
    pub fn run(&mut self, work: &Receiver<Job>, tell: &Sender<Result<Durable>>) {
        for job in work {
            match job {
                Job::Forget(partition) => {
                    self.partitions.remove(&partition);
                }
                Job::Known(partition, outline, files) => {
                    self.partitions.entry(partition).or_default().known = Some((outline, files));
                }
                Job::Write(partition, checkpoint) => {
                    let written = self.write(partition, &checkpoint);
                    let swap = checkpoint.is_swap();
                    let epoch = Place::tag(&checkpoint.epoch);
                    // Dropped before the message is sent, so that the partition gets its pages back without a copy.
                    drop(checkpoint);
                    let failed = written.is_err();
                    if tell.send(written).is_err() {
                        return;
                    }
                    // The checkpoint of a swap supersedes nothing before it is committed.
                    if failed || swap {
                        continue;
                    }
                    if let Err(error) = self.tidy(partition, epoch) {
                        tracing::warn!(partition = partition.number, topic = partition.topic.name(), %error, "superseded checkpoints can't be deleted");
                    }
                }
            }
        }
    }

    fn write(&mut self, partition: PartitionId, checkpoint: &Checkpoint) -> Result<Durable> {
        let started = Instant::now();
        let bug = || Error::failed("a checkpoint of a stream without a commit: internal error, please report");
        let outline = Outline::of(checkpoint)?.ok_or_else(bug)?;
        let (at, epoch) = (outline.at, outline.epoch.clone());
        let place = Place::of(at, &epoch);
        let folder = partition_folder(&self.folder, partition);
        // Until this one is stored, nothing is known: after a failed write comes a base.
        let known = self.partitions.entry(partition).or_default().known.take();
        if let Some((known, files)) = known.as_ref().filter(|(known, _)| known.at == at && known.epoch == epoch) {
            self.partitions.entry(partition).or_default().known = Some((known.clone(), files.clone()));
            return Ok(Durable { partition, at, epoch, bytes: 0, took: started.elapsed() });
        }
        let (bytes, mut files) = match on_base(checkpoint, known.as_ref())? {
            Some((base, changed, files)) => (delta::encode(checkpoint, base, &changed)?, files.to_vec()),
            None => (checkpoint.encode()?, Vec::new()),
        };
        let (crc32, kind) = (checksum(&bytes), if files.is_empty() { "checkpoint" } else { "delta" });
        let name = format!("{}.{}-{crc32:08x}.{kind}", place.stem(), self.process);
        let length = bytes.len() as u64;
        files.push(File { name: name.clone(), bytes: length, crc32 });
        folder.put(&name, bytes)?;
        let entry = Entry {
            fingerprint: self.fingerprint.clone(),
            environment: self.environment.clone(),
            ..Entry::new(at, checkpoint, files)
        };
        let text = serde_json::to_vec_pretty(&entry).or_failed(|| "cannot write a manifest".into())?;
        if folder.create(&place.manifest(), text)? || self.is_there(&folder, &entry)? {
            self.partitions.entry(partition).or_default().known = Some((outline, entry.files));
        } else {
            // Another process wrote the same state; its files are named, this one's never will be.
            folder.remove(&name)?;
        }
        Ok(Durable { partition, at, epoch, bytes: length, took: started.elapsed() })
    }

    /// Whether the existing manifest is this one: an object store whose answer was lost is asked again by its client,
    /// and then refuses what it has taken. False: it is another's of the same state.
    fn is_there(&self, folder: &Folder, entry: &Entry) -> Result<bool> {
        let place = entry.place();
        let there = Entry::read(folder, place)?;
        if there.at != entry.at || there.epoch != entry.epoch || there.fingerprint != entry.fingerprint {
            return Err(Error::failed(format!(
                "{folder}/{} is the checkpoint of another history: is another group or pipeline writing to this state?",
                place.manifest()
            )));
        }
        Ok(there == *entry)
    }

    /// Deletes what was superseded long ago. Only checkpoints of the active epoch, which are those that a restore can
    /// begin with, count as superseding.
    fn tidy(&mut self, partition: PartitionId, epoch: u32) -> Result<()> {
        let folder = partition_folder(&self.folder, partition);
        folder.sweep_abandoned();
        let files = folder.files()?;
        let written = self.partitions.entry(partition).or_default();
        let in_force: Vec<Place> = places(&files).into_iter().filter(|place| place.epoch == epoch).collect();
        let Some(oldest) = written.keep(&folder, &in_force)? else { return Ok(()) };
        let named: BTreeSet<&String> = written.named.values().flatten().collect();
        let mut old: Vec<&String> = files
            .iter()
            .filter(|name| Place::of_file(name).is_some_and(|place| place < oldest) && !named.contains(name))
            .collect();
        // Manifests first: one without its files would look damaged.
        old.sort_by_key(|name| !name.ends_with(".json"));
        written.superseded.retain(|name, _| old.contains(&name));
        for name in old {
            let since = *written.superseded.entry(name.clone()).or_insert_with(Instant::now);
            if since.elapsed() >= self.grace {
                self.owned.remove(partition, &folder, name)?;
            }
        }
        Ok(())
    }
}

impl Written {
    /// The oldest of the checkpoints that are kept: so many, and one at least that has no file in common with the
    /// newest, so that one damaged file never takes all of them. `None`: there are no more than that.
    fn keep(&mut self, folder: &Folder, places: &[Place]) -> Result<Option<Place>> {
        let mut bases = BTreeSet::new();
        let mut kept = Vec::new();
        let mut enough = false;
        for place in places.iter().rev().copied() {
            let names = match self.named.entry(place) {
                Occupied(known) => known.into_mut(),
                // An unreadable one may name any file: then nothing is deleted.
                Vacant(new) => {
                    new.insert(Entry::read(folder, place)?.files.into_iter().map(|file| file.name).collect())
                }
            };
            bases.extend(names.first().cloned());
            kept.push(place);
            enough = kept.len() >= KEPT && bases.len() > 1;
            if enough {
                break;
            }
        }
        self.named.retain(|place, _| kept.contains(place));
        Ok(kept.last().copied().filter(|_| enough))
    }
}

/// Bytes of a checkpoint on average, as a share of a whole one, where each changes this share of all pages: a whole one
/// is followed by as many deltas as [`on_base`] lets it have.
pub fn checkpoint_share(changed: f64) -> f64 {
    let changed = changed.clamp(0.0, 1.0);
    let deltas = if changed > 0.0 { (0.5 / changed).floor().min(DELTAS as f64) } else { DELTAS as f64 };
    (1.0 + deltas * changed) / (1.0 + deltas)
}

/// A delta: the checkpoint that it is based on, the pages that it has, and the files of that checkpoint.
type Delta<'a> = (&'a Outline, Vec<usize>, &'a [File]);

/// What a delta on a known checkpoint has; `None` if a base is due: the chain is long, or has outgrown half of its
/// base.
fn on_base<'a>(checkpoint: &Checkpoint, known: Option<&'a (Outline, Vec<File>)>) -> Result<Option<Delta<'a>>> {
    let Some((base, files)) = known else { return Ok(None) };
    let (Some((first, deltas)), Some(changed)) = (files.split_first(), base.changed(checkpoint)?) else {
        return Ok(None);
    };
    let rows = checkpoint.rows.resolve()?;
    let words: usize = changed.iter().map(|n| rows.page_words(*n)).sum();
    let bytes = deltas.iter().map(|delta| delta.bytes).sum::<u64>() + 8 * words as u64;
    Ok((deltas.len() < DELTAS && bytes <= first.bytes / 2).then_some((base, changed, files.as_slice())))
}
