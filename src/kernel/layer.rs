//! One recurrent layer over time, forward and backward.
//!
//! Formulas are those of Keras (and of Hochreiter and Schmidhuber 1997 with Gers et al. 2000 for the LSTM, Cho et al.
//! 2014 in the `reset_after` form for the GRU). The input's part of all timesteps is one matrix product, the recurrent
//! part one per step; what is
//! elementwise is in the file of each cell. Arrays are time-major [T, B, width]; gate blocks have Keras' order (i f c o;
//! z r h).

use super::float::Float;
use super::gemm::{Existing, Matrix, multiply, multiply_rows};
use super::{gru, lstm, simple_rnn};
use crate::network::{CellKind, RecurrentLayer};

/// Shape of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Width of its input.
    pub inputs: usize,
    /// The layer.
    pub layer: RecurrentLayer,
}

/// A layer's numbers, as [`crate::network::Tensor`] describes them.
#[derive(Debug, Clone, Copy)]
pub struct Weights<'a, F> {
    /// [inputs, g·u]
    pub kernel: &'a [F],
    /// [u, g·u]
    pub recurrent: &'a [F],
    /// [g·u] or [2, g·u]
    pub bias: &'a [F],
}

/// Gradients of a layer's numbers; added to.
#[derive(Debug)]
pub struct Gradients<'a, F> {
    /// As [`Weights::kernel`].
    pub kernel: &'a mut [F],
    /// As [`Weights::recurrent`].
    pub recurrent: &'a mut [F],
    /// As [`Weights::bias`].
    pub bias: &'a mut [F],
}

/// Which cells of [T, B] are what; empty slices: every one is a step and none starts anew.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mask<'a> {
    /// State is zero before this step.
    pub reset: &'a [bool],
    /// There is a step; where not, the state passes through.
    pub active: &'a [bool],
}

impl Mask<'_> {
    fn reset(&self, at: usize) -> bool {
        self.reset.get(at).copied().unwrap_or(false)
    }

    pub(crate) fn active(&self, at: usize) -> bool {
        self.active.get(at).copied().unwrap_or(true)
    }
}

/// A layer and what it is given.
#[derive(Debug, Clone, Copy)]
pub struct Layer<'a, F> {
    /// Its shape.
    pub shape: Shape,
    /// Its numbers.
    pub weights: Weights<'a, F>,
    /// Its input [t, b, inputs].
    pub x: &'a [F],
    /// Timesteps.
    pub t: usize,
    /// Rows of a timestep.
    pub b: usize,
    /// Which cells are steps and which start anew.
    pub mask: Mask<'a>,
}

/// What a forward pass leaves for the backward pass.
#[derive(Debug, Clone, Default)]
pub struct Trace<F> {
    /// Hidden state after each step [T, B, u]: the layer's output.
    pub h: Vec<F>,
    /// Hidden state before each step, after resets [T, B, u].
    h_before: Vec<F>,
    /// Cell state before each step, after resets [T, B, u]; LSTM.
    c_before: Vec<F>,
    /// tanh of the cell state after each step [T, B, u]; LSTM.
    c_tanh: Vec<F>,
    /// Gates after activation [T, B, g·u].
    gates: Vec<F>,
    /// Recurrent part of the candidate, before the reset gate [T, B, u]; GRU.
    candidate: Vec<F>,
    /// The state's part of the gates of one step [B, g·u]; GRU.
    side: Vec<F>,
}

/// Runs all steps of a layer; `h` and `c` [b, u] are the state before and become that after (`c` is
/// empty but for an LSTM).
pub fn forward<F: Float>(layer: Layer<'_, F>, h: &mut [F], c: &mut [F], trace: &mut Trace<F>) {
    let Layer { shape, weights, x, t, b, mask } = layer;
    let u = shape.layer.units;
    let cell = shape.layer.cell;
    let width = cell.gates() * u;
    for buffer in [&mut trace.h, &mut trace.h_before] {
        buffer.resize(t * b * u, F::ZERO);
    }
    if cell == CellKind::Lstm {
        trace.c_before.resize(t * b * u, F::ZERO);
        trace.c_tanh.resize(t * b * u, F::ZERO);
    }
    if cell == CellKind::Gru {
        trace.candidate.resize(t * b * u, F::ZERO);
        trace.side.resize(b * width, F::ZERO);
    }
    trace.gates.resize(t * b * width, F::ZERO);

    let gates = &mut trace.gates;
    let (input_bias, recurrent_bias) = weights.bias.split_at(width);
    for row in gates.chunks_exact_mut(width) {
        row.copy_from_slice(input_bias);
        // A GRU's recurrent bias stands inside the reset gate's product and is added there.
        if cell != CellKind::Gru {
            row.iter_mut().zip(recurrent_bias).for_each(|(gate, bias)| *gate += *bias);
        }
    }
    let kernel = Matrix::new(weights.kernel, shape.inputs, width);
    multiply_rows(gates, Matrix::new(x, t * b, shape.inputs), kernel, Existing::Add);

    let recurrent = Matrix::new(weights.recurrent, u, width);
    for now in 0..t {
        for row in 0..b {
            if mask.reset(now * b + row) {
                h[row * u..(row + 1) * u].fill(F::ZERO);
                if cell == CellKind::Lstm {
                    c[row * u..(row + 1) * u].fill(F::ZERO);
                }
            }
        }
        let all = now * b * u..(now + 1) * b * u;
        trace.h_before[all.clone()].copy_from_slice(h);
        if cell == CellKind::Lstm {
            trace.c_before[all.clone()].copy_from_slice(c);
        }
        if cell == CellKind::Gru {
            trace.side.chunks_exact_mut(width).for_each(|row| row.copy_from_slice(recurrent_bias));
            multiply_rows(&mut trace.side, Matrix::new(h, b, u), recurrent, Existing::Add);
        } else {
            multiply_rows(&mut gates[now * b * width..], Matrix::new(h, b, u), recurrent, Existing::Add);
        }
        for row in (0..b).filter(|row| mask.active(now * b + row)) {
            let gates = &mut gates[(now * b + row) * width..][..width];
            let h = &mut h[row * u..][..u];
            let at = (now * b + row) * u..(now * b + row + 1) * u;
            match cell {
                CellKind::RnnTanh => simple_rnn::tanh_forward(gates, h),
                CellKind::RnnRelu => simple_rnn::relu_forward(gates, h),
                CellKind::Lstm => lstm::lstm_forward(gates, h, &mut c[row * u..][..u], &mut trace.c_tanh[at]),
                CellKind::Gru => {
                    gru::gru_forward(gates, &trace.side[row * width..][..width], h, &mut trace.candidate[at]);
                }
            }
        }
        trace.h[all].copy_from_slice(h);
    }
}

