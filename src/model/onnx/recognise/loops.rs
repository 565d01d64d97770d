//! A `Loop` or `Scan` whose body is one cell becomes the cell's operator: Keras writes GRU and SimpleRNN so. Must not
//! live here: which formula is a cell (`cell`), and the proof (`mod`).

use std::collections::{BTreeMap, BTreeSet};

use super::cell::{Cell, cell};
use super::expr::Source;
use super::rewrite::{ints, node as make, operator, prune, reshaped};
use super::rows::Rows;
use crate::model::onnx::proto::{GraphProto, ModelProto, NodeProto, TensorProto};
use crate::model::onnx::view::{self, Dim, constants, input, integer, integers, one_integer, output, subgraphs};

/// Weights that a loop only hands from step to step become constants of its body.
pub(super) fn settle(graph: &mut GraphProto) {
    let known: BTreeMap<String, TensorProto> =
        constants(graph).into_iter().map(|(name, tensor)| (name.to_owned(), tensor.clone())).collect();
    let mut renamed: Vec<(String, String)> = Vec::new();
    for node in graph.node.iter_mut().filter(|node| matches!(node.op_type(), "Loop" | "Scan")) {
        let (first, ahead) = if node.op_type() == "Loop" { (2, 1) } else { (0, 0) };
        let scans = if first == 0 { integer(node, "num_scan_inputs").unwrap_or(0).max(0) as usize } else { 0 };
        let carried = node.input.len().saturating_sub(first + scans);
        for index in (0..carried).rev() {
            let Some(constant) = known.get(&node.input[first + index]) else { continue };
            let outer = node.input[first + index].clone();
            let Some(body) = node.attribute.iter_mut().find_map(|attribute| attribute.g.as_mut()) else { continue };
            let (Some(inside), Some(back)) = (body.input.get(first + index), body.output.get(ahead + index)) else {
                continue;
            };
            let (inside, back) = (inside.name().to_owned(), back.name().to_owned());
            let handed_on = back == inside
                || body.node.iter().any(|node| {
                    node.op_type() == "Identity"
                        && node.output.first() == Some(&back)
                        && node.input.first() == Some(&inside)
                });
            if !handed_on {
                continue;
            }
            body.input.remove(first + index);
            body.output.remove(ahead + index);
            body.initializer.push(TensorProto { name: Some(inside), ..constant.clone() });
            node.input.remove(first + index);
            if index < node.output.len() {
                renamed.push((node.output.remove(index), outer));
            }
        }
    }
    for name in graph.node.iter_mut().flat_map(|node| &mut node.input) {
        if let Some((_, outer)) = renamed.iter().find(|(inner, _)| inner == name) {
            name.clone_from(outer);
        }
    }
}

/// The first loop of the graph that is a cell, replaced by the operator; says which one.
pub(super) fn rewrite(model: &mut ModelProto, skip: &BTreeSet<String>) -> Option<(String, String)> {
    let opset = view::opset(model);
    let graph = model.graph.as_mut()?;
    let candidates = graph
        .node
        .iter()
        .enumerate()
        .filter(|(_, node)| matches!(node.op_type(), "Loop" | "Scan") && !skip.contains(view::name(node)));
    let (at, found) = candidates.into_iter().find_map(|(at, node)| Some((at, Found::new(graph, node)?)))?;
    let name = view::name(&graph.node[at]).to_owned();
    let said = format!(
        "the {} \"{name}\" is the operator {} with {} units now",
        graph.node[at].op_type(),
        found.cell.operator,
        found.cell.units
    );
    let nodes = found.nodes(graph, opset, &name);
    graph.node.splice(at..=at, nodes);
    prune(graph);
    Some((name, said))
}

/// What replaces a loop.
struct Found {
    cell: Cell,
    /// The sequence, and which of its axes are the steps.
    sequence: (String, usize),
    /// Initial states, in the operator's order.
    initial: Vec<String>,
    /// Names of the last states that are used.
    last: Vec<Option<String>>,
    /// Names of the sequences of h that are used.
    sequences: Vec<String>,
}

