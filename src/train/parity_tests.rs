//! The network against Keras and PyTorch: the same outputs from the same numbers, the same numbers after a hundred
//! updates. `tests/fixtures/README.md` says where the files are from.

use std::collections::BTreeMap;
use std::path::Path;

use super::loss::loss;
use super::network::{Network, Pass, Workspace};
use super::optimizer::Adam;
use crate::config::{self, EpsilonForm, Loss};
use crate::fixtures::{self, Array};
use crate::kernel::CellKind;
use crate::kernel::recurrent::Mask;
use crate::kernel::threads::Threads;
use crate::network::testing::plain;
use crate::network::{Architecture, Layer, Tensor};

const CELLS: [(&str, CellKind); 3] = [("rnn", CellKind::RnnTanh), ("lstm", CellKind::Lstm), ("gru", CellKind::Gru)];

type Arrays = BTreeMap<String, Array>;

fn fixture(name: &str) -> Arrays {
    fixtures::npz(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name))
}

/// Updates of a framework: those that `make test-parity` has just made, else the ones that are kept.
fn updates(name: &str) -> Arrays {
    match std::env::var_os("KOLK_PARITY") {
        Some(folder) => fixtures::npz(Path::new(&folder).join(name)),
        None => fixture(name),
    }
}

/// Units and features of every reference are 50 and 1.
fn keras_shape(cell: CellKind) -> Architecture {
    plain(1, &[(cell, 50)])
}

fn torch_shape(cell: CellKind, layers: usize) -> Architecture {
    let mut shape = plain(1, &vec![(cell, 50); layers]);
    for layer in &mut shape.layers {
        if let Layer::Recurrent(layer) = layer {
            layer.double_bias = true;
        }
    }
    shape
}

/// Tensors from arrays in Keras' order, `<prefix>0` and on.
fn keras(shape: &Architecture, arrays: &Arrays, prefix: &str) -> Vec<Tensor> {
    let named = shape.tensor_shapes().into_iter().enumerate();
    named
        .map(|(i, (name, shape))| {
            let array = &arrays[&format!("{prefix}{i}")];
            assert_eq!(array.shape, shape, "{name}");
            Tensor { name, shape, data: array.f32() }
        })
        .collect()
}

/// PyTorch's [g·u, n] as [n, g·u], with its gate blocks (LSTM i f g o, GRU r z n) in Keras' order.
fn from_torch(cell: CellKind, array: &Array) -> Vec<f32> {
    let blocks: &[usize] = match cell {
        CellKind::Gru => &[1, 0, 2],
        CellKind::Lstm => &[0, 1, 2, 3],
        _ => &[0],
    };
    let (width, inputs) = (array.shape[0], array.shape.get(1).copied().unwrap_or(1));
    let units = width / blocks.len();
    let values = array.f32();
    (0..inputs)
        .flat_map(|input| {
            let rows = blocks.iter().flat_map(move |block| block * units..(block + 1) * units);
            rows.map(move |row| row * inputs + input)
        })
        .map(|at| values[at])
        .collect()
}

/// Tensors from PyTorch's named parameters; `name` makes its names in the file.
fn torch(shape: &Architecture, arrays: &Arrays, name: impl Fn(&str, &str) -> String) -> Vec<Tensor> {
    let get = |module: &str, parameter: &str| &arrays[&name(module, parameter)];
    let data = |tensor: &str| {
        let (part, what) = tensor.split_once('/').unwrap();
        if part == "output" {
            return get("d", if what == "kernel" { "weight" } else { "bias" }).f32();
        }
        let layer = part.trim_start_matches("recurrent_");
        let cell = shape.recurrent().nth(layer.parse().unwrap()).unwrap().cell;
        let recurrent = |parameter: &str| from_torch(cell, get("r", &format!("{parameter}_l{layer}")));
        match what {
            "kernel" => recurrent("weight_ih"),
            "recurrent_kernel" => recurrent("weight_hh"),
            _ => [recurrent("bias_ih"), recurrent("bias_hh")].concat(),
        }
    };
    let named = shape.tensor_shapes().into_iter();
    named.map(|(name, shape)| Tensor { data: data(&name), name, shape }).collect()
}

/// [b, t, 1] as [t, b, 1].
fn time_first(array: &Array, rows: std::ops::Range<usize>) -> Vec<f32> {
    let (t, values) = (array.shape[1], array.f32());
    (0..t).flat_map(|at| rows.clone().map(move |row| row * t + at)).map(|at| values[at]).collect()
}

fn assert_near(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-5, "{what}: {found} {expected}");
    }
}

fn assert_window_outputs(network: &Network<f32>, arrays: &Arrays, what: &str) {
    let (b, t) = (arrays["x"].shape[0], arrays["x"].shape[1]);
    let y = network.outputs(&time_first(&arrays["x"], 0..b), t, b);
    assert_near(&y[(t - 1) * b..], &arrays["y"].f32(), what);
}

