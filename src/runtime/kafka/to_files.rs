//! Kafka to Parquet or stdout: no transaction, the manifest of a partition is its commit.
//!
//! Parts become visible with the manifest that names them, together with the state as of the same record; what was done
//! after it is invisible and is simply done again. The group only assigns partitions: its offsets are written for those
//! who watch the lag, and never read. Nothing must be replayed, so decisions of clock and registry need no record.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::bounded::Asking;
use super::file_task::{FileTaking, FileTask};
use super::intake::{Incoming, Intake};
use super::reading::{Reading, Reads};
use super::refusals::unread;
use super::restore_partition::start_of;
use super::settings::{SHORT, Settings};
use super::waits::Wait;
use super::warm_start;
use crate::kafka::{BEGINNING, Broker, Event, LogRange};
use crate::metrics::Restoring;
use crate::record::{Origin, PartitionId};
use crate::runtime::engine::Chain;
use crate::runtime::files::{PartitionTask, Shared, restore};
use crate::source::History;
use crate::state::Manifest;
use crate::{Error, Result};

/// How long a poll waits, and while a partition waits for something else.
const WAIT: Duration = Duration::from_millis(100);
const STALLED: Duration = Duration::from_millis(10);

/// One member of the group with its partitions.
pub(super) struct FileSinkWorker<B> {
    intake: Intake<B>,
    chain: Chain,
    shared: Arc<Shared>,
    settings: Settings,
    history: Option<Arc<History>>,
    tasks: BTreeMap<PartitionId, FileTask>,
    opening: Vec<PartitionId>,
    /// When the first of them was given.
    opening_since: i64,
    /// This worker's share of the gauge of partitions that are restored.
    restoring: Restoring,
    /// Whether the last question for the topic had an answer.
    is_topic_known: bool,
    asking: Asking,
}

impl<B: Broker> FileSinkWorker<B> {
    /// A worker that has no partitions yet.
    pub fn new(
        broker: B,
        incoming: Incoming,
        chain: Chain,
        shared: Arc<Shared>,
        settings: Settings,
        history: Option<Arc<History>>,
    ) -> Self {
        let intake = Intake::new(broker, incoming, shared.metrics.clone(), &settings);
        let (tasks, opening) = (BTreeMap::new(), Vec::new());
        let (opening_since, restoring, asking) = (0, Restoring::default(), Asking::default());
        FileSinkWorker {
            intake,
            chain,
            shared,
            settings,
            history,
            tasks,
            opening,
            opening_since,
            restoring,
            is_topic_known: true,
            asking,
        }
    }

    /// Runs until `stop` says so, or a bounded run is at its end: then it commits what it has and leaves.
    ///
    /// # Errors
    /// Refused: state that cannot be resumed. Failed: an error that retrying won't solve.
    pub fn run(&mut self, stop: &dyn Fn() -> bool) -> Result<()> {
        let ended = loop {
            if stop() {
                break self.save(None);
            }
            match self.step().and_then(|()| self.is_there()) {
                Ok(false) => {}
                Ok(true) => break Ok(()),
                Err(error) => break Err(self.intake.explained(error)),
            }
        };
        self.tasks.clear();
        self.intake.broker.leave();
        ended
    }

    fn step(&mut self) -> Result<()> {
        let waits = !self.opening.is_empty() || self.tasks.values().any(|file| file.reading.is_stalled());
        let FileSinkWorker { intake, chain, shared, tasks, .. } = self;
        match intake.poll(if waits { STALLED } else { WAIT })? {
            Event::Nothing | Event::Reachable(_) | Event::Recreated => {}
            Event::End(partition, offset) => {
                // One that waits is not at its end, whatever was on its way when it began to.
                if let Some(file) = tasks.get_mut(&partition).filter(|file| !file.is_held()) {
                    file.end(offset);
                }
            }
            Event::Messages(partition) => {
                if let Some(file) = tasks.get_mut(&partition).filter(|file| !file.is_held())
                    && let Some(until) = intake.take(partition, &mut FileTaking { file, chain, shared })?
                {
                    file.end(until);
                }
            }
            Event::Assigned(partitions) => {
                (self.opening, self.opening_since) = (partitions, intake.now());
                if self.opening.is_empty() {
                    intake.broker.assign(&[])?;
                }
            }
            Event::Revoked(partitions) => {
                self.save(Some(&partitions))?;
                self.give_up(&partitions)?;
            }
            Event::Lost(partitions) => {
                self.shared.metrics.stream.fenced();
                self.give_up(&partitions)?;
            }
            Event::Deleted(topic) => {
                let of_topic: Vec<PartitionId> = tasks.keys().copied().filter(|it| it.topic == topic).collect();
                tracing::warn!(topic = topic.name(), partitions = of_topic.len(), "a topic was deleted: giving it up");
                // What was read of it is written: no offset has to go with it.
                self.save(Some(&of_topic))?;
                self.opening.retain(|partition| partition.topic != topic);
                self.forget(&of_topic);
                if let Some(bounds) = &self.settings.until {
                    bounds.drop_topic(topic);
                }
            }
            Event::OutOfRange(partition) => {
                if let Some(offset) = tasks.get(&partition).map(Reads::offset) {
                    return Err(intake.out_of_range(partition, offset));
                }
            }
        }
        let wait = (!self.opening.is_empty()).then(|| Wait::Ends(self.opening.clone()));
        self.intake.report_waits(wait, !self.tasks.is_empty(), self.opening.is_empty());
        self.open()?;
        self.intake.end(self.tasks.values_mut())?;
        self.intake.wake(self.tasks.values_mut())?;
        self.watch()?;
        self.advance_idle()?;
        self.save_due()?;
        self.intake.show(self.tasks.values());
        Ok(())
    }

