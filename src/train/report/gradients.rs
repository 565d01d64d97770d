//! The report's section on gradients: pictures and what they show.

use plotters::prelude::RGBColor;

use super::chart::{Chart, LAST, Line, MODEL, NARROW, SEASONAL, TRUTH, number};
use super::html::{figure_of, section};
use crate::Result;
use crate::error::counted;
use crate::train::Trained;
use crate::train::gradients::{Gradients, Reach, depth};

/// Colours of layers, first to last.
const COLORS: [RGBColor; 6] = [MODEL, SEASONAL, RGBColor(21, 128, 61), RGBColor(147, 51, 234), TRUTH, LAST];
/// What is left of a gradient is drawn down to this.
const LEAST: f64 = 1e-12;

/// Adds the section; nothing where nothing was sampled.
pub fn gradients(out: &mut String, trained: &Trained) -> Result<()> {
    let found = &trained.gradients;
    if found.samples.is_empty() {
        return Ok(());
    }
    section(out, "Gradients", words(trained));
    figure_of(out, &by_layer(found)?);
    let depth = depth(&trained.plan, &found.samples);
    let reaches: Vec<(String, Reach)> = found
        .layers
        .iter()
        .enumerate()
        .filter_map(|(layer, name)| Some((name.clone(), Reach::new(&found.samples, layer)?)))
        .collect();
    if depth > 1 && !reaches.is_empty() {
        figure_of(out, &by_distance(&reaches, depth)?);
    }
    if !found.layers.is_empty() {
        figure_of(out, &saturation(found)?);
    }
    if let Some(svg) = carried(found)? {
        figure_of(out, &svg);
    }
    Ok(())
}

fn words(trained: &Trained) -> String {
    let found = &trained.gradients;
    let depth = depth(&trained.plan, &found.samples);
    let mut words = format!("{} of the training.", counted(found.samples.len(), "sample"));
    for (layer, name) in found.layers.iter().enumerate() {
        let Some(reach) = Reach::new(&found.samples, layer) else { continue };
        let text = match (reach.explodes(), reach.vanishes_after()) {
            (Some((back, factor)), _) => format!("is {factor:.0} times that of the last step {back} steps back"),
            (None, Some(back)) => format!("falls below 1 % of that of the last step after {back} of {depth} steps"),
            (None, None) => format!("reaches back over all {depth} steps"),
        };
        words.push_str(&format!(" The gradient of {name} {text}."));
    }
    words
}

fn line(index: usize, name: &str, points: Vec<(f64, f64)>) -> Line {
    Line { name: name.to_string(), color: COLORS[index % COLORS.len()], points, width: 2 }
}

/// A power of ten for people.
fn power(value: f64) -> f64 {
    value.max(LEAST).log10()
}

/// Norm of the gradient by layer, over updates.
fn by_layer(found: &Gradients) -> Result<String> {
    let points =
        |group: usize| found.samples.iter().map(|sample| (sample.updates as f64, power(sample.norms[group]))).collect();
    let lines = found.groups.iter().enumerate().map(|(group, name)| line(group, name, points(group))).collect();
    chart("Norm of the gradient by layer", "updates", "log10 of the norm", lines, false)
}

/// How far back the gradient of the last step reaches.
fn by_distance(reaches: &[(String, Reach)], depth: usize) -> Result<String> {
    let points = |reach: &Reach| reach.points.iter().map(|(back, ratio)| (*back as f64, power(*ratio))).collect();
    let mut lines: Vec<Line> =
        reaches.iter().enumerate().map(|(layer, (name, reach))| line(layer, name, points(reach))).collect();
    let last = (depth - 1) as f64;
    lines.insert(0, Line { name: "1 %".into(), color: LAST, points: vec![(0.0, -2.0), (last, -2.0)], width: 1 });
    let title = "How far back the gradient reaches: its norm by the hidden state, relative to the last step";
    chart(title, "steps before the last one", "log10 of the ratio", lines, false)
}

/// Share of saturated gates, over updates.
fn saturation(found: &Gradients) -> Result<String> {
    let points = |layer: usize| {
        found.samples.iter().map(|sample| (sample.updates as f64, sample.saturated[layer] * 100.0)).collect()
    };
    let lines = found.layers.iter().enumerate().map(|(layer, name)| line(layer, name, points(layer))).collect();
    chart("Gates within 0.05 of their bounds", "updates", "%", lines, true)
}

/// Size of the carried state over a long run.
fn carried(found: &Gradients) -> Result<Option<String>> {
    let Some(carried) = &found.carried else { return Ok(None) };
    let points = |sizes: &[f64]| carried.steps.iter().map(|step| *step as f64).zip(sizes.iter().copied()).collect();
    let mut lines = Vec::new();
    for (layer, name) in found.layers.iter().enumerate() {
        for (state, sizes) in [("hidden", &carried.h[layer]), ("cell", &carried.c[layer])] {
            if !sizes.is_empty() {
                lines.push(line(lines.len(), &format!("{name}, {state}"), points(sizes)));
            }
        }
    }
    let chunks = counted(carried.steps.len(), "chunk");
    let title = format!("The trained network's state, carried over {chunks} of {} steps", carried.chunk);
    chart(&title, "steps", "root mean square", lines, true).map(Some)
}

fn chart(title: &str, x_label: &str, y_label: &str, lines: Vec<Line>, from_zero: bool) -> Result<String> {
    Chart {
        title: title.into(),
        x_label: x_label.into(),
        y_label: y_label.into(),
        lines,
        from_zero,
        x_text: &number,
        size: NARROW,
    }
    .svg()
}
