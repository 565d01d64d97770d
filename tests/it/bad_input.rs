//! Bad input: a clear error with its exit code, nothing lost and nothing half-written.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, StringArray, TimestampMillisecondArray};

use super::common::*;
use kolk::kernel::CellKind;
use kolk::model::ModelKind;

const INFER: &str = "model: m, mode: carry";
const SINK: &str = "parquet: { path: out/, fields: [value] }";

/// A folder with data, a model and a pipeline that work.
fn good() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("data.parquet"), &series(3, 40), 1000);
    publish(folder.path(), "m", CellKind::Gru, ModelKind::Carry, None);
    let file = pipeline(folder.path(), INFER, SINK, "");
    (folder, file.to_str().unwrap().to_string())
}

/// Replaces text of the pipeline file.
fn edit(file: &str, from: &str, to: &str) {
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(file, text.replace(from, to)).unwrap();
}

/// Refused with exit code 2 by `check` and `run` alike, before anything is written.
fn refused(folder: &Path, file: &str, words: &[&str]) {
    for command in ["check", "run"] {
        let (_, err) = kolk_exits(2, &[command, file]);
        for word in words {
            assert!(err.contains(word), "{command}: no {word:?} in {err}");
        }
    }
    assert!(!folder.join("out").exists() || files(&folder.join("out")).is_empty());
    assert!(!folder.join("state").exists());
}

#[test]
fn everything_is_well_at_first() {
    let (folder, file) = good();
    kolk_exits(0, &["check", &file]);
    kolk_exits(0, &["run", &file]);
    assert_eq!(rows(&folder.path().join("out")).values().map(Vec::len).sum::<usize>(), 120);
}

#[test]
fn unknown_field_wrong_type_undefined_variable_all_at_once() {
    let (folder, file) = good();
    edit(&file, "  time: ts", "  tiem: ts\n  time: ${KOLK_TEST_UNDEFINED}");
    edit(&file, "values: [value]", "values: 7");
    refused(folder.path(), &file, &["pipeline.yaml:6:", "\"time\"?", "KOLK_TEST_UNDEFINED", "pipeline.yaml:8:"]);
}

#[test]
fn wrong_columns() {
    let (folder, file) = good();
    edit(&file, "key: key", "key: kee");
    edit(&file, "fields: [value]", "fields: [valu]");
    refused(folder.path(), &file, &["kee", "\"key\"?", "valu"]);
}

#[test]
fn missing_model() {
    let (folder, file) = good();
    edit(&file, "model: m,", "model: n,");
    refused(folder.path(), &file, &["n", "models"]);
}

#[test]
fn model_of_other_width() {
    let (folder, file) = good();
    edit(&file, "values: [value]", "values: [other]");
    refused(folder.path(), &file, &["value", "other"]);
}

#[test]
fn model_of_another_mode() {
    let (folder, file) = good();
    edit(&file, "mode: carry", "mode: window, window: 5");
    refused(folder.path(), &file, &["window", "carry"]);
}

#[test]
fn stages_that_the_model_was_not_trained_behind() {
    let (folder, file) = good();
    edit(&file, "  - infer", "  - scale: { values: [value], half_life: 3d }\n  - infer");
    refused(folder.path(), &file, &["scale"]);
}

#[test]
fn truncated_parquet() {
    let (folder, file) = good();
    let data = folder.path().join("data.parquet");
    let bytes = std::fs::read(&data).unwrap();
    std::fs::write(&data, &bytes[..bytes.len() / 2]).unwrap();
    refused(folder.path(), &file, &["data.parquet"]);
}

#[test]
fn no_source() {
    let (folder, file) = good();
    std::fs::remove_file(folder.path().join("data.parquet")).unwrap();
    refused(folder.path(), &file, &["data*.parquet"]);
}

#[test]
fn output_that_cannot_be_created() {
    let (folder, file) = good();
    std::fs::write(folder.path().join("out"), "a file").unwrap();
    let (_, err) = kolk_exits(2, &["run", &file]);
    assert!(err.contains("out"), "{err}");
    assert!(!folder.path().join("state").exists());
}

