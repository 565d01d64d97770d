//! A schema as a registry gives it, or why there is none.

/// Which language a schema is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    /// Avro.
    Avro,
    /// Protocol Buffers.
    Protobuf,
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
