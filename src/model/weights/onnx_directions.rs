//! Recurrent operators of a graph as layers of ours: of one direction, or of both, which are one operator, or two whose
//! outputs are put side by side. Must not live here: the way through the graph (`onnx_layers`).

use super::onnx_cells::{cell, plain};
use super::onnx_layers::Walk;
use super::onnx_scaling::no_bias;
use super::tensor;
use crate::kernel::CellKind;
use crate::model::onnx::operands::{bias_to_keras, gates, kernel_to_keras};
use crate::model::onnx::proto::NodeProto;
use crate::model::onnx::view::{self, input};
use crate::network::{Layer, RecurrentLayer, Tensor};

/// Which direction of time a tensor is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Half {
    /// Both, or there are none.
    #[default]
    Both,
    Forward,
    Backward,
}

/// One direction of a layer, with ONNX' operands.
#[derive(Debug, Clone)]
pub(super) struct Direction {
    half: Half,
    w: Vec<f32>,
    r: Vec<f32>,
    b: Vec<f32>,
}

impl Direction {
    /// Whether its recurrent bias counts.
    fn has_two_biases(&self) -> bool {
        self.b[self.b.len() / 2..].iter().any(|number| *number != 0.0)
    }

    fn tensors(&self, layer: &RecurrentLayer, inputs: usize, prefix: &str) -> [Tensor; 3] {
        let (cell, units) = (layer.cell, layer.units);
        let width = cell.gates() * units;
        let bias = if layer.has_two_biases() { vec![2, width] } else { vec![width] };
        let name = |name: &str| format!("{prefix}{name}");
        [
            tensor(&name("kernel"), vec![inputs, width], kernel_to_keras(cell, units, inputs, &self.w)),
            tensor(&name("recurrent_kernel"), vec![units, width], kernel_to_keras(cell, units, units, &self.r)),
            tensor(&name("bias"), bias, bias_to_keras(layer, &self.b)),
        ]
    }
}

impl Walk<'_> {
    /// Reads an operator; `is_second`: it is the other direction of the last layer. Says of which direction its output
    /// is.
    pub(super) fn recurrent(&mut self, node: &NodeProto, turned: bool, is_second: bool) -> Result<Half, String> {
        self.settle(false)?;
        let cell = cell(node)?;
        plain(node)?;
        if let Some(lengths) = input(node, 4).filter(|name| !self.is_side(name)) {
            return Err(format!("takes lengths of sequences (\"{lengths}\") that aren't an input of their own"));
        }
        if input(node, 7).is_some() {
            let (_, peephole) = self.needed(node, 7)?;
            if peephole.iter().any(|number| *number != 0.0) {
                return Err("has peepholes (P), which our LSTM hasn't".into());
            }
        }
        let word = view::text(node, "direction").unwrap_or("forward");
        let directions = if word == "bidirectional" { 2 } else { 1 };
        let (w_shape, w) = self.needed(node, 1)?;
        let (r_shape, r) = self.needed(node, 2)?;
        let blocks = gates(cell).len();
        let shapes = (&w_shape[..], &r_shape[..]);
        let ([of_w, rows, inputs], [of_r, again, units]) = shapes else {
            return Err(format!("has W {w_shape:?} and R {r_shape:?}: three axes are expected"));
        };
        let (inputs, units) = (*inputs, *units);
        let fits = [*of_w, *of_r] == [directions; 2] && rows == again && blocks.checked_mul(units) == Some(*rows);
        if !fits || *rows == 0 || inputs == 0 {
            return Err(format!(
                "has W {w_shape:?} and R {r_shape:?}, which don't fit {blocks} gates in direction {word}"
            ));
        }
        let name = view::name(node).to_owned();
        let bias = match self.constant(node, 3)? {
            Some((_, bias)) if bias.len() == 2 * rows * directions => bias,
            Some((shape, _)) => return Err(format!("has B {shape:?}, expected [{directions}, {}]", 2 * rows)),
            None => {
                self.found.notes.push(no_bias(&name));
                vec![0.0; 2 * rows * directions]
            }
        };
        let half = match (word, turned) {
            ("bidirectional", true) => return Err("runs in both directions over steps in reverse order".into()),
            ("bidirectional", false) => Half::Both,
            ("reverse", false) | ("forward", true) => Half::Backward,
            _ => Half::Forward,
        };
        let part = |values: &[f32], at: usize| {
            let size = values.len() / directions;
            values[at * size..(at + 1) * size].to_vec()
        };
        let direction = |at: usize, half| Direction { half, w: part(&w, at), r: part(&r, at), b: part(&bias, at) };
        let first = direction(0, half);
        if directions == 2 {
            let backward = direction(1, Half::Backward);
            let (layer, tensors) = both(cell, units, inputs, &first, &backward);
            self.open = None;
            self.push(name, layer, inputs, tensors)?;
            return Ok(Half::Both);
        }
        if is_second {
            self.second(cell, units, inputs, first)?;
            return Ok(half);
        }
        let double_bias = cell == CellKind::Gru || first.has_two_biases();
        let layer = RecurrentLayer { cell, units, double_bias, bidirectional: false };
        let tensors = first.tensors(&layer, inputs, "").to_vec();
        self.open = Some(first);
        self.push(name, Layer::Recurrent(layer), inputs, tensors)?;
        Ok(half)
    }

    /// The last layer with its other direction.
    fn second(&mut self, cell: CellKind, units: usize, inputs: usize, second: Direction) -> Result<(), String> {
        let (Some(first), Some(last)) = (self.open.take(), self.found.layers.last_mut()) else { return Ok(()) };
        let Layer::Recurrent(own) = last.layer else { return Ok(()) };
        if first.half == second.half {
            return Err(format!(
                "takes the same as \"{}\" in the same direction: the layers of our networks are in one row",
                last.name
            ));
        }
        if (own.cell, own.units, last.inputs) != (cell, units, inputs) {
            return Err(format!("is another layer than \"{}\", whose other direction it is", last.name));
        }
        let (forward, backward) = if first.half == Half::Forward { (first, second) } else { (second, first) };
        (last.layer, last.tensors) = both(cell, units, inputs, &forward, &backward);
        Ok(())
    }
}

/// A layer of both directions.
fn both(
    cell: CellKind,
    units: usize,
    inputs: usize,
    forward: &Direction,
    backward: &Direction,
) -> (Layer, Vec<Tensor>) {
    let double_bias = cell == CellKind::Gru || forward.has_two_biases() || backward.has_two_biases();
    let layer = RecurrentLayer { cell, units, double_bias, bidirectional: true };
    let mut tensors = forward.tensors(&layer, inputs, "").to_vec();
    tensors.extend(backward.tensors(&layer, inputs, "backward_"));
    (Layer::Recurrent(layer), tensors)
}
