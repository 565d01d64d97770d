//! Which fields of a payload become which columns, for every format. They are filled in [`super::table`].

use std::borrow::Cow;
use std::collections::HashMap;

use arrow::datatypes::{DataType, TimeUnit};

use super::avro_vector;
use super::envelope::{self, Met};
use super::key;
use super::times::{Ticks, TimeFrom, utc};
use super::vector::Vector;
use crate::config::{
    At, ColumnType, Encoding, Envelope, EpochUnit, KafkaSource, Key, KeyFormat, Metadatum, Numbers, Pipeline,
    VectorColumn,
};
use crate::error::Problems;
use crate::record::{Clock, Constant, KeyType, Kind, Layout, Role, murmur2};

/// Where a field of the payload goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Key,
    Time,
    Value(usize),
    Vector(usize),
    Passthrough(usize),
}

/// Where keys come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KeyFrom {
    Field,
    Message(KeyFormat),
    /// The values' names with their hashes.
    Melted(Vec<(String, u32)>),
    Single,
}

/// Where a passthrough column comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PassthroughFrom {
    Field(DataType),
    MessageKey(KeyFormat),
    MessageTimestamp,
    Metadata(Metadatum),
}

impl PassthroughFrom {
    /// The type of the column.
    pub fn data_type(&self) -> DataType {
        match self {
            PassthroughFrom::Field(data_type) => data_type.clone(),
            PassthroughFrom::MessageKey(_) | PassthroughFrom::Metadata(Metadatum::Topic) => DataType::Utf8,
            PassthroughFrom::MessageTimestamp => utc(TimeUnit::Millisecond),
            PassthroughFrom::Metadata(Metadatum::Partition) => DataType::Int32,
            PassthroughFrom::Metadata(Metadatum::Offset) => DataType::Int64,
        }
    }
}

/// What is read of each message.
#[derive(Debug, Clone)]
pub(super) struct Columns {
    pub fields: HashMap<String, Target>,
    pub key: KeyFrom,
    pub time: TimeFrom,
    /// That of the time column.
    pub clock: Clock,
    pub values: usize,
    pub vectors: Vec<VectorColumn>,
    pub passthrough: Vec<(String, PassthroughFrom)>,
    /// The field of a JSON key that is the key.
    pub key_field: Option<String>,
    /// What is around the record.
    pub envelope: Option<Envelope>,
    /// How numbers are written in JSON.
    pub numbers: Numbers,
}

impl Columns {
    /// The name of a field for the beginning of a message about it; nothing where there is none.
    pub fn field(&self, target: Option<Target>) -> String {
        let name = self.fields.iter().find(|(_, found)| Some(**found) == target).map(|(name, _)| name);
        name.map(|name| format!("\"{name}\": ")).unwrap_or_default()
    }

    /// What a column is that has no value, for messages.
    pub fn is_null(&self, target: Target) -> String {
        match self.fields.iter().find(|(_, found)| **found == target) {
            Some((name, _)) => format!("field \"{name}\" is missing or null"),
            None => "the message has no timestamp".into(),
        }
    }

    /// The text of a message's key, or why it is none. A JSON key is taken out of Connect's wrapper where there is an
    /// envelope, and may be a field of an object.
    pub fn key_text<'k>(&self, format: KeyFormat, key: &'k [u8]) -> Result<Cow<'k, str>, String> {
        if format != KeyFormat::Json || (self.envelope.is_none() && self.key_field.is_none()) {
            return key::text_of(format, key);
        }
        let key = super::frame::json(key);
        let key = self.envelope.and_then(|_| envelope::unwrapped(key)).unwrap_or(key);
        match &self.key_field {
            None => key::text_of(format, key),
            Some(name) => {
                let written = envelope::field_of_key(key, name).ok_or_else(|| format!("it has no field \"{name}\""))?;
                key::text_of(format, written.as_bytes()).map(|text| Cow::Owned(text.into_owned()))
            }
        }
    }

    /// Whether the message's key is read in this format.
    pub fn reads_message_key(&self, format: KeyFormat) -> bool {
        self.key == KeyFrom::Message(format)
            || self.passthrough.iter().any(|(_, from)| *from == PassthroughFrom::MessageKey(format))
    }

    /// A time of a field whose ticks are that long as ticks of the time column, rounded down; a field without a clock
    /// (a plain integer) has those of the column. `None`: 64 bits don't hold it.
    pub fn ticks(&self, value: i64, nanos: Option<i64>) -> Option<i64> {
        match (nanos, self.clock.nanos_per_tick) {
            (Some(from), Some(to)) if from != to => {
                i64::try_from((i128::from(value) * i128::from(from)).div_euclid(i128::from(to))).ok()
            }
            _ => Some(value),
        }
    }

    /// Name of the field with the time, for messages.
    pub fn time_name(&self) -> &str {
        let is_time = |(_, target): &(&String, &Target)| **target == Target::Time;
        self.fields.iter().find(is_time).map_or("the message's timestamp", |(name, _)| name.as_str())
    }
}

