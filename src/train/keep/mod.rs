//! Training checkpoints: what a training that is killed goes on from, to the same bits.
//!
//! Lives here: when a checkpoint is written, where, and whether one that is found is of this training. Must not live
//! here: what a training consists of: its parts put their numbers into a [`Record`] and take them back.
//!
//! The clock decides when a checkpoint is written, never what a training does. Each phase (training, and training again
//! on all data) of each network has one file: it is written beside, synced and renamed, and begins with the fingerprint
//! of the training that it is of: data, plan and program. The file of a phase that is over stays until the version is
//! published.

mod record;

pub use record::{Number, Record};

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Plan;
use super::fit::Phase;
use crate::error::Context;
use crate::model::registry::{self, sha256};
use crate::storage::unique_name;
use crate::{Error, Result};

/// Folder of the checkpoints in that of the registry; no model has such a name.
const FOLDER: &str = ".training";
/// Numbers that a checkpoint consists of; raised where the same numbers would mean something else.
const FORMAT: u64 = 1;
/// Time between two checkpoints.
pub const EVERY: Duration = Duration::from_secs(10);
/// Writing takes at most this share of the time: 1 / 20.
const SHARE: u32 = 20;
const FINGERPRINT: &str = "fingerprint";
const DATA: &str = "data";

/// Where a training keeps what it goes on from.
#[derive(Debug)]
pub struct Keep {
    folder: Option<PathBuf>,
    every: Duration,
    /// No earlier than this the next one is written.
    due: Instant,
    fingerprint: String,
    data: String,
    /// The network whose checkpoints are meant, of several.
    member: usize,
    /// The fold of a backtest.
    fold: Option<usize>,
    /// The group of keys that has a network of its own.
    group: Option<usize>,
    goes_on: bool,
}

/// What a phase begins with.
#[derive(Debug)]
pub enum Found {
    /// No checkpoint.
    Nothing,
    /// One that is not gone on from, and why, a sentence.
    Not(String),
    /// One of this training, from this file.
    Checkpoint(Box<Record>, PathBuf),
}

impl Keep {
    /// Keeps nothing.
    pub fn nothing() -> Keep {
        let (fingerprint, data) = (String::new(), String::new());
        Keep {
            folder: None,
            every: EVERY,
            due: Instant::now(),
            fingerprint,
            data,
            member: 0,
            fold: None,
            group: None,
            goes_on: false,
        }
    }

    /// In the registry `models`, for the model `name`, about every so often.
    pub fn new(models: &Path, name: &str, every: Duration) -> Keep {
        Keep { folder: Some(models.join(FOLDER).join(name)), every, due: Instant::now() + every, ..Keep::nothing() }
    }

    /// What the checkpoints of this training begin with. What differs from it is another training.
    pub(super) fn begin(&mut self, plan: &Plan, data_hash: &str) {
        if self.folder.is_some() {
            self.fingerprint = fingerprint(plan);
            self.data = data_hash.to_string();
        }
    }

    /// From now on the checkpoints are those of another network of the training.
    pub(super) fn member(&mut self, at: usize) {
        self.member = at;
    }

    /// From now on the checkpoints are those of a fold of a backtest, or no longer.
    pub(super) fn fold(&mut self, fold: Option<usize>) {
        self.fold = fold;
    }

    /// From now on the checkpoints are those of the network of a group, or no longer.
    pub(super) fn group(&mut self, group: Option<usize>) {
        self.group = group;
    }

    /// Whether a checkpoint of this training was found, so that it may have been killed as late as after publishing.
    pub fn goes_on(&self) -> bool {
        self.goes_on
    }

    /// The checkpoint of a phase.
    pub(super) fn find(&mut self, phase: Phase) -> Found {
        self.find_at(self.path(phase))
    }

    /// The trials of `layers: auto` that are over.
    pub(super) fn find_trials(&mut self) -> Found {
        self.find_at(self.trials())
    }

    fn find_at(&mut self, path: Option<PathBuf>) -> Found {
        let Some(path) = path else { return Found::Nothing };
        let record = match fs::read(&path) {
            Ok(bytes) => Record::parse(&bytes),
            Err(error) if error.kind() == ErrorKind::NotFound => return Found::Nothing,
            Err(error) => Err(error.to_string()),
        };
        match record.and_then(|record| self.is_other(&record).map(|other| (record, other))) {
            Ok((record, None)) => {
                self.goes_on = true;
                Found::Checkpoint(Box::new(record), path)
            }
            Ok((_, Some(other))) => Found::Not(format!(
                "the training checkpoint {} is of another training ({other}): starts from scratch",
                path.display()
            )),
            Err(why) => Found::Not(unusable(&path, &why)),
        }
    }

