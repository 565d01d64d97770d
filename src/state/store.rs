//! Where a pipeline's state is kept, and the commit of a partition.
//!
//! The order of a commit makes it safe to be killed between any two steps: (1) parts lie staged under names with a hash
//! of their content; (2) the checkpoint is written, likewise; (3) the manifest is *created* under the partition's next
//! sequence: this is the commit, and it fails where another process was first; (4) parts are moved to their final
//! names; (5) what no kept manifest names is deleted. [`Store::recover`] repeats step 4 for the newest manifest.

use std::collections::BTreeMap;

use super::chain::{partition_folder, topic_folder};
use super::manifest::{OfTopic, STAGED};
use super::sections::checksum;
use super::{Change, Checkpoint, End, Fingerprint, Manifest, Part, SourceFiles, Target};
use crate::config::Location;
use crate::error::{Context, counted};
use crate::record::PartitionId;
use crate::storage::{Folder, unique_name};
use crate::{Error, Result};

/// Checkpoints that are kept of a partition.
const KEPT: u64 = 3;

const PIPELINE: &str = "pipeline.json";

/// What a start finds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Begun {
    /// Changes of the environment, to be logged.
    pub environment: Vec<Change>,
    /// Files of the source that are new since the last start, as messages name them; none at the first start.
    pub new_files: Vec<String>,
}

/// The state of one pipeline.
#[derive(Debug, Clone)]
pub struct Store {
    name: String,
    owner: String,
    folder: Folder,
    output: Option<Folder>,
    dead_letters: Option<Folder>,
    environment: BTreeMap<String, String>,
}

impl Store {
    /// The state of a pipeline under `location`, whether there is any or not. Nothing is created.
    pub fn open(location: &Location, pipeline: &str) -> Result<Store> {
        Ok(Store::at(Folder::open(location)?, pipeline))
    }

    /// As [`Store::open`], in a folder that is open.
    pub fn at(folder: Folder, pipeline: &str) -> Store {
        let owner = unique_name();
        let (folder, environment) = (folder.folder(pipeline), BTreeMap::new());
        Store { name: pipeline.into(), owner, folder, output: None, dead_letters: None, environment }
    }

    /// With the folders that parts belong to; a commit whose parts have no folder fails.
    pub fn with_targets(mut self, output: Option<Folder>, dead_letters: Option<Folder>) -> Store {
        self.output = output;
        self.dead_letters = dead_letters;
        self
    }

    /// Where it is.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Name of the pipeline.
    pub fn pipeline(&self) -> &str {
        &self.name
    }

    /// The pipeline that made the state; `None`: there is no state.
    ///
    /// # Errors
    /// A file that can't be read; refused: that of a later version of kolk.
    pub fn fingerprint(&self) -> Result<Option<Fingerprint>> {
        let found: Option<Fingerprint> = self.json(&self.folder, PIPELINE)?;
        match found {
            Some(later) if later.version > Fingerprint::VERSION => Err(Error::refused(format!(
                "the state in {} was written by a later version of kolk: continue with that version, or delete the \
                 state with \
                 kolk state reset",
                self.folder
            ))),
            found => Ok(found),
        }
    }

    /// Starts with this fingerprint, or resumes existing state with the same fingerprint, whose source may have grown.
    /// Refused otherwise, with the differences.
    pub fn begin(&mut self, fingerprint: &Fingerprint) -> Result<Begun> {
        self.environment = fingerprint.environment.clone();
        self.folder.sweep_abandoned();
        let bytes = serde_json::to_vec_pretty(fingerprint).or_failed(|| "cannot write the fingerprint".into())?;
        let before = match self.fingerprint()? {
            Some(before) => before,
            None if self.folder.create(PIPELINE, bytes)? => return Ok(Begun::default()),
            None => match self.fingerprint()? {
                Some(before) => before,
                None => return Err(Error::failed(format!("{} is being reset by another process", self.folder))),
            },
        };
        let begun = self.compare(&before, fingerprint)?;
        if before.source.files != fingerprint.source.files {
            // Before any of the new ones is read: from now on they are part of what is compared.
            let grown = Fingerprint { source: fingerprint.source.clone(), ..before };
            let bytes = serde_json::to_vec_pretty(&grown).or_failed(|| "cannot write the fingerprint".into())?;
            self.folder.put(PIPELINE, bytes)?;
        }
        Ok(begun)
    }

