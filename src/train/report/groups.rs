//! The groups of keys with networks of their own, each beside the network of all keys. Must not live here: how they are
//! trained (`groups`).

use std::fmt::Write;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use super::html::{LISTED, escape, section};
use super::{against, figure, name};
use crate::train::Trained;

/// Header and rows, the one over all keys last; the numbers begin with the third column.
fn rows(trained: &Trained) -> Option<(Vec<String>, Vec<Vec<String>>)> {
    let groups = trained.groups.as_ref()?;
    let metrics = trained.evaluation.metrics();
    let names: Vec<&String> = groups.shared.iter().map(|(name, _)| name).collect();
    let mut header = vec!["group".to_string(), "keys".to_string(), "train".to_string(), "test".to_string()];
    names
        .iter()
        .for_each(|name| header.extend([format!("{name}, own"), "all keys'".to_string(), "own against it".into()]));
    let compared = |own: Option<f64>, shared: f64| {
        let own_text = own.map_or("–".into(), figure);
        [own_text, figure(shared), own.map_or("–".into(), |own| against(own, shared))]
    };
    let mut rows = Vec::new();
    for group in &groups.of {
        let counts = [group.series.len(), group.examples[0], group.examples[2]].map(|count| count.to_string());
        let of = |wanted: &&String| group.figures.iter().find(|(name, ..)| name == *wanted);
        let figures = names.iter().flat_map(|name| {
            of(name).map_or(["–", "–", "–"].map(String::from), |(_, own, shared)| compared(*own, *shared))
        });
        rows.push(std::iter::once(name(&group.value)).chain(counts).chain(figures).collect());
    }
    let all = groups.shared.iter().flat_map(|(name, shared)| compared(metrics.get(name).copied(), *shared));
    let mut counts = [trained.keys.len(), 0, 0];
    for key in &trained.keys {
        counts[1] += key.examples[0];
        counts[2] += key.examples[2];
    }
    let counts = counts.map(|count| count.to_string());
    rows.push(std::iter::once("all keys".to_string()).chain(counts).chain(all).collect());
    Some((header, rows))
}

/// The table for the console; empty without groups.
pub fn table(trained: &Trained) -> String {
    let (Some((header, rows)), Some(groups)) = (rows(trained), &trained.groups) else { return String::new() };
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header);
    let last = rows.len() - 1;
    for (_, row) in rows.into_iter().enumerate().filter(|(at, _)| *at < LISTED || *at == last) {
        table.add_row(row);
    }
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    let more =
        if last > LISTED { format!("\n{} more groups are in the JSON log", last - LISTED) } else { String::new() };
    format!("networks per {}\n{table}{more}", groups.of_what())
}

/// The section of the report; nothing without groups.
pub(super) fn groups(out: &mut String, trained: &Trained) {
    let (Some((header, rows)), Some(groups)) = (rows(trained), &trained.groups) else { return };
    let words = format!(
        "A network for each value of {}, trained on its keys alone, and beside it the network of all keys on the same \
         test part. That one serves whatever has none of its own. Errors above are of each key's own network; pictures \
         and words about the training below are of the network of all keys.",
        groups.of_what()
    );
    section(out, "Groups", words);
    // Writing into a String can't fail.
    let heads: String = header.iter().map(|name| format!("<th>{}</th>", escape(name))).collect();
    let _ = writeln!(out, "<div class=\"wide\"><table>\n<tr>{heads}</tr>");
    let last = rows.len() - 1;
    for (at, row) in rows.iter().enumerate().filter(|(at, _)| *at < LISTED || *at == last) {
        let class = if at == last { " class=\"all\"" } else { "" };
        let cells: String = row.iter().map(|text| format!("<td>{}</td>", escape(text))).collect();
        let _ = writeln!(out, "<tr{class}>{cells}</tr>");
    }
    out.push_str("</table></div>\n");
    if last > LISTED {
        let _ = writeln!(out, "<p class=\"soft\">{} more groups are not listed.</p>", last - LISTED);
    }
}
