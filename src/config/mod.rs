//! The pipeline file, typed, with the place of every value.
//!
//! Lives here: reading YAML, expanding `${NAME}`, checking words, types and ranges, and collecting every [`Problem`]
//! at once. Must not live here: anything that opens a source, a model or a broker (that is `cli::check` and the
//! planners of each stage). No other module reads what the user wrote.

mod pipeline;
mod time;

pub use pipeline::*;
pub use time::{Moment, Span};

use std::fmt;
use std::ops::Deref;
use std::path::PathBuf;

/// Line and column in the pipeline file, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Place {
    /// Line, from 1; 0 where a value comes from a default.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
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
    /// A value that nobody wrote: a default.
    pub fn default_value(value: T) -> Self {
        At { value, place: Place::default() }
    }
}

/// Only the value: what is the same wherever it was written.
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

/// One thing wrong with a pipeline, at its place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The pipeline file.
    pub file: PathBuf,
    /// Where in it.
    pub place: Place,
    /// What is wrong, what was expected, and the nearest name if there is one.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.place.line > 0 {
            write!(f, ":{}:{}", self.place.line, self.place.column)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Collects problems while a pipeline is read or planned, so that all are shown at once.
#[derive(Debug, Default)]
pub struct Problems {
    file: PathBuf,
    found: Vec<Problem>,
}

impl Problems {
    /// An empty list for one pipeline file.
    pub fn new(file: impl Into<PathBuf>) -> Self {
        Problems { file: file.into(), found: Vec::new() }
    }

    /// Adds a problem at a place.
    pub fn add(&mut self, place: Place, message: impl fmt::Display) {
        self.found.push(Problem { file: self.file.clone(), place, message: message.to_string() });
    }

    /// Whether nothing was found so far.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// `value` if nothing was found, else every problem in the order of the file.
    pub fn finish<T>(mut self, value: T) -> crate::Result<T> {
        if self.found.is_empty() {
            return Ok(value);
        }
        self.found.sort();
        self.found.dedup();
        Err(crate::Error::Problems(self.found))
    }
}

/// The end of a message: `, did you mean "near"?` for the nearest of the names, or nothing when none is near.
pub fn did_you_mean<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    names
        .into_iter()
        .map(|name| (strsim::jaro_winkler(word, name), name))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| format!(", did you mean \"{name}\"?"))
        .unwrap_or_default()
}
