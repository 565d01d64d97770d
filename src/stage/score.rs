//! `score: { actual, step, tail | threshold, long, short, season, quiet }`: compares predictions with the values that
//! were then observed.
//!
//! A prediction is compared with the row that training would have taken as its target (`score_waiting`).
//!
//! `residual` is actual minus predicted, NaN without a prediction or where the actual value was not observed.
//! `residual_sd` is its standard deviation over the last `long` residuals, this one included, from the second on.
//! `tail` is the share of rows that are at least as unusual (`score_rank`), given at rows with a residual once there
//! are ten times `short` of them, or `long` if that is less. `alert` says that it is under `tail`, where that isn't by
//! the lot among equal rows alone. After an alert there is none for `quiet` rows, unless a row is more unusual than
//! those since. With a `threshold`, `anomaly_score` is given too, and it sets `alert`.
//!
//! State per key: the predictions that wait, the last `long` residuals with their sums, the ranks, the last alert, and
//! what values are at each time of the season.

use bytemuck::{Pod, Zeroable};
use serde_json::{Map, Value, json};

use super::score_rank::{self, Ranks};
use super::score_season::{self, Profile, Season};
use super::score_waiting::Join;
use super::score_window::{self, Window};
use super::{Build, Operator, Stage, columns};
use crate::Result;
use crate::config;
use crate::error::{Problems, did_you_mean};
use crate::problem::Place;
use crate::record::{Batch, Clock, Forecast, Kind, Layout, Role, Values, murmur2};
use crate::state::{State, StateSpec};

impl Operator for config::Score {
    fn word(&self) -> &'static str {
        "score"
    }

    fn adds(&self) -> Vec<String> {
        outputs(self).iter().map(|(name, _)| name.to_string()).collect()
    }

    fn canonical(&self, _clock: &Clock) -> Option<Value> {
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
        add("quiet", json!(self.quiet), json!(default.quiet));
        add("threshold", json!(self.threshold), Value::Null);
        add("season", json!(self.season.as_ref().map(|season| season.value.to_string())), Value::Null);
        // What a tail is. Before, it was the tail of a Gaussian, and this was not said.
        add("calibration", json!("rank"), Value::Null);
        Some(json!({ "score": options }))
    }

    /// Plans the score of one target at one step of the horizon.
    fn plan(&self, place: Place, layout: &mut Layout, problems: &mut Problems) -> Option<Box<dyn Build>> {
        let forecasts = layout.forecasts.clone();
        let Some(first) = forecasts.first() else {
            let message = match layout.features {
                None => "score needs an infer stage before it",
                Some(_) => {
                    "score needs a forecast: no output of the model is one (`targets` and `horizon` in its card)"
                }
            };
            problems.add(place, message);
            return None;
        };
        let or_here = |at: Place| if at.line > 0 { at } else { place };
        let found = target(self, &forecasts).map_err(|message| problems.add(or_here(self.actual.place), message)).ok();
        let actual = found.and_then(|(forecast, target)| match layout.number(&forecast.targets[target]) {
            Ok(index) => Some(index),
            Err(message) => {
                problems.add(or_here(self.actual.place), message);
                None
            }
        });
        let (forecast, target) = found.map_or((first, None), |(forecast, target)| (forecast, Some(target)));
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
        let season = self.season.as_ref().and_then(|length| {
            let season = Season::new(&layout.clock, length.value);
            season.map_err(|message| problems.add(length.place, format!("season {}: {message}", length.value))).ok()
        });
        if self.threshold.is_none() && (self.long as f64 + 1.0) * self.tail <= 1.0 {
            let (long, tail) = (self.long, self.tail);
            let least = (1.0 / tail).ceil();
            tracing::warn!(long, tail, least, "score: `long` is too short for `tail`: there can never be an alert");
        }
        let quantiles = forecast.quantiles.max(1);
        let width = forecast.width();
        let every = layout.interval.and_then(|span| layout.clock.every(span).ok());
        let join = match (every, &layout.features) {
            (Some(every), _) => Some(Join::ByTime { every, clock: layout.clock.clone() }),
            (None, Some(features)) => Some(Join::ByRow { interval: features.interval }),
            (None, None) => None,
        };
        if join.is_none() {
            problems.add(place, "score needs an infer stage before it");
        }
        for (name, kind) in outputs(self) {
            columns::add(layout, (*name).into(), kind.clone(), Role::Output, place, problems);
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
            join: join?,
            step,
            tail: self.tail,
            threshold: self.threshold,
            long: self.long,
            short: self.short,
            season,
            quiet: self.quiet as u64,
            scratch: Vec::new(),
            enough: self.long.min(self.short.saturating_mul(10)),
        }))
    }
}

/// The columns that it adds.
fn outputs(config: &config::Score) -> &'static [(&'static str, Kind)] {
    const ALL: [(&str, Kind); 5] = [
        ("residual", Kind::Number),
        ("residual_sd", Kind::Number),
        ("tail", Kind::Number),
        ("alert", Kind::Flag),
        ("anomaly_score", Kind::Number),
    ];
    if config.threshold.is_some() { &ALL } else { &ALL[..4] }
}

