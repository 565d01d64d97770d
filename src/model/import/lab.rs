//! Running a graph through the executor that serves it, over sequences that are cut and arranged in many ways. Must not
//! live here: which arrangements have to agree (`proofs`).

use std::sync::Arc;

use super::axes::{number, value};
use crate::Result;
use crate::metrics::Metrics;
use crate::model::Session;
use crate::model::executor::{Executor, Input, OnnxRuntime, Output, Rows, RowsMut, Steps, described};
use crate::network::{Axis, Feed, Run, Signature};
use crate::state::{Bank, Memory, RowLayout, StateSpec};

/// Rows of every input for sequences of equal length.
#[derive(Debug, Clone)]
pub(super) struct Data {
    /// Per input [sequences, steps, width].
    pub inputs: Vec<Vec<f64>>,
    pub sequences: usize,
    pub steps: usize,
}

impl Data {
    /// The same numbers for the same sequence, step and place.
    pub fn made(signature: &Signature, sequences: usize, steps: usize) -> Data {
        let inputs = signature.inputs.iter().enumerate().map(|(salt, input)| {
            let (width, element) = (input.tensor.width(), input.tensor.element);
            let below = if let Feed::Ids { below, .. } = input.feed { Some(below) } else { None };
            let one = |n: usize| value(element, below, number(n / width, n % width, salt));
            // A sequence's vector stays what it is.
            let per_key = matches!(input.feed, Feed::PerKey(_));
            let at = |n: usize| if per_key { n / (width * steps) * width * steps + n % width } else { n };
            (0..sequences * steps * width).map(|n| one(at(n))).collect()
        });
        Data { inputs: inputs.collect(), sequences, steps }
    }

    /// With what `change` makes of the numbers of some sequences; ids stay what they are.
    pub fn with(&self, signature: &Signature, is_changed: fn(usize) -> bool, change: impl Fn(f64) -> f64) -> Data {
        let mut data = self.clone();
        for (input, values) in signature.inputs.iter().zip(&mut data.inputs) {
            if matches!(input.feed, Feed::Ids { .. }) {
                continue;
            }
            let row = self.steps * input.tensor.width();
            for (sequence, values) in values.chunks_exact_mut(row.max(1)).enumerate() {
                if is_changed(sequence) {
                    values.iter_mut().for_each(|value| *value = change(*value));
                }
            }
        }
        data
    }
}

/// What a sequence gives: each output of each step, and the state after the last one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Outcome {
    /// Per output [steps, width]; of windows only the last step.
    pub outputs: Vec<Vec<f64>>,
    pub state: Vec<u8>,
}

/// What happens to states between two runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moved {
    /// Nothing.
    No,
    /// They are stored, and loaded where they were.
    Back,
    /// They are stored, and loaded at another place.
    Elsewhere,
}

/// A graph with the executor that serves it.
pub(super) struct Lab<'f> {
    pub signature: Signature,
    /// Whether only the last row of a run is taken out. A graph whose outputs have no time axis gives no other.
    pub only_last: bool,
    is_window: bool,
    onnx: &'f [u8],
    file: &'f dyn Fn(&str) -> Option<&'f [u8]>,
    executor: OnnxRuntime,
    layout: Arc<RowLayout>,
}

