//! A schema registry that goes away and comes back, doesn't know an id (yet), and gets a newer schema: in front of the
//! real one is a gate.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::broker::{Broker, eventually};
use super::front::{self, register};
use super::process::{Kolk, Setup};
use super::records::{Outputs, Reader, assert_equal, count, expected, written_until};
use super::wire::{frame, zigzag};
use crate::common::{self, Row, series};

const SOON: Duration = Duration::from_secs(60);
/// Checkpoints at the first start only, so that a kill leaves everything to be replayed.
const EXTRA: &str = "state: { path: state/, checkpoint_every: 1h }\nruntime: { instance: one }";
const FIRST: &str =
    r#"{"type":"record","name":"M","fields":[{"name":"ts","type":"long"},{"name":"value","type":"double"}]}"#;
const SECOND: &str = r#"{"type":"record","name":"M","fields":[{"name":"ts","type":"long"},{"name":"note","type":"string","default":""},{"name":"value","type":"double"}]}"#;

/// Lets connections to the registry through, cuts them, or says in its place that it knows nothing.
struct Gate {
    url: String,
    state: Arc<Mutex<State>>,
}

enum State {
    Open(Vec<TcpStream>),
    Closed,
    /// Takes connections and never says a word.
    Silent(Vec<TcpStream>),
    Forgetful,
}

impl Gate {
    fn new() -> Gate {
        let registry = front::url();
        let (host, path) = registry.trim_start_matches("http://").split_once('/').unwrap();
        let host = host.to_string();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/{path}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::Open(Vec::new())));
        let now = state.clone();
        // It ends with the process of the tests.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                match &mut *now.lock().unwrap() {
                    State::Open(through) => {
                        through.push(client.try_clone().unwrap());
                        let server = TcpStream::connect(&host).unwrap();
                        let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                        std::thread::spawn(move || pass(from, to));
                        std::thread::spawn(move || pass(server, client));
                    }
                    State::Closed => {}
                    State::Silent(held) => held.push(client),
                    State::Forgetful => knows_nothing(client),
                }
            }
        });
        Gate { url, state }
    }

    fn open(&self) {
        self.be(State::Open(Vec::new()));
    }

    fn close(&self) {
        self.be(State::Closed);
    }

    fn be_silent(&self) {
        self.be(State::Silent(Vec::new()));
    }

    fn forget(&self) {
        self.be(State::Forgetful);
    }

    fn be(&self, state: State) {
        if let State::Open(through) = std::mem::replace(&mut *self.state.lock().unwrap(), state) {
            for connection in through {
                // It may have ended already.
                let _ = connection.shutdown(Shutdown::Both);
            }
        }
    }
}

fn knows_nothing(mut client: TcpStream) {
    let _ = client.read(&mut [0; 4096]);
    let body = r#"{"error_code":40403,"message":"Schema not found"}"#;
    let head = format!("HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    let _ = client.write_all((head + body).as_bytes());
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Both);
}

/// A record as the schemas above say, in Confluent's frame.
fn avro(id: u32, note: Option<&str>, ts: i64, value: f64) -> Vec<u8> {
    let mut bytes = frame(id);
    zigzag(ts, &mut bytes);
    if let Some(note) = note {
        zigzag(note.len() as i64, &mut bytes);
        bytes.extend(note.as_bytes());
    }
    bytes.extend(value.to_le_bytes());
    bytes
}

/// A pipeline that reads Avro, the registry in front of its own, the first schema's id, and a producer.
struct Avro {
    broker: Broker,
    gate: Gate,
    setup: Setup,
    first: u32,
    producer: BaseProducer,
}

impl Avro {
    fn new(name: &str, extra: &str) -> Avro {
        let (broker, gate) = (Broker::shared(), Gate::new());
        let setup = Setup::new(&broker, name, extra);
        let producer = broker.client().set("partitioner", "murmur2_random").create().unwrap();
        let first = register(&format!("{}-value", setup.input), "AVRO", FIRST);
        let avro = Avro { broker, gate, setup, first, producer };
        avro.reads("");
        avro
    }

