//! `infer`: one step of the network per record, with the key's own state.
//!
//! Rows of a batch are ordered so that no key appears twice in a step: each run of the session takes the next rows of
//! every key that has rows left. With many keys that is a wave of single steps; with few keys, runs of several steps.
//! Both give the same bits (ONNX Runtime's operators compute each row alone, and T steps in one run as T runs of one),
//! so neither can be seen in the output. How features are made must not live here (`stage::inputs`).

mod inputs;
mod plan;

use bytemuck::{Pod, Zeroable};

pub use inputs::Inputs;
pub use plan::{Network, Planned};

use inputs::time_ahead;

use super::Stage;
use crate::config::Mode;
use crate::metrics::Metrics;
use crate::model::{Input, Session};
use crate::record::{Batch, Clock, Every, Features, NO_TIME, Values};
use crate::state::Rows;
use crate::{Error, Result};
use std::sync::Arc;
use std::time::Instant;

/// Rows of a run at most: beyond it ONNX Runtime gains nothing and leaves the cache.
const LARGEST: usize = 1024;
/// From that many keys on, single steps are as cheap as runs of steps.
const MANY_KEYS: usize = 16;
/// Steps of a run at most, where keys are few.
const LONGEST: usize = 64;

/// Name of the column with the network's answer.
pub const PREDICTION: &str = "prediction";
/// Name of the column with the time that the last step of the horizon is about.
pub const PREDICTION_TIME: &str = "prediction_time";

/// What is kept per key before the network's own numbers.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Header {
    /// Steps taken since the state was zero.
    steps: u64,
}

/// The stage; see the module.
pub struct Infer {
    session: Session,
    mode: Mode,
    window: usize,
    warm_up: u64,
    version: i64,
    features: usize,
    outputs: usize,
    horizon: usize,
    /// Width of each state of the network, in the order of its pairs.
    states: Vec<usize>,
    /// Per target, the columns of the pair that its predictions are scaled back with.
    scaled_by: Vec<Option<(usize, usize)>>,
    columns: Features,
    clock: Clock,
    /// Distance of rows where a stage before guarantees it.
    every: Option<Every>,
    scratch: Scratch,
    /// The model's inputs, in order.
    inputs: Vec<Input>,
    metrics: Arc<Metrics>,
}

/// Memory that is used again for every batch.
#[derive(Default)]
struct Scratch {
    /// Rows that take a step, grouped by key, in order within a key.
    order: Vec<u32>,
    /// Per key of the batch, its part of `order` that is not done yet.
    queues: Vec<(u32, u32)>,
    /// Per slot, the batch it was last seen in and its queue there.
    seen: Vec<(u64, u32)>,
    /// Number of the batch.
    batch: u64,
    x: Vec<f32>,
    y: Vec<f32>,
    states: Vec<Vec<f32>>,
    states_out: Vec<Vec<f32>>,
}

impl Infer {
    /// The stage as it was planned, with a session of its own.
    pub fn new(planned: &Planned, session: Session) -> Self {
        let version = &planned.model.version;
        let manifest = &version.manifest;
        let states: Vec<usize> = manifest.states.iter().map(|pair| pair.shape.iter().product()).collect();
        let scratch = Scratch {
            states: vec![Vec::new(); states.len()],
            states_out: vec![Vec::new(); states.len()],
            ..Scratch::default()
        };
        Infer {
            session,
            mode: planned.mode,
            window: planned.window,
            warm_up: manifest.warm_up as u64,
            version: version.number as i64,
            features: manifest.architecture.features,
            outputs: manifest.architecture.outputs,
            horizon: manifest.horizon,
            states,
            scaled_by: planned.scaled_by.clone(),
            columns: planned.features,
            clock: planned.clock.clone(),
            every: planned.every,
            scratch,
            inputs: manifest.inputs.clone(),
            metrics: planned.model.metrics.clone(),
        }
    }

    /// Runs `t` steps of `b` lanes that were laid out in the scratch memory, `rows` of them (steps included) not padding.
    fn run(&mut self, t: usize, b: usize, rows: usize) -> Result<()> {
        let Scratch { x, y, states, states_out, .. } = &mut self.scratch;
        y.resize(t * b * self.outputs, 0.0);
        for (out, width) in states_out.iter_mut().zip(&self.states) {
            out.resize(b * width, 0.0);
        }
        let states: Vec<&[f32]> = states.iter().map(Vec::as_slice).collect();
        let mut states_out: Vec<&mut [f32]> = states_out.iter_mut().map(Vec::as_mut_slice).collect();
        let started = Instant::now();
        self.session.run(t, b, x, &states, y, &mut states_out)?;
        self.metrics.inference_rows.observe(rows as f64);
        self.metrics.inference_seconds.observe(started.elapsed().as_secs_f64());
        Ok(())
    }

