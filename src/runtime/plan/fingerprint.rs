//! What a pipeline's state belongs to: everything that its results depend on, section by section.

use std::collections::BTreeMap;

use super::{Plan, Source, label};
use crate::config::{self, At};
use crate::model::executor::library;
use crate::model::registry;
use crate::runtime::engine::Chain;
use crate::state::{self, Fingerprint};

/// The section of what is read.
const SOURCE: &str = "source";

/// Everything that results depend on. From Kafka to Kafka the version of the model is not part of it, nor are the rows
/// of state that it makes: each checkpoint says which it is of. `before` is what the state that is there was made by,
/// if there is any: what an earlier version wrote in other words and means the same is taken over, so that it compares
/// equal.
pub fn fingerprint(plan: &Plan, chain: &Chain, before: Option<Fingerprint>) -> Fingerprint {
    let mut now = current(plan, chain);
    let (Some(source), Some(before)) = (now.sections.get_mut(SOURCE), before) else { return now };
    if let Some(before) = before.sections.get(SOURCE).filter(|before| is_the_same(plan, before)) {
        source.clone_from(before);
    }
    now
}

/// Whether the section of the source that an earlier version wrote says that the same is read.
fn is_the_same(plan: &Plan, before: &str) -> bool {
    match &plan.source {
        Source::Files(files) => files.was(before),
        Source::Kafka(source) => before
            .strip_prefix(&message_parts(plan))
            .and_then(|rest| rest.strip_prefix(' '))
            .is_some_and(|read| source.decoder.reads_as(read)),
    }
}

/// The topic, and what is read of its messages beside their payloads.
fn message_parts(plan: &Plan) -> String {
    let kafka = plan.pipeline.source.kafka();
    format!("{:?}", kafka.map(|kafka| (&kafka.topic, &kafka.encoding.key, &kafka.encoding.timestamp)))
}

fn current(plan: &Plan, chain: &Chain) -> Fingerprint {
    let pipeline = &plan.pipeline;
    let swaps = matches!(pipeline.sink.as_deref(), Some(config::Sink::Kafka(_)));
    let source = &pipeline.source;
    let mut sections = BTreeMap::new();
    let mut add = |name: &str, text: String| {
        sections.insert(name.to_string(), text);
    };
    let mut partitions = pipeline.state.partitions;
    match &plan.source {
        Source::Files(files) => add(SOURCE, files.fingerprint()),
        Source::Kafka(source) => {
            partitions = source.partitions;
            // Beside a Kafka sink, the store of checkpoints knows it and has more to say.
            if !swaps {
                add("topic id", source.topic_id.clone());
            }
            add(SOURCE, format!("{} {}", message_parts(plan), source.decoder.described));
        }
    }
    add("from and until", format!("{:?} {:?} {:?}", source.from, source.until, source.emit_from));
    add("record", format!("{:?}", pipeline.record));
    add("on", format!("{:?}", pipeline.on));
    add("stages", if swaps { without_version(&pipeline.stages) } else { format!("{:?}", pipeline.stages) });
    if let Some(version) = plan.model.as_ref().filter(|_| !swaps) {
        add("model", format!("{} {:?}", label(version), version.manifest.files.get(registry::MODEL)));
    }
    match pipeline.sink.as_deref() {
        Some(config::Sink::Kafka(sink)) => {
            add("sink", format!("{:?}", (&sink.topic, &sink.format, &sink.fields, sink.headers)));
        }
        sink => add("sink", format!("{sink:?}")),
    }
    add("dead letters", format!("{:?}", pipeline.dead_letters));
    add("state format", state::FORMAT.to_string());
    let mut environment = BTreeMap::new();
    environment.insert("onnx_runtime".to_string(), library::version().unwrap_or("none").to_string());
    environment.insert("cpu".to_string(), cpu_features());
    let rows = if swaps { Vec::new() } else { chain.layout().spans().to_vec() };
    Fingerprint { sections, environment, partitions, rows }
}

/// Stages as text, with the name of their model alone.
fn without_version(stages: &[At<config::Stage>]) -> String {
    let mut stages = stages.to_vec();
    for stage in &mut stages {
        if let config::Stage::Infer(infer) = &mut stage.value {
            let model = &mut infer.value.model.value;
            *model = registry::name_of(model).to_string();
        }
    }
    format!("{stages:?}")
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
