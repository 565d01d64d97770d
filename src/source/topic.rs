//! What can be known of the topics before anything starts, and everything that is wrong with them.

use std::sync::Arc;

use super::History;
use chrono::Utc;

use crate::config::{
    At, DeadLetters, KafkaSource, Moment, OnPartitions, Pipeline, Properties, Sink, Stamp, Topics, Until,
};
use crate::error::Problems;
use crate::format::{self, PlannedDecoder};
use crate::kafka::sample::{Sample, check as check_keys, check_adopted};
use crate::kafka::{Admin, FoundTopic, Right, SEND, Subscription, TAKE, identity};
use crate::record::SourceTopic;

/// Kafka's default of `max.message.bytes`.
const DEFAULT_LONGEST: usize = 1_048_588;

/// The id of topics of brokers that give none.
const NO_ID: &str = "AAAAAAAAAAAAAAAAAAAAAA";
/// Topics whose last messages are looked at, of a source of more.
const SAMPLED: usize = 8;

/// A Kafka source whose topics were found.
pub struct PlannedTopic {
    /// How its messages are decoded, and into which columns.
    pub decoder: PlannedDecoder,
    /// The topics that are read.
    pub topics: Arc<Subscription>,
    /// The same, where there may be several, with their partitions.
    pub found: Vec<(SourceTopic, u32)>,
    /// Partitions of all of them.
    pub partitions: u32,
    /// The id of the topic, where it is the only one.
    pub topic_id: String,
    /// Bytes that the topics written to take of a message.
    pub longest: usize,
    /// What a partition's state begins with.
    pub history: Option<Arc<History>>,
    /// What isn't a problem yet and may become one.
    pub warnings: Vec<String>,
    /// What could not be looked at, without being wrong.
    pub notes: Vec<String>,
}

/// One of the topics, as a source of its own.
struct One {
    source: KafkaSource,
    topic: FoundTopic,
    id: String,
}

