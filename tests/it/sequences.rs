//! Mode sequence: one answer per finished sequence, the same bits however the records are batched, split over workers
//! and shards, or interrupted; and it is what ONNX Runtime gives of each sequence alone.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kolk::kernel::CellKind;
use kolk::model::ModelKind;
use kolk::network::Pool;

use super::classes::*;
use super::common::*;
use super::official::python;

fn write_pipeline(folder: &Path, sequence: &str, infer: &str, on: &str, runtime: &str) -> PathBuf {
    let file = folder.join("p.yaml");
    let text = format!(
        "name: p\nsource: {{ parquet: {{ path: data*.parquet }} }}\n\
         record: {{ key: key, time: ts, values: [value], sequence: {sequence} }}\non: {{ {on} }}\n\
         stages:\n  - infer: {{ {infer} }}\n\
         sink: {{ parquet: {{ path: out/, fields: [label, value, prediction_no], part_records: 100 }} }}\n\
         dead_letters: {{ parquet: {{ path: dead/ }} }}\n\
         state: {{ path: state/, checkpoint_every: 1ms, or_records: 100, partitions: 8 }}\nruntime: {{ {runtime} }}\n"
    );
    std::fs::write(&file, text).unwrap();
    file
}

fn reset(file: &Path) {
    kolk_exits(0, &["state", "reset", file.to_str().unwrap(), "--yes", "--output"]);
}

/// Where sequences end, by rule; of each key its sequences as values.
fn sequences(records: &[Record], rule: &str) -> BTreeMap<String, Vec<Vec<Option<f64>>>> {
    let mut keys: BTreeMap<String, Vec<&Record>> = BTreeMap::new();
    records.iter().for_each(|record| keys.entry(record.0.clone()).or_default().push(record));
    let cut = |records: &Vec<&Record>| -> Vec<Vec<Option<f64>>> {
        let (mut done, mut open) = (Vec::new(), Vec::new());
        for (n, record) in records.iter().enumerate() {
            open.push(record.2);
            let pauses = || records.get(n + 1).is_some_and(|next| next.1 - record.1 > 5 * SECOND);
            let ends = match rule {
                "{ end: last }" => record.3,
                "{ gap: 5s }" => pauses(),
                "{ length: 4 }" => open.len() == 4,
                _ => n + 1 == records.len(),
            };
            if ends {
                done.push(std::mem::take(&mut open));
            }
        }
        done
    };
    keys.iter().map(|(key, records)| (key.clone(), cut(records))).collect()
}

const RULES: [&str; 4] = ["{ end: last }", "{ gap: 5s }", "{ length: 4 }", "key"];

/// What ONNX Runtime gives of each sequence alone, all steps in one run from zero state.
const ALONE: &str = r#"
import json, sys
import numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
shapes = {i.name: i.shape for i in session.get_inputs()}
for line in sys.stdin:
    values = [[v] for v in json.loads(line) if v is not None]
    x = numpy.array([values, values], dtype=numpy.float32).transpose(1, 0, 2)
    feeds = {"x": x}
    if "lengths" in shapes:
        feeds["lengths"] = numpy.array([len(values)] * 2, dtype=numpy.int32)
    for name in shapes:
        if name not in feeds:
            feeds[name] = numpy.zeros((2, shapes[name][1]), dtype=numpy.float32)
    y = session.run(["y"], feeds)[0]
    print(json.dumps((y[:, 0] if y.ndim == 3 else y[0]).flatten().tolist()))
"#;

