//! A run that was killed goes on with a version that has another vocabulary: ids are those of the version that looks
//! them up, and nothing of the other one is left.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kolk::model::ModelKind;

use super::common::*;
use super::retrained::{Written, killed_at, taken_over, written};

const SINK: &str = "parquet: { path: out/, fields: [value], part_records: 200 }";
const EXTRA: &str = "state: { path: state/, checkpoint_every: 1ms, or_records: 200, partitions: 3 }\nruntime: { workers: 1, batch: 32 }";
const KEYS: usize = 6;
const ROWS: usize = 4_000;
/// The newer one has seen a key more, and the ids of all others moved.
const FIRST: &[&str] = &["key-000", "key-001", "key-002", "gone"];
const SECOND: &[&str] = &["key-004", "key-002", "key-001", "key-000"];

/// What a version alone makes of rows.
fn alone(rows: &[Row], publish: &dyn Fn(&Path), infer: &str) -> BTreeMap<String, Vec<Written>> {
    let folder = tempfile::tempdir().unwrap();
    publish(folder.path());
    write(&folder.path().join("data.parquet"), rows, 1_000);
    let file = pipeline(folder.path(), infer, SINK, EXTRA);
    kolk_exits(0, &["run", file.to_str().unwrap()]);
    written(folder.path())
}

fn plain(rows: &[Written]) -> Vec<(i64, Vec<u32>, u64)> {
    rows.iter().map(|(ts, _, prediction, value)| (*ts, prediction.clone(), *value)).collect()
}

#[test]
fn a_version_with_another_vocabulary_looks_its_own_ids_up() {
    for (infer, kind, window) in [
        ("model: m, mode: carry", ModelKind::Carry, None),
        ("model: m, mode: window, window: 5", ModelKind::Window, Some(5)),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let publish =
            |keys: &'static [&'static str]| move |folder: &Path| publish_keys(folder, "m", kind, window, keys);
        let rows = series(KEYS, ROWS);
        write(&folder.join("data.parquet"), &rows, 1_000);
        publish(FIRST)(folder);
        let file: PathBuf = pipeline(folder, infer, SINK, EXTRA);
        assert!(killed_at(&file, folder, 4), "the run has to be killed in its middle");
        publish(SECOND)(folder);
        // Killed again after the first commits with the new version.
        assert!(killed_at(&file, folder, 7));
        kolk_exits(0, &["run", file.to_str().unwrap()]);

        let found = written(folder);
        let from = taken_over(&found, ROWS);
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        let rest: Vec<Row> = rows
            .iter()
            .filter(|(key, ..)| {
                let count = seen.entry(key).or_default();
                *count += 1;
                *count > from[key.as_str()]
            })
            .cloned()
            .collect();
        let (first, second) = (alone(&rows, &publish(FIRST), infer), alone(&rest, &publish(SECOND), infer));
        for (key, rows) in &found {
            let at = from[key.as_str()];
            assert_eq!(plain(&rows[..at]), plain(&first[key][..at]), "{key}: what was committed stays");
            assert_eq!(plain(&rows[at..]), plain(&second[key]), "{key}");
        }
        // The vectors matter: with the other list these keys have other outputs, one that neither has seen the same.
        let other = alone(&rest, &publish(FIRST), infer);
        for key in ["key-000", "key-002", "key-004"] {
            assert_ne!(plain(&second[key]), plain(&other[key]), "{key}");
        }
        assert_eq!(plain(&second["key-005"]), plain(&other["key-005"]));
    }
}
