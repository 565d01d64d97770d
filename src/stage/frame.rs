//! `frame: { column, size, hop, pad, rate, gap }`: overlapping frames of the samples of each key.
//!
//! The samples of a key are one stream, however many of them a record has. A sequence begins with `pad` zeros, then
//! come the samples. Frame k has the samples k·hop to k·hop + size - 1 of the sequence, and comes out with the record
//! that has its last one. So a record gives no row, one, or many. A row has the position and the other columns of
//! that record. Its time is that of the record, which is the time of the record's last sample; with a `rate`, that of
//! its own last sample: one that is n samples before the record's last is n / rate seconds earlier, rounded to ticks.
//!
//! A sequence ends where a key has no records for longer than `gap`, and at a record that `on.null: reset` flags, of
//! which no sample is used. The first row of the next one is flagged as a restart, so that the network starts from zero
//! too. A sample that isn't finite is NaN. Samples that don't fill a frame when a key's records end, or its sequence,
//! give no row. A record whose frames would have more than 2^26 samples is refused as `too_many_frames`.
//!
//! State per key: the samples from the start of the next frame on, fewer than `size`; how many samples are still to
//! be passed over before it (`hop` may be longer than `size`); the latest time.

use bytemuck::{Pod, Zeroable};
use serde_json::{Map, Value, json};

use super::{Build, Operator, Stage};
use crate::Result;
use crate::config::{self, At};
use crate::error::Problems;
use crate::problem::Place;
use crate::record::{Batch, Clock, Every, Kind, Layout, Reject, Role, Values, samples_of};
use crate::state::{State, StateSpec};

/// Samples in the frames of a record, at most.
const MOST: usize = 1 << 26;

impl Operator for config::Frame {
    fn word(&self) -> &'static str {
        "frame"
    }

    fn reads(&self) -> Vec<At<String>> {
        vec![self.column.clone()]
    }

    fn canonical(&self, _clock: &Clock) -> Option<Value> {
        let mut options =
            Map::from_iter([("column".to_string(), json!(self.column.value)), ("size".to_string(), json!(self.size))]);
        for (word, value, default) in [("hop", self.hop, self.size), ("pad", self.pad, 0)] {
            if value != default {
                options.insert(word.into(), json!(value));
            }
        }
        if let Some(rate) = &self.rate {
            options.insert("rate".into(), json!(rate.value));
        }
        if let Some(gap) = &self.gap {
            options.insert("gap".into(), json!(gap.to_string()));
        }
        Some(json!({ "frame": options }))
    }

    /// Plans the frames; the column becomes that of the frames, and `restart` is that of sequences.
    fn plan(&self, _place: Place, layout: &mut Layout, problems: &mut Problems) -> Option<Box<dyn Build>> {
        let (name, place) = (&self.column.value, self.column.place);
        let found = layout.find(name).map(|column| (column, &layout.columns[column].kind));
        let column = match found {
            Some((column, Kind::Samples | Kind::Vector(_) | Kind::Number)) => Some(column),
            Some((_, Kind::Passthrough(_))) => {
                problems.add(place, format!("column \"{name}\" is read as it is: write it under `record.vectors`"));
                None
            }
            Some((_, other)) => {
                problems.add(place, format!("column \"{name}\" has no samples here: {other:?}"));
                None
            }
            None => {
                problems.add(place, layout.unknown(name));
                None
            }
        };
        let gap = self.gap.as_ref().map(|gap| {
            layout.clock.every(gap.value).map_err(|message| problems.add(gap.place, format!("gap: {message}"))).ok()
        });
        let tick = self.rate.as_ref().map(|rate| match layout.clock.nanos_per_tick {
            Some(nanos) => Some(1e9 / (rate.value * nanos as f64)),
            None => {
                problems.add(rate.place, "`rate` is per second: the time is a step without a clock");
                None
            }
        });
        let (column, gap) = (column?, gap.map_or(Some(None), |gap| gap.map(Some))?);
        let per_sample = tick.map_or(Some(None), |tick| tick.map(Some))?;
        let framed = &mut layout.columns[column];
        (framed.kind, framed.role, framed.number) = (Kind::Vector(self.size), Role::Feature, None);
        (framed.scaled_by, framed.log, framed.lag_of) = (None, false, None);
        layout.interval = None;
        let asked = layout.restart;
        if asked.is_none() {
            layout.restart = Some(layout.add("restart", Kind::Flag, Role::Internal));
        }
        let (size, hop, pad, clock) = (self.size, self.hop, self.pad, layout.clock.clone());
        Some(Box::new(Frames { column, size, hop, pad, per_sample, gap, asked, clock, out: Out::default() }))
    }
}

#[derive(Clone)]
struct Frames {
    column: usize,
    size: usize,
    hop: usize,
    pad: usize,
    /// Ticks of a sample.
    per_sample: Option<f64>,
    gap: Option<Every>,
    /// The flag of rows at which a key's sequence ends.
    asked: Option<usize>,
    clock: Clock,
    out: Out,
}

