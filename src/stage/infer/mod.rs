//! `infer`: one step of the network per record, with the key's own state.
//!
//! Lives here: which rows go into a run of the network, in one file for each mode ([`carry`], [`window`],
//! [`sequence`]), and what becomes of its outputs. However rows are put together, the bits are the same (ONNX Runtime's
//! operators compute each row alone, and T steps in one run as T runs of one), so it can't be seen in the output. Must
//! not live here: how features are made (`inputs`), and moving features and state into and out of a network
//! (`model::executor`).

mod answer;
mod carry;
mod classes;
mod feed;
#[cfg(test)]
mod feed_tests;
mod inputs;
mod numbers;
mod plan;
mod rhythm;
mod rows;
mod sequence;
mod streamed;
mod tokens;
mod transcript;
mod window;

pub(crate) use feed::is_whole;
pub use inputs::Inputs;
use plan::PlannedOutput;
pub use plan::{Network, PlannedNetwork, check_spans, class_columns};
pub use tokens::texts;

use bytemuck::{Pod, Zeroable};

use answer::{Answer, Given};
use carry::Carry;
use rhythm::time_ahead;
use sequence::{Stepwise, Whole};
use streamed::Streamed;
use transcript::{Names, Transcripts};
use window::Window;

use super::Stage;
use crate::config::Mode;
use crate::model::executor::{Executor, Input, Rows, described};
use crate::record::{self, Batch, Clock, Every, Features, NO_TIME, Values};
use crate::state::{State, StateSpec};
use crate::{Error, Result};

/// Rows of a run at most: beyond it ONNX Runtime gains nothing and leaves the cache.
const LARGEST: usize = 1024;

/// Name of the column with the network's answer.
pub const PREDICTION: &str = "prediction";
/// Name of the column that says whether a transcript is that of its whole sequence, beside that of the transcript.
pub(super) fn is_final(column: &str) -> String {
    format!("{column}_final")
}

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
    outputs: Vec<PlannedOutput>,
    /// Steps ahead, where an output is a forecast.
    horizon: Option<usize>,
    columns: Features,
    clock: Clock,
    /// Distance of rows where a stage before guarantees it.
    every: Option<Every>,
}

/// Which rows go together, by mode.
enum Plan {
    Carry(Carry),
    /// Beside it, the flag of rows that end a sequence.
    Streamed(Streamed, usize),
    /// Beside it, what its rows of features mean.
    Window(Window, String),
    /// Beside it, the flag of rows that end a sequence.
    Stepwise(Stepwise, usize),
    /// Beside both, what its rows of features mean.
    Whole(Whole, usize, String),
}

/// What `inputs` made of the rows of a batch.
#[derive(Clone, Copy)]
struct Made<'a> {
    slots: &'a [u32],
    /// Rows of each input.
    inputs: &'a [Input<'a>],
    /// Whether a row is a step.
    usable: &'a [bool],
    /// Whether the state is the initial one before it.
    restart: &'a [bool],
}

/// The rows of an input.
fn rows(values: &Values) -> Result<Input<'_>> {
    let (values, width) = match values {
        Values::Vector(values, width) => (Rows::F32(values), *width),
        Values::Doubles(values, width) => (Rows::F64(values), *width),
        Values::Integer(values) => (Rows::I64(values), 1),
        _ => return Err(misfit()),
    };
    Ok(Input { values, width })
}

fn misfit() -> Error {
    Error::failed("infer found other columns than inputs makes: internal error, please report")
}

impl Infer {
    /// The stage as it was planned, with an executor of its own.
    fn new(planned: &PlannedNetwork, executor: Box<dyn Executor>) -> Result<Self> {
        let version = &planned.model.version;
        let (manifest, signature) = (&version.manifest, &planned.model.signature);
        let by_group = manifest.groups.is_some();
        let of_group = |kept: StateSpec| if by_group { kept.u64(carry::GROUP, 0) } else { kept };
        let plan = match planned.mode {
            Mode::Carry if manifest.makes_transcripts() => {
                let file = |file: &str| version.files.get(file).map(Vec::as_slice);
                let (ends, limits) = (planned.ends.ok_or_else(misfit)?, (planned.beam, planned.most_tokens));
                let state = described(streamed::state(limits.0, limits.1), &signature.states, &file)?;
                let (names, metrics) = (Names::new(&manifest.classes), planned.model.metrics.clone());
                Plan::Streamed(Streamed::new(Carry::new(state, 0), names, limits, metrics), ends)
            }
            Mode::Carry => {
                let file = |file: &str| version.files.get(file).map(Vec::as_slice);
                let kept = of_group(StateSpec::default().u64("steps", 0));
                let state = described(kept, &signature.states, &file)?;
                Plan::Carry(Carry::new(state, manifest.warm_up).by_group(by_group))
            }
            Mode::Sequence => {
                let ends = planned.ends.ok_or_else(misfit)?;
                let width: usize = planned.outputs.iter().map(|output| output.width).sum();
                match manifest.sees_whole_sequences() {
                    true => {
                        let transcripts =
                            manifest.makes_transcripts().then(|| Transcripts::new(&manifest.classes, planned.beam));
                        let ids = manifest.ids() + &manifest.values();
                        let rows = format!("at most {} of {:?}{ids}", planned.most, manifest.inputs);
                        Plan::Whole(Whole::new(planned.most, signature, transcripts), ends, rows)
                    }
                    false => {
                        let file = |file: &str| version.files.get(file).map(Vec::as_slice);
                        let kept = of_group(sequence::head().f32s_unknown("answer", width));
                        let state = described(kept, &signature.states, &file)?;
                        let carry = Carry::new(state, 0).by_group(by_group);
                        Plan::Stepwise(Stepwise::new(carry, width), ends)
                    }
                }
            }
            Mode::Window => {
                let window = Window::new(planned.window, &signature.inputs, by_group);
                let rows = match manifest.signature {
                    None => format!("the last {} of {:?}{}", planned.window, manifest.inputs, manifest.ids()),
                    Some(_) => format!("the last {} of {:?}", planned.window, signature.inputs),
                };
                Plan::Window(window, rows)
            }
        };
        Ok(Infer {
            executor,
            plan,
            version: version.number as i64,
            outputs: planned.outputs.clone(),
            horizon: planned.horizon,
            columns: planned.features.clone(),
            clock: planned.clock.clone(),
            every: planned.every,
        })
    }
}

