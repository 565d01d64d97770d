//! Training and serving run the same code on the same stages: the features of a training example are those that serving
//! computes at that record, and the error that `train` reports is the error of what `run` writes.

use std::collections::BTreeMap;
use std::path::Path;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Float32Type, TimestampMillisecondType};
use kolk::record::Values;
use kolk::runtime::{Partition, Purpose, Wanted, capture, plan};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::common::*;

pub const ROWS: usize = 400;

/// Stages of every kind before a small GRU that is trained for a moment.
fn trained(folder: &Path, stages: &str, infer: &str, train: &str) -> String {
    write(&folder.join("data.parquet"), &series(3, ROWS), 500);
    let file = folder.join("pipeline.yaml");
    let text = format!(
        "name: whole\nsource: {{ parquet: {{ path: data.parquet }} }}\nrecord: {{ key: key, time: ts, values: [value] }}\n\
         stages:\n{stages}  - infer: {{ {infer} }}\nsink: {{ parquet: {{ path: out/, fields: [value] }} }}\n\
         train:\n  target: value\n  horizon: 2\n  layers: [ gru: 6 ]\n  updates: 30\n  seed: 5\n{train}\n"
    );
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap().to_string();
    kolk_exits(0, &["train", &file]);
    file
}

const STAGES: &str = "  - calendar: { features: [hour, weekday], timezone: America/New_York }\n  - scale: { values: [value], half_life: 5d }\n  - lags: { value: [1, 24] }\n";
const INPUTS: &str = "  inputs: [value, hour_sin, hour_cos, weekday_sin]\n  skip: linear\n  residual: seasonal(24)\n";

#[test]
fn features_are_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let file = trained(folder.path(), STAGES, "model: m, mode: carry, gap: 3h", INPUTS);
    let load = || kolk::config::load(Path::new(&file)).unwrap();

    let training = plan(load(), Purpose::Train).unwrap();
    let captured =
        capture(&training, Wanted { targets: &["value".to_string()], ..Wanted::default() }, &mut |_, _| ()).unwrap();
    assert_eq!(captured.series.len(), 3);

    let serving = plan(load(), Purpose::Run).unwrap();
    let mut chain = serving.chain().unwrap();
    let x = serving.layout().features.clone().unwrap().x;
    let mut partition = Partition::new(0.into(), &chain);
    let mut source = serving.files().unwrap().open(None).unwrap();
    let mut served: BTreeMap<String, Vec<f32>> = BTreeMap::new();
    while let Some(records) = source.next().unwrap() {
        let batch = partition.process(&mut chain, serving.layout_of_source(), &records).unwrap();
        let Values::Vector(x, width) = &batch.columns[x[0]].values else { panic!("x is no vector") };
        for (row, slot) in batch.slots.iter().enumerate() {
            let key = String::from_utf8(partition.keys.get(*slot).to_vec()).unwrap();
            served.entry(key).or_default().extend(&x[row * width..(row + 1) * width]);
        }
    }
    for series in &captured.series {
        let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&served[&series.key]), bits(&series.x), "{}", series.key);
        assert!(series.x.len() > ROWS * 4);
        assert!(series.usable.iter().filter(|usable| **usable).count() > ROWS - 30);
    }
}

/// The mean absolute error over both steps of the test tail, from the files that `run` wrote.
pub fn error_of_output(folder: &Path) -> f64 {
    let mut keys: BTreeMap<String, Vec<(i64, f64, Vec<f32>)>> = BTreeMap::new();
    for name in files(&folder.join("out")).keys() {
        let file = std::fs::File::open(folder.join("out").join(name)).unwrap();
        for batch in ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap() {
            let batch = batch.unwrap();
            let column = |name: &str| batch.column_by_name(name).unwrap();
            let (key, ts) = (column("key").as_string::<i32>(), column("ts").as_primitive::<TimestampMillisecondType>());
            let value = column("value").as_primitive::<arrow::datatypes::Float64Type>();
            let prediction = column("prediction").as_fixed_size_list();
            for row in 0..batch.num_rows() {
                let list = prediction.value(row);
                let list = list.as_primitive::<Float32Type>();
                let list = (0..2).map(|i| if list.is_null(i) { f32::NAN } else { list.value(i) }).collect();
                keys.entry(key.value(row).to_string()).or_default().push((ts.value(row), value.value(row), list));
            }
        }
    }
    let (mut sum, mut count) = (0.0, 0);
    for rows in keys.values() {
        assert_eq!(rows.len(), ROWS);
        // Test is the last 60 of 400 rows; an example is in it if both its targets are.
        for t in ROWS - 61..ROWS - 2 {
            for step in 1..=2 {
                sum += (rows[t + step].1 - f64::from(rows[t].2[step - 1])).abs();
                count += 1;
            }
        }
    }
    sum / f64::from(count)
}

