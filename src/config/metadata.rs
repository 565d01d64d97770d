//! `metadata:` what a message is besides its key and payload, as columns.

use super::kafka_words::METADATA;
use super::read::{Fields, Reader};
use super::{At, Encoding, Key, Pipeline, one_line};
use crate::error::Problems;

/// Something about a message that may be a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metadatum {
    /// The topic's name.
    Topic,
    /// The number of its partition there.
    Partition,
    /// Its offset in the partition.
    Offset,
}

/// Its words. The timestamp has a column of its own ([`Encoding::timestamp`]).
const WORDS: [(&str, Metadatum); 3] =
    [("topic", Metadatum::Topic), ("partition", Metadatum::Partition), ("offset", Metadatum::Offset)];
const TIMESTAMP: &str = "timestamp";

/// `metadata: { topic, partition, offset }`: the columns, in this order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Metadata(pub Vec<(Metadatum, At<String>)>);

impl Metadata {
    /// What a column of this name is, if it is one of these.
    pub fn find(&self, name: &str) -> Option<Metadatum> {
        self.0.iter().find(|(_, column)| column.value == name).map(|(of, _)| *of)
    }
}

impl Metadatum {
    /// Its word in the pipeline file.
    pub fn word(self) -> &'static str {
        super::words::word_of(&WORDS, self)
    }

    /// Whether it is the same in all messages of a partition.
    pub fn is_constant(self) -> bool {
        self != Metadatum::Offset
    }
}

/// Reads `metadata`, and the column of the timestamp, which may be written there too.
pub(super) fn read(reader: &mut Reader, fields: &Fields) -> (Metadata, Option<At<String>>) {
    const COLUMN: &str = "the name of a column";
    let timestamp = fields.get(TIMESTAMP).and_then(|field| reader.text(field, COLUMN));
    let Some(within) = fields.get("metadata").and_then(|field| reader.section(field, &METADATA)) else {
        return (Metadata::default(), timestamp);
    };
    let columns = WORDS.iter().filter_map(|(word, of)| Some((*of, reader.text(within.get(word)?, COLUMN)?)));
    let columns = Metadata(columns.collect());
    let Some(second) = within.get(TIMESTAMP) else { return (columns, timestamp) };
    if timestamp.is_some() {
        reader.problems.add(second.name_place, "`timestamp` is written beside `metadata` already, write one");
    }
    (columns, timestamp.or_else(|| reader.text(second, COLUMN)))
}

/// Notes columns that are something else too.
pub(super) fn check(problems: &mut Problems, pipeline: &Pipeline, encoding: &Encoding) {
    let Encoding { metadata, key, timestamp, columns, .. } = encoding;
    let record = &pipeline.record;
    let (keys, what): (&[At<String>], _) = match &record.key {
        Key::Column(key) => (std::slice::from_ref(key), "the record's key"),
        Key::Melted(columns) => (columns, "one of `columns_as_keys`"),
        Key::Single => (&[], ""),
    };
    for (at, (of, column)) in metadata.0.iter().enumerate() {
        let is = |other: &At<String>| other.value == column.value;
        let other = match () {
            () if keys.iter().any(is) => Some(what),
            () if record.time.column == column.value => Some("the record's time"),
            () if record.values.iter().any(is) => Some("one of the record's values"),
            () if key.as_ref().is_some_and(is) => Some("the message's key"),
            () if timestamp.as_ref().is_some_and(is) => Some("the message's timestamp"),
            () if columns.iter().any(|(name, _)| is(name)) => Some("one of `columns`, so a field of the message"),
            () if metadata.0[..at].iter().any(|(_, before)| is(before)) => Some("another one of `metadata`"),
            () => None,
        };
        if let Some(other) = other {
            let (name, word) = (one_line(column), of.word());
            problems.add(
                column.place,
                format_args!("column \"{name}\" is {other}: give the column of the {word} another name"),
            );
        }
    }
}
