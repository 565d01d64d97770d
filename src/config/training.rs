//! The `train` section, typed. Field names are the words of the file.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{At, Embedding, KafkaSource, Moment, Optimizer, Per, RateSchedule, Start, Until};
use crate::kernel::{Activation, CellKind};

/// `train:`
#[derive(Debug, Clone)]
pub struct Train {
    /// Columns that feed the network; the record's values by default.
    pub inputs: Vec<At<String>>,
    /// Columns of text or ids that are looked up, and the key.
    pub embeddings: Vec<Embedding>,
    /// What tells which keys have a network together; `None`: all have one.
    pub per: Option<Per>,
    /// Columns of vectors with what is known about each of the next `horizon` rows.
    pub known_ahead: Vec<At<String>>,
    /// Columns to forecast.
    pub targets: Vec<At<String>>,
    /// Steps ahead; one output for each of 1..=horizon.
    pub horizon: usize,
    /// What the network's output is added to.
    pub residual: Residual,
    /// The linear path from inputs and lags to the output, parallel to the network.
    pub skip: Skip,
    /// Lags of that path with `skip: ridge`; `None`: as many as do best on validation.
    pub lags: Option<usize>,
    /// Layers, first to last; at least one is recurrent.
    pub layers: Vec<At<TrainLayer>>,
    /// Whether the training chooses them.
    pub auto_layers: bool,
    /// Layers between those and the last linear layer; none is recurrent.
    pub head: Vec<TrainLayer>,
    /// Length of truncated BPTT in mode carry.
    pub chunk: usize,
    /// Steps at the start of a lane that don't count in the loss, mode carry.
    pub burn_in: usize,
    /// What is taught.
    pub task: Task,
    /// What is made of a sequence; `None`: what its mode and task need.
    pub pool: Option<Pooling>,
    /// The classes in the order of the outputs; empty: those that the train part has.
    pub classes: Vec<String>,
    /// What the classes weigh in the loss.
    pub class_weights: ClassWeights,
    /// Column that says what an example weighs in the loss.
    pub sample_weight: Option<At<String>>,
    /// Whether there must be exactly two classes.
    pub two_classes: bool,
    /// What a transcript consists of.
    pub tokens: Tokens,
    /// Noise that is added to inputs while learning, in standard deviations.
    pub input_noise: f64,
    /// Loss of numbers.
    pub loss: Loss,
    /// Quantiles that are forecast, ascending, the median among them; empty: points.
    pub quantiles: Vec<f64>,
    /// How numbers change.
    pub optimizer: Optimizer,
    /// What becomes of the step size.
    pub schedule: RateSchedule,
    /// Updates over which the step size rises to what it is.
    pub warm_up: usize,
    /// What the sum of the kernels' absolute values counts in the loss.
    pub l1: f64,
    /// What the sum of the kernels' squares counts in the loss.
    pub l2: f64,
    /// Gradients are scaled down to this global norm; `None`: they are not.
    pub clip_norm: Option<f64>,
    /// How long to train.
    pub length: Length,
    /// Epochs (or updates, in the unit of `length`) without improvement before it stops; `None`: never, or where the
    /// length is open, a default.
    pub patience: Option<usize>,
    /// Decay of the moving average of the weights; 0: none.
    pub ema: f64,
    /// How long it may train, by the clock.
    pub max_time: Option<Duration>,
    /// Examples (window) or lanes (carry) of an update.
    pub batch_size: usize,
    /// Seed of everything random.
    pub seed: u64,
    /// Networks that are trained with seeds from `seed` on, and averaged.
    pub seeds: usize,
    /// Rows of a window that are one input of the network.
    pub patch: At<usize>,
    /// How the horizon is made of the state after a window.
    pub decoder: At<Decoder>,
    /// Whether the layers get what the target differs by from its last value in the window.
    pub subtract_last: bool,
    /// Rows of a season, for the naive forecasts.
    pub seasonality: Option<usize>,
    /// How time is split.
    pub split: At<Split>,
    /// After evaluation, train on everything for the best number of epochs, then publish.
    pub refit: bool,
    /// The rolling-origin backtest.
    pub backtest: Option<Backtest>,
    /// The range of a topic that is trained on.
    pub data: Option<At<TrainData>>,
    /// Bytes that rows may take in memory; by default a share of what is free.
    pub memory: Option<u64>,
}

/// `backtest:`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backtest {
    /// Pieces of the test part.
    pub folds: usize,
    /// Whether each fold trains on everything before its piece.
    pub retrain: bool,
}

/// `data:`
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TrainData {
    /// Where it begins; where that isn't written, by the source.
    pub start: Option<At<Start>>,
    /// Where it ends; where that isn't written, by the source.
    pub until: Option<At<Until>>,
    /// Per partition, its first offset.
    pub first: BTreeMap<u32, i64>,
    /// Per partition, the offset before which it ends.
    pub ends: BTreeMap<u32, i64>,
}

/// The range of a topic that is trained on.
#[derive(Debug, Clone, PartialEq)]
pub struct TopicRange {
    /// Where partitions begin that `first` doesn't have.
    pub start: Start,
    /// Where partitions end that `ends` doesn't have.
    pub until: Until,
    /// Per partition, its first offset.
    pub first: BTreeMap<u32, i64>,
    /// Per partition, the offset before which it ends.
    pub ends: BTreeMap<u32, i64>,
}