    /// In what a checkpoint's training is another.
    fn is_other(&self, record: &Record) -> std::result::Result<Option<String>, String> {
        let there = record.take_text(FINGERPRINT)?;
        if there != self.fingerprint {
            return Ok(Some(difference(&there, &self.fingerprint)));
        }
        Ok((record.take_text(DATA)? != self.data).then(|| "its data were others".to_string()))
    }

    /// Writes a checkpoint of a phase if one is due. After an error no further one is written; what to say of it.
    pub(super) fn save_if_due(&mut self, phase: Phase, content: impl FnOnce(&mut Record)) -> Option<String> {
        if self.folder.is_none() || Instant::now() < self.due {
            return None;
        }
        self.save(phase, content)
    }

    /// Writes a checkpoint of a phase.
    pub(super) fn save(&mut self, phase: Phase, content: impl FnOnce(&mut Record)) -> Option<String> {
        self.save_at(self.path(phase)?, content)
    }

    /// Writes the trials of `layers: auto` that are over.
    pub(super) fn save_trials(&mut self, content: impl FnOnce(&mut Record)) -> Option<String> {
        self.save_at(self.trials()?, content)
    }

    fn save_at(&mut self, path: PathBuf, content: impl FnOnce(&mut Record)) -> Option<String> {
        let started = Instant::now();
        let mut record = Record::default();
        record.put_text(FINGERPRINT, &self.fingerprint);
        record.put_text(DATA, &self.data);
        content(&mut record);
        let written = write(&path, &record.bytes());
        self.due = Instant::now() + self.every.max(started.elapsed() * if self.every.is_zero() { 0 } else { SHARE });
        let error = written.err()?;
        self.folder = None;
        Some(format!("no further training checkpoint is written, a training that is killed starts again: {error}"))
    }

    /// Removes the checkpoints: the training is over, or starts from scratch.
    ///
    /// # Errors
    /// A file that can't be removed.
    pub fn remove(&self) -> Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        match fs::remove_dir_all(folder) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(Error::failed(format!("remove {}: {error}", folder.display()))),
        }
        // Checkpoints of other models may be there.
        let _ = folder.parent().map(fs::remove_dir);
        Ok(())
    }

    fn trials(&self) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| folder.join("layers"))
    }

    fn path(&self, phase: Phase) -> Option<PathBuf> {
        let name = if phase == Phase::Refit { "refit" } else { "train" };
        let name = if self.member == 0 { name.to_string() } else { format!("{name}_{}", self.member) };
        let fold = self.fold.map_or_else(String::new, |fold| format!("fold_{fold}_"));
        let group = self.group.map_or_else(String::new, |group| format!("group_{group}_"));
        self.folder.as_ref().map(|folder| folder.join(format!("{group}{fold}{name}")))
    }
}

/// Why a checkpoint isn't gone on from.
pub(super) fn unusable(path: &Path, why: &str) -> String {
    format!("the training checkpoint {} can't be used: {why}; starts from scratch", path.display())
}

/// Writes a file beside, and renames it.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    let aside = folder.join(format!(".{}", unique_name()));
    let failed = || format!("write {}", path.display());
    fs::create_dir_all(folder).or_failed(failed)?;
    let renamed = registry::write_synced(&aside, bytes).and_then(|()| fs::rename(&aside, path).or_failed(failed));
    renamed.inspect_err(|_| drop(fs::remove_file(&aside)))?;
    registry::sync(folder)
}

/// Everything but the data that the bits of a training depend on, a line each. It is the plan's debug text, so that no
/// field can be forgotten: a checkpoint lives as long as a training, and only by the program that wrote it.
fn fingerprint(plan: &Plan) -> String {
    // The bits don't depend on the number of threads.
    let mut plan = Plan { threads: 1, ..plan.clone() };
    let start = plan.start.take().map(|start| {
        let mut hash = String::new();
        for tensor in &start.tensors {
            let bytes: Vec<u8> = tensor.data.iter().flat_map(|number| number.to_le_bytes()).collect();
            hash = sha256(format!("{hash} {}", sha256(&bytes)).as_bytes());
        }
        (start.from, hash)
    });
    let program = (env!("CARGO_PKG_VERSION"), FORMAT);
    format!("program: {program:?}\nfrom: {start:?}\n{plan:#?}\n")
}

/// The first line that differs, both sides.
fn difference(there: &str, here: &str) -> String {
    let trimmed = |line: Option<&str>| line.unwrap_or("nothing").trim().trim_end_matches(',').to_string();
    let (mut there, mut here) = (there.lines(), here.lines());
    loop {
        let (a, b) = (there.next(), here.next());
        if a != b || a.is_none() {
            return format!("it had `{}`, now `{}`", trimmed(a), trimmed(b));
        }
    }
}
