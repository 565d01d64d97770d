//! `resample: { every, aggregate, fill, max_gap, delay, timezone }`: one row per key and bucket of time.
//!
//! A bucket is `(start, end]`, stamped by its end (see [`super::resample_buckets`]). It is over, and its row comes out,
//! at the first record **of its own key** with a time beyond its end plus `delay`; the row takes that record's
//! position. (So the rows of a key depend on its own records only, however keys are interleaved or partitioned, also in
//! files sorted by key; and the last buckets of a key stay open when its records end.) With `on.watermark: partition` a
//! record of any key of the partition does: for streams whose keys advance together, and where a key that stops sending
//! must still have its rows. A record of a bucket that is over is refused as `late`.
//!
//! Nulls are passed over. `aggregate` takes the values in the order of the records: `first` and `last` too; `count`
//! counts values. A bucket without a value of a column is filled by `fill` and flagged as not observed; one without any
//! value at all comes out only while it ends at most `max_gap`, and at most 100,000 buckets, after the last one that
//! had values. Before a key's first value nothing comes out. `linear` draws a line between the values on both sides
//! where they are at most `max_gap` apart, else the value is null; it needs a `delay` that covers `max_gap`, so that
//! the other side is known (as far as it is when the row comes out). `age` is how long ago the last bucket with a value
//! ended, in seconds, or in steps without a clock.
//!
//! Only the record's values are kept; passthrough columns and columns of earlier stages end here.
//!
//! State per key: how far time has come, the last observed value of each column, and a ring of the open buckets.

use serde_json::{Value, json};

use super::resample_buckets::Buckets;
use super::resample_key::{Key, LOW, Last};
use super::{Build, Operator, Stage, columns};
use crate::Result;
use crate::config::{self, Aggregate, At, Fill, Span};
use crate::error::Problems;
use crate::problem::Place;
use crate::record::{Batch, Clock, Column, Every, Kind, Layout, Reject, Role, TIME_OUT_OF_RANGE, Values};
use crate::state::{State, StateSpec};

/// No bucket, no time.
const NONE: i64 = i64::MIN;
/// Empty buckets in a row that are filled at most: one wrong time must not write rows without end.
const MOST_FILLED: i64 = 100_000;
/// Buckets of a key that may be open at once.
const MOST_OPEN: i64 = 10_000;

