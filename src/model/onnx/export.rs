//! A network as an ONNX file, by the contract: `x` [T, B, F], one state pair per layer, `y` [T, B, O]; of a sequence
//! also `lengths` [B], and `y` [B, O].
//!
//! Only operators whose rows have the same bits in every batch of two and more are used: Sub, Div, Slice, Gather, RNN,
//! LSTM, GRU, MatMul, Add, Mul, Relu, Tanh, Max, Min, LayerNormalization, Softmax, CumSum, Cast, Concat, Transpose,
//! Reshape, Unsqueeze, Squeeze, Shape, Expand, and a Scan of those that cells are made of. Equal input gives equal
//! bytes.

use prost::Message;

use super::decoder;
use super::graph::{Axis, Graph, float, integer, integers, metadata, string, strings};
use super::operands::{bias_to_onnx, gates as blocks, kernel_to_onnx};
use super::patches::{centred, folded, last_step};
use super::pool::{Ran, pool};
use super::proto::{ModelProto, OperatorSetIdProto, tensor_proto::DataType};
use super::step::{attribute, scan};
use crate::kernel::cell::{Attribute, Onnx};
use crate::kernel::{Activation, layer_norm};
use crate::network::{Architecture, ByName, Embedding, Layer, Pool, RecurrentLayer, Tensor, ids_name, quantiles};
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
pub(super) const BATCH: Axis = Axis::Open("B");

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
    if architecture.features > 0 {
        graph.input("x", &[TIME, BATCH, Axis::Fixed(architecture.features)]);
    }
    for (output, width) in architecture.graph_outputs() {
        match architecture.pool {
            Pool::None => graph.output(output, &[TIME, BATCH, Axis::Fixed(width)]),
            Pool::Last | Pool::Mean => graph.output(output, &[BATCH, Axis::Fixed(width)]),
        }
    }
    if architecture.takes_lengths() {
        graph.input_of(DataType::Int32, "lengths", &[BATCH]);
    }
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

/// `y = out_sd * (head(recurrent(z[network], embeddings)) + skip(z[skip])) + out_mean + x[residual]`,
/// `z = (x - mean) / sd`.
fn write(graph: &mut Graph, architecture: &Architecture, tensors: &ByName) {
    let all = architecture.features;
    let z = if architecture.scaling && all > 0 {
        let mean = graph.floats("scaling/mean", &[all], tensors.get("scaling/mean"), "");
        let sd = graph.floats("scaling/sd", &[all], tensors.get("scaling/sd"), "");
        let centred = graph.node("Sub", &["x", &mean], "centred", vec![]);
        graph.node("Div", &[&centred, &sd], "z", vec![])
    } else {
        "x".to_owned()
    };
    let features = match architecture.network.is_empty() {
        true => None,
        false => {
            let chosen = match architecture.centred.is_empty() {
                true => select(graph, &z, &architecture.network, all, "network"),
                false => centred(graph, architecture, &z),
            };
            Some(if architecture.patch > 1 { folded(graph, architecture, &chosen) } else { chosen })
        }
    };
    for at in 0..architecture.embeddings.len() {
        graph.input_of(DataType::Int64, &ids_name(at), &[TIME, BATCH]);
    }
    let mut members = Vec::new();
    for prefix in architecture.prefixes() {
        let from = first(graph, architecture, tensors, &prefix, features.as_deref());
        members.push(member(graph, architecture, tensors, &prefix, &from));
    }
    let mut flow = mean(graph, &members);
    let is_folded = architecture.patch > 1;
    if is_folded {
        let first_axis = graph.axis(0);
        flow = graph.node("Unsqueeze", &[&flow, &first_axis], "patch/output", vec![]);
    }
    if !architecture.skip.is_empty() {
        let z = if is_folded { last_step(graph, &z, "z") } else { z.clone() };
        let from = select(graph, &z, &architecture.skip, all, "skip");
        let skip = match architecture.groups {
            0 => {
                let shape = [architecture.skip.len(), architecture.outputs];
                let kernel = graph.floats("skip/kernel", &shape, tensors.get("skip/kernel"), "");
                graph.node("MatMul", &[&from, &kernel], "skip", vec![])
            }
            groups => grouped(graph, architecture, groups, tensors, &from),
        };
        flow = graph.node("Add", &[&flow, &skip], "with_skip", vec![]);
    }
    if architecture.scales_outputs() {
        let shape = [architecture.outputs];
        let sd = graph.floats("scaling/out_sd", &shape, tensors.get("scaling/out_sd"), "");
        let mean = graph.floats("scaling/out_mean", &shape, tensors.get("scaling/out_mean"), "");
        let scaled = graph.node("Mul", &[&flow, &sd], "scaled", vec![]);
        flow = graph.node("Add", &[&scaled, &mean], "shifted", vec![]);
    }
    if !architecture.residual.is_empty() {
        let x = if is_folded { last_step(graph, "x", "x") } else { "x".to_owned() };
        let from = select(graph, &x, &architecture.residual, all, "residual");
        flow = graph.node("Add", &[&flow, &from], "with_residual", vec![]);
    }
    if architecture.softmax {
        flow = graph.node("Softmax", &[&flow], "probabilities", vec![integer("axis", -1)]);
    }
    if is_folded {
        let first_axis = graph.axis(0);
        flow = graph.node("Squeeze", &[&flow, &first_axis], "patch/y", vec![]);
    }
    if !architecture.quantiles.is_empty() {
        return by_quantile(graph, architecture, &flow);
    }
    // The last node makes `y`; every network ends in a node of ours, the output layer at the least.
    rename_output(graph, &flow, "y");
}

