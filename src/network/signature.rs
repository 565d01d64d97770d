//! The tensors of a graph: what goes in, what is carried, what comes out, each with its type and its axes.
//!
//! Lives here: the description, which a manifest keeps for the graphs of others and an [`Architecture`] implies for our
//! own. Must not live here: memory of any tensor (`model::executor`), and finding a description (`model::onnx`).

use serde::de::{Deserializer, Error as _};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use super::{Architecture, Input, Pool};

/// Numbers of a row of a tensor, at most.
const MOST_WIDTH: usize = 1 << 28;

/// Type of a tensor's numbers, as ONNX has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Element {
    /// 32 bits, IEEE 754.
    Float32,
    /// 16 bits, IEEE 754.
    Float16,
    /// 64 bits, IEEE 754.
    Float64,
    /// Signed, 64 bits.
    Int64,
    /// Signed, 32 bits.
    Int32,
    /// A byte, 0 or 1.
    Bool,
}

impl Element {
    /// Its name in ONNX's and NumPy's words.
    pub fn word(self) -> &'static str {
        match self {
            Element::Float32 => "float32",
            Element::Float16 => "float16",
            Element::Float64 => "float64",
            Element::Int64 => "int64",
            Element::Int32 => "int32",
            Element::Bool => "bool",
        }
    }

    /// Whether it holds a number: a whole one exactly, a fraction to its own digits.
    pub fn holds(self, value: f64) -> bool {
        let whole = |least: f64, below: f64| value.fract() == 0.0 && least <= value && value < below;
        match self {
            Element::Float64 => true,
            Element::Float32 => !value.is_finite() || (value as f32).is_finite(),
            // From there on the nearest number is infinite.
            Element::Float16 => !value.is_finite() || value.abs() < 65_520.0,
            Element::Int64 => whole(-(2_f64.powi(63)), 2_f64.powi(63)),
            Element::Int32 => whole(-(2_f64.powi(31)), 2_f64.powi(31)),
            Element::Bool => value == 0.0 || value == 1.0,
        }
    }

    /// Bytes of a value.
    pub fn bytes(self) -> usize {
        match self {
            Element::Float64 | Element::Int64 => 8,
            Element::Float32 | Element::Int32 => 4,
            Element::Float16 => 2,
            Element::Bool => 1,
        }
    }
}

/// An axis of a tensor. In JSON `"time"`, `"batch"`, or the size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Axis {
    /// One step after the other, of the same sequences.
    Time,
    /// Sequences side by side.
    Batch,
    /// So many numbers.
    Fixed(usize),
}

impl Serialize for Axis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Axis::Time => serializer.serialize_str("time"),
            Axis::Batch => serializer.serialize_str("batch"),
            Axis::Fixed(size) => serializer.serialize_u64(*size as u64),
        }
    }
}

impl<'de> Deserialize<'de> for Axis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Word(String),
            Size(usize),
        }
        match Written::deserialize(deserializer)? {
            Written::Size(size) => Ok(Axis::Fixed(size)),
            Written::Word(word) if word == "time" => Ok(Axis::Time),
            Written::Word(word) if word == "batch" => Ok(Axis::Batch),
            Written::Word(word) => Err(D::Error::custom(format!("an axis is time, batch or a size, not \"{word}\""))),
        }
    }
}

/// A tensor: its name in the graph, type and axes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorSpec {
    /// Its name in the graph.
    pub name: String,
    /// Type of its numbers.
    #[serde(rename = "type")]
    pub element: Element,
    /// Its axes in their order; [`Axis::Time`] and [`Axis::Batch`] at most once each.
    pub shape: Vec<Axis>,
}

/// What feeds an input, row by row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Feed {
    /// Numbers and vectors of columns, laid side by side.
    Columns(Vec<Input>),
    /// A whole number, at least 0 and less than `below`.
    Ids {
        /// Column it is read from.
        column: String,
        /// Rows of the table that it is looked up in.
        below: u64,
    },
    /// The place of a text in a list, from 1; 0 for any other and for null.
    Tokens {
        /// Column it is read from; whole numbers are texts too.
        column: String,
        /// The list.
        tokens: Vec<String>,
    },
    /// A vector that is set once per key, and again when a record has it; kept as state.
    PerKey(String),
    /// The place of the row's key in this list, from 1; 0 for any other key.
    Key(Vec<String>),
}

/// An input with what feeds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputTensor {
    /// The tensor.
    #[serde(flatten)]
    pub tensor: TensorSpec,
    /// Where its numbers come from.
    pub feed: Feed,
}

/// What a state is before a key's first step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Initial {
    /// Zero everywhere.
    Zero,
    /// This number everywhere.
    Number(f64),
    /// The values in a file of the version: little-endian, of the state's type, the axes but the batch in their order.
    File(String),
}

