//! Whether two graphs give the same, by runs on random numbers of several sizes and scales. Must not live here: the
//! proofs that rows don't influence each other (`model::import`).

use std::collections::BTreeMap;

use super::proto::{GraphProto, ModelProto, TensorProto, tensor_proto::DataType};
use super::values;
use super::view::{self, Dim};
use crate::model::executor::trial::{Trial, difference};
use crate::network::{StateTensor, TensorSpec};
use crate::{Error, Result};

/// Two graphs are equal if no output differs by more than this, relative to the largest number of its tensor or of what
/// went in, whichever is larger.
pub const TOLERANCE: f64 = 1e-6;

/// Steps that a state is carried over.
const STEPS: usize = 64;
/// Steps and sequences of the runs.
const SIZES: [(usize, usize); 4] = [(1, 2), (5, 3), (10, 4), (1, 1)];

/// The largest relative difference between the outputs of two graphs that have the same inputs, over all sizes that the
/// first one can be run with, on numbers of about 1 and of about 20. `inputs` tell which axis is what; without them the
/// declared axes do.
///
/// # Errors
/// The first graph can't be run, the second one can't where the first one can, or the outputs have other shapes.
pub fn distance(before: &ModelProto, after: &ModelProto, inputs: &[TensorSpec]) -> Result<f64> {
    let (mut first, mut second) = (Trial::new(before)?, Trial::new(after)?);
    let graph = before.graph.as_ref().ok_or_else(|| Error::refused("the file holds no graph"))?;
    let mut largest = 0f64;
    let mut failed = None;
    let mut runs = 0;
    for (t, b) in SIZES {
        for scale in [1.0, 20.0] {
            let given = random(graph, inputs, t, b, scale);
            let left = match first.run(&given) {
                Ok(left) => left,
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            };
            let right = second.run(&given)?;
            largest = largest.max(difference(&left, &right, size_of(&given)).map_err(Error::refused)?);
            runs += 1;
        }
    }
    match failed {
        Some(error) if runs == 0 => Err(error),
        _ => Ok(largest),
    }
}

/// The largest difference between what two graphs give over single steps that carry the first one's and the second
/// one's own states on, on numbers of about 1, relative to the largest number of each tensor alone: what a cell rounds
/// in another way can add up in its state.
///
/// # Errors
/// As [`distance`].
pub fn drift(before: &ModelProto, after: &ModelProto, inputs: &[TensorSpec], states: &[StateTensor]) -> Result<f64> {
    let (mut first, mut second) = (Trial::new(before)?, Trial::new(after)?);
    let graph = before.graph.as_ref().ok_or_else(|| Error::refused("the file holds no graph"))?;
    // A graph may be declared for one sequence.
    let b = if first.run(&random(graph, inputs, 1, 2, 1.0)).is_ok() { 2 } else { 1 };
    let (mut left, mut right) = (Vec::new(), Vec::new());
    let mut largest = 0f64;
    for step in 0..STEPS {
        // Other numbers for each step.
        let scale = 1.0 - (step % 7) as f32 * 0.25;
        let given = random(graph, inputs, 1, b, if scale.abs() < 0.1 { 0.1 } else { scale });
        left = first.run(&with_states(&given, &left, states))?;
        right = second.run(&with_states(&given, &right, states))?;
        largest = largest.max(difference(&left, &right, f64::MIN_POSITIVE).map_err(Error::refused)?);
    }
    Ok(largest)
}

/// Inputs with the states that a run gave, if there was one.
pub fn with_states(given: &[TensorProto], made: &[TensorProto], states: &[StateTensor]) -> Vec<TensorProto> {
    let one = |tensor: &TensorProto| {
        let state = states.iter().find(|state| state.tensor.name == tensor.name());
        let next = state.and_then(|state| made.iter().find(|made| made.name() == state.out));
        next.map_or_else(|| tensor.clone(), |next| TensorProto { name: tensor.name.clone(), ..next.clone() })
    };
    given.iter().map(one).collect()
}

/// What differences are relative to at least: the largest number that went in, or 1, which activations are of. The last
/// bits of a sum are those of what is summed, and activations hide how large that was, so an output that is smaller has
/// no more of them.
pub fn size_of(given: &[TensorProto]) -> f64 {
    let is_float = |tensor: &&TensorProto| {
        matches!(values::kind(tensor), Some(DataType::Float | DataType::Double | DataType::Float16))
    };
    let numbers = given.iter().filter(is_float).filter_map(values::to_numbers).flatten();
    numbers.filter(|number| number.is_finite()).fold(1.0, |most, number| most.max(number.abs()))
}

/// Inputs of a graph: numbers of about `scale`, and zeros where they are whole.
pub fn random(graph: &GraphProto, inputs: &[TensorSpec], t: usize, b: usize, scale: f32) -> Vec<TensorProto> {
    let mut symbols: BTreeMap<String, usize> = BTreeMap::new();
    let mut state = (t * 31 + b) as u64;
    let is_input = |name: &str| !graph.initializer.iter().any(|tensor| tensor.name() == name);
    let mut made = Vec::new();
    for info in graph.input.iter().filter(|info| is_input(info.name())) {
        let shape: Vec<usize> = match inputs.iter().find(|spec| spec.name == info.name()) {
            Some(spec) => spec.sizes(t, b),
            None => {
                let dims = view::dims(info).unwrap_or_default();
                let last = dims.len().saturating_sub(1);
                let size = |(axis, dim): (usize, Dim)| match dim {
                    Dim::Fixed(size) => size,
                    Dim::Open => {
                        if axis == last {
                            t
                        } else {
                            b
                        }
                    }
                    Dim::Named(symbol) => {
                        let batch = symbol.to_lowercase().contains("batch") || axis == 0 && symbols.is_empty();
                        *symbols.entry(symbol).or_insert(if batch { b } else { t })
                    }
                };
                dims.into_iter().enumerate().map(size).collect()
            }
        };
        let kind = view::element(info).and_then(|code| DataType::try_from(code).ok()).unwrap_or_default();
        let count: usize = shape.iter().product();
        let mut number = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 33) as f64 / 2f64.powi(31) * 2.0 - 1.0) * f64::from(scale)
        };
        let raw = match kind {
            DataType::Float => (0..count).flat_map(|_| (number() as f32).to_le_bytes()).collect(),
            DataType::Double => (0..count).flat_map(|_| number().to_le_bytes()).collect(),
            DataType::Float16 => {
                (0..count).flat_map(|_| values::half_from(number()).unwrap_or(0).to_le_bytes()).collect()
            }
            other => vec![0; count * values::width(other).unwrap_or(0)],
        };
        made.push(values::tensor(info.name(), kind, &shape, raw));
    }
    made
}
