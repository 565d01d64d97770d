//! The file as it is understood: read again, it means the same.

use super::*;

/// Reads a text as if it were a file in a folder.
fn read(text: &str, folder: &str) -> Whole {
    let variable = |name: &str| match name {
        "KOLK_DATA" => Ok("/data".to_string()),
        "REGISTRY_URL" => Ok("http://somebody:geheim-in-url@h:1".into()),
        "MY_TOKEN" => Ok("tok".into()),
        other => variable(other),
    };
    read_with(text, &Path::new(folder).join("p.yaml"), &variable, &[]).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Everything that a pipeline means.
fn meaning(read: &Whole) -> String {
    format!("{:?}", Pipeline { file: "p".into(), written: Default::default(), ..read.pipeline.clone() })
}

/// The effective form, which means the same in any folder, and is its own effective form.
fn same(text: &str) -> String {
    let first = read(text, "/p");
    let effective = first.effective();
    let second = read(&effective, "/q/r");
    assert_eq!(meaning(&second), meaning(&first), "{effective}");
    assert_eq!(second.effective(), effective);
    let problems = |read: Whole| read.problems.iter().map(|problem| problem.message.clone()).collect::<Vec<_>>();
    assert_eq!(problems(second), problems(first), "{effective}");
    effective
}

#[test]
fn every_pipeline_means_the_same_when_it_is_read_again() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            same(&std::fs::read_to_string(&path).unwrap());
            count += 1;
        }
    }
    assert!(count >= 9, "{count}");
    for text in [WHOLE, SMALLEST] {
        same(text);
    }
}

/// As many words as one file can have.
const RICH: &str = r#"
x-columns: &columns [a, b, "${H}"]
x-lstm: &lstm { lstm: 4 }
name: rich
source:
  kafka:
    brokers: "h:${H}"
    topic: "17"
    format: { avro: { registry: "${REGISTRY_URL}", schema: { version: 3 } } }
    key: { column: key column, format: long }
    timestamp: "true"
    start: 2024-01-01 12:00
    idle: 90s
    history: { path: "old/${H}/*.parquet", until: 2024-01-01T00:00:00+02:00 }
    properties:
      security.protocol: SASL_SSL
      socket.timeout.ms: 10000
      session.timeout.ms: "${H}000"
      enable.sparse.connections: true
      sasl.username: somebody
      sasl.password: geheim-im-klartext
      ssl.key.password: { file: Cargo.toml }
      ssl.ca.pem: "--- ${MY_TOKEN} ---"
  emit_from: 1500-01-01
record: { key: key column, time: { column: "t: #x", unit: float_s, timezone: "+05:30" }, values: *columns }
on: { null: skip, reorder: 2w }
stages:
  - filter: { where: "a > 0 and b = '$${x}' or c = \"é\"" }
  - resample: { every: 5m, fill: null, max_gap: 1y }
  - calendar: { features: [hour] }
  - scale: { values: [a], half_life: 30 }
  - lags: { a: 1..4, b: [1, 3..4] }
  - infer: { model: m/3, mode: window, window: "${H}" }
  - score:
sink:
  kafka:
    topic: out
    headers: all
    fields: *columns
    format:
      protobuf:
        registry: "http://h:2"
        auth: { user: "${MY_TOKEN}", password: geheim-des-registers }
        message: a.B
