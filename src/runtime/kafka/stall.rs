//! A partition that can't continue at present, while the others of its worker do: what it waits for, since when, and
//! when it is tried again.

use super::pieces::StallReason;
use crate::record::PartitionId;

/// Milliseconds before it is tried again: at first (a new schema is known within some milliseconds), and at most.
const SOON: i64 = 10;
const AGAIN: i64 = 250;
/// Milliseconds after which a wait is reported. That a new schema has to be fetched need not be reported.
const REPORTED: i64 = 500;

/// A wait of a partition, from the first try to the one that goes well.
#[derive(Debug, Clone)]
pub struct Stall {
    /// The message that waits.
    offset: i64,
    wait: StallReason,
    /// By the broker's clock.
    since: i64,
    pause: i64,
    /// When it is tried again; `None`: that is being done.
    until: Option<i64>,
    reported: bool,
}

impl Stall {
    /// Goes on waiting, or begins to: the message at this offset can't be taken.
    pub fn on(before: Option<Stall>, partition: PartitionId, offset: i64, wait: StallReason, now: i64) -> Stall {
        let mut stall = match before {
            Some(stall) if stall.offset == offset => {
                Stall { pause: (stall.pause * 2).min(AGAIN), until: None, wait, ..stall }
            }
            other => {
                if let Some(other) = other {
                    other.over(partition);
                }
                Stall { offset, wait, since: now, pause: SOON, until: None, reported: false }
            }
        };
        stall.until = Some(now + stall.pause);
        if let StallReason::Answer(why) = &stall.wait
            && !stall.reported
            && now - stall.since >= REPORTED
        {
            tracing::warn!(
                partition = partition.number,
                topic = partition.topic.name(),
                offset,
                why,
                "waiting before it is tried again"
            );
            stall.reported = true;
        }
        stall
    }

    /// Reports that the wait is over, if it was reported.
    pub fn over(&self, partition: PartitionId) {
        if self.reported {
            tracing::info!(
                partition = partition.number,
                topic = partition.topic.name(),
                offset = self.offset,
                "continuing"
            );
        }
    }

    /// Whether it isn't time to try again.
    pub fn is_waiting(&self) -> bool {
        self.until.is_some()
    }

    /// When to look at it again.
    pub fn until(&self) -> Option<i64> {
        self.until
    }

    /// Whether it is tried again from now on. One that waits for a checkpoint isn't while its partition is full.
    pub fn wake(&mut self, now: i64, full: bool) -> bool {
        let may = self.wait != StallReason::Checkpoint || !full;
        may && self.until.take_if(|until| *until <= now).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_tried_again_soon_and_then_less_often() {
        let wait = || StallReason::Answer("no answer".into());
        let (mut now, mut pauses) = (1_000, Vec::new());
        let mut stall = Stall::on(None, 0.into(), 7, wait(), now);
        while pauses.len() < 8 {
            let until = stall.until().unwrap();
            pauses.push(until - now);
            assert!(!stall.wake(until - 1, false) && stall.is_waiting());
            assert!(stall.wake(until, false) && !stall.is_waiting());
            now = until;
            stall = Stall::on(Some(stall), 0.into(), 7, wait(), now);
            // It is reported once it has lasted.
            assert_eq!(stall.reported, now - 1_000 >= REPORTED);
        }
        assert_eq!(pauses, [10, 20, 40, 80, 160, 250, 250, 250]);
        // The next message waits separately.
        let next = Stall::on(Some(stall), 0.into(), 8, wait(), now);
        assert_eq!((next.until(), next.reported), (Some(now + 10), false));
    }
}
