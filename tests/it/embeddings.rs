//! Texts, ids and keys as inputs of networks, and what is known ahead: what is learned from them is what is served.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Float64Builder, Int64Array, ListBuilder, StringArray,
    TimestampMillisecondArray,
};

use super::common::*;
use super::serve_as_trained::{ROWS, error_of_trained, manifest_of};

const HOUR: i64 = 3_600_000;
const WORDS: [(&str, f64); 4] = [("calm", 0.0), ("storm", -6.0), ("sun", 6.0), ("rain", -2.0)];
const LEVELS: [f64; 3] = [0.0, 9.0, -9.0];

/// Three keys: the next value is the level of the key, and what the word (or the number of the word) stands for. Every
/// thirteenth word is null.
fn write_words(path: &Path, keys: &[&str]) {
    let mut noise = 0x2545_f491_4f6c_dd1d_u64;
    let (mut key, mut ts, mut value, mut word, mut code) = (vec![], vec![], vec![], vec![], vec![]);
    let mut now = vec![0.0; keys.len()];
    for row in 0..ROWS {
        for (k, name) in keys.iter().enumerate() {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            let at = (noise >> 40) as usize % WORDS.len();
            key.push(*name);
            ts.push(row as i64 * HOUR);
            value.push(now[k]);
            word.push((row % 13 > 0).then_some(WORDS[at].0));
            code.push((row % 13 > 0).then_some(100 + at as i64));
            let effect = if row % 13 > 0 { WORDS[at].1 } else { 0.0 };
            now[k] = LEVELS[k % 3] + effect + (noise % 100) as f64 / 1000.0;
        }
    }
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("key", Arc::new(StringArray::from(key))),
        ("ts", Arc::new(TimestampMillisecondArray::from(ts))),
        ("value", Arc::new(Float64Array::from(value))),
        ("word", Arc::new(StringArray::from(word))),
        ("code", Arc::new(Int64Array::from(code))),
    ];
    write_columns(path, columns, 500);
}

fn pipeline_of(folder: &Path, data: &str, infer: &str, train: &str) -> String {
    let file = folder.join("pipeline.yaml");
    let text = format!(
        "name: whole\nsource: {{ parquet: {{ path: {data} }} }}\nrecord: {{ key: key, time: ts, values: [value] }}\n\
         stages: [ infer: {{ model: m, {infer} }} ]\nsink: {{ parquet: {{ path: out/, fields: [value] }} }}\n\
         train:\n  target: value\n  horizon: 2\n  skip: none\n  layers: [ gru: 8 ]\n  updates: 400\n  batch_size: 8\n\
         {train}\n"
    );
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_string()
}

/// The error that training reports, after `run` wrote outputs of the same one.
fn error_of(infer: &str, train: &str) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    write_words(&folder.path().join("data.parquet"), &["a", "b", "c"]);
    let adam = "  optimizer: { adam: { learning_rate: 0.02 } }\n";
    let file = pipeline_of(folder.path(), "data.parquet", infer, &format!("{adam}{train}"));
    kolk_exits(0, &["train", &file]);
    kolk_exits(0, &["check", &file]);
    error_of_trained(folder.path(), &file)
}

#[test]
fn what_is_learned_from_words_ids_and_keys_is_served() {
    for infer in ["mode: carry", "mode: window, window: 3"] {
        let without = error_of(infer, "");
        let words = error_of(infer, "  embeddings: [ { column: word, size: 3 } ]");
        let both = "  embeddings: [ { column: code, size: 3, unseen: 0 }, { key: true, size: 2 } ]";
        let codes = error_of(infer, both);
        // Of two steps ahead the words tell the first one.
        assert!(words < 0.75 * without, "{infer}: {words} with words, {without} without");
        assert!(codes < 0.75 * without, "{infer}: {codes} with ids and keys, {without} without");
    }
}

