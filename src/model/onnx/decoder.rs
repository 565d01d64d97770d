//! Segments of the outputs, decoded by position: one more step of the last recurrent layer from its state after the
//! window, for all segments of all rows at once.
//!
//! The batch of that step is [segments · B], segment by segment; its rows are as independent as those of any batch.
//! Must not live here: the layer over the window (`export`, `step`).

use super::export::{Place, vectors};
use super::graph::{Graph, integer, integers, string};
use super::patches::last_step;
use super::step::{self, attribute};
use crate::kernel::cell::Onnx;
use crate::network::{Architecture, ByName, RecurrentLayer, ids_name};

/// The state of each segment [segments, B, units].
pub(super) fn step(
    graph: &mut Graph,
    architecture: &Architecture,
    tensors: &ByName,
    layer: &RecurrentLayer,
    Place { prefix, index, inputs }: Place<'_>,
) -> String {
    let (form, units, segments) = (layer.cell.form(), layer.units, architecture.segments);
    let own = |name: &str| format!("{prefix}decoder/{name}");
    let copies = graph.integers(&own("copies"), &vec![0; segments]);
    let from = taken(graph, architecture, tensors, &copies, &Place { prefix, index, inputs });
    let is_operator = form.operator().is_some();
    // An operator takes a time of one before its batch.
    let time: &[i64] = if is_operator { &[1] } else { &[] };
    let sizes =
        |graph: &mut Graph, name: &str, width: usize| graph.integers(&own(name), &[time, &[-1, width as i64]].concat());
    let rows = sizes(graph, "input_sizes", inputs);
    let from = graph.node("Reshape", &[&from, &rows], &own("rows"), vec![]);
    let rows = sizes(graph, "state_sizes", units);
    let first_axis = graph.axis(0);
    let mut states = Vec::new();
    for letter in form.states {
        let after = format!("{prefix}{letter}_{index}_out");
        let one = graph.node("Unsqueeze", &[&after, &first_axis], &own(&format!("{letter}_one")), vec![]);
        let all = own(&format!("{letter}_all"));
        let all = graph.node("Gather", &[&one, &copies], &all, vec![integer("axis", 0)]);
        states.push(graph.node("Reshape", &[&all, &rows], &own(letter), vec![]));
    }
    let around = |word: &str| format!("{prefix}recurrent_{index}/{word}");
    let made = match &form.onnx {
        Onnx::Operator(operator) => {
            let mut attributes: Vec<_> = operator.attributes.iter().map(attribute).collect();
            attributes.push(string("direction", "forward"));
            attributes.push(integer("hidden_size", units as i64));
            let [kernel, recurrent, bias] = ["kernel", "recurrent_kernel", "bias"].map(around);
            let mut operands = vec![from.as_str(), &kernel, &recurrent, &bias, ""];
            operands.extend(states.iter().map(String::as_str));
            graph.node(operator.name, &operands, &own("sequence"), attributes)
        }
        Onnx::Body(body) => {
            let tensors = layer.cell.tensors(inputs, units, layer.has_two_biases());
            let is_tensor = |word: &str| tensors.iter().any(|tensor| tensor.name == word);
            let before = |word: &str| if is_tensor(word) { around(word) } else { own(word) };
            graph.node("MatMul", &[&from, &around("kernel")], &own("product"), vec![]);
            step::write(graph, body.before, &before);
            // Words of the step may be those of what comes before.
            let within = |word: &str| match word {
                "inputs" => own(word),
                _ if is_tensor(word) => around(word),
                _ if form.states.contains(&word) => own(word),
                _ => own(&format!("step/{word}")),
            };
            step::write(graph, body.step, &within);
            within("h'")
        }
    };
    let sizes = graph.integers(&own("output_sizes"), &[segments as i64, -1, units as i64]);
    graph.node("Reshape", &[&made, &sizes], &own("states"), vec![])
}

/// What the layer takes for each segment of each row [segments, B, inputs]: the vector of the position, then those of
/// the last row's ids.
fn taken(
    graph: &mut Graph,
    architecture: &Architecture,
    tensors: &ByName,
    copies: &str,
    Place { prefix, index, .. }: &Place<'_>,
) -> String {
    let own = |name: &str| format!("{prefix}decoder/{name}");
    let (segments, width) = (architecture.segments, architecture.decoded_width().unwrap_or_default());
    let name = format!("{prefix}position/table");
    let table = graph.floats(&name, &[segments, width], tensors.get(&name), "a vector for each segment");
    let second_axis = graph.axis(1);
    let table = graph.node("Unsqueeze", &[&table, &second_axis], &own("positions"), vec![]);
    let batch = vec![integer("start", 0), integer("end", 1)];
    let batch = graph.node("Shape", &[&format!("{prefix}h_{index}_out")], &own("batch"), batch);
    let [before, after] = [("segments", segments), ("width", width)].map(|(name, size)| (own(name), size));
    let before = graph.integers(&before.0, &[before.1 as i64]);
    let after = graph.integers(&after.0, &[after.1 as i64]);
    let shape = graph.node("Concat", &[&before, &batch, &after], &own("shape"), vec![integer("axis", 0)]);
    let mut parts = vec![graph.node("Expand", &[&table, &shape], &own("positions_of_rows"), vec![])];
    for at in 0..architecture.embeddings.len() {
        let ids = ids_name(at);
        let ids = last_step(graph, &ids, &ids);
        let vectors = vectors(graph, architecture, tensors, prefix, at, &ids);
        let name = own(&format!("vectors_{at}"));
        parts.push(graph.node("Gather", &[&vectors, copies], &name, vec![integer("axis", 0)]));
    }
    match &parts[..] {
        [one] => one.clone(),
        _ => {
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            graph.node("Concat", &parts, &own("inputs_of_rows"), vec![integer("axis", 2)])
        }
    }
}

/// Outputs of segments [segments, B, quantiles · rest] as [B, quantiles · segments · rest].
pub(super) fn in_order(graph: &mut Graph, architecture: &Architecture, prefix: &str, from: &str) -> String {
    let own = |name: &str| format!("{prefix}decoder/{name}");
    let (segments, quantiles) = (architecture.segments, architecture.quantiles.len());
    let (mut from, mut order) = (from.to_owned(), vec![1, 0, 2]);
    if quantiles > 1 {
        let sizes = [segments, 0, quantiles, architecture.output_width() / quantiles].map(|size| size as i64);
        let sizes = graph.integers(&own("quantile_sizes"), &sizes);
        from = graph.node("Reshape", &[&from, &sizes], &own("by_quantile"), vec![]);
        order = vec![1, 2, 0, 3];
    }
    let turned = graph.node("Transpose", &[&from], &own("turned"), vec![integers("perm", &order)]);
    let sizes = graph.integers(&own("sizes"), &[-1, architecture.outputs as i64]);
    graph.node("Reshape", &[&turned, &sizes], &own("outputs"), vec![])
}
