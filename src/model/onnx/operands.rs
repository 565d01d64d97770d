//! Where each number of a recurrent layer is: Keras' arrays on one side ([`crate::network::Tensor`]), the operands `W`,
//! `R`, `B` of ONNX' operators on the other. Both ways are permutations, so a round trip changes no bit. Must not live
//! here: which block is which gate (`kernel`, the file of each cell).

use crate::kernel::CellKind;
use crate::network::RecurrentLayer;

/// The blocks of the operands of a cell that has an operator.
pub(in crate::model) fn gates(cell: CellKind) -> &'static [usize] {
    cell.form().operator().map_or(&[], |operator| operator.gates)
}

/// A Keras kernel [n, g·u] as ONNX' `W` or `R` [1, g·u, n], where a block may come twice.
pub(super) fn kernel_to_onnx(cell: CellKind, units: usize, n: usize, kernel: &[f32]) -> Vec<f32> {
    let width = cell.gates() * units;
    let mut out = Vec::with_capacity(kernel.len());
    for &gate in gates(cell) {
        for unit in 0..units {
            out.extend((0..n).map(|row| kernel[row * width + gate * units + unit]));
        }
    }
    out
}

/// The inverse of [`kernel_to_onnx`].
pub(in crate::model) fn kernel_to_keras(cell: CellKind, units: usize, n: usize, operand: &[f32]) -> Vec<f32> {
    let width = cell.gates() * units;
    let mut out = vec![0.0; width * n];
    for (block, &gate) in gates(cell).iter().enumerate() {
        for unit in 0..units {
            for row in 0..n {
                out[row * width + gate * units + unit] = operand[(block * units + unit) * n + row];
            }
        }
    }
    out
}

/// A Keras bias [g·u] or [2, g·u] as ONNX' `B` [1, 2·g·u]; an absent recurrent bias is zero.
pub(super) fn bias_to_onnx(layer: &RecurrentLayer, bias: &[f32]) -> Vec<f32> {
    let width = layer.cell.gates() * layer.units;
    let both = 2 * gates(layer.cell).len() * layer.units;
    let mut out = Vec::with_capacity(both);
    for half in bias.chunks_exact(width) {
        for &gate in gates(layer.cell) {
            out.extend_from_slice(&half[gate * layer.units..(gate + 1) * layer.units]);
        }
    }
    out.resize(both, 0.0);
    out
}

/// The inverse of [`bias_to_onnx`].
pub(in crate::model) fn bias_to_keras(layer: &RecurrentLayer, operand: &[f32]) -> Vec<f32> {
    let width = layer.cell.gates() * layer.units;
    let operand_width = gates(layer.cell).len() * layer.units;
    let halves = if layer.has_two_biases() { 2 } else { 1 };
    let mut out = vec![0.0; halves * width];
    for half in 0..halves {
        for (block, &gate) in gates(layer.cell).iter().enumerate() {
            let from = half * operand_width + block * layer.units;
            let to = half * width + gate * layer.units;
            out[to..to + layer.units].copy_from_slice(&operand[from..from + layer.units]);
        }
    }
    out
}
