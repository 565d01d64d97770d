//! SIGTERM, SIGINT and SIGHUP before anything drains: the process ends itself, with the code of the signal.
//!
//! A process that has no handler is ended by the kernel instead, except where it is the first one of a container: there
//! the kernel ignores the signal. So what is asserted is that the process *exits*.

use std::fs::OpenOptions;
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::common::{default_hangup, pipeline};

const SIGNALS: [(&str, i32); 3] = [("TERM", 143), ("INT", 130), ("HUP", 129)];

fn spawn(arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kolk"));
    default_hangup(&mut command);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Waits for something while the process runs.
fn until<T>(child: &mut Child, mut attempt: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        assert!(started.elapsed() < Duration::from_secs(120), "not within two minutes");
        if let Some(found) = attempt() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn signal(child: &mut Child, name: &str) -> Option<i32> {
    assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
    assert!(Command::new("kill").arg(format!("-{name}")).arg(child.id().to_string()).status().unwrap().success());
    child.wait().unwrap().code()
}

/// The first thing that a command does is read its pipeline file: a pipe, which holds it up there.
#[test]
fn before_a_command_has_read_its_file_a_signal_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipeline.yaml");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for command in [&["run"][..], &["train"], &["check"], &["state", "list"]] {
        for (name, code) in SIGNALS {
            let mut child = spawn(&[command, &[pipe.to_str().unwrap()]].concat());
            // It can be opened without waiting once the other side is open.
            let mut options = OpenOptions::new();
            options.write(true).custom_flags(libc::O_NONBLOCK);
            let held = until(&mut child, || options.open(&pipe).ok());
            assert_eq!(signal(&mut child, name), Some(code), "{command:?} {name}");
            drop(held);
        }
    }
}

/// A broker that takes connections and never says a word: the start waits for it.
#[test]
fn while_a_start_waits_for_its_broker_a_signal_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    for command in ["run", "check"] {
        for (name, code) in SIGNALS {
            // A listener of its own: what the process before has left in the queue says nothing of this one.
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.set_nonblocking(true).unwrap();
            let file = on_kafka(folder.path(), &listener.local_addr().unwrap().to_string());
            let mut child = spawn(&[command, &file]);
            let connection = until(&mut child, || listener.accept().ok());
            assert_eq!(signal(&mut child, name), Some(code), "{command} {name}");
            drop(connection);
        }
    }
}

fn on_kafka(folder: &Path, brokers: &str) -> String {
    let file =
        pipeline(folder, "model: m, mode: carry", "kafka: { topic: out }", "dead_letters: { kafka: { topic: dead } }");
    let text = std::fs::read_to_string(&file).unwrap();
    let kafka = format!("kafka: {{ brokers: \"{brokers}\", topic: in, key: key }}");
    let text =
        text.replace("parquet: { path: data*.parquet }", &kafka).replace("time: ts", "time: { column: ts, unit: ms }");
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_string()
}