#[test]
fn a_version_keeps_its_vocabulary_and_others_are_unseen() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_words(&folder.join("data.parquet"), &["a", "b", "c"]);
    let train = "  embeddings: [ { column: word, size: 3, max_tokens: 3 }, { key: true, size: 2 } ]";
    let file = pipeline_of(folder, "data.parquet", "mode: carry", train);
    kolk_exits(0, &["train", &file]);
    let manifest = manifest_of(folder);
    let words = manifest["vocabularies"][0]["tokens"].as_array().unwrap();
    assert_eq!((words.len(), manifest["vocabularies"][0]["column"].as_str()), (3, Some("word")));
    assert_eq!(manifest["vocabularies"][1], serde_json::json!({ "tokens": ["a", "b", "c"] }));
    let models = folder.join("models");
    let models = models.to_str().unwrap();
    let (shown, _) = kolk_exits(0, &["models", "show", "m", "--models", models]);
    assert!(shown.contains("value, word, among 3 texts, the key, among 3 keys"), "{shown}");
    assert!(shown.contains("steps ahead"), "{shown}");
    let (summary, _) = kolk_exits(0, &["summary", "m", "--models", models]);
    assert!(summary.contains("embedding (Embedding)") && summary.contains("embedding_1 (Embedding)"), "{summary}");

    // Keys that training has not seen all have the vector of id 0: equal rows have equal outputs.
    write_words(&folder.join("new.parquet"), &["x", "b", "c"]);
    write_words(&folder.join("newer.parquet"), &["y", "b", "c"]);
    let predictions = |data: &str, key: &str| {
        let file = pipeline_of(folder, data, "mode: carry", train);
        ["out", "state"].iter().for_each(|made| drop(std::fs::remove_dir_all(folder.join(made))));
        kolk_exits(0, &["run", &file]);
        let of = rows(&folder.join("out")).remove(key).unwrap();
        of.iter().map(|row| row.replacen(key, "-", 1)).collect::<Vec<_>>()
    };
    let (new, newer) = (predictions("new.parquet", "x"), predictions("newer.parquet", "y"));
    assert_eq!(new, newer);
    assert_ne!(new, predictions("data.parquet", "a"));

    // A training that goes on keeps the ids, and refuses other embeddings.
    let file = pipeline_of(folder, "data.parquet", "mode: carry", train);
    kolk_exits(0, &["train", &file, "--from", "m/1"]);
    let other = pipeline_of(folder, "data.parquet", "mode: carry", "  embeddings: [ { column: code, size: 3 } ]");
    let (_, said) = kolk_exits(2, &["train", &other, "--from", "m/1"]);
    assert!(said.contains("embeddings: m/1 has word (3), the key (2), the pipeline code (3)"), "{said}");

    // What the model looks up has to be there.
    write(&folder.join("plain.parquet"), &series(3, 20), 500);
    let plain = pipeline_of(folder, "plain.parquet", "mode: carry", train);
    let (_, said) = kolk_exits(2, &["run", &plain]);
    assert!(said.contains("\"word\""), "{said}");
}

/// The class of a sequence is said by one word in it; there is no number that says it.
fn classified(folder: &Path, layers: &str, inputs: &str) {
    let (mut key, mut ts, mut place, mut word, mut label, mut last) = (vec![], vec![], vec![], vec![], vec![], vec![]);
    for sequence in 0..240_usize {
        let (length, class) = (3 + sequence % 5, sequence * 7 % 3);
        for row in 0..length {
            let is_it = row == sequence * 5 % length;
            key.push(format!("s{sequence:03}"));
            ts.push(row as i64 * HOUR);
            place.push(row as f64);
            word.push(if is_it { ["good", "bad", "so"][class] } else { ["the", "a", "of"][(sequence + row) % 3] });
            label.push(["up", "down", "even"][class]);
            last.push(row + 1 == length);
        }
    }
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("key", Arc::new(StringArray::from(key))),
        ("ts", Arc::new(TimestampMillisecondArray::from(ts))),
        ("place", Arc::new(Float64Array::from(place))),
        ("word", Arc::new(StringArray::from(word))),
        ("label", Arc::new(StringArray::from(label))),
        ("last", Arc::new(BooleanArray::from(last))),
    ];
    write_columns(&folder.join("data.parquet"), columns, 500);
    let file = folder.join("pipeline.yaml");
    let text = format!(
        "name: words\nsource: {{ parquet: {{ path: data.parquet }} }}\n\
         record: {{ key: key, time: ts, values: [place], sequence: {{ end: last }} }}\n\
         stages: [ infer: {{ model: m, mode: sequence }} ]\nsink: {{ parquet: {{ path: out/, fields: [label] }} }}\n\
         train:\n  target: label\n  {inputs}embeddings: [ {{ column: word, size: 4 }} ]\n  layers: [ {layers} ]\n\
         \x20 epochs: 60\n  batch_size: 8\n  optimizer: {{ adam: {{ learning_rate: 0.02 }} }}\n"
    );
    std::fs::write(&file, text).unwrap();
    kolk_exits(0, &["train", file.to_str().unwrap()]);
    let accuracy = manifest_of(folder)["metrics"]["label.accuracy"].as_f64().unwrap();
    assert!(accuracy > 0.95, "{layers} {inputs}: {accuracy}");
    kolk_exits(0, &["run", file.to_str().unwrap()]);
    let rows: Vec<String> = rows(&folder.join("out")).into_values().flatten().collect();
    let right = rows.iter().filter(|row| ["up", "down", "even"].iter().any(|of| row.matches(of).count() == 2)).count();
    assert_eq!(rows.len(), 240);
    assert!(right > 225, "{layers} {inputs}: {right} of 240 sequences\n{}", rows[0]);
}