/// Which of the model's forecasts is scored, and which of its targets: of several outputs that predict a column, the
/// first one.
fn target<'f>(config: &config::Score, forecasts: &'f [Forecast]) -> std::result::Result<(&'f Forecast, usize), String> {
    let mut targets: Vec<&str> = Vec::new();
    for target in forecasts.iter().flat_map(|forecast| &forecast.targets) {
        if !targets.contains(&target.as_str()) {
            targets.push(target);
        }
    }
    let list = targets.join(", ");
    let name = match (config.actual.as_str(), &targets[..]) {
        ("", [one]) => *one,
        ("", _) => return Err(format!("the model predicts several columns ({list}): name one as actual")),
        (name, _) => name,
    };
    let place = |forecast: &'f Forecast| Some((forecast, forecast.targets.iter().position(|target| target == name)?));
    forecasts.iter().find_map(place).ok_or_else(|| {
        let near = did_you_mean(name, targets.iter().copied());
        format!("the model doesn't predict \"{name}\", but: {list}{near}")
    })
}

#[derive(Clone)]
struct Score {
    actual: usize,
    prediction: usize,
    /// Outputs of a row, and which of them is scored.
    width: usize,
    output: usize,
    join: Join,
    step: usize,
    tail: f64,
    threshold: Option<f64>,
    long: usize,
    short: usize,
    season: Option<Season>,
    quiet: u64,
    /// Memory for medians, used again for every row.
    scratch: Vec<f32>,
    enough: usize,
}

/// A key's last alert.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct LastAlert {
    /// Rows for which there is none.
    quiet: u64,
    /// How unusual it was: the smallest p-value, or the negative anomaly score.
    smallest: f64,
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
        let spec = score_window::add(self.join.state(self.step), self.long);
        let spec = score_rank::add(spec, self.long, self.short).u64("alert.quiet", 0).f64("alert.smallest", 0.0);
        if self.season.is_some() { score_season::add(spec, self.long) } else { spec }
    }

    fn process(&mut self, batch: &mut Batch, state: &mut State<'_>) -> Result<()> {
        let rows = batch.rows();
        let (mut residuals, mut sds) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
        let (mut tails, mut alerts) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
        let mut scores = Vec::with_capacity(if self.threshold.is_some() { rows } else { 0 });
        let actual = &batch.columns[self.actual];
        for row in 0..rows {
            let slot = batch.slots[row];
            let (waiting, rest) = state.rows.get_mut(slot).split_at_mut(self.join.words(self.step));
            let (window, rest) = rest.split_at_mut(score_window::words(self.long));
            let (ranks, rest) = rest.split_at_mut(score_rank::words(self.long, self.short));
            let (last, profile) = rest.split_at_mut(size_of::<LastAlert>() / size_of::<u64>());
            let mut window = Window::of(window, self.long);
            let key = state.keys.map_or(0, |keys| murmur2(keys.get(slot)));
            let Some(mut ranks) = Ranks::of(ranks, self.long, self.short, key.into()) else { continue };
            let last: &mut LastAlert = bytemuck::from_bytes_mut(bytemuck::cast_slice_mut(last));
            let prediction = match &batch.columns[self.prediction].values {
                Values::Vector(values, width) if *width == self.width => values[row * self.width + self.output],
                _ => f32::NAN,
            };
            let predicted = self.join.exchange(waiting, batch, row, self.step, prediction);
            let value = actual.numbers()[row];
            let residual = match predicted {
                Some(predicted) if actual.is_observed(row) => value - predicted,
                _ => f64::NAN,
            };
            let (mut tail, mut score, mut alert) = (f64::NAN, f64::NAN, false);
            let is_scored = residual.is_finite();
            let mut shares = [None; 4];
            if is_scored {
                let rounded = Window::rounded(residual);
                shares[0] = ranks.residual(window.residuals(), rounded);
                window.push(rounded);
                if window.count() >= self.short {
                    shares[1] = ranks.mean(window.newest_mean(self.short));
                }
            }
            if actual.is_observed(row) {
                if let Some(season) = &self.season
                    && let Some(mut profile) = Profile::of(profile, self.long)
                {
                    shares[3] = ranks.seasonal(&mut profile, season, batch.times[row], value);
                }
                shares[2] = ranks.value(value, &mut self.scratch);
            }
            if is_scored
                && let Some(rank) = ranks.rank(shares)
                && window.count() >= self.enough
            {
                tail = rank.tail;
                score = rank.score;
                let (smallest, is_unusual) = match self.threshold {
                    // Nor is a row unusual by the lot among equal ones.
                    Some(threshold) => (-score, score >= threshold && rank.equal.log10() < -threshold),
                    None => (rank.smallest, tail < self.tail && rank.equal < self.tail),
                };
                alert = is_unusual && (last.quiet == 0 || smallest < last.smallest);
                if alert {
                    *last = LastAlert { quiet: self.quiet + 1, smallest };
                }
            }
            last.quiet = last.quiet.saturating_sub(1);
            residuals.push(if is_scored { residual } else { f64::NAN });
            sds.push(if window.count() >= 2 { window.mean_sd().1 } else { f64::NAN });
            tails.push(tail);
            alerts.push(alert);
            if self.threshold.is_some() {
                scores.push(score);
            }
        }
        batch.columns.push(Values::Number(residuals).into());
        batch.columns.push(Values::Number(sds).into());
        batch.columns.push(Values::Number(tails).into());
        batch.columns.push(Values::Flag(alerts).into());
        if self.threshold.is_some() {
            batch.columns.push(Values::Number(scores).into());
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "score_tests.rs"]
mod tests;
