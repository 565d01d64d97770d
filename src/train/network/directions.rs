//! A layer in both directions of time, and what is made of a sequence: its last state, or the mean of its steps.
//!
//! Lives here: turning rows around, side by side, and their gradients back. Must not live here: one direction
//! (`kernel::recurrent`). Steps of a row come first, what is padding after them.

use crate::kernel::float::Float;
use crate::kernel::recurrent::{self, Gradients, Mask, Scratch, Sequence, Trace};
use crate::kernel::threads::Threads;
use crate::network::Pool;

/// What a layer needs beside its trace for the second direction, and for pooling.
#[derive(Debug, Clone, Default)]
pub struct Directions<F> {
    /// The input turned around, row by row.
    x: Vec<F>,
    /// Of the second direction, in its own time.
    trace: Trace<F>,
    /// What the layer gives, where that isn't the output of its first direction: [T, B, 2u], or pooled [B, width].
    pub output: Vec<F>,
    /// Gradients of the output of each direction, in its own time.
    d: [Vec<F>; 2],
    /// Gradient of the turned input.
    dx: Vec<F>,
}

/// Steps of each row.
fn lengths(mask: Mask<'_>, t: usize, b: usize) -> Vec<usize> {
    (0..b).map(|row| (0..t).filter(|at| mask.active(at * b + row)).count()).collect()
}

/// Adds each row's steps in the other order, `width` numbers a step, to those of `to`.
fn turn<F: Float>(from: &[F], to: &mut [F], lengths: &[usize], width: usize) {
    let b = lengths.len();
    for (row, length) in lengths.iter().enumerate() {
        for at in 0..*length {
            let from = &from[(at * b + row) * width..][..width];
            let to = &mut to[((length - 1 - at) * b + row) * width..][..width];
            to.iter_mut().zip(from).for_each(|(to, from)| *to += *from);
        }
    }
}

fn zeros<F: Float>(values: &mut Vec<F>, len: usize) -> &mut [F] {
    values.clear();
    values.resize(len, F::ZERO);
    values
}

impl<F: Float> Directions<F> {
    /// Runs the second direction of a layer, whose numbers `second` has, over the input of the first.
    pub fn forward(&mut self, threads: &Threads, second: Sequence<'_, F>) {
        let Sequence { t, b, x, inputs, units, mask, .. } = second;
        turn(x, zeros(&mut self.x, t * b * inputs), &lengths(mask, t, b), inputs);
        let states = second.cell.form().states.len() - 1;
        let (mut h, mut c) = (vec![F::ZERO; b * units], vec![F::ZERO; states * b * units]);
        recurrent::forward(threads, turned(second, &self.x), &mut h, &mut c, &mut self.trace);
    }

    /// Makes the layer's output of that of its first direction: for the top layer with `pool`, else both side by side.
    pub fn join(&mut self, first: Sequence<'_, F>, output: &[F], both: bool, pool: Pool) {
        let Sequence { t, b, units: u, mask, .. } = first;
        let lengths = lengths(mask, t, b);
        let parts: Vec<&[F]> = std::iter::once(output).chain(both.then_some(&self.trace.output[..])).collect();
        let width = parts.len() * u;
        self.output.clear();
        self.output.resize(if pool.is_none() { t * b } else { b } * width, F::ZERO);
        for (part, from) in parts.into_iter().enumerate() {
            for (row, length) in lengths.iter().enumerate() {
                let share = F::from_f64(1.0 / (*length).max(1) as f64);
                for at in 0..*length {
                    let from = &from[(at * b + row) * u..][..u];
                    let to = match (pool, part) {
                        (Pool::None, 0) => at * b + row,
                        (Pool::None, _) => (length - 1 - at) * b + row,
                        (Pool::Last, _) if at + 1 < *length => continue,
                        _ => row,
                    };
                    let to = &mut self.output[to * width + part * u..][..u];
                    match pool {
                        Pool::Mean => to.iter_mut().zip(from).for_each(|(to, from)| *to += *from * share),
                        Pool::None | Pool::Last => to.copy_from_slice(from),
                    }
                }
            }
        }
    }

    /// Takes the gradient of what [`Directions::join`] made apart: that of the first direction's output.
    pub fn part(&mut self, first: Sequence<'_, F>, d: &[F], both: bool, pool: Pool) -> &[F] {
        let Sequence { t, b, units: u, mask, .. } = first;
        let lengths = lengths(mask, t, b);
        let width = if both { 2 * u } else { u };
        for (part, to) in self.d.iter_mut().enumerate().take(width / u) {
            zeros(to, t * b * u);
            for (row, length) in lengths.iter().enumerate() {
                let share = F::from_f64(1.0 / (*length).max(1) as f64);
                for at in 0..*length {
                    let from = match (pool, part) {
                        (Pool::None, 0) => at * b + row,
                        (Pool::None, _) => (length - 1 - at) * b + row,
                        (Pool::Last, _) if at + 1 < *length => continue,
                        _ => row,
                    };
                    let from = &d[from * width + part * u..][..u];
                    let to = &mut to[(at * b + row) * u..][..u];
                    match pool {
                        Pool::Mean => to.iter_mut().zip(from).for_each(|(to, from)| *to = *from * share),
                        Pool::None | Pool::Last => to.copy_from_slice(from),
                    }
                }
            }
        }
        &self.d[0]
    }

    /// Adds the gradients of the second direction's numbers, and to `dx` (unless it is empty) that of the input.
    pub fn backward(
        &mut self,
        threads: &Threads,
        second: Sequence<'_, F>,
        gradients: Gradients<'_, F>,
        dx: &mut [F],
        scratch: &mut Scratch<F>,
    ) {
        let Sequence { t, b, inputs, mask, .. } = second;
        zeros(&mut self.dx, dx.len());
        let sequence = turned(second, &self.x);
        recurrent::backward(threads, sequence, &self.trace, &self.d[1], gradients, &mut self.dx, scratch);
        if !dx.is_empty() {
            turn(&self.dx, dx, &lengths(mask, t, b), inputs);
        }
    }
}

/// The second direction in its own time, in which it begins from zero state.
fn turned<'a, F>(second: Sequence<'a, F>, x: &'a [F]) -> Sequence<'a, F> {
    Sequence { x, mask: Mask { reset: &[], active: second.mask.active }, ..second }
}