impl Operator for config::Resample {
    fn word(&self) -> &'static str {
        "resample"
    }

    fn adds(&self) -> Vec<String> {
        ["observed", "age"].map(String::from).into()
    }

    /// With the zone where its days or months are the buckets; what was made with those of UTC is something else.
    fn canonical(&self, clock: &Clock) -> Option<Value> {
        let mut options = json!({
            "every": self.every.to_string(),
            "aggregate": self.aggregate.word(),
            "fill": self.fill.word(),
            "max_gap": self.max_gap.as_ref().map(|span| span.to_string()),
            "delay": self.delay.to_string(),
        });
        let zone = match &self.timezone {
            Some(zone) => Some(&zone.value).filter(|zone| !zone.is_utc()),
            None => clock.zone.as_ref(),
        };
        if let (Some(zone), Span::Days(_) | Span::Months(_)) = (zone, self.every.value) {
            options["timezone"] = json!(zone.name());
        }
        Some(json!({ "resample": options }))
    }

    /// Plans the buckets; leaves a layout of the record's values, `observed` and `age`.
    fn plan(&self, place: Place, layout: &mut Layout, problems: &mut Problems) -> Option<Box<dyn Build>> {
        if !layout.forecasts.is_empty() || layout.features.is_some() {
            problems.add(place, "resample must come before infer: a prediction can't be put into buckets");
            return None;
        }
        let sources = columns::values(layout);
        layout.columns = sources.iter().map(|index| layout.columns[*index].clone()).collect();
        let computed = match (self.aggregate, self.fill.value) {
            (Aggregate::Mean, _) | (_, Fill::Linear) => Some(("resample", false)),
            (Aggregate::Sum | Aggregate::Count, _) => Some(("resample", true)),
            (Aggregate::Min | Aggregate::Max | Aggregate::First | Aggregate::Last, _) => None,
        };
        for column in &mut layout.columns {
            (column.scaled_by, column.log, column.computed) = (None, false, computed.or(column.computed));
        }
        columns::add(layout, "observed".into(), Kind::Flag, Role::Output, place, problems);
        columns::add(layout, "age".into(), Kind::Number, Role::Output, place, problems);
        layout.interval = Some(self.every.value);
        layout.restart = None;

        let or_here = |at: Place| if at.line > 0 { at } else { place };
        if let Some(zone) = &self.timezone {
            match layout.clock.clone().in_zone(zone) {
                Ok(clock) => layout.clock = clock,
                Err(message) => problems.add(zone.place, message),
            }
        }
        // Among buckets of hours a day is 24 of them, among days of the zone it is one of these.
        let is_local = matches!(layout.clock.every(self.every.value), Ok(Every::Days(_) | Every::Months(_)));
        let length = |span: Span| if is_local { span } else { span.in_hours() };
        let mut span = |span: &At<Span>| match layout.clock.every(length(span.value)) {
            // Nothing is nothing in every unit.
            _ if span.value.is_zero() => Some(Every::Ticks(0)),
            Ok(Every::Ticks(..0)) => {
                problems.add(or_here(span.place), "expected a length of time, found a negative one");
                None
            }
            Ok(every) => Some(every),
            Err(message) => {
                problems.add(or_here(span.place), message);
                None
            }
        };
        let delay = span(&self.delay);
        let max_gap = self.max_gap.as_ref().map(&mut span);
        let buckets = Buckets::new(&layout.clock, self.every.value)
            .map_err(|message| problems.add(or_here(self.every.place), message))
            .ok();
        let (delay, max_gap, buckets) = (delay?, max_gap.map_or(Some(None), |gap| gap.map(Some))?, buckets?);

        if self.fill.value == Fill::Linear && !max_gap.is_some_and(|gap| buckets.covers(delay, gap)) {
            problems.add(
                or_here(self.fill.place),
                "fill: linear looks ahead: it needs a max_gap, and a delay that covers it, so that the value on the \
                 other \
                 side is known when a row comes out",
            );
            return None;
        }
        let open = buckets.within(delay).saturating_add(2);
        if open > MOST_OPEN {
            problems.add(
                or_here(self.delay.place),
                format!("delay keeps {open} buckets of every key open, at most {MOST_OPEN} can be: use wider buckets"),
            );
            return None;
        }
        let tick_seconds = layout.clock.nanos_per_tick.map_or(1.0, |nanos| nanos as f64 / 1e9);
        let plan =
            Plan { aggregate: self.aggregate, fill: self.fill.value, max_gap, delay, buckets, open, tick_seconds };
        let out = Out {
            values: vec![Vec::new(); sources.len()],
            observed: vec![Vec::new(); sources.len()],
            ..Out::default()
        };
        let names = layout.columns[..sources.len()].iter().map(|column| column.name.clone()).collect();
        Some(Box::new(Resample { plan, sources, names, out }))
    }
}

#[derive(Clone)]
struct Plan {
    aggregate: Aggregate,
    fill: Fill,
    max_gap: Option<Every>,
    delay: Every,
    buckets: Buckets,
    /// Length of the ring of open buckets.
    open: i64,
    tick_seconds: f64,
}

#[derive(Clone)]
struct Resample {
    plan: Plan,
    sources: Vec<usize>,
    names: Vec<String>,
    out: Out,
}

/// The rows that come out; swapped with the batch's own memory.
#[derive(Clone, Default)]
struct Out {
    slots: Vec<u32>,
    times: Vec<i64>,
    positions: Vec<u64>,
    values: Vec<Vec<f64>>,
    observed: Vec<Vec<bool>>,
    any: Vec<bool>,
    age: Vec<f64>,
}

impl Plan {
    /// The first bucket that isn't over when a key's time has come to `latest`.
    fn first_open(&self, latest: i64) -> Option<i64> {
        self.buckets.number(self.buckets.moved(latest, self.delay, -1)?)
    }

