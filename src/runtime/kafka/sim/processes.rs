//! The processes of a schedule: each has one worker, starts when there should be more of them, and dies.

use super::fetch::Fetch;
use super::group::Membership;
use super::producer::Producer;
use super::store::Writing;
use super::world::{Act, Phase, World};
use crate::state::Durable;

/// Maximum number of processes of a schedule: after that none is killed.
pub const PROCESSES: usize = 48;
/// Slots for processes; each has its transactional id.
pub const SLOTS: usize = 3;

/// Whether a process can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// It can.
    No,
    /// Not before that time.
    Until(i64),
    /// There is an event for it, or that time has come.
    Event(i64),
    /// A broker answers it and the transactional id is free, or that time has come.
    Free(i64),
    /// A checkpoint is durable, or that time has come.
    Written(i64),
}

/// A process with one worker.
#[derive(Debug)]
pub struct Process {
    pub slot: usize,
    pub wait: Wait,
    /// Its thread runs.
    pub started: bool,
    /// It is dead, and its thread does nothing.
    pub ended: bool,
    /// To be killed wherever it is.
    pub killed: bool,
    pub frozen_until: i64,
    pub cut_until: i64,
    /// Asked to stop.
    pub stop: bool,
    /// A call failed permanently, so that it may end with an error.
    pub excused: bool,
    pub told_reachable: bool,
    /// It knows that a topic was deleted.
    pub told_deleted: bool,
    /// Whether the topic was the one of the start when the process asked last.
    pub topic_was_same: bool,
    pub polled_at: i64,
    pub member: Membership,
    pub fetch: Vec<Option<Fetch>>,
    pub producer: Producer,
    pub writing: Vec<Writing>,
    pub written: Vec<Durable>,
}

impl World {
    /// Sees to it that there are as many workers as there should be.
    pub fn supervise(&mut self) {
        if !matches!(self.phase, Phase::Trouble | Phase::Calm) {
            return;
        }
        for slot in 0..SLOTS {
            let live = |process: &&mut Process| process.slot == slot && !process.ended;
            if slot >= self.wanted {
                self.processes.iter_mut().filter(live).for_each(|process| process.stop = true);
                continue;
            }
            if self.is_finished(slot) {
                continue;
            }
            let is_live = self.processes.iter_mut().any(|process| live(&&mut *process));
            let is_coming = self.acts.values().any(|act| matches!(act, Act::Start(s) if *s == slot));
            if !is_live && !is_coming && self.processes.len() < PROCESSES {
                let most = if self.phase == Phase::Calm { 100 } else { 4_000 };
                let after = self.dice.between(0, most);
                self.later(after, Act::Start(slot));
            }
        }
    }

    /// Where a schedule has metrics of its own: the newest message of a partition is none of before the schedule.
    pub fn look_at_ages(&mut self) {
        let Some(metrics) = &self.plan.metrics else { return };
        let mut newest = metrics.stream.positions().into_iter().filter_map(|(id, at)| Some((id, at.newest?)));
        if let Some((id, at)) = newest.find(|(_, at)| !(self.began..=self.now).contains(at)) {
            self.fail(format!("partition {id}: the newest message is of {at}, and it is {}", self.now));
        }
    }

    pub fn start(&mut self, slot: usize) {
        let is_alive = |it: &Process| it.slot == slot && !it.ended && !it.killed;
        let is_there = |it: &Process| is_alive(it) && it.frozen_until <= self.now;
        if self.processes.len() == PROCESSES || self.phase == Phase::Leaving || self.processes.iter().any(is_there) {
            return;
        }
        // Two processes of one name would fence each other forever.
        let frozen: Vec<usize> =
            (0..self.processes.len()).filter(|process| is_alive(&self.processes[*process])).collect();
        for process in frozen {
            let wakes = self.processes[process].frozen_until - self.now;
            let after = wakes + self.dice.pick(&[1, 20, 300, 3_000]);
            self.later(after, Act::Kill(process));
        }
        self.processes.push(Process {
            slot,
            wait: Wait::No,
            started: false,
            ended: false,
            killed: false,
            frozen_until: 0,
            cut_until: 0,
            stop: false,
            excused: false,
            told_reachable: true,
            // Who starts later never subscribes to it.
            told_deleted: self.deleted.is_some(),
            topic_was_same: true,
            polled_at: self.now,
            member: Membership::default(),
            fetch: vec![None; self.plan.partitions as usize],
            producer: Producer::default(),
            writing: Vec::new(),
            written: Vec::new(),
        });
    }
}
