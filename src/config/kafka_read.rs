//! Reads `source.kafka`, `sink.kafka`, and everything within them.

use std::time::Duration;

use super::kafka::{COLUMN_TYPES, GROUP_PROTOCOL, KEY_FORMATS, KeyFormat, STAMPS};
use super::kafka::{
    ColumnType, Encoding, Headers, History, KafkaSink, KafkaSource, LettersSource, Properties, Start, Until,
};
use super::kafka_words::{HISTORY, KEY, LETTERS, SINK, SOURCE, is_shared};
use super::read::{Field, Fields, Reader};
use super::schemas_read::format;
use super::schemas_words::FILE;
use super::topics;
use super::words::found;
use super::yaml::Kind;
use super::{At, Delivery, Format, Moment, Secret, is_secret, remember};
use super::{metadata, payload};

/// Properties on which the guarantees depend: what kolk sets, and why it must be that.
const OURS: [(&str, &str); 12] = [
    ("bootstrap.servers", "it is written as `brokers`"),
    ("group.id", "it is written as `group`"),
    ("enable.auto.commit", "false: offsets are committed with the outputs"),
    ("enable.auto.offset.store", "false: offsets are committed with the outputs"),
    ("auto.offset.reset", "error: a position that no longer exists must not be replaced silently"),
    ("enable.partition.eof", "true: a restore must know where the log ends"),
    ("partition.assignment.strategy", "cooperative-sticky: a rebalance moves as few partitions as possible"),
    ("enable.idempotence", "true: a retry must not change the order of a key"),
    ("transactional.id", "one for each worker: set `runtime.instance` for a stable name"),
    ("delivery.report.only.error", "true"),
    ("isolation.level", EXACTLY_ONCE_COMMITTED),
    ("acks", EXACTLY_ONCE_ACKS),
];
const EXACTLY_ONCE_COMMITTED: &str =
    "read_committed: with delivery: exactly_once, messages that may still be aborted are not read";
const EXACTLY_ONCE_ACKS: &str = "all: with delivery: exactly_once, the loss of a broker must not lose an output";

/// Properties that load native code into the process, which a pipeline file must not.
const CODE: [&str; 3] = ["plugin.library.paths", "ssl.engine.location", "ssl.providers"];

/// Properties that a group of the consumer protocol can't have, and why.
const CLASSIC_ONLY: [(&str, &str); 3] = [
    ("session.timeout.ms", "the brokers set it (group.consumer.session.timeout.ms)"),
    ("heartbeat.interval.ms", "the brokers set it (group.consumer.heartbeat.interval.ms)"),
    (
        "group.instance.id",
        "a killed process that comes back with it is refused until the session of the killed one is over",
    ),
];

/// Reads `source.kafka`. `name` is that of the pipeline.
pub(super) fn source(reader: &mut Reader, field: Field<'_>, name: &str, delivery: Delivery) -> Option<KafkaSource> {
    let fields = reader.section(field, &SOURCE)?;
    let brokers = reader.need(&fields, "brokers").and_then(|f| brokers(reader, f));
    let (topic, topics) = topics::read(reader, &fields);
    let group = fields.get("group").and_then(|f| reader.text(f, "a consumer group"));
    let encoding = encoding(reader, &fields, Some(topic.as_str()).filter(|_| topics.is_none()));
    let start = fields.get("start").and_then(|f| start(reader, f));
    let until = fields.get("until").and_then(|f| until(reader, f));
    let partitioned = fields.get("partitioned_by").and_then(|f| Some(f.at(reader.word(f, &[("key", true)], &[])?)));
    let idle =
        fields.get("idle").and_then(|f| Some(f.at(reader.duration(f)?))).filter(|idle| idle.value > Duration::ZERO);
    let history = fields.get("history").and_then(|f| {
        if topics.is_some() {
            return reader
                .wrong(f, "records of files say no topic, and state is per topic: `history` needs one `topic`");
        }
        history(reader, f)
    });
    let properties = properties(reader, &fields, delivery);
    of_group(reader, &properties);
    Some(KafkaSource {
        brokers: brokers.unwrap_or_default(),
        topic,
        topics,
        group: group.unwrap_or_else(|| At::default_value(name.to_string())),
        encoding,
        start: start.unwrap_or_default(),
        until,
        partitioned_by_key: partitioned.unwrap_or_default(),
        idle,
        history,
        properties,
    })
}