fn alone(python: &str, onnx: &Path, sequences: &[&Vec<Option<f64>>]) -> Vec<Vec<f64>> {
    let mut child = Command::new(python)
        .args(["-c", ALONE, onnx.to_str().unwrap()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines: Vec<String> = sequences.iter().map(|values| serde_json::to_string(values).unwrap() + "\n").collect();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(lines.concat().as_bytes()).unwrap());
    let done = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(done.status.success());
    String::from_utf8_lossy(&done.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn each_sequence_has_the_answer_that_it_has_alone() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    publish_all(folder);
    let records = records();
    write_records(&folder.join("data.parquet"), &records);
    for (rule, (model, ..)) in RULES.iter().flat_map(|rule| MODELS.iter().map(move |model| (*rule, model))) {
        let infer = format!("model: {model}, mode: sequence");
        let file = write_pipeline(folder, rule, &infer, "null: skip", "workers: 2, batch: 32");
        kolk_exits(0, &["run", file.to_str().unwrap()]);
        let made = rows(&folder.join("out"));
        let expected = sequences(&records, rule);
        let all: Vec<&Vec<Option<f64>>> =
            expected.values().flatten().filter(|values| values.iter().any(Option::is_some)).collect();
        let mut alone = alone(&python, &folder.join(format!("models/{model}/1/model.onnx")), &all).into_iter();
        let (mut count, mut nulls) = (0, 0);
        for (key, sequences) in &expected {
            let made = made.get(key).map_or(&[][..], Vec::as_slice);
            assert_eq!(made.len(), sequences.len(), "{rule} {model} {key}");
            for (values, row) in sequences.iter().zip(made) {
                // ts, label, value, prediction_no, prediction, prediction_probability, model_version, warm_up
                let cells: Vec<&str> = row.split(' ').collect();
                count += 1;
                if values.iter().all(Option::is_none) {
                    assert_eq!(cells[3..6], ["null"; 3], "{rule} {model}: {row}");
                    nulls += 1;
                    continue;
                }
                let probabilities = alone.next().unwrap();
                let best = (0..3).max_by(|a, b| probabilities[*a].total_cmp(&probabilities[*b])).unwrap();
                assert_eq!(cells[4], CLASSES[best], "{rule} {model}: {row}");
                let near = |cell: &str, p: f64| (cell.parse::<f64>().unwrap() - p).abs() < 1e-6;
                assert!(near(cells[5], probabilities[best]) && near(cells[3], probabilities[1]), "{row}");
                assert_eq!(cells[6..], ["1", "false"], "{row}");
            }
        }
        assert!(alone.next().is_none() && count >= KEYS, "{rule} {model}: {count} sequences");
        assert!(rule != "{ end: last }" || nulls > 2, "{nulls} sequences without a value");
        reset(&file);
    }
}

/// The most probable token of each step, without those that come again and without blanks, the last one.
#[test]
fn a_transcript_is_that_of_the_sequence_alone() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let records = records();
    write_records(&folder.join("data.parquet"), &records);
    let tokens = ["go", "no", "-"];
    for (model, layers) in
        [("ahead", &[(CellKind::Gru, 7, false)][..]), ("both", &[(CellKind::Lstm, 5, true), (CellKind::Gru, 6, true)])]
    {
        publish_tokens(folder, model, layers, Pool::None, (ModelKind::Sequence, tokens));
        let infer = format!("model: {model}, mode: sequence");
        let file = write_pipeline(folder, "{ end: last }", &infer, "null: skip", "workers: 2, batch: 64");
        let text = std::fs::read_to_string(&file).unwrap().replace(", prediction_no]", "]");
        std::fs::write(&file, text).unwrap();
        kolk_exits(0, &["run", file.to_str().unwrap()]);
        let made = rows(&folder.join("out"));
        let expected = sequences(&records, "{ end: last }");
        let all: Vec<&Vec<Option<f64>>> =
            expected.values().flatten().filter(|values| values.iter().any(Option::is_some)).collect();
        let mut alone = alone(&python, &folder.join(format!("models/{model}/1/model.onnx")), &all).into_iter();
        let mut texts = std::collections::BTreeSet::new();
        for (key, sequences) in &expected {
            assert_eq!(made[key].len(), sequences.len());
            for (values, row) in sequences.iter().zip(&made[key]) {
                // ts, label, value, prediction, model_version, warm_up
                let found = row.split(' ').nth(3).unwrap();
                if values.iter().all(Option::is_none) {
                    assert_eq!(found, "null", "{row}");
                    continue;
                }
                let probabilities = alone.next().unwrap();
                let best = |step: &[f64]| (0..3).max_by(|a, b| step[*a].total_cmp(&step[*b])).unwrap();
                let mut path: Vec<usize> = probabilities.chunks(3).map(best).collect();
                path.dedup();
                let text: Vec<&str> = path.into_iter().filter(|token| *token != 2).map(|token| tokens[token]).collect();
                assert_eq!(found, text.join("-"), "{row}");
                texts.insert(found.to_owned());
            }
        }
        assert!(texts.len() > 1, "{texts:?}");
        reset(&file);
    }
}

#[test]
fn the_bytes_are_the_same_however_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    publish_all(folder);
    let records = records();
    write_records(&folder.join("data.parquet"), &records);
    let infer = |model: &str| format!("model: {model}, mode: sequence");
    // Each rule with another network, and each network.
    for (rule, model) in
        [("{ end: last }", "whole"), ("{ gap: 5s }", "last"), ("key", "mean"), ("{ length: 4 }", "last")]
    {
        let on = if rule == "{ gap: 5s }" { "null: carry, watermark: partition" } else { "null: carry" };
        let write = |runtime: &str| write_pipeline(folder, rule, &infer(model), on, runtime);
        let file = write("workers: 1, batch: 4096");
        let name = file.to_str().unwrap();
        kolk_exits(0, &["run", name]);
        let one = made(folder, &file, KEYS);
        assert!(one.0.len() > 4, "{rule} {model}: {} files", one.0.len());
        assert!(one.1[0].contains("\"sequence\""), "{}", one.1[0]);
        let same = |file: &Path, how: &str| {
            let other = made(folder, file, KEYS);
            assert!(other.0 == one.0, "{rule} {model}, {how}: other bytes");
            assert_eq!(other.1, one.1, "{rule} {model}, {how}: state");
            reset(file);
        };
        reset(&file);
        for runtime in ["workers: 3, batch: 7", "workers: 2, batch: 64"] {
            let file = write(runtime);
            kolk_exits(0, &["run", name]);
            same(&file, runtime);
        }
        for shard in ["2/3", "0/3", "1/3"] {
            kolk_exits(0, &["run", name, "--shard", shard]);
        }
        same(&file, "in shards");
        // Killed again and again, at moments from the start to the first ends.
        killed_at_moments(name, (20..400).step_by(25));
        kolk_exits(0, &["run", name]);
        same(&file, "killed");
    }
}

