//! One worker: polls, processes, sends, commits; answers the group; restores what it is given.
//!
//! The rules that keep every output exactly once, whatever dies when (`docs/recovery.md` tells them as a story):
//! - Outputs of a partition stay in its outbox until the transaction with its offset is confirmed. An abort sends them again.
//! - A transaction belongs to the membership at its begin. It is resolved before a partition is given back; a partition that is
//!   lost takes its outbox and state with it.
//! - After an outcome that is unknown the producer is never used again; a new one with the same id settles the old transaction, and
//!   what is committed then says what happened. When unsure, the state is dropped and restored.
//! - A checkpoint is cut only where everything is committed. The one exception is a swap's ([`super::swap`]): it is of the commit that
//!   will come next, and no commit but that one can be gone on from with it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::partition_task::{PartitionTask, Taken};
use super::processing::Processing;
use super::refusals::{explained, out_of_range, recreated};
use super::restore::Opening;
use super::restore_partition::expected;
use super::waits::Waits;
use super::watchdog::Watchdog;
use crate::Result;
use crate::config::Start;
use crate::format::Messages;
use crate::kafka::{Broken, Broker, Event};
use crate::metrics::{Metrics, Position};
use crate::record::PartitionId;
use crate::state::Checkpoints;

/// How long a call that can be repeated may take.
pub(super) const SHORT: Duration = Duration::from_millis(250);
/// How long an idle worker waits for an event.
const IDLE: Duration = Duration::from_millis(100);
/// How long a worker waits for an event while a partition stands still for a swap.
const SWAPPING: Duration = Duration::from_millis(2);
/// Milliseconds that a worker waits for an event at least while a partition waits for something else.
const STALLED: i64 = 10;
/// Milliseconds between two settings of the gauges.
const SHOWN: i64 = 500;

/// What a worker goes by.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Messages of a micro-batch at most.
    pub batch: usize,
    /// A transaction is committed after that time …
    pub commit_every: Duration,
    /// … or with that many bytes of output.
    pub commit_bytes: usize,
    /// A checkpoint is due after that time …
    pub checkpoint_every: Duration,
    /// … or that many messages of a partition.
    pub or_records: u64,
    /// Where a group without offsets begins.
    pub start: Start,
    /// Partitions that the topic had at the start.
    pub partitions: u32,
    /// How often a new version of the model is asked for; `None`: never.
    pub model_every: Option<Duration>,
    /// A partition without messages for that long has its time moved on by the clock.
    pub idle: Option<Duration>,
    /// A partition of which nothing is received for that long, although there is something, is begun to be read once more.
    pub silence: Duration,
    /// How long leaving may take.
    pub grace: Duration,
    /// What a test breaks on purpose.
    #[cfg(test)]
    pub faults: super::faults::Faults,
}

/// The producer, and whether it has a transaction open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Producer {
    /// It can't be used (any more): a new one is needed.
    Renew,
    /// There is a new one; what the old one did is not known yet.
    Compare,
    /// No transaction is open.
    Idle,
    /// One is open since then.
    Open(i64),
}

/// One member of the group with its partitions.
pub struct Worker<B, C> {
    pub(super) broker: B,
    pub(super) checkpoints: C,
    pub(super) processing: Processing,
    pub(super) settings: Settings,
    pub(super) tasks: BTreeMap<PartitionId, PartitionTask>,
    pub(super) openings: Vec<Opening>,
    pub(super) producer: Producer,
    pub(super) metrics: Arc<Metrics>,
    pub(super) watchdog: Watchdog,
    /// Partitions of a client that was replaced, until the group has given them to somebody.
    pub(super) kept: BTreeMap<PartitionId, PartitionTask>,
    pub(super) kept_until: i64,
    inbox: Messages,
    /// Not before then is a failed transaction tried again.
    pub(super) retry_at: i64,
    /// Not before then are the group's offsets asked for again, which holds up all partitions while there is no answer.
    pub(super) ask_at: i64,
    shown_at: i64,
    /// When the version of the model was asked for.
    pub(super) looked_at: i64,
    /// Whether a broker answers.
    pub(super) reachable: bool,
    pub(super) waits: Waits,
    /// Whether all partitions are paused because too much waits to be sent.
    pub(super) paused: bool,
}

impl<B: Broker, C: Checkpoints> Worker<B, C> {
    /// A worker that has no partitions yet.
    pub fn new(broker: B, checkpoints: C, processing: Processing, settings: Settings) -> Self {
        let metrics = processing.metrics.clone();
        #[cfg(test)]
        let processing = Processing { faults: settings.faults, ..processing };
        Worker {
            waits: Waits::new(metrics.clone()),
            broker,
            checkpoints,
            processing,
            watchdog: Watchdog::new(settings.silence),
            kept: BTreeMap::new(),
            kept_until: 0,
            settings,
            tasks: BTreeMap::new(),
            openings: Vec::new(),
            producer: Producer::Renew,
            metrics,
            inbox: Messages::default(),
            retry_at: 0,
            ask_at: 0,
            shown_at: 0,
            looked_at: 0,
            reachable: true,
            paused: false,
        }
    }

