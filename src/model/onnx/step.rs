//! A recurrent layer whose cell ONNX has no operator for: its step of plain operators, in a `Scan` over the timesteps.
//!
//! A run of one step has the bits of the same operators without the `Scan`, and so have many steps in one run. Must not
//! live here: which operators a cell is made of (`kernel`, the file of each cell).

use super::export::{BATCH, Place, state as declare};
use super::graph::{Axis, Graph, float, graph as subgraph, integer, strings};
use super::pool::Ran;
use super::proto::AttributeProto;
use crate::kernel::cell::{Attribute, Body, Node};
use crate::network::{ByName, RecurrentLayer};

/// Runs the layer at this place over `from` [T, B, inputs].
pub(super) fn scan(
    graph: &mut Graph,
    layer: &RecurrentLayer,
    body: &Body,
    tensors: &ByName,
    Place { prefix, index, inputs }: Place<'_>,
    from: &str,
) -> Ran {
    let (form, units) = (layer.cell.form(), layer.units);
    let name = format!("{prefix}recurrent_{index}");
    let parts = layer.cell.tensors(inputs, units, layer.has_two_biases());
    for tensor in &parts {
        let full = format!("{name}/{}", tensor.name);
        graph.floats(&full, &tensor.shape, tensors.get(&full), "");
    }
    let is_tensor = |word: &str| parts.iter().any(|tensor| tensor.name == word);
    // Names within the loop are apart from those around it, which it sees too.
    let around = |word: &str| format!("{name}/{word}");
    let within = |word: &str| if is_tensor(word) { around(word) } else { format!("{name}/step/{word}") };
    graph.node("MatMul", &[from, &around("kernel")], &around("product"), vec![]);
    write(graph, body.before, &around);

    let mut step = Graph::default();
    let state = [BATCH, Axis::Fixed(units)];
    for letter in form.states {
        step.input(&within(letter), &state);
        step.output(&within(&format!("{letter}'")), &state);
    }
    step.input(&within("inputs"), &[BATCH, Axis::Fixed(layer.cell.gates() * units)]);
    step.output(&within("output"), &state);
    write(&mut step, body.step, &within);
    step.node("Identity", &[&within("h'")], &within("output"), vec![]);

    let (mut taken, mut given) = (Vec::new(), Vec::new());
    for letter in form.states {
        let pair = format!("{prefix}{letter}_{index}");
        given.push(declare(graph, &pair, units));
        taken.push(pair);
    }
    taken.push(around("inputs"));
    given.push(around("output"));
    let [taken, given] = [&taken, &given].map(|all| all.iter().map(String::as_str).collect::<Vec<_>>());
    let attributes = vec![subgraph("body", step.0), integer("num_scan_inputs", 1)];
    graph.node_with("Scan", &taken, &given, attributes);
    Ran { output: around("output"), last: format!("{prefix}h_{index}_out"), width: layer.width() }
}

/// Adds nodes of a cell, whose words become names.
pub(super) fn write(graph: &mut Graph, nodes: &[Node], name: &dyn Fn(&str) -> String) {
    for node in nodes {
        let inputs: Vec<String> = node.inputs.iter().map(|word| name(word)).collect();
        let outputs: Vec<String> = node.outputs.iter().map(|word| name(word)).collect();
        let [inputs, outputs] = [&inputs, &outputs].map(|all| all.iter().map(String::as_str).collect::<Vec<_>>());
        graph.node_with(node.operator, &inputs, &outputs, node.attributes.iter().map(attribute).collect());
    }
}

/// An attribute of a cell as that of a node.
pub(super) fn attribute((name, value): &(&'static str, Attribute)) -> AttributeProto {
    match value {
        Attribute::Integer(value) => integer(name, *value),
        Attribute::Number(value) => float(name, *value as f32),
        Attribute::Texts(values) => strings(name, values),
    }
}
