//! Putting a cell's operator into a graph, and taking out what nothing uses. Must not live here: finding cells.

use std::collections::BTreeSet;

use super::cell::Cell;
use crate::model::onnx::graph::{integer, string, strings};
use crate::model::onnx::proto::{AttributeProto, GraphProto, NodeProto, attribute_proto::AttributeType};
use crate::model::onnx::values;
use crate::model::onnx::view::subgraphs;

/// A node without a name: one of its output's could be another node's.
pub(super) fn node(op: &str, inputs: &[&str], outputs: &[&str], attributes: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        input: inputs.iter().map(|name| (*name).to_owned()).collect(),
        output: outputs.iter().map(|name| (*name).to_owned()).collect(),
        op_type: Some(op.to_owned()),
        attribute: attributes,
        ..Default::default()
    }
}

/// `Squeeze` or `Unsqueeze` of one axis, as that version of the operators writes it.
pub(super) fn reshaped(graph: &mut GraphProto, opset: i64, op: &str, from: &str, to: &str, axis: i64) -> NodeProto {
    if opset < 13 {
        let axes = AttributeProto {
            name: Some("axes".into()),
            r#type: Some(AttributeType::Ints as i32),
            ints: vec![axis],
            ..Default::default()
        };
        return node(op, &[from], &[to], vec![axes]);
    }
    let name = format!("{to}/axis");
    graph.initializer.push(values::integers(&name, &[1], &[axis]));
    node(op, &[from, &name], &[to], vec![])
}

/// A list of integers as attribute.
pub(super) fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Ints as i32),
        ints: values.to_vec(),
        ..Default::default()
    }
}

/// The operator of a cell on `x` [T, B, F] from the states [1, B, units]; its weights become initialisers. `outputs`
/// are the sequence and the last states.
pub(super) fn operator(
    graph: &mut GraphProto,
    cell: &Cell,
    name: &str,
    x: &str,
    states: &[&str],
    outputs: &[&str],
) -> NodeProto {
    let (units, features) = (cell.units, cell.x.width);
    let gates = cell.w.len() / (units * features).max(1);
    let [w, r, b] = ["W", "R", "B"].map(|part| format!("{name}/{part}"));
    graph.initializer.push(values::floats(&w, &[1, gates * units, features], &cell.w));
    graph.initializer.push(values::floats(&r, &[1, gates * units, units], &cell.r));
    graph.initializer.push(values::floats(&b, &[1, 2 * gates * units], &cell.b));
    let names: Vec<&str> = cell.activations.iter().map(|activation| activation.name.as_str()).collect();
    let mut attributes = vec![strings("activations", &names)];
    for (word, of) in [
        ("activation_alpha", cell.activations.iter().filter_map(|a| a.alpha).collect::<Vec<f32>>()),
        ("activation_beta", cell.activations.iter().filter_map(|a| a.beta).collect()),
    ] {
        if !of.is_empty() {
            attributes.push(AttributeProto {
                name: Some(word.into()),
                r#type: Some(AttributeType::Floats as i32),
                floats: of,
                ..Default::default()
            });
        }
    }
    attributes.push(string("direction", "forward"));
    attributes.push(integer("hidden_size", units as i64));
    if let Some(linear) = cell.linear_before_reset {
        attributes.push(integer("linear_before_reset", linear));
    }
    let mut inputs = vec![x, &w, &r, &b, ""];
    inputs.extend(states);
    node(cell.operator, &inputs, outputs, attributes)
}

/// Removes nodes and initialisers of the graph that nothing uses.
pub(super) fn prune(graph: &mut GraphProto) {
    loop {
        let mut used: BTreeSet<String> = graph.output.iter().map(|out| out.name().to_owned()).collect();
        uses(graph, &mut used);
        let before = graph.node.len();
        graph.node.retain(|node| node.output.iter().any(|name| used.contains(name)));
        if graph.node.len() == before {
            graph.initializer.retain(|tensor| used.contains(tensor.name()));
            graph.value_info.retain(|info| used.contains(info.name()));
            return;
        }
    }
}

/// Names that nodes take, those of graphs within them included.
pub(super) fn uses(graph: &GraphProto, used: &mut BTreeSet<String>) {
    for node in &graph.node {
        used.extend(node.input.iter().filter(|name| !name.is_empty()).cloned());
        for body in subgraphs(node) {
            used.extend(body.output.iter().map(|out| out.name().to_owned()));
            uses(body, used);
        }
    }
}
