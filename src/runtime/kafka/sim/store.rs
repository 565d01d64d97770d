//! Checkpoints in memory, which last longer than any process: created once, never changed, durable some time after they
//! were asked for, or never.

use std::time::Duration;

use super::client::Client;
use super::processes::Wait;
use super::scheduler::Op;
use super::topics::place;
use super::world::{Phase, World};
use crate::record::PartitionId;
use crate::state::{Checkpoint, CommitPosition, ModelEpoch};
use crate::state::{Checkpoints, Durable, Found, Loaded};
use crate::{Error, Result};

/// A checkpoint on its way.
#[derive(Debug)]
pub struct Writing {
    pub at: i64,
    partition: PartitionId,
    checkpoint: Checkpoint,
}

/// What is durable.
#[derive(Debug)]
pub struct Shelf(Vec<Vec<Checkpoint>>);

impl Shelf {
    pub fn new(partitions: usize) -> Shelf {
        Shelf(vec![Vec::new(); partitions])
    }

    fn marks(&self, partition: PartitionId) -> impl Iterator<Item = CommitPosition> {
        self.0[place(partition)].iter().filter_map(|checkpoint| checkpoint.at)
    }

    pub fn newest(&self, partition: PartitionId) -> Option<CommitPosition> {
        self.marks(partition).max()
    }

    /// The newest of an epoch that is not beyond a commit.
    pub fn usable(
        &self,
        partition: PartitionId,
        committed: CommitPosition,
        epoch: &ModelEpoch,
    ) -> Option<CommitPosition> {
        let before = |at: &CommitPosition| at.sequence <= committed.sequence && at.offset <= committed.offset;
        let of_era = self.0[place(partition)].iter().filter(|checkpoint| checkpoint.epoch == *epoch);
        of_era.filter_map(|checkpoint| checkpoint.at).filter(before).max()
    }

    fn get(&self, partition: PartitionId, at: CommitPosition, epoch: &ModelEpoch) -> Option<&Checkpoint> {
        let all = &self.0[place(partition)];
        all.iter().find(|checkpoint| checkpoint.at == Some(at) && checkpoint.epoch == *epoch)
    }

    /// Forgets what a test selects.
    pub fn retain(&mut self, partition: PartitionId, keep: impl Fn(CommitPosition) -> bool) {
        self.0[place(partition)].retain(|checkpoint| checkpoint.at.is_some_and(&keep));
    }
}

impl World {
    /// What was written long enough is durable; a process that doesn't run writes nothing.
    pub fn tick_store(&mut self) {
        for process in 0..self.processes.len() {
            let it = &self.processes[process];
            if it.writing.is_empty() || it.ended || self.now < it.frozen_until {
                continue;
            }
            while let Some(at) = self.processes[process].writing.iter().position(|writing| writing.at <= self.now) {
                let writing = self.processes[process].writing.remove(at);
                self.store(process, writing);
            }
        }
    }

    fn store(&mut self, process: usize, writing: Writing) {
        let Some(at) = writing.checkpoint.at else { return };
        self.note(Some(process), || format!("checkpoint of {} at {} is durable", writing.partition, at.offset));
        let epoch = writing.checkpoint.epoch.clone();
        if self.shelf.get(writing.partition, at, &epoch).is_none() {
            self.shelf.0[place(writing.partition)].push(writing.checkpoint);
        }
        let took = Duration::ZERO;
        self.processes[process].written.push(Durable { partition: writing.partition, at, epoch, bytes: 0, took });
    }

    /// What a process was writing when it died is durable all the same, or lost.
    pub fn drop_writing(&mut self, process: usize) {
        for writing in std::mem::take(&mut self.processes[process].writing) {
            if self.dice.chance(0.3) {
                self.store(process, writing);
            }
        }
    }
}

/// One process' view of it, and what it is reading.
pub struct Store(Client, Vec<(i64, Loaded)>);

impl Store {
    pub fn new(client: Client) -> Store {
        Store(client, Vec::new())
    }
}

impl Checkpoints for Store {
    fn find(&mut self, partition: PartitionId, committed: CommitPosition, epoch: &ModelEpoch) -> Result<Found> {
        let mut world = self.0.enter(Op::Find);
        self.0.may_fail(&mut world)?;
        let found =
            Found { usable: world.shelf.usable(partition, committed, epoch), newest: world.shelf.newest(partition) };
        self.0.exit(world, Op::Find, || format!("find {partition} until {}: {found:?}", committed.offset));
        Ok(found)
    }

    fn load(&mut self, partition: PartitionId, at: CommitPosition, epoch: &ModelEpoch) -> Result<()> {
        let mut world = self.0.enter(Op::Load);
        self.0.may_fail(&mut world)?;
        let it = world.shelf.get(partition, at, epoch).cloned();
        let checkpoint = it.ok_or_else(|| Error::failed("a checkpoint that was found is gone"));
        let slow: &[i64] = if world.phase == Phase::Trouble { &[0, 0, 20, 400, 3_000] } else { &[0, 20] };
        let when = world.now + world.plan.loading.unwrap_or_else(|| world.dice.pick(slow));
        self.1.push((when, Loaded { partition, at, checkpoint }));
        self.0.exit(world, Op::Load, || format!("load {partition} at {}", at.offset));
        Ok(())
    }

    fn loaded(&mut self, _: Duration) -> Result<Vec<Loaded>> {
        let now = self.0.sim.world().now;
        let done = self.1.extract_if(.., |(at, _)| *at <= now);
        Ok(done.map(|(_, loaded)| loaded).collect())
    }

    fn write(&mut self, partition: PartitionId, checkpoint: Checkpoint) -> Result<()> {
        let mut world = self.0.enter(Op::Write);
        self.0.may_fail(&mut world)?;
        if let Err(wrong) = world.oracle.checkpoint(&world.inputs, &world.fates, partition, &checkpoint) {
            world.fail(wrong);
        }
        let slow: &[i64] = if world.phase == Phase::Trouble { &[0, 5, 50, 700, 4_000] } else { &[0, 50] };
        let before = world.processes[self.0.me].writing.last().map_or(0, |writing| writing.at);
        let at = before.max(world.now + world.dice.pick(slow));
        let offset = checkpoint.at.unwrap_or_default().offset;
        world.processes[self.0.me].writing.push(Writing { at, partition, checkpoint });
        self.0.exit(world, Op::Write, || format!("write {partition} at {offset}"));
        Ok(())
    }

    fn written(&mut self, timeout: Duration) -> Result<Vec<Durable>> {
        let mut world = self.0.enter(Op::Written);
        let until = world.now + timeout.as_millis() as i64;
        let me = self.0.me;
        while world.processes[me].written.is_empty() && !world.processes[me].writing.is_empty() && world.now < until {
            world = self.0.wait(world, Wait::Written(until));
        }
        Ok(std::mem::take(&mut world.processes[me].written))
    }

    fn release(&mut self, _: PartitionId) {}
}
