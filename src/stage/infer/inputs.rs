//! What a network is fed: the features of `x`, whether a row can be a step, and whether a new sequence starts at it.
//!
//! An internal stage, always the last before the network. Serving puts `infer` after it, training captures what it
//! makes: both see the same numbers because both run this code. What the network answers must not live here.

use bytemuck::{Pod, Zeroable};
use serde_json::Value;

use super::rhythm::{NOTHING, Rhythm};
use crate::Result;
use crate::config::{At, Span};
use crate::error::Problems;
use crate::model::Input;
use crate::problem::Place;
use crate::record::{Batch, Clock, Every, Features, Kind, Layout, Role, Values};
use crate::stage::{Build, Operator, Stage};
use crate::state::{State, StateSpec};

/// The operator: always the last before the network, whose model or training names the features.
pub struct Inputs {
    /// The features, in order.
    pub inputs: Vec<Input>,
    /// `gap:` of `infer`.
    pub gap: Option<At<Span>>,
    /// `ttl:` of `infer`.
    pub ttl: Option<At<Span>>,
}

/// One feature, resolved.
#[derive(Clone)]
struct Feature {
    column: usize,
    lag: usize,
    /// Mean and standard deviation columns of a `scale` stage.
    scaled_by: Option<(usize, usize)>,
    /// Which ring holds the column's past, for a lag.
    ring: usize,
}

/// The stage; see the module.
#[derive(Clone)]
struct Prepare {
    features: Vec<Feature>,
    /// Columns with a past, and where their ring starts in the row of state, in values.
    rings: Vec<usize>,
    /// Their names.
    past: Vec<String>,
    /// Values a ring holds: the longest lag.
    depth: usize,
    gap: Option<Every>,
    ttl: Option<Every>,
    clock: Clock,
    restart: Option<usize>,
    /// Whether no stage before makes the rows regular.
    learns: bool,
}

/// The state per key besides the rings.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct RowHead {
    /// Rows of the key so far.
    rows: u64,
    /// The latest time of the key.
    last: i64,
    /// Majority vote over the distances of rows (Boyer and Moore 1981): the candidate and its lead.
    interval: i64,
    lead: i64,
    /// Bit 0: after rows that asked for a restart but took no step. The other bits are the key's [`Rhythm`].
    pending: u64,
}

const PENDING: u64 = 1;

impl Operator for Inputs {
    fn word(&self) -> &'static str {
        "inputs"
    }

    /// A model's manifest has a place of its own for them.
    fn canonical(&self, _clock: &Clock) -> Option<Value> {
        None
    }

    /// Resolves the features against the columns before `infer` and adds the internal columns to the layout.
    fn plan(&self, place: Place, layout: &mut Layout, problems: &mut Problems) -> Option<Box<dyn Build>> {
        let mut rings: Vec<usize> = Vec::new();
        let mut features = Vec::new();
        let mut fits = true;
        let mut missing: Vec<&str> = Vec::new();
        let mut first = None;
        for input in &self.inputs {
            match layout.number(&input.column) {
                Ok(column) => {
                    let mut ring = 0;
                    if input.lag > 0 {
                        ring = rings.iter().position(|c| *c == column).unwrap_or_else(|| {
                            rings.push(column);
                            rings.len() - 1
                        });
                    }
                    let scaled_by = layout.columns[column].scaled_by;
                    features.push(Feature { column, lag: input.lag as usize, scaled_by, ring });
                }
                Err(message) => {
                    missing.push(&input.column);
                    first.get_or_insert(message);
                    fits = false;
                }
            }
        }
        missing.dedup();
        // A model of other columns is one problem, however many those are.
        match (first, &missing[..]) {
            (Some(message), [one]) => problems.add(place, format!("the model's input \"{one}\": {message}")),
            (Some(message), all) => {
                problems.add(place, format!("the model's inputs \"{}\": {message}", all.join("\", \"")));
            }
            (None, _) => {}
        }
        let mut span = |span: &Option<At<Span>>, word: &str| {
            span.as_ref().and_then(|span| match layout.clock.every(span.value) {
                Ok(every) => Some(every),
                Err(message) => {
                    problems.add(span.place, format!("{word}: {message}"));
                    fits = false;
                    None
                }
            })
        };
        let (gap, ttl) = (span(&self.gap, "gap"), span(&self.ttl, "ttl"));
        let past = rings.iter().map(|column| layout.columns[*column].name.clone()).collect();
        let depth = self.inputs.iter().map(|input| input.lag as usize).max().unwrap_or(0);
        let (restart, clock, learns) = (layout.restart, layout.clock.clone(), layout.interval.is_none());
        layout.features = Some(Features {
            x: layout.add("x", Kind::Vector(features.len()), Role::Internal),
            usable: layout.add("usable", Kind::Flag, Role::Internal),
            restart: layout.add("restart", Kind::Flag, Role::Internal),
            interval: layout.add("interval_ticks", Kind::Integer, Role::Internal),
            rhythm: layout.add("rhythm", Kind::Integer, Role::Internal),
        })
        .filter(|_| fits);
        let prepare = Prepare { features, rings, past, depth, gap, ttl, clock, restart, learns };
        fits.then(|| Box::new(prepare) as Box<dyn Build>)
    }
}

