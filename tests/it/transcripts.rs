//! Transcripts in mode carry: each record has the text of its sequence so far, that of the sequence alone; the same
//! bytes however the records are batched or interrupted; what is served is what the training judged.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray};
use kolk::kernel::CellKind;
use kolk::model::ModelKind;
use kolk::model::registry;

use super::classes::*;
use super::common::*;
use super::official::python;

const TOKENS: [&str; 3] = ["go", "no", "-"];
const LAYERS: Layers = &[(CellKind::Gru, 7, false)];

fn write_pipeline(folder: &Path, sequence: &str, infer: &str, runtime: &str) -> PathBuf {
    let file = folder.join("p.yaml");
    let text = format!(
        "name: p\nsource: {{ parquet: {{ path: data*.parquet }} }}\n\
         record: {{ key: key, time: ts, values: [value], sequence: {sequence} }}\non: {{ null: skip }}\n\
         stages:\n  - infer: {{ {infer} }}\n\
         sink: {{ parquet: {{ path: out/, fields: [label, value], part_records: 100 }} }}\n\
         dead_letters: {{ parquet: {{ path: dead/ }} }}\n\
         state: {{ path: state/, checkpoint_every: 1ms, or_records: 100, partitions: 8 }}\nruntime: {{ {runtime} }}\n"
    );
    std::fs::write(&file, text).unwrap();
    file
}

fn reset(file: &Path) {
    kolk_exits(0, &["state", "reset", file.to_str().unwrap(), "--yes", "--output"]);
}

/// What comes out per key, row by row: label, value, text, whether it is the last one, version, warm-up.
fn run(folder: &Path, file: &Path) -> BTreeMap<String, Vec<Vec<String>>> {
    kolk_exits(0, &["run", file.to_str().unwrap()]);
    let cells = |row: String| row.split(' ').skip(1).map(str::to_owned).collect();
    rows(&folder.join("out")).into_iter().map(|(key, rows)| (key, rows.into_iter().map(cells).collect())).collect()
}

/// Decodes each sequence alone, from what ONNX Runtime gives in one run over all its steps: for each of its steps the
/// text so far, by the best path and by a search that keeps every beginning.
const ALONE: &str = r#"
import json, sys
import numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
tokens = ["go", "no"]

def path(p):
    best = p.argmax(axis=1)
    return "-".join(tokens[t] for i, t in enumerate(best) if t != 2 and (i == 0 or best[i - 1] != t))

def every_way(p):
    ways = {(): (1.0, 0.0)}
    for step in p.astype(numpy.float64):
        after = {}
        for way, (blank, token) in ways.items():
            def add(way, in_blank, in_token):
                a, b = after.get(way, (0.0, 0.0))
                after[way] = (a + in_blank, b + in_token)
            add(way, (blank + token) * step[2], token * step[way[-1]] if way else 0.0)
            for t in range(2):
                add(way + (t,), 0.0, (blank if way and way[-1] == t else blank + token) * step[t])
        ways = after
    return "-".join(tokens[t] for t in max(ways, key=lambda way: sum(ways[way])))

for line in sys.stdin:
    values = [[v] for v in json.loads(line) if v is not None]
    x = numpy.array([values, values], dtype=numpy.float32).transpose(1, 0, 2)
    feeds = {i.name: numpy.zeros((2, i.shape[1]), dtype=numpy.float32) for i in session.get_inputs() if i.name != "x"}
    p = session.run(["y"], {"x": x, **feeds})[0][:, 0]
    steps = range(1, len(values) + 1)
    print(json.dumps([[path(p[:n]) for n in steps], [every_way(p[:n]) for n in steps]]))
"#;

