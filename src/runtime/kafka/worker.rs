//! One worker: polls, processes, sends, commits; answers the group; restores what it is given. Each of these is a part
//! with fields of its own; here is who does what when.
//!
//! The rules that keep every output exactly once, whatever dies when (`docs/recovery.md` tells the story):
//! - Outputs of a partition stay in its outbox until the transaction with its offset is confirmed. An abort sends them
//!   again.
//! - A transaction belongs to the membership at its begin. It is resolved before a partition is given back; a partition
//!   that is lost takes its outbox and state with it.
//! - After an outcome that is unknown the producer is never used again; a new one with the same id settles the old
//!   transaction, and the committed offsets then show what happened. When unsure, the state is dropped and restored.
//! - A checkpoint is taken only where everything is committed. The one exception is a swap's ([`super::swap`]): it is
//!   of the commit that will come next, and only that commit can be resumed from it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::bounded::Asking;
use super::intake::{Incoming, Intake};
use super::owned::Owned;
use super::partition_task::PartitionTask;
use super::processing::Processing;
use super::reading::Reads;
use super::restores::Restores;
use super::settings::{SHORT, Settings};
use super::swaps::Swaps;
use super::taking::Taking;
use super::transactions::{Producer, Transactions};
use super::waits::Wait;
use crate::Result;
use crate::kafka::{Broker, Event};
use crate::record::{PartitionId, SourceTopic};
use crate::state::Checkpoints;

/// How long an idle worker waits for an event.
const IDLE: Duration = Duration::from_millis(100);
/// How long a worker waits for an event while a partition pauses for a swap.
const SWAPPING: Duration = Duration::from_millis(2);
/// Milliseconds that a worker waits for an event at least while a partition waits for something else.
const STALLED: i64 = 10;
/// Polls for checkpoints that are being written when a client is replaced.
const WAITS: usize = 20;

/// One member of the group with its partitions.
pub(super) struct Worker<B, C> {
    owned: Owned<B, C>,
    transactions: Transactions,
    restores: Restores,
    swaps: Swaps,
    asking: Asking,
}

impl<B: Broker, C: Checkpoints> Worker<B, C> {
    /// A worker that has no partitions yet.
    pub fn new(broker: B, incoming: Incoming, checkpoints: C, processing: Processing, settings: Settings) -> Self {
        let metrics = processing.metrics.clone();
        #[cfg(test)]
        let processing = Processing { faults: settings.faults, ..processing };
        let intake = Intake::new(broker, incoming, metrics.clone(), &settings);
        Worker {
            owned: Owned { intake, checkpoints, processing, settings, tasks: BTreeMap::new(), metrics },
            transactions: Transactions::new(),
            restores: Restores::default(),
            swaps: Swaps::default(),
            asking: Asking::default(),
        }
    }

    /// Runs until `stop` says so, or to the end of a bounded run: then it drains, commits, takes checkpoints and
    /// leaves.
    ///
    /// # Errors
    /// Refused: state that cannot be resumed. Failed: an error that retrying won't solve.
    pub fn run(&mut self, stop: &dyn Fn() -> bool) -> Result<()> {
        let ended = loop {
            if stop() {
                break self.drain();
            }
            match self.step().and_then(|()| self.is_there()) {
                Ok(false) => {}
                Ok(true) => break self.drain(),
                Err(error) => break Err(self.owned.intake.explained(error)),
            }
        };
        if ended.is_err() && matches!(self.transactions.producer(), Producer::Open(_)) {
            // The error is what matters; a transaction that stays open ends by its timeout.
            self.owned.intake.broker.abort().unwrap_or_default();
        }
        self.owned.tasks.clear();
        self.owned.intake.broker.leave();
        ended
    }

