//! Bytes of messages to records, and rows to bytes.
//!
//! Lives here: JSON, Avro and Protobuf, Confluent's wire format (magic byte 0, schema id of 4 bytes big-endian, body),
//! and the client of a schema registry. Must not live here: Kafka's client (`kafka`), partitions, offsets to commit,
//! and what happens to a message that can't be decoded (`runtime`).
//!
//! A decoder judges every message independently: a bad message does not change its neighbours. It returns exactly one
//! record per message (with `columns_as_keys` one per message and key; one if the message is bad).

mod ahead;
mod answers;
mod avro;
mod avro_bytes;
mod avro_cut;
mod avro_key;
mod avro_nodes;
mod avro_out;
mod avro_schema;
mod avro_types;
mod avro_value;
mod avro_vector;
mod columns;
mod envelope;
mod frame;
mod framed;
#[cfg(test)]
mod hostile_tests;
mod json;
mod json_out;
mod json_value;
mod json_vector;
pub mod key;
pub mod key_guess;
#[cfg(any(test, fuzzing))]
pub mod law;
mod logical;
mod path;
mod plan;
mod plan_out;
mod protobuf;
mod protobuf_decimal;
mod protobuf_key;
mod protobuf_known;
mod protobuf_out;
mod protobuf_value;
mod protobuf_vector;
mod raw;
mod reading;
mod registry;
mod schema;
mod schema_key;
mod schemas;
mod table;
mod times;
mod vector;

pub use ahead::TOO_FAR_AHEAD;
pub use envelope::{DELETED, field, paths};
pub use frame::{SCHEMA_HEADERS, json as bare_json};
pub use plan::{PlannedDecoder, plan_decoder};
pub use plan_out::{PlannedEncoder, check_encoder, plan_encoder, unregistered_encoder};

use std::ops::Range;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;

use crate::record::Records;

/// Messages of one partition as they came, in order: bytes, not yet records. Memory is used again by
/// [`Messages::clear`].
#[derive(Debug, Clone, Default)]
pub struct Messages {
    /// Name of the topic that they are from; empty where nothing asks for it.
    pub topic: String,
    /// The number of their partition.
    pub partition: u32,
    /// Per message, its offset; ascending, with gaps.
    pub offsets: Vec<i64>,
    /// Per message, its timestamp in milliseconds since 1970, -1 for none.
    pub timestamps: Vec<i64>,
    /// Per message, its headers in order; empty if they are not needed.
    pub headers: Vec<Vec<(String, Option<Vec<u8>>)>>,
    bytes: Vec<u8>,
    /// Per message, where its key and payload lie in `bytes`.
    spans: Vec<(ByteRange, ByteRange)>,
}

/// Where something lies in the bytes; `None`: there is nothing, which is not the same as no bytes.
type ByteRange = Option<Range<u32>>;

impl Messages {
    /// None yet, of a partition of a topic.
    pub fn of(topic: &str, partition: u32) -> Messages {
        Messages { topic: topic.into(), partition, ..Messages::default() }
    }

    /// Appends a message.
    pub fn push(&mut self, offset: i64, timestamp: i64, key: Option<&[u8]>, payload: Option<&[u8]>) {
        self.offsets.push(offset);
        self.timestamps.push(timestamp);
        let bytes = &mut self.bytes;
        let mut add = |part: Option<&[u8]>| {
            part.map(|part| {
                let start = bytes.len() as u32;
                bytes.extend_from_slice(part);
                start..bytes.len() as u32
            })
        };
        let span = (add(key), add(payload));
        self.spans.push(span);
    }

    /// Number of messages.
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// Bytes of all keys and payloads.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The key of a message, if it has one.
    pub fn key(&self, index: usize) -> Option<&[u8]> {
        self.spans[index].0.as_ref().map(|span| &self.bytes[span.start as usize..span.end as usize])
    }

    /// The payload of a message; `None` is a tombstone.
    pub fn payload(&self, index: usize) -> Option<&[u8]> {
        self.spans[index].1.as_ref().map(|span| &self.bytes[span.start as usize..span.end as usize])
    }

    /// The last header of a name of a message, if it has a value.
    pub fn header(&self, index: usize, name: &str) -> Option<&[u8]> {
        let headers = self.headers.get(index)?;
        headers.iter().rev().find(|(header, _)| header == name).and_then(|(_, value)| value.as_deref())
    }

    /// Empties it.
    pub fn clear(&mut self) {
        self.offsets.clear();
        self.timestamps.clear();
        self.headers.clear();
        self.bytes.clear();
        self.spans.clear();
    }
}