/// A state: the input that takes it, the output that gives the next one. It has no time axis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StateTensor {
    /// The input.
    #[serde(flatten)]
    pub tensor: TensorSpec,
    /// Name of the output, which has the same type and axes.
    pub out: String,
    /// What it is before a key's first step.
    pub initial: Initial,
}

/// What an output says about times ahead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ahead {
    /// Columns that are forecast.
    pub targets: Vec<String>,
    /// Steps ahead; its numbers are [horizon, targets, quantiles] flattened.
    pub horizon: usize,
    /// Quantiles of each step and target; 0 for point forecasts.
    pub quantiles: usize,
}

/// An output with the column that it becomes. Without a time axis it is that of the last step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputTensor {
    /// The tensor.
    #[serde(flatten)]
    pub tensor: TensorSpec,
    /// Name of the column.
    pub column: String,
    /// Set where the output is a forecast.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forecast: Option<Ahead>,
}

/// How much a run may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Run {
    /// As much as there is: a row's bits don't depend on what is beside it.
    Many,
    /// One.
    One,
}

/// All tensors of a graph, and how it may be run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Signature {
    /// What goes in, but for states.
    pub inputs: Vec<InputTensor>,
    /// What is carried.
    pub states: Vec<StateTensor>,
    /// Takes the steps of each sequence, int32 [batch].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lengths: Option<TensorSpec>,
    /// What comes out, but for states.
    pub outputs: Vec<OutputTensor>,
    /// Sequences of a run.
    pub batch: Run,
    /// Steps of a run.
    pub steps: Run,
}

impl TensorSpec {
    /// Numbers of a row: of one step of one sequence.
    pub fn width(&self) -> usize {
        let size = |axis: &Axis| if let Axis::Fixed(size) = axis { *size } else { 1 };
        self.shape.iter().fold(1, |all: usize, axis| all.saturating_mul(size(axis)))
    }

    /// Numbers in a run of `t` steps of `b` sequences.
    pub fn numbers(&self, t: usize, b: usize) -> usize {
        let size = |axis: &Axis| match axis {
            Axis::Time => t,
            Axis::Batch => b,
            Axis::Fixed(size) => *size,
        };
        self.shape.iter().fold(1, |all: usize, axis| all.saturating_mul(size(axis)))
    }

    /// Bytes of a row.
    pub fn row_bytes(&self) -> usize {
        self.width().saturating_mul(self.element.bytes())
    }

    /// Refuses one of which a row has more numbers than memory is made for.
    ///
    /// # Errors
    /// Its name and sizes.
    pub fn check(&self) -> crate::Result<()> {
        match self.width() <= MOST_WIDTH {
            true => Ok(()),
            false => Err(crate::Error::refused(format!(
                "tensor \"{}\" is {}: at most {MOST_WIDTH} numbers a row are read",
                self.name,
                self.describe()
            ))),
        }
    }

    /// Whether it has this axis.
    pub fn has(&self, axis: Axis) -> bool {
        self.shape.contains(&axis)
    }

    /// Its sizes in a run of `t` steps of `b` sequences.
    pub fn sizes(&self, t: usize, b: usize) -> Vec<usize> {
        let size = |axis: &Axis| match axis {
            Axis::Time => t,
            Axis::Batch => b,
            Axis::Fixed(size) => *size,
        };
        self.shape.iter().map(size).collect()
    }

    /// Its axes as text, `[time, batch, 3]`.
    pub fn axes(&self) -> String {
        let axis = |axis: &Axis| match axis {
            Axis::Time => "time".into(),
            Axis::Batch => "batch".into(),
            Axis::Fixed(size) => size.to_string(),
        };
        format!("[{}]", self.shape.iter().map(axis).collect::<Vec<_>>().join(", "))
    }

    /// As text, `float32 [time, batch, 3]`.
    pub fn describe(&self) -> String {
        format!("{} {}", self.element.word(), self.axes())
    }
}

impl StateTensor {
    /// What it is as an output.
    pub fn given(&self) -> TensorSpec {
        TensorSpec { name: self.out.clone(), ..self.tensor.clone() }
    }
}

/// The tensors that a run takes: inputs, then states.
pub(crate) fn taken(inputs: &[InputTensor], states: &[StateTensor]) -> Vec<TensorSpec> {
    let inputs = inputs.iter().map(|input| input.tensor.clone());
    inputs.chain(states.iter().map(|state| state.tensor.clone())).collect()
}

impl Signature {
    /// The tensors that a run takes: inputs, then states, then the lengths.
    pub fn taken(&self) -> Vec<TensorSpec> {
        let mut all = taken(&self.inputs, &self.states);
        all.extend(self.lengths.clone());
        all
    }

    /// The tensors that a run gives: outputs, then states under the names that they come out by.
    pub fn given(&self) -> Vec<TensorSpec> {
        let outputs = self.outputs.iter().map(|output| output.tensor.clone());
        outputs.chain(self.states.iter().map(StateTensor::given)).collect()
    }

