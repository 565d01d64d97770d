//! External data of a file brought into it, so that a version is one file. Must not live here: which file is read.
//!
//! Data are read within the folder of the model only: a location that is absolute, that climbs out by `..` or by a
//! symbolic link, or whose bytes aren't all there is refused, as ONNX Runtime does for files.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use super::file::MAX_BYTES;
use super::proto::{GraphProto, ModelProto, TensorProto, tensor_proto::DataLocation};
use super::values;
use crate::error::Context;
use crate::{Error, Result};

/// Reads all external data of the model from `folder` into it. Tells which files they were in.
///
/// # Errors
/// Refused if a file is outside of the folder, isn't there, is too short, or if the model becomes larger than
/// [`MAX_BYTES`].
pub fn inline(model: &mut ModelProto, folder: &Path) -> Result<Vec<String>> {
    let mut inlined = Inlined { folder, total: 0, files: Vec::new() };
    if let Some(graph) = &mut model.graph {
        inlined.graph(graph)?;
    }
    for function in &mut model.functions {
        function.node.iter_mut().try_for_each(|node| inlined.node(node))?;
    }
    Ok(inlined
        .files
        .iter()
        .map(|(file, tensors, bytes)| {
            let tensors = if *tensors == 1 { "1 tensor".to_owned() } else { format!("{tensors} tensors") };
            format!("{tensors} ({bytes} bytes) of the file \"{file}\" are part of the model now")
        })
        .collect())
}

struct Inlined<'a> {
    folder: &'a Path,
    total: u64,
    /// File, tensors read from it, their bytes.
    files: Vec<(String, usize, u64)>,
}

impl Inlined<'_> {
    fn graph(&mut self, graph: &mut GraphProto) -> Result<()> {
        graph.initializer.iter_mut().try_for_each(|tensor| self.tensor(tensor))?;
        for sparse in &mut graph.sparse_initializer {
            sparse.values.iter_mut().chain(&mut sparse.indices).try_for_each(|tensor| self.tensor(tensor))?;
        }
        graph.node.iter_mut().try_for_each(|node| self.node(node))
    }

    fn node(&mut self, node: &mut super::proto::NodeProto) -> Result<()> {
        for attribute in &mut node.attribute {
            attribute.t.iter_mut().chain(&mut attribute.tensors).try_for_each(|tensor| self.tensor(tensor))?;
            attribute.g.iter_mut().chain(&mut attribute.graphs).try_for_each(|graph| self.graph(graph))?;
        }
        Ok(())
    }

    fn tensor(&mut self, tensor: &mut TensorProto) -> Result<()> {
        if tensor.data_location() != DataLocation::External && tensor.external_data.is_empty() {
            return Ok(());
        }
        let name = tensor.name().to_owned();
        let entry = |key: &str| tensor.external_data.iter().find(|entry| entry.key() == key).map(|entry| entry.value());
        let refused = |why: String| Error::refused(format!("external data of the tensor \"{name}\": {why}"));
        let location = entry("location").unwrap_or_default().to_owned();
        let number = |key: &str| -> Result<Option<u64>> {
            let Some(text) = entry(key) else { return Ok(None) };
            text.trim().parse().map(Some).map_err(|_| refused(format!("{key} \"{text}\" is not a number of bytes")))
        };
        let (offset, length) = (number("offset")?.unwrap_or(0), number("length")?);
        let needed = values::kind(tensor)
            .and_then(values::width)
            .and_then(|width| values::shape(tensor).iter().try_fold(width, |bytes, size| bytes.checked_mul(*size)))
            .ok_or_else(|| refused("its type has no whole bytes".into()))? as u64;
        if let Some(length) = length.filter(|length| *length != needed) {
            return Err(refused(format!("it has {length} bytes, its type and shape need {needed}")));
        }
        self.total += needed;
        if self.total > MAX_BYTES {
            return Err(refused(format!(
                "the model has more than {MAX_BYTES} bytes with it, which no ONNX file can hold"
            )));
        }
        let path = inside(self.folder, &location).map_err(&refused)?;
        let read = || -> std::io::Result<(u64, Vec<u8>)> {
            let mut file = File::open(&path)?;
            let size = file.metadata()?.len();
            let mut bytes = Vec::new();
            if offset.checked_add(needed).is_some_and(|end| end <= size) {
                file.seek(SeekFrom::Start(offset))?;
                bytes.resize(needed as usize, 0);
                file.read_exact(&mut bytes)?;
            }
            Ok((size, bytes))
        };
        let (size, bytes) = read().or_refused(|| format!("read {} for the tensor \"{name}\"", path.display()))?;
        if bytes.len() as u64 != needed {
            return Err(refused(format!(
                "{} has {size} bytes, {needed} from byte {offset} on are needed",
                path.display()
            )));
        }
        tensor.raw_data = Some(bytes);
        tensor.external_data.clear();
        tensor.data_location = None;
        match self.files.iter_mut().find(|(file, ..)| *file == location) {
            Some((_, tensors, bytes)) => {
                *tensors += 1;
                *bytes += needed;
            }
            None => self.files.push((location, 1, needed)),
        }
        Ok(())
    }
}

