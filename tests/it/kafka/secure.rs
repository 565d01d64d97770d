//! A broker with TLS, a user, a password and rights: the listener that `scripts/kafka.sh secure` prints.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use super::broker::Broker;
use super::process::Setup;
use super::records::{Reader, Sender, assert_equal, expected};
use crate::common::{self, series};

/// That of the user kolk; scripts/kafka.sh has the same.
pub const PASSWORD: &str = "loopback-not-a-secret";
/// How the pipelines here get it.
pub const VARIABLE: &str = "KOLK_TEST_PASSWORD";
const EXTRA: &str =
    "state: { path: state/, checkpoint_every: 1s }\nruntime: { workers: 2, instance: \"${KOLK_INSTANCE:-check}\" }";
const SOON: Duration = Duration::from_secs(60);

/// The listener with TLS and SASL of the broker that all tests share.
pub struct Secure {
    address: String,
    ca: String,
}

impl Secure {
    pub fn shared() -> Secure {
        let needed = |name: &str| {
            std::env::var(name).unwrap_or_else(|_| {
                panic!("{name} is not set: `make test` sets it; scripts/kafka.sh secure prints KOLK_KAFKA_SECURE and KOLK_KAFKA_CA")
            })
        };
        Secure { address: needed("KOLK_KAFKA_SECURE"), ca: needed("KOLK_KAFKA_CA") }
    }

    /// That of a broker of a test's own.
    pub fn of(broker: &Broker) -> Secure {
        let (address, ca) = broker.secure();
        Secure { address, ca }
    }

    /// Makes a pipeline go through this listener, as the user kolk; with another password or CA where they are given.
    pub fn enter(&self, broker: &Broker, setup: &Setup, password: Option<&str>, ca: Option<&str>) {
        let Secure { address, .. } = self;
        let password = password.map_or(format!("\"${{{VARIABLE}}}\""), |text| format!("\"{text}\""));
        let ca = ca.unwrap_or(&self.ca);
        let properties = format!(
            "properties: {{ security.protocol: SASL_SSL, ssl.ca.location: \"{ca}\", sasl.mechanism: PLAIN, sasl.username: kolk, sasl.password: {password}, "
        );
        let text = std::fs::read_to_string(setup.file()).unwrap();
        let text = text.replace(&broker.address, address).replace("properties: { ", &properties);
        assert!(text.contains(address.as_str()) && text.contains("sasl.password"), "{text}");
        std::fs::write(setup.file(), text).unwrap();
    }
}

/// Everything that a pipeline of [`Setup`] needs.
pub fn allow(broker: &Broker, setup: &Setup) {
    let Setup { input, output, dead, group, .. } = setup;
    broker.acl("--add", "Read", &["--topic", input, "--group", group]);
    broker.acl(
        "--add",
        "Write",
        &["--topic", output, "--topic", dead, "--transactional-id", &format!("test-{group}-")],
    );
    broker.acl("--add", "DescribeConfigs", &["--topic", input, "--topic", output, "--topic", dead]);
}

/// `kolk check`, with every line of the log.
pub fn check(setup: &Setup, password: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kolk"));
    command.arg("check").arg(setup.file()).env(VARIABLE, password).env("KOLK_LOG", "trace");
    common::finished(&mut command)
}

/// Code and stderr.
pub fn said(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into())
}

/// Asserts that a text is in no file of a folder, however deep.
fn assert_nowhere(text: &str, folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            assert_nowhere(text, &path);
        } else {
            let bytes = std::fs::read(&path).unwrap();
            let found = bytes.windows(text.len()).any(|window| window == text.as_bytes());
            assert!(!found, "{} has {text}", path.display());
        }
    }
}

