//! Where the schemas of messages are: in a registry, or in files that the pipeline names.

use std::collections::HashMap;
use std::sync::Arc;

use super::answers::Verdict;
use super::avro_schema::fingerprint;
use super::registry::Registry;
use super::schema::{Language, Schema, SchemaName, Silence};
use crate::config::{Encoding, Pin, SchemaSource};
use crate::problem::Place;

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

    /// Those that a pipeline names, and the one that decides what is read.
    ///
    /// # Errors
    /// Files that can't be read; what the registry lacks, or that it doesn't answer.
    pub fn open(source: &SchemaSource, pin: Option<Pin>, language: Language) -> Result<(Schemas, Arc<Schema>), String> {
        let registry = match source.has_registry() {
            true => Some(Arc::new(Registry::new(source).map_err(|e| e.to_string())?)),
            false => None,
        };
        let mut files = Vec::new();
        for file in &source.files {
            let read = std::fs::read_to_string(&file.value.0);
            let text = read.map_err(|error| format!("{} cannot be read: {error}", file.value.0))?;
            files.push(Arc::new(Schema { id: 0, text, references: Vec::new() }));
        }
        let reader = match (files.first(), &registry) {
            (Some(first), _) => Some(first.clone()),
            (None, Some(registry)) => registry.reader(&source.subject, pin, language).map_err(Silence::text)?,
            (None, None) => None,
        };
        let reader = reader.ok_or_else(|| missing(source, pin))?;
        Ok((Schemas::new(registry, &files), reader))
    }

    /// The same for something else: what is asked for there may be in another language.
    ///
    /// # Errors
    /// Credentials or certificates that cannot be used.
    pub fn apart(&self, source: &SchemaSource) -> Result<Schemas, String> {
        let registry = match &self.registry {
            Some(_) => Some(Arc::new(Registry::new(source).map_err(|e| e.to_string())?)),
            None => None,
        };
        Ok(Schemas { registry, files: self.files.clone() })
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

/// That a registry lacks a schema.
pub(super) fn missing(source: &SchemaSource, pin: Option<Pin>) -> String {
    let (url, subject) = (&*source.registry, &*source.subject);
    match pin {
        None | Some(Pin::Latest) => {
            format!("the registry at {url} has no subject \"{subject}\": write its name as `subject`")
        }
        Some(Pin::Id(id)) => format!("the registry at {url} has no schema with id {id}"),
        Some(Pin::Version(version)) => format!(
            "the registry at {url} has no version {version} of subject \"{subject}\": write one that it has, or the \
             subject's name as `subject`"
        ),
    }
}

/// Where a problem with the schema that decides what is read belongs.
pub(super) fn place(encoding: &Encoding, source: &SchemaSource) -> Place {
    match (&encoding.schema, source.files.first()) {
        (Some(pin), _) => pin.place,
        (None, Some(file)) => file.place,
        (None, None) => source.registry.place,
    }
}
