//! From the stages of a pipeline file to planned stages, with the layout between them.
//!
//! Lives here: the order of stages, the places of `on.null`, `on.reorder` and `inputs` among them, which columns come
//! from the source, and the canonical form that a model's manifest keeps of the stages before it. Must not live here:
//! what a word means or does (its own file).

use std::sync::Arc;

use serde_json::Value;

use super::infer::{Inputs, Network, PREDICTION, PREDICTION_TIME, class_columns, is_final};
use super::operator::{Build, Operator};
use super::reorder::Reordering;
use super::sequence::Sequences;
use super::{Stage, operator_of};
use crate::config::{self, At, OnNull, Pipeline};
use crate::error::Problems;
use crate::metrics::Metrics;
use crate::model::{Manifest, Version, registry};
use crate::network::Signature;
use crate::problem::Place;
use crate::record::{Clock, Layout};

/// An operator and the place of its word in the file.
pub struct Step<'a> {
    /// Where what is wrong with it is shown.
    pub place: Place,
    /// The operator.
    pub operator: Box<dyn Operator + 'a>,
}

/// The model that `infer` runs.
#[derive(Clone)]
pub struct Model {
    /// Its version.
    pub version: Arc<Version>,
    /// The tensors of its graph.
    pub signature: Arc<Signature>,
    /// Where runs of the network are counted.
    pub metrics: Arc<Metrics>,
}

/// A planned stage and the place of its word.
pub struct PlannedStage {
    place: Place,
    build: Box<dyn Build>,
}

/// The planned stages.
pub struct PlannedStages {
    /// In order. Fewer than the pipeline has where a problem was reported.
    pub stages: Vec<PlannedStage>,
    /// Shape of the rows that come out of the last stage.
    pub layout: Layout,
}

impl PlannedStages {
    /// The stages of one worker, in order; what can't be built is added to `problems`.
    pub fn build(&self, problems: &mut Problems) -> Vec<Box<dyn Stage>> {
        let mut stages = Vec::new();
        for PlannedStage { place, build } in &self.stages {
            match build.build() {
                Ok(stage) => stages.push(stage),
                Err(error) => problems.add(*place, error),
            }
        }
        stages
    }
}

/// All stages of a pipeline in order: those of the file, and those that other sections ask for.
///
/// `on.null` is a stage: after the last `resample` (which passes over nulls) or, without one, the first of all. Its
/// policy `refuse` is about records, not about buckets, so it always comes first. `inputs` comes before `infer`, where
/// the model is known. Without it, `infer` can't be planned: planning ends there.
pub fn steps<'a>(pipeline: &'a Pipeline, model: Option<&Model>) -> Vec<Step<'a>> {
    let stages = &pipeline.stages;
    let infer = stages.iter().position(|s| matches!(s.value, config::Stage::Infer(_))).unwrap_or(stages.len());
    let policy = pipeline.on.null;
    let resampled = stages[..infer].iter().rposition(|s| matches!(s.value, config::Stage::Resample(_)));
    let at = match (policy, resampled) {
        (OnNull::Refuse, _) | (_, None) => 0,
        (_, Some(resample)) => resample + 1,
    };
    let step = |stage: &'a At<config::Stage>| match &stage.value {
        config::Stage::Infer(options) => {
            let wanted = wanted(pipeline, infer);
            let outputs = outputs(pipeline, options, model, &wanted);
            let texts = texts(pipeline, options, model);
            let operator = Box::new(Network { options, model: model.cloned(), outputs, wanted, texts });
            Step { place: options.model.place, operator }
        }
        other => Step { place: stage.place, operator: operator_of(other) },
    };
    let mut steps: Vec<Step<'a>> = stages.iter().map(step).collect();
    let mut next = infer;
    if let (Some(rule), Some(options)) = (&pipeline.record.sequence, pipeline.infer()) {
        let to_the_end = options.mode == config::Mode::Sequence;
        let sees_whole = to_the_end && model.is_some_and(|model| model.version.manifest.sees_whole_sequences());
        let most = sees_whole.then_some(options.max_length.value);
        let operator =
            Box::new(Sequences { rule, to_the_end, most, metrics: model.map(|model| model.metrics.clone()) });
        steps.insert(next, Step { place: rule.place, operator });
        next += 1;
    }
    if let (Some(model), Some(options)) = (model, pipeline.infer()) {
        let inputs = model.signature.inputs.clone();
        let (gap, ttl, metrics) = (options.gap.clone(), options.ttl.clone(), Some(model.metrics.clone()));
        let operator = Box::new(Inputs { inputs, gap, ttl, metrics });
        steps.insert(next, Step { place: options.model.place, operator });
    }
    // The policies have defaults, so they may not be in the file.
    steps.insert(at, Step { place: config::NOWHERE, operator: Box::new(policy) });
    if let Some(span) = &pipeline.on.reorder {
        // After `refuse`, so that a record that is refused is there to be refused.
        let operator = Box::new(Reordering { span, late: pipeline.on.late });
        steps.insert(usize::from(policy == OnNull::Refuse), Step { place: span.place, operator });
    }
    steps
}

