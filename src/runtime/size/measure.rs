//! Drives the code of a run over a sample, piece by piece, and takes its CPU time.

use std::time::{Duration, Instant};

use super::costs::{Costs, Piece};
use super::load::Load;
use super::out::Out;
use super::resident::{self, Resident};
use super::sample::{self, Asked, Sample};
use crate::config::{Sink, Stage};
use crate::error::Context;
use crate::format::{Decided, Messages};
use crate::kafka;
use crate::metrics::{Spent, Used, resident as memory};
use crate::model::Groups;
use crate::record::Batch;
use crate::runtime::engine::{Chain, Partition};
use crate::runtime::plan::{Plan, PlannedSource};
use crate::{Error, Result};

/// Batches whose time is taken at once: the kernel's counts are no finer than some milliseconds.
pub(super) const BLOCK: usize = 8;
/// How long the stages are measured, and at most.
const STAGES: (Duration, Duration) = (Duration::from_millis(1200), Duration::from_secs(8));
/// How long a short piece is measured.
const SHORT: Duration = Duration::from_millis(400);
/// Rounds of all keys that are measured at least and at most.
const ROUNDS: (i64, i64) = (32, 2000);
/// Keys with which the networks of another worker run; no model has networks of more groups.
const FEW: u64 = 512;
/// Messages that go through the Kafka client.
const SENT: usize = 200_000;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Of the sample.
    pub sample: Asked<'a>,
    /// Keys in memory at most.
    pub keys: u64,
    /// Seconds between two records of a key, where the sample doesn't show it.
    pub every: f64,
}

/// Measures. `say` is told what is being measured.
///
/// # Errors
/// Refused: a pipeline that can't be measured so. Failed: whatever fails in a run.
pub fn measure(plan: &Plan, wanted: &Wanted<'_>, say: &dyn Fn(&str)) -> Result<Costs> {
    say("reading a sample");
    let sample = sample::take(plan, wanted.sample)?;
    let mut pieces = read(plan, &sample, say)?;
    let per_message =
        sample.messages.as_ref().map_or(1.0, |messages| sample.records.len() as f64 / messages.len().max(1) as f64);
    let mut chain = plan.chain()?;
    let mut out = Out::new(plan, &sample.records)?;
    let clock = &plan.layout_of_source().clock;
    let ticks = clock.nanos_per_tick.map_or(1.0, |nanos| wanted.every * 1e9 / nanos as f64);
    let Sample { from, messages, records } = sample;
    let mut load = Load::new(records, ticks.clamp(1.0, 1e15) as i64);
    if let Some(Groups { column: None, networks }) = groups(plan) {
        load.names = networks.iter().map(|network| network.value.clone()).collect();
    }
    let fixed_bytes = memory().unwrap_or(0) as f64;
    let worker_bytes = another_worker(plan, &mut load)?;
    say("running the stages");
    let run = Stages::run(plan, &mut chain, &mut out, &mut load)?;
    say("filling the state");
    let Resident { keys, key_bytes, stored_bytes, page_keys, write_rate, load_rate, miss } =
        resident::measure(plan, &mut chain, &mut load, wanted.keys)?;
    let piece = |name: &str, nanos: f64, replayed: bool| Piece {
        name: name.into(),
        worker: nanos * per_message,
        client: 0.0,
        replayed,
    };
    pieces.push(piece("find the key", run.rest, true));
    pieces.extend(run.stages.iter().map(|(name, nanos)| piece(&format!("stage {name}"), *nanos, true)));
    pieces.push(piece("state beyond the cache", miss, true));
    pieces.push(piece("write the rows", run.written, false));
    let rows = run.rows * per_message;
    if let Some(Sink::Kafka(sink)) = plan.pipeline.sink.as_deref() {
        say("sending");
        let delivery = plan.pipeline.runtime.delivery.value;
        let cost = kafka::sending(sink, delivery, out.payloads()?, &out.keys(), SENT)?;
        let name = "send (Kafka client)".to_string();
        pieces.push(Piece { name, worker: cost.worker * rows, client: cost.client * rows, replayed: false });
    }
    let bytes = |messages: &Messages| messages.bytes() as f64 / messages.len().max(1) as f64;
    Ok(Costs {
        from,
        batch: plan.pipeline.runtime.batch,
        pieces,
        network: run.network * per_message,
        steps: run.steps * per_message,
        message_bytes: messages.as_ref().map_or(0.0, bytes),
        rows,
        row_bytes: out.row_bytes(),
        keys,
        key_bytes,
        fixed_bytes,
        worker_bytes,
        stored_bytes,
        page_keys,
        write_rate,
        load_rate,
        step: (load.step, load.is_step_known),
    })
}

