//! Opening the batch axis of a graph that was exported for one sequence: declared sizes of 1, and graphs whose steps
//! are where a batch would be. It only proposes: runs prove that rows are what they were one by one. Must not live
//! here: those runs (`model::import`).

use super::graph::integer;
use super::proto::tensor_shape_proto::dimension::Value;
use super::proto::{AttributeProto, GraphProto, ModelProto, NodeProto, attribute_proto::AttributeType};
use super::view::{name, output, shape_mut};
use crate::network::{Axis, TensorSpec};

/// Declares the batch axes of inputs, states and outputs as open where the file gives them a size. Often that is all
/// that keeps a graph from running many sequences.
pub fn open_batch(model: &mut ModelProto, tensors: &[TensorSpec]) -> Vec<String> {
    let Some(graph) = &mut model.graph else { return Vec::new() };
    let mut opened = Vec::new();
    for info in graph.input.iter_mut().chain(&mut graph.output) {
        let Some(spec) = tensors.iter().find(|spec| spec.name == info.name()) else { continue };
        let Some(at) = spec.shape.iter().position(|axis| *axis == Axis::Batch) else { continue };
        let Some(dim) = shape_mut(info).and_then(|shape| shape.dim.get_mut(at)) else { continue };
        if let Some(Value::DimValue(size)) = dim.value {
            dim.value = Some(Value::DimParam("batch".into()));
            opened.push(format!("\"{}\" (was {size})", spec.name));
        }
    }
    if opened.is_empty() {
        return Vec::new();
    }
    // What was inferred from the sizes no longer holds.
    forget_shapes(graph);
    vec![format!("the batch axis is open now: {}", opened.join(", "))]
}

/// For a graph whose inputs are [T, ..] without a batch: one step of many sequences takes the place of many steps of
/// one. Everything but recurrent operators treats these rows alike; around each of these, the axes change places.
/// Inputs and outputs then have the batch where they had the time, states where they had the 1.
pub fn batch_for_time(model: &mut ModelProto, tensors: &[TensorSpec]) -> Vec<String> {
    let Some(graph) = &mut model.graph else { return Vec::new() };
    let mut turned = Vec::new();
    turn(graph, &mut turned);
    if turned.is_empty() {
        return Vec::new();
    }
    for info in graph.input.iter_mut().chain(&mut graph.output) {
        let Some(spec) = tensors.iter().find(|spec| spec.name == info.name()) else { continue };
        let Some(shape) = shape_mut(info) else { continue };
        for (dim, axis) in shape.dim.iter_mut().zip(&spec.shape) {
            if matches!(axis, Axis::Time | Axis::Batch) {
                dim.value = Some(Value::DimParam("batch".into()));
            }
        }
    }
    forget_shapes(graph);
    vec![format!("one step of many sequences is where many steps of one were, around {}", turned.join(", "))]
}

fn turn(graph: &mut GraphProto, turned: &mut Vec<String>) {
    let mut nodes = Vec::with_capacity(graph.node.len());
    for mut node in std::mem::take(&mut graph.node) {
        node.attribute.iter_mut().filter_map(|attribute| attribute.g.as_mut()).for_each(|body| turn(body, turned));
        if !matches!(node.op_type(), "LSTM" | "GRU" | "RNN" | "DynamicQuantizeLSTM") || node.input.is_empty() {
            nodes.push(node);
            continue;
        }
        let shown = name(&node).to_owned();
        let x = format!("{shown}/batch_for_time");
        nodes.push(transpose(&node.input[0], &x, &[1, 0, 2]));
        node.input[0] = x;
        let sequence = output(&node, 0).map(str::to_owned);
        if let Some(to) = sequence {
            let from = format!("{to}/time_for_batch");
            node.output[0].clone_from(&from);
            nodes.push(node);
            nodes.push(transpose(&from, &to, &[2, 1, 0, 3]));
        } else {
            nodes.push(node);
        }
        turned.push(format!("\"{shown}\""));
    }
    graph.node = nodes;
}

