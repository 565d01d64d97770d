//! The layers of a graph that others exported: recurrent operators, loops that are recurrent layers, dense layers, and
//! whatever else holds weights. Must not live here: running or rewriting such a graph (a later issue).
//!
//! A layer's parameters are the initialisers that its operands are made of, through any number of nodes that have only
//! constants as inputs (exporters slice and reorder weights). Each initialiser counts once, as a shared weight does in
//! Keras; copies with the same bits count once too (an unrolled loop has one for each step).

use std::collections::{BTreeMap, BTreeSet};

use super::import::floats;
use super::proto::{GraphProto, ModelProto, NodeProto, TensorProto, tensor_proto::DataType, tensor_shape_proto};
use super::proto::{ValueInfoProto, type_proto};
use crate::network::summary::{LayerNames, LayerRow};

/// The layers of a graph, in the order of its nodes.
pub fn layers(model: &ModelProto) -> Vec<LayerRow> {
    let Some(graph) = &model.graph else { return Vec::new() };
    let mut walk = Walk::new(graph);
    for (index, node) in graph.node.iter().enumerate() {
        walk.visit(index, node);
    }
    walk.rows
}

/// Weights by name, and which of them make up each constant of the graph.
struct Constants<'a> {
    weights: BTreeMap<&'a str, &'a TensorProto>,
    made_of: BTreeMap<&'a str, BTreeSet<&'a str>>,
}

impl<'a> Constants<'a> {
    fn new(graph: &'a GraphProto, outer: Option<&Constants<'a>>) -> Self {
        let mut constants = Constants { weights: BTreeMap::new(), made_of: BTreeMap::new() };
        if let Some(outer) = outer {
            constants.weights.clone_from(&outer.weights);
            constants.made_of.clone_from(&outer.made_of);
        }
        for tensor in &graph.initializer {
            constants.add(tensor.name(), tensor);
        }
        for node in &graph.node {
            let value = node.attribute.iter().find(|attribute| attribute.name() == "value");
            if let ("Constant", Some(tensor)) = (node.op_type(), value.and_then(|attribute| attribute.t.as_ref())) {
                constants.add(node.output.first().map_or("", String::as_str), tensor);
                continue;
            }
            let known = |name: &String| name.is_empty() || constants.made_of.contains_key(name.as_str());
            let has_subgraph = node.attribute.iter().any(|attribute| attribute.g.is_some());
            if has_subgraph || node.input.is_empty() || !node.input.iter().all(known) {
                continue;
            }
            let sources: BTreeSet<&str> = node.input.iter().flat_map(|name| constants.sources(name)).collect();
            for output in &node.output {
                constants.made_of.insert(output, sources.clone());
            }
        }
        constants
    }

    /// Integers are shapes and indices, not weights; their names still are constants.
    fn add(&mut self, name: &'a str, tensor: &'a TensorProto) {
        let weight = width_of(tensor).is_some();
        self.made_of.insert(name, if weight { BTreeSet::from([name]) } else { BTreeSet::new() });
        if weight {
            self.weights.insert(name, tensor);
        }
    }

    fn is_constant(&self, name: &str) -> bool {
        self.made_of.contains_key(name)
    }

    fn sources(&self, name: &str) -> BTreeSet<&'a str> {
        self.made_of.get(name).cloned().unwrap_or_default()
    }
}

struct Walk<'a> {
    graph: &'a GraphProto,
    constants: Constants<'a>,
    names: LayerNames,
    rows: Vec<LayerRow>,
    /// Weights counted so far, by their bytes and shape.
    counted: BTreeSet<(Vec<i64>, Vec<u8>)>,
    taken: BTreeSet<&'a str>,
    /// Nodes that were counted as part of an earlier one.
    done: BTreeSet<usize>,
}

impl<'a> Walk<'a> {
    fn new(graph: &'a GraphProto) -> Self {
        Walk {
            graph,
            constants: Constants::new(graph, None),
            names: LayerNames::default(),
            rows: Vec::new(),
            counted: BTreeSet::new(),
            taken: BTreeSet::new(),
            done: BTreeSet::new(),
        }
    }

    fn visit(&mut self, index: usize, node: &'a NodeProto) {
        let constant = node.output.iter().all(|name| self.constants.is_constant(name));
        if constant || self.done.contains(&index) {
            return;
        }
        match node.op_type() {
            "LSTM" | "GRU" | "RNN" => self.recurrent(index, node),
            "MatMul" | "Gemm" => self.dense(index, node),
            _ => self.other(node),
        }
    }

    fn recurrent(&mut self, index: usize, node: &'a NodeProto) {
        let kind = if node.op_type() == "RNN" { "SimpleRNN" } else { node.op_type() };
        let units = integer(node, "hidden_size").unwrap_or(0).max(0) as usize;
        let bidirectional =
            node.attribute.iter().any(|attribute| attribute.name() == "direction" && attribute.s() == b"bidirectional");
        let mut sources = self.operands(node, 1);
        let mut absent = 0;
        if let Some(bias) = node.input.get(3).filter(|_| has_one_bias(node))
            && let Some(tensor) = self.constants.weights.get(bias.as_str())
            && !self.taken.contains(bias.as_str())
        {
            absent = zero_recurrent_bias(tensor, if bidirectional { 2 } else { 1 });
        }
        let (parameters, bytes) = self.take(&mut sources);
        let later = self.graph.node[index + 1..].iter().any(|n| matches!(n.op_type(), "LSTM" | "GRU" | "RNN"));
        let shape = self.shape(if bidirectional { 2 * units } else { units }, later);
        let kind = if bidirectional { format!("Bidirectional{kind}") } else { kind.to_owned() };
        self.push(&kind, shape, parameters - absent, bytes - absent * size_of::<f32>());
    }

