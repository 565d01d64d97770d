//! A network as an ONNX file, by the contract: `x` [T, B, F], one state pair per layer, `y` [T, B, O].
//!
//! Only operators whose rows have the same bits in every batch of two and more are used: Sub, Div, Slice, Gather, RNN,
//! LSTM, GRU, MatMul, Add, Mul, Relu, Tanh, Unsqueeze, Squeeze. Equal input gives equal bytes.

use prost::Message;

use super::graph::{Axis, Graph, integer, metadata, string, strings};
use super::proto::{ModelProto, OperatorSetIdProto};
use crate::network::{Architecture, ByName, CellKind, DenseActivation, Tensor, bias_to_onnx, kernel_to_onnx};
use crate::{Error, Result};

/// Opset of our graphs: the oldest that has every operator in its present form, so that older runtimes load them too.
pub const OPSET: i64 = 17;
/// IR version that belongs to [`OPSET`].
pub const IR_VERSION: i64 = 8;
/// Metadata key of the state pairs, a JSON list.
pub const STATES_KEY: &str = "kolk.states";
/// Metadata key of the [`Architecture`], JSON; with it [`super::import::network`] gives the tensors back.
pub const ARCHITECTURE_KEY: &str = "kolk.architecture";

const TIME: Axis = Axis::Open("T");
const BATCH: Axis = Axis::Open("B");

/// The ONNX file of a network. `name` becomes the graph's name. Initialisers carry the names of [`Tensor`]; those of
/// recurrent layers hold ONNX' layout, said in their `doc_string`. Refuses tensors that don't fit the architecture.
pub fn onnx(architecture: &Architecture, tensors: &[Tensor], name: &str) -> Result<Vec<u8>> {
    architecture.validate()?;
    let tensors = ByName::new(architecture, tensors)?;
    let json = |what: &str, value: serde_json::Result<String>| {
        value.map_err(|error| Error::failed(format!("write {what} as JSON: {error}")))
    };
    let states = json("state pairs", serde_json::to_string(&architecture.states()))?;
    let shape = json("architecture", serde_json::to_string(architecture))?;
    let mut graph = Graph::default();
    graph.0.name = Some(name.to_owned());
    graph.input("x", &[TIME, BATCH, Axis::Fixed(architecture.features)]);
    graph.output("y", &[TIME, BATCH, Axis::Fixed(architecture.outputs)]);
    write(&mut graph, architecture, &tensors);
    let model = ModelProto {
        ir_version: Some(IR_VERSION),
        opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(OPSET) }],
        producer_name: Some("kolk".into()),
        graph: Some(graph.0),
        metadata_props: vec![metadata(ARCHITECTURE_KEY, shape), metadata(STATES_KEY, states)],
        ..Default::default()
    };
    Ok(model.encode_to_vec())
}

/// `y = out_sd * (head(recurrent(z[network])) + skip(z[skip])) + out_mean + x[residual]`, `z = (x - mean) / sd`.
fn write(graph: &mut Graph, architecture: &Architecture, tensors: &ByName) {
    let all = architecture.features;
    let z = if architecture.scaling {
        let mean = graph.floats("scaling/mean", &[all], tensors.get("scaling/mean"), "");
        let sd = graph.floats("scaling/sd", &[all], tensors.get("scaling/sd"), "");
        let centred = graph.node("Sub", &["x", &mean], "centred", vec![]);
        graph.node("Div", &[&centred, &sd], "z", vec![])
    } else {
        "x".to_owned()
    };
    let mut flow = select(graph, &z, &architecture.network, all, "network");
    let mut width = architecture.network.len();
    for index in 0..architecture.layers.len() {
        flow = recurrent(graph, architecture, tensors, index, width, &flow);
        width = architecture.layers[index].units;
    }
    for (index, layer) in architecture.head.iter().enumerate() {
        let name = format!("dense_{index}");
        flow = dense(graph, tensors, &name, &[width, layer.units], &flow);
        flow = match layer.activation {
            DenseActivation::Linear => flow,
            DenseActivation::Relu => graph.node("Relu", &[&flow], &format!("{name}/relu"), vec![]),
            DenseActivation::Tanh => graph.node("Tanh", &[&flow], &format!("{name}/tanh"), vec![]),
        };
        width = layer.units;
    }
    flow = dense(graph, tensors, "output", &[width, architecture.outputs], &flow);
    if !architecture.skip.is_empty() {
        let from = select(graph, &z, &architecture.skip, all, "skip");
        let shape = [architecture.skip.len(), architecture.outputs];
        let kernel = graph.floats("skip/kernel", &shape, tensors.get("skip/kernel"), "");
        let skip = graph.node("MatMul", &[&from, &kernel], "skip", vec![]);
        flow = graph.node("Add", &[&flow, &skip], "with_skip", vec![]);
    }
    if architecture.scaling {
        let shape = [architecture.outputs];
        let sd = graph.floats("scaling/out_sd", &shape, tensors.get("scaling/out_sd"), "");
        let mean = graph.floats("scaling/out_mean", &shape, tensors.get("scaling/out_mean"), "");
        let scaled = graph.node("Mul", &[&flow, &sd], "scaled", vec![]);
        flow = graph.node("Add", &[&scaled, &mean], "shifted", vec![]);
    }
    if !architecture.residual.is_empty() {
        let from = select(graph, "x", &architecture.residual, all, "residual");
        flow = graph.node("Add", &[&flow, &from], "with_residual", vec![]);
    }
    // The last node makes `y`; every network ends in a node of ours, the output layer at the least.
    rename_output(graph, &flow, "y");
}

