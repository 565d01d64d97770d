//! `record.sequence`: which rows begin a sequence, and which end one.
//!
//! An internal stage, always right before what the network is fed: the rows that count are those that reach it. `end`
//! ends a sequence with a row whose column is true, or 1; `length` with every n-th row of the key. `gap` ends it before
//! a row that comes later than that after the key's latest one, and `key` at the end of the source. In mode sequence
//! the network's answer at the last row counts; so with `gap` and `key` each row is held until it is known whether
//! it is the last one. A held row comes out with the next row of its key and takes that one's position. With
//! `on.watermark: partition` records of other keys end a sequence as well, each time that the partition has advanced by
//! one gap. At the end of a source the rows held for `key` come out as the last ones of their sequences; what `gap`
//! holds stays, since the key may go on.
//!
//! Where a network must see whole sequences, those have at most so many rows. A row beyond is refused as
//! `sequence_too_long`, and its sequence ends without an answer.
//!
//! State per key: the rows of the sequence so far, the latest time, and the row that is held.

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use bytemuck::{Pod, Zeroable};
use serde_json::Value;

use super::held::Holds;
use super::{Build, Operator, Stage};
use crate::Result;
use crate::config::{self, At};
use crate::error::{Context, Problems};
use crate::metrics::Metrics;
use crate::problem::Place;
use crate::record::{Batch, Clock, Column, Every, Kind, Layout, Reject, Role, Values};
use crate::state::{State, StateSpec};

/// `record.sequence`, with what the network needs.
pub(super) struct Sequences<'a> {
    /// Where sequences end.
    pub rule: &'a At<config::Sequence>,
    /// Whether a row must know that it is the last one.
    pub to_the_end: bool,
    /// Rows of a sequence at most.
    pub most: Option<usize>,
    /// Where sequences are counted; training has none.
    pub metrics: Option<Arc<Metrics>>,
}

impl Operator for Sequences<'_> {
    fn word(&self) -> &'static str {
        "sequence"
    }

    fn reads(&self) -> Vec<At<String>> {
        match &self.rule.value {
            config::Sequence::End(column) => vec![column.clone()],
            _ => Vec::new(),
        }
    }

    /// What sequences a model is used on is a choice of who runs it.
    fn canonical(&self, _clock: &Clock) -> Option<Value> {
        None
    }

    /// Adds the flags of rows that begin and that end a sequence.
    fn plan(&self, _place: Place, layout: &mut Layout, problems: &mut Problems) -> Option<Box<dyn Build>> {
        let rule = match &self.rule.value {
            config::Sequence::Key => Rule::Key,
            config::Sequence::Length(length) => {
                if let Some(most) = self.most.filter(|most| most < length) {
                    let message = format!(
                        "sequences have {length} records, and the network sees at most {most} at once: write \
                         `max_length: {length}` within `infer`"
                    );
                    problems.add(self.rule.place, message);
                    return None;
                }
                Rule::Length(*length as u64)
            }
            config::Sequence::Gap(gap) => match layout.clock.every(gap.value) {
                Ok(every) => Rule::Gap(every),
                Err(message) => {
                    problems.add(gap.place, format!("gap: {message}"));
                    return None;
                }
            },
            config::Sequence::End(column) => Rule::End(end(column, layout, problems)?),
        };
        let holds = match rule {
            Rule::Key | Rule::Gap(_) if self.to_the_end => match Holds::plan(layout) {
                Ok(holds) => Some(holds),
                Err(name) => {
                    let message = format!(
                        "a row is held until the next one of its key shows whether it ends the sequence; column \
                         \"{name}\" has lists of any length, which can't be held: leave it out, or write {{ end: \
                         COLUMN }} or {{ length: n }}"
                    );
                    problems.add(self.rule.place, message);
                    return None;
                }
            },
            _ => None,
        };
        let (clock, asked) = (layout.clock.clone(), layout.restart);
        layout.restart = Some(layout.add("begins", Kind::Flag, Role::Internal));
        layout.ends = Some(layout.add("ends", Kind::Flag, Role::Internal));
        let (most, metrics) = (self.most.map(|most| most as u64), self.metrics.clone());
        Some(Box::new(Sequence { rule, holds, most, metrics, clock, asked, out: Out::default() }))
    }
}

