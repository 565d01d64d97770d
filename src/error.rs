//! The one error type of kolk, and all problems of a pipeline at once.
//!
//! Lives here: [`Error`], [`Problems`], the nearest name for a message. Must not live here: what can be wrong.
//!
//! What matters to a caller is only whether anything had started: that decides the
//! exit code and whether a retry makes sense. Messages are lowercase, without a final period, and say what, where
//! and what to do.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use crate::problem::{Place, Problem};

/// `Result` with kolk's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Why a command did not finish.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Refused before anything started: arguments, a model that doesn't fit, a source that isn't there. Exit code 2.
    #[error("{0}")]
    Refused(String),
    /// Everything that is wrong with a pipeline file, at once. Exit code 2.
    #[error("{}", Listed(.0))]
    Problems(Vec<Problem>),
    /// Failed while running: corrupt data, disk full. Exit code 1.
    #[error("{0}")]
    Failed(String),
}

impl Error {
    /// A refusal, exit code 2.
    pub fn refused(message: impl fmt::Display) -> Self {
        Error::Refused(message.to_string())
    }

    /// A failure while running, exit code 1.
    pub fn failed(message: impl fmt::Display) -> Self {
        Error::Failed(message.to_string())
    }

    /// The process' exit code for this error.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Refused(_) | Error::Problems(_) => 2,
            Error::Failed(_) => 1,
        }
    }
}

/// Adds what was being done to an error of a library, in the form `action: cause`.
pub trait Context<T> {
    /// The error becomes a failure while running.
    fn or_failed(self, action: impl FnOnce() -> String) -> Result<T>;
    /// The error becomes a refusal before the start.
    fn or_refused(self, action: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: fmt::Display> Context<T> for std::result::Result<T, E> {
    fn or_failed(self, action: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| Error::Failed(format!("{}: {e}", action())))
    }

    fn or_refused(self, action: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| Error::Refused(format!("{}: {e}", action())))
    }
}

/// Runs a library on what others wrote. Where it panics, that is an error like any other; nothing that it was working
/// on may be used again.
///
/// # Errors
/// What it said when it panicked.
pub fn contained<T>(run: impl FnOnce() -> T) -> std::result::Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| panic_text(panic.as_ref()).to_string())
}

/// What a panic said.
pub fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("unknown")
}

struct Listed<'a>(&'a [Problem]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
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
        let file = place.file.map_or_else(|| self.file.clone(), PathBuf::from);
        self.found.push(Problem { file, place, message: message.to_string() });
    }

    /// Whether nothing was found so far.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// What was found so far.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.found.iter()
    }

    /// How many were found so far.
    pub fn len(&self) -> usize {
        self.found.len()
    }

    /// `value` if nothing was found, else every problem in the order of the file.
    pub fn finish<T>(mut self, value: T) -> Result<T> {
        if self.found.is_empty() {
            return Ok(value);
        }
        self.found.sort();
        self.found.dedup();
        Err(Error::Problems(self.found))
    }
}

/// Text from data for a line of a terminal or a log: whatever isn't printed as it is is escaped.
pub fn printable(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if c.is_control() || ('\u{2028}'..='\u{202e}').contains(&c) || ('\u{2066}'..='\u{2069}').contains(&c) => {
                line.extend(c.escape_default());
            }
            c => line.push(c),
        }
    }
    line
}

/// A number of things, as in "1 record" and "2 records".
pub fn counted(count: impl TryInto<u64>, one: &str) -> String {
    match count.try_into() {
        Ok(1) => format!("1 {one}"),
        Ok(count) => format!("{count} {one}s"),
        // Negative: nothing is counted so.
        Err(_) => format!("? {one}s"),
    }
}

/// The end of a message: `, did you mean "near"?` for the nearest of the names, or nothing when none is near.
pub fn did_you_mean<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    // For short words, the relative similarity is too low: compare the distance.
    let near = |name: &str, likeness: f64| {
        likeness > 0.75 || (word.chars().count() > 1 && strsim::osa_distance(word, name) == 1)
    };
    names
        .into_iter()
        .map(|name| (strsim::jaro_winkler(word, name), name))
        .filter(|(likeness, name)| near(name, *likeness))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| format!(", did you mean \"{name}\"?"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_several() {
        let of = |count: usize| counted(count, "record");
        assert_eq!([of(0), of(1), of(2)], ["0 records", "1 record", "2 records"]);
    }

    #[test]
    fn what_would_do_something_to_a_terminal_is_escaped() {
        assert_eq!(printable("shop-1 é 日本"), "shop-1 é 日本");
        assert_eq!(printable("a\u{1b}[31mb\nc\0"), "a\\u{1b}[31mb\\nc\\u{0}");
        // Text that would be shown the other way around, and C1's control sequences.
        assert_eq!(printable("a\u{202e}b\u{9b}2J"), "a\\u{202e}b\\u{9b}2J");
    }
}
