//! Records on their way in, outputs on their way back, and what the outputs should be.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::OwnedMessage;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Message, Offset, TopicPartitionList};
use serde::Deserialize;

use super::broker::{Bootstrap, Broker, PARTITIONS, eventually};
use crate::common::{self, Row};

/// One output, with floats as their bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    pub ts: i64,
    pub value: u64,
    /// Empty where there is none yet.
    pub prediction: Vec<u32>,
    /// Not known before a key's second record: the step is the time between two.
    pub prediction_time: Option<i64>,
    pub model_version: i64,
    pub warm_up: bool,
}

/// Outputs of each key, in their order.
pub type Outputs = BTreeMap<String, Vec<Output>>;

#[derive(Deserialize)]
struct Payload {
    key: String,
    ts: i64,
    value: f64,
    prediction: Option<Vec<f32>>,
    prediction_time: Option<i64>,
    model_version: i64,
    warm_up: bool,
}

/// Adds an output as it is written in JSON; gives its key.
pub fn add(outputs: &mut Outputs, payload: &[u8]) -> String {
    let payload: Payload =
        serde_json::from_slice(payload).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(payload)));
    outputs.entry(payload.key.clone()).or_default().push(Output {
        ts: payload.ts,
        value: payload.value.to_bits(),
        prediction: payload.prediction.unwrap_or_default().into_iter().map(f32::to_bits).collect(),
        prediction_time: payload.prediction_time,
        model_version: payload.model_version,
        warm_up: payload.warm_up,
    });
    payload.key
}

/// Sends records, partitioned as Java's clients do, each key in order.
pub struct Sender(BaseProducer, Bootstrap);

impl Sender {
    pub fn new(broker: &Broker) -> Sender {
        let mut config = broker.client();
        config.set("partitioner", "murmur2_random").set("enable.idempotence", "true").set("linger.ms", "5");
        // An idempotent producer of librdkafka 2.12 can stop after its broker was frozen: forever if requests timed out
        // meanwhile, until it looks for leaders again where partitions had none for a moment.
        config.set("socket.timeout.ms", "60000").set("topic.metadata.refresh.interval.ms", "5000");
        // Where the leader of a partition is killed with several requests on their way, it may begin a new epoch and
        // send again what arrived: doubled records, which are not kolk's. One at a time is sent again under its own
        // number.
        config.set("max.in.flight.requests.per.connection", "1");
        Sender(config.create().unwrap(), Bootstrap::new(broker))
    }

    /// Hands records over; they are on their way when this returns.
    pub fn send(&self, topic: &str, rows: &[Row]) {
        for (key, ts, value) in rows {
            let payload = serde_json::json!({ "ts": ts, "value": value }).to_string();
            let mut record = BaseRecord::to(topic).key(key).payload(&payload);
            while let Err((error, back)) = self.0.send(record) {
                assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::QueueFull), "{error}");
                self.0.poll(Duration::from_millis(10));
                self.1.repeat(self.0.client());
                record = back;
            }
        }
        self.0.poll(Duration::ZERO);
        self.1.repeat(self.0.client());
    }

    /// Sends messages of any payload, by their keys.
    pub fn send_text(&self, topic: &str, messages: &[(String, String)]) {
        for (key, payload) in messages {
            let record = BaseRecord::to(topic).key(key).payload(payload);
            self.0.send(record).map_err(|(error, _)| error).unwrap();
        }
        self.0.poll(Duration::ZERO);
    }

    /// Sends records to one partition, whatever their keys are.
    pub fn send_to(&self, topic: &str, partition: i32, rows: &[Row]) {
        for (key, ts, value) in rows {
            let payload = serde_json::json!({ "ts": ts, "value": value }).to_string();
            let record = BaseRecord::to(topic).key(key).payload(&payload).partition(partition);
            self.0.send(record).map_err(|(error, _)| error).unwrap();
        }
        self.flush();
    }

    /// Waits until all of them are in the topic.
    pub fn flush(&self) {
        let started = Instant::now();
        while let Err(error) = self.0.flush(Duration::from_secs(5)) {
            assert!(started.elapsed() < Duration::from_secs(120), "{error}");
            self.1.repeat(self.0.client());
        }
    }
}

/// Sends records in a transaction and aborts it: nobody sees them, but they have offsets.
pub fn send_and_abort(broker: &Broker, topic: &str, rows: &[Row]) {
    in_transaction(broker, topic, rows).0.abort_transaction(Duration::from_secs(60)).unwrap();
}

/// Sends records in a transaction, whose marker has the last offset of each partition it was in.
pub fn send_and_commit(broker: &Broker, topic: &str, rows: &[Row]) {
    in_transaction(broker, topic, rows).0.commit_transaction(Duration::from_secs(60)).unwrap();
}

