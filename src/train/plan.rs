//! What is trained, how, and on which columns: the `train` section turned into numbers.
//!
//! Lives here: the features of `x` and the network's shape as they follow from the pipeline file. Must not live here:
//! anything that looks at data.

use crate::config::{self, Activation, Adam, Cell, Length, Loss, Residual, Span};
use crate::error::Problems;
use crate::model::{Input, ModelKind};
use crate::network::{Architecture, CellKind, DenseActivation, DenseLayer, RecurrentLayer};
use crate::record::{Clock, Every};

use super::split::Cuts;

/// Everything that training needs beside the data.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Columns that are forecast, in the order of [`super::Series::targets`].
    pub targets: Vec<String>,
    /// Steps ahead: outputs are [horizon, targets], flattened.
    pub horizon: usize,
    /// How the model uses state.
    pub kind: ModelKind,
    /// Rows of a window; 1 for carry.
    pub window: usize,
    /// The features of [`super::Series::x`], in order.
    pub inputs: Vec<Input>,
    /// The network's shape.
    pub architecture: Architecture,
    /// What the network's output is added to, for the reader of the report.
    pub residual: Residual,
    /// Length of truncated BPTT, carry.
    pub chunk: usize,
    /// Steps at the start of a lane that give no loss, carry.
    pub burn_in: usize,
    /// Loss, in standardised output space.
    pub loss: Loss,
    /// Adam's numbers.
    pub optimizer: Adam,
    /// Global norm that gradients are scaled down to.
    pub clip_norm: Option<f64>,
    /// How long to train.
    pub length: Length,
    /// Without improvement for that long (in the unit of `length`) training stops.
    pub patience: Option<usize>,
    /// Windows or lanes of an update.
    pub batch_size: usize,
    /// Seed of everything random.
    pub seed: u64,
    /// Rows of a season, for the seasonal naive forecast.
    pub seasonality: Option<usize>,
    /// How time is split.
    pub split: Cuts,
    /// Whether to train again on everything after the evaluation.
    pub refit: bool,
    /// The time line, for texts and calendar steps.
    pub clock: Clock,
    /// Distance of two rows where a stage guarantees it. Then row t + h is a target of t only if it is h steps later:
    /// across a hole in the series it isn't.
    pub interval: Option<Every>,
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
        let (inputs, architecture) = architecture(train, lag_columns);
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
        Some(Plan {
            targets: train.targets.iter().map(|name| name.value.clone()).collect(),
            horizon: train.horizon,
            kind: if window.is_some() { ModelKind::Window } else { ModelKind::Carry },
            window: window.unwrap_or(1),
            inputs,
            architecture,
            residual: train.residual,
            chunk: train.chunk.max(1),
            burn_in: train.burn_in,
            loss: train.loss,
            optimizer: train.optimizer,
            clip_norm: train.clip_norm,
            length: train.length,
            patience: train.patience,
            batch_size: train.batch_size.max(1),
            seed: train.seed,
            seasonality: train.seasonality,
            split: split?,
            refit: train.refit,
            clock: clock.clone(),
            interval: interval.and_then(|span| clock.every(span).ok()),
        })
    }

    /// Outputs of the network: horizon × targets.
    pub fn outputs(&self) -> usize {
        self.horizon * self.targets.len()
    }

    /// Step (from 1) and target of an output.
    pub fn step_and_target(&self, output: usize) -> (usize, usize) {
        (output / self.targets.len() + 1, output % self.targets.len())
    }

    /// How the naive forecasts' season is called in the report.
    pub fn season(&self) -> Option<usize> {
        self.seasonality.filter(|season| *season > 0)
    }
}

