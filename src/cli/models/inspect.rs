//! `kolk models inspect FILE.onnx`: what is in the file, and a card for it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use serde_json::{Value, json};

use super::{plain, pretty, trimmed};
use crate::Result;
use crate::config;
use crate::error::{counted, printable};
use crate::model::card;
use crate::model::import::{self, Cost};
use crate::model::onnx::declared::{self, Declared};
use crate::model::onnx::operators::{self, Class, Finding};
use crate::model::onnx::proto::{GraphProto, ModelProto, NodeProto};
use crate::model::onnx::view::Dim;
use crate::model::onnx::{constants, file, inspect};

/// Operators that are recurrent layers.
const RECURRENT: [&str; 8] =
    ["RNN", "LSTM", "GRU", "DynamicQuantizeLSTM", "LinearAttention", "CausalConvWithState", "Loop", "Scan"];

/// A larger file takes too long to load.
const LARGEST: u64 = 256_000_000;

/// The text of the command.
pub fn inspect(path: &Path, as_json: bool) -> Result<String> {
    let (model, bytes) = file::read(path)?;
    let graph = model.graph.clone().unwrap_or_default();
    let (inputs, outputs) = (declared::inputs(&graph), declared::outputs(&graph));
    let stem = path.file_stem().map(|stem| stem.to_string_lossy()).unwrap_or_default();
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let proposal = card::propose(&model);
    let card = proposal.card(&name, &stem);
    let recurrent = recurrent(&graph);
    let (cost, known) = cost(path, &proposal.settled().card(&name, &stem), bytes);
    let findings = known.unwrap_or_else(|| {
        // An `If` on a number that is always the same depends on no data.
        let mut model = model.clone();
        for (name, number) in proposal.constants() {
            // One that its input can't hold stays an input.
            let _ = constants::constant(&mut model, name, &[number]);
        }
        operators::find(&model, &[])
    });
    let layers = inspect::layers(&model);
    let parameters: usize = layers.iter().map(|layer| layer.parameters).sum();
    if as_json {
        return pretty(&json!({
            "file": path.display().to_string(),
            "bytes": bytes,
            "producer": producer(&model),
            "ir_version": model.ir_version(),
            "opset": opsets(&model).into_iter().map(|(domain, version)| json!({ "domain": domain, "version": version })).collect::<Vec<_>>(),
            "inputs": tensors(&inputs),
            "outputs": tensors(&outputs),
            "recurrent": recurrent,
            "operators": findings.iter().map(|finding| json!({
                "node": finding.node,
                "operator": finding.operator,
                "finding": finding.class.text(),
                "certain": finding.certain,
            })).collect::<Vec<_>>(),
            "parameters": parameters,
            "cost": match &cost {
                Ok(Cost { alone, beside: Ok((rows, seconds)) }) => {
                    json!({ "seconds_alone": alone, "rows": rows, "seconds_beside": seconds })
                }
                Ok(Cost { alone, beside: Err(why) }) => json!({ "seconds_alone": alone, "one_by_one": why }),
                Err(why) => json!({ "not_measured": why }),
            },
            "card": card,
        }));
    }
    let mut table = plain(&[]);
    let opsets: Vec<String> = opsets(&model)
        .into_iter()
        .map(|(domain, version)| if domain == "ai.onnx" { version.to_string() } else { format!("{domain} {version}") })
        .collect();
    let mut lines = vec![
        ("file", format!("{}, {}", path.display(), size(bytes))),
        ("producer", producer(&model)),
        ("opset", format!("{}, IR version {}", opsets.join(", "), model.ir_version())),
        ("parameters", parameters.to_string()),
        ("recurrent", if recurrent.is_empty() { "none".into() } else { recurrent.join(", ") }),
    ];
    lines.extend(noted(&findings).into_iter().map(|text| ("operators", text)));
    lines.push(("cost", cost.map_or_else(|why| format!("not measured: {why}"), |cost| cost.to_string())));
    let both = [("input", &inputs), ("output", &outputs)];
    lines.extend(both.into_iter().flat_map(|(word, list)| {
        list.iter().map(move |tensor| (word, format!("{} {tensor}", printable(&tensor.name))))
    }));
    for (word, text) in lines {
        table.add_row([word, &text]);
    }
    let mut text = trimmed(&mut table, &[]);
    // Writing to a string can't fail.
    let _ = write!(text, "\n{card}");
    Ok(text)
}

