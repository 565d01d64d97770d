//! A new version of the model while the stream runs, around kills, and between two runs.

use std::collections::BTreeSet;
use std::time::Duration;

use kolk::kernel::CellKind;
use kolk::model::ModelKind;

use super::broker::{Broker, eventually};
use super::process::{Kolk, Setup};
use super::records::*;
use crate::common::{self, Row, series};
use crate::retrained;

const SOON: Duration = Duration::from_secs(60);
const EXTRA: &str = "state: { path: state/, checkpoint_every: 300ms }\n\
                     runtime: { workers: 2, instance: \"${KOLK_INSTANCE}\", model_every: 100ms }";

/// Publishes the version with that number; each has layers of another width.
pub fn publish(setup: &Setup, version: usize) {
    common::publish_units(setup.path(), "m", CellKind::Lstm, ModelKind::Carry, None, 9 + version);
}

pub fn swaps(log: &str) -> usize {
    log.matches("continues with another model version").count()
}

/// Partitions that kolk was given and has caught up with or not.
fn opened(kolk: &Kolk) {
    eventually("opened", || kolk.log().contains("partition opened").then_some(()));
}

/// Asserts one output for each record, in order, and that each version gave, from where it took over, the bits that it
/// gives from the beginning: nothing of another version is in its state, and nothing of its own is missing.
pub fn assert_law(setup: &Setup, reader: &Reader, rows: &[Row]) {
    assert_law_of(reader, rows, &|rows, infer| expected_of(setup.path(), rows, infer));
}

/// The same; `expected` is what an `infer` stage makes of rows from the beginning.
pub fn assert_law_of(reader: &Reader, rows: &[Row], expected: &dyn Fn(&[Row], &str) -> Outputs) {
    let whole = expected(rows, "model: m/1, mode: carry");
    let keys: BTreeSet<_> = reader.outputs.keys().chain(whole.keys()).collect();
    let counts = |key| [&reader.outputs, &whole].map(|outputs| outputs.get(key).map_or(0, Vec::len));
    let other: Vec<_> = keys.into_iter().map(|key| (key, counts(key))).filter(|(_, [is, due])| is != due).collect();
    assert!(other.is_empty(), "keys with another number of outputs than of records: {other:?}");
    let mut versions: Vec<i64> = reader.versions.values().flatten().copied().collect();
    versions.sort_unstable();
    versions.dedup();
    for version in versions {
        // A key is another one for each time that the version took over.
        let mut at = std::collections::BTreeMap::<&str, usize>::new();
        let mut own = Vec::new();
        for (key, ts, value) in rows {
            let n = at.entry(key.as_str()).or_default();
            if reader.outputs[key][*n].model_version == version {
                own.push((format!("{key}#{}", reader.made_by[key][*n]), *ts, *value));
            }
            *n += 1;
        }
        let mut fresh = expected(&own, &format!("model: m/{version}, mode: carry"));
        for (key, outputs) in &mut fresh {
            let (name, number) = key.rsplit_once('#').unwrap();
            let number: usize = number.parse().unwrap();
            let made = reader.made_by[name].iter().zip(&reader.outputs[name]).zip(&whole[name]);
            let (found, times): (Vec<_>, Vec<_>) = made
                .filter(|((by, _), _)| **by == number)
                .map(|((_, found), whole)| (found, whole.prediction_time))
                .unzip();
            // The distance of a key's records is known to every version, from the first.
            outputs.iter_mut().zip(times).for_each(|(output, time)| output.prediction_time = time);
            assert!(
                outputs.iter().eq(found.iter().copied()),
                "{key} of version {version}\nfound {found:#?}\nexpected {outputs:#?}"
            );
        }
    }
}

#[test]
fn a_version_that_is_published_meanwhile_takes_over_once() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "swap", EXTRA);
    let rows = series(20, 200);
    let (sender, mut reader) = (Sender::new(&broker), Reader::new(&broker, &setup.output));
    let kolk = setup.start("a");
    sender.send(&setup.input, &rows[..1000]);
    reader.read_until(1000, SOON);
    publish(&setup, 2);
    for piece in rows[1000..3000].chunks(100) {
        sender.send(&setup.input, piece);
        reader.follow(Duration::from_millis(40));
    }
    eventually("all partitions", || (swaps(&kolk.log()) == 4).then_some(()));
    sender.send(&setup.input, &rows[3000..]);
    reader.read_until(rows.len(), SOON);
    let log = kolk.stop();
    assert!(log.contains("from=\"m/1\"") || log.contains("from=m/1"), "{log}");
    broker.settled(&setup.output);
    reader.read(SOON);
    assert_eq!(reader.versions.values().collect::<Vec<_>>(), vec![&vec![1, 2]; 4]);
    assert_law(&setup, &reader, &rows);
    assert!(Reader::is_empty(&broker, &setup.dead));
}

