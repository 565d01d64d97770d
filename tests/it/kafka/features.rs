//! Features of a stream besides records: time that the clock advances, a history to begin with, tombstones, dead
//! letters and reading them back, outputs at once, beginning again elsewhere.

use std::time::Duration;

use kolk::record::{murmur2, partition_of};
use rdkafka::Message;
use rdkafka::consumer::BaseConsumer;
use rdkafka::message::{BorrowedMessage, Headers};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;

use super::broker::{Broker, PARTITIONS, eventually};
use super::process::Setup;
use super::records::{Sender, at_the_beginning};
use crate::common::{self, Row};
use crate::http::{free_address, get, value};

const SOON: Duration = Duration::from_secs(40);

/// Writes a pipeline of one's own; `source` and `rest` are lines of it.
fn write(broker: &Broker, setup: &Setup, source: &str, rest: &str) {
    let Setup { input, output, dead, group, .. } = setup;
    let text = format!(
        "name: test\n\
         source: {{ kafka: {{ brokers: \"{}\", topic: {input}, group: {group}, key: key, {source} properties: {{ session.timeout.ms: 6000 }} }} }}\n\
         record: {{ key: key, time: {{ column: ts, unit: ms }}, values: [value] }}\n\
         sink: {{ kafka: {{ topic: {output}, fields: [value] }} }}\n\
         dead_letters: {{ kafka: {{ topic: {dead} }} }}\n{rest}\n",
        broker.address
    );
    std::fs::write(setup.file(), text).unwrap();
}

/// What `read` makes of the committed messages of a topic, in the order of partitions and offsets.
pub(super) fn all<T>(broker: &Broker, topic: &str, read: impl Fn(&BorrowedMessage<'_>) -> T) -> Vec<T> {
    let consumer: BaseConsumer = at_the_beginning(broker, topic);
    let (mut found, mut ends) = (Vec::new(), 0);
    while ends < PARTITIONS {
        match consumer.poll(SOON).expect("messages or ends") {
            Ok(message) => found.push((message.partition(), read(&message))),
            Err(rdkafka::error::KafkaError::PartitionEOF(_)) => ends += 1,
            Err(error) => panic!("{error}"),
        }
    }
    found.sort_by_key(|(partition, _)| *partition);
    found.into_iter().map(|(_, found)| found).collect()
}

pub(super) fn payloads(broker: &Broker, topic: &str) -> Vec<Value> {
    all(broker, topic, |message| serde_json::from_slice(message.payload().unwrap()).unwrap())
}

pub(super) fn wait_for(broker: &Broker, topic: &str, count: usize) -> Vec<Value> {
    eventually(&format!("{count} outputs"), || Some(payloads(broker, topic)).filter(|found| found.len() >= count))
}

/// Sends messages as they are.
fn send(broker: &Broker, topic: &str, messages: &[(&str, Option<&str>)]) {
    let producer: BaseProducer = broker.client().set("partitioner", "murmur2_random").create().unwrap();
    for (key, payload) in messages {
        let mut record = BaseRecord::to(topic).key(*key);
        record.payload = *payload;
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(SOON).unwrap();
}

/// Sends records and waits until they are in the input.
fn deliver(broker: &Broker, setup: &Setup, rows: &[Row]) {
    let sender = Sender::new(broker);
    sender.send(&setup.input, rows);
    sender.flush();
}

fn rows(key: &str, from: i64, count: i64) -> Vec<Row> {
    (from..from + count).map(|ts| (key.to_string(), ts, ts as f64)).collect()
}

#[test]
fn buckets_of_a_silent_partition_are_closed_by_the_clock_once() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "idle", "");
    let stages = "stages: [ resample: { every: 1s, aggregate: sum, fill: zero, max_gap: 2s } ]\n\
                  state: { checkpoint_every: 1h }\nruntime: { instance: one }";
    write(&broker, &setup, "idle: 500ms,", stages);
    let now = chrono::Utc::now().timestamp_millis() / 1000 * 1000 - 10_000;
    deliver(&broker, &setup, &[("a".into(), now + 1, 1.0), ("a".into(), now + 2, 2.0), ("b".into(), now + 3, 5.0)]);
    let kolk = setup.start("a");
    // The bucket of the records, and two that are filled: nothing else ever shows that they are over.
    let found = wait_for(&broker, &setup.output, 6);
    kolk.kill();
    let of = |found: &[Value], key: &str| -> Vec<(i64, f64)> {
        let of = found.iter().filter(|row| row["key"] == key);
        of.map(|row| (row["ts"].as_i64().unwrap() - now, row["value"].as_f64().unwrap())).collect()
    };
    assert_eq!(of(&found, "a"), [(1000, 3.0), (2000, 0.0), (3000, 0.0)]);
    assert_eq!(of(&found, "b"), [(1000, 5.0), (2000, 0.0), (3000, 0.0)]);
    // Killed without a checkpoint: the clock's decisions are replayed without emitting, and a record for a closed
    // bucket is late.
    let kolk = setup.start("a");
    deliver(&broker, &setup, &[("a".into(), now + 4, 7.0), ("a".into(), now + 60_000, 9.0)]);
    eventually("the late record", || Some(all(&broker, &setup.dead, reason)).filter(|found| found == &["late"]));
    kolk.stop();
    assert_eq!(of(&payloads(&broker, &setup.output), "a"), [(1000, 3.0), (2000, 0.0), (3000, 0.0)]);
}

