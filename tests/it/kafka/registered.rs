//! Outputs in a schema that a registry has, named by id, by version and as the newest, without registering anything;
//! subjects that are named by records.

use rdkafka::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::broker::Broker;
use super::features::all;
use super::front::{register, url, versions};
use super::process::Setup;
use super::wire::{frame, varint, zigzag};
use crate::common::kolk_exits;

const START: i64 = 1_700_000_000_000;

/// A pipeline from one format into another.
fn config(setup: &Setup, broker: &Broker, source: &str, sink: &str) -> String {
    let Setup { input, output, dead, group, .. } = setup;
    let registry = format!("registry: \"{}\"", url());
    let (source, sink) = (source.replace("REGISTRY", &registry), sink.replace("REGISTRY", &registry));
    format!(
        "name: test\n\
         source: {{ kafka: {{ brokers: \"{}\", topic: {input}, group: {group}, partitioned_by: key, format: {{ {source} }} }} }}\n\
         record: {{ key: shop, time: ts, values: [v] }}\n\
         stages: [ lags: {{ v: [1] }} ]\n\
         sink: {{ kafka: {{ topic: {output}, fields: [v, v_lag_1], format: {{ {sink} }} }} }}\n\
         dead_letters: {{ kafka: {{ topic: {dead} }} }}\n",
        broker.address
    )
}

fn check(setup: &Setup, config: &str, code: i32) -> String {
    std::fs::write(setup.file(), config).unwrap();
    kolk_exits(code, &["check", setup.file().to_str().unwrap()]).1
}

/// Names the output's schema in every way: as the newest, by version, by id (`second`), and what there is none of.
/// `unfit`: the id of a schema that the output doesn't fit, and why.
fn pins(setup: &Setup, sink: impl Fn(&str) -> String, second: u32, unfit: (u32, &str)) {
    for (pin, code, words) in [
        ("latest", 0, ""),
        ("{ version: 2 }", 0, ""),
        (&*second.to_string(), 0, ""),
        ("{ version: 9 }", 2, "has no version 9 of subject"),
        ("2000000000", 2, "has no schema with id 2000000000"),
        (&*unfit.0.to_string(), 2, unfit.1),
    ] {
        let said = check(setup, &sink(pin), code);
        assert!(said.contains(words), "{pin}: {said}");
    }
}

