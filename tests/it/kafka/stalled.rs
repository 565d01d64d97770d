//! A client that stops to receive: after its broker was away it asks whether its positions are still right, and gets no
//! answer on a connection that lives.

use std::time::Duration;

use serde_json::json;

use super::broker::{Broker, eventually};
use super::process::{Kolk, Setup};
use super::proxy::Proxy;
use super::records::{Reader, Sender, assert_equal, expected, written_until};
use crate::common::{Row, series};
use crate::http::{free_address, get, value};

const SOON: Duration = Duration::from_secs(120);

/// A pipeline whose client reaches the broker through a proxy, and the records that it gets.
struct Stalled {
    broker: Broker,
    proxy: Proxy,
    address: String,
    setup: Setup,
    sender: Sender,
    rows: Vec<Row>,
}

impl Stalled {
    /// Before the start: `sink` is the pipeline's, or else Kafka, and the state is written as often as `every` says.
    fn new(name: &str, sink: Option<&str>, every: &str) -> Stalled {
        let broker = Broker::own(name);
        let proxy = Proxy::new(&broker);
        let address = free_address();
        let setup = Setup::new(&broker, name, "");
        let topic = format!("kafka: {{ topic: {}, fields: [value] }}", setup.output);
        let extra = format!(
            "state: {{ path: state/, checkpoint_every: {every} }}\n\
             runtime: {{ workers: 1, instance: one, http: \"{address}\" }}"
        );
        setup.write(&broker.behind(&proxy), sink.unwrap_or(&topic), &extra);
        let sender = Sender::new(&broker);
        Stalled { broker, proxy, address, setup, sender, rows: series(12, 100) }
    }

    /// Lets the group wait for a broker that restarts: what it gives again has no position that could be asked about.
    fn patient(self) -> Stalled {
        let text = std::fs::read_to_string(self.setup.file()).unwrap();
        assert!(text.contains("session.timeout.ms: 6000"), "{text}");
        std::fs::write(self.setup.file(), text.replace("session.timeout.ms: 6000", "session.timeout.ms: 45000"))
            .unwrap();
        self
    }

    fn send(&self, range: std::ops::Range<usize>) {
        self.sender.send(&self.setup.input, &self.rows[range]);
        self.sender.flush();
    }

    /// The broker restarts and never answers whether positions are still right; then the other half of the records
    /// comes.
    fn stands_still(&mut self) {
        self.proxy.rules(&[json!({ "keys": ["OffsetForLeaderEpoch"], "mode": "drop" })]);
        self.broker.restart(Duration::ZERO);
        self.send(600..self.rows.len());
        self.proxy.wait_for("dropped", 1);
    }

    /// Stops the process, reads to the end and compares.
    fn ends(&self, kolk: Kolk, mut reader: Reader) {
        kolk.stop();
        self.broker.settled(&self.setup.output);
        reader.read(SOON);
        assert_equal(&reader.outputs, &expected(self.setup.path(), &self.rows));
    }

    /// How often reading was begun again, by what was done.
    fn restarts(&self, step: &str) -> f64 {
        let metrics = get(&self.address, "/metrics").unwrap_or_default();
        value(&metrics, &format!("kolk_reader_restarts_total{{step=\"{step}\"}}")).unwrap_or(0.0)
    }
}

#[test]
fn a_partition_that_stands_still_is_read_again() {
    let mut it = Stalled::new("stalled", None, "1h").patient();
    let mut reader = Reader::new(&it.broker, &it.setup.output);
    let mut kolk = it.setup.start("a");
    it.send(0..600);
    reader.read_until(600, SOON);

    it.stands_still();
    reader.read_until(it.rows.len(), SOON);
    kolk.assert_runs();
    assert!(it.restarts("seek") >= 1.0, "{}", kolk.log());
    assert!(kolk.log().contains("restarting reading"), "{}", kolk.log());
    it.ends(kolk, reader);
}

#[test]
fn a_client_that_was_told_of_no_broker_is_replaced() {
    let mut it = Stalled::new("forgotten", None, "1h").patient();
    let mut reader = Reader::new(&it.broker, &it.setup.output);
    let kolk = it.setup.start("a");
    it.send(0..600);
    reader.read_until(600, SOON);

    // The restart makes every client ask. librdkafka gives up all brokers then, those of the configuration too.
    it.proxy.rules(&[json!({ "keys": ["Metadata"], "mode": "forget" })]);
    it.broker.restart(Duration::ZERO);
    it.proxy.wait_for("forgotten", 8);
    std::thread::sleep(Duration::from_secs(5));
    it.proxy.rules(&[]);
    it.send(600..it.rows.len());
    reader.read_until(it.rows.len(), SOON);
    it.ends(kolk, reader);
}

#[test]
fn what_heals_nothing_is_followed_by_the_next_step_and_the_state_stays() {
    // The state in memory must suffice: nothing is written except at the first start.
    let mut it = Stalled::new("steps", None, "1h");
    let mut reader = Reader::new(&it.broker, &it.setup.output);
    let kolk = it.setup.start("a");
    it.send(0..600);
    reader.read_until(600, SOON);

    // No client gets anything, however it asks.
    it.proxy.rules(&[json!({ "keys": ["Fetch"], "mode": "drop" })]);
    it.send(600..it.rows.len());
    for step in ["seek", "assign", "client"] {
        eventually(step, || (it.restarts(step) >= 1.0).then_some(()));
    }
    it.proxy.rules(&[]);
    reader.read_until(it.rows.len(), SOON);
    // Nothing was replayed: the new client went on with the state of the old one.
    let metrics = get(&it.address, "/metrics").unwrap();
    assert_eq!(value(&metrics, "kolk_replayed_messages_total"), Some(0.0), "{}", kolk.log());
    it.ends(kolk, reader);
}

#[test]
fn a_partition_that_stands_still_is_read_again_into_files() {
    let sink = "parquet: { path: out/, fields: [value] }";
    let mut it = Stalled::new("stalled-files", Some(sink), "300ms").patient();
    let kolk = it.setup.start("a");
    let out = it.setup.path().join("out");
    it.send(0..600);
    written_until(&out, 600);

    it.stands_still();
    let found = written_until(&out, it.rows.len());
    assert!(it.restarts("seek") >= 1.0, "{}", kolk.log());
    kolk.stop();
    assert_equal(&found, &expected(it.setup.path(), &it.rows));
}
