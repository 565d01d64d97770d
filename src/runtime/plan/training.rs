//! What `kolk train` needs: the chain up to the network's inputs, and the training plan.

use crate::config::{At, Infer, Key, Per, Pipeline, Split, Train};
use crate::error::Problems;
use crate::record::{Kind, Layout};
use crate::stage::{self, infer::Inputs};
use crate::train;

/// The chain up to the network, and the training plan.
pub(super) fn before_network(
    pipeline: &Pipeline,
    train: &At<Train>,
    infer: &At<&Infer>,
    source: &Layout,
    problems: &mut Problems,
) -> Option<(stage::PlannedStages, train::Plan)> {
    let mut chain = stage::chain(&stage::before_infer(pipeline), source.clone(), problems);
    let layout = &chain.layout;
    let lags: Vec<String> =
        layout.columns.iter().filter(|column| column.lag_of.is_some()).map(|column| column.name.clone()).collect();
    stage::infer::check_spans(infer.value, &layout.clock, problems);
    let mut plan = train::Plan::new(train, Some(infer.value), &lags, &layout.clock, layout.interval, problems);
    for column in plan.iter_mut().flat_map(|plan| &mut plan.columns) {
        let lag_of = layout.find(column).and_then(|index| layout.columns[index].lag_of);
        if let Some(index) = lag_of {
            column.clone_from(&layout.columns[index].name);
        }
    }
    let used = plan.as_ref().is_none_or(|plan| plan.inputs.iter().any(|input| lags.contains(&input.column)));
    if !lags.is_empty() && !used {
        problems.add(train.place, "the lags are not used: name them in `inputs`, or set `skip: linear`");
    }
    let head = train::head::head(train);
    for target in &train.targets {
        let found = match head.is_text() {
            true => layout.find(target).ok_or_else(|| layout.unknown(target)),
            false if head.is_beside_values() => numeric(layout, target),
            false => layout.number(target),
        };
        if let Err(message) = found {
            problems.add(target.place, message);
        }
    }
    for input in &train.inputs {
        if let Err(message) = layout.number(input) {
            problems.add(input.place, message);
        }
    }
    for column in &train.known_ahead {
        let horizon = train.horizon;
        let message = match layout.find(column).map(|at| &layout.columns[at].kind) {
            Some(Kind::Vector(width)) if *width == horizon => continue,
            Some(Kind::Vector(width)) => format!(
                "known_ahead: the vectors of \"{}\" have {width} numbers, but the horizon is {horizon}: each has one for \
                 each of the next {horizon} rows",
                column.value
            ),
            Some(_) => format!(
                "known_ahead: \"{}\" is no vector: a record has to know its value at each of the next {horizon} rows, as a \
                 list of {horizon} numbers; name it in `record: {{ vectors: {{ {}: {horizon} }} }}`",
                column.value, column.value
            ),
            None => format!("known_ahead: {}", layout.unknown(column)),
        };
        problems.add(column.place, message);
    }
    for column in train.embeddings.iter().filter_map(|embedding| embedding.column.as_ref()) {
        if let Err(message) = layout.find(column).ok_or_else(|| layout.unknown(column)) {
            problems.add(column.place, format!("{message} (a resample stage keeps only the record's values)"));
        }
    }
    if let Some(Per::Column(column)) = &train.per
        && let Err(message) = is_per_key(layout, column)
    {
        problems.add(column.place, format!("per: {message}"));
    }
    if let (Split::Column(_), Key::Melted(_)) = (&train.split.value, &pipeline.record.key) {
        problems.add(train.split.place, "columns_as_keys has no further columns to split by");
    }
    let mut plan = plan.filter(|_| problems.is_empty())?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    plan.threads = pipeline.runtime.workers.min(cores);
    let inputs = Inputs::of(plan.inputs.clone(), infer.gap.clone(), infer.ttl.clone());
    let step = stage::Step { place: train.place, operator: Box::new(inputs) };
    let last = stage::chain(&[step], chain.layout, problems);
    chain.stages.extend(last.stages);
    chain.layout = last.layout;
    problems.is_empty().then_some((chain, plan))
}

/// The index of a column of numbers, also of one beside the record's values.
fn numeric(layout: &Layout, name: &str) -> Result<usize, String> {
    let index = layout.find(name).ok_or_else(|| layout.unknown(name))?;
    match &layout.columns[index].kind {
        Kind::Number => Ok(index),
        Kind::Passthrough(kind) if kind.is_numeric() => Ok(index),
        other => Err(format!("column \"{name}\" is not numeric here: {other:?}")),
    }
}

/// Whether a column can tell which network a row has: as the source has it.
fn is_per_key(layout: &Layout, column: &str) -> Result<(), String> {
    let lost =
        |message| format!("{message} (a resample stage keeps only the record's values: `per: key` needs no column)");
    let found = layout.find(column).ok_or_else(|| lost(layout.unknown(column)))?;
    let found = &layout.columns[found];
    if let Some(stage) = found.computed.map(|(stage, _)| stage).or(found.scaled_by.map(|_| "scale")) {
        return Err(format!("\"{column}\" tells which network a row has, and `{stage}` would change it"));
    }
    match found.kind {
        Kind::Vector(_) | Kind::Doubles(_) | Kind::Samples | Kind::Time => {
            Err(format!("column \"{column}\" must hold text, integers or booleans"))
        }
        _ => Ok(()),
    }
}
