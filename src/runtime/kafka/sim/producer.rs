//! A process' producer: what it sent and when that arrives, and the many ways in which a request to end a transaction
//! goes.

use super::client::{Client, strikes};
use super::log::TxnId;
use super::processes::Wait;
use super::scheduler::{Guard, Op};
use super::transactions::{Fenced, State};
use super::work::Payload;
use super::world::World;
use crate::kafka::{Broken, Outgoing, Topic};
use crate::record::PartitionId;

/// How long a request of a transaction may take.
const REQUEST: i64 = 15_000;

/// A producer.
#[derive(Debug, Default)]
pub struct Producer {
    /// None: there is none, or it must not be used.
    epoch: Option<u32>,
    /// What is open as the producer sees it.
    open: Option<Open>,
    /// A request that was lost and repeated.
    unanswered: Option<&'static str>,
}

impl Producer {
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    pub fn unanswered(&self) -> Option<&'static str> {
        self.unanswered
    }
}

/// A transaction.
#[derive(Debug)]
struct Open {
    /// Who the worker was in the group when it began.
    member: Option<(u64, i32)>,
    /// As the coordinator knows it, since the first message or offset arrived.
    txn: Option<TxnId>,
    /// What was sent and has not arrived.
    queue: Vec<Payload>,
}

fn renew(why: impl Into<String>) -> Broken {
    Broken::Renew(why.into())
}

impl Client {
    pub(super) fn begin_transaction(&self) -> Result<(), Broken> {
        let mut world = self.enter(Op::Begin);
        let process = &mut world.processes[self.me];
        if process.producer.epoch.is_none() {
            return Err(renew("there is no producer"));
        }
        if process.producer.open.is_some() {
            world.fail("a transaction is begun in another".into());
            return Ok(());
        }
        let member = process.member.id.map(|id| (id, process.member.generation));
        process.producer.open = Some(Open { member, txn: None, queue: Vec::new() });
        self.exit(world, Op::Begin, || format!("as {member:?}"));
        Ok(())
    }

    pub(super) fn send_message(&self, message: Outgoing<'_>) -> Result<(), Broken> {
        let mut world = self.enter(Op::Send);
        let Some(open) = &mut world.processes[self.me].producer.open else {
            world.fail("a message is sent outside of a transaction".into());
            return Ok(());
        };
        let payload = match message.topic {
            Topic::Output => Payload::read(message.payload.unwrap_or_default()),
            Topic::DeadLetters => Payload::letter(message.headers),
        };
        let Some(payload) = payload else {
            world.fail("a message is sent that no worker of the simulator makes".into());
            return Ok(());
        };
        open.queue.push(payload);
        if strikes_abort(&mut world) {
            return Err(Broken::Abort("on purpose".into()));
        }
        // Some of it arrives on its own meanwhile.
        if world.is_reachable(self.me) && world.dice.chance(0.3) {
            let state = world.ids[world.processes[self.me].slot].state;
            if !matches!(state, State::Deciding { .. }) {
                self.flush(&mut world)?;
            }
        }
        self.exit(world, Op::Send, || format!("{payload:?}"));
        Ok(())
    }

    /// Everything that was sent arrives. The transactional id must be free.
    fn flush(&self, world: &mut World) -> Result<TxnId, Broken> {
        let (slot, producer) = (world.processes[self.me].slot, &mut world.processes[self.me].producer);
        let (Some(epoch), Some(open)) = (producer.epoch, &mut producer.open) else {
            return Err(renew("there is no producer"));
        };
        let queue = std::mem::take(&mut open.queue);
        let known = open.txn;
        let txn = world.transaction(slot, epoch).map_err(|Fenced| renew("fenced"))?;
        if known.is_some_and(|known| known != txn) {
            // The coordinator has ended it; as before KIP-890, a producer of the same epoch could now write into the
            // next one.
            return Err(renew("the transaction was ended meanwhile"));
        }
        queue.into_iter().for_each(|payload| world.append(txn, payload));
        if let Some(open) = &mut world.processes[self.me].producer.open {
            open.txn = Some(txn);
        }
        Ok(txn)
    }

