//! A graph of others becomes a version: it is fitted to its card, run, and what serving relies on is proved.
//!
//! Lives here: the steps and the proofs. Must not live here: reading a card (`config::card`) and comparing it with the
//! file (`model::card`); records of a pipeline (`runtime`).

mod axes;
mod carried;
mod cost;
mod lab;
pub mod npy;
mod passes;
mod proofs;
mod reference;
mod report;
mod rows;
#[cfg(test)]
mod tests;
mod unchanged;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use self::carried::Measured;
pub use self::cost::{Cost, cost};
use self::lab::Lab;
use self::passes::Ready;
use self::proofs::{Asked, Proved};
use self::rows::Set;
pub use self::rows::{Asked as AskedRows, Rows, RowsOf, Sequence};
use super::card::{Resolved, Width, resolve};
use super::executor::{library, limits};
use super::onnx::operators::{Class, Finding};
use super::onnx::proto::ModelProto;
use super::onnx::{self, file};
use super::signing::SigningKey;
use super::{Manifest, ModelKind, Version, registry};
use crate::config::{Card, Runs};
use crate::error::Problems;
use crate::network::{Axis, Element, Feed, Initial, OutputTensor, Run, Signature, StatePair};
use crate::{Error, Result};

/// A graph of others that can be published.
#[derive(Debug)]
pub struct Imported {
    /// What its manifest will say.
    pub manifest: Manifest,
    /// What it loses.
    pub warnings: Vec<String>,
    /// What running it one by one costs, where it has to be run so.
    pub cost: Option<Cost>,
    onnx: Vec<u8>,
    files: BTreeMap<String, Vec<u8>>,
    report: String,
}

impl Imported {
    /// Publishes it as the next version, signed if there is a key.
    ///
    /// # Errors
    /// A registry that can't be written.
    pub fn publish(self, models: &Path, key: Option<&SigningKey>) -> Result<Version> {
        registry::publish_with(models, self.manifest, &self.onnx, &self.report, self.files, key)
    }
}

/// What a graph is fitted to and proved on besides its card.
#[derive(Clone, Copy)]
pub struct Beside<'a> {
    /// How wide a column is, where that is known.
    pub width: Width<'a>,
    /// Rows of the user's data.
    pub rows: Option<RowsOf<'a>>,
    /// An `.npz` with inputs and outputs of the original framework.
    pub reference: Option<&'a Path>,
}