/// Asks the brokers for the topics of a pipeline and plans the source's format; `fields` as for
/// [`format::plan_decoder`]. What is only read, without a group, needs no rights of a group and no topics to write to.
/// Adds every problem to `problems`, and returns `None` if there is one.
pub fn plan(
    pipeline: &Pipeline,
    source: &KafkaSource,
    fields: &[At<String>],
    only_read: bool,
    problems: &mut Problems,
) -> Option<PlannedTopic> {
    let decoder = format::plan_decoder(pipeline, fields, problems);
    let mut warnings = Vec::new();
    let mut notes: Vec<String> = decoder.iter().flat_map(|decoder| decoder.notes.clone()).collect();
    let admin = Admin::new(&source.brokers, &source.properties, problems)?;
    let sources = each(source, &admin, problems);
    let read: Option<Vec<(KafkaSource, FoundTopic)>> = sources.and_then(|sources| {
        let find = |one: KafkaSource| Some((admin.topic(&one.topic, Right::Read, TAKE, problems), one));
        let found: Vec<_> = sources.into_iter().filter_map(find).collect();
        found.into_iter().map(|(topic, one)| Some((one, topic?))).collect()
    });
    if read.is_some() && !only_read {
        admin.group(source, &mut warnings, problems);
    }
    let longest = match only_read {
        true => Some(DEFAULT_LONGEST),
        false => find_written(pipeline, (source, &admin), &mut warnings, problems),
    };
    let read = read?;
    for (one, topic) in read.iter().filter(|_| !only_read) {
        warn(pipeline, one, topic, &mut warnings);
    }
    let with_id = |(source, topic): (KafkaSource, FoundTopic)| {
        let id = admin.id_of(&topic, &source.topic, problems)?;
        Some(One { source, topic, id })
    };
    let found: Option<Vec<One>> = read.into_iter().map(with_id).collect();
    let (decoder, found, longest) = (decoder?, found?, longest?);
    if let Some(idle) = source.idle.as_ref().filter(|_| decoder.layout.clock.nanos_per_tick.is_none()) {
        problems.add(idle.place, "`idle` needs times of a clock: the time column has steps, which no clock moves on");
        return None;
    }
    if let Some(Sink::Kafka(sink)) = pipeline.sink.as_ref().map(|sink| &sink.value)
        && sink.timestamp.value == Stamp::Record
        && decoder.layout.clock.nanos_per_tick.is_none()
    {
        problems.add(sink.timestamp.place, "`timestamp: record` needs times of a clock: the time column has steps");
        return None;
    }
    if let Some(At { value: Until::At(Moment::Instant(at)), place }) = &source.until
        && *at > Utc::now()
    {
        problems.add(*place, "`until` is in the future: a bounded run reads what is there (`end`, `now`, or a time)");
        return None;
    }
    if found.is_empty() {
        notes.push(format!("no topic matches {} yet: it is read when it is there", source.topic.value));
    }
    for one in found.iter().take(SAMPLED) {
        look(pipeline, one, &decoder, (&mut warnings, &mut notes), problems);
    }
    if found.len() > SAMPLED {
        notes.push(format!("the last messages of {SAMPLED} of {} topics were looked at", found.len()));
    }
    let partitions = found.iter().map(|one| one.topic.partitions).sum();
    let history = History::plan(pipeline, source, fields, (&decoder.layout, partitions), problems).map(Arc::new);
    if history.is_none() && source.history.is_some() {
        return None;
    }
    warnings.extend(history.iter().flat_map(|history| history.notes().to_vec()));
    if let Some(topics) = source.topics.as_ref().filter(|_| found.iter().any(|one| one.id == NO_ID)) {
        problems.add(topics.place, "several topics need brokers that give topics an id: Kafka 2.8 or later");
        return None;
    }
    let (topics, topic_id, found) = match &source.topics {
        None => (Subscription::to_one(&source.topic), found.into_iter().next()?.id, Vec::new()),
        Some(_) => {
            let of = |one: &One| (SourceTopic::new(&one.source.topic, &one.id), one.topic.partitions);
            let found: Vec<(SourceTopic, u32)> = found.iter().map(of).collect();
            (Subscription::to_several(found.iter().map(|(topic, _)| *topic)), String::new(), found)
        }
    };
    let topics = Arc::new(topics);
    Some(PlannedTopic { topics, decoder, history, found, partitions, topic_id, longest, warnings, notes })
}

/// The same without asking anybody but a schema registry: of one partition, without an id. Only for who doesn't read.
pub fn unasked(
    pipeline: &Pipeline,
    source: &KafkaSource,
    fields: &[At<String>],
    problems: &mut Problems,
) -> Option<PlannedTopic> {
    let decoder = format::plan_decoder(pipeline, fields, problems)?;
    Some(PlannedTopic {
        decoder,
        topics: Arc::new(Subscription::to_one(&source.topic)),
        found: Vec::new(),
        partitions: 1,
        topic_id: String::new(),
        longest: DEFAULT_LONGEST,
        history: None,
        warnings: Vec::new(),
        notes: Vec::new(),
    })
}

/// Each topic as a source of its own. `None`: the brokers don't say which there are.
fn each(source: &KafkaSource, admin: &Admin, problems: &mut Problems) -> Option<Vec<KafkaSource>> {
    let names = match source.topics.as_ref().map(|topics| (&topics.value, topics.place)) {
        None => vec![source.topic.clone()],
        Some((Topics::List(names), _)) => names.clone(),
        Some((Topics::Matching(pattern), place)) => {
            let mut names = admin.names(problems)?;
            names.retain(|name| pattern.matches(name));
            names.sort();
            names.into_iter().map(|value| At { value, place }).collect()
        }
    };
    Some(names.into_iter().map(|topic| source.of_topic(topic)).collect())
}

