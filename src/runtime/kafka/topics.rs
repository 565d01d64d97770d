//! Which topics and partitions a run takes up and gives up, and where it begins to read them.
//!
//! - The topics of a list, and those that a pattern matches at the first start, begin where `start` says. One that
//!   comes later, while kolk runs or between two runs, begins at its first message.
//! - A partition that a topic gets is refused, since most producers then send keys elsewhere, away from their state.
//!   With `on.partitions: adopt` it is new, and begins at its first message.
//! - A topic that was deleted and created again is another one, and is refused.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::config::{KafkaSource, OnPartitions, Pattern, Pipeline, Start};
use crate::kafka::{Discovery, Subscription};
use crate::record::{PartitionId, SourceTopic};
use crate::source::topic::PlannedTopic;
use crate::state::{Fingerprint, GROWTH, KnownTopic, Store};
use crate::{Error, Result};

/// How often a pattern's topics are looked for, unless `topic.metadata.refresh.interval.ms` says otherwise.
const EVERY: Duration = Duration::from_secs(30);
/// How often it is looked whether the run is over.
const SLICE: Duration = Duration::from_millis(100);

/// See the module.
#[derive(Debug, Default)]
pub struct Expected {
    adopts: bool,
    /// Without any, everything is expected.
    known: Mutex<BTreeMap<SourceTopic, KnownTopic>>,
}

impl Expected {
    /// Of the source of a pipeline. `before` made the state, `store` is where the topics are remembered, if there may
    /// be several; without it they are not.
    ///
    /// # Errors
    /// Refused: a topic that was created again, or has more partitions. A store that can't be written.
    pub fn of(
        pipeline: &Pipeline,
        source: &PlannedTopic,
        before: Option<&Fingerprint>,
        store: Option<&Store>,
    ) -> Result<Expected> {
        let adopts = pipeline.on.partitions.value == OnPartitions::Adopt;
        let first = |of, partitions| KnownTopic { of, partitions, is_later: false };
        let known = match (source.topics.is_several(), store) {
            (false, _) => {
                let first_count = before.map(|before| before.partitions).filter(|_| adopts);
                vec![first(SourceTopic::ONLY, first_count.unwrap_or(source.partitions))]
            }
            (true, Some(store)) => {
                store.agrees_with_topics(&source.found, adopts)?;
                store.take_up(&source.found)?
            }
            (true, None) => source.found.iter().map(|(of, partitions)| first(*of, *partitions)).collect(),
        };
        let expected = Expected { adopts, known: Mutex::default() };
        expected.add(known);
        Ok(expected)
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<SourceTopic, KnownTopic>> {
        // A map is sound whatever a thread was doing when it panicked.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes topics up.
    fn add(&self, topics: Vec<KnownTopic>) {
        self.known().extend(topics.into_iter().map(|topic| (topic.of, topic)));
    }

    /// Fails if the group gives a partition that its topic didn't have when it was taken up.
    ///
    /// # Errors
    /// That.
    pub fn check(&self, partitions: &[PartitionId]) -> Result<()> {
        if self.adopts {
            return Ok(());
        }
        let known = self.known();
        let is_new = |it: &&PartitionId| known.get(&it.topic).is_some_and(|known| it.number >= known.partitions);
        match partitions.iter().find(is_new).and_then(|it| Some((it, known.get(&it.topic)?))) {
            None => Ok(()),
            Some((partition, known)) => Err(Error::failed(format!(
                "partition {partition}: the topic had {} partitions at the start and has more now: from then on its \
                 keys went to other partitions, away from their state\n{GROWTH}",
                known.partitions
            ))),
        }
    }

    /// Whether a partition came after its topic was first read, or with a topic that came after the first start.
    pub fn is_later(&self, partition: PartitionId) -> bool {
        self.known().get(&partition.topic).is_some_and(|known| known.is_later || partition.number >= known.partitions)
    }

    /// Where a partition that was never read begins.
    pub fn start(&self, partition: PartitionId, start: Start) -> Start {
        // Between its first message and the moment at which it was found nothing must be left out.
        if start == Start::Latest && self.is_later(partition) { Start::Earliest } else { start }
    }

    /// Partitions that the only topic had when it was first read.
    pub fn first_count(&self) -> Option<u32> {
        self.known().get(&SourceTopic::ONLY).map(|known| known.partitions)
    }
}

/// Looks for topics that a pattern matches, until `stop` says so, and takes them up.
///
/// # Errors
/// Refused: a topic that was created again. A store that can't be written.
pub(super) fn follow(
    (source, pattern): (&KafkaSource, &Pattern),
    topics: &Subscription,
    expected: &Expected,
    store: Option<&Store>,
    stop: &dyn Fn() -> bool,
) -> Result<()> {
    let discovery = Discovery::new(source, pattern)?;
    let every = source.properties.0.iter().find(|(name, _)| name.value == crate::kafka::REFRESH);
    let every = every.and_then(|(_, value)| value.reveal().parse().ok()).map_or(EVERY, Duration::from_millis);
    let mut next = Instant::now() + every;
    while !stop() {
        std::thread::sleep(SLICE.min(every));
        if Instant::now() < next {
            continue;
        }
        next = Instant::now() + every;
        let now = topics.topics();
        let found = discovery.look(&now);
        if found.is_empty() {
            continue;
        }
        let later =
            |(of, partitions): &(SourceTopic, u32)| KnownTopic { of: *of, partitions: *partitions, is_later: true };
        let known = match store {
            Some(store) => store.take_up(&found)?,
            None => found.iter().map(later).collect(),
        };
        for topic in &known {
            tracing::info!(topic = topic.of.name(), partitions = topic.partitions, "a topic appeared: reading it");
        }
        let all: Vec<SourceTopic> = now.into_iter().chain(known.iter().map(|topic| topic.of)).collect();
        expected.add(known);
        topics.change(all);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_refused_or_adopted_and_what_comes_later_begins_at_its_first_message() {
        let (old, new) = (SourceTopic::new("exp-old", "1"), SourceTopic::new("exp-new", "2"));
        let known = || {
            vec![
                KnownTopic { of: old, partitions: 2, is_later: false },
                KnownTopic { of: new, partitions: 2, is_later: true },
            ]
        };
        let of = |adopts| {
            let expected = Expected { adopts, known: Mutex::default() };
            expected.add(known());
            expected
        };
        let grown = [PartitionId::of(old, 1), PartitionId::of(old, 2)];
        let refused = of(false).check(&grown).unwrap_err().to_string();
        assert!(refused.contains("partition exp-old-2: the topic had 2 partitions"), "{refused}");
        assert!(of(false).check(&grown[..1]).is_ok() && of(true).check(&grown).is_ok());
        let start = |partition| of(true).start(partition, Start::Latest);
        assert_eq!(start(grown[0]), Start::Latest);
        assert_eq!((start(grown[1]), start(PartitionId::of(new, 0))), (Start::Earliest, Start::Earliest));
    }
}
