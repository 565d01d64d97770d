//! Laws of the network in memory, in f64 where rounding would hide a mistake: gradients are those of finite
//! differences, state handed on is what a longer pass would have had, cells without a step change nothing.

use proptest::prelude::*;

use super::dropout::Masks;
use super::loss::{clip, loss};
use super::network::{Network, Pass, State, Workspace};
use super::optimizer::Adam;
use crate::config::{self, EpsilonForm, Loss};
use crate::kernel::CellKind;
use crate::kernel::float::Float;
use crate::kernel::recurrent::Mask;
use crate::kernel::threads::Threads;
use crate::network::testing::{Numbers, layer, mixed, plain, rich, tensors};
use crate::network::{Architecture, Embedding, Layer, LayerNormLayer};

const CELLS: &[CellKind] = CellKind::ALL;
const LOSSES: [Loss; 3] = [Loss::Mse, Loss::Mae, Loss::Huber { delta: 0.4 }];

/// A batch of random numbers.
#[derive(Debug, Clone)]
struct Batch<F> {
    t: usize,
    b: usize,
    x: Vec<F>,
    reset: Vec<bool>,
    active: Vec<bool>,
    last_only: bool,
    wanted: Vec<F>,
    weight: Vec<F>,
    ids: Vec<u32>,
}

impl<F: Float> Batch<F> {
    /// Every fourth cell or so is no step, every sixth restarts, every fifth output doesn't count.
    fn random(shape: &Architecture, (t, b): (usize, usize), last_only: bool, seed: u64) -> Self {
        let mut numbers = Numbers(seed);
        let mut some =
            |n: usize| -> Vec<F> { numbers.by_ref().take(n).map(|value| F::from_f64(f64::from(value))).collect() };
        let x = some(t * b * shape.features);
        let outputs = if last_only { b } else { t * b } * shape.outputs;
        let wanted = some(outputs);
        let below = |values: Vec<F>, share: f64| -> Vec<bool> {
            values.into_iter().map(|value| value.to_f64() < 2.0 * share - 1.0).collect()
        };
        let weight = below(some(outputs), 0.8).into_iter().map(|counts| F::from_f64(f64::from(u8::from(counts))));
        let weight = weight.collect();
        let (reset, active) = (below(some(t * b), 0.16), below(some(t * b), 0.75));
        let mut id = |rows: usize| ((some(1)[0].to_f64() + 1.0) / 2.0 * rows as f64) as u32;
        let ids = (0..t * b).flat_map(|_| shape.embeddings.iter().map(|table| id(table.rows)).collect::<Vec<_>>());
        Batch { ids: ids.collect(), t, b, x, reset, active, last_only, wanted, weight }
    }

    fn pass(&self) -> Pass<'_, F> {
        let mask = Mask { reset: &self.reset, active: &self.active };
        Pass { t: self.t, b: self.b, x: &self.x, mask, group: &[], ids: &self.ids, last_only: self.last_only }
    }

    /// Mean loss from a state, and the gradient by the outputs.
    fn loss(&self, network: &Network<F>, state: &State<F>, kind: Loss, work: &mut Workspace<F>) -> (f64, Vec<F>) {
        let mut gradient = Vec::new();
        let y = network.forward(self.pass(), &mut state.clone(), work);
        (loss(kind, y, &self.wanted, &self.weight, &mut gradient), gradient)
    }

    fn gradients(&self, network: &Network<F>, state: &State<F>, kind: Loss) -> Vec<F> {
        self.gradients_with(network, state, kind, Masks::default())
    }

    fn gradients_with(&self, network: &Network<F>, state: &State<F>, kind: Loss, masks: Masks<F>) -> Vec<F> {
        let mut work = dropping(masks);
        let (_, d_out) = self.loss(network, state, kind, &mut work);
        // What was there before must not matter.
        let mut gradients = vec![F::from_f64(f64::NAN); network.parameters().len()];
        network.backward(self.pass(), &d_out, &mut work, &mut gradients);
        gradients
    }
}

