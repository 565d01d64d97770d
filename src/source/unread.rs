//! The last values of rows that are left unread, since a filter drops them, although `on.null: carry` takes values from
//! them. They are read where they are asked for: only if the first value of a key that is read is null.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use super::parquet::ParquetSource;
use super::plan::{Shape, Unneeded};
use crate::stage::Unread;
use crate::{Error, Result};

/// Of each key, the last finite value of each of the record's values; NaN without any.
type Last = HashMap<Vec<u8>, Vec<f64>>;

/// The row groups that are marked [`Unneeded::Dropped`].
pub(super) struct UnreadGroups {
    shape: Arc<Shape>,
    /// Read once, or why they can't be read.
    last: OnceLock<std::result::Result<Last, String>>,
}

impl UnreadGroups {
    /// Those of a source; `None` if it has none.
    pub fn of(shape: &Arc<Shape>) -> Option<UnreadGroups> {
        let mut groups = shape.files.iter().flat_map(|file| &file.groups);
        groups
            .any(|group| group.unneeded == Unneeded::Dropped)
            .then(|| UnreadGroups { shape: shape.clone(), last: OnceLock::new() })
    }

    fn read(&self) -> Result<Last> {
        let mut shape = Shape::clone(&self.shape);
        shape.columns.passthrough.clear();
        for group in shape.files.iter_mut().flat_map(|file| &mut file.groups) {
            group.unneeded = match group.unneeded {
                Unneeded::Dropped => Unneeded::No,
                _ => Unneeded::Dropped,
            };
        }
        let mut last = Last::new();
        let mut source = ParquetSource::new(Arc::new(shape), None);
        while let Some(records) = source.next()? {
            let mut bad = records.bad.iter().map(|(row, _)| *row).peekable();
            for row in 0..records.len() {
                if bad.next_if_eq(&row).is_some() {
                    continue;
                }
                for (at, values) in records.values.iter().enumerate().filter(|(_, values)| values[row].is_finite()) {
                    let none = || vec![f64::NAN; records.values.len()];
                    last.entry(records.key(row).to_vec()).or_insert_with(none)[at] = values[row];
                }
            }
        }
        Ok(last)
    }
}

impl Unread for UnreadGroups {
    fn last(&self, key: &[u8], value: usize) -> Result<f64> {
        match self.last.get_or_init(|| self.read().map_err(|error| error.to_string())) {
            Ok(last) => Ok(last.get(key).and_then(|values| values.get(value)).copied().unwrap_or(f64::NAN)),
            Err(message) => Err(Error::failed(message)),
        }
    }
}
