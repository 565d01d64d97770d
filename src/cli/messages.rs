//! What goes to stderr, in the format of the log: log lines, the summary and other messages, errors, panics.
//!
//! Lives here: text or JSON. Must not live here: what is said.
//!
//! With `--log json` every line of stderr is one JSON object, whatever it says.

use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::sync::OnceLock;

use clap::ValueEnum;
use serde_json::{Map, Value, json};
use tracing_subscriber::EnvFilter;

use crate::error::{counted, printable};
use crate::problem::Place;
use crate::{Error, Result, config};

/// The environment variable with the log filter, such as `debug` or `kolk=trace`.
const LOG_VARIABLE: &str = "KOLK_LOG";

/// The format of this process; text until it is known.
static FORMAT: OnceLock<Log> = OnceLock::new();

/// A format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Log {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts the log.
///
/// # Errors
/// A filter that can't be read.
pub fn start(log: Log) -> Result<()> {
    FORMAT.get_or_init(|| log);
    report_panics();
    let filter = match std::env::var(LOG_VARIABLE) {
        Ok(text) if !text.is_empty() => {
            EnvFilter::try_new(&text).map_err(|e| Error::refused(format!("{LOG_VARIABLE}={text}: {e}")))?
        }
        _ => EnvFilter::new("warn,kolk=info,rdkafka=off,librdkafka=error"),
    };
    let colours = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(|| Stderr);
    match log {
        Log::Text => lines.with_target(false).init(),
        Log::Json => lines.json().init(),
    }
    Ok(())
}

/// Stderr for everything that isn't data; it shows no secret, whatever a library puts into its messages.
#[derive(Debug)]
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        // Each message comes whole.
        std::io::stderr().write_all(config::hide(&String::from_utf8_lossy(bytes)).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

/// A panic is reported like everything else.
fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let backtrace = std::backtrace::Backtrace::capture();
        let trace = match backtrace.status() {
            std::backtrace::BacktraceStatus::Captured => format!("\n{backtrace}"),
            _ => String::new(),
        };
        say_at("ERROR", &format!("thread {:?}: {panic}{trace}", thread.name().unwrap_or("?")), Value::Null);
    }));
}

/// Whether stderr is JSON.
pub fn is_json() -> bool {
    FORMAT.get() == Some(&Log::Json)
}

/// Says something; not a log line, since a filter must not hide it.
pub fn say(text: impl Display) {
    say_with(text, Value::Null);
}

/// Says something. In JSON, one object has the text and `fields`.
pub fn say_with(text: impl Display, fields: Value) {
    say_at("INFO", &text.to_string(), fields);
}

/// Says that something is not a problem yet and may become one.
pub fn warn(text: impl Display) {
    match is_json() {
        true => say_at("WARN", &text.to_string(), Value::Null),
        false => write(&format!("warning: {text}")),
    }
}

fn say_at(level: &str, text: &str, fields: Value) {
    match (is_json(), fields) {
        (true, Value::Object(fields)) => write_json(level, text, fields),
        (true, _) => write_json(level, text, Map::new()),
        (false, _) => write(text),
    }
}

/// Says why a command failed.
pub fn report(error: &Error) {
    match error {
        Error::Problems(problems) if is_json() => {
            for problem in problems {
                let Place { line, column, .. } = problem.place;
                let file = problem.file.display().to_string();
                let fields = json!({ "file": file, "line": line, "column": column });
                say_at("ERROR", &problem.message, fields);
            }
        }
        Error::Problems(problems) => {
            problems.iter().for_each(|problem| write(&problem.to_string()));
            write(&format!("error: {}", counted(problems.len(), "problem")));
        }
        other if is_json() => write_json("ERROR", &other.to_string(), Map::new()),
        other => write(&format!("error: {other}")),
    }
}

/// A line in the format of the log's own.
fn write_json(level: &str, text: &str, mut fields: Map<String, Value>) {
    let now = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
    fields.insert("message".into(), text.into());
    write(&json!({ "timestamp": now, "level": level, "fields": fields, "target": "kolk" }).to_string());
}

/// Lines of text; whatever would do something to a terminal is escaped.
fn write(text: &str) {
    let lines: Vec<String> = text.split('\n').map(printable).collect();
    let line = lines.join("\n");
    // If stderr is closed, the message can't be delivered.
    drop(Stderr.write_all(format!("{line}\n").as_bytes()));
}