impl Stage for Infer {
    fn name(&self) -> &'static str {
        "infer"
    }

    fn state(&self) -> StateSpec {
        match &self.plan {
            Plan::Carry(carry) => carry.state(),
            Plan::Streamed(streamed, _) => streamed.state(),
            Plan::Window(window, _) => window.state(),
            Plan::Stepwise(steps, _) => steps.state(),
            Plan::Whole(whole, ..) => whole.state(),
        }
    }

    /// The units of one training mean nothing to another one; rows of features do.
    fn meaning(&self) -> Option<String> {
        match &self.plan {
            Plan::Carry(_) | Plan::Streamed(..) | Plan::Stepwise(..) => None,
            Plan::Window(_, rows) | Plan::Whole(_, _, rows) => Some(rows.clone()),
        }
    }

    fn process(&mut self, batch: &mut Batch, state: &mut State<'_>) -> Result<()> {
        let count = batch.rows();
        let mut given: Vec<Given> = self.outputs.iter().map(|output| output.room(count)).collect();
        let mut answer = Answer::new(&self.outputs, &mut given, count);
        let (values, usable, restart) = self.columns.read(batch)?;
        let inputs: Vec<Input<'_>> = values.into_iter().map(rows).collect::<Result<_>>()?;
        let (executor, made) = (self.executor.as_mut(), Made { slots: &batch.slots, inputs: &inputs, usable, restart });
        let ends = |column: usize| match batch.columns.get(column).map(|column| &column.values) {
            Some(Values::Flag(ends)) => Ok(&ends[..]),
            _ => Err(misfit()),
        };
        let (mut kept, mut texts) = (None, None);
        match &mut self.plan {
            Plan::Carry(carry) => carry.run(executor, made, state, &mut answer)?,
            Plan::Streamed(streamed, column) => {
                streamed.run(executor, made, state, &mut answer)?;
                texts = Some(streamed.columns(ends(*column)?));
            }
            Plan::Window(window, _) => window.run(executor, made, state, &mut answer)?,
            Plan::Stepwise(steps, column) => {
                let ends = ends(*column)?;
                steps.run(executor, made, ends, state, &mut answer)?;
                kept = Some(ends.to_vec());
            }
            Plan::Whole(whole, column, _) => {
                let ends = ends(*column)?;
                whole.run(executor, made, ends, state, &mut answer)?;
                texts = whole.texts(ends).map(|column| vec![column]);
                kept = Some(ends.to_vec());
            }
        }
        let mut warm_up = answer.warm_up;
        self.outputs.iter().zip(&mut given).for_each(|(output, given)| output.unscale(batch, given));
        if let Some(kept) = kept {
            self.outputs.iter().zip(&mut given).for_each(|(output, given)| given.keep(&kept, output.width));
            record::keep(&mut warm_up, &kept, 1);
            batch.keep(&kept);
        }
        let times = self.horizon.map(|horizon| self.times(batch, horizon)).transpose()?;
        if let Some(second) = self.columns.x.get(1) {
            batch.columns.truncate(*second);
        }
        match texts {
            Some(texts) => batch.columns.extend(texts),
            None => given
                .into_iter()
                .zip(&self.outputs)
                .for_each(|(given, output)| batch.columns.extend(given.columns(output))),
        }
        batch.columns.extend(times.map(|times| Values::Time(times).into()));
        batch.columns.push(Values::Integer(vec![self.version; batch.rows()]).into());
        batch.columns.push(Values::Flag(warm_up).into());
        Ok(())
    }
}

impl Infer {
    /// The time that each row's last step ahead is about.
    fn times(&self, batch: &Batch, horizon: usize) -> Result<Vec<i64>> {
        let column = |column: usize| &batch.columns[column].values;
        let (Values::Integer(interval), Values::Integer(rhythm)) =
            (column(self.columns.interval), column(self.columns.rhythm))
        else {
            return Err(misfit());
        };
        let time = |row: usize| match self.every {
            Some(every) => self.clock.step(batch.times[row], every, horizon as i64).unwrap_or(NO_TIME),
            None => time_ahead(&self.clock, batch.times[row], interval[row], rhythm[row], horizon),
        };
        Ok((0..batch.rows()).map(time).collect())
    }
}