    /// That of our own graphs: `x` [time, batch, features], states [batch, units], `y` [time, batch, outputs], or
    /// [batch, outputs] of whole sequences, all float32. `y` becomes the column `prediction`. With groups of keys also
    /// `group` int64 [time, batch]: the place of the key in `keys`, from 1.
    pub fn of_own(
        architecture: &Architecture,
        inputs: Vec<Input>,
        keys: &[String],
        forecast: Option<Ahead>,
    ) -> Signature {
        let tensor = |name: &str, shape: Vec<Axis>| TensorSpec { name: name.into(), element: Element::Float32, shape };
        let steps = |width: usize| vec![Axis::Time, Axis::Batch, Axis::Fixed(width)];
        let state = |pair: super::StatePair| StateTensor {
            tensor: tensor(
                &pair.input,
                std::iter::once(Axis::Batch).chain(pair.shape.iter().map(|size| Axis::Fixed(*size))).collect(),
            ),
            out: pair.output,
            initial: Initial::Zero,
        };
        let x = InputTensor { tensor: tensor("x", steps(architecture.features)), feed: Feed::Columns(inputs) };
        let group = (architecture.groups > 0).then(|| InputTensor {
            tensor: TensorSpec { name: "group".into(), element: Element::Int64, shape: vec![Axis::Time, Axis::Batch] },
            feed: Feed::Key(keys.to_vec()),
        });
        Signature {
            inputs: std::iter::once(x).chain(group).collect(),
            states: architecture.states().into_iter().map(state).collect(),
            lengths: architecture
                .takes_lengths()
                .then(|| TensorSpec { element: Element::Int32, ..tensor("lengths", vec![Axis::Batch]) }),
            outputs: architecture
                .graph_outputs()
                .into_iter()
                .map(|(name, width)| OutputTensor {
                    tensor: match architecture.pool {
                        Pool::None => tensor(name, steps(width)),
                        Pool::Last | Pool::Mean => tensor(name, vec![Axis::Batch, Axis::Fixed(width)]),
                    },
                    // `y` and `y_q10`: `prediction` and `prediction_q10`.
                    column: format!("prediction{}", name.strip_prefix(super::quantiles::MAIN).unwrap_or(name)),
                    forecast: forecast.clone(),
                })
                .collect(),
            batch: Run::Many,
            steps: Run::Many,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::CellKind;
    use crate::network::testing::plain;

    #[test]
    fn it_comes_back_from_json_that_one_can_read() {
        let mut signature = Signature::of_own(&plain(2, &[(CellKind::Lstm, 3)]), Vec::new(), &[], None);
        signature.inputs[0].feed = Feed::Ids { column: "token".into(), below: 8000 };
        signature.states[1].initial = Initial::Number(0.5);
        let json = serde_json::to_string(&signature).unwrap();
        assert!(json.contains(r#"{"name":"x","type":"float32","shape":["time","batch",2]"#), "{json}");
        assert!(json.contains(r#""name":"c_0","type":"float32","shape":["batch",3],"out":"c_0_out""#), "{json}");
        assert_eq!(serde_json::from_str::<Signature>(&json).unwrap(), signature);
        assert!(serde_json::from_str::<Axis>("\"rows\"").unwrap_err().to_string().contains("\"rows\""));
    }

    #[test]
    fn a_type_holds_what_it_has_room_for() {
        let two = |exponent: i32| 2_f64.powi(exponent);
        for (element, held, not) in [
            (Element::Int64, &[0.0, -two(63), two(62)][..], &[two(63), 0.5, f64::NAN, f64::INFINITY][..]),
            (Element::Int32, &[-two(31), two(31) - 1.0], &[two(31), 0.5]),
            (Element::Bool, &[0.0, 1.0], &[2.0, 0.5]),
            (Element::Float16, &[65_504.0, 0.1, f64::NAN, f64::INFINITY], &[65_520.0, -1e9]),
            (Element::Float32, &[3e38, 0.1, f64::INFINITY], &[4e38]),
            (Element::Float64, &[1e300], &[]),
        ] {
            assert!(held.iter().all(|value| element.holds(*value)), "{element:?}");
            assert!(!not.iter().any(|value| element.holds(*value)), "{element:?}");
        }
    }

    #[test]
    fn a_row_is_all_fixed_axes() {
        let shape = vec![Axis::Fixed(2), Axis::Batch, Axis::Fixed(128)];
        let tensor = TensorSpec { name: "state".into(), element: Element::Float16, shape };
        assert_eq!((tensor.width(), tensor.sizes(9, 4)), (256, vec![2, 4, 128]));
        assert_eq!(tensor.describe(), "float16 [2, batch, 128]");
    }
}
