//! Whether a graph still computes what its file does, after all that was changed in it: both are run beside each other,
//! on made-up rows and on the user's. Must not live here: the changes (`passes`), and the proof of each single rewrite
//! (`onnx::prove`).

use super::axes::{number, value};
use super::lab::Data;
use super::passes::Ready;
use super::rows::Set;
use crate::model::card::Resolved;
use crate::model::executor::bytes_of;
use crate::model::executor::trial::{Trial, apart, tolerance};
use crate::model::onnx;
use crate::model::onnx::proto::{ModelProto, TensorProto, tensor_proto::DataType};
use crate::model::onnx::prove::{size_of, with_states};
use crate::model::onnx::{constants, values};
use crate::network::{Axis, Element, Feed, Signature, TensorSpec};
use crate::{Error, Result};

/// Steps and sequences of runs on made-up rows.
const SIZES: [(usize, usize); 3] = [(1, 1), (3, 2), (5, 3)];
/// Runs that carry the state on.
const STEPS: usize = 4;
/// Sequences of the user's rows that both are run over.
const SEQUENCES: usize = 8;

/// What rounding comes to in a graph that quantises by what is in a run, relatively.
const QUANTISED: f64 = 1e-2;

/// Both graphs, ready to run.
struct Both<'a> {
    file: Trial,
    changed: Trial,
    signature: &'a Signature,
    /// What the file takes besides: inputs that are constants now.
    constants: Vec<TensorProto>,
    /// The most that they may differ by, relatively.
    most: f64,
    largest: f64,
    runs: usize,
}

/// Runs the file as it is, with its constants fed, beside the graph that it became, and says by how much they differ.
///
/// # Errors
/// Refused with tensor, step and both numbers where they differ by more than rounding does; `quantised`: in a graph
/// that quantises by what is in a run.
pub(super) fn prove(
    file: &ModelProto,
    resolved: &Resolved,
    ready: &Ready,
    sets: &[Set],
    quantised: bool,
) -> Result<Vec<String>> {
    let signature = &ready.seen.signature;
    let mut constants = Vec::new();
    for constant in &resolved.constants {
        let mut with = ModelProto { graph: file.graph.as_ref().map(only_inputs), ..ModelProto::default() };
        constants::constant(&mut with, &constant.name, &constant.values)?;
        constants.extend(with.graph.into_iter().flat_map(|graph| graph.initializer));
    }
    let file = match Trial::new(file) {
        Ok(file) => file,
        // What loads only after a change can't be run before it.
        Err(error) => return Ok(vec![format!("the file as it is can't be run to compare with it: {error}")]),
    };
    let elements = signature.taken().into_iter().chain(signature.given()).map(|tensor| tensor.element);
    // Where numbers are quantised, a last bit can make a whole step of the quantised ones.
    let most = elements.map(tolerance).fold(if quantised { QUANTISED } else { 0.0 }, f64::max);
    let changed = Trial::of_bytes(&ready.graph)?;
    let mut both = Both { file, changed, signature, constants, most, largest: 0.0, runs: 0 };
    let mut why = None;
    for scale in [1.0, 20.0] {
        for (t, b) in sizes(ready, sets) {
            match both.made(t, b, scale) {
                Ok(()) => {}
                Err(Failed::File(error)) => why = why.or(Some(error)),
                Err(Failed::Differ(error)) => return Err(error),
            }
        }
    }
    if both.runs == 0 {
        let why = why.map(|error| format!(": {error}")).unwrap_or_default();
        return Ok(vec![format!("the file as it is can't be run to compare with it{why}")]);
    }
    let mut on = format!("{} runs on made-up rows", both.runs);
    for set in sets.iter().filter(|set| !set.on().is_empty()) {
        let before = both.runs;
        match both.rows(set, ready.window) {
            Ok(()) => on += &format!(" and {} on rows of {}", both.runs - before, set.source),
            Err(Failed::File(_)) => {}
            Err(Failed::Differ(error)) => return Err(error),
        }
    }
    Ok(vec![format!(
        "the file as it is gives the same as the graph that is published: outputs and states differ by at most {:.1e} of \
         the largest number ({on})",
        both.largest
    )])
}

/// A graph of the same inputs without anything else.
fn only_inputs(graph: &onnx::proto::GraphProto) -> onnx::proto::GraphProto {
    onnx::proto::GraphProto { input: graph.input.clone(), ..Default::default() }
}

