//! Everything that can be known, checked and refused before anything starts.

use std::sync::Arc;

use super::engine::{Chain, Order};
use crate::config::{At, Infer, Input, Key, Mode, Pipeline, Problems, Split, Stage, Train};
use crate::metrics::Metrics;
use crate::model::{ModelKind, Session, Signature, Version, registry};
use crate::record::{Layout, Role};
use crate::stage::{self, inputs::Inputs};
use crate::{Error, Result, sink, source, train};

/// What a pipeline is planned for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// `kolk run`: needs a sink, and a model if there is an `infer` stage.
    Run,
    /// `kolk train`: needs a `train` section; the model doesn't exist yet.
    Train,
}

/// What a pipeline reads, found.
pub enum Source {
    /// Files, listed and their columns found.
    Files(Box<source::Files>),
    /// A topic, asked about, and how its messages are decoded.
    Kafka(Box<source::topic::PlannedTopic>),
}

impl Source {
    fn plan(pipeline: &Pipeline, fields: &[At<String>], problems: &mut Problems) -> Option<Source> {
        match &pipeline.source.input {
            Input::Parquet(_) => {
                let found = source::parquet::plan(pipeline, fields, problems)?;
                Some(Source::Files(Box::new(source::Files::Parquet(found))))
            }
            Input::DeadLetters(letters) => {
                let found = source::dead_letters::plan(pipeline, letters, fields, problems)?;
                Some(Source::Files(Box::new(source::Files::DeadLetters(found))))
            }
            Input::Kafka(kafka) => {
                source::topic::plan(pipeline, kafka, fields, problems).map(|found| Source::Kafka(Box::new(found)))
            }
        }
    }

    /// Columns of its records.
    pub fn layout(&self) -> &Layout {
        match self {
            Source::Files(files) => files.layout(),
            Source::Kafka(source) => &source.decoder.layout,
        }
    }
}

/// A pipeline with everything it names found and fitted together.
pub struct Plan {
    /// The pipeline file.
    pub pipeline: Pipeline,
    /// The source, its files listed or its topics found.
    pub source: Source,
    /// The sink, for [`Purpose::Run`].
    pub sink: Option<sink::Planned>,
    /// The columns that come out of the last stage.
    pub layout: Layout,
    /// The model that `infer` runs, for [`Purpose::Run`].
    pub model: Option<Arc<Version>>,
    /// What is trained and how, for [`Purpose::Train`].
    pub train: Option<train::Plan>,
    /// Every metric of the process.
    pub metrics: Arc<Metrics>,
}

/// Plans a pipeline, or tells everything that is wrong with it.
///
/// # Errors
/// Every problem at its place; or one refusal for what has no place in the file.
pub fn plan(pipeline: Pipeline, purpose: Purpose) -> Result<Plan> {
    let mut problems = Problems::new(&pipeline.file);
    let metrics = Arc::new(Metrics::new()?);
    let source = Source::plan(&pipeline, &wanted(&pipeline, purpose), &mut problems);
    let mut found = None;
    let mut training = None;
    let Some(source) = source else {
        // Without columns the stages can't be checked, but the model can.
        if purpose == Purpose::Run {
            champion_or_pinned(&pipeline, &mut problems);
        }
        return Err(problems_of(problems));
    };
    let mut layout = source.layout().clone();
    match purpose {
        Purpose::Run => {
            found = champion_or_pinned(&pipeline, &mut problems);
            chain(&pipeline, &mut layout, found.as_ref(), &metrics, &mut problems);
        }
        Purpose::Train => match (&pipeline.train, pipeline.infer()) {
            (Some(train), Some(infer)) => {
                training = before_network(&pipeline, train, infer, &mut layout, &mut problems).map(|(_, plan)| plan);
            }
            (None, _) => problems.add(pipeline.name.place, "there is no `train` section: nothing to train"),
            (_, None) => {
                problems.add(pipeline.name.place, "there is no `infer` stage: it names the model to train and its mode")
            }
        },
    }
    let mut planned_sink = None;
    if purpose == Purpose::Run && problems.is_empty() {
        match &pipeline.sink {
            Some(sink) => planned_sink = sink::plan(sink, &layout, &mut problems),
            None => problems.add(pipeline.name.place, "there is no `sink`: nowhere to write to"),
        }
    }
    problems.finish(())?;
    Ok(Plan { pipeline, source, sink: planned_sink, layout, model: found, train: training, metrics })
}

fn problems_of(problems: Problems) -> Error {
    match problems.finish(()) {
        Err(error) => error,
        Ok(()) => Error::refused("the source can't be planned"),
    }
}

/// Whether the model that `infer` names is in the registry.
pub fn has_model(pipeline: &Pipeline) -> bool {
    pipeline.infer().is_some_and(|infer| registry::find(&pipeline.models, &infer.model).is_ok())
}

/// Columns beside key, time and values that may have to be read: what the sink asks for, filters compare and the split
/// names. Names that stages make aren't in the source; the stages find out.
fn wanted(pipeline: &Pipeline, purpose: Purpose) -> Vec<At<String>> {
    let mut wanted = Vec::new();
    if let (Purpose::Run, Some(sink)) = (purpose, &pipeline.sink) {
        wanted.extend(sink.fields().iter().cloned());
    }
    for stage in &pipeline.stages {
        if let Stage::Filter(filter) = &stage.value {
            let columns = stage::filter_columns(&filter.predicate);
            wanted.extend(columns.into_iter().map(|value| At { value, place: filter.predicate.place }));
        }
    }
    if let (Purpose::Train, Some(train)) = (purpose, &pipeline.train)
        && let Split::Column(column) = &train.split.value
    {
        wanted.push(At { value: column.clone(), place: train.split.place });
    }
    let made = made_by_stages(pipeline);
    wanted.retain(|column: &At<String>| !made.contains(&column.value));
    wanted
}

