//! Where records come from.
//!
//! Lives here: opening a source, reading only the columns that are needed, decoding them into [`Records`], and finding
//! a place again after a restart. [`Files`] is every source that ends. Must not live here: partitions, state, policies
//! (`runtime`).

pub mod dead_letters;
mod decode;
mod deltas;
mod files;
mod flaws;
mod folders;
mod gathered;
mod history;
mod int96;
mod merge;
mod nested;
mod open_file;
mod order;
mod pages;
pub mod parquet;
mod plan;
mod sample;
mod schema;
mod skip;
mod statistics;
mod tables;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod text;
mod thrift;
pub mod topic;
mod united;
mod unpacked;
mod unread;

pub use history::History;
pub use sample::of_files;

use std::sync::Arc;

use serde_json::Value;

use crate::Result;
use crate::record::{Layout, Origin, Records};
use crate::stage::Unread;
use crate::state::SourceFiles;

/// Files that can be read, whatever is in them. They deliver the same records in the same order each time.
pub trait Files: Send + Sync {
    /// Columns of the records.
    fn layout(&self) -> &Layout;

    /// Records in all files, at most.
    fn records(&self) -> u64;

    /// The files in the order in which they are read.
    fn files(&self) -> &SourceFiles;

    /// Changes whenever what is read of the files changes, in canonical form. The files are compared one by one.
    fn fingerprint(&self) -> Value;

    /// Where the fingerprint of a version before fingerprints had fields says the same, its hash of the files.
    fn was<'a>(&self, _before: &'a str) -> Option<&'a str> {
        None
    }

    /// What is worth saying of the files before they are read.
    fn notes(&self) -> &[String] {
        &[]
    }

    /// The last values of rows that are left unread although `on.null: carry` takes values from them.
    fn unread(&self) -> Option<Arc<dyn Unread>> {
        None
    }

    /// Begins to read; `start` is the first record to deliver, or one before it.
    ///
    /// # Errors
    /// Files that are no longer those of the start.
    fn open(&self, start: Option<Origin>) -> Result<Box<dyn FilesReader>>;
}

/// Reads the records of [`Files`] in order.
pub trait FilesReader {
    /// The next records, at least one; `None` at the end. Not an iterator: after an error there is nothing to ask for.
    ///
    /// # Errors
    /// Files that can't be read.
    fn next(&mut self) -> Result<Option<Records>>;

    /// How many of [`Files::records`] were delivered or left out so far.
    fn records_passed(&self) -> u64;
}
