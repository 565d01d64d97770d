//! The layers of a graph that others exported: recurrent operators, loops that are recurrent layers, dense layers, and
//! whatever else holds weights. Must not live here: running or rewriting such a graph (a later issue).
//!
//! A layer's parameters are the initialisers that its operands are made of, through any number of nodes that have only
//! constants as inputs (exporters slice and reorder weights). Each initialiser counts once, as a shared weight does in
//! Keras; copies with the same bits count once too (an unrolled loop has one for each step).

use std::collections::{BTreeMap, BTreeSet};

use super::import::floats;
use super::proto::{GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, tensor_proto::DataType};
use super::view::{self, Dim, attribute, integer, subgraphs};
use crate::network::summary::{LayerNames, LayerRow};

/// The layers of a graph, in the order of its nodes.
pub fn layers(model: &ModelProto) -> Vec<LayerRow> {
    let Some(graph) = &model.graph else { return Vec::new() };
    let mut walk = Walk::default();
    walk.graph(graph, None);
    walk.rows
}

/// A weight of the model. Only the tensor says which one it is: graphs within a graph may use the same name for
/// different tensors.
#[derive(Debug, Clone, Copy)]
struct Weight<'a> {
    name: &'a str,
    tensor: &'a TensorProto,
}

impl<'a> Weight<'a> {
    /// Weights are sorted by name.
    fn id(&self) -> (&'a str, *const TensorProto) {
        (self.name, std::ptr::from_ref(self.tensor))
    }
}

/// The weights that something is made of.
type Weights<'a> = BTreeMap<(&'a str, *const TensorProto), Weight<'a>>;

/// Which weights make up each constant of a graph, by the constant's name.
#[derive(Default, Clone)]
struct Constants<'a> {
    made_of: BTreeMap<&'a str, Weights<'a>>,
}

impl<'a> Constants<'a> {
    /// Those of a graph within another one include what it sees of `outer`.
    fn new(graph: &'a GraphProto, outer: Option<&Constants<'a>>) -> Self {
        let mut constants = outer.cloned().unwrap_or_default();
        for tensor in &graph.initializer {
            constants.add(tensor.name(), tensor);
        }
        for node in &graph.node {
            let value = attribute(node, "value").and_then(|attribute| attribute.t.as_ref());
            if let ("Constant", Some(tensor)) = (node.op_type(), value) {
                constants.add(node.output.first().map_or("", String::as_str), tensor);
                continue;
            }
            let known = |name: &String| name.is_empty() || constants.made_of.contains_key(name.as_str());
            let has_subgraph = subgraphs(node).next().is_some();
            if has_subgraph || node.input.is_empty() || !node.input.iter().all(known) {
                continue;
            }
            let sources: Weights = node.input.iter().flat_map(|name| constants.sources(name)).collect();
            for output in &node.output {
                constants.made_of.insert(output, sources.clone());
            }
        }
        constants
    }

    /// Integers are shapes and indices, not weights; their names still are constants.
    fn add(&mut self, name: &'a str, tensor: &'a TensorProto) {
        let weight = Weight { name, tensor };
        let is_weight = width_of(tensor).is_some();
        self.made_of.insert(name, is_weight.then(|| (weight.id(), weight)).into_iter().collect());
    }

    fn is_constant(&self, name: &str) -> bool {
        self.made_of.contains_key(name)
    }

    fn sources(&self, name: &str) -> Weights<'a> {
        self.made_of.get(name).cloned().unwrap_or_default()
    }

    /// The weight that an operand is, unchanged.
    fn weight(&self, name: &str) -> Option<Weight<'a>> {
        self.made_of.get(name)?.values().find(|weight| weight.name == name).copied()
    }

    /// The weights that a node's inputs from `first` on are made of.
    fn operands(&self, node: &NodeProto, first: usize) -> Weights<'a> {
        node.input.iter().skip(first).flat_map(|name| self.sources(name)).collect()
    }
}

/// One graph of the model: the main one, or a branch of an `If`.
struct Scope<'a> {
    graph: &'a GraphProto,
    constants: Constants<'a>,
    /// Nodes that were counted as part of an earlier one.
    done: BTreeSet<usize>,
}

#[derive(Default)]
struct Walk<'a> {
    names: LayerNames,
    rows: Vec<LayerRow>,
    /// Weights counted so far, by their bytes and shape.
    counted: BTreeSet<(Vec<i64>, Vec<u8>)>,
    /// Those counted or seen to be a copy.
    taken: BTreeSet<(&'a str, *const TensorProto)>,
}

