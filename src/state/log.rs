//! The checkpoints of a stream: manifests `<pipeline>/topic-<id>/<partition>/<sequence>-<offset>-<epoch>.json`, and
//! next to each the files that it names.
//!
//! A checkpoint is the state as of a commit of the group (a [`CommitPosition`]). Its data lies under a name that no
//! other process uses; its manifest is *created* last, under the commit's number, offset and [`ModelEpoch`], and never
//! overwritten: a process that was given up and writes a checkpoint of a committed state writes what the owner would,
//! so it does no harm. There is no pointer to the newest. A checkpoint is written whole (a base), or as what changed
//! since the last one (a delta), which this process knows to be stored; a restore reads a base and the deltas on it. A
//! swap of the model writes its checkpoint before it is committed; one that never was is found by no commit, since none
//! has its epoch. The thread that writes and deletes is [`super::log_writer`].

use std::collections::BTreeSet;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::chain::{Entry, Place, TOPIC, Unread, partition_folder, places, topic_folder};
use super::delta::Outline;
use super::log_writer::{GRACE, Job, Owned, Writer};
use super::{Checkpoint, CommitPosition, Fingerprint, ModelEpoch, Store};
use crate::config::Location;
use crate::error::Context;
use crate::record::PartitionId;
use crate::state::{Change, Checkpoints, Durable, Found, Loaded};
use crate::storage::Folder;
use crate::{Error, Result};

/// The checkpoints of one topic, and the threads that write and read them.
pub struct Log {
    folder: Folder,
    fingerprint: String,
    /// Checkpoints that could not be loaded; they are skipped.
    damaged: BTreeSet<(PartitionId, Place)>,
    /// Partitions of which superseded checkpoints may be deleted.
    owned: Owned,
    /// Not bounded: there is at most one checkpoint of a partition at a time, and it shares its rows with the
    /// partition.
    jobs: Option<Sender<Job>>,
    done: Receiver<Result<Durable>>,
    waiting: usize,
    writer: Option<JoinHandle<()>>,
    reader: LogReader,
    loading: usize,
}

impl Log {
    /// The checkpoints of a pipeline on a topic, whether there are any or not. State that another pipeline made, or of
    /// another topic of that name, is refused with the choices.
    ///
    /// # Errors
    /// Those, and a store that can't be read or written.
    pub fn open(location: &Location, pipeline: &str, topic_id: &str, fingerprint: &Fingerprint) -> Result<Log> {
        Log::over(Store::open(location, pipeline)?, topic_id, fingerprint, GRACE)
    }

    /// As [`Log::open`] in an open store, with another grace period.
    pub(super) fn over(mut store: Store, topic_id: &str, fingerprint: &Fingerprint, grace: Duration) -> Result<Log> {
        store.begin(fingerprint)?.environment.iter().for_each(Change::warn);
        let folder = Log::of_topic(&store, topic_id)?;
        let owned = Owned::default();
        let (jobs, work) = unbounded();
        let (tell, done) = unbounded();
        let hash = fingerprint.hash()?;
        let mut writer =
            Writer::new(folder.clone(), owned.clone(), hash.clone(), fingerprint.environment.clone(), grace);
        let writer = std::thread::Builder::new()
            .name("kolk-checkpoints".into())
            .spawn(move || writer.run(&work, &tell))
            .or_failed(|| "cannot start the thread that writes checkpoints".into())?;
        Ok(Log {
            reader: LogReader::start(folder.clone(), hash.clone())?,
            loading: 0,
            folder,
            fingerprint: hash,
            damaged: BTreeSet::new(),
            owned,
            jobs: Some(jobs),
            done,
            waiting: 0,
            writer: Some(writer),
        })
    }

    /// The folder of a topic's checkpoints, or without an id of those of several topics; refused if there are some of
    /// another topic.
    pub(super) fn of_topic(store: &Store, topic_id: &str) -> Result<Folder> {
        let root = store.folder();
        if topic_id.is_empty() {
            // Of several, each partition has that of its topic.
            return Ok(root.clone());
        }
        let name = topic_folder(topic_id);
        let mut others = root.folders()?.into_iter().filter(|folder| folder.starts_with(TOPIC));
        match others.find(|folder| *folder != name) {
            None => Ok(root.folder(&name)),
            Some(other) => Err(Error::refused(format!(
                "the state in {root} is of {other}, the topic is {name}: it was deleted and created again, and its \
                 offsets \
                 mean other records now\nto start from scratch: kolk state reset, or another name for the pipeline"
            ))),
        }
    }

    /// Refuses what [`Log::open`] would refuse, without touching anything.
    ///
    /// # Errors
    /// That, and a store that can't be read.
    pub fn agrees(location: &Location, pipeline: &str, topic_id: &str, fingerprint: &Fingerprint) -> Result<()> {
        let store = Store::open(location, pipeline)?;
        if store.agrees(fingerprint)?.is_some() {
            Log::of_topic(&store, topic_id)?;
        }
        Ok(())
    }

    fn send(&self, job: Job) -> Result<()> {
        let gone = || Error::failed("the thread that writes checkpoints has ended");
        self.jobs.as_ref().ok_or_else(gone)?.send(job).map_err(|_| gone())
    }

    /// The manifest at a place, unless it is damaged or gone: then it is skipped from now on.
    fn entry(&mut self, partition: PartitionId, place: Place) -> Result<Option<Entry>> {
        if self.damaged.contains(&(partition, place)) {
            return Ok(None);
        }
        let read = Entry::read(&partition_folder(&self.folder, partition), place)
            .and_then(|entry| entry.of(&self.fingerprint, &self.folder));
        match read {
            Ok(entry) => Ok(Some(entry)),
            Err(Unread::Store(error)) => Err(error),
            Err(Unread::Damaged(error)) => {
                tracing::warn!(partition = partition.number, topic = partition.topic.name(), sequence = place.sequence, %error, "a checkpoint can't be read");
                self.damaged.insert((partition, place));
                Ok(None)
            }
        }
    }
}

