//! Order of time: what is read after later records of its key is counted, named, and not learned from.

use std::path::{Path, PathBuf};

use super::common::*;

fn pipeline_of(folder: &Path, source: &str, more: &str) -> PathBuf {
    let train = "train: { inputs: [value], target: value, horizon: 1, layers: [ { gru: 4 } ], epochs: 1 }";
    let train = if more.contains("infer") { train } else { "" };
    let file = folder.join("p.yaml");
    let text = format!(
        "name: p\nsource: {{ parquet: {{ {source} }} }}\nrecord: {{ key: key, time: ts, values: [value] }}\n{more}\n{train}\n\
         sink: {{ parquet: {{ path: out/ }} }}\nstate: {{ path: state/, partitions: 4 }}\n"
    );
    std::fs::write(&file, text).unwrap();
    file
}

const TRAINED: &str = "stages: [ { infer: { model: m } } ]";
const PLAIN: &str = "stages: [ { lags: { value: [1] } } ]";

fn kolk(code: i32, command: &str, file: &Path) -> String {
    kolk_exits(code, &[command, file.to_str().unwrap()]).1
}

/// 16 parts, whose paths sort as 0, 1, 10, …, 15, 2, …, 9.
fn parts(folder: &Path) -> Vec<Row> {
    std::fs::create_dir(folder.join("parts")).unwrap();
    let rows = series(1, 400);
    for (at, part) in rows.chunks(25).enumerate() {
        write(&folder.join(format!("parts/part-{at}.parquet")), part, 1000);
    }
    rows
}

#[test]
fn newest_first_is_counted_and_not_learned_from() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::create_dir(folder.join("data")).unwrap();
    let mut rows = series(1, 400);
    rows.reverse();
    write(&folder.join("data/a.parquet"), &rows, 1000);
    for more in ["", "on: { late: dead_letter }\n"] {
        let err = kolk(2, "train", &pipeline_of(folder, "path: data/", &format!("{more}{TRAINED}")));
        let message = "399 of 400 rows are older than their key's newest (399 with data/a.parquet)";
        assert!(err.contains(message) && err.contains("on: { reorder: … }"), "{err}");
    }
    // The first buckets are over at once, the others' records are refused.
    let resampled = format!("{}\n", TRAINED.replace("[ {", "[ { resample: { every: 1h } }, {"));
    let err = kolk(2, "train", &pipeline_of(folder, "path: data/", &resampled));
    assert!(err.contains("399 of 400 rows are older"), "{err}");
    assert!(!folder.join("models").exists());

    let err = kolk(0, "run", &pipeline_of(folder, "path: data/", PLAIN));
    assert!(err.contains("399 records were older than their key's newest and were processed"), "{err}");
    assert!(kolk(0, "run", &pipeline_of(folder, "path: data/", PLAIN)).contains("already finished"));
    // Row groups whose times go down are seen in the footer.
    write(&folder.join("data/a.parquet"), &rows, 100);
    let err = kolk(0, "check", &pipeline_of(folder, "path: data/", &format!("on: {{ reorder: 1h }}\n{TRAINED}")));
    assert!(err.contains("note: data/a.parquet: the times of its row groups go down"), "{err}");
}

#[test]
fn a_few_late_rows_are_told_and_those_in_order_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut rows = series(2, 300);
    rows.swap(100, 104);
    write(&folder.join("a.parquet"), &rows, 1000);
    let err = kolk(0, "train", &pipeline_of(folder, "path: a.parquet", TRAINED));
    assert!(
        err.contains("2 of 600 rows are older than their key's newest (2 with a.parquet): on.reorder puts"),
        "{err}"
    );
    let err = kolk(0, "run", &pipeline_of(folder, "path: a.parquet", PLAIN));
    assert!(err.contains("2 records were older than their key's newest"), "{err}");

    // `reorder` mends it within its span; what is later than that counts.
    for (span, late) in [("3h", false), ("1h", true)] {
        kolk_exits(0, &["state", "reset", folder.join("p.yaml").to_str().unwrap(), "--yes", "--output"]);
        let reordered = pipeline_of(folder, "path: a.parquet", &format!("on: {{ reorder: {span} }}\n{PLAIN}"));
        let err = kolk(0, "run", &reordered);
        assert_eq!(err.contains("older than their key's newest"), late, "{span}: {err}");
    }
    // A bucket takes records in any order while it is open.
    kolk_exits(0, &["state", "reset", folder.join("p.yaml").to_str().unwrap(), "--yes", "--output"]);
    let buckets = TRAINED.replace("[ {", "[ { resample: { every: 1h, delay: 4h } }, {").replace("m }", "buckets }");
    let err = kolk(0, "train", &pipeline_of(folder, "path: a.parquet", &buckets));
    assert!(!err.contains("older than their key's newest"), "{err}");
}

