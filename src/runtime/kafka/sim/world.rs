//! The whole simulated world at a moment: the cluster, the processes, and what is still to come. One thread has it at a
//! time.

use std::collections::{BTreeMap, VecDeque};

use twox_hash::XxHash3_64;

use super::bounded::Ends;
use super::dice::Dice;
use super::group::Group;
use super::log::{Entry, Fate, Input, Kind, Sent, TxnId};
use super::meddling::Meddling;
use super::oracle::Oracle;
use super::plan::Plan;
use super::processes::{Process, SLOTS};
use super::store::Shelf;
use super::topics::{deletable, id, place};
use super::transactions::{Id, Offsets, State};
use super::work::FOREIGN;
use crate::record::{PartitionId, SourceTopic};

/// Events of the trace that is shown.
const TRACE: usize = 200;
/// After that many milliseconds a deleted topic is no longer waited for.
pub const GIVEN_UP: i64 = 5_000;
/// After that many milliseconds without trouble everything must be done.
const PATIENCE: i64 = 400_000;

/// The phase of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Records come, and trouble.
    Trouble,
    /// No more trouble: all work must finish.
    Calm,
    /// The workers were asked to stop.
    Leaving,
    /// It is over.
    Over,
}

/// Scheduled events.
#[derive(Debug, Clone)]
pub enum Act {
    /// Records come to a partition, in a transaction of this outcome or without one.
    Produce {
        partition: PartitionId,
        count: usize,
        outcome: Option<bool>,
    },
    EndInput {
        partition: PartitionId,
        txn: TxnId,
        commit: bool,
    },
    Scale(usize),
    /// A new version of the model is published.
    Publish,
    Start(usize),
    Restart(i64),
    Up,
    Cut(usize, i64),
    Kill(usize),
    LateEnd {
        slot: usize,
        epoch: u32,
        commit: bool,
    },
    LateOffsets {
        slot: usize,
        epoch: u32,
        offsets: Vec<(PartitionId, i64, String)>,
    },
    /// Somebody changes what he must not.
    Meddle(Meddling),
    /// A topic is deleted …
    Delete,
    /// … and is no longer waited for.
    GiveUp,
    Calm,
}

/// Everything.
pub struct World {
    pub dice: Dice,
    pub now: i64,
    pub began: i64,
    pub plan: Plan,
    pub phase: Phase,
    pub running: usize,
    pub fates: Vec<Fate>,
    pub inputs: Vec<Input>,
    /// The topic that replaced the one above; no one may commit its records.
    pub recreated: Option<Vec<Input>>,
    /// The topic that was deleted, and whether it was given up.
    pub deleted: Option<(SourceTopic, bool)>,
    pub output: Vec<Sent>,
    pub ids: Vec<Id>,
    pub offsets: Offsets,
    pub group: Group,
    pub processes: Vec<Process>,
    pub shelf: Shelf,
    pub oracle: Oracle,
    pub ends: Ends,
    /// The version of the model that is wanted.
    pub champion: u64,
    pub down_until: i64,
    pub troubles: u32,
    /// How a process ended that wasn't killed, where a test expects it.
    pub refusals: Vec<String>,
    pub expects_refusal: bool,
    /// Somebody has changed what he must not.
    pub meddled: bool,
    /// Partitions whose readers stood still at the end: they may not know that their replay is over.
    pub untold: Vec<PartitionId>,
    /// A rebalance or a death happened while the workers were leaving.
    pub disturbed: bool,
    pub failure: Option<String>,
    pub trace: Option<VecDeque<String>>,
    /// Of all that ever was in the trace.
    pub digest: u64,
    pub steps: u64,
    pub calls: u64,
    pub wanted: usize,
    pub acts: BTreeMap<(i64, u64), Act>,
    number: u64,
    calm_since: i64,
}

impl World {
    pub fn new(mut dice: Dice, plan: Plan, traced: bool) -> World {
        let partitions = plan.partitions as usize;
        let troubles = plan.troubles;
        let skew = dice.between(0, 1_000);
        let mut world = World {
            dice,
            now: 1_700_000_000_000 + skew,
            began: 1_700_000_000_000 + skew,
            phase: Phase::Trouble,
            running: 0,
            fates: Vec::new(),
            inputs: (0..partitions).map(|_| Input::default()).collect(),
            recreated: None,
            deleted: None,
            output: Vec::new(),
            ids: vec![Id { epoch: 0, state: State::Empty }; SLOTS],
            offsets: Offsets::new(partitions),
            group: Group::default(),
            processes: Vec::new(),
            shelf: Shelf::new(partitions),
            oracle: Oracle::new(plan.partitions, plan.keys, plan.rules()),
            ends: Ends::default(),
            champion: 1,
            down_until: 0,
            troubles,
            refusals: Vec::new(),
            expects_refusal: false,
            meddled: false,
            untold: Vec::new(),
            disturbed: false,
            failure: None,
            trace: traced.then(VecDeque::new),
            digest: 0,
            steps: 0,
            calls: 0,
            wanted: 0,
            acts: BTreeMap::new(),
            number: 0,
            calm_since: i64::MAX,
            plan,
        };
        world.script();
        world
    }