/// The type of a column in a format without types; for the time and for passthrough columns.
pub(super) type TypeOf<'a> = &'a dyn Fn(&str, Use) -> Option<DataType>;

/// What a column is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Key,
    Time,
    Value,
    Vector,
    Passthrough,
}

/// The types of JSON: those that the pipeline file says.
pub(super) fn declared<'a>(
    encoding: &'a Encoding,
    unit: Option<EpochUnit>,
) -> impl Fn(&str, Use) -> Option<DataType> + 'a {
    move |name, purpose| {
        Some(match purpose {
            Use::Key => DataType::Utf8,
            Use::Value => DataType::Float64,
            Use::Vector => DataType::new_list(DataType::Float32, true),
            Use::Time => match unit {
                None => DataType::Utf8,
                Some(unit) if unit.fractional().is_some() => DataType::Float64,
                Some(_) => DataType::Int64,
            },
            Use::Passthrough => match encoding.columns.iter().find(|(column, _)| column.value == name).map(|(_, t)| *t)
            {
                Some(ColumnType::Float64) => DataType::Float64,
                Some(ColumnType::Int64) => DataType::Int64,
                Some(ColumnType::Boolean) => DataType::Boolean,
                Some(ColumnType::String) | None => DataType::Utf8,
            },
        })
    }
}

/// Plans the columns of a source of messages; `type_of` returns the type of a field of the payload, or adds a problem
/// and returns `None`.
pub(super) fn plan(
    pipeline: &Pipeline,
    encoding: &Encoding,
    fields: &[At<String>],
    type_of: TypeOf<'_>,
    problems: &mut Problems,
) -> Option<(Columns, Layout)> {
    let record = &pipeline.record;
    let message_key = encoding.key.as_ref().map(|name| name.value.as_str());
    let timestamp = encoding.timestamp.as_ref().map(|name| name.value.as_str());
    let mut found = HashMap::new();
    let mut complete = true;

    let time_name = record.time.column.as_str();
    let (time, time_type) = if timestamp == Some(time_name) {
        (TimeFrom::Message, Some((utc(TimeUnit::Millisecond), record.time.unit)))
    } else {
        found.insert(time_name.to_string(), Target::Time);
        let data_type = type_of(time_name, Use::Time);
        match data_type.map(|found| TimeFrom::of(found, record.time.unit)) {
            Some(Ok((from, found, unit))) => (from, Some((found, unit))),
            Some(Err(message)) => {
                problems.add(record.time.place, message);
                (TimeFrom::Ticks, None)
            }
            None => (TimeFrom::Ticks, None),
        }
    };
    let clock = time_type.and_then(|(found, unit)| {
        Clock::of_column(&found, unit, record.time.timezone.as_ref())
            .map_err(|message| problems.add(record.time.place, message))
            .ok()
    });

    let names: Vec<&At<String>> = match &record.key {
        Key::Melted(names) => names.iter().collect(),
        _ => record.values.iter().collect(),
    };
    for (index, name) in names.iter().enumerate() {
        complete &= type_of(name, Use::Value).is_some();
        found.insert(name.value.clone(), Target::Value(index));
    }
    for (index, column) in record.vectors.iter().enumerate() {
        let of = type_of(&column.name, Use::Vector);
        complete &= of.is_some();
        if let Some(Err(message)) = of.map(|of| avro_vector::takes(column, &of)) {
            problems.add(column.name.place, format_args!("field \"{}\": {message}", column.name.value));
            complete = false;
        }
        found.insert(column.name.value.clone(), Target::Vector(index));
    }
    let (key, key_name) = match &record.key {
        Key::Single => (KeyFrom::Single, "key".to_string()),
        Key::Melted(names) => {
            let hashed = names.iter().map(|name| (name.value.clone(), murmur2(name.as_bytes()))).collect();
            (KeyFrom::Melted(hashed), "key".to_string())
        }
        Key::Column(name) if message_key == Some(name.as_str()) => {
            (KeyFrom::Message(encoding.key_format), name.value.clone())
        }
        Key::Column(name) => {
            complete &= type_of(name, Use::Key).is_some();
            found.insert(name.value.clone(), Target::Key);
            (KeyFrom::Field, name.value.clone())
        }
    };

    let value_names: Vec<String> = match &record.key {
        Key::Melted(_) => vec![record.values.first().map_or("value".to_string(), |name| name.value.clone())],
        _ => record.values.iter().map(|name| name.value.clone()).collect(),
    };
    let mut passthrough: Vec<(String, PassthroughFrom)> = Vec::new();
    for field in fields {
        let name = field.value.as_str();
        let is_vector = record.vectors.iter().any(|column| column.name.value == name);
        let is_value = is_vector || value_names.iter().any(|value| value == name);
        if name == key_name
            || name == time_name
            || is_value
            || passthrough.iter().any(|(passthrough, _)| passthrough == name)
        {
            continue;
        }
        let from = if message_key == Some(name) {
            PassthroughFrom::MessageKey(encoding.key_format)
        } else if timestamp == Some(name) {
            PassthroughFrom::MessageTimestamp
        } else if let Some(of) = encoding.metadata.find(name) {
            PassthroughFrom::Metadata(of)
        } else {
            let Some(data_type) = type_of(name, Use::Passthrough) else {
                complete = false;
                continue;
            };
            found.insert(name.to_string(), Target::Passthrough(passthrough.len()));
            PassthroughFrom::Field(data_type)
        };
        passthrough.push((name.to_string(), from));
    }

    let clock = clock?;
    let mut layout = Layout::new(key_name, KeyType::Utf8, time_name, clock.clone());
    layout.is_one_series = matches!(record.key, Key::Single);
    for name in value_names {
        layout.add(name, Kind::Number, Role::Value);
    }
    layout.add_vectors(&record.vectors);
    for (name, from) in &passthrough {
        layout.add(name, Kind::Passthrough(from.data_type()), Role::Field);
    }
    if let Some(source) = pipeline.source.kafka() {
        layout.constants = constants(source);
    }
    let (envelope, numbers) = (encoding.envelope.as_ref().map(|envelope| envelope.value), encoding.numbers);
    let key_field = encoding.key_field.as_ref().map(|field| field.value.clone());
    let (values, vectors) = (names.len(), record.vectors.clone());
    let columns =
        Columns { fields: found, key, time, clock, values, vectors, passthrough, key_field, envelope, numbers };
    if let (Err(name), Some(at)) = (envelope::tree(&columns), &encoding.envelope) {
        problems
            .add(at.place, format!("the column \"{name}\" is read twice, under another name too: write one of them"));
        return None;
    }
    complete.then_some((columns, layout))
}

