//! A schema registry that goes away and comes back, doesn't know an id, and gets a newer schema: in front of the real one stands a gate.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::broker::{Broker, eventually};
use super::process::Setup;
use super::records::{Reader, assert_equal, count, expected};
use crate::common::{Row, series};

const SOON: Duration = Duration::from_secs(60);
/// Checkpoints at the first start only, so that a kill leaves everything to be replayed.
const EXTRA: &str = "state: { path: state/, checkpoint_every: 1h }\nruntime: { instance: one }";
const FIRST: &str =
    r#"{"type":"record","name":"M","fields":[{"name":"ts","type":"long"},{"name":"value","type":"double"}]}"#;
const SECOND: &str = r#"{"type":"record","name":"M","fields":[{"name":"ts","type":"long"},{"name":"note","type":"string","default":""},{"name":"value","type":"double"}]}"#;

/// Lets connections to the registry through, or cuts them.
struct Gate {
    url: String,
    /// Those that are through; none where it is closed.
    through: Arc<Mutex<Option<Vec<TcpStream>>>>,
}

impl Gate {
    fn new() -> Gate {
        let registry = std::env::var("KOLK_REGISTRY").expect("KOLK_REGISTRY is not set: `make test` sets it");
        let (host, path) = registry.trim_start_matches("http://").split_once('/').unwrap();
        let host = host.to_string();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/{path}", listener.local_addr().unwrap());
        let through = Arc::new(Mutex::new(Some(Vec::new())));
        let all = through.clone();
        // It ends with the process of the tests.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Some(open) = &mut *all.lock().unwrap() else { continue };
                open.push(client.try_clone().unwrap());
                let server = TcpStream::connect(&host).unwrap();
                let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || pass(from, to));
                std::thread::spawn(move || pass(server, client));
            }
        });
        Gate { url, through }
    }

    fn open(&self) {
        *self.through.lock().unwrap() = Some(Vec::new());
    }

    fn close(&self) {
        for connection in self.through.lock().unwrap().take().unwrap_or_default() {
            // It may have ended already.
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    /// Registers a schema; gives its id.
    fn register(&self, subject: &str, schema: &str) -> u32 {
        let (host, path) = self.url.trim_start_matches("http://").split_once('/').unwrap();
        let body = serde_json::json!({ "schema": schema }).to_string();
        let mut stream = TcpStream::connect(host).unwrap();
        write!(
            stream,
            "POST /{path}/subjects/{subject}/versions HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
             Content-Type: application/vnd.schemaregistry.v1+json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let id = answer.split_once("\"id\":").unwrap_or_else(|| panic!("{answer}")).1;
        id.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Both);
}

/// A record as the schemas above say, in Confluent's frame.
fn avro(id: u32, note: Option<&str>, ts: i64, value: f64) -> Vec<u8> {
    let zigzag = |number: i64, to: &mut Vec<u8>| {
        let mut rest = ((number << 1) ^ (number >> 63)) as u64;
        while rest >= 0x80 {
            to.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        to.push(rest as u8);
    };
    let mut bytes = vec![0];
    bytes.extend(id.to_be_bytes());
    zigzag(ts, &mut bytes);
    if let Some(note) = note {
        zigzag(note.len() as i64, &mut bytes);
        bytes.extend(note.as_bytes());
    }
    bytes.extend(value.to_le_bytes());
    bytes
}

#[test]
fn a_registry_is_waited_for_and_what_it_does_not_know_is_decided_once() {
    let (broker, gate) = (Broker::shared(), Gate::new());
    let setup = Setup::new(&broker, "registry", EXTRA);
    let text = std::fs::read_to_string(setup.file()).unwrap();
    let format = format!("key: key, format: {{ avro: {{ registry: \"{}\" }} }}, properties", gate.url);
    std::fs::write(setup.file(), text.replace("key: key, properties", &format)).unwrap();
    let rows = series(6, 50);
    let expected = expected(setup.path(), &rows);
    let producer: BaseProducer = broker.client().set("partitioner", "murmur2_random").create().unwrap();
    let send = |rows: &[Row], id: u32, note: Option<&str>| {
        for (key, ts, value) in rows {
            let payload = avro(id, note, *ts, *value);
            let record = BaseRecord::to(&setup.input).key(key.as_str()).payload(&payload);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(SOON).unwrap();
    };
    let subject = format!("{}-value", setup.input);
    let first = gate.register(&subject, FIRST);
    let mut reader = Reader::new(&broker, &setup.output);
    let kolk = setup.start("a");
    send(&rows[..60], first, None);
    reader.read_until(60, SOON);

    // Of a schema that was never asked for nothing can be said while nobody answers; what comes behind it waits too.
    let second = gate.register(&subject, SECOND);
    gate.close();
    send(&rows[60..120], second, Some("new"));
    send(&rows[120..126], first, None);
    eventually("the wait", || kolk.log().contains("waiting before it is tried again").then_some(()));
    reader.follow(Duration::from_secs(1));
    assert_eq!((reader.count, count(&broker, &setup.dead)), (60, 0), "nothing is decided");
    gate.open();
    reader.read_until(126, SOON);

    // An id that it doesn't know is a dead letter, and its neighbours are not.
    let wrong: Vec<Row> = rows[..4].iter().map(|(key, _, value)| (key.clone(), 0, *value)).collect();
    send(&wrong, 2_000_000_000, None);
    send(&rows[126..180], second, Some(""));
    reader.read_until(180, SOON);
    eventually("dead letters", || (count(&broker, &setup.dead) == wrong.len()).then_some(()));

    // Killed with everything to be replayed, by a process that reads with the newer schema from the start.
    kolk.kill();
    let kolk = setup.start("a");
    send(&rows[180..], first, None);
    reader.read_until(rows.len(), SOON);
    kolk.stop();
    broker.settled(&setup.output);
    reader.read(SOON);
    assert_equal(&reader.outputs, &expected);
    assert_eq!(count(&broker, &setup.dead), wrong.len(), "decided once");
}
