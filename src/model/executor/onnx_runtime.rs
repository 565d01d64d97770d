//! ONNX Runtime as an executor: copies features and state into its tensors, runs them, and copies outputs and state
//! back.
//!
//! Must not live here: calling ONNX Runtime (`ort`), and which rows go into a run (`stage::infer`).

use std::sync::Arc;
use std::time::Instant;

use super::{Executor, Input, Output, Session, Steps};
use crate::metrics::Metrics;
use crate::state::Bank;
use crate::{Error, Result};

/// Runs a loaded graph on state of its own memory, gathered and scattered.
pub struct OnnxRuntime {
    session: Session,
    /// Numbers of each state of the network, in the order of its pairs.
    widths: Vec<usize>,
    x: Vec<f32>,
    y: Vec<f32>,
    states: Vec<Vec<f32>>,
    states_out: Vec<Vec<f32>>,
    metrics: Arc<Metrics>,
}

impl OnnxRuntime {
    /// Of a loaded graph.
    pub fn new(session: Session, metrics: Arc<Metrics>) -> Self {
        let widths: Vec<usize> = session.signature().states.iter().map(|pair| pair.width()).collect();
        let none = vec![Vec::new(); widths.len()];
        OnnxRuntime { session, widths, x: Vec::new(), y: Vec::new(), states: none.clone(), states_out: none, metrics }
    }

    /// Features [t, b, F] and states [b, units] of all sequences; zeros where there is none.
    fn gather(&mut self, steps: &Steps<'_>, b: usize, input: Input<'_>, bank: Option<&mut Bank>) {
        let Input { values, width } = input;
        self.x.clear();
        self.x.resize(steps.t * b * width, 0.0);
        for (states, width) in self.states.iter_mut().zip(&self.widths) {
            states.clear();
            states.resize(b * width, 0.0);
        }
        let sequences = steps.slots.len();
        for (step, rows) in steps.rows.chunks_exact(sequences).enumerate() {
            let to = self.x[step * b * width..].chunks_exact_mut(width);
            for (row, to) in rows.iter().zip(to) {
                let row = *row as usize;
                to.copy_from_slice(&values[row * width..(row + 1) * width]);
            }
        }
        let Some(Bank::Host(bank)) = bank else { return };
        let bank = bank.numbers();
        for (sequence, (slot, _)) in steps.slots.iter().zip(steps.reset).enumerate().filter(|(_, (_, reset))| !**reset)
        {
            let mut rest = bank.get(*slot);
            for (states, width) in self.states.iter_mut().zip(&self.widths) {
                let (state, after) = rest.split_at(*width);
                states[sequence * width..(sequence + 1) * width].copy_from_slice(state);
                rest = after;
            }
        }
    }

    /// Outputs to their rows, states to their slots. Returns how many rows there were.
    fn scatter(&self, steps: &Steps<'_>, b: usize, bank: Option<&mut Bank>, output: &mut Output<'_>) -> usize {
        let (sequences, width) = (steps.slots.len(), output.width);
        let mut count = 0;
        for (step, rows) in output.rows.chunks_exact(sequences).enumerate() {
            let from = self.y[step * b * width..].chunks_exact(width);
            for (row, from) in rows.iter().zip(from).filter(|(row, _)| **row != Output::NONE) {
                let row = *row as usize;
                output.values[row * width..(row + 1) * width].copy_from_slice(from);
                count += 1;
            }
        }
        let Some(Bank::Host(bank)) = bank else { return count };
        let mut bank = bank.numbers();
        for (sequence, slot) in steps.slots.iter().enumerate() {
            let mut rest = bank.get_mut(*slot);
            for (states, width) in self.states_out.iter().zip(&self.widths) {
                let (state, after) = rest.split_at_mut(*width);
                state.copy_from_slice(&states[sequence * width..(sequence + 1) * width]);
                rest = after;
            }
        }
        count
    }

    /// Runs what was gathered.
    fn call(&mut self, t: usize, b: usize) -> Result<f64> {
        self.y.resize(t * b * self.session.signature().outputs, 0.0);
        for (out, width) in self.states_out.iter_mut().zip(&self.widths) {
            out.resize(b * width, 0.0);
        }
        let states: Vec<&[f32]> = self.states.iter().map(Vec::as_slice).collect();
        let mut states_out: Vec<&mut [f32]> = self.states_out.iter_mut().map(Vec::as_mut_slice).collect();
        let started = Instant::now();
        self.session.run(t, b, &self.x, &states, &mut self.y, &mut states_out)?;
        Ok(started.elapsed().as_secs_f64())
    }
}

impl Executor for OnnxRuntime {
    fn run(&mut self, steps: &Steps<'_>, mut bank: Option<&mut Bank>, outputs: &mut [Output<'_>]) -> Result<()> {
        let &mut [ref mut output] = outputs else { return Err(misfit("one output")) };
        let &[input] = steps.inputs else { return Err(misfit("one input")) };
        let (sequences, signature) = (steps.slots.len(), self.session.signature());
        let numbers: usize = self.widths.iter().sum();
        if !steps.lengths.is_empty() {
            return Err(misfit("sequences of one length"));
        }
        let none = sequences.min(input.width).min(output.width) == 0;
        if none || input.width != signature.features || output.width != signature.outputs {
            return Err(misfit("rows of the graph's width"));
        }
        if let Some(Bank::Host(bank)) = bank.as_deref_mut()
            && bank.numbers().width() != numbers
        {
            return Err(misfit("a bank of the graph's states"));
        }
        let b = batch_size(sequences);
        self.gather(steps, b, input, bank.as_deref_mut());
        let seconds = self.call(steps.t, b)?;
        let rows = self.scatter(steps, b, bank, output);
        self.metrics.inference_rows.observe(rows as f64);
        self.metrics.inference_seconds.observe(seconds);
        Ok(())
    }
}

fn misfit(expected: &str) -> Error {
    Error::failed(format!("ONNX Runtime's executor takes {expected}: internal error, please report"))
}

/// Rows of a run for that many sequences: the next size of the ladder. A batch of one is computed by other code than a
/// larger one, with other last bits, so two is the least.
fn batch_size(sequences: usize) -> usize {
    match sequences {
        0..=16 => sequences.max(2).next_power_of_two(),
        _ => sequences.next_multiple_of(16),
    }
}
