//! The file, the session and the forward pass against each other. Needs ONNX Runtime.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::executor::{Buffer, Executor, Input, OnnxRuntime, Output, Rows, RowsMut, Steps, described};
use super::onnx::{export, import};
use super::testing::{room, session, signature, step_of, zero_state};
use super::*;
use crate::kernel::{Activation, CellKind};
use crate::metrics::Metrics;
use crate::network::testing::{Numbers, layer, mixed, plain, rich, tensors};
use crate::network::{Architecture, Axis, Embedding, Layer, Tensor};
use crate::state::{Bank, Memory, RowLayout, StateSpec};

/// Groups of the architecture that has them.
const GROUPS: usize = 3;
/// Tables of the one that looks up texts.
const TABLES: [Embedding; 2] = [Embedding { rows: 5, size: 3 }, Embedding { rows: 2, size: 1 }];

/// What a run gives: `y`, then every state out.
type Outcome = Vec<Vec<f32>>;

/// The group of a row, whatever its batch.
fn group(x: &[f32], groups: usize) -> usize {
    x[0].to_bits() as usize % groups.max(1)
}

/// The id of a row in each table, whatever its batch.
fn ids(x: &[f32]) -> Vec<usize> {
    TABLES.iter().enumerate().map(|(i, table)| (x[0].to_bits() as usize >> i) % table.rows).collect()
}

fn run(session: &mut Session, t: usize, b: usize, x: &[f32], states: &[Vec<f32>]) -> Outcome {
    let mut given = room(session, t, b);
    let mut taken: Vec<Buffer> = std::iter::once(x).chain(states.iter().map(Vec::as_slice)).map(Buffer::of).collect();
    for (at, input) in session.signature().inputs.iter().enumerate().skip(1) {
        let of = |row: &[f32]| match input.tensor.name.strip_prefix("ids_") {
            Some(table) => ids(row)[table.parse::<usize>().unwrap()] as i64,
            None => group(row, GROUPS) as i64,
        };
        taken.insert(at, Buffer::of(&x.chunks_exact(x.len() / (t * b)).map(of).collect::<Vec<i64>>()));
    }
    session.run(t, b, &taken, &mut given).unwrap();
    given.iter().map(|buffer| buffer.values().to_vec()).collect()
}

fn zeros(architecture: &Architecture, b: usize) -> Vec<Vec<f32>> {
    architecture.states().iter().map(|pair| vec![0.0; b * pair.width()]).collect()
}

fn bits(outcome: &[Vec<f32>]) -> Vec<Vec<u32>> {
    outcome.iter().map(|values| values.iter().map(|value| value.to_bits()).collect()).collect()
}

/// Architectures that differ in everything there is.
fn architectures() -> Vec<Architecture> {
    let mut all = vec![rich(), mixed()];
    for cell in CellKind::ALL.iter().copied() {
        all.push(plain(1, &[(cell, 50)]));
        let mut stacked = plain(3, &[(cell, 8), (cell, 5)]);
        stacked.layers[1] = layer(cell, 5, true);
        stacked.outputs = 2;
        stacked.residual = vec![1, 1];
        all.push(stacked);
    }
    // A run of inputs in the middle is a Slice, one that ends at the last as well.
    let mut sliced = plain(6, &[(CellKind::Gru, 16)]);
    (sliced.network, sliced.skip, sliced.residual) = (vec![1, 2], vec![3, 4, 5], vec![5]);
    sliced.scaling = true;
    all.push(sliced.clone());
    (sliced.groups, sliced.outputs, sliced.residual) = (GROUPS, 4, vec![5, 5, 0, 1]);
    all.push(sliced.clone());
    all.push(Architecture { members: 3, ..sliced.clone() });
    sliced.embeddings = TABLES.to_vec();
    all.push(sliced.clone());
    all.push(Architecture { members: 2, ..sliced });
    all.push(Architecture { members: 2, ..mixed() });
    let operators: Vec<_> = CellKind::ALL.iter().map(|cell| (*cell, 5)).collect();
    all.push(Architecture { members: 2, ..plain(2, &operators) });
    all
}

