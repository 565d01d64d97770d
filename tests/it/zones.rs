//! Time zones in whole runs: dates, days and months of a zone, and the tz database of the system.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Array, Float64Array, StringArray, TimestampMicrosecondArray};
use serde_json::Value;

use super::common::*;

const HOUR: i64 = 3_600_000_000;

fn micros(text: &str) -> i64 {
    chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros()
}

/// A file of one key, with these times and values.
fn source(folder: &Path, times: ArrayRef, values: Vec<f64>) {
    let keys = StringArray::from_iter_values(values.iter().map(|_| "A"));
    let columns: Vec<(&str, ArrayRef)> =
        vec![("key", Arc::new(keys)), ("ts", times), ("value", Arc::new(Float64Array::from(values)))];
    write_columns(&folder.join("data.parquet"), columns, 1000);
}

fn in_zone(zone: &str, times: Vec<i64>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(times).with_timezone(zone))
}

fn pipeline_of(folder: &Path, time: &str, stages: &str, fields: &str) -> String {
    let file = folder.join("p.yaml");
    let text = format!(
        "name: p\nsource: {{ parquet: {{ path: data.parquet }} }}\n\
         record: {{ key: key, time: {time}, values: [value] }}\n\
         stages: [ {stages} ]\nsink: {{ stdout: {{ fields: [{fields}] }} }}\n"
    );
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_string()
}

/// The rows that a pipeline prints, from the start.
fn printed(folder: &Path, file: &str) -> Vec<Value> {
    let _ = std::fs::remove_dir_all(folder.join("state"));
    let (out, _) = kolk_exits(0, &["run", file]);
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn column(rows: &[Value], name: &str) -> Vec<f64> {
    rows.iter().map(|row| row[name].as_f64().unwrap_or(f64::NAN)).collect()
}

#[test]
fn a_date_has_no_zone() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    // A week from Monday, 2024-01-01.
    source(folder, Arc::new(Date32Array::from_iter_values(19_723..19_730)), vec![1.0; 7]);
    for zone in ["America/New_York", "Pacific/Kiritimati", "UTC"] {
        let stages = format!("calendar: {{ features: [weekday, day, hour], timezone: {zone} }}");
        let rows = printed(folder, &pipeline_of(folder, "ts", &stages, "weekday_sin, day_cos, hour_sin, hour_cos"));
        for (day, row) in (0..7).zip(&rows) {
            let angle = |share: f64| std::f64::consts::TAU * share;
            let number = |name: &str| row[name].as_f64().unwrap();
            assert!((number("weekday_sin") - angle(f64::from(day) / 7.0).sin()).abs() < 1e-12, "{zone} {row}");
            assert!((number("day_cos") - angle(f64::from(day) / 31.0).cos()).abs() < 1e-12, "{zone} {row}");
            assert_eq!((number("hour_sin"), number("hour_cos")), (0.0, 1.0), "{zone}");
        }
        assert_eq!(rows.len(), 7);
    }
    // Where a zone could only be a mistake, it is refused.
    let time = "{ column: ts, timezone: Europe/Berlin }";
    let (_, err) = kolk_exits(2, &["check", &pipeline_of(folder, time, "lags: { value: [1] }", "value")]);
    assert!(err.contains("a date has no time zone"), "{err}");
    let stages = "resample: { every: 1d, timezone: Europe/Berlin }";
    let (_, err) = kolk_exits(2, &["check", &pipeline_of(folder, "ts", stages, "value")]);
    assert!(err.contains("a date has no time zone"), "{err}");
}