/// Where the axes were changed, only one step of one sequence means the same to both.
fn sizes(ready: &Ready, sets: &[Set]) -> Vec<(usize, usize)> {
    match (ready.axes_changed, ready.window) {
        (_, Some(window)) if ready.axes_changed => vec![(window, 1)],
        (true, _) => vec![(1, 1)],
        (false, Some(window)) => vec![(window, 1), (window, 3)],
        (false, None) => SIZES.iter().copied().filter(|_| !sets.is_empty()).collect(),
    }
}

/// Why two graphs weren't found to be the same.
enum Failed {
    /// The file doesn't run so.
    File(Error),
    /// It gives something else.
    Differ(Error),
}

impl Both<'_> {
    /// Runs that carry the state on, on made-up rows.
    fn made(&mut self, t: usize, b: usize, scale: f64) -> std::result::Result<(), Failed> {
        let signature = self.signature;
        let mut before = Vec::new();
        for step in 0..STEPS {
            let mut given = Vec::new();
            for (n, tensor) in signature.taken().iter().enumerate() {
                let below = signature.inputs.get(n).and_then(|input| match input.feed {
                    Feed::Ids { below, .. } => Some(below),
                    _ => None,
                });
                let is_whole =
                    below.is_some() || matches!(tensor.element, Element::Int64 | Element::Int32 | Element::Bool);
                let scale = if is_whole { 1.0 } else { scale };
                given.push(made(tensor, t, b, &|at| value(tensor.element, below, number(step, at, n)) * scale));
            }
            let given = with_states(&given, &before, &signature.states);
            before = self.compare(&given, &|| format!("run {} of {t} steps of {b} sequences", step + 1))?;
        }
        Ok(())
    }

    /// The user's rows, sequence by sequence: a window at once, otherwise step by step.
    fn rows(&mut self, set: &Set, window: Option<usize>) -> std::result::Result<(), Failed> {
        let signature = self.signature;
        let Data { inputs, steps, .. } = &set.data;
        for sequence in 0..set.data.sequences.min(SEQUENCES) {
            let mut before = Vec::new();
            let t = window.unwrap_or(1);
            for step in (0..*steps).step_by(t) {
                let rows = signature.inputs.iter().zip(inputs).map(|(input, values)| {
                    let width = input.tensor.width();
                    let begin = (sequence * steps + step) * width;
                    of_rows(&input.tensor, t, &values[begin..begin + t * width])
                });
                let zero = signature.states.iter().map(|state| made(&state.tensor, t, 1, &|_| 0.0));
                let given = with_states(&rows.chain(zero).collect::<Vec<_>>(), &before, &signature.states);
                before = self.compare(&given, &|| format!("step {} of {}", step + 1, set.sequence(sequence)))?;
            }
        }
        Ok(())
    }

    /// Runs both; returns what the file gives.
    fn compare(
        &mut self,
        given: &[TensorProto],
        place: &dyn Fn() -> String,
    ) -> std::result::Result<Vec<TensorProto>, Failed> {
        let all: Vec<TensorProto> = given.iter().chain(&self.constants).cloned().collect();
        let before = self.file.run(&all).map_err(Failed::File)?;
        let after = self.changed.run(given).map_err(Failed::Differ)?;
        let found = apart(&before, &after, size_of(given)).map_err(|message| {
            Failed::Differ(Error::refused(format!("the file as it is and the graph that it became: {message}")))
        })?;
        if found.apart > self.most {
            return Err(Failed::Differ(Error::refused(format!(
                "the file as it is gives something else than the graph that it became: {}, {}, which is {:.1e} of the \
                 largest number",
                place(),
                found.what,
                found.apart
            ))));
        }
        self.largest = self.largest.max(found.apart);
        self.runs += 1;
        Ok(before)
    }
}

fn kind(element: Element) -> DataType {
    match element {
        Element::Float32 => DataType::Float,
        Element::Float16 => DataType::Float16,
        Element::Float64 => DataType::Double,
        Element::Int64 => DataType::Int64,
        Element::Int32 => DataType::Int32,
        Element::Bool => DataType::Bool,
    }
}