/// Picks entries of the last axis: nothing to do for all of them, a Slice for a run of them, else a Gather.
fn select(graph: &mut Graph, from: &str, indices: &[usize], all: usize, name: &str) -> String {
    let first = indices.first().copied().unwrap_or(0);
    if indices.iter().enumerate().any(|(i, index)| *index != first + i) {
        let values: Vec<i64> = indices.iter().map(|index| *index as i64).collect();
        let at = graph.integers(&format!("{name}/indices"), &values);
        return graph.node("Gather", &[from, &at], &format!("{name}/inputs"), vec![integer("axis", 2)]);
    }
    if indices.len() == all {
        return from.to_owned();
    }
    let start = graph.integers(&format!("{name}/start"), &[first as i64]);
    let end = graph.integers(&format!("{name}/end"), &[(first + indices.len()) as i64]);
    let axis = graph.integers(&format!("{name}/axis"), &[2]);
    graph.node("Slice", &[from, &start, &end, &axis], &format!("{name}/inputs"), vec![])
}

/// A recurrent operator over [T, B, n] with its states [B, units] in and out; returns its output [T, B, units].
fn recurrent(
    graph: &mut Graph,
    architecture: &Architecture,
    tensors: &ByName,
    index: usize,
    inputs: usize,
    from: &str,
) -> String {
    let layer = &architecture.layers[index];
    let (cell, units) = (layer.cell, layer.units);
    let gates = cell.gates() * units;
    let name = format!("recurrent_{index}");
    let order = match cell {
        CellKind::Lstm => "ONNX order i, o, f, c; Keras has i, f, c, o",
        CellKind::Gru => "ONNX order z, r, h, as Keras",
        CellKind::RnnTanh | CellKind::RnnRelu => "one gate",
    };
    let kernel_name = format!("{name}/kernel");
    let values = kernel_to_onnx(cell, units, inputs, tensors.get(&kernel_name));
    let about = format!("Keras kernel [{inputs}, {gates}], transposed; {order}");
    let kernel = graph.floats(&kernel_name, &[1, gates, inputs], &values, &about);
    let recurrent_name = format!("{name}/recurrent_kernel");
    let values = kernel_to_onnx(cell, units, units, tensors.get(&recurrent_name));
    let about = format!("Keras recurrent kernel [{units}, {gates}], transposed; {order}");
    let recurrent = graph.floats(&recurrent_name, &[1, gates, units], &values, &about);
    let bias_name = format!("{name}/bias");
    let values = bias_to_onnx(layer, tensors.get(&bias_name));
    let about = format!("input bias, then recurrent bias (zero where Keras has none); {order}");
    let bias = graph.floats(&bias_name, &[1, 2 * gates], &values, &about);

    let axis = |graph: &mut Graph, value: i64| {
        let name = format!("axis_{value}");
        if graph.0.initializer.iter().any(|tensor| tensor.name.as_deref() == Some(&name)) {
            return name;
        }
        graph.integers(&name, &[value])
    };
    let first_axis = axis(graph, 0);
    let direction_axis = axis(graph, 1);
    let letters: &[&str] = if cell.has_cell_state() { &["h", "c"] } else { &["h"] };
    let mut initial = Vec::new();
    for letter in letters {
        let state = format!("{letter}_{index}");
        graph.input(&state, &[BATCH, Axis::Fixed(units)]);
        graph.output(&format!("{state}_out"), &[BATCH, Axis::Fixed(units)]);
        initial.push(graph.node("Unsqueeze", &[&state, &first_axis], &format!("{name}/{letter}"), vec![]));
    }
    let (op, mut attributes) = match cell {
        CellKind::Lstm => ("LSTM", vec![]),
        CellKind::Gru => ("GRU", vec![integer("linear_before_reset", 1)]),
        CellKind::RnnTanh => ("RNN", vec![strings("activations", &["Tanh"])]),
        CellKind::RnnRelu => ("RNN", vec![strings("activations", &["Relu"])]),
    };
    attributes.push(string("direction", "forward"));
    attributes.push(integer("hidden_size", units as i64));
    let sequence = format!("{name}/sequence");
    let last: Vec<String> = letters.iter().map(|letter| format!("{name}/{letter}_last")).collect();
    let mut operands = vec![from, &kernel, &recurrent, &bias, ""];
    operands.extend(initial.iter().map(String::as_str));
    let mut results = vec![sequence.as_str()];
    results.extend(last.iter().map(String::as_str));
    graph.node_with(op, &operands, &results, attributes);
    for (letter, last) in letters.iter().zip(&last) {
        graph.node("Squeeze", &[last, &first_axis], &format!("{letter}_{index}_out"), vec![]);
    }
    graph.node("Squeeze", &[&sequence, &direction_axis], &format!("{name}/output"), vec![])
}

/// `from` [T, B, shape[0]] times a kernel plus a bias.
fn dense(graph: &mut Graph, tensors: &ByName, name: &str, shape: &[usize; 2], from: &str) -> String {
    let kernel_name = format!("{name}/kernel");
    let bias_name = format!("{name}/bias");
    let kernel = graph.floats(&kernel_name, shape, tensors.get(&kernel_name), "");
    let bias = graph.floats(&bias_name, &shape[1..], tensors.get(&bias_name), "");
    let product = graph.node("MatMul", &[from, &kernel], &format!("{name}/product"), vec![]);
    graph.node("Add", &[&product, &bias], &format!("{name}/sum"), vec![])
}

fn rename_output(graph: &mut Graph, from: &str, to: &str) {
    for name in graph.0.node.iter_mut().flat_map(|node| node.output.iter_mut()).filter(|name| *name == from) {
        *name = to.to_owned();
    }
}
