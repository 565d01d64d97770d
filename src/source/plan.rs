//! What a source holds, found out before anything starts: its files, their footers and the types of their columns.

use std::collections::HashSet;
use std::sync::Arc;

use ::parquet::arrow::parquet_to_arrow_schema;
use ::parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData};
use ::parquet::file::reader::{ChunkReader, Length};
use ::parquet::file::statistics::Statistics;
use arrow::datatypes::{DataType, Schema};
use sha2::{Digest, Sha256};

use super::files::{self, File};
use super::input::{FOOTER_BLOCKS, Input};
use super::parquet::ParquetSource;
use super::{Origin, decode};
use crate::Error;
use crate::config::{At, Key, Moment, Pipeline, Place, Problems, did_you_mean};
use crate::record::{Clock, KeyType, Kind, Layout, Role};
use crate::state::murmur2;

/// A source that can be read.
#[derive(Debug, Clone)]
pub struct Planned {
    /// Columns of its records: the values, then the fields that are carried along.
    pub layout: Layout,
    pub(super) shape: Arc<Shape>,
}

/// What the reader needs to know.
#[derive(Debug)]
pub(super) struct Shape {
    pub files: Vec<PlannedFile>,
    pub columns: Columns,
    pub wanted: decode::Wanted,
}

/// A file and what its footer says.
#[derive(Debug)]
pub(super) struct PlannedFile {
    pub file: File,
    /// SHA-256 of the footer.
    pub footer: [u8; 32],
    pub groups: Vec<Group>,
}

/// A row group.
#[derive(Debug)]
pub(super) struct Group {
    pub rows: u64,
    /// Bounds of all its times, if every row has one and the file says so.
    pub times: Option<(i64, i64)>,
}

/// Which columns are read, and as what.
#[derive(Debug)]
pub(super) struct Columns {
    pub key: KeyColumn,
    pub time: String,
    pub values: Vec<String>,
    /// With the type that they are delivered in.
    pub carried: Vec<(String, DataType)>,
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
        let fields = self.carried.iter().map(|(name, _)| name.as_str());
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

impl PlannedFile {
    pub fn rows(&self) -> u64 {
        self.groups.iter().map(|group| group.rows).sum()
    }
}

impl Planned {
    /// Records in all files (rows times columns where a wide table is melted), those outside of `from` and `until`
    /// included.
    pub fn records(&self) -> u64 {
        self.shape.files.iter().map(PlannedFile::rows).sum::<u64>() * self.shape.columns.cells() as u64
    }

    /// Names of the files in order, relative to the source's folder.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.shape.files.iter().map(|file| file.file.name.as_str())
    }

    /// Changes whenever the files change: SHA-256 over their names, sizes, rows and footers, as hex. Where the source
    /// lies does not matter.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        for file in &self.shape.files {
            hash.update((file.file.name.len() as u64).to_le_bytes());
            hash.update(file.file.name.as_bytes());
            hash.update(file.file.size.to_le_bytes());
            hash.update(file.rows().to_le_bytes());
            hash.update(file.footer);
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Begins to read; `start` is the first record to deliver.
    pub fn open(&self, start: Option<Origin>) -> crate::Result<ParquetSource> {
        let files = self.shape.files.len();
        match start {
            Some(start) if start.file as usize >= files => Err(Error::refused(format!(
                "the source has {files} files, a checkpoint says file {}: it changed since",
                start.file
            ))),
            _ => Ok(ParquetSource::new(self.shape.clone(), start)),
        }
    }
}

/// Finds the files of a pipeline's source and checks that it has every column that is asked for: those of `record:`, and
/// `fields` (of the sink, a filter, the split), which are carried along unless they are key, time or a value anyway. Adds
/// what is wrong to `problems`, and returns `None` if that is anything.
pub fn plan(pipeline: &Pipeline, fields: &[At<String>], problems: &mut Problems) -> Option<Planned> {
    let place = pipeline.source.path.place;
    let mut found = true;
    let mut problem = |place: Place, message: String| {
        found = false;
        problems.add(place, message);
    };
    let files = match files::find(&pipeline.source.path.0) {
        Ok(files) => files,
        Err(message) => {
            problem(place, message);
            return None;
        }
    };
    let mut first: Option<(Schema, String, Option<Columned>)> = None;
    let mut planned = Vec::with_capacity(files.len());
    for file in files {
        let (metadata, footer) = match read_footer(&file) {
            Ok(read) => read,
            Err(message) => {
                problem(place, format!("{}: {message}", file.shown));
                continue;
            }
        };
        let meta = metadata.file_metadata();
        let schema = match parquet_to_arrow_schema(meta.schema_descr(), meta.key_value_metadata()) {
            Ok(schema) => schema,
            Err(e) => {
                problem(place, format!("{}: its schema can't be read: {e}", file.shown));
                continue;
            }
        };
        match &first {
            None => {
                let columned = resolve(pipeline, fields, &schema, &file.shown, &mut problem);
                first = Some((schema, file.shown.clone(), columned));
            }
            Some((_, name, Some(columned))) => {
                for message in disagreements(columned, &schema) {
                    problem(place, format!("{}: {message} in {name}; all files need the same columns", file.shown));
                }
            }
            Some((_, _, None)) => {}
        }
        if let Some((_, _, Some(columned))) = &first {
            let groups = metadata.row_groups().iter().map(|group| Group {
                rows: u64::try_from(group.num_rows()).unwrap_or(0),
                times: bounds(group, &columned.columns.time, &columned.layout.clock),
            });
            planned.push(PlannedFile { groups: groups.collect(), file, footer });
        }
    }
    let (_, _, columned) = first?;
    let Columned { columns, layout, wanted } = columned?;
    found.then(|| Planned { layout, shape: Arc::new(Shape { files: planned, columns, wanted }) })
}

