//! From an assignment to running tasks: the first start of a partition, and its restore.
//!
//! A restore reads the *stable* committed offset C, loads the newest checkpoint S at or before it, and lets the task
//! read from S: up to C it repeats without emitting what was done before ([`PartitionTask::replay`]). Until then the
//! partition isn't part of any transaction, so nothing below C is ever committed. Other partitions continue meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::commit::Commit;
use super::owned::Owned;
use super::partition_task::PartitionTask;
use super::restore_partition::{Loading, Restored, is_outdated, restore};
use super::settings::SHORT;
use super::transactions::Transactions;
use super::waits::Wait;
use super::warm_start;
use crate::Result;
use crate::kafka::Broker;
use crate::metrics::{Restoring, Stream};
use crate::record::{PartitionId, SourceTopic};
use crate::state::{Checkpoint, CommitPosition, ModelEpoch};
use crate::state::{Checkpoints, Loaded, shown};

/// Milliseconds between two questions for offsets that had no answer.
const ASKED: i64 = 500;
/// Milliseconds for which a worker keeps the state of partitions that a new client may be given again.
const KEPT: i64 = 60_000;

/// Partitions on their way to become tasks.
pub(super) struct Opening {
    /// Whether the group waits for an answer; else they are read again from another offset.
    assigned: bool,
    /// When it began.
    since: i64,
    waiting: BTreeSet<PartitionId>,
    ready: BTreeMap<PartitionId, PartitionTask>,
    /// Tasks whose first checkpoint is being written.
    writing: BTreeSet<PartitionId>,
    /// Those whose offsets are known, and for which the brokers had no other answer.
    unanswered: Vec<PartitionId>,
    /// What is being read, and what was.
    loading: BTreeMap<PartitionId, Loading>,
    loaded: BTreeMap<PartitionId, (Loading, Result<Checkpoint>)>,
}

impl Opening {
    /// Of partitions that the group gave.
    pub fn assigned(partitions: Vec<PartitionId>, now: i64) -> Opening {
        Opening { assigned: true, ..Opening::of(partitions, now) }
    }

    /// Of a partition that the worker has already.
    pub fn again(partition: PartitionId, now: i64) -> Opening {
        Opening::of(vec![partition], now)
    }

    fn of(partitions: Vec<PartitionId>, since: i64) -> Opening {
        Opening {
            assigned: false,
            since,
            waiting: partitions.into_iter().collect(),
            ready: BTreeMap::new(),
            writing: BTreeSet::new(),
            unanswered: Vec::new(),
            loading: BTreeMap::new(),
            loaded: BTreeMap::new(),
        }
    }

    /// Leaves partitions alone that are another's.
    pub fn drop_all(&mut self, partitions: &[PartitionId]) {
        for partition in partitions {
            self.waiting.remove(partition);
            self.ready.remove(partition);
            self.writing.remove(partition);
            self.loading.remove(partition);
            self.loaded.remove(partition);
        }
    }

    /// A checkpoint was read.
    fn take_loaded(&mut self, read: Loaded) {
        let is_wanted = |loading: &mut Loading| loading.is(read.at);
        if let Some(loading) = self.loading.extract_if(read.partition..=read.partition, |_, it| is_wanted(it)).next() {
            self.loaded.insert(read.partition, (loading.1, read.checkpoint));
        }
    }

    /// A first checkpoint became durable.
    pub fn written(&mut self, partition: PartitionId) {
        self.writing.remove(&partition);
    }

    /// What its partitions wait for.
    pub fn waits_for(&self) -> Wait {
        match self.writing.iter().chain(self.loading.keys()).copied().collect::<Vec<_>>() {
            store if !store.is_empty() => Wait::Store(store),
            _ if !self.unanswered.is_empty() => Wait::Ends(self.unanswered.clone()),
            _ => Wait::Offsets(self.waiting.iter().copied().collect()),
        }
    }
}

/// The restores of one worker.
#[derive(Default)]
pub(super) struct Restores {
    openings: Vec<Opening>,
    /// Not before then are the group's offsets asked for again, which holds up all partitions while there is no answer.
    ask_at: i64,
    /// Partitions of a replaced client, until the group has assigned them.
    kept: BTreeMap<PartitionId, PartitionTask>,
    kept_until: i64,
    /// This worker's share of the gauge.
    shown: Restoring,
}

impl Restores {
    /// The group gives partitions.
    pub fn assigned(&mut self, partitions: Vec<PartitionId>, now: i64) {
        self.openings.push(Opening::assigned(partitions, now));
    }

    /// A partition that this worker has is restored.
    pub fn again(&mut self, partition: PartitionId, now: i64) {
        self.openings.push(Opening::again(partition, now));
    }

    /// Whether there is nothing to restore.
    pub fn is_empty(&self) -> bool {
        self.openings.is_empty()
    }