#[test]
fn a_word_tells_the_class_of_its_sequence() {
    for (layers, inputs) in [("gru: 8", ""), ("{ gru: 6, bidirectional: true }", ""), ("gru: 8", "inputs: []\n  ")] {
        classified(tempfile::tempdir().unwrap().path(), layers, inputs);
    }
    classified(tempfile::tempdir().unwrap().path(), "{ lstm: 6, bidirectional: true }", "inputs: []\n  ");
}

#[test]
fn texts_do_not_pass_a_resampling() {
    let folder = tempfile::tempdir().unwrap();
    write_words(&folder.path().join("data.parquet"), &["a"]);
    let train = "  embeddings: [ { column: word, size: 3 } ]";
    let file = pipeline_of(folder.path(), "data.parquet", "mode: carry", train);
    let text = std::fs::read_to_string(&file).unwrap().replace("stages: [", "stages: [ resample: { every: 1h },");
    std::fs::write(&file, text).unwrap();
    let (_, said) = kolk_exits(2, &["train", &file]);
    assert!(said.contains("no column \"word\" here") && said.contains("resample"), "{said}");
}

/// A value is 6 higher in the hours that an offer runs. Offers are known two hours ahead, and can't be guessed.
fn write_offers(path: &Path, known: usize) {
    let mut noise = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        noise >> 40
    };
    let offers: Vec<Vec<f64>> =
        (0..3).map(|_| (0..ROWS + known).map(|_| f64::from(u8::from(next() % 3 == 0))).collect()).collect();
    let (mut key, mut ts, mut value) = (vec![], vec![], vec![]);
    let mut offer = ListBuilder::new(Float64Builder::new());
    for row in 0..ROWS {
        for (k, offers) in offers.iter().enumerate() {
            key.push(["a", "b", "c"][k]);
            ts.push(row as i64 * HOUR);
            value.push(LEVELS[k] + 6.0 * offers[row] + (next() % 100) as f64 / 1000.0);
            offer.append_value(offers[row + 1..=row + known].iter().map(|offer| Some(*offer)));
        }
    }
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("key", Arc::new(StringArray::from(key))),
        ("ts", Arc::new(TimestampMillisecondArray::from(ts))),
        ("value", Arc::new(Float64Array::from(value))),
        ("offer", Arc::new(offer.finish())),
    ];
    write_columns(path, columns, 500);
}

#[test]
fn what_the_record_knows_ahead_is_learned_and_served() {
    let of = |infer: &str, train: &str| {
        let folder = tempfile::tempdir().unwrap();
        write_offers(&folder.path().join("data.parquet"), 2);
        let file = pipeline_of(folder.path(), "data.parquet", infer, train);
        let text = std::fs::read_to_string(&file).unwrap();
        let text = text.replace("values: [value]", "values: [value], vectors: { offer: 2 }").replace("skip: none", "");
        std::fs::write(&file, text).unwrap();
        kolk_exits(0, &["train", &file]);
        error_of_trained(folder.path(), &file)
    };
    // In mode carry the linear path reads them too.
    for infer in ["mode: carry", "mode: window, window: 3"] {
        let (without, with) = (of(infer, ""), of(infer, "  known_ahead: [offer]"));
        assert!(with < 0.5 * without, "{infer}: {with} with, {without} without");
    }
}

#[test]
fn what_is_known_ahead_has_a_number_for_each_row_of_the_horizon() {
    let folder = tempfile::tempdir().unwrap();
    write_offers(&folder.path().join("data.parquet"), 3);
    let refused = |vectors: &str, known: &str| {
        let file = pipeline_of(folder.path(), "data.parquet", "mode: carry", &format!("  known_ahead: [{known}]"));
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replace("values: [value]", &format!("values: [value]{vectors}"))).unwrap();
        kolk_exits(2, &["train", &file]).1
    };
    let said = refused(", vectors: { offer: 3 }", "offer");
    assert!(said.contains("the vectors of \"offer\" have 3 numbers, but the horizon is 2"), "{said}");
    let said = refused(", vectors: { offer: 3 }", "value");
    assert!(said.contains("\"value\" is no vector") && said.contains("vectors: { value: 2 }"), "{said}");
    let said = refused(", vectors: { offer: 3 }", "ofer");
    assert!(said.contains("no column \"ofer\"") && said.contains("did you mean \"offer\"?"), "{said}");
}
