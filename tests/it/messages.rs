//! What a run says on stderr: what it refused, with an example; and with `--log json` nothing but JSON.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray, TimestampMillisecondArray};
use kolk::kernel::CellKind;
use kolk::model::ModelKind;
use serde_json::Value;

use super::common::*;

/// A hundred rows; every row with an even number has no key, and those from 80 on neither.
fn half_without_key(folder: &Path) {
    let keys = (0..100).map(|row| (row % 2 == 1 && row < 80).then_some("a"));
    let keys: ArrayRef = Arc::new(keys.collect::<StringArray>());
    let times: ArrayRef = Arc::new(TimestampMillisecondArray::from_iter_values((0..100).map(|row| row * 1000)));
    let values: ArrayRef = Arc::new(Float64Array::from_iter_values((0..100).map(f64::from)));
    write_columns(&folder.join("data.parquet"), vec![("key", keys), ("ts", times), ("value", values)], 1000);
}

/// The objects of stderr, one a line.
fn objects(stderr: &str) -> Vec<Value> {
    let object = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}\nin {stderr}"));
    stderr.lines().map(object).collect()
}

fn summary(objects: &[Value]) -> &Value {
    &objects.iter().find(|object| object["fields"]["already_finished"].is_boolean()).expect("a summary")["fields"]
}

#[test]
fn what_is_refused_is_logged_with_an_example_and_counted_in_the_summary() {
    let folder = tempfile::tempdir().unwrap();
    half_without_key(folder.path());
    publish(folder.path(), "m", CellKind::Lstm, ModelKind::Carry, None);
    let file = pipeline(folder.path(), "model: m, mode: carry", "parquet: { path: out/ }", "");
    let (_, said) = kolk_exits(0, &["run", file.to_str().unwrap()]);
    let logged: Vec<&str> = said.lines().filter(|line| line.contains("in the dead letters")).collect();
    assert_eq!(logged.len(), 1, "one line for one reason: {said}");
    for part in ["WARN", "reason=\"null_key\"", "data.parquet, row 0 (from 0)", "column \\\"key\\\""] {
        assert!(logged[0].contains(part), "no {part} in {}", logged[0]);
    }
    assert!(said.contains("test: 60 records to the dead letters: null_key"), "{said}");
    assert!(said.contains("test: warning: most of what came was refused: 60 of 100 records"), "{said}");
}

#[test]
fn with_log_json_every_line_is_an_object() {
    let folder = tempfile::tempdir().unwrap();
    half_without_key(folder.path());
    publish(folder.path(), "m", CellKind::Lstm, ModelKind::Carry, None);
    let train = "train: { inputs: [value], target: value, horizon: 1, layers: [ { gru: 2 } ], epochs: 1 }";
    let file = pipeline(folder.path(), "model: m, mode: carry", "parquet: { path: out/ }", "");
    let file = file.to_str().unwrap();
    let run = || objects(&kolk_exits(0, &["run", "--log", "json", file]).1);
    let first = run();
    let said = summary(&first);
    assert_eq!(said["dead_letters"]["null_key"], 60, "{said}");
    assert_eq!((&said["records"], &said["rows"], &said["keys"]), (&100.into(), &40.into(), &1.into()), "{said}");
    assert_eq!((&said["pipeline"], &said["most_refused"]), (&"test".into(), &true.into()), "{said}");
    let refused = first.iter().find(|object| object["fields"]["reason"] == "null_key").unwrap();
    assert_eq!(refused["level"], "WARN");
    assert!(refused["fields"]["at"].as_str().unwrap().ends_with("data.parquet, row 0 (from 0)"), "{refused}");
    assert_eq!(summary(&run())["already_finished"], true);

    let text = std::fs::read_to_string(file).unwrap();
    std::fs::write(file, text.replace("time: ts", "time: tz")).unwrap();
    let problems = objects(&kolk_exits(2, &["check", "--log", "json", file]).1);
    assert!(problems.iter().any(|object| object["fields"]["line"] == 6), "{problems:?}");

    write(&folder.path().join("data.parquet"), &series(2, 200), 1000);
    std::fs::write(file, format!("{text}{train}\n")).unwrap();
    let trained = objects(&kolk_exits(0, &["train", "--log", "json", file]).1);
    let of = |name: &str| trained.iter().any(|object| !object["fields"][name].is_null());
    assert!(of("metrics") && of("model") && of("rows"), "{trained:?}");
}

fn with_times(folder: &Path, times: &[i64], time: &str) -> String {
    let keys: ArrayRef = Arc::new(StringArray::from_iter_values(times.iter().map(|_| "a")));
    let values: ArrayRef = Arc::new(Float64Array::from_iter(times.iter().map(|_| None::<f64>)));
    let columns =
        vec![("key", keys), ("ts", Arc::new(Int64Array::from(times.to_vec())) as ArrayRef), ("value", values)];
    write_columns(&folder.join("data.parquet"), columns, 1000);
    let file = pipeline(folder, "model: m, mode: carry", "parquet: { path: out/ }", "");
    let text = std::fs::read_to_string(&file).unwrap().replace("time: ts", &format!("time: {time}"));
    std::fs::write(&file, text).unwrap();
    kolk_exits(0, &["check", file.to_str().unwrap()]).1
}

