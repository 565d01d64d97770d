//! What the library at hand takes: the newest set of ONNX' operators and the newest format of a file. It is asked by
//! loading models of one node, since no function of it tells. Must not live here: where the library is (`library`).

use std::sync::OnceLock;

use super::trial::Trial;
use crate::model::onnx::proto::{
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorShapeProto, TypeProto, ValueInfoProto, tensor_proto,
    type_proto,
};
use crate::model::onnx::view;
use crate::{Error, Result};

/// The newest versions that the library takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Of ONNX' own operators.
    pub opset: i64,
    /// Of the file's format.
    pub ir_version: i64,
}

/// Versions that every library that kolk can load takes, and where searching ends.
const KNOWN: Limits = Limits { opset: 13, ir_version: 8 };
const SEARCHED: i64 = 100;

/// The newest versions that the loaded library takes; asked once.
pub fn limits() -> Result<Limits> {
    static LIMITS: OnceLock<Limits> = OnceLock::new();
    if let Some(limits) = LIMITS.get() {
        return Ok(*limits);
    }
    super::library::library()?;
    let takes = |opset, ir_version| Trial::new(&one_node(opset, ir_version)).is_ok();
    let last =
        |from: i64, takes: &dyn Fn(i64) -> bool| (from..SEARCHED).take_while(|n| takes(*n)).last().unwrap_or(from);
    let ir_version = last(KNOWN.ir_version, &|ir_version| takes(KNOWN.opset, ir_version));
    let opset = last(KNOWN.opset, &|opset| takes(opset, ir_version));
    Ok(*LIMITS.get_or_init(|| Limits { opset, ir_version }))
}

/// Refused if the file is beyond what the library takes; says what it has, what is taken, and what to do.
pub fn check(model: &ModelProto) -> Result<()> {
    let (limits, version) = (limits()?, super::library::version()?);
    let (opset, ir_version) = (view::opset(model), model.ir_version());
    let mut wrong = Vec::new();
    if opset > limits.opset {
        wrong.push(format!(
            "the model uses opset {opset}, ONNX Runtime {version} takes {} at most: export it with opset {} or less",
            limits.opset, limits.opset
        ));
    }
    if ir_version > limits.ir_version {
        wrong.push(format!(
            "the file has IR version {ir_version}, ONNX Runtime {version} takes {} at most: write it with IR version {} \
             or less",
            limits.ir_version, limits.ir_version
        ));
    }
    if wrong.is_empty() { Ok(()) } else { Err(Error::refused(format!("{}, or use a newer library", wrong.join("; ")))) }
}

/// `y = x`.
fn one_node(opset: i64, ir_version: i64) -> ModelProto {
    let tensor = type_proto::Tensor {
        elem_type: Some(tensor_proto::DataType::Float as i32),
        shape: Some(TensorShapeProto::default()),
    };
    let info = |name: &str| ValueInfoProto {
        name: Some(name.into()),
        r#type: Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor.clone())), ..Default::default() }),
        ..Default::default()
    };
    let node = NodeProto {
        op_type: Some("Identity".into()),
        input: vec!["x".into()],
        output: vec!["y".into()],
        ..Default::default()
    };
    ModelProto {
        ir_version: Some(ir_version),
        opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(opset) }],
        graph: Some(GraphProto {
            name: Some("limits".into()),
            node: vec![node],
            input: vec![info("x")],
            output: vec![info("y")],
            ..Default::default()
        }),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_are_the_librarys_own_and_a_model_beyond_them_is_named() {
        let limits = limits().unwrap();
        if super::super::library::version().unwrap() == "1.31.1" {
            assert_eq!(limits, Limits { opset: 26, ir_version: 13 });
        }
        assert!(check(&one_node(limits.opset, limits.ir_version)).is_ok());
        let error = check(&one_node(limits.opset + 1, limits.ir_version + 1)).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let beyond = [format!("uses opset {}", limits.opset + 1), format!("IR version {}", limits.ir_version + 1)];
        for part in beyond.iter().map(String::as_str).chain(["newer library", "export it with opset"]) {
            assert!(error.to_string().contains(part), "{part} in: {error}");
        }
        assert!(Trial::new(&one_node(limits.opset + 1, 8)).is_err());
    }
}