    /// Puts the format into the pipeline file, with further words.
    fn reads(&self, more: &str) {
        let text = std::fs::read_to_string(self.setup.file()).unwrap();
        let (before, rest) = text.split_once("key: key,").unwrap();
        let (_, rest) = rest.split_once("properties").unwrap();
        let format = format!("key: key, format: {{ avro: {{ registry: \"{}\"{more} }} }}, properties", self.gate.url);
        std::fs::write(self.setup.file(), format!("{before}{format}{rest}")).unwrap();
    }

    /// Registers CHANGED, and has it read. Under another subject: a record with another name is no compatible change to
    /// this registry.
    fn change(&self) -> u32 {
        let subject = format!("{}-changed", self.setup.input);
        let id = register(&subject, "AVRO", CHANGED);
        self.reads(&format!(", subject: {subject}"));
        id
    }

    fn register(&self, schema: &str) -> u32 {
        register(&format!("{}-value", self.setup.input), "AVRO", schema)
    }

    fn send(&self, rows: &[Row], payload: impl Fn(&Row) -> Vec<u8>) {
        for row in rows {
            let payload = payload(row);
            let record = BaseRecord::to(&self.setup.input).key(row.0.as_str()).payload(&payload);
            self.producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        self.producer.flush(SOON).unwrap();
    }

    fn send_first(&self, rows: &[Row]) {
        self.send(rows, |(_, ts, value)| avro(self.first, None, *ts, *value));
    }
}

/// An [`Avro`] whose process has taken the first 60 of its records, and what must come of all of them.
struct Running {
    all: Avro,
    rows: Vec<Row>,
    expected: Outputs,
    reader: Reader,
    kolk: Kolk,
}

impl Running {
    fn new(name: &str, extra: &str, each: usize) -> Running {
        let all = Avro::new(name, extra);
        let rows = series(6, each);
        let expected = expected(all.setup.path(), &rows);
        let mut reader = Reader::new(&all.broker, &all.setup.output);
        let kolk = all.setup.start("a");
        all.send_first(&rows[..60]);
        reader.read_until(60, SOON);
        Running { all, rows, expected, reader, kolk }
    }
}

impl Avro {
    /// All outputs are there, and so many dead letters.
    fn ends_with(&self, reader: &Reader, expected: &Outputs, dead: usize) {
        assert_equal(&reader.outputs, expected);
        assert_eq!(count(&self.broker, &self.setup.dead), dead, "decided once");
    }
}

fn partition(key: &str) -> u32 {
    (kolk::record::murmur2(key.as_bytes()) & 0x7fff_ffff) % super::broker::PARTITIONS as u32
}

#[test]
fn only_the_partition_that_needs_it_waits_for_a_registry() {
    let Running { all, rows, expected, mut reader, kolk } = Running::new("waits", "", 40);

    let second = all.register(SECOND);
    let waits = partition(&rows[0].0);
    let (waiting, others): (Vec<Row>, Vec<Row>) =
        rows[60..].iter().cloned().partition(|row| partition(&row.0) == waits);
    assert!(!others.is_empty());
    all.gate.be_silent();
    all.send(&waiting, |(_, ts, value)| avro(second, Some(""), *ts, *value));
    eventually("the wait", || kolk.log().contains("waiting before it is tried again").then_some(()));
    // Longer than a worker would ask, and than its transaction lives.
    let pieces = others.len().div_ceil(12);
    for piece in others.chunks(pieces) {
        all.send_first(piece);
        reader.follow(Duration::from_secs(1));
    }
    reader.read_until(60 + others.len(), Duration::from_secs(5));
    assert_eq!(reader.count, 60 + others.len(), "nothing of what waits");
    assert_eq!(kolk.log().matches("waiting before it is tried again").count(), 1, "it is logged once");
    all.gate.open();
    reader.read_until(rows.len(), SOON);
    let log = kolk.stop();
    assert!(log.contains("continuing"), "{log}");
    all.ends_with(&reader, &expected, 0);
}

#[test]
fn a_schema_that_is_known_a_moment_later_makes_no_dead_letter() {
    let Running { all, rows, expected, mut reader, kolk } = Running::new("moment", "", 20);
    let second = all.register(SECOND);
    all.gate.forget();
    all.send(&rows[60..], |(_, ts, value)| avro(second, Some(""), *ts, *value));
    std::thread::sleep(Duration::from_millis(700));
    all.gate.open();
    reader.read_until(rows.len(), SOON);
    kolk.stop();
    all.ends_with(&reader, &expected, 0);
}

#[test]
fn a_backlog_in_which_every_second_schema_is_unknown() {
    let all = Avro::new("unknown", EXTRA);
    let rows = series(1, 500);
    let expected = expected(all.setup.path(), &rows);
    let twice: Vec<Row> = rows.iter().flat_map(|row| [row.clone(), row.clone()]).collect();
    let number = std::cell::Cell::new(0);
    all.send(&twice, |(_, ts, value)| {
        number.set(number.get() + 1);
        avro(if number.get() % 2 == 0 { all.first } else { 2_000_000_000 }, None, *ts, *value)
    });
    let mut reader = Reader::new(&all.broker, &all.setup.output);
    let kolk = all.setup.start("a");
    // Killed on the way: what was decided is obeyed.
    reader.read_until(100, SOON);
    kolk.kill();
    let kolk = all.setup.start("a");
    reader.read_until(rows.len(), SOON);
    eventually("dead letters", || (count(&all.broker, &all.setup.dead) == rows.len()).then_some(()));
    kolk.stop();
    all.broker.settled(&all.setup.output);
    reader.read(SOON);
    all.ends_with(&reader, &expected, rows.len());
}

/// FIRST with nearly everything changed that may be; and the bytes of its records.
const CHANGED: &str = r#"{"type":"record","name":"Measure","namespace":"new","doc":"renamed","connect.version":2,"fields":[
    {"name":"value","type":["null","double"],"default":null},{"name":"ts","type":"long","default":0,"aliases":["at"]}]}"#;

