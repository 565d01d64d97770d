//! The way from a graph's input to its output, node by node: which of them are layers, which scale, which only move
//! numbers. Everything else is refused by its name. Must not live here: the numbers of a layer (`onnx_weights`),
//! running the graph (`onnx_proof`).
//!
//! What a node does to the axes isn't followed: which steps count, and of which direction, is what the runs show. Where
//! the graph takes the length of each sequence, what it makes of lengths and sizes alone are masks and counts.

use std::collections::{BTreeMap, BTreeSet};

use super::onnx_directions::{Direction, Half};
use super::onnx_ends::{Ends, ends, needed};
use super::onnx_scaling::{Scale, narrow};
use super::{End, Found};
use crate::kernel::Activation;
use crate::model::onnx::proto::{GraphProto, ModelProto, NodeProto, TensorProto, tensor_proto::DataType};
use crate::model::onnx::values;
use crate::model::onnx::view::{self, integer};
use crate::network::{DenseLayer, Layer};

/// Layers of a graph, and what it takes and gives.
pub(super) struct Read {
    pub(super) found: Found,
    pub(super) ends: Ends,
    /// Whether the graph sums steps up or takes their mean.
    pub(super) means: bool,
}

/// Reads a graph whose weights are constants.
pub(super) fn layers(model: &ModelProto) -> Result<Read, String> {
    let graph = model.graph.as_ref().ok_or("the file holds no graph")?;
    let ends = ends(graph)?;
    let mut walk = Walk {
        constants: view::constants(graph),
        path: BTreeMap::from([(ends.input.as_str(), Spot::default())]),
        sides: ends.lengths.iter().map(String::as_str).collect(),
        place: 0,
        found: Found::default(),
        input: None,
        shift: None,
        open: None,
        pooled: Pooled::No,
        ended: None,
    };
    let needed = needed(graph, &ends.output);
    let mut wrong = Vec::new();
    for node in graph.node.iter().filter(|node| node.output.iter().any(|name| needed.contains(name.as_str()))) {
        if let Err(message) = walk.node(node) {
            wrong.push(format!("the node \"{}\" ({}) {message}", view::name(node), view::operator(node)));
            // What follows is read as if it had been a layer, so that all faults are shown at once.
            walk.pass(node);
        }
    }
    if wrong.is_empty() {
        match walk.path.get(ends.output.as_str()) {
            Some(spot) if spot.place == walk.place => wrong.extend(walk.both_ways(*spot).err()),
            _ => wrong.push(format!("output \"{}\" isn't what the last layer gives", ends.output)),
        }
    }
    if !wrong.is_empty() {
        return Err(format!(
            "weights of graphs are read where they are one row of RNN, LSTM, GRU, dense layers and layer \
             normalisations:\n  {}",
            wrong.join("\n  ")
        ));
    }
    // Probabilities have no scaling behind them.
    walk.settle(walk.found.end == End::Numbers)?;
    let Walk { mut found, input, pooled, .. } = walk;
    found.inputs = input.map(|(mean, sd)| (narrow(&mean), narrow(&sd)));
    whole(graph, &ends.input, &mut found)?;
    Ok(Read { found, ends, means: pooled != Pooled::No })
}

/// Refuses what our networks don't end or begin with.
fn whole(graph: &GraphProto, input: &str, found: &mut Found) -> Result<(), String> {
    let Some(first) = found.layers.first() else { return Err("the graph has no layer".into()) };
    if !found.layers.iter().any(|layer| matches!(layer.layer, Layer::Recurrent(_))) {
        return Err("the graph has no recurrent layer".into());
    }
    if let Some(last) = found.layers.last().filter(|last| !is_linear(&last.layer)) {
        return Err(format!(
            "the graph ends in \"{}\", {}: our networks end in a dense layer without activation, or in the softmax of one",
            last.name,
            last.layer.in_words()
        ));
    }
    if let (End::Sigmoid, Some(last)) = (found.end, found.layers.last())
        && last.layer.units() != 1
    {
        return Err(format!(
            "the graph ends in {} probabilities of their own (Sigmoid), of which several can be near 1: ours are of \
             classes that exclude each other (Softmax, or Sigmoid of one number for two classes)",
            last.layer.units()
        ));
    }
    let info = graph.input.iter().find(|info| info.name() == input);
    let width = info.and_then(view::dims).and_then(|dims| dims.last().cloned());
    if let Some(view::Dim::Fixed(width)) = width
        && width != first.inputs
    {
        return Err(format!("input \"{input}\" has {width} numbers a step, the first layer takes {}", first.inputs));
    }
    if let Some((mean, sd)) = &mut found.inputs {
        for values in [mean, sd] {
            match values.len() {
                1 => *values = vec![values[0]; first.inputs],
                n if n == first.inputs => {}
                n => return Err(format!("{n} inputs are scaled, the first layer takes {}", first.inputs)),
            }
        }
    }
    Ok(())
}

