//! The predictions of a key that wait for the row that they are about.
//!
//! That row is the one that training took as the target:
//!
//! - After a `resample`, the row that many intervals later. The prediction waits in a ring until a row of its key has
//!   exactly that time. Where the row is missing, there is no residual. Of two predictions for one time the later
//!   counts; late rows neither make nor meet one that waits for a later time.
//! - Without one, the row of the key that comes that many rows later, whatever its time. What a key's first row
//!   predicts is not scored: the distance of its rows isn't known yet.

use bytemuck::{Pod, Zeroable};

use crate::record::{Batch, Clock, Every, Values};
use crate::state::StateSpec;

/// Predictions that may wait for their time beyond `step`.
const SPARE: usize = 4;

/// Which row a prediction is about.
#[derive(Clone)]
pub(super) enum Join {
    /// The one that is some of these intervals later.
    ByTime { every: Every, clock: Clock },
    /// The one that is some rows later. `interval` is the column of the usual distance, 0 where it is unknown.
    ByRow { interval: usize },
}

impl Join {
    /// What is kept of a key.
    pub(super) fn state(&self, step: usize) -> StateSpec {
        match self {
            Join::ByTime { .. } => Waiting::spec(step),
            Join::ByRow { .. } => StateSpec::default().u64("rows", 0).f32s("waiting.prediction", step),
        }
    }

    /// Words of it.
    pub(super) fn words(&self, step: usize) -> usize {
        match self {
            Join::ByTime { .. } => 2 + (step + SPARE) * size_of::<Prediction>() / size_of::<u64>(),
            Join::ByRow { .. } => 1 + step.div_ceil(2),
        }
    }

    /// What was predicted for a row, if anything was. `prediction` is what the row itself predicts for the one `step`
    /// later, NaN if nothing; it waits from now on.
    pub(super) fn exchange(
        &self,
        words: &mut [u64],
        batch: &Batch,
        row: usize,
        step: usize,
        prediction: f32,
    ) -> Option<f64> {
        match self {
            Join::ByTime { every, clock } => {
                let mut waiting = Waiting::of(words)?;
                let time = batch.times[row];
                let predicted = waiting.at(time);
                if prediction.is_finite()
                    && let Some(time) = clock.step(time, *every, step as i64)
                {
                    waiting.push(Prediction { time, value: f64::from(prediction) });
                }
                predicted
            }
            Join::ByRow { interval } => {
                let Values::Integer(interval) = &batch.columns[*interval].values else { return None };
                let (rows, ring) = words.split_first_mut()?;
                let waiting = &mut bytemuck::cast_slice_mut::<u64, f32>(ring)[(*rows % step as u64) as usize];
                let predicted = (*rows >= step as u64).then_some(*waiting);
                *waiting = if interval[row] == 0 { f32::NAN } else { prediction };
                *rows += 1;
                predicted.filter(|predicted| predicted.is_finite()).map(f64::from)
            }
        }
    }
}

/// A prediction that waits for its time.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Prediction {
    time: i64,
    value: f64,
}

/// The predictions of a key that wait for their times, which ascend.
struct Waiting<'a> {
    /// Place of the first, and how many there are.
    first: &'a mut u64,
    count: &'a mut u64,
    ring: &'a mut [Prediction],
}

impl<'a> Waiting<'a> {
    fn spec(step: usize) -> StateSpec {
        let prediction = StateSpec::default().i64("waiting.time", 0).f64("waiting.prediction", 0.0);
        StateSpec::default().u64("first", 0).u64("waiting", 0).repeated(step + SPARE, prediction)
    }

    fn of(words: &'a mut [u64]) -> Option<Self> {
        let [first, count, ring @ ..] = words else { return None };
        Some(Waiting { first, count, ring: bytemuck::cast_slice_mut(ring) })
    }

    /// The prediction for a time; those for earlier times are dropped.
    fn at(&mut self, time: i64) -> Option<f64> {
        while *self.count > 0 {
            let first = self.ring[*self.first as usize];
            if first.time >= time {
                return (first.time == time).then_some(first.value);
            }
            *self.first = (*self.first + 1) % self.ring.len() as u64;
            *self.count -= 1;
        }
        None
    }

    fn push(&mut self, prediction: Prediction) {
        let length = self.ring.len() as u64;
        if *self.count > 0 {
            let last = &mut self.ring[((*self.first + *self.count - 1) % length) as usize];
            if last.time == prediction.time {
                *last = prediction;
            }
            if last.time >= prediction.time {
                return;
            }
        }
        if *self.count < length {
            self.ring[((*self.first + *self.count) % length) as usize] = prediction;
            *self.count += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_keeps_what_is_due_first() {
        let mut words = Waiting::spec(1).initial().to_vec();
        let mut waiting = Waiting::of(&mut words).unwrap();
        for time in [10, 11, 11, 9, 12, 13, 14, 15, 16] {
            waiting.push(Prediction { time, value: time as f64 });
        }
        assert_eq!(waiting.at(9), None);
        assert_eq!((waiting.at(11), waiting.at(11), waiting.at(10)), (Some(11.0), Some(11.0), None));
        assert_eq!((waiting.at(14), waiting.at(15), *waiting.count), (Some(14.0), None, 0));
        waiting.push(Prediction { time: 20, value: 1.0 });
        assert_eq!(waiting.at(20), Some(1.0));
    }

    #[test]
    fn by_row_it_is_the_nth_one_later_whatever_its_time() {
        let join = Join::ByRow { interval: 0 };
        for step in 1..=3 {
            let mut words = join.state(step).initial().to_vec();
            assert_eq!(words.len(), join.words(step));
            let times = [5, 6, 9, 9, 7, 30, 31];
            let distances = [0, 1, 1, 1, 1, 1, 1];
            let batch = Batch {
                times: times.to_vec(),
                columns: vec![Values::Integer(distances.to_vec()).into()],
                ..Batch::default()
            };
            let made = |row: usize| if row == 3 { f32::NAN } else { row as f32 };
            let found: Vec<Option<f64>> =
                (0..times.len()).map(|row| join.exchange(&mut words, &batch, row, step, made(row))).collect();
            let expected = |row: usize| row.checked_sub(step).filter(|of| *of != 0 && *of != 3).map(|of| of as f64);
            assert_eq!(found, (0..times.len()).map(expected).collect::<Vec<_>>(), "{step}");
        }
    }
}
