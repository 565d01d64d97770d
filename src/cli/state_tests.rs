use std::collections::BTreeMap;
use std::fs::File;
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::{Float32Type, Float64Type, UInt32Type, UInt64Type};
use clap::{CommandFactory, FromArgMatches};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;
use crate::config::*;
use crate::state::Checkpoints;
use crate::state::{Checkpoint, CommitPosition, Log, ModelEpoch, Pages, RowLayout, RowSpan, StateSpec};

const PARTITIONS: u32 = 4;

fn pipeline(root: &Path) -> Pipeline {
    let at = |name: &str| At::default_value(Location(root.join(name).display().to_string()));
    let word = |word: &str| At::default_value(word.to_string());
    Pipeline {
        written: Default::default(),
        file: root.join("p.yaml"),
        name: word("p"),
        source: Source { input: Input::Parquet(at("in").into()), from: None, until: None, emit_from: None },
        record: Record {
            key: Key::Single,
            time: At::default_value(TimeColumn { column: "t".into(), unit: None, timezone: None }),
            values: vec![word("v")],
            vectors: Vec::new(),
            sequence: None,
        },
        on: Policies::default(),
        dead_letters: At::default_value(crate::config::DeadLetters::Parquet(at("dead"))),
        stages: Vec::new(),
        sink: Some(At::default_value(Sink::Parquet { path: at("out"), fields: Vec::new(), part_records: 10 })),
        state: State {
            path: at("state"),
            checkpoint_every: Duration::from_secs(30),
            or_records: 1000,
            partitions: PARTITIONS,
        },
        metric_labels: Vec::new(),
        runtime: Runtime { batch: 10, ..Runtime::default() },
        models: At::default_value(root.join("models")),
        public_keys: Vec::new(),
        train: None,
        search: None,
    }
}

/// 100 keys; the first word of a key is its number, then a stage has two words of it.
fn filled(pipeline: &Pipeline) {
    let mut store = open(pipeline).unwrap();
    let stages = [
        ("kolk", StateSpec::default().u64("number", 0)),
        ("lags", StateSpec::default().f64("value", 0.0)),
        ("filter", StateSpec::default()),
        ("lags", StateSpec::default().f32s("halves", 2)),
    ];
    let rows = RowLayout::new(stages).spans().to_vec();
    let (sections, environment) = (BTreeMap::new(), BTreeMap::new());
    store
        .begin(&Fingerprint { sections, environment, partitions: PARTITIONS, rows, ..Fingerprint::default() })
        .unwrap();
    for partition in 0..PARTITIONS {
        let mut checkpoint = Checkpoint { position: 7, ..Default::default() };
        let mut words = Vec::new();
        for n in 0..100_u64 {
            let key = format!("key-{n}");
            let hash = murmur2(key.as_bytes());
            if partition_of(hash, PARTITIONS) == partition {
                checkpoint.keys.push(key.as_bytes());
                let halves = u64::from(1.5_f32.to_bits()) | u64::from(f32::NAN.to_bits()) << 32;
                words.extend([n, (n as f64 / 4.0).to_bits(), halves]);
            }
        }
        assert!(checkpoint.keys.len() > 10);
        checkpoint.rows = Pages::from_words(3, &words).into();
        store
            .commit(partition.into(), None, &checkpoint, Vec::new(), (partition == 1).then(crate::state::End::default))
            .unwrap();
    }
}

fn kolk(pipeline: &Pipeline, words: &[&str]) -> Result<String> {
    let command = StateArgs::augment_args(clap::Command::new("state"));
    let matches = command.try_get_matches_from(["state"].iter().chain(words)).unwrap();
    let mut out = Vec::new();
    run(&StateArgs::from_arg_matches(&matches).unwrap(), pipeline, &mut out)?;
    Ok(String::from_utf8(out).unwrap())
}

