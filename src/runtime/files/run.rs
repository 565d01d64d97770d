//! A run: restore, read, work, commit; from wherever the last one stopped to the end of the source.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::partition_task::{Output, PartitionTask, Shared};
use super::versions::Versions;
use crate::config::{At, Moment, OnPartitions};
use crate::error::panic_text;
use crate::record::{Layout, Origin, PartitionId, Shard};
use crate::runtime::engine::{Chain, Partition, Router, Work};
use crate::runtime::plan::{Plan, PlannedSource, fingerprint};
use crate::state::{Change, Fingerprint, Log, Manifest, Store, Target};
use crate::storage::Folder;
use crate::{Error, Result, config, sink};

/// Pieces of work that may wait for a worker.
const QUEUE: usize = 4;

/// New files that are named, at most.
const NAMED: usize = 3;

/// What a run did.
#[derive(Debug, Clone, Default)]
pub struct Finished {
    /// Nothing was left to do.
    pub already: bool,
    /// Records taken by this process.
    pub records: u64,
    /// Counts over the whole life of the pipeline: `records`, `rows`, `dead_letters.<reason>`.
    pub counters: BTreeMap<String, u64>,
    /// Keys known.
    pub keys: u64,
    /// How long this process took.
    pub elapsed: Duration,
}

/// Called during a run, with the records done by this process, and how many there are in all (those of earlier
/// processes included in both).
pub type Progress<'a> = &'a (dyn Fn(u64, u64) + Sync);

/// Runs a planned pipeline to the end of its source.
///
/// # Errors
/// Refused: output without a checkpoint, state of another pipeline, a sink that can't be written. Failed: unreadable
/// data, a full disk, another process on the same state.
pub fn run(plan: Plan, progress: Option<Progress<'_>>) -> Result<Finished> {
    let started = Instant::now();
    let chain = plan.chain()?;
    let (shared, mut tasks) = start(&plan, &chain)?;
    let already = !tasks.is_empty() && tasks.iter().all(|task| task.finished);
    if !already {
        tasks = work(&plan, &shared, chain, tasks, progress)?;
        if let Some(store) = &shared.store
            && are_all_finished(&plan, store)?
        {
            store.tidy();
        }
    }
    let mut counters = BTreeMap::new();
    for (name, count) in tasks.iter().flat_map(|task| &task.counters) {
        *counters.entry(name.clone()).or_default() += count;
    }
    Ok(Finished {
        already,
        records: shared.done.load(Ordering::Relaxed),
        counters,
        keys: tasks.iter().map(|task| task.partition.keys.len() as u64).sum(),
        elapsed: started.elapsed(),
    })
}

/// Whether all shards have finished.
fn are_all_finished(plan: &Plan, store: &Store) -> Result<bool> {
    if !plan.shard.is_one_of_several() {
        return Ok(true);
    }
    let (newest, files) = (store.status()?, plan.files()?.files().files.len());
    let finished = |manifest: &Manifest| manifest.finished && manifest.files_read(files, None) >= files;
    Ok(newest.len() == plan.pipeline.state.partitions as usize && newest.iter().all(finished))
}

/// Everything that can still be refused, and the partitions as the last run left them.
fn start(plan: &Plan, chain: &Chain) -> Result<(Shared, Vec<PartitionTask>)> {
    let shared = open_sink(plan, chain)?;
    let numbers = plan.shard.of(plan.pipeline.state.partitions);
    let tasks = numbers.map(|number| restore(number.into(), chain, &shared));
    let mut tasks = tasks.collect::<Result<Vec<_>>>()?;
    shared.versions.forget();
    for task in &mut tasks {
        task.resume(&shared);
        task.show_state(&shared);
    }
    Ok((shared, tasks))
}

