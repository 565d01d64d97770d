//! The table of the section `train`.

use std::sync::LazyLock;

use super::backtest::BACKTEST;
use super::effective::{Written, value};
use super::embeddings::EMBEDDING;
use super::optimizer::{FLAGS, OPTIMIZERS, RATE_SCHEDULE};
use super::patch::{DECODERS, SUBTRACTS};
use super::table::{Bound, Shape, Word, names, word};
use super::task::{POOLS, TASKS, TOKENS};
use super::train::{ACTIVATIONS, AUTO, MAX_HORIZON, MAX_SEEDS, MAX_UNITS, REFITS, SKIPS};
use super::train_data::DATA;
use super::words::{Choice, Words, at_most_one, exactly_one};
use super::yaml::{Kind, Node};
use crate::kernel::{self, CellKind};

const HORIZON: Shape = Shape::Integer(1, MAX_HORIZON as i64);
const UNITS: Shape = Shape::Integer(1, MAX_UNITS as i64);
const ACTIVATION: Shape = Shape::Word(&names(&ACTIVATIONS));
const SHARE: Shape = Shape::Number(Bound::Closed(0.0), Bound::Closed(1.0));

pub(super) const TRAIN: Words = Words::new(
    "`train`",
    &[
        word("inputs", Shape::Texts, "Columns that are the inputs of the network; the record's values by default")
            .or_from(|file| file.whole(&["record", "values"]).cloned().or_else(|| value("[value]"))),
        word(
            "known_ahead",
            Shape::SomeTexts,
            "Vector columns with what is known about each of the next rows up to the horizon, the next one first",
        ),
        word(
            "embeddings",
            Shape::List(&Shape::Section(&EMBEDDING)),
            "Columns of text or ids, and the key, whose vectors are learned, such as { column: region, size: 4 }",
        )
        .or("[]"),
        word("per", Shape::Text, "Column, or key: a network of its own for the keys of each of its values"),
        word(
            "task",
            Shape::Word(&names(&TASKS)),
            "What is taught: numbers ahead, numbers (value) or the class (classify) of each sequence, the class of each record \
             (label), or transcripts",
        )
        .or_from(|file| value(if in_mode(file, "sequence") { "classify" } else { "forecast" })),
        word("target", Shape::Text, "The column that is forecast, or that holds the numbers, classes or transcripts"),
        word("targets", Shape::SomeTexts, "The columns that are forecast"),
        word("horizon", HORIZON, "Number of steps ahead; one output for each").or_from(|file| of_numbers(file, "1")),
        word(
            "residual",
            Shape::Any(&[Shape::Word(&["none", "last"]), Shape::Pattern(r"^\s*(none|last|seasonal\s*\(.*\))\s*$")]),
            "What is added to the network's output: nothing, the target's last value, or with seasonal(24) the target \
             whole seasons of 24 rows earlier",
        )
        .or_from(|file| of_numbers(file, "none")),
        word(
            "skip",
            Shape::Word(&names(&SKIPS)),
            "A linear path from the inputs to the output: ridge, fitted in closed form on lags of the target and the \
             inputs; linear, learned with the network; none",
        )
        .or_from(|file| of_numbers(file, if in_carry(file) { "ridge" } else { "none" })),
        word("lags", HORIZON, "Rows of the target that `skip: ridge` reads; by default as many as do best"),
        word(
            "layers",
            Shape::Any(&[Shape::Word(&[AUTO]), Shape::Some(&Shape::Made(layers))]),
            "Layers, such as { lstm: 50 }; auto: those of a short list that are best on the validation part",
        )
        .or("[{ gru: 64 }]"),
        word(
            "head",
            Shape::List(&Shape::Section(&HEAD)),
            "Layers before the last linear one, such as { dense: 32, activation: relu }",
        )
        .or("[]"),
        word("chunk", Shape::POSITIVE, "Length of truncated backpropagation, 64 by default; only in mode carry")
            .or_from(|file| of_lanes(file, "64")),
        word("burn_in", Shape::COUNT, "Steps at the start of a lane that don't count in the loss; only in mode carry")
            .or_from(|file| of_lanes(file, "0")),
        word(
            "loss",
            Shape::Any(&[
                Shape::Word(&["mse", "mae", "huber", "smape", "msle", "cross_entropy", "binary_cross_entropy"]),
                Shape::Pattern(r"^\s*(mse|mae|smape|msle|huber\s*(\(.*\))?)\s*$"),
            ]),
            "mse, mae, or huber, which becomes linear at 1, with huber(0.5) at 0.5; smape or msle, in the target's own \
             units; of classes cross_entropy",
        )
        .or_from(|file| file.near(0, "quantiles").is_none().then(|| of_numbers(file, "mse").or_else(|| of_values(file, "mse"))).flatten()),
        word(
            "quantiles",
            Shape::Some(&Shape::Number(Bound::Open(0.0), Bound::Open(1.0))),
            "Quantiles that are forecast, such as [0.1, 0.9], beside the median",
        ),
        word("optimizer", OPTIMIZERS, "The optimizer").or("{ adam: {} }"),
        word(
            "schedule",
            RATE_SCHEDULE,
            "What becomes of the step size: it stays, falls along a cosine to zero at the end, or in steps",
        )
        .or("constant"),
        word("warm_up", Shape::COUNT, "Updates over which the step size rises from zero").or("0"),
        word(
            "pool",
            Shape::Word(&names(&POOLS)),
            "What is made of a sequence or window: the state after its last step, or the mean of its steps",
        ),
        word(
            "classes",
            Shape::SomeTexts,
            "The classes in the order of the outputs; by default those of the train part, sorted",
        ),
        word(
            "class_weights",
            Shape::Any(&[Shape::Word(&["balanced"]), Shape::Names(&Shape::ABOVE_ZERO)]),
            "What the classes weigh in the loss: balanced, or a weight by name; by default all the same",
        ),
        word("sample_weight", Shape::Text, "Column that says what an example weighs in the loss"),
        word("tokens", Shape::Word(&names(&TOKENS)), "What a transcript consists of; only for ctc"),
        word("input_noise", Shape::FROM_ZERO, "Noise that is added to inputs while learning, in standard deviations")
            .or("0"),
        word("l1", Shape::FROM_ZERO, "What the sum of the kernels' absolute values counts in the loss").or("0"),
        word("l2", Shape::FROM_ZERO, "What the sum of the kernels' squares counts in the loss").or("0"),
        word("clip_norm", Shape::ABOVE_ZERO, "Gradients are scaled down to this global norm; by default they are not"),
        word("epochs", Shape::POSITIVE, "Length of the training in passes over the data"),
        word("updates", Shape::POSITIVE, "Length of the training in steps of the optimizer"),
        word("patience", Shape::POSITIVE, "Epochs (or updates) without improvement after which training stops"),
        word(
            "ema",
            Shape::BELOW_ONE,
            "Decay of a moving average of the weights, which is looked at and kept; without a length 0.99, else 0",
        )
        .or_from(|file| value(if has_length(file) { "0" } else { "0.99" })),
        word(
            "max_time",
            Shape::Span { zero: false },
            "How long it may train, by the clock, such as 10m; by default that is open",
        ),
        word("batch_size", Shape::POSITIVE, "Examples (mode window) or lanes (mode carry) per update").or("32"),
        word("seed", Shape::COUNT, "Seed of all random numbers").or("7"),
        word(
            "seeds",
            Shape::Integer(1, MAX_SEEDS as i64),
            "Networks that are trained with this many seeds, from `seed` on; the model is the mean of their outputs",
        )
        .or("1"),
        word("patch", HORIZON, "Rows of a window that are one input of the network; only in mode window").or("1"),
        word(
            "decoder",
            Shape::Word(&names(&DECODERS)),
            "How the horizon is made of the state after a window in patches: at once, or patch by patch",
        )
        .or("dense"),
        word(
            "subtract",
            Shape::Word(&names(&SUBTRACTS)),
            "last: the layers get what the target differs by from its last value in the window; needs `patch`",
        )
        .or("none"),
        word("seasonality", HORIZON, "Rows of a season, for the seasonal naive forecast"),
        word("split", Shape::Section(&SPLIT), "How time is split into train, validation and test").or_from(|file| {
            match in_mode(file, "sequence") || is_ctc(file) {
                true => value("{ by_key: [0.7, 0.15, 0.15] }"),
                false => value("{ per_key: [0.7, 0.15, 0.15] }"),
            }
        }),
        word("refit", Shape::Word(&names(&REFITS)), "best_epochs: after evaluation, train on all data, then publish")
            .or("none"),
        word(
            "backtest",
            Shape::Section(&BACKTEST),
            "Judges the network on successive pieces of the test part, each after training on what lies before it",
        ),
        word("data", Shape::Section(&DATA), "The range of a topic that is trained on; only of a Kafka source"),
        word(
            "memory",
            Shape::Pattern(r"^\s*[0-9]+(\.[0-9]+)?\s*(MB|GB|TB)\s*$"),
            "Memory for the rows, such as 2GB; what is beyond it is in files. By default half of what is free",
        ),
    ],
)
.choices(&[exactly_one(&["target", "targets"]), at_most_one(&["epochs", "updates"])])
.elsewhere(&[("window", "write it under `infer`, for training and serving alike")]);