/// The rows that come out, and the samples of a key while they are cut.
#[derive(Clone, Default)]
struct Out {
    /// Per row, the row of the batch that completed it.
    rows: Vec<u32>,
    times: Vec<i64>,
    frames: Vec<f32>,
    restart: Vec<bool>,
    samples: Vec<f32>,
}

/// What is kept per key before its samples.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct RowHead {
    /// Samples that are held.
    held: u64,
    /// Samples that are passed over before them.
    passed_over: u64,
    /// The latest time.
    last: i64,
    /// Bit 0: a sequence has begun. Bit 1: it had a frame. Bit 2: the key had a record.
    begun: u64,
}

const BEGUN: u64 = 1;
const FRAMED: u64 = 2;
const SEEN: u64 = 4;

impl Frames {
    /// Whether `t` comes too long after `last`.
    fn is_silent(&self, last: i64, t: i64) -> bool {
        self.gap.is_some_and(|gap| self.clock.is_beyond(last, gap, t))
    }

    /// The frames of so many samples.
    fn count(&self, samples: usize) -> usize {
        if samples < self.size { 0 } else { (samples - self.size) / self.hop + 1 }
    }
}

impl Stage for Frames {
    fn name(&self) -> &'static str {
        "frame"
    }

    /// The [`RowHead`], then the samples.
    fn state(&self) -> StateSpec {
        let header = StateSpec::default().u64("held", 0).u64("passed_over", 0).i64("last", 0).u64("begun", 0);
        header.f32s("samples", self.size - 1)
    }

    fn meaning(&self) -> Option<String> {
        Some(format!("frame {} of {} by {} after {}", self.column, self.size, self.hop, self.pad))
    }

    fn process(&mut self, batch: &mut Batch, state: &mut State<'_>) -> Result<()> {
        let mut out = std::mem::take(&mut self.out);
        for row in 0..batch.rows() {
            let (slot, time, position) = (batch.slots[row], batch.times[row], batch.positions[row]);
            let new = samples_of(&batch.columns[self.column].values, row);
            let ends = match self.asked.map(|column| &batch.columns[column].values) {
                Some(Values::Flag(flags)) => flags[row],
                _ => false,
            };
            let (header, kept): (&mut RowHead, &mut [f32]) = state.rows.split_mut(slot);
            let is_silent = header.begun & SEEN != 0 && self.is_silent(header.last, time);
            let begins = header.begun & BEGUN == 0 || is_silent;
            out.samples.clear();
            let passed_over = if begins {
                out.samples.resize(self.pad, 0.0);
                0
            } else {
                out.samples.extend_from_slice(&kept[..header.held as usize]);
                header.passed_over as usize
            };
            let count = self.count(out.samples.len() + new.len().saturating_sub(passed_over));
            if count.saturating_mul(self.size) > MOST && !ends {
                batch.rejects.push(Reject { position, reason: "too_many_frames" });
                continue;
            }
            header.last = if header.begun & SEEN == 0 { time } else { header.last.max(time) };
            if ends {
                *header = RowHead { held: 0, passed_over: 0, last: header.last, begun: SEEN };
                continue;
            }
            header.begun = SEEN | BEGUN | if begins { 0 } else { header.begun & FRAMED };
            let passed = passed_over.min(new.len());
            new.push_from(passed, &mut out.samples);
            let mut start = 0;
            for _ in 0..count {
                let end = start + self.size;
                out.frames.extend_from_slice(&out.samples[start..end]);
                out.rows.push(row as u32);
                let after = (out.samples.len() - end) as f64;
                let earlier = self.per_sample.map_or(0, |ticks| (after * ticks).round() as i64);
                out.times.push(time.saturating_sub(earlier));
                out.restart.push(header.begun & FRAMED == 0);
                header.begun |= FRAMED;
                start += self.hop;
            }
            let rest = out.samples.get(start..).unwrap_or_default();
            header.held = rest.len() as u64;
            header.passed_over = (passed_over - passed + start.saturating_sub(out.samples.len())) as u64;
            kept[..rest.len()].copy_from_slice(rest);
        }
        batch.rejects.sort_by_key(|reject| reject.position);
        let framed = self.column;
        batch.take_rows(&out.rows, |column| column == framed || Some(column) == self.asked)?;
        batch.times.clone_from(&out.times);
        batch.columns[framed] = Values::Vector(std::mem::take(&mut out.frames), self.size).into();
        let restart = Values::Flag(std::mem::take(&mut out.restart)).into();
        match self.asked {
            Some(column) => batch.columns[column] = restart,
            None => batch.columns.push(restart),
        }
        out.rows.clear();
        out.times.clear();
        self.out = out;
        Ok(())
    }
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
