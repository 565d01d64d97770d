//! Who runs next. Every worker has its own thread, and only one runs at a time: at every call into the simulated world
//! the thread that has the baton decides by the dice who gets it, how far time goes, and what goes wrong there.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::client::Client;
use super::dice::Dice;
use super::plan::Plan;
use super::processes::{PROCESSES, Wait};
use super::store::Store;
use super::work::{incoming, processing};
use super::world::{Act, Phase, World};
use crate::runtime::kafka::worker::Worker;

/// Calls of all processes at most.
const STEPS: u64 = 400_000;
/// The turn of the thread that waits for the end of the schedule.
const NOBODY: usize = PROCESSES;

/// A call into the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    Poll,
    Assign,
    Unassign,
    Seek,
    Pause,
    Committed,
    Range,
    OffsetAt,
    Begin,
    Send,
    SendOffsets,
    Commit,
    Abort,
    Renew,
    Leave,
    Find,
    Load,
    Write,
    Written,
}

impl Op {
    /// How much likelier trouble is here: what happens seldom must meet it as well.
    fn weight(self) -> f64 {
        match self {
            Op::Poll | Op::Seek | Op::Pause | Op::Written => 0.2,
            Op::Send => 0.5,
            Op::Begin | Op::SendOffsets | Op::Commit => 2.0,
            _ => 5.0,
        }
    }
}

/// What a thread of a killed process is unwound with.
struct Killed;

pub type Guard<'a> = MutexGuard<'a, World>;

/// One schedule.
pub struct Sim {
    world: Mutex<World>,
    turns: Vec<Condvar>,
}

/// What a schedule came to.
#[derive(Debug)]
pub struct Outcome {
    pub failure: Option<String>,
    pub refusals: Vec<String>,
    /// Somebody has changed what he must not.
    pub meddled: bool,
    pub calls: u64,
    /// Of the whole trace; only what is shown of it is below.
    pub digest: u64,
    pub trace: Vec<String>,
}

impl Sim {
    pub fn new(dice: Dice, plan: Plan, traced: bool) -> Arc<Sim> {
        let turns = (0..=PROCESSES).map(|_| Condvar::new()).collect();
        Arc::new(Sim { world: Mutex::new(World::new(dice, plan, traced)), turns })
    }

    /// To look at the world, or change it, between two calls of [`Sim::run`].
    pub fn world(&self) -> Guard<'_> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs until the schedule is over and no thread is left.
    pub fn run(self: &Arc<Self>) -> Outcome {
        let mut world = self.world();
        world.running = NOBODY;
        let mut world = self.pass(world, NOBODY);
        Outcome {
            failure: world.failure.clone(),
            refusals: std::mem::take(&mut world.refusals),
            meddled: world.meddled,
            calls: world.calls,
            digest: world.digest,
            trace: world.trace.iter().flatten().cloned().collect(),
        }
    }

    /// Gives the baton to the next process, and waits until it comes back.
    pub fn pass<'a>(self: &'a Arc<Self>, mut world: Guard<'a>, me: usize) -> Guard<'a> {
        let next = world.next(me);
        if next == me {
            return world;
        }
        self.give(&mut world, next);
        while world.running != me {
            world = self.turns[me].wait(world).unwrap_or_else(PoisonError::into_inner);
        }
        world
    }

    fn give(self: &Arc<Self>, world: &mut World, next: usize) {
        world.running = next;
        if next == NOBODY || world.processes[next].started {
            self.turns[next].notify_one();
            return;
        }
        world.processes[next].started = true;
        world.processes[next].polled_at = world.now;
        let sim = self.clone();
        std::thread::Builder::new().stack_size(1 << 20).spawn(move || sim.process(next)).expect("a thread");
    }

    /// The whole life of a process.
    fn process(self: &Arc<Self>, me: usize) {
        let mut world = self.world();
        while world.running != me {
            world = self.turns[me].wait(world).unwrap_or_else(PoisonError::into_inner);
        }
        let mut settings = world.plan.settings.clone();
        settings.until = world.decide_ends(me);
        drop(world);
        let ended = catch_unwind(AssertUnwindSafe(|| {
            let client = || Client { sim: self.clone(), me };
            let mut worker =
                Worker::new(client(), incoming(client), Store::new(client()), processing(client), settings);
            worker.run(&|| {
                let mut world = self.world();
                world.look_at_ages();
                world.processes[me].stop
            })
        }));
        let mut world = self.world();
        world.drop_writing(me);
        let it = &mut world.processes[me];
        it.ended = true;
        let (stop, excused) = (it.stop, it.excused);
        match ended {
            Ok(Ok(())) if stop => world.note(Some(me), || "left".into()),
            Ok(Ok(())) if world.is_at_its_ends(me) => world.note(Some(me), || "is where its run ends".into()),
            Ok(Ok(())) => world.fail("a worker ended on its own".into()),
            Ok(Err(error)) if world.expects_refusal => {
                world.note(Some(me), || format!("ended: {error}"));
                world.refusals.push(error.to_string());
                world.phase = Phase::Over;
            }
            Ok(Err(error)) if excused => {
                world.note(Some(me), || format!("ended: {error}"));
                world.disturbed |= world.phase == Phase::Leaving;
            }
            Ok(Err(error)) => world.fail(format!("a worker failed: {error}")),
            Err(payload) if payload.is::<Killed>() => world.note(Some(me), || "dead".into()),
            Err(payload) => {
                let text = payload.downcast_ref::<String>().cloned();
                let text = text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).into()));
                world.fail(format!("a worker panicked: {}", text.unwrap_or_default()));
            }
        }
        let next = world.next(me);
        self.give(&mut world, next);
    }

    /// Ends this thread's process here and now.
    pub fn die(world: Guard<'_>) -> ! {
        drop(world);
        resume_unwind(Box::new(Killed))
    }
}

