//! Mode sequence on Kafka: the answer of a sequence comes with the record that ends it, exactly once, through kills;
//! and it is that of the same records in a file.

use std::collections::BTreeMap;

use kolk::kernel::CellKind;
use kolk::network::Pool;
use rdkafka::Message;
use serde_json::Value;

use super::broker::{Broker, eventually};
use super::process::Setup;
use super::records::{Sender, all};
use crate::classes::{Record, publish_classes, records, write_records};
use crate::common::{self, kolk_exits};

const EXTRA: &str = "state: { path: state/, checkpoint_every: 300ms }\nruntime: { instance: \"${KOLK_INSTANCE}\" }";
const FIELDS: [&str; 5] = ["prediction", "prediction_probability", "prediction_no", "label", "warm_up"];

/// Of each key the answers of its sequences, in order.
fn answers<'a>(rows: impl Iterator<Item = &'a [u8]>) -> BTreeMap<String, Vec<Value>> {
    let mut answers: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for row in rows {
        let row: Value = serde_json::from_slice(row).unwrap();
        let key = row["key"].as_str().unwrap().to_string();
        answers.entry(key).or_default().push(FIELDS.iter().map(|field| row[*field].clone()).collect());
    }
    answers
}

fn message((key, ts, value, last, label): &Record) -> (String, String) {
    (key.clone(), serde_json::json!({ "ts": ts, "value": value, "last": last, "label": label }).to_string())
}

#[test]
fn each_sequence_is_answered_once_through_kills() {
    let broker = Broker::shared();
    let records = records();
    for (model, layers) in [("steps", [(CellKind::Gru, 6, false)]), ("whole", [(CellKind::Gru, 4, true)])] {
        let setup = Setup::new(&broker, "sequences", EXTRA);
        publish_classes(setup.path(), model, &layers, Pool::Last);
        let text = std::fs::read_to_string(setup.file()).unwrap();
        let text = text
            .replace("values: [value] }", "values: [value], sequence: { end: last } }")
            .replace("infer: { model: m, mode: carry }", &format!("infer: {{ model: {model}, mode: sequence }}"))
            .replace("fields: [value] }", "fields: [label, prediction_no] }")
            .replace("key: key, properties", "key: key, columns: { last: boolean }, properties");
        assert!(text.contains("end: last") && text.contains("mode: sequence") && text.contains("last: boolean"));
        std::fs::write(setup.file(), text).unwrap();

        // The same in a file.
        let folder = tempfile::tempdir().unwrap();
        publish_classes(folder.path(), model, &layers, Pool::Last);
        write_records(&folder.path().join("data.parquet"), &records);
        let infer = format!("model: {model}, mode: sequence");
        let file = common::pipeline(folder.path(), &infer, "stdout: { fields: [label, prediction_no] }", "");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replace("values: [value]", "values: [value]\n  sequence: { end: last }")).unwrap();
        let (out, _) = kolk_exits(0, &["run", file.to_str().unwrap()]);
        let expected = answers(out.lines().map(str::as_bytes));
        let ends = |to: usize| records[..to].iter().filter(|record| record.3).count();
        assert_eq!(expected.values().map(Vec::len).sum::<usize>(), ends(records.len()));

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
            outputs(ends(to));
            taken = to;
            kolk.kill();
        }
        let messages = outputs(ends(records.len()));
        let found = answers(messages.iter().map(|message| message.payload().unwrap()));
        assert_eq!(found, expected, "{model}");
    }
}
