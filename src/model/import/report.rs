//! `report.html` of an imported version: its tensors, and what was tried. The same bytes for the same import.

use std::fmt::Write;

use super::carried::Compared;
use crate::error::counted;
use crate::model::Manifest;
use crate::network::{Feed, Run, Signature};

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;color:#1f2937}\
table{border-collapse:collapse}td,th{border:1px solid #e5e7eb;padding:.3em .8em;text-align:left}";

/// The report.
pub(super) fn html(manifest: &Manifest, signature: &Signature, warnings: &[String], errors: &[Compared]) -> String {
    let name = escape(&manifest.name);
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{name}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<h1>{name}</h1>\n"
    );
    let word = |run: Run| if run == Run::Many { "many" } else { "one" };
    // Writing into a String can't fail, here and below.
    let _ = writeln!(
        out,
        "<p>Imported with ONNX Runtime {}. batch: {}, steps: {}, bitwise: {}.</p>",
        escape(&manifest.onnx_runtime),
        word(signature.batch),
        word(signature.steps),
        match (manifest.bitwise, signature.batch) {
            (true, Run::Many) => "yes",
            (true, Run::One) => "yes (one by one)",
            (false, _) => "no",
        }
    );
    for warning in warnings {
        let _ = writeln!(out, "<p><b>Warning:</b> {}</p>", escape(warning));
    }
    out.push_str("<h2>Tensors</h2>\n<table>\n<tr><th>tensor<th>type and axes<th>is</tr>\n");
    let mut row = |name: &str, tensor: String, is: String| {
        let _ = writeln!(out, "<tr><td>{}<td>{}<td>{}</tr>", escape(name), escape(&tensor), escape(&is));
    };
    for input in &signature.inputs {
        let is = match &input.feed {
            Feed::Columns(columns) => {
                let columns: Vec<&str> = columns.iter().map(|input| input.column.as_str()).collect();
                format!("columns {}", columns.join(", "))
            }
            Feed::Ids { column, below } => format!("ids of {column}, below {below}"),
            Feed::Tokens { column, tokens } => format!("{column}, among {}", counted(tokens.len(), "text")),
            Feed::PerKey(column) => format!("{column}, set once per key"),
            Feed::Key(keys) => format!("the key, among {}", counted(keys.len(), "key")),
        };
        row(&input.tensor.name, input.tensor.describe(), is);
    }
    for state in &signature.states {
        row(&state.tensor.name, state.tensor.describe(), format!("state, comes out as {}", state.out));
    }
    for output in &signature.outputs {
        row(&output.tensor.name, output.tensor.describe(), format!("column {}", output.column));
    }
    out.push_str("</table>\n");
    if !errors.is_empty() {
        out.push_str("<h2>As a window, and carried on</h2>\n<table>\n<tr><th>error<th>window<th>carry</tr>\n");
        for Compared { of, window, carry } in errors {
            let _ = writeln!(out, "<tr><td>{}<td>{window:.6}<td>{carry:.6}</tr>", escape(of));
        }
        out.push_str("</table>\n");
    }
    out.push_str("<h2>What was tried</h2>\n<ul>\n");
    for proof in &manifest.proofs {
        let _ = writeln!(out, "<li>{}</li>", escape(proof));
    }
    out.push_str("</ul>\n</body>\n</html>\n");
    out
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
