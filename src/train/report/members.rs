//! The networks that are averaged, each by itself, and their mean. Must not live here: how they are (`members`).

use std::collections::BTreeMap;
use std::fmt::Write;

use super::figure;
use super::html::{escape, section};
use crate::train::Trained;

/// One row per network and one for the mean: its name, and the figures by name.
pub fn rows(trained: &Trained) -> Vec<(String, Vec<(String, f64)>)> {
    if trained.members.is_empty() {
        return Vec::new();
    }
    let metrics: BTreeMap<String, f64> = match &trained.groups {
        // The evaluation is of all networks.
        Some(groups) => groups.shared.iter().cloned().collect(),
        None => trained.evaluation.metrics(),
    };
    let names = trained.evaluation.figures();
    let row = |name: String, loss: Option<f64>, of: &dyn Fn(&str) -> Option<f64>| {
        let loss = ("validation loss".to_string(), loss.unwrap_or(f64::NAN));
        let figures = names.iter().map(|name| (name.clone(), of(name).unwrap_or(f64::NAN)));
        (name, std::iter::once(loss).chain(figures).collect())
    };
    let members = trained.members.iter().map(|member| {
        row(format!("seed {}", member.seed), member.validation, &|name| member.figures.get(name).copied())
    });
    let mean = row("the mean".into(), trained.validation, &|name| metrics.get(name).copied());
    members.chain([mean]).collect()
}

/// The table as text, a line each; empty for one network.
pub fn table(trained: &Trained) -> String {
    let line = |(name, figures): (String, Vec<(String, f64)>)| {
        let figures: Vec<String> = figures.iter().map(|(name, value)| format!("{name} {}", figure(*value))).collect();
        format!("{name}: {}", figures.join(", "))
    };
    rows(trained).into_iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The section of the report; nothing for one network.
pub(super) fn members(out: &mut String, trained: &Trained) {
    let rows = rows(trained);
    let Some((_, figures)) = rows.first() else { return };
    let words = "Networks that differ in their seed alone, and what is published: the mean of their outputs. Other \
                 pictures and words about the training are of the first of them.";
    section(out, "Seeds", words.into());
    // Writing into a String can't fail.
    let heads: String = figures.iter().map(|(name, _)| format!("<th>{}</th>", escape(name))).collect();
    let _ = writeln!(out, "<div class=\"wide\"><table>\n<tr><th>network</th>{heads}</tr>");
    for (at, (name, figures)) in rows.iter().enumerate() {
        let class = if at + 1 == rows.len() { " class=\"all\"" } else { "" };
        let cells: String = figures.iter().map(|(_, value)| format!("<td>{}</td>", figure(*value))).collect();
        let _ = writeln!(out, "<tr{class}><td>{name}</td>{cells}</tr>");
    }
    out.push_str("</table></div>\n");
}
