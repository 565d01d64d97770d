//! Envelopes: where the columns are in one, and what it says happened to a row.
//!
//! Debezium's is `before`, `after`, `op`, `source`, `ts_ms`, by itself or as the `payload` of Kafka Connect's wrapper.
//! The columns are those of `after`. `envelope.ts_ms` is a field of the envelope itself; `before.v`, `source.ts_ms` and
//! `transaction.id` are as well. Connect's wrapper is `schema` and `payload`; the columns are those of `payload`.
//!
//! Lives here: the rules, for every format. Must not live here: reading values.

use serde_json::Value;

use super::columns::{Columns, Fault, KeyFrom, Target};
use super::path::{Builder, Mark, Part, Tree, splits};
use crate::config::Envelope;

/// What is wrong with an envelope.
pub(super) const BAD_ENVELOPE: &str = "bad_envelope";
/// Why a message that says that its row is no more is no record.
pub const DELETED: &str = "tombstone";

/// Objects of Debezium's envelope whose fields are named with them.
const OF_ENVELOPE: [&str; 4] = ["before", "after", "source", "transaction"];

/// Where a column is: the object that it is in, and its name there.
pub(super) fn place(envelope: Option<Envelope>, name: &str) -> (&'static str, &str) {
    match envelope {
        None => ("", name),
        Some(Envelope::Connect) => ("payload", name),
        Some(Envelope::Debezium) => match name.split_once('.') {
            Some(("envelope", name)) => ("", name),
            Some((first, _)) if OF_ENVELOPE.contains(&first) => ("", name),
            _ => ("after", name),
        },
    }
}

/// Where the columns are in JSON; or the name of a column that is where another one is.
pub(super) fn tree(columns: &Columns) -> Result<Tree, String> {
    let mut builder = Builder::default();
    let mut fields: Vec<(&String, &Target)> = columns.fields.iter().collect();
    fields.sort_by_key(|(name, _)| *name);
    // Debezium's envelope may be within Connect's.
    let wrappers: &[&str] = if columns.envelope == Some(Envelope::Debezium) { &["", "payload"] } else { &[""] };
    for wrapper in wrappers {
        let within =
            |base: &'static str| -> Vec<&str> { [*wrapper, base].into_iter().filter(|s| !s.is_empty()).collect() };
        for (name, target) in &fields {
            let (base, rest) = place(columns.envelope, name);
            if !builder.add(&within(base), rest, Some(**target), None) {
                return Err((*name).clone());
            }
            if columns.envelope == Some(Envelope::Debezium) && **target == Target::Key && base == "after" {
                builder.add(&within("before"), rest, None, Some(Mark::KeyBefore));
            }
        }
        if columns.envelope == Some(Envelope::Debezium) {
            builder.add(&within(""), "op", None, Some(Mark::Op));
            builder.mark(&within("after"), Part::After);
        }
    }
    if columns.envelope.is_some() {
        builder.add(&[], "schema", None, Some(Mark::Schema));
        builder.mark(&["payload"], Part::Payload);
    }
    Ok(builder.tree)
}

/// What a part of an envelope was found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Found {
    #[default]
    Missing,
    Null,
    Object,
}

/// What was met of an envelope in one message. Memory is used again.
#[derive(Debug, Clone, Default)]
pub(super) struct Met {
    pub op: Option<String>,
    pub after: Found,
    pub payload: Found,
    /// The key of a row that is no more.
    pub key: Option<String>,
}

impl Met {
    /// Nothing yet, for the next message.
    pub fn clear(&mut self) {
        (self.op, self.key) = (None, None);
        (self.after, self.payload) = (Found::Missing, Found::Missing);
    }

    /// Notes what a part of the envelope is.
    pub fn note(&mut self, part: Option<Part>, found: Found) {
        match part {
            Some(Part::After) => self.after = found,
            Some(Part::Payload) => self.payload = found,
            None => {}
        }
    }

