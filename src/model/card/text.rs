//! A proposed card as YAML: whatever is a guess is marked as one, and what has to be filled in is empty.

use std::fmt::Write;

use super::propose::{Axis, Feed, Found, Proposal, ProposedAxis, column};
use crate::config::Layout;
use crate::model::onnx::declared;

impl Proposal {
    /// The card. `onnx`: the file, as the card names it; `stem`: what its model may be called.
    pub fn card(&self, onnx: &str, stem: &str) -> String {
        let mut text = String::from(
            "# Written by `kolk models inspect`. Look at every line that says \"guess\"; fill in what is empty (~).\n",
        );
        let mut line = |start: String, notes: &[String]| {
            // Writing to a string can't fail.
            let _ = match notes {
                [] => writeln!(text, "{start}"),
                notes => writeln!(text, "{start}  # {}", notes.join("; ")),
            };
        };
        line(format!("onnx: {}", value(onnx)), &[]);
        line(format!("name: {}", name(stem)), &[]);
        line(format!("layout: {}", self.layout.value.word()), &guess(&self.layout));
        if self.layout.value == Layout::Window {
            match self.window {
                Some(rows) => line(format!("window: {rows}"), &[]),
                None => line("window: ~".into(), &["fill in: rows of a window".into()]),
            }
        }
        line("inputs:".into(), &[]);
        for input in &self.inputs {
            let mut notes = vec![input.tensor.to_string()];
            if input.tensor.element().is_none() {
                notes.push(format!("kolk can't feed it: it has {}", declared::ELEMENTS));
            }
            notes.extend(guess(&input.feed));
            let mut fields = match &input.feed.value {
                Feed::Columns(column) => format!("columns: [{}]", value(column)),
                Feed::Ids(column, below) => {
                    if below.is_none() {
                        notes.push("fill in below: rows of the table that ids are looked up in".into());
                    }
                    format!("ids: {}, below: {}", value(column), number(*below))
                }
                Feed::PerKey(column) => format!("per_key: {}", value(column)),
                Feed::Constant(value) => {
                    if value.is_none() {
                        notes.push("fill in constant: the number that it always is".into());
                    }
                    format!("constant: {}", number(*value))
                }
            };
            if let Some(shape) = &input.shape {
                notes.extend(fill_in(shape));
                let _ = write!(fields, ", shape: {}", axes(&shape.value));
            }
            line(format!("  {}: {{ {fields} }}", key(&input.tensor.name)), &notes);
        }
        if !self.states.is_empty() {
            line("states:".into(), &[]);
        }
        for state in &self.states {
            let mut notes = vec![state.tensor.to_string()];
            let out = match &state.outs.value[..] {
                [one] => {
                    notes.extend(guess(&state.outs));
                    value(one)
                }
                several => {
                    let why = state.outs.guess.as_deref().unwrap_or_default();
                    notes.push(format!("fill in out: {} ({why})", several.join(" or ")));
                    "~".into()
                }
            };
            notes.extend(guess(&state.shape));
            notes.extend(fill_in(&state.shape));
            let shape = axes(&state.shape.value);
            let name = key(&state.tensor.name);
            line(format!("  {name}: {{ out: {out}, shape: {shape}, init: zero }}"), &notes);
        }
        line("outputs:".into(), &[]);
        for output in &self.outputs {
            let name = &output.tensor.name;
            let notes = [output.tensor.to_string(), "guess: the name of the column".into()];
            line(format!("  {}: {{ column: {} }}", key(name), value(&column(name))), &notes);
        }
        text
    }
}

fn guess<T>(found: &Found<T>) -> Vec<String> {
    found.guess.iter().map(|why| format!("guess: {why}")).collect()
}

fn fill_in(shape: &Found<Vec<ProposedAxis>>) -> Option<String> {
    let open = shape.value.iter().any(Option::is_none);
    open.then(|| "fill in shape: batch, time or a size for each ~".to_owned())
}

fn axes(axes: &[ProposedAxis]) -> String {
    let axes: Vec<String> = axes
        .iter()
        .map(|axis| match axis {
            Some(Axis::Batch) => "batch".into(),
            Some(Axis::Time) => "time".into(),
            Some(Axis::Fixed(size)) => size.to_string(),
            None => "~".into(),
        })
        .collect();
    format!("[{}]", axes.join(", "))
}

fn number(value: Option<impl ToString>) -> String {
    value.map_or("~".into(), |value| value.to_string())
}

/// A text as a value of YAML that is read as it is meant: a variable would be expanded in it.
pub fn value(text: &str) -> String {
    key(text).replace("${", "$${")
}

/// A text as a key of YAML: JSON's strings are YAML's.
pub fn key(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '/'))
        && !matches!(text.to_lowercase().as_str(), "null" | "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n");
    if plain { text.into() } else { serde_json::Value::from(text).to_string() }
}

/// A name that a model may have.
fn name(stem: &str) -> String {
    let plain: String =
        stem.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.') { c } else { '_' }).collect();
    let plain = plain.trim_start_matches(['-', '.']);
    value(if plain.is_empty() { "model" } else { plain })
}