#[test]
fn times_of_another_unit_and_columns_without_values_are_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    publish(folder.path(), "m", CellKind::Lstm, ModelKind::Carry, None);
    let seconds: Vec<i64> = (0..30).map(|row| 1_700_000_000 + row * 60).collect();
    let said = with_times(folder.path(), &seconds, "{ column: ts, unit: ms }");
    assert!(said.contains("30 of 30 times in \"ts\" are not plausible") && said.contains("write unit: s"), "{said}");
    assert!(said.contains("the first 30 records: column \"value\" is null in all of them"), "{said}");
    let nanos: Vec<i64> = seconds.iter().map(|second| second * 1_000_000_000).collect();
    let said = with_times(folder.path(), &nanos, "{ column: ts, unit: us }");
    assert!(said.contains("30 of them would be refused, for example as time_out_of_range: "), "{said}");
    assert!(said.contains("it looks like ns"), "{said}");
    // A plan with problems hides none of it.
    let file = folder.path().join("pipeline.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("model: m,", "model: no-such-model,")).unwrap();
    let (_, said) = kolk_exits(2, &["check", file.to_str().unwrap()]);
    assert!(said.contains("no-such-model") && said.contains("30 of them would be refused"), "{said}");
    let said = with_times(folder.path(), &nanos, "ts");
    assert!(said.contains("read as steps") && said.contains("unit: ns }"), "{said}");
    let said = with_times(folder.path(), &seconds, "{ column: ts, unit: s }");
    assert!(!said.contains("plausible") && !said.contains("steps"), "{said}");
    // A time long ago is no mistake of the unit.
    let old: Vec<i64> = (0..30).map(|row| -600_000_000 + row * 86_400).collect();
    let said = with_times(folder.path(), &old, "{ column: ts, unit: s }");
    assert!(!said.contains("plausible"), "{said}");
    let counts: Vec<i64> = (0..30).collect();
    assert!(!with_times(folder.path(), &counts, "ts").contains("steps"));
}

#[test]
fn folders_that_cannot_be_written_are_named_and_nothing_is_left_behind() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    write(&at("data.parquet"), &series(2, 50), 1000);
    publish(folder.path(), "m", CellKind::Lstm, ModelKind::Carry, None);
    std::fs::write(at("file"), "").unwrap();
    let extra = "state: { path: file/state }\ndead_letters: { parquet: { path: file/dead } }";
    let file = pipeline(folder.path(), "model: m, mode: carry", "parquet: { path: file/out }", extra);
    let entries = || std::fs::read_dir(folder.path()).unwrap().count();
    let before = entries();
    for command in ["check", "run"] {
        let (_, said) = kolk_exits(2, &[command, file.to_str().unwrap()]);
        for part in ["state: the folder", "sink: the folder", "dead_letters: the folder", "file is a file"] {
            assert!(said.contains(part), "no {part} in {said}");
        }
        assert!(said.contains("pipeline.yaml:11:") && said.contains("error: 3 problems"), "{said}");
    }
    let train = "train: { inputs: [value], target: value, horizon: 1, layers: [ { gru: 2 } ], epochs: 1 }";
    let models = format!("models: file/models\n{train}");
    let file = pipeline(folder.path(), "model: m, mode: carry", "parquet: { path: out/ }", &models);
    for command in ["check", "train"] {
        let (_, said) = kolk_exits(2, &[command, file.to_str().unwrap()]);
        assert!(said.contains("models: the folder"), "{said}");
    }
    let file = pipeline(folder.path(), "model: m, mode: carry", "parquet: { path: out/ }", "");
    kolk_exits(0, &["check", file.to_str().unwrap()]);
    assert_eq!(entries(), before);
}

#[test]
fn control_characters_of_keys_do_not_reach_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let evil = "a\u{1b}[31m\u{7}\nb\u{202e}";
    let rows: Vec<Row> = series(2, 200)
        .into_iter()
        .map(|(key, ts, value)| (if key == "key-000" { evil.to_string() } else { key }, ts, value))
        .collect();
    write(&folder.path().join("data.parquet"), &rows, 1000);
    let train = "train: { inputs: [value], target: value, horizon: 1, layers: [ { gru: 2 } ], epochs: 1 }";
    let file = pipeline(folder.path(), "model: m, mode: carry", "parquet: { path: out/ }", train);
    let file = file.to_str().unwrap();
    let (out, table) = kolk_exits(0, &["train", file]);
    assert!(table.contains("a\\u{1b}[31m\\u{7}\\nb\\u{202e}") && table.contains("key-001"), "{table}");
    let (_, run) = kolk_exits(0, &["run", file]);
    let (_, missing) = kolk_exits(2, &["state", "get", file, "x\u{1b}[2J"]);
    assert!(missing.contains("no key \"x\\u{1b}[2J\""), "{missing}");
    for said in [out, table, run, missing] {
        let control = said.chars().find(|c| c.is_control() && *c != '\n' || *c == '\u{202e}');
        assert_eq!(control, None, "{said}");
    }
}
