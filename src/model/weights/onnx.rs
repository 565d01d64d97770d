//! An ONNX file of others: its recurrent, dense and normalising operators as layers of ours.
//!
//! Exporters write cells as loops or step by step and weights as arithmetic, so the graph is folded and its cells are
//! recognised first. What was read is then proved: our network and the graph give the same for random inputs. Must not
//! live here: which nodes are layers (`onnx_layers`), and the proof (`onnx_proof`).

use std::path::Path;

use super::{Found, onnx_layers, onnx_proof, onnx_unrolled};
use crate::error::contained;
use crate::model::executor::{library, limits};
use crate::model::onnx::proto::ModelProto;
use crate::model::onnx::{backport, bounds, constants, file, fold, import, inline, recognise};
use crate::{Error, Result};

/// Reads a file.
///
/// # Errors
/// Refused if it can't be read or run, with each node that is no layer of ours, or with the difference of what it
/// gives.
pub(super) fn of_file(path: &Path) -> Result<Found> {
    let (mut model, _) = file::read(path)?;
    inline::inline(&mut model, path.parent().unwrap_or(Path::new(".")))?;
    of_model(model).map_err(|error| Error::refused(format!("{}: {error}", path.display())))
}

/// The same of a graph that is whole, such as that of a version.
///
/// # Errors
/// As [`of_file`].
pub fn of_graph(bytes: &[u8]) -> Result<Found> {
    let model = import::model(bytes)?;
    bounds::check(&model)?;
    of_model(model)
}

fn of_model(mut model: ModelProto) -> Result<Found> {
    library::library()?;
    backport::backport(&mut model, limits::limits()?);
    limits::check(&model)?;
    constants::settle(&mut model);
    let original = model.clone();
    match recognise::unrolled(&model) {
        None => {
            recognise::recognise(&mut model, &[], &[])?;
            fold::fold(&mut model)?;
        }
        Some(unrolled) => {
            fold::fold(&mut model)?;
            if !model.graph.as_mut().is_some_and(onnx_unrolled::roll) {
                return unrolled.refuse();
            }
        }
    }
    let found = contained(|| onnx_layers::layers(&model)).and_then(|found| found).map_err(Error::refused)?;
    onnx_proof::prove(&original, found)
}
