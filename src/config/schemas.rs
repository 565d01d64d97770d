//! The types of formats with schemas, and of where the schemas are.

use super::{At, Location, Secret};

/// `format:`
#[derive(Debug, Clone, PartialEq)]
pub enum Format {
    /// `json`: one object per message.
    Json,
    /// `avro`: Confluent's wire format.
    Avro(SchemaSource),
    /// `protobuf`: Confluent's wire format.
    Protobuf(SchemaSource),
}

/// `schema:`, the reader's schema of a source, or that of an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pin {
    /// `7`: the one with this id.
    Id(u32),
    /// `{ version: 3 }`: a version of the subject.
    Version(u32),
    /// `latest`: the subject's newest, for an output. A source begins with it anyway.
    Latest,
}

/// `auth: { token }`: a bearer token.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    /// As it was at the start.
    pub secret: Secret,
    /// The file that it comes from, which may get another one.
    pub file: Option<String>,
}

/// `tls: { ca, certificate, key }`: certificates in PEM, as they were read.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tls {
    /// Whom the registry's certificate may come from, besides those that the system trusts.
    pub ca: Option<String>,
    /// The client's certificate and its key.
    pub identity: Option<Secret>,
}

/// Where the schemas of Avro and Protobuf come from.
#[derive(Debug, Clone, PartialEq)]
pub struct SchemaSource {
    /// URL of a registry with Confluent's API, without user and password.
    pub registry: At<String>,
    /// The URL as written, if user and password were written in it.
    pub written: Option<Secret>,
    /// User name and password, if the registry needs them.
    pub auth: Option<(At<Secret>, At<Secret>)>,
    /// A bearer token, if the registry needs it.
    pub token: Option<Token>,
    /// Certificates.
    pub tls: Tls,
    /// The subject; `<topic>-value` by default.
    pub subject: At<String>,
    /// Full name of the Protobuf message, or of the Avro record; the first of the schema by default.
    pub message: Option<At<String>>,
    /// Avro schemas in files: the first decides what is read, messages name them by fingerprint.
    pub files: Vec<At<Location>>,
    /// An output's schema that the registry has; `None`: the output's own is registered.
    pub output: Option<At<Pin>>,
}

impl SchemaSource {
    /// Whether there is a registry; else all schemas are in files.
    pub fn has_registry(&self) -> bool {
        !self.registry.is_empty()
    }
}

impl Pin {
    /// In canonical form.
    pub(super) fn canonical(self) -> serde_json::Value {
        match self {
            Pin::Id(id) => serde_json::json!(id),
            Pin::Version(version) => serde_json::json!({ "version": version }),
            Pin::Latest => serde_json::json!("latest"),
        }
    }
}
