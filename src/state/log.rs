//! The checkpoints of a stream: `<pipeline>/<topic id>/<partition>/`, one manifest and one data file for each.
//!
//! A checkpoint is the state as of a commit of the group (a [`Mark`]). Its data lies under a name that tells its content; its
//! manifest is *created* last, under the commit's number and offset, and never overwritten: a process that was given up and
//! writes a checkpoint of a committed state writes what the owner would, so it does no harm. There is no pointer to the newest.
//! Only the owner of a partition deletes, and only what was superseded for longer than any restore takes.

use std::collections::BTreeMap;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use serde::{Deserialize, Serialize};

use super::checkpoint::checksum;
use super::{Checkpoint, Fingerprint, Folder, Mark, Store};
use crate::config::Location;
use crate::error::Context;
use crate::runtime::stream::{Checkpoints, Durable, Found};
use crate::{Error, Result};

/// Checkpoints that are kept of a partition.
const KEPT: usize = 3;
/// How long a checkpoint stays after it was superseded: longer than a restore that reads it may take.
const GRACE: Duration = Duration::from_secs(600);
/// Checkpoints that may wait to be written.
const QUEUE: usize = 4;

/// What there is to know of a checkpoint without reading it.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
struct Written {
    format: u32,
    mark: Mark,
    position: u64,
    keys: u64,
    data: String,
    bytes: u64,
    crc32: u32,
    environment: BTreeMap<String, String>,
}

/// The checkpoints of one topic, and the thread that writes them.
pub struct Log {
    folder: Folder,
    /// Checkpoints that could not be loaded: not to be found again.
    damaged: Vec<(u32, Mark)>,
    jobs: Option<Sender<Job>>,
    done: Receiver<Result<Durable>>,
    waiting: usize,
    writer: Option<JoinHandle<()>>,
}

enum Job {
    Write(u32, Box<Checkpoint>),
    Release(u32),
}

impl Log {
    /// The checkpoints of a pipeline on a topic, whether there are any or not. State that another pipeline made, or of
    /// another topic of that name, is refused with the choices.
    ///
    /// # Errors
    /// Those, and a store that can't be read or written.
    pub fn open(location: &Location, pipeline: &str, topic_id: &str, fingerprint: &Fingerprint) -> Result<Log> {
        let mut store = Store::open(location, pipeline)?;
        for change in store.begin(fingerprint)? {
            tracing::warn!(
                section = change.section,
                before = change.before,
                now = change.now,
                "the last bits of new output may differ from those of the old"
            );
        }
        let root = store.folder().clone();
        let name = folder_name(topic_id);
        if let Some(other) = root.folders()?.into_iter().find(|folder| *folder != name) {
            return Err(Error::refused(format!(
                "the state in {root} is of topic id {other}, the topic's id is {name}: it was deleted and made again, and its offsets mean other \
                 records now\nto begin anew: kolk state reset, or another name for the pipeline"
            )));
        }
        let folder = root.folder(&name);
        let (jobs, work) = bounded(QUEUE);
        let (tell, done) = unbounded();
        let mut writer = Writer {
            folder: folder.clone(),
            environment: fingerprint.environment.clone(),
            superseded: BTreeMap::new(),
        };
        let writer = std::thread::Builder::new()
            .name("kolk-checkpoints".into())
            .spawn(move || writer.run(&work, &tell))
            .or_failed(|| "cannot start the thread that writes checkpoints".into())?;
        Ok(Log { folder, damaged: Vec::new(), jobs: Some(jobs), done, waiting: 0, writer: Some(writer) })
    }

    fn manifests(&self, partition: u32) -> Result<Vec<Mark>> {
        let files = partition_folder(&self.folder, partition).files()?;
        let mut marks: Vec<Mark> = files.iter().filter_map(|name| mark_of(name)).collect();
        marks.sort_by_key(|mark| (mark.sequence, mark.offset));
        Ok(marks)
    }
}

impl Checkpoints for Log {
    fn find(&mut self, partition: u32, committed: Mark) -> Result<Found> {
        let marks = self.manifests(partition)?;
        let sound = |mark: &&Mark| !self.damaged.contains(&(partition, **mark));
        let before = |mark: &&Mark| mark.sequence <= committed.sequence && mark.offset <= committed.offset;
        Ok(Found { usable: marks.iter().filter(before).rfind(sound).copied(), newest: marks.last().copied() })
    }

    fn load(&mut self, partition: u32, mark: Mark) -> Result<Checkpoint> {
        let loaded = load(&partition_folder(&self.folder, partition), mark);
        if loaded.is_err() {
            self.damaged.push((partition, mark));
        }
        loaded
    }