    /// A product with a constant, and the addition of a constant to it.
    fn dense(&mut self, index: usize, node: &'a NodeProto) {
        let kernel = node.input.iter().take(2).find(|name| self.constants.is_constant(name));
        let Some(kernel) = kernel.cloned() else { return self.other(node) };
        let mut units = 0;
        if let Some(tensor) = self.constants.weights.get(kernel.as_str()) {
            let transposed = integer(node, "transB") == Some(1);
            let axis = if transposed { tensor.dims.first() } else { tensor.dims.last() };
            units = axis.copied().unwrap_or(0).max(0) as usize;
        }
        let mut sources = self.operands(node, 0);
        if let Some((at, add)) = self.bias_of(index, node) {
            let bias = self.operands(add, 0);
            if units == 0 {
                units = bias
                    .iter()
                    .filter_map(|name| self.constants.weights.get(name))
                    .map(|t| count(t))
                    .max()
                    .unwrap_or(0);
            }
            sources.extend(bias);
            self.done.insert(at);
        }
        let (parameters, bytes) = self.take(&mut sources);
        if parameters > 0 {
            let shape = self.shape(units, false);
            self.push("Dense", shape, parameters, bytes);
        }
    }

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

    /// Loops that are recurrent layers by the shapes of their weights, and every other node that holds weights.
    fn other(&mut self, node: &'a NodeProto) {
        let mut sources = self.operands(node, 0);
        for body in node.attribute.iter().filter_map(|attribute| attribute.g.as_ref()) {
            // What a body uses without making it comes from the graph around it.
            let inner = Constants::new(body, Some(&self.constants));
            sources.extend(body.node.iter().flat_map(|node| &node.input).flat_map(|name| inner.sources(name)));
            self.constants.weights.extend(inner.weights);
        }
        // A single number is a constant of a formula, not a weight.
        sources.retain(|name| self.constants.weights.get(name).is_some_and(|tensor| count(tensor) > 1));
        let (kind, units) = match node.op_type() {
            "Loop" | "Scan" => self.loop_kind(&sources).unwrap_or((node.op_type(), 0)),
            "Gather" => ("Embedding", 0),
            op => (op, 0),
        };
        let (parameters, bytes) = self.take(&mut sources);
        if parameters > 0 {
            let shape = if units > 0 { self.shape(units, false) } else { Vec::new() };
            self.push(kind, shape, parameters, bytes);
        }
    }

    /// A recurrent kernel is [u, g·u]; its kernel and bias are g·u wide.
    fn loop_kind(&self, sources: &BTreeSet<&str>) -> Option<(&'static str, usize)> {
        let shapes: Vec<&[i64]> =
            sources.iter().filter_map(|name| Some(self.constants.weights.get(name)?.dims.as_slice())).collect();
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

    /// The weights that a node's inputs from `first` on are made of.
    fn operands(&self, node: &NodeProto, first: usize) -> BTreeSet<&'a str> {
        node.input.iter().skip(first).flat_map(|name| self.constants.sources(name)).collect()
    }

    /// Counts weights that were not counted before: their number and bytes.
    fn take(&mut self, sources: &mut BTreeSet<&'a str>) -> (usize, usize) {
        let (mut parameters, mut bytes) = (0, 0);
        for name in std::mem::take(sources) {
            let Some(tensor) = self.constants.weights.get(name) else { continue };
            let (dims, raw) = (tensor.dims.clone(), content(tensor));
            // Only matrices count as copies: two zero biases have the same bits and are two.
            let copy = dims.len() > 1 && !raw.is_empty() && !self.counted.insert((dims, raw));
            if self.taken.insert(name) && !copy {
                parameters += count(tensor);
                bytes += count(tensor) * width_of(tensor).unwrap_or(0);
            }
        }
        (parameters, bytes)
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

    fn push(&mut self, kind: &str, shape: Vec<Option<usize>>, parameters: usize, bytes: usize) {
        let name = self.names.next(kind);
        self.rows.push(LayerRow { name, kind: kind.to_owned(), shape, parameters, bytes, trainable: true });
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

fn integer(node: &NodeProto, name: &str) -> Option<i64> {
    node.attribute.iter().find(|attribute| attribute.name() == name).and_then(|attribute| attribute.i)
}

fn count(tensor: &TensorProto) -> usize {
    tensor.dims.iter().map(|size| (*size).max(0) as usize).product()
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
    let Some(type_proto::Value::TensorType(tensor)) = info.r#type.as_ref().and_then(|kind| kind.value.as_ref()) else {
        return Vec::new();
    };
    let dims = tensor.shape.iter().flat_map(|shape| &shape.dim);
    dims.map(|dim| match &dim.value {
        Some(tensor_shape_proto::dimension::Value::DimValue(size)) => usize::try_from(*size).ok(),
        _ => None,
    })
    .collect()
}
