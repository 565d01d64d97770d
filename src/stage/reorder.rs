//! `on.reorder`: records of a key are emitted in the order of their times.
//!
//! A record is held until its key has reached its time plus the span. So records that arrive out of order by less than
//! the span come out in order. A record older than one that was emitted is late, and `on.late` decides: `process` emits
//! it at once, `dead_letter` refuses it. Records of one time keep the order in which they came.
//!
//! Time advances by the key's own records: so the same records give the same order however they are batched or
//! partitioned. With `on.watermark: partition` records of other keys release rows too, each time that the partition has
//! advanced by one span. A row that is emitted has the position of the record that released it. At most [`MOST`]
//! records of a key are held; one more releases the oldest. At the end of a source all buffered rows are emitted.
//!
//! State per key: a header, a list of held records sorted by time (time and values of each), and for each vector column
//! those of the same records. So only the record's values and vectors of a fixed width can be held; a pipeline that
//! carries other columns along is refused.

use bytemuck::{Pod, Zeroable};
use serde_json::Value;

use super::{Build, Operator, Stage, columns};
use crate::Result;
use crate::config::{At, OnLate, Span};
use crate::error::Problems;
use crate::problem::Place;
use crate::record::{Batch, Clock, Column, Every, Kind, Layout, Reject, Values};
use crate::state::{State, StateSpec};

/// Records of a key that are held at most.
const MOST: usize = 64;
const NONE: i64 = i64::MIN;

/// What is kept per key before its held records.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
struct RowHead {
    /// Records held.
    held: u64,
    /// The latest time of any record.
    latest: i64,
    /// The latest time that was emitted.
    released: i64,
}

const HEADER: usize = size_of::<RowHead>() / size_of::<u64>();

/// `on.reorder`, with what `on.late` says.
pub(super) struct Reordering<'a> {
    /// How long a record is held.
    pub span: &'a At<Span>,
    /// What becomes of records that are later.
    pub late: OnLate,
}

impl Operator for Reordering<'_> {
    fn word(&self) -> &'static str {
        "reorder"
    }

    /// The order of records is not a property of the features.
    fn canonical(&self, _clock: &Clock) -> Option<Value> {
        None
    }

    /// `None` with a problem where records carry more than values.
    fn plan(&self, _place: Place, layout: &mut Layout, problems: &mut Problems) -> Option<Box<dyn Build>> {
        let span = self.span;
        let every = match layout.clock.every(span.value) {
            Ok(every) => every,
            Err(message) => {
                problems.add(span.place, message);
                return None;
            }
        };
        if let Some(passthrough) = layout.columns.iter().find(|column| matches!(column.kind, Kind::Passthrough(_))) {
            problems.add(
                span.place,
                format!(
                    "`reorder` holds only key, time, values and vectors: column \"{}\" can't be passed through",
                    passthrough.name
                ),
            );
            return None;
        }
        let (vectors, samples) = columns::vectors(layout);
        if let Some(samples) = samples.first() {
            let name = &layout.columns[*samples].name;
            problems.add(
                span.place,
                format!(
                    "`reorder` holds vectors of a fixed width: column \"{name}\" has any, write its width instead of \
                     `any`"
                ),
            );
            return None;
        }
        let values = columns::values(layout);
        let out = Out {
            values: vec![Vec::new(); values.len()],
            vectors: vec![Vec::new(); vectors.len()],
            order: layout.columns.iter().map(|column| column.kind == Kind::Number).collect(),
            widths: vectors.iter().map(|(_, width)| *width).collect(),
            ..Out::default()
        };
        let vectors =
            vectors.into_iter().map(|(index, width)| (index, width, layout.columns[index].name.clone())).collect();
        let names = values.iter().map(|column| layout.columns[*column].name.clone()).collect();
        Some(Box::new(Reorder {
            every,
            late: self.late,
            clock: layout.clock.clone(),
            values,
            names,
            vectors,
            out,
            came_late: Vec::new(),
        }))
    }
}

