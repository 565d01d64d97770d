//! Versions with a network for each group of keys on Kafka: the bits of a Parquet run through kills, and versions with
//! other groups or without any that take over while the pipeline runs, roll back, or need a column that isn't read.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray, TimestampMillisecondArray};
use kolk::model::{ModelKind, registry};

use super::broker::{Broker, eventually};
use super::process::Setup;
use super::records::*;
use super::swap::{assert_law_of, swaps};
use crate::common::{self, Row, series};
use crate::grouped_runs::{NETWORKS, publish_groups, publish_one, write_placed};
use crate::http::{free_address, get};

const SOON: Duration = Duration::from_secs(60);
const EXTRA: &str = "state: { path: state/, checkpoint_every: 300ms }\n\
                     runtime: { workers: 2, instance: \"${KOLK_INSTANCE}\", model_every: 100ms }";
const TRAIN: &str = "train: { target: value, horizon: 2, layers: [ lstm: 6 ], per: region }";
const KEYS: usize = 12;

/// The region of a record. Some have none, one never seen in training, or change theirs.
fn region(key: &str, ts: i64) -> Option<&'static str> {
    let row = ts / 3_600_000;
    match key.split_once('#').map_or(key, |(key, _)| key) {
        "key-000" if row < 60 => Some("north"),
        "key-003" if (40..80).contains(&row) => None,
        "key-001" | "key-003" | "key-004" => Some("north"),
        "key-000" | "key-005" => Some("south"),
        "key-002" => None,
        _ => Some("never seen"),
    }
}

fn send(sender: &Sender, topic: &str, rows: &[Row]) {
    let message = |(key, ts, value): &Row| {
        let mut payload = serde_json::json!({ "ts": ts, "value": value, "region": region(key, *ts) });
        // A field that isn't there is one without a value.
        if payload["region"].is_null() && ts / 3_600_000 % 2 == 0 {
            payload.as_object_mut().unwrap().remove("region");
        }
        (key.clone(), payload.to_string())
    };
    sender.send_text(topic, &rows.iter().map(message).collect::<Vec<_>>());
}

/// What the binary makes of them in a Parquet file.
fn of_file(folder: &Path, rows: &[Row], infer: &str) -> Outputs {
    let reference = folder.join("reference");
    let _ = std::fs::remove_dir_all(&reference);
    std::fs::create_dir_all(&reference).unwrap();
    let placed: Vec<_> = rows.iter().map(|row| (row.clone(), region(&row.0, row.1))).collect();
    write_placed(&reference, &placed);
    let sink = "parquet: { path: out/, fields: [value] }";
    let file = common::pipeline(&reference, infer, sink, "models: ../models");
    common::kolk_exits(0, &["run", file.to_str().unwrap()]);
    written(&reference.join("out"))
}

fn with_infer(setup: &Setup, infer: &str, more: &str) {
    let text = std::fs::read_to_string(setup.file()).unwrap();
    std::fs::write(setup.file(), text.replace("model: m, mode: carry", infer) + more).unwrap();
}

#[test]
fn groups_give_the_bits_of_a_file_once_through_kills() {
    let broker = Broker::shared();
    for (kind, infer) in
        [(ModelKind::Carry, "model: m, mode: carry"), (ModelKind::Window, "model: m, mode: window, window: 5")]
    {
        let setup = Setup::new(&broker, "grouped", EXTRA);
        publish_groups(setup.path(), kind, Some("region"), &NETWORKS);
        with_infer(&setup, infer, "");
        let rows = series(KEYS, 100);
        let (sender, mut reader) = (Sender::new(&broker), Reader::new(&broker, &setup.output));
        let mut from = 0;
        for to in [300, 301, 700, rows.len()] {
            let kolk = setup.start("a");
            send(&sender, &setup.input, &rows[from..to]);
            reader.read_until(to, SOON);
            from = to;
            kolk.kill();
        }
        broker.settled(&setup.output);
        reader.read(SOON);
        assert_equal(&reader.outputs, &of_file(setup.path(), &rows, infer));
        assert!(Reader::is_empty(&broker, &setup.dead));
    }
}

