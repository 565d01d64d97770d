//! A swap of one partition: what it goes to, how far it is. [`super::swaps`] says what is done in which order.

use super::commit::Commit;
use crate::state::{Memory, ModelEpoch};

/// A swap on its way.
pub struct Swap {
    /// The version that takes over, and the commit that it comes with.
    pub(super) epoch: ModelEpoch,
    /// What is remembered as it begins with it.
    pub(super) memory: Memory,
    /// Whether its checkpoint is durable.
    pub(super) ready: bool,
    /// Whether messages came that had been on their way when the reading paused: they have to come again.
    pub(super) missed: bool,
    /// When it began, by the broker's clock.
    pub(super) began: i64,
}

/// A swap that is committed.
pub struct Swapped {
    /// The epoch before.
    pub(super) from: ModelEpoch,
    /// See [`Swap::missed`].
    pub(super) missed: bool,
    /// See [`Swap::began`].
    pub(super) began: i64,
}

impl Swap {
    /// Whether it can be committed.
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// Whether it is to this epoch.
    pub fn is(&self, epoch: &ModelEpoch) -> bool {
        self.epoch == *epoch
    }

    /// Makes a commit that of the swap. Its checkpoint makes earlier decisions unnecessary.
    pub fn decide(&self, commit: &mut Commit) {
        commit.epoch = self.epoch.clone();
        commit.prune(commit.at);
    }
}
