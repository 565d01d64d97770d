//! Key to slot, looked up once per record.

use hashbrown::HashTable;

/// The keys of one partition, in order of first appearance; a key's number is its slot.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    table: HashTable<u32>,
    hashes: Vec<u32>,
    ends: Vec<usize>,
    text: Vec<u8>,
}

impl Keys {
    /// Number of keys.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The key of a slot.
    pub fn get(&self, slot: u32) -> &[u8] {
        let slot = slot as usize;
        let start = if slot == 0 { 0 } else { self.ends[slot - 1] };
        &self.text[start..self.ends[slot]]
    }

    /// The slot of a key, `hash` being its [`murmur2`]; a new one if it was never seen.
    pub fn slot(&mut self, hash: u32, key: &[u8]) -> u32 {
        let Keys { table, hashes, ends, text } = self;
        let found = table.find(spread(hash), |slot| {
            let slot = *slot as usize;
            let start = if slot == 0 { 0 } else { ends[slot - 1] };
            hashes[slot] == hash && &text[start..ends[slot]] == key
        });
        if let Some(slot) = found {
            return *slot;
        }
        let slot = u32::try_from(ends.len()).unwrap_or(u32::MAX);
        hashes.push(hash);
        text.extend_from_slice(key);
        ends.push(text.len());
        table.insert_unique(spread(hash), slot, |slot| spread(hashes[*slot as usize]));
        slot
    }

    /// The slot of a key if it was seen before.
    pub fn find(&self, key: &[u8]) -> Option<u32> {
        self.table.find(spread(murmur2(key)), |slot| self.get(*slot) == key).copied()
    }

    /// All keys in slot order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.ends.len()).map(|slot| {
            let start = if slot == 0 { 0 } else { self.ends[slot - 1] };
            &self.text[start..self.ends[slot]]
        })
    }

    /// Per key, where it ends in the text of all keys; and that text.
    pub fn parts(&self) -> (&[usize], &[u8]) {
        (&self.ends, &self.text)
    }

    /// The keys whose [`Keys::parts`] these are; `None` if they aren't those of different keys.
    pub fn from_parts(ends: Vec<usize>, text: Vec<u8>) -> Option<Keys> {
        let mut keys = Keys::default();
        let mut start = 0;
        for (slot, end) in ends.iter().enumerate() {
            let key = text.get(start..*end)?;
            if keys.slot(murmur2(key), key) as usize != slot {
                return None;
            }
            start = *end;
        }
        (start == text.len()).then_some(keys)
    }

    /// Bytes held, about.
    pub fn bytes(&self) -> usize {
        self.text.capacity() + self.ends.capacity() * 8 + self.hashes.capacity() * 4 + self.table.capacity() * 5
    }
}

/// The partition of a key among `partitions`, as Kafka's Java client computes it: `(murmur2(key) & 0x7fffffff) % n`.
pub fn partition_of(hash: u32, partitions: u32) -> u32 {
    (hash & 0x7fff_ffff) % partitions
}

/// 32 bits are few for a table of millions: spread them over the 64 that `hashbrown` wants.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The hash that Kafka's Java client takes of a record's key: MurmurHash2 by Austin Appleby, seed 0x9747b28c.
pub fn murmur2(key: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut h = 0x9747_b28c_u32 ^ (key.len() as u32);
    let mut words = key.chunks_exact(4);
    for word in &mut words {
        let k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(M);
        h = h.wrapping_mul(M) ^ (k ^ (k >> 24)).wrapping_mul(M);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        for (i, byte) in rest.iter().enumerate() {
            h ^= u32::from(*byte) << (8 * i);
        }
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    h ^ (h >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of Kafka's own `UtilsTest.testMurmur2`.
    #[test]
    fn murmur2_is_kafkas() {
        for (key, hash) in [
            ("21", -973932308_i32),
            ("foobar", -790332482),
            ("a-little-bit-long-string", -985981536),
            ("a-little-bit-longer-string", -1486304829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        ] {
            assert_eq!(murmur2(key.as_bytes()) as i32, hash, "{key}");
        }
    }

    #[test]
    fn slots_are_numbers_of_first_appearance() {
        let mut keys = Keys::default();
        for round in 0..2 {
            for n in 0..1000_u32 {
                let key = format!("key-{n}");
                assert_eq!(keys.slot(murmur2(key.as_bytes()), key.as_bytes()), n, "round {round}");
            }
        }
        assert_eq!(keys.get(999), b"key-999");
        assert_eq!(keys.find(b"key-500"), Some(500));
        assert_eq!(keys.find(b"key-1000"), None);
    }
}