    /// What is under a name beside the partitions: `bytes`, unless another process was first.
    ///
    /// # Errors
    /// A store that can't be read or written.
    pub fn first_of(&self, name: &str, bytes: Vec<u8>) -> Result<Vec<u8>> {
        match self.folder.get(name)? {
            Some(there) => Ok(there),
            None if self.folder.create(name, bytes.clone())? => Ok(bytes),
            None => match self.folder.get(name)? {
                Some(there) => Ok(there),
                None => Err(Error::failed(format!("{} is being reset by another process", self.folder))),
            },
        }
    }

    /// Refuses a fingerprint that another pipeline's state has, without touching anything. `None`: there is no state.
    pub fn agrees(&self, fingerprint: &Fingerprint) -> Result<Option<Begun>> {
        let Some(before) = self.fingerprint()? else { return Ok(None) };
        self.compare(&before, fingerprint).map(Some)
    }

    fn compare(&self, before: &Fingerprint, fingerprint: &Fingerprint) -> Result<Begun> {
        let changes = before.changes(fingerprint);
        if changes.is_empty() {
            let new_files = self.new_files(before, &fingerprint.source)?;
            return Ok(Begun { environment: before.environment_changes(fingerprint), new_files });
        }
        let mut message =
            format!("the state in {} was made by another pipeline; the state -> the pipeline file:", self.folder);
        for Change { field, before, now } in &changes {
            message += &format!("\n  {field}: {} -> {}", shortened(before), shortened(now));
        }
        message += "\nundo the change, give the pipeline another name, or delete its state: ";
        message += if fingerprint.reset.is_empty() { "kolk state reset" } else { &fingerprint.reset };
        Err(Error::refused(message))
    }

    /// The files of a source that are new to the state. Refused where a file that was read is no longer as it was, or
    /// not all of the new ones come behind those.
    fn new_files(&self, before: &Fingerprint, source: &SourceFiles) -> Result<Vec<String>> {
        if source.files.is_empty() {
            // A topic.
            return Ok(Vec::new());
        }
        if before.has_hash_of_files() {
            return match source.hashed {
                Some(known) => Ok(source.new_since(&source.files[..known])),
                None => Err(Error::refused(format!(
                    "the state in {} has read other files of the source than are there now: files were changed, are \
                     missing, or came before others that were read (an earlier version of kolk kept only a hash of them \
                     all, so which ones is unknown)\n{FILES_REMEDY}",
                    self.folder
                ))),
            };
        }
        let known = &before.source.files;
        // Of some the state may know that they are there, and have read nothing.
        let mut read = 0;
        for manifest in self.status()? {
            read = read.max(manifest.files_read(known.len(), source.hashed));
        }
        let found = source.differences(&known[..read.min(known.len())]);
        if found.is_empty() {
            return Ok(source.new_since(known));
        }
        let lines: String = found.iter().map(|line| format!("\n  {line}")).collect();
        Err(Error::refused(format!(
            "the state in {} has read other files of the source than are there now:{lines}\n{FILES_REMEDY}",
            self.folder
        )))
    }

    /// The newest commit of a partition.
    pub fn latest(&self, partition: PartitionId) -> Result<Option<Manifest>> {
        let folder = self.partition(partition);
        match folder.files()?.iter().filter_map(|name| sequence_of(name)).max() {
            Some(newest) => self.json(&folder, &manifest_name(newest)),
            None => Ok(None),
        }
    }

    /// The newest commit of a partition, its parts moved to their names where a killed process had not, and staged
    /// parts deleted that no commit will ever name. Call it before a partition resumes.
    pub fn recover(&self, partition: PartitionId) -> Result<Option<Manifest>> {
        let Some(newest) = self.latest(partition)? else { return Ok(None) };
        self.roll_forward(&newest)?;
        for (target, folder) in self.targets() {
            let staged = folder.folder(STAGED);
            for file in staged.files()? {
                // At or after the position a part may be another process' that is about to commit it.
                if target.is_before(&file, &self.name, partition, newest.position) {
                    staged.remove(&file)?;
                }
            }
            staged.sweep_abandoned();
        }
        self.partition(partition).sweep_abandoned();
        Ok(Some(newest))
    }

