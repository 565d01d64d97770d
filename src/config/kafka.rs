//! The types of everything about Kafka in the pipeline file; `docs/pipeline.md` says what the words mean.

use std::time::Duration;

use super::topics::Topics;
use super::words::word_of;
use super::{At, Envelope, Format, Location, Metadata, Moment, Numbers, Pin, Secret, one_line};

/// `source.kafka: { brokers, topic, group, format, key, … }`
#[derive(Debug, Clone)]
pub struct KafkaSource {
    /// Addresses of brokers, `host:port` separated by commas.
    pub brokers: At<String>,
    /// The topic; with `topics`, their names for people.
    pub topic: At<String>,
    /// Where there are several, or those that a pattern matches.
    pub topics: Option<At<Topics>>,
    /// The consumer group; the pipeline's name by default.
    pub group: At<String>,
    /// How its messages become records.
    pub encoding: Encoding,
    /// Where the group begins when it has no offsets yet.
    pub start: At<Start>,
    /// Where a bounded run ends; `None`: it goes on until a signal.
    pub until: Option<At<Until>>,
    /// `partitioned_by: key`: the user states that all messages of a record's key are in one partition. Needed if the
    /// record's key is not the message's.
    pub partitioned_by_key: At<bool>,
    /// If a partition has no messages for this long, the clock advances its time; `None`: never.
    pub idle: Option<At<Duration>>,
    /// Records from before the topic, to build the first state.
    pub history: Option<History>,
    /// Further properties of librdkafka, in order.
    pub properties: Properties,
}

/// `format`, `key`, `timestamp`, `metadata`, `columns`: how messages become records.
#[derive(Debug, Clone, PartialEq)]
pub struct Encoding {
    /// How payloads are written.
    pub format: At<Format>,
    /// The schema that decides what is read; the subject's newest by default.
    pub schema: Option<At<Pin>>,
    /// Name of the column that the message's key becomes; `None`: the key is not read.
    pub key: Option<At<String>>,
    /// How that key is written.
    pub key_format: KeyFormat,
    /// The field of a key with a schema that is the key, if it has several.
    pub key_field: Option<At<String>>,
    /// Name of the column that the message's timestamp becomes (milliseconds, UTC); `None`: it is not read.
    pub timestamp: Option<At<String>>,
    /// Columns with what else there is about a message.
    pub metadata: Metadata,
    /// Types of the columns other than key, time and values, for formats without types (JSON); text by default.
    pub columns: Vec<(At<String>, ColumnType)>,
    /// What is around the record in a payload; `None`: nothing.
    pub envelope: Option<At<Envelope>>,
    /// How numbers are written in JSON.
    pub numbers: Numbers,
}

impl Encoding {
    /// Whether messages name schemas, in a payload or a header.
    pub fn has_schemas(&self) -> bool {
        matches!(self.format.value, Format::Avro(_) | Format::Protobuf(_))
    }
}

impl KafkaSource {
    /// The protocol that its group speaks: `group.protocol` among the properties.
    pub fn protocol(&self) -> GroupProtocol {
        match self.properties.get(GROUP_PROTOCOL).map(Secret::reveal) {
            Some("consumer") => GroupProtocol::Consumer,
            _ => GroupProtocol::Classic,
        }
    }
}

/// The property that says which protocol a group speaks.
pub(super) const GROUP_PROTOCOL: &str = "group.protocol";

/// How the members of a group share partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupProtocol {
    /// Members agree among themselves.
    Classic,
    /// The brokers decide (KIP-848).
    Consumer,
}

/// `source.dead_letters: { path, format, key, timestamp, columns }`: replays rejected messages from dead-letter files.
#[derive(Debug, Clone, PartialEq)]
pub struct LettersSource {
    /// File, folder, glob or URL.
    pub path: At<Location>,
    /// How their messages become records.
    pub encoding: Encoding,
}

/// `history: { path, until }`: Parquet files with the same columns, from which a partition's state is built before its
/// first message.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    /// File, folder, glob or URL.
    pub path: At<Location>,
    /// Records at or after it are not read: they are in the topic.
    pub until: Option<At<Moment>>,
}

/// `sink.kafka: { brokers, topic, format, fields, headers, properties, registry, … }`
#[derive(Debug, Clone)]
pub struct KafkaSink {
    /// Addresses of brokers; those of the source by default.
    pub brokers: At<String>,
    /// The topic.
    pub topic: At<String>,
    /// How payloads are written.
    pub format: At<Format>,
    /// Further columns of the record that are written.
    pub fields: Vec<At<String>>,
    /// Which headers of the input message are copied to its output.
    pub headers: Headers,
    /// The timestamp of an output.
    pub timestamp: At<Stamp>,
    /// Further properties of librdkafka, in order.
    pub properties: Properties,
}

/// Properties of librdkafka as written; values may be secrets.
#[derive(Clone, Default, PartialEq)]
pub struct Properties(pub Vec<(At<String>, At<Secret>)>);

