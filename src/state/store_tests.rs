//! The commit protocol, killed between any two of its writes, and with two processes on one partition.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};

use super::*;
use crate::Result;
use crate::config::Location;
use crate::sink::{DeadLetter, DeadLetters, Parts};
use crate::storage::Folder;

const RECORDS: u64 = 550;
const PART: u64 = 100;

fn at(path: &Path) -> Location {
    Location(path.display().to_string())
}

fn fingerprint(stages: &str) -> Fingerprint {
    Fingerprint {
        version: Fingerprint::VERSION,
        sections: BTreeMap::from([("source".into(), "a".into()), ("stages".into(), stages.into())]),
        environment: BTreeMap::from([("onnx_runtime".into(), "1.31.1".into())]),
        partitions: 1,
        rows: vec![RowSpan { stage: "engine".into(), start: 0, width: 1, ..RowSpan::default() }],
        ..Fingerprint::default()
    }
}

/// A process that counts: the state of the one key is the sum of what it has seen, which is also the output. Every 50th
/// record is refused. Commits at every second cut, then at every one.
struct Process {
    store: Store,
    output: Parts,
    dead: Parts,
    newest: Option<Manifest>,
    state: Checkpoint,
}

impl Process {
    fn start(root: &Path, budget: Option<i64>) -> Result<Process> {
        let budget = budget.map(|n| Arc::new(AtomicI64::new(n)));
        let open = |name: &str| -> Result<Folder> {
            let mut folder = Folder::open(&at(&root.join(name)))?;
            folder.budget = budget.clone();
            Ok(folder)
        };
        let (out, dead) = (open("out")?, open("dead")?);
        let mut store = Store::at(open("state")?, "p").with_targets(Some(out.clone()), Some(dead.clone()));
        store.begin(&fingerprint("s"))?;
        let schema = Arc::new(Schema::new(vec![Field::new("sum", DataType::Int64, false)]));
        let newest = store.recover(0.into())?;
        let state = match &newest {
            Some(newest) => store.load(newest)?,
            None => {
                let mut keys = KeyList::default();
                keys.push(b"k");
                Checkpoint { keys, rows: Pages::from_words(1, &[0]).into(), ..Default::default() }
            }
        };
        let output = Parts::new(Target::Output, out, "p", schema);
        Ok(Process { output, dead: DeadLetters::parts(dead, "p"), store, newest, state })
    }

    /// Works up to the next commit; false at the end of the source.
    fn advance(&mut self) -> Result<bool> {
        if self.newest.as_ref().is_some_and(|newest| newest.finished) {
            return Ok(false);
        }
        let mut parts = Vec::new();
        let cuts = if self.newest.is_none() { 2 } else { 1 };
        for _ in 0..cuts {
            let first = self.state.position;
            let mut writer = self.output.begin(0.into(), first);
            let mut letters = DeadLetters::begin(&self.dead, 0.into(), first);
            let end = RECORDS.min(first + PART);
            let mut state = self.state.row(0).unwrap()[0];
            for position in first..end {
                if position % 50 == 7 {
                    let (record, reason) = (format!("{{\"n\":{position}}}"), "test");
                    letters.push(DeadLetter {
                        key: None,
                        record,
                        file: None,
                        row: None,
                        position,
                        reason,
                        message_key: None,
                        payload: None,
                        timestamp: None,
                        detail: None,
                    })?;
                    continue;
                }
                state += position;
                let sum = Arc::new(Int64Array::from(vec![state as i64]));
                writer.write(RecordBatch::try_from_iter([("sum", sum as _)]).unwrap())?;
            }
            self.state.position = end;
            self.state.rows = Pages::from_words(1, &[state]).into();
            parts.extend(writer.finish(None)?);
            parts.extend(letters.finish()?);
        }
        let finished = self.state.position == RECORDS;
        self.newest =
            Some(self.store.commit(0.into(), self.newest.as_ref(), &self.state, parts, finished.then(End::default))?);
        Ok(!finished)
    }

    fn run(root: &Path, budget: Option<i64>) -> Result<()> {
        let mut process = Process::start(root, budget)?;
        while process.advance()? {}
        process.store.tidy();
        Ok(())
    }
}

/// What a reader of the folder sees, by name.
fn visible(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let Ok(entries) = std::fs::read_dir(folder) else { return BTreeMap::new() };
    entries
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_name() != "_kolk")
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
        .collect()
}

#[test]
fn killed_between_any_two_writes_the_output_is_the_same() {
    let whole = tempfile::tempdir().unwrap();
    Process::run(whole.path(), None).unwrap();
    let (out, dead) = (visible(&whole.path().join("out")), visible(&whole.path().join("dead")));
    assert_eq!(out.len(), 6);
    assert_eq!(dead.len(), 6);
    let mut kills = 0;
    for budget in 0.. {
        let root = tempfile::tempdir().unwrap();
        let killed = Process::run(root.path(), Some(budget)).is_err();
        for (name, bytes) in visible(&root.path().join("out")) {
            assert!(out.get(&name) == Some(&bytes), "{name} is visible and other after {budget} writes");
        }
        Process::run(root.path(), None).unwrap();
        assert!(visible(&root.path().join("out")) == out, "output differs when killed after {budget} writes");
        assert!(visible(&root.path().join("dead")) == dead, "dead letters differ when killed after {budget} writes");
        assert!(!root.path().join("out/_kolk").exists(), "staged parts are left when killed after {budget} writes");
        if !killed {
            break;
        }
        kills += 1;
    }
    assert!(kills > 35, "only {kills} writes");
}

