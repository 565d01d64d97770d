//! Records while they are gathered from the pieces of files.

use arrow::array::{Array, ArrayRef};
use arrow::compute::concat;
use arrow::error::ArrowError;

use crate::record::Records;

/// Keys of this many bytes end a [`Records`], however few records there are.
pub(super) const TEXT_LIMIT: usize = 4 << 20;
/// So do vectors and passthrough columns of this many bytes.
const BYTES_LIMIT: usize = 64 << 20;

/// Records under construction: vectors and passthrough columns stay in parts until the end.
#[derive(Default)]
pub(super) struct Gathered {
    pub records: Records,
    pub vectors: Vec<Vec<ArrayRef>>,
    pub passthrough: Vec<Vec<ArrayRef>>,
}

impl Gathered {
    /// Whether there are `limit` records, or a lot of text, of vectors or of passthrough columns.
    pub fn is_full(&self, limit: usize) -> bool {
        self.records.len() >= limit || self.records.key_text.len() >= TEXT_LIMIT || self.bytes() >= BYTES_LIMIT
    }

    fn bytes(&self) -> usize {
        // Of a slice, only its own part counts.
        let bytes = |part: &ArrayRef| part.to_data().get_slice_memory_size().unwrap_or(0);
        self.vectors.iter().chain(&self.passthrough).flatten().map(bytes).sum()
    }

    /// The records, unless there are none.
    pub fn finish(mut self) -> Result<Option<Records>, ArrowError> {
        if self.records.is_empty() {
            return Ok(None);
        }
        let joined = |parts: &Vec<ArrayRef>| concat(&parts.iter().map(|part| part.as_ref()).collect::<Vec<_>>());
        self.records.vectors = self.vectors.iter().map(joined).collect::<Result<_, _>>()?;
        self.records.passthrough = self.passthrough.iter().map(joined).collect::<Result<_, _>>()?;
        Ok(Some(self.records))
    }
}
