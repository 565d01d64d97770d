//! `kolk models export NAME/3 DIR`: a version as others use it: the ONNX file, its card, and programs that step it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::config::Layout;
use crate::error::{Context, printable};
use crate::model::card::{key, value};
use crate::model::import::npy;
use crate::model::signing::PublicKeys;
use crate::model::{Manifest, Version, registry};
use crate::network::{Axis, Feed, Initial, Input, Run, Signature};
use crate::{Error, Result};

const STEP_PY: &str = include_str!("export/step.py");
const STEP_RS: &str = include_str!("../../../examples/step.rs");

/// Writes a version into a folder that is new or empty; returns what was written.
///
/// # Errors
/// No such version; a folder that holds something or can't be written.
pub(super) fn export(root: &Path, target: &str, to: &Path, keys: &PublicKeys) -> Result<String> {
    let version = registry::open(root, target, keys)?;
    let (signature, files) = with_arrays(&version)?;
    fs::create_dir_all(to).or_refused(|| format!("create {}", to.display()))?;
    if fs::read_dir(to).or_refused(|| format!("read {}", to.display()))?.next().is_some() {
        return Err(Error::refused(format!("{} is not empty: name a new folder", to.display())));
    }
    let mut graph = serde_json::to_value(&signature).or_failed(|| "write the signature as JSON".into())?;
    graph["window"] = json!(version.manifest.window);
    if let Some(groups) = &version.manifest.groups {
        graph["groups"] = serde_json::to_value(groups).or_failed(|| "write the groups as JSON".into())?;
    }
    let graph = format!("{graph:#}\n");
    let card = card(&version.manifest, &signature);
    let fixed = [
        (registry::MODEL, version.onnx.as_slice()),
        ("card.yaml", card.as_bytes()),
        ("graph.json", graph.as_bytes()),
        ("step.py", STEP_PY.as_bytes()),
        ("step.rs", STEP_RS.as_bytes()),
    ];
    let more = files.iter().map(|(file, bytes)| (file.as_str(), bytes.as_slice()));
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

/// The tensors of a version and its files, those of initial states as NumPy has them: a card takes no others.
fn with_arrays(version: &Version) -> Result<(Signature, BTreeMap<String, Vec<u8>>)> {
    let (mut signature, mut files) = (version.manifest.signature()?, version.files.clone());
    for state in &mut signature.states {
        if let Initial::File(name) = &mut state.initial
            && let Some(bytes) = files.remove(name.as_str())
        {
            *name = Path::new(name).with_extension("npy").display().to_string();
            files.insert(name.clone(), npy::array(&bytes, &state.tensor));
        }
    }
    Ok((signature, files))
}

/// How the axes lie.
fn layout(manifest: &Manifest, signature: &Signature) -> Layout {
    if is_window(manifest) {
        return Layout::Window;
    }
    let Some(input) = signature.inputs.iter().find(|input| input.tensor.has(Axis::Time)) else {
        return Layout::Step;
    };
    let place = |axis: Axis| input.tensor.shape.iter().position(|other| *other == axis);
    match (place(Axis::Time), place(Axis::Batch)) {
        (_, None) => Layout::TimeOnly,
        (time, batch) if time < batch => Layout::TimeFirst,
        _ => Layout::BatchFirst,
    }
}

/// Whether a graph of others takes windows. Our own carry a state, which is zero at the start of each.
fn is_window(manifest: &Manifest) -> bool {
    manifest.window.is_some() && manifest.signature.is_some()
}

/// The card: what `kolk models import` would need to know.
fn card(manifest: &Manifest, signature: &Signature) -> String {
    let mut out = String::new();
    if let Some(window) = manifest.window.filter(|_| !is_window(manifest)) {
        let _ = writeln!(out, "# Trained on windows of {window} rows: its state is zero at the start of each.");
    }
    if let Some(lengths) = &signature.lengths {
        let _ = writeln!(
            out,
            "# Trained on sequences: \"{}\" takes the steps of each, and the output is that of its end. `kolk models \
             import` can't know that yet.",
            lengths.name
        );
    }
    if !manifest.classes.is_empty() {
        let classes: Vec<String> = manifest.classes.iter().map(|class| value(class)).collect();
        let _ = writeln!(out, "# The outputs are the probabilities of: {}", printable(&classes.join(", ")));
    }
    if let Some(groups) = &manifest.groups {
        let of = groups.column.as_deref().unwrap_or("the key");
        let files = groups.networks.iter().map(|network| format!("{} {}", network.file, value(&network.value)));
        let files = files.collect::<Vec<_>>().join(", ");
        let _ = writeln!(
            out,
            "# This graph is for whatever has none of its own. By {}: {}",
            printable(of),
            printable(&files)
        );
    }
    if !manifest.stages.is_empty() {
        let stages = Value::from(manifest.stages.clone()).to_string();
        let _ = writeln!(out, "# The stages before `infer` that it was trained with: {}", printable(&stages));
    }
    let (name, layout) = (value(&manifest.name), layout(manifest, signature).word());
    let _ = writeln!(out, "onnx: {}\nname: {name}\nlayout: {layout}", registry::MODEL);
    if let Some(window) = manifest.window.filter(|_| is_window(manifest)) {
        let _ = writeln!(out, "window: {window}");
    }
    out.push_str("inputs:\n");
    for input in &signature.inputs {
        let feed = match &input.feed {
            Feed::Columns(columns) => {
                if columns.iter().any(|column| column.lag > 0) {
                    out.push_str("  # what ends in _lag_1 and so on, a stage makes: `lags: { value: [1] }`\n");
                }
                let name = |column: &Input| match column.lag {
                    0 => value(&column.column),
                    lag => value(&format!("{}_lag_{lag}", column.column)),
                };
                let mut names: Vec<String> = columns.iter().map(name).collect();
                // All numbers of a vector follow each other.
                if columns.iter().any(|column| column.ahead > 0) {
                    names.dedup();
                }
                format!("columns: [{}]", names.join(", "))
            }
            Feed::Ids { column, below } => format!("ids: {}, below: {below}", value(column)),
            Feed::PerKey(column) => format!("per_key: {}", value(column)),
            Feed::Key(_) => {
                out.push_str("  # the place of the key in the version's list of keys; 0 is every other key\n");
                "constant: 0".to_owned()
            }
            Feed::Tokens { column, tokens } => {
                out.push_str("  # the place of the text in the list of graph.json, from 1; 0 is every other text\n");
                format!("ids: {}, below: {}", value(column), tokens.len() + 1)
            }
        };
        let _ = writeln!(out, "  {}: {{ {feed}, shape: {} }}", key(&input.tensor.name), input.tensor.axes());
    }
    if !signature.states.is_empty() {
        out.push_str("states:\n");
    }
    for state in &signature.states {
        let init = match &state.initial {
            Initial::Zero => "zero".into(),
            Initial::Number(number) => number.to_string(),
            Initial::File(file) => format!("{{ file: {} }}", value(file)),
        };
        let (name, spec) = (key(&state.tensor.name), state.tensor.axes());
        let _ = writeln!(out, "  {name}: {{ out: {}, shape: {spec}, init: {init} }}", value(&state.out));
    }
    out.push_str("outputs:\n");
    for output in &signature.outputs {
        let ahead = output.forecast.as_ref().map(|ahead| {
            let targets: Vec<String> = ahead.targets.iter().map(|target| value(target)).collect();
            let quantiles: Vec<String> = manifest.quantiles.iter().map(f64::to_string).collect();
            let quantiles = match ahead.quantiles {
                0 => String::new(),
                _ => format!(", quantiles: [{}]", quantiles.join(", ")),
            };
            format!(", targets: [{}], horizon: {}{quantiles}", targets.join(", "), ahead.horizon)
        });
        let (name, column, spec) = (key(&output.tensor.name), value(&output.column), output.tensor.axes());
        let _ = writeln!(out, "  {name}: {{ column: {column}, shape: {spec}{} }}", ahead.unwrap_or_default());
    }
    // What the card didn't ask for is found again; what differs in last bits only was asked for, or is found too.
    if manifest.signature.is_some() {
        let has_time = signature.inputs.iter().all(|input| input.tensor.has(Axis::Time));
        for (word, run, counts) in [("batch", signature.batch, true), ("steps", signature.steps, has_time)] {
            match run {
                Run::One => {
                    let _ = writeln!(out, "{word}: one");
                }
                Run::Many if !manifest.bitwise && counts => {
                    let _ = writeln!(out, "{word}: many");
                }
                Run::Many => {}
            }
        }
    }
    if manifest.warm_up > 0 {
        let _ = writeln!(out, "warm_up: {}", manifest.warm_up);
    }
    out
}
