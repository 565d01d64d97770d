//! The client of a schema registry with Confluent's API (also Apicurio's `/apis/ccompat/v7`).
//!
//! Schemas never change, so what was fetched by its id is kept for ever. That an id is unknown is kept for a short time only: it
//! may be registered the next moment. A registry that doesn't answer is no answer: whoever asks has to wait.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::config::SchemaSource;
use crate::error::Context;
use crate::state::block_on;
use crate::{Error, Result};

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Attempts of one question, and the pause before the second; each later one is twice as long.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(100);
/// How long an unknown id stays unknown.
const UNKNOWN: Duration = Duration::from_secs(2);
/// References within references at most.
const DEEPEST: usize = 16;

/// Which language a schema is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    Avro,
    Protobuf,
}

/// A schema as it is registered, with those it refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Schema {
    pub id: u32,
    pub text: String,
    /// Name by which it is referred to, and the schema; those that others need come first.
    pub references: Vec<(String, String)>,
}

/// What a registry said of an id.
#[derive(Debug, Clone)]
pub(super) enum Found {
    Schema(Arc<Schema>),
    /// It doesn't know it.
    Unknown,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Silence {
    /// It can't be reached, or is in trouble: ask again later.
    Unavailable(String),
    /// It answered, and asking again won't change that.
    Refused(String),
}

/// One registry; shared by all workers.
pub(super) struct Registry {
    url: String,
    auth: Option<(String, String)>,
    client: reqwest::Client,
    known: Mutex<HashMap<u32, Arc<Schema>>>,
    unknown: Mutex<HashMap<u32, Instant>>,
}

impl Registry {
    pub fn new(source: &SchemaSource) -> Result<Registry> {
        // An error only of the second caller, that one is there already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .timeout(PATIENCE)
            .build()
            .or_failed(|| "cannot make a client for the schema registry".into())?;
        Ok(Registry {
            url: source.registry.trim_end_matches('/').to_string(),
            auth: source.auth.as_ref().map(|(user, password)| (user.value.0.clone(), password.value.0.clone())),
            client,
            known: Mutex::default(),
            unknown: Mutex::default(),
        })
    }

    /// The schema of an id.
    pub fn by_id(&self, id: u32, language: Language) -> std::result::Result<Found, Silence> {
        if let Some(schema) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&id) {
            return Ok(Found::Schema(schema.clone()));
        }
        let mut unknown = self.unknown.lock().unwrap_or_else(PoisonError::into_inner);
        if unknown.get(&id).is_some_and(|since| since.elapsed() < UNKNOWN) {
            return Ok(Found::Unknown);
        }
        let Some(answer) = self.get(&format!("/schemas/ids/{id}"))? else {
            unknown.insert(id, Instant::now());
            return Ok(Found::Unknown);
        };
        drop(unknown);
        Ok(Found::Schema(self.keep(id, &answer, language)?))
    }

