//! One number of what a network takes. Must not live here: where it is read from (`stage::infer`).

use serde::{Deserialize, Serialize};

/// One number of an input.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Input {
    /// Column it is read from.
    pub column: String,
    /// Rows of the key it lies back; 0: the row itself.
    pub lag: u32,
    /// Whether a value that isn't there, before the key's first row or where it was null, is that of the next row that
    /// has one. Otherwise such a row is no step.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub filled: bool,
    /// Of a column of vectors, the place of the number, from 1: what the record knows about so many rows ahead. 0: the
    /// column holds numbers, or all of its vector is meant.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ahead: u32,
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Input {
    /// The column's value at the row itself.
    pub fn now(column: impl Into<String>) -> Input {
        Input::back(column, 0)
    }

    /// Its value some rows back.
    pub fn back(column: impl Into<String>, lag: u32) -> Input {
        Input { column: column.into(), lag, filled: false, ahead: 0 }
    }

    /// Its value some rows back, filled where there is none.
    pub fn filled(column: impl Into<String>, lag: u32) -> Input {
        Input { filled: lag > 0, ..Input::back(column, lag) }
    }

    /// What a vector of the row knows about so many rows ahead.
    pub fn ahead(column: impl Into<String>, ahead: u32) -> Input {
        Input { ahead, ..Input::now(column) }
    }
}
