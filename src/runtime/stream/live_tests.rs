use super::*;
use crate::config::*;
use crate::format::*;
use crate::metrics::Metrics;
use crate::record::*;
use crate::runtime::engine::Chain;
use crate::source::Records;
use crate::source::kafka::{Client, Output};
use crate::state::{Checkpoint, Mark, murmur2};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Message};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<BTreeMap<(u32, Mark), Checkpoint>>>, Vec<(u32, Mark)>);
impl Checkpoints for Memory {
    fn find(&mut self, p: u32, c: Mark) -> crate::Result<Found> {
        let all = self.0.lock().unwrap();
        let of: Vec<Mark> = all.keys().filter(|k| k.0 == p).map(|k| k.1).collect();
        Ok(Found {
            usable: of.iter().filter(|m| m.sequence <= c.sequence && m.offset <= c.offset).max().copied(),
            newest: of.iter().max().copied(),
        })
    }
    fn load(&mut self, p: u32, m: Mark) -> crate::Result<Checkpoint> {
        Ok(self.0.lock().unwrap()[&(p, m)].clone())
    }
    fn write(&mut self, p: u32, c: Checkpoint) -> crate::Result<()> {
        self.1.push((p, c.mark.unwrap()));
        self.0.lock().unwrap().insert((p, c.mark.unwrap()), c);
        Ok(())
    }
    fn written(&mut self, _: Duration) -> crate::Result<Vec<(u32, Mark)>> {
        Ok(std::mem::take(&mut self.1))
    }
    fn release(&mut self, _: u32) {}
}
struct Dec;
impl Decoder for Dec {
    fn decode(&mut self, m: &Messages, range: std::ops::Range<usize>, _: &mut Decided) -> Result<Decoded, DecodeError> {
        let mut r = Records { values: vec![vec![]], ..Records::default() };
        for i in range {
            let key = m.key(i).unwrap();
            r.hashes.push(murmur2(key));
            r.key_text.extend(key);
            r.key_ends.push(r.key_text.len());
            r.times.push(m.offsets[i]);
            r.values[0].push(std::str::from_utf8(m.payload(i).unwrap()).unwrap().parse().unwrap());
            r.origins.push(crate::source::Origin { file: 0, row: m.offsets[i] as u64 });
        }
        Ok(Decoded { records: r, details: vec![] })
    }
    fn key_of(&self, _: &Messages, _: usize) -> Option<Vec<u8>> {
        None
    }
}
struct Enc;
impl Encoder for Enc {
    fn encode(&mut self, rows: &arrow::array::RecordBatch, to: &mut Payloads) -> crate::Result<()> {
        use arrow::array::AsArray;
        for v in rows.column(2).as_primitive::<arrow::datatypes::Float64Type>().values() {
            to.bytes.extend(v.to_string().into_bytes());
            to.ends.push(to.bytes.len());
        }
        Ok(())
    }
}
fn at<T>(v: T) -> At<T> {
    At::default_value(v)
}