impl<'a> Walk<'a> {
    fn graph(&mut self, graph: &'a GraphProto, outer: Option<&Constants<'a>>) {
        let mut scope = Scope { graph, constants: Constants::new(graph, outer), done: BTreeSet::new() };
        for (index, node) in graph.node.iter().enumerate() {
            let constant = node.output.iter().all(|name| scope.constants.is_constant(name));
            if constant || scope.done.contains(&index) {
                continue;
            }
            match node.op_type() {
                "LSTM" | "GRU" | "RNN" => self.recurrent(&scope, index, node),
                "MatMul" | "Gemm" => self.dense(&mut scope, index, node),
                // Its branches are graphs like any other; only one of them runs, but all are in the file.
                "If" => subgraphs(node).for_each(|branch| self.graph(branch, Some(&scope.constants))),
                _ => self.other(&scope, node),
            }
        }
    }

    fn recurrent(&mut self, scope: &Scope<'a>, index: usize, node: &'a NodeProto) {
        let kind = if node.op_type() == "RNN" { "SimpleRNN" } else { node.op_type() };
        let units = integer(node, "hidden_size").unwrap_or(0).max(0) as usize;
        let bidirectional =
            node.attribute.iter().any(|attribute| attribute.name() == "direction" && attribute.s() == b"bidirectional");
        let sources = scope.constants.operands(node, 1);
        let mut absent = 0;
        if let Some(bias) = node.input.get(3).filter(|_| has_one_bias(node))
            && let Some(bias) = scope.constants.weight(bias)
            && !self.taken.contains(&bias.id())
        {
            absent = zero_recurrent_bias(bias.tensor, if bidirectional { 2 } else { 1 });
        }
        let (parameters, bytes) = self.take(&sources);
        let later = scope.graph.node[index + 1..].iter().any(|n| matches!(n.op_type(), "LSTM" | "GRU" | "RNN"));
        let shape = scope.shape(if bidirectional { 2 * units } else { units }, later);
        let kind = if bidirectional { format!("Bidirectional{kind}") } else { kind.to_owned() };
        self.push(&kind, shape, parameters - absent, bytes - absent * size_of::<f32>());
    }

    /// A product with a constant, and the addition of a constant to it.
    fn dense(&mut self, scope: &mut Scope<'a>, index: usize, node: &'a NodeProto) {
        let kernel = node.input.iter().take(2).find(|name| scope.constants.is_constant(name));
        let Some(kernel) = kernel else { return self.other(scope, node) };
        let mut units = 0;
        if let Some(Weight { tensor, .. }) = scope.constants.weight(kernel) {
            let transposed = integer(node, "transB") == Some(1);
            let axis = if transposed { tensor.dims.first() } else { tensor.dims.last() };
            units = axis.copied().unwrap_or(0).max(0) as usize;
        }
        let mut sources = scope.constants.operands(node, 0);
        if let Some((at, add)) = scope.bias_of(index, node) {
            let bias = scope.constants.operands(add, 0);
            if units == 0 {
                units = bias.values().map(|weight| count(weight.tensor)).max().unwrap_or(0);
            }
            sources.extend(bias);
            scope.done.insert(at);
        }
        let (parameters, bytes) = self.take(&sources);
        if parameters > 0 {
            let shape = scope.shape(units, false);
            self.push("Dense", shape, parameters, bytes);
        }
    }

    /// Loops that are recurrent layers by the shapes of their weights, and every other node that holds weights.
    fn other(&mut self, scope: &Scope<'a>, node: &'a NodeProto) {
        let mut sources = scope.constants.operands(node, 0);
        subgraphs(node).for_each(|body| within(body, &scope.constants, &mut sources));
        // A single number is a constant of a formula, not a weight, but where the operator says what it is.
        let sure = first_weight(node.op_type()).map(|first| scope.constants.operands(node, first)).unwrap_or_default();
        sources.retain(|id, weight| count(weight.tensor) > 1 || sure.contains_key(id));
        let (kind, units) = match node.op_type() {
            "Loop" | "Scan" => loop_kind(&sources).unwrap_or((node.op_type(), 0)),
            "Gather" => ("Embedding", 0),
            op => (op, 0),
        };
        let (parameters, bytes) = self.take(&sources);
        if parameters > 0 {
            let shape = if units > 0 { scope.shape(units, false) } else { Vec::new() };
            self.push(kind, shape, parameters, bytes);
        }
    }

