//! What a file of others may ask for: found in its messages, before anything is made of them.
//!
//! Lives here: counts, depths, sizes of tensors, functions that call each other, operators that make large tensors of
//! a few constants. Must not live here: whether a graph is right (ONNX Runtime says it), external data (`inline`).

use std::collections::BTreeMap;

use super::file::MAX_BYTES;
use super::proto::{GraphProto, ModelProto, NodeProto, TensorProto};
use super::values;
use super::view::{self, attribute, input, integers, operator, output, subgraphs};
use crate::{Error, Result};

/// Nodes of a model, those of its functions counted as often as they are called.
const MOST_NODES: u64 = 100_000;
/// Graphs within graphs: each level costs every pass several times as much.
const DEEPEST: usize = 8;
/// Numbers of a tensor that a graph makes of constants: 2 GiB of float32.
const MOST_NUMBERS: u64 = 1 << 29;
/// Constants that shapes are computed of have few numbers.
const FEW: usize = 64;

/// Refuses a model that would take more memory or time than a file of its size may.
///
/// # Errors
/// What is too much, and where.
pub fn check(model: &ModelProto) -> Result<()> {
    let Some(graph) = &model.graph else { return Ok(()) };
    let mut bounds = Bounds { model, functions: BTreeMap::new() };
    let mut nodes = bounds.nodes(&graph.node, 0)?;
    for function in &model.functions {
        nodes = nodes.saturating_add(bounds.nodes(&function.node, 0)?);
        function.node.iter().try_for_each(node_tensors)?;
    }
    if nodes > MOST_NODES {
        return Err(Error::refused(format!(
            "the graph has {nodes} nodes, counted as often as functions are called: at most {MOST_NODES} are read"
        )));
    }
    tensors(graph)?;
    Constants::default().graph(graph)
}

/// Counts of nodes.
struct Bounds<'a> {
    model: &'a ModelProto,
    /// Nodes of a call; `None`: they are being counted.
    functions: BTreeMap<(&'a str, &'a str), Option<u64>>,
}

impl<'a> Bounds<'a> {
    fn nodes(&mut self, nodes: &'a [NodeProto], depth: usize) -> Result<u64> {
        let mut all = nodes.len() as u64;
        for node in nodes {
            all = all.saturating_add(self.call(node)?);
            for inner in subgraphs(node) {
                if depth >= DEEPEST {
                    return Err(Error::refused(format!(
                        "the graph's node \"{}\" ({}): graphs are nested more than {DEEPEST} deep",
                        view::name(node),
                        operator(node)
                    )));
                }
                all = all.saturating_add(self.nodes(&inner.node, depth + 1)?);
            }
        }
        Ok(all)
    }

    fn call(&mut self, node: &'a NodeProto) -> Result<u64> {
        let named = |(domain, name): (&str, &str)| domain == node.domain() && name == node.op_type();
        let model = self.model;
        let Some(function) = model.functions.iter().find(|of| named((of.domain(), of.name()))) else { return Ok(0) };
        let key = (function.domain(), function.name());
        match self.functions.get(&key) {
            Some(Some(known)) => return Ok(*known),
            // Functions may not call themselves. A chain of calls is as deep as they are many.
            Some(None) => {
                return Err(Error::refused(format!("the function \"{}\" of the file calls itself", function.name())));
            }
            None if self.functions.values().filter(|known| known.is_none()).count() > DEEPEST * DEEPEST => {
                let most = DEEPEST * DEEPEST;
                return Err(Error::refused(format!("functions of the file call each other more than {most} deep")));
            }
            None => {}
        }
        self.functions.insert(key, None);
        let count = self.nodes(&function.node, 0)?;
        self.functions.insert(key, Some(count));
        Ok(count)
    }
}

fn tensors(graph: &GraphProto) -> Result<()> {
    graph.initializer.iter().try_for_each(tensor)?;
    for sparse in &graph.sparse_initializer {
        sparse.values.iter().chain(&sparse.indices).try_for_each(tensor)?;
        // ONNX Runtime makes a whole tensor of it.
        numbers(&sparse.dims).filter(|count| *count <= MOST_NUMBERS).ok_or_else(|| {
            let name = sparse.values.as_ref().map_or("", TensorProto::name);
            Error::refused(format!("the sparse tensor \"{name}\" has the sizes {:?}: more than 2 GiB", sparse.dims))
        })?;
    }
    graph.node.iter().try_for_each(node_tensors)
}

