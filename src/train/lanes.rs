//! Lanes for `mode: carry`: the train part as a few long lanes side by side, cut into chunks of truncated BPTT.
//!
//! Lives here: the order of the steps in an epoch. Must not live here: the network.
//!
//! All train steps are concatenated, key after key, in an order that is drawn again each epoch, and cut into
//! `batch_size` lanes of equal length. Within a lane, state is carried from chunk to chunk; it is zero at the lane's
//! start, where the key changes and at a restart. The first chunk of an epoch has a random shorter length, so that the
//! boundaries between chunks are elsewhere each epoch. An epoch of n steps has about n / batch_size / chunk updates.

use super::dataset::Dataset;
use super::scaling::Scaling;
use super::split::Subset;
use super::windows::{Examples, below, epoch_rng, shuffle};

/// The lanes of one epoch.
#[derive(Debug, Clone)]
pub struct Lanes {
    /// The stretches of train steps (series, first step) in the order of the epoch, and how many steps lie before each.
    order: Vec<(u32, u32)>,
    before: Vec<usize>,
    /// How many steps lie before each lane, and before the end of the last one.
    starts: Vec<usize>,
    /// Length of each chunk.
    chunks: Vec<usize>,
}

/// Stretches (series, first step, end) whose steps are origins of the train part, one after the other.
pub fn stretches(data: &Dataset) -> Vec<(u32, u32, u32)> {
    let mut found = Vec::new();
    for series in 0..data.series.len() {
        let rows = &data.steps[series].rows;
        let train = |step: usize| data.examples[series][rows[step] as usize] == Some(Subset::Train);
        let mut step = 0;
        while step < rows.len() {
            let end = (step..rows.len()).find(|s| !train(*s)).unwrap_or(rows.len());
            if end > step {
                found.push((series as u32, step as u32, end as u32));
            }
            step = end + 1;
        }
    }
    found
}

/// Number of lanes: `batch_size`, or fewer where a lane would otherwise be shorter than a chunk or than twice what it
/// burns in.
pub fn width(data: &Dataset, steps: usize) -> usize {
    let shortest = data.plan.chunk.max(2 * data.plan.burn_in).max(1);
    data.plan.batch_size.min(steps / shortest).max(1)
}

impl Lanes {
    /// The lanes of an epoch (from 0).
    pub fn new(data: &Dataset, stretches: &[(u32, u32, u32)], seed: u64, epoch: usize) -> Lanes {
        let mut rng = epoch_rng(seed, epoch);
        let mut shuffled = stretches.to_vec();
        shuffle(&mut shuffled, &mut rng);
        let (mut steps, mut before) = (0, Vec::with_capacity(shuffled.len()));
        for (_, from, end) in &shuffled {
            before.push(steps);
            steps += (end - from) as usize;
        }
        let width = width(data, steps);
        let starts: Vec<usize> = (0..=width).map(|lane| lane * steps / width).collect();
        let longest = starts.windows(2).map(|w| w[1] - w[0]).max().unwrap_or(0);
        let chunk = data.plan.chunk;
        let mut chunks = Vec::new();
        let mut left = longest;
        let mut next = 1 + below(&mut rng, chunk);
        while left > 0 {
            let take = next.min(left);
            chunks.push(take);
            left -= take;
            next = chunk;
        }
        let order = shuffled.into_iter().map(|(series, from, _)| (series, from)).collect();
        Lanes { order, before, starts, chunks }
    }

    /// Number of lanes.
    pub fn width(&self) -> usize {
        self.starts.len() - 1
    }

    /// Number of chunks, each an update.
    pub fn chunks(&self) -> usize {
        self.chunks.len()
    }

    /// The step at a place of a lane: (series, step, whether state is zero before it); `None` beyond the lane's end.
    pub fn at(&self, data: &Dataset, lane: usize, place: usize) -> Option<(usize, usize, bool)> {
        let index = self.starts[lane] + place;
        if index >= self.starts[lane + 1] {
            return None;
        }
        let (series, step) = self.step(index);
        let follows = place > 0 && step > 0 && self.step(index - 1) == (series, step - 1);
        let restart = data.steps[series as usize].since[step as usize] == 1;
        Some((series as usize, step as usize, restart || !follows))
    }

    /// The step (series, step) at a place of the epoch.
    fn step(&self, index: usize) -> (u32, u32) {
        let stretch = self.before.partition_point(|before| *before <= index) - 1;
        let (series, from) = self.order[stretch];
        (series, from + (index - self.before[stretch]) as u32)
    }

