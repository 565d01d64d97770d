//! `kolk schema` and `kolk check --effective`, the schema judged by a validator that others wrote.

use std::path::{Path, PathBuf};

use super::common::*;
use super::official;

/// What the official validator says of each file; nothing where there is no Python.
fn judged(folder: &Path, schema: &str, files: &[PathBuf]) -> Option<Vec<String>> {
    let python = official::python()?;
    let path = folder.join("schema.json");
    std::fs::write(&path, schema).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/check_schema.py");
    let out = std::process::Command::new(python).arg(script).arg(path).args(files).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    Some(String::from_utf8(out.stdout).unwrap().lines().map(String::from).collect())
}

const SHARED: &str = "\
x-window: &window { mode: window, window: 10 }
source: { parquet: { path: data.parquet } }
record: { key: key, time: ts, values: [value] }
stages: [ infer: { <<: *window, model: m } ]
state: { path: '${FOLDER}/state' }
";

#[test]
fn the_schema_takes_what_kolk_takes_and_refuses_what_it_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let (schema, _) = kolk_exits(0, &["schema"]);
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines")).unwrap() {
        let path = entry.unwrap().path();
        files.extend(path.extension().is_some_and(|extension| extension == "yaml").then_some(path));
    }
    let right = files.len();
    assert!(right >= 9, "{right}");
    let whole = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines/aus_retail.yaml")).unwrap();
    // Misspelt fields, at the top and within, and values that are none.
    for (i, (from, to)) in [
        ("\nsource:", "\nsourc:"),
        ("parquet:", "parqet:"),
        ("\nrecord:", "\nrecrd:"),
        ("infer:", "infr:"),
        ("horizon:", "horizn:"),
        ("layers:", "layer:"),
        ("name:", "# name:"),
        ("model:", "modell:"),
    ]
    .into_iter()
    .enumerate()
    {
        assert!(whole.contains(from), "{from}");
        let path = folder.path().join(format!("wrong-{i}.yaml"));
        std::fs::write(&path, whole.replacen(from, to, 1)).unwrap();
        let (_, errors) = kolk_exits(2, &["check", path.to_str().unwrap()]);
        let is_named = ["unknown field", "unknown stage", "needs `name`"].iter().any(|what| errors.contains(what));
        assert!(is_named, "{to}: {errors}");
        files.push(path);
    }
    if let Some(found) = judged(folder.path(), &schema, &files) {
        assert_eq!(found.len(), files.len());
        for (i, (found, file)) in found.iter().zip(&files).enumerate() {
            assert_eq!(found == "ok", i < right, "{}: {found}", file.display());
        }
    }
}

#[test]
fn the_effective_form_can_be_read_again() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("shared")).unwrap();
    write(&folder.path().join("shared/data.parquet"), &series(1, 50), 1000);
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    };
    let shared = file("shared/base.yaml", SHARED);
    let main = "include: shared/base.yaml\nname: p\nstages: [ scale: { values: [value], half_life: 9 } ]\nsink: { parquet: { path: out } }\n";
    let main = file("main.yaml", main);
    let path = main.to_str().unwrap();
    let run = |args: &[&str]| {
        let out = std::process::Command::new(env!("CARGO_BIN_EXE_kolk"))
            .args(args)
            .env("FOLDER", folder.path())
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (out.status.code(), text(out.stdout), text(out.stderr))
    };
    let (code, effective, errors) = run(&["check", "--effective", path]);
    assert_eq!(code, Some(0), "{errors}");
    let again = file("elsewhere/again.yaml", &effective);
    let (_, twice, _) = run(&["check", "--effective", again.to_str().unwrap()]);
    assert_eq!(twice, effective);
    // It runs, and gives the same; the state of the one is that of the other.
    let (code, _, errors) = run(&["run", path]);
    assert!(code == Some(0) && errors.contains("p: 50 records of 1 key in "), "{errors}");
    let (code, _, errors) = run(&["run", again.to_str().unwrap()]);
    assert!(code == Some(0) && errors.contains("already finished, nothing to do"), "{errors}");

    let (schema, _) = kolk_exits(0, &["schema"]);
    if let Some(found) = judged(folder.path(), &schema, &[main.clone(), again, shared.clone()]) {
        assert_eq!(found[..2], ["ok", "ok"]);
        assert!(found[2].contains("'name' is a required property"), "{found:?}");
    }
    let (schema, _) = kolk_exits(0, &["schema", "--shared"]);
    assert!(judged(folder.path(), &schema, std::slice::from_ref(&shared)).is_none_or(|found| found == ["ok"]));

    // A problem names the file that it is in.
    std::fs::write(&shared, SHARED.replace("mode: window", "mode: windw")).unwrap();
    std::fs::write(&main, std::fs::read_to_string(&main).unwrap().replace("stages:", "x-stages:")).unwrap();
    let (code, out, errors) = run(&["check", "--effective", path]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    let line = format!("{}:1:27: `mode`: expected one of: carry, window", shared.display());
    assert!(errors.starts_with(&line), "{errors}");
}
