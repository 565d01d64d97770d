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
pub(super) fn pool(graph: &mut Graph, pool: Pool, prefix: &str, top: &Ran, carried: bool) -> String {
    match pool {
        Pool::None => top.output.clone(),
        Pool::Last => top.last.clone(),
        Pool::Mean => mean(graph, prefix, top, carried),
    }
}

fn mean(graph: &mut Graph, prefix: &str, top: &Ran, carried: bool) -> String {
    let own = |name: &str| format!("{prefix}{name}");
    let [first_axis, second_axis] = [graph.axis(0), graph.axis(1)];
    let float = integer("to", 1);
    let counts = graph.node("Cast", &["lengths"], &own("pool/lengths"), vec![float]);
    let mut count = own("pool/steps");
    graph.node("Unsqueeze", &[&counts, &second_axis], &count, vec![]);
    let mut outputs = top.output.clone();
    if carried {
        let (sum, steps) = (own("pool_sum"), own("pool_count"));
        state(graph, &sum, top.width);
        state(graph, &steps, 1);
        let before = graph.node("Unsqueeze", &[&sum, &first_axis], &own("pool/before"), vec![]);
        outputs = graph.node("Concat", &[&before, &outputs], &own("pool/all"), vec![integer("axis", 0)]);
        count = graph.node("Add", &[&steps, &count], &own("pool_count_out"), vec![]);
    }
    // Sums in the order of time, whatever the number of steps.
    let sums = graph.node("CumSum", &[&outputs, &first_axis], &own("pool/sums"), vec![]);
    let end = graph.integers(&own("pool/end"), &[-1]);
    let last = graph.node("Gather", &[&sums, &end], &own("pool/last"), vec![integer("axis", 0)]);
    let sum = graph.node("Squeeze", &[&last, &first_axis], &own("pool_sum_out"), vec![]);
    graph.node("Div", &[&sum, &count], &own("pool/mean"), vec![])
}
