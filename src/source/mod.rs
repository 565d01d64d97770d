//! Where records come from.
//!
//! Lives here: opening a source, reading only the columns that are needed, decoding them into [`Records`], and finding
//! a place again after a restart. [`Files`] is every source that ends. Must not live here: partitions, state, policies (`runtime`).

pub mod dead_letters;
mod decode;
mod files;
mod input;
pub mod kafka;
pub mod parquet;
mod plan;
mod schema;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use arrow::array::ArrayRef;

use crate::record::Layout;

/// Where a record stands in its source: file and row, both from 0. Melted tables (`columns_as_keys`) count one row per
/// cell: `row * columns + column`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Origin {
    /// Index of the file in path order.
    pub file: u32,
    /// Row in the file.
    pub row: u64,
}

/// Decoded records in the order of the source, as columns.
#[derive(Debug, Clone, Default)]
pub struct Records {
    /// Per record, [`crate::state::murmur2`] of its key.
    pub hashes: Vec<u32>,
    /// All keys, one after the other, as text in UTF-8.
    pub key_text: Vec<u8>,
    /// Per record, where its key ends in `key_text`.
    pub key_ends: Vec<usize>,
    /// Per record, its time in ticks of the layout's clock.
    pub times: Vec<i64>,
    /// Per value column, per record: as in the source; null is NaN, infinite values stay.
    pub values: Vec<Vec<f64>>,
    /// Per carried column, one array of all records; behind them those of [`dead_letters::RAW`], where the source is dead letters.
    pub carried: Vec<ArrayRef>,
    /// Per record, where it stands.
    pub origins: Vec<Origin>,
    /// Records that can't be taken, by index, ascending, with the reason (`null_key`, `null_time`,
    /// `time_out_of_range`); their other
    /// entries are placeholders (key empty, time 0).
    pub bad: Vec<(usize, &'static str)>,
}

impl Records {
    /// Number of records.
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// The key of a record.
    pub fn key(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.key_ends[index - 1] };
        &self.key_text[start..self.key_ends[index]]
    }
}

/// Files that can be read, whatever is in them.
pub enum Files {
    /// Records as rows.
    Parquet(parquet::Planned),
    /// Messages that were refused.
    DeadLetters(dead_letters::Planned),
}

/// Reads the records of [`Files`] in order.
pub enum Reader {
    /// See [`parquet::ParquetSource`].
    Parquet(Box<parquet::ParquetSource>),
    /// See [`dead_letters::Reader`].
    DeadLetters(Box<dead_letters::Reader>),
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
    pub fn fingerprint(&self) -> String {
        match self {
            Files::Parquet(files) => files.fingerprint(),
            Files::DeadLetters(files) => files.fingerprint(),
        }
    }

    /// Begins to read; `start` is the first record to deliver, or one before it.
    ///
    /// # Errors
    /// Files that are not those of `start` any more.
    pub fn open(&self, start: Option<Origin>) -> crate::Result<Reader> {
        Ok(match self {
            Files::Parquet(files) => Reader::Parquet(Box::new(files.open(start)?)),
            Files::DeadLetters(files) => Reader::DeadLetters(Box::new(files.open(start)?)),
        })
    }
}

impl Reader {
    /// The next records, at least one; `None` at the end.
    ///
    /// # Errors
    /// Files that can't be read; after that there is nothing to ask for.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> crate::Result<Option<Records>> {
        match self {
            Reader::Parquet(source) => source.next(),
            Reader::DeadLetters(source) => source.next(),
        }
    }

    /// How many of [`Files::records`] were delivered or left out so far.
    pub fn records_passed(&self) -> u64 {
        match self {
            Reader::Parquet(source) => source.records_passed(),
            Reader::DeadLetters(source) => source.records_passed(),
        }
    }
}
