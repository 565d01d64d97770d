//! A process' client: the simulated cluster as a [`Broker`]. What a real client answers late, twice, not at all or not
//! yet, this one does by the dice.

use std::sync::Arc;
use std::time::Duration;

use super::dice::Dice;
use super::fetch::Fetch;
use super::group::{Ask, Membership};
use super::processes::Wait;
use super::scheduler::{Guard, Op, Sim};
use super::topics::place;
use super::world::{Phase, World};
use crate::format::Messages;
use crate::kafka::{Broken, Broker, Committed, Event, LogRange, Outgoing, Unsendable};
use crate::record::{PartitionId, SourceTopic};
use crate::{Error, Result};

/// One process' hands on the world.
pub struct Client {
    pub sim: Arc<Sim>,
    pub me: usize,
}

impl Client {
    /// Begins a call: other processes may run first, time passes, and this one may die here.
    pub fn enter(&self, op: Op) -> Guard<'_> {
        let mut world = self.sim.world();
        if world.strike(self.me, op) {
            Sim::die(world);
        }
        self.wait(world, Wait::No)
    }

    /// Ends a call: what it did is in the trace.
    pub fn exit(&self, mut world: Guard<'_>, op: Op, what: impl FnOnce() -> String) {
        world.note(Some(self.me), || format!("{op:?}: {}", what()));
    }

    /// Lets others run until this process can.
    pub fn wait<'a>(&'a self, mut world: Guard<'a>, wait: Wait) -> Guard<'a> {
        world.processes[self.me].wait = wait;
        let mut world = self.sim.pass(world, self.me);
        world.processes[self.me].wait = Wait::No;
        if world.processes[self.me].killed || world.phase == Phase::Over {
            Sim::die(world);
        }
        world
    }

    /// A call may fail permanently; its process may end with an error then.
    pub fn may_fail(&self, world: &mut World) -> Result<()> {
        if world.phase == Phase::Trouble && world.dice.chance(world.plan.odds.error) {
            world.processes[self.me].excused = true;
            world.note(Some(self.me), || "an error on purpose".into());
            return Err(Error::failed("an error on purpose"));
        }
        Ok(())
    }

    /// Waits until a broker answers; false if none does within the time.
    fn reach<'a>(&'a self, mut world: Guard<'a>, timeout: i64) -> (Guard<'a>, bool) {
        let until = world.now + timeout;
        while !world.is_reachable(self.me) && world.now < until {
            let next = until.min(world.now + 100);
            world = self.wait(world, Wait::Until(next));
        }
        let reachable = world.is_reachable(self.me);
        (world, reachable)
    }

    /// Begins a call that may be repeated; `None`: it has no answer this time.
    fn ask(&self, op: Op, timeout: Duration) -> Result<Option<Guard<'_>>> {
        let mut world = self.enter(op);
        self.may_fail(&mut world)?;
        let timeout = timeout.as_millis() as i64;
        let (mut world, reachable) = self.reach(world, timeout);
        let none = world.plan.odds.none;
        if reachable && !(world.phase == Phase::Trouble && world.dice.chance(none)) {
            return Ok(Some(world));
        }
        if reachable {
            let until = world.now + timeout;
            world = self.wait(world, Wait::Until(until));
        }
        self.exit(world, op, || "no answer".into());
        Ok(None)
    }

    fn poll_now(&self, world: &mut World, most: usize, into: &mut Messages) -> Option<Event> {
        let me = self.me;
        let reachable = world.is_reachable(me);
        if let Some((topic, true)) = world.deleted
            && !std::mem::replace(&mut world.processes[me].told_deleted, true)
        {
            return Some(Event::Deleted(topic));
        }
        let deleted = world.deleted.filter(|_| world.processes[me].told_deleted).map(|(topic, _)| topic);
        let process = &mut world.processes[me];
        if process.member.asked.is_none()
            && let Some(mut ask) = process.member.asks.pop_front()
        {
            if let Ask::Assign(partitions) = &mut ask {
                partitions.retain(|partition| Some(partition.topic) != deleted);
            }
            process.member.asked = Some(ask.clone());
            world.disturbed |= world.phase == Phase::Leaving;
            return Some(match ask {
                Ask::Assign(partitions) => Event::Assigned(partitions),
                Ask::Revoke(partitions) => Event::Revoked(partitions),
                Ask::Lost(partitions) => Event::Lost(partitions),
            });
        }
        if process.told_reachable != reachable {
            process.told_reachable = reachable;
            return Some(Event::Reachable(reachable));
        }
        if !reachable {
            return None;
        }
        if world.recreated.is_some() && world.dice.chance(0.02) {
            return Some(Event::Recreated);
        }
        let partitions = world.inputs.len();
        let first = world.dice.below(partitions);
        (0..partitions).find_map(|nth| world.fetch(me, (first + nth) % partitions, most, into))
    }
}

