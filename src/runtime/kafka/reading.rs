//! How far the reading of a partition is, and what keeps it from being read.

use super::stall::Stall;
use crate::record::PartitionId;

/// How far the reading of one partition is.
#[derive(Debug)]
pub(super) struct Reading {
    /// When the last message came, or the clock last moved its time on; by the broker's clock.
    pub heard: i64,
    /// Whether nothing is left to be read at present.
    pub at_end: bool,
    /// In a bounded run, the offset before which it ends.
    pub until: Option<i64>,
    /// Whether it has ended there: nothing more is read.
    pub ended: bool,
    /// Timestamp of the newest message; before the first one, when the partition was opened.
    pub newest: i64,
    /// What keeps it from taking the next message, if anything does.
    pub stalled: Option<Stall>,
}

impl Reading {
    /// Of a partition that is read from now on.
    pub fn new(now: i64) -> Reading {
        Reading { heard: now, at_end: false, until: None, ended: false, newest: now, stalled: None }
    }

    /// It is read from now on, in a bounded run before this offset.
    pub fn begin(&mut self, now: i64, until: Option<i64>) {
        (self.heard, self.until, self.ended) = (now, until, false);
    }

    /// Whether it waits for an answer or a checkpoint.
    pub fn is_stalled(&self) -> bool {
        self.stalled.as_ref().is_some_and(Stall::is_waiting)
    }
}

/// A partition that is read.
pub(super) trait Reads {
    /// Its number.
    fn id(&self) -> PartitionId;
    /// Offset of the next message.
    fn offset(&self) -> i64;
    /// Up to which offset it is done, as the gauges show it.
    fn committed(&self) -> i64;
    /// How far its reading is.
    fn reading(&self) -> &Reading;
    fn reading_mut(&mut self) -> &mut Reading;
    /// Whether its reading is paused for a reason of this partition.
    fn is_held(&self) -> bool {
        self.reading().is_stalled() || self.reading().ended
    }
    /// Whether decisions have no room before the next checkpoint.
    fn is_full(&self) -> bool {
        false
    }
    /// Whether the clock may move its time on.
    fn may_advance(&self) -> bool {
        true
    }
}
