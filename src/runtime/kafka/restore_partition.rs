//! How one partition is restored: the committed offset, the checkpoint that fits it, and refusals if none does.
//!
//! Checkpoints are read on another thread; the worker continues with its other partitions meanwhile. The committed
//! offset is asked for again when a checkpoint was read, and must be the one for which it was read.

use std::collections::BTreeMap;

use super::commit::Commit;
use super::owned::Owned;
use super::partition_task::PartitionTask;
use super::refusals::{adoptable, refused, unread};
use super::settings::SHORT;
use super::waits::Wait;
use crate::config::{Moment, Start};
use crate::kafka::{Broker, Committed, LogRange};
use crate::record::PartitionId;
use crate::state::{Checkpoint, CommitPosition, ModelEpoch};
use crate::state::{Checkpoints, shown};
use crate::{Error, Result};

/// What became of a partition.
pub(super) enum Restored {
    /// It can be read. True: it is new, and has no checkpoint yet.
    Task(Box<PartitionTask>, bool),
    /// It is new: its start is to be committed first.
    Start(i64),
    /// Its checkpoint is being read.
    Loading(Box<Loading>),
    /// The broker can't answer at present.
    Later,
}

/// A checkpoint that is being read.
pub(super) struct Loading {
    /// What was committed when it began.
    commit: Commit,
    at: CommitPosition,
}

impl Loading {
    /// Whether it is the checkpoint of this position. What can't be read has no hash.
    pub(super) fn is(&self, at: CommitPosition) -> bool {
        (self.at.sequence, self.at.offset) == (at.sequence, at.offset)
    }
}

/// Continues with a partition, its commit, and its checkpoint if one was read.
pub(super) fn restore<B: Broker, C: Checkpoints>(
    owned: &mut Owned<B, C>,
    kept: &mut BTreeMap<PartitionId, PartitionTask>,
    partition: PartitionId,
    committed: Option<Committed>,
    loaded: Option<(Loading, Result<Checkpoint>)>,
) -> Result<Restored> {
    let commit = committed.as_ref().and_then(|c| Commit::parse(c.offset, &c.metadata));
    let Some(commit) = commit else { return first_start(owned, partition, committed) };
    let Some(range) = owned.intake.broker.range(partition, SHORT)? else { return Ok(Restored::Later) };
    let offset = commit.at.offset;
    if range.end < offset {
        return Err(unread(partition, offset, range));
    }
    if let Some(task) =
        kept.remove(&partition).filter(|task| task.is_as_of(&commit) && range.start <= task.now.at.offset)
    {
        return Ok(Restored::Task(Box::new(task), false));
    }
    owned.processing.versions.load(&commit.epoch.model)?;
    let checkpoint = match loaded {
        Some((loading, Ok(checkpoint))) if loading.commit == commit => checkpoint,
        Some((loading, Err(error))) if loading.commit == commit => {
            let (sequence, at) = (loading.at.sequence, loading.at);
            tracing::warn!(partition = partition.number, topic = partition.topic.name(), sequence, %error, "a checkpoint can't be read: taking an older one");
            return find(owned, partition, commit, range, Some((at, error)));
        }
        // Somebody has committed since.
        _ => return find(owned, partition, commit, range, None),
    };
    if range.start > offset {
        return Err(unread(partition, offset, range));
    }
    let mut task = PartitionTask::new(partition, checkpoint, commit, &owned.processing, owned.now())?;
    task.begin_replay(range.start, &mut owned.processing)?;
    Ok(Restored::Task(Box::new(task), false))
}

/// Whether the commit has changed since it was asked for: then this worker was silent for so long that another took
/// over meanwhile, and what doesn't fit now may fit later.
pub(super) fn is_outdated<B: Broker, C: Checkpoints>(
    owned: &mut Owned<B, C>,
    partition: PartitionId,
    before: Option<&Committed>,
) -> Result<bool> {
    let now = owned.intake.broker.committed(&[partition], SHORT)?;
    Ok(now.is_none_or(|now| now.first().and_then(Option::as_ref) != before))
}