fn transpose(from: &str, to: &str, perm: &[i64]) -> NodeProto {
    let perm =
        AttributeProto { r#type: Some(AttributeType::Ints as i32), ints: perm.to_vec(), i: None, ..integer("perm", 0) };
    NodeProto {
        op_type: Some("Transpose".into()),
        input: vec![from.to_owned()],
        output: vec![to.to_owned()],
        attribute: vec![perm],
        ..Default::default()
    }
}

/// Removes inferred shapes, those of graphs within it too.
fn forget_shapes(graph: &mut GraphProto) {
    graph.value_info.clear();
    for node in &mut graph.node {
        node.attribute.iter_mut().filter_map(|attribute| attribute.g.as_mut()).for_each(forget_shapes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::executor::trial::Trial;
    use crate::model::onnx::graph::{Axis as Declared, Graph, string};
    use crate::model::onnx::testing::{model, noise};
    use crate::model::onnx::values::{floats, to_floats};
    use crate::network::Element;

    const UNITS: usize = 3;

    fn spec(name: &str, shape: &[Axis]) -> TensorSpec {
        TensorSpec { name: name.into(), element: Element::Float32, shape: shape.to_vec() }
    }

    fn lstm(graph: &mut Graph, x: &str) {
        let w = graph.floats("W", &[1, 4 * UNITS, 2], &noise(4 * UNITS * 2, 1), "");
        let r = graph.floats("R", &[1, 4 * UNITS, UNITS], &noise(4 * UNITS * UNITS, 2), "");
        let attributes = vec![integer("hidden_size", UNITS as i64), string("direction", "forward")];
        graph.node_with("LSTM", &[x, &w, &r, "", "", "h", "c"], &["all", "hn", "cn"], attributes);
    }

    fn declare_states(graph: &mut Graph) {
        let one = [Declared::Fixed(1), Declared::Fixed(1), Declared::Fixed(UNITS)];
        ["h", "c"].iter().for_each(|name| graph.input(name, &one));
        ["hn", "cn"].iter().for_each(|name| graph.output(name, &one));
    }

    fn specs(x: &[Axis], y: &[Axis], batch: bool) -> Vec<TensorSpec> {
        let middle = if batch { Axis::Batch } else { Axis::Fixed(1) };
        let state = [Axis::Fixed(1), middle, Axis::Fixed(UNITS)];
        let mut specs: Vec<TensorSpec> = ["h", "c", "hn", "cn"].iter().map(|name| spec(name, &state)).collect();
        specs.extend([spec("x", x), spec("y", y)]);
        specs
    }

    /// Rows of many sequences, against the original graph row by row.
    fn rows_are_those_of_one(before: &ModelProto, after: &ModelProto) {
        let b = 5;
        let (x, h, c) = (noise(2 * b, 4), noise(UNITS * b, 5), noise(UNITS * b, 6));
        let run = |model: &ModelProto, from: usize, to: usize| {
            let n = to - from;
            let inputs = [
                floats("x", &[n, 2], &x[2 * from..2 * to]),
                floats("h", &[1, n, UNITS], &h[UNITS * from..UNITS * to]),
                floats("c", &[1, n, UNITS], &c[UNITS * from..UNITS * to]),
            ];
            let outputs = Trial::new(model).unwrap().run(&inputs).unwrap();
            outputs.iter().map(|output| to_floats(output).unwrap()).collect::<Vec<_>>()
        };
        let all = run(after, 0, b);
        for row in 0..b {
            for (one, all) in run(before, row, row + 1).iter().zip(&all) {
                assert_eq!(one.as_slice(), &all[row * one.len()..(row + 1) * one.len()], "row {row}");
            }
        }
    }

    #[test]
    fn declared_sizes_of_one_are_opened() {
        let mut graph = Graph::default();
        graph.input("x", &[Declared::Fixed(1), Declared::Fixed(2)]);
        declare_states(&mut graph);
        graph.output("y", &[Declared::Fixed(1), Declared::Fixed(UNITS)]);
        let axis = graph.integers("zero", &[0]);
        let x = graph.node("Unsqueeze", &["x", &axis], "steps", vec![]);
        lstm(&mut graph, &x);
        graph.node("Squeeze", &["hn", &axis], "y", vec![]);
        let before = model(graph, 18);
        let mut after = before.clone();
        let specs = specs(&[Axis::Batch, Axis::Fixed(2)], &[Axis::Batch, Axis::Fixed(UNITS)], true);
        let notes = open_batch(&mut after, &specs);
        assert!(notes[0].contains("\"x\" (was 1)") && notes[0].contains("\"cn\" (was 1)"), "{notes:?}");
        rows_are_those_of_one(&before, &after);
        assert!(open_batch(&mut after, &specs).is_empty());
    }

    #[test]
    fn a_batch_takes_the_place_of_the_steps() {
        let mut graph = Graph::default();
        graph.input("x", &[Declared::Open("time"), Declared::Fixed(2)]);
        declare_states(&mut graph);
        graph.output("y", &[Declared::Open("time"), Declared::Fixed(UNITS)]);
        let axis = graph.integers("one", &[1]);
        let x = graph.node("Unsqueeze", &["x", &axis], "steps", vec![]);
        lstm(&mut graph, &x);
        let all = graph.node("Squeeze", &["all", &axis], "squeezed", vec![]);
        graph.node("Squeeze", &[&all, &axis], "y", vec![]);
        let before = model(graph, 18);
        let mut after = before.clone();
        let specs = specs(&[Axis::Time, Axis::Fixed(2)], &[Axis::Time, Axis::Fixed(UNITS)], true);
        assert_eq!(batch_for_time(&mut after, &specs).len(), 1);
        rows_are_those_of_one(&before, &after);
    }
}