    fn write(&mut self, partition: u32, checkpoint: Checkpoint) -> Result<()> {
        let gone = || Error::failed("the thread that writes checkpoints has ended");
        let jobs = self.jobs.as_ref().ok_or_else(gone)?;
        jobs.send(Job::Write(partition, Box::new(checkpoint))).map_err(|_| gone())?;
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

    fn release(&mut self, partition: u32) {
        if let Some(jobs) = &self.jobs {
            // A writer that has ended deletes nothing.
            let _ = jobs.send(Job::Release(partition));
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(writer) = self.writer.take() {
            // It tells its errors by the channel, not by a panic.
            let _ = writer.join();
        }
    }
}

/// The thread's side.
struct Writer {
    folder: Folder,
    environment: BTreeMap<String, String>,
    /// Per partition of this process, when each manifest was found superseded.
    superseded: BTreeMap<u32, BTreeMap<String, Instant>>,
}

impl Writer {
    fn run(&mut self, work: &Receiver<Job>, tell: &Sender<Result<Durable>>) {
        for job in work {
            match job {
                Job::Release(partition) => {
                    self.superseded.remove(&partition);
                }
                Job::Write(partition, checkpoint) => {
                    let written = self.write(partition, &checkpoint);
                    if tell.send(written).is_err() {
                        return;
                    }
                }
            }
        }
    }

    fn write(&mut self, partition: u32, checkpoint: &Checkpoint) -> Result<Durable> {
        let started = Instant::now();
        let mark =
            checkpoint.mark.ok_or_else(|| Error::failed("a checkpoint of a stream without a commit: a bug of kolk"))?;
        let folder = partition_folder(&self.folder, partition);
        let bytes = checkpoint.encode()?;
        let crc32 = checksum(&bytes);
        let written = Written {
            format: 1,
            mark,
            position: checkpoint.position,
            keys: checkpoint.keys.len() as u64,
            data: format!("{}-{crc32:08x}.checkpoint", stem(mark)),
            bytes: bytes.len() as u64,
            crc32,
            environment: self.environment.clone(),
        };
        let text = serde_json::to_vec_pretty(&written).or_failed(|| "cannot write a manifest".into())?;
        folder.put(&written.data, bytes)?;
        if !folder.create(&format!("{}.json", stem(mark)), text)? {
            let there = read(&folder, mark)?;
            if there.mark != mark {
                return Err(Error::failed(format!(
                    "{folder}/{}.json is the checkpoint of another history: is another group or pipeline writing to this state?",
                    stem(mark)
                )));
            }
        }
        self.tidy(partition, &folder)?;
        Ok(Durable { partition, mark, bytes: written.bytes, took: started.elapsed() })
    }

    /// Deletes what was superseded long ago.
    fn tidy(&mut self, partition: u32, folder: &Folder) -> Result<()> {
        let files = folder.files()?;
        let mut manifests: Vec<(Mark, &String)> =
            files.iter().filter_map(|name| Some((mark_of(name)?, name))).collect();
        manifests.sort_by_key(|(mark, _)| (mark.sequence, mark.offset));
        manifests.truncate(manifests.len().saturating_sub(KEPT));
        let seen = self.superseded.entry(partition).or_default();
        for (_, name) in manifests {
            let since = *seen.entry(name.clone()).or_insert_with(Instant::now);
            if since.elapsed() < GRACE {
                continue;
            }
            // The manifest first: without its data it would be taken for a damaged one.
            folder.remove(name)?;
            let stem = name.trim_end_matches(".json");
            for data in files.iter().filter(|file| file.starts_with(stem) && file.ends_with(".checkpoint")) {
                folder.remove(data)?;
            }
            seen.remove(name);
        }
        Ok(())
    }
}

fn load(folder: &Folder, mark: Mark) -> Result<Checkpoint> {
    let written = read(folder, mark)?;
    let shown = || format!("{folder}/{}", written.data);
    let Some(bytes) = folder.get(&written.data)? else {
        return Err(Error::failed(format!("{} is missing", shown())));
    };
    if bytes.len() as u64 != written.bytes || checksum(&bytes) != written.crc32 {
        return Err(Error::failed(format!("{} is not what its manifest says", shown())));
    }
    let checkpoint = Checkpoint::decode(&bytes).or_failed(shown)?;
    if checkpoint.mark != Some(written.mark) {
        return Err(Error::failed(format!("{} is of another commit than its manifest", shown())));
    }
    Ok(checkpoint)
}

fn read(folder: &Folder, mark: Mark) -> Result<Written> {
    let name = format!("{}.json", stem(mark));
    let Some(bytes) = folder.get(&name)? else {
        return Err(Error::failed(format!("{folder}/{name} is missing")));
    };
    serde_json::from_slice(&bytes).or_failed(|| format!("{folder}/{name} is damaged"))
}

fn partition_folder(folder: &Folder, partition: u32) -> Folder {
    folder.folder(&format!("{partition:05}"))
}

/// An id is base64, of which not all is fit for the name of a folder.
fn folder_name(topic_id: &str) -> String {
    format!("topic-{}", topic_id.replace('/', "_").replace('+', "-"))
}

fn stem(mark: Mark) -> String {
    format!("{:020}-{:020}-{:016x}", mark.sequence, mark.offset, mark.hash)
}

fn mark_of(name: &str) -> Option<Mark> {
    let mut parts = name.strip_suffix(".json")?.split('-');
    let mark = Mark {
        sequence: parts.next()?.parse().ok()?,
        offset: parts.next()?.parse().ok()?,
        hash: u64::from_str_radix(parts.next()?, 16).ok()?,
    };
    parts.next().is_none().then_some(mark)
}