    /// The state of a commit.
    pub fn load(&self, manifest: &Manifest) -> Result<Checkpoint> {
        let folder = self.partition(manifest.id());
        let shown = || format!("{folder}/{}", manifest.checkpoint);
        let Some(bytes) = folder.get(&manifest.checkpoint)? else {
            return Err(Error::failed(format!("{} is missing: {}", shown(), REMEDY)));
        };
        if bytes.len() as u64 != manifest.checkpoint_bytes || checksum(&bytes) != manifest.checkpoint_crc32 {
            return Err(Error::failed(format!("{} is not what its manifest says: {REMEDY}", shown())));
        }
        let checkpoint = Checkpoint::decode(&bytes).or_failed(shown)?;
        if checkpoint.position != manifest.position {
            return Err(Error::failed(format!("{} is of another position than its manifest: {REMEDY}", shown())));
        }
        Ok(checkpoint)
    }

    /// Commits a partition: state as of the checkpoint's position, and the parts written since the `previous` commit.
    /// Fails, having changed nothing a reader sees, if another process committed in between.
    pub fn commit(
        &self,
        partition: PartitionId,
        previous: Option<&Manifest>,
        checkpoint: &Checkpoint,
        parts: Vec<Part>,
        end: Option<End>,
    ) -> Result<Manifest> {
        let folder = self.partition(partition);
        let sequence = previous.map_or(0, |previous| previous.sequence + 1);
        let bytes = checkpoint.encode()?;
        let crc = checksum(&bytes);
        let manifest = Manifest {
            format: 1,
            partition: partition.number,
            topic: OfTopic::of(partition.topic),
            owner: self.owner.clone(),
            sequence,
            position: checkpoint.position,
            origin: checkpoint.origin,
            finished: end.is_some(),
            files: end.as_ref().map(|end| end.files),
            tail: end.as_ref().map(|end| tail(&parts, end.tail)).unwrap_or_default(),
            removes: previous.map(|previous| previous.tail.clone()).unwrap_or_default(),
            keys: checkpoint.keys.len() as u64,
            checkpoint: checkpoint_name(sequence, checkpoint.position, crc),
            checkpoint_bytes: bytes.len() as u64,
            checkpoint_crc32: crc,
            parts,
            counters: end.map_or_else(|| checkpoint.extra.clone(), |end| end.counters),
            model: checkpoint.epoch.model.clone(),
            rows: checkpoint.spans.clone(),
            environment: self.environment.clone(),
        };
        let text = serde_json::to_vec_pretty(&manifest).or_failed(|| "cannot write a manifest".into())?;
        folder.put(&manifest.checkpoint, bytes)?;
        // An object store whose answer was lost is asked again by its client, and then refuses what it has taken.
        let created = folder.create(&manifest_name(sequence), text.clone())?
            || folder.get(&manifest_name(sequence))?.is_some_and(|there| there == text);
        let files = folder.files()?;
        // Manifests are pruned, so a process that slept through several commits finds its number free again.
        let newest = files.iter().filter_map(|name| sequence_of(name)).max();
        if !created || newest != Some(sequence) {
            return Err(Error::failed(format!(
                "another process has taken over partition {partition} of pipeline {} in {}: only one may run at a time",
                self.name, self.folder
            )));
        }
        self.roll_forward(&manifest)?;
        for name in files {
            if number_of(&name).is_some_and(|number| number + KEPT <= sequence) {
                folder.remove(&name)?;
            }
        }
        Ok(manifest)
    }