/// The sink and the store of a run to files or stdout.
pub fn open_sink(plan: &Plan, chain: &Chain) -> Result<Shared> {
    let pipeline = &plan.pipeline;
    let (Some(sink), Some(to)) = (plan.sink.clone(), &pipeline.sink) else {
        return Err(Error::refused("the pipeline has no sink"));
    };
    let config::DeadLetters::Parquet(letters) = &pipeline.dead_letters.value else {
        return Err(Error::refused(
            "with a Parquet or stdout sink, dead letters go to a folder: dead_letters: { parquet: { path } }",
        ));
    };
    let letters = Folder::open(letters)?;
    let dead_letters = sink::DeadLetters::parts(letters.clone(), &pipeline.name);
    let (mut before, mut hashed) = (None, None);
    let (output, store, part_records) = match &to.value {
        config::Sink::Stdout { .. } => (Output::Lines(sink::JsonLines::stdout()), None, u64::MAX),
        config::Sink::Kafka(_) => return Err(Error::refused("a Parquet source can't be written to Kafka")),
        config::Sink::Parquet { path, part_records, .. } => {
            let folder = Folder::open(path)?;
            let parts = sink::Parts::new(Target::Output, folder.clone(), &pipeline.name, sink.schema());
            let store = Store::open(&pipeline.state.path, &pipeline.name)?.with_targets(Some(folder), Some(letters));
            before = store.fingerprint()?;
            let fingerprint = fingerprint(plan, chain, before.clone());
            hashed = fingerprint.source.hashed;
            let store = begin(store, &parts, &fingerprint)?;
            (Output::Parts(parts), Some(store), *part_records)
        }
    };
    Ok(Shared {
        versions: Versions::of(plan, before.as_ref())?,
        source: plan.layout_of_source().clone(),
        files: match &plan.source {
            PlannedSource::Files(files) => files.files().files.iter().map(|file| file.name.clone()).collect(),
            PlannedSource::Kafka(_) => {
                pipeline.source.kafka().map(|kafka| kafka.topic.value.clone()).into_iter().collect()
            }
        },
        hashed,
        sink,
        output,
        dead_letters,
        store,
        emit_from: moment(plan.layout_of_source(), pipeline.source.emit_from.as_ref())?,
        part_records,
        checkpoint_every: pipeline.state.checkpoint_every,
        or_records: pipeline.state.or_records,
        on_error: pipeline.on.error,
        metrics: plan.metrics.clone(),
        done: AtomicU64::new(0),
    })
}

/// Takes up the state there is, or begins with none; refuses what would write output twice or leave gaps.
fn begin(mut store: Store, parts: &sink::Parts, fingerprint: &Fingerprint) -> Result<Store> {
    if store.fingerprint()?.is_none() {
        without_output(&store, parts)?;
    }
    parts.probe()?;
    let begun = store.begin(fingerprint)?;
    if let Some(new) = new_files(&begun.new_files) {
        tracing::info!("{new}");
    }
    begun.environment.iter().for_each(Change::warn);
    Ok(store)
}

/// What is said of files that came since the last start, if there are any.
pub fn new_files(names: &[String]) -> Option<String> {
    let count = names.len();
    let some = names.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = if count > NAMED { ", …" } else { "" };
    (count > 0).then(|| format!("{count} new file{}: {some}{more}", if count == 1 { "" } else { "s" }))
}

/// Refuses output without state.
fn without_output(store: &Store, parts: &sink::Parts) -> Result<()> {
    // Asked again, since another shard may have begun, and written, in between.
    if !parts.has_output()? || store.fingerprint()?.is_some() {
        return Ok(());
    }
    Err(Error::refused(format!(
        "there is output in {} but no state in {}: continuing would write it twice or leave gaps\n\
         delete the output, name another folder, or restore the state",
        parts.folder(),
        store.folder()
    )))
}

/// Refuses what [`run`] would refuse about the existing state and output, and changes neither. Returns the files that
/// are new to the state.
///
/// # Errors
/// That, and a store that can't be read.
pub fn check_state(plan: &Plan) -> Result<Vec<String>> {
    let pipeline = &plan.pipeline;
    let chain = plan.chain()?;
    let store = || Store::open(&pipeline.state.path, &pipeline.name);
    let adopts = pipeline.on.partitions.value == OnPartitions::Adopt;
    match (pipeline.sink.as_deref(), &plan.source, &plan.sink) {
        (Some(config::Sink::Kafka(_)), PlannedSource::Kafka(source), _) => {
            let fingerprint = fingerprint(plan, &chain, store()?.fingerprint()?);
            Log::agrees(&pipeline.state.path, &pipeline.name, &source.topic_id, &fingerprint)?;
            store()?.agrees_with_topics(&source.found, adopts)?;
        }
        (Some(config::Sink::Parquet { path, .. }), _, Some(sink)) => {
            let store = store()?;
            let before = store.fingerprint()?;
            if let Some(begun) = store.agrees(&fingerprint(plan, &chain, before.clone()))? {
                Versions::of(plan, before.as_ref())?.check(&store)?;
                if let PlannedSource::Kafka(source) = &plan.source {
                    store.agrees_with_topics(&source.found, adopts)?;
                }
                return Ok(begun.new_files);
            }
            let parts = sink::Parts::new(Target::Output, Folder::open(path)?, &pipeline.name, sink.schema());
            without_output(&store, &parts)?;
        }
        _ => {}
    }
    Ok(Vec::new())
}

/// `source.emit_from` in ticks of the source's clock.
///
/// # Errors
/// A moment that the clock has no tick for.
pub fn moment(layout: &Layout, moment: Option<&At<Moment>>) -> Result<Option<i64>> {
    moment
        .map(|moment| layout.clock.moment(moment.value).map_err(|e| Error::refused(format!("source.emit_from: {e}"))))
        .transpose()
}

