//! Key to slot, looked up once per record.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashTable;

use crate::record::murmur2;

/// Keys of a chunk.
const CHUNK: usize = 1024;

/// Keys in order of first appearance, without a way to look them up. Only ever added to, in chunks, so that clones
/// share all but the newest.
#[derive(Debug, Clone)]
pub struct KeyList {
    number: u64,
    full: Vec<Arc<Chunk>>,
    newest: Chunk,
}

#[derive(Debug, Clone, Default)]
struct Chunk {
    ends: Vec<usize>,
    text: Vec<u8>,
}

impl Chunk {
    #[inline]
    fn get(&self, at: usize) -> &[u8] {
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.text[start..self.ends[at]]
    }
}

impl Default for KeyList {
    /// No keys, under a new number.
    fn default() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        KeyList { number: NEXT.fetch_add(1, Ordering::Relaxed), full: Vec::new(), newest: Chunk::default() }
    }
}

impl KeyList {
    /// Number of keys.
    pub fn len(&self) -> usize {
        self.full.len() * CHUNK + self.newest.ends.len()
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Lists with the same number begin with the same keys: one is a later, longer state of the other.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The key of a slot.
    #[inline]
    pub fn get(&self, slot: u32) -> &[u8] {
        let slot = slot as usize;
        let chunk = if slot / CHUNK == self.full.len() { &self.newest } else { &self.full[slot / CHUNK] };
        chunk.get(slot % CHUNK)
    }

    /// Adds a key that isn't there yet.
    pub fn push(&mut self, key: &[u8]) {
        self.newest.text.extend_from_slice(key);
        self.newest.ends.push(self.newest.text.len());
        if self.newest.ends.len() == CHUNK {
            self.full.push(Arc::new(std::mem::take(&mut self.newest)));
        }
    }

    /// The slot of a key. Searches all keys.
    pub fn find(&self, key: &[u8]) -> Option<u32> {
        self.iter().position(|there| there == key).and_then(|slot| u32::try_from(slot).ok())
    }

    /// All keys in slot order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.from(0)
    }

    /// The keys from a slot on.
    pub fn from(&self, slot: usize) -> impl Iterator<Item = &[u8]> {
        (slot..self.len()).map(|slot| self.get(slot as u32))
    }

    /// Bytes held, about.
    pub fn bytes(&self) -> usize {
        let chunks = self.full.iter().map(|chunk| &**chunk).chain([&self.newest]);
        chunks.map(|chunk| chunk.text.capacity() + chunk.ends.capacity() * size_of::<usize>()).sum()
    }
}

/// The keys of one partition, in order of first appearance; a key's number is its slot.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    table: HashTable<u32>,
    hashes: Vec<u32>,
    list: KeyList,
}

impl Keys {
    /// Number of keys.
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// The key of a slot.
    pub fn get(&self, slot: u32) -> &[u8] {
        self.list.get(slot)
    }

    /// The slot of a key, `hash` being its [`murmur2`]; a new one if it was never seen.
    pub fn slot(&mut self, hash: u32, key: &[u8]) -> u32 {
        let Keys { table, hashes, list } = self;
        let found = table.find(spread(hash), |slot| hashes[*slot as usize] == hash && list.get(*slot) == key);
        if let Some(slot) = found {
            return *slot;
        }
        let slot = u32::try_from(hashes.len()).unwrap_or(u32::MAX);
        hashes.push(hash);
        list.push(key);
        table.insert_unique(spread(hash), slot, |slot| spread(hashes[*slot as usize]));
        slot
    }

    /// The slot of a key if it was seen before.
    pub fn find(&self, key: &[u8]) -> Option<u32> {
        self.table.find(spread(murmur2(key)), |slot| self.get(*slot) == key).copied()
    }

    /// All keys in slot order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.list.iter()
    }

    /// All keys in slot order, for a checkpoint; cheap to clone.
    pub fn list(&self) -> &KeyList {
        &self.list
    }

    /// The keys of a checkpoint; `None` if they aren't different.
    pub fn from_list(list: KeyList) -> Option<Keys> {
        let hashes: Vec<u32> = list.iter().map(murmur2).collect();
        let mut table = HashTable::with_capacity(hashes.len());
        for (slot, (key, hash)) in list.iter().zip(&hashes).enumerate() {
            let there = |other: &u32| hashes[*other as usize] == *hash && list.get(*other) == key;
            if table.find(spread(*hash), there).is_some() {
                return None;
            }
            table.insert_unique(spread(*hash), slot as u32, |slot| spread(hashes[*slot as usize]));
        }
        Some(Keys { table, hashes, list })
    }

    /// Bytes held, about.
    pub fn bytes(&self) -> usize {
        self.list.bytes() + self.hashes.capacity() * 4 + self.table.capacity() * 5
    }
}

/// 32 bits are few for a table of millions: spread them over the 64 that `hashbrown` needs.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn a_list_is_what_it_was_when_it_was_cloned() {
        let mut keys = Keys::default();
        let names: Vec<String> = (0..3 * CHUNK + 5).map(|n| format!("key-{n}")).collect();
        let mut lists = Vec::new();
        for (n, name) in names.iter().enumerate() {
            if n % 500 == 0 {
                lists.push((n, keys.list().clone()));
            }
            keys.slot(murmur2(name.as_bytes()), name.as_bytes());
        }
        lists.push((names.len(), keys.list().clone()));
        for (count, list) in lists {
            assert_eq!(list.len(), count);
            assert_eq!(list.number(), keys.list().number());
            assert!(list.iter().eq(names[..count].iter().map(|name| name.as_bytes())));
            let back = Keys::from_list(list).unwrap();
            assert!(names.iter().enumerate().all(|(n, name)| back.find(name.as_bytes()).is_some() == (n < count)));
        }
        let mut twice = KeyList::default();
        twice.push(b"a");
        twice.push(b"a");
        assert!(Keys::from_list(twice).is_none());
        assert_ne!(KeyList::default().number(), keys.list().number());
    }
}