    /// Counts weights that were not counted before: their number and bytes.
    fn take(&mut self, sources: &Weights<'a>) -> (usize, usize) {
        let (mut parameters, mut bytes) = (0, 0);
        for (id, Weight { tensor, .. }) in sources {
            let (dims, raw) = (tensor.dims.clone(), content(tensor));
            // Only matrices count as copies: two zero biases have the same bits and are two.
            let copy = dims.len() > 1 && !raw.is_empty() && !self.counted.insert((dims, raw));
            if self.taken.insert(*id) && !copy {
                parameters += count(tensor);
                bytes += count(tensor) * width_of(tensor).unwrap_or(0);
            }
        }
        (parameters, bytes)
    }

    fn push(&mut self, kind: &str, shape: Vec<Option<usize>>, parameters: usize, bytes: usize) {
        let name = self.names.next(kind);
        self.rows.push(LayerRow { name, kind: kind.to_owned(), shape, parameters, bytes, trainable: true });
    }
}

impl<'a> Scope<'a> {
    /// The node that adds a constant to a node's result.
    fn bias_of(&self, index: usize, node: &NodeProto) -> Option<(usize, &'a NodeProto)> {
        let result = node.output.first()?;
        let follows = |(_, next): &(usize, &'a NodeProto)| {
            next.op_type() == "Add"
                && next.input.contains(result)
                && next.input.iter().any(|name| self.constants.is_constant(name))
        };
        self.graph.node.iter().enumerate().skip(index + 1).find(follows)
    }

    /// Shape after the batch axis: with a time axis inside of a stack, and where the graph's output has one.
    fn shape(&self, units: usize, inside: bool) -> Vec<Option<usize>> {
        if units == 0 {
            return Vec::new();
        }
        let steps = self.graph.output.first().is_some_and(|output| axes(output).len() == 3);
        let time = self.graph.input.first().and_then(|input| axes(input).get(1).copied().flatten());
        if inside || steps { vec![time, Some(units)] } else { vec![Some(units)] }
    }
}

/// Adds the weights that a body uses, at any depth. What it uses without making it comes from the graph around it.
fn within<'a>(body: &'a GraphProto, outer: &Constants<'a>, sources: &mut Weights<'a>) {
    let inner = Constants::new(body, Some(outer));
    for node in &body.node {
        sources.extend(inner.operands(node, 0));
        subgraphs(node).for_each(|body| within(body, &inner, sources));
    }
}

/// A recurrent kernel is [u, g·u]; its kernel and bias are g·u wide.
fn loop_kind(sources: &Weights<'_>) -> Option<(&'static str, usize)> {
    let shapes: Vec<&[i64]> = sources.values().map(|weight| weight.tensor.dims.as_slice()).collect();
    shapes.iter().find_map(|dims| match **dims {
        [units, width] if shapes.iter().filter(|dims| dims.last() == Some(&width)).count() > 1 => {
            let kind = match width.checked_div(units).filter(|_| units > 1 && width % units == 0)? {
                1 => "SimpleRNN",
                3 => "GRU",
                4 => "LSTM",
                _ => return None,
            };
            Some((kind, units as usize))
        }
        _ => None,
    })
}

/// From which operand on an operator has weights and nothing else, whatever their size.
fn first_weight(op: &str) -> Option<usize> {
    match op {
        "Conv"
        | "ConvTranspose"
        | "PRelu"
        | "BatchNormalization"
        | "InstanceNormalization"
        | "LayerNormalization"
        | "GroupNormalization"
        | "RMSNormalization" => Some(1),
        _ => None,
    }
}

/// Whether Keras would have one bias where ONNX has room for two: always but for a GRU with `linear_before_reset`.
fn has_one_bias(node: &NodeProto) -> bool {
    node.op_type() != "GRU" || integer(node, "linear_before_reset").unwrap_or(0) == 0
}

/// Values of the recurrent half of a bias [directions, 2·g·u] if all of them are zero: Keras has no such bias.
fn zero_recurrent_bias(tensor: &TensorProto, directions: usize) -> usize {
    let Ok(values) = floats(tensor) else { return 0 };
    let width = values.len() / directions;
    let zero = values.chunks_exact(width.max(1)).all(|both| both[width / 2..].iter().all(|value| *value == 0.0));
    if zero && width > 0 { directions * (width / 2) } else { 0 }
}

fn count(tensor: &TensorProto) -> usize {
    tensor.dims.iter().fold(1, |all: usize, size| all.saturating_mul((*size).max(0) as usize))
}