#[test]
fn part_10_before_part_2_is_named_and_order_time_mends_it() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let rows = parts(folder);
    let by_path = pipeline_of(folder, "path: parts/", TRAINED);
    let err = kolk(0, "check", &by_path);
    let (first, second) = (err.find("parts/part-10.parquet"), err.find("parts/part-2.parquet"));
    assert!(first.is_some() && first < second && err.contains("order: time"), "{err}");
    let err = kolk(2, "train", &by_path);
    assert!(err.contains("200 of 400 rows are older than their key's newest (25 with parts/part-2.parquet"), "{err}");
    let err = kolk(0, "run", &pipeline_of(folder, "path: parts/", PLAIN));
    assert!(err.contains("200 records were older") && err.contains("parts/part-10.parquet"), "{err}");
    // The order is part of what the state belongs to.
    let err = kolk(2, "run", &pipeline_of(folder, "path: parts/, order: time", PLAIN));
    assert!(err.contains("source.order"), "{err}");
    kolk_exits(0, &["state", "reset", by_path.to_str().unwrap(), "--yes", "--output"]);

    let by_time = pipeline_of(folder, "path: parts/, order: time", TRAINED);
    let err = kolk(0, "check", &by_time);
    assert!(!err.contains("note:"), "{err}");
    let err = kolk(0, "train", &by_time);
    assert!(!err.contains("older than"), "{err}");
    let by_time = pipeline_of(folder, "path: parts/, order: time", PLAIN);
    assert!(!kolk(0, "run", &by_time).contains("older than"));
    let found = rows_of(folder);
    kolk_exits(0, &["state", "reset", by_time.to_str().unwrap(), "--yes", "--output"]);
    write(&folder.join("whole.parquet"), &rows, 1000);
    kolk(0, "run", &pipeline_of(folder, "path: whole.parquet", PLAIN));
    assert_eq!(found, rows_of(folder));

    // A list has an order of its own.
    kolk_exits(0, &["state", "reset", by_time.to_str().unwrap(), "--yes", "--output"]);
    let list: Vec<String> = (0..16).map(|at| format!("parts/part-{at}.parquet")).collect();
    let listed = pipeline_of(folder, &format!("path: [{}]", list.join(", ")), PLAIN);
    let err = kolk(0, "run", &listed);
    assert!(!err.contains("older than"), "{err}");
    assert_eq!(found, rows_of(folder));
    // Its names are the same wherever kolk is started.
    let here =
        std::process::Command::new(env!("CARGO_BIN_EXE_kolk")).args(["run", "p.yaml"]).current_dir(folder).output();
    let err = String::from_utf8(here.unwrap().stderr).unwrap();
    assert!(err.contains("already finished"), "{err}");
}

fn rows_of(folder: &Path) -> std::collections::BTreeMap<String, Vec<String>> {
    rows(&folder.join("out"))
}

#[test]
fn a_source_in_the_order_of_time_grows_at_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::create_dir(folder.join("data")).unwrap();
    let rows = series(3, 90);
    let write = |name: &str, part: &[Row]| write(&folder.join(format!("data/{name}.parquet")), part, 20);
    write("z", &rows[60..120]);
    write("empty", &[]);
    let file = pipeline_of(folder, "path: data/, order: time", PLAIN);
    kolk(0, "run", &file);
    write("a", &rows[120..200]);
    let err = kolk(0, "run", &file);
    assert!(err.contains("1 new file: data/a.parquet") && !err.contains("older than"), "{err}");
    write("b", &rows[..60]);
    let err = kolk(2, "run", &file);
    assert!(err.contains("data/b.parquet is new and comes before data/a.parquet, which was read"), "{err}");
}
