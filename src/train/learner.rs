//! One update after the other: forward, loss, backward, clip, optimizer.
//!
//! Lives here: what a batch does to the numbers, and in mode carry the state handed from chunk to chunk. Must not live
//! here: which batches there are (`lanes`, `windows`) and when to stop (`fit`).

use std::ops::Range;
use std::sync::Arc;

use super::Plan;
use super::dropout::Dropout;
use super::gradients::{Sample, distances};
use super::head::Head;
use super::keep::Record;
use super::loss::clip;
use super::network::{Network, Pass, State, Workspace};
use super::optimizer::Optimizer;
use super::pass::Model;
use super::scaling::Scaling;
use super::windows::Examples;
use crate::Result;
use crate::config::Skip;
use crate::kernel::recurrent::Mask;
use crate::kernel::threads::Threads;
use crate::model::ModelKind;
use crate::network::Pool;

/// What the kernels count in the loss beside the head's: `l1 Σ|w| + l2 Σw²`, as Keras has it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Penalty {
    /// Of absolute values.
    pub l1: f64,
    /// Of squares.
    pub l2: f64,
}

impl Penalty {
    /// Adds its gradient.
    fn add(self, parameters: &[f32], kernels: &[Range<usize>], gradients: &mut [f32]) {
        let (l1, l2) = (self.l1 as f32, 2.0 * self.l2 as f32);
        if l1 == 0.0 && l2 == 0.0 {
            return;
        }
        for kernel in kernels {
            for (gradient, weight) in gradients[kernel.clone()].iter_mut().zip(&parameters[kernel.clone()]) {
                let sign = if *weight == 0.0 { 0.0 } else { weight.signum() };
                *gradient += l1 * sign + l2 * weight;
            }
        }
    }
}

/// A network that learns.
#[derive(Debug)]
pub struct Learner {
    network: Network<f32>,
    optimizer: Optimizer<f32>,
    /// As it is written; [`Learner::begin_update`] multiplies it.
    learning_rate: f64,
    kernels: Vec<Range<usize>>,
    penalty: Penalty,
    dropout: Dropout,
    seed: u64,
    /// Number of the next update.
    update: usize,
    head: Arc<dyn Head>,
    clip_norm: Option<f64>,
    kind: ModelKind,
    /// State after the last chunk of this epoch; mode carry.
    state: Option<State<f32>>,
    /// Memory of a state, to be used again.
    spare: State<f32>,
    threads: Threads,
    work: Workspace<f32>,
    gradients: Vec<f32>,
    d_out: Vec<f32>,
}

impl Learner {
    /// The network of the plan with its first numbers, with this scaling and linear path.
    pub fn new(plan: &Plan, scaling: &Scaling, linear: Option<&(Vec<f32>, Vec<f32>)>) -> Result<Learner> {
        let mut network = match &plan.start {
            Some(start) => Network::restored(&plan.architecture, &start.tensors)?,
            None => Network::new(&plan.architecture, plan.seed),
        };
        match linear {
            Some((kernel, bias)) => network.set_linear(kernel, bias),
            None if plan.skip == Skip::Ridge => network.freeze_linear(),
            None => {}
        }
        let f32s = |numbers: &[f64]| numbers.iter().map(|number| *number as f32).collect::<Vec<_>>();
        network.set_scaling(&f32s(&scaling.mean), &f32s(&scaling.sd), &f32s(&scaling.out_mean), &f32s(&scaling.out_sd));
        let parameters = network.parameters().len();
        let threads = Threads::new(plan.threads);
        Ok(Learner {
            optimizer: Optimizer::new(plan.optimizer, parameters, network.kernels()),
            kernels: network.kernels(),
            penalty: plan.penalty,
            dropout: plan.dropout.clone(),
            seed: plan.seed,
            update: 0,
            learning_rate: plan.optimizer.learning_rate(),
            network,
            head: plan.head.clone(),
            clip_norm: plan.clip_norm,
            kind: plan.kind,
            state: None,
            spare: State::default(),
            work: Workspace::on(&threads),
            threads,
            gradients: vec![0.0; parameters],
            d_out: Vec::new(),
        })
    }

    /// What the next batch is: the update with this number, counted from 0, whose step size is that which is written,
    /// times a factor.
    pub fn begin_update(&mut self, update: usize, factor: f64) {
        self.update = update;
        self.optimizer.set_learning_rate(self.learning_rate * factor);
    }

    /// Lanes restart, and so does their state.
    pub fn begin_epoch(&mut self) {
        self.spare = self.state.take().unwrap_or_else(|| std::mem::take(&mut self.spare));
    }

    /// Learns from a batch; returns its mean loss (before the update) over the entries that count, and their number.
    pub fn learn(&mut self, batch: &Examples) -> Result<(f64, f64)> {
        let pass = pass(batch, self.kind == ModelKind::Window);
        let mut state = match self.state.take() {
            Some(state) => state,
            None => {
                let mut state = std::mem::take(&mut self.spare);
                self.network.clear_state(batch.batch, &mut state);
                state
            }
        };
        self.dropout.draw(self.network.architecture(), self.seed, self.update, batch.batch, &mut self.work.masks);
        let y = self.network.forward(pass, &mut state, &mut self.work);
        let value = self.head.loss(y, batch, &mut self.d_out);
        self.network.backward(pass, &self.d_out, &mut self.work, &mut self.gradients);
        self.penalty.add(self.network.parameters(), &self.kernels, &mut self.gradients);
        if let Some(limit) = self.clip_norm {
            clip(&mut self.gradients, limit);
        }
        self.optimizer.update(&self.threads, self.network.parameters_mut(), &self.gradients);
        // Handed on as numbers only: no gradient goes back through it.
        if self.kind == ModelKind::Carry {
            self.state = Some(state);
        } else {
            self.spare = state;
        }
        let count = batch.weight.iter().map(|weight| f64::from(*weight)).sum();
        Ok((value, count))
    }