/// A producer whose transaction has these records, and is open.
fn in_transaction(broker: &Broker, topic: &str, rows: &[Row]) -> Sender {
    let mut config = broker.client();
    config.set("partitioner", "murmur2_random").set("transactional.id", super::broker::unique("transaction"));
    let sender = Sender(config.create().unwrap(), Bootstrap::new(broker));
    sender.0.init_transactions(Duration::from_secs(60)).unwrap();
    sender.0.begin_transaction().unwrap();
    sender.send(topic, rows);
    sender.flush();
    sender
}

/// Takes a transactional id away from its owner.
pub fn fence(broker: &Broker, id: &str) {
    let producer: BaseProducer = broker.client().set("transactional.id", id).create().unwrap();
    producer.init_transactions(Duration::from_secs(60)).unwrap();
}

/// A consumer of committed messages at the beginning of a topic, which reports the end.
pub fn at_the_beginning(broker: &Broker, topic: &str) -> BaseConsumer {
    reading(broker, topic, &[Offset::Beginning; PARTITIONS as usize])
}

/// The same, from an offset of each partition on.
fn reading(broker: &Broker, topic: &str, from: &[Offset]) -> BaseConsumer {
    let mut config = broker.client();
    config.set("group.id", "readers-of-tests").set("enable.auto.commit", "false");
    config.set("isolation.level", "read_committed").set("enable.partition.eof", "true");
    let consumer: BaseConsumer = config.create().unwrap();
    let mut all = TopicPartitionList::new();
    for (partition, offset) in (0..).zip(from) {
        all.add_partition_offset(topic, partition, *offset).unwrap();
    }
    consumer.assign(&all).unwrap();
    consumer
}

/// All committed messages of a topic.
pub fn all(broker: &Broker, topic: &str) -> Vec<OwnedMessage> {
    let consumer = at_the_beginning(broker, topic);
    let (mut messages, mut ends) = (Vec::new(), 0);
    while ends < PARTITIONS {
        match consumer.poll(Duration::from_secs(30)).expect("messages or ends") {
            Ok(message) => messages.push(message.detach()),
            Err(KafkaError::PartitionEOF(_)) => ends += 1,
            Err(error) => panic!("{error}"),
        }
    }
    messages
}

/// How many committed messages there are.
pub fn count(broker: &Broker, topic: &str) -> usize {
    all(broker, topic).len()
}

/// Reads a topic from its beginning, committed messages only.
pub struct Reader {
    consumer: BaseConsumer,
    broker: Broker,
    topic: String,
    /// The next offset of each partition.
    next: [i64; PARTITIONS as usize],
    /// When something last came.
    heard: Instant,
    /// Which partitions were read to where they end at present.
    ends: [bool; PARTITIONS as usize],
    partition_of: BTreeMap<String, i32>,
    pub outputs: Outputs,
    /// Per partition, the model versions of its outputs, each as often as it took over.
    pub versions: BTreeMap<i32, Vec<i64>>,
    /// Per key, which of its partition's versions made each of its outputs, by number.
    pub made_by: BTreeMap<String, Vec<usize>>,
    /// Messages read.
    pub count: usize,
}

impl Reader {
    pub fn new(broker: &Broker, topic: &str) -> Reader {
        Reader {
            consumer: at_the_beginning(broker, topic),
            broker: Broker::at(&broker.address),
            topic: topic.into(),
            next: [0; PARTITIONS as usize],
            heard: Instant::now(),
            ends: [false; PARTITIONS as usize],
            partition_of: BTreeMap::new(),
            outputs: Outputs::new(),
            versions: BTreeMap::new(),
            made_by: BTreeMap::new(),
            count: 0,
        }
    }

    /// Reads until nothing more is there, for that long at most.
    pub fn read(&mut self, most: Duration) {
        let until = Instant::now() + most;
        while self.step() && Instant::now() < until {}
    }

