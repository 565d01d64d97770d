//! Rows of one partition, as columns.

use arrow::array::{Array, ArrayRef, BooleanArray, UInt32Array};
use arrow::compute::{concat, take};

use crate::error::Context;
use crate::{Error, Result};

/// Values of a column, one per row. Plain vectors: stages write in place and reuse the memory of the batch before.
#[derive(Debug, Clone)]
pub enum Values {
    /// [`super::Kind::Number`]; NaN is null.
    Number(Vec<f64>),
    /// [`super::Kind::Vector`], row-major [rows, width]; NaN is null.
    Vector(Vec<f32>, usize),
    /// [`super::Kind::Doubles`], row-major [rows, width]; NaN is null.
    Doubles(Vec<f64>, usize),
    /// [`super::Kind::Flag`]
    Flag(Vec<bool>),
    /// [`super::Kind::Time`]; [`super::NO_TIME`] is null.
    Time(Vec<i64>),
    /// [`super::Kind::Integer`]
    Integer(Vec<i64>),
    /// [`super::Kind::Passthrough`] and [`super::Kind::Samples`]
    Passthrough(ArrayRef),
}

/// A column of a batch.
#[derive(Debug, Clone)]
pub struct Column {
    /// One value per row.
    pub values: Values,
    /// Per row, whether the value came from a record (false: filled, carried forward or missing). `None`: all of them
    /// did where they aren't null. Only numbers have it. No loss, metric or score is taken where it is false.
    pub observed: Option<Vec<bool>>,
}

/// A row that a stage refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// Position of the record that caused it.
    pub position: u64,
    /// Short and of few different values: it labels a metric.
    pub reason: &'static str,
}

/// Rows of one partition in the order of the partition.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Per row, the slot of its key in the partition's key table and arena.
    pub slots: Vec<u32>,
    /// Per row, its time in ticks.
    pub times: Vec<i64>,
    /// Per row, the position (count of records before it in the partition) of the record that caused it.
    pub positions: Vec<u64>,
    /// As the layout says.
    pub columns: Vec<Column>,
    /// Records that stages refused, in order.
    pub rejects: Vec<Reject>,
}

impl From<Values> for Column {
    fn from(values: Values) -> Self {
        Column { values, observed: None }
    }
}

impl Column {
    /// The numbers of a column that the layout says is numeric; empty for any other.
    pub fn numbers(&self) -> &[f64] {
        match &self.values {
            Values::Number(values) => values,
            _ => &[],
        }
    }

    /// Whether the value of a row was observed: not filled, not carried forward, not null.
    pub fn is_observed(&self, row: usize) -> bool {
        match (&self.observed, &self.values) {
            (Some(observed), _) => observed[row],
            (None, Values::Number(values)) => values[row].is_finite(),
            _ => true,
        }
    }

    fn append(&mut self, more: Column, before: usize, after: usize) -> Option<()> {
        // If some rows have the flag, all rows must have it.
        if self.observed.is_some() || more.observed.is_some() {
            let known = |column: &Column, rows: usize| (0..rows).map(|row| column.is_observed(row)).collect::<Vec<_>>();
            let mut observed = known(self, before);
            observed.extend(known(&more, after));
            self.observed = Some(observed);
        }
        match (&mut self.values, more.values) {
            (Values::Number(a), Values::Number(b)) => a.extend(b),
            (Values::Vector(a, _), Values::Vector(b, _)) => a.extend(b),
            (Values::Doubles(a, _), Values::Doubles(b, _)) => a.extend(b),
            (Values::Flag(a), Values::Flag(b)) => a.extend(b),
            (Values::Time(a), Values::Time(b)) | (Values::Integer(a), Values::Integer(b)) => a.extend(b),
            (Values::Passthrough(a), Values::Passthrough(b)) => *a = concat(&[a.as_ref(), b.as_ref()]).ok()?,
            _ => return None,
        }
        Some(())
    }

    fn split_off(&mut self, at: usize, rows: usize) -> Column {
        let values = match &mut self.values {
            Values::Number(v) => Values::Number(v.split_off(at)),
            Values::Vector(v, width) => Values::Vector(v.split_off(at * *width), *width),
            Values::Doubles(v, width) => Values::Doubles(v.split_off(at * *width), *width),
            Values::Flag(v) => Values::Flag(v.split_off(at)),
            Values::Time(v) => Values::Time(v.split_off(at)),
            Values::Integer(v) => Values::Integer(v.split_off(at)),
            Values::Passthrough(array) => {
                let rest = array.slice(at, rows - at);
                *array = array.slice(0, at);
                Values::Passthrough(rest)
            }
        };
        Column { values, observed: self.observed.as_mut().map(|observed| observed.split_off(at)) }
    }

