//! The state of a key in `resample`: how far its time has come, and a ring of open buckets.
//!
//! Lives here: the views of a key's row of words. Must not live here: when buckets open and close (`resample`).

use bytemuck::{Pod, Zeroable};

use crate::config::Aggregate;

/// How far a key has come.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct RowHead {
    /// The first bucket that isn't over; `i64::MIN` before the first record.
    pub(super) low: i64,
    /// The latest time of any record.
    pub(super) latest: i64,
    /// The last bucket that came out with a value, `i64::MIN` before.
    pub(super) observed: i64,
}

/// Word of a row that is [`RowHead::low`].
pub(super) const LOW: usize = 0;

/// The last observed value of a column.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Last {
    pub(super) bucket: i64,
    pub(super) value: f64,
}

/// What an open bucket holds of a column.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Cell {
    pub(super) count: u64,
    pub(super) value: f64,
}

/// One key's state: typed views of its row.
pub(super) struct Key<'a> {
    pub(super) header: &'a mut RowHead,
    pub(super) last: &'a mut [Last],
    /// Per place in the ring, the number of its bucket, then its cells.
    pub(super) ring: &'a mut [u64],
    pub(super) open: i64,
}

impl<'a> Key<'a> {
    pub(super) fn of(words: &'a mut [u64], columns: usize, open: i64) -> Self {
        let (header, rest) = words.split_at_mut(size_of::<RowHead>() / 8);
        let (last, ring) = rest.split_at_mut(columns * size_of::<Last>() / 8);
        Key {
            header: bytemuck::from_bytes_mut(bytemuck::cast_slice_mut(header)),
            last: bytemuck::cast_slice_mut(last),
            ring,
            open,
        }
    }

    pub(super) fn place(&mut self, bucket: i64) -> (&mut u64, &mut [Cell]) {
        let width = 1 + self.last.len() * size_of::<Cell>() / 8;
        let at = bucket.rem_euclid(self.open) as usize * width;
        let (number, cells) = self.ring[at..at + width].split_at_mut(1);
        (&mut number[0], bytemuck::cast_slice_mut(cells))
    }

    /// The cells of an open bucket, empty ones if it had no record yet.
    pub(super) fn opened(&mut self, bucket: i64) -> &mut [Cell] {
        let (number, cells) = self.place(bucket);
        if *number != bucket as u64 {
            *number = bucket as u64;
            cells.fill(Cell { count: 0, value: 0.0 });
        }
        cells
    }

    /// The value of a bucket that has one.
    pub(super) fn value(&mut self, bucket: i64, column: usize, aggregate: Aggregate) -> Option<f64> {
        let (number, cells) = self.place(bucket);
        let cell = cells[column];
        if *number != bucket as u64 || cell.count == 0 {
            return None;
        }
        let value = match aggregate {
            Aggregate::Mean => cell.value / cell.count as f64,
            Aggregate::Count => cell.count as f64,
            _ => cell.value,
        };
        // A sum that overflowed is no value.
        value.is_finite().then_some(value)
    }
}

impl Cell {
    pub(super) fn add(&mut self, value: f64, aggregate: Aggregate) {
        self.value = match aggregate {
            _ if self.count == 0 => value,
            Aggregate::Mean | Aggregate::Sum => self.value + value,
            Aggregate::Min => self.value.min(value),
            Aggregate::Max => self.value.max(value),
            Aggregate::First | Aggregate::Count => self.value,
            Aggregate::Last => value,
        };
        self.count += 1;
    }
}