#[test]
fn windows_are_kept_so_that_nothing_warms_up_again() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "swap-window", EXTRA);
    let publish = |units| {
        common::publish_units(setup.path(), "w", CellKind::Gru, ModelKind::Window, Some(5), units);
    };
    publish(9);
    let text = std::fs::read_to_string(setup.file()).unwrap();
    std::fs::write(setup.file(), text.replace("model: m, mode: carry", "model: w, mode: window, window: 5")).unwrap();
    let rows = series(20, 40);
    let (sender, mut reader) = (Sender::new(&broker), Reader::new(&broker, &setup.output));
    let kolk = setup.start("a");
    sender.send(&setup.input, &rows[..400]);
    reader.read_until(400, SOON);
    publish(12);
    eventually("all partitions", || (swaps(&kolk.log()) == 4).then_some(()));
    sender.send(&setup.input, &rows[400..]);
    reader.read_until(rows.len(), SOON);
    kolk.stop();
    let of = |version: i64| expected_of(setup.path(), &rows, &format!("model: w/{version}, mode: window, window: 5"));
    let (mut expected, second) = (of(1), of(2));
    for (key, outputs) in &mut expected {
        outputs.truncate(20);
        outputs.extend(second[key][20..].iter().cloned());
    }
    assert_equal(&reader.outputs, &expected);
}

/// A key that only the newer version has seen has the vector that training gave it from the swap on, and the others
/// theirs, wherever they are in its list now; states and windows of the other vocabulary are gone.
#[test]
fn a_version_with_another_vocabulary_looks_its_own_ids_up() {
    let broker = Broker::shared();
    for (infer, kind, window) in
        [("mode: carry", ModelKind::Carry, None), ("mode: window, window: 5", ModelKind::Window, Some(5))]
    {
        let setup = Setup::new(&broker, "swap-keys", EXTRA);
        let publish = |keys: &[&str]| common::publish_keys(setup.path(), "w", kind, window, keys);
        publish(&["key-000", "key-001", "key-002", "gone"]);
        let text = std::fs::read_to_string(setup.file()).unwrap();
        std::fs::write(setup.file(), text.replace("model: m, mode: carry", &format!("model: w, {infer}"))).unwrap();
        let rows = series(20, 40);
        let (sender, mut reader) = (Sender::new(&broker), Reader::new(&broker, &setup.output));
        let kolk = setup.start("a");
        sender.send(&setup.input, &rows[..400]);
        reader.read_until(400, SOON);
        publish(&["key-007", "key-002", "key-001", "key-000"]);
        eventually("all partitions", || (swaps(&kolk.log()) == 4).then_some(()));
        sender.send(&setup.input, &rows[400..]);
        reader.read_until(rows.len(), SOON);
        kolk.stop();
        let of = |rows: &[Row], version: i64| expected_of(setup.path(), rows, &format!("model: w/{version}, {infer}"));
        let (mut expected, second) = (of(&rows, 1), of(&rows[400..], 2));
        for (key, outputs) in &mut expected {
            for (output, new) in outputs[20..].iter_mut().zip(&second[key]) {
                // The distance of a key's records is known to every version, from the first.
                *output = Output { prediction_time: output.prediction_time, ..new.clone() };
            }
        }
        assert_equal(&reader.outputs, &expected);
        // The vectors matter: with the first list, the rows behind the swap would have other outputs.
        let other = of(&rows[400..], 1);
        let numbers = |outputs: &Output| outputs.prediction.clone();
        for key in ["key-000", "key-002", "key-007"] {
            assert_ne!(numbers(&second[key][10]), numbers(&other[key][10]), "{key}");
        }
        let unseen = |key: &str| (numbers(&second[key][10]), numbers(&other[key][10]));
        assert_eq!(unseen("key-011").0, unseen("key-011").1);
    }
}

#[test]
fn killed_around_a_swap_every_record_has_its_output_once() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "swap-kill", EXTRA);
    let rows = series(20, 240);
    let (sender, mut reader) = (Sender::new(&broker), Reader::new(&broker, &setup.output));
    let mut pieces = rows.chunks(200);
    for round in 0..8 {
        let kolk = setup.start("a");
        sender.send(&setup.input, pieces.next().unwrap());
        opened(&kolk);
        publish(&setup, round + 2);
        sender.send(&setup.input, pieces.next().unwrap());
        // From the moment that the version is seen to that where the last partition has it.
        let before = || kolk.log().contains("a new version of the model");
        eventually("the version or a partition", || {
            let log = kolk.log();
            (if round % 5 == 0 { before() } else { swaps(&log) >= round % 5 }).then_some(())
        });
        std::thread::sleep(Duration::from_millis([0, 3, 11, 7][round % 4]));
        kolk.kill();
        reader.follow(Duration::from_millis(100));
    }
    let kolk = setup.start("a");
    pieces.for_each(|piece| sender.send(&setup.input, piece));
    reader.read_until(rows.len(), SOON);
    kolk.stop();
    broker.settled(&setup.output);
    reader.read(SOON);
    for versions in reader.versions.values() {
        assert!(versions.is_sorted() && versions.len() > 1, "{versions:?}");
    }
    assert_law(&setup, &reader, &rows);
    assert!(Reader::is_empty(&broker, &setup.dead));
}

