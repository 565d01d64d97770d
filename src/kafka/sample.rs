//! The last messages of a topic, looked at before a pipeline starts, and `partitioned_by: key` verified on their keys.
//!
//! Where a record's key is not the message's, only its producers know that a key's messages are all in one partition; a
//! worker sees its own partitions and would never find out. A sample is no proof: it finds an error of most keys, not
//! of a single one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Message, Offset, TopicPartitionList};

use super::context::Door;
use super::{headers, properties};
use crate::config::KafkaSource;
use crate::error::{Problems, printable};
use crate::format::{self, Decoded, Messages, PlannedDecoder};
use crate::problem::Place;
use crate::record::murmur2;

/// Messages of a partition that are looked at.
const EACH: i64 = 300;
/// Messages and bytes that are looked at altogether.
const MOST: (usize, usize) = (30_000, 64 << 20);
/// How long the sample may take; kolk uses the messages received until then.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long one question may take.
const REQUEST: Duration = Duration::from_secs(3);
/// With fewer keys, their distribution shows nothing.
const FEW: usize = 10;

/// The partitions that each key was found in.
type Seen = BTreeMap<Vec<u8>, BTreeSet<u32>>;

/// The last committed messages of each partition that have a payload, and what they are as records.
pub struct Sample {
    /// By partition.
    pub partitions: BTreeMap<u32, (Messages, Decoded)>,
}

impl Sample {
    /// Reads and decodes it, or says why not.
    ///
    /// # Errors
    /// No answer of a broker or of the registry.
    pub fn take(source: &KafkaSource, partitions: u32, decoder: &PlannedDecoder) -> Result<Sample, String> {
        let mut decoder = decoder.decoder().map_err(|error| error.to_string())?;
        let decoded = read(source, partitions)?.into_iter().map(|(partition, messages)| {
            let decoded = format::decode_patiently(&mut *decoder, &messages, PATIENCE);
            Ok((partition, (messages, decoded.map_err(|error| error.to_string())?)))
        });
        Ok(Sample { partitions: decoded.collect::<Result<_, String>>()? })
    }

    /// How many messages it has.
    pub fn messages(&self) -> usize {
        self.partitions.values().map(|(messages, _)| messages.len()).sum()
    }

    /// What they are as records.
    pub fn decoded(&self) -> impl Iterator<Item = &Decoded> {
        self.partitions.values().map(|(_, decoded)| decoded)
    }
}

/// A key that is found in two partitions is a problem; keys that are mostly not where Java's partitioner puts them are
/// a warning.
pub fn check(
    source: &KafkaSource,
    partitions: u32,
    sample: &Sample,
    warnings: &mut Vec<String>,
    problems: &mut Problems,
) {
    let seen = keys(sample);
    // The bytes of a key with a schema hold the id of that schema: its text says nothing of where a producer puts it.
    let with_schema = source.encoding.key.as_ref().filter(|_| source.encoding.key_format.has_schema());
    if let Some(problem) = split(&seen) {
        match with_schema {
            Some(key) => problems.add(
                key.place,
                format!("{problem}. Producers place a key with a schema by its bytes, the id of its schema among them"),
            ),
            None => problems.add(source.partitioned_by_key.place, problem),
        }
    } else if let Some(warning) = elsewhere(&seen, partitions).filter(|_| with_schema.is_none()) {
        warnings.push(format!("topic {}: {warning}", *source.topic));
    }
}

/// With `on.partitions: adopt`, keys must have stayed where they were: one that is found in two partitions is a
/// problem.
pub fn check_adopted(source: &KafkaSource, sample: &Sample, place: Place, problems: &mut Problems) {
    if let Some(problem) = split(&keys(sample)) {
        let topic = source.topic.as_str();
        problems.add(
            place,
            format!("`partitions: adopt` is for producers that leave keys where they are: topic {topic}: {problem}"),
        );
    }
}