const BIDIRECTIONAL: Word =
    word("bidirectional", Shape::Word(&names(&FLAGS)), "Whether it runs in both directions of time")
        .or_from(|file| of_recurrent(file, "false"));

/// The cells, each by its words, and what a layer may have beside one.
static LAYERS: LazyLock<Words> = LazyLock::new(|| {
    let cells: &[&str] = kernel::words().leak();
    let mut fields: Vec<Word> = cells.iter().map(|cell| word(cell, UNITS, "A layer of so many units")).collect();
    fields.extend([
        DENSE,
        DROPOUT,
        LAYER_NORM,
        word("activation", ACTIVATION, "Of simple_rnn (tanh by default) or dense (linear)").or_from(activation),
        word(
            "recurrent_dropout",
            Shape::BELOW_ONE,
            "Share of the hidden state that the next step of training doesn't see",
        )
        .or_from(|file| of_recurrent(file, "0")),
        BIDIRECTIONAL,
    ]);
    let kinds: Vec<&'static str> = cells.iter().chain(HEADS).copied().collect();
    let choices: &[Choice] = vec![exactly_one(kinds.leak())].leak();
    Words::new("`layers`", fields.leak()).choices(choices)
});

/// Whether the pipeline's `infer` carries state.
fn in_carry(file: &Written<'_>) -> bool {
    !in_mode(file, "window") && !in_mode(file, "sequence")
}

