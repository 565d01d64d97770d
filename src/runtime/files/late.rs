//! Records that training meets after later ones of their key: from many of them it would learn time backwards.
//!
//! Lives here: counting them by file, and when they are too many. Must not live here: what is done with one
//! (`runtime::engine`, `on.late`).

use std::collections::BTreeMap;

use crate::state::SourceFiles;
use crate::{Error, Result};

/// Files that are named, at most.
const NAMED: usize = 3;
/// Of so many records, one may be late and still be processed.
const FEW: u64 = 20;

/// Records older than their key's newest.
#[derive(Debug, Default)]
pub struct Late {
    processed: u64,
    refused: u64,
    by_file: BTreeMap<u32, u64>,
}

impl Late {
    /// Counts those that are part of the series, by the numbers of their files.
    pub(super) fn processed(&mut self, files: impl Iterator<Item = u32>) {
        self.processed += self.count(files);
    }

    /// Counts those that were refused.
    pub(super) fn refused(&mut self, files: impl Iterator<Item = u32>) {
        self.refused += self.count(files);
    }

    fn count(&mut self, files: impl Iterator<Item = u32>) -> u64 {
        let mut all = 0;
        for file in files {
            *self.by_file.entry(file).or_default() += 1;
            all += 1;
        }
        all
    }

    /// What is said of those that are too few to matter.
    ///
    /// # Errors
    /// Refused: more than one in 20 of all `records` would be learned from, or half of them or more were refused.
    pub fn judge(&self, records: u64, files: &SourceFiles) -> Result<Option<String>> {
        let late = self.processed + self.refused;
        if self.processed == 0 && self.refused * 2 < records.max(1) {
            return Ok(None);
        }
        let mut by_file: Vec<(u32, u64)> = self.by_file.iter().map(|(file, count)| (*file, *count)).collect();
        by_file.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let named = by_file.iter().take(NAMED).map(|(file, count)| {
            let name = files.files.get(*file as usize).map_or("?", |file| file.name.as_str());
            format!("{count} with {}{name}", files.folder)
        });
        let named = named.collect::<Vec<_>>().join(", ");
        let more = if by_file.len() > NAMED { ", …" } else { "" };
        let message = format!("{late} of {records} rows are older than their key's newest ({named}{more})");
        if self.processed * FEW <= records && self.refused * 2 < records.max(1) {
            return Ok(Some(format!("{message}: on.reorder puts them in order")));
        }
        let harm = if self.processed > 0 {
            "the model would learn time backwards"
        } else {
            "nothing would be learned from them"
        };
        Err(Error::refused(format!(
            "{message}: {harm}\nsort the rows of each key by time; files that are in order by themselves are read in the \
             order of their times with source: {{ parquet: {{ path: …, order: time }} }}; rows that come a little late \
             are put in order by on: {{ reorder: … }}"
        )))
    }
}