/// What a decoder made of messages.
#[derive(Debug, Default)]
pub struct Decoded {
    /// One record per message and key, in order. `origins` hold file 0 and the offset as row; `bad` names those that
    /// can't be taken.
    pub records: Records,
    /// For some of `records.bad`, by index, what exactly is wrong, for people: place in the payload, expected, found.
    pub details: Vec<(usize, String)>,
    /// The message that decoding stopped at, since it says that its row is no more.
    pub deleted: Option<Deleted>,
}

/// A message with a payload that means the same as one without: its row is no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deleted {
    /// Which message.
    pub index: usize,
    /// The text of its record's key; `None`: it is not known.
    pub key: Option<Vec<u8>>,
}

/// Decisions about messages that don't depend on their bytes, to be recorded and obeyed in replay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decided {
    /// Whether these messages were decoded before: then no new decisions are made.
    pub replay: bool,
    /// Ranges of offsets, ascending, whose schema id the registry did not know.
    pub unknown: Vec<Range<i64>>,
}

impl Decided {
    /// Whether an offset's schema id is decided to be unknown.
    pub fn is_unknown(&self, offset: i64) -> bool {
        let at = self.unknown.partition_point(|range| range.end <= offset);
        self.unknown.get(at).is_some_and(|range| range.contains(&offset))
    }

    /// Notes that the registry doesn't know the schema id of an offset, higher than all noted before. `next_to` is the
    /// offset of the message before it: where that is noted too, the ranges become one.
    pub fn note(&mut self, offset: i64, next_to: Option<i64>) {
        match self.unknown.last_mut() {
            Some(last) if next_to.is_some_and(|before| last.end == before + 1) => last.end = offset + 1,
            _ => self.unknown.push(offset..offset + 1),
        }
    }
}

/// Why messages could not be decoded now.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// What is needed can't be reached at present (a registry): nothing was decided, try again later.
    #[error("{0}")]
    Unavailable(String),
    /// Not the messages' fault, and trying again won't help.
    #[error(transparent)]
    Failed(#[from] crate::Error),
}

/// Messages to records. One per worker.
pub trait Decoder: Send {
    /// Decodes the messages `range`, which have payloads (no tombstones). Decisions are noted in `decided` or, in
    /// replay, obeyed; a schema id that is unknown in replay and wasn't then is [`DecodeError::Unavailable`].
    fn decode(
        &mut self,
        messages: &Messages,
        range: Range<usize>,
        decided: &mut Decided,
    ) -> Result<Decoded, DecodeError>;

    /// The text of a record's key as the message's own key gives it, for a tombstone; `None` if this pipeline doesn't
    /// read it, or there is none. Decisions are as in [`Decoder::decode`].
    fn key_of(
        &mut self,
        messages: &Messages,
        index: usize,
        decided: &mut Decided,
    ) -> Result<Option<Vec<u8>>, DecodeError>;

    /// From now on [`Decoder::decode`] stops at a message that says that its row is no more. Otherwise that is a bad
    /// record.
    fn stop_at_deletes(&mut self) {}

    /// Whether a message without a payload repeats what the one before it said: that its row is no more.
    fn repeats_deletes(&self) -> bool {
        false
    }
}

/// Decodes all messages, and waits for a registry's answers for at most `most`. For callers that may block.
///
/// # Errors
/// Those of [`Decoder::decode`].
pub fn decode_patiently(
    decoder: &mut dyn Decoder,
    messages: &Messages,
    most: Duration,
) -> Result<Decoded, DecodeError> {
    let until = Instant::now() + most;
    loop {
        match decoder.decode(messages, 0..messages.len(), &mut Decided::default()) {
            Err(DecodeError::Unavailable(_)) if Instant::now() < until => std::thread::sleep(Duration::from_millis(10)),
            decoded => return decoded,
        }
    }
}

/// Payloads, concatenated.
#[derive(Debug, Clone, Default)]
pub struct Payloads {
    /// All bytes.
    pub bytes: Vec<u8>,
    /// Per payload, where it ends.
    pub ends: Vec<usize>,
}

impl Payloads {
    /// Number of payloads.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// One payload.
    pub fn get(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.bytes[start..self.ends[index]]
    }
}

/// Rows to payloads. One per worker.
pub trait Encoder: Send {
    /// Appends one payload per row. Equal rows give equal bytes.
    ///
    /// # Errors
    /// Rows of another schema than planned.
    fn encode(&mut self, rows: &RecordBatch, to: &mut Payloads) -> crate::Result<()>;
}
