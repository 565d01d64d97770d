//! The log of checkpoints if the model changes: the files of a swap that was never committed do no harm.

use std::path::Path;
use std::time::Duration;

use super::log_tests::{Lane, WAIT, at, files, first, open, read, written_to};
use super::{Checkpoint, CommitPosition, Log, ModelEpoch};
use crate::state::Checkpoints;

fn second(from: u64) -> ModelEpoch {
    ModelEpoch { model: "m/2".into(), from }
}

/// The checkpoint of a swap that comes with commit `sequence`, at the offset of the one before it.
fn swap(lane: &mut Lane, sequence: u64) -> Checkpoint {
    let at = Some(CommitPosition { sequence, ..at(sequence - 1) });
    Checkpoint { at, epoch: second(sequence), ..lane.checkpoint() }
}

fn put(log: &mut Log, checkpoint: Checkpoint) {
    let expected = (checkpoint.at.unwrap(), checkpoint.epoch.clone());
    log.write(3.into(), checkpoint).unwrap();
    let written = log.written(WAIT).unwrap();
    assert_eq!(written.into_iter().map(|durable| (durable.at, durable.epoch)).collect::<Vec<_>>(), [expected]);
}

/// What a commit finds. Deletion continues meanwhile, so a found checkpoint may be gone when it is read: then the
/// search is repeated.
fn usable(log: &mut Log, committed: CommitPosition, epoch: &ModelEpoch) -> Option<CommitPosition> {
    loop {
        let found = log.find(3.into(), committed, epoch).unwrap().usable?;
        if let Ok(checkpoint) = read(log, found, epoch) {
            assert_eq!((checkpoint.at, &checkpoint.epoch), (Some(found), epoch));
            return Some(found);
        }
    }
}

fn later(root: &Path) -> Log {
    open(root, Duration::ZERO)
}

#[test]
fn what_was_not_committed_is_found_by_no_commit() {
    let root = tempfile::tempdir().unwrap();
    let (mut log, mut lane) = written_to(root.path(), Duration::ZERO, 3);
    put(&mut log, swap(&mut lane, 4));
    assert_eq!(usable(&mut log, at(3), &first()), Some(at(3)));
    // The next owner's commit 4 is another, even at the same offset.
    let mut log = later(root.path());
    let by_clock = CommitPosition { sequence: 4, ..at(3) };
    assert_eq!(usable(&mut log, by_clock, &first()), Some(at(3)));
    put(&mut log, Checkpoint { at: Some(by_clock), ..lane.checkpoint() });
    assert_eq!(usable(&mut log, by_clock, &first()), Some(by_clock));
    assert_eq!(usable(&mut log, at(5), &first()), Some(by_clock));
    // Nor is it found by a commit after a later swap to the same version.
    lane.sequence = 6;
    assert_eq!(usable(&mut log, at(7), &second(7)), None);
    put(&mut log, swap(&mut lane, 7));
    let swapped = CommitPosition { sequence: 7, ..at(6) };
    assert_eq!(usable(&mut log, swapped, &second(7)), Some(swapped));
    assert_eq!(usable(&mut log, at(8), &second(7)), Some(swapped));
    assert_eq!(usable(&mut log, CommitPosition { hash: 1, ..swapped }, &second(7)), None, "another history");
    // What was before it isn't either, when the old version comes back.
    assert_eq!(usable(&mut log, at(9), &ModelEpoch { from: 9, ..first() }), None);
}

#[test]
fn the_same_swap_tried_again_finds_what_it_would_write() {
    let root = tempfile::tempdir().unwrap();
    let (mut log, mut lane) = written_to(root.path(), Duration::ZERO, 3);
    put(&mut log, swap(&mut lane, 4));
    let count = files(root.path(), "").len();
    put(&mut later(root.path()), swap(&mut lane, 4));
    assert_eq!(files(root.path(), "").len(), count);
    // One to a third version has a place of its own.
    let third = ModelEpoch { model: "m/3".into(), from: 4 };
    put(&mut log, Checkpoint { epoch: third.clone(), ..swap(&mut lane, 4) });
    let swapped = CommitPosition { sequence: 4, ..at(3) };
    assert_eq!(usable(&mut log, swapped, &third), Some(swapped));
    assert_eq!(usable(&mut log, swapped, &second(4)), Some(swapped));
}

#[test]
fn nothing_is_deleted_for_what_was_not_committed() {
    let root = tempfile::tempdir().unwrap();
    let (log, mut lane) = written_to(root.path(), Duration::ZERO, 30);
    drop(log);
    let kept = files(root.path(), ".json").len();
    let oldest = (1..30).find(|n| usable(&mut later(root.path()), at(*n), &first()) == Some(at(*n))).unwrap();
    for sequence in 31..40 {
        // A process that was killed before it could commit its swap; the next commits something else, and tries again.
        put(&mut later(root.path()), swap(&mut lane, sequence));
        lane.sequence = sequence;
    }
    assert_eq!(files(root.path(), ".json").len(), kept + 9);
    assert_eq!(usable(&mut later(root.path()), at(39), &first()), Some(at(30)));
    assert_eq!(usable(&mut later(root.path()), at(oldest), &first()), Some(at(oldest)));
    // It is committed in the end: earlier ones are deleted when there are enough after it, and only then.
    let mut log = later(root.path());
    put(&mut log, swap(&mut lane, 40));
    lane.sequence = 40;
    for n in 0..30 {
        lane.advance();
        put(&mut log, Checkpoint { epoch: second(40), ..lane.checkpoint() });
        let old = usable(&mut later(root.path()), at(39), &first());
        assert!(n > 1 || old == Some(at(30)), "{n}: {old:?}");
    }
    drop(log);
    assert_eq!(usable(&mut later(root.path()), at(39), &first()), None);
    let manifests = files(root.path(), ".json");
    assert!((3..=10).contains(&manifests.len()), "{manifests:?}");
}
