//! What a user wrote as a secret is shown nowhere: not by the commands, in their logs, in state, models or output.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::common::{self, series, write};

/// A password with characters that URLs and JSON write in another way.
pub const PASSWORD: &str = "Geheim/Wort \"ünd\" 4711";
/// The same as URLs have it.
pub const ENCODED: &str = "Geheim%2FWort%20%22%C3%BCnd%22%204711";

/// Every form in which a message might repeat a password of a user.
pub fn forms(user: &str, password: &str) -> Vec<String> {
    let json = serde_json::Value::from(password).to_string();
    let plus: String = url::form_urlencoded::byte_serialize(password.as_bytes()).collect();
    vec![
        password.to_string(),
        json[1..json.len() - 1].to_string(),
        plus.replace('+', "%20"),
        plus,
        STANDARD.encode(format!("{user}:{password}")),
        STANDARD.encode(password),
    ]
}

/// Asserts that no form is in bytes.
pub fn assert_hidden(forms: &[String], what: &str, bytes: &[u8]) {
    for form in forms {
        let found = bytes.windows(form.len()).any(|window| window == form.as_bytes());
        assert!(!found, "{what} shows {form}:\n{}", String::from_utf8_lossy(bytes));
    }
}

/// Asserts that no form is in a file of a folder, however deep, nor in its name; `but` is the pipeline file itself.
pub fn assert_hidden_within(forms: &[String], folder: &Path, but: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        assert_hidden(forms, "a name", path.as_os_str().as_encoded_bytes());
        if path.is_dir() {
            assert_hidden_within(forms, &path, but);
        } else if path != but {
            assert_hidden(forms, &path.display().to_string(), &std::fs::read(&path).unwrap());
        }
    }
}

/// Runs a command with every log line and secrets in the environment.
fn kolk(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kolk"));
    command.args(arguments).env("KOLK_LOG", "trace").env("KOLK_TEST_PASSWORD", PASSWORD);
    for name in ["AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AZURE_STORAGE_SAS_TOKEN", "GOOGLE_SERVICE_ACCOUNT_KEY"]
    {
        command.env(name, PASSWORD);
    }
    command.output().unwrap()
}

fn refused(file: &Path, text: &str) -> String {
    std::fs::write(file, text).unwrap();
    let mut told = String::new();
    for words in [&["check"][..], &["run"], &["check", "--log", "json"]] {
        let output = kolk(&[words, &[file.to_str().unwrap()]].concat());
        told = String::from_utf8_lossy(&output.stderr).into();
        assert_eq!(output.status.code(), Some(2), "{told}");
        for bytes in [&output.stdout, &output.stderr] {
            assert_hidden(&forms("u", PASSWORD), &format!("kolk {words:?} of\n{text}\n"), bytes);
            assert_hidden(&["hunter-2".into()], &format!("kolk {words:?} of\n{text}\n"), bytes);
        }
    }
    told
}

/// Wherever it stands in the file: a problem shows what was expected there, and not the secret.
#[test]
fn problems_show_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.yaml");
    let refused = |source: &str, rest: &str| {
        let text = format!(
            "name: p\nsource: {{ {source} }}\nrecord: {{ key: k, time: {{ column: ts, unit: ms }}, values: [v] }}\n\
             sink: {{ stdout: {{}} }}\n{rest}\n"
        );
        refused(&file, &text)
    };
    let kafka = |more: &str| format!("kafka: {{ brokers: \"127.0.0.1:1\", topic: t, key: k, {more} }}");
    let avro = |more: &str| kafka(&format!("format: {{ avro: {{ {more} }} }}"));
    for (source, expected) in [
        ("parquet: { path: \"s3://b/x?X-Amz-Signature=hunter-2\" }".into(), "AWS_SECRET_ACCESS_KEY"),
        ("parquet: { path: \"az://c/x?sv=1&sig=hunter-2\" }".into(), "AZURE_STORAGE_SAS_TOKEN"),
        ("parquet: { path: \"s3://u:hunter-2@b/x\" }".into(), "AWS_SECRET_ACCESS_KEY"),
        ("parquet: { path: \"https://h/x?sig=hunter-2\" }".into(), "expected a path"),
        ("parquet: { path: \"https://u:hunter-2@h/x\" }".into(), "expected a path"),
        (format!("parquet: {{ path: \"ftp://u:{ENCODED}@h/x\" }}"), "expected a path"),
        (kafka("properties: hunter-2"), "a mapping of librdkafka"),
        (kafka("start: \"${KOLK_TEST_PASSWORD}\""), "the value of"),
        (kafka("properties: { sasl.password: [hunter-2] }"), "sasl.password"),
        (kafka("properties: { sasl.mechanism: \"${KOLK_TEST_PASSWORD}\", sasl.password: hunter-2 }"), "sasl.mechanism"),
        (kafka("properties: { security.protocol: ssl, ssl.key.pem: hunter-2 }"), "ssl.key.pem"),
        (avro("registry: \"u:hunter-2@h\""), "begins with http"),
        (avro("registry: \"http://u:hunter-2/@h:1\""), "percent-encoded"),
        (avro("registry: \"http://h:1?token=hunter-2\""), "no ?"),
        (avro("registry: \"http://h:1\", auth: \"u:hunter-2\""), "`auth`: expected"),
        (avro("registry: \"http://a:hunter-2@h:1\", auth: { user: u, password: hunter-2 }"), "write it once"),
        (avro("registry: \"http://h:1\", auth: { user: u, password: [hunter-2] }"), "`password`"),
        ("kafka: { brokers: \"sasl_ssl://u:hunter-2@h:1\", topic: t, key: k }".into(), "sasl.password"),
    ] {
        let told = refused(&source, "");
        assert!(told.replace("\\\"", "\"").contains(expected), "{source}: {told}");
    }
    let told = refused("parquet: { path: x }", "runtime: { batch: \"${KOLK_TEST_PASSWORD}\" }");
    assert!(told.contains("the value of"), "{told}");
}

