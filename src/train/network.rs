//! A network in memory: its numbers in one flat array, forward, backward.
//!
//! Lives here: how layers, head, skip path and scaling make the whole that [`crate::network::Architecture`] describes. Must
//! not live here: one layer over time (`kernel::layer`), what is wanted of the outputs (`loss`), how numbers change (`adam`).

mod tensors;

use std::ops::Range;

use super::init::Random;
use crate::kernel::float::Float;
use crate::kernel::gemm::{Existing, Matrix, multiply, multiply_rows};
use crate::kernel::layer::{self, Gradients, Layer, Mask, Shape, Weights, add_rows};
use crate::network::{Architecture, CellKind, DenseActivation};

/// A network. Cheap to clone next to what training it costs.
#[derive(Debug, Clone)]
pub struct Network<F> {
    shape: Architecture,
    parameters: Vec<F>,
    spans: Vec<TensorRange>,
    recurrent: Vec<(Shape, [usize; 3])>,
    /// Per dense layer (the output layer last): width of its input, its width, its activation, its spans.
    dense: Vec<Dense>,
    skip: Option<usize>,
    scaling: Scaling<F>,
}

/// A named part of the flat array.
#[derive(Debug, Clone)]
struct TensorRange {
    name: String,
    shape: Vec<usize>,
    range: Range<usize>,
}

#[derive(Debug, Clone, Copy)]
struct Dense {
    inputs: usize,
    units: usize,
    activation: DenseActivation,
    kernel: usize,
    bias: usize,
}

/// What isn't trained: see [`crate::network::Tensor`].
#[derive(Debug, Clone)]
struct Scaling<F> {
    mean: Vec<F>,
    sd: Vec<F>,
    out_mean: Vec<F>,
    out_sd: Vec<F>,
}

/// Hidden and cell state of every layer, [B, units] each (`c` is empty but for an LSTM).
#[derive(Debug, Clone, PartialEq)]
pub struct State<F> {
    /// Hidden states.
    pub h: Vec<Vec<F>>,
    /// Cell states.
    pub c: Vec<Vec<F>>,
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
    /// Only the last timestep has outputs: window training.
    pub last_only: bool,
}

impl<F> Pass<'_, F> {
    /// Timesteps that have outputs.
    fn output_steps(&self) -> usize {
        if self.last_only { 1 } else { self.t }
    }
}

/// What a forward pass leaves for the backward pass, and memory that both use again.
#[derive(Debug, Clone, Default)]
pub struct Workspace<F> {
    z_network: Vec<F>,
    z_skip: Vec<F>,
    layers: Vec<layer::Trace<F>>,
    /// Outputs of each dense layer after activation.
    dense: Vec<Vec<F>>,
    d: Vec<F>,
    d_below: Vec<F>,
    backward: layer::Backward<F>,
}

impl<F: Float> Network<F> {
    /// A new network with Keras' defaults: kernels by Glorot, recurrent kernels orthogonal, biases zero, an LSTM's forget
    /// bias one (with two biases: the input's). The same seed gives the same numbers on every machine.
    pub fn new(architecture: &Architecture, seed: u64) -> Self {
        let mut network = Network::zeros(architecture);
        let mut random = Random::new(seed);
        for span in &network.spans {
            let &[rows, columns] = &span.shape[..] else { continue };
            let values = if span.name.ends_with("/recurrent_kernel") {
                random.orthogonal(rows, columns)
            } else if span.name.ends_with("/kernel") {
                random.glorot_uniform(rows, columns)
            } else {
                continue;
            };
            for (parameter, value) in network.parameters[span.range.clone()].iter_mut().zip(values) {
                *parameter = F::from_f64(value);
            }
        }
        for (shape, spans) in &network.recurrent {
            if shape.layer.cell == CellKind::Lstm {
                let (start, u) = (network.spans[spans[2]].range.start, shape.layer.units);
                network.parameters[start + u..start + 2 * u].fill(F::ONE);
            }
        }
        network
    }

