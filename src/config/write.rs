//! Writes a tree as YAML.
//!
//! Lives here: indentation, quotes. Must not live here: any word of the pipeline file.

use super::words::{Plain, plain};
use super::yaml::{Kind, Node, Scalar};

/// The lines of a mapping.
pub(super) fn yaml(root: &Node) -> String {
    let mut out = String::new();
    block(root, 0, &mut out);
    out
}

/// A mapping or a list, each entry on its own line.
fn block(node: &Node, indent: usize, out: &mut String) {
    let margin = " ".repeat(indent);
    match &node.kind {
        Kind::Map(pairs) => {
            for (key, value) in pairs.iter() {
                out.push_str(&format!("{margin}{}:", line(key)));
                if is_line(value) {
                    out.push_str(&format!(" {}\n", line(value)));
                } else {
                    out.push('\n');
                    block(value, indent + 2, out);
                }
            }
        }
        Kind::List(items) => {
            for item in items.iter() {
                if is_line(item) {
                    out.push_str(&format!("{margin}- {}\n", line(item)));
                } else {
                    let mut inner = String::new();
                    block(item, indent + 2, &mut inner);
                    // The first entry stands after the dash.
                    out.push_str(&format!("{margin}- {}", &inner[indent + 2..]));
                }
            }
        }
        Kind::Scalar(_) => out.push_str(&format!("{margin}{}\n", line(node))),
    }
}

/// Whether it fits on the line of its name: a scalar, a list of scalars, nothing.
fn is_line(node: &Node) -> bool {
    match &node.kind {
        Kind::Scalar(_) => true,
        Kind::List(items) => items.iter().all(|item| matches!(item.kind, Kind::Scalar(_))),
        Kind::Map(pairs) => pairs.is_empty(),
    }
}

/// A value on one line.
pub(super) fn line(node: &Node) -> String {
    match &node.kind {
        Kind::Scalar(value) => scalar(value),
        Kind::List(items) => format!("[{}]", items.iter().map(line).collect::<Vec<_>>().join(", ")),
        Kind::Map(pairs) => {
            let pair = |(key, value): &(Node, Node)| format!("{}: {}", line(key), line(value));
            match pairs.is_empty() {
                true => "{}".into(),
                false => format!("{{ {} }}", pairs.iter().map(pair).collect::<Vec<_>>().join(", ")),
            }
        }
    }
}

fn scalar(value: &Scalar) -> String {
    if let Some(written) = &value.written {
        return quoted(written);
    }
    let text = value.text.replace("${", "$${");
    let is_text = matches!(plain(&text), Plain::Text);
    if is_text && is_safe(&text) || value.plain && !is_text && !text.is_empty() { text } else { quoted(&text) }
}

/// Whether a text needs no quotes, wherever it is.
fn is_safe(text: &str) -> bool {
    let first = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '.');
    let inner = |c: char| c.is_ascii_alphanumeric() || "/_.+-*@()=<>%$ :".contains(c);
    text.starts_with(first)
        && text.chars().all(inner)
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.starts_with("...")
}

/// In double quotes, as JSON has them, which YAML reads too.
fn quoted(text: &str) -> String {
    let json = serde_json::Value::from(text).to_string();
    let is_shown = |c: char| !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}');
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if is_shown(c) {
            out.push(c);
        } else {
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
        }
    }
    out
}
