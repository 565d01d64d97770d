//! From what the group gives to lanes that run: the first start of a partition, and its restore.
//!
//! A restore reads the *stable* committed offset C, loads the newest checkpoint S at or before it, and lets the lane read from S:
//! up to C it repeats in silence what was done before ([`Lane::replay`]). Until then the partition isn't part of any
//! transaction, so nothing below C is ever committed. Other partitions go on meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::commit::Commit;
use super::lane::Lane;
use super::transaction::Failed;
use super::worker::{Producer, SHORT, Worker};
use super::{Broker, Checkpoints, Committed, Partition, Range, shown};
use crate::config::{Moment, Start};
use crate::state::{Checkpoint, Era, Mark};
use crate::{Error, Result};

/// Partitions on their way to become lanes.
pub(super) struct Opening {
    /// Whether the group waits for an answer; else they are read again from another offset.
    assigned: bool,
    waiting: BTreeSet<Partition>,
    ready: BTreeMap<Partition, Lane>,
    /// Lanes whose first checkpoint is being written.
    writing: BTreeSet<Partition>,
}

/// What became of a partition.
enum Restored {
    /// It can be read.
    Lane(Box<Lane>, bool),
    /// It is new: its start is to be committed first.
    Start(i64),
    /// The broker can't answer at present.
    Later,
}

impl Opening {
    pub(super) fn assigned(partitions: Vec<Partition>) -> Opening {
        Opening { assigned: true, ..Opening::of(partitions) }
    }

    pub(super) fn again(partition: Partition) -> Opening {
        Opening::of(vec![partition])
    }

    fn of(partitions: Vec<Partition>) -> Opening {
        Opening {
            assigned: false,
            waiting: partitions.into_iter().collect(),
            ready: BTreeMap::new(),
            writing: BTreeSet::new(),
        }
    }

    pub(super) fn drop_all(&mut self, partitions: &[Partition]) {
        for partition in partitions {
            self.waiting.remove(partition);
            self.ready.remove(partition);
            self.writing.remove(partition);
        }
    }

    /// Lanes that wait for the others.
    pub(super) fn ready(&self) -> impl Iterator<Item = &Lane> {
        self.ready.values()
    }

    pub(super) fn written(&mut self, partition: Partition) {
        self.writing.remove(&partition);
    }
}

impl<B: Broker, C: Checkpoints> Worker<B, C> {
    /// Goes on with what the group gave; as far as it goes without waiting.
    pub(super) fn open(&mut self) -> Result<()> {
        // What an own transaction may have done to an offset must be settled before the offset is asked for.
        if self.openings.is_empty() || !matches!(self.producer, Producer::Idle | Producer::Open(_)) {
            return Ok(());
        }
        let mut opening = self.openings.remove(0);
        self.restore_all(&mut opening)?;
        if !opening.waiting.is_empty() || !opening.writing.is_empty() {
            self.openings.insert(0, opening);
            return Ok(());
        }
        let at: Vec<(Partition, i64)> = opening.ready.iter().map(|(id, lane)| (*id, lane.now.mark.offset)).collect();
        if opening.assigned {
            self.broker.assign(&at)?;
        } else {
            at.iter().try_for_each(|(partition, offset)| self.broker.seek(*partition, *offset))?;
        }
        // Its reading may have been paused when this worker dropped it.
        let all: Vec<Partition> = at.iter().map(|(partition, _)| *partition).collect();
        if !all.is_empty() {
            self.broker.pause(&all, self.paused)?;
        }
        let now = self.broker.now();
        for (id, mut lane) in opening.ready {
            lane.heard = now;
            self.metrics.model_in_force(shown(&lane.now.era.model));
            if lane.now.era.model != self.processing.chains.wanted() {
                // Whoever had it before may have seen a newer version than this worker has: no going back and forth.
                self.looked_at = 0;
            }
            tracing::info!(
                partition = id,
                from = lane.now.mark.offset,
                committed = lane.committed.offset,
                keys = lane.state.keys.len(),
                model = shown(&lane.now.era.model),
                "partition opened"
            );
            self.lanes.insert(id, lane);
        }
        Ok(())
    }

