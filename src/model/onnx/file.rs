//! Reading an ONNX file of others: whatever it is, in bounded memory. Must not live here: what is in the graph.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::bounds;
use super::import;
use super::proto::ModelProto;
use crate::error::Context;
use crate::{Error, Result};

/// The most that an ONNX file may have: protobuf has no larger messages.
pub const MAX_BYTES: u64 = (1 << 31) - 1;

/// The messages of a file, and its size in bytes.
///
/// # Errors
/// No such file; one that is too large, or no ONNX file.
pub fn read(path: &Path) -> Result<(ModelProto, u64)> {
    let shown = || format!("read {}", path.display());
    let file = File::open(path).or_refused(shown)?;
    let meta = file.metadata().or_refused(shown)?;
    if !meta.is_file() {
        return Err(Error::refused(format!("{} is not a file", path.display())));
    }
    if meta.len() > MAX_BYTES {
        return Err(Error::refused(format!(
            "{} has {} bytes, an ONNX file has less than 2 GiB: export it with its weights as external data",
            path.display(),
            meta.len()
        )));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(meta.len()).unwrap_or(0));
    file.take(MAX_BYTES).read_to_end(&mut bytes).or_refused(shown)?;
    let model = import::model(&bytes).map_err(|error| Error::refused(format!("{}: {error}", path.display())))?;
    if model.opset_import.is_empty() || model.graph.as_ref().is_none_or(|graph| graph.output.is_empty()) {
        return Err(Error::refused(format!(
            "{}: this is not an ONNX file: it holds {}",
            path.display(),
            if model.opset_import.is_empty() { "no version of operators" } else { "a graph without outputs" }
        )));
    }
    bounds::check(&model).map_err(|error| Error::refused(format!("{}: {error}", path.display())))?;
    Ok((model, bytes.len() as u64))
}