dead_letters: { kafka: { topic: ~dead } }
state: { path: s3://bucket/state }
runtime: { workers: 3, model_every: never, http: "localhost:1" }
train:
  targets: [a]
  layers: [ *lstm, { rnn: 3 }, { dense: 2 }, { layer_norm: true }, { <<: *lstm, lstm: 5 } ]
  head: [ { dropout: 0.1 }, { dense: 3 } ]
  loss: huber(0.5)
  optimizer: { adam: { epsilon: 1e-9 } }
  schedule: cosine
  split: { at: [2024-01-01, 2024-02-01] }
  epochs: 3
"#;

#[test]
fn a_rich_file_means_the_same_when_it_is_read_again() {
    let root = env!("CARGO_MANIFEST_DIR");
    let text = RICH.replace("file: Cargo.toml", &format!("file: {root}/Cargo.toml"));
    let effective = same(&text);
    for line in [
        "name: rich",
        "    brokers: h:12",
        "    topic: \"17\"",
        "    group: rich",
        "        registry: \"${REGISTRY_URL}\"",
        "        subject: 17-value",
        "      path: /p/old/12/*.parquet",
        "      session.timeout.ms: 12000",
        "      sasl.username: somebody",
        "      sasl.password: \"***\"",
        "      ssl.ca.pem: \"--- ${MY_TOKEN} ---\"",
        "          user: \"${MY_TOKEN}\"",
        "          password: \"***\"",
        "        subject: out-value",
        "  values: [a, b, \"12\"]",
        "  late: process",
        "      fill: null",
        "      delay: 0s",
        "  path: s3://bucket/state",
        "  workers: 3",
        "  inputs: [a, b, \"12\"]",
        "      activation: tanh",
        "      beta_1: 0.9",
        "  linger: 5ms",
        "models: /p/models",
    ] {
        assert!(effective.lines().any(|other| other == line), "{line:?} in\n{effective}");
    }
    assert!(!effective.contains("geheim") && !effective.contains("chunk:") && !effective.contains("x-"), "{effective}");
}

#[test]
fn the_kinds_of_sources_and_sinks_mean_the_same_when_they_are_read_again() {
    let record = "record: { key: k, time: { column: t, unit: ms }, values: [x] }";
    let kafka = |source: &str, sink: &str| {
        let source = format!("{{ kafka: {{ brokers: h, topic: t, key: k, {source} }} }}");
        format!("name: a\nsource: {source}\n{record}\nsink: {{ kafka: {{ topic: o, {sink} }} }}\n")
    };
    let letters = "path: d, format: { protobuf: { registry: 'http://h', subject: s, schema: 7 } }";
    for text in [
        kafka("properties: { fetch.min.bytes: 5, client.id: c }", ""),
        kafka("numbers: text, columns: { a: int64 }", "brokers: i"),
        format!(
            "name: a\nsource: {{ dead_letters: {{ {letters} }} }}\n{record}\nsink: {{ stdout: }}\n\
             dead_letters: {{ parquet: {{ path: e }} }}\n"
        ),
        "name: a\nsource: { parquet: { path: [a.parquet, ../b.parquet] } }\nrecord: { time: t, columns_as_keys: [p, q] }\n\
         train: { target: value, layers: [ gru: 3 ] }\nstages: [ infer: { model: m } ]\n"
            .to_string(),
    ] {
        same(&text);
    }
}

#[test]
fn vectors_and_frames_mean_the_same_when_they_are_read_again() {
    let effective = same(
        "name: a\nsource: { kafka: { brokers: h, topic: t, key: k } }\n\
         record: { key: k, time: { column: t, unit: ms }, vectors: { \"e 1\": 128, \"7\": { width: any, type: int16 }, w: { width: 3 } } }\n\
         stages:\n  - frame: { column: \"7\", size: 576, hop: 512, pad: 64, rate: 16000, gap: 2s }\n  - frame: { column: w, size: 4 }\n\
         sink: { stdout: { fields: [\"7\", \"e 1\"] } }\n",
    );
    let vectors = "  vectors:\n    e 1: 128\n    \"7\":\n      width: any\n      type: int16\n    w:\n      width: 3\n";
    assert!(effective.contains(vectors), "{effective}");
    for line in ["      column: \"7\"", "      rate: 16000", "      gap: 2s", "      hop: 4", "      pad: 0"] {
        assert!(effective.lines().any(|other| other == line), "{line:?} in\n{effective}");
    }
}
