//! Building an ONNX graph node by node. Must not live here: which nodes a network needs (`export`).

use super::proto::{
    AttributeProto, GraphProto, NodeProto, StringStringEntryProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, attribute_proto, tensor_proto, tensor_shape_proto, type_proto,
};

/// One axis of a graph input or output.
#[derive(Debug, Clone, Copy)]
pub(in crate::model) enum Axis {
    /// A size that a run decides, by name.
    Open(&'static str),
    /// A fixed size.
    Fixed(usize),
}

/// A graph being built. Nodes are in the order of their creation, so the same calls give the same bytes.
#[derive(Debug, Default)]
pub(in crate::model) struct Graph(pub(in crate::model) GraphProto);

impl Graph {
    /// Adds a node with one output, which is named `output`, and returns that name.
    pub(in crate::model) fn node(
        &mut self,
        op: &str,
        inputs: &[&str],
        output: &str,
        attributes: Vec<AttributeProto>,
    ) -> String {
        self.node_with(op, inputs, &[output], attributes);
        output.to_owned()
    }

    /// Adds a node. Optional inputs and outputs that are left out are empty names.
    pub(in crate::model) fn node_with(
        &mut self,
        op: &str,
        inputs: &[&str],
        outputs: &[&str],
        attributes: Vec<AttributeProto>,
    ) {
        self.0.node.push(NodeProto {
            input: inputs.iter().map(|name| (*name).to_owned()).collect(),
            output: outputs.iter().map(|name| (*name).to_owned()).collect(),
            name: outputs.iter().find(|name| !name.is_empty()).map(|name| (*name).to_owned()),
            op_type: Some(op.to_owned()),
            attribute: attributes,
            ..Default::default()
        });
    }

    /// Whether a node has this output.
    pub(in crate::model) fn has(&self, output: &str) -> bool {
        self.0.node.iter().any(|node| node.output.iter().any(|name| name == output))
    }

    /// Adds float32 values and returns their name. `meaning` describes their layout.
    pub(in crate::model) fn floats(&mut self, name: &str, shape: &[usize], values: &[f32], meaning: &str) -> String {
        self.initializer(
            name,
            shape,
            tensor_proto::DataType::Float,
            bytes(values, |value| value.to_le_bytes()),
            meaning,
        )
    }

    /// Adds int64 values and returns their name.
    pub(in crate::model) fn integers(&mut self, name: &str, values: &[i64]) -> String {
        let raw = bytes(values, |value| value.to_le_bytes());
        self.initializer(name, &[values.len()], tensor_proto::DataType::Int64, raw, "")
    }

    fn initializer(
        &mut self,
        name: &str,
        shape: &[usize],
        kind: tensor_proto::DataType,
        raw: Vec<u8>,
        meaning: &str,
    ) -> String {
        self.0.initializer.push(TensorProto {
            dims: shape.iter().map(|size| *size as i64).collect(),
            data_type: Some(kind as i32),
            name: Some(name.to_owned()),
            doc_string: (!meaning.is_empty()).then(|| meaning.to_owned()),
            raw_data: Some(raw),
            ..Default::default()
        });
        name.to_owned()
    }

    /// The name of an axis as an operand; it is made once.
    pub(in crate::model) fn axis(&mut self, value: i64) -> String {
        let name = format!("axis_{value}");
        if self.0.initializer.iter().any(|tensor| tensor.name.as_deref() == Some(&name)) {
            return name;
        }
        self.integers(&name, &[value])
    }

    /// Declares a float32 input of the graph.
    pub(in crate::model) fn input(&mut self, name: &str, axes: &[Axis]) {
        self.input_of(tensor_proto::DataType::Float, name, axes);
    }

    /// Declares an input of some type.
    pub(in crate::model) fn input_of(&mut self, kind: tensor_proto::DataType, name: &str, axes: &[Axis]) {
        self.0.input.push(value_info(name, axes, kind));
    }

    /// Declares a float32 output of the graph.
    pub(in crate::model) fn output(&mut self, name: &str, axes: &[Axis]) {
        self.0.output.push(value_info(name, axes, tensor_proto::DataType::Float));
    }
}

/// An integer attribute.
pub(in crate::model) fn integer(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(attribute_proto::AttributeType::Int as i32),
        i: Some(value),
        ..Default::default()
    }
}

/// A list of integers as attribute.
pub(in crate::model) fn integers(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(attribute_proto::AttributeType::Ints as i32),
        ints: values.to_vec(),
        ..Default::default()
    }
}

/// A number as attribute.
pub(in crate::model) fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(attribute_proto::AttributeType::Float as i32),
        f: Some(value),
        ..Default::default()
    }
}

/// A list of strings as attribute.
pub(in crate::model) fn strings(name: &str, values: &[&str]) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(attribute_proto::AttributeType::Strings as i32),
        strings: values.iter().map(|value| value.as_bytes().to_vec()).collect(),
        ..Default::default()
    }
}

/// A string attribute.
pub(in crate::model) fn string(name: &str, value: &str) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(attribute_proto::AttributeType::String as i32),
        s: Some(value.as_bytes().to_vec()),
        ..Default::default()
    }
}

/// A graph as attribute: a branch or the body of a loop.
pub(in crate::model) fn graph(name: &str, graph: GraphProto) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(attribute_proto::AttributeType::Graph as i32),
        g: Some(GraphProto { name: Some(name.to_owned()), ..graph }),
        ..Default::default()
    }
}

/// An entry of the model's metadata.
pub(in crate::model) fn metadata(key: &str, value: String) -> StringStringEntryProto {
    StringStringEntryProto { key: Some(key.to_owned()), value: Some(value) }
}

fn value_info(name: &str, axes: &[Axis], kind: tensor_proto::DataType) -> ValueInfoProto {
    let dim = axes
        .iter()
        .map(|axis| tensor_shape_proto::Dimension {
            value: Some(match axis {
                Axis::Open(name) => tensor_shape_proto::dimension::Value::DimParam((*name).to_owned()),
                Axis::Fixed(size) => tensor_shape_proto::dimension::Value::DimValue(*size as i64),
            }),
            ..Default::default()
        })
        .collect();
    let tensor = type_proto::Tensor { elem_type: Some(kind as i32), shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() }),
        ..Default::default()
    }
}

fn bytes<T: Copy, const N: usize>(values: &[T], to_le: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|value| to_le(*value)).collect()
}