/// The path of a location within the folder, with links followed.
fn inside(folder: &Path, location: &str) -> std::result::Result<PathBuf, String> {
    if location.is_empty() {
        return Err("no location is given".into());
    }
    let relative = Path::new(location);
    let climbs = relative.components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir));
    if climbs || location.contains('\\') {
        return Err(format!(
            "\"{location}\" is outside of the model's folder; data are read from {} only",
            folder.display()
        ));
    }
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let real = |path: &Path| path.canonicalize().map_err(|error| format!("{}: {error}", path.display()));
    let (root, path) = (real(folder)?, real(&folder.join(relative))?);
    if !path.starts_with(&root) {
        return Err(format!(
            "\"{location}\" is a link to {}, outside of the model's folder {}",
            path.display(),
            root.display()
        ));
    }
    if !path.is_file() {
        return Err(format!("{} is not a file", path.display()));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::executor::trial::Trial;
    use crate::model::onnx::graph::{Axis, Graph};
    use crate::model::onnx::proto::StringStringEntryProto;
    use crate::model::onnx::testing::{model, noise};
    use crate::model::onnx::values::floats;

    /// `y = x * w`, whose `w` is in a file.
    fn external(location: &str, offset: usize, length: Option<usize>) -> ModelProto {
        let mut graph = Graph::default();
        graph.input("x", &[Axis::Open("batch"), Axis::Fixed(3)]);
        graph.output("y", &[Axis::Open("batch"), Axis::Fixed(2)]);
        graph.node("MatMul", &["x", "w"], "y", vec![]);
        let entry = |key: &str, value: String| StringStringEntryProto { key: Some(key.into()), value: Some(value) };
        let mut data = vec![entry("location", location.into()), entry("offset", offset.to_string())];
        data.extend(length.map(|length| entry("length", length.to_string())));
        graph.0.initializer.push(TensorProto {
            raw_data: None,
            external_data: data,
            data_location: Some(DataLocation::External as i32),
            ..floats("w", &[3, 2], &[])
        });
        model(graph, 20)
    }

    #[test]
    fn external_data_become_part_of_the_model_and_the_graph_runs_as_with_them_inside() {
        let folder = tempfile::tempdir().unwrap();
        let weights = noise(6, 1);
        let mut file = vec![7u8; 16];
        file.extend(weights.iter().flat_map(|value| value.to_le_bytes()));
        std::fs::create_dir(folder.path().join("data")).unwrap();
        std::fs::write(folder.path().join("data/w.bin"), file).unwrap();
        let mut model = external("data/w.bin", 16, Some(24));
        let notes = inline(&mut model, folder.path()).unwrap();
        assert_eq!(notes, ["1 tensor (24 bytes) of the file \"data/w.bin\" are part of the model now"]);
        let mut inside = external("", 0, None);
        inside.graph.as_mut().unwrap().initializer[0] = floats("w", &[3, 2], &weights);
        let x = [floats("x", &[4, 3], &noise(12, 2))];
        let run = |model: &ModelProto| Trial::new(model).unwrap().run(&x).unwrap();
        assert_eq!(run(&model), run(&inside));
    }

    #[test]
    fn data_outside_the_folder_and_too_few_bytes_are_refused() {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("model");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(outer.path().join("w.bin"), [0u8; 24]).unwrap();
        std::fs::write(folder.join("short.bin"), [0u8; 23]).unwrap();
        std::os::unix::fs::symlink(outer.path().join("w.bin"), folder.join("link.bin")).unwrap();
        let absolute = outer.path().join("w.bin");
        for (location, offset, length, expected) in [
            ("../w.bin", 0, None, "outside of the model's folder"),
            (absolute.to_str().unwrap(), 0, None, "outside of the model's folder"),
            ("link.bin", 0, None, "is a link to"),
            ("short.bin", 0, None, "has 23 bytes, 24 from byte 0 on are needed"),
            ("short.bin", usize::MAX, None, "has 23 bytes"),
            ("short.bin", 0, Some(20), "it has 20 bytes, its type and shape need 24"),
            ("none.bin", 0, None, "No such file"),
            (".", 0, None, "is not a file"),
            ("", 0, None, "no location is given"),
        ] {
            let error = inline(&mut external(location, offset, length), &folder).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(expected), "{location}: {error}");
            assert!(error.to_string().contains("\"w\""), "{error}");
        }
    }

    #[test]
    fn more_than_a_file_can_hold_is_refused_before_it_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let mut model = external("w.bin", 0, None);
        model.graph.as_mut().unwrap().initializer[0].dims = vec![1 << 20, 1 << 10];
        let error = inline(&mut model, folder.path()).unwrap_err();
        assert!(error.to_string().contains("more than 2147483647 bytes"), "{error}");
    }
}
