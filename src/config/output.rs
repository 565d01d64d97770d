//! The sections `sink`, `dead_letters`, `state` and `runtime`.

use std::time::Duration;

use super::read::{Field, Fields, Reader};
use super::table::{Shape, Word, names, word};
use super::words::{Words, exactly_one};
use super::{At, DeadLetters, Delivery, Device, KafkaSource, Runtime, Sink, State, http, one_line};
use super::{kafka_read, kafka_words};

pub(super) const SINK: Words = Words::new(
    "`sink`",
    &[
        word("parquet", Shape::Section(&SINK_PARQUET), "Part files in a folder"),
        word("kafka", Shape::Section(&kafka_words::SINK), "A topic; needs a Kafka source"),
        word("stdout", Shape::Section(&SINK_STDOUT), "JSON lines"),
    ],
)
.choices(&[exactly_one(&["parquet", "kafka", "stdout"])])
.elsewhere(&[("path", UNDER_PARQUET), ("fields", UNDER_PARQUET)]);
const UNDER_PARQUET: &str = "write it within parquet: { … }";
const FIELDS: Word = word("fields", Shape::Texts, "Further columns of the record to write").or("[]");
const SINK_PARQUET: Words = Words::new(
    "`parquet`",
    &[
        word("path", Shape::Path, "A folder or URL").needed(),
        FIELDS,
        word("part_records", Shape::POSITIVE, "A part holds the output of at most this many records of a partition")
            .or("131072"),
    ],
);
const SINK_STDOUT: Words = Words::new("`stdout`", &[FIELDS]);
pub(super) const DEAD_LETTERS: Words = Words::new(
    "`dead_letters`",
    &[
        word("parquet", Shape::Section(&DEAD_PARQUET), "Files in a folder"),
        word("kafka", Shape::Section(&DEAD_KAFKA), "A topic; needs a Kafka sink"),
    ],
)
.choices(&[exactly_one(&["parquet", "kafka"])]);
const DEAD_KAFKA: Words = Words::new("`kafka`", &[word("topic", Shape::Text, "The topic").needed()]);
const DEAD_PARQUET: Words = Words::new("`parquet`", &[word("path", Shape::Path, "A folder or URL").needed()]);
pub(super) const STATE: Words = Words::new(
    "`state`",
    &[
        word("path", Shape::Path, "A folder or URL, with one folder per pipeline name").or("state/"),
        word("checkpoint_every", Shape::Duration, "A checkpoint is taken after this time").or("30s"),
        word("or_records", Shape::POSITIVE, "Or after this many records of a partition").or("1000000"),
        word(
            "partitions",
            Shape::Integer(1, MAX_PARTITIONS as i64),
            "Virtual partitions of a file source; they decide which rows are in which output file",
        )
        .or("16"),
    ],
);
pub(super) const RUNTIME: Words = Words::new(
    "`runtime`",
    &[
        word(
            "workers",
            Shape::Any(&[Shape::Word(&["cores"]), Shape::Integer(1, MAX_WORKERS as i64)]),
            "Threads: a number, or one for each core",
        )
        .or("cores"),
        word("batch", Shape::Integer(1, MAX_BATCH as i64), "The most records in a micro-batch").or("4096"),
        word("linger", Shape::Duration, "Kafka: how long a micro-batch may wait to fill").or("5ms"),
        word(
            "delivery",
            Shape::Word(&names(&DELIVERIES)),
            "Kafka to Kafka: outputs and offsets in one transaction, or outputs at once, so that a crash repeats some",
        )
        .or("exactly_once"),
        word("commit_every", Shape::Duration, "Kafka to Kafka: length of a transaction").or("100ms"),
        word(
            "model_every",
            Shape::Any(&[Shape::Word(&["never", "0"]), Shape::Integer(0, 0), Shape::Duration]),
            "Kafka to Kafka: how often the registry is asked for a new champion; `never`: only at the start",
        )
        .or("10s"),
        word("grace", Shape::Duration, "Kafka: how long SIGTERM may take to drain, commit and write checkpoints")
            .or("25s"),
        word(
            "instance",
            Shape::Text,
            "Kafka: name of this process, for a stable transactional id; a new one by default",
        ),
        word(
            "http",
            http::SHAPE,
            "Address of /metrics, /healthz, /readyz and /version, such as 127.0.0.1:9464; not served by default",
        ),
        word(
            "device",
            Shape::Pattern(r"^(cpu|auto|cuda(:[0-9]{1,3})?)$"),
            "What networks run on: cpu, cuda, cuda:1, or auto",
        )
        .or("cpu"),
    ],
);