/// A tensor of numbers in the order of its axes.
fn made(tensor: &TensorSpec, t: usize, b: usize, of: &dyn Fn(usize) -> f64) -> TensorProto {
    let bytes = (0..tensor.numbers(t, b)).flat_map(|at| bytes_of(of(at), tensor.element)).collect();
    values::tensor(&tensor.name, kind(tensor.element), &tensor.sizes(t, b), bytes)
}

/// A tensor of `t` rows of one sequence, wherever its axis of time is.
fn of_rows(tensor: &TensorSpec, t: usize, rows: &[f64]) -> TensorProto {
    let sizes = tensor.sizes(t, 1);
    let has_time = tensor.has(Axis::Time);
    let width = tensor.width();
    made(tensor, t, 1, &|at| {
        // The place of a number among all, as step and place in its row.
        let (mut rest, mut step, mut place, mut stride) = (at, if has_time { 0 } else { t - 1 }, 0, 1);
        for (axis, size) in tensor.shape.iter().zip(&sizes).rev() {
            let index = rest % size;
            rest /= size;
            match axis {
                Axis::Time => step = index,
                Axis::Batch => {}
                Axis::Fixed(size) => {
                    place += index * stride;
                    stride *= size;
                }
            }
        }
        rows[step * width + place]
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use prost::Message;

    use super::*;
    use crate::model::import::axes::Seen;
    use crate::model::onnx::graph::{Axis as GraphAxis, Graph};
    use crate::model::onnx::proto::OperatorSetIdProto;
    use crate::network::{InputTensor, OutputTensor, Run};

    /// `y = x * by`
    fn model(by: f32) -> ModelProto {
        let mut graph = Graph::default();
        graph.input("x", &[GraphAxis::Open("batch"), GraphAxis::Fixed(3)]);
        graph.floats("by", &[], &[by], "");
        graph.node("Mul", &["x", "by"], "y", vec![]);
        graph.output("y", &[GraphAxis::Open("batch"), GraphAxis::Fixed(3)]);
        let opset = OperatorSetIdProto { domain: Some(String::new()), version: Some(17) };
        ModelProto { ir_version: Some(8), opset_import: vec![opset], graph: Some(graph.0), ..Default::default() }
    }

    fn said(by: f32) -> Result<Vec<String>> {
        let tensor = |name: &str| TensorSpec {
            name: name.into(),
            element: Element::Float32,
            shape: vec![Axis::Batch, Axis::Fixed(3)],
        };
        let signature = Signature {
            inputs: vec![InputTensor { tensor: tensor("x"), feed: Feed::Columns(Vec::new()) }],
            states: Vec::new(),
            outputs: vec![OutputTensor { tensor: tensor("y"), column: "y".into(), forecast: None }],
            lengths: None,
            batch: Run::Many,
            steps: Run::Many,
        };
        let ready = Ready {
            graph: model(by).encode_to_vec(),
            seen: Seen { signature: signature.clone(), one_by_one: None },
            notes: Vec::new(),
            window: None,
            axes_changed: false,
        };
        let resolved = Resolved {
            inputs: signature.inputs.clone(),
            states: Vec::new(),
            outputs: Vec::new(),
            constants: Vec::new(),
            files: BTreeMap::new(),
            warnings: Vec::new(),
        };
        prove(&model(2.0), &resolved, &ready, &[Set::made(&signature, 3, 2)], false)
    }

    #[test]
    fn another_graph_is_refused_with_both_numbers() {
        assert!(
            said(2.0).unwrap()[0].contains("differ by at most 0.0e0 of the largest number (24 runs"),
            "{:?}",
            said(2.0)
        );
        let refused = said(2.001).err().unwrap().to_string();
        assert!(refused.contains("run 1 of 1 steps of 1 sequences, output \"y\", number "), "{refused}");
        assert!(refused.contains(" against ") && refused.contains("e-4 of the largest number"), "{refused}");
    }

    #[test]
    fn rows_of_one_sequence_are_laid_out_by_the_axes() {
        let shape = vec![Axis::Batch, Axis::Fixed(2), Axis::Time];
        let tensor = TensorSpec { name: "x".into(), element: Element::Float32, shape };
        let made = of_rows(&tensor, 3, &[0.0, 1.0, 10.0, 11.0, 20.0, 21.0]);
        assert_eq!(values::to_numbers(&made).unwrap(), [0.0, 10.0, 20.0, 1.0, 11.0, 21.0]);
        assert_eq!(made.dims, [1, 2, 3]);
    }
}
