//! `kolk size`: a pipeline is measured without a broker and without being run, and its answer hangs together.

use std::path::Path;

use serde_json::Value;

use super::common::*;
use kolk::kernel::CellKind;
use kolk::model::ModelKind;

/// From a topic to a topic, on a broker that isn't there.
fn topics(folder: &Path, source: &str) -> String {
    let file = folder.join("topics.yaml");
    let text = format!(
        "name: topics\nsource: {{ kafka: {{ brokers: \"127.0.0.1:1\", topic: in, key: key{source} }} }}\n\
         record: {{ key: key, time: {{ column: at.ts, unit: ms }}, values: [value] }}\n\
         stages: [ infer: {{ model: m, mode: carry }} ]\n\
         sink: {{ kafka: {{ topic: out, fields: [value, note] }} }}\nruntime: {{ batch: 256 }}\n"
    );
    std::fs::write(&file, text).unwrap();
    file.display().to_string()
}

#[test]
fn a_pipeline_is_measured_and_sized() {
    let folder = tempfile::tempdir().unwrap();
    publish(folder.path(), "m", CellKind::Gru, ModelKind::Carry, None);
    let file = topics(folder.path(), "");

    // Without a broker, of made-up messages.
    let asked = ["size", &file, "--events", "1M", "--keys", "50_000_000", "--record-bytes", "400", "--json"];
    let (out, _) = kolk_exits(0, &asked);
    let report: Value = serde_json::from_str(&out).unwrap();
    let measured = |name: &str| report["measured"][name].as_f64().unwrap_or_else(|| panic!("{name} in {out}"));
    let pieces = report["measured"]["pieces"].as_array().unwrap();
    let names: Vec<&str> = pieces.iter().map(|piece| piece["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "receive (Kafka client)",
            "decode",
            "find the key",
            "stage 0:nulls",
            "stage 1:inputs",
            "stage 2:infer",
            "state beyond the cache",
            "write the rows",
            "send (Kafka client)"
        ]
    );
    let sum: f64 = pieces
        .iter()
        .map(|piece| piece["worker_seconds"].as_f64().unwrap() + piece["client_seconds"].as_f64().unwrap())
        .sum();
    assert!((measured("message_cpu_seconds") / sum - 1.0).abs() < 1e-9);
    assert!((400.0..420.0).contains(&measured("message_bytes")), "{}", measured("message_bytes"));
    assert_eq!((measured("outputs_per_message"), measured("network_steps_per_message")), (1.0, 1.0));
    // GRU(9) and a GRU(5): 14 floats of state, and what the engine keeps.
    assert!((64.0..400.0).contains(&measured("checkpoint_key_bytes")), "{}", measured("checkpoint_key_bytes"));
    assert!(measured("key_bytes") > 64.0 && measured("keys") >= 1024.0);
    let need = &report["computed"][0];
    let number = |name: &str| need[name].as_f64().unwrap_or_else(|| panic!("{name} in {out}"));
    assert_eq!((&need["enough"], number("workers")), (&Value::Bool(true), 2.0));
    assert!(number("cores") >= 1e6 * measured("message_cpu_seconds") * 0.999);
    assert!(number("pods") * 2.0 * 0.6 >= number("cores") * 0.999);
    assert!(number("partitions") >= number("pods") * 4.0 && number("partitions") % (number("pods") * 2.0) == 0.0);
    let limits = need["breaks_first"].as_array().unwrap();
    assert!(limits.len() > 5 && limits.iter().all(|limit| limit["at"].as_f64().unwrap() > 0.9), "{limits:?}");

    // As a table for four rates, of messages of a file.
    let data = folder.path().join("messages.json");
    let lines: Vec<String> =
        (0..500).map(|n| format!("{{\"at\":{{\"ts\":{n}}},\"value\":{n}.5,\"note\":\"n{n}\"}}")).collect();
    std::fs::write(&data, lines.join("\n")).unwrap();
    let (out, _) = kolk_exits(0, &["size", &file, "--data", data.to_str().unwrap()]);
    let part = |title: &str| out.lines().any(|line| line.trim_start().starts_with(title));
    assert!(part("measured") && part("assumed") && part("computed") && part("what breaks first"), "{out}");
    assert!(out.contains("10.0M/s") && out.contains("1.00G") && out.contains("    first x"), "{out}");
    assert!(!folder.path().join("state").exists(), "nothing is run");

    // Most batches give no row: an hour of messages makes one.
    let text = std::fs::read_to_string(&file).unwrap();
    let stages = "resample: { every: 1h }, lags: { value: [1, 2] }";
    std::fs::write(&file, text.replace("infer: { model: m, mode: carry }", stages).replace("note", "value_lag_2"))
        .unwrap();
    let (out, _) = kolk_exits(0, &["size", &file, "--events", "1k", "--keys", "1k", "--json"]);
    let report: Value = serde_json::from_str(&out).unwrap();
    let outputs = report["measured"]["outputs_per_message"].as_f64().unwrap();
    assert!(outputs > 0.0 && outputs < 0.1, "{out}");
}

