//! What a loop has done so far: all that it goes on from after a kill, besides what the learner holds.
//!
//! Lives here: the numbers and how a training checkpoint holds them. Must not live here: the loop (`fit`), the files
//! (`keep`).
//!
//! A new part of the loop that lasts from one update to the next is a field here, put and taken under a name of its
//! own; the test that kills trainings finds one that was forgotten.

use std::time::Duration;

use super::gradients::Samples;
use super::keep::Record;
use super::trained::Look;

/// What a loop has done so far.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SoFar {
    /// Epochs that are over.
    pub epochs: usize,
    /// Batches of the epoch that isn't over.
    pub batches: usize,
    /// Loss and weight of each update.
    pub losses: Vec<(f64, f64)>,
    /// Sums over the updates since the last look, and their number.
    pub since_look: (f64, f64, usize),
    /// All looks.
    pub looks: Vec<Look>,
    /// The best look and its weights.
    pub best: Option<(Look, Vec<f32>)>,
    /// Samples of the gradients.
    pub gradients: Samples,
    /// Moving average of the weights; empty without one.
    pub average: Vec<f32>,
    /// Whether the schedule has ended it.
    pub over: bool,
    /// Time by the clock until the last checkpoint, for `max_time`.
    pub spent: Duration,
}

impl SoFar {
    /// Updates so far.
    pub fn updates(&self) -> usize {
        self.losses.len()
    }

    /// Epochs that have begun.
    pub fn begun(&self) -> usize {
        self.epochs + usize::from(self.batches > 0)
    }

    /// Counts an update, with the mean loss of its entries and their weight.
    pub fn learned(&mut self, loss: f64, weight: f64) {
        self.batches += 1;
        self.losses.push((loss * weight, weight));
        let (sum, of, updates) = self.since_look;
        self.since_look = (sum + loss * weight, of + weight, updates + 1);
    }

    /// Moves the average of the weights on by an update (Polyak and Juditsky 1992; exponential, as Keras' `use_ema`).
    /// While it is young it forgets faster, so that the first weights don't stay in it.
    pub fn averaged(&mut self, weights: &[f32], decay: f64) {
        if decay <= 0.0 {
            return;
        }
        let updates = self.updates() as f64;
        let take = (1.0 - decay.min(updates / (updates + 9.0))) as f32;
        self.average.resize(weights.len(), 0.0);
        self.average.iter_mut().zip(weights).for_each(|(mean, weight)| *mean += take * (*weight - *mean));
    }

    /// Mean loss of the updates since the last look.
    pub fn train_loss(&self) -> f64 {
        self.since_look.0 / self.since_look.1
    }

    /// Puts all of it.
    pub fn put(&self, record: &mut Record) {
        let (sum, weight, since) = self.since_look;
        record.put_counts("loop/counts", &[self.epochs, self.batches, since, usize::from(self.over)]);
        record.put("loop/since_look", &[sum, weight]);
        record.put("loop/spent", &[self.spent.as_secs_f64()]);
        let losses: Vec<f64> = self.losses.iter().flat_map(|(loss, weight)| [*loss, *weight]).collect();
        record.put("loop/losses", &losses);
        put_looks(record, "loop/looks", &self.looks);
        self.gradients.put(record);
        record.put("loop/average", &self.average);
        if let Some((look, weights)) = &self.best {
            put_looks(record, "loop/best", &[*look]);
            record.put("loop/best_weights", weights);
        }
    }

    /// Takes all of it.
    ///
    /// # Errors
    /// What is missing, or of another size.
    pub fn take(record: &Record) -> Result<SoFar, String> {
        let [epochs, batches, since, over] = record.take_counts("loop/counts")?;
        let (mut sums, mut spent) = ([0.0; 2], [0.0]);
        record.take_into("loop/spent", &mut spent)?;
        let spent = Duration::try_from_secs_f64(spent[0]).map_err(|error| format!("loop/spent: {error}"))?;
        record.take_into("loop/since_look", &mut sums)?;
        let losses: Vec<f64> = record.take("loop/losses")?;
        let losses: Vec<(f64, f64)> = losses.as_chunks::<2>().0.iter().map(|[loss, weight]| (*loss, *weight)).collect();
        let best = match record.has("loop/best") {
            true => {
                let look = take_looks(record, "loop/best")?.pop().ok_or("loop/best is empty")?;
                Some((look, record.take("loop/best_weights")?))
            }
            false => None,
        };
        let looks = take_looks(record, "loop/looks")?;
        let (since_look, average) = ((sums[0], sums[1], since), record.take("loop/average")?);
        let gradients = Samples::take(record)?;
        Ok(SoFar { epochs, batches, losses, since_look, looks, best, average, gradients, over: over == 1, spent })
    }
}

