//! The admin client: asks for topics, groups and rights, and why access is refused.

use std::cell::{Cell, OnceCell};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;

use super::acl::{JOIN, On, Right, missing};
use super::context::Door;
use super::describe::{self, Asked, Described, Silence};
use super::listeners::Unreachable;
use super::properties;
use crate::config::{At, KafkaSource, Properties};
use crate::error::Problems;
use crate::problem::Place;
use crate::storage::block_on;

/// How long a broker may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait before looking for the reason of a missing answer.
const SLICE: Duration = Duration::from_secs(1);

/// A topic as the brokers describe it.
pub struct FoundTopic {
    /// How many partitions it has.
    pub partitions: u32,
    /// Settings; none where they may not be asked for.
    pub configs: BTreeMap<String, String>,
    /// What could not be found out or reached, and what follows from that.
    pub warnings: Vec<String>,
    /// Whether the right that it was looked for with is missing, which was reported.
    pub is_denied: bool,
    /// Its id and rights.
    described: Result<Described, Silence>,
}

impl FoundTopic {
    /// A setting that is a number.
    pub fn number<N: std::str::FromStr>(&self, name: &str) -> Option<N> {
        self.configs.get(name)?.parse().ok()
    }
}

/// The user of a client and the addresses of the brokers: with equal ones, the answers are the same.
pub fn identity(properties: &Properties) -> Vec<(&str, &str)> {
    const OF: [&str; 4] = ["security.", "sasl.", "ssl.", "enable.s"];
    let all = properties.0.iter().map(|(name, value)| (name.as_str(), value.reveal()));
    all.filter(|(name, _)| OF.iter().any(|prefix| name.starts_with(prefix))).collect()
}

/// A client that asks, and the place that its brokers were named at.
pub struct Admin {
    consumer: BaseConsumer<Door>,
    config: ClientConfig,
    brokers: String,
    place: Place,
    /// Set when nothing answered: it is asked and reported once.
    silent: Cell<bool>,
    /// The advertised addresses that can't be reached; tried once.
    unreachable: OnceCell<Unreachable>,
}

impl Admin {
    /// Connects; adds every problem with the addresses and properties to `problems`.
    pub fn new(brokers: &At<String>, properties: &Properties, problems: &mut Problems) -> Option<Admin> {
        let config = properties::asking(brokers, properties);
        match config.create_with_context(Door::default()) {
            Ok(consumer) => {
                let (brokers, place) = (brokers.value.clone(), brokers.place);
                Some(Admin { consumer, config, brokers, place, silent: Cell::new(false), unreachable: OnceCell::new() })
            }
            Err(error) => {
                problems.add(brokers.place, properties::refused(error));
                None
            }
        }
    }

    /// Finds a topic that `right` is needed on.
    pub fn topic(
        &self,
        name: &At<String>,
        right: Right,
        what_for: &str,
        problems: &mut Problems,
    ) -> Option<FoundTopic> {
        if self.silent.get() {
            return None;
        }
        let answered = self.metadata(Some(name)).and_then(|metadata| {
            let unreachable = self.unreachable.get_or_init(|| Unreachable::of(&metadata));
            unreachable.all(&metadata, &self.brokers).map_or(Ok((metadata, unreachable)), Err)
        });
        let (metadata, unreachable) = match answered {
            Ok(answered) => answered,
            Err(why) => {
                self.silent.set(true);
                problems.add(self.place, why);
                return None;
            }
        };
        let topic = metadata.topics().iter().find(|topic| topic.name() == name.value)?;
        let denied = || missing(right, On::Topic(name), what_for);
        if let Some(error) = topic.error() {
            let code: RDKafkaErrorCode = error.into();
            let is_denied = code == RDKafkaErrorCode::TopicAuthorizationFailed;
            problems.add(name.place, if is_denied { denied() } else { why_not(name, code) });
            return None;
        }
        let described = self.describe(name);
        let is_denied = described.as_ref().is_ok_and(|described| described.rights.lacks(right));
        if is_denied {
            problems.add(name.place, denied());
        }
        let unseen = described.as_ref().is_ok_and(|described| described.rights.lacks(Right::DescribeConfigs));
        let mut warnings = Vec::from_iter(unreachable.leaders(&metadata, name));
        if unseen {
            let see = "see its settings; kolk can't warn about them, and assumes 1 MiB for max.message.bytes";
            warnings.push(missing(Right::DescribeConfigs, On::Topic(name), see));
        }
        let configs = if unseen { BTreeMap::new() } else { self.configs(name) };
        let partitions = u32::try_from(topic.partitions().len()).unwrap_or(0);
        Some(FoundTopic { partitions, configs, warnings, is_denied, described })
    }

