//! The console's table of errors per key.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use super::ForecastEvaluation;
use crate::train::errors::Compared;
use crate::train::report::{against, figure, name};

/// Keys that are listed one by one.
const LISTED: usize = 20;

/// Mean absolute error per key and target beside the naive forecasts.
pub(super) fn table(evaluation: &ForecastEvaluation) -> String {
    let head = &evaluation.head;
    let seasonal = head.season().is_some();
    let several = head.targets.len() > 1;
    let mut table = Table::new();
    let lines = presets::UTF8_HORIZONTAL_ONLY;
    let style = lines.row_separator(presets::NOTHING.row_separator).header_separator(lines.top_border);
    table.load_style(style).set_content_arrangement(ContentArrangement::Disabled);
    let mut header = vec!["key"];
    header.extend(several.then_some("target"));
    header.extend(["MAE", "last value"]);
    header.extend(seasonal.then_some("season ago"));
    header.extend(["against the better", "RMSE", "MASE"]);
    let columns = header.len();
    table.set_header(header);
    let mut row = |key: &str, target: usize, compared: &Compared, mase: Option<f64>| {
        let mut cells = vec![key.to_string()];
        cells.extend(several.then(|| head.targets[target].clone()));
        cells.extend([figure(compared.model.mae()), figure(compared.last.mae())]);
        cells.extend(seasonal.then(|| figure(compared.seasonal.mae())));
        cells.push(against(compared.model.mae(), compared.best_naive()));
        cells.extend([figure(compared.model.rmse()), figure(mase.unwrap_or(f64::NAN))]);
        table.add_row(cells);
    };
    for key in evaluation.keys.iter().take(LISTED) {
        for (target, compared) in key.targets.iter().enumerate() {
            let mase = key.mase_scale[target].map(|scale| compared.model.mae() / scale);
            row(name(&key.key), target, compared, mase);
        }
    }
    let more = evaluation.keys.len().saturating_sub(LISTED);
    let all = match (evaluation.keys.len(), more) {
        (1, _) => None,
        (_, 0) => Some("all".to_string()),
        (_, more) => Some(format!("all, {more} not listed")),
    };
    if let Some(all) = all {
        for (target, compared) in evaluation.targets.iter().enumerate() {
            row(&all, target, compared, evaluation.mase(target, |c| &c.model));
        }
    }
    for column in table.column_iter_mut().skip(if several { 2 } else { 1 }).take(columns) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}
