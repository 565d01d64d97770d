//! A topic that is deleted and created again while kolk runs: the run ends, and nothing of the new topic was ever
//! committed.

use std::time::Duration;

use super::broker::{Broker, eventually};
use super::process::Setup;
use super::records::{Reader, Sender, written};
use crate::common::{self, Row, series};

const SOON: Duration = Duration::from_secs(60);
const STATE: &str = "state: { path: state/, checkpoint_every: 300ms }";

/// Deletes the input topic of a pipeline that has read all of `before`, creates it again after a pause, and sends
/// `after`, of which each partition has more than it had before: so a reader that continues at its position finds
/// records there.
fn recreate(broker: &Broker, setup: &Setup, pause: Duration, after: &[Row]) {
    broker.delete_topic(&setup.input);
    std::thread::sleep(pause);
    broker.topic(&setup.input, &[]);
    // A sender of its own: one that knew the old topic takes its time to find the new one.
    let sender = Sender::new(broker);
    sender.send(&setup.input, after);
    sender.flush();
}

fn ends(name: &str, pause: Duration) {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, name, STATE);
    let rows = series(10, 30);
    let (before, after) = rows.split_at(20);
    let sender = Sender::new(&broker);
    let mut reader = Reader::new(&broker, &setup.output);
    let kolk = setup.start("a");
    sender.send(&setup.input, before);
    reader.read_until(before.len(), SOON);
    recreate(&broker, &setup, pause, after);
    let (code, log) = kolk.fails();
    assert_eq!(code, 2, "{log}");
    assert!(log.contains("was deleted and created again while kolk ran"), "{log}");
    broker.settled(&setup.output);
    reader.read(SOON);
    assert_eq!(reader.count, before.len(), "outputs of the new topic");
    // Offsets of the new topic are those of the old one, where Kafka kept them, or none.
    let committed: i64 = broker.committed(&setup.group, &setup.input).into_iter().flatten().sum();
    assert!(committed == 0 || committed == before.len() as i64, "{committed}");
    let (code, log) = setup.start("b").fails();
    assert_eq!(code, 2, "{log}");
}

#[test]
fn a_topic_that_is_created_again_at_once_ends_the_run() {
    ends("recreated", Duration::from_millis(200));
}

#[test]
fn a_topic_that_is_created_again_later_ends_the_run() {
    ends("recreated-later", Duration::from_secs(3));
}

#[test]
fn a_topic_that_is_created_again_ends_a_run_into_files() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "recreated-files", "");
    setup.write(&broker, "parquet: { path: out/, fields: [value] }", STATE);
    let rows = series(10, 30);
    let (before, after) = rows.split_at(20);
    let sender = Sender::new(&broker);
    let kolk = setup.start("a");
    sender.send(&setup.input, before);
    let out = setup.path().join("out");
    let count = || if out.exists() { written(&out).values().map(Vec::len).sum() } else { 0 };
    eventually("outputs", || (count() == before.len()).then_some(()));
    recreate(&broker, &setup, Duration::from_millis(200), after);
    let (code, log) = kolk.fails();
    assert_eq!(code, 2, "{log}");
    assert!(log.contains("was deleted and created again while kolk ran"), "{log}");
    assert_eq!(count(), before.len(), "outputs of the new topic");
    common::kolk_exits(2, &["run", setup.file().to_str().unwrap()]);
}
