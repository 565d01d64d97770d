//! `kolk run --shard I/N`: together the shards write the files that one run writes, byte for byte, and leave its state,
//! whatever the stages are, and whatever happens to single shards.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Float64Array, StringArray, TimestampMillisecondArray};
use kolk::kernel::CellKind;
use kolk::model::{ModelKind, registry};

use super::common::*;

const HOUR: i64 = 3_600_000;

/// Everything that could look beyond its key: `on`, then the stages.
const PIPES: [(&str, &str); 4] = [
    ("late: dead_letter, null: refuse", "infer: { model: m }, filter: { where: \"value < 1e6\" }"),
    (
        "watermark: partition, reorder: 3h",
        "resample: { every: 2h, delay: 4h, max_gap: 6h }, scale: { values: [value], half_life: 2d, min_count: 3 }",
    ),
    ("null: carry", "infer: { model: m }, score: { tail: 0.01, long: 200, short: 3 }, lags: { value: [1, 5] }"),
    ("null: skip", "infer: { model: w, mode: window, window: 6 }"),
];

/// Noisy waves with records that are late, null, or without a key or a time.
fn write_rows(path: &Path, keys: usize, from: usize, rows: usize) {
    let made = series(keys, from + rows);
    let made = &made[from * keys..];
    let broken = |n: usize, each: usize| n % each == each - 1;
    let text = made.iter().enumerate().map(|(n, row)| (!broken(n, 97)).then(|| row.0.clone()));
    let names: ArrayRef = Arc::new(text.collect::<StringArray>());
    let late = |n: usize| if broken(n, 31) { 2 * HOUR } else { 0 };
    let times = made.iter().enumerate().map(|(n, row)| (!broken(n, 113)).then_some(row.1 - late(n)));
    let times: ArrayRef = Arc::new(times.collect::<TimestampMillisecondArray>());
    let values = made.iter().enumerate().map(|(n, row)| (!broken(n, 41)).then_some(row.2));
    let values: ArrayRef = Arc::new(values.collect::<Float64Array>());
    write_columns(path, vec![("key", names), ("ts", times), ("value", values)], 300);
}

/// A pipeline over `data/`, with its output in `out/`, refusals in `dead/` and state in `state/`.
fn write_pipeline(folder: &Path, (on, stages): (&str, &str), sink: &str, partitions: usize) -> PathBuf {
    let stages: String = split(stages).iter().map(|stage| format!("  - {stage}\n")).collect();
    let file = folder.join("p.yaml");
    let text = format!(
        "name: p\nsource: {{ parquet: {{ path: data/ }} }}\nrecord: {{ key: key, time: ts, values: [value] }}\n\
         on: {{ {on} }}\nstages:\n{stages}sink: {{ {sink} }}\ndead_letters: {{ parquet: {{ path: dead/ }} }}\n\
         state: {{ path: state/, checkpoint_every: 1ms, or_records: 100, partitions: {partitions} }}\n\
         runtime: {{ workers: 2, batch: 32 }}\n"
    );
    std::fs::write(&file, text).unwrap();
    file
}

/// Stages at commas that are in no braces.
fn split(stages: &str) -> Vec<String> {
    let (mut depth, mut all) = (0, vec![String::new()]);
    for c in stages.chars() {
        depth += i32::from(matches!(c, '{' | '[')) - i32::from(matches!(c, '}' | ']'));
        match (c, depth) {
            (',', 0) => all.push(String::new()),
            _ => all.last_mut().unwrap().push(c),
        }
    }
    all.iter().map(|stage| stage.trim().to_string()).collect()
}

const PARTS: &str = "parquet: { path: out/, fields: [value], part_records: 100 }";

/// Output and dead letters, file by file, and the state of each key.
type Made = (BTreeMap<String, Vec<u8>>, BTreeMap<String, Vec<u8>>, Vec<String>);

fn made(folder: &Path, file: &Path, keys: usize) -> Made {
    let there = |name: &str| if folder.join(name).exists() { files(&folder.join(name)) } else { BTreeMap::new() };
    let of = |key: usize| {
        let shown = kolk_exits(0, &["state", "get", file.to_str().unwrap(), &format!("key-{key:03}")]).0;
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        shown["stages"].to_string()
    };
    (there("out"), there("dead"), (0..keys).map(of).collect())
}

fn reset(file: &Path) {
    kolk_exits(0, &["state", "reset", file.to_str().unwrap(), "--yes", "--output"]);
}

