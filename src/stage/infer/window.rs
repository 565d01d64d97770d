//! Mode window: every row is computed from the initial state over the key's last W rows.

use bytemuck::Pod;

use super::{Answer, LARGEST, Made, RowHead};
use crate::Result;
use crate::model::Groups;
use crate::model::executor::{Executor, Input, Rows, Steps};
use crate::network::{Element, Feed, InputTensor};
use crate::state::{State, StateSpec};

/// The windows of a run, and memory that is used again for every batch.
pub(super) struct Window {
    window: usize,
    /// The rows of each input.
    pasts: Vec<Past>,
    /// Windows of a run at most.
    largest: usize,
    /// The row that each window ends with.
    ends: Vec<u32>,
    /// Its slot.
    slots: Vec<u32>,
    /// The row of the values that each step takes: [W, windows].
    rows: Vec<u32>,
    /// The row of the batch that each step gives, which only the last step does: [W, windows].
    gives: Vec<u32>,
    /// All begin from the initial state.
    reset: Vec<bool>,
}

/// The rows of an input: the last ones of each key are a ring in its state, those of the windows of a run are here.
struct Past {
    name: String,
    width: usize,
    /// Where the ring begins in the row of state, in words after the [`RowHead`].
    at: usize,
    /// The windows one after the other: [windows, W, width].
    values: Kept,
    /// Whether the last row counts for all: the number of the network. There is no ring of it.
    of_last: bool,
}

enum Kept {
    F32(Vec<f32>),
    F64(Vec<f64>),
    I64(Vec<i64>),
}

impl Past {
    /// Words of the ring.
    fn words(&self, window: usize) -> usize {
        let numbers = if self.of_last { 0 } else { window * self.width };
        if matches!(self.values, Kept::F32(_)) { numbers.div_ceil(2) } else { numbers }
    }

    /// The windows of a run.
    fn input(&self) -> Input<'_> {
        let values = match &self.values {
            Kept::F32(values) => Rows::F32(values),
            Kept::F64(values) => Rows::F64(values),
            Kept::I64(values) => Rows::I64(values),
        };
        Input { values, width: self.width }
    }
}

impl Window {
    /// `by_group`: whether the last input is the number of the network.
    pub(super) fn new(window: usize, inputs: &[InputTensor], by_group: bool) -> Self {
        let largest = (LARGEST / window).clamp(16, 256);
        let mut at = 0;
        let mut past = |input: &InputTensor| {
            let values = match (&input.feed, input.tensor.element) {
                (Feed::Ids { .. } | Feed::Key(_) | Feed::Tokens { .. }, _) => Kept::I64(Vec::new()),
                (_, Element::Float32 | Element::Float16) => Kept::F32(Vec::new()),
                _ => Kept::F64(Vec::new()),
            };
            let kept = inputs.len() - usize::from(by_group);
            let name = if kept == 1 { "past".into() } else { format!("{}.past", input.tensor.name) };
            let of_last = by_group && input.tensor.name == Groups::INPUT;
            let past = Past { name, width: input.tensor.width(), at, values, of_last };
            at += past.words(window);
            past
        };
        let pasts = inputs.iter().map(&mut past).collect();
        let (ends, slots, rows, gives) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Window { window, pasts, largest, ends, slots, rows, gives, reset: Vec::new() }
    }

    /// The [`RowHead`] and the last rows of each input, as a ring.
    pub(super) fn state(&self) -> StateSpec {
        let ring = |spec: StateSpec, past: &Past| {
            let numbers = self.window * past.width;
            match past.values {
                Kept::F32(_) => spec.f32s(&past.name, numbers),
                Kept::F64(_) => spec.f64s(&past.name, numbers, 0.0),
                Kept::I64(_) => spec.i64s(&past.name, numbers),
            }
        };
        self.pasts.iter().filter(|past| !past.of_last).fold(StateSpec::default().u64("steps", 0), ring)
    }

