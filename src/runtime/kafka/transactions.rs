//! Transactions of a worker: sending, committing, and handling their failures.

use super::commit::Commit;
use super::owned::Owned;
use super::partition_task::PartitionTask;
use super::settings::SHORT;
use crate::kafka::{Broken, Broker, Unsendable};
use crate::record::PartitionId;
use crate::state::Checkpoints;
use crate::{Error, Result};

/// Milliseconds before a transaction that failed is tried again.
const AGAIN: i64 = 250;
/// Attempts to commit before the group's events are looked at again.
const ATTEMPTS: usize = 3;

/// The producer, and whether it has a transaction open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Producer {
    /// It can't be used: a new one is needed.
    Renew,
    /// There is a new one; what the old one did is not known yet.
    Compare,
    /// No transaction is open.
    Idle,
    /// One is open since then.
    Open(i64),
}

/// The transactions of one worker.
pub(super) struct Transactions {
    producer: Producer,
    /// Not before then is a failed transaction tried again.
    retry_at: i64,
}

impl Transactions {
    /// Without a producer yet.
    pub fn new() -> Transactions {
        Transactions { producer: Producer::Renew, retry_at: 0 }
    }

    /// The producer, and whether it has a transaction open.
    pub fn producer(&self) -> Producer {
        self.producer
    }

    /// Whether it is known what every transaction did, so that offsets can be asked for and sent.
    pub fn is_settled(&self) -> bool {
        matches!(self.producer, Producer::Idle | Producer::Open(_))
    }

    /// When the next commit is due at the earliest, `every` being the milliseconds between two.
    pub fn due(&self, every: i64) -> i64 {
        every + if let Producer::Open(since) = self.producer { since } else { self.retry_at }
    }

    /// Lets a failed transaction be tried again at once.
    pub fn retry_now(&mut self, now: i64) {
        self.retry_at = now.min(self.retry_at);
    }

    /// Hands what waits to the open transaction; begins one if there is anything.
    pub fn send<B: Broker, C: Checkpoints>(&mut self, owned: &mut Owned<B, C>) -> Result<()> {
        if !self.is_settled() || owned.now() < self.retry_at {
            return Ok(());
        }
        match self.try_send(owned) {
            Ok(()) => Ok(()),
            Err(Failed::Broken(broken)) => self.broken(owned, broken),
            Err(Failed::Error(error)) => Err(error),
        }
    }

