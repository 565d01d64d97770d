//! Replays: where one begins and where none is needed, the decisions of the clock in it, and where it has to end.

use std::ops::Range;

use super::commit::Commit;
use super::partition_task::PartitionTask;
use super::processing::Processing;
use super::refusals::adoptable;
use crate::error::counted;
use crate::{Error, Result};

impl PartitionTask {
    /// Prepares the replay from the checkpoint to what is committed, in a log that begins at `start`, which isn't
    /// beyond that.
    ///
    /// With as many records before both, and the same ones, there are none in between: only markers and what was
    /// aborted, whether the log still has them or not. A log that begins in between is replayed from there: count and
    /// hash then say whether anything is missing.
    ///
    /// # Errors
    /// Stages that fail.
    pub(super) fn begin_replay(&mut self, start: i64, processing: &mut Processing) -> Result<()> {
        let Some(committed) = &self.replay else { return Ok(()) };
        let offset = committed.at.offset;
        if self.now.position == committed.position && self.now.at.hash == committed.at.hash {
            return self.finish_replay(processing);
        }
        if start > self.now.at.offset {
            self.removed = Some(self.now.at.offset..start);
            self.now.at.offset = start;
        }
        // Nothing is left to be replayed.
        if start >= offset { self.finish_replay(processing) } else { Ok(()) }
    }

    /// In replay, does what the clock decided before the message with this offset.
    pub(super) fn obey_clock(&mut self, before: i64, processing: &mut Processing) -> Result<()> {
        loop {
            let Some(replay) = &mut self.replay else { return Ok(()) };
            match replay.advances.first().copied() {
                Some(advance) if advance.offset <= before => {
                    replay.advances.remove(0);
                    self.now.advance(advance);
                    self.advance(advance.until, processing)?;
                }
                _ => return Ok(()),
            }
        }
    }

    /// The end of the log, or of what is delivered at present, was reached.
    ///
    /// # Errors
    /// A replay that doesn't end where the commit says.
    pub fn end(&mut self, offset: i64, processing: &mut Processing) -> Result<()> {
        // The committed records could be read then, so the end is after them, even if the last ones are gone since.
        self.finish_replay(processing)?;
        // After the last message there may be offsets without messages: aborted records, transaction markers. Retention
        // may remove them, so that the log begins there: it must not be after the committed offset.
        if self.replay.is_none() && offset > self.now.at.offset && !processing.ignores_markers() {
            self.now.at.offset = offset;
        }
        Ok(())
    }

    /// Nothing is left to be repeated.
    pub(super) fn finish_replay(&mut self, processing: &mut Processing) -> Result<()> {
        self.obey_clock(i64::MAX, processing)?;
        let Some(committed) = self.replay.take() else { return Ok(()) };
        self.now.at.offset = committed.at.offset;
        self.now.at.sequence = committed.at.sequence;
        self.now.unknown = committed.unknown.clone();
        self.now.complete_from = committed.complete_from;
        self.agree(&committed).inspect_err(|_| processing.metrics.stream.mismatches.inc())
    }

    /// Compares what was replayed with what was committed.
    pub(super) fn agree(&mut self, committed: &Commit) -> Result<()> {
        if self.now.at == committed.at && self.now.position == committed.position {
            return Ok(());
        }
        let found = format!("({} then, {} now)", counted(committed.position, "record"), self.now.position);
        if let Some(Range { start, end }) = self.removed.clone() {
            let what = format!(
                "the records from offset {start} on are needed to replay what was done up to {}, and the topic begins \
                 at {end}: retention \
                 has removed them {found}",
                committed.at.offset
            );
            return Err(adoptable(self.id, what));
        }
        Err(Error::failed(format!(
            "partition {}: the records before offset {} are not those that were read when it was committed {found}: \
             the topic was compacted or changed since\n\
             to begin again from what there is: kolk state reset, or another name; to keep the state: a topic without \
             compaction",
            self.id, committed.at.offset
        )))
    }
}