/// The layers of a member, the output layer among them.
fn member(graph: &mut Graph, architecture: &Architecture, tensors: &ByName, prefix: &str, from: &str) -> String {
    let mut flow = from.to_owned();
    let mut recurrent_layers = 0;
    let lengths = if architecture.takes_lengths() { "lengths" } else { "" };
    for placed in architecture.stack() {
        let name = format!("{prefix}{}", placed.name);
        flow = match placed.layer {
            Layer::Recurrent(layer) => {
                recurrent_layers += 1;
                let place = Place { prefix, index: recurrent_layers - 1, inputs: placed.inputs };
                let ran = recurrent(graph, &layer, tensors, place, [&flow, lengths]);
                if recurrent_layers < architecture.recurrent().count() {
                    ran.output
                } else if architecture.segments > 0 {
                    decoder::step(graph, architecture, tensors, &layer, place)
                } else {
                    pool(graph, architecture.pool, prefix, &ran, !architecture.is_bidirectional())
                }
            }
            Layer::Dense(layer) => {
                let sum = dense(graph, tensors, &name, &[placed.inputs, layer.units], &flow);
                match layer.activation {
                    Activation::Linear => sum,
                    Activation::Relu => graph.node("Relu", &[&sum], &format!("{name}/relu"), vec![]),
                    Activation::Tanh => graph.node("Tanh", &[&sum], &format!("{name}/tanh"), vec![]),
                }
            }
            Layer::LayerNorm(layer) => {
                let mut tensor = |part: &str| {
                    let name = format!("{name}/{part}");
                    graph.floats(&name, &[layer.units], tensors.get(&name), "")
                };
                let (gamma, beta) = (tensor("gamma"), tensor("beta"));
                let attributes = vec![integer("axis", -1), float("epsilon", layer_norm::EPSILON as f32)];
                let output = format!("{name}/normalised");
                graph.node("LayerNormalization", &[&flow, &gamma, &beta], &output, attributes)
            }
        };
    }
    if architecture.segments > 0 { decoder::in_order(graph, architecture, prefix, &flow) } else { flow }
}

/// What the first layer of a member takes: features, then the vectors of ids.
fn first(
    graph: &mut Graph,
    architecture: &Architecture,
    tensors: &ByName,
    prefix: &str,
    features: Option<&str>,
) -> String {
    let mut parts: Vec<String> = features.map(str::to_owned).into_iter().collect();
    if architecture.segments == 0 {
        let vectors = (0..architecture.embeddings.len()).map(|at| {
            let ids = ids_name(at);
            vectors(graph, architecture, tensors, prefix, at, &ids)
        });
        parts.extend(vectors);
    }
    match &parts[..] {
        [one] => one.clone(),
        _ => {
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            graph.node("Concat", &parts, &format!("{prefix}first"), vec![integer("axis", 2)])
        }
    }
}

/// The vectors of ids in a table of a member.
pub(super) fn vectors(
    graph: &mut Graph,
    architecture: &Architecture,
    tensors: &ByName,
    prefix: &str,
    at: usize,
    ids: &str,
) -> String {
    let Embedding { rows, size } = architecture.embeddings[at];
    let name = format!("{prefix}embedding_{at}");
    let table = format!("{name}/table");
    let table = graph.floats(&table, &[rows, size], tensors.get(&table), "a vector for each id");
    graph.node("Gather", &[&table, ids], &name, vec![integer("axis", 0)])
}