impl TrainData {
    /// The range of a source: what isn't written is as in the source. A group that begins at the newest message has
    /// nothing to train on there, so training begins at the oldest.
    pub fn of(&self, kafka: &KafkaSource) -> TopicRange {
        let start = self.start.as_ref().map_or(kafka.start.value, |start| start.value);
        let until = self.until.as_ref().or(kafka.until.as_ref());
        TopicRange {
            start: if start == Start::Latest || !self.first.is_empty() { Start::Earliest } else { start },
            until: until.filter(|_| self.ends.is_empty()).map_or(Until::End, |until| until.value),
            first: self.first.clone(),
            ends: self.ends.clone(),
        }
    }
}

/// `task:`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Task {
    /// Numbers, rows ahead.
    #[default]
    Forecast,
    /// Numbers of each sequence.
    Value,
    /// A class of each sequence.
    Classify,
    /// A class of each record.
    Label,
    /// A transcript of each sequence.
    Ctc,
}

/// `pool:`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// The state after the last step.
    Last,
    /// The mean of all steps.
    Mean,
}

/// `class_weights:`
#[derive(Debug, Clone, PartialEq, Default)]
pub enum ClassWeights {
    /// All the same.
    #[default]
    Equal,
    /// Classes weigh the same together, whatever the number of their examples.
    Balanced,
    /// Some by name; the others weigh 1.
    Named(Vec<(String, f64)>),
}

/// `tokens:`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tokens {
    /// Characters.
    #[default]
    Chars,
    /// Words between spaces.
    Words,
}

/// `decoder:`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Decoder {
    /// The output layer makes all of it at once.
    #[default]
    Dense,
    /// Segments as long as a patch, each by one more step of the last recurrent layer over a vector of its position.
    Position,
}

/// `residual:`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Residual {
    /// Nothing is added.
    #[default]
    None,
    /// The target's value at the origin.
    Last,
    /// The target's value a whole number of seasons before the predicted step.
    Seasonal(usize),
}

/// `skip:`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Skip {
    /// None.
    #[default]
    None,
    /// Learned with the network.
    Linear,
    /// Fitted in closed form before it: ridge regressions on lags of the target and the inputs.
    Ridge,
}

/// One entry of `layers` or `head`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TrainLayer {
    /// `lstm: 50`
    Recurrent(Recurrent),
    /// `dense: 32`
    Dense(Dense),
    /// `layer_norm: true`
    LayerNorm,
    /// `dropout: 0.2`, the share of numbers that the next layer doesn't see.
    Dropout(f64),
}

/// One recurrent layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Recurrent {
    /// Its cell.
    pub cell: CellKind,
    /// Its width.
    pub units: usize,
    /// Whether it runs in both directions of time.
    pub bidirectional: bool,
    /// Share of the hidden state that the next step doesn't see.
    pub recurrent_dropout: f64,
}

impl Recurrent {
    /// A layer with defaults.
    pub fn new(cell: CellKind, units: usize) -> Recurrent {
        Recurrent { cell, units, recurrent_dropout: 0.0, bidirectional: false }
    }
}

/// `dense: 32, activation: relu`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dense {
    /// Width.
    pub units: usize,
    /// Activation.
    pub activation: Activation,
}

/// `loss:`
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Loss {
    /// Mean of squares.
    Mse,
    /// Mean of absolute values.
    Mae,
    /// Quadratic within `delta`, linear beyond.
    Huber {
        /// Where it turns linear.
        delta: f64,
    },
    /// Symmetric percentage of the target, in its own units.
    Smape,
    /// Mean of squared differences of logarithms, in the target's own units.
    Msle,
}

/// How long to train.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// Passes over the data.
    Epochs(usize),
    /// Steps of the optimiser.
    Updates(usize),
    /// Neither is written: until validation no longer improves, within a bound.
    Open,
}

/// Updates between two looks at validation where the length is [`Length::Open`], at least.
pub const LOOK_EVERY: usize = 50;
/// Updates without improvement after which an open training stops, at least.
pub const OPEN_PATIENCE: usize = 500;
/// Decay of the moving average of the weights of an open training.
pub const OPEN_EMA: f64 = 0.99;
/// Updates of an open training, at most.
pub const OPEN_UPDATES: usize = 10_000;
/// Updates of an open training without a validation part.
pub const BLIND_UPDATES: usize = 1_500;

/// `split:`
#[derive(Debug, Clone)]
pub enum Split {
    /// Shares of each key's rows: train, validation, test.
    PerKey([f64; 3]),
    /// Two instants: where validation starts, where test starts.
    At([Moment; 2]),
    /// Rows of each key: train, validation, test; later rows are not used.
    Rows([usize; 3]),
    /// The last n rows of each key are test, the n before them validation.
    Last(usize),
    /// Shares of the keys, by a hash of the key: train, validation, test.
    ByKey([f64; 3]),
    /// A text column that holds `train`, `validation` or `test`.
    Column(String),
}
