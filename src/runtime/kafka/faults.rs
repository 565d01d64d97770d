//! Mistakes that a worker can be told to make; each would break exactly-once. The simulator must find every one of
//! them, or it proves nothing about a worker without them.
//!
//! Only in tests.

/// Which mistakes to make; none by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// The metadata that is sent with the offsets is that of the commit before: its sequence and hash cover less than
    /// the offset.
    pub metadata_late: bool,
    /// What is replayed between a checkpoint and the committed position is sent again.
    pub replay_emits: bool,
    /// After a revoke was answered, outputs and offsets of the revoked partitions are sent all the same.
    pub commit_after_revoke: bool,
    /// A checkpoint is taken at the position that was read, before the commit of that position is confirmed.
    pub checkpoint_uncommitted: bool,
    /// After an abort the outputs of partitions that were lost meanwhile are sent again as well.
    pub resend_lost: bool,
    /// A commit of unknown outcome is treated as failed: everything is sent again without asking what is committed.
    pub unknown_is_failure: bool,
    /// A producer is used again although one of its requests is still on its way.
    pub late_requests: bool,
    /// What was polled is committed without asking whether the topic is the same.
    pub topic_unasked: bool,
    /// A partition that nothing comes of is waited for.
    pub unwatched: bool,
    /// The end of a partition is committed as that of its last message: markers and aborted records remain.
    pub markers_stay: bool,
    /// The end of a partition is confused with that of its log, where a transaction may be open.
    pub high_watermark: bool,
    /// Another version of the model is committed before the checkpoint that it begins with is durable.
    pub swap_early: bool,
    /// Partitions of a topic that was deleted are kept.
    pub keep_deleted: bool,
    /// All decoded messages are processed at once, whether or not a commit can hold their decisions.
    pub overfill: bool,
    /// A bounded run ends when the partitions of one worker are there, whatever those of others are.
    pub ends_early: bool,
    /// A bounded run takes a record more than it should.
    pub reads_beyond: bool,
}
