//! What a source holds, found out before anything starts: its files, their footers and the types of their columns.

use std::sync::Arc;

use ::parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData};
use ::parquet::file::reader::{ChunkReader, Length};
use ::parquet::file::statistics::Statistics;
use arrow::datatypes::{DataType, Schema};
use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::files::{self, File};
use super::folders::{self, FolderColumn};
use super::merge::Purpose;
use super::schema::{Columned, Columns, Wanted, resolve};
use super::skip::{Facts, Looked};
use super::united::United;
use super::{int96, merge, nested, order, statistics, thrift};
use crate::config::{At, FileOrder, Input, Key, Pipeline};
use crate::error::{Problems, contained, counted};
use crate::problem::Place;
use crate::record::{Clock, Layout};
use crate::state::{SourceFile, SourceFiles};
use crate::storage::{self, FOOTER_BLOCKS};

/// The most bytes that a footer may have: in memory, it takes about ten times as many.
const MOST_FOOTER: u64 = 128 << 20;

/// A source that can be read.
#[derive(Debug, Clone)]
pub struct PlannedParquet {
    /// Columns of its records: the values, then the fields that are passed through.
    pub layout: Layout,
    /// Its files, in the order in which they are read.
    pub files: SourceFiles,
    /// The order in which they are read.
    pub order: FileOrder,
    /// What is worth saying of files that differ, or whose times go down.
    pub notes: Vec<String>,
    pub(super) shape: Arc<Shape>,
}

/// What the reader needs to know.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    pub files: Vec<PlannedFile>,
    pub columns: Columns,
    pub wanted: Wanted,
    /// Whether times were nanoseconds for versions before that read INT96 as microseconds.
    pub is_int96: bool,
    /// Whether another file has finer times than the first.
    pub is_finer: bool,
    /// Columns in the path of the source itself: the names of its files don't say them.
    pub above: Vec<(String, String)>,
}

/// A file and what its footer says.
#[derive(Debug, Clone)]
pub(super) struct PlannedFile {
    pub file: File,
    /// SHA-256 of the footer.
    pub footer: [u8; 32],
    pub groups: Vec<Group>,
    /// Type of its times; Null without any.
    ticks: DataType,
    /// Columns of its path that are wanted.
    pub folders: Vec<FolderColumn>,
}

/// A row group.
#[derive(Debug, Clone)]
pub(super) struct Group {
    pub rows: u64,
    /// Bounds of all its times, if every row has one and the file says so.
    pub times: Option<(i64, i64)>,
    /// Bounds of its times, where some rows have none.
    pub span: Option<(i64, i64)>,
    /// Whether the file says that no row has a time.
    pub is_timeless: bool,
    /// Bounds of its keys, if the file says so.
    pub keys: Option<order::Bounds>,
    /// What is known of its columns, until that is decided about.
    pub facts: Facts,
    /// Whether it need not be read.
    pub unneeded: Unneeded,
}

/// Whether the filters of the pipeline drop every row of a row group, so that it need not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unneeded {
    No,
    /// By the key, or where nothing else can come of its rows.
    Whole,
    /// Its values may be carried to rows that are read: [`super::unread`].
    Dropped,
}

impl Group {
    fn new(group: &RowGroupMetaData, time: &str, ticks: &DataType, keys: Option<order::Bounds>) -> Group {
        let rows = u64::try_from(group.num_rows()).unwrap_or(0);
        let nulls = statistics::of(group, time).and_then(Statistics::null_count_opt);
        let span = bounds(group, time, ticks);
        Group {
            rows,
            times: span.filter(|_| nulls == Some(0)),
            span,
            is_timeless: rows > 0 && nulls == Some(rows),
            keys,
            facts: Facts::new(),
            unneeded: Unneeded::No,
        }
    }
}

impl Group {
    /// Whether all its rows are outside of the time that is wanted.
    pub fn is_outside(&self, (from, until): Wanted) -> bool {
        self.times
            .is_some_and(|(low, high)| from.is_some_and(|from| high < from) || until.is_some_and(|until| low >= until))
    }

