//! Inputs that only say how many steps each sequence of a batch has (`sequence_lens`): every run of kolk holds whole
//! steps, so nothing needs to feed them.

use std::collections::BTreeSet;

use super::proto::{GraphProto, NodeProto};
use super::view::{mentions, subgraphs};

/// Where RNN, GRU and LSTM take the lengths.
const AT: usize = 4;

fn is_recurrent(node: &NodeProto) -> bool {
    matches!(node.op_type(), "RNN" | "GRU" | "LSTM")
}

/// Whether all that an input feeds is the lengths of recurrent operators.
pub fn is_lengths(graph: &GraphProto, input: &str) -> bool {
    let names = carried(graph, input);
    let takes = |node: &NodeProto, at: usize| names.contains(node.input[at].as_str());
    let is_carrier = |node: &NodeProto| node.output.iter().any(|name| names.contains(name.as_str()));
    let mut fed = false;
    for node in graph.node.iter().filter(|node| !is_carrier(node)) {
        for at in (0..node.input.len()).filter(|at| takes(node, *at)) {
            if !is_recurrent(node) || at != AT {
                return false;
            }
            fed = true;
        }
        if subgraphs(node).any(|body| mentions(body, &names)) {
            return false;
        }
    }
    fed && !graph.output.iter().any(|info| names.contains(info.name()))
}

/// The input's values under all the names that they go by.
fn carried<'a>(graph: &'a GraphProto, input: &'a str) -> BTreeSet<&'a str> {
    let mut names = BTreeSet::from([input]);
    for node in graph.node.iter().filter(|node| matches!(node.op_type(), "Cast" | "Identity" | "Squeeze")) {
        if node.input.first().is_some_and(|name| names.contains(name.as_str())) {
            names.extend(node.output.iter().map(String::as_str));
        }
    }
    names
}

/// Leaves such inputs out, but for those that `keep` names.
pub fn leave_out(graph: &mut GraphProto, keep: &dyn Fn(&str) -> bool) -> Vec<String> {
    let inputs = graph.input.iter().map(|info| info.name().to_owned());
    let lengths: Vec<String> = inputs.filter(|name| !keep(name) && is_lengths(graph, name)).collect();
    for input in &lengths {
        let names: BTreeSet<String> = carried(graph, input).into_iter().map(str::to_owned).collect();
        graph.node.retain(|node| !node.output.iter().any(|name| names.contains(name)));
        for node in graph.node.iter_mut().filter(|node| is_recurrent(node)) {
            if let Some(at) = node.input.get_mut(AT).filter(|name| names.contains(name.as_str())) {
                at.clear();
            }
        }
        graph.input.retain(|info| info.name() != input);
    }
    let note = |name: &String| format!("input \"{name}\" only says how many steps a sequence has: it is left out");
    lengths.iter().map(note).collect()
}
