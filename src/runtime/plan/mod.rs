//! Everything that can be known, checked and refused before anything starts.
//!
//! Lives here: a pipeline fitted together with its files, topics and model ([`Plan`]), and the fingerprint of all that.
//! Must not live here: what each part finds out by itself (`source`, `stage`, `sink`, `model`).

mod fingerprint;
mod model;
mod source;
mod training;

use std::sync::Arc;

pub use model::{has_model, label, stages_of_model};
pub use source::Source;

pub(super) use fingerprint::fingerprint;
pub(super) use model::{chain, find_model};

use super::engine::{Chain, Order};
use crate::config::Pipeline;
use crate::error::Problems;
use crate::metrics::Metrics;
use crate::model::Version;
use crate::record::Layout;
use crate::{Error, Result, sink, train};

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
    let source = Source::plan(&pipeline, &source::wanted(&pipeline, purpose), &mut problems);
    let mut found = None;
    let mut training = None;
    let Some(source) = source else {
        // Without columns the stages can't be checked, but the model can.
        if purpose == Purpose::Run {
            model::champion_or_pinned(&pipeline, &mut problems);
        }
        return Err(problems_of(problems));
    };
    let mut layout = source.layout().clone();
    match purpose {
        Purpose::Run => {
            found = model::champion_or_pinned(&pipeline, &mut problems);
            chain(&pipeline, &mut layout, found.as_ref(), &metrics, &mut problems);
        }
        Purpose::Train => match (&pipeline.train, pipeline.infer()) {
            (Some(train), Some(infer)) => {
                training =
                    training::before_network(&pipeline, train, infer, &mut layout, &mut problems).map(|(_, plan)| plan);
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

impl Plan {
    /// The source's files.
    ///
    /// # Errors
    /// Refused where the source is Kafka.
    pub fn files(&self) -> Result<&crate::source::Files> {
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
        let stages = training::before_network(&self.pipeline, train, infer, &mut layout, &mut problems);
        let (stages, _) = problems.finish(stages)?.ok_or_else(|| Error::failed("the stages can't be planned again"))?;
        Ok((Chain::new(stages, Order::of(&self.pipeline), self.metrics.clone()), layout))
    }
}
