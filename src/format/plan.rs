//! From the pipeline file to decoders and encoders, with every problem at its place.

use std::cell::RefCell;
use std::sync::Arc;

use arrow::datatypes::DataType;
use serde_json::{Value, json};

use super::ahead::{Guarded, Limit};
use super::framed::{Framed, MakeBody};
use super::json::JsonDecoder;
use super::schema::Language;
use super::schema_key::SchemaKeys;
use super::schemas::{self, Schemas};
use super::{Decoder, avro, avro_schema, columns, protobuf, reading};
use crate::config::{At, Encoding, Format, KeyFormat, Numbers, Pin, Pipeline, SchemaSource};
use crate::error::{Problems, printable};
use crate::record::Layout;

/// A source's format, ready to decode.
pub struct PlannedDecoder {
    /// Columns of the records.
    pub layout: Layout,
    /// What `check` says, without being wrong.
    pub notes: Vec<String>,
    /// What is read, in canonical form, for the fingerprint of the state.
    pub reads: Value,
    /// The same in the words of the versions before fingerprints had fields.
    described: String,
    /// Whether what an earlier version said in its place means the same.
    was: Box<dyn Fn(&str) -> bool + Send + Sync>,
    make: Box<dyn Fn() -> crate::Result<Box<dyn Decoder>> + Send + Sync>,
}

impl PlannedDecoder {
    /// A decoder for one worker.
    ///
    /// # Errors
    /// What could fail since planning: the registry's client.
    pub fn decoder(&self) -> crate::Result<Box<dyn Decoder>> {
        (self.make)()
    }

    /// Whether the words of an earlier version say that the same is read.
    pub fn reads_as(&self, described: &str) -> bool {
        // Those versions read keys as text.
        let new = [KEY_FORMAT, "envelope", "numbers", METADATA];
        new.iter().all(|field| self.reads.get(field).is_none())
            && (self.described == described || (self.was)(described))
    }
}

/// Plans how the messages of a source become records: columns of `record:`, and `fields` (of the sink, a filter, the
/// split), which are passthrough along unless they are key, time or a value anyway. Adds every problem to `problems`,
/// and returns `None` if there is one.
pub fn plan_decoder(pipeline: &Pipeline, fields: &[At<String>], problems: &mut Problems) -> Option<PlannedDecoder> {
    let encoding = pipeline.source.encoding()?;
    let planned = plan_format(pipeline, encoding, fields, problems)?;
    let Some(span) = &pipeline.on.ahead else { return Some(planned) };
    let PlannedDecoder { layout, make, .. } = planned;
    let clock = layout.clock.clone();
    let every = match clock.every(span.value) {
        Ok(_) if clock.nanos_per_tick.is_none() => {
            Err("the time is a step without a clock, and timestamps are none".into())
        }
        every => every,
    };
    match every {
        Ok(every) => {
            let limit = Limit { clock, every, written: span.to_string(), column: layout.time_name.clone() };
            let make = move || Ok(Box::new(Guarded { decoder: make()?, limit: limit.clone() }) as Box<dyn Decoder>);
            Some(PlannedDecoder { layout, make: Box::new(make), ..planned })
        }
        Err(message) => {
            problems.add(span.place, format!("`ahead`: {message}"));
            None
        }
    }
}

fn plan_format(
    pipeline: &Pipeline,
    encoding: &Encoding,
    fields: &[At<String>],
    problems: &mut Problems,
) -> Option<PlannedDecoder> {
    match &encoding.format.value {
        Format::Json => {
            let types = columns::declared(encoding, pipeline.record.time.unit);
            let (columns, layout) = columns::plan(pipeline, encoding, fields, &types, problems)?;
            let columns = Arc::new(columns);
            Some(PlannedDecoder {
                layout,
                notes: Vec::new(),
                reads: with_encoding(json!({ "format": "json", "columns": encoding.canonical_columns() }), encoding),
                described: format!("json {:?}", encoding.columns),
                was: Box::new(|_| false),
                make: Box::new(move || Ok(Box::new(JsonDecoder::new(columns.clone()).map_err(crate::Error::failed)?))),
            })
        }
        Format::Avro(schema) | Format::Protobuf(schema) => plan_framed(pipeline, encoding, schema, fields, problems),
    }
}

