//! After a retraining the same pipeline goes on with the new version, from what is committed; the same from Kafka to
//! files. What is committed stays as the version before made it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use arrow::array::AsArray;
use arrow::datatypes::{Float32Type, Float64Type, Int64Type};
use kolk::kernel::CellKind;
use kolk::model::ModelKind;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::common::*;

const EXTRA: &str = "state: { path: state/, checkpoint_every: 1ms, or_records: 200, partitions: 3 }\nruntime: { workers: 1, batch: 32 }";
const SINK: &str = "parquet: { path: out/, fields: [value], part_records: 200 }";
const KEYS: usize = 6;
const ROWS: usize = 4_000;

/// One row of the output: time, version, bits of the prediction, bits of the value.
pub type Written = (i64, i64, Vec<u32>, u64);

pub fn written(folder: &Path) -> BTreeMap<String, Vec<Written>> {
    let mut rows: BTreeMap<String, Vec<Written>> = BTreeMap::new();
    for name in files(&folder.join("out")).keys() {
        let file = std::fs::File::open(folder.join("out").join(name)).unwrap();
        for batch in ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap() {
            let batch = batch.unwrap();
            let column = |name: &str| batch.column_by_name(name).unwrap();
            let integers = |name: &str| arrow::compute::cast(column(name), &arrow::datatypes::DataType::Int64).unwrap();
            let (keys, times, versions) = (column("key").as_string::<i32>(), integers("ts"), integers("model_version"));
            let (times, versions) = (times.as_primitive::<Int64Type>(), versions.as_primitive::<Int64Type>());
            let values = column("value").as_primitive::<Float64Type>();
            let predictions = column("prediction").as_fixed_size_list();
            for row in 0..batch.num_rows() {
                let prediction = predictions.value(row);
                let prediction =
                    prediction.as_primitive::<Float32Type>().values().iter().map(|p| p.to_bits()).collect();
                let bits = values.value(row).to_bits();
                let written = (times.value(row), versions.value(row), prediction, bits);
                rows.entry(keys.value(row).to_string()).or_default().push(written);
            }
        }
    }
    rows
}