    /// Schedules an event.
    fn script(&mut self) {
        let plan = self.plan.clone();
        let mut records = plan.records;
        while records > 0 {
            let count = (self.dice.below(12) + 1).min(records);
            records -= count;
            let after = if self.dice.chance(0.2) || plan.backlog { 0 } else { self.dice.between(0, plan.span) };
            let partition = id(self.dice.below(plan.partitions as usize));
            let aborts = !self.dice.chance(1.0 - plan.transactional.1);
            let outcome = self.dice.chance(plan.transactional.0).then_some(!aborts);
            self.later(after, Act::Produce { partition, count, outcome });
        }
        for (after, workers) in plan.workers {
            self.later(after, Act::Scale(workers));
        }
        for (after, duration) in plan.restarts {
            self.later(after, Act::Restart(duration));
        }
        for after in plan.publishes {
            self.later(after, Act::Publish);
        }
        for (after, slot, duration) in plan.cuts {
            self.later(after, Act::Cut(slot, duration));
        }
        if let Some(after) = plan.deletes {
            self.later(after, Act::Delete);
        }
        if let Some((after, meddling)) = plan.meddling {
            self.later(after, Act::Meddle(meddling));
        }
        self.later(plan.span, Act::Calm);
    }

    /// Whether the registry knows the schema of foreign values; `None`: it is down.
    pub fn registry(&self) -> Option<bool> {
        let since = self.now - self.began;
        let down = self.plan.registry_down.contains(&since) && self.phase == Phase::Trouble;
        (!down).then_some(since >= self.plan.registry_knows)
    }

    /// What readers find in a partition.
    pub fn log(&self, partition: usize) -> &Input {
        self.recreated.as_ref().map_or(&self.inputs[partition], |recreated| &recreated[partition])
    }

    pub fn later(&mut self, after: i64, act: Act) {
        self.number += 1;
        self.acts.insert((self.now + after, self.number), act);
    }

    /// Adds to the trace, which is only kept when a seed is played again.
    pub fn note(&mut self, process: Option<usize>, what: impl FnOnce() -> String) {
        let now = self.now % 10_000_000;
        if let Some(trace) = &mut self.trace {
            if trace.len() == TRACE {
                trace.pop_front();
            }
            let who =
                process.map_or("      ".into(), |process| format!("{}/{process:<2}  ", self.processes[process].slot));
            let line = format!("{now:>8} {who}{}", what());
            self.digest = XxHash3_64::oneshot_with_seed(self.digest, line.as_bytes());
            trace.push_back(line);
        }
    }

    pub fn fail(&mut self, what: String) {
        self.note(None, || format!("FAILED: {what}"));
        if self.failure.is_none() {
            self.failure = Some(what);
        }
        self.phase = Phase::Over;
    }

    /// Whether a process runs and a broker answers it.
    pub fn is_talking(&self, process: usize) -> bool {
        let it = &self.processes[process];
        !it.ended && !it.killed && it.started && self.now >= it.frozen_until && self.is_reachable(process)
    }

    pub fn is_reachable(&self, process: usize) -> bool {
        self.now >= self.down_until && self.now >= self.processes[process].cut_until
    }

