//! Everything that can be known, checked and refused before anything starts.
//!
//! Lives here: a pipeline fitted together with its files, topics and model ([`Plan`]), and the fingerprint of all that.
//! Must not live here: what each part finds out by itself (`source`, `stage`, `sink`, `model`).

mod fingerprint;
mod folders;
mod legacy;
mod model;
mod shard;
mod source;
mod training;
mod version;

use std::sync::Arc;

pub use model::{has_model, label, stages_of_model, trusted};
pub use shard::{check_shard, plan_shard};
pub use source::PlannedSource;
pub(super) use version::{Opener, identity, named};

pub(super) use fingerprint::fingerprint;
pub(super) use model::chain;
#[cfg(test)]
pub(super) use model::find_model;

use super::engine::{Chain, Order};
use crate::config::{Device, Pipeline, Sink, Stage};
use crate::error::Problems;
use crate::metrics::Metrics;
use crate::model::Version;
use crate::model::executor::device;
use crate::record::{Clock, Layout, Shard};
use crate::stage::Operator as _;
use crate::zone::{Zone, database};
use crate::{Error, Result, sink, stage, train};

/// What a pipeline is planned for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// `kolk run`: needs a sink, and a model if there is an `infer` stage.
    Run,
    /// `kolk train`: needs a `train` section; the model doesn't exist yet.
    Train,
}

/// A pipeline with everything it names found and fitted together.
pub struct Plan {
    /// The pipeline file.
    pub pipeline: Pipeline,
    /// The source, its files listed or its topics found.
    pub source: PlannedSource,
    /// The sink, for [`Purpose::Run`].
    pub sink: Option<sink::PlannedSink>,
    /// The stages: all of them, or for [`Purpose::Train`] those up to the network's inputs.
    stages: stage::PlannedStages,
    /// The model that `infer` runs, for [`Purpose::Run`].
    pub model: Option<Arc<Version>>,
    /// What is trained and how, for [`Purpose::Train`].
    pub train: Option<train::Plan>,
    /// Which partitions this process takes; only for files.
    pub shard: Shard,
    /// Every metric of the process.
    pub metrics: Arc<Metrics>,
}

/// What a source shows beside problems.
#[derive(Debug, Default)]
pub struct Seen {
    /// What isn't a problem yet and may become one: what a sample of the source shows, among others.
    pub warnings: Vec<String>,
    /// What is good to know, such as columns that are widened.
    pub notes: Vec<String>,
}

/// Plans a pipeline, or returns everything that is wrong with it.
///
/// # Errors
/// Every problem at its place; or one refusal for what has no place in the file.
pub fn plan(pipeline: Pipeline, purpose: Purpose) -> Result<Plan> {
    planned(pipeline, purpose, None, true)
}

/// As [`plan`], to be looked at and not to run: no broker is asked, so that a topic has one partition and no id.
///
/// # Errors
/// As [`plan`].
pub fn plan_unasked(pipeline: Pipeline) -> Result<Plan> {
    planned(pipeline, Purpose::Run, None, false)
}

/// As [`plan`], with what the source shows, also where the plan has problems.
///
/// # Errors
/// As [`plan`].
pub fn check(pipeline: Pipeline, purpose: Purpose, seen: &mut Seen) -> Result<Plan> {
    planned(pipeline, purpose, Some(seen), true)
}

fn planned(pipeline: Pipeline, purpose: Purpose, seen: Option<&mut Seen>, asks: bool) -> Result<Plan> {
    let mut problems = Problems::new(&pipeline.file);
    let metrics = Arc::new(metrics(&pipeline, &mut problems)?);
    folders::check(&pipeline, purpose, &mut problems);
    // With a model to run, they are read for it.
    if purpose != Purpose::Run || pipeline.infer().is_none() {
        model::public_keys(&pipeline, &mut problems);
    }
    let device = device(&pipeline, purpose, &mut problems);
    let wanted = source::wanted(&pipeline, purpose);
    let source = PlannedSource::asking(&pipeline, &wanted, (asks, purpose), &mut problems)
        .or_else(|| source::without_times(&pipeline, purpose));
    let Some(source) = source else {
        // Without columns the stages can't be checked, but the model can.
        if purpose == Purpose::Run {
            model::champion_or_pinned(&pipeline, &Clock::default(), &mut problems);
        }
        return Err(problems_of(problems, "the source can't be planned"));
    };
    let is_check = seen.is_some();
    match seen {
        Some(seen) => {
            *seen = Seen { warnings: warnings(&pipeline, &source), notes: source.notes().to_vec() };
            seen.notes.extend(device);
        }
        None => device.iter().for_each(|device| tracing::info!("{device}")),
    }
    if let Some(from) = &pipeline.source.emit_from
        && let Err(message) = source.layout().clock.moment(from.value)
    {
        problems.add(from.place, message);
    }
    let (mut model, mut train, mut sink, mut stages) = (None, None, None, None);
    match purpose {
        Purpose::Run => {
            let before = problems.len();
            model = model::champion_or_pinned(&pipeline, &source.layout().clock, &mut problems);
            // Of a model that doesn't fit that is the problem, and not each column that it lacks here.
            let fitting = model.as_ref().filter(|_| problems.len() == before);
            let planned = chain(&pipeline, source.layout(), fitting, &metrics, &mut problems);
            match &pipeline.sink {
                _ if !problems.is_empty() => {}
                Some(to) => sink = sink::plan(to, &planned.layout, &mut problems),
                None => problems.add(pipeline.name.place, "there is no `sink`: nowhere to write to"),
            }
            if let (true, Some(Sink::Kafka(to)), Some(planned)) = (is_check, pipeline.sink.as_deref(), &sink) {
                crate::format::check_encoder(to, planned.schema(), &mut problems);
            }
            stages = Some(planned);
        }
        Purpose::Train => match (&pipeline.train, pipeline.infer()) {
            (Some(section), Some(infer)) => {
                let planned = training::before_network(&pipeline, section, &infer, source.layout(), &mut problems);
                (stages, train) = planned.unzip();
            }
            (None, _) => problems.add(pipeline.name.place, "there is no `train` section: nothing to train"),
            (_, None) => {
                problems.add(pipeline.name.place, "there is no `infer` stage: it names the model to train and its mode")
            }
        },
    }
    match stages {
        Some(stages) if problems.is_empty() => {
            let shard = Shard::default();
            Ok(Plan { pipeline, source, sink, stages, model, train, shard, metrics })
        }
        _ => Err(problems_of(problems, "the stages can't be planned")),
    }
}

