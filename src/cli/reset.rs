//! `kolk state reset`: deletes the state of a pipeline, or of one of its topics.

use std::sync::Arc;

use arrow::datatypes::Schema;

use super::messages::say;
use super::state::{confirmed, open};
use crate::config::{Pipeline, Sink, Start};
use crate::error::counted;
use crate::sink::{self, DeadLetters};
use crate::state::Target;
use crate::storage::Folder;
use crate::{Error, Result};

/// Resets the group's offsets. This comes first, since a running group refuses it.
fn reset_group(pipeline: &Pipeline, to: Option<Start>) -> Result<()> {
    let Some(kafka) = pipeline.source.kafka() else {
        return match to {
            Some(_) => Err(Error::refused("--to is for a Kafka source: a Parquet source begins at its start")),
            None => Ok(()),
        };
    };
    match to {
        None => crate::kafka::forget(kafka)?,
        Some(to) => {
            for (partition, offset) in crate::kafka::begin_at(kafka, None, to)? {
                say(format_args!("partition {partition} begins at offset {offset}"));
            }
        }
    }
    if let Some(Sink::Kafka(sink)) = pipeline.sink.as_deref() {
        say(format_args!(
            "records that are read again are written again: give the pipeline another output topic, or empty topic {}",
            sink.topic.value
        ));
    }
    Ok(())
}

/// Deletes all state of a pipeline.
///
/// # Errors
/// Refused: a group that is running, no confirmation.
pub(super) fn all(pipeline: &Pipeline, output: bool, start: Option<Start>, yes: bool) -> Result<()> {
    let to = match pipeline.sink.as_ref().map(|sink| &sink.value) {
        Some(Sink::Parquet { path, .. }) => Some(Folder::open(path)?),
        _ => None,
    };
    let letters = pipeline.dead_letters.folder().map(|at| Folder::open(at)).transpose()?;
    let store = open(pipeline)?.with_targets(to.clone(), letters.clone());
    let mut kinds = Vec::new();
    if output {
        // Only names are needed, which don't depend on the columns.
        let schema = Arc::new(Schema::empty());
        kinds.extend(to.map(|folder| sink::Parts::new(Target::Output, folder, &pipeline.name, schema)));
        kinds.extend(letters.map(|letters| DeadLetters::parts(letters, &pipeline.name)));
    }
    let found: Vec<(Folder, Vec<String>)> =
        kinds.iter().map(|parts| Ok((parts.folder().clone(), parts.existing()?))).collect::<Result<_>>()?;
    say(format_args!("deletes the state of pipeline {} in {}", pipeline.name.value, store.folder()));
    for (folder, files) in found.iter().filter(|(_, files)| !files.is_empty()) {
        let named = match &files[..] {
            [only] => only.clone(),
            files => format!("{} … {}", files[0], files[files.len() - 1]),
        };
        say(format_args!("deletes {} in {folder}: {named}", counted(files.len(), "file")));
    }
    if !yes && !confirmed("deleted")? {
        return Err(Error::refused("nothing was deleted"));
    }
    reset_group(pipeline, start)?;
    // If this fails halfway, the next start refuses output without state, and the command can be repeated.
    store.reset()?;
    for (folder, files) in found {
        files.iter().try_for_each(|name| folder.remove(name))?;
    }
    Ok(())
}

/// Deletes the state of one of several topics: it is a new one then.
///
/// # Errors
/// Refused: a source of one topic, one that isn't of the source, a group that is running, no confirmation.
pub(super) fn topic(pipeline: &Pipeline, name: &str, start: Option<Start>, yes: bool) -> Result<()> {
    let Some(kafka) = pipeline.source.kafka().filter(|kafka| kafka.topics.is_some()) else {
        return Err(Error::refused("--topic is for a source of several topics (`topics`)"));
    };
    let store = open(pipeline)?;
    if !kafka.reads(name) && !store.topics()?.iter().any(|known| known.of.name() == Some(name)) {
        return Err(Error::refused(format!("topic {name} is not one of the source")));
    }
    say(format_args!("deletes the state of topic {name} of pipeline {} in {}", pipeline.name.value, store.folder()));
    if !yes && !confirmed("deleted")? {
        return Err(Error::refused("nothing was deleted"));
    }
    // This comes first, since a running group refuses it.
    for (partition, offset) in crate::kafka::begin_at(kafka, Some(name), start.unwrap_or(Start::Earliest))? {
        say(format_args!("partition {partition} begins at offset {offset}"));
    }
    if !store.forget_topic(name)? {
        say(format_args!("there was no state of topic {name}"));
    }
    Ok(())
}
