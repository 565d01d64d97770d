//! `infer`: one step of the network per record, with the key's own state.
//!
//! Lives here: which rows go into a run of the network, in one file for each mode ([`carry`], [`window`]), and what
//! becomes of its outputs. However rows are put together, the bits are the same (ONNX Runtime's operators compute each
//! row alone, and T steps in one run as T runs of one), so it can't be seen in the output. Must not live here: how
//! features are made (`inputs`), and moving features and state into and out of a network (`model::executor`).

mod carry;
mod inputs;
mod plan;
mod rhythm;
mod window;

pub use inputs::Inputs;
pub use plan::{Network, PlannedNetwork, check_spans};

use bytemuck::{Pod, Zeroable};

use carry::Carry;
use rhythm::time_ahead;
use window::Window;

use super::Stage;
use crate::config::Mode;
use crate::model::executor::{Executor, described};
use crate::record::{Batch, Clock, Every, Features, NO_TIME, Values};
use crate::state::{State, StateSpec};
use crate::{Error, Result};

/// Rows of a run at most: beyond it ONNX Runtime gains nothing and leaves the cache.
const LARGEST: usize = 1024;

/// Name of the column with the network's answer.
pub const PREDICTION: &str = "prediction";
/// Name of the column with the time that the last step of the horizon is about.
pub const PREDICTION_TIME: &str = "prediction_time";

/// What is kept per key in either mode.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct RowHead {
    /// Steps taken since the state was zero.
    steps: u64,
}

/// The stage; see the module.
pub struct Infer {
    executor: Box<dyn Executor>,
    plan: Plan,
    version: i64,
    outputs: usize,
    horizon: usize,
    /// Per target, the columns of the pair that its predictions are scaled back with.
    scaled_by: Vec<Option<(usize, usize)>>,
    columns: Features,
    clock: Clock,
    /// Distance of rows where a stage before guarantees it.
    every: Option<Every>,
}

/// Which rows go together, by mode.
enum Plan {
    Carry(Carry),
    /// Beside it, what its rows of features mean.
    Window(Window, String),
}

/// What `inputs` made of the rows of a batch.
#[derive(Clone, Copy)]
struct Made<'a> {
    slots: &'a [u32],
    /// Features: [rows, width].
    x: &'a [f32],
    width: usize,
    /// Whether a row is a step.
    usable: &'a [bool],
    /// Whether the state is zero before it.
    restart: &'a [bool],
}

impl<'a> Made<'a> {
    fn of(batch: &'a Batch, features: Features) -> Result<Made<'a>> {
        let (x, usable, restart) = features.read(batch)?;
        Ok(Made { slots: &batch.slots, x, width: x.len() / batch.rows().max(1), usable, restart })
    }
}

impl Infer {
    /// The stage as it was planned, with an executor of its own.
    fn new(planned: &PlannedNetwork, executor: Box<dyn Executor>) -> Result<Self> {
        let version = &planned.model.version;
        let manifest = &version.manifest;
        let signature = manifest.signature()?;
        let plan = match planned.mode {
            Mode::Carry => {
                let file = |file: &str| version.files.get(file).map(Vec::as_slice);
                let state = described(StateSpec::default().u64("steps", 0), &signature.states, &file)?;
                Plan::Carry(Carry::new(state, manifest.warm_up))
            }
            Mode::Window => {
                let window = Window::new(planned.window, manifest.inputs.len());
                Plan::Window(window, format!("the last {} of {:?}", planned.window, manifest.inputs))
            }
        };
        Ok(Infer {
            executor,
            plan,
            version: version.number as i64,
            outputs: signature.outputs.iter().map(|output| output.tensor.width()).sum(),
            horizon: manifest.horizon,
            scaled_by: planned.scaled_by.clone(),
            columns: planned.features,
            clock: planned.clock.clone(),
            every: planned.every,
        })
    }

    /// Turns the network's answers back into the keys' own units.
    fn unscale(&self, batch: &Batch, answer: &mut Answer) {
        let targets = self.scaled_by.len().max(1);
        for (target, pair) in self.scaled_by.iter().enumerate() {
            let Some((mean, sd)) = pair else { continue };
            let (mean, sd) = (batch.columns[*mean].numbers(), batch.columns[*sd].numbers());
            for (row, outputs) in answer.prediction.chunks_exact_mut(self.outputs).enumerate() {
                for output in outputs.iter_mut().skip(target).step_by(targets) {
                    *output = (f64::from(*output) * sd[row] + mean[row]) as f32;
                }
            }
        }
    }
}

/// What `infer` adds to a batch.
struct Answer {
    /// [rows, width].
    prediction: Vec<f32>,
    width: usize,
    warm_up: Vec<bool>,
}

impl Stage for Infer {
    fn name(&self) -> &'static str {
        "infer"
    }

    fn state(&self) -> StateSpec {
        match &self.plan {
            Plan::Carry(carry) => carry.state(),
            Plan::Window(window, _) => window.state(),
        }
    }

    /// The units of one training mean nothing to another one; rows of features do.
    fn meaning(&self) -> Option<String> {
        match &self.plan {
            Plan::Carry(_) => None,
            Plan::Window(_, rows) => Some(rows.clone()),
        }
    }

    fn process(&mut self, batch: &mut Batch, state: &mut State<'_>) -> Result<()> {
        let rows = batch.rows();
        let prediction = vec![f32::NAN; rows * self.outputs];
        let mut answer = Answer { prediction, width: self.outputs, warm_up: vec![true; rows] };
        let (executor, made) = (self.executor.as_mut(), Made::of(batch, self.columns)?);
        match &mut self.plan {
            Plan::Carry(carry) => carry.run(executor, made, state, &mut answer)?,
            Plan::Window(window, _) => window.run(executor, made, state, &mut answer)?,
        }
        self.unscale(batch, &mut answer);
        let column = |column: usize| &batch.columns[column].values;
        let (Values::Integer(interval), Values::Integer(rhythm)) =
            (column(self.columns.interval), column(self.columns.rhythm))
        else {
            return Err(Error::failed("infer found other columns than inputs makes: internal error, please report"));
        };
        let mut times = vec![NO_TIME; rows];
        for (row, time) in times.iter_mut().enumerate() {
            let t = batch.times[row];
            *time = match self.every {
                Some(every) => self.clock.step(t, every, self.horizon as i64).unwrap_or(NO_TIME),
                None => time_ahead(&self.clock, t, interval[row], rhythm[row], self.horizon),
            };
        }
        batch.columns.push(Values::Vector(answer.prediction, self.outputs).into());
        batch.columns.push(Values::Time(times).into());
        batch.columns.push(Values::Integer(vec![self.version; rows]).into());
        batch.columns.push(Values::Flag(answer.warm_up).into());
        Ok(())
    }
}
