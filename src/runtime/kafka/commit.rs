//! What a transaction stores about a partition, in the metadata of the group's offset.
//!
//! A restore replays from the newest checkpoint to the committed offset, and must do there exactly what was done: so
//! the metadata holds how many messages there were and a running hash over them, and every decision since that
//! checkpoint that bytes and state alone don't give (the clock's, the registry's). Kafka takes 4,096 bytes; before they
//! are full a checkpoint is taken, after which the list is empty again.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

use crate::state::{CommitPosition, ModelEpoch};

/// Bytes that Kafka takes by default (`offset.metadata.max.bytes`).
const LARGEST: usize = 4096;
/// From this length on, a checkpoint is due, so that decisions have room until it is durable.
const FULL: usize = 3000;
/// Bytes that numbers may grow by from one commit to the next, and what the clock may decide meanwhile.
const SLACK: usize = 256;
/// Of this metadata's form.
const VERSION: u32 = 1;

/// A decision of the clock: everything that ends by `until` is over, although no record showed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advance {
    /// The commit that it came with.
    pub sequence: u64,
    /// It took effect before the message with this offset or a later one.
    pub offset: i64,
    /// In ticks of the source's clock.
    pub until: i64,
}

/// What is committed of a partition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Commit {
    /// Offset, number and hash.
    pub at: CommitPosition,
    /// Records of the partition that were taken, since its beginning.
    pub position: u64,
    /// The model version that computes what follows this commit, and the commit with which it became active.
    pub epoch: ModelEpoch,
    /// The decisions below are complete after this commit: older ones were dropped with a checkpoint.
    pub complete_from: u64,
    /// Decisions of the clock since the newest checkpoint, in order.
    pub advances: Vec<Advance>,
    /// Offsets since the newest checkpoint whose schema id was unknown.
    pub unknown: Vec<Range<i64>>,
}

#[derive(Serialize, Deserialize)]
struct Written {
    kolk: u32,
    seq: u64,
    n: u64,
    hash: String,
    #[serde(default)]
    from: u64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    model: String,
    #[serde(default, skip_serializing_if = "is_first")]
    model_from: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    clock: Vec<(u64, i64, i64)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unknown: Vec<(i64, i64)>,
}

fn is_first(sequence: &u64) -> bool {
    *sequence == 0
}

impl Commit {
    /// As metadata; `None`: there are too many decisions for it.
    pub fn metadata(&self) -> Option<String> {
        let written = Written {
            kolk: VERSION,
            seq: self.at.sequence,
            n: self.position,
            hash: format!("{:016x}", self.at.hash),
            from: self.complete_from,
            model: self.epoch.model.clone(),
            model_from: self.epoch.from,
            clock: self.advances.iter().map(|a| (a.sequence, a.offset, a.until)).collect(),
            unknown: self.unknown.iter().map(|r| (r.start, r.end)).collect(),
        };
        serde_json::to_string(&written).ok().filter(|text| text.len() <= LARGEST)
    }

    /// From what is committed; `None` if kolk didn't write it.
    pub fn parse(offset: i64, metadata: &str) -> Option<Commit> {
        let written: Written = serde_json::from_str(metadata).ok()?;
        if written.kolk != VERSION {
            return None;
        }
        let hash = u64::from_str_radix(&written.hash, 16).ok()?;
        Some(Commit {
            at: CommitPosition { sequence: written.seq, offset, hash },
            position: written.n,
            epoch: ModelEpoch { model: written.model, from: written.model_from },
            complete_from: written.from,
            advances: written
                .clock
                .into_iter()
                .map(|(sequence, offset, until)| Advance { sequence, offset, until })
                .collect(),
            unknown: written.unknown.into_iter().map(|(start, end)| start..end).collect(),
        })
    }

    /// Whether a checkpoint is due because of the decisions.
    pub fn is_full(&self) -> bool {
        // Each entry of either list takes at most 44 and 42 bytes.
        200 + self.epoch.model.len() + self.advances.len() * 44 + self.unknown.len() * 42 > FULL
    }

    /// Whether it fits into metadata, and what it becomes without further decisions.
    pub fn has_room(&self) -> bool {
        self.metadata().is_some_and(|text| text.len() + SLACK <= LARGEST)
    }

    /// Forgets the decisions that are in the state of a checkpoint.
    pub fn prune(&mut self, checkpoint: CommitPosition) {
        let before = self.advances.len() + self.unknown.len();
        self.advances.retain(|advance| advance.sequence > checkpoint.sequence);
        self.unknown.retain(|range| range.end > checkpoint.offset);
        if self.advances.len() + self.unknown.len() < before {
            self.complete_from = checkpoint.sequence;
        }
    }

    /// Adds a decision of the clock. One at the same offset as the last replaces it: time that was moved on twice with
    /// nothing in between is where it would be if it was moved once.
    pub fn advance(&mut self, advance: Advance) {
        match self.advances.last_mut() {
            Some(last) if last.offset == advance.offset => *last = advance,
            _ => self.advances.push(advance),
        }
    }
}

