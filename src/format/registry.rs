//! The client of a schema registry with Confluent's API (also Apicurio's `/apis/ccompat/v7`).
//!
//! A worker's thread never waits for a registry ([`Registry::by_id`]): all its partitions, its transaction and its
//! place in the group would wait with it. The questions are asked on the threads of the object stores; the answers are
//! in [`super::answers`]. While a pipeline is planned nothing else runs, so planning waits for the answer.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::answers::{Answers, Verdict};
use super::avro_schema::fingerprint;
use super::schema::{Language, Schema, SchemaName, Silence};
use crate::config::{Pin, SchemaSource, Secret, hide};
use crate::error::Context;
use crate::storage::{block_on, spawn};
use crate::{Error, Result};

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Attempts of one question while planning, and the pause before the second; each later one is twice as long.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(100);
/// Maximum number of ids requested at the same time: garbage messages may name thousands.
const AT_ONCE: usize = 8;
/// Maximum depth of references, and how many schemas one may need.
const DEEPEST: usize = 16;
const MOST_REFERENCES: usize = 1000;
/// Maximum bytes of an answer.
const MOST_BYTES: usize = 8 << 20;
/// Maximum number of versions of a subject that are looked at for a fingerprint, the newest ones.
const MOST_VERSIONS: usize = 1000;

type Answer<T> = std::result::Result<T, Silence>;
type Later<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What requests are sent with.
enum Auth {
    None,
    Basic(Secret, Secret),
    /// A token, and the file that it is from.
    Bearer(Mutex<Secret>, Option<String>),
}

/// A schema with its fingerprint.
type Fingerprinted = ([u8; 8], Arc<Schema>);

/// One registry; shared by all workers.
pub(super) struct Registry {
    url: String,
    auth: Auth,
    client: reqwest::Client,
    answers: Answers,
    /// The subject, whose schemas have fingerprints.
    subject: String,
    /// The versions of the subject that were looked at, and the fingerprints of their schemas.
    versions: Mutex<HashMap<u64, Fingerprinted>>,
    /// Limits the number of simultaneous questions about ids.
    gate: Semaphore,
}

impl Registry {
    /// A client; nothing is asked yet.
    ///
    /// # Errors
    /// Credentials or certificates that cannot be used.
    pub fn new(source: &SchemaSource) -> Result<Registry> {
        // The only possible error: a provider is already installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut client = reqwest::Client::builder().timeout(PATIENCE).redirect(redirects());
        if let Some(ca) = &source.tls.ca {
            let all = reqwest::Certificate::from_pem_bundle(ca.as_bytes())
                .ok()
                .filter(|all| !all.is_empty())
                .ok_or_else(|| Error::refused("`tls: { ca }` of the schema registry holds no certificate in PEM"))?;
            client = client.tls_certs_merge(all);
        }
        if let Some(identity) = &source.tls.identity {
            let identity = reqwest::Identity::from_pem(identity.reveal().as_bytes()).map_err(|error| {
                Error::refused(format!(
                    "`tls: {{ certificate, key }}` of the schema registry: {}; expected PEM with a certificate and \
                     its private key, without a password",
                    causes(&error)
                ))
            })?;
            client = client.identity(identity);
        }
        let client = client.build().or_failed(|| "cannot make a client for the schema registry".into())?;
        Ok(Registry {
            url: source.registry.trim_end_matches('/').to_string(),
            auth: match (&source.auth, &source.token) {
                (Some((user, password)), _) => Auth::Basic(user.value.clone(), password.value.clone()),
                (None, Some(token)) => Auth::Bearer(Mutex::new(token.secret.clone()), token.file.clone()),
                (None, None) => Auth::None,
            },
            client,
            answers: Answers::default(),
            subject: source.subject.value.clone(),
            versions: Mutex::default(),
            gate: Semaphore::new(AT_ONCE),
        })
    }

    /// What is known about a schema at present. Returns at once; if nothing is known yet, it has sent the question.
    pub fn by_name(self: &Arc<Self>, id: SchemaName, language: Language) -> Verdict {
        let (verdict, ask) = self.answers.of(id, Instant::now());
        if ask {
            let registry = self.clone();
            let asked = spawn(async move {
                // The gate is never closed, so there is always a permit.
                let permit = registry.gate.acquire().await;
                let answer = match id {
                    SchemaName::Id(id) => registry.schema(id, language, 1).await,
                    SchemaName::Guid(_) => registry.by_guid(id, language).await,
                    SchemaName::Fingerprint(wanted) => registry.by_fingerprint(wanted, language).await,
                };
                drop(permit);
                registry.answers.take(id, answer, Instant::now());
            });
            if let Err(error) = asked {
                self.answers.take(id, Err(Silence::Unavailable(error.to_string())), Instant::now());
            }
        }
        verdict
    }

