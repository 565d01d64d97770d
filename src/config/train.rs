//! The section `train`.

use std::time::Duration;

use super::backtest::backtest;
use super::embeddings::embeddings;
use super::optimizer::{FLAGS, optimizer, schedule};
use super::patch::{patch, subtract};
use super::per::per;
use super::read::{Field, Fields, Reader};
use super::task::{CROSS_ENTROPIES, taught};
use super::train_words::{self, HEAD, HEADS, LAYER_OPTIONS, SPLIT, SPLITS, TRAIN};
use super::training::{LOOK_EVERY, OPEN_EMA};
use super::words::{not_yet, unknown};
use super::{At, Dense, Length, Loss, Mode, Moment, Record, Recurrent, Residual, Skip, Split, Task, train_data};
use super::{Train, TrainLayer, one_line, places};
use crate::error::did_you_mean;
use crate::kernel::{Activation, CellKind};

pub(super) const SKIPS: [(&str, Skip); 3] = [("ridge", Skip::Ridge), ("linear", Skip::Linear), ("none", Skip::None)];
pub(super) const REFITS: [(&str, bool); 2] = [("none", false), ("best_epochs", true)];
pub(super) const ACTIVATIONS: [(&str, Activation); 3] =
    [("linear", Activation::Linear), ("tanh", Activation::Tanh), ("relu", Activation::Relu)];

/// The layers that training chooses.
pub(super) const AUTO: &str = "auto";
pub(super) const MAX_UNITS: usize = 1 << 16;
pub(super) const MAX_HORIZON: usize = 1 << 16;
pub(super) const MAX_SEEDS: usize = 100;
/// Of train, validation and test.
const SHARES: [f64; 3] = [0.7, 0.15, 0.15];
const NOISE: &str = "a number of standard deviations, from 0";
const ANY: usize = usize::MAX;