#[test]
fn days_are_those_of_the_column_or_of_the_word() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    // Hours over the end of winter in New York; mornings count one.
    let start = micros("2024-03-08T00:00:00-05:00");
    let times: Vec<i64> = (1..24 * 5).map(|hour| start + hour * HOUR).collect();
    let local = |time: &i64| {
        use chrono::{Datelike, Timelike};
        let at = chrono::DateTime::from_timestamp_micros(*time).unwrap().with_timezone(&chrono_tz::America::New_York);
        (at.day(), at.hour())
    };
    let values: Vec<f64> = times.iter().map(|time| f64::from(u8::from(local(time).1 < 12))).collect();
    let sums = |rows: &[Value]| -> Vec<(String, f64)> {
        rows.iter().map(|row| (row["ts"].as_str().unwrap().to_string(), row["value"].as_f64().unwrap())).collect()
    };
    // The 10th has 23 hours, and a midnight belongs to the day that ends.
    let expected = [
        ("2024-03-09T05:00:00Z".to_string(), 12.0),
        ("2024-03-10T05:00:00Z".to_string(), 12.0),
        ("2024-03-11T04:00:00Z".to_string(), 11.0),
        ("2024-03-12T04:00:00Z".to_string(), 12.0),
    ];
    let bucket = "every: 1d, aggregate: sum, fill: zero";
    source(folder, in_zone("America/New_York", times.clone()), values.clone());
    let own = printed(folder, &pipeline_of(folder, "ts", &format!("resample: {{ {bucket} }}"), "value"));
    assert_eq!(sums(&own), expected);
    let utc = format!("resample: {{ {bucket}, timezone: UTC }}");
    let utc = printed(folder, &pipeline_of(folder, "ts", &utc, "value"));
    assert_eq!(utc[0]["ts"], "2024-03-09T00:00:00Z");

    // State of days of UTC is no state of local days.
    let to_files = |stages: &str| {
        let file = pipeline_of(folder, "ts", stages, "");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replace("stdout: { fields: [] }", "parquet: { path: out/ }")).unwrap();
        file
    };
    kolk_exits(0, &["run", &to_files(&format!("resample: {{ {bucket}, timezone: UTC }}"))]);
    let (_, err) = kolk_exits(2, &["run", &to_files(&format!("resample: {{ {bucket} }}"))]);
    assert!(err.contains("resample.timezone") && err.contains("America/New_York"), "{err}");
    kolk_exits(0, &["run", &to_files(&format!("resample: {{ {bucket}, timezone: UTC }}"))]);

    source(folder, in_zone("UTC", times), values);
    for (time, zone) in [("{ column: ts, timezone: America/New_York }", ""), ("ts", ", timezone: America/New_York")] {
        let stages = format!("resample: {{ {bucket}{zone} }}");
        assert_eq!(sums(&printed(folder, &pipeline_of(folder, time, &stages, "value"))), expected);
    }
}