    /// The newest schema of a subject; `None`: there is no such subject.
    pub fn latest(&self, subject: &str, language: Language) -> std::result::Result<Option<Arc<Schema>>, Silence> {
        let Some(answer) = self.get(&format!("/subjects/{}/versions/latest", escaped(subject)))? else {
            return Ok(None);
        };
        let id = answer.get("id").and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok());
        let id = id.ok_or_else(|| Silence::Refused(format!("{}: subject {subject} has no id", self.url)))?;
        self.keep(id, &answer, language).map(Some)
    }

    /// Registers a schema under a subject, or finds it there; its id.
    pub fn register(&self, subject: &str, text: &str, language: Language) -> std::result::Result<u32, Silence> {
        let mut body = json!({ "schema": text });
        if language == Language::Protobuf {
            body["schemaType"] = "PROTOBUF".into();
        }
        let path = format!("/subjects/{}/versions", escaped(subject));
        let answer = self.ask(reqwest::Method::POST, &path, Some(&body))?;
        let id = answer.as_ref().and_then(|answer| answer.get("id")).and_then(Value::as_u64);
        id.and_then(|id| u32::try_from(id).ok())
            .ok_or_else(|| Silence::Refused(format!("{}: registering subject {subject} gave no id", self.url)))
    }

    fn keep(&self, id: u32, answer: &Value, language: Language) -> std::result::Result<Arc<Schema>, Silence> {
        let refused = |what: String| Silence::Refused(format!("{}: schema {id}: {what}", self.url));
        let found = match answer.get("schemaType").and_then(Value::as_str) {
            None | Some("AVRO") => Language::Avro,
            Some("PROTOBUF") => Language::Protobuf,
            Some(other) => return Err(refused(format!("is {other}"))),
        };
        if found != language {
            return Err(refused(format!("is {found:?}, the pipeline says {language:?}")));
        }
        let text = answer.get("schema").and_then(Value::as_str).ok_or_else(|| refused("has no text".into()))?;
        let mut references = Vec::new();
        self.resolve(answer, &mut references, 0)?;
        let schema = Arc::new(Schema { id, text: text.to_string(), references });
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(id, schema.clone());
        Ok(schema)
    }

    /// The schemas that an answer refers to, those first that others need.
    fn resolve(
        &self,
        answer: &Value,
        into: &mut Vec<(String, String)>,
        depth: usize,
    ) -> std::result::Result<(), Silence> {
        let refused = |what: &str| Silence::Refused(format!("{}: a schema's references {what}", self.url));
        if depth > DEEPEST {
            return Err(refused("go round in a circle, or too deep"));
        }
        for reference in answer.get("references").and_then(Value::as_array).into_iter().flatten() {
            let part = |name: &str| reference.get(name).and_then(Value::as_str);
            let (Some(name), Some(subject)) = (part("name"), part("subject")) else {
                return Err(refused("have no name or no subject"));
            };
            if into.iter().any(|(known, _)| known == name) {
                continue;
            }
            let version = reference.get("version").and_then(Value::as_u64).unwrap_or(1);
            let path = format!("/subjects/{}/versions/{version}", escaped(subject));
            let other = self.get(&path)?.ok_or_else(|| refused(&format!("name {subject}, which isn't there")))?;
            self.resolve(&other, into, depth + 1)?;
            let text = other.get("schema").and_then(Value::as_str).ok_or_else(|| refused("have no text"))?;
            into.push((name.to_string(), text.to_string()));
        }
        Ok(())
    }

    fn get(&self, path: &str) -> std::result::Result<Option<Value>, Silence> {
        self.ask(reqwest::Method::GET, path, None)
    }

    /// `None`: there is nothing of that name.
    fn ask(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<&Value>,
    ) -> std::result::Result<Option<Value>, Silence> {
        let url = format!("{}{path}", self.url);
        let mut pause = PAUSE;
        for attempt in 1.. {
            let answer =
                block_on(self.send(method.clone(), &url, body)).map_err(|e| Silence::Unavailable(e.to_string()))?;
            let trouble = match answer {
                Ok((200..=299, text)) => {
                    let parsed = serde_json::from_str(&text);
                    return parsed.map(Some).map_err(|e| Silence::Refused(format!("{url}: no JSON: {e}")));
                }
                Ok((404, _)) => return Ok(None),
                Ok((401 | 403, _)) => {
                    return Err(Silence::Refused(format!("{url}: not authorised: check format's auth")));
                }
                Ok((status @ (408 | 429 | 500..=599), text)) => format!("{url}: status {status}: {}", brief(&text)),
                Ok((status, text)) => {
                    return Err(Silence::Refused(format!("{url}: status {status}: {}", brief(&text))));
                }
                Err(error) => format!("{url}: {}", causes(&error)),
            };
            if attempt >= ATTEMPTS {
                return Err(Silence::Unavailable(format!("the schema registry doesn't answer: {trouble}")));
            }
            std::thread::sleep(pause);
            pause *= 2;
        }
        Err(Silence::Unavailable(url))
    }

    async fn send(
        &self,
        method: reqwest::Method,
        url: &str,
        body: Option<&Value>,
    ) -> std::result::Result<(u16, String), reqwest::Error> {
        let mut request = self
            .client
            .request(method, url)
            .header("accept", "application/vnd.schemaregistry.v1+json, application/json");
        if let Some((user, password)) = &self.auth {
            request = request.basic_auth(user, Some(password));
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/vnd.schemaregistry.v1+json").body(body.to_string());
        }
        let response = request.send().await?;
        let status = response.status().as_u16();
        Ok((status, response.text().await?))
    }
}

/// A client's error and what caused it, without the URL's credentials.
fn causes(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(error) = cause {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&error.to_string());
        cause = error.source();
    }
    if text.is_empty() { "no answer".into() } else { text }
}

fn brief(text: &str) -> String {
    text.chars().take(200).collect()
}

/// A subject as a part of a path.
fn escaped(subject: &str) -> String {
    let mut out = String::new();
    for byte in subject.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte as char),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

impl Silence {
    /// As a problem or an error at the start.
    pub fn text(self) -> String {
        match self {
            Silence::Unavailable(text) | Silence::Refused(text) => text,
        }
    }

    pub fn error(self) -> Error {
        Error::failed(self.text())
    }
}

/// Confluent's frame: a zero byte, the id of the writer's schema, the body.
pub(super) fn frame(payload: &[u8]) -> std::result::Result<(u32, &[u8]), (&'static str, String)> {
    match payload {
        [0, a, b, c, d, body @ ..] => Ok((u32::from_be_bytes([*a, *b, *c, *d]), body)),
        [0, ..] => Err(("bad_frame", format!("{} bytes are too few for Confluent's frame", payload.len()))),
        [first, ..] => Err(("bad_frame", format!("expected Confluent's frame, which begins with 0, found {first}"))),
        [] => Err(("bad_frame", "no bytes".into())),
    }
}

/// The begin of a frame.
pub(super) fn put_frame(id: u32, to: &mut Vec<u8>) {
    to.push(0);
    to.extend_from_slice(&id.to_be_bytes());
}