/// Reads `train`.
pub(super) fn train(reader: &mut Reader, field: Field<'_>, record: &Record, mode: Mode) -> Option<At<Train>> {
    let fields = reader.section(field, &TRAIN)?;
    for carried in ["chunk", "burn_in"].into_iter().filter_map(|name| fields.get(name)) {
        if mode != Mode::Carry {
            let message = format!("`{}` is only for mode carry, `infer` is in mode {}", carried.name, mode.word());
            reader.problems.add(carried.name_place, message);
        } else if is_ctc(&fields) {
            let message = format!("`{}` is not for `task: ctc`, which learns from whole sequences", carried.name);
            reader.problems.add(carried.name_place, message);
        }
    }
    let targets = match reader.one_of(&fields, &["target", "targets"]) {
        Some(field) if field.name == "target" => reader.text(field, "a column").into_iter().collect(),
        Some(field) => reader.some_texts(field, "columns").unwrap_or_default(),
        None => Vec::new(),
    };
    let mut inputs = match fields.get("inputs") {
        // Texts may be all there is.
        Some(field) if fields.get("embeddings").is_some() => reader.texts(field, "columns").unwrap_or_default(),
        Some(field) => reader.some_texts(field, "columns").unwrap_or_default(),
        None => record.values.iter().map(|name| At::default_value(name.value.clone())).collect(),
    };
    let auto_layers = fields.get("layers").is_some_and(|field| field.node.text() == Some(AUTO));
    let layers = match fields.get("layers").filter(|_| !auto_layers) {
        Some(field) => layers(reader, field).unwrap_or_default(),
        None => vec![At::default_value(TrainLayer::Recurrent(Recurrent::new(CellKind::Gru, 64)))],
    };
    let taught = taught(reader, &fields, mode, &layers);
    if taught.task == Task::Value && mode == Mode::Sequence && fields.get("inputs").is_none() {
        // What is to be told is known at the end alone.
        inputs.retain(|input| targets.iter().all(|target: &At<String>| target.value != input.value));
        if let (true, None, Some(target)) = (inputs.is_empty(), fields.get("embeddings"), targets.first()) {
            let message = "the target is the record's only value, and by itself no input: name the `inputs`";
            reader.problems.add(target.place, message);
        }
    }
    let mut count = |name, least, most| fields.get(name).and_then(|f| reader.count(f, least, most));
    let horizon = count("horizon", 1, MAX_HORIZON).unwrap_or(1);
    let chunk = count("chunk", 1, ANY).unwrap_or(64);
    let lags = count("lags", 1, MAX_HORIZON);
    let burn_in = count("burn_in", 0, ANY).unwrap_or(0);
    let patience = count("patience", 1, ANY);
    let batch_size = count("batch_size", 1, ANY).unwrap_or(32);
    let seed = count("seed", 0, ANY).unwrap_or(7);
    let seeds = count("seeds", 1, MAX_SEEDS).unwrap_or(1);
    let seasonality = count("seasonality", 1, MAX_HORIZON);
    let warm_up = count("warm_up", 0, ANY).unwrap_or(0);
    let mut share =
        |name| fields.get(name).and_then(|f| reader.number(f, "a number from 0", |n| n >= 0.0)).unwrap_or_default();
    let (l1, l2) = (share("l1"), share("l2"));
    if let (Some(few), None, None) = (patience, fields.get("epochs"), fields.get("updates"))
        && few < LOOK_EVERY
        && let Some(field) = fields.get("patience")
    {
        let message = format_args!(
            "{few} updates are fewer than lie between two looks at validation ({LOOK_EVERY}): without `epochs`, \
             patience counts updates; write `epochs` too, or at least {LOOK_EVERY}"
        );
        reader.note(field, message);
    }
    let embeddings = fields.get("embeddings").map(|f| embeddings(reader, f)).unwrap_or_default();
    let (patch, decoder) = patch(reader, &fields, (mode, taught.task, horizon), &layers, &embeddings);
    let skip = fields.get("skip").and_then(|f| reader.word(f, &SKIPS, &[]));
    let length = length(reader, &fields);
    let ema =
        fields.get("ema").and_then(|f| reader.number(f, "a number from 0 to below 1", |n| (0.0..1.0).contains(&n)));
    let ema = ema.unwrap_or(if length == Length::Open { OPEN_EMA } else { 0.0 });
    let max_time = fields.get("max_time").and_then(|f| max_time(reader, f));
    let split = split(reader, &fields, if is_ctc(&fields) { Mode::Sequence } else { mode });
    let backtest = fields.get("backtest").and_then(|f| backtest(reader, f, &split));
    let value = Train {
        inputs,
        known_ahead: known_ahead(reader, &fields, taught.task),
        embeddings,
        targets,
        horizon,
        residual: fields.get("residual").and_then(|f| residual(reader, f)).unwrap_or_default(),
        skip: skip.unwrap_or(if mode == Mode::Carry && taught.task == Task::Forecast {
            Skip::Ridge
        } else {
            Skip::None
        }),
        lags,
        layers,
        auto_layers,
        head: fields.get("head").and_then(|f| head(reader, f)).unwrap_or_default(),
        chunk,
        burn_in,
        loss: match taught.task {
            Task::Forecast | Task::Value => fields.get("loss").and_then(|f| loss(reader, f)).unwrap_or(Loss::Mse),
            _ => Loss::Mse,
        },
        quantiles: fields.get("quantiles").and_then(|f| quantiles(reader, f, &fields)).unwrap_or_default(),
        task: taught.task,
        pool: taught.pool,
        classes: taught.classes,
        class_weights: taught.class_weights,
        sample_weight: taught.sample_weight,
        two_classes: taught.two_classes,
        tokens: taught.tokens,
        input_noise: fields.get("input_noise").and_then(|f| reader.number(f, NOISE, |n| n >= 0.0)).unwrap_or(0.0),
        optimizer: optimizer(reader, &fields),
        schedule: schedule(reader, &fields, length != Length::Open),
        warm_up,
        l1,
        l2,
        clip_norm: fields.get("clip_norm").and_then(|f| reader.number(f, "a number above 0", |n| n > 0.0)),
        length,
        patience,
        ema,
        max_time,
        batch_size,
        seed: seed as u64,
        seeds,
        subtract_last: subtract(reader, &fields, patch.value),
        patch,
        decoder,
        seasonality,
        per: fields.get("per").and_then(|f| per(reader, f, mode == Mode::Carry && taught.task == Task::Ctc)),
        backtest,
        split,
        refit: fields.get("refit").and_then(|f| reader.word(f, &REFITS, &[])).unwrap_or_default(),
        data: train_data::data(reader, &fields),
        memory: fields.get("memory").and_then(|f| train_data::memory(reader, f)),
    };
    Some(At { value, place: field.name_place })
}

/// Whether what is taught is transcripts, whose examples are whole sequences in any mode.
fn is_ctc(fields: &Fields) -> bool {
    fields.get("task").is_some_and(|task| task.node.text() == Some("ctc"))
}

/// Columns of what is known ahead: of times ahead, which only a forecast has.
fn known_ahead(reader: &mut Reader, fields: &Fields, task: Task) -> Vec<At<String>> {
    let Some(field) = fields.get("known_ahead") else { return Vec::new() };
    if task != Task::Forecast {
        reader.note(field, "is for `task: forecast`, whose outputs are about rows ahead; write the column as an input");
    }
    reader.some_texts(field, "vector columns").unwrap_or_default()
}

