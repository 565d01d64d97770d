//! `config.json` of a `.keras` file: the layers of a model in the order in which they run, and where their numbers are.
//!
//! Must not live here: reading numbers (`keras`).

use serde_json::Value;

use crate::kernel::{Activation, CellKind};
use crate::network::summary::LayerNames;

/// A layer of a model that computes something.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    /// The name that the user sees.
    pub(super) name: String,
    /// Its folder in `model.weights.h5`.
    pub(super) path: String,
    pub(super) kind: Kind,
}

/// What a layer computes.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Recurrent {
        cell: CellKind,
        units: usize,
        bias: bool,
        every_step: bool,
    },
    Dense {
        units: usize,
        activation: Activation,
        bias: bool,
    },
    /// (x - mean) / sd, learned.
    Normalization,
    /// x * scale + offset.
    Rescaling {
        scale: f64,
        offset: f64,
    },
}

/// The layers of a model.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Model {
    pub(super) entries: Vec<Entry>,
    /// Rows of its windows; `None`: any number.
    pub(super) window: Option<usize>,
    pub(super) notes: Vec<String>,
}

/// Layers that do nothing outside of training.
const IDLE: [&str; 6] =
    ["InputLayer", "Dropout", "SpatialDropout1D", "GaussianDropout", "GaussianNoise", "ActivityRegularization"];

/// What to do about what only graphs are read of.
const TO_ONNX: &str = "save it with `model.export(\"model.onnx\", format=\"onnx\")`";

/// The model of `config.json`, or what a network of ours can't be.
pub(super) fn model(config: &Value) -> Result<Model, String> {
    let listed = config["config"]["layers"].as_array().ok_or("config.json lists no layers")?;
    // Folders are numbered by class, in the order of the list; names are the user's and say nothing.
    let mut names = LayerNames::default();
    let with_paths: Vec<(&Value, String)> =
        listed.iter().map(|layer| (layer, format!("layers/{}", names.next(text(&layer["class_name"]))))).collect();
    let ordered = match text(&config["class_name"]) {
        "Sequential" => with_paths,
        "Functional" | "Model" => chain(with_paths)?,
        other => {
            return Err(format!("the model is a {other}: expected Sequential, or Functional with layers in a row"));
        }
    };
    // Without an InputLayer the shape is that of the first data.
    let rows = |shape: &Value| shape[1].as_u64().map(|rows| rows as usize);
    let mut model = Model { window: rows(&config["config"]["build_input_shape"]), ..Model::default() };
    let mut wrong = Vec::new();
    for (layer, path) in ordered {
        if text(&layer["class_name"]) == "InputLayer" {
            model.window = rows(&layer["config"]["batch_shape"]);
        }
        if let Err(message) = add(&mut model, layer, path) {
            wrong.push(format!("layer \"{}\" ({}): {message}", name(layer), text(&layer["class_name"])));
        }
    }
    if wrong.is_empty() { Ok(model) } else { Err(wrong.join("\n  ")) }
}

/// The layers in the order in which one feeds the next.
fn chain(mut layers: Vec<(&Value, String)>) -> Result<Vec<(&Value, String)>, String> {
    let mut ordered = Vec::new();
    let mut before: Option<String> = None;
    while !layers.is_empty() {
        let follows = |(layer, _): &(&Value, String)| {
            let mut from = Vec::new();
            histories(&layer["inbound_nodes"], &mut from);
            let calls = layer["inbound_nodes"].as_array().map_or(0, Vec::len);
            match &before {
                None => from.is_empty(),
                Some(before) => calls == 1 && from == [before.as_str()],
            }
        };
        let next: Vec<usize> = (0..layers.len()).filter(|at| follows(&layers[*at])).collect();
        let [at] = next[..] else {
            let left: Vec<String> = layers.iter().map(|(layer, _)| format!("\"{}\"", name(layer))).collect();
            return Err(format!(
                "the layers aren't in a row: after {} come {} of {}",
                before.as_ref().map_or("the start".into(), |name| format!("\"{name}\"")),
                next.len(),
                left.join(", ")
            ));
        };
        let next = layers.remove(at);
        before = Some(name(next.0).to_owned());
        ordered.push(next);
    }
    Ok(ordered)
}

/// The layers whose outputs a call takes.
fn histories<'a>(node: &'a Value, found: &mut Vec<&'a str>) {
    match node {
        Value::Array(items) => items.iter().for_each(|item| histories(item, found)),
        Value::Object(fields) => match fields.get("keras_history") {
            Some(history) => found.push(text(&history[0])),
            None => fields.values().for_each(|value| histories(value, found)),
        },
        _ => {}
    }
}