/// The running hash after one more message.
pub fn hashed(before: u64, offset: i64, key: Option<&[u8]>, payload: Option<&[u8]>) -> u64 {
    // Lengths keep "ab" + "c" apart from "a" + "bc", and nothing apart from no bytes.
    let length = |part: Option<&[u8]>| part.map_or(u64::MAX, |part| part.len() as u64);
    let mut head = [0; 24];
    head[..8].copy_from_slice(&offset.to_le_bytes());
    head[8..16].copy_from_slice(&length(key).to_le_bytes());
    head[16..].copy_from_slice(&length(payload).to_le_bytes());
    let mut hash = XxHash3_64::oneshot_with_seed(before, &head);
    for part in [key, payload].into_iter().flatten() {
        hash = XxHash3_64::oneshot_with_seed(hash, part);
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn metadata_comes_back(
            sequence: u64, complete_from: u64, from: u64, offset in 0_i64.., hash: u64, position: u64, model in "[a-z]{0,9}",
            advances in prop::collection::vec(any::<(u64, i64, i64)>(), 0..20),
            unknown in prop::collection::vec(any::<(i64, i64)>(), 0..20),
        ) {
            let commit = Commit {
                at: CommitPosition { sequence, offset, hash },
                position,
                epoch: ModelEpoch { model, from },
                complete_from,
                advances: advances.into_iter().map(|(sequence, offset, until)| Advance { sequence, offset, until }).collect(),
                unknown: unknown.into_iter().map(|(start, end)| start..end).collect(),
            };
            let text = commit.metadata().unwrap();
            prop_assert_eq!(Commit::parse(offset, &text), Some(commit));
        }

        #[test]
        fn a_full_one_still_fits(more in 0_usize..8) {
            let epoch = ModelEpoch { model: "m".repeat(140), from: u64::MAX };
            let at = CommitPosition { sequence: u64::MAX, offset: 0, hash: u64::MAX };
            let mut commit = Commit { at, epoch, position: u64::MAX, complete_from: u64::MAX, ..Commit::default() };
            while !commit.is_full() {
                commit.unknown.push(i64::MIN..i64::MIN + 1);
                let n = commit.advances.len() as i64;
                commit.advance(Advance { sequence: u64::MAX, offset: i64::MIN + n, until: i64::MIN });
            }
            for n in 0..more as i64 {
                commit.advance(Advance { sequence: u64::MAX, offset: n, until: i64::MIN });
            }
            prop_assert!(commit.metadata().is_some());
        }
    }

    /// If no checkpoint is due, there is always room for one more decision: otherwise nothing could continue.
    #[test]
    fn there_is_room_until_a_checkpoint_is_due() {
        let epoch = ModelEpoch { model: "m".repeat(140), from: u64::MAX };
        let at = CommitPosition { sequence: u64::MAX, offset: 0, hash: u64::MAX };
        let mut commit = Commit { at, epoch, position: u64::MAX, complete_from: u64::MAX, ..Commit::default() };
        for offset in (0..).map(|n| i64::MAX - 1_000 + 2 * n) {
            let is_full = commit.is_full();
            commit.unknown.push(offset..offset + 1);
            assert!(commit.has_room());
            if is_full {
                break;
            }
        }
        commit.unknown.extend((0..1_000).map(|n| n..n + 1));
        assert!(!commit.has_room());
    }

    #[test]
    fn a_swap_costs_few_bytes_and_no_swap_none() {
        let of = |from| {
            let epoch = ModelEpoch { model: "air/3".into(), from };
            Commit { at: CommitPosition { sequence: 7, offset: 9, hash: 1 }, position: 9, epoch, ..Commit::default() }
        };
        let text = |from| of(from).metadata().unwrap();
        assert_eq!(text(0), r#"{"kolk":1,"seq":7,"n":9,"hash":"0000000000000001","from":0,"model":"air/3"}"#);
        assert_eq!(text(6).len(), text(0).len() + r#","model_from":6"#.len());
        assert_eq!(Commit::parse(9, &text(6)), Some(of(6)));
    }

    #[test]
    fn foreign_metadata_is_none() {
        for text in ["", "{}", "someone", r#"{"kolk":2,"seq":1,"n":1,"hash":"00"}"#] {
            assert_eq!(Commit::parse(0, text), None, "{text}");
        }
    }

    #[test]
    fn the_hash_sees_where_parts_end() {
        let h =
            |key: Option<&str>, payload: Option<&str>| hashed(7, 3, key.map(str::as_bytes), payload.map(str::as_bytes));
        let all = [
            h(Some("ab"), Some("c")),
            h(Some("a"), Some("bc")),
            h(None, Some("abc")),
            h(Some(""), Some("abc")),
            h(Some("abc"), None),
        ];
        for (i, a) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|b| a != b));
        }
        assert_ne!(hashed(0, 1, None, None), hashed(0, 2, None, None));
    }
}