impl World {
    /// Answers for partitions that the group gave, or took.
    fn answer(&mut self, me: usize, given: &[(PartitionId, i64)], taken: &[PartitionId]) {
        // Of a topic that was deleted, what was given need not be taken.
        let deleted = self.deleted.map(|(topic, _)| topic);
        let process = &mut self.processes[me];
        let taken_up = |partitions: &[PartitionId], gets: &[PartitionId]| {
            let mut needed = sorted(partitions);
            needed.retain(|it| Some(it.topic) != deleted || gets.contains(it));
            needed
        };
        let (mut gets, mut loses) = (given.iter().map(|(partition, _)| *partition).collect::<Vec<_>>(), taken.to_vec());
        gets.sort_unstable();
        loses.sort_unstable();
        let fits = match &process.member.asked {
            Some(Ask::Assign(asked)) => loses.is_empty() && taken_up(asked, &gets) == gets,
            Some(Ask::Revoke(asked) | Ask::Lost(asked)) => gets.is_empty() && sorted(asked) == loses,
            None => false,
        };
        if !fits {
            let asked = process.member.asked.clone();
            self.fail(format!(
                "the group asked {asked:?}, the worker answers that it has {given:?} and gives {taken:?}"
            ));
            return;
        }
        for (partition, position) in given {
            process.fetch[place(*partition)] = Some(Fetch::at(*position));
            process.member.owned.push(*partition);
        }
        for partition in taken {
            process.fetch[place(*partition)] = None;
            process.member.owned.retain(|owned| owned != partition);
        }
        self.answered(me);
    }
}

fn sorted(partitions: &[PartitionId]) -> Vec<PartitionId> {
    let mut sorted = partitions.to_vec();
    sorted.sort_unstable();
    sorted
}

impl Broker for Client {
    fn poll(&mut self, timeout: Duration, most: usize, into: &mut Messages) -> Result<Event> {
        let mut world = self.enter(Op::Poll);
        self.may_fail(&mut world)?;
        let until = world.now + timeout.as_millis() as i64;
        loop {
            world.processes[self.me].polled_at = world.now;
            if let Some(event) = self.poll_now(&mut world, most, into) {
                if !matches!(event, Event::Messages(_) | Event::End(..)) {
                    self.exit(world, Op::Poll, || format!("{event:?}"));
                }
                return Ok(event);
            }
            if world.now >= until {
                return Ok(Event::Nothing);
            }
            world = self.wait(world, Wait::Event(until));
        }
    }

    fn assign(&mut self, at: &[(PartitionId, i64)]) -> Result<()> {
        let mut world = self.enter(Op::Assign);
        world.answer(self.me, at, &[]);
        self.exit(world, Op::Assign, || format!("{at:?}"));
        Ok(())
    }

    fn unassign(&mut self, partitions: &[PartitionId]) -> Result<()> {
        let mut world = self.enter(Op::Unassign);
        world.answer(self.me, &[], partitions);
        self.exit(world, Op::Unassign, || format!("{partitions:?}"));
        Ok(())
    }

    fn seek(&mut self, partition: PartitionId, offset: i64) -> Result<()> {
        let mut world = self.enter(Op::Seek);
        match &mut world.processes[self.me].fetch[place(partition)] {
            Some(fetch) => {
                (fetch.position, fetch.told) = (offset, None);
                fetch.stuck = if fetch.stuck > 1 { fetch.stuck } else { 0 };
            }
            None => world.fail(format!("partition {partition}, which the worker doesn't have, is read from {offset}")),
        }
        self.exit(world, Op::Seek, || format!("{partition} to {offset}"));
        Ok(())
    }

    fn reassign(&mut self, at: &[(PartitionId, i64)]) -> Result<()> {
        let mut world = self.enter(Op::Seek);
        for (partition, offset) in at {
            match &mut world.processes[self.me].fetch[place(*partition)] {
                Some(fetch) => {
                    let stuck = if fetch.stuck > 2 { fetch.stuck } else { 0 };
                    *fetch = Fetch { stuck, ..Fetch::at(*offset) };
                }
                None => world.fail(format!("partition {partition}, which the worker doesn't have, is assigned again")),
            }
        }
        self.exit(world, Op::Seek, || format!("assigned again: {at:?}"));
        Ok(())
    }

    fn is_deaf(&mut self) -> bool {
        false
    }

    fn reconnect(&mut self) -> Result<()> {
        let mut world = self.enter(Op::Leave);
        if world.processes[self.me].producer.is_open() {
            world.fail("a client is replaced in an open transaction".into());
        }
        world.leave_group(self.me);
        let process = &mut world.processes[self.me];
        process.member = Membership::default();
        process.fetch.fill(None);
        self.exit(world, Op::Leave, || "and joins again".into());
        Ok(())
    }

    fn pause(&mut self, partitions: &[PartitionId], paused: bool) -> Result<()> {
        let mut world = self.enter(Op::Pause);
        for partition in partitions {
            if let Some(fetch) = &mut world.processes[self.me].fetch[place(*partition)] {
                fetch.paused = paused;
            }
        }
        self.exit(world, Op::Pause, || format!("{partitions:?}: {paused}"));
        Ok(())
    }

