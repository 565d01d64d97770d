//! What `kolk train` publishes, seen by others: the official ONNX checker and plain ONNX Runtime from Python.

use std::process::Command;

use super::common::*;
use kolk::kernel::CellKind;
use kolk::model::onnx::import;
use kolk::model::signing::PublicKeys;
use kolk::model::{ModelKind, registry};
use kolk::train::Network;
use serde_json::json;

/// The interpreter that `make test` prepared; elsewhere the test can't run, and says so.
pub fn python() -> Option<String> {
    let python = std::env::var("KOLK_PYTHON").ok();
    if python.is_none() {
        assert!(std::env::var_os("CI").is_none(), "KOLK_PYTHON is not set in CI");
        eprintln!("KOLK_PYTHON is not set (make test sets it): the tests with it were not run");
    }
    python
}

#[test]
fn checker_and_plain_onnx_runtime_agree() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    for (i, cell) in [CellKind::RnnTanh, CellKind::RnnRelu, CellKind::Lstm, CellKind::Gru].into_iter().enumerate() {
        let name = format!("m{i}");
        publish(folder.path(), &name, cell, ModelKind::Carry, None);
        let version = registry::open(&folder.path().join("models"), &name, &PublicKeys::none()).unwrap();
        let (architecture, tensors) = import::network(&version.onnx).unwrap();
        let (t, b) = (7, 3);
        let x: Vec<f32> = (0..t * b).map(|i| (i as f32 * 0.7).sin() * 9.0 + 12.0).collect();
        let y = Network::<f32>::restored(&architecture, &tensors).unwrap().outputs(&x, t, b);
        let case = json!({
            "inputs": { "x": { "shape": [t, b, 1], "data": x } },
            "expected": { "y": { "shape": [t, b, 2], "data": y } },
            "tolerance": 1e-5,
        });
        let case_file = folder.path().join("case.json");
        std::fs::write(&case_file, case.to_string()).unwrap();
        let output = finished(
            Command::new(&python)
                .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/check_onnx.py"))
                .args([version.folder.join(registry::MODEL), case_file]),
        );
        assert!(output.status.success(), "{cell:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
