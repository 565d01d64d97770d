//! Bounded runs: they end by themselves, with everything before the ends of all partitions done once.

use std::time::Duration;

use super::broker::{Broker, PARTITIONS};
use super::process::Setup;
use super::records::*;
use crate::common::{Row, kolk_exits, series};

use kolk::record::{murmur2, partition_of};

const EXTRA: &str = "state: { path: state/, checkpoint_every: 1s, or_records: 500 }\n\
                     runtime: { workers: 2, instance: \"${KOLK_INSTANCE:-x}\" }";
const SOON: Duration = Duration::from_secs(60);

/// Records of which none is in the last partition.
fn rows() -> Vec<Row> {
    let is_empty = |key: &str| partition_of(murmur2(key.as_bytes()), PARTITIONS as u32) == PARTITIONS as u32 - 1;
    let rows: Vec<Row> = series(30, 120).into_iter().filter(|(key, ..)| !is_empty(key)).collect();
    assert!(rows.len() > 1500);
    rows
}

#[test]
fn a_bounded_run_ends_with_everything_done_once() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "bounded", EXTRA);
    let rows = rows();
    let expected = expected(setup.path(), &rows);
    let (sender, mut reader) = (Sender::new(&broker), Reader::new(&broker, &setup.output));
    let wrong: Vec<Row> = rows[..90].iter().map(|(key, ts, _)| (key.clone(), *ts, 1e6)).collect();
    let (first, second) = rows.split_at(1000);

    // Markers and aborted records are behind the last record, where the run has to end.
    sender.send(&setup.input, &first[..900]);
    sender.flush();
    send_and_commit(&broker, &setup.input, &first[900..]);
    send_and_abort(&broker, &setup.input, &wrong);
    // One of two processes is killed somewhere; the other one takes its partitions over, or they start again.
    let until_the_end = ["--until", "end"];
    let processes = [setup.start_as("a", &until_the_end, &[]), setup.start_as("b", &until_the_end, &[])];
    reader.read_until(1, SOON);
    let [a, b] = processes;
    a.kill();
    let a = setup.start_as("a", &until_the_end, &[]);
    let (_, log) = (a.ends(), b.ends());
    assert!(log.contains("the partition is where the run ends"), "{log}");
    reader.read(SOON);
    assert_eq!(reader.count, first.len());

    // A run that has nothing to do ends as well, and writes nothing.
    let file = setup.file();
    let file = file.to_str().unwrap();
    kolk_exits(0, &["run", file, "--until", "end"]);
    // By a time: that of the messages, not of the records. What is later is for the next run.
    sender.send(&setup.input, &second[..400]);
    sender.flush();
    std::thread::sleep(Duration::from_millis(20));
    let moment = chrono::Utc::now();
    std::thread::sleep(Duration::from_millis(20));
    sender.send(&setup.input, &second[400..]);
    sender.flush();
    kolk_exits(0, &["run", file, "--until", &moment.to_rfc3339()]);
    broker.settled(&setup.output);
    reader.read(SOON);
    assert_eq!(reader.count, first.len() + 400);
    let text = std::fs::read_to_string(setup.file()).unwrap();
    std::fs::write(setup.file(), text.replace("key: key, prop", "key: key, until: now, prop")).unwrap();
    setup.start("c").ends();
    broker.settled(&setup.output);
    reader.read(SOON);
    assert_equal(&reader.outputs, &expected);
    assert!(Reader::is_empty(&broker, &setup.dead));
    let (_, refused) = kolk_exits(2, &["run", file, "--until", "2999-01-01"]);
    assert!(refused.contains("in the future"), "{refused}");

    // Into files and to stdout, from the beginning; several workers share the partitions.
    std::fs::remove_dir_all(setup.path().join("state")).unwrap();
    let rest = EXTRA.replace("or_records: 500", "or_records: 100");
    setup.write(&broker, "parquet: { path: out/, fields: [value] }", &rest);
    let processes = [setup.start_as("d", &until_the_end, &[]), setup.start_as("e", &until_the_end, &[])];
    processes.into_iter().for_each(|process| drop(process.ends()));
    assert_equal(&written(&setup.path().join("out")), &expected);
    kolk_exits(0, &["run", file, "--until", "end"]);
    assert_equal(&written(&setup.path().join("out")), &expected);
    setup.write(&broker, "stdout: { fields: [value] }", EXTRA);
    let (lines, _) = kolk_exits(0, &["run", file, "--until", "end"]);
    let mut found = Outputs::new();
    lines.lines().for_each(|line| {
        add(&mut found, line.as_bytes());
    });
    assert_equal(&found, &expected);
}
