//! `score: { actual, step, tail, long, short }`: predictions beside what then came.
//!
//! The prediction made for step `step` waits in a ring until a row of its key has exactly the time it was made for: that
//! many intervals on, where the interval is that of `resample` or else the one `infer` sees most often for the key. Where
//! rows miss that time, no residual is taken. Of two predictions for one time the later stands; rows that are late neither
//! make nor meet one that waits for a later time. Where rows come much denser than the interval, the predictions of some
//! are left out (the ring holds `step` and a few).
//!
//! `residual` is actual minus predicted, NaN without a prediction or where the actual value was not observed.
//! `residual_sd` is its standard deviation over the last `long` residuals, this one included, from the second on. `tail`
//! is the Gaussian tail probability of the mean of the last `short` residuals against those `long`, given at rows with a
//! residual once there are ten times `short` of them, or `long` if that is less. It is near 0 where the series came out far above
//! what was predicted and near 1 where far below; `alert` says that it is under `tail`, or over 1 - `tail`.
//!
//! State per key: the ring of predictions, the ring of the last `long` residuals and their sums.

use bytemuck::{Pod, Zeroable};

use super::Stage;
use super::columns::{self, internal};
use super::plan::Forecast;
use super::score_window::{self, Window};
use crate::Result;
use crate::config;
use crate::error::{Problems, did_you_mean};
use crate::problem::Place;
use crate::record::{Batch, Clock, Every, Kind, Layout, Role, Values};
use crate::state::{State, StateSpec};

/// Predictions that may wait beyond `step`.
const SPARE: usize = 4;