#[derive(Clone)]
struct Reorder {
    every: Every,
    late: OnLate,
    clock: crate::record::Clock,
    values: Vec<usize>,
    names: Vec<String>,
    /// Columns of vectors with their widths and names.
    vectors: Vec<(usize, usize, String)>,
    out: Out,
    /// Positions of records that were emitted at once because they came too late.
    came_late: Vec<u64>,
}

/// The rows that come out.
#[derive(Clone, Default)]
struct Out {
    slots: Vec<u32>,
    times: Vec<i64>,
    positions: Vec<u64>,
    values: Vec<Vec<f64>>,
    vectors: Vec<Vec<f32>>,
    widths: Vec<usize>,
    /// Per column of the layout, whether it is a value and no vector.
    order: Vec<bool>,
}

/// One key's state.
struct Held<'a> {
    header: &'a mut RowHead,
    /// Per record its time, then its values as bits.
    records: &'a mut [u64],
    width: usize,
    /// Per vector column, the vectors of the same records.
    vectors: Vec<&'a mut [f32]>,
}

impl<'a> Held<'a> {
    fn of(words: &'a mut [u64], values: usize, widths: &[usize]) -> Held<'a> {
        let (header, rest) = words.split_at_mut(HEADER);
        let width = 1 + values;
        let (records, mut rest) = rest.split_at_mut(MOST * width);
        let mut vectors = Vec::new();
        for width in widths {
            let numbers = MOST * width;
            let (of_column, after) = rest.split_at_mut(numbers.div_ceil(2));
            vectors.push(&mut bytemuck::cast_slice_mut(of_column)[..numbers]);
            rest = after;
        }
        Held { header: bytemuck::from_bytes_mut(bytemuck::cast_slice_mut(header)), records, width, vectors }
    }

    fn time(&self, at: usize) -> i64 {
        self.records[at * self.width] as i64
    }

    /// Puts a record after those of the same or an earlier time.
    fn insert<'v>(&mut self, time: i64, values: impl Iterator<Item = f64>, vectors: impl Iterator<Item = &'v [f32]>) {
        let held = self.header.held as usize;
        let at = (0..held).rev().find(|at| self.time(*at) <= time).map_or(0, |at| at + 1);
        self.records.copy_within(at * self.width..held * self.width, (at + 1) * self.width);
        let record = &mut self.records[at * self.width..(at + 1) * self.width];
        record[0] = time as u64;
        for (word, value) in record[1..].iter_mut().zip(values) {
            *word = value.to_bits();
        }
        for (of_column, vector) in self.vectors.iter_mut().zip(vectors) {
            let width = vector.len();
            of_column.copy_within(at * width..held * width, (at + 1) * width);
            of_column[at * width..(at + 1) * width].copy_from_slice(vector);
        }
        self.header.held += 1;
    }

    /// Lets the oldest `count` go.
    fn release(&mut self, count: usize, slot: u32, position: u64, out: &mut Out) {
        if count == 0 {
            return;
        }
        for (at, record) in self.records[..count * self.width].chunks_exact(self.width).enumerate() {
            out.row(slot, record[0] as i64, position, record[1..].iter().map(|bits| f64::from_bits(*bits)));
            for (column, of_column) in self.vectors.iter().enumerate() {
                let width = out.widths[column];
                out.vectors[column].extend_from_slice(&of_column[at * width..(at + 1) * width]);
            }
        }
        self.header.released = self.header.released.max(self.time(count - 1));
        let held = self.header.held as usize;
        self.records.copy_within(count * self.width..held * self.width, 0);
        for (of_column, width) in self.vectors.iter_mut().zip(&out.widths) {
            of_column.copy_within(count * width..held * width, 0);
        }
        self.header.held -= count as u64;
    }

    /// Emits rows that are not later than `until`.
    fn release_until(&mut self, until: i64, slot: u32, position: u64, out: &mut Out) {
        let held = self.header.held as usize;
        let count = (0..held).find(|at| self.time(*at) > until).unwrap_or(held);
        self.release(count, slot, position, out);
    }
}

impl Out {
    fn row(&mut self, slot: u32, time: i64, position: u64, values: impl Iterator<Item = f64>) {
        self.slots.push(slot);
        self.times.push(time);
        self.positions.push(position);
        for (column, value) in self.values.iter_mut().zip(values) {
            column.push(value);
        }
    }