#[test]
fn output_without_checkpoint() {
    let (folder, file) = good();
    kolk_exits(0, &["run", &file]);
    std::fs::remove_dir_all(folder.path().join("state")).unwrap();
    let before = files(&folder.path().join("out"));
    let (_, err) = kolk_exits(2, &["run", &file]);
    assert!(err.contains("out"), "{err}");
    assert_eq!(files(&folder.path().join("out")), before);
}

#[test]
fn changed_source_and_changed_pipeline() {
    let (folder, file) = good();
    kolk_exits(0, &["run", &file]);
    let before = files(&folder.path().join("out"));
    edit(&file, "model: m,", "model: m, gap: 5h,");
    let (_, err) = kolk_exits(2, &["run", &file]);
    assert!(err.contains("stages") && err.contains("kolk state reset"), "{err}");
    edit(&file, "model: m, gap: 5h,", "model: m,");
    kolk_exits(0, &["run", &file]);
    write(&folder.path().join("data.parquet"), &series(3, 41), 1000);
    let (_, err) = kolk_exits(2, &["run", &file]);
    assert!(err.contains("source") && err.contains("kolk state reset"), "{err}");
    assert_eq!(files(&folder.path().join("out")), before);
}

#[test]
fn full_disk() {
    let (folder, file) = good();
    let out = folder.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=256k", "tmpfs", out.to_str().unwrap()])
        .status()
        .is_ok_and(|status| status.success());
    if !mounted {
        eprintln!("a tmpfs can't be mounted here (not root?): full disk not tested");
        return;
    }
    write(&folder.path().join("data.parquet"), &series(50, 2_000), 1000);
    let (_, err) = kolk_exits(1, &["run", &file]);
    let written = files(&out);
    std::process::Command::new("umount").arg(&out).status().unwrap();
    assert!(err.contains("out"), "{err}");
    for (name, bytes) in written {
        assert_eq!(&bytes[bytes.len() - 4..], b"PAR1", "{name} is half-written");
    }
    // With room again it goes on, and the output is whole.
    kolk_exits(0, &["state", "reset", &file, "--yes", "--output"]);
    kolk_exits(0, &["run", &file]);
    assert_eq!(rows(&out).values().map(Vec::len).sum::<usize>(), 100_000);
}

fn with_values(folder: &Path, values: &[Option<f64>], times: &[Option<i64>], keys: &[Option<&str>]) {
    let keys: ArrayRef = Arc::new(StringArray::from_iter(keys.iter().copied()));
    let times: ArrayRef = Arc::new(TimestampMillisecondArray::from_iter(times.iter().copied()));
    let values: ArrayRef = Arc::new(Float64Array::from_iter(values.iter().copied()));
    write_columns(&folder.join("data.parquet"), vec![("key", keys), ("ts", times), ("value", values)], 1000);
}

#[test]
fn nan_and_infinite_values_never_reach_the_network() {
    let values = [Some(1.0), None, Some(f64::NAN), Some(f64::INFINITY), Some(f64::NEG_INFINITY), Some(2.0)];
    let times: Vec<_> = (0..6).map(|i| Some(i * 3_600_000)).collect();
    for (policy, null_predictions) in [("carry", 0), ("skip", 4), ("reset", 4)] {
        let (folder, file) = good();
        with_values(folder.path(), &values, &times, &[Some("a"); 6]);
        edit(&file, "stages:", &format!("on: {{ null: {policy} }}\nstages:"));
        kolk_exits(0, &["run", &file]);
        let rows = rows(&folder.path().join("out"));
        assert_eq!(rows["a"].len(), 6, "{policy}");
        let nulls = rows["a"].iter().filter(|row| row.contains("[null, null]") || row.contains("null null")).count();
        assert_eq!(nulls, null_predictions, "{policy}: {rows:?}");
    }
    let (folder, file) = good();
    with_values(folder.path(), &values, &times, &[Some("a"); 6]);
    edit(&file, "stages:", "on: { null: refuse }\nstages:");
    let (_, err) = kolk_exits(0, &["run", &file]);
    assert!(err.contains("4") && err.contains("null_value"), "{err}");
    assert_eq!(rows(&folder.path().join("out"))["a"].len(), 2);
    let dead = rows_of_dead_letters(folder.path());
    assert_eq!(dead, 4);
}

