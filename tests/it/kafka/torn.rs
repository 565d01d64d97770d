//! Requests of transactions that are late: the client gave them up and sent them again, and the first ones arrive in
//! the client's next transaction. What librdkafka reports is success; kolk must not believe it.
//!
//! The short form is part of `make test`, the long one of `make chaos` (`KOLK_CHAOS=long`).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Message, Offset, TopicPartitionList};
use serde_json::{Value, json};

use super::broker::{Broker, eventually, unique};
use super::chaos::is_long;
use super::process::Setup;
use super::proxy::Proxy;
use super::records::*;
use crate::common::series;

const SOON: Duration = Duration::from_secs(120);
/// Kafka's own topic of what groups have committed. The brokers of the tests give it as many partitions as a test's
/// topic has.
const OFFSETS: &str = "__consumer_offsets";
const REQUESTS: [&str; 4] = ["AddPartitionsToTxn", "AddOffsetsToTxn", "EndTxn", "TxnOffsetCommit"];
/// Held on a connection that stays until the client gives up, or held while the client's connection is cut at once.
const FORMS: [&str; 2] = ["hold", "cut"];

/// Every so manieth of these requests is held, and arrives where it does harm: an EndTxn when the next transaction has
/// begun to write, a TxnOffsetCommit between the next one and its EndTxn, the others after the end of their own
/// transaction.
fn late(request: &str, form: &str, every: usize) -> Value {
    let until: &[&str] = match request {
        "EndTxn" => &["Produce"],
        "TxnOffsetCommit" => &["EndTxn", "TxnOffsetCommit", "EndTxn"],
        _ => &["EndTxn"],
    };
    let before = request == "TxnOffsetCommit";
    json!({ "keys": [request], "every": every, "mode": form, "until": until, "before": before, "most": 8 })
}

#[test]
fn late_requests_tear_no_transaction() {
    let long = is_long();
    // For each request and form: transactions at least, which requests are held, and how many of them at least.
    let (transactions, every, least) = if long { (10_000 / 8, 25, 40) } else { (20, 8, 3) };
    let broker = Broker::own("torn");
    let mut proxy = Proxy::new(&broker);
    let setup = Setup::new(&broker, "torn", "");
    // A second of patience: on a connection that stays the client sends the request again while kolk waits for the
    // commit.
    let sink = format!(
        "kafka: {{ topic: {}, fields: [value], properties: {{ socket.timeout.ms: 1000, reconnect.backoff.ms: 20 }} }}",
        setup.output
    );
    let extra =
        "state: { path: state/, checkpoint_every: 1s }\nruntime: { workers: 1, instance: one, commit_every: 10ms }";
    setup.write(&broker.behind(&proxy), &sink, extra);
    let rows = series(20, if long { 20_000 } else { 4_000 });
    let (sender, mut reader) = (Sender::new(&broker), Reader::new(&broker, &setup.output));
    let mut kolk = setup.start("a");
    let mut sent = 0;
    let mut send = |count: usize| {
        assert!(sent + count <= rows.len(), "all {sent} records are sent");
        sender.send(&setup.input, &rows[sent..sent + count]);
        sent += count;
        std::thread::sleep(Duration::from_millis(5));
        sent
    };
    send(400);
    reader.read_until(400, SOON);

    for form in FORMS {
        for request in REQUESTS {
            let since = Instant::now();
            let (held, ended) = (proxy.count("held"), proxy.requests("EndTxn"));
            proxy.rules(&[late(request, form, every)]);
            eventually(&format!("{transactions} transactions with {form} {request}"), || {
                for _ in 0..40 {
                    send(5);
                }
                kolk.assert_runs();
                let enough = proxy.requests("EndTxn") >= ended + transactions && proxy.count("held") >= held + least;
                enough.then_some(())
            });
            proxy.rules(&[]);
            // Each of them arrives, within a transaction that follows.
            eventually(&format!("the last {form} {request}"), || {
                send(5);
                (proxy.count("released") == proxy.count("held")).then_some(())
            });
            let (held, ended) = (proxy.count("held") - held, proxy.requests("EndTxn") - ended);
            println!("{form} {request}: {held} held in {ended} transactions, {:?}", since.elapsed());
        }
    }
    let sent = send(1);
    sender.flush();
    eventually("all offsets", || {
        kolk.assert_runs();
        let committed = broker.committed(&setup.group, &setup.input);
        (committed.iter().flatten().sum::<i64>() == sent as i64).then_some(())
    });
    kolk.stop();
    broker.settled(&setup.output);
    reader.read(SOON);
    let doubled = reader.count as i64 - sent as i64;
    assert_eq!((doubled, set_back(&broker, &setup.group)), (0, 0), "outputs too many, offsets set back");
    assert_equal(&reader.outputs, &expected(setup.path(), &rows[..sent]));
    assert!(Reader::is_empty(&broker, &setup.dead));
}

