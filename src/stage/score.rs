//! `score: { actual, step, tail, long, short }`: compares predictions with the values that were then observed.
//!
//! The prediction made for step `step` waits in a ring until a row of its key has exactly the time it was made for:
//! that many intervals on, where the interval is that of `resample` or else the one `infer` sees most often for the
//! key. Where rows miss that time, no residual is taken. Of two predictions for one time the later counts; late rows
//! neither make nor meet one that waits for a later time. Where rows come much denser than the interval, the
//! predictions of some are left out (the ring holds `step` and a few).
//!
//! `residual` is actual minus predicted, NaN without a prediction or where the actual value was not observed.
//! `residual_sd` is its standard deviation over the last `long` residuals, this one included, from the second on.
//! `tail` is the Gaussian tail probability of the mean of the last `short` residuals against those `long`, given at
//! rows with a residual once there are ten times `short` of them, or `long` if that is less. It is near 0 where the
//! series came out far above what was predicted and near 1 where far below; `alert` says that it is under `tail`, or
//! over 1 - `tail`.
//!
//! State per key: the ring of predictions, the ring of the last `long` residuals and their sums.

use bytemuck::{Pod, Zeroable};
use serde_json::{Map, Value, json};

use super::score_window::{self, Window};
use super::{Build, Operator, Stage, columns};
use crate::Result;
use crate::config;
use crate::error::{Problems, did_you_mean};
use crate::problem::Place;
use crate::record::{Batch, Clock, Every, Forecast, Kind, Layout, Role, Values};
use crate::state::{State, StateSpec};

/// Predictions that may wait beyond `step`.
const SPARE: usize = 4;

impl Operator for config::Score {
    fn word(&self) -> &'static str {
        "score"
    }

    fn adds(&self) -> Vec<String> {
        ["residual", "residual_sd", "tail", "alert"].map(String::from).into()
    }

    fn canonical(&self) -> Option<Value> {
        let (default, mut options) = (config::Score::default(), Map::new());
        let mut add = |name: &str, value: Value, default: Value| {
            if value != default {
                options.insert(name.into(), value);
            }
        };
        add("actual", json!(self.actual.value), json!(default.actual.value));
        add("step", json!(self.step.value), json!(default.step.value));
        add("tail", json!(self.tail), json!(default.tail));
        add("long", json!(self.long), json!(default.long));
        add("short", json!(self.short), json!(default.short));
        Some(json!({ "score": options }))
    }

    /// Plans the score of one target at one step of the horizon.
    fn plan(&self, place: Place, layout: &mut Layout, problems: &mut Problems) -> Option<Box<dyn Build>> {
        let Some(forecast) = layout.forecast.clone() else {
            problems.add(place, "score needs an infer stage before it");
            return None;
        };
        let forecast = &forecast;
        let or_here = |at: Place| if at.line > 0 { at } else { place };
        let target = target(self, forecast).map_err(|message| problems.add(or_here(self.actual.place), message)).ok();
        let actual = target.and_then(|target| match layout.number(&forecast.targets[target]) {
            Ok(index) => Some(index),
            Err(message) => {
                problems.add(or_here(self.actual.place), message);
                None
            }
        });
        let step = self.step.value;
        if step == 0 || step > forecast.horizon {
            let message = format!("step {step} is scored, but the model predicts steps 1 to {}", forecast.horizon);
            problems.add(or_here(self.step.place), message);
        }
        if !(self.tail > 0.0 && self.tail < 0.5) {
            problems.add(place, format!("tail must lie between 0 and 0.5, found {}", self.tail));
        }
        if self.short == 0 || self.long < 2 || self.short > self.long {
            let message = format!("short must be from 1 to long ({}), found {}", self.long, self.short);
            problems.add(place, message);
        }
        let quantiles = forecast.quantiles.max(1);
        let width = forecast.width();
        let interval = match layout.interval.map(|span| layout.clock.every(span)) {
            Some(Ok(every)) => Some(Interval::Known(every)),
            _ => layout.features.map(|features| Interval::Column(features.interval)),
        };
        if interval.is_none() {
            problems.add(place, "score needs rows at equal distances: put a resample before infer");
        }
        for (name, kind) in
            [("residual", Kind::Number), ("residual_sd", Kind::Number), ("tail", Kind::Number), ("alert", Kind::Flag)]
        {
            columns::add(layout, name.into(), kind, Role::Output, place, problems);
        }
        let target = target?;
        if !(1..=forecast.horizon).contains(&step) || self.long < 2 || !(1..=self.long).contains(&self.short) {
            return None;
        }
        Some(Box::new(Score {
            actual: actual?,
            prediction: forecast.column,
            width,
            // The middle quantile is the prediction.
            output: ((step - 1) * forecast.targets.len() + target) * quantiles + quantiles / 2,
            interval: interval?,
            clock: layout.clock.clone(),
            step,
            tail: self.tail,
            long: self.long,
            short: self.short,
            enough: self.long.min(self.short.saturating_mul(10)),
        }))
    }
}

/// Which of the model's targets is scored.
fn target(config: &config::Score, forecast: &Forecast) -> std::result::Result<usize, String> {
    let targets = &forecast.targets;
    let list = targets.join(", ");
    match config.actual.as_str() {
        "" if targets.len() == 1 => Ok(0),
        "" => Err(format!("the model predicts several columns ({list}): name one as actual")),
        name => targets.iter().position(|target| target == name).ok_or_else(|| {
            let near = did_you_mean(name, targets.iter().map(String::as_str));
            format!("the model doesn't predict \"{name}\", but: {list}{near}")
        }),
    }
}

