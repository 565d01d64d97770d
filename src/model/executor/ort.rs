//! Running a graph through ONNX Runtime on the caller's own buffers, after its signature was compared with what the
//! manifest promises. Must not live here: which rows go into a batch, padding, state per key (`stage::infer`).

use std::fmt;

use ort::session::builder::GraphOptimizationLevel;

use super::binding::{Bindings, Buffers};
use super::library;
use super::signature::{Signature, compare};
use crate::Result;
use crate::error::Context;

/// A loaded graph. One per worker: it runs on the calling thread alone.
pub struct Session {
    inner: ort::session::Session,
    bindings: Bindings,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("signature", self.signature()).finish_non_exhaustive()
    }
}

impl Session {
    /// Loads a graph and compares its inputs and outputs with `signature`. Refused with every difference, both sides
    /// shown, and when ONNX Runtime itself is missing or can't load the file.
    pub fn new(onnx: &[u8], signature: &Signature) -> Result<Session> {
        let library = library::library()?;
        let build = || -> ort::Result<ort::session::Session> {
            ort::session::Session::builder(&library.environment)?
                .with_intra_threads(1)?
                .with_inter_threads(1)?
                .with_optimization_level(GraphOptimizationLevel::All)?
                .with_log_level(ort::logging::LogLevel::Error)?
                .commit_from_memory(onnx)
        };
        let inner = build().or_refused(|| format!("load the model into ONNX Runtime {}", library.version))?;
        compare(&inner, signature)?;
        let bindings = Bindings::new(signature).or_refused(|| "bind the model's inputs and outputs".into())?;
        Ok(Session { inner, bindings })
    }

    /// What the graph takes and gives.
    pub fn signature(&self) -> &Signature {
        self.bindings.signature()
    }

    /// Runs `t` steps of `b` rows: `x` [t, b, features] and each state [b, shape] in, `y` [t, b, outputs] and each
    /// state out. Buffers may be longer than needed; the first values are used. Those that stay where they are from
    /// run to run cost nothing to bind again.
    ///
    /// A row's bits don't depend on `b` as long as `b >= 2`: a single row is to be padded by the caller.
    pub fn run(
        &mut self,
        t: usize,
        b: usize,
        x: &[f32],
        states: &[&[f32]],
        y: &mut [f32],
        states_out: &mut [&mut [f32]],
    ) -> Result<()> {
        self.bindings
            .run(&mut self.inner, t, b, Buffers { x, states, y, states_out })
            .or_failed(|| format!("inference over {t} steps of {b} rows"))
    }
}