#[test]
fn list_shows_every_partition() {
    let root = tempfile::tempdir().unwrap();
    let pipeline = pipeline(root.path());
    assert_eq!(kolk(&pipeline, &["list", "p.yaml", "--json"]).unwrap(), "[]\n");
    filled(&pipeline);
    let listed: Value = serde_json::from_str(&kolk(&pipeline, &["list", "p.yaml", "--json"]).unwrap()).unwrap();
    let keys: u64 = listed.as_array().unwrap().iter().map(|p| p["keys"].as_u64().unwrap()).sum();
    assert_eq!((listed.as_array().unwrap().len(), keys), (4, 100));
    assert_eq!((&listed[1]["finished"], &listed[2]["finished"]), (&json!(true), &json!(false)));
    let table = kolk(&pipeline, &["list", "p.yaml"]).unwrap();
    assert_eq!(table.lines().count(), 6, "{table}");
    let all: Vec<&str> = table.lines().last().unwrap().split_whitespace().collect();
    assert_eq!((all[0], all[1], all[2]), ("all", "28", "100"), "{table}");
}

#[test]
fn get_shows_the_fields_of_each_stage() {
    let root = tempfile::tempdir().unwrap();
    let pipeline = pipeline(root.path());
    let none = kolk(&pipeline, &["get", "p.yaml", "key-42"]).unwrap_err();
    assert!(none.to_string().contains("no state") && none.exit_code() == 2, "{none}");
    filled(&pipeline);
    let got: Value = serde_json::from_str(&kolk(&pipeline, &["get", "p.yaml", "key-42"]).unwrap()).unwrap();
    let expected = json!([
        { "stage": "kolk", "fields": [{ "name": "number", "type": "u64", "value": 42 }] },
        { "stage": "lags", "fields": [{ "name": "value", "type": "f64", "value": 10.5 }] },
        { "stage": "lags_2", "fields": [{ "name": "halves", "type": "f32", "value": [1.5, null] }] },
    ]);
    assert_eq!(got["stages"], expected);
    let unknown = kolk(&pipeline, &["get", "p.yaml", "key-100"]).unwrap_err();
    assert!(unknown.to_string().contains("has no key \"key-100\"") && unknown.exit_code() == 2, "{unknown}");
}

#[test]
fn a_stream_is_looked_at_alike() {
    let root = tempfile::tempdir().unwrap();
    let pipeline = pipeline(root.path());
    let rows = vec![RowSpan { stage: "kolk".into(), start: 0, width: 1, fields: Vec::new() }];
    let made_by = Fingerprint { partitions: 2, ..Fingerprint::default() };
    let epoch = ModelEpoch { model: "m/1#0123456789ab".into(), from: 0 };
    let mut log = Log::open(&pipeline.state.path, "p", "id", &made_by).unwrap();
    // Another partitioner than Java's: both keys are where murmur2 doesn't say.
    let names = ["a", "b", "c", "d"];
    for partition in 0..2 {
        for sequence in 1..3 {
            let at = Some(CommitPosition { sequence, offset: 30 + sequence as i64, hash: 9 });
            let (epoch, spans) = (epoch.clone(), rows.clone());
            let mut checkpoint = Checkpoint { position: 20, at, epoch, spans, ..Checkpoint::default() };
            let misplaced = names.iter().filter(|name| partition_of(murmur2(name.as_bytes()), 2) != partition);
            let words: Vec<u64> = misplaced.map(|name| name.as_bytes()[0].into()).collect();
            words.iter().for_each(|letter| checkpoint.keys.push(&[*letter as u8]));
            checkpoint.rows = Pages::from_words(1, &words).into();
            log.write(partition.into(), checkpoint).unwrap();
        }
    }
    drop(log);
    let listed: Value = serde_json::from_str(&kolk(&pipeline, &["list", "p.yaml", "--json"]).unwrap()).unwrap();
    let listed = listed.as_array().unwrap();
    assert_eq!(listed.len(), 2);
    assert!(listed.iter().all(|p| p["offset"] == 32 && p["sequence"] == 2 && p["finished"] == false), "{listed:?}");
    assert!(listed.iter().all(|p| p["model"] == "m/1"), "{listed:?}");
    for name in names {
        let got: Value = serde_json::from_str(&kolk(&pipeline, &["get", "p.yaml", name]).unwrap()).unwrap();
        // Fields without names, as in what was written before they had any.
        assert_eq!(got["stages"][0]["words"], json!([format!("{:016x}", name.as_bytes()[0])]));
        assert_ne!(got["partition"], partition_of(murmur2(name.as_bytes()), 2));
    }
    assert!(kolk(&pipeline, &["get", "p.yaml", "e"]).unwrap_err().to_string().contains("has no key"));
    let path = root.path().join("state.parquet");
    kolk(&pipeline, &["export", "p.yaml", "--to", &path.display().to_string()]).unwrap();
    let rows = ParquetRecordBatchReaderBuilder::try_new(File::open(&path).unwrap()).unwrap().build().unwrap();
    assert_eq!(rows.map(|rows| rows.unwrap().num_rows()).sum::<usize>(), 4);
    kolk(&pipeline, &["reset", "p.yaml", "--yes"]).unwrap();
    assert_eq!(kolk(&pipeline, &["list", "p.yaml", "--json"]).unwrap(), "[]\n");
    assert!(!root.path().join("state/p").exists());
}