    /// A network of zeros.
    fn zeros(architecture: &Architecture) -> Self {
        let shape = architecture.clone();
        let mut spans = Vec::new();
        let mut length = 0;
        let mut add = |name: String, shape: Vec<usize>| {
            let size = shape.iter().product::<usize>();
            spans.push(TensorRange { name, shape, range: length..length + size });
            length += size;
            spans.len() - 1
        };
        let mut inputs = shape.network.len();
        let mut recurrent = Vec::new();
        for (i, layer) in shape.layers.iter().enumerate() {
            let (u, width) = (layer.units, layer.cell.gates() * layer.units);
            let two = layer.has_two_biases();
            recurrent.push((
                Shape { inputs, layer: *layer },
                [
                    add(format!("recurrent_{i}/kernel"), vec![inputs, width]),
                    add(format!("recurrent_{i}/recurrent_kernel"), vec![u, width]),
                    add(format!("recurrent_{i}/bias"), if two { vec![2, width] } else { vec![width] }),
                ],
            ));
            inputs = u;
        }
        let mut dense = Vec::new();
        for (i, layer) in shape.head.iter().enumerate() {
            let kernel = add(format!("dense_{i}/kernel"), vec![inputs, layer.units]);
            let bias = add(format!("dense_{i}/bias"), vec![layer.units]);
            dense.push(Dense { inputs, units: layer.units, activation: layer.activation, kernel, bias });
            inputs = layer.units;
        }
        let kernel = add("output/kernel".into(), vec![inputs, shape.outputs]);
        let bias = add("output/bias".into(), vec![shape.outputs]);
        dense.push(Dense { inputs, units: shape.outputs, activation: DenseActivation::Linear, kernel, bias });
        let skip = (!shape.skip.is_empty()).then(|| add("skip/kernel".into(), vec![shape.skip.len(), shape.outputs]));
        let scaling = Scaling {
            mean: vec![F::ZERO; shape.features],
            sd: vec![F::ONE; shape.features],
            out_mean: vec![F::ZERO; shape.outputs],
            out_sd: vec![F::ONE; shape.outputs],
        };
        Network { parameters: vec![F::ZERO; length], shape, spans, recurrent, dense, skip, scaling }
    }

    /// Sets what isn't trained: mean and standard deviation per feature and per output.
    pub fn set_scaling(&mut self, mean: &[F], sd: &[F], out_mean: &[F], out_sd: &[F]) {
        self.scaling =
            Scaling { mean: mean.to_vec(), sd: sd.to_vec(), out_mean: out_mean.to_vec(), out_sd: out_sd.to_vec() };
    }

    /// The network's shape.
    pub fn architecture(&self) -> &Architecture {
        &self.shape
    }

    /// All trained numbers, in the order of [`Network::tensors`].
    pub fn parameters(&self) -> &[F] {
        &self.parameters
    }

    /// All trained numbers, to change them.
    pub fn parameters_mut(&mut self) -> &mut [F] {
        &mut self.parameters
    }

    /// The state of `b` new keys.
    pub fn zero_state(&self, b: usize) -> State<F> {
        let zeros = |wanted: bool, units: usize| vec![F::ZERO; if wanted { b * units } else { 0 }];
        let layers = || self.shape.layers.iter();
        State {
            h: layers().map(|layer| zeros(true, layer.units)).collect(),
            c: layers().map(|layer| zeros(layer.cell.has_cell_state(), layer.units)).collect(),
        }
    }

    fn part(&self, span: usize) -> &[F] {
        &self.parameters[self.spans[span].range.clone()]
    }

