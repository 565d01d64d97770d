//! The coordinator of transactions, and the offsets that are committed with them.
//!
//! As a broker before KIP-890 does it: an epoch belongs to a producer, not to a transaction, so a request that comes
//! late ends whatever that epoch has open.

use super::log::{Fate, Sent, TxnId};
use super::plan::TRANSACTION;
use super::topics::place;
use super::work::Payload;
use super::world::{Act, World};
use crate::kafka::Committed;
use crate::record::PartitionId;

/// What a transactional id is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Empty,
    Open {
        txn: TxnId,
        since: i64,
    },
    /// It is decided; readers see it from `at` on.
    Deciding {
        txn: TxnId,
        commit: bool,
        at: i64,
    },
}

/// A transactional id.
#[derive(Debug, Clone, Copy)]
pub struct Id {
    pub epoch: u32,
    pub state: State,
}

/// A request of an epoch that is over.
#[derive(Debug)]
pub struct Fenced;

/// Offsets of a transaction that isn't decided.
#[derive(Debug)]
pub struct Pending {
    pub txn: TxnId,
    pub partition: PartitionId,
    pub committed: Committed,
    pub order: u64,
}

/// The group's offsets.
#[derive(Debug, Default)]
pub struct Offsets {
    /// Per partition, what is committed and when it was written.
    pub stable: Vec<Option<(u64, Committed)>>,
    pub pending: Vec<Pending>,
    order: u64,
}

impl Offsets {
    pub fn new(partitions: usize) -> Offsets {
        Offsets { stable: vec![None; partitions], ..Offsets::default() }
    }

    pub fn is_pending(&self, partition: PartitionId) -> bool {
        self.pending.iter().any(|pending| pending.partition == partition)
    }
}

impl World {
    pub fn new_txn(&mut self) -> TxnId {
        self.fates.push(Fate::Open);
        self.fates.len() - 1
    }

    /// The transaction that an epoch has open; opens one.
    pub fn transaction(&mut self, slot: usize, epoch: u32) -> Result<TxnId, Fenced> {
        let id = self.ids[slot];
        match id.state {
            _ if id.epoch != epoch => Err(Fenced),
            State::Open { txn, .. } => Ok(txn),
            State::Deciding { .. } => unreachable!("the client waits for it"),
            State::Empty => {
                let txn = self.new_txn();
                self.ids[slot].state = State::Open { txn, since: self.now };
                Ok(txn)
            }
        }
    }

    /// Ends what an epoch has open.
    pub fn end_transaction(&mut self, slot: usize, epoch: u32, commit: bool) -> Result<(), Fenced> {
        let id = self.ids[slot];
        if id.epoch != epoch {
            return Err(Fenced);
        }
        if let State::Open { txn, .. } = id.state {
            let at = self.now + self.dice.pick(&[0, 1, 5, 40, 400]);
            self.ids[slot].state = State::Deciding { txn, commit, at };
            self.judge(txn, commit);
        }
        Ok(())
    }

    /// A new producer: `None` while what the old one left open is being aborted.
    pub fn init_producer(&mut self, slot: usize) -> Option<u32> {
        match self.ids[slot].state {
            State::Open { .. } => {
                self.fence(slot);
                None
            }
            State::Deciding { .. } => None,
            State::Empty => {
                self.ids[slot].epoch += 1;
                Some(self.ids[slot].epoch)
            }
        }
    }

    fn fence(&mut self, slot: usize) {
        let epoch = self.ids[slot].epoch;
        if self.end_transaction(slot, epoch, false).is_ok() {
            self.ids[slot].epoch += 1;
        }
    }

    /// Adds an output to a transaction.
    pub fn append(&mut self, txn: TxnId, payload: Payload) {
        self.output.push(Sent { txn, payload });
    }

    /// Adds offsets to a transaction.
    pub fn append_offsets(&mut self, txn: TxnId, offsets: &[(PartitionId, i64, String)]) {
        for (partition, offset, metadata) in offsets {
            self.offsets.order += 1;
            let order = self.offsets.order;
            self.offsets.pending.retain(|pending| pending.txn != txn || pending.partition != *partition);
            let committed = Committed { offset: *offset, metadata: metadata.clone() };
            self.offsets.pending.push(Pending { txn, partition: *partition, committed, order });
        }
    }

