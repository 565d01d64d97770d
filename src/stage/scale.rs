//! `scale: { values, half_life, min_count }`: per key and column, mean and standard deviation that forget with time.
//!
//! The value column stays in its own units. The row carries the pair (mean, sd) known after the row, in two internal
//! columns that [`crate::record::LayoutColumn::scaled_by`] points to; `infer` scales by it.
//!
//! With `w` the weight of what was before, every observed value x does (West 1979, with decay) `W = w W + 1; d = x - m;
//! m += d / W; S = w S + d (x - m)`, where `w = 2^(-dt / half_life)` by the time since the last observed value, or
//! `2^(-1 / half_life)` where the half-life counts rows (then only rows with an observed value count). The variance is
//! S / W. Calendar months count 30.436875 days.
//!
//! With `log` all of that is of the values' logarithms, [`crate::record::logarithm`], by which `infer` then scales:
//! what grows with its level moves by about as much everywhere, and errors count as shares of the value.
//!
//! Until `min_count` values were observed, `k = min_count - n` values of a prior are added: a standard deviation of a
//! tenth of |m| (1 where m is 0) around the key's own mean, `(S + k v) / (W + k)`. So the pair is finite from the first
//! observed value on; before it, it is NaN. The sd is never below `1e-6 |m|` nor below 1e-12, so that dividing by it
//! stays finite for a key that never changes. Values beyond ±1e140 count as ±1e140, so that no square overflows.

use bytemuck::{Pod, Zeroable};
use serde_json::{Value, json};

use super::{Build, Operator, Stage, columns};
use crate::Result;
use crate::config::{self, At, Span};
use crate::error::Problems;
use crate::problem::Place;
use crate::record::{Batch, Clock, Kind, Layout, Role, Values, logarithm};
use crate::state::{State, StateSpec};

const NANOS_PER_MONTH: f64 = 30.436_875 * 86_400e9;
const LARGEST: f64 = 1e140;

impl Operator for config::Scale {
    fn word(&self) -> &'static str {
        "scale"
    }

    fn numbers(&self) -> Vec<At<String>> {
        self.values.clone()
    }

    fn canonical(&self, _clock: &Clock) -> Option<Value> {
        let mut options = json!({
            "values": self.values.iter().map(|name| &name.value).collect::<Vec<_>>(),
            "half_life": self.half_life.to_string(),
            "min_count": self.min_count,
        });
        if self.log {
            options["log"] = true.into();
        }
        Some(json!({ "scale": options }))
    }

    /// Plans the columns to scale.
    fn plan(&self, place: Place, layout: &mut Layout, problems: &mut Problems) -> Option<Box<dyn Build>> {
        let mut columns = Vec::new();
        for name in &self.values {
            let Some(column) = columns::number(layout, name, problems) else { continue };
            if layout.columns[column].scaled_by.is_some() {
                problems.add(name.place, format!("column \"{}\" is scaled already", name.value));
                continue;
            }
            let mean = layout.add(format!("{}_mean", name.value), Kind::Number, Role::Internal);
            let sd = layout.add(format!("{}_sd", name.value), Kind::Number, Role::Internal);
            // Lags that were made before belong to their column all the same.
            for (index, other) in layout.columns.iter_mut().enumerate() {
                if index == column || other.lag_of == Some(column) {
                    (other.scaled_by, other.log) = (Some((mean, sd)), self.log);
                }
            }
            columns.push(column);
        }
        let decay = decay(self.half_life.value, layout);
        if let Err(message) = &decay {
            problems.add(if self.half_life.place.line > 0 { self.half_life.place } else { place }, message);
        }
        let decay = decay.ok()?;
        (columns.len() == self.values.len()).then(|| {
            let names = self.values.iter().map(|name| name.value.clone()).collect();
            Box::new(Scale { columns, names, decay, min_count: self.min_count, log: self.log, last: (0, 1.0) })
                as Box<dyn Build>
        })
    }
}

