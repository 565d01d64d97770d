//! Clients that aren't kolk's at both ends: kcat, and Confluent's for Python with Avro, Protobuf and JSON Schema through
//! a schema registry.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::broker::Broker;
use super::process::Setup;
use super::records::*;
use crate::common::{Row, finished, series};

const SOON: Duration = Duration::from_secs(60);
const EXTRA: &str = "state: { path: state/, checkpoint_every: 1s }\nruntime: { workers: 2 }";

#[test]
fn kcat_writes_and_reads() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "kcat", EXTRA);
    let rows = series(8, 50);
    let expected = expected(setup.path(), &rows);
    let kcat = |options: &[&str]| {
        let mut command = Command::new("kcat");
        command.args(["-q", "-b", &broker.address]).args(options);
        command
    };

    let mut producer = kcat(&["-P", "-t", &setup.input, "-K", "\t", "-X", "partitioner=murmur2_random"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("kcat: `make test` checks for it (Debian: kcat)");
    let mut stdin = producer.stdin.take().unwrap();
    for (key, ts, value) in &rows {
        writeln!(stdin, "{key}\t{}", serde_json::json!({ "ts": ts, "value": value })).unwrap();
    }
    drop(stdin);
    assert!(producer.wait().unwrap().success());

    let kolk = setup.start("a");
    let mut reader = Reader::new(&broker, &setup.output);
    reader.read_until(rows.len(), SOON);
    kolk.stop();
    broker.settled(&setup.output);

    let reads = ["-C", "-e", "-t", &setup.output, "-o", "beginning", "-f", "%k\t%s\n"];
    let output = finished(kcat(&reads).args(["-X", "isolation.level=read_committed"]));
    assert!(output.status.success());
    let mut found = Outputs::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let (key, payload) = line.split_once('\t').unwrap();
        assert_eq!(add(&mut found, payload.as_bytes()), key);
    }
    assert_equal(&found, &expected);
}

#[test]
fn python_writes_and_reads_avro() {
    python("avro");
}

#[test]
fn python_writes_and_reads_protobuf() {
    python("protobuf");
}

/// Its serializer of JSON Schema puts the id of the schema before the object.
#[test]
fn python_writes_json_with_a_schema() {
    python("json");
}

fn python(language: &str) {
    let needed = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: `make test` sets it"));
    let (python, registry) = (needed("KOLK_PYTHON"), needed("KOLK_REGISTRY"));
    let broker = Broker::shared();
    let setup = Setup::new(&broker, language, EXTRA);
    if language != "json" {
        let format = format!("format: {{ {language}: {{ registry: \"{registry}\" }} }}, ");
        let text = std::fs::read_to_string(setup.file()).unwrap();
        let text = text.replace("key: key, properties", &format!("key: key, {format}properties"));
        let text = text.replace("fields: [value]", &format!("{format}fields: [value]"));
        assert_eq!(text.matches(&format).count(), 2);
        std::fs::write(setup.file(), text).unwrap();
    }

    let rows = series(8, 50);
    let expected = expected(setup.path(), &rows);
    let records = setup.path().join("records.json");
    std::fs::write(&records, serde_json::to_vec::<Vec<Row>>(&rows).unwrap()).unwrap();
    let client = |word: &str, topic: &str, last: &str| {
        let output = finished(
            Command::new(&python)
                .args(["-W", "ignore", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/kafka_client.py")])
                .args([word, language, &broker.address, &registry, topic, last]),
        );
        assert!(output.status.success(), "{word}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };

    client("write", &setup.input, records.to_str().unwrap());
    let kolk = setup.start("a");
    let mut found = Outputs::new();
    for line in client("read", &setup.output, &rows.len().to_string()).lines() {
        add(&mut found, line.as_bytes());
    }
    kolk.stop();
    assert_equal(&found, &expected);
    assert!(Reader::is_empty(&broker, &setup.dead));
}