fn rows_of_dead_letters(folder: &Path) -> usize {
    rows(&folder.join("dead_letters")).values().map(Vec::len).sum()
}

#[test]
fn null_keys_and_times_go_to_the_dead_letters_or_stop_the_run() {
    let (folder, file) = good();
    with_values(
        folder.path(),
        &[Some(1.0); 4],
        &[Some(0), None, Some(1), Some(2)],
        &[Some("a"), Some("a"), None, Some("a")],
    );
    let (_, err) = kolk_exits(0, &["run", &file]);
    assert!(err.contains("null_key") && err.contains("null_time"), "{err}");
    assert_eq!(rows(&folder.path().join("out"))["a"].len(), 2);
    assert_eq!(rows_of_dead_letters(folder.path()), 2);

    kolk_exits(0, &["state", "reset", &file, "--yes", "--output"]);
    edit(&file, "stages:", "on: { error: refuse }\nstages:");
    let (_, err) = kolk_exits(1, &["run", &file]);
    assert!(err.contains("null_time") || err.contains("null_key"), "{err}");
}

#[test]
fn keys_of_a_megabyte() {
    let (folder, file) = good();
    let long = "x".repeat(1 << 20);
    let keys = [Some(long.as_str()), Some("a"), Some(long.as_str())];
    with_values(folder.path(), &[Some(1.0); 3], &[Some(0), Some(0), Some(1)], &keys);
    kolk_exits(0, &["run", &file]);
    assert_eq!(rows(&folder.path().join("out"))[&long].len(), 2);
}

#[test]
fn duplicate_times_and_times_before_1970() {
    let (folder, file) = good();
    let times = [Some(-7_200_000), Some(-3_600_000), Some(-3_600_000), Some(0)];
    with_values(folder.path(), &[Some(1.0), Some(2.0), Some(3.0), Some(4.0)], &times, &[Some("a"); 4]);
    kolk_exits(0, &["run", &file]);
    let rows = rows(&folder.path().join("out"));
    assert_eq!(rows["a"].len(), 4);
    assert!(rows["a"][0].starts_with("1969-12-31T22:00:00"), "{:?}", rows["a"]);
}

#[test]
fn late_records_by_policy() {
    let times = [Some(0), Some(7_200_000), Some(3_600_000), Some(10_800_000)];
    let (folder, file) = good();
    with_values(folder.path(), &[Some(1.0); 4], &times, &[Some("a"); 4]);
    kolk_exits(0, &["run", &file]);
    assert_eq!(rows(&folder.path().join("out"))["a"].len(), 4);
    kolk_exits(0, &["state", "reset", &file, "--yes", "--output"]);
    edit(&file, "stages:", "on: { late: dead_letter }\nstages:");
    let (_, err) = kolk_exits(0, &["run", &file]);
    assert!(err.contains("late"), "{err}");
    assert_eq!(rows(&folder.path().join("out"))["a"].len(), 3);
    assert_eq!(rows_of_dead_letters(folder.path()), 1);
}

#[test]
fn an_empty_file_and_one_row() {
    let (folder, file) = good();
    with_values(folder.path(), &[], &[], &[]);
    kolk_exits(0, &["run", &file]);
    assert!(rows(&folder.path().join("out")).is_empty());
    kolk_exits(0, &["state", "reset", &file, "--yes", "--output"]);
    with_values(folder.path(), &[Some(1.0)], &[Some(0)], &[Some("a")]);
    kolk_exits(0, &["run", &file]);
    assert_eq!(rows(&folder.path().join("out"))["a"].len(), 1);
}

#[test]
fn too_little_to_train_on() {
    for rows in [0, 1] {
        let (folder, file) = good();
        write(&folder.path().join("data.parquet"), &series(1, rows), 1000);
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(
            &file,
            text.replace("model: m,", "model: new,") + "train: { target: value, layers: [ gru: 4 ] }\n",
        )
        .unwrap();
        let (_, err) = kolk_exits(2, &["train", &file]);
        assert!(!err.contains("panicked"), "{err}");
        assert!(!folder.path().join("models/new").exists());
    }
}
