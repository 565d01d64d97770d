//! What masks and the parts of a network mean, each against a plain statement of it. `core_tests` has the gradients.

use super::init::Random;
use super::loss::loss;
use super::network::{Network, Pass, State, Workspace};
use crate::config::Loss;
use crate::kernel::recurrent::Mask;
use crate::kernel::{Activation, CellKind};
use crate::network::testing::layer;
use crate::network::{Architecture, Layer};

const CELLS: &[CellKind] = CellKind::ALL;
/// Timesteps and lanes of a case.
const T: usize = 6;
const B: usize = 3;

/// Everything an architecture can have at once; features are in another order than in `x`, and one feeds nothing.
fn full(cell: CellKind) -> Architecture {
    Architecture {
        features: 4,
        network: vec![2, 0],
        skip: vec![1, 2],
        groups: 0,
        embeddings: vec![],
        residual: vec![2, 0],
        layers: vec![
            layer(cell, 4, true),
            layer(CellKind::Gru, 3, false),
            layer(CellKind::Lstm, 3, false),
            Layer::dense(5, Activation::Tanh),
            Layer::dense(4, Activation::Relu),
            Layer::dense(3, Activation::Linear),
        ],
        outputs: 2,
        scaling: true,
        pool: crate::network::Pool::None,
        softmax: false,
        members: 1,
        quantiles: vec![],
        patch: 1,
        segments: 0,
        centred: vec![],
    }
}

/// A network whose every number is random, biases and scaling too.
fn network(architecture: &Architecture, seed: u64) -> Network<f64> {
    let mut network = Network::new(architecture, seed);
    let mut random = Random::new(seed + 1);
    network.parameters_mut().iter_mut().for_each(|p| *p += 0.3 * random.normal());
    if architecture.scaling {
        let mut some = |n: usize, from: f64| (0..n).map(|_| from + random.uniform()).collect::<Vec<_>>();
        let (f, o) = (architecture.features, architecture.outputs);
        let (mean, sd, out_mean, out_sd) = (some(f, -0.5), some(f, 0.5), some(o, 3.0), some(o, 2.0));
        network.set_scaling(&mean, &sd, &out_mean, &out_sd);
    }
    network
}

/// The state of one lane.
fn lane_of(state: &State<f64>, lane: usize) -> State<f64> {
    let cut = |all: &[Vec<f64>]| {
        all.iter().map(|v| v[v.len() / B * lane..v.len() / B * (lane + 1)].to_vec()).collect::<Vec<_>>()
    };
    State { h: cut(&state.h), c: cut(&state.c) }
}

/// The greatest difference between two states.
fn difference(a: &State<f64>, b: &State<f64>) -> f64 {
    let numbers = |s: &State<f64>| s.h.iter().chain(&s.c).flatten().copied().collect::<Vec<f64>>();
    let (a, b) = (numbers(a), numbers(b));
    assert_eq!(a.len(), b.len());
    a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

struct Case {
    network: Network<f64>,
    x: Vec<f64>,
    state: State<f64>,
    reset: Vec<bool>,
    active: Vec<bool>,
    wanted: Vec<f64>,
    weight: Vec<f64>,
}

impl Case {
    fn new(architecture: &Architecture) -> Case {
        let mut random = Random::new(99);
        let network = network(architecture, 5);
        let x = (0..T * B * architecture.features).map(|_| random.normal()).collect();
        let mut state = network.zero_state(B);
        state.h.iter_mut().chain(&mut state.c).flatten().for_each(|v| *v = 0.5 * random.normal());
        let outputs = T * B * architecture.outputs;
        let mut flags = |share: f64| (0..T * B).map(|_| random.uniform() < share).collect::<Vec<bool>>();
        let (reset, mut active) = (flags(0.25), flags(0.7));
        // One lane that never steps, as padding for shorter keys.
        (0..T).for_each(|t| active[t * B + 1] = false);
        let wanted = (0..outputs).map(|_| random.normal()).collect();
        let weight = (0..outputs).map(|i| if i % 3 == 0 { 0.0 } else { 1.0 }).collect();
        Case { network, x, state, reset, active, wanted, weight }
    }

    fn pass(&self) -> Pass<'_, f64> {
        let mask = Mask { reset: &self.reset, active: &self.active };
        Pass { t: T, b: B, x: &self.x, mask, group: &[], ids: &[], last_only: false }
    }
}