/// Bytes of a value of a type that weights have; `None` for integers that are shapes or indices.
fn width_of(tensor: &TensorProto) -> Option<usize> {
    match DataType::try_from(tensor.data_type()).ok()? {
        DataType::Float => Some(4),
        DataType::Double => Some(8),
        DataType::Float16 | DataType::Bfloat16 => Some(2),
        DataType::Int8 | DataType::Uint8 => Some(1),
        _ => None,
    }
}

/// A tensor's values as bytes, to see copies.
fn content(tensor: &TensorProto) -> Vec<u8> {
    match &tensor.raw_data {
        Some(raw) => raw.clone(),
        None => tensor.float_data.iter().flat_map(|value| value.to_le_bytes()).collect(),
    }
}

/// Fixed sizes of an input or output; `None` for open ones.
fn axes(info: &ValueInfoProto) -> Vec<Option<usize>> {
    let size = |dim| if let Dim::Fixed(size) = dim { Some(size) } else { None };
    view::dims(info).unwrap_or_default().into_iter().map(size).collect()
}

#[cfg(test)]
mod tests {
    use super::super::graph::{Graph, integer};
    use super::super::proto::{AttributeProto, attribute_proto::AttributeType};
    use super::*;

    fn values(count: usize, first: f32) -> Vec<f32> {
        (0..count).map(|i| first + i as f32).collect()
    }

    fn subgraph(name: &str, graph: GraphProto) -> AttributeProto {
        AttributeProto {
            name: Some(name.into()),
            r#type: Some(AttributeType::Graph as i32),
            g: Some(graph),
            ..Default::default()
        }
    }

    fn branching(then: GraphProto, other: GraphProto) -> Graph {
        let mut graph = Graph::default();
        let branches = vec![subgraph("then_branch", then), subgraph("else_branch", other)];
        graph.node("If", &["condition"], "y", branches);
        graph
    }

    /// An LSTM of 2 units on 3 inputs and a convolution with one output, under the same names in every branch.
    fn branch(first: f32) -> GraphProto {
        let mut graph = Graph::default();
        graph.floats("w", &[1, 8, 3], &values(24, first), "");
        graph.floats("r", &[1, 8, 2], &values(16, first), "");
        graph.floats("b", &[1, 16], &values(16, first), "");
        graph.node("LSTM", &["x", "w", "r", "b"], "hidden", vec![integer("hidden_size", 2)]);
        graph.floats("kernel", &[1, 2, 1], &values(2, first), "");
        graph.floats("bias", &[1], &[first], "");
        graph.node("Conv", &["hidden", "kernel", "bias"], "out", vec![]);
        graph.floats("two", &[], &[2.0], "");
        graph.node("Pow", &["out", "two"], "y", vec![]);
        graph.0
    }

    fn rows(graph: Graph) -> Vec<(String, usize)> {
        let model = ModelProto { graph: Some(graph.0), ..Default::default() };
        layers(&model).into_iter().map(|row| (row.kind, row.parameters)).collect()
    }

    #[test]
    fn layers_in_branches_at_any_depth_are_all_counted() {
        let inner = branching(branch(100.0), branch(200.0)).0;
        let found = rows(branching(branch(0.0), inner));
        let expected: Vec<(String, usize)> = [("LSTM", 56), ("Conv", 3)].repeat(3).into_iter().map(owned).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_branch_sees_the_weights_around_it_and_the_same_weight_counts_once() {
        let mut graph = Graph::default();
        graph.floats("kernel", &[1, 1, 1], &[0.5], "");
        graph.floats("bias", &[1], &[0.5], "");
        graph.node("Conv", &["x", "kernel", "bias"], "first", vec![]);
        let mut then = Graph::default();
        then.node("Conv", &["first", "kernel", "bias"], "y", vec![]);
        let mut body = Graph::default();
        body.floats("scale", &[4], &values(4, 1.0), "");
        body.node("Mul", &["carried", "scale"], "scaled", vec![]);
        let mut other = Graph::default();
        other.node("Loop", &["", "", "first"], "y", vec![subgraph("body", branching(body.0, GraphProto::default()).0)]);
        let branches = vec![subgraph("then_branch", then.0), subgraph("else_branch", other.0)];
        graph.node("If", &["condition"], "y", branches);
        assert_eq!(rows(graph), [("Conv", 2), ("Loop", 4)].map(owned));
    }

    fn owned((kind, parameters): (&str, usize)) -> (String, usize) {
        (kind.to_owned(), parameters)
    }
}
