//! Reading `model.onnx` back: our own exports give their architecture and tensors, bit for bit.
//! Must not live here: the graphs of others (`inspect` counts their layers).

use prost::Message;

use super::export::ARCHITECTURE_KEY;
use super::operands::{bias_to_keras, gates, kernel_to_keras};
use super::proto::{ModelProto, TensorProto, tensor_proto};
use crate::error::Context;
use crate::network::{Architecture, RecurrentLayer, Tensor};
use crate::{Error, Result};

/// The messages of an ONNX file.
pub fn model(bytes: &[u8]) -> Result<ModelProto> {
    let model = ModelProto::decode(bytes).or_refused(|| "read ONNX file".into())?;
    if model.graph.is_none() {
        return Err(Error::refused("read ONNX file: it holds no graph"));
    }
    Ok(model)
}

/// The architecture that our export wrote into the file; `None` for a foreign file.
pub fn architecture(model: &ModelProto) -> Result<Option<Architecture>> {
    let entry = model.metadata_props.iter().find(|entry| entry.key() == ARCHITECTURE_KEY);
    let Some(entry) = entry else { return Ok(None) };
    let architecture: Architecture = serde_json::from_str(entry.value())
        .or_refused(|| format!("read the ONNX file's metadata \"{ARCHITECTURE_KEY}\""))?;
    architecture.validate()?;
    Ok(Some(architecture))
}

/// The network of a file written by [`super::export::onnx`]: the same architecture, the same tensors, the same bits.
pub fn network(bytes: &[u8]) -> Result<(Architecture, Vec<Tensor>)> {
    let model = model(bytes)?;
    let Some(architecture) = architecture(&model)? else {
        return Err(Error::refused(format!(
            "this ONNX file was not exported by kolk: its metadata has no \"{ARCHITECTURE_KEY}\""
        )));
    };
    let initializers = model.graph.map(|graph| graph.initializer).unwrap_or_default();
    let mut tensors = Vec::new();
    for (name, shape) in architecture.tensor_shapes() {
        let Some(stored) = initializers.iter().find(|tensor| tensor.name() == name) else {
            return Err(Error::refused(format!("this ONNX file has no initialiser \"{name}\"")));
        };
        let data = floats(stored)?;
        let data = match recurrent_part(&architecture, &name) {
            None => {
                check(stored, &shape, data.len())?;
                data
            }
            Some((layer, part)) => {
                let operand = gates(layer.cell).len() * layer.units;
                if part == "bias" {
                    check(stored, &[1, 2 * operand], data.len())?;
                    bias_to_keras(layer, &data)
                } else {
                    check(stored, &[1, operand, shape[0]], data.len())?;
                    kernel_to_keras(layer.cell, layer.units, shape[0], &data)
                }
            }
        };
        tensors.push(Tensor { name, shape, data });
    }
    Ok((architecture, tensors))
}

/// The float32 values of a tensor, however they are stored in the file itself.
pub(crate) fn floats(tensor: &TensorProto) -> Result<Vec<f32>> {
    if tensor.data_type() != tensor_proto::DataType::Float as i32 {
        return Err(Error::refused(format!("initialiser \"{}\" is not float32", tensor.name())));
    }
    if !tensor.external_data.is_empty() {
        return Err(Error::refused(format!("initialiser \"{}\" lies in another file", tensor.name())));
    }
    Ok(match &tensor.raw_data {
        Some(raw) => raw.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        None => tensor.float_data.clone(),
    })
}

/// The recurrent layer that a tensor belongs to, and which of its tensors it is.
fn recurrent_part<'a>(architecture: &'a Architecture, name: &'a str) -> Option<(&'a RecurrentLayer, &'a str)> {
    let name = match name.strip_prefix("member_") {
        Some(rest) => rest.split_once('/')?.1,
        None => name,
    };
    let (index, part) = name.strip_prefix("recurrent_")?.split_once('/')?;
    let layer = architecture.recurrent().nth(index.parse().ok()?)?;
    // Plain operators take the tensors as they are.
    layer.cell.form().operator()?;
    Some((layer, part.strip_prefix("backward_").unwrap_or(part)))
}

fn check(stored: &TensorProto, expected: &[usize], values: usize) -> Result<()> {
    let dims = stored.dims.iter().copied();
    if dims.eq(expected.iter().map(|size| *size as i64)) && values == expected.iter().product::<usize>() {
        return Ok(());
    }
    Err(Error::refused(format!(
        "initialiser \"{}\" is {:?} with {values} values, expected {expected:?}",
        stored.name(),
        stored.dims
    )))
}