    /// The reader's schema of a subject: the newest, or the pinned one; `None`: there is no such subject, version or
    /// id.
    pub fn reader(&self, subject: &str, pin: Option<Pin>, language: Language) -> Answer<Option<Arc<Schema>>> {
        let version = match pin {
            Some(Pin::Id(id)) => return waiting(self.schema(id, language, ATTEMPTS)),
            Some(Pin::Version(version)) => version.to_string(),
            Some(Pin::Latest) | None => "latest".to_string(),
        };
        waiting(async {
            let path = format!("/subjects/{}/versions/{version}", escaped(subject));
            let Some(answer) = self.get(&path, ATTEMPTS).await? else { return Ok(None) };
            let id = answer.get("id").and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok());
            let id = id.ok_or_else(|| Silence::Refused(format!("{}: subject {subject} has no id", self.url)))?;
            let schema = self.read(id, &answer, language, ATTEMPTS).await?;
            // Most messages will name this one.
            self.answers.take(id.into(), Ok(Some(schema.clone())), Instant::now());
            Ok(Some(schema))
        })
    }

    /// Registers a schema under a subject, or finds it there; its id.
    pub fn register(&self, subject: &str, text: &str, language: Language) -> Answer<u32> {
        let mut body = json!({ "schema": text });
        if language == Language::Protobuf {
            body["schemaType"] = "PROTOBUF".into();
        }
        let path = format!("/subjects/{}/versions", escaped(subject));
        let answer = waiting(self.ask(reqwest::Method::POST, &path, Some(&body), ATTEMPTS))?;
        let id = answer.as_ref().and_then(|answer| answer.get("id")).and_then(Value::as_u64);
        id.and_then(|id| u32::try_from(id).ok())
            .ok_or_else(|| Silence::Refused(format!("{}: registering subject {subject} gave no id", self.url)))
    }

    /// The schema of an id; `None`: the registry doesn't know it.
    async fn schema(&self, id: u32, language: Language, attempts: u32) -> Answer<Option<Arc<Schema>>> {
        // Ids belong to a context, which a subject may name.
        let of = self.context().map(|_| format!("?subject={}", escaped(&self.subject))).unwrap_or_default();
        match self.get(&format!("/schemas/ids/{id}{of}"), attempts).await? {
            Some(answer) => self.read(id, &answer, language, attempts).await.map(Some),
            None => Ok(None),
        }
    }

    /// The context that the subject names (`:.context:subject`), with its colons.
    fn context(&self) -> Option<&str> {
        let end = self.subject.strip_prefix(":.")?.find(':')?;
        Some(&self.subject[..end + 3])
    }

    /// The schema of a GUID. Only newer registries have them; others don't know the question.
    async fn by_guid(&self, guid: SchemaName, language: Language) -> Answer<Option<Arc<Schema>>> {
        match self.get(&format!("/schemas/guids/{guid}"), 1).await {
            Ok(Some(answer)) => self.read(0, &answer, language, 1).await.map(Some),
            Ok(None) => Ok(None),
            // A registry without GUIDs answers as something that is no registry; but it knows of types.
            Err(Silence::Unavailable(why)) if why.contains("status 404") => match self.get("/schemas/types", 1).await {
                Ok(Some(Value::Array(_))) => Ok(None),
                _ => Err(Silence::Unavailable(why)),
            },
            Err(silence) => Err(silence),
        }
    }

    /// The schema of a fingerprint, among the versions of the subject.
    async fn by_fingerprint(&self, wanted: [u8; 8], language: Language) -> Answer<Option<Arc<Schema>>> {
        let path = format!("/subjects/{}/versions", escaped(&self.subject));
        let Some(answer) = self.get(&path, 1).await? else { return Ok(None) };
        let known = || self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        let versions = answer.as_array().map(Vec::as_slice).unwrap_or_default();
        let newest = &versions[versions.len().saturating_sub(MOST_VERSIONS)..];
        for version in newest.iter().filter_map(Value::as_u64) {
            if known().contains_key(&version) {
                continue;
            }
            let Some(answer) = self.get(&format!("{path}/{version}"), 1).await? else { continue };
            let id = answer.get("id").and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok());
            // What has no fingerprint is named by none.
            if let Ok(schema) = self.read(id.unwrap_or(0), &answer, language, 1).await
                && let Some(found) = fingerprint(&schema)
            {
                known().insert(version, (found, schema));
            }
        }
        Ok(known().values().find(|(found, _)| *found == wanted).map(|(_, schema)| schema.clone()))
    }

    /// The schema that an answer holds, with those it refers to.
    async fn read(&self, id: u32, answer: &Value, language: Language, attempts: u32) -> Answer<Arc<Schema>> {
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
        self.resolve(answer, &mut references, 0, attempts).await?;
        Ok(Arc::new(Schema { id, text: text.to_string(), references }))
    }

    /// The schemas that an answer refers to, those first that others need.
    fn resolve<'a>(
        &'a self,
        answer: &'a Value,
        into: &'a mut Vec<(String, String)>,
        depth: usize,
        attempts: u32,
    ) -> Later<'a, Answer<()>> {
        Box::pin(async move {
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
                if into.len() >= MOST_REFERENCES {
                    return Err(refused(&format!("are more than {MOST_REFERENCES}")));
                }
                let version = reference.get("version").and_then(Value::as_u64).unwrap_or(1);
                // One of another context names it.
                let context = self.context().filter(|_| !subject.starts_with(":.")).unwrap_or_default();
                let path = format!("/subjects/{}/versions/{version}", escaped(&format!("{context}{subject}")));
                let other = self.get(&path, attempts).await?;
                let other = other.ok_or_else(|| refused(&format!("name {subject}, which isn't there")))?;
                self.resolve(&other, into, depth + 1, attempts).await?;
                let text = other.get("schema").and_then(Value::as_str).ok_or_else(|| refused("have no text"))?;
                into.push((name.to_string(), text.to_string()));
            }
            Ok(())
        })
    }

    async fn get(&self, path: &str, attempts: u32) -> Answer<Option<Value>> {
        self.ask(reqwest::Method::GET, path, None, attempts).await
    }

    /// `None`: there is nothing of that name.
    async fn ask(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<&Value>,
        attempts: u32,
    ) -> Answer<Option<Value>> {
        let url = format!("{}{path}", self.url);
        let mut pause = PAUSE;
        for attempt in 1.. {
            let trouble = match self.send(method.clone(), &url, body).await {
                Ok((_, None)) => {
                    let most = format!("an answer of more than {MOST_BYTES} bytes is not read");
                    return Err(Silence::Unavailable(format!("{url}: {most}")));
                }
                Ok((200..=299, Some(text))) => {
                    let parsed = serde_json::from_str(&text);
                    return parsed.map(Some).map_err(|e| Silence::Unavailable(format!("{url}: no JSON: {e}")));
                }
                // A registry gives its own code with it. A page of something in front of it says nothing about a
                // schema.
                Ok((404, Some(text))) if has_code(&text) => return Ok(None),
                Ok((401 | 403, _)) if self.has_new_token() => continue,
                Ok((401 | 403, _)) => {
                    return Err(Silence::Unavailable(format!("{url}: not authorised: check format's auth")));
                }
                Ok((status @ (404 | 408 | 429 | 500..=599), Some(text))) => {
                    format!("{url}: status {status}: {}", brief(&text))
                }
                Ok((status, Some(text))) => {
                    return Err(Silence::Unavailable(format!("{url}: status {status}: {}", brief(&text))));
                }
                Err(error) => format!("{url}: {}", causes(&error)),
            };
            if attempt >= attempts {
                return Err(Silence::Unavailable(format!("the schema registry doesn't answer: {trouble}")));
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        Err(Silence::Unavailable(url))
    }

    /// Whether the file of the token has another one than was refused: tokens live for hours, processes for months.
    fn has_new_token(&self) -> bool {
        let Auth::Bearer(token, Some(file)) = &self.auth else { return false };
        let Ok(text) = std::fs::read_to_string(file) else { return false };
        let (new, mut token) = (Secret::new(text.trim()), token.lock().unwrap_or_else(PoisonError::into_inner));
        let is_new = *token != new;
        *token = new;
        is_new
    }

    /// Status and text of an answer; no text: it was too long.
    async fn send(
        &self,
        method: reqwest::Method,
        url: &str,
        body: Option<&Value>,
    ) -> std::result::Result<(u16, Option<String>), reqwest::Error> {
        let mut request = self
            .client
            .request(method, url)
            .header("accept", "application/vnd.schemaregistry.v1+json, application/json");
        request = match &self.auth {
            Auth::None => request,
            Auth::Basic(user, password) => request.basic_auth(user.reveal(), Some(password.reveal())),
            Auth::Bearer(token, _) => {
                request.bearer_auth(token.lock().unwrap_or_else(PoisonError::into_inner).reveal())
            }
        };
        if let Some(body) = body {
            request = request.header("content-type", "application/vnd.schemaregistry.v1+json").body(body.to_string());
        }
        let mut response = request.send().await?;
        let status = response.status().as_u16();
        let mut bytes = Vec::new();
        while let Some(piece) = response.chunk().await? {
            if bytes.len() + piece.len() > MOST_BYTES {
                return Ok((status, None));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok((status, Some(String::from_utf8_lossy(&bytes).into_owned())))
    }
}

/// Answers that point elsewhere are followed on the same host only: what was asked, and the credentials, are for it.
fn redirects() -> reqwest::redirect::Policy {
    reqwest::redirect::Policy::custom(|attempt| {
        let from = attempt.previous().first().and_then(|url| url.host_str());
        match from == attempt.url().host_str() && attempt.previous().len() <= 3 {
            true => attempt.follow(),
            false => attempt.stop(),
        }
    })
}

/// The answer, waited for.
fn waiting<T>(answer: impl Future<Output = Answer<T>>) -> Answer<T> {
    block_on(answer).map_err(|error| Silence::Unavailable(error.to_string()))?
}

/// Whether an answer has the code of an error that registries give.
fn has_code(text: &str) -> bool {
    serde_json::from_str::<Value>(text).is_ok_and(|answer| answer.get("error_code").is_some())
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

/// An answer may repeat what it was asked with.
fn brief(text: &str) -> String {
    hide(text).chars().take(200).collect()
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

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
