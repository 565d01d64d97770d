//! One recurrent layer over time, forward and backward, whatever its cell.
//!
//! Most cells run in the form of `lanes`, sixteen rows at once. Here is the form of any other: the input's part of all
//! timesteps is one matrix product, the recurrent part one per step; what is elementwise is in the file of each cell.
//! Arrays are time-major [T, B, width]; gate blocks have the order of [`super::cell::Form::gates`]. Must not live here:
//! formulas of a cell.

use super::CellKind;
use super::cell::{Backward, Cell, Forward};
use super::float::Float;
use super::gemm::{Existing, Matrix, add_rows, multiply, multiply_rows};
use super::lanes::{self, Isa, LaneScratch, LaneTrace};
use super::threads::Threads;

/// A layer's numbers; [`CellKind::tensors`] says what each is.
#[derive(Debug, Clone, Copy)]
pub struct Weights<'a, F> {
    /// [inputs, g·u]
    pub kernel: &'a [F],
    /// [u, g·u]; empty for a cell without one.
    pub recurrent: &'a [F],
    /// [g·u] or [2, g·u], followed by the tensors that are the cell's own.
    pub bias: &'a [F],
}

/// Gradients of a layer's numbers; replaced.
#[derive(Debug)]
pub struct Gradients<'a, F> {
    /// As [`Weights::kernel`].
    pub kernel: &'a mut [F],
    /// As [`Weights::recurrent`].
    pub recurrent: &'a mut [F],
    /// As [`Weights::bias`].
    pub bias: &'a mut [F],
}

/// Which cells of [T, B] are steps, and which restart; empty slices: all are steps and none restarts.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mask<'a> {
    /// State is zero before this step.
    pub reset: &'a [bool],
    /// There is a step; where not, the state passes through.
    pub active: &'a [bool],
}

impl Mask<'_> {
    /// Whether state is zero before the step at a place of [T, B].
    pub(crate) fn reset(&self, at: usize) -> bool {
        self.reset.get(at).copied().unwrap_or(false)
    }

    /// Whether there is a step.
    pub(crate) fn active(&self, at: usize) -> bool {
        self.active.get(at).copied().unwrap_or(true)
    }
}

/// A layer, its numbers and the sequence that it is run over.
#[derive(Debug, Clone, Copy)]
pub struct Sequence<'a, F> {
    /// The layer's cell.
    pub cell: CellKind,
    /// Width of its input.
    pub inputs: usize,
    /// Its width u.
    pub units: usize,
    /// Its numbers.
    pub weights: Weights<'a, F>,
    /// Its input [t, b, inputs].
    pub x: &'a [F],
    /// Timesteps.
    pub t: usize,
    /// Rows of a timestep.
    pub b: usize,
    /// Which cells are steps and which start from zero.
    pub mask: Mask<'a>,
    /// What the hidden state [b, u] is multiplied by before the recurrent kernel, the same at each timestep; empty: it
    /// isn't.
    pub dropout: &'a [F],
    /// The first timestep whose output is wanted.
    pub wanted: usize,
}

impl<F> Sequence<'_, F> {
    /// Whether it runs in the form of `lanes`, which has no dropout.
    fn has_lanes(&self) -> bool {
        self.dropout.is_empty() && lanes::serves(self.cell)
    }
}

/// What a forward pass leaves for the backward pass.
#[derive(Debug, Clone, Default)]
pub struct Trace<F> {
    /// The layer's output: its hidden state after each step [T, B, u]; arbitrary before the first that is wanted.
    pub output: Vec<F>,
    /// Hidden state before each step, after resets [T, B, u].
    h_before: Vec<F>,
    /// The other states before each step, after resets [T, B, (states - 1)·u].
    c_before: Vec<F>,
    /// Gates after activation [T, B, g·u].
    gates: Vec<F>,
    /// What the cell keeps of each step [T, B, kept·u].
    kept: Vec<F>,
    /// The recurrent part of the gates of one step [B, g·u], if it is apart.
    recurrent: Vec<F>,
    /// The hidden state before a step [B, u] after dropout, if there is any.
    dropped: Vec<F>,
    /// All of it but the output, of layers in the form of `lanes`.
    lanes: LaneTrace<F>,
    /// Row by row, also cells that have the form of `lanes`: for [`Trace::gates`] and [`Scratch::norms`].
    pub by_rows: bool,
}

