//! One recurrent layer over time, forward and backward.
//!
//! Formulas are those of Keras (and of Hochreiter and Schmidhuber 1997 with Gers et al. 2000 for the LSTM, Cho et al.
//! 2014 in the `reset_after` form for the GRU). The input's part of all timesteps is one matrix product, the recurrent
//! part one per step. Arrays are time-major [T, B, width]; gate blocks stand in Keras' order (i f c o; z r h).

// One index into many blocks of one length: with `zip` the formulas couldn't be read any more.
#![allow(clippy::needless_range_loop)]

use super::float::{Float, Matrix, Output, multiply, multiply_rows};
use crate::model::{CellKind, RecurrentLayer};

/// Shape of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Width of its input.
    pub inputs: usize,
    /// The layer.
    pub layer: RecurrentLayer,
}

/// A layer's numbers, as [`crate::model::Tensor`] describes them.
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

    fn active(&self, at: usize) -> bool {
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
    /// Scratch of one step [B, g·u].
    step: Vec<F>,
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
    }
    trace.gates.resize(t * b * width, F::ZERO);
    trace.step.resize(b * width, F::ZERO);

    let gates = &mut trace.gates;
    let (input_bias, recurrent_bias) = weights.bias.split_at(width);
    for row in gates.chunks_exact_mut(width) {
        row.copy_from_slice(input_bias);
        // A GRU's recurrent bias stands inside the reset gate's product and is added there.
        if cell != CellKind::Gru {
            row.iter_mut().zip(recurrent_bias).for_each(|(gate, bias)| *gate += *bias);
        }
    }
    multiply_rows(
        gates,
        Matrix::new(x, t * b, shape.inputs),
        Matrix::new(weights.kernel, shape.inputs, width),
        Output::Add,
    );

    for step in 0..t {
        for row in 0..b {
            if mask.reset(step * b + row) {
                h[row * u..(row + 1) * u].fill(F::ZERO);
                if cell == CellKind::Lstm {
                    c[row * u..(row + 1) * u].fill(F::ZERO);
                }
            }
        }
        let all = step * b * u..(step + 1) * b * u;
        trace.h_before[all.clone()].copy_from_slice(h);
        let recurrent = &mut trace.step;
        multiply_rows(recurrent, Matrix::new(h, b, u), Matrix::new(weights.recurrent, u, width), Output::Replace);
        if cell == CellKind::Lstm {
            trace.c_before[all.clone()].copy_from_slice(c);
        }
        for row in 0..b {
            if !mask.active(step * b + row) {
                continue;
            }
            let gates = &mut gates[(step * b + row) * width..(step * b + row + 1) * width];
            let recurrent = &mut recurrent[row * width..(row + 1) * width];
            let h = &mut h[row * u..][..u];
            let at = (step * b + row) * u..(step * b + row + 1) * u;
            match cell {
                CellKind::RnnTanh | CellKind::RnnRelu => {
                    add_rows(gates, recurrent);
                    if cell == CellKind::RnnTanh {
                        gates.iter_mut().for_each(|a| *a = a.tanh());
                    } else {
                        gates.iter_mut().for_each(|a| *a = relu(*a));
                    }
                    h.copy_from_slice(gates);
                }
                CellKind::Lstm => {
                    add_rows(gates, recurrent);
                    gates[..2 * u].iter_mut().for_each(|a| *a = a.sigmoid());
                    gates[2 * u..3 * u].iter_mut().for_each(|a| *a = a.tanh());
                    gates[3 * u..].iter_mut().for_each(|a| *a = a.sigmoid());
                    let [i, f, g, o] = blocks(gates, u);
                    let c = &mut c[row * u..][..u];
                    let c_tanh = &mut trace.c_tanh[at][..u];
                    for j in 0..u {
                        c[j] = f[j] * c[j] + i[j] * g[j];
                        c_tanh[j] = c[j].tanh();
                        h[j] = o[j] * c_tanh[j];
                    }
                }
                CellKind::Gru => {
                    add_rows(recurrent, recurrent_bias);
                    let candidate = &mut trace.candidate[at][..u];
                    candidate.copy_from_slice(&recurrent[2 * u..]);
                    add_rows(&mut gates[..2 * u], &recurrent[..2 * u]);
                    gates[..2 * u].iter_mut().for_each(|a| *a = a.sigmoid());
                    let (zr, hh) = gates.split_at_mut(2 * u);
                    let [z, r] = blocks(zr, u);
                    let hh = &mut hh[..u];
                    for j in 0..u {
                        hh[j] = (hh[j] + r[j] * candidate[j]).tanh();
                        h[j] = z[j] * h[j] + (F::ONE - z[j]) * hh[j];
                    }
                }
            }
        }
        trace.h[all].copy_from_slice(h);
    }
}

/// Blocks of `u`, of a length that the compiler knows to be the same.
fn blocks<F, const N: usize>(values: &[F], u: usize) -> [&[F]; N] {
    std::array::from_fn(|block| &values[block * u..][..u])
}

/// As [`blocks`], to write to.
fn blocks_mut<F, const N: usize>(mut values: &mut [F], u: usize) -> [&mut [F]; N] {
    std::array::from_fn(|_| {
        let (block, rest) = std::mem::take(&mut values).split_at_mut(u);
        values = rest;
        block
    })
}