const DELIVERIES: [(&str, Delivery); 2] =
    [("exactly_once", Delivery::ExactlyOnce), ("at_least_once", Delivery::AtLeastOnce)];
pub(super) const METRICS: Words = Words::new(
    "`metrics`",
    &[word("labels", Shape::Names(&Shape::Text), "Names and values of labels that every metric has").or("{}")],
);

/// Virtual partitions at most: each has its own files.
const MAX_PARTITIONS: usize = 4096;
const MAX_WORKERS: usize = 1024;
const MAX_BATCH: usize = 1 << 20;

/// Reads `sink`.
pub(super) fn sink(
    reader: &mut Reader,
    field: Field<'_>,
    source: Option<&KafkaSource>,
    delivery: Delivery,
) -> Option<At<Sink>> {
    let fields = reader.section(field, &SINK)?;
    let kind = reader.one_of(&fields, &["parquet", "kafka", "stdout"])?;
    if kind.name == "kafka" {
        let kafka = kafka_read::sink(reader, kind, source, delivery)?;
        return Some(At { value: Sink::Kafka(Box::new(kafka)), place: kind.name_place });
    }
    let is_parquet = kind.name == "parquet";
    let inner = reader.section(kind, if is_parquet { &SINK_PARQUET } else { &SINK_STDOUT })?;
    let columns = inner.get("fields").and_then(|f| reader.texts(f, "columns")).unwrap_or_default();
    let value = if is_parquet {
        let path = reader.need(&inner, "path").and_then(|f| reader.location(f)).unwrap_or_default();
        let part_records = inner.get("part_records").and_then(|f| reader.count(f, 1, usize::MAX));
        Sink::Parquet { path, fields: columns, part_records: part_records.map_or(Sink::PART_RECORDS, |n| n as u64) }
    } else {
        Sink::Stdout { fields: columns }
    };
    Some(At { value, place: kind.name_place })
}

/// Reads `dead_letters`; the default is a folder next to the file.
pub(super) fn dead_letters(reader: &mut Reader, fields: &Fields) -> At<DeadLetters> {
    let Some(field) = fields.get("dead_letters") else {
        return At::default_value(DeadLetters::Parquet(At::default_value(reader.beside("dead_letters"))));
    };
    let Some(fields) = reader.section(field, &DEAD_LETTERS) else { return At::default() };
    let Some(kind) = reader.one_of(&fields, &["parquet", "kafka"]) else { return At::default() };
    if kind.name == "kafka" {
        let topic = reader.section(kind, &DEAD_KAFKA).and_then(|fields| {
            let topic = reader.need(&fields, "topic")?;
            reader.text(topic, "a topic")
        });
        return At { place: kind.name_place, value: DeadLetters::Kafka(topic.unwrap_or_default()) };
    }
    let path = reader.path_of(kind, &DEAD_PARQUET).unwrap_or_default();
    At { place: path.place, value: DeadLetters::Parquet(path) }
}

/// Reads `state`.
pub(super) fn state(reader: &mut Reader, fields: &Fields) -> State {
    let fields = section_or_none(reader, fields, "state", &STATE);
    let path = match fields.get("path") {
        Some(field) => reader.location(field).unwrap_or_default(),
        None => At::default_value(reader.beside("state")),
    };
    let every = fields.get("checkpoint_every").and_then(|field| reader.duration(field));
    let or_records = fields.get("or_records").and_then(|f| reader.count(f, 1, usize::MAX));
    let partitions = fields.get("partitions").and_then(|f| reader.count(f, 1, MAX_PARTITIONS));
    State {
        path,
        checkpoint_every: every.unwrap_or(Duration::from_secs(30)),
        or_records: or_records.map_or(1_000_000, |n| n as u64),
        partitions: partitions.and_then(|n| u32::try_from(n).ok()).unwrap_or(16),
    }
}

