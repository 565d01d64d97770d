//! Segments of the outputs, decoded side by side by their positions (SegRNN, Lin et al. 2023): from the state of the
//! last recurrent layer after a window, one more step of the same cell for each of them.
//!
//! Lives here: that step as a batch of its own, one row for each segment of each lane, and its gradients back into the
//! window. Rows are segment by segment, [segments, B], so that a dropout mask [B, …] is shared by the segments of a
//! lane as by timesteps. Must not live here: what is made of a segment's state (the layers above).

use super::{LayerRange, Network, Pass};
use crate::kernel::float::Float;
use crate::kernel::recurrent::{self, Gradients, Mask, Scratch, Sequence, Trace};
use crate::kernel::threads::Threads;
use crate::network::RecurrentLayer;

/// What the step leaves for the backward pass.
#[derive(Debug, Clone, Default)]
pub struct Decoding<F> {
    /// Vectors of the positions, and those of ids beside them [segments, B, inputs].
    x: Vec<F>,
    /// State of each segment before the step, which becomes that after it [segments, B, u], [segments, B, …].
    state: [Vec<F>; 2],
    /// Gradients of the state before the step.
    d_state: [Vec<F>; 2],
    /// Mask of the hidden state [segments, B, u]; empty: there is none.
    dropout: Vec<F>,
    trace: Trace<F>,
    /// Gradient of `x`.
    dx: Vec<F>,
    /// Gradients of the layer's numbers of one of its two passes.
    added: Vec<F>,
    /// Outputs in the order of segments, or their gradients.
    pub segments: Vec<F>,
}

impl<F: Float> Decoding<F> {
    /// The state of each segment [segments, B, u], by a step from `h` and `c`, into `output`.
    pub fn forward(
        &mut self,
        threads: &Threads,
        step: Step<'_, F>,
        h: &[F],
        c: &[F],
        by_rows: bool,
        into: &mut Vec<F>,
    ) {
        let segments = step.network.shape.segments;
        let [h_all, c_all] = &mut self.state;
        for (all, one) in [(&mut *h_all, h), (&mut *c_all, c), (&mut self.dropout, step.dropout)] {
            all.clear();
            (0..segments).for_each(|_| all.extend_from_slice(one));
        }
        step.inputs(&mut self.x);
        self.trace.by_rows = by_rows;
        recurrent::forward(threads, step.sequence(&self.x, &self.dropout), h_all, c_all, &mut self.trace);
        std::mem::swap(&mut self.trace.output, into);
    }

    /// From the gradients `d` of what `forward` gave: adds those of positions and ids to `gradients`, puts those of the
    /// layer's numbers into `self`, of its last hidden state into `d` [B, u], and of its other states into `scratch`.
    pub fn backward(
        &mut self,
        threads: &Threads,
        step: Step<'_, F>,
        d: &mut Vec<F>,
        scratch: &mut Scratch<F>,
        gradients: &mut [F],
    ) {
        let Step { network, range, pass, .. } = step;
        let (segments, norms) = (network.shape.segments, scratch.norms.take());
        self.dx.resize(self.x.len(), F::ZERO);
        self.added.resize(network.numbers_of(range).len(), F::ZERO);
        scratch.ends.before = Some(std::mem::take(&mut self.d_state));
        let into = network.gradients_of(range, &mut self.added);
        let sequence = step.sequence(&self.x, &self.dropout);
        recurrent::backward(threads, sequence, &self.trace, d, into, &mut self.dx, scratch);
        self.d_state = scratch.ends.before.take().unwrap_or_default();
        let [h, c] = &self.d_state;
        sum_up(h, segments, d);
        sum_up(c, segments, &mut scratch.ends.after);
        scratch.norms = norms;
        step.add_to_tables(&self.dx, pass, gradients);
    }

    /// Adds the gradients that the backward pass has put aside to those of the window.
    pub fn add(&self, gradients: &mut [F]) {
        gradients.iter_mut().zip(&self.added).for_each(|(gradient, added)| *gradient += *added);
    }
}

/// The sum of the rows of all segments.
fn sum_up<F: Float>(rows: &[F], segments: usize, sum: &mut Vec<F>) {
    let (first, others) = rows.split_at(rows.len() / segments);
    sum.clear();
    sum.extend_from_slice(first);
    for other in others.chunks_exact(first.len().max(1)) {
        sum.iter_mut().zip(other).for_each(|(sum, value)| *sum += *value);
    }
}

