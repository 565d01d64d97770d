//! The shape of a network: its layers and the paths beside them, without its numbers.
//! Must not live here: its numbers by name (`tensors`), any arithmetic (`kernel`, `train`).

use serde::{Deserialize, Serialize};

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

impl RecurrentLayer {
    /// Whether its bias has an input and a recurrent half: a GRU always (reset_after), others when asked for.
    pub fn has_two_biases(&self) -> bool {
        self.double_bias || self.cell == CellKind::Gru
    }
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

impl StatePair {
    /// Values of one row.
    pub fn width(&self) -> usize {
        self.shape.iter().product()
    }

    /// Shape of the state of `b` rows.
    pub(crate) fn batched(&self, b: usize) -> Vec<usize> {
        std::iter::once(b).chain(self.shape.iter().copied()).collect()
    }
}
