//! A run on Kafka: workers on their threads, until a signal or an error.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::bounded::Bounds;
use super::intake::Incoming;
use super::registered::Registered;
use super::to_files::{FileSinkWorker, whole_messages};
use super::topics::follow;
use super::waits::Reported;
use super::worker::Worker;
use super::{Expected, Processing, Settings, Versions};
use crate::config::{DeadLetters, Delivery, Headers, KafkaSink, KafkaSource, Key, Pipeline, Sink, Stamp};
use crate::format::{Payloads, PlannedEncoder};
use crate::kafka::{Client, Output, TopicWatch, transactional_ids};
use crate::metrics::Metrics;
use crate::runtime::engine::Chain;
use crate::runtime::files::{Finished, joined, moment, open_sink};
use crate::runtime::plan::{Plan, fingerprint, identity};
use crate::source::topic::PlannedTopic;
use crate::state::{Log, Store};
use crate::storage::Folder;
use crate::{Error, Result, format, sink};

/// Bytes of output after which a transaction is committed at once.
const COMMIT_BYTES: usize = 16 << 20;
/// After this silence a partition is checked: longer than librdkafka itself may need after a broker was away.
const SILENCE: Duration = Duration::from_secs(12);
/// Bytes that a dead letter's key and headers may take of a message.
const DEAD_LETTER_ROOM: usize = 8 << 10;

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

/// Runs a pipeline whose source is Kafka until it is asked to stop, or to the end that its `until` says. `progress`
/// gets the records taken so far.
///
/// # Errors
/// Refused: state that cannot be resumed. Failed: an error that retrying won't solve.
pub fn run(plan: &Plan, source: &PlannedTopic, stop: &Stop, progress: &dyn Fn(u64)) -> Result<Finished> {
    let started = Instant::now();
    let pipeline = &plan.pipeline;
    let kafka = pipeline
        .source
        .kafka()
        .ok_or_else(|| Error::failed("the source isn't Kafka: internal error, please report"))?;
    let pattern = kafka.topics.as_ref().and_then(|topics| topics.pattern());
    let workers = match pattern {
        // To stdout nothing is committed: what moves from one worker to another is written again.
        _ if kafka.until.is_some() && matches!(pipeline.sink.as_deref(), Some(Sink::Stdout { .. })) => 1,
        // There may be more topics later.
        Some(_) => pipeline.runtime.workers,
        None => pipeline.runtime.workers.min(source.partitions as usize).max(1),
    };
    // A worker that ends takes the others with it: half a pipeline would look like a slow one, and one that is at the
    // end of a bounded run knows that all partitions are.
    let ended = Stop::default();
    let asked = || stop.asked() || ended.asked();
    let Members { members, expected, store } = members(plan, source, kafka, workers)?;
    plan.metrics.stream.waits.start(members.len());
    let results: Vec<Result<()>> = std::thread::scope(|scope| {
        let handles: Vec<_> = members
            .into_iter()
            .map(|member| {
                scope.spawn(|| {
                    let result = member(&asked);
                    ended.ask();
                    result
                })
            })
            .collect();
        let watcher = scope.spawn(|| crate::kafka::watch(kafka, &source.topics, &plan.metrics, &asked));
        // A bounded run reads what was there at its start.
        let follower = pattern.filter(|_| kafka.until.is_none()).map(|pattern| {
            scope.spawn(|| {
                let result = follow((kafka, pattern), &source.topics, &expected, store.as_ref(), &asked);
                if result.is_err() {
                    ended.ask();
                }
                result
            })
        });
        let mut reported = Reported::default();
        while handles.iter().any(|handle| !handle.is_finished()) {
            reported.report(plan.metrics.stream.waits.overdue());
            reported.refusals(plan.metrics.refusals.mostly());
            progress(plan.metrics.records_in.get());
            std::thread::sleep(Duration::from_millis(50));
        }
        let mut results: Vec<Result<()>> = handles.into_iter().map(|handle| joined(handle.join())).collect();
        ended.ask();
        results.push(joined(watcher.join()));
        results.extend(follower.map(|follower| joined(follower.join())));
        results
    });
    results.into_iter().collect::<Result<()>>()?;
    Ok(Finished {
        already: false,
        records: plan.metrics.records_in.get(),
        counters: counters(&plan.metrics),
        keys: u64::try_from(plan.metrics.state_keys.get()).unwrap_or(0),
        elapsed: started.elapsed(),
    })
}