/// Where on the way a tensor is.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spot {
    /// After how many changes of the numbers.
    pub(super) place: usize,
    /// Of which direction of time.
    pub(super) half: Half,
    /// Whether its steps are in the other order.
    pub(super) turned: bool,
}

/// What was made of the steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pooled {
    No,
    /// Their sum, which is still divided by how many they are.
    Sum,
    Mean,
}

pub(super) struct Walk<'a> {
    pub(super) constants: BTreeMap<&'a str, &'a TensorProto>,
    /// Tensors of the way.
    path: BTreeMap<&'a str, Spot>,
    /// Tensors that follow from lengths, sizes and constants.
    sides: BTreeSet<&'a str>,
    place: usize,
    pub(super) found: Found,
    /// Mean and standard deviation of the inputs.
    pub(super) input: Option<Scale>,
    /// What is added to, and multiplied with, what the last dense layer gives.
    pub(super) shift: Option<Scale>,
    /// The one direction of the last layer that was found so far.
    pub(super) open: Option<Direction>,
    pooled: Pooled,
    /// The node that made probabilities.
    ended: Option<String>,
}

impl<'a> Walk<'a> {
    fn node(&mut self, node: &'a NodeProto) -> Result<(), String> {
        let on_path: Vec<(usize, Spot)> =
            node.input.iter().enumerate().filter_map(|(at, name)| Some((at, *self.path.get(name.as_str())?))).collect();
        if has_body(node) && (!on_path.is_empty() || self.is_within(node)) {
            return Err("isn't a cell of ours, and our networks have no other loops or branches".into());
        }
        if on_path.is_empty() || matches!(node.op_type(), "Shape" | "Size") {
            self.sides.extend(node.output.iter().map(String::as_str).filter(|name| !name.is_empty()));
            return Ok(());
        }
        let [(at, spot)] = on_path[..] else { return self.joined(node, &on_path) };
        if self.moves(node, at) {
            let moved = Spot { turned: self.turns(node, spot), ..spot };
            self.path.extend(node.output.iter().map(|name| (name.as_str(), moved)));
            return Ok(());
        }
        let is_recurrent = matches!(node.op_type(), "LSTM" | "GRU" | "RNN");
        // Both directions of a layer take what the layer before gave.
        let is_second = is_recurrent && self.open.is_some() && spot.place + 1 == self.place;
        if spot.place != self.place && !is_second {
            return Err("takes what an earlier layer gave: the layers of our networks are in one row".into());
        }
        if self.pools(node, at)? {
            self.path.extend(node.output.first().map(|name| (name.as_str(), spot)));
            return Ok(());
        }
        if let Some(end) = &self.ended {
            return Err(match self.found.end {
                End::Sigmoid => format!(
                    "follows \"{end}\" (Sigmoid), an activation that ours aren't between layers: they are linear, relu \
                     and tanh"
                ),
                _ => format!("follows \"{end}\", the probabilities of classes, in which our networks end"),
            });
        }
        if !is_second {
            self.both_ways(spot)?;
        }
        match node.op_type() {
            "LSTM" | "GRU" | "RNN" if at == 0 => {
                let half = self.recurrent(node, spot.turned, is_second)?;
                if !is_second {
                    self.place += 1;
                }
                let spot = Spot { place: self.place, half, turned: spot.turned };
                self.gives(node, spot);
                return Ok(());
            }
            "MatMul" | "Gemm" if at == 0 => self.dense(node)?,
            "LayerNormalization" if at == 0 => self.normalised(node)?,
            "Relu" => self.activation(Activation::Relu)?,
            "Tanh" => self.activation(Activation::Tanh)?,
            "Elu" | "Selu" | "Gelu" | "LeakyRelu" | "Softplus" | "Softsign" | "HardSigmoid" | "Clip" => {
                return Err("is an activation that ours aren't: they are linear, relu and tanh".into());
            }
            "ReduceMax" | "ReduceMin" | "GlobalMaxPool" | "MaxPool" => {
                return Err(
                    "takes the largest or smallest of the steps: ours take the state after the last step or the \
                            mean of the steps"
                        .into(),
                );
            }
            "Equal" | "Less" | "Greater" | "GreaterOrEqual" | "LessOrEqual" | "Not" => {
                return Err(
                    "compares numbers, as Keras' Masking does: sequences of kolk have no padding to be masked, so \
                            export the model without it"
                        .into(),
                );
            }
            "Softmax" => self.ends_in(node, End::Softmax)?,
            "LogSoftmax" => self.ends_in(node, End::LogSoftmax)?,
            "Sigmoid" => self.ends_in(node, End::Sigmoid)?,
            "Add" | "Sub" | "Mul" | "Div" => self.scaled(node, at)?,
            _ => return Err("is no layer of ours".into()),
        }
        self.pass(node);
        Ok(())
    }

