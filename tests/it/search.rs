//! Whole searches: all trials, hopeless ones, processes that share them.

use std::path::Path;

use super::common::*;

fn pipeline_of(folder: &Path, search: &str) -> String {
    write(&folder.join("data.parquet"), &series(3, 300), 1_000);
    let extra = format!(
        "train: {{ target: value, layers: [ lstm: 3 ], chunk: 16, updates: 40, batch_size: 8, skip: none }}\nsearch: {search}"
    );
    let file = pipeline(folder, "model: m, mode: carry", "stdout: {}", &extra);
    file.to_str().unwrap().to_string()
}

fn trials(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let all = files(&folder.join("pipeline.search")).into_iter();
    all.filter(|(name, _)| name.starts_with("trial-")).collect()
}

const GRID: &str =
    "{ over: { train.layers: [[gru: 4], [lstm: 4]], train.optimizer.adam.learning_rate: [0.02, 0.0000001, 0.01] } }";

#[test]
fn a_grid_is_tried_whole_and_the_best_values_are_printed() {
    let whole = tempfile::tempdir().unwrap();
    let whole = whole.path();
    let file = pipeline_of(whole, GRID);
    let (out, said) = kolk_exits(0, &["search", &file]);
    assert!(said.contains("7 trials: the pipeline as it is") && said.contains("validation loss"), "{said}");
    assert!(out.lines().count() == 2 && out.starts_with("train.layers: [{ "), "{out}");
    assert!(out.contains("train.optimizer.adam.learning_rate: 0.0"), "{out}");
    let expected = trials(whole);
    assert_eq!(expected.len(), 7);
    assert!(!whole.join("models").exists());
    let page = std::fs::read_to_string(whole.join("pipeline.search/search.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("as in the file"), "{page}");
    // The fifth comes after four, and hardly learns.
    let hopeless = |(_, bytes): &&(String, Vec<u8>)| String::from_utf8_lossy(bytes).contains("\"hopeless\":true");
    assert!(expected.iter().filter(hopeless).any(|(name, _)| name == "trial-00005.json"), "{said}");

    // A trial that is missing is tried again, to the same bytes, and no other one.
    std::fs::remove_file(whole.join("pipeline.search/trial-00003.json")).unwrap();
    let (again, said) = kolk_exits(0, &["search", &file]);
    assert_eq!((again, trials(whole) == expected), (out, true));
    assert_eq!(said.matches(" of 6: ").count(), 1, "{said}");

    let other = pipeline_of(whole, "{ over: { train.batch_size: [4, 8] } }");
    let (_, said) = kolk_exits(2, &["search", &other]);
    assert!(said.contains("pipeline.search holds the trials of another search"), "{said}");
    let wrong = pipeline_of(whole, "{ over: { train.batch_size: [4, many] } }");
    let (_, said) = kolk_exits(2, &["search", &wrong, "--results", whole.join("new").to_str().unwrap()]);
    assert!(said.contains("`batch_size`: expected") && said.contains("many"), "{said}");
    assert!(!whole.join("new").exists());
}

#[test]
fn processes_share_the_trials_of_a_search() {
    let search = "{ trials: 5, stop: none, over: { train.chunk: { from: 8, to: 24 }, train.clip_norm: [0.5, 1] } }";
    let whole = tempfile::tempdir().unwrap();
    let (out, _) = kolk_exits(0, &["search", &pipeline_of(whole.path(), search)]);
    let folder = tempfile::tempdir().unwrap();
    let file = pipeline_of(folder.path(), search);
    let (nothing, said) = kolk_exits(0, &["search", &file, "--shard", "1/2"]);
    assert!(nothing.is_empty() && said.contains("3 of 6 trials are there"), "{said}");
    let (found, _) = kolk_exits(0, &["search", &file, "--shard", "0/2"]);
    assert_eq!(found, out);
    assert_eq!(trials(folder.path()), trials(whole.path()));
}
