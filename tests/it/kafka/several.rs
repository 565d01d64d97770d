//! Several topics in one source: each has state of its own, whatever their partitions and keys are called; topics that
//! appear and go; topics that get partitions.

use std::time::Duration;

use super::broker::{Broker, PARTITIONS, eventually};
use super::process::Setup;
use super::records::{Outputs, Reader, Sender, assert_equal, expected, written_until};
use crate::common::{self, Row, series};

use kolk::record::{murmur2, partition_of};

const SOON: Duration = Duration::from_secs(120);
const STATE: &str =
    "state: { path: state/, checkpoint_every: 300ms }\nruntime: { workers: 2, instance: \"${KOLK_INSTANCE:-x}\" }";

/// Lets a pipeline read other topics.
fn reads(setup: &Setup, topics: &str) {
    let text = std::fs::read_to_string(setup.file()).unwrap();
    let one = format!("topic: {},", setup.input);
    assert!(text.contains(&one), "{text}");
    let refresh = "properties: { topic.metadata.refresh.interval.ms: 1000,";
    let text = text.replacen(&one, &format!("topics: {topics},"), 1).replacen("properties: {", refresh, 1);
    std::fs::write(setup.file(), text).unwrap();
}

/// Lets a pipeline look for new partitions of its only topic often.
fn reads_only(setup: &Setup) {
    let text = std::fs::read_to_string(setup.file()).unwrap();
    let refresh = "properties: { topic.metadata.refresh.interval.ms: 1000,";
    std::fs::write(setup.file(), text.replacen("properties: {", refresh, 1)).unwrap();
}

/// Rows of the same keys at other times: `nth` tells the topics apart.
fn rows_of(nth: i64, rows: &[Row]) -> Vec<Row> {
    rows.iter().map(|(key, ts, value)| (key.clone(), ts * 10 + nth, value + nth as f64)).collect()
}

/// The outputs of a topic, by the times of its rows.
fn of(nth: i64, outputs: &Outputs) -> Outputs {
    let of_topic =
        |outputs: &Vec<_>| outputs.iter().filter(|it: &&super::records::Output| it.ts % 10 == nth).cloned().collect();
    outputs.iter().map(|(key, outputs)| (key.clone(), of_topic(outputs))).collect()
}

#[test]
fn topics_with_the_same_keys_have_state_of_their_own_across_kill_restart_and_rescale() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "several", STATE);
    let other = format!("{}-other", setup.input);
    broker.topic(&other, &[]);
    reads(&setup, &format!("[{}, {other}]", setup.input));
    let rows = series(12, 60);
    let (left, right) = (rows_of(1, &rows), rows_of(2, &rows));
    let sender = Sender::new(&broker);
    let mut reader = Reader::new(&broker, &setup.output);
    let third = rows.len() / 3;
    let send = |range: std::ops::Range<usize>| {
        sender.send(&setup.input, &left[range.clone()]);
        sender.send(&other, &right[range]);
        sender.flush();
    };
    let first = setup.start("a");
    send(0..third);
    reader.read_until(third, SOON);
    first.kill();
    let (first, second) = (setup.start("a"), setup.start("b"));
    send(third..2 * third);
    reader.read_until(4 * third - 50, SOON);
    second.kill();
    send(2 * third..rows.len());
    reader.read_until(2 * rows.len(), SOON);
    let log = first.stop();
    assert!(log.contains(&format!("topic=\"{other}\"")) || log.contains(&format!("topic={other}")), "{log}");
    broker.settled(&setup.output);
    reader.read(SOON);
    assert_eq!(reader.count, 2 * rows.len());
    for (nth, rows) in [(1, &left), (2, &right)] {
        assert_equal(&of(nth, &reader.outputs), &expected(setup.path(), rows));
    }
    let file = setup.file();
    let file = file.to_str().unwrap();
    let (listed, _) = common::kolk_exits(0, &["state", "list", file]);
    assert!(listed.contains(&other), "{listed}");
    let (got, _) = common::kolk_exits(0, &["state", "get", file, &rows[0].0]);
    assert!(got.contains(&format!("\"{other}\"")) && got.contains(&format!("\"{}\"", setup.input)), "{got}");
}

