//! The charts of a report.

use super::Trained;
use super::chart::{Chart, LAST, Line, MODEL, SEASONAL, TRUTH, number};
use super::table::name;
use crate::Result;
use crate::train::Sample;
use crate::train::errors::{Compared, Errors};

const WIDE: (u32, u32) = (940, 300);
const NARROW: (u32, u32) = (940, 280);

/// Loss by epoch.
pub fn losses(trained: &Trained) -> Result<String> {
    let at = |f: &dyn Fn(usize) -> f64| (0..trained.curve.len()).map(|i| ((i + 1) as f64, f(i))).collect();
    let mut lines =
        vec![Line { name: "train".into(), color: MODEL, points: at(&|i| trained.curve[i].train), width: 2 }];
    if trained.curve.iter().any(|epoch| epoch.validation.is_some()) {
        lines.push(Line {
            name: "validation".into(),
            color: SEASONAL,
            points: at(&|i| trained.curve[i].validation.unwrap_or(f64::NAN)),
            width: 2,
        });
    }
    Chart {
        title: format!("Loss by epoch; the weights of epoch {} were kept", trained.best_epoch),
        x_label: "epoch".into(),
        y_label: "loss, standardised".into(),
        lines,
        from_zero: false,
        x_text: &number,
        size: NARROW,
    }
    .svg()
}

/// A picture of a forecast: by default the first one of the evaluation. A standalone SVG file.
pub fn sample_svg(trained: &Trained, forecast: &Sample) -> Result<String> {
    let clock = &trained.plan.clock;
    let target = &trained.plan.targets[forecast.target];
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
pub fn horizon(trained: &Trained, target: usize) -> Result<String> {
    let own = trained.evaluation.comparable[target];
    let mean = move |errors: &Errors| if own { errors.mae() } else { errors.standard_mae() };
    let line = |label: &str, color, of: fn(&Compared) -> &Errors, width| Line {
        name: label.into(),
        color,
        points: trained.evaluation.steps[target]
            .iter()
            .enumerate()
            .map(|(step, compared)| ((step + 1) as f64, mean(of(compared))))
            .collect(),
        width,
    };
    let mut lines = vec![line("last value", LAST, |c| &c.last, 2)];
    if trained.plan.season().is_some() {
        lines.push(line("season ago", SEASONAL, |c| &c.seasonal, 2));
    }
    lines.push(line("kolk", MODEL, |c| &c.model, 3));
    Chart {
        title: format!("{}: mean absolute error by rows ahead", trained.plan.targets[target]),
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
pub fn cold(trained: &Trained) -> Option<Result<String>> {
    let cold = trained.evaluation.warm_up.as_ref().filter(|cold| cold.by_step.len() > 1)?;
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
