//! What a payload is besides its format: an envelope around the record, numbers that are written as text.

use super::At;
use super::Format;
use super::read::{Fields, Reader};
use super::words::word_of;

/// `envelope:` what is around a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Envelope {
    /// `debezium`: a change of a row, `before`, `after`, `op`; with or without Kafka Connect's wrapper.
    Debezium,
    /// `connect`: Kafka Connect's wrapper, `schema` and `payload`.
    Connect,
}

/// Its words.
pub(super) const ENVELOPES: [(&str, Envelope); 2] = [("debezium", Envelope::Debezium), ("connect", Envelope::Connect)];

impl Envelope {
    /// Its word in the pipeline file.
    pub fn word(self) -> &'static str {
        word_of(&ENVELOPES, self)
    }
}

/// `numbers:` how numbers are written in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Numbers {
    /// `json`: as JSON has them.
    #[default]
    Json,
    /// `text`: as JSON has them, or as text.
    Text,
}

/// Its words.
pub(super) const NUMBERS: [(&str, Numbers); 2] = [("json", Numbers::Json), ("text", Numbers::Text)];

impl Numbers {
    /// Its word in the pipeline file.
    pub fn word(self) -> &'static str {
        word_of(&NUMBERS, self)
    }
}

/// Reads `envelope`.
pub(super) fn envelope(reader: &mut Reader, fields: &Fields, format: &Format) -> Option<At<Envelope>> {
    let field = fields.get("envelope")?;
    let envelope = reader.word(field, &ENVELOPES, &[])?;
    if envelope == Envelope::Connect && *format != Format::Json {
        return reader.wrong(
            field,
            "Kafka Connect has this envelope only in JSON: with a schema registry its records are the payloads, so \
             leave it out",
        );
    }
    Some(field.at(envelope))
}

/// Reads `numbers`.
pub(super) fn numbers(reader: &mut Reader, fields: &Fields, format: &Format) -> Numbers {
    let Some(field) = fields.get("numbers") else { return Numbers::default() };
    if *format != Format::Json {
        reader.note(field, "only JSON needs it: a schema has the types of its fields");
        return Numbers::default();
    }
    reader.word(field, &NUMBERS, &[]).unwrap_or_default()
}
