//! A cell that is written out as single operators for one step becomes the operator. Must not live here: which formula
//! is a cell (`cell`), and the proof (`mod`).

use std::collections::BTreeSet;

use super::cell::{Cell, cell};
use super::expr::{Expr, Source};
use super::rewrite::{operator, prune, reshaped};
use super::rows::{Axes, Rows};
use crate::model::onnx::proto::{GraphProto, ModelProto, NodeProto};
use crate::model::onnx::view::{self, constants};
use crate::network::{Axis, StateTensor};

/// The first cell of the graph whose state is one of `states`, replaced by the operator; says which one.
pub(super) fn rewrite(
    model: &mut ModelProto,
    states: &[StateTensor],
    skip: &BTreeSet<String>,
) -> Option<(String, String)> {
    let opset = view::opset(model);
    let graph = model.graph.as_mut()?;
    let found = find(graph, states, skip)?;
    let name = found.next[0].0.clone();
    let said = format!(
        "the step that makes \"{name}\" is the operator {} with {} units now",
        found.cell.operator, found.cell.units
    );
    let made: Vec<&str> = found.next.iter().map(|(name, _)| name.as_str()).collect();
    let makes = |node: &NodeProto| node.output.iter().any(|name| made.contains(&name.as_str()));
    let at = graph.node.iter().position(makes)?;
    graph.node.retain(|node| !makes(node));
    let mut nodes = Vec::new();
    let mut lifted = |graph: &mut GraphProto, from: &str, axes: &Axes, to: String| {
        if axes.len() == 3 {
            return from.to_owned();
        }
        nodes.push(reshaped(graph, opset, "Unsqueeze", from, &to, 0));
        to
    };
    let x = lifted(graph, &found.x.0, &found.x.1, format!("{name}/x"));
    let initial: Vec<String> = found
        .before
        .iter()
        .enumerate()
        .map(|(index, (from, axes))| lifted(graph, from, axes, format!("{name}/initial_{index}")))
        .collect();
    let last: Vec<String> = found
        .next
        .iter()
        .enumerate()
        .map(|(index, (next, axes))| if axes.len() == 3 { next.clone() } else { format!("{name}/last_{index}") })
        .collect();
    let outputs: Vec<&str> = std::iter::once("").chain(last.iter().map(String::as_str)).collect();
    let initial: Vec<&str> = initial.iter().map(String::as_str).collect();
    nodes.push(operator(graph, &found.cell, &name, &x, &initial, &outputs));
    for ((next, axes), last) in found.next.iter().zip(&last) {
        if axes.len() == 2 {
            nodes.push(reshaped(graph, opset, "Squeeze", last, next, 0));
        }
    }
    graph.node.splice(at..at, nodes);
    sort(graph);
    prune(graph);
    Some((name, said))
}

/// A cell of the main graph: names of tensors and their axes, [batch, n] or [1, batch, n].
struct Found {
    cell: Cell,
    x: (String, Axes),
    before: Vec<(String, Axes)>,
    next: Vec<(String, Axes)>,
}