    /// Times are the same in all rows: they are in the name of a folder.
    fn is_of_folder(&mut self, folder: &FolderColumn) {
        self.times = folder.ticks().map(|tick| (tick, tick));
        self.span = self.times;
        self.is_timeless = self.rows > 0 && folder.is_null();
    }
}

impl PlannedFile {
    /// Rows of all its row groups.
    pub fn rows(&self) -> u64 {
        self.groups.iter().map(|group| group.rows).sum()
    }
}

impl PlannedParquet {
    /// Records in all files (rows times columns where a wide table is melted), those outside of `from` and `until`
    /// included.
    pub fn records(&self) -> u64 {
        self.shape.files.iter().map(PlannedFile::rows).sum::<u64>() * self.shape.columns.cells() as u64
    }
}

/// The files as state remembers them; `of` is the pipeline, whose folder messages leave out.
fn remembered(planned: &[PlannedFile], pipeline: &Pipeline) -> SourceFiles {
    let files = planned.iter().map(|file| SourceFile {
        name: file.file.name.clone(),
        bytes: file.file.size,
        rows: file.rows(),
        footer: file.footer.iter().map(|byte| format!("{byte:02x}")).collect(),
    });
    let folder = planned.first().and_then(|file| file.file.shown.strip_suffix(&file.file.name)).unwrap_or_default();
    let here = std::path::absolute(pipeline.folder().join(".")).ok().map(|here| format!("{}/", here.display()));
    let folder = here.as_deref().and_then(|here| folder.strip_prefix(here)).unwrap_or(folder).to_string();
    SourceFiles { files: files.collect(), folder, hashed: None }
}

/// Finds the files of a pipeline's source and checks that it has every column that is asked for: those of `record:`,
/// and `fields` (of the sink, a filter, the split), which are passed through unless they are key, time or a value
/// anyway. Adds every problem to `problems`, and returns `None` if there is one.
pub fn plan(pipeline: &Pipeline, fields: &[At<String>], problems: &mut Problems) -> Option<PlannedParquet> {
    plan_for(pipeline, fields, true, problems)
}

/// As [`plan`], of files whose records go to partitions that read a topic after them: nothing asks for what is left
/// unread of them, see [`super::Files::unread`].
pub fn plan_history(pipeline: &Pipeline, fields: &[At<String>], problems: &mut Problems) -> Option<PlannedParquet> {
    plan_for(pipeline, fields, false, problems)
}