#[test]
fn days_are_those_of_the_zone_of_the_time() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "zone", "");
    write(&broker, &setup, "", "stages: [ resample: { every: 1d, aggregate: sum } ]\nruntime: { instance: one }");
    let text = std::fs::read_to_string(setup.file()).unwrap();
    let zoned = text.replace("column: ts, unit: ms", "column: ts, unit: ms, timezone: America/New_York");
    assert_ne!(text, zoned);
    std::fs::write(setup.file(), zoned).unwrap();
    let at = |text: &str| chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis();
    // Daylight saving begins on 2024-03-10: a day of 23 hours, between midnights of five and of four hours in UTC.
    let rows: Vec<Row> = [
        ("2024-03-10T05:00:00Z", 1.0),
        ("2024-03-10T05:00:01Z", 2.0),
        ("2024-03-11T04:00:00Z", 3.0),
        ("2024-03-11T04:00:01Z", 4.0),
        ("2024-03-12T04:00:01Z", 5.0),
    ]
    .map(|(text, value)| ("a".to_string(), at(text), value))
    .to_vec();
    deliver(&broker, &setup, &rows);
    let kolk = setup.start("a");
    let found = wait_for(&broker, &setup.output, 3);
    kolk.stop();
    let found: Vec<(i64, f64)> =
        found.iter().map(|row| (row["ts"].as_i64().unwrap(), row["value"].as_f64().unwrap())).collect();
    let days = ["2024-03-10T05:00:00Z", "2024-03-11T04:00:00Z", "2024-03-12T04:00:00Z"].map(at);
    assert_eq!(found, [(days[0], 1.0), (days[1], 5.0), (days[2], 4.0)]);
}

#[test]
fn into_files_the_clock_closes_buckets_too() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "idle-files", "");
    let stages = "stages: [ resample: { every: 1s, aggregate: sum, fill: zero, max_gap: 1s } ]\n\
                  state: { path: state/, checkpoint_every: 100ms }";
    write(&broker, &setup, "idle: 300ms,", stages);
    let text = std::fs::read_to_string(setup.file()).unwrap();
    let text = text.replace(
        &format!("kafka: {{ topic: {}, fields: [value] }}", setup.output),
        "parquet: { path: out/, fields: [value] }",
    );
    let text = text.replace(&format!("kafka: {{ topic: {} }}", setup.dead), "parquet: { path: dead/ }");
    std::fs::write(setup.file(), text).unwrap();
    let out = setup.path().join("out");
    let wait_for = |count: usize| {
        let rows = || if out.exists() { common::rows(&out) } else { Default::default() };
        eventually(&format!("{count} rows"), || Some(rows()).filter(|rows| rows.values().flatten().count() >= count))
    };
    let second = || chrono::Utc::now().timestamp_millis() / 1000 * 1000;
    let before = second() - 10_000;
    let kolk = setup.start("a");
    deliver(&broker, &setup, &[("a".into(), before + 1, 1.0), ("a".into(), before + 2, 2.0)]);
    // Its bucket, and one that is filled.
    wait_for(2);
    kolk.kill();
    let kolk = setup.start("a");
    eventually("the topic", || (kolk.log().matches("partition opened").count() == 4).then_some(()));
    // A bucket that the clock closed has no record after it; the output of records begins at the same position, under
    // another name. It is ahead, so that the clock can't have closed its bucket before it is read.
    let now = second() + 5_000;
    deliver(&broker, &setup, &[("a".into(), now + 999, 4.0)]);
    let rows = wait_for(4);
    kolk.stop();
    let found: Vec<(i64, f64)> = rows["a"]
        .iter()
        .map(|row| {
            let mut cells = row.split(' ');
            let mut next = || cells.next().unwrap();
            (next().parse::<i64>().unwrap(), next().parse().unwrap())
        })
        .collect();
    let expected = [(before + 1000, 3.0), (before + 2000, 0.0), (now + 1000, 4.0), (now + 2000, 0.0)];
    assert_eq!(found, expected, "{rows:?}");
}