/// A registry that wants another password, in front of everything else; it repeats what it was asked with.
#[test]
fn a_registry_that_refuses_the_password_makes_nothing_show_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for (count, mut client) in listener.incoming().flatten().enumerate() {
            let mut asked = vec![0; 8192];
            let length = client.read(&mut asked).unwrap_or(0);
            let body = String::from_utf8_lossy(&asked[..length]).replace(['\r', '\n'], " ");
            let status = ["401 Unauthorized", "403 Forbidden", "400 Bad Request", "500 Oops"][count % 4];
            let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ = client.write_all((head + &body).as_bytes());
        }
    });
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("letters")).unwrap();
    let file = folder.path().join("p.yaml");
    for registry in [
        format!("registry: \"http://u:{ENCODED}@{address}\""),
        format!("registry: \"http://{address}\", auth: {{ user: u, password: \"${{KOLK_TEST_PASSWORD}}\" }}"),
    ] {
        for _ in 0..2 {
            let told = refused(
                &file,
                &format!(
                    "name: p\nsource: {{ dead_letters: {{ path: letters/, format: {{ avro: {{ subject: s, {registry} }} }} }} }}\n\
                     record: {{ time: {{ column: ts, unit: ms }}, values: [v] }}\nsink: {{ stdout: {{}} }}\n"
                ),
            );
            assert!(told.contains(&address.to_string()), "{told}");
        }
    }
}

/// Every command on files, with secrets in the environment and every line of the log.
#[test]
fn no_command_shows_a_secret_of_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("data.parquet"), &series(3, 300), 500);
    let file = folder.path().join("p.yaml");
    let text = "name: p\nsource: { parquet: { path: data.parquet } }\nrecord: { key: key, time: ts, values: [value] }\n\
                stages:\n  - filter: { where: \"key != '${KOLK_TEST_PASSWORD:-x}'\" }\n  - infer: { model: m, mode: carry }\n\
                sink: { parquet: { path: out/ } }\n\
                train: { target: value, layers: [ gru: 4 ], updates: 10 }\n";
    // The text of a condition is part of a model's manifest: nobody writes a password there.
    std::fs::write(&file, text.replace("${KOLK_TEST_PASSWORD:-x}", "none")).unwrap();
    let (name, models) = (file.to_str().unwrap(), folder.path().join("models"));
    let models = models.to_str().unwrap();
    let all = forms("u", PASSWORD);
    for (code, words) in [
        (0, &["train", name][..]),
        (0, &["check", name]),
        (0, &["run", name, "--log", "json"]),
        (0, &["run", name]),
        (0, &["state", "list", name]),
        (0, &["state", "get", name, "key-001"]),
        (0, &["summary", name]),
        (0, &["models", "list", "--models", models]),
        (0, &["models", "show", "m", "--models", models]),
        (0, &["state", "reset", name, "--yes"]),
    ] {
        let output = kolk(words);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "kolk {words:?}: {told}");
        assert_hidden(&all, &format!("kolk {words:?}"), &output.stdout);
        assert_hidden(&all, &format!("kolk {words:?}"), &output.stderr);
    }
    assert_hidden_within(&all, folder.path(), &file);
    assert!(!common::files(&folder.path().join("out")).is_empty());
}