/// The manifest of the first version of `m`, as JSON.
pub fn manifest_of(folder: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(folder.join("models/m/1/manifest.json")).unwrap()).unwrap()
}

/// The error that training reported, after `run` wrote outputs of the same one.
pub fn error_of_trained(folder: &Path, file: &str) -> f64 {
    kolk_exits(0, &["run", file]);
    let reported = manifest_of(folder)["metrics"]["value.mae"].as_f64().unwrap();
    let served = error_of_output(folder);
    assert!((reported - served).abs() < 1e-5 * reported, "{file}: reported {reported}, served {served}");
    reported
}

fn the_error_reported_is_the_error_served(stages: &str, infer: &str, train: &str) {
    let folder = tempfile::tempdir().unwrap();
    let file = trained(folder.path(), stages, infer, train);
    error_of_trained(folder.path(), &file);
}

#[test]
fn carry_error_is_that_of_the_output() {
    the_error_reported_is_the_error_served(STAGES, "model: m, mode: carry", INPUTS);
}

/// The mean of three networks, each with states of its own, beside the linear path that they share.
#[test]
fn error_of_a_mean_is_that_of_the_output() {
    the_error_reported_is_the_error_served(STAGES, "model: m, mode: carry", &format!("{INPUTS}  seeds: 3\n"));
    the_error_reported_is_the_error_served("", "model: m, mode: carry", "  seeds: 3\n");
    the_error_reported_is_the_error_served("", "model: m, mode: window, window: 6", "  seeds: 2\n");
}

/// Windows in patches, with a linear path from the last row and the last value added.
#[test]
fn error_of_patches_is_that_of_the_output() {
    let train = "  patch: 4\n  skip: linear\n  residual: last\n";
    the_error_reported_is_the_error_served("", "model: m, mode: window, window: 12", train);
    the_error_reported_is_the_error_served("", "model: m, mode: window, window: 12", &format!("{train}  seeds: 2\n"));
}

/// The horizon decoded by position, beside the key, over windows without their level.
#[test]
fn error_of_segments_is_that_of_the_output() {
    let window = "model: m, mode: window, window: 12";
    let train = "  patch: 2\n  decoder: position\n  subtract: last\n  residual: last\n";
    the_error_reported_is_the_error_served("", window, &format!("{train}  skip: linear\n  seeds: 2\n"));
    let keys = "  embeddings: [ { key: true, size: 1 } ]\n  inputs: [hour_sin, value]\n  quantiles: [0.1, 0.9]\n";
    let calendar = "  - calendar: { features: [hour], timezone: UTC }\n";
    the_error_reported_is_the_error_served(calendar, window, &format!("{train}{keys}"));
}

/// With the lags and the groups of keys that training chose, and a season that it adds.
#[test]
fn ridge_error_is_that_of_the_output() {
    the_error_reported_is_the_error_served("", "model: m, mode: carry", "");
    let seasonal =
        "  skip: ridge\n  seasonality: 24\n  residual: seasonal(24)\n  inputs: [value, hour_sin, hour_cos]\n";
    let calendar = "  - calendar: { features: [hour], timezone: UTC }\n";
    the_error_reported_is_the_error_served(calendar, "model: m, mode: carry", seasonal);
    the_error_reported_is_the_error_served(STAGES, "model: m, mode: carry", "  lags: 30\n  ema: 0.9\n");
}

#[test]
fn window_error_is_that_of_the_output() {
    the_error_reported_is_the_error_served("", "model: m, mode: window, window: 12", "  residual: last\n");
}

