//! Continuing from checkpoints if the group's offsets no longer fit them, or the topic begins after them.

use std::time::Duration;

use super::broker::{Broker, PARTITIONS, eventually};
use super::process::Setup;
use super::records::*;
use crate::common::{Row, kolk_exits, series};

/// Checkpoints at the first start and at a clean stop only.
const RARELY: &str = "state: { path: state/, checkpoint_every: 1h }\nruntime: { instance: one, commit_every: 50ms }";
const SOON: Duration = Duration::from_secs(60);
/// Records before something happens to the group or the topic.
const BEFORE: usize = 200;

fn send(broker: &Broker, setup: &Setup, rows: &[Row]) {
    let sender = Sender::new(broker);
    sender.send(&setup.input, rows);
    sender.flush();
}

/// Waits until everything is committed; gives the ends of the partitions.
fn committed(broker: &Broker, setup: &Setup) -> Vec<i64> {
    eventually("all offsets", || {
        let ends: Vec<_> = broker.ranges(&setup.input, true).into_iter().map(|(_, end)| end).collect();
        let all = broker.committed(&setup.group, &setup.input) == ends.iter().map(|end| Some(*end)).collect::<Vec<_>>();
        all.then_some(ends)
    })
}

/// A pipeline that took the first records and was stopped, or killed before it could write a checkpoint of them.
fn after(broker: &Broker, setup: &Setup, rows: &[Row], killed: bool) -> Reader {
    let mut reader = Reader::new(broker, &setup.output);
    send(broker, setup, &rows[..BEFORE]);
    let kolk = setup.start("a");
    reader.read_until(BEFORE, SOON);
    committed(broker, setup);
    if killed {
        kolk.kill();
    } else {
        kolk.stop();
    }
    reader
}

/// Asserts that the next start is refused with these words and the way out, and takes that: gives what it said.
fn refused_and_adopted(setup: &Setup, words: &str) -> String {
    let (code, log) = setup.start("a").fails();
    assert!(code == 2 && log.contains(words) && log.contains("kolk state adopt"), "{code} {log}");
    let file = setup.file();
    let file = file.to_str().unwrap();
    let (_, asked) = kolk_exits(2, &["state", "adopt", file]);
    assert!(asked.contains("nothing was changed: there is no terminal to ask on"), "{asked}");
    let (_, told) = kolk_exits(0, &["state", "adopt", file, "--yes"]);
    // What was adopted needs no adopting.
    let (_, again) = kolk_exits(0, &["state", "adopt", file, "--yes"]);
    assert!(again.contains("there is nothing to do"), "{again}");
    told
}

/// Sends what is left, and asserts that all outputs are there: those of all records, or of some.
fn goes_on(broker: &Broker, setup: &Setup, mut reader: Reader, rest: &[Row], all: &[Row]) {
    let kolk = setup.start("a");
    send(broker, setup, rest);
    reader.read_until(all.len(), SOON);
    committed(broker, setup);
    kolk.stop();
    broker.settled(&setup.output);
    reader.read(SOON);
    assert_equal(&reader.outputs, &expected(setup.path(), all));
}

#[test]
fn offsets_that_are_gone_or_moved_by_hand() {
    let broker = Broker::shared();
    let rows = series(10, 40);
    for by_hand in [false, true] {
        let setup = Setup::new(&broker, "adopt", RARELY);
        let reader = after(&broker, &setup, &rows, false);
        let words = if by_hand {
            broker.reset_offsets(&setup.group, &setup.input, &[0; PARTITIONS as usize]);
            "was not committed by kolk"
        } else {
            broker.delete_group(&setup.group);
            "the group has no offset"
        };
        let told = refused_and_adopted(&setup, words);
        assert_eq!(told.matches("continues at offset").count(), PARTITIONS as usize, "{told}");
        assert!(!told.contains("skips") && told.contains("repeats nothing"), "{told}");
        goes_on(&broker, &setup, reader, &rows[BEFORE..], &rows);
    }
}

