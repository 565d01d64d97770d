//! `partitioned_by: key`, held against topics that are, that aren't, and that are by another partitioner.

use std::time::Duration;

use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::broker::{Broker, PARTITIONS};
use super::process::Setup;
use crate::common;

/// A pipeline whose key is a field of the payload, on a topic that holds three messages of each of 40 keys.
fn setup(broker: &Broker, name: &str, partitioner: &str, partition: impl Fn(usize, usize) -> Option<i32>) -> Setup {
    let setup = Setup::new(broker, name, "");
    let Setup { input, output, dead, group, .. } = &setup;
    let text = format!(
        "name: test\n\
         source: {{ kafka: {{ brokers: \"{}\", topic: {input}, group: {group}, partitioned_by: key }} }}\n\
         record: {{ key: key, time: {{ column: ts, unit: ms }}, values: [value] }}\n\
         sink: {{ kafka: {{ topic: {output} }} }}\n\
         dead_letters: {{ kafka: {{ topic: {dead} }} }}\n",
        broker.address
    );
    std::fs::write(setup.file(), text).unwrap();
    let producer: BaseProducer = broker.client().set("partitioner", partitioner).create().unwrap();
    for round in 0..3 {
        for key in 0..40 {
            let name = format!("key-{key}");
            let payload = serde_json::json!({ "key": name, "ts": round, "value": 1.0 }).to_string();
            // What goes by the key goes by this text, and the message keeps it; kolk reads the field.
            let mut record = BaseRecord::to(input).key(&name).payload(&payload);
            record.partition = partition(round, key);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
    }
    producer.flush(Duration::from_secs(60)).unwrap();
    setup
}

#[test]
fn a_topic_partitioned_as_java_does_is_taken_as_it_is() {
    let broker = Broker::shared();
    let setup = setup(&broker, "java", "murmur2_random", |_, _| None);
    let (_, said) = common::kolk_exits(0, &["check", setup.file().to_str().unwrap()]);
    assert!(!said.contains("partitioner"), "{said}");
}

#[test]
fn another_partitioner_is_warned_of() {
    let broker = Broker::shared();
    let setup = setup(&broker, "other", "consistent", |_, _| None);
    let (_, said) = common::kolk_exits(0, &["check", setup.file().to_str().unwrap()]);
    assert!(said.contains("warning: topic") && said.contains("of 40 keys in its last messages only"), "{said}");
}

#[test]
fn a_key_in_two_partitions_is_refused() {
    let broker = Broker::shared();
    let round_robin = |round: usize, key: usize| Some((round + key) as i32 % PARTITIONS);
    let setup = setup(&broker, "round", "murmur2_random", round_robin);
    let (_, said) = common::kolk_exits(2, &["check", setup.file().to_str().unwrap()]);
    assert!(
        said.contains("the topic is not partitioned by the record's key: \"key-0\" is in partitions 0, 1, 2"),
        "{said}"
    );
    assert!(said.contains("40 of 40 keys"), "{said}");
    let (code, said) = setup.start("a").fails();
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("the topic is not partitioned by the record's key"), "{said}");
}
