//! Versions with signatures, from training to runs: what is taken, and what is refused without anything having changed.

use std::path::Path;

use kolk::kernel::CellKind;
use kolk::model::ModelKind;

use super::common::*;

/// A file of the fixtures that PyPI's model-signing made.
fn fixture(name: &str) -> String {
    format!("{}/tests/fixtures/signed/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn only_versions_that_a_trusted_key_signed_are_run() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let at = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    write(&folder.join("data.parquet"), &series(3, 200), 64);
    publish(folder, "m", CellKind::Gru, ModelKind::Carry, None);
    let trusting = |keys: &str| {
        let extra = format!(
            "models: {{ path: models, public_key: {keys} }}\n\
             train: {{ target: value, layers: [ gru: 4 ], chunk: 16, updates: 5 }}"
        );
        pipeline(folder, "model: m", "stdout:", &extra).to_str().unwrap().to_owned()
    };
    let (first, other) = (fixture("first.pub"), fixture("other.pub"));
    let file = trusting(&first);
    let refused = |command: &str, expected: &str| {
        let (_, said) = kolk_exits(2, &[command, &file]);
        assert!(said.contains(expected) && said.contains("pipeline.yaml:9:"), "{command}: {expected}\n{said}");
    };
    for command in ["check", "run"] {
        refused(command, "models/m/1 is not signed");
    }

    // Signed by the command; the version is as before, and runs as without keys.
    let models = |code: i32, arguments: &[&str]| {
        let root = at("models");
        kolk_exits(code, &[&["models", "--models", root.as_str()], arguments].concat())
    };
    let key = fixture("first.key");
    models(0, &["sign", "m/1", "--sign-key", &key]);
    let (signed, _) = kolk_exits(0, &["run", &file]);
    let (_, said) = kolk_exits(2, &["run", &trusting(&format!("[{other}]"))]);
    assert!(said.contains("signed by another key"), "{said}");
    let (_, said) = kolk_exits(2, &["check", &trusting("none.pub")]);
    assert!(said.contains("pipeline.yaml:12:") && said.contains("none.pub: No such file"), "{said}");
    kolk_exits(0, &["check", &trusting(&format!("[{other}, {first}]"))]);
    kolk_exits(0, &["check", &trusting(&first)]);
    let plain = pipeline(folder, "model: m", "stdout:", "state: { path: plain }");
    assert!(!signed.is_empty() && kolk_exits(0, &["run", plain.to_str().unwrap()]).0 == signed);
    trusting(&first);

    // What isn't signed is refused by name, wherever the version is opened.
    let more = folder.join("models/m/1/weights.bin");
    std::fs::write(&more, "more").unwrap();
    for command in ["check", "run"] {
        refused(command, "weights.bin is not in the version's signature");
    }
    let public = ["--public-key", first.as_str()];
    for arguments in [&["export", "m/1", &at("exported")][..], &["promote", "m/1"], &["show", "m/1"]] {
        let (_, said) = models(2, &[arguments, &public].concat());
        assert!(said.contains("weights.bin is not in the version's signature"), "{said}");
    }
    let (_, said) = kolk_exits(2, &["summary", "m/1", "--models", &at("models")]);
    assert!(said.contains("weights.bin is not part of the version"), "{said}");
    std::fs::remove_file(more).unwrap();

    // Training: nothing is trained that nobody would take.
    let (_, said) = kolk_exits(2, &["train", &file]);
    assert!(said.contains("--sign-key") && said.contains("--no-champion"), "{said}");
    let wrong = trusting(&other);
    let (_, said) = kolk_exits(2, &["train", &wrong, "--sign-key", &key, "--no-champion"]);
    assert!(said.contains("is not one of `public_key`"), "{said}");
    let file = trusting(&first);
    let (out, _) = kolk_exits(0, &["train", &file, "--sign-key", &key, "--no-champion"]);
    assert_eq!(out.trim(), "m/2");
    kolk_exits(0, &["train", &file, "--no-champion"]);
    let champion = || std::fs::read_to_string(folder.join("models/m/champion")).unwrap();
    assert_eq!(champion(), "1\n");
    let (_, said) = models(2, &["promote", "m/3", "--public-key", &first]);
    assert!(said.contains("m/3 is not signed"), "{said}");
    models(0, &["promote", "m/2", "--public-key", &first]);
    assert_eq!(champion(), "2\n");
    kolk_exits(0, &["run", &file]);
    let (list, _) = models(0, &["list", "--public-key", &first]);
    let last = |number: usize| list.lines().nth(number).unwrap().split_whitespace().last().unwrap().to_owned();
    let hash = kolk::model::registry::sha256(&std::fs::read(&first).unwrap());
    assert_eq!([last(1), last(2), last(3)], [&hash[..12], &hash[..12], "refused"], "{list}");
    let (list, _) = models(0, &["list"]);
    assert!(list.contains("(unchecked)"), "{list}");
    assert!(models(0, &["show", "m/2"]).0.contains(&hash));
    assert!(Path::new(&at("models/m/2/model.sig")).exists() && !Path::new(&at("models/m/3/model.sig")).exists());
}