/// Columns that the sink and the stages after the network name.
fn wanted(pipeline: &Pipeline, infer: usize) -> Vec<String> {
    let after = pipeline.stages.get(infer + 1..).unwrap_or_default().iter().flat_map(|stage| {
        let operator = operator_of(&stage.value);
        operator.reads().into_iter().chain(operator.numbers())
    });
    let sink = pipeline.sink.iter().flat_map(|sink| sink.fields().iter().cloned());
    after.chain(sink).map(|name| name.value).collect()
}

/// Columns of text that a model looks up, that of its groups included.
pub fn looked_up(manifest: &Manifest) -> Vec<String> {
    let per = manifest.groups.iter().filter_map(|groups| groups.column.clone());
    manifest.vocabularies.iter().filter_map(|of| of.column.clone()).chain(per).collect()
}

/// The same of every version of the pipeline's model, and of the one that its `train` section would make: one of them
/// may take over while it runs, or be the one that its state is of.
pub fn ever_looked_up(pipeline: &Pipeline) -> Vec<At<String>> {
    let Some(options) = pipeline.infer() else { return Vec::new() };
    let at = |value: String| At { value, place: options.model.place };
    let name = registry::name_of(&options.model);
    let folder = pipeline.models.join(name);
    let versions = registry::list(&pipeline.models).unwrap_or_default().into_iter().filter(|entry| entry.name == name);
    let read = |number: u64| registry::read_manifest(&folder.join(number.to_string())).ok();
    let manifests = versions.flat_map(|entry| entry.versions).filter_map(read);
    let of_train = pipeline.train.iter().flat_map(|train| {
        let per = train.per.as_ref().and_then(|per| per.column()).map(String::from);
        train.embeddings.iter().filter_map(|of| of.column.as_ref().map(|column| column.value.clone())).chain(per)
    });
    let mut columns: Vec<String> = manifests.flat_map(|manifest| looked_up(&manifest)).chain(of_train).collect();
    columns.sort();
    columns.dedup();
    columns.into_iter().map(at).collect()
}

/// Columns of text that a model looks up. Before it is opened, its manifest says it.
fn texts(pipeline: &Pipeline, options: &config::Infer, model: Option<&Model>) -> Vec<String> {
    let read = || {
        let (name, number) = registry::find(&pipeline.models, &options.model).ok()?;
        registry::read_manifest(&pipeline.models.join(name).join(number.to_string())).ok()
    };
    match model {
        Some(model) => looked_up(&model.version.manifest),
        None => read().map(|manifest| looked_up(&manifest)).unwrap_or_default(),
    }
}

