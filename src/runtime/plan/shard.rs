//! A run over files that several processes share: what a shard is refused, and the version of the model that all of
//! them take.
//!
//! A shard is whole partitions of the state, so each of its files, and its part of the state, is what one run makes.
//! The version is the only thing that one run finds out once and several processes find out several times.

use serde_json::json;

use super::{Plan, Purpose, identity, plan};
use crate::config::{NOWHERE, Pipeline, Sink, Stage};
use crate::error::{Context, Problems};
use crate::model::registry::sha256;
use crate::record::Shard;
use crate::runtime::files::check_state;
use crate::state::{Store, shown};
use crate::{Error, Result};

/// Adds what a shard is refused.
pub fn check_shard(pipeline: &Pipeline, shard: Shard, problems: &mut Problems) {
    if pipeline.source.kafka().is_some() {
        let message = "--shard is for files: of a topic, the consumer group gives each process its partitions; start \
                       as many processes as you need";
        problems.add(pipeline.name.place, message);
        return;
    }
    let partitions = pipeline.state.partitions;
    if shard.count() > partitions {
        let message = format!(
            "--shard {shard}: a shard takes whole partitions, and state.partitions is {partitions}: take at most \
             {partitions} shards, or raise state.partitions before the first run"
        );
        problems.add(NOWHERE, message);
    }
    if let (true, Some(name), Some(Sink::Stdout { .. })) =
        (shard.is_one_of_several(), unpinned(pipeline), pipeline.sink.as_deref())
    {
        let place = pipeline.infer().map_or(NOWHERE, |infer| infer.model.place);
        let message = format!(
            "with --shard and a stdout sink, name the version, as {name}/1: there is no state by which the shards \
             could agree on one"
        );
        problems.add(place, message);
    }
}

/// The model of a pipeline that leaves the version to the registry.
fn unpinned(pipeline: &Pipeline) -> Option<&str> {
    pipeline.infer().map(|infer| infer.value.model.value.as_str()).filter(|model| !model.contains('/'))
}

/// As [`plan`] for a run, of one shard. Without a version in the file, all shards take the one that the first of them
/// found, as one run would.
///
/// # Errors
/// As [`plan`]; what a shard is refused.
pub fn plan_shard(mut pipeline: Pipeline, shard: Shard) -> Result<Plan> {
    let mut problems = Problems::new(&pipeline.file);
    check_shard(&pipeline, shard, &mut problems);
    problems.finish(())?;
    let planned = Plan { shard, ..plan(pipeline.clone(), Purpose::Run)? };
    let found = identity(planned.model.as_deref());
    let has_state = matches!(pipeline.sink.as_deref(), Some(Sink::Parquet { .. }));
    if !(shard.is_one_of_several() && has_state && unpinned(&pipeline).is_some()) {
        return Ok(planned);
    }
    check_state(&planned)?;
    let agreed = agree(&planned, &found)?;
    if agreed == found {
        return Ok(planned);
    }
    let version = shown(&agreed).to_string();
    tracing::info!(version, "the version of the model that the first shard began with");
    for stage in &mut pipeline.stages {
        if let Stage::Infer(infer) = &mut stage.value {
            infer.model.value.clone_from(&version);
        }
    }
    let reset = pipeline.reset_command();
    let planned = Plan { shard, ..plan(pipeline, Purpose::Run)? };
    if identity(planned.model.as_deref()) != agreed {
        return Err(Error::refused(format!(
            "the registry holds another model under {version} than the other shards have: bring it back, or begin \
             again: {reset}"
        )));
    }
    Ok(planned)
}

/// The version that the first shard to read these files took. With further files, the registry is asked again, as for
/// the next run.
fn agree(plan: &Plan, found: &str) -> Result<String> {
    let pipeline = &plan.pipeline;
    let cannot = || "cannot agree with the other shards on a version of the model".to_string();
    let files = serde_json::to_vec(plan.files()?.files()).or_failed(cannot)?;
    let digest = &sha256(&files)[..16];
    let text = serde_json::to_vec_pretty(&json!({ "model": found })).or_failed(cannot)?;
    let kept = Store::open(&pipeline.state.path, &pipeline.name)?.first_of(&format!("shards-{digest}.json"), text)?;
    let kept: serde_json::Value = serde_json::from_slice(&kept).or_failed(cannot)?;
    Ok(kept["model"].as_str().unwrap_or(found).to_string())
}
