//! The loop: epochs of updates, looks at the validation part, progress.
//!
//! Lives here: which batch comes when, and which weights are kept. Must not live here: gradients and the optimiser,
//! when to look and to stop (`schedule`), and what a loop that is killed goes on from (`so_far`, `keep`).

use std::cell::Cell;
use std::fmt;
use std::time::{Duration, Instant};

use crate::config::Length;
use crate::error::counted;
use crate::model::ModelKind;
use crate::{Error, Result};

use super::Column;
use super::dataset::Dataset;
use super::gradients::{Gradients, Samples};
use super::keep::{Found, Keep, Record, unusable};
use super::lanes::{self, Lanes};
use super::learner::Learner;
use super::noise;
use super::pass::Model;
use super::ridge::Linear;
use super::scaling::Scaling;
use super::schedule::{Schedule, still_falling};
use super::sequences;
use super::so_far::SoFar;
use super::split::Subset;
use super::trained::Look;
use super::vocabulary;
use super::windows::{self, Examples};

/// What a training tells while it runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Event<'a> {
    /// What the user should know before it is worth waiting, a sentence.
    Warning(&'a str),
    /// What the user may like to know, a sentence.
    Note(&'a str),
    /// A phase starts, and what it is going to do, a sentence.
    Start(Phase, &'a str),
    /// An update, or a look at validation.
    Progress(Progress),
    /// All looks at validation so far, after each; whoever watches may end the training.
    Looks(&'a [Look], &'a Cell<bool>),
}

impl Event<'_> {
    /// Tells it with what it is of, before a start or a note.
    pub(super) fn tell_of(self, of: &dyn std::fmt::Display, watch: &mut dyn FnMut(Event)) {
        match self {
            Event::Start(phase, what) => watch(Event::Start(phase, &format!("{of}: {what}"))),
            Event::Note(note) => watch(Event::Note(&format!("{of}: {note}"))),
            other => watch(other),
        }
    }
}

/// What a training is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Fitting the linear path.
    Linear,
    /// Learning from the train part.
    Train,
    /// Learning again on all data, after the evaluation.
    Refit,
    /// Forecasting the test part.
    Evaluate,
}

/// Which of several networks is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Counted from 0.
    pub at: usize,
    /// Of how many.
    pub of: usize,
    /// Its seed.
    pub seed: u64,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {} ({} of {})", self.seed, self.at + 1, self.of)
    }
}

/// Progress of a training; after each update, and again after each look at validation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// What it is doing.
    pub phase: Phase,
    /// The network that learns, where there are several.
    pub member: Option<Member>,
    /// The fold of a backtest, from 0, and of how many.
    pub fold: Option<(usize, usize)>,
    /// Of networks by group, which one, from 0, and of how many; the first is that of all keys.
    pub group: Option<(usize, usize)>,
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
    /// Samples of its gradients.
    pub gradients: Gradients,
}

