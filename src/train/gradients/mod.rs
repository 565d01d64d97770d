//! What the gradients of a training were like: how large by layer, how far back in time they reach, and how saturated
//! the gates were; and what the carried state does over a long time.
//!
//! Lives here: samples and what is concluded from them. Must not live here: how they are drawn (`report`).
//!
//! A sample is one more forward and two more backward passes of a batch, before its update: about 1.6 updates. It
//! changes nothing that the training goes on from.

mod carried;
mod judge;

pub use carried::{Carried, carried};
pub use judge::{Reach, warnings};

use super::Plan;
use super::keep::Record;
use crate::config::Length;
use crate::model::ModelKind;

/// Updates between two samples; of a short training, fewer.
const EVERY: usize = 50;
/// Updates between two samples of the shortest training.
const SHORTEST: usize = 10;
/// Samples that a short training has, about.
const FEW: usize = 10;
/// With so many samples every second one is dropped, and they become half as frequent.
const MOST: usize = 128;
/// Distances in time at which the reach is kept are this share apart, and at least one step.
const APART: usize = 8;
/// A gate with a value this near its bounds is saturated.
const NEAR: f64 = 0.05;

/// One sample.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sample {
    /// Updates before it.
    pub updates: usize,
    /// Norm of the gradient of each group of tensors, before clipping.
    pub norms: Vec<f64>,
    /// Share of saturated gates of each recurrent layer.
    pub saturated: Vec<f64>,
    /// Per recurrent layer and distance of [`distances`]: norm of the gradient of the last timestep's loss by the
    /// hidden state so many steps before. Empty where the last timestep of the batch had no loss.
    pub reach: Vec<Vec<f64>>,
}

/// The samples of a training, and when the next one is due.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Samples {
    /// In the order of updates.
    pub samples: Vec<Sample>,
    every: usize,
}

/// All of it, of a training that is over.
#[derive(Debug, Clone, Default)]
pub struct Gradients {
    /// Names of the groups of tensors: layers, and the linear path.
    pub groups: Vec<String>,
    /// Names of the recurrent layers.
    pub layers: Vec<String>,
    /// The samples.
    pub samples: Vec<Sample>,
    /// The carried state over a long time; mode carry.
    pub carried: Option<Carried>,
}

impl Samples {
    /// None yet, of a training of this length.
    pub fn new(length: Length, epoch: usize) -> Samples {
        let updates = match length {
            Length::Updates(updates) => updates,
            Length::Epochs(epochs) => epochs.saturating_mul(epoch),
            Length::Open => usize::MAX,
        };
        Samples { samples: Vec::new(), every: (updates / FEW).clamp(SHORTEST, EVERY) }
    }

    /// Whether to take a sample before the next update.
    pub fn is_due(&self, updates: usize) -> bool {
        self.every > 0 && updates.is_multiple_of(self.every)
    }

    /// Adds a sample.
    pub fn add(&mut self, sample: Sample) {
        self.samples.push(sample);
        if self.samples.len() >= MOST {
            self.every *= 2;
            let every = self.every;
            self.samples.retain(|sample| sample.updates.is_multiple_of(every));
        }
    }

    /// Puts all of it into a training checkpoint.
    pub fn put(&self, record: &mut Record) {
        let groups = self.samples.first().map_or(0, |sample| sample.norms.len());
        let layers = self.samples.first().map_or(0, |sample| sample.saturated.len());
        record.put_counts("gradients/counts", &[self.every, self.samples.len(), groups, layers]);
        record.put_counts("gradients/updates", &self.samples.iter().map(|s| s.updates).collect::<Vec<_>>());
        record.put("gradients/norms", &self.samples.iter().flat_map(|s| s.norms.clone()).collect::<Vec<_>>());
        record.put("gradients/saturated", &self.samples.iter().flat_map(|s| s.saturated.clone()).collect::<Vec<_>>());
        let reaches = self.samples.iter().flat_map(|sample| &sample.reach);
        let lengths: Vec<usize> =
            self.samples.iter().flat_map(|s| (0..layers).map(|layer| s.reach.get(layer).map_or(0, Vec::len))).collect();
        record.put_counts("gradients/reach_lengths", &lengths);
        record.put("gradients/reach", &reaches.flatten().copied().collect::<Vec<_>>());
    }

