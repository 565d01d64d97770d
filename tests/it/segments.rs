//! Forecasts that are decoded by position: trained, told, gone on with; with all that goes along, and what does not.

use std::path::Path;

use super::common::*;

const WINDOW: &str = "model: m, mode: window, window: 12";
const TRAIN: &str = "horizon: 4, patch: 2, decoder: position, subtract: last, residual: last, \
                     embeddings: [ { key: true, size: 2 } ]";

fn pipeline_of(folder: &Path, train: &str) -> String {
    let train = format!("train: {{ target: value, layers: [ dense: 5, lstm: 4 ], updates: 20, {train} }}");
    pipeline(folder, WINDOW, "stdout: {}", &train).to_str().unwrap().to_string()
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("data.parquet"), &series(3, 200), 1_000);
    folder
}

#[test]
fn a_version_is_told_and_gone_on_with() {
    let folder = folder();
    let folder = folder.path();
    let file = pipeline_of(folder, TRAIN);
    kolk_exits(0, &["train", &file]);
    let models = folder.join("models");
    let models = models.to_str().unwrap();
    let (shown, _) = kolk_exits(0, &["models", "show", "m", "--models", models]);
    assert!(shown.contains("LSTM(4), Dense(2), decoded by position in 2 segments"), "{shown}");
    // 2 segments of 3 numbers, the other 2 of 5 are the key's.
    let (summary, _) = kolk_exits(0, &["summary", "m", "--models", models]);
    assert!(summary.contains("embedding_1 (Embedding)"), "{summary}");
    let report = std::fs::read_to_string(folder.join("models/m/1/report.html")).unwrap();
    assert!(report.contains("for each of 2 segments by position"), "nothing of the segments");

    kolk_exits(0, &["train", &file, "--from", "m/1"]);
    let plain = TRAIN.replace("decoder: position, ", "").replace(", embeddings: [ { key: true, size: 2 } ]", "");
    let plain = pipeline_of(folder, &plain.replace("subtract: last, ", ""));
    let (_, said) = kolk_exits(2, &["train", &plain, "--from", "m/1"]);
    assert!(said.contains("decoder: m/1 has position, the pipeline dense"), "{said}");
    assert!(said.contains("subtract: m/1 has value, the pipeline none"), "{said}");
}

#[test]
fn layers_that_training_chooses_and_groups_are_decoded_too() {
    let folder = folder();
    let folder = folder.path();
    // A GRU takes the two numbers of a patch: one is left for the position.
    let auto = pipeline_of(folder, &TRAIN.replace("size: 2", "size: 1"));
    let text = std::fs::read_to_string(&auto).unwrap();
    std::fs::write(&auto, text.replace("layers: [ dense: 5, lstm: 4 ]", "layers: auto")).unwrap();
    kolk_exits(0, &["check", &auto]);
    let groups = pipeline_of(folder, &format!("{TRAIN}, per: key, skip: ridge, quantiles: [0.2, 0.8]"));
    kolk_exits(0, &["train", &groups]);
    kolk_exits(0, &["run", &groups]);
}

#[test]
fn embeddings_leave_room_for_the_position_and_a_last_value_is_there_to_subtract() {
    let folder = folder();
    let wide = pipeline_of(folder.path(), &TRAIN.replace("size: 2", "size: 5"));
    let (_, said) = kolk_exits(2, &["check", &wide]);
    assert!(
        said.contains("`decoder`: the last recurrent layer takes 5 numbers, of which `embeddings` leave none"),
        "{said}"
    );
    let apart = pipeline_of(folder.path(), &format!("{TRAIN}, inputs: [other]"));
    let (_, said) = kolk_exits(2, &["check", &apart]);
    assert!(said.contains("`subtract`: no target is among the `inputs`"), "{said}");
}
