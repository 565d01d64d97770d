//! What must be: the output of a straight run over the same input, with nothing lost, doubled or in another order. It is checked
//! at every commit, so that what is wrong is found where it happens, and once more at the end, in the order of the output's log.

use super::log::{Fate, Input, Sent};
use super::work::{Payload, STATE, key, mix};
use crate::state::Checkpoint;

/// What is committed of a partition.
#[derive(Debug, Clone)]
struct Covered {
    /// Where the group began.
    base: i64,
    until: i64,
    /// Per key, the running hash.
    hashes: Vec<u64>,
    /// Every offset that was committed.
    marks: Vec<i64>,
}

/// Of all partitions.
#[derive(Debug, Default)]
pub struct Oracle {
    covered: Vec<Option<Covered>>,
    keys: usize,
}

/// The outputs of the records from `from` to `to`, on top of `hashes`.
fn straight(input: &Input, fates: &[Fate], from: i64, to: i64, hashes: &mut [u64]) -> Vec<(u8, u64)> {
    let mut out = Vec::new();
    for offset in from..to {
        match input.readable(offset, fates) {
            Some((key, Some(value))) => {
                let hash = &mut hashes[key as usize];
                *hash = mix(*hash, value);
                out.push((key, *hash));
            }
            Some((key, None)) => hashes[key as usize] = 0,
            None => {}
        }
    }
    out
}

impl Oracle {
    pub fn new(partitions: u32, keys: u8) -> Oracle {
        Oracle { covered: vec![None; partitions as usize], keys: keys as usize }
    }

    /// A transaction was committed: its outputs must be those of the records that its offsets say were read, and no others.
    pub fn committed(
        &mut self,
        inputs: &[Input],
        fates: &[Fate],
        sent: &[Payload],
        offsets: &[(u32, i64)],
    ) -> Result<(), String> {
        if let Some(payload) = sent.iter().find(|payload| offsets.iter().all(|(p, _)| *p != payload.partition)) {
            return Err(format!("an output of partition {} is committed without its offset", payload.partition));
        }
        for (partition, offset) in offsets {
            let input = &inputs[*partition as usize];
            if *offset > input.stable(fates) {
                return Err(format!("partition {partition}: offset {offset} is committed beyond what can be read"));
            }
            let fresh = Covered { base: *offset, until: *offset, hashes: vec![0; self.keys], marks: Vec::new() };
            let is_new = self.covered[*partition as usize].is_none();
            if is_new && *offset != input.start {
                return Err(format!("partition {partition}: begun at {offset} instead of {}", input.start));
            }
            let covered = self.covered[*partition as usize].get_or_insert(fresh);
            if *offset < covered.until {
                return Err(format!("partition {partition}: {offset} is committed after {}", covered.until));
            }
            let expected = straight(input, fates, covered.until, *offset, &mut covered.hashes);
            let of_this = sent.iter().filter(|payload| payload.partition == *partition);
            let found: Vec<(u8, u64)> = of_this.map(|payload| (payload.key, payload.hash)).collect();
            if found != expected {
                let first = found.iter().zip(&expected).position(|(a, b)| a != b);
                return Err(format!(
                    "partition {partition}, offsets {} to {offset}: {} outputs instead of {}, the first other one is number {:?}",
                    covered.until,
                    found.len(),
                    expected.len(),
                    first.unwrap_or(found.len().min(expected.len()))
                ));
            }
            covered.until = *offset;
            covered.marks.push(*offset);
        }
        Ok(())
    }

    /// A checkpoint must be the state as of an offset that was committed.
    pub fn checkpoint(
        &self,
        inputs: &[Input],
        fates: &[Fate],
        partition: u32,
        checkpoint: &Checkpoint,
    ) -> Result<(), String> {
        let wrong = |what: String| Err(format!("partition {partition}: a checkpoint {what}"));
        let (Some(mark), Some(covered)) = (checkpoint.mark, &self.covered[partition as usize]) else {
            return wrong("of nothing that is committed".into());
        };
        if !covered.marks.contains(&mark.offset) {
            return wrong(format!("of offset {}, which is not committed", mark.offset));
        }
        let mut hashes = vec![0; self.keys];
        straight(&inputs[partition as usize], fates, covered.base, mark.offset, &mut hashes);
        for (number, hash) in hashes.into_iter().enumerate() {
            let slot = checkpoint.keys.find(&key(partition, number as u8));
            let found = slot.map_or(0, |slot| checkpoint.row(slot)[STATE]);
            if found != hash {
                return wrong(format!("of offset {}: key {number} has another state", mark.offset));
            }
        }
        Ok(())
    }

    /// Up to where a partition is committed.
    pub fn until(&self, partition: u32) -> Option<i64> {
        self.covered[partition as usize].as_ref().map(|covered| covered.until)
    }

    /// The output as a reader of committed messages sees it, in the order of its log.
    pub fn output(&self, inputs: &[Input], fates: &[Fate], log: &[Sent]) -> Result<(), String> {
        for (partition, (input, covered)) in inputs.iter().zip(&self.covered).enumerate() {
            let Some(covered) = covered else { continue };
            let expected = straight(input, fates, covered.base, covered.until, &mut vec![0; self.keys]);
            for number in 0..self.keys as u8 {
                let of_key = |(key, _): &&(u8, u64)| *key == number;
                let expected: Vec<u64> = expected.iter().filter(of_key).map(|(_, hash)| *hash).collect();
                let found: Vec<u64> = log
                    .iter()
                    .filter(|sent| fates[sent.txn] == Fate::Committed)
                    .filter(|sent| sent.payload.partition == partition as u32 && sent.payload.key == number)
                    .map(|sent| sent.payload.hash)
                    .collect();
                if found != expected {
                    return Err(format!("partition {partition}, key {number}: the output's log has them in another order"));
                }
            }
        }
        Ok(())
    }
}
