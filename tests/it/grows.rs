//! A source that grows: files that come behind those that were read are read with the state that is there, and output
//! and state are those of one run over all of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::common::*;

/// Keys, rows and stages without a model, so that state is all that matters.
fn pipeline_of(folder: &Path, name: &str, source: &str, on: &str, stages: &str) -> PathBuf {
    let file = folder.join(format!("{name}.yaml"));
    let text = format!(
        "name: {name}\nsource: {{ parquet: {{ {source} }} }}\nrecord: {{ key: key, time: ts, values: [value] }}\n{on}\n\
         stages: [ {stages} ]\nsink: {{ parquet: {{ path: out-{name}/, part_records: 50 }} }}\n\
         state: {{ path: state/, checkpoint_every: 1ms, or_records: 50, partitions: 4 }}\n\
         dead_letters: {{ parquet: {{ path: dead-{name}/ }} }}\nruntime: {{ workers: 2, batch: 16 }}\n"
    );
    std::fs::write(&file, text).unwrap();
    file
}

fn run(file: &Path) -> String {
    kolk_exits(0, &["run", file.to_str().unwrap()]).1
}

fn refused(file: &Path, words: &[&str]) {
    for command in ["check", "run"] {
        let (_, err) = kolk_exits(2, &[command, file.to_str().unwrap()]);
        for word in words {
            assert!(err.contains(word), "{command}: no {word:?} in {err}");
        }
    }
}

/// Per key, all of its rows, whichever parts they are in, in the order of the parts.
fn output(folder: &Path, name: &str) -> BTreeMap<String, Vec<String>> {
    let out = folder.join(format!("out-{name}"));
    if out.exists() { rows(&out) } else { BTreeMap::new() }
}

/// What the state remembers of each key.
fn state(file: &Path, keys: usize) -> Vec<String> {
    let of = |key: usize| {
        let shown = kolk_exits(0, &["state", "get", file.to_str().unwrap(), &format!("key-{key:03}")]).0;
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        shown["stages"].to_string()
    };
    (0..keys).map(of).collect()
}

const PIPES: [(&str, &str); 5] = [
    ("", "lags: { value: [1, 3] }"),
    ("", "resample: { every: 3h, delay: 2h }, lags: { value: [1] }"),
    ("on: { reorder: 5h }", "lags: { value: [1, 2] }"),
    ("on: { reorder: 5h, watermark: partition }", "resample: { every: 2h, delay: 6h }, lags: { value: [1] }"),
    ("on: { late: dead_letter }", "scale: { values: [value], half_life: 2d, min_count: 3 }"),
];

/// Days of rows; the first rows of a day are older than the last ones of the day before.
fn days(keys: usize, days: usize) -> Vec<Vec<Row>> {
    let mut all = series(keys, 30 * days);
    // Swaps rows of each key across the bound of two days: within what `reorder` allows.
    for day in 1..days {
        for key in 0..keys {
            let at = day * 30 * keys + key;
            all.swap(at - keys, at + keys);
        }
    }
    all.chunks(30 * keys).map(<[Row]>::to_vec).collect()
}

fn braced(stages: &str) -> String {
    // `a: {…}, b: {…}` as items of a list.
    format!("{{ {} }}", stages.replace(" }, ", " } }, { "))
}

#[test]
fn day_by_day_is_as_all_at_once() {
    for (on, stages) in PIPES {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        std::fs::create_dir(folder.join("data")).unwrap();
        let stages = braced(stages);
        let grown = pipeline_of(folder, "grown", "path: data/", on, &stages);
        for (day, rows) in days(7, 4).iter().enumerate() {
            write(&folder.join(format!("data/2024-01-{:02}.parquet", day + 1)), rows, 40);
            if day > 0 {
                let (_, err) = kolk_exits(0, &["check", grown.to_str().unwrap()]);
                assert!(err.contains(&format!("1 new file: data/2024-01-{:02}.parquet", day + 1)), "{err}");
            }
            let log = run(&grown);
            let new = log.contains(&format!("1 new file: data/2024-01-{:02}.parquet", day + 1));
            assert_eq!(new, day > 0, "{log}");
            let so_far = pipeline_of(folder, &format!("day-{day}"), "path: data/", on, &stages);
            let log_of_all = run(&so_far);
            assert!(!log_of_all.contains("new file"), "{log_of_all}");
            assert_eq!(output(folder, "grown"), output(folder, &format!("day-{day}")), "{stages} {on}, day {day}");
            assert_eq!(state(&grown, 7), state(&so_far, 7), "{stages} {on}, day {day}");
            let counts = |log: &str| log.lines().filter(|line| line.contains("dead letters")).count();
            assert_eq!(counts(&log), counts(&log_of_all), "{log}\n{log_of_all}");
            assert!(run(&grown).contains("already finished"));
        }
        assert!(output(folder, "grown").values().map(Vec::len).sum::<usize>() > 100);
    }
}

