//! The log of checkpoints: killed between any two writes, damaged, written by two processes, pruned.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use crossbeam_channel::unbounded;

use super::log_writer::{GRACE, Job, Owned, Writer};
use super::{Arena, Checkpoint, CommitPosition, Fingerprint, Keys, Log, ModelEpoch, RowSpan, Store};
use crate::record::murmur2;
use crate::storage::Folder;

use crate::Result;
use crate::config::Location;
use crate::state::{Checkpoints, Found};

pub(super) const WAIT: Duration = Duration::from_secs(20);
/// Two rows in a page.
const WIDTH: usize = 4000;

fn fingerprint(stages: &str) -> Fingerprint {
    Fingerprint {
        version: Fingerprint::VERSION,
        sections: BTreeMap::from([("stages".into(), stages.into())]),
        environment: BTreeMap::from([("onnx_runtime".into(), "1.31.1".into())]),
        partitions: 8,
        rows: vec![RowSpan { stage: "kolk".into(), start: 0, width: WIDTH, ..RowSpan::default() }],
        ..Fingerprint::default()
    }
}

fn store(root: &Path) -> Store {
    Store::at(Folder::open(&Location(root.display().to_string())).unwrap(), "p")
}

pub(super) fn open(root: &Path, grace: Duration) -> Log {
    Log::over(store(root), "id", &fingerprint("s"), grace).unwrap()
}

/// Partition 3 of a stream whose commit `n` is at offset `10 n`.
pub(super) struct Lane {
    keys: Keys,
    arena: Arena,
    pub(super) sequence: u64,
}

/// Reads a checkpoint and waits for it.
pub(super) fn read(log: &mut Log, at: CommitPosition, epoch: &ModelEpoch) -> Result<Checkpoint> {
    log.load(3.into(), at, epoch).unwrap();
    log.loaded(WAIT).unwrap().pop().unwrap().checkpoint
}

/// The model version of the beginning.
pub(super) fn first() -> ModelEpoch {
    ModelEpoch { model: "m/1".into(), from: 0 }
}

pub(super) fn at(sequence: u64) -> CommitPosition {
    CommitPosition { sequence, offset: 10 * sequence as i64, hash: 1000 + sequence }
}

impl Lane {
    /// 60 keys, 30 pages.
    fn new() -> Lane {
        let mut lane = Lane { keys: Keys::default(), arena: Arena::new(vec![0; WIDTH]), sequence: 0 };
        (0..60).for_each(|key| lane.touch(key));
        lane.sequence = 1;
        lane
    }

    fn restored(checkpoint: Checkpoint) -> Lane {
        let mut arena = Arena::new(vec![0; WIDTH]);
        assert!(arena.restore(&checkpoint.rows.resolve().unwrap().joined()));
        Lane { keys: Keys::from_list(checkpoint.keys).unwrap(), arena, sequence: checkpoint.at.unwrap().sequence }
    }

    fn touch(&mut self, key: u64) {
        let key = format!("key-{key}");
        let slot = self.keys.slot(murmur2(key.as_bytes()), key.as_bytes());
        self.arena.grow_to(self.keys.len());
        self.arena.rows(0, WIDTH).get_mut(slot)[1] += self.sequence + 1;
    }

    /// The next commit: one key is written, one is new.
    pub(super) fn advance(&mut self) {
        self.sequence += 1;
        self.touch(self.sequence % 7);
        self.touch(100 + self.sequence);
    }

    pub(super) fn checkpoint(&mut self) -> Checkpoint {
        let (keys, rows) = (self.keys.list().clone(), self.arena.freeze().into());
        let at = Some(at(self.sequence));
        Checkpoint { position: self.sequence, keys, rows, at, epoch: first(), ..Checkpoint::default() }
    }

    /// What a checkpoint of commit `sequence` has to be.
    fn as_of(sequence: u64) -> Vec<u8> {
        let mut lane = Lane::new();
        (1..sequence).for_each(|_| lane.advance());
        lane.checkpoint().encode().unwrap()
    }
}

fn write(log: &mut Log, lane: &mut Lane) -> Result<()> {
    log.write(3.into(), lane.checkpoint())?;
    let written = log.written(WAIT)?;
    assert_eq!(written.iter().map(|d| (d.partition, d.at)).collect::<Vec<_>>(), [(3.into(), at(lane.sequence))]);
    Ok(())
}

pub(super) fn written_to(root: &Path, grace: Duration, last: u64) -> (Log, Lane) {
    let (mut log, mut lane) = (open(root, grace), Lane::new());
    write(&mut log, &mut lane).unwrap();
    while lane.sequence < last {
        lane.advance();
        write(&mut log, &mut lane).unwrap();
    }
    (log, lane)
}

pub(super) fn files(root: &Path, ending: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(root.join("p/topic-id/00003")) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.to_str().unwrap().ends_with(ending));
    files.sort();
    files
}

fn load(log: &mut Log, sequence: u64) -> Vec<u8> {
    let found = log.find(3.into(), at(sequence), &first()).unwrap().usable.unwrap();
    let checkpoint = read(log, found, &first()).unwrap();
    assert_eq!(checkpoint.at, Some(found));
    checkpoint.encode().unwrap()
}

