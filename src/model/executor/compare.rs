//! The inputs and outputs of a graph, and comparing them with the expected ones. Must not live here: running it
//! (`ort`).

use ort::value::{Outlet, TensorElementType, ValueType};

use crate::model::onnx::export::STATES_KEY;
use crate::network::{Axis, Element, Signature, StatePair, StateTensor, TensorSpec};
use crate::{Error, Result};

/// How far what a graph declares must be what is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Declared {
    /// Names, types, axes: the graph is our own.
    Everything,
    /// Names and types: the shapes of the graphs of others may be open or wrong, and what counts is a run.
    NamesAndTypes,
}

/// Lists every difference between the graph and the expected signature.
pub(super) fn compare(session: &ort::session::Session, expected: &Signature, declared: Declared) -> Result<()> {
    let mut wrong = Vec::new();
    let both = [("input", expected.taken(), session.inputs()), ("output", expected.given(), session.outputs())];
    for (what, expected, outlets) in both {
        for tensor in &expected {
            let name = &tensor.name;
            let shape = tensor.describe();
            match outlets.iter().find(|outlet| outlet.name() == name) {
                None => wrong.push(format!("{what} \"{name}\": expected {shape}, the graph has none of that name")),
                Some(outlet) if !agrees(outlet, tensor, declared) => {
                    wrong.push(format!("{what} \"{name}\": expected {shape}, the graph has {}", describe(outlet)));
                }
                Some(_) => {}
            }
        }
        // An output of the graphs of others that nobody asked for isn't computed.
        let all = what == "input" || declared == Declared::Everything;
        for outlet in outlets.iter().filter(|outlet| all && !expected.iter().any(|spec| spec.name == outlet.name())) {
            let (name, shape) = (outlet.name(), describe(outlet));
            wrong.push(format!("{what} \"{name}\": the graph has {shape}, none of that name is expected"));
        }
    }
    let written = session.metadata().ok().and_then(|metadata| metadata.custom(STATES_KEY));
    if let (Some(text), Declared::Everything) = (written, declared) {
        let pairs: Vec<StatePair> = expected.states.iter().map(pair).collect();
        let same = serde_json::from_str::<Vec<StatePair>>(&text).is_ok_and(|found| found == pairs);
        if !same {
            let expected = serde_json::to_string(&pairs).unwrap_or_default();
            wrong.push(format!("state pairs: expected {expected}, the graph's metadata has {text}"));
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Error::refused(format!("the model's graph is not what its manifest says:\n  {}", wrong.join("\n  "))))
}

/// The pair as our own graphs note it.
fn pair(state: &StateTensor) -> StatePair {
    let size = |axis: &Axis| if let Axis::Fixed(size) = axis { Some(*size) } else { None };
    StatePair {
        input: state.tensor.name.clone(),
        output: state.out.clone(),
        shape: state.tensor.shape.iter().filter_map(size).collect(),
        init: "zero".into(),
    }
}

/// Whether an outlet has the type and, where that counts, the axes: time and batch left open.
fn agrees(outlet: &Outlet, expected: &TensorSpec, declared: Declared) -> bool {
    let ValueType::Tensor { ty, shape, .. } = outlet.dtype() else { return false };
    if element(*ty) != Some(expected.element) {
        return false;
    }
    declared == Declared::NamesAndTypes
        || expected.shape.len() == shape.len()
            && expected.shape.iter().zip(shape.iter()).all(|(axis, size)| match axis {
                Axis::Fixed(fixed) => *fixed as i64 == *size,
                Axis::Time | Axis::Batch => *size == -1,
            })
}

/// A type as it is known here.
fn element(found: TensorElementType) -> Option<Element> {
    Some(match found {
        TensorElementType::Float32 => Element::Float32,
        TensorElementType::Float16 => Element::Float16,
        TensorElementType::Float64 => Element::Float64,
        TensorElementType::Int64 => Element::Int64,
        TensorElementType::Int32 => Element::Int32,
        TensorElementType::Bool => Element::Bool,
        _ => return None,
    })
}

/// An outlet as text, `float32 [T, B, 3]`.
fn describe(outlet: &Outlet) -> String {
    let ValueType::Tensor { ty, shape, dimension_symbols } = outlet.dtype() else {
        return outlet.dtype().to_string();
    };
    let kind = element(*ty).map_or_else(|| ty.to_string(), |element| element.word().to_owned());
    let axes: Vec<String> = shape
        .iter()
        .zip(dimension_symbols.iter())
        .map(|(size, symbol)| match (*size, symbol.is_empty()) {
            (-1, true) => "?".to_owned(),
            (-1, false) => symbol.clone(),
            (size, _) => size.to_string(),
        })
        .collect();
    format!("{kind} [{}]", axes.join(", "))
}
