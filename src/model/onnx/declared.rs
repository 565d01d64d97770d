//! What a graph declares of its inputs and outputs, as it is written in the file: it may be open, and it may be wrong.
//! Must not live here: what a run gives (`model::import`), and what a tensor is for (`model::card`).

use std::fmt;

use super::proto::tensor_proto::DataType;
use super::proto::{GraphProto, ValueInfoProto, type_proto};
use super::view::{self, Dim};
use crate::network::{Axis, Element, TensorSpec};

/// The types that kolk has, in words.
pub const ELEMENTS: &str = "float32, float16, float64, int64, int32 and bool";

/// An input or output as it is declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// Its name.
    pub name: String,
    /// ONNX's number of its type; 0 where it is no tensor.
    pub data_type: i32,
    /// Its axes, where they are declared.
    pub dims: Option<Vec<Dim>>,
}

/// What a graph takes, but for initialisers that have the name of an input.
pub fn inputs(graph: &GraphProto) -> Vec<Declared> {
    let is_open = |info: &&ValueInfoProto| !graph.initializer.iter().any(|tensor| tensor.name() == info.name());
    graph.input.iter().filter(is_open).map(declared).collect()
}

/// What a graph gives.
pub fn outputs(graph: &GraphProto) -> Vec<Declared> {
    graph.output.iter().map(declared).collect()
}

fn declared(info: &ValueInfoProto) -> Declared {
    // Some exporters call every axis that they leave open by this name.
    let named = |dim| if dim == Dim::Named("?".into()) { Dim::Open } else { dim };
    let dims = view::dims(info).map(|dims| dims.into_iter().map(named).collect());
    Declared { name: info.name().to_owned(), data_type: view::element(info).unwrap_or_default(), dims }
}

/// Takes away the axes that a graph declares of an output and that no run gives: ONNX Runtime would refuse the memory
/// that kolk has for the right ones. `given`: what runs give.
pub fn open_wrong(graph: &mut GraphProto, given: &[TensorSpec]) -> Vec<String> {
    let mut notes = Vec::new();
    for info in &mut graph.output {
        let found = declared(info);
        let Some(spec) = given.iter().find(|spec| spec.name == found.name) else { continue };
        let is_wrong = found.dims.as_ref().is_some_and(|dims| {
            dims.len() != spec.shape.len()
                || dims.iter().zip(&spec.shape).any(|pair| match pair {
                    (Dim::Fixed(declared), Axis::Fixed(size)) => declared != size,
                    _ => false,
                })
        });
        if is_wrong {
            notes.push(format!(
                "output \"{}\" is declared as {found}, a run gives {}: what counts is the run",
                spec.name,
                spec.describe()
            ));
            if let Some(type_proto::Value::TensorType(tensor)) =
                info.r#type.as_mut().and_then(|kind| kind.value.as_mut())
            {
                tensor.shape = None;
            }
        }
    }
    notes
}

impl Declared {
    /// Its type, if kolk has it.
    pub fn element(&self) -> Option<Element> {
        Some(match DataType::try_from(self.data_type).ok()? {
            DataType::Float => Element::Float32,
            DataType::Float16 => Element::Float16,
            DataType::Double => Element::Float64,
            DataType::Int64 => Element::Int64,
            DataType::Int32 => Element::Int32,
            DataType::Bool => Element::Bool,
            _ => return None,
        })
    }

    /// The name of its type.
    pub fn type_name(&self) -> String {
        match (self.element(), DataType::try_from(self.data_type)) {
            (Some(element), _) => element.word().to_owned(),
            (None, Ok(DataType::Undefined) | Err(_)) => "no tensor".to_owned(),
            (None, Ok(kind)) => kind.as_str_name().to_lowercase(),
        }
    }

    /// Its axes; none where they aren't declared.
    pub fn axes(&self) -> &[Dim] {
        self.dims.as_deref().unwrap_or_default()
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dim::Fixed(size) => size.fmt(f),
            Dim::Named(name) => f.write_str(name),
            Dim::Open => f.write_str("?"),
        }
    }
}

/// `float32 [batch, 576]`
impl fmt::Display for Declared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.type_name())?;
        match &self.dims {
            Some(dims) => {
                let dims: Vec<String> = dims.iter().map(ToString::to_string).collect();
                write!(f, " [{}]", dims.join(", "))
            }
            None => f.write_str(" of any shape"),
        }
    }
}