/// The columns that are the same in all messages of a partition.
fn constants(source: &KafkaSource) -> Vec<(String, Constant)> {
    let constant = |(of, column): &(Metadatum, At<String>)| {
        let constant = match of {
            Metadatum::Topic => Constant::Topic(source.topic.value.clone()),
            Metadatum::Partition => Constant::Partition,
            Metadatum::Offset => return None,
        };
        Some((column.value.clone(), constant))
    };
    source.encoding.metadata.0.iter().filter_map(constant).collect()
}

/// A value of a passthrough column.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) enum Cell {
    #[default]
    Null,
    Text(String),
    Float(f64),
    Integer(i64),
    Flag(bool),
    /// Unscaled, in the column's scale.
    Decimal(i128),
    Bytes(Vec<u8>),
}

/// What is read of one message. Memory is used again.
#[derive(Debug, Clone, Default)]
pub(super) struct Row {
    /// The field that is being read, for an error.
    pub at: Option<Target>,
    pub key: Option<String>,
    pub time: Option<i64>,
    /// A time that no column of times can hold, as it is written.
    pub beyond: Option<String>,
    pub values: Vec<f64>,
    pub vectors: Vec<Vector>,
    pub passthrough: Vec<Cell>,
    /// What is around the record, where that is not JSON.
    pub met: Met,
}

impl Row {
    /// Empty, for the next message.
    pub fn clear(&mut self, columns: &Columns) {
        self.at = None;
        if columns.envelope.is_some() {
            self.met.clear();
        }
        self.key = None;
        self.time = None;
        self.beyond = None;
        self.values.clear();
        self.values.resize(columns.values, f64::NAN);
        self.vectors.resize_with(columns.vectors.len(), Vector::default);
        self.vectors.iter_mut().for_each(Vector::clear);
        self.passthrough.clear();
        self.passthrough.resize(columns.passthrough.len(), Cell::Null);
    }

    /// The time, which perhaps no column can hold.
    pub fn set_time(&mut self, columns: &Columns, time: Ticks) {
        (self.time, self.beyond) = match time {
            Ticks::Null => (None, None),
            Ticks::Of(value, nanos) => match columns.ticks(value, nanos) {
                None => (None, Some(value.to_string())),
                ticks => (ticks, None),
            },
            Ticks::Beyond(text) => (None, Some(text)),
        };
    }
}

/// Why a message isn't a record: one of few words, and the details, for people.
pub(super) type Fault = (&'static str, String);
