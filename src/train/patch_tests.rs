//! Windows in patches: the graph, the network and its gradients. Needs ONNX Runtime.

use super::dropout::Masks;
use super::graph_tests::{Graph, bits};
use super::network::{Pass, Workspace};
use super::plan::tests::{section, steps_clock};
use super::{Network, Plan};
use crate::config;
use crate::error::Problems;
use crate::kernel::CellKind;
use crate::kernel::recurrent::Mask;
use crate::network::testing::{Numbers, plain, tensors};
use crate::network::{Architecture, Embedding, Layer, Pool};

const PATCH: usize = 3;
const T: usize = 9;

/// Every cell, with all that a forecast may have beside its layers.
fn architectures() -> Vec<Architecture> {
    let mut all = Vec::new();
    for (at, cell) in CellKind::ALL.iter().enumerate() {
        let mut one = plain(3, &[(*cell, 6), (*cell, 5)]);
        one.layers.push(Layer::dense(7, crate::kernel::Activation::Tanh));
        (one.pool, one.patch, one.outputs, one.scaling) = (Pool::Last, PATCH, 2, at % 2 == 0);
        (one.skip, one.residual) = (vec![2, 0], vec![1, 2]);
        (one.groups, one.members) = ([0, 2][at % 2], [1, 3][at % 2]);
        all.push(one.clone());
        (one.network, one.skip, one.residual, one.groups, one.softmax) = (vec![1, 2], vec![], vec![], 0, true);
        all.push(one);
        all.extend(decoded(*cell, at));
    }
    all
}

/// As forecasts that are decoded by position: one layer, with a vector of the key; and several with all there is.
fn decoded(cell: CellKind, at: usize) -> [Architecture; 2] {
    let mut small = plain(3, &[(cell, 5)]);
    (small.pool, small.patch, small.outputs, small.segments) = (Pool::Last, PATCH, 6, 3);
    small.embeddings = vec![Embedding { rows: 3, size: 2 }];
    small.centred = vec![0, 1, 2];
    let mut large = plain(3, &[(cell, 6), (cell, 5)]);
    large.layers.push(Layer::dense(7, crate::kernel::Activation::Tanh));
    large.layers.push(Layer::LayerNorm(crate::network::LayerNormLayer { units: 7 }));
    (large.pool, large.patch, large.outputs, large.segments) = (Pool::Last, PATCH, 12, 2);
    (large.skip, large.residual, large.scaling) = (vec![2, 0], [1, 2].repeat(6), true);
    (large.groups, large.members) = ([0, 2][at % 2], [1, 3][at % 2]);
    large.centred = vec![[2], [0]][at % 2].to_vec();
    large.quantiles = ["y_q10", "y", "y_q90"].map(String::from).to_vec();
    [small, large]
}

#[test]
fn a_window_has_the_same_bits_beside_any_others_and_those_of_the_network() {
    for architecture in architectures() {
        let mut graph = Graph::new(&architecture);
        let network = Network::<f32>::restored(&architecture, &tensors(&architecture, 3)).unwrap();
        for b in [2, 7, 64] {
            let x: Vec<f32> = Numbers(5).take(T * b * 3).collect();
            let (y, _) = graph.run(&x, T, &vec![T as i32; b], &[]);
            let width = architecture.graph_outputs()[0].1;
            assert_eq!(y.len(), b * width);
            let group: Vec<u32> = (0..T * b).map(|cell| (cell % b % 2) as u32).collect();
            let expected = network.outputs_until(&x, (&group, &group), &[], T, b);
            let expected: Vec<f32> = expected.chunks(architecture.outputs).flat_map(|row| median(row, width)).collect();
            for (found, expected) in y.iter().zip(&expected) {
                assert!((found - expected).abs() < 2e-5, "{architecture:?}: {found} {expected}");
            }
            // The group of a lane is that of its number: pairs of neighbours keep theirs.
            for row in (0..b.min(9) - 1).step_by(2) {
                let own = (0..T).flat_map(|at| x[(at * b + row) * 3..][..6].to_vec()).collect::<Vec<f32>>();
                let (alone, _) = graph.run(&own, T, &[T as i32; 2], &[]);
                assert_eq!(bits(&y[row * width..(row + 2) * width]), bits(&alone), "{architecture:?} row {row} of {b}");
            }
        }
    }
}