    fn committed(&mut self, partitions: &[PartitionId], timeout: Duration) -> Result<Option<Vec<Option<Committed>>>> {
        let Some(mut world) = self.ask(Op::Committed, timeout)? else { return Ok(None) };
        let until = world.now + timeout.as_millis() as i64;
        while partitions.iter().any(|partition| world.offsets.is_pending(*partition)) {
            if world.now >= until {
                self.exit(world, Op::Committed, || format!("{partitions:?}: a transaction is open"));
                return Ok(None);
            }
            let next = until.min(world.now + 20);
            world = self.wait(world, Wait::Until(next));
        }
        let stable = |partition: &PartitionId| world.offsets.stable[place(*partition)].clone();
        let found: Vec<Option<Committed>> = partitions.iter().map(|partition| Some(stable(partition)?.1)).collect();
        let offsets: Vec<Option<i64>> = found.iter().map(|found| Some(found.as_ref()?.offset)).collect();
        self.exit(world, Op::Committed, || format!("{partitions:?}: {offsets:?}"));
        Ok(Some(found))
    }

    fn range(&mut self, partition: PartitionId, timeout: Duration) -> Result<Option<LogRange>> {
        let Some(world) = self.ask(Op::Range, timeout)? else { return Ok(None) };
        if world.is_deleted(partition) {
            return Ok(None);
        }
        let input = world.log(place(partition));
        Ok(Some(LogRange { start: input.start, end: input.stable(&world.fates) }))
    }

    fn ends(&mut self, partitions: &[PartitionId], timeout: Duration) -> Result<Option<Vec<i64>>> {
        let Some(world) = self.ask(Op::Range, timeout)? else { return Ok(None) };
        if partitions.iter().any(|partition| world.is_deleted(*partition)) {
            return Ok(None);
        }
        Ok(Some(partitions.iter().map(|id| world.log(place(*id)).stable(&world.fates)).collect()))
    }

    fn is_deleted(&self, topic: SourceTopic) -> bool {
        self.sim.world().deleted == Some((topic, true))
    }

    fn ask_topic(&mut self) {
        let mut world = self.sim.world();
        let is_same = world.recreated.is_none();
        world.processes[self.me].topic_was_same = is_same;
    }

    fn is_same_topic(&mut self, timeout: Duration) -> Result<Option<bool>> {
        let Some(mut world) = self.ask(Op::Range, timeout)? else { return Ok(None) };
        let until = world.now + timeout.as_millis() as i64;
        while !world.processes[self.me].told_deleted && matches!(world.deleted, Some((_, false))) {
            if world.now >= until {
                self.exit(world, Op::Range, || "a topic is away".into());
                return Ok(None);
            }
            let next = until.min(world.now + 250);
            world = self.wait(world, Wait::Until(next));
        }
        // The answer is of some moment since the question began.
        let is_same = world.recreated.is_none() || world.processes[self.me].topic_was_same && world.dice.chance(0.5);
        self.exit(world, Op::Range, || format!("the topic is the same: {is_same}"));
        Ok(Some(is_same))
    }

    fn offset_at(&mut self, partition: PartitionId, timestamp: i64, timeout: Duration) -> Result<Option<i64>> {
        let Some(world) = self.ask(Op::OffsetAt, timeout)? else { return Ok(None) };
        let entries = &world.log(place(partition)).entries;
        Ok(Some(entries.iter().position(|entry| entry.timestamp >= timestamp).unwrap_or(entries.len()) as i64))
    }

    fn unanswered(&self) -> Option<&'static str> {
        self.sim.world().processes[self.me].producer.unanswered()
    }

    fn begin(&mut self) -> std::result::Result<(), Broken> {
        self.begin_transaction()
    }

    fn send(&mut self, message: Outgoing<'_>) -> std::result::Result<(), Unsendable> {
        self.send_message(message).map_err(Unsendable::Transaction)
    }

    fn send_offsets(&mut self, offsets: &[(PartitionId, i64, String)]) -> std::result::Result<(), Broken> {
        self.send_positions(offsets)
    }

    fn commit(&mut self) -> std::result::Result<(), Broken> {
        self.end(true)
    }

    fn abort(&mut self) -> std::result::Result<(), Broken> {
        self.end(false)
    }

    fn renew(&mut self) -> Result<bool> {
        let mut world = self.enter(Op::Renew);
        self.may_fail(&mut world)?;
        // A worker that asks for the commit may find that its state doesn't match, and then has none for a checkpoint.
        world.disturbed |= world.phase == Phase::Leaving;
        Ok(self.new_producer(world))
    }

    fn now(&self) -> i64 {
        self.sim.world().now
    }

    fn leave(&mut self) {
        let mut world = self.enter(Op::Leave);
        let process = &mut world.processes[self.me];
        process.member.leaving = true;
        process.member.owned.clear();
        process.fetch.fill(None);
        world.leave_group(self.me);
    }
}

/// Whether a kind of trouble comes now.
pub fn strikes(world: &mut World, odds: f64) -> bool {
    let comes = |dice: &mut Dice| dice.chance(odds);
    if world.phase != Phase::Trouble || world.troubles == 0 || !comes(&mut world.dice) {
        return false;
    }
    world.troubles -= 1;
    true
}
