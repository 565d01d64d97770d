//! The bytes of a delta: what changed between two checkpoints of one partition.
//!
//! Sections: header (JSON), text and ends of the keys that are new, numbers of the pages that changed (u64 each), their
//! words. A delta fits one checkpoint, whose commit and number of keys it names; on any other it is an error.

use serde::{Deserialize, Serialize};

use super::checkpoint::{Header, put_keys, read_keys};
use super::pages::{MOST_ROW_WORDS, words_of};
use super::sections::{self, Damage, Sections, begin, finish, put_words, section};
use super::{Checkpoint, CommitPosition, ModelEpoch, Pages};
use crate::error::Context;
use crate::{Error, Result};

/// Version of the format.
const FORMAT: u32 = 1;

const MAGIC: &[u8; 8] = b"KOLKDELT";

/// What must be known of a checkpoint to find later changes: everything but its rows.
#[derive(Debug, Clone)]
pub(super) struct Outline {
    pub at: CommitPosition,
    pub epoch: ModelEpoch,
    keys: usize,
    list: u64,
    width: usize,
    pages: Vec<(u64, u64)>,
}

impl Outline {
    /// Of a checkpoint of a stream.
    ///
    /// # Errors
    /// As [`super::Frozen::resolve`].
    pub fn of(checkpoint: &Checkpoint) -> Result<Option<Outline>> {
        let rows = checkpoint.rows.resolve()?;
        Ok(checkpoint.at.map(|at| Outline {
            at,
            epoch: checkpoint.epoch.clone(),
            keys: checkpoint.keys.len(),
            list: checkpoint.keys.number(),
            width: rows.width(),
            pages: rows.numbers().collect(),
        }))
    }

    /// Pages of a checkpoint that are other than this one's; `None` if it is not a later state of the same rows.
    ///
    /// # Errors
    /// As [`super::Frozen::resolve`].
    pub fn changed(&self, checkpoint: &Checkpoint) -> Result<Option<Vec<usize>>> {
        let rows = checkpoint.rows.resolve()?;
        let later = checkpoint.at.is_some_and(|at| at.sequence > self.at.sequence)
            && checkpoint.epoch == self.epoch
            && checkpoint.keys.number() == self.list
            && checkpoint.keys.len() >= self.keys
            && rows.width() == self.width;
        let pages = rows.numbers().enumerate();
        Ok(later.then(|| pages.filter(|(n, page)| self.pages.get(*n) != Some(page)).map(|(n, _)| n).collect()))
    }
}

#[derive(Serialize, Deserialize)]
struct Base {
    #[serde(rename = "mark")]
    at: CommitPosition,
    keys: usize,
}

/// A delta as bytes.
pub(super) fn encode(checkpoint: &Checkpoint, base: &Outline, changed: &[usize]) -> Result<Vec<u8>> {
    let (header, rows) = (checkpoint.header()?, checkpoint.rows.resolve()?);
    let on = serde_json::to_vec(&Base { at: base.at, keys: base.keys })
        .or_failed(|| "cannot write the header of a delta".into())?;
    let words: usize = changed.iter().map(|n| rows.page_words(*n)).sum();
    let numbers: Vec<u64> = changed.iter().map(|n| *n as u64).collect();
    let size = header.len() + on.len() + (numbers.len() + words) * 8;
    let mut out = begin(MAGIC, FORMAT, size);
    section(&mut out, |out| out.extend_from_slice(&on));
    section(&mut out, |out| out.extend_from_slice(&header));
    put_keys(&mut out, checkpoint.keys.from(base.keys));
    section(&mut out, |out| put_words(out, &numbers));
    section(&mut out, |out| changed.iter().for_each(|n| put_words(out, &rows.page(*n))));
    Ok(finish(out))
}

/// The checkpoint that a delta makes of the one it is based on. Every changed or missing byte is an error.
pub(super) fn apply(bytes: &[u8], base: Checkpoint) -> Result<Checkpoint> {
    let rows = base.rows.resolve()?.joined().into_owned();
    applied(bytes, base, rows).map_err(|what| Error::failed(format!("the delta is damaged: {what}")))
}

fn applied(bytes: &[u8], base: Checkpoint, rows: Pages) -> std::result::Result<Checkpoint, Damage> {
    let mut sections = Sections::open(bytes, MAGIC, FORMAT)?;
    let on: Base = serde_json::from_slice(sections.next("base")?).map_err(|e| format!("base: {e}"))?;
    let header: Header = serde_json::from_slice(sections.next("header")?).map_err(|e| format!("header: {e}"))?;
    if base.at != Some(on.at) || base.keys.len() != on.keys {
        return Err(format!("it is based on commit {}, which is not the one before it", on.at.sequence));
    }
    let Checkpoint { mut keys, .. } = base;
    read_keys(&mut sections, &mut keys)?;
    let numbers: Vec<u64> = sections::words(sections.next("page numbers")?, "page numbers")?.collect();
    let mut words = sections::words(sections.next("words")?, "words")?;
    sections.end()?;
    if keys.len() != header.keys {
        return Err(format!("found {} keys, expected {}", keys.len(), header.keys));
    }
    let Header { position, origin, watermark, row_words, extra, at, .. } = header;
    if row_words > MOST_ROW_WORDS {
        return Err(format!("its rows have {row_words} words, at most {MOST_ROW_WORDS} are read"));
    }
    let length = |page: usize| words_of(row_words, page, keys.len());
    let changed = numbers
        .into_iter()
        .map(|number| {
            let page = usize::try_from(number).unwrap_or(usize::MAX >> 16);
            (page, words.by_ref().take(length(page)).collect())
        })
        .collect();
    if words.next().is_some() {
        return Err("it has more words than its pages".into());
    }
    let rows = rows.patched(row_words, keys.len(), changed).ok_or("its pages don't fit the checkpoint before it")?;
    Ok(Checkpoint { position, origin, watermark, keys, rows: rows.into(), extra, at, ..Checkpoint::default() })
}
