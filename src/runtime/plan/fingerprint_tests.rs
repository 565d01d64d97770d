//! Tests of fingerprints: a topic's state that an earlier version wrote is taken up.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::config;
use crate::error::Problems;
use crate::format;
use crate::kafka::Subscription;
use crate::metrics::Metrics;
use crate::runtime::engine::Order;
use crate::source::topic::PlannedTopic;
use crate::state::{Checkpoints, CommitPosition, Log, ModelEpoch};

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/state/kafka");
const TOPIC_ID: &str = "wKT7nKRARsmtc2_QijyZFA";

/// The plan of the fixture's pipeline, as if its brokers had been asked; `change` is made to the text of the file.
fn planned(folder: &Path, change: (&str, &str)) -> Plan {
    let text = std::fs::read_to_string(Path::new(FIXTURE).join("p.yaml")).unwrap().replace(change.0, change.1);
    planned_of(folder, &text)
}

fn planned_of(folder: &Path, text: &str) -> Plan {
    let pipeline = config::parse(text, &folder.join("p.yaml")).unwrap();
    let mut problems = Problems::new("p.yaml");
    let fields = super::super::source::wanted(&pipeline, super::super::Purpose::Run);
    let decoder = format::plan_decoder(&pipeline, &fields, &mut problems).unwrap();
    let stages = stage::chain(&[], decoder.layout.clone(), &mut problems);
    problems.finish(()).unwrap();
    let topic = PlannedTopic {
        topics: Arc::new(Subscription::to_one("t")),
        decoder,
        found: Vec::new(),
        partitions: 4,
        topic_id: TOPIC_ID.into(),
        longest: 1 << 20,
        history: None,
        notes: Vec::new(),
        warnings: Vec::new(),
    };
    let metrics = Arc::new(Metrics::new().unwrap());
    Plan {
        pipeline,
        source: PlannedSource::Kafka(Box::new(topic)),
        sink: None,
        stages,
        model: None,
        train: None,
        shard: Default::default(),
        metrics,
    }
}

fn copied() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for path in ["", "p", &format!("p/topic-{TOPIC_ID}"), &format!("p/topic-{TOPIC_ID}/00000")] {
        let (from, to) = (Path::new(FIXTURE).join("state").join(path), folder.path().join("state").join(path));
        std::fs::create_dir_all(&to).unwrap();
        for file in std::fs::read_dir(from).unwrap().map(Result::unwrap).filter(|file| file.path().is_file()) {
            std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    }
    folder
}

fn log(folder: &Path, change: (&str, &str)) -> crate::Result<Log> {
    let plan = planned(folder, change);
    let chain = Chain::new(Vec::new(), Order::default(), plan.metrics.clone());
    let store = state::Store::open(&plan.pipeline.state.path, "p").unwrap();
    let now = fingerprint(&plan, &chain, store.fingerprint().unwrap());
    Log::open(&plan.pipeline.state.path, "p", TOPIC_ID, &now)
}

#[test]
fn a_checkpoint_that_an_earlier_version_wrote_is_found_and_read() {
    let folder = copied();
    let mut log = log(folder.path(), ("", "")).unwrap();
    let at = CommitPosition { sequence: 1, offset: 16, hash: 18_334_240_971_303_575_165 };
    let epoch = ModelEpoch { model: "tiny/1#6c8d07121c17".into(), from: 0 };
    assert_eq!(log.find(0.into(), at, &epoch).unwrap().usable, Some(at));
    log.load(0.into(), at, &epoch).unwrap();
    let mut loaded = Vec::new();
    while loaded.is_empty() {
        loaded = log.loaded(Duration::from_secs(1)).unwrap();
    }
    let checkpoint = loaded.remove(0).checkpoint.unwrap();
    assert_eq!((checkpoint.position, checkpoint.keys.len(), checkpoint.rows.resolve().unwrap().len()), (16, 2, 2));
}

/// A field that comes later is left out where it has its default; where it has not, no text of an earlier version says
/// so.
#[test]
fn a_field_that_comes_later_is_none_of_the_earlier_words() {
    let folder = tempfile::tempdir().unwrap();
    let plan = planned(folder.path(), ("", ""));
    let mut record = plan.pipeline.record.canonical();
    let before = legacy::text(&plan, "record", &record, "").unwrap();
    assert!(before.starts_with("Record { key: Column(\"key\"), "), "{before}");
    record["made_up"] = json!(1);
    assert_eq!(legacy::text(&plan, "record", &record, ""), None);
    let stages = |stage: Value| legacy::text(&plan, "stages", &json!([stage]), "");
    assert!(stages(json!({"filter": {"where": "a"}})).is_some());
    assert_eq!(stages(json!({"filter": {"where": "a", "made_up": 1}})), None);
    assert_eq!(stages(json!({"made_up": {}})), None);
}