    /// Whether the message says that its row is no more; or why it says nothing about a row.
    pub fn is_delete(&self, envelope: Envelope) -> Result<bool, Fault> {
        let bad = |what: String| Err((BAD_ENVELOPE, what));
        match (envelope, self.payload) {
            (_, Found::Null) => return Ok(true),
            (Envelope::Connect, Found::Object) => return Ok(false),
            (Envelope::Connect, Found::Missing) => {
                return bad("there is no \"payload\": expected Kafka Connect's envelope, \"schema\" and \"payload\"; \
                            without it (schemas.enable=false) leave `envelope` out"
                    .into());
            }
            (Envelope::Debezium, _) => {}
        }
        match self.op.as_deref() {
            Some("d") => Ok(true),
            Some(op @ ("c" | "r" | "u")) => match self.after {
                Found::Object => Ok(false),
                Found::Null => bad(format!("\"op\" is \"{op}\", but \"after\" is null")),
                Found::Missing => bad(format!("\"op\" is \"{op}\", but there is no \"after\"")),
            },
            Some("t") => bad("\"op\" is \"t\": the table was truncated, which names no key".into()),
            Some("m") => bad("\"op\" is \"m\": a message in the database's log is no row".into()),
            Some(op) => bad(format!("\"op\" is \"{op}\", expected c, r, u or d")),
            None => bad("there is no \"op\": expected Debezium's envelope, \"before\", \"after\" and \"op\" (a \
                         heartbeat, a transaction and a schema change have none); where rows are flattened \
                         (ExtractNewRecordState) leave `envelope` out"
                .into()),
        }
    }
}

/// The record's key out of the key of a message that is an object, as Connect and Debezium write keys.
pub(super) fn key_within(columns: &Columns, key: Option<&[u8]>) -> Option<Vec<u8>> {
    let envelope = columns.envelope?;
    if columns.key != KeyFrom::Field {
        return None;
    }
    let name = columns.fields.iter().find(|(_, target)| **target == Target::Key).map(|(name, _)| name)?;
    let (_, name) = place(Some(envelope), name);
    let key: Value = serde_json::from_slice(super::frame::json(key?)).ok()?;
    let key = match key.get("payload").filter(|_| key.get("schema").is_some()) {
        Some(payload) => payload,
        None => &key,
    };
    match find(key, name)? {
        Value::String(text) => Some(text.clone().into_bytes()),
        number @ Value::Number(_) if number.is_i64() || number.is_u64() => Some(number.to_string().into_bytes()),
        _ => None,
    }
}

/// A column's value in a message.
pub fn field<'v>(envelope: Option<Envelope>, message: &'v Value, name: &str) -> Option<&'v Value> {
    paths(envelope, name).iter().find_map(|path| find(message, path))
}

/// Where a column may be in a message, as names with dots.
pub fn paths(envelope: Option<Envelope>, name: &str) -> Vec<String> {
    let (base, name) = place(envelope, name);
    let path = if base.is_empty() { name.to_string() } else { format!("{base}.{name}") };
    match envelope {
        Some(Envelope::Debezium) => vec![format!("payload.{path}"), path],
        _ => vec![path],
    }
}

fn find<'v>(object: &'v Value, name: &str) -> Option<&'v Value> {
    object.get(name).or_else(|| splits(name).find_map(|(segment, rest)| find(object.get(segment)?, rest)))
}

/// A field of a JSON key as JSON, by its name with dots; `None`: there is none, or it is null.
pub(super) fn field_of_key(key: &[u8], name: &str) -> Option<String> {
    let key: Value = serde_json::from_slice(key).ok()?;
    find(&key, name).filter(|field| !field.is_null()).map(Value::to_string)
}

/// A JSON key without Connect's wrapper.
pub(super) fn unwrapped(key: &[u8]) -> Option<&[u8]> {
    let text = std::str::from_utf8(key).ok()?;
    let object: Value = serde_json::from_str(text).ok()?;
    let object = object.as_object()?;
    if object.len() != 2 || !object.contains_key("schema") {
        return None;
    }
    let payload = object.get("payload")?;
    let value = |field| {
        let at = super::raw::of_field(text, field);
        text.get(at..super::raw::end(text, at)).unwrap_or_default()
    };
    let is_payload = |written: &&str| serde_json::from_str::<Value>(written).is_ok_and(|value| value == *payload);
    [value(0), value(1)].into_iter().find(is_payload).map(str::as_bytes)
}