/// Fits a graph to its card and proves what serving relies on.
///
/// # Errors
/// Refused: a card that doesn't fit its file, with every difference; a graph that doesn't run.
pub fn import(card: &Card, beside: Beside<'_>, progress: &mut dyn FnMut(&str, usize, usize)) -> Result<Imported> {
    let Prepared { resolved, original, mut ready, mut notes, findings, opset, ir_version } =
        prepare(card, beside.width)?;
    let window = card.as_window();
    let run = |runs: &crate::config::At<Runs>| if runs.value == Runs::Many { Run::Many } else { Run::One };
    let quantised = findings.iter().any(|finding| finding.operator.contains("DynamicQuantize"));
    let asked = Asked { batch: card.batch.as_ref().map(run), steps: card.steps.as_ref().map(run), window, quantised };
    if let (Some(why), Some(batch), Some(Run::Many)) = (&ready.seen.one_by_one, &card.batch, asked.batch) {
        return Err(card.refused(batch.place, format!("`batch: many` can't be: {why}")));
    }
    let file = |name: &str| resolved.files.get(name).map(Vec::as_slice);
    let alone = ready.seen.one_by_one.clone();
    let alone = alone.or_else(|| cross_row(&findings).filter(|_| asked.batch != Some(Run::Many)));
    let rows = beside.rows.map(|rows| rows_of(rows, card, &ready.seen.signature)).transpose()?.flatten();
    let mut sets = sets(&ready.seen.signature, rows.as_ref(), card.window_rows(), alone.is_some())?;
    notes.extend(std::mem::take(&mut ready.notes));
    notes.extend(unchanged::prove(&original, &resolved, &ready, &sets, quantised)?);
    let mut measured = Measured::default();
    if let (Some(steps), Some(mode)) = (card.window_rows(), card.mode.as_ref().filter(|_| window.is_none())) {
        let Some(rows) = &rows else { return Err(card.refused(mode.place, CARRY_NEEDS_DATA)) };
        let carried = carried::carried(card, mode.place, &ready, &resolved)?;
        measured = carried::both(&ready, &carried, (rows, steps), alone.is_some(), &resolved.files)?;
        notes.extend(carried.notes.iter().cloned());
        ready = carried;
        sets = self::sets(&ready.seen.signature, Some(rows), None, alone.is_some())?;
    }
    let Ready { graph, seen, .. } = ready;
    let one_by_one = seen.one_by_one.clone();
    let lab = Lab::new(&graph, seen.signature, window.is_some(), &file)?;
    let Proved { signature, bitwise, mut tried, warnings: odd } = proofs::prove(lab, asked, alone, &sets, progress)?;
    tried.splice(0..0, notes.into_iter().chain(measured.tried));
    if let Some(path) = beside.reference {
        let lab = Lab::new(&graph, signature.clone(), window.is_some(), &file)?;
        let names: Vec<&str> = card.outputs.iter().map(|output| output.name.as_str()).collect();
        tried.extend(reference::compare(lab, path, &names, window.is_some())?);
    }
    let manifest = manifest(card, &signature, bitwise, tried, window, opset, ir_version)?;
    let mut warnings = resolved.warnings;
    warnings.extend(odd.into_iter().chain(measured.warnings));
    warnings.extend(narrowed(&signature));
    let report = report::html(&manifest, &signature, &warnings, &measured.errors);
    // It differs from time to time, so neither the manifest nor the report has it.
    let cost = match signature.batch {
        Run::One => Some(cost::measure(&graph, &signature, &one_by_one, window, &file)?),
        Run::Many => None,
    };
    Ok(Imported { manifest, warnings, cost, onnx: graph, files: resolved.files, report })
}

/// A graph that is fitted to its card, before anything is proved of it.
struct Prepared {
    resolved: Resolved,
    /// The file, before its constants were fed.
    original: ModelProto,
    ready: Ready,
    /// What was changed in it before it was made ready.
    notes: Vec<String>,
    findings: Vec<Finding>,
    /// Of the file.
    opset: i64,
    ir_version: i64,
}

fn prepare(card: &Card, width: Width<'_>) -> Result<Prepared> {
    library::library()?;
    let (mut model, _) = file::read(&card.onnx)?;
    let mut notes = onnx::inline::inline(&mut model, card.onnx.value.parent().unwrap_or(Path::new(".")))?;
    notes.extend(onnx::backport::backport(&mut model, limits::limits()?));
    let mut problems = Problems::new(&card.file);
    if let Err(error) = limits::check(&model) {
        problems.add(card.onnx.place, format!("load the model into ONNX Runtime: {error}"));
    } else if let Some(unrolled) = onnx::recognise::unrolled(&model)
        && let Err(error) = unrolled.refuse::<()>()
    {
        problems.add(card.onnx.place, error);
    }
    problems.finish(())?;
    let (opset, ir_version) = (onnx::view::opset(&model), model.ir_version());
    let named = |name: &str| {
        card.inputs.iter().any(|input| input.name.value == name)
            || card.states.iter().any(|state| state.name.value == name)
    };
    notes.extend(onnx::lengths::leave_out(model.graph.get_or_insert_default(), &named));
    let resolved = resolve(card, model.graph.get_or_insert_default(), width)?;
    let graph = model.graph.get_or_insert_default();
    for output in &resolved.outputs {
        if let Some(of) = &output.copies {
            onnx::copies::copy(graph, of, &output.name);
        }
    }
    let original = model.clone();
    notes.extend(constant(card, &mut model, &resolved)?);
    let findings = refusals(card, &model, &resolved)?;
    let ready = passes::ready(card, &model, &resolved, card.window_rows())?;
    Ok(Prepared { resolved, original, ready, notes, findings, opset, ir_version })
}