#[test]
fn same_seed_same_model_bit_for_bit() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let models: Vec<_> = folders
        .iter()
        .map(|folder| {
            trained(folder.path(), STAGES, "model: m, mode: carry", INPUTS);
            files(&folder.path().join("models/m/1"))
        })
        .collect();
    assert_eq!(models[0].keys().collect::<Vec<_>>(), ["manifest.json", "model.onnx", "report.html"]);
    assert!(models[0] == models[1], "another model from the same seed and data");
}

/// The numbers of a column of all rows of the files that `run` wrote, by key and row.
fn lists(folder: &Path, column: &str) -> BTreeMap<String, Vec<Vec<f32>>> {
    let mut keys: BTreeMap<String, Vec<(i64, Vec<f32>)>> = BTreeMap::new();
    for name in files(&folder.join("out")).keys() {
        let file = std::fs::File::open(folder.join("out").join(name)).unwrap();
        for batch in ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap() {
            let batch = batch.unwrap();
            let of = |name: &str| batch.column_by_name(name).unwrap_or_else(|| panic!("no column {name}"));
            let (key, ts) = (of("key").as_string::<i32>(), of("ts").as_primitive::<TimestampMillisecondType>());
            for row in 0..batch.num_rows() {
                let list = match of(column).as_fixed_size_list_opt() {
                    Some(list) => {
                        list.value(row).as_primitive::<Float32Type>().iter().map(|n| n.unwrap_or(f32::NAN)).collect()
                    }
                    None => vec![of(column).as_primitive::<arrow::datatypes::Float64Type>().value(row) as f32],
                };
                keys.entry(key.value(row).to_string()).or_default().push((ts.value(row), list));
            }
        }
    }
    keys.into_iter()
        .map(|(key, mut rows)| {
            rows.sort_by_key(|(ts, _)| *ts);
            (key, rows.into_iter().map(|(_, list)| list).collect())
        })
        .collect()
}

/// `prediction` is the median, beside it a column for each other quantile; none crosses another, and pinball losses and
/// coverage of what `run` wrote are those that `train` reported, also where the network sees logarithms.
#[test]
fn quantiles_are_served_as_they_were_judged() {
    let log = "  - scale: { values: [value], half_life: 5d, log: true }\n";
    for (stages, infer, train) in [
        ("", "model: m, mode: carry", "  quantiles: [0.1, 0.9]\n"),
        (log, "model: m, mode: window, window: 12", "  quantiles: [0.1, 0.5, 0.9]\n  residual: last\n  refit: none\n"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let file = trained(folder.path(), stages, infer, train);
        kolk_exits(0, &["run", &file]);
        let manifest = std::fs::read_to_string(folder.path().join("models/m/1/manifest.json")).unwrap();
        let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
        assert_eq!(manifest["quantiles"], serde_json::json!([0.1, 0.5, 0.9]));
        let reported = |name: &str| manifest["metrics"][format!("value.{name}")].as_f64().unwrap();
        let values = lists(folder.path(), "value");
        let columns = ["prediction_q10", "prediction", "prediction_q90"].map(|name| lists(folder.path(), name));
        let (mut within, mut count, mut losses) = (0.0, 0.0, [0.0; 3]);
        for (key, values) in &values {
            for t in ROWS - 61..ROWS - 2 {
                for step in 1..=2 {
                    let [low, median, high] = [0, 1, 2].map(|at| f64::from(columns[at][key][t][step - 1]));
                    assert!(low <= median && median <= high, "{low} {median} {high}");
                    let truth = f64::from(values[t + step][0]);
                    within += f64::from(u8::from(low <= truth && truth <= high));
                    count += 1.0;
                    for ((level, forecast), loss) in
                        [0.1, 0.5, 0.9].into_iter().zip([low, median, high]).zip(&mut losses)
                    {
                        *loss += f64::max(level * (truth - forecast), (1.0 - level) * (forecast - truth));
                    }
                }
            }
        }
        assert!((reported("coverage_80") - within / count).abs() < 0.5 / count, "{} {}", within, count);
        for (name, loss) in ["pinball_q10", "pinball_q50", "pinball_q90"].into_iter().zip(losses) {
            let served = loss / count;
            assert!((reported(name) - served).abs() < 1e-4 * served, "{name}: {} {served}", reported(name));
        }
    }
}
