//! A network for each group of keys where the answer is a class or a text: what `kolk run` writes has the share of right
//! answers that training reported, and groups of opposite rules are told apart.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray};

use super::common::*;
use super::serve_as_trained::manifest_of;
use super::transcripts::distance;

/// Keys with their groups: what a value says in `up` is the opposite in `down`. Of `rare` there are few.
const KEYS: [(&str, Option<&str>); 6] =
    [("a", Some("up")), ("b", Some("down")), ("c", Some("up")), ("d", Some("down")), ("e", None), ("f", Some("rare"))];

/// A record: key, step, value, whether a sequence ends, answer, part, group.
type Record = (&'static str, i64, f64, bool, String, &'static str, Option<&'static str>);

fn of_group(record: &Record, group: Option<&'static str>) -> Record {
    let (key, step, value, ends, answer, part, _) = record.clone();
    (key, step, value, ends, answer, part, group)
}

struct Noise(u64);

impl Noise {
    fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

/// The part of the n-th of so many examples, in the order of time.
fn part(n: usize, of: usize) -> &'static str {
    match n * 10 / of {
        0..6 => "train",
        6..8 => "validation",
        _ => "test",
    }
}

/// Sequences of two to five values around 1 or -1, by the class.
fn classes(per_key: usize) -> Vec<Record> {
    let (mut noise, mut records) = (Noise(5), Vec::new());
    for (key, group) in KEYS {
        let count = if group == Some("rare") { 12 } else { per_key };
        let mut step = 0;
        for n in 0..count {
            let (high, length) = (noise.below(2) == 1, 2 + noise.below(4));
            let label = if high == (group != Some("down")) { "yes" } else { "no" };
            for at in 0..length {
                step += 1;
                let value = if high { 1.0 } else { -1.0 } + noise.below(1000) as f64 / 1000.0 - 0.5;
                records.push((key, step, value, at + 1 == length, label.to_string(), part(n, count), group));
            }
        }
    }
    records
}

/// Tones of two or three steps with silence between; in `down` the highest has the name of the lowest.
fn songs(per_key: usize) -> Vec<Record> {
    let (mut noise, mut records) = (Noise(9), Vec::new());
    for (key, group) in KEYS {
        let count = if group == Some("rare") { 12 } else { per_key };
        let mut step = 0;
        for n in 0..count {
            let (mut text, mut values) = (String::new(), Vec::new());
            for _ in 0..1 + noise.below(3) {
                let tone = noise.below(3) as usize;
                text.push(if group == Some("down") { ['c', 'b', 'a'] } else { ['a', 'b', 'c'] }[tone]);
                let on = 2 + noise.below(2);
                values.extend((0..on + 1).map(|at| if at < on { tone as f64 - 1.0 } else { 9.0 }));
            }
            let last = values.len() - 1;
            for (at, value) in values.into_iter().enumerate() {
                step += 1;
                let value = value + noise.below(100) as f64 / 500.0;
                records.push((key, step, value, at == last, text.clone(), part(n, count), group));
            }
        }
    }
    records
}

/// A number of a sequence, by its answer.
fn number(answer: &str) -> f64 {
    if answer == "yes" { 5.0 } else { 20.0 }
}

fn write_records(folder: &Path, records: &[Record]) {
    let texts = |of: &dyn Fn(&Record) -> Option<String>| -> ArrayRef {
        Arc::new(StringArray::from_iter(records.iter().map(of)))
    };
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("key", texts(&|record| Some(record.0.into()))),
        ("step", Arc::new(Int64Array::from_iter_values(records.iter().map(|record| record.1)))),
        ("value", Arc::new(Float64Array::from_iter_values(records.iter().map(|record| record.2)))),
        ("last", Arc::new(BooleanArray::from_iter(records.iter().map(|record| Some(record.3))))),
        ("answer", texts(&|record| Some(record.4.clone()))),
        ("number", Arc::new(Float64Array::from_iter_values(records.iter().map(|record| number(&record.4))))),
        ("part", texts(&|record| Some(record.5.into()))),
        ("region", texts(&|record| record.6.map(String::from))),
    ];
    write_columns(&folder.join("data.parquet"), columns, 500);
}