#[test]
fn files_are_measured_with_their_own_records() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("data.parquet"), &series(40, 60), 500);
    publish(folder.path(), "m", CellKind::Gru, ModelKind::Carry, None);
    let file = pipeline(folder.path(), "model: m, mode: carry", "{ parquet: { path: out/ } }", "");
    let file = file.to_str().unwrap();
    let (out, _) = kolk_exits(0, &["size", file, "--events", "50k", "--keys", "1M", "--json"]);
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["measured"]["with"], "file");
    // An hour between two records of a key, as the file has it.
    assert_eq!(
        (&report["measured"]["step_ticks"], &report["measured"]["step_is_of_sample"]),
        (&3_600_000.into(), &true.into())
    );
    assert_eq!(report["computed"][0]["brokers"], 0.0);
    assert!(!folder.path().join("out").exists(), "nothing is run");

    let (_, said) = kolk_exits(2, &["size", file, "--sample"]);
    assert!(said.contains("files are measured with their own records"), "{said}");
}

#[test]
fn what_means_nothing_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    publish(folder.path(), "m", CellKind::Gru, ModelKind::Carry, None);
    let file = topics(folder.path(), "");
    let data = folder.path().join("messages.json");
    std::fs::write(&data, "{\"at\":{\"ts\":\"noon\"},\"value\":1}\n").unwrap();
    let data = data.to_str().unwrap();
    for (arguments, expected) in [
        (&["--events", "1e6"][..], "expected a number such as 50000, 50k or 1M"),
        (&["--events", "0"], "must be at least 1"),
        (&["--keys", "10", "--active-keys", "20"], "is more than --keys"),
        (&["--load", "120"], "a percentage"),
        (&["--memory", "0"], "--memory must be more than 0"),
        (&["--restore", "5"], "expected a duration"),
        (&["--record-bytes", "5000000"], "--record-bytes must be at most 4000000"),
        (&["--data", data], "no message of the sample is a record of this pipeline"),
        (&["--data", "none.json"], "none.json"),
        (&["--data", data, "--sample"], "cannot be used with"),
    ] {
        let all: Vec<&str> = ["size", &file].into_iter().chain(arguments.iter().copied()).collect();
        let (out, said) = kolk_exits(2, &all);
        assert!(out.is_empty() && said.contains(expected), "{arguments:?}: {said}");
    }
}

/// Each worker has all networks of a version; made-up records are of all groups.
#[test]
fn networks_of_groups_are_measured() {
    let of = |column: Option<&str>, groups: usize| {
        let folder = tempfile::tempdir().unwrap();
        publish(folder.path(), "m", CellKind::Gru, ModelKind::Carry, None);
        let values: Vec<String> = (0..groups).map(|at| format!("{at:03}")).collect();
        let values: Vec<(&str, u64)> = values.iter().map(|value| (value.as_str(), 3)).collect();
        if groups > 0 {
            crate::grouped_runs::publish_groups(folder.path(), ModelKind::Carry, column, &values);
        } else {
            crate::grouped_runs::publish_one(folder.path(), ModelKind::Carry, 3);
        }
        let file = topics(folder.path(), "");
        let (out, _) = kolk_exits(0, &["size", &file, "--events", "1M", "--keys", "1M", "--json"]);
        let report: Value = serde_json::from_str(&out).unwrap();
        ["worker_bytes", "checkpoint_key_bytes", "network_steps_per_message"]
            .map(|name| report["measured"][name].as_f64().unwrap())
    };
    let one = of(None, 0);
    for column in [Some("region"), None] {
        let many = of(column, 60);
        assert!(many[0] > one[0] + 5e6, "{column:?}: {} bytes of 61 networks, {} of one", many[0], one[0]);
        // A key keeps the number of its group, and no more.
        assert!((many[1] - one[1] - 8.0).abs() < 1.0 && many[2] == 1.0, "{column:?}: {many:?}, {one:?}");
    }
}