/// Random quantiles cross in every other row; the graph gives what training's evaluation does, row by row.
#[test]
fn quantiles_do_not_cross_and_have_the_same_bits_in_every_batch() {
    const T: usize = 5;
    const B: usize = 7;
    for names in [&["y_q10", "y", "y_q90"][..], &["y", "y_q60", "y_q70", "y_q975"], &["y_q05", "y_q10", "y"]] {
        let mut architecture = plain(3, &[(CellKind::Gru, 8)]);
        (architecture.outputs, architecture.scaling) = (2 * names.len(), true);
        (architecture.residual, architecture.skip) = (vec![1; 2 * names.len()], vec![0, 2]);
        architecture.quantiles = names.iter().map(|name| name.to_string()).collect();
        let tensors = tensors(&architecture, 5);
        let mut session = session(&architecture, &tensors);
        let x: Vec<f32> = Numbers(9).take(T * B * 3).collect();
        let outcome = run(&mut session, T, B, &x, &zeros(&architecture, B));
        let network = crate::train::Network::<f32>::restored(&architecture, &tensors).unwrap();
        let expected = network.outputs(&x, T, B);
        let order: Vec<usize> = names
            .iter()
            .map(|name| architecture.graph_outputs().iter().position(|(output, _)| output == name).unwrap())
            .collect();
        let mut crossed = 0;
        for (row, expected) in expected.chunks_exact(architecture.outputs).enumerate() {
            let found: Vec<&[f32]> = order.iter().map(|at| &outcome[*at][2 * row..2 * row + 2]).collect();
            for (found, expected) in found.iter().flat_map(|pair| pair.iter()).zip(expected) {
                assert!((found - expected).abs() < 2e-5, "{names:?} row {row}: {found} {expected}");
            }
            for pair in found.windows(2) {
                assert!(pair[0].iter().zip(pair[1]).all(|(low, high)| low <= high), "{names:?}: {found:?}");
                crossed += usize::from(pair[0][0] == pair[1][0]);
            }
        }
        assert!(crossed > 0, "{names:?}: nothing crossed");
        // Rows of the first step, in batches of two.
        for lane in 0..B - 1 {
            let few = run(&mut session, 1, 2, &x[3 * lane..3 * lane + 6], &zeros(&architecture, 2));
            for (few, all) in few.iter().zip(&outcome[..names.len()]) {
                assert_eq!(bits(std::slice::from_ref(few)), bits(&[all[2 * lane..2 * lane + 4].to_vec()]));
            }
        }
    }
}

#[test]
fn the_graph_computes_what_the_cells_are_defined_as() {
    const T: usize = 9;
    const B: usize = 4;
    for (n, architecture) in architectures().iter().enumerate().filter(|(_, one)| one.members == 1) {
        let tensors = tensors(architecture, n as u64);
        let x: Vec<f32> = Numbers(77).take(T * B * architecture.features).collect();
        let outcome = run(&mut session(architecture, &tensors), T, B, &x, &zeros(architecture, B));
        let mut states = vec![zero_state(architecture); B];
        for t in 0..T {
            for (b, state) in states.iter_mut().enumerate() {
                let row = (t * B + b) * architecture.features;
                let x = &x[row..row + architecture.features];
                let y = step_of(architecture, &tensors, x, (group(x, architecture.groups), &ids(x)), state);
                for (o, expected) in y.iter().enumerate() {
                    let found = f64::from(outcome[0][(t * B + b) * architecture.outputs + o]);
                    assert!((found - expected).abs() < 2e-5, "{architecture:?} t {t} b {b}: {found} {expected}");
                }
            }
        }
        for (out, pair) in outcome[1..].iter().zip(architecture.states()) {
            let layer: usize = pair.input[2..].parse().unwrap();
            for (b, state) in states.iter().enumerate() {
                let expected = if pair.input.starts_with('c') { &state[layer].1 } else { &state[layer].0 };
                for (i, expected) in expected.iter().enumerate() {
                    let found = f64::from(out[b * pair.width() + i]);
                    assert!((found - expected).abs() < 2e-5, "{architecture:?} {}: {found} {expected}", pair.output);
                }
            }
        }
    }
}