fn alone(python: &str, onnx: &Path, sequences: &[Vec<Option<f64>>]) -> Vec<[Vec<String>; 2]> {
    let lines: Vec<String> = sequences.iter().map(|values| serde_json::to_string(values).unwrap()).collect();
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("sequences");
    std::fs::write(&input, lines.join("\n")).unwrap();
    let stdin = Stdio::from(std::fs::File::open(&input).unwrap());
    let done = Command::new(python).args(["-c", ALONE, onnx.to_str().unwrap()]).stdin(stdin).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The sequences of each key, those that never end at the end of it.
fn sequences(records: &[Record]) -> BTreeMap<String, Vec<Vec<&Record>>> {
    let mut keys: BTreeMap<String, Vec<Vec<&Record>>> = BTreeMap::new();
    for record in records {
        let own = keys.entry(record.0.clone()).or_default();
        if own.last().is_none_or(|last| last.last().is_some_and(|record| record.3)) {
            own.push(Vec::new());
        }
        own.last_mut().unwrap().push(record);
    }
    keys
}

#[test]
fn each_record_has_the_text_of_its_sequence_so_far() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    publish_transcripts(folder, "stream", LAYERS, ModelKind::Carry, TOKENS);
    publish_transcripts(folder, "whole", LAYERS, ModelKind::Sequence, TOKENS);
    let records = records();
    write_records(&folder.join("data.parquet"), &records);
    let keys = sequences(&records);
    let with_steps = |own: &&Vec<&Record>| own.iter().any(|record| record.2.is_some());
    let all: Vec<Vec<Option<f64>>> =
        keys.values().flatten().filter(with_steps).map(|own| own.iter().map(|record| record.2).collect()).collect();
    let expected = alone(&python, &folder.join("models/stream/1/model.onnx"), &all);
    for (decoding, beam) in [(0, 1), (1, 64)] {
        let infer = format!("model: stream, mode: carry, beam: {beam}");
        let file = write_pipeline(folder, "{ end: last }", &infer, "workers: 2, batch: 32");
        let made = run(folder, &file);
        reset(&file);
        let infer = format!("model: whole, mode: sequence, beam: {beam}");
        let file = write_pipeline(folder, "{ end: last }", &infer, "workers: 2, batch: 32");
        let at_ends = run(folder, &file);
        reset(&file);
        let (mut texts, mut expected) = (std::collections::BTreeSet::new(), expected.iter());
        for (key, own) in &keys {
            let (mut rows, mut ended) = (made[key].iter(), at_ends[key].iter());
            for own in own {
                let so_far = if with_steps(&own) { &expected.next().unwrap()[decoding][..] } else { &[] };
                let mut steps = 0;
                for record in own {
                    steps += usize::from(record.2.is_some());
                    let row = rows.next().unwrap();
                    let text = if steps == 0 { "null" } else { &so_far[steps - 1] };
                    let is_last = record.3.to_string();
                    assert_eq!(row[2..], [text, &is_last, "1", "false"], "{beam} {key} {record:?}");
                    texts.insert(text.to_owned());
                    if record.3 {
                        assert_eq!(ended.next().unwrap()[2], text, "{beam}: mode sequence");
                    }
                }
            }
            assert!(rows.next().is_none() && ended.next().is_none());
        }
        assert!(texts.len() > 4, "{texts:?}");
    }
}

#[test]
fn the_bytes_are_the_same_however_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    publish_transcripts(folder, "stream", LAYERS, ModelKind::Carry, TOKENS);
    let records = records();
    let data = folder.join("data.parquet");
    for (rule, beam) in [("{ end: last }", 1), ("{ length: 30 }", 5), ("{ gap: 5s }", 1)] {
        write_records(&data, &records);
        let infer = format!("model: stream, mode: carry, beam: {beam}, max_tokens: 5");
        let write = |runtime: &str| write_pipeline(folder, rule, &infer, runtime);
        let file = write("workers: 1, batch: 4096");
        let name = file.to_str().unwrap();
        kolk_exits(0, &["run", name]);
        let one = made(folder, &file, KEYS);
        assert!(one.0.len() > 4 && one.1[0].contains("\"tokens\""), "{}", one.1[0]);
        let same = |file: &Path, how: &str| {
            let other = made(folder, file, KEYS);
            assert!(other.0 == one.0, "{rule}, {how}: other bytes");
            assert_eq!(other.1, one.1, "{rule}, {how}: state");
            reset(file);
        };
        reset(&file);
        for runtime in ["workers: 3, batch: 7", "workers: 2, batch: 64"] {
            let file = write(runtime);
            kolk_exits(0, &["run", name]);
            same(&file, runtime);
        }
        // Killed again and again, at moments from the start to the first ends.
        killed_at_moments(name, (20..300).step_by(35));
        kolk_exits(0, &["run", name]);
        same(&file, "killed");
        // Stopped in the middle of sequences: they go on in a later file.
        let whole = run(folder, &file);
        reset(&file);
        write_records(&data, &records[..601]);
        kolk_exits(0, &["run", name]);
        write_records(&folder.join("data2.parquet"), &records[601..]);
        assert_eq!(run(folder, &file), whole, "{rule}");
        reset(&file);
        std::fs::remove_file(folder.join("data2.parquet")).unwrap();
    }
}

