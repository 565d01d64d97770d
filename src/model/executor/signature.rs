//! The inputs and outputs of a graph, and comparing them with the expected ones. Must not live here: running it
//! (`ort`).

use ort::value::{Outlet, TensorElementType, ValueType};

use crate::model::Manifest;
use crate::model::onnx::export::STATES_KEY;
use crate::network::{Architecture, StatePair};
use crate::{Error, Result};

/// Names, types and shapes of a graph by the contract: `x` float32 [T, B, features], state pairs float32 [B, shape],
/// `y` float32 [T, B, outputs].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// Last axis of `x`.
    pub features: usize,
    /// State pairs, in the order in which [`super::Session::run`] takes them.
    pub states: Vec<StatePair>,
    /// Last axis of `y`.
    pub outputs: usize,
}

impl From<&Architecture> for Signature {
    fn from(architecture: &Architecture) -> Self {
        Signature { features: architecture.features, states: architecture.states(), outputs: architecture.outputs }
    }
}

impl From<&Manifest> for Signature {
    fn from(manifest: &Manifest) -> Self {
        Signature {
            features: manifest.inputs.len(),
            states: manifest.states.clone(),
            outputs: manifest.horizon * manifest.targets.len() * manifest.quantiles.len().max(1),
        }
    }
}

/// Lists every difference between the graph and the expected signature.
pub(super) fn compare(session: &ort::session::Session, expected: &Signature) -> Result<()> {
    let mut wrong = Vec::new();
    let axes = |sizes: &[&str], last: &[usize]| {
        let mut axes: Vec<String> = sizes.iter().map(|size| (*size).to_owned()).collect();
        axes.extend(last.iter().map(usize::to_string));
        format!("float32 [{}]", axes.join(", "))
    };
    let mut inputs = vec![("x".to_owned(), axes(&["T", "B"], &[expected.features]))];
    let mut outputs = vec![("y".to_owned(), axes(&["T", "B"], &[expected.outputs]))];
    for pair in &expected.states {
        inputs.push((pair.input.clone(), axes(&["B"], &pair.shape)));
        outputs.push((pair.output.clone(), axes(&["B"], &pair.shape)));
    }
    for (what, expected, outlets) in [("input", inputs, session.inputs()), ("output", outputs, session.outputs())] {
        for (name, shape) in &expected {
            match outlets.iter().find(|outlet| outlet.name() == name) {
                None => wrong.push(format!("{what} \"{name}\": expected {shape}, the graph has none of that name")),
                Some(outlet) if !agrees(outlet, shape) => {
                    wrong.push(format!("{what} \"{name}\": expected {shape}, the graph has {}", describe(outlet)));
                }
                Some(_) => {}
            }
        }
        for outlet in outlets.iter().filter(|outlet| !expected.iter().any(|(name, _)| name == outlet.name())) {
            let (name, shape) = (outlet.name(), describe(outlet));
            wrong.push(format!("{what} \"{name}\": the graph has {shape}, none of that name is expected"));
        }
    }
    let written = session.metadata().ok().and_then(|metadata| metadata.custom(STATES_KEY));
    if let Some(text) = written {
        let same = serde_json::from_str::<Vec<StatePair>>(&text).is_ok_and(|pairs| pairs == expected.states);
        if !same {
            let expected = serde_json::to_string(&expected.states).unwrap_or_default();
            wrong.push(format!("state pairs: expected {expected}, the graph's metadata has {text}"));
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Error::refused(format!("the model's graph is not what its manifest says:\n  {}", wrong.join("\n  "))))
}

/// Whether an outlet is float32 with the fixed axes of `expected` (see [`compare`]) and leaves T and B open.
fn agrees(outlet: &Outlet, expected: &str) -> bool {
    let ValueType::Tensor { ty: TensorElementType::Float32, shape, .. } = outlet.dtype() else { return false };
    let Some(axes) = expected.strip_prefix("float32 [").and_then(|rest| rest.strip_suffix(']')) else { return false };
    let axes: Vec<&str> = axes.split(", ").collect();
    axes.len() == shape.len()
        && axes.iter().zip(shape.iter()).all(|(axis, size)| match axis.parse::<i64>() {
            Ok(fixed) => fixed == *size,
            Err(_) => *size == -1,
        })
}

/// An outlet as text, `float32 [T, B, 3]`.
fn describe(outlet: &Outlet) -> String {
    let ValueType::Tensor { ty, shape, dimension_symbols } = outlet.dtype() else {
        return outlet.dtype().to_string();
    };
    let kind = match ty {
        TensorElementType::Float32 => "float32".to_owned(),
        other => other.to_string(),
    };
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
