//! Logs as Kafka keeps them: every record has its offset forever, records of an open transaction can't be read yet,
//! those of an aborted one never, and the marks of transactions take an offset as well.

use super::work::Payload;

/// Number of a transaction of any client.
pub type TxnId = usize;

/// What became of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Open,
    Committed,
    Aborted,
}

/// What is at an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A record of a key; `None` is a tombstone.
    Record { key: u8, value: Option<u64> },
    /// The mark of a transaction's end.
    Control,
}

/// An offset of a partition of the input.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    pub kind: Kind,
    pub txn: Option<TxnId>,
    pub timestamp: i64,
    /// Compaction removed it.
    pub gone: bool,
}

/// A partition of the input; the index is the offset.
#[derive(Debug, Default)]
pub struct Input {
    /// The first offset that is there: retention removed those before.
    pub start: i64,
    pub entries: Vec<Entry>,
}

impl Input {
    pub fn end(&self) -> i64 {
        self.entries.len() as i64
    }

    /// The first offset of an open transaction, or the end: nothing from there on can be read.
    pub fn stable(&self, fates: &[Fate]) -> i64 {
        let open = |entry: &Entry| entry.txn.is_some_and(|txn| fates[txn] == Fate::Open);
        self.entries.iter().position(open).map_or(self.end(), |at| at as i64)
    }

    /// Whether a reader of committed records gets the record at an offset.
    pub fn readable(&self, offset: i64, fates: &[Fate]) -> Option<(u8, Option<u64>)> {
        let entry = &self.entries[offset as usize];
        match entry.kind {
            Kind::Record { key, value } if !entry.gone && entry.txn.is_none_or(|txn| fates[txn] == Fate::Committed) => {
                Some((key, value))
            }
            _ => None,
        }
    }

    /// The next offset from `from` on that can be read.
    pub fn next(&self, from: i64, stable: i64, fates: &[Fate]) -> Option<i64> {
        (from.max(0)..stable).find(|offset| self.readable(*offset, fates).is_some())
    }
}

/// A message of the output or of the dead letters.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    pub txn: TxnId,
    pub payload: Payload,
}
