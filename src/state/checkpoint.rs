//! The bytes of a checkpoint: all state of one partition as of one position.
//!
//! Layout, everything little-endian: `KOLKCKPT`, format version (u32), then the sections header (JSON), key text,
//! key ends (u64 each), words (u64 each); each is its length (u64), its crc32 (u32) and its bytes. Last comes the crc32
//! of everything before it. Equal state gives equal bytes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Keys;
use crate::error::Context;
use crate::source::Origin;
use crate::{Error, Result};

/// Version of the format; part of what a pipeline's state must agree on.
pub const FORMAT: u32 = 1;

const MAGIC: &[u8; 8] = b"KOLKCKPT";

/// All state of one partition as of one position.
#[derive(Debug, Clone, Default)]
pub struct Checkpoint {
    /// Records of the partition before it; all of them are in the state, none after.
    pub position: u64,
    /// Where the last of them stands in the source.
    pub origin: Option<Origin>,
    /// The keys.
    pub keys: Keys,
    /// The arena: `row_words` words for each key, in slot order.
    pub words: Vec<u64>,
    /// Words of a row.
    pub row_words: usize,
    /// Whatever else must survive, by name: counters, the watermark.
    pub extra: BTreeMap<String, u64>,
    /// On a stream: the commit that this is the state of.
    pub mark: Option<Mark>,
}

/// A commit of a partition of a stream. Buckets closed by the clock emit at an unchanged offset, so the offset alone doesn't
/// say which state is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Mark {
    /// Number of the partition's commit, from 1; 0 is the state before the first record.
    pub sequence: u64,
    /// Offset of the next message.
    pub offset: i64,
    /// Running hash over offset, key and payload of all messages before it.
    pub hash: u64,
}

/// The same, borrowed from a partition that goes on.
#[derive(Debug, Clone, Copy)]
pub struct Snapshot<'a> {
    /// As in [`Checkpoint`].
    pub position: u64,
    /// As in [`Checkpoint`].
    pub origin: Option<Origin>,
    /// As in [`Checkpoint`].
    pub keys: &'a Keys,
    /// As in [`Checkpoint`].
    pub words: &'a [u64],
    /// As in [`Checkpoint`].
    pub row_words: usize,
    /// As in [`Checkpoint`].
    pub extra: &'a BTreeMap<String, u64>,
    /// As in [`Checkpoint`].
    pub mark: Option<Mark>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    position: u64,
    origin: Option<Origin>,
    keys: usize,
    row_words: usize,
    extra: BTreeMap<String, u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mark: Option<Mark>,
}

/// The checksum of a checkpoint's bytes, for its name and manifest: that of all but the last four, which are this very
/// sum. (A crc over bytes and their crc is the same for all bytes.)
pub fn checksum(bytes: &[u8]) -> u32 {
    crc32fast::hash(&bytes[..bytes.len().saturating_sub(4)])
}

impl Checkpoint {
    /// Borrowed.
    pub fn snapshot(&self) -> Snapshot<'_> {
        Snapshot {
            position: self.position,
            origin: self.origin,
            keys: &self.keys,
            words: &self.words,
            row_words: self.row_words,
            extra: &self.extra,
            mark: self.mark,
        }
    }

    /// As bytes.
    pub fn encode(&self) -> Result<Vec<u8>> {
        self.snapshot().encode()
    }

    /// From bytes. Every changed or missing byte is an error.
    pub fn decode(bytes: &[u8]) -> Result<Checkpoint> {
        decode(bytes).map_err(|what| Error::failed(format!("the checkpoint is damaged: {what}")))
    }

    /// The row of a slot.
    pub fn row(&self, slot: u32) -> &[u64] {
        let at = slot as usize * self.row_words;
        &self.words[at..at + self.row_words]
    }
}

impl Snapshot<'_> {
    /// As bytes.
    pub fn encode(&self) -> Result<Vec<u8>> {
        if self.words.len() != self.keys.len() * self.row_words {
            return Err(Error::failed(format!(
                "{} words of state are not {} for each of {} keys",
                self.words.len(),
                self.row_words,
                self.keys.len()
            )));
        }
        let header = serde_json::to_vec(&Header {
            position: self.position,
            origin: self.origin,
            keys: self.keys.len(),
            row_words: self.row_words,
            extra: self.extra.clone(),
            mark: self.mark,
        })
        .or_failed(|| "cannot write the header of a checkpoint".into())?;
        let (ends, text) = self.keys.parts();
        let size = header.len() + text.len() + (ends.len() + self.words.len()) * 8;
        let mut out = Vec::with_capacity(size + 128);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        section(&mut out, |out| out.extend_from_slice(&header));
        section(&mut out, |out| out.extend_from_slice(text));
        section(&mut out, |out| ends.iter().for_each(|end| out.extend_from_slice(&(*end as u64).to_le_bytes())));
        section(&mut out, |out| self.words.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes())));
        let whole = crc32fast::hash(&out);
        out.extend_from_slice(&whole.to_le_bytes());
        Ok(out)
    }
}