fn network<F: Float>(shape: &Architecture, seed: u64) -> Network<F> {
    Network::restored(shape, &tensors(shape, seed)).unwrap()
}

/// A workspace whose next pass drops.
fn dropping<F: Float>(masks: Masks<F>) -> Workspace<F> {
    let mut work = Workspace::default();
    work.masks = masks;
    work
}

/// One cell with scaling, two features.
fn one(cell: CellKind, double_bias: bool) -> Architecture {
    Architecture { layers: vec![layer(cell, 4, double_bias)], outputs: 2, scaling: true, ..plain(2, &[]) }
}

/// The state after a first batch, so that none starts at zero.
fn warm<F: Float>(network: &Network<F>, b: usize, seed: u64) -> State<F> {
    let mut before = Batch::random(network.architecture(), (4, b), false, seed);
    before.active.clear();
    let mut state = network.zero_state(b);
    network.forward(before.pass(), &mut state, &mut Workspace::default());
    state
}

/// Central differences of the loss by every number, the incoming state held: it is a constant.
fn check_gradients(shape: &Architecture, kind: Loss, last_only: bool, seed: u64) {
    check_gradients_with(shape, kind, last_only, seed, &Masks::default());
}

fn check_gradients_with(shape: &Architecture, kind: Loss, last_only: bool, seed: u64, masks: &Masks<f64>) {
    const STEP: f64 = 1e-6;
    let mut network: Network<f64> = network(shape, seed);
    let batch = Batch::random(shape, (7, 3), last_only, seed + 100);
    let state = warm(&network, 3, seed + 200);
    let gradients = batch.gradients_with(&network, &state, kind, masks.clone());
    let mut work = dropping(masks.clone());
    for (i, gradient) in gradients.iter().enumerate() {
        let value = network.parameters()[i];
        let mut at = |to: f64| {
            network.parameters_mut()[i] = to;
            batch.loss(&network, &state, kind, &mut work).0
        };
        let slope = (at(value + STEP) - at(value - STEP)) / (2.0 * STEP);
        at(value);
        assert!(
            (slope - gradient).abs() <= 1e-6 * slope.abs() + 1e-9,
            "{shape:?} {kind:?} last_only {last_only} number {i}: {} by differences {slope}",
            gradient
        );
    }
    let zero = gradients.iter().filter(|g| **g == 0.0).count();
    // ReLU units may be off permanently; nothing else is without effect.
    assert!(2 * zero < gradients.len(), "{zero} of {} gradients are zero: {shape:?}", gradients.len());
}

#[test]
fn gradients_of_every_cell_are_those_of_finite_differences() {
    for cell in CELLS.iter().copied() {
        for double_bias in [false, true] {
            for (i, kind) in LOSSES.into_iter().enumerate() {
                for last_only in [false, true] {
                    check_gradients(&one(cell, double_bias), kind, last_only, 7 + i as u64);
                }
            }
        }
    }
}

#[test]
fn gradients_through_stack_head_skip_and_scaling_are_those_of_finite_differences() {
    for (i, kind) in LOSSES.into_iter().enumerate() {
        for last_only in [false, true] {
            check_gradients(&rich(), kind, last_only, 31 + i as u64);
            check_gradients(&mixed(), kind, last_only, 41 + i as u64);
        }
    }
}

/// Masks of every layer's input and every state, for three rows.
fn masks(shape: &Architecture, seed: u64) -> Masks<f64> {
    let mut numbers = Numbers(seed);
    let mut mask = |width: usize| -> Vec<f64> {
        numbers.by_ref().take(3 * width).map(|number| if number < -0.4 { 0.0 } else { 1.4 }).collect()
    };
    let inputs = shape.stack().iter().map(|placed| mask(placed.inputs)).collect();
    Masks { inputs, recurrent: shape.recurrent().map(|layer| mask(layer.units)).collect() }
}