    /// Reads whatever comes in that time.
    pub fn follow(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.step();
        }
    }

    /// Reads the next message, if there is one soon; says whether the end of all partitions isn't reached.
    fn step(&mut self) -> bool {
        match self.consumer.poll(Duration::from_millis(50)) {
            Some(Ok(message)) => {
                let partition = message.partition() as usize;
                self.ends[partition] = false;
                self.next[partition] = message.offset() + 1;
                self.heard = Instant::now();
                let message = message.detach();
                self.take(message.partition(), message.key(), message.payload().unwrap());
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                self.ends[partition as usize] = true;
                self.heard = Instant::now();
            }
            // A broker that restarts: the client finds it again by itself.
            Some(Err(_)) => {}
            None => {
                // It may have lost its brokers for good: confluentinc/librdkafka#5301.
                if self.heard.elapsed() > Duration::from_secs(20) {
                    self.heard = Instant::now();
                    self.consumer = reading(&self.broker, &self.topic, &self.next.map(Offset::Offset));
                }
                return !self.ends.iter().all(|end| *end);
            }
        }
        true
    }

    fn take(&mut self, partition: i32, key: Option<&[u8]>, payload: &[u8]) {
        let of = add(&mut self.outputs, payload);
        assert_eq!(key, Some(of.as_bytes()), "the message's key is the record's");
        self.count += 1;
        let version = self.outputs[&of].last().unwrap().model_version;
        let versions = self.versions.entry(partition).or_default();
        if versions.last() != Some(&version) {
            versions.push(version);
        }
        self.made_by.entry(of.clone()).or_default().push(versions.len() - 1);
        let before = *self.partition_of.entry(of).or_insert(partition);
        assert_eq!(before, partition, "a key in two partitions");
    }

    /// Reads until that many messages came.
    pub fn read_until(&mut self, count: usize, within: Duration) {
        let started = Instant::now();
        while self.count < count {
            let left = within.checked_sub(started.elapsed());
            let left = left.unwrap_or_else(|| panic!("{} of {count} outputs after {within:?}", self.count));
            self.follow(left.min(Duration::from_millis(500)));
        }
    }

    /// Whether nothing is in the topic, not even now.
    pub fn is_empty(broker: &Broker, topic: &str) -> bool {
        broker.ranges(topic, false).iter().all(|(start, end)| start == end)
    }
}

/// What the binary makes of records in a Parquet file, with the model `m` of the folder.
pub fn expected(folder: &Path, rows: &[Row]) -> Outputs {
    expected_of(folder, rows, "model: m, mode: carry")
}

/// The same with any `infer` stage.
pub fn expected_of(folder: &Path, rows: &[Row], infer: &str) -> Outputs {
    for name in ["out", "state"] {
        let _ = std::fs::remove_dir_all(folder.join("reference").join(name));
    }
    let reference = folder.join("reference");
    std::fs::create_dir_all(&reference).unwrap();
    common::write(&reference.join("data.parquet"), rows, 10_000);
    let sink = "parquet: { path: out/, fields: [value] }";
    let file = common::pipeline(&reference, infer, sink, "models: ../models");
    common::kolk_exits(0, &["run", file.to_str().unwrap()]);
    written(&reference.join("out"))
}

/// The outputs in a folder of Parquet files, once there are `count` of them.
pub fn written_until(folder: &Path, count: usize) -> Outputs {
    eventually(&format!("{count} outputs in files"), || {
        let found = if folder.exists() { written(folder) } else { Outputs::new() };
        (found.values().map(Vec::len).sum::<usize>() == count).then_some(found)
    })
}

/// The outputs in a folder of Parquet files.
pub fn written(folder: &Path) -> Outputs {
    let mut outputs = Outputs::new();
    for name in common::files(folder).keys() {
        let file = std::fs::File::open(folder.join(name)).unwrap();
        for batch in ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap() {
            let batch = batch.unwrap();
            let column = |name: &str| batch.column_by_name(name).unwrap();
            // A time is what the source has: a timestamp from Parquet, a number of milliseconds from JSON.
            let times = |name: &str| {
                let times = arrow::compute::cast(column(name), &DataType::Int64).unwrap();
                times.as_primitive::<Int64Type>().clone()
            };
            let (ts, prediction_time) = (times("ts"), times("prediction_time"));
            for row in 0..batch.num_rows() {
                let predictions = column("prediction").as_fixed_size_list();
                let prediction = if predictions.is_null(row) {
                    Vec::new()
                } else {
                    let prediction = predictions.value(row);
                    let prediction = prediction.as_primitive::<Float32Type>();
                    assert_eq!(prediction.null_count(), 0);
                    prediction.values().iter().map(|x| x.to_bits()).collect()
                };
                outputs.entry(column("key").as_string::<i32>().value(row).to_string()).or_default().push(Output {
                    ts: ts.value(row),
                    value: column("value").as_primitive::<Float64Type>().value(row).to_bits(),
                    prediction,
                    prediction_time: prediction_time.is_valid(row).then(|| prediction_time.value(row)),
                    model_version: column("model_version").as_primitive::<Int64Type>().value(row),
                    warm_up: column("warm_up").as_boolean().value(row),
                });
            }
        }
    }
    outputs
}

/// Asserts that every record has its output: once, in order, with the same bits. Says where the first difference is.
pub fn assert_equal(found: &Outputs, expected: &Outputs) {
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (key, expected) in expected {
        let found = &found[key];
        let same = found.iter().zip(expected).take_while(|(found, expected)| found == expected).count();
        assert!(
            same == expected.len() && found.len() == expected.len(),
            "{key}: {} outputs for {} records, equal up to the {same}th\nfound    {:?}\nexpected {:?}",
            found.len(),
            expected.len(),
            &found[same.saturating_sub(1)..(same + 2).min(found.len())],
            &expected[same.saturating_sub(1)..(same + 2).min(expected.len())],
        );
    }
}