/// A sequence goes on in the files of a later run.
#[test]
fn sequences_go_on_in_later_files() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    publish_all(folder);
    let records = records();
    for (rule, model) in [("{ end: last }", "mean"), ("{ gap: 5s }", "whole"), ("{ length: 4 }", "last")] {
        write_records(&folder.join("data.parquet"), &records);
        let file = write_pipeline(folder, rule, &format!("model: {model}, mode: sequence"), "null: skip", "workers: 1");
        let name = file.to_str().unwrap();
        kolk_exits(0, &["run", name]);
        let whole = rows(&folder.join("out"));
        reset(&file);
        write_records(&folder.join("data.parquet"), &records[..600]);
        kolk_exits(0, &["run", name]);
        write_records(&folder.join("data2.parquet"), &records[600..]);
        kolk_exits(0, &["run", name]);
        assert_eq!(rows(&folder.join("out")), whole, "{rule} {model}");
        reset(&file);
        std::fs::remove_file(folder.join("data2.parquet")).unwrap();
    }
}

#[test]
fn a_sequence_that_is_too_long_is_in_the_dead_letters_and_the_others_are_not_changed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    publish_all(folder);
    let records = records();
    write_records(&folder.join("data.parquet"), &records);
    let run = |most: usize| {
        let infer = format!("model: whole, mode: sequence, max_length: {most}");
        let file = write_pipeline(folder, "{ end: last }", &infer, "null: carry", "workers: 1");
        kolk_exits(0, &["run", file.to_str().unwrap()]);
        let made = rows(&folder.join("out"));
        let dead = if folder.join("dead").exists() { rows(&folder.join("dead")) } else { BTreeMap::new() };
        reset(&file);
        (made, dead)
    };
    let (all, dead) = run(1024);
    assert!(dead.is_empty(), "{dead:?}");
    let (short, dead) = run(5);
    let expected = sequences(&records, "{ end: last }");
    let mut beyond = 0;
    for (key, sequences) in &expected {
        let kept = sequences.iter().zip(&all[key]).filter(|(values, _)| values.len() <= 5).map(|(_, row)| row.clone());
        assert_eq!(short[key], kept.collect::<Vec<_>>(), "{key}");
        beyond += sequences.iter().map(|values| values.len().saturating_sub(5)).sum::<usize>();
    }
    let refused: Vec<&String> = dead.values().flatten().collect();
    assert!(beyond > 50 && refused.len() >= beyond, "{} refused, {beyond} beyond", refused.len());
    assert!(refused.iter().all(|row| row.contains("sequence_too_long")), "{refused:?}");
}