#[test]
fn a_new_version_in_the_middle_of_a_sequence_begins_its_text_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let publish = || publish_transcripts(folder, "stream", LAYERS, ModelKind::Carry, TOKENS);
    publish();
    let records = records();
    write_records(&folder.join("data.parquet"), &records[..600]);
    let file = write_pipeline(folder, "{ end: last }", "model: stream, mode: carry", "workers: 1");
    run(folder, &file);
    publish();
    write_records(&folder.join("data2.parquet"), &records[600..]);
    let made = run(folder, &file);
    let first: std::collections::HashSet<(&String, i64)> =
        records[..600].iter().map(|record| (&record.0, record.1)).collect();
    let mut split = 0;
    for (key, own) in &sequences(&records) {
        let mut rows = made[key].iter();
        for own in own {
            let begins = first.contains(&(&own[0].0, own[0].1));
            for record in own {
                let row = rows.next().unwrap();
                let is_first = first.contains(&(&record.0, record.1));
                let expected = [if is_first { "1" } else { "2" }, if begins && !is_first { "true" } else { "false" }];
                assert_eq!(row[4..], expected, "{key} {record:?}");
                split += usize::from(begins && !is_first);
            }
        }
    }
    assert!(split > 3, "{split} records of sequences that were split");
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    publish_transcripts(folder, "stream", LAYERS, ModelKind::Carry, TOKENS);
    publish_transcripts(folder, "whole", LAYERS, ModelKind::Sequence, TOKENS);
    publish_classes(folder, "labels", LAYERS, kolk::network::Pool::None);
    write_records(&folder.join("data.parquet"), &records());
    for (infer, expected) in [
        (
            "model: labels, mode: carry, beam: 4",
            "`beam` is for models of transcripts (`task: ctc`), which labels/1 isn't",
        ),
        ("model: labels, mode: carry, max_tokens: 4", "`max_tokens` is for models of transcripts"),
        ("model: stream, mode: sequence", "the pipeline runs mode sequence, but stream/1 was trained for mode carry"),
        ("model: whole, mode: carry", "the pipeline runs mode carry, but whole/1 was trained for mode sequence"),
    ] {
        let file = write_pipeline(folder, "{ end: last }", infer, "workers: 1");
        let (_, err) = kolk_exits(2, &["check", file.to_str().unwrap()]);
        assert!(err.contains(expected), "{err}");
    }
    let file = write_pipeline(folder, "key", "model: stream, mode: carry", "workers: 1");
    let open = std::fs::read_to_string(&file).unwrap().replace(", sequence: key", "");
    std::fs::write(&file, open).unwrap();
    let (_, err) = kolk_exits(2, &["check", file.to_str().unwrap()]);
    assert!(err.contains("stream/1 makes transcripts: write `sequence` within `record`"), "{err}");
    // State of another beam is not taken up.
    let file = write_pipeline(folder, "{ end: last }", "model: stream, mode: carry", "workers: 1");
    kolk_exits(0, &["run", file.to_str().unwrap()]);
    kolk_exits(0, &["size", file.to_str().unwrap()]);
    for (other, field) in [("beam: 3", "beam"), ("max_tokens: 9", "max_tokens")] {
        let file =
            write_pipeline(folder, "{ end: last }", &format!("model: stream, mode: carry, {other}"), "workers: 1");
        let (_, err) = kolk_exits(2, &["check", file.to_str().unwrap()]);
        assert!(err.contains(field), "{err}");
    }
}

