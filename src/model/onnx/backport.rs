//! Operators of an opset that the library doesn't take yet, under the name by which it has them already. Must not live
//! here: what it takes (`executor::limits`).

use super::proto::{GraphProto, ModelProto, OperatorSetIdProto};
use super::view::{opset, subgraphs};
use crate::model::executor::limits::Limits;

/// The opset that brought [`NEW`]; what later ones bring isn't known.
const OPSET: i64 = 27;
/// Operators of that opset that ONNX Runtime had before as `com.microsoft`'s, with the same inputs and attributes.
const NEW: [&str; 2] = ["LinearAttention", "CausalConvWithState"];
/// Operators that it changed.
const CHANGED: [&str; 1] = ["Range"];

/// Brings a file of opset 27 to one that the library takes, if all that is new in it is known by another name.
pub fn backport(model: &mut ModelProto, limits: Limits) -> Vec<String> {
    if opset(model) != OPSET || limits.opset >= OPSET || !model.functions.is_empty() {
        return Vec::new();
    }
    let Some(graph) = &mut model.graph else { return Vec::new() };
    if uses(graph, &CHANGED) {
        return Vec::new();
    }
    let renamed = uses(graph, &NEW);
    rename(graph);
    for set in model.opset_import.iter_mut().filter(|set| matches!(set.domain(), "" | "ai.onnx")) {
        set.version = Some(limits.opset);
    }
    if renamed && !model.opset_import.iter().any(|set| set.domain() == "com.microsoft") {
        model.opset_import.push(OperatorSetIdProto { domain: Some("com.microsoft".into()), version: Some(1) });
    }
    model.ir_version = model.ir_version.map(|version| version.min(limits.ir_version));
    let names = if renamed { format!(", with {} of com.microsoft", NEW.join(" and ")) } else { String::new() };
    vec![format!("the file of opset {OPSET} is one of opset {} now{names}", limits.opset)]
}

fn uses(graph: &GraphProto, operators: &[&str]) -> bool {
    graph.node.iter().any(|node| {
        node.domain().is_empty() && operators.contains(&node.op_type())
            || subgraphs(node).any(|body| uses(body, operators))
    })
}

fn rename(graph: &mut GraphProto) {
    for node in &mut graph.node {
        if node.domain().is_empty() && NEW.contains(&node.op_type()) {
            node.domain = Some("com.microsoft".into());
        }
        node.attribute.iter_mut().filter_map(|attribute| attribute.g.as_mut()).for_each(rename);
    }
}
