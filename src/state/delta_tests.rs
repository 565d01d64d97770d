//! Deltas: whatever happened to the rows in between, base and delta make the checkpoint.

use proptest::prelude::*;

use super::delta::{Outline, apply, encode};
use super::{Arena, Checkpoint, CommitPosition, Keys};
use crate::record::murmur2;

/// Rows of 2,000 words: four in a page.
const WIDTH: usize = 2000;

/// A partition that is written at random.
struct Partition {
    keys: Keys,
    arena: Arena,
    sequence: u64,
}

impl Partition {
    fn new() -> Partition {
        Partition { keys: Keys::default(), arena: Arena::new((0..WIDTH as u64).collect()), sequence: 0 }
    }

    fn write(&mut self, writes: &[(u8, u64)]) {
        for (key, word) in writes {
            let key = format!("key-{key}");
            let slot = self.keys.slot(murmur2(key.as_bytes()), key.as_bytes());
            self.arena.grow_to(self.keys.len());
            self.arena.rows(3, 2).get_mut(slot)[0] = *word;
        }
        self.sequence += 1;
    }

    fn checkpoint(&mut self) -> Checkpoint {
        let (keys, rows) = (self.keys.list().clone(), self.arena.freeze().into());
        let at =
            Some(CommitPosition { sequence: self.sequence, offset: self.sequence as i64 * 10, hash: self.sequence });
        Checkpoint { position: self.sequence * 10, keys, rows, at, ..Checkpoint::default() }
    }
}

fn delta(base: &Checkpoint, checkpoint: &Checkpoint) -> Vec<u8> {
    let outline = Outline::of(base).unwrap().unwrap();
    encode(checkpoint, &outline, &outline.changed(checkpoint).unwrap().unwrap()).unwrap()
}

fn writes() -> impl Strategy<Value = Vec<(u8, u64)>> {
    proptest::collection::vec((0..60_u8, any::<u64>()), 0..8)
}

proptest! {
    #[test]
    fn a_base_and_its_deltas_are_the_checkpoint(rounds in proptest::collection::vec(writes(), 1..8)) {
        let mut partition = Partition::new();
        let mut last = partition.checkpoint();
        let mut restored = Checkpoint::decode(&last.encode().unwrap()).unwrap();
        for round in &rounds {
            partition.write(round);
            let next = partition.checkpoint();
            restored = apply(&delta(&last, &next), restored).unwrap();
            // Equal state gives equal bytes, on whichever way it came about.
            prop_assert_eq!(restored.encode().unwrap(), next.encode().unwrap());
            last = next;
        }
    }

    #[test]
    fn any_changed_or_missing_byte_is_seen(
        (first, second) in (writes(), writes()),
        at in any::<prop::sample::Index>(),
        flip in 1..=255_u8,
    ) {
        let mut partition = Partition::new();
        partition.write(&first);
        let base = partition.checkpoint();
        partition.write(&second);
        let mut bytes = delta(&base, &partition.checkpoint());
        prop_assert!(apply(&bytes, base.clone()).is_ok());
        let at = at.index(bytes.len());
        prop_assert!(apply(&bytes[..at], base.clone()).is_err());
        bytes[at] ^= flip;
        prop_assert!(apply(&bytes, base).is_err());
    }
}

#[test]
fn a_delta_holds_only_what_changed() {
    let mut partition = Partition::new();
    partition.write(&(0..100).map(|key| (key, 1)).collect::<Vec<_>>());
    let base = partition.checkpoint();
    partition.write(&[(17, 2)]);
    let next = partition.checkpoint();
    assert_eq!(Outline::of(&base).unwrap().unwrap().changed(&next).unwrap().unwrap(), [17 / 4]);
    assert!(delta(&base, &next).len() < 4 * WIDTH * 8 + 1000);
}

#[test]
fn a_delta_fits_one_checkpoint_only() {
    let mut partition = Partition::new();
    partition.write(&[(1, 1), (2, 2)]);
    let (first, outline) = (partition.checkpoint(), Outline::of(&partition.checkpoint()).unwrap().unwrap());
    assert!(outline.changed(&first).unwrap().is_none(), "the same commit is no later one");
    partition.write(&[(3, 3)]);
    let second = partition.checkpoint();
    partition.write(&[(1, 4)]);
    let third = partition.checkpoint();
    let error = apply(&delta(&second, &third), first).unwrap_err().to_string();
    assert!(error.contains("based on commit 2"), "{error}");
    let mut stranger = Partition::new();
    stranger.write(&[(1, 1), (2, 2), (3, 3)]);
    stranger.sequence = 9;
    assert!(outline.changed(&stranger.checkpoint()).unwrap().is_none(), "another history of keys");
}