/// Tones of two or three steps each with silence between, several strings of them under each key; the tones of a string
/// are its transcript.
fn songs(path: &Path, strings: usize) -> Vec<(String, String)> {
    let mut noise = 9_u64;
    let mut next = |below: u64| {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (noise >> 33) % below
    };
    let (mut keys, mut times, mut values) = (Vec::new(), Vec::new(), Vec::new());
    let (mut last, mut song, mut part) = (Vec::new(), Vec::new(), Vec::new());
    let mut all = Vec::new();
    let mut time = 0;
    for string in 0..strings {
        let (mut text, mut steps) = (String::new(), Vec::new());
        for _ in 0..1 + next(3) {
            let tone = next(3);
            text.push(['a', 'b', 'c'][tone as usize]);
            let on = 2 + next(2);
            steps.extend((0..on + 1).map(|at| if at < on { tone as f64 - 1.0 } else { 9.0 }));
        }
        let key = format!("k{}", string % 10);
        let count = steps.len();
        for (at, step) in steps.into_iter().enumerate() {
            time += 1;
            keys.push(key.clone());
            times.push(time);
            values.push(step + next(100) as f64 / 500.0);
            last.push(at + 1 == count);
            song.push(text.clone());
            part.push(if string % 4 == 3 { "test" } else { "train" });
        }
        if string % 4 == 3 {
            all.push((key, text));
        }
    }
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("key", Arc::new(StringArray::from(keys))),
        ("step", Arc::new(Int64Array::from(times))),
        ("value", Arc::new(Float64Array::from(values))),
        ("last", Arc::new(BooleanArray::from(last))),
        ("song", Arc::new(StringArray::from(song))),
        ("part", Arc::new(StringArray::from(part))),
    ];
    write_columns(path, columns, 500);
    all
}

/// Levenshtein's distance, by characters.
pub fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut before = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let changed = before + usize::from(x != y);
            before = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(before + 1);
        }
    }
    row[b.len()]
}

/// Trained in mode carry and in mode sequence: the same graph; and what `kolk run` writes at the ends of the test's
/// sequences has the errors that the training reported, by the best path and by its beam.
#[test]
fn what_is_served_is_what_the_training_judged() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let test = songs(&folder.join("data.parquet"), 240);
    let write = |registry: &str, mode: &str, beam: &str| {
        let file = folder.join("p.yaml");
        let text = format!(
            "name: p\nsource: {{ parquet: {{ path: data.parquet }} }}\n\
             record: {{ key: key, time: step, values: [value], sequence: {{ end: last }} }}\n\
             models: {registry}/\nstages: [ infer: {{ model: m, mode: {mode}{beam} }} ]\n\
             train:\n  task: ctc\n  target: song\n  layers: [ gru: 12 ]\n  epochs: 12\n  batch_size: 8\n  seed: 3\n  \
             optimizer: {{ adam: {{ learning_rate: 0.02 }} }}\n  split: {{ column: part }}\n\
             sink: {{ parquet: {{ path: out/, fields: [part] }} }}\nstate: {{ path: state/ }}\n"
        );
        std::fs::write(&file, text).unwrap();
        file
    };
    for (registry, mode) in [("stream", "carry"), ("whole", "sequence")] {
        kolk_exits(0, &["train", write(registry, mode, ", beam: 4").to_str().unwrap()]);
    }
    let version = |root: &str| registry::read_manifest(&folder.join(format!("{root}/m/1"))).unwrap();
    let (stream, whole) = (version("stream"), version("whole"));
    assert_eq!(stream.files["model.onnx"], whole.files["model.onnx"]);
    assert!(stream.transcripts && !whole.transcripts && stream.kind == ModelKind::Carry);
    assert_eq!(stream.metrics, whole.metrics);
    let all: usize = test.iter().map(|(_, text)| text.len()).sum();
    for (beam, metric) in [("", "song.token_error_greedy"), (", beam: 4", "song.token_error")] {
        let file = write("stream", "carry", beam);
        kolk_exits(0, &["run", file.to_str().unwrap()]);
        let made = rows(&folder.join("out"));
        let (mut wrong, mut count) = (0, 0);
        let mut own: BTreeMap<&String, Vec<&String>> = BTreeMap::new();
        test.iter().for_each(|(key, text)| own.entry(key).or_default().push(text));
        for (key, texts) in own {
            // step, part, prediction, prediction_final, model_version, warm_up
            let rows = made[key].iter().map(|row| row.split(' ').collect::<Vec<_>>());
            let told: Vec<String> =
                rows.filter(|row| row[1] == "test" && row[3] == "true").map(|row| row[2].to_owned()).collect();
            assert_eq!(told.len(), texts.len(), "{key}");
            for (told, text) in told.iter().zip(texts) {
                wrong += distance(told, text);
                count += 1;
            }
        }
        assert_eq!(count, test.len());
        let expected = stream.metrics[metric];
        assert!((wrong as f64 / all as f64 - expected).abs() < 1e-12, "{metric}: {wrong} of {all}, {expected}");
        assert!(expected < 0.2, "{metric}: {expected}");
        reset(&file);
    }
}