#[test]
fn a_second_process_is_fenced() {
    let root = tempfile::tempdir().unwrap();
    let mut first = Process::start(root.path(), None).unwrap();
    first.advance().unwrap();
    let mut zombie = Process::start(root.path(), None).unwrap();
    first.advance().unwrap();
    let error = zombie.advance().unwrap_err();
    assert!(error.to_string().contains("another process"), "{error}");
    assert_eq!(error.exit_code(), 1);
    // The owner isn't disturbed.
    while first.advance().unwrap() {}
    let whole = tempfile::tempdir().unwrap();
    Process::run(whole.path(), None).unwrap();
    assert!(visible(&root.path().join("out")) == visible(&whole.path().join("out")));
}

#[test]
fn a_process_that_slept_through_the_pruning_of_its_number_is_fenced() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(&at(root.path()), "p").unwrap();
    let snapshot = |position| Checkpoint { position, ..Checkpoint::default() };
    let first = store.commit(0.into(), None, &snapshot(1), Vec::new(), None).unwrap();
    let mut newest = first.clone();
    for position in 2..9 {
        newest = store.commit(0.into(), Some(&newest), &snapshot(position), Vec::new(), None).unwrap();
    }
    assert!(store.commit(0.into(), Some(&first), &snapshot(2), Vec::new(), None).is_err());
    assert_eq!(store.latest(0.into()).unwrap().as_ref(), Some(&newest));
    store.commit(0.into(), Some(&newest), &snapshot(9), Vec::new(), Some(End::default())).unwrap();
    let files = store.folder().folder("00000").files().unwrap();
    assert_eq!(files.len(), 6, "three manifests and their checkpoints are kept: {files:?}");
    assert_eq!(store.load(&newest).unwrap().position, 8);
}

#[test]
fn a_changed_pipeline_is_refused_and_told() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::open(&at(root.path()), "p").unwrap();
    assert_eq!(store.fingerprint().unwrap(), None);
    assert!(store.begin(&fingerprint("one")).unwrap().environment.is_empty());
    assert!(store.begin(&fingerprint("one")).unwrap().environment.is_empty());
    let error = store.begin(&fingerprint("two")).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("stages: one -> two"), "{error}");
    assert!(!error.to_string().contains("source"), "{error}");
    let mut other = fingerprint("one");
    other.environment.insert("onnx_runtime".into(), "1.32.0".into());
    assert_eq!(store.begin(&other).unwrap().environment[0].field, "onnx_runtime");
    store.reset().unwrap();
    assert_eq!(store.fingerprint().unwrap(), None);
    assert!(store.begin(&fingerprint("two")).unwrap().environment.is_empty());
}

#[test]
fn damaged_state_and_lost_parts_are_told() {
    let root = tempfile::tempdir().unwrap();
    Process::run(root.path(), None).unwrap();
    let store = Process::start(root.path(), None).unwrap().store;
    let newest = store.latest(0.into()).unwrap().unwrap();
    let path = root.path().join("state/p/00000").join(&newest.checkpoint);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[40] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let error = store.load(&newest).unwrap_err().to_string();
    assert!(error.contains(&newest.checkpoint) && error.contains("state reset"), "{error}");
    std::fs::remove_file(&path).unwrap();
    assert!(store.load(&newest).unwrap_err().to_string().contains("missing"));
    let part = newest.parts.iter().find(|part| part.target == Target::Output).unwrap();
    std::fs::remove_file(root.path().join("out").join(&part.name)).unwrap();
    let error = store.recover(0.into()).unwrap_err().to_string();
    assert!(error.contains(&part.name) && error.contains("missing"), "{error}");
}

#[test]
fn what_can_not_be_written_is_refused() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("file"), b"no folder").unwrap();
    let folder = Folder::open(&at(&root.path().join("file/out"))).unwrap();
    let error = folder.probe().unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("file/out"), "{error}");
    let fine = Folder::open(&at(&root.path().join("new/out"))).unwrap();
    fine.probe().unwrap();
    assert!(fine.files().unwrap().is_empty());
    assert!(root.path().join("new/out").is_dir());
}

#[test]
fn dots_behind_a_link_lead_where_the_system_says() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("real/deep")).unwrap();
    std::os::unix::fs::symlink(root.path().join("real/deep"), root.path().join("link")).unwrap();
    let folder = Folder::open(&at(&root.path().join("link/../new/out"))).unwrap();
    folder.put("a b#c", b"x".to_vec()).unwrap();
    assert!(root.path().join("real/new/out").is_dir());
    assert_eq!(folder.files().unwrap().len(), 1);
    assert_eq!(folder.get("a b#c").unwrap().unwrap(), b"x");
}
