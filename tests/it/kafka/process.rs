//! A pipeline on Kafka, and processes of the binary that run it.

use std::fs::{File, OpenOptions};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use kolk::kernel::CellKind;
use kolk::model::ModelKind;

use super::broker::{Broker, unique};
use crate::common;

/// The properties of a group, by its protocol.
const CLASSIC: &str = "session.timeout.ms: 6000, heartbeat.interval.ms: 2000";
const CONSUMER: &str = "group.protocol: consumer";

/// A pipeline with topics of its own, in a folder with a model of its own.
pub struct Setup {
    folder: tempfile::TempDir,
    pub input: String,
    pub output: String,
    pub dead: String,
    pub group: String,
}

impl Setup {
    /// Topics, a small LSTM that carries its state, and a pipeline. `extra` are further lines of the pipeline.
    pub fn new(broker: &Broker, name: &str, extra: &str) -> Setup {
        Setup::with_input(broker, name, extra, &[])
    }

    /// The same; the input topic has settings.
    pub fn with_input(broker: &Broker, name: &str, extra: &str, settings: &[(&str, &str)]) -> Setup {
        let folder = tempfile::tempdir().unwrap();
        let name = unique(name);
        let topic = |end: &str| format!("{name}-{end}");
        let setup =
            Setup { folder, input: topic("in"), output: topic("out"), dead: topic("dead"), group: topic("group") };
        broker.topic(&setup.input, settings);
        broker.topic(&setup.output, &[]);
        broker.topic(&setup.dead, &[]);
        common::publish(setup.path(), "m", CellKind::Lstm, ModelKind::Carry, None);
        setup.write(broker, &format!("kafka: {{ topic: {}, fields: [value] }}", setup.output), extra);
        setup
    }

    /// Writes the pipeline, with another sink.
    pub fn write(&self, broker: &Broker, sink: &str, extra: &str) {
        let Setup { input, dead, group, .. } = self;
        let dead = if sink.starts_with("kafka") {
            format!("kafka: {{ topic: {dead} }}")
        } else {
            "parquet: { path: dead/ }".to_string()
        };
        let text = format!(
            "name: test\n\
             source: {{ kafka: {{ brokers: \"{}\", topic: {input}, group: {group}, key: key, properties: {{ {CLASSIC} }} }} }}\n\
             record: {{ key: key, time: {{ column: ts, unit: ms }}, values: [value] }}\n\
             stages:\n  - infer: {{ model: m, mode: carry }}\n\
             sink: {{ {sink} }}\n\
             dead_letters: {{ {dead} }}\n{extra}\n",
            broker.address
        );
        std::fs::write(self.file(), text).unwrap();
    }

    /// From now on the group is one whose partitions the brokers assign.
    pub fn use_consumer_protocol(&self) {
        self.replace(CLASSIC, CONSUMER);
    }

    /// From now on its members agree among themselves.
    pub fn use_classic_protocol(&self) {
        self.replace(CONSUMER, CLASSIC);
    }

    fn replace(&self, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.file()).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(self.file(), text.replace(from, to)).unwrap();
    }

    /// The folder with the model, the state and the logs.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The pipeline file.
    pub fn file(&self) -> PathBuf {
        self.path().join("kafka.yaml")
    }

    /// That of a worker of the process with a name.
    pub fn transactional_id(&self, process: &str, worker: u64) -> String {
        format!("test-{}-{process}-{worker}", self.group)
    }

    /// Starts a process under a name, which `${KOLK_INSTANCE}` is in the pipeline.
    pub fn start(&self, name: &str) -> Kolk {
        self.start_with(name, &[])
    }

    /// The same, with further variables of the environment.
    pub fn start_with(&self, name: &str, environment: &[(&str, &str)]) -> Kolk {
        self.start_as(name, &[], environment)
    }

    /// The same, with further arguments too.
    pub fn start_as(&self, name: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Kolk {
        let log = self.path().join(format!("{name}.log"));
        let file = OpenOptions::new().append(true).create(true).open(&log).unwrap();
        let from = file.metadata().unwrap().len();
        let mut command = Command::new(env!("CARGO_BIN_EXE_kolk"));
        common::default_hangup(&mut command);
        let child = command
            .arg("run")
            .arg(self.file())
            .args(arguments)
            .env("KOLK_INSTANCE", name)
            .envs(environment.iter().copied())
            .stdout(File::create("/dev/null").unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        Kolk { child, log, from, name: name.to_string() }
    }
}

impl Drop for Setup {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.folder.disable_cleanup(true);
            eprintln!("left for you to look at: {}", self.path().display());
        }
    }
}

/// A process that runs; it is killed when the value goes. In a test that fails it shows the end of its log.
pub struct Kolk {
    child: Child,
    log: PathBuf,
    /// Where in the log this process began.
    from: u64,
    pub name: String,
}

impl Kolk {
    /// Sends a signal, such as `STOP`.
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").arg(format!("-{signal}")).arg(self.child.id().to_string()).status().unwrap();
        assert!(sent.success());
    }

    /// Asserts that it has not ended by itself.
    pub fn assert_runs(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("{} ended by itself: {status}", self.name);
        }
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; it has to drain and say so by its exit code. Gives what it wrote.
    pub fn stop(self) -> String {
        self.stop_with("TERM", 15)
    }

    /// The same with another signal, by its name and number.
    pub fn stop_with(mut self, name: &str, number: i32) -> String {
        self.assert_runs();
        self.signal(name);
        let status = self.wait(Duration::from_secs(40));
        // A process that the kernel is still loading has no handler yet; it has written nothing either.
        let unborn = status.signal() == Some(number) && self.log().is_empty();
        assert!(unborn || status.code() == Some(128 + number), "{}: {status}\n{}", self.name, self.log());
        self.log()
    }

    /// Waits for it to end by itself with an exit code that isn't 0; gives the code and what it wrote.
    pub fn fails(mut self) -> (i32, String) {
        let status = self.wait(Duration::from_secs(60));
        let code = status.code().unwrap_or_else(|| panic!("{}: {status}\n{}", self.name, self.log()));
        assert_ne!(code, 0, "{}", self.log());
        (code, self.log())
    }

    /// Waits for it to end by itself with exit code 0; gives what it wrote.
    pub fn ends(mut self) -> String {
        let status = self.wait(Duration::from_secs(120));
        assert_eq!(status.code(), Some(0), "{}: {status}\n{}", self.name, self.log());
        self.log()
    }

    fn wait(&mut self, within: Duration) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(started.elapsed() < within, "{} still runs after {within:?}\n{}", self.name, self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What this process wrote so far.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap();
        String::from_utf8_lossy(&bytes[self.from as usize..]).into()
    }
}

impl Drop for Kolk {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- {}\n{}\n---", self.log.display(), lines[lines.len().saturating_sub(30)..].join("\n"));
        }
        // After SIGSTOP too: SIGKILL needs no process that is awake.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
