//! Protobuf in Confluent's wire format, by prost-reflect; protox compiles the text that registries hold.
//!
//! The reader's schema decides which columns there are: the newest of the subject at the start, or a pinned one. Each
//! message is read by its writer's schema, field by field by name; a message that was renamed is known by its place in
//! the file. A field without presence (proto3 without `optional`) that isn't there is its default, as Protobuf says;
//! one with presence is null. Wrappers (`google.protobuf.DoubleValue` …) are what they hold,
//! `google.protobuf.Timestamp` is a time, an enum is its name as text. A name with dots is a field of a message within
//! it; where that message isn't there, neither is the field.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::DataType;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost_reflect::{
    Cardinality, DescriptorPool, DynamicMessage, FieldDescriptor, MessageDescriptor, ReflectMessage, Value,
};
use protox::Compiler;
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};

use super::avro_bytes::zigzag;
use super::columns::{Cell, Columns, Fault, PassthroughFrom, Row, Target, Use};
use super::envelope::{Found, place, tree};
use super::framed::{Body, MakeBody};
use super::path::{Mark, Tree};
use super::protobuf_decimal;
use super::protobuf_known::KnownFiles;
use super::protobuf_value::{cell, data_type, fitted, is_key, is_time, key, time};
use super::protobuf_vector::{self, vector_type};
use super::schema::Schema;
use super::times::nanos_of;
use crate::config::Envelope;
use crate::error::contained;

/// Name of the schema itself among the files that it imports.
pub(super) const MAIN: &str = "kolk_schema.proto";

/// How deep messages may be within messages, and brackets in brackets, in a schema: it is read by recursion.
const DEEPEST: usize = 100;

/// The files of a schema, by name.
struct Files(HashMap<String, File>);

impl FileResolver for Files {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        let file = self.0.get(name).ok_or_else(|| protox::Error::file_not_found(name))?;
        match file.source() {
            Some(source) => File::from_source(name, source),
            None => Ok(File::from_file_descriptor_proto(file.file_descriptor_proto().clone())),
        }
    }
}

/// A file as it is registered: text, or (by Confluent's Python client) a base64 descriptor.
fn file(name: &str, text: &str) -> Result<File, String> {
    if is_too_deep(text.as_bytes()) {
        return Err(format!("its messages are nested more than {DEEPEST} deep"));
    }
    match File::from_source(name, text) {
        Ok(file) => Ok(file),
        Err(error) => {
            let bytes = STANDARD.decode(text.trim()).map_err(|_| error.to_string())?;
            let mut descriptor = File::decode_file_descriptor_proto(bytes.as_slice())
                .map_err(|e| e.to_string())?
                .file_descriptor_proto()
                .clone();
            descriptor.name = Some(name.to_string());
            Ok(File::from_file_descriptor_proto(descriptor))
        }
    }
}

/// Whether brackets are nested deeper than is read. Those of comments and texts are none, and neither opens nor closes
/// one.
fn is_too_deep(mut rest: &[u8]) -> bool {
    let mut open = Vec::new();
    while let Some((byte, after)) = rest.split_first() {
        rest = match byte {
            b'#' => line(after),
            b'/' if after.starts_with(b"/") => line(after),
            b'/' if after.starts_with(b"*") => {
                let end = after[1..].windows(2).position(|two| two == b"*/");
                end.map_or(&[][..], |end| &after[end + 3..])
            }
            b'"' | b'\'' => quoted(after, *byte),
            _ => after,
        };
        match byte {
            b'{' => open.push(b'}'),
            b'[' => open.push(b']'),
            b'(' => open.push(b')'),
            b'<' => open.push(b'>'),
            _ if open.last() == Some(byte) => drop(open.pop()),
            _ => {}
        }
        if open.len() > DEEPEST {
            return true;
        }
    }
    false
}

/// What follows a line.
fn line(rest: &[u8]) -> &[u8] {
    let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    &rest[end..]
}

/// What follows a text. One without an end, which is refused later, ends with its line.
fn quoted(mut rest: &[u8], quote: u8) -> &[u8] {
    while let Some((byte, after)) = rest.split_first() {
        match byte {
            b'\n' => return rest,
            b'\\' => rest = after.get(1..).unwrap_or_default(),
            _ if *byte == quote => return after,
            _ => rest = after,
        }
    }
    rest
}