impl<F: Float> Trace<F> {
    /// Gates after activation, [T, B, g·u]; only [`Trace::by_rows`].
    pub fn gates(&self) -> &[F] {
        &self.gates
    }
}

/// Widths of what a layer's cell has.
struct Widths {
    /// All gates.
    gates: usize,
    /// The states besides the hidden one.
    c: usize,
    kept: usize,
    /// The recurrent part, 0 if it isn't apart.
    recurrent: usize,
    /// What the cell has of its own, with the bias; 0 if it has nothing.
    own: usize,
}

impl Widths {
    fn new<F: Float>(cell: &dyn Cell<F>, u: usize) -> Self {
        let form = cell.form();
        let gates = form.gates.len() * u;
        let recurrent = if form.recurrent_apart { gates } else { 0 };
        let own: usize = form.own.iter().map(|own| own.blocks * u).sum();
        let own = if own > 0 { gates + own } else { 0 };
        Widths { gates, c: (form.states.len() - 1) * u, kept: form.kept * u, recurrent, own }
    }
}

/// Runs all steps of a layer; `h` [b, u] and `c` [b, (states - 1)·u] are the state before and become that after.
pub fn forward<F: Float>(threads: &Threads, layer: Sequence<'_, F>, h: &mut [F], c: &mut [F], trace: &mut Trace<F>) {
    if layer.has_lanes() && !trace.by_rows {
        trace.output.resize(layer.t * layer.b * layer.units, F::ZERO);
        return lanes::forward((Isa::best(), threads), layer, (h, c), &mut trace.lanes, &mut trace.output);
    }
    forward_rows(layer, h, c, trace);
}

/// The form of any cell: row by row.
pub(super) fn forward_rows<F: Float>(layer: Sequence<'_, F>, h: &mut [F], c: &mut [F], trace: &mut Trace<F>) {
    let Sequence { inputs, units: u, weights, x, t, b, mask, .. } = layer;
    let cell = layer.cell.cell::<F>();
    let width = Widths::new(cell, u);
    trace.output.resize(t * b * u, F::ZERO);
    trace.h_before.resize(t * b * u, F::ZERO);
    trace.c_before.resize(t * b * width.c, F::ZERO);
    trace.gates.resize(t * b * width.gates, F::ZERO);
    trace.kept.resize(t * b * width.kept, F::ZERO);
    trace.recurrent.resize(b * width.recurrent, F::ZERO);
    let apart = width.recurrent > 0;

    let gates = &mut trace.gates;
    // A bias that is the cell's own is not in the gates.
    let (own, bias) = weights.bias.split_at(width.own);
    let (input_bias, recurrent_bias) = bias.split_at(width.gates.min(bias.len()));
    if width.own > 0 {
        gates.fill(F::ZERO);
    } else {
        for row in gates.chunks_exact_mut(width.gates) {
            row.copy_from_slice(input_bias);
            // A recurrent part that is apart brings its own bias.
            if !apart {
                row.iter_mut().zip(recurrent_bias).for_each(|(gate, bias)| *gate += *bias);
            }
        }
    }
    let kernel = Matrix::new(weights.kernel, inputs, width.gates);
    multiply_rows(gates, Matrix::new(x, t * b, inputs), kernel, Existing::Add);

    let recurrent = Matrix::new(weights.recurrent, weights.recurrent.len() / width.gates, width.gates);
    for now in 0..t {
        for row in (0..b).filter(|row| mask.reset(now * b + row)) {
            block(h, row, u).fill(F::ZERO);
            block(c, row, width.c).fill(F::ZERO);
        }
        let all = now * b * u..(now + 1) * b * u;
        trace.h_before[all.clone()].copy_from_slice(h);
        trace.c_before[now * b * width.c..(now + 1) * b * width.c].copy_from_slice(c);
        let seen = masked(h, layer.dropout, &mut trace.dropped);
        if apart {
            match recurrent_bias {
                [] => trace.recurrent.fill(F::ZERO),
                bias => trace.recurrent.chunks_exact_mut(width.gates).for_each(|row| row.copy_from_slice(bias)),
            }
            multiply_rows(&mut trace.recurrent, Matrix::new(seen, b, u), recurrent, Existing::Add);
        } else if !weights.recurrent.is_empty() {
            multiply_rows(&mut gates[now * b * width.gates..], Matrix::new(seen, b, u), recurrent, Existing::Add);
        }
        for row in (0..b).filter(|row| mask.active(now * b + row)) {
            cell.forward(Forward {
                gates: block(gates, now * b + row, width.gates),
                recurrent: &trace.recurrent[row * width.recurrent..][..width.recurrent],
                own,
                h: block(h, row, u),
                c: block(c, row, width.c),
                kept: block(&mut trace.kept, now * b + row, width.kept),
            });
        }
        trace.output[all].copy_from_slice(h);
    }
}

