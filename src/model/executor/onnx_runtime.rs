//! ONNX Runtime as an executor: copies rows and state into its tensors, runs them, and copies outputs and state back.
//!
//! Must not live here: calling ONNX Runtime (`ort`), where a row lies in a tensor (`place`), types (`convert`), and
//! which rows go into a run (`stage::infer`).

use std::sync::Arc;
use std::time::Instant;

use super::convert::{Part, gather, scatter};
use super::place::Place;
use super::states::States;
use super::{Buffer, Executor, Output, Session, Steps};
use crate::metrics::Metrics;
use crate::model::Version;
use crate::network::{Axis, Element, Run, TensorSpec};
use crate::state::Bank;
use crate::{Error, Result};

/// Runs a loaded graph on state of its own memory, gathered and scattered.
pub struct OnnxRuntime {
    session: Session,
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
    states: States,
    /// Inputs, then states, then lengths.
    taken: Vec<Buffer>,
    /// Outputs, then states.
    given: Vec<Buffer>,
    /// Whether a run has one sequence, and one step.
    one_sequence: bool,
    one_step: bool,
    metrics: Arc<Metrics>,
}

/// An input or output.
struct Tensor {
    element: Element,
    width: usize,
    has_time: bool,
    place: Place,
}

impl Tensor {
    fn new(spec: &TensorSpec) -> Tensor {
        let (element, width) = (spec.element, spec.width());
        Tensor { element, width, has_time: spec.has(Axis::Time), place: Place::new(spec) }
    }
}

/// Which steps and sequences of [`Steps`] go into one run.
#[derive(Clone, Copy)]
struct Cut {
    step: usize,
    t: usize,
    first: usize,
    count: usize,
    /// Sequences of the run: `count`, and what fills it up.
    b: usize,
}

impl Cut {
    /// Its rows of a list of [steps, sequences].
    fn of<'a>(&self, rows: &'a [u32], sequences: usize) -> Part<'a> {
        let rows = &rows[self.step * sequences..(self.step + self.t) * sequences];
        Part { rows, sequences, first: self.first, count: self.count }
    }
}

impl OnnxRuntime {
    /// The graph of a version.
    ///
    /// # Errors
    /// Refused: a graph that isn't what the manifest says; initial states that are missing or of another size.
    pub fn of(version: &Version, metrics: Arc<Metrics>) -> Result<Self> {
        OnnxRuntime::new(Session::of(version)?, &|file| version.files.get(file).map(Vec::as_slice), metrics)
    }