    /// Runs until `stop` says so: then it drains, commits, cuts checkpoints and leaves.
    ///
    /// # Errors
    /// Refused: state that can't be gone on with. Failed: what can't be waited out.
    pub fn run(&mut self, stop: &dyn Fn() -> bool) -> Result<()> {
        let ended = loop {
            if stop() {
                break self.drain();
            }
            if let Err(error) = self.step() {
                break Err(explained(&mut self.broker, &self.processing.topic, error));
            }
        };
        if ended.is_err() && matches!(self.producer, Producer::Open(_)) {
            // The error is what matters; a transaction that stays open ends by its timeout.
            self.broker.abort().unwrap_or_default();
        }
        self.tasks.clear();
        self.kept.clear();
        self.broker.leave();
        ended
    }

    fn step(&mut self) -> Result<()> {
        let timeout = self.patience();
        self.inbox.clear();
        match self.broker.poll(timeout, self.settings.batch, &mut self.inbox)? {
            Event::Nothing => {}
            Event::Messages(partition) => self.take(partition)?,
            Event::End(partition, offset) => {
                self.watchdog.heard(partition, self.broker.now());
                if let Some(task) = self.tasks.get_mut(&partition).and_then(PartitionTask::listening) {
                    task.end(offset, &mut self.processing)?;
                    task.at_end = true;
                }
            }
            Event::Assigned(partitions) => {
                expected(&partitions, self.settings.partitions)?;
                self.openings.push(Opening::assigned(partitions));
            }
            Event::Revoked(partitions) => self.revoke(&partitions)?,
            Event::Lost(partitions) => self.lose(&partitions)?,
            Event::Reachable(reachable) => {
                self.reachable = reachable;
                self.metrics.stream.reachable(reachable);
            }
            Event::Recreated => return Err(recreated(&self.processing.topic)),
            Event::OutOfRange(partition) => {
                // One that is being opened is looked at there.
                if let Some(offset) = self.tasks.get(&partition).map(|task| task.now.at.offset) {
                    return Err(out_of_range(&mut self.broker, partition, offset));
                }
            }
        }
        self.tell_waits();
        self.settle()?;
        self.open()?;
        self.wake_stalled()?;
        self.watch()?;
        self.tell_idle()?;
        self.send()?;
        self.commit_if_due()?;
        self.hold()?;
        self.swap()?;
        self.cut_checkpoints(false)?;
        self.take_written(Duration::ZERO)?;
        self.show();
        Ok(())
    }

    /// Sets the gauges, now and then.
    fn show(&mut self) {
        let now = self.broker.now();
        let open = match self.producer {
            Producer::Open(since) => now - since,
            _ => 0,
        };
        if now - self.shown_at < SHOWN {
            return;
        }
        self.shown_at = now;
        self.metrics.stream.open_transaction.set(open as f64 / 1000.0);
        for task in self.tasks.values_mut() {
            if task.replay.is_none()
                && let Some(opened) = task.opened.take()
            {
                self.metrics.stream.restore_seconds.observe((now - opened) as f64 / 1000.0);
            }
            let newest = (!task.at_end).then_some(task.newest);
            self.metrics.stream.position(task.id, Position { committed: task.committed.offset, newest });
            task.show(&self.metrics, (task.state.keys.len() as i64, task.state.bytes() as i64));
        }
    }

    /// How long a poll may wait: not beyond the time at which a partition that stands still is tried again.
    fn patience(&self) -> Duration {
        let patience = self.undisturbed();
        let again = self.tasks.values().filter_map(|task| task.stalled.as_ref()?.until()).min();
        let wait = again.map(|again| (again - self.broker.now()).max(STALLED));
        wait.and_then(|wait| u64::try_from(wait).ok())
            .map_or(patience, |wait| patience.min(Duration::from_millis(wait)))
    }

    fn undisturbed(&self) -> Duration {
        if self.tasks.values().any(|task| task.swap.is_some()) {
            return SWAPPING;
        }
        if self.tasks.values().any(PartitionTask::is_dirty) {
            // Not beyond the time of the next commit, and not 0: a poll that doesn't wait would spin.
            let due = match self.producer {
                Producer::Open(since) => since,
                _ => self.retry_at,
            } + self.settings.commit_every.as_millis() as i64;
            return Duration::from_millis((due - self.broker.now()).clamp(1, IDLE.as_millis() as i64) as u64);
        }
        if self.openings.is_empty() && self.producer != Producer::Renew { IDLE } else { Duration::from_millis(10) }
    }

    fn take(&mut self, partition: PartitionId) -> Result<()> {
        let now = self.broker.now();
        self.watchdog.heard(partition, now);
        let Some(task) = self.tasks.get_mut(&partition).and_then(PartitionTask::listening) else { return Ok(()) };
        task.heard = now;
        task.at_end = false;
        match task.take(&self.inbox, &mut self.processing)? {
            Taken::All => {
                task.unstall();
                Ok(())
            }
            Taken::Until(offset, wait) => {
                task.stall(offset, wait, now);
                self.broker.pause(&[partition], true)?;
                self.broker.seek(partition, offset)
            }
        }
    }