/// The column that ends sequences.
fn end(name: &At<String>, layout: &Layout, problems: &mut Problems) -> Option<usize> {
    let Some(column) = layout.find(name) else {
        problems.add(name.place, layout.unknown(name));
        return None;
    };
    match &layout.columns[column].kind {
        Kind::Number | Kind::Flag | Kind::Passthrough(DataType::Boolean) => Some(column),
        Kind::Passthrough(of) if of.is_integer() => Some(column),
        other => {
            let found = match other {
                Kind::Passthrough(of) => of.to_string(),
                other => format!("{other:?}"),
            };
            let message = format!(
                "`end`: column \"{}\" is {found}, expected a boolean, or an integer that is 0 or 1",
                name.value
            );
            problems.add(name.place, message);
            None
        }
    }
}

#[derive(Clone, Copy)]
enum Rule {
    Key,
    /// The column.
    End(usize),
    Gap(Every),
    Length(u64),
}

#[derive(Clone)]
struct Sequence {
    rule: Rule,
    holds: Option<Holds>,
    most: Option<u64>,
    metrics: Option<Arc<Metrics>>,
    clock: Clock,
    /// The flag of rows at which a stage before starts again.
    asked: Option<usize>,
    out: Out,
}

/// What is kept per key, before the row that is held.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct RowHead {
    /// Rows of the sequence so far; 0: the next one begins one.
    rows: u64,
    /// The latest time of the key.
    latest: i64,
}

/// Words of state after the head: whether a row is held, whether it begins a sequence, its time, the row.
const HELD: usize = 0;
const BEGINS: usize = 1;
const TIME: usize = 2;
const ROW: usize = 3;
const HEAD: usize = size_of::<RowHead>() / size_of::<u64>();

/// The rows that come out, but for the columns that are held.
#[derive(Clone, Default)]
struct Out {
    slots: Vec<u32>,
    times: Vec<i64>,
    positions: Vec<u64>,
    begins: Vec<bool>,
    ends: Vec<bool>,
}

impl Out {
    fn row(&mut self, slot: u32, time: i64, position: u64, begins: bool, ends: bool) {
        self.slots.push(slot);
        self.times.push(time);
        self.positions.push(position);
        self.begins.push(begins);
        self.ends.push(ends);
    }

    /// As a batch with these columns.
    fn take(&mut self, mut columns: Vec<Column>) -> Batch {
        let Out { slots, times, positions, begins, ends } = std::mem::take(self);
        columns.push(Values::Flag(begins).into());
        columns.push(Values::Flag(ends).into());
        Batch { slots, times, positions, columns, rejects: Vec::new() }
    }
}

/// Per row, whether it says that it is the last one; `None`: neither yes nor no.
fn said(column: &Column) -> Result<Vec<Option<bool>>> {
    let truth = |value: i64| (0..=1).contains(&value).then_some(value == 1);
    Ok(match &column.values {
        Values::Flag(flags) => flags.iter().map(|flag| Some(*flag)).collect(),
        Values::Passthrough(array) if *array.data_type() == DataType::Boolean => {
            array.as_boolean().iter().map(|flag| Some(flag == Some(true))).collect()
        }
        Values::Passthrough(array) => {
            let numbers = cast(array, &DataType::Int64).or_failed(|| "reading the end of a sequence".into())?;
            let numbers = numbers.as_primitive::<Int64Type>();
            // A number beyond 64 bits is null after the cast.
            let value = |row: usize| match (array.is_null(row), numbers.is_null(row)) {
                (true, _) => Some(false),
                (_, true) => None,
                _ => truth(numbers.value(row)),
            };
            (0..array.len()).map(value).collect()
        }
        _ => {
            let value = |(row, value): (usize, &f64)| match *value {
                // What `on.null: carry` fills in is no word of the record.
                _ if !column.is_observed(row) => Some(false),
                1.0 => Some(true),
                0.0 => Some(false),
                _ => None,
            };
            column.numbers().iter().enumerate().map(value).collect()
        }
    })
}

impl Sequence {
    /// Whether `t` is too long after `latest`.
    fn pauses(&self, latest: i64, t: i64) -> bool {
        matches!(self.rule, Rule::Gap(gap) if self.clock.is_beyond(latest, gap, t))
    }

    fn count(&self, finished: u64, dropped: u64) {
        if let Some(metrics) = &self.metrics {
            metrics.sequences.inc_by(finished);
            metrics.sequences_dropped.inc_by(dropped);
        }
    }
}