    fn restore_all(&mut self, opening: &mut Opening) -> Result<()> {
        let partitions: Vec<Partition> = opening.waiting.iter().copied().collect();
        if partitions.is_empty() {
            return Ok(());
        }
        let Some(committed) = self.broker.committed(&partitions, SHORT)? else { return Ok(()) };
        let mut starts = Vec::new();
        let mut fresh = Vec::new();
        for (partition, committed) in partitions.into_iter().zip(committed) {
            match self.restore(partition, committed)? {
                Restored::Later => {}
                Restored::Start(offset) => starts.push((partition, offset)),
                Restored::Lane(lane, new) => {
                    if new {
                        fresh.push(partition);
                    }
                    opening.waiting.remove(&partition);
                    opening.ready.insert(partition, *lane);
                }
            }
        }
        let mut begin: BTreeMap<Partition, &mut Lane> =
            opening.ready.iter_mut().filter(|(id, _)| fresh.contains(id)).map(|(id, lane)| (*id, lane)).collect();
        self.processing.begin_with_history(&mut begin)?;
        for (partition, lane) in begin {
            self.checkpoints.write(partition, lane.checkpoint(&self.processing)?)?;
            opening.writing.insert(partition);
        }
        if starts.is_empty() { Ok(()) } else { self.commit_starts(&starts) }
    }

    /// Commits where partitions begin, before anything of them is read: from then on there is always a C. Whether it went well
    /// is seen when the offsets are asked for again.
    fn commit_starts(&mut self, starts: &[(Partition, i64)]) -> Result<()> {
        self.commit()?;
        if self.producer != Producer::Idle {
            return Ok(());
        }
        let mut offsets = Vec::new();
        for (partition, offset) in starts {
            let mark = Mark { sequence: 0, offset: *offset, hash: 0 };
            let era = Era { model: self.processing.chains.wanted().to_string(), from: 0 };
            let commit = Commit { mark, era, ..Commit::default() };
            offsets.push((*partition, *offset, commit.metadata().unwrap_or_default()));
        }
        let mut transaction = || -> std::result::Result<(), Failed> {
            self.broker.begin()?;
            self.producer = Producer::Open(self.broker.now());
            self.broker.send_offsets(&offsets)?;
            self.broker.commit()?;
            self.producer = Producer::Idle;
            Ok(())
        };
        match transaction() {
            Ok(()) => Ok(()),
            Err(Failed::Broken(broken)) => self.broken(broken),
            Err(Failed::Error(error)) => Err(error),
        }
    }

    fn restore(&mut self, partition: Partition, committed: Option<Committed>) -> Result<Restored> {
        let commit = committed.as_ref().and_then(|c| Commit::parse(c.offset, &c.metadata));
        let Some(commit) = commit else { return self.first_start(partition, committed) };
        let Some(range) = self.broker.range(partition, SHORT)? else { return Ok(Restored::Later) };
        if range.end < commit.mark.offset {
            return Err(refused(
                partition,
                format!(
                    "the topic ends at {}, before the committed offset {}: it was truncated or made anew",
                    range.end, commit.mark.offset
                ),
            ));
        }
        self.processing.chains.load(&commit.era.model)?;
        let Some(checkpoint) = self.load(partition, &commit)? else {
            if commit.mark.sequence > 0 {
                return Err(refused(
                    partition,
                    format!(
                        "offset {} is committed, but there is no checkpoint of the state: it was deleted, or is kept elsewhere",
                        commit.mark.offset
                    ),
                ));
            }
            let checkpoint = Checkpoint { mark: Some(commit.mark), era: commit.era.clone(), ..Checkpoint::default() };
            let lane = Lane::new(partition, checkpoint, commit, &self.processing, self.broker.now())?;
            return Ok(Restored::Lane(Box::new(lane), true));
        };
        let from = checkpoint.mark.unwrap_or_default().offset;
        if range.start > from {
            return Err(refused(
                partition,
                format!(
                    "the records from {from} on are needed and the topic begins at {}: retention has removed them",
                    range.start
                ),
            ));
        }
        let lane = Lane::new(partition, checkpoint, commit, &self.processing, self.broker.now())?;
        Ok(Restored::Lane(Box::new(lane), false))
    }

