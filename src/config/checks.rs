//! What can be said of several sections together without opening anything.

use super::{Fill, Key, Location, Moment, Pipeline, Place, Problems, Sink, Stage, one_line};

/// Notes what doesn't fit together. Stand-ins of values that have been refused are empty: nothing is said of them.
pub(super) fn across(problems: &mut Problems, pipeline: &Pipeline) {
    source(problems, pipeline);
    record(problems, pipeline);
    stages(problems, pipeline);
    train(problems, pipeline);
    places_of_output(problems, pipeline);
}

fn source(problems: &mut Problems, pipeline: &Pipeline) {
    let source = &pipeline.source;
    let mut before = |first: (&str, Option<Moment>), second: &str, moment: Moment, place: Place| {
        let Some(other) = first.1 else { return };
        match other.is_before(moment) {
            Some(true) => {}
            Some(false) => problems.add(place, format_args!("`{second}` must be later than `{}`", first.0)),
            None => problems.add(place, format_args!("`{second}` and `{}`: one is a time, the other a step", first.0)),
        }
    };
    if let Some(until) = &source.until {
        before(("from", source.from.as_ref().map(|m| m.value)), "until", until.value, until.place);
        before(("emit_from", source.emit_from.as_ref().map(|m| m.value)), "until", until.value, until.place);
    }
}

fn record(problems: &mut Problems, pipeline: &Pipeline) {
    let record = &pipeline.record;
    let mut taken: Vec<(&str, &str)> = Vec::new();
    if !record.time.column.is_empty() {
        taken.push((&record.time.column, "the time"));
    }
    if let Key::Column(key) = &record.key
        && !key.is_empty()
    {
        if taken.iter().any(|(column, _)| *column == key.value) {
            problems.add(key.place, format_args!("column \"{}\" is the time already", one_line(key)));
        }
        taken.push((key, "the key"));
    }
    let melted: &[_] = if let Key::Melted(columns) = &record.key { columns } else { &[] };
    for column in record.values.iter().chain(melted) {
        if let Some((_, what)) = taken.iter().find(|(name, _)| *name == column.value) {
            problems.add(column.place, format_args!("column \"{}\" is {what} already", one_line(column)));
        }
    }
}

fn stages(problems: &mut Problems, pipeline: &Pipeline) {
    let mut resample: Option<Place> = None;
    let mut infer: Option<Place> = None;
    let infer_comes = |from: usize| pipeline.stages[from..].iter().any(|s| matches!(s.value, Stage::Infer(_)));
    for (i, stage) in pipeline.stages.iter().enumerate() {
        match &stage.value {
            Stage::Resample(it) => {
                if let Some(first) = resample.replace(stage.place) {
                    problems.add(stage.place, format_args!("a second `resample`, the first is in line {}", first.line));
                }
                let covered = it.max_gap.as_ref().is_some_and(|gap| it.delay.covers(gap.value));
                if it.fill.value == Fill::Linear && !covered && infer_comes(i) {
                    problems.add(
                        it.fill.place,
                        "`fill: linear` looks ahead: before `infer` it needs `max_gap`, and a `delay` at least as long",
                    );
                }
            }
            Stage::Infer(_) => {
                if let Some(first) = infer.replace(stage.place) {
                    problems.add(stage.place, format_args!("a second `infer`, the first is in line {}", first.line));
                }
            }
            Stage::Score(score) => {
                if infer.is_none() {
                    problems.add(stage.place, "`score` needs an `infer` before it");
                }
                let horizon = pipeline.train.as_ref().map(|train| train.horizon);
                if let Some(horizon) = horizon.filter(|horizon| score.step.value > *horizon) {
                    let message = format!("`step` is {}, but the horizon is {horizon}", score.step.value);
                    problems.add(score.step.place, message);
                }
            }
            Stage::Filter(_) | Stage::Calendar(_) | Stage::Scale(_) | Stage::Lags(_) => {}
        }
    }
}

fn train(problems: &mut Problems, pipeline: &Pipeline) {
    if let (Some(train), None) = (&pipeline.train, pipeline.infer()) {
        problems.add(train.place, "`train` needs an `infer` under `stages`: it names the model, its mode and window");
    }
}

/// Output within what is read would be read by the next run.
fn places_of_output(problems: &mut Problems, pipeline: &Pipeline) {
    let Some(Sink::Parquet { path, .. }) = pipeline.sink.as_ref().map(|sink| &sink.value) else { return };
    let same = |a: &Location, b: &Location| !a.0.is_empty() && a == b;
    if pipeline.source.path().is_some_and(|source| same(source, path)) {
        problems.add(path.place, "the sink is the source: output would be read as input by the next run");
    }
    if same(&pipeline.state.path, path) || pipeline.dead_letters.folder().is_some_and(|letters| same(letters, path)) {
        problems.add(path.place, "output, state and dead letters need a folder each");
    }
}
