//! A worker that has nothing and expects something says so: in the log once, and by readiness while it lasts.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, Producer};
use rdkafka::{Offset, TopicPartitionList};

use super::broker::{Broker, PARTITIONS, eventually, unique};
use super::process::{Kolk, Setup};
use super::records::*;
use crate::common::{kolk_exits, series};
use crate::http::{free_address, get};

const SOON: Duration = Duration::from_secs(60);
const EXTRA: &str = "state: { path: state/ }\n\
                     runtime: { instance: \"${KOLK_INSTANCE:-x}\", workers: 4, http: \"${KOLK_HTTP:-127.0.0.1:0}\" }";

fn ready(address: &str) -> String {
    get(address, "/readyz").unwrap_or_default()
}

fn not_ready(address: &str, words: &str) {
    eventually(words, || {
        let answer = ready(address);
        (answer.starts_with("HTTP/1.1 503") && answer.contains(words)).then_some(())
    });
}

fn ready_with(kolk: &Kolk, address: &str, partitions: usize) {
    eventually("ready, with partitions", || {
        let all = kolk.log().matches("partition opened").count() >= partitions;
        (all && ready(address).starts_with("HTTP/1.1 200")).then_some(())
    });
}

#[test]
fn a_group_whose_members_share_in_another_way() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "range", EXTRA);
    let stop = Arc::new(AtomicBool::new(false));
    let mut config = broker.client();
    config.set("group.id", &setup.group).set("partition.assignment.strategy", "range");
    let other: BaseConsumer = config.create().unwrap();
    other.subscribe(&[&setup.input]).unwrap();
    eventually("the other consumer's partitions", || {
        other.poll(Duration::from_millis(100));
        (other.assignment().unwrap().count() == PARTITIONS as usize).then_some(())
    });
    let stopped = stop.clone();
    let other = std::thread::spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            other.poll(Duration::from_millis(100));
        }
    });

    let file = setup.file();
    let (_, warned) = kolk_exits(0, &["check", file.to_str().unwrap()]);
    assert!(warned.contains("with the assignor \"range\"") && warned.contains("another `group`"), "{warned}");
    let address = free_address();
    let kolk = setup.start_with("a", &[("KOLK_HTTP", &address)]);
    not_ready(&address, r#"with the assignor \"range\""#);
    eventually("a line", || kolk.log().contains("not ready: group").then_some(()));
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(kolk.log().matches("not ready: group").count(), 1, "{}", kolk.log());

    stop.store(true, Ordering::Relaxed);
    other.join().unwrap();
    ready_with(&kolk, &address, PARTITIONS as usize);
    let rows = series(10, 10);
    let sender = Sender::new(&broker);
    sender.send(&setup.input, &rows);
    sender.flush();
    Reader::new(&broker, &setup.output).read_until(rows.len(), SOON);
    kolk.stop();
}

#[test]
fn more_workers_than_partitions_are_ready() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "spare", EXTRA);
    let address = free_address();
    let kolk = setup.start("a");
    eventually("opened", || (kolk.log().matches("partition opened").count() >= PARTITIONS as usize).then_some(()));
    let spare = setup.start_with("b", &[("KOLK_HTTP", &address)]);
    eventually("a word", || spare.log().contains("more workers than partitions").then_some(()));
    // Not before it is known that it has none.
    ready_with(&spare, &address, 0);
    assert!(!spare.log().contains("not ready"), "{}", spare.log());
    kolk.stop();
    ready_with(&spare, &address, PARTITIONS as usize);
    spare.stop();
}

#[test]
fn a_transaction_that_stays_open_on_the_offsets() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "pending", EXTRA);
    let mut config = broker.client();
    let member: BaseConsumer = config.set("group.id", &setup.group).create().unwrap();
    let mut config = broker.client();
    config.set("transactional.id", unique("pending")).set("transaction.timeout.ms", "120000");
    let producer: BaseProducer = config.create().unwrap();
    producer.init_transactions(SOON).unwrap();
    producer.begin_transaction().unwrap();
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(&setup.input, 0, Offset::Offset(0)).unwrap();
    producer.send_offsets_to_transaction(&offsets, &member.group_metadata().unwrap(), SOON).unwrap();

    let address = free_address();
    let kolk = setup.start_with("a", &[("KOLK_HTTP", &address)]);
    not_ready(&address, "a transaction with their offsets is open");
    // With the partition that waits are those that the same worker was given with it.
    let log = kolk.log();
    assert!(log.contains("not ready: partitions [0") && log.contains("can't be opened"), "{log}");
    producer.abort_transaction(SOON).unwrap();
    ready_with(&kolk, &address, PARTITIONS as usize);
    assert!(kolk.log().contains("ready again"), "{}", kolk.log());
    kolk.stop();
}

/// Replaces each file of the state by a pipe without a writer: opening it blocks.
fn hang(state: &Path) {
    for entry in std::fs::read_dir(state).unwrap() {
        let entry = entry.unwrap().path();
        if entry.is_dir() {
            hang(&entry);
        } else if entry.extension().is_none_or(|ending| ending != "json") {
            std::fs::remove_file(&entry).unwrap();
            assert!(Command::new("mkfifo").arg(&entry).status().unwrap().success());
        }
    }
}

#[test]
fn a_store_that_does_not_answer() {
    let broker = Broker::shared();
    let rows = series(10, 10);
    for into_files in [false, true] {
        let setup = Setup::new(&broker, "hangs", EXTRA);
        if into_files {
            setup.write(&broker, "parquet: { path: out/, fields: [value] }", EXTRA);
        }
        let sender = Sender::new(&broker);
        sender.send(&setup.input, &rows);
        sender.flush();
        let kolk = setup.start("a");
        eventually("opened", || (kolk.log().matches("partition opened").count() >= PARTITIONS as usize).then_some(()));
        kolk.stop();
        hang(&setup.path().join("state"));
        let address = free_address();
        let kolk = setup.start_with("a", &[("KOLK_HTTP", &address)]);
        not_ready(&address, "wait for the store of the state");
        assert!(kolk.log().contains("not ready: partitions ["), "{}", kolk.log());
        kolk.kill();
    }
}
