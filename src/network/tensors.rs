//! Where each number of a network stands: Keras' arrays on one side ([`Tensor`]), the operands `W`, `R`, `B` of ONNX'
//! recurrent operators on the other. Both ways are permutations, so a round trip changes no bit.

use super::{Architecture, CellKind, RecurrentLayer};
use crate::{Error, Result};

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

/// Position of Keras' gate blocks in ONNX' order: block `j` of ONNX is block `onnx_gates(cell)[j]` of Keras.
/// LSTM: i, f, c, o in Keras and i, o, f, c in ONNX. GRU: z, r, h in both. (ONNX operator specification, Keras' cells.)
fn onnx_gates(cell: CellKind) -> &'static [usize] {
    match cell {
        CellKind::RnnTanh | CellKind::RnnRelu => &[0],
        CellKind::Lstm => &[0, 3, 1, 2],
        CellKind::Gru => &[0, 1, 2],
    }
}

/// A Keras kernel [n, g·u] as ONNX' `W` or `R` [1, g·u, n].
pub(crate) fn kernel_to_onnx(cell: CellKind, units: usize, n: usize, kernel: &[f32]) -> Vec<f32> {
    let width = cell.gates() * units;
    let mut out = Vec::with_capacity(kernel.len());
    for &gate in onnx_gates(cell) {
        for unit in 0..units {
            out.extend((0..n).map(|row| kernel[row * width + gate * units + unit]));
        }
    }
    out
}

/// The inverse of [`kernel_to_onnx`].
pub(crate) fn kernel_to_keras(cell: CellKind, units: usize, n: usize, operand: &[f32]) -> Vec<f32> {
    let width = cell.gates() * units;
    let mut out = vec![0.0; operand.len()];
    for (block, &gate) in onnx_gates(cell).iter().enumerate() {
        for unit in 0..units {
            for row in 0..n {
                out[row * width + gate * units + unit] = operand[(block * units + unit) * n + row];
            }
        }
    }
    out
}

/// A Keras bias [g·u] or [2, g·u] as ONNX' `B` [1, 2·g·u]; an absent recurrent bias is zero.
pub(crate) fn bias_to_onnx(layer: &RecurrentLayer, bias: &[f32]) -> Vec<f32> {
    let width = layer.cell.gates() * layer.units;
    let mut out = Vec::with_capacity(2 * width);
    for half in bias.chunks_exact(width) {
        for &gate in onnx_gates(layer.cell) {
            out.extend_from_slice(&half[gate * layer.units..(gate + 1) * layer.units]);
        }
    }
    out.resize(2 * width, 0.0);
    out
}

/// The inverse of [`bias_to_onnx`].
pub(crate) fn bias_to_keras(layer: &RecurrentLayer, operand: &[f32]) -> Vec<f32> {
    let width = layer.cell.gates() * layer.units;
    let halves = if layer.has_two_biases() { 2 } else { 1 };
    let mut out = vec![0.0; halves * width];
    for half in 0..halves {
        for (block, &gate) in onnx_gates(layer.cell).iter().enumerate() {
            let from = half * width + block * layer.units;
            let to = half * width + gate * layer.units;
            out[to..to + layer.units].copy_from_slice(&operand[from..from + layer.units]);
        }
    }
    out
}

