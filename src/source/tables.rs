//! Folders that belong to a table: which of their files are valid is in the table's own metadata, so reading all of
//! them would count rows that were deleted or rewritten.
//!
//! Lives here: how a table is known by its folder. Must not live here: reading its metadata.

use std::path::Path;

use object_store::path::Path as ObjectPath;
use object_store::{ListResult, ObjectStore};

use super::files::within;

/// How many folders above the one that is read may be the table's, besides partitions such as `day=1`.
const ABOVE: usize = 2;

/// A kind of table, and what to read it with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Table {
    Delta,
    Iceberg,
    Hudi,
}

impl Table {
    /// The kind whose metadata a folder of this name has; `metadata` has to be looked into.
    fn of_folder(name: &str) -> Option<Table> {
        match name {
            "_delta_log" => Some(Table::Delta),
            ".hoodie" => Some(Table::Hudi),
            _ => None,
        }
    }

    /// Why the table's folder can't be read, and what to do.
    fn refused(self, folder: &str) -> String {
        let (kind, mark, tool) = match self {
            Table::Delta => {
                ("a Delta table", "_delta_log/", "Spark, DuckDB's delta_scan or the Python package deltalake")
            }
            Table::Iceberg => (
                "an Iceberg table",
                "metadata/*.metadata.json",
                "Spark, DuckDB's iceberg_scan or the Python package pyiceberg",
            ),
            Table::Hudi => ("a Hudi table", ".hoodie/", "Spark or the Python package hudi"),
        };
        format!(
            "{folder} is {kind} (it has {mark}): its metadata says which files are valid, so reading the folder would \
             count deleted and rewritten rows\nexport its current rows with {tool} and read those files, or, if you know \
             which files are valid, name them one by one: path: [a.parquet, b.parquet]"
        )
    }
}

/// The folders whose metadata matters to a folder: itself and those above, nearest first.
fn candidates<'a>(folders: impl Iterator<Item = &'a str>) -> usize {
    let mut above = 0;
    let mut count = 0;
    for name in folders {
        count += 1;
        if !name.contains('=') {
            above += 1;
        }
        if above > ABOVE {
            break;
        }
    }
    count
}

/// Refuses a folder on disk that is a table's, or is in one.
pub(super) fn refuse_on_disk(folder: &Path) -> Result<(), String> {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf());
    let resolved = absolute.canonicalize().unwrap_or(absolute);
    let names = resolved.ancestors().map(|at| at.file_name().and_then(|name| name.to_str()).unwrap_or_default());
    let count = candidates(names);
    resolved.ancestors().take(count).try_for_each(refuse_one_on_disk)
}

/// Refuses a folder that has a table's metadata.
pub(super) fn refuse_one_on_disk(folder: &Path) -> Result<(), String> {
    let refused = |table: Table| Err(table.refused(&folder.display().to_string()));
    for name in ["_delta_log", ".hoodie"] {
        if let Some(table) = Table::of_folder(name).filter(|_| folder.join(name).is_dir()) {
            return refused(table);
        }
    }
    let metadata = std::fs::read_dir(folder.join("metadata")).into_iter().flatten().flatten();
    for entry in metadata {
        if is_iceberg(&entry.file_name().to_string_lossy()) {
            return refused(Table::Iceberg);
        }
    }
    Ok(())
}

/// Refuses a prefix of an object store that is a table's, or is in one. `shown` gives it as messages name it. What may
/// not be listed is none: the prefix that is read will be.
pub(super) fn refuse_in_store(
    store: &dyn ObjectStore,
    folder: &ObjectPath,
    shown: impl Fn(&ObjectPath) -> String,
) -> Result<(), String> {
    let parts: Vec<String> = folder.parts().map(|part| part.as_ref().to_string()).collect();
    // The bucket itself may be a table too.
    let names = parts.iter().rev().map(String::as_str).chain([""]);
    for above in 0..candidates(names) {
        let at: ObjectPath = parts[..parts.len() - above].iter().map(String::as_str).collect();
        let holds = |name: &str, wanted: &dyn Fn(&str) -> bool| {
            let list = within(store.list_with_delimiter(Some(&at.clone().join(name))));
            list.ok().and_then(Result::ok).is_some_and(|list| {
                list.objects.iter().any(|object| wanted(object.location.filename().unwrap_or_default()))
            })
        };
        for (name, table) in [("_delta_log", Table::Delta), (".hoodie", Table::Hudi)] {
            if holds(name, &|_| true) {
                return Err(table.refused(&shown(&at)));
            }
        }
        if holds("metadata", &is_iceberg) {
            return Err(Table::Iceberg.refused(&shown(&at)));
        }
    }
    Ok(())
}

/// Refuses a prefix that has a table's metadata, as its listing says.
pub(super) fn refuse_listed(
    store: &dyn ObjectStore,
    list: &ListResult,
    shown: impl Fn() -> String,
) -> Result<(), String> {
    for folder in &list.common_prefixes {
        let name = folder.filename().unwrap_or_default();
        if let Some(table) = Table::of_folder(name) {
            return Err(table.refused(&shown()));
        }
        if name == "metadata" {
            let metadata = within(store.list_with_delimiter(Some(folder))).ok().and_then(Result::ok);
            let mut files = metadata.into_iter().flat_map(|list| list.objects);
            if files.any(|object| is_iceberg(object.location.filename().unwrap_or_default())) {
                return Err(Table::Iceberg.refused(&shown()));
            }
        }
    }
    Ok(())
}

/// Whether a file of a `metadata` folder is that of an Iceberg table.
fn is_iceberg(name: &str) -> bool {
    name.ends_with(".metadata.json") || name == "version-hint.text"
}