#[test]
fn gradients_of_the_vectors_of_ids_are_those_of_finite_differences() {
    let table = |rows, size| Embedding { rows, size };
    for last_only in [false, true] {
        // The units of a ReLU may be off for good.
        for cell in CELLS.iter().copied().filter(|cell| *cell != CellKind::RnnRelu) {
            let shape = Architecture { embeddings: vec![table(3, 2), table(2, 1)], ..one(cell, false) };
            check_gradients_with(&shape, Loss::Mse, last_only, 61, &Masks::default());
            check_gradients_with(&shape, Loss::Mse, last_only, 61, &masks(&shape, 62));
        }
        let mut behind = mixed();
        behind.embeddings = vec![table(2, 3)];
        behind.layers[0] = Layer::LayerNorm(LayerNormLayer { units: behind.first_width() });
        check_gradients(&behind, Loss::Mse, last_only, 63);
        // Texts may be all there is.
        let alone =
            Architecture { features: 0, network: vec![], embeddings: vec![table(4, 3)], ..one(CellKind::Gru, true) };
        check_gradients(&alone, Loss::Mse, last_only, 64);
    }
}

#[test]
fn gradients_with_dropout_are_those_of_finite_differences() {
    for last_only in [false, true] {
        for cell in CELLS.iter().copied() {
            let shape = one(cell, true);
            check_gradients_with(&shape, Loss::Mse, last_only, 51, &masks(&shape, 52));
        }
        check_gradients_with(&mixed(), Loss::Mse, last_only, 53, &masks(&mixed(), 54));
    }
}

/// A number that is dropped in each of the steps has no effect on the output, one that stays has.
#[test]
fn what_is_dropped_is_not_seen_at_any_step() {
    let shape = plain(2, &[(CellKind::Gru, 5)]);
    let network: Network<f64> = network(&shape, 61);
    let outputs = |x: [f64; 2], masks: Masks<f64>| {
        let pass =
            Pass { t: 3, b: 1, x: &[x, x, x].concat(), group: &[], ids: &[], mask: Mask::default(), last_only: false };
        let mut work = dropping(masks);
        network.forward(pass, &mut network.zero_state(1), &mut work).to_vec()
    };
    let first = || Masks { inputs: vec![vec![0.0, 2.0], vec![]], recurrent: vec![] };
    assert_eq!(outputs([1.0, 0.5], first()), outputs([-3.0, 0.5], first()));
    assert_eq!(outputs([1.0, 0.5], first()), outputs([0.0, 1.0], Masks::default()));
    // Without anything of the state a GRU's candidate is that of its input alone.
    let forgetful = Masks { inputs: vec![], recurrent: vec![vec![0.0; 5]] };
    assert_ne!(outputs([1.0, 0.5], forgetful), outputs([1.0, 0.5], Masks::default()));
}

