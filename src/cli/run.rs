//! `kolk run`: to the end of a Parquet source, from where the last run stopped; on Kafka until a signal, or `until`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use serde_json::json;

use super::messages::say_with;
use super::signals::{self, Signals};
use super::{RunArgs, progress};
use crate::config::At;
use crate::error::counted;
use crate::model::executor::library;
use crate::record::Shard;
use crate::runtime::kafka::Stop;
use crate::runtime::{self, Finished, Plan, PlannedSource, Purpose};
use crate::{Error, Result, config, http};

/// Time for leaving the group, after the grace period.
const LEAVING: Duration = Duration::from_secs(3);

/// Runs a pipeline; the summary goes to stderr.
///
/// # Errors
/// Those of [`runtime::plan`] and [`runtime::run`].
pub fn run(arguments: &RunArgs) -> Result<()> {
    let mut pipeline = config::load(&arguments.pipeline)?;
    if let Some(until) = arguments.until {
        let Some(kafka) = pipeline.source.kafka_mut() else {
            return Err(Error::refused("--until is for topics: for files write `until` within `source`"));
        };
        kafka.until = Some(At::default_value(until));
    }
    let name = pipeline.name.value.clone();
    let http = arguments.http.over(pipeline.runtime.http.as_ref().map(|at| &at.value));
    let plan = match arguments.shard {
        Some(shard) => runtime::plan_shard(pipeline, shard)?,
        None => runtime::plan(pipeline, Purpose::Run)?,
    };
    let shard = plan.shard.is_one_of_several().then_some(plan.shard);
    let health = Arc::new(http::Health::default());
    let server = http::serve(&http, super::versions(), &plan.metrics, &health)?;
    let source = match &plan.pipeline.source.input {
        config::Input::Parquet(files) => files.path.0.clone(),
        config::Input::DeadLetters(letters) => format!("dead letters {}", letters.path.0),
        config::Input::Kafka(kafka) => kafka.shown(),
    };
    let sink = plan.sink.as_ref().map_or("nowhere", |sink| sink.shown()).to_string();
    match shard {
        Some(shard) => tracing::info!(pipeline = name, source, sink, %shard, "starting"),
        None => tracing::info!(pipeline = name, source, sink, "starting"),
    }
    plan.source.notes().iter().for_each(|note| tracing::info!("{note}"));
    plan.metrics.onnx_runtime(library::version().unwrap_or("none"));
    plan.warnings().iter().for_each(|warning| tracing::warn!("{warning}"));
    if let Some(version) = &plan.model {
        plan.metrics.model(&version.name, version.number);
    }
    let (finished, signalled) = match &plan.source {
        PlannedSource::Kafka(kafka) => follow(&plan, kafka, &health)?,
        PlannedSource::Files(_) => {
            health.running();
            (to_the_end(plan), None)
        }
    };
    if let Err(error) = &finished {
        health.not_ready(error);
    }
    summary(&name, &finished?, &sink, shard);
    drop(server);
    match signalled {
        Some(signal) => std::process::exit(signals::exit_code(signal)),
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

/// Until a signal, which drains, or the end of a bounded run. A second signal ends at once, and so does the end of the
/// grace period. Returns the number of the signal.
fn follow(
    plan: &Plan,
    kafka: &crate::source::topic::PlannedTopic,
    health: &http::Health,
) -> Result<(Result<Finished>, Option<i32>)> {
    let stop = Stop::default();
    let number = Arc::new(AtomicI32::new(0));
    drain_on(Signals::take()?, stop.clone(), number.clone(), plan.pipeline.runtime.grace);
    let bar = progress::endless();
    plan.metrics.stream.reachable(true);
    let finished = runtime::kafka::run(plan, kafka, &stop, &|done| {
        bar.set_position(done);
        let stream = &plan.metrics.stream;
        let reason = match stream.is_reachable() {
            true => stream.waits.reason(),
            false => Some(crate::kafka::NO_BROKER.into()),
        };
        match reason {
            Some(reason) => health.not_ready(reason),
            None => health.running(),
        }
    });
    bar.finish_and_clear();
    let number = number.load(Ordering::Relaxed);
    Ok((finished, (number > 0).then_some(number)))
}

/// Asks for a stop at the first signal, which it leaves in `number`, and ends the process at the second.
fn drain_on(mut signals: Signals, stop: Stop, number: Arc<AtomicI32>, grace: Duration) {
    std::thread::spawn(move || {
        let Some(first) = signals.next(None) else { return };
        tracing::info!(
            "draining: committing, writing checkpoints, leaving the group; send the signal again to end at once"
        );
        number.store(first, Ordering::Relaxed);
        stop.ask();
        let last = signals.next(Some(grace + LEAVING)).unwrap_or_else(|| {
            // Nothing is lost: what isn't committed is processed again.
            tracing::warn!("the grace period is over: ending at once");
            first
        });
        signals::end_at_once(signals::exit_code(last));
    });
}

/// What a run did: lines for people, or one object in which they are the message.
fn summary(name: &str, finished: &Finished, sink: &str, shard: Option<Shard>) {
    let count = |name: &str| finished.counters.get(name).copied().unwrap_or(0);
    let (all, rows, seconds) = (count("records"), count("rows"), finished.elapsed.as_secs_f64());
    let letters: BTreeMap<&str, u64> =
        finished.counters.iter().filter_map(|(n, c)| Some((n.strip_prefix("dead_letters.")?, *c))).collect();
    let mut lines = Vec::new();
    if finished.already {
        lines.push(format!(
            "already finished, nothing to do: {} in, {} in {sink}",
            counted(all, "record"),
            counted(rows, "row")
        ));
    } else {
        let (records, keys) = (finished.records, finished.keys);
        let each = records as f64 / seconds.max(1e-9);
        lines.push(format!(
            "{} of {} in {seconds:.1} s ({each:.0} a second), {} to {sink}",
            counted(records, "record"),
            counted(keys, "key"),
            counted(rows, "row")
        ));
        if records < all {
            lines.push(format!("resumed an earlier run: {} in all", counted(all, "record")));
        }
    }
    lines.extend(
        letters
            .iter()
            .map(|(reason, letters)| format!("{} to the dead letters: {reason}", counted(*letters, "record"))),
    );
    let (refused, came) = (letters.values().sum::<u64>(), all.max(finished.records));
    let refuses_most = refused * 2 > came;
    if refuses_most {
        lines.push(format!("warning: most of what came was refused: {refused} of {}", counted(came, "record")));
    }
    let late = count("late");
    if late > 0 {
        let were = if late == 1 { "was" } else { "were" };
        lines.push(format!(
            "{} {were} older than their key's newest and {were} processed in the order in which they came \
             (on.late: process; on.reorder puts them in order)",
            counted(late, "record")
        ));
    }
    let of = shard.map_or(String::new(), |shard| format!(" (shard {shard})"));
    let mut text: Vec<String> = lines.iter().map(|line| format!("{name}{of}: {line}")).collect();
    if finished.already {
        text.push("to run it again: kolk state reset, or give the pipeline another name and sink".into());
    }
    let mut fields = json!({ "pipeline": name, "already_finished": finished.already, "records": finished.records,
        "records_in_all": came, "keys": finished.keys, "seconds": seconds, "rows": rows, "sink": sink,
        "late": late, "dead_letters": letters, "most_refused": refuses_most });
    if let Some(shard) = shard {
        fields["shard"] = json!(shard.to_string());
    }
    say_with(text.join("\n"), fields);
}