impl Architecture {
    /// Name and shape of every tensor of the network, in the order of the layers; see [`Tensor`].
    pub fn tensor_shapes(&self) -> Vec<(String, Vec<usize>)> {
        let mut shapes = Vec::new();
        if self.scaling {
            shapes.push(("scaling/mean".into(), vec![self.features]));
            shapes.push(("scaling/sd".into(), vec![self.features]));
        }
        let mut width = self.network.len();
        for (i, layer) in self.layers.iter().enumerate() {
            let gates = layer.cell.gates() * layer.units;
            shapes.push((format!("recurrent_{i}/kernel"), vec![width, gates]));
            shapes.push((format!("recurrent_{i}/recurrent_kernel"), vec![layer.units, gates]));
            let bias = if layer.has_two_biases() { vec![2, gates] } else { vec![gates] };
            shapes.push((format!("recurrent_{i}/bias"), bias));
            width = layer.units;
        }
        for (i, dense) in self.head.iter().enumerate() {
            shapes.push((format!("dense_{i}/kernel"), vec![width, dense.units]));
            shapes.push((format!("dense_{i}/bias"), vec![dense.units]));
            width = dense.units;
        }
        shapes.push(("output/kernel".into(), vec![width, self.outputs]));
        shapes.push(("output/bias".into(), vec![self.outputs]));
        if !self.skip.is_empty() {
            shapes.push(("skip/kernel".into(), vec![self.skip.len(), self.outputs]));
        }
        if self.scaling {
            shapes.push(("scaling/out_mean".into(), vec![self.outputs]));
            shapes.push(("scaling/out_sd".into(), vec![self.outputs]));
        }
        shapes
    }

    /// Refuses an architecture that no graph can have: no layer, widths of zero, indices outside of `x`.
    pub fn validate(&self) -> Result<()> {
        let mut wrong = Vec::new();
        if self.features == 0 || self.outputs == 0 || self.network.is_empty() || self.layers.is_empty() {
            wrong.push("features, network, layers and outputs must not be empty".to_owned());
        }
        for (what, indices) in [("network", &self.network), ("skip", &self.skip), ("residual", &self.residual)] {
            if let Some(index) = indices.iter().find(|index| **index >= self.features) {
                wrong.push(format!("{what} names input {index} of {} (they count from 0)", self.features));
            }
        }
        if !self.residual.is_empty() && self.residual.len() != self.outputs {
            wrong.push(format!("residual has {} entries for {} outputs", self.residual.len(), self.outputs));
        }
        if self.layers.iter().any(|layer| layer.units == 0) || self.head.iter().any(|dense| dense.units == 0) {
            wrong.push("a layer has no units".to_owned());
        }
        if wrong.is_empty() { Ok(()) } else { Err(Error::refused(format!("architecture: {}", wrong.join("; ")))) }
    }
}

/// The tensors of a network by name, checked to be exactly those that its architecture asks for.
pub(crate) struct ByName<'a>(Vec<&'a Tensor>);

impl<'a> ByName<'a> {
    /// Refuses missing, unknown, doubled and misshapen tensors, all at once.
    pub(crate) fn new(architecture: &Architecture, tensors: &'a [Tensor]) -> Result<Self> {
        let shapes = architecture.tensor_shapes();
        let mut wrong = Vec::new();
        let mut found = Vec::new();
        for (name, shape) in &shapes {
            let mut same = tensors.iter().filter(|tensor| tensor.name == *name);
            match (same.next(), same.next()) {
                (None, _) => wrong.push(format!("\"{name}\" {shape:?} is missing")),
                (Some(_), Some(_)) => wrong.push(format!("\"{name}\" is there twice")),
                (Some(tensor), None) => {
                    if tensor.shape != *shape || tensor.data.len() != shape.iter().product::<usize>() {
                        wrong.push(format!(
                            "\"{name}\" is {:?} with {} values, expected {shape:?}",
                            tensor.shape,
                            tensor.data.len()
                        ));
                    }
                    found.push(tensor);
                }
            }
        }
        for tensor in tensors.iter().filter(|tensor| !shapes.iter().any(|(name, _)| *name == tensor.name)) {
            wrong.push(format!("\"{}\" is not a tensor of this architecture", tensor.name));
        }
        if wrong.is_empty() {
            Ok(ByName(found))
        } else {
            Err(Error::refused(format!("tensors that don't fit the architecture: {}", wrong.join("; "))))
        }
    }

    /// The values of a tensor; empty for a name that the architecture doesn't have.
    pub(crate) fn get(&self, name: &str) -> &'a [f32] {
        self.0.iter().find(|tensor| tensor.name == name).map_or(&[], |tensor| &tensor.data)
    }
}