#[test]
fn export_holds_every_key_once() {
    let root = tempfile::tempdir().unwrap();
    let pipeline = pipeline(root.path());
    filled(&pipeline);
    let path = root.path().join("state.parquet");
    let to = path.display().to_string();
    kolk(&pipeline, &["export", "p.yaml", "--to", &to]).unwrap();
    let mut seen = Vec::new();
    for rows in ParquetRecordBatchReaderBuilder::try_new(File::open(&path).unwrap()).unwrap().build().unwrap() {
        let rows = rows.unwrap();
        let names: Vec<String> = rows.schema().fields().iter().map(|field| field.name().clone()).collect();
        let words = ["key", "partition", "slot", "stage_kolk", "stage_lags", "stage_lags_2"];
        assert_eq!(names[..6], words);
        assert_eq!(names[6..], ["kolk.number", "lags.value", "lags_2.halves"]);
        for row in 0..rows.num_rows() {
            let key = rows.column(0).as_string::<i32>().value(row);
            let word = rows.column(3).as_fixed_size_list().value(row).as_primitive::<UInt64Type>().value(0);
            assert_eq!(key, format!("key-{word}"));
            assert_eq!(rows.column(6).as_primitive::<UInt64Type>().value(row), word);
            assert_eq!(rows.column(7).as_primitive::<Float64Type>().value(row), word as f64 / 4.0);
            let halves = rows.column(8).as_fixed_size_list().value(row);
            assert_eq!(halves.as_primitive::<Float32Type>().value(0), 1.5);
            let partition = rows.column(1).as_primitive::<UInt32Type>().value(row);
            assert_eq!(partition, partition_of(murmur2(key.as_bytes()), PARTITIONS));
            seen.push(word);
        }
    }
    seen.sort();
    assert_eq!(seen, (0..100).collect::<Vec<_>>());
    let again = kolk(&pipeline, &["export", "p.yaml", "--to", &to]).unwrap_err();
    assert!(again.to_string().contains("already exists"), "{again}");
}

#[test]
fn reset_deletes_state_and_only_if_told_output() {
    let root = tempfile::tempdir().unwrap();
    let pipeline = pipeline(root.path());
    let files = ["out/part-00000-000000000000.parquet", "dead/dead-p-00000-000000000000.parquet"];
    let others = ["dead/dead-q-00000-000000000000.parquet", "out/notes.txt"];
    for name in files.iter().chain(&others) {
        let path = root.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "x").unwrap();
    }
    let there = |name: &str| root.path().join(name).exists();
    filled(&pipeline);
    if !std::io::stdin().is_terminal() {
        assert!(kolk(&pipeline, &["reset", "p.yaml"]).unwrap_err().to_string().contains("--yes"));
        assert!(there("state/p/pipeline.json"));
    }
    kolk(&pipeline, &["reset", "p.yaml", "--yes"]).unwrap();
    assert!(!there("state/p") && files.iter().all(|name| there(name)));
    filled(&pipeline);
    kolk(&pipeline, &["reset", "p.yaml", "--yes", "--output"]).unwrap();
    assert!(!there("state/p") && !files.iter().any(|name| there(name)) && others.iter().all(|name| there(name)));
}

#[test]
fn the_arguments_are_consistent() {
    #[derive(clap::Parser)]
    struct Frame {
        #[command(flatten)]
        _state: StateArgs,
    }
    Frame::command().debug_assert();
}
