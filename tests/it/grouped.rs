//! One network for each group of keys: what is trained is what is served, whatever has no network of its own included.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, StringArray, TimestampMillisecondArray};

use super::common::*;
use super::serve_as_trained::{ROWS, error_of_trained, manifest_of};

const HOUR: i64 = 3_600_000;

/// Keys with their groups. In group `up` a value follows the one before, in `down` it turns around; others are noise.
pub const KEYS: [(&str, Option<&str>); 6] =
    [("a", Some("up")), ("b", Some("down")), ("c", Some("up")), ("d", Some("down")), ("e", None), ("f", Some("rare"))];

/// Writes `rows` rows of each key; those of `f` with fewer than a network needs.
pub fn write_groups(path: &Path, keys: &[(&str, Option<&str>)], rows: usize) {
    let mut noise = 0x2545_f491_4f6c_dd1d_u64;
    let (mut key, mut ts, mut value, mut region) = (vec![], vec![], vec![], vec![]);
    let mut now = vec![0.0; keys.len()];
    for row in 0..rows {
        for (k, (name, of)) in keys.iter().enumerate() {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            key.push(*name);
            ts.push(row as i64 * HOUR);
            value.push(now[k]);
            region.push(*of);
            let follows = match *of {
                Some("up") => 0.95,
                Some("down") => -0.95,
                _ => 0.0,
            };
            now[k] = follows * now[k] + (noise % 1000) as f64 / 500.0 - 1.0;
        }
    }
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("key", Arc::new(StringArray::from(key))),
        ("ts", Arc::new(TimestampMillisecondArray::from(ts))),
        ("value", Arc::new(Float64Array::from(value))),
        ("region", Arc::new(StringArray::from(region))),
    ];
    write_columns(path, columns, 500);
}

pub fn pipeline_of(folder: &Path, data: &str, infer: &str, train: &str, extra: &str) -> String {
    let file = folder.join("pipeline.yaml");
    let usual = |field: &str, value: &str| {
        if train.contains(field) { String::new() } else { format!("  {field} {value}\n") }
    };
    let (layers, updates) = (usual("layers:", "[ gru: 6 ]"), usual("updates:", "200"));
    let text = format!(
        "name: whole\nsource: {{ parquet: {{ path: {data} }} }}\nrecord: {{ key: key, time: ts, values: [value] }}\n\
         stages: [ infer: {{ model: m, {infer} }} ]\nsink: {{ parquet: {{ path: out/, fields: [value] }} }}\n{extra}\n\
         train:\n  target: value\n  horizon: 2\n  batch_size: 16\n{layers}{updates}\
         \x20 optimizer: {{ adam: {{ learning_rate: 0.02 }} }}\n{train}\n"
    );
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_string()
}

/// The error that training reports, after `run` wrote outputs of the same one.
fn error_of(infer: &str, train: &str) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    write_groups(&folder.path().join("data.parquet"), &KEYS[..5], ROWS);
    let file = pipeline_of(folder.path(), "data.parquet", infer, train, "");
    kolk_exits(0, &["train", &file]);
    kolk_exits(0, &["check", &file]);
    error_of_trained(folder.path(), &file)
}

/// A network that sees one row can't know which of two opposite rules it is of; two networks can.
#[test]
fn what_is_trained_by_group_is_served() {
    let infer = "mode: window, window: 1";
    let all = error_of(infer, "");
    let own = error_of(infer, "  per: region\n");
    assert!(own < 0.7 * all, "{own} by group, {all} together");
    let by_key = error_of(infer, "  per: key\n");
    assert!(by_key < 0.7 * all, "{by_key} by key, {all} together");
    error_of("mode: carry", "  per: region\n  skip: none\n");
    // Each has a linear path with lags of its own choice, over keys of its own.
    error_of("mode: carry", "  per: region\n");
    error_of(
        "mode: carry",
        "  per: key\n  seeds: 2\n  quantiles: [0.1, 0.9]\n  embeddings: [ { key: true, size: 2 } ]\n",
    );
    error_of("mode: window, window: 6", "  per: region\n  patch: 2\n  skip: linear\n  residual: last\n");
    // What all keys chose is what each group has.
    let auto = error_of("mode: window, window: 2", "  per: region\n  layers: auto\n  updates: 60\n");
    assert!(auto < 0.8 * all, "{auto} by group with layers of its choice, {all} together");
    // Rows beyond the memory of a training.
    let mapped = error_of(infer, "  per: region\n  memory: 0MB\n");
    assert!(mapped < 0.7 * all, "{mapped} from files, {all} together");
    error_of(infer, "  per: region\n  backtest: { folds: 2, retrain: false }\n");
}

fn version(folder: &Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    files(&folder.join("models/m/1"))
}