#[test]
fn a_key_that_falls_silent_has_its_rows_by_the_others_of_its_partition() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "watermark", "");
    let rest = "on: { watermark: partition }\n\
                stages: [ resample: { every: 1s, aggregate: sum, fill: zero, max_gap: 2s, delay: 500ms } ]\n\
                state: { checkpoint_every: 1h }\nruntime: { instance: one }";
    write(&broker, &setup, "", rest);
    let in_first = |key: &String| partition_of(murmur2(key.as_bytes()), PARTITIONS as u32) == 0;
    let keys: Vec<String> = (0..).map(|n| format!("key-{n}")).filter(in_first).take(2).collect();
    let row = |key: usize, ts: i64, value: f64| (keys[key].clone(), ts, value);
    deliver(&broker, &setup, &[row(0, 100, 1.0), row(1, 200, 2.0), row(1, 1400, 4.0)]);
    let kolk = setup.start("a");
    eventually("all offsets", || {
        let ends: Vec<_> = broker.ranges(&setup.input, true).into_iter().map(|(_, end)| Some(end)).collect();
        (broker.committed(&setup.group, &setup.input) == ends).then_some(())
    });
    assert!(payloads(&broker, &setup.output).is_empty(), "1400 is not beyond 1000 and the delay");
    // Killed without a checkpoint: how far time had come is done again from the records.
    kolk.kill();
    let kolk = setup.start("a");
    deliver(&broker, &setup, &[row(1, 1501, 8.0), row(0, 900, 16.0), row(1, 3600, 32.0)]);
    let found = wait_for(&broker, &setup.output, 6);
    kolk.stop();
    let of = |key: usize| -> Vec<(i64, f64)> {
        let of = found.iter().filter(|row| row["key"] == keys[key].as_str());
        of.map(|row| (row["ts"].as_i64().unwrap(), row["value"].as_f64().unwrap())).collect()
    };
    assert_eq!(of(0), [(1000, 1.0), (2000, 0.0), (3000, 0.0)]);
    assert_eq!(of(1), [(1000, 2.0), (2000, 12.0), (3000, 0.0)]);
    assert_eq!(all(&broker, &setup.dead, reason), ["late"], "1501 closed the bucket that 900 is for");
}

#[test]
fn a_filter_reads_key_and_time() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "filter", "");
    let stages = "stages: [ filter: { where: \"key != 'b' and ts < '1970-01-01T00:00:00.004Z'\" } ]";
    write(&broker, &setup, "", stages);
    for key in ["a", "b", "c"] {
        deliver(&broker, &setup, &rows(key, 0, 6));
    }
    let kolk = setup.start("a");
    wait_for(&broker, &setup.output, 8);
    kolk.stop();
    let mut found: Vec<(String, i64)> = payloads(&broker, &setup.output)
        .iter()
        .map(|row| (row["key"].as_str().unwrap().to_string(), row["ts"].as_i64().unwrap()))
        .collect();
    found.sort();
    let expected: Vec<(String, i64)> =
        ["a", "c"].iter().flat_map(|key| (0..4).map(|ts| (key.to_string(), ts))).collect();
    assert_eq!(found, expected);
}

pub(super) fn reason(message: &BorrowedMessage<'_>) -> String {
    let headers = message.headers().expect("headers");
    let header = headers.iter().find(|header| header.key == "kolk.reason").expect("a reason");
    String::from_utf8(header.value.unwrap().to_vec()).unwrap()
}

#[test]
fn a_history_is_what_the_state_begins_with() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "history", "");
    let (old, new) = (rows("a", 0, 50), rows("a", 50, 5));
    common::write(&setup.path().join("old.parquet"), &[&old[..], &rows("b", 0, 10)[..]].concat(), 100);
    let rest = "stages: [ lags: { value: [1, 3] } ]\nstate: { checkpoint_every: 1h }\nruntime: { instance: one }";
    write(&broker, &setup, "history: { path: old.parquet, until: 1970-01-01T00:00:00.049Z },", rest);
    let text = std::fs::read_to_string(setup.file())
        .unwrap()
        .replace("fields: [value]", "fields: [value, value_lag_1, value_lag_3]");
    std::fs::write(setup.file(), text).unwrap();
    deliver(&broker, &setup, &new);
    let kolk = setup.start("a");
    let found = wait_for(&broker, &setup.output, 5);
    kolk.kill();
    // The record of 49 was cut off by `until`.
    let lags = |row: &Value| (row["value"].as_f64().unwrap(), row["value_lag_1"].as_f64(), row["value_lag_3"].as_f64());
    assert_eq!(
        found.iter().map(lags).collect::<Vec<_>>()[..2],
        [(50.0, Some(48.0), Some(46.0)), (51.0, Some(50.0), Some(47.0))]
    );
    // It is read once: the first checkpoint has it.
    std::fs::remove_file(setup.path().join("old.parquet")).unwrap();
    common::write(&setup.path().join("old.parquet"), &rows("a", 0, 1), 100);
    let kolk = setup.start("a");
    deliver(&broker, &setup, &rows("b", 70, 1));
    let found = wait_for(&broker, &setup.output, 6);
    kolk.stop();
    assert_eq!(lags(found.iter().find(|row| row["key"] == "b").unwrap()), (70.0, Some(9.0), Some(7.0)));
}

