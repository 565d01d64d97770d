//! The sections of a fingerprint in the words of the versions before fingerprints had fields, so that the state which
//! those wrote is taken up. Frozen: what came later is not said here, and nothing is added.
//!
//! Those versions wrote how Rust showed the types of the pipeline file then. The words of plain values (text, spans,
//! moments, names of variants) are still those of Rust; structs are written out.

use serde_json::Value;

use super::{Plan, PlannedSource, label};
use crate::config::{At, Format, KafkaSink, Pipeline, Sink, Stage};
use crate::model::registry;

/// A section as text; `None` where it says something that those versions didn't know. `before` is their text.
pub(super) fn text(plan: &Plan, section: &str, canonical: &Value, before: &str) -> Option<String> {
    if !knew(section, canonical) {
        return None;
    }
    let pipeline = &plan.pipeline;
    Some(match section {
        "source" if is_the_same(plan, before) => before.to_string(),
        "from and until" => {
            let source = &pipeline.source;
            format!("{:?} {:?} {:?}", source.from, source.until, source.emit_from)
        }
        "record" => record(pipeline),
        "on" => policies(pipeline),
        "stages" => {
            let stages: Option<Vec<String>> = pipeline.stages.iter().map(|s| stage(s, plan.swaps())).collect();
            format!("[{}]", stages?.join(", "))
        }
        "model" => {
            let version = plan.model.as_ref()?;
            format!("{} {:?}", label(version), version.manifest.files.get(registry::MODEL))
        }
        "sink" => sink(pipeline.sink.as_deref()?),
        "dead letters" => format!("{:?}", pipeline.dead_letters),
        _ => return None,
    })
}

/// Whether a section has no field that those versions didn't have.
fn knew(section: &str, canonical: &Value) -> bool {
    let fields = |value: &Value, known: &[&str]| match value {
        Value::Object(fields) => fields.keys().all(|name| known.contains(&name.as_str())),
        _ => true,
    };
    let each = |value: &Value, known: &[(&str, &[&str])]| match value {
        Value::Object(words) => words.iter().all(|(word, section)| {
            known.iter().find(|(name, _)| name == word).is_some_and(|(_, known)| fields(section, known))
        }),
        _ => true,
    };
    match section {
        "source" => canonical.get("order").is_none(),
        "from and until" => fields(canonical, &["from", "until", "emit_from"]),
        "record" => fields(canonical, &["key", "columns_as_keys", "time", "unit", "values"]),
        "on" => fields(canonical, &["null", "late", "reorder", "watermark", "tombstone", "error"]),
        "model" => fields(canonical, &["version", "sha256"]),
        "sink" => each(
            canonical,
            &[
                ("parquet", &["path", "fields", "part_records"]),
                ("stdout", &["fields"]),
                ("kafka", &["topic", "format", "fields", "headers"]),
            ],
        ),
        "stages" => canonical.as_array().into_iter().flatten().all(|stage| {
            let known: &[(&str, &[&str])] = &[
                ("filter", &["where"]),
                ("resample", &["every", "aggregate", "fill", "max_gap", "delay"]),
                ("calendar", &["features", "timezone"]),
                ("scale", &["values", "half_life", "min_count"]),
                ("lags", &[]),
                ("infer", &["model", "mode", "window", "ttl", "gap"]),
                ("score", &["actual", "step", "tail", "long", "short"]),
            ];
            each(stage, known)
        }),
        _ => true,
    }
}

/// Whether the text of an earlier version says that the same is read.
fn is_the_same(plan: &Plan, before: &str) -> bool {
    match &plan.source {
        PlannedSource::Files(files) => files.was(before).is_some(),
        PlannedSource::Kafka(source) => before
            .strip_prefix(&message_parts(plan))
            .and_then(|rest| rest.strip_prefix(' '))
            .is_some_and(|read| source.decoder.reads_as(read)),
    }
}

/// The topic, and what is read of its messages besides their payloads.
fn message_parts(plan: &Plan) -> String {
    let kafka = plan.pipeline.source.kafka();
    format!("{:?}", kafka.map(|kafka| (&kafka.topic, &kafka.encoding.key, &kafka.encoding.timestamp)))
}

fn record(pipeline: &Pipeline) -> String {
    let record = &pipeline.record;
    format!(
        "Record {{ key: {:?}, time: TimeColumn {{ column: {:?}, unit: {:?} }}, values: {:?} }}",
        record.key, record.time.column, record.time.unit, record.values
    )
}

fn policies(pipeline: &Pipeline) -> String {
    let on = &pipeline.on;
    format!(
        "Policies {{ null: {:?}, late: {:?}, reorder: {:?}, watermark: {:?}, tombstone: {:?}, error: {:?} }}",
        on.null, on.late, on.reorder, on.watermark, on.tombstone, on.error
    )
}

fn stage(stage: &At<Stage>, without_version: bool) -> Option<String> {
    Some(match &stage.value {
        Stage::Filter(o) => format!("Filter(Filter {{ predicate: {:?} }})", o.predicate),
        Stage::Resample(o) => format!(
            "Resample(Resample {{ every: {:?}, aggregate: {:?}, fill: {:?}, max_gap: {:?}, delay: {:?} }})",
            o.every, o.aggregate, o.fill, o.max_gap, o.delay
        ),
        Stage::Calendar(o) => {
            format!("Calendar(Calendar {{ features: {:?}, timezone: {:?} }})", o.features, o.timezone)
        }
        Stage::Scale(o) => format!(
            "Scale(Scale {{ values: {:?}, half_life: {:?}, min_count: {:?} }})",
            o.values, o.half_life, o.min_count
        ),
        Stage::Lags(o) => format!("Lags(Lags {{ columns: {:?} }})", o.columns),
        Stage::Infer(o) => {
            let model = if without_version { registry::name_of(&o.model) } else { &o.model };
            format!(
                "Infer(Infer {{ model: {model:?}, mode: {:?}, window: {:?}, ttl: {:?}, gap: {:?} }})",
                o.mode, o.window, o.ttl, o.gap
            )
        }
        Stage::Score(o) => format!(
            "Score(Score {{ actual: {:?}, step: {:?}, tail: {:?}, long: {:?}, short: {:?} }})",
            o.actual, o.step, o.tail, o.long, o.short
        ),
        #[allow(unreachable_patterns)] // every word that those versions had; a new one ends here
        _ => return None,
    })
}

fn sink(sink: &Sink) -> String {
    match sink {
        Sink::Parquet { path, fields, part_records } => format!(
            "Some(Parquet {{ path: Location({:?}), fields: {fields:?}, part_records: {part_records} }})",
            path.0
        ),
        Sink::Stdout { fields } => format!("Some(Stdout {{ fields: {fields:?} }})"),
        Sink::Kafka(kafka) => {
            let KafkaSink { topic, format, fields, headers, .. } = &**kafka;
            format!("({topic:?}, {}, {fields:?}, {headers:?})", self::format(format))
        }
    }
}

fn format(format: &Format) -> String {
    let (word, schema) = match format {
        Format::Json => return "Json".into(),
        Format::Avro(schema) => ("Avro", schema),
        Format::Protobuf(schema) => ("Protobuf", schema),
    };
    // Those versions left user and password in the URL.
    let (registry, auth) = match &schema.written {
        Some(url) => (url.reveal(), &None),
        None => (schema.registry.as_str(), &schema.auth),
    };
    format!(
        "{word}(SchemaSource {{ registry: {registry:?}, auth: {auth:?}, subject: {:?}, message: {:?} }})",
        schema.subject, schema.message
    )
}