/// Starts a run and kills it when the newest commit of a partition has that number; gives whether it was in time.
pub fn killed_at(file: &Path, folder: &Path, commit: u64) -> bool {
    let mut child = Command::new(env!("CARGO_BIN_EXE_kolk"))
        .arg("run")
        .arg(file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let started = Instant::now();
    loop {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        let partition = folder.join("state/test/00001");
        let newest = files_or_none(&partition).iter().filter_map(|name| name.strip_suffix(".json")?.parse().ok()).max();
        if newest.is_some_and(|newest: u64| newest >= commit) {
            child.kill().unwrap();
            child.wait().unwrap();
            return true;
        }
        assert!(started.elapsed() < Duration::from_secs(300), "no commit {commit}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn files_or_none(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// A run that was killed in its middle, with version 1 of its model.
fn interrupted(folder: &Path) -> PathBuf {
    write(&folder.join("data.parquet"), &series(KEYS, ROWS), 1_000);
    publish_units(folder, "m", CellKind::Lstm, ModelKind::Carry, None, 9);
    let file = pipeline(folder, "model: m, mode: carry", SINK, EXTRA);
    assert!(killed_at(&file, folder, 4), "the run has to be killed in its middle");
    file
}

/// What a version alone makes of the rows that are left of each key after the first `from`.
fn alone(units: usize, from: &BTreeMap<&str, usize>) -> BTreeMap<String, Vec<Written>> {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let rows: Vec<Row> = series(KEYS, ROWS)
        .into_iter()
        .filter(|(key, ..)| {
            let count = seen.entry(key.clone()).or_default();
            *count += 1;
            *count > from.get(key.as_str()).copied().unwrap_or(0)
        })
        .collect();
    write(&folder.join("data.parquet"), &rows, 1_000);
    publish_units(folder, "m", CellKind::Lstm, ModelKind::Carry, None, units);
    let file = pipeline(folder, "model: m, mode: carry", SINK, EXTRA);
    kolk_exits(0, &["run", file.to_str().unwrap()]);
    written(folder)
}

/// The versions of all rows of a key, each with the number of its first row.
pub fn versions(rows: &[Written]) -> Vec<(i64, usize)> {
    let mut found: Vec<(i64, usize)> = Vec::new();
    for (index, (_, version, ..)) in rows.iter().enumerate() {
        if found.last().is_none_or(|(last, _)| last != version) {
            found.push((*version, index));
        }
    }
    found
}

/// Of each key, how many of its rows are of version 1; all after them are of version 2. Each key has so many, and one
/// at least has rows of both.
pub fn taken_over(found: &BTreeMap<String, Vec<Written>>, rows_of_a_key: usize) -> BTreeMap<&str, usize> {
    let of_key = |(key, rows): (&'_ String, &Vec<Written>)| {
        assert_eq!(rows.len(), rows_of_a_key, "{key}");
        match versions(rows)[..] {
            [(1, 0), (2, at)] => at,
            // A partition that had committed nothing begins with the new version.
            [(2, 0)] => 0,
            ref other => panic!("{key}: {other:?}"),
        }
    };
    let from: BTreeMap<&str, usize> = found.iter().map(|of| (of.0.as_str(), of_key(of))).collect();
    assert!(from.values().any(|at| *at > 0), "{from:?}");
    from
}

#[test]
fn a_run_that_was_interrupted_goes_on_with_the_new_version() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let file = interrupted(folder);
    publish_units(folder, "m", CellKind::Lstm, ModelKind::Carry, None, 7);
    let name = file.to_str().unwrap();
    kolk_exits(0, &["check", name]);
    // Killed again, before and after its first commits with the new version.
    assert!(killed_at(&file, folder, 5));
    assert!(killed_at(&file, folder, 7));
    let (_, told) = kolk_exits(0, &["run", name]);
    assert!(told.contains("partitions continue with another model version") || told.contains("starting"), "{told}");

    let rows = written(folder);
    assert_eq!(rows.len(), KEYS);
    let first = alone(9, &BTreeMap::new());
    let from = taken_over(&rows, ROWS);
    for (key, rows) in &rows {
        let at = from[key.as_str()];
        assert_eq!(rows[..at], first[key][..at], "{key}: what was committed stays");
    }
    // A network that carries its state begins anew with another version.
    let second = alone(7, &from);
    for (key, rows) in &rows {
        let plain = |rows: &[Written]| rows.iter().map(|(ts, _, p, v)| (*ts, p.clone(), *v)).collect::<Vec<_>>();
        assert_eq!(plain(&rows[from[key.as_str()]..]), plain(&second[key]), "{key}");
    }
    let (listed, _) = kolk_exits(0, &["state", "list", name, "--json"]);
    assert_eq!(listed.matches("\"model\":\"m/2\"").count(), 3, "{listed}");
}

#[test]
fn a_pin_changes_the_version_too_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let file = interrupted(folder);
    publish_units(folder, "m", CellKind::Lstm, ModelKind::Carry, None, 7);
    let pinned = |version: u32| pipeline(folder, &format!("model: m/{version}, mode: carry"), SINK, EXTRA);
    pinned(2);
    assert!(killed_at(&file, folder, 8));
    pinned(1);
    let (_, told) = kolk_exits(0, &["run", file.to_str().unwrap()]);
    assert!(told.contains("another model version") && told.contains("m/2") && told.contains("m/1"), "{told}");
    for (key, rows) in written(folder) {
        let versions: Vec<i64> = versions(&rows).into_iter().map(|(version, _)| version).collect();
        assert!([vec![1, 2, 1], vec![1]].contains(&versions), "{key}: {versions:?}");
        assert_eq!(rows.len(), ROWS);
    }
}

#[test]
fn what_cannot_go_on_says_the_command_that_begins_again() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let file = interrupted(folder);
    let name = file.to_str().unwrap();
    let before = files(&folder.join("out"));
    publish_units(folder, "m", CellKind::Lstm, ModelKind::Carry, None, 7);
    // The version that made the state is gone.
    std::fs::rename(folder.join("models/m/1"), folder.join("away")).unwrap();
    for word in ["check", "run"] {
        let (_, told) = kolk_exits(2, &[word, name]);
        assert!(told.contains("m/1 is active where the last run stopped"), "{told}");
        assert!(told.contains(&format!("kolk state reset {name}")), "{told}");
    }
    assert_eq!(files(&folder.join("out")), before);
    std::fs::rename(folder.join("away"), folder.join("models/m/1")).unwrap();
    // Another model altogether is another pipeline.
    publish_units(folder, "other", CellKind::Lstm, ModelKind::Carry, None, 7);
    pipeline(folder, "model: other, mode: carry", SINK, EXTRA);
    let (_, told) = kolk_exits(2, &["run", name]);
    assert!(told.contains("stages[0].infer.model: m -> other"), "{told}");
    assert!(told.contains(&format!("delete its state: kolk state reset {name}")), "{told}");
    pipeline(folder, "model: m, mode: carry", SINK, EXTRA);
    kolk_exits(0, &["run", name]);
}

/// Stages that changed since the training: `check` names the field, and the way on.
#[test]
fn stages_that_changed_want_a_training() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("data.parquet"), &series(3, 300), 500);
    let file = folder.path().join("p.yaml");
    let text = "name: p\nsource: { parquet: { path: data.parquet } }\nrecord: { key: key, time: ts, values: [value] }\n\
                stages:\n  - scale: { values: [value], half_life: 14d }\n  - infer: { model: m, mode: carry, gap: 3h }\n\
                sink: { parquet: { path: out/ } }\n\
                train: { target: value, horizon: 2, layers: [ gru: 4 ], updates: 10 }\n";
    std::fs::write(&file, text).unwrap();
    let name = file.to_str().unwrap();
    kolk_exits(0, &["train", name]);
    let changed =
        text.replace("half_life: 14d", "half_life: 30d").replace("  - infer", "  - lags: { value: [1] }\n  - infer");
    std::fs::write(&file, changed.replace("updates", "inputs: [value, value_lag_1], updates")).unwrap();
    let (_, told) = kolk_exits(2, &["check", name]);
    assert!(told.contains("stages[0].scale.half_life: 14d -> 30d\n"), "{told}");
    assert!(told.contains("stages[1]: (not written) -> { lags: { value: [1] } }\n"), "{told}");
    assert!(told.contains(&format!("kolk train {name}\n")) && told.contains("1 problem\n"), "{told}");
    kolk_exits(0, &["train", name]);
    kolk_exits(0, &["check", name]);
}

