//! A topic whose last offsets are markers of transactions and what was aborted: they are committed as well, so that the
//! lag is 0 and retention may remove them.

use std::path::Path;
use std::time::Duration;

use super::broker::{Broker, PARTITIONS, eventually};
use super::process::{Kolk, Setup};
use super::records::*;
use crate::common::{Row, series};
use crate::http::{free_address, get};

const SOON: Duration = Duration::from_secs(60);
/// Records before retention comes.
const BEFORE: usize = 200;

/// Sends records in a transaction, and others that are taken back.
fn send(broker: &Broker, setup: &Setup, rows: &[Row]) {
    send_and_commit(broker, &setup.input, rows);
    let wrong: Vec<Row> = rows.iter().take(100).map(|(key, ts, _)| (key.clone(), *ts, 1e6)).collect();
    send_and_abort(broker, &setup.input, &wrong);
}

/// Waits until everything up to the stable end is committed.
fn committed(broker: &Broker, setup: &Setup) -> Vec<i64> {
    eventually("all offsets", || {
        let ends: Vec<_> = broker.ranges(&setup.input, true).into_iter().map(|(_, end)| end).collect();
        let all = broker.committed(&setup.group, &setup.input) == ends.iter().map(|end| Some(*end)).collect::<Vec<_>>();
        all.then_some(ends)
    })
}

fn opened(kolk: &Kolk, partitions: usize) {
    eventually("opened", || {
        assert!(!kolk.log().contains("retention"), "{}", kolk.log());
        (kolk.log().matches("partition opened").count() >= partitions).then_some(())
    });
}

/// Runs over a topic that ends with markers, removes all of it, and continues with two processes. `done` waits for
/// outputs.
fn goes_on(broker: &Broker, setup: &Setup, address: &str, rows: &[Row], done: &dyn Fn(usize)) {
    send(broker, setup, &rows[..BEFORE]);
    let kolk = setup.start_with("a", &[("KOLK_HTTP", address)]);
    done(BEFORE);
    let ends = committed(broker, setup);
    eventually("no lag", || {
        let metrics = get(address, "/metrics").unwrap_or_default();
        let lags = metrics
            .lines()
            .filter(|line| line.starts_with("kolk_lag_messages{") || line.starts_with("kolk_lag_stable"));
        let lags: Vec<&str> = lags.collect();
        (lags.len() == 2 * PARTITIONS as usize && lags.iter().all(|line| line.ends_with(" 0"))).then_some(())
    });
    kolk.kill();
    broker.delete_records(&setup.input, &ends);
    let first = setup.start("a");
    opened(&first, PARTITIONS as usize);
    let second = setup.start("b");
    opened(&second, 1);
    send(broker, setup, &rows[BEFORE..]);
    done(rows.len());
    committed(broker, setup);
    first.stop();
    second.stop();
}

#[test]
fn into_a_topic_retention_may_remove_markers() {
    let broker = Broker::shared();
    let address = free_address();
    // A checkpoint is written with the records, and without the markers after them.
    let extra = "state: { path: state/, checkpoint_every: 1h, or_records: 1 }\n\
                 runtime: { instance: \"${KOLK_INSTANCE}\", commit_every: 50ms, http: \"${KOLK_HTTP:-127.0.0.1:0}\" }";
    let setup = Setup::new(&broker, "markers", extra);
    let rows = series(10, 40);
    let reader = std::cell::RefCell::new(Reader::new(&broker, &setup.output));
    goes_on(&broker, &setup, &address, &rows, &|count| reader.borrow_mut().read_until(count, SOON));
    broker.settled(&setup.output);
    let mut reader = reader.into_inner();
    reader.read(SOON);
    assert_equal(&reader.outputs, &expected(setup.path(), &rows));
}

#[test]
fn into_files_retention_may_remove_markers() {
    let broker = Broker::shared();
    let address = free_address();
    let setup = Setup::new(&broker, "markers-files", "");
    let extra = "state: { path: state/, checkpoint_every: 200ms }\nruntime: { http: \"${KOLK_HTTP:-127.0.0.1:0}\" }";
    setup.write(&broker, "parquet: { path: out/, fields: [value] }", extra);
    let rows = series(10, 40);
    goes_on(&broker, &setup, &address, &rows, &|count| {
        let out = setup.path().join("out");
        eventually("all rows", || (out.exists() && rows_in(&out) >= count).then_some(()));
    });
    assert_equal(&written(&setup.path().join("out")), &expected(setup.path(), &rows));
}

fn rows_in(out: &Path) -> usize {
    written(out).values().map(Vec::len).sum()
}