#[test]
fn tombstones_dead_letters_and_reading_them_back() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "letters", "");
    let rest = "stages: [ lags: { value: [1] } ]\nruntime: { instance: one }";
    write(&broker, &setup, "", rest);
    let text =
        std::fs::read_to_string(setup.file()).unwrap().replace("fields: [value]", "fields: [value, value_lag_1]");
    std::fs::write(setup.file(), &text).unwrap();
    let messages = [
        ("a", Some(r#"{"ts":1,"value":1}"#)),
        ("a", Some(r#"{"ts":2,"value":"#)),
        ("a", Some(r#"{"ts":3,"value":3}"#)),
        ("a", None),
        ("a", Some(r#"{"ts":4,"value":4}"#)),
        ("a", Some(r#"{"ts":5,"value":"5"}"#)),
    ];
    send(&broker, &setup.input, &messages);
    let kolk = setup.start("a");
    let found = wait_for(&broker, &setup.output, 3);
    kolk.stop();
    let lags: Vec<(f64, Option<f64>)> =
        found.iter().map(|row| (row["value"].as_f64().unwrap(), row["value_lag_1"].as_f64())).collect();
    assert_eq!(lags, [(1.0, None), (3.0, Some(1.0)), (4.0, None)], "a tombstone forgets");
    assert_eq!(all(&broker, &setup.dead, reason), ["bad_json", "bad_value"]);
    let original = |message: &BorrowedMessage<'_>| message.payload().unwrap().to_vec();
    assert_eq!(
        all(&broker, &setup.dead, original),
        [messages[1].1.unwrap().as_bytes(), messages[5].1.unwrap().as_bytes()]
    );
    // A pipeline that reads the dead letters, with carried headers.
    let again = Setup::new(&broker, "again", "");
    let text = text
        .replace(&format!("topic: {}", setup.input), &format!("topic: {}", setup.dead))
        .replace(
            &format!("dead_letters: {{ kafka: {{ topic: {}", setup.dead),
            &format!("dead_letters: {{ kafka: {{ topic: {}", again.dead),
        )
        .replace(&setup.group, &again.group)
        .replace(&setup.output, &again.output)
        .replace("name: test", "name: again");
    std::fs::write(setup.file(), text).unwrap();
    let kolk = setup.start("b");
    eventually("the letters again", || (all(&broker, &again.dead, reason).len() == 2).then_some(()));
    kolk.stop();
    assert_eq!(all(&broker, &again.dead, original), all(&broker, &setup.dead, original));
}

#[test]
fn at_least_once_sends_at_once_and_a_reset_begins_elsewhere() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "least", "");
    write(&broker, &setup, "", "runtime: { delivery: at_least_once }");
    deliver(&broker, &setup, &rows("a", 0, 10));
    let kolk = setup.start("a");
    assert_eq!(wait_for(&broker, &setup.output, 10).len(), 10);
    kolk.stop();
    let file = setup.file();
    let file = file.to_str().unwrap();
    // The state is reset where the reset says, and only there.
    common::kolk_exits(0, &["state", "reset", file, "--to", "7", "--yes"]);
    let kolk = setup.start("a");
    let values = |found: &[Value]| found.iter().map(|row| row["value"].as_f64().unwrap()).collect::<Vec<_>>();
    assert_eq!(values(&wait_for(&broker, &setup.output, 13)[10..]), [7.0, 8.0, 9.0]);
    let (_, refused) = common::kolk_exits(2, &["state", "reset", file, "--yes"]);
    assert!(refused.contains("has members"), "{refused}");
    kolk.stop();
    common::kolk_exits(0, &["state", "reset", file, "--yes"]);
    let kolk = setup.start("a");
    assert_eq!(values(&wait_for(&broker, &setup.output, 23)[13..]), (0..10).map(f64::from).collect::<Vec<_>>());
    kolk.stop();
}

#[test]
fn a_stream_is_watched_whatever_its_sink() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "watched", "");
    let address = free_address();
    let runtime = format!(
        "state: {{ path: state/, checkpoint_every: 200ms }}\nruntime: {{ instance: one, http: \"{address}\" }}"
    );
    write(&broker, &setup, "", &runtime);
    // The partition of "a" has ten messages, the others none.
    deliver(&broker, &setup, &rows("a", 0, 10));
    let watch = |expected: &[(&str, f64)]| {
        let kolk = setup.start("a");
        eventually("the metrics", || {
            let metrics = get(&address, "/metrics").unwrap_or_default();
            let is = |name: &str, least: f64| value(&metrics, name).is_some_and(|value| value >= least);
            // Before the first message as well: years would be since 1970.
            let ages = metrics.lines().filter(|line| line.starts_with("kolk_lag_seconds{"));
            let age = |line: &str| line.rsplit_once(' ').and_then(|(_, age)| age.parse::<f64>().ok());
            assert!(ages.clone().all(|line| age(line).is_some_and(|age| age < 1e6)), "{:?}", ages.collect::<Vec<_>>());
            let lags = metrics.lines().filter(|line| line.starts_with("kolk_lag_messages{")).collect::<Vec<_>>();
            let caught_up = lags.len() == PARTITIONS as usize && lags.iter().all(|line| line.ends_with(" 0"));
            let caught_up = caught_up && value(&metrics, "kolk_restoring_partitions ") == Some(0.0);
            (caught_up && expected.iter().all(|(name, least)| is(name, *least))).then_some(())
        });
        kolk.stop();
    };
    let both = [
        ("kolk_partitions ", 4.0),
        ("kolk_records_in_total ", 10.0),
        ("kolk_broker_reachable ", 1.0),
        ("kolk_lag_stable_messages{", 0.0),
        ("kolk_lag_seconds{", 0.0),
        ("kolk_checkpoint_bytes ", 1.0),
        ("kolk_state_keys ", 1.0),
        ("kolk_restore_seconds_count ", 4.0),
    ];
    let transactional = [("kolk_transactions_total{outcome=\"committed\"}", 1.0), ("kolk_commit_seconds_count ", 1.0)];
    watch(&[&both[..], &transactional].concat());
    let text = std::fs::read_to_string(setup.file()).unwrap();
    let text = text.replace(&format!("kafka: {{ topic: {}, fields", setup.output), "parquet: { path: out/, fields");
    let text = text.replace(&format!("kafka: {{ topic: {} }}", setup.dead), "parquet: { path: dead/ }");
    std::fs::write(setup.file(), text.replace("name: test", "name: files")).unwrap();
    watch(&both);
    // State that nothing came for is there too.
    watch(&[("kolk_state_keys ", 1.0)]);
    let read = || common::rows(&setup.path().join("out")).values().flatten().count();
    assert_eq!(read(), 10);
    // Where a reset says, also where the group's offsets are for show.
    common::kolk_exits(0, &["state", "reset", setup.file().to_str().unwrap(), "--to", "7", "--output", "--yes"]);
    let kolk = setup.start("a");
    eventually("rows again", || setup.path().join("out").exists().then(read).filter(|rows| *rows >= 3));
    kolk.stop();
    assert_eq!(read(), 3);
}

#[test]
fn what_is_wrong_with_topics_is_named_before_anything_starts() {
    let broker = Broker::shared();
    let setup = Setup::with_input(&broker, "check", "", &[("cleanup.policy", "compact"), ("retention.ms", "1000")]);
    write(&broker, &setup, "", "");
    let file = setup.file();
    let file = file.to_str().unwrap();
    let (_, warned) = common::kolk_exits(0, &["check", file]);
    assert!(
        warned.contains("is compacted") && warned.contains("retention") || warned.contains("keeps its records"),
        "{warned}"
    );
    let text = std::fs::read_to_string(file).unwrap();
    std::fs::write(file, text.replace(&setup.output, "no-such-topic")).unwrap();
    let (_, problems) = common::kolk_exits(2, &["check", file]);
    assert!(problems.contains("4:25: there is no topic \"no-such-topic\""), "{problems}");
    std::fs::write(file, text.replace(&broker.address, "127.0.0.1:9")).unwrap();
    let (_, problems) = common::kolk_exits(2, &["check", file]);
    assert!(problems.contains("no broker answers at 127.0.0.1:9"), "{problems}");
    common::kolk_exits(0, &["check", "--offline", file]);
}
