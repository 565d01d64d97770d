//! How numbers of sequences are shown: the console's table, cards and sections of the report.
//! Must not live here: any number that isn't in [`ValueEvaluation`].

use std::fmt::Write;

use super::evaluation::{Sums, ValueEvaluation};
use crate::error::counted;
use crate::network::quantiles;
use crate::train::head::Head;
use crate::train::head::forecast::spread::{intervals, percent};
use crate::train::report::html::{escape, section};
use crate::train::report::{against, figure};

/// A line of a table: what it is, that of the model, that of who always says the same.
fn lines(of: &ValueEvaluation, sums: &Sums) -> Vec<[String; 4]> {
    let line = |what: &str, (model, constant): (f64, f64), always: &str| {
        [
            what.to_string(),
            figure(model),
            format!("{} (always the {always})", figure(constant)),
            against(model, constant),
        ]
    };
    let mut lines = vec![line("MAE", sums.mae(), "median"), line("RMSE", sums.rmse(), "mean")];
    let levels = of.head.levels();
    if levels.is_empty() {
        return lines;
    }
    lines.push(line("pinball", sums.pinball(), "same quantiles"));
    let share = |share: f64| format!("{:.1} %", share * 100.0);
    let alone = |what: String, value: String| [what, value, String::new(), String::new()];
    for (at, level) in levels.iter().enumerate() {
        lines.push(alone(format!("below {}", quantiles::name(*level)), share(sums.spread.below(at))));
    }
    for (at, interval) in intervals(levels).into_iter().enumerate() {
        let percent = percent(levels, interval).replace('_', ".");
        lines.push(alone(format!("within {percent} %"), share(sums.spread.coverage(at))));
        lines.push(alone(format!("width of {percent} %"), figure(sums.spread.width(at, false))));
    }
    lines
}

/// Errors, beside those of who always says the same.
pub(super) fn table(of: &ValueEvaluation) -> String {
    let mut out = String::new();
    // Writing into a String can't fail, here and below.
    for (name, sums) in of.head.targets.iter().zip(&of.test) {
        let _ = writeln!(out, "{name} of the test part, {} in all", counted(sums.count as usize, "sequence"));
        for [what, model, constant, against] in lines(of, sums) {
            let line = format!("  {what:<16} {model:<10} {constant:<36} {against}");
            let _ = writeln!(out, "{}", line.trim_end());
        }
    }
    out.trim_end().to_string()
}

/// The figures at the top.
pub(super) fn cards(of: &ValueEvaluation, out: &mut String) {
    out.push_str("<div class=\"cards\">\n");
    for (name, sums) in of.head.targets.iter().zip(&of.test) {
        let (model, constant) = sums.rmse();
        let better = if model < constant { "good" } else { "bad" };
        let _ = writeln!(
            out,
            "<div class=\"card\"><b class=\"{better}\">{}</b><span>RMSE of {} on the test part, {}; always the mean of \
             the train part: {}</span></div>",
            figure(model),
            escape(name),
            counted(sums.count as usize, "sequence"),
            figure(constant)
        );
        let _ = writeln!(out, "<div class=\"card\"><b>{}</b><span>MAE</span></div>", figure(sums.mae().0));
    }
    out.push_str("</div>\n");
}

/// The same lines as on the console, of the test part and of the validation part.
pub(super) fn sections(of: &ValueEvaluation, out: &mut String, refit: bool) {
    let refit = if refit { " These are of the weights before the training on all data." } else { "" };
    let words = format!(
        "Beside the network is who always says the same: the median, the mean or the quantiles of the train part.{refit}"
    );
    for (part, sums) in [("test", &of.test), ("validation", &of.validation)] {
        if sums.iter().all(|sums| sums.count == 0) {
            continue;
        }
        section(out, &format!("Errors on the {part} part"), words.clone());
        out.push_str(
            "<div class=\"wide\"><table>\n<tr><th>target</th><th></th><th>network</th><th>always the same</th>\
                      <th></th></tr>\n",
        );
        for (name, sums) in of.head.targets.iter().zip(sums) {
            for cells in lines(of, sums) {
                let cells: String = cells.iter().map(|cell| format!("<td>{}</td>", escape(cell))).collect();
                let _ = writeln!(out, "<tr><td>{}</td>{cells}</tr>", escape(name));
            }
        }
        out.push_str("</table></div>\n");
    }
}