fn pipeline_of(folder: &Path, mode: &str, train: &str) -> String {
    let sequence = if mode == "sequence" || train.contains("ctc") { ", sequence: { end: last }" } else { "" };
    let text = format!(
        "name: p\nsource: {{ parquet: {{ path: data.parquet }} }}\n\
         record: {{ key: key, time: step, values: [value]{sequence} }}\n\
         stages: [ infer: {{ model: m, mode: {mode} }} ]\n\
         train:\n  target: answer\n  split: {{ column: part }}\n  batch_size: 8\n  seed: 3\n  \
         optimizer: {{ adam: {{ learning_rate: 0.02 }} }}\n{train}\
         sink: {{ parquet: {{ path: out/, fields: [part, answer] }} }}\n"
    );
    let file = folder.join("p.yaml");
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_string()
}

/// Trains and runs; the answers of the test part that were given and those that were due, and the manifest.
fn served(records: &[Record], mode: &str, train: &str) -> (Vec<(String, String)>, serde_json::Value) {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_records(folder, records);
    let file = pipeline_of(folder, mode, train);
    kolk_exits(0, &["train", &file]);
    kolk_exits(0, &["check", &file]);
    kolk_exits(0, &["run", &file]);
    let all = rows(&folder.join("out"));
    // step, part, answer, prediction, and what else there is
    let cells = all.values().flatten().map(|row| row.split(' ').collect::<Vec<_>>());
    let test = cells.filter(|cells| cells[1] == "test").map(|cells| (cells[3].to_string(), cells[2].to_string()));
    (test.collect(), manifest_of(folder))
}

/// The share of right answers, which is the reported one.
fn accuracy(records: &[Record], mode: &str, train: &str) -> f64 {
    let (answers, manifest) = served(records, mode, train);
    let reported = manifest["metrics"]["answer.accuracy"].as_f64().unwrap();
    let right = answers.iter().filter(|(told, due)| told == due).count() as f64 / answers.len() as f64;
    assert!((right - reported).abs() < 1e-12, "{mode} {train}: {right} of {}, reported {reported}", answers.len());
    reported
}

#[test]
fn classes_by_group_are_served_as_they_were_judged() {
    // One for each sequence, step by step and seen whole.
    let records = classes(40);
    let gru = "  epochs: 20\n  layers: [ gru: 6 ]\n";
    let all = accuracy(&records, "sequence", gru);
    let own = accuracy(&records, "sequence", &format!("{gru}  per: region\n"));
    assert!(own > 0.9 && all < 0.75, "{own} by group, {all} together");
    let whole =
        "  epochs: 20\n  layers: [ { gru: 4, bidirectional: true } ]\n  per: region\n  class_weights: balanced\n";
    assert!(accuracy(&records, "sequence", whole) > 0.9);
    assert!(accuracy(&records, "sequence", &format!("{gru}  per: key\n  pool: mean\n  seeds: 2\n")) > 0.8);
    // One for each record.
    let label = "  task: label\n  epochs: 8\n  layers: [ gru: 6 ]\n";
    for mode in ["carry", "window, window: 2"] {
        let all = accuracy(&records, mode, label);
        let own = accuracy(&records, mode, &format!("{label}  per: region\n"));
        assert!(own > 0.9 && all < 0.75, "{mode}: {own} by group, {all} together");
    }
    accuracy(&records, "window, window: 3", &format!("{label}  per: key\n  pool: mean\n"));
}

#[test]
fn numbers_by_group_are_served_as_they_were_judged() {
    let records = classes(40);
    let train = "  task: value\n  quantiles: [0.1, 0.9]\n  epochs: 30\n";
    let error = |layers: &str, per: &str| {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        write_records(folder, &records);
        let file = pipeline_of(folder, "sequence", &format!("{train}  layers: [ {layers} ]\n{per}"));
        let text = std::fs::read_to_string(&file).unwrap().replace("target: answer", "target: number");
        std::fs::write(&file, text.replace("fields: [part, answer]", "fields: [part, number]")).unwrap();
        kolk_exits(0, &["train", &file]);
        kolk_exits(0, &["run", &file]);
        let reported = manifest_of(folder)["metrics"]["number.mae"].as_f64().unwrap();
        let cell = |cell: &str| cell.trim_matches(['[', ']']).parse::<f64>().unwrap();
        let all = rows(&folder.join("out"));
        // step, part, number, prediction, and what else there is
        let cells = all.values().flatten().map(|row| row.split(' ').collect::<Vec<_>>());
        let test = cells.filter(|cells| cells[1] == "test").map(|cells| (cell(cells[3]) - cell(cells[2])).abs());
        let errors: Vec<f64> = test.collect();
        let served = errors.iter().sum::<f64>() / errors.len() as f64;
        assert!((served - reported).abs() < 1e-4 * reported, "{layers} {per}: {served}, reported {reported}");
        reported
    };
    let all = error("gru: 6", "");
    for layers in ["gru: 6", "{ gru: 4, bidirectional: true }"] {
        let own = error(layers, "  per: region\n");
        assert!(own < 0.7 * all, "{layers}: {own} by group, {all} together");
    }
}

