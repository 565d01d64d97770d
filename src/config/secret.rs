//! Secrets: passwords, keys and tokens, wherever a user wrote them, and URLs without those that they hold.
//!
//! A [`Secret`] shows itself nowhere. Libraries that are given one (librdkafka, the HTTP client, the object stores) may
//! still repeat it in an error of their own, so whatever leaves the process as a message goes through [`hide`].

use std::borrow::Cow;
use std::fmt;
use std::sync::{PoisonError, RwLock};

use base64::Engine;

/// What is shown in place of a secret.
const HIDDEN: &str = "***";

/// A shorter text is also part of words that are no secret, so it is not looked for in messages.
const SHORTEST: usize = 6;

/// The secrets of this process, in every form in which a message may repeat them; the longest first.
static KNOWN: RwLock<Vec<String>> = RwLock::new(Vec::new());

/// Text that may be a secret: neither messages nor `Debug` ever show it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A secret; from now on [`hide`] knows it.
    pub fn new(text: impl Into<String>) -> Secret {
        let text = text.into();
        remember(&text);
        Secret(text)
    }

    /// Text that need not be a secret, such as most properties of librdkafka: only not shown.
    pub fn unknown(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The text itself, for the library that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

/// Whether a setting or a variable of this name holds a secret, such as `sasl.password` or `AWS_SECRET_ACCESS_KEY`.
pub fn is_secret(name: &str) -> bool {
    const PARTS: [&str; 8] =
        ["password", "passwd", "passphrase", "secret", "token", "credential", "assertion", "oauthbearer"];
    const WORDS: [&str; 3] = ["sas", "pwd", "pass"];
    // A key alone is more often the key of a record.
    const KEYS: [&str; 8] = ["access", "account", "api", "encryption", "private", "shared", "signing", "storage"];
    // A name of something, or a place on the disk, and not the thing itself. The shell's folders are no passwords.
    const NAMES: [&str; 7] = ["location", "file", "url", "uri", "id", "method", "path"];
    const OTHERS: [&str; 3] = ["pwd", "oldpwd", "google_application_credentials"];
    let name = name.to_ascii_lowercase();
    let words: Vec<&str> = name.split(['.', '_', '-']).collect();
    let is_key = match &words[..] {
        [.., before, "key"] => KEYS.contains(before),
        _ => name.ends_with("key.pem"),
    };
    let names_it = words.last().is_some_and(|last| NAMES.contains(last)) || OTHERS.contains(&name.as_str());
    let has = PARTS.iter().any(|part| name.contains(part)) || words.iter().any(|word| WORDS.contains(word));
    (has || is_key) && !names_it
}

/// Has [`hide`] know a secret, as it is and as URLs and JSON repeat it.
pub fn remember(text: &str) {
    // The lines of a key are known one by one: an error may quote one of them.
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with("-----")) {
        learn(line);
    }
    if text.contains('\n') {
        learn(text);
    }
}

/// Has [`hide`] know the header that a user and a password are sent in.
pub fn remember_basic(user: &str, password: &str) {
    learn(&base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")));
}

fn learn(text: &str) {
    if text.chars().count() < SHORTEST {
        return;
    }
    let json = serde_json::Value::from(text).to_string();
    let plus: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
    let forms = [text.to_string(), json[1..json.len() - 1].to_string(), percent_encoded(text), plus];
    let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
    for form in forms {
        if !known.contains(&form) {
            known.push(form);
        }
    }
    known.sort_by_key(|form| std::cmp::Reverse(form.len()));
}

fn percent_encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

/// A message without the secrets that are known and without the credentials of URLs.
pub fn hide(message: &str) -> Cow<'_, str> {
    let mut hidden = without_credentials(message);
    for secret in KNOWN.read().unwrap_or_else(PoisonError::into_inner).iter() {
        if hidden.contains(secret.as_str()) {
            hidden = Cow::Owned(hidden.replace(secret.as_str(), HIDDEN));
        }
    }
    hidden
}

/// A text whose URLs show neither user and password nor the signature of a query.
pub fn without_credentials(text: &str) -> Cow<'_, str> {
    if !text.contains('@') && !text.contains("://") {
        return Cow::Borrowed(text);
    }
    let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '<' | '>' | '`');
    let mut out = String::with_capacity(text.len());
    for piece in text.split_inclusive(ends) {
        let (piece, end) = match piece.char_indices().next_back() {
            Some((at, c)) if ends(c) => piece.split_at(at),
            _ => (piece, ""),
        };
        out.push_str(&clean(piece));
        out.push_str(end);
    }
    if out == text { Cow::Borrowed(text) } else { Cow::Owned(out) }
}

/// One word of a text.
fn clean(word: &str) -> Cow<'_, str> {
    let (scheme, rest) = match word.find("://") {
        Some(at) => word.split_at(at + 3),
        None => ("", word),
    };
    // A password may hold anything, also what has a meaning in URLs: it ends at the last @.
    let (user, rest) = match rest.rsplit_once('@') {
        Some((user, rest)) if !scheme.is_empty() || user.contains(':') => (Some(user), rest),
        _ => (None, rest),
    };
    let (rest, query) = match rest.split_once('?') {
        Some((rest, query)) if !scheme.is_empty() && (scheme.contains("http") || is_signed(query)) => {
            (rest, Some(query))
        }
        _ => (rest, None),
    };
    if user.is_none() && query.is_none() {
        return Cow::Borrowed(word);
    }
    let user = user.map_or(String::new(), |_| format!("{HIDDEN}@"));
    let query = query.map_or(String::new(), |_| format!("?{HIDDEN}"));
    Cow::Owned(format!("{scheme}{user}{rest}{query}"))
}

