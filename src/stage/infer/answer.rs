//! What the network gives of the rows of a batch, and what becomes of it: the numbers of each output, in the keys' own
//! units. Must not live here: running the network (`carry`, `window`).

use super::plan::PlannedOutput;
use crate::model::executor::{Output, RowsMut};
use crate::record::{self, Batch, Column, Values, logarithm};

/// Room for what the network gives.
pub(super) struct Answer<'a> {
    /// Its outputs, in order.
    pub(super) outputs: Vec<Output<'a>>,
    /// Whether a row is of the warm-up.
    pub(super) warm_up: Vec<bool>,
}

/// The rows of an output, NaN where there is none.
pub(super) enum Given {
    F32(Vec<f32>),
    F64(Vec<f64>),
}

impl<'a> Answer<'a> {
    pub(super) fn new(outputs: &[PlannedOutput], given: &'a mut [Given], rows: usize) -> Answer<'a> {
        let output = |(output, given): (&PlannedOutput, &'a mut Given)| {
            let values = match given {
                Given::F32(values) => RowsMut::F32(values),
                Given::F64(values) => RowsMut::F64(values),
            };
            Output { values, width: output.width }
        };
        Answer { outputs: outputs.iter().zip(given).map(output).collect(), warm_up: vec![true; rows] }
    }

    /// The numbers of an output in a row, if they are of 32 bits.
    pub(super) fn row(&mut self, output: usize, row: usize) -> Option<&mut [f32]> {
        let Output { values, width } = self.outputs.get_mut(output)?;
        match values {
            RowsMut::F32(values) => values.get_mut(row * *width..(row + 1) * *width),
            RowsMut::F64(_) => None,
        }
    }
}

impl PlannedOutput {
    /// Room for so many rows.
    pub(super) fn room(&self, rows: usize) -> Given {
        match self.is_number {
            true => Given::F64(vec![f64::NAN; rows]),
            false => Given::F32(vec![f32::NAN; rows * self.width]),
        }
    }

    /// Turns a forecast back into the keys' own units.
    pub(super) fn unscale(&self, batch: &Batch, given: &mut Given) {
        let Given::F32(values) = given else { return };
        let (targets, quantiles) = (self.scaled_by.len().max(1), self.quantiles.max(1));
        for (target, (pair, log)) in self.scaled_by.iter().zip(&self.log).enumerate() {
            let Some((mean, sd)) = pair else { continue };
            let (mean, sd) = (batch.columns[*mean].numbers(), batch.columns[*sd].numbers());
            for (row, outputs) in values.chunks_exact_mut(self.width).enumerate() {
                for output in outputs.chunks_exact_mut(quantiles).skip(target).step_by(targets).flatten() {
                    let value = f64::from(*output) * sd[row] + mean[row];
                    *output = if *log { logarithm::back(value) } else { value } as f32;
                }
            }
        }
    }
}

impl Given {
    /// Keeps the rows, of so many numbers, where `mask` is true.
    pub(super) fn keep(&mut self, mask: &[bool], width: usize) {
        match self {
            Given::F32(values) => record::keep(values, mask, width),
            Given::F64(values) => record::keep(values, mask, width),
        }
    }

    /// The columns that it becomes.
    pub(super) fn columns(self, output: &PlannedOutput) -> Vec<Column> {
        match (&output.classes, &self) {
            (Some(classes), Given::F32(values)) => classes.columns(values),
            _ => vec![self.values(output.width).into()],
        }
    }

    /// As the values of a column.
    fn values(self, width: usize) -> Values {
        match self {
            Given::F32(values) => Values::Vector(values, width),
            Given::F64(values) => Values::Number(values),
        }
    }
}
