//! The pipeline file, typed, with the place of every value.
//!
//! Lives here: reading YAML, expanding `${NAME}`, checking words, types and ranges, and collecting every [`Problem`] at
//! once. Must not live here: anything that opens a source, a model or a broker (that is `cli::check` and the planners
//! of each stage). No other module reads the user's file.

mod backtest;
mod canonical;
mod card;
mod card_words;
mod checks;
mod document;
mod effective;
mod embeddings;
mod expand;
mod fields;
mod http;
mod include;
mod kafka;
mod kafka_read;
mod kafka_words;
mod metadata;
mod models;
mod optimizer;
mod output;
mod patch;
mod payload;
mod per;
mod pipeline;
mod places;
mod read;
mod record;
mod schema;
mod schemas;
mod schemas_read;
mod schemas_words;
mod search;
mod secret;
mod stages;
mod table;
mod task;
mod time;
mod topics;
mod train;
mod train_data;
mod train_words;
mod training;
mod vectors;
mod words;
mod write;
mod yaml;

#[cfg(test)]
mod tests;

pub use card::*;
pub use embeddings::Embedding;
pub use http::{Http, http_address};
pub use kafka::*;
pub use metadata::{Metadata, Metadatum};
pub use optimizer::{Adam, AdamW, EpsilonForm, Optimizer, RateSchedule, RmsProp, Sgd};
pub use payload::{Envelope, Numbers};
pub use per::Per;
pub use pipeline::*;
pub use record::{EpochUnit, Key, Record, Sequence, TimeColumn};
pub use schema::{card_schema, schema};
pub use schemas::*;
pub use search::{Over, Search, Tried};
pub use secret::*;
pub use stages::*;
pub use time::{Moment, Span};
pub use topics::{Pattern, Topics};
pub use training::*;
pub use vectors::{MOST_NUMBERS, NumberType, VectorColumn};

use std::fmt;
use std::io::Read;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use crate::error::Problems;
use crate::problem::{Place, Problem};
use crate::{Error, Result};

/// Maximum size of a pipeline file in bytes.
pub const MAX_BYTES: usize = 1 << 20;

/// Reads a pipeline file.
///
/// # Errors
/// [`Error::Problems`] with everything that is wrong in the file; [`Error::Refused`] when it can't be read at all.
pub fn load(path: &Path) -> Result<Pipeline> {
    whole(load_all(path)?)
}

/// The pipeline that a trial of its search is: with these values in place of its own.
///
/// # Errors
/// As [`load`]; what is wrong with a value is at the value's place in `search`.
pub fn load_trial(path: &Path, tried: &[Tried]) -> Result<Pipeline> {
    load_tree(path, tried).and_then(|read| whole((read.pipeline, read.problems)))
}

/// The same of a text.
#[cfg(test)]
fn parse_trial(text: &str, file: &Path, tried: &[Tried]) -> Result<Pipeline> {
    read_with(text, file, &|name| std::env::var(name), tried).and_then(|read| whole((read.pipeline, read.problems)))
}

/// As [`load`], for who looks for further problems: where every value could be read and only some don't fit together,
/// there is a pipeline, with those problems.
///
/// # Errors
/// As [`load`], of what can't be read.
pub fn load_all(path: &Path) -> Result<(Pipeline, Problems)> {
    load_tree(path, &[]).map(|read| (read.pipeline, read.problems))
}

/// The pipeline file as it is understood, as YAML: included files, aliases and variables resolved, defaults written
/// out, secrets hidden. With the problems of what doesn't fit together.
///
/// # Errors
/// As [`load`], of what can't be read.
pub fn effective(path: &Path) -> Result<(String, Problems)> {
    load_tree(path, &[]).map(|read| (read.effective(), read.problems))
}

fn load_tree(path: &Path, tried: &[Tried]) -> Result<Whole> {
    let refused = |what: &dyn fmt::Display| Error::refused(format!("{}: {what}", path.display()));
    let file = std::fs::File::open(path).map_err(|error| refused(&error))?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(|error| refused(&error))?;
    if bytes.len() > MAX_BYTES {
        return Err(refused(&"larger than 1 MiB, this is not a pipeline file"));
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => read_with(text, path, &|name| std::env::var(name), tried),
        Err(error) => {
            let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            Err(problem(path, yaml::Lines::end(&before), "this is not UTF-8"))
        }
    }
}