    fn try_send<B: Broker, C: Checkpoints>(&mut self, owned: &mut Owned<B, C>) -> std::result::Result<(), Failed> {
        let waits = |task: &PartitionTask| task.attempt.is_none() && task.outbox.next().is_some();
        if !owned.tasks.values().any(waits) || !self.begin(owned)? {
            return Ok(());
        }
        for task in owned.tasks.values_mut().filter(|task| task.attempt.is_none()) {
            while let Some(message) = task.outbox.next() {
                match owned.intake.broker.send(message) {
                    Ok(()) => task.outbox.was_sent(),
                    Err(Unsendable::Transaction(broken)) => return Err(broken.into()),
                    Err(Unsendable::Never(why)) if owned.processing.dead_letter_folder.is_some() => {
                        return Err(Failed::Error(Error::failed(format!(
                            "partition {}: an output can't be written: {why}\n\
                             let the topic take larger messages (max.message.bytes), or send such outputs to dead_letters: {{ kafka: {{ topic }} }}",
                            task.id
                        ))));
                    }
                    Err(Unsendable::Never(why)) => {
                        let headers = owned.processing.too_large(task.id, &why);
                        if !task.outbox.refuse(headers, owned.processing.longest_dead_letter) {
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

    /// Begins a transaction, if none is open. A producer of which a request is still on its way must not: what arrives
    /// late would commit half of this transaction, or set its offsets back. False: there is no other producer at
    /// present.
    pub fn begin<B: Broker, C: Checkpoints>(&mut self, owned: &mut Owned<B, C>) -> std::result::Result<bool, Failed> {
        if matches!(self.producer, Producer::Open(_)) {
            return Ok(true);
        }
        if let Some(request) = unanswered(owned) {
            tracing::info!(
                request,
                "a request of a transaction had no answer and may arrive late: a new producer takes over"
            );
            owned.metrics.stream.producers_renewed.inc();
            self.producer = Producer::Renew;
            if !owned.intake.broker.renew()? {
                return Ok(false);
            }
            // Nothing is in doubt: its transactions were confirmed or aborted.
            self.producer = Producer::Idle;
        }
        owned.intake.broker.begin()?;
        self.producer = Producer::Open(owned.now());
        Ok(true)
    }

    /// Commits if it is time, or enough is sent.
    pub fn commit_if_due<B: Broker, C: Checkpoints>(&mut self, owned: &mut Owned<B, C>) -> Result<()> {
        let now = owned.now();
        let bytes: usize = owned.tasks.values().map(|task| task.outbox.bytes()).sum();
        let every = owned.settings.commit_every.as_millis() as i64;
        // The partition pauses until it is committed.
        let swap = owned.tasks.values().any(PartitionTask::is_ready_to_swap);
        let due = match self.producer {
            Producer::Open(since) => swap || now - since >= every || bytes >= owned.settings.commit_bytes,
            // Nothing to send, but offsets to commit: no hurry.
            Producer::Idle => swap || now - self.retry_at >= every && owned.tasks.values().any(PartitionTask::is_dirty),
            Producer::Renew | Producer::Compare => false,
        };
        if due && now >= self.retry_at {
            self.commit(owned)?;
        }
        Ok(())
    }

    /// Commits everything that was done. Where that fails, everything is kept and tried again: some times now, then
    /// after the group was listened to.
    pub fn commit<B: Broker, C: Checkpoints>(&mut self, owned: &mut Owned<B, C>) -> Result<()> {
        for _ in 0..ATTEMPTS {
            if !self.is_settled() {
                return Ok(());
            }
            let started = owned.now();
            match self.try_commit(owned) {
                Ok(committed) => {
                    if committed {
                        owned.metrics.stream.committed(owned.now() - started);
                    }
                    self.retry_at = owned.now();
                    return Ok(());
                }
                Err(Failed::Broken(broken)) => self.broken(owned, broken)?,
                Err(Failed::Error(error)) => return Err(error),
            }
        }
        self.retry_at = owned.now() + AGAIN;
        Ok(())
    }

    fn try_commit<B: Broker, C: Checkpoints>(&mut self, owned: &mut Owned<B, C>) -> std::result::Result<bool, Failed> {
        // Asked first, so that the answer comes while messages are on their way.
        if self.producer != Producer::Idle || owned.tasks.values().any(PartitionTask::is_dirty) {
            owned.intake.broker.ask_topic();
        }
        self.try_send(owned)?;
        let commits: Vec<(PartitionId, Commit)> = owned
            .tasks
            .values()
            .filter(|task| task.attempt.is_none() && task.is_dirty())
            .map(|task| (task.id, task.next_commit()))
            .collect();
        let begun = match self.producer {
            Producer::Open(_) => true,
            Producer::Idle => !commits.is_empty() && self.begin(owned)?,
            Producer::Renew | Producer::Compare => false,
        };
        if !begun {
            return Ok(false);
        }
        let mut offsets = Vec::with_capacity(commits.len());
        for (partition, commit) in &commits {
            let metadata = commit.metadata().ok_or_else(|| {
                Failed::Error(Error::failed(format!(
                    "partition {partition}: the decisions don't fit into a commit: internal error, please report"
                )))
            })?;
            offsets.push((*partition, commit.at.offset, metadata));
        }
        #[cfg(test)]
        super::spoil::spoil(owned, &mut offsets);
        owned.intake.broker.send_offsets(&offsets)?;
        for (partition, commit) in &commits {
            if let Some(task) = owned.tasks.get_mut(partition) {
                task.attempt = Some((commit.clone(), task.outbox.len()));
            }
        }
        #[cfg(test)]
        if owned.settings.faults.checkpoint_uncommitted {
            super::spoil::save_uncommitted(owned)?;
        }
        confirm_topic(owned)?;
        owned.intake.broker.commit()?;
        self.producer = Producer::Idle;
        for task in owned.tasks.values_mut() {
            if let Some((commit, messages)) = task.attempt.take() {
                task.confirm(&commit, messages);
            }
        }
        Ok(true)
    }

    /// A transaction failed: aborts it, or gives the producer up.
    pub fn broken<B: Broker, C: Checkpoints>(&mut self, owned: &mut Owned<B, C>, broken: Broken) -> Result<()> {
        let (why, is_fenced) = match broken {
            Broken::Abort(why) => {
                tracing::warn!(why, "a transaction is aborted and will be sent again");
                owned.metrics.stream.aborted();
                match owned.intake.broker.abort() {
                    Ok(()) => {
                        self.producer = Producer::Idle;
                        for task in owned.tasks.values_mut() {
                            task.attempt = None;
                            task.outbox.again();
                        }
                        return Ok(());
                    }
                    // It is certain that nothing of it was committed; the next producer will find the same.
                    Err(Broken::Abort(why) | Broken::Renew(why)) => (why, false),
                    Err(Broken::Fenced(why)) => (why, true),
                }
            }
            Broken::Renew(why) => (why, false),
            Broken::Fenced(why) => (why, true),
        };
        if is_fenced {
            owned.metrics.stream.fenced();
        }
        tracing::warn!(why, "the outcome of a transaction is unknown: asking for the committed offsets");
        owned.metrics.stream.unknown();
        self.producer = Producer::Renew;
        for task in owned.tasks.values_mut() {
            task.outbox.again();
        }
        Ok(())
    }

    /// Gets a producer if there is none, and finds out what the last one did. Gives the partitions that another has
    /// committed meanwhile: they are no longer there, and have to be restored.
    pub fn settle<B: Broker, C: Checkpoints>(&mut self, owned: &mut Owned<B, C>) -> Result<Vec<PartitionId>> {
        let mut outdated = Vec::new();
        if self.producer == Producer::Renew {
            if !owned.intake.broker.renew()? {
                return Ok(outdated);
            }
            self.producer = Producer::Compare;
        }
        if self.producer != Producer::Compare {
            return Ok(outdated);
        }
        let unsure: Vec<PartitionId> =
            owned.tasks.values().filter(|task| task.attempt.is_some()).map(|task| task.id).collect();
        if !unsure.is_empty() {
            let Some(found) = owned.intake.broker.committed(&unsure, SHORT)? else { return Ok(outdated) };
            for (partition, found) in unsure.into_iter().zip(found) {
                let commit = found.and_then(|found| Commit::parse(found.offset, &found.metadata));
                if !is_as_committed(owned, partition, commit.as_ref()) {
                    tracing::warn!(
                        partition = partition.number,
                        topic = partition.topic.name(),
                        "another has committed this partition: restoring it"
                    );
                    owned.remove(partition);
                    outdated.push(partition);
                }
            }
        }
        self.producer = Producer::Idle;
        Ok(outdated)
    }

    /// Aborts what is open: its partitions were reassigned.
    pub fn abandon<B: Broker, C: Checkpoints>(&mut self, owned: &mut Owned<B, C>) -> Result<()> {
        if matches!(self.producer, Producer::Open(_)) {
            self.broken(owned, Broken::Abort("its partitions were reassigned".into()))?;
        }
        Ok(())
    }

    /// Commits offsets in a transaction of their own, with no output. False: that failed, and can be tried again.
    pub fn commit_offsets<B: Broker, C: Checkpoints>(
        &mut self,
        owned: &mut Owned<B, C>,
        offsets: &[(PartitionId, i64, String)],
    ) -> Result<bool> {
        self.commit(owned)?;
        if self.producer != Producer::Idle {
            return Ok(false);
        }
        match self.try_commit_offsets(owned, offsets) {
            Ok(done) => Ok(done),
            Err(Failed::Broken(broken)) => self.broken(owned, broken).map(|()| false),
            Err(Failed::Error(error)) => Err(error),
        }
    }

    fn try_commit_offsets<B: Broker, C: Checkpoints>(
        &mut self,
        owned: &mut Owned<B, C>,
        offsets: &[(PartitionId, i64, String)],
    ) -> std::result::Result<bool, Failed> {
        owned.intake.broker.ask_topic();
        if !self.begin(owned)? {
            return Ok(false);
        }
        owned.intake.broker.send_offsets(offsets)?;
        confirm_topic(owned)?;
        owned.intake.broker.commit()?;
        self.producer = Producer::Idle;
        Ok(true)
    }
}

/// Compares a partition that was in a transaction of unknown outcome with what is committed. False: another has
/// committed it.
fn is_as_committed<B, C>(owned: &mut Owned<B, C>, partition: PartitionId, found: Option<&Commit>) -> bool {
    let Some(task) = owned.tasks.get_mut(&partition) else { return true };
    let Some((attempt, messages)) = task.attempt.take() else { return true };
    #[cfg(test)]
    if owned.settings.faults.unknown_is_failure {
        return true;
    }
    match found {
        Some(found) if found.at == attempt.at && found.epoch == attempt.epoch => task.confirm(&attempt, messages),
        Some(found) if found.at == task.committed => {}
        _ => return false,
    }
    true
}

fn unanswered<B: Broker, C: Checkpoints>(owned: &Owned<B, C>) -> Option<&'static str> {
    #[cfg(test)]
    if owned.settings.faults.late_requests {
        return None;
    }
    owned.intake.broker.unanswered()
}

/// Makes sure that everything polled before the last [`Broker::ask_topic`] is of the topic of the start.
fn confirm_topic<B: Broker, C: Checkpoints>(owned: &mut Owned<B, C>) -> std::result::Result<(), Failed> {
    #[cfg(test)]
    if owned.settings.faults.topic_unasked {
        return Ok(());
    }
    match owned.intake.is_same_topic()? {
        true => Ok(()),
        false => Err(Broken::Abort("no broker reports in time whether the topic is still the same".into()).into()),
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