#[test]
fn killed_in_the_middle_after_growth() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::create_dir(folder.join("data")).unwrap();
    let days = days(5, 40);
    let (first, second) = (days[..3].concat(), days[3..].concat());
    let stages = "{ lags: { value: [1, 2] } }";
    write(&folder.join("data/1.parquet"), &first, 100);
    let grown = pipeline_of(folder, "grown", "path: data/*.parquet", "on: { reorder: 5h }", stages);
    run(&grown);
    write(&folder.join("data/2.parquet"), &second, 100);
    let mut killed = 0;
    for round in 0..60_u64 {
        let mut child = Command::new(env!("CARGO_BIN_EXE_kolk"))
            .args(["run", grown.to_str().unwrap()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(5 + round * 3 % 150));
        if child.try_wait().unwrap().is_some() {
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        killed += 1;
    }
    run(&grown);
    let whole = pipeline_of(folder, "whole", "path: data/*.parquet", "on: { reorder: 5h }", stages);
    run(&whole);
    assert!(killed > 0);
    assert_eq!(output(folder, "grown"), output(folder, "whole"), "after {killed} kills");
    assert_eq!(state(&grown, 5), state(&whole, 5));
}

#[test]
fn what_was_read_must_stay_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::create_dir(folder.join("data")).unwrap();
    let days = days(3, 4);
    let day = |day: usize| folder.join(format!("data/2024-01-{day:02}.parquet"));
    write(&day(2), &days[0], 100);
    write(&day(4), &days[1], 100);
    let file = pipeline_of(folder, "p", "path: data/", "", "{ lags: { value: [1] } }");
    run(&file);
    let (before, whole) = (output(folder, "p"), std::fs::read(day(2)).unwrap());

    write(&day(3), &days[2], 100);
    refused(
        &file,
        &[
            "data/2024-01-03.parquet is new and comes before data/2024-01-04.parquet, which was read",
            "kolk state reset",
        ],
    );
    std::fs::remove_file(day(3)).unwrap();
    write(&day(2), &days[0][..9], 100);
    refused(&file, &["data/2024-01-02.parquet was changed after it was read: it had 90 rows, and has 9"]);
    std::fs::remove_file(day(2)).unwrap();
    refused(&file, &["data/2024-01-02.parquet was read and is missing"]);
    std::fs::write(day(2), whole).unwrap();
    kolk_exits(0, &["check", file.to_str().unwrap()]);
    assert_eq!(output(folder, "p"), before);

    // A file that could not be read to its end is none that was read: it may be mended.
    let bytes = {
        write(&day(5), &days[3], 10);
        std::fs::read(day(5)).unwrap()
    };
    let mut broken = bytes.clone();
    broken[10..60].fill(0xff);
    std::fs::write(day(5), &broken).unwrap();
    kolk_exits(1, &["run", file.to_str().unwrap()]);
    std::fs::write(day(5), &bytes).unwrap();
    write(&day(6), &days[2], 10);
    assert!(run(&file).contains("1 new file: data/2024-01-06.parquet"));
}

/// State of before, which kept a hash of all files, is taken up with the files that it stands for.
#[test]
fn state_that_kept_a_hash_grows_too() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::create_dir(folder.join("data")).unwrap();
    let days = days(3, 3);
    let day = |day: usize| folder.join(format!("data/{day}.parquet"));
    write(&day(1), &days[0], 100);
    let file = pipeline_of(folder, "p", "path: data/", "", "{ lags: { value: [1] } }");
    run(&file);
    // As earlier versions wrote it: sha256 of names, lengths, rows and footers.
    let made_by = folder.join("state/p/pipeline.json");
    let mut made: serde_json::Value = serde_json::from_slice(&std::fs::read(&made_by).unwrap()).unwrap();
    let list = made.as_object_mut().unwrap().remove("source").unwrap();
    made["sections"]["source"] = serde_json::json!({ "files": hash_of(&list) });
    std::fs::write(&made_by, made.to_string()).unwrap();
    for entry in std::fs::read_dir(folder.join("state/p")).unwrap().map(Result::unwrap) {
        for file in std::fs::read_dir(entry.path()).into_iter().flatten().map(Result::unwrap) {
            if file.path().extension().is_some_and(|end| end == "json") {
                let text = std::fs::read_to_string(file.path()).unwrap();
                let mut manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
                manifest.as_object_mut().unwrap().remove("files");
                std::fs::write(file.path(), manifest.to_string()).unwrap();
            }
        }
    }
    assert!(run(&file).contains("already finished"));
    std::fs::write(&made_by, made.to_string()).unwrap();
    for (number, rows) in [(2, &days[1]), (3, &days[2])] {
        write(&day(number), rows, 100);
        assert!(run(&file).contains(&format!("1 new file: data/{number}.parquet")));
    }
    let whole = pipeline_of(folder, "whole", "path: data/", "", "{ lags: { value: [1] } }");
    run(&whole);
    assert_eq!(output(folder, "p"), output(folder, "whole"));
    // A hash of other files can't be taken up.
    made["sections"]["source"]["files"] = "8fcc".into();
    std::fs::write(&made_by, made.to_string()).unwrap();
    refused(&file, &["has read other files of the source", "kept only a hash", "kolk state reset"]);
}

fn hash_of(list: &serde_json::Value) -> String {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    for file in list.as_array().unwrap() {
        let name = file["name"].as_str().unwrap();
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
        hash.update(file["bytes"].as_u64().unwrap().to_le_bytes());
        hash.update(file["rows"].as_u64().unwrap().to_le_bytes());
        let footer = file["footer"].as_str().unwrap();
        let bytes: Vec<u8> = (0..32).map(|at| u8::from_str_radix(&footer[2 * at..2 * at + 2], 16).unwrap()).collect();
        hash.update(bytes);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
