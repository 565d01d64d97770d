//! What a search found, as a table for the console and as a page with a picture.

use std::fmt::Write;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use super::chart::{Chart, LAST, Line, MODEL, SEASONAL, WIDE, number};
use super::figure;
use super::html::{END, begin, escape, figure_of, section};
use crate::Result;
use crate::error::counted;
use crate::train::search::{Outcome, ranked};

/// Trials in the console's table.
const LISTED: usize = 20;

/// The best trials first; each with its values and its loss.
pub fn table(outcomes: &[Outcome]) -> String {
    let ranked = ranked(outcomes);
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header(outcomes));
    for outcome in ranked.iter().take(LISTED) {
        table.add_row(cells(outcome, outcomes));
    }
    table.column_iter_mut().for_each(|column| column.set_cell_alignment(CellAlignment::Left));
    let more = ranked.len().saturating_sub(LISTED);
    let more = if more > 0 { format!("\n({} not listed)", counted(more, "trial")) } else { String::new() };
    format!("{table}{more}")
}

/// Fields that any trial changes.
fn fields(outcomes: &[Outcome]) -> Vec<&str> {
    let most = outcomes.iter().max_by_key(|outcome| outcome.values.len());
    most.map_or(Vec::new(), |outcome| outcome.values.iter().map(|(field, _)| field.as_str()).collect())
}

fn header(outcomes: &[Outcome]) -> Vec<String> {
    let fields = fields(outcomes).into_iter().map(|field| field.trim_start_matches("train.").to_string());
    let words = |words: [&str; 2]| words.map(str::to_string);
    let after = ["validation loss", "updates", "parameters", ""].map(str::to_string);
    words(["trial", ""]).into_iter().take(1).chain(fields).chain(after).collect()
}

fn cells(outcome: &Outcome, outcomes: &[Outcome]) -> Vec<String> {
    let value = |field: &str| {
        let own = outcome.values.iter().find(|(own, _)| own == field);
        own.map_or("as in the file".to_string(), |(_, value)| value.clone())
    };
    let (updates, loss) = match outcome.best() {
        Some((updates, loss)) => (updates.to_string(), figure(loss)),
        None => ("–".into(), "–".into()),
    };
    let ended = match (&outcome.failed, outcome.hopeless) {
        (Some(why), _) => format!("failed: {why}"),
        (None, true) => format!("ended after {}", counted(outcome.looks.last().map_or(0, |look| look.0), "update")),
        (None, false) => String::new(),
    };
    let fields = fields(outcomes).into_iter().map(value);
    let after = [loss, updates, outcome.parameters.to_string(), ended];
    std::iter::once(outcome.trial.to_string()).chain(fields).chain(after).collect()
}

/// One page about a search, that needs nothing else.
///
/// # Errors
/// The picture can't be drawn.
pub fn html(outcomes: &[Outcome], name: &str) -> Result<String> {
    let ranked = ranked(outcomes);
    let mut out = begin(name, &format!("{} compared by their validation loss", counted(outcomes.len(), "trial")));
    section(&mut out, "Validation loss by updates", String::new());
    figure_of(&mut out, &picture(&ranked)?);
    section(&mut out, "Trials", "The best first; a trial that ended early was above the median.".into());
    out.push_str("<div class=\"wide\"><table class=\"text\">\n<tr>");
    for word in header(outcomes) {
        // Writing into a String can't fail, here and below.
        let _ = write!(out, "<th>{}</th>", escape(&word));
    }
    out.push_str("</tr>\n");
    for outcome in ranked {
        let cells: Vec<String> =
            cells(outcome, outcomes).iter().map(|cell| format!("<td>{}</td>", escape(cell))).collect();
        let _ = writeln!(out, "<tr>{}</tr>", cells.concat());
    }
    out.push_str("</table></div>\n");
    out.push_str(END);
    Ok(out)
}

/// All trials, the best one in front.
fn picture(ranked: &[&Outcome]) -> Result<String> {
    let points = |outcomes: &mut dyn Iterator<Item = &&Outcome>| -> Vec<(f64, f64)> {
        let gap = (0.0, f64::NAN);
        let of = |outcome: &&Outcome| -> Vec<(f64, f64)> {
            outcome.looks.iter().map(|(updates, loss)| (*updates as f64, *loss)).chain([gap]).collect()
        };
        outcomes.flat_map(of).collect()
    };
    let line = |name: &str, color, width, points| Line { name: name.to_string(), color, points, width };
    let mut lines = vec![
        line("ended early", SEASONAL, 1, points(&mut ranked.iter().filter(|outcome| outcome.hopeless))),
        line("others", LAST, 1, points(&mut ranked.iter().skip(1).filter(|outcome| !outcome.hopeless))),
    ];
    if let Some(best) = ranked.first() {
        let name = format!("the best, trial {}", best.trial);
        lines.push(line(&name, MODEL, 3, points(&mut ranked.iter().take(1))));
    }
    Chart {
        title: "Validation loss of each trial".into(),
        x_label: "updates".into(),
        y_label: "loss, standardised".into(),
        lines,
        from_zero: false,
        x_text: &number,
        size: WIDE,
    }
    .svg()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_and_page_show_every_trial() {
        let outcome = |trial, values: &[(&str, &str)], looks: &[(usize, f64)], hopeless| Outcome {
            trial,
            values: values.iter().map(|(field, value)| (field.to_string(), value.to_string())).collect(),
            data: String::new(),
            parameters: 10,
            looks: looks.to_vec(),
            hopeless,
            failed: looks.is_empty().then(|| "the loss is no longer finite <".to_string()),
        };
        let outcomes = [
            outcome(0, &[], &[(50, 0.5), (100, 0.4)], false),
            outcome(1, &[("train.chunk", "32")], &[(50, 0.3), (100, 0.35)], false),
            outcome(2, &[("train.chunk", "8")], &[(50, 0.1)], true),
            outcome(3, &[("train.chunk", "9")], &[], false),
        ];
        let table = table(&outcomes);
        let first: Vec<&str> = table.lines().map(|line| line.split_whitespace().next().unwrap()).collect();
        assert_eq!(first, ["trial", "1", "0", "2", "3"], "{table}");
        assert!(table.contains("as in the file") && table.contains("ended after 50 updates"), "{table}");
        let html = html(&outcomes, "m").unwrap();
        assert!(html.contains("the best, trial 1") && html.contains("no longer finite &lt;") && !html.contains("NaN"));
    }
}
