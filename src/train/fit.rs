//! The loop: epochs of updates, looks at the validation part, progress.
//!
//! Lives here: which batch comes when, and which weights are kept. Must not live here: gradients and the optimiser, and
//! when to look and to stop (`schedule`).

use std::time::{Duration, Instant};

use crate::config::Length;
use crate::model::ModelKind;
use crate::{Error, Result};

use super::dataset::Dataset;
use super::lanes::{self, Lanes};
use super::learner::Learner;
use super::pass::Model;
use super::scaling::Scaling;
use super::schedule::{Schedule, still_falling};
use super::split::Subset;
use super::trained::Look;
use super::windows::{self, Examples, epoch_rng, shuffle};

/// What a training tells while it runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Event<'a> {
    /// What the user should know before it is worth waiting, a sentence.
    Warning(&'a str),
    /// A phase starts, and what it is going to do, a sentence.
    Start(Phase, &'a str),
    /// An update, or a look at validation.
    Progress(Progress),
}

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

/// Progress of a training; after each update, and again after each look at validation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// What it is doing.
    pub phase: Phase,
    /// The epoch, from 1.
    pub epoch: usize,
    /// Updates so far.
    pub updates: usize,
    /// Updates at most, about where the length is in epochs.
    pub of_updates: usize,
    /// Mean loss since the last look.
    pub train_loss: f64,
    /// Set after a look only.
    pub looked: Option<Looked>,
    /// Time left until the length is reached, at the rate so far.
    pub left: Duration,
}

/// A look at the validation part.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Looked {
    /// Loss over the validation part; `None` without one.
    pub validation: Option<f64>,
    /// Updates since the best weights so far.
    pub since_best: usize,
}

/// The outcome of a loop.
#[derive(Debug, Clone)]
pub struct Fitted {
    /// The network with the weights that are kept.
    pub model: Model,
    /// Losses.
    pub looks: Vec<Look>,
    /// The look whose weights are kept.
    pub best: Look,
    /// Whether patience ran out.
    pub stopped_early: bool,
    /// By what share per tenth of the training the loss was still falling at its end, where it was, and whether that is
    /// the validation loss.
    pub falling: Option<(f64, bool)>,
}

/// Trains on the train part. Where there is a validation part the weights that did best on it are kept, else the last.
/// `watch` gets what it is going to do, and its progress.
pub fn fit(data: &Dataset, length: Length, phase: Phase, watch: &mut dyn FnMut(Event)) -> Result<Fitted> {
    let scaling = data.plan.start.as_ref().map_or_else(|| Scaling::learn(data), |start| start.scaling(data.plan));
    let mut learner = Learner::new(data.plan, &scaling)?;
    let batches = Batches::new(data);
    let schedule = Schedule::new(data, length);
    watch(Event::Start(phase, &schedule.text(batches.epoch(data, 0).len())));
    let started = Instant::now();
    let mut looks: Vec<Look> = Vec::new();
    let mut best: Option<(Look, Vec<f32>)> = None;
    // Loss and weight of each update.
    let mut losses: Vec<(f64, f64)> = Vec::new();
    // Of the updates since the last look.
    let (mut sum, mut weight, mut looked_at) = (0.0, 0.0, 0);
    let mut batch = Examples::default();
    let mut epoch = 0;
    'training: while losses.len() < schedule.updates && schedule.epochs.is_none_or(|n| epoch < n) {
        let order = batches.epoch(data, epoch);
        epoch += 1;
        learner.begin_epoch();
        let of_updates = schedule.epochs.map_or(schedule.updates, |n| losses.len() + (n + 1 - epoch) * order.len());
        for index in 0..order.len() {
            order.fill(&mut batch, data, &scaling, index);
            learner.set_rate(data.plan.rate.factor(losses.len(), of_updates as f64, &looks));
            let (loss, count) = learner.learn(&batch)?;
            losses.push((loss * count, count));
            sum += loss * count;
            weight += count;
            let updates = losses.len();
            if !loss.is_finite() {
                return Err(Error::failed(format!(
                    "the loss is no longer finite in epoch {epoch}, update {updates}: lower the learning rate or set \
                     clip_norm"
                )));
            }
            let train = sum / weight;
            let mut now = Progress {
                phase,
                epoch,
                updates,
                of_updates,
                train_loss: train,
                looked: None,
                left: left(started, updates, of_updates),
            };
            watch(Event::Progress(now));
            if !schedule.is_due(updates, updates - looked_at, index + 1 == order.len()) {
                continue;
            }
            (sum, weight, looked_at) = (0.0, 0.0, updates);
            let model = Model { net: learner.network().clone(), scaling: scaling.clone() };
            let validation = model.validation_loss(data, schedule.thinned);
            let look = Look { epoch, updates, train, validation };
            looks.push(look);
            if best.as_ref().is_none_or(|(best, _)| is_better(validation, best.validation)) {
                best = Some((look, learner.network().parameters().to_vec()));
            }
            let since_best = best.as_ref().map_or(0, |(best, _)| updates - best.updates);
            now.looked = Some(Looked { validation, since_best });
            watch(Event::Progress(now));
            if schedule.is_over(&looks) || updates >= schedule.updates {
                break 'training;
            }
        }
    }
    let (best, weights) =
        best.ok_or_else(|| Error::failed("trained without an update: internal error, please report"))?;
    let mut net = learner.into_network();
    net.parameters_mut().copy_from_slice(&weights);
    let stopped_early = losses.len() < schedule.updates && schedule.epochs.is_none_or(|n| epoch < n);
    let falling = if stopped_early { None } else { falling(&looks, best, &losses) };
    Ok(Fitted { model: Model { net, scaling }, looks, best, stopped_early, falling })
}

/// Without a validation part, the last weights are the best.
fn is_better(now: Option<f64>, before: Option<f64>) -> bool {
    now.is_none() || now < before
}

fn mean(losses: &[(f64, f64)]) -> f64 {
    let (sum, weight) = losses.iter().fold((0.0, 0.0), |sum, loss| (sum.0 + loss.0, sum.1 + loss.1));
    sum / weight
}

fn left(started: Instant, done: usize, of: usize) -> Duration {
    started.elapsed().mul_f64(of.saturating_sub(done) as f64 / done.max(1) as f64)
}

/// The fall of the validation loss at the end, if the best weights are of the end; without a validation part, that of
/// the train loss.
fn falling(looks: &[Look], best: Look, losses: &[(f64, f64)]) -> Option<(f64, bool)> {
    let updates = losses.len();
    let points: Vec<(usize, f64)> = looks.iter().filter_map(|look| Some((look.updates, look.validation?))).collect();
    if points.len() > 1 {
        let is_late = looks.last() == Some(&best) || best.updates * 10 > updates * 9;
        return still_falling(&points, updates).filter(|_| is_late).map(|falls| (falls, true));
    }
    // Single updates differ in what they are of: fortieths of the training.
    let piece = updates.div_ceil(40).max(1);
    let points: Vec<(usize, f64)> =
        losses.chunks(piece).enumerate().map(|(i, piece_of)| (i * piece + piece_of.len(), mean(piece_of))).collect();
    still_falling(&points, updates).map(|falls| (falls, false))
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
