//! A network between clients and brokers that delays, cuts off or drops single requests: `scripts/kafka_proxy.py`.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::broker::{Broker, eventually};

/// A proxy that runs; it ends with the value.
pub struct Proxy {
    /// Where clients begin: `host:port`, with commas in between.
    pub address: String,
    child: Child,
    commands: Option<ChildStdin>,
    events: Arc<Mutex<Vec<Value>>>,
}

impl Proxy {
    /// In front of a broker of the test's own. It lets everything pass until there are rules.
    pub fn new(broker: &Broker) -> Proxy {
        let python = std::env::var("KOLK_PYTHON").expect("KOLK_PYTHON is not set: `make test` sets it");
        let routes = broker.proxied();
        let mut command = Command::new(python);
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/kafka_proxy.py")).arg("--stdin");
        for (listen, target) in &routes {
            command.args(["--route", &format!("{listen}={target}")]);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (commands, lines) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        let events = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&events);
        // Ends with the process.
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                kept.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        let address = routes.into_iter().map(|(listen, _)| listen).collect::<Vec<_>>().join(",");
        let proxy = Proxy { address, child, commands, events };
        proxy.wait_for("listening", 1);
        proxy
    }

    /// Replaces the rules; the script says what they are.
    pub fn rules(&mut self, rules: &[Value]) {
        let before = self.count("rules");
        self.command(&json!({ "rules": rules }));
        self.wait_for("rules", before + 1);
    }

    /// How many events of a kind there were: `held`, `released`, `dropped`.
    pub fn count(&self, event: &str) -> usize {
        self.events.lock().unwrap().iter().filter(|found| found["event"] == event).count()
    }

    /// How many requests of a kind passed or were held.
    pub fn requests(&mut self, name: &str) -> u64 {
        let before = self.count("count");
        self.command(&json!({ "count": true }));
        self.wait_for("count", before + 1);
        let events = self.events.lock().unwrap();
        let last = events.iter().rfind(|found| found["event"] == "count").unwrap();
        last["requests"][name].as_u64().unwrap_or(0)
    }

    /// Waits for that many events of a kind.
    pub fn wait_for(&self, event: &str, count: usize) {
        eventually(&format!("{count} times {event}"), || (self.count(event) >= count).then_some(()));
    }

    fn command(&mut self, command: &Value) {
        let commands = self.commands.as_mut().unwrap();
        writeln!(commands, "{command}").unwrap();
        commands.flush().unwrap();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.commands = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
