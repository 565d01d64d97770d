//! The table of `source.kafka`, `source.dead_letters`, `sink.kafka`, and everything within them.

use std::rc::Rc;

use super::effective::{Written, value};
use super::kafka::{COLUMN_TYPES, KEY_FORMATS, STAMPS};
use super::payload::{ENVELOPES, NUMBERS};
use super::schemas_words::{FILE, FORMAT, READS_FORMAT};
use super::table::{Shape, Word, names, word};
use super::words::{Words, exactly_one};
use super::yaml::{Kind, Node};

const BROKERS: Word = word("brokers", Shape::Text, "Addresses of brokers, `host:port`, separated by commas");
const READS: Word = word(
    "format",
    Shape::Any(&[Shape::Word(&["json"]), Shape::Section(&READS_FORMAT)]),
    "The format of payloads: json, or avro or protobuf in Confluent's wire format",
)
.or("json");
const KEYS: Word = word(
    "key",
    Shape::Any(&[Shape::Text, Shape::Section(&KEY)]),
    "The message's key becomes a column of this name; it is not read by default",
);
const TIMESTAMP: Word = word(
    "timestamp",
    Shape::Text,
    "The message's timestamp becomes a column of this name, in milliseconds, UTC; it is not read by default",
);
const METADATA_COLUMNS: Word = word(
    "metadata",
    Shape::Section(&METADATA),
    "Columns with the topic, partition, offset or timestamp of the message",
);
const COLUMNS: Word = word(
    "columns",
    Shape::Names(&Shape::Word(&names(&COLUMN_TYPES))),
    "JSON: the types of columns other than key, time and values; text by default",
);
const ENVELOPE: Word =
    word("envelope", Shape::Word(&names(&ENVELOPES)), "What is around the record in a payload; nothing by default");
const NUMBERS_AS: Word = word(
    "numbers",
    Shape::Word(&names(&NUMBERS)),
    "JSON: whether numbers are also taken where they are written as text; json by default",
)
.or_from(|file| {
    let format = file.near(0, "format");
    format.is_none_or(|format| format.text() == Some("json")).then(|| value("json")).flatten()
});
const PROPERTIES: Word = word(
    "properties",
    Shape::Names(&Shape::Secret(&FILE)),
    "Other settings of librdkafka; a value may be `{ file: PATH }`. Those that exactly-once depends on can't be set",
);

pub(super) const SOURCE: Words = Words::new(
    "`kafka`",
    &[
        BROKERS.needed(),
        word("topic", Shape::Text, "One topic, which must exist"),
        word(
            "topics",
            Shape::Any(&[Shape::SomeTexts, Shape::Section(&TOPICS)]),
            "Several topics with the same schema, or all that a pattern matches; state is per key and topic",
        ),
        word("group", Shape::Text, "The consumer group; the pipeline's name by default")
            .or_from(|file| file.whole(&["name"]).cloned()),
        READS,
        KEYS,
        TIMESTAMP,
        METADATA_COLUMNS,
        word(
            "start",
            Shape::Any(&[Shape::Word(&["earliest", "latest"]), Shape::Moment]),
            "Where a group without committed offsets begins",
        )
        .or("earliest"),
        word(
            "until",
            Shape::Any(&[Shape::Word(&["end", "now"]), Shape::Moment]),
            "Where a bounded run ends: it reads up to there and exits with code 0; it has no end by default",
        ),
        word(
            "partitioned_by",
            Shape::Word(&["key"]),
            "States that all messages of a record's key are in one partition; needed if it is not the message's key",
        ),
        word("idle", Shape::Duration, "If a partition has no messages for this long, the clock moves its time on"),
        COLUMNS,
        ENVELOPE,
        NUMBERS_AS,
        word("history", Shape::Section(&HISTORY), "Parquet files from which a partition's first state is built"),
        PROPERTIES,
    ],
)
.choices(&[exactly_one(&["topic", "topics"])]);
pub(super) const TOPICS: Words = Words::new(
    "`topics`",
    &[word("matching", Shape::Text, "A pattern for the whole names of topics, in the syntax of RE2").needed()],
);
pub(super) const SINK: Words = Words::new(
    "`kafka`",
    &[
        word("brokers", BROKERS.shape, "Addresses of brokers; those of the source by default")
            .or_from(|file| file.whole(&["source", "kafka", "brokers"]).cloned()),
        word("topic", Shape::Text, "The topic").needed(),
        word(
            "format",
            Shape::Any(&[Shape::Word(&["json"]), Shape::Section(&FORMAT)]),
            "The format of payloads: json, or avro or protobuf in Confluent's wire format",
        )
        .or("json"),
        word("fields", Shape::Texts, "Further columns of the record to write").or("[]"),
        word(
            "headers",
            Shape::Any(&[Shape::Word(&["none", "all"]), Shape::SomeTexts]),
            "Which headers of the input message are copied to its output: none, all, or those with these names",
        )
        .or("none"),
        word(
            "timestamp",
            Shape::Word(&names(&STAMPS)),
            "The timestamp of an output: the clock when it is sent, or the time of its row",
        )
        .or("now"),
        word(
            "properties",
            PROPERTIES.shape,
            "Other settings of librdkafka; those of the source if neither `brokers` nor `properties` are given",
        )
        .or_from(properties_of_source),
    ],
);
pub(super) const LETTERS: Words = Words::new(
    "`source.dead_letters`",
    &[
        word("path", Shape::Path, "File, folder, glob or URL").needed(),
        READS,
        KEYS,
        TIMESTAMP,
        METADATA_COLUMNS,
        COLUMNS,
        ENVELOPE,
        NUMBERS_AS,
    ],
);
pub(super) const KEY: Words = Words::new(
    "`key`",
    &[
        word("column", Shape::Text, "The column").needed(),
        word("format", Shape::Word(&names(&KEY_FORMATS)), "How keys are written").or("text"),
        word("field", Shape::Text, "The field of a key that is a record of several"),
    ],
);
pub(super) const METADATA: Words = Words::new(
    "`metadata`",
    &[
        word("topic", Shape::Text, "The topic's name becomes a column of this name"),
        word("partition", Shape::Text, "The number of the partition becomes a column of this name"),
        word("offset", Shape::Text, "The message's offset becomes a column of this name"),
        word("timestamp", Shape::Text, "The same as `timestamp` beside `metadata`"),
    ],
);
pub(super) const HISTORY: Words = Words::new(
    "`history`",
    &[
        word("path", Shape::Path, "File, folder, glob or URL, with the same columns").needed(),
        word("until", Shape::Moment, "Records at or after it are not read: they are in the topic"),
    ],
);

/// Those of the source that a producer has too.
fn properties_of_source(file: &Written<'_>) -> Option<Node> {
    let properties = file.whole(&["source", "kafka", "properties"])?;
    let Kind::Map(pairs) = &properties.kind else { return None };
    if file.near(0, "brokers").is_some() {
        return None;
    }
    let pairs = pairs.iter().filter(|(name, _)| name.text().is_some_and(is_shared)).cloned().collect();
    Some(Node { place: properties.place, kind: Kind::Map(Rc::new(pairs)) })
}

/// Whether a property of a consumer also applies to a producer.
pub(super) fn is_shared(name: &str) -> bool {
    const CONSUMERS: [&str; 8] =
        ["session.", "heartbeat.", "group.", "max.poll.", "fetch.", "queued.", "check.crcs", "max.partition.fetch"];
    !CONSUMERS.iter().any(|prefix| name.starts_with(prefix))
}
