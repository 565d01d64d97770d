//! What a pipeline's state belongs to: everything that its results depend on, section by section.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Plan, PlannedSource, label, legacy};
use crate::config::{OnPartitions, split_credentials};
use crate::model::executor::{device, library};
use crate::model::{Version, registry};
use crate::runtime::engine::Chain;
use crate::stage;
use crate::state::{self, Fingerprint, SourceFiles};

/// Everything that results depend on. From Kafka to Kafka the version of the model is not part of it, nor are the rows
/// of state that it makes: each checkpoint says which it is of. `before` is the fingerprint of the existing state, if
/// there is any: where an earlier version wrote a section as text, the section is said in the same words, so that the
/// two compare.
pub fn fingerprint(plan: &Plan, chain: &Chain, before: Option<Fingerprint>) -> Fingerprint {
    let mut now = current(plan, chain);
    if let (PlannedSource::Files(files), Some(before)) = (&plan.source, before.as_ref().and_then(made_from)) {
        // An earlier version kept one hash of all files.
        let hash = match before {
            Value::String(text) => files.was(text),
            section => section.get("files").and_then(Value::as_str),
        };
        now.source.hashed = hash.and_then(|hash| state::hashed(hash, &now.source.files));
        if let (Value::Object(before), Some(Value::Object(section))) = (before, now.sections.get_mut("source"))
            && let Some(hash) = before.get("files")
        {
            section.insert("files".into(), hash.clone());
        }
    }
    if let Some(before) = before.as_ref().filter(|before| before.partitions <= now.partitions)
        && plan.pipeline.on.partitions.value == OnPartitions::Adopt
        && matches!(plan.source, PlannedSource::Kafka(_))
    {
        // The state stays that of the partitions that the topic had at first.
        now.partitions = before.partitions;
    }
    for (name, before) in before.iter().flat_map(|before| &before.sections) {
        let (Value::String(before), Some(section)) = (before, now.sections.get_mut(name)) else { continue };
        if !section.is_string()
            && let Some(text) = legacy::text(plan, name, section, before)
        {
            *section = Value::String(text);
        }
    }
    if let (Some(before), Some(version)) = (&before, &plan.model)
        && !plan.swaps()
    {
        keep_version(version, before, &mut now);
    }
    for (name, section) in &mut now.sections {
        if let Some(before) = before.as_ref().and_then(|before| before.sections.get(name)) {
            keep_urls(before, section);
            keep_columns(before, section);
        }
    }
    now
}

/// A run to files goes on from commits of another version of the same model ([`crate::runtime::files`]), so the first
/// run's version stays in the fingerprint, and rows are then those of each commit.
fn keep_version(version: &Version, before: &Fingerprint, now: &mut Fingerprint) {
    let Some(model) = before.sections.get("model") else { return };
    let before_label = match model {
        Value::String(text) => text.split(' ').next(),
        model => model.get("version").and_then(Value::as_str),
    };
    if before_label.map(registry::name_of) != Some(version.name.as_str()) {
        return;
    }
    if now.sections.insert("model".into(), model.clone()).as_ref() != Some(model) {
        now.rows.clone_from(&before.rows);
    }
    let Some(was) = before.sections.get("stages").and_then(model_of) else { return };
    if registry::name_of(&was) != version.name {
        return;
    }
    match now.sections.get_mut("stages") {
        Some(Value::String(text)) => {
            if let Some(is) = model_of(&Value::String(text.clone())) {
                *text = text.replacen(&format!("{NETWORK}{is}\""), &format!("{NETWORK}{was}\""), 1);
            }
        }
        Some(Value::Array(stages)) => {
            for stage in stages {
                if let Some(model) = stage.pointer_mut("/infer/model") {
                    *model = json!(was);
                }
            }
        }
        _ => {}
    }
}

/// How the text of an `infer` begins in fingerprints without fields.
const NETWORK: &str = "Infer(Infer { model: \"";

/// The model that stages name.
fn model_of(stages: &Value) -> Option<String> {
    match stages {
        Value::String(text) => {
            let (_, rest) = text.split_once(NETWORK)?;
            Some(rest.split('"').next()?.to_string())
        }
        stages => {
            let named = |stage: &Value| Some(stage.pointer("/infer/model")?.as_str()?.to_string());
            stages.as_array()?.iter().find_map(named)
        }
    }
}

/// Earlier versions left user and password in URLs; they are not part of what results depend on.
fn keep_urls(before: &Value, now: &mut Value) {
    match (before, now) {
        (Value::Object(before), Value::Object(now)) => {
            for (name, now) in now {
                before.get(name).into_iter().for_each(|before| keep_urls(before, now));
            }
        }
        (Value::String(before), Value::String(now))
            if split_credentials(before).is_some_and(|(bare, ..)| bare == *now) =>
        {
            now.clone_from(before);
        }
        _ => {}
    }
}

/// Where a fingerprint has the columns that are passed on.
const PASSTHROUGH: &str = "/reads/passthrough";