/// Looks at the last messages of a topic.
fn look(
    pipeline: &Pipeline,
    One { source, topic, .. }: &One,
    decoder: &PlannedDecoder,
    (warnings, notes): (&mut Vec<String>, &mut Vec<String>),
    problems: &mut Problems,
) {
    if topic.is_denied {
        return;
    }
    let adopts = pipeline.on.partitions.value == OnPartitions::Adopt;
    match Sample::take(source, topic.partitions, decoder) {
        Ok(sample) if sample.messages() == 0 => notes.push(format!(
            "topic {} has no messages yet: its keys, times and columns could not be looked at",
            *source.topic
        )),
        Ok(sample) => {
            if source.partitioned_by_key.value || source.encoding.key_format.has_schema() {
                check_keys(source, topic.partitions, &sample, warnings, problems);
            } else if adopts {
                check_adopted(source, &sample, pipeline.on.partitions.place, problems);
            }
            warnings.extend(super::sample::of_topic(pipeline, source, &decoder.layout, &sample));
        }
        Err(why) if source.partitioned_by_key.value => {
            warnings.push(format!("`partitioned_by: key` could not be verified on topic {}: {why}", *source.topic))
        }
        Err(why) => warnings.push(format!("topic {}: its last messages could not be looked at: {why}", *source.topic)),
    }
}

/// Finds the topics that a pipeline writes to. Gives the bytes that all of them take of a message.
fn find_written(
    pipeline: &Pipeline,
    (source, admin): (&KafkaSource, &Admin),
    warnings: &mut Vec<String>,
    problems: &mut Problems,
) -> Option<usize> {
    let mut longest = Some(DEFAULT_LONGEST);
    for (brokers, properties, name) in written(pipeline, source) {
        let same = brokers.value == source.brokers.value && identity(properties) == identity(&source.properties);
        let found = if same {
            admin.topic(name, Right::Write, SEND, problems)
        } else {
            let other = Admin::new(brokers, properties, problems);
            other.and_then(|other| other.topic(name, Right::Write, SEND, problems))
        };
        let takes = found.as_ref().map(|topic| topic.number("max.message.bytes").unwrap_or(DEFAULT_LONGEST));
        longest = longest.zip(takes).map(|(a, b)| a.min(b));
        warnings.extend(found.map(|topic| topic.warnings).unwrap_or_default());
    }
    longest
}

/// The topics that a pipeline writes to.
fn written<'a>(
    pipeline: &'a Pipeline,
    source: &'a KafkaSource,
) -> Vec<(&'a At<String>, &'a Properties, &'a At<String>)> {
    let mut topics = Vec::new();
    let mut brokers = (&source.brokers, &source.properties);
    if let Some(Sink::Kafka(sink)) = pipeline.sink.as_ref().map(|sink| &sink.value) {
        brokers = (&sink.brokers, &sink.properties);
        topics.push((brokers.0, brokers.1, &sink.topic));
    }
    if let DeadLetters::Kafka(topic) = &pipeline.dead_letters.value {
        topics.push((brokers.0, brokers.1, topic));
    }
    topics
}

fn warn(pipeline: &Pipeline, source: &KafkaSource, topic: &FoundTopic, warnings: &mut Vec<String>) {
    let name = source.topic.as_str();
    warnings.extend(topic.warnings.iter().cloned());
    if topic.configs.get("cleanup.policy").is_some_and(|policy| policy.contains("compact")) {
        warnings.push(format!(
            "topic {name} is compacted: records that are removed between a checkpoint and a restart can't be \
             replayed, and the start is then \
             refused; keep checkpoints close (state.checkpoint_every) or read a topic without compaction"
        ));
    }
    let every = u64::try_from(pipeline.state.checkpoint_every.as_millis()).unwrap_or(u64::MAX);
    if topic
        .number("retention.ms")
        .is_some_and(|millis: i64| u64::try_from(millis).is_ok_and(|ms| ms < every.saturating_mul(10)))
    {
        warnings.push(format!(
            "topic {name} keeps its records for less than ten times state.checkpoint_every: after a longer stop the \
             state can't be continued"
        ));
    }
}
