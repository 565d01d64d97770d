//! Looking into a graph: attributes of nodes, constants by name, declared shapes.
//! Must not live here: what an operator means (`operators`, `recognise`).

use std::collections::{BTreeMap, BTreeSet};

use super::proto::type_proto::Value;
use super::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, TensorShapeProto, ValueInfoProto,
    tensor_shape_proto::dimension,
};
use super::values;

/// One axis as a file declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dim {
    /// A size.
    Fixed(usize),
    /// A name for a size that a run decides: axes of one name have one size.
    Named(String),
    /// Nothing.
    Open,
}

/// The attribute of that name.
pub fn attribute<'a>(node: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
    node.attribute.iter().find(|attribute| attribute.name() == name)
}

/// An integer attribute.
pub fn integer(node: &NodeProto, name: &str) -> Option<i64> {
    attribute(node, name)?.i
}

/// A list of integers as attribute.
pub fn integers<'a>(node: &'a NodeProto, name: &str) -> Option<&'a [i64]> {
    Some(&attribute(node, name)?.ints)
}

/// A float attribute.
pub fn float(node: &NodeProto, name: &str) -> Option<f32> {
    attribute(node, name)?.f
}

/// A text as attribute.
pub fn text<'a>(node: &'a NodeProto, name: &str) -> Option<&'a str> {
    std::str::from_utf8(attribute(node, name)?.s.as_deref()?).ok()
}

/// A list of texts as attribute.
pub fn texts(node: &NodeProto, name: &str) -> Vec<String> {
    let texts = attribute(node, name).map(|attribute| attribute.strings.as_slice()).unwrap_or_default();
    texts.iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect()
}

/// An input's name; `None` where an optional one is left out.
pub fn input(node: &NodeProto, index: usize) -> Option<&str> {
    node.input.get(index).map(String::as_str).filter(|name| !name.is_empty())
}

/// An output's name; `None` where an optional one is left out.
pub fn output(node: &NodeProto, index: usize) -> Option<&str> {
    node.output.get(index).map(String::as_str).filter(|name| !name.is_empty())
}

/// The graphs that a node has in its attributes.
pub fn subgraphs(node: &NodeProto) -> impl Iterator<Item = &GraphProto> {
    node.attribute.iter().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs))
}

/// Whether a graph within a node takes one of these values from around it.
pub fn mentions(body: &GraphProto, names: &BTreeSet<&str>) -> bool {
    let takes = |node: &NodeProto| node.input.iter().any(|name| names.contains(name.as_str()));
    body.node.iter().any(|node| takes(node) || subgraphs(node).any(|inner| mentions(inner, names)))
        || body.output.iter().any(|info| names.contains(info.name()))
}

/// What a node is called in a message: its name, else its first output.
pub fn name(node: &NodeProto) -> &str {
    match node.name() {
        "" => node.output.iter().find(|name| !name.is_empty()).map_or("", String::as_str),
        name => name,
    }
}

/// The operator with its domain where that isn't ONNX' own: `com.microsoft.DynamicQuantizeLSTM`.
pub fn operator(node: &NodeProto) -> String {
    match node.domain() {
        "" | "ai.onnx" => node.op_type().to_owned(),
        domain => format!("{domain}.{}", node.op_type()),
    }
}

/// The version of ONNX' own operators that a file uses.
pub fn opset(model: &ModelProto) -> i64 {
    let own = model.opset_import.iter().find(|set| matches!(set.domain(), "" | "ai.onnx"));
    own.map_or(1, |set| set.version())
}

/// Constants of a graph by name: initialisers and the nodes `Constant`.
pub fn constants(graph: &GraphProto) -> BTreeMap<&str, &TensorProto> {
    let nodes = graph
        .node
        .iter()
        .filter(|node| node.op_type() == "Constant")
        .filter_map(|node| Some((output(node, 0)?, attribute(node, "value")?.t.as_ref()?)));
    graph.initializer.iter().map(|tensor| (tensor.name(), tensor)).chain(nodes).collect()
}

/// The one integer of a constant.
pub fn one_integer(tensor: &TensorProto) -> Option<i64> {
    match values::to_integers(tensor)?.as_slice() {
        [value] => Some(*value),
        _ => None,
    }
}

/// The shape that a graph declares for an input, an output or a value; `None` where it declares none.
pub fn dims(info: &ValueInfoProto) -> Option<Vec<Dim>> {
    let Value::TensorType(tensor) = info.r#type.as_ref()?.value.as_ref()? else { return None };
    let axis = |value: &Option<dimension::Value>| match value {
        Some(dimension::Value::DimValue(size)) if *size >= 0 => Dim::Fixed(*size as usize),
        Some(dimension::Value::DimParam(symbol)) if !symbol.is_empty() => Dim::Named(symbol.clone()),
        _ => Dim::Open,
    };
    Some(tensor.shape.as_ref()?.dim.iter().map(|dim| axis(&dim.value)).collect())
}

/// The shape of an input, output or value, to be changed.
pub fn shape_mut(info: &mut ValueInfoProto) -> Option<&mut TensorShapeProto> {
    match info.r#type.as_mut()?.value.as_mut()? {
        Value::TensorType(tensor) => tensor.shape.as_mut(),
        _ => None,
    }
}

/// The type of a tensor's numbers as the file's code for it.
pub fn element(info: &ValueInfoProto) -> Option<i32> {
    match info.r#type.as_ref()?.value.as_ref()? {
        Value::TensorType(tensor) => tensor.elem_type,
        _ => None,
    }
}
