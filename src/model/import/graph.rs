//! What import changes in a graph: constants become initialisers, declared axes of 1 are opened. Must not live here:
//! whether the changed graph is the same (`proofs`).

use crate::model::card::Constant;
use crate::model::executor::bytes_of;
use crate::model::onnx::proto::tensor_proto::DataType;
use crate::model::onnx::proto::tensor_shape_proto::dimension::Value as Size;
use crate::model::onnx::proto::{GraphProto, TensorProto, type_proto};
use crate::network::{Axis, Element, TensorSpec};

/// Makes an input an initialiser of the same name.
pub(super) fn fix(graph: &mut GraphProto, constant: &Constant) {
    let numbers: usize = constant.sizes.iter().product();
    let values = constant.values.iter().copied().cycle().take(numbers);
    graph.input.retain(|info| info.name() != constant.name);
    graph.initializer.push(TensorProto {
        dims: constant.sizes.iter().map(|size| *size as i64).collect(),
        data_type: Some(number_of(constant.element) as i32),
        name: Some(constant.name.clone()),
        raw_data: Some(values.flat_map(|value| bytes_of(value, constant.element)).collect()),
        ..Default::default()
    });
}

fn number_of(element: Element) -> DataType {
    match element {
        Element::Float32 => DataType::Float,
        Element::Float16 => DataType::Float16,
        Element::Float64 => DataType::Double,
        Element::Int64 => DataType::Int64,
        Element::Int32 => DataType::Int32,
        Element::Bool => DataType::Bool,
    }
}

/// Opens the axes that these inputs call batch where the file declares them as 1, and the first axes of 1 of outputs.
/// Returns whether there was one.
pub(super) fn open_batch(graph: &mut GraphProto, taken: &[TensorSpec], outs: &[(String, Vec<Axis>)]) -> bool {
    let mut opened = false;
    let by_name = |name: &str| {
        let input = taken.iter().find(|tensor| tensor.name == name).map(|tensor| tensor.shape.clone());
        input.or_else(|| outs.iter().find(|(out, _)| out == name).map(|(_, shape)| shape.clone()))
    };
    for info in graph.input.iter_mut().chain(&mut graph.output) {
        let shape = by_name(info.name());
        let Some(type_proto::Value::TensorType(tensor)) = info.r#type.as_mut().and_then(|kind| kind.value.as_mut())
        else {
            continue;
        };
        let Some(declared) = &mut tensor.shape else { continue };
        let at = match shape {
            Some(shape) => shape.iter().position(|axis| *axis == Axis::Batch),
            None => Some(0),
        };
        if let Some(dim) = at.and_then(|at| declared.dim.get_mut(at))
            && dim.value == Some(Size::DimValue(1))
        {
            dim.value = Some(Size::DimParam("batch".into()));
            opened = true;
        }
    }
    opened
}