/// A partition as the newest commit left it, or a new one.
///
/// # Errors
/// A checkpoint that cannot be read, or that does not fit the stages.
pub fn restore(id: PartitionId, chain: &Chain, shared: &Shared) -> Result<PartitionTask> {
    let store = shared.store.as_ref();
    let Some((store, manifest)) = store.and_then(|store| store.recover(id).transpose().map(|m| (store, m))) else {
        return Ok(PartitionTask::new(Partition::new(id, chain), None, None, BTreeMap::new()));
    };
    let manifest = manifest?;
    let mut checkpoint = store.load(&manifest)?;
    let (origin, counters) = (checkpoint.origin, std::mem::take(&mut checkpoint.extra));
    let partition = shared.versions.restore(&manifest, checkpoint, chain, &shared.metrics)?;
    Ok(PartitionTask::new(partition, Some(manifest), origin, counters))
}

/// Reads, routes and works until the source ends; gives the tasks back.
fn work(
    plan: &Plan,
    shared: &Shared,
    first_chain: Chain,
    tasks: Vec<PartitionTask>,
    progress: Option<Progress<'_>>,
) -> Result<Vec<PartitionTask>> {
    let workers = plan.pipeline.runtime.workers.min(tasks.len()).max(1);
    let total = plan.files()?.records();
    let before: u64 = tasks.iter().map(|task| task.partition.position).sum();
    let at = tasks.iter().map(|task| (task.partition.position, task.done)).collect();
    let (shard, partitions) = (plan.shard, plan.pipeline.state.partitions);
    let router = Router::new(plan.pipeline.runtime.batch, shared.part_records, (shard, partitions), at);
    let start = tasks.iter().map(|task| task.done).min().flatten();
    let mut chains = vec![first_chain];
    while chains.len() < workers {
        chains.push(plan.chain()?);
    }
    let mut owned: Vec<Vec<PartitionTask>> = (0..workers).map(|_| Vec::new()).collect();
    for task in tasks {
        owned[shard.place_of(task.partition.id.number) % workers].push(task);
    }
    std::thread::scope(|scope| {
        let mut senders = Vec::new();
        let mut handles = Vec::new();
        for (chain, tasks) in chains.into_iter().zip(owned) {
            let (sender, receiver) = bounded(QUEUE);
            senders.push(sender);
            handles.push(scope.spawn(move || one_worker(chain, tasks, &receiver, shared, (shard, workers))));
        }
        let reader = scope.spawn(move || read(plan, start, router, senders));
        while !(reader.is_finished() && handles.iter().all(|handle| handle.is_finished())) {
            if let Some(progress) = progress {
                // A shard reads all records, and few of them are its own.
                match shard.is_one_of_several() {
                    true => progress(plan.metrics.source_rows_read.get(), total),
                    false => progress(before + shared.done.load(Ordering::Relaxed), total),
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let read = joined(reader.join());
        let mut worked = Vec::new();
        let mut failed = None;
        for handle in handles {
            match joined(handle.join()) {
                Ok(done) => worked.push(done),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        // A worker that fails hangs up on the reader: its error is the cause, the reader's the consequence.
        match (failed, read) {
            (Some(error), _) | (None, Err(error)) => Err(error),
            (None, Ok(())) => {
                let mut finished = Vec::new();
                for (mut chain, tasks) in worked {
                    for mut task in tasks {
                        if !task.finished {
                            task.finish(&mut chain, shared)?;
                        }
                        finished.push(task);
                    }
                }
                Ok(finished)
            }
        }
    })
}

/// What a thread returned; a panic becomes an error.
///
/// # Errors
/// The thread's own, or its panic.
pub fn joined<T>(result: std::thread::Result<Result<T>>) -> Result<T> {
    result.unwrap_or_else(|panic| {
        let message = panic_text(panic.as_ref());
        Err(Error::failed(format!("a thread panicked, please report it: {message}")))
    })
}

fn read(plan: &Plan, start: Option<Origin>, mut router: Router, senders: Vec<Sender<Work>>) -> Result<()> {
    let mut source = plan.files()?.open(start)?;
    let mut send = |work: Work| {
        let worker = plan.shard.place_of(work.partition.number) % senders.len();
        senders[worker].send(work).map_err(|_| Error::failed("a worker stopped"))
    };
    let read = &plan.metrics.source_rows_read;
    while let Some(records) = source.next()? {
        read.inc_by(source.records_passed().saturating_sub(read.get()));
        router.route(&records, &mut send)?;
    }
    router.finish(&mut send)
}

fn one_worker(
    mut chain: Chain,
    mut tasks: Vec<PartitionTask>,
    work: &Receiver<Work>,
    shared: &Shared,
    (shard, workers): (Shard, usize),
) -> Result<(Chain, Vec<PartitionTask>)> {
    for work in work {
        // Partitions are dealt out in turn: place = index * workers + worker.
        let task = &mut tasks[shard.place_of(work.partition.number) / workers];
        task.take(&work, &mut chain, shared)?;
    }
    Ok((chain, tasks))
}