fn decay(half_life: Span, layout: &Layout) -> std::result::Result<Decay, String> {
    let (per_row, half_life) = match (half_life.in_hours(), layout.clock.nanos_per_tick) {
        (Span::Steps(rows), _) => (true, rows as f64),
        (Span::Nanos(nanos), Some(tick)) => (false, nanos as f64 / tick as f64),
        (Span::Months(months), Some(tick)) => (false, f64::from(months) * NANOS_PER_MONTH / tick as f64),
        (Span::Days(_), _) | (_, None) => {
            return Err("the time is an integer step without a clock: write the half-life in rows".into());
        }
    };
    if half_life <= 0.0 {
        return Err("the half-life must be more than nothing".into());
    }
    Ok(if per_row { Decay::PerRow((-1.0 / half_life).exp2()) } else { Decay::ByTime { half_life } })
}

#[derive(Clone, Copy)]
enum Decay {
    PerRow(f64),
    /// In ticks.
    ByTime {
        half_life: f64,
    },
}

/// What is kept of a key's column.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Moments {
    count: u64,
    time: i64,
    weight: f64,
    mean: f64,
    squares: f64,
}

const WORDS: usize = size_of::<Moments>() / size_of::<u64>();

impl Moments {
    fn add(&mut self, value: f64, decay: f64) {
        let value = value.clamp(-LARGEST, LARGEST);
        self.weight = decay * self.weight + 1.0;
        let from_mean = value - self.mean;
        self.mean += from_mean / self.weight;
        self.squares = decay * self.squares + from_mean * (value - self.mean);
        self.count += 1;
    }

    fn pair(&self, min_count: u64) -> (f64, f64) {
        if self.count == 0 {
            return (f64::NAN, f64::NAN);
        }
        let missing = min_count.saturating_sub(self.count) as f64;
        let prior = if self.mean == 0.0 { 1.0 } else { self.mean / 10.0 };
        let variance = (self.squares + missing * prior * prior) / (self.weight + missing);
        (self.mean, floor_sd(self.mean, variance.sqrt()))
    }
}

/// A standard deviation that can be divided by.
pub(super) fn floor_sd(mean: f64, sd: f64) -> f64 {
    sd.max(1e-6 * mean.abs()).max(1e-12)
}

#[derive(Clone)]
struct Scale {
    columns: Vec<usize>,
    names: Vec<String>,
    decay: Decay,
    min_count: u64,
    log: bool,
    /// The last time difference and its weight: most rows of most sources have the same.
    last: (i64, f64),
}