/// Rows [.., b, u] times a mask [b, u], in `room`; themselves without one.
fn masked<'a, F: Float>(rows: &'a [F], mask: &[F], room: &'a mut Vec<F>) -> &'a [F] {
    if mask.is_empty() {
        return rows;
    }
    room.clear();
    room.extend(rows.iter().zip(mask.iter().cycle()).map(|(value, mask)| *value * *mask));
    room
}

/// The `at`-th block of `width` numbers.
fn block<F>(values: &mut [F], at: usize, width: usize) -> &mut [F] {
    &mut values[at * width..][..width]
}

/// Gradients of the states at both ends of a pass. By default nothing goes on after it but its outputs, and what came
/// before is a constant.
#[derive(Debug, Clone, Default)]
pub struct Ends<F> {
    /// Of the states besides the hidden one after the last step [B, (states - 1)·u]; empty: zero. Taken.
    pub after: Vec<F>,
    /// Where it is asked for, what the pass finds of the hidden state [B, u] and of the others before the first step.
    pub before: Option<[Vec<F>; 2]>,
}

/// Scratch of the backward pass.
#[derive(Debug, Clone, Default)]
pub struct Scratch<F> {
    /// Gradient of the gates before activation, input's side [T, B, g·u].
    gates: Vec<F>,
    /// The same, recurrent side, if that is apart (elsewhere they are equal).
    recurrent: Vec<F>,
    dh: Vec<F>,
    dc: Vec<F>,
    /// Where it is asked for, [`Trace::by_rows`]: the norm of the gradient of the hidden state after each step, the
    /// last step first.
    pub norms: Option<Vec<f64>>,
    /// What goes on after the last step, and what came before the first.
    pub ends: Ends<F>,
    /// Numbers of the hidden state that dropout changes.
    dropped: Vec<F>,
    /// All of it, of layers in the form of `lanes`.
    lanes: LaneScratch<F>,
}

/// Writes the gradients of `t` steps into `gradients`, and those of the layer's input to `dx` [t, b, inputs] unless
/// it is empty. `dh_out` are the gradients of the layer's output: [t, b, u], or of its last timesteps. What came before
/// the first step is a constant: truncated backpropagation through time (Williams and Peng 1990), unless
/// [`Scratch::ends`] asks for more.
pub fn backward<F: Float>(
    threads: &Threads,
    layer: Sequence<'_, F>,
    trace: &Trace<F>,
    dh_out: &[F],
    gradients: Gradients<'_, F>,
    dx: &mut [F],
    scratch: &mut Scratch<F>,
) {
    if layer.has_lanes() && !trace.by_rows {
        let how = (Isa::best(), threads);
        let ends = &mut scratch.ends;
        return lanes::backward(how, layer, &trace.lanes, (dh_out, ends), gradients, dx, &mut scratch.lanes);
    }
    backward_rows(layer, trace, dh_out, gradients, dx, scratch);
}

