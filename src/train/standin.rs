//! The network in plain loops: forward and backward over a batch of time-major sequences, clear before fast.
//!
//! Lives here: cells, dense layers, their gradients and initial weights. Must not live here: the optimiser and losses
//! (`learner`), and scaling of outputs (`pass`).

use std::fmt::Debug;
use std::ops::{Add, AddAssign, Div, Mul, Neg, Range, Sub};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::Tensor;
use super::scaling::Scaling;
use crate::model::{Architecture, CellKind, DenseActivation, RecurrentLayer};

/// f32 or f64.
pub trait Real:
    Copy
    + Debug
    + Default
    + PartialOrd
    + Send
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + 'static
{
    /// Rounded from f64.
    fn of(value: f64) -> Self;
    /// As f64.
    fn f64(self) -> f64;
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// 1 / (1 + e^-x)
    fn sigmoid(self) -> Self;
}

macro_rules! real {
    ($type:ty) => {
        impl Real for $type {
            fn of(value: f64) -> Self {
                value as $type
            }
            fn f64(self) -> f64 {
                f64::from(self)
            }
            fn tanh(self) -> Self {
                <$type>::tanh(self)
            }
            fn sigmoid(self) -> Self {
                1.0 / (1.0 + (-self).exp())
            }
        }
    };
}
real!(f32);
real!(f64);

/// One trained array.
#[derive(Debug, Clone)]
struct Block {
    name: String,
    shape: Vec<usize>,
    at: Range<usize>,
}

/// A network: its shape, its trained numbers in one flat array, and the scaling of its inputs.
#[derive(Debug, Clone)]
pub struct Network<F> {
    shape: Architecture,
    blocks: Vec<Block>,
    parameters: Vec<F>,
    mean: Vec<F>,
    sd: Vec<F>,
    scaling: Vec<Tensor>,
}

/// Hidden and cell states of a batch, per layer [batch, units]; the cell state is empty but for LSTM.
#[derive(Debug, Clone)]
pub struct State<F> {
    h: Vec<Vec<F>>,
    c: Vec<Vec<F>>,
}

/// What the backward pass needs of the forward pass.
#[derive(Debug, Default)]
pub struct Tape<F> {
    /// Standardised features [cells, features].
    z: Vec<F>,
    layers: Vec<LayerTape<F>>,
    /// Per dense layer, its input and its output.
    head: Vec<(Vec<F>, Vec<F>)>,
    /// First cell that has outputs.
    first: usize,
}

#[derive(Debug, Default)]
struct LayerTape<F> {
    input: Vec<F>,
    /// State before each step, after a reset [cells, units].
    h_before: Vec<F>,
    c_before: Vec<F>,
    h: Vec<F>,
    c: Vec<F>,
    /// Activated gates [cells, gates * units].
    gates: Vec<F>,
    /// GRU: the recurrent part of the candidate, before the reset gate [cells, units].
    candidate: Vec<F>,
}

/// A batch of sequences, time-major.
#[derive(Debug, Clone, Copy)]
pub struct Sequences<'a> {
    /// Timesteps.
    pub steps: usize,
    /// Lanes.
    pub batch: usize,
    /// [steps, batch, features]
    pub x: &'a [f32],
    /// [steps, batch]: state is zero before this step.
    pub reset: &'a [bool],
    /// [steps, batch]: whether there is a step; where not, state stays as it is.
    pub active: &'a [bool],
}

