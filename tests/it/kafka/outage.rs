//! A broker that is gone for longer than a session, a transaction and a request may take, and comes back.

use std::time::{Duration, Instant};

use super::broker::{Broker, eventually};
use super::process::{Kolk, Setup};
use super::records::{Reader, Sender, assert_equal, expected};
use crate::common::series;
use crate::http::{free_address, get};

/// Longer than the session timeout (6 s), the transaction's (20 s), and that of a transaction's request (15 s).
const GONE: Duration = Duration::from_secs(22);
const SOON: Duration = Duration::from_secs(60);

/// Runs a pipeline, lets `gone` take the broker away and bring it back, calling what it is given when it is gone and
/// has been for a while, and asserts that nothing is lost or doubled. So many records are sent while it is gone; where
/// none are, the topic is silent when the broker is back.
fn without_a_broker(name: &str, records: usize, gone: impl FnOnce(&Broker, &dyn Fn())) {
    let broker = Broker::own(name);
    let address = free_address();
    let extra = format!(
        "state: {{ path: state/, checkpoint_every: 1s }}\n\
         runtime: {{ workers: 2, instance: one, http: \"{address}\" }}"
    );
    let setup = Setup::new(&broker, name, &extra);
    let rows = series(12, 200);
    let expected = expected(setup.path(), &rows);
    let (sender, mut reader) = (Sender::new(&broker), Reader::new(&broker, &setup.output));
    let mut kolk: Kolk = setup.start("a");
    sender.send(&setup.input, &rows[..800]);
    reader.read_until(800, SOON);
    let ready = || get(&address, "/readyz").unwrap_or_default();
    eventually("ready", || ready().starts_with("HTTP/1.1 200").then_some(()));

    gone(&broker, &|| {
        let since = Instant::now();
        // These wait at the sender, and are written when the broker is back.
        sender.send(&setup.input, &rows[800..800 + records]);
        let not_ready = eventually("not ready", || Some(ready()).filter(|answer| answer.starts_with("HTTP/1.1 503")));
        assert!(not_ready.contains("no broker answers: waiting for one"), "{not_ready}");
        println!("{name}: not ready after {:?}", since.elapsed());
        std::thread::sleep(GONE.saturating_sub(since.elapsed()));
        assert!(ready().starts_with("HTTP/1.1 503"), "{}", ready());
    });
    kolk.assert_runs();
    let since = Instant::now();
    eventually("ready again", || ready().starts_with("HTTP/1.1 200").then_some(()));
    println!("{name}: ready again after {:?}", since.elapsed());
    sender.send(&setup.input, &rows[800 + records..]);
    sender.flush();
    eventually("all offsets", || {
        let ends: Vec<_> = broker.ranges(&setup.input, true).into_iter().map(|(_, end)| Some(end)).collect();
        let all = ends.iter().flatten().sum::<i64>() == rows.len() as i64;
        (all && broker.committed(&setup.group, &setup.input) == ends).then_some(())
    });
    println!("{name}: all records after {:?}", since.elapsed());
    kolk.stop();
    broker.settled(&setup.output);
    // One that was there before the broker went would show what its own client does about it.
    let mut reader = Reader::new(&broker, &setup.output);
    reader.read_until(rows.len(), SOON);
    reader.read(SOON);
    assert_equal(&reader.outputs, &expected);
    assert!(Reader::is_empty(&broker, &setup.dead));
}

#[test]
fn a_broker_that_is_stopped() {
    without_a_broker("stopped", 0, |broker, meanwhile| broker.restart_after(meanwhile));
}

#[test]
fn a_broker_that_does_not_answer() {
    without_a_broker("frozen", 800, |broker, meanwhile| {
        broker.signal("STOP");
        meanwhile();
        broker.signal("CONT");
    });
}

#[test]
fn a_stop_that_no_broker_answers_ends_with_the_time_of_grace() {
    let broker = Broker::own("grace");
    let extra = "state: { path: state/, checkpoint_every: 1s }\nruntime: { workers: 2, instance: one, grace: 2s }";
    let setup = Setup::new(&broker, "grace", extra);
    let rows = series(12, 100);
    let (sender, mut reader) = (Sender::new(&broker), Reader::new(&broker, &setup.output));
    let kolk = setup.start("a");
    sender.send(&setup.input, &rows[..600]);
    reader.read_until(600, SOON);
    sender.send(&setup.input, &rows[600..]);
    sender.flush();
    broker.signal("STOP");
    let since = Instant::now();
    let log = kolk.stop();
    // One request alone would wait for fifteen seconds.
    assert!(since.elapsed() < Duration::from_secs(14), "{:?}\n{log}", since.elapsed());
    assert!(log.contains("the grace period is over"), "{log}");
    broker.signal("CONT");
    let kolk = setup.start("b");
    reader.read_until(rows.len(), 2 * SOON);
    kolk.stop();
    broker.settled(&setup.output);
    reader.read(SOON);
    assert_equal(&reader.outputs, &expected(setup.path(), &rows));
}
