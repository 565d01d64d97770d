//! A layer as data: its width, its tensors, its name for readers.
//! Must not live here: its arithmetic (`kernel`), its nodes in a graph (`model::onnx`).

use serde::{Deserialize, Serialize};

use crate::kernel::cell::{Initial, LayerTensor};
use crate::kernel::{Activation, CellKind};

/// The tensors of a layer's second direction, in the order of those of its first.
const BACKWARD: [&str; 3] = ["backward_kernel", "backward_recurrent_kernel", "backward_bias"];

/// A layer. What is computed is in `kernel`, by the same word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// Carries state from step to step.
    Recurrent(RecurrentLayer),
    /// The same for each step.
    Dense(DenseLayer),
    /// Normalises each step's numbers.
    LayerNorm(LayerNormLayer),
}

/// A recurrent layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecurrentLayer {
    /// Its cell.
    pub cell: CellKind,
    /// Its width.
    pub units: usize,
    /// Two biases per gate, as PyTorch keeps them. A GRU always has two (reset_after).
    pub double_bias: bool,
    /// Runs in both directions of time: its output is that of both side by side, twice as wide.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bidirectional: bool,
}

/// What is made of the outputs of the top recurrent layer over a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pool {
    /// Nothing: each step has outputs.
    #[default]
    None,
    /// Its state after the sequence's last step, in both directions.
    Last,
    /// The mean over the sequence's steps.
    Mean,
}

impl Pool {
    /// Whether each step has outputs.
    pub fn is_none(&self) -> bool {
        *self == Pool::None
    }
}

/// A dense layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DenseLayer {
    /// Its width.
    pub units: usize,
    /// Its activation.
    pub activation: Activation,
}

/// Layer normalisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerNormLayer {
    /// Its width, that of its input.
    pub units: usize,
}

impl RecurrentLayer {
    /// Width of its output.
    pub fn width(&self) -> usize {
        if self.bidirectional { 2 * self.units } else { self.units }
    }

    /// Whether its bias has an input and a recurrent half: a cell with a recurrent part of its own always, others when
    /// asked for; never one that is computed by plain operators.
    pub fn has_two_biases(&self) -> bool {
        let form = self.cell.form();
        form.operator().is_some() && (self.double_bias || form.has_two_biases())
    }
}

impl Layer {
    /// A recurrent layer with as many biases as Keras has.
    pub fn recurrent(cell: CellKind, units: usize) -> Layer {
        Layer::Recurrent(RecurrentLayer { cell, units, double_bias: false, bidirectional: false })
    }

    /// A dense layer.
    pub fn dense(units: usize, activation: Activation) -> Layer {
        Layer::Dense(DenseLayer { units, activation })
    }

    /// Width of its output.
    pub fn units(&self) -> usize {
        match self {
            Layer::Recurrent(layer) => layer.width(),
            Layer::Dense(layer) => layer.units,
            Layer::LayerNorm(layer) => layer.units,
        }
    }

    /// What its tensors' names begin with, before its number among the layers of its kind.
    pub fn prefix(&self) -> &'static str {
        match self {
            Layer::Recurrent(_) => "recurrent",
            Layer::Dense(_) => "dense",
            Layer::LayerNorm(_) => "layer_norm",
        }
    }

    /// The tensors that it learns, over an input of this width.
    pub fn tensors(&self, inputs: usize) -> Vec<LayerTensor> {
        match self {
            Layer::Recurrent(layer) => {
                let mut tensors = layer.cell.tensors(inputs, layer.units, layer.has_two_biases());
                if layer.bidirectional {
                    let backward = tensors.clone().into_iter().zip(BACKWARD);
                    tensors.extend(backward.map(|(tensor, name)| LayerTensor { name, ..tensor }));
                }
                tensors
            }
            Layer::Dense(layer) => vec![
                LayerTensor { name: "kernel", shape: vec![inputs, layer.units], initial: Initial::Glorot },
                LayerTensor { name: "bias", shape: vec![layer.units], initial: Initial::Zeros(0..0) },
            ],
            Layer::LayerNorm(LayerNormLayer { units }) => vec![
                LayerTensor { name: "gamma", shape: vec![*units], initial: Initial::Zeros(0..*units) },
                LayerTensor { name: "beta", shape: vec![*units], initial: Initial::Zeros(0..0) },
            ],
        }
    }

    /// Its type in Keras.
    pub fn keras_name(&self) -> &'static str {
        match self {
            Layer::Recurrent(layer) if layer.bidirectional => "Bidirectional",
            Layer::Recurrent(layer) => layer.cell.form().keras_name,
            Layer::Dense(_) => "Dense",
            Layer::LayerNorm(_) => "LayerNormalization",
        }
    }

    /// In a few words, `LSTM(50)`, `Dense(32, relu)`.
    pub fn in_words(&self) -> String {
        match self {
            Layer::Dense(layer) if layer.activation != Activation::Linear => {
                format!("Dense({}, {})", layer.units, layer.activation.word())
            }
            Layer::Recurrent(layer) if layer.bidirectional => {
                format!("Bidirectional({}({}))", layer.cell.form().keras_name, layer.units)
            }
            _ => format!("{}({})", self.keras_name(), self.units()),
        }
    }
}
