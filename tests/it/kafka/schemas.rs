//! Schemas as others name them, registries as others protect them, keys with schemas of their own, and outputs in a
//! schema that is there already.

use std::time::Duration;

use rdkafka::Message;
use rdkafka::message::{Header, Headers, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::broker::{Broker, eventually};
use super::features::{all, reason};
use super::front::{Front, register, versions};
use super::process::Setup;
use super::wire::{frame, zigzag};
use crate::common::kolk_exits;

const SOON: Duration = Duration::from_secs(60);
const RECORD: &str = r#"{"type":"record","name":"Measured","namespace":"kolk_test","fields":[
    {"name":"ts","type":{"type":"long","logicalType":"timestamp-millis"}},{"name":"v","type":"double"}]}"#;
/// The fingerprint of RECORD, as fastavro computes it.
const FINGERPRINT: [u8; 8] = [0x11, 0x84, 0x89, 0x8b, 0x1d, 0x56, 0x6d, 0xb5];
const GUID: &str = "00112233-4455-6677-8899-aabbccddeeff";
const START: i64 = 1_700_000_000_000;

/// A record of RECORD.
fn body(number: i64) -> Vec<u8> {
    let mut bytes = Vec::new();
    zigzag(START + number, &mut bytes);
    bytes.extend((number as f64).to_le_bytes());
    bytes
}