/// The form of any cell: row by row.
pub(super) fn backward_rows<F: Float>(
    layer: Sequence<'_, F>,
    trace: &Trace<F>,
    dh_out: &[F],
    gradients: Gradients<'_, F>,
    dx: &mut [F],
    scratch: &mut Scratch<F>,
) {
    let Sequence { inputs, units: u, weights, x, t, b, mask, .. } = layer;
    let cell = layer.cell.cell::<F>();
    let width = Widths::new(cell, u);
    let apart = width.recurrent > 0;
    scratch.gates.resize(t * b * width.gates, F::ZERO);
    scratch.recurrent.resize(t * b * width.recurrent, F::ZERO);
    for (buffer, width) in [(&mut scratch.dh, u), (&mut scratch.dc, width.c)] {
        buffer.clear();
        buffer.resize(b * width, F::ZERO);
    }
    for gradient in [&mut *gradients.kernel, gradients.recurrent, gradients.bias] {
        gradient.fill(F::ZERO);
    }
    let Scratch { gates: d_gates, recurrent: d_recurrent, dh, dc, norms, ends, dropped, .. } = scratch;
    dc.iter_mut().zip(ends.after.drain(..)).for_each(|(dc, after)| *dc = after);
    let own = &weights.bias[..width.own];
    let recurrent = Matrix::new(weights.recurrent, weights.recurrent.len() / width.gates, width.gates);
    let without_output = t - dh_out.len() / (b * u).max(1);
    for now in (0..t).rev() {
        if now >= without_output {
            let out = &dh_out[(now - without_output) * b * u..];
            dh.iter_mut().zip(out).for_each(|(dh, out)| *dh += *out);
        }
        if let Some(norms) = norms {
            norms.push(dh.iter().map(|value| value.to_f64() * value.to_f64()).sum::<f64>().sqrt());
        }
        for row in 0..b {
            let at = now * b + row;
            let dh = block(dh, row, u);
            let d_gates = block(d_gates, at, width.gates);
            let d_recurrent = block(d_recurrent, at, width.recurrent);
            if !mask.active(at) {
                // Of zero gates dh passes through unchanged.
                d_gates.fill(F::ZERO);
                d_recurrent.fill(F::ZERO);
                continue;
            }
            cell.backward(Backward {
                gates: &trace.gates[at * width.gates..][..width.gates],
                h: &trace.h_before[at * u..][..u],
                c: &trace.c_before[at * width.c..][..width.c],
                kept: &trace.kept[at * width.kept..][..width.kept],
                dh,
                dc: block(dc, row, width.c),
                d_gates,
                d_recurrent,
                own,
                d_own: &mut gradients.bias[..width.own],
            });
        }
        let rows = now * b * width.gates..(now + 1) * b * width.gates;
        let side = if apart { &d_recurrent[rows] } else { &d_gates[rows] };
        let side = Matrix::new(side, b, width.gates);
        if weights.recurrent.is_empty() {
            // The gates see the input alone.
        } else if layer.dropout.is_empty() {
            multiply(dh, side, recurrent.t(), Existing::Add);
        } else {
            dropped.resize(b * u, F::ZERO);
            multiply(dropped, side, recurrent.t(), Existing::Replace);
            let through = dropped.iter().zip(layer.dropout);
            dh.iter_mut().zip(through).for_each(|(dh, (value, mask))| *dh += *value * *mask);
        }
        for row in (0..b).filter(|row| mask.reset(now * b + row)) {
            block(dh, row, u).fill(F::ZERO);
            block(dc, row, width.c).fill(F::ZERO);
        }
    }
    if let Some(before) = &mut ends.before {
        before[0].clone_from(dh);
        before[1].clone_from(dc);
    }
    let steps = t * b;
    let side: &[F] = if apart { d_recurrent } else { d_gates };
    let d_gates_matrix = Matrix::new(d_gates, steps, width.gates);
    multiply(gradients.kernel, Matrix::new(x, steps, inputs).t(), d_gates_matrix, Existing::Add);
    let h_before = Matrix::new(masked(&trace.h_before, layer.dropout, dropped), steps, u);
    if !weights.recurrent.is_empty() {
        multiply(gradients.recurrent, h_before.t(), Matrix::new(side, steps, width.gates), Existing::Add);
    }
    if width.own == 0 {
        let (input_bias, recurrent_bias) = gradients.bias.split_at_mut(width.gates);
        add_rows(input_bias, d_gates);
        if !recurrent_bias.is_empty() {
            add_rows(recurrent_bias, side);
        }
    }
    if !dx.is_empty() {
        multiply(dx, d_gates_matrix, Matrix::new(weights.kernel, inputs, width.gates).t(), Existing::Replace);
    }
}
