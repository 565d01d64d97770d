//! Several topics in one source: each has state of its own, whatever their partitions and keys are called; topics that
//! appear and go; topics that get partitions.

use std::time::Duration;

use super::broker::{Broker, eventually};
use super::process::Setup;
use super::records::{Outputs, Reader, Sender, assert_equal, expected, written_until};
use crate::common::{self, Row, series};

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
