//! Sequences on Kafka: the answer of one comes with the record that ends it, its text so far with each record, exactly
//! once, through kills; and both are those of the same records in a file.

use std::collections::BTreeMap;
use std::path::Path;

use kolk::kernel::CellKind;
use kolk::model::ModelKind;
use kolk::network::Pool;
use rdkafka::Message;
use serde_json::Value;

use super::broker::{Broker, eventually};
use super::process::Setup;
use super::records::{Sender, all};
use crate::classes::{Record, publish_classes, publish_transcripts, records, write_records};
use crate::common::{self, kolk_exits};

const EXTRA: &str = "state: { path: state/, checkpoint_every: 300ms }\nruntime: { instance: \"${KOLK_INSTANCE}\" }";

/// Of each key what comes out, in order: these fields of it.
fn answers<'a>(rows: impl Iterator<Item = &'a [u8]>, fields: &[&str]) -> BTreeMap<String, Vec<Value>> {
    let mut answers: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for row in rows {
        let row: Value = serde_json::from_slice(row).unwrap();
        let key = row["key"].as_str().unwrap().to_string();
        answers.entry(key).or_default().push(fields.iter().map(|field| row[*field].clone()).collect());
    }
    answers
}

fn message((key, ts, value, last, label): &Record) -> (String, String) {
    (key.clone(), serde_json::json!({ "ts": ts, "value": value, "last": last, "label": label }).to_string())
}

/// What a pipeline is tried with.
struct Trial<'a> {
    /// Publishes the model.
    publish: &'a dyn Fn(&Path),
    infer: &'a str,
    /// Fields of the sink.
    fields: &'a str,
    /// What is compared.
    compared: &'a [&'a str],
    /// Rows that come out of the first records.
    outputs: &'a dyn Fn(&[Record]) -> usize,
}

#[test]
fn each_sequence_is_answered_once_through_kills() {
    for (model, layers) in [("steps", [(CellKind::Gru, 6, false)]), ("whole", [(CellKind::Gru, 4, true)])] {
        through_kills(&Trial {
            publish: &|folder| publish_classes(folder, model, &layers, Pool::Last),
            infer: &format!("model: {model}, mode: sequence"),
            fields: "[label, prediction_no]",
            compared: &["prediction", "prediction_probability", "prediction_no", "label", "warm_up"],
            outputs: &|records| records.iter().filter(|record| record.3).count(),
        });
    }
}

/// The text of a sequence is part of the state that is restored in the middle of it.
#[test]
fn the_text_so_far_comes_once_with_each_record_through_kills() {
    for beam in [1, 4] {
        through_kills(&Trial {
            publish: &|folder| {
                publish_transcripts(folder, "m", &[(CellKind::Gru, 6, false)], ModelKind::Carry, ["go", "no", "-"]);
            },
            infer: &format!("model: m, mode: carry, beam: {beam}, max_tokens: 7"),
            fields: "[label]",
            compared: &["prediction", "prediction_final", "label", "warm_up"],
            outputs: &|records| records.len(),
        });
    }
}

fn through_kills(trial: &Trial<'_>) {
    let (broker, records) = (Broker::shared(), records());
    let setup = Setup::new(&broker, "sequences", EXTRA);
    (trial.publish)(setup.path());
    let text = std::fs::read_to_string(setup.file()).unwrap();
    let text = text
        .replace("values: [value] }", "values: [value], sequence: { end: last } }")
        .replace("infer: { model: m, mode: carry }", &format!("infer: {{ {} }}", trial.infer))
        .replace("fields: [value] }", &format!("fields: {} }}", trial.fields))
        .replace("key: key, properties", "key: key, columns: { last: boolean }, properties");
    assert!(text.contains("end: last") && text.contains(trial.infer) && text.contains("last: boolean"));
    std::fs::write(setup.file(), text).unwrap();

    // The same in a file.
    let folder = tempfile::tempdir().unwrap();
    (trial.publish)(folder.path());
    write_records(&folder.path().join("data.parquet"), &records);
    let sink = format!("stdout: {{ fields: {} }}", trial.fields);
    let file = common::pipeline(folder.path(), trial.infer, &sink, "");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("values: [value]", "values: [value]\n  sequence: { end: last }")).unwrap();
    let (out, _) = kolk_exits(0, &["run", file.to_str().unwrap()]);
    let expected = answers(out.lines().map(str::as_bytes), trial.compared);
    assert_eq!(expected.values().map(Vec::len).sum::<usize>(), (trial.outputs)(&records));

    let sender = Sender::new(&broker);
    let outputs = |count: usize| {
        eventually(&format!("{count} outputs"), || {
            Some(all(&broker, &setup.output)).filter(|messages| messages.len() >= count)
        })
    };
    let mut taken = 0;
    for to in [300, 301, 777, records.len()] {
        let kolk = setup.start("a");
        let messages: Vec<_> = records[taken..to].iter().map(message).collect();
        sender.send_text(&setup.input, &messages);
        sender.flush();
        outputs((trial.outputs)(&records[..to]));
        taken = to;
        kolk.kill();
    }
    let messages = outputs((trial.outputs)(&records));
    let found = answers(messages.iter().map(|message| message.payload().unwrap()), trial.compared);
    assert_eq!(found, expected, "{}", trial.infer);
}