/// What this version writes, kept: every later version has to find the same in it.
#[test]
fn what_fingerprints_with_fields_say_stays() {
    let folder = tempfile::tempdir().unwrap();
    let plan = planned(folder.path(), ("", ""));
    let chain = Chain::new(Vec::new(), Order::default(), plan.metrics.clone());
    let text = std::fs::read_to_string(Path::new(FIXTURE).join("pipeline.v2.json")).unwrap();
    let mut kept: Fingerprint = serde_json::from_str(&text).unwrap();
    let now = fingerprint(&plan, &chain, Some(kept.clone()));
    assert_eq!(kept.changes(&now), []);
    let record = kept.sections.get_mut("record").unwrap();
    record["made_up"] = json!(true);
    let changes: Vec<String> = kept.changes(&now).into_iter().map(|change| change.field).collect();
    assert_eq!(changes, ["record.made_up"]);
}

/// A column of messages with a schema that the model alone looks up is none of the state's: the next version may look
/// up another one. One that the file names is, and one that an earlier version of kolk kept stays.
#[test]
fn what_the_model_alone_looks_up_is_not_in_the_fingerprint() {
    let folder = tempfile::tempdir().unwrap();
    let schema = r#"{ "type": "record", "name": "R", "fields": [ { "name": "ts", "type": "long" },
        { "name": "v", "type": "double" }, { "name": "region", "type": "string" }, { "name": "shop", "type": "string" } ] }"#;
    std::fs::write(folder.path().join("r.avsc"), schema).unwrap();
    let text = |model: &str, fields: &str| {
        format!(
            "name: p\nsource: {{ kafka: {{ brokers: b, topic: t, key: id, format: {{ avro: {{ schema: {{ file: {} }} }} }} }} }}\n\
             record: {{ key: id, time: {{ column: ts, unit: ms }}, values: [v] }}\n\
             stages: [ infer: {{ model: {model} }} ]\nsink: {{ kafka: {{ topic: o{fields} }} }}\n",
            folder.path().join("r.avsc").display()
        )
    };
    let root = folder.path().join("models");
    for (name, column) in [("by_region", Some("region")), ("by_key", None)] {
        let shape = crate::network::testing::plain(1, &[(crate::kernel::CellKind::Gru, 2)]);
        let groups = crate::model::Groups { column: column.map(String::from), networks: Vec::new() };
        let manifest =
            crate::model::Manifest { groups: Some(groups), ..crate::model::testing::manifest(name, &shape, 1) };
        registry::publish(&root, manifest, b"graph", "<html></html>", None).unwrap();
        registry::set_champion(&root, name, 1).unwrap();
    }
    let of = |model: &str, fields: &str, before: Option<Fingerprint>| {
        let plan = planned_of(folder.path(), &text(model, fields));
        let read = plan.layout_of_source().find("region").is_some();
        let chain = Chain::new(Vec::new(), Order::default(), plan.metrics.clone());
        (fingerprint(&plan, &chain, before), read)
    };
    let columns = |of: &Fingerprint| of.sections["source"]["reads"]["passthrough"].clone();
    let ((by_region, read), (by_key, not_read)) = (of("by_region", "", None), of("by_key", "", None));
    assert!(read && !not_read);
    assert_eq!((columns(&by_region), columns(&by_key)), (json!({}), json!({})));
    let named = of("by_key", ", fields: [shop]", None).0;
    assert_eq!(columns(&named), json!({ "shop": "text" }));
    let mut earlier = by_region;
    earlier.sections.get_mut("source").unwrap()["reads"]["passthrough"] = json!({ "region": "text" });
    assert_eq!(columns(&of("by_key", "", Some(earlier.clone())).0), columns(&earlier));
    assert_eq!(columns(&of("by_region", "", Some(earlier.clone())).0), columns(&earlier));
}

#[test]
fn a_changed_pipeline_is_refused_in_the_words_of_the_state() {
    let folder = copied();
    for (change, expected) in [
        (("topic: in", "topic: other"), "\n  source.kafka.topic: in -> other\n"),
        (("kind != 'z'", "kind != 'y'"), "\n  stages[0].filter.where: kind != 'z' -> kind != 'y'\n"),
        (("headers: all", "headers: none"), "\n  sink.kafka.headers: all -> (not written)\n"),
        (
            ("emit_from: 2024-01-01", "emit_from: 2024-01-02"),
            "\n  source.emit_from: 2024-01-01T00:00:00Z -> 2024-01-02\n",
        ),
    ] {
        let error = log(folder.path(), change).err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    }
    // Another version of the model may take over at any time.
    assert!(log(folder.path(), ("model: tiny", "model: tiny/7")).is_ok());
}
