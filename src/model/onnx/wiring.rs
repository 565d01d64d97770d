//! How inputs and outputs of a graph are wired to what its operators do with them: which states belong together, which
//! inputs are looked up in a table, or compared with a number. Must not live here: names and shapes (`model::card`).

use std::collections::{BTreeMap, BTreeSet};

use super::proto::{GraphProto, NodeProto, TensorProto};
use super::{values, view};

/// A state of a recurrent node: its index among the nodes, and which of its states.
type Slot = (usize, usize);

/// The wires of a graph, without those of graphs within it.
pub struct Wiring<'a> {
    graph: &'a GraphProto,
    makers: BTreeMap<&'a str, usize>,
}

impl<'a> Wiring<'a> {
    /// Of a graph.
    pub fn new(graph: &'a GraphProto) -> Self {
        let outputs =
            |(index, node): (usize, &'a NodeProto)| node.output.iter().map(move |name| (name.as_str(), index));
        Wiring { graph, makers: graph.node.iter().enumerate().flat_map(outputs).collect() }
    }

    /// The states of recurrent operators that an input begins, unchanged but for its shape.
    pub fn begins(&self, input: &str) -> BTreeSet<Slot> {
        let mut names = BTreeSet::from([input]);
        let mut slots = BTreeSet::new();
        // Nodes are in the order in which they run.
        for (index, node) in self.graph.node.iter().enumerate() {
            if let Some(states) = states(node) {
                let begun = states.iter().enumerate().filter(|(_, (at, _))| {
                    node.input.get(*at).is_some_and(|name| !name.is_empty() && names.contains(name.as_str()))
                });
                slots.extend(begun.map(|(slot, _)| (index, slot)));
            } else if moves(node) && node.input.first().is_some_and(|name| names.contains(name.as_str())) {
                names.extend(node.output.iter().map(String::as_str));
            }
        }
        slots
    }

    /// A recurrent operator that a state begins and that runs backwards in time, as text.
    pub fn backwards(&self, state: &str) -> Option<String> {
        let nodes = self.begins(state).into_iter().map(|(index, _)| &self.graph.node[index]);
        nodes.into_iter().find_map(|node| {
            let direction = view::text(node, "direction").filter(|word| *word != "forward")?;
            Some(format!("\"{}\" ({} with direction {direction})", view::name(node), node.op_type()))
        })
    }

    /// The states of recurrent operators that an output is, unchanged but for its shape.
    pub fn ends(&self, output: &str) -> BTreeSet<Slot> {
        let mut slots = BTreeSet::new();
        let mut open = vec![output];
        let mut seen = BTreeSet::new();
        while let Some(name) = open.pop() {
            let Some(&index) = self.makers.get(name).filter(|_| seen.insert(name)) else { continue };
            let node = &self.graph.node[index];
            if let Some(states) = states(node) {
                let ended = states.iter().position(|(_, at)| node.output.get(*at).is_some_and(|other| other == name));
                // What is no state of a recurrent operator makes the output something else than a state of it.
                match ended {
                    Some(slot) => drop(slots.insert((index, slot))),
                    None => return BTreeSet::new(),
                }
            } else if node.op_type() == "Concat" {
                open.extend(node.input.iter().map(String::as_str));
            } else if moves(node) {
                open.extend(node.input.first().map(String::as_str));
            } else {
                return BTreeSet::new();
            }
        }
        slots
    }

    /// Rows of the table that an input is looked up in.
    pub fn table(&self, input: &str) -> Option<usize> {
        let mut names = BTreeSet::from([input]);
        for node in &self.graph.node {
            let is = |at: usize| node.input.get(at).is_some_and(|name| names.contains(name.as_str()));
            if node.op_type() == "Gather" && is(1) {
                let table = node.input.first().and_then(|name| self.constant(name))?;
                return table.dims.first().and_then(|rows| usize::try_from(*rows).ok());
            }
            if moves(node) && is(0) {
                names.extend(node.output.iter().map(String::as_str));
            }
        }
        None
    }

    /// Whole numbers that an input is compared with, anywhere in the graph and in graphs within it, in their order.
    pub fn compared(&self, input: &str) -> Vec<i64> {
        let mut found = Vec::new();
        compared(&[self.graph], &mut BTreeSet::from([input]), &mut found);
        found
    }

    /// Whether an input changes nothing: no node takes it, or only one that multiplies it by zero.
    pub fn is_idle(&self, input: &str) -> bool {
        let takes = |node: &&NodeProto| {
            node.input.iter().any(|name| name == input)
                || view::subgraphs(node).any(|graph| view::mentions(graph, &BTreeSet::from([input])))
        };
        let is_zero = |tensor: &TensorProto| {
            values::to_numbers(tensor).is_some_and(|numbers| numbers.iter().all(|number| *number == 0.0))
        };
        self.graph.node.iter().filter(takes).all(|node| {
            let others = node.input.iter().filter(|name| *name != input);
            node.op_type() == "Mul"
                && others.clone().count() == 1
                && others.filter_map(|name| self.constant(name)).any(is_zero)
        })
    }

    /// Whether the sequence of a recurrent operator is an input of the graph, and if so whether batch and time are
    /// exchanged on the way: `true` for [batch, time, ..].
    pub fn batch_first(&self, input: &str) -> Option<bool> {
        let mut names = BTreeMap::from([(input, false)]);
        for node in &self.graph.node {
            let Some(&exchanged) = node.input.first().and_then(|name| names.get(name.as_str())) else { continue };
            if states(node).is_some() {
                return Some(exchanged);
            }
            match (node.op_type(), view::integers(node, "perm")) {
                ("Transpose", Some([1, 0, 2])) => {
                    names.extend(node.output.iter().map(|name| (name.as_str(), !exchanged)));
                }
                ("Identity" | "Cast", _) => names.extend(node.output.iter().map(|name| (name.as_str(), exchanged))),
                _ => {}
            }
        }
        None
    }

    fn constant(&self, name: &str) -> Option<&'a TensorProto> {
        constant(self.graph, name)
    }
}

