//! The model of a pipeline, compared with the stages before it.

use std::sync::Arc;

use crate::config::{self, Mode, Pipeline};
use crate::error::Problems;
use crate::metrics::Metrics;
use crate::model::signing::PublicKeys;
use crate::model::{ModelKind, Version, registry};
use crate::record::{Clock, Layout};
use crate::stage;
use crate::state::Written;
use crate::state::difference::{Change, Sides, of};
use crate::zone::database;

/// Whether the model that `infer` names is in the registry.
pub fn has_model(pipeline: &Pipeline) -> bool {
    pipeline.infer().is_some_and(|infer| registry::find(&pipeline.models, &infer.model).is_ok())
}

/// The version that the pipeline names.
pub(super) fn champion_or_pinned(pipeline: &Pipeline, clock: &Clock, problems: &mut Problems) -> Option<Arc<Version>> {
    find_model(pipeline, &pipeline.infer()?.model, clock, problems)
}

/// The keys of which one has to have signed a version. They are read each time: files of keys are replaced while a
/// process runs.
pub(in crate::runtime) fn public_keys(pipeline: &Pipeline, problems: &mut Problems) -> Option<PublicKeys> {
    let (mut keys, mut is_read) = (PublicKeys::none(), true);
    for file in &pipeline.public_keys {
        if let Err(error) = keys.add(file) {
            problems.add(file.place, error);
            is_read = false;
        }
    }
    is_read.then_some(keys)
}

/// The keys of a pipeline, for who works on its registry.
///
/// # Errors
/// Each file that can't be read or holds no public key.
pub fn trusted(pipeline: &Pipeline) -> crate::Result<PublicKeys> {
    let mut problems = Problems::new(&pipeline.file);
    let keys = public_keys(pipeline, &mut problems);
    problems.finish(keys.unwrap_or_default())
}

/// A version of the model (`name` or `name/3`), if the pipeline's `infer` can run it. `clock` is the source's.
pub(in crate::runtime) fn find_model(
    pipeline: &Pipeline,
    target: &str,
    clock: &Clock,
    problems: &mut Problems,
) -> Option<Arc<Version>> {
    let infer = pipeline.infer()?;
    let keys = public_keys(pipeline, problems)?;
    let version = match registry::open(&pipeline.models, target, &keys) {
        Ok(version) => version,
        Err(error) => {
            problems.add(infer.model.place, error);
            return None;
        }
    };
    let manifest = &version.manifest;
    // What is before the graph of others is for whoever runs it to say, unless its manifest says it.
    let is_foreign = manifest.signature.is_some();
    let kind = match infer.mode {
        Mode::Carry => ModelKind::Carry,
        Mode::Window => ModelKind::Window,
        Mode::Sequence => ModelKind::Sequence,
    };
    let shown = |kind: ModelKind, window: Option<usize>| match (kind, window) {
        (ModelKind::Window, Some(window)) => format!("window of {window}"),
        (ModelKind::Window, None) => "window".to_string(),
        (ModelKind::Carry, _) => "carry".to_string(),
        (ModelKind::Sequence, _) => "sequence".to_string(),
    };
    let window = infer.window.as_ref().map(|window| window.value);
    if kind != manifest.kind || (kind == ModelKind::Window && window != manifest.window) {
        let message = format!(
            "the pipeline runs mode {}, but {} was {} for mode {}\n{}",
            shown(kind, window),
            label(&version),
            if is_foreign { "imported" } else { "trained" },
            shown(manifest.kind, manifest.window),
            way_on(pipeline, "for this mode")
        );
        problems.add(infer.place, message);
    }
    if let Some(trained) = manifest.tz_database.as_deref().filter(|trained| *trained != database().version()) {
        tracing::warn!(
            model = label(&version),
            trained_with = trained,
            now = database().version(),
            "the model was trained with another tz database: where the rules of a time zone changed, its calendar \
             differs"
        );
    }
    let stages = stages_of_model(pipeline, clock);
    if stages != manifest.stages && !(is_foreign && manifest.stages.is_empty()) {
        problems.add(infer.place, other_stages(pipeline, &version, &stages));
        scored(pipeline, manifest.horizon, problems);
    }
    Some(Arc::new(version))
}

/// The steps that are scored, where the stages are not planned with the model: it doesn't fit.
fn scored(pipeline: &Pipeline, horizon: usize, problems: &mut Problems) {
    // What is going to be trained has a horizon of its own, which the file is checked by.
    if pipeline.train.is_some() {
        return;
    }
    for stage in &pipeline.stages {
        if let config::Stage::Score(score) = &stage.value
            && score.step.value > horizon
        {
            let message = format!("step {} is scored, but the model predicts steps 1 to {horizon}", score.step.value);
            problems.add(score.step.place, message);
        }
    }
}

/// What differs between the stages before `infer` and those that a model was trained with.
fn other_stages(pipeline: &Pipeline, version: &Version, stages: &[serde_json::Value]) -> String {
    let model = label(version);
    let mut message = format!(
        "the stages before infer are not those with which {model} was trained; the model -> the pipeline file:"
    );
    let list = |stages: &[serde_json::Value]| serde_json::Value::from(stages.to_vec());
    let sides = Sides { before: &Written::new(), now: &pipeline.written };
    for Change { field, before, now } in of("stages", Some(&list(&version.manifest.stages)), Some(&list(stages)), sides)
    {
        message += &format!("\n  {field}: {before} -> {now}");
    }
    message.push('\n');
    message + &way_on(pipeline, "with these stages")
}

/// What to do about a model that was trained otherwise.
fn way_on(pipeline: &Pipeline, how: &str) -> String {
    let train = pipeline.train_command();
    match (&pipeline.train, registry::name_of(&model_of(pipeline)) == model_of(pipeline)) {
        (Some(_), true) => format!("undo the change, or train a version {how}: {train}"),
        (Some(_), false) => format!("undo the change, or train a version {how} ({train}) and name it in `infer`"),
        (None, _) => format!("undo the change, or name a version in `infer` that was trained {how}"),
    }
}

/// The model that `infer` names.
fn model_of(pipeline: &Pipeline) -> String {
    pipeline.infer().map(|infer| infer.model.value.clone()).unwrap_or_default()
}

/// The stages of a pipeline, with its `infer` if it has one and `model` is known.
pub(in crate::runtime) fn chain(
    pipeline: &Pipeline,
    source: &Layout,
    model: Option<&Arc<Version>>,
    metrics: &Arc<Metrics>,
    problems: &mut Problems,
) -> stage::PlannedStages {
    let model = model.and_then(|version| {
        let signature = version.manifest.interface().map_err(|error| problems.add(config::NOWHERE, error)).ok()?;
        Some(stage::Model { version: version.clone(), signature: signature.into(), metrics: metrics.clone() })
    });
    stage::chain(&stage::steps(pipeline, model.as_ref()), source.clone(), problems)
}

/// `name/3`
pub fn label(version: &Version) -> String {
    format!("{}/{}", version.name, version.number)
}

/// The stages before `infer` in their canonical form, as a model's manifest keeps them. How nulls are treated is a
/// choice of who runs the model, not a property of its features.
pub fn stages_of_model(pipeline: &Pipeline, clock: &Clock) -> Vec<serde_json::Value> {
    stage::describe(pipeline, clock).into_iter().filter(|stage| stage.get("null").is_none()).collect()
}
