//! Tables of quantiles, for the console and the report: pinball losses, how much lay below each, how often and how
//! closely intervals held what came; by key and by rows ahead.
//!
//! Lives here: rows and their words. Must not live here: the numbers (`spread`), other tables (`table`, `report`).

use std::fmt::Write;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use super::ForecastEvaluation;
use super::spread::{Spreads, intervals, percent};
use crate::network::quantiles;
use crate::train::report::html::{LISTED, escape};
use crate::train::report::{against, figure, name};

/// Keys, and steps ahead, that the console lists.
const FEW: usize = 20;
const FEW_STEPS: usize = 6;

/// A table: its heading of columns, and rows.
struct Rows {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Rows {
    fn new(evaluation: &ForecastEvaluation, first: &str) -> Rows {
        let head = &evaluation.head;
        let mut header = vec![first.to_string()];
        header.extend((head.targets.len() > 1).then(|| "target".into()));
        header.extend(["pinball", "last value"].map(String::from));
        header.extend(head.season().map(|_| "season ago".into()));
        header.extend(has_ridge(evaluation).then(|| "ridge alone".into()));
        header.push("against the better".into());
        header.extend(head.quantiles.iter().map(|level| format!("below {}", quantiles::name(*level))));
        for interval in intervals(&head.quantiles) {
            let percent = percent(&head.quantiles, interval).replace('_', ".");
            header.extend([format!("within {percent} %"), "width".into()]);
        }
        Rows { header, rows: Vec::new() }
    }

    fn add(&mut self, evaluation: &ForecastEvaluation, first: &str, target: usize, spreads: &Spreads, standard: bool) {
        let head = &evaluation.head;
        let mut cells = vec![first.to_string()];
        cells.extend((head.targets.len() > 1).then(|| head.targets[target].clone()));
        let mean = |spread: &super::spread::Spread| spread.mean_pinball(standard);
        cells.extend([figure(mean(&spreads.model)), figure(mean(&spreads.last))]);
        cells.extend(head.season().map(|_| figure(mean(&spreads.seasonal))));
        cells.extend(has_ridge(evaluation).then(|| figure(mean(&spreads.ridge))));
        let rivals = [&spreads.last, &spreads.seasonal, &spreads.ridge].map(mean);
        cells.push(against(mean(&spreads.model), rivals.into_iter().fold(f64::INFINITY, f64::min)));
        cells.extend((0..head.quantiles.len()).map(|level| share(spreads.model.below(level))));
        for interval in 0..intervals(&head.quantiles).len() {
            cells.extend([share(spreads.model.coverage(interval)), figure(spreads.model.width(interval, standard))]);
        }
        self.rows.push(cells);
    }

    /// Of each of the first keys, then of all.
    fn keys(evaluation: &ForecastEvaluation, most: usize) -> Rows {
        let mut rows = Rows::new(evaluation, "key");
        let (keys, targets) = (&evaluation.keys, evaluation.head.targets.len());
        for (key, spreads) in keys.iter().zip(&evaluation.key_spreads).take(most) {
            (0..targets).for_each(|target| rows.add(evaluation, &name(&key.key), target, &spreads[target], false));
        }
        let more = keys.len().saturating_sub(most);
        let all = if more > 0 { format!("all, {more} not listed") } else { "all".to_string() };
        for target in (0..targets).filter(|_| keys.len() > 1) {
            rows.add(evaluation, &all, target, &evaluation.spreads[target], false);
            if !evaluation.comparable[target] {
                rows.add(evaluation, &format!("{all}, standardised"), target, &evaluation.spreads[target], true);
            }
        }
        rows
    }

    /// By rows ahead, at most so many of them, over all keys.
    fn steps(evaluation: &ForecastEvaluation, most: usize) -> Option<Rows> {
        let (horizon, targets) = (evaluation.head.horizon, evaluation.head.targets.len());
        let shown: Vec<usize> = (1..=most.min(horizon)).map(|i| i * horizon / most.min(horizon)).collect();
        let mut rows = Rows::new(evaluation, "rows ahead");
        for target in 0..targets {
            for step in &shown {
                let standard = !evaluation.comparable[target];
                let name = format!("{step}{}", if standard { ", standardised" } else { "" });
                rows.add(evaluation, &name, target, &evaluation.step_spreads[target][step - 1], standard);
            }
        }
        (horizon > 1).then_some(rows)
    }

    fn console(self, texts: usize) -> String {
        let mut table = Table::new();
        let lines = presets::UTF8_HORIZONTAL_ONLY;
        let style = lines.row_separator(presets::NOTHING.row_separator).header_separator(lines.top_border);
        table.load_style(style).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(self.header);
        self.rows.into_iter().for_each(|cells| {
            table.add_row(cells);
        });
        for column in table.column_iter_mut().skip(texts) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table.to_string()
    }

    fn html(self, out: &mut String) {
        let cells = |word: &str, cells: &[String]| -> String {
            cells.iter().map(|cell| format!("<{word}>{}</{word}>", escape(cell))).collect()
        };
        let _ = writeln!(out, "<div class=\"wide\"><table>\n<tr>{}</tr>", cells("th", &self.header));
        for row in &self.rows {
            let class = if row[0].starts_with("all") { " class=\"all\"" } else { "" };
            let _ = writeln!(out, "<tr{class}>{}</tr>", cells("td", row));
        }
        out.push_str("</table></div>\n");
    }
}

fn has_ridge(evaluation: &ForecastEvaluation) -> bool {
    evaluation.spreads.iter().any(|spreads| spreads.ridge.count > 0)
}

fn share(value: f64) -> String {
    if value.is_finite() { format!("{:.1} %", 100.0 * value) } else { "–".into() }
}

/// The console's tables of the test part; empty without quantiles.
pub(super) fn table(evaluation: &ForecastEvaluation) -> String {
    let head = &evaluation.head;
    if head.quantiles.is_empty() {
        return String::new();
    }
    let texts = 1 + usize::from(head.targets.len() > 1);
    let mut text = format!("\nquantiles, test part\n{}", Rows::keys(evaluation, FEW).console(texts));
    if let Some(rows) = Rows::steps(evaluation, FEW_STEPS) {
        let _ = write!(text, "\n{}", rows.console(texts));
    }
    text
}

/// What the report says of quantiles, and its tables; nothing without them.
pub(super) fn section(out: &mut String, evaluation: &ForecastEvaluation) {
    let head = &evaluation.head;
    if head.quantiles.is_empty() {
        return;
    }
    let levels: Vec<String> = head.quantiles.iter().map(f64::to_string).collect();
    let words = format!(
        "On the test part: the mean pinball loss of the quantiles {}, the share of values that were not above each \
         (as much as its level says where the test part is like the validation part), and how often and how closely \
         an interval of two quantiles held what came. The last value and the season ago count as if they were each \
         quantile; ridge alone has the model's calibration. A point forecast, here and above, is the median.",
        levels.join(", ")
    );
    crate::train::report::html::section(out, "Quantiles", words);
    Rows::keys(evaluation, LISTED).html(out);
    if let Some(rows) = Rows::steps(evaluation, head.horizon.min(LISTED)) {
        out.push_str("<p class=\"soft\">By rows ahead, over all keys.</p>\n");
        rows.html(out);
    }
}