/// The features of `x` and the network's shape for a `train` section.
///
/// The network reads `train.inputs` at the row itself. The linear path reads the same and every column of the `lags`
/// stages. A residual needs the target at the row (`last`) or a whole number `k` of seasons before the predicted step
/// (`seasonal(m)`: for step h the target `m * ceil(h / m) - h` rows back, the youngest one that is known at the origin).
/// Equal features are held once. Outputs are [horizon, targets], flattened.
pub fn architecture(train: &config::Train, lag_columns: &[String]) -> (Vec<Input>, Architecture) {
    let mut features = Vec::new();
    let now = |column: &str| Input { column: column.to_string(), lag: 0 };
    let network: Vec<usize> = train.inputs.iter().map(|name| index_of(&mut features, now(name))).collect();
    let mut skip = Vec::new();
    if train.skip_linear {
        skip.clone_from(&network);
        for column in lag_columns {
            let index = index_of(&mut features, now(column));
            if !skip.contains(&index) {
                skip.push(index);
            }
        }
    }
    let mut residual = Vec::new();
    for step in 1..=train.horizon {
        for target in &train.targets {
            let lag = match train.residual {
                Residual::None => continue,
                Residual::Last => 0,
                Residual::Seasonal(season) => season.max(1) * step.div_ceil(season.max(1)) - step,
            };
            let input = Input { column: target.value.clone(), lag: u32::try_from(lag).unwrap_or(u32::MAX) };
            residual.push(index_of(&mut features, input));
        }
    }
    let layers = train
        .layers
        .iter()
        .map(|layer| RecurrentLayer {
            cell: match layer.cell {
                Cell::SimpleRnn(Activation::Relu) => CellKind::RnnRelu,
                Cell::SimpleRnn(_) => CellKind::RnnTanh,
                Cell::Lstm => CellKind::Lstm,
                Cell::Gru => CellKind::Gru,
            },
            units: layer.units,
            double_bias: layer.cell == Cell::Gru,
        })
        .collect();
    let head = train
        .head
        .iter()
        .map(|dense| DenseLayer {
            units: dense.units,
            activation: match dense.activation {
                Activation::Linear => DenseActivation::Linear,
                Activation::Relu => DenseActivation::Relu,
                Activation::Tanh => DenseActivation::Tanh,
            },
        })
        .collect();
    let architecture = Architecture {
        features: features.len(),
        network,
        skip,
        residual,
        layers,
        head,
        outputs: train.horizon * train.targets.len(),
        scaling: true,
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::{At, EpsilonForm, Layer};
    use crate::problem::Place;
    use arrow::datatypes::DataType;

    pub(in crate::train) fn section(horizon: usize, targets: &[&str]) -> config::Train {
        let name = |text: &&str| At { value: text.to_string(), place: Place::default() };
        config::Train {
            inputs: targets.iter().map(name).collect(),
            targets: targets.iter().map(name).collect(),
            horizon,
            residual: Residual::None,
            skip_linear: false,
            layers: vec![At::default_value(Layer { cell: Cell::Gru, units: 8 })],
            head: vec![],
            chunk: 16,
            burn_in: 0,
            loss: Loss::Mse,
            optimizer: Adam {
                learning_rate: 0.01,
                beta_1: 0.9,
                beta_2: 0.999,
                epsilon: 1e-7,
                epsilon_form: EpsilonForm::Keras,
            },
            clip_norm: Some(1.0),
            length: Length::Epochs(3),
            patience: None,
            batch_size: 8,
            seed: 7,
            seasonality: None,
            split: At::default_value(config::Split::PerKey([0.7, 0.15, 0.15])),
            refit: false,
        }
    }

    pub(in crate::train) fn steps_clock() -> Clock {
        Clock { nanos_per_tick: None, data_type: DataType::Int64 }
    }

    pub(in crate::train) fn plan_of(train: &config::Train, window: Option<usize>) -> Plan {
        let infer = config::Infer {
            model: At::default_value("m".into()),
            mode: if window.is_some() { config::Mode::Window } else { config::Mode::Carry },
            window: window.map(At::default_value),
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
        let (inputs, shape) = architecture(&train, &[]);
        assert_eq!(inputs, [Input { column: "value".into(), lag: 0 }]);
        assert_eq!(shape.residual, [0; 5]);

        train.residual = Residual::Seasonal(3);
        let (inputs, shape) = architecture(&train, &[]);
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
        train.skip_linear = true;
        let (inputs, shape) = architecture(&train, &["b_lag_1".to_string(), "hour_sin".to_string()]);
        let names: Vec<&str> = inputs.iter().map(|i| i.column.as_str()).collect();
        assert_eq!(names, ["b", "hour_sin", "b_lag_1", "a"]);
        assert_eq!(shape.network, [0, 1]);
        assert_eq!(shape.skip, [0, 1, 2]);
        assert_eq!(shape.residual, [3, 0, 3, 0]);
        assert_eq!((shape.features, shape.outputs), (4, 4));
    }
}
