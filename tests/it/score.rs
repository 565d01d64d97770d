//! Rows without a regular clock: a prediction is compared with the row that training takes as its target, and its time
//! is that row's or unknown.

use std::collections::BTreeMap;

use kolk::kernel::CellKind;
use kolk::model::ModelKind;
use serde_json::Value;

use super::common::*;

const DAY: i64 = 86_400_000;

/// Days without weekends; rows at odd distances; and every hour, as before.
pub fn without_a_clock(rows: i64) -> Vec<Row> {
    let mut out = Vec::new();
    let mut odd = 0;
    for n in 0..rows {
        // 1970-01-05 is a Monday.
        let day = 4 + n / 5 * 7 + n % 5;
        odd += 60_000 + n * n * 7919 % 600_000;
        for (key, time) in [("days", day * DAY), ("odd", odd), ("hours", n * 3_600_000)] {
            out.push((key.to_string(), time, (n * 37 % 11) as f64));
        }
    }
    out
}

fn time(value: &Value) -> Option<i64> {
    match value {
        Value::String(text) => {
            let text = text.trim_end_matches('Z');
            Some(text.parse::<chrono::NaiveDateTime>().unwrap().and_utc().timestamp_millis())
        }
        other => other.as_i64(),
    }
}

/// Asserts that the rows of [`without_a_clock`] are joined with the predictions of two rows before.
pub fn assert_joined(outputs: impl IntoIterator<Item = Value>) {
    let mut keys: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for output in outputs {
        keys.entry(output["key"].as_str().unwrap().to_string()).or_default().push(output);
    }
    assert_eq!(keys.len(), 3);
    for (key, rows) in keys {
        let mut known = 0;
        for (n, row) in rows.iter().enumerate() {
            let predicted = n.checked_sub(2).filter(|of| *of > 0).map(|of| rows[of]["prediction"][1].as_f64().unwrap());
            let expected = predicted.map(|predicted| row["value"].as_f64().unwrap() - f64::from(predicted as f32));
            assert_eq!(row["residual"].as_f64(), expected, "{key}, row {n}: {row}");
            if let (Some(told), Some(later)) = (time(&row["prediction_time"]), rows.get(n + 2)) {
                known += 1;
                // Of odd distances one is the usual one until the second has been seen.
                assert!(Some(told) == time(&later["ts"]) || key == "odd" && n < 4, "{key}, row {n}: {row}, {later}");
            }
        }
        let unknown = rows.len() - 2 - known;
        assert!(if key == "odd" { known < 4 } else { unknown <= 6 }, "{key}: {known} times are known");
    }
}

#[test]
fn predictions_are_compared_with_the_row_that_training_means() {
    let folder = tempfile::tempdir().unwrap();
    publish(folder.path(), "m", CellKind::Lstm, ModelKind::Carry, None);
    write(&folder.path().join("data.parquet"), &without_a_clock(120), 50);
    let stages = "model: m, mode: carry }\n  - score: { step: 2";
    let file = pipeline(folder.path(), stages, "stdout: { fields: [value] }", "");
    let (out, _) = kolk_exits(0, &["run", file.to_str().unwrap()]);
    assert_joined(out.lines().map(|line| serde_json::from_str(line).unwrap()));
}