#[test]
fn schemas_are_named_in_every_way_and_a_protected_registry_has_them() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "schemas", "");
    let Setup { input, output, dead, group, .. } = &setup;
    let folder = setup.path();
    let front = Front::new(folder, "token-of-the-start");
    std::fs::write(folder.join("token"), "token-of-the-start\n").unwrap();
    // By its record's name, so that every run of the tests has the same schema.
    let value = register("kolk_test.Measured", "AVRO", RECORD);
    front.guids.lock().unwrap().insert(GUID.into(), value);
    let key = "syntax = \"proto3\"; message Place { string shop = 1; int32 till = 2; }";
    let first = register(&format!("{input}-key"), "PROTOBUF", key);
    // Of other columns, in another order, one of them not in the output; the newest of two.
    let own = r#"{"type":"record","name":"Out","fields":[{"name":"v","type":["null","double"]},FURTHER
        {"name":"shop","type":"string"},{"name":"ts","type":{"type":"long","logicalType":"timestamp-micros"}},
        {"name":"v_lag_1","type":["double","null"]}]}"#;
    let subject = format!("{output}-registered");
    register(&subject, "AVRO", &own.replace("FURTHER", ""));
    let newest =
        register(&subject, "AVRO", &own.replace("FURTHER", r#"{"name":"note","type":"string","default":"ok"},"#));
    let registry = format!(
        "registry: \"{}\", auth: {{ token: {{ file: token }} }}, tls: {{ ca: ca.pem, certificate: client.pem, key: client.key }}",
        front.url
    );
    let config = format!(
        "name: test\n\
         source: {{ kafka: {{ brokers: \"{}\", topic: {input}, group: {group}, key: {{ column: shop, format: protobuf, field: shop }}, format: {{ avro: {{ {registry}, subject_name: record, record: kolk_test.Measured }} }}, properties: {{ session.timeout.ms: 6000 }} }} }}\n\
         record: {{ key: shop, time: ts, values: [v] }}\n\
         stages: [ lags: {{ v: [1] }} ]\n\
         sink: {{ kafka: {{ topic: {output}, fields: [v, v_lag_1], headers: all, format: {{ avro: {{ {registry}, subject: {subject}, schema: latest }} }} }} }}\n\
         dead_letters: {{ kafka: {{ topic: {dead} }} }}\n",
        broker.address
    );
    std::fs::write(setup.file(), &config).unwrap();
    let check = |config: &str, code: i32| {
        std::fs::write(setup.file(), config).unwrap();
        kolk_exits(code, &["check", setup.file().to_str().unwrap()]).1
    };
    let without = |text: &str| config.replace(text, "");
    let said = check(&without("ca: ca.pem, "), 2);
    assert!(said.contains("certificate") || said.contains("UnknownIssuer"), "{said}");
    let said = check(&without(", certificate: client.pem, key: client.key"), 2);
    assert!(said.contains("doesn't answer"), "{said}");
    let said = check(
        &config.replace("certificate: client.pem, key: client.key", "certificate: stranger.pem, key: stranger.key"),
        2,
    );
    assert!(said.contains("doesn't answer"), "{said}");
    let said = check(&config.replace("{ file: token }", "wrong-token-here"), 2);
    assert!(said.contains("not authorised") && !said.contains("wrong-token-here"), "{said}");
    let said = check(&config.replace("record: kolk_test.Measured", "record: kolk_test.Other"), 2);
    assert!(said.contains("no subject \"kolk_test.Other\""), "{said}");
    let said = check(&config.replace("fields: [v, v_lag_1]", "fields: [v]"), 0);
    assert!(!said.contains("token-of-the-start"), "{said}");
    std::fs::write(setup.file(), &config).unwrap();

    let producer: BaseProducer = broker.client().create().unwrap();
    let send = |key: Vec<u8>, payload: Vec<u8>, headers: &[(&str, Vec<u8>)]| {
        let mut all = OwnedHeaders::new().insert(Header { key: "trace", value: Some("t") });
        for (key, value) in headers {
            all = all.insert(Header { key, value: Some(value) });
        }
        let message = BaseRecord::to(input).key(&key).payload(&payload).partition(0).headers(all);
        producer.send(message).map_err(|(error, _)| error).unwrap();
        producer.flush(SOON).unwrap();
    };
    let place = [10, 1, b'a', 16, 7];
    let framed_key = |id: u32| [&frame(id)[..], &[0], &place].concat();
    let guid =
        [&[1][..], &[0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff]]
            .concat();
    send(framed_key(first), [frame(value), body(1)].concat(), &[]);
    send(
        place.to_vec(),
        body(2),
        &[("__value_schema_id", guid.clone()), ("__key_schema_id", [frame(first), vec![0]].concat())],
    );
    send(framed_key(first), body(3), &[("__value_schema_id", frame(value))]);
    send(framed_key(first), [&[0xc3, 1][..], &FINGERPRINT, &body(4)].concat(), &[]);
    let unknown = [&[1][..], &[9; 16]].concat();
    send(framed_key(first), body(9), &[("__value_schema_id", unknown)]);
    let count = |number: usize| {
        eventually("the outputs", || Some(all(&broker, output, |_| ())).filter(|found| found.len() >= number));
    };
    let kolk = setup.start("a");
    count(4);

    // A schema of keys that is registered after the start, and a token that is another one by then.
    *front.token.lock().unwrap() = "token-of-later".into();
    std::fs::write(folder.join("token"), "token-of-later").unwrap();
    let late = register(&format!("{input}-late-key"), "PROTOBUF", &key.replace("Place", "Location"));
    assert_ne!(first, late);
    send(framed_key(late), [frame(value), body(5)].concat(), &[]);
    count(5);
    let reasons = eventually("the dead letter", || Some(all(&broker, dead, reason)).filter(|found| !found.is_empty()));
    let log = kolk.stop();
    assert_eq!(reasons, ["unknown_schema"], "{log}");
    assert!(!log.contains("token-of"), "{log}");
    let found = all(&broker, output, |message| {
        let names: Vec<String> = message.headers().unwrap().iter().map(|header| header.key.to_string()).collect();
        (message.key().unwrap().to_vec(), message.payload().unwrap().to_vec(), names)
    });
    let expected: Vec<_> = (1..=5)
        .map(|number| {
            let mut payload =
                [&frame(newest)[..], &[2], &(number as f64).to_le_bytes(), &[4, b'o', b'k', 2, b'a']].concat();
            zigzag((START + number) * 1000, &mut payload);
            match number {
                1 => payload.push(2),
                _ => payload.extend([&[0][..], &((number - 1) as f64).to_le_bytes()].concat()),
            }
            (b"a".to_vec(), payload, vec!["trace".to_string()])
        })
        .collect();
    assert_eq!(found, expected, "{log}");
    assert_eq!(versions(&subject), "[1,2]", "nothing was registered");
}
