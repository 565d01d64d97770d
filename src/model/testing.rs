//! What the tests of this folder share: a plain f64 forward pass written from the cells' definitions in Keras, against
//! which the graphs are checked, and versions in a registry.

use super::executor::Buffer;
use super::onnx::export;
use super::{Input, Manifest, ModelKind, Session, Version, registry};
use crate::kernel::{Activation, CellKind};
use crate::network::testing::{plain, tensors};
use crate::network::{Architecture, Embedding, Layer, RecurrentLayer, Signature, Tensor, Vocabulary};

/// The tensors of a network's graph.
pub(crate) fn signature(architecture: &Architecture) -> Signature {
    let kept = |table: &Embedding| Vocabulary { column: Some("word".into()), tokens: vec!["a".into(); table.rows - 1] };
    let vocabularies: Vec<Vocabulary> = architecture.embeddings.iter().map(kept).collect();
    Signature::of_own(architecture, Vec::new(), &[], None).with_embeddings(architecture, &vocabularies)
}

/// A session of its graph.
pub(crate) fn session(architecture: &Architecture, tensors: &[Tensor]) -> Session {
    let onnx = export::onnx(architecture, tensors, "test").unwrap();
    Session::own(&onnx, &signature(architecture)).unwrap()
}

/// Room for what a graph gives.
pub(crate) fn room(session: &Session, t: usize, b: usize) -> Vec<Buffer> {
    let given = session.signature().given();
    given.iter().map(|tensor| Buffer::of(&vec![f32::NAN; tensor.numbers(t, b)])).collect()
}

/// State of one row: per layer h and, for an LSTM, c.
pub(crate) type RowState = Vec<(Vec<f64>, Vec<f64>)>;

/// Zero state.
pub(crate) fn zero_state(architecture: &Architecture) -> RowState {
    architecture.recurrent().map(|layer| (vec![0.0; layer.units], vec![0.0; layer.units])).collect()
}

/// One step of one row in f64: `y` for `x`, and the state after it.
pub(crate) fn step(architecture: &Architecture, tensors: &[Tensor], x: &[f32], state: &mut RowState) -> Vec<f64> {
    step_of(architecture, tensors, x, (0, &[]), state)
}

/// The same of a key of a group, with the ids of its embeddings.
pub(crate) fn step_of(
    architecture: &Architecture,
    tensors: &[Tensor],
    x: &[f32],
    (group, ids): (usize, &[usize]),
    state: &mut RowState,
) -> Vec<f64> {
    let get = |name: &str| -> Vec<f64> {
        let tensor = tensors.iter().find(|tensor| tensor.name == name).unwrap();
        tensor.data.iter().map(|value| f64::from(*value)).collect()
    };
    let x: Vec<f64> = x.iter().map(|value| f64::from(*value)).collect();
    let z = if architecture.scaling {
        let (mean, sd) = (get("scaling/mean"), get("scaling/sd"));
        x.iter().zip(mean.iter().zip(&sd)).map(|(x, (mean, sd))| (x - mean) / sd).collect()
    } else {
        x.clone()
    };
    let pick = |from: &[f64], indices: &[usize]| -> Vec<f64> { indices.iter().map(|index| from[*index]).collect() };
    let mut flow = pick(&z, &architecture.network);
    for (i, (embedding, id)) in architecture.embeddings.iter().zip(ids).enumerate() {
        let table = get(&format!("embedding_{i}/table"));
        flow.extend_from_slice(&table[id * embedding.size..(id + 1) * embedding.size]);
    }
    let mut states = state.iter_mut();
    for placed in architecture.stack() {
        let name = placed.name;
        match placed.layer {
            Layer::Recurrent(layer) => {
                let bias = get(&format!("{name}/bias"));
                let state = states.next().unwrap();
                if layer.cell.form().operator().is_none() {
                    let own = |part: &str| get(&format!("{name}/{part}"));
                    cell_of_operators(&layer, &flow, &own, state);
                    flow = state.0.clone();
                    continue;
                }
                let width = layer.cell.gates() * layer.units;
                let mut input = times(&flow, &get(&format!("{name}/kernel")), width);
                let mut recurrent = times(&state.0, &get(&format!("{name}/recurrent_kernel")), width);
                add(&mut input, &bias[..width]);
                if layer.has_two_biases() {
                    add(&mut recurrent, &bias[width..]);
                }
                cell(&layer, &input, &recurrent, state);
                flow = state.0.clone();
            }
            Layer::Dense(layer) => {
                let bias = get(&format!("{name}/bias"));
                flow = times(&flow, &get(&format!("{name}/kernel")), bias.len());
                add(&mut flow, &bias);
                flow.iter_mut().for_each(|value| {
                    *value = match layer.activation {
                        Activation::Linear => *value,
                        Activation::Relu => value.max(0.0),
                        Activation::Tanh => value.tanh(),
                    }
                });
            }
            Layer::LayerNorm(_) => {
                flow = normalised(&flow);
                let (gamma, beta) = (get(&format!("{name}/gamma")), get(&format!("{name}/beta")));
                flow.iter_mut().zip(&gamma).for_each(|(value, gamma)| *value *= gamma);
                add(&mut flow, &beta);
            }
        }
    }
    let mut y = flow;
    if !architecture.skip.is_empty() {
        let (size, outputs) = (architecture.skip.len() * architecture.outputs, architecture.outputs);
        let kernel = &get("skip/kernel")[group * size..(group + 1) * size];
        add(&mut y, &times(&pick(&z, &architecture.skip), kernel, outputs));
        if architecture.groups > 0 {
            add(&mut y, &get("skip/bias")[group * outputs..(group + 1) * outputs]);
        }
    }
    if architecture.scaling {
        let (mean, sd) = (get("scaling/out_mean"), get("scaling/out_sd"));
        y = y.iter().zip(mean.iter().zip(&sd)).map(|(y, (mean, sd))| y * sd + mean).collect();
    }
    if !architecture.residual.is_empty() {
        add(&mut y, &pick(&x, &architecture.residual));
    }
    y
}