/// What a run costs, by the card that is proposed, or why that isn't known; and what is known of operators by it.
fn cost(path: &Path, card: &str, bytes: u64) -> (std::result::Result<Cost, String>, Option<Vec<Finding>>) {
    if bytes > LARGEST {
        return (Err(format!("the file has more than {} MB", LARGEST / 1_000_000)), None);
    }
    let place = path.parent().unwrap_or(Path::new("")).join("card.yaml");
    let Ok(card) = config::card_of(card, &place) else {
        return (
            Err("what the card leaves open has to be filled in; `kolk models import` measures it then".into()),
            None,
        );
    };
    match import::cost(&card) {
        Ok((cost, findings)) => (Ok(cost), Some(findings)),
        Err(error) => {
            let text = error.to_string();
            (Err(text.lines().next().unwrap_or_default().replace(&format!("{}:", place.display()), "")), None)
        }
    }
}

/// What is known of operators, each kind once with how many nodes there are.
fn noted(findings: &[Finding]) -> Vec<String> {
    let mut counts: BTreeMap<(Class, bool, &str), usize> = BTreeMap::new();
    for finding in findings {
        *counts.entry((finding.class, !finding.certain, &finding.operator)).or_default() += 1;
    }
    let line = |((class, unsure, operator), count): ((Class, bool, &str), usize)| {
        let maybe = if unsure { "maybe " } else { "" };
        let cost = if class == Class::CrossRow { ": such a model runs one by one" } else { "" };
        format!("{} {}: {maybe}{}{cost}", counted(count, "node"), printable(operator), class.text())
    };
    counts.into_iter().map(line).collect()
}

fn producer(model: &ModelProto) -> String {
    let text = format!("{} {}", model.producer_name(), model.producer_version());
    if text.trim().is_empty() { "unknown".into() } else { printable(text.trim()) }
}

/// Domains of operators with their versions, ONNX' own first.
fn opsets(model: &ModelProto) -> Vec<(String, i64)> {
    let name = |domain: &str| if domain.is_empty() { "ai.onnx".to_owned() } else { domain.to_owned() };
    let mut opsets: Vec<(String, i64)> =
        model.opset_import.iter().map(|opset| (name(opset.domain()), opset.version())).collect();
    opsets.sort_by_key(|(domain, _)| (domain != "ai.onnx", domain.clone()));
    opsets
}

fn tensors(list: &[Declared]) -> Value {
    let one = |tensor: &Declared| {
        let shape = tensor.dims.as_ref().map(|dims| {
            let dims = dims.iter().map(|dim| match dim {
                Dim::Fixed(size) => json!(size),
                Dim::Named(name) => json!(name),
                Dim::Open => Value::Null,
            });
            dims.collect::<Vec<_>>()
        });
        json!({ "name": tensor.name, "type": tensor.type_name(), "shape": shape })
    };
    list.iter().map(one).collect()
}

/// Recurrent operators with their units, those of branches too.
fn recurrent(graph: &GraphProto) -> Vec<String> {
    let mut found = Vec::new();
    for node in &graph.node {
        if RECURRENT.contains(&node.op_type()) {
            found.push(layer(node));
        }
        for inner in node.attribute.iter().filter_map(|attribute| attribute.g.as_ref()) {
            found.extend(recurrent(inner));
        }
    }
    found
}

fn layer(node: &NodeProto) -> String {
    let units = node.attribute.iter().find(|attribute| attribute.name() == "hidden_size").map(|units| units.i());
    units.map_or(node.op_type().to_owned(), |units| format!("{}({units})", node.op_type()))
}

fn size(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} bytes"),
        10_000..10_000_000 => format!("{} kB", bytes / 1000),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}
