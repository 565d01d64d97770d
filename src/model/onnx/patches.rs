//! Several steps of a window as one input of the layers, and what is subtracted from them before. Must not live here:
//! the layers (`export`).

use super::export::select;
use super::graph::{Graph, integer, integers};
use crate::network::Architecture;

/// The inputs of the layers, of which some are what a step differs by from the last one.
pub(super) fn centred(graph: &mut Graph, architecture: &Architecture, z: &str) -> String {
    let last = last_step(graph, "x", "x");
    let mut level = graph.node("Sub", &["x", &last], "centred/difference", vec![]);
    if architecture.scaling {
        level = graph.node("Div", &[&level, "scaling/sd"], "centred/z", vec![]);
    }
    let both = graph.node("Concat", &[z, &level], "centred/both", vec![integer("axis", 2)]);
    let all = architecture.features;
    let place = |index: &usize| if architecture.centred.contains(index) { all + index } else { *index };
    let chosen: Vec<usize> = architecture.network.iter().map(place).collect();
    select(graph, &both, &chosen, 2 * all, "network")
}

/// [T, B, n] as [T / patch, B, patch · n].
pub(super) fn folded(graph: &mut Graph, architecture: &Architecture, from: &str) -> String {
    let turn = || vec![integers("perm", &[1, 0, 2])];
    let turned = graph.node("Transpose", &[from], "patch/turned", turn());
    let width = architecture.patch * architecture.network.len();
    let sizes = graph.integers("patch/sizes", &[0, -1, width as i64]);
    let patches = graph.node("Reshape", &[&turned, &sizes], "patch/patches", vec![]);
    graph.node("Transpose", &[&patches], "patch/inputs", turn())
}

/// The last step of a window, as a time of one.
pub(super) fn last_step(graph: &mut Graph, from: &str, name: &str) -> String {
    let output = format!("patch/last_{name}");
    if graph.has(&output) {
        return output;
    }
    let end = match graph.0.initializer.iter().any(|tensor| tensor.name() == "patch/end") {
        true => "patch/end".to_owned(),
        false => graph.integers("patch/end", &[-1]),
    };
    graph.node("Gather", &[from, &end], &output, vec![integer("axis", 0)])
}
