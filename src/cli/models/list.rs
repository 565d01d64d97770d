//! `kolk models list`: what the registry holds, as a table or as JSON.

use std::path::Path;

use serde_json::{Value, json};

use super::sign::Signer;
use super::{ERRORS, kind, layers, metric, padded, parameters, plain, pretty, trimmed};
use crate::Result;
use crate::model::signing::PublicKeys;
use crate::model::{Manifest, registry};

/// Every version of every model under `root`: a line for each of its targets, or a JSON list of versions.
pub fn list(root: &Path, as_json: bool, keys: &PublicKeys) -> Result<String> {
    let mut versions = Vec::new();
    for entry in registry::list(root)? {
        for number in entry.versions {
            // An unreadable version is listed as such, so that the others are listed too.
            let manifest = registry::read_manifest(&root.join(&entry.name).join(number.to_string()));
            let signer = Signer::of(root, &entry.name, number, keys);
            versions.push((entry.name.clone(), number, entry.champion == Some(number), manifest, signer));
        }
    }
    if as_json {
        let list: Vec<Value> = versions
            .iter()
            .map(|(name, number, champion, manifest, signer)| {
                let mut value = json!({ "name": name, "version": number, "champion": champion });
                match manifest {
                    Ok(manifest) => describe(&mut value, manifest),
                    Err(error) => value["error"] = error.to_string().into(),
                }
                signer.describe(&mut value);
                value
            })
            .collect();
        return pretty(&Value::Array(list));
    }
    if versions.is_empty() {
        return Ok(String::new());
    }
    let mut header = vec!["model", "version", "champion", "kind", "layers", "parameters", "target", "steps"];
    header.extend(ERRORS.map(|(_, title)| title));
    header.push("signed by");
    let mut table = plain(&header);
    for (name, number, champion, manifest, signer) in &versions {
        let mut start = vec![name.clone(), number.to_string(), if *champion { "*".into() } else { String::new() }];
        let Ok(manifest) = manifest else {
            start.push("(unreadable)".into());
            table.add_row(padded(start, header.len()));
            continue;
        };
        start.extend([kind(manifest), layers(manifest), parameters(manifest)]);
        if manifest.targets.is_empty() {
            let mut row = padded(start.clone(), header.len() - 1);
            row.push(signer.short());
            table.add_row(row);
        }
        for (i, target) in manifest.targets.iter().enumerate() {
            let mut row = start.clone();
            row.extend([target.clone(), manifest.horizon.to_string()]);
            row.extend(ERRORS.map(|(error, _)| metric(manifest, target, error)));
            row.push(if i == 0 { signer.short() } else { String::new() });
            table.add_row(row);
            // Lines of further targets don't repeat these cells.
            start.iter_mut().for_each(String::clear);
        }
    }
    Ok(trimmed(&mut table, &[1, 5, 7, 8, 9, 10]))
}

/// What a list says about a version, after its name.
fn describe(value: &mut Value, manifest: &Manifest) {
    value["kind"] = json!(manifest.kind);
    value["window"] = json!(manifest.window);
    value["layers"] = json!(manifest.architecture.as_ref().map(|architecture| architecture.in_words()));
    value["parameters"] = json!(manifest.architecture.as_ref().map(|architecture| architecture.parameters()));
    value["targets"] = json!(manifest.targets);
    value["horizon"] = manifest.horizon.into();
    value["metrics"] = json!(manifest.metrics);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::testing::published;

    #[test]
    fn a_list_has_a_line_per_target_with_the_errors_beside_the_naive_ones() {
        let root = tempfile::tempdir().unwrap();
        published(root.path(), "air", 1);
        published(root.path(), "air", 2);
        registry::set_champion(root.path(), "air", 2).unwrap();
        std::fs::write(root.path().join("air/1/manifest.json"), "{").unwrap();
        let text = list(root.path(), false, &PublicKeys::none()).unwrap();
        let cells: Vec<Vec<&str>> =
            text.lines().map(|line| line.split("  ").map(str::trim).filter(|c| !c.is_empty()).collect()).collect();
        assert_eq!(
            cells,
            [
                vec![
                    "model",
                    "version",
                    "champion",
                    "kind",
                    "layers",
                    "parameters",
                    "target",
                    "steps",
                    "MAE",
                    "last value",
                    "seasonal",
                    "signed by"
                ],
                vec!["air", "1", "(unreadable)"],
                vec!["air", "2", "*", "carry", "GRU(4), Dense(4)", "116", "temp", "2", "1.250", "2.500", "-", "-"],
                vec!["pressure", "2", "-", "-", "12.50"],
            ],
            "{text}"
        );
        let json: Value = serde_json::from_str(&list(root.path(), true, &PublicKeys::none()).unwrap()).unwrap();
        assert!(json[0]["error"].as_str().unwrap().contains("manifest.json"), "{json}");
        assert_eq!((json[1]["champion"].as_bool(), json[1]["metrics"]["temp.mae"].as_f64()), (Some(true), Some(1.25)));
    }

    #[test]
    fn an_empty_registry_is_an_empty_list() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(list(root.path(), false, &PublicKeys::none()).unwrap(), "");
        assert_eq!(list(&root.path().join("none"), true, &PublicKeys::none()).unwrap(), "[]\n");
    }
}