    fn weights(&self, spans: [usize; 3]) -> Weights<'_, F> {
        Weights { kernel: self.part(spans[0]), recurrent: self.part(spans[1]), bias: self.part(spans[2]) }
    }

    /// Standardised outputs [t, b, outputs] (or [b, outputs] if only the last step has them): before `out_sd`, `out_mean`
    /// and what is added unscaled. Advances `state`.
    pub fn forward<'w>(&self, pass: Pass<'_, F>, state: &mut State<F>, work: &'w mut Workspace<F>) -> &'w [F] {
        let (t, b) = (pass.t, pass.b);
        let steps = t * b;
        self.standardise(pass, 0, &self.shape.network, &mut work.z_network);
        work.layers.resize_with(self.recurrent.len(), layer::Trace::default);
        for (i, (shape, spans)) in self.recurrent.iter().enumerate() {
            let (below, above) = work.layers.split_at_mut(i);
            let x = below.last().map_or(&work.z_network[..], |layer| &layer.h[..]);
            let (h, c) = (&mut state.h[i], &mut state.c[i]);
            let layer = Layer { shape: *shape, weights: self.weights(*spans), x, t, b, mask: pass.mask };
            layer::forward(layer, h, c, &mut above[0]);
        }
        let first = steps - pass.output_steps() * b;
        let rows = steps - first;
        work.dense.resize_with(self.dense.len(), Vec::new);
        for (i, layer) in self.dense.iter().enumerate() {
            let (below, above) = work.dense.split_at_mut(i);
            let x = match below.last() {
                Some(below) => &below[..],
                None => &self.top(&work.layers, &work.z_network)[first * layer.inputs..],
            };
            let out = &mut above[0];
            out.clear();
            for _ in 0..rows {
                out.extend_from_slice(self.part(layer.bias));
            }
            let kernel = Matrix::new(self.part(layer.kernel), layer.inputs, layer.units);
            multiply_rows(out, Matrix::new(x, rows, layer.inputs), kernel, Existing::Add);
            activate(layer.activation, out);
        }
        let outputs = self.shape.outputs;
        if let Some(skip) = self.skip {
            self.standardise(pass, first, &self.shape.skip, &mut work.z_skip);
            let width = self.shape.skip.len();
            if let Some(out) = work.dense.last_mut() {
                let kernel = Matrix::new(self.part(skip), width, outputs);
                multiply_rows(out, Matrix::new(&work.z_skip, rows, width), kernel, Existing::Add);
            }
        }
        work.dense.last().map_or(&[], |out| &out[..])
    }

    /// The output of the last recurrent layer.
    fn top<'w>(&self, layers: &'w [layer::Trace<F>], z: &'w [F]) -> &'w [F] {
        layers.last().map_or(z, |layer| &layer.h[..])
    }

    /// (x - mean) / sd of the chosen features of the cells from `first` on; 0 where there is no step, since there may be
    /// NaN, and 0 times NaN would reach the gradients.
    fn standardise(&self, pass: Pass<'_, F>, first: usize, chosen: &[usize], out: &mut Vec<F>) {
        out.clear();
        let Scaling { mean, sd, .. } = &self.scaling;
        for (at, row) in pass.x.chunks_exact(self.shape.features.max(1)).enumerate().skip(first) {
            if pass.mask.active(at) {
                out.extend(chosen.iter().map(|i| (row[*i] - mean[*i]) / sd[*i]));
            } else {
                out.extend(chosen.iter().map(|_| F::ZERO));
            }
        }
    }

    /// Gradients of the trained numbers, into `gradients` (as long as [`Network::parameters`]), for gradients `d_out` of
    /// the standardised outputs of the forward pass that `work` is from.
    pub fn backward(&self, pass: Pass<'_, F>, d_out: &[F], work: &mut Workspace<F>, gradients: &mut [F]) {
        gradients.fill(F::ZERO);
        let (t, b) = (pass.t, pass.b);
        let first = (t - pass.output_steps()) * b;
        let rows = t * b - first;
        let outputs = self.shape.outputs;
        let Workspace { z_network, z_skip, layers, dense, d, d_below, backward } = work;
        d.clear();
        d.extend_from_slice(d_out);
        if let Some(skip) = self.skip {
            let width = self.shape.skip.len();
            let kernel = &mut gradients[self.spans[skip].range.clone()];
            multiply(kernel, Matrix::new(z_skip, rows, width).t(), Matrix::new(d, rows, outputs), Existing::Add);
        }
        for (i, layer) in self.dense.iter().enumerate().rev() {
            let x = match i {
                0 => &self.top(layers, z_network)[first * layer.inputs..],
                _ => &dense[i - 1][..],
            };
            through_activation(layer.activation, &dense[i], d);
            let d_matrix = Matrix::new(d, rows, layer.units);
            let kernel = &mut gradients[self.spans[layer.kernel].range.clone()];
            multiply(kernel, Matrix::new(x, rows, layer.inputs).t(), d_matrix, Existing::Add);
            add_rows(&mut gradients[self.spans[layer.bias].range.clone()], d);
            d_below.clear();
            d_below.resize(rows * layer.inputs, F::ZERO);
            let kernel = Matrix::new(self.part(layer.kernel), layer.inputs, layer.units);
            multiply(d_below, d_matrix, kernel.t(), Existing::Replace);
            std::mem::swap(d, d_below);
        }
        if first > 0 {
            // Only the last step had outputs: those before get no gradient from above.
            let width = d.len() / b;
            d_below.clear();
            d_below.resize(first * width, F::ZERO);
            d_below.extend_from_slice(d);
            std::mem::swap(d, d_below);
        }
        for (i, (shape, spans)) in self.recurrent.iter().enumerate().rev() {
            let (below, above) = layers.split_at(i);
            let x = below.last().map_or(&z_network[..], |layer| &layer.h[..]);
            d_below.clear();
            d_below.resize(if i > 0 { t * b * shape.inputs } else { 0 }, F::ZERO);
            // The three spans of a layer stand one behind the other.
            let (start, end) = (self.spans[spans[0]].range.start, self.spans[spans[2]].range.end);
            let (kernel, rest) = gradients[start..end].split_at_mut(self.spans[spans[0]].range.len());
            let (recurrent, bias) = rest.split_at_mut(self.spans[spans[1]].range.len());
            let into = Gradients { kernel, recurrent, bias };
            let layer = Layer { shape: *shape, weights: self.weights(*spans), x, t, b, mask: pass.mask };
            layer::backward(layer, &above[0], d, into, d_below, backward);
            std::mem::swap(d, d_below);
        }
    }

    /// What the exported graph gives for `x` [t, b, features] from zero state: [t, b, outputs].
    pub fn outputs(&self, x: &[F], t: usize, b: usize) -> Vec<F> {
        let pass = Pass { t, b, x, mask: Mask::default(), last_only: false };
        let mut work = Workspace::default();
        let mut y = self.forward(pass, &mut self.zero_state(b), &mut work).to_vec();
        self.finish(x, &mut y);
        y
    }

    /// Turns standardised outputs of the rows of `x` into those of the graph.
    pub fn finish(&self, x: &[F], y: &mut [F]) {
        let Scaling { out_mean, out_sd, .. } = &self.scaling;
        for (row, x) in y.chunks_exact_mut(self.shape.outputs).zip(x.chunks_exact(self.shape.features)) {
            for (i, y) in row.iter_mut().enumerate() {
                *y = *y * out_sd[i] + out_mean[i];
                if let Some(base) = self.shape.residual.get(i) {
                    *y += x[*base];
                }
            }
        }
    }
}

fn activate<F: Float>(activation: DenseActivation, values: &mut [F]) {
    match activation {
        DenseActivation::Linear => {}
        DenseActivation::Tanh => values.iter_mut().for_each(|v| *v = v.tanh()),
        DenseActivation::Relu => values.iter_mut().filter(|v| **v < F::ZERO).for_each(|v| *v = F::ZERO),
    }
}

/// Gradients before an activation from those after it; `y` is what the activation gave.
fn through_activation<F: Float>(activation: DenseActivation, y: &[F], d: &mut [F]) {
    match activation {
        DenseActivation::Linear => {}
        DenseActivation::Tanh => d.iter_mut().zip(y).for_each(|(d, y)| *d *= F::ONE - *y * *y),
        DenseActivation::Relu => d.iter_mut().zip(y).filter(|(_, y)| **y <= F::ZERO).for_each(|(d, _)| *d = F::ZERO),
    }
}
