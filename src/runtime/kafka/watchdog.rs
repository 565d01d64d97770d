//! A partition that delivers nothing although it has messages.
//!
//! A client can stop receiving without an error: librdkafka, for example, validates every position after its broker was
//! away, and waits for an answer that may never come. kolk tries steps, each after a further time of silence: seek to
//! the position, take the partition out of the client and put it in again, a new client. The state stays whichever it
//! is.
//!
//! A client that gets no answers at all is not its business: then nobody knows whether there are messages
//! ([`Broker::is_deaf`]).

use std::collections::BTreeMap;
use std::time::Duration;

use super::settings::SHORT;
use crate::Result;
use crate::kafka::Broker;
use crate::metrics::Metrics;
use crate::record::PartitionId;

/// Milliseconds between two looks.
const EVERY: i64 = 1_000;

/// What is done about a silent partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remedy {
    Seek,
    Assign,
    Client,
}

impl Remedy {
    /// As the metric's label.
    pub(super) fn name(self) -> &'static str {
        match self {
            Remedy::Seek => "seek",
            Remedy::Assign => "assign",
            Remedy::Client => "client",
        }
    }
}

/// When each partition last delivered something, and the steps taken since.
#[derive(Debug)]
pub(super) struct Watchdog {
    /// Milliseconds without a word that are too many.
    silence: i64,
    looked: i64,
    partitions: BTreeMap<PartitionId, Heard>,
}

#[derive(Debug, Clone, Copy)]
struct Heard {
    at: i64,
    steps: u8,
}

impl Watchdog {
    /// With the silence that is too long.
    pub(super) fn new(silence: Duration) -> Watchdog {
        let silence = i64::try_from(silence.as_millis()).unwrap_or(i64::MAX);
        Watchdog { silence, looked: 0, partitions: BTreeMap::new() }
    }

    /// Something came of a partition: messages, or its end.
    pub(super) fn heard(&mut self, partition: PartitionId, now: i64) {
        self.partitions.insert(partition, Heard { at: now, steps: 0 });
    }

    /// Whether it is time to look.
    pub(super) fn is_due(&mut self, now: i64) -> bool {
        let is_due = now - self.looked >= EVERY;
        if is_due {
            self.looked = now;
        }
        is_due
    }

    /// The partitions in use that delivered nothing for too long. One that isn't in use (paused, waiting) begins again
    /// when it is.
    pub(super) fn silent(&mut self, listening: &[(PartitionId, i64)], now: i64) -> Vec<(PartitionId, i64)> {
        self.partitions.retain(|partition, _| listening.iter().any(|(it, _)| it == partition));
        let mut silent = Vec::new();
        for (partition, position) in listening {
            let heard = self.partitions.entry(*partition).or_insert(Heard { at: now, steps: 0 });
            if now - heard.at >= self.silence {
                silent.push((*partition, *position));
            }
        }
        silent
    }

    /// What to do about a silent partition. `behind` is the number of offsets that could be read; with 0 it is rightly
    /// silent.
    pub(super) fn step(&mut self, partition: PartitionId, behind: i64, now: i64) -> Option<Remedy> {
        if behind <= 0 {
            self.heard(partition, now);
            return None;
        }
        let heard = self.partitions.entry(partition).or_insert(Heard { at: now, steps: 0 });
        *heard = Heard { at: now, steps: (heard.steps + 1).min(3) };
        Some(match heard.steps {
            1 => Remedy::Seek,
            2 => Remedy::Assign,
            _ => Remedy::Client,
        })
    }

    /// Asks for the ends of silent partitions and does what a client alone can do; true: a new client is needed.
    pub(super) fn heal<B: Broker>(
        &mut self,
        broker: &mut B,
        listening: &[(PartitionId, i64)],
        metrics: &Metrics,
    ) -> Result<bool> {
        let now = broker.now();
        let silent = self.silent(listening, now);
        let partitions: Vec<PartitionId> = silent.iter().map(|(partition, _)| *partition).collect();
        if partitions.is_empty() {
            return Ok(false);
        }
        let Some(ends) = broker.ends(&partitions, SHORT)? else { return Ok(false) };
        let mut client = false;
        for ((partition, position), end) in silent.into_iter().zip(ends) {
            let Some(step) = self.step(partition, end - position, now) else { continue };
            tracing::warn!(
                partition = partition.number,
                topic = partition.topic.name(),
                position,
                end,
                step = step.name(),
                "nothing is received from a partition although it has messages: restarting reading"
            );
            match step {
                Remedy::Seek => broker.seek(partition, position)?,
                Remedy::Assign => broker.reassign(&[(partition, position)])?,
                Remedy::Client => client = true,
            }
            if step != Remedy::Client {
                metrics.stream.reader_restarted(step.name());
            }
        }
        if client {
            metrics.stream.reader_restarted(Remedy::Client.name());
        }
        Ok(client)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watchdog() -> Watchdog {
        Watchdog::new(Duration::from_secs(12))
    }

    #[test]
    fn silence_where_there_is_something_is_healed_in_steps() {
        let mut dog = watchdog();
        let listening = [(3.into(), 10), (4.into(), 7)];
        assert!(dog.silent(&listening, 0).is_empty(), "the silence begins with the first use");
        assert!(dog.silent(&listening, 11_999).is_empty());
        dog.heard(4.into(), 11_999);
        assert_eq!(dog.silent(&listening, 12_000), [(3.into(), 10)]);
        assert_eq!(dog.step(3.into(), 5, 12_000), Some(Remedy::Seek));
        assert!(dog.silent(&listening, 20_000).is_empty(), "each step gets its time");
        assert_eq!(dog.step(3.into(), 5, 24_000), Some(Remedy::Assign));
        assert_eq!(dog.step(3.into(), 5, 36_000), Some(Remedy::Client));
        assert_eq!(dog.step(3.into(), 5, 48_000), Some(Remedy::Client));
        dog.heard(3.into(), 50_000);
        assert_eq!(dog.step(3.into(), 5, 62_000), Some(Remedy::Seek), "it was healed in between");
    }

    #[test]
    fn silence_at_the_end_or_where_nobody_listens_is_none() {
        let mut dog = watchdog();
        dog.silent(&[(1.into(), 10)], 0);
        assert_eq!(dog.silent(&[(1.into(), 10)], 12_000), [(1.into(), 10)]);
        assert_eq!(dog.step(1.into(), 0, 12_000), None);
        assert!(dog.silent(&[(1.into(), 10)], 20_000).is_empty(), "it was looked at");
        assert!(dog.silent(&[], 30_000).is_empty());
        assert!(dog.silent(&[(1.into(), 10)], 60_000).is_empty(), "it was paused");
    }
}
