//! Giving a graph that begins from zero the states of its recurrent operators as inputs and outputs, so that a window
//! model can be carried on. Must not live here: whether that is asked for (`model::import`).

use std::collections::BTreeSet;

use super::rewrite::prune;
use crate::model::onnx::proto::tensor_shape_proto::{Dimension, dimension::Value};
use crate::model::onnx::proto::{
    GraphProto, ModelProto, NodeProto, TensorShapeProto, TypeProto, ValueInfoProto, tensor_proto::DataType, type_proto,
};
use crate::model::onnx::values;
use crate::model::onnx::view::{
    Dim, attribute, constants, dims, element, input, integer, name, output, shape_mut, text,
};
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

/// A state of an operator: which of its inputs and outputs it is.
struct Slot {
    name: String,
    at: usize,
    out: usize,
    element: Element,
    shape: Vec<Axis>,
}

/// Makes inputs and outputs `h_0`, `h_0_out`, `c_0`, … of the states of each recurrent operator that begins from zero,
/// or from an input of the graph that isn't given back. Axes of `inputs` that are the time or the batch are opened.
///
/// # Errors
/// Refused if there is none, if one runs backwards, or if one begins from something else.
pub fn expose(model: &mut ModelProto, inputs: &[TensorSpec]) -> Result<Exposed> {
    let Some(graph) = &mut model.graph else { return Err(Error::refused("the file holds no graph")) };
    let zeros = zeros(graph);
    let mut exposed = Exposed { states: Vec::new(), notes: Vec::new() };
    let mut renamed: Vec<(String, String)> = Vec::new();
    let mut layer = 0;
    for index in 0..graph.node.len() {
        let slots = slots(graph, index, layer)?;
        if slots.is_empty() {
            continue;
        }
        layer += 1;
        let shown = format!("the {} \"{}\"", graph.node[index].op_type(), name(&graph.node[index]));
        for slot in slots {
            let from = input(&graph.node[index], slot.at).map(str::to_owned);
            let given = from.filter(|from| !zeros.contains(from));
            if let Some(from) = &given
                && !graph.input.iter().any(|info| info.name() == from)
            {
                return Err(Error::refused(format!("{shown} begins from \"{from}\", which isn't zero")));
            }
            let state = given.clone().unwrap_or_else(|| free(graph, &slot.name));
            let node = &mut graph.node[index];
            grow(&mut node.input, slot.at + 1);
            node.input[slot.at].clone_from(&state);
            grow(&mut node.output, slot.out + 1);
            let last = node.output[slot.out].clone();
            let next = if graph.output.iter().any(|info| info.name() == last) {
                last
            } else {
                let next = free(graph, &format!("{}_out", slot.name));
                graph.node[index].output[slot.out].clone_from(&next);
                graph.output.push(declared(&next, &slot));
                renamed.push((last, next.clone()));
                next
            };
            if given.is_none() {
                graph.input.push(declared(&state, &slot));
            }
            exposed.states.push(StateTensor {
                tensor: TensorSpec { name: state, element: slot.element, shape: slot.shape },
                out: next,
                initial: Initial::Zero,
            });
        }
        exposed.notes.push(format!("the state of {shown} is an input and an output now"));
    }
    if exposed.states.is_empty() {
        return Err(Error::refused("the graph has no recurrent operator whose state could be carried on"));
    }
    renamed.retain(|(last, _)| !last.is_empty());
    rename(graph, &renamed);
    open(graph, inputs);
    prune(graph);
    Ok(exposed)
}

/// The states of a node, if it has any.
fn slots(graph: &GraphProto, index: usize, layer: usize) -> Result<Vec<Slot>> {
    let node = &graph.node[index];
    let shown = || format!("the {} \"{}\"", node.op_type(), name(node));
    let places: &[(&str, usize, usize)] = match node.op_type() {
        "LSTM" => &[("h", 5, 1), ("c", 6, 2)],
        "GRU" | "RNN" => &[("h", 5, 1)],
        "LinearAttention" | "CausalConvWithState" => &[("past", 3, 1)],
        _ => return Ok(Vec::new()),
    };
    let (element, shape) = if places[0].0 == "past" {
        // The operator itself doesn't say how large its state is.
        let present = output(node, 1).unwrap_or_default();
        let info = graph.output.iter().chain(&graph.value_info).find(|info| info.name() == present);
        let dims = info.and_then(dims).unwrap_or_default();
        let sizes: Option<Vec<Axis>> = dims
            .iter()
            .enumerate()
            .map(|(axis, dim)| match (axis, dim) {
                (0, _) => Some(Axis::Batch),
                (_, Dim::Fixed(size)) => Some(Axis::Fixed(*size)),
                _ => None,
            })
            .collect();
        let element = match info.and_then(element).and_then(|code| DataType::try_from(code).ok()) {
            Some(DataType::Float16) => Element::Float16,
            _ => Element::Float32,
        };
        match sizes.filter(|sizes| sizes.len() > 1) {
            Some(sizes) => (element, sizes),
            None => return Err(Error::refused(format!("{} doesn't say the shape of its state", shown()))),
        }
    } else {
        if text(node, "direction").is_some_and(|direction| direction != "forward") {
            return Err(Error::refused(format!("{} runs backwards: its state can't be carried on", shown())));
        }
        let Some(units) = integer(node, "hidden_size").and_then(|units| usize::try_from(units).ok()) else {
            return Err(Error::refused(format!("{} doesn't say its hidden_size", shown())));
        };
        (Element::Float32, vec![Axis::Fixed(1), Axis::Batch, Axis::Fixed(units)])
    };
    let slot = |(letter, at, out): &(&str, usize, usize)| Slot {
        name: format!("{letter}_{layer}"),
        at: *at,
        out: *out,
        element,
        shape: shape.clone(),
    };
    Ok(places.iter().map(slot).collect())
}

/// A name that nothing in the graph has.
fn free(graph: &GraphProto, name: &str) -> String {
    let mut name = name.to_owned();
    let taken = |name: &str| {
        graph.input.iter().chain(&graph.output).any(|info| info.name() == name)
            || graph.initializer.iter().any(|tensor| tensor.name() == name)
            || graph.node.iter().any(|node| node.input.iter().chain(&node.output).any(|other| other == name))
    };
    while taken(&name) {
        name.push('_');
    }
    name
}

fn rename(graph: &mut GraphProto, renamed: &[(String, String)]) {
    for node in &mut graph.node {
        for name in &mut node.input {
            if let Some((_, now)) = renamed.iter().find(|(before, _)| before == name) {
                name.clone_from(now);
            }
        }
        node.attribute.iter_mut().filter_map(|attribute| attribute.g.as_mut()).for_each(|body| rename(body, renamed));
    }
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

fn declared(name: &str, slot: &Slot) -> ValueInfoProto {
    let value = |axis: &Axis| match axis {
        Axis::Fixed(size) => Value::DimValue(*size as i64),
        Axis::Batch | Axis::Time => Value::DimParam("batch".into()),
    };
    let dim = slot.shape.iter().map(|axis| Dimension { value: Some(value(axis)), ..Default::default() }).collect();
    let kind = if slot.element == Element::Float16 { DataType::Float16 } else { DataType::Float };
    let tensor = type_proto::Tensor { elem_type: Some(kind as i32), shape: Some(TensorShapeProto { dim }) };
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