/// The graph of several members gives the mean of what each of them gives in a graph of its own, to the bit, and its
/// states are theirs.
#[test]
fn a_mean_is_that_of_the_members_run_apart() {
    const T: usize = 7;
    for (n, cell) in CellKind::ALL.iter().enumerate() {
        let mut single = plain(3, &[(*cell, 6), (CellKind::Lstm, 4)]);
        single.outputs = 2;
        let several = Architecture { members: 3, ..single.clone() };
        let all = tensors(&several, n as u64);
        for b in [2, 5, 64] {
            let x: Vec<f32> = Numbers(4).take(T * b * 3).collect();
            let whole = run(&mut session(&several, &all), T, b, &x, &zeros(&several, b));
            let (mut sum, mut states) = (vec![0.0_f32; T * b * 2], Vec::new());
            for prefix in several.prefixes() {
                let own = |tensor: &Tensor| {
                    Some(Tensor { name: tensor.name.strip_prefix(&prefix)?.to_string(), ..tensor.clone() })
                };
                let own: Vec<Tensor> = all.iter().filter_map(own).collect();
                let mut alone = run(&mut session(&single, &own), T, b, &x, &zeros(&single, b));
                states.extend(alone.split_off(1));
                sum.iter_mut().zip(&alone[0]).for_each(|(sum, y)| *sum += y);
            }
            sum.iter_mut().for_each(|sum| *sum /= 3.0);
            assert_eq!(bits(&whole[..1]), bits(&[sum]), "{cell:?}, {b} rows");
            assert_eq!(bits(&whole[1..]), bits(&states), "{cell:?}, {b} rows");
        }
    }
}

/// The same rows in every batch size from 2 up, at any place, have the same bits: outputs and states.
#[test]
fn bits_of_a_row_do_not_depend_on_its_batch() {
    const ROWS: usize = 130;
    for (n, architecture) in architectures().iter().enumerate() {
        let (f, o) = (architecture.features, architecture.outputs);
        let mut session = session(architecture, &tensors(architecture, 100 + n as u64));
        let x: Vec<f32> = Numbers(n as u64).take(ROWS * f).collect();
        let states: Vec<Vec<f32>> =
            architecture.states().iter().map(|pair| Numbers(5).take(ROWS * pair.width()).collect()).collect();
        let whole = bits(&run(&mut session, 1, ROWS, &x, &states));
        for b in (2..=40).chain([63, 64, 65, 100, 127, 128]) {
            let start = (b * 7) % (ROWS - b + 1);
            let rows = |values: &[f32], width: usize| values[start * width..(start + b) * width].to_vec();
            let given: Vec<Vec<f32>> =
                states.iter().zip(architecture.states()).map(|(state, pair)| rows(state, pair.width())).collect();
            let part = bits(&run(&mut session, 1, b, &rows(&x, f), &given));
            assert_eq!(part[0], whole[0][start * o..(start + b) * o], "y, {b} rows, {architecture:?}");
            for (i, pair) in architecture.states().iter().enumerate() {
                let expected = &whole[i + 1][start * pair.width()..(start + b) * pair.width()];
                assert_eq!(part[i + 1], expected, "{}, {b} rows, {architecture:?}", pair.output);
            }
        }
    }
}