    /// Mode carry: the state of each key is advanced row by row.
    fn carry(&mut self, batch: &Batch, state: &mut Rows<'_>, answer: &mut Answer) -> Result<()> {
        let (x, usable, restart) = self.columns.read(batch)?;
        self.scratch.group(&batch.slots, usable);
        let mut queues = std::mem::take(&mut self.scratch.queues);
        let order = std::mem::take(&mut self.scratch.order);
        while !queues.is_empty() {
            let many = queues.len() >= MANY_KEYS;
            let mut done = 0;
            while done < queues.len() {
                let keys = (queues.len() - done).min(LARGEST);
                let now = &queues[done..done + keys];
                let t = if many { 1 } else { run_length(now, &order, restart) };
                let b = batch_size(keys);
                self.lay_out(t, b, now, &order, batch, x, restart, state);
                self.run(t, b, t * keys)?;
                self.take_back(t, b, now, &order, batch, state, answer);
                for queue in &mut queues[done..done + keys] {
                    queue.0 += t as u32;
                }
                done += keys;
            }
            queues.retain(|(next, end)| next < end);
        }
        (self.scratch.queues, self.scratch.order) = (queues, order);
        Ok(())
    }

    /// Gathers features [t, b, F] and states [b, units] of the next `t` rows of each queue.
    #[allow(clippy::too_many_arguments)]
    fn lay_out(
        &mut self,
        t: usize,
        b: usize,
        queues: &[(u32, u32)],
        order: &[u32],
        batch: &Batch,
        x: &[f32],
        restart: &[bool],
        state: &mut Rows<'_>,
    ) {
        let features = self.features;
        let scratch = &mut self.scratch;
        scratch.x.clear();
        scratch.x.resize(t * b * features, 0.0);
        for (states, width) in scratch.states.iter_mut().zip(&self.states) {
            states.clear();
            states.resize(b * width, 0.0);
        }
        for (lane, (next, _)) in queues.iter().enumerate() {
            let first = order[*next as usize] as usize;
            let slot = batch.slots[first];
            if restart[first] {
                state.reset(slot);
            }
            let (_, numbers): (&mut Header, &mut [f32]) = state.split_mut(slot);
            let mut at = 0;
            for (states, width) in scratch.states.iter_mut().zip(&self.states) {
                states[lane * width..(lane + 1) * width].copy_from_slice(&numbers[at..at + width]);
                at += width;
            }
            for step in 0..t {
                let row = order[*next as usize + step] as usize;
                let to = (step * b + lane) * features;
                scratch.x[to..to + features].copy_from_slice(&x[row * features..(row + 1) * features]);
            }
        }
    }

    /// Scatters states back to their keys and outputs to their rows.
    #[allow(clippy::too_many_arguments)]
    fn take_back(
        &mut self,
        t: usize,
        b: usize,
        queues: &[(u32, u32)],
        order: &[u32],
        batch: &Batch,
        state: &mut Rows<'_>,
        answer: &mut Answer,
    ) {
        for (lane, (next, _)) in queues.iter().enumerate() {
            let slot = batch.slots[order[*next as usize] as usize];
            let (header, numbers): (&mut Header, &mut [f32]) = state.split_mut(slot);
            let mut at = 0;
            for (states, width) in self.scratch.states_out.iter().zip(&self.states) {
                numbers[at..at + width].copy_from_slice(&states[lane * width..(lane + 1) * width]);
                at += width;
            }
            for step in 0..t {
                let row = order[*next as usize + step] as usize;
                answer.warm_up[row] = header.steps < self.warm_up;
                header.steps += 1;
                let from = (step * b + lane) * self.outputs;
                answer.row(row, &self.scratch.y[from..from + self.outputs]);
            }
        }
    }