impl World {
    /// Who runs next; `me` has the baton now.
    fn next(&mut self, me: usize) -> usize {
        self.steps += 1;
        if self.steps > STEPS && self.phase != Phase::Over {
            self.fail(format!("{STEPS} steps and no end"));
        }
        loop {
            if self.phase == Phase::Over {
                // Everybody is woken up to end his thread.
                let left = self.processes.iter().position(|process| process.started && !process.ended);
                return left.unwrap_or(NOBODY);
            }
            self.tick();
            if self.phase == Phase::Over {
                continue;
            }
            if me != NOBODY && self.can_go_on(me) && !self.dice.chance(self.plan.odds.switch) {
                return me;
            }
            let ready: Vec<usize> = (0..self.processes.len()).filter(|process| self.can_go_on(*process)).collect();
            if !ready.is_empty() {
                return self.dice.pick(&ready);
            }
            let waits = (0..self.processes.len()).filter_map(|process| self.wakes_at(process));
            match waits.chain(self.next_time()).min() {
                Some(at) => self.now = at.max(self.now + 1),
                None => self.fail("no process can continue".into()),
            }
        }
    }

    fn can_go_on(&self, process: usize) -> bool {
        let it = &self.processes[process];
        if it.ended || self.now < it.frozen_until && !it.killed {
            return false;
        }
        it.killed
            || match it.wait {
                Wait::No => true,
                Wait::Until(until) => until <= self.now,
                Wait::Event(until) => until <= self.now || self.has_event(process),
                Wait::Free(until) => until <= self.now || self.is_free(process),
                Wait::Written(until) => until <= self.now || !it.written.is_empty(),
            }
    }

    /// When a waiting process may continue merely because time passes.
    fn wakes_at(&self, process: usize) -> Option<i64> {
        let it = &self.processes[process];
        if it.ended {
            return None;
        }
        let at = match it.wait {
            Wait::No => self.now,
            Wait::Until(at) | Wait::Event(at) | Wait::Free(at) | Wait::Written(at) => at,
        };
        let mut wakes = at.max(it.frozen_until);
        // Reaching the broker again, or losing it, is an event.
        for at in [self.down_until, it.cut_until] {
            if at > self.now {
                wakes = wakes.min(at.max(it.frozen_until));
            }
        }
        Some(wakes)
    }

    /// What may happen to a process at a call: time passes, and trouble comes. True: it dies.
    pub fn strike(&mut self, me: usize, op: Op) -> bool {
        self.calls += 1;
        if self.processes[me].killed || self.phase == Phase::Over {
            return true;
        }
        self.now += self.dice.pick(&[0, 0, 0, 0, 0, 1, 1, 2]);
        if self.phase != Phase::Trouble || self.troubles == 0 {
            return false;
        }
        let (kill, freeze, jump) = (self.plan.odds.kill, self.plan.odds.freeze, self.plan.odds.jump);
        let weight = op.weight();
        if self.dice.chance(jump * weight) {
            self.now += self.dice.pick(&[20, 200, 1_000, 5_000]);
        }
        if self.processes.len() + 4 < PROCESSES && self.dice.chance(kill * weight) {
            self.troubles -= 1;
            self.note(Some(me), || format!("KILLED at {op:?}"));
            return true;
        }
        if self.dice.chance(freeze * weight) {
            self.troubles -= 1;
            let duration = self.dice.pick(&[500, 3_000, 7_000, 11_000, 25_000]);
            self.note(Some(me), || format!("FROZEN at {op:?} for {duration} ms"));
            self.processes[me].frozen_until = self.now + duration;
            if self.processes.len() + 4 < PROCESSES && self.dice.chance(0.3) {
                // It is considered dead and replaced; later it continues next to its replacement, and is found and
                // killed.
                let slot = self.processes[me].slot;
                let start = self.dice.between(0, duration);
                self.later(start, Act::Start(slot));
            }
        }
        false
    }
}