/// Everything that is wrong, in one list.
#[test]
fn check_finds_everything_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let steps: Vec<i64> = (0..600).map(|row| row / 2).collect();
    let keys = arrow::array::StringArray::from_iter_values((0..600).map(|row| format!("k{}", row % 2)));
    let values = arrow::array::Float64Array::from_iter_values((0..600).map(f64::from));
    write_columns(
        &folder.join("data.parquet"),
        vec![
            ("key", std::sync::Arc::new(keys)),
            ("step", std::sync::Arc::new(arrow::array::Int64Array::from(steps))),
            ("value", std::sync::Arc::new(values)),
        ],
        1_000,
    );
    publish(folder, "m", CellKind::Gru, ModelKind::Carry, None);
    let file = folder.join("p.yaml");
    let text = |train: &str| {
        format!(
            "name: p\n\
             source: {{ parquet: {{ path: data.parquet }}, from: 2014-01-01, emit_from: 2015-01-01 }}\n\
             record: {{ key: key, time: step, values: [value] }}\n\
             on: {{ reorder: 5m }}\n\
             stages:\n\
             \x20 - resample: {{ every: 1h, max_gap: 6h, delay: 1m }}\n\
             \x20 - calendar: {{ features: [hour] }}\n\
             \x20 - scale: {{ values: [value], half_life: 30d }}\n\
             \x20 - infer: {{ model: m, mode: carry, ttl: 30d, gap: 6h }}\n\
             \x20 - score: {{ actual: value, step: 9 }}\n\
             sink: {{ parquet: {{ path: out/ }} }}\n{train}"
        )
    };
    let train = "train: { inputs: [value, nope], target: value, horizon: 2, layers: [ gru: 4 ], updates: 10, split: { at: [2014-03-01, 2014-05-01] } }\n";
    for (train, further) in [("", &[][..]), (train, &["12:26", "12:106"])] {
        std::fs::write(&file, text(train)).unwrap();
        let (_, told) = kolk_exits(2, &["check", file.to_str().unwrap()]);
        let places = ["2:50", "2:73", "4:16", "6:24", "6:37", "6:48", "7:5", "8:42", "9:5", "9:42", "9:52", "10:35"];
        for place in places.iter().chain(further) {
            assert_eq!(told.matches(&format!("p.yaml:{place}: ")).count(), 1, "{place}: {told}");
        }
        let count = places.len() + further.len();
        assert!(told.contains(&format!("error: {count} problems\n")), "{told}");
    }
}

/// A model of other columns is one problem, however many columns it has.
#[test]
fn a_model_of_other_columns_is_one_problem() {
    let folder = tempfile::tempdir().unwrap();
    let rows = 0..400_i64;
    let column = |scale: f64| -> arrow::array::ArrayRef {
        std::sync::Arc::new(arrow::array::Float64Array::from_iter_values(
            rows.clone().map(|row| (row as f64).sin() * scale),
        ))
    };
    let times = arrow::array::TimestampMillisecondArray::from_iter_values(rows.clone().map(|row| row * 3_600_000));
    let columns = ["a", "b", "c", "d"].into_iter().zip(1_u8..).map(|(name, scale)| (name, column(f64::from(scale))));
    let columns = columns.chain([("ts", std::sync::Arc::new(times) as arrow::array::ArrayRef)]).collect();
    write_columns(&folder.path().join("data.parquet"), columns, 1_000);
    let file = folder.path().join("p.yaml");
    let text = "name: p\nsource: { parquet: { path: data.parquet } }\nrecord: { time: ts, values: [a, b, c] }\n\
                stages: [ { infer: { model: m, mode: carry } } ]\nsink: { parquet: { path: out/ } }\n";
    let train = "train: { target: a, layers: [ gru: 4 ], updates: 10 }\n";
    std::fs::write(&file, format!("{text}{train}")).unwrap();
    let name = file.to_str().unwrap();
    kolk_exits(0, &["train", name]);
    std::fs::write(&file, text.replace("[a, b, c]", "[d]")).unwrap();
    let (_, told) = kolk_exits(2, &["check", name]);
    assert!(told.contains("the model's inputs \"a\", \"b\", \"c\": there is no column \"a\""), "{told}");
    assert!(told.matches("p.yaml:").count() <= 2, "{told}");
}