    fn take(&mut self) -> Batch {
        let Out { values, vectors, widths, order, .. } = self;
        let (mut values, mut vectors) = (values.iter_mut(), vectors.iter_mut().zip(widths));
        let column = |is_value: &bool| match is_value {
            true => values.next().map(|values| Values::Number(std::mem::take(values))),
            false => vectors.next().map(|(numbers, width)| Values::Vector(std::mem::take(numbers), *width)),
        };
        let columns = order.iter().filter_map(column).map(Column::from).collect();
        Batch {
            slots: std::mem::take(&mut self.slots),
            times: std::mem::take(&mut self.times),
            positions: std::mem::take(&mut self.positions),
            columns,
            rejects: Vec::new(),
        }
    }
}

impl Stage for Reorder {
    fn name(&self) -> &'static str {
        "reorder"
    }

    /// The [`RowHead`], then the records.
    fn state(&self) -> StateSpec {
        let time = StateSpec::default().i64("held.time", 0);
        let record = self.names.iter().fold(time, |spec, name| spec.f64(format!("held.{name}"), 0.0));
        let spec = StateSpec::default().u64("held", 0).i64("latest", NONE).i64("released", NONE).repeated(MOST, record);
        self.vectors.iter().fold(spec, |spec, (_, width, name)| spec.f32s(format!("held.{name}"), MOST * width))
    }

    fn process(&mut self, batch: &mut Batch, state: &mut State<'_>) -> Result<()> {
        let Reorder { every, late, clock, values, vectors, out, came_late, .. } = self;
        let widths = out.widths.clone();
        for row in 0..batch.rows() {
            let (slot, time, position) = (batch.slots[row], batch.times[row], batch.positions[row]);
            let record = values.iter().map(|column| batch.columns[*column].numbers()[row]);
            let vectors = || {
                vectors.iter().map(|(column, width, _)| match &batch.columns[*column].values {
                    Values::Vector(numbers, _) => &numbers[row * width..(row + 1) * width],
                    _ => &[],
                })
            };
            let mut held = Held::of(state.rows.get_mut(slot), values.len(), &widths);
            if time < held.header.released {
                match late {
                    OnLate::Process => {
                        out.row(slot, time, position, record);
                        out.vectors.iter_mut().zip(vectors()).for_each(|(to, vector)| to.extend_from_slice(vector));
                        came_late.push(position);
                    }
                    OnLate::DeadLetter => batch.rejects.push(Reject { position, reason: "late" }),
                }
                continue;
            }
            if held.header.held as usize == MOST {
                held.release(1, slot, position, out);
            }
            held.insert(time, record, vectors());
            held.header.latest = held.header.latest.max(time);
            if let Some(until) = clock.step(held.header.latest, *every, -1) {
                held.release_until(until, slot, position, out);
            }
        }
        batch.rejects.sort_by_key(|reject| reject.position);
        let rejects = std::mem::take(&mut batch.rejects);
        *batch = Batch { rejects, ..out.take() };
        Ok(())
    }

    fn late(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.came_late)
    }

    fn due(&self, since: i64) -> Option<i64> {
        self.clock.step(since, self.every, 1)
    }

    fn advance(
        &mut self,
        until: Option<i64>,
        state: &mut State<'_>,
        keys: u32,
        position: u64,
    ) -> Result<Option<Batch>> {
        let until = match until {
            None => Some(i64::MAX),
            Some(until) => self.clock.step(until, self.every, -1),
        };
        let Some(until) = until else { return Ok(None) };
        for slot in 0..keys {
            // Read before it is written: a written row is part of the next checkpoint. The first record held is the
            // oldest.
            let row = state.rows.get(slot);
            if row[0] == 0 || row[HEADER] as i64 > until {
                continue;
            }
            let widths = self.out.widths.clone();
            let mut held = Held::of(state.rows.get_mut(slot), self.values.len(), &widths);
            held.release_until(until, slot, position, &mut self.out);
        }
        Ok(Some(self.out.take()))
    }
}

#[cfg(test)]
#[path = "reorder_tests.rs"]
mod tests;
