//! Graphs of sequences: the same bits however rows are put together, and what the network computes. Needs ONNX Runtime.

use super::Network;
use crate::kernel::CellKind;
use crate::model::Session;
use crate::model::executor::Buffer;
use crate::model::onnx::{export, import};
use crate::network::testing::{Numbers, plain, tensors};
use crate::network::{Architecture, Element, Embedding, Layer, Pool, Signature, Vocabulary};

/// Every cell with an operator, with both kinds of pooling, in one direction and in both, with classes and with a
/// number.
fn architectures() -> Vec<Architecture> {
    let mut all = Vec::new();
    let cells = CellKind::ALL.iter().filter(|cell| cell.form().operator().is_some());
    for (at, cell) in cells.enumerate() {
        for pool in [Pool::Last, Pool::Mean] {
            for both in [vec![], vec![1], vec![0, 1], vec![0]] {
                let mut architecture = plain(3, &[(*cell, 6), (*cell, 5)]);
                architecture.layers.push(Layer::dense(7, crate::kernel::Activation::Tanh));
                for layer in &both {
                    if let Layer::Recurrent(layer) = &mut architecture.layers[*layer] {
                        layer.bidirectional = true;
                    }
                }
                (architecture.pool, architecture.outputs, architecture.scaling) = (pool, 4, true);
                architecture.softmax = (at + both.len()) % 3 > 0;
                all.push(architecture);
            }
        }
    }
    let some: Vec<Architecture> = all.iter().step_by(5).map(|one| Architecture { members: 3, ..one.clone() }).collect();
    all.extend(some);
    all
}

pub(super) struct Graph {
    session: Session,
    signature: Signature,
}

impl Graph {
    pub(super) fn new(architecture: &Architecture) -> Graph {
        let keys = |_: &Embedding| Vocabulary { column: None, tokens: vec!["a".into(), "b".into()] };
        let vocabularies: Vec<Vocabulary> = architecture.embeddings.iter().map(keys).collect();
        let signature = Signature::of_own(architecture, Vec::new(), &[], None);
        let signature = signature.with_embeddings(architecture, &vocabularies);
        let onnx = export::onnx(architecture, &tensors(architecture, 3), "test").unwrap();
        assert_eq!(import::network(&onnx).unwrap(), (architecture.clone(), tensors(architecture, 3)));
        Graph { session: Session::own(&onnx, &signature).unwrap(), signature }
    }

    /// `y` [b, outputs], and the states after it.
    pub(super) fn run(&mut self, x: &[f32], t: usize, lengths: &[i32], states: &[Buffer]) -> (Vec<f32>, Vec<Buffer>) {
        let b = lengths.len();
        let mut taken = vec![Buffer::of(x)];
        for (at, tensor) in self.signature.taken().iter().enumerate().skip(1) {
            taken.push(match (tensor.element, states.get(at - 1)) {
                (Element::Int32, _) => Buffer::of(lengths),
                (Element::Int64, _) => Buffer::of(&(0..t * b).map(|cell| (cell % b % 2) as i64).collect::<Vec<_>>()),
                (_, Some(state)) => state.clone(),
                (_, None) => Buffer::of(&vec![0.0_f32; tensor.numbers(t, b)]),
            });
        }
        let given = self.signature.given();
        let mut given: Vec<Buffer> =
            given.iter().map(|tensor| Buffer::of(&vec![f32::NAN; tensor.numbers(t, b)])).collect();
        self.session.run(t, b, &taken, &mut given).unwrap();
        (given[0].values().to_vec(), given.split_off(1))
    }
}

pub(super) fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

const T: usize = 9;

/// [T, b, 3], with NaN beyond each length.
fn rows(lengths: &[i32]) -> Vec<f32> {
    let mut x: Vec<f32> = Numbers(8).take(T * lengths.len() * 3).map(|value| 2.0 * value).collect();
    for (cell, x) in x.chunks_exact_mut(3).enumerate() {
        if cell / lengths.len() >= lengths[cell % lengths.len()] as usize {
            x.fill(f32::NAN);
        }
    }
    x
}

/// One row of a batch, in a batch of two of its own.
fn alone(x: &[f32], lengths: &[i32], row: usize) -> (Vec<f32>, usize) {
    let steps = lengths[row] as usize;
    let of = |at: usize| &x[(at * lengths.len() + row) * 3..][..3];
    ((0..steps).flat_map(|at| [of(at), of(at)].concat()).collect(), steps)
}

