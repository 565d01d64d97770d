//! Which fields of a payload become which columns, for every format; and the columns while they are filled.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanBuilder, Float64Builder, Int64Builder, StringBuilder};
use arrow::datatypes::{DataType, TimeUnit};

use super::{Decoded, Messages};
use crate::config::{At, ColumnType, Encoding, EpochUnit, Format, Key, Moment, Pipeline};
use crate::error::Problems;
use crate::record::murmur2;
use crate::record::{Clock, KeyType, Kind, Layout, Origin, Records, Role};

/// Maximum bytes of a detail.
const LONGEST_DETAIL: usize = 200;

/// Where a field of the payload goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Key,
    Time,
    Value(usize),
    Passthrough(usize),
}

/// Where keys come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KeyFrom {
    Field,
    Message,
    /// The values' names with their hashes.
    Melted(Vec<(String, u32)>),
    Single,
}

/// Where times come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TimeFrom {
    /// A field with the time as text (RFC 3339), in microseconds.
    Text,
    /// A field with ticks.
    Ticks,
    /// The message's timestamp.
    Message,
}

/// Where a passthrough column comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PassthroughFrom {
    Field(DataType),
    MessageKey,
    MessageTimestamp,
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
    pub passthrough: Vec<(String, PassthroughFrom)>,
}

impl Columns {
    /// A time of a field whose ticks are that long as ticks of the time column; a field without a clock (a plain
    /// integer) has those of the column. `None`: out of range.
    pub fn ticks(&self, value: i64, nanos: Option<i64>) -> Option<i64> {
        match (nanos, self.clock.nanos_per_tick) {
            (Some(from), Some(to)) if from != to => {
                i64::try_from((i128::from(value) * i128::from(from)).div_euclid(i128::from(to))).ok()
            }
            _ => Some(value),
        }
    }
}

/// Nanoseconds of a tick of a type of times; `None`: it is none.
pub(super) fn nanos_of(data_type: &DataType) -> Option<i64> {
    Clock::of(data_type, None).ok()?.nanos_per_tick
}

/// The type of a column in a format without types; for the time and for passthrough columns.
pub(super) type TypeOf<'a> = &'a dyn Fn(&str, Use) -> Option<DataType>;

/// What a column is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Key,
    Time,
    Value,
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
            Use::Time if unit.is_none() => utc(TimeUnit::Microsecond),
            Use::Time => DataType::Int64,
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

