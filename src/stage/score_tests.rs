//! Tests of `score`: a slow reference, calendar months, and its laws.

use std::collections::HashMap;

use super::*;
use crate::config::{At, Span};
use crate::record::Features;
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
        ..config::Score::default()
    }
}

fn stages(config: &config::Score, layout: &mut Layout, problems: &mut Problems) -> Vec<Box<dyn Stage>> {
    let column = layout.add("prediction", Kind::Vector(HORIZON * TARGETS), Role::Output);
    let interval = layout.add("interval_ticks", Kind::Integer, Role::Internal);
    layout.features = Some(Features { x: vec![0], usable: 0, restart: 0, interval, rhythm: interval });
    let targets = vec!["value".into(), "other".into()];
    layout.forecasts.push(Forecast { targets, horizon: HORIZON, quantiles: 0, column });
    let score = testing::plan(config, layout, problems);
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

    let mut made: HashMap<u32, Vec<f64>> = HashMap::new();
    let mut seen: HashMap<u32, Vec<f64>> = HashMap::new();
    let (mut scored, mut alerted) = (0, 0);
    for (row, key) in out.slots.iter().copied().enumerate() {
        let seen = seen.entry(key).or_default();
        let made = made.entry(key).or_default();
        let predicted = made.len().checked_sub(step).map(|earlier| made[earlier]);
        let residual = predicted.map_or(f64::NAN, |predicted| out.columns[1].numbers()[row] - predicted);
        assert_eq!(column("residual")[row].to_bits(), residual.to_bits(), "row {row}");
        if !residual.is_nan() {
            seen.push(residual);
        }
        let window = &seen[seen.len().saturating_sub(long)..];
        let window: Vec<f64> = window.iter().map(|residual| f64::from(*residual as f32)).collect();
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
            // Of so many rows none is rarer; the bins fade at twice `long`.
            assert!((1.0 / (2 * long) as f64..=1.0).contains(&tail), "row {row}: {tail}");
        }
        assert!(!alerts[row] || tail < 0.1, "row {row}");
        alerted += usize::from(alerts[row]);
        made.push(f64::from(guess(out.columns[0].numbers()[row], step, 1)));
    }
    assert!(scored > 300 && alerted > 10 && alerted < scored, "{scored}, {alerted}");
}

/// Rows at which there is an alert: what is predicted is right but for `odd` rows.
fn alerts(odd: &[(usize, f64)], tail: f64, quiet: usize) -> Vec<usize> {
    let mut table = Table::new(&["value", "other"]);
    for row in 0..900_usize {
        let noise = f64::from((row as u32).wrapping_mul(2_654_435_761) >> 16) / 65_536.0;
        let value = odd.iter().find(|(at, _)| *at == row).map_or(noise, |(_, value)| *value);
        table.push(0, row as i64, &[noise, value]);
    }
    let (mut layout, mut problems) = (table.layout(), Problems::new("p.yaml"));
    let config = config::Score { tail, quiet, ..config("other", 1, 500, 1) };
    let mut stages = stages(&config, &mut layout, &mut problems);
    problems.finish(()).unwrap();
    let out = testing::run(&mut stages, &table.batch(), &[]);
    let Values::Flag(alerts) = &out.columns[layout.find("alert").unwrap()].values else { panic!() };
    (0..900).filter(|row| alerts[*row]).collect()
}

#[test]
fn after_an_alert_it_is_quiet_but_for_what_is_more_unusual() {
    let odd = [(700, 40.0), (705, 30.0), (710, 50.0), (715, 45.0), (800, 30.0)];
    let of = |rows: Vec<usize>| rows.into_iter().filter(|row| *row >= 700).collect::<Vec<_>>();
    let all = of(alerts(&odd, 0.03, 0));
    assert!([700, 705, 710, 715, 800].iter().all(|row| all.contains(row)), "{all:?}");
    let some = of(alerts(&odd, 0.03, 50));
    assert!(some.starts_with(&[700, 710]) && some.contains(&800) && !some.contains(&715), "{some:?}");
    assert_eq!(of(alerts(&[], 0.002, 0)).len(), 0, "none is rarer than there are rows");
}

#[test]
fn joins_by_the_calendar_behind_resample() {
    let mut table = Table::new(&["value", "other"]);
    let months = [0, 31, 59, 90, 120]; // 1970-01-01 and the first days of the following months
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

/// Which rows of a daily wave are alerts: a morning's value at night is no unusual value, but one at an unusual time.
fn hours(season: bool) -> Vec<usize> {
    let mut table = Table::new(&["value", "other"]);
    for hour in 0..60 * 24_usize {
        let noise = f64::from((hour as u32).wrapping_mul(2_654_435_761) >> 16) / 65_536.0;
        let of_day = if hour == 50 * 24 + 3 { 12 } else { hour % 24 };
        let value = (of_day as f64 - 12.0).abs() + noise;
        table.push(0, hour as i64 * 3600, &[value, value]);
    }
    let (mut layout, mut problems) = (table.layout(), Problems::new("p.yaml"));
    let season = season.then(|| At::default_value(Span::Days(1)));
    let config = config::Score { threshold: Some(3.0), season, quiet: 100, ..config("other", 1, 2000, 1) };
    let mut stages = stages(&config, &mut layout, &mut problems);
    problems.finish(()).unwrap();
    let out = testing::run(&mut stages, &table.batch(), &[]);
    let column = |name: &str| &out.columns[layout.find(name).unwrap()];
    let Values::Flag(alerts) = &column("alert").values else { panic!() };
    let scores = column("anomaly_score").numbers();
    let found: Vec<usize> = (0..table.batch().rows()).filter(|row| alerts[*row]).collect();
    assert!(found.iter().all(|row| scores[*row] >= 3.0), "an alert is set by the score");
    found
}

#[test]
fn a_usual_value_at_an_unusual_time_is_seen_by_the_season() {
    assert_eq!(hours(true), [50 * 24 + 3]);
    assert_ne!(hours(false), [50 * 24 + 3]);
}

#[test]
fn months_are_no_season() {
    let (mut layout, mut problems) = (Table::new(&["value", "other"]).layout(), Problems::new("p.yaml"));
    let season = Some(At::default_value(Span::Months(1)));
    stages(&config::Score { season, ..config("value", 1, 10, 1) }, &mut layout, &mut problems);
    let text = problems.finish(()).unwrap_err().to_string();
    assert!(text.contains("season 1mo: months differ in length: write days, such as 7d"), "{text}");
}

#[test]
fn bits_do_not_depend_on_batches_or_interleaving() {
    testing::laws(&["value", "other"], 200, |layout, problems| stages(&config("other", 1, 6, 2), layout, problems));
    let season = Some(At::default_value(Span::Nanos(60_000_000_000)));
    let config = config::Score { threshold: Some(1.0), season, ..config("other", 1, 6, 2) };
    testing::laws(&["value", "other"], 200, |layout, problems| stages(&config, layout, problems));
}