    /// A loaded graph; `file` gives those that initial states lie in.
    ///
    /// # Errors
    /// Refused: an initial state that is missing or of another size; a tensor without numbers.
    pub fn new<'f>(session: Session, file: &dyn Fn(&str) -> Option<&'f [u8]>, metrics: Arc<Metrics>) -> Result<Self> {
        let signature = session.signature();
        let tensors = || signature.taken().into_iter().chain(signature.given());
        if let Some(empty) = tensors().find(|tensor| tensor.width() == 0) {
            return Err(Error::refused(format!("tensor \"{}\" has no numbers: {}", empty.name, empty.describe())));
        }
        let inputs: Vec<Tensor> = signature.inputs.iter().map(|input| Tensor::new(&input.tensor)).collect();
        let outputs: Vec<Tensor> = signature.outputs.iter().map(|output| Tensor::new(&output.tensor)).collect();
        let one_sequence = signature.batch == Run::One || tensors().any(|tensor| !tensor.has(Axis::Batch));
        let one_step = signature.steps == Run::One || inputs.iter().any(|input| !input.has_time);
        let states = States::new(&signature.states, file)?;
        let lengths = usize::from(signature.lengths.is_some());
        let taken = vec![Buffer::default(); inputs.len() + signature.states.len() + lengths];
        let given = vec![Buffer::default(); outputs.len() + signature.states.len()];
        Ok(OnnxRuntime { session, inputs, outputs, states, taken, given, one_sequence, one_step, metrics })
    }

    /// Whether all steps go into one run: each output without an axis of time is only needed of the last step. A window
    /// without a state always does; of what has no axis of time, its last row counts.
    fn takes_all_steps(&self, steps: &Steps<'_>) -> bool {
        let before = (steps.t - 1) * steps.slots.len();
        let last_alone = || steps.gives[..before].iter().all(|row| *row == Steps::NONE);
        let has_time = || self.outputs.iter().all(|tensor| tensor.has_time);
        steps.t == 1 || !self.one_step && (has_time() || last_alone()) || self.states.words() == 0 && last_alone()
    }

    fn gather(&mut self, steps: &Steps<'_>, cut: Cut) {
        for ((tensor, buffer), input) in self.inputs.iter_mut().zip(&mut self.taken).zip(steps.inputs) {
            let t = if tensor.has_time { cut.t } else { 1 };
            let bytes = t * cut.b * tensor.width * tensor.element.bytes();
            buffer.resize(bytes);
            if cut.b != cut.count {
                buffer.bytes_mut().fill(0);
            }
            tensor.place.lay_out(cut.t, cut.b);
            let mut part = cut.of(steps.rows, steps.slots.len());
            if !tensor.has_time {
                part.rows = &part.rows[(cut.t - 1) * part.sequences..];
            }
            gather(input.values, input.width, part, tensor.element, &tensor.place, buffer);
        }
    }

    /// Outputs to their rows. Returns how many rows of the first one there were.
    fn scatter(&mut self, steps: &Steps<'_>, cut: Cut, outputs: &mut [Output<'_>]) -> usize {
        let mut rows = None;
        for ((tensor, buffer), output) in self.outputs.iter_mut().zip(&self.given).zip(outputs) {
            tensor.place.lay_out(cut.t, cut.b);
            let mut part = cut.of(steps.gives, steps.slots.len());
            if !tensor.has_time {
                part.rows = &part.rows[(cut.t - 1) * part.sequences..];
            }
            let count = scatter(buffer, tensor.element, &tensor.place, part, output);
            rows.get_or_insert(count);
        }
        rows.unwrap_or_default()
    }

    /// How many steps each sequence of a run has, where the graph asks for it.
    fn lay_lengths(&mut self, steps: &Steps<'_>, cut: Cut) {
        let Some(lengths) = self.taken.get_mut(self.inputs.len() + self.given.len() - self.outputs.len()) else {
            return;
        };
        lengths.resize(cut.b * size_of::<i32>());
        let lengths: &mut [i32] = lengths.values_mut();
        lengths.fill(cut.t as i32);
        if let Some(of) = steps.lengths.get(cut.first..cut.first + cut.count) {
            lengths.iter_mut().zip(of).for_each(|(length, of)| *length = *of as i32);
        }
    }

    /// Runs what was gathered.
    fn call(&mut self, cut: Cut) -> Result<f64> {
        let Cut { t, b, .. } = cut;
        for (tensor, buffer) in self.outputs.iter().zip(&mut self.given) {
            let t = if tensor.has_time { t } else { 1 };
            buffer.resize(t * b * tensor.width * tensor.element.bytes());
        }
        self.states.resize(b, &mut self.given[self.outputs.len()..]);
        let started = Instant::now();
        self.session.run(t, b, &self.taken, &mut self.given)?;
        Ok(started.elapsed().as_secs_f64())
    }

    fn check(&self, steps: &Steps<'_>, bank: Option<&mut Bank>, outputs: &[Output<'_>]) -> Result<()> {
        if !steps.lengths.is_empty() && self.session.signature().lengths.is_none() {
            return Err(misfit("sequences of one length"));
        }
        let fits = steps.t.min(steps.slots.len()) > 0
            && [0, steps.slots.len()].contains(&steps.lengths.len())
            && (steps.lengths.is_empty() || self.takes_all_steps(steps))
            && steps.lengths.iter().all(|length| (1..=steps.t).contains(&(*length as usize)))
            && steps.inputs.len() == self.inputs.len()
            && outputs.len() == self.outputs.len()
            && steps.inputs.iter().zip(&self.inputs).all(|(input, tensor)| input.width == tensor.width)
            && outputs.iter().zip(&self.outputs).all(|(output, tensor)| output.width == tensor.width);
        if !fits {
            return Err(misfit("rows of the graph's inputs and outputs"));
        }
        if let Some(Bank::Host(bank)) = bank
            && bank.numbers().words() != self.states.words()
        {
            return Err(misfit("a bank of the graph's states"));
        }
        Ok(())
    }
}

impl Executor for OnnxRuntime {
    fn run(&mut self, steps: &Steps<'_>, mut bank: Option<&mut Bank>, outputs: &mut [Output<'_>]) -> Result<()> {
        self.check(steps, bank.as_deref_mut(), outputs)?;
        let sequences = steps.slots.len();
        let t = if self.takes_all_steps(steps) { steps.t } else { 1 };
        let (count, b) = if self.one_sequence { (1, 1) } else { (sequences, batch_size(sequences)) };
        let (inputs, given) = (self.inputs.len(), self.outputs.len());
        for first in (0..sequences).step_by(count) {
            for step in (0..steps.t).step_by(t) {
                let cut = Cut { step, t, first, count, b };
                self.gather(steps, cut);
                self.lay_lengths(steps, cut);
                let states = self.given.len() - given;
                let taken = &mut self.taken[inputs..inputs + states];
                if step == 0 {
                    self.states.gather(steps, first..first + count, b, bank.as_deref_mut(), taken);
                } else {
                    // What came out of the step before goes into this one.
                    taken.swap_with_slice(&mut self.given[given..]);
                }
                let seconds = self.call(cut)?;
                let rows = self.scatter(steps, cut, outputs);
                self.metrics.inference_rows.observe(rows as f64);
                self.metrics.inference_seconds.observe(seconds);
            }
            self.states.scatter(steps, first..first + count, bank.as_deref_mut(), &self.given[given..]);
        }
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
