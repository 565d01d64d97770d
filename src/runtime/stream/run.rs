//! A run on Kafka: workers on their threads, until a signal or an error.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{Processing, Settings, Worker};
use crate::config::{DeadLetters, Delivery, Headers, KafkaSource, Pipeline, Sink};
use crate::format::{Payloads, PlannedEncoder};
use crate::runtime::plan::{Plan, label};
use crate::runtime::run::{Finished, fingerprint, joined, moment};
use crate::source::kafka::{Client, Output, Planned};
use crate::state::Log;
use crate::{Error, Result, format};

/// Bytes of output after which a transaction is committed at once.
const COMMIT_BYTES: usize = 16 << 20;
/// Bytes that a dead letter's key and headers may take of a message.
const LETTER_ROOM: usize = 8 << 10;

/// Asked to stop; shared by all workers of a process.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks all workers to drain and leave.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether they were asked.
    pub fn asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Runs a pipeline whose source is Kafka until it is asked to stop. `progress` gets the records taken so far.
///
/// # Errors
/// Refused: state that can't be gone on with. Failed: what can't be waited out.
pub fn run(plan: &Plan, source: &Planned, stop: &Stop, progress: &dyn Fn(u64)) -> Result<Finished> {
    let started = Instant::now();
    let pipeline = &plan.pipeline;
    let kafka = pipeline.source.kafka().ok_or_else(|| Error::failed("the source isn't Kafka: a bug of kolk"))?;
    source.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let output = output(pipeline, kafka, source)?;
    let encoder = encoder(plan, &output)?;
    let workers = pipeline.runtime.workers.min(source.partitions as usize).max(1);
    let mut parts = Vec::new();
    for number in 0..workers {
        let processing = processing(plan, source, kafka, &output, &encoder)?;
        let fingerprint = fingerprint(plan, &processing.chain);
        let log = Log::open(&pipeline.state.path, &pipeline.name, &source.topic_id, &fingerprint)?;
        parts.push((number, processing, log));
    }
    // A worker that ends takes the others with it: half a pipeline would look like a slow one.
    let ended = Stop::default();
    let results: Vec<Result<()>> = std::thread::scope(|scope| {
        let handles: Vec<_> = parts
            .into_iter()
            .map(|(number, processing, log)| {
                let (output, ended, settings) = (output.clone(), ended.clone(), settings(pipeline, kafka));
                scope.spawn(move || {
                    let headers = processing.headers || output.dead_letters.is_some();
                    let result = Client::new(kafka, output, number, headers).and_then(|client| {
                        Worker::new(client, log, processing, settings).run(&|| stop.asked() || ended.asked())
                    });
                    if result.is_err() {
                        ended.ask();
                    }
                    result
                })
            })
            .collect();
        while handles.iter().any(|handle| !handle.is_finished()) {
            progress(plan.metrics.records_in.get());
            std::thread::sleep(Duration::from_millis(50));
        }
        handles.into_iter().map(|handle| joined(handle.join())).collect()
    });
    results.into_iter().collect::<Result<()>>()?;
    Ok(Finished {
        already: false,
        records: plan.metrics.records_in.get(),
        counters: BTreeMap::from([("rows".to_string(), plan.metrics.records_out.get())]),
        keys: u64::try_from(plan.metrics.state_keys.get()).unwrap_or(0),
        elapsed: started.elapsed(),
    })
}

/// Where and how a pipeline sends.
fn output(pipeline: &Pipeline, kafka: &KafkaSource, source: &Planned) -> Result<Output> {
    let Some(Sink::Kafka(sink)) = pipeline.sink.as_ref().map(|sink| &sink.value) else {
        return Err(Error::refused("a Kafka source is written to Kafka: sink: { kafka: { topic } }"));
    };
    // Stable where the process has a name; else no other process ever has it.
    let instance = match &pipeline.runtime.instance {
        Some(instance) => instance.value.clone(),
        None => crate::state::unique_name(),
    };
    let dead_letters = match &pipeline.dead_letters.value {
        DeadLetters::Kafka(topic) => Some(topic.value.clone()),
        DeadLetters::Parquet(_) => None,
    };
    Ok(Output {
        sink: sink.as_ref().clone(),
        dead_letters,
        delivery: pipeline.runtime.delivery.value,
        id: format!("{}-{}-{instance}", pipeline.name.value, kafka.group.value),
        longest: source.longest,
    })
}

fn encoder(plan: &Plan, output: &Output) -> Result<PlannedEncoder> {
    let sink = plan.sink.as_ref().ok_or_else(|| Error::refused("the pipeline has no sink"))?;
    let mut problems = crate::config::Problems::new(&plan.pipeline.file);
    let encoder = format::plan_encoder(&output.sink, sink.schema(), &mut problems);
    problems.finish(encoder)?.ok_or_else(|| Error::refused("the format of the sink can't be planned"))
}

fn processing(
    plan: &Plan,
    source: &Planned,
    kafka: &KafkaSource,
    output: &Output,
    encoder: &PlannedEncoder,
) -> Result<Processing> {
    let pipeline = &plan.pipeline;
    let sink = plan.sink.clone().ok_or_else(|| Error::refused("the pipeline has no sink"))?;
    Ok(Processing {
        pipeline: pipeline.name.value.clone(),
        topic: kafka.topic.value.clone(),
        chain: plan.chain()?,
        layout: plan.layout_of_source().clone(),
        decoder: source.decoder.decoder()?,
        sink,
        encoder: encoder.encoder()?,
        payloads: Payloads::default(),
        emit_from: moment(plan.layout_of_source(), pipeline.source.emit_from.as_ref())?,
        headers: output.sink.headers == Headers::All,
        tombstone: pipeline.on.tombstone,
        on_error: pipeline.on.error,
        longest_letter: output.longest.saturating_sub(LETTER_ROOM).max(1),
        model: plan.model.as_ref().map(|version| label(version)).unwrap_or_default(),
        metrics: plan.metrics.clone(),
        #[cfg(test)]
        faults: super::Faults::default(),
    })
}

fn settings(pipeline: &Pipeline, kafka: &KafkaSource) -> Settings {
    let runtime = &pipeline.runtime;
    Settings {
        batch: runtime.batch,
        commit_every: match runtime.delivery.value {
            Delivery::ExactlyOnce => runtime.commit_every,
            // Outputs are visible at once; only offsets wait, and they may.
            Delivery::AtLeastOnce => runtime.commit_every.max(Duration::from_secs(1)),
        },
        commit_bytes: COMMIT_BYTES,
        checkpoint_every: pipeline.state.checkpoint_every,
        or_records: pipeline.state.or_records,
        start: kafka.start.value,
        idle: kafka.idle.as_ref().map(|idle| idle.value),
        grace: runtime.grace,
        #[cfg(test)]
        faults: super::Faults::default(),
    }
}