fn constant<'a>(graph: &'a GraphProto, name: &str) -> Option<&'a TensorProto> {
    if let Some(tensor) = graph.initializer.iter().find(|tensor| tensor.name() == name) {
        return Some(tensor);
    }
    let node = graph.node.iter().find(|node| node.output.iter().any(|output| output == name))?;
    view::attribute(node, "value")?.t.as_ref().filter(|_| node.op_type() == "Constant")
}

/// `graphs`: the graph and those around it, the innermost last; `names`: what holds the input, moved or not.
fn compared<'a>(graphs: &[&'a GraphProto], names: &mut BTreeSet<&'a str>, found: &mut Vec<i64>) {
    let Some(graph) = graphs.last() else { return };
    for node in &graph.node {
        if matches!(node.op_type(), "Equal" | "Less" | "LessOrEqual" | "Greater" | "GreaterOrEqual")
            && node.input.iter().any(|name| names.contains(name.as_str()))
        {
            let known = |name: &String| graphs.iter().rev().find_map(|graph| constant(graph, name));
            for value in node.input.iter().filter_map(known).filter_map(values::to_integers).flatten() {
                if !found.contains(&value) {
                    found.push(value);
                }
            }
        } else if moves(node) && node.input.first().is_some_and(|name| names.contains(name.as_str())) {
            names.extend(node.output.iter().map(String::as_str));
        }
        for inner in view::subgraphs(node) {
            compared(&[graphs, &[inner]].concat(), &mut names.clone(), found);
        }
    }
}

/// Where the states of a recurrent operator are: inputs and outputs.
fn states(node: &NodeProto) -> Option<&'static [(usize, usize)]> {
    match node.op_type() {
        "LSTM" | "DynamicQuantizeLSTM" => Some(&[(5, 1), (6, 2)]),
        "GRU" | "RNN" => Some(&[(5, 1)]),
        "CausalConvWithState" => Some(&[(3, 1)]),
        "LinearAttention" => Some(&[(3, 1)]),
        _ => None,
    }
}

/// Whether a node only moves the numbers of its first input.
fn moves(node: &NodeProto) -> bool {
    matches!(
        node.op_type(),
        "Unsqueeze"
            | "Squeeze"
            | "Reshape"
            | "Transpose"
            | "Identity"
            | "Cast"
            | "Slice"
            | "Split"
            | "Gather"
            | "Flatten"
    )
}
