//! Reads `format`, and where schemas are: registries with credentials and certificates, files.

use super::kafka_read::secret;
use super::read::{Field, Fields, Reader};
use super::schemas_words::{
    AUTH, AVRO, AVRO_PIN, FILE, FORMAT, PIN, PROTOBUF, READS_AVRO, READS_FORMAT, READS_PROTOBUF, TLS,
};
use super::words::found;
use super::yaml::Kind;
use super::{At, Format, Location, Pin, SchemaSource, Secret, Tls, Token, remember, remember_basic, split_credentials};

/// How subjects are named.
#[derive(Clone, Copy)]
pub(super) enum SubjectName {
    Topic,
    Record,
    TopicRecord,
}

/// Their words.
pub(super) const SUBJECT_NAMES: [(&str, SubjectName); 3] =
    [("topic", SubjectName::Topic), ("record", SubjectName::Record), ("topic_record", SubjectName::TopicRecord)];

/// Reads a `format`; that of a source may pin the schema that its readers go by.
pub(super) fn format(
    reader: &mut Reader,
    field: Field<'_>,
    topic: Option<&str>,
    is_source: bool,
) -> Option<(At<Format>, Option<At<Pin>>)> {
    if let Some(word) = field.node.text() {
        return match word {
            "json" => Some((field.at(Format::Json), None)),
            "avro" | "protobuf" => {
                reader.wrong(field, format!("needs a schema registry: format: {{ {word}: {{ registry: http://… }} }}"))
            }
            _ => reader.expected(field, "json, { avro: … } or { protobuf: … }"),
        };
    }
    let fields = reader.section(field, if is_source { &READS_FORMAT } else { &FORMAT })?;
    let kind = reader.one_of(&fields, &["avro", "protobuf"])?;
    let is_avro = kind.name == "avro";
    let words = match (is_avro, is_source) {
        (true, true) => &READS_AVRO,
        (true, false) => &AVRO,
        (false, true) => &READS_PROTOBUF,
        (false, false) => &PROTOBUF,
    };
    let inner = reader.section(kind, words)?;
    let (mut pin, mut files) = (None, Vec::new());
    if let Some(f) = inner.get("schema") {
        (pin, files) = schema(reader, f, is_avro, is_source).unwrap_or_default();
    }
    if let Some(place) = pin.as_ref().filter(|pin| is_source && pin.value == Pin::Latest).map(|pin| pin.place) {
        reader.problems.add(place, "a source begins with the newest schema anyway: leave `schema` out, or pin one");
    }
    let url = match inner.get("registry") {
        None if !files.is_empty() => None,
        _ => reader.need(&inner, "registry").and_then(|f| registry(reader, f)),
    };
    let Registry { url, written, auth: in_url } = url.unwrap_or_default();
    let (auth, token) = inner.get("auth").map(|f| auth(reader, f)).unwrap_or_default();
    if let (Some(f), Some(_)) = (inner.get("auth"), &in_url) {
        reader.note(f, "the URL of the registry has a user already: write it once");
    }
    let tls = inner.get("tls").and_then(|f| {
        if url.starts_with("http://") {
            return reader.wrong(f, "the URL of the registry begins with http://, which has no certificates");
        }
        tls(reader, f)
    });
    let message = match inner.get(if is_avro { "record" } else { "message" }) {
        Some(f) => reader.text(f, if is_avro { "the full name of a record" } else { "the full name of a message" }),
        None => None,
    };
    let subject = subject(reader, kind, &inner, topic, message.as_ref(), !files.is_empty());
    let schema = SchemaSource {
        registry: url,
        written,
        auth: auth.or(in_url),
        token,
        tls: tls.unwrap_or_default(),
        subject,
        message,
        files,
        output: pin.clone().filter(|_| !is_source),
    };
    Some((kind.at(if is_avro { Format::Avro(schema) } else { Format::Protobuf(schema) }), pin.filter(|_| is_source)))
}

/// The subject, written or by its strategy.
fn subject(
    reader: &mut Reader,
    kind: Field<'_>,
    inner: &Fields,
    topic: Option<&str>,
    message: Option<&At<String>>,
    in_files: bool,
) -> At<String> {
    let default = |text: String| At::default_value(text);
    if let Some(f) = inner.get("subject") {
        if let Some(strategy) = inner.get("subject_name") {
            // Written out, it says the same.
            let name = message.map(|name| name.value.as_str()).unwrap_or_default();
            let same = match strategy.node.text() {
                Some("record") => name.to_string(),
                Some("topic_record") => format!("{}-{name}", topic.unwrap_or_default()),
                _ => format!("{}-value", topic.unwrap_or_default()),
            };
            if f.node.text() != Some(&same) {
                reader.note(strategy, "the subject is written already: `subject`");
            }
        }
        return reader.text(f, "a subject of the registry").unwrap_or_default();
    }
    let strategy = inner.get("subject_name").and_then(|f| Some((f, reader.word(f, &SUBJECT_NAMES, &[])?)));
    let of_record = |strategy| !matches!(strategy, SubjectName::Topic);
    if let Some((f, _)) = strategy.filter(|(_, strategy)| of_record(*strategy) && message.is_none()) {
        let word = if kind.name == "avro" { "record" } else { "message" };
        reader.note(f, format!("such subjects have the {word}'s name: write it in full as `{word}`"));
        return At::default();
    }
    let name = message.map(|name| name.value.as_str()).unwrap_or_default();
    match (strategy.map(|(_, strategy)| strategy), topic) {
        (Some(SubjectName::Record), _) => default(name.to_string()),
        (Some(SubjectName::TopicRecord), Some(topic)) => default(format!("{topic}-{name}")),
        (_, Some(topic)) => default(format!("{topic}-value")),
        (_, None) if in_files => At::default(),
        (_, None) => {
            reader.need(inner, "subject");
            At::default()
        }
    }
}