fn changed(id: u32, ts: i64, value: f64) -> Vec<u8> {
    // The first schema's fields the other way round, and the branch of the union before the value.
    let first = avro(id, None, ts, value);
    let (time, value) = first[5..].split_at(first.len() - 13);
    [&first[..5], &[2], value, time].concat()
}

#[test]
fn state_goes_on_with_a_schema_that_changed() {
    let Running { all, rows, expected, mut reader, kolk } = Running::new("changed", EXTRA, 40);
    kolk.stop();

    // A backlog of both, by a process that starts with the new one.
    let second = all.change();
    all.send_first(&rows[60..90]);
    all.send(&rows[90..120], |(_, ts, value)| changed(second, *ts, *value));
    let kolk = all.setup.start("a");
    reader.read_until(120, SOON);
    kolk.stop();

    // The words of the version before are understood.
    let made_by = all.setup.path().join("state/test/pipeline.json");
    let text = std::fs::read_to_string(&made_by).unwrap();
    let mut fingerprint: serde_json::Value = serde_json::from_str(&text).unwrap();
    let earlier = format!("Some((\"{}\", Some(\"key\"), None)) Avro {FIRST}", all.setup.input);
    assert_ne!(fingerprint["sections"]["source"], *earlier);
    fingerprint["sections"]["source"] = earlier.into();
    std::fs::write(&made_by, fingerprint.to_string()).unwrap();
    common::kolk_exits(0, &["check", all.setup.file().to_str().unwrap()]);

    // The schema of the start is pinned, by its id or its version; what is not there is named.
    for (schema, expected) in
        [("{ version: 77 }", "has no version 77 of subject"), ("2000000000", "has no schema with id 2000000000")]
    {
        all.reads(&format!(", schema: {schema}"));
        let (_, found) = common::kolk_exits(2, &["check", all.setup.file().to_str().unwrap()]);
        assert!(found.contains(expected), "{found}");
    }
    all.reads(&format!(", schema: {}", all.first));
    common::kolk_exits(0, &["check", all.setup.file().to_str().unwrap()]);
    all.reads(", schema: { version: 1 }");
    common::kolk_exits(0, &["check", all.setup.file().to_str().unwrap()]);
    std::fs::write(&made_by, text).unwrap();
    let kolk = all.setup.start("a");
    all.send(&rows[120..], |(_, ts, value)| changed(second, *ts, *value));
    reader.read_until(rows.len(), SOON);
    kolk.stop();
    all.ends_with(&reader, &expected, 0);
}