impl Stage for Sequence {
    fn name(&self) -> &'static str {
        "sequence"
    }

    fn state(&self) -> StateSpec {
        let spec = StateSpec::default().u64("rows", 0).i64("latest", i64::MIN);
        match &self.holds {
            None => spec,
            Some(holds) => holds.state(spec.flag("held", false).flag("held.begins", false).i64("held.time", i64::MIN)),
        }
    }

    fn process(&mut self, batch: &mut Batch, state: &mut State<'_>) -> Result<()> {
        let said = match self.rule {
            Rule::End(column) => Some(said(&batch.columns[column])?),
            _ => None,
        };
        let asked = self.asked.map(|column| &batch.columns[column].values);
        let mut holds = self.holds.take();
        let rows = holds.as_ref().map(|holds| holds.rows(batch)).transpose()?;
        let (mut out, mut kept) = (std::mem::take(&mut self.out), vec![true; batch.rows()]);
        let (mut refused, mut finished, mut dropped) = (Vec::new(), 0, 0);
        for row in 0..batch.rows() {
            let (slot, time, position) = (batch.slots[row], batch.times[row], batch.positions[row]);
            let mut refuse = |reason| {
                refused.push(Reject { position, reason });
                kept[row] = false;
            };
            let ends = said.as_ref().map_or(Some(false), |said| said[row]);
            let Some(mut ends) = ends else {
                refuse("bad_value");
                continue;
            };
            if rows.as_ref().is_some_and(|rows| !rows.fits(row)) {
                refuse("text_too_long");
                continue;
            }
            let (head, held): (&mut RowHead, &mut [u64]) = state.rows.split_mut(slot);
            let begins = head.rows == 0 || self.pauses(head.latest, time);
            // What was held is followed by this row.
            if let Some(holds) = &mut holds
                && held[HELD] == 1
            {
                out.row(slot, held[TIME] as i64, position, held[BEGINS] == 1, begins);
                holds.give(&held[ROW..]);
                held[HELD] = 0;
                finished += u64::from(begins);
            }
            (head.rows, head.latest) = if begins { (1, time) } else { (head.rows + 1, head.latest.max(time)) };
            if let Rule::Length(length) = self.rule {
                ends = head.rows == length;
            }
            if self.most.is_some_and(|most| head.rows > most) {
                dropped += u64::from(self.most == Some(head.rows - 1));
                refuse("sequence_too_long");
            } else {
                let first = begins || matches!(asked, Some(Values::Flag(flags)) if flags[row]);
                match (&holds, &rows) {
                    (Some(holds), Some(rows)) => {
                        (held[HELD], held[BEGINS], held[TIME]) = (1, first.into(), time as u64);
                        holds.take(rows, row, &mut held[ROW..]);
                    }
                    _ => {
                        out.begins.push(first);
                        out.ends.push(ends);
                    }
                }
                finished += u64::from(ends);
            }
            if ends {
                head.rows = 0;
            }
        }
        drop(rows);
        self.count(finished, dropped);
        match &mut holds {
            Some(holds) => {
                let rejects = std::mem::take(&mut batch.rejects);
                *batch = Batch { rejects, ..out.take(holds.columns()?) };
            }
            None => {
                batch.keep(&kept);
                batch.columns.push(Values::Flag(std::mem::take(&mut out.begins)).into());
                batch.columns.push(Values::Flag(std::mem::take(&mut out.ends)).into());
            }
        }
        (self.holds, self.out) = (holds, out);
        batch.rejects.extend(refused);
        batch.rejects.sort_by_key(|reject| reject.position);
        Ok(())
    }

    fn due(&self, since: i64) -> Option<i64> {
        match (&self.holds, self.rule) {
            (Some(_), Rule::Gap(every)) => self.clock.step(since, every, 1),
            _ => None,
        }
    }

    fn advance(
        &mut self,
        until: Option<i64>,
        state: &mut State<'_>,
        keys: u32,
        position: u64,
    ) -> Result<Option<Batch>> {
        let Some(mut holds) = self.holds.take() else { return Ok(None) };
        let mut out = std::mem::take(&mut self.out);
        for slot in 0..keys {
            // Read before it is written: a written row is part of the next checkpoint.
            let (head, held) = state.rows.get(slot).split_at(HEAD);
            let ended = match until {
                None => matches!(self.rule, Rule::Key),
                Some(until) => self.pauses(head[1] as i64, until),
            };
            if held[HELD] == 1 && ended {
                out.row(slot, held[TIME] as i64, position, held[BEGINS] == 1, true);
                holds.give(&held[ROW..]);
                let (head, held): (&mut RowHead, &mut [u64]) = state.rows.split_mut(slot);
                (head.rows, held[HELD]) = (0, 0);
            }
        }
        self.count(out.slots.len() as u64, 0);
        let batch = out.take(holds.columns()?);
        (self.holds, self.out) = (Some(holds), out);
        Ok(Some(batch))
    }
}

#[cfg(test)]
#[path = "sequence_tests.rs"]
mod tests;
