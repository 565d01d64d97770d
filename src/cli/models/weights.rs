//! `kolk models import FILE --pipeline PIPELINE`: weights of others become a version of a pipeline's network.

use std::path::Path;

use serde_json::json;

use super::PublishArgs;
use crate::cli::messages::{say, say_with};
use crate::error::Context;
use crate::model::{registry, weights};
use crate::runtime::{self, Purpose};
use crate::{Error, Result, config, train};

/// Publishes the weights of a file as the next version of the pipeline's model, and returns the version's label.
///
/// # Errors
/// Everything that is wrong with the pipeline; a file that isn't one of its network; a registry that can't be written.
pub(super) fn import(from: &Path, pipeline: &Path, modules: &[String], publish: &PublishArgs) -> Result<String> {
    let plan = runtime::plan(config::load(pipeline)?, Purpose::Train)?;
    let (Some(training), Some(infer)) = (&plan.train, plan.pipeline.infer()) else {
        return Err(Error::refused("the import needs a `train` section, which describes the network, and `infer`"));
    };
    let key = publish.key(&runtime::trusted(&plan.pipeline)?)?;
    let found = weights::read(from, &training.architecture, modules)?;
    let bytes = std::fs::read(from).or_refused(|| format!("read {}", from.display()))?;
    let file = from.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let name = registry::name_of(&infer.model);
    let to = train::Destination {
        models: &plan.pipeline.models,
        name,
        stages: runtime::stages_of_model(&plan.pipeline, &plan.layout_of_source().clock),
        tz_database: plan.tz_database(),
        key: key.as_ref(),
    };
    let (version, notes) = train::import(to, training, found, (&file, &registry::sha256(&bytes)))?;
    notes.iter().for_each(|note| tracing::warn!("{note}"));
    publish.promote(&plan.pipeline.models, &version)?;
    let label = runtime::label(&version);
    let layers = version.manifest.architecture.as_ref().map(|architecture| architecture.in_words()).unwrap_or_default();
    say(format_args!("{file}: {layers}"));
    say_with(format_args!("published {label}: {}", version.folder.display()), json!({ "model": label }));
    Ok(label)
}