/// Trains on the train part. Where there is a validation part the weights that did best on it are kept, else the last.
/// It goes on from a checkpoint of `keep`, to the same bits as without one. `linear` is the path that the network
/// begins beside. `watch` gets what it is going to do, and its progress.
pub fn fit(
    data: &Dataset,
    linear: Option<&Linear>,
    length: Length,
    phase: Phase,
    keep: &mut Keep,
    watch: &mut dyn FnMut(Event),
) -> Result<Fitted> {
    let mut scaling = data.plan.start.as_ref().map_or_else(|| Scaling::learn(data), |start| start.scaling(data.plan));
    let fixed = linear.map(|linear| linear.standardised(&mut scaling, &data.plan.architecture));
    let batches = Batches::new(data)?;
    let schedule = Schedule::new(data, length);
    let per_epoch = batches.epoch(data, 0)?.len();
    watch(Event::Start(phase, &schedule.text(per_epoch)));
    let (mut learner, mut so_far) = begin(data, &scaling, fixed.as_ref(), phase, keep, watch)?;
    if so_far.updates() == 0 {
        so_far.gradients = Samples::new(length, per_epoch);
        so_far.best = of_start(data, &learner, &scaling, schedule.thinned);
    }
    let (started, before, spent) = (Instant::now(), so_far.updates(), so_far.spent);
    let mut batch = Examples::default();
    'training: while !so_far.over
        && so_far.updates() < schedule.updates
        && schedule.epochs.is_none_or(|n| so_far.epochs < n)
    {
        let order = batches.epoch(data, so_far.epochs)?;
        if so_far.batches == 0 {
            learner.begin_epoch();
        }
        let epoch = so_far.epochs + 1;
        let of_updates = schedule
            .epochs
            .map_or(schedule.updates, |n| so_far.updates() - so_far.batches + (n + 1 - epoch) * order.len());
        while so_far.batches < order.len() {
            order.fill(&mut batch, data, &scaling, so_far.batches);
            noise::add(&mut batch, data.plan, &scaling, (epoch, so_far.batches));
            vocabulary::hide(&mut batch, data.plan, (epoch, so_far.batches));
            if so_far.gradients.is_due(so_far.updates()) {
                so_far.gradients.add(learner.sample(&batch, so_far.updates()));
            }
            let factor = data.plan.rate.factor(so_far.updates(), of_updates as f64, &so_far.looks);
            learner.begin_update(so_far.updates(), factor);
            let (loss, count) = learner.learn(&batch)?;
            so_far.learned(loss, count);
            so_far.averaged(learner.network().parameters(), data.plan.ema);
            let updates = so_far.updates();
            if !loss.is_finite() {
                return Err(Error::failed(format!(
                    "the loss is no longer finite in epoch {epoch}, update {updates}: lower the learning rate or set \
                     clip_norm"
                )));
            }
            let train = so_far.train_loss();
            let mut now = Progress {
                phase,
                member: None,
                fold: None,
                group: None,
                epoch,
                updates,
                of_updates,
                train_loss: train,
                looked: None,
                left: left(started, updates - before, of_updates - before),
            };
            watch(Event::Progress(now));
            let is_late = data.plan.max_time.is_some_and(|most| spent + started.elapsed() >= most);
            if is_late || schedule.is_due(updates, so_far.since_look.2, so_far.batches == order.len()) {
                so_far.since_look = Default::default();
                let mut model = learned(&learner, &scaling);
                if !so_far.average.is_empty() {
                    model.net.parameters_mut().copy_from_slice(&so_far.average);
                }
                let validation = model.validation_loss(data, schedule.thinned);
                let look = Look { epoch, updates, train, validation };
                so_far.looks.push(look);
                if so_far.best.as_ref().is_none_or(|(best, _)| is_better(validation, best.validation)) {
                    so_far.best = Some((look, model.net.parameters().to_vec()));
                }
                let since_best = so_far.best.as_ref().map_or(0, |(best, _)| updates - best.updates);
                now.looked = Some(Looked { validation, since_best });
                watch(Event::Progress(now));
                let ends = Cell::new(false);
                watch(Event::Looks(&so_far.looks, &ends));
                so_far.over = is_late || schedule.is_over(&so_far.looks) || updates >= schedule.updates || ends.get();
            }
            so_far.spent = spent + started.elapsed();
            let failed = keep.save_if_due(phase, |record| put(record, &learner, &so_far));
            failed.iter().for_each(|failed| watch(Event::Warning(failed)));
            if so_far.over {
                break 'training;
            }
        }
        (so_far.epochs, so_far.batches) = (epoch, 0);
    }
    // What follows, such as the evaluation, may be killed too.
    let failed = keep.save(phase, |record| put(record, &learner, &so_far));
    failed.iter().for_each(|failed| watch(Event::Warning(failed)));
    let (updates, begun) = (so_far.updates(), so_far.begun());
    let (best, weights) =
        so_far.best.ok_or_else(|| Error::failed("trained without an update: internal error, please report"))?;
    let mut net = learner.into_network();
    net.parameters_mut().copy_from_slice(&weights);
    let stopped_early = updates < schedule.updates && schedule.epochs.is_none_or(|n| begun < n);
    let falling = if stopped_early { None } else { falling(&so_far.looks, best, &so_far.losses) };
    let gradients = Gradients {
        groups: net.groups(),
        layers: net.recurrent_layers(),
        samples: so_far.gradients.samples,
        carried: None,
    };
    Ok(Fitted {
        model: Model { net, scaling, apart: Vec::new() },
        looks: so_far.looks,
        best,
        stopped_early,
        falling,
        gradients,
    })
}

