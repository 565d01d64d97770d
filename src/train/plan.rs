//! What is trained, how, and on which columns: the `train` section turned into numbers.
//!
//! Lives here: the features of `x` and the network's shape as they follow from the pipeline file. Must not live here:
//! anything that looks at data.

use std::sync::Arc;
use std::time::Duration;

use crate::Result;
use crate::config::{self, Length, Optimizer, Per, Skip, Span, TrainLayer};
use crate::error::{Problems, counted};
use crate::model::{Input, ModelKind};
use crate::network::{Architecture, Embedding, Layer, LayerNormLayer, Pool, RecurrentLayer};
use crate::record::{Clock, Every};

use super::dataset::Dataset;
use super::dropout::Dropout;
use super::head::{self, Head};
use super::layers::{self, Candidate};
use super::learner::Penalty;
use super::rate::Rate;
use super::split::Cuts;
use super::start::{GroupStart, Start};
use super::vocabulary::Embedded;

/// Everything that training needs besides the data.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What the outputs are for.
    pub head: Arc<dyn Head>,
    /// How it is learned and judged: as a model that uses state in this way.
    pub kind: ModelKind,
    /// How the model uses state. The same, except for transcripts in mode carry, whose examples are whole sequences.
    pub serves: ModelKind,
    /// Beginnings of a transcript that are kept in serving; 1: the likeliest token of each step counts.
    pub beam: usize,
    /// Rows of a window; 1 for others.
    pub window: usize,
    /// The features of the network, in order: those of [`super::Series::x`], then lags that the training chose.
    pub inputs: Vec<Input>,
    /// How many of them [`super::Series::x`] has.
    pub captured: usize,
    /// The linear path parallel to the network.
    pub skip: Skip,
    /// Keys that have one of their own, in the order of its groups from 1.
    pub keys: Vec<String>,
    /// What the network looks up beside its features.
    pub embeddings: Vec<Embedded>,
    /// What tells which keys have a network together; `None`: all have one.
    pub per: Option<Per>,
    /// Lags of the linear path, if they aren't chosen.
    pub lags: Option<usize>,
    /// Per feature, the column that it is of: a lag's is the one that lags.
    pub columns: Vec<String>,
    /// The network's shape.
    pub architecture: Architecture,
    /// Layers of which the training chooses, the first of them those of the shape; empty: it has its layers.
    pub candidates: Vec<Candidate>,
    /// Length of truncated BPTT, carry.
    pub chunk: usize,
    /// Steps at the start of a lane that don't count in the loss, carry.
    pub burn_in: usize,
    /// How numbers change.
    pub optimizer: Optimizer,
    /// How the step size changes.
    pub rate: Rate,
    /// What is dropped.
    pub dropout: Dropout,
    /// What the kernels count in the loss: their absolute values, their squares.
    pub penalty: Penalty,
    /// Global norm that gradients are scaled down to.
    pub clip_norm: Option<f64>,
    /// How long to train.
    pub length: Length,
    /// Without improvement for that long (in the unit of `length`) training stops.
    pub patience: Option<usize>,
    /// Decay of the moving average of the weights, which is looked at and kept; 0: there is none.
    pub ema: f64,
    /// How long it may train, by the clock.
    pub max_time: Option<Duration>,
    /// Windows, sequences or lanes of an update.
    pub batch_size: usize,
    /// Noise that is added to the network's inputs while learning, in standard deviations.
    pub input_noise: f64,
    /// Seed of everything random.
    pub seed: u64,
    /// Threads that an update is shared by; its result doesn't depend on how many there are.
    pub threads: usize,
    /// How time is split.
    pub split: Cuts,
    /// Whether to train again on everything after the evaluation.
    pub refit: bool,
    /// Whether it is judged at successive times too.
    pub backtest: Option<config::Backtest>,
    /// Bytes of rows from which on not all examples are shuffled at once.
    pub memory: Option<u64>,
    /// The time line, for texts and calendar steps.
    pub clock: Clock,
    /// Distance of two rows where a stage guarantees it. Then row t + h is a target of t only if it is h steps later:
    /// across a hole in the series it isn't.
    pub interval: Option<Every>,
    /// The version that it goes on with; `None`: it starts from the seed.
    pub start: Option<Start>,
    /// The same of the networks of groups, where the version has some.
    pub starts: Vec<GroupStart>,
}

