//! Records as a source delivers them, before any stage.

use arrow::array::ArrayRef;

/// Position of a record in its source: file and row, both from 0. Melted tables (`columns_as_keys`) count one row per
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
    /// Per record, [`crate::record::murmur2`] of its key.
    pub hashes: Vec<u32>,
    /// All keys, one after the other, as text in UTF-8.
    pub key_text: Vec<u8>,
    /// Per record, where its key ends in `key_text`.
    pub key_ends: Vec<usize>,
    /// Per record, its time in ticks of the layout's clock.
    pub times: Vec<i64>,
    /// Per value column, per record: as in the source; null is NaN, infinite values stay.
    pub values: Vec<Vec<f64>>,
    /// Per vector column, one array of all records: [`super::Kind::vectors`] is its type.
    pub vectors: Vec<ArrayRef>,
    /// Per passthrough column, one array of all records. Where the source is dead letters, three more follow, of the
    /// message: key (Binary), payload (Binary) and timestamp (Int64, milliseconds).
    pub passthrough: Vec<ArrayRef>,
    /// Per record, its position in the source.
    pub origins: Vec<Origin>,
    /// Records that can't be taken, by index, ascending, with the reason (`null_key`, `null_time`,
    /// `time_out_of_range`, `not_utf8`, `bad_value`); their other entries are placeholders (key empty, time
    /// [`super::NO_TIME`] or 0), or what the source says.
    pub bad: Vec<(usize, &'static str)>,
    /// For some of the bad ones, by index, ascending, what exactly is wrong.
    pub details: Vec<(usize, String)>,
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