    /// What several tensors of the way become: directions side by side, or states of several layers in one tensor, of
    /// which the runs show which one counts.
    fn joined(&mut self, node: &'a NodeProto, on_path: &[(usize, Spot)]) -> Result<(), String> {
        let halves: Vec<Half> = on_path.iter().map(|(_, spot)| spot.half).collect();
        let here = on_path.iter().all(|(_, spot)| spot.place == self.place);
        let is_pair = here && halves.contains(&Half::Forward) && halves.contains(&Half::Backward);
        if is_pair && node.op_type() != "Concat" {
            return Err("mixes both directions (merge_mode): ours are side by side, Keras' default `concat`".into());
        }
        if is_pair && halves != [Half::Forward, Half::Backward] {
            return Err("puts the backward direction before the forward one: ours is the other way round".into());
        }
        let half = halves.first().copied().unwrap_or_default();
        let alike =
            halves.iter().all(|other| *other == half) && on_path.iter().any(|(_, spot)| spot.place == self.place);
        if node.op_type() != "Concat" || on_path.len() != node.input.len() || !(is_pair || alike) {
            return Err("joins two ways through the graph: the layers of our networks are in one row".into());
        }
        let half = if is_pair { Half::Both } else { half };
        let turned = !is_pair && on_path.iter().all(|(_, spot)| spot.turned);
        let spot = Spot { place: self.place, half, turned };
        self.path.extend(node.output.first().map(|name| (name.as_str(), spot)));
        Ok(())
    }

    /// Whether a node only moves numbers.
    fn moves(&self, node: &NodeProto, at: usize) -> bool {
        let is_side = |other: usize| node.input.get(other).is_some_and(|name| self.sides.contains(name.as_str()));
        match node.op_type() {
            "Identity" | "Dropout" | "Transpose" | "Squeeze" | "Unsqueeze" | "Reshape" | "Flatten" | "Slice"
            | "Gather" | "GatherElements" | "GatherND" | "Split" | "ReverseSequence" => at == 0,
            "Cast" => integer(node, "to") == Some(DataType::Float as i64),
            // A mask, which the runs show to be one.
            "Mul" => !self.found.layers.is_empty() && is_side(1 - at.min(1)),
            "Where" => at > 0 && !self.found.layers.is_empty() && is_side(0),
            _ => false,
        }
    }

