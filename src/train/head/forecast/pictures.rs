//! The charts of a forecast's report.

use super::{ForecastEvaluation, Sample};
use crate::Result;
use crate::record::Clock;
use crate::train::errors::{Compared, Errors};
use crate::train::report::chart::{Chart, LAST, Line, MODEL, NARROW, SEASONAL, TRUTH, WIDE, number};
use crate::train::report::name;

/// A picture of a forecast: by default the first one of the evaluation. A standalone SVG file.
pub fn sample_svg(evaluation: &ForecastEvaluation, clock: &Clock, forecast: &Sample) -> Result<String> {
    let target = &evaluation.head.targets[forecast.target];
    let first = forecast.times.first().copied().unwrap_or(0);
    let unit = forecast.times.last().map_or(1, |last| (last - first).max(1));
    let dated = clock.nanos_per_tick.is_some();
    let days = clock.nanos_per_tick.unwrap_or(1) as f64 * unit as f64 / 86.4e12;
    let text = |x: f64| {
        let ticks = first.saturating_add(x as i64);
        match clock.utc(ticks) {
            Some(at) if days > 400.0 => at.format("%b %Y").to_string(),
            Some(at) if days > 6.0 => at.format("%d %b %Y").to_string(),
            Some(at) => at.format("%d %b %H:%M").to_string(),
            None => ticks.to_string(),
        }
    };
    let points = |values: &[f64]| {
        forecast.times.iter().zip(values).map(|(time, value)| ((time - first) as f64, *value)).collect()
    };
    let naive_name = if forecast.naive_is_seasonal { "season ago" } else { "last value" };
    let naive_color = if forecast.naive_is_seasonal { SEASONAL } else { LAST };
    let rows = if forecast.step == 1 { "row" } else { "rows" };
    Chart {
        title: format!("{}: {target}, forecast {} {rows} ahead", name(&forecast.key), forecast.step),
        x_label: if dated { "time (UTC)" } else { "step" }.into(),
        y_label: target.clone(),
        lines: vec![
            Line { name: naive_name.into(), color: naive_color, points: points(&forecast.naive), width: 1 },
            Line { name: "observed".into(), color: TRUTH, points: points(&forecast.truth), width: 2 },
            Line { name: "kolk".into(), color: MODEL, points: points(&forecast.model), width: 2 },
        ],
        from_zero: false,
        x_text: &text,
        size: WIDE,
    }
    .svg()
}

/// Error by step of the horizon, of one target.
pub fn horizon(evaluation: &ForecastEvaluation, target: usize) -> Result<String> {
    let own = evaluation.comparable[target];
    let mean = move |errors: &Errors| if own { errors.mae() } else { errors.standard_mae() };
    let line = |label: &str, color, of: fn(&Compared) -> &Errors, width| Line {
        name: label.into(),
        color,
        points: evaluation.steps[target]
            .iter()
            .enumerate()
            .map(|(step, compared)| ((step + 1) as f64, mean(of(compared))))
            .collect(),
        width,
    };
    let mut lines = vec![line("last value", LAST, |c| &c.last, 2)];
    if evaluation.head.season().is_some() {
        lines.push(line("season ago", SEASONAL, |c| &c.seasonal, 2));
    }
    lines.push(line("kolk", MODEL, |c| &c.model, 3));
    Chart {
        title: format!("{}: mean absolute error by rows ahead", evaluation.head.targets[target]),
        x_label: "rows ahead".into(),
        y_label: if own { "MAE" } else { "MAE, in sd of the key" }.into(),
        lines,
        from_zero: true,
        x_text: &number,
        size: NARROW,
    }
    .svg()
}

/// Error by steps since a cold start; `None` without one.
pub fn cold(evaluation: &ForecastEvaluation) -> Option<Result<String>> {
    let cold = evaluation.warm_up.as_ref().filter(|cold| cold.by_step.len() > 1)?;
    let line = |label: &str, color, of: fn(&(f64, f64)) -> f64| Line {
        name: label.into(),
        color,
        points: cold.by_step.iter().enumerate().map(|(step, pair)| (step as f64, of(pair))).collect(),
        width: 2,
    };
    let chart = Chart {
        title: "Error of a new key by its steps so far".into(),
        x_label: "steps since state was zero".into(),
        y_label: "MAE, standardised".into(),
        lines: vec![line("warm state", TRUTH, |p| p.1), line("cold start", MODEL, |p| p.0)],
        from_zero: true,
        x_text: &number,
        size: NARROW,
    };
    Some(chart.svg())
}