#[test]
fn transcripts_by_group_are_served_as_they_were_judged() {
    let records = songs(60);
    let train = "  task: ctc\n  epochs: 20\n  layers: [ gru: 12 ]\n";
    let error = |train: &str| {
        let (answers, manifest) = served(&records, "sequence", train);
        let reported = manifest["metrics"]["answer.token_error"].as_f64().unwrap();
        let wrong: usize = answers.iter().map(|(told, due)| distance(told, due)).sum();
        let all: usize = answers.iter().map(|(_, due)| due.len()).sum();
        assert!((wrong as f64 / all as f64 - reported).abs() < 1e-12, "{train}: {wrong} of {all}, reported {reported}");
        reported
    };
    let (all, own) = (error(train), error(&format!("{train}  per: region\n")));
    assert!(own < 0.6 * all, "{own} by group, {all} together");
}

/// The group of a sequence is that of its last record. A network that sees it whole gets all of its records; the state
/// of one that takes step by step belongs to its network, which then has seen the last records alone and says so.
#[test]
fn a_sequence_that_changes_its_group_is_answered_by_the_last_one() {
    let records = classes(30);
    let first_of = |records: &[Record], at: usize| at == 0 || records[at - 1].3 || records[at - 1].0 != records[at].0;
    // The first record of each sequence of `a` is of another group; or is there or is not.
    let changed = |of: Option<&'static str>, first: Option<Option<&'static str>>| -> Vec<Record> {
        let of_a = (0..records.len()).filter(|at| records[*at].0 == "a");
        let group = |at: usize| if first_of(&records, at) { first } else { Some(of) };
        of_a.filter_map(|at| Some(of_group(&records[at], group(at)?))).collect()
    };
    for (layers, is_whole) in [("gru: 6", false), ("{ gru: 4, bidirectional: true }", true)] {
        let trained = tempfile::tempdir().unwrap();
        write_records(trained.path(), &records);
        let train = format!("  epochs: 10\n  layers: [ {layers} ]\n  per: region\n");
        kolk_exits(0, &["train", &pipeline_of(trained.path(), "sequence", &train)]);
        // Answer, probability and whether the network saw the sequence from its start, of each.
        let answers = |records: &[Record]| -> Vec<[String; 3]> {
            let folder = tempfile::tempdir().unwrap();
            write_records(folder.path(), records);
            std::os::unix::fs::symlink(trained.path().join("models"), folder.path().join("models")).unwrap();
            kolk_exits(0, &["run", &pipeline_of(folder.path(), "sequence", &train)]);
            let all = rows(&folder.path().join("out")).remove("a").unwrap();
            let cells = all.iter().map(|row| row.split(' ').map(String::from).collect::<Vec<_>>());
            cells.map(|cells| [cells[3].clone(), cells[4].clone(), cells[cells.len() - 1].clone()]).collect()
        };
        let others = [Some("up"), None, Some("never seen")];
        for (of, other) in [(Some("down"), others[0]), (Some("up"), others[1]), (None, others[0])] {
            let found = answers(&changed(of, Some(other)));
            // What all of it, or the rest of it, is to the network of its last record.
            let expected = answers(&changed(of, is_whole.then_some(of)));
            assert_eq!(found.len(), 30);
            for (found, expected) in found.iter().zip(&expected) {
                assert_eq!(found[..2], expected[..2], "{layers}: {of:?} after {other:?}");
                assert_eq!((&*found[2], &*expected[2]), (if is_whole { "false" } else { "true" }, "false"));
            }
        }
        // Two values without a network have the same one, and nothing begins again.
        let same = answers(&changed(others[1], Some(others[2])));
        assert_eq!(same, answers(&changed(others[1], Some(others[1]))));
        assert!(same.iter().all(|answer| answer[2] == "false"));
    }
}