/// The control: such requests tear the transactions of a client that believes its library.
#[test]
fn late_requests_tear_those_of_a_plain_client() {
    let broker = Broker::own("plain");
    let mut proxy = Proxy::new(&broker);
    let topic = unique("plain");
    broker.topic(&topic, &[]);
    let mut plain = Plain::new(&broker.behind(&proxy), &topic);
    for form in FORMS {
        let before = torn(&broker, &topic);
        proxy.rules(&[late("EndTxn", form, 5)]);
        eventually(&format!("a transaction torn by {form}"), || {
            (0..10).for_each(|_| plain.transaction());
            (torn(&broker, &topic) > before).then_some(())
        });
        let before = set_back(&broker, &topic);
        proxy.rules(&[late("TxnOffsetCommit", form, 5)]);
        eventually(&format!("an offset set back by {form}"), || {
            (0..10).for_each(|_| plain.transaction());
            (set_back(&broker, &topic) > before).then_some(())
        });
    }
    let held = proxy.count("held");
    let (torn, back) = (torn(&broker, &topic), set_back(&broker, &topic));
    println!(
        "{} transactions, {held} requests held: {torn} torn, {back} times an offset was set back",
        plain.transactions
    );
}

/// Of how many transactions some messages are there and others aren't.
fn torn(broker: &Broker, topic: &str) -> usize {
    let mut seen = BTreeMap::<Vec<u8>, usize>::new();
    for message in all(broker, topic) {
        *seen.entry(message.payload().unwrap().to_vec()).or_default() += 1;
    }
    seen.values().filter(|count| **count != PARTS).count()
}

/// Messages of a plain transaction.
const PARTS: usize = 8;

/// A client that numbers its transactions, and sends the messages of one to two partitions in turn.
struct Plain {
    broker: Broker,
    topic: String,
    producer: BaseProducer,
    group: BaseConsumer,
    transactions: i64,
}

impl Plain {
    fn new(broker: &Broker, topic: &str) -> Plain {
        let group = broker.client().set("group.id", topic).create().unwrap();
        let broker = Broker::at(&broker.address);
        Plain { producer: Plain::producer(&broker, topic), broker, topic: topic.into(), group, transactions: 0 }
    }

    fn producer(broker: &Broker, id: &str) -> BaseProducer {
        let mut config = broker.client();
        config.set("transactional.id", id).set("transaction.timeout.ms", "10000").set("linger.ms", "0");
        config.set("socket.timeout.ms", "1000").set("reconnect.backoff.ms", "20");
        let producer: BaseProducer = config.create().unwrap();
        // The request that starts over may be late too.
        eventually("a producer", || producer.init_transactions(Duration::from_secs(10)).ok());
        producer
    }

    /// One transaction, whose outcome is what the client says; if it failed, a new producer ends it.
    fn transaction(&mut self) {
        self.transactions += 1;
        if self.attempt().is_err() {
            self.producer = Plain::producer(&self.broker, &self.topic);
        }
    }

    fn attempt(&self) -> Result<(), KafkaError> {
        let patience = Duration::from_secs(30);
        let payload = self.transactions.to_string();
        self.producer.begin_transaction()?;
        for part in 0..PARTS as i32 {
            let record = BaseRecord::<(), _>::to(&self.topic).payload(&payload).partition(part % 2);
            self.producer.send(record).map_err(|(error, _)| error)?;
            // The work of such a program: its messages don't come all at once.
            self.producer.poll(Duration::ZERO);
            std::thread::sleep(Duration::from_millis(3));
        }
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset(&self.topic, 0, Offset::Offset(self.transactions))?;
        self.producer.send_offsets_to_transaction(&offsets, &self.group.group_metadata().unwrap(), patience)?;
        self.producer.commit_transaction(patience)
    }
}

/// After how many transactions the offset of a group was lower than one that was committed before or in them. Between
/// two transactions lies a marker, which isn't given to readers but has an offset; of several commits of one
/// transaction the last one counts.
fn set_back(broker: &Broker, group: &str) -> usize {
    let mut messages = all(broker, OFFSETS);
    messages.sort_by_key(|message| (message.partition(), message.offset()));
    let (mut highest, mut pending) = (BTreeMap::<Vec<u8>, i64>::new(), BTreeMap::new());
    let (mut count, mut next) = (0, None);
    let behind = |pending: &BTreeMap<Vec<u8>, i64>, highest: &BTreeMap<Vec<u8>, i64>| {
        pending.iter().filter(|(of, offset)| **offset < highest[*of]).count()
    };
    for message in messages {
        if next != Some((message.partition(), message.offset())) {
            count += behind(&pending, &highest);
            pending.clear();
        }
        next = Some((message.partition(), message.offset() + 1));
        let (Some(key), Some(value)) = (message.key(), message.payload()) else { continue };
        // A version of 0 or 1, the group, the topic and the partition; then, in the value, a version and the offset.
        let (version, rest) = (i16::from_be_bytes([key[0], key[1]]), &key[4..]);
        if version < 2 && rest.starts_with(group.as_bytes()) && key[2..4] == (group.len() as u16).to_be_bytes() {
            let offset = i64::from_be_bytes(value[2..10].try_into().unwrap());
            let most = highest.entry(key.to_vec()).or_insert(offset);
            *most = offset.max(*most);
            pending.insert(key.to_vec(), offset);
        }
    }
    count + behind(&pending, &highest)
}
