//! What the tests of the passes share: models made of graphs, and numbers to run them on.

use super::graph::Graph;
use super::proto::{
    GraphProto, ModelProto, OperatorSetIdProto, TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
};

/// A model of a graph with that version of ONNX' operators and `com.microsoft`'s.
pub(super) fn model(graph: Graph, opset: i64) -> ModelProto {
    let set = |domain: &str, version| OperatorSetIdProto { domain: Some(domain.into()), version: Some(version) };
    ModelProto {
        ir_version: Some(10),
        opset_import: vec![set("", opset), set("com.microsoft", 1)],
        graph: Some(GraphProto { name: Some("test".into()), ..graph.0 }),
        ..Default::default()
    }
}

/// Numbers of about -1.7 to 1.7, the same for the same seed.
pub(in crate::model) fn noise(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) as f64 / 2f64.powi(31) * 2.0 - 1.0) as f32 * 1.7
    };
    (0..count).map(|_| next()).collect()
}

/// A scalar of that type, to be declared.
pub(super) fn declared(name: &str, kind: i32) -> ValueInfoProto {
    let tensor = type_proto::Tensor { elem_type: Some(kind), shape: Some(TensorShapeProto::default()) };
    ValueInfoProto {
        name: Some(name.into()),
        r#type: Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() }),
        ..Default::default()
    }
}