fn start(file: &Path, shard: &str) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kolk"));
    command.args(["run", file.to_str().unwrap(), "--shard", shard]);
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

fn run(file: &Path, shard: &str) -> String {
    kolk_exits(0, &["run", file.to_str().unwrap(), "--shard", shard]).1
}

/// All shards at once.
fn run_all(file: &Path, count: u32) {
    let running: Vec<Child> = (0..count).map(|index| start(file, &format!("{index}/{count}"))).collect();
    for child in running {
        let done = child.wait_with_output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
}

fn same(shards: &Made, one: &Made, what: &str) {
    let names = |made: &BTreeMap<String, Vec<u8>>| made.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&shards.0), names(&one.0), "{what}: output");
    assert_eq!(names(&shards.1), names(&one.1), "{what}: dead letters");
    assert!(shards.0 == one.0 && shards.1 == one.1, "{what}: the same names with other bytes");
    assert_eq!(shards.2, one.2, "{what}: state");
}

#[test]
fn the_shards_write_what_one_run_writes() {
    const KEYS: usize = 15;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    publish(folder, "m", CellKind::Lstm, ModelKind::Carry, None);
    publish(folder, "w", CellKind::Gru, ModelKind::Window, Some(6));
    let data = folder.join("data");
    std::fs::create_dir(&data).unwrap();
    for (pipe, count) in PIPES.into_iter().zip([4, 3, 8, 2]) {
        write_rows(&data.join("1.parquet"), KEYS, 0, 130);
        let file = write_pipeline(folder, pipe, PARTS, 8);
        let name = file.to_str().unwrap();
        kolk_exits(0, &["run", name]);
        let one = made(folder, &file, KEYS);
        assert!(one.0.len() > 16 && !one.1.is_empty(), "{pipe:?}: {} files", one.0.len());
        reset(&file);

        // All at once.
        kolk_exits(0, &["check", name, "--shard", &format!("{}/{count}", count - 1)]);
        run_all(&file, count);
        same(&made(folder, &file, KEYS), &one, &format!("{pipe:?}"));
        assert!(!folder.join("out/_kolk").exists(), "the folder of staged files is left");
        assert!(run(&file, "1/2").contains("already finished"));
        assert!(kolk_exits(0, &["run", name]).1.contains("already finished"));

        // Then files come. Half of them is read by the last of other shards, the rest by one run.
        write_rows(&data.join("2.parquet"), KEYS, 130, 70);
        run(&file, "1/2");
        kolk_exits(0, &["run", name]);
        let all = || (rows(&folder.join("out")), rows(&folder.join("dead")), made(folder, &file, KEYS).2);
        let shards = all();
        reset(&file);
        run_all(&file, 1);
        assert!(shards == all(), "{pipe:?} with more files");
        reset(&file);
        std::fs::remove_file(data.join("2.parquet")).unwrap();
    }

    // Lines: each of them once, a key's in order.
    let file = write_pipeline(folder, ("", "infer: { model: m/1 }"), "stdout: { fields: [value] }", 8);
    let lines = |arguments: &[&str]| {
        let mut lines: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for line in kolk_exits(0, &[&["run", file.to_str().unwrap()], arguments].concat()).0.lines() {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            lines.entry(row["key"].to_string()).or_default().push(line.to_string());
        }
        lines
    };
    let mut shards = BTreeMap::new();
    for index in 0..3 {
        let of = lines(&["--shard", &format!("{index}/3")]);
        assert!(!of.is_empty() && of.len() < KEYS, "{} keys", of.len());
        shards.extend(of);
    }
    assert!(shards == lines(&[]));
}