/// Reads the text of a pipeline file. `file` names it in messages, and relative paths are relative to its folder.
///
/// # Errors
/// [`Error::Problems`] with everything that is wrong.
pub fn parse(text: &str, file: &Path) -> Result<Pipeline> {
    whole(parse_with(text, file, &|name| std::env::var(name))?)
}

/// A pipeline without problems.
fn whole((pipeline, problems): (Pipeline, Problems)) -> Result<Pipeline> {
    problems.finish(pipeline)
}

/// A pipeline file that was read.
struct Whole {
    pipeline: Pipeline,
    problems: Problems,
    /// Its tree, with all that it includes, and the folder of the file.
    root: yaml::Node,
    folder: PathBuf,
}

impl Whole {
    fn effective(&self) -> String {
        const HEAD: &str = "# The pipeline as kolk reads it: included files, variables and defaults written out.";
        format!("{HEAD}\n{}", write::yaml(&effective::tree(&self.root, &self.folder)))
    }
}

fn parse_with(text: &str, file: &Path, variable: expand::Lookup<'_>) -> Result<(Pipeline, Problems)> {
    read_with(text, file, variable, &[]).map(|read| (read.pipeline, read.problems))
}

fn read_with(text: &str, file: &Path, variable: expand::Lookup<'_>, tried: &[Tried]) -> Result<Whole> {
    let mut expander = expand::Expander::new(variable);
    let mut files = include::Files::new(&mut expander);
    let root = files.whole(text, file)?;
    let faults = std::mem::take(&mut files.faults);
    let mut problems = Problems::new(file);
    // Without an included file all that it says would be missing, too.
    let is_whole = !files.is_missing;
    for (place, message) in faults {
        problems.add(place, message);
    }
    let Some(mut root) = root else {
        let message = "the file is empty: a pipeline needs at least `name`, `source` and `record`";
        return Err(problem(file, Place::new(1, 1), message));
    };
    if is_whole {
        expander.expand_all(&mut root);
    }
    for (place, message) in expander.faults {
        problems.add(place, message);
    }
    if !is_whole {
        problems.finish(())?;
        return Err(Error::refused("internal error, please report: an included file is missing"));
    }
    if let Err((place, message)) = search::put(&mut root, tried) {
        problems.add(place, message);
    }
    let mut reader = read::Reader::new(problems, file)?;
    let pipeline = document::pipeline(&mut reader, &root, file);
    // What was not read would be missed elsewhere, too: those problems come first.
    let is_read = reader.problems.is_empty();
    #[cfg(test)]
    tests::schema::agrees(&root, &reader.problems);
    checks::across(&mut reader.problems, &pipeline);
    let folder = reader.folder;
    let (pipeline, problems) = match is_read {
        true => (pipeline, reader.problems),
        false => (reader.problems.finish(pipeline)?, Problems::default()),
    };
    Ok(Whole { pipeline, problems, root, folder })
}

/// The most common YAML error: `{ path: ${DIR}/x }`, where a brace ends the value.
fn hint(text: &str, place: Place) -> &'static str {
    let before = |line: &&str| line.chars().take(place.column).collect::<String>().contains("${");
    match text.lines().nth(place.line.saturating_sub(1)).filter(before) {
        Some(_) => " (within { } and [ ], a value with ${…} must be in quotes)",
        None => "",
    }
}

fn problem(file: &Path, place: Place, message: impl fmt::Display) -> Error {
    Error::Problems(vec![Problem { file: file.into(), place, message: message.to_string() }])
}

/// Text of the user for a message: on one line, and cut where it is long.
fn one_line(text: &str) -> String {
    shown(text, 60)
}

fn shown(text: &str, longest: usize) -> String {
    let mut line = String::new();
    for (i, c) in without_credentials(text).chars().enumerate() {
        if i == longest {
            line.push('…');
            break;
        }
        match c {
            c if c.is_control() || ('\u{2028}'..='\u{202e}').contains(&c) => line.extend(c.escape_default()),
            c => line.push(c),
        }
    }
    line
}

/// A value and where it was written.
#[derive(Clone, PartialEq, Default)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Where it was written; line 0 for a default.
    pub place: Place,
}

impl<T> At<T> {
    /// A default value, without a place in the file.
    pub fn default_value(value: T) -> Self {
        At { value, place: Place::default() }
    }
}

/// Only the value counts, not its place.
impl<T: fmt::Debug> fmt::Debug for At<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

impl<T> Deref for At<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}
