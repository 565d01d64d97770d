//! The versions in `models/`: small, of this program and these data, and enough to run the pipelines of a fresh clone.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::common::*;

const MODELS: [&str; 3] = ["weather-gru", "weather-lstm", "weather-rnn"];
const MOST_BYTES: usize = 300_000;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn version(models: &Path, name: &str) -> PathBuf {
    models.join(name).join("1")
}

/// A manifest without what depends on the last bits of a training; and its errors.
fn read(folder: &Path) -> (Value, Value) {
    let text = std::fs::read_to_string(folder.join("manifest.json")).unwrap();
    let mut manifest: Value = serde_json::from_str(&text).unwrap();
    let fields = manifest.as_object_mut().unwrap();
    let metrics = fields.remove("metrics").unwrap();
    ["files", "warm_up"].into_iter().for_each(|name| drop(fields.remove(name).unwrap()));
    (manifest, metrics)
}

#[test]
fn make_models_makes_what_is_published() {
    let published = repository().join("models");
    let made = tempfile::tempdir().unwrap();
    let made = made.path();
    let mut command = Command::new(repository().join("scripts/make_models.sh"));
    let output = finished(command.arg(made).env("KOLK_BINARY", env!("CARGO_BIN_EXE_kolk")));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let machine = |folder: &Path| std::fs::read_to_string(folder.join("made_on")).unwrap();
    let is_alike = machine(made) == machine(&published);
    for name in MODELS {
        let (there, again) = (files(&version(&published, name)), files(&version(made, name)));
        let bytes: usize = there.values().map(Vec::len).sum();
        assert!((1..MOST_BYTES).contains(&bytes), "{name}: {bytes} bytes");
        assert!(there.keys().eq(again.keys()), "{name}: {:?}, {:?}", there.keys(), again.keys());
        assert_eq!(files(&published.join(name)), files(&made.join(name)), "{name}: champion");
        if is_alike {
            for (file, bytes) in &there {
                assert!(again[file] == *bytes, "models/{name}/1/{file} has other bytes than `make models` gives");
            }
            continue;
        }
        let ((there, errors), (again, now)) = (read(&version(&published, name)), read(&version(made, name)));
        assert_eq!(there, again, "{name}");
        for (metric, error) in errors.as_object().unwrap() {
            let (error, now) = (error.as_f64().unwrap(), now[metric].as_f64().unwrap());
            assert!((error - now).abs() <= 0.05 * error.abs(), "{name}: {metric} was {error}, is {now}");
        }
    }
    if !is_alike {
        println!("compared by their errors, since this machine is another one:\n{}", machine(made));
    }
}

#[test]
fn the_pipelines_of_a_fresh_clone_run() {
    let clone = tempfile::tempdir().unwrap();
    let clone = clone.path();
    let mut command = Command::new("cp");
    command.args(["-r", "models", "data", "pipelines"]).arg(clone).current_dir(repository());
    assert!(finished(&mut command).status.success());
    for name in MODELS {
        let file = clone.join("pipelines").join(format!("{}.yaml", name.replace('-', "_")));
        for word in ["check", "run"] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_kolk"));
            let output = finished(command.arg(word).arg(&file).env_remove("KOLK_OUT").env("TZDIR", clone));
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success() && !said.contains("WARN"), "{word} {name}: {said}");
        }
        let rows = rows(&clone.join("out/demo").join(name));
        assert_eq!(rows.len(), 3, "{name}: keys");
        assert_eq!(rows.values().map(Vec::len).sum::<usize>(), 4317, "{name}: rows");
    }
    for name in MODELS {
        let (there, now) = (repository().join("models").join(name), clone.join("models").join(name));
        assert_eq!(files(&now), files(&there), "{name}: a run publishes nothing");
    }
}