#[test]
fn a_topic_that_a_pattern_matches_is_read_when_it_appears_and_given_up_when_it_goes() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "pattern", STATE);
    let (goes, comes) = (format!("{}-goes", setup.input), format!("{}-comes", setup.input));
    broker.topic(&goes, &[]);
    reads(&setup, &format!("{{ matching: \"{}.*\" }}, start: latest", setup.input));
    let rows = series(10, 40);
    let (stays, gone, new) = (rows_of(1, &rows), rows_of(2, &rows), rows_of(3, &rows));
    let half = rows.len() / 2;
    let sender = Sender::new(&broker);
    let mut reader = Reader::new(&broker, &setup.output);
    let mut kolk = setup.start("a");
    eventually("an assignment of both", || (kolk.log().matches("partition opened").count() >= 8).then_some(()));
    sender.send(&setup.input, &stays[..half]);
    sender.send(&goes, &gone);
    reader.read_until(half + rows.len(), SOON);
    // What it has before it is found is read too, whatever `start` says.
    broker.topic(&comes, &[]);
    let late = Sender::new(&broker);
    late.send(&comes, &new[..half]);
    late.flush();
    reader.read_until(2 * half + rows.len(), SOON);
    broker.delete_topic(&goes);
    // Nothing can be committed until it is given up, and everything afterwards.
    sender.send(&setup.input, &stays[half..]);
    eventually("the topic is given up", || kolk.log().contains("a topic was deleted").then_some(()));
    reader.read_until(3 * half + rows.len(), SOON);
    kolk.assert_runs();
    kolk.kill();
    // Without it kolk starts again, and goes on with the others.
    let kolk = setup.start("a");
    let sender = Sender::new(&broker);
    sender.send(&comes, &new[half..]);
    sender.flush();
    reader.read_until(4 * half + rows.len(), SOON);
    kolk.stop();
    broker.settled(&setup.output);
    reader.read(SOON);
    for (nth, rows) in [(1, &stays), (2, &gone), (3, &new)] {
        assert_equal(&of(nth, &reader.outputs), &expected(setup.path(), rows));
    }
    // Created again, it is another topic.
    broker.topic(&goes, &[]);
    let (code, log) = setup.start("b").fails();
    assert_eq!(code, 2, "{log}");
    assert!(log.contains(&format!("topic {goes} was deleted and created again")), "{log}");
    let file = setup.file();
    common::kolk_exits(0, &["state", "reset", file.to_str().unwrap(), "--topic", &goes, "--yes"]);
    let kolk = setup.start("b");
    eventually("it runs", || (kolk.log().matches("partition opened").count() >= 12).then_some(()));
    kolk.stop();
}

