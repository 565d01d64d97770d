//! Records to partitions: each record goes to the partition of its key, in the order of the source.
//!
//! A piece of work never crosses the boundary of a part, so that parts, and with them checkpoints, are at positions
//! that don't depend on batch sizes, row groups or the number of workers.

use std::sync::Arc;

use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::{concat, take};

use crate::error::Context;
use crate::format::Messages;
use crate::record::{Origin, PartitionId, Records, Shard, partition_of};
use crate::{Error, Result};

/// Records of one partition, ready to be processed.
#[derive(Debug)]
pub struct Work {
    /// The partition.
    pub partition: PartitionId,
    /// Position of the first record.
    pub position: u64,
    /// The records.
    pub records: Records,
    /// On a stream, the messages that they came in.
    pub messages: Option<Arc<Messages>>,
    /// For some of the bad ones, by index, what exactly is wrong.
    pub details: Vec<(usize, String)>,
}

/// Splits what a source delivers by partition.
pub struct Router {
    batch: usize,
    part_records: u64,
    shard: Shard,
    /// Partitions of all shards.
    count: u32,
    /// Those of this one.
    partitions: Vec<Waiting>,
    /// Per partition, the indices of its records in the block that is being split.
    chosen: Vec<Vec<u32>>,
}

/// What waits of one partition.
struct Waiting {
    /// Position of the next record that arrives.
    position: u64,
    /// Records up to and with it were taken before a restart.
    done: Option<Origin>,
    records: Records,
    /// Per vector and passthrough column, its pieces.
    pieces: Vec<Vec<ArrayRef>>,
    /// How many of them are vectors, which come first.
    vectors: usize,
}

impl Router {
    /// A router for those of `count` partitions that are of a shard, at these positions, which have processed all
    /// records up to these origins.
    pub fn new(batch: usize, part_records: u64, (shard, count): (Shard, u32), at: Vec<(u64, Option<Origin>)>) -> Self {
        let chosen = vec![Vec::new(); at.len()];
        let partitions = at
            .into_iter()
            .map(|(position, done)| Waiting {
                position,
                done,
                records: Records::default(),
                pieces: Vec::new(),
                vectors: 0,
            })
            .collect();
        Router { batch, part_records, shard, count, partitions, chosen }
    }

    /// Splits a block; hands over every piece of work that is full.
    pub fn route(&mut self, block: &Records, send: &mut dyn FnMut(Work) -> Result<()>) -> Result<()> {
        for (index, hash) in block.hashes.iter().enumerate() {
            let partition = partition_of(*hash, self.count);
            if !self.shard.has(partition) {
                continue;
            }
            let partition = self.shard.place_of(partition);
            if self.partitions[partition].done.is_none_or(|done| block.origins[index] > done) {
                self.chosen[partition].push(index as u32);
            }
        }
        for (partition, id) in self.shard.of(self.count).enumerate() {
            let id = id.into();
            let mut chosen = std::mem::take(&mut self.chosen[partition]);
            let mut rest = &chosen[..];
            while !rest.is_empty() {
                let waiting = &mut self.partitions[partition];
                let until_cut = self.part_records - waiting.position % self.part_records;
                let room = (self.batch - waiting.records.len()).min(usize::try_from(until_cut).unwrap_or(usize::MAX));
                let (now, later) = rest.split_at(room.min(rest.len()));
                waiting.append(block, now)?;
                if now.len() == room {
                    send(waiting.take(id)?)?;
                }
                rest = later;
            }
            chosen.clear();
            self.chosen[partition] = chosen;
        }
        Ok(())
    }

    /// Hands over what waits, at the end of the source.
    pub fn finish(mut self, send: &mut dyn FnMut(Work) -> Result<()>) -> Result<()> {
        for (id, waiting) in self.shard.of(self.count).zip(&mut self.partitions) {
            if !waiting.records.is_empty() {
                send(waiting.take(id.into())?)?;
            }
        }
        Ok(())
    }
}

