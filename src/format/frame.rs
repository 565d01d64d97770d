//! What is around a body: Confluent's wire format (a magic byte 0, the id of the writer's schema in 4 bytes,
//! big-endian) before it or in a header of the message, and Avro's single-object encoding (the bytes C3 01 and the
//! schema's fingerprint).

use super::columns::Fault;
use super::schema::{Language, SchemaName};
use crate::error::counted;

/// The headers in which Confluent's clients name the schema of a payload and of a key, if not before the body.
pub const SCHEMA_HEADERS: [&str; 2] = [VALUE_SCHEMA, KEY_SCHEMA];
pub(super) const VALUE_SCHEMA: &str = "__value_schema_id";
pub(super) const KEY_SCHEMA: &str = "__key_schema_id";

/// A body and the name of its schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub schema: SchemaName,
    /// What follows the schema's name in a header (Protobuf: the indexes of the message); `None`: it is in the body.
    pub indexes: Option<&'a [u8]>,
    pub body: &'a [u8],
}

/// Takes the frame from a body. A header takes precedence, as in Confluent's clients.
pub(super) fn frame<'a>(payload: &'a [u8], header: Option<&'a [u8]>, language: Language) -> Result<Frame<'a>, Fault> {
    let bad = |what: String| Err(("bad_frame", what));
    match header {
        Some([0, a, b, c, d, indexes @ ..]) => {
            let schema = SchemaName::Id(u32::from_be_bytes([*a, *b, *c, *d]));
            return Ok(Frame { schema, indexes: Some(indexes), body: payload });
        }
        Some([1, rest @ ..]) if rest.len() >= 16 => {
            let (guid, indexes) = rest.split_at(16);
            let schema = SchemaName::Guid(guid.try_into().unwrap_or_default());
            return Ok(Frame { schema, indexes: Some(indexes), body: payload });
        }
        Some(other) => {
            return bad(format!(
                "the header with the schema's id has {}: expected 0 and an id, or 1 and a GUID",
                counted(other.len(), "byte")
            ));
        }
        None => {}
    }
    match payload {
        [0, a, b, c, d, body @ ..] => {
            Ok(Frame { schema: SchemaName::Id(u32::from_be_bytes([*a, *b, *c, *d])), indexes: None, body })
        }
        [0, ..] => bad(format!("{}: too few for Confluent's frame", counted(payload.len(), "byte"))),
        [0xc3, 1, rest @ ..] if language == Language::Avro => match rest.split_at_checked(8) {
            Some((fingerprint, body)) => {
                let schema = SchemaName::Fingerprint(fingerprint.try_into().unwrap_or_default());
                Ok(Frame { schema, indexes: None, body })
            }
            None => bad(format!("{}: too few for Avro's single-object encoding", counted(payload.len(), "byte"))),
        },
        [first, ..] => bad(format!("expected Confluent's frame, which begins with 0, found {first}")),
        [] => bad("no bytes".into()),
    }
}

/// The begin of a frame.
pub(super) fn put_frame(id: u32, to: &mut Vec<u8>) {
    to.push(0);
    to.extend_from_slice(&id.to_be_bytes());
}

/// JSON without what may come before it: the frame of a registry's JSON Schema, a byte-order mark.
pub fn json(payload: &[u8]) -> &[u8] {
    let payload = match payload {
        [0, _, _, _, _, body @ ..] => body,
        _ => payload,
    };
    payload.strip_prefix(b"\xef\xbb\xbf").unwrap_or(payload)
}
