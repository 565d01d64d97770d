//! Batches like those of a sample, of as many keys and as many rounds as are needed.

use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::take;

use crate::Result;
use crate::error::Context;
use crate::record::{Origin, Records, murmur2};

/// Makes batches: values of the sample again and again, of other keys, at later and later times.
pub struct Load {
    sample: Records,
    /// Records of the sample that are good.
    good: Vec<usize>,
    /// Bytes of a key.
    width: usize,
    /// Ticks between two records of a key.
    pub step: i64,
    /// Whether the sample says that.
    pub is_step_known: bool,
    /// The time of the records that are made next.
    pub time: i64,
    /// What the first keys are called, such as those that have a network of their own.
    pub names: Vec<String>,
    round: u64,
    origin: u64,
}

impl Load {
    /// Of a sample with at least one good record; `step` is used where it shows no key twice.
    pub fn new(sample: Records, step: i64) -> Load {
        let bad = |index: &usize| sample.bad.binary_search_by_key(index, |(bad, _)| *bad).is_ok();
        let good: Vec<usize> = (0..sample.len()).filter(|index| !bad(index)).collect();
        let known = usual_step(&sample, &good);
        let bytes: usize = good.iter().map(|index| sample.key(*index).len()).sum();
        let first = good.iter().map(|index| sample.times[*index]).max().unwrap_or(0);
        let width = bytes.checked_div(good.len()).unwrap_or(0);
        let step = known.unwrap_or(step).max(1);
        Load {
            good,
            width,
            step,
            is_step_known: known.is_some(),
            time: first,
            names: Vec::new(),
            round: 0,
            origin: 0,
            sample,
        }
    }

    /// All keys have had a record: the next ones are a step later, or that of `ticks`.
    pub fn pass(&mut self, ticks: Option<i64>) {
        self.time = self.time.saturating_add(ticks.unwrap_or(self.step));
        self.round += 1;
    }

    /// One record of each of these keys.
    ///
    /// # Errors
    /// Columns that can't be taken from.
    pub fn batch(&mut self, keys: impl Iterator<Item = u64>) -> Result<Records> {
        let mut records = Records { values: vec![Vec::new(); self.sample.values.len()], ..Records::default() };
        let mut rows: Vec<u32> = Vec::new();
        for key in keys {
            let row = self.good[((key + self.round * 31) % self.good.len() as u64) as usize];
            let name = usize::try_from(key).ok().and_then(|key| self.names.get(key));
            let text = name.cloned().unwrap_or_else(|| format!("{key:0width$}", width = self.width.min(200)));
            records.hashes.push(murmur2(text.as_bytes()));
            records.key_text.extend_from_slice(text.as_bytes());
            records.key_ends.push(records.key_text.len());
            records.times.push(self.time);
            records.origins.push(Origin { file: 0, row: self.origin });
            self.origin += 1;
            for (to, from) in records.values.iter_mut().zip(&self.sample.values) {
                to.push(from[row]);
            }
            rows.push(u32::try_from(row).unwrap_or(0));
        }
        let rows = UInt32Array::from(rows);
        let taken = |arrays: &[ArrayRef]| -> Result<Vec<ArrayRef>> {
            arrays.iter().map(|array| take(array, &rows, None).or_failed(|| "taking a sample's rows".into())).collect()
        };
        records.vectors = taken(&self.sample.vectors)?;
        records.passthrough = taken(&self.sample.passthrough)?;
        Ok(records)
    }
}

/// The median of the times between two records of a key, if the sample has enough of them.
fn usual_step(sample: &Records, good: &[usize]) -> Option<i64> {
    const ENOUGH: usize = 32;
    let mut last = std::collections::HashMap::new();
    let mut steps: Vec<i64> = good
        .iter()
        .filter_map(|index| {
            let (key, time) = (sample.key(*index), sample.times[*index]);
            last.insert(key, time).map(|before| time.saturating_sub(before)).filter(|step| *step > 0)
        })
        .collect();
    steps.sort_unstable();
    (steps.len() >= ENOUGH).then(|| steps[steps.len() / 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(keys: u64, rounds: i64) -> Records {
        let mut records = Records { values: vec![Vec::new()], ..Records::default() };
        for (round, key) in (0..rounds).flat_map(|round| (0..keys).map(move |key| (round, key))) {
            records.key_text.extend_from_slice(format!("shop-{key:03}").as_bytes());
            records.key_ends.push(records.key_text.len());
            records.hashes.push(0);
            records.times.push(round * 60);
            records.values[0].push(key as f64);
            records.origins.push(Origin { file: 0, row: 0 });
        }
        records
    }

    #[test]
    fn a_batch_has_each_key_once_and_time_goes_on() {
        let mut sample = sample(10, 9);
        sample.bad.push((3, "bad_value"));
        let mut load = Load::new(sample, 5);
        assert_eq!((load.step, load.is_step_known, load.width), (60, true, 8));
        let first = load.batch(0..1000).unwrap();
        load.pass(None);
        let later = load.batch((0..1000).rev()).unwrap();
        let keys: std::collections::BTreeSet<&[u8]> = (0..first.len()).map(|index| first.key(index)).collect();
        assert_eq!((keys.len(), first.key(7), later.key(0)), (1000, &b"00000007"[..], &b"00000999"[..]));
        assert_eq!((first.times[0], later.times[0]), (8 * 60, 9 * 60));
        assert!(first.bad.is_empty() && first.values[0].len() == 1000);
        load.names = vec!["north".into(), "south".into()];
        let named = load.batch(1..3).unwrap();
        assert_eq!((named.key(0), named.key(1)), (&b"south"[..], &b"00000002"[..]));
    }

    #[test]
    fn without_a_key_twice_the_step_is_given() {
        let load = Load::new(sample(500, 1), 7);
        assert_eq!((load.step, load.is_step_known), (7, false));
    }
}