    /// Takes all of it.
    ///
    /// # Errors
    /// What is missing, or of another size.
    pub fn take(record: &Record) -> Result<Samples, String> {
        let [every, count, groups, layers] = record.take_counts("gradients/counts")?;
        let mut updates = vec![0_u64; count];
        record.take_into("gradients/updates", &mut updates)?;
        let mut norms = vec![0.0_f64; count * groups];
        record.take_into("gradients/norms", &mut norms)?;
        let mut saturated = vec![0.0_f64; count * layers];
        record.take_into("gradients/saturated", &mut saturated)?;
        let mut lengths = vec![0_u64; count * layers];
        record.take_into("gradients/reach_lengths", &mut lengths)?;
        let reach: Vec<f64> = record.take("gradients/reach")?;
        let mut rest = &reach[..];
        let mut samples = Vec::with_capacity(count);
        for at in 0..count {
            let mut reach = Vec::new();
            for length in &lengths[at * layers..(at + 1) * layers] {
                reach.push(rest.split_off(..*length as usize).ok_or("gradients/reach is too short")?.to_vec());
            }
            if reach.iter().all(Vec::is_empty) {
                reach.clear();
            }
            samples.push(Sample {
                updates: updates[at] as usize,
                norms: norms[at * groups..(at + 1) * groups].to_vec(),
                saturated: saturated[at * layers..(at + 1) * layers].to_vec(),
                reach,
            });
        }
        Ok(Samples { samples, every })
    }
}

/// Steps that a gradient can reach back, at most.
pub fn depth(plan: &Plan, samples: &[Sample]) -> usize {
    match plan.kind {
        ModelKind::Carry => plan.chunk,
        ModelKind::Window => plan.window,
        ModelKind::Sequence => {
            let points = samples.iter().flat_map(|sample| &sample.reach).map(Vec::len).max().unwrap_or(0);
            distances().nth(points.saturating_sub(1)).map_or(1, |back| back + 1)
        }
    }
}

/// The distances at which the reach is kept: each step at first, then ever fewer.
pub fn distances() -> impl Iterator<Item = usize> {
    std::iter::successors(Some(0_usize), |back| back.checked_add((back / APART).max(1)))
}

/// Whether an activated gate is saturated: near 0 or 1, or where it has both signs near -1 or 1.
pub fn is_saturated(value: f64, both_signs: bool) -> bool {
    value.abs() > 1.0 - NEAR || (!both_signs && value < NEAR)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(updates: usize) -> Sample {
        let reach = if updates == 50 { vec![] } else { vec![vec![1.0, 0.5], vec![2.0, 0.25 * updates as f64]] };
        Sample { updates, norms: vec![1.0, 2.0, updates as f64], saturated: vec![0.1, 0.2], reach }
    }

    #[test]
    fn samples_come_back_from_a_checkpoint() {
        let mut samples = Samples::new(Length::Open, 1);
        for samples in [samples.clone(), {
            [0, 50, 100].map(sample).into_iter().for_each(|sample| samples.add(sample));
            samples
        }] {
            let mut record = Record::default();
            samples.put(&mut record);
            assert_eq!(Samples::take(&record), Ok(samples));
        }
    }

    #[test]
    fn a_long_training_has_a_bounded_number_of_samples_and_a_short_one_a_few() {
        let taken = |length, updates: usize| {
            let mut samples = Samples::new(length, 7);
            let mut taken = 0;
            for update in 0..updates {
                if samples.is_due(update) {
                    samples.add(sample(update));
                    taken += 1;
                }
            }
            let last = samples.samples.last().unwrap().updates;
            (taken, samples.samples.len(), last)
        };
        assert_eq!(taken(Length::Updates(40), 40), (4, 4, 30));
        assert_eq!(taken(Length::Epochs(40), 280), (10, 10, 252));
        assert_eq!(taken(Length::Open, 2_000), (40, 40, 1_950));
        let (taken, left, last) = taken(Length::Open, 1_000_000);
        assert!(taken < 700 && (64..128).contains(&left) && last > 980_000, "{taken} {left} {last}");
    }

    #[test]
    fn distances_become_wider() {
        let near: Vec<usize> = distances().take_while(|back| *back < 30).collect();
        let wanted = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 20, 22, 24, 27];
        assert_eq!(near, wanted);
        assert_eq!(distances().take_while(|back| *back < 10_000).count(), 73);
    }

    #[test]
    fn gates_are_saturated_near_their_bounds() {
        assert_eq!([0.01, 0.5, 0.96].map(|value| is_saturated(value, false)), [true, false, true]);
        assert_eq!([0.01, 0.5, -0.96].map(|value| is_saturated(value, true)), [false, false, true]);
    }
}
