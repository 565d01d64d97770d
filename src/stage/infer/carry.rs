//! Mode carry: the state of each key is advanced row by row.
//!
//! Rows of a batch are ordered so that no key appears twice in a step: each run takes the next rows of every key that
//! has rows left. With many keys that is a wave of single steps; with few keys, runs of several steps.

use super::{Answer, LARGEST, Made, RowHead, misfit};
use crate::Result;
use crate::model::executor::{Executor, Input, Rows, Steps};
use crate::state::{State, StateSpec};

/// From that many keys on, single steps are as cheap as runs of steps.
const MANY_KEYS: usize = 16;
/// Steps of a run at most, where keys are few.
const LONGEST: usize = 64;

/// What the state ends with where networks are by group: the number of the one that it is of.
pub(super) const GROUP: &str = "group";

/// Waves and runs, and memory that is used again for every batch.
pub(super) struct Carry {
    /// Steps after which a state counts as warm.
    warm_up: u64,
    /// The [`RowHead`]; the network's own numbers in the bank.
    state: StateSpec,
    /// Rows that take a step, grouped by key, in order within a key.
    order: Vec<u32>,
    /// Per key of the batch, its part of `order` that is not done yet.
    queues: Vec<(u32, u32)>,
    /// Per slot, the batch it was last seen in and its queue there.
    seen: Vec<(u64, u32)>,
    /// Number of the batch.
    batch: u64,
    /// Whether the last input is the number of the network of a row, and the last word of the state that of the key.
    by_group: bool,
    /// Whether a row begins from the initial state, also since another network goes on with its key.
    restart: Vec<bool>,
    run: Run,
}

/// One run: per sequence its slot and whether it begins from zero, and the row of each step.
#[derive(Default)]
struct Run {
    slots: Vec<u32>,
    reset: Vec<bool>,
    rows: Vec<u32>,
}

impl Carry {
    pub(super) fn new(state: StateSpec, warm_up: usize) -> Self {
        let (order, queues, seen) = (Vec::new(), Vec::new(), Vec::new());
        let (by_group, restart) = (false, Vec::new());
        Carry { warm_up: warm_up as u64, state, order, queues, seen, batch: 0, by_group, restart, run: Run::default() }
    }

    /// Of networks by group: the state ends with [`GROUP`].
    pub(super) fn by_group(self, by_group: bool) -> Self {
        Carry { by_group, ..self }
    }

    /// Whether a row of the last batch begins from the initial state, also since another network goes on with its key.
    pub(super) fn begins_again(&self, row: usize) -> bool {
        self.by_group && self.restart[row]
    }

    pub(super) fn state(&self) -> StateSpec {
        self.state.clone()
    }

    /// Advances every key by its rows of the batch.
    pub(super) fn run(
        &mut self,
        executor: &mut dyn Executor,
        made: Made<'_>,
        state: &mut State<'_>,
        answer: &mut Answer<'_>,
    ) -> Result<()> {
        if self.by_group {
            self.begin_again_in_another_group(made, state)?;
        }
        self.group(made.slots, made.usable);
        let Carry { warm_up, order, queues, run, restart, .. } = self;
        let made = if self.by_group { Made { restart, ..made } } else { made };
        // By networks, so that a run has one: few keys of many networks go in runs of steps, too.
        let groups = match made.inputs.last() {
            Some(Input { values: Rows::I64(groups), .. }) if self.by_group => *groups,
            _ => &[],
        };
        while !queues.is_empty() {
            let network = |(next, _): &(u32, u32)| groups.get(order[*next as usize] as usize);
            if !groups.is_empty() {
                queues.sort_by_key(network);
            }
            let is_of_one = |a: &(u32, u32), b: &(u32, u32)| network(a) == network(b);
            for of_one in queues.chunk_by_mut(is_of_one) {
                let many = of_one.len() >= MANY_KEYS;
                for queues in of_one.chunks_mut(LARGEST) {
                    let t = if many { 1 } else { run_length(queues, order, made.restart) };
                    run.lay_out(t, queues, order, made);
                    let (slots, rows, reset) = (&run.slots[..], &run.rows[..], &run.reset[..]);
                    let steps = Steps { t, slots, inputs: made.inputs, rows, gives: rows, reset, lengths: &[] };
                    executor.run(&steps, state.bank.as_deref_mut(), &mut answer.outputs)?;
                    run.count(*warm_up, state, answer);
                    queues.iter_mut().for_each(|queue| queue.0 += t as u32);
                }
            }
            queues.retain(|(next, end)| next < end);
        }
        Ok(())
    }