/// The top-level messages of a schema, in order, or the error in it.
pub(super) fn messages(schema: &Schema) -> Result<Vec<MessageDescriptor>, String> {
    contained(|| compiled(schema))?
}

fn compiled(schema: &Schema) -> Result<Vec<MessageDescriptor>, String> {
    let mut files = HashMap::from([(MAIN.to_string(), file(MAIN, &schema.text)?)]);
    for (name, text) in &schema.references {
        files.insert(name.clone(), file(name, text)?);
    }
    let mut resolver = ChainFileResolver::new();
    resolver.add(Files(files));
    resolver.add(GoogleFileResolver::new());
    resolver.add(KnownFiles);
    let mut compiler = Compiler::with_file_resolver(resolver);
    compiler.include_imports(true).open_file(MAIN).map_err(|e| e.to_string())?;
    let pool: DescriptorPool = compiler.descriptor_pool();
    let main = pool.get_file_by_name(MAIN).ok_or("the schema is empty")?;
    Ok(main.messages().collect())
}

/// A message of a schema, by its full name or the first; or the error.
pub(super) fn message(schema: &Schema, name: Option<&str>) -> Result<MessageDescriptor, String> {
    let all = messages(schema)?;
    let found = match name {
        None => all.first().cloned(),
        Some(name) => all.iter().find_map(|message| named(message, name)),
    };
    let names: Vec<&str> = all.iter().map(MessageDescriptor::full_name).collect();
    found.ok_or_else(|| match name {
        None => "the schema has no message".to_string(),
        Some(name) => format!("there is no message \"{name}\" in the schema (there are: {})", names.join(", ")),
    })
}

/// The message that a pipeline reads.
#[derive(Debug, Clone)]
pub(super) struct ProtobufReaderSchema(MessageDescriptor, Option<Envelope>);

impl ProtobufReaderSchema {
    /// From a registered schema, by its full name or the first; or the error.
    #[cfg(any(test, fuzzing))]
    pub fn new(schema: &Schema, name: Option<&str>) -> Result<ProtobufReaderSchema, String> {
        ProtobufReaderSchema::within(schema, name, None)
    }

    /// The same, of records in an envelope.
    pub fn within(
        schema: &Schema,
        name: Option<&str>,
        envelope: Option<Envelope>,
    ) -> Result<ProtobufReaderSchema, String> {
        message(schema, name).map(|found| ProtobufReaderSchema(found, envelope))
    }

    /// The field that a column is, or the error in it.
    fn field(&self, name: &str) -> Result<FieldDescriptor, String> {
        let (base, rest) = place(self.1, name);
        let mut path = [base].into_iter().filter(|base| !base.is_empty()).chain(rest.split('.')).peekable();
        let mut message = self.0.clone();
        while let Some(segment) = path.next() {
            let of = message.full_name();
            let Some(field) = message.get_field_by_name(segment) else {
                let fields: Vec<_> = message.fields().collect();
                let names: Vec<&str> = fields.iter().map(FieldDescriptor::name).collect();
                return Err(format!("there is no field \"{segment}\" in {of} (there are: {})", names.join(", ")));
            };
            if path.peek().is_none() {
                return Ok(field);
            }
            let is_one = field.cardinality() != Cardinality::Repeated;
            match field.kind().as_message().filter(|_| is_one) {
                Some(inner) => message = inner.clone(),
                None => return Err(format!("field \"{segment}\" in {of} is no message, and has no fields")),
            }
        }
        Err(format!("there is no field \"{name}\""))
    }

    /// The names of its fields.
    pub fn names(&self) -> Vec<String> {
        self.0.fields().map(|field| field.name().to_string()).collect()
    }