/// Notes properties that the protocol of the group can't have.
fn of_group(reader: &mut Reader, properties: &Properties) {
    let Some((_, protocol)) = properties.0.iter().find(|(name, _)| name.value == GROUP_PROTOCOL) else { return };
    match protocol.reveal() {
        "classic" => {}
        "consumer" => {
            for (name, _) in &properties.0 {
                if let Some((only, why)) = CLASSIC_ONLY.iter().find(|(only, _)| *only == name.value) {
                    let message = format!("`{only}` can't be set with `group.protocol: consumer`: {why}");
                    reader.problems.add(name.place, message);
                }
            }
        }
        _ => reader.problems.add(protocol.place, "`group.protocol`: expected one of: classic, consumer"),
    }
}

fn brokers(reader: &mut Reader, field: Field<'_>) -> Option<At<String>> {
    let brokers = reader.text(field, "addresses, host:port")?;
    if brokers.contains('@') {
        return reader.wrong(
            field,
            "an address holds no user and no password: write `sasl.username` and `sasl.password` under `properties`",
        );
    }
    Some(brokers)
}

/// Reads `source.dead_letters`.
pub(super) fn dead_letters(reader: &mut Reader, field: Field<'_>) -> Option<LettersSource> {
    let fields = reader.section(field, &LETTERS)?;
    let path = reader.need(&fields, "path").and_then(|f| reader.location(f));
    let encoding = encoding(reader, &fields, None);
    Some(LettersSource { path: path?, encoding })
}

/// How messages become records; those of a topic have a subject by its name.
fn encoding(reader: &mut Reader, fields: &Fields, topic: Option<&str>) -> Encoding {
    let (key, key_format, key_field) = fields.get("key").map(|f| key(reader, f)).unwrap_or_default();
    let (metadata, timestamp) = metadata::read(reader, fields);
    let format = match fields.get("format") {
        Some(field) => format(reader, field, topic, true),
        None => Some((At::default_value(Format::Json), None)),
    };
    if let (Some(key), true, Some((At { value: Format::Json, .. }, _))) =
        (fields.get("key"), key_format.has_schema(), &format)
    {
        reader.note(
            key,
            format!(
                "a key in {} needs a schema registry, and only payloads with schemas have one here (`format: {{ avro: \
                 {{ registry: http://… }} }}`, or protobuf): with JSON payloads take the key from one of their fields \
                 (`record.key`, with `partitioned_by: key`)",
                key_format.word()
            ),
        );
    }
    let (format, schema) = format.unwrap_or_else(|| (At::default_value(Format::Json), None));
    let columns = fields.get("columns").map(|f| columns(reader, f, &format.value)).unwrap_or_default();
    let envelope = payload::envelope(reader, fields, &format.value);
    let numbers = payload::numbers(reader, fields, &format.value);
    Encoding { format, schema, key, key_format, key_field, timestamp, metadata, columns, envelope, numbers }
}

/// The column that a message's key becomes, and how it is written.
fn key(reader: &mut Reader, field: Field<'_>) -> (Option<At<String>>, KeyFormat, Option<At<String>>) {
    const COLUMN: &str = "the name of a column";
    if !matches!(field.node.kind, Kind::Map(_)) {
        return (reader.text(field, COLUMN), KeyFormat::Text, None);
    }
    let Some(fields) = reader.section(field, &KEY) else { return (None, KeyFormat::Text, None) };
    let format = fields.get("format").and_then(|f| reader.word(f, &KEY_FORMATS, &[])).unwrap_or_default();
    let column = reader.need(&fields, "column").and_then(|f| reader.text(f, COLUMN));
    let within = fields.get("field").and_then(|f| reader.text(f, "a field of the key"));
    if let Some(within) = within.as_ref().filter(|_| !format.has_schema() && format != KeyFormat::Json) {
        reader
            .problems
            .add(within.place, "only keys with a schema or in JSON have fields: `format: avro`, `protobuf` or `json`");
    }
    (column, format, within)
}

/// Reads `sink.kafka`; `brokers` are those of the source.
pub(super) fn sink(
    reader: &mut Reader,
    field: Field<'_>,
    source: Option<&KafkaSource>,
    delivery: Delivery,
) -> Option<KafkaSink> {
    let fields = reader.section(field, &SINK)?;
    let brokers = match (fields.get("brokers"), source) {
        (Some(field), _) => brokers(reader, field),
        (None, Some(source)) => Some(source.brokers.clone()),
        (None, None) => {
            reader.need(&fields, "brokers");
            None
        }
    };
    let topic = reader.need(&fields, "topic").and_then(|f| reader.text(f, "a topic")).unwrap_or_default();
    let own = properties(reader, &fields, delivery);
    // The sink uses the same brokers and needs the same properties to reach them.
    let same = fields.get("brokers").is_none() && fields.get("properties").is_none();
    Some(KafkaSink {
        brokers: brokers.unwrap_or_default(),
        format: fields
            .get("format")
            .and_then(|f| format(reader, f, Some(&topic), false))
            .map_or_else(|| At::default_value(Format::Json), |(format, _)| format),
        topic,
        fields: fields.get("fields").and_then(|f| reader.texts(f, "columns")).unwrap_or_default(),
        headers: fields.get("headers").and_then(|f| headers(reader, f)).unwrap_or_default(),
        timestamp: fields.get("timestamp").and_then(|f| Some(f.at(reader.word(f, &STAMPS, &[])?))).unwrap_or_default(),
        properties: source.filter(|_| same).map_or(own, |source| shared(&source.properties)),
    })
}