/// The last committed messages with a payload, by partition.
fn read(source: &KafkaSource, partitions: u32) -> Result<BTreeMap<u32, Messages>, String> {
    let mut config = properties::asking(&source.brokers, &source.properties);
    // It is a member of no group: partitions are assigned here, and nothing is committed.
    config.set("group.id", source.group.as_str()).set("enable.auto.commit", "false");
    config
        .set("enable.partition.eof", "true")
        .set("isolation.level", "read_committed")
        .set("auto.offset.reset", "error");
    let consumer: BaseConsumer<Door> =
        config.create_with_context(Door::default()).map_err(|error| properties::refused(error).to_string())?;
    let until = Instant::now() + PATIENCE;
    let (mut list, mut ends) = (TopicPartitionList::new(), BTreeMap::new());
    for partition in 0..i32::try_from(partitions).unwrap_or(i32::MAX) {
        if Instant::now() > until {
            break;
        }
        let (start, end) =
            consumer.fetch_watermarks(&source.topic, partition, REQUEST).map_err(|error| error.to_string())?;
        if start < end {
            let from = Offset::Offset(start.max(end - EACH));
            list.add_partition_offset(&source.topic, partition, from).map_err(|error| error.to_string())?;
            ends.insert(partition, end);
        }
    }
    consumer.assign(&list).map_err(|error| error.to_string())?;
    let (mut sample, mut left) = (BTreeMap::<u32, Messages>::new(), MOST);
    while !ends.is_empty() && Instant::now() < until && left.0 > 0 && left.1 > 0 {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                let partition = message.partition();
                if message.offset() + 1 >= ends.get(&partition).copied().unwrap_or(0) {
                    ends.remove(&partition);
                }
                if let (Some(payload), Ok(partition)) = (message.payload(), u32::try_from(partition)) {
                    let messages = sample.entry(partition).or_insert_with(|| Messages::of(&source.topic, partition));
                    let timestamp = message.timestamp().to_millis().unwrap_or(-1);
                    messages.push(message.offset(), timestamp, message.key(), Some(payload));
                    messages.headers.extend(headers::Read::new(false, source.encoding.has_schemas()).of(&message));
                    left = (left.0 - 1, left.1.saturating_sub(payload.len()));
                }
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                ends.remove(&partition);
            }
            // librdkafka tries again; a partition that can't be read now isn't looked at.
            Some(Err(_)) | None => {}
        }
    }
    Ok(sample)
}

/// The keys of messages; those that can't be decoded have none.
fn keys(sample: &Sample) -> Seen {
    let mut seen = Seen::new();
    for (partition, (_, decoded)) in &sample.partitions {
        let decoded = &decoded.records;
        let bad: BTreeSet<usize> = decoded.bad.iter().map(|(index, _)| *index).collect();
        for index in (0..decoded.len()).filter(|index| !bad.contains(index)) {
            match seen.get_mut(decoded.key(index)) {
                Some(partitions) => {
                    partitions.insert(*partition);
                }
                None => {
                    seen.insert(decoded.key(index).to_vec(), BTreeSet::from([*partition]));
                }
            }
        }
    }
    seen
}

/// Says which key is in more than one partition, if any is.
fn split(seen: &Seen) -> Option<String> {
    let mut split = seen.iter().filter(|(_, partitions)| partitions.len() > 1);
    let (key, partitions) = split.next()?;
    let key: String = printable(&String::from_utf8_lossy(key)).chars().take(100).collect();
    let shown: Vec<String> = partitions.iter().map(u32::to_string).collect();
    Some(format!(
        "the topic is not partitioned by the record's key: \"{key}\" is in partitions {} ({} of {} keys in the last \
         messages are in more than \
         one), and each would keep a state of its own; have it written with this key as the message's key, or read \
         another topic",
        shown.join(", "),
        1 + split.count(),
        seen.len()
    ))
}

/// Says that most keys are not where Java's partitioner puts them, if that is so.
fn elsewhere(seen: &Seen, partitions: u32) -> Option<String> {
    let at_home = |(key, found): &(&Vec<u8>, &BTreeSet<u32>)| {
        found.contains(&((murmur2(key) & 0x7fff_ffff).checked_rem(partitions).unwrap_or(0)))
    };
    let there = seen.iter().filter(at_home).count();
    (seen.len() >= FEW && there * 2 < seen.len()).then(|| {
        format!(
            "of {} keys in its last messages only {there} are where Java's partitioner puts them by the key's text \
             (murmur2): \
             `partitioned_by: key` holds only if another partitioner sends all messages of a key to one partition. If \
             it is round robin, \
             or goes by another field, results are wrong",
            seen.len()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(keys: usize, partition: impl Fn(&[u8]) -> u32) -> Seen {
        let keys = (0..keys).map(|key| format!("key-{key}").into_bytes());
        keys.map(|key| (partition(&key), key)).map(|(partition, key)| (key, BTreeSet::from([partition]))).collect()
    }

    fn java(key: &[u8]) -> u32 {
        (murmur2(key) & 0x7fff_ffff) % 4
    }

    #[test]
    fn keys_where_java_puts_them_are_no_news() {
        assert_eq!(elsewhere(&seen(40, java), 4), None);
        assert_eq!(split(&seen(40, java)), None);
    }

    #[test]
    fn another_partitioner_is_told_of_where_there_are_enough_keys() {
        let other = |key: &[u8]| (java(key) + 1) % 4;
        let warning = elsewhere(&seen(40, other), 4).unwrap();
        assert!(warning.starts_with("of 40 keys in its last messages only 0 are where"), "{warning}");
        assert_eq!(elsewhere(&seen(FEW - 1, other), 4), None);
        assert_eq!(split(&seen(40, other)), None);
    }

    #[test]
    fn one_key_in_two_partitions_is_enough() {
        let mut seen = seen(40, java);
        seen.insert(b"a\nb".to_vec(), BTreeSet::from([1, 3]));
        let problem = split(&seen).unwrap();
        assert!(problem.contains("is in partitions 1, 3 (1 of 41 keys"), "{problem}");
        assert!(!problem.contains('\n'));
    }
}
