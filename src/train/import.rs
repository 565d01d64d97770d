//! From the weights of a file to a version: compare, check, publish.
//!
//! Must not live here: reading the file (`model::weights`).

use std::fmt::Write;

use super::init::Random;
use super::parity::check_parity;
use super::plan::input_text;
use super::publish::{Destination, manifest};
use super::report::html::{END, begin, escape, section};
use super::{Network, Plan};
use crate::model::weights::Found;
use crate::model::{Manifest, ModelKind, Version, onnx::export, registry};
use crate::network::{Architecture, Tensor};
use crate::{Error, Result};

/// Steps of the comparison of our network with its graph.
const STEPS: usize = 64;

/// Publishes the weights that were found in `file` (its name, and the sha256 of its bytes) as the plan's network.
/// Returns what the user should know too, a sentence each.
///
/// # Errors
/// Refused with every layer that doesn't fit the plan. A registry that can't be written; a graph that doesn't compute
/// what the network does.
pub fn import(to: Destination<'_>, plan: &Plan, found: Found, file: (&str, &str)) -> Result<(Version, Vec<String>)> {
    let (models, name, key) = (to.models, to.name.to_string(), to.key);
    let mut notes = found.notes.clone();
    notes.extend(found.note_on_classes(&plan.architecture));
    notes.extend(mode_note(plan, found.window));
    if !plan.embeddings.is_empty() {
        return Err(Error::refused(
            "weights of others are imported for networks without `train.embeddings`: their files don't say which text \
             has which id; import the graph instead (`kolk models import FILE.onnx`), with a column of ids",
        ));
    }
    let (architecture, tensors) = found.fit(&plan.architecture)?;
    finite(&tensors).map_err(|error| Error::refused(format!("{}: {error}", file.0)))?;
    let onnx = export::onnx(&architecture, &tensors, &name)?;
    let manifest = Manifest {
        data_hash: file.1.to_string(),
        from: Some(file.0.to_string()),
        ..manifest(&to, plan, &architecture)?
    };
    check_parity(&onnx, &manifest, &architecture, &tensors, (&inputs(&architecture, &tensors)?, STEPS))?;
    let version = registry::publish(models, manifest, &onnx, &report(&name, plan, &architecture, file, &notes), key)?;
    Ok((version, notes))
}

/// Refuses numbers that no training goes on with.
pub(super) fn finite(tensors: &[Tensor]) -> Result<()> {
    match tensors.iter().find(|tensor| tensor.data.iter().any(|number| !number.is_finite())) {
        Some(tensor) => Err(Error::refused(format!("{} has numbers that aren't finite", tensor.name))),
        None => Ok(()),
    }
}

/// Where the pipeline runs the network in another way than it was trained.
fn mode_note(plan: &Plan, window: Option<usize>) -> Option<String> {
    let rows = window?;
    let mode = match plan.kind {
        ModelKind::Window if plan.window == rows => return None,
        ModelKind::Window => format!("over windows of {}", plan.window),
        ModelKind::Carry => "with its state carried on".to_string(),
        ModelKind::Sequence => "over sequences of any length".to_string(),
    };
    Some(format!(
        "the file's model takes windows of {rows} rows from zero state, the pipeline runs it {mode}: its outputs differ \
         from those of the file and are often worse, unless it is trained further (`kolk train --from`); for the same \
         outputs write `mode: window, window: {rows}`"
    ))
}

/// Random inputs around the scaling's mean, [steps, features].
fn inputs(architecture: &Architecture, tensors: &[Tensor]) -> Result<Vec<f32>> {
    // Names and shapes are checked here.
    Network::<f32>::restored(architecture, tensors)?;
    let values = |name: &str| tensors.iter().find(|tensor| tensor.name == name).map(|tensor| &tensor.data);
    let (mean, sd) = (values("scaling/mean"), values("scaling/sd"));
    let mut random = Random::new(0);
    let features = architecture.features;
    let one = |at: usize| {
        let (mean, sd) = (mean.map_or(0.0, |mean| mean[at]), sd.map_or(1.0, |sd| sd[at]));
        mean + sd * random.normal() as f32
    };
    Ok((0..STEPS * features).map(|n| n % features).map(one).collect())
}

fn report(model: &str, plan: &Plan, architecture: &Architecture, file: (&str, &str), notes: &[String]) -> String {
    let mut out = begin(model, &format!("{}: {}", plan.head.headline(), architecture.in_words()));
    // Writing into a String can't fail.
    for note in notes {
        let _ = writeln!(out, "<p class=\"warning\">{}</p>", escape(note));
    }
    let words = "The weights are those of a file: nothing was trained or evaluated here. ONNX Runtime gives for them \
                 what our own network gives.";
    section(&mut out, "Imported weights", words.into());
    let inputs: Vec<String> = architecture.network.iter().map(|index| input_text(&plan.inputs[*index])).collect();
    let rows = [
        ("file", file.0.to_string()),
        ("sha256 of the file", file.1.to_string()),
        ("layers", architecture.in_words()),
        ("parameters", architecture.parameters().to_string()),
        ("inputs", inputs.join(", ")),
    ];
    out.push_str("<table class=\"text\">\n");
    for (word, value) in rows.into_iter().chain(plan.head.words()) {
        let _ = writeln!(out, "<tr><th>{word}</th><td>{}</td></tr>", escape(&value));
    }
    out.push_str("</table>\n");
    out.push_str(END);
    out
}
