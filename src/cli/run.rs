//! `kolk run`: to the end of the source, from wherever the last run stopped.

use std::sync::Arc;

use super::{RunArgs, progress};
use crate::model::library;
use crate::runtime::{self, Finished, Purpose};
use crate::{Result, config, http};

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
    let source = plan.pipeline.source.path().map_or_else(String::new, |path| path.0.clone());
    let sink = match plan.pipeline.sink.as_deref() {
        Some(config::Sink::Parquet { path, .. }) => path.0.clone(),
        Some(config::Sink::Kafka(kafka)) => kafka.topic.value.clone(),
        _ => "stdout".to_string(),
    };
    tracing::info!(pipeline = name, source, sink, "starting");
    plan.metrics.source_rows.set(i64::try_from(plan.source.records()).unwrap_or(i64::MAX));
    plan.metrics.onnx_runtime(library::version().unwrap_or("none"));
    if let Some(version) = &plan.model {
        plan.metrics.model(&version.name, version.number);
    }
    health.running();
    let bar = progress::records(plan.source.records());
    let finished = runtime::run(plan, Some(&|done, _| bar.set_position(done)));
    bar.finish_and_clear();
    if let Err(error) = &finished {
        health.not_ready(error);
    }
    summary(&name, &finished?, &sink);
    drop(server);
    Ok(())
}

fn summary(name: &str, finished: &Finished, sink: &str) {
    let count = |name: &str| finished.counters.get(name).copied().unwrap_or(0);
    if finished.already {
        eprintln!(
            "{name}: finished already, nothing to do: {} records in, {} rows in {sink}\n\
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
        eprintln!("{name}: went on from an earlier run: {} records in all", count("records"));
    }
    for (reason, letters) in finished.counters.iter().filter_map(|(n, c)| Some((n.strip_prefix("dead_letters.")?, c))) {
        eprintln!("{name}: {letters} records to the dead letters: {reason}");
    }
}