/// A time by the clock.
fn max_time(reader: &mut Reader, field: Field<'_>) -> Option<Duration> {
    let span = reader.span(field, false)?;
    span.value.by_clock().or_else(|| reader.expected(field, "a time by the clock such as 10m or 2h"))
}

/// `name`, or `name(a, b)`.
fn call(text: &str) -> Option<(&str, Vec<&str>)> {
    let text = text.trim();
    let Some((name, rest)) = text.split_once('(') else { return Some((text, Vec::new())) };
    let inside = rest.strip_suffix(')')?;
    Some((name.trim_end(), inside.split(',').map(str::trim).collect()))
}

fn residual(reader: &mut Reader, field: Field<'_>) -> Option<Residual> {
    const WHAT: &str = "one of: last, seasonal(24), none";
    let parts = field.node.text().and_then(call);
    match parts.as_ref().map(|(name, arguments)| (*name, &arguments[..])) {
        Some(("last", [])) => Some(Residual::Last),
        Some(("none", [])) => Some(Residual::None),
        Some(("seasonal", [rows])) => match rows.parse() {
            Ok(rows) if (1..=MAX_HORIZON).contains(&rows) => Some(Residual::Seasonal(rows)),
            _ => reader.expected(field, &format!("seasonal(rows) with 1 to {MAX_HORIZON} rows")),
        },
        Some(("seasonal", _)) => reader.expected(field, "seasonal(24): the rows of a season in parentheses"),
        _ => reader.expected(field, WHAT),
    }
}

fn loss(reader: &mut Reader, field: Field<'_>) -> Option<Loss> {
    const WHAT: &str = "one of: mse, mae, huber, huber(0.5), smape, msle";
    let parts = field.node.text().and_then(call);
    match parts.as_ref().map(|(name, arguments)| (*name, &arguments[..])) {
        Some(("mse", [])) => Some(Loss::Mse),
        Some(("mae", [])) => Some(Loss::Mae),
        Some(("smape", [])) => Some(Loss::Smape),
        Some(("msle", [])) => Some(Loss::Msle),
        Some(("huber", [])) => Some(Loss::Huber { delta: 1.0 }),
        Some(("huber", [delta])) => match delta.parse::<f64>() {
            Ok(delta) if delta > 0.0 && delta.is_finite() => Some(Loss::Huber { delta }),
            _ => reader.expected(field, "huber(delta) with a number above 0"),
        },
        Some((name, [])) if CROSS_ENTROPIES.iter().any(|(word, _)| *word == name) => reader.wrong(
            field,
            format_args!("{name} is a loss of classes: write `task: label` too, or in mode sequence `task: classify`"),
        ),
        Some(("quantile" | "pinball", levels)) => {
            let levels = if levels.is_empty() { "0.1, 0.5, 0.9".into() } else { one_line(&levels.join(", ")) };
            reader.wrong(field, format_args!("write `quantiles: [{levels}]` instead of this loss"))
        }
        Some((name, _)) if places::LATER.contains(&name) => reader.wrong(field, not_yet(name)),
        Some((name, [])) if field.node.is_written() => {
            let near = did_you_mean(name, ["mse", "mae", "huber", "smape", "msle"]);
            reader.wrong(field, format_args!("expected {WHAT}, found the text \"{}\"{near}", one_line(name)))
        }
        _ => reader.expected(field, WHAT),
    }
}

/// Levels of quantiles; the median is added to them.
fn quantiles(reader: &mut Reader, field: Field<'_>, fields: &Fields) -> Option<Vec<f64>> {
    const WHAT: &str = "a number above 0 and below 1";
    let items = reader.list(field, "quantiles such as 0.1 and 0.9")?;
    if items.is_empty() {
        return reader.wrong(field, "names no quantile: write some such as [0.1, 0.9], or leave it out");
    }
    let read = |item| reader.number(item, WHAT, |level| 0.0 < level && level < 1.0);
    let mut levels = items.into_iter().map(read).collect::<Option<Vec<f64>>>()?;
    if !levels.is_sorted_by(|a, b| a < b) {
        return reader.wrong(field, "write them ascending");
    }
    if let Some(loss) = fields.get("loss") {
        let message = "`loss` doesn't go with `quantiles`, each of which has its pinball loss: leave one of them out";
        reader.problems.add(loss.name_place, message);
    }
    if let Err(place) = levels.binary_search_by(|level| level.total_cmp(&0.5)) {
        levels.insert(place, 0.5);
    }
    Some(levels)
}