#[test]
fn an_update_may_not_reach_back_before_a_reset() {
    for cell in CELLS.iter().copied() {
        let shape = one(cell, false);
        let network: Network<f64> = network(&shape, 3);
        let mut batch = Batch::random(&shape, (6, 2), true, 4);
        batch.active.clear();
        batch.weight.fill(1.0);
        batch.reset = (0..12).map(|at| at / 2 == 3).collect();
        let whole = batch.gradients(&network, &network.zero_state(2), Loss::Mse);
        let mut tail = batch.clone();
        tail.t = 3;
        tail.x.drain(..6 * shape.features);
        tail.reset.drain(..6);
        let tail = tail.gradients(&network, &warm(&network, 2, 5), Loss::Mse);
        assert!(tail.iter().any(|g| *g != 0.0));
        for (whole, tail) in whole.iter().zip(&tail) {
            assert!((whole - tail).abs() <= 1e-14, "{cell:?}: {whole} {tail}");
        }
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// All shapes that handing state on is checked with.
fn shapes() -> Vec<Architecture> {
    let mut shapes: Vec<_> = CELLS.iter().map(|cell| plain(1, &[(*cell, 50)])).collect();
    shapes.extend(CELLS.iter().map(|cell| one(*cell, true)));
    shapes.push(plain(3, &[(CellKind::Lstm, 33), (CellKind::Gru, 17)]));
    shapes.extend([rich(), mixed()]);
    shapes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// A long pass in pieces, each beginning with the state that the one before ended with, is the long pass.
    #[test]
    fn state_handed_on_is_the_state_of_a_longer_pass(
        shape in prop::sample::select(shapes()),
        b in 1_usize..6,
        pieces in prop::collection::vec(1_usize..9, 1..6),
        seed in 0_u64..1000,
    ) {
        let network: Network<f32> = network(&shape, seed);
        let t = pieces.iter().sum();
        let batch = Batch::<f32>::random(&shape, (t, b), false, seed + 1);
        let mut work = Workspace::default();
        let mut end = network.zero_state(b);
        let whole = network.forward(batch.pass(), &mut end, &mut work).to_vec();

        let mut state = network.zero_state(b);
        let mut joined = Vec::new();
        let mut from = 0;
        for piece in pieces {
            let cells = from * b..(from + piece) * b;
            let mask = Mask { reset: &batch.reset[cells.clone()], active: &batch.active[cells.clone()] };
            let x = &batch.x[cells.start * shape.features..cells.end * shape.features];
            let pass = Pass { t: piece, b, x, mask, group: &[], ids: &[], last_only: false };
            joined.extend_from_slice(network.forward(pass, &mut state, &mut work));
            from += piece;
        }
        prop_assert_eq!(bits(&joined), bits(&whole));
        prop_assert_eq!(state, end);
    }

    /// Cells without a step, at any place and with any content, change no output, no state and no gradient.
    #[test]
    fn cells_without_a_step_change_nothing(
        shape in prop::sample::select(shapes()),
        steps in 1_usize..8,
        gaps in prop::collection::vec(0_usize..3, 8),
        seed in 0_u64..1000,
    ) {
        // Two lanes with the gaps in different places; each lane's steps are those of `plain` in order.
        const B: usize = 2;
        let network: Network<f64> = network(&shape, seed);
        let plain = Batch { active: Vec::new(), ..Batch::<f64>::random(&shape, (steps, B), false, seed + 1) };
        let places: [Vec<usize>; B] = [0, 1].map(|lane| {
            let mut at = 0;
            (0..steps).map(|i| { at += 1 + gaps[(i + 3 * lane) % gaps.len()]; at - 1 }).collect()
        });
        let t = places.iter().filter_map(|lane| lane.last()).max().map_or(0, |last| last + 2);
        let mut wide = Batch::<f64>::random(&shape, (t, B), false, seed + 2);
        wide.active.fill(false);
        wide.weight.fill(0.0);
        wide.reset.fill(false);
        let (features, outputs) = (shape.features, shape.outputs);
        for (lane, places) in places.iter().enumerate() {
            for (i, at) in places.iter().enumerate() {
                let (from, to) = (i * B + lane, at * B + lane);
                wide.active[to] = true;
                wide.reset[to] = plain.reset[from];
                wide.x[to * features..(to + 1) * features]
                    .copy_from_slice(&plain.x[from * features..(from + 1) * features]);
                let (to, from) = (to * outputs..(to + 1) * outputs, from * outputs..(from + 1) * outputs);
                wide.wanted[to.clone()].copy_from_slice(&plain.wanted[from.clone()]);
                wide.weight[to].copy_from_slice(&plain.weight[from]);
            }
        }
        let start = warm(&network, B, seed + 3);
        let (mut end, mut wide_end) = (start.clone(), start.clone());
        let mut work = Workspace::default();
        let y = network.forward(plain.pass(), &mut end, &mut work).to_vec();
        let wide_y = network.forward(wide.pass(), &mut wide_end, &mut work).to_vec();
        prop_assert_eq!(end, wide_end);
        for (lane, places) in places.iter().enumerate() {
            for (i, at) in places.iter().enumerate() {
                let (from, to) = (i * B + lane, at * B + lane);
                prop_assert_eq!(
                    &y[from * outputs..(from + 1) * outputs],
                    &wide_y[to * outputs..(to + 1) * outputs]
                );
            }
        }
        let gradients = plain.gradients(&network, &start, Loss::Mse);
        for (a, b) in gradients.iter().zip(wide.gradients(&network, &start, Loss::Mse)) {
            // Zeros between the terms of a sum may change the order in which it is taken.
            prop_assert!((a - b).abs() <= 1e-12 * (1.0 + a.abs()), "{} {}", a, b);
        }
    }
}

#[test]
fn nothing_that_counts_is_a_loss_of_zero_without_gradients() {
    let mut gradient = vec![1.0; 3];
    assert_eq!(loss::<f32>(Loss::Mse, &[1.0, 2.0], &[0.0; 2], &[0.0; 2], &mut gradient), 0.0);
    assert_eq!(gradient, [0.0, 0.0]);
}

#[test]
fn the_loss_is_the_mean_over_what_counts() {
    let mut gradient = Vec::new();
    let (y, wanted, weight) = ([3.0, 9.0, 0.5], [1.0, 0.0, 0.0], [1.0, 0.0, 1.0]);
    assert_eq!(loss::<f64>(Loss::Mse, &y, &wanted, &weight, &mut gradient), 4.25 / 2.0);
    assert_eq!(gradient, [2.0, 0.0, 0.5]);
    assert_eq!(loss::<f64>(Loss::Mae, &y, &wanted, &weight, &mut gradient), 1.25);
    assert_eq!(loss::<f64>(Loss::Huber { delta: 1.0 }, &y, &wanted, &weight, &mut gradient), (1.5 + 0.125) / 2.0);
    assert_eq!(gradient, [0.5, 0.0, 0.25]);
}

#[test]
fn clipping_keeps_the_direction_and_leaves_small_gradients_alone() {
    let mut gradients = [3.0_f64, 4.0];
    assert_eq!(clip(&mut gradients, 1.0), 5.0);
    assert!((gradients[0] - 0.6).abs() < 1e-15 && (gradients[1] - 0.8).abs() < 1e-15);
    assert_eq!((clip(&mut gradients, 2.0), gradients[0] < 0.61), (1.0, true));
}

/// A few updates from a seed.
fn learned(shape: &Architecture, seed: u64) -> Vec<f32> {
    let mut network: Network<f32> = Network::new(shape, seed);
    let settings = config::Adam {
        learning_rate: 1e-2,
        beta_1: 0.9,
        beta_2: 0.999,
        epsilon: 1e-7,
        epsilon_form: EpsilonForm::Keras,
    };
    let mut adam = Adam::new(settings, network.parameters().len());
    for round in 0..10 {
        let batch = Batch::random(shape, (9, 5), false, round);
        let gradients = batch.gradients(&network, &network.zero_state(5), Loss::Mse);
        adam.update(&Threads::default(), network.parameters_mut(), &gradients);
    }
    network.parameters().to_vec()
}

#[test]
fn a_seed_gives_the_same_bits_and_another_one_others() {
    for shape in shapes() {
        let first = learned(&shape, 1);
        assert!(first.iter().all(|p| p.is_finite()));
        assert_eq!(bits(&first), bits(&learned(&shape, 1)), "{shape:?}");
        let other = learned(&shape, 2);
        let same = first.iter().zip(&other).filter(|(a, b)| a == b).count();
        assert!(10 * same < first.len(), "{same} of {} are equal", first.len());
    }
}
