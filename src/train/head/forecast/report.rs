//! The report's words and tables about forecasts. Must not live here: pictures (`pictures`), what every head's report
//! has.

use std::fmt::Write;

use super::{ForecastEvaluation, intervals, pictures};
use crate::Result;
use crate::error::counted;
use crate::record::Clock;
use crate::train::errors::{Compared, Errors, Unit};
use crate::train::head::Evaluation;
use crate::train::report::html::{LISTED, escape, figure_of, section};
use crate::train::report::{against, figure, name};

/// The errors of each target and those of the naive forecasts.
pub(super) fn cards(out: &mut String, evaluation: &ForecastEvaluation) {
    out.push_str("<div class=\"cards\">\n");
    for (target, compared) in evaluation.targets.iter().enumerate() {
        let mae = |c: &Errors| {
            if evaluation.comparable[target] { c.mae() } else { c.standard_mae() }
        };
        let unit = if evaluation.comparable[target] { "" } else { " (in sd of each key)" };
        let model = mae(&compared.model);
        let _ = write!(
            out,
            "<div class=\"card\"><span>{}: mean absolute error{unit}</span><b>{}</b>",
            escape(&evaluation.head.targets[target]),
            figure(model)
        );
        let mut rival = |label: &str, other: f64| {
            let class = if model < other { "good" } else { "bad" };
            let _ = write!(
                out,
                "<span>{label} {} <span class=\"{class}\">{}</span></span><br>",
                figure(other),
                against(model, other)
            );
        };
        rival("last value", mae(&compared.last));
        if evaluation.head.season().is_some() {
            rival("season ago", mae(&compared.seasonal));
        }
        rival("drift", mae(&compared.drift));
        if compared.ridge.count > 0 {
            rival("ridge alone", mae(&compared.ridge));
        }
        out.push_str("</div>\n");
    }
    out.push_str("</div>\n");
}

/// Forecasts against truth, errors by rows ahead and by key, the cold start.
pub(super) fn sections(out: &mut String, evaluation: &ForecastEvaluation, clock: &Clock, refit: bool) -> Result<()> {
    section(out, "Forecast against truth", forecast_words(evaluation));
    for forecast in &evaluation.samples {
        figure_of(out, &pictures::sample_svg(evaluation, clock, forecast)?);
    }
    section(out, "Error by rows ahead", "On the test part, over all keys. Every line is of the same entries.".into());
    for target in 0..evaluation.head.targets.len() {
        figure_of(out, &pictures::horizon(evaluation, target)?);
    }
    section(out, "Error by key", error_words(evaluation, refit));
    for errors in Evaluation::validation(evaluation) {
        let _ = writeln!(out, "<p class=\"soft\">{}</p>", escape(&errors));
    }
    errors(out, evaluation);
    intervals::section(out, evaluation);
    if let Some(cold) = pictures::cold(evaluation) {
        section(out, "Cold start", cold_words(evaluation));
        figure_of(out, &cold?);
    }
    Ok(())
}

fn forecast_words(evaluation: &ForecastEvaluation) -> String {
    let n = evaluation.keys.len();
    let shown = evaluation.samples.len() / evaluation.head.targets.len().max(1);
    let of = if shown < n { format!(" The first {shown} of {n} keys.") } else { String::new() };
    format!(
        "The end of the test part. Each point was forecast {} earlier, from what was known then; the chart also \
         has the \
         better of the naive forecasts.{of}",
        counted(evaluation.head.horizon, "row")
    )
}

fn error_words(evaluation: &ForecastEvaluation, refit: bool) -> String {
    let scale = match evaluation.head.season() {
        Some(season) => format!("the difference of rows a season ({}) apart", counted(season, "row")),
        None => "the difference of neighbouring rows".into(),
    };
    let refit =
        if refit { " These are errors of the weights before the last training on all of the data." } else { "" };
    format!(
        "On the test part, in each key's own units. MASE is the error over {scale}, averaged over the key's train \
         part.{refit}"
    )
}

fn errors(out: &mut String, evaluation: &ForecastEvaluation) {
    let seasonal = evaluation.head.season().is_some();
    out.push_str(
        "<div class=\"wide\"><table>\n<tr><th>key</th><th>target</th><th>entries</th><th>MAE</th><th>last value</th>",
    );
    out.push_str(if seasonal { "<th>season ago</th>" } else { "" });
    let has_ridge = evaluation.has_ridge();
    out.push_str("<th>drift</th>");
    out.push_str(if has_ridge { "<th>ridge alone</th>" } else { "" });
    out.push_str("<th>against the better</th><th>RMSE</th><th>MASE</th></tr>\n");
    let mut row = |class: &str, key: &str, target: usize, compared: &Compared, mase: Option<f64>| {
        let ago = if seasonal { format!("<td>{}</td>", figure(compared.seasonal.mae())) } else { String::new() };
        let alone = if has_ridge { format!("<td>{}</td>", figure(compared.ridge.mae())) } else { String::new() };
        let ago = format!("{ago}<td>{}</td>{alone}", figure(compared.drift.mae()));
        let better = compared.best_naive(Unit::Own);
        let color = if compared.model.mae() < better { "good" } else { "bad" };
        let _ = writeln!(
            out,
            "<tr{class}><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>{ago}<td class=\"{color}\">{}</td>\
             <td>{}</td><td>{}</td></tr>",
            escape(key),
            escape(&evaluation.head.targets[target]),
            compared.model.count,
            figure(compared.model.mae()),
            figure(compared.last.mae()),
            against(compared.model.mae(), better),
            figure(compared.model.rmse()),
            figure(mase.unwrap_or(f64::NAN)),
        );
    };
    for key in evaluation.keys.iter().take(LISTED) {
        for (target, compared) in key.targets.iter().enumerate() {
            let mase = key.mase_scale[target].map(|scale| compared.model.mae() / scale);
            row("", &name(&key.key), target, compared, mase);
        }
    }
    let more = evaluation.keys.len().saturating_sub(LISTED);
    let all = if more > 0 { format!("all ({more} more not listed)") } else { "all".into() };
    for (target, compared) in evaluation.targets.iter().enumerate() {
        row(" class=\"all\"", &all, target, compared, evaluation.mase(target, |c| &c.model));
    }
    out.push_str("</table></div>\n");
}

fn cold_words(evaluation: &ForecastEvaluation) -> String {
    let Some(cold) = &evaluation.warm_up else { return String::new() };
    let by_target: Vec<String> = evaluation
        .head
        .targets
        .iter()
        .zip(&cold.targets)
        .zip(&evaluation.targets)
        .map(|((name, cold), warm)| {
            format!("{name}: MAE {} instead of {}", figure(cold.mae()), figure(warm.model.mae()))
        })
        .collect();
    format!(
        "With state zero at the begin of the test part ({}). A new key comes within 1 % of a warm one after {}; \
         until then its predictions are flagged.",
        by_target.join("; "),
        counted(cold.steps, "step")
    )
}
