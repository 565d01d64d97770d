//! Sums and products with constants along the way through a graph: scaling of the inputs and the outputs, biases. Must
//! not live here: which nodes are on the way (`onnx_layers`).

use super::onnx_layers::Walk;
use super::tensor;
use crate::kernel::Activation;
use crate::model::onnx::proto::NodeProto;
use crate::network::{DenseLayer, Layer};

/// Numbers that are added and multiplied, each one for all or one for each.
pub(super) type Scale = (Vec<f64>, Vec<f64>);

/// The shape of a constant and its numbers.
pub(super) type Numbers = (Vec<usize>, Vec<f32>);

impl Walk<'_> {
    /// A sum or a product with constants: the scaling of inputs, a bias, or the scaling of outputs.
    pub(super) fn scaled(&mut self, node: &NodeProto, at: usize) -> Result<(), String> {
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
    pub(super) fn settle(&mut self, is_end: bool) -> Result<(), String> {
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

pub(super) fn no_bias(name: &str) -> String {
    format!("the node \"{name}\" has no bias: it gets one of zeros, which training would change")
}

pub(super) fn narrow(values: &[f64]) -> Vec<f32> {
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
pub(super) fn row(shape: &[usize], numbers: Vec<f32>, units: usize) -> Result<Vec<f32>, String> {
    let leading = shape.split_last().is_none_or(|(_, rest)| rest.iter().all(|size| *size == 1));
    match numbers.len() {
        _ if !leading => Err(format!("has a constant {shape:?}: one number for each unit is expected")),
        1 => Ok(vec![numbers[0]; units]),
        n if n == units => Ok(numbers),
        _ => Err(format!("has a constant {shape:?} for {units} units")),
    }
}