/// Measures the pipeline that was written last, with the messages of its topic.
fn measure(setup: &Setup) {
    let (out, said) = kolk_exits(0, &["size", setup.file().to_str().unwrap(), "--sample", "--events", "1k", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out} {said}"));
    assert_eq!(
        (&report["measured"]["with"], &report["measured"]["outputs_per_message"]),
        (&"topic".into(), &1.0.into())
    );
    let bytes = |of: &str| report["measured"][of].as_f64().unwrap_or_else(|| panic!("{of} in {out}"));
    assert!((12.0..60.0).contains(&bytes("message_bytes")) && (12.0..60.0).contains(&bytes("output_bytes")), "{out}");
    assert_eq!(report["computed"][0]["enough"], true);
}

/// Sends payloads, runs to the end, and gives the outputs.
fn run(setup: &Setup, broker: &Broker, config: &str, payloads: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let producer: BaseProducer = broker.client().set("partitioner", "murmur2_random").create().unwrap();
    for payload in payloads {
        producer.send(BaseRecord::to(&setup.input).key("a").payload(payload)).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(std::time::Duration::from_secs(60)).unwrap();
    std::fs::write(setup.file(), config).unwrap();
    let (_, said) = kolk_exits(0, &["run", setup.file().to_str().unwrap(), "--until", "end"]);
    assert!(!said.contains("refused"), "{said}");
    all(broker, &setup.output, |message| message.payload().unwrap().to_vec())
}

/// A name that no other run of the tests has, as a part of the full name of a record.
fn space(setup: &Setup) -> String {
    setup.group.replace(|c: char| !c.is_ascii_alphanumeric(), "_")
}

#[test]
fn an_avro_output_has_the_registered_schema_that_is_named() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "registered", "");
    let space = space(&setup);
    let record = |name: &str, fields: &str| {
        format!(r#"{{"type":"record","name":"{name}","namespace":"{space}","fields":[{fields}]}}"#)
    };
    let sale = record(
        "Sale",
        r#"{"name":"shop","type":"string"},{"name":"ts","type":{"type":"long","logicalType":"timestamp-millis"}},{"name":"v","type":"double"}"#,
    );
    let written = register(&format!("{}-{space}.Sale", setup.input), "AVRO", &sale);
    let out = |further: &str| {
        let fields = r#"{"name":"v","type":["null","double"]},{"name":"shop","type":"string"},
            {"name":"ts","type":{"type":"long","logicalType":"timestamp-micros"}},{"name":"v_lag_1","type":["double","null"]}"#;
        record("Out", &format!("{fields}{further}"))
    };
    // Two versions, of which the second has another field.
    let subject = format!("{space}.Out");
    let first = register(&subject, "AVRO", &out(""));
    let second = register(&subject, "AVRO", &out(r#",{"name":"note","type":"string","default":"ok"}"#));
    assert_ne!(first, second);
    let source = format!("avro: {{ REGISTRY, subject_name: topic_record, record: {space}.Sale }}");
    let sink = |pin: &str| {
        config(
            &setup,
            &broker,
            &source,
            &format!("avro: {{ REGISTRY, subject_name: record, record: {space}.Out, schema: {pin} }}"),
        )
    };
    pins(&setup, sink, second, (written, "it has no field \"v_lag_1\""));
    // By the topic and the record, a subject that isn't there.
    let by_topic = sink("latest").replace("subject_name: record", "subject_name: topic_record");
    let said = check(&setup, &by_topic, 2);
    assert!(said.contains(&format!("no subject \"{}-{space}.Out\"", setup.output)), "{said}");
    let payload = |number: i64| {
        let mut bytes = [&frame(written)[..], &[2, b'a']].concat();
        zigzag(START + number, &mut bytes);
        bytes.extend((number as f64).to_le_bytes());
        bytes
    };
    let found = run(&setup, &broker, &sink("{ version: 1 }"), &[payload(1), payload(2)]);
    let expected = [1_i64, 2].map(|number| {
        let mut payload = [&frame(first)[..], &[2], &(number as f64).to_le_bytes(), &[2, b'a']].concat();
        zigzag((START + number) * 1000, &mut payload);
        match number {
            1 => payload.push(2),
            _ => payload.extend([&[0][..], &1_f64.to_le_bytes()].concat()),
        }
        payload
    });
    assert_eq!(found, expected);
    assert_eq!(versions(&subject), "[1,2]", "nothing was registered");
    // Without `schema` the output's own is registered there, by a run.
    std::fs::remove_dir_all(setup.path().join("state")).unwrap();
    let own = by_topic.replace(", schema: latest", "").replace(&setup.group, &format!("{}-own", setup.group));
    let own_subject = format!("{}-{space}.Out", setup.output);
    check(&setup, &own, 0);
    measure(&setup);
    assert!(versions(&own_subject).contains("error_code"), "`check` and `size` register nothing");
    assert_eq!(run(&setup, &broker, &own, &[]).len(), 4);
    assert_eq!(versions(&own_subject), "[1]");
}

#[test]
fn a_protobuf_output_has_the_registered_schema_that_is_named() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "registered-proto", "");
    let space = space(&setup);
    let time = "import \"google/protobuf/timestamp.proto\";";
    let sale = format!(
        "syntax = \"proto3\"; package {space}; {time} message Other {{ int32 x = 1; }}
         message Sale {{ string shop = 1; google.protobuf.Timestamp ts = 2; double v = 3; }}"
    );
    // By its message's name.
    let written = register(&format!("{space}.Sale"), "PROTOBUF", &sale);
    let out = |further: &str| {
        format!(
            "syntax = \"proto3\"; package {space}; {time} message First {{ int32 x = 1; }}
             message Out {{ message Row {{ optional double v_lag_1 = 7; google.protobuf.Timestamp ts = 2; string shop = 3; optional double v = 4; {further} }} }}"
        )
    };
    let subject = format!("{}-{space}.Out.Row", setup.output);
    let first = register(&subject, "PROTOBUF", &out(""));
    let second = register(&subject, "PROTOBUF", &out("optional string note = 8;"));
    let source = format!("protobuf: {{ REGISTRY, subject_name: record, message: {space}.Sale }}");
    let sink = |pin: &str| {
        config(
            &setup,
            &broker,
            &source,
            &format!("protobuf: {{ REGISTRY, subject_name: topic_record, message: {space}.Out.Row, schema: {pin} }}"),
        )
    };
    pins(&setup, sink, second, (written, &format!("there is no message \"{space}.Out.Row\" in the schema")));
    let said = check(&setup, &sink("latest").replace("Out.Row,", "First,"), 2);
    assert!(said.contains("no subject"), "{said}");

    let stamp = |tag: u8, number: i64| {
        let mut time = vec![8];
        varint((START / 1000 + number) as u64, &mut time);
        [&[tag, time.len() as u8][..], &time].concat()
    };
    let payload = |number: i64| {
        // The second message of its file.
        let body = [&[10, 1, b'a'][..], &stamp(18, number), &[25], &(number as f64).to_le_bytes()].concat();
        [&frame(written)[..], &[2, 2], &body].concat()
    };
    let found = run(&setup, &broker, &sink(&first.to_string()), &[payload(1), payload(2)]);
    let expected = [1_i64, 2].map(|number| {
        let lag = if number == 1 { vec![] } else { [&[57][..], &1_f64.to_le_bytes()].concat() };
        let row = [&stamp(18, number)[..], &[26, 1, b'a', 33], &(number as f64).to_le_bytes(), &lag].concat();
        // The first message within the second one.
        [&frame(first)[..], &[4, 2, 0], &row].concat()
    });
    assert_eq!(found, expected);
    measure(&setup);
    assert_eq!(versions(&subject), "[1,2]", "nothing was registered");
}