#[test]
fn what_was_written_is_found_and_loaded() {
    let root = tempfile::tempdir().unwrap();
    let (log, _) = written_to(root.path(), GRACE, 30);
    drop(log);
    let (bases, deltas) = (files(root.path(), ".checkpoint").len(), files(root.path(), ".delta").len());
    assert_eq!(bases + deltas, 30);
    // A chain has eight deltas at most.
    assert!((4..=8).contains(&bases), "{bases} bases and {deltas} deltas");
    let mut log = open(root.path(), GRACE);
    for sequence in 1..=30 {
        assert!(load(&mut log, sequence) == Lane::as_of(sequence), "commit {sequence}");
    }
    let beyond = CommitPosition { sequence: 99, offset: 9999, hash: 5 };
    assert_eq!(log.find(3.into(), beyond, &first()).unwrap(), Found { usable: Some(at(30)), newest: Some(at(30)) });
    let before = CommitPosition { sequence: 0, offset: 0, hash: 0 };
    assert_eq!(log.find(3.into(), before, &first()).unwrap(), Found { usable: None, newest: Some(at(30)) });
    assert_eq!(log.find(4.into(), beyond, &first()).unwrap(), Found::default());
    // The same commit, but of other records; where the hash isn't known, it is taken.
    let other = CommitPosition { hash: 1, ..at(20) };
    assert_eq!(log.find(3.into(), other, &first()).unwrap().usable, Some(at(19)));
    assert_eq!(log.find(3.into(), CommitPosition { hash: 0, ..at(20) }, &first()).unwrap().usable, Some(at(20)));
    assert_eq!(log.find(3.into(), CommitPosition { offset: 201, ..at(20) }, &first()).unwrap().usable, Some(at(19)));
}

#[test]
fn after_a_restart_deltas_go_on_from_what_was_loaded() {
    let root = tempfile::tempdir().unwrap();
    drop(written_to(root.path(), GRACE, 2));
    let mut log = open(root.path(), GRACE);
    let mut lane = Lane::restored(read(&mut log, at(2), &first()).unwrap());
    lane.advance();
    write(&mut log, &mut lane).unwrap();
    assert_eq!(files(root.path(), ".delta").len(), 2);
    assert!(load(&mut log, 3) == Lane::as_of(3));
    // The partition was another's in between: what this process knew counts no more.
    log.release(3.into());
    lane.advance();
    write(&mut log, &mut lane).unwrap();
    assert_eq!(files(root.path(), ".delta").len(), 2);
    assert!(load(&mut log, 4) == Lane::as_of(4));
}

#[test]
fn a_damaged_checkpoint_falls_back_to_an_older_chain() {
    let root = tempfile::tempdir().unwrap();
    let (log, _) = written_to(root.path(), GRACE, 12);
    drop(log);
    let (bases, deltas) = (files(root.path(), ".checkpoint"), files(root.path(), ".delta"));
    assert_eq!((bases.len(), deltas.len()), (2, 10), "1 and 10 are bases");
    // A delta in the middle of the newest chain, then its base, then the manifest of the newest.
    let fallen = |log: &mut Log| loop {
        let found = log.find(3.into(), at(12), &first()).unwrap().usable.unwrap();
        if let Ok(checkpoint) = read(log, found, &first()) {
            assert!(checkpoint.encode().unwrap() == Lane::as_of(found.sequence));
            return found.sequence;
        }
    };
    let mut bytes = std::fs::read(&deltas[8]).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&deltas[8], &bytes).unwrap();
    assert_eq!(fallen(&mut open(root.path(), GRACE)), 10);
    std::fs::remove_file(&bases[1]).unwrap();
    let mut log = open(root.path(), GRACE);
    assert_eq!(fallen(&mut log), 9);
    let manifest = files(root.path(), ".json")[8].clone();
    std::fs::write(&manifest, "{}").unwrap();
    assert_eq!(fallen(&mut open(root.path(), GRACE)), 8);
    // The next one is a delta on what could be loaded, not on what could not.
    let mut lane = Lane::restored(read(&mut log, at(8), &first()).unwrap());
    (8..13).for_each(|_| lane.advance());
    write(&mut log, &mut lane).unwrap();
    assert!(load(&mut log, 13) == Lane::as_of(13));
}

