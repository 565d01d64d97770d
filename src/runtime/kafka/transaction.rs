//! Transactions of a worker: sending, committing, and what is done when either fails.

use super::commit::Commit;
use super::partition_task::PartitionTask;
use super::refusals::{ANSWER, recreated};
use super::restore::Opening;
use super::swap::Swap;
use super::worker::{Producer, SHORT, Worker};
use crate::kafka::{Broken, Broker, Unsendable};
use crate::record::PartitionId;
use crate::state::Checkpoints;
use crate::{Error, Result};

/// Milliseconds before a transaction that failed is tried again.
const AGAIN: i64 = 250;
/// Attempts to commit before the group's events are looked at again.
const ATTEMPTS: usize = 3;

impl<B: Broker, C: Checkpoints> Worker<B, C> {
    /// Hands what waits to the open transaction; begins one if there is anything.
    pub(super) fn send(&mut self) -> Result<()> {
        if !matches!(self.producer, Producer::Idle | Producer::Open(_)) || self.broker.now() < self.retry_at {
            return Ok(());
        }
        match self.try_send() {
            Ok(()) => Ok(()),
            Err(Failed::Broken(broken)) => self.broken(broken),
            Err(Failed::Error(error)) => Err(error),
        }
    }

    fn try_send(&mut self) -> std::result::Result<(), Failed> {
        let waits = |task: &PartitionTask| task.attempt.is_none() && task.outbox.next().is_some();
        if !self.tasks.values().any(waits) || !self.begin()? {
            return Ok(());
        }
        for task in self.tasks.values_mut().filter(|task| task.attempt.is_none()) {
            while let Some(message) = task.outbox.next() {
                match self.broker.send(message) {
                    Ok(()) => task.outbox.was_sent(),
                    Err(Unsendable::Transaction(broken)) => return Err(broken.into()),
                    Err(Unsendable::Never(why)) if self.processing.dead_letter_folder.is_some() => {
                        return Err(Failed::Error(Error::failed(format!(
                            "partition {}: an output can't be written: {why}\n\
                             let the topic take larger messages (max.message.bytes), or send such outputs to dead_letters: {{ kafka: {{ topic }} }}",
                            task.id
                        ))));
                    }
                    Err(Unsendable::Never(why)) => {
                        let headers = self.processing.too_large(task.id, &why);
                        if !task.outbox.refuse(headers, self.processing.longest_dead_letter) {
                            return Err(Failed::Error(Error::failed(format!(
                                "partition {}: a dead letter can't be written: {why}",
                                task.id
                            ))));
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Begins a transaction, if none is open. A producer of which a request is still on its way must not: what arrives late would
    /// commit half of this transaction, or set its offsets back. False: there is no other producer at present.
    pub(super) fn begin(&mut self) -> std::result::Result<bool, Failed> {
        if matches!(self.producer, Producer::Open(_)) {
            return Ok(true);
        }
        if let Some(request) = self.unanswered() {
            tracing::info!(
                request,
                "a request of a transaction had no answer and may arrive late: a new producer takes over"
            );
            self.metrics.stream.producers_renewed.inc();
            self.producer = Producer::Renew;
            if !self.broker.renew()? {
                return Ok(false);
            }
            // Nothing is in doubt: its transactions were confirmed or aborted.
            self.producer = Producer::Idle;
        }
        self.broker.begin()?;
        self.producer = Producer::Open(self.broker.now());
        Ok(true)
    }

    fn unanswered(&self) -> Option<&'static str> {
        #[cfg(test)]
        if self.settings.faults.late_requests {
            return None;
        }
        self.broker.unanswered()
    }

    /// Makes sure that everything polled before the last [`Broker::ask_topic`] is of the topic of the start.
    pub(super) fn confirm_topic(&mut self) -> std::result::Result<(), Failed> {
        #[cfg(test)]
        if self.settings.faults.topic_unasked {
            return Ok(());
        }
        match self.broker.is_same_topic(ANSWER)? {
            Some(true) => Ok(()),
            Some(false) => Err(recreated(&self.processing.topic).into()),
            None => Err(Broken::Abort("no broker tells in time whether the topic is still the same".into()).into()),
        }
    }

    /// Stops reading while too much waits, and goes on when it doesn't.
    pub(super) fn hold(&mut self) -> Result<()> {
        let waiting: usize = self.tasks.values().map(|task| task.outbox.bytes()).sum();
        let full = waiting > 4 * self.settings.commit_bytes;
        if full != self.paused {
            self.paused = full;
            let all: Vec<PartitionId> =
                self.tasks.values().filter(|task| !task.is_held()).map(|task| task.id).collect();
            self.broker.pause(&all, full)?;
        }
        Ok(())
    }

    pub(super) fn commit_if_due(&mut self) -> Result<()> {
        let now = self.broker.now();
        let bytes: usize = self.tasks.values().map(|task| task.outbox.bytes()).sum();
        let every = self.settings.commit_every.as_millis() as i64;
        // A partition stands still until it is committed.
        let swap = self.tasks.values().any(|task| task.swap.as_ref().is_some_and(Swap::is_ready));
        let due = match self.producer {
            Producer::Open(since) => swap || now - since >= every || bytes >= self.settings.commit_bytes,
            // Nothing to send, but offsets to commit: no hurry.
            Producer::Idle => swap || now - self.retry_at >= every && self.tasks.values().any(PartitionTask::is_dirty),
            Producer::Renew | Producer::Compare => false,
        };
        if due && now >= self.retry_at {
            self.commit()?;
        }
        Ok(())
    }

    /// Commits everything that was done. Where that fails, everything is kept and tried again: some times now, then after
    /// the group was listened to.
    pub(super) fn commit(&mut self) -> Result<()> {
        for _ in 0..ATTEMPTS {
            if !matches!(self.producer, Producer::Idle | Producer::Open(_)) {
                return Ok(());
            }
            let started = self.broker.now();
            match self.try_commit() {
                Ok(committed) => {
                    if committed {
                        self.metrics.stream.committed(self.broker.now() - started);
                    }
                    self.retry_at = self.broker.now();
                    return Ok(());
                }
                Err(Failed::Broken(broken)) => self.broken(broken)?,
                Err(Failed::Error(error)) => return Err(error),
            }
        }
        self.retry_at = self.broker.now() + AGAIN;
        Ok(())
    }

    fn try_commit(&mut self) -> std::result::Result<bool, Failed> {
        // Asked first, so that the answer comes while messages are on their way.
        if self.producer != Producer::Idle || self.tasks.values().any(PartitionTask::is_dirty) {
            self.broker.ask_topic();
        }
        self.try_send()?;
        let commits: Vec<(PartitionId, Commit)> = self
            .tasks
            .values()
            .filter(|task| task.attempt.is_none() && task.is_dirty())
            .map(|task| (task.id, task.next_commit()))
            .collect();
        let begun = match self.producer {
            Producer::Open(_) => true,
            Producer::Idle => !commits.is_empty() && self.begin()?,
            Producer::Renew | Producer::Compare => false,
        };
        if !begun {
            return Ok(false);
        }
        let mut offsets = Vec::with_capacity(commits.len());
        for (partition, commit) in &commits {
            let metadata = commit.metadata().ok_or_else(|| {
                Failed::Error(Error::failed(format!(
                    "partition {partition}: the decisions don't fit into a commit: a bug of kolk"
                )))
            })?;
            offsets.push((*partition, commit.at.offset, metadata));
        }
        #[cfg(test)]
        self.spoil(&mut offsets);
        self.broker.send_offsets(&offsets)?;
        for (partition, commit) in &commits {
            if let Some(task) = self.tasks.get_mut(partition) {
                task.attempt = Some((commit.clone(), task.outbox.len()));
            }
        }
        #[cfg(test)]
        if self.settings.faults.checkpoint_uncommitted {
            self.cut_uncommitted()?;
        }
        self.confirm_topic()?;
        self.broker.commit()?;
        self.producer = Producer::Idle;
        for task in self.tasks.values_mut() {
            if let Some((commit, messages)) = task.attempt.take() {
                task.confirm(&commit, messages);
            }
        }
        Ok(true)
    }

    /// A transaction failed: aborts it, or gives the producer up.
    pub(super) fn broken(&mut self, broken: Broken) -> Result<()> {
        let (why, is_fenced) = match broken {
            Broken::Abort(why) => {
                tracing::warn!(why, "a transaction is aborted and will be sent again");
                self.metrics.stream.aborted();
                match self.broker.abort() {
                    Ok(()) => {
                        self.producer = Producer::Idle;
                        for task in self.tasks.values_mut() {
                            task.attempt = None;
                            task.outbox.again();
                        }
                        return Ok(());
                    }
                    // It is certain that nothing of it was committed; what the next producer finds will say so too.
                    Err(Broken::Abort(why) | Broken::Renew(why)) => (why, false),
                    Err(Broken::Fenced(why)) => (why, true),
                }
            }
            Broken::Renew(why) => (why, false),
            Broken::Fenced(why) => (why, true),
        };
        if is_fenced {
            self.metrics.stream.fenced();
        }
        tracing::warn!(why, "the outcome of a transaction is unknown: asking what is committed");
        self.metrics.stream.unknown();
        self.producer = Producer::Renew;
        for task in self.tasks.values_mut() {
            task.outbox.again();
        }
        Ok(())
    }

    /// Gets a producer if there is none, and finds out what the last one did.
    pub(super) fn settle(&mut self) -> Result<()> {
        if self.producer == Producer::Renew {
            if !self.broker.renew()? {
                return Ok(());
            }
            self.producer = Producer::Compare;
        }
        if self.producer != Producer::Compare {
            return Ok(());
        }
        let unsure: Vec<PartitionId> =
            self.tasks.values().filter(|task| task.attempt.is_some()).map(|task| task.id).collect();
        if !unsure.is_empty() {
            let Some(found) = self.broker.committed(&unsure, SHORT)? else { return Ok(()) };
            for (partition, found) in unsure.into_iter().zip(found) {
                let commit = found.and_then(|found| Commit::parse(found.offset, &found.metadata));
                self.compare(partition, commit.as_ref());
            }
        }
        self.producer = Producer::Idle;
        Ok(())
    }

    /// What a partition that was in a transaction of unknown outcome does, by what is committed.
    fn compare(&mut self, partition: PartitionId, found: Option<&Commit>) {
        let Some(task) = self.tasks.get_mut(&partition) else { return };
        let Some((attempt, messages)) = task.attempt.take() else { return };
        #[cfg(test)]
        if self.settings.faults.unknown_is_failure {
            return;
        }
        match found {
            Some(found) if found.at == attempt.at && found.epoch == attempt.epoch => task.confirm(&attempt, messages),
            Some(found) if found.at == task.committed => {}
            _ => {
                tracing::warn!(partition, "another has committed this partition: restoring it");
                self.tasks.remove(&partition);
                self.checkpoints.release(partition);
                self.openings.push(Opening::again(partition));
            }
        }
    }
}

/// Why sending or committing stopped.
pub(super) enum Failed {
    Broken(Broken),
    Error(Error),
}

impl From<Broken> for Failed {
    fn from(broken: Broken) -> Self {
        Failed::Broken(broken)
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Failed::Error(error)
    }
}
