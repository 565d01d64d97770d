//! What import changes in a declaration: axes of 1 are opened. Must not live here: whether the changed graph is the
//! same (`proofs`), and passes over nodes (`model::onnx`).

use crate::model::onnx::proto::tensor_shape_proto::dimension::Value as Size;
use crate::model::onnx::proto::{GraphProto, type_proto};
use crate::network::{Axis, TensorSpec};

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
    if opened {
        // Shapes that were inferred from the 1 no longer hold; ONNX Runtime would take them before what is declared.
        graph.value_info.clear();
    }
    opened
}
