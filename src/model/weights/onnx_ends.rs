//! What a graph takes and gives: one input, one output, the states of its cells, and the lengths of sequences. Must not
//! live here: what is between them (`onnx_layers`).

use std::collections::BTreeSet;

use crate::model::onnx::proto::{GraphProto, ValueInfoProto, tensor_proto::DataType};
use crate::model::onnx::view;
use crate::model::onnx::wiring::Wiring;

/// What a graph takes and gives besides states.
pub(super) struct Ends {
    pub(super) input: String,
    pub(super) output: String,
    /// States by their inputs and outputs.
    pub(super) states: Vec<(String, String)>,
    /// What takes the number of steps of each sequence.
    pub(super) lengths: Option<String>,
}

/// The one input and the one output of a graph, and its states.
pub(super) fn ends(graph: &GraphProto) -> Result<Ends, String> {
    let wiring = Wiring::new(graph);
    let outputs: Vec<(&str, _)> = graph.output.iter().map(|out| (out.name(), wiring.ends(out.name()))).collect();
    let (mut inputs, mut states, mut lengths) = (Vec::new(), Vec::new(), None);
    for info in &graph.input {
        let begins = wiring.begins(info.name());
        let next = outputs.iter().find(|(_, ends)| !begins.is_empty() && *ends == begins);
        match next {
            Some((output, _)) => states.push((info.name().to_owned(), (*output).to_owned())),
            None if lengths.is_none() && is_lengths(info) => lengths = Some(info.name().to_owned()),
            None => inputs.push(info),
        }
    }
    // A last hidden state that no input carries on can be the output itself.
    let results: Vec<&str> = outputs.iter().map(|(name, _)| *name).collect();
    let results: Vec<&str> = results.into_iter().filter(|name| states.iter().all(|(_, out)| out != name)).collect();
    let named = |names: &[&str]| names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
    let (input, output) = match (&inputs[..], &results[..]) {
        ([input], [output]) => (*input, *output),
        ([_], others) => {
            return Err(format!("the graph has the outputs {} besides states: one is expected", named(others)));
        }
        (others, _) => {
            let names: Vec<&str> = others.iter().map(|info| info.name()).collect();
            return Err(format!("the graph has the inputs {} besides states: one is expected", named(&names)));
        }
    };
    if view::element(input) != Some(DataType::Float as i32) {
        return Err(format!("input \"{}\" isn't float32", input.name()));
    }
    Ok(Ends { input: input.name().to_owned(), output: output.to_owned(), states, lengths })
}

/// Whether an input has a whole number for each sequence.
fn is_lengths(info: &ValueInfoProto) -> bool {
    let whole = [DataType::Int32, DataType::Int64].map(|kind| Some(kind as i32));
    whole.contains(&view::element(info)) && view::dims(info).is_some_and(|dims| dims.len() == 1)
}

/// Names that an output is made of.
pub(super) fn needed<'a>(graph: &'a GraphProto, output: &'a str) -> BTreeSet<&'a str> {
    let mut needed = BTreeSet::from([output]);
    // Nodes are in the order in which they run.
    for node in graph.node.iter().rev() {
        if node.output.iter().any(|name| needed.contains(name.as_str())) {
            needed.extend(node.input.iter().map(String::as_str).filter(|name| !name.is_empty()));
        }
    }
    needed
}