impl Properties {
    /// A property that was written.
    pub fn get(&self, name: &str) -> Option<&Secret> {
        self.0.iter().find(|(written, _)| written.value == name).map(|(_, value)| &value.value)
    }
}

/// Names only.
impl std::fmt::Debug for Properties {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| &name.value)).finish()
    }
}

/// `start:`
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Start {
    /// At the oldest message.
    #[default]
    Earliest,
    /// After the newest message.
    Latest,
    /// At the first message with this timestamp or a later one.
    At(Moment),
}

/// `until:`, and `--until`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Until {
    /// At what can be read when a process starts.
    End,
    /// At the first message that is as new as the start of the process.
    Now,
    /// At the first message with this timestamp or a later one.
    At(Moment),
}

impl Until {
    /// Reads `end`, `now` or a moment.
    ///
    /// # Errors
    /// What was expected instead, for the user.
    pub fn parse(text: &str) -> Result<Until, String> {
        match (text.trim(), Moment::parse(text)) {
            ("end", _) => Ok(Until::End),
            ("now", _) => Ok(Until::Now),
            (_, Ok(at @ Moment::Instant(_))) => Ok(Until::At(at)),
            _ => Err(format!("expected end, now or a time (2014-01-31T12:00:00Z), found \"{}\"", one_line(text))),
        }
    }
}

/// `headers:`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Headers {
    /// None.
    #[default]
    None,
    /// All of them.
    All,
    /// Those with these names.
    Named(Vec<String>),
}

impl Headers {
    /// Whether a header with this name is copied.
    pub fn has(&self, name: &str) -> bool {
        match self {
            Headers::None => false,
            Headers::All => true,
            Headers::Named(names) => names.iter().any(|named| named == name),
        }
    }
}

/// `timestamp:` of a sink
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stamp {
    /// The clock when it is sent.
    #[default]
    Now,
    /// The time of the row.
    Record,
}

/// The words of a sink's `timestamp`.
pub(super) const STAMPS: [(&str, Stamp); 2] = [("now", Stamp::Now), ("record", Stamp::Record)];

/// Type of a column of a format that has no types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ColumnType {
    String,
    Float64,
    Int64,
    Boolean,
}

/// `key: { format }`: how the keys of messages are written. Within kolk a key is text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyFormat {
    /// `text`: in UTF-8.
    #[default]
    Text,
    /// `int`: 4 bytes, big-endian, with a sign.
    Int,
    /// `long`: 8 bytes, big-endian, with a sign.
    Long,
    /// `bytes`: any; as text they are hexadecimal.
    Bytes,
    /// `json`: one value; a string without its quotes.
    Json,
    /// `avro`: one value in Confluent's wire format, with a schema of the payloads' registry.
    Avro,
    /// `protobuf`: the same in Protobuf.
    Protobuf,
}

/// Its words.
pub(super) const KEY_FORMATS: [(&str, KeyFormat); 7] = [
    ("text", KeyFormat::Text),
    ("int", KeyFormat::Int),
    ("long", KeyFormat::Long),
    ("bytes", KeyFormat::Bytes),
    ("json", KeyFormat::Json),
    ("avro", KeyFormat::Avro),
    ("protobuf", KeyFormat::Protobuf),
];

impl KeyFormat {
    /// Whether keys have schemas. Their bytes then hold more than the key.
    pub fn has_schema(self) -> bool {
        matches!(self, KeyFormat::Avro | KeyFormat::Protobuf)
    }

    /// Its word in the pipeline file.
    pub fn word(self) -> &'static str {
        word_of(&KEY_FORMATS, self)
    }
}

/// The words of `columns:`.
pub(super) const COLUMN_TYPES: [(&str, ColumnType); 4] = [
    ("string", ColumnType::String),
    ("float64", ColumnType::Float64),
    ("int64", ColumnType::Int64),
    ("boolean", ColumnType::Boolean),
];

impl ColumnType {
    /// Its word in the pipeline file.
    pub fn word(self) -> &'static str {
        word_of(&COLUMN_TYPES, self)
    }
}

/// `runtime.delivery`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Delivery {
    /// Outputs and offsets in one transaction.
    #[default]
    ExactlyOnce,
    /// Outputs at once, offsets after them: a crash repeats some.
    AtLeastOnce,
}

/// `dead_letters:`
#[derive(Debug, Clone, PartialEq)]
pub enum DeadLetters {
    /// `parquet: { path }`
    Parquet(At<Location>),
    /// `kafka: { topic }`, on the brokers of the sink or, without a Kafka sink, of the source.
    Kafka(At<String>),
}

impl Default for DeadLetters {
    fn default() -> Self {
        DeadLetters::Parquet(At::default())
    }
}

impl DeadLetters {
    /// The folder, if it is one.
    pub fn folder(&self) -> Option<&At<Location>> {
        match self {
            DeadLetters::Parquet(path) => Some(path),
            DeadLetters::Kafka(_) => None,
        }
    }
}
