//! The operators under `stages:`.

use chrono_tz::Tz;

use super::read::{Field, Fields, Reader};
use super::words::{Words, name_fault, unknown};
use super::{Aggregate, At, Calendar, CalendarFeature, Fill, Filter, Infer, Lags, Mode, Resample, Scale, Score};
use super::{Span, Stage, one_line};
use crate::error::did_you_mean;

const STAGES: Words = Words::new("`stages`", &["filter", "resample", "calendar", "scale", "lags", "infer", "score"]);
const FILTER: Words = Words::new("`filter`", &["where"]);
const RESAMPLE: Words = Words::new("`resample`", &["every", "aggregate", "fill", "max_gap", "delay"]);
const CALENDAR: Words = Words::new("`calendar`", &["features", "timezone"]);
const SCALE: Words = Words::new("`scale`", &["values", "half_life", "min_count"]);
const INFER: Words =
    Words::new("`infer`", &["model", "mode", "window", "ttl", "gap"]).later(&["inputs", "states", "layout", "output"]);
const SCORE: Words = Words::new("`score`", &["actual", "step", "tail", "long", "short"]);

/// All of the above, for the test of the reference.
#[cfg(test)]
pub(super) const WORDS: [Words; 7] = [STAGES, FILTER, RESAMPLE, CALENDAR, SCALE, INFER, SCORE];

/// Rows of a ring per key at most: windows, lags, windows of residuals.
const MAX_RING: usize = 1 << 20;

/// Reads `stages`.
pub(super) fn stages(reader: &mut Reader, field: Field<'_>) -> Option<Vec<At<Stage>>> {
    if field.node.is_null() {
        return None;
    }
    let mut stages = Vec::new();
    for item in reader.list(field, "stages")? {
        let Some(names) = reader.names(item, "a stage such as `scale: { … }`") else { continue };
        let [stage] = names[..] else {
            reader.note(item, "expected one stage behind each dash");
            continue;
        };
        stages.extend(self::stage(reader, stage));
    }
    Some(stages)
}

fn stage(reader: &mut Reader, field: Field<'_>) -> Option<At<Stage>> {
    let value = match field.name {
        "filter" => Stage::Filter(filter(reader, field)?),
        "resample" => Stage::Resample(resample(reader, field)?),
        "calendar" => Stage::Calendar(calendar(reader, field)?),
        "scale" => Stage::Scale(scale(reader, field)?),
        "lags" => Stage::Lags(lags(reader, field)?),
        "infer" => Stage::Infer(At { value: infer(reader, field), place: field.name_place }),
        "score" => Stage::Score(score(reader, field)?),
        name => {
            reader.problems.add(field.name_place, unknown("stage", name, &STAGES));
            return None;
        }
    };
    Some(At { value, place: field.name_place })
}

fn filter(reader: &mut Reader, field: Field<'_>) -> Option<Filter> {
    let fields = reader.section(field, &FILTER)?;
    let predicate = reader.need(&fields, "where")?;
    Some(Filter { predicate: reader.text(predicate, "a condition such as \"value > 0\"")? })
}

fn resample(reader: &mut Reader, field: Field<'_>) -> Option<Resample> {
    let fields = reader.section(field, &RESAMPLE)?;
    let every = reader.need(&fields, "every").and_then(|f| reader.span(f, false));
    let aggregates = [
        ("mean", Aggregate::Mean),
        ("sum", Aggregate::Sum),
        ("min", Aggregate::Min),
        ("max", Aggregate::Max),
        ("first", Aggregate::First),
        ("last", Aggregate::Last),
        ("count", Aggregate::Count),
    ];
    let fills = [("last", Fill::Last), ("linear", Fill::Linear), ("null", Fill::Null), ("zero", Fill::Zero)];
    let aggregate = fields.get("aggregate").and_then(|f| reader.word(f, &aggregates, &[]));
    let fill = fields.get("fill").and_then(|f| Some(f.at(reader.word(f, &fills, &[])?)));
    let max_gap = fields.get("max_gap").and_then(|f| reader.span(f, false));
    let delay = fields.get("delay").and_then(|f| reader.span(f, true));
    let every = every?;
    // No delay is said in the same unit as the width: steps for a time without a clock.
    let no_delay = if matches!(every.value, Span::Steps(_)) { Span::Steps(0) } else { Span::Nanos(0) };
    let delay = match delay {
        Some(delay) if !delay.is_zero() => delay,
        Some(delay) => At { value: no_delay, place: delay.place },
        None => At::default_value(no_delay),
    };
    Some(Resample { every, aggregate: aggregate.unwrap_or_default(), fill: fill.unwrap_or_default(), max_gap, delay })
}

fn calendar(reader: &mut Reader, field: Field<'_>) -> Option<Calendar> {
    let fields = reader.section(field, &CALENDAR)?;
    let words = [
        ("minute", CalendarFeature::Minute),
        ("hour", CalendarFeature::Hour),
        ("weekday", CalendarFeature::Weekday),
        ("day", CalendarFeature::Day),
        ("month", CalendarFeature::Month),
        ("yearday", CalendarFeature::Yearday),
    ];
    let mut features: Vec<At<CalendarFeature>> = Vec::new();
    if let Some(field) = reader.need(&fields, "features") {
        for item in reader.list(field, "features").unwrap_or_default() {
            let Some(feature) = reader.word(item, &words, &[]) else { continue };
            if features.iter().any(|other| other.value == feature) {
                reader.note(item, "is listed twice");
            } else {
                features.push(item.at(feature));
            }
        }
        reader.not_empty(field);
    }
    let timezone = match fields.get("timezone") {
        Some(field) => timezone(reader, field)?,
        None => At::default_value(Tz::UTC),
    };
    Some(Calendar { features, timezone })
}

