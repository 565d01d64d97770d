//! The bytes of a checkpoint: all state of one partition as of one position.
//!
//! Sections: header (JSON), key text, key ends (u64 each), words (u64 each). Equal state gives equal bytes. What
//! changed since another checkpoint is a [`super::delta`].

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::pages::MOST_ROW_WORDS;
use super::sections::{self, Damage, Sections, begin, finish, put_words, section};
use super::{Frozen, KeyList, Pages, RowSpan};
use crate::error::Context;
use crate::record::Origin;
use crate::{Error, Result};

/// Version of the format; part of what a pipeline's state must agree on.
pub const FORMAT: u32 = 1;

const MAGIC: &[u8; 8] = b"KOLKCKPT";

/// All state of one partition as of one position. Shares rows and keys with its partition, which continues, so it costs
/// little to make and to clone.
#[derive(Debug, Clone, Default)]
pub struct Checkpoint {
    /// Records of the partition before it; all of them are in the state, none after.
    pub position: u64,
    /// Position of the last of them in the source.
    pub origin: Option<Origin>,
    /// The keys.
    pub keys: KeyList,
    /// A row for each key, in slot order.
    pub rows: Frozen,
    /// Up to where records of any key, or the clock, moved the time of all keys on; in ticks.
    pub watermark: Option<i64>,
    /// Whatever else must survive, by name: counters.
    pub extra: BTreeMap<String, u64>,
    /// On a stream: the commit that this is the state of.
    pub at: Option<CommitPosition>,
    /// The active model version, and on a stream since when. It is in the manifest, not in the bytes; so are the
    /// `spans`.
    pub epoch: ModelEpoch,
    /// Layout of a row: the words of each stage. Its manifest says it too.
    pub spans: Vec<RowSpan>,
}

/// A version of the model, and the commit with which it came into force in a partition. Of two states of one commit
/// number, one of which was made for a swap that never was committed, it says which is meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct ModelEpoch {
    /// The version; empty where there is no model.
    pub model: String,
    /// Number of the commit; 0 is the partition's beginning.
    pub from: u64,
}

/// A version as users name it.
pub(crate) fn shown(model: &str) -> &str {
    model.split_once('#').map_or(model, |(label, _)| label)
}

/// A commit of a partition of a stream. Buckets closed by the clock emit at an unchanged offset, so the offset alone
/// doesn't say which state is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct CommitPosition {
    /// Number of the partition's commit, from 1; 0 is the state before the first record.
    pub sequence: u64,
    /// Offset of the next message.
    pub offset: i64,
    /// Running hash over offset, key and payload of all messages before it.
    pub hash: u64,
}

/// Everything but keys and rows.
#[derive(Serialize, Deserialize)]
pub(super) struct Header {
    pub position: u64,
    pub origin: Option<Origin>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watermark: Option<i64>,
    pub keys: usize,
    pub row_words: usize,
    pub extra: BTreeMap<String, u64>,
    #[serde(rename = "mark", default, skip_serializing_if = "Option::is_none")]
    pub at: Option<CommitPosition>,
}

impl Checkpoint {
    /// Whether it is the state that a swap of the model begins with: written before the commit that it is the state of.
    pub fn is_swap(&self) -> bool {
        self.epoch.from > 0 && self.at.is_some_and(|at| at.sequence == self.epoch.from)
    }

    /// As bytes.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let (header, rows) = (self.header()?, self.rows.resolve()?);
        let text: usize = self.keys.iter().map(<[u8]>::len).sum();
        let size = header.len() + text + (self.keys.len() + rows.len() * rows.width()) * 8;
        let mut out = begin(MAGIC, FORMAT, size);
        section(&mut out, |out| out.extend_from_slice(&header));
        put_keys(&mut out, self.keys.iter());
        section(&mut out, |out| (0..rows.pages()).for_each(|n| put_words(out, &rows.page(n))));
        Ok(finish(out))
    }

    /// From bytes. Every changed or missing byte is an error.
    pub fn decode(bytes: &[u8]) -> Result<Checkpoint> {
        decode(bytes).map_err(|what| Error::failed(format!("the checkpoint is damaged: {what}")))
    }

    /// The row of a slot.
    ///
    /// # Errors
    /// As [`Frozen::resolve`].
    pub fn row(&self, slot: u32) -> Result<Cow<'_, [u64]>> {
        Ok(self.rows.resolve()?.row(slot))
    }

    /// The header's bytes.
    pub(super) fn header(&self) -> Result<Vec<u8>> {
        let rows = self.rows.resolve()?;
        if rows.len() != self.keys.len() {
            return Err(Error::failed(format!("there are {} rows of state for {} keys", rows.len(), self.keys.len())));
        }
        let header = Header {
            position: self.position,
            origin: self.origin,
            watermark: self.watermark,
            keys: self.keys.len(),
            row_words: rows.width(),
            extra: self.extra.clone(),
            at: self.at,
        };
        serde_json::to_vec(&header).or_failed(|| "cannot write the header of a checkpoint".into())
    }
}