impl Stage for Scale {
    fn name(&self) -> &'static str {
        "scale"
    }

    /// A [`Moments`] for each column.
    fn state(&self) -> StateSpec {
        self.names.iter().fold(StateSpec::default(), |spec, name| {
            spec.u64(format!("{name}.count"), 0)
                .i64(format!("{name}.time"), 0)
                .f64(format!("{name}.weight"), 0.0)
                .f64(format!("{name}.mean"), 0.0)
                .f64(format!("{name}.squares"), 0.0)
        })
    }

    fn process(&mut self, batch: &mut Batch, state: &mut State<'_>) -> Result<()> {
        for (part, index) in self.columns.iter().enumerate() {
            let column = &batch.columns[*index];
            let mut means = Vec::with_capacity(batch.times.len());
            let mut sds = Vec::with_capacity(batch.times.len());
            for (row, value) in column.numbers().iter().enumerate() {
                let words = &mut state.rows.get_mut(batch.slots[row])[part * WORDS..(part + 1) * WORDS];
                let moments: &mut Moments = bytemuck::from_bytes_mut(bytemuck::cast_slice_mut(words));
                if value.is_finite() && column.is_observed(row) {
                    let time = batch.times[row];
                    let decay = match self.decay {
                        _ if moments.count == 0 => 1.0,
                        Decay::PerRow(decay) => decay,
                        Decay::ByTime { half_life } => {
                            // A record that is late doesn't turn time back.
                            let passed = time.saturating_sub(moments.time).max(0);
                            if passed != self.last.0 {
                                self.last = (passed, (-(passed as f64) / half_life).exp2());
                            }
                            self.last.1
                        }
                    };
                    moments.time = if moments.count == 0 { time } else { moments.time.max(time) };
                    moments.add(if self.log { logarithm::of(*value) } else { *value }, decay);
                }
                let (mean, sd) = moments.pair(self.min_count);
                means.push(mean);
                sds.push(sd);
            }
            batch.columns.push(Values::Number(means).into());
            batch.columns.push(Values::Number(sds).into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::testing::{self, Table};

    fn config(values: &[&str], half_life: Span, min_count: u64) -> config::Scale {
        config::Scale {
            values: values.iter().map(|name| At::default_value((*name).to_owned())).collect(),
            half_life: At::default_value(half_life),
            min_count,
            log: false,
        }
    }

    fn run(config: &config::Scale, table: &Table, observed: Option<Vec<bool>>) -> (Layout, Batch) {
        let mut layout = table.layout();
        let mut problems = Problems::new("p.yaml");
        let stage = testing::plan(config, &mut layout, &mut problems);
        problems.finish(()).unwrap();
        let mut batch = table.batch();
        batch.columns[0].observed = observed;
        (layout, testing::run(&mut [stage.unwrap()], &batch, &[]))
    }

    fn noise(n: u32) -> f64 {
        f64::from(n.wrapping_mul(2_654_435_761) >> 8) / 1e7 + 100.0
    }

    #[test]
    fn equals_the_weighted_moments_of_all_that_was() {
        let mut table = Table::new(&["value"]);
        let mut time = -5_000;
        for n in 0..300 {
            time += i64::from(n % 7) * 400;
            table.push(0, time, &[noise(n)]);
        }
        for (half_life, by_time) in [(Span::Nanos(6 * 3_600_000_000_000), true), (Span::Steps(20), false)] {
            let (layout, out) = run(&config(&["value"], half_life, 0), &table, None);
            let (mean, sd) = layout.columns[0].scaled_by.unwrap();
            for row in 0..300_usize {
                let weight = |other: usize| {
                    let age = if by_time {
                        (out.times[row] - out.times[other]) as f64 / (6.0 * 3_600.0)
                    } else {
                        (row - other) as f64 / 20.0
                    };
                    0.5_f64.powf(age)
                };
                let values = out.columns[0].numbers();
                let total: f64 = (0..=row).map(weight).sum();
                let m: f64 = (0..=row).map(|i| weight(i) * values[i]).sum::<f64>() / total;
                let v: f64 = (0..=row).map(|i| weight(i) * (values[i] - m).powi(2)).sum::<f64>() / total;
                assert!((out.columns[mean].numbers()[row] - m).abs() < 1e-9 * m, "row {row}");
                let found = out.columns[sd].numbers()[row];
                assert!((found - v.sqrt().max(1e-6 * m)).abs() < 1e-7 * found, "row {row}: {found} {}", v.sqrt());
            }
        }
    }

    #[test]
    fn with_log_they_are_the_moments_of_the_logarithms() {
        let (mut table, mut logarithms) = (Table::new(&["value"]), Table::new(&["value"]));
        for (time, value) in [(0, 9.0), (1, 99.0), (2, -3.0), (3, 0.0), (4, 1e6)] {
            table.push(0, time, &[value]);
            logarithms.push(0, time, &[logarithm::of(value)]);
        }
        let plain = config(&["value"], Span::Steps(3), 2);
        let log = config::Scale { log: true, ..plain.clone() };
        let (layout, out) = run(&log, &table, None);
        let (_, expected) = run(&plain, &logarithms, None);
        let (mean, sd) = layout.columns[0].scaled_by.unwrap();
        assert!(layout.columns[0].log);
        assert_eq!(out.columns[0].numbers(), [9.0, 99.0, -3.0, 0.0, 1e6]);
        for column in [mean, sd] {
            assert_eq!(out.columns[column].numbers(), expected.columns[column].numbers());
        }
        let clock = &layout.clock;
        assert_eq!(log.canonical(clock).unwrap()["scale"]["log"], true);
        assert!(plain.canonical(clock).unwrap()["scale"].get("log").is_none());
    }

    #[test]
    fn only_observed_values_count_and_pairs_are_finite_from_the_first_on() {
        let mut table = Table::new(&["value"]);
        for (time, value) in [(0, f64::NAN), (1, 3.0), (2, 3.0), (3, 1e300), (4, 5.0)] {
            table.push(0, time, &[value]);
        }
        let observed = vec![false, false, true, false, true];
        let (layout, out) = run(&config(&["value"], Span::Steps(1_000_000_000), 0), &table, Some(observed));
        let (mean, sd) = layout.columns[0].scaled_by.unwrap();
        let means = out.columns[mean].numbers();
        assert!(means[0].is_nan() && means[1].is_nan() && out.columns[sd].numbers()[1].is_nan());
        assert_eq!((means[2], means[3]), (3.0, 3.0));
        assert!((means[4] - 4.0).abs() < 1e-6);
        assert_eq!(out.columns[sd].numbers()[2], 3e-6);
    }

    #[test]
    fn huge_values_and_zeros_keep_the_pair_finite() {
        let mut table = Table::new(&["value"]);
        for (time, value) in [(0, 0.0), (1, 0.0), (2, f64::MAX), (3, f64::MIN), (4, 1.0), (i64::MAX, 1.0)] {
            table.push(0, time, &[value]);
        }
        for min_count in [0, 3] {
            let (layout, out) = run(&config(&["value"], Span::Nanos(1_000_000_000), min_count), &table, None);
            let (mean, sd) = layout.columns[0].scaled_by.unwrap();
            assert!(out.columns[mean].numbers().iter().all(|m| m.is_finite()));
            assert!(out.columns[sd].numbers().iter().all(|s| s.is_finite() && *s > 0.0));
        }
    }

    #[test]
    fn a_late_record_does_not_turn_time_back() {
        let mut table = Table::new(&["value"]);
        for (time, value) in [(0, 1.0), (100, 2.0), (50, 3.0), (100, 4.0)] {
            table.push(0, time, &[value]);
        }
        let (layout, out) = run(&config(&["value"], Span::Nanos(100_000_000_000), 0), &table, None);
        let means = out.columns[layout.columns[0].scaled_by.unwrap().0].numbers();
        assert!((means[3] - (0.5 + 2.0 + 3.0 + 4.0) / 3.5).abs() < 1e-12, "{means:?}");
    }

    #[test]
    fn the_prior_fades_by_min_count() {
        let mut table = Table::new(&["value"]);
        for (time, value) in [(0, 10.0), (1, 12.0), (2, 11.0)] {
            table.push(0, time, &[value]);
        }
        let (layout, out) = run(&config(&["value"], Span::Steps(1 << 40), 3), &table, None);
        let sds = out.columns[layout.columns[0].scaled_by.unwrap().1].numbers();
        assert!((sds[0] - (2.0_f64 / 3.0).sqrt()).abs() < 1e-9);
        assert!((sds[1] - ((2.0 + 1.21) / 3.0_f64).sqrt()).abs() < 1e-9);
        assert!((sds[2] - (2.0_f64 / 3.0).sqrt()).abs() < 1e-9);
    }

    #[test]
    fn a_second_scale_and_a_half_life_in_time_without_a_clock_are_problems() {
        let mut table = Table::new(&["value"]);
        table.time = arrow::datatypes::DataType::Int64;
        let mut layout = table.layout();
        let mut problems = Problems::new("p.yaml");
        testing::plan(&config(&["value"], Span::Nanos(1), 0), &mut layout, &mut problems);
        testing::plan(&config(&["value"], Span::Steps(1), 0), &mut layout, &mut problems);
        let text = problems.finish(()).unwrap_err().to_string();
        assert!(text.contains("half-life in rows") && text.contains("scaled already"), "{text}");
    }

    #[test]
    fn bits_do_not_depend_on_batches_or_interleaving() {
        for half_life in [Span::Steps(3), Span::Nanos(7_000_000_000)] {
            testing::laws(&["value", "other"], 64, |layout, problems| {
                let config = config(&["value", "other"], half_life, 3);
                testing::plan(&config, layout, problems).into_iter().collect()
            });
        }
    }
}