/// The network as it is now.
fn learned(learner: &Learner, scaling: &Scaling) -> Model {
    Model { net: learner.network().clone(), scaling: scaling.clone(), apart: Vec::new() }
}

/// What a training that goes on with a version begins with: if nothing is better on the validation part, it is kept.
fn of_start(data: &Dataset, learner: &Learner, scaling: &Scaling, thinned: usize) -> Option<(Look, Vec<f32>)> {
    data.plan.start.as_ref()?;
    let model = learned(learner, scaling);
    let validation = Some(model.validation_loss(data, thinned)?);
    Some((Look { epoch: 0, updates: 0, train: f64::NAN, validation }, model.net.parameters().to_vec()))
}

/// A learner at its start, or what a checkpoint of this phase holds.
fn begin(
    data: &Dataset,
    scaling: &Scaling,
    fixed: Option<&(Vec<f32>, Vec<f32>)>,
    phase: Phase,
    keep: &mut Keep,
    watch: &mut dyn FnMut(Event),
) -> Result<(Learner, SoFar)> {
    let mut learner = Learner::new(data.plan, scaling, fixed)?;
    match keep.find(phase) {
        Found::Nothing => {}
        Found::Not(why) => watch(Event::Warning(&why)),
        Found::Checkpoint(record, path) => {
            match SoFar::take(&record).and_then(|so_far| learner.take(&record).map(|()| so_far)) {
                Ok(so_far) => {
                    let (updates, shown) = (counted(so_far.updates(), "update"), path.display());
                    watch(Event::Note(&format!("goes on after {updates}, from the training checkpoint {shown}")));
                    return Ok((learner, so_far));
                }
                Err(why) => {
                    watch(Event::Warning(&unusable(&path, &why)));
                    learner = Learner::new(data.plan, scaling, fixed)?;
                }
            }
        }
    }
    Ok((learner, SoFar::default()))
}

/// All that a loop goes on from.
fn put(record: &mut Record, learner: &Learner, so_far: &SoFar) {
    so_far.put(record);
    learner.put(record);
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
    Windows(Column<windows::Origin>),
    Sequences(Vec<windows::Origin>),
    Lanes(Vec<(u32, u32, u32)>),
}

/// The batches of one epoch.
enum EpochBatches {
    Windows(Column<windows::Origin>, usize),
    Sequences(Vec<Vec<windows::Origin>>),
    Lanes(Lanes),
}

impl Batches {
    fn new(data: &Dataset) -> Result<Batches> {
        let mut origins = windows::origins(data, Subset::Train);
        Ok(match data.plan.kind {
            ModelKind::Window => {
                let mut all = Column::new(data.space());
                origins.try_for_each(|origin| all.push(origin))?;
                Batches::Windows(all)
            }
            ModelKind::Carry => Batches::Lanes(lanes::stretches(data)),
            ModelKind::Sequence => Batches::Sequences(origins.collect()),
        })
    }

    fn epoch(&self, data: &Dataset, epoch: usize) -> Result<EpochBatches> {
        Ok(match self {
            Batches::Windows(origins) => {
                EpochBatches::Windows(windows::order(data, origins, epoch)?, data.plan.batch_size)
            }
            Batches::Sequences(origins) => EpochBatches::Sequences(sequences::batches(data, origins, epoch)),
            Batches::Lanes(stretches) => EpochBatches::Lanes(Lanes::new(data, stretches, data.plan.seed, epoch)),
        })
    }
}

impl EpochBatches {
    fn len(&self) -> usize {
        match self {
            EpochBatches::Windows(order, size) => order.len().div_ceil(*size),
            EpochBatches::Sequences(batches) => batches.len(),
            EpochBatches::Lanes(lanes) => lanes.chunks(),
        }
    }

    fn fill(&self, batch: &mut Examples, data: &Dataset, scaling: &Scaling, index: usize) {
        match self {
            EpochBatches::Windows(order, size) => {
                let end = order.len().min((index + 1) * size);
                windows::fill(batch, data, scaling, &order[index * size..end]);
            }
            EpochBatches::Sequences(batches) => sequences::fill(batch, data, scaling, &batches[index]),
            EpochBatches::Lanes(lanes) => lanes.fill(batch, data, scaling, index),
        }
    }
}
