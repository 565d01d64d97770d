//! Running a graph through ONNX Runtime on the caller's own buffers, after its signature was compared with what the
//! manifest promises. Must not live here: which rows go into a batch, padding, state per key (`stage::infer`).

use std::fmt;

use ort::ep::cuda::ConvAlgorithmSearch;
use ort::session::builder::GraphOptimizationLevel;

use super::Buffer;
use super::binding::{Bindings, of_c};
use super::compare::{Declared, compare};
use super::{device, library};
use crate::error::Context;
use crate::model::Version;
use crate::network::{Signature, TensorSpec};
use crate::{Error, Result};

/// A loaded graph. One per worker: it runs on the calling thread alone.
pub struct Session {
    inner: ort::session::Session,
    bindings: Bindings,
    /// Whether what the graph gives is still to be compared with what is expected, which its first run does.
    unseen: bool,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("signature", self.signature()).finish_non_exhaustive()
    }
}

impl Session {
    /// The graph of a version, with what its manifest says.
    ///
    /// # Errors
    /// As [`Session::own`] and [`Session::foreign`].
    pub fn of(version: &Version) -> Result<Session> {
        let signature = version.manifest.signature()?;
        signature.taken().iter().chain(&signature.given()).try_for_each(TensorSpec::check)?;
        match version.manifest.signature {
            Some(_) => Session::foreign(&version.onnx, &signature),
            None => Session::own(&version.onnx, &signature),
        }
    }

    /// Loads a graph of our own and compares its inputs and outputs with `signature`. Refused with every difference,
    /// both sides shown, and when ONNX Runtime itself is missing or can't load the file.
    pub fn own(onnx: &[u8], signature: &Signature) -> Result<Session> {
        Session::load(onnx, signature, Declared::Everything)
    }

    /// As [`Session::own`], of a graph that others made: names and types are compared. The shapes that it declares may
    /// be open or wrong, so those of its outputs are compared in its first run.
    pub fn foreign(onnx: &[u8], signature: &Signature) -> Result<Session> {
        Session::load(onnx, signature, Declared::NamesAndTypes)
    }

    fn load(onnx: &[u8], signature: &Signature, declared: Declared) -> Result<Session> {
        let library = library::library()?;
        let cuda = device::cuda();
        let build = || -> ort::Result<ort::session::Session> {
            let mut builder = ort::session::Session::builder(&library.environment)?;
            if let Some(device) = cuda {
                // TF32 has 10 bits of mantissa: its products differ from the CPU's in the fourth digit, not the last.
                // The default search times every algorithm for each new size, so it is slow and bits depend on it.
                let provider = ort::ep::CUDA::default()
                    .with_device_id(device)
                    .with_tf32(false)
                    .with_conv_algorithm_search(ConvAlgorithmSearch::Heuristic)
                    .build()
                    .error_on_failure();
                builder = builder.with_config_entry(device::RECORD, "1")?.with_execution_providers([provider])?;
            }
            builder
                .with_intra_threads(1)?
                .with_inter_threads(1)?
                .with_optimization_level(GraphOptimizationLevel::All)?
                .with_log_level(ort::logging::LogLevel::Fatal)?
                .commit_from_memory(onnx)
        };
        let inner = build().or_refused(|| format!("load the model into ONNX Runtime {}", library.version))?;
        if cuda.is_some() {
            device::check(&inner)?;
        }
        compare(&inner, signature, declared)?;
        let bindings = Bindings::new(signature).or_refused(|| "bind the model's inputs and outputs".into())?;
        Ok(Session { inner, bindings, unseen: declared == Declared::NamesAndTypes })
    }

    /// What the graph takes and gives.
    pub fn signature(&self) -> &Signature {
        self.bindings.signature()
    }

    /// Runs `t` steps of `b` sequences and gives only the sizes of what comes out, outputs before states.
    ///
    /// # Errors
    /// Refused: whatever keeps the graph from running; an output that is no tensor.
    pub fn sizes(&mut self, t: usize, b: usize, inputs: &[Buffer]) -> Result<Vec<Vec<usize>>> {
        let found = self.bindings.found(&mut self.inner, t, b, inputs).or_refused(|| "run the graph".into())?;
        let names = self.bindings.outputs().iter().map(|tensor| &tensor.name);
        let sizes = found.into_iter().zip(names).map(|(found, name)| match found {
            Some((_, sizes)) => Ok(sizes.iter().map(|size| usize::try_from(*size).unwrap_or(0)).collect()),
            None => Err(Error::refused(format!("output \"{name}\" is no tensor"))),
        });
        sizes.collect()
    }

    /// Runs `t` steps of `b` sequences: the tensors of [`Signature::taken`] in, those of [`Signature::given`] out.
    /// Buffers may be longer than needed; the first bytes are used. Those that stay where they are from run to run cost
    /// nothing to bind again.
    ///
    /// A row's bits don't depend on `b` as long as `b >= 2` and the signature says so: a single row is to be padded by
    /// the caller.
    ///
    /// # Errors
    /// Refused: an output has other sizes than the signature says. Failed: whatever keeps the graph from running.
    pub fn run(&mut self, t: usize, b: usize, inputs: &[Buffer], outputs: &mut [Buffer]) -> Result<()> {
        let what = || format!("inference over {t} steps of {b} rows");
        if std::mem::take(&mut self.unseen) {
            let found = self.bindings.found(&mut self.inner, t, b, inputs).or_failed(what)?;
            for (tensor, found) in self.bindings.outputs().iter().zip(found) {
                let sizes = tensor.sizes(t, b);
                let shown = match &found {
                    None => "no tensor".to_string(),
                    Some((element, found)) => {
                        let same = found.iter().map(|size| *size as usize).eq(sizes.iter().copied());
                        if same && *element == of_c(tensor.element) {
                            continue;
                        }
                        format!("{found:?}")
                    }
                };
                return Err(Error::refused(format!(
                    "output \"{}\" is {shown} in a run of {t} steps of {b} sequences, expected {sizes:?}, which is \
                     {}",
                    tensor.name,
                    tensor.describe()
                )));
            }
        }
        self.bindings.run(&mut self.inner, t, b, inputs, outputs).or_failed(what)
    }
}
