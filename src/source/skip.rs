//! Row groups that are left unread, since the filters at the start of the pipeline drop every row of them.
//!
//! Lives here: what footers and the names of folders say of columns, and whether that is enough. By statistics, a row
//! group is left out only if no row of it may be a dead letter either; by the name of its folder in any case. Must not
//! live here: what a condition is of it (`stage`).

use std::collections::HashSet;

use ::parquet::basic::Type;
use ::parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use ::parquet::file::statistics::Statistics;
use arrow::datatypes::{DataType, Schema, TimeUnit};

use super::folders::FolderColumn;
use super::merge::{is_text, plain};
use super::order;
use super::plan::{Group, PlannedFile, Unneeded};
use super::schema::{Columns, KeyColumn, Wanted};
use super::statistics::{self, DAY, is_binary, nanos};
use crate::config::{At, Pipeline, VectorColumn};
use crate::record::{KeyType, Kind, Layout, TimeRange, hexadecimal, uuid_text};
use crate::stage::{self, Bounds, Conditions, Extent, Reads, is_instant};

/// What is known of the columns of a row group, in the order of [`Looked::names`].
pub(super) type Facts = Vec<Fact>;

/// What is known of one of them.
#[derive(Debug, Clone)]
pub(super) struct Fact {
    data_type: DataType,
    nulls: Nulls,
    bounds: Option<Bounds>,
    /// Whether it is in the names of folders, and so the same in all rows.
    is_folder: bool,
    /// Whether it is compared with the name of a folder, or must be converted from INT96.
    is_checked: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nulls {
    None,
    Some,
    All,
}

/// The columns that are looked at, of a pipeline that begins with a filter.
pub(super) struct Looked {
    names: Vec<String>,
}

impl Looked {
    /// Those of a pipeline that asks for `fields`; `None` where nothing can be left out.
    pub fn of(pipeline: &Pipeline, fields: &[At<String>]) -> Option<Looked> {
        let mut names = stage::filtered_columns(pipeline);
        if names.is_empty() {
            return None;
        }
        names.push(pipeline.record.time.column.clone());
        if let crate::config::Key::Column(key) = &pipeline.record.key {
            names.push(key.value.clone());
        }
        names.extend(fields.iter().map(|field| field.value.clone()));
        names.extend(pipeline.record.vectors.iter().map(|column| column.name.value.clone()));
        let mut seen = HashSet::new();
        names.retain(|name| seen.insert(name.clone()));
        Some(Looked { names })
    }

    /// What is known of them in each row group of a file, whose columns are those of `schema`.
    pub fn facts(&self, file: &ParquetMetaData, schema: &Schema, folders: &[FolderColumn]) -> Vec<Facts> {
        let roots = file.file_metadata().schema_descr().root_schema().get_fields();
        let fact = |group: &RowGroupMetaData, name: &String| {
            let folder = folders.iter().find(|folder| folder.name == *name);
            let root = roots.iter().find(|root| root.name() == name);
            let Ok(field) = schema.field_with_name(name) else {
                // Within another column, in a way that isn't read, or missing and so null.
                let outer = name.split('.').next().unwrap_or_default();
                return if roots.iter().any(|root| root.name() == outer) { Fact::unknown() } else { Fact::missing() };
            };
            if let (Some(folder), None) = (folder, root) {
                return Fact::of_folder(folder);
            }
            let is_int96 = root.is_some_and(|root| root.is_primitive() && root.get_physical_type() == Type::INT96);
            let rows = u64::try_from(group.num_rows()).unwrap_or(0);
            let found = statistics::of(group, name);
            Fact::of_column(plain(field.data_type()), found, rows, folder.is_some() || is_int96)
        };
        let facts = |group| self.names.iter().map(|name| fact(group, name)).collect();
        file.row_groups().iter().map(facts).collect()
    }