/// The field of a fingerprint that says how keys are written, unless as text.
const KEY_FORMAT: &str = "key format";
/// The one that says which columns are what else there is about a message.
const METADATA: &str = "metadata";

/// With what isn't as it always was.
fn with_encoding(mut reads: Value, encoding: &Encoding) -> Value {
    if let Some(envelope) = &encoding.envelope {
        reads["envelope"] = json!(envelope.value.word());
    }
    if encoding.numbers != Numbers::default() {
        reads["numbers"] = json!(encoding.numbers.word());
    }
    if encoding.key_format != KeyFormat::default() {
        reads[KEY_FORMAT] = json!(encoding.key_format.word());
    }
    if let Some(field) = &encoding.key_field {
        reads["key field"] = json!(field.value);
    }
    for (of, column) in &encoding.metadata.0 {
        reads[METADATA][of.word()] = json!(column.value);
    }
    reads
}

/// The schema that decides what is read, as a reader of a format.
enum ReaderSchema {
    Avro(avro::AvroReaderSchema),
    Protobuf(protobuf::ProtobufReaderSchema),
}

impl ReaderSchema {
    fn names(&self) -> Vec<String> {
        match self {
            ReaderSchema::Avro(reader) => reader.names(),
            ReaderSchema::Protobuf(reader) => reader.names(),
        }
    }

    fn type_of(&self, name: &str, purpose: columns::Use) -> Result<DataType, String> {
        match self {
            ReaderSchema::Avro(reader) => reader.type_of(name, purpose),
            ReaderSchema::Protobuf(reader) => reader.type_of(name, purpose),
        }
    }
}

fn plan_framed(
    pipeline: &Pipeline,
    encoding: &Encoding,
    schema: &SchemaSource,
    fields: &[At<String>],
    problems: &mut Problems,
) -> Option<PlannedDecoder> {
    let language = language(&encoding.format.value);
    let (schemas, reader) = match reader(encoding, schema, language) {
        Ok(found) => found,
        Err(message) => {
            problems.add(schemas::place(encoding, schema), message);
            return None;
        }
    };
    // Reported once the columns are planned, which borrows the problems.
    let wrong = RefCell::new(Vec::new());
    let types =
        |name: &str, purpose| reader.type_of(name, purpose).map_err(|message| wrong.borrow_mut().push(message)).ok();
    let planned = columns::plan(pipeline, encoding, fields, &types, problems);
    for message in wrong.into_inner() {
        problems.add(encoding.format.place, message);
    }
    let (columns, layout) = planned?;
    if !apart(encoding, &reader.names(), problems) {
        return None;
    }
    let columns = Arc::new(columns);
    let bodies = match &reader {
        ReaderSchema::Avro(reader) => reader.bodies(columns.clone()),
        ReaderSchema::Protobuf(reader) => reader.bodies(columns.clone()),
    };
    let bodies = match &schema.message {
        Some(record) if language == Language::Avro => of_record(bodies, record.value.clone()),
        _ => bodies,
    };
    let notes = alike(&columns, &reader.names());
    let described = reading::described(&columns, language, &|name, purpose| reader.type_of(name, purpose).ok());
    let (now, read) = (described.clone(), columns.clone());
    let key_language = match encoding.key_format {
        KeyFormat::Avro => Some(Language::Avro),
        KeyFormat::Protobuf => Some(Language::Protobuf),
        _ => None,
    };
    let mut keys = None;
    if let Some(language) = key_language.filter(|_| columns.reads_message_key(encoding.key_format)) {
        match schemas.apart(schema) {
            Ok(schemas) => keys = Some((Arc::new(schemas), language)),
            Err(message) => {
                problems.add(schema.registry.place, message);
                return None;
            }
        }
    }
    let key_field = encoding.key_field.as_ref().map(|field| field.value.clone());
    let schemas = Arc::new(schemas);
    Some(PlannedDecoder {
        layout,
        notes,
        // It is JSON.
        reads: with_encoding(serde_json::from_str(&described).unwrap_or_default(), encoding),
        described,
        was: Box::new(move |before| reading::was(before, &now, &read, language)),
        make: Box::new(move || {
            let keys = keys.clone().map(|(schemas, of)| SchemaKeys::new(schemas, of, key_field.clone()));
            Ok(Box::new(Framed::new(columns.clone(), schemas.clone(), language, bodies.clone()).with_keys(keys)))
        }),
    })
}

