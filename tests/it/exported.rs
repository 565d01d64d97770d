//! Exported versions: the programs that come with them give what kolk gives, and the card is one that kolk reads.

use std::path::Path;
use std::process::{Command, Stdio};

use kolk::config;
use kolk::kernel::CellKind;
use kolk::model::executor::library;
use kolk::model::signing::PublicKeys;
use kolk::model::{Manifest, ModelKind, registry};
use kolk::network::Layer;
use serde_json::Value;

use super::classes;
use super::common::*;
use super::foreign_models;
use super::official::python;

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

/// What a run writes, line by line, without the name of the version.
fn outputs(out: &str) -> Vec<Value> {
    let line = |line| {
        let mut row = serde_json::from_str::<Value>(line).unwrap();
        row.as_object_mut().unwrap().remove("model_version");
        row
    };
    out.lines().map(line).collect()
}

/// An exported version, imported by its card under another name, gives the same rows to the last bit.
#[test]
fn an_exported_card_is_imported_again() {
    let layers = [Layer::recurrent(CellKind::Gru, 7)];
    for (kind, window, lags, quantiles, infer, stage) in [
        (ModelKind::Carry, None, 2, &[0.1, 0.5, 0.9][..], "mode: carry", Some("lags: { value: 1..2 }")),
        (ModelKind::Carry, None, 0, &[][..], "mode: carry", None),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let models = folder.join("models").to_str().unwrap().to_owned();
        publish_forecast(folder, "m", &layers, kind, window, lags, quantiles);
        write(&folder.join("data.parquet"), &series(3, 40), 50);
        let run = |infer: &str, stage: Option<&str>| {
            let file = pipeline(folder, infer, "stdout: { fields: [value] }", "");
            let text = std::fs::read_to_string(&file).unwrap();
            let stages = stage.map_or("stages:\n".to_owned(), |stage| format!("stages:\n  - {stage}\n"));
            std::fs::write(&file, text.replace("stages:\n", &stages)).unwrap();
            outputs(&kolk_exits(0, &["run", file.to_str().unwrap()]).0)
        };
        // The model keeps its lags itself; the card asks a stage for them.
        let own = run(&format!("model: m, {infer}"), None);
        let to = folder.join("exported");
        kolk_exits(0, &["models", "export", "m/1", to.to_str().unwrap(), "--models", &models]);
        let card = to.join("card.yaml");
        let text = std::fs::read_to_string(&card).unwrap();
        for (word, is_there) in [("value_lag_2", lags > 0), ("quantiles: [0.1, 0.5, 0.9]", !quantiles.is_empty())] {
            assert_eq!(text.contains(word), is_there, "{text}");
        }
        std::fs::write(&card, text.replace("name: m", "name: again")).unwrap();
        let (_, said) = kolk_exits(0, &["models", "import", card.to_str().unwrap(), "--models", &models]);
        assert!(said.contains("published again/1, bitwise: yes"), "{said}");
        let again = run(&format!("model: again, {infer}"), stage);
        assert_eq!(own.len(), 120);
        assert!(own.iter().filter(|row| row["prediction"].is_array()).count() > 90, "{:?}", own.last());
        assert_eq!(again, own);
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
        for (found, program) in by_programs(folder, &to, &csv).iter().zip(["step.rs", "step.py"]) {
            agree(found, &wanted, program);
        }
    }
}

/// The programs give the answer of a sequence so far after each of its rows.
#[test]
fn a_model_of_sequences_is_stepped_too() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let models = folder.join("models");
    let rows = series(1, 9);
    write(&folder.join("data.parquet"), &rows, 50);
    let csv: String = rows.iter().map(|row| format!("{}\n", row.2)).collect();
    for (model, layers, pool) in classes::MODELS {
        classes::publish_classes(folder, model, layers, pool);
        let to = folder.join(format!("exported-{model}"));
        let (target, root) = (format!("{model}/1"), models.to_str().unwrap());
        kolk_exits(0, &["models", "export", &target, to.to_str().unwrap(), "--models", root]);
        let card = std::fs::read_to_string(to.join("card.yaml")).unwrap();
        assert!(card.contains("# The outputs are the probabilities of: go, \"no\", stay"), "{card}");
        let made = by_programs(folder, &to, &csv);
        for length in [1, 5, 9] {
            let infer = format!("model: {model}, mode: sequence");
            let fields = "stdout: { fields: [prediction_go, prediction_no, prediction_stay] }";
            let file = pipeline(folder, &infer, fields, "");
            let text = std::fs::read_to_string(&file).unwrap();
            let sequence = format!("values: [value]\n  sequence: {{ length: {length} }}");
            std::fs::write(&file, text.replace("values: [value]", &sequence)).unwrap();
            let (out, _) = kolk_exits(0, &["run", file.to_str().unwrap()]);
            let first: Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
            let of = |class: &&str| first[format!("prediction_{class}")].as_f64().unwrap();
            let wanted: Vec<f64> = classes::CLASSES.iter().map(of).collect();
            for (found, program) in made.iter().zip(["step.rs", "step.py"]) {
                agree(&found[length - 1..length], std::slice::from_ref(&wanted), program);
            }
        }
    }
}

