//! A `.keras` file: a zip archive with `config.json` and, in HDF5, `model.weights.h5`.
//!
//! Must not live here: what the layers are (`keras_config`).

use std::io::{Cursor, Read};

use hdf5_reader::Hdf5File;
use zip::ZipArchive;

use super::keras_config::{Entry, Kind, Model, model};
use super::{Found, FoundLayer, tensor};
use crate::kernel::CellKind;
use crate::network::{DenseLayer, Layer, RecurrentLayer, Tensor};

/// Unpacked, an entry has at most as many bytes, and so many for each byte of the file besides: what is larger was not
/// made by saving a model of ours.
const MAX_BYTES: u64 = 64 << 20;
const UNPACKED_PER_BYTE: u64 = 64;
/// Keras' least standard deviation in a Normalization layer, `backend.epsilon()`.
const EPSILON: f32 = 1e-7;

pub(super) fn read(bytes: Vec<u8>) -> Result<Found, String> {
    let most = (bytes.len() as u64).saturating_mul(UNPACKED_PER_BYTE).saturating_add(MAX_BYTES);
    let mut archive = ZipArchive::new(Cursor::new(bytes))
        .map_err(|error| format!("not a .keras file of Keras 3, which is a zip archive: {error}"))?;
    let config = entry(&mut archive, "config.json", MAX_BYTES)?;
    let config = serde_json::from_slice(&config).map_err(|error| format!("config.json: {error}"))?;
    let Model { entries, window, notes } = model(&config)?;
    let weights = entry(&mut archive, "model.weights.h5", most)?;
    let size = weights.len();
    let weights = Hdf5File::from_vec(weights).map_err(|error| format!("model.weights.h5: {error}"))?;
    let weights = Weights { file: weights, size };
    let mut found = Found { window, notes, ..Found::default() };
    let last = entries.len().saturating_sub(1);
    for (at, entry) in entries.into_iter().enumerate() {
        add(&mut found, entry, &weights, at == last)?;
    }
    Ok(found)
}

/// The numbers of a model, and the size of their file.
struct Weights {
    file: Hdf5File,
    size: usize,
}

fn entry(archive: &mut ZipArchive<Cursor<Vec<u8>>>, name: &str, most: u64) -> Result<Vec<u8>, String> {
    let file = archive.by_name(name).map_err(|error| format!("{name}: {error}"))?;
    let mut bytes = Vec::new();
    let read = file.take(most + 1).read_to_end(&mut bytes).map_err(|error| format!("{name}: {error}"))?;
    match read as u64 > most {
        true => Err(format!("{name} is larger than {most} bytes when it is unpacked: this is no saved model")),
        false => Ok(bytes),
    }
}

fn add(found: &mut Found, entry: Entry, weights: &Weights, is_last: bool) -> Result<(), String> {
    let Entry { name, path, kind } = entry;
    match kind {
        Kind::Recurrent { cell, units, bias, .. } => {
            let at = |index| format!("{path}/cell/vars/{index}");
            let kernel = numbers(weights, "kernel", &at(0))?;
            let inputs = *kernel.shape.first().unwrap_or(&0);
            let layer = RecurrentLayer { cell, units, double_bias: cell == CellKind::Gru, bidirectional: false };
            let layer = Layer::Recurrent(layer);
            let recurrent = numbers(weights, "recurrent_kernel", &at(1))?;
            let bias = bias.then(|| numbers(weights, "bias", &at(2))).transpose()?;
            push(found, name, layer, inputs, [kernel, recurrent], bias)
        }
        Kind::Dense { units, activation, bias } => {
            let kernel = numbers(weights, "kernel", &format!("{path}/vars/0"))?;
            let inputs = *kernel.shape.first().unwrap_or(&0);
            let layer = Layer::Dense(DenseLayer { units, activation });
            let bias = bias.then(|| numbers(weights, "bias", &format!("{path}/vars/1"))).transpose()?;
            push(found, name, layer, inputs, [kernel], bias)
        }
        Kind::Normalization => {
            let mean = numbers(weights, "mean", &format!("{path}/vars/0"))?.data;
            let variance = numbers(weights, "variance", &format!("{path}/vars/1"))?.data;
            let sd = variance.iter().map(|variance| variance.sqrt().max(EPSILON)).collect();
            found.inputs = Some((mean, sd));
            Ok(())
        }
        Kind::Rescaling { scale, offset } if is_last && !found.layers.is_empty() => {
            found.outputs = Some((vec![offset as f32], vec![scale as f32]));
            Ok(())
        }
        Kind::Rescaling { .. } => {
            Err(format!("layer \"{name}\" (Rescaling): ours scale outputs so, behind the last layer, and nothing else"))
        }
    }
}

/// Adds a layer after it was compared with what its configuration says.
fn push<const N: usize>(
    found: &mut Found,
    name: String,
    layer: Layer,
    inputs: usize,
    kernels: [Tensor; N],
    bias: Option<Tensor>,
) -> Result<(), String> {
    let expected = layer.tensors(inputs);
    let mut tensors = Vec::from(kernels);
    tensors.push(bias.unwrap_or_else(|| {
        found.notes.push(format!("layer \"{name}\" has no bias: it gets one of zeros, which training would change"));
        let shape = expected.last().map_or(Vec::new(), |bias| bias.shape.clone());
        let zeros = vec![0.0; shape.iter().product()];
        tensor("bias", shape, zeros)
    }));
    for (expected, tensor) in expected.iter().zip(&tensors) {
        if expected.shape != tensor.shape {
            return Err(format!(
                "layer \"{name}\": its {} is {:?}, expected {:?} from config.json",
                tensor.name, tensor.shape, expected.shape
            ));
        }
    }
    found.layers.push(FoundLayer { name, layer, inputs, tensors });
    Ok(())
}

/// The numbers of a data set.
fn numbers(weights: &Weights, part: &str, path: &str) -> Result<Tensor, String> {
    let wrong = |error| format!("model.weights.h5: {path}: {error}");
    let set = weights.file.dataset(path).map_err(wrong)?;
    // Room is made for as many numbers as it says; each has a byte at least.
    let count = set.shape().iter().try_fold(1_u64, |all, size| all.checked_mul(*size));
    if count.is_none_or(|count| count > weights.size as u64) {
        return Err(format!(
            "model.weights.h5: {path}: it has the sizes {:?}, the file {} bytes",
            set.shape(),
            weights.size
        ));
    }
    let array = set.read_array::<f32>().map_err(wrong)?;
    Ok(tensor(part, array.shape().to_vec(), array.iter().copied().collect()))
}