    fn give_up(&mut self, partitions: &[PartitionId]) -> Result<()> {
        self.forget(partitions);
        self.intake.broker.unassign(partitions)
    }

    fn forget(&mut self, partitions: &[PartitionId]) {
        for partition in partitions {
            if let Some(mut file) = self.tasks.remove(partition) {
                file.task.leave(&self.shared);
            }
            self.shared.metrics.stream.gone(*partition);
        }
        self.opening.retain(|partition| !partitions.contains(partition));
    }

    /// Whether all polled messages are from the topic of the start. False: not known at present.
    fn is_same_topic(&mut self) -> Result<bool> {
        if self.shared.store.is_none() {
            return Ok(true);
        }
        if !self.intake.reachable {
            return Ok(false);
        }
        self.intake.broker.ask_topic();
        self.intake.is_same_topic()
    }

    /// Looks for partitions that stopped delivering, and restarts them.
    fn watch(&mut self) -> Result<()> {
        if self.intake.watch(self.tasks.values())? {
            // What is committed is opened again when the group gives it back.
            self.save(None)?;
            let all: Vec<PartitionId> = self.tasks.keys().copied().collect();
            self.forget(&all);
            self.intake.reconnect()?;
        }
        Ok(())
    }

    /// Moves the time on of partitions that nothing was heard of.
    fn advance_idle(&mut self) -> Result<()> {
        let FileSinkWorker { intake, chain, shared, tasks, .. } = self;
        intake.advance_idle(tasks.values_mut(), |file, until| file.task.advance(until, chain, shared))
    }

    /// Commits partitions whose checkpoints are due.
    fn save_due(&mut self) -> Result<()> {
        let now = self.intake.now();
        let every = i64::try_from(self.settings.checkpoint_every.as_millis()).unwrap_or(i64::MAX);
        let is_due = |file: &&FileTask| now - file.saved >= every || file.task.since() >= self.settings.or_records;
        let due: Vec<PartitionId> = self.tasks.values().filter(is_due).map(|file| file.id).collect();
        if due.is_empty() { Ok(()) } else { self.save(Some(&due)) }
    }

    /// Commits partitions, all of them without a list; nothing is committed while it is unknown whether the topic is
    /// the same.
    fn save(&mut self, only: Option<&[PartitionId]>) -> Result<()> {
        let now = self.intake.now();
        let is_known = self.is_same_topic()?;
        if !is_known {
            if self.is_topic_known && self.intake.reachable {
                tracing::warn!("no broker reports whether the topic is still the same: committing later");
            }
            self.tasks.values_mut().for_each(|file| file.saved = now);
        }
        self.is_topic_known = is_known;
        if !is_known {
            return Ok(());
        }
        let mut offsets = Vec::new();
        for file in self.tasks.values_mut() {
            if only.is_none_or(|only| only.contains(&file.id)) {
                file.saved = now;
                self.intake.waits.set(Some(Wait::Store(vec![file.id])));
                file.task.save(&self.shared)?;
                offsets.extend(file.saved_until().map(|offset| (file.id, offset)));
            }
        }
        self.intake.waits.set(None);
        if !offsets.is_empty() {
            self.intake.broker.note(&offsets);
        }
        Ok(())
    }

    /// Whether a bounded run is at its end: everything before the ends of all partitions is committed, by whomever. To
    /// stdout nothing is committed, so it is this process that must have had them all.
    fn is_there(&mut self) -> Result<bool> {
        let Some(bounds) = self.settings.until.clone() else { return Ok(false) };
        if !self.opening.is_empty() || !self.tasks.values().all(|file| file.reading.ended) {
            return Ok(false);
        }
        let new: Vec<PartitionId> = self.tasks.keys().copied().filter(|id| !bounds.is_there(*id)).collect();
        if !new.is_empty() {
            self.save(Some(&new))?;
            for file in new.iter().filter_map(|id| self.tasks.get(id)) {
                if !file.commits || file.task.manifest.as_ref().is_some_and(|it| next_of(it) >= file.offset()) {
                    bounds.arrived(file.id);
                }
            }
        }
        let missing = bounds.missing();
        if missing.is_empty() || !self.asking.is_due(self.intake.now(), &bounds, !self.tasks.is_empty()) {
            return Ok(missing.is_empty());
        }
        for partition in missing.into_iter().filter(|id| !self.tasks.contains_key(id)) {
            let Some(store) = &self.shared.store else { break };
            if store.latest(partition)?.is_some_and(|manifest| next_of(&manifest) >= bounds.end(partition)) {
                bounds.arrived(partition);
            }
        }
        Ok(bounds.missing().is_empty())
    }