/// Cuts all outputs into those of each quantile, and keeps them from crossing.
fn by_quantile(graph: &mut Graph, architecture: &Architecture, from: &str) {
    let names = &architecture.quantiles;
    let (width, median) = (architecture.outputs / names.len(), quantiles::median(names));
    let axis = graph.integers("quantiles/axis", &[-1]);
    let cut = |graph: &mut Graph, at: usize, name: &str| {
        let start = graph.integers(&format!("{name}/start"), &[(at * width) as i64]);
        let end = graph.integers(&format!("{name}/end"), &[((at + 1) * width) as i64]);
        let cut = if at == median { name.to_owned() } else { format!("{name}/cut") };
        graph.node("Slice", &[from, &start, &end, &axis], &cut, vec![])
    };
    cut(graph, median, &names[median]);
    for (at, other, above) in quantiles::kept_apart(names.len(), median) {
        let cut = cut(graph, at, &names[at]);
        graph.node(if above { "Max" } else { "Min" }, &[&cut, &names[other]], &names[at], vec![]);
    }
}

/// The linear path of each row's group: a row times the kernel of its own.
fn grouped(graph: &mut Graph, architecture: &Architecture, groups: usize, tensors: &ByName, from: &str) -> String {
    let (width, outputs) = (architecture.skip.len(), architecture.outputs);
    graph.input_of(DataType::Int64, "group", &[TIME, BATCH]);
    let group = if architecture.patch > 1 { last_step(graph, "group", "group") } else { "group".to_owned() };
    let kernels = graph.floats("skip/kernel", &[groups, width, outputs], tensors.get("skip/kernel"), "");
    let biases = graph.floats("skip/bias", &[groups, outputs], tensors.get("skip/bias"), "");
    let first = || vec![integer("axis", 0)];
    let kernel = graph.node("Gather", &[&kernels, &group], "skip/kernel_of_group", first());
    let bias = graph.node("Gather", &[&biases, &group], "skip/bias_of_group", first());
    let axis = graph.integers("skip/axis", &[2]);
    let row = graph.node("Unsqueeze", &[from, &axis], "skip/row", vec![]);
    let product = graph.node("MatMul", &[&row, &kernel], "skip/product", vec![]);
    let product = graph.node("Squeeze", &[&product, &axis], "skip/squeezed", vec![]);
    graph.node("Add", &[&product, &bias], "skip", vec![])
}

/// Picks entries of the last axis: nothing to do for all of them, a Slice for a run of them, else a Gather.
pub(super) fn select(graph: &mut Graph, from: &str, indices: &[usize], all: usize, name: &str) -> String {
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

/// Where a recurrent layer is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    /// What the names of its member begin with.
    pub(super) prefix: &'a str,
    /// Its index among the member's recurrent layers.
    pub(super) index: usize,
    /// Width of its input.
    pub(super) inputs: usize,
}

/// The mean of the members' outputs, summed in their order.
fn mean(graph: &mut Graph, members: &[String]) -> String {
    let [first, others @ ..] = members else { return String::new() };
    let mut sum = first.clone();
    for (at, other) in others.iter().enumerate() {
        sum = graph.node("Add", &[&sum, other], &format!("members/sum_{}", at + 1), vec![]);
    }
    if others.is_empty() {
        return sum;
    }
    let count = graph.floats("members/count", &[1], &[members.len() as f32], "");
    graph.node("Div", &[&sum, &count], "members/mean", vec![])
}

