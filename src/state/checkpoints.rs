//! What a worker on Kafka needs from the checkpoint store. [`super::Log`] implements it on a folder or object store,
//! with a thread that writes.

use std::time::Duration;

use super::{Checkpoint, CommitPosition, ModelEpoch};
use crate::Result;
use crate::record::PartitionId;

/// What there is of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Found {
    /// The newest checkpoint of the epoch that is not beyond the commit.
    pub usable: Option<CommitPosition>,
    /// The newest of all.
    pub newest: Option<CommitPosition>,
}

/// A checkpoint that became durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Durable {
    /// Whose.
    pub partition: PartitionId,
    /// As of which commit.
    pub at: CommitPosition,
    /// Of which model version.
    pub epoch: ModelEpoch,
    /// How many bytes were written.
    pub bytes: u64,
    /// How long that took.
    pub took: Duration,
}

/// A checkpoint that was read, or can't be.
#[derive(Debug)]
pub struct Loaded {
    /// Whose.
    pub partition: PartitionId,
    /// As of which commit.
    pub at: CommitPosition,
    /// The checkpoint; an error is one of a store that can't be read, or of a checkpoint that is damaged or gone.
    pub checkpoint: Result<Checkpoint>,
}

/// Checkpoints of all partitions of one topic.
pub trait Checkpoints {
    /// Looks for the newest checkpoint of a partition at or before `committed`, made by the model version that is
    /// active there, since it became active: no other state can be resumed.
    ///
    /// # Errors
    /// A store that can't be read.
    fn find(&mut self, partition: PartitionId, committed: CommitPosition, epoch: &ModelEpoch) -> Result<Found>;

    /// Begins to read a checkpoint that was found, on another thread, and returns at once.
    ///
    /// # Errors
    /// Errors of this process only; those of the checkpoint are returned by [`Checkpoints::loaded`].
    fn load(&mut self, partition: PartitionId, at: CommitPosition, epoch: &ModelEpoch) -> Result<()>;

    /// What was read since the last call; waits for one up to `timeout` if any is being read.
    ///
    /// # Errors
    /// Of this process alone.
    fn loaded(&mut self, timeout: Duration) -> Result<Vec<Loaded>>;

    /// Begins to write a checkpoint, whose `at` is a position that is committed (or, where it is a swap's, the one that
    /// will be), and returns at once. They become durable in the order in which they were begun. A checkpoint of the
    /// same position and epoch that already exists is equal to it: nothing is overwritten.
    ///
    /// # Errors
    /// Errors of an earlier write, reported now.
    fn write(&mut self, partition: PartitionId, checkpoint: Checkpoint) -> Result<()>;

    /// The checkpoints that became durable since the last call; waits for one up to `timeout` if any is being written.
    ///
    /// # Errors
    /// A store that can't be written.
    fn written(&mut self, timeout: Duration) -> Result<Vec<Durable>>;

    /// Releases a partition: from now on it may have another owner, so nothing more of it is deleted.
    fn release(&mut self, partition: PartitionId);
}