    /// Marks the row groups that need not be read, and says how many. Where `on.null: carry` takes values from rows
    /// that a filter drops, only those that come before what is read of their keys; `remembers`: whether those values
    /// can be asked for.
    pub fn mark(
        &self,
        files: &mut [PlannedFile],
        pipeline: &Pipeline,
        (columns, layout, wanted): (&Columns, &Layout, Wanted),
        remembers: bool,
    ) -> Option<String> {
        let conditions = Conditions::of(pipeline, layout);
        let (mut skipped, mut whole, mut rows, mut others) = (0, 0, 0, 0);
        let mut before = Before::new(files, columns);
        for file in files.iter_mut() {
            for group in file.groups.iter_mut().filter(|group| group.rows > 0) {
                let facts = std::mem::take(&mut group.facts);
                if group.is_outside(wanted) {
                    continue;
                }
                let is_clean = self.is_clean(group, &facts, columns, layout);
                let known = |reads| self.known(reads, group, &facts, layout);
                let by_key = |reads| if reads == Reads::Key { known(reads) } else { None };
                // Whatever is in a folder that is left out by its name isn't looked at.
                let by_folder = |reads| if self.is_folder(reads, &facts, layout) { known(reads) } else { None };
                let drops = |conditions: &Conditions| {
                    is_clean && conditions.drop_all(&known) || conditions.drop_all(&by_folder)
                };
                group.unneeded = match &conditions {
                    Some(conditions) if drops(conditions) => match conditions.is_by_key {
                        false => Unneeded::Whole,
                        true if conditions.drop_all(&by_key) => Unneeded::Whole,
                        // What is remembered of them are single values.
                        true if remembers && columns.vectors.is_empty() && before.is_apart(group) => Unneeded::Dropped,
                        true => {
                            others += 1;
                            Unneeded::No
                        }
                    },
                    _ => Unneeded::No,
                };
                match group.unneeded {
                    Unneeded::No => before.add(group),
                    _ => (skipped, rows) = (skipped + 1, rows + group.rows),
                }
            }
            let is_read = |group: &Group| group.rows > 0 && group.unneeded == Unneeded::No;
            whole += usize::from(file.rows() > 0 && !file.groups.iter().any(is_read));
        }
        let groups: usize = files.iter().map(|file| file.groups.iter().filter(|group| group.rows > 0).count()).sum();
        let all: u64 = files.iter().map(PlannedFile::rows).sum();
        let count = files.len();
        match (skipped, others) {
            (0, 0) => None,
            (0, others) => Some(format!(
                "the filter drops all rows of {others} of {groups} row groups, which are read nevertheless: on.null: \
                 carry takes values from them; on.null: skip, or from and until of the source, leave them unread"
            )),
            _ => Some(format!(
                "the filter drops all rows of {skipped} of {groups} row groups ({whole} of {count} files), by names of \
                 folders and statistics: they are not read ({rows} of {all} rows)"
            )),
        }
    }

