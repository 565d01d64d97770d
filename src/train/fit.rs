//! The loop: epochs of updates, early stopping, progress.
//!
//! Lives here: which batch comes when, and which weights are kept. Must not live here: gradients and the optimiser.

use std::time::{Duration, Instant};

use crate::config::Length;
use crate::model::ModelKind;
use crate::{Error, Result};

use super::dataset::Dataset;
use super::lanes::{self, Lanes};
use super::learner::Learner;
use super::pass::Model;
use super::scaling::Scaling;
use super::split::Subset;
use super::trained::Epoch;
use super::windows::{self, Examples, epoch_rng, shuffle};

/// What a training is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Learning from the train part.
    Train,
    /// Learning again on all data, after the evaluation.
    Refit,
    /// Forecasting the test part.
    Evaluate,
}

/// Progress of a training; after each update, and again at the end of each epoch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// What it is doing.
    pub phase: Phase,
    /// The epoch, from 1.
    pub epoch: usize,
    /// Epochs at most; `None` where the length is in updates.
    pub epochs: Option<usize>,
    /// Updates so far.
    pub updates: usize,
    /// Updates at most, about where the length is in epochs.
    pub of_updates: usize,
    /// Mean loss of the epoch so far.
    pub train_loss: f64,
    /// Set at the end of an epoch only.
    pub finished: Option<EpochEnd>,
    /// Time left until the length is reached, at the rate so far.
    pub left: Duration,
}

/// The end of an epoch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EpochEnd {
    /// Loss over the validation part; `None` without one.
    pub validation_loss: Option<f64>,
    /// Whether these are the best weights so far.
    pub best: bool,
}

/// The outcome of a loop.
#[derive(Debug, Clone)]
pub struct Fitted {
    /// The network with the weights that are kept.
    pub model: Model,
    /// Losses per epoch.
    pub curve: Vec<Epoch>,
    /// The epoch (from 1) whose weights are kept.
    pub best_epoch: usize,
    /// Updates until then.
    pub best_updates: usize,
    /// Whether patience ran out.
    pub stopped_early: bool,
}

/// Trains on the train part. Where there is a validation part the weights that did best on it are kept, else the last.
pub fn fit(data: &Dataset, length: Length, phase: Phase, progress: &mut dyn FnMut(Progress)) -> Result<Fitted> {
    let scaling = Scaling::learn(data);
    let mut learner = Learner::new(data.plan, &scaling)?;
    let batches = Batches::new(data);
    let started = Instant::now();
    let (epochs, most_updates) = match length {
        Length::Epochs(n) => (Some(n), usize::MAX),
        Length::Updates(n) => (None, n),
    };
    let mut curve: Vec<Epoch> = Vec::new();
    let mut best: Option<(f64, Vec<f32>)> = None;
    let (mut best_epoch, mut best_updates, mut stopped_early) = (0, 0, false);
    let mut updates = 0;
    let mut batch = Examples::default();
    while updates < most_updates && epochs.is_none_or(|n| curve.len() < n) {
        let epoch = curve.len();
        let order = batches.epoch(data, epoch);
        let (mut sum, mut weight) = (0.0, 0.0);
        let mut tell = Progress {
            phase,
            epoch: epoch + 1,
            epochs,
            updates,
            of_updates: epochs.map_or(most_updates, |n| updates + (n - epoch) * order.len()),
            train_loss: f64::NAN,
            finished: None,
            left: Duration::ZERO,
        };
        learner.begin_epoch();
        for index in 0..order.len().min(most_updates - updates) {
            order.fill(&mut batch, data, &scaling, index);
            let (loss, count) = learner.learn(&batch)?;
            if !loss.is_finite() {
                return Err(Error::failed(format!(
                    "the loss is no longer finite in epoch {}, update {}: lower the learning rate or set clip_norm",
                    epoch + 1,
                    updates + 1
                )));
            }
            sum += loss * count;
            weight += count;
            updates += 1;
            tell.updates = updates;
            tell.train_loss = sum / weight;
            tell.left = left(started, updates, tell.of_updates);
            progress(tell);
        }
        let model = Model { net: learner.network().clone(), scaling: scaling.clone() };
        let validation = model.validation_loss(data, 4 * data.plan.chunk);
        let judged = validation.unwrap_or(f64::NEG_INFINITY);
        let is_best = validation.is_none() || best.as_ref().is_none_or(|(before, _)| judged < *before);
        curve.push(Epoch { train: sum / weight, validation, updates });
        if is_best {
            best = Some((judged, learner.network().parameters().to_vec()));
            (best_epoch, best_updates) = (curve.len(), updates);
        }
        tell.finished = Some(EpochEnd { validation_loss: validation, best: is_best });
        progress(tell);
        let waited = if epochs.is_some() { curve.len() - best_epoch } else { updates - best_updates };
        if data.plan.patience.is_some_and(|patience| validation.is_some() && waited >= patience.max(1)) {
            stopped_early = epochs.map_or(updates < most_updates, |n| curve.len() < n);
            break;
        }
    }
    let mut net = learner.into_network();
    if let Some((_, weights)) = best {
        net.parameters_mut().copy_from_slice(&weights);
    }
    Ok(Fitted { model: Model { net, scaling }, curve, best_epoch, best_updates, stopped_early })
}

fn left(started: Instant, done: usize, of: usize) -> Duration {
    started.elapsed().mul_f64(of.saturating_sub(done) as f64 / done.max(1) as f64)
}

/// Where batches come from.
enum Batches {
    Windows(Vec<windows::Origin>),
    Lanes(Vec<(u32, u32, u32)>),
}

/// The batches of one epoch.
enum EpochBatches {
    Windows(Vec<windows::Origin>, usize),
    Lanes(Lanes),
}

impl Batches {
    fn new(data: &Dataset) -> Batches {
        match data.plan.kind {
            ModelKind::Window => Batches::Windows(windows::origins(data, Subset::Train)),
            ModelKind::Carry => Batches::Lanes(lanes::stretches(data)),
        }
    }

    fn epoch(&self, data: &Dataset, epoch: usize) -> EpochBatches {
        let seed = data.plan.seed;
        match self {
            Batches::Windows(origins) => {
                let mut order = origins.clone();
                shuffle(&mut order, &mut epoch_rng(seed, epoch));
                EpochBatches::Windows(order, data.plan.batch_size)
            }
            Batches::Lanes(stretches) => EpochBatches::Lanes(Lanes::new(data, stretches, seed, epoch)),
        }
    }
}

impl EpochBatches {
    fn len(&self) -> usize {
        match self {
            EpochBatches::Windows(order, size) => order.len().div_ceil(*size),
            EpochBatches::Lanes(lanes) => lanes.chunks(),
        }
    }

    fn fill(&self, batch: &mut Examples, data: &Dataset, scaling: &Scaling, index: usize) {
        match self {
            EpochBatches::Windows(order, size) => {
                let end = order.len().min((index + 1) * size);
                windows::fill(batch, data, scaling, &order[index * size..end]);
            }
            EpochBatches::Lanes(lanes) => lanes.fill(batch, data, scaling, index),
        }
    }
}