/// Names of the columns that a model's outputs become. Before the model is opened, its manifest says it; of one that
/// can't be read, or is still to be trained, they are our own.
fn outputs(pipeline: &Pipeline, options: &config::Infer, model: Option<&Model>, wanted: &[String]) -> Vec<String> {
    let classes = |manifest: &Manifest| if manifest.makes_transcripts() { vec![] } else { manifest.classes.clone() };
    let is_streamed = |manifest: &Manifest| manifest.makes_transcripts() && options.mode == config::Mode::Carry;
    let read = || {
        let (name, number) = registry::find(&pipeline.models, &options.model).ok()?;
        let manifest = registry::read_manifest(&pipeline.models.join(name).join(number.to_string())).ok()?;
        Some((Arc::new(manifest.signature().ok()?), classes(&manifest), is_streamed(&manifest)))
    };
    let found = match model {
        Some(model) => {
            let manifest = &model.version.manifest;
            Some((model.signature.clone(), classes(manifest), is_streamed(manifest)))
        }
        None => read(),
    };
    let (mut names, mut is_forecast) = (vec![PREDICTION.to_string()], true);
    if let Some((signature, classes, is_streamed)) = found {
        let columns = signature.outputs.iter().map(|output| output.column.as_str());
        names = match classes.is_empty() {
            true => columns.map(String::from).collect(),
            false => columns.flat_map(|column| class_columns(column, &classes, wanted)).collect(),
        };
        names.extend(is_streamed.then(|| is_final(PREDICTION)));
        is_forecast = signature.outputs.iter().any(|output| output.forecast.is_some());
    }
    if is_forecast {
        names.push(PREDICTION_TIME.to_string());
    }
    names
}

/// The stages whose rows `infer` would read: what training captures.
pub fn before_infer(pipeline: &Pipeline) -> Vec<Step<'_>> {
    steps(pipeline, None).into_iter().take_while(|step| step.operator.word() != INFER).collect()
}

const INFER: &str = "infer";

/// Plans stages for batches of `layout`, and reports everything that is wrong with them.
pub fn chain(steps: &[Step<'_>], mut layout: Layout, problems: &mut Problems) -> PlannedStages {
    let mut stages = Vec::new();
    // Columns that there were until `resample`.
    let mut dropped: Vec<String> = Vec::new();
    for Step { place, operator } in steps {
        let named = operator.reads().into_iter().chain(operator.numbers());
        let gone: Vec<At<String>> =
            named.filter(|name| dropped.contains(name) && layout.find(name).is_none()).collect();
        if !gone.is_empty() {
            gone.iter().for_each(|name| problems.add(name.place, self::gone(name)));
            continue;
        }
        let before: Vec<String> = layout.names().map(str::to_owned).collect();
        match operator.plan(*place, &mut layout, problems) {
            Some(build) => stages.push(PlannedStage { place: *place, build }),
            None if operator.is_needed() => break,
            None => {}
        }
        dropped.extend(before.into_iter().filter(|name| layout.find(name).is_none()));
    }
    PlannedStages { stages, layout }
}

fn gone(name: &str) -> String {
    format!(
        "column \"{name}\" does not exist after resample, which keeps only the record's values: use it before \
         resample, or make it after it"
    )
}

/// The columns, besides key, time and values, that must come from the source for these stages and for `after` them:
/// those that are named where no stage before has made them.
pub fn from_source(steps: &[Step<'_>], after: &[At<String>]) -> Vec<At<String>> {
    let mut made: Vec<String> = Vec::new();
    let mut wanted = Vec::new();
    for Step { operator, .. } in steps {
        wanted.extend(operator.reads().into_iter().filter(|column| !made.contains(column)));
        made.extend(operator.adds());
    }
    wanted.extend(after.iter().filter(|column| !made.contains(column)).cloned());
    wanted
}

/// The stages before `infer` with `on.null` in its place, in a form that is equal exactly where the features are
/// made in the same way: one JSON object each.
pub fn describe(pipeline: &Pipeline, clock: &Clock) -> Vec<Value> {
    before_infer(pipeline).iter().filter_map(|step| step.operator.canonical(clock)).collect()
}

/// A stage of the file in its canonical form.
pub fn canonical(stage: &config::Stage, clock: &Clock) -> Option<Value> {
    operator_of(stage).canonical(clock)
}
