//! Examples for `mode: sequence`: whole sequences of any length side by side, padded at their ends.
//!
//! Lives here: which sequences go into a batch, and how they lie in it. Must not live here: what a sequence is
//! (`dataset`), what the network makes of it.
//!
//! The sequences of an epoch are shuffled; within stretches of [`NEAR`] batches they are sorted by length, so that
//! those of a batch are about as long and little of it is padding; the batches of a stretch are shuffled again.

use super::dataset::Dataset;
use super::scaling::Scaling;
use super::windows::{Examples, Origin, epoch_rng, shuffle};

/// Batches of a stretch of the epoch that is sorted by length.
const NEAR: usize = 16;

/// Steps of all these sequences.
pub fn steps(data: &Dataset, origins: impl Iterator<Item = Origin>) -> usize {
    origins.map(|(series, step)| length(data, series, step)).sum()
}

fn length(data: &Dataset, series: u32, step: u32) -> usize {
    data.steps[series as usize].since[step as usize] as usize
}

/// The batches of an epoch.
pub fn batches(data: &Dataset, origins: &[Origin], epoch: usize) -> Vec<Vec<Origin>> {
    let (mut rng, size) = (epoch_rng(data.plan.seed, epoch), data.plan.batch_size);
    let mut order = origins.to_vec();
    shuffle(&mut order, &mut rng);
    let mut all = Vec::new();
    for stretch in order.chunks_mut(NEAR * size) {
        stretch.sort_by_key(|(series, step)| length(data, *series, *step));
        let mut batches: Vec<Vec<Origin>> = stretch.chunks(size).map(<[Origin]>::to_vec).collect();
        shuffle(&mut batches, &mut rng);
        all.append(&mut batches);
    }
    all
}

/// Fills a batch with the sequences that end at `origins`.
pub fn fill(batch: &mut Examples, data: &Dataset, scaling: &Scaling, origins: &[Origin]) {
    let longest = origins.iter().map(|(series, step)| length(data, *series, *step)).max().unwrap_or(0);
    let pooled = !data.plan.architecture.pool.is_none();
    batch.clear(data, longest, origins.len(), if pooled { 1 } else { longest });
    for (lane, (series, step)) in origins.iter().enumerate() {
        let length = length(data, *series, *step);
        let (series, end) = (*series as usize, *step as usize);
        for at in 0..length {
            batch.put_x(data, at, lane, series, end + 1 + at - length);
        }
        data.plan.head.put_sequence(data, scaling, (series, end), lane, batch);
    }
}
