//! Weights of others, for networks that we can train: read from the files of Keras and PyTorch and from ONNX graphs,
//! and compared layer by layer with the architecture of a pipeline.
//!
//! Lives here: the layers that a file holds ([`Found`]), and what becomes of them ([`Found::fit`]). Must not live here:
//! running the graphs of others (`model::import`), and publishing (`train`).

mod end;
mod keras;
mod keras_config;
mod onnx;
mod onnx_cells;
mod onnx_directions;
mod onnx_ends;
mod onnx_layers;
mod onnx_proof;
mod onnx_scaling;
mod onnx_unrolled;
mod onnx_weights;
mod torch;

use std::path::Path;

use crate::error::{Context, contained, counted};
use crate::kernel::Activation;
use crate::network::{Architecture, Layer, PlacedLayer, Pool, RecurrentLayer, Tensor};
use crate::storage::read_file;
use crate::{Error, Result};

pub use end::End;
pub use onnx::of_graph;

/// A layer of a file, with its numbers in the layout of [`Tensor`].
#[derive(Debug, Clone, PartialEq)]
struct FoundLayer {
    /// Its name in the file.
    name: String,
    layer: Layer,
    /// Width of its input.
    inputs: usize,
    /// Kernel, recurrent kernel and bias, or kernel and bias; the names are those within a layer.
    tensors: Vec<Tensor>,
}

/// What a file holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Found {
    /// First to last.
    layers: Vec<FoundLayer>,
    /// Mean and standard deviation of each input, where the file scales them.
    inputs: Option<(Vec<f32>, Vec<f32>)>,
    /// Mean and standard deviation of the outputs, one for all or one for each, where the file scales them.
    outputs: Option<(Vec<f32>, Vec<f32>)>,
    /// What the last layer's numbers become.
    pub end: End,
    /// What is made of the steps of a sequence, where the file says so.
    pool: Option<Pool>,
    /// Rows of the windows that it was trained on, where the file says so.
    pub window: Option<usize>,
    /// What the user should know, a sentence each.
    pub notes: Vec<String>,
}

/// The most bytes that a file of weights may have.
const MOST_BYTES: u64 = 4 << 30;

/// The file types that [`read`] knows.
pub const FILES: [&str; 3] = ["keras", "safetensors", "onnx"];

/// Reads a file of Keras (`.keras`) or PyTorch (`.safetensors`), or a graph (`.onnx`). `architecture` says what
/// PyTorch's file leaves open: the order of its layers, and activations. `modules` names them in their order where that
/// isn't enough.
///
/// # Errors
/// Refused if the file can't be read, or holds a network that ours can't be.
pub fn read(path: &Path, architecture: &Architecture, modules: &[String]) -> Result<Found> {
    let kind = path.extension().and_then(|extension| extension.to_str());
    if kind == Some("onnx") {
        return match modules {
            [] => onnx::of_file(path),
            _ => Err(Error::refused("--modules is for .safetensors files: a graph knows the order of its layers")),
        };
    }
    let bytes = read_file(path, MOST_BYTES).or_refused(|| format!("read {}", path.display()))?;
    let found = contained(|| of_bytes(kind, bytes, architecture, modules)).and_then(|found| found);
    found.map_err(|message| Error::refused(format!("{}: {message}", path.display())))
}

/// The same of the bytes of a file.
pub(crate) fn of_bytes(
    kind: Option<&str>,
    bytes: Vec<u8>,
    architecture: &Architecture,
    modules: &[String],
) -> std::result::Result<Found, String> {
    match kind {
        Some("keras") if !modules.is_empty() => {
            Err("--modules is for PyTorch's files: a .keras file knows its order".into())
        }
        Some("keras") => keras::read(bytes),
        Some("safetensors") => torch::read(&bytes, architecture, modules),
        _ => Err("expected a .keras, a .safetensors or an .onnx file".into()),
    }
}

/// Reads the layers of a graph as it is, without running it.
#[cfg(any(test, fuzzing))]
pub(crate) fn of_layers(model: &crate::model::onnx::proto::ModelProto) -> std::result::Result<(), String> {
    onnx_layers::layers(model).map(drop)
}

