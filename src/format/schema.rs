//! A schema as a registry gives it, or why there is none.

use crate::record::uuid_text;

/// Which language a schema is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    /// Avro.
    Avro,
    /// Protocol Buffers.
    Protobuf,
}

impl Language {
    /// Why a message is refused whose body isn't what its schema says.
    pub fn bad(self) -> &'static str {
        match self {
            Language::Avro => "bad_avro",
            Language::Protobuf => "bad_protobuf",
        }
    }
}

/// How a message names the schema that it was written with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum SchemaName {
    /// By the registry's id.
    Id(u32),
    /// By the registry's GUID.
    Guid([u8; 16]),
    /// By its fingerprint (CRC-64-AVRO), in the order of the bytes in a message.
    Fingerprint([u8; 8]),
}

impl From<u32> for SchemaName {
    fn from(id: u32) -> SchemaName {
        SchemaName::Id(id)
    }
}

impl std::fmt::Display for SchemaName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SchemaName::Id(id) => write!(f, "{id}"),
            SchemaName::Guid(guid) => f.write_str(&uuid_text(guid)),
            SchemaName::Fingerprint(bytes) => write!(f, "of fingerprint {:016x}", u64::from_le_bytes(*bytes)),
        }
    }
}

/// A schema as it is registered, with those it refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Schema {
    /// Its id in the registry.
    pub id: u32,
    /// The schema itself.
    pub text: String,
    /// Name by which it is referred to, and the schema; those that others need come first.
    pub references: Vec<(String, String)>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Silence {
    /// It can't be reached, or fails, or the answer isn't from a registry: ask again later.
    Unavailable(String),
    /// It answered, and asking again won't change that: the schema itself is wrong.
    Refused(String),
}

impl Silence {
    /// As a problem or an error at the start.
    pub fn text(self) -> String {
        match self {
            Silence::Unavailable(text) | Silence::Refused(text) => text,
        }
    }
}