/// Whether the pipeline's `infer` is in a mode.
fn in_mode(file: &Written<'_>, word: &str) -> bool {
    let stages = file.whole(&["stages"]).map(|stages| &stages.kind);
    let Some(Kind::List(stages)) = stages else { return false };
    let mode = stages.iter().find_map(|stage| stage.get("infer")?.get("mode")?.text());
    mode == Some(word)
}

/// A default that only numbers have.
fn of_numbers(file: &Written<'_>, text: &str) -> Option<Node> {
    let task = file.near(0, "task").and_then(Node::text);
    let forecast = task.map_or_else(|| !in_mode(file, "sequence"), |task| task == "forecast");
    forecast.then(|| value(text)).flatten()
}

/// A default that numbers of sequences have too.
fn of_values(file: &Written<'_>, text: &str) -> Option<Node> {
    (file.near(0, "task").and_then(Node::text) == Some("value")).then(|| value(text)).flatten()
}

/// A default that only lanes have: mode carry but for transcripts, which are learned from whole sequences.
fn of_lanes(file: &Written<'_>, text: &str) -> Option<Node> {
    (in_carry(file) && !is_ctc(file)).then(|| value(text)).flatten()
}

/// Whether transcripts are taught.
fn is_ctc(file: &Written<'_>) -> bool {
    file.near(0, "task").and_then(Node::text) == Some("ctc")
}

/// Whether the length of the training is written.
fn has_length(file: &Written<'_>) -> bool {
    ["epochs", "updates"].iter().any(|word| file.whole(&["train", word]).is_some())
}

/// Those of the first activation of a cell that has several, and of a dense layer.
fn activation(file: &Written<'_>) -> Option<Node> {
    if file.near(0, "dense").is_some() {
        return value("linear");
    }
    let has = |kind: &&CellKind| kind.form().words.iter().any(|word| file.near(0, word).is_some());
    let activation = CellKind::ALL.iter().find(has)?.form().activation?;
    value(activation.word())
}

/// A default that only recurrent layers have.
fn of_recurrent(file: &Written<'_>, text: &str) -> Option<Node> {
    kernel::words().iter().any(|cell| file.near(0, cell).is_some()).then(|| value(text)).flatten()
}

/// A layer.
pub(super) fn layers() -> &'static Words {
    &LAYERS
}

pub(super) const HEAD: Words = Words::new(
    "`head`",
    &[
        DENSE,
        DROPOUT,
        LAYER_NORM,
        word("activation", ACTIVATION, "Of a dense layer; linear by default").or_from(activation),
    ],
)
.choices(&[exactly_one(HEADS)]);
/// The layers of `head`, which `layers` may have too.
pub(super) const HEADS: &[&str] = &["dense", "dropout", "layer_norm"];
/// What a layer of `layers` may have beside its kind.
pub(super) const LAYER_OPTIONS: &[&str] = &["activation", "recurrent_dropout", "bidirectional"];
const DENSE: Word = word("dense", UNITS, "A dense layer of so many units");
const DROPOUT: Word = word("dropout", Shape::BELOW_ONE, "Share of numbers that the next layer doesn't see in training");
const LAYER_NORM: Word = word("layer_norm", Shape::Word(&["true"]), "Normalises the numbers of each step");
pub(super) const SPLIT: Words = Words::new(
    "`split`",
    &[
        word("per_key", Shape::Exactly(3, &SHARE), "Shares of each key's rows: train, validation, test"),
        word(
            "by_key",
            Shape::Any(&[Shape::Word(&["hash"]), Shape::Exactly(3, &SHARE)]),
            "Shares of the keys, by a hash of the key; `hash`: 0.7, 0.15, 0.15",
        ),
        word("at", Shape::Exactly(2, &Shape::Moment), "Start of validation, start of test"),
        word("rows", Shape::Exactly(3, &Shape::COUNT), "Numbers of rows of each key; later rows are not used"),
        word("last", Shape::POSITIVE, "The last n rows of each key are test, the n rows before them validation"),
        word("column", Shape::Text, "A text column with `train`, `validation` or `test`"),
    ],
)
.choices(&[exactly_one(SPLITS)]);
pub(super) const SPLITS: &[&str] = &["per_key", "by_key", "at", "rows", "last", "column"];
