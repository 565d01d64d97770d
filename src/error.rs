//! The one error type of kolk. What matters to a caller is only whether anything had started: that decides the
//! exit code and whether a retry makes sense. Messages are lowercase, without a final period, and say what, where
//! and what to do.

use std::fmt;

use crate::config::Problem;

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
