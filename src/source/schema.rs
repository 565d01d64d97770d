//! Which columns of a source are read and as what.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::DataType;

use super::merge::is_number;
use super::united::United;
use crate::config::{At, Key, Moment, Pipeline, VectorColumn};
use crate::error::did_you_mean;
use crate::problem::Place;
use crate::record::murmur2;
use crate::record::{Clock, KeyType, Kind, Layout, Role};

/// Which columns are read, and as what.
#[derive(Debug, Clone)]
pub(super) struct Columns {
    pub key: KeyColumn,
    pub time: String,
    /// What a tick of the records is.
    pub clock: Clock,
    pub values: Vec<String>,
    pub vectors: Vec<VectorColumn>,
    /// With the type that they are delivered in.
    pub passthrough: Vec<(String, DataType)>,
}

/// Where keys come from.
#[derive(Debug, Clone)]
pub(super) enum KeyColumn {
    Text(String),
    Integer(String),
    /// Of another type, read as its text.
    Typed(String, KeyType),
    /// Column names with their hashes.
    Melted(Arc<Vec<(String, u32)>>),
    Single,
}

impl Columns {
    /// Names of all columns that are read.
    pub fn names(&self) -> HashSet<&str> {
        let key = match &self.key {
            KeyColumn::Text(name) | KeyColumn::Integer(name) | KeyColumn::Typed(name, _) => Some(name.as_str()),
            KeyColumn::Melted(_) | KeyColumn::Single => None,
        };
        let fields = self.passthrough.iter().map(|(name, _)| name.as_str());
        key.into_iter()
            .chain([self.time.as_str()])
            .chain(self.values.iter().map(String::as_str))
            .chain(self.vectors.iter().map(|column| column.name.as_str()))
            .chain(fields)
            .collect()
    }

    /// Records per row.
    pub fn cells(&self) -> usize {
        match &self.key {
            KeyColumn::Melted(names) => names.len(),
            _ => 1,
        }
    }
}

/// The time that is wanted, in ticks: from (inclusive), until (exclusive).
pub(super) type Wanted = (Option<i64>, Option<i64>);

/// What the files and the pipeline agree on.
pub(super) struct Columned {
    pub columns: Columns,
    pub layout: Layout,
    pub wanted: Wanted,
}

/// Columns and layout by what the files have; what doesn't fit goes to `problem`.
pub(super) fn resolve(
    pipeline: &Pipeline,
    fields: &[At<String>],
    united: &United,
    problem: &mut impl FnMut(Place, String),
) -> Option<Columned> {
    let record = &pipeline.record;
    let mut missing = false;
    let mut find = |name: &str, place: Place, problem: &mut dyn FnMut(Place, String)| {
        let found = united.data_type(name);
        if found.is_none() {
            missing = true;
            problem(place, unknown(name, united));
        }
        found
    };
    let wrong = |name: &str, expected: &str, found: &DataType| {
        format!("expected {expected} in column \"{name}\", it holds {found} ({})", united.file_of(name))
    };

    let time_type = find(&record.time.column, record.time.place, problem);
    let zone = record.time.timezone.as_ref();
    let clock = time_type.and_then(|data_type| match Clock::of_column(&data_type, record.time.unit, zone) {
        Ok(clock) => Some(clock),
        Err(message) => {
            let name = &record.time.column;
            problem(record.time.place, format!("column \"{name}\" in {}: {message}", united.file_of(name)));
            None
        }
    });

    let mut numeric = |name: &At<String>, problem: &mut dyn FnMut(Place, String)| {
        let data_type = find(name, name.place, problem)?;
        if is_number(&data_type) {
            return Some(());
        }
        problem(name.place, wrong(name, "numbers", &data_type));
        None
    };
    let mut complete = true;
    let (values, key_names): (Vec<String>, _) = match &record.key {
        Key::Melted(names) => (names.iter().map(|n| n.value.clone()).collect(), names.as_slice()),
        _ => (record.values.iter().map(|n| n.value.clone()).collect(), record.values.as_slice()),
    };
    for name in key_names {
        complete &= numeric(name, problem).is_some();
    }
    for column in &record.vectors {
        let name = &column.name;
        let found = find(name, name.place, problem);
        if let Some(Err(message)) = found.map(|found| column.takes(&found)) {
            problem(name.place, format!("column \"{}\": {message} ({})", name.value, united.file_of(name)));
            complete = false;
        }
    }

    let (key, key_name, key_type) = match &record.key {
        Key::Single => (KeyColumn::Single, "key".to_string(), KeyType::Utf8),
        Key::Melted(names) => {
            let hashed = names.iter().map(|name| (name.value.clone(), murmur2(name.as_bytes()))).collect();
            (KeyColumn::Melted(Arc::new(hashed)), "key".to_string(), KeyType::Utf8)
        }
        Key::Column(name) => {
            let found = find(name, name.place, problem);
            match found.as_ref().and_then(|found| KeyType::of(found, united.is_uuid())) {
                Some(key_type) => {
                    let column = match &key_type {
                        KeyType::Utf8 => KeyColumn::Text(name.value.clone()),
                        KeyType::Integer(_) => KeyColumn::Integer(name.value.clone()),
                        other => KeyColumn::Typed(name.value.clone(), other.clone()),
                    };
                    (column, name.value.clone(), key_type)
                }
                None => {
                    if let Some(found) = found {
                        let expected = "text, integers, decimals, dates, booleans or bytes as keys";
                        problem(name.place, wrong(name, expected, &found));
                    }
                    complete = false;
                    (KeyColumn::Single, String::new(), KeyType::Utf8)
                }
            }
        }
    };

    let value_names: Vec<String> = match &record.key {
        Key::Melted(_) => vec![record.values.first().map_or("value".to_string(), |name| name.value.clone())],
        _ => values.clone(),
    };
    let mut passthrough: Vec<(String, DataType)> = Vec::new();
    for field in fields {
        let is_vector = record.vectors.iter().any(|column| column.name.value == field.value);
        let is_value = is_vector || value_names.contains(&field.value);
        let known = field.value == key_name || field.value == record.time.column || is_value;
        if known || passthrough.iter().any(|(name, _)| *name == field.value) {
            continue;
        }
        if let Some(data_type) = find(field, field.place, problem) {
            passthrough.push((field.value.clone(), data_type));
        }
    }
    let clock = clock?;
    let mut moment = |at: &Option<At<Moment>>| {
        at.as_ref().and_then(|at| {
            clock
                .moment(at.value)
                .map_err(|message| {
                    complete = false;
                    problem(at.place, message);
                })
                .ok()
        })
    };
    let wanted = (moment(&pipeline.source.from), moment(&pipeline.source.until));
    if missing || !complete {
        return None;
    }
    let mut layout = Layout::new(key_name, key_type, record.time.column.clone(), clock);
    layout.is_one_series = matches!(record.key, Key::Single);
    for name in value_names {
        layout.add(name, Kind::Number, Role::Value);
    }
    layout.add_vectors(&record.vectors);
    for (name, data_type) in &passthrough {
        layout.add(name, Kind::Passthrough(data_type.clone()), Role::Field);
    }
    let clock = layout.clock.clone();
    let (time, vectors) = (record.time.column.clone(), record.vectors.clone());
    let columns = Columns { key, time, clock, values, vectors, passthrough };
    Some(Columned { columns, layout, wanted })
}

fn unknown(name: &str, united: &United) -> String {
    let names = united.names();
    let near = did_you_mean(name, names.iter().copied());
    format!("there is no column \"{name}\" in {} (there are: {}){near}", united.file_of(name), names.join(", "))
}
