//! Which columns of a source are read and as what, and whether all files agree on it.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};

use crate::config::{At, Key, Moment, Pipeline};
use crate::error::did_you_mean;
use crate::problem::Place;
use crate::record::murmur2;
use crate::record::{Clock, KeyType, Kind, Layout, Role};

/// Which columns are read, and as what.
#[derive(Debug)]
pub(super) struct Columns {
    pub key: KeyColumn,
    pub time: String,
    pub values: Vec<String>,
    /// With the type that they are delivered in.
    pub passthrough: Vec<(String, DataType)>,
}

/// Where keys come from.
#[derive(Debug)]
pub(super) enum KeyColumn {
    Text(String),
    Integer(String),
    /// Column names with their hashes.
    Melted(Arc<Vec<(String, u32)>>),
    Single,
}

impl Columns {
    /// Names of all columns that are read.
    pub fn names(&self) -> HashSet<&str> {
        let key = match &self.key {
            KeyColumn::Text(name) | KeyColumn::Integer(name) => Some(name.as_str()),
            KeyColumn::Melted(_) | KeyColumn::Single => None,
        };
        let fields = self.passthrough.iter().map(|(name, _)| name.as_str());
        key.into_iter()
            .chain([self.time.as_str()])
            .chain(self.values.iter().map(String::as_str))
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

/// What the first file's schema and the pipeline agree on.
pub(super) struct Columned {
    pub columns: Columns,
    pub layout: Layout,
    pub wanted: Wanted,
}

/// Columns and layout by the first file's schema; what doesn't fit goes to `problem`.
pub(super) fn resolve(
    pipeline: &Pipeline,
    fields: &[At<String>],
    schema: &Schema,
    file: &str,
    problem: &mut impl FnMut(Place, String),
) -> Option<Columned> {
    let record = &pipeline.record;
    let mut missing = false;
    let mut find =
        |name: &str, place: Place, problem: &mut dyn FnMut(Place, String)| match schema.column_with_name(name) {
            Some((_, field)) => Some(plain(field.data_type())),
            None => {
                missing = true;
                problem(place, unknown(name, schema, file));
                None
            }
        };
    let wrong = |name: &str, expected: &str, found: &DataType| {
        format!("expected {expected} in column \"{name}\", it holds {found} ({file})")
    };

    let time_type = find(&record.time.column, record.time.place, problem);
    let clock = time_type.and_then(|data_type| match Clock::of(&data_type, record.time.unit) {
        Ok(clock) => Some(clock),
        Err(message) => {
            problem(record.time.place, format!("column \"{}\" in {file}: {message}", record.time.column));
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

    let (key, key_name, key_type) = match &record.key {
        Key::Single => (KeyColumn::Single, "key".to_string(), KeyType::Utf8),
        Key::Melted(names) => {
            let hashed = names.iter().map(|name| (name.value.clone(), murmur2(name.as_bytes()))).collect();
            (KeyColumn::Melted(Arc::new(hashed)), "key".to_string(), KeyType::Utf8)
        }
        Key::Column(name) => match find(name, name.place, problem) {
            Some(DataType::Utf8 | DataType::LargeUtf8) => {
                (KeyColumn::Text(name.value.clone()), name.value.clone(), KeyType::Utf8)
            }
            Some(t) if t.is_integer() => {
                (KeyColumn::Integer(name.value.clone()), name.value.clone(), KeyType::Integer(t))
            }
            found => {
                if let Some(found) = found {
                    problem(name.place, wrong(name, "text or integers as keys", &found));
                }
                complete = false;
                (KeyColumn::Single, String::new(), KeyType::Utf8)
            }
        },
    };

    let value_names: Vec<String> = match &record.key {
        Key::Melted(_) => vec![record.values.first().map_or("value".to_string(), |name| name.value.clone())],
        _ => values.clone(),
    };
    let mut passthrough: Vec<(String, DataType)> = Vec::new();
    for field in fields {
        let known = field.value == key_name || field.value == record.time.column || value_names.contains(&field.value);
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
    for (name, data_type) in &passthrough {
        layout.add(name, Kind::Passthrough(data_type.clone()), Role::Field);
    }
    let columns = Columns { key, time: record.time.column.clone(), values, passthrough };
    Some(Columned { columns, layout, wanted })
}

fn unknown(name: &str, schema: &Schema, file: &str) -> String {
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let near = did_you_mean(name, names.iter().copied());
    format!("there is no column \"{name}\" in {file} (there are: {}){near}", names.join(", "))
}

/// How another file's schema differs in the columns that are read.
pub(super) fn disagreements(columned: &Columned, schema: &Schema) -> Vec<String> {
    let mut names: Vec<&str> = columned.columns.names().into_iter().collect();
    names.sort_unstable();
    let found = names.into_iter().filter_map(|name| {
        let Some((_, field)) = schema.column_with_name(name) else {
            return Some(format!("there is no column \"{name}\", unlike"));
        };
        let found = plain(field.data_type());
        let columns = &columned.columns;
        let expected = match &columns.key {
            KeyColumn::Text(key) if key == name => (is_text(&found), "text".to_string()),
            KeyColumn::Integer(key) if key == name => match &columned.layout.key_type {
                KeyType::Integer(data_type) => (found == *data_type, data_type.to_string()),
                KeyType::Utf8 => return None,
            },
            _ if columns.time == name => {
                let data_type = &columned.layout.clock.data_type;
                (same_clock(&found, data_type), data_type.to_string())
            }
            // Any numbers become the same f64.
            _ if columns.values.iter().any(|value| value == name) => (is_number(&found), "numbers".to_string()),
            _ => match columns.passthrough.iter().find(|(passthrough, _)| passthrough == name) {
                Some((_, data_type)) => (found == *data_type, data_type.to_string()),
                None => return None,
            },
        };
        let (fits, expected) = expected;
        (!fits).then(|| format!("column \"{name}\" is {found}, but {expected}"))
    });
    found.collect()
}

/// The type without what only says how it is stored: dictionaries and views.
pub(super) fn plain(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Dictionary(_, values) => plain(values),
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        other => other.clone(),
    }
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8)
}

/// Numbers, flags as 0 and 1, and the type of a column without any value.
fn is_number(data_type: &DataType) -> bool {
    data_type.is_numeric() || matches!(data_type, DataType::Boolean | DataType::Null)
}

/// Whether ticks mean the same: zones only say how a time is shown.
fn same_clock(a: &DataType, b: &DataType) -> bool {
    match (a, b) {
        (DataType::Timestamp(a, a_zone), DataType::Timestamp(b, b_zone)) => {
            a == b && a_zone.is_some() == b_zone.is_some()
        }
        _ => a == b,
    }
}
