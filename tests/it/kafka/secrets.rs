//! A whole run with secrets everywhere: a registry that wants a user and a password in its URL, a broker that wants
//! them too. Nothing that the run leaves behind shows them.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use base64::Engine;
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Headers;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::broker::{Broker, eventually};
use super::front;
use super::process::Setup;
use super::secure::{self, Secure, VARIABLE};
use crate::secrets::{ENCODED, PASSWORD, assert_hidden, assert_hidden_within, forms};

const USER: &str = "registrar";
const SCHEMA: &str =
    r#"{"type":"record","name":"M","fields":[{"name":"ts","type":"long"},{"name":"value","type":"double"}]}"#;

/// A guard in front of the real registry, which lets nobody in without the password.
fn guarded() -> String {
    let registry = front::url();
    let (host, path) = registry.trim_start_matches("http://").split_once('/').unwrap();
    let (host, path) = (host.to_string(), path.to_string());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // It ends with the process of the tests.
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let host = host.clone();
            std::thread::spawn(move || guard(client, &host));
        }
    });
    format!("{address}/{path}")
}

fn guard(mut client: TcpStream, host: &str) {
    let wanted = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"));
    let mut asked = Vec::new();
    while !asked.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut bytes = [0; 4096];
        match client.read(&mut bytes) {
            Ok(length) if length > 0 => asked.extend_from_slice(&bytes[..length]),
            _ => return,
        }
    }
    let head = String::from_utf8_lossy(&asked).to_string();
    if !head.lines().any(|line| line.to_ascii_lowercase().starts_with("authorization:") && line.contains(&wanted)) {
        let body = format!("who are you? {}", head.replace(['\r', '\n'], " "));
        let _ = write!(
            client,
            "HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        return;
    }
    let mut server = TcpStream::connect(host).unwrap();
    server.write_all(&asked).unwrap();
    let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    std::thread::spawn(move || std::io::copy(&mut from, &mut to));
    let _ = std::io::copy(&mut server, &mut client);
    // The other direction waits on the same connection.
    let _ = client.shutdown(Shutdown::Both);
}

/// The page that is served at a path.
fn page(address: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// Everything of a topic's messages: keys, payloads, headers.
fn messages(broker: &Broker, topic: &str, count: usize) -> Vec<u8> {
    let consumer: BaseConsumer =
        broker.client().set("group.id", topic).set("auto.offset.reset", "earliest").create().unwrap();
    consumer.subscribe(&[topic]).unwrap();
    let (mut all, mut found) = (Vec::new(), 0);
    eventually("messages", || {
        while let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
            all.extend(message.key().unwrap_or_default());
            all.extend(message.payload().unwrap_or_default());
            for header in message.headers().into_iter().flat_map(Headers::iter) {
                all.extend(header.key.as_bytes());
                all.extend(header.value.unwrap_or_default());
            }
            found += 1;
        }
        (found >= count).then_some(())
    });
    all
}

#[test]
fn a_whole_run_shows_no_password() {
    let (broker, secure, registry) = (Broker::shared(), Secure::shared(), guarded());
    let http = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let extra = format!(
        "state: {{ path: state/, checkpoint_every: 1s }}\nruntime: {{ instance: \"${{KOLK_INSTANCE:-check}}\", http: \"{http}\" }}"
    );
    let setup = Setup::new(&broker, "secrets", &extra);
    secure.enter(&broker, &setup, None, None);
    secure::allow(&broker, &setup);
    let avro = |password: &str| format!("{{ avro: {{ registry: \"http://{USER}:{password}@{registry}\" }} }}");
    let plain = std::fs::read_to_string(setup.file()).unwrap();
    let with = |password: &str| {
        let text = plain.replacen("key: key,", &format!("key: key, format: {},", avro(password)), 1);
        let text = text.replace("fields: [value]", &format!("fields: [value], format: {}", avro(password)));
        std::fs::write(setup.file(), text).unwrap();
    };
    let mut hidden = forms(USER, PASSWORD);
    hidden.extend(forms("kolk", secure::PASSWORD));

    // The first schema, by the way in that a user would take.
    let body = serde_json::json!({ "schema": SCHEMA }).to_string();
    let (host, path) = registry.split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    let login = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"));
    write!(
        stream,
        "POST /{path}/subjects/{}-value/versions HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nAuthorization: Basic {login}\r\n\
         Content-Type: application/vnd.schemaregistry.v1+json\r\nContent-Length: {}\r\n\r\n{body}",
        setup.input,
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let id = answer.split_once("\"id\":").unwrap_or_else(|| panic!("{answer}")).1;
    let id: u32 = id.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap();

    // Another password than the registry's.
    let other = "Nicht/Das \"Wort\"";
    with("Nicht%2FDas%20%22Wort%22");
    let mut all = hidden.clone();
    all.extend(forms(USER, other));
    let checked = secure::check(&setup, secure::PASSWORD);
    let (code, told) = secure::said(&checked);
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("not authorised") && told.contains(host), "{told}");
    assert_hidden(&all, "check", told.as_bytes());
    let environment = [(VARIABLE, secure::PASSWORD), ("KOLK_LOG", "trace")];
    let (code, told) = setup.start_with("refused", &environment).fails();
    assert_eq!(code, 2, "{told}");
    assert!(told.contains("not authorised"), "{told}");
    assert_hidden(&all, "run", told.as_bytes());

    // The right one: records, and some that are none.
    with(ENCODED);
    let (code, told) = secure::said(&secure::check(&setup, secure::PASSWORD));
    assert_eq!(code, Some(0), "{told}");
    assert_hidden(&all, "check", told.as_bytes());
    let producer: BaseProducer = broker.client().create().unwrap();
    for row in 0..60_u32 {
        let mut payload = vec![0];
        payload.extend(if row % 6 == 5 { 4_000_000 + row } else { id }.to_be_bytes());
        payload.push((row * 2) as u8);
        payload.extend(1.0_f64.to_le_bytes());
        producer
            .send(BaseRecord::to(&setup.input).key(&format!("k{}", row % 3)).payload(&payload))
            .map_err(|(e, _)| e)
            .unwrap();
    }
    producer.flush(Duration::from_secs(60)).unwrap();
    let kolk = setup.start_with("a", &environment);
    let dead = messages(&broker, &setup.dead, 10);
    let output = messages(&broker, &setup.output, 50);
    eventually("a checkpoint", || setup.path().join("state/test").read_dir().ok().map(|_| ()));
    for path in ["/metrics", "/readyz", "/healthz", "/", "/config"] {
        let page = page(&http, path).unwrap();
        assert_hidden(&all, path, page.as_bytes());
    }
    let log = kolk.stop();
    assert!(log.contains("records"), "{log}");
    assert_hidden(&all, "run", log.as_bytes());
    assert_hidden(&all, "dead letters", &dead);
    assert_hidden(&all, "output", &output);
    assert_hidden_within(&all, setup.path(), &setup.file());
    for words in [&["state", "list", "--json"][..], &["state", "get"]] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_kolk"));
        command.args(words).arg(setup.file()).env(VARIABLE, secure::PASSWORD).env("KOLK_LOG", "trace");
        if words[1] == "get" {
            command.arg("k1");
        }
        let output = command.output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).to_string();
        assert!(output.status.success(), "{words:?}: {told}");
        assert_hidden(&all, "state", told.as_bytes());
        assert_hidden(&all, "state", &output.stdout);
    }
}
