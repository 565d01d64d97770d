//! The numbers of a network by name: which tensors there are, and whether those given are they.
//! Must not live here: how they are arranged in a file (`model::onnx`).

use super::Architecture;
use crate::kernel::cell::Initial;
use crate::{Error, Result};

/// A named array of the network, row-major.
///
/// Names, shapes and gate orders are those of Keras (LSTM i, f, c, o; GRU z, r, h), for layer `i` of width `u` with
/// `g` gates on `n` inputs:
/// `recurrent_<i>/kernel` [n, g·u], `recurrent_<i>/recurrent_kernel` [u, g·u],
/// `recurrent_<i>/bias` [g·u], or [2, g·u] (input bias, then recurrent bias) with two biases and for every GRU;
/// `backward_kernel`, `backward_recurrent_kernel` and `backward_bias` alike for a layer of both directions;
/// `dense_<i>/kernel` [n, u], `dense_<i>/bias` [u] for a dense layer; `layer_norm_<i>/gamma` [u] and
/// `layer_norm_<i>/beta` [u] for a layer normalisation; `output/kernel` [n, outputs], `output/bias` [outputs];
/// `skip/kernel` [skip inputs, outputs] if there is a skip path; with groups of keys `skip/kernel`
/// [groups, skip inputs, outputs] and `skip/bias` [groups, outputs]; `embedding_<i>/table` [ids, size];
/// `position/table` [segments, width] where segments are decoded by their position;
/// of several members the layers' tensors begin with `member_<m>/`, those of the skip path and the scaling don't;
/// and with scaling `scaling/mean` and `scaling/sd` [features], `scaling/out_mean` and `scaling/out_sd` [outputs],
/// which are not trained.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Name as above.
    pub name: String,
    /// Shape.
    pub shape: Vec<usize>,
    /// Values.
    pub data: Vec<f32>,
}

/// A tensor that a network has, without its values.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedTensor {
    /// Name as in [`Tensor`].
    pub name: String,
    /// Shape.
    pub shape: Vec<usize>,
    /// First values of one that is learned; `None`: it is set from statistics.
    pub initial: Option<Initial>,
}

impl Architecture {
    /// Every tensor of the network, in the order of the layers.
    pub fn tensors(&self) -> Vec<NamedTensor> {
        let statistic = |name: &str, width: usize| NamedTensor {
            name: format!("scaling/{name}"),
            shape: vec![width],
            initial: None,
        };
        let mut tensors = Vec::new();
        if self.scaling && self.features > 0 {
            tensors.extend([statistic("mean", self.features), statistic("sd", self.features)]);
        }
        let stack = self.stack();
        for prefix in self.prefixes() {
            for placed in &stack {
                tensors.extend(placed.layer.tensors(placed.inputs).into_iter().map(|tensor| NamedTensor {
                    name: format!("{prefix}{}/{}", placed.name, tensor.name),
                    shape: tensor.shape,
                    initial: Some(tensor.initial),
                }));
            }
            tensors.extend(self.decoded_width().map(|width| NamedTensor {
                name: format!("{prefix}position/table"),
                shape: vec![self.segments, width],
                initial: Some(Initial::Embedding),
            }));
            tensors.extend(self.embeddings.iter().enumerate().map(|(i, embedding)| NamedTensor {
                name: format!("{prefix}embedding_{i}/table"),
                shape: vec![embedding.rows, embedding.size],
                initial: Some(Initial::Embedding),
            }));
        }
        if !self.skip.is_empty() {
            let mut shape = vec![self.skip.len(), self.outputs];
            if self.groups > 0 {
                shape.insert(0, self.groups);
            }
            tensors.push(NamedTensor { name: "skip/kernel".into(), shape, initial: Some(Initial::Glorot) });
            if self.groups > 0 {
                let shape = vec![self.groups, self.outputs];
                tensors.push(NamedTensor { name: "skip/bias".into(), shape, initial: Some(Initial::Zeros(0..0)) });
            }
        }
        if self.scales_outputs() {
            tensors.extend([statistic("out_mean", self.outputs), statistic("out_sd", self.outputs)]);
        }
        tensors
    }

    /// Name and shape of every tensor of the network, in the order of the layers; see [`Tensor`].
    pub fn tensor_shapes(&self) -> Vec<(String, Vec<usize>)> {
        self.tensors().into_iter().map(|tensor| (tensor.name, tensor.shape)).collect()
    }
}

/// The tensors of a network by name, checked to be exactly those that its architecture asks for.
pub(crate) struct ByName<'a>(Vec<&'a Tensor>);

impl<'a> ByName<'a> {
    /// Refuses missing, unknown, doubled and misshapen tensors, all at once.
    pub(crate) fn new(architecture: &Architecture, tensors: &'a [Tensor]) -> Result<Self> {
        let shapes = architecture.tensor_shapes();
        let mut wrong = Vec::new();
        let mut found = Vec::new();
        for (name, shape) in &shapes {
            let mut same = tensors.iter().filter(|tensor| tensor.name == *name);
            match (same.next(), same.next()) {
                (None, _) => wrong.push(format!("\"{name}\" {shape:?} is missing")),
                (Some(_), Some(_)) => wrong.push(format!("\"{name}\" exists twice")),
                (Some(tensor), None) => {
                    if tensor.shape != *shape || tensor.data.len() != shape.iter().product::<usize>() {
                        wrong.push(format!(
                            "\"{name}\" is {:?} with {} values, expected {shape:?}",
                            tensor.shape,
                            tensor.data.len()
                        ));
                    }
                    found.push(tensor);
                }
            }
        }
        for tensor in tensors.iter().filter(|tensor| !shapes.iter().any(|(name, _)| *name == tensor.name)) {
            wrong.push(format!("\"{}\" is not a tensor of this architecture", tensor.name));
        }
        if wrong.is_empty() {
            Ok(ByName(found))
        } else {
            Err(Error::refused(format!("tensors that don't fit the architecture: {}", wrong.join("; "))))
        }
    }

    /// The values of a tensor; empty for a name that the architecture doesn't have.
    pub(crate) fn get(&self, name: &str) -> &'a [f32] {
        self.0.iter().find(|tensor| tensor.name == name).map_or(&[], |tensor| &tensor.data)
    }
}