/// A value with too few rows, one that training never saw, null: the network of all keys. Log, report and commands know
/// the networks.
#[test]
fn one_version_has_all_networks() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let data = folder.join("data.parquet");
    write_groups(&data, &KEYS, 130);
    let train = "  per: region\n  split: { per_key: [0.6, 0.2, 0.2] }\n";
    let file = pipeline_of(folder, "data.parquet", "mode: window, window: 1", train, "");
    let (_, told) = kolk_exits(0, &["train", &file]);
    assert!(told.contains("2 groups with a network of its own each, and one of all keys"), "{told}");
    assert!(told.contains("1 of 3 values of \"region\" have too few examples"), "{told}");
    assert!(told.contains("networks per \"region\""), "{told}");
    let names: Vec<String> = version(folder).into_keys().collect();
    assert_eq!(names, ["group_1.onnx", "group_2.onnx", "manifest.json", "model.onnx", "report.html"]);
    let groups = &manifest_of(folder)["groups"];
    assert_eq!((groups["column"].as_str(), groups["networks"][1]["value"].as_str()), (Some("region"), Some("up")));
    let report = String::from_utf8(version(folder).remove("report.html").unwrap()).unwrap();
    assert!(report.contains("<h2>Groups</h2>"), "no section of the groups");
    let models = folder.join("models");
    let models = models.to_str().unwrap();
    let (shown, _) = kolk_exits(0, &["models", "show", "m/1", "--models", models]);
    assert!(shown.contains("2 values of \"region\""), "{shown}");

    // What the network of all keys says of a key doesn't depend on which value it has none for.
    let predictions = |of: Option<&'static str>| {
        let folder = tempfile::tempdir().unwrap();
        write_groups(&folder.path().join("data.parquet"), &[("x", of)], 40);
        let file = pipeline_of(folder.path(), "data.parquet", "mode: window, window: 1", train, "");
        std::os::unix::fs::symlink(models, folder.path().join("models")).unwrap();
        kolk_exits(0, &["run", &file]);
        rows(&folder.path().join("out")).remove("x").unwrap()
    };
    // These are noise, so the rows are the same.
    assert_eq!(predictions(None), predictions(Some("rare")));
    assert_eq!(predictions(None), predictions(Some("never seen")));

    // The same data make the same version.
    let again = tempfile::tempdir().unwrap();
    write_groups(&again.path().join("data.parquet"), &KEYS, 130);
    kolk_exits(0, &["train", &pipeline_of(again.path(), "data.parquet", "mode: window, window: 1", train, "")]);
    assert!(version(folder) == version(again.path()), "another version from the same seed and data");
}

#[test]
fn a_column_that_cannot_tell_the_group_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_groups(&folder.join("data.parquet"), &KEYS, 20);
    for (stages, per, expected) in [
        ("", "regoin", "there is no column \"regoin\""),
        ("resample: { every: 1h }, ", "region", "`per: key` needs no column"),
        ("scale: { values: [value], half_life: 1d }, ", "value", "`scale` would change it"),
    ] {
        let file = pipeline_of(folder, "data.parquet", "mode: carry", &format!("  per: {per}\n"), "");
        let stages: Vec<String> = stages.split("}, ").filter(|s| !s.is_empty()).map(|s| format!("{s} }}, ")).collect();
        let text =
            std::fs::read_to_string(&file).unwrap().replace("stages: [ ", &format!("stages: [ {}", stages.concat()));
        std::fs::write(&file, text).unwrap();
        let (_, told) = kolk_exits(2, &["train", &file]);
        assert!(told.contains(expected), "{told}");
    }
}

/// One network of all keys, whatever the order of the keys; so a trial is that of the pipeline without groups.
#[test]
fn a_search_judges_the_network_of_all_keys() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_groups(&folder.join("data.parquet"), &KEYS[..4], 160);
    let search = "search: { over: { train.batch_size: [8] } }";
    let infer = "mode: window, window: 1";
    let trials = |train: &str, results: &str| {
        let file = pipeline_of(folder, "data.parquet", infer, &format!("  updates: 40\n{train}"), search);
        let (out, told) = kolk_exits(0, &["search", &file, "--results", folder.join(results).to_str().unwrap()]);
        assert!(!told.contains("failed"), "{out}{told}");
        [0, 1].map(|trial| {
            let trial = std::fs::read_to_string(folder.join(results).join(format!("trial-{trial:05}.json"))).unwrap();
            let trial: serde_json::Value = serde_json::from_str(&trial).unwrap();
            (trial["looks"].clone(), trial["failed"].clone())
        })
    };
    let by_group = trials("  per: region\n", "by_group");
    assert!(by_group[0].0.as_array().is_some_and(|looks| !looks.is_empty()));
    assert_eq!(by_group, trials("", "together"));
    let file = pipeline_of(folder, "data.parquet", infer, "", "search: { over: { train.per: [key, region] } }");
    let (_, told) = kolk_exits(2, &["search", &file]);
    assert!(told.contains("per"), "{told}");
}

/// The signature covers all graphs.
#[test]
fn all_graphs_are_signed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_groups(&folder.join("data.parquet"), &KEYS[..4], 160);
    let signed = |name: &str| format!("{}/tests/fixtures/signed/{name}", env!("CARGO_MANIFEST_DIR"));
    let trust = format!("models: {{ path: models, public_key: {} }}", signed("first.pub"));
    let file = pipeline_of(folder, "data.parquet", "mode: window, window: 1", "  per: region\n", &trust);
    kolk_exits(0, &["train", &file, "--sign-key", &signed("first.key")]);
    kolk_exits(0, &["run", &file]);
    let graph = folder.join("models/m/1/group_1.onnx");
    let mut changed = std::fs::read(&graph).unwrap();
    *changed.last_mut().unwrap() ^= 1;
    std::fs::write(&graph, changed).unwrap();
    let (_, told) = kolk_exits(2, &["run", &file]);
    assert!(told.contains("group_1.onnx is not what was published") && told.contains("the signature says"), "{told}");
}
