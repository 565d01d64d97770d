//! An RNN that an exporter unrolled: the same recurrent weights, once for each step of a fixed number of them. Must not
//! live here: what is done about it (`model::import`).

use std::collections::BTreeMap;

use crate::model::onnx::proto::ModelProto;
use crate::model::onnx::values;
use crate::model::onnx::view::{Dim, constants, dims, input, integer};
use crate::{Error, Result};

/// A recurrence that is written out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unrolled {
    /// Steps.
    pub steps: usize,
    /// Units of the state.
    pub units: usize,
}

impl Unrolled {
    /// Why it isn't served, and what to do.
    ///
    /// # Errors
    /// Always.
    pub fn refuse<T>(&self) -> Result<T> {
        Err(Error::refused(format!(
            "the graph is an RNN of {} units that is unrolled over {} steps: it runs for no other number of steps. Export \
             it with one step (T = 1), or with PyTorch's TorchScript exporter (dynamo=False), which writes the operator \
             RNN",
            self.units, self.steps
        )))
    }
}

/// Whether the graph repeats one product with recurrent weights as often as an input has fixed steps, one after
/// the other.
pub fn unrolled(model: &ModelProto) -> Option<Unrolled> {
    let graph = model.graph.as_ref()?;
    let lengths: Vec<usize> = graph
        .input
        .iter()
        .filter_map(dims)
        .flatten()
        .filter_map(|dim| if let Dim::Fixed(size) = dim { Some(size) } else { None })
        .filter(|size| *size > 1)
        .collect();
    let constants = constants(graph);
    // Exporters copy weights for each step, so equal ones count as one.
    let mut weights: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    // How often each weight is on the way to a tensor.
    let mut depths: BTreeMap<&str, BTreeMap<usize, usize>> = BTreeMap::new();
    let mut deepest: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
    for node in &graph.node {
        let mut merged: BTreeMap<usize, usize> = BTreeMap::new();
        for depth in node.input.iter().filter_map(|name| depths.get(name.as_str())) {
            for (weight, count) in depth {
                let most = merged.entry(*weight).or_default();
                *most = (*most).max(*count);
            }
        }
        if matches!(node.op_type(), "MatMul" | "Gemm")
            && let Some(tensor) = input(node, 1).and_then(|name| constants.get(name))
            && let [rows, columns] = values::shape(tensor)[..]
        {
            let turned = integer(node, "transB") == Some(1);
            let (units, width) = if turned { (columns, rows) } else { (rows, columns) };
            if units > 1 && [1, 3, 4].iter().any(|gates| width == gates * units) {
                let count = weights.len();
                let weight = *weights.entry(values::bytes(tensor)?).or_insert(count);
                let depth = merged.entry(weight).or_default();
                *depth += 1;
                let most = deepest.entry(weight).or_insert((0, units));
                most.0 = most.0.max(*depth);
            }
        }
        for name in node.output.iter().filter(|name| !name.is_empty()) {
            depths.insert(name, merged.clone());
        }
    }
    let activated = graph.node.iter().any(|node| matches!(node.op_type(), "Tanh" | "Sigmoid" | "Relu"));
    let mixed = graph.node.iter().any(|node| matches!(node.op_type(), "Softmax" | "LayerNormalization"));
    let found = deepest.into_values().find(|(steps, _)| *steps > 2 && lengths.contains(steps))?;
    (activated && !mixed).then_some(Unrolled { steps: found.0, units: found.1 })
}