impl<'f> Lab<'f> {
    /// A graph with what it takes and gives; `file` gives the files that initial states lie in.
    ///
    /// # Errors
    /// The graph doesn't load.
    pub fn new(
        onnx: &'f [u8],
        signature: Signature,
        is_window: bool,
        file: &'f dyn Fn(&str) -> Option<&'f [u8]>,
    ) -> Result<Lab<'f>> {
        let session = Session::foreign(onnx, &signature)?;
        let executor = OnnxRuntime::new(session, file, Arc::new(Metrics::new()?))?;
        let spec = described(StateSpec::default().u64("steps", 0), &signature.states, file)?;
        let layout = Arc::new(RowLayout::new([("infer", spec)]));
        Ok(Lab { signature, only_last: false, is_window, onnx, file, executor, layout })
    }

    /// The same graph with so many sequences in a run.
    pub fn batch(self, batch: Run) -> Result<Lab<'f>> {
        let signature = Signature { batch, ..self.signature.clone() };
        self.under(signature)
    }

    /// The same graph with so many steps in a run.
    pub fn steps(self, steps: Run) -> Result<Lab<'f>> {
        let signature = Signature { steps, ..self.signature.clone() };
        self.under(signature)
    }

    /// It is loaded again only where that makes a difference.
    fn under(self, signature: Signature) -> Result<Lab<'f>> {
        if signature == self.signature { Ok(self) } else { Lab::new(self.onnx, signature, self.is_window, self.file) }
    }

    /// Runs sequences of `data` beside each other, in pieces of so many steps. `moved`: what happens to the
    /// states between pieces.
    pub fn run(&mut self, data: &Data, picks: &[usize], pieces: &[usize], moved: Moved) -> Result<Vec<Outcome>> {
        let mut memory = self.memory(picks.len());
        let mut outcomes: Vec<Outcome> = picks
            .iter()
            .map(|_| Outcome { outputs: vec![Vec::new(); self.signature.outputs.len()], state: Vec::new() })
            .collect();
        let mut slots: Vec<u32> = (0..picks.len() as u32).collect();
        let mut begun = 0;
        for (n, steps) in pieces.iter().enumerate() {
            if moved != Moved::No && n > 0 {
                let stored = stored(&mut memory, &slots);
                if moved == Moved::Elsewhere {
                    slots.reverse();
                }
                memory = self.memory(picks.len());
                restore(&mut memory, &slots, &stored);
            }
            self.piece(data, picks, begun, *steps, &slots, &mut memory, &mut outcomes)?;
            begun += steps;
        }
        for (outcome, state) in outcomes.iter_mut().zip(stored(&mut memory, &slots)) {
            outcome.state = state;
        }
        Ok(outcomes)
    }

    fn memory(&self, count: usize) -> Memory {
        let mut memory = Memory::new(self.layout.clone());
        memory.grow_to(count);
        memory
    }

    #[allow(clippy::too_many_arguments)]
    fn piece(
        &mut self,
        data: &Data,
        picks: &[usize],
        begun: usize,
        steps: usize,
        slots: &[u32],
        memory: &mut Memory,
        outcomes: &mut [Outcome],
    ) -> Result<()> {
        let inputs: Vec<Input<'_>> = self
            .signature
            .inputs
            .iter()
            .zip(&data.inputs)
            .map(|(input, values)| Input { values: Rows::F64(values), width: input.tensor.width() })
            .collect();
        let row = |step: usize, pick: &usize| (pick * data.steps + begun + step) as u32;
        let rows: Vec<u32> = (0..steps).flat_map(|step| picks.iter().map(move |pick| row(step, pick))).collect();
        let reset = vec![begun == 0; picks.len()];
        let is_window = self.is_window;
        let all_given = !is_window && !self.only_last;
        let given = |step: usize| all_given || step + 1 == steps;
        let to = (0..steps).flat_map(|step| {
            let at = move |n: usize| if is_window { n } else { n * steps + step };
            (0..picks.len()).map(move |n| if given(step) { at(n) as u32 } else { Steps::NONE })
        });
        let to: Vec<u32> = to.collect();
        let of_sequence = if self.is_window { 1 } else { steps };
        let widths: Vec<usize> = self.signature.outputs.iter().map(|output| output.tensor.width()).collect();
        let mut values: Vec<Vec<f64>> =
            widths.iter().map(|width| vec![0.0; picks.len() * of_sequence * width]).collect();
        let mut outputs: Vec<Output<'_>> = values
            .iter_mut()
            .zip(&widths)
            .map(|(values, width)| Output { values: RowsMut::F64(values), width: *width })
            .collect();
        let steps = Steps { t: steps, slots, inputs: &inputs, rows: &rows, gives: &to, reset: &reset, lengths: &[] };
        let mut state = memory.part(0);
        let bank = if self.is_window || self.signature.states.is_empty() { None } else { state.bank.as_deref_mut() };
        self.executor.run(&steps, bank, &mut outputs)?;
        for (n, (values, width)) in values.iter().zip(&widths).enumerate() {
            for (outcome, values) in outcomes.iter_mut().zip(values.chunks_exact(of_sequence * width)) {
                outcome.outputs[n].extend_from_slice(values);
            }
        }
        Ok(())
    }

    /// Whether a run may have several steps.
    pub fn has_time(&self) -> bool {
        self.signature.inputs.iter().all(|input| input.tensor.has(Axis::Time))
    }
}

/// The state of each slot, as bytes.
fn stored(memory: &mut Memory, slots: &[u32]) -> Vec<Vec<u8>> {
    let mut state = memory.part(0);
    match state.bank.as_deref_mut() {
        Some(Bank::Host(bank)) => {
            let numbers = bank.numbers();
            slots.iter().map(|slot| numbers.get(*slot).to_vec()).collect()
        }
        None => vec![Vec::new(); slots.len()],
    }
}

fn restore(memory: &mut Memory, slots: &[u32], stored: &[Vec<u8>]) {
    let mut state = memory.part(0);
    if let Some(Bank::Host(bank)) = state.bank.as_deref_mut() {
        let mut numbers = bank.numbers();
        slots.iter().zip(stored).for_each(|(slot, bytes)| numbers.get_mut(*slot).copy_from_slice(bytes));
    }
}