fn timezone(reader: &mut Reader, field: Field<'_>) -> Option<At<Tz>> {
    let text = reader.text(field, "the IANA name of a time zone, such as America/New_York")?;
    match text.parse::<Tz>() {
        Ok(zone) => Some(field.at(zone)),
        Err(_) if !field.node.is_written() => reader.expected(field, "a time zone of the IANA list"),
        Err(_) => {
            let near = did_you_mean(&text, chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name()));
            reader.wrong(field, format_args!("\"{}\" is no time zone of the IANA list{near}", one_line(&text)))
        }
    }
}

fn scale(reader: &mut Reader, field: Field<'_>) -> Option<Scale> {
    let fields = reader.section(field, &SCALE)?;
    let values = reader.need(&fields, "values").and_then(|f| reader.some_texts(f, "columns"));
    let half_life = reader.need(&fields, "half_life").and_then(|f| reader.span(f, false));
    let min_count = fields.get("min_count").and_then(|f| reader.count(f, 1, usize::MAX));
    Some(Scale { values: values?, half_life: half_life?, min_count: min_count.map_or(24, |n| n as u64) })
}

fn lags(reader: &mut Reader, field: Field<'_>) -> Option<Lags> {
    let mut columns = Vec::new();
    for column in reader.names(field, "columns with their lags, such as `value: [1, 24]`")? {
        let mut lags: Vec<u32> = Vec::new();
        for item in reader.list(column, "lags in rows").unwrap_or_default() {
            let Some(lag) = reader.count(item, 1, MAX_RING).and_then(|n| u32::try_from(n).ok()) else { continue };
            if lags.contains(&lag) {
                reader.note(item, format_args!("{lag} is listed twice"));
            } else {
                lags.push(lag);
            }
        }
        reader.not_empty(column);
        lags.sort_unstable();
        columns.push((At { value: column.name.to_string(), place: column.name_place }, lags));
    }
    if columns.is_empty() {
        return reader.wrong(field, "names no column");
    }
    Some(Lags { columns })
}

/// Always a stage, so that whether there is one can be told however wrong it is.
fn infer(reader: &mut Reader, field: Field<'_>) -> Infer {
    let fields = reader.section(field, &INFER).unwrap_or(Fields::unread(INFER.section));
    let model = reader.need(&fields, "model").and_then(|f| model(reader, f));
    let modes = [("carry", Mode::Carry), ("window", Mode::Window)];
    let mode = fields.get("mode").map(|f| reader.word(f, &modes, &["sequence"]));
    let window = fields.get("window").map(|f| reader.count(f, 1, MAX_RING).map(|n| f.at(n)));
    let ttl = fields.get("ttl").and_then(|f| reader.span(f, false));
    let gap = fields.get("gap").and_then(|f| reader.span(f, false));
    // A mode that isn't one says nothing about the window.
    match (mode.unwrap_or(Some(Mode::Carry)), fields.get("window")) {
        (Some(Mode::Window), None) => {
            reader.problems.add(fields.place, "`infer` needs `window` in mode window: the rows of a window");
        }
        (Some(Mode::Carry), Some(window)) => {
            reader.problems.add(window.name_place, "`window` is only for mode window, this is mode carry");
        }
        _ => {}
    }
    let mode = mode.flatten().unwrap_or_default();
    Infer { model: model.unwrap_or_default(), mode, window: window.flatten(), ttl, gap }
}

/// `name` or `name/3`.
fn model(reader: &mut Reader, field: Field<'_>) -> Option<At<String>> {
    let text = reader.text(field, "a model: `name`, or `name/3` for a version")?;
    let (name, version) = match text.split_once('/') {
        Some((name, version)) => (name, Some(version)),
        None => (text.as_str(), None),
    };
    if let Some(fault) = name_fault(name) {
        return reader.wrong(field, fault);
    }
    if version.is_some_and(|version| !version.parse::<u32>().is_ok_and(|n| n > 0 && n.to_string() == version)) {
        return reader.expected(field, "a version behind /, a whole number from 1");
    }
    Some(text)
}

/// Which column is scored is known only with the model: empty stands for its only target.
fn score(reader: &mut Reader, field: Field<'_>) -> Option<Score> {
    let fields = reader.section(field, &SCORE)?;
    let actual = fields.get("actual").and_then(|f| reader.text(f, "a column"));
    let step = fields.get("step").and_then(|f| Some(f.at(reader.count(f, 1, MAX_RING)?)));
    let tail = fields
        .get("tail")
        .and_then(|f| reader.number(f, "a probability above 0 and below 0.5", |tail| tail > 0.0 && tail < 0.5));
    let long = fields.get("long").and_then(|f| reader.count(f, 2, MAX_RING)).unwrap_or(4000);
    let short = fields.get("short").and_then(|f| reader.count(f, 1, MAX_RING)).unwrap_or(10);
    if short > long {
        let written = fields.get("short").or(fields.get("long"));
        let place = written.map_or(fields.place, |field| field.place());
        reader.problems.add(place, format_args!("`short` ({short}) must not be more than `long` ({long})"));
    }
    Some(Score {
        actual: actual.unwrap_or_default(),
        step: step.unwrap_or(At::default_value(1)),
        tail: tail.unwrap_or(0.001),
        long,
        short,
    })
}