fn node_tensors(node: &NodeProto) -> Result<()> {
    for attribute in &node.attribute {
        attribute.t.iter().chain(&attribute.tensors).try_for_each(tensor)?;
    }
    subgraphs(node).try_for_each(tensors)
}

/// A tensor whose numbers aren't as many as its sizes say is refused: room is made for the sizes.
fn tensor(tensor: &TensorProto) -> Result<()> {
    let refused = |what: String| Err(Error::refused(format!("the tensor \"{}\" {what}", tensor.name())));
    let Some(count) = numbers(&tensor.dims) else { return refused(format!("has the sizes {:?}", tensor.dims)) };
    let width = values::kind(tensor).and_then(values::width);
    if !tensor.external_data.is_empty() {
        return Ok(());
    }
    if let (Some(raw), Some(width)) = (&tensor.raw_data, width) {
        let needed = count.checked_mul(width as u64);
        if needed != Some(raw.len() as u64) {
            return refused(format!("has {} bytes, its sizes {:?} need others", raw.len(), tensor.dims));
        }
    } else if let (None, Some(_)) = (&tensor.raw_data, width) {
        let listed = [
            tensor.float_data.len(),
            tensor.int32_data.len(),
            tensor.int64_data.len(),
            tensor.double_data.len(),
            tensor.uint64_data.len(),
        ];
        if count > listed.iter().sum::<usize>() as u64 {
            return refused(format!("has fewer numbers than its sizes {:?}", tensor.dims));
        }
    } else if count > MAX_BYTES {
        return refused(format!("has the sizes {:?}: more than 2 GiB", tensor.dims));
    }
    Ok(())
}

/// How many numbers sizes make; `None`: a size below zero, or too many.
fn numbers(dims: &[i64]) -> Option<u64> {
    dims.iter().try_fold(1_u64, |all, size| all.checked_mul(u64::try_from(*size).ok()?))
}

/// Small constants and what is computed of them, and the sizes of what they make: enough to see a tensor that a graph
/// makes of nothing.
#[derive(Default, Clone)]
struct Constants<'a> {
    values: BTreeMap<&'a str, Vec<i64>>,
    sizes: BTreeMap<&'a str, Vec<i64>>,
}

impl<'a> Constants<'a> {
    fn graph(mut self, graph: &'a GraphProto) -> Result<()> {
        graph.initializer.iter().for_each(|tensor| self.constant(tensor.name(), tensor));
        for node in &graph.node {
            self.node(node)?;
            for inner in subgraphs(node) {
                self.clone().graph(inner)?;
            }
        }
        Ok(())
    }

    fn constant(&mut self, name: &'a str, tensor: &TensorProto) {
        self.sizes.insert(name, tensor.dims.clone());
        if numbers(&tensor.dims).is_some_and(|count| count <= FEW as u64)
            && let Some(found) = values::to_integers(tensor)
        {
            self.values.insert(name, found);
        }
    }

    fn of(&self, node: &NodeProto, index: usize) -> Option<&Vec<i64>> {
        self.values.get(input(node, index)?)
    }

    fn node(&mut self, node: &'a NodeProto) -> Result<()> {
        let Some(name) = output(node, 0) else { return Ok(()) };
        if node.op_type() == "Constant" {
            match attribute(node, "value").and_then(|value| value.t.as_ref()) {
                Some(tensor) => self.constant(name, tensor),
                None => {
                    let one = view::integer(node, "value_int").map(|value| vec![value]);
                    let all = one.or_else(|| integers(node, "value_ints").map(<[i64]>::to_vec));
                    all.into_iter().filter(|all| all.len() <= FEW).for_each(|all| drop(self.values.insert(name, all)));
                }
            }
            return Ok(());
        }
        if let Some(sizes) = self.made(node) {
            if numbers(&sizes).is_none_or(|count| count > MOST_NUMBERS) {
                return Err(Error::refused(format!(
                    "the graph's node \"{}\" ({}) makes a tensor of the sizes {sizes:?}: more than 2 GiB",
                    view::name(node),
                    operator(node)
                )));
            }
            self.sizes.insert(name, sizes);
        }
        if let Some(found) = self.computed(node).filter(|found| found.len() <= FEW) {
            self.values.insert(name, found);
        }
        Ok(())
    }