    fn wake_stalled(&mut self) -> Result<()> {
        let now = self.broker.now();
        for task in self.tasks.values_mut() {
            if task.wakes(now) && !self.paused {
                self.broker.pause(&[task.id], false)?;
            }
        }
        Ok(())
    }

    /// Moves the time of partitions on that nothing was heard of.
    fn tell_idle(&mut self) -> Result<()> {
        let (Some(idle), true) = (self.settings.idle, self.reachable) else { return Ok(()) };
        let now = self.broker.now();
        let idle = idle.as_millis() as i64;
        let Some(ticks) = self.processing.layout.clock.ticks_of_millis(now - idle) else { return Ok(()) };
        for task in self.tasks.values_mut() {
            let busy = task.replay.is_some() || task.attempt.is_some() || task.swap.is_some() || !task.at_end;
            if busy || now - task.heard < idle || task.now.is_full() {
                continue;
            }
            task.heard = now;
            task.advance(ticks, &mut self.processing)?;
        }
        Ok(())
    }

    /// The group takes partitions away: what was done is committed first, what can't be is dropped.
    fn revoke(&mut self, partitions: &[PartitionId]) -> Result<()> {
        #[cfg(test)]
        if self.settings.faults.commit_after_revoke {
            return self.broker.unassign(partitions);
        }
        if partitions.iter().any(|partition| self.tasks.get(partition).is_some_and(PartitionTask::is_dirty)) {
            self.commit()?;
        }
        if partitions.iter().any(|partition| self.tasks.get(partition).is_some_and(|task| !task.outbox.is_empty())) {
            // Its messages are in the open transaction, which must not be committed without its offset.
            self.abandon()?;
        }
        self.give_up(partitions)?;
        self.broker.unassign(partitions)
    }

    /// Partitions are another's already.
    fn lose(&mut self, partitions: &[PartitionId]) -> Result<()> {
        tracing::warn!(?partitions, "the group gave partitions away while this worker was not heard of");
        self.metrics.stream.fenced();
        self.abandon()?;
        self.give_up(partitions)?;
        self.broker.unassign(partitions)
    }

    pub(super) fn abandon(&mut self) -> Result<()> {
        if matches!(self.producer, Producer::Open(_)) {
            self.broken(Broken::Abort("partitions of it are given away".into()))?;
        }
        Ok(())
    }

    fn give_up(&mut self, partitions: &[PartitionId]) -> Result<()> {
        #[cfg(test)]
        if self.settings.faults.resend_lost {
            return Ok(());
        }
        for partition in partitions {
            if let Some(mut task) = self.tasks.remove(partition) {
                task.show(&self.metrics, (0, 0));
            }
            self.metrics.stream.gone(*partition);
            self.checkpoints.release(*partition);
        }
        for opening in &mut self.openings {
            opening.drop_all(partitions);
        }
        self.drop_versions();
        Ok(())
    }

    /// Begins checkpoints where they are due; of all partitions if `all`.
    fn cut_checkpoints(&mut self, all: bool) -> Result<()> {
        let now = self.broker.now();
        let every = self.settings.checkpoint_every.as_millis() as i64;
        for task in self.tasks.values_mut() {
            if !task.is_clean() || task.cut == task.committed.sequence {
                continue;
            }
            // Partitions of one age are cut one after the other, not all at once.
            let stagger = every / 8 * i64::from(task.id % 8) / 8;
            let due = now - task.checkpointed >= every + stagger || task.since >= self.settings.or_records;
            if all || due || task.now.is_full() {
                task.write_dead_letters(&self.processing)?;
                task.checkpointed = now;
                task.writing = true;
                self.checkpoints.write(task.id, task.checkpoint(&self.processing)?)?;
            }
        }
        Ok(())
    }

    /// Commits, cuts a checkpoint of every partition, and gives them back, within the time of grace.
    fn drain(&mut self) -> Result<()> {
        let until = self.broker.now() + self.settings.grace.as_millis() as i64;
        self.openings.clear();
        self.abandon_swaps();
        while self.tasks.values().any(|task| task.is_dirty() || !task.outbox.is_empty()) && self.broker.now() < until {
            self.retry_at = self.broker.now().min(self.retry_at);
            self.settle()?;
            self.commit()?;
            self.inbox.clear();
            match self.broker.poll(Duration::from_millis(1), 1, &mut self.inbox)? {
                Event::Revoked(partitions) => self.revoke(&partitions)?,
                Event::Lost(partitions) => self.lose(&partitions)?,
                _ => {}
            }
        }
        // The messages that were polled meanwhile were not taken: they come again to who is next.
        while self.tasks.values().any(|task| task.writing) && self.broker.now() < until {
            self.take_written(SHORT)?;
        }
        self.cut_checkpoints(true)?;
        while self.tasks.values().any(|task| task.writing) && self.broker.now() < until {
            self.take_written(SHORT)?;
        }
        let left = self.tasks.values().filter(|task| task.is_dirty() || task.writing).count();
        if left > 0 {
            tracing::warn!(partitions = left, "the time of grace is over: they will be replayed at the next start");
        }
        self.abandon()
    }
}
