//! A network in memory: its numbers in one flat array, forward, backward.
//!
//! Lives here: how layers, skip path and scaling make the whole that [`Architecture`] describes. Must not live here:
//! the arithmetic of a layer (`kernel`), what is wanted of the outputs (`head`), how numbers change (`optimizer`).

mod begin;
mod decoding;
mod directions;
mod embedded;
mod linear;
mod members;
mod patches;
mod sampled;
mod served;
mod state;
mod steps;
mod tensors;

use std::ops::Range;

use decoding::{Decoding, Step};
use directions::Directions;
pub use state::State;

use super::dropout::{self, Masks};
use crate::kernel::dense::Dense;
use crate::kernel::float::Float;
use crate::kernel::gemm::{Existing, Matrix, multiply};
use crate::kernel::layer_norm::LayerNorm;
use crate::kernel::recurrent::{self, Gradients, Mask, Scratch, Sequence, Trace, Weights};
use crate::kernel::threads::Threads;
use crate::network::{Architecture, DenseLayer, Layer, Pool, RecurrentLayer};

/// A network. Cheap to clone next to what training it costs.
#[derive(Debug, Clone)]
pub struct Network<F> {
    shape: Architecture,
    parameters: Vec<F>,
    tensors: Vec<TensorRange>,
    /// All layers, the output layer last.
    layers: Vec<LayerRange>,
    /// The skip path's kernel, in `tensors`.
    skip: Option<usize>,
    /// The first embedding's table, in `tensors`; the others follow it.
    embeddings: usize,
    /// Whether the skip path is left as it is.
    is_frozen: bool,
    scaling: Statistics<F>,
    /// The members beside this one, with the same scaling; their linear paths don't count.
    others: Vec<Network<F>>,
}

/// A named part of the flat array.
#[derive(Debug, Clone)]
struct TensorRange {
    name: String,
    shape: Vec<usize>,
    range: Range<usize>,
    /// Whether it is a matrix that inputs or states are multiplied by.
    is_kernel: bool,
}

/// A layer, the width of its input, and its tensors, which follow each other from `first` on in the order of
/// [`Layer::tensors`].
#[derive(Debug, Clone, Copy)]
struct LayerRange {
    layer: Layer,
    inputs: usize,
    first: usize,
}

/// What isn't trained: see [`crate::network::Tensor`].
#[derive(Debug, Clone)]
struct Statistics<F> {
    mean: Vec<F>,
    sd: Vec<F>,
    out_mean: Vec<F>,
    out_sd: Vec<F>,
}

/// One batch, time-major.
#[derive(Debug, Clone, Copy)]
pub struct Pass<'a, F> {
    /// Timesteps.
    pub t: usize,
    /// Lanes.
    pub b: usize,
    /// Features [t, b, features].
    pub x: &'a [F],
    /// Which cells restart and which are no step.
    pub mask: Mask<'a>,
    /// The group of each cell's key [t, b]; empty: all are of group 0.
    pub group: &'a [u32],
    /// The ids of each cell, of all embeddings in order [t, b, embeddings]; empty: all are 0.
    pub ids: &'a [u32],
    /// Only the last timestep has outputs: window training. What is pooled has one output in any case.
    pub last_only: bool,
}

/// What a forward pass leaves for the backward pass, and memory that both use again.
#[derive(Debug, Clone, Default)]
pub struct Workspace<F> {
    /// What is dropped in the next pass; by default nothing.
    pub masks: Masks<F>,
    z_network: Vec<F>,
    /// Before they are folded into patches.
    unfolded: Vec<F>,
    z_skip: Vec<F>,
    /// Inputs of the layers that have a mask, after it.
    dropped: Vec<Vec<F>>,
    /// Per layer; of a dense one only the output is used.
    layers: Vec<Trace<F>>,
    /// Of recurrent layers of both directions, and of one that is pooled.
    directions: Vec<Directions<F>>,
    decoding: Decoding<F>,
    d: Vec<F>,
    d_below: Vec<F>,
    scratch: Scratch<F>,
    /// Where it is asked for, [`Scratch::norms`] of each recurrent layer in the last backward pass, the last layer
    /// first.
    pub norms: Option<Vec<Vec<f64>>>,
    /// Keeps what samples of gradients ask for.
    by_rows: bool,
    threads: Threads,
    /// Of the members beside the first.
    others: Vec<Workspace<F>>,
}

