//! The model of a pipeline, compared with the stages before it.

use std::sync::Arc;

use crate::config::{Mode, Pipeline};
use crate::error::Problems;
use crate::metrics::Metrics;
use crate::model::{ModelKind, Version, registry};
use crate::record::Layout;
use crate::stage;

/// Whether the model that `infer` names is in the registry.
pub fn has_model(pipeline: &Pipeline) -> bool {
    pipeline.infer().is_some_and(|infer| registry::find(&pipeline.models, &infer.model).is_ok())
}

/// The version that the pipeline names.
pub(super) fn champion_or_pinned(pipeline: &Pipeline, problems: &mut Problems) -> Option<Arc<Version>> {
    find_model(pipeline, &pipeline.infer()?.model, problems)
}

/// A version of the model (`name` or `name/3`), if the pipeline's `infer` can run it.
pub(in crate::runtime) fn find_model(
    pipeline: &Pipeline,
    target: &str,
    problems: &mut Problems,
) -> Option<Arc<Version>> {
    let infer = pipeline.infer()?;
    let version = match registry::open(&pipeline.models, target) {
        Ok(version) => version,
        Err(error) => {
            problems.add(infer.model.place, error);
            return None;
        }
    };
    let manifest = &version.manifest;
    let kind = match infer.mode {
        Mode::Carry => ModelKind::Carry,
        Mode::Window => ModelKind::Window,
    };
    let shown = |kind: ModelKind, window: Option<usize>| match (kind, window) {
        (ModelKind::Window, Some(window)) => format!("window of {window}"),
        (ModelKind::Window, None) => "window".to_string(),
        (ModelKind::Carry, _) => "carry".to_string(),
    };
    let window = infer.window.as_ref().map(|window| window.value);
    if kind != manifest.kind || (kind == ModelKind::Window && window != manifest.window) {
        let message = format!(
            "the pipeline runs mode {}, but {} was trained for mode {}",
            shown(kind, window),
            label(&version),
            shown(manifest.kind, manifest.window)
        );
        problems.add(infer.place, message);
    }
    let stages = stages_of_model(pipeline);
    if stages != manifest.stages {
        let show = |stages: &[serde_json::Value]| match stages {
            [] => "none".to_string(),
            stages => stages.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        };
        let message = format!(
            "the stages before infer are not those with which {} was trained\n  pipeline: {}\n  model:    {}",
            label(&version),
            show(&stages),
            show(&manifest.stages)
        );
        problems.add(infer.place, message);
    }
    Some(Arc::new(version))
}

/// The stages of a pipeline, with its `infer` if it has one and `model` is known.
pub(in crate::runtime) fn chain(
    pipeline: &Pipeline,
    source: &Layout,
    model: Option<&Arc<Version>>,
    metrics: &Arc<Metrics>,
    problems: &mut Problems,
) -> stage::PlannedStages {
    let model = model.map(|version| stage::Model { version: version.clone(), metrics: metrics.clone() });
    stage::chain(&stage::steps(pipeline, model.as_ref()), source.clone(), problems)
}

/// `name/3`
pub fn label(version: &Version) -> String {
    format!("{}/{}", version.name, version.number)
}

/// The stages before `infer` in their canonical form, as a model's manifest keeps them. How nulls are treated is a
/// choice of who runs the model, not a property of its features.
pub fn stages_of_model(pipeline: &Pipeline) -> Vec<serde_json::Value> {
    stage::describe(pipeline).into_iter().filter(|stage| stage.get("null").is_none()).collect()
}