    /// Waits until a broker answers and the last transaction of the id is decided.
    fn free<'a>(&'a self, mut world: Guard<'a>) -> (Guard<'a>, bool) {
        let until = world.now + REQUEST;
        while !world.is_free(self.me) && world.now < until {
            world = self.wait(world, Wait::Free(until));
        }
        let free = world.is_free(self.me);
        (world, free)
    }

    pub(super) fn send_positions(&self, offsets: &[(PartitionId, i64, String)]) -> Result<(), Broken> {
        let world = self.enter(Op::SendOffsets);
        let (mut world, free) = self.free(world);
        if !free {
            return Err(renew("no answer to the offsets"));
        }
        if strikes_abort(&mut world) {
            return Err(Broken::Abort("on purpose".into()));
        }
        let member = world.processes[self.me].producer.open.as_ref().and_then(|open| open.member);
        if member.is_none_or(|(id, generation)| world.is_fenced(id, generation)) {
            self.exit(world, Op::SendOffsets, || format!("{member:?} is fenced"));
            return Err(Broken::Abort("the group has moved on".into()));
        }
        if offsets.iter().any(|(partition, ..)| world.is_deleted(*partition)) {
            self.exit(world, Op::SendOffsets, || "one of the topics is gone".into());
            return Err(Broken::Abort("a topic is gone".into()));
        }
        let odds = world.plan.odds.unknown;
        let unknown = strikes(&mut world, odds);
        if !unknown || world.dice.chance(0.5) {
            let txn = self.flush(&mut world)?;
            world.append_offsets(txn, offsets);
            if !unknown && self.repeats(&mut world, "TxnOffsetCommit") {
                let (slot, epoch) = (world.processes[self.me].slot, world.processes[self.me].producer.epoch);
                world.send_offsets_late(slot, epoch.unwrap_or_default(), offsets);
            }
        }
        let shown = || offsets.iter().map(|(partition, offset, _)| (*partition, *offset)).collect::<Vec<_>>();
        self.exit(world, Op::SendOffsets, || format!("{:?}{}", shown(), if unknown { ", no answer" } else { "" }));
        if unknown { Err(renew("no answer to the offsets")) } else { Ok(()) }
    }

    /// Commits or aborts.
    pub(super) fn end(&self, commit: bool) -> Result<(), Broken> {
        let op = if commit { Op::Commit } else { Op::Abort };
        let world = self.enter(op);
        let (mut world, free) = self.free(world);
        let me = self.me;
        let slot = world.processes[me].slot;
        let producer = &mut world.processes[me].producer;
        let (Some(epoch), Some(open)) = (producer.epoch, producer.open.as_ref()) else {
            return Err(renew("there is no transaction"));
        };
        let nothing = open.txn.is_none() && open.queue.is_empty();
        if free && commit && strikes_abort(&mut world) {
            return Err(Broken::Abort("on purpose".into()));
        }
        let odds = world.plan.odds.unknown;
        if !free || strikes(&mut world, odds) {
            return Err(self.unknown(world, op, (slot, epoch), free));
        }
        if commit && !nothing {
            self.flush(&mut world)?;
        }
        let begun = world.processes[me].producer.open.take().is_some_and(|open| open.txn.is_some());
        if begun {
            world.end_transaction(slot, epoch, commit).map_err(|Fenced| renew("fenced"))?;
            if self.repeats(&mut world, "EndTxn") {
                world.send_late(slot, epoch, commit);
            }
        }
        self.exit(world, op, || "done".into());
        Ok(())
    }

    /// Whether a request that was answered was a second one: the first is still on its way, of which only the
    /// interceptor knows.
    fn repeats(&self, world: &mut World, request: &'static str) -> bool {
        let odds = world.plan.odds.repeated;
        let repeats = strikes(world, odds);
        if repeats {
            world.processes[self.me].producer.unanswered = Some(request);
            world.note(Some(self.me), || format!("{request} was repeated: the first one comes late"));
        }
        repeats
    }

    /// The request has no answer: it was lost, or it did what it says, or it will, later.
    fn unknown(&self, mut world: Guard<'_>, op: Op, (slot, epoch): (usize, u32), arrives: bool) -> Broken {
        let commit = op == Op::Commit;
        let what = world.dice.below(3);
        // What can't be reached can't have got the messages either, and a commit waits for them.
        let flushed = !commit || arrives && self.flush(&mut world).is_ok();
        let begun = world.processes[self.me].producer.open.as_ref().is_some_and(|open| open.txn.is_some());
        let came = match what {
            0 if arrives && flushed && begun => world.end_transaction(slot, epoch, commit).is_ok(),
            1 if flushed && begun => {
                world.send_late(slot, epoch, commit);
                true
            }
            _ => false,
        };
        self.exit(world, op, || format!("no answer; it {} ({what})", if came { "comes" } else { "is lost" }));
        renew("no answer")
    }

    /// A producer in the place of the last one.
    pub(super) fn new_producer(&self, mut world: Guard<'_>) -> bool {
        // A client that knows of a request on its way still does when the next one can't be had.
        let unanswered = world.processes[self.me].producer.unanswered;
        world.processes[self.me].producer = Producer { unanswered, ..Producer::default() };
        let odds = world.plan.odds.none;
        if !world.is_reachable(self.me) || strikes(&mut world, odds) {
            let until = world.now + 500;
            let world = self.wait(world, Wait::Until(until));
            self.exit(world, Op::Renew, || "no answer".into());
            return false;
        }
        let slot = world.processes[self.me].slot;
        let epoch = world.init_producer(slot);
        world.processes[self.me].producer = Producer { epoch, ..Producer::default() };
        if epoch.is_none() {
            let until = world.now + 20;
            let world = self.wait(world, Wait::Until(until));
            self.exit(world, Op::Renew, || "a transaction is being ended".into());
            return false;
        }
        self.exit(world, Op::Renew, || format!("epoch {epoch:?}"));
        true
    }
}

fn strikes_abort(world: &mut World) -> bool {
    let odds = world.plan.odds.abort;
    strikes(world, odds)
}

impl World {
    /// Whether a process' requests of transactions have an answer: a broker is there, and the last transaction is
    /// decided or no longer its own.
    pub fn is_free(&self, process: usize) -> bool {
        let it = &self.processes[process];
        let id = &self.ids[it.slot];
        let own = it.producer.epoch == Some(id.epoch);
        self.is_reachable(process) && (!own || !matches!(id.state, State::Deciding { .. }))
    }
}
