//! Training: cells, losses, optimiser, loop, evaluation, report.
//!
//! Lives here: everything between captured features ([`Series`]) and a published version. Must not live here: reading
//! the source or making features (`runtime` runs the same stages as for serving), and the ONNX file (`model`).

pub mod adam;
mod album;
pub mod cell;
mod cold;
#[cfg(test)]
mod core_tests;
pub mod dataset;
mod errors;
mod evaluate;
mod fit;
pub mod float;
mod gates;
mod init;
pub mod lanes;
mod learner;
pub mod loss;
#[cfg(test)]
mod meaning_tests;
mod naive;
pub mod network;
#[cfg(test)]
mod parity_tests;
mod pass;
pub mod plan;
pub mod report;
pub mod scaling;
pub mod split;
#[cfg(test)]
mod tests;
mod trained;
mod training;
pub mod windows;

pub use album::Forecast;
pub use cold::ColdStart;
pub use errors::{Compared, Errors};
pub use evaluate::{Evaluation, KeyErrors};
pub use fit::{EpochEnd, Phase, Progress};
pub use network::{Network, Pass, State, Workspace};
pub use plan::{Plan, architecture};
pub use split::{Part, Split};
pub use trained::{Epoch, KeySplit, Trained};
pub use training::train;

pub use crate::model::Tensor;

/// One key's rows as the stages before `infer` made them, in order: what a network is trained on.
#[derive(Debug, Clone, Default)]
pub struct Series {
    /// The key as text.
    pub key: String,
    /// Per row, its time in ticks.
    pub times: Vec<i64>,
    /// Inputs of the network [rows, features], row-major, exactly as `infer` would feed them.
    pub x: Vec<f32>,
    /// Per row, whether all of `x` is finite. Where not, serving takes no step and writes a null prediction.
    pub usable: Vec<bool>,
    /// Per row, whether serving would start from zero state here (first row, `gap`, `ttl`, `on.null: reset`).
    pub restart: Vec<bool>,
    /// Per target, per row: its value in the key's own units, NaN for null.
    pub targets: Vec<Vec<f64>>,
    /// Per target, per row: whether the value was observed. No loss and no metric where not.
    pub observed: Vec<Vec<bool>>,
    /// Per target, per row: (mean, sd) of the `scale` stage known after the row; `None` if the target isn't scaled.
    /// The network's output for origin t is `(target - mean_t) / sd_t`.
    pub scale: Vec<Option<Vec<(f64, f64)>>>,
    /// Per row, the text of the split column, for `split: { column }`.
    pub split: Option<Vec<String>>,
}