    /// The sizes of what an operator makes of constants. Where a size isn't known, it counts as 1.
    fn made(&self, node: &NodeProto) -> Option<Vec<i64>> {
        let own = || input(node, 0).and_then(|name| self.sizes.get(name)).cloned();
        match node.op_type() {
            "ConstantOfShape" => self.of(node, 0).cloned(),
            "Expand" => self.of(node, 1).cloned(),
            "RandomNormal" | "RandomUniform" => integers(node, "shape").map(<[i64]>::to_vec),
            "Tile" => {
                let repeats = self.of(node, 1)?;
                let own = own().filter(|own| own.len() == repeats.len());
                let own = own.unwrap_or_else(|| vec![1; repeats.len()]);
                Some(own.iter().zip(repeats).map(|(size, times)| size.saturating_mul(*times)).collect())
            }
            "Range" => match (self.of(node, 0)?.first(), self.of(node, 1)?.first(), self.of(node, 2)?.first()) {
                (Some(from), Some(to), Some(step)) if *step != 0 => {
                    let count = (i128::from(*to) - i128::from(*from)) / i128::from(*step) + 1;
                    Some(vec![i64::try_from(count.max(0)).unwrap_or(i64::MAX)])
                }
                _ => None,
            },
            "OneHot" => {
                let depth = self.of(node, 1)?.first().copied()?;
                Some(own().unwrap_or_default().into_iter().chain([depth.max(0)]).collect())
            }
            "Pad" => {
                let pads = self.of(node, 1).map(Vec::as_slice).or_else(|| integers(node, "pads"))?;
                let (before, after) = pads.split_at(pads.len() / 2);
                let own = own().filter(|own| own.len() == before.len());
                let own = own.unwrap_or_else(|| vec![1; before.len()]);
                let more = before.iter().zip(after).map(|(before, after)| before.saturating_add(*after));
                Some(own.iter().zip(more).map(|(size, more)| size.saturating_add(more).max(0)).collect())
            }
            "Resize" => self.of(node, 3).cloned(),
            _ => None,
        }
    }

    /// What an operator computes of constants.
    fn computed(&self, node: &NodeProto) -> Option<Vec<i64>> {
        let both = |by: fn(i64, i64) -> Option<i64>| {
            let (a, b) = (self.of(node, 0)?, self.of(node, 1)?);
            let at = |all: &[i64], n: usize| all.get(if all.len() == 1 { 0 } else { n }).copied();
            (0..a.len().max(b.len())).map(|n| by(at(a, n)?, at(b, n)?)).collect()
        };
        match node.op_type() {
            "Identity" | "Cast" | "Reshape" | "Unsqueeze" | "Squeeze" | "Flatten" => self.of(node, 0).cloned(),
            "Shape" => self.sizes.get(input(node, 0)?).cloned(),
            "Size" => numbers(self.sizes.get(input(node, 0)?)?).map(|count| vec![count as i64]),
            "Add" => both(|a, b| Some(a.saturating_add(b))),
            "Sub" => both(|a, b| Some(a.saturating_sub(b))),
            "Mul" => both(|a, b| Some(a.saturating_mul(b))),
            "Div" => both(i64::checked_div),
            "Pow" => both(|a, b| Some(a.saturating_pow(u32::try_from(b).ok()?))),
            "Max" => both(|a, b| Some(a.max(b))),
            "Concat" => {
                let parts = (0..node.input.len().min(FEW)).map(|index| self.of(node, index));
                Some(parts.collect::<Option<Vec<_>>>()?.into_iter().flatten().copied().collect())
            }
            "Expand" | "Tile" | "ConstantOfShape" => {
                let count = numbers(&self.made(node)?).filter(|count| *count <= FEW as u64)?;
                let value = match node.op_type() {
                    "ConstantOfShape" => {
                        let value = attribute(node, "value").and_then(|value| value.t.as_ref());
                        value.map_or(Some(0), view::one_integer)?
                    }
                    _ => match self.of(node, 0)?.as_slice() {
                        [one] => *one,
                        _ => return None,
                    },
                };
                Some(vec![value; count as usize])
            }
            "ReduceProd" => Some(vec![self.of(node, 0)?.iter().fold(1, |all: i64, value| all.saturating_mul(*value))]),
            "ReduceSum" => Some(vec![self.of(node, 0)?.iter().fold(0, |all: i64, value| all.saturating_add(*value))]),
            "Gather" => {
                let (all, picks) = (self.of(node, 0)?, self.of(node, 1)?);
                let at = |pick: i64| if pick < 0 { pick + all.len() as i64 } else { pick };
                picks.iter().map(|pick| all.get(usize::try_from(at(*pick)).ok()?).copied()).collect()
            }
            _ => None,
        }
    }
}

#[cfg(test)]
#[path = "bounds_tests.rs"]
mod tests;
