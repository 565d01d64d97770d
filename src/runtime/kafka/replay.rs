//! Where a replay begins, and where none is needed.

use super::partition_task::PartitionTask;
use super::processing::Processing;
use crate::Result;

impl PartitionTask {
    /// Prepares the replay from the checkpoint to what is committed, in a log that begins at `start`, which isn't beyond that.
    ///
    /// With as many records before both, and the same ones, there are none in between: only markers and what was aborted, whether the log
    /// still has them or not. A log that begins in between is replayed from there: count and hash then say whether anything is missing.
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
}
