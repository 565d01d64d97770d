//! A client that stops to receive: after its broker was away it asks whether its positions are still right, and gets no answer on a
//! connection that lives.

use std::time::Duration;

use serde_json::json;

use super::broker::{Broker, eventually};
use super::process::Setup;
use super::proxy::Proxy;
use super::records::{Reader, Sender, assert_equal, expected, written};
use crate::common::series;
use crate::http::{free_address, get, value};

const SOON: Duration = Duration::from_secs(120);

/// The state in memory has to do: nothing is written but at the first start.
fn extra(address: &str) -> String {
    format!(
        "state: {{ path: state/, checkpoint_every: 1h }}\nruntime: {{ workers: 1, instance: one, http: \"{address}\" }}"
    )
}

/// Lets the group wait for a broker that restarts: what it gives anew has no position that could be asked about.
fn patient(setup: &Setup) {
    let text = std::fs::read_to_string(setup.file()).unwrap();
    assert!(text.contains("session.timeout.ms: 6000"), "{text}");
    std::fs::write(setup.file(), text.replace("session.timeout.ms: 6000", "session.timeout.ms: 45000")).unwrap();
}

/// How often reading was begun once more, by what was done.
fn restarts(address: &str, step: &str) -> f64 {
    let metrics = get(address, "/metrics").unwrap_or_default();
    value(&metrics, &format!("kolk_reader_restarts_total{{step=\"{step}\"}}")).unwrap_or(0.0)
}

#[test]
fn a_partition_that_stands_still_is_read_again() {
    let broker = Broker::own("stalled");
    let mut proxy = Proxy::new(&broker);
    let address = free_address();
    let setup = Setup::new(&broker, "stalled", "");
    let sink = format!("kafka: {{ topic: {}, fields: [value] }}", setup.output);
    setup.write(&broker.behind(&proxy), &sink, &extra(&address));
    patient(&setup);
    let rows = series(12, 100);
    let (sender, mut reader) = (Sender::new(&broker), Reader::new(&broker, &setup.output));
    let mut kolk = setup.start("a");
    sender.send(&setup.input, &rows[..600]);
    reader.read_until(600, SOON);

    proxy.rules(&[json!({ "keys": ["OffsetForLeaderEpoch"], "mode": "drop" })]);
    broker.restart(Duration::ZERO);
    sender.send(&setup.input, &rows[600..]);
    proxy.wait_for("dropped", 1);
    reader.read_until(rows.len(), SOON);
    kolk.assert_runs();
    assert!(restarts(&address, "seek") >= 1.0, "{}", kolk.log());
    assert!(kolk.log().contains("reading begins once more"), "{}", kolk.log());
    kolk.stop();
    broker.settled(&setup.output);
    reader.read(SOON);
    assert_equal(&reader.outputs, &expected(setup.path(), &rows));
}

#[test]
fn what_heals_nothing_is_followed_by_the_next_step_and_the_state_stays() {
    let broker = Broker::own("steps");
    let mut proxy = Proxy::new(&broker);
    let address = free_address();
    let setup = Setup::new(&broker, "steps", "");
    let sink = format!("kafka: {{ topic: {}, fields: [value] }}", setup.output);
    setup.write(&broker.behind(&proxy), &sink, &extra(&address));
    let rows = series(12, 100);
    let (sender, mut reader) = (Sender::new(&broker), Reader::new(&broker, &setup.output));
    let kolk = setup.start("a");
    sender.send(&setup.input, &rows[..600]);
    reader.read_until(600, SOON);

    // No client gets anything, however it asks.
    proxy.rules(&[json!({ "keys": ["Fetch"], "mode": "drop" })]);
    sender.send(&setup.input, &rows[600..]);
    for step in ["seek", "assign", "client"] {
        eventually(step, || (restarts(&address, step) >= 1.0).then_some(()));
    }
    proxy.rules(&[]);
    reader.read_until(rows.len(), SOON);
    // Nothing was replayed: the new client went on with the state of the old one.
    let metrics = get(&address, "/metrics").unwrap();
    assert_eq!(value(&metrics, "kolk_replayed_messages_total"), Some(0.0), "{}", kolk.log());
    kolk.stop();
    broker.settled(&setup.output);
    reader.read(SOON);
    assert_equal(&reader.outputs, &expected(setup.path(), &rows));
}

#[test]
fn a_partition_that_stands_still_is_read_again_into_files() {
    let broker = Broker::own("stalled-files");
    let mut proxy = Proxy::new(&broker);
    let address = free_address();
    let setup = Setup::new(&broker, "stalled-files", "");
    let extra =
        format!("state: {{ path: state/, checkpoint_every: 300ms }}\nruntime: {{ workers: 1, http: \"{address}\" }}");
    setup.write(&broker.behind(&proxy), "parquet: { path: out/, fields: [value] }", &extra);
    patient(&setup);
    let rows = series(12, 100);
    let sender = Sender::new(&broker);
    let kolk = setup.start("a");
    let out = setup.path().join("out");
    let count = || if out.exists() { written(&out).values().map(Vec::len).sum() } else { 0 };
    sender.send(&setup.input, &rows[..600]);
    eventually("the first outputs", || (count() == 600).then_some(()));

    proxy.rules(&[json!({ "keys": ["OffsetForLeaderEpoch"], "mode": "drop" })]);
    broker.restart(Duration::ZERO);
    sender.send(&setup.input, &rows[600..]);
    proxy.wait_for("dropped", 1);
    eventually("all outputs", || (count() == rows.len()).then_some(()));
    assert!(restarts(&address, "seek") >= 1.0, "{}", kolk.log());
    kolk.stop();
    assert_equal(&written(&out), &expected(setup.path(), &rows));
}
