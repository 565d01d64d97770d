//! Exported versions: the programs that come with them give what kolk gives, and the card is one that kolk reads.

use std::process::{Command, Stdio};

use kolk::config;
use kolk::kernel::CellKind;
use kolk::model::ModelKind;
use kolk::model::executor::library;
use serde_json::Value;

use super::common::*;

#[path = "../../examples/step.rs"]
#[allow(dead_code, missing_docs)]
mod step;

/// Lines of numbers, the way both programs print them.
fn numbers(text: &str) -> Vec<Vec<f64>> {
    text.lines().map(|line| line.split(',').map(|number| number.parse().unwrap()).collect()).collect()
}

fn agree(found: &[Vec<f64>], wanted: &[Vec<f64>], of: &str) {
    assert_eq!(found.len(), wanted.len(), "{of}");
    for (found, wanted) in found.iter().flatten().zip(wanted.iter().flatten()) {
        assert!((found - wanted).abs() < 1e-5 * wanted.abs().max(1.0), "{of}: {found} {wanted}");
    }
}

#[test]
fn the_programs_of_an_export_give_what_kolk_gives() {
    for (kind, window, infer) in
        [(ModelKind::Carry, None, "model: m"), (ModelKind::Window, Some(5), "model: m, mode: window, window: 5")]
    {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let models = folder.join("models");
        publish(folder, "m", CellKind::Lstm, kind, window);
        let rows = series(1, 40);
        write(&folder.join("data.parquet"), &rows, 100);
        let file = pipeline(folder, infer, "stdout: {}", "");
        let (out, _) = kolk_exits(0, &["run", file.to_str().unwrap()]);
        let lines = out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let wanted: Vec<Vec<f64>> =
            lines.filter_map(|row| serde_json::from_value(row["prediction"].clone()).ok()).collect();
        assert_eq!(wanted.len(), 41 - window.unwrap_or(1));

        let to = folder.join("exported");
        let arguments = ["models", "export", "m/1", to.to_str().unwrap(), "--models", models.to_str().unwrap()];
        let (said, _) = kolk_exits(0, &arguments);
        assert_eq!(said.lines().count(), 5, "{said}");
        assert_eq!(
            std::fs::read(to.join("model.onnx")).unwrap(),
            std::fs::read(models.join("m/1/model.onnx")).unwrap()
        );
        let (_, said) = kolk_exits(2, &arguments);
        assert!(said.contains("is not empty"), "{said}");

        let card = config::card(&to.join("card.yaml")).unwrap();
        assert_eq!((card.name.value.as_str(), card.states.len(), card.warm_up), ("m", 4, 3));
        assert_eq!(card.outputs.len(), 1);

        let csv: String = rows.iter().map(|row| format!("{}\n", row.2)).collect();
        std::fs::write(folder.join("rows.csv"), &csv).unwrap();
        let environment = &library::library().unwrap().environment;
        agree(&numbers(&step::outputs(environment, &to, &csv).unwrap()), &wanted, "step.rs");
        let Ok(python) = std::env::var("KOLK_PYTHON") else {
            assert!(std::env::var_os("CI").is_none(), "KOLK_PYTHON is not set in CI");
            continue;
        };
        let rows = std::fs::File::open(folder.join("rows.csv")).unwrap();
        let found = Command::new(python).arg(to.join("step.py")).stdin(rows).stderr(Stdio::inherit()).output().unwrap();
        assert!(found.status.success());
        agree(&numbers(&String::from_utf8(found.stdout).unwrap()), &wanted, "step.py");
    }
}