#[test]
fn killed_between_any_two_writes_what_is_found_is_whole() {
    for budget in 0.. {
        let root = tempfile::tempdir().unwrap();
        let mut folder = Folder::open(&Location(root.path().display().to_string())).unwrap();
        folder.budget = Some(Arc::new(AtomicI64::new(budget)));
        let mut lane = Lane::new();
        let run = || -> Result<()> {
            let mut log = Log::over(Store::at(folder, "p"), "id", &fingerprint("s"), Duration::ZERO)?;
            for _ in 0..14 {
                write(&mut log, &mut lane)?;
                lane.advance();
            }
            Ok(())
        };
        let killed = run().is_err();
        let durable = lane.sequence - 1;
        let mut log = open(root.path(), Duration::ZERO);
        let found = log.find(3.into(), at(14), &first()).unwrap().usable;
        let sequence = found.map_or(0, |at| at.sequence);
        assert!(sequence == durable || sequence == durable + 1, "{sequence} exists, {durable} were reported");
        let mut lane = match found {
            Some(at) => {
                let checkpoint = read(&mut log, at, &first()).unwrap();
                assert!(checkpoint.encode().unwrap() == Lane::as_of(at.sequence));
                Lane::restored(checkpoint)
            }
            None => Lane::new(),
        };
        while lane.sequence < 20 {
            lane.advance();
            write(&mut log, &mut lane).unwrap();
        }
        assert!(load(&mut log, 20) == Lane::as_of(20));
        if !killed {
            assert!(budget > 28, "only {budget} writes");
            break;
        }
    }
}

#[test]
fn a_zombie_does_no_harm_and_another_history_is_told() {
    let root = tempfile::tempdir().unwrap();
    let (mut log, mut lane) = written_to(root.path(), GRACE, 3);
    let before = files(root.path(), "").len();
    let mut zombie = open(root.path(), GRACE);
    write(&mut zombie, &mut Lane::restored(read(&mut log, at(3), &first()).unwrap())).unwrap();
    assert_eq!(files(root.path(), "").len(), before, "nothing of it stays");
    write(&mut log, &mut lane).unwrap();
    assert_eq!(files(root.path(), "").len(), before, "nothing happened since");
    let mut checkpoint = lane.checkpoint();
    checkpoint.at = Some(CommitPosition { hash: 7, ..at(2) });
    zombie.write(3.into(), checkpoint).unwrap();
    let error = zombie.written(WAIT).unwrap_err().to_string();
    assert!(error.contains("another history") && error.contains("00000002-"), "{error}");
    assert!(load(&mut log, 2) == Lane::as_of(2));
}

#[test]
fn only_what_was_superseded_long_ago_is_deleted_and_only_by_the_owner() {
    let root = tempfile::tempdir().unwrap();
    let (log, mut lane) = written_to(root.path(), GRACE, 30);
    assert_eq!(files(root.path(), ".json").len(), 30, "within the grace period all stay");
    drop(log);
    // A writer whose partition was released writes, and deletes nothing.
    lane.advance();
    let folder = store(root.path()).folder().folder("topic-id");
    let hash = fingerprint("s").hash().unwrap();
    let mut writer = Writer::new(folder, Owned::default(), hash, BTreeMap::new(), Duration::ZERO);
    let ((jobs, work), (tell, told)) = (unbounded(), unbounded());
    jobs.send(Job::Write(3.into(), Box::new(lane.checkpoint()))).unwrap();
    drop(jobs);
    writer.run(&work, &tell);
    assert_eq!(told.recv().unwrap().unwrap().at, at(31));
    assert_eq!(files(root.path(), ".json").len(), 31);
    let mut log = open(root.path(), Duration::ZERO);
    for _ in 0..30 {
        lane.advance();
        write(&mut log, &mut lane).unwrap();
    }
    drop(log);
    // Three at least, back to the first that shares no file with the newest; and nothing that no manifest names.
    let (manifests, bases) = (files(root.path(), ".json").len(), files(root.path(), ".checkpoint").len());
    assert!((3..=10).contains(&manifests), "{manifests} manifests");
    assert_eq!(bases, 2);
    let mut log = open(root.path(), Duration::ZERO);
    let newest = lane.sequence;
    for sequence in newest + 1 - manifests as u64..=newest {
        assert!(load(&mut log, sequence) == Lane::as_of(sequence), "commit {sequence}");
    }
}

#[test]
fn another_pipeline_and_another_topic_are_refused() {
    let root = tempfile::tempdir().unwrap();
    drop(written_to(root.path(), GRACE, 1));
    let refused = |topic: &str, stages: &str| {
        let error = Log::over(store(root.path()), topic, &fingerprint(stages), GRACE).err().unwrap();
        assert_eq!(error.exit_code(), 2);
        error.to_string()
    };
    assert!(refused("id", "other").contains("stages: s -> other"));
    let error = refused("a/b+c", "s");
    assert!(error.contains("deleted and created again") && error.contains("topic-a_b-c"), "{error}");
    store(root.path()).reset().unwrap();
    drop(Log::over(store(root.path()), "a/b+c", &fingerprint("other"), GRACE).unwrap());
}

#[test]
fn partitions_are_written_side_by_side_and_a_drop_finishes() {
    let root = tempfile::tempdir().unwrap();
    let mut log = open(root.path(), GRACE);
    for partition in 0..8 {
        log.write(partition.into(), Lane::new().checkpoint()).unwrap();
    }
    drop(log);
    let mut log = open(root.path(), GRACE);
    for partition in 0..8 {
        assert_eq!(log.find(partition.into(), at(1), &first()).unwrap().usable, Some(at(1)));
    }
    assert_eq!(log.written(WAIT).unwrap(), [], "nothing is being written, so there is no wait");
}