/// Plans the score of one target at one step of the horizon.
pub(super) fn plan(
    config: &config::Score,
    forecast: &Forecast,
    layout: &mut Layout,
    place: Place,
    problems: &mut Problems,
) -> Option<Box<dyn Stage>> {
    let or_here = |at: Place| if at.line > 0 { at } else { place };
    let target = target(config, forecast).map_err(|message| problems.add(or_here(config.actual.place), message)).ok();
    let actual = target.and_then(|target| match layout.number(&forecast.targets[target]) {
        Ok(index) => Some(index),
        Err(message) => {
            problems.add(or_here(config.actual.place), message);
            None
        }
    });
    let step = config.step.value;
    if step == 0 || step > forecast.horizon {
        let message = format!("step {step} is scored, but the model predicts steps 1 to {}", forecast.horizon);
        problems.add(or_here(config.step.place), message);
    }
    if !(config.tail > 0.0 && config.tail < 0.5) {
        problems.add(place, format!("tail must lie between 0 and 0.5, found {}", config.tail));
    }
    if config.short == 0 || config.long < 2 || config.short > config.long {
        let message = format!("short must be from 1 to long ({}), found {}", config.long, config.short);
        problems.add(place, message);
    }
    let quantiles = forecast.quantiles.max(1);
    let width = forecast.horizon * forecast.targets.len() * quantiles;
    let prediction = layout.find("prediction").filter(|index| layout.columns[*index].kind == Kind::Vector(width));
    if prediction.is_none() {
        problems.add(place, "score needs the predictions of an infer stage before it");
    }
    let interval = match layout.interval.map(|span| layout.clock.every(span)) {
        Some(Ok(every)) => Some(Interval::Known(every)),
        _ => internal(layout, "interval_ticks").map(Interval::Column),
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
    if !(1..=forecast.horizon).contains(&step) || config.long < 2 || !(1..=config.long).contains(&config.short) {
        return None;
    }
    Some(Box::new(Score {
        actual: actual?,
        prediction: prediction?,
        width,
        // The middle quantile stands for the prediction.
        output: ((step - 1) * forecast.targets.len() + target) * quantiles + quantiles / 2,
        interval: interval?,
        clock: layout.clock.clone(),
        step,
        tail: config.tail,
        long: config.long,
        short: config.short,
        enough: config.long.min(config.short.saturating_mul(10)),
    }))
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

enum Interval {
    Known(Every),
    /// Index of a column of ticks: 0 where it is unknown, negative for calendar months.
    Column(usize),
}

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

    /// Residuals are those of one version: another's are held against its own.
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
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::config::{At, Span};
    use crate::stage::testing::{self, Table};

    /// Stands where `infer` would: predicts 2 steps of 2 targets from the first column alone.
    struct Guess;

    const TARGETS: usize = 2;
    const HORIZON: usize = 2;

    fn guess(value: f64, step: usize, target: usize) -> f32 {
        (value * 0.9 + step as f64 * 0.25 + target as f64) as f32
    }

    impl Stage for Guess {
        fn name(&self) -> &'static str {
            "guess"
        }

        fn process(&mut self, batch: &mut Batch, _state: &mut State<'_>) -> Result<()> {
            let mut outputs = Vec::new();
            for value in batch.columns[0].numbers() {
                for step in 1..=HORIZON {
                    outputs.extend((0..TARGETS).map(|target| guess(*value, step, target)));
                }
            }
            batch.columns.push(Values::Vector(outputs, HORIZON * TARGETS).into());
            batch.columns.push(Values::Integer(vec![1; batch.rows()]).into());
            Ok(())
        }
    }

    fn config(actual: &str, step: usize, long: usize, short: usize) -> config::Score {
        config::Score {
            actual: At::default_value(actual.into()),
            step: At::default_value(step),
            tail: 0.1,
            long,
            short,
        }
    }

    fn stages(config: &config::Score, layout: &mut Layout, problems: &mut Problems) -> Vec<Box<dyn Stage>> {
        layout.add("prediction", Kind::Vector(HORIZON * TARGETS), Role::Output);
        layout.add("interval_ticks", Kind::Integer, Role::Internal);
        let forecast = Forecast { targets: vec!["value".into(), "other".into()], horizon: HORIZON, quantiles: 0 };
        let score = plan(config, &forecast, layout, Place::default(), problems);
        let mut stages: Vec<Box<dyn Stage>> = vec![Box::new(Guess)];
        stages.extend(score);
        stages
    }

    #[test]
    fn equals_a_slow_reference() {
        let (long, short, step) = (40, 3, 2);
        let mut table = Table::new(&["value", "other"]);
        let mut time = [0_i64; 2];
        for n in 0..600_u32 {
            let key = n % 2;
            time[key as usize] += if n % 23 == 0 { 3 } else { 1 };
            let wave = f64::from(n.wrapping_mul(2_654_435_761) >> 16) / 65_536.0;
            let other = if n % 17 == 0 { f64::NAN } else { wave * 3.0 + if n > 400 { 2.0 } else { 0.0 } };
            table.push(key, time[key as usize], &[wave, other]);
        }
        let (mut layout, mut problems) = (table.layout(), Problems::new("p.yaml"));
        let mut stages = stages(&config("other", step, long, short), &mut layout, &mut problems);
        problems.finish(()).unwrap();
        let out = testing::run(&mut stages, &table.batch(), &[7, 8, 300]);
        let column = |name: &str| out.columns[layout.find(name).unwrap()].numbers();
        let Values::Flag(alerts) = &out.columns[layout.find("alert").unwrap()].values else { panic!() };

        let mut made: HashMap<(u32, i64), f64> = HashMap::new();
        let mut seen: HashMap<u32, Vec<f64>> = HashMap::new();
        let (mut scored, mut alerted) = (0, 0);
        for (row, key) in out.slots.iter().copied().enumerate() {
            let seen = seen.entry(key).or_default();
            let residual = made.get(&(key, out.times[row])).map_or(f64::NAN, |p| out.columns[1].numbers()[row] - p);
            assert_eq!(column("residual")[row].to_bits(), residual.to_bits(), "row {row}");
            if !residual.is_nan() {
                seen.push(residual);
            }
            let window = &seen[seen.len().saturating_sub(long)..];
            let mean = window.iter().sum::<f64>() / window.len() as f64;
            let sd = (window.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / window.len() as f64).sqrt();
            if window.len() >= 2 {
                assert!((column("residual_sd")[row] - sd).abs() < 1e-12, "row {row}");
            } else {
                assert!(column("residual_sd")[row].is_nan());
            }
            let tail = column("tail")[row];
            if residual.is_nan() || window.len() < 30 {
                assert!(tail.is_nan(), "row {row}");
            } else {
                scored += 1;
                let newest = window[window.len() - short..].iter().sum::<f64>() / short as f64;
                // Q by the trapezoid rule.
                let z = (newest - mean) / sd;
                let density = |x: f64| (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt();
                let expected: f64 = (0..12_000).map(|i| density(z + (f64::from(i) + 0.5) * 1e-3) * 1e-3).sum();
                assert!((tail - expected).abs() < 1e-7, "row {row}: {tail}, {expected}");
            }
            assert_eq!(alerts[row], !tail.is_nan() && !(0.1..=0.9).contains(&tail));
            alerted += usize::from(alerts[row]);
            let prediction = f64::from(guess(out.columns[0].numbers()[row], step, 1));
            made.insert((key, out.times[row] + step as i64), prediction);
        }
        assert!(scored > 300 && alerted > 10 && alerted < scored, "{scored}, {alerted}");
    }

    #[test]
    fn joins_by_the_calendar_behind_resample() {
        let mut table = Table::new(&["value", "other"]);
        let months = [0, 31, 59, 90, 120]; // 1970-01-01 and the firsts of the months behind it
        months.iter().for_each(|day| table.push(0, day * 86_400, &[*day as f64, 0.0]));
        let (mut layout, mut problems) = (table.layout(), Problems::new("p.yaml"));
        layout.interval = Some(Span::Months(1));
        let mut stages = stages(&config("value", 1, 10, 1), &mut layout, &mut problems);
        problems.finish(()).unwrap();
        let out = testing::run(&mut stages, &table.batch(), &[]);
        let residuals = out.columns[layout.find("residual").unwrap()].numbers();
        assert!(residuals[0].is_nan());
        for row in 1..months.len() {
            let expected = months[row] as f64 - f64::from(guess(months[row - 1] as f64, 1, 0));
            assert_eq!(residuals[row], expected);
        }
    }

    #[test]
    fn the_ring_keeps_what_is_due_first() {
        let mut words = vec![0; Waiting::words(1)];
        let mut waiting = Waiting::of(&mut words).unwrap();
        for time in [10, 11, 11, 9, 12, 13, 14, 15, 16] {
            waiting.push(Prediction { time, value: time as f64 });
        }
        assert_eq!(waiting.at(9), None);
        assert_eq!((waiting.at(11), waiting.at(11), waiting.at(10)), (Some(11.0), Some(11.0), None));
        assert_eq!((waiting.at(14), waiting.at(15), *waiting.count), (Some(14.0), None, 0));
        waiting.push(Prediction { time: 20, value: 1.0 });
        assert_eq!(waiting.at(20), Some(1.0));
    }

    #[test]
    fn what_the_model_does_not_predict_is_a_problem() {
        for (config, part) in [
            (config("", 1, 10, 1), "name one as actual"),
            (config("valu", 1, 10, 1), "did you mean \"value\"?"),
            (config("value", 3, 10, 1), "predicts steps 1 to 2"),
            (config("value", 1, 10, 11), "short must be from 1 to long (10), found 11"),
        ] {
            let (mut layout, mut problems) = (Table::new(&["value", "other"]).layout(), Problems::new("p.yaml"));
            assert_eq!(stages(&config, &mut layout, &mut problems).len(), 1);
            let text = problems.finish(()).unwrap_err().to_string();
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn bits_do_not_depend_on_batches_or_interleaving() {
        testing::laws(&["value", "other"], 200, |layout, problems| stages(&config("other", 1, 6, 2), layout, problems));
    }
}