/// Names of the columns that the stages make: these can't be read.
fn made_by_stages(pipeline: &Pipeline) -> Vec<String> {
    let mut made = Vec::new();
    for stage in &pipeline.stages {
        match &stage.value {
            Stage::Resample(_) => made.extend(["observed", "age"].map(String::from)),
            Stage::Calendar(calendar) => made.extend(calendar.features.iter().flat_map(|feature| {
                let name = format!("{:?}", feature.value).to_lowercase();
                [format!("{name}_sin"), format!("{name}_cos")]
            })),
            Stage::Lags(lags) => made.extend(
                lags.columns
                    .iter()
                    .flat_map(|(column, lags)| lags.iter().map(move |lag| format!("{}_lag_{lag}", column.value))),
            ),
            Stage::Infer(_) => {
                made.extend(["prediction", "prediction_time", "model_version", "warm_up"].map(String::from));
            }
            Stage::Score(_) => made.extend(["residual", "residual_sd", "tail", "alert"].map(String::from)),
            Stage::Filter(_) | Stage::Scale(_) => {}
        }
    }
    made
}

/// The version that the pipeline names.
fn champion_or_pinned(pipeline: &Pipeline, problems: &mut Problems) -> Option<Arc<Version>> {
    find_model(pipeline, &pipeline.infer()?.model, problems)
}

/// A version of the model (`name` or `name/3`), if the pipeline's `infer` can run it.
pub(super) fn find_model(pipeline: &Pipeline, target: &str, problems: &mut Problems) -> Option<Arc<Version>> {
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
pub(super) fn chain(
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
    let network = Session::new(&version.onnx, &Signature::from(manifest))
        .and_then(|session| stage::infer::Infer::new(&planned, session, layout, metrics.clone()));
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

/// The chain up to the network, and what is trained behind it.
type BeforeNetwork = (Vec<Box<dyn stage::Stage>>, train::Plan);

fn before_network(
    pipeline: &Pipeline,
    train: &At<Train>,
    infer: &At<Infer>,
    layout: &mut Layout,
    problems: &mut Problems,
) -> Option<BeforeNetwork> {
    let chain = stage::chain(pipeline, layout.clone(), stage::Stop::BeforeInfer, &mut |_, _, _| None, problems);
    *layout = chain.before_infer;
    let mut stages = chain.stages;
    let lags: Vec<String> = layout
        .columns
        .iter()
        .filter(|c| c.role == Role::Feature && c.name.contains("_lag_"))
        .map(|c| c.name.clone())
        .collect();
    let plan = train::Plan::new(train, Some(infer), &lags, &layout.clock, layout.interval, problems)?;
    let used = plan.inputs.iter().any(|input| lags.contains(&input.column));
    if !lags.is_empty() && !used {
        problems.add(train.place, "the lags are not used: name them in `inputs`, or set `skip: linear`");
    }
    for target in &train.targets {
        if let Err(message) = layout.number(target) {
            problems.add(target.place, message);
        }
    }
    for input in &train.inputs {
        if let Err(message) = layout.number(input) {
            problems.add(input.place, message);
        }
    }
    if let (Split::Column(_), Key::Melted(_)) = (&train.split.value, &pipeline.record.key) {
        problems.add(train.split.place, "columns_as_keys has no further columns to split by");
    }
    if !problems.is_empty() {
        return None;
    }
    let inputs = Inputs::plan(&plan.inputs, infer, layout, train.place, problems)?;
    stages.push(Box::new(inputs));
    Some((stages, plan))
}

impl Plan {
    /// The source's files.
    ///
    /// # Errors
    /// Refused where the source is Kafka.
    pub fn files(&self) -> Result<&source::Files> {
        match &self.source {
            Source::Files(files) => Ok(files),
            Source::Kafka(_) => Err(Error::refused("this reads files, the source is Kafka")),
        }
    }

    /// Columns of the source's records.
    pub fn layout_of_source(&self) -> &Layout {
        self.source.layout()
    }

    /// A chain of stages for one worker.
    ///
    /// # Errors
    /// What could fail between planning and now: memory, ONNX Runtime.
    pub fn chain(&self) -> Result<Chain> {
        let mut problems = Problems::new(&self.pipeline.file);
        let mut layout = self.layout_of_source().clone();
        let stages = chain(&self.pipeline, &mut layout, self.model.as_ref(), &self.metrics, &mut problems);
        let stages = problems.finish(stages)?;
        Ok(Chain::new(stages, Order::of(&self.pipeline), self.metrics.clone()))
    }

    /// The chain up to the network's inputs, and the layout there.
    ///
    /// # Errors
    /// A pipeline without `train` and `infer`.
    pub fn chain_before_network(&self) -> Result<(Chain, Layout)> {
        let mut problems = Problems::new(&self.pipeline.file);
        let mut layout = self.layout_of_source().clone();
        let (Some(train), Some(infer)) = (&self.pipeline.train, self.pipeline.infer()) else {
            return Err(Error::refused("training needs a `train` section and an `infer` stage"));
        };
        let stages = before_network(&self.pipeline, train, infer, &mut layout, &mut problems);
        let (stages, _) = problems.finish(stages)?.ok_or_else(|| Error::failed("the stages can't be planned again"))?;
        Ok((Chain::new(stages, Order::of(&self.pipeline), self.metrics.clone()), layout))
    }
}