impl Found {
    fn new(graph: &GraphProto, node: &NodeProto) -> Option<Found> {
        let body = subgraphs(node).next()?;
        let is_loop = node.op_type() == "Loop";
        let mut all: BTreeMap<&str, &TensorProto> = constants(graph);
        all.extend(constants(body));
        let scans = if is_loop { 0 } else { usize::try_from(integer(node, "num_scan_inputs")?).ok()? };
        let (first, ahead) = if is_loop { (2, 1) } else { (0, 0) };
        let carried = node.input.len().checked_sub(first + scans)?;
        let states: Vec<&str> = body.input.get(first..first + carried)?.iter().map(|info| info.name()).collect();
        let mut sequences: BTreeMap<&str, (String, usize)> = BTreeMap::new();
        if is_loop {
            for gather in body.node.iter().filter(|node| node.op_type() == "Gather") {
                let (from, index, to) = (input(gather, 0)?, input(gather, 1)?, output(gather, 0)?);
                let counts = body.input.first()?.name() == index
                    || states.iter().position(|state| *state == index).is_some_and(|at| counts(graph, node, body, at));
                let outside = !body.input.iter().any(|info| info.name() == from)
                    && !body.node.iter().any(|node| node.output.iter().any(|name| name == from));
                if counts && outside {
                    sequences
                        .insert(to, (from.to_owned(), usize::try_from(integer(gather, "axis").unwrap_or(0)).ok()?));
                }
            }
        } else {
            let forward = |name: &str| integers(node, name).unwrap_or_default().iter().all(|value| *value == 0);
            if !forward("scan_input_directions") || !forward("scan_output_directions") || !forward("scan_output_axes") {
                return None;
            }
            let axes = integers(node, "scan_input_axes").unwrap_or_default();
            for scan in 0..scans {
                let axis = usize::try_from(axes.get(scan).copied().unwrap_or(0)).ok()?;
                sequences.insert(body.input.get(carried + scan)?.name(), (node.input[carried + scan].clone(), axis));
            }
        }
        let mut rows = Rows::new(body, all);
        for info in &body.input[first..first + carried] {
            if let Some([_, Dim::Fixed(units)]) = view::dims(info).as_deref() {
                rows.source(info.name(), vec![None, Some(*units)]);
            }
        }
        body.node.iter().for_each(|node| rows.node(node));
        let after = |at: usize| rows.formula(body.output.get(ahead + at)?.name());
        for (at, state) in states.iter().enumerate() {
            let (Some(row), Some(next)) = (rows.get(state), after(at)) else { continue };
            let h = Source { name: (*state).to_owned(), from: 0, width: row.axes.get(1).copied().flatten()? };
            let Some(cell) = cell(&next, &|name| rows.formula(name), &h) else { continue };
            let Some(sequence) = sequences.get(cell.x.name.as_str()).filter(|_| cell.x.from == 0) else { continue };
            let mut places = vec![at];
            if let Some((c, next)) = &cell.c {
                let place = states.iter().position(|state| *state == c.name && c.from == 0)?;
                (after(place)? == *next).then_some(())?;
                places.push(place);
            }
            let used = |name: &&String| is_used(graph, name);
            let result = |at: usize| node.output.get(at).filter(|name| !name.is_empty()).filter(used).cloned();
            // What else it carries must be for counting alone.
            if (0..carried).any(|other| !places.contains(&other) && result(other).is_some()) {
                return None;
            }
            let mut steps = Vec::new();
            for (index, out) in body.output.iter().skip(ahead + carried).enumerate() {
                let Some(name) = result(carried + index) else { continue };
                (rows.formula(out.name())? == next).then_some(())?;
                steps.push(name);
            }
            return Some(Found {
                sequence: sequence.clone(),
                initial: places.iter().map(|at| node.input[first + at].clone()).collect(),
                last: places.iter().map(|at| result(*at)).collect(),
                sequences: steps,
                cell,
            });
        }
        None
    }

    fn nodes(&self, graph: &mut GraphProto, opset: i64, name: &str) -> Vec<NodeProto> {
        let mut nodes = Vec::new();
        let mut x = self.sequence.0.clone();
        if self.sequence.1 == 1 {
            let turned = format!("{name}/x");
            nodes.push(make("Transpose", &[&x], &[&turned], vec![ints("perm", &[1, 0, 2])]));
            x = turned;
        }
        let mut states = Vec::new();
        for (index, from) in self.initial.iter().enumerate() {
            let to = format!("{name}/initial_{index}");
            nodes.push(reshaped(graph, opset, "Unsqueeze", from, &to, 0));
            states.push(to);
        }
        let all = format!("{name}/sequence");
        let last: Vec<String> = (0..self.last.len()).map(|index| format!("{name}/last_{index}")).collect();
        let outputs: Vec<&str> = std::iter::once(all.as_str()).chain(last.iter().map(String::as_str)).collect();
        let states: Vec<&str> = states.iter().map(String::as_str).collect();
        nodes.push(operator(graph, &self.cell, name, &x, &states, &outputs));
        for to in &self.sequences {
            nodes.push(reshaped(graph, opset, "Squeeze", &all, to, 1));
        }
        for (from, to) in last.iter().zip(&self.last) {
            if let Some(to) = to {
                nodes.push(reshaped(graph, opset, "Squeeze", from, to, 0));
            }
        }
        nodes
    }
}

/// Whether a carried value of a loop counts its steps from 0 on.
fn counts(graph: &GraphProto, node: &NodeProto, body: &GraphProto, at: usize) -> bool {
    let outer = constants(graph);
    let number =
        |known: &BTreeMap<&str, &TensorProto>, name: &str| known.get(name).and_then(|tensor| one_integer(tensor));
    let zero = input(node, 2 + at).is_some_and(|name| number(&outer, name) == Some(0));
    let inner = constants(body);
    let (Some(from), Some(to)) = (body.input.get(2 + at), body.output.get(1 + at)) else { return false };
    let one = |name: &str| number(&inner, name).or_else(|| number(&outer, name)) == Some(1);
    zero && body.node.iter().any(|node| {
        node.op_type() == "Add"
            && output(node, 0) == Some(to.name())
            && match (input(node, 0), input(node, 1)) {
                (Some(a), Some(b)) => a == from.name() && one(b) || b == from.name() && one(a),
                _ => false,
            }
    })
}

fn is_used(graph: &GraphProto, name: &str) -> bool {
    fn within(graph: &GraphProto, name: &str) -> bool {
        graph.output.iter().any(|out| out.name() == name)
            || graph.node.iter().any(|node| {
                node.input.iter().any(|input| input == name) || subgraphs(node).any(|body| within(body, name))
            })
    }
    within(graph, name)
}
