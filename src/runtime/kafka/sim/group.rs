//! The group: its coordinator with the classic protocol, and each client's part of it with cooperative-sticky
//! assignment.
//!
//! Two phases: a generation first takes away what must move, its owner gives it back and joins again, and only the next
//! generation gives it to another. A client answers heartbeats and joins on its own, while its worker does something
//! else; only the answers to the group's events are the worker's.

use crate::record::PartitionId;
use std::collections::VecDeque;

use super::plan::{HEARTBEAT, MAX_POLL, SESSION};
use super::topics::{id, place};
use super::world::{Phase, World};

/// A member as the coordinator sees it.
#[derive(Debug)]
pub struct Member {
    id: u64,
    process: usize,
    /// Whether it joined the generation that is being prepared.
    joined: bool,
    /// When it learns that a generation is being prepared.
    hears_at: i64,
    heard_at: i64,
    /// The partitions that it reported when it joined.
    owned: Vec<PartitionId>,
}

/// The coordinator.
#[derive(Debug, Default)]
pub struct Group {
    generation: i32,
    /// Up to when members have time to join the next generation.
    preparing: Option<i64>,
    members: Vec<Member>,
    ids: u64,
}

/// What the group asks of a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    Assign(Vec<PartitionId>),
    Revoke(Vec<PartitionId>),
    Lost(Vec<PartitionId>),
}

/// What a client receives after it joined.
#[derive(Debug)]
struct Sync {
    generation: i32,
    /// When it learns the generation's number …
    joined_at: i64,
    /// … and when its partitions.
    at: i64,
    plan: Vec<PartitionId>,
}

/// A client's part.
#[derive(Debug, Default)]
pub struct Membership {
    pub id: Option<u64>,
    pub generation: i32,
    /// Partitions that the worker has answered for.
    pub owned: Vec<PartitionId>,
    /// Events delivered to the worker and not answered.
    pub asked: Option<Ask>,
    /// Events not delivered yet.
    pub asks: VecDeque<Ask>,
    pub leaving: bool,
    sync: Option<Sync>,
    rejoin: bool,
    /// When it learns that it is no longer a member.
    learns_at: Option<i64>,
}

impl Membership {
    /// Whether the group waits for the worker.
    pub fn is_busy(&self) -> bool {
        self.asked.is_some() || !self.asks.is_empty()
    }
}

impl World {
    /// Whether an id of a membership with this generation may commit.
    pub fn is_fenced(&self, member: u64, generation: i32) -> bool {
        generation != self.group.generation || self.group.members.iter().all(|known| known.id != member)
    }

    pub fn tick_group(&mut self) {
        if self.now < self.down_until {
            return;
        }
        for process in 0..self.processes.len() {
            if self.is_talking(process) {
                self.heartbeat(process);
            }
        }
        let now = self.now;
        let before = self.group.members.len();
        self.group.members.retain(|member| now - member.heard_at <= SESSION);
        if self.group.members.len() < before {
            self.note(None, || "a session is over".into());
            self.prepare(None);
        }
        self.join_all();
        for process in 0..self.processes.len() {
            if self.is_talking(process) {
                self.synchronise(process);
            }
        }
    }

    /// When something happens in the group next.
    pub fn next_in_group(&self) -> Option<i64> {
        let mut next = self.group.preparing.unwrap_or(i64::MAX);
        for member in &self.group.members {
            next = next.min(member.heard_at + SESSION + 1);
            if self.group.preparing.is_some() && !member.joined && member.hears_at > self.now {
                next = next.min(member.hears_at);
            }
        }
        for process in self.processes.iter().filter(|process| !process.ended) {
            let member = &process.member;
            let sync = member.sync.iter().flat_map(|sync| [sync.joined_at, sync.at]);
            let times = sync.chain(member.learns_at).chain([process.polled_at + MAX_POLL + 1]);
            next = times.filter(|at| *at > self.now).fold(next, i64::min);
        }
        (next < i64::MAX).then_some(next)
    }