    /// Leaves partitions alone that are another's.
    pub fn drop_all(&mut self, partitions: &[PartitionId]) {
        self.openings.iter_mut().for_each(|opening| opening.drop_all(partitions));
    }

    /// Leaves the partitions of a topic alone, which was deleted.
    pub fn drop_topic(&mut self, topic: SourceTopic) {
        for opening in &mut self.openings {
            let of_topic: Vec<PartitionId> =
                opening.waiting.iter().chain(opening.ready.keys()).copied().filter(|it| it.topic == topic).collect();
            opening.drop_all(&of_topic);
        }
        self.kept.retain(|partition, _| partition.topic != topic);
    }

    /// Leaves all partitions alone.
    pub fn clear(&mut self) {
        self.openings.clear();
    }

    /// Sets the gauge: its own partitions, and `replaying` that are tasks already.
    pub fn show(&mut self, metrics: &Stream, replaying: usize) {
        let own: usize = self.openings.iter().map(|it| it.waiting.len() + it.ready.len()).sum();
        self.shown.show(metrics, own + replaying);
    }

    /// What the first of them wait for.
    pub fn waits_for(&self) -> Option<Wait> {
        self.openings.first().map(Opening::waits_for)
    }

    /// A checkpoint became durable.
    pub fn written(&mut self, partition: PartitionId) {
        self.openings.iter_mut().for_each(|opening| opening.written(partition));
    }

    /// Keeps the state of a partition, should the group give it back.
    pub fn keep(&mut self, task: PartitionTask, now: i64) {
        self.kept.insert(task.id, task);
        self.kept_until = now + KEPT;
    }

    /// Drops what was kept for long enough.
    pub fn forget_kept(&mut self, now: i64) {
        if now > self.kept_until {
            self.kept.clear();
        }
    }

    /// The partitions that aren't the worker's yet, or no longer.
    pub fn tasks(&self) -> impl Iterator<Item = &PartitionTask> {
        self.kept.values().chain(self.openings.iter().flat_map(|opening| opening.ready.values()))
    }

    /// Continues with the assignment, as far as possible without waiting. True: a partition came with another version
    /// of the model than this worker wants.
    pub fn open<B: Broker, C: Checkpoints>(
        &mut self,
        owned: &mut Owned<B, C>,
        transactions: &mut Transactions,
    ) -> Result<bool> {
        // What an own transaction may have done to an offset must be settled before the offset is asked for.
        let now = owned.now();
        if self.openings.is_empty() || now < self.ask_at || !transactions.is_settled() {
            return Ok(false);
        }
        let mut opening = self.openings.remove(0);
        owned.checkpoints.loaded(Duration::ZERO)?.into_iter().for_each(|read| opening.take_loaded(read));
        self.restore_all(owned, transactions, &mut opening)?;
        if !opening.waiting.is_empty() || !opening.writing.is_empty() {
            self.openings.insert(0, opening);
            return Ok(false);
        }
        let at: Vec<(PartitionId, i64)> = opening.ready.iter().map(|(id, task)| (*id, task.now.at.offset)).collect();
        if opening.assigned {
            owned.intake.broker.assign(&at)?;
        } else {
            at.iter().try_for_each(|(partition, offset)| owned.intake.broker.seek(*partition, *offset))?;
        }
        // Its reading may have been paused when this worker dropped it.
        let all: Vec<PartitionId> = at.iter().map(|(partition, _)| *partition).collect();
        if !all.is_empty() {
            owned.intake.broker.pause(&all, owned.intake.paused)?;
        }
        let (now, mut unwanted) = (owned.now(), false);
        for (id, mut task) in opening.ready {
            task.opened = Some(opening.since);
            task.reading.begin(now, owned.intake.end_of(id, task.committed.offset));
            owned.metrics.model_in_force(shown(&task.now.epoch.model));
            if task.now.epoch.model != owned.processing.versions.wanted() {
                // Whoever had it before may have seen a newer version than this worker has: no going back and forth.
                unwanted = true;
            }
            tracing::info!(
                partition = id.number,
                topic = id.topic.name(),
                from = task.now.at.offset,
                committed = task.committed.offset,
                keys = task.state.keys.len(),
                model = shown(&task.now.epoch.model),
                "partition opened"
            );
            owned.tasks.insert(id, task);
        }
        Ok(unwanted)
    }