/// What the first file's schema and the pipeline agree on.
struct Columned {
    columns: Columns,
    layout: Layout,
    wanted: decode::Wanted,
}

/// The footer and its SHA-256, or what is wrong with the file.
pub(super) fn read_footer(file: &File) -> Result<(ParquetMetaData, [u8; 32]), String> {
    let input = file.open(FOOTER_BLOCKS).map_err(|e| format!("can't be opened: {e}"))?;
    footer_of(&input).map_err(|e| format!("can't be read as Parquet: {e}"))
}

/// As [`read_footer`], of an open file.
pub(super) fn footer_of(input: &Input) -> Result<(ParquetMetaData, [u8; 32]), String> {
    const TAIL: u64 = 8;
    let size = input.len();
    let tail_at = size.checked_sub(TAIL).ok_or_else(|| format!("it has only {size} bytes"))?;
    let tail = input.get_bytes(tail_at, TAIL as usize).map_err(|e| e.to_string())?;
    match &tail[4..] {
        b"PAR1" => {}
        b"PARE" => return Err("its footer is encrypted".into()),
        _ => return Err("it doesn't end as Parquet files do: it is truncated, or something else".into()),
    }
    let length = u64::from(u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]));
    let start = tail_at.checked_sub(length).ok_or("its footer is longer than the file: it is truncated")?;
    let bytes = input.get_bytes(start, length as usize).map_err(|e| e.to_string())?;
    let metadata = ParquetMetaDataReader::decode_metadata(&bytes).map_err(|e| e.to_string())?;
    for group in metadata.row_groups() {
        if group.num_rows() < 0 {
            return Err("its footer is corrupt: a negative number of rows".into());
        }
        for column in group.columns() {
            let first = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
            let end = u64::try_from(first).ok().zip(u64::try_from(column.compressed_size()).ok());
            if end.and_then(|(first, size)| first.checked_add(size)).is_none_or(|end| end > start) {
                return Err("its footer names data beyond the end of the file: it is truncated or corrupt".into());
            }
        }
    }
    Ok((metadata, Sha256::digest(&bytes).into()))
}

fn resolve(
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
    let mut carried: Vec<(String, DataType)> = Vec::new();
    for field in fields {
        let known = field.value == key_name || field.value == record.time.column || value_names.contains(&field.value);
        if known || carried.iter().any(|(name, _)| *name == field.value) {
            continue;
        }
        if let Some(data_type) = find(field, field.place, problem) {
            carried.push((field.value.clone(), data_type));
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
    let mut layout = Layout {
        key_name,
        key_type,
        time_name: record.time.column.clone(),
        clock,
        interval: None,
        columns: Vec::new(),
    };
    for name in value_names {
        layout.add(name, Kind::Number, Role::Value);
    }
    for (name, data_type) in &carried {
        layout.add(name, Kind::Carried(data_type.clone()), Role::Field);
    }
    let columns = Columns { key, time: record.time.column.clone(), values, carried };
    Some(Columned { columns, layout, wanted })
}

fn unknown(name: &str, schema: &Schema, file: &str) -> String {
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let near = did_you_mean(name, names.iter().copied());
    format!("there is no column \"{name}\" in {file} (there are: {}){near}", names.join(", "))
}

/// How another file's schema differs in the columns that are read.
fn disagreements(columned: &Columned, schema: &Schema) -> Vec<String> {
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
            _ => match columns.carried.iter().find(|(carried, _)| carried == name) {
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

fn is_number(data_type: &DataType) -> bool {
    data_type.is_numeric() || *data_type == DataType::Boolean
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

/// Bounds of the times of a row group where its statistics are to be trusted and no row lacks a time.
fn bounds(group: &RowGroupMetaData, time: &str, clock: &Clock) -> Option<(i64, i64)> {
    let column = group.columns().iter().find(|column| column.column_path().parts() == [time])?;
    let statistics = column.statistics()?;
    let sound = !statistics.is_min_max_deprecated() || statistics.is_min_max_backwards_compatible();
    if !sound || statistics.null_count_opt() != Some(0) {
        return None;
    }
    let data_type = &clock.data_type;
    let (low, high) = match statistics {
        Statistics::Int32(bounds) => {
            let wide = |value: i32| match data_type {
                t if t.is_unsigned_integer() => i64::from(value as u32),
                // Stored as days.
                DataType::Date64 => i64::from(value) * 86_400_000,
                _ => i64::from(value),
            };
            (wide(*bounds.min_opt()?), wide(*bounds.max_opt()?))
        }
        Statistics::Int64(bounds) => (*bounds.min_opt()?, *bounds.max_opt()?),
        _ => return None,
    };
    // An unsigned one beyond i64 looks negative; nothing is left out by it.
    let unsigned = data_type.is_unsigned_integer();
    (low <= high && !(unsigned && low < 0)).then_some((low, high))
}
