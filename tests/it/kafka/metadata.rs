//! `metadata:` topic, partition, offset and timestamp of messages as columns, so that equal keys of several topics can
//! be told apart.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rdkafka::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::{Value, json};

use super::broker::Broker;
use super::front;
use super::process::Setup;
use super::records::all;
use crate::common::kolk_exits;

/// Records of a key in a topic.
const ROWS: i64 = 4;

/// Where a message was: topic, partition, offset, timestamp.
type At = (String, i64, i64, i64);

/// A pipeline over two topics; what is between the record and the sink, and the sink.
fn write(broker: &Broker, setup: &Setup, other: &str, group: &str, stages: &str, sink: &str) -> String {
    let text = format!(
        "name: {group}\n\
         source:\n  kafka:\n    brokers: \"{}\"\n    topics: [{}, {other}]\n    group: {}-{group}\n    key: key\n    \
         until: end\n    metadata: {{ topic: shop, partition: part, offset: nr, timestamp: sent }}\n\
         record: {{ key: key, time: {{ column: ts, unit: ms }}, values: [value] }}\n\
         {stages}\n\
         sink: {{ {sink} }}\n\
         dead_letters: {{ parquet: {{ path: dead/ }} }}\n",
        broker.address, setup.input, setup.group
    );
    let file = setup.path().join(format!("{group}.yaml"));
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_string()
}

fn number(row: &Value, field: &str) -> i64 {
    row[field].as_i64().unwrap_or_else(|| panic!("{field} in {row}"))
}

