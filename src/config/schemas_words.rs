//! The table of `format`, and everything within it: registries, subjects, schemas.

use super::effective::{self, Written};
use super::schemas_read::SUBJECT_NAMES;
use super::table::{Shape, Word, names, word};
use super::words::{Words, exactly_one};
use super::yaml::Node;

/// Formats as a sink has them.
pub(super) const FORMAT: Words = Words::new(
    "`format`",
    &[
        word("avro", Shape::Section(&AVRO), "Avro in Confluent's wire format"),
        word("protobuf", Shape::Section(&PROTOBUF), "Protobuf in Confluent's wire format"),
    ],
)
.choices(&[exactly_one(&["avro", "protobuf"])]);
/// Formats as a source has them.
pub(super) const READS_FORMAT: Words = Words::new(
    "`format`",
    &[
        word("avro", Shape::Section(&READS_AVRO), "Avro in Confluent's wire format, or in single-object encoding"),
        word("protobuf", Shape::Section(&READS_PROTOBUF), "Protobuf in Confluent's wire format"),
    ],
)
.choices(&[exactly_one(&["avro", "protobuf"])]);

const REGISTRY: Word =
    word("registry", Shape::Pattern("^https?://"), "URL of a schema registry with Confluent's API").needed();
const MAYBE_REGISTRY: Word = word(
    "registry",
    REGISTRY.shape,
    "URL of a schema registry with Confluent's API; needed unless `schema` names files",
);
const USER: Word = word("auth", Shape::Section(&AUTH), "User and password of the registry, or a bearer token");
const CERTIFICATES: Word = word("tls", Shape::Section(&TLS), "Certificates for the registry");
const SUBJECT: Word =
    word("subject", Shape::Text, "The subject of the schema; by `subject_name` by default").or_from(subject);
const SUBJECT_NAME: Word = word(
    "subject_name",
    Shape::Word(&names(&SUBJECT_NAMES)),
    "How the subject is named: `<topic>-value` (by default), the record's full name, or `<topic>-<record's full name>`",
);
/// The subject by its strategy.
fn subject(file: &Written<'_>) -> Option<Node> {
    let text = |up: usize, name: &'static str| file.near(up, name).and_then(|node| node.text().map(str::to_string));
    let record = || text(0, "record").or_else(|| text(0, "message"));
    let subject = match text(0, "subject_name").as_deref() {
        Some("record") => record()?,
        Some("topic_record") => format!("{}-{}", text(2, "topic")?, record()?),
        _ => format!("{}-value", text(2, "topic")?),
    };
    Some(effective::text(subject))
}

// An id may be in quotes, as from a variable.
const SCHEMA: Word = word(
    "schema",
    Shape::Any(&[Shape::Integer(0, u32::MAX as i64), Shape::Pattern("^[0-9]+$"), Shape::Section(&PIN)]),
    "Pins the schema that decides what is read: its id, or `{ version: 3 }` of the subject; the newest by default",
);
const AVRO_SCHEMA: Word = word(
    "schema",
    Shape::Any(&[Shape::Integer(0, u32::MAX as i64), Shape::Pattern("^[0-9]+$"), Shape::Section(&AVRO_PIN)]),
    "Pins the schema that decides what is read: its id, `{ version: 3 }` of the subject, or `{ file: PATH }`",
);
const OUTPUT: Word = word(
    "schema",
    Shape::Any(&[
        Shape::Word(&["latest"]),
        Shape::Integer(0, u32::MAX as i64),
        Shape::Pattern("^[0-9]+$"),
        Shape::Section(&PIN),
    ]),
    "The output has this schema, and none is registered: its id, `{ version: 3 }` of the subject, or latest",
);
const MESSAGE: Word = word("message", Shape::Text, "Full name of the message; the first of the schema by default");
const RECORD: Word = word("record", Shape::Text, "Full name of the record; others are refused");

pub(super) const AVRO: Words =
    Words::new("`avro`", &[REGISTRY, USER, CERTIFICATES, SUBJECT, SUBJECT_NAME, RECORD, OUTPUT]);
pub(super) const PROTOBUF: Words =
    Words::new("`protobuf`", &[REGISTRY, USER, CERTIFICATES, SUBJECT, SUBJECT_NAME, MESSAGE, OUTPUT]);
pub(super) const READS_AVRO: Words =
    Words::new("`avro`", &[MAYBE_REGISTRY, USER, CERTIFICATES, SUBJECT, SUBJECT_NAME, RECORD, AVRO_SCHEMA]);
pub(super) const READS_PROTOBUF: Words =
    Words::new("`protobuf`", &[REGISTRY, USER, CERTIFICATES, SUBJECT, SUBJECT_NAME, MESSAGE, SCHEMA]);
const VERSION: Word = word("version", Shape::Integer(1, i32::MAX as i64), "A version of the subject");
pub(super) const PIN: Words = Words::new("`schema`", &[VERSION.needed()]);
pub(super) const AVRO_PIN: Words = Words::new(
    "`schema`",
    &[
        VERSION,
        word(
            "file",
            Shape::Any(&[Shape::Path, Shape::List(&Shape::Path)]),
            "Files with schemas, which messages name by fingerprint; the first decides what is read",
        ),
    ],
)
.choices(&[exactly_one(&["version", "file"])]);
pub(super) const AUTH: Words = Words::new(
    "`auth`",
    &[
        word("user", Shape::Secret(&FILE), "User name, or `{ file: PATH }`"),
        word("password", Shape::Secret(&FILE), "Password, or `{ file: PATH }`"),
        word("token", Shape::Secret(&FILE), "Bearer token, or `{ file: PATH }`"),
    ],
)
.choices(&[exactly_one(&["user", "token"]), exactly_one(&["password", "token"])]);
pub(super) const TLS: Words = Words::new(
    "`tls`",
    &[
        word("ca", Shape::Path, "PEM file with certificates that are trusted besides the system's"),
        word("certificate", Shape::Path, "PEM file with the client's certificate"),
        word("key", Shape::Path, "PEM file with the certificate's key, without a password"),
    ],
);
pub(super) const FILE: Words = Words::new("a secret", &[word("file", Shape::Path, "The file that holds it").needed()]);