fn layers(reader: &mut Reader, field: Field<'_>) -> Option<Vec<At<TrainLayer>>> {
    let items = reader.list(field, "layers such as { lstm: 50 }")?;
    let written = items.len();
    let layers: Vec<At<TrainLayer>> = items.into_iter().filter_map(|item| layer(reader, item)).collect();
    // One that could not be read may be recurrent.
    if layers.len() == written && !layers.iter().any(|layer| matches!(layer.value, TrainLayer::Recurrent(_))) {
        return reader.wrong(field, "needs at least one recurrent layer");
    }
    Some(layers)
}

fn layer(reader: &mut Reader, item: Field<'_>) -> Option<At<TrainLayer>> {
    let words = train_words::layers();
    let names = reader.names(item, "a layer such as { lstm: 50 }")?;
    let (mut kinds, mut options) = (Vec::new(), Vec::new());
    let mut refused = false;
    for field in names {
        if LAYER_OPTIONS.contains(&field.name) {
            options.push(field);
        } else if words.has(field.name) {
            kinds.push(field);
        } else {
            reader.problems.add(field.name_place, unknown("layer", field.name, words));
            refused = true;
        }
    }
    let [kind] = kinds[..] else {
        if !refused {
            let all: Vec<&str> = words.names().filter(|name| !LAYER_OPTIONS.contains(name)).collect();
            reader.note(item, format_args!("expected exactly one of: {}", all.join(", ")));
        }
        return None;
    };
    let value = match kind.name {
        "dense" => {
            let activation = take(&mut options, "activation");
            dense(reader, kind, activation)
        }
        "dropout" => share(reader, kind).map(TrainLayer::Dropout),
        "layer_norm" => reader.word(kind, &[("true", TrainLayer::LayerNorm)], &[]),
        _ => recurrent(reader, kind, &mut options),
    };
    for field in options {
        let only = if field.name == "activation" { "simple_rnn and dense" } else { "recurrent layers" };
        reader.problems.add(field.name_place, format!("`{}` is only for {only}, not for {}", field.name, kind.name));
    }
    Some(At { value: value?, place: item.place() })
}

/// Takes an option out of those that are written.
fn take<'a>(options: &mut Vec<Field<'a>>, name: &str) -> Option<Field<'a>> {
    options.iter().position(|option| option.name == name).map(|at| options.remove(at))
}

fn dense(reader: &mut Reader, field: Field<'_>, activation: Option<Field<'_>>) -> Option<TrainLayer> {
    let units = reader.count(field, 1, MAX_UNITS);
    let activation = activation.and_then(|f| reader.word(f, &ACTIVATIONS, &[])).unwrap_or_default();
    Some(TrainLayer::Dense(Dense { units: units?, activation }))
}

/// A share of numbers to drop.
fn share(reader: &mut Reader, field: Field<'_>) -> Option<f64> {
    reader.number(field, "a share from 0 to below 1", |n| (0.0..1.0).contains(&n))
}

fn recurrent(reader: &mut Reader, field: Field<'_>, options: &mut Vec<Field<'_>>) -> Option<TrainLayer> {
    let units = reader.count(field, 1, MAX_UNITS);
    let kinds: Vec<(&str, CellKind)> = CellKind::ALL
        .iter()
        .filter(|kind| kind.form().words.contains(&field.name))
        .map(|kind| (kind.form().activation.map_or("", Activation::word), *kind))
        .collect();
    let mut cell = kinds.first()?.1;
    if cell.form().activation.is_some()
        && let Some(field) = take(options, "activation")
    {
        cell = reader.word(field, &kinds, &[]).unwrap_or(cell);
    }
    let dropout = take(options, "recurrent_dropout");
    if let Some(field) = dropout.filter(|_| !cell.form().recurrent_kernel) {
        reader.note(field, "no step of this cell sees the state but the one that carries it on: nothing to drop");
    }
    let dropout = dropout.and_then(|field| share(reader, field)).unwrap_or_default();
    let bidirectional =
        take(options, "bidirectional").and_then(|field| reader.word(field, &FLAGS, &[])).unwrap_or_default();
    Some(TrainLayer::Recurrent(Recurrent { recurrent_dropout: dropout, bidirectional, ..Recurrent::new(cell, units?) }))
}

