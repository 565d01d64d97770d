//! Rights that are missing: named before anything starts, and the end of a process that loses one.

use std::time::Duration;

use super::broker::{Broker, eventually};
use super::process::Setup;
use super::records::{Reader, Sender};
use super::secure::{PASSWORD, Secure, VARIABLE, allow, check, said};
use crate::common::series;

const EXTRA: &str = "state: { path: state/, checkpoint_every: 1s }";
const SOON: Duration = Duration::from_secs(60);

/// Waits until `kolk check` names exactly these rights as missing: an ACL takes a moment to be known.
fn assert_missing(setup: &Setup, rights: &[&str]) {
    let mut last = String::new();
    for _ in 0..10 {
        let (code, log) = said(&check(setup, PASSWORD));
        let named = rights.iter().all(|right| log.contains(&format!("the right {right} is missing")));
        let exactly =
            log.lines().filter(|line| line.starts_with(setup.file().to_str().unwrap())).count() == rights.len();
        if named && exactly && code == Some(if rights.is_empty() { 0 } else { 2 }) {
            assert_eq!(log.matches("kafka-acls.sh --add").count(), rights.len() + log.matches("warning: ").count());
            return;
        }
        last = log;
        std::thread::sleep(Duration::from_millis(200));
    }
    panic!("not {rights:?}:\n{last}");
}

#[test]
fn each_missing_right_is_named_with_its_acl() {
    let (broker, secure) = (Broker::shared(), Secure::shared());
    let setup = Setup::new(&broker, "rights", EXTRA);
    secure.enter(&broker, &setup, None, None);
    let Setup { input, output, dead, group, .. } = &setup;
    let ids = format!("test-{group}-");
    let read = format!("Read on topic \"{input}\"");
    let join = format!("Read on group \"{group}\"");
    let send = format!("Write on topic \"{output}\"");
    let letters = format!("Write on topic \"{dead}\"");
    let transact = format!("Write on transactional ids that begin with \"{ids}\"");

    // A group is only asked about once its topic is found.
    assert_missing(&setup, &[&read, &send, &letters, &transact]);
    broker.acl("--add", "Describe", &["--topic", input]);
    assert_missing(&setup, &[&read, &join, &send, &letters, &transact]);
    broker.acl("--add", "Read", &["--topic", input]);
    assert_missing(&setup, &[&join, &send, &letters, &transact]);
    broker.acl(
        "--add",
        "Describe",
        &["--topic", output, "--topic", dead, "--group", group, "--transactional-id", &ids],
    );
    assert_missing(&setup, &[&join, &send, &letters, &transact]);
    broker.acl("--add", "Read", &["--group", group]);
    assert_missing(&setup, &[&send, &letters, &transact]);
    broker.acl("--add", "Write", &["--topic", output]);
    assert_missing(&setup, &[&letters, &transact]);
    broker.acl("--add", "Write", &["--topic", dead]);
    assert_missing(&setup, &[&transact]);
    // And a run says the same words.
    let (code, log) = setup.start_with("a", &[(VARIABLE, PASSWORD)]).fails();
    assert_eq!(code, 1, "{log}");
    assert!(log.contains(&format!("the right {transact} is missing")), "{log}");
    broker.acl("--add", "Write", &["--transactional-id", &ids]);
    assert_missing(&setup, &[]);
    let (_, log) = said(&check(&setup, PASSWORD));
    assert_eq!(log.matches("warning: the right DescribeConfigs on topic").count(), 3, "{log}");
}

#[test]
fn a_right_that_is_taken_away_ends_the_process() {
    let (broker, secure) = (Broker::shared(), Secure::shared());
    let setup = Setup::new(&broker, "taken", EXTRA);
    secure.enter(&broker, &setup, None, None);
    allow(&broker, &setup);
    let Setup { input, output, group, .. } = &setup;
    let (sender, mut reader) = (Sender::new(&broker), Reader::new(&broker, output));
    let rows = series(8, 100);
    let mut sent = 0;
    let cases = [
        ("Write", ["--topic", output.as_str()], format!("Write on topic \"{output}\" is missing")),
        ("Read", ["--topic", input.as_str()], format!("Read on topic \"{input}\" is missing")),
        ("Read", ["--group", group.as_str()], format!("Read on group \"{group}\" is missing")),
    ];
    for (operation, on, words) in cases {
        let kolk = setup.start_with("a", &[(VARIABLE, PASSWORD)]);
        sender.send(input, &rows[sent..sent + 100]);
        sent += 100;
        reader.read_until(sent, SOON);
        broker.acl("--remove", operation, &on);
        sender.send(input, &rows[sent..sent + 100]);
        sender.flush();
        sent += 100;
        let (code, log) = kolk.fails();
        assert_eq!(code, 1, "{log}");
        let general = "a right that was there is missing now";
        assert!(log.contains(&words) || log.contains(general), "{log}");
        // What check says is exact.
        eventually("check", || said(&check(&setup, PASSWORD)).1.contains(&words).then_some(()));
        broker.acl("--add", operation, &on);
        eventually("check", || (said(&check(&setup, PASSWORD)).0 == Some(0)).then_some(()));
    }
    let kolk = setup.start_with("a", &[(VARIABLE, PASSWORD)]);
    reader.read_until(sent, SOON);
    kolk.stop();
    broker.settled(output);
    reader.read(SOON);
    assert_eq!(reader.count, sent);
}