    /// Moves the parts of a commit to their final names; those that exist already stay. Before that, removes what is
    /// emitted again: readers see no row twice.
    pub fn roll_forward(&self, manifest: &Manifest) -> Result<()> {
        if let Some(output) = &self.output {
            manifest.removes.iter().try_for_each(|name| output.remove(name))?;
        }
        for part in &manifest.parts {
            let folder = match part.target {
                Target::Output => self.output.as_ref(),
                Target::DeadLetters => self.dead_letters.as_ref(),
            };
            let Some(folder) = folder else {
                return Err(Error::failed(format!(
                    "part {} is committed, but the pipeline has no sink for it",
                    part.name
                )));
            };
            if folder.rename(&part.staged, &part.name)? {
                continue;
            }
            match folder.size(&part.name)? {
                Some(bytes) if bytes == part.bytes => {}
                Some(bytes) => {
                    return Err(Error::failed(format!(
                        "{folder}/{} has {}, committed were {}: {REMEDY}",
                        part.name,
                        counted(bytes, "byte"),
                        part.bytes
                    )));
                }
                None => {
                    return Err(Error::failed(format!(
                        "{folder}/{} was committed and is missing: {REMEDY}",
                        part.name
                    )));
                }
            }
        }
        Ok(())
    }

    /// The newest commit of every partition that has one.
    pub fn status(&self) -> Result<Vec<Manifest>> {
        let numbers = |folder: &Folder| -> Result<Vec<u32>> {
            Ok(folder.folders()?.into_iter().filter_map(|name| name.parse().ok()).collect())
        };
        let mut partitions: Vec<PartitionId> = numbers(&self.folder)?.into_iter().map(PartitionId::from).collect();
        for topic in self.topics()? {
            let folder = self.folder.folder(&topic_folder(topic.of.id()));
            partitions.extend(numbers(&folder)?.into_iter().map(|number| PartitionId::of(topic.of, number)));
        }
        partitions.into_iter().filter_map(|partition| self.latest(partition).transpose()).collect()
    }

    /// Deletes the pipeline's state and its staged parts, and nothing of its output.
    pub fn reset(&self) -> Result<()> {
        for (_, folder) in self.targets() {
            let staged = folder.folder(STAGED);
            for file in staged.files()? {
                if file.starts_with(&format!("{}.", self.name)) {
                    staged.remove(&file)?;
                }
            }
        }
        self.tidy();
        // The fingerprint goes last, so that an interrupted reset can be repeated.
        self.folder.remove_all()
    }

    /// Removes folders that staged parts left empty. Only while no partition of this process is being written.
    pub fn tidy(&self) {
        for (_, folder) in self.targets() {
            folder.folder(STAGED).remove_if_empty();
            folder.folder("_kolk").remove_if_empty();
        }
    }

    fn targets(&self) -> impl Iterator<Item = (Target, &Folder)> {
        let output = self.output.iter().map(|folder| (Target::Output, folder));
        output.chain(self.dead_letters.iter().map(|folder| (Target::DeadLetters, folder)))
    }

    fn partition(&self, partition: PartitionId) -> Folder {
        partition_folder(&self.folder, partition)
    }

    pub(super) fn json<T: serde::de::DeserializeOwned>(&self, folder: &Folder, name: &str) -> Result<Option<T>> {
        match folder.get(name)? {
            Some(bytes) => {
                serde_json::from_slice(&bytes).map(Some).or_failed(|| format!("{folder}/{name} is damaged ({REMEDY})"))
            }
            None => Ok(None),
        }
    }
}

/// Names of the last parts of the output.
fn tail(parts: &[Part], count: usize) -> Vec<String> {
    let last = parts.iter().rev().take(count).filter(|part| part.target == Target::Output);
    last.map(|part| part.name.clone()).collect()
}

const FILES_REMEDY: &str = "put the files back as they were and name new ones so that they come last, or read all of \
                            them from scratch: kolk state reset";

const REMEDY: &str = "restore it, or start over with kolk state reset";

fn manifest_name(sequence: u64) -> String {
    format!("{sequence:010}.json")
}

/// Two processes at the same sequence write the same name only for the same bytes (or a collision of crc32, which the
/// fence then still keeps from being used: the position is part of the name).
fn checkpoint_name(sequence: u64, position: u64, crc: u32) -> String {
    format!("{sequence:010}-{position:012}-{crc:08x}.checkpoint")
}

/// The sequence of a manifest's name.
fn sequence_of(name: &str) -> Option<u64> {
    name.strip_suffix(".json")?.parse().ok()
}

/// The sequence of a manifest's or checkpoint's name.
fn number_of(name: &str) -> Option<u64> {
    name.get(..10)?.parse().ok()
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into(),
    }
}