#[derive(Clone)]
enum Interval {
    Known(Every),
    /// Index of a column of ticks: 0 where it is unknown, negative for calendar months.
    Column(usize),
}

#[derive(Clone)]
struct Score {
    actual: usize,
    prediction: usize,
    /// Outputs of a row, and which of them is scored.
    width: usize,
    output: usize,
    interval: Interval,
    clock: Clock,
    step: usize,
    tail: f64,
    long: usize,
    short: usize,
    enough: usize,
}

/// A prediction that waits for its time.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Prediction {
    time: i64,
    value: f64,
}

/// The predictions of a key that wait, their times ascending.
struct Waiting<'a> {
    /// Place of the first, and how many there are.
    first: &'a mut u64,
    count: &'a mut u64,
    ring: &'a mut [Prediction],
}

impl<'a> Waiting<'a> {
    fn spec(step: usize) -> StateSpec {
        let prediction = StateSpec::default().i64("waiting.time", 0).f64("waiting.prediction", 0.0);
        StateSpec::default().u64("first", 0).u64("waiting", 0).repeated(step + SPARE, prediction)
    }

    fn words(step: usize) -> usize {
        2 + (step + SPARE) * size_of::<Prediction>() / size_of::<u64>()
    }

    fn of(words: &'a mut [u64]) -> Option<Self> {
        let [first, count, ring @ ..] = words else { return None };
        Some(Waiting { first, count, ring: bytemuck::cast_slice_mut(ring) })
    }

    /// The prediction for a time; those for earlier times are dropped.
    fn at(&mut self, time: i64) -> Option<f64> {
        while *self.count > 0 {
            let first = self.ring[*self.first as usize];
            if first.time >= time {
                return (first.time == time).then_some(first.value);
            }
            *self.first = (*self.first + 1) % self.ring.len() as u64;
            *self.count -= 1;
        }
        None
    }

    fn push(&mut self, prediction: Prediction) {
        let length = self.ring.len() as u64;
        if *self.count > 0 {
            let last = &mut self.ring[((*self.first + *self.count - 1) % length) as usize];
            if last.time == prediction.time {
                *last = prediction;
            }
            if last.time >= prediction.time {
                return;
            }
        }
        if *self.count < length {
            self.ring[((*self.first + *self.count) % length) as usize] = prediction;
            *self.count += 1;
        }
    }
}

impl Score {
    /// The time that a row's prediction is about.
    fn target_time(&self, batch: &Batch, row: usize) -> Option<i64> {
        let every = match &self.interval {
            Interval::Known(every) => *every,
            Interval::Column(index) => match &batch.columns[*index].values {
                Values::Integer(ticks) => match ticks[row] {
                    0 => return None,
                    ticks if ticks > 0 => Every::Ticks(ticks),
                    months => Every::Months(u32::try_from(months.unsigned_abs()).ok()?),
                },
                _ => return None,
            },
        };
        self.clock.step(batch.times[row], every, self.step as i64)
    }
}

impl Stage for Score {
    fn name(&self) -> &'static str {
        "score"
    }

    /// Residuals belong to one version: those of another are compared only with its own.
    fn meaning(&self) -> Option<String> {
        None
    }

    fn state(&self) -> StateSpec {
        score_window::add(Waiting::spec(self.step), self.long)
    }

    fn process(&mut self, batch: &mut Batch, state: &mut State<'_>) -> Result<()> {
        let rows = batch.rows();
        let (mut residuals, mut sds) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
        let (mut tails, mut alerts) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
        let actual = &batch.columns[self.actual];
        for row in 0..rows {
            let (waiting, window) = state.rows.get_mut(batch.slots[row]).split_at_mut(Waiting::words(self.step));
            let (Some(mut waiting), mut window) = (Waiting::of(waiting), Window::of(window)) else { continue };
            let predicted = waiting.at(batch.times[row]);
            let value = actual.numbers()[row];
            let residual = match predicted {
                Some(predicted) if actual.is_observed(row) => value - predicted,
                _ => f64::NAN,
            };
            let mut tail = f64::NAN;
            if residual.is_finite() {
                window.push(residual);
                if window.count() >= self.enough {
                    tail = window.tail(self.short);
                }
            }
            residuals.push(if residual.is_finite() { residual } else { f64::NAN });
            sds.push(if window.count() >= 2 { window.mean_sd().1 } else { f64::NAN });
            tails.push(tail);
            alerts.push(tail < self.tail || tail > 1.0 - self.tail);

            let prediction = match &batch.columns[self.prediction].values {
                Values::Vector(values, width) if *width == self.width => {
                    f64::from(values[row * self.width + self.output])
                }
                _ => f64::NAN,
            };
            if prediction.is_finite()
                && let Some(time) = self.target_time(batch, row)
            {
                waiting.push(Prediction { time, value: prediction });
            }
        }
        batch.columns.push(Values::Number(residuals).into());
        batch.columns.push(Values::Number(sds).into());
        batch.columns.push(Values::Number(tails).into());
        batch.columns.push(Values::Flag(alerts).into());
        Ok(())
    }
}

#[cfg(test)]
#[path = "score_tests.rs"]
mod tests;