    /// What the gradient of a batch is like before it is learned from; changes nothing.
    pub fn sample(&self, batch: &Examples, updates: usize) -> Sample {
        let pass = pass(batch, self.kind == ModelKind::Window);
        let mut state = self.state.clone().unwrap_or_else(|| self.network.zero_state(batch.batch));
        let (mut work, mut gradients) = (Workspace::for_samples(), vec![0.0; self.gradients.len()]);
        let mut d_out = Vec::new();
        let y = self.network.forward(pass, &mut state, &mut work);
        self.head.loss(y, batch, &mut d_out);
        self.network.backward(pass, &d_out, &mut work, &mut gradients);
        let (norms, saturated) = (self.network.group_norms(&gradients), self.network.saturated(pass, &work));
        // The loss of the last timestep alone, of lanes that are steps all the time and don't restart.
        let (lanes, outputs) = (batch.batch, self.head.outputs());
        let before = d_out.len().saturating_sub(lanes * outputs);
        d_out[..before].fill(0.0);
        for (lane, d_out) in d_out[before..].chunks_exact_mut(outputs).enumerate() {
            let cells = || (0..batch.steps).map(|at| at * lanes + lane);
            if cells().skip(1).any(|cell| batch.reset[cell]) || !cells().all(|cell| batch.active[cell]) {
                d_out.fill(0.0);
            }
        }
        work.norms = Some(Vec::new());
        self.network.backward(pass, &d_out, &mut work, &mut gradients);
        let mut reach = work.norms.take().unwrap_or_default();
        reach.reverse();
        for layer in &mut reach {
            *layer = distances().map_while(|back| layer.get(back).copied()).collect();
        }
        // The gradient of a mean of steps begins at all of them.
        let is_mean = self.network.architecture().pool == Pool::Mean;
        if is_mean || reach.iter().any(|layer| layer.first().is_none_or(|last| *last == 0.0 || !last.is_finite())) {
            reach.clear();
        }
        Sample { updates, norms, saturated, reach }
    }

    /// Puts all that lasts from one update to the next into a training checkpoint.
    pub fn put(&self, record: &mut Record) {
        record.put("learner/parameters", self.network.parameters());
        self.optimizer.put(record);
        let Some(state) = &self.state else { return };
        for (name, layers) in [("h", &state.h), ("c", &state.c)] {
            let sizes: Vec<usize> = layers.iter().map(Vec::len).collect();
            record.put_counts(&format!("learner/{name}_sizes"), &sizes);
            record.put(&format!("learner/{name}"), &layers.concat());
        }
    }

    /// Takes all of it.
    ///
    /// # Errors
    /// What is missing or of another size; a part of it may be taken.
    pub fn take(&mut self, record: &Record) -> std::result::Result<(), String> {
        record.take_into("learner/parameters", self.network.parameters_mut())?;
        self.optimizer.take(record)?;
        self.state = None;
        if record.has("learner/h") {
            let mut state = self.network.zero_state(0);
            for (name, layers) in [("h", &mut state.h), ("c", &mut state.c)] {
                let sizes: Vec<u64> = record.take(&format!("learner/{name}_sizes"))?;
                let values: Vec<f32> = record.take(&format!("learner/{name}"))?;
                let mut rest = &values[..];
                if sizes.len() != layers.len() {
                    return Err(format!("learner/{name}: {} layers, expected {}", sizes.len(), layers.len()));
                }
                for (layer, size) in layers.iter_mut().zip(sizes) {
                    let own = rest.split_off(..size as usize).ok_or_else(|| format!("learner/{name} is too short"))?;
                    *layer = own.to_vec();
                }
            }
            self.state = Some(state);
        }
        Ok(())
    }

    /// The network as it is now.
    pub fn network(&self) -> &Network<f32> {
        &self.network
    }

    /// The network, when it has learned enough.
    pub fn into_network(self) -> Network<f32> {
        self.network
    }
}

fn pass(batch: &Examples, last_only: bool) -> Pass<'_, f32> {
    let mask = Mask { reset: &batch.reset, active: &batch.active };
    let Examples { steps: t, batch: b, x, group, ids, .. } = batch;
    Pass { t: *t, b: *b, x, mask, group, ids, last_only }
}

impl Model {
    /// Standardised outputs [steps, batch, outputs] of a batch; advances `state`.
    pub fn forward(&self, state: &mut State<f32>, batch: &Examples) -> Vec<f32> {
        let mut work = Workspace::default();
        self.net.forward(pass(batch, false), state, &mut work).to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2 · 0.25 · w + 0.5 · sign(w), of kernels alone.
    #[test]
    fn a_penalty_is_of_kernels_alone() {
        let mut gradients = [1.0; 4];
        Penalty { l1: 0.5, l2: 0.25 }.add(&[2.0, -4.0, 0.0, 9.0], &[0..2, 2..3], &mut gradients);
        assert_eq!(gradients, [1.0 + 1.0 + 0.5, 1.0 - 2.0 - 0.5, 1.0, 1.0]);
    }
}