/// A recurrent operator over [T, B, n] (`from`) with its states [B, units] in and out; of both directions, without.
fn recurrent(
    graph: &mut Graph,
    layer: &RecurrentLayer,
    tensors: &ByName,
    place: Place<'_>,
    [from, lengths]: [&str; 2],
) -> Ran {
    let Place { prefix, index, inputs } = place;
    let units = layer.units;
    let form = layer.cell.form();
    let operator = match &form.onnx {
        Onnx::Operator(operator) => operator,
        Onnx::Body(body) => return scan(graph, layer, body, tensors, place, from),
    };
    let name = format!("{prefix}recurrent_{index}");
    let [kernel, recurrent, bias] = match layer.bidirectional {
        false => operands(graph, layer, tensors, &format!("{name}/"), inputs),
        true => {
            let forward = operands(graph, layer, tensors, &format!("{name}/"), inputs);
            let backward = operands(graph, layer, tensors, &format!("{name}/backward_"), inputs);
            let mut both = ["kernel", "recurrent_kernel", "bias"].map(|part| format!("{name}/both_{part}s"));
            for ((both, forward), backward) in both.iter_mut().zip(&forward).zip(&backward) {
                graph.node("Concat", &[forward, backward], both, vec![integer("axis", 0)]);
            }
            both
        }
    };
    let first_axis = graph.axis(0);
    let direction_axis = graph.axis(1);
    let mut initial = Vec::new();
    for letter in form.states.iter().filter(|_| !layer.bidirectional) {
        let before = format!("{prefix}{letter}_{index}");
        state(graph, &before, units);
        initial.push(graph.node("Unsqueeze", &[&before, &first_axis], &format!("{name}/{letter}"), vec![]));
    }
    let mut attributes: Vec<_> = operator
        .attributes
        .iter()
        .map(|all| match all {
            // One of each direction.
            (name, Attribute::Texts(values)) if layer.bidirectional => strings(name, &values.repeat(2)),
            all => attribute(all),
        })
        .collect();
    attributes.push(string("direction", if layer.bidirectional { "bidirectional" } else { "forward" }));
    attributes.push(integer("hidden_size", units as i64));
    let sequence = format!("{name}/sequence");
    let states = if layer.bidirectional { &form.states[..1] } else { form.states };
    let last: Vec<String> = states.iter().map(|letter| format!("{name}/{letter}_last")).collect();
    let mut operands = vec![from, &kernel, &recurrent, &bias, lengths];
    operands.extend(initial.iter().map(String::as_str));
    let mut results = vec![sequence.as_str()];
    results.extend(last.iter().map(String::as_str));
    graph.node_with(operator.name, &operands, &results, attributes);
    let output = format!("{name}/output");
    let width = layer.width();
    if layer.bidirectional {
        let after = format!("{name}/after");
        for (from, to, order, sizes) in [
            (&sequence, &output, &[0, 2, 1, 3][..], &[0, 0, width as i64][..]),
            (&last[0], &after, &[1, 0, 2], &[0, width as i64]),
        ] {
            let turned = graph.node("Transpose", &[from], &format!("{to}/turned"), vec![integers("perm", order)]);
            let sizes = graph.integers(&format!("{to}/sizes"), sizes);
            graph.node("Reshape", &[&turned, &sizes], to, vec![]);
        }
        return Ran { output, last: after, width };
    }
    for (letter, last) in form.states.iter().zip(&last) {
        graph.node("Squeeze", &[last, &first_axis], &format!("{prefix}{letter}_{index}_out"), vec![]);
    }
    graph.node("Squeeze", &[&sequence, &direction_axis], &output, vec![]);
    Ran { output, last: format!("{prefix}h_{index}_out"), width }
}

/// Declares a state [B, width], and returns the name that it comes out by.
pub(super) fn state(graph: &mut Graph, name: &str, width: usize) -> String {
    let after = format!("{name}_out");
    graph.input(name, &[BATCH, Axis::Fixed(width)]);
    graph.output(&after, &[BATCH, Axis::Fixed(width)]);
    after
}

/// The operands of one direction, of the tensors whose names begin with `prefix`.
fn operands(graph: &mut Graph, layer: &RecurrentLayer, tensors: &ByName, prefix: &str, inputs: usize) -> [String; 3] {
    let (cell, units) = (layer.cell, layer.units);
    let gates = cell.gates() * units;
    let operand = blocks(cell).len() * units;
    let order = cell.form().operator().map_or("", |operator| operator.order);
    let kernel_name = format!("{prefix}kernel");
    let values = kernel_to_onnx(cell, units, inputs, tensors.get(&kernel_name));
    let about = format!("Keras kernel [{inputs}, {gates}], transposed; {order}");
    let kernel = graph.floats(&kernel_name, &[1, operand, inputs], &values, &about);
    let recurrent_name = format!("{prefix}recurrent_kernel");
    let values = kernel_to_onnx(cell, units, units, tensors.get(&recurrent_name));
    let about = format!("Keras recurrent kernel [{units}, {gates}], transposed; {order}");
    let recurrent = graph.floats(&recurrent_name, &[1, operand, units], &values, &about);
    let bias_name = format!("{prefix}bias");
    let values = bias_to_onnx(layer, tensors.get(&bias_name));
    let about = format!("input bias, then recurrent bias (zero where Keras has none); {order}");
    [kernel, recurrent, graph.floats(&bias_name, &[1, 2 * operand], &values, &about)]
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