    /// Fills a batch with a chunk.
    pub fn fill(&self, batch: &mut Examples, data: &Dataset, scaling: &Scaling, chunk: usize) {
        let first: usize = self.chunks[..chunk].iter().sum();
        let steps = self.chunks[chunk];
        let width = self.width();
        batch.clear(data, steps, width, steps);
        for at in 0..steps {
            for lane in 0..width {
                let Some((series, step, zero)) = self.at(data, lane, first + at) else { continue };
                batch.put_x(data, at, lane, series, step);
                batch.reset[at * width + lane] = zero;
                if first + at >= data.plan.burn_in {
                    batch.put_wanted(data, scaling, at, lane, series, step);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Split;
    use crate::train::Series;
    use crate::train::dataset::tests::plain;
    use crate::train::plan::tests::{plan_of, section};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn some_series(lengths: &[usize], restarts: &[usize]) -> Vec<Series> {
        lengths
            .iter()
            .enumerate()
            .map(|(k, n)| {
                let values: Vec<f64> = (0..*n).map(|i| (1000 * k + i) as f64).collect();
                let mut s = plain(&format!("k{k}"), &values);
                restarts.iter().filter(|r| **r < *n).for_each(|r| s.restart[*r] = true);
                s
            })
            .collect()
    }

    proptest! {
        #[test]
        fn every_train_step_stands_in_exactly_one_lane_once(
            lengths in prop::collection::vec(1_usize..60, 1..8),
            restarts in prop::collection::vec(0_usize..60, 0..3),
            batch in 1_usize..9, chunk in 1_usize..20, epoch in 0_usize..4,
        ) {
            let mut train = section(2, &["v"]);
            (train.batch_size, train.chunk) = (batch, chunk);
            train.split.value = Split::PerKey([0.8, 0.1, 0.1]);
            let plan = plan_of(&train, None);
            let series = some_series(&lengths, &restarts);
            let data = Dataset::new(&series, &plan).unwrap();
            let stretches = stretches(&data);
            let wanted: usize = stretches.iter().map(|(_, a, b)| (b - a) as usize).sum();
            prop_assume!(wanted > 0);
            let lanes = Lanes::new(&data, &stretches, 7, epoch);
            let mut times = BTreeMap::new();
            let mut batch = Examples::default();
            let mut values = Vec::new();
            let mut before = vec![None; lanes.width()];
            for chunk in 0..lanes.chunks() {
                lanes.fill(&mut batch, &data, &Scaling::neutral(&plan), chunk);
                prop_assert!(batch.steps <= plan.chunk);
                for cell in 0..batch.steps * batch.batch {
                    if !batch.active[cell] { continue }
                    let value = batch.x[cell];
                    values.push(value);
                    *times.entry(value as u64).or_insert(0) += 1;
                    // The target of step v is v + 1: the target is next to its own input.
                    prop_assert_eq!(batch.wanted[cell * 2], value + 1.0);
                    // State is carried exactly where a lane continues with the next row of the same key.
                    let lane = cell % batch.batch;
                    let row = value as usize % 1000;
                    let follows = before[lane] == Some(value - 1.0) && row > 0 && !restarts.contains(&row);
                    prop_assert_eq!(batch.reset[cell], !follows);
                    before[lane] = Some(value);
                }
            }
            prop_assert_eq!(values.len(), wanted);
            prop_assert!(times.values().all(|n| *n == 1));
            let shortest = lanes.starts.windows(2).map(|w| w[1] - w[0]).min().unwrap();
            let longest = lanes.starts.windows(2).map(|w| w[1] - w[0]).max().unwrap();
            prop_assert!(longest - shortest <= 1);
        }
    }

    #[test]
    fn chunks_start_elsewhere_each_epoch_and_burn_in_gives_no_loss() {
        let mut train = section(1, &["v"]);
        (train.batch_size, train.chunk, train.burn_in) = (2, 10, 3);
        train.split.value = Split::Rows([101, 0, 0]);
        let plan = plan_of(&train, None);
        let series = some_series(&[101], &[]);
        let data = Dataset::new(&series, &plan).unwrap();
        let stretches = stretches(&data);
        let firsts: Vec<usize> = (0..8).map(|e| Lanes::new(&data, &stretches, 1, e).chunks[0]).collect();
        assert!(firsts.iter().any(|f| *f != firsts[0]), "{firsts:?}");
        let lanes = Lanes::new(&data, &stretches, 1, 0);
        let mut batch = Examples::default();
        let mut counted = 0.0;
        for chunk in 0..lanes.chunks() {
            lanes.fill(&mut batch, &data, &Scaling::neutral(&plan), chunk);
            counted += batch.weight.iter().sum::<f32>();
        }
        // 100 origins in two lanes, less three at the start of each.
        assert_eq!(counted, 94.0);
    }

    #[test]
    fn few_rows_make_few_lanes() {
        let mut train = section(1, &["v"]);
        (train.batch_size, train.chunk) = (32, 16);
        train.split.value = Split::Rows([41, 0, 0]);
        let plan = plan_of(&train, None);
        let series = some_series(&[41], &[]);
        let data = Dataset::new(&series, &plan).unwrap();
        assert_eq!(Lanes::new(&data, &stretches(&data), 1, 0).width(), 2);
    }
}