/// Many steps in one run are the same bits as that many runs of one step.
#[test]
fn steps_in_one_run_are_runs_of_one_step() {
    for (n, architecture) in architectures().iter().enumerate() {
        let mut session = session(architecture, &tensors(architecture, 200 + n as u64));
        for (t, b) in [(2, 2), (8, 7), (33, 64), (128, 2)] {
            let x: Vec<f32> = Numbers(3).take(t * b * architecture.features).collect();
            let whole = run(&mut session, t, b, &x, &zeros(architecture, b));
            let mut states = zeros(architecture, b);
            let mut y = Vec::new();
            for x in x.chunks_exact(b * architecture.features) {
                let mut outcome = run(&mut session, 1, b, x, &states);
                states = outcome.split_off(1);
                y.append(&mut outcome[0]);
            }
            states.insert(0, y);
            assert_eq!(bits(&whole), bits(&states), "{t} steps of {b} rows, {architecture:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What was exported comes back, bit for bit, and the file depends on nothing else.
    #[test]
    fn an_export_loads_back_without_loss(
        features in 1..6_usize,
        layers in prop::collection::vec((0..CellKind::ALL.len(), 1..9_usize, any::<bool>()), 1..4),
        head in prop::collection::vec((1..5_usize, 0..3_usize), 0..3),
        outputs in 1..4_usize,
        (scaling, skip, residual) in any::<(bool, bool, bool)>(),
        seed in any::<u64>(),
        members in 1..4_usize,
    ) {
        let cells = CellKind::ALL;
        let activations = [Activation::Linear, Activation::Relu, Activation::Tanh];
        let mut pick = Numbers(seed).map(|number| (number.abs() * features as f32) as usize % features);
        let architecture = Architecture {
            features,
            network: pick.by_ref().take(features).collect(),
            skip: if skip { pick.by_ref().take(2).collect() } else { vec![] },
            groups: 0,
            embeddings: vec![],
            residual: if residual { pick.take(outputs).collect() } else { vec![] },
            layers: layers
                .iter()
                .map(|&(cell, units, double_bias)| layer(cells[cell], units, double_bias))
                .chain(head.iter().map(|&(units, a)| Layer::dense(units, activations[a])))
                .collect(),
            outputs,
            scaling,
            pool: crate::network::Pool::None,
            softmax: false,
            members,
            quantiles: vec![],
            patch: 1,
            segments: 0,
            centred: vec![],
        };
        let mut given = tensors(&architecture, seed);
        // Values that don't survive arithmetic, only copying.
        given[0].data[0] = f32::from_bits(0x7fc0_1234);
        given.last_mut().unwrap().data[0] = -0.0;
        let onnx = export::onnx(&architecture, &given, "loss-free").unwrap();
        prop_assert_eq!(&onnx, &export::onnx(&architecture, &given, "loss-free").unwrap());
        let (back, found) = import::network(&onnx).unwrap();
        prop_assert_eq!(back, architecture);
        prop_assert_eq!(found.len(), given.len());
        for (found, given) in found.iter().zip(&given) {
            prop_assert_eq!(&found.name, &given.name);
            prop_assert_eq!(&found.shape, &given.shape);
            prop_assert_eq!(bits(std::slice::from_ref(&found.data)), bits(std::slice::from_ref(&given.data)));
        }
    }
}

/// The arrays of an npz file, flat, with their shapes.
fn npz(path: &str) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let arrays = crate::fixtures::npz(format!("{}/tests/fixtures/{path}", env!("CARGO_MANIFEST_DIR")));
    arrays.into_iter().map(|(name, array)| (name, (array.shape.clone(), array.f32()))).collect()
}

/// Weights that Keras trained give Keras' outputs (its own export, run by ONNX Runtime, is where `y` comes from).
#[test]
fn weights_of_keras_give_its_outputs() {
    for (file, cell) in [("rnn", CellKind::RnnTanh), ("lstm", CellKind::Lstm), ("gru", CellKind::Gru)] {
        let arrays = npz(&format!("keras/keras_{file}.npz"));
        let architecture = plain(1, &[(cell, 50)]);
        let tensors: Vec<Tensor> = architecture
            .tensor_shapes()
            .into_iter()
            .enumerate()
            .map(|(i, (name, shape))| {
                let (stored, data) = arrays[&format!("w{i}")].clone();
                assert_eq!(stored, shape, "{file} {name}");
                Tensor { name, shape, data }
            })
            .collect();
        let (shape, x) = &arrays["x"];
        let (b, t) = (shape[0], shape[1]);
        let time_first: Vec<f32> = (0..t).flat_map(|t_at| (0..b).map(move |row| x[row * t + t_at])).collect();
        let outcome = run(&mut session(&architecture, &tensors), t, b, &time_first, &zeros(&architecture, b));
        for (found, expected) in outcome[0][(t - 1) * b..].iter().zip(&arrays["y"].1) {
            assert!((found - expected).abs() < 1e-5, "{file}: {found} {expected}");
        }
    }
}

#[test]
fn a_graph_of_another_signature_is_refused_with_both_sides() {
    let architecture = plain(3, &[(CellKind::Lstm, 8)]);
    let onnx = export::onnx(&architecture, &tensors(&architecture, 1), "test").unwrap();
    let mut expected = signature(&architecture);
    expected.inputs[0].tensor.shape[2] = Axis::Fixed(4);
    expected.outputs[0].tensor.shape[2] = Axis::Fixed(2);
    expected.states[0].tensor.shape[1] = Axis::Fixed(9);
    expected.states[1].tensor.name = "cell".into();
    let message = Session::own(&onnx, &expected).unwrap_err();
    assert_eq!(message.exit_code(), 2);
    let message = message.to_string();
    for line in [
        "input \"x\": expected float32 [time, batch, 4], the graph has float32 [T, B, 3]",
        "input \"h_0\": expected float32 [batch, 9], the graph has float32 [B, 8]",
        "input \"cell\": expected float32 [batch, 8], the graph has none of that name",
        "input \"c_0\": the graph has float32 [B, 8], none of that name is expected",
        "output \"y\": expected float32 [time, batch, 2], the graph has float32 [T, B, 1]",
        "output \"h_0_out\": expected float32 [batch, 9], the graph has float32 [B, 8]",
        "state pairs: expected ",
    ] {
        assert!(message.contains(line), "{line} in:\n{message}");
    }
}

#[test]
fn what_is_no_model_is_refused() {
    let signature = signature(&plain(1, &[(CellKind::Gru, 2)]));
    assert_eq!(Session::own(b"no model at all", &signature).unwrap_err().exit_code(), 2);
    assert_eq!(import::network(b"\xff\xff\xff").unwrap_err().exit_code(), 2);
    assert_eq!(import::network(b"").unwrap_err().exit_code(), 2);
}

#[test]
fn short_buffers_are_an_error_not_a_crash() {
    let architecture = plain(2, &[(CellKind::Gru, 4)]);
    let mut session = session(&architecture, &tensors(&architecture, 1));
    let long = |count: usize| Buffer::of(&vec![0.0_f32; count]);
    let fine = [long(12), long(12)];
    session.run(2, 3, &fine, &mut [long(6), long(12)]).unwrap();
    assert!(session.run(2, 3, &[long(11), long(12)], &mut [long(6), long(12)]).is_err());
    assert!(session.run(2, 3, &[long(12), long(11)], &mut [long(6), long(12)]).is_err());
    assert!(session.run(2, 3, &fine[..1], &mut [long(6), long(12)]).is_err());
    assert!(session.run(2, 3, &fine, &mut [long(5), long(12)]).is_err());
    assert!(session.run(2, 3, &fine, &mut [long(6), long(11)]).is_err());
}

/// Buffers are bound by address: other values in the same place, and other places, must both be seen.
#[test]
fn a_bound_buffer_is_read_anew_in_every_run() {
    let architecture = plain(1, &[(CellKind::RnnTanh, 3)]);
    let tensors = tensors(&architecture, 1);
    let (mut first, mut second) = (session(&architecture, &tensors), session(&architecture, &tensors));
    let mut taken = [Buffer::of(&[0.0_f32; 2]), Buffer::of(&[0.0_f32; 6])];
    for round in 0..200 {
        let x: Vec<f32> = Numbers(round).take(2).collect();
        taken[0].values_mut().copy_from_slice(&x);
        let mut given = room(&first, 1, 2);
        first.run(1, 2, &taken, &mut given).unwrap();
        let expected = run(&mut second, 1, 2, &x, &[vec![0.0; 6]]);
        assert_eq!(given.iter().map(|buffer| buffer.values().to_vec()).collect::<Outcome>(), expected, "round {round}");
    }
}

/// Features and state go in by row and slot, outputs and state come back there, and nothing else is touched.
#[test]
fn the_executor_gathers_and_scatters() {
    const T: usize = 2;
    let mut architecture = plain(3, &[(CellKind::Lstm, 8), (CellKind::Gru, 5)]);
    architecture.outputs = 2;
    let tensors = tensors(&architecture, 5);
    let mut session_alone = session(&architecture, &tensors);
    let metrics = Arc::new(Metrics::new().unwrap());
    let mut executor = OnnxRuntime::new(session(&architecture, &tensors), &|_| None, metrics).unwrap();
    let states = signature(&architecture).states;
    let spec = described(StateSpec::default().u64("steps", 0), &states, &|_| None).unwrap();
    let mut memory = Memory::new(Arc::new(RowLayout::new([("infer", spec)])));
    memory.grow_to(6);
    let mut state = memory.part(0);

    let slots = [5, 0, 3, 1];
    let mut states = zeros(&architecture, slots.len());
    for round in 0..3_u64 {
        let x: Vec<f32> = Numbers(round).take(8 * 3).collect();
        // The rows of the inputs in another order, and one step whose output isn't needed.
        let rows = [7, 2, 1, 0, 6, 3, 4, 5];
        let mut gives = [0, 1, 2, 3, 4, 5, 6, 7];
        gives[2] = Steps::NONE;
        let reset = [false, round == 2, false, false];
        if reset[1] {
            states.iter_mut().for_each(|state| {
                let width = state.len() / slots.len();
                state[width..2 * width].fill(0.0);
            });
        }
        let gathered: Vec<f32> = rows.iter().flat_map(|row| x[row * 3..row * 3 + 3].to_vec()).collect();
        let expected = run(&mut session_alone, T, slots.len(), &gathered, &states);
        let mut y = vec![-1.0; 8 * 2];
        let rows = rows.map(|row| row as u32);
        let input = Input { values: Rows::F32(&x), width: 3 };
        let steps =
            Steps { t: T, slots: &slots, inputs: &[input], rows: &rows, gives: &gives, reset: &reset, lengths: &[] };
        let output = Output { values: RowsMut::F32(&mut y), width: 2 };
        executor.run(&steps, state.bank.as_deref_mut(), &mut [output]).unwrap();
        let mut wanted = expected[0].clone();
        wanted[4..6].fill(-1.0);
        assert_eq!(bits(&[y]), bits(&[wanted]));
        states = expected[1..].to_vec();
    }
    let Some(Bank::Host(bank)) = &mut state.bank else { panic!("a network has a bank") };
    let bank = bank.numbers();
    for (n, slot) in slots.iter().enumerate() {
        let expected = states.iter().flat_map(|state| state.chunks(state.len() / slots.len()).nth(n).unwrap());
        let expected: Vec<f32> = expected.copied().collect();
        assert_eq!(bytemuck::cast_slice::<f32, u8>(&expected), bank.get(*slot), "slot {slot}");
    }
    assert!([2, 4].iter().all(|slot| bank.get(*slot).iter().all(|byte| *byte == 0)));
    let lengths = Steps { t: 1, slots: &[0], inputs: &[], rows: &[0], gives: &[0], reset: &[true], lengths: &[1] };
    assert!(executor.run(&lengths, None, &mut []).is_err());
}
