//! `kolk run`: to the end of a Parquet source, from where the last run stopped; on Kafka until a signal.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::{RunArgs, progress};
use crate::error::Context;
use crate::model::executor::library;
use crate::runtime::kafka::Stop;
use crate::runtime::{self, Finished, Plan, PlannedSource, Purpose};
use crate::storage::block_on;
use crate::{Result, config, http};

/// Time for leaving the group, after the grace period.
const LEAVING: Duration = Duration::from_secs(3);

/// Runs a pipeline; the summary goes to stderr.
///
/// # Errors
/// Those of [`runtime::plan`] and [`runtime::run`].
pub fn run(arguments: &RunArgs) -> Result<()> {
    let pipeline = config::load(&arguments.pipeline)?;
    let name = pipeline.name.value.clone();
    let address = arguments.http.or(pipeline.runtime.http.as_ref().map(|at| at.value));
    let plan = runtime::plan(pipeline, Purpose::Run)?;
    let health = Arc::new(http::Health::default());
    let server = address.map(|address| http::serve(address, plan.metrics.clone(), health.clone())).transpose()?;
    let source = match &plan.pipeline.source.input {
        config::Input::Parquet(path) => path.0.clone(),
        config::Input::DeadLetters(letters) => format!("dead letters {}", letters.path.0),
        config::Input::Kafka(kafka) => format!("topic {}", kafka.topic.value),
    };
    let sink = plan.sink.as_ref().map_or("nowhere", |sink| sink.shown()).to_string();
    tracing::info!(pipeline = name, source, sink, "starting");
    plan.metrics.onnx_runtime(library::version().unwrap_or("none"));
    if let Some(version) = &plan.model {
        plan.metrics.model(&version.name, version.number);
    }
    health.running();
    let (finished, signalled) = match &plan.source {
        PlannedSource::Kafka(kafka) => follow(&plan, kafka, &health)?,
        PlannedSource::Files(_) => (to_the_end(plan), None),
    };
    if let Err(error) = &finished {
        health.not_ready(error);
    }
    summary(&name, &finished?, &sink);
    drop(server);
    match signalled {
        // As the shell counts a process that ended by a signal.
        Some(signal) => std::process::exit(128 + signal),
        None => Ok(()),
    }
}

fn to_the_end(plan: Plan) -> Result<Finished> {
    let records = plan.files()?.records();
    plan.metrics.source_rows.set(i64::try_from(records).unwrap_or(i64::MAX));
    let bar = progress::records(records);
    let finished = runtime::run(plan, Some(&|done, _| bar.set_position(done)));
    bar.finish_and_clear();
    finished
}

/// Until SIGTERM or SIGINT, which drains. A second signal ends at once, and so does the end of the grace period.
/// Returns the number of the signal.
fn follow(
    plan: &Plan,
    kafka: &crate::source::topic::PlannedTopic,
    health: &http::Health,
) -> Result<(Result<Finished>, Option<i32>)> {
    let stop = Stop::default();
    let asked = stop.clone();
    let grace = plan.pipeline.runtime.grace;
    let number = Arc::new(std::sync::atomic::AtomicI32::new(0));
    let told = number.clone();
    block_on(async move {
        let failed = || "cannot listen for signals".to_string();
        let mut terminate = signal(SignalKind::terminate()).or_failed(failed)?;
        let mut interrupt = signal(SignalKind::interrupt()).or_failed(failed)?;
        tokio::spawn(async move {
            let mut signalled = async || {
                tokio::select! {
                    _ = terminate.recv() => SignalKind::terminate().as_raw_value(),
                    _ = interrupt.recv() => SignalKind::interrupt().as_raw_value(),
                }
            };
            let first = signalled().await;
            tracing::info!(
                "draining: committing, writing checkpoints, leaving the group; send the signal again to end at once"
            );
            told.store(first, std::sync::atomic::Ordering::Relaxed);
            asked.ask();
            let last = tokio::time::timeout(grace + LEAVING, signalled()).await.unwrap_or_else(|_| {
                // Nothing is lost: what isn't committed is processed again.
                tracing::warn!("the grace period is over: ending at once");
                first
            });
            std::process::exit(128 + last);
        });
        Ok::<_, crate::Error>(())
    })??;
    let bar = progress::endless();
    plan.metrics.stream.reachable(true);
    let finished = runtime::kafka::run(plan, kafka, &stop, &|done| {
        bar.set_position(done);
        let stream = &plan.metrics.stream;
        let reason = match stream.is_reachable() {
            true => stream.waits.overdue(),
            false => Some(crate::kafka::NO_BROKER.into()),
        };
        match reason {
            Some(reason) => health.not_ready(reason),
            None => health.running(),
        }
    });
    bar.finish_and_clear();
    let number = number.load(std::sync::atomic::Ordering::Relaxed);
    Ok((finished, (number > 0).then_some(number)))
}

fn summary(name: &str, finished: &Finished, sink: &str) {
    let count = |name: &str| finished.counters.get(name).copied().unwrap_or(0);
    if finished.already {
        eprintln!(
            "{name}: already finished, nothing to do: {} records in, {} rows in {sink}\n\
             to run it again: kolk state reset, or give the pipeline another name and sink",
            count("records"),
            count("rows")
        );
        return;
    }
    let seconds = finished.elapsed.as_secs_f64();
    eprintln!(
        "{name}: {} records of {} keys in {seconds:.1} s ({:.0} a second), {} rows to {sink}",
        finished.records,
        finished.keys,
        finished.records as f64 / seconds.max(1e-9),
        count("rows")
    );
    if finished.records < count("records") {
        eprintln!("{name}: resumed an earlier run: {} records in all", count("records"));
    }
    for (reason, letters) in finished.counters.iter().filter_map(|(n, c)| Some((n.strip_prefix("dead_letters.")?, c))) {
        eprintln!("{name}: {letters} records to the dead letters: {reason}");
    }
}