/// Two sections: the text of keys, and where in it each ends.
pub(super) fn put_keys<'a>(out: &mut Vec<u8>, keys: impl Iterator<Item = &'a [u8]>) {
    let (mut ends, mut end) = (Vec::new(), 0);
    section(out, |out| {
        for key in keys {
            out.extend_from_slice(key);
            end += key.len() as u64;
            ends.push(end);
        }
    });
    section(out, |out| put_words(out, &ends));
}

/// Adds the keys of two sections.
pub(super) fn read_keys(sections: &mut Sections<'_>, keys: &mut KeyList) -> std::result::Result<(), Damage> {
    let text = sections.next("key text")?;
    let mut start = 0;
    for end in sections::words(sections.next("key ends")?, "key ends")? {
        let end = usize::try_from(end).unwrap_or(usize::MAX);
        keys.push(text.get(start..end).ok_or("its keys are not in order")?);
        start = end;
    }
    if start == text.len() { Ok(()) } else { Err("its keys have more text than ends".into()) }
}

fn decode(bytes: &[u8]) -> std::result::Result<Checkpoint, Damage> {
    let mut sections = Sections::open(bytes, MAGIC, FORMAT)?;
    let header: Header = serde_json::from_slice(sections.next("header")?).map_err(|e| format!("header: {e}"))?;
    let mut keys = KeyList::default();
    read_keys(&mut sections, &mut keys)?;
    let words = sections.next("words")?;
    sections.end()?;
    let Header { position, origin, watermark, row_words, extra, at, .. } = header;
    let no_rows = row_words == 0 && !keys.is_empty();
    if row_words > MOST_ROW_WORDS {
        return Err(format!("its rows have {row_words} words, at most {MOST_ROW_WORDS} are read"));
    }
    if no_rows || keys.len() != header.keys || Some(words.len()) != row_words.checked_mul(keys.len() * size_of::<u64>())
    {
        return Err(format!(
            "found {} keys and {} bytes of rows, expected {} keys of {row_words} words",
            keys.len(),
            words.len(),
            header.keys
        ));
    }
    let rows = Pages::read(row_words, keys.len(), words)?.into();
    Ok(Checkpoint { position, origin, watermark, keys, rows, extra, at, ..Checkpoint::default() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(in crate::state) fn checkpoint() -> impl Strategy<Value = Checkpoint> {
        let keys = proptest::collection::btree_set(".{0,12}", 0..20);
        (keys, 1..5_usize, any::<(u64, Option<(u32, u64)>)>(), any::<u64>()).prop_map(|(names, row_words, of, seed)| {
            let mut keys = KeyList::default();
            names.iter().for_each(|name| keys.push(name.as_bytes()));
            let words: Vec<u64> = (0..names.len() * row_words).map(|n| seed.wrapping_mul(n as u64 + 1)).collect();
            let rows = Pages::from_words(row_words, &words).into();
            let origin = of.1.map(|(file, row)| Origin { file, row });
            let extra = BTreeMap::from([("n".into(), seed)]);
            let at = (seed % 2 == 0).then_some(CommitPosition { sequence: seed, offset: 7, hash: of.0 });
            let watermark = at.map(|at| at.offset);
            Checkpoint { position: of.0, origin, watermark, keys, rows, extra, at, ..Checkpoint::default() }
        })
    }

    proptest! {
        #[test]
        fn decodes_what_it_encodes(it in checkpoint()) {
            let bytes = it.encode().unwrap();
            let back = Checkpoint::decode(&bytes).unwrap();
            prop_assert_eq!(back.position, it.position);
            prop_assert_eq!(back.origin, it.origin);
            prop_assert_eq!((back.at, back.watermark), (it.at, it.watermark));
            prop_assert_eq!(back.rows.resolve().unwrap().width(), it.rows.resolve().unwrap().width());
            prop_assert_eq!(&back.extra, &it.extra);
            prop_assert!(back.keys.iter().eq(it.keys.iter()));
            for (slot, key) in it.keys.iter().enumerate() {
                prop_assert_eq!(back.keys.find(key), Some(slot as u32));
                prop_assert_eq!(back.row(slot as u32).unwrap(), it.row(slot as u32).unwrap());
            }
            prop_assert_eq!(back.encode().unwrap(), bytes);
        }

        #[test]
        fn any_changed_byte_is_seen(it in checkpoint(), at in any::<prop::sample::Index>(), flip in 1..=255_u8) {
            let mut bytes = it.encode().unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            prop_assert!(Checkpoint::decode(&bytes).is_err());
        }

        #[test]
        fn any_other_length_is_seen(it in checkpoint(), at in any::<prop::sample::Index>(), more in 1..20_usize) {
            let mut bytes = it.encode().unwrap();
            prop_assert!(Checkpoint::decode(&bytes[..at.index(bytes.len())]).is_err());
            bytes.extend(vec![0; more]);
            prop_assert!(Checkpoint::decode(&bytes).is_err());
        }

        #[test]
        fn noise_is_no_checkpoint(mut noise in proptest::collection::vec(any::<u8>(), 0..200), magic in any::<bool>()) {
            if magic {
                noise.splice(0..0, MAGIC.iter().copied().chain(FORMAT.to_le_bytes()));
            }
            prop_assert!(Checkpoint::decode(&noise).is_err());
        }
    }
}