#[test]
fn a_shard_that_is_killed_goes_on_where_it_was() {
    const KEYS: usize = 12;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    publish(folder, "m", CellKind::Gru, ModelKind::Carry, None);
    std::fs::create_dir(folder.join("data")).unwrap();
    write_rows(&folder.join("data/1.parquet"), KEYS, 0, 700);
    let file = write_pipeline(folder, ("late: dead_letter", "infer: { model: m }"), PARTS, 6);
    let began = std::time::Instant::now();
    run_all(&file, 1);
    let whole = began.elapsed();
    let one = made(folder, &file, KEYS);
    reset(&file);

    // The first is killed at moments of the whole run, each time started again, while another runs; then N changes.
    let mut kills = 0;
    for round in 0..12_u32 {
        let mut killed = start(&file, "1/3");
        let other = (round == 3).then(|| start(&file, "2/3"));
        std::thread::sleep(whole.mul_f64(f64::from(round + 1) / 14.0) + Duration::from_micros(u64::from(round) * 137));
        kills += u32::from(killed.try_wait().unwrap().is_none());
        killed.kill().unwrap();
        killed.wait().unwrap();
        for name in ["out", "dead"].into_iter().filter(|name| folder.join(name).exists()) {
            for (part, bytes) in files(&folder.join(name)) {
                let whole = if name == "out" { &one.0 } else { &one.1 };
                assert!(whole.get(&part) == Some(&bytes), "round {round}: {part} is visible but not as it should be");
            }
        }
        if let Some(other) = other {
            let done = other.wait_with_output().unwrap();
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        }
    }
    assert!(kills > 2, "{kills} kills in the middle");
    run_all(&file, 2);
    same(&made(folder, &file, KEYS), &one, "after kills, and with another N");
    assert!(kolk_exits(0, &["run", file.to_str().unwrap()]).1.contains("already finished"));
}

#[test]
fn all_shards_take_the_version_of_the_first() {
    const KEYS: usize = 9;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    publish(folder, "m", CellKind::Gru, ModelKind::Carry, None);
    std::fs::create_dir(folder.join("data")).unwrap();
    write_rows(&folder.join("data/1.parquet"), KEYS, 0, 60);
    let file = write_pipeline(folder, ("", "infer: { model: m }"), PARTS, 4);
    run_all(&file, 1);
    let one = made(folder, &file, KEYS);
    reset(&file);

    run(&file, "0/2");
    publish_units(folder, "m", CellKind::Gru, ModelKind::Carry, None, 4);
    assert_eq!(registry::find(&folder.join("models"), "m").unwrap().1, 2);
    let said = run(&file, "1/2");
    assert!(said.contains("the first shard began with") && said.contains("m/1"), "{said}");
    same(&made(folder, &file, KEYS), &one, "the version");

    // For files that come later the version is asked for anew, once.
    write_rows(&folder.join("data/2.parquet"), KEYS, 60, 40);
    run(&file, "1/2");
    registry::set_champion(&folder.join("models"), "m", 1).unwrap();
    run(&file, "0/2");
    let versions: Vec<String> = rows(&folder.join("out")).values().map(|rows| rows.last().unwrap().clone()).collect();
    assert!(versions.iter().all(|row| row.ends_with(" 2 false")), "{versions:?}");
}

#[test]
fn what_shards_can_not_share_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    publish(folder, "m", CellKind::Gru, ModelKind::Carry, None);
    std::fs::create_dir(folder.join("data")).unwrap();
    write_rows(&folder.join("data/1.parquet"), 3, 0, 20);
    let refused = |file: &Path, shard: &str, words: &[&str]| {
        for command in ["check", "run"] {
            let (_, err) = kolk_exits(2, &[command, file.to_str().unwrap(), "--shard", shard]);
            for word in words {
                assert!(err.contains(word), "{command} --shard {shard}: no {word:?} in {err}");
            }
        }
    };
    let file = write_pipeline(folder, ("", "infer: { model: m }"), PARTS, 4);
    refused(&file, "4/4", &["the last is 3/4"]);
    refused(&file, "x", &["expected I/N"]);
    refused(&file, "2/5", &["--shard 2/5", "state.partitions is 4", "at most 4 shards"]);
    assert!(!folder.join("out").exists() && !folder.join("state").exists());
    let file = write_pipeline(folder, ("", "infer: { model: m }"), "stdout: { }", 4);
    refused(&file, "1/2", &["name the version, as m/1"]);
    let kafka = folder.join("kafka.yaml");
    let text = "name: k\nsource: { kafka: { brokers: \"127.0.0.1:1\", topic: t, key: key } }\n\
                record: { key: key, time: { column: ts, unit: ms }, values: [value] }\n\
                sink: { parquet: { path: out/ } }\n";
    std::fs::write(&kafka, text).unwrap();
    let (_, err) = kolk_exits(2, &["run", kafka.to_str().unwrap(), "--shard", "0/2"]);
    assert!(err.contains("--shard is for files") && err.contains("consumer group"), "{err}");
    let (_, err) = kolk_exits(2, &["check", kafka.to_str().unwrap(), "--shard", "0/2"]);
    assert!(err.contains("--shard is for files"), "{err}");
}