    fn step(&mut self) -> Result<()> {
        let timeout = self.patience();
        let Owned { intake, tasks, processing, .. } = &mut self.owned;
        match intake.poll(timeout)? {
            Event::Nothing | Event::Reachable(_) | Event::Recreated => {}
            Event::Messages(partition) => {
                if let Some(task) = tasks.get_mut(&partition).and_then(PartitionTask::listening)
                    && let Some(until) = intake.take(partition, &mut Taking { task, processing })?
                {
                    task.end(until, processing)?;
                }
            }
            Event::End(partition, offset) => {
                if let Some(task) = tasks.get_mut(&partition).and_then(PartitionTask::listening) {
                    task.end(offset, processing)?;
                    task.reading.at_end = true;
                }
            }
            Event::Assigned(partitions) => self.restores.assigned(partitions, intake.now()),
            Event::Revoked(partitions) => self.revoke(&partitions)?,
            Event::Lost(partitions) => self.lose(&partitions)?,
            Event::Deleted(topic) => self.drop_topic(topic)?,
            Event::OutOfRange(partition) => {
                // One that is being opened is looked at there.
                if let Some(offset) = tasks.get(&partition).map(Reads::offset) {
                    return Err(intake.out_of_range(partition, offset));
                }
            }
        }
        self.report_waits();
        self.settle()?;
        if self.restores.open(&mut self.owned, &mut self.transactions)? {
            self.swaps.look_soon();
        }
        self.owned.intake.end(self.owned.tasks.values_mut())?;
        self.owned.intake.wake(self.owned.tasks.values_mut())?;
        self.watch()?;
        self.advance_idle()?;
        self.transactions.send(&mut self.owned)?;
        self.transactions.commit_if_due(&mut self.owned)?;
        self.hold()?;
        if self.swaps.step(&mut self.owned)? {
            self.drop_versions();
        }
        self.owned.take_checkpoints(false)?;
        self.take_written(Duration::ZERO)?;
        self.show();
        Ok(())
    }

    /// Whether a bounded run is at its end: everything before the ends of all partitions is committed, by whomever.
    fn is_there(&mut self) -> Result<bool> {
        let Some(bounds) = self.owned.settings.until.clone() else { return Ok(false) };
        #[cfg(test)]
        let ends_early = self.owned.settings.faults.ends_early;
        let Owned { intake, tasks, .. } = &mut self.owned;
        if !self.restores.is_empty() || !tasks.values().all(|task| task.reading.ended && task.is_clean()) {
            return Ok(false);
        }
        tasks.keys().for_each(|partition| bounds.arrived(*partition));
        #[cfg(test)]
        if ends_early && !tasks.is_empty() {
            return Ok(true);
        }
        let missing = bounds.missing();
        if missing.is_empty() || !self.asking.is_due(intake.now(), &bounds, !tasks.is_empty()) {
            return Ok(missing.is_empty());
        }
        for (partition, found) in missing.iter().zip(intake.broker.committed(&missing, SHORT)?.into_iter().flatten()) {
            if found.is_some_and(|found| found.offset >= bounds.end(*partition)) {
                bounds.arrived(*partition);
            }
        }
        Ok(bounds.missing().is_empty())
    }

    /// Sets the gauges, now and then.
    fn show(&mut self) {
        let Owned { intake, tasks, metrics, .. } = &mut self.owned;
        if !intake.show(tasks.values()) {
            return;
        }
        let now = intake.now();
        let open = if let Producer::Open(since) = self.transactions.producer() { now - since } else { 0 };
        metrics.stream.open_transaction.set(open as f64 / 1000.0);
        for task in tasks.values_mut() {
            if task.replay.is_none()
                && let Some(opened) = task.opened.take()
            {
                metrics.stream.restored(now - opened);
            }
            if task.is_unsaved() {
                metrics.stream.unsaved.changed(task.id);
            } else if !task.writing {
                metrics.stream.unsaved.gone(task.id);
            }
            task.show(metrics, (task.state.keys.len() as i64, task.state.bytes() as i64));
        }
        let replaying = tasks.values().filter(|task| task.opened.is_some()).count();
        self.restores.show(&metrics.stream, replaying);
    }

    /// Reports what this worker waits for, if anything.
    fn report_waits(&mut self) {
        let tasks = &self.owned.tasks;
        // A partition pauses while the checkpoint with which a new model version begins is written.
        let swapping = |task: &&PartitionTask| task.swap.is_some() && !task.is_ready_to_swap();
        let wait = match self.transactions.producer() {
            Producer::Renew => Some(Wait::Producer),
            Producer::Compare => Some(Wait::Outcome),
            Producer::Idle | Producer::Open(_) => self
                .restores
                .waits_for()
                .or_else(|| tasks.values().find(swapping).map(|task| Wait::Store(vec![task.id]))),
        };
        let restored = self.restores.is_empty() && tasks.values().all(|task| task.replay.is_none());
        self.owned.intake.report_waits(wait, !self.owned.tasks.is_empty(), restored);
    }

