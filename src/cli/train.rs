//! `kolk train`: capture, train, evaluate, export, check, publish.

use std::sync::Arc;

use indicatif::ProgressBar;

use super::{TrainArgs, print, progress};
use crate::model::executor::library;
use crate::model::registry;
use crate::runtime::{self, Captured, Plan, Purpose};
use crate::train::{self, Phase, Progress, Series, Trained};
use crate::{Error, Result, config, http};

/// Trains the model that the pipeline's `infer` stage names; prints the label of the version it published.
///
/// # Errors
/// Those of [`runtime::plan`] and [`train::train`]; a registry that can't be written; an export that doesn't compute what
/// was trained.
pub fn run(arguments: &TrainArgs) -> Result<()> {
    let pipeline = config::load(&arguments.pipeline)?;
    library::library()?;
    let address = arguments.http.or(pipeline.runtime.http.as_ref().map(|at| at.value));
    let plan = runtime::plan(pipeline, Purpose::Train)?;
    let (Some(training), Some(infer)) = (&plan.train, plan.pipeline.infer()) else {
        return Err(Error::refused("training needs a `train` section and an `infer` stage"));
    };
    let health = Arc::new(http::Health::default());
    let server = address.map(|address| http::serve(address, plan.metrics.clone(), health.clone())).transpose()?;
    plan.metrics.onnx_runtime(library::version()?);
    health.running();

    let captured = capture(&plan, training)?;
    let trained = learn(&captured.series, training)?;
    for warning in &trained.warnings {
        tracing::warn!("{warning}");
    }
    eprintln!("{}", trained.evaluation.table());

    let name = infer.model.split('/').next().unwrap_or_default();
    let stages = runtime::stages_of_model(&plan.pipeline);
    let version = train::publish(&plan.pipeline.models, name, &trained, &captured.series, stages)?;
    registry::set_champion(&plan.pipeline.models, name, version.number)?;
    eprintln!("published {}: {}", runtime::label(&version), version.folder.join(registry::REPORT).display());
    drop(server);
    print(runtime::label(&version))
}

/// Reads the source through the stages before the network.
fn capture(plan: &Plan, training: &train::Plan) -> Result<Captured> {
    let split = match plan.pipeline.train.as_ref().map(|train| &train.split.value) {
        Some(config::Split::Column(column)) => Some(column.as_str()),
        _ => None,
    };
    let bar = progress::records(plan.files()?.records());
    plan.metrics.source_rows.set(i64::try_from(plan.files()?.records()).unwrap_or(i64::MAX));
    let read = &plan.metrics.source_rows_read;
    let captured = runtime::capture(plan, training.head.columns(), split, &mut |records| {
        bar.set_position(records);
        read.inc_by(records.saturating_sub(read.get()));
    })?;
    bar.finish_and_clear();
    let rows: usize = captured.series.iter().map(|series| series.times.len()).sum();
    eprintln!("{} records read, {rows} rows of {} keys behind the stages", captured.records, captured.series.len());
    for (reason, count) in &captured.rejected {
        eprintln!("{count} records left out of training: {reason}");
    }
    Ok(captured)
}

/// Trains behind a progress bar; without a terminal, a line for each tenth of the way.
fn learn(series: &[Series], training: &train::Plan) -> Result<Trained> {
    let mut shown: Option<(Phase, ProgressBar)> = None;
    let mut told = 0;
    let trained = train::train(series, training, &mut |now: Progress| {
        if shown.as_ref().is_none_or(|(phase, _)| *phase != now.phase) {
            if let Some((_, bar)) = shown.take() {
                bar.finish_and_clear();
            }
            told = 0;
        }
        let (_, bar) = shown.get_or_insert_with(|| (now.phase, progress::steps(now.of_updates as u64)));
        bar.set_length(now.of_updates as u64);
        bar.set_position(now.updates as u64);
        let message = message(&now);
        let tenth = now.updates * 10 / now.of_updates.max(1);
        if bar.is_hidden() && now.finished.is_some() && tenth > told {
            told = tenth;
            tracing::info!("{message}, update {} of {}, {} s left", now.updates, now.of_updates, now.left.as_secs());
        }
        bar.set_message(message);
    });
    if let Some((_, bar)) = shown {
        bar.finish_and_clear();
    }
    trained
}

fn message(now: &Progress) -> String {
    let phase = match now.phase {
        Phase::Train => "train",
        Phase::Refit => "train on everything",
        Phase::Evaluate => return "evaluate".to_string(),
    };
    let validation = now.finished.and_then(|end| end.validation_loss).map(|loss| format!(", validation {loss:.4}"));
    format!("{phase}: epoch {}, loss {:.4}{}", now.epoch, now.train_loss, validation.unwrap_or_default())
}