/// Columns that an earlier version of kolk kept for the model alone. Of those that the file names, sink and stages say
/// whether they are still the same.
fn keep_columns(before: &Value, now: &mut Value) {
    let columns = (before.pointer(PASSTHROUGH), now.pointer_mut(PASSTHROUGH));
    if let (Some(Value::Object(before)), Some(Value::Object(now))) = columns {
        for (name, data_type) in before {
            now.entry(name).or_insert_with(|| data_type.clone());
        }
    }
}

/// What a fingerprint says of the source.
fn made_from(fingerprint: &Fingerprint) -> Option<&Value> {
    fingerprint.sections.get("source")
}

fn current(plan: &Plan, chain: &Chain) -> Fingerprint {
    let pipeline = &plan.pipeline;
    let swaps = plan.swaps();
    let mut sections = BTreeMap::new();
    let mut add = |name: &str, section: Value| {
        sections.insert(name.to_string(), section);
    };
    let mut partitions = pipeline.state.partitions;
    match &plan.source {
        PlannedSource::Files(files) => add("source", files.fingerprint()),
        PlannedSource::Kafka(source) => {
            // Of several topics, state knows those of each.
            let several = source.topics.is_several();
            partitions = if several { 0 } else { source.partitions };
            // With a Kafka sink, the checkpoint store knows it and reports more.
            if !swaps && !several {
                add("topic id", json!(source.topic_id));
            }
            let mut read = json!({ "reads": source.decoder.reads });
            // What the model alone looks up changes with its version, which each commit names.
            if let Some(Value::Object(columns)) = read.pointer_mut(PASSTHROUGH) {
                let named = super::source::named(pipeline);
                columns.retain(|name, _| named.contains(name));
            }
            if let Some(kafka) = pipeline.source.kafka() {
                // State is per topic: which ones there are changes nothing about the others.
                match several {
                    true => read["topics"] = json!("several"),
                    false => read["topic"] = json!(kafka.topic.value),
                }
                for (name, column) in [("key", &kafka.encoding.key), ("timestamp", &kafka.encoding.timestamp)] {
                    if let Some(column) = column {
                        read[name] = json!(column.value);
                    }
                }
            }
            add("source", read);
        }
    }
    add("from and until", pipeline.source.canonical_times());
    add("record", pipeline.record.canonical());
    add("on", pipeline.on.canonical());
    let stages = pipeline.stages.iter().filter_map(|stage| stage::canonical(stage, &plan.source.layout().clock));
    add("stages", if swaps { stages.map(without_version).collect() } else { stages.collect() });
    if let Some(version) = plan.model.as_ref().filter(|_| !swaps) {
        add("model", json!({ "version": label(version), "sha256": version.manifest.hash() }));
    }
    if let Some(sink) = &pipeline.sink {
        let mut canonical = sink.canonical();
        let retyped = plan.sink.as_ref().map(|sink| sink.retyped()).filter(|retyped| !retyped.is_empty());
        if let (Some(retyped), Some(fields)) = (retyped, canonical.as_object_mut()) {
            // State of a version that wrote bare integers has parts that these don't go with.
            fields.insert("times".into(), json!(retyped));
        }
        add("sink", canonical);
    }
    add("dead letters", pipeline.dead_letters.canonical());
    add("state format", json!(state::FORMAT.to_string()));
    let mut environment = BTreeMap::new();
    environment.insert("onnx_runtime".to_string(), library::version().unwrap_or("none").to_string());
    // Bits are those of a device: another one is as another CPU.
    let cuda = device::cuda().map(|_| " cuda").unwrap_or_default();
    environment.insert("cpu".to_string(), format!("{}{cuda}", cpu_features()));
    if let Some(version) = plan.tz_database() {
        environment.insert(state::TZ_DATABASE.to_string(), version.to_string());
    }
    let rows = if swaps { Vec::new() } else { chain.layout().spans().to_vec() };
    let written = pipeline.written.clone();
    let reset = pipeline.reset_command();
    let source = match &plan.source {
        PlannedSource::Files(files) => files.files().clone(),
        PlannedSource::Kafka(_) => SourceFiles::default(),
    };
    Fingerprint { version: Fingerprint::VERSION, sections, environment, partitions, rows, written, reset, source }
}

/// A stage with the name of its model alone.
fn without_version(mut stage: Value) -> Value {
    if let Some(Value::String(model)) = stage.pointer_mut("/infer/model") {
        *model = registry::name_of(model).to_string();
    }
    stage
}

/// The features of this CPU that decide which code ONNX Runtime runs.
fn cpu_features() -> String {
    let mut features = vec![std::env::consts::ARCH];
    #[cfg(target_arch = "x86_64")]
    for (name, present) in [
        ("avx", std::is_x86_feature_detected!("avx")),
        ("avx2", std::is_x86_feature_detected!("avx2")),
        ("fma", std::is_x86_feature_detected!("fma")),
        ("avx512f", std::is_x86_feature_detected!("avx512f")),
        ("avx512vnni", std::is_x86_feature_detected!("avx512vnni")),
    ] {
        if present {
            features.push(name);
        }
    }
    features.join(" ")
}

#[cfg(test)]
#[path = "fingerprint_tests.rs"]
mod tests;
