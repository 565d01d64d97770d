//! Folding what is constant, by ONNX Runtime itself at its basic level: weights that an exporter computes in the graph,
//! and `If` on constants. Must not live here: which inputs are constants (`constants`).
//!
//! It has to come before any width is fixed: shapes are inferred through all branches of an `If`, also through one
//! that is never taken and doesn't fit.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use ort::session::builder::GraphOptimizationLevel;
use prost::Message;

use super::proto::{GraphProto, ModelProto};
use super::view::subgraphs;
use crate::Result;
use crate::error::Context;
use crate::model::executor::library;

/// Replaces the model by what ONNX Runtime's basic level makes of it. The result is equal but for last bits: a product
/// with a sum becomes one operator.
///
/// # Errors
/// Refused if ONNX Runtime can't load the model.
pub fn fold(model: &mut ModelProto) -> Result<Vec<String>> {
    let library = library::library()?;
    let folded = Temporary::new();
    let build = || -> ort::Result<ort::session::Session> {
        ort::session::Session::builder(&library.environment)?
            .with_intra_threads(1)?
            .with_inter_threads(1)?
            .with_optimization_level(GraphOptimizationLevel::Level1)?
            .with_optimized_model_path(&folded.0)?
            .with_log_level(ort::logging::LogLevel::Fatal)?
            .commit_from_memory(&model.encode_to_vec())
    };
    build().or_refused(|| format!("load the model into ONNX Runtime {}", library.version))?;
    let bytes = std::fs::read(&folded.0).or_failed(|| format!("read {}", folded.0.display()))?;
    let mut after = super::import::model(&bytes)?;
    // It names every set of operators that it knows; a library that lacks one of them would refuse the file.
    let used = domains(after.graph.as_ref());
    let domain = |name: &str| if name == "ai.onnx" { String::new() } else { name.to_owned() };
    after.opset_import.retain(|set| {
        used.contains(&domain(set.domain()))
            || model.opset_import.iter().any(|known| domain(known.domain()) == domain(set.domain()))
    });
    let (before, now) = (count(model.graph.as_ref()), count(after.graph.as_ref()));
    *model = after;
    if before == now {
        return Ok(Vec::new());
    }
    let ifs = if before.1 > now.1 { format!(", {} If of {}", before.1 - now.1, before.1) } else { String::new() };
    Ok(vec![format!("constants are folded: {} operators instead of {}{ifs}", now.0, before.0)])
}

/// Nodes that aren't constants and nodes `If`, branches included.
fn count(graph: Option<&GraphProto>) -> (usize, usize) {
    let Some(graph) = graph else { return (0, 0) };
    let mut sum = (0, 0);
    for node in &graph.node {
        sum.0 += usize::from(node.op_type() != "Constant");
        sum.1 += usize::from(node.op_type() == "If");
        for inner in subgraphs(node).map(|graph| count(Some(graph))) {
            sum = (sum.0 + inner.0, sum.1 + inner.1);
        }
    }
    sum
}

/// Domains of the operators that are used.
fn domains(graph: Option<&GraphProto>) -> Vec<String> {
    let mut names = Vec::new();
    for node in graph.iter().flat_map(|graph| &graph.node) {
        names.push(if node.domain() == "ai.onnx" { String::new() } else { node.domain().to_owned() });
        subgraphs(node).for_each(|graph| names.extend(domains(Some(graph))));
    }
    names.sort();
    names.dedup();
    names
}

/// A file that is deleted when it is no longer needed.
struct Temporary(PathBuf);

impl Temporary {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("kolk-{}-{}.onnx", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Temporary(std::env::temp_dir().join(name))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Nothing depends on it.
        let _ = std::fs::remove_file(&self.0);
    }
}