impl Plan {
    /// The plan of a pipeline's `train` section. `infer` is its `infer` stage (without one: mode carry);
    /// `lag_columns` are the names of the columns that its `lags` stages add; `interval` that of the layout before
    /// `infer`. What can't be said in ticks of the clock is added to `problems`, and there is no plan.
    pub fn new(
        train: &config::Train,
        infer: Option<&config::Infer>,
        lag_columns: &[String],
        clock: &Clock,
        interval: Option<Span>,
        problems: &mut Problems,
    ) -> Option<Plan> {
        let head = head::head(train);
        let skip = skip(train, head.as_ref());
        let (inputs, mut architecture) = self::architecture(train, head.as_ref(), lag_columns);
        let candidates = layers::candidates(train, |train| self::architecture(train, head.as_ref(), lag_columns).1);
        if let Some(first) = candidates.first() {
            architecture.layers.clone_from(&first.layers);
        }
        let split = match Cuts::new(&train.split.value, clock) {
            Ok(split) => Some(split),
            Err(message) => {
                problems.add(train.split.place, message);
                None
            }
        };
        let window = match infer.map(|infer| (infer.mode, &infer.window)) {
            Some((config::Mode::Window, window)) => Some(window.as_ref().map_or(1, |w| w.value).max(1)),
            _ => None,
        };
        if let Some(rows) = window.filter(|rows| rows % train.patch.value != 0) {
            let message =
                format!("`patch`: a window of {rows} rows doesn't divide into patches of {}", train.patch.value);
            problems.add(train.patch.place, message);
        }
        if train.subtract_last && architecture.centred.is_empty() {
            let message = "`subtract`: no target is among the `inputs`, so the layers have no last value to subtract";
            problems.add(train.patch.place, message);
        }
        if architecture.decoded_width() == Some(0) {
            let inputs = architecture.stack()[architecture.last_recurrent()?].inputs;
            let message = format!(
                "`decoder`: the last recurrent layer takes {}, of which `embeddings` leave none for the position: make \
                 them smaller, or write a wider `dense` layer before it",
                counted(inputs, "number")
            );
            problems.add(train.decoder.place, message);
        }
        let serves = match infer.map(|infer| infer.mode).unwrap_or_default() {
            config::Mode::Carry => ModelKind::Carry,
            config::Mode::Window => ModelKind::Window,
            config::Mode::Sequence => ModelKind::Sequence,
        };
        Some(Plan {
            head,
            kind: if train.task == config::Task::Ctc { ModelKind::Sequence } else { serves },
            serves,
            beam: infer.map_or(1, config::Infer::beam),
            window: window.unwrap_or(1),
            captured: inputs.len(),
            skip,
            keys: Vec::new(),
            embeddings: train.embeddings.iter().map(Embedded::new).collect(),
            per: train.per.clone(),
            lags: train.lags,
            columns: inputs.iter().map(|input| input.column.clone()).collect(),
            inputs,
            architecture,
            candidates,
            chunk: train.chunk.max(1),
            burn_in: train.burn_in,
            optimizer: train.optimizer,
            dropout: Dropout::new(train),
            penalty: Penalty { l1: train.l1, l2: train.l2 },
            rate: Rate {
                schedule: train.schedule,
                warm_up: train.warm_up,
                in_epochs: matches!(train.length, Length::Epochs(_)),
            },
            clip_norm: train.clip_norm,
            length: train.length,
            patience: train.patience,
            ema: train.ema,
            max_time: train.max_time,
            batch_size: train.batch_size.max(1),
            input_noise: train.input_noise,
            seed: train.seed,
            threads: 1,
            split: split?,
            refit: train.refit,
            backtest: train.backtest,
            memory: train.memory,
            clock: clock.clone(),
            interval: interval.and_then(|span| clock.every(span).ok()),
            start: None,
            starts: Vec::new(),
        })
    }

    /// The index of a feature; a new one is added.
    pub(super) fn feature(&mut self, input: Input) -> usize {
        let known = self.inputs.len();
        let index = index_of(&mut self.inputs, input);
        if self.inputs.len() > known {
            self.columns.push(self.inputs[index].column.clone());
        }
        index
    }

    /// The plan with what the data has to say: the classes, and with them the width of the output.
    pub fn learned(&self, data: &Dataset) -> Result<Option<Plan>> {
        let Some(head) = self.head.learned(data)? else { return Ok(None) };
        let architecture = Architecture { outputs: head.outputs(), ..self.architecture.clone() };
        Ok(Some(Plan { head, architecture, ..self.clone() }))
    }
}

/// The linear path: only forecasts have one.
fn skip(train: &config::Train, head: &dyn Head) -> Skip {
    if head.forecast().is_some() { train.skip } else { Skip::None }
}