    /// How long a poll may wait: not beyond the time at which a waiting partition is tried again.
    fn patience(&self) -> Duration {
        let patience = self.undisturbed();
        let wait = self.owned.intake.wakes_in(self.owned.tasks.values()).map(|wait| wait.max(STALLED));
        wait.and_then(|wait| u64::try_from(wait).ok())
            .map_or(patience, |wait| patience.min(Duration::from_millis(wait)))
    }

    fn undisturbed(&self) -> Duration {
        let Owned { tasks, settings, .. } = &self.owned;
        if tasks.values().any(|task| task.swap.is_some()) {
            return SWAPPING;
        }
        if tasks.values().any(PartitionTask::is_dirty) {
            // Not beyond the time of the next commit, and not 0: a poll that doesn't wait would spin.
            let due = self.transactions.due(settings.commit_every.as_millis() as i64);
            return Duration::from_millis((due - self.owned.now()).clamp(1, IDLE.as_millis() as i64) as u64);
        }
        let idle = self.restores.is_empty() && self.transactions.producer() != Producer::Renew;
        if idle { IDLE } else { Duration::from_millis(10) }
    }

    /// Moves the time on of partitions that nothing was heard of.
    fn advance_idle(&mut self) -> Result<()> {
        let Owned { intake, tasks, processing, .. } = &mut self.owned;
        intake.advance_idle(tasks.values_mut(), |task, until| task.advance(until, processing))
    }

    /// Gets a producer if there is none, and restores partitions that another has committed meanwhile.
    fn settle(&mut self) -> Result<()> {
        for partition in self.transactions.settle(&mut self.owned)? {
            self.restores.again(partition, self.owned.now());
        }
        Ok(())
    }

    /// Pauses reading while too much waits to be sent, and resumes it later.
    fn hold(&mut self) -> Result<()> {
        let Owned { intake, tasks, settings, .. } = &mut self.owned;
        let waiting: usize = tasks.values().map(|task| task.outbox.bytes()).sum();
        let full = waiting > 4 * settings.commit_bytes;
        if full != intake.paused {
            intake.paused = full;
            let all: Vec<PartitionId> = tasks.values().filter(|task| !task.is_held()).map(|task| task.id).collect();
            intake.broker.pause(&all, full)?;
        }
        Ok(())
    }

    /// The group revokes partitions: finished work is committed first, the rest is dropped.
    fn revoke(&mut self, partitions: &[PartitionId]) -> Result<()> {
        #[cfg(test)]
        if self.owned.settings.faults.commit_after_revoke {
            return self.owned.intake.broker.unassign(partitions);
        }
        let has = |tasks: &BTreeMap<PartitionId, PartitionTask>, what: fn(&PartitionTask) -> bool| {
            partitions.iter().any(|partition| tasks.get(partition).is_some_and(what))
        };
        if has(&self.owned.tasks, PartitionTask::is_dirty) {
            self.transactions.commit(&mut self.owned)?;
        }
        if has(&self.owned.tasks, |task| !task.outbox.is_empty()) {
            // Its messages are in the open transaction, which must not be committed without its offset.
            self.transactions.abandon(&mut self.owned)?;
        }
        self.give_up(partitions)
    }

    /// Partitions are another's already.
    fn lose(&mut self, partitions: &[PartitionId]) -> Result<()> {
        tracing::warn!(?partitions, "the group reassigned partitions while this worker was silent");
        self.owned.metrics.stream.fenced();
        self.transactions.abandon(&mut self.owned)?;
        self.give_up(partitions)
    }

    /// A topic was deleted: its partitions are dropped before anything else is committed, since a transaction with
    /// their offsets fails as a whole. The group takes them away later.
    fn drop_topic(&mut self, topic: SourceTopic) -> Result<()> {
        let of_topic: Vec<PartitionId> =
            self.owned.tasks.keys().copied().filter(|partition| partition.topic == topic).collect();
        let left = |task: &PartitionTask| task.attempt.is_some() || !task.outbox.is_empty() || task.is_dirty();
        let open = of_topic.iter().filter(|it| self.owned.tasks.get(it).is_some_and(left)).count();
        tracing::warn!(
            topic = topic.name(),
            partitions = of_topic.len(),
            uncommitted = open,
            "a topic was deleted: its partitions are given up, and what was not committed of them is dropped"
        );
        #[cfg(test)]
        if self.owned.settings.faults.keep_deleted {
            return Ok(());
        }
        if open > 0 {
            self.transactions.abandon(&mut self.owned)?;
        }
        for partition in of_topic {
            self.owned.remove(partition);
        }
        self.restores.drop_topic(topic);
        if let Some(bounds) = &self.owned.settings.until {
            bounds.drop_topic(topic);
        }
        self.drop_versions();
        Ok(())
    }