impl<F: Default> Workspace<F> {
    /// One for samples of gradients: slower, and keeps what they ask for.
    pub fn for_samples() -> Self {
        Workspace { by_rows: true, ..Workspace::default() }
    }

    /// One whose passes are shared by threads. Results don't depend on how many there are.
    pub fn on(threads: &Threads) -> Self {
        Workspace { threads: threads.clone(), ..Workspace::default() }
    }
}

impl<F: Float> Network<F> {
    /// Sets what isn't trained: mean and standard deviation per feature and per output.
    pub fn set_scaling(&mut self, mean: &[F], sd: &[F], out_mean: &[F], out_sd: &[F]) {
        self.scaling =
            Statistics { mean: mean.to_vec(), sd: sd.to_vec(), out_mean: out_mean.to_vec(), out_sd: out_sd.to_vec() };
        self.share_scaling();
    }

    /// The network's shape.
    pub fn architecture(&self) -> &Architecture {
        &self.shape
    }

    /// All trained numbers of the first member, in the order of [`Network::tensors`].
    pub fn parameters(&self) -> &[F] {
        &self.parameters
    }

    /// All trained numbers of the first member, to change them.
    pub fn parameters_mut(&mut self) -> &mut [F] {
        &mut self.parameters
    }

    /// The numbers of a tensor.
    fn tensor(&self, index: usize) -> &[F] {
        &self.parameters[self.tensors[index].range.clone()]
    }