/// The features of `x` and the network's shape for a `train` section.
///
/// The network reads `train.inputs` at the row itself. The linear path reads the same and every column of the `lags`
/// stages. The head may add a feature to each output. Equal features are held once.
pub fn architecture(train: &config::Train, head: &dyn Head, lag_columns: &[String]) -> (Vec<Input>, Architecture) {
    let mut features = Vec::new();
    let mut network: Vec<usize> =
        train.inputs.iter().map(|name| index_of(&mut features, Input::now(name.value.clone()))).collect();
    let ahead =
        |column: &config::At<String>| (1..=train.horizon).map(|at| Input::ahead(&column.value, at as u32)).collect();
    for input in train.known_ahead.iter().flat_map(|column| -> Vec<Input> { ahead(column) }) {
        network.push(index_of(&mut features, input));
    }
    let mut skip = Vec::new();
    let path = self::skip(train, head);
    if path == Skip::Ridge {
        // Its lags follow when they are chosen; the value itself is there from the start.
        train.targets.iter().for_each(|target| {
            index_of(&mut features, Input::now(target.value.clone()));
        });
    }
    if path != Skip::None {
        skip.clone_from(&network);
        for column in lag_columns {
            let index = index_of(&mut features, Input::now(column));
            if !skip.contains(&index) {
                skip.push(index);
            }
        }
    }
    let residual = head.residual().into_iter().map(|input| index_of(&mut features, input)).collect();
    let mut layers: Vec<Layer> = Vec::new();
    let embeddings: Vec<Embedding> = train.embeddings.iter().map(|own| Embedded::new(own).table()).collect();
    let vectors = match train.decoder.value {
        config::Decoder::Dense => embeddings.iter().map(|own| own.size).sum(),
        config::Decoder::Position => 0,
    };
    let first = (network.len() + vectors) * train.patch.value.max(1);
    for layer in train.layers.iter().map(|layer| layer.value).chain(train.head.iter().copied()) {
        match layer {
            TrainLayer::Recurrent(config::Recurrent { cell, units, bidirectional, .. }) => {
                let double_bias = cell.form().has_two_biases();
                layers.push(Layer::Recurrent(RecurrentLayer { cell, units, double_bias, bidirectional }));
            }
            TrainLayer::Dense(dense) => layers.push(Layer::dense(dense.units, dense.activation)),
            TrainLayer::LayerNorm => {
                let units = layers.last().map_or(first, Layer::units);
                layers.push(Layer::LayerNorm(LayerNormLayer { units }));
            }
            // Only training drops.
            TrainLayer::Dropout(_) => {}
        }
    }
    let bidirectional = |layer: &Layer| matches!(layer, Layer::Recurrent(layer) if layer.bidirectional);
    let pool = match (train.pool, train.task) {
        _ if train.patch.value > 1 => Pool::Last,
        (Some(config::Pooling::Last), _) | (None, config::Task::Classify | config::Task::Value) => Pool::Last,
        (Some(config::Pooling::Mean), _) => Pool::Mean,
        // Of a window, one output is wanted; that of its last row has seen only that row from the other side.
        (None, config::Task::Forecast | config::Task::Label) if layers.iter().any(bidirectional) => Pool::Last,
        (None, _) => Pool::None,
    };
    let is_target = |index: &usize| {
        let input: &Input = &features[*index];
        train.targets.iter().any(|target| *input == Input::now(target.value.clone()))
    };
    let centred = if train.subtract_last { network.iter().copied().filter(is_target).collect() } else { Vec::new() };
    let segments = match train.decoder.value {
        config::Decoder::Dense => 0,
        config::Decoder::Position => train.horizon / train.patch.value.max(1),
    };
    let architecture = Architecture {
        features: features.len(),
        network,
        skip,
        groups: 0,
        embeddings,
        residual,
        layers,
        outputs: head.outputs(),
        scaling: true,
        pool,
        softmax: head.is_text(),
        members: train.seeds,
        quantiles: head.quantiles(),
        patch: train.patch.value.max(1),
        segments,
        centred,
    };
    (features, architecture)
}

fn index_of(features: &mut Vec<Input>, input: Input) -> usize {
    if let Some(index) = features.iter().position(|known| *known == input) {
        return index;
    }
    features.push(input);
    features.len() - 1
}