/// Chooses the device before anything else, since the library depends on it; what `auto` took. Training is on the CPU.
fn device(pipeline: &Pipeline, purpose: Purpose, problems: &mut Problems) -> Option<String> {
    let wanted = &pipeline.runtime.device;
    let runs = purpose == Purpose::Run && pipeline.infer().is_some();
    match device::choose(if runs { wanted.value } else { Device::Cpu }) {
        Ok(said) => said,
        Err(error) => {
            problems.add(wanted.place, error);
            None
        }
    }
}

/// Every metric, with the labels that the pipeline gives them.
fn metrics(pipeline: &Pipeline, problems: &mut Problems) -> Result<Metrics> {
    let labels = &pipeline.metric_labels;
    let constant = labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let several = pipeline.source.kafka().is_some_and(|kafka| kafka.topics.is_some());
    let metrics = if several { Metrics::of_topics(constant)? } else { Metrics::with_labels(constant)? };
    for (name, _) in labels.iter().filter(|(name, _)| metrics.has_label(name)) {
        problems.add(name.place, format_args!("label \"{}\": some metrics have one with this name", name.value));
    }
    Ok(metrics)
}

fn problems_of(problems: Problems, otherwise: &str) -> Error {
    match problems.finish(()) {
        Err(error) => error,
        Ok(()) => Error::refused(otherwise),
    }
}

fn warnings(pipeline: &Pipeline, source: &PlannedSource) -> Vec<String> {
    match source {
        PlannedSource::Kafka(kafka) => kafka.warnings.clone(),
        PlannedSource::Files(files) => crate::source::of_files(pipeline, &**files),
    }
}

impl Plan {
    /// The source's files.
    ///
    /// # Errors
    /// Refused where the source is Kafka.
    pub fn files(&self) -> Result<&dyn crate::source::Files> {
        match &self.source {
            PlannedSource::Files(files) => Ok(&**files),
            PlannedSource::Kafka(_) => Err(Error::refused("this reads files, the source is Kafka")),
        }
    }

    /// What isn't a problem yet and may become one: what a sample of the source shows, among others.
    pub fn warnings(&self) -> Vec<String> {
        warnings(&self.pipeline, &self.source)
    }

    /// That nothing reads what a `calendar` stage makes, which training does not use by itself.
    pub fn unread_calendar(&self) -> Option<String> {
        let train = self.pipeline.train.as_ref()?;
        let calendar = self.pipeline.stages.iter().find_map(|stage| match &stage.value {
            Stage::Calendar(calendar) => Some(calendar.adds()),
            _ => None,
        })?;
        let is_read = calendar.iter().any(|made| train.inputs.iter().any(|input| input.value == *made));
        let made = calendar.join(", ");
        (!is_read)
            .then(|| format!("`calendar` makes {made}, but the network reads none of it: list it in train.inputs"))
    }

    /// The version of the tz database, where results depend on the rules of a time zone.
    pub fn tz_database(&self) -> Option<&'static str> {
        let own = self.layout_of_source().clock.zone.iter();
        let named = self.pipeline.stages.iter().filter_map(|stage| match &stage.value {
            Stage::Calendar(calendar) => Some(&calendar.timezone.value),
            Stage::Resample(resample) => resample.timezone.as_ref().map(|zone| &zone.value),
            _ => None,
        });
        own.chain(named).any(Zone::is_of_database).then(|| database().version())
    }

    /// Columns of the source's records.
    pub fn layout_of_source(&self) -> &Layout {
        self.source.layout()
    }

    /// Whether the model may change while the pipeline runs.
    fn swaps(&self) -> bool {
        matches!(self.pipeline.sink.as_deref(), Some(Sink::Kafka(_)))
    }

    /// The columns that come out of the last stage.
    pub fn layout(&self) -> &Layout {
        &self.stages.layout
    }

    /// A chain of stages for one worker.
    ///
    /// # Errors
    /// What can't be opened: ONNX Runtime, the model.
    pub fn chain(&self) -> Result<Chain> {
        let mut problems = Problems::new(&self.pipeline.file);
        let mut stages = self.stages.build(&mut problems);
        if let PlannedSource::Files(files) = &self.source
            && let Some(unread) = files.unread()
        {
            stages.iter_mut().for_each(|stage| stage.take_unread(&unread));
        }
        Ok(Chain::new(problems.finish(stages)?, Order::of(&self.pipeline), self.metrics.clone()))
    }
}