#[test]
fn files_go_on_with_a_schema_that_changed_and_wait_for_one_that_is_new() {
    let all = Avro::new("files", "");
    let rows = series(6, 40);
    let expected = expected(all.setup.path(), &rows);
    all.setup.write(
        &all.broker,
        "parquet: { path: out/, fields: [value] }",
        "state: { path: state/, checkpoint_every: 200ms }",
    );
    all.reads("");
    let out = all.setup.path().join("out");
    let read = |outputs: usize| written_until(&out, outputs);
    let kolk = all.setup.start("a");
    all.send_first(&rows[..60]);
    read(60);
    let second = all.change();
    all.gate.forget();
    all.send(&rows[60..120], |(_, ts, value)| changed(second, *ts, *value));
    std::thread::sleep(Duration::from_millis(700));
    all.gate.open();
    read(120);
    kolk.stop();
    let kolk = all.setup.start("a");
    all.send_first(&rows[120..180]);
    all.send(&rows[180..], |(_, ts, value)| changed(second, *ts, *value));
    let found = read(rows.len());
    kolk.stop();
    assert_equal(&found, &expected);
}

#[test]
fn a_registry_is_waited_for_and_what_it_does_not_know_is_decided_once() {
    let Running { all, rows, expected, mut reader, kolk } = Running::new("registry", EXTRA, 50);
    let Avro { broker, gate, setup, first, .. } = &all;
    let first = *first;
    let send = |rows: &[Row], id: u32, note: Option<&str>| {
        all.send(rows, |(_, ts, value)| avro(id, note, *ts, *value));
    };

    // Nothing is known about a schema that was never fetched while the registry is silent; later messages wait too.
    let second = all.register(SECOND);
    gate.close();
    send(&rows[60..120], second, Some("new"));
    send(&rows[120..126], first, None);
    eventually("the wait", || kolk.log().contains("waiting before it is tried again").then_some(()));
    reader.follow(Duration::from_secs(1));
    assert_eq!((reader.count, count(broker, &setup.dead)), (60, 0), "nothing is decided");
    gate.open();
    reader.read_until(126, SOON);

    // An id that it doesn't know is a dead letter, and its neighbours are not.
    let wrong: Vec<Row> = rows[..4].iter().map(|(key, _, value)| (key.clone(), 0, *value)).collect();
    send(&wrong, 2_000_000_000, None);
    send(&rows[126..180], second, Some(""));
    reader.read_until(180, SOON);
    eventually("dead letters", || (count(broker, &setup.dead) == wrong.len()).then_some(()));

    // Killed with everything to be replayed, by a process that reads with the newer schema from the start.
    kolk.kill();
    let kolk = setup.start("a");
    send(&rows[180..], first, None);
    reader.read_until(rows.len(), SOON);
    kolk.stop();
    broker.settled(&setup.output);
    reader.read(SOON);
    all.ends_with(&reader, &expected, wrong.len());
}
