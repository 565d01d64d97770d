//! Training on a range of a topic: the same bits as on a file of the same records, and nothing is left behind.

use super::broker::{Broker, PARTITIONS};
use super::process::Setup;
use super::records::{Sender, count, send_and_abort, send_and_commit};
use crate::common::{self, Row, kolk_exits, series};

const STAGES: &str = "stages:\n  - calendar: { features: [hour] }\n  - scale: { values: [value], half_life: 5d }\n  \
                      - infer: { model: trained, mode: carry }\n";
const TRAIN: &str = "target: value, inputs: [value, hour_sin], horizon: 2, layers: [ gru: 4 ], chunk: 8, updates: 12";

/// Makes the pipeline one that is trained, with these further fields of `train`.
fn write(setup: &Setup, broker: &Broker, more: &str) -> String {
    setup.write(broker, &format!("kafka: {{ topic: {} }}", setup.output), &format!("train: {{ {TRAIN}{more} }}"));
    let text = std::fs::read_to_string(setup.file()).unwrap();
    std::fs::write(setup.file(), text.replace("stages:\n  - infer: { model: m, mode: carry }\n", STAGES)).unwrap();
    setup.file().to_str().unwrap().to_string()
}

/// Model and data of what the same rows in a file train.
fn of_file(setup: &Setup, rows: &[Row], number: usize) -> (Vec<u8>, String) {
    let folder = setup.path().join("files");
    std::fs::create_dir_all(&folder).unwrap();
    common::write(&folder.join("data.parquet"), rows, 100);
    let text = format!(
        "name: test\nsource: {{ parquet: {{ path: data.parquet }} }}\nrecord: {{ key: key, time: ts, values: [value] }}\n\
         {STAGES}train: {{ {TRAIN} }}\n"
    );
    let file = folder.join("p.yaml");
    std::fs::write(&file, text).unwrap();
    kolk_exits(0, &["train", file.to_str().unwrap()]);
    model(&folder, number)
}

fn model(folder: &std::path::Path, number: usize) -> (Vec<u8>, String) {
    let version = folder.join(format!("models/trained/{number}"));
    let manifest = kolk::model::registry::read_manifest(&version).unwrap();
    (std::fs::read(version.join("model.onnx")).unwrap(), manifest.data_hash.clone())
}

#[test]
fn a_range_of_a_topic_trains_the_model_of_a_file() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "trained", "");
    let rows = series(6, 60);
    let (first, rest) = rows.split_at(120);
    let (second, third) = rest.split_at(120);
    let file = write(&setup, &broker, "");
    let sender = Sender::new(&broker);
    let send = |rows: &[Row]| {
        sender.send(&setup.input, rows);
        sender.flush();
    };
    // Aborted records and markers are between the others, and after the last one.
    send(first);
    send_and_abort(&broker, &setup.input, &third[..30]);
    let before = broker.ranges(&setup.input, true);
    send_and_commit(&broker, &setup.input, second);
    let between = broker.ranges(&setup.input, true);
    std::thread::sleep(std::time::Duration::from_millis(20));
    let moment = chrono::Utc::now().to_rfc3339();
    std::thread::sleep(std::time::Duration::from_millis(20));
    send(third);
    send_and_abort(&broker, &setup.input, &first[..30]);

    // All of it, though the group would begin behind it; the sink's topic isn't needed.
    let text = std::fs::read_to_string(&file).unwrap();
    let text = text.replace("key: key, prop", "key: key, start: latest, prop");
    std::fs::write(&file, text.replace(&setup.output, "of-another-day")).unwrap();
    let (_, said) = kolk_exits(0, &["train", &file]);
    assert!(said.contains("trains on these offsets of topic") && said.contains("360 records read"), "{said}");
    assert!(model(setup.path(), 1) == of_file(&setup, &rows, 1));

    // By offsets, which are ends of committed messages, and by time.
    let offsets = |ranges: &[(i64, i64)]| {
        let named: Vec<String> = ranges.iter().enumerate().map(|(at, range)| format!("{at}: {}", range.1)).collect();
        format!("{{ {} }}", named.join(", "))
    };
    let data = format!(", data: {{ start: {}, until: {} }}", offsets(&before), offsets(&between));
    let (_, said) = kolk_exits(0, &["train", &write(&setup, &broker, &data)]);
    assert!(said.contains("120 records read"), "{said}");
    assert!(model(setup.path(), 2) == of_file(&setup, second, 2));
    kolk_exits(0, &["train", &write(&setup, &broker, &format!(", data: {{ start: \"{moment}\" }}"))]);
    assert!(model(setup.path(), 3) == of_file(&setup, third, 3));
    kolk_exits(0, &["train", &write(&setup, &broker, &format!(", data: {{ until: \"{moment}\" }}"))]);
    assert!(model(setup.path(), 4) == of_file(&setup, &rows[..240], 4));

    // A search needs a range that stays.
    let search = "\nsearch: { over: { train.chunk: [8] } }\n";
    let searched = |data: &str, code: i32| {
        let file = write(&setup, &broker, data);
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text + search).unwrap();
        kolk_exits(code, &["search", &file]).1
    };
    assert!(searched("", 2).contains("let train.data end at a time"));
    let said = searched(&format!(", data: {{ until: {} }}", offsets(&between)), 0);
    assert!(said.contains("240 records read"), "{said}");

    // What isn't there, or no longer, is named.
    let refused = |data: &str, words: &str| {
        let (_, said) = kolk_exits(2, &["train", &write(&setup, &broker, &format!(", data: {{ {data} }}"))]);
        assert!(said.contains(words), "{data}: {said}");
    };
    refused("start: { 9: 1 }", "there is no partition 9: it has 4 partitions");
    refused("until: { 0: 100000 }", "partition 0: `until` is offset 100000, and its committed messages end before");
    broker.delete_records(&setup.input, &between.iter().map(|range| range.1).collect::<Vec<_>>());
    refused(&format!("start: {}", offsets(&before)), "are no longer there: retention");
    kolk_exits(0, &["train", &write(&setup, &broker, "")]);
    assert!(model(setup.path(), 5) == of_file(&setup, third, 5), "what is left is trained on");

    // Nothing was committed or written.
    assert_eq!(broker.committed(&setup.group, &setup.input), vec![None; PARTITIONS as usize]);
    assert_eq!((count(&broker, &setup.dead), count(&broker, &setup.output)), (0, 0));
    assert!(!setup.path().join("state").exists() && !setup.path().join("dead_letters").exists());
}