impl Waiting {
    fn append(&mut self, block: &Records, indices: &[u32]) -> Result<()> {
        let to = &mut self.records;
        if to.values.len() != block.values.len() {
            to.values.resize(block.values.len(), Vec::new());
        }
        let start = to.times.len();
        let rows = || indices.iter().map(|index| *index as usize);
        to.hashes.extend(rows().map(|index| block.hashes[index]));
        to.times.extend(rows().map(|index| block.times[index]));
        to.origins.extend(rows().map(|index| block.origins[index]));
        for (to, from) in to.values.iter_mut().zip(&block.values) {
            to.extend(rows().map(|index| from[index]));
        }
        for index in rows() {
            to.key_text.extend_from_slice(block.key(index));
            to.key_ends.push(to.key_text.len());
        }
        if !block.bad.is_empty() {
            for (offset, index) in rows().enumerate() {
                if let Ok(at) = block.bad.binary_search_by_key(&index, |(index, _)| *index) {
                    to.bad.push((start + offset, block.bad[at].1));
                    if let Ok(at) = block.details.binary_search_by_key(&index, |(index, _)| *index) {
                        to.details.push((start + offset, block.details[at].1.clone()));
                    }
                }
            }
        }
        let arrays = block.vectors.len() + block.passthrough.len();
        if arrays > 0 {
            let indices = UInt32Array::from(indices.to_vec());
            self.pieces.resize(arrays, Vec::new());
            self.vectors = block.vectors.len();
            for (pieces, array) in self.pieces.iter_mut().zip(block.vectors.iter().chain(&block.passthrough)) {
                pieces.push(take(array, &indices, None).or_failed(|| "splitting records by partition".to_string())?);
            }
        }
        self.position += indices.len() as u64;
        Ok(())
    }

    fn take(&mut self, partition: PartitionId) -> Result<Work> {
        let mut records = std::mem::take(&mut self.records);
        for (at, pieces) in self.pieces.iter_mut().enumerate() {
            let pieces = std::mem::take(pieces);
            let arrays: Vec<&dyn arrow::array::Array> = pieces.iter().map(AsRef::as_ref).collect();
            let to = if at < self.vectors { &mut records.vectors } else { &mut records.passthrough };
            to.push(concat(&arrays).map_err(|e| Error::failed(format!("joining columns of records: {e}")))?);
        }
        let details = std::mem::take(&mut records.details);
        let position = self.position - records.len() as u64;
        Ok(Work { partition, position, records, messages: None, details })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::murmur2;
    use proptest::prelude::*;

    fn records(keys: &[u8], first_row: u64) -> Records {
        let mut records = Records { values: vec![Vec::new()], ..Records::default() };
        for (i, key) in keys.iter().enumerate() {
            let key = [b'k', *key];
            records.hashes.push(murmur2(&key));
            records.key_text.extend(key);
            records.key_ends.push(records.key_text.len());
            records.times.push(first_row as i64 + i as i64);
            records.values[0].push(first_row as f64 + i as f64);
            records.origins.push(Origin { file: 0, row: first_row + i as u64 });
        }
        records
    }

    proptest! {
        /// However blocks are cut and wherever it restarts: each partition gets the same records at the same positions,
        /// and no piece of work crosses a boundary.
        #[test]
        fn positions_do_not_depend_on_blocks(
            keys in prop::collection::vec(0_u8..9, 1..300), block in 1_usize..80, batch in 1_usize..50, cut in 1_u64..40,
            resume in 0_usize..300,
        ) {
            let mut taken = [const { Vec::new() }; 4];
            let mut router = Router::new(batch, cut, (Shard::default(), 4), vec![(0, None); 4]);
            let mut at = vec![(0_u64, None); 4];
            let mut send = |work: Work| {
                assert!(work.position / cut == (work.position + work.records.len() as u64 - 1) / cut);
                for (i, origin) in work.records.origins.iter().enumerate() {
                    taken[work.partition.number as usize].push((work.position + i as u64, *origin, work.records.values[0][i]));
                    if origin.row < resume as u64 {
                        at[work.partition.number as usize] = (work.position + i as u64 + 1, Some(*origin));
                    }
                }
                Ok(())
            };
            for (i, part) in keys.chunks(block).enumerate() {
                router.route(&records(part, (i * block) as u64), &mut send).unwrap();
            }
            router.finish(&mut send).unwrap();
            for partition in &taken {
                for (i, (position, _, _)) in partition.iter().enumerate() {
                    prop_assert_eq!(*position, i as u64);
                }
            }
            prop_assert_eq!(taken.iter().map(Vec::len).sum::<usize>(), keys.len());

            let mut again = [const { Vec::new() }; 4];
            let mut router = Router::new(batch, cut, (Shard::default(), 4), at.clone());
            let mut send = |work: Work| {
                for (i, origin) in work.records.origins.iter().enumerate() {
                    again[work.partition.number as usize].push((work.position + i as u64, *origin, work.records.values[0][i]));
                }
                Ok(())
            };
            router.route(&records(&keys, 0), &mut send).unwrap();
            router.finish(&mut send).unwrap();
            for (partition, (from, _)) in at.iter().enumerate() {
                prop_assert_eq!(&again[partition][..], &taken[partition][*from as usize..]);
            }
        }
    }
}
