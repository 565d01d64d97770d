//! One process, from its first start to a clean stop and on; input that was taken back; files as the output of a topic.

use std::time::Duration;

use super::broker::{Broker, PARTITIONS, eventually};
use super::process::Setup;
use super::records::*;
use crate::common::series;

const EXTRA: &str = "state: { path: state/, checkpoint_every: 1s, or_records: 1000 }\nruntime: { workers: 2, instance: \"${KOLK_INSTANCE}\" }";
const SOON: Duration = Duration::from_secs(60);

#[test]
fn every_record_once_with_the_bits_of_a_parquet_run() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "whole", EXTRA);
    let rows = series(20, 200);
    let expected = expected(setup.path(), &rows);
    assert!(expected.values().all(|rows| rows.len() == 200));
    let (sender, mut reader) = (Sender::new(&broker), Reader::new(&broker, &setup.output));

    let kolk = setup.start("a");
    sender.send(&setup.input, &rows[..1500]);
    reader.read_until(1500, SOON);
    // A terminal that closes, or a supervisor that means "end": it drains as for SIGTERM.
    let log = kolk.stop_with("HUP", 1);
    assert!(log.contains("draining"), "{log}");

    // Messages from before the start and new ones; a clean stop leaves nothing to replay.
    sender.send(&setup.input, &rows[1500..2500]);
    sender.flush();
    let kolk = setup.start("a");
    sender.send(&setup.input, &rows[2500..]);
    reader.read_until(rows.len(), SOON);
    let log = kolk.stop();
    let opened: Vec<&str> = log.lines().filter(|line| line.contains("partition opened")).collect();
    assert!(!opened.is_empty(), "{log}");
    for line in opened {
        let number = |name: &str| line.split_once(name).unwrap().1.split_whitespace().next().unwrap().to_string();
        assert_eq!(number(" from="), number(" committed="), "{line}");
    }

    broker.settled(&setup.output);
    reader.read(SOON);
    assert_equal(&reader.outputs, &expected);
    assert!(Reader::is_empty(&broker, &setup.dead));
}

#[test]
fn input_that_was_aborted_is_not_seen_and_what_follows_is() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "aborted", EXTRA);
    let rows = series(12, 60);
    let expected = expected(setup.path(), &rows);
    let wrong: Vec<_> = rows[..300].iter().map(|(key, ts, _)| (key.clone(), *ts, 1e6)).collect();
    let (sender, mut reader) = (Sender::new(&broker), Reader::new(&broker, &setup.output));

    send_and_abort(&broker, &setup.input, &wrong);
    let kolk = setup.start("a");
    sender.send(&setup.input, &rows[..400]);
    sender.flush();
    send_and_abort(&broker, &setup.input, &wrong);
    reader.read_until(400, SOON);
    // Silence after an aborted transaction, then a kill: the end of the topic is found although there is no record.
    kolk.kill();
    let kolk = setup.start("a");
    eventually("opened after the kill", || kolk.log().contains("partition opened").then_some(()));
    sender.send(&setup.input, &rows[400..]);
    reader.read_until(rows.len(), SOON);
    sender.flush();
    send_and_abort(&broker, &setup.input, &wrong);
    std::thread::sleep(Duration::from_secs(2));
    kolk.stop();
    // Nothing but aborted records since the stop.
    let kolk = setup.start("a");
    eventually("opened after the stop", || kolk.log().contains("partition opened").then_some(()));
    kolk.stop();

    broker.settled(&setup.output);
    reader.read(SOON);
    assert_equal(&reader.outputs, &expected);
    assert!(Reader::is_empty(&broker, &setup.dead));
}

#[test]
fn into_files_whatever_is_killed() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "files", "");
    setup.write(
        &broker,
        "parquet: { path: out/, fields: [value], part_records: 100 }",
        "state: { path: state/, checkpoint_every: 100ms, or_records: 200 }\nruntime: { workers: 2 }",
    );
    let rows = series(10, 400);
    let expected = expected(setup.path(), &rows);
    let sender = Sender::new(&broker);
    for (round, piece) in rows.chunks(1000).enumerate() {
        sender.send(&setup.input, piece);
        sender.flush();
        let kolk = setup.start("a");
        // The group gives partitions only when the one that was killed is out of it.
        eventually("opened", || kolk.log().contains("partition opened").then_some(()));
        std::thread::sleep(Duration::from_millis(60 * round as u64));
        kolk.kill();
    }
    let mut kolk = setup.start("a");
    let out = setup.path().join("out");
    let count = |outputs: &Outputs| outputs.values().map(Vec::len).sum::<usize>();
    // A part ends every 100 records of a partition; the last, open one of each isn't visible yet.
    let open = 99 * PARTITIONS as usize;
    eventually("opened", || kolk.log().contains("partition opened").then_some(()));
    eventually("all parts", || {
        kolk.assert_runs();
        (out.exists() && count(&written(&out)) >= rows.len() - open).then_some(())
    });
    kolk.stop();
    // Nothing rests on them, but who watches the group's lag sees how far it is.
    let ends: Vec<_> = broker.ranges(&setup.input, true).into_iter().map(|(_, end)| Some(end)).collect();
    eventually("the group's offsets", || (broker.committed(&setup.group, &setup.input) == ends).then_some(()));
    let found = written(&out);
    let cut = |(key, outputs): (&String, &Vec<Output>)| (key.clone(), outputs[..found[key].len()].to_vec());
    assert_equal(&found, &expected.iter().map(cut).collect());
}
