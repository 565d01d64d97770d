//! Giving a graph that begins from zero the states of its recurrent operators as inputs and outputs, so that a window
//! model can be carried on. Must not live here: whether that is asked for (`model::import`).

use std::collections::BTreeSet;

use super::rewrite::{node as make, prune};
use crate::model::onnx::proto::tensor_shape_proto::{Dimension, dimension::Value};
use crate::model::onnx::proto::{
    GraphProto, ModelProto, NodeProto, TensorShapeProto, TypeProto, ValueInfoProto, tensor_proto::DataType, type_proto,
};
use crate::model::onnx::values;
use crate::model::onnx::view::{attribute, constants, input, integer, name, output, shape_mut, text};
use crate::network::{Axis, Element, Initial, StateTensor, TensorSpec};
use crate::{Error, Result};

/// What [`expose`] found.
#[derive(Debug, Clone)]
pub struct Exposed {
    /// The new states, in the order of the operators.
    pub states: Vec<StateTensor>,
    /// What was changed.
    pub notes: Vec<String>,
}

/// Makes inputs and outputs `h_0`, `h_0_out`, `c_0`, … of the states of each recurrent operator that begins from zero.
/// Axes of `inputs` that are the time or the batch are opened.
///
/// # Errors
/// Refused if there is none, if one runs backwards, or if one begins from something else.
pub fn expose(model: &mut ModelProto, inputs: &[TensorSpec]) -> Result<Exposed> {
    let Some(graph) = &mut model.graph else { return Err(Error::refused("the file holds no graph")) };
    let zeros = zeros(graph);
    let mut exposed = Exposed { states: Vec::new(), notes: Vec::new() };
    let mut new_inputs = Vec::new();
    let mut new_outputs = Vec::new();
    let recurrent = graph.node.iter_mut().filter(|node| matches!(node.op_type(), "LSTM" | "GRU" | "RNN"));
    for (layer, node) in recurrent.enumerate() {
        let shown = format!("the {} \"{}\"", node.op_type(), name(node));
        if text(node, "direction").is_some_and(|direction| direction != "forward") {
            return Err(Error::refused(format!("{shown} runs backwards: its state can't be carried on")));
        }
        let Some(units) = integer(node, "hidden_size").and_then(|units| usize::try_from(units).ok()) else {
            return Err(Error::refused(format!("{shown} doesn't say its hidden_size")));
        };
        let letters: &[(&str, usize, usize)] =
            if node.op_type() == "LSTM" { &[("h", 5, 1), ("c", 6, 2)] } else { &[("h", 5, 1)] };
        for (letter, at, out) in letters {
            if let Some(from) = input(node, *at)
                && !zeros.contains(from)
            {
                return Err(Error::refused(format!("{shown} begins from \"{from}\", which isn't zero")));
            }
            let (state, next) = (format!("{letter}_{layer}"), format!("{letter}_{layer}_out"));
            grow(&mut node.input, at + 1);
            node.input[*at].clone_from(&state);
            grow(&mut node.output, out + 1);
            let last = std::mem::replace(&mut node.output[*out], next.clone());
            let shape = vec![Axis::Fixed(1), Axis::Batch, Axis::Fixed(units)];
            new_inputs.push(declared(&state, units));
            new_outputs.push((declared(&next, units), last, next.clone()));
            exposed.states.push(StateTensor {
                tensor: TensorSpec { name: state, element: Element::Float32, shape },
                out: next,
                initial: Initial::Zero,
            });
        }
        exposed.notes.push(format!("the state of {shown} ({units} units) is an input and an output now"));
    }
    if exposed.states.is_empty() {
        return Err(Error::refused("the graph has no recurrent operator whose state could be carried on"));
    }
    graph.input.extend(new_inputs);
    for (info, before, now) in new_outputs {
        graph.output.push(info);
        if !before.is_empty() {
            graph.node.push(make("Identity", &[&now], &[&before], vec![]));
        }
    }
    open(graph, inputs);
    // An Identity at the end may be what an earlier node takes: order doesn't matter to ONNX Runtime but to the format.
    super::steps::sort(graph);
    prune(graph);
    Ok(exposed)
}

fn grow(names: &mut Vec<String>, length: usize) {
    if names.len() < length {
        names.resize(length, String::new());
    }
}

/// Declares the axes that a run decides as open.
fn open(graph: &mut GraphProto, inputs: &[TensorSpec]) {
    for spec in inputs {
        let info = graph.input.iter_mut().find(|info| info.name() == spec.name);
        let Some(shape) = info.and_then(shape_mut) else { continue };
        for (dim, axis) in shape.dim.iter_mut().zip(&spec.shape) {
            match axis {
                Axis::Time => dim.value = Some(Value::DimParam("time".into())),
                Axis::Batch => dim.value = Some(Value::DimParam("batch".into())),
                Axis::Fixed(_) => {}
            }
        }
    }
    graph.value_info.clear();
}

fn declared(name: &str, units: usize) -> ValueInfoProto {
    let dim = [Value::DimValue(1), Value::DimParam("batch".into()), Value::DimValue(units as i64)]
        .map(|value| Dimension { value: Some(value), ..Default::default() });
    let tensor = type_proto::Tensor {
        elem_type: Some(DataType::Float as i32),
        shape: Some(TensorShapeProto { dim: dim.into() }),
    };
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() }),
        ..Default::default()
    }
}

/// Tensors that are zero whatever their shape becomes.
fn zeros(graph: &GraphProto) -> BTreeSet<String> {
    let is_zero = |tensor| values::to_numbers(tensor).is_some_and(|values| values.iter().all(|value| *value == 0.0));
    let mut zeros: BTreeSet<String> =
        constants(graph).into_iter().filter(|(_, tensor)| is_zero(tensor)).map(|(name, _)| name.to_owned()).collect();
    for node in &graph.node {
        let from = |node: &NodeProto| input(node, 0).is_some_and(|name| zeros.contains(name));
        let zero = match node.op_type() {
            "Expand" | "Slice" | "Squeeze" | "Unsqueeze" | "Identity" | "Transpose" | "Reshape" | "Tile" | "Gather" => {
                from(node)
            }
            "Concat" => node.input.iter().all(|name| zeros.contains(name)),
            "ConstantOfShape" => attribute(node, "value").and_then(|value| value.t.as_ref()).is_none_or(is_zero),
            _ => false,
        };
        if let (true, Some(name)) = (zero, output(node, 0)) {
            zeros.insert(name.to_owned());
        }
    }
    zeros
}