/// Of all quantiles the median, the second of three.
fn median(row: &[f32], width: usize) -> Vec<f32> {
    row[if row.len() > width { width } else { 0 }..][..width].to_vec()
}

/// The same as a network of fewer steps whose inputs are the patches, by a loop.
#[test]
fn a_patch_is_one_input_of_all_its_steps() {
    let mut folded = plain(6, &[(CellKind::Gru, 4)]);
    (folded.pool, folded.outputs) = (Pool::Last, 2);
    let patched = Architecture { features: 2, network: vec![0, 1], patch: PATCH, ..folded.clone() };
    let numbers = tensors(&folded, 1);
    let (t, b) = (6, 2);
    let x: Vec<f32> = (0..t * b * 2).map(|n| n as f32 / 10.0).collect();
    let mut patches = Vec::new();
    for patch in 0..t / PATCH {
        for lane in 0..b {
            for at in 0..PATCH {
                for feature in 0..2 {
                    patches.push(x[((patch * PATCH + at) * b + lane) * 2 + feature]);
                }
            }
        }
    }
    assert_eq!(patches[..6], [0.0, 0.1, 0.4, 0.5, 0.8, 0.9]);
    let found = Network::restored(&patched, &numbers).unwrap().outputs(&x, t, b);
    assert_eq!(found, Network::restored(&folded, &numbers).unwrap().outputs(&patches, t / PATCH, b));
}

/// A loop that decodes each segment by itself: a tanh cell, so a step is tanh(W x + U h + b).
#[test]
fn a_segment_is_one_more_step_from_the_last_state_over_its_position() {
    let mut one = plain(1, &[(CellKind::RnnTanh, 2)]);
    (one.pool, one.patch, one.outputs, one.segments) = (Pool::Last, 2, 4, 2);
    one.embeddings = vec![Embedding { rows: 2, size: 1 }];
    let numbers = tensors(&one, 4);
    let of = |name: &str| &numbers.iter().find(|tensor| tensor.name == name).unwrap().data;
    let cell = |x: &[f32], h: [f32; 2]| -> [f32; 2] {
        let (w, u, bias) = (of("recurrent_0/kernel"), of("recurrent_0/recurrent_kernel"), of("recurrent_0/bias"));
        std::array::from_fn(|j| (x[0] * w[j] + x[1] * w[2 + j] + h[0] * u[j] + h[1] * u[2 + j] + bias[j]).tanh())
    };
    let x = [0.3, -0.6, 0.9, 0.2];
    let h = cell(&x[2..], cell(&x[..2], [0.0; 2]));
    let mut wanted = Vec::new();
    for segment in 0..2 {
        let h = cell(&[of("position/table")[segment], of("embedding_0/table")[1]], h);
        let (kernel, bias) = (of("output/kernel"), of("output/bias"));
        wanted.extend((0..2).map(|at| h[0] * kernel[at] + h[1] * kernel[2 + at] + bias[at]));
    }
    let network = Network::<f32>::restored(&one, &numbers).unwrap();
    let found = network.outputs_until(&x, (&[], &[1; 4]), &[], 4, 1);
    for (found, wanted) in found.iter().zip(&wanted) {
        assert!((found - wanted).abs() < 1e-6, "{found} {wanted}");
    }
}