/// Scratch of the backward pass.
#[derive(Debug, Clone, Default)]
pub struct Backward<F> {
    /// Gradient of the gates before activation, input's side [T, B, g·u].
    gates: Vec<F>,
    /// The same, recurrent side; GRU (elsewhere they are equal).
    recurrent: Vec<F>,
    dh: Vec<F>,
    dc: Vec<F>,
}

/// Adds the gradients of `t` steps to `gradients`, and writes those of the layer's input to `dx` [t, b, inputs] unless it
/// is empty. `dh` [t, b, u] are the gradients of the layer's output. What came before the first step is a constant:
/// truncated backpropagation through time (Williams and Peng 1990).
pub fn backward<F: Float>(
    layer: Layer<'_, F>,
    trace: &Trace<F>,
    dh_out: &[F],
    gradients: Gradients<'_, F>,
    dx: &mut [F],
    scratch: &mut Backward<F>,
) {
    let Layer { shape, weights, x, t, b, mask } = layer;
    let u = shape.layer.units;
    let cell = shape.layer.cell;
    let width = cell.gates() * u;
    let gru = cell == CellKind::Gru;
    scratch.gates.resize(t * b * width, F::ZERO);
    scratch.recurrent.resize(if gru { t * b * width } else { 0 }, F::ZERO);
    for buffer in [&mut scratch.dh, &mut scratch.dc] {
        buffer.clear();
        buffer.resize(b * u, F::ZERO);
    }
    let Backward { gates: d_gates, recurrent: d_recurrent, dh, dc } = scratch;
    let recurrent = Matrix::new(weights.recurrent, u, width);
    for now in (0..t).rev() {
        for row in 0..b {
            let cell_at = now * b + row;
            let at = cell_at * u..(cell_at + 1) * u;
            let dh = &mut dh[row * u..][..u];
            dh.iter_mut().zip(&dh_out[at.clone()]).for_each(|(dh, out)| *dh += *out);
            let d = &mut d_gates[cell_at * width..][..width];
            let d_side: &mut [F] = if gru { &mut d_recurrent[cell_at * width..][..width] } else { &mut [] };
            if !mask.active(cell_at) {
                // Of zero gates dh passes through unchanged.
                d.fill(F::ZERO);
                d_side.fill(F::ZERO);
                continue;
            }
            let gates = &trace.gates[cell_at * width..][..width];
            match cell {
                CellKind::RnnTanh => simple_rnn::tanh_backward(gates, dh, d),
                CellKind::RnnRelu => simple_rnn::relu_backward(gates, dh, d),
                CellKind::Lstm => {
                    let dc = &mut dc[row * u..][..u];
                    lstm::lstm_backward(gates, &trace.c_before[at.clone()], &trace.c_tanh[at], dh, dc, d);
                }
                CellKind::Gru => {
                    let (h_before, candidate) = (&trace.h_before[at.clone()], &trace.candidate[at]);
                    gru::gru_backward(gates, h_before, candidate, dh, d, d_side);
                }
            }
        }
        let rows = now * b * width..(now + 1) * b * width;
        let side = if gru { &d_recurrent[rows] } else { &d_gates[rows] };
        multiply(dh, Matrix::new(side, b, width), recurrent.t(), Existing::Add);
        for row in (0..b).filter(|row| mask.reset(now * b + row)) {
            dh[row * u..(row + 1) * u].fill(F::ZERO);
            dc[row * u..(row + 1) * u].fill(F::ZERO);
        }
    }
    let steps = t * b;
    let side: &[F] = if gru { d_recurrent } else { d_gates };
    let d_gates_matrix = Matrix::new(d_gates, steps, width);
    multiply(gradients.kernel, Matrix::new(x, steps, shape.inputs).t(), d_gates_matrix, Existing::Add);
    let h_before = Matrix::new(&trace.h_before, steps, u);
    multiply(gradients.recurrent, h_before.t(), Matrix::new(side, steps, width), Existing::Add);
    let (input_bias, recurrent_bias) = gradients.bias.split_at_mut(width);
    add_rows(input_bias, d_gates);
    if !recurrent_bias.is_empty() {
        add_rows(recurrent_bias, side);
    }
    if !dx.is_empty() {
        multiply(dx, d_gates_matrix, Matrix::new(weights.kernel, shape.inputs, width).t(), Existing::Replace);
    }
}

/// Adds all rows of `values` to `sums`.
pub fn add_rows<F: Float>(sums: &mut [F], values: &[F]) {
    for row in values.chunks_exact(sums.len()) {
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += *value);
    }
}
