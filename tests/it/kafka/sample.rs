//! What is said of a topic before anything is processed: records that would be refused, columns that never come, times
//! that are not plausible, an address that can't be reached.

use std::time::Duration;

use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::broker::{Broker, eventually};
use super::front::{self, register};
use super::process::Setup;
use crate::common::kolk_exits;

/// Sends payloads with a key.
pub fn send(broker: &Broker, topic: &str, payloads: impl Iterator<Item = String>) {
    let producer: BaseProducer = broker.client().set("partitioner", "murmur2_random").create().unwrap();
    for payload in payloads {
        producer.send(BaseRecord::to(topic).key("a").payload(&payload)).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(Duration::from_secs(60)).unwrap();
}

fn checked(setup: &Setup, code: i32) -> String {
    kolk_exits(code, &["check", setup.file().to_str().unwrap()]).1
}

#[test]
fn an_empty_topic_is_said_to_be_empty() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "empty", "");
    let said = checked(&setup, 0);
    assert!(said.contains(&format!("topic {} has no messages yet", setup.input)), "{said}");
    assert!(!said.contains("warning"), "{said}");
}

#[test]
fn good_messages_are_no_news() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "good", "");
    let now = chrono::Utc::now().timestamp_millis();
    send(&broker, &setup.input, (0..50).map(|i| format!("{{\"ts\":{},\"value\":{i}}}", now - 50 + i)));
    assert_eq!(checked(&setup, 0), "");
}

#[test]
fn nested_and_misspelt_columns_are_found_and_seconds_that_are_read_as_milliseconds() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "nested", "");
    let nested = |i: i64| format!("{{\"ts\":{},\"payload\":{{\"after\":{{\"value\":{i}}}}}}}", 1_700_000_000 + i);
    send(&broker, &setup.input, (0..40).map(nested));
    let nested = "column \"value\" is in none of them, but \"payload.after.value\" is";
    let unit = "40 of 40 times in \"ts\" are not plausible: they are from 1970-01-20T16:13:20Z";
    let said = checked(&setup, 0);
    for part in ["warning: ", "in its last 40 messages", nested, unit, "from 2023-11-14T22:13:20Z", "write unit: s"] {
        assert!(said.contains(part), "no {part} in {said}");
    }
    // The start says the same, and goes on.
    let kolk = setup.start("a");
    eventually("the warnings", || kolk.log().contains("the group moves partitions").then_some(()));
    let log = kolk.stop();
    assert!(log.contains("WARN") && log.contains(nested) && log.contains("write unit: s"), "{log}");

    let setup = Setup::new(&broker, "misspelt", "");
    let misspelt = |i: i64| format!("{{\"ts\":{},\"vaule\":{i}}}", 1_700_000_000_000 + i);
    send(&broker, &setup.input, (0..10).map(misspelt));
    let said = checked(&setup, 0);
    assert!(said.contains("column \"value\" is in none of them, did you mean \"vaule\"?"), "{said}");
    assert!(!said.contains("plausible"), "{said}");

    // Seconds with a fraction.
    let setup = Setup::new(&broker, "fraction", "");
    let text = std::fs::read_to_string(setup.file()).unwrap();
    std::fs::write(setup.file(), text.replace("unit: ms", "unit: s")).unwrap();
    send(&broker, &setup.input, (0..10).map(|i| format!("{{\"ts\":{}.25,\"value\":1}}", 1_706_702_400 + i)));
    let said = checked(&setup, 0);
    for part in ["10 of 10 records (100 %) would be refused: 10 bad_value", "found 1706702400.25: `unit: float_s`"] {
        assert!(said.contains(part), "no {part} in {said}");
    }
}

#[test]
fn what_would_be_refused_is_counted_with_an_example() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "would", "");
    let bad = (0..30).map(|ts| format!("{{\"ts\":{ts},\"value\":\"\\u001b[31m\"}}"));
    let good = (0..10).map(|i| format!("{{\"ts\":{},\"value\":1}}", 1_700_000_000_000_i64 + i));
    send(&broker, &setup.input, bad.chain(good));
    let said = checked(&setup, 0);
    assert!(
        said.contains("30 of 40 records (75 %) would be refused: 30 bad_value; for example bad_value at"),
        "{said}"
    );
    assert!(said.contains("\"value\": invalid type: string"), "{said}");
    assert!(!said.contains('\u{1b}'), "{said}");
    // Not one is JSON: they begin as messages with a schema registry do.
    let setup = Setup::new(&broker, "framed", "");
    send(&broker, &setup.input, (0..10).map(|i| format!("\0\0\0\0{i}abc")));
    let said = checked(&setup, 0);
    assert!(said.contains("10 of 10 records (100 %) would be refused") && said.contains("schema registry"), "{said}");
}