fn utc(unit: TimeUnit) -> DataType {
    DataType::Timestamp(unit, Some("UTC".into()))
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
    let (time, data_type) = if timestamp == Some(time_name) {
        (TimeFrom::Message, Some(utc(TimeUnit::Millisecond)))
    } else {
        found.insert(time_name.to_string(), Target::Time);
        let data_type = type_of(time_name, Use::Time);
        let is_text = record.time.unit.is_none() && encoding.format.value == Format::Json;
        (if is_text { TimeFrom::Text } else { TimeFrom::Ticks }, data_type)
    };
    let clock = data_type.and_then(|data_type| {
        Clock::of(&data_type, record.time.unit).map_err(|message| problems.add(record.time.place, message)).ok()
    });

    let names: Vec<&At<String>> = match &record.key {
        Key::Melted(names) => names.iter().collect(),
        _ => record.values.iter().collect(),
    };
    for (index, name) in names.iter().enumerate() {
        complete &= type_of(name, Use::Value).is_some();
        found.insert(name.value.clone(), Target::Value(index));
    }
    let (key, key_name) = match &record.key {
        Key::Single => (KeyFrom::Single, "key".to_string()),
        Key::Melted(names) => {
            let hashed = names.iter().map(|name| (name.value.clone(), murmur2(name.as_bytes()))).collect();
            (KeyFrom::Melted(hashed), "key".to_string())
        }
        Key::Column(name) if message_key == Some(name.as_str()) => (KeyFrom::Message, name.value.clone()),
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
        let known = name == key_name || name == time_name || value_names.iter().any(|value| value == name);
        if known || passthrough.iter().any(|(passthrough, _)| passthrough == name) {
            continue;
        }
        let from = if message_key == Some(name) {
            PassthroughFrom::MessageKey
        } else if timestamp == Some(name) {
            PassthroughFrom::MessageTimestamp
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
    for (name, from) in &passthrough {
        let data_type = match from {
            PassthroughFrom::Field(data_type) => data_type.clone(),
            PassthroughFrom::MessageKey => DataType::Utf8,
            PassthroughFrom::MessageTimestamp => utc(TimeUnit::Millisecond),
        };
        layout.add(name, Kind::Passthrough(data_type), Role::Field);
    }
    complete.then_some((Columns { fields: found, key, time, clock, values: names.len(), passthrough }, layout))
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
}

/// What is read of one message. Memory is used again.
#[derive(Debug, Clone, Default)]
pub(super) struct Row {
    pub key: Option<String>,
    pub time: Option<i64>,
    pub values: Vec<f64>,
    pub passthrough: Vec<Cell>,
}

impl Row {
    /// Empty, for the next message.
    pub fn clear(&mut self, columns: &Columns) {
        self.key = None;
        self.time = None;
        self.values.clear();
        self.values.resize(columns.values, f64::NAN);
        self.passthrough.clear();
        self.passthrough.resize(columns.passthrough.len(), Cell::Null);
    }
}

/// Why a message isn't a record: one of few words, and the details, for people.
pub(super) type Fault = (&'static str, String);

/// RFC 3339 as microseconds.
pub(super) fn micros(text: &str) -> Result<i64, String> {
    match Moment::parse(text) {
        Ok(Moment::Instant(at)) => Ok(at.timestamp_micros()),
        _ => Err(format!("expected a time such as 2024-01-31T12:00:00Z, found \"{text}\"")),
    }
}

/// Columns that are being filled.
pub(super) struct Table {
    columns: Arc<Columns>,
    records: Records,
    details: Vec<(usize, String)>,
    passthrough: Vec<Builder>,
}

enum Builder {
    Text(StringBuilder),
    Float(Float64Builder),
    Integer(Int64Builder, DataType),
    Flag(BooleanBuilder),
}

impl Table {
    /// An empty table of these columns.
    pub fn new(columns: Arc<Columns>) -> Table {
        let values = if matches!(columns.key, KeyFrom::Melted(_)) { 1 } else { columns.values };
        let builder = |from: &PassthroughFrom| match from {
            PassthroughFrom::MessageKey => Builder::Text(StringBuilder::new()),
            PassthroughFrom::MessageTimestamp => Builder::Integer(Int64Builder::new(), utc(TimeUnit::Millisecond)),
            PassthroughFrom::Field(DataType::Float64) => Builder::Float(Float64Builder::new()),
            PassthroughFrom::Field(DataType::Boolean) => Builder::Flag(BooleanBuilder::new()),
            PassthroughFrom::Field(t @ (DataType::Int64 | DataType::Timestamp(..))) => {
                Builder::Integer(Int64Builder::new(), t.clone())
            }
            PassthroughFrom::Field(_) => Builder::Text(StringBuilder::new()),
        };
        let passthrough = columns.passthrough.iter().map(|(_, from)| builder(from)).collect();
        Table {
            records: Records { values: vec![Vec::new(); values], ..Records::default() },
            details: Vec::new(),
            passthrough,
            columns,
        }
    }

    /// Adds the values of a message, or the reason why it was rejected.
    pub fn push(&mut self, messages: &Messages, index: usize, row: Result<&Row, Fault>) {
        let row = row.and_then(|row| self.admit(messages, index, row));
        let columns = self.columns.clone();
        match row {
            Err((reason, mut detail)) => {
                let at = self.records.len();
                self.records.bad.push((at, reason));
                if detail.len() > LONGEST_DETAIL {
                    let end = (0..=LONGEST_DETAIL).rev().find(|end| detail.is_char_boundary(*end)).unwrap_or(0);
                    detail.truncate(end);
                }
                if !detail.is_empty() {
                    self.details.push((at, detail));
                }
                self.add(messages, index, ("", 0), 0, None, None);
            }
            Ok((key, time, row)) => match &columns.key {
                KeyFrom::Melted(names) => {
                    for (value, (name, hash)) in names.iter().enumerate() {
                        self.add(messages, index, (name, *hash), time, Some(&row.values[value..=value]), Some(row));
                    }
                }
                _ => self.add(messages, index, (&key, murmur2(key.as_bytes())), time, Some(&row.values), Some(row)),
            },
        }
    }

    fn admit<'r>(&self, messages: &Messages, index: usize, row: &'r Row) -> Result<(String, i64, &'r Row), Fault> {
        let key = match self.columns.key {
            KeyFrom::Field => row.key.clone().ok_or(("null_key", String::new()))?,
            KeyFrom::Message => {
                let key = messages.key(index).ok_or(("null_key", String::new()))?;
                let text = std::str::from_utf8(key).map_err(|e| ("bad_key", format!("the message's key: {e}")))?;
                text.to_string()
            }
            KeyFrom::Melted(_) | KeyFrom::Single => String::new(),
        };
        let time = match self.columns.time {
            TimeFrom::Message => Some(messages.timestamps[index]).filter(|time| *time >= 0),
            TimeFrom::Text | TimeFrom::Ticks => row.time,
        };
        Ok((key, time.ok_or(("null_time", String::new()))?, row))
    }

    fn add(
        &mut self,
        messages: &Messages,
        index: usize,
        (key, hash): (&str, u32),
        time: i64,
        values: Option<&[f64]>,
        row: Option<&Row>,
    ) {
        let records = &mut self.records;
        records.hashes.push(hash);
        records.key_text.extend_from_slice(key.as_bytes());
        records.key_ends.push(records.key_text.len());
        records.times.push(time);
        for (at, column) in records.values.iter_mut().enumerate() {
            column.push(values.map_or(f64::NAN, |values| values[at]));
        }
        records.origins.push(Origin { file: 0, row: u64::try_from(messages.offsets[index]).unwrap_or(0) });
        for (at, (builder, (_, from))) in self.passthrough.iter_mut().zip(&self.columns.passthrough).enumerate() {
            let cell = match from {
                PassthroughFrom::Field(_) => row.map_or(Cell::Null, |row| row.passthrough[at].clone()),
                PassthroughFrom::MessageKey => {
                    messages.key(index).map_or(Cell::Null, |key| Cell::Text(String::from_utf8_lossy(key).into_owned()))
                }
                PassthroughFrom::MessageTimestamp => Cell::Integer(messages.timestamps[index]),
            };
            builder.push(cell);
        }
    }

    /// The records.
    pub fn finish(mut self) -> Decoded {
        self.records.passthrough = self.passthrough.into_iter().map(Builder::finish).collect();
        Decoded { records: self.records, details: self.details }
    }
}

impl Builder {
    /// A cell of another type than the column's doesn't get here: it made its message a bad one.
    fn push(&mut self, cell: Cell) {
        match (self, cell) {
            (Builder::Text(b), Cell::Text(text)) => b.append_value(text),
            (Builder::Text(b), _) => b.append_null(),
            (Builder::Float(b), Cell::Float(value)) => b.append_value(value),
            (Builder::Float(b), _) => b.append_null(),
            (Builder::Integer(b, _), Cell::Integer(value)) => b.append_value(value),
            (Builder::Integer(b, _), _) => b.append_null(),
            (Builder::Flag(b), Cell::Flag(value)) => b.append_value(value),
            (Builder::Flag(b), _) => b.append_null(),
        }
    }

    fn finish(self) -> ArrayRef {
        match self {
            Builder::Text(mut b) => Arc::new(b.finish()),
            Builder::Float(mut b) => Arc::new(b.finish()),
            Builder::Flag(mut b) => Arc::new(b.finish()),
            Builder::Integer(mut b, data_type) => {
                let integers: ArrayRef = Arc::new(b.finish());
                // Every type that is kept as integers has 64 bits, so there is such a cast.
                arrow::compute::cast(&integers, &data_type).unwrap_or(integers)
            }
        }
    }
}
