//! One update: forward, loss, backward, clipping, Adam.
//!
//! Lives here: the loss and the optimiser's numbers between updates, and the state that is carried from chunk to chunk.
//! Must not live here: which batch comes when (`fit`).

use crate::Result;
use crate::config::{Adam, EpsilonForm, Loss};
use crate::model::ModelKind;

use super::Plan;
use super::network::{Network, Sequences, State, Tape};
use super::scaling::Scaling;
use super::windows::Examples;

/// A network that learns.
#[derive(Debug)]
pub struct Learner {
    network: Network<f32>,
    plan: Plan,
    first: Vec<f32>,
    second: Vec<f32>,
    updates: i32,
    state: Option<State<f32>>,
}

impl Examples {
    /// The batch as the network takes it.
    pub fn sequences(&self) -> Sequences<'_> {
        Sequences { steps: self.steps, batch: self.batch, x: &self.x, reset: &self.reset, active: &self.active }
    }
}

impl Learner {
    /// A network with initial weights from the plan's seed.
    pub fn new(plan: &Plan, scaling: &Scaling) -> Result<Learner> {
        let network = Network::new(&plan.architecture, scaling, plan.seed);
        let zeros = vec![0.0; network.parameters().len()];
        Ok(Learner { network, plan: plan.clone(), first: zeros.clone(), second: zeros, updates: 0, state: None })
    }

    /// Changes the step size.
    pub fn set_learning_rate(&mut self, rate: f64) {
        self.plan.optimizer.learning_rate = rate;
    }

    /// State is zero again.
    pub fn begin_epoch(&mut self) {
        self.state = None;
    }

    /// The network as it is now.
    pub fn network(&self) -> &Network<f32> {
        &self.network
    }

    /// The network, no longer learning.
    pub fn into_network(self) -> Network<f32> {
        self.network
    }

    /// Learns from a batch; in mode carry from where the one before ended, detached. Gives the mean loss before the
    /// update and the number of outputs that counted. A batch without any moves the state alone.
    pub fn learn(&mut self, batch: &Examples) -> Result<(f64, f64)> {
        let fresh = self.network.zero_state(batch.batch);
        let (mut state, with_outputs) = match self.plan.kind {
            ModelKind::Window => (fresh, 1),
            ModelKind::Carry => (self.state.take().unwrap_or(fresh), batch.steps),
        };
        let mut tape = Tape::default();
        let made = self.network.forward(batch.sequences(), with_outputs, &mut state, &mut tape);
        if self.plan.kind == ModelKind::Carry {
            self.state = Some(state);
        }
        let count: f64 = batch.weight.iter().map(|w| f64::from(*w)).sum();
        if count == 0.0 {
            return Ok((0.0, 0.0));
        }
        let mut sum = 0.0;
        let gradients: Vec<f32> = made
            .iter()
            .zip(batch.wanted.iter().zip(&batch.weight))
            .map(|(made, (wanted, weight))| {
                if *weight == 0.0 {
                    return 0.0;
                }
                let error = f64::from(made - wanted);
                sum += super::pass::loss(self.plan.loss, error);
                (slope(self.plan.loss, error) / count) as f32
            })
            .collect();
        let loss = sum / count;
        if loss.is_finite() {
            let mut gradients = self.network.backward(batch.sequences(), &tape, &gradients);
            if let Some(norm) = self.plan.clip_norm {
                clip(&mut gradients, norm);
            }
            self.adam(&gradients);
        }
        Ok((loss, count))
    }

    /// Kingma and Ba 2015, algorithm 1; Keras adds epsilon before bias correction, PyTorch after.
    fn adam(&mut self, gradients: &[f32]) {
        let Adam { learning_rate, beta_1, beta_2, epsilon, epsilon_form } = self.plan.optimizer;
        self.updates += 1;
        let (left_1, left_2) = (1.0 - beta_1.powi(self.updates), 1.0 - beta_2.powi(self.updates));
        let parameters = self.network.parameters_mut();
        for (i, gradient) in gradients.iter().enumerate() {
            self.first[i] += (gradient - self.first[i]) * (1.0 - beta_1) as f32;
            self.second[i] += (gradient * gradient - self.second[i]) * (1.0 - beta_2) as f32;
            let (m, v) = (f64::from(self.first[i]), f64::from(self.second[i]));
            let step = match epsilon_form {
                EpsilonForm::Keras => m * left_2.sqrt() / left_1 / (v.sqrt() + epsilon),
                EpsilonForm::Torch => m / left_1 / ((v / left_2).sqrt() + epsilon),
            };
            parameters[i] -= (learning_rate * step) as f32;
        }
    }
}

/// Derivative of the loss of one error.
fn slope(loss: Loss, error: f64) -> f64 {
    match loss {
        Loss::Mse => 2.0 * error,
        Loss::Mae if error == 0.0 => 0.0,
        Loss::Mae => error.signum(),
        Loss::Huber { delta } => error.clamp(-delta, delta),
    }
}

/// Scales gradients down to a global norm.
fn clip(gradients: &mut [f32], most: f64) {
    let norm = gradients.iter().map(|g| f64::from(*g) * f64::from(*g)).sum::<f64>().sqrt();
    if norm > most {
        let scale = (most / norm) as f32;
        gradients.iter_mut().for_each(|g| *g *= scale);
    }
}
