//! What would make wrong or doubled output is refused: exit code 1 or 2, what is wrong, and the choices.

use std::time::Duration;

use super::broker::{Broker, PARTITIONS, eventually};
use super::process::Setup;
use super::records::{Reader, Sender, count, send_and_abort};
use crate::common::{Row, kolk_exits, series};

/// Checkpoints only at the first start and at a clean stop, so that a test controls how old they are.
const RARELY: &str = "state: { path: state/, checkpoint_every: 1h }\nruntime: { instance: one, commit_every: 50ms }";
const SOON: Duration = Duration::from_secs(60);

/// A pipeline that took records and was stopped, or killed before it could write a checkpoint of them.
fn after(broker: &Broker, setup: &Setup, rows: &[Row], killed: bool) {
    let sender = Sender::new(broker);
    let mut reader = Reader::new(broker, &setup.output);
    sender.send(&setup.input, rows);
    sender.flush();
    let kolk = setup.start("a");
    reader.read_until(rows.len(), SOON);
    let ends: Vec<_> = broker.ranges(&setup.input, true).into_iter().map(|(_, end)| Some(end)).collect();
    eventually("all offsets", || (broker.committed(&setup.group, &setup.input) == ends).then_some(()));
    if killed {
        kolk.kill();
    } else {
        kolk.stop();
    }
}

/// Asserts that the next start is refused with these words and with choices, and that no further output came.
fn assert_refused(broker: &Broker, setup: &Setup, outputs: usize, words: &[&str]) {
    let (code, log) = setup.start("a").fails();
    assert!(code == 1 || code == 2, "exit code {code}\n{log}");
    for word in words {
        assert!(log.contains(word), "no {word:?} in: {log}");
    }
    assert!(log.contains("kolk state reset"), "no choices in: {log}");
    assert!(!log.contains("internal error") && !log.contains("panicked"), "{log}");
    broker.settled(&setup.output);
    let mut reader = Reader::new(broker, &setup.output);
    reader.read(SOON);
    assert_eq!(reader.count, outputs);
}

#[test]
fn offsets_reset_by_hand() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "reset", RARELY);
    let rows = series(10, 40);
    after(&broker, &setup, &rows, false);
    let back = vec![0; PARTITIONS as usize];
    broker.reset_offsets(&setup.group, &setup.input, &back);
    assert_refused(&broker, &setup, rows.len(), &["reset by hand"]);
    // Forward, past records that were never processed.
    Sender::new(&broker).send(&setup.input, &rows);
    let ends: Vec<_> = broker.ranges(&setup.input, true).into_iter().map(|(_, end)| end).collect();
    broker.reset_offsets(&setup.group, &setup.input, &ends);
    assert_refused(&broker, &setup, rows.len(), &["reset by hand"]);
}

#[test]
fn offsets_deleted() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "expired", RARELY);
    let rows = series(10, 40);
    after(&broker, &setup, &rows, false);
    broker.delete_group(&setup.group);
    assert_refused(&broker, &setup, rows.len(), &["the group has no offset"]);
}

#[test]
fn topic_made_anew() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "anew", RARELY);
    let rows = series(10, 40);
    after(&broker, &setup, &rows, false);
    broker.delete_topic(&setup.input);
    broker.topic(&setup.input, &[]);
    let sender = Sender::new(&broker);
    sender.send(&setup.input, &rows);
    sender.flush();
    assert_refused(&broker, &setup, rows.len(), &[setup.input.as_str()]);
}

#[test]
fn retention_past_the_checkpoint() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "retention", RARELY);
    let rows = series(10, 40);
    after(&broker, &setup, &rows, true);
    // The newest checkpoint is that of the start: everything has to be replayed, and the first record of each is gone.
    broker.delete_records(&setup.input, &[1; PARTITIONS as usize]);
    assert_refused(&broker, &setup, rows.len(), &["retention"]);
}

#[test]
fn input_compacted_since_the_checkpoint() {
    let broker = Broker::shared();
    let compact = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.001"),
        ("max.compaction.lag.ms", "1000"),
    ];
    let setup = Setup::with_input(&broker, "compacted", RARELY, &compact);
    let rows = series(10, 40);
    after(&broker, &setup, &rows, true);
    // A segment is only compacted when a younger one is there. What makes it is taken back, so that nothing is new.
    eventually("compaction", || {
        send_and_abort(&broker, &setup.input, &rows[..10]);
        (count(&broker, &setup.input) < rows.len()).then_some(())
    });
    assert_refused(&broker, &setup, rows.len(), &["compact"]);
}

#[test]
fn partitions_added_while_it_runs_and_before_a_start() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "grown", RARELY);
    let text = std::fs::read_to_string(setup.file()).unwrap();
    let often = "session.timeout.ms: 6000, topic.metadata.refresh.interval.ms: 300,";
    std::fs::write(setup.file(), text.replace("session.timeout.ms: 6000,", often)).unwrap();
    let rows = series(10, 40);
    let sender = Sender::new(&broker);
    sender.send(&setup.input, &rows);
    sender.flush();
    let kolk = setup.start("a");
    Reader::new(&broker, &setup.output).read_until(rows.len(), SOON);
    broker.grow(&setup.input, PARTITIONS as usize + 1);
    let (code, log) = kolk.fails();
    assert!(code == 1 && log.contains("the topic had 4 partitions at the start and has more now"), "{code} {log}");
    assert!(log.contains("kolk state reset"), "no choices in: {log}");
    // Neither the check nor the next start takes it for the same topic.
    for command in ["check", "run"] {
        let (_, err) = kolk_exits(2, &[command, setup.file().to_str().unwrap()]);
        assert!(
            err.contains("partitions of the topic: 4 -> 5") && err.contains("kolk state reset"),
            "{command}: {err}"
        );
    }
    assert_refused(&broker, &setup, rows.len(), &["partitions of the topic: 4 -> 5"]);
}

#[test]
fn state_deleted() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "stateless", RARELY);
    let rows = series(10, 40);
    after(&broker, &setup, &rows, false);
    std::fs::remove_dir_all(setup.path().join("state")).unwrap();
    assert_refused(&broker, &setup, rows.len(), &["there is no checkpoint of the state"]);
}