/// Where a registry is, and how to get in.
#[derive(Default)]
struct Registry {
    url: At<String>,
    written: Option<Secret>,
    auth: Option<(At<Secret>, At<Secret>)>,
}

/// Reads the URL of a registry. User and password may be in it; from here on they are not.
fn registry(reader: &mut Reader, field: Field<'_>) -> Option<Registry> {
    const WHAT: &str = "a URL that begins with http:// or https://";
    let url = reader.text(field, "the URL of a schema registry")?;
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return reader.expected(field, WHAT);
    }
    let Ok(parsed) = url::Url::parse(&url) else {
        return reader.wrong(
            field,
            "this is not a URL; user and password are written in `auth`, or percent-encoded where they are in the URL",
        );
    };
    if parsed.query().is_some() || parsed.fragment().is_some() {
        return reader.wrong(field, "the URL of a registry has no ? and no #: credentials are written in `auth`");
    }
    let Some((bare, user, password)) = split_credentials(&url) else {
        return Some(Registry { url, ..Registry::default() });
    };
    remember_basic(&user, &password);
    let auth = Some((field.at(Secret::unknown(user)), field.at(Secret::new(password))));
    Some(Registry { written: Some(Secret::unknown(url.value)), url: field.at(bare), auth })
}

/// User and password, or a token.
type Auth = (Option<(At<Secret>, At<Secret>)>, Option<Token>);

fn auth(reader: &mut Reader, field: Field<'_>) -> Auth {
    let Some(fields) = reader.section(field, &AUTH) else { return Auth::default() };
    if let Some(token) = fields.get("token") {
        if let Some(f) = fields.get("user").or(fields.get("password")) {
            reader.note(f, "a registry takes a user and a password, or a token: write one of them");
        }
        return (None, self::token(reader, token));
    }
    let user = reader.need(&fields, "user").and_then(|f| secret(reader, f));
    let password = reader.need(&fields, "password").and_then(|f| secret(reader, f));
    let Some((user, password)) = user.zip(password) else { return Auth::default() };
    remember(password.reveal());
    remember_basic(user.reveal(), password.reveal());
    (Some((user, password)), None)
}

fn token(reader: &mut Reader, field: Field<'_>) -> Option<Token> {
    let text = secret(reader, field)?;
    let file = match field.node.kind {
        Kind::Map(_) => {
            let fields = reader.section(field, &FILE)?;
            fields.get("file").and_then(|f| reader.location(f)).map(|file| file.value.0)
        }
        _ => None,
    };
    Some(Token { secret: Secret::new(text.reveal().trim()), file })
}

fn tls(reader: &mut Reader, field: Field<'_>) -> Option<Tls> {
    let fields = reader.section(field, &TLS)?;
    let mut pem = |name: &'static str| fields.get(name).and_then(|f| content(reader, f));
    let (ca, certificate, key) = (pem("ca"), pem("certificate"), pem("key"));
    if fields.get("key").is_some() {
        reader.need(&fields, "certificate");
    }
    if let Some(key) = &key {
        remember(key);
    }
    let identity =
        certificate.map(|certificate| Secret::unknown(format!("{certificate}\n{}", key.unwrap_or_default())));
    Some(Tls { ca, identity })
}

/// The text of a file.
fn content(reader: &mut Reader, field: Field<'_>) -> Option<String> {
    let location = reader.location(field)?;
    match std::fs::read_to_string(&location.0) {
        Ok(text) => Some(text),
        Err(error) => reader.wrong(field, format!("{} cannot be read: {error}", found(field.node))),
    }
}

/// A pinned schema, or files.
type Pinned = (Option<At<Pin>>, Vec<At<Location>>);

fn schema(reader: &mut Reader, field: Field<'_>, is_avro: bool, is_source: bool) -> Option<Pinned> {
    let may_be_files = is_avro && is_source;
    let pinned = |pin| Some((Some(field.at(pin)), Vec::new()));
    if let Kind::Map(_) = field.node.kind {
        let fields = reader.section(field, if may_be_files { &AVRO_PIN } else { &PIN })?;
        if let Some(file) = fields.get("file") {
            let files = match file.node.kind {
                Kind::List(_) => reader.list(file, "a list of files")?,
                _ => vec![file],
            };
            return Some((None, files.into_iter().filter_map(|file| reader.location(file)).collect()));
        }
        let version = reader.need(&fields, "version")?;
        // Confluent's API counts versions in 31 bits.
        let number = reader.integer(version, 1, i64::from(i32::MAX))?;
        return pinned(Pin::Version(u32::try_from(number).ok()?));
    }
    match field.node.text().map(|text| (text, text.parse())) {
        Some(("latest", _)) => pinned(Pin::Latest),
        Some((_, Ok(id))) => pinned(Pin::Id(id)),
        _ if is_source => reader.expected(field, "the id of a schema, or { version: … }"),
        _ => reader.expected(field, "the id of a schema, { version: … } or latest"),
    }
}