fn find(graph: &GraphProto, states: &[StateTensor], skip: &BTreeSet<String>) -> Option<Found> {
    let mut rows = Rows::new(graph, constants(graph));
    for state in states {
        let axes = state.tensor.shape.iter().map(|axis| match axis {
            Axis::Fixed(size) => Some(*size),
            Axis::Batch | Axis::Time => None,
        });
        rows.source(&state.tensor.name, axes.collect());
    }
    graph.node.iter().for_each(|node| rows.node(node));
    for state in states {
        let Some(out) = rows.formula(&state.out) else { continue };
        let pieces = match &*out {
            Expr::Concat(pieces) => pieces.clone(),
            _ => vec![out.clone()],
        };
        let mut from = 0;
        for next in pieces {
            let Some(width) = next.width() else { break };
            let h = Source { name: state.tensor.name.clone(), from, width };
            from += width;
            let Some(cell) = cell(&next, &|name| rows.formula(name), &h) else { continue };
            let mut before = vec![h];
            let mut after = vec![next];
            if let Some((c, next)) = &cell.c {
                // The state that it is must become what the formula says.
                let kept = states.iter().find(|state| state.tensor.name == c.name);
                let out = kept.and_then(|state| rows.formula(&state.out)?.slice(c.from, c.width));
                if out.as_ref() != Some(next) {
                    continue;
                }
                before.push(c.clone());
                after.push(next.clone());
            }
            let plain = |axes: &Axes| matches!(axes.as_slice(), [None, Some(_)] | [Some(1), None, Some(_)]);
            let place = |expr: Expr| {
                let (name, row) = rows.named(&std::rc::Rc::new(expr))?;
                plain(&row.axes).then(|| (name.to_owned(), row.axes.clone()))
            };
            let Some(before) = before.into_iter().map(|source| place(Expr::Source(source))).collect() else { continue };
            let Some(next) = after.into_iter().map(|expr| place((*expr).clone())).collect::<Option<Vec<_>>>() else {
                continue;
            };
            let x = match rows.get(&cell.x.name) {
                Some(row) if plain(&row.axes) && row.axes.last() == Some(&Some(cell.x.width)) => row.axes.clone(),
                Some(_) => continue,
                None => vec![None, Some(cell.x.width)],
            };
            if cell.x.from != 0 || skip.contains(&next[0].0) {
                continue;
            }
            return Some(Found { x: (cell.x.name.clone(), x), before, next, cell });
        }
    }
    None
}

/// Nodes after those that make their inputs.
pub(super) fn sort(graph: &mut GraphProto) {
    let mut waiting = std::mem::take(&mut graph.node);
    let made = |nodes: &[NodeProto]| -> BTreeSet<String> {
        nodes.iter().flat_map(|node| node.output.iter().filter(|name| !name.is_empty()).cloned()).collect()
    };
    let mut missing = made(&waiting);
    while !waiting.is_empty() {
        let (ready, rest): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|node| {
            let mut taken: BTreeSet<String> = node.input.iter().cloned().collect();
            view::subgraphs(node).for_each(|body| super::rewrite::uses(body, &mut taken));
            !taken.iter().any(|name| missing.contains(name))
        });
        if ready.is_empty() {
            graph.node.extend(rest);
            return;
        }
        for name in made(&ready) {
            missing.remove(&name);
        }
        graph.node.extend(ready);
        waiting = rest;
    }
}

/// PyTorch's dynamo exporter brings [T, 1, B, units] to [T, B, units] by arithmetic of shapes: it is a `Squeeze`.
pub(super) fn tail(model: &mut ModelProto, skip: &BTreeSet<String>) -> Option<(String, String)> {
    let opset = view::opset(model);
    let graph = model.graph.as_mut()?;
    let recurrent: BTreeSet<&str> = graph
        .node
        .iter()
        .filter(|node| matches!(node.op_type(), "LSTM" | "GRU" | "RNN"))
        .filter(|node| view::text(node, "direction") != Some("bidirectional"))
        .filter_map(|node| view::output(node, 0))
        .collect();
    let turned = graph.node.iter().filter(|node| {
        node.op_type() == "Transpose"
            && view::input(node, 0).is_some_and(|name| recurrent.contains(name))
            && view::integers(node, "perm") == Some(&[0, 2, 1, 3])
    });
    let fixed = constants(graph);
    let (at, from) = turned.into_iter().find_map(|turned| {
        let at = graph.node.iter().position(|node| {
            node.op_type() == "Reshape"
                && view::input(node, 0) == view::output(turned, 0)
                && view::input(node, 1).is_some_and(|shape| !fixed.contains_key(shape))
                && view::output(node, 0).is_some_and(|name| !skip.contains(name))
        })?;
        Some((at, view::input(turned, 0)?.to_owned()))
    })?;
    let to = view::output(&graph.node[at], 0)?.to_owned();
    let squeeze = reshaped(graph, opset, "Squeeze", &from, &to, 1);
    graph.node[at] = squeeze;
    prune(graph);
    let said = format!("the shape of \"{to}\" is no longer computed: it is a Squeeze");
    Some((to, said))
}
