//! What a sample of the source says about the pipeline before anything is processed: records that would be refused,
//! columns that never come, times that are not plausible.
//!
//! Lives here: what is looked for, and how it is said. Must not live here: reading the sample (`kafka::sample`, the
//! readers of files). A sample is no proof: all of this are warnings.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike, TimeDelta, Utc};
use serde_json::Value;

use super::Files;
use crate::config::{Envelope, EpochUnit, Format, KafkaSource, Key, KeyFormat, OnNull, Pipeline};
use crate::error::{counted, did_you_mean, printable};
use crate::format::{self, key_guess};
use crate::kafka::sample::Sample;
use crate::record::{Layout, Records};

/// A time later than this from now is not plausible.
const AHEAD: TimeDelta = TimeDelta::days(3653);
/// Nor is one from 1970 until this year: that is what a wrong unit, or a zero, looks like.
const FIRST_YEAR: i32 = 1980;
/// Names of fields that are remembered, and shown where none is near.
const NAMES: (usize, usize) = (2000, 12);
/// How deep nested fields are looked for.
const DEEPEST: usize = 6;

const UNITS: [(&str, i128); 4] = [("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000), ("ns", 1)];

/// What a sample of the topic says.
pub(super) fn of_topic(pipeline: &Pipeline, source: &KafkaSource, layout: &Layout, sample: &Sample) -> Vec<String> {
    let messages = sample.messages();
    let topic = source.topic.as_str();
    let mut said = Vec::new();
    said.extend(refused(pipeline, sample).map(|what| format!("{what}{}", other_format(source, sample))));
    let json = source.encoding.format.value == Format::Json;
    let envelope = source.encoding.envelope.as_ref().map(|envelope| envelope.value);
    let seen = if json { Seen::of(sample, envelope, &pipeline.record.time.column) } else { Seen::default() };
    let wanted = fields(pipeline, source, layout);
    said.extend(wanted.iter().filter_map(|name| seen.missing(name)));
    said.extend(wanted.iter().filter_map(|name| seen.alike(name)));
    let hidden = source.encoding.metadata.0.iter().filter(|(_, column)| seen.has(column));
    said.extend(hidden.map(|(of, column)| {
        let (name, word) = (printable(column), of.word());
        format!("field \"{name}\" is not read: with `metadata`, the column of this name is the {word}")
    }));
    let missing = |name: &str| seen.objects > 0 && !seen.has(name);
    let records: Vec<&Records> = sample.decoded().map(|decoded| &decoded.records).collect();
    said.extend(nulls(layout, &records).into_iter().filter(|(name, _)| !missing(name)).map(|(_, what)| what));
    let from_message = source.encoding.timestamp.as_ref().is_some_and(|name| name.value == layout.time_name);
    // What may have a fraction, or a schema of its own, says nothing by itself.
    let has_ticks = pipeline.record.time.unit.is_none_or(|unit| unit.fractional().is_none()) && envelope.is_none();
    let ticks: Vec<i64> = if seen.times.is_empty() || !has_ticks { times_of(&records) } else { seen.times };
    if !from_message {
        said.extend(implausible(pipeline, layout, &ticks, Utc::now()));
    }
    said.extend(keys(pipeline, source, sample));
    let last = if messages == 1 { "its last message".into() } else { format!("its last {messages} messages") };
    said.into_iter().map(|what| format!("topic {topic}, in {last}: {what}")).collect()
}

/// What the first records of files say.
pub fn of_files(pipeline: &Pipeline, files: &dyn Files) -> Vec<String> {
    // What can't be read is reported by the run.
    let Ok(Some(records)) = files.open(None).and_then(|mut reader| reader.next()) else { return Vec::new() };
    let layout = files.layout();
    let mut said = Vec::new();
    let bad = records.bad.len();
    if bad * 2 > records.len() {
        let (index, reason) = records.bad.first().copied().unwrap_or_default();
        let detail = records.details.iter().find(|(at, _)| *at == index).map(|(_, detail)| printable(detail));
        let detail = detail.map(|detail| format!(": {detail}")).unwrap_or_default();
        said.push(format!("{bad} of them would be refused, for example as {reason}{detail}"));
    }
    said.extend(nulls(layout, &[&records]).into_iter().map(|(_, what)| what));
    said.extend(implausible(pipeline, layout, &times_of(&[&records]), Utc::now()));
    let first = match records.len() {
        1 => "the first record".to_string(),
        count => format!("the first {count} records"),
    };
    said.into_iter().map(|what| format!("{first}: {what}")).collect()
}

/// How many would be refused and why, with an example.
fn refused(pipeline: &Pipeline, sample: &Sample) -> Option<String> {
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    let mut example = None;
    for (partition, decoded) in sample.partitions.iter().map(|(partition, (_, decoded))| (partition, decoded)) {
        let records = &decoded.records;
        // What a delete does isn't to refuse it.
        for (index, reason) in records.bad.iter().filter(|(_, reason)| *reason != format::DELETED) {
            *reasons.entry(reason).or_default() += 1;
            example.get_or_insert_with(|| {
                let detail = decoded.details.iter().find(|(at, _)| at == index).map(|(_, detail)| printable(detail));
                let offset = records.origins.get(*index).map_or(0, |origin| origin.row);
                let detail = detail.map(|detail| format!(": {detail}")).unwrap_or_default();
                format!("{reason} at partition {partition}, offset {offset}{detail}")
            });
        }
        if pipeline.on.null == OnNull::Refuse {
            let bad: Vec<usize> = records.bad.iter().map(|(index, _)| *index).collect();
            let is_null = |index: &usize| records.values.iter().any(|values| !values[*index].is_finite());
            let nulls = (0..records.len()).filter(|index| bad.binary_search(index).is_err() && is_null(index)).count();
            if nulls > 0 {
                *reasons.entry("null_value").or_default() += nulls;
                example.get_or_insert_with(|| "null_value".to_string());
            }
        }
    }
    let all: usize = sample.decoded().map(|decoded| decoded.records.len()).sum();
    let bad: usize = reasons.values().sum();
    let counts: Vec<String> = reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    let percent = bad as f64 / all.max(1) as f64 * 100.0;
    example.map(|example| {
        format!(
            "{bad} of {} ({percent:.0} %) would be refused: {}; for example {example}",
            counted(all, "record"),
            counts.join(", ")
        )
    })
}

/// What the messages' keys look like, where they are the records', read as text, and hardly text.
fn keys(pipeline: &Pipeline, source: &KafkaSource, sample: &Sample) -> Option<String> {
    let column = source.encoding.key.as_ref().map(|name| name.value.as_str())?;
    let is_record_key = matches!(&pipeline.record.key, Key::Column(name) if name.value == column);
    if !is_record_key || source.encoding.key_format != KeyFormat::Text {
        return None;
    }
    let messages = sample.partitions.values().map(|(messages, _)| messages);
    let keys = messages.flat_map(|messages| (0..messages.len()).filter_map(|index| messages.key(index)));
    key_guess::advice(key_guess::of_most(keys)?, column)
}

/// What payloads are instead, where their first byte shows it.
fn other_format(source: &KafkaSource, sample: &Sample) -> &'static str {
    let first = |byte: &dyn Fn(u8) -> bool| {
        let all = sample.partitions.values().flat_map(|(messages, _)| (0..messages.len()).map(|i| messages.payload(i)));
        all.flatten().all(|payload| payload.first().copied().is_some_and(byte))
    };
    // The frame of a registry's JSON Schema is passed over.
    let framed_json = || {
        let all = sample.partitions.values().flat_map(|(messages, _)| (0..messages.len()).map(|i| messages.payload(i)));
        all.flatten().all(|payload| format::bare_json(payload).first() == Some(&b'{'))
    };
    match source.encoding.format.value {
        Format::Json if first(&|byte| byte == 0) && !framed_json() => {
            "; the payloads begin with the byte 0, as those with a schema registry do: `format: { avro: … }`, or \
             `protobuf`"
        }
        Format::Avro(_) | Format::Protobuf(_) if first(&|byte| byte == b'{') => {
            "; the payloads look like JSON: `format: json`"
        }
        _ => "",
    }
}

/// The fields of the payload that the pipeline reads.
fn fields(pipeline: &Pipeline, source: &KafkaSource, layout: &Layout) -> Vec<String> {
    let mut names = vec![layout.time_name.clone()];
    match &pipeline.record.key {
        Key::Melted(columns) => names.extend(columns.iter().map(|name| name.value.clone())),
        Key::Column(name) => names.push(name.value.clone()),
        Key::Single => {}
    }
    let melted = matches!(pipeline.record.key, Key::Melted(_));
    let skipped = usize::from(melted);
    names.extend(layout.columns.iter().skip(skipped).map(|column| column.name.clone()));
    let encoding = &source.encoding;
    let of_message = [&encoding.key, &encoding.timestamp];
    names.retain(|name| !of_message.iter().any(|of| of.as_ref().is_some_and(|of| of.value == *name)));
    names.retain(|name| encoding.metadata.find(name).is_none());
    names
}

/// The fields of JSON payloads.
#[derive(Default)]
struct Seen {
    objects: usize,
    /// How often each field was seen, by its path with dots.
    paths: BTreeMap<String, usize>,
    /// The time column's integers, whatever the decoder made of them.
    times: Vec<i64>,
    envelope: Option<Envelope>,
}

impl Seen {
    fn of(sample: &Sample, envelope: Option<Envelope>, time: &str) -> Seen {
        let mut seen = Seen { envelope, ..Seen::default() };
        for (messages, _) in sample.partitions.values() {
            for payload in (0..messages.len()).filter_map(|index| messages.payload(index)) {
                if let Ok(value @ Value::Object(_)) = serde_json::from_slice(format::bare_json(payload)) {
                    seen.objects += 1;
                    seen.times.extend(format::field(envelope, &value, time).and_then(Value::as_i64));
                    seen.walk(&value, "", 0);
                }
            }
        }
        seen
    }

    fn walk(&mut self, value: &Value, above: &str, depth: usize) {
        let Value::Object(fields) = value else { return };
        for (name, value) in fields {
            let path = if above.is_empty() { name.clone() } else { format!("{above}.{name}") };
            if depth < DEEPEST {
                self.walk(value, &path, depth + 1);
            }
            if self.paths.len() < NAMES.0 || self.paths.contains_key(&path) {
                *self.paths.entry(path).or_default() += 1;
            }
        }
    }

    fn has(&self, name: &str) -> bool {
        format::paths(self.envelope, name).iter().any(|path| self.paths.contains_key(path))
    }

    /// Says which field is read, where another one's name differs in upper and lower case only.
    fn alike(&self, name: &str) -> Option<String> {
        let paths = format::paths(self.envelope, name);
        let like = |path: &&String| {
            paths.iter().any(|read| read.to_lowercase() == path.to_lowercase()) && !paths.contains(path)
        };
        let other = self.paths.keys().find(like).filter(|_| self.has(name))?;
        Some(format!("field \"{name}\" is read, not \"{}\", which is another one", printable(other)))
    }

    /// Says that a field never came, and what did instead.
    fn missing(&self, name: &str) -> Option<String> {
        if self.objects == 0 || self.has(name) {
            return None;
        }
        let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_string();
        let nested = self.paths.keys().filter(|path| path.contains('.'));
        let instead = if let Some(path) = nested.into_iter().find(|path| last(path).eq_ignore_ascii_case(name)) {
            let path = printable(path);
            match (self.envelope, path.split('.').rev().nth(1)) {
                (None, Some("after")) => format!(", but \"{path}\" is: write `envelope: debezium`, or the whole name"),
                (None, Some("payload")) => format!(", but \"{path}\" is: write `envelope: connect`, or the whole name"),
                (None, _) => format!(", but \"{path}\" is: write the whole name"),
                (Some(_), _) => format!(", but \"{path}\" is"),
            }
        } else {
            let top = || self.paths.keys().map(String::as_str).filter(|path| !path.contains('.'));
            match top().find(|path| path.eq_ignore_ascii_case(name)) {
                Some(path) => format!(", did you mean \"{}\"?", printable(path)),
                None => match did_you_mean(name, top()) {
                    near if near.is_empty() => {
                        let names: Vec<String> = top().take(NAMES.1).map(printable).collect();
                        format!("; there are {}", names.join(", "))
                    }
                    near => printable(&near),
                },
            }
        };
        Some(format!("column \"{name}\" is in none of them{instead}"))
    }
}

/// The columns of values that are null in all good records, or in most.
fn nulls(layout: &Layout, records: &[&Records]) -> Vec<(String, String)> {
    let names = layout.columns.iter().filter(|column| column.kind == crate::record::Kind::Number);
    let mut found = Vec::new();
    for (at, column) in names.enumerate() {
        let (mut all, mut null) = (0, 0);
        for records in records {
            let Some(values) = records.values.get(at) else { continue };
            let bad: Vec<usize> = records.bad.iter().map(|(index, _)| *index).collect();
            for (_, value) in values.iter().enumerate().filter(|(index, _)| bad.binary_search(index).is_err()) {
                all += 1;
                null += usize::from(!value.is_finite());
            }
        }
        if all > 0 && null * 2 > all {
            let name = column.name.clone();
            let what = match null == all {
                true => format!("column \"{name}\" is null in all of them"),
                false => format!("column \"{name}\" is null in {null} of {all}"),
            };
            found.push((name, what));
        }
    }
    found
}

/// The times of good records.
fn times_of(records: &[&Records]) -> Vec<i64> {
    let mut times = Vec::new();
    for records in records {
        let bad: Vec<usize> = records.bad.iter().map(|(index, _)| *index).collect();
        times.extend((0..records.len()).filter(|index| bad.binary_search(index).is_err()).map(|i| records.times[i]));
    }
    times
}

/// Says that times are not plausible, and which unit would fit.
fn implausible(pipeline: &Pipeline, layout: &Layout, ticks: &[i64], now: DateTime<Utc>) -> Option<String> {
    let (first, last) = (*ticks.iter().min()?, *ticks.iter().max()?);
    let unit = pipeline.record.time.unit;
    let name = &layout.time_name;
    let fits = |nanos: i128| {
        let good = ticks.iter().filter(|tick| at(**tick, nanos).is_some_and(|at| is_plausible(at, now))).count();
        good * 10 >= ticks.len() * 9
    };
    let other = UNITS.iter().find(|(_, nanos)| fits(*nanos));
    let Some(own) = layout.clock.nanos_per_tick else {
        // A small count is a step; an integer that is a time of our days is hardly one.
        let (word, nanos) = other?;
        let (from, to) = (shown(first, *nanos), shown(last, *nanos));
        return Some(format!(
            "\"{name}\" is read as steps without a clock, and would be times from {from} to {to} as epochs: write \
             time: {{ column: {name}, unit: {word} }}"
        ));
    };
    let own = i128::from(own);
    let odd = ticks.iter().filter(|tick| at(**tick, own).is_none_or(|at| is_odd(at, now))).count();
    let written = matches!(
        unit,
        Some(EpochUnit::Second | EpochUnit::Millisecond | EpochUnit::Microsecond | EpochUnit::Nanosecond)
    );
    let ahead = ticks.iter().any(|tick| at(*tick, own).is_none_or(|at| at > now + AHEAD));
    let other = other.filter(|(_, nanos)| *nanos != own);
    if odd * 2 < ticks.len().max(1) || !(written || ahead || other.is_some()) {
        return None;
    }
    let (from, to) = (shown(first, own), shown(last, own));
    let advice = match other {
        Some((word, nanos)) => {
            let better = format!("in {word} they would be from {} to {}", shown(first, *nanos), shown(last, *nanos));
            match written {
                true => format!("{better}: write unit: {word}"),
                false => format!("{better}: whoever writes them gives the wrong unit"),
            }
        }
        None => "is this the right column, and its unit?".into(),
    };
    let count = ticks.len();
    Some(format!("{odd} of {count} times in \"{name}\" are not plausible: they are from {from} to {to}; {advice}"))
}

fn at(ticks: i64, nanos: i128) -> Option<DateTime<Utc>> {
    let nanos = i128::from(ticks) * nanos;
    DateTime::from_timestamp(i64::try_from(nanos.div_euclid(1_000_000_000)).ok()?, 0)
}

fn shown(ticks: i64, nanos: i128) -> String {
    match at(ticks, nanos) {
        Some(at) => at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        None => "beyond the calendar".into(),
    }
}

fn is_plausible(at: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    at.year() >= FIRST_YEAR && at <= now + AHEAD
}

/// Times before 1970 are real: no wrong unit gives them.
fn is_odd(at: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    at.timestamp() >= 0 && !is_plausible(at, now)
}