fn plan_for(
    pipeline: &Pipeline,
    fields: &[At<String>],
    remembers: bool,
    problems: &mut Problems,
) -> Option<PlannedParquet> {
    let Input::Parquet(input) = &pipeline.source.input else { return None };
    let place = input.path.place;
    let mut found = true;
    let mut problem = |place: Place, message: String| {
        found = false;
        problems.add(place, message);
    };
    let found_files = match &input.list[..] {
        [] => files::find(&input.path.0),
        list => files::listed(list, pipeline.folder()),
    };
    let files = match found_files {
        Ok(files) => files,
        Err(message) => {
            problem(place, message);
            return None;
        }
    };
    let mut united = United::new(pipeline, fields);
    let mut empty: Vec<(Schema, String)> = Vec::new();
    let mut planned = Vec::with_capacity(files.len());
    let mut is_int96 = false;
    let looked = Looked::of(pipeline, fields);
    let paths: Vec<folders::Values> = files.iter().map(|file| folders::values(&file.shown)).collect();
    // Keys of a history meet those of messages, which are text: `007` is not `7`.
    let is_text = |name: &str| !remembers && united.purpose(name) == Some(Purpose::Key);
    let in_paths = folders::types(&paths, |name| united.purpose(name), is_text);
    for (file, path) in files.into_iter().zip(paths) {
        let (metadata, footer) = match read_footer(&file) {
            Ok(read) => read,
            Err(message) => {
                problem(place, format!("{}: {message}", file.shown));
                continue;
            }
        };
        let meta = metadata.file_metadata();
        let schema = match contained(|| int96::schema_of(meta)).and_then(|schema| schema.map_err(|e| e.to_string())) {
            Ok(schema) => schema,
            Err(e) => {
                problem(place, format!("{}: its schema can't be read: {e}", file.shown));
                continue;
            }
        };
        if let Some(name) = nested::int96(meta, &schema, united.wanted()) {
            problem(place, format!("{}: column \"{name}\" is INT96 within a struct, which is not read", file.shown));
            continue;
        }
        let schema = nested::extended(&schema, united.wanted());
        let folders = FolderColumn::of(&path, &in_paths, |name| united.wants(name));
        let own = schema.clone();
        let in_file = |name: &str| own.field_with_name(name).is_ok();
        let from_folders = folders.iter().filter(|folder| !in_file(&folder.name));
        from_folders.for_each(|folder| united.is_in_path(&folder.name));
        let schema = folders::extended(&schema, &path, &in_paths);
        for name in united.encrypted(&metadata) {
            problem(
                place,
                format!(
                    "column \"{name}\" of {} is encrypted: kolk has no key for it, leave the column out",
                    file.shown
                ),
            );
        }
        let time = &pipeline.record.time.column;
        is_int96 |= int96::is_in_micros(meta, &schema, time);
        let ticks = schema.field_with_name(time).map_or(DataType::Null, |field| merge::plain(field.data_type()));
        let key_type = match &pipeline.record.key {
            Key::Column(key) => schema.field_with_name(key).map_or(DataType::Null, |key| key.data_type().clone()),
            Key::Melted(_) | Key::Single => DataType::Null,
        };
        let keys = |group: &RowGroupMetaData| match &pipeline.record.key {
            Key::Column(key) => match folders.iter().find(|folder| folder.name == key.value) {
                Some(folder) => Some((folder.text().as_bytes().to_vec(), folder.text().as_bytes().to_vec())),
                // Decimals of different scales don't compare as they are stored.
                None if key_type.is_decimal() => None,
                None => order::key_bounds(statistics::of(group, key)?),
            },
            Key::Melted(_) | Key::Single => None,
        };
        let groups = metadata.row_groups().iter().map(|group| Group::new(group, time, &ticks, keys(group)));
        let mut groups: Vec<Group> = groups.collect();
        if let Some(folder) = folders.iter().find(|folder| folder.name == *time && !in_file(&folder.name)) {
            groups.iter_mut().for_each(|group| group.is_of_folder(folder));
        }
        if let Some(looked) = &looked {
            let facts = looked.facts(&metadata, &schema, &folders);
            groups.iter_mut().zip(facts).for_each(|(group, facts)| group.facts = facts);
        }
        if groups.iter().all(|group| group.rows == 0) {
            empty.push((schema, file.shown.clone()));
        } else {
            united.add(&schema, &file.shown, &mut |message| problem(place, message));
        }
        planned.push(PlannedFile { groups, file, footer, ticks, folders });
    }
    // The types of a file without rows count only where there is nothing else: some writers have none for it.
    if united.is_empty() {
        empty.iter().for_each(|(schema, shown)| united.add(schema, shown, &mut |message| problem(place, message)));
    }
    if united.is_empty() {
        return None;
    }
    united.finish(&mut |message| problem(place, message));
    let Columned { columns, layout, wanted } = resolve(pipeline, fields, &united, &mut problem)?;
    for file in &mut planned {
        let factor = ticks_per(&file.ticks, &layout.clock);
        for times in file.groups.iter_mut().flat_map(|group| [&mut group.times, &mut group.span]) {
            *times = times.and_then(|(low, high)| low.checked_mul(factor).zip(high.checked_mul(factor)));
        }
    }
    let first = united.first_type(&columns.time).map(|first| ticks_per(first, &layout.clock));
    let is_finer = first.is_some_and(|factor| factor != 1);
    if !matches!(pipeline.record.key, Key::Column(_))
        && let Some(hidden) = fields.iter().find(|field| field.value == layout.key_name && united.has(field))
    {
        united.is_hidden(hidden);
    }
    let above = planned.first().map(above).unwrap_or_default();
    if input.order.value == FileOrder::Time {
        planned = match order::by_time(planned, &columns.time) {
            Ok(sorted) => sorted,
            Err(messages) => {
                messages.into_iter().for_each(|message| problem(input.order.place, message));
                return None;
            }
        };
    }
    let files = remembered(&planned, pipeline);
    let mut notes = united.into_notes();
    notes.extend(looked.and_then(|looked| looked.mark(&mut planned, pipeline, (&columns, &layout, wanted), remembers)));
    notes.extend(order::falls(&planned, &files.folder, &layout.clock));
    let shape = Shape { files: planned, columns, wanted, is_int96, is_finer, above };
    found.then(|| PlannedParquet { layout, files, order: input.order.value, notes, shape: Arc::new(shape) })
}

