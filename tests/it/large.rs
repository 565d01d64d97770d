//! Data that are larger than the memory of a training.

use std::path::Path;
use std::process::Command;

use super::common::{self, Row};

const KEYS: usize = 8;
const ROWS: usize = 40_000;
/// Bytes of heap that the process may have: less than the rows take with what a training needs besides.
const HEAP: usize = 190 << 20;

/// Trains in a folder with this `train.memory`; `heap`: a limit of the process' heap. Gives whether it did.
fn train(folder: &Path, memory: &str, heap: Option<usize>) -> bool {
    let file = folder.join(format!("{memory}.yaml"));
    let text = format!(
        "name: large\nsource: {{ parquet: {{ path: data.parquet }} }}\nrecord: {{ key: key, time: ts, values: [value] }}\n\
         stages: [ lags: {{ value: [1..96] }}, infer: {{ model: m }} ]\n\
         train: {{ target: value, layers: [ gru: 4 ], skip: linear, updates: 3, memory: {memory}, \
         split: {{ rows: [{}, 0, 100] }} }}\n",
        ROWS - 200
    );
    std::fs::write(&file, text).unwrap();
    let limit = heap.map_or(String::new(), |bytes| format!("ulimit -d {};", bytes / 1024));
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("{limit} exec \"$0\" train \"$1\"")).arg(env!("CARGO_BIN_EXE_kolk")).arg(file);
    let output = common::finished(&mut command);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() || heap.is_some(), "{said}");
    output.status.success()
}

#[test]
fn what_is_larger_than_the_memory_is_in_files_and_trains_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let rows: Vec<Row> = common::series(KEYS, ROWS);
    common::write(&folder.path().join("data.parquet"), &rows, 20_000);
    assert!(!train(folder.path(), "100GB", Some(HEAP)), "the limit is too high to show anything");
    assert!(train(folder.path(), "5MB", Some(HEAP)));
    assert!(train(folder.path(), "100GB", None));
    let model = |version: usize| std::fs::read(folder.path().join(format!("models/m/{version}/model.onnx"))).unwrap();
    assert!(model(1) == model(2));
    let left: Vec<_> =
        std::fs::read_dir(folder.path().join("models")).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with('.')), "{left:?}");
}