    /// What a client's own thread does, whatever its worker is doing.
    fn heartbeat(&mut self, process: usize) {
        let now = self.now;
        if now - self.processes[process].polled_at > MAX_POLL && self.processes[process].member.id.is_some() {
            self.note(Some(process), || "didn't poll for too long and leaves the group".into());
            self.leave_group(process);
            self.lose_all(process);
        }
        let membership = &mut self.processes[process].member;
        let Some(id) = membership.id else {
            if !membership.leaving && !membership.is_busy() && membership.owned.is_empty() {
                self.join_anew(process);
            }
            return;
        };
        if let Some(member) = self.group.members.iter_mut().find(|member| member.id == id) {
            member.heard_at = now;
            return;
        }
        // It was removed from the group, and learns so with its next heartbeat.
        match membership.learns_at {
            None => membership.learns_at = Some(now + self.dice.between(0, HEARTBEAT)),
            Some(at) if at <= now => self.lose_all(process),
            Some(_) => {}
        }
    }

    fn join_anew(&mut self, process: usize) {
        self.group.ids += 1;
        let id = self.group.ids;
        self.processes[process].member.id = Some(id);
        let member = Member { id, process, joined: false, hears_at: 0, heard_at: self.now, owned: Vec::new() };
        self.group.members.push(member);
        self.note(Some(process), || format!("joins as member {id}"));
        self.prepare(Some(id));
    }

    fn lose_all(&mut self, process: usize) {
        let membership = &mut self.processes[process].member;
        membership.id = None;
        membership.learns_at = None;
        membership.sync = None;
        membership.rejoin = false;
        // Events that the worker hasn't received yet are dropped.
        membership.asks.clear();
        if membership.asked.is_none() && !membership.owned.is_empty() {
            membership.asks.push_back(Ask::Lost(membership.owned.clone()));
        }
    }

    /// A member left or came, or gave something back: a new generation is needed. `eager` knows already.
    fn prepare(&mut self, eager: Option<u64>) {
        let now = self.now;
        let fresh = self.group.preparing.is_none();
        if fresh {
            self.group.preparing = Some(now + MAX_POLL);
        }
        for index in 0..self.group.members.len() {
            let delay = self.dice.between(0, HEARTBEAT);
            let member = &mut self.group.members[index];
            if fresh {
                member.joined = false;
                member.hears_at = now + delay;
            }
            if eager == Some(member.id) {
                member.hears_at = now;
            }
        }
    }

    /// Members that know of it join, unless their worker owes an answer; the generation begins with the last, or
    /// without those that take too long.
    fn join_all(&mut self) {
        let Some(deadline) = self.group.preparing else { return };
        for index in 0..self.group.members.len() {
            let (process, joined, hears_at) = {
                let member = &self.group.members[index];
                (member.process, member.joined, member.hears_at)
            };
            if joined || hears_at > self.now || !self.is_talking(process) {
                continue;
            }
            let membership = &mut self.processes[process].member;
            if !membership.is_busy() {
                membership.sync = None;
                membership.rejoin = false;
                let owned = membership.owned.clone();
                self.group.members[index].owned = owned;
                self.group.members[index].joined = true;
            }
        }
        if deadline <= self.now {
            self.note(None, || "the group continues without members that didn't join".into());
            self.group.members.retain(|member| member.joined);
        }
        if self.group.members.iter().all(|member| member.joined) {
            self.generation();
        }
    }

    fn generation(&mut self) {
        self.group.preparing = None;
        if self.group.members.is_empty() {
            return;
        }
        self.group.generation += 1;
        let plans = self.share();
        let generation = self.group.generation;
        self.note(None, || format!("generation {generation}: {plans:?}"));
        for (index, plan) in plans.into_iter().enumerate() {
            let joined_at = self.now + self.dice.pick(&[0, 0, 5, 50]);
            let at = joined_at + self.dice.pick(&[0, 5, 100, 1_000]);
            let process = self.group.members[index].process;
            self.processes[process].member.sync = Some(Sync { generation, joined_at, at, plan });
        }
    }

