//! What can be known of the topics before anything starts, and everything that is wrong with them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::RDKafkaErrorCode;

use super::{describe, properties};
use crate::config::{At, DeadLetters, KafkaSource, Pipeline, Place, Problems, Properties, Sink};
use crate::format::{self, PlannedDecoder};
use crate::runtime::stream::History;
use crate::state::block_on;

/// How long a broker may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Kafka's default of `max.message.bytes`.
const DEFAULT_LONGEST: usize = 1_048_588;

/// A Kafka source whose topics were found.
pub struct Planned {
    /// How its messages are decoded, and into which columns.
    pub decoder: PlannedDecoder,
    /// Partitions of the topic.
    pub partitions: u32,
    /// The id of the topic.
    pub topic_id: String,
    /// Bytes that the topics written to take of a message.
    pub longest: usize,
    /// What a partition's state begins with.
    pub history: Option<Arc<History>>,
    /// What is no problem yet and may become one.
    pub warnings: Vec<String>,
}

/// Asks the brokers for the topics of a pipeline and plans the source's format; `fields` as for
/// [`format::plan_decoder`]. Adds what is wrong to `problems`, and returns `None` if that is anything.
pub fn plan(
    pipeline: &Pipeline,
    source: &KafkaSource,
    fields: &[At<String>],
    problems: &mut Problems,
) -> Option<Planned> {
    let decoder = format::plan_decoder(pipeline, fields, problems);
    let mut warnings = Vec::new();
    let read = Asker::new(&source.brokers, &source.properties, problems)
        .and_then(|asker| asker.topic(&source.topic, problems).map(|topic| (asker, topic)));
    let mut longest = DEFAULT_LONGEST;
    for (brokers, properties, topic) in written(pipeline, source) {
        let found = Asker::new(brokers, properties, problems).and_then(|asker| asker.topic(topic, problems));
        longest = longest.min(found?.number("max.message.bytes").unwrap_or(DEFAULT_LONGEST));
    }
    let (asker, topic) = read?;
    warn(pipeline, source, &topic, &mut warnings);
    let topic_id = asker.topic_id(&source.topic, problems);
    let (decoder, topic_id) = (decoder?, topic_id?);
    let history = History::plan(pipeline, source, fields, (&decoder.layout, topic.partitions), problems).map(Arc::new);
    if history.is_none() && source.history.is_some() {
        return None;
    }
    Some(Planned { decoder, history, partitions: topic.partitions, topic_id, longest, warnings })
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

fn warn(pipeline: &Pipeline, source: &KafkaSource, topic: &Topic, warnings: &mut Vec<String>) {
    let name = source.topic.as_str();
    if topic.configs.get("cleanup.policy").is_some_and(|policy| policy.contains("compact")) {
        warnings.push(format!(
            "topic {name} is compacted: what is removed between a checkpoint and a restart can't be replayed, and the start is then \
             refused; keep checkpoints close (state.checkpoint_every) or read a topic without compaction"
        ));
    }
    let every = u64::try_from(pipeline.state.checkpoint_every.as_millis()).unwrap_or(u64::MAX);
    if topic
        .number("retention.ms")
        .is_some_and(|millis: i64| u64::try_from(millis).is_ok_and(|ms| ms < every.saturating_mul(10)))
    {
        warnings.push(format!(
            "topic {name} keeps its records for less than ten times state.checkpoint_every: after a longer stop the state can't be continued"
        ));
    }
}

/// A topic as the brokers describe it.
struct Topic {
    partitions: u32,
    configs: BTreeMap<String, String>,
}

impl Topic {
    fn number<N: std::str::FromStr>(&self, name: &str) -> Option<N> {
        self.configs.get(name)?.parse().ok()
    }
}

/// A client that asks, and the place that its brokers were named at.
struct Asker {
    client: AdminClient<DefaultClientContext>,
    brokers: String,
    place: Place,
}

impl Asker {
    fn new(brokers: &At<String>, properties: &Properties, problems: &mut Problems) -> Option<Asker> {
        match properties::asking(brokers, properties).create() {
            Ok(client) => Some(Asker { client, brokers: brokers.value.clone(), place: brokers.place }),
            Err(error) => {
                problems.add(brokers.place, properties::refused(error));
                None
            }
        }
    }

    fn topic(&self, name: &At<String>, problems: &mut Problems) -> Option<Topic> {
        let metadata = match self.client.inner().fetch_metadata(Some(name), PATIENCE) {
            Ok(metadata) => metadata,
            Err(error) => {
                problems.add(
                    self.place,
                    format!("no broker answers at {} within {} s: {error}", self.brokers, PATIENCE.as_secs()),
                );
                return None;
            }
        };
        let topic = metadata.topics().iter().find(|topic| topic.name() == name.value)?;
        if let Some(error) = topic.error() {
            problems.add(name.place, why_not(name, error.into()));
            return None;
        }
        let partitions = u32::try_from(topic.partitions().len()).unwrap_or(0);
        Some(Topic { partitions, configs: self.configs(name) })
    }

    /// The id of a topic that is there. State belongs to an id, so none is made up: a broker that just goes is asked again.
    fn topic_id(&self, name: &At<String>, problems: &mut Problems) -> Option<String> {
        let until = Instant::now() + PATIENCE;
        loop {
            match describe::topic_id(self.client.inner(), name, PATIENCE) {
                Ok(id) => return Some(id),
                Err(_) if Instant::now() < until => std::thread::sleep(PATIENCE / 50),
                Err(error) => {
                    problems.add(
                        self.place,
                        format!(
                            "no broker answers at {} with the id of topic \"{}\": {error}",
                            self.brokers, name.value
                        ),
                    );
                    return None;
                }
            }
        }
    }

    /// What the broker tells of a topic's settings; nothing where it may not be asked.
    fn configs(&self, name: &str) -> BTreeMap<String, String> {
        let options = AdminOptions::new().request_timeout(Some(PATIENCE));
        let asked = block_on(self.client.describe_configs(&[ResourceSpecifier::Topic(name)], &options));
        let resource =
            asked.ok().and_then(Result::ok).and_then(|resources| resources.into_iter().next()).and_then(Result::ok);
        let entries = resource.map(|resource| resource.entries).unwrap_or_default();
        entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?))).collect()
    }
}

fn why_not(name: &str, code: RDKafkaErrorCode) -> String {
    match code {
        RDKafkaErrorCode::UnknownTopicOrPartition => {
            format!(
                "there is no topic \"{name}\": create it first (kafka-topics.sh --create --topic {name} --partitions N)"
            )
        }
        RDKafkaErrorCode::TopicAuthorizationFailed => format!("not authorised for topic \"{name}\""),
        RDKafkaErrorCode::InvalidTopic => format!("\"{name}\" can't be the name of a topic"),
        other => format!("topic \"{name}\": {other}"),
    }
}