const CARRY_NEEDS_DATA: &str = "`mode: carry` of a window model needs rows that both errors are measured on: add --data \
                                PIPELINE, whose data have more rows of a key than the window";

/// The first rows of the user's data. A topic without messages has none, which is no error.
fn rows_of(rows: RowsOf<'_>, card: &Card, signature: &Signature) -> Result<Option<Rows>> {
    let steps = card.window_rows().map_or(proofs::STEPS.1, |window| window * 2);
    let (mut each, mut most) = (steps * proofs::SEQUENCES, steps * proofs::SEQUENCES * 2);
    let mut targets = Vec::new();
    if card.window_rows().is_some() && card.as_window().is_none() {
        (each, most) = (each.max(carried::ROWS.0), most.max(carried::ROWS.1));
        let forecasts = signature.outputs.iter().filter_map(|output| output.forecast.as_ref());
        targets = forecasts.flat_map(|ahead| ahead.targets.clone()).collect();
    }
    rows(AskedRows { inputs: &signature.inputs, targets: &targets, each, most })
}

/// What a graph is proved on: rows that are made up to break it, and the user's.
fn sets(signature: &Signature, rows: Option<&Rows>, window: Option<usize>, alone: bool) -> Result<Vec<Set>> {
    let sequences = if alone { 8 } else { proofs::SEQUENCES };
    let mut sets = vec![Set::made(signature, sequences, window.unwrap_or(proofs::STEPS.0))];
    if let Some(rows) = rows {
        sets.push(Set::of(rows, sequences, proofs::STEPS.1, window)?);
    }
    Ok(sets)
}

/// Inputs that are always the same become part of the graph.
fn constant(card: &Card, model: &mut ModelProto, resolved: &Resolved) -> Result<Vec<String>> {
    let mut problems = Problems::new(&card.file);
    let mut notes = Vec::new();
    for constant in &resolved.constants {
        match onnx::constants::constant(model, &constant.name, &constant.values) {
            Ok(made) => notes.extend(made),
            Err(error) => problems.add(constant.place, error),
        }
    }
    notes.extend(onnx::constants::settle(model));
    problems.finish(notes)
}

/// Operators that no state can be carried through; and what else is known of the others.
fn refusals(card: &Card, model: &ModelProto, resolved: &Resolved) -> Result<Vec<Finding>> {
    let findings = onnx::operators::find(model, &resolved.taken());
    let mut problems = Problems::new(&card.file);
    for finding in findings.iter().filter(|finding| finding.certain) {
        let why = match (finding.class, finding.operator.as_str()) {
            (Class::Random, _) => "no run gives the same numbers again",
            (Class::DataDependentShape, _) => "a step has as many numbers as its data say",
            (Class::CrossRow, "If" | "Loop") => "which nodes run depends on the data of all rows",
            _ => continue,
        };
        let text = format!(
            "the graph's node \"{}\" ({}) {}: {why}; export the model without it",
            finding.node,
            finding.operator,
            finding.class.text()
        );
        problems.add(card.onnx.place, text);
    }
    problems.finish(findings)
}

/// Why rows certainly influence each other.
fn cross_row(findings: &[Finding]) -> Option<String> {
    let mut nodes: Vec<&str> = findings
        .iter()
        .filter(|finding| finding.certain && finding.class == Class::CrossRow)
        .map(|finding| finding.operator.as_str())
        .collect();
    nodes.sort_unstable();
    nodes.dedup();
    (!nodes.is_empty()).then(|| format!("rows of a batch influence each other in {}", nodes.join(", ")))
}

