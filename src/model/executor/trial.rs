//! Running any graph on tensors that are given by name: what a proof compares. It allocates and copies for each run.
//! Must not live here: serving (`onnx_runtime`).

use std::borrow::Cow;

use ort::memory::Allocator;
use ort::session::SessionInputValue;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::{DynTensor, DynTensorValueType, TensorElementType, ValueRef, ValueType};
use prost::Message;

use super::library;
use crate::error::Context;
use crate::model::onnx::proto::{ModelProto, TensorProto, tensor_proto::DataType};
use crate::model::onnx::prove::TOLERANCE;
use crate::model::onnx::values;
use crate::network::Element;
use crate::{Error, Result};

/// A graph that is ready to run.
pub struct Trial {
    session: ort::session::Session,
}

impl Trial {
    /// Loads a graph as serving would: one thread, all optimisations.
    pub fn new(model: &ModelProto) -> Result<Trial> {
        Trial::of_bytes(&model.encode_to_vec())
    }

    /// The same, of a file's bytes.
    pub fn of_bytes(onnx: &[u8]) -> Result<Trial> {
        let library = library::library()?;
        let build = || -> ort::Result<ort::session::Session> {
            ort::session::Session::builder(&library.environment)?
                .with_intra_threads(1)?
                .with_inter_threads(1)?
                .with_optimization_level(GraphOptimizationLevel::All)?
                .with_log_level(ort::logging::LogLevel::Fatal)?
                .commit_from_memory(onnx)
        };
        let session = build().or_refused(|| format!("load the model into ONNX Runtime {}", library.version))?;
        Ok(Trial { session })
    }

    /// The graph's outputs, in its order, for inputs that are found by their names.
    pub fn run(&mut self, inputs: &[TensorProto]) -> Result<Vec<TensorProto>> {
        let mut given: Vec<(Cow<'_, str>, SessionInputValue<'_>)> = Vec::new();
        for tensor in inputs {
            given.push((tensor.name().into(), value(tensor)?.into()));
        }
        let outputs = self.session.run(given).or_refused(|| "run the graph".into())?;
        outputs.iter().map(|(name, value)| proto(name, value)).collect()
    }
}

/// Which type of ONNX Runtime a type of the file is: those that a stream's tensors can have.
const TYPES: [(DataType, TensorElementType); 13] = [
    (DataType::Float, TensorElementType::Float32),
    (DataType::Double, TensorElementType::Float64),
    (DataType::Float16, TensorElementType::Float16),
    (DataType::Bfloat16, TensorElementType::Bfloat16),
    (DataType::Int64, TensorElementType::Int64),
    (DataType::Int32, TensorElementType::Int32),
    (DataType::Int16, TensorElementType::Int16),
    (DataType::Int8, TensorElementType::Int8),
    (DataType::Uint8, TensorElementType::Uint8),
    (DataType::Uint16, TensorElementType::Uint16),
    (DataType::Uint32, TensorElementType::Uint32),
    (DataType::Uint64, TensorElementType::Uint64),
    (DataType::Bool, TensorElementType::Bool),
];

#[allow(unsafe_code)]
fn value(tensor: &TensorProto) -> Result<DynTensor> {
    let unfit = || Error::refused(format!("tensor \"{}\" holds no numbers that can be run", tensor.name()));
    let kind = values::kind(tensor).ok_or_else(unfit)?;
    let (_, element) = TYPES.iter().find(|(file, _)| *file == kind).ok_or_else(unfit)?;
    let bytes = values::bytes(tensor).ok_or_else(unfit)?;
    let shape: Vec<i64> = tensor.dims.clone();
    let mut made = DynTensor::new(&Allocator::default(), *element, shape)
        .or_refused(|| format!("make the tensor \"{}\"", tensor.name()))?;
    if !bytes.is_empty() {
        // SAFETY: the tensor was just allocated on the CPU for as many values of `element` as the shape has, and
        // `values::bytes` gives exactly that many of the same width. Nothing else refers to it yet.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), made.data_ptr_mut().cast::<u8>(), bytes.len()) };
    }
    Ok(made)
}

#[allow(unsafe_code)]
fn proto(name: &str, value: ValueRef<'_>) -> Result<TensorProto> {
    let unfit = || Error::refused(format!("output \"{name}\" is no tensor of numbers"));
    let ValueType::Tensor { ty, shape, .. } = value.dtype() else { return Err(unfit()) };
    let (kind, _) = TYPES.iter().find(|(_, element)| element == ty).ok_or_else(unfit)?;
    let shape: Vec<usize> = shape.iter().map(|size| (*size).max(0) as usize).collect();
    let length = shape.iter().product::<usize>() * values::width(*kind).ok_or_else(unfit)?;
    let mut bytes = vec![0u8; length];
    let tensor = value.downcast::<DynTensorValueType>().or_failed(|| format!("read \"{name}\""))?;
    if length > 0 {
        // SAFETY: ONNX Runtime's CPU tensor of that type and shape holds `length` bytes and lives as long as `tensor`.
        unsafe { std::ptr::copy_nonoverlapping(tensor.data_ptr().cast::<u8>(), bytes.as_mut_ptr(), length) };
    }
    Ok(values::tensor(name, *kind, &shape, bytes))
}

/// How far two results are apart.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Apart {
    /// The largest difference between two numbers, relative to the largest number of the tensor, or to the given size
    /// if that is more. Infinite where one is not a number and the other is.
    pub apart: f64,
    /// Which tensor, which of its numbers, and both of them.
    pub what: String,
}

/// The difference that rounding makes to numbers of a type, relative to the largest number of a tensor.
pub fn tolerance(element: Element) -> f64 {
    match element {
        Element::Float16 => 5e-3,
        Element::Float32 => TOLERANCE,
        Element::Float64 => 1e-12,
        Element::Int64 | Element::Int32 | Element::Bool => 0.0,
    }
}

/// [`Apart::apart`] of two results.
pub fn difference(left: &[TensorProto], right: &[TensorProto], size: f64) -> std::result::Result<f64, String> {
    apart(left, right, size).map(|found| found.apart)
}

/// How far apart two results of the same names, types and shapes are; `Err` says what can't be compared.
pub fn apart(left: &[TensorProto], right: &[TensorProto], size: f64) -> std::result::Result<Apart, String> {
    let mut largest = Apart::default();
    for tensor in left {
        let name = tensor.name();
        let Some(other) = right.iter().find(|other| other.name() == name) else {
            return Err(format!("one graph has no output \"{name}\""));
        };
        if tensor.dims != other.dims || tensor.data_type != other.data_type {
            return Err(format!("output \"{name}\" is {:?} against {:?}", tensor.dims, other.dims));
        }
        let (Some(a), Some(b)) = (values::to_numbers(tensor), values::to_numbers(other)) else {
            return Err(format!("output \"{name}\" is of a type that isn't compared"));
        };
        let scale = a.iter().chain(&b).filter(|value| value.is_finite()).fold(size, |max, value| max.max(value.abs()));
        for (at, (a, b)) in a.iter().zip(&b).enumerate() {
            let same = a == b || a.is_nan() && b.is_nan();
            let apart = if same { 0.0 } else { (a - b).abs() / scale };
            let apart = if apart.is_nan() { f64::INFINITY } else { apart };
            if apart > largest.apart {
                largest = Apart { apart, what: format!("output \"{name}\", number {}: {a} against {b}", at + 1) };
            }
        }
    }
    Ok(largest)
}