fn head(reader: &mut Reader, field: Field<'_>) -> Option<Vec<TrainLayer>> {
    if field.node.is_null() {
        return None;
    }
    let mut head = Vec::new();
    for item in reader.list(field, "layers such as { dense: 32, activation: relu }")? {
        let Some(fields) = reader.section(item, &HEAD) else { continue };
        let Some(kind) = reader.one_of(&fields, HEADS) else { continue };
        let activation = fields.get("activation");
        let layer = match kind.name {
            "dense" => dense(reader, kind, activation),
            "dropout" => share(reader, kind).map(TrainLayer::Dropout),
            _ => reader.word(kind, &[("true", TrainLayer::LayerNorm)], &[]),
        };
        if let Some(field) = activation.filter(|_| kind.name != "dense") {
            reader.problems.add(field.name_place, format!("`activation` is only for dense, not for {}", kind.name));
        }
        head.extend(layer);
    }
    Some(head)
}

fn length(reader: &mut Reader, fields: &Fields) -> Length {
    if fields.get("epochs").is_some() && fields.get("updates").is_some() {
        reader.one_of(fields, &["epochs", "updates"]);
    }
    let updates = fields.get("updates").and_then(|f| reader.count(f, 1, ANY)).map(Length::Updates);
    let epochs = fields.get("epochs").and_then(|f| reader.count(f, 1, ANY)).map(Length::Epochs);
    updates.or(epochs).unwrap_or(Length::Open)
}

fn split(reader: &mut Reader, fields: &Fields, mode: Mode) -> At<Split> {
    let default = match mode {
        Mode::Carry | Mode::Window => Split::PerKey(SHARES),
        Mode::Sequence => Split::ByKey(SHARES),
    };
    let default = At::default_value(default);
    let Some(field) = fields.get("split") else { return default };
    let Some(fields) = reader.section(field, &SPLIT) else { return default };
    let Some(kind) = reader.one_of(&fields, SPLITS) else { return default };
    let value = match kind.name {
        "per_key" => shares(reader, kind).map(Split::PerKey),
        "by_key" if kind.node.text().is_some() => {
            reader.word(kind, &[("hash", ())], &[]).map(|()| Split::ByKey(SHARES))
        }
        "by_key" => shares(reader, kind).map(Split::ByKey),
        "at" => instants(reader, kind),
        "rows" => rows(reader, kind),
        "last" => reader.count(kind, 1, ANY).map(Split::Last),
        _ => reader.text(kind, "a column").map(|column| Split::Column(column.value)),
    };
    value.map_or(default, |value| kind.at(value))
}

fn exactly<'a, const N: usize>(reader: &mut Reader, field: Field<'a>, what: &str) -> Option<[Field<'a>; N]> {
    let items = reader.list(field, what)?;
    let found = items.len();
    match items.try_into() {
        Ok(items) => Some(items),
        Err(_) => reader.wrong(field, format_args!("expected {N} {what}, found {found}")),
    }
}

fn shares(reader: &mut Reader, field: Field<'_>) -> Option<[f64; 3]> {
    let items = exactly::<3>(reader, field, "shares (train, validation, test)")?;
    let shares = items.map(|item| reader.number(item, "a share from 0 to 1", |n| (0.0..=1.0).contains(&n)));
    let [Some(train), Some(validation), Some(test)] = shares else { return None };
    if train == 0.0 {
        return reader.wrong(items[0], "nothing is left to train on");
    }
    let sum = train + validation + test;
    // 0.7 + 0.2 + 0.1 is a little off 1 in binary.
    if sum > 1.0 + 1e-9 {
        return reader.wrong(field, format_args!("the shares add up to {sum:.4}, more than 1"));
    }
    Some([train, validation, test])
}

fn instants(reader: &mut Reader, field: Field<'_>) -> Option<Split> {
    let items = exactly::<2>(reader, field, "times (where validation starts, where test starts)")?;
    let moments: [Option<At<Moment>>; 2] = items.map(|item| reader.moment(item));
    let [Some(validation), Some(test)] = moments else { return None };
    match test.is_before(validation.value) {
        Some(false) => Some(Split::At([validation.value, test.value])),
        Some(true) => reader.wrong(items[1], "test can't start before validation"),
        None => reader.wrong(items[1], "one is a time and the other an integer step"),
    }
}

fn rows(reader: &mut Reader, field: Field<'_>) -> Option<Split> {
    let items = exactly::<3>(reader, field, "numbers of rows (train, validation, test)")?;
    let counts = [reader.count(items[0], 1, ANY), reader.count(items[1], 0, ANY), reader.count(items[2], 0, ANY)];
    let [Some(train), Some(validation), Some(test)] = counts else { return None };
    Some(Split::Rows([train, validation, test]))
}