/// Of two inputs the first is centred: the layers see 1 - 3, 2 - 3, 3 - 3 of it, by the standard deviation.
#[test]
fn what_is_centred_is_a_difference_to_the_last_step() {
    let mut one = plain(2, &[(CellKind::RnnTanh, 2)]);
    (one.pool, one.patch, one.scaling) = (Pool::Last, 3, true);
    let mut numbers = tensors(&one, 4);
    let set = |numbers: &mut Vec<crate::network::Tensor>, name: &str, values: [f32; 2]| {
        numbers.iter_mut().find(|tensor| tensor.name == name).unwrap().data = values.to_vec();
    };
    set(&mut numbers, "scaling/mean", [100.0, 5.0]);
    set(&mut numbers, "scaling/sd", [2.0, 4.0]);
    let centred = Architecture { centred: vec![0], ..one.clone() };
    let found = Network::restored(&centred, &numbers).unwrap().outputs(&[1.0, 9.0, 2.0, 7.0, 3.0, 1.0], 3, 1);
    set(&mut numbers, "scaling/mean", [3.0, 5.0]);
    let wanted = Network::restored(&one, &numbers).unwrap().outputs(&[1.0, 9.0, 2.0, 7.0, 3.0, 1.0], 3, 1);
    assert_eq!(found, wanted);
    assert!(found[0] != 0.0);
}

/// Of every layer and state, shared by all steps and segments of a lane.
fn masks(architecture: &Architecture, b: usize) -> Masks<f64> {
    let mut numbers = Numbers(6);
    let mut mask = |width: usize| -> Vec<f64> {
        numbers.by_ref().take(b * width).map(|value| if value < -0.4 { 0.0 } else { 1.25 }).collect()
    };
    let inputs = architecture.stack().iter().map(|placed| mask(placed.inputs)).collect();
    Masks { inputs, recurrent: architecture.recurrent().map(|layer| mask(layer.units)).collect() }
}

#[test]
fn gradients_are_those_of_finite_differences() {
    for architecture in architectures().into_iter().filter(|one| one.members == 1 && one.groups == 0) {
        gradients_are_differences(&architecture, &Masks::default());
        if architecture.segments > 0 {
            gradients_are_differences(&architecture, &masks(&architecture, 2));
        }
    }
}

fn gradients_are_differences(architecture: &Architecture, masks: &Masks<f64>) {
    let mut network = Network::<f64>::restored(architecture, &tensors(architecture, 3)).unwrap();
    let b = 2;
    let x: Vec<f64> = Numbers(8).take(T * b * 3).map(f64::from).collect();
    let ids: Vec<u32> = (0..T * b).map(|cell| (cell % b) as u32 + 1).collect();
    let pass = Pass { t: T, b, x: &x, ids: &ids, mask: Mask::default(), group: &[], last_only: true };
    let loss = |network: &Network<f64>, work: &mut Workspace<f64>| {
        work.masks = masks.clone();
        let y = network.forward(pass, &mut network.zero_state(b), work);
        (y.iter().map(|y| y * y).sum::<f64>() / 2.0, y.to_vec())
    };
    let mut work = Workspace::default();
    let (_, d) = loss(&network, &mut work);
    let mut gradients = vec![0.0; network.parameters().len()];
    network.backward(pass, &d, &mut work, &mut gradients);
    let step = if architecture.segments > 0 { 1 } else { 5 };
    for at in (0..gradients.len()).step_by(step) {
        let mut moved = |by: f64| {
            network.parameters_mut()[at] += by;
            let (value, _) = loss(&network, &mut Workspace::default());
            network.parameters_mut()[at] -= by;
            value
        };
        let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
        assert!((slope - gradients[at]).abs() < 1e-6, "{architecture:?} {at}: {slope} {}", gradients[at]);
    }
}

#[test]
fn a_window_that_does_not_divide_is_refused() {
    let mut train = section(1, &["v"]);
    train.patch = config::At::default_value(4);
    let infer = config::Infer {
        model: config::At::default_value("m".into()),
        mode: config::Mode::Window,
        window: Some(config::At::default_value(10)),
        max_length: config::At::default_value(1024),
        beam: None,
        max_tokens: None,
        ttl: None,
        gap: None,
    };
    let mut problems = Problems::new("p.yaml");
    Plan::new(&train, Some(&infer), &[], &steps_clock(), None, &mut problems);
    let text = format!("{problems:?}");
    assert!(text.contains("a window of 10 rows doesn't divide into patches of 4"), "{text}");
}
