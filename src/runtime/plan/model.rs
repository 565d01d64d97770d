//! The model of a pipeline, held against the stages before it.

use std::sync::Arc;

use crate::config::{At, Infer, Mode, Pipeline};
use crate::error::Problems;
use crate::metrics::Metrics;
use crate::model::executor::OnnxRuntime;
use crate::model::{ModelKind, Session, Signature, Version, registry};
use crate::record::Layout;
use crate::stage::{self, inputs::Inputs};

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
            "the stages before infer are not those that {} was trained behind\n  pipeline: {}\n  model:    {}",
            label(&version),
            show(&stages),
            show(&manifest.stages)
        );
        problems.add(infer.place, message);
    }
    Some(Arc::new(version))
}

/// The whole chain, with `infer` if the pipeline has one; `layout` becomes that of the output.
pub(in crate::runtime) fn chain(
    pipeline: &Pipeline,
    layout: &mut Layout,
    model: Option<&Arc<Version>>,
    metrics: &Arc<Metrics>,
    problems: &mut Problems,
) -> Vec<Box<dyn stage::Stage>> {
    let mut infer = |infer: &At<Infer>, layout: &mut Layout, problems: &mut Problems| {
        plan_infer(model?, infer, layout, metrics, problems)
    };
    let chain = stage::chain(pipeline, layout.clone(), stage::Stop::End, &mut infer, problems);
    *layout = chain.layout;
    chain.stages
}

fn plan_infer(
    version: &Version,
    infer: &At<Infer>,
    layout: &mut Layout,
    metrics: &Arc<Metrics>,
    problems: &mut Problems,
) -> Option<stage::PlannedInfer> {
    let manifest = &version.manifest;
    let place = infer.model.place;
    let inputs = Inputs::plan(&manifest.inputs, infer, layout, place, problems);
    for target in &manifest.targets {
        if let Err(message) = layout.number(target) {
            problems.add(place, format!("the model's target \"{target}\": {message}"));
        }
    }
    let inputs = inputs?;
    let planned = stage::infer::Planned {
        manifest: manifest.clone(),
        version: version.number,
        mode: infer.mode,
        window: infer.window.as_ref().map_or(1, |window| window.value),
    };
    let network = Session::new(&version.onnx, &Signature::from(manifest)).and_then(|session| {
        let executor = Box::new(OnnxRuntime::new(session, metrics.clone()));
        stage::infer::Infer::new(&planned, executor, layout)
    });
    match network {
        Ok(network) => {
            let forecast = stage::Forecast {
                targets: manifest.targets.clone(),
                horizon: manifest.horizon,
                quantiles: manifest.quantiles.len(),
            };
            Some(stage::PlannedInfer { stages: vec![Box::new(inputs), Box::new(network)], forecast })
        }
        Err(error) => {
            problems.add(place, error);
            None
        }
    }
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
