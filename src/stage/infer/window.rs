//! Mode window: every row is computed from zero state over the key's last W rows.

use super::{Answer, LARGEST, Made, RowHead};
use crate::Result;
use crate::model::executor::{Executor, Input, Output, Rows, RowsMut, Steps};
use crate::state::{State, StateSpec};

/// The windows of a run, and memory that is used again for every batch.
pub(super) struct Window {
    window: usize,
    features: usize,
    /// Windows of a run at most.
    largest: usize,
    /// The row that each window ends with.
    ends: Vec<u32>,
    /// Its slot.
    slots: Vec<u32>,
    /// The windows one after the other: [windows, W, F].
    values: Vec<f32>,
    /// The row of `values` that each step takes: [W, windows].
    rows: Vec<u32>,
    /// The row of the batch that each step gives, which only the last step does: [W, windows].
    gives: Vec<u32>,
    /// All begin from zero.
    reset: Vec<bool>,
}

impl Window {
    pub(super) fn new(window: usize, features: usize) -> Self {
        let largest = (LARGEST / window).clamp(16, 256);
        let (ends, slots, rows, gives) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Window { window, features, largest, ends, slots, values: Vec::new(), rows, gives, reset: Vec::new() }
    }

    /// The [`RowHead`] and the last rows of features, as a ring.
    pub(super) fn state(&self) -> StateSpec {
        StateSpec::default().u64("steps", 0).f32s("past", self.window * self.features)
    }

    /// Takes the rows of the batch into their keys' rings, and predicts those whose ring is full.
    pub(super) fn run(
        &mut self,
        executor: &mut dyn Executor,
        made: Made<'_>,
        state: &mut State<'_>,
        answer: &mut Answer,
    ) -> Result<()> {
        let (features, window) = (self.features, self.window);
        for row in (0..made.slots.len()).filter(|row| made.usable[*row]) {
            let (header, ring): (&mut RowHead, &mut [f32]) = state.rows.split_mut(made.slots[row]);
            if made.restart[row] {
                header.steps = 0;
            }
            let at = (header.steps % window as u64) as usize;
            ring[at * features..(at + 1) * features].copy_from_slice(&made.x[row * features..(row + 1) * features]);
            header.steps += 1;
            answer.warm_up[row] = header.steps < window as u64;
            if header.steps >= window as u64 {
                self.values.extend_from_slice(&ring[(at + 1) * features..window * features]);
                self.values.extend_from_slice(&ring[..(at + 1) * features]);
                self.ends.push(row as u32);
                self.slots.push(made.slots[row]);
            }
            if self.ends.len() == self.largest {
                self.predict(executor, answer)?;
            }
        }
        if self.ends.is_empty() { Ok(()) } else { self.predict(executor, answer) }
    }

    fn predict(&mut self, executor: &mut dyn Executor, answer: &mut Answer) -> Result<()> {
        let (window, count) = (self.window, self.ends.len());
        self.rows.clear();
        self.rows.extend((0..window).flat_map(|step| (0..count).map(move |n| (n * window + step) as u32)));
        self.gives.clear();
        self.gives.resize((window - 1) * count, Output::NONE);
        self.gives.extend_from_slice(&self.ends);
        self.reset.resize(count, true);
        let steps = Steps {
            t: window,
            slots: &self.slots,
            inputs: &[Input { values: Rows::F32(&self.values), width: self.features }],
            rows: &self.rows,
            reset: &self.reset,
            lengths: &[],
        };
        let output = Output { values: RowsMut::F32(&mut answer.prediction), width: answer.width, rows: &self.gives };
        executor.run(&steps, None, &mut [output])?;
        self.ends.clear();
        self.slots.clear();
        self.values.clear();
        Ok(())
    }
}
