//! Where the schemas of messages are: in a registry, or in files that the pipeline names.

use std::collections::HashMap;
use std::sync::Arc;

use super::answers::Verdict;
use super::avro_schema::fingerprint;
use super::registry::Registry;
use super::schema::{Language, Schema, SchemaName};

/// The schemas of a source.
pub(super) struct Schemas {
    registry: Option<Arc<Registry>>,
    /// Those of files, by fingerprint.
    files: HashMap<[u8; 8], Arc<Schema>>,
}

impl Schemas {
    /// Of a registry, of files, or of both.
    pub fn new(registry: Option<Arc<Registry>>, files: &[Arc<Schema>]) -> Schemas {
        let named = |schema: &Arc<Schema>| Some((fingerprint(schema)?, schema.clone()));
        Schemas { registry, files: files.iter().filter_map(named).collect() }
    }

    /// What is known about a schema at present; returns at once.
    pub fn of(&self, name: SchemaName, language: Language) -> Verdict {
        if let SchemaName::Fingerprint(fingerprint) = name
            && let Some(schema) = self.files.get(&fingerprint)
        {
            return Verdict::Schema(schema.clone());
        }
        // Without a registry nothing may come later.
        self.registry.as_ref().map_or(Verdict::Unknown, |registry| registry.by_name(name, language))
    }

    /// The begin of a sentence about a schema that isn't there.
    pub fn whose(&self) -> &'static str {
        if self.registry.is_some() { "the registry doesn't know" } else { "no file has" }
    }
}