    fn restore_all<B: Broker, C: Checkpoints>(
        &mut self,
        owned: &mut Owned<B, C>,
        transactions: &mut Transactions,
        opening: &mut Opening,
    ) -> Result<()> {
        let loads = |partition: &PartitionId| opening.loading.contains_key(partition);
        let partitions: Vec<PartitionId> = opening.waiting.iter().copied().filter(|it| !loads(it)).collect();
        if partitions.is_empty() {
            return Ok(());
        }
        opening.unanswered.clear();
        let Some(committed) = owned.intake.broker.committed(&partitions, SHORT)? else {
            // Another transaction is open, perhaps for seconds: the other partitions must continue meanwhile.
            self.ask_at = if owned.tasks.is_empty() { 0 } else { owned.now() + ASKED };
            return Ok(());
        };
        let mut starts = Vec::new();
        let mut fresh = BTreeSet::new();
        for (partition, committed) in partitions.into_iter().zip(committed) {
            let loaded = opening.loaded.remove(&partition);
            let restored = match restore(owned, &mut self.kept, partition, committed.clone(), loaded) {
                Err(_) if is_outdated(owned, partition, committed.as_ref())? => Restored::Later,
                Err(_) if partition.topic.name().is_some() && !is_there(owned, partition)? => Restored::Later,
                restored => restored?,
            };
            match restored {
                Restored::Later => opening.unanswered.push(partition),
                Restored::Start(offset) => starts.push((partition, offset)),
                Restored::Loading(loading) => {
                    opening.loading.insert(partition, *loading);
                }
                Restored::Task(task, new) => {
                    if new {
                        fresh.insert(partition);
                    }
                    opening.waiting.remove(&partition);
                    opening.ready.insert(partition, *task);
                }
            }
        }
        begin_with_history(owned, opening, &fresh)?;
        for partition in fresh {
            if let Some(task) = opening.ready.get_mut(&partition) {
                owned.checkpoints.write(partition, task.checkpoint(&owned.processing)?)?;
                opening.writing.insert(partition);
            }
        }
        if starts.is_empty() || commit_starts(owned, transactions, &starts)? {
            return Ok(());
        }
        // Others are asked again, where the broker had no answer for them.
        if opening.assigned && starts.len() == opening.waiting.len() {
            answer_early(owned, opening, starts)
        } else {
            Ok(())
        }
    }
}

/// Whether the topic of a partition is certainly there: the offsets of one that was deleted are gone, which is no
/// reason to refuse its state.
fn is_there<B: Broker, C: Checkpoints>(owned: &mut Owned<B, C>, partition: PartitionId) -> Result<bool> {
    let broker = &mut owned.intake.broker;
    broker.ask_topic();
    // Where one is another, that is the reason.
    Ok(broker.is_same_topic(SHORT)?.is_some() && !broker.is_deleted(partition.topic))
}

/// Lets partitions that have seen nothing take the history of their keys.
fn begin_with_history<B: Broker, C: Checkpoints>(
    owned: &mut Owned<B, C>,
    opening: &mut Opening,
    fresh: &BTreeSet<PartitionId>,
) -> Result<()> {
    let Some(history) = owned.processing.history.clone() else { return Ok(()) };
    let processing = &mut owned.processing;
    warm_start::feed(&history, processing.batch, fresh, &owned.settings.topics, |mut work| {
        let Some(task) = opening.ready.get_mut(&work.partition) else { return Ok(()) };
        let chain = processing.versions.run(&task.now.epoch)?;
        task.state.process_taking(chain, &processing.layout, &mut work.records).map(|_| ())
    })?;
    for task in opening.ready.iter_mut().filter(|(id, _)| fresh.contains(id)).map(|(_, task)| task) {
        // Positions count the stream's records.
        task.state.position = 0;
    }
    Ok(())
}

/// The start could not be committed. The group may have removed this worker, which it will learn only once it has
/// answered: so it takes the partitions without reading them, and tries again.
fn answer_early<B: Broker, C: Checkpoints>(
    owned: &mut Owned<B, C>,
    opening: &mut Opening,
    starts: Vec<(PartitionId, i64)>,
) -> Result<()> {
    let ready = opening.ready.iter().map(|(id, task)| (*id, task.now.at.offset));
    let at: Vec<(PartitionId, i64)> = ready.chain(starts).collect();
    owned.intake.broker.assign(&at)?;
    opening.assigned = false;
    let all: Vec<PartitionId> = at.into_iter().map(|(partition, _)| partition).collect();
    owned.intake.broker.pause(&all, true)
}

/// Commits where partitions begin, before anything of them is read: from then on there is always a C. Whether it went
/// well is seen when the offsets are asked for again; false: it did not.
fn commit_starts<B: Broker, C: Checkpoints>(
    owned: &mut Owned<B, C>,
    transactions: &mut Transactions,
    starts: &[(PartitionId, i64)],
) -> Result<bool> {
    let mut offsets = Vec::new();
    for (partition, offset) in starts {
        let at = CommitPosition { sequence: 0, offset: *offset, hash: 0 };
        let epoch = ModelEpoch { model: owned.processing.versions.wanted().to_string(), from: 0 };
        let commit = Commit { at, epoch, ..Commit::default() };
        offsets.push((*partition, *offset, commit.metadata().unwrap_or_default()));
    }
    transactions.commit_offsets(owned, &offsets)
}
