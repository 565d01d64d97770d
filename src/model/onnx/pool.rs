//! What a graph makes of the outputs of its top recurrent layer over a sequence: the state after its last step, or the
//! mean of its steps. Must not live here: the recurrent layers themselves (`export`).

use super::export::state;
use super::graph::{Graph, integer};
use crate::network::Pool;

/// A recurrent layer in a graph.
pub(super) struct Ran {
    /// Name of its output [T, B, width]; zero beyond the length of a sequence.
    pub(super) output: String,
    /// Name of its hidden state after the last step of each sequence, in all its directions [B, width].
    pub(super) last: String,
    /// Its width.
    pub(super) width: usize,
}

/// Name of what follows the recurrent layers: [T, B, width] where nothing is pooled, else [B, width].
///
/// A mean is the sum in the order of time over the number of steps, and both are carried on as a pair of states: so
/// many runs of one step give the bits of one run of many steps. `carried`: whether they are.
pub(super) fn pool(graph: &mut Graph, pool: Pool, top: &Ran, carried: bool) -> String {
    match pool {
        Pool::None => top.output.clone(),
        Pool::Last => top.last.clone(),
        Pool::Mean => mean(graph, top, carried),
    }
}

fn mean(graph: &mut Graph, top: &Ran, carried: bool) -> String {
    let [first_axis, second_axis] = [graph.axis(0), graph.axis(1)];
    let float = integer("to", 1);
    let counts = graph.node("Cast", &["lengths"], "pool/lengths", vec![float]);
    let mut count = "pool/steps".to_owned();
    graph.node("Unsqueeze", &[&counts, &second_axis], &count, vec![]);
    let mut outputs = top.output.clone();
    if carried {
        state(graph, "pool_sum", top.width);
        state(graph, "pool_count", 1);
        let before = graph.node("Unsqueeze", &["pool_sum", &first_axis], "pool/before", vec![]);
        outputs = graph.node("Concat", &[&before, &outputs], "pool/all", vec![integer("axis", 0)]);
        count = graph.node("Add", &["pool_count", &count], "pool_count_out", vec![]);
    }
    // Sums in the order of time, whatever the number of steps.
    let sums = graph.node("CumSum", &[&outputs, &first_axis], "pool/sums", vec![]);
    let end = graph.integers("pool/end", &[-1]);
    let last = graph.node("Gather", &[&sums, &end], "pool/last", vec![integer("axis", 0)]);
    let sum = graph.node("Squeeze", &[&last, &first_axis], "pool_sum_out", vec![]);
    graph.node("Div", &[&sum, &count], "pool/mean", vec![])
}
