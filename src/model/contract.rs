//! What a version of a model promises: the manifest beside `model.onnx`, and the network's shape.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `manifest.json`. Holds no wall time: the same data, seed and program write the same bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Of the manifest itself; 1.
    pub format: u32,
    /// Name of the model in the registry.
    pub name: String,
    /// `carry` or `window`.
    pub kind: ModelKind,
    /// How recurrent layers stand in the graph; `operator`: as the ONNX operators RNN, LSTM, GRU.
    pub form: String,
    /// Whether equal rows give equal bits in every batch.
    pub bitwise: bool,
    /// Rows of a window, for kind window.
    pub window: Option<usize>,
    /// The features of `x`, in order.
    pub inputs: Vec<Input>,
    /// State pairs, in the order of layers; also in the graph's metadata under `kolk.states`.
    pub states: Vec<StatePair>,
    /// Steps ahead; `y` holds one output for each of 1..=horizon and each target, [horizon, targets] flattened.
    pub horizon: usize,
    /// Columns that are forecast.
    pub targets: Vec<String>,
    /// Quantiles; empty for point forecasts.
    pub quantiles: Vec<f64>,
    /// The stages it was trained behind, canonical (see `stage::describe`); compared before a start.
    pub stages: Vec<serde_json::Value>,
    /// Rows of a new key before its predictions are within 1 % of a warm one's; such rows are flagged.
    pub warm_up: usize,
    /// Seed of the training.
    pub seed: u64,
    /// sha256 over what it was trained on.
    pub data_hash: String,
    /// Errors on the held-out time, by name.
    pub metrics: BTreeMap<String, f64>,
    /// The network's shape.
    pub architecture: Architecture,
    /// ONNX opset of the graph.
    pub opset: i64,
    /// ONNX IR version of the file.
    pub ir_version: i64,
    /// ONNX Runtime that it was checked with.
    pub onnx_runtime: String,
    /// sha256 of each file of the version but this one.
    pub files: BTreeMap<String, String>,
}

/// How a model uses state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelKind {
    /// State carried from record to record.
    Carry,
    /// From zero state over the last `window` records; the last output counts.
    Window,
}

/// One feature of `x`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Input {
    /// Column it is read from.
    pub column: String,
    /// Rows of the key it lies back; 0: the row itself.
    pub lag: u32,
}

/// A pair of graph input and output that carries state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatePair {
    /// Graph input, `h_0`.
    #[serde(rename = "in")]
    pub input: String,
    /// Graph output, `h_0_out`.
    #[serde(rename = "out")]
    pub output: String,
    /// Shape without the batch axis, `[50]`.
    pub shape: Vec<usize>,
    /// `zero`
    pub init: String,
}

/// Shape of a network: everything but its numbers.
///
/// `y = out_sd * (head(recurrent(z[network])) + skip(z[skip])) + out_mean + x[residual]` with `z = (x - mean) / sd`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Architecture {
    /// Features of `x`.
    pub features: usize,
    /// Indices into `x` of what feeds the first recurrent layer.
    pub network: Vec<usize>,
    /// Indices into `x` of what feeds the linear path beside the network; empty: there is none.
    pub skip: Vec<usize>,
    /// Per output, the index into `x` of what is added to it unscaled; empty: nothing is added to any.
    pub residual: Vec<usize>,
    /// Recurrent layers.
    pub layers: Vec<RecurrentLayer>,
    /// Dense layers before the output layer.
    pub head: Vec<DenseLayer>,
    /// Outputs: horizon × targets.
    pub outputs: usize,
    /// Whether `mean`, `sd`, `out_mean`, `out_sd` are part of the network (false: as if 0 and 1).
    pub scaling: bool,
}

/// One recurrent layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecurrentLayer {
    /// Its cell.
    pub cell: CellKind,
    /// Its width.
    pub units: usize,
    /// Two biases per gate, as PyTorch keeps them. A GRU always has two (reset_after).
    pub double_bias: bool,
}

/// Cell of a recurrent layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CellKind {
    /// SimpleRNN with tanh.
    RnnTanh,
    /// SimpleRNN with ReLU.
    RnnRelu,
    /// LSTM.
    Lstm,
    /// GRU, reset_after.
    Gru,
}

impl CellKind {
    /// Gates: blocks of `units` columns in a kernel.
    pub fn gates(self) -> usize {
        match self {
            CellKind::RnnTanh | CellKind::RnnRelu => 1,
            CellKind::Lstm => 4,
            CellKind::Gru => 3,
        }
    }

    /// Its name in Keras.
    pub fn keras_name(self) -> &'static str {
        match self {
            CellKind::RnnTanh | CellKind::RnnRelu => "SimpleRNN",
            CellKind::Lstm => "LSTM",
            CellKind::Gru => "GRU",
        }
    }

    /// Whether it has a cell state `c` beside the hidden state `h`.
    pub fn has_cell_state(self) -> bool {
        self == CellKind::Lstm
    }
}

/// A dense layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DenseLayer {
    /// Its width.
    pub units: usize,
    /// Its activation.
    pub activation: DenseActivation,
}

/// Activation of a dense layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DenseActivation {
    /// None.
    Linear,
    /// max(0, x)
    Relu,
    /// tanh
    Tanh,
}

/// A named array of the network, row-major.
///
/// Names, shapes and gate orders are those of Keras (LSTM i, f, c, o; GRU z, r, h), for layer `i` of width `u` with
/// `g` gates on `n` inputs:
/// `recurrent_<i>/kernel` [n, g·u], `recurrent_<i>/recurrent_kernel` [u, g·u],
/// `recurrent_<i>/bias` [g·u], or [2, g·u] (input bias, then recurrent bias) with two biases and for every GRU;
/// `dense_<i>/kernel` [n, u], `dense_<i>/bias` [u] for the head; `output/kernel` [n, outputs], `output/bias` [outputs];
/// `skip/kernel` [skip inputs, outputs] if there is a skip path;
/// and with scaling `scaling/mean` and `scaling/sd` [features], `scaling/out_mean` and `scaling/out_sd` [outputs],
/// which are not trained.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Name as above.
    pub name: String,
    /// Shape.
    pub shape: Vec<usize>,
    /// Values.
    pub data: Vec<f32>,
}

impl Architecture {
    /// The state pairs of the graph: `h_<i>`, and `c_<i>` for an LSTM, in the order of layers.
    pub fn states(&self) -> Vec<StatePair> {
        let mut pairs = Vec::new();
        for (i, layer) in self.layers.iter().enumerate() {
            for letter in if layer.cell.has_cell_state() { &["h", "c"][..] } else { &["h"][..] } {
                pairs.push(StatePair {
                    input: format!("{letter}_{i}"),
                    output: format!("{letter}_{i}_out"),
                    shape: vec![layer.units],
                    init: "zero".into(),
                });
            }
        }
        pairs
    }
}
