//! The numbers of dense layers and normalisations of a graph. Must not live here: the way through the graph
//! (`onnx_layers`), recurrent layers (`onnx_directions`).

use super::onnx_layers::Walk;
use super::onnx_scaling::{Numbers, row};
use super::{FoundLayer, tensor};
use crate::kernel::{Activation, layer_norm};
use crate::model::onnx::proto::NodeProto;
use crate::model::onnx::values;
use crate::model::onnx::view::{self, float, input, integer};
use crate::network::{DenseLayer, Layer, LayerNormLayer};

impl Walk<'_> {
    pub(super) fn constant(&self, node: &NodeProto, at: usize) -> Result<Option<Numbers>, String> {
        let Some(name) = input(node, at) else { return Ok(None) };
        let what = || format!("its operand \"{name}\"");
        let Some(constant) = self.constants.get(name) else {
            return Err(format!("takes {}, which isn't a constant", what()));
        };
        let numbers = values::to_floats(constant).ok_or_else(|| format!("takes {}, which isn't float32", what()))?;
        Ok(Some((values::shape(constant), numbers)))
    }

    pub(super) fn needed(&self, node: &NodeProto, at: usize) -> Result<Numbers, String> {
        self.constant(node, at)?.ok_or_else(|| format!("has no operand {at}"))
    }

    pub(super) fn dense(&mut self, node: &NodeProto) -> Result<(), String> {
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

    pub(super) fn normalised(&mut self, node: &NodeProto) -> Result<(), String> {
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

    pub(super) fn push(
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
}