    fn keep(&mut self, mask: &[bool]) {
        match &mut self.values {
            Values::Number(v) => keep(v, mask, 1),
            Values::Vector(v, width) => keep(v, mask, *width),
            Values::Doubles(v, width) => keep(v, mask, *width),
            Values::Flag(v) => keep(v, mask, 1),
            Values::Time(v) | Values::Integer(v) => keep(v, mask, 1),
            Values::Passthrough(array) => {
                let mask = BooleanArray::from(mask.to_vec());
                // A mask of the array's own length can't fail on any type.
                if let Ok(kept) = arrow::compute::filter(array.as_ref(), &mask) {
                    *array = kept;
                }
            }
        }
        if let Some(observed) = &mut self.observed {
            keep(observed, mask, 1);
        }
    }
}

impl Batch {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.times.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// Appends the rows of another batch of the same layout.
    ///
    /// # Errors
    /// Batches of different layouts.
    pub fn append(&mut self, more: Batch) -> Result<()> {
        self.rejects.extend(more.rejects);
        if more.times.is_empty() {
            return Ok(());
        }
        if self.is_empty() {
            *self = Batch { rejects: std::mem::take(&mut self.rejects), ..more };
            return Ok(());
        }
        let differ = || Error::failed("batches of different layouts can't be joined: internal error, please report");
        if self.columns.len() != more.columns.len() {
            return Err(differ());
        }
        let (before, after) = (self.rows(), more.times.len());
        self.slots.extend(more.slots);
        self.times.extend(more.times);
        self.positions.extend(more.positions);
        for (column, more) in self.columns.iter_mut().zip(more.columns) {
            column.append(more, before, after).ok_or_else(differ)?;
        }
        Ok(())
    }

    /// Splits off the rows from `at` on; rejects stay.
    pub fn split_off(&mut self, at: usize) -> Batch {
        let rows = self.rows();
        Batch {
            slots: self.slots.split_off(at),
            times: self.times.split_off(at),
            positions: self.positions.split_off(at),
            columns: self.columns.iter_mut().map(|column| column.split_off(at, rows)).collect(),
            rejects: Vec::new(),
        }
    }

    /// Makes row `rows[n]` the row n: rows may come several times, or not at all. Columns that are `replaced` are left
    /// as they are.
    ///
    /// # Errors
    /// Columns whose rows can't be repeated.
    pub fn take_rows(&mut self, rows: &[u32], replaced: impl Fn(usize) -> bool) -> Result<()> {
        let indices = UInt32Array::from(rows.to_vec());
        for (_, column) in self.columns.iter_mut().enumerate().filter(|(index, _)| !replaced(*index)) {
            match &mut column.values {
                Values::Number(v) => *v = taken(v, rows, 1),
                Values::Vector(v, width) => *v = taken(v, rows, *width),
                Values::Doubles(v, width) => *v = taken(v, rows, *width),
                Values::Flag(v) => *v = taken(v, rows, 1),
                Values::Time(v) | Values::Integer(v) => *v = taken(v, rows, 1),
                Values::Passthrough(array) => {
                    *array = take(array, &indices, None).or_failed(|| "repeating rows".into())?;
                }
            }
            column.observed = column.observed.as_ref().map(|observed| taken(observed, rows, 1));
        }
        self.slots = taken(&self.slots, rows, 1);
        self.times = taken(&self.times, rows, 1);
        self.positions = taken(&self.positions, rows, 1);
        Ok(())
    }

    /// Keeps the rows where `mask` (one per row) is true, in order.
    pub fn keep(&mut self, mask: &[bool]) {
        debug_assert_eq!(mask.len(), self.rows());
        if mask.iter().all(|keep| *keep) {
            return;
        }
        keep(&mut self.slots, mask, 1);
        keep(&mut self.times, mask, 1);
        keep(&mut self.positions, mask, 1);
        for column in &mut self.columns {
            column.keep(mask);
        }
    }
}

fn taken<T: Copy>(values: &[T], rows: &[u32], width: usize) -> Vec<T> {
    rows.iter().flat_map(|row| &values[*row as usize * width..][..width]).copied().collect()
}

/// Keeps the rows, of so many values, where `mask` is true.
pub fn keep<T: Copy>(values: &mut Vec<T>, mask: &[bool], width: usize) {
    let mut to = 0;
    for (row, _) in mask.iter().enumerate().filter(|(_, keep)| **keep) {
        values.copy_within(row * width..(row + 1) * width, to * width);
        to += 1;
    }
    values.truncate(to * width);
}

impl Values {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        match self {
            Values::Number(v) => v.len(),
            Values::Vector(v, width) => v.len() / (*width).max(1),
            Values::Doubles(v, width) => v.len() / (*width).max(1),
            Values::Flag(v) => v.len(),
            Values::Time(v) | Values::Integer(v) => v.len(),
            Values::Passthrough(array) => array.len(),
        }
    }
}