/// From one network to groups, to other groups, by key, and back to one, while records come in.
#[test]
fn versions_with_and_without_groups_take_over_while_it_runs() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "grouped-swap", EXTRA);
    with_infer(&setup, "model: m, mode: carry", TRAIN);
    let rows = series(KEYS, 180);
    let (sender, mut reader) = (Sender::new(&broker), Reader::new(&broker, &setup.output));
    let kolk = setup.start("a");
    let others = [("never seen", 7), ("north", 3)];
    let by_key = [("key-000", 4), ("key-000#3", 4), ("key-009", 5), ("key-009#3", 5)];
    let publish: [&dyn Fn(); 5] = [
        &|| publish_groups(setup.path(), ModelKind::Carry, Some("region"), &NETWORKS),
        &|| publish_groups(setup.path(), ModelKind::Carry, Some("region"), &others),
        // The law calls a key of the fourth version `key#3`.
        &|| publish_groups(setup.path(), ModelKind::Carry, None, &by_key),
        &|| publish_one(setup.path(), ModelKind::Carry, 6),
        &|| publish_groups(setup.path(), ModelKind::Carry, Some("region"), &NETWORKS),
    ];
    let pieces: Vec<&[Row]> = rows.chunks(rows.len() / 6).collect();
    let mut sent = 0;
    for (at, piece) in pieces.iter().enumerate() {
        send(&sender, &setup.input, piece);
        sent += piece.len();
        reader.read_until(sent, SOON);
        if let Some(publish) = publish.get(at) {
            publish();
            eventually("all partitions", || (swaps(&kolk.log()) == 4 * (at + 1)).then_some(()));
        }
    }
    kolk.stop();
    broker.settled(&setup.output);
    reader.read(SOON);
    assert_eq!(reader.versions.values().collect::<Vec<_>>(), vec![&vec![1, 2, 3, 4, 5, 6]; 4]);
    assert_law_of(&reader, &rows, &|rows, infer| of_file(setup.path(), rows, infer));
    assert!(Reader::is_empty(&broker, &setup.dead));
}

/// Killed while the version with groups was active, and the champion set back meanwhile: the rows since its last
/// checkpoint are replayed with it, so its column is still read.
#[test]
fn a_version_is_rolled_back_while_it_is_down() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "grouped-back", EXTRA);
    publish_groups(setup.path(), ModelKind::Carry, Some("region"), &NETWORKS);
    let rows = series(KEYS, 120);
    let (sender, mut reader) = (Sender::new(&broker), Reader::new(&broker, &setup.output));
    let kolk = setup.start("a");
    send(&sender, &setup.input, &rows[..700]);
    reader.read_until(700, SOON);
    kolk.kill();
    registry::set_champion(&setup.path().join("models"), "m", 1).unwrap();
    let kolk = setup.start("a");
    eventually("all partitions", || (swaps(&kolk.log()) == 4).then_some(()));
    send(&sender, &setup.input, &rows[700..]);
    reader.read_until(rows.len(), SOON);
    kolk.stop();
    broker.settled(&setup.output);
    reader.read(SOON);
    assert_eq!(reader.versions.values().collect::<Vec<_>>(), vec![&vec![2, 1]; 4]);
    assert_law_of(&reader, &rows, &|rows, infer| of_file(setup.path(), rows, infer));
}

/// Nothing said at its start that the column would be looked up: the version before stays, and log, metric and
/// readiness say what to do; after a restart the new one takes over.
#[test]
fn a_column_that_is_not_read_is_told_and_read_after_a_restart() {
    let broker = Broker::shared();
    let address = free_address();
    let extra = EXTRA.replace("workers: 2", &format!("workers: 2, http: \"{address}\""));
    let setup = Setup::new(&broker, "grouped-column", &extra);
    let rows = series(KEYS, 60);
    let (sender, mut reader) = (Sender::new(&broker), Reader::new(&broker, &setup.output));
    let kolk = setup.start("a");
    send(&sender, &setup.input, &rows[..300]);
    reader.read_until(300, SOON);
    publish_groups(setup.path(), ModelKind::Carry, Some("region"), &NETWORKS);
    eventually("the refusal", || kolk.log().contains("new model version can't be used").then_some(()));
    let log = kolk.log();
    assert!(log.contains("m/2 looks up column \"region\", which this process does not read"), "{log}");
    assert!(log.contains("Restart the pipeline"), "{log}");
    let metrics = get(&address, "/metrics").unwrap();
    assert!(metrics.contains("kolk_model_refused_version{model=\"m\"} 2"), "{metrics}");
    send(&sender, &setup.input, &rows[300..400]);
    reader.read_until(400, SOON);
    kolk.stop();
    let kolk = setup.start("a");
    eventually("all partitions", || (swaps(&kolk.log()) == 4).then_some(()));
    send(&sender, &setup.input, &rows[400..]);
    reader.read_until(rows.len(), SOON);
    kolk.stop();
    assert_eq!(reader.versions.values().collect::<Vec<_>>(), vec![&vec![1, 2]; 4]);
    assert_law_of(&reader, &rows, &|rows, infer| of_file(setup.path(), rows, infer));
}