    fn give_up(&mut self, partitions: &[PartitionId]) -> Result<()> {
        #[cfg(test)]
        if self.owned.settings.faults.resend_lost {
            return self.owned.intake.broker.unassign(partitions);
        }
        for partition in partitions {
            self.owned.remove(*partition);
        }
        self.restores.drop_all(partitions);
        self.drop_versions();
        self.owned.intake.broker.unassign(partitions)
    }

    /// Looks for partitions that stopped delivering, and restarts them.
    fn watch(&mut self) -> Result<()> {
        self.restores.forget_kept(self.owned.now());
        if self.owned.intake.watch(self.owned.tasks.values())? { self.replace_client() } else { Ok(()) }
    }

    /// Leaves the group and joins it with another client. The state of partitions of which everything is committed is
    /// kept: should the group give them back, and if no other process has committed meanwhile, they continue with it.
    fn replace_client(&mut self) -> Result<()> {
        self.transactions.commit(&mut self.owned)?;
        self.transactions.abandon(&mut self.owned)?;
        for _ in 0..WAITS {
            if !self.owned.tasks.values().any(|task| task.writing) {
                break;
            }
            self.take_written(SHORT)?;
        }
        self.restores.clear();
        let now = self.owned.now();
        let all: Vec<PartitionId> = self.owned.tasks.keys().copied().collect();
        for partition in all {
            if let Some(task) = self.owned.remove(partition).filter(PartitionTask::is_clean) {
                self.restores.keep(task, now);
            }
        }
        self.owned.intake.reconnect()
    }

    /// Reports to all partitions which checkpoints are durable.
    fn take_written(&mut self, timeout: Duration) -> Result<()> {
        for durable in self.owned.take_written(timeout)? {
            self.restores.written(durable.partition);
        }
        Ok(())
    }

    /// Drops the stages with versions that no partition has.
    fn drop_versions(&mut self) {
        let Owned { tasks, processing, .. } = &mut self.owned;
        let mut needed: Vec<&str> = Vec::new();
        for task in tasks.values().chain(self.restores.tasks()) {
            needed.push(&task.now.epoch.model);
            needed.extend(task.swap.as_ref().map(|swap| swap.epoch.model.as_str()));
        }
        processing.versions.keep(&needed);
    }

    /// Commits, takes a checkpoint of every partition, and gives them back, within the time of grace.
    fn drain(&mut self) -> Result<()> {
        let until = self.owned.now() + self.owned.settings.grace.as_millis() as i64;
        self.restores.clear();
        for task in self.owned.tasks.values_mut() {
            // There is no time to wait for the checkpoints of swaps.
            task.swap.take_if(|swap| !swap.is_ready());
        }
        let waits = |task: &PartitionTask| task.is_dirty() || !task.outbox.is_empty();
        while self.owned.tasks.values().any(waits) && self.owned.now() < until {
            self.transactions.retry_now(self.owned.now());
            self.settle()?;
            self.transactions.commit(&mut self.owned)?;
            // What is polled meanwhile is not taken: it comes again to who is next.
            match self.owned.intake.receive(Duration::from_millis(1), 1)? {
                Event::Revoked(partitions) => self.revoke(&partitions)?,
                Event::Lost(partitions) => self.lose(&partitions)?,
                Event::Deleted(topic) => self.drop_topic(topic)?,
                _ => {}
            }
        }
        self.wait_for_checkpoints(until)?;
        self.owned.take_checkpoints(true)?;
        self.wait_for_checkpoints(until)?;
        let left = self.owned.tasks.values().filter(|task| task.is_dirty() || task.writing).count();
        if left > 0 {
            tracing::warn!(partitions = left, "the grace period is over: they will be replayed at the next start");
        }
        self.transactions.abandon(&mut self.owned)
    }

    fn wait_for_checkpoints(&mut self, until: i64) -> Result<()> {
        while self.owned.tasks.values().any(|task| task.writing) && self.owned.now() < until {
            self.take_written(SHORT)?;
        }
        Ok(())
    }
}