impl<F: Real> Network<F> {
    /// With initial weights as Keras makes them: Glorot uniform kernels, orthogonal recurrent kernels, zero biases but
    /// for LSTM's forget gate, which is 1.
    pub fn new(shape: &Architecture, scaling: &Scaling, seed: u64) -> Network<F> {
        let mut blocks: Vec<Block> = Vec::new();
        let mut end = 0;
        let mut push = |name: String, shape: Vec<usize>| {
            let size: usize = shape.iter().product();
            blocks.push(Block { name, shape, at: end..end + size });
            end += size;
        };
        let mut n = shape.network.len();
        for (i, layer) in shape.layers.iter().enumerate() {
            let wide = layer.cell.gates() * layer.units;
            push(format!("recurrent_{i}/kernel"), vec![n, wide]);
            push(format!("recurrent_{i}/recurrent_kernel"), vec![layer.units, wide]);
            push(format!("recurrent_{i}/bias"), if two_biases(*layer) { vec![2, wide] } else { vec![wide] });
            n = layer.units;
        }
        for (i, dense) in shape.head.iter().enumerate() {
            push(format!("dense_{i}/kernel"), vec![n, dense.units]);
            push(format!("dense_{i}/bias"), vec![dense.units]);
            n = dense.units;
        }
        push("output/kernel".into(), vec![n, shape.outputs]);
        push("output/bias".into(), vec![shape.outputs]);
        if !shape.skip.is_empty() {
            push("skip/kernel".into(), vec![shape.skip.len(), shape.outputs]);
        }
        let cast = |values: &[f64]| values.iter().map(|v| F::of(*v)).collect();
        let mut network = Network {
            shape: shape.clone(),
            parameters: vec![F::default(); end],
            blocks,
            mean: cast(&scaling.mean),
            sd: cast(&scaling.sd),
            scaling: if shape.scaling { scaling.tensors() } else { Vec::new() },
        };
        network.initialise(seed);
        network
    }

    fn initialise(&mut self, seed: u64) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        for block in &self.blocks {
            let values = &mut self.parameters[block.at.clone()];
            if block.name.ends_with("recurrent_kernel") {
                orthogonal(values, block.shape[0], block.shape[1], &mut rng);
            } else if block.name.ends_with("kernel") {
                let limit = (6.0 / (block.shape[0] + block.shape[1]) as f64).sqrt();
                values.iter_mut().for_each(|v| *v = F::of(limit * (2.0 * uniform(&mut rng) - 1.0)));
            }
        }
        for (i, layer) in self.shape.layers.clone().into_iter().enumerate() {
            if layer.cell == CellKind::Lstm {
                let from = self.blocks[3 * i + 2].at.start + layer.units;
                self.parameters[from..from + layer.units].iter_mut().for_each(|v| *v = F::of(1.0));
            }
        }
    }

    /// The trained numbers, one after the other.
    pub fn parameters(&self) -> &[F] {
        &self.parameters
    }

    /// The trained numbers, to be changed.
    pub fn parameters_mut(&mut self) -> &mut [F] {
        &mut self.parameters
    }

    /// The arrays as the contract names them.
    pub fn tensors(&self) -> Vec<Tensor> {
        let mut tensors: Vec<Tensor> = self
            .blocks
            .iter()
            .map(|block| Tensor {
                name: block.name.clone(),
                shape: block.shape.clone(),
                data: self.parameters[block.at.clone()].iter().map(|v| v.f64() as f32).collect(),
            })
            .collect();
        tensors.extend(self.scaling.iter().cloned());
        tensors
    }

    /// Zero state.
    pub fn zero_state(&self, batch: usize) -> State<F> {
        let zeros = |units: usize| vec![F::default(); batch * units];
        State {
            h: self.shape.layers.iter().map(|l| zeros(l.units)).collect(),
            c: self.shape.layers.iter().map(|l| zeros(if l.cell.has_cell_state() { l.units } else { 0 })).collect(),
        }
    }

    fn block(&self, index: usize) -> &[F] {
        &self.parameters[self.blocks[index].at.clone()]
    }

    /// Standardised outputs of the last `with_outputs` timesteps [with_outputs, batch, outputs]; `state` goes on, and
    /// `tape` is what [`Network::backward`] needs.
    pub fn forward(
        &self,
        sequences: Sequences,
        with_outputs: usize,
        state: &mut State<F>,
        tape: &mut Tape<F>,
    ) -> Vec<F> {
        let cells = sequences.steps * sequences.batch;
        let features = self.shape.features;
        tape.z = sequences
            .x
            .iter()
            .enumerate()
            .map(|(i, v)| {
                let v = F::of(f64::from(*v));
                let f = i % features;
                if self.shape.scaling { (v - self.mean[f]) / self.sd[f] } else { v }
            })
            .collect();
        let mut input = pick(&tape.z, features, &self.shape.network);
        tape.layers.clear();
        for (i, layer) in self.shape.layers.iter().enumerate() {
            let weights = [self.block(3 * i), self.block(3 * i + 1), self.block(3 * i + 2)];
            let made = forward_layer(*layer, weights, input, sequences, &mut state.h[i], &mut state.c[i]);
            input = made.h.clone();
            tape.layers.push(made);
        }
        tape.first = cells - with_outputs * sequences.batch;
        let last = self.shape.layers.last().map_or(self.shape.network.len(), |l| l.units);
        let mut values = input[tape.first * last..].to_vec();
        tape.head.clear();
        let mut at = 3 * self.shape.layers.len();
        for dense in &self.shape.head {
            let mut out = affine(&values, self.block(at), self.block(at + 1));
            out.iter_mut().for_each(|v| *v = activate(dense.activation, *v));
            tape.head.push((values, out.clone()));
            values = out;
            at += 2;
        }
        let mut y = affine(&values, self.block(at), self.block(at + 1));
        tape.head.push((values, Vec::new()));
        if !self.shape.skip.is_empty() {
            let skipped = pick(&tape.z[tape.first * features..], features, &self.shape.skip);
            multiply(&mut y, &skipped, self.block(at + 2), self.shape.outputs);
        }
        y
    }

    /// Gradients of all parameters for the gradients `dy` of the outputs that [`Network::forward`] gave. Nothing flows
    /// back over the batch's begin.
    pub fn backward(&self, sequences: Sequences, tape: &Tape<F>, dy: &[F]) -> Vec<F> {
        let mut gradients = vec![F::default(); self.parameters.len()];
        let features = self.shape.features;
        let mut at = 3 * self.shape.layers.len() + 2 * self.shape.head.len();
        if !self.shape.skip.is_empty() {
            let skipped = pick(&tape.z[tape.first * features..], features, &self.shape.skip);
            outer(&mut gradients[self.blocks[at + 2].at.clone()], &skipped, dy, self.shape.outputs);
        }
        let mut d = dy.to_vec();
        for (index, (input, _)) in tape.head.iter().enumerate().rev() {
            let wide = self.blocks[at + 1].shape[0];
            if let (Some(dense), out) = (self.shape.head.get(index), &tape.head[index].1) {
                d.iter_mut().zip(out).for_each(|(d, y)| *d = *d * slope(dense.activation, *y));
            }
            outer(&mut gradients[self.blocks[at].at.clone()], input, &d, wide);
            sum_rows(&mut gradients[self.blocks[at + 1].at.clone()], &d);
            d = back(&d, self.block(at), wide);
            at = at.saturating_sub(2);
        }
        let last = self.shape.layers.last().map_or(0, |l| l.units);
        let mut dh = vec![F::default(); tape.first * last];
        dh.extend(d);
        for (i, layer) in self.shape.layers.iter().enumerate().rev() {
            let weights = [self.block(3 * i), self.block(3 * i + 1), self.block(3 * i + 2)];
            let [a, b, c] = [0, 1, 2].map(|k| self.blocks[3 * i + k].at.clone());
            let (left, right) = gradients[a.start..c.end].split_at_mut(b.start - a.start);
            let (middle, right) = right.split_at_mut(c.start - b.start);
            dh = backward_layer(*layer, weights, [left, middle, right], sequences, &tape.layers[i], &dh);
        }
        gradients
    }
}