/// Networks of groups of the model.
pub(super) fn groups(plan: &Plan) -> Option<&Groups> {
    plan.model.as_ref()?.manifest.groups.as_ref()
}

/// What the networks of another worker take in memory, once they have run: each worker has its own.
fn another_worker(plan: &Plan, load: &mut Load) -> Result<f64> {
    let before = memory();
    let mut chain = plan.chain()?;
    let mut partition = Partition::new(0.into(), &chain);
    // A window has to be full before its network runs.
    for _ in 0..plan.model.as_ref().and_then(|version| version.manifest.window).unwrap_or(1) {
        let mut records = load.batch(0..FEW)?;
        partition.process_taking(&mut chain, plan.layout_of_source(), &mut records)?;
        load.pass(None);
    }
    let own = partition.bytes();
    let grown = memory().zip(before).map_or(0, |(now, before)| now.saturating_sub(before));
    Ok(grown.saturating_sub(own as u64) as f64)
}

/// What it costs to get records: of a topic the client and the decoder, of files the reader.
fn read(plan: &Plan, sample: &Sample, say: &dyn Fn(&str)) -> Result<Vec<Piece>> {
    let piece = |name: &str, worker: f64, client: f64| Piece { name: name.into(), worker, client, replayed: true };
    match (&plan.source, plan.pipeline.source.kafka(), &sample.messages) {
        (PlannedSource::Files(files), ..) => {
            say("reading");
            let mut reader = files.open(None)?;
            let (began, started, mut rows) = (Used::own(), Instant::now(), 0);
            while started.elapsed() < SHORT
                && let Some(records) = reader.next()?
            {
                rows += records.len();
            }
            Ok(vec![piece("read the files", nanos(began.since(), rows), 0.0)])
        }
        (PlannedSource::Kafka(topic), Some(kafka), Some(messages)) => {
            say("receiving");
            let cost = kafka::reading(kafka, messages, SENT)?;
            say("decoding");
            let mut decoder = topic.decoder.decoder()?;
            let few = messages.len().min(plan.pipeline.runtime.batch);
            let (mut done, mut spent, started) = (0, Spent::default(), Instant::now());
            while started.elapsed() < SHORT {
                let began = Used::own();
                for _ in 0..BLOCK {
                    decoder
                        .decode(messages, 0..few, &mut Decided::default())
                        .or_failed(|| "decoding the sample".into())?;
                    done += few;
                }
                spent += began.since();
            }
            Ok(vec![
                piece("receive (Kafka client)", cost.worker, cost.client),
                piece("decode", nanos(spent, done), 0.0),
            ])
        }
        _ => Err(Error::failed("a sample without messages: internal error, please report")),
    }
}

/// Nanoseconds of the thread for each of so many.
pub(super) fn nanos(spent: Spent, count: usize) -> f64 {
    spent.own.as_nanos() as f64 / count.max(1) as f64
}

/// What the stages and the output cost in the steady state, nanoseconds per record.
struct Stages {
    stages: Vec<(String, f64)>,
    /// Of the engine itself.
    rest: f64,
    network: f64,
    /// Steps of the network and rows, per record.
    steps: f64,
    rows: f64,
    /// Making the output.
    written: f64,
}