/// Class probabilities of each record in mode carry, whose state an end of a sequence resets.
#[test]
fn a_label_per_record_begins_again_with_each_sequence() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    publish_classes(folder, "labels", &[(CellKind::Gru, 6, false)], Pool::None);
    let known = |(key, t, value, last, label): Record| (key, t, value.or(Some(0.5)), last, label);
    let records: Vec<Record> = records().into_iter().map(known).collect();
    write_records(&folder.join("data.parquet"), &records);
    let file = write_pipeline(folder, "{ end: last }", "model: labels, mode: carry", "null: skip", "workers: 1");
    kolk_exits(0, &["run", file.to_str().unwrap()]);
    let made = rows(&folder.join("out"));
    reset(&file);
    // Each sequence as a key of its own.
    let apart: Vec<Record> =
        records.iter().cloned().map(|(_, t, v, l, label)| (label.clone(), t, v, l, label)).collect();
    write_records(&folder.join("data.parquet"), &apart);
    kolk_exits(0, &["run", file.to_str().unwrap()]);
    let alone = rows(&folder.join("out"));
    assert_eq!(made.values().map(Vec::len).sum::<usize>(), records.len());
    let sorted = |made: &BTreeMap<String, Vec<String>>| {
        let mut all: Vec<String> = made.values().flatten().cloned().collect();
        all.sort();
        all
    };
    assert_eq!(sorted(&made), sorted(&alone));
}

#[test]
fn what_does_not_fit_is_refused_with_both_sides() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    publish_all(folder);
    publish(folder, "m", CellKind::Gru, ModelKind::Carry, None);
    write_records(&folder.join("data.parquet"), &records());
    for (sequence, infer, expected) in [
        (
            "{ end: last }",
            "model: m, mode: sequence",
            "the pipeline runs mode sequence, but m/1 was trained for mode carry",
        ),
        (
            "{ end: last }",
            "model: last, mode: carry",
            "the pipeline runs mode carry, but last/1 was trained for mode sequence",
        ),
        ("{ end: label }", "model: last, mode: sequence", "column \"label\" is Utf8, expected a boolean"),
        ("{ end: lastt }", "model: last, mode: sequence", "lastt"),
    ] {
        let file = write_pipeline(folder, sequence, infer, "null: carry", "workers: 1");
        let (_, err) = kolk_exits(2, &["check", file.to_str().unwrap()]);
        assert!(err.contains(expected), "{err}");
    }
    let file = write_pipeline(folder, "{ gap: 5s }", "model: last, mode: sequence", "null: carry", "workers: 1");
    kolk_exits(0, &["check", file.to_str().unwrap()]);
    kolk_exits(0, &["size", file.to_str().unwrap()]);
}

/// A new version in the middle of a sequence: one that advances with each record has not seen its begin and says so,
/// one that sees whole sequences has.
#[test]
fn a_new_version_in_the_middle_of_a_sequence() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let records = records();
    let ends = |to: usize| -> BTreeMap<String, Vec<(usize, bool)>> {
        let (mut keys, mut open) = (BTreeMap::<String, Vec<(usize, bool)>>::new(), BTreeMap::<String, bool>::new());
        for (n, record) in records.iter().enumerate() {
            let is_split = open.entry(record.0.clone()).or_insert(false);
            *is_split |= n < to && !record.3;
            if n < to && record.3 {
                *is_split = false;
            }
            if record.3 {
                keys.entry(record.0.clone()).or_default().push((n, n >= to && *is_split));
                *is_split = false;
            }
        }
        keys
    };
    let expected = ends(600);
    for (model, layers, pool) in [MODELS[0], MODELS[2]] {
        let publish = || publish_classes(folder, model, layers, pool);
        publish();
        write_records(&folder.join("data.parquet"), &records[..600]);
        let infer = format!("model: {model}, mode: sequence");
        let file = write_pipeline(folder, "{ end: last }", &infer, "null: carry", "workers: 1");
        kolk_exits(0, &["run", file.to_str().unwrap()]);
        publish();
        write_records(&folder.join("data2.parquet"), &records[600..]);
        kolk_exits(0, &["run", file.to_str().unwrap()]);
        let made = rows(&folder.join("out"));
        let mut split = 0;
        for (key, expected) in &expected {
            let made = &made[key];
            assert_eq!(made.len(), expected.len(), "{model} {key}");
            for ((n, is_split), row) in expected.iter().zip(made) {
                let cells: Vec<&str> = row.split(' ').collect();
                let version = if *n < 600 { "1" } else { "2" };
                let partly = *is_split && model != "whole";
                assert_eq!(cells[cells.len() - 2..], [version, &partly.to_string()], "{model} {key} {n}: {row}");
                split += usize::from(*is_split);
            }
        }
        assert!(split > 3, "{split} sequences across the change");
        reset(&file);
        std::fs::remove_file(folder.join("data2.parquet")).unwrap();
    }
}