fn put_looks(record: &mut Record, name: &str, looks: &[Look]) {
    let counts: Vec<usize> =
        looks.iter().flat_map(|look| [look.epoch, look.updates, usize::from(look.validation.is_some())]).collect();
    let losses: Vec<f64> = looks.iter().flat_map(|look| [look.train, look.validation.unwrap_or(0.0)]).collect();
    record.put_counts(&format!("{name}_at"), &counts);
    record.put(name, &losses);
}

fn take_looks(record: &Record, name: &str) -> Result<Vec<Look>, String> {
    let counts: Vec<u64> = record.take(&format!("{name}_at"))?;
    let losses: Vec<f64> = record.take(name)?;
    let (counts, losses) = (counts.as_chunks::<3>().0, losses.as_chunks::<2>().0);
    if counts.len() != losses.len() {
        return Err(format!("{name}: {} looks, expected {}", losses.len(), counts.len()));
    }
    let look = |(at, loss): (&[u64; 3], &[f64; 2])| Look {
        epoch: at[0] as usize,
        updates: at[1] as usize,
        train: loss[0],
        validation: (at[2] == 1).then_some(loss[1]),
    };
    Ok(counts.iter().zip(losses).map(look).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_comes_back() {
        let look = |updates, validation| Look { epoch: 2, updates, train: 0.1 + 0.2, validation };
        let so_far = SoFar {
            epochs: 3,
            batches: 4,
            losses: vec![(0.5, 32.0), (0.25, 16.0), (f64::MIN_POSITIVE, 1.0)],
            since_look: (0.25, 17.0, 2),
            looks: vec![look(5, Some(0.1)), look(9, None)],
            best: Some((look(5, Some(0.1)), vec![1.0, -2.5])),
            gradients: Samples::default(),
            average: vec![0.5, 1e-30],
            over: true,
            spent: Duration::from_millis(1500),
        };
        for so_far in [so_far.clone(), SoFar { best: None, over: false, ..so_far }, SoFar::default()] {
            let mut record = Record::default();
            so_far.put(&mut record);
            let record = Record::parse(&record.bytes()).unwrap();
            assert_eq!(SoFar::take(&record), Ok(so_far));
        }
        assert_eq!(SoFar::take(&Record::default()), Err("loop/counts is missing".into()));
    }

    #[test]
    fn the_average_forgets_the_first_weights_and_then_decays() {
        let mut so_far = SoFar::default();
        for (update, weights) in [[8.0], [4.0], [6.0]].iter().enumerate() {
            so_far.learned(1.0, 1.0);
            so_far.averaged(weights, if update < 2 { 0.99 } else { 0.1 });
        }
        // 0.9 of 8; then 9 of 11 parts of 4; then, with a decay of 0.1, 0.9 of 6.
        let second = 7.2 + 9.0 / 11.0 * (4.0 - 7.2);
        assert!((f64::from(so_far.average[0]) - (0.1 * second + 0.9 * 6.0)).abs() < 1e-6, "{:?}", so_far.average);
        let mut without = SoFar::default();
        without.averaged(&[1.0], 0.0);
        assert!(without.average.is_empty());
    }

    #[test]
    fn the_train_loss_is_that_since_the_last_look() {
        let mut so_far = SoFar::default();
        so_far.learned(9.0, 1.0);
        so_far.since_look = Default::default();
        so_far.learned(2.0, 1.0);
        so_far.learned(4.0, 3.0);
        assert_eq!((so_far.train_loss(), so_far.since_look.2, so_far.updates()), (3.5, 2, 3));
        assert_eq!((so_far.begun(), so_far.losses[2]), (1, (12.0, 3.0)));
    }
}