    /// Time passes: decided transactions become visible, those that take too long are aborted.
    pub fn tick_transactions(&mut self) {
        for slot in 0..self.ids.len() {
            match self.ids[slot].state {
                State::Open { since, .. } if self.now - since > TRANSACTION && self.now >= self.down_until => {
                    self.note(None, || format!("the transaction of id {slot} took too long"));
                    self.fence(slot);
                }
                State::Deciding { txn, commit, at } if at <= self.now => {
                    self.ids[slot].state = State::Empty;
                    self.decide(txn, commit);
                }
                _ => {}
            }
        }
    }

    /// When the next of that happens.
    pub fn next_transaction(&self) -> Option<i64> {
        let due = |id: &Id| match id.state {
            State::Empty => None,
            State::Open { since, .. } => Some((since + TRANSACTION + 1).max(self.down_until)),
            State::Deciding { at, .. } => Some(at),
        };
        self.ids.iter().filter_map(due).min()
    }

    /// From here on the outcome is fixed, although nobody sees it yet.
    fn judge(&mut self, txn: TxnId, commit: bool) {
        let pending = self.offsets.pending.iter().filter(|pending| pending.txn == txn);
        let offsets: Vec<(PartitionId, Committed)> = pending.map(|p| (p.partition, p.committed.clone())).collect();
        let shown = || offsets.iter().map(|(partition, committed)| (*partition, committed.offset)).collect::<Vec<_>>();
        self.note(None, || {
            format!("transaction {txn} is {}: {:?}", if commit { "committed" } else { "aborted" }, shown())
        });
        if !commit {
            return;
        }
        let of_this = self.output.iter().filter(|sent| sent.txn == txn);
        let sent: Vec<Payload> = of_this.map(|sent| sent.payload).collect();
        let right = self.oracle.committed(&self.inputs, &self.fates, &sent, &offsets);
        if let Err(wrong) = right.and_then(|()| self.within_ends(&offsets)) {
            self.fail(wrong);
        }
    }

    /// Everybody sees it.
    fn decide(&mut self, txn: TxnId, commit: bool) {
        self.fates[txn] = if commit { Fate::Committed } else { Fate::Aborted };
        let all = std::mem::take(&mut self.offsets.pending);
        let (decided, pending): (Vec<Pending>, Vec<Pending>) = all.into_iter().partition(|pending| pending.txn == txn);
        self.offsets.pending = pending;
        let deleted = self.deleted.map(|(topic, _)| topic);
        for pending in decided.into_iter().filter(|it| commit && Some(it.partition.topic) != deleted) {
            let stable = &mut self.offsets.stable[place(pending.partition)];
            if stable.as_ref().is_none_or(|(order, _)| *order < pending.order) {
                *stable = Some((pending.order, pending.committed));
            }
        }
    }

    /// A request to end a transaction that arrives after its client gave it up.
    pub fn arrive_late(&mut self, slot: usize, epoch: u32, commit: bool) {
        let outcome = self.end_transaction(slot, epoch, commit);
        self.note(None, || format!("a late end (commit: {commit}) of id {slot}, epoch {epoch}: {outcome:?}"));
    }

    /// Offsets that arrive after their client repeated them: they count for the transaction that its epoch has open
    /// then.
    pub fn offsets_arrive_late(&mut self, slot: usize, epoch: u32, offsets: &[(PartitionId, i64, String)]) {
        let id = self.ids[slot];
        let txn = match id.state {
            State::Open { txn, .. } if id.epoch == epoch => Some(txn),
            _ => None,
        };
        self.note(None, || format!("late offsets of id {slot}, epoch {epoch}: taken for {txn:?}"));
        if let Some(txn) = txn {
            self.append_offsets(txn, offsets);
        }
    }

    /// Lets them arrive after some time.
    pub fn send_offsets_late(&mut self, slot: usize, epoch: u32, offsets: &[(PartitionId, i64, String)]) {
        let after = self.dice.pick(&[1, 10, 100, 1_000]);
        self.later(after, Act::LateOffsets { slot, epoch, offsets: offsets.to_vec() });
    }

    /// Lets one arrive after some time.
    pub fn send_late(&mut self, slot: usize, epoch: u32, commit: bool) {
        let after = self.dice.pick(&[1, 10, 100, 1_000, 8_000]);
        self.later(after, Act::LateEnd { slot, epoch, commit });
    }
}