/// Whether no column of `metadata` has the name of a field of the messages.
fn apart(encoding: &Encoding, names: &[String], problems: &mut Problems) -> bool {
    let mut apart = true;
    for (of, column) in encoding.metadata.0.iter().filter(|(_, column)| names.contains(&column.value)) {
        let (name, word) = (printable(column), of.word());
        problems.add(
            column.place,
            format_args!("column \"{name}\" is a field of the messages: give the column of the {word} another name"),
        );
        apart = false;
    }
    apart
}

/// Says which field is read, where another one's name differs in upper and lower case only.
fn alike(columns: &columns::Columns, names: &[String]) -> Vec<String> {
    let mut notes = Vec::new();
    for name in columns.fields.keys() {
        let like = |other: &&String| other.to_lowercase() == name.to_lowercase() && *other != name;
        notes.extend(
            names
                .iter()
                .filter(like)
                .map(|other| format!("field \"{name}\" is read, not \"{other}\", which is another one")),
        );
    }
    notes.sort();
    notes
}

/// Where the schemas are, and the one that decides what is read.
fn reader(encoding: &Encoding, source: &SchemaSource, language: Language) -> Result<(Schemas, ReaderSchema), String> {
    let (schemas, found) = Schemas::open(source, encoding.schema.as_ref().map(|pin| pin.value), language)?;
    let message = source.message.as_ref().map(|message| message.value.as_str());
    let envelope = encoding.envelope.as_ref().map(|envelope| envelope.value);
    let reader = match language {
        Language::Avro => match (message, avro_schema::full_name(&found)) {
            (Some(wanted), Some(name)) if wanted != name => Err(format!("its record is {name}, not {wanted}")),
            _ => avro::AvroReaderSchema::within(&found, envelope).map(ReaderSchema::Avro),
        },
        Language::Protobuf => {
            protobuf::ProtobufReaderSchema::within(&found, message, envelope).map(ReaderSchema::Protobuf)
        }
    };
    let of = match (source.files.first(), encoding.schema.as_ref().map(|pin| pin.value)) {
        (Some(file), _) => file.value.0.clone(),
        (None, Some(Pin::Id(id))) => format!("schema {id}"),
        _ => format!("subject \"{}\"", *source.subject),
    };
    Ok((schemas, reader.map_err(|e| format!("{of}: {e}"))?))
}

/// Readers of bodies for one record only, where the pipeline names it: a topic may hold others.
fn of_record(bodies: MakeBody, record: String) -> MakeBody {
    Arc::new(move |writer| match avro_schema::full_name(writer) {
        Some(name) if name != record => Err(format!("the message's record is {name}, the pipeline reads {record}")),
        _ => bodies(writer),
    })
}

pub(super) fn language(format: &Format) -> Language {
    match format {
        Format::Protobuf(_) => Language::Protobuf,
        Format::Avro(_) | Format::Json => Language::Avro,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::law::{AVRO, pipeline};

    #[test]
    fn a_column_of_metadata_has_a_name_that_no_field_has() {
        let folder = tempfile::tempdir().unwrap();
        let schema = folder.path().join("sale.avsc");
        std::fs::write(&schema, AVRO).unwrap();
        for (column, clashes) in [("k", true), ("shop", false)] {
            let pipeline = pipeline(&format!(
                "name: p\nsource: {{ kafka: {{ brokers: b, topic: t, key: id, format: {{ avro: {{ schema: {{ file: {} }} \
                 }} }},\n metadata: {{ topic: {column} }} }} }}\nrecord: {{ key: id, time: ts, values: [v] }}\n",
                schema.display()
            ));
            let mut problems = Problems::new("p.yaml");
            let fields = [At::default_value(column.to_string())];
            let planned = plan_decoder(&pipeline, &fields, &mut problems);
            let said = problems.finish(()).map_or_else(|error| error.to_string(), |()| String::new());
            let expected =
                format!("3:21: column \"{column}\" is a field of the messages: give the column of the topic");
            assert!(planned.is_none() == clashes && said.contains(&expected) == clashes, "{said}");
        }
    }
}
