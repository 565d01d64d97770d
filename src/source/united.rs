//! The columns of all files of a source, as one schema.
//!
//! Lives here: what is said of files that differ, and what is refused of them. Must not live here: which types go
//! together (`merge`).

use ::parquet::file::metadata::ParquetMetaData;
use arrow::datatypes::{DataType, Schema};

use super::merge::{Purpose, is_text, merged, plain};
use crate::config::{At, Key, Pipeline};
use crate::record::is_uuid;

/// The columns of the files so far.
#[derive(Debug)]
pub(super) struct United {
    columns: Vec<Column>,
    /// Columns that are read, and what for.
    wanted: Vec<(String, Purpose)>,
    /// Files so far, and the first of them.
    files: usize,
    first: String,
    /// Whether a file says that the bytes of the keys are UUIDs.
    is_uuid: bool,
    /// Files that have none of the record's values.
    without_values: Vec<String>,
    notes: Vec<String>,
}

#[derive(Debug)]
struct Column {
    name: String,
    data_type: DataType,
    /// Each type that it has, and the first file where it has it.
    found: Vec<(DataType, String)>,
    /// Files that have it, and the first one that does not.
    files: usize,
    missing: Option<String>,
}

impl United {
    /// No file yet of a pipeline that asks for `fields` besides key, time and values.
    pub fn new(pipeline: &Pipeline, fields: &[At<String>]) -> United {
        let record = &pipeline.record;
        let mut wanted: Vec<(String, Purpose)> = Vec::new();
        let mut want = |name: &str, purpose: Purpose| {
            if !wanted.iter().any(|(known, _)| known == name) {
                wanted.push((name.to_string(), purpose));
            }
        };
        if let Key::Column(name) = &record.key {
            want(name, Purpose::Key);
        }
        want(&record.time.column, Purpose::Time);
        let values = match &record.key {
            Key::Melted(names) => names,
            _ => &record.values,
        };
        values.iter().for_each(|name| want(name, Purpose::Value));
        record.vectors.iter().for_each(|column| want(&column.name, Purpose::Vector));
        fields.iter().for_each(|name| want(name, Purpose::Field));
        United {
            columns: Vec::new(),
            wanted,
            files: 0,
            first: String::new(),
            is_uuid: false,
            without_values: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Whether there was no file.
    pub fn is_empty(&self) -> bool {
        self.files == 0
    }

    /// Columns of a file that are wanted and can't be read.
    pub fn encrypted(&self, metadata: &ParquetMetaData) -> Vec<&str> {
        let columns = || metadata.row_groups().iter().flat_map(|group| group.columns());
        let is_encrypted = |name: &str| {
            let mut parts = columns().filter(|column| column.crypto_metadata().is_some());
            parts.any(|column| column.column_path().parts().first().is_some_and(|root| root == name))
        };
        self.wanted.iter().map(|(name, _)| name.as_str()).filter(|name| is_encrypted(name)).collect()
    }

    /// What a column is read for, if it is.
    pub fn purpose(&self, name: &str) -> Option<Purpose> {
        self.wanted.iter().find(|(wanted, _)| wanted == name).map(|(_, purpose)| *purpose)
    }

    /// Whether a column is read.
    pub fn wants(&self, name: &str) -> bool {
        self.wanted.iter().any(|(wanted, _)| wanted == name)
    }

    /// The columns that are read, of whatever file.
    pub fn wanted(&self) -> impl Iterator<Item = &str> {
        self.wanted.iter().map(|(name, _)| name.as_str())
    }

    /// Whether the bytes of the keys are UUIDs.
    pub fn is_uuid(&self) -> bool {
        self.is_uuid
    }

    /// Whether any file has a column.
    pub fn has(&self, name: &str) -> bool {
        self.columns.iter().any(|column| column.name == name)
    }

    /// Says of a column that its name is that of the series.
    pub fn is_hidden(&mut self, name: &str) {
        self.notes.push(format!("\"{name}\" is the key of the series here: the column of that name is not read"));
    }

    /// Says of a column that it comes from the names of folders.
    pub fn is_in_path(&mut self, name: &str) {
        let note = format!("column \"{name}\" is read from the names of folders, {name}=…");
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Adds the columns of a file; what doesn't fit goes to `problem`.
    pub fn add(&mut self, schema: &Schema, file: &str, problem: &mut impl FnMut(String)) {
        if self.files == 0 {
            self.first = file.to_string();
        }
        for field in schema.fields() {
            let name = field.name();
            let Some(purpose) = self.wanted.iter().find(|(wanted, _)| wanted == name).map(|(_, purpose)| *purpose)
            else {
                if !self.columns.iter().any(|column| column.name == *name) {
                    self.columns.push(Column::new(name, field.data_type(), file, None));
                }
                continue;
            };
            let count = schema.fields().iter().filter(|other| other.name() == name).count();
            if count > 1 {
                let message = format!("{file}: there are {count} columns \"{name}\": rename or drop all but one");
                problem(message);
            }
            self.is_uuid |= purpose == Purpose::Key && is_uuid(field);
            let found = plain(field.data_type());
            match self.columns.iter_mut().find(|column| column.name == *name) {
                None => {
                    let missing = (self.files > 0).then(|| self.first.clone());
                    self.columns.push(Column::new(name, &found, file, missing));
                }
                Some(column) => {
                    column.files += 1;
                    column.take(purpose, found, file, problem);
                }
            }
        }
        self.compare_case(schema, file, problem);
        for column in &mut self.columns {
            if schema.field_with_name(&column.name).is_err() {
                column.missing.get_or_insert_with(|| file.to_string());
            }
        }
        let mut values = self.wanted.iter().filter(|(_, purpose)| purpose.is_value()).peekable();
        if values.peek().is_some() && !values.any(|(name, _)| schema.field_with_name(name).is_ok()) {
            self.without_values.push(file.to_string());
        }
        self.files += 1;
    }

    /// Other columns whose names differ from those that are read only in upper and lower case.
    fn compare_case(&mut self, schema: &Schema, file: &str, problem: &mut impl FnMut(String)) {
        for (name, _) in &self.wanted {
            let like = |other: &&str| other.to_lowercase() == name.to_lowercase() && other != name;
            let Some(other) = schema.fields().iter().map(|field| field.name().as_str()).find(like) else { continue };
            let has_it = schema.field_with_name(name).is_ok();
            if has_it && !self.wanted.iter().any(|(wanted, _)| wanted == other) {
                let note = format!("column \"{name}\" is read, not \"{other}\", which is another one");
                if !self.notes.contains(&note) {
                    self.notes.push(note);
                }
            } else if !has_it && self.columns.iter().any(|column| column.name == *name && column.missing.is_none()) {
                problem(format!("{file}: there is no column \"{name}\", unlike {}, but \"{other}\"", self.first));
            }
        }
    }

    /// After all files: what of them is still missing goes to `problem`.
    pub fn finish(&mut self, problem: &mut impl FnMut(String)) {
        let is_value = |name: &str| self.wanted.iter().any(|(value, of)| value == name && of.is_value());
        if let Some(value) = self.columns.iter().find(|column| is_value(&column.name)) {
            for file in &self.without_values {
                problem(format!("{file}: there is no column \"{}\", unlike {}", value.name, value.found[0].1));
            }
        }
        for column in &self.columns {
            let Some((_, purpose)) = self.wanted.iter().find(|(name, _)| *name == column.name) else { continue };
            let name = &column.name;
            if let Some(file) = &column.missing {
                let having = &column.found[0].1;
                if matches!(purpose, Purpose::Key | Purpose::Time) {
                    problem(format!("{file}: there is no column \"{name}\", unlike {having}"));
                    continue;
                }
                let others = match self.files - column.files {
                    1 => String::new(),
                    count => format!(" (and in {} more)", count - 1),
                };
                self.notes.push(format!("column \"{name}\" is missing in {file}{others}: null there"));
            }
            if let [(a, first), (b, other), ..] = &column.found[..] {
                let as_what = match purpose {
                    Purpose::Value => DataType::Float64.to_string(),
                    Purpose::Vector => "vectors of Float32".to_string(),
                    _ => column.data_type.to_string(),
                };
                self.notes.push(format!("column \"{name}\" is {a} in {first} and {b} in {other}: read as {as_what}"));
            }
        }
    }

    /// What is worth saying of files that differ.
    pub fn into_notes(self) -> Vec<String> {
        self.notes
    }

    /// The type that a column is read as, without dictionaries and views.
    pub fn data_type(&self, name: &str) -> Option<DataType> {
        self.columns.iter().find(|column| column.name == name).map(|column| plain(&column.data_type))
    }

    /// The type that it has in the first file that says one.
    pub fn first_type(&self, name: &str) -> Option<&DataType> {
        let column = self.columns.iter().find(|column| column.name == name)?;
        column.found.iter().map(|(data_type, _)| data_type).find(|data_type| **data_type != DataType::Null)
    }

    /// The file where a column has the type that it is read as, or the first of all.
    pub fn file_of(&self, name: &str) -> &str {
        let column = self.columns.iter().find(|column| column.name == name);
        let found = column.and_then(|column| column.found.iter().find(|(found, _)| *found == column.data_type));
        found.map_or(&self.first, |(_, file)| file)
    }

    /// Names of all columns of all files.
    pub fn names(&self) -> Vec<&str> {
        self.columns.iter().map(|column| column.name.as_str()).collect()
    }
}

impl Column {
    fn new(name: &str, data_type: &DataType, file: &str, missing: Option<String>) -> Column {
        let found = vec![(data_type.clone(), file.to_string())];
        Column { name: name.to_string(), data_type: data_type.clone(), found, files: 1, missing }
    }

    fn take(&mut self, purpose: Purpose, found: DataType, file: &str, problem: &mut impl FnMut(String)) {
        match merged(purpose, &self.data_type, &found) {
            Some(data_type) => {
                self.data_type = data_type;
                if !self.found.iter().any(|(known, _)| *known == found) {
                    self.found.push((found, file.to_string()));
                }
            }
            None => {
                let expected = match purpose {
                    Purpose::Value => "numbers".to_string(),
                    Purpose::Vector => "a vector".to_string(),
                    Purpose::Key if is_text(&self.data_type) => "text".to_string(),
                    _ => self.data_type.to_string(),
                };
                let known = self.found.iter().find(|(known, _)| *known == self.data_type).unwrap_or(&self.found[0]);
                problem(format!(
                    "{file}: column \"{}\" is {found}, but {expected} in {}; nothing holds both",
                    self.name, known.1
                ));
            }
        }
    }
}