fn two_biases(layer: RecurrentLayer) -> bool {
    layer.double_bias || layer.cell == CellKind::Gru
}

fn uniform(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// Rows that are orthonormal: normal numbers, then Gram and Schmidt, twice for its rounding.
fn orthogonal<F: Real>(values: &mut [F], rows: usize, columns: usize, rng: &mut ChaCha8Rng) {
    let mut made: Vec<Vec<f64>> = Vec::with_capacity(rows);
    for _ in 0..rows {
        let normal = |rng: &mut ChaCha8Rng| {
            let radius = (-2.0 * (1.0 - uniform(rng)).ln()).sqrt();
            radius * (std::f64::consts::TAU * uniform(rng)).cos()
        };
        let mut row: Vec<f64> = (0..columns).map(|_| normal(rng)).collect();
        for _ in 0..2 {
            for other in &made {
                let along: f64 = row.iter().zip(other).map(|(a, b)| a * b).sum();
                row.iter_mut().zip(other).for_each(|(a, b)| *a -= along * b);
            }
        }
        let norm = row.iter().map(|v| v * v).sum::<f64>().sqrt();
        row.iter_mut().for_each(|v| *v /= norm);
        made.push(row);
    }
    values.iter_mut().zip(made.iter().flatten()).for_each(|(v, m)| *v = F::of(*m));
}

fn pick<F: Real>(z: &[F], features: usize, which: &[usize]) -> Vec<F> {
    z.chunks_exact(features).flat_map(|row| which.iter().map(|i| row[*i])).collect()
}

fn activate<F: Real>(activation: DenseActivation, v: F) -> F {
    match activation {
        DenseActivation::Linear => v,
        DenseActivation::Relu => {
            if v > F::default() {
                v
            } else {
                F::default()
            }
        }
        DenseActivation::Tanh => v.tanh(),
    }
}

fn slope<F: Real>(activation: DenseActivation, y: F) -> F {
    match activation {
        DenseActivation::Linear => F::of(1.0),
        DenseActivation::Relu => F::of(if y > F::default() { 1.0 } else { 0.0 }),
        DenseActivation::Tanh => F::of(1.0) - y * y,
    }
}

/// out += a · w, with w [n, wide].
fn multiply<F: Real>(out: &mut [F], a: &[F], w: &[F], wide: usize) {
    let n = w.len() / wide;
    for (out, a) in out.chunks_exact_mut(wide).zip(a.chunks_exact(n)) {
        for (a, w) in a.iter().zip(w.chunks_exact(wide)) {
            out.iter_mut().zip(w).for_each(|(o, w)| *o += *a * *w);
        }
    }
}

fn affine<F: Real>(a: &[F], w: &[F], bias: &[F]) -> Vec<F> {
    let rows = a.len() * bias.len() / w.len();
    let mut out = bias.repeat(rows);
    multiply(&mut out, a, w, bias.len());
    out
}

/// dw += aᵀ · d
fn outer<F: Real>(dw: &mut [F], a: &[F], d: &[F], wide: usize) {
    let n = dw.len() / wide;
    for (a, d) in a.chunks_exact(n).zip(d.chunks_exact(wide)) {
        for (a, dw) in a.iter().zip(dw.chunks_exact_mut(wide)) {
            dw.iter_mut().zip(d).for_each(|(w, d)| *w += *a * *d);
        }
    }
}

fn sum_rows<F: Real>(sum: &mut [F], d: &[F]) {
    for row in d.chunks_exact(sum.len()) {
        sum.iter_mut().zip(row).for_each(|(s, d)| *s += *d);
    }
}

/// d · wᵀ
fn back<F: Real>(d: &[F], w: &[F], wide: usize) -> Vec<F> {
    let dot = |d: &[F], w: &[F]| d.iter().zip(w).fold(F::default(), |sum, (d, w)| sum + *d * *w);
    d.chunks_exact(wide).flat_map(|d| w.chunks_exact(wide).map(move |w| dot(d, w))).collect()
}

fn forward_layer<F: Real>(
    layer: RecurrentLayer,
    [kernel, recurrent, bias]: [&[F]; 3],
    input: Vec<F>,
    s: Sequences,
    h: &mut [F],
    c: &mut [F],
) -> LayerTape<F> {
    let (u, wide) = (layer.units, layer.cell.gates() * layer.units);
    let zero = F::default();
    let mut gates = affine(&input, kernel, &bias[..wide]);
    let mut tape = LayerTape { input, ..LayerTape::default() };
    for step in 0..s.steps {
        for lane in 0..s.batch {
            if s.reset[step * s.batch + lane] {
                h[lane * u..(lane + 1) * u].fill(zero);
                if !c.is_empty() {
                    c[lane * u..(lane + 1) * u].fill(zero);
                }
            }
        }
        tape.h_before.extend_from_slice(h);
        tape.c_before.extend_from_slice(c);
        let mut fed = if two_biases(layer) { bias[wide..].repeat(s.batch) } else { vec![zero; s.batch * wide] };
        multiply(&mut fed, h, recurrent, wide);
        let rows = &mut gates[step * s.batch * wide..(step + 1) * s.batch * wide];
        let mut candidate = vec![zero; if layer.cell == CellKind::Gru { s.batch * u } else { 0 }];
        for lane in 0..s.batch {
            let g = &mut rows[lane * wide..(lane + 1) * wide];
            let f = &fed[lane * wide..(lane + 1) * wide];
            let active = s.active[step * s.batch + lane];
            for j in 0..u {
                let at = lane * u + j;
                let new = match layer.cell {
                    CellKind::RnnTanh => {
                        g[j] = (g[j] + f[j]).tanh();
                        g[j]
                    }
                    CellKind::RnnRelu => {
                        g[j] = activate(DenseActivation::Relu, g[j] + f[j]);
                        g[j]
                    }
                    CellKind::Lstm => {
                        for k in [0, 1, 3] {
                            g[k * u + j] = (g[k * u + j] + f[k * u + j]).sigmoid();
                        }
                        g[2 * u + j] = (g[2 * u + j] + f[2 * u + j]).tanh();
                        let cell = g[u + j] * c[at] + g[j] * g[2 * u + j];
                        if active {
                            c[at] = cell;
                        }
                        g[3 * u + j] * cell.tanh()
                    }
                    CellKind::Gru => {
                        g[j] = (g[j] + f[j]).sigmoid();
                        g[u + j] = (g[u + j] + f[u + j]).sigmoid();
                        candidate[at] = f[2 * u + j];
                        g[2 * u + j] = (g[2 * u + j] + g[u + j] * f[2 * u + j]).tanh();
                        g[j] * h[at] + (F::of(1.0) - g[j]) * g[2 * u + j]
                    }
                };
                if active {
                    h[at] = new;
                }
            }
        }
        tape.candidate.extend(candidate);
        tape.h.extend_from_slice(h);
        tape.c.extend_from_slice(c);
    }
    tape.gates = gates;
    tape
}

/// Gradients of the layer's input, those of its weights added to `d_weights`.
fn backward_layer<F: Real>(
    layer: RecurrentLayer,
    [kernel, recurrent, _]: [&[F]; 3],
    [d_kernel, d_recurrent, d_bias]: [&mut [F]; 3],
    s: Sequences,
    tape: &LayerTape<F>,
    dh_out: &[F],
) -> Vec<F> {
    let (u, wide) = (layer.units, layer.cell.gates() * layer.units);
    let (zero, one) = (F::default(), F::of(1.0));
    let mut dh = vec![zero; s.batch * u];
    let mut dc = vec![zero; s.batch * u];
    // Of the sums that go into the gates, from the input's and from the state's side: they differ for a GRU.
    let mut d_input = vec![zero; s.steps * s.batch * wide];
    for step in (0..s.steps).rev() {
        let cells = step * s.batch..(step + 1) * s.batch;
        let mut d_fed = vec![zero; s.batch * wide];
        let mut dh_before = vec![zero; s.batch * u];
        for lane in 0..s.batch {
            let cell = cells.start + lane;
            let g = &tape.gates[cell * wide..(cell + 1) * wide];
            let d = &mut d_input[cell * wide..(cell + 1) * wide];
            let f = &mut d_fed[lane * wide..(lane + 1) * wide];
            for j in 0..u {
                let (at, on) = (lane * u + j, cell * u + j);
                let upstream = dh[at] + dh_out[on];
                if !s.active[cell] {
                    dh_before[at] = upstream;
                    continue;
                }
                match layer.cell {
                    CellKind::RnnTanh => {
                        d[j] = upstream * (one - g[j] * g[j]);
                        f[j] = d[j];
                    }
                    CellKind::RnnRelu => {
                        d[j] = upstream * slope(DenseActivation::Relu, g[j]);
                        f[j] = d[j];
                    }
                    CellKind::Lstm => {
                        let (i, forget, made, o) = (g[j], g[u + j], g[2 * u + j], g[3 * u + j]);
                        let squashed = tape.c[on].tanh();
                        let d_cell = dc[at] + upstream * o * (one - squashed * squashed);
                        d[j] = d_cell * made * i * (one - i);
                        d[u + j] = d_cell * tape.c_before[on] * forget * (one - forget);
                        d[2 * u + j] = d_cell * i * (one - made * made);
                        d[3 * u + j] = upstream * squashed * o * (one - o);
                        (0..4).for_each(|k| f[k * u + j] = d[k * u + j]);
                        dc[at] = d_cell * forget;
                    }
                    CellKind::Gru => {
                        let (z, r, made) = (g[j], g[u + j], g[2 * u + j]);
                        let d_made = upstream * (one - z) * (one - made * made);
                        d[j] = upstream * (tape.h_before[on] - made) * z * (one - z);
                        d[u + j] = d_made * tape.candidate[on] * r * (one - r);
                        d[2 * u + j] = d_made;
                        f[j] = d[j];
                        f[u + j] = d[u + j];
                        f[2 * u + j] = d_made * r;
                        dh_before[at] = upstream * z;
                    }
                }
            }
        }
        outer(d_recurrent, &tape.h_before[cells.start * u..cells.end * u], &d_fed, wide);
        if two_biases(layer) {
            sum_rows(&mut d_bias[wide..], &d_fed);
        }
        let through = back(&d_fed, recurrent, wide);
        for lane in 0..s.batch {
            let zeroed = s.reset[cells.start + lane];
            for at in lane * u..(lane + 1) * u {
                dh[at] = if zeroed { zero } else { dh_before[at] + through[at] };
                dc[at] = if zeroed { zero } else { dc[at] };
            }
        }
    }
    outer(d_kernel, &tape.input, &d_input, wide);
    sum_rows(&mut d_bias[..wide], &d_input);
    back(&d_input, kernel, wide)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DenseLayer;

    /// Sum of squares of all outputs, and its gradients.
    #[test]
    fn gradients_are_those_of_finite_differences() {
        let cells = [CellKind::RnnTanh, CellKind::RnnRelu, CellKind::Lstm, CellKind::Gru];
        for (first, double_bias) in cells.iter().flat_map(|c| [(*c, false), (*c, true)]) {
            let layer = |cell, units| RecurrentLayer { cell, units, double_bias };
            let shape = Architecture {
                features: 3,
                network: vec![0, 2],
                skip: vec![1, 0],
                residual: vec![],
                layers: vec![layer(first, 4), layer(CellKind::Gru, 3)],
                head: vec![DenseLayer { units: 3, activation: DenseActivation::Tanh }],
                outputs: 2,
                scaling: true,
            };
            let scaling = Scaling {
                mean: vec![0.1, 0.2, -0.3],
                sd: vec![1.0, 2.0, 0.5],
                out_mean: vec![0.0; 2],
                out_sd: vec![1.0; 2],
            };
            let mut network = Network::<f64>::new(&shape, &scaling, 3);
            let (steps, batch) = (5, 3);
            let x: Vec<f32> = (0..steps * batch * 3).map(|i| f32::sin(i as f32 * 1.7)).collect();
            let reset: Vec<bool> = (0..steps * batch).map(|i| i == 7).collect();
            let active: Vec<bool> = (0..steps * batch).map(|i| i != 5 && i != 12).collect();
            let s = Sequences { steps, batch, x: &x, reset: &reset, active: &active };
            let run = |network: &Network<f64>, tape: &mut Tape<f64>| {
                let mut state = network.zero_state(batch);
                state.h[0].iter_mut().enumerate().for_each(|(i, v)| *v = 0.1 * i as f64 - 0.3);
                network.forward(s, 3, &mut state, tape)
            };
            for i in 0..network.parameters().len() {
                network.parameters_mut()[i] += 0.05 * f64::sin(i as f64);
            }
            let mut tape = Tape::default();
            let y = run(&network, &mut tape);
            let dy: Vec<f64> = y.iter().map(|y| 2.0 * y).collect();
            let gradients = network.backward(s, &tape, &dy);
            for (i, made) in gradients.iter().enumerate() {
                let mut at = |delta: f64| {
                    network.parameters_mut()[i] += delta;
                    let sum: f64 = run(&network, &mut Tape::default()).iter().map(|y| y * y).sum();
                    network.parameters_mut()[i] -= delta;
                    sum
                };
                let wanted = (at(1e-6) - at(-1e-6)) / 2e-6;
                assert!((made - wanted).abs() < 1e-6 * (1.0 + wanted.abs()), "{first:?} {i}: {made} {wanted}");
            }
        }
    }

    #[test]
    fn recurrent_kernels_are_orthogonal() {
        let mut values = vec![0.0_f64; 5 * 20];
        orthogonal(&mut values, 5, 20, &mut ChaCha8Rng::seed_from_u64(1));
        for a in 0..5 {
            for b in 0..5 {
                let dot: f64 = (0..20).map(|i| values[a * 20 + i] * values[b * 20 + i]).sum();
                assert!((dot - f64::from(u8::from(a == b))).abs() < 1e-12);
            }
        }
    }
}