    /// The assignment: each member keeps its partitions up to its share, and gets none that another still has.
    fn share(&mut self) -> Vec<Vec<PartitionId>> {
        let all: Vec<PartitionId> =
            (0..self.plan.partitions as usize).map(id).filter(|it| !self.is_given_up(*it)).collect();
        let (members, partitions) = (self.group.members.len(), all.len());
        let mut target: Vec<Vec<PartitionId>> = vec![Vec::new(); members];
        let shuffled = self.phase == Phase::Trouble && self.dice.chance(self.plan.odds.shuffle);
        let first = self.dice.below(members);
        let share = |index: usize| {
            partitions / members + usize::from((index + members - first) % members < partitions % members)
        };
        let mut owner: Vec<Option<usize>> = vec![None; self.plan.partitions as usize];
        for (index, member) in self.group.members.iter().enumerate() {
            for partition in &member.owned {
                assert!(owner[place(*partition)].is_none(), "two members own partition {partition}");
                owner[place(*partition)] = Some(index);
                if !shuffled && target[index].len() < share(index) && all.contains(partition) {
                    target[index].push(*partition);
                }
            }
        }
        for partition in all {
            if target.iter().all(|plan| !plan.contains(&partition)) {
                let index = (0..members).find(|index| target[*index].len() < share(*index)).unwrap_or(0);
                target[index].push(partition);
            }
        }
        for (index, plan) in target.iter_mut().enumerate() {
            plan.retain(|partition| owner[place(*partition)].is_none_or(|owner| owner == index));
        }
        target
    }

    /// A client receives its generation, and later its partitions.
    fn synchronise(&mut self, process: usize) {
        let now = self.now;
        let stale = self.group.preparing.is_some();
        let current = self.group.generation;
        let empty = self.dice.chance(0.2);
        let membership = &mut self.processes[process].member;
        let Some(sync) = &membership.sync else { return };
        if membership.id.is_none() {
            membership.sync = None;
            return;
        }
        if sync.joined_at <= now {
            membership.generation = sync.generation;
        }
        if sync.at > now {
            return;
        }
        let Some(sync) = membership.sync.take().filter(|sync| !stale && sync.generation == current) else { return };
        let owned = &membership.owned;
        let revoked: Vec<PartitionId> = owned.iter().copied().filter(|p| !sync.plan.contains(p)).collect();
        let added: Vec<PartitionId> = sync.plan.iter().copied().filter(|p| !owned.contains(p)).collect();
        membership.rejoin = !revoked.is_empty();
        if !revoked.is_empty() {
            membership.asks.push_back(Ask::Revoke(revoked));
        }
        if !added.is_empty() || empty && !membership.rejoin {
            membership.asks.push_back(Ask::Assign(added));
        }
    }

    /// The worker answered.
    pub fn answered(&mut self, process: usize) {
        let membership = &mut self.processes[process].member;
        membership.asked = None;
        if membership.id.is_none() {
            if !membership.owned.is_empty() {
                membership.asks.push_back(Ask::Lost(membership.owned.clone()));
            }
            return;
        }
        if membership.rejoin && membership.asks.is_empty() {
            membership.rejoin = false;
            let id = membership.id;
            self.prepare(id);
        }
    }

    /// The topics that members subscribe to have changed: they join again.
    pub fn subscriptions_changed(&mut self) {
        self.prepare(None);
    }

    pub fn leave_group(&mut self, process: usize) {
        if let Some(id) = self.processes[process].member.id.take()
            && self.is_talking(process)
        {
            self.group.members.retain(|member| member.id != id);
            self.prepare(None);
        }
    }

    /// After a restart of the broker everybody's session begins again.
    pub fn restart_sessions(&mut self) {
        let now = self.now;
        self.group.members.iter_mut().for_each(|member| member.heard_at = member.heard_at.max(now));
    }
}