/// What the reading thread found at a place.
type Read = (PartitionId, Place, std::result::Result<(Entry, Checkpoint), Unread>);

/// The thread that reads checkpoints, one after the other.
struct LogReader {
    wanted: Sender<(PartitionId, Place)>,
    done: Receiver<Read>,
}

impl LogReader {
    fn start(folder: Folder, fingerprint: String) -> Result<LogReader> {
        let (wanted, work) = unbounded();
        let (tell, done) = unbounded();
        let read = move |(partition, place): (PartitionId, Place)| {
            let folder = partition_folder(&folder, partition);
            let loaded = Entry::read(&folder, place)
                .and_then(|entry| entry.of(&fingerprint, &folder))
                .and_then(|entry| entry.load(&folder).map(|checkpoint| (entry, checkpoint)));
            (partition, place, loaded)
        };
        std::thread::Builder::new()
            .name("kolk-restore".into())
            .spawn(move || {
                // It ends when there are no more requests or the receiver is gone.
                work.into_iter().map(read).all(|read| tell.send(read).is_ok())
            })
            .or_failed(|| "cannot start the thread that reads checkpoints".into())?;
        Ok(LogReader { wanted, done })
    }

    fn send(&self, wanted: (PartitionId, Place)) -> Result<()> {
        self.wanted.send(wanted).map_err(|_| Error::failed("the thread that reads checkpoints has ended"))
    }
}

impl Log {
    /// Records the result of a read: the writer may continue from the checkpoint, or it must not be found again.
    fn take(&mut self, (partition, place, read): Read) -> Result<Loaded> {
        self.loading = self.loading.saturating_sub(1);
        let (Place { sequence, offset, .. }, mut hash) = (place, 0);
        let checkpoint = match read {
            Ok((entry, checkpoint)) => {
                hash = entry.at.hash;
                if let Some(outline) = Outline::of(&checkpoint)? {
                    self.send(Job::Known(partition, outline, entry.files))?;
                }
                Ok(checkpoint)
            }
            Err(unread) => {
                if matches!(unread, Unread::Damaged(_)) {
                    self.damaged.insert((partition, place));
                }
                Err(unread.into())
            }
        };
        Ok(Loaded { partition, at: CommitPosition { sequence, offset, hash }, checkpoint })
    }
}

impl Checkpoints for Log {
    fn find(&mut self, partition: PartitionId, committed: CommitPosition, epoch: &ModelEpoch) -> Result<Found> {
        let places = places(&partition_folder(&self.folder, partition).files()?);
        let mut found = Found::default();
        if let Some(newest) = places.last().copied() {
            let Place { sequence, offset, .. } = newest;
            let entry = self.entry(partition, newest)?;
            found.newest = Some(entry.map_or(CommitPosition { sequence, offset, hash: 0 }, |entry| entry.at));
        }
        let at = Place::of(committed, epoch);
        for place in places.into_iter().rev().filter(|place| place.epoch == at.epoch) {
            let before = place.sequence < committed.sequence && place.offset <= committed.offset;
            if !before && place != at {
                continue;
            }
            let Some(entry) = self.entry(partition, place)?.filter(|entry| entry.epoch == *epoch) else { continue };
            let at = entry.at;
            // The same commit of another history is not a state of this one.
            if before || at.hash == committed.hash || committed.hash == 0 || at.hash == 0 {
                found.usable = Some(at);
                break;
            }
        }
        Ok(found)
    }

    fn load(&mut self, partition: PartitionId, at: CommitPosition, epoch: &ModelEpoch) -> Result<()> {
        self.reader.send((partition, Place::of(at, epoch)))?;
        self.loading += 1;
        Ok(())
    }

    fn loaded(&mut self, timeout: Duration) -> Result<Vec<Loaded>> {
        let mut all = Vec::new();
        if self.loading > 0
            && !timeout.is_zero()
            && let Ok(read) = self.reader.done.recv_timeout(timeout)
        {
            all.push(self.take(read)?);
        }
        while let Ok(read) = self.reader.done.try_recv() {
            all.push(self.take(read)?);
        }
        Ok(all)
    }

    fn write(&mut self, partition: PartitionId, checkpoint: Checkpoint) -> Result<()> {
        self.owned.take(partition);
        self.send(Job::Write(partition, Box::new(checkpoint)))?;
        self.waiting += 1;
        Ok(())
    }

    fn written(&mut self, timeout: Duration) -> Result<Vec<Durable>> {
        let mut all = Vec::new();
        if self.waiting > 0
            && !timeout.is_zero()
            && let Ok(done) = self.done.recv_timeout(timeout)
        {
            self.waiting -= 1;
            all.push(done?);
        }
        while let Ok(done) = self.done.try_recv() {
            self.waiting = self.waiting.saturating_sub(1);
            all.push(done?);
        }
        Ok(all)
    }

    fn release(&mut self, partition: PartitionId) {
        self.owned.release(partition);
        self.damaged.retain(|(of, _)| *of != partition);
        // A writer that has ended has nothing to forget.
        let _ = self.send(Job::Forget(partition));
    }
}

impl Drop for Log {
    /// Checkpoints handed over before are still written.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(writer) = self.writer.take() {
            // It reports its errors by the channel, not by a panic.
            let _ = writer.join();
        }
    }
}
