//! `kill -9` at any moment, start again, as often as it takes: the folder of output holds byte for byte what one
//! uninterrupted run writes.

use std::process::{Command, Stdio};
use std::time::Duration;

use super::common::*;
use kolk::kernel::CellKind;
use kolk::model::ModelKind;

const EXTRA: &str = "state: { path: state/, checkpoint_every: 1ms, or_records: 500, partitions: 4 }\nruntime: { workers: 2, batch: 64 }";
const SINK: &str = "parquet: { path: out/, fields: [value], part_records: 500 }";

#[test]
fn killed_again_and_again_the_output_is_that_of_one_run() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write(&folder.join("data.parquet"), &series(25, 2_000), 1_000);
    publish(folder, "m", CellKind::Lstm, ModelKind::Carry, None);
    let file = pipeline(folder, "model: m, mode: carry", SINK, EXTRA);
    let file = file.to_str().unwrap();

    let started = std::time::Instant::now();
    kolk_exits(0, &["run", file]);
    let whole = started.elapsed();
    let expected = files(&folder.join("out"));
    assert!(expected.len() > 90, "{} parts", expected.len());
    kolk_exits(0, &["state", "reset", file, "--yes", "--output"]);
    assert!(!folder.join("out").exists() || files(&folder.join("out")).is_empty());

    // Moments spread over the whole run, the early ones (start, first commits) more densely.
    let mut kills = 0;
    for round in 0..200_u32 {
        let share = f64::from(round % 20) / 20.0;
        let moment = whole.mul_f64(share * share) + Duration::from_micros(u64::from(round) * 137);
        let mut child = Command::new(env!("CARGO_BIN_EXE_kolk"))
            .args(["run", file])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(moment);
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "round {round}: {status}");
            if kills >= 30 {
                break;
            }
            // Too slow to be killed in the middle any more: start the whole thing again.
            assert_eq!(files(&folder.join("out")), expected, "round {round}");
            kolk_exits(0, &["state", "reset", file, "--yes", "--output"]);
            continue;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
        for (name, bytes) in files(&folder.join("out")) {
            assert!(expected.get(&name) == Some(&bytes), "round {round}: {name} is visible but not as it should be");
        }
    }
    let (_, err) = kolk_exits(0, &["run", file]);
    assert_eq!(files(&folder.join("out")), expected, "after {kills} kills\n{err}");
    let (_, err) = kolk_exits(0, &["run", file]);
    assert!(err.contains("finished"), "{err}");
}
