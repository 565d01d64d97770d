//! Where records come from.
//!
//! Lives here: opening a source, reading only the columns that are needed, decoding them into [`Records`], and finding
//! a place again after a restart. [`Files`] is every source that ends. Must not live here: partitions, state, policies (`runtime`).

pub mod dead_letters;
mod decode;
mod files;
mod history;
pub mod parquet;
mod plan;
mod schema;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod topic;

pub use history::History;

use serde_json::{Value, json};

use crate::record::{Layout, Origin, Records};

/// Files that can be read, whatever is in them.
pub enum Files {
    /// Records as rows.
    Parquet(Box<parquet::Planned>),
    /// Messages that were refused.
    DeadLetters(Box<dead_letters::Planned>),
}

/// Reads the records of [`Files`] in order.
pub enum FilesReader {
    /// See [`parquet::ParquetSource`].
    Parquet(Box<parquet::ParquetSource>),
    /// See [`dead_letters::DeadLettersReader`].
    DeadLetters(Box<dead_letters::DeadLettersReader>),
}

impl Files {
    /// Columns of the records.
    pub fn layout(&self) -> &Layout {
        match self {
            Files::Parquet(files) => &files.layout,
            Files::DeadLetters(files) => &files.layout,
        }
    }

    /// Records in all files, at most.
    pub fn records(&self) -> u64 {
        match self {
            Files::Parquet(files) => files.records(),
            Files::DeadLetters(files) => files.records(),
        }
    }

    /// Names of the files in order, relative to the source's folder.
    pub fn names(&self) -> Vec<String> {
        match self {
            Files::Parquet(files) => files.files().map(String::from).collect(),
            Files::DeadLetters(files) => files.files().map(String::from).collect(),
        }
    }

    /// Changes whenever what is read changes.
    pub fn fingerprint(&self) -> Value {
        match self {
            Files::Parquet(files) => json!({ "files": files.fingerprint() }),
            Files::DeadLetters(files) => files.fingerprint(),
        }
    }

    /// Whether the fingerprint of an earlier version says the same.
    pub fn was(&self, before: &str) -> bool {
        match self {
            Files::Parquet(files) => files.fingerprint() == before,
            Files::DeadLetters(files) => files.was(before),
        }
    }

    /// Begins to read; `start` is the first record to deliver, or one before it.
    ///
    /// # Errors
    /// Files that are not those of `start` any more.
    pub fn open(&self, start: Option<Origin>) -> crate::Result<FilesReader> {
        Ok(match self {
            Files::Parquet(files) => FilesReader::Parquet(Box::new(files.open(start)?)),
            Files::DeadLetters(files) => FilesReader::DeadLetters(Box::new(files.open(start)?)),
        })
    }
}

impl FilesReader {
    /// The next records, at least one; `None` at the end.
    ///
    /// # Errors
    /// Files that can't be read; after that there is nothing to ask for.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> crate::Result<Option<Records>> {
        match self {
            FilesReader::Parquet(source) => source.next(),
            FilesReader::DeadLetters(source) => source.next(),
        }
    }

    /// How many of [`Files::records`] were delivered or left out so far.
    pub fn records_passed(&self) -> u64 {
        match self {
            FilesReader::Parquet(source) => source.records_passed(),
            FilesReader::DeadLetters(source) => source.records_passed(),
        }
    }
}