    /// The last bucket that is filled after `observed`.
    fn last_filled(&self, observed: i64) -> i64 {
        let most = observed.saturating_add(MOST_FILLED);
        let Some(max_gap) = self.max_gap else { return most };
        let Some(limit) = self.buckets.end(observed).and_then(|end| self.buckets.moved(end, max_gap, 1)) else {
            return most;
        };
        // The bucket of the limit ends at it or beyond it.
        match self.buckets.number(limit) {
            Some(number) if self.buckets.end(number) == Some(limit) => most.min(number),
            Some(number) => most.min(number - 1),
            None => most,
        }
    }

    /// Writes the rows of the buckets that are over before `low`.
    fn close(&self, key: &mut Key<'_>, low: i64, slot: u32, position: u64, out: &mut Out) {
        let ring_end = key.header.low.saturating_add(key.open);
        let mut last_filled = if key.header.observed == NONE { NONE } else { self.last_filled(key.header.observed) };
        for bucket in key.header.low..low {
            let any = (0..key.last.len()).any(|column| key.value(bucket, column, self.aggregate).is_some());
            if any {
                key.header.observed = bucket;
                last_filled = self.last_filled(bucket);
            }
            if any || bucket <= last_filled {
                if any || !self.buckets.is_skipped(bucket) {
                    self.row(key, bucket, any, slot, position, out);
                }
            } else if bucket >= ring_end {
                break; // Beyond the ring there are no values, so nothing more is emitted.
            }
        }
        key.header.low = low;
    }

    fn row(&self, key: &mut Key<'_>, bucket: i64, any: bool, slot: u32, position: u64, out: &mut Out) {
        let Some(end) = self.buckets.end(bucket) else { return };
        out.slots.push(slot);
        out.times.push(end);
        out.positions.push(position);
        out.any.push(any);
        let observed = self.buckets.end(key.header.observed).unwrap_or(end);
        out.age.push(end.saturating_sub(observed) as f64 * self.tick_seconds);
        for column in 0..key.last.len() {
            let own = key.value(bucket, column, self.aggregate);
            if let Some(value) = own {
                key.last[column] = Last { bucket, value };
            }
            out.values[column].push(own.unwrap_or_else(|| self.filled(key, bucket, column)));
            out.observed[column].push(own.is_some());
        }
    }

    fn filled(&self, key: &mut Key<'_>, bucket: i64, column: usize) -> f64 {
        let last = key.last[column];
        match self.fill {
            Fill::Null => f64::NAN,
            Fill::Zero => 0.0,
            Fill::Last => last.value,
            Fill::Linear if last.bucket == NONE => f64::NAN,
            Fill::Linear => {
                let until = self.last_filled(last.bucket).min(bucket.saturating_add(key.open));
                let next = (bucket + 1..=until)
                    .find_map(|next| key.value(next, column, self.aggregate).map(|value| (next, value)));
                next.map_or(f64::NAN, |(next, value)| {
                    let share = (bucket - last.bucket) as f64 / (next - last.bucket) as f64;
                    last.value + (value - last.value) * share
                })
            }
        }
    }
}

