//! The console's tables of errors.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use super::{ForecastEvaluation, intervals};
use crate::train::errors::{Compared, Unit};
use crate::train::head::Figures;
use crate::train::report::{against, figure, name};

/// Keys that are listed one by one.
const LISTED: usize = 20;

/// Mean absolute errors and those of the naive forecasts: of the validation part over all keys, of the test part per
/// key and target. Where keys differ in scale, a further line is in standard deviations of each key.
pub(super) fn table(evaluation: &ForecastEvaluation) -> String {
    let mut rows = Rows { evaluation, cells: Vec::new(), has_notes: false };
    let is_one = evaluation.keys.len() == 1;
    let single = evaluation.keys.first().filter(|_| is_one).map_or("all".into(), |key| name(&key.key));
    rows.totals(&single, &evaluation.validation, &|_| None);
    let mut text = match rows.cells.is_empty() {
        true => "validation part: none".to_string(),
        false => format!("validation part\n{}", rows.take()),
    };
    text.push_str("\ntest part\n");
    for key in evaluation.keys.iter().take(LISTED) {
        for (target, compared) in key.targets.iter().enumerate() {
            let mase = key.mase_scale[target].map(|scale| compared.model.mae() / scale);
            rows.add(&name(&key.key), target, compared, Unit::Own, mase);
        }
    }
    let more = evaluation.keys.len().saturating_sub(LISTED);
    if !is_one {
        let all = if more > 0 { format!("all, {more} not listed") } else { "all".to_string() };
        rows.totals(&all, &evaluation.targets, &|target| evaluation.mase(target, |c| &c.model));
    }
    text.push_str(&rows.take());
    text.push_str(&intervals::table(evaluation));
    text
}

/// The errors of each target over all keys, and those of the naive forecasts, for a table over several evaluations.
pub(super) fn compared(evaluation: &ForecastEvaluation) -> Vec<Figures> {
    let of = |(target, compared): (usize, &Compared)| {
        let (unit, standard) = match evaluation.comparable[target] {
            true => (Unit::Own, ""),
            false => (Unit::Standard, ", standardised"),
        };
        let mut values = vec![("MAE", unit.mae(&compared.model)), ("last value", unit.mae(&compared.last))];
        values.extend(evaluation.head.season().map(|_| ("season ago", unit.mae(&compared.seasonal))));
        values.push(("drift", unit.mae(&compared.drift)));
        values.extend(evaluation.has_ridge().then(|| ("ridge alone", unit.mae(&compared.ridge))));
        values.push(("RMSE", unit.rmse(&compared.model)));
        values.push(("MASE", evaluation.mase(target, |c| &c.model).unwrap_or(f64::NAN)));
        let values = values.into_iter().map(|(name, value)| (name.to_string(), value)).collect();
        Figures { of: format!("{}{standard}", evaluation.head.targets[target]), values }
    };
    evaluation.targets.iter().enumerate().map(of).collect()
}

/// The rows of a table.
struct Rows<'a> {
    evaluation: &'a ForecastEvaluation,
    cells: Vec<Vec<String>>,
    /// Whether a naive forecast is better in one of them.
    has_notes: bool,
}

impl Rows<'_> {
    /// A row in a unit.
    fn add(&mut self, key: &str, target: usize, compared: &Compared, unit: Unit, mase: Option<f64>) {
        let head = &self.evaluation.head;
        let mut cells = vec![key.to_string()];
        cells.extend((head.targets.len() > 1).then(|| head.targets[target].clone()));
        cells.extend([figure(unit.mae(&compared.model)), figure(unit.mae(&compared.last))]);
        cells.extend(head.season().is_some().then(|| figure(unit.mae(&compared.seasonal))));
        cells.extend(self.evaluation.has_ridge().then(|| figure(unit.mae(&compared.ridge))));
        cells.push(against(unit.mae(&compared.model), compared.best_naive(unit)));
        cells.extend([figure(unit.rmse(&compared.model)), figure(mase.unwrap_or(f64::NAN))]);
        let beaten = compared.beaten_by(unit);
        self.has_notes |= beaten.is_some();
        cells.push(beaten.map(|by| format!("worse than {by}")).unwrap_or_default());
        self.cells.push(cells);
    }

    /// The rows over all keys that have entries.
    fn totals(&mut self, all: &str, targets: &[Compared], mase: &dyn Fn(usize) -> Option<f64>) {
        for (target, compared) in targets.iter().enumerate().filter(|(_, compared)| compared.model.count > 0) {
            self.add(all, target, compared, Unit::Own, mase(target));
            if !self.evaluation.comparable[target] {
                self.add(&format!("{all}, standardised"), target, compared, Unit::Standard, None);
            }
        }
    }

    /// The table of the rows so far.
    fn take(&mut self) -> String {
        let head = &self.evaluation.head;
        let several = head.targets.len() > 1;
        let mut table = Table::new();
        let lines = presets::UTF8_HORIZONTAL_ONLY;
        let style = lines.row_separator(presets::NOTHING.row_separator).header_separator(lines.top_border);
        table.load_style(style).set_content_arrangement(ContentArrangement::Disabled);
        let mut header = vec!["key"];
        header.extend(several.then_some("target"));
        header.extend(["MAE", "last value"]);
        header.extend(head.season().map(|_| "season ago"));
        header.extend(self.evaluation.has_ridge().then_some("ridge alone"));
        header.extend(["against the better", "RMSE", "MASE"]);
        let numbers = header.len() - 1 - usize::from(several);
        header.extend(self.has_notes.then_some(""));
        let columns = header.len();
        table.set_header(header);
        for mut cells in std::mem::take(&mut self.cells) {
            cells.truncate(columns);
            table.add_row(cells);
        }
        self.has_notes = false;
        for column in table.column_iter_mut().skip(if several { 2 } else { 1 }).take(numbers) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table.to_string()
    }
}