    /// The type in which a column is delivered, or the error in it.
    pub fn type_of(&self, name: &str, purpose: Use) -> Result<DataType, String> {
        let field = self.field(name)?;
        let found = if purpose == Use::Vector { vector_type(&field) } else { data_type(&field) };
        let fits = match purpose {
            Use::Value if protobuf_decimal::is_decimal(&field) => return Ok(DataType::Float64),
            Use::Value => matches!(found, Some(DataType::Float64 | DataType::Int64 | DataType::Boolean)),
            Use::Key => is_key(&field),
            Use::Time => is_time(&field),
            Use::Passthrough | Use::Vector => found.is_some(),
        };
        match found {
            Some(found) if fits => Ok(found),
            _ => Err(format!("field \"{name}\" is {:?}, which can't be used as {purpose:?}", field.kind())),
        }
    }

    /// Makes readers of bodies.
    pub fn bodies(&self, columns: Arc<Columns>) -> MakeBody {
        let (wanted, path) = (self.0.full_name().to_string(), path_of(&self.0));
        Arc::new(move |writer: &Schema| {
            let messages = messages(writer)?;
            let is_renamed = !messages.iter().any(|message| named(message, &wanted).is_some());
            let path = is_renamed.then(|| path.clone());
            let tree = tree(&columns).map_err(|name| format!("the column \"{name}\" is read twice"))?;
            let body = ProtobufBody { messages, wanted: wanted.clone(), path, columns: columns.clone(), tree };
            Ok(Box::new(body) as Box<dyn Body>)
        })
    }
}

/// Where a message is in its file, as the indexes before a body say it.
pub(super) fn path_of(message: &MessageDescriptor) -> Vec<usize> {
    let (mut path, siblings): (_, Vec<_>) = match message.parent_message() {
        Some(parent) => (path_of(&parent), parent.child_messages().collect()),
        None => (Vec::new(), message.parent_file().messages().collect()),
    };
    path.extend(siblings.iter().position(|sibling| sibling == message));
    path
}

fn named(message: &MessageDescriptor, name: &str) -> Option<MessageDescriptor> {
    if message.full_name() == name {
        return Some(message.clone());
    }
    message.child_messages().find_map(|child| named(&child, name))
}

struct ProtobufBody {
    messages: Vec<MessageDescriptor>,
    wanted: String,
    /// Where no message has the wanted name: the place of the one that is read.
    path: Option<Vec<usize>>,
    columns: Arc<Columns>,
    /// Where the columns are.
    tree: Tree,
}

impl ProtobufBody {
    /// The message that the indexes before a body name, and the body after them.
    fn message<'b>(&self, body: &'b [u8]) -> Result<(MessageDescriptor, &'b [u8]), String> {
        let (path, rest) = indexes(body)?;
        let found = message_at(&self.messages, &path)?;
        if found.full_name() == self.wanted || self.path.as_ref() == Some(&path) {
            Ok((found, rest))
        } else {
            Err(format!("expected message {}, found {}", self.wanted, found.full_name()))
        }
    }
}

/// The message that indexes name.
pub(super) fn message_at(messages: &[MessageDescriptor], path: &[usize]) -> Result<MessageDescriptor, String> {
    let mut found: Option<MessageDescriptor> = None;
    for index in path {
        found = match found {
            None => messages.get(*index).cloned(),
            Some(parent) => parent.child_messages().nth(*index),
        };
        if found.is_none() {
            return Err(format!("the schema has no message {index}"));
        }
    }
    found.ok_or("no message is named".into())
}

/// The indexes before a body, and the body after them.
pub(super) fn indexes(body: &[u8]) -> Result<(Vec<usize>, &[u8]), String> {
    let mut rest = body;
    let count = zigzag(&mut rest).map_err(|_| "the message's index is truncated")?;
    // A single zero means the first message.
    if count == 0 {
        return Ok((vec![0], rest));
    }
    let count = usize::try_from(count).ok().filter(|count| *count <= body.len()).ok_or("a wrong number of indexes")?;
    let all =
        (0..count).map(|_| zigzag(&mut rest)).collect::<Result<Vec<i64>, _>>().map_err(|_| "an index is truncated")?;
    let all: Result<Vec<usize>, _> = all.into_iter().map(usize::try_from).collect();
    Ok((all.map_err(|_| "a negative index")?, rest))
}