    fn fact<'a>(&self, facts: &'a Facts, name: &str) -> Option<&'a Fact> {
        self.names.iter().position(|known| known == name).and_then(|at| facts.get(at))
    }

    /// Whether no row of the group can be refused before a filter, as far as its footer can tell.
    fn is_clean(&self, group: &Group, facts: &Facts, columns: &Columns, layout: &Layout) -> bool {
        let range = layout.clock.range();
        let in_time = group.times.is_some_and(|(low, high)| range.has(low) && range.has(high));
        let has_keys = match &columns.key {
            KeyColumn::Text(name) | KeyColumn::Integer(name) | KeyColumn::Typed(name, _) => {
                self.fact(facts, name).is_some_and(|fact| fact.nulls == Nulls::None)
            }
            KeyColumn::Melted(_) | KeyColumn::Single => true,
        };
        let fields = columns.passthrough.iter();
        let fits = fields.map(|(name, to)| self.fact(facts, name).is_some_and(|fact| fact.becomes(to)));
        let mut vectors = columns.vectors.iter();
        let fit = |column: &VectorColumn| {
            self.fact(facts, &column.name).is_some_and(|fact| column.is_always(&fact.data_type))
        };
        in_time
            && vectors.all(fit)
            && has_keys
            && !facts.iter().any(|fact| fact.is_checked)
            && fits.fold(true, |all, fits| all & fits)
    }

    fn is_folder(&self, reads: Reads, facts: &Facts, layout: &Layout) -> bool {
        let name = match reads {
            Reads::Key => Some(&layout.key_name),
            Reads::Time => Some(&layout.time_name),
            Reads::Column(column) => layout.columns.get(column).map(|column| &column.name),
        };
        name.and_then(|name| self.fact(facts, name)).is_some_and(|fact| fact.is_folder)
    }

    fn known(&self, reads: Reads, group: &Group, facts: &Facts, layout: &Layout) -> Option<Extent> {
        match reads {
            Reads::Key => self.fact(facts, &layout.key_name)?.of_key(&layout.key_type),
            Reads::Time => {
                let (low, high) = group.times?;
                let bounds = match layout.clock.nanos_per_tick {
                    Some(tick) => {
                        Bounds::Times(i128::from(low) * i128::from(tick), i128::from(high) * i128::from(tick))
                    }
                    None => Bounds::Numbers(low as f64, high as f64),
                };
                Some(Extent { bounds: Some(bounds), nulls: false })
            }
            Reads::Column(column) => {
                let column = layout.columns.get(column)?;
                // Melted values are of several columns.
                let fact = self.fact(facts, &column.name).filter(|fact| !is_binary(&fact.data_type))?;
                match (&column.kind, &fact.bounds) {
                    (Kind::Number, Some(Bounds::Numbers(..))) | (Kind::Passthrough(_), _) => fact.extent(),
                    _ => None,
                }
            }
        }
    }
}

/// The keys of row groups that are read.
struct Before {
    /// Bounds; those of one key once.
    keys: HashSet<order::Bounds>,
    /// Whether there is a row group whose keys aren't known.
    is_any: bool,
    /// Whether bounds of keys are comparable.
    is_ordered: bool,
}

/// Bounds that are compared with each row group, at most.
const MOST: usize = 1_000;

impl Before {
    fn new(files: &[PlannedFile], columns: &Columns) -> Before {
        let (name, has_order) = match &columns.key {
            KeyColumn::Text(name) => (name.as_str(), true),
            KeyColumn::Integer(name) | KeyColumn::Typed(name, _) => (name.as_str(), false),
            KeyColumn::Melted(_) | KeyColumn::Single => ("", false),
        };
        // Names of folders are compared as text: with one another only.
        let in_path = |file: &PlannedFile| file.folders.iter().any(|folder| folder.name == name);
        let folders = files.iter().filter(|file| in_path(file)).count();
        let is_ordered = folders == files.len() && !name.is_empty() || folders == 0 && has_order;
        Before { keys: HashSet::new(), is_any: false, is_ordered }
    }

    /// Whether none of the row groups so far has a key of this one.
    fn is_apart(&self, group: &Group) -> bool {
        let apart = |(low, high): &order::Bounds| self.keys.iter().all(|other| *high < other.0 || *low > other.1);
        !self.is_any && (self.keys.is_empty() || group.keys.as_ref().is_some_and(apart))
    }

    fn add(&mut self, group: &Group) {
        match &group.keys {
            Some(keys) if self.is_ordered && self.keys.len() < MOST => drop(self.keys.insert(keys.clone())),
            _ => self.is_any = true,
        }
    }
}

impl Fact {
    fn missing() -> Fact {
        Fact { data_type: DataType::Null, nulls: Nulls::All, bounds: None, is_folder: false, is_checked: false }
    }

    /// Of which nothing is known.
    fn unknown() -> Fact {
        Fact { data_type: DataType::Null, nulls: Nulls::Some, bounds: None, is_folder: false, is_checked: true }
    }