/// What the programs of an export make of rows: that in Rust, and with Python at hand that in Python.
fn by_programs(folder: &Path, to: &Path, csv: &str) -> Vec<Vec<Vec<f64>>> {
    let environment = &library::library().unwrap().environment;
    let mut found = vec![numbers(&step::outputs(environment, to, csv).unwrap())];
    if let Some(python) = python() {
        std::fs::write(folder.join("rows.csv"), csv).unwrap();
        let rows = std::fs::File::open(folder.join("rows.csv")).unwrap();
        let out = Command::new(python).arg(to.join("step.py")).stdin(rows).stderr(Stdio::inherit()).output().unwrap();
        assert!(out.status.success());
        found.push(numbers(&String::from_utf8(out.stdout).unwrap()));
    }
    found
}

#[test]
fn an_imported_version_comes_back_by_its_export() {
    let files = tempfile::tempdir().unwrap();
    if !foreign_models::write_models(files.path()) {
        return;
    }
    for (card, infer, steps) in
        [("m1", "model: m", 1), ("m3", "model: m", 1), ("w1", "model: w, mode: window, window: 5", 5)]
    {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        for file in files_of(files.path(), card) {
            std::fs::copy(files.path().join(&file), folder.join(file)).unwrap();
        }
        foreign_models::import(folder, card);
        let mut records = foreign_models::records(1, 40);
        for (n, record) in records.iter_mut().enumerate() {
            record.value = record.value.or(Some(0.5));
            record.token %= 6;
            record.voice = Some([n as f64 * 0.25, 0.5]);
        }
        foreign_models::write_records(&folder.join("data.parquet"), &records);
        let file = folder.join("pipeline.yaml");
        let text = format!(
            "name: test\nsource: {{ parquet: {{ path: data.parquet }} }}\n{}sink: {{ parquet: {{ path: out/ }} }}\n",
            foreign_models::sections(infer).replace("{ column: ts, unit: ms }", "ts")
        );
        std::fs::write(&file, text).unwrap();
        kolk_exits(0, &["run", file.to_str().unwrap()]);
        let found = foreign_models::written(&folder.join("out"));
        let wanted = found["key-000"].iter().filter_map(|made| made.numbers.as_ref());
        let wanted: Vec<Vec<f64>> =
            wanted.map(|numbers| numbers.iter().map(|bits| f64::from_bits(*bits)).collect()).collect();
        assert_eq!(wanted.len(), 41 - steps);

        let (models, to) = (folder.join("models"), folder.join("exported"));
        let version = if card.starts_with('w') { "w/1" } else { "m/1" };
        let root = models.to_str().unwrap();
        kolk_exits(0, &["models", "export", version, to.to_str().unwrap(), "--models", root]);
        let row = |record: &foreign_models::Record| {
            let [a, b] = record.voice.unwrap();
            format!("{},{},{a},{b}\n", record.value.unwrap(), record.token)
        };
        let csv: String = records.iter().map(row).collect();
        for (found, program) in by_programs(folder, &to, &csv).iter().zip(["step.rs", "step.py"]) {
            agree(found, &wanted, program);
        }

        // The card brings the same graph with the same tensors back.
        let card = to.join("card.yaml");
        kolk_exits(0, &["models", "import", card.to_str().unwrap(), "--models", root]);
        let manifest = |number: &str| {
            registry::open(&models, &version.replace('1', number), &PublicKeys::none()).unwrap().manifest
        };
        let (first, second) = (manifest("1"), manifest("2"));
        assert_eq!(first.files[registry::MODEL], second.files[registry::MODEL]);
        let same = |manifest: &Manifest| {
            let files: Vec<String> = manifest.files.keys().cloned().collect();
            (manifest.signature.clone(), manifest.window, manifest.warm_up, manifest.bitwise, files)
        };
        assert_eq!(same(&first), same(&second));
    }
}

/// The files of a folder whose names begin with that of a model.
fn files_of(folder: &Path, model: &str) -> Vec<String> {
    files(folder).into_keys().filter(|name| name.starts_with(model)).collect()
}