#[test]
fn what_was_done_since_the_checkpoint_is_told_and_comes_again() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "adopt-again", RARELY);
    let rows = series(10, 40);
    let mut reader = after(&broker, &setup, &rows, true);
    let file = setup.file();
    let (_, running) = kolk_exits(2, &["state", "adopt", file.to_str().unwrap(), "--yes"]);
    assert!(running.contains("has members"), "a killed process is a member for a while: {running}");
    broker.delete_group(&setup.group);
    let (_, told) = kolk_exits(0, &["state", "adopt", file.to_str().unwrap(), "--yes"]);
    assert!(told.contains("repeats from offset 0 on, up to"), "{told}");
    let kolk = setup.start("a");
    reader.read_until(2 * BEFORE, SOON);
    send(&broker, &setup, &rows[BEFORE..]);
    reader.read_until(BEFORE + rows.len(), SOON);
    kolk.stop();
    // Twice the same, and then on.
    let expected = expected(setup.path(), &rows);
    for (key, expected) in &expected {
        let again = BEFORE / expected_keys(&rows);
        assert_eq!(reader.outputs[key], [&expected[..again], expected].concat(), "{key}");
    }
}

fn expected_keys(rows: &[Row]) -> usize {
    rows.iter().filter(|(_, ts, _)| *ts == rows[0].1).count()
}

#[test]
fn records_that_retention_removed_unread_are_skipped() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "adopt-unread", RARELY);
    let rows = series(10, 40);
    let reader = after(&broker, &setup, &rows, false);
    send(&broker, &setup, &rows[BEFORE..BEFORE + 100]);
    let ends: Vec<_> = broker.ranges(&setup.input, true).into_iter().map(|(_, end)| end).collect();
    broker.delete_records(&setup.input, &ends);
    let told = refused_and_adopted(&setup, "retention has removed records that were never read");
    assert!(told.contains("skips offsets") && told.contains("repeats nothing"), "{told}");
    let rest = &rows[BEFORE + 100..];
    goes_on(&broker, &setup, reader, rest, &[&rows[..BEFORE], rest].concat());
}

#[test]
fn into_files_only_what_is_gone_is_skipped() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "adopt-files", "");
    let extra = "state: { path: state/, checkpoint_every: 200ms }";
    setup.write(&broker, "parquet: { path: out/, fields: [value] }", extra);
    let rows = series(10, 40);
    send(&broker, &setup, &rows[..BEFORE]);
    let kolk = setup.start("a");
    committed(&broker, &setup);
    kolk.stop();
    let file = setup.file();
    broker.delete_group(&setup.group);
    let (_, told) = kolk_exits(0, &["state", "adopt", file.to_str().unwrap(), "--yes"]);
    assert!(told.contains("there is nothing to do"), "{told}");
    send(&broker, &setup, &rows[BEFORE..BEFORE + 100]);
    let ends: Vec<_> = broker.ranges(&setup.input, true).into_iter().map(|(_, end)| end).collect();
    broker.delete_records(&setup.input, &ends);
    let told = refused_and_adopted(&setup, "retention has removed records that were never read");
    assert!(told.contains("skips offsets"), "{told}");
    let kolk = setup.start("a");
    let rest = &rows[BEFORE + 100..];
    send(&broker, &setup, rest);
    committed(&broker, &setup);
    kolk.stop();
    let all = [&rows[..BEFORE], rest].concat();
    assert_equal(&written(&setup.path().join("out")), &expected(setup.path(), &all));
}

#[test]
fn retention_that_overtakes_a_process() {
    let broker = Broker::shared();
    let rows = series(10, 40);
    for into_files in [false, true] {
        let setup = Setup::new(&broker, "overtaken", RARELY);
        if into_files {
            let extra = "state: { path: state/, checkpoint_every: 200ms }";
            setup.write(&broker, "parquet: { path: out/, fields: [value] }", extra);
        }
        send(&broker, &setup, &rows[..BEFORE]);
        let kolk = setup.start("a");
        committed(&broker, &setup);
        kolk.signal("STOP");
        // The answers to its last requests are on their way, with nothing in them.
        std::thread::sleep(Duration::from_secs(1));
        send(&broker, &setup, &rows[BEFORE..]);
        let ends: Vec<_> = broker.ranges(&setup.input, true).into_iter().map(|(_, end)| end).collect();
        broker.delete_records(&setup.input, &ends);
        kolk.signal("CONT");
        let (code, log) = kolk.fails();
        let told = log.contains("retention has removed records that were never read");
        assert!(code == 2 && told && log.contains("kolk state adopt"), "{code} {log}");
    }
}
