//! What is said where a partition cannot be resumed, and the ways out of it.

use std::time::Duration;

use super::settings::SHORT;
use crate::Error;
use crate::kafka::{Broker, LogRange};
use crate::record::PartitionId;

/// Refuses a partition where nothing but other offsets or other state helps.
pub(super) fn refused(partition: PartitionId, what: String) -> Error {
    Error::refused(format!("partition {partition}: {what}\n{RESET}\n{EXACTLY}"))
}

/// Refuses a partition that can continue from a checkpoint only if the user confirms it, since that skips or repeats
/// something.
pub(super) fn adoptable(partition: PartitionId, what: String) -> Error {
    Error::refused(format!("partition {partition}: {what}\n{ADOPT}\n{RESET}\n{EXACTLY}"))
}

/// Refuses a partition whose next record isn't in the topic.
pub(super) fn unread(partition: PartitionId, offset: i64, range: LogRange) -> Error {
    if range.start <= offset {
        return refused(
            partition,
            format!(
                "the topic ends at {}, before offset {offset}, which was read already: it was truncated or created \
                 again",
                range.end
            ),
        );
    }
    adoptable(
        partition,
        format!(
            "the next record has offset {offset} or a higher one, and the topic begins at {}: retention has removed \
             records that were \
             never read",
            range.start
        ),
    )
}

/// The same while a process runs, which learns that a position isn't in the topic and not why.
pub(super) fn out_of_range(broker: &mut impl Broker, partition: PartitionId, offset: i64) -> Error {
    let range = broker.range(partition, SHORT).ok().flatten();
    match range.filter(|range| range.start > offset || range.end < offset) {
        Some(range) => unread(partition, offset, range),
        None => adoptable(
            partition,
            format!(
                "the record at offset {offset} is not in the topic: retention has removed it before it was read, or \
                 the topic was \
                 truncated or created again"
            ),
        ),
    }
}

/// The topic was deleted, and there is another of its name.
pub(super) fn recreated(topic: &str) -> Error {
    Error::refused(format!(
        "topic {topic} was deleted and created again while kolk ran: the state is of the topic that is gone, and \
         nothing of the new \
         one was committed\n\
         to begin with what the new topic holds: kolk state reset (and a new output topic), or another pipeline name"
    ))
}

/// Why a run ends. Where the topic was created again, that is the reason for whatever doesn't fit: offsets that are
/// gone, other records, an end before what was read.
pub(super) fn explained(broker: &mut impl Broker, topic: &str, error: Error) -> Error {
    broker.ask_topic();
    match broker.is_same_topic(EXPLANATION) {
        Ok(Some(false)) => recreated(&broker.recreated().unwrap_or_else(|| topic.to_string())),
        _ => error,
    }
}

/// How long the end of a run waits for that answer.
const EXPLANATION: Duration = Duration::from_secs(2);
const ADOPT: &str = "to continue from the existing state (it says first what that skips or repeats): kolk state adopt";
const RESET: &str =
    "to begin again from what the topic holds: kolk state reset (and a new output topic, or its records come twice)";
const EXACTLY: &str = "to resume exactly where it stopped: restore the offsets or the state that belong together";