impl Stage for Resample {
    fn name(&self) -> &'static str {
        "resample"
    }

    /// The [`RowHead`], a [`Last`] for each column, and the ring of open buckets: number, then a [`Cell`] for each
    /// column.
    fn state(&self) -> StateSpec {
        let header = StateSpec::default().i64("low", NONE).i64("latest", NONE).i64("observed", NONE);
        let spec = self.names.iter().fold(header, |spec, name| {
            spec.i64(format!("{name}.last_bucket"), NONE).f64(format!("{name}.last"), f64::NAN)
        });
        let bucket = self.names.iter().fold(StateSpec::default().i64("open.bucket", NONE), |spec, name| {
            spec.u64(format!("open.{name}.count"), 0).f64(format!("open.{name}.value"), 0.0)
        });
        spec.repeated(self.plan.open as usize, bucket)
    }

    /// One tick beyond the end of the first open bucket, plus the delay.
    fn due(&self, since: i64) -> Option<i64> {
        let Plan { buckets, delay, .. } = &self.plan;
        let end = buckets.end(self.plan.first_open(since)?)?;
        buckets.moved(end, *delay, 1)?.checked_add(1)
    }

    /// The clock and other keys' records close buckets as the key's own would; the end of a source doesn't: the last
    /// bucket of a key may not be whole.
    fn advance(
        &mut self,
        until: Option<i64>,
        state: &mut State<'_>,
        keys: u32,
        position: u64,
    ) -> Result<Option<Batch>> {
        let Resample { plan, sources, out, .. } = self;
        let Some(low) = until.and_then(|until| plan.first_open(until)) else { return Ok(None) };
        for slot in 0..keys {
            // Read before it is written: a written row is part of the next checkpoint.
            let open = state.rows.get(slot)[LOW] as i64;
            if open != NONE && low > open {
                let mut key = Key::of(state.rows.get_mut(slot), sources.len(), plan.open);
                plan.close(&mut key, low, slot, position, out);
            }
        }
        let mut batch = Batch::default();
        let columns = sources.iter().max().map_or(0, |last| last + 1);
        batch.columns.resize(columns, Values::Flag(Vec::new()).into());
        for source in sources.iter() {
            batch.columns[*source] = Values::Number(Vec::new()).into();
        }
        out.swap(&mut batch, sources);
        Ok(Some(batch))
    }

    fn process(&mut self, batch: &mut Batch, state: &mut State<'_>) -> Result<()> {
        let Resample { plan, sources, out, .. } = self;
        for row in 0..batch.rows() {
            let (slot, time, position) = (batch.slots[row], batch.times[row], batch.positions[row]);
            let Some(bucket) = plan.buckets.number(time) else {
                batch.rejects.push(Reject { position, reason: TIME_OUT_OF_RANGE });
                continue;
            };
            let mut key = Key::of(state.rows.get_mut(slot), sources.len(), plan.open);
            if key.header.low != NONE && bucket < key.header.low {
                batch.rejects.push(Reject { position, reason: "late" });
                continue;
            }
            if time > key.header.latest {
                key.header.latest = time;
                // Times before all times close nothing.
                let low = plan.first_open(time).unwrap_or(NONE);
                if key.header.low == NONE {
                    key.header.low = low.max(bucket.saturating_sub(plan.open - 1));
                } else if low > key.header.low {
                    plan.close(&mut key, low, slot, position, out);
                }
            }
            let cells = key.opened(bucket);
            for (cell, source) in cells.iter_mut().zip(sources.iter()) {
                let value = batch.columns[*source].numbers()[row];
                if value.is_finite() {
                    cell.add(value, plan.aggregate);
                }
            }
        }
        // An earlier stage may have refused records after these: their order must not depend on batches.
        batch.rejects.sort_by_key(|reject| reject.position);
        out.swap(batch, sources);
        Ok(())
    }
}

impl Out {
    /// Puts the rows into the batch, and takes the memory of its values for the next ones.
    fn swap(&mut self, batch: &mut Batch, sources: &[usize]) {
        std::mem::swap(&mut batch.slots, &mut self.slots);
        std::mem::swap(&mut batch.times, &mut self.times);
        std::mem::swap(&mut batch.positions, &mut self.positions);
        self.slots.clear();
        self.times.clear();
        self.positions.clear();
        let mut columns = Vec::with_capacity(sources.len() + 2);
        for (column, source) in sources.iter().enumerate() {
            let before = std::mem::replace(&mut batch.columns[*source].values, Values::Flag(Vec::new()));
            let mut spare = if let Values::Number(values) = before { values } else { Vec::new() };
            spare.clear();
            let values = std::mem::replace(&mut self.values[column], spare);
            let observed = std::mem::take(&mut self.observed[column]);
            columns.push(Column { values: Values::Number(values), observed: Some(observed) });
        }
        columns.push(Values::Flag(std::mem::take(&mut self.any)).into());
        columns.push(Values::Number(std::mem::take(&mut self.age)).into());
        batch.columns = columns;
    }
}