fn add(model: &mut Model, layer: &Value, path: String) -> Result<(), String> {
    let (class, config) = (text(&layer["class_name"]), &layer["config"]);
    let policy = config["dtype"].as_str().or(config["dtype"]["config"]["name"].as_str()).unwrap_or("float32");
    if policy != "float32" {
        let of = name(layer);
        model
            .notes
            .push(format!("layer \"{of}\" computes in {policy} in Keras, here in float32: outputs differ by that"));
    }
    let units = || config["units"].as_u64().map(|units| units as usize).ok_or("it has no units".to_owned());
    let kind = match class {
        _ if IDLE.contains(&class) => return Ok(()),
        "SimpleRNN" | "LSTM" | "GRU" => {
            let last_only = |entry: &&Entry| matches!(entry.kind, Kind::Recurrent { every_step: false, .. });
            if let Some(last) = model.entries.iter().find(last_only) {
                return Err(format!("it takes steps, but \"{}\" before it gives its last output only", last.name));
            }
            Kind::Recurrent {
                cell: cell(class, config)?,
                units: units()?,
                bias: flag(config, "use_bias", true),
                every_step: flag(config, "return_sequences", false),
            }
        }
        "Dense" => {
            Kind::Dense { units: units()?, activation: activation(config)?, bias: flag(config, "use_bias", true) }
        }
        // Every step by itself is what a dense layer does anyway.
        "TimeDistributed" if text(&config["layer"]["class_name"]) == "Dense" => {
            let mut inner = config["layer"].clone();
            inner["config"]["name"] = config["name"].clone();
            return add(model, &inner, format!("{path}/layer"));
        }
        "Activation" => match model.entries.last_mut() {
            Some(Entry { kind: Kind::Dense { activation: own @ Activation::Linear, .. }, .. }) => {
                *own = activation(config)?;
                return Ok(());
            }
            _ => return Err("an activation fits behind a dense layer without one".into()),
        },
        "Normalization" if model.entries.is_empty() => {
            let axis = config["axis"].as_array().map_or(config["axis"].as_i64(), |axes| axes.first()?.as_i64());
            if !matches!(axis, Some(-1 | 2)) || flag(config, "invert", false) {
                return Err("expected one mean and variance for each input (axis -1, not inverted)".into());
            }
            Kind::Normalization
        }
        "Rescaling" => {
            let number = |name: &str| config[name].as_f64().ok_or(format!("expected one number as `{name}`"));
            Kind::Rescaling { scale: number("scale")?, offset: number("offset")? }
        }
        "Bidirectional" => {
            return Err(format!("it also reads backwards, which is read of ONNX files alone: {TO_ONNX}"));
        }
        _ => return Err("our networks have no such layer; they have SimpleRNN, LSTM, GRU and Dense".into()),
    };
    model.entries.push(Entry { name: name(layer).into(), path, kind });
    Ok(())
}

/// The cell of a recurrent layer, if it computes what ours does.
fn cell(class: &str, config: &Value) -> Result<CellKind, String> {
    let mut wrong = Vec::new();
    let own = text(&config["activation"]);
    let kind = match (class, own) {
        ("SimpleRNN", "relu") => CellKind::RnnRelu,
        ("SimpleRNN", _) => CellKind::RnnTanh,
        ("LSTM", _) => CellKind::Lstm,
        _ => CellKind::Gru,
    };
    if kind != CellKind::RnnRelu && own != "tanh" {
        wrong.push(format!("its activation is {}, ours is tanh", config["activation"]));
    }
    if class != "SimpleRNN" && text(&config["recurrent_activation"]) != "sigmoid" {
        wrong.push(format!("its recurrent_activation is {}, ours is sigmoid", config["recurrent_activation"]));
    }
    if class == "GRU" && !flag(config, "reset_after", true) {
        wrong.push("it has reset_after=False, ours multiplies by the reset gate after the recurrent kernel".into());
    }
    if flag(config, "go_backwards", false) {
        wrong.push("it reads backwards (go_backwards)".into());
    }
    if flag(config, "return_state", false) {
        wrong.push("it also returns its state (return_state)".into());
    }
    if wrong.is_empty() { Ok(kind) } else { Err(wrong.join("; ")) }
}

fn activation(config: &Value) -> Result<Activation, String> {
    match text(&config["activation"]) {
        "linear" => Ok(Activation::Linear),
        "relu" => Ok(Activation::Relu),
        "tanh" => Ok(Activation::Tanh),
        "softmax" | "sigmoid" => Err(format!(
            "its activation is {}, which is read of ONNX files alone, as the last layer's: {TO_ONNX}",
            config["activation"]
        )),
        _ => Err(format!("its activation is {}; ours are linear, relu and tanh", config["activation"])),
    }
}

fn flag(config: &Value, name: &str, default: bool) -> bool {
    config[name].as_bool().unwrap_or(default)
}

fn name(layer: &Value) -> &str {
    text(&layer["config"]["name"])
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