    /// Whether the steps of what a node gives are in the other order than those of time.
    fn turns(&self, node: &NodeProto, spot: Spot) -> bool {
        let backwards = |name: &String| {
            let steps = self.constants.get(name.as_str()).and_then(|tensor| values::to_integers(tensor));
            steps.is_some_and(|steps| steps.contains(&-1))
        };
        let turns = match node.op_type() {
            "ReverseSequence" => true,
            "Slice" => node.input.get(4).is_some_and(backwards),
            _ => false,
        };
        spot.turned != turns
    }

    /// Whether a node is part of a mean of the steps.
    fn pools(&mut self, node: &NodeProto, at: usize) -> Result<bool, String> {
        let pooled = match (node.op_type(), self.pooled) {
            ("ReduceMean" | "GlobalAveragePool", Pooled::No) if at == 0 => Pooled::Mean,
            ("ReduceSum", Pooled::No) if at == 0 => Pooled::Sum,
            ("Div", Pooled::Sum) if at == 0 => Pooled::Mean,
            ("Mul", Pooled::Sum) => Pooled::Mean,
            _ => return Ok(false),
        };
        if !self.found.layers.iter().any(|layer| matches!(layer.layer, Layer::Recurrent(_))) {
            return Err("sums up before the first recurrent layer: ours take each step as it is".into());
        }
        self.pooled = pooled;
        Ok(true)
    }

    /// Refuses what is of one direction alone.
    fn both_ways(&self, spot: Spot) -> Result<(), String> {
        let last = self.found.layers.last();
        let is_both = last.is_some_and(|last| matches!(last.layer, Layer::Recurrent(own) if own.bidirectional));
        let name = last.map_or("", |last| &last.name);
        match spot.half {
            Half::Both => Ok(()),
            Half::Forward if !is_both => Ok(()),
            _ if is_both => Err(format!("takes one of the two directions of \"{name}\" alone: ours give both")),
            _ => Err(format!(
                "takes \"{name}\", which runs backwards in time alone (go_backwards, direction reverse): ours run \
                 forward, or in both directions"
            )),
        }
    }

    /// Whether a graph within a node takes a tensor of the way.
    fn is_within(&self, node: &NodeProto) -> bool {
        let names: BTreeSet<&str> = self.path.keys().copied().collect();
        view::subgraphs(node).any(|body| view::mentions(body, &names))
    }

    /// Whether a tensor follows from lengths, sizes and constants.
    pub(super) fn is_side(&self, name: &str) -> bool {
        self.sides.contains(name) || self.constants.contains_key(name)
    }

    /// What a node gives is the next place of the way.
    fn pass(&mut self, node: &'a NodeProto) {
        self.place += 1;
        self.open = None;
        self.gives(node, Spot { place: self.place, ..Spot::default() });
    }

    fn gives(&mut self, node: &'a NodeProto, spot: Spot) {
        let results = if node.op_type() == "LSTM" { 2 } else { node.output.len() };
        let names = node.output.iter().take(results).map(String::as_str).filter(|name| !name.is_empty());
        self.path.extend(names.map(|name| (name, spot)));
    }

    /// A node that makes probabilities of the last layer's numbers.
    fn ends_in(&mut self, node: &NodeProto, end: End) -> Result<(), String> {
        if !self.found.layers.last().is_some_and(|last| is_linear(&last.layer)) {
            return Err("makes probabilities, but not of what a dense layer gives".into());
        }
        self.found.end = end;
        self.ended = Some(view::name(node).to_owned());
        Ok(())
    }

    fn activation(&mut self, own: Activation) -> Result<(), String> {
        self.settle(false)?;
        match self.found.layers.last_mut().map(|last| &mut last.layer) {
            Some(Layer::Dense(DenseLayer { activation: activation @ Activation::Linear, .. })) => {
                *activation = own;
                Ok(())
            }
            _ => Err("is an activation: ours are behind dense layers".into()),
        }
    }
}

fn has_body(node: &NodeProto) -> bool {
    view::subgraphs(node).next().is_some()
}

fn is_linear(layer: &Layer) -> bool {
    matches!(layer, Layer::Dense(dense) if dense.activation == Activation::Linear)
}