    /// Mode window: every row is computed anew from the key's last W rows.
    fn windows(&mut self, batch: &Batch, state: &mut Rows<'_>, answer: &mut Answer) -> Result<()> {
        let (x, usable, restart) = self.columns.read(batch)?;
        let (features, window) = (self.features, self.window);
        let largest = (LARGEST / window).clamp(16, 256);
        let mut full: Vec<u32> = Vec::with_capacity(largest);
        // Windows of a run one after the other, [b, W, F]; turned to [W, b, F] when the run is complete.
        let mut windows: Vec<f32> = Vec::with_capacity(largest * window * features);
        for row in (0..batch.rows()).filter(|row| usable[*row]) {
            let (header, ring): (&mut Header, &mut [f32]) = state.split_mut(batch.slots[row]);
            if restart[row] {
                header.steps = 0;
            }
            let at = (header.steps % window as u64) as usize;
            ring[at * features..(at + 1) * features].copy_from_slice(&x[row * features..(row + 1) * features]);
            header.steps += 1;
            answer.warm_up[row] = header.steps < window as u64;
            if header.steps >= window as u64 {
                windows.extend_from_slice(&ring[(at + 1) * features..window * features]);
                windows.extend_from_slice(&ring[..(at + 1) * features]);
                full.push(row as u32);
            }
            if full.len() == largest {
                self.run_windows(&mut full, &mut windows, answer)?;
            }
        }
        if full.is_empty() { Ok(()) } else { self.run_windows(&mut full, &mut windows, answer) }
    }

    fn run_windows(&mut self, rows: &mut Vec<u32>, windows: &mut Vec<f32>, answer: &mut Answer) -> Result<()> {
        let (features, window, outputs) = (self.features, self.window, self.outputs);
        let b = batch_size(rows.len());
        let scratch = &mut self.scratch;
        scratch.x.clear();
        scratch.x.resize(window * b * features, 0.0);
        for (lane, rows) in windows.chunks_exact(window * features).enumerate() {
            for (step, row) in rows.chunks_exact(features).enumerate() {
                let to = (step * b + lane) * features;
                scratch.x[to..to + features].copy_from_slice(row);
            }
        }
        for (states, width) in scratch.states.iter_mut().zip(&self.states) {
            states.clear();
            states.resize(b * width, 0.0);
        }
        self.run(window, b, rows.len())?;
        let last = (window - 1) * b * outputs;
        for (lane, row) in rows.iter().enumerate() {
            let from = last + lane * outputs;
            answer.row(*row as usize, &self.scratch.y[from..from + outputs]);
        }
        rows.clear();
        windows.clear();
        Ok(())
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
    prediction: Vec<f32>,
    warm_up: Vec<bool>,
}

impl Answer {
    fn row(&mut self, row: usize, outputs: &[f32]) {
        self.prediction[row * outputs.len()..(row + 1) * outputs.len()].copy_from_slice(outputs);
    }
}

impl Stage for Infer {
    fn name(&self) -> &'static str {
        "infer"
    }

    fn initial_row(&self) -> Vec<u64> {
        let numbers = match self.mode {
            Mode::Carry => self.states.iter().sum::<usize>(),
            Mode::Window => self.window * self.features,
        };
        vec![0; size_of::<Header>() / 8 + numbers.div_ceil(2)]
    }

    /// What the units of one training hold says nothing to those of another; rows of features do.
    fn meaning(&self) -> Option<String> {
        match self.mode {
            Mode::Carry => None,
            Mode::Window => Some(format!("the last {} of {:?}", self.window, self.inputs)),
        }
    }

    fn process(&mut self, batch: &mut Batch, state: &mut Rows<'_>) -> Result<()> {
        let rows = batch.rows();
        let mut answer = Answer { prediction: vec![f32::NAN; rows * self.outputs], warm_up: vec![true; rows] };
        match self.mode {
            Mode::Carry => self.carry(batch, state, &mut answer)?,
            Mode::Window => self.windows(batch, state, &mut answer)?,
        }
        self.unscale(batch, &mut answer);
        let Values::Integer(interval) = &batch.columns[self.columns.interval].values else {
            return Err(Error::failed("infer found other columns than inputs makes: a bug of kolk"));
        };
        let mut times = vec![NO_TIME; rows];
        for (row, time) in times.iter_mut().enumerate() {
            let t = batch.times[row];
            *time = match self.every {
                Some(every) => self.clock.step(t, every, self.horizon as i64).unwrap_or(NO_TIME),
                None => time_ahead(&self.clock, t, interval[row], self.horizon),
            };
        }
        batch.columns.push(Values::Vector(answer.prediction, self.outputs).into());
        batch.columns.push(Values::Time(times).into());
        batch.columns.push(Values::Integer(vec![self.version; rows]).into());
        batch.columns.push(Values::Flag(answer.warm_up).into());
        Ok(())
    }
}

impl Scratch {
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

/// Rows of a run for that many keys: the next size of the ladder. A batch of one is computed by other code than a
/// larger one, with other last bits, so two is the least.
fn batch_size(keys: usize) -> usize {
    match keys {
        0..=16 => keys.max(2).next_power_of_two(),
        _ => keys.next_multiple_of(16),
    }
}