#[test]
fn numbers_of_keras_give_its_outputs() {
    for (name, cell) in CELLS {
        let arrays = fixture(&format!("keras_{name}.npz"));
        let shape = keras_shape(cell);
        let network = Network::restored(&shape, &keras(&shape, &arrays, "w")).unwrap();
        assert_window_outputs(&network, &arrays, name);
    }
}

#[test]
fn numbers_of_pytorch_give_its_outputs() {
    for (name, cell, layers) in CELLS.map(|(n, c)| (n, c, 1)).into_iter().chain([("lstm2", CellKind::Lstm, 2)]) {
        let arrays = fixture(&format!("torch_{name}.npz"));
        let shape = torch_shape(cell, layers);
        let tensors = torch(&shape, &arrays, |module, parameter| format!("{module}_{parameter}"));
        let network = Network::restored(&shape, &tensors).unwrap();
        assert_window_outputs(&network, &arrays, name);
        // 200 steps of one row, as one pass and as 200 with the state handed on.
        let (x, y) = (arrays["seq"].f32(), arrays["yseq"].f32());
        assert_near(&network.outputs(&x, x.len(), 1), &y, name);
        let (mut state, mut work) = (network.zero_state(1), Workspace::default());
        for (x, y) in x.chunks(1).zip(y.chunks(1)) {
            let pass = Pass { t: 1, b: 1, x, mask: Mask::default(), group: &[], ids: &[], last_only: false };
            assert_near(network.forward(pass, &mut state, &mut work), y, name);
        }
    }
}

/// The name of the cell.
fn cell(shape: &Architecture) -> String {
    shape.recurrent().map(|layer| format!("{:?}", layer.cell)).collect()
}

/// A hundred updates on batches of 32 in order; losses, and each tensor by its norm, agree to 1e-4.
fn check_updates(shape: &Architecture, initial: &[Tensor], last: &[Tensor], losses: &[f64], form: EpsilonForm) {
    let data = fixture("parity_data.npz");
    let wanted = data["y"].f32();
    let (t, b) = (data["x"].shape[1], 32);
    let mut network: Network<f32> = Network::restored(shape, initial).unwrap();
    let settings = config::Adam { learning_rate: 1e-3, beta_1: 0.9, beta_2: 0.999, epsilon: 1e-7, epsilon_form: form };
    let mut adam = Adam::new(settings, network.parameters().len());
    let (mut work, mut d_out, mut gradients) =
        (Workspace::default(), Vec::new(), vec![0.0; network.parameters().len()]);
    for (i, expected) in losses.iter().enumerate() {
        let rows = i * b..(i + 1) * b;
        let x = time_first(&data["x"], rows.clone());
        let pass = Pass { t, b, x: &x, mask: Mask::default(), group: &[], ids: &[], last_only: true };
        let y = network.forward(pass, &mut network.zero_state(b), &mut work);
        let value = loss(Loss::Mse, y, &wanted[rows], &[1.0; 32], &mut d_out);
        assert!((value - expected).abs() <= 1e-4 * expected, "update {i} of {shape:?}: {value} {expected}");
        network.backward(pass, &d_out, &mut work, &mut gradients);
        adam.update(&Threads::default(), network.parameters_mut(), &gradients);
    }
    let norm = |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt();
    for ((found, expected), initial) in network.tensors().iter().zip(last).zip(initial) {
        let pairs = || found.data.iter().zip(&expected.data);
        let away = norm(&mut pairs().map(|(found, expected)| found - expected));
        let size = norm(&mut expected.data.iter().copied());
        println!("{form:?}'s {:<16} {:<30} {:.1e} away", cell(shape), found.name, away / size);
        assert!(away <= 1e-4 * size, "{}: {:.2e} away", found.name, away / size);
        assert_ne!(found.data, initial.data, "{} was learned", found.name);
    }
}

#[test]
fn a_hundred_updates_are_those_of_keras() {
    for (name, cell) in CELLS {
        let arrays = updates(&format!("parity_keras_{name}.npz"));
        let shape = keras_shape(cell);
        let [initial, last] = ["init_", "final_"].map(|prefix| keras(&shape, &arrays, prefix));
        check_updates(&shape, &initial, &last, &arrays["loss"].data, EpsilonForm::Keras);
    }
}

#[test]
fn a_hundred_updates_are_those_of_pytorch() {
    for (name, cell) in CELLS {
        let arrays = updates(&format!("parity_torch_{name}.npz"));
        let shape = torch_shape(cell, 1);
        let [initial, last] = ["init", "final"]
            .map(|when| torch(&shape, &arrays, |module, parameter| format!("{when}_{module}.{parameter}")));
        check_updates(&shape, &initial, &last, &arrays["loss"].data, EpsilonForm::Torch);
    }
}