impl Stages {
    /// Runs a batch's worth of keys, round after round: at first until each has seen what the network waits for.
    fn run(plan: &Plan, chain: &mut Chain, out: &mut Out, load: &mut Load) -> Result<Stages> {
        let mut partition = Partition::new(0.into(), chain);
        let keys = plan.pipeline.runtime.batch as u64;
        let bucket = bucket(plan, load.time);
        let model = plan.model.as_ref().map(|version| &version.manifest);
        let before = model.map_or(0, |manifest| manifest.warm_up.max(manifest.window.unwrap_or(0)));
        let started = Instant::now();
        // A step of at least a bucket, so that each round gives a row.
        for _ in 0..before + 4 {
            let mut records = load.batch(0..keys)?;
            partition.process_taking(chain, plan.layout_of_source(), &mut records)?;
            load.pass(bucket.map(|bucket| bucket.max(load.step)));
            if started.elapsed() > STAGES.1 {
                break;
            }
        }
        // Whole buckets, so that there are as many rows as in the long run.
        let of_bucket = bucket.map_or(1, |bucket| (bucket + load.step - 1) / load.step).clamp(1, ROUNDS.1);
        let (metrics, started) = (&plan.metrics, Instant::now());
        let (mut process, mut write) = (Spent::default(), Spent::default());
        let (mut rounds, mut records, mut rows) = (0, 0, 0);
        let first =
            (chain.spent(), metrics.inference_seconds.get_sample_sum(), metrics.inference_rows.get_sample_sum());
        while (rounds % of_bucket != 0 || rounds < ROUNDS.0 || started.elapsed() < STAGES.0)
            && rounds < ROUNDS.1
            && started.elapsed() < STAGES.1
        {
            let mut block = Vec::new();
            for _ in 0..BLOCK {
                block.push(load.batch(0..keys)?);
                load.pass(None);
            }
            rounds += BLOCK as i64;
            let began = Used::own();
            let made =
                block.iter_mut().map(|records| partition.process_taking(chain, plan.layout_of_source(), records));
            let made: Vec<Batch> = made.collect::<Result<_>>()?;
            process += began.since();
            records += block.iter().map(crate::record::Records::len).sum::<usize>();
            let began = Used::own();
            for batch in made {
                rows += out.write(batch)?;
            }
            write += began.since();
        }
        let each = |seconds: f64| seconds * 1e9 / records.max(1) as f64;
        // The stages take the wall's time: their share of the thread's is the same.
        let share = process.own.as_secs_f64() / process.wall.as_secs_f64().max(1e-9);
        let stages: Vec<(String, f64)> = chain
            .spent()
            .iter()
            .zip(&first.0)
            .enumerate()
            .map(|(index, ((name, now), (_, before)))| (format!("{index}:{name}"), each((now - before) * share)))
            .collect();
        let of_stages: f64 = stages.iter().map(|(_, nanos)| nanos).sum();
        Ok(Stages {
            rest: (nanos(process, records) - of_stages).max(0.0),
            stages,
            network: each((metrics.inference_seconds.get_sample_sum() - first.1) * share),
            steps: (metrics.inference_rows.get_sample_sum() - first.2) / records.max(1) as f64,
            rows: rows as f64 / records.max(1) as f64,
            written: nanos(write, records),
        })
    }
}

/// Ticks of the longest bucket of a `resample` stage.
fn bucket(plan: &Plan, at: i64) -> Option<i64> {
    let clock = &plan.layout_of_source().clock;
    let every = plan.pipeline.stages.iter().filter_map(|stage| match &stage.value {
        Stage::Resample(resample) => clock.every(resample.every.value).ok(),
        _ => None,
    });
    every.filter_map(|every| clock.step(at, every, 1)?.checked_sub(at)).max().filter(|ticks| *ticks > 0)
}
