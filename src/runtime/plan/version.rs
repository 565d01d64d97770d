//! Versions of a pipeline's model besides the one that it was planned with: their stages, if they fit. Must not live
//! here: when a partition changes from one to another.

use std::sync::Arc;

use arrow::datatypes::DataType;

use super::model::{chain, find_model, label};
use super::{Chain, Order, Plan};
use crate::config::Pipeline;
use crate::error::Problems;
use crate::metrics::Metrics;
use crate::model::{Version, registry};
use crate::record::{Kind, Layout, Role};
use crate::state::shown;
use crate::{Error, Result, sink, stage};

/// Characters of a hash that are part of a version's identity.
const HASH: usize = 12;

/// Opens versions for a pipeline.
#[derive(Clone)]
pub struct Opener {
    pub(in crate::runtime) pipeline: Pipeline,
    pub(in crate::runtime) source: Layout,
    pub(in crate::runtime) sink: sink::PlannedSink,
    pub(in crate::runtime) metrics: Arc<Metrics>,
    /// The version that the pipeline was planned with, as users name it.
    pub(in crate::runtime) planned: String,
    /// Whether rows of state are converted and no record runs through: then columns need not be in the same places.
    pub(in crate::runtime) converts: bool,
}

impl Opener {
    /// # Errors
    /// A pipeline without a sink.
    pub fn of(plan: &Plan) -> Result<Opener> {
        Ok(Opener {
            pipeline: plan.pipeline.clone(),
            source: plan.layout_of_source().clone(),
            sink: plan.sink.clone().ok_or_else(|| Error::refused("the pipeline has no sink"))?,
            metrics: plan.metrics.clone(),
            planned: plan.model.as_deref().map(label).unwrap_or_default(),
            converts: false,
        })
    }

    /// A version and the stages with it, if it fits the pipeline and makes the same columns; without an `infer` stage
    /// just those.
    ///
    /// # Errors
    /// What doesn't fit.
    pub fn open(&self, target: &str) -> Result<(Option<Arc<Version>>, Chain)> {
        let mut problems = Problems::new(&self.pipeline.file);
        let version = find_model(&self.pipeline, target, &self.source.clock, &mut problems);
        if let Some(version) = &version {
            self.reads_what_is_looked_up(version)?;
        }
        let chain = chain(&self.pipeline, &self.source, version.as_ref(), &self.metrics, &mut problems);
        let mut planned = None;
        if let (true, Some(sink)) = (problems.is_empty(), &self.pipeline.sink) {
            planned = sink::plan(sink, &chain.layout, &mut problems);
        }
        let stages = if problems.is_empty() { chain.build(&mut problems) } else { Vec::new() };
        problems.finish(())?;
        match planned {
            Some(planned) if planned.has_columns_of(&self.sink) => {}
            Some(planned) if self.converts && planned.schema() == self.sink.schema() => {}
            planned => {
                let other = match self.planned.as_str() {
                    "" => "the version that the pipeline was started with",
                    planned => planned,
                };
                let is_foreign = version.is_some_and(|version| version.manifest.signature.is_some());
                let way = match is_foreign {
                    true => "import one whose outputs have the same columns and widths",
                    false => "train with the same horizon and targets",
                };
                return Err(Error::refused(format!(
                    "{target} makes another output than {other}, and one sink has one: {way}, or give the pipeline \
                     another name and sink\n  {target}: {}\n  pipeline: {}",
                    planned.map(|planned| planned.describe()).unwrap_or_default(),
                    self.sink.describe()
                )));
            }
        }
        Ok((version, Chain::new(stages, Order::of(&self.pipeline), self.metrics.clone())))
    }

    /// Refuses a version that looks up a column that neither the source nor a stage has.
    fn reads_what_is_looked_up(&self, version: &Version) -> Result<()> {
        let lacking = self.lacking(version);
        if lacking.is_empty() {
            return Ok(());
        }
        Err(Error::refused(format!(
            "{} looks up column \"{}\", which this process does not read. What it reads is decided at its start: it is \
             what the versions of the model that were there, or its `train` section, look up. Restart the pipeline, \
             whose messages must have the column",
            label(version),
            lacking.join("\", \"")
        )))
    }

    /// Columns that a version looks up and that are neither read nor made by a stage.
    fn lacking(&self, version: &Version) -> Vec<String> {
        let mut columns = stage::looked_up(&version.manifest);
        let made: Vec<String> =
            stage::before_infer(&self.pipeline).iter().flat_map(|step| step.operator.adds()).collect();
        columns.retain(|column| self.source.find(column).is_none() && !made.contains(column));
        columns
    }

    /// As [`Opener::chain`], where rows of state are only converted: columns that the version looks up need not be
    /// read.
    ///
    /// # Errors
    /// As [`Opener::chain`].
    pub fn chain_to_convert(&self, model: &str) -> Result<Chain> {
        let mut opener = Opener { converts: true, ..self.clone() };
        let (name, number) = shown(model).split_once('/').unwrap_or((shown(model), ""));
        if let Ok(manifest) = registry::read_manifest(&self.pipeline.models.join(name).join(number)) {
            for column in stage::looked_up(&manifest) {
                if opener.source.find(&column).is_none() {
                    opener.source.add(column, Kind::Passthrough(DataType::Utf8), Role::Field);
                }
            }
        }
        opener.chain(model)
    }

    /// The stages with the version that a commit names.
    ///
    /// # Errors
    /// Refused: it is no longer in the registry, or does not fit.
    pub fn chain(&self, model: &str) -> Result<Chain> {
        let target = shown(model);
        let still_active = |error: Error| {
            Error::refused(format!(
                "{error}\n{target} is active where the last run stopped, and is needed before another version takes \
                 over: bring it back, pin it (model: {target}), or begin again: {}",
                self.pipeline.reset_command()
            ))
        };
        let (version, chain) = self.open(target).map_err(still_active)?;
        if identity(version.as_deref()) == model {
            return Ok(chain);
        }
        Err(still_active(Error::refused(format!(
            "the registry holds another model under {target} than the state was made with"
        ))))
    }
}

/// The id of a version in commits and checkpoints: `name/3#` and the beginning of its hash, since a registry
/// that is created again counts again from the start. Empty without a model.
pub fn identity(version: Option<&Version>) -> String {
    let Some(version) = version else { return String::new() };
    named(&label(version), &version.manifest.hash())
}

/// The same of a version's name and its hash.
pub fn named(label: &str, hash: &str) -> String {
    format!("{label}#{}", hash.get(..HASH).unwrap_or(hash))
}