/// Whether a query gives access, as the signed URLs of object stores do.
pub fn is_signed(query: &str) -> bool {
    const NAMES: [&str; 5] = ["sig", "sv", "awsaccesskeyid", "googleaccessid", "key"];
    query.split('&').filter_map(|pair| pair.split_once('=')).any(|(name, _)| {
        let name = name.to_ascii_lowercase();
        NAMES.contains(&name.as_str())
            || name.starts_with("x-amz-")
            || name.starts_with("x-goog-")
            || is_secret(&name)
            || name == "signature"
    })
}

/// A URL without its user and password, and those, decoded. `None`: it has none.
pub fn split_credentials(url: &str) -> Option<(String, String, String)> {
    let parsed = url::Url::parse(url).ok()?;
    if parsed.username().is_empty() && parsed.password().is_none() {
        return None;
    }
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let at = rest[..authority].rfind('@')?;
    let decoded = |text: &str| {
        let pair = format!("x={}", text.replace('+', "%2B"));
        url::form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value.into_owned()).unwrap_or_default()
    };
    let bare = format!("{scheme}://{}", &rest[at + 1..]);
    Some((bare, decoded(parsed.username()), decoded(parsed.password().unwrap_or_default())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_itself_nowhere() {
        let secret = Secret::new("a-secret-of-units");
        assert_eq!(format!("{secret} {secret:?} {:?}", Some(&secret)), "*** *** Some(***)");
        assert_eq!(secret.reveal(), "a-secret-of-units");
        assert_eq!(hide("librdkafka: a-secret-of-units is wrong"), "librdkafka: *** is wrong");
    }

    #[test]
    fn every_form_of_a_secret_is_hidden() {
        remember("p/ä\"ss wörd+1");
        remember_basic("somebody", "p/ä\"ss wörd+1");
        for form in [
            "p/ä\"ss wörd+1",
            "p/ä\\\"ss wörd+1",
            "p%2F%C3%A4%22ss%20w%C3%B6rd%2B1",
            "p%2F%C3%A4%22ss+w%C3%B6rd%2B1",
            "c29tZWJvZHk6cC/DpCJzcyB3w7ZyZCsx",
        ] {
            assert_eq!(hide(&format!("it says {form}.")), "it says ***.", "{form}");
        }
        remember("-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEF\n-----END PRIVATE KEY-----\n");
        assert_eq!(hide("line MIIEvQIBADANBgkq"), "line ***");
        remember("short");
        assert_eq!(hide("in short"), "in short");
    }

    #[test]
    fn urls_are_shown_without_credentials() {
        for (text, shown) in [
            ("http://u:hunter2@host:8081/x", "http://***@host:8081/x"),
            ("https://token@host", "https://***@host"),
            ("\"http://u:a/b@c?d@host/x\"", "\"http://***@host/x\""),
            ("u:hunter2@host:9092", "***@host:9092"),
            ("a http://host/x?token=hunter2 b", "a http://host/x?*** b"),
            ("az://c/x?sv=2020&sig=hunter2", "az://c/x?***"),
            ("s3://b/x?X-Amz-Signature=hunter2", "s3://b/x?***"),
            ("s3://b/part-?.parquet", "s3://b/part-?.parquet"),
            ("s3://b/d=?/x", "s3://b/d=?/x"),
            ("http://host:1/x", "http://host:1/x"),
            ("somebody@example.org", "somebody@example.org"),
        ] {
            assert_eq!(without_credentials(text), shown, "{text}");
        }
    }

    #[test]
    fn credentials_of_a_url_are_taken_apart() {
        let split = |url: &str| split_credentials(url).map(|(url, user, password)| [url, user, password].join(" "));
        assert_eq!(split("http://u:p%2F%40+1@host:1/a/").as_deref(), Some("http://host:1/a/ u p/@+1"));
        assert_eq!(split("https://u@host").as_deref(), Some("https://host u "));
        assert_eq!(split("https://host/a@b"), None);
    }

    #[test]
    fn names_say_what_is_a_secret() {
        for name in [
            "sasl.password",
            "ssl.key.password",
            "ssl.key.pem",
            "sasl.oauthbearer.client.secret",
            "sasl.oauthbearer.config",
            "AWS_SECRET_ACCESS_KEY",
            "AZURE_STORAGE_SAS_TOKEN",
            "AZURE_STORAGE_KEY",
            "DB_PASSWORD",
            "DB_PWD",
            "API_KEY",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in [
            "sasl.username",
            "ssl.key.location",
            "ssl.ca.pem",
            "AWS_ACCESS_KEY_ID",
            "KEY",
            "PWD",
            "OLDPWD",
            "GOOGLE_APPLICATION_CREDENTIALS",
            "session.timeout.ms",
        ] {
            assert!(!is_secret(name), "{name}");
        }
    }
}
