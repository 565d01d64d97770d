//! `report.html`: one file that needs nothing else, the same bytes for the same training.

use std::fmt::Write;

use super::{backtest, gradients, groups, members, name, pictures, shape_text};
use crate::Result;
use crate::config::Length;
use crate::error::counted;
use crate::model::ModelKind;
use crate::train::Trained;
use crate::train::plan::input_text;

/// Keys that are listed one by one.
pub(in crate::train) const LISTED: usize = 50;

const STYLE: &str = "
:root{--ink:#1f2937;--soft:#6b7280;--line:#e5e7eb;--back:#f9fafb;--blue:#2563eb;--good:#15803d;--bad:#b91c1c}
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--ink);font:15px/1.55 system-ui,sans-serif}
main{max-width:1020px;margin:0 auto;padding:32px 24px 64px}
h1{font-size:28px;margin:0 0 4px}h2{font-size:19px;margin:40px 0 10px}
p{margin:6px 0 12px;max-width:80ch}.soft{color:var(--soft)}
.cards{display:flex;flex-wrap:wrap;gap:14px;margin:22px 0}
.card{background:#fff;border:1px solid var(--line);border-radius:10px;padding:14px 18px;min-width:225px}
.card b{display:block;font-size:27px;line-height:1.2;font-weight:600}.card span{color:var(--soft);font-size:13px}
.good,.card .good{color:var(--good)}.bad,.card .bad{color:var(--bad)}
table{border-collapse:collapse;background:#fff;border:1px solid var(--line);border-radius:10px;width:100%;font-size:14px}
th,td{padding:6px 12px;text-align:right;border-bottom:1px solid var(--line);font-variant-numeric:tabular-nums}
th{color:var(--soft);font-weight:500}td:first-child,th:first-child,.text td,.text th{text-align:left}
.text th{width:190px}tr:last-child td,tr:last-child th{border-bottom:0}tr.all td{font-weight:600}
.wide{overflow-x:auto}figure{margin:0 0 16px;background:#fff;border:1px solid var(--line);border-radius:10px;padding:8px}
svg{display:block;width:100%;height:auto}.warning{border-left:4px solid #d97706;background:#fffbeb;padding:8px 14px;margin:8px 0}
code{font:13px ui-monospace,monospace}";

/// The head of a report, with the model's name and a line about it.
pub(in crate::train) fn begin(model: &str, headline: &str) -> String {
    let title = format!("{} · kolk", escape(model));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{STYLE}\n</style>\n</head>\n<body>\n<main>\n\
         <h1>{}</h1>\n<p class=\"soft\">{}</p>\n",
        escape(model),
        escape(headline)
    )
}

/// The end of a report.
pub(in crate::train) const END: &str = "</main>\n</body>\n</html>\n";

/// The report of a training, under the model's name.
pub fn html(trained: &Trained, model: &str) -> Result<String> {
    let mut out = begin(model, &headline(trained));
    trained.evaluation.cards(&mut out);
    for warning in &trained.warnings {
        // Writing into a String can't fail, here and below.
        let _ = writeln!(out, "<p class=\"warning\">{}</p>", escape(warning));
    }
    trained.evaluation.sections(&mut out, &trained.plan.clock, trained.refit_updates.is_some())?;
    groups::groups(&mut out, trained);
    backtest::backtest(&mut out, trained);
    members::members(&mut out, trained);
    section(&mut out, "Training", training_words(trained));
    figure_of(&mut out, &pictures::losses(trained)?);
    gradients::gradients(&mut out, trained)?;
    section(&mut out, "Model", String::new());
    model_table(&mut out, trained);
    section(&mut out, "Data and split", split_words(trained));
    split_table(&mut out, trained);
    out.push_str(END);
    Ok(out)
}

fn headline(trained: &Trained) -> String {
    let plan = &trained.plan;
    let mode = match plan.kind {
        ModelKind::Carry => "state carried from record to record".to_string(),
        ModelKind::Sequence if plan.serves == ModelKind::Carry => {
            "state carried from record to record of a sequence".to_string()
        }
        ModelKind::Sequence => "over the records of a sequence, from zero state".to_string(),
        ModelKind::Window => format!("over the last {}, from zero state", counted(plan.window, "row")),
    };
    format!("{}, {mode}: {}", plan.head.headline(), shape_text(trained))
}

/// Begins a section.
pub(in crate::train) fn section(out: &mut String, title: &str, words: String) {
    let _ = writeln!(out, "<h2>{title}</h2>");
    if !words.is_empty() {
        let _ = writeln!(out, "<p class=\"soft\">{}</p>", escape(&words));
    }
}

/// A picture.
pub(in crate::train) fn figure_of(out: &mut String, svg: &str) {
    let _ = writeln!(out, "<figure>{}</figure>", svg.trim_end());
}

fn training_words(trained: &Trained) -> String {
    let stopped = if trained.stopped_early { ", stopped early" } else { "" };
    let refit = match trained.refit_updates {
        Some(updates) => {
            let updates = counted(updates, "update");
            format!(" Then trained again on all data: {updates}; those weights are published.")
        }
        None => String::new(),
    };
    let last = trained.looks.last().copied().unwrap_or(trained.best);
    let path = trained.path.as_ref().map(|path| format!(" {}.", capitalised(path))).unwrap_or_default();
    let chosen = trained.chosen.as_ref().map(|chosen| format!(" {}.", chosen.text())).unwrap_or_default();
    let path = format!("{path}{chosen}");
    match trained.plan.length {
        Length::Open => format!("{}{stopped}.{path}{refit}", counted(last.updates, "update")),
        _ => format!("{}{stopped}.{path}{refit}", counted(last.epoch, "epoch")),
    }
}

fn capitalised(sentence: &str) -> String {
    let mut letters = sentence.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn model_table(out: &mut String, trained: &Trained) {
    let plan = &trained.plan;
    let shape = &trained.architecture;
    let columns = |indices: &[usize]| {
        let all: Vec<String> = indices.iter().map(|i| input_text(&plan.inputs[*i])).collect();
        if all.len() > 16 { format!("{}, … ({} in all)", all[..15].join(", "), all.len()) } else { all.join(", ") }
    };
    let length = match plan.length {
        Length::Epochs(n) => format!("{} at most", counted(n, "epoch")),
        Length::Updates(n) => format!("{} at most", counted(n, "update")),
        Length::Open => "until validation no longer improved".into(),
    };
    let batches = match plan.kind {
        ModelKind::Carry => {
            let (lanes, chunk) = (counted(plan.batch_size, "lane"), counted(plan.chunk, "step"));
            format!("{lanes}, chunks of {chunk}, {} of burn-in", counted(plan.burn_in, "step"))
        }
        ModelKind::Window => format!("{} of {}", counted(plan.batch_size, "window"), counted(plan.window, "row")),
        ModelKind::Sequence => counted(plan.batch_size, "sequence"),
    };
    let embeddings: Vec<String> = plan.embeddings.iter().map(|embedded| embedded.in_words()).collect();
    let rows = [
        ("layers", shape_text(trained)),
        ("parameters", trained.parameters.to_string()),
        ("inputs", columns(&shape.network)),
        ("embeddings", embeddings.join(", ")),
        ("linear skip from", if shape.skip.is_empty() { "–".into() } else { columns(&shape.skip) }),
    ];
    let training = [
        ("optimiser", format!("{}{}", plan.optimizer.in_words(), plan.rate.schedule.in_words(plan.rate.warm_up))),
        ("regularisation", regularisation(plan)),
        ("gradient norm", plan.clip_norm.map_or("not clipped".into(), |norm| format!("clipped to {norm}"))),
        ("batches", batches),
        ("length", length),
        ("seed", seeds(plan)),
        ("sha256 of the data", trained.data_hash.clone()),
    ];
    out.push_str("<table class=\"text\">\n");
    let all = rows.into_iter().chain(plan.head.words()).chain(training);
    for (word, value) in all.filter(|(_, value)| !value.is_empty()) {
        let _ = writeln!(out, "<tr><th>{word}</th><td>{}</td></tr>", escape(&value));
    }
    out.push_str("</table>\n");
}

/// The seed, or those of the networks that are averaged.
fn seeds(plan: &crate::train::Plan) -> String {
    let seeds: Vec<String> = (0..plan.architecture.members).map(|at| plan.seed_of(at).to_string()).collect();
    seeds.join(", ")
}

/// Dropout and penalties; empty without any.
fn regularisation(plan: &crate::train::Plan) -> String {
    let dropout = plan.dropout.in_words(&plan.architecture);
    let dropout = (!dropout.is_empty()).then(|| format!("dropout {dropout}"));
    let penalty = |word: &str, share: f64| (share > 0.0).then(|| format!("{word} {share}"));
    let all = [dropout, penalty("l1", plan.penalty.l1), penalty("l2", plan.penalty.l2)];
    all.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn split_words(trained: &Trained) -> String {
    if trained.plan.head.reach() == 0 {
        let what = if trained.plan.kind == ModelKind::Sequence {
            "sequence belongs to the part of its last row"
        } else {
            "row is an example of its own part"
        };
        return format!("{}. A {what}.", trained.plan.split.text(&trained.plan.clock));
    }
    format!(
        "{}. An example belongs to the part that holds all its targets; examples whose targets cross a boundary are \
         not used.",
        trained.plan.split.text(&trained.plan.clock)
    )
}

fn split_table(out: &mut String, trained: &Trained) {
    out.push_str(
        "<div class=\"wide\"><table>\n<tr><th>key</th><th>from</th><th>to</th><th>rows</th><th>usable</th>\
         <th>train</th><th>validation</th><th>test</th></tr>\n",
    );
    for key in trained.keys.iter().take(LISTED) {
        let text = |ticks: Option<i64>| ticks.map_or("–".into(), |ticks| trained.plan.clock.text(ticks));
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(&name(&key.key)),
            text(key.span.map(|s| s.0)),
            text(key.span.map(|s| s.1)),
            key.rows,
            key.usable,
            key.examples[0],
            key.examples[1],
            key.examples[2],
        );
    }
    out.push_str("</table></div>\n");
    if trained.keys.len() > LISTED {
        let _ = writeln!(out, "<p class=\"soft\">{} more keys are not listed.</p>", trained.keys.len() - LISTED);
    }
}

/// Text as HTML.
pub(in crate::train) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