/// Reads `runtime`.
pub(super) fn runtime(reader: &mut Reader, fields: &Fields) -> Runtime {
    let fields = section_or_none(reader, fields, "runtime", &RUNTIME);
    let workers = fields.get("workers").and_then(|field| match field.node.text() {
        Some("cores") => None,
        Some(text) if text.parse::<f64>().is_err() => reader.expected(field, "`cores` or a whole number"),
        _ => reader.count(field, 1, MAX_WORKERS),
    });
    let http = fields.get("http").and_then(|field| Some(field.at(http::read(reader, field)?)));
    Runtime {
        workers: workers.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)),
        batch: fields.get("batch").and_then(|f| reader.count(f, 1, MAX_BATCH)).unwrap_or(4096),
        linger: fields.get("linger").and_then(|f| reader.duration(f)).unwrap_or(Runtime::default().linger),
        delivery: fields
            .get("delivery")
            .and_then(|f| Some(f.at(reader.word(f, &DELIVERIES, &[])?)))
            .unwrap_or_default(),
        commit_every: fields
            .get("commit_every")
            .and_then(|f| reader.duration(f))
            .unwrap_or(Runtime::default().commit_every),
        model_every: match fields.get("model_every") {
            Some(field) => model_every(reader, field),
            None => Runtime::default().model_every,
        },
        grace: fields.get("grace").and_then(|f| reader.duration(f)).unwrap_or(Runtime::default().grace),
        instance: fields.get("instance").and_then(|f| reader.text(f, "a name")),
        http,
        device: fields.get("device").and_then(|field| device(reader, field)).unwrap_or_default(),
    }
}

/// `cpu`, `auto`, `cuda` or `cuda:1`.
fn device(reader: &mut Reader, field: Field<'_>) -> Option<At<Device>> {
    let number =
        |text: &str| Some(text).filter(|text| text.len() < 4 && text.bytes().all(|b| b.is_ascii_digit()))?.parse().ok();
    let found = match field.node.text() {
        Some("cpu") => Some(Device::Cpu),
        Some("auto") => Some(Device::Auto),
        Some("cuda") => Some(Device::Cuda(0)),
        Some(text) => text.strip_prefix("cuda:").and_then(number).map(Device::Cuda),
        None => None,
    };
    match found {
        Some(found) => Some(field.at(found)),
        None => reader.expected(field, "one of: cpu, cuda, cuda:1 (a device by its number), auto"),
    }
}

/// Reads `metrics`: the labels that every metric has.
pub(super) fn metrics(reader: &mut Reader, fields: &Fields) -> Vec<(At<String>, String)> {
    let fields = section_or_none(reader, fields, "metrics", &METRICS);
    let Some(field) = fields.get("labels").filter(|field| !field.node.is_null()) else { return Vec::new() };
    let mut labels = Vec::new();
    for label in reader.names(field, "a mapping of labels to values").unwrap_or_default() {
        if let Some(fault) = label_fault(label.name) {
            reader.problems.add(label.name_place, format_args!("`{}`: {fault}", one_line(label.name)));
        }
        if let Some(value) = reader.text(label, "the value of a label") {
            labels.push((At { value: label.name.to_string(), place: label.name_place }, value.value));
        }
    }
    labels
}

/// What is wrong with the name of a label, by the rules of Prometheus.
fn label_fault(name: &str) -> Option<&'static str> {
    let begins = |c: char| c.is_ascii_alphabetic() || c == '_';
    match name {
        "le" | "quantile" => Some("Prometheus keeps this label for histograms and summaries"),
        _ if name.starts_with("__") => Some("labels that begin with __ are Prometheus' own"),
        _ if name.starts_with(begins) && name.chars().all(|c| begins(c) || c.is_ascii_digit()) => None,
        _ => Some("the name of a label consists of letters, digits and _, and begins with no digit"),
    }
}

/// How often the registry is looked at; `None`: at the start only.
fn model_every(reader: &mut Reader, field: Field<'_>) -> Option<Duration> {
    match field.node.text() {
        Some("never" | "0") => None,
        _ => reader.duration(field),
    }
}

fn section_or_none(reader: &mut Reader, fields: &Fields, name: &'static str, words: &Words) -> Fields {
    let there = fields.get(name).and_then(|field| reader.section(field, words));
    there.unwrap_or(Fields::unread(words.section))
}
