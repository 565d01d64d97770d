//! What is asked of a cluster: that the markers of a transaction that was confirmed arrive, wherever its partitions are
//! at the moment.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Message, Offset, TopicPartitionList};

use super::broker::{Broker, NODES, eventually, unique};

const TIMEOUT: Duration = Duration::from_secs(60);

/// If the leader of a partition is away, Kafka 4.3.1 and 4.4.0 assume that it was deleted and skip its marker
/// (KAFKA-20734): the commit is confirmed, and the message is never readable. `KOLK_KAFKA_VERSION` selects the broker.
#[test]
fn markers_of_a_confirmed_transaction_arrive() {
    let broker = Broker::cluster("markers");
    let topic = unique("markers");
    let producer: BaseProducer = broker.client().set("transactional.id", &topic).create().unwrap();
    eventually("transactions", || producer.init_transactions(TIMEOUT).ok());
    // Another node than the one that coordinates the transaction, which has to confirm it meanwhile.
    let coordinator = leader(&producer, "__transaction_state", coordinating(&producer, &topic));
    let node = (1..=NODES).find(|node| Some(*node) != coordinator).unwrap();
    broker.topic_on(&topic, node);
    eventually("a leader", || (leader(&producer, &topic, 0) == Some(node)).then_some(()));

    producer.begin_transaction().unwrap();
    producer.send(BaseRecord::<(), _>::to(&topic).payload("confirmed")).map_err(|(error, _)| error).unwrap();
    producer.flush(TIMEOUT).unwrap();
    broker.signal_node(node, "KILL");
    eventually("no leader", || leader(&producer, &topic, 0).is_none().then_some(()));
    producer.commit_transaction(TIMEOUT).unwrap();
    // Long enough that the coordinator has tried to send the marker.
    std::thread::sleep(Duration::from_secs(2));
    broker.start_node(node);
    eventually("a leader again", || (leader(&producer, &topic, 0) == Some(node)).then_some(()));

    let mut config = broker.client();
    config.set("group.id", "readers-of-tests").set("isolation.level", "read_committed");
    let consumer: BaseConsumer = config.create().unwrap();
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(&topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&from).unwrap();
    let message = eventually("the message of a confirmed transaction", || consumer.poll(TIMEOUT)?.ok());
    assert_eq!(message.payload(), Some(&b"confirmed"[..]));
}

/// Which node leads a partition, if one does.
fn leader(producer: &BaseProducer, topic: &str, partition: i32) -> Option<usize> {
    let metadata = producer.client().fetch_metadata(Some(topic), TIMEOUT).ok()?;
    let partitions = metadata.topics().first()?.partitions();
    let leader = partitions.iter().find(|found| found.id() == partition)?.leader();
    usize::try_from(leader).ok()
}

/// Which partition of Kafka's own topic a transactional id belongs to: by the hash of Java's strings.
fn coordinating(producer: &BaseProducer, id: &str) -> i32 {
    let metadata = producer.client().fetch_metadata(Some("__transaction_state"), TIMEOUT).unwrap();
    let partitions = metadata.topics()[0].partitions().len() as i32;
    let hash = id.bytes().fold(0_i32, |hash, byte| hash.wrapping_mul(31).wrapping_add(i32::from(byte)));
    (hash & i32::MAX) % partitions
}