/// Columns of a file's path that are wanted and stand above the folder that file names are relative to.
fn above(file: &PlannedFile) -> Vec<(String, String)> {
    let within = folders::values(&file.file.name);
    let above = file.folders.iter().filter(|folder| !within.iter().any(|(name, _)| *name == folder.name));
    above.map(|folder| (folder.name.clone(), folder.text().to_string())).collect()
}

/// Ticks of the clock in one of a column of this type.
pub(super) fn ticks_per(data_type: &DataType, clock: &Clock) -> i64 {
    let own = Clock::of(data_type, None).ok().and_then(|own| own.nanos_per_tick);
    own.zip(clock.nanos_per_tick).map_or(1, |(own, clock)| own / clock)
}

/// The footer and its SHA-256, or the error in the file.
pub(super) fn read_footer(file: &File) -> Result<(ParquetMetaData, [u8; 32]), String> {
    let input = file.open(FOOTER_BLOCKS).map_err(|e| format!("can't be opened: {e}"))?;
    footer_of(&input).map_err(|e| format!("can't be read as Parquet: {e}"))
}

/// The bytes of the footer of an open file, and where they begin.
pub(super) fn footer_bytes(input: &storage::File) -> Result<(Bytes, u64), String> {
    const TAIL: u64 = 8;
    let size = input.len();
    let tail_at = size.checked_sub(TAIL).ok_or_else(|| format!("it has only {}", counted(size, "byte")))?;
    let tail = input.get_bytes(tail_at, TAIL as usize).map_err(|e| e.to_string())?;
    match &tail[4..] {
        b"PAR1" => {}
        b"PARE" => return Err("its footer is encrypted".into()),
        _ => return Err("it doesn't end as Parquet files do: it is truncated, or something else".into()),
    }
    let length = u64::from(u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]));
    if length > MOST_FOOTER {
        return Err(format!(
            "its footer has {length} bytes, at most {MOST_FOOTER} are read: write the file with fewer row groups"
        ));
    }
    let start = tail_at.checked_sub(length).ok_or("its footer is longer than the file: it is truncated")?;
    Ok((input.get_bytes(start, length as usize).map_err(|e| e.to_string())?, start))
}

/// As [`read_footer`], of an open file.
pub(super) fn footer_of(input: &storage::File) -> Result<(ParquetMetaData, [u8; 32]), String> {
    let (bytes, start) = footer_bytes(input)?;
    thrift::check_footer(&bytes)?;
    let metadata = contained(|| ParquetMetaDataReader::decode_metadata(&bytes));
    let metadata = metadata.and_then(|metadata| metadata.map_err(|e| e.to_string()))?;
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

/// Bounds of the times of a row group, where its statistics are to be trusted. Rows may lack a time.
fn bounds(group: &RowGroupMetaData, time: &str, data_type: &DataType) -> Option<(i64, i64)> {
    let statistics = statistics::of(group, time)?;
    let sound = !statistics.is_min_max_deprecated() || statistics.is_min_max_backwards_compatible();
    if !sound {
        return None;
    }
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
