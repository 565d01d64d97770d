//! How state goes in and out of a graph.
//! Must not live here: how it is kept (`state`).

use serde::{Deserialize, Serialize};

/// A pair of graph input and output that carries state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatePair {
    /// Graph input, `h_0`.
    #[serde(rename = "in")]
    pub input: String,
    /// Graph output, `h_0_out`.
    #[serde(rename = "out")]
    pub output: String,
    /// Shape without the batch axis, `[50]`.
    pub shape: Vec<usize>,
    /// `zero`
    pub init: String,
}

impl StatePair {
    /// Values of one row.
    pub fn width(&self) -> usize {
        self.shape.iter().product()
    }
}