fn relu<F: Float>(a: F) -> F {
    if a > F::ZERO { a } else { F::ZERO }
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
    scratch.gates.clear();
    scratch.gates.resize(t * b * width, F::ZERO);
    scratch.recurrent.clear();
    scratch.recurrent.resize(if gru { t * b * width } else { 0 }, F::ZERO);
    for buffer in [&mut scratch.dh, &mut scratch.dc] {
        buffer.clear();
        buffer.resize(b * u, F::ZERO);
    }
    let Backward { gates: d_gates, recurrent: d_recurrent, dh, dc } = scratch;
    for step in (0..t).rev() {
        for row in 0..b {
            let cell_at = step * b + row;
            let at = cell_at * u..(cell_at + 1) * u;
            let dh = &mut dh[row * u..][..u];
            dh.iter_mut().zip(&dh_out[at.clone()]).for_each(|(dh, out)| *dh += *out);
            if !mask.active(cell_at) {
                continue;
            }
            let gates = &trace.gates[cell_at * width..(cell_at + 1) * width];
            let d = &mut d_gates[cell_at * width..(cell_at + 1) * width];
            match cell {
                CellKind::RnnTanh => {
                    for j in 0..u {
                        d[j] = dh[j] * (F::ONE - gates[j] * gates[j]);
                        dh[j] = F::ZERO;
                    }
                }
                CellKind::RnnRelu => {
                    for j in 0..u {
                        d[j] = if gates[j] > F::ZERO { dh[j] } else { F::ZERO };
                        dh[j] = F::ZERO;
                    }
                }
                CellKind::Lstm => {
                    let dc = &mut dc[row * u..][..u];
                    let (c_before, c_tanh) = (&trace.c_before[at.clone()][..u], &trace.c_tanh[at][..u]);
                    let [i, f, g, o] = blocks(gates, u);
                    let [d_i, d_f, d_g, d_o] = blocks_mut(d, u);
                    for j in 0..u {
                        let d_cell = dc[j] + dh[j] * o[j] * (F::ONE - c_tanh[j] * c_tanh[j]);
                        d_i[j] = d_cell * g[j] * i[j] * (F::ONE - i[j]);
                        d_f[j] = d_cell * c_before[j] * f[j] * (F::ONE - f[j]);
                        d_g[j] = d_cell * i[j] * (F::ONE - g[j] * g[j]);
                        d_o[j] = dh[j] * c_tanh[j] * o[j] * (F::ONE - o[j]);
                        dc[j] = d_cell * f[j];
                        dh[j] = F::ZERO;
                    }
                }
                CellKind::Gru => {
                    let (h_before, candidate) = (&trace.h_before[at.clone()][..u], &trace.candidate[at][..u]);
                    let side = &mut d_recurrent[cell_at * width..(cell_at + 1) * width];
                    let [z, r, hh] = blocks(gates, u);
                    let [d_z, d_r, d_hh] = blocks_mut(d, u);
                    for j in 0..u {
                        d_hh[j] = dh[j] * (F::ONE - z[j]) * (F::ONE - hh[j] * hh[j]);
                        d_z[j] = dh[j] * (h_before[j] - hh[j]) * z[j] * (F::ONE - z[j]);
                        d_r[j] = d_hh[j] * candidate[j] * r[j] * (F::ONE - r[j]);
                        dh[j] *= z[j];
                    }
                    side.copy_from_slice(d);
                    side[2 * u..].iter_mut().zip(r).for_each(|(d, r)| *d *= *r);
                }
            }
        }
        // Rows without a step have zero gates here, so their dh passes through.
        let rows = step * b * width..(step + 1) * b * width;
        let side = if gru { &d_recurrent[rows] } else { &d_gates[rows] };
        multiply(dh, Matrix::new(side, b, width), Matrix::new(weights.recurrent, u, width).t(), Output::Add);
        for row in 0..b {
            if mask.reset(step * b + row) {
                dh[row * u..(row + 1) * u].fill(F::ZERO);
                dc[row * u..(row + 1) * u].fill(F::ZERO);
            }
        }
    }
    let steps = t * b;
    let side: &[F] = if gru { d_recurrent } else { d_gates };
    let d_gates_matrix = Matrix::new(d_gates, steps, width);
    multiply(gradients.kernel, Matrix::new(x, steps, shape.inputs).t(), d_gates_matrix, Output::Add);
    multiply(
        gradients.recurrent,
        Matrix::new(&trace.h_before, steps, u).t(),
        Matrix::new(side, steps, width),
        Output::Add,
    );
    let (input_bias, recurrent_bias) = gradients.bias.split_at_mut(width);
    add_rows(input_bias, d_gates);
    if !recurrent_bias.is_empty() {
        add_rows(recurrent_bias, side);
    }
    if !dx.is_empty() {
        multiply(dx, d_gates_matrix, Matrix::new(weights.kernel, shape.inputs, width).t(), Output::Replace);
    }
}

/// Adds all rows of `values` to `sums`.
pub fn add_rows<F: Float>(sums: &mut [F], values: &[F]) {
    for row in values.chunks_exact(sums.len()) {
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += *value);
    }
}