impl Prepare {
    /// Whether `t` comes too long after `last`.
    fn silent(&self, limit: Option<Every>, last: i64, t: i64) -> bool {
        match limit {
            None => false,
            Some(Every::Ticks(ticks)) => t.saturating_sub(last) > ticks,
            Some(months) => self.clock.step(last, months, 1).is_some_and(|end| t > end),
        }
    }
}

impl Stage for Prepare {
    fn name(&self) -> &'static str {
        "inputs"
    }

    /// The [`RowHead`], then the rings.
    fn state(&self) -> StateSpec {
        let header =
            StateSpec::default().u64("rows", 0).i64("last", 0).i64("interval", 0).i64("lead", 0).u64("rhythm", 0);
        self.past.iter().fold(header, |spec, name| spec.f64s(format!("{name}.past"), self.depth, f64::NAN))
    }

    fn meaning(&self) -> Option<String> {
        Some(format!("the last {} values of columns {:?}", self.depth, self.rings))
    }

    fn process(&mut self, batch: &mut Batch, state: &mut State<'_>) -> Result<()> {
        let rows = batch.rows();
        let width = self.features.len();
        let mut x = vec![0.0_f32; rows * width];
        let mut usable = vec![true; rows];
        let mut restart = vec![false; rows];
        let mut interval = vec![0_i64; rows];
        let mut known = vec![NOTHING; rows];
        let columns: Vec<&[f64]> = batch.columns.iter().map(|column| column.numbers()).collect();
        let asked = self.restart.map(|column| &batch.columns[column].values);

        for row in 0..rows {
            let t = batch.times[row];
            let (header, past): (&mut RowHead, &mut [f64]) = state.rows.split_mut(batch.slots[row]);
            let first = header.rows == 0;
            let mut fresh = first || self.silent(self.gap, header.last, t) || self.silent(self.ttl, header.last, t);
            fresh |= matches!(asked, Some(Values::Flag(flags)) if flags[row]);

            for (feature, out) in self.features.iter().zip(&mut x[row * width..(row + 1) * width]) {
                let mut value = if feature.lag == 0 {
                    columns[feature.column][row]
                } else if feature.lag as u64 > header.rows {
                    f64::NAN
                } else {
                    let at = (header.rows - feature.lag as u64) % self.depth as u64;
                    past[feature.ring * self.depth + at as usize]
                };
                if let Some((mean, sd)) = feature.scaled_by {
                    value = (value - columns[mean][row]) / columns[sd][row];
                }
                *out = value as f32;
                usable[row] &= out.is_finite();
            }
            for (ring, column) in self.rings.iter().enumerate() {
                past[ring * self.depth + (header.rows % self.depth as u64) as usize] = columns[*column][row];
            }

            if !first && t > header.last {
                let distance = self.clock.distance(header.last, t);
                if self.learns {
                    let mut rhythm = Rhythm::of(&mut header.pending, &self.clock);
                    rhythm.learn(header.last, t, header.interval, distance);
                }
                if header.lead == 0 {
                    (header.interval, header.lead) = (distance, 1);
                } else {
                    header.lead += if header.interval == distance { 1 } else { -1 };
                }
            }
            interval[row] = header.interval;
            if self.learns {
                known[row] = Rhythm::of(&mut header.pending, &self.clock).known(header.interval);
            }

            // A restart at a row that takes no step holds for the next row that does.
            restart[row] = fresh || header.pending & PENDING == PENDING;
            header.pending = header.pending & !PENDING | u64::from(restart[row] && !usable[row]);
            header.rows += 1;
            header.last = if first { t } else { header.last.max(t) };
        }
        batch.columns.push(Values::Vector(x, width).into());
        batch.columns.push(Values::Flag(usable).into());
        batch.columns.push(Values::Flag(restart).into());
        batch.columns.push(Values::Integer(interval).into());
        batch.columns.push(Values::Integer(known).into());
        Ok(())
    }
}
