//! What `train` teaches: numbers or classes, and the words that only some tasks have.
//!
//! Lives here: `task`, `pool`, `classes`, `class_weights`, `sample_weight`, `tokens`, and what of `train` doesn't go
//! with a task or a mode, each with the reason. Must not live here: the other fields of `train`.

use super::read::{Field, Fields, Reader};
use super::words::word_of;
use super::{At, ClassWeights, Mode, Pooling, Task, Tokens, TrainLayer};

pub(super) const TASKS: [(&str, Task); 5] = [
    ("forecast", Task::Forecast),
    ("value", Task::Value),
    ("classify", Task::Classify),
    ("label", Task::Label),
    ("ctc", Task::Ctc),
];
pub(super) const POOLS: [(&str, Pooling); 2] = [("last", Pooling::Last), ("mean", Pooling::Mean)];
pub(super) const TOKENS: [(&str, Tokens); 2] = [("chars", Tokens::Chars), ("words", Tokens::Words)];
/// Losses of classes.
pub(super) const CROSS_ENTROPIES: [(&str, bool); 2] = [("cross_entropy", false), ("binary_cross_entropy", true)];

/// What is taught, as far as it isn't the same for every task.
#[derive(Debug, Clone, Default)]
pub(super) struct Taught {
    pub task: Task,
    pub pool: Option<Pooling>,
    pub two_classes: bool,
    pub classes: Vec<String>,
    pub class_weights: ClassWeights,
    pub sample_weight: Option<At<String>>,
    pub tokens: Tokens,
}

/// Reads the task and its words. Whatever doesn't go with the task or with the mode of `infer` is a problem.
pub(super) fn taught(reader: &mut Reader, fields: &Fields, mode: Mode, layers: &[At<TrainLayer>]) -> Taught {
    let task = task(reader, fields, mode);
    let pool = fields.get("pool").and_then(|field| reader.word(field, &POOLS, &[]));
    refuse_words(reader, fields, task, mode);
    let both = |layer: &&At<TrainLayer>| matches!(layer.value, TrainLayer::Recurrent(layer) if layer.bidirectional);
    for layer in layers.iter().filter(both).filter(|_| mode == Mode::Carry) {
        reader.problems.add(
            layer.place,
            "a layer in both directions needs the records that come after the present one: only in modes window and \
             sequence, `infer` is in mode carry",
        );
    }
    // The graph of a cell without an operator of its own takes no lengths, and runs forward only.
    for layer in layers {
        let TrainLayer::Recurrent(own) = layer.value else { continue };
        let is_of_rows = mode != Mode::Sequence && pool.is_none() && !own.bidirectional;
        if own.cell.form().operator().is_none() && !is_of_rows {
            let message = format!(
                "`{}` runs over rows in one direction, in modes carry and window and without `pool`: for whole sequences \
                 take `lstm` or `gru`",
                own.cell.form().words[0]
            );
            reader.problems.add(layer.place, message);
        }
    }
    let of_numbers = matches!(task, Task::Forecast | Task::Value);
    let two_classes = fields.get("loss").filter(|_| !of_numbers).and_then(|field| match task {
        Task::Ctc => reader.wrong(field, "the task ctc has a loss of its own, leave `loss` out"),
        _ => reader.word(field, &CROSS_ENTROPIES, &[]),
    });
    Taught {
        task,
        pool,
        two_classes: two_classes.unwrap_or_default(),
        classes: fields.get("classes").and_then(|field| classes(reader, field)).unwrap_or_default(),
        class_weights: fields.get("class_weights").and_then(|f| class_weights(reader, f)).unwrap_or_default(),
        sample_weight: fields.get("sample_weight").and_then(|field| reader.text(field, "a column")),
        tokens: fields.get("tokens").and_then(|f| reader.word(f, &TOKENS, &[])).unwrap_or_default(),
    }
}

fn task(reader: &mut Reader, fields: &Fields, mode: Mode) -> Task {
    let default = if mode == Mode::Sequence { Task::Classify } else { Task::Forecast };
    let Some(field) = fields.get("task") else { return default };
    let Some(task) = reader.word(field, &TASKS, &[]) else { return default };
    let reason = match (task, mode) {
        (Task::Forecast, Mode::Sequence) => {
            "mode sequence has one answer at the end of a sequence: `task: value` for a number, `task: classify` for a class"
        }
        (Task::Label, Mode::Sequence) => {
            "`label` is one class for each record, and mode sequence has one answer at the end of a sequence: \
             `task: classify`, or `mode: carry`"
        }
        (Task::Value, Mode::Carry | Mode::Window) => {
            "`value` is numbers of each sequence and needs `mode: sequence` under `infer`; numbers of the next rows are \
             `task: forecast`"
        }
        (Task::Classify, Mode::Carry | Mode::Window) => {
            "`classify` is one class for each sequence and needs `mode: sequence` under `infer`; one for each record is \
             `task: label`"
        }
        (Task::Ctc, Mode::Window) => {
            "`ctc` is one transcript for each sequence and needs `mode: sequence` or `mode: carry` under `infer`"
        }
        _ => return task,
    };
    reader.note(field, reason);
    task
}

/// Words that say nothing with this task or mode.
fn refuse_words(reader: &mut Reader, fields: &Fields, task: Task, mode: Mode) {
    let word = word_of(&TASKS, task);
    let mut refuse = |names: &[&'static str], why: &str| {
        for field in names.iter().filter_map(|name| fields.get(name)) {
            reader.problems.add(field.name_place, format!("`{}` is not for `task: {word}`: {why}", field.name));
        }
    };
    if task != Task::Forecast {
        let own = "the target is that of the record or sequence itself, no number ahead";
        refuse(&["horizon", "residual", "skip", "lags", "seasonality"], own);
        if task != Task::Value {
            refuse(&["quantiles"], own);
            refuse(&["targets"], "it has one column, `target`");
        }
    }
    match task {
        Task::Forecast => {
            refuse(
                &["classes", "class_weights", "sample_weight", "pool", "tokens"],
                "only classes have it (`task: label`)",
            );
        }
        Task::Value => refuse(&["classes", "class_weights", "sample_weight", "tokens"], "only classes have it"),
        Task::Classify | Task::Label => refuse(&["tokens"], "only transcripts have it (`task: ctc`)"),
        Task::Ctc => {
            refuse(&["classes", "class_weights", "sample_weight"], "only classes have it");
            refuse(&["pool"], "a transcript is made of all steps");
        }
    }
    if let (Some(field), Mode::Carry, Task::Label) = (fields.get("pool"), mode, task) {
        let message = "`pool` is what is made of a whole sequence or window: only in modes window and sequence, `infer` \
                       is in mode carry";
        reader.problems.add(field.name_place, message);
    }
}

fn classes(reader: &mut Reader, field: Field<'_>) -> Option<Vec<String>> {
    let names: Vec<String> = reader.some_texts(field, "classes")?.into_iter().map(|name| name.value).collect();
    if names.len() < 2 {
        return reader.wrong(field, "there is nothing to tell apart: name at least two classes");
    }
    Some(names)
}

fn class_weights(reader: &mut Reader, field: Field<'_>) -> Option<ClassWeights> {
    if field.node.text().is_some() {
        return reader.word(field, &[("balanced", ())], &[]).map(|()| ClassWeights::Balanced);
    }
    let named = reader.names(field, "`balanced`, or a weight for each class by its name")?;
    let mut weights = Vec::new();
    for field in named {
        let weight = reader.number(field, "a number above 0", |number| number > 0.0)?;
        weights.push((field.name.to_string(), weight));
    }
    Some(ClassWeights::Named(weights))
}