/// A feature for people: `temp (24 rows back)`.
pub(super) fn input_text(input: &Input) -> String {
    match (input.lag, input.ahead) {
        (0, 0) => input.column.clone(),
        (0, ahead) => format!("{} ({} ahead)", input.column, counted(ahead, "row")),
        (lag, _) => format!("{} ({} back)", input.column, counted(lag, "row")),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::{Adam, At, Loss, RateSchedule, Residual};
    use crate::kernel::CellKind;
    use crate::problem::Place;
    use arrow::datatypes::DataType;

    pub(in crate::train) fn section(horizon: usize, targets: &[&str]) -> config::Train {
        let name = |text: &&str| At { value: text.to_string(), place: Place::default() };
        config::Train {
            inputs: targets.iter().map(name).collect(),
            targets: targets.iter().map(name).collect(),
            horizon,
            residual: Residual::None,
            skip: Skip::None,
            lags: None,
            embeddings: vec![],
            per: None,
            known_ahead: vec![],
            layers: vec![At::default_value(TrainLayer::Recurrent(config::Recurrent::new(CellKind::Gru, 8)))],
            auto_layers: false,
            head: vec![],
            chunk: 16,
            burn_in: 0,
            task: config::Task::Forecast,
            pool: None,
            classes: vec![],
            class_weights: config::ClassWeights::Equal,
            sample_weight: None,
            two_classes: false,
            tokens: config::Tokens::Chars,
            input_noise: 0.0,
            loss: Loss::Mse,
            quantiles: vec![],
            optimizer: Optimizer::Adam(Adam { learning_rate: 0.01, ..Adam::DEFAULT }),
            schedule: RateSchedule::Constant,
            warm_up: 0,
            l1: 0.0,
            l2: 0.0,
            clip_norm: Some(1.0),
            length: Length::Epochs(3),
            patience: None,
            ema: 0.0,
            max_time: None,
            batch_size: 8,
            seed: 7,
            seeds: 1,
            patch: At::default_value(1),
            decoder: At::default_value(config::Decoder::Dense),
            subtract_last: false,
            seasonality: None,
            split: At::default_value(config::Split::PerKey([0.7, 0.15, 0.15])),
            refit: false,
            backtest: None,
            data: None,
            memory: None,
        }
    }

    pub(in crate::train) fn steps_clock() -> Clock {
        Clock { nanos_per_tick: None, data_type: DataType::Int64, zone: None }
    }

    pub(in crate::train) fn plan_of(train: &config::Train, window: Option<usize>) -> Plan {
        let infer = config::Infer {
            model: At::default_value("m".into()),
            mode: if window.is_some() { config::Mode::Window } else { config::Mode::Carry },
            window: window.map(At::default_value),
            max_length: At::default_value(1024),
            beam: None,
            max_tokens: None,
            ttl: None,
            gap: None,
        };
        let mut problems = Problems::new("p.yaml");
        Plan::new(train, Some(&infer), &[], &steps_clock(), None, &mut problems).unwrap()
    }

    #[test]
    fn last_reuses_the_input_and_seasonal_takes_the_youngest_known_season() {
        let mut train = section(5, &["value"]);
        train.residual = Residual::Last;
        let (inputs, shape) = architecture(&train, head::head(&train).as_ref(), &[]);
        assert_eq!(inputs, [Input::now("value")]);
        assert_eq!(shape.residual, [0; 5]);

        train.residual = Residual::Seasonal(3);
        let (inputs, shape) = architecture(&train, head::head(&train).as_ref(), &[]);
        let lags: Vec<u32> = shape.residual.iter().map(|i| inputs[*i].lag).collect();
        // Steps 1..5 of season 3: t+1-3, t+2-3, t+3-3, t+4-6, t+5-6.
        assert_eq!(lags, [2, 1, 0, 2, 1]);
        assert_eq!(shape.features, 3);
    }

    #[test]
    fn skip_holds_inputs_and_lags_and_a_target_that_is_no_input_becomes_a_feature() {
        let mut train = section(2, &["a", "b"]);
        train.inputs = vec![At::default_value("b".to_string()), At::default_value("hour_sin".to_string())];
        train.residual = Residual::Last;
        train.skip = Skip::Linear;
        let (inputs, shape) =
            architecture(&train, head::head(&train).as_ref(), &["b_lag_1".to_string(), "hour_sin".to_string()]);
        let names: Vec<&str> = inputs.iter().map(|i| i.column.as_str()).collect();
        assert_eq!(names, ["b", "hour_sin", "b_lag_1", "a"]);
        assert_eq!(shape.network, [0, 1]);
        assert_eq!(shape.skip, [0, 1, 2]);
        assert_eq!(shape.residual, [3, 0, 3, 0]);
        assert_eq!((shape.features, shape.outputs), (4, 4));
    }
}