#[test]
fn keys_that_are_hardly_text_are_said_to_be_so() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "shape", "");
    let producer: BaseProducer = broker.client().create().unwrap();
    for key in 1..20_i32 {
        let (key, payload) = (key.to_be_bytes(), format!("{{\"ts\":{},\"value\":1}}", 1_700_000_000_000_i64));
        producer.send(BaseRecord::to(&setup.input).key(&key).payload(&payload)).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(Duration::from_secs(60)).unwrap();
    let said = checked(&setup, 0);
    assert!(said.contains("keys look like 4-byte integers: write `key: {"), "{said}");
    assert!(!said.contains("refused"), "{said}");
}

#[test]
fn fields_whose_names_differ_in_case_only_are_told() {
    let broker = Broker::shared();
    let told = "field \"value\" is read, not \"Value\", which is another one";
    let setup = Setup::new(&broker, "case", "");
    send(
        &broker,
        &setup.input,
        (0..10).map(|i| format!("{{\"ts\":{},\"value\":1,\"Value\":2}}", 1_700_000_000_000_i64 + i)),
    );
    let said = checked(&setup, 0);
    assert!(said.contains(told), "{said}");

    let setup = Setup::new(&broker, "case-avro", "");
    let field = |name: &str, of: &str| serde_json::json!({ "name": name, "type": of });
    let fields = [field("ts", "long"), field("Value", "double"), field("value", "double")];
    let schema = serde_json::json!({ "type": "record", "name": "Case", "fields": fields });
    register(&format!("{}-value", setup.input), "AVRO", &schema.to_string());
    let registry = front::url();
    let text = std::fs::read_to_string(setup.file()).unwrap();
    let format = format!("key: key, format: {{ avro: {{ registry: \"{}\" }} }}, properties", registry);
    std::fs::write(setup.file(), text.replace("key: key, properties", &format)).unwrap();
    let said = checked(&setup, 0);
    assert!(said.contains(told), "{said}");
}

/// The test broker's listener for proxies, and nothing listens at the address that it advertises.
#[test]
fn an_advertised_address_that_cannot_be_reached_is_named_and_librdkafka_is_silent() {
    let broker = Broker::shared();
    let (advertised, listener) = Broker::shared_routes().remove(0);
    let setup = Setup::new(&broker, "advertised", "runtime: { workers: 1 }");
    let text = std::fs::read_to_string(setup.file()).unwrap().replace(&broker.address, &listener);
    std::fs::write(setup.file(), &text).unwrap();
    let silent = |log: &str| {
        for part in ["librdkafka", "%3|", "FAIL", "rdkafka"] {
            assert!(!log.contains(part), "{part} in {log}");
        }
    };
    let said = checked(&setup, 2);
    assert!(said.contains(&format!("tell clients to go on at {advertised} (")), "{said}");
    assert!(said.contains("advertised.listeners") && said.contains("error: 1 problem"), "{said}");
    silent(&said);
    let (code, log) = setup.start("a").fails();
    assert!(code == 2 && log.contains(&advertised), "{log}");
    silent(&log);
    // Nor is anything to be heard of it where no broker answers at all.
    std::fs::write(setup.file(), text.replace(&listener, "127.0.0.1:1")).unwrap();
    let (code, log) = setup.start("b").fails();
    assert!(code == 2 && log.contains("no broker answers at 127.0.0.1:1"), "{log}");
    silent(&log);
}

#[test]
fn a_graph_of_others_is_proved_on_the_last_messages() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "proved", "");
    let onnx = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/torch_gru_step_script.onnx");
    let folder = tempfile::tempdir().unwrap();
    let card = folder.path().join("card.yaml");
    let text = format!(
        "onnx: {}\nname: {}\nlayout: batch_first\ninputs: {{ x: {{ columns: [value] }} }}\nstates: {{ h: {{ out: hn }} }}\n\
         outputs: {{ y: {{ column: z }} }}\n",
        onnx.display(),
        model(&setup)
    );
    std::fs::write(&card, text).unwrap();
    let import = || {
        let models = folder.path().join("models");
        let (card, models, data) = (card.to_str().unwrap(), models.to_str().unwrap(), setup.file());
        let (out, said) =
            kolk_exits(0, &["models", "import", card, "--models", models, "--data", data.to_str().unwrap()]);
        out + &said
    };
    let said = import();
    assert!(said.contains("has no messages yet: the model is proved on made-up rows alone"), "{said}");
    send(&broker, &setup.input, (0..50).map(|i| format!("{{\"ts\":{},\"value\":0.{i}}}", 1_700_000_000_000_i64 + i)));
    let said = import();
    let rows = format!("48 rows of 1 key of the last messages of topic {} as 53 sequences of 12 steps", setup.input);
    assert!(said.contains(&rows) && said.contains("rows don't influence each other"), "{said}");
}

/// The model that its pipeline names.
fn model(setup: &Setup) -> String {
    let text = std::fs::read_to_string(setup.file()).unwrap();
    let model = text.split("model: ").nth(1).unwrap();
    model.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '-').next().unwrap().to_owned()
}
