//! The columns of a batch as inputs are read from them, and the rows that are made. Must not live here: which column
//! feeds which input (`feed`).

use crate::record::{Batch, Values};

/// The values of a column.
#[derive(Clone, Copy)]
pub(super) enum View<'a> {
    Numbers(&'a [f64]),
    Vectors(&'a [f32], usize),
    Integers(&'a [i64]),
    Other,
}

/// Rows of an input.
pub(super) enum Made {
    F32(Vec<f32>),
    F64(Vec<f64>),
    I64(Vec<i64>),
}

impl Made {
    /// As the values of a column.
    pub(super) fn values(self, width: usize) -> Values {
        match self {
            Made::F32(values) => Values::Vector(values, width),
            Made::F64(values) => Values::Doubles(values, width),
            Made::I64(values) => Values::Integer(values),
        }
    }
}

/// The columns of a batch.
pub(super) fn views(batch: &Batch) -> Vec<View<'_>> {
    fn view(values: &Values) -> View<'_> {
        match values {
            Values::Number(values) => View::Numbers(values),
            Values::Vector(values, width) => View::Vectors(values, *width),
            Values::Integer(values) => View::Integers(values),
            _ => View::Other,
        }
    }
    batch.columns.iter().map(|column| view(&column.values)).collect()
}