/// The cells as Keras defines them; `input` and `recurrent` are the two affine maps, gate after gate.
fn cell(layer: &RecurrentLayer, input: &[f64], recurrent: &[f64], (h, c): &mut (Vec<f64>, Vec<f64>)) {
    let u = layer.units;
    let sigmoid = |value: f64| 1.0 / (1.0 + (-value).exp());
    for i in 0..u {
        let sum = |gate: usize| input[gate * u + i] + recurrent[gate * u + i];
        h[i] = match layer.cell {
            CellKind::RnnTanh => sum(0).tanh(),
            CellKind::RnnRelu => sum(0).max(0.0),
            CellKind::Lstm => {
                c[i] = sigmoid(sum(1)) * c[i] + sigmoid(sum(0)) * sum(2).tanh();
                sigmoid(sum(3)) * c[i].tanh()
            }
            CellKind::Gru => {
                let (z, r) = (sigmoid(sum(0)), sigmoid(sum(1)));
                z * h[i] + (1.0 - z) * (input[2 * u + i] + r * recurrent[2 * u + i]).tanh()
            }
            CellKind::MinGru | CellKind::LayerNormLstm => unreachable!(),
        };
    }
}

/// The cells that ONNX has no operator for, as their papers have them.
fn cell_of_operators(
    layer: &RecurrentLayer,
    x: &[f64],
    own: &dyn Fn(&str) -> Vec<f64>,
    (h, c): &mut (Vec<f64>, Vec<f64>),
) {
    let (u, width) = (layer.units, layer.cell.gates() * layer.units);
    let sigmoid = |value: f64| 1.0 / (1.0 + (-value).exp());
    let scaled = |row: Vec<f64>, gain: &str| -> Vec<f64> {
        normalised(&row).iter().zip(own(gain)).map(|(value, gain)| value * gain).collect()
    };
    let mut sum = times(x, &own("kernel"), width);
    if layer.cell == CellKind::MinGru {
        add(&mut sum, &own("bias"));
        for i in 0..u {
            let z = sigmoid(sum[i]);
            h[i] = (1.0 - z) * h[i] + z * sum[u + i];
        }
        return;
    }
    sum = scaled(sum, "input_gain");
    add(&mut sum, &scaled(times(h, &own("recurrent_kernel"), width), "recurrent_gain"));
    add(&mut sum, &own("bias"));
    for i in 0..u {
        c[i] = sigmoid(sum[u + i]) * c[i] + sigmoid(sum[i]) * sum[2 * u + i].tanh();
    }
    let mut state = scaled(c.clone(), "state_gain");
    add(&mut state, &own("state_shift"));
    for i in 0..u {
        h[i] = sigmoid(sum[3 * u + i]) * state[i].tanh();
    }
}

/// As Keras' LayerNormalization before gamma and beta.
fn normalised(row: &[f64]) -> Vec<f64> {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let centred: Vec<f64> = row.iter().map(|value| value - mean(row)).collect();
    let variance = mean(&centred.iter().map(|value| value * value).collect::<Vec<_>>());
    centred.iter().map(|value| value / (variance + 1e-3).sqrt()).collect()
}

fn times(row: &[f64], kernel: &[f64], width: usize) -> Vec<f64> {
    let column = |j: usize| row.iter().enumerate().map(|(i, value)| value * kernel[i * width + j]).sum();
    (0..width).map(column).collect()
}

fn add(to: &mut [f64], what: &[f64]) {
    to.iter_mut().zip(what).for_each(|(to, what)| *to += what);
}

/// A version of a small GRU in a registry, with errors of two targets.
pub(crate) fn published(root: &std::path::Path, name: &str, seed: u64) -> Version {
    let mut architecture = plain(2, &[(CellKind::Gru, 4)]);
    architecture.outputs = 4;
    let onnx = export::onnx(&architecture, &tensors(&architecture, seed), name).unwrap();
    registry::publish(root, manifest(name, &architecture, seed), &onnx, "<html></html>", None).unwrap()
}

/// A manifest for [`published`].
pub(crate) fn manifest(name: &str, architecture: &Architecture, seed: u64) -> Manifest {
    let input = |lag| Input::back("temp", lag);
    let metrics = [("temp.mae", 1.25), ("temp.mae_last_value", 2.5), ("pressure.mae_seasonal", 12.5)];
    Manifest {
        format: registry::FORMAT,
        name: name.into(),
        kind: ModelKind::Carry,
        form: "operator".into(),
        bitwise: true,
        window: None,
        inputs: vec![input(0), input(24)],
        states: architecture.states(),
        horizon: 2,
        targets: vec!["temp".into(), "pressure".into()],
        quantiles: vec![],
        classes: Vec::new(),
        transcripts: false,
        pool: crate::network::Pool::None,
        stages: vec![],
        warm_up: 24,
        seed,
        data_hash: "0".repeat(64),
        metrics: metrics.map(|(name, value)| (name.to_owned(), value)).into(),
        architecture: Some(architecture.clone()),
        keys: Vec::new(),
        vocabularies: Vec::new(),
        signature: None,
        groups: None,
        proofs: vec![],
        from: None,
        opset: export::OPSET,
        ir_version: export::IR_VERSION,
        onnx_runtime: "1.31.1".into(),
        tz_database: None,
        files: Default::default(),
    }
}
