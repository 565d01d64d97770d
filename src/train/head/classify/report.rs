//! How classes are shown: the console's table, cards and sections of the report.
//! Must not live here: any number that isn't in [`ClassEvaluation`].

use std::fmt::Write;

use super::evaluation::ClassEvaluation;
use crate::error::counted;
use crate::train::report::html::{LISTED, escape, section};
use crate::train::report::{figure, name};

/// Classes of a matrix on the console, and in the report.
const IN_CONSOLE: usize = 12;
pub(super) const IN_REPORT: usize = 40;

/// Scores, and which class is taken for which.
pub(super) fn table(of: &ClassEvaluation) -> String {
    let (class, always) = of.always();
    let mut out = String::new();
    // Writing into a String can't fail, here and below.
    let _ = writeln!(out, "{} of the test part, {} in all", of.column, counted(of.test.count() as usize, "example"));
    let _ = writeln!(out, "  accuracy   {}   (always \"{class}\": {})", figure(of.test.accuracy()), figure(always));
    let _ = writeln!(out, "  macro F1   {}", figure(of.test.macro_f1()));
    let _ = writeln!(out, "  log loss   {}", figure(of.test.mean_log_loss()));
    let kinds = of.classes.names.len();
    if kinds > IN_CONSOLE {
        return out.trim_end().to_string();
    }
    let names: Vec<String> = of.classes.names.iter().map(|class| short(class)).collect();
    let width = names.iter().map(|class| class.chars().count()).max().unwrap_or(0).max(5) + 1;
    let _ = writeln!(out, "  true class by row, told class by column:");
    let _ =
        writeln!(out, "  {:width$}{}", "", names.iter().map(|class| format!("{class:>width$}")).collect::<String>());
    for (at, class) in names.iter().enumerate() {
        let row = &of.test.confusion[at * kinds..(at + 1) * kinds];
        let _ = writeln!(out, "  {class:width$}{}", row.iter().map(|n| format!("{n:>width$}")).collect::<String>());
    }
    out.trim_end().to_string()
}

fn short(class: &str) -> String {
    let class = name(class);
    if class.chars().count() > 12 { class.chars().take(11).chain(['…']).collect() } else { class }
}

/// The figures at the top.
pub(super) fn cards(of: &ClassEvaluation, out: &mut String) {
    let (class, always) = of.always();
    let better = if of.test.accuracy() > always { "good" } else { "bad" };
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    let _ = writeln!(
        out,
        "<div class=\"cards\">\n<div class=\"card\"><b class=\"{better}\">{}</b><span>accuracy on the test part, {}; \
         always \"{}\": {}</span></div>",
        percent(of.test.accuracy()),
        counted(of.test.count() as usize, "example"),
        escape(class),
        percent(always)
    );
    for (value, what) in [(of.test.macro_f1(), "macro F1"), (of.test.mean_log_loss(), "log loss")] {
        let _ = writeln!(out, "<div class=\"card\"><b>{}</b><span>{what}</span></div>", figure(value));
    }
    out.push_str("</div>\n");
}

/// Per class, which is taken for which, and per key.
pub(super) fn sections(of: &ClassEvaluation, out: &mut String, refit: bool) {
    let refit = if refit { " These are of the weights before the training on all data." } else { "" };
    section(
        out,
        "Classes on the test part",
        format!(
            "Precision is the share of right ones among those that were told, recall among those that are there, F1 \
             their harmonic mean.{refit}"
        ),
    );
    out.push_str(
        "<div class=\"wide\"><table>\n<tr><th>class</th><th>in train</th><th>in test</th><th>told</th><th>right</th>\
         <th>precision</th><th>recall</th><th>F1</th></tr>\n",
    );
    for (at, class) in of.classes.names.iter().enumerate().take(LISTED) {
        let ((examples, told, right), (precision, recall, f1)) = (of.test.of_class(at), of.test.f1(at));
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{examples}</td><td>{told}</td><td>{right}</td><td>{}</td><td>{}</td>\
             <td>{}</td></tr>",
            escape(&name(class)),
            of.classes.counts[at],
            figure(precision),
            figure(recall),
            figure(f1)
        );
    }
    out.push_str("</table></div>\n");
    more(out, of.classes.names.len(), LISTED);
    let kinds = of.classes.names.len();
    if kinds <= IN_REPORT {
        section(
            out,
            "Which class is taken for which",
            "Rows are the true classes, columns those that were told.".into(),
        );
        let head: String = of.classes.names.iter().map(|class| format!("<th>{}</th>", escape(&short(class)))).collect();
        let _ = writeln!(out, "<div class=\"wide\"><table>\n<tr><th></th>{head}</tr>");
        for (at, class) in of.classes.names.iter().enumerate() {
            let row = of.test.confusion[at * kinds..(at + 1) * kinds].iter().enumerate();
            let cells: String = row
                .map(|(told, count)| match (told == at, count) {
                    (true, count) => format!("<td class=\"good\">{count}</td>"),
                    (false, 0) => "<td></td>".to_string(),
                    (false, count) => format!("<td class=\"bad\">{count}</td>"),
                })
                .collect();
            let _ = writeln!(out, "<tr><td>{}</td>{cells}</tr>", escape(&short(class)));
        }
        out.push_str("</table></div>\n");
    }
    if of.keys.is_empty() {
        return;
    }
    section(out, "By key", String::new());
    out.push_str("<div class=\"wide\"><table>\n<tr><th>key</th><th>in test</th><th>accuracy</th></tr>\n");
    for (key, count, right) in of.keys.iter().take(LISTED) {
        let accuracy = figure(*right as f64 / *count as f64);
        let _ = writeln!(out, "<tr><td>{}</td><td>{count}</td><td>{accuracy}</td></tr>", escape(&name(key)));
    }
    out.push_str("</table></div>\n");
    more(out, of.keys.len(), LISTED);
}

fn more(out: &mut String, all: usize, listed: usize) {
    if all > listed {
        let _ = writeln!(out, "<p class=\"soft\">{} more are not listed.</p>", all - listed);
    }
}