#[test]
#[ignore]
fn live() {
    let brokers = "127.0.0.1:29092";
    tracing_subscriber::fmt().with_env_filter("info").with_writer(std::io::stderr).init();
    let id = crate::state::unique_name();
    let (tin, tout) = (format!("in-{id}"), format!("out-{id}"));
    let admin: rdkafka::admin::AdminClient<_> = ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    use rdkafka::admin::*;
    crate::state::block_on(admin.create_topics(
        &[NewTopic::new(&tin, 4, TopicReplication::Fixed(1)), NewTopic::new(&tout, 4, TopicReplication::Fixed(1))],
        &AdminOptions::new(),
    ))
    .unwrap()
    .unwrap();
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("partitioner", "murmur2_random")
        .set("queue.buffering.max.messages", "1000000")
        .create()
        .unwrap();
    let n = 200_000;
    for i in 0..n {
        producer
            .send(BaseRecord::to(&tin).key(&format!("k{}", i % 1000)).payload(&format!("{i}")))
            .map_err(|e| e.0)
            .unwrap();
    }
    producer.flush(Duration::from_secs(20)).unwrap();
    let layout = Layout {
        key_name: "key".into(),
        key_type: KeyType::Utf8,
        time_name: "ts".into(),
        clock: Clock::of(&arrow::datatypes::DataType::Int64, None).unwrap(),
        interval: None,
        columns: vec![LayoutColumn { name: "value".into(), kind: Kind::Number, role: Role::Output, scaled_by: None }],
    };
    let kin = KafkaSource {
        brokers: at(brokers.into()),
        topic: at(tin.clone()),
        group: at(id.clone()),
        format: at(Format::Json),
        key: None,
        timestamp: None,
        start: at(Start::Earliest),
        partitioned_by_key: true,
        idle: None,
        columns: vec![],
        properties: Properties(vec![
            (at("session.timeout.ms".into()), at(Secret("6000".into()))),
            (at("heartbeat.interval.ms".into()), at(Secret("1000".into()))),
        ]),
    };
    let kout = KafkaSink {
        brokers: at(brokers.into()),
        topic: at(tout.clone()),
        format: at(Format::Json),
        fields: vec![],
        headers: Headers::None,
        properties: Properties::default(),
    };
    let mut problems = Problems::new("x");
    let memory = Memory::default();
    let mut make = |worker: usize| {
        let metrics = Arc::new(Metrics::new().unwrap());
        let processing = Processing {
            pipeline: "p".into(),
            topic: tin.clone(),
            chain: Chain::new(vec![], OnLate::Process, metrics.clone()),
            layout: layout.clone(),
            decoder: Box::new(Dec),
            sink: crate::sink::plan(&Sink::Kafka(Box::new(kout.clone())), &layout, &mut problems).unwrap(),
            encoder: Box::new(Enc),
            payloads: Payloads::default(),
            emit_from: None,
            headers: false,
            tombstone: OnTombstone::Reset,
            on_error: OnError::DeadLetter,
            longest_letter: 1000,
            letters: None,
            model: String::new(),
            metrics,
            faults: Default::default(),
        };
        let settings = Settings {
            batch: 4096,
            commit_every: Duration::from_millis(100),
            commit_bytes: 1 << 20,
            checkpoint_every: Duration::from_secs(1),
            or_records: 20_000,
            start: Start::Earliest,
            idle: None,
            grace: Duration::from_secs(5),
            faults: Default::default(),
        };
        let output = Output {
            sink: kout.clone(),
            dead_letters: None,
            delivery: Delivery::ExactlyOnce,
            id: id.clone(),
            longest: 1_000_000,
        };
        Worker::new(Client::new(&kin, Some(output), worker, false).unwrap(), memory.clone(), processing, settings)
    };
    let t0 = Instant::now();
    std::thread::scope(|s| {
        let mut a = make(0);
        let mut b = make(1);
        s.spawn(move || a.run(&|| t0.elapsed() > Duration::from_secs(12)).unwrap());
        std::thread::sleep(Duration::from_millis(3200));
        s.spawn(move || b.run(&|| t0.elapsed() > Duration::from_secs(8)).unwrap());
    });
    eprintln!("done after {:?}", t0.elapsed());
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "check")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap();
    let mut list = rdkafka::TopicPartitionList::new();
    for p in 0..4 {
        list.add_partition_offset(&tout, p, rdkafka::Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let (mut seen, mut ends) = (vec![0_u32; n], 0);
    let mut last: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    while ends < 4 {
        match consumer.poll(Duration::from_secs(5)) {
            Some(Ok(m)) => {
                let v: f64 = std::str::from_utf8(m.payload().unwrap()).unwrap().parse().unwrap();
                seen[v as usize] += 1;
                let before = last.insert(m.key().unwrap().to_vec(), v as usize);
                assert!(before.is_none_or(|b| b < v as usize), "order");
            }
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => ends += 1,
            other => panic!("{:?}", other.map(|o| o.map(|_| ()))),
        }
    }
    eprintln!(
        "missing {} double {}",
        seen.iter().filter(|n| **n == 0).count(),
        seen.iter().filter(|n| **n > 1).count()
    );
    assert!(seen.iter().all(|n| *n == 1));
}
