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
//! State per key: a header, and a list of held records sorted by time (time and values of each). So only the record's
//! values can be held; a pipeline that carries other columns along is refused.

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
                    "`reorder` holds only key, time and values: column \"{}\" can't be passed through",
                    passthrough.name
                ),
            );
            return None;
        }
        let values = columns::values(layout);
        let out = Out { values: vec![Vec::new(); values.len()], ..Out::default() };
        let names = values.iter().map(|column| layout.columns[*column].name.clone()).collect();
        Some(Box::new(Reorder {
            every,
            late: self.late,
            clock: layout.clock.clone(),
            values,
            names,
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
}

/// One key's state.
struct Held<'a> {
    header: &'a mut RowHead,
    /// Per record its time, then its values as bits.
    records: &'a mut [u64],
    width: usize,
}

impl<'a> Held<'a> {
    fn of(words: &'a mut [u64], values: usize) -> Held<'a> {
        let (header, records) = words.split_at_mut(HEADER);
        Held { header: bytemuck::from_bytes_mut(bytemuck::cast_slice_mut(header)), records, width: 1 + values }
    }

    fn time(&self, at: usize) -> i64 {
        self.records[at * self.width] as i64
    }

    /// Puts a record after those of the same or an earlier time.
    fn insert(&mut self, time: i64, values: impl Iterator<Item = f64>) {
        let held = self.header.held as usize;
        let at = (0..held).rev().find(|at| self.time(*at) <= time).map_or(0, |at| at + 1);
        self.records.copy_within(at * self.width..held * self.width, (at + 1) * self.width);
        let record = &mut self.records[at * self.width..(at + 1) * self.width];
        record[0] = time as u64;
        for (word, value) in record[1..].iter_mut().zip(values) {
            *word = value.to_bits();
        }
        self.header.held += 1;
    }

    /// Lets the oldest `count` go.
    fn release(&mut self, count: usize, slot: u32, position: u64, out: &mut Out) {
        if count == 0 {
            return;
        }
        for record in self.records[..count * self.width].chunks_exact(self.width) {
            out.row(slot, record[0] as i64, position, record[1..].iter().map(|bits| f64::from_bits(*bits)));
        }
        self.header.released = self.header.released.max(self.time(count - 1));
        let held = self.header.held as usize;
        self.records.copy_within(count * self.width..held * self.width, 0);
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
        let columns =
            self.values.iter_mut().map(|values| Column::from(Values::Number(std::mem::take(values)))).collect();
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
        StateSpec::default().u64("held", 0).i64("latest", NONE).i64("released", NONE).repeated(MOST, record)
    }

    fn process(&mut self, batch: &mut Batch, state: &mut State<'_>) -> Result<()> {
        let Reorder { every, late, clock, values, out, came_late, .. } = self;
        for row in 0..batch.rows() {
            let (slot, time, position) = (batch.slots[row], batch.times[row], batch.positions[row]);
            let record = values.iter().map(|column| batch.columns[*column].numbers()[row]);
            let mut held = Held::of(state.rows.get_mut(slot), values.len());
            if time < held.header.released {
                match late {
                    OnLate::Process => {
                        out.row(slot, time, position, record);
                        came_late.push(position);
                    }
                    OnLate::DeadLetter => batch.rejects.push(Reject { position, reason: "late" }),
                }
                continue;
            }
            if held.header.held as usize == MOST {
                held.release(1, slot, position, out);
            }
            held.insert(time, record);
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
            Held::of(state.rows.get_mut(slot), self.values.len()).release_until(until, slot, position, &mut self.out);
        }
        Ok(Some(self.out.take()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::testing::{self, Table};
    use crate::state::Arena;
    use proptest::prelude::*;

    fn stage(seconds: i64, late: OnLate) -> Box<dyn Stage> {
        let span = At { value: Span::Nanos(seconds * 1_000_000_000), place: Place::default() };
        let mut problems = Problems::default();
        let reordering = Reordering { span: &span, late };
        let stage = testing::plan(&reordering, &mut Table::new(&["v"]).layout(), &mut problems).unwrap();
        problems.finish(stage).unwrap()
    }

    /// Key, time and value of the output, with batches cut at `cuts`; and the number of rejects.
    fn run(stage: &mut dyn Stage, rows: &[(u32, i64, f64)], batch: usize) -> (Vec<(u32, i64, f64)>, usize) {
        let mut arena = Arena::new(stage.state().initial().to_vec());
        arena.grow_to(8);
        let (mut seen, mut refused) = (Vec::new(), 0);
        let mut collect = |batch: &Batch| {
            for row in 0..batch.rows() {
                seen.push((batch.slots[row], batch.times[row], batch.columns[0].numbers()[row]));
            }
        };
        for rows in rows.chunks(batch) {
            let mut table = Table::new(&["v"]);
            rows.iter().for_each(|(key, time, value)| table.push(*key, *time, &[*value]));
            let mut batch = table.batch();
            let width = arena.width();
            stage.process(&mut batch, &mut State { rows: arena.rows(0, width), bank: None, keys: None }).unwrap();
            refused += batch.rejects.len();
            collect(&batch);
        }
        let width = arena.width();
        let rest = stage
            .advance(None, &mut State { rows: arena.rows(0, width), bank: None, keys: None }, 8, 0)
            .unwrap()
            .unwrap();
        collect(&rest);
        (seen, refused)
    }

    #[test]
    fn order_is_restored_within_the_span() {
        let rows = [(0, 10, 1.0), (0, 12, 2.0), (0, 11, 3.0), (1, 5, 4.0), (0, 20, 5.0), (0, 9, 6.0)];
        let (seen, refused) = run(stage(5, OnLate::DeadLetter).as_mut(), &rows, 10);
        assert_eq!(seen, [(0, 10, 1.0), (0, 11, 3.0), (0, 12, 2.0), (0, 20, 5.0), (1, 5, 4.0)]);
        assert_eq!(refused, 1);
        let (seen, _) = run(stage(5, OnLate::Process).as_mut(), &rows, 10);
        assert_eq!(seen[3], (0, 9, 6.0), "a late one is emitted at once");
    }

    #[test]
    fn the_clock_lets_go_what_is_old_enough() {
        let mut stage = stage(5, OnLate::Process);
        let mut arena = Arena::new(stage.state().initial().to_vec());
        arena.grow_to(1);
        let mut table = Table::new(&["v"]);
        [(10, 1.0), (12, 2.0)].iter().for_each(|(time, value)| table.push(0, *time, &[*value]));
        let mut batch = table.batch();
        let width = arena.width();
        stage.process(&mut batch, &mut State { rows: arena.rows(0, width), bank: None, keys: None }).unwrap();
        assert!(batch.is_empty());
        let out = stage
            .advance(Some(16), &mut State { rows: arena.rows(0, width), bank: None, keys: None }, 1, 7)
            .unwrap()
            .unwrap();
        assert_eq!((out.times, out.positions), (vec![10], vec![7]));
    }

    proptest! {
        /// However they arrive within the span and however they are batched: the order of their times.
        #[test]
        fn any_order_within_the_span_is_the_same(
            gaps in proptest::collection::vec((0..8_u32, 0..3_i64), 1..120), shifts in proptest::collection::vec(0..10_i64, 120),
            batch in 1..40_usize,
        ) {
            let mut time = 0;
            let sorted: Vec<(u32, i64, f64)> = gaps.iter().enumerate().map(|(i, (key, gap))| {
                time += gap + 1;
                (*key, time, i as f64)
            }).collect();
            // Sorted by times that are off by less than the span, nothing is later than the span allows.
            let mut arrived = sorted.clone();
            arrived.sort_by_key(|(_, time, value)| time + shifts[*value as usize]);
            let (seen, refused) = run(stage(10, OnLate::DeadLetter).as_mut(), &arrived, batch);
            prop_assert_eq!(refused, 0);
            for key in 0..8 {
                let of = |rows: &[(u32, i64, f64)]| rows.iter().filter(|row| row.0 == key).copied().collect::<Vec<_>>();
                prop_assert_eq!(of(&seen), of(&sorted));
            }
            prop_assert_eq!(run(stage(10, OnLate::DeadLetter).as_mut(), &arrived, 1000).0, run(stage(10, OnLate::DeadLetter).as_mut(), &arrived, batch).0);
        }
    }
}