    /// Fills `restart`: the state of one network means nothing to another one.
    fn begin_again_in_another_group(&mut self, made: Made<'_>, state: &mut State<'_>) -> Result<()> {
        let Some(Input { values: Rows::I64(groups), .. }) = made.inputs.last() else { return Err(misfit()) };
        self.restart.clear();
        self.restart.extend_from_slice(made.restart);
        for row in (0..made.slots.len()).filter(|row| made.usable[*row]) {
            let (_, rest): (&mut RowHead, &mut [u64]) = state.rows.split_mut(made.slots[row]);
            let kept = rest.last_mut().ok_or_else(misfit)?;
            let group = groups[row].cast_unsigned();
            self.restart[row] |= *kept != group;
            *kept = group;
        }
        Ok(())
    }

    /// Groups the rows that take a step by key: `order` and `queues`.
    fn group(&mut self, slots: &[u32], usable: &[bool]) {
        self.batch += 1;
        self.queues.clear();
        // Count rows per key, then place them: a counting sort that keeps the order within a key.
        for (slot, _) in slots.iter().zip(usable).filter(|(_, usable)| **usable) {
            let slot = *slot as usize;
            if slot >= self.seen.len() {
                self.seen.resize(slot + 1, (0, 0));
            }
            let seen = &mut self.seen[slot];
            if seen.0 != self.batch {
                *seen = (self.batch, self.queues.len() as u32);
                self.queues.push((0, 0));
            }
            self.queues[seen.1 as usize].1 += 1;
        }
        let mut start = 0;
        for queue in &mut self.queues {
            let count = queue.1;
            *queue = (start, start);
            start += count;
        }
        self.order.clear();
        self.order.resize(start as usize, 0);
        for (row, (slot, _)) in slots.iter().zip(usable).enumerate().filter(|(_, (_, usable))| **usable) {
            let queue = &mut self.queues[self.seen[*slot as usize].1 as usize];
            self.order[queue.1 as usize] = row as u32;
            queue.1 += 1;
        }
    }
}

impl Run {
    /// The next `t` rows of each queue.
    fn lay_out(&mut self, t: usize, queues: &[(u32, u32)], order: &[u32], made: Made<'_>) {
        let sequences = queues.len();
        self.slots.clear();
        self.reset.clear();
        self.rows.clear();
        self.rows.resize(t * sequences, 0);
        for (sequence, (next, _)) in queues.iter().enumerate() {
            let rows = &order[*next as usize..*next as usize + t];
            let first = rows[0] as usize;
            self.slots.push(made.slots[first]);
            self.reset.push(made.restart[first]);
            for (step, row) in rows.iter().enumerate() {
                self.rows[step * sequences + sequence] = *row;
            }
        }
    }

    /// Counts the steps of each key, by which a row is of the warm-up or not.
    fn count(&self, warm_up: u64, state: &mut State<'_>, answer: &mut Answer<'_>) {
        let sequences = self.slots.len();
        for (sequence, (slot, reset)) in self.slots.iter().zip(&self.reset).enumerate() {
            let (header, _): (&mut RowHead, &mut [u64]) = state.rows.split_mut(*slot);
            if *reset {
                header.steps = 0;
            }
            for row in self.rows[sequence..].iter().step_by(sequences) {
                answer.warm_up[*row as usize] = header.steps < warm_up;
                header.steps += 1;
            }
        }
    }
}

/// How many steps every queue can take in one run: none of them may pass a restart, which needs zero state.
fn run_length(queues: &[(u32, u32)], order: &[u32], restart: &[bool]) -> usize {
    let mut length = LONGEST;
    for (next, end) in queues {
        let rows = &order[*next as usize..*end as usize];
        let until_restart = rows.iter().skip(1).take(length).position(|row| restart[*row as usize]);
        length = length.min(until_restart.map_or(rows.len(), |steps| steps + 1));
    }
    // Powers of two: few shapes for ONNX Runtime to keep memory for.
    1 << length.ilog2()
}
