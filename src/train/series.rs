//! What training is fed with: the rows of a key.
//! Must not live here: how they are captured (`runtime`), what is an example (`dataset`).

use std::sync::Arc;

use crate::record::logarithm;

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
    /// Per target, whether that is of the logarithms of both, [`crate::record::logarithm`]; empty: none is.
    pub log: Vec<bool>,
    /// Per row, the class or transcript in the target column, `None` for null; empty where targets are numbers.
    pub labels: Vec<Option<Arc<str>>>,
    /// Per embedding of a column, per row: its text, `None` for null.
    pub texts: Vec<Vec<Option<Arc<str>>>>,
    /// Per row, whether a sequence ends with it; empty but in mode sequence. The next row begins another one.
    pub ends: Vec<bool>,
    /// Per row, what its example counts, NaN for null; empty: each counts 1.
    pub weights: Vec<f64>,
    /// Per row, the text of the split column, for `split: { column }`.
    pub split: Option<Vec<String>>,
}

impl Series {
    /// Whether a target is scaled by its logarithm.
    pub fn is_log(&self, target: usize) -> bool {
        self.log.get(target) == Some(&true)
    }

    /// A target's value in the network's units, by the pair of a row.
    pub fn to_network(&self, target: usize, row: usize, value: f64) -> f64 {
        let value = if self.is_log(target) { logarithm::of(value) } else { value };
        match &self.scale[target] {
            None => value,
            Some(pairs) => (value - pairs[row].0) / pairs[row].1,
        }
    }

    /// A number in the network's units as a target's value.
    pub fn to_own(&self, target: usize, row: usize, value: f64) -> f64 {
        let value = match &self.scale[target] {
            None => value,
            Some(pairs) => value * pairs[row].1 + pairs[row].0,
        };
        if self.is_log(target) { logarithm::back(value) } else { value }
    }
}