/// A time zone that is always this many hours ahead of UTC, as `zic` would write it.
fn tzif(rule: &str, hours: i32) -> Vec<u8> {
    let block = |version: u8| {
        let mut bytes = b"TZif".to_vec();
        bytes.push(version);
        bytes.extend([0; 15]);
        // Counts: no leap seconds and changes, one type, a name of four letters.
        [0_u32, 0, 0, 0, 1, 4].iter().for_each(|count| bytes.extend(count.to_be_bytes()));
        bytes.extend((hours * 3600).to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(b"NEW\0");
        bytes
    };
    [block(b'2'), block(b'2'), format!("\n{rule}\n").into_bytes()].concat()
}

#[test]
fn a_newer_database_of_the_system_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let times = ["2026-10-25T19:00:00Z", "2026-11-25T19:00:00Z"].map(micros);
    source(folder, in_zone("UTC", times.to_vec()), vec![1.0, 2.0]);
    let stages = "calendar: { features: [hour], timezone: America/Vancouver }";
    let file = pipeline_of(folder, "ts", stages, "hour_sin, hour_cos");
    let with = |version: &str, arguments: &[&str]| {
        let zones = folder.join("zones");
        std::fs::create_dir_all(zones.join("America")).unwrap();
        std::fs::write(zones.join("tzdata.zi"), format!("# version {version}\n")).unwrap();
        std::fs::write(zones.join("America/Vancouver"), tzif("NEW6", -6)).unwrap();
        let output = finished(Command::new(env!("CARGO_BIN_EXE_kolk")).args(arguments).env("TZDIR", &zones));
        assert!(output.status.success(), "{output:?}");
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let cosines = |out: &str| {
        let rows: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        column(&rows, "hour_cos")
    };
    // Compiled in: noon on both days, since British Columbia stays on summer time in 2026.
    let (out, _) = with("2025b", &["run", &file]);
    assert_eq!(cosines(&out), [-1.0, -1.0]);
    // A newer database: 13:00.
    let (out, _) = with("2999a", &["run", &file]);
    let thirteen = (std::f64::consts::TAU * 13.0 / 24.0).cos();
    assert!(cosines(&out).iter().all(|cos| (cos - thirteen).abs() < 1e-12), "{out}");

    let shown = |version: &str| with(version, &["--version"]).0;
    assert!(shown("2025b").contains("(compiled in)"), "{}", shown("2025b"));
    assert!(shown("2999a").contains(&format!("tz database 2999a ({})", folder.join("zones").display())));

    // State keeps the version, and a change is logged.
    let text = std::fs::read_to_string(&file).unwrap();
    let text = text.replace("stdout: { fields: [hour_sin, hour_cos] }", "parquet: { path: out/, fields: [hour_cos] }");
    std::fs::write(&file, text).unwrap();
    let (_, log) = with("2025b", &["run", &file]);
    assert!(!log.contains("rules of a time zone"), "{log}");
    let (_, log) = with("2999a", &["run", &file]);
    assert!(log.contains("rules of a time zone changed") && log.contains("2999a"), "{log}");
}

/// Trains and runs on a column with a zone, and checks the rows against those that follow them.
fn scored(folder: &Path, zone: &str, times: &[i64], stages: &str) -> usize {
    let values: Vec<f64> = (0..times.len()).map(|row| 10.0 + 5.0 * (row as f64 / 2.0).sin()).collect();
    source(folder, in_zone(zone, times.to_vec()), values);
    let infer = format!("{stages}infer: {{ model: m }}, score: {{ actual: value, step: 1 }}");
    let file = pipeline_of(folder, "ts", &infer, "");
    let mut text = std::fs::read_to_string(&file).unwrap();
    text += "train: { inputs: [value], target: value, horizon: 1, layers: [ { gru: 4 } ], epochs: 2 }\n";
    std::fs::write(&file, text).unwrap();
    kolk_exits(0, &["train", &file]);
    let rows = printed(folder, &file);
    for (row, next) in rows.iter().zip(&rows[1..]).filter(|(row, _)| !row["prediction_time"].is_null()) {
        assert_eq!(row["prediction_time"], next["ts"], "{row}");
    }
    let known = rows.iter().filter(|row| !row["prediction_time"].is_null()).count();
    let late = rows[2..].iter().filter(|row| row["residual"].is_null()).count();
    assert_eq!(late, 0, "every row from the third on is scored");
    assert!(known + 8 > rows.len(), "{known} of {}", rows.len());
    rows.len()
}

#[test]
fn predictions_are_for_the_days_and_months_of_the_zone() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let local = |year: i32, month: u32, day: u32| {
        use chrono::TimeZone;
        chrono_tz::Europe::Berlin.with_ymd_and_hms(year, month, day, 0, 0, 0).unwrap().timestamp_micros()
    };
    let months: Vec<i64> = (0..72).map(|month| local(2018 + month / 12, month as u32 % 12 + 1, 1)).collect();
    assert_eq!(scored(folder, "Europe/Berlin", &months, ""), 72);
    let first = chrono::NaiveDate::from_ymd_opt(2018, 1, 1).unwrap();
    let days: Vec<i64> = first
        .iter_days()
        .take(700)
        .map(|day| {
            use chrono::Datelike;
            local(day.year(), day.month(), day.day())
        })
        .collect();
    assert_eq!(scored(folder, "Europe/Berlin", &days, ""), 700);
    // The same after a resample, whose last bucket stays open.
    assert_eq!(scored(folder, "Europe/Berlin", &days, "resample: { every: 1d }, "), 699);
    // In UTC the column's type says nothing, the word does.
    let manifest: Value =
        serde_json::from_slice(&std::fs::read(folder.join("models/m/1/manifest.json")).unwrap()).unwrap();
    assert!(manifest["tz_database"].is_string(), "{manifest}");
}