    fn of_folder(folder: &FolderColumn) -> Fact {
        let nulls = if folder.is_null() { Nulls::All } else { Nulls::None };
        let bounds = match folder.data_type() {
            DataType::Utf8 => Some(Bounds::Texts(folder.text().into(), folder.text().into())),
            DataType::Date32 => folder.ticks().map(|days| Bounds::Times(nanos(days, DAY), nanos(days, DAY))),
            DataType::Timestamp(..) => {
                folder.ticks().map(|micros| Bounds::Times(nanos(micros, 1_000), nanos(micros, 1_000)))
            }
            _ => folder.ticks().map(|number| Bounds::Numbers(number as f64, number as f64)),
        };
        Fact { data_type: folder.data_type().clone(), nulls, bounds, is_folder: true, is_checked: false }
    }

    fn of_column(data_type: DataType, found: Option<&Statistics>, rows: u64, is_checked: bool) -> Fact {
        let nulls = match found.and_then(Statistics::null_count_opt) {
            Some(0) => Nulls::None,
            Some(nulls) if nulls == rows => Nulls::All,
            _ => Nulls::Some,
        };
        let bounds = found.and_then(|found| statistics::bounds(found, &data_type));
        Fact { data_type, nulls, bounds, is_folder: false, is_checked }
    }

    /// `None`: nothing that a condition can use.
    fn extent(&self) -> Option<Extent> {
        if self.nulls == Nulls::All {
            return Some(Extent { bounds: None, nulls: true });
        }
        // NaN is null, and not among the bounds.
        let nulls = self.nulls != Nulls::None || self.data_type.is_floating();
        Some(Extent { bounds: Some(self.bounds.clone()?), nulls })
    }

    /// The same of keys, as texts: those of bytes are hexadecimal digits, in which UUIDs have dashes.
    fn of_key(&self, key_type: &KeyType) -> Option<Extent> {
        let is_bytes = matches!(key_type, KeyType::Binary(_) | KeyType::Uuid);
        // What is read as another type has other texts.
        let mut extent = self.extent().filter(|_| is_bytes == is_binary(&self.data_type) || self.is_folder)?;
        if let (KeyType::Uuid, Some(Bounds::Texts(low, high))) = (key_type, &mut extent.bounds) {
            for text in [low, high] {
                *text = uuid_text(&<[u8; 16]>::try_from(&text[..]).ok()?).into_bytes();
            }
        } else if let (true, Some(Bounds::Texts(low, high))) = (is_bytes, &mut extent.bounds) {
            [low, high].into_iter().for_each(|text| *text = hexadecimal(text).into_bytes());
        }
        Some(extent)
    }

    /// Whether each value is surely one of the type that the column is delivered in.
    fn becomes(&self, to: &DataType) -> bool {
        if self.nulls == Nulls::All {
            return true;
        }
        if is_instant(to) {
            let Some(Bounds::Times(low, high)) = self.bounds else { return false };
            let seconds = TimeRange::of_ticks(Some(1_000_000_000));
            let has = |nanos: i128| {
                i64::try_from(nanos.div_euclid(1_000_000_000)).is_ok_and(|at| seconds.has(at))
                    // What the finest unit has.
                    && (!is_fine(to) || i64::try_from(nanos).is_ok())
            };
            return has(low) && has(high);
        }
        if to.is_nested() {
            return *to == self.data_type && !has_instant(to);
        }
        if self.data_type.is_integer() && to.is_floating() {
            let most = if *to == DataType::Float64 { EXACT } else { 0.0 };
            return matches!(self.bounds, Some(Bounds::Numbers(low, high)) if -most < low && high < most);
        }
        *to == self.data_type || is_text(to) || self.data_type.is_integer() == to.is_integer()
    }
}

/// Integers up to here are float64 without rounding.
const EXACT: f64 = 9_007_199_254_740_992.0;

fn is_fine(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(TimeUnit::Nanosecond, _))
}

/// Whether times are anywhere in it.
fn has_instant(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            has_instant(item.data_type())
        }
        DataType::Map(entries, _) => has_instant(entries.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_instant(field.data_type())),
        other => is_instant(other),
    }
}