    /// The newest checkpoint at or before a commit, of the model version in force there, that can be read.
    fn load(&mut self, partition: Partition, commit: &Commit) -> Result<Option<Checkpoint>> {
        let (committed, era) = (commit.mark, &commit.era);
        let mut before: Option<(Mark, Error)> = None;
        loop {
            let found = self.checkpoints.find(partition, committed, era)?;
            match (found.usable, before) {
                (Some(mark), Some((failed, error))) if mark == failed => return Err(error),
                (Some(mark), _) => match self.checkpoints.load(partition, mark, era) {
                    Ok(checkpoint) => return Ok(Some(checkpoint)),
                    Err(error) => {
                        tracing::warn!(partition, sequence = mark.sequence, %error, "a checkpoint can't be read: taking an older one");
                        before = Some((mark, error));
                    }
                },
                (None, Some((_, error))) => return Err(error),
                (None, None) => {
                    let Some(newest) = found.newest.filter(|_| committed.sequence > 0) else { return Ok(None) };
                    if era.from > 0 {
                        return Err(refused(
                            partition,
                            format!(
                                "{} is in force since commit {}, and of none of its checkpoints is anything left at or before offset {}",
                                shown(&era.model),
                                era.from,
                                committed.offset
                            ),
                        ));
                    }
                    return Err(refused(
                        partition,
                        format!(
                            "offset {} is committed, which is before every checkpoint (the newest is at {}): offsets were reset by hand",
                            committed.offset, newest.offset
                        ),
                    ));
                }
            }
        }
    }

    /// No offset is committed by kolk.
    fn first_start(&mut self, partition: Partition, committed: Option<Committed>) -> Result<Restored> {
        let everything = Mark { sequence: u64::MAX, offset: i64::MAX, hash: 0 };
        if self
            .checkpoints
            .find(partition, everything, &Era::default())?
            .newest
            .is_some_and(|newest| newest.sequence > 0)
        {
            return Err(refused(
                partition,
                match committed {
                    None => "there is state, but the group has no offset: it expired, was deleted, or the group has another name".into(),
                    Some(committed) => format!("there is state, but offset {} was not committed by kolk: offsets were reset by hand", committed.offset),
                },
            ));
        }
        if let Some(committed) = committed {
            tracing::info!(partition, offset = committed.offset, "beginning at the offset that the group has");
            return Ok(Restored::Start(committed.offset));
        }
        let Some(range) = self.broker.range(partition, SHORT)? else { return Ok(Restored::Later) };
        let offset = start_of(&mut self.broker, partition, self.settings.start, range)?;
        Ok(offset.map_or(Restored::Later, Restored::Start))
    }

    /// Tells lanes and openings which checkpoints are durable.
    pub(super) fn take_written(&mut self, timeout: Duration) -> Result<()> {
        for durable in self.checkpoints.written(timeout)? {
            self.metrics.checkpoint(durable.took, durable.bytes);
            self.openings.iter_mut().for_each(|opening| opening.written(durable.partition));
            if let Some(lane) = self.lanes.get_mut(&durable.partition) {
                lane.written(&durable);
            }
        }
        Ok(())
    }
}

/// Where a partition that was never read begins; `None`: the broker can't answer at present.
pub(super) fn start_of(
    broker: &mut impl Broker,
    partition: Partition,
    start: Start,
    range: Range,
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

pub(super) fn refused(partition: Partition, what: String) -> Error {
    Error::refused(format!(
        "partition {partition}: {what}\n\
         to begin anew from what the topic holds: kolk state reset (and a new output topic, or its records come twice)\n\
         to go on: bring back the offsets or the state that belong together"
    ))
}