    /// Opens the partitions that the group gave: all of them, or none where the broker can't answer at present.
    fn open(&mut self) -> Result<()> {
        self.show_restoring();
        if self.opening.is_empty() {
            return Ok(());
        }
        let mut opened = BTreeMap::new();
        let mut fresh = BTreeSet::new();
        for partition in self.opening.clone() {
            let Some((task, offset, is_new)) = self.restore(partition)? else { return Ok(()) };
            if is_new {
                fresh.insert(partition);
            }
            opened.insert(partition, (task, offset));
        }
        self.begin(&mut opened, &fresh)?;
        let at: Vec<(PartitionId, i64)> = opened.iter().map(|(partition, (_, offset))| (*partition, *offset)).collect();
        self.opening.clear();
        self.intake.broker.assign(&at)?;
        let (now, commits) = (self.intake.now(), self.shared.store.is_some());
        for (id, (mut task, from)) in opened {
            task.show_state(&self.shared);
            tracing::info!(
                partition = id.number,
                topic = id.topic.name(),
                from,
                keys = task.partition.keys.len(),
                "partition opened"
            );
            let mut reading = Reading::new(now);
            reading.begin(now, self.intake.end_of(id, from));
            self.shared.metrics.stream.restored(now - self.opening_since);
            self.tasks.insert(id, FileTask { id, task, reading, saved: now, commits });
        }
        self.show_restoring();
        Ok(())
    }

    /// Sets the gauge of the partitions that are being opened.
    fn show_restoring(&mut self) {
        self.restoring.show(&self.shared.metrics.stream, self.opening.len());
    }

    /// A partition as it was committed, the offset where it continues, and whether it is new; `None`: the broker can't
    /// answer at present.
    fn restore(&mut self, partition: PartitionId) -> Result<Option<(PartitionTask, i64, bool)>> {
        self.intake.waits.set(Some(Wait::Store(vec![partition])));
        let mut task = restore(partition, &self.chain, &self.shared)?;
        self.intake.waits.set(Some(Wait::Ends(vec![partition])));
        let Some(range) = self.intake.broker.range(partition, SHORT)? else { return Ok(None) };
        let is_new = task.origin.is_none() && task.manifest.is_none();
        let offset = match task.origin {
            Some(origin) => origin.row as i64 + 1,
            None if !is_new => 0,
            None => {
                let Some(start) = self.start_of(partition, range)? else { return Ok(None) };
                if start > 0 {
                    task.origin = Some(Origin { file: 0, row: start as u64 - 1 });
                }
                start
            }
        };
        if range.start > offset || range.end < offset {
            return Err(unread(partition, offset, range));
        }
        Ok(Some((task, offset, is_new)))
    }

    /// Lets new partitions take the history of their keys, and commits where they begin: from now on that is known.
    fn begin(
        &mut self,
        opened: &mut BTreeMap<PartitionId, (PartitionTask, i64)>,
        fresh: &BTreeSet<PartitionId>,
    ) -> Result<()> {
        let FileSinkWorker { chain, shared, .. } = self;
        if let Some(history) = &self.history {
            warm_start::feed(history, self.settings.batch, fresh, &self.settings.topics, |mut work| {
                let Some((task, _)) = opened.get_mut(&work.partition) else { return Ok(()) };
                task.partition.process_taking(chain, &shared.source, &mut work.records).map(|_| ())
            })?;
        }
        for (task, _) in opened.iter_mut().filter(|(id, _)| fresh.contains(id)).map(|(_, opened)| opened) {
            // Positions count the stream's records.
            task.partition.position = 0;
            task.begin(shared)?;
        }
        Ok(())
    }

    /// Where a partition without state begins; `None`: the broker can't answer at present.
    fn start_of(&mut self, partition: PartitionId, range: LogRange) -> Result<Option<i64>> {
        let broker = &mut self.intake.broker;
        let Some(committed) = broker.committed(&[partition], SHORT)? else { return Ok(None) };
        match committed.into_iter().next().flatten() {
            Some(set) if set.metadata == BEGINNING => Ok(Some(set.offset.clamp(range.start, range.end))),
            _ => start_of(broker, partition, self.settings.topics.start(partition, self.settings.start), range),
        }
    }
}

/// The offset after the last committed message.
fn next_of(manifest: &Manifest) -> i64 {
    manifest.origin.map_or(0, |origin| origin.row as i64 + 1)
}

/// Records of a part, so that no message with several records is split.
///
/// # Errors
/// More than can be counted.
pub(super) fn whole_messages(part_records: u64, columns: usize) -> Result<u64> {
    let columns = columns.max(1) as u64;
    part_records
        .checked_add(columns - 1)
        .map(|records| records / columns * columns)
        .ok_or_else(|| Error::refused("sink.parquet.part_records is too large"))
}