#[test]
fn several_topics_into_files_are_told_apart_and_a_topic_may_get_partitions() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "several-files", "");
    let other = format!("{}-other", setup.input);
    broker.topic(&other, &[]);
    setup.write(
        &broker,
        "parquet: { path: out/, fields: [value] }",
        "state: { path: state/, checkpoint_every: 300ms }",
    );
    reads(&setup, &format!("[{}, {other}]", setup.input));
    let rows = series(8, 20);
    let (left, right) = (rows_of(1, &rows), rows_of(2, &rows));
    let half = rows.len() / 2;
    let (out, sender) = (setup.path().join("out"), Sender::new(&broker));
    let send = |range: std::ops::Range<usize>| {
        sender.send(&setup.input, &left[range.clone()]);
        sender.send(&other, &right[range]);
        sender.flush();
    };
    let kolk = setup.start("a");
    send(0..half);
    written_until(&out, 2 * half);
    kolk.kill();
    send(half..rows.len());
    let kolk = setup.start("a");
    let found = written_until(&out, 2 * rows.len());
    kolk.stop();
    for (nth, rows) in [(1, &left), (2, &right)] {
        assert_equal(&of(nth, &found), &expected(setup.path(), rows));
    }
    let names = common::files(&out);
    assert!(names.keys().any(|name| name.starts_with(&format!("part-{other}-0000"))), "{:?}", names.keys());
    // More partitions: refused, or adopted.
    broker.grow(&other, 5);
    let file = setup.file();
    let (_, said) = common::kolk_exits(2, &["check", file.to_str().unwrap()]);
    assert!(said.contains(&format!("topic {other} has 5 partitions")) && said.contains("partitions: adopt"), "{said}");
    let text = std::fs::read_to_string(&file).unwrap() + "on: { partitions: adopt }\n";
    std::fs::write(&file, text).unwrap();
    let kolk = setup.start("a");
    // A sender of its own knows the new partition.
    Sender::new(&broker).send_to(&other, 4, &rows_of(2, &[("new".to_string(), 7, 1.5)]));
    written_until(&out, 2 * rows.len() + 1);
    kolk.stop();
}

/// Sends records to the partitions in which their keys were when there were as many as at first.
fn send_home(sender: &Sender, topic: &str, rows: &[Row]) {
    let home = |key: &str| partition_of(murmur2(key.as_bytes()), PARTITIONS as u32) as i32;
    for partition in 0..PARTITIONS {
        let rows: Vec<Row> = rows.iter().filter(|(key, ..)| home(key) == partition).cloned().collect();
        sender.send_to(topic, partition, &rows);
    }
}

#[test]
fn partitions_that_come_while_a_run_writes_to_a_topic_are_adopted_exactly_once() {
    let broker = Broker::shared();
    for several in [false, true] {
        let setup = Setup::new(&broker, "adopts", &format!("{STATE}\non: {{ partitions: adopt }}"));
        let other = format!("{}-other", setup.input);
        broker.topic(&other, &[]);
        match several {
            true => reads(&setup, &format!("[{}, {other}]", setup.input)),
            false => reads_only(&setup),
        }
        let rows = series(10, 45);
        let (left, right) = (rows_of(1, &rows), if several { rows_of(2, &rows) } else { Vec::new() });
        let new: Vec<Row> = rows_of(3, &rows).into_iter().map(|(key, ts, v)| (format!("new-{key}"), ts, v)).collect();
        let third = rows.len() / 3;
        let each = if several { 2 } else { 1 };
        let mut reader = Reader::new(&broker, &setup.output);
        let sender = Sender::new(&broker);
        let send = |sender: &Sender, range: std::ops::Range<usize>| {
            send_home(sender, &setup.input, &left[range.clone()]);
            right.get(range).into_iter().for_each(|rows| send_home(sender, &other, rows));
        };
        let kolk = setup.start("a");
        send(&sender, 0..third);
        reader.read_until(each * third, SOON);
        // The topic grows while records come, to its old partitions and to a new one.
        broker.grow(&setup.input, 5);
        let knowing = Sender::new(&broker);
        knowing.send_to(&setup.input, 4, &new[..third]);
        send(&knowing, third..2 * third);
        reader.read_until((2 * each + 1) * third, SOON);
        assert!(!kolk.log().contains("ends"), "{}", kolk.log());
        kolk.kill();
        knowing.send_to(&setup.input, 4, &new[third..]);
        let kolk = setup.start("a");
        let second = setup.start("b");
        send(&knowing, 2 * third..rows.len());
        reader.read_until((each + 1) * rows.len(), SOON);
        kolk.stop();
        second.stop();
        broker.settled(&setup.output);
        reader.read(SOON);
        assert_eq!(reader.count, (each + 1) * rows.len());
        let is_new = |key: &str| key.starts_with("new-");
        let found = |nth| {
            let found = of(nth, &reader.outputs).into_iter();
            found.filter(|(key, _)| is_new(key) == (nth == 3)).collect::<Outputs>()
        };
        for (nth, rows) in [(1, &left), (2, &right), (3, &new)].into_iter().filter(|(_, rows)| !rows.is_empty()) {
            assert_equal(&found(nth), &expected(setup.path(), rows));
        }
    }
}

