//! The versions of a pipeline's model in the registry, for a stream that takes up new ones while it runs: which is wanted, and
//! the stages with each. Must not live here: when a partition changes from one to another (`stream::swap`).

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use super::engine::Chain;
use super::plan::{Plan, chain, find_model, label, late};
use super::stream::{Models, shown};
use crate::config::{Pipeline, Problems};
use crate::metrics::Metrics;
use crate::model::{Version, registry};
use crate::record::Layout;
use crate::{Error, Result, sink};

/// Characters of a graph's sha256 that are part of a version's identity.
const HASH: usize = 12;

/// The registry, as a worker of a pipeline sees it. Clones share what was told to the user.
#[derive(Clone)]
pub(super) struct Registered {
    pipeline: Pipeline,
    source: Layout,
    sink: sink::Planned,
    metrics: Arc<Metrics>,
    /// The number that was wanted last.
    wanted: Option<u64>,
    /// What was told already.
    told: Arc<Mutex<BTreeSet<String>>>,
}

impl Registered {
    /// # Errors
    /// A pipeline without a sink.
    pub fn of(plan: &Plan) -> Result<Registered> {
        Ok(Registered {
            pipeline: plan.pipeline.clone(),
            source: plan.layout_of_source().clone(),
            sink: plan.sink.clone().ok_or_else(|| Error::refused("the pipeline has no sink"))?,
            metrics: plan.metrics.clone(),
            wanted: plan.model.as_ref().map(|version| version.number),
            told: Arc::default(),
        })
    }

    /// A version and the stages with it, if it fits the pipeline and makes the same columns; without an `infer` stage just those.
    fn open(&self, target: &str) -> Result<(Option<Arc<Version>>, Chain)> {
        let mut problems = Problems::new(&self.pipeline.file);
        let version = find_model(&self.pipeline, target, &mut problems);
        let mut layout = self.source.clone();
        let stages = chain(&self.pipeline, &mut layout, version.as_ref(), &self.metrics, &mut problems);
        let mut planned = None;
        if let (true, Some(sink)) = (problems.is_empty(), &self.pipeline.sink) {
            planned = sink::plan(sink, &layout, &mut problems);
        }
        problems.finish(())?;
        match planned {
            Some(planned) if planned.has_columns_of(&self.sink) => {}
            planned => {
                return Err(Error::refused(format!(
                    "{target} makes another output than the version that the pipeline was started with, and one topic has one: \
                     train with the same horizon and targets, or give the pipeline another name and sink\n  {target}: {}\n  pipeline: {}",
                    planned.map(|planned| planned.describe()).unwrap_or_default(),
                    self.sink.describe()
                )));
            }
        }
        Ok((version, Chain::new(stages, late(&self.pipeline), self.metrics.clone())))
    }

    /// Tells what is wrong, once in the process.
    fn tell(&self, error: &Error) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.insert(error.to_string()) {
            tracing::error!(%error, "a new version of the model can't be taken up: going on with the one before");
        }
    }
}

impl Models for Registered {
    fn look(&mut self) -> Option<(String, Chain)> {
        let name = self.pipeline.infer()?.model.value.clone();
        if registry::name_of(&name) != name {
            return None;
        }
        let number = match registry::champion(&self.pipeline.models, &name) {
            Ok(number) => number?,
            Err(error) => {
                self.tell(&error);
                return None;
            }
        };
        if self.wanted == Some(number) {
            self.metrics.stream.model_refused(&name, 0);
            return None;
        }
        match self.open(&format!("{name}/{number}")) {
            Ok((version, chain)) => {
                self.metrics.stream.model_refused(&name, 0);
                self.wanted = Some(number);
                Some((identity(version.as_deref()), chain))
            }
            Err(error) => {
                self.metrics.stream.model_refused(&name, number);
                self.tell(&error);
                None
            }
        }
    }

    fn chain(&mut self, model: &str) -> Result<Chain> {
        let target = shown(model);
        let in_force = |error: Error| {
            Error::refused(format!(
                "{error}\n{target} is in force where this stream stopped, and has to go on there before another version takes over: \
                 bring it back, or begin anew with kolk state reset"
            ))
        };
        let (version, chain) = self.open(target).map_err(in_force)?;
        if identity(version.as_deref()) == model {
            return Ok(chain);
        }
        Err(in_force(Error::refused(format!(
            "the registry holds another model under {target} than the state was made with"
        ))))
    }
}

/// What stands for a version in commits and checkpoints: `name/3#` and the beginning of its graph's sha256, since a registry that is made
/// anew begins to count anew. Empty without a model.
pub(super) fn identity(version: Option<&Version>) -> String {
    let Some(version) = version else { return String::new() };
    let hash = version.manifest.files.get(registry::MODEL).map_or("", String::as_str);
    format!("{}#{}", label(version), hash.get(..HASH).unwrap_or(hash))
}