/// `none`, `all`, or a list of names.
fn headers(reader: &mut Reader, field: Field<'_>) -> Option<Headers> {
    match field.node.text() {
        Some("none") => Some(Headers::None),
        Some("all") => Some(Headers::All),
        _ if field.node.is_list() => {
            let names = reader.some_texts(field, "names of headers")?;
            Some(Headers::Named(names.into_iter().map(|name| name.value).collect()))
        }
        _ => reader.expected(field, "none, all, or a list of names in brackets"),
    }
}

/// The properties of a consumer that also apply to a producer.
fn shared(properties: &Properties) -> Properties {
    Properties(properties.0.iter().filter(|(name, _)| is_shared(name)).cloned().collect())
}

fn history(reader: &mut Reader, field: Field<'_>) -> Option<History> {
    let fields = reader.section(field, &HISTORY)?;
    let until = fields.get("until").and_then(|f| reader.moment(f));
    let path = reader.need(&fields, "path").and_then(|f| reader.location(f))?;
    Some(History { path, until })
}

fn start(reader: &mut Reader, field: Field<'_>) -> Option<At<Start>> {
    Some(field.at(match field.node.text() {
        Some("earliest") => Start::Earliest,
        Some("latest") => Start::Latest,
        _ => match reader.moment(field)?.value {
            at @ Moment::Instant(_) => Start::At(at),
            Moment::Step(_) => return reader.expected(field, "earliest, latest or a time"),
        },
    }))
}

fn until(reader: &mut Reader, field: Field<'_>) -> Option<At<Until>> {
    Some(field.at(match field.node.text() {
        Some("end") => Until::End,
        Some("now") => Until::Now,
        _ => match reader.moment(field)?.value {
            at @ Moment::Instant(_) => Until::At(at),
            Moment::Step(_) => return reader.expected(field, "end, now or a time"),
        },
    }))
}

fn columns(reader: &mut Reader, field: Field<'_>, format: &Format) -> Vec<(At<String>, ColumnType)> {
    if *format != Format::Json {
        reader.note(field, "only formats without types need it: a schema has the types of its fields");
        return Vec::new();
    }
    let named = reader.names(field, "a mapping of columns to types").unwrap_or_default();
    named
        .into_iter()
        .filter_map(|column| {
            let name = At { value: column.name.to_string(), place: column.name_place };
            Some((name, reader.word(column, &COLUMN_TYPES, &[])?))
        })
        .collect()
}

fn properties(reader: &mut Reader, fields: &Fields, delivery: Delivery) -> Properties {
    let Some(field) = fields.get("properties") else { return Properties::default() };
    let mut properties = Vec::new();
    for property in reader.names(field, "a mapping of librdkafka's properties to values").unwrap_or_default() {
        let ours = OURS.iter().find(|(name, _)| *name == property.name);
        let free = delivery == Delivery::AtLeastOnce && matches!(property.name, "acks" | "isolation.level");
        if let Some((name, why)) = ours.filter(|_| !free) {
            reader.problems.add(property.name_place, format!("`{name}` can't be set here, kolk sets it: {why}"));
            continue;
        }
        if CODE.contains(&property.name) {
            let message = format!("`{}` can't be set: it loads a library into kolk's process", property.name);
            reader.problems.add(property.name_place, message);
            continue;
        }
        if let Some(value) = secret(reader, property) {
            if is_secret(property.name) {
                remember(value.reveal());
            }
            properties.push((At { value: property.name.to_string(), place: property.name_place }, value));
        }
    }
    Properties(properties)
}

/// A value that may be a secret: a text, a number, or `{ file: PATH }`.
pub(super) fn secret(reader: &mut Reader, field: Field<'_>) -> Option<At<Secret>> {
    if let Kind::Scalar(scalar) = &field.node.kind {
        return (!scalar.broken).then(|| field.at(Secret::unknown(scalar.text.as_str())));
    }
    let fields = reader.section(field, &FILE)?;
    let path = reader.need(&fields, "file")?;
    let location = reader.location(path)?;
    match std::fs::read_to_string(&location.0) {
        Ok(text) => Some(field.at(Secret::unknown(text.trim_end_matches(['\n', '\r'])))),
        Err(error) => reader.wrong(path, format!("{} cannot be read: {error}", found(path.node))),
    }
}
