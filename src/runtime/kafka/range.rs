//! A range of a topic through the stages, for training: as a run that begins with it, without group, commits, outputs
//! and dead letters.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::config::{OnTombstone, TopicRange};
use crate::format::{Decided, DecodeError, Decoder, Messages};
use crate::kafka::{RangeReader, offsets};
use crate::record::{Batch, PartitionId, Records, Shard};
use crate::runtime::engine::{Chain, Partition, Router};
use crate::runtime::plan::Plan;
use crate::source::topic::PlannedTopic;
use crate::{Error, Result};

/// How long a schema registry may need.
const PATIENCE: Duration = Duration::from_secs(60);
/// Before it is asked again.
const PAUSE: Duration = Duration::from_millis(20);

/// Who gets what comes out of the stages.
pub(in crate::runtime) trait Takes {
    /// Takes what some records of a partition became, or with no records what its end let go.
    ///
    /// # Errors
    /// Those of the taker.
    fn take(&mut self, partition: &Partition, batch: Batch, records: u64) -> Result<()>;
    /// So many messages of all were read.
    fn progress(&mut self, messages: u64, all: u64);
}

/// Reads a range through the stages.
///
/// # Errors
/// Offsets that the topic doesn't have, or no longer; brokers or a registry that don't answer; those of `takes`.
pub(in crate::runtime) fn read(
    plan: &Plan,
    source: &PlannedTopic,
    range: &TopicRange,
    takes: &mut dyn Takes,
) -> Result<()> {
    let kafka = plan
        .pipeline
        .source
        .kafka()
        .ok_or_else(|| Error::failed("the source isn't Kafka: internal error, please report"))?;
    let offsets = offsets(kafka, &source.topics, range)?;
    let all: u64 = offsets.values().map(|range| u64::try_from(range.end - range.start).unwrap_or(0)).sum();
    let shown: Vec<String> =
        offsets.iter().map(|(partition, range)| format!("{partition}: {} to {}", range.start, range.end)).collect();
    tracing::info!("trains on these offsets of topic {}: {}", source.topics.shown(), shown.join(", "));
    let mut reading =
        Reading { plan, chain: plan.chain()?, decoder: source.decoder.decoder()?, partitions: BTreeMap::new(), takes };
    reading.decoder.stop_at_deletes();
    reading.partitions.extend(offsets.keys().map(|id| (*id, Partition::new(*id, &reading.chain))));
    if let Some(history) = &source.history {
        let count = history.partitions();
        let at = vec![(0, None); count as usize];
        let mut router = Router::new(plan.pipeline.runtime.batch, u64::MAX, (Shard::default(), count), at);
        history.read(&mut |block| router.route(block, &mut |work| reading.process(work.partition, work.records)))?;
        router.finish(&mut |work| reading.process(work.partition, work.records))?;
    }
    let (mut reader, mut passed) = (RangeReader::new(kafka, &source.topics, &offsets)?, BTreeMap::new());
    while let Some((id, messages)) = reader.next_messages()? {
        reading.messages(id, &messages)?;
        if let (Some(last), Some(range)) = (messages.offsets.last(), offsets.get(&id)) {
            passed.insert(id, u64::try_from(last + 1 - range.start).unwrap_or(0));
        }
        reading.takes.progress(passed.values().sum(), all);
    }
    reading.end()
}

/// The partitions of a range while it is read.
struct Reading<'a> {
    plan: &'a Plan,
    chain: Chain,
    decoder: Box<dyn Decoder>,
    partitions: BTreeMap<PartitionId, Partition>,
    takes: &'a mut dyn Takes,
}

impl Reading<'_> {
    /// Decodes messages and takes their records.
    fn messages(&mut self, id: PartitionId, messages: &Messages) -> Result<()> {
        let tombstone = self.plan.pipeline.on.tombstone;
        let mut at = 0;
        while at < messages.len() {
            let mut end = at;
            while end < messages.len() && messages.payload(end).is_some() {
                end += 1;
            }
            if end == at {
                let key = match tombstone {
                    OnTombstone::Reset => self.key_of(messages, at)?,
                    OnTombstone::Skip | OnTombstone::DeadLetter => None,
                };
                self.tombstone(id, key);
                at += 1;
                continue;
            }
            let decode = |decoder: &mut dyn Decoder| decoder.decode(messages, at..end, &mut Decided::default());
            let decoded = patiently(&mut *self.decoder, decode)?;
            let deleted = decoded.deleted;
            if !decoded.records.is_empty() {
                self.process(id, decoded.records)?;
            }
            at = match deleted {
                Some(deleted) => {
                    self.tombstone(id, deleted.key.filter(|_| tombstone == OnTombstone::Reset));
                    deleted.index + 1
                }
                None => end,
            };
        }
        Ok(())
    }

    /// The key that a message without a payload deletes.
    fn key_of(&mut self, messages: &Messages, at: usize) -> Result<Option<Vec<u8>>> {
        patiently(&mut *self.decoder, |decoder| decoder.key_of(messages, at, &mut Decided::default()))
    }

    fn tombstone(&mut self, id: PartitionId, key: Option<Vec<u8>>) {
        if let (Some(key), Some(partition)) = (key, self.partitions.get_mut(&id)) {
            partition.reset(&key);
        }
    }

    fn process(&mut self, id: PartitionId, mut records: Records) -> Result<()> {
        let Some(partition) = self.partitions.get_mut(&id) else { return Ok(()) };
        let batch = partition.process_taking(&mut self.chain, self.plan.layout_of_source(), &mut records)?;
        self.takes.take(partition, batch, records.len() as u64)
    }

    /// Nothing more comes: what stages hold is let go, as at the end of files.
    fn end(mut self) -> Result<()> {
        for partition in self.partitions.values_mut() {
            let batch = partition.advance(&mut self.chain, None)?;
            self.takes.take(partition, batch, 0)?;
        }
        Ok(())
    }
}

/// Asks a decoder until a registry has answered.
fn patiently<T>(
    decoder: &mut dyn Decoder,
    mut ask: impl FnMut(&mut dyn Decoder) -> std::result::Result<T, DecodeError>,
) -> Result<T> {
    let until = Instant::now() + PATIENCE;
    loop {
        match ask(decoder) {
            Ok(answer) => return Ok(answer),
            Err(DecodeError::Failed(error)) => return Err(error),
            Err(DecodeError::Unavailable(why)) if Instant::now() > until => return Err(Error::failed(why)),
            Err(DecodeError::Unavailable(_)) => std::thread::sleep(PAUSE),
        }
    }
}
