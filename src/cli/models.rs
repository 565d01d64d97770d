//! `kolk models list` and `kolk models show`: what the registry holds, as a table or as JSON.

use std::fmt::Write;
use std::path::Path;

use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};

use super::{ModelsArgs, ModelsCommand, print};
use crate::Result;
use crate::error::{Context, counted};
use crate::model::{Manifest, ModelKind, registry};

/// Errors of a manifest that are printed side by side: the model's and those of the naive forecasts.
const ERRORS: [(&str, &str); 3] = [("mae", "MAE"), ("mae_last_value", "last value"), ("mae_seasonal", "seasonal")];

/// Runs `kolk models`.
///
/// # Errors
/// A registry that can't be read; no such model.
pub fn command(args: &ModelsArgs) -> Result<()> {
    let text = match &args.command {
        ModelsCommand::List => list(&args.models, args.json)?,
        ModelsCommand::Show { name } => show(&args.models, name, args.json)?,
    };
    print(text.trim_end())
}

/// Every version of every model under `root`: a line for each of its targets, or a JSON list of versions.
pub fn list(root: &Path, as_json: bool) -> Result<String> {
    let mut versions = Vec::new();
    for entry in registry::list(root)? {
        for number in entry.versions {
            // An unreadable version is listed as such, so that the others are listed too.
            let manifest = registry::read_manifest(&root.join(&entry.name).join(number.to_string()));
            versions.push((entry.name.clone(), number, entry.champion == Some(number), manifest));
        }
    }
    if as_json {
        let list: Vec<Value> = versions
            .iter()
            .map(|(name, number, champion, manifest)| {
                let mut value = json!({ "name": name, "version": number, "champion": champion });
                match manifest {
                    Ok(manifest) => describe(&mut value, manifest),
                    Err(error) => value["error"] = error.to_string().into(),
                }
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
    let mut table = plain(&header);
    for (name, number, champion, manifest) in &versions {
        let mut start = vec![name.clone(), number.to_string(), if *champion { "*".into() } else { String::new() }];
        let Ok(manifest) = manifest else {
            start.push("(unreadable)".into());
            table.add_row(padded(start, header.len()));
            continue;
        };
        start.extend([kind(manifest), layers(manifest), parameters(manifest)]);
        for target in &manifest.targets {
            let mut row = start.clone();
            row.extend([target.clone(), manifest.horizon.to_string()]);
            row.extend(ERRORS.map(|(error, _)| metric(manifest, target, error)));
            table.add_row(row);
            // Lines of further targets don't repeat these cells.
            start.iter_mut().for_each(String::clear);
        }
    }
    Ok(trimmed(&mut table, &[1, 5, 7, 8, 9, 10]))
}

/// One version: `name` (its champion) or `name/3`. As JSON: the manifest, with `version` and `champion` added.
pub fn show(root: &Path, target: &str, as_json: bool) -> Result<String> {
    let (name, number) = registry::find(root, target)?;
    let folder = root.join(&name).join(number.to_string());
    let manifest = registry::read_manifest(&folder)?;
    let champion = registry::champion(root, &name)? == Some(number);
    if as_json {
        let mut value = serde_json::to_value(&manifest).or_failed(|| "write the manifest as JSON".into())?;
        value["version"] = number.into();
        value["champion"] = champion.into();
        return pretty(&value);
    }
    let inputs: Vec<String> = manifest
        .inputs
        .iter()
        .map(|input| match input.lag {
            0 => input.column.clone(),
            lag => format!("{} {} back", input.column, counted(lag, "row")),
        })
        .collect();
    let stages: Vec<String> = manifest.stages.iter().map(Value::to_string).collect();
    let mut lines = vec![
        ("model", format!("{name}/{number}{}", if champion { " (champion)" } else { "" })),
        ("folder", folder.display().to_string()),
        ("kind", kind(&manifest)),
        ("layers", layers(&manifest)),
        ("parameters", parameters(&manifest)),
        ("inputs", inputs.join(", ")),
        ("targets", manifest.targets.join(", ")),
        ("steps ahead", manifest.horizon.to_string()),
        ("stages before", if stages.is_empty() { "none".into() } else { stages.join("\n") }),
        ("warm-up", counted(manifest.warm_up, "row")),
        ("form", format!("{}, bitwise: {}", manifest.form, if manifest.bitwise { "yes" } else { "no" })),
        ("seed", manifest.seed.to_string()),
        ("data", manifest.data_hash.clone()),
        ("onnx", format!("opset {}, IR version {}", manifest.opset, manifest.ir_version)),
        ("checked with", format!("ONNX Runtime {}", manifest.onnx_runtime)),
    ];
    lines.extend(manifest.tz_database.iter().map(|version| ("tz database", version.clone())));
    lines.extend(manifest.files.iter().map(|(file, hash)| ("sha256", format!("{hash} {file}"))));
    let mut table = plain(&[]);
    for (word, text) in lines {
        table.add_row([word, &text]);
    }
    let mut text = trimmed(&mut table, &[]);
    let mut header = vec!["target"];
    header.extend(ERRORS.map(|(_, title)| title));
    let mut errors = plain(&header);
    for target in &manifest.targets {
        let mut row = vec![target.clone()];
        row.extend(ERRORS.map(|(error, _)| metric(&manifest, target, error)));
        errors.add_row(row);
    }
    // Writing to a string can't fail.
    let _ = write!(
        text,
        "\nerrors on held-out time, and those of the naive forecasts\n{}",
        trimmed(&mut errors, &[1, 2, 3])
    );
    Ok(text)
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

fn kind(manifest: &Manifest) -> String {
    match (manifest.kind, manifest.window) {
        (ModelKind::Carry, _) => "carry".into(),
        (ModelKind::Window, Some(window)) => format!("window of {window}"),
        (ModelKind::Window, None) => "window".into(),
    }
}

/// The layers in words; of the graphs of others only `kolk summary` knows them.
fn layers(manifest: &Manifest) -> String {
    manifest.architecture.as_ref().map_or("-".into(), |architecture| architecture.in_words())
}

fn parameters(manifest: &Manifest) -> String {
    manifest.architecture.as_ref().map_or("-".into(), |architecture| architecture.parameters().to_string())
}

/// An error of a target, to four digits; `-` where it wasn't measured.
fn metric(manifest: &Manifest, target: &str, error: &str) -> String {
    let Some(value) = manifest.metrics.get(&format!("{target}.{error}")) else { return "-".into() };
    let before = if value.abs() >= 1.0 { value.abs().log10() as i32 + 1 } else { 0 };
    if *value != 0.0 && value.abs() < 1e-3 {
        format!("{value:.3e}")
    } else {
        format!("{value:.*}", (4 - before).max(0) as usize)
    }
}

fn plain(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if !header.is_empty() {
        table.set_header(header);
    }
    table
}

fn padded(mut row: Vec<String>, columns: usize) -> Vec<String> {
    row.resize(columns, String::new());
    row
}

/// The table as lines without blanks around them, the columns of numbers to the right.
fn trimmed(table: &mut Table, right: &[usize]) -> String {
    for (i, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if right.contains(&i) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn pretty(value: &Value) -> Result<String> {
    let mut text = serde_json::to_string_pretty(value).or_failed(|| "write JSON".into())?;
    text.push('\n');
    Ok(text)
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
        let text = list(root.path(), false).unwrap();
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
                    "seasonal"
                ],
                vec!["air", "1", "(unreadable)"],
                vec!["air", "2", "*", "carry", "GRU(4), Dense(4)", "116", "temp", "2", "1.250", "2.500", "-"],
                vec!["pressure", "2", "-", "-", "12.50"],
            ],
            "{text}"
        );
        let json: Value = serde_json::from_str(&list(root.path(), true).unwrap()).unwrap();
        assert!(json[0]["error"].as_str().unwrap().contains("manifest.json"), "{json}");
        assert_eq!((json[1]["champion"].as_bool(), json[1]["metrics"]["temp.mae"].as_f64()), (Some(true), Some(1.25)));
    }

    #[test]
    fn an_empty_registry_is_an_empty_list() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(list(root.path(), false).unwrap(), "");
        assert_eq!(list(&root.path().join("none"), true).unwrap(), "[]\n");
    }

    #[test]
    fn one_version_is_shown_with_all_that_it_promises() {
        let root = tempfile::tempdir().unwrap();
        let version = published(root.path(), "air", 7);
        let text = show(root.path(), "air/1", false).unwrap();
        for part in [
            "air/1",
            "GRU(4), Dense(4)",
            "temp, temp 24 rows back",
            "opset 17",
            &version.manifest.files["model.onnx"],
            "12.50",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        let json: Value = serde_json::from_str(&show(root.path(), "air/1", true).unwrap()).unwrap();
        assert_eq!(
            (json["version"].as_u64(), json["champion"].as_bool(), json["seed"].as_u64()),
            (Some(1), Some(false), Some(7))
        );
        assert_eq!(show(root.path(), "air", false).unwrap_err().exit_code(), 2);
        assert_eq!(show(root.path(), "airs/1", false).unwrap_err().exit_code(), 2);
    }
}
