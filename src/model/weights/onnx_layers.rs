//! The way from a graph's input to its output, node by node: which of them are layers, which scale, which only move
//! numbers. Everything else is refused by its name. Must not live here: running the graph (`onnx_proof`).

use std::collections::{BTreeMap, BTreeSet};

use super::onnx_cells::{cell, plain};
use super::onnx_ends::{Ends, ends, needed};
use super::{Found, FoundLayer, tensor};
use crate::kernel::{Activation, CellKind, layer_norm};
use crate::model::onnx::operands::{bias_to_keras, gates, kernel_to_keras};
use crate::model::onnx::proto::{GraphProto, ModelProto, NodeProto, TensorProto, tensor_proto::DataType};
use crate::model::onnx::values;
use crate::model::onnx::view::{self, float, input, integer};
use crate::network::{DenseLayer, Layer, LayerNormLayer, RecurrentLayer};

/// Layers of a graph, and what it takes and gives.
pub(super) struct Read {
    pub(super) found: Found,
    pub(super) ends: Ends,
}

/// Reads a graph whose weights are constants.
pub(super) fn layers(model: &ModelProto) -> Result<Read, String> {
    let graph = model.graph.as_ref().ok_or("the file holds no graph")?;
    let ends = ends(graph)?;
    let mut walk = Walk {
        constants: view::constants(graph),
        path: BTreeMap::from([(ends.input.as_str(), 0)]),
        place: 0,
        found: Found::default(),
        input: None,
        shift: None,
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
    if wrong.is_empty() && walk.path.get(ends.output.as_str()) != Some(&walk.place) {
        wrong.push(format!("output \"{}\" isn't what the last layer gives", ends.output));
    }
    if !wrong.is_empty() {
        return Err(format!(
            "weights of graphs are read where they are one row of RNN, LSTM, GRU, dense layers and layer \
             normalisations:\n  {}",
            wrong.join("\n  ")
        ));
    }
    walk.settle(true)?;
    let Walk { mut found, input, .. } = walk;
    found.inputs = input.map(|(mean, sd)| (narrow(&mean), narrow(&sd)));
    whole(graph, &ends.input, &mut found)?;
    Ok(Read { found, ends })
}

/// Refuses what our networks don't end or begin with.
fn whole(graph: &GraphProto, input: &str, found: &mut Found) -> Result<(), String> {
    let Some(first) = found.layers.first() else { return Err("the graph has no layer".into()) };
    if !found.layers.iter().any(|layer| matches!(layer.layer, Layer::Recurrent(_))) {
        return Err("the graph has no recurrent layer".into());
    }
    let is_end = |layer: &Layer| matches!(layer, Layer::Dense(dense) if dense.activation == Activation::Linear);
    if let Some(last) = found.layers.last().filter(|last| !is_end(&last.layer)) {
        return Err(format!(
            "the graph ends in \"{}\", {}: our networks end in a dense layer without activation",
            last.name,
            last.layer.in_words()
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

/// Numbers that are added and multiplied, each one for all or one for each.
type Scale = (Vec<f64>, Vec<f64>);

/// The shape of a constant and its numbers.
type Numbers = (Vec<usize>, Vec<f32>);

struct Walk<'a> {
    constants: BTreeMap<&'a str, &'a TensorProto>,
    /// Tensors of the way, and after how many changes of their numbers they are.
    path: BTreeMap<&'a str, usize>,
    place: usize,
    found: Found,
    /// Mean and standard deviation of the inputs.
    input: Option<Scale>,
    /// What is added to, and multiplied with, what the last dense layer gives.
    shift: Option<Scale>,
}

impl<'a> Walk<'a> {
    fn node(&mut self, node: &'a NodeProto) -> Result<(), String> {
        let on_path: Vec<(usize, usize)> =
            node.input.iter().enumerate().filter_map(|(at, name)| Some((at, *self.path.get(name.as_str())?))).collect();
        if has_body(node) && (!on_path.is_empty() || self.is_within(node)) {
            return Err("isn't a cell of ours, and our networks have no other loops or branches".into());
        }
        if on_path.is_empty() || matches!(node.op_type(), "Shape" | "Size") {
            return Ok(());
        }
        let [(at, place)] = on_path[..] else {
            return Err("joins two ways through the graph: the layers of our networks are in one row".into());
        };
        if place != self.place {
            return Err("takes what an earlier layer gave: the layers of our networks are in one row".into());
        }
        match node.op_type() {
            "Identity" | "Dropout" | "Transpose" | "Squeeze" | "Unsqueeze" | "Reshape" | "Flatten" | "Slice"
            | "Gather"
                if at == 0 =>
            {
                self.path.extend(node.output.first().map(|name| (name.as_str(), self.place)));
                return Ok(());
            }
            "Cast" if integer(node, "to") == Some(DataType::Float as i64) => {
                self.path.extend(node.output.first().map(|name| (name.as_str(), self.place)));
                return Ok(());
            }
            "LSTM" | "GRU" | "RNN" if at == 0 => self.recurrent(node)?,
            "MatMul" | "Gemm" if at == 0 => self.dense(node)?,
            "LayerNormalization" if at == 0 => self.normalised(node)?,
            "Relu" => self.activation(Activation::Relu)?,
            "Tanh" => self.activation(Activation::Tanh)?,
            "Sigmoid" | "Elu" | "Selu" | "Gelu" | "LeakyRelu" | "Softplus" | "Softsign" | "HardSigmoid" | "Clip" => {
                return Err("is an activation that ours aren't: they are linear, relu and tanh".into());
            }
            "Softmax" | "LogSoftmax" => {
                return Err("makes probabilities of classes, and a file doesn't say which class is which".into());
            }
            "Add" | "Sub" | "Mul" | "Div" => self.scaled(node, at)?,
            _ => return Err("is no layer of ours".into()),
        }
        self.pass(node);
        Ok(())
    }

    /// Whether a graph within a node takes a tensor of the way.
    fn is_within(&self, node: &NodeProto) -> bool {
        let names: BTreeSet<&str> = self.path.keys().copied().collect();
        view::subgraphs(node).any(|body| view::mentions(body, &names))
    }

    /// What a node gives is the next place of the way.
    fn pass(&mut self, node: &'a NodeProto) {
        self.place += 1;
        let results = if node.op_type() == "LSTM" { 2 } else { node.output.len() };
        let names = node.output.iter().take(results).map(String::as_str).filter(|name| !name.is_empty());
        self.path.extend(names.map(|name| (name, self.place)));
    }

    fn constant(&self, node: &NodeProto, at: usize) -> Result<Option<Numbers>, String> {
        let Some(name) = input(node, at) else { return Ok(None) };
        let what = || format!("its operand \"{name}\"");
        let Some(constant) = self.constants.get(name) else {
            return Err(format!("takes {}, which isn't a constant", what()));
        };
        let numbers = values::to_floats(constant).ok_or_else(|| format!("takes {}, which isn't float32", what()))?;
        Ok(Some((values::shape(constant), numbers)))
    }

    fn needed(&self, node: &NodeProto, at: usize) -> Result<Numbers, String> {
        self.constant(node, at)?.ok_or_else(|| format!("has no operand {at}"))
    }

    fn recurrent(&mut self, node: &NodeProto) -> Result<(), String> {
        self.settle(false)?;
        let cell = cell(node)?;
        plain(node)?;
        if input(node, 4).is_some() {
            return Err("takes the length of each sequence (sequence_lens)".into());
        }
        if input(node, 7).is_some() {
            let (_, peephole) = self.needed(node, 7)?;
            if peephole.iter().any(|number| *number != 0.0) {
                return Err("has peepholes (P), which our LSTM hasn't".into());
            }
        }
        let (w_shape, w) = self.needed(node, 1)?;
        let (r_shape, r) = self.needed(node, 2)?;
        let blocks = gates(cell).len();
        let ([1, rows, inputs], [1, again, units]) = (&w_shape[..], &r_shape[..]) else {
            return Err(format!("has W {w_shape:?} and R {r_shape:?}: one direction is expected"));
        };
        let (inputs, units) = (*inputs, *units);
        if rows != again || blocks.checked_mul(units) != Some(*rows) || *rows == 0 || inputs == 0 {
            return Err(format!("has W {w_shape:?} and R {r_shape:?}, which don't fit {blocks} gates"));
        }
        let name = view::name(node).to_owned();
        let bias = match self.constant(node, 3)? {
            Some((_, bias)) if bias.len() == 2 * rows => bias,
            Some((shape, _)) => return Err(format!("has B {shape:?}, expected [1, {}]", 2 * rows)),
            None => {
                self.found.notes.push(no_bias(&name));
                vec![0.0; 2 * rows]
            }
        };
        let double_bias = cell == CellKind::Gru || bias[*rows..].iter().any(|number| *number != 0.0);
        let layer = RecurrentLayer { cell, units, double_bias, bidirectional: false };
        let width = cell.gates() * units;
        let bias_shape = if layer.has_two_biases() { vec![2, width] } else { vec![width] };
        let tensors = vec![
            tensor("kernel", vec![inputs, width], kernel_to_keras(cell, units, inputs, &w)),
            tensor("recurrent_kernel", vec![units, width], kernel_to_keras(cell, units, units, &r)),
            tensor("bias", bias_shape, bias_to_keras(&layer, &bias)),
        ];
        self.push(name, Layer::Recurrent(layer), inputs, tensors)
    }

    fn dense(&mut self, node: &NodeProto) -> Result<(), String> {
        self.settle(false)?;
        let (shape, mut kernel) = self.needed(node, 1)?;
        let [rows, columns] = shape[..] else { return Err(format!("has a matrix {shape:?}: two axes are expected")) };
        let (mut inputs, mut units) = (rows, columns);
        if inputs == 0 || units == 0 {
            return Err(format!("has a matrix {shape:?}"));
        }
        let mut bias = None;
        if node.op_type() == "Gemm" {
            if integer(node, "transA") == Some(1) {
                return Err("turns what it takes (transA)".into());
            }
            if integer(node, "transB") == Some(1) {
                (inputs, units) = (columns, rows);
                kernel = (0..inputs)
                    .flat_map(|row| (0..units).map(move |unit| unit * inputs + row))
                    .map(|at| kernel[at])
                    .collect();
            }
            let (alpha, beta) = (float(node, "alpha").unwrap_or(1.0), float(node, "beta").unwrap_or(1.0));
            kernel.iter_mut().for_each(|number| *number *= alpha);
            if let Some((shape, mut own)) = self.constant(node, 2)? {
                own.iter_mut().for_each(|number| *number *= beta);
                bias = Some(row(&shape, own, units)?);
            }
        }
        // Without a bias, the next sum is one.
        let mut tensors = vec![tensor("kernel", vec![inputs, units], kernel)];
        tensors.extend(bias.map(|bias| tensor("bias", vec![units], bias)));
        let layer = Layer::Dense(DenseLayer { units, activation: Activation::Linear });
        self.push(view::name(node).to_owned(), layer, inputs, tensors)
    }

    fn normalised(&mut self, node: &NodeProto) -> Result<(), String> {
        self.settle(false)?;
        let (shape, gamma) = self.needed(node, 1)?;
        let [units] = shape[..] else { return Err(format!("normalises {shape:?}: one axis is expected")) };
        let beta = self.constant(node, 2)?.map_or(vec![0.0; units], |(_, beta)| beta);
        let epsilon = float(node, "epsilon").unwrap_or(1e-5);
        if epsilon != layer_norm::EPSILON as f32 {
            return Err(format!("has epsilon {epsilon}, ours has {}", layer_norm::EPSILON));
        }
        if beta.len() != units || units == 0 {
            return Err(format!("has {units} factors and {} summands", beta.len()));
        }
        let tensors = vec![tensor("gamma", vec![units], gamma), tensor("beta", vec![units], beta)];
        self.push(view::name(node).to_owned(), Layer::LayerNorm(LayerNormLayer { units }), units, tensors)
    }

    fn push(
        &mut self,
        name: String,
        layer: Layer,
        inputs: usize,
        tensors: Vec<crate::network::Tensor>,
    ) -> Result<(), String> {
        if let Some(before) = self.found.layers.last()
            && before.layer.units() != inputs
        {
            return Err(format!(
                "takes {inputs} numbers, \"{}\" before it gives {}",
                before.name,
                before.layer.units()
            ));
        }
        self.found.layers.push(FoundLayer { name, layer, inputs, tensors });
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

    /// A sum or a product with constants: the scaling of inputs, a bias, or the scaling of outputs.
    fn scaled(&mut self, node: &NodeProto, at: usize) -> Result<(), String> {
        let (shape, numbers) = self.needed(node, 1 - at)?;
        let count = numbers.len();
        let numbers: Vec<f64> = row(&shape, numbers, count)?.into_iter().map(f64::from).collect();
        let op = node.op_type();
        if at == 1 && matches!(op, "Sub" | "Div") {
            return Err("takes numbers from a constant: scaling is (x - mean) / sd".into());
        }
        if matches!(op, "Mul" | "Div") && numbers.iter().any(|number| !(*number > 0.0 && number.is_finite())) {
            return Err("scales by numbers that aren't above 0".into());
        }
        let Some(last) = self.found.layers.last_mut() else {
            let (mut mean, mut sd) = self.input.take().unwrap_or((vec![0.0], vec![1.0]));
            widen([&mut mean, &mut sd], count)?;
            for (at, (mean, sd)) in mean.iter_mut().zip(&mut sd).enumerate() {
                let number = numbers[if count == 1 { 0 } else { at }];
                match op {
                    "Sub" => *mean += number * *sd,
                    "Add" => *mean -= number * *sd,
                    "Div" => *sd *= number,
                    _ => *sd /= number,
                }
            }
            self.input = Some((mean, sd));
            return Ok(());
        };
        let Layer::Dense(DenseLayer { units, activation: Activation::Linear }) = last.layer else {
            return Err("scales between layers: ours scale inputs and outputs".into());
        };
        if last.tensors.len() == 1 && self.shift.is_none() && op == "Add" {
            let bias = numbers.iter().map(|number| *number as f32).collect();
            last.tensors.push(tensor("bias", vec![units], row(&[count], bias, units)?));
            return Ok(());
        }
        let (mut add, mut factor) = self.shift.take().unwrap_or((vec![0.0; units], vec![1.0; units]));
        if count != 1 && count != units {
            return Err(format!("has {count} numbers for {units} outputs"));
        }
        for (at, (add, factor)) in add.iter_mut().zip(&mut factor).enumerate() {
            let number = numbers[if count == 1 { 0 } else { at }];
            match op {
                "Sub" => *add -= number,
                "Add" => *add += number,
                "Div" => (*add, *factor) = (*add / number, *factor / number),
                _ => (*add, *factor) = (*add * number, *factor * number),
            }
        }
        self.shift = Some((add, factor));
        Ok(())
    }

    /// The last layer is complete: what it lacks is zero. Behind the last one a scaling is the network's, elsewhere it
    /// becomes part of the layer.
    fn settle(&mut self, is_end: bool) -> Result<(), String> {
        let Some(last) = self.found.layers.last_mut() else { return Ok(()) };
        if let (Layer::Dense(dense), 1) = (last.layer, last.tensors.len()) {
            self.found.notes.push(no_bias(&last.name));
            last.tensors.push(tensor("bias", vec![dense.units], vec![0.0; dense.units]));
        }
        let Some((add, factor)) = self.shift.take() else { return Ok(()) };
        if is_end {
            self.found.outputs = Some((narrow(&add), narrow(&factor)));
            return Ok(());
        }
        let [kernel, bias] = &mut last.tensors[..] else { return Ok(()) };
        for (at, number) in kernel.data.iter_mut().enumerate() {
            *number = (f64::from(*number) * factor[at % factor.len()]) as f32;
        }
        for (at, number) in bias.data.iter_mut().enumerate() {
            *number = (f64::from(*number) * factor[at] + add[at]) as f32;
        }
        Ok(())
    }
}

fn has_body(node: &NodeProto) -> bool {
    view::subgraphs(node).next().is_some()
}

fn no_bias(name: &str) -> String {
    format!("the node \"{name}\" has no bias: it gets one of zeros, which training would change")
}

fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|value| *value as f32).collect()
}

/// One number for all becomes one for each.
fn widen(values: [&mut Vec<f64>; 2], count: usize) -> Result<(), String> {
    for values in values {
        match (values.len(), count) {
            (1, _) => *values = vec![values[0]; count.max(1)],
            (_, 1) => {}
            (own, _) if own == count => {}
            (own, _) => return Err(format!("has {count} numbers for {own} inputs")),
        }
    }
    Ok(())
}

/// The numbers of a constant that has one for each unit, or one for all of them.
fn row(shape: &[usize], numbers: Vec<f32>, units: usize) -> Result<Vec<f32>, String> {
    let leading = shape.split_last().is_none_or(|(_, rest)| rest.iter().all(|size| *size == 1));
    match numbers.len() {
        _ if !leading => Err(format!("has a constant {shape:?}: one number for each unit is expected")),
        1 => Ok(vec![numbers[0]; units]),
        n if n == units => Ok(numbers),
        _ => Err(format!("has a constant {shape:?} for {units} units")),
    }
}
