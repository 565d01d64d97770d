//! `kolk models export NAME/3 DIR`: a version as others use it: the ONNX file, its card, and programs that step it.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::error::{Context, printable};
use crate::model::{Manifest, registry};
use crate::network::{Axis, Feed, Initial, Signature};
use crate::{Error, Result};

const STEP_PY: &str = include_str!("export/step.py");
const STEP_RS: &str = include_str!("../../../examples/step.rs");

/// Writes a version into a folder that is new or empty; returns what was written.
///
/// # Errors
/// No such version; a folder that holds something or can't be written.
pub(super) fn export(root: &Path, target: &str, to: &Path) -> Result<String> {
    let version = registry::open(root, target)?;
    let signature = version.manifest.signature()?;
    fs::create_dir_all(to).or_refused(|| format!("create {}", to.display()))?;
    if fs::read_dir(to).or_refused(|| format!("read {}", to.display()))?.next().is_some() {
        return Err(Error::refused(format!("{} is not empty: name a new folder", to.display())));
    }
    let mut graph = serde_json::to_value(&signature).or_failed(|| "write the signature as JSON".into())?;
    graph["window"] = json!(version.manifest.window);
    let graph = format!("{graph:#}\n");
    let card = card(&version.manifest, &signature);
    let fixed = [
        (registry::MODEL, version.onnx.as_slice()),
        ("card.yaml", card.as_bytes()),
        ("graph.json", graph.as_bytes()),
        ("step.py", STEP_PY.as_bytes()),
        ("step.rs", STEP_RS.as_bytes()),
    ];
    let more = version.files.iter().map(|(file, bytes)| (file.as_str(), bytes.as_slice()));
    let mut written = String::new();
    for (file, bytes) in fixed.into_iter().chain(more) {
        let path = to.join(file);
        let write = || File::create_new(&path)?.write_all(bytes);
        write().or_failed(|| format!("write {}", path.display()))?;
        // Writing to a string can't fail, here and below.
        let _ = writeln!(written, "{}", path.display());
    }
    Ok(written)
}

/// The card: what `kolk models import` would need to know.
fn card(manifest: &Manifest, signature: &Signature) -> String {
    let layout = if signature.inputs.iter().any(|input| input.tensor.has(Axis::Time)) { "time_first" } else { "step" };
    let mut out = String::new();
    if let Some(window) = manifest.window {
        let _ = writeln!(out, "# Trained on windows of {window} rows: its state is zero at the start of each.");
    }
    let _ = writeln!(out, "onnx: {}\nname: {}\nlayout: {layout}\ninputs:", registry::MODEL, text(&manifest.name));
    for input in &signature.inputs {
        let feed = match &input.feed {
            Feed::Columns(columns) => {
                for (at, column) in columns.iter().enumerate().filter(|(_, column)| column.lag > 0) {
                    let (name, lag) = (printable(&column.column), column.lag);
                    let _ = writeln!(out, "  # number {at} is {name} of {lag} rows of the key earlier");
                }
                let names: Vec<String> = columns.iter().map(|input| text(&input.column)).collect();
                format!("columns: [{}]", names.join(", "))
            }
            Feed::Ids { column, below } => format!("ids: {}, below: {below}", text(column)),
            Feed::PerKey(column) => format!("per_key: {}", text(column)),
        };
        let _ = writeln!(out, "  {}: {{ {feed}, shape: {} }}", text(&input.tensor.name), input.tensor.axes());
    }
    if !signature.states.is_empty() {
        out.push_str("states:\n");
    }
    for state in &signature.states {
        let init = match &state.initial {
            Initial::Zero => "zero".into(),
            Initial::Number(number) => number.to_string(),
            Initial::File(file) => format!("{{ file: {} }}", text(file)),
        };
        let (name, spec) = (text(&state.tensor.name), state.tensor.axes());
        let _ = writeln!(out, "  {name}: {{ out: {}, shape: {spec}, init: {init} }}", text(&state.out));
    }
    out.push_str("outputs:\n");
    for output in &signature.outputs {
        let ahead = output.forecast.as_ref().map(|ahead| {
            let targets: Vec<String> = ahead.targets.iter().map(|target| text(target)).collect();
            format!(", targets: [{}], horizon: {}", targets.join(", "), ahead.horizon)
        });
        let (name, column, spec) = (text(&output.tensor.name), text(&output.column), output.tensor.axes());
        let _ = writeln!(out, "  {name}: {{ column: {column}, shape: {spec}{} }}", ahead.unwrap_or_default());
    }
    if manifest.warm_up > 0 {
        let _ = writeln!(out, "warm_up: {}", manifest.warm_up);
    }
    out
}

/// A name in YAML: JSON's strings are YAML's.
fn text(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'))
        && !matches!(
            name.to_ascii_lowercase().as_str(),
            "y" | "n" | "yes" | "no" | "on" | "off" | "true" | "false" | "null"
        );
    if plain { name.into() } else { Value::from(name).to_string() }
}