    /// Everything that is due happens.
    pub fn tick(&mut self) {
        while let Some(entry) = self.acts.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let act = entry.remove();
            self.act(act);
        }
        self.tick_transactions();
        self.tick_group();
        self.tick_store();
        self.supervise();
        if self.plan.until.is_some() {
            self.leave_if_ended();
        }
        if self.phase == Phase::Calm {
            if self.plan.until.is_none() && self.is_done() {
                self.note(None, || "everything is done: the workers are asked to stop".into());
                self.phase = Phase::Leaving;
                self.untold = (0..self.inputs.len()).map(id).filter(|it| !self.is_told(*it)).collect();
                self.processes.iter_mut().for_each(|process| process.stop = true);
            } else if self.now - self.calm_since > PATIENCE {
                self.fail(format!("after {} s without trouble not everything is done", PATIENCE / 1000));
            }
        }
        let is_over = || self.processes.iter().all(|it| it.ended) && self.ids.iter().all(|id| id.state == State::Empty);
        if self.phase == Phase::Leaving && is_over() {
            let end = self.oracle.output(&self.inputs, &self.fates, &self.output);
            if let Err(wrong) = end.and_then(|()| self.checkpoints_at_end()) {
                self.fail(wrong);
            }
            self.phase = Phase::Over;
        }
    }

    /// The next time at which something happens without a process.
    pub fn next_time(&self) -> Option<i64> {
        let acts = self.acts.keys().next().map(|(at, _)| *at);
        let processes = self.processes.iter().filter(|process| !process.ended);
        let writes = processes.flat_map(|process| process.writing.iter().map(|writing| writing.at));
        let all = [acts, self.next_transaction(), self.next_in_group()];
        // What became due by what happened at this moment happens at the next.
        all.into_iter().flatten().chain(writes).min().map(|at| at.max(self.now + 1))
    }

    fn act(&mut self, act: Act) {
        if !matches!(act, Act::Up | Act::LateEnd { .. } | Act::LateOffsets { .. }) {
            self.note(None, || format!("{act:?}"));
        }
        match act {
            Act::Produce { partition, count, outcome } => self.produce(partition, count, outcome),
            Act::EndInput { partition, txn, commit } => {
                self.fates[txn] = if commit { Fate::Committed } else { Fate::Aborted };
                self.add(partition, Kind::Control, None);
            }
            Act::Scale(workers) => self.wanted = workers,
            Act::Publish => self.champion += 1,
            Act::Start(slot) => self.start(slot),
            Act::Restart(duration) => {
                self.down_until = self.now + duration;
                self.later(duration, Act::Up);
            }
            Act::Up => self.restart_sessions(),
            Act::Cut(slot, duration) => {
                let until = self.now + duration;
                let live = self.processes.iter_mut().filter(|process| process.slot == slot && !process.ended);
                live.for_each(|process| process.cut_until = until);
            }
            Act::Kill(process) => {
                self.processes[process].killed = true;
                self.disturbed |= self.phase == Phase::Leaving;
            }
            Act::LateEnd { slot, epoch, commit } => self.arrive_late(slot, epoch, commit),
            Act::LateOffsets { slot, epoch, offsets } => self.offsets_arrive_late(slot, epoch, &offsets),
            Act::Meddle(meddling) => self.meddle(meddling),
            Act::Delete => {
                self.deleted = Some((deletable(), false));
                // Kafka forgets the group's offsets too.
                for (at, stable) in self.offsets.stable.iter_mut().enumerate() {
                    if id(at).topic == deletable() {
                        *stable = None;
                    }
                }
                self.later(GIVEN_UP, Act::GiveUp);
            }
            Act::GiveUp => {
                self.deleted = Some((deletable(), true));
                self.subscriptions_changed();
            }
            Act::Calm => self.calm(),
        }
    }

    /// Whether a partition is of the topic that was deleted.
    pub fn is_deleted(&self, partition: PartitionId) -> bool {
        self.deleted.is_some_and(|(topic, _)| topic == partition.topic)
    }

    /// The same, once it is known for sure.
    pub fn is_given_up(&self, partition: PartitionId) -> bool {
        self.deleted == Some((partition.topic, true))
    }

    /// No more trouble.
    fn calm(&mut self) {
        self.phase = Phase::Calm;
        self.calm_since = self.now;
        self.down_until = self.down_until.min(self.now);
        self.wanted = self.wanted.max(1);
        for process in &mut self.processes {
            process.cut_until = process.cut_until.min(self.now);
            process.frozen_until = process.frozen_until.min(self.now);
        }
        self.restart_sessions();
    }

    fn produce(&mut self, partition: PartitionId, count: usize, outcome: Option<bool>) {
        let txn = outcome.map(|_| self.new_txn());
        for _ in 0..count {
            let key = self.dice.below(self.plan.keys as usize) as u8;
            // A number that f64 holds, and now and then a tombstone.
            let mut value = (!self.dice.chance(0.05)).then_some(self.dice.word() >> 12);
            if self.dice.chance(self.plan.foreign) {
                value = value.map(|value| value | FOREIGN);
            }
            self.add(partition, Kind::Record { key, value }, txn);
        }
        if let (Some(txn), Some(commit)) = (txn, outcome) {
            let after = self.dice.pick(&[0, 10, 300, 3_000]);
            self.later(after, Act::EndInput { partition, txn, commit });
        }
    }

    fn add(&mut self, partition: PartitionId, kind: Kind, txn: Option<TxnId>) {
        if self.is_deleted(partition) {
            return;
        }
        let entry = Entry { kind, txn, timestamp: self.now, gone: false };
        self.inputs[place(partition)].entries.push(entry);
    }
}
