//! Where the batch is in each tensor of a graph, as far as the file tells: declared axes of the inputs that a run
//! decides, and whatever has the same name. Must not live here: what operators do with it (`operators`).

use std::collections::{BTreeMap, BTreeSet};

use super::proto::{GraphProto, ValueInfoProto};
use super::view::{Dim, dims, subgraphs};
use crate::network::{Axis, TensorSpec};

/// Whether an operator's axes are the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// They are, or it is among them.
    Batch,
    /// They are others.
    Elsewhere,
    /// The file doesn't tell.
    Unknown,
}

/// Rank of each tensor and, where it is known, which axis is the batch.
pub(super) struct BatchAxes {
    tensors: BTreeMap<String, (usize, Option<usize>)>,
    /// Whether the batch axis has a name in the file: its shapes then tell where there is none.
    named: bool,
}

impl BatchAxes {
    pub(super) fn new(graph: &GraphProto, inputs: &[TensorSpec]) -> Self {
        let mut symbols: BTreeSet<String> = BTreeSet::new();
        let mut tensors = BTreeMap::new();
        for info in &graph.input {
            let Some(spec) = inputs.iter().find(|spec| spec.name == info.name()) else { continue };
            let at = spec.shape.iter().position(|axis| *axis == Axis::Batch);
            tensors.insert(info.name().to_owned(), (spec.shape.len(), at));
            if let Some(Dim::Named(symbol)) = at.and_then(|at| dims(info)?.get(at).cloned()) {
                symbols.insert(symbol);
            }
        }
        if inputs.is_empty() {
            symbols.extend(["batch", "batch_size", "N", "B", "b", "n"].map(str::to_owned));
        }
        let mut axes = BatchAxes { tensors, named: !inputs.is_empty() && !symbols.is_empty() };
        axes.graph(graph, &symbols);
        axes
    }

    fn graph(&mut self, graph: &GraphProto, symbols: &BTreeSet<String>) {
        for info in graph.input.iter().chain(&graph.output).chain(&graph.value_info) {
            self.declared(info, symbols);
        }
        for tensor in &graph.initializer {
            self.tensors.entry(tensor.name().to_owned()).or_insert((tensor.dims.len(), None));
        }
        for body in graph.node.iter().flat_map(subgraphs) {
            self.graph(body, symbols);
        }
    }

    fn declared(&mut self, info: &ValueInfoProto, symbols: &BTreeSet<String>) {
        let Some(dims) = dims(info) else { return };
        let at = dims.iter().position(|dim| matches!(dim, Dim::Named(symbol) if symbols.contains(symbol)));
        // Where the batch has a name, a shape of sizes alone has no batch. An axis of another name may hold a product.
        let complete = dims.iter().all(|dim| matches!(dim, Dim::Fixed(_)));
        if at.is_some() || complete && self.named {
            self.tensors.entry(info.name().to_owned()).or_insert((dims.len(), at));
        }
    }

    /// Whether `axes` of a tensor are its batch. Negative ones count from the end.
    pub(super) fn place(&self, tensor: &str, axes: &[i64]) -> Place {
        match self.tensors.get(tensor) {
            Some((rank, Some(batch))) => {
                let at = |axis: &i64| if *axis < 0 { *axis + *rank as i64 } else { *axis };
                if axes.iter().any(|axis| at(axis) == *batch as i64) { Place::Batch } else { Place::Elsewhere }
            }
            Some((_, None)) => Place::Elsewhere,
            // The last axis holds the numbers of a row in all but few graphs; runs prove it.
            None if axes.iter().all(|axis| *axis == -1) => Place::Elsewhere,
            None => Place::Unknown,
        }
    }

    /// Whether the batch is at `axis` or after it.
    pub(super) fn from(&self, tensor: &str, axis: i64) -> Place {
        match self.tensors.get(tensor) {
            Some((rank, Some(_))) => {
                let first = if axis < 0 { axis + *rank as i64 } else { axis };
                self.place(tensor, &(first..*rank as i64).collect::<Vec<_>>())
            }
            _ => self.place(tensor, &[axis]),
        }
    }
}