impl Found {
    /// The architecture with the file's biases and scaling, and its numbers as that architecture's tensors.
    ///
    /// # Errors
    /// Refused with every layer that doesn't fit, both sides shown.
    pub fn fit(self, architecture: &Architecture) -> Result<(Architecture, Vec<Tensor>)> {
        if architecture.softmax && architecture.outputs == 0 {
            let units = self.layers.last().map_or(0, |last| last.layer.units());
            let classes = if units == 1 { 2 } else { units };
            return Err(Error::refused(format!(
                "a file doesn't say which class is which: write the names of the {classes} classes into `train.classes`, \
                 in the order of the file's outputs"
            )));
        }
        let found = self.for_classes(architecture);
        let stack = architecture.stack();
        let mut wrong: Vec<String> = found.other_end(architecture).into_iter().collect();
        for at in 0..stack.len().max(found.layers.len()) {
            let (wanted, found) = (stack.get(at), found.layers.get(at));
            if !wanted.zip(found).is_some_and(|(wanted, found)| fits(wanted, found)) {
                wrong.push(format!(
                    "layer {}: the pipeline has {}, the file has {}",
                    at + 1,
                    wanted.map_or("none".into(), |placed| describe(&placed.layer, placed.inputs)),
                    found.map_or("none".into(), |found| format!(
                        "\"{}\", {}",
                        found.name,
                        describe(&found.layer, found.inputs)
                    )),
                ));
            }
        }
        if architecture.members > 1 {
            wrong.push(format!(
                "the pipeline averages {} networks, the file has one: leave `seeds` out",
                architecture.members
            ));
        }
        if !architecture.centred.is_empty() {
            wrong.push("the pipeline subtracts the last value, the file does not: leave `subtract` out".into());
        }
        if architecture.segments > 0 {
            wrong.push("the pipeline decodes by position, the file does not: leave `decoder` out".into());
        }
        if !architecture.skip.is_empty() {
            wrong.push(
                "the pipeline has a linear path beside the layers (`skip: linear`, or `ridge`, the default in mode \
                 carry), the file has none: write `skip: none`"
                    .into(),
            );
        }
        if let Some((mean, _)) = &found.inputs
            && mean.len() != architecture.network.len()
        {
            wrong.push(format!(
                "the pipeline feeds {}, the file scales {}",
                counted(architecture.network.len(), "input"),
                mean.len()
            ));
        }
        if !wrong.is_empty() {
            return Err(Error::refused(format!(
                "the file's layers don't fit the pipeline's `train` section:\n  {}",
                wrong.join("\n  ")
            )));
        }
        let mut fitted = architecture.clone();
        fitted.scaling = found.inputs.is_some() || found.outputs.is_some();
        let mut tensors = Vec::new();
        if fitted.scaling {
            tensors.extend(found.scaling(architecture));
        }
        for (at, (placed, found)) in stack.iter().zip(found.layers).enumerate() {
            if let Some(layer) = fitted.layers.get_mut(at) {
                *layer = found.layer;
            }
            tensors.extend(
                found
                    .tensors
                    .into_iter()
                    .map(|tensor| Tensor { name: format!("{}/{}", placed.name, tensor.name), ..tensor }),
            );
        }
        Ok((fitted, tensors))
    }

    /// The tensors of the scaling: neutral where the file has none.
    fn scaling(&self, architecture: &Architecture) -> Vec<Tensor> {
        let (mut mean, mut sd) = (vec![0.0; architecture.features], vec![1.0; architecture.features]);
        for (at, index) in architecture.network.iter().enumerate() {
            if let Some((means, sds)) = &self.inputs {
                (mean[*index], sd[*index]) = (means[at], sds[at]);
            }
        }
        let (out_mean, out_sd) = self.outputs.clone().unwrap_or((vec![0.0], vec![1.0]));
        let each = |values: Vec<f32>| if values.len() == 1 { vec![values[0]; architecture.outputs] } else { values };
        let mut scaling = vec![("mean", mean), ("sd", sd)];
        if !architecture.softmax {
            scaling.extend([("out_mean", each(out_mean)), ("out_sd", each(out_sd))]);
        }
        let named =
            |(name, data): (&str, Vec<f32>)| Tensor { name: format!("scaling/{name}"), shape: vec![data.len()], data };
        scaling.into_iter().map(named).collect()
    }
}

/// Whether a layer of the file is the one that is wanted; a second bias is none of that.
fn fits(wanted: &PlacedLayer, found: &FoundLayer) -> bool {
    let same = match (wanted.layer, found.layer) {
        (Layer::Recurrent(wanted), Layer::Recurrent(found)) => {
            (wanted.cell, wanted.units, wanted.bidirectional) == (found.cell, found.units, found.bidirectional)
        }
        (Layer::Dense(wanted), Layer::Dense(found)) => wanted == found,
        (Layer::LayerNorm(wanted), Layer::LayerNorm(found)) => wanted == found,
        _ => false,
    };
    same && wanted.inputs == found.inputs
}

/// `GRU(32) on 50 inputs: kernel [50, 96], recurrent_kernel [32, 96], bias [2, 96]`
fn describe(layer: &Layer, inputs: usize) -> String {
    let activation = match layer {
        Layer::Recurrent(RecurrentLayer { cell, .. }) => cell.form().activation,
        Layer::Dense(dense) => Some(dense.activation).filter(|activation| *activation != Activation::Linear),
        Layer::LayerNorm(_) => None,
    };
    let activation = activation.map(|activation| format!(", {}", activation.word())).unwrap_or_default();
    let shapes: Vec<String> =
        layer.tensors(inputs).iter().map(|tensor| format!("{} {:?}", tensor.name, tensor.shape)).collect();
    let words = match layer {
        Layer::Recurrent(own) if own.bidirectional => layer.in_words(),
        _ => format!("{}({}{activation})", layer.keras_name(), layer.units()),
    };
    format!("{words} on {}: {}", counted(inputs, "input"), shapes.join(", "))
}

/// A tensor of a layer.
fn tensor(name: &str, shape: Vec<usize>, data: Vec<f32>) -> Tensor {
    Tensor { name: name.into(), shape, data }
}

#[cfg(test)]
mod exports_tests;
#[cfg(test)]
mod onnx_tests;
#[cfg(test)]
mod tests;