impl Body for ProtobufBody {
    fn read(&mut self, body: &[u8], row: &mut Row) -> Result<(), Fault> {
        let (descriptor, rest) = self.message(body).map_err(|what| ("bad_protobuf", what))?;
        let message = DynamicMessage::decode(descriptor, rest).map_err(|e| ("bad_protobuf", e.to_string()))?;
        self.read_within(&message, &self.tree, row)
    }
}

impl ProtobufBody {
    fn read_within(&self, message: &DynamicMessage, tree: &Tree, row: &mut Row) -> Result<(), Fault> {
        for field in message.descriptor().fields() {
            let Some(node) = tree.fields.get(field.name()) else { continue };
            let is_there = !field.supports_presence() || message.has_field(&field);
            if let Some(inner) = &node.inner {
                row.met.note(inner.part, if is_there { Found::Object } else { Found::Null });
                if let (true, Value::Message(within)) = (is_there, &*message.get_field(&field)) {
                    self.read_within(within, &inner.tree, row)?;
                }
            }
            let Some(leaf) = node.leaf.filter(|_| is_there) else { continue };
            if let Some(mark) = leaf.mark {
                self.mark(mark, &message.get_field(&field), &field, row);
            }
            let Some(target) = &leaf.target else { continue };
            let refused = |reason, what: &str| {
                let name =
                    self.columns.fields.iter().find(|(_, found)| *found == target).map(|(name, _)| name.as_str());
                (reason, format!("field \"{}\": {what}", name.unwrap_or(field.name())))
            };
            let changed = |what: &str| refused("bad_schema", what);
            let value = message.get_field(&field);
            if let Target::Vector(index) = target {
                let (column, to) = (&self.columns.vectors[*index], &mut row.vectors[*index]);
                protobuf_vector::read(column, &value, &field, to).ok_or_else(|| changed("isn't a vector"))?;
                continue;
            }
            if let Value::Message(message) = &*value
                && let Some(Err(what)) = protobuf_decimal::text(message)
            {
                return Err(refused("bad_value", &what));
            }
            let cell = cell(&value, &field).ok_or_else(|| changed("can't be a column"))?;
            // Whatever was a time stays one, and what wasn't doesn't become one: its unit would be a guess.
            let nanos = data_type(&field).as_ref().and_then(nanos_of);
            match (target, cell) {
                (_, Cell::Null) => {}
                (Target::Time, cell) => {
                    let found = time(cell, self.columns.time, nanos, &self.columns.clock.data_type);
                    row.set_time(&self.columns, found.map_err(|(reason, what)| refused(reason, &what))?);
                }
                (Target::Key, cell) => {
                    let text = Some(cell).filter(|_| nanos.is_none()).and_then(key);
                    row.key = Some(text.ok_or_else(|| changed("can't be a key"))?);
                }
                (Target::Value(index), Cell::Float(value)) => row.values[*index] = value,
                (Target::Value(index), Cell::Integer(value)) if nanos.is_none() => row.values[*index] = value as f64,
                (Target::Value(index), Cell::Decimal(value)) => row.values[*index] = value as f64,
                (Target::Value(index), Cell::Flag(value)) => row.values[*index] = f64::from(u8::from(value)),
                (Target::Value(index), Cell::Text(text)) if protobuf_decimal::is_decimal(&field) => {
                    row.values[*index] = text.parse().map_err(|_| changed("isn't a number"))?;
                }
                (Target::Value(_) | Target::Vector(_), _) => return Err(changed("isn't a number")),
                (Target::Passthrough(index), cell) => {
                    let PassthroughFrom::Field(data_type) = &self.columns.passthrough[*index].1 else { continue };
                    row.passthrough[*index] =
                        fitted(cell, nanos, data_type).map_err(|(reason, what)| refused(reason, &what))?;
                }
            }
        }
        Ok(())
    }
}

impl ProtobufBody {
    /// Reads what a field of an envelope says about the message.
    fn mark(&self, mark: Mark, value: &Value, field: &FieldDescriptor, row: &mut Row) {
        let text = cell(value, field).and_then(key);
        match mark {
            Mark::Op => row.met.op = text,
            Mark::KeyBefore => row.met.key = text,
            Mark::Schema => {}
        }
    }
}

#[cfg(test)]
#[path = "protobuf_nested_tests.rs"]
mod nested_tests;