#[test]
fn a_sequence_has_the_same_bits_beside_any_others_and_step_by_step() {
    for architecture in architectures() {
        let mut graph = Graph::new(&architecture);
        let outputs = architecture.outputs;
        for b in [2, 7, 64] {
            let lengths: Vec<i32> = (0..b).map(|row| 1 + (row * 5 % T) as i32).collect();
            let x = rows(&lengths);
            let (y, _) = graph.run(&x, T, &lengths, &[]);
            for row in 0..b.min(9) {
                let (x, steps) = alone(&x, &lengths, row);
                let found = bits(&y[row * outputs..(row + 1) * outputs]);
                let (own, _) = graph.run(&x, steps, &[steps as i32; 2], &[]);
                assert_eq!(found, bits(&own[..outputs]), "{architecture:?} row {row} of {b}");
                if architecture.is_bidirectional() {
                    continue;
                }
                // In single steps, with the state carried.
                let (mut states, mut last) = (Vec::new(), Vec::new());
                for step in x.chunks_exact(6) {
                    (last, states) = graph.run(step, 1, &[1, 1], &states);
                }
                assert_eq!(found, bits(&last[..outputs]), "{architecture:?} row {row} of {b}, single steps");
            }
        }
    }
}

#[test]
fn the_graph_computes_what_the_network_does_and_classes_add_up_to_one() {
    for architecture in architectures() {
        let network = Network::<f32>::restored(&architecture, &tensors(&architecture, 3)).unwrap();
        let lengths = [T as i32, 1, 4];
        let x = rows(&lengths);
        let active: Vec<bool> = (0..T as i32).flat_map(|at| lengths.map(|length| at < length)).collect();
        let (y, _) = Graph::new(&architecture).run(&x, T, &lengths, &[]);
        let expected = network.outputs_until(&x, (&[], &[]), &active, T, 3);
        for (found, expected) in y.iter().zip(&expected) {
            assert!((found - expected).abs() < 2e-5 * (1.0 + expected.abs()), "{architecture:?}: {found} {expected}");
        }
        if architecture.softmax {
            assert!(y.chunks(4).all(|row| (row.iter().sum::<f32>() - 1.0).abs() < 1e-6));
        }
    }
}

#[test]
fn gradients_of_both_directions_and_of_pooling_are_those_of_finite_differences() {
    use super::network::{Pass, Workspace};
    use crate::kernel::recurrent::Mask;
    use crate::train::loss::cross_entropy;
    for architecture in architectures().into_iter().filter(|one| one.softmax && one.members == 1) {
        let mut network = Network::<f64>::restored(&architecture, &tensors(&architecture, 3)).unwrap();
        let lengths = [4, 1, 6];
        let (t, b) = (6, 3);
        let x: Vec<f64> = Numbers(8).take(t * b * 3).map(f64::from).collect();
        let active: Vec<bool> = (0..t).flat_map(|at| lengths.map(|length| at < length)).collect();
        let pass =
            Pass { t, b, x: &x, mask: Mask { reset: &[], active: &active }, group: &[], ids: &[], last_only: false };
        let mut work = Workspace::default();
        let mut d = Vec::new();
        let loss = |network: &Network<f64>, work: &mut Workspace<f64>, d: &mut Vec<f64>| {
            let y = network.forward(pass, &mut network.zero_state(b), work);
            cross_entropy(y, 4, &[0.0, 3.0, 1.0], &[1.0, 0.5, 2.0], d)
        };
        loss(&network, &mut work, &mut d);
        let mut gradients = vec![0.0; network.parameters().len()];
        network.backward(pass, &d, &mut work, &mut gradients);
        for at in (0..gradients.len()).step_by(7) {
            let mut moved = |by: f64| {
                network.parameters_mut()[at] += by;
                let value = loss(&network, &mut Workspace::default(), &mut Vec::new());
                network.parameters_mut()[at] -= by;
                value
            };
            let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            assert!((slope - gradients[at]).abs() < 1e-7, "{architecture:?} {at}: {slope} {}", gradients[at]);
        }
    }
}

/// Versions that were published before there were sequences.
#[test]
fn graphs_of_earlier_versions_come_out_with_the_same_bytes() {
    for name in ["weather-rnn", "weather-gru", "weather-lstm"] {
        let path = format!("{}/models/{name}/1/model.onnx", env!("CARGO_MANIFEST_DIR"));
        let onnx = std::fs::read(path).unwrap();
        let (architecture, tensors) = import::network(&onnx).unwrap();
        let model = import::model(&onnx).unwrap();
        let name = model.graph.as_ref().map(|graph| graph.name().to_string()).unwrap();
        assert!(export::onnx(&architecture, &tensors, &name).unwrap() == onnx, "{name}");
    }
}