/// What tells the group may be a number or a flag: a message's is that of a file's column, whether the file of the
/// pipeline says its type or not.
#[test]
fn numbers_and_flags_tell_the_group_on_both_sources() {
    let broker = Broker::shared();
    let code = |key: &str| (key.ends_with(['0', '3', '5'])).then_some(if key.ends_with('5') { -8_i64 } else { 7 });
    let flag = |key: &str| code(key).map(|code| code > 0);
    for (column, values, declared, record) in [
        ("code", [("-8", 2), ("7", 3)], "", "[value]"),
        ("code", [("-8", 2), ("7", 3)], ", columns: { code: int64 }", "[value]"),
        ("code", [("-8", 2), ("7", 3)], "", "[value, code]"),
        ("flag", [("false", 2), ("true", 3)], "", "[value]"),
        ("flag", [("false", 2), ("true", 3)], ", columns: { flag: boolean }", "[value]"),
    ] {
        let setup = Setup::new(&broker, "grouped-types", EXTRA);
        publish_groups(setup.path(), ModelKind::Carry, Some(column), &values);
        let text = std::fs::read_to_string(setup.file()).unwrap();
        let text = text.replace("key: key, prop", &format!("key: key{declared}, prop"));
        std::fs::write(setup.file(), text.replace("values: [value]", &format!("values: {record}"))).unwrap();
        let rows = series(8, 20);
        let reference = setup.path().join("reference");
        std::fs::create_dir_all(&reference).unwrap();
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("key", Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.0.as_str())))),
            ("ts", Arc::new(TimestampMillisecondArray::from_iter_values(rows.iter().map(|row| row.1)))),
            ("value", Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.2)))),
            ("code", Arc::new(Int64Array::from_iter(rows.iter().map(|row| code(&row.0))))),
            ("flag", Arc::new(BooleanArray::from_iter(rows.iter().map(|row| flag(&row.0))))),
        ];
        common::write_columns(&reference.join("data.parquet"), columns, 100);
        let sink = "parquet: { path: out/, fields: [value] }";
        let file = common::pipeline(&reference, "model: m, mode: carry", sink, "models: ../models");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replace("values: [value]", &format!("values: {record}"))).unwrap();
        common::kolk_exits(0, &["run", file.to_str().unwrap()]);
        let expected = written(&reference.join("out"));
        let (sender, mut reader) = (Sender::new(&broker), Reader::new(&broker, &setup.output));
        let kolk = setup.start("a");
        let message = |(key, ts, value): &Row| {
            let payload = serde_json::json!({ "ts": ts, "value": value, "code": code(key), "flag": flag(key) });
            (key.clone(), payload.to_string())
        };
        sender.send_text(&setup.input, &rows.iter().map(message).collect::<Vec<_>>());
        reader.read_until(expected.values().map(Vec::len).sum(), SOON);
        kolk.stop();
        broker.settled(&setup.output);
        reader.read(SOON);
        assert_equal(&reader.outputs, &expected);
        // The groups are told: with one network those keys have other numbers.
        let one = of_file(setup.path(), &rows, "model: m/1, mode: carry");
        assert_ne!(expected["key-000"][9].prediction, one["key-000"][9].prediction, "{column}{declared} {record}");
        assert_ne!(expected["key-000"][9].prediction, expected["key-005"][9].prediction);
    }
}

/// The range of a topic trains the networks of a file with the same records.
#[test]
fn a_topic_trains_the_networks_of_a_file() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "grouped-trained", "");
    let rows = series(6, 200);
    let sender = Sender::new(&broker);
    send(&sender, &setup.input, &rows[..900]);
    sender.flush();
    let ends: Vec<String> =
        (0..).zip(broker.ranges(&setup.input, true)).map(|(at, of)| format!("{at}: {}", of.1)).collect();
    send(&sender, &setup.input, &rows[900..]);
    sender.flush();
    let train = "target: value, horizon: 2, layers: [ gru: 4 ], chunk: 16, updates: 20, per: key";
    let until = format!("train: {{ {train}, data: {{ until: {{ {} }} }} }}\n", ends.join(", "));
    with_infer(&setup, "model: trained, mode: carry", &until);
    let (_, told) = common::kolk_exits(0, &["train", setup.file().to_str().unwrap()]);
    assert!(told.contains("900 records read"), "{told}");

    let folder = setup.path().join("files");
    std::fs::create_dir_all(&folder).unwrap();
    let placed: Vec<_> = rows[..900].iter().map(|row| (row.clone(), region(&row.0, row.1))).collect();
    write_placed(&folder, &placed);
    let file = common::pipeline(&folder, "model: trained, mode: carry", "stdout: {}", &format!("train: {{ {train} }}"));
    common::kolk_exits(0, &["train", file.to_str().unwrap()]);
    let graphs = |folder: &Path| {
        let mut files = common::files(&folder.join("models/trained/1"));
        files.retain(|name, _| name.ends_with(".onnx"));
        files
    };
    assert_eq!(graphs(setup.path()).len(), 7);
    assert!(graphs(setup.path()) == graphs(&folder));
}