    /// Takes the rows of the batch into their keys' rings, and predicts those whose ring is full.
    pub(super) fn run(
        &mut self,
        executor: &mut dyn Executor,
        made: Made<'_>,
        state: &mut State<'_>,
        answer: &mut Answer<'_>,
    ) -> Result<()> {
        let window = self.window;
        for row in (0..made.slots.len()).filter(|row| made.usable[*row]) {
            let (header, rings): (&mut RowHead, &mut [u64]) = state.rows.split_mut(made.slots[row]);
            if made.restart[row] {
                header.steps = 0;
            }
            let at = (header.steps % window as u64) as usize;
            header.steps += 1;
            let is_full = header.steps >= window as u64;
            for (past, input) in self.pasts.iter_mut().zip(made.inputs) {
                if let (true, Kept::I64(values), Rows::I64(groups)) = (past.of_last, &mut past.values, input.values) {
                    values.extend(std::iter::repeat_n(groups[row], if is_full { window } else { 0 }));
                    continue;
                }
                let (width, words) = (past.width, past.words(window));
                let ring = &mut rings[past.at..past.at + words];
                let place = Place { window, width, at, row, is_full };
                match (&mut past.values, input.values) {
                    (Kept::F32(values), Rows::F32(x)) => place.take(bytemuck::cast_slice_mut(ring), x, values),
                    (Kept::F64(values), Rows::F64(x)) => place.take(bytemuck::cast_slice_mut(ring), x, values),
                    (Kept::I64(values), Rows::I64(x)) => place.take(bytemuck::cast_slice_mut(ring), x, values),
                    _ => return Err(super::misfit()),
                }
            }
            answer.warm_up[row] = !is_full;
            if is_full {
                self.ends.push(row as u32);
                self.slots.push(made.slots[row]);
            }
            if self.ends.len() == self.largest {
                self.predict(executor, answer)?;
            }
        }
        if self.ends.is_empty() { Ok(()) } else { self.predict(executor, answer) }
    }

    fn predict(&mut self, executor: &mut dyn Executor, answer: &mut Answer<'_>) -> Result<()> {
        let (window, count) = (self.window, self.ends.len());
        self.rows.clear();
        self.rows.extend((0..window).flat_map(|step| (0..count).map(move |n| (n * window + step) as u32)));
        self.gives.clear();
        self.gives.resize((window - 1) * count, Steps::NONE);
        self.gives.extend_from_slice(&self.ends);
        self.reset.resize(count, true);
        let inputs: Vec<Input<'_>> = self.pasts.iter().map(Past::input).collect();
        let steps = Steps {
            t: window,
            slots: &self.slots,
            inputs: &inputs,
            rows: &self.rows,
            gives: &self.gives,
            reset: &self.reset,
            lengths: &[],
        };
        executor.run(&steps, None, &mut answer.outputs)?;
        self.ends.clear();
        self.slots.clear();
        for past in &mut self.pasts {
            match &mut past.values {
                Kept::F32(values) => values.clear(),
                Kept::F64(values) => values.clear(),
                Kept::I64(values) => values.clear(),
            }
        }
        Ok(())
    }
}

/// A row on its way into a ring.
struct Place {
    window: usize,
    width: usize,
    /// Its place in the ring.
    at: usize,
    /// Its row in the batch.
    row: usize,
    /// Whether the ring is full with it.
    is_full: bool,
}

impl Place {
    /// Takes it into the ring, and a full ring in its order to the windows of the run.
    fn take<T: Pod>(&self, ring: &mut [T], x: &[T], values: &mut Vec<T>) {
        let Place { window, width, at, row, is_full } = *self;
        ring[at * width..(at + 1) * width].copy_from_slice(&x[row * width..(row + 1) * width]);
        if is_full {
            values.extend_from_slice(&ring[(at + 1) * width..window * width]);
            values.extend_from_slice(&ring[..(at + 1) * width]);
        }
    }
}