    /// The names of all topics that the user may see.
    pub fn names(&self, problems: &mut Problems) -> Option<Vec<String>> {
        match self.metadata(None) {
            Ok(metadata) => Some(metadata.topics().iter().map(|topic| topic.name().to_string()).collect()),
            Err(why) => {
                self.silent.set(true);
                problems.add(self.place, why);
                None
            }
        }
    }

    /// The id of a topic that was found. State belongs to an id, so none is made up.
    pub fn id_of(&self, topic: &FoundTopic, name: &str, problems: &mut Problems) -> Option<String> {
        match &topic.described {
            Ok(described) => Some(described.id.clone()),
            Err(silence) => {
                let brokers = &self.brokers;
                problems.add(
                    self.place,
                    format!("no broker answers at {brokers} with the id of topic \"{name}\": {}", silence.text),
                );
                None
            }
        }
    }

    /// Whether the right is there to be a member of the source's group, a problem where not; and whether its members
    /// let kolk in. Those may leave before it starts, or while it runs.
    pub fn group(&self, source: &KafkaSource, warnings: &mut Vec<String>, problems: &mut Problems) {
        let denied = match describe::group(self.consumer.client(), &source.group, PATIENCE) {
            Ok(members) => {
                warnings.extend(members.keep_out(&source.group, source.protocol()));
                members.rights.lacks(Right::Read)
            }
            Err(silence) => silence.code == Some(RDKafkaErrorCode::GroupAuthorizationFailed),
        };
        if denied {
            let written = source.group.place != Place::default();
            let place = if written { source.group.place } else { source.topic.place };
            problems.add(place, missing(Right::Read, On::Group(&source.group), JOIN));
        }
    }

    /// The known partitions of a topic, or of all, or why none are known. If access is refused, it doesn't wait.
    fn metadata(&self, topic: Option<&str>) -> Result<Metadata, String> {
        let until = Instant::now() + PATIENCE;
        loop {
            let error = match self.consumer.fetch_metadata(topic, SLICE) {
                Ok(metadata) => return Ok(metadata),
                Err(error) => error,
            };
            // Errors are reported in the polls.
            while self.consumer.poll(Duration::from_millis(10)).is_some() {}
            if let Some(why) = self.consumer.context().turned_away(&self.brokers) {
                return Err(why);
            }
            if Instant::now() > until {
                return Err(self.silence(error));
            }
        }
    }

    fn silence(&self, error: KafkaError) -> String {
        let why = self.consumer.context().last().unwrap_or_else(|| error.to_string());
        let plain = self.config.get("security.protocol").is_none();
        let hint = if plain { "\nif they need TLS or a user: security.protocol in `properties`" } else { "" };
        format!("no broker answers at {} within {} s: {why}{hint}", self.brokers, PATIENCE.as_secs())
    }

    /// A broker that just goes is asked again.
    fn describe(&self, name: &str) -> Result<Described, Silence> {
        let until = Instant::now() + PATIENCE;
        loop {
            match describe::topic(self.consumer.client(), name, Asked::with_rights(PATIENCE)) {
                Err(_) if Instant::now() < until => std::thread::sleep(PATIENCE / 50),
                described => return described,
            }
        }
    }

    /// What the broker says of a topic's settings; nothing where it doesn't.
    fn configs(&self, name: &str) -> BTreeMap<String, String> {
        let client: Result<AdminClient<Door>, _> = self.config.create_with_context(Door::default());
        let Ok(client) = client else { return BTreeMap::new() };
        let options = AdminOptions::new().request_timeout(Some(PATIENCE));
        let asked = block_on(client.describe_configs(&[ResourceSpecifier::Topic(name)], &options));
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
        RDKafkaErrorCode::InvalidTopic => format!("\"{name}\" can't be the name of a topic"),
        other => format!("topic \"{name}\": {other}"),
    }
}