/// What this process wrote, and what it refused by reason.
fn counters(metrics: &Metrics) -> BTreeMap<String, u64> {
    let refused = metrics.refusals.by_reason().into_iter();
    let refused = refused.map(|(reason, count)| (format!("dead_letters.{reason}"), count));
    let counts = [("rows", metrics.records_out.get()), ("late", metrics.late_records.get())];
    refused.chain(counts.map(|(name, count)| (name.to_string(), count))).collect()
}

/// One worker, ready for its thread; `stop` tells it when to stop.
type Member<'a> = Box<dyn FnOnce(&dyn Fn() -> bool) -> Result<()> + Send + 'a>;

/// The workers, the topics that they expect, and where those are remembered.
struct Members<'a> {
    members: Vec<Member<'a>>,
    expected: Arc<Expected>,
    store: Option<Store>,
}

fn members<'a>(plan: &'a Plan, source: &PlannedTopic, kafka: &'a KafkaSource, workers: usize) -> Result<Members<'a>> {
    let pipeline = &plan.pipeline;
    let Some(Sink::Kafka(sink)) = pipeline.sink.as_ref().map(|sink| &sink.value) else {
        return to_files(plan, source, kafka, workers);
    };
    let mut store = Store::open(&pipeline.state.path, &pipeline.name)?;
    let before = store.fingerprint()?;
    if source.topics.is_several() {
        store.begin(&fingerprint(plan, &plan.chain()?, before.clone()))?;
    }
    let expected = Arc::new(Expected::of(pipeline, source, before.as_ref(), Some(&store))?);
    let (mut settings, linger) = (settings(pipeline, kafka, &expected), pipeline.runtime.linger);
    settings.until = bounds(pipeline, kafka, source)?;
    let output = output(pipeline, kafka, sink, source);
    let encoder = encoder(plan, &output)?;
    let headers = output.sink.headers != Headers::None || output.dead_letters.is_some();
    let models = Registered::of(plan)?;
    let topics = (source.topics.clone(), Arc::new(TopicWatch::new(kafka, &source.topics, &source.topic_id)?));
    let members = (0..workers)
        .map(|number| {
            let chain = plan.chain()?;
            let fingerprint = fingerprint(plan, &chain, before.clone());
            let processing = processing(plan, source, kafka, &output, &encoder, versions(plan, chain, &models))?;
            let incoming = incoming(plan, source, kafka)?;
            let log = Log::open(&pipeline.state.path, &pipeline.name, &source.topic_id, &fingerprint)?;
            let (output, settings, topics) = (Some(output.clone()), settings.clone(), topics.clone());
            let member = move |stop: &dyn Fn() -> bool| {
                let client = Client::new(kafka, output, number, headers, linger, topics)?;
                Worker::new(client, incoming, log, processing, settings).run(stop)
            };
            Ok(Box::new(member) as Member<'a>)
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(Members { members, expected, store: Some(store) })
}

/// Where the run ends, if it does: that is decided now, for all partitions.
fn bounds(pipeline: &Pipeline, kafka: &KafkaSource, source: &PlannedTopic) -> Result<Option<Arc<Bounds>>> {
    let Some(until) = &kafka.until else { return Ok(None) };
    let delivery = match pipeline.sink.as_deref() {
        Some(Sink::Kafka(_)) => pipeline.runtime.delivery.value,
        _ => Delivery::ExactlyOnce,
    };
    let ends = crate::kafka::ends(kafka, &source.topics, delivery, until.value)?;
    tracing::info!(?ends, "the run ends before these offsets of the partitions");
    Ok(Some(Arc::new(Bounds::new(ends))))
}

/// How a worker reads.
fn incoming(plan: &Plan, source: &PlannedTopic, kafka: &KafkaSource) -> Result<Incoming> {
    Ok(Incoming {
        topic: kafka.topic.value.clone(),
        decoder: source.decoder.decoder()?,
        tombstone: plan.pipeline.on.tombstone,
        clock: plan.layout_of_source().clock.clone(),
    })
}

/// Workers that write files, or to stdout.
fn to_files<'a>(plan: &'a Plan, source: &PlannedTopic, kafka: &'a KafkaSource, workers: usize) -> Result<Members<'a>> {
    let before = Store::open(&plan.pipeline.state.path, &plan.pipeline.name)?.fingerprint()?;
    let linger = plan.pipeline.runtime.linger;
    let cells = match &plan.pipeline.record.key {
        Key::Melted(columns) => columns.len(),
        _ => 1,
    };
    let mut chain = Some(plan.chain()?);
    let mut shared = match &chain {
        Some(chain) => open_sink(plan, chain)?,
        None => return Err(Error::failed("no chain: internal error, please report")),
    };
    shared.part_records = whole_messages(shared.part_records, cells)?;
    // It decides itself when a partition is committed: not before it is known that the topic is the same.
    (shared.or_records, shared.checkpoint_every) = (u64::MAX, Duration::MAX);
    let store = shared.store.clone();
    let shared = Arc::new(shared);
    let before = before.filter(|_| store.is_some());
    let expected = Arc::new(Expected::of(&plan.pipeline, source, before.as_ref(), store.as_ref())?);
    let mut settings = settings(&plan.pipeline, kafka, &expected);
    settings.until = bounds(&plan.pipeline, kafka, source)?;
    let topics = (source.topics.clone(), Arc::new(TopicWatch::new(kafka, &source.topics, &source.topic_id)?));
    let members = (0..workers)
        .map(|number| {
            let chain = match chain.take() {
                Some(chain) => chain,
                None => plan.chain()?,
            };
            let (incoming, history) = (incoming(plan, source, kafka)?, source.history.clone());
            let (topics, shared, settings) = (topics.clone(), shared.clone(), settings.clone());
            let member = move |stop: &dyn Fn() -> bool| {
                let client = Client::new(kafka, None, number, false, linger, topics)?;
                FileSinkWorker::new(client, incoming, chain, shared, settings, history).run(stop)
            };
            Ok(Box::new(member) as Member<'a>)
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(Members { members, expected, store })
}

/// Where and how a pipeline sends.
fn output(pipeline: &Pipeline, kafka: &KafkaSource, sink: &KafkaSink, source: &PlannedTopic) -> Output {
    // Stable where the process has a name; else no other process ever has it.
    let instance = match &pipeline.runtime.instance {
        Some(instance) => instance.value.clone(),
        None => crate::storage::unique_name(),
    };
    let dead_letters = match &pipeline.dead_letters.value {
        DeadLetters::Kafka(topic) => Some(topic.value.clone()),
        DeadLetters::Parquet(_) => None,
    };
    Output {
        sink: sink.clone(),
        dead_letters,
        delivery: pipeline.runtime.delivery.value,
        ids: transactional_ids(pipeline, kafka),
        instance,
        longest: source.longest,
    }
}

fn encoder(plan: &Plan, output: &Output) -> Result<PlannedEncoder> {
    let sink = plan.sink.as_ref().ok_or_else(|| Error::refused("the pipeline has no sink"))?;
    let mut problems = crate::error::Problems::new(&plan.pipeline.file);
    let encoder = format::plan_encoder(&output.sink, sink.schema(), &mut problems);
    problems.finish(encoder)?.ok_or_else(|| Error::refused("the format of the sink can't be planned"))
}

/// The stages of a worker, at first with the version that was found at the start.
fn versions(plan: &Plan, chain: Chain, models: &Registered) -> Versions {
    Versions::new(identity(plan.model.as_deref()), chain, Box::new(models.clone()))
}

fn processing(
    plan: &Plan,
    source: &PlannedTopic,
    kafka: &KafkaSource,
    output: &Output,
    encoder: &PlannedEncoder,
    versions: Versions,
) -> Result<Processing> {
    let pipeline = &plan.pipeline;
    let sink = plan.sink.clone().ok_or_else(|| Error::refused("the pipeline has no sink"))?;
    Ok(Processing {
        pipeline: pipeline.name.value.clone(),
        topic: kafka.topic.value.clone(),
        versions,
        layout: plan.layout_of_source().clone(),
        sink,
        key_format: pipeline.key_format(),
        encoder: encoder.encoder()?,
        payloads: Payloads::default(),
        history: source.history.clone(),
        batch: pipeline.runtime.batch,
        emit_from: moment(plan.layout_of_source(), pipeline.source.emit_from.as_ref())?,
        headers: output.sink.headers.clone(),
        stamps: (output.sink.timestamp.value == Stamp::Record).then(|| plan.layout().clock.clone()),
        on_error: pipeline.on.error,
        dead_letter_folder: match &pipeline.dead_letters.value {
            DeadLetters::Parquet(path) => Some(sink::DeadLetters::parts(Folder::open(path)?, &pipeline.name)),
            DeadLetters::Kafka(_) => None,
        },
        longest_dead_letter: output.longest.saturating_sub(DEAD_LETTER_ROOM).max(1),
        metrics: plan.metrics.clone(),
        #[cfg(test)]
        faults: super::Faults::default(),
    })
}

fn settings(pipeline: &Pipeline, kafka: &KafkaSource, topics: &Arc<Expected>) -> Settings {
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
        topics: topics.clone(),
        until: None,
        model_every: runtime.model_every,
        idle: kafka.idle.as_ref().map(|idle| idle.value),
        silence: SILENCE,
        grace: runtime.grace,
        #[cfg(test)]
        faults: super::Faults::default(),
    }
}