#[test]
fn every_record_once_through_tls_and_sasl() {
    let (broker, secure) = (Broker::shared(), Secure::shared());
    let setup = Setup::new(&broker, "secure", EXTRA);
    let rows = series(12, 100);
    let expected = expected(setup.path(), &rows);
    secure.enter(&broker, &setup, None, None);
    allow(&broker, &setup);
    let checked = check(&setup, PASSWORD);
    let (code, log) = said(&checked);
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains(PASSWORD) && !log.contains("warning"), "{log}");

    let environment = [(VARIABLE, PASSWORD), ("KOLK_LOG", "trace")];
    let (sender, mut reader) = (Sender::new(&broker), Reader::new(&broker, &setup.output));
    sender.send(&setup.input, &rows[..700]);
    let kolk = setup.start_with("a", &environment);
    reader.read_until(300, SOON);
    kolk.kill();
    let kolk = setup.start_with("a", &environment);
    sender.send(&setup.input, &rows[700..]);
    reader.read_until(rows.len(), SOON);
    kolk.stop();

    broker.settled(&setup.output);
    reader.read(SOON);
    assert_equal(&reader.outputs, &expected);
    assert!(Reader::is_empty(&broker, &setup.dead));
    // Not in the logs, nor in the state.
    assert_nowhere(PASSWORD, setup.path());
}

#[test]
fn a_wrong_password_is_told_at_once_and_never_shown() {
    const WRONG: &str = "another-password-entirely";
    let (broker, secure) = (Broker::shared(), Secure::shared());
    let setup = Setup::new(&broker, "password", EXTRA);
    secure.enter(&broker, &setup, None, None);
    let (code, log) = said(&check(&setup, WRONG));
    assert_eq!(code, Some(2), "{log}");
    assert_eq!(log.matches("refuse the user or the password").count(), 1, "{log}");
    assert!(log.contains("check sasl.mechanism, sasl.username and sasl.password"), "{log}");
    let (code, log) = setup.start_with("a", &[(VARIABLE, WRONG), ("KOLK_LOG", "trace")]).fails();
    assert_eq!(code, 2, "{log}");
    assert!(log.contains("refuse the user or the password"), "{log}");
    assert_nowhere(WRONG, setup.path());
    // Written in the file, it is in the file and nowhere else.
    secure_file_only(&broker, &secure, WRONG);
}

fn secure_file_only(broker: &Broker, secure: &Secure, wrong: &str) {
    let setup = Setup::new(broker, "written", EXTRA);
    secure.enter(broker, &setup, Some(wrong), None);
    let (code, log) = said(&check(&setup, ""));
    assert_eq!(code, Some(2), "{log}");
    assert!(!log.contains(wrong), "{log}");
}

#[test]
fn a_password_that_is_changed_ends_the_process() {
    let broker = Broker::own("changed");
    let secure = Secure::of(&broker);
    let setup = Setup::new(&broker, "changed", EXTRA);
    secure.enter(&broker, &setup, None, None);
    allow(&broker, &setup);
    let rows = series(4, 50);
    let (sender, mut reader) = (Sender::new(&broker), Reader::new(&broker, &setup.output));
    sender.send(&setup.input, &rows);
    let kolk = setup.start_with("a", &[(VARIABLE, PASSWORD)]);
    reader.read_until(rows.len(), SOON);
    broker.restart_with_password("another-one");
    let (code, log) = kolk.fails();
    assert_eq!(code, 1, "{log}");
    assert!(log.contains("refuse the user or the password"), "{log}");
    assert!(!log.contains(PASSWORD), "{log}");
}

#[test]
fn another_ca_is_told_at_once() {
    let (broker, secure) = (Broker::shared(), Secure::shared());
    let setup = Setup::new(&broker, "ca", EXTRA);
    let other = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/other-ca.pem");
    secure.enter(&broker, &setup, None, Some(other));
    let (code, log) = said(&check(&setup, PASSWORD));
    assert_eq!(code, Some(2), "{log}");
    assert_eq!(log.matches("no TLS connection with").count(), 1, "{log}");
    assert!(log.contains("check in `properties` that ssl.ca.location"), "{log}");

    let setup = Setup::new(&broker, "no-ca", EXTRA);
    secure.enter(&broker, &setup, None, Some("/no/such/file.pem"));
    let (code, log) = said(&check(&setup, PASSWORD));
    assert_eq!(code, Some(2), "{log}");
    assert!(log.contains("property ssl.ca.location") && log.contains("check that the file"), "{log}");

    let setup = Setup::new(&broker, "plain", EXTRA);
    let text = std::fs::read_to_string(setup.file()).unwrap();
    std::fs::write(setup.file(), text.replace(&broker.address, &secure.address)).unwrap();
    let (code, log) = said(&check(&setup, PASSWORD));
    assert_eq!(code, Some(2), "{log}");
    assert!(log.contains("security.protocol"), "{log}");
}