/// Outputs of one lane run alone, by steps it really takes, from zero state at each reset: what masks have to mean.
#[test]
fn a_masked_lane_is_the_lane_alone() {
    for cell in CELLS.iter().copied() {
        let architecture = full(cell);
        let case = Case::new(&architecture);
        let mut work = Workspace::default();
        let mut state = case.state.clone();
        let y = case.network.forward(case.pass(), &mut state, &mut work).to_vec();
        for lane in 0..B {
            let mut alone = lane_of(&case.state, lane);
            for t in 0..T {
                let cell_at = t * B + lane;
                if case.reset[cell_at] {
                    alone = case.network.zero_state(1);
                }
                if !case.active[cell_at] {
                    continue;
                }
                let x = &case.x[cell_at * 4..(cell_at + 1) * 4];
                let pass = Pass { t: 1, b: 1, x, mask: Mask::default(), group: &[], ids: &[], last_only: false };
                let one = case.network.forward(pass, &mut alone, &mut work);
                for (o, one) in one.iter().enumerate() {
                    assert!((y[cell_at * 2 + o] - one).abs() < 1e-12, "{cell:?} lane {lane} step {t}");
                }
            }
            assert!(difference(&alone, &lane_of(&state, lane)) < 1e-12, "{cell:?}: state after lane {lane}");
        }
    }
}

#[test]
fn cells_without_a_step_may_hold_anything() {
    for cell in CELLS.iter().copied() {
        let mut case = Case::new(&full(cell));
        for at in 0..T * B {
            if !case.active[at] {
                case.weight[at * 2..at * 2 + 2].fill(0.0);
            }
        }
        let run = |case: &Case| {
            let mut work = Workspace::default();
            let mut state = case.state.clone();
            let mut d_out = Vec::new();
            let y = case.network.forward(case.pass(), &mut state, &mut work);
            let value = loss(Loss::Mse, y, &case.wanted, &case.weight, &mut d_out);
            let mut gradients = vec![0.0; case.network.parameters().len()];
            case.network.backward(case.pass(), &d_out, &mut work, &mut gradients);
            (value, gradients, state)
        };
        let clean = run(&case);
        for at in 0..T * B {
            if !case.active[at] {
                case.x[at * 4..at * 4 + 4].fill(f64::NAN);
                case.wanted[at * 2..at * 2 + 2].fill(f64::NAN);
            }
        }
        assert_eq!(run(&case), clean, "{cell:?}");
    }
}

/// By hand, with a single unit: the formula in `model::Architecture`.
#[test]
fn the_whole_is_the_documented_formula() {
    let architecture = Architecture {
        features: 2,
        network: vec![1],
        skip: vec![0],
        groups: 0,
        embeddings: vec![],
        residual: vec![1],
        layers: vec![layer(CellKind::RnnTanh, 1, false), Layer::dense(1, Activation::Tanh)],
        outputs: 1,
        scaling: true,
        pool: crate::network::Pool::None,
        softmax: false,
        members: 1,
        quantiles: vec![],
        patch: 1,
        segments: 0,
        centred: vec![],
    };
    let network = network(&architecture, 3);
    let by_name = |name: &str| {
        let tensor = network.tensors().into_iter().find(|t| t.name == name).unwrap();
        tensor.data.iter().map(|v| f64::from(*v)).collect::<Vec<_>>()
    };
    let one = |name: &str| by_name(name)[0];
    let x = [0.7, -1.2];
    let z: Vec<f64> = (0..2).map(|i| (x[i] - by_name("scaling/mean")[i]) / by_name("scaling/sd")[i]).collect();
    let h = (z[1] * one("recurrent_0/kernel") + one("recurrent_0/bias")).tanh();
    let head = (h * one("dense_0/kernel") + one("dense_0/bias")).tanh();
    let out = head * one("output/kernel") + one("output/bias") + z[0] * one("skip/kernel");
    let wanted = out * one("scaling/out_sd") + one("scaling/out_mean") + x[1];
    let made = network.outputs(&x, 1, 1)[0];
    assert!((made - wanted).abs() < 1e-6, "{made} {wanted}");
}