#[test]
fn a_restart_with_another_champion_or_pin_swaps_and_one_that_does_not_fit_is_refused() {
    let broker = Broker::shared();
    let extra = "state: { path: state/ }\nruntime: { instance: one, model_every: never }";
    let setup = Setup::new(&broker, "swap-restart", extra);
    let rows = series(20, 100);
    let (sender, mut reader) = (Sender::new(&broker), Reader::new(&broker, &setup.output));
    let mut run = |piece: std::ops::Range<usize>, swapped: usize, killed: bool| {
        let kolk = setup.start("a");
        eventually("all partitions", || (kolk.log().matches("partition opened").count() == 4).then_some(()));
        eventually("swaps", || (swaps(&kolk.log()) == swapped).then_some(()));
        sender.send(&setup.input, &rows[piece.clone()]);
        reader.read_until(piece.end, SOON);
        assert_eq!(swaps(&kolk.log()), swapped);
        if killed {
            kolk.kill();
        } else {
            kolk.stop();
        }
    };
    run(0..500, 0, true);
    publish(&setup, 2);
    // What was killed is replayed with the version that it was done with.
    run(500..1000, 4, false);
    let text = std::fs::read_to_string(setup.file()).unwrap();
    std::fs::write(setup.file(), text.replace("model: m,", "model: m/1,")).unwrap();
    run(1000..1500, 4, true);
    run(1500..1700, 0, false);
    std::fs::write(setup.file(), text.replace("model_every: never", "model_every: 100ms")).unwrap();
    let kolk = setup.start("a");
    eventually("swaps", || (swaps(&kolk.log()) == 4).then_some(()));
    sender.send(&setup.input, &rows[1700..1800]);
    reader.read_until(1800, SOON);
    // A champion that can't be run is logged once and not used.
    common::publish(setup.path(), "m", CellKind::Lstm, ModelKind::Window, Some(4));
    eventually("the refusal", || kolk.log().contains("new model version can't be used").then_some(()));
    sender.send(&setup.input, &rows[1800..]);
    reader.read_until(rows.len(), SOON);
    let log = kolk.stop();
    assert_eq!(log.matches("new model version can't be used").count(), 1, "{log}");
    assert!(log.contains("m/3 was trained for mode window of 4"), "{log}");
    let (code, log) = setup.start("a").fails();
    assert!(code == 2 && log.contains("m/3 was trained for mode window of 4"), "{code} {log}");
    broker.settled(&setup.output);
    reader.read(SOON);
    assert_eq!(reader.versions.values().collect::<Vec<_>>(), vec![&vec![1, 2, 1, 2]; 4]);
    assert_law(&setup, &reader, &rows);
}

/// From Kafka to files, a version takes over between two runs: what is committed stays, and the next run continues.
#[test]
fn a_run_to_files_continues_with_another_version() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "swap-files", EXTRA);
    let sink = "parquet: { path: out/, fields: [value], part_records: 50 }";
    setup.write(&broker, sink, EXTRA);
    let rows = series(12, 100);
    let sender = Sender::new(&broker);
    let count = || retrained::written(setup.path()).values().map(Vec::len).sum::<usize>();
    let wait = |wanted: usize| {
        eventually("rows in files", || (setup.path().join("out").exists() && count() >= wanted).then_some(()));
    };
    sender.send(&setup.input, &rows[..600]);
    let kolk = setup.start("a");
    wait(600);
    kolk.stop();
    publish(&setup, 2);
    sender.send(&setup.input, &rows[600..]);
    let kolk = setup.start("a");
    wait(rows.len());
    let log = kolk.stop();
    assert!(log.contains("partitions continue with another model version"), "{log}");
    let found = retrained::written(setup.path());
    assert_eq!(found.len(), 12);
    for (key, found) in &found {
        assert_eq!(retrained::versions(found), [(1, 0), (2, 50)], "{key}");
        let times: Vec<i64> = found.iter().map(|row| row.0).collect();
        let sent: Vec<i64> = rows.iter().filter(|row| row.0 == *key).map(|row| row.1).collect();
        assert_eq!(times, sent, "{key}");
    }
}
