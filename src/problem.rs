//! One thing that is wrong with a pipeline file, and its place in the file.
//!
//! Lives here: [`Place`] and [`Problem`]. Must not live here: how problems are collected (`error`) or found.

use std::fmt;
use std::path::{Path, PathBuf};

/// Line and column in the pipeline file or in one that it includes, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Place {
    /// Line, from 1; 0 where a value comes from a default.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// The included file; `None`: the pipeline file itself.
    pub file: Option<&'static Path>,
}

impl Place {
    /// A place in the pipeline file itself.
    pub const fn new(line: usize, column: usize) -> Place {
        Place { line, column, file: None }
    }
}

/// One thing wrong with a pipeline, at its place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file: the pipeline file, or one that it includes.
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