/// The rows on stdout.
fn lines(out: &str) -> Vec<Value> {
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn topic_partition_offset_and_timestamp_are_columns() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "metadata", "");
    let other = format!("{}-other", setup.input);
    broker.topic(&other, &[]);
    let producer: BaseProducer = broker.client().set("partitioner", "murmur2_random").create().unwrap();
    let mut timestamp = chrono::Utc::now().timestamp_millis() - 60_000;
    for n in 0..ROWS {
        for topic in [&setup.input, &other] {
            for key in ["a", "b", "c", "d", "e"] {
                // The last record of a key can't be decoded.
                let value = if n == ROWS - 1 { json!("bad") } else { json!(n) };
                let payload = json!({ "ts": n * 60_000 + 1, "value": value, "part": "of the message" }).to_string();
                timestamp += 1;
                let record = BaseRecord::to(topic).key(key).payload(&payload).timestamp(timestamp);
                producer.send(record).map_err(|(error, _)| error).unwrap();
            }
        }
    }
    producer.flush(Duration::from_secs(60)).unwrap();
    let mut sent: BTreeMap<At, (String, i64)> = BTreeMap::new();
    for message in [&setup.input, &other].into_iter().flat_map(|topic| all(&broker, topic)) {
        let at = (message.topic().to_string(), i64::from(message.partition()), message.offset());
        let at = (at.0, at.1, at.2, message.timestamp().to_millis().unwrap());
        let payload: Value = serde_json::from_slice(message.payload().unwrap()).unwrap();
        let key = String::from_utf8(message.key().unwrap().to_vec()).unwrap();
        sent.insert(at, (key, number(&payload, "ts")));
    }
    let last = (ROWS - 1) * 60_000 + 1;
    assert_eq!(sent.len() as i64, ROWS * 10);

    // Into a topic, through a filter that compares them.
    let filter = format!("stages:\n  - filter: {{ where: \"shop != '{other}' or part >= 0 and nr >= 1\" }}");
    let sink = format!("kafka: {{ topic: {}, fields: [shop, part, nr, sent] }}", setup.output);
    let file = write(&broker, &setup, &other, "plain", &filter, &sink);
    let (_, said) = kolk_exits(0, &["check", &file]);
    assert!(said.contains("field \"part\" is not read: with `metadata`, the column of this name is"), "{said}");
    kolk_exits(0, &["run", &file]);
    let mut found: BTreeMap<At, (String, i64)> = BTreeMap::new();
    for message in all(&broker, &setup.output) {
        let row: Value = serde_json::from_slice(message.payload().unwrap()).unwrap();
        let sent = chrono::DateTime::parse_from_rfc3339(row["sent"].as_str().unwrap()).unwrap().timestamp_millis();
        let at = (row["shop"].as_str().unwrap().to_string(), number(&row, "part"), number(&row, "nr"), sent);
        let ts = row["ts"].as_i64().unwrap();
        found.insert(at, (row["key"].as_str().unwrap().to_string(), ts));
    }
    let mut expected = sent.clone();
    expected.retain(|(topic, _, offset, _), (_, ts)| *ts != last && (*topic != other || *offset >= 1));
    assert_eq!(found, expected);

    // Topic and partition are there after `resample` too, which is after all others.
    let resample = "stages:\n  - resample: { every: 1m }";
    let file = write(&broker, &setup, &other, "bucketed", resample, "stdout: { fields: [value, shop, part] }");
    let (out, _) = kolk_exits(0, &["run", &file]);
    let rows = lines(&out);
    let told: BTreeSet<(String, String, i64)> = rows
        .iter()
        .map(|row| {
            let text = |field: &str| row[field].as_str().unwrap().to_string();
            (text("shop"), text("key"), number(row, "part"))
        })
        .collect();
    let keys = sent.iter().map(|((topic, partition, ..), (key, _))| (topic.clone(), key.clone(), *partition));
    assert_eq!(told, keys.collect::<BTreeSet<_>>(), "{out}");
    let missing = write(&broker, &setup, &other, "gone", resample, "stdout: { fields: [value, nr] }");
    let (_, said) = kolk_exits(2, &["check", &missing]);
    assert!(said.contains("no column \"nr\""), "{said}");

    // What was refused says where it was when it is read again.
    let mended = setup.path().join("mended.yaml");
    let text = "name: mended\nsource: { dead_letters: { path: dead/, key: key, metadata: { topic: shop, partition: part, \
                offset: nr, timestamp: sent }, columns: { value: string } } }\n\
                record: { key: key, time: { column: ts, unit: ms }, values: [nothing] }\n\
                stages:\n  - filter: { where: \"part >= 0\" }\n\
                sink: { stdout: { fields: [shop, nr, part, sent, value] } }\ndead_letters: { parquet: { path: again/ } }\n";
    std::fs::write(&mended, text).unwrap();
    let (out, _) = kolk_exits(0, &["run", mended.to_str().unwrap()]);
    let again: BTreeSet<At> = lines(&out)
        .iter()
        .map(|row| {
            assert_eq!(row["value"], "bad");
            let sent = chrono::DateTime::parse_from_rfc3339(row["sent"].as_str().unwrap()).unwrap().timestamp_millis();
            (row["shop"].as_str().unwrap().to_string(), number(row, "part"), number(row, "nr"), sent)
        })
        .collect();
    let refused = sent.iter().filter(|(_, (_, ts))| *ts == last).map(|(at, _)| at.clone());
    assert_eq!(again, refused.collect::<BTreeSet<_>>(), "{out}");

    // With a schema; and from a topic alone, whose name is the pipeline's.
    let registry = front::url();
    for (format, wanted) in
        [("avro", "{\\\"name\\\":\\\"part\\\",\\\"type\\\":\\\"int\\\"}"), ("protobuf", "int64 part")]
    {
        let subject = format!("{}-{format}", setup.output);
        let sink = format!(
            "kafka: {{ topic: {}, fields: [part, shop, nr], format: {{ {format}: {{ registry: \"{registry}\", subject: {subject} }} }} }}",
            setup.output
        );
        let file = write(&broker, &setup, &other, format, "", &sink);
        let text = std::fs::read_to_string(&file).unwrap();
        let one = text.replace(&format!("topics: [{}, {other}]", setup.input), &format!("topic: {}", setup.input));
        std::fs::write(&file, one).unwrap();
        kolk_exits(0, &["run", &file]);
        let registered = front::newest(&subject);
        assert!(registered.contains(wanted), "{registered}");
        let last = all(&broker, &setup.output).pop().unwrap();
        let bytes = last.payload().unwrap();
        let name = setup.input.as_bytes();
        assert!(bytes.windows(name.len()).any(|part| part == name), "{bytes:?}");
    }
}