#[test]
fn state_of_several_topics_is_adopted_and_reset() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "several-adopt", STATE);
    let other = format!("{}-other", setup.input);
    broker.topic(&other, &[]);
    reads(&setup, &format!("[{}, {other}]", setup.input));
    let rows = series(8, 30);
    let (left, right) = (rows_of(1, &rows), rows_of(2, &rows));
    let half = rows.len() / 2;
    let sender = Sender::new(&broker);
    let mut reader = Reader::new(&broker, &setup.output);
    let send = |range: std::ops::Range<usize>| {
        sender.send(&setup.input, &left[range.clone()]);
        sender.send(&other, &right[range]);
        sender.flush();
    };
    send(0..half);
    let kolk = setup.start("a");
    reader.read_until(2 * half, SOON);
    let file = setup.file();
    let file = file.to_str().unwrap();
    let (_, running) = common::kolk_exits(2, &["state", "adopt", file, "--yes"]);
    assert!(running.contains("has members"), "{running}");
    kolk.stop();
    // The group's offsets are gone: each partition of each topic continues where its state is.
    broker.delete_group(&setup.group);
    let (code, log) = setup.start("a").fails();
    assert!(code == 2 && log.contains("kolk state adopt"), "{code} {log}");
    let (_, told) = common::kolk_exits(0, &["state", "adopt", file, "--yes"]);
    for topic in [&setup.input, &other] {
        for partition in 0..PARTITIONS {
            let named = told.lines().any(|line| line.contains(&format!("partition {topic}-{partition}: continues at")));
            assert!(named, "{topic}-{partition} in {told}");
        }
    }
    assert!(told.contains("repeats nothing") && !told.contains("skips"), "{told}");
    send(half..rows.len());
    let kolk = setup.start("a");
    reader.read_until(2 * rows.len(), SOON);
    kolk.stop();
    broker.settled(&setup.output);
    reader.read(SOON);
    assert_eq!(reader.count, 2 * rows.len());
    let once: Vec<Outputs> = [&left, &right].map(|rows| expected(setup.path(), rows)).into();
    for (nth, expected) in (1..).zip(&once) {
        assert_equal(&of(nth, &reader.outputs), expected);
    }

    // Without state everything comes again, of all topics, from where `--to` says.
    let (_, told) = common::kolk_exits(0, &["state", "reset", file, "--to", "earliest", "--yes"]);
    for topic in [&setup.input, &other] {
        assert!(told.contains(&format!("partition {topic}-{} begins at offset 0", PARTITIONS - 1)), "{told}");
        assert_eq!(broker.committed(&setup.group, topic), [Some(0); PARTITIONS as usize]);
    }
    let kolk = setup.start("a");
    reader.read_until(4 * rows.len(), SOON);
    kolk.stop();
    broker.settled(&setup.output);
    reader.read(SOON);
    for (nth, expected) in (1..).zip(&once) {
        let twice = expected.iter().map(|(key, outputs)| (key.clone(), [&outputs[..], outputs].concat())).collect();
        assert_equal(&of(nth, &reader.outputs), &twice);
    }
    // To the end: what is there already is not read.
    common::kolk_exits(0, &["state", "reset", file, "--to", "latest", "--yes"]);
    common::kolk_exits(0, &["run", file, "--until", "end"]);
    broker.settled(&setup.output);
    reader.read(SOON);
    assert_eq!(reader.count, 4 * rows.len());
}
