//! Imported models in whole runs over Parquet files, in both modes: killed twice, gone on with over a further file and
//! with another version, equal to a loop in Python.

use super::common::*;
use super::foreign_models::*;
use super::retrained::killed_at;

const KEYS: usize = 6;
const ROWS: usize = 1_000;

#[test]
fn imported_models_of_both_modes_go_on_with_further_files_and_another_version() {
    for (mode, [first, second], is_window) in
        [("model: m", ["m1", "m2"], false), ("model: w, mode: window, window: 5", ["w1", "w2"], true)]
    {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        if !write_models(folder) {
            return;
        }
        import(folder, first);
        let (records, half) = (records(KEYS, ROWS), KEYS * ROWS / 2);
        write_records(&folder.join("data1.parquet"), &records[..half]);
        let file = folder.join("pipeline.yaml");
        let text = format!(
            "name: test\nsource: {{ parquet: {{ path: data*.parquet }} }}\n{}\
             sink: {{ parquet: {{ path: out/, part_records: 200 }} }}\n\
             dead_letters: {{ parquet: {{ path: refused/ }} }}\n\
             state: {{ path: state/, checkpoint_every: 1ms, or_records: 100, partitions: 3 }}\n\
             runtime: {{ workers: 1, batch: 32 }}\n",
            sections(mode).replace("{ column: ts, unit: ms }", "ts")
        );
        std::fs::write(&file, text).unwrap();
        let name = file.to_str().unwrap();
        assert!(killed_at(&file, folder, 2), "the run has to be killed in its middle");
        killed_at(&file, folder, 4);
        kolk_exits(0, &["run", name]);

        write_records(&folder.join("data2.parquet"), &records[half..]);
        import(folder, second);
        kolk_exits(0, &["check", name]);
        kolk_exits(0, &["run", name]);
        let eras = [Era { model: first, version: 1, from: 0 }, Era { model: second, version: 2, from: half }];
        let (expected, _) = expected(folder, &records, &eras, is_window);
        assert_close(&written(&folder.join("out")), &expected);
        let refused: usize = parts(&folder.join("refused")).iter().map(|part| part.num_rows()).sum();
        assert_eq!(refused, bad(&records));
    }
}