    fn dense(&self, range: &LayerRange, layer: DenseLayer) -> Dense<'_, F> {
        let (kernel, bias) = (self.tensor(range.first), self.tensor(range.first + 1));
        Dense { inputs: range.inputs, units: layer.units, activation: layer.activation, kernel, bias }
    }

    fn layer_norm(&self, range: &LayerRange) -> LayerNorm<'_, F> {
        LayerNorm { gamma: self.tensor(range.first), beta: self.tensor(range.first + 1) }
    }

    fn sequence<'a>(
        &'a self,
        range: &LayerRange,
        layer: RecurrentLayer,
        pass: Pass<'a, F>,
        x: &'a [F],
        dropout: &'a [F],
    ) -> Sequence<'a, F> {
        self.direction(range.first, range, layer, pass, x, dropout)
    }

    /// A direction of a layer, whose tensors follow each other from `first` on.
    fn direction<'a>(
        &'a self,
        first: usize,
        range: &LayerRange,
        layer: RecurrentLayer,
        pass: Pass<'a, F>,
        x: &'a [F],
        dropout: &'a [F],
    ) -> Sequence<'a, F> {
        let form = layer.cell.form();
        let bias = first + 1 + usize::from(form.recurrent_kernel);
        let end = self.tensors[bias + form.own.len()].range.end;
        let weights = Weights {
            kernel: self.tensor(first),
            recurrent: if form.recurrent_kernel { self.tensor(first + 1) } else { &[] },
            bias: &self.parameters[self.tensors[bias].range.start..end],
        };
        let Pass { t, b, mask, .. } = pass;
        // The layers above the last recurrent one are only run for steps that have outputs.
        let is_last = self.last_recurrent().is_none_or(|last| self.layers[last].first == range.first);
        let is_alone = !layer.bidirectional && self.shape.pool != Pool::Mean;
        let wanted = if is_last && is_alone { t - self.output_steps(pass) } else { 0 };
        Sequence { cell: layer.cell, inputs: range.inputs, units: layer.units, weights, x, t, b, mask, dropout, wanted }
    }

    /// What is made of a layer's output in all its directions; `None`: it stays as it is.
    fn joined(&self, index: usize, layer: RecurrentLayer) -> Option<Pool> {
        let pool = if self.last_recurrent() == Some(index) { self.shape.pool } else { Pool::None };
        // The last state of one direction is its last output: state passes through what is padding.
        (layer.bidirectional || pool == Pool::Mean).then_some(pool)
    }

    /// Standardised outputs [t, b, outputs] (or [b, outputs] if only the last step has them): before `out_sd`,
    /// `out_mean` and what is added unscaled. Advances `state`.
    pub fn forward<'w>(&self, pass: Pass<'_, F>, state: &mut State<F>, work: &'w mut Workspace<F>) -> &'w [F] {
        self.run(pass, state, work);
        self.average(pass, state, work);
        if let Some(skip) = self.skip {
            let first = (pass.t - self.output_steps(pass)) * pass.b;
            self.standardise(pass, first, &self.shape.skip, &mut work.z_skip);
            if let Some(layer) = work.layers.last_mut() {
                self.add_linear(skip, pass, first, &work.z_skip, &mut layer.output);
            }
        }
        work.layers.last().map_or(&[], |layer| &layer.output[..])
    }

    /// Runs the layers of the first member: the outputs are those of the last one in `work`.
    fn run(&self, pass: Pass<'_, F>, state: &mut State<F>, work: &mut Workspace<F>) {
        self.first_inputs(pass, &mut work.z_network);
        self.centre(pass, &mut work.z_network);
        self.fold(pass.t, pass.b, &mut work.z_network, &mut work.unfolded);
        let (window, pass) = (pass, self.of_patches(pass));
        let (t, b) = (pass.t, pass.b);
        let steps = t * b;
        work.layers.resize_with(self.layers.len(), Trace::default);
        work.layers.iter_mut().for_each(|layer| layer.by_rows = work.by_rows);
        work.directions.resize_with(self.layers.len(), Directions::default);
        work.dropped.resize_with(self.layers.len(), Vec::new);
        let last_recurrent = self.last_recurrent();
        let rows_of =
            |i: usize| if last_recurrent.is_some_and(|last| i < last) { steps } else { self.output_rows(pass) };
        let mut recurrent_layers = 0;
        for (i, range) in self.layers.iter().enumerate() {
            let (below, above) = work.layers.split_at_mut(i);
            let (joined_below, directions) = work.directions.split_at_mut(i);
            let x = input_of(&work.z_network, below, joined_below);
            let x = work.masks.of_input(i, x, &mut work.dropped[i]);
            match range.layer {
                Layer::Recurrent(layer) => {
                    let (h, c) = (&mut state.h[recurrent_layers], &mut state.c[recurrent_layers]);
                    let dropout = work.masks.of_state(recurrent_layers);
                    recurrent::forward(
                        &work.threads,
                        self.sequence(range, layer, pass, x, dropout),
                        h,
                        c,
                        &mut above[0],
                    );
                    recurrent_layers += 1;
                    if layer.bidirectional {
                        let second = self.direction(range.first + 3, range, layer, pass, x, dropout);
                        directions[0].forward(&work.threads, second);
                    }
                    if self.is_decoded(i) {
                        let step = Step { network: self, range, layer, pass: window, dropout };
                        let into = &mut directions[0].output;
                        work.decoding.forward(&work.threads, step, h, c, work.by_rows, into);
                    } else if let Some(pool) = self.joined(i, layer) {
                        let sequence = self.sequence(range, layer, pass, x, dropout);
                        directions[0].join(sequence, &above[0].output, layer.bidirectional, pool);
                    }
                }
                Layer::Dense(layer) => {
                    let rows = rows_of(i);
                    let x = &x[x.len() - rows * range.inputs..];
                    self.dense(range, layer).forward(x, rows, &mut above[0].output);
                }
                Layer::LayerNorm(_) => {
                    self.layer_norm(range).forward(&x[x.len() - rows_of(i) * range.inputs..], &mut above[0].output);
                }
            }
        }
        if let Some(last) = work.layers.last_mut().filter(|_| self.shape.segments > 0) {
            std::mem::swap(&mut last.output, &mut work.decoding.segments);
            self.in_order(b, &work.decoding.segments, &mut last.output, false);
        }
    }

    /// Gradients of the trained numbers, into `gradients` (as long as [`Network::parameters`]), for gradients `d_out`
    /// of the standardised outputs of the forward pass that `work` is from. Of a network without further members.
    pub fn backward(&self, pass: Pass<'_, F>, d_out: &[F], work: &mut Workspace<F>, gradients: &mut [F]) {
        self.clear_added(gradients);
        let (window, pass) = (pass, self.of_patches(pass));
        let (t, b) = (pass.t, pass.b);
        let first = (t - self.output_steps(pass)) * b;
        let rows = t * b - first;
        let outputs = self.shape.outputs;
        let Workspace {
            masks,
            z_network,
            z_skip,
            dropped,
            layers,
            directions,
            decoding,
            d,
            d_below,
            scratch,
            norms,
            threads,
            ..
        } = work;
        norms.iter_mut().for_each(Vec::clear);
        d.clear();
        d.extend_from_slice(d_out);
        if let Some(skip) = self.skip.filter(|_| !self.is_frozen) {
            let width = self.shape.skip.len();
            let kernel = &mut gradients[self.tensors[skip].range.clone()];
            multiply(kernel, Matrix::new(z_skip, rows, width).t(), Matrix::new(d, rows, outputs), Existing::Add);
        }
        if self.shape.segments > 0 {
            decoding.segments.clone_from(d);
            self.in_order(b, &decoding.segments, d, true);
        }
        let is_embedded = self.is_embedded();
        let mut recurrent_layers = self.shape.recurrent().count();
        for (i, range) in self.layers.iter().enumerate().rev() {
            let (below, above) = layers.split_at(i);
            let (joined_below, directions) = directions.split_at_mut(i);
            let mask = masks.inputs.get(i).map_or(&[][..], |mask| &mask[..]);
            let x = if mask.is_empty() { input_of(z_network, below, joined_below) } else { &dropped[i] };
            if let Layer::Recurrent(layer) = range.layer
                && self.is_decoded(i)
            {
                let dropout = masks.of_state(recurrent_layers - 1);
                let step = Step { network: self, range, layer, pass: window, dropout };
                decoding.backward(threads, step, d, scratch, gradients);
            }
            let size = |tensor: usize| self.tensors[range.first + tensor].range.len();
            let (_, from) = gradients.split_at_mut(self.tensors[range.first].range.start);
            let (kernel, from) = from.split_at_mut(size(0));
            d_below.clear();
            match range.layer {
                Layer::Recurrent(layer) => {
                    recurrent_layers -= 1;
                    let dropout = masks.of_state(recurrent_layers);
                    if let Some(pool) = self.joined(i, layer).filter(|_| !self.is_decoded(i)) {
                        let sequence = self.sequence(range, layer, pass, x, dropout);
                        let first = directions[0].part(sequence, d, layer.bidirectional, pool).to_vec();
                        d.clear();
                        d.extend_from_slice(&first);
                    }
                    d_below.resize(if i > 0 || is_embedded { t * b * range.inputs } else { 0 }, F::ZERO);
                    let form = layer.cell.form();
                    let rest = 1 + usize::from(form.recurrent_kernel);
                    let (recurrent, from) = from.split_at_mut(if form.recurrent_kernel { size(1) } else { 0 });
                    let (bias, from) = from.split_at_mut((rest..=rest + form.own.len()).map(size).sum());
                    let into = Gradients { kernel, recurrent, bias };
                    scratch.norms = norms.as_ref().map(|_| Vec::new());
                    let sequence = self.sequence(range, layer, pass, x, dropout);
                    recurrent::backward(threads, sequence, &above[0], d, into, d_below, scratch);
                    norms.iter_mut().for_each(|norms| norms.extend(scratch.norms.take()));
                    if layer.bidirectional {
                        let (kernel, from) = from.split_at_mut(size(3));
                        let (recurrent, from) = from.split_at_mut(size(4));
                        let into = Gradients { kernel, recurrent, bias: &mut from[..size(5)] };
                        let second = self.direction(range.first + 3, range, layer, pass, x, dropout);
                        directions[0].backward(threads, second, into, d_below, scratch);
                    }
                }
                Layer::Dense(layer) => {
                    let rows = d.len() / layer.units;
                    d_below.resize(if i > 0 || is_embedded { rows * range.inputs } else { 0 }, F::ZERO);
                    let x = &x[x.len() - rows * range.inputs..];
                    let into = [kernel, &mut from[..size(1)]];
                    self.dense(range, layer).backward(x, rows, &above[0].output, d, into, d_below);
                }
                Layer::LayerNorm(_) => {
                    d_below.resize(if i > 0 || is_embedded { d.len() } else { 0 }, F::ZERO);
                    let into = [kernel, &mut from[..size(1)]];
                    self.layer_norm(range).backward(&x[x.len() - d.len()..], d, into, d_below);
                }
            }
            if self.is_decoded(i) {
                decoding.add(&mut gradients[self.numbers_of(range)]);
            }
            dropout::apply(d_below, mask);
            std::mem::swap(d, d_below);
        }
        self.add_to_embeddings(pass, d, gradients);
    }
}

/// The input of a layer: what the one below it made, in all its directions.
fn input_of<'a, F>(z: &'a [F], below: &'a [Trace<F>], joined: &'a [Directions<F>]) -> &'a [F] {
    match (below.last(), joined.last()) {
        (_, Some(joined)) if !joined.output.is_empty() => &joined.output,
        (Some(layer), _) => &layer.output,
        (None, _) => z,
    }
}
