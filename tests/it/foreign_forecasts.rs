//! Imported models whose outputs are forecasts, and ids that reach a model by another stage.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, StringArray, TimestampMillisecondArray};
use serde_json::Value;

use super::common::*;
use super::import::files;

const ROWS: usize = 60;

/// Column `a` and `b` of one key, an hour apart; and a `word`, which is 12 in the eighth row.
fn data(folder: &Path) -> Vec<[f64; 2]> {
    let rows: Vec<[f64; 2]> = series(2, ROWS).chunks(2).map(|pair| [pair[0].2, pair[1].2]).collect();
    let column = |at: usize| -> ArrayRef { Arc::new(rows.iter().map(|row| Some(row[at])).collect::<Float64Array>()) };
    let words = (0..ROWS).map(|row| if row == 7 { 12.0 } else { (row % 10) as f64 });
    let times = (0..ROWS as i64).map(|row| row * 3_600_000);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("key", Arc::new(StringArray::from_iter_values((0..ROWS).map(|_| "one")))),
        ("ts", Arc::new(TimestampMillisecondArray::from_iter_values(times))),
        ("a", column(0)),
        ("b", column(1)),
        ("c", column(0)),
        ("word", Arc::new(Float64Array::from_iter_values(words))),
    ];
    write_columns(&folder.join("data.parquet"), columns, 100);
    rows
}

/// A pipeline with these stages, whose rows go to stdout.
fn pipeline(folder: &Path, stages: &str) -> String {
    let file = folder.join("pipeline.yaml");
    let text = format!(
        "name: test\nsource: {{ parquet: {{ path: data.parquet }} }}\n\
         record: {{ key: key, time: ts, values: [a, b, c, word] }}\n\
         stages:\n{stages}sink: {{ stdout: {{ fields: [word] }} }}\ndead_letters: {{ parquet: {{ path: dead/ }} }}\n\
         models: models/\n"
    );
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().into()
}

fn import(folder: &Path, code: i32, card: &str) -> String {
    let path = folder.join("files/card.yaml");
    std::fs::write(&path, card).unwrap();
    let models = folder.join("models");
    let (_, said) =
        kolk_exits(code, &["models", "import", path.to_str().unwrap(), "--models", models.to_str().unwrap()]);
    said
}

fn lines(out: &str) -> Vec<Value> {
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn forecasts_of_several_outputs_are_scaled_back_and_scored() {
    let Some(root) = files() else { return };
    let folder = root.path();
    let rows = data(folder);
    // Each head repeats the value of its column, so the forecast of the next row is the value of this one.
    let card = "onnx: heads.onnx\nname: heads\nlayout: step\ninputs: { x: { columns: [a, b] } }\n\
                states: { s: { out: s_out } }\noutputs:\n  y_a: { column: a_ahead, targets: [a], horizon: 3 }\n  \
                y_b: { column: b_ahead, targets: [b], horizon: 3 }\n  s_sum: { column: total }\n";
    let refused = import(folder, 2, &card.replace("[b], horizon: 3", "[b], horizon: 2"));
    assert!(refused.contains("card.yaml:8:") && refused.contains("is 2 steps ahead, output \"y_a\" 3"), "{refused}");
    let refused = import(folder, 2, &card.replace("[b], horizon: 3", "[a, b], horizon: 3"));
    assert!(refused.contains("output \"y_b\" has 3 numbers a row, 3 steps of 2 targets"), "{refused}");
    import(folder, 0, card);
    let scale = "  - scale: { values: [a, b], half_life: 30d, min_count: 2 }\n  - infer: { model: heads }\n";
    let (_, refused) = kolk_exits(2, &["check", &pipeline(folder, &format!("{scale}  - score: {{}}\n"))]);
    assert!(refused.contains("the model predicts several columns (a, b): name one as actual"), "{refused}");
    let stages = format!("{scale}  - score: {{ actual: b, tail: 0.1, long: 100 }}\n");
    let (out, _) = kolk_exits(0, &["run", &pipeline(folder, &stages)]);
    let found = lines(&out);
    assert_eq!(found.len(), ROWS);
    let close = |found: &Value, expected: f64| {
        let found = found.as_f64().unwrap_or(f64::NAN);
        assert!((found - expected).abs() < 1e-4, "{found}, not {expected}");
    };
    for (n, (row, [a, b])) in found.iter().zip(&rows).enumerate() {
        for (column, value) in [("a_ahead", a), ("b_ahead", b)] {
            let ahead = row[column].as_array().unwrap();
            assert_eq!(ahead.len(), 3);
            ahead.iter().for_each(|number| close(number, *value));
        }
        assert!(row["total"].is_number(), "{row}");
        if n > 1 {
            close(&row["residual"], b - rows[n - 1][1]);
            let time = chrono::DateTime::from_timestamp((n as i64 + 3) * 3600, 0).unwrap();
            assert_eq!(row["prediction_time"], time.format("%Y-%m-%dT%H:%M:%S").to_string(), "{row}");
        }
    }
}

#[test]
fn ids_that_another_stage_brings_are_judged_with_their_record_or_refused() {
    let Some(root) = files() else { return };
    let folder = root.path();
    data(folder);
    let good = "onnx: good.onnx\nname: good\nlayout: step\ninputs:\n  x: { columns: [a, b, c] }\n  \
                word: { ids: WORD, below: 10 }\n  rate: { constant: 0.5 }\nstates:\n  b_in: { out: alpha }\n  \
                a_in: { out: zeta, init: { file: half.npy } }\noutputs:\n  y: { column: answer }\n";
    import(folder, 0, &good.replace("WORD", "word_lag_1"));
    let file = pipeline(folder, "  - lags: { word: [1] }\n  - infer: { model: good }\n");
    let (out, _) = kolk_exits(0, &["run", &file]);
    let found = lines(&out);
    // The record that brought it is a dead letter; no row after it is without an answer.
    assert_eq!(found.len(), ROWS - 1);
    assert!(found[0]["answer"].is_null() && found[1..].iter().all(|row| row["answer"].is_array()), "{out}");
    let dead = rows(&folder.join("dead"));
    let dead: Vec<&String> = dead.values().flatten().collect();
    assert_eq!(dead.len(), 1);
    assert!(dead[0].contains("bad_id") && dead[0].contains("column \"word\" is 12, ids are whole"), "{dead:?}");

    import(folder, 0, &good.replace("WORD", "word"));
    let resample = |how: &str| {
        let stages = format!("  - resample: {{ every: 2h, {how} }}\n  - infer: {{ model: good }}\n");
        pipeline(folder, &stages)
    };
    let (_, refused) = kolk_exits(2, &["check", &resample("aggregate: mean")]);
    assert!(refused.contains("\"word\" is an id, which `resample` would change"), "{refused}");
    // Sums of words, of which some are beyond the table: no step, and the state stays.
    let _ = std::fs::remove_dir_all(folder.join("state"));
    let (out, _) = kolk_exits(0, &["run", &resample("aggregate: sum")]);
    let found = lines(&out);
    let beyond = |row: &Value| row["word"].as_f64().unwrap() >= 10.0;
    assert!(found.iter().any(beyond) && found.iter().any(|row| !beyond(row)));
    assert!(found.iter().all(|row| row["answer"].is_null() == beyond(row)), "{out}");
}