/// Length and checksum are written over once the section's bytes are there, so that nothing is copied twice.
fn section(out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 12]);
    fill(out);
    let (head, bytes) = out[start..].split_at_mut(12);
    head[..8].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
    head[8..].copy_from_slice(&crc32fast::hash(bytes).to_le_bytes());
}

fn decode(bytes: &[u8]) -> std::result::Result<Checkpoint, String> {
    let mut rest = bytes;
    if take(&mut rest, 8)? != MAGIC {
        return Err("it doesn't begin as a checkpoint of kolk does".into());
    }
    let format = number(&mut rest, 4)?;
    if format != u64::from(FORMAT) {
        return Err(format!("its format is {format}, this kolk reads {FORMAT}"));
    }
    let header = read_section(&mut rest, "header")?;
    let text = read_section(&mut rest, "key text")?;
    let ends = read_section(&mut rest, "key ends")?;
    let words = read_section(&mut rest, "words")?;
    let body = bytes.len() - rest.len();
    if number(&mut rest, 4)? != u64::from(crc32fast::hash(&bytes[..body])) {
        return Err("its checksum doesn't match".into());
    }
    if !rest.is_empty() {
        return Err(format!("{} bytes follow its end", rest.len()));
    }
    let header: Header = serde_json::from_slice(header).map_err(|e| format!("header: {e}"))?;
    let ends: Vec<usize> =
        read_words(ends, "key ends")?.map(|end| usize::try_from(end).unwrap_or(usize::MAX)).collect();
    let words: Vec<u64> = read_words(words, "words")?.collect();
    let keys = Keys::from_parts(ends, text.to_vec()).ok_or("its keys are not a list of different keys")?;
    if keys.len() != header.keys || Some(words.len()) != header.row_words.checked_mul(keys.len()) {
        return Err(format!(
            "{} keys and {} words are there, {} keys of {} words are announced",
            keys.len(),
            words.len(),
            header.keys,
            header.row_words
        ));
    }
    let Header { position, origin, row_words, extra, mark, .. } = header;
    Ok(Checkpoint { position, origin, keys, words, row_words, extra, mark })
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> std::result::Result<&'a [u8], String> {
    let (taken, left) = rest.split_at_checked(count).ok_or("it ends too early")?;
    *rest = left;
    Ok(taken)
}

fn number(rest: &mut &[u8], bytes: usize) -> std::result::Result<u64, String> {
    Ok(take(rest, bytes)?.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

fn read_section<'a>(rest: &mut &'a [u8], name: &str) -> std::result::Result<&'a [u8], String> {
    let length = usize::try_from(number(rest, 8)?).map_err(|_| "it ends too early")?;
    let crc = number(rest, 4)?;
    let bytes = take(rest, length)?;
    if u64::from(crc32fast::hash(bytes)) != crc {
        return Err(format!("the checksum of its {name} doesn't match"));
    }
    Ok(bytes)
}

fn read_words<'a>(bytes: &'a [u8], name: &str) -> std::result::Result<impl Iterator<Item = u64> + use<'a>, String> {
    if !bytes.len().is_multiple_of(8) {
        return Err(format!("its {name} are cut off"));
    }
    Ok(bytes.chunks_exact(8).map(|word| word.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::state::murmur2;

    fn checkpoint() -> impl Strategy<Value = Checkpoint> {
        let keys = proptest::collection::btree_set(".{0,12}", 0..20);
        (keys, 1..5_usize, any::<(u64, Option<(u32, u64)>)>(), any::<u64>()).prop_map(|(names, row_words, at, seed)| {
            let mut keys = Keys::default();
            for name in &names {
                keys.slot(murmur2(name.as_bytes()), name.as_bytes());
            }
            let words = (0..names.len() * row_words).map(|n| seed.wrapping_mul(n as u64 + 1)).collect();
            let origin = at.1.map(|(file, row)| Origin { file, row });
            let extra = BTreeMap::from([("n".into(), seed)]);
            Checkpoint { position: at.0, origin, keys, words, row_words, extra, ..Checkpoint::default() }
        })
    }

    proptest! {
        #[test]
        fn decodes_what_it_encodes(it in checkpoint()) {
            let bytes = it.encode().unwrap();
            let back = Checkpoint::decode(&bytes).unwrap();
            prop_assert_eq!(back.position, it.position);
            prop_assert_eq!(back.origin, it.origin);
            prop_assert_eq!(&back.words, &it.words);
            prop_assert_eq!(&back.extra, &it.extra);
            prop_assert!(back.keys.iter().eq(it.keys.iter()));
            for (slot, key) in it.keys.iter().enumerate() {
                prop_assert_eq!(back.keys.find(key), Some(slot as u32));
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
