//! The topics of the simulated source, and its partitions as the rest of the simulator counts them.
//!
//! There are two topics, so that most partitions have the number of another: whatever goes by the number alone mixes
//! them up.

use crate::record::{PartitionId, SourceTopic};

const TOPICS: [(&str, &str); 2] = [("left", "id-1"), ("right", "id-2")];

/// The partition at a place.
pub fn id(place: usize) -> PartitionId {
    let (name, id) = TOPICS[place % TOPICS.len()];
    PartitionId::of(SourceTopic::new(name, id), (place / TOPICS.len()) as u32)
}

/// The topic that schedules delete.
pub fn deletable() -> SourceTopic {
    id(1).topic
}

/// The place of a partition.
pub fn place(partition: PartitionId) -> usize {
    let topic = TOPICS.iter().position(|(name, _)| Some(*name) == partition.topic.name());
    topic.expect("a topic of the simulator") + TOPICS.len() * partition.number as usize
}