/// The step of a pass.
#[derive(Clone, Copy)]
pub struct Step<'a, F> {
    pub(super) network: &'a Network<F>,
    pub(super) range: &'a LayerRange,
    pub(super) layer: RecurrentLayer,
    /// That of the window, a timestep a row.
    pub(super) pass: Pass<'a, F>,
    /// Mask of the layer's hidden state [B, u].
    pub(super) dropout: &'a [F],
}

impl<'a, F: Float> Step<'a, F> {
    fn sequence<'s>(&self, x: &'s [F], dropout: &'s [F]) -> Sequence<'s, F>
    where
        'a: 's,
    {
        let b = self.network.shape.segments * self.pass.b;
        let pass = Pass { t: 1, b, mask: Mask::default(), ..self.pass };
        let sequence = self.network.direction(self.range.first, self.range, self.layer, pass, x, dropout);
        Sequence { wanted: 0, ..sequence }
    }

    /// What the segments take: the vector of the position, then those of the lane's ids.
    fn inputs(&self, out: &mut Vec<F>) {
        let Step { network, pass, .. } = self;
        let width = network.shape.decoded_width().unwrap_or_default();
        let table = network.tensor(network.after_layers());
        out.clear();
        for position in table.chunks_exact(width.max(1)) {
            for lane in 0..pass.b {
                out.extend_from_slice(position);
                network.put_vectors(*pass, (pass.t - 1) * pass.b + lane, out);
            }
        }
    }

    /// Adds gradients of what the segments take to the rows of the tables.
    fn add_to_tables(&self, dx: &[F], pass: Pass<'_, F>, gradients: &mut [F]) {
        let network = self.network;
        let width = network.shape.decoded_width().unwrap_or_default();
        let table = network.tensors[network.after_layers()].range.clone();
        for (at, d) in dx.chunks_exact(self.range.inputs).enumerate() {
            let (position, vectors) = d.split_at(width);
            let row = &mut gradients[table.clone()][at / pass.b * width..][..width];
            row.iter_mut().zip(position).for_each(|(to, d)| *to += *d);
            network.add_to_vectors(pass, (pass.t - 1) * pass.b + at % pass.b, vectors, gradients);
        }
    }
}

impl<F: Float> Network<F> {
    /// Index of the first tensor after those of the layers: the positions where segments are decoded, else the first
    /// embedding or what comes after.
    pub(super) fn after_layers(&self) -> usize {
        self.embeddings - usize::from(self.shape.segments > 0)
    }

    /// Turns outputs of segments [segments, B, quantiles, rest] into [B, quantiles, segments, rest], or back.
    pub(super) fn in_order(&self, b: usize, from: &[F], into: &mut Vec<F>, back: bool) {
        let (segments, quantiles) = (self.shape.segments, self.shape.quantiles.len().max(1));
        let width = self.shape.output_width() / quantiles;
        into.resize(from.len(), F::ZERO);
        for segment in 0..segments {
            for lane in 0..b {
                for quantile in 0..quantiles {
                    let decoded = ((segment * b + lane) * quantiles + quantile) * width;
                    let ordered = ((lane * quantiles + quantile) * segments + segment) * width;
                    let (at, of) = if back { (decoded, ordered) } else { (ordered, decoded) };
                    into[at..at + width].copy_from_slice(&from[of..of + width]);
                }
            }
        }
    }

    /// Where a recurrent layer of one direction has its numbers.
    pub(super) fn numbers_of(&self, range: &LayerRange) -> std::ops::Range<usize> {
        let last = range.first + range.layer.tensors(range.inputs).len() - 1;
        self.tensors[range.first].range.start..self.tensors[last].range.end
    }

    /// The gradients of a recurrent layer's numbers, which follow each other in `own`.
    fn gradients_of<'g>(&self, range: &LayerRange, own: &'g mut [F]) -> Gradients<'g, F> {
        let size = |tensor: usize| self.tensors[range.first + tensor].range.len();
        let has_recurrent =
            matches!(range.layer, crate::network::Layer::Recurrent(layer) if layer.cell.form().recurrent_kernel);
        let (kernel, rest) = own.split_at_mut(size(0));
        let (recurrent, bias) = rest.split_at_mut(if has_recurrent { size(1) } else { 0 });
        Gradients { kernel, recurrent, bias }
    }
}
