//! The folds of a backtest and their mean. Must not live here: how they are made (`backtest`).

use std::fmt::Write;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use super::figure;
use super::html::{escape, section};
use crate::error::counted;
use crate::record::Clock;
use crate::train::Trained;
use crate::train::head::Figures;

/// Header and rows; the mean is the last.
fn rows(trained: &Trained) -> Option<(Vec<String>, Vec<Vec<String>>)> {
    let backtest = trained.backtest.as_ref()?;
    let clock: &Clock = &trained.plan.clock;
    let means = backtest.means();
    let named = means.iter().any(|figures| !figures.of.is_empty());
    let mut header = ["fold", "from", "to", "train", "test"].map(String::from).to_vec();
    header.extend(named.then(|| "target".to_string()));
    header.extend(means.first()?.values.iter().map(|(name, _)| name.clone()));
    let row = |place: [String; 5], figures: &Figures| {
        let of = named.then(|| figures.of.clone());
        let values = figures.values.iter().map(|(_, value)| figure(*value));
        place.into_iter().chain(of).chain(values).collect::<Vec<String>>()
    };
    let mut rows = Vec::new();
    for (at, fold) in backtest.folds.iter().enumerate() {
        let ([train, _, test], (from, to)) = (fold.examples, fold.span);
        let place = [(at + 1).to_string(), clock.text(from), clock.text(to), train.to_string(), test.to_string()];
        rows.extend(fold.figures.iter().map(|figures| row(place.clone(), figures)));
    }
    let place = ["mean", "", "", "", ""].map(String::from);
    rows.extend(means.iter().map(|figures| row(place.clone(), figures)));
    Some((header, rows))
}

/// The table for the console; empty without a backtest.
pub fn table(trained: &Trained) -> String {
    let Some((header, rows)) = rows(trained) else { return String::new() };
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header);
    rows.into_iter().for_each(|row| {
        table.add_row(row);
    });
    table.column_iter_mut().skip(3).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    format!("backtest\n{table}")
}

/// The section of the report; nothing without a backtest.
pub(super) fn backtest(out: &mut String, trained: &Trained) {
    let (Some(backtest), Some((header, rows))) = (&trained.backtest, rows(trained)) else { return };
    let who = match backtest.retrain {
        true => "Each was forecast by a network trained on what lies before it, the rows right before it as validation",
        false => "Each was forecast by the network of this training",
    };
    let folds = counted(backtest.folds.len(), "piece");
    section(out, "Backtest", format!("The test part in {folds}, one after the other. {who}; means count folds alike."));
    // Writing into a String can't fail.
    let cells = |word: &str, cells: &[String]| -> String {
        cells.iter().map(|cell| format!("<{word}>{}</{word}>", escape(cell))).collect()
    };
    let _ = writeln!(out, "<div class=\"wide\"><table>\n<tr>{}</tr>", cells("th", &header));
    for row in rows {
        let class = if row[0] == "mean" { " class=\"all\"" } else { "" };
        let _ = writeln!(out, "<tr{class}>{}</tr>", cells("td", &row));
    }
    out.push_str("</table></div>\n");
}