/// Begins to read the newest checkpoint at or before a commit, of the active model version there. `failed`: it could
/// not be read, and why.
fn find<B: Broker, C: Checkpoints>(
    owned: &mut Owned<B, C>,
    partition: PartitionId,
    commit: Commit,
    range: LogRange,
    failed: Option<(CommitPosition, Error)>,
) -> Result<Restored> {
    owned.intake.waits.set(Some(Wait::Store(vec![partition])));
    let found = owned.checkpoints.find(partition, commit.at, &commit.epoch)?;
    match (found.usable, failed) {
        (Some(at), Some((failed, error))) if at == failed => Err(error),
        (Some(at), _) => {
            owned.checkpoints.load(partition, at, &commit.epoch)?;
            Ok(Restored::Loading(Box::new(Loading { commit, at })))
        }
        (None, Some((_, error))) => Err(error),
        (None, None) => without_state(owned, partition, commit, range, found.newest),
    }
}

/// No checkpoint fits a commit: right only where nothing was read yet.
fn without_state<B: Broker, C: Checkpoints>(
    owned: &Owned<B, C>,
    partition: PartitionId,
    commit: Commit,
    range: LogRange,
    newest: Option<CommitPosition>,
) -> Result<Restored> {
    let (CommitPosition { sequence, offset, .. }, epoch) = (commit.at, &commit.epoch);
    let newest = newest.filter(|newest| sequence > 0 || newest.sequence > 0);
    let what = match newest {
        Some(_) if epoch.from > 0 => format!(
            "{} is active since commit {}, and of none of its checkpoints is anything left at or before offset \
             {offset}",
            shown(&epoch.model),
            epoch.from,
        ),
        Some(newest) => format!(
            "offset {offset} is committed, which is before every checkpoint (the newest is at {}): offsets were reset \
             by hand",
            newest.offset
        ),
        None if sequence > 0 => {
            return Err(refused(
                partition,
                format!(
                    "offset {offset} is committed, but there is no checkpoint of the state: it was deleted, or is \
                     kept elsewhere"
                ),
            ));
        }
        None if range.start > offset => return Err(unread(partition, offset, range)),
        None => {
            let checkpoint = Checkpoint { at: Some(commit.at), epoch: epoch.clone(), ..Checkpoint::default() };
            let task = PartitionTask::new(partition, checkpoint, commit, &owned.processing, owned.now())?;
            return Ok(Restored::Task(Box::new(task), true));
        }
    };
    Err(adoptable(partition, what))
}

/// No offset is committed by kolk.
fn first_start<B: Broker, C: Checkpoints>(
    owned: &mut Owned<B, C>,
    partition: PartitionId,
    committed: Option<Committed>,
) -> Result<Restored> {
    let everything = CommitPosition { sequence: u64::MAX, offset: i64::MAX, hash: 0 };
    if owned
        .checkpoints
        .find(partition, everything, &ModelEpoch::default())?
        .newest
        .is_some_and(|newest| newest.sequence > 0)
    {
        return Err(adoptable(
            partition,
            match committed {
                None => "there is state, but the group has no offset: it expired, was deleted, or the group has another name".into(),
                Some(committed) => format!("there is state, but offset {} was not committed by kolk: offsets were reset by hand", committed.offset),
            },
        ));
    }
    if let Some(committed) = committed {
        tracing::info!(
            partition = partition.number,
            topic = partition.topic.name(),
            offset = committed.offset,
            "beginning at the offset that the group has"
        );
        return Ok(Restored::Start(committed.offset));
    }
    let Some(range) = owned.intake.broker.range(partition, SHORT)? else { return Ok(Restored::Later) };
    let start = owned.settings.topics.start(partition, owned.settings.start);
    let offset = start_of(&mut owned.intake.broker, partition, start, range)?;
    Ok(offset.map_or(Restored::Later, Restored::Start))
}

/// Where a partition that was never read begins; `None`: the broker can't answer at present.
pub(super) fn start_of(
    broker: &mut impl Broker,
    partition: PartitionId,
    start: Start,
    range: LogRange,
) -> Result<Option<i64>> {
    Ok(match start {
        Start::Earliest => Some(range.start),
        Start::Latest => Some(range.end),
        Start::At(Moment::Instant(at)) => broker
            .offset_at(partition, at.timestamp_millis(), SHORT)?
            .map(|offset| offset.clamp(range.start, range.end)),
        Start::At(Moment::Step(offset)) => Some(offset.clamp(range.start, range.end)),
    })
}