/// Outputs that lose something on their way into a column.
fn narrowed(signature: &Signature) -> Vec<String> {
    let wide = signature.outputs.iter().filter(|output| {
        (output.tensor.width() > 1 || output.forecast.is_some())
            && matches!(output.tensor.element, Element::Float64 | Element::Int64 | Element::Int32)
    });
    wide.map(|output| {
        format!(
            "output \"{}\" is {}: its column is a vector of float32, which holds 24 bits of each number",
            output.tensor.name,
            output.tensor.describe()
        )
    })
    .collect()
}

fn manifest(
    card: &Card,
    signature: &Signature,
    bitwise: bool,
    proofs: Vec<String>,
    window: Option<usize>,
    opset: i64,
    ir_version: i64,
) -> Result<Manifest> {
    let columns = signature.inputs.iter().flat_map(|input| match &input.feed {
        Feed::Columns(columns) => columns.clone(),
        Feed::Ids { .. } | Feed::Tokens { .. } | Feed::PerKey(_) | Feed::Key(_) => Vec::new(),
    });
    let init = |initial: &Initial| match initial {
        Initial::Zero => "zero".to_owned(),
        Initial::Number(number) => number.to_string(),
        Initial::File(file) => file.clone(),
    };
    let size = |axis: &Axis| if let Axis::Fixed(size) = axis { Some(*size) } else { None };
    let ahead = |output: &OutputTensor| Some((output.tensor.clone(), output.forecast.clone()?));
    let mut problems = Problems::new(&card.file);
    let mut targets: Vec<String> = Vec::new();
    for (tensor, ahead) in signature.outputs.iter().filter_map(ahead) {
        let numbers = ahead.horizon * ahead.targets.len() * ahead.quantiles.max(1);
        if numbers != tensor.width() {
            let written = card.outputs.iter().find(|written| written.name.value == tensor.name);
            problems.add(
                written.map_or(card.sections[2], |written| written.name.place),
                format!(
                    "output \"{}\" has {} numbers a row, {} steps of {} targets and {} quantiles have {numbers}",
                    tensor.name,
                    tensor.width(),
                    ahead.horizon,
                    ahead.targets.len(),
                    ahead.quantiles.max(1)
                ),
            );
        }
        targets.extend(ahead.targets);
    }
    problems.finish(())?;
    let mut seen = BTreeSet::new();
    targets.retain(|target| seen.insert(target.clone()));
    let forecasts = || card.outputs.iter().filter_map(|output| output.forecast.as_ref());
    let quantiles = forecasts().map(|forecast| &forecast.quantiles).find(|quantiles| !quantiles.is_empty());
    Ok(Manifest {
        keys: Vec::new(),
        vocabularies: Vec::new(),
        format: registry::FORMAT,
        name: card.name.value.clone(),
        kind: if window.is_some() { ModelKind::Window } else { ModelKind::Carry },
        form: "operator".into(),
        bitwise,
        window,
        inputs: columns.collect(),
        states: signature
            .states
            .iter()
            .map(|state| StatePair {
                input: state.tensor.name.clone(),
                output: state.out.clone(),
                shape: state.tensor.shape.iter().filter_map(size).collect(),
                init: init(&state.initial),
            })
            .collect(),
        horizon: forecasts().next().map_or(1, |forecast| forecast.horizon.value),
        targets,
        quantiles: quantiles.cloned().unwrap_or_default(),
        classes: Vec::new(),
        transcripts: false,
        pool: crate::network::Pool::None,
        stages: Vec::new(),
        warm_up: card.warm_up,
        seed: 0,
        data_hash: String::new(),
        metrics: BTreeMap::new(),
        architecture: None,
        signature: Some(signature.clone()),
        groups: None,
        proofs,
        from: None,
        opset,
        ir_version,
        onnx_runtime: library::version()?.to_string(),
        tz_database: None,
        files: BTreeMap::new(),
    })
}

/// A refusal at the card's `onnx`.
pub(crate) fn at_file(card: &Card, error: Error) -> Error {
    match error {
        Error::Problems(problems) => Error::Problems(problems),
        Error::Refused(message) | Error::Failed(message) => card.refused(card.onnx.place, message),
    }
}
